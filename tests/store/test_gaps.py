"""A store that doesn't know where some slots lie: commands for them wait, and nobody answers as if they were empty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.redis.regions import Teller
from tests.store.hosted import Hosted
from tests.store.test_splits import HIGH, LOW, MIDDLE, OK, SplitsCase
from tests.testing.cluster import Variant
from tests.testing.region_cluster import RegionStore
from tests.testing.split_cluster import SplitWorld
from tinykv.keys import SLOTS
from tinykv.redis.operations import COMMANDS, READ, lookup
from tinykv.redis.ownership import NOT_HERE
from tinykv.region.descriptor import Descriptor
from tinykv.region.splitting import Split, own_cuts
from tinykv.resp.replies import encode_command
from tinykv.resp.splitting import elements_of
from tinykv.store.host import RegionHost
from tinykv.store.letting_go import LetGo
from tinykv.store.refusals import NO_LEADER
from tinykv.store.splitting import Part
from tinykv.testing.embedded import TABLE
from tinykv.testing.redis_space import Failed
from tinykv.testing.simulation.clock import NodeClock, Process
from tinykv.testing.simulation.endpoints import address_of
from tinykv.testing.simulation.events import SECOND
from tinykv.testing.simulation.ports import RespPort

#: Keys in each half, and in each third.
KEYS = (b"a", b"b", b"c")


class LeftBehindTests(SynchronousTestCase):
    """A copy has narrowed a region, and the rows of what was cut off are still in data.db."""

    def setUp(self) -> None:
        """Write keys, and take over as a copy's what is there, of fewer slots."""
        self.hosted = Hosted(self.mktemp())
        self.addCleanup(self.hosted.close)
        self.hosted.settle()
        self.client = self.hosted.client()
        self.client.send(f"SET {LOW} 1")
        self.client.send(f"SET {HIGH} old")
        self.hosted.settle()
        self.client.heard()
        self.hosted.host.flush_all(lambda: None)
        self.hosted.settle()
        self.hosted.flush()
        execution = self.hosted.execution
        sequence, time = execution.keyspace.sequence, execution.time
        execution.forget()
        execution.keyspace.slots = (0, MIDDLE)
        execution.keyspace.sequence = sequence
        execution.load(time)

    def test_what_was_left_behind_is_no_answer(self) -> None:
        """Whatever the way in which it's read."""
        self.assertEqual(self.client.read(f"GET {LOW}"), b"$1\r\n1\r\n")
        for read in (self.hosted.host.read, self.hosted.host.read_local):
            with self.subTest(read=read.__name__):
                self.hosted.host.read = read
                self.assertIsNone(self.client.read(f"GET {HIGH}"))
                self.hosted.settle()
                self.assertEqual(self.client.heard(), [NOT_HERE])


