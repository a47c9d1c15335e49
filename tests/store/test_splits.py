"""A region is split on a store that's on its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from random import Random
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.store.hosted import Hosted
from tinykv.interfaces import IRegionHost
from tinykv.keys import SLOTS, slot_of
from tinykv.raft.messages import Entry, HardState
from tinykv.raft.refusals import Refused
from tinykv.redis.operations import COMMANDS, INTERNAL
from tinykv.redis.spreading import CROSS_SLOT
from tinykv.region.descriptor import Descriptor, descriptor_key
from tinykv.region.splitting import Split, own_cuts
from tinykv.region.state import FIRST_INDEX, FIRST_TERM, ApplyState, apply_key
from tinykv.resp.replies import encode_command
from tinykv.server.metrics import Metrics
from tinykv.server.router import Router
from tinykv.storage.log import HardState as StoredState
from tinykv.storage.writers import LogBatch
from tinykv.store.host import RegionHost
from tinykv.store.letting_go import LetGo
from tinykv.store.rounds import ROUND_SECONDS
from tinykv.store.splitting import BegunLog, Part, adopt, begin_peer, splits
from tinykv.testing.alone import alone
from tinykv.testing.embedded import TABLE

#: Keys on both sides of the middle.
LOW, HIGH = "b", "a"
MIDDLE = SLOTS // 2
OK = b"+OK\r\n"


class _Chosen(Router):
    """
    Chooses what a test says.

    @ivar chance: Gives a number from 0 to before another one.
    """

    chance: Callable[[int], int] = staticmethod(lambda count: 0)


class SplitsCase(SynchronousTestCase):
    """A store whose region can be split."""

    reads_log = False

    def setUp(self) -> None:
        """Start it."""
        self.assertLess(slot_of(LOW.encode()), MIDDLE)
        self.assertGreaterEqual(slot_of(HIGH.encode()), MIDDLE)
        self.hosted = Hosted(self.mktemp(), reads_log=self.reads_log)
        self.addCleanup(self.hosted.close)
        self.whole = self.hosted.host
        self.regions = self.hosted.regions
        self.router = router = _Chosen(self.regions.routes(), lambda count: router.chance(count))
        self.regions.moved = router.moved
        self.regions.bear = self.bear
        self.regions.watchers.append(self.route)
        self.hosted.settle()
        self.client = self.hosted.client()

    def bear(self, part: Part) -> RegionHost:
        """Make a region of a part."""
        region = part.descriptor.region
        on_disk = self.hosted.log_of(region)
        log = None if on_disk is None else BegunLog(on_disk)
        batch = LogBatch()
        batch.reset(region, FIRST_INDEX, FIRST_TERM)
        self.hosted.store.log.write(batch, log.written if log is not None else lambda: None)
        state = HardState(FIRST_TERM, 0, FIRST_INDEX)
        options = dict(self.hosted.options)
        for shared in ("memtable_bytes", "durability_os"):
            options.pop(shared)
        clock = self.hosted.clock
        return RegionHost(
            self.regions,
            replica=alone(
                self.hosted.store.log, clock, Metrics(), part.applied, state, Random(1), region=region, log=log
            ),
            descriptor=part.descriptor,
            execution=part.execution,
            now_ms=lambda: self.hosted.now,
            uptime=clock.seconds,
            random=Random(1),
            applied=part.applied,
            **options,
        )

    def route(self) -> None:
        """Send commands where they belong."""
        self.router.route(self.regions.routes())
        host: IRegionHost = self.router
        self.hosted.host = host  # type: ignore[assignment]  # a client doesn't see the difference

    def propose(self, *slots: int) -> int:
        """Have it split."""
        descriptor = self.whole.descriptor
        return self.whole.propose_split(
            Split(descriptor.version, descriptor.conf_ver, own_cuts(descriptor, slots or (MIDDLE,)))
        )

    def split(self, *slots: int) -> list[RegionHost]:
        """Split it, and give the parts."""
        self.propose(*slots)
        self.hosted.settle()
        self.assertEqual(self.hosted.failures, [])
        return self.regions.ordered[1:]

    def rest(self) -> None:
        """Let all that was sent be done, also what waits for others of its round."""
        self.hosted.settle()
        self.hosted.clock.advance(ROUND_SECONDS)
        self.hosted.settle()

    def ask(self, *lines: str) -> list[bytes]:
        """Do commands, and give the replies."""
        for line in lines:
            self.client.send(line)
        self.hosted.settle()
        # A session puts them in order.
        self.client.told.sort()
        return self.client.heard()


class OvertakingTests(SplitsCase):
    """What waits for a region while it's split is done in its order, wherever that is by then."""

    def test_what_is_about_all_keys(self) -> None:
        """It has a part in what is left of the region, too, and what came behind it stays behind it."""
        self.propose()
        for line in (f"SET {LOW} 1", "FLUSHALL", f"SET {LOW} 2", f"SET {HIGH} 2", "DBSIZE", f"DEL {LOW}", "DBSIZE"):
            self.client.send(line)
        self.rest()
        self.client.told.sort()
        self.assertEqual(self.client.heard(), [OK, OK, OK, OK, b":2\r\n", b":1\r\n", b":1\r\n"])
        self.assertEqual(self.ask(f"GET {LOW}", f"GET {HIGH}"), [b"$-1\r\n", b"$1\r\n2\r\n"])

    def split_while_it_waits(self, border: int) -> bytes:
        """Split a part that waits for the outcome of what was sent to the whole, and give what was appended in all."""
        (part,) = self.split()
        until = LetGo([part])
        self.client.send(f"APPEND {HIGH} 3")
        self.rest()
        whole, self.whole = self.whole, part
        before = [[b"APPEND", HIGH.encode(), b"%d" % number] for number in (1, 2)]
        first, second = [(COMMANDS, self.client, 0, 0, TABLE["append"], one, encode_command(one)) for one in before]
        whole.move(first, (0, SLOTS))
        self.split(border)
        self.client.send(f"APPEND {HIGH} 4")
        self.rest()
        whole.move(second, (0, SLOTS))
        commands = [one for one in self.router.undone() if one[0] == COMMANDS]
        self.assertEqual({one[5][2] for one in commands}, {b"1", b"2", b"3", b"4"})
        until()
        self.rest()
        return self.ask(f"GET {HIGH}")[-1]

    def test_what_is_for_a_part_of_a_part(self) -> None:
        """What waits in a part that is split goes behind what was sent before, and comes back later."""
        self.assertEqual(self.split_while_it_waits(slot_of(HIGH.encode()) - 1), b"$4\r\n1234\r\n")

    def test_what_stays_in_a_part(self) -> None:
        """So does what is still for that part."""
        self.assertEqual(self.split_while_it_waits(slot_of(HIGH.encode()) + 1), b"$4\r\n1234\r\n")