class WaitingTests(SplitsCase):
    """The store has no peer of a part that is cut off, and hears later where it is."""

    def bear(self, part: Part) -> RegionHost | None:  # type: ignore[override]  # as on a store without a peer
        """Keep it for later."""
        self.part = part
        return None

    def hear(self) -> None:
        """Learn where the part is."""
        super().bear(self.part).start()

    def waits(self, *lines: str) -> None:
        """Send commands that aren't answered now."""
        self.assertEqual(self.ask(*lines), [])

    def test_it_is_done_in_its_order(self) -> None:
        """What was on its way to the whole goes before what came when it was known that it isn't there."""
        self.propose()
        self.client.send(f"APPEND {HIGH} 1")
        self.hosted.turn()
        self.hosted.settle()
        self.waits(f"APPEND {HIGH} 2", f"GET {HIGH}")
        self.assertEqual(self.regions.gaps[0].slots, (MIDDLE, SLOTS))
        self.assertEqual(len(self.hosted.host.undone()), 3)
        self.hear()
        self.client.send(f"APPEND {HIGH} 3")
        self.hosted.settle()
        self.client.told.sort()
        self.assertEqual(self.client.heard(), [b":1\r\n", b":2\r\n", b"$2\r\n12\r\n", b":3\r\n"])
        self.assertEqual(self.regions.gaps, [])

    def test_what_was_sent_before_comes_one_by_one(self) -> None:
        """It goes before what came here, some of it when it's known where that is and some before."""
        self.split()
        (gap,) = self.regions.gaps
        until = LetGo([gap])
        before = [[b"APPEND", HIGH.encode(), b"%d" % number] for number in (1, 2)]
        first, second = [(COMMANDS, self.client, 0, 0, TABLE["append"], one, encode_command(one)) for one in before]
        self.waits(f"APPEND {HIGH} 3")
        self.whole.move(first, (0, SLOTS))
        self.hear()
        self.waits(f"APPEND {HIGH} 4")
        self.whole.move(second, (0, SLOTS))
        until()
        self.assertEqual(self.ask(f"GET {HIGH}")[-1], b"$4\r\n1234\r\n")

    def test_others_are_not_held_up(self) -> None:
        self.split()
        self.waits(f"SET {HIGH} 1")
        self.assertEqual(self.ask(f"SET {LOW} 1"), [OK])

    def test_a_step_waits_for_what_its_client_sent(self) -> None:
        self.split()
        done: list[str] = []
        self.client.local(lambda: done.append("at once"))
        self.hosted.settle()
        self.waits(f"SET {HIGH} 1")
        self.client.local(lambda: done.append("behind it"))
        self.hosted.client().local(lambda: done.append("another one's"))
        self.hosted.settle()
        self.assertEqual(done, ["at once", "another one's"])
        self.hear()
        self.hosted.settle()
        self.assertEqual(done, ["at once", "another one's", "behind it"])

    def test_what_is_about_all_keys(self) -> None:
        self.assertEqual(self.ask(f"MSET {LOW} 1 {HIGH} 1"), [OK])
        self.split()
        self.waits("DBSIZE", "KEYS *", "FLUSHALL", "DBSIZE")
        self.hear()
        size, keys, flushed, left = self.ask()
        self.assertEqual((size, flushed, left), (b":2\r\n", OK, b":0\r\n"))
        self.assertEqual(sorted(elements_of(keys)), [b"$1\r\na\r\n", b"$1\r\nb\r\n"])

    def test_no_longer_than_clients_wait(self) -> None:
        self.split()
        done: list[int] = []
        self.waits(f"GET {HIGH}", f"SET {HIGH} 1", "DBSIZE")
        self.client.local(lambda: done.append(1))
        self.hosted.clock.advance(4.9)
        self.assertEqual(self.client.heard(), [])
        self.hosted.clock.advance(0.2)
        self.hosted.settle()
        self.client.told.sort()
        self.assertEqual(self.client.heard(), [NO_LEADER] * 3)
        self.assertEqual(done, [1])

    def test_some_of_it_was_done(self) -> None:
        """What is known here was deleted, so it's not said that nothing was."""
        self.assertEqual(self.ask(f"SET {LOW} 1"), [OK])
        self.split()
        self.waits("FLUSHALL")
        self.assertEqual(self.ask(f"EXISTS {LOW}"), [b":0\r\n"])
        self.hosted.clock.advance(5.2)
        self.hosted.settle()
        (told,) = self.client.heard()
        self.assertTrue(told.startswith(b"-TIMEOUT not all parts of the command were done (CLUSTERDOWN "), told)
        self.assertTrue(told.endswith(b"); outcome unknown\r\n"), told)

    def test_a_key_by_chance(self) -> None:
        """It's taken from what is known, if there's any."""
        self.assertEqual(self.ask(f"SET {LOW} 1"), [OK])
        self.split()
        self.router.chance = lambda count: count - 1
        self.assertEqual(self.ask("RANDOMKEY"), [b"$1\r\n%b\r\n" % LOW.encode()])
        self.assertEqual(self.ask(f"DEL {LOW}"), [b":1\r\n"])
        self.waits("RANDOMKEY")
        self.hear()
        self.assertEqual(self.ask(), [b"$-1\r\n"])

    def test_a_late_step(self) -> None:
        """What is given to it when it's known where its slots are goes there."""
        self.split()
        (gap,) = self.regions.gaps
        self.hear()
        self.hosted.settle()
        spec = lookup([b"GET"], TABLE)
        gap.submit((READ, self.client, 7, 0, spec, [b"GET", HIGH.encode()], None))
        self.hosted.settle()
        self.assertEqual(self.client.heard(), [b"$-1\r\n"])


class Few(Variant):
    """Cuts the log short, so that a store that was away gets a copy."""

    log_entries = 2