class DataTests(SplitsCase):
    """What becomes of keys and values."""

    def test_each_key_is_in_one_of_them(self) -> None:
        self.ask(*(f"SET {key} {key}" for key in "abcdefgh"))
        (part,) = self.split()
        for key in "abcdefgh":
            held = part if slot_of(key.encode()) >= MIDDLE else self.whole
            other = self.whole if held is part else part
            self.assertEqual(held.keyspace.databases[0].version(key.encode()) > 0, True)
            self.assertNotIn(slot_of(key.encode()), other.keyspace.databases[0].counters)
        self.assertEqual(self.ask("DBSIZE", "GET a", "GET b"), [b":8\r\n", b"$1\r\na\r\n", b"$1\r\nb\r\n"])

    def test_values_live_on(self) -> None:
        """Those that had an object, and large ones that are trees."""
        self.ask(f"HSET {HIGH} f 1", f"RPUSH {{{HIGH}}}l " + " ".join(map(str, range(1000))))
        self.split()
        self.assertEqual(
            self.ask(f"HSET {HIGH} g 2", f"HGETALL {HIGH}"),
            [b":1\r\n", b"*4\r\n$1\r\nf\r\n$1\r\n1\r\n$1\r\ng\r\n$1\r\n2\r\n"],
        )
        large = f"{{{HIGH}}}l"
        self.assertEqual(
            self.ask(f"LINDEX {large} 999", f"RPUSH {large} x", f"LINDEX {large} -1"),
            [b"$3\r\n999\r\n", b":1001\r\n", b"$1\r\nx\r\n"],
        )

    def test_what_is_beside_the_data(self) -> None:
        """Order of the databases, settings, time and sequence are the whole's."""
        self.ask(f"SET {HIGH} 1", "SWAPDB 0 1", "CONFIG SET hash-max-listpack-entries 7")
        (part,) = self.split()
        whole = self.whole.execution
        self.assertEqual([db.number for db in part.keyspace.databases], [db.number for db in whole.keyspace.databases])
        self.assertEqual(part.keyspace.settings.values["hash-max-listpack-entries"], 7)
        self.assertEqual((part.execution.time, part.keyspace.sequence > 0), (whole.time, True))
        self.client.send(f"GET {HIGH}", db=1)
        self.hosted.settle()
        self.assertEqual(self.client.heard(), [b"$1\r\n1\r\n"])

    def test_expiry(self) -> None:
        self.ask(f"SET {HIGH} 1 PX 1000", f"SET {LOW} 1 PX 1000")
        self.split()
        self.hosted.now += 2000
        for _ in range(3):
            self.hosted.clock.advance(0.2)
            self.hosted.settle()
        self.assertEqual(self.ask("DBSIZE"), [b":0\r\n"])
        self.assertEqual(self.hosted.failures, [])

    def test_several_parts(self) -> None:
        self.ask(*(f"SET {key} {key}" for key in "abcdefgh"))
        parts = self.split(100, MIDDLE, 16000)
        self.assertEqual([host.descriptor.slots for host in parts], [(100, MIDDLE), (MIDDLE, 16000), (16000, SLOTS)])
        self.assertEqual(self.ask("DBSIZE"), [b":8\r\n"])
        self.assertEqual(len({host.descriptor.version for host in self.regions.ordered}), 1)

    def test_again(self) -> None:
        """A part is a region as any other."""
        (part,) = self.split()
        self.whole = part
        self.split(12000)
        self.assertEqual([host.descriptor.version for host in self.regions.ordered], [2, 3, 3])
        self.assertEqual(self.ask(f"SET {HIGH} 1", f"SET {LOW} 2", "DBSIZE"), [OK, OK, b":2\r\n"])


class RowTests(SplitsCase):
    """What is in the rows."""

    def test_data_db_knows_of_all_or_nothing(self) -> None:
        """The parts' rows go to disk with the table that says that the entry is applied."""
        index = self.propose()
        self.hosted.settle()
        (part,) = self.regions.ordered[1:]
        region = part.descriptor.region
        reader = self.hosted.store.reader
        self.assertIsNone(reader.get("region", descriptor_key(region)))
        self.whole.flush_all(lambda: None)
        self.hosted.flush()
        state = reader.get("region", apply_key(1))
        assert state is not None
        self.assertGreaterEqual(ApplyState.decode(state).index, index)
        row, own = reader.get("region", descriptor_key(region)), reader.get("region", apply_key(region))
        assert row is not None and own is not None
        self.assertEqual(Descriptor.decode(region, row), part.descriptor)
        self.assertGreaterEqual(ApplyState.decode(own).index, FIRST_INDEX)

    def test_one_that_is_meant_for_another_epoch(self) -> None:
        """Two that were proposed for the same one: the second does nothing."""
        self.split()
        stale = Split(1, 1, own_cuts(Descriptor.initial(1, [1]), (5,)))
        self.assertRaises(Refused, self.whole.propose_split, stale)
        self.whole.proposals.decide(stale.encode())
        self.hosted.settle()
        self.assertEqual(len(self.regions.ordered), 2)
        self.assertEqual(self.whole.descriptor.slots, (0, MIDDLE))
        self.assertEqual(self.ask(f"SET {LOW} 1"), [OK])

    def test_an_entry_that_splits_is_known_at_a_glance(self) -> None:
        self.ask("SET split 1")
        self.propose()
        self.hosted.settle()
        with closing(sqlite3.connect(self.hosted.store.folder.raft_path)) as connection:
            found = [splits(data) for (data,) in connection.execute("SELECT data FROM log WHERE region = 1")]
        self.assertEqual(found.count(True), 1)


class OrderTests(SplitsCase):
    """What is under way when a region is split."""

    def test_what_waits_goes_where_it_belongs(self) -> None:
        self.propose()
        lines = (f"SET {HIGH} 1", f"SET {LOW} 2", f"APPEND {HIGH} 1", f"GET {HIGH}", "DBSIZE", f"MGET {HIGH} {LOW}")
        for line in lines:
            self.client.send(line)
        self.hosted.settle()
        numbers = sorted(number for number, _ in self.client.told)
        self.assertEqual(numbers, list(range(6)))
        self.client.told.sort()
        self.assertEqual(
            self.client.heard(),
            [OK, OK, b":2\r\n", b"$2\r\n11\r\n", b":2\r\n", b"*2\r\n$2\r\n11\r\n$1\r\n2\r\n"],
        )

    def test_what_cannot_be_cut_is_told(self) -> None:
        """As it would be told if it came now."""
        self.propose()
        self.client.send(f"MSET {HIGH} 1 {LOW} 2")
        self.client.exec(f"SET {HIGH} 1", f"SET {LOW} 2")
        self.hosted.settle()
        self.assertEqual(self.client.heard(), [CROSS_SLOT, CROSS_SLOT])
        self.assertEqual(self.ask("DBSIZE"), [b":0\r\n"])

    def test_nothing_is_proposed_behind_it(self) -> None:
        """So no entry is meant for another range than the region has when it's applied."""
        index = self.propose()
        self.client.send(f"SET {HIGH} 1")
        for _ in range(3):
            self.hosted.turn()
        self.assertEqual(self.whole.group.last, index)
        self.assertRaises(Refused, self.propose)

    def test_no_lease(self) -> None:
        """From when it's decided on another group may serve the keys (R18)."""
        self.ask(f"SET {LOW} 1")
        self.assertEqual(self.client.read(f"GET {LOW}"), b"$1\r\n1\r\n")
        self.propose()
        self.assertIsNone(self.client.read(f"GET {LOW}"))
        self.hosted.settle()
        self.assertEqual(self.client.heard(), [b"$1\r\n1\r\n"])
        self.assertEqual(self.client.read(f"GET {LOW}"), b"$1\r\n1\r\n")

    def test_a_read_of_all_keys_that_waits(self) -> None:
        self.ask(f"SET {LOW} 1", f"SET {HIGH} 1")
        self.propose()
        self.assertIsNone(self.client.read("DBSIZE"))
        self.hosted.settle()
        self.assertEqual(self.client.heard(), [b":2\r\n"])