class WorldCase(SynchronousTestCase):
    """Simulated stores, of which a client asks one."""

    moves = True

    def setUp(self) -> None:
        """Begin, with a key in each half."""
        self.world = SplitWorld(3, Few(), size=3, moves=self.moves, bursts=0)
        self.addCleanup(self.world.close)
        self.world.mend()
        self.leader = self.leads(1)
        self.at_leader = self.port(self.leader)
        for key in KEYS:
            self.assertEqual(self.ask(self.at_leader, b"SET", key, b"1"), b"OK")

    def until(self, condition: Callable[[], object], seconds: int = 20) -> None:
        """Let happen what does until something is so."""
        self.assertTrue(self.world.run_while(lambda: not condition(), seconds), self.world.checker.problems)
        self.assertEqual(self.world.checker.problems, [])

    def rest(self, seconds: int) -> None:
        """Let some time pass."""
        self.world.run_until(self.world.events.now + seconds * SECOND)

    def leads(self, region: int) -> RegionStore:
        """Give the store that leads a region, when one does."""
        found: list[RegionStore] = []

        def look() -> bool:
            parts = self.world.parts_of(region)
            found[:] = [store for store, part in parts if part.host.ready and not store.process.is_dead]
            return bool(found)

        self.until(look, 30)
        return found[0]

    def split(self, *slots: int) -> list[int]:
        """Have the first region split; give all regions when each has a leader."""
        host = self.leader.parts[1].host
        split = Split(host.descriptor.version, host.descriptor.conf_ver, own_cuts(host.descriptor, slots))
        self.leader.process.soon("splits", lambda: host.propose_split(split))
        self.until(lambda: len(self.leader.regions.ordered) == 1 + len(slots))
        regions = [host.descriptor.region for host in self.leader.regions.ordered]
        for region in regions:
            self.leads(region)
        self.rest(2)
        return regions

    def change(self, region: int, make: Callable[[Descriptor], Any]) -> None:
        """Propose a change of a region's peers."""
        store = self.leads(region)
        part = store.parts[region]

        def propose() -> None:
            part.group.propose_change(make(part.host.descriptor))
            part.host.replica.go_on()

        store.process.soon("changes members", propose)

    def remove(self, region: int, store: RegionStore) -> None:
        """Take a region's peer from a store."""
        self.change(region, lambda descriptor: descriptor.removing(store.id))
        self.until(lambda: store.parts[region].host.buried)

    def restart(self, store: RegionStore) -> None:
        """Kill a store, and start it again."""
        self.world.kill(store.name)
        self.rest(1)
        self.world.restart(store.name)

    def port(self, store: RegionStore) -> RespPort:
        """Connect to a store."""
        process = Process(self.world.events, NodeClock(self.world.events), f"client of {store.name}")
        return RespPort(
            self.world.streams, process, [self.world.addresses[store.id]], self.world.events.random(store.name)
        )

    def ask(self, port: RespPort, *words: bytes) -> Any:
        """Have a command done."""
        replies: list[Any] = []
        port.send(words, replies.append)
        self.until(lambda: replies)
        return replies[0]

    def left(self) -> list[Any]:
        """Say which keys are left."""
        return [self.ask(self.at_leader, b"GET", key) for key in KEYS]

    def slots(self, store: RegionStore) -> list[tuple[int, int]]:
        """Give the ranges of the regions that a store knows."""
        return [host.descriptor.slots for host in store.regions.ordered]


class CopyTests(WorldCase):
    """A copy has narrowed the whole on a store that was away while it was split."""

    moves = False

    def setUp(self) -> None:
        """Let a store have got the copy, and not know of the part."""
        super().setUp()
        self.late = next(store for store, _ in self.world.parts_of(1) if store is not self.leader)
        self.world.kill(self.late.name)
        self.split(MIDDLE)
        for _ in range(2):
            for number in range(10):
                self.ask(self.at_leader, b"SET", LOW.encode(), b"%d" % number)
            self.flush()
        self.rest(1)
        self.world.restart(self.late.name)
        self.at_late = self.port(self.late)
        self.assertEqual(self.ask(self.at_late, b"PING"), b"PONG")
        self.until(lambda: self.late.parts[1].host.version == 2)
        self.assertEqual(self.slots(self.late), [(0, MIDDLE)])

    def flush(self) -> None:
        """Have what is applied at the leader written into data.db, so that its log may be cut."""
        done: list[int] = []
        host = self.leader.parts[1].host
        self.leader.process.soon("flushes", lambda: host.flush_all(lambda: done.append(1)))
        self.until(lambda: done)

    def test_reads_wait_for_the_part(self) -> None:
        self.assertEqual(self.ask(self.at_late, b"GET", HIGH.encode()), b"1")

    def test_all_keys_are_all_keys(self) -> None:
        self.assertEqual(self.ask(self.at_late, b"DBSIZE"), len(self.left()))
        self.assertEqual(sorted(self.ask(self.at_late, b"KEYS", b"*")), sorted(KEYS))

    def test_flushed_in_the_gap(self) -> None:
        """This is asked first."""
        self.assertEqual(self.ask(self.at_late, b"FLUSHALL"), b"OK")
        self.assertEqual(self.left(), [None] * len(KEYS))