class WaiterTests(SplitsCase):
    """Clients that wait in blocking commands."""

    def test_they_wait_where_their_keys_are(self) -> None:
        low, high = self.hosted.client(), self.hosted.client()
        low.send(f"BLPOP {LOW} 0")
        high.send(f"BLPOP {HIGH} 0")
        self.hosted.settle()
        (part,) = self.split()
        self.assertEqual((len(self.whole.execution.waiters), len(part.execution.waiters)), (1, 1))
        self.ask(f"RPUSH {HIGH} x", f"RPUSH {LOW} y")
        self.assertEqual(high.heard(), [b"*2\r\n$1\r\na\r\n$1\r\nx\r\n"])
        self.assertEqual(low.heard(), [b"*2\r\n$1\r\nb\r\n$1\r\ny\r\n"])

    def test_one_that_waits_on_both_sides(self) -> None:
        self.client.send(f"BLPOP {LOW} {HIGH} 0")
        self.hosted.settle()
        (part,) = self.split()
        self.assertEqual(self.client.heard(), [CROSS_SLOT])
        self.assertEqual((len(self.whole.execution.waiters), len(part.execution.waiters)), (0, 0))

    def test_one_that_is_woken_meanwhile(self) -> None:
        """That its time is over was on its way to the whole, and finds it in the part."""
        self.client.send(f"BLPOP {HIGH} 1")
        self.hosted.settle()
        self.propose()
        wake = [b"wake", b"1", b"%d" % self.client.client_id, b"0", b"timeout"]
        self.whole.submit((INTERNAL, self.hosted.client(), 0, 0, None, wake, None))
        self.hosted.settle()
        self.assertEqual(self.client.heard(), [b"*-1\r\n"])


class NothingLogged:
    """A log on disk that has nothing."""

    def last(self) -> tuple[int, int]:
        """There's no entry."""
        return 0, 0

    def term(self, index: int) -> int:
        """Only before all entries there's a term."""
        assert not index
        return 0

    def entries(self, low: int, high: int, max_bytes: int) -> list[Entry]:
        """There are none."""
        return []

    def snapshot(self) -> None:
        """There's none."""

    def hard_state(self) -> None:
        """Nothing was promised."""


class AdoptTests(SplitsCase):
    """What raft.db knows of a part before data.db does."""

    def test_it_is_taken_over(self) -> None:
        """Never begun anew (R5)."""
        part = self.part()
        found = adopt(part, StoredState(1, 9, 1, 7), (8, 9), 1)
        self.assertEqual(found.hard_state, HardState(9, 1, 7))
        self.assertFalse(found.fresh)
        # What is known to be decided is no more than the log has, and no less than what is applied.
        self.assertEqual(adopt(part, StoredState(1, 9, 1, 70), (8, 9), 1).hard_state.commit, FIRST_INDEX)
        self.assertEqual(adopt(part, StoredState(1, 9, 1, 0), (8, 9), 1).hard_state.commit, FIRST_INDEX)

    def test_nothing_is_known(self) -> None:
        found = adopt(self.part(), None, (0, 0), 1)
        self.assertEqual((found.hard_state, found.fresh, found.peer), (HardState(FIRST_TERM, 0, FIRST_INDEX), True, 1))
        self.assertIsNone(adopt(self.part(), None, (0, 0), 2).peer)

    def test_a_log_that_begins(self) -> None:
        """It has its beginning before that is on disk, and no longer than that: a successor begins with nothing."""
        log, written = NothingLogged(), []
        writer: Any = SimpleNamespace(write=lambda batch, done: written.append(done))
        adopted, begun = begin_peer(self.part(), log, writer, 1)
        self.assertTrue(adopted.fresh)
        self.assertEqual((begun.last(), begun.term(FIRST_INDEX)), ((FIRST_INDEX, FIRST_TERM), FIRST_TERM))
        written[0]()
        self.assertEqual((begun.last(), begun.term(0)), ((0, 0), 0))

    def part(self) -> Part:
        """Give a part."""
        descriptor = Descriptor.initial(9, [1])
        return Part(self.whole.execution, descriptor, ApplyState(FIRST_INDEX, FIRST_TERM))