class StartTests(WorldCase):
    """A start, of whose regions nothing is known that has no peer there."""

    def test_behind_what_is_known(self) -> None:
        _, part = self.split(MIDDLE)
        away = next(s for s, _ in self.world.parts_of(1) if s not in (self.leader, self.leads(part)) and s.id != 4)
        self.remove(part, away)
        self.rest(2)
        self.restart(away)
        self.assertEqual(self.slots(away), [(0, MIDDLE)])
        self.assertEqual(self.ask(self.port(away), b"FLUSHALL"), b"OK")
        self.assertEqual(self.left(), [None] * len(KEYS))

    def test_on_both_sides(self) -> None:
        """Of the first one a guess is known, and of the last one nothing."""
        first, _, last = self.split(5000, 10000)
        away = next(
            s for s, _ in self.world.parts_of(1) if s not in (self.leads(first), self.leads(last)) and s.id != 4
        )
        for region in (first, last):
            self.remove(region, away)
        self.rest(2)
        self.restart(away)
        self.assertEqual(self.slots(away), [(0, 5000), (5000, 10000)])
        self.assertEqual(self.ask(self.port(away), b"FLUSHALL"), b"OK")
        self.assertEqual(self.left(), [None] * len(KEYS))

    def test_a_peer_without_a_copy(self) -> None:
        """It's destroyed without what lies where it began, as far as its store knows, and where others are by now."""
        _, part = self.split(MIDDLE)
        away = next(s for s, _ in self.world.parts_of(1) if s not in (self.leader, self.leads(part)) and s.id != 4)
        self.remove(1, away)
        last = away.parts[1].host.buried
        self.change(1, lambda descriptor: descriptor.adding(away.id, address_of(away.name)))
        self.until(lambda: away.disk.log.durable.hard_state(1) is not None)
        self.world.kill(away.name)
        self.assertEqual(away.parts[1].host.applied, 0)
        self.change(1, lambda descriptor: descriptor.removing(away.id))
        self.rest(1)
        self.world.restart(away.name)
        host = away.parts[1].host
        self.assertEqual(host.applied, 0)
        self.assertGreater(host.group.peer, last)
        self.assertEqual(self.slots(away), [(0, MIDDLE), (MIDDLE, SLOTS)])
        self.until(lambda: host.buried > last)
        self.assertEqual(self.slots(away), [(0, MIDDLE), (MIDDLE, SLOTS)])
        self.assertTrue(away.parts[part].left_rows())
        self.until(self.world.converged)
        self.world.compare_at_end()
        self.assertEqual(self.world.checker.problems, [])

    def test_nobody_knows(self) -> None:
        """Two stores are started that are a majority of one region, and know nothing of the other: clients hear so."""
        _, part = self.split(MIDDLE)
        kept = self.leads(part)
        some = [store for store in list(self.world.stores.values())[:3] if store is not kept]
        self.change(part, lambda descriptor: descriptor.adding(4, address_of("store4")))
        self.until(lambda: len(self.world.descriptor_of(part).membership.voters) == 4)
        for store in some:
            self.remove(part, store)
        self.rest(2)
        names = [store.name for store in self.world.stores.values()]
        for name in names:
            self.world.kill(name)
        self.rest(1)
        for store in some:
            self.world.restart(store.name)
        port = self.port(self.leads(1))
        self.rest(5)
        high = HIGH.encode()
        for words in ((b"GET", high), (b"SET", high, b"2"), (b"DBSIZE",), (b"KEYS", b"*"), (b"BLPOP", high, b"0")):
            with self.subTest(words=words):
                self.assertEqual(self.ask(port, *words), Failed(b"CLUSTERDOWN"))
        # What is known was deleted.
        self.assertEqual(self.ask(port, b"FLUSHALL"), Failed(b"TIMEOUT"))
        for name in names:
            if name not in [store.name for store in some]:
                self.world.restart(name)
        self.leads(part)
        self.until(lambda: self.ask(port, b"GET", high) == b"1")


class LocalTests(WorldCase):
    """Reads of what is applied here, where nothing is yet."""

    def test_before_the_copy(self) -> None:
        """A peer that was added just now doesn't answer as if there were nothing."""
        store = self.world.stores[4]
        host = store.parts[1].host
        self.change(1, lambda descriptor: descriptor.adding(4, address_of("store4")))
        self.until(lambda: host.group.peer)
        self.assertEqual(host.applied, 0)
        self.assertIsNone(host.read_local(Teller(1), 1, 0, TABLE["get"], [b"GET", b"a"]))
        self.until(lambda: host.applied)
        self.assertEqual(host.read_local(Teller(1), 2, 0, TABLE["get"], [b"GET", b"a"]), b"$1\r\n1\r\n")
