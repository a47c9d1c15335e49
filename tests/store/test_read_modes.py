"""
How reads know that they see every write answered before: the modes C{lease}, C{readindex} and C{local}.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.store.hosted import Hosted
from tests.store.members import RAFT, Cluster, Member
from tests.store.test_gaps import WorldCase
from tests.store.test_splits import HIGH, LOW, MIDDLE
from tests.testing.cluster import Cluster as SimulatedCluster
from tests.testing.cluster import Variant
from tests.testing.seeds import SeedsCase
from tinykv.redis.operations import COMMANDS, lookup
from tinykv.resp.replies import encode_command
from tinykv.store.host import RegionHost
from tinykv.testing.embedded import TABLE
from tinykv.testing.simulation.ports import RespPort
from tinykv.testing.simulation.scenario import Settings


class Reader:
    """A client that reads."""

    proto = 2
    client_id = 7

    def __init__(self) -> None:
        self.told: list[bytes] = []

    def answer(self, number: int, reply: bytes) -> None:
        """Note a reply."""
        self.told.append(reply)

    def read(self, member: Member, line: str) -> bytes | None:
        """Read at once; None if the answer comes later."""
        arguments = line.encode().split()
        client: Any = self
        return member.host.read(client, 0, 0, lookup(arguments, TABLE), arguments)

    def read_later(self, member: Member, line: str, seconds: float = 1.0) -> bytes | None:
        """Read, and give the answer if there's one within some time."""
        before = len(self.told)
        reply = self.read(member, line)
        if reply is None:
            member.cluster.run(seconds)
            reply = self.told[before] if len(self.told) > before else None
        return reply


def bulk(text: str) -> bytes:
    """Make a reply of a string."""
    return b"$%d\r\n%b\r\n" % (len(text), text.encode())


class ModesCase(SynchronousTestCase):
    """Three stores, the first leader of which is cut off from the others while they go on."""

    def begin(self, mode: str) -> None:
        """Write a value, of which all stores know."""
        self.cluster = Cluster(seed=3, read_mode=mode)
        self.old = self.cluster.leader()
        self.reader = Reader()
        self.old.write("SET a old")
        self.cluster.run(1)

    def part(self) -> Member:
        """Cut the leader off, at a moment when its clock nearly stands still; have another lead that writes."""
        self.old.clock.set_rate(0.001)
        self.cluster.cut(self.old.id)
        others = [member for member in self.cluster.members.values() if member is not self.old]
        self.cluster.until(lambda: [member for member in others if member.host.ready])
        (new,) = (member for member in others if member.host.ready)
        new.write("SET a new")
        self.cluster.run(1)
        return new


class LeaseTests(ModesCase):
    """The default."""

    def test_it_answers_at_once(self) -> None:
        self.begin("lease")
        self.assertEqual(self.reader.read(self.old, "GET a"), bulk("old"))

    def test_it_relies_on_clocks(self) -> None:
        """With one that runs far slower than C{lease_drift_bound} allows a read is stale: what readindex is for."""
        self.begin("lease")
        new = self.part()
        self.assertEqual(self.reader.read_later(new, "GET a"), bulk("new"))
        self.assertEqual(self.reader.read(self.old, "GET a"), bulk("old"))

    def test_it_ends_without_a_majority(self) -> None:
        self.begin("lease")
        self.cluster.cut(self.old.id)
        self.cluster.run(RAFT.silence)
        self.assertIsNone(self.reader.read_later(self.old, "GET a", 5))


class ReadIndexTests(ModesCase):
    """A majority is asked for each read."""

    def test_it_asks_and_answers(self) -> None:
        self.begin("readindex")
        self.assertIsNone(self.reader.read(self.old, "GET a"))
        self.cluster.run(0.1)
        self.assertEqual(self.reader.told, [bulk("old")])

    def test_never_stale_whatever_clocks_say(self) -> None:
        self.begin("readindex")
        new = self.part()
        self.assertEqual(self.reader.read_later(new, "GET a"), bulk("new"))
        self.assertIsNone(self.reader.read_later(self.old, "GET a", 5))
        self.old.clock.set_rate(1)
        self.cluster.heal()
        self.cluster.run(3)
        self.assertNotIn(bulk("old"), self.reader.told)

    def test_nothing_is_answered_without_a_leader(self) -> None:
        self.begin("readindex")
        for member in self.cluster.members.values():
            if member is not self.old:
                member.kill()
        reply = self.reader.read_later(self.old, "GET a", 10) or b""
        self.assertTrue(reply.startswith(b"-CLUSTERDOWN no majority of the stores has answered in time"), reply)
        reply = self.reader.read_later(self.old, "GET a", 10) or b""
        self.assertTrue(reply.startswith(b"-CLUSTERDOWN no store leads"), reply)

    def test_reads_of_a_turn_share_a_round(self) -> None:
        self.begin("readindex")
        for _ in range(50):
            self.assertIsNone(self.reader.read(self.old, "GET a"))
        rounds = 0
        heard = self.old.group.progress()[2]
        while len(self.reader.told) < 50:
            before = heard.round
            self.cluster.run(0.01)
            rounds += heard.round > before
        self.assertEqual(self.reader.told, [bulk("old")] * 50)
        self.assertLess(rounds, 5)

    def test_a_store_on_its_own_asks_nobody(self) -> None:
        hosted = Hosted(self.mktemp(), read_mode="readindex")
        self.addCleanup(hosted.close)
        client = hosted.client()
        client.send("SET a 1")
        hosted.settle()
        self.assertEqual(client.read("GET a"), bulk("1"))


class SimulatedTests(SeedsCase):
    """All that may happen, with every history judged."""

    def test_linearizable_without_leases(self) -> None:
        class ReadIndex(Variant):
            """Stores that trust no clock."""

            host = partial(RegionHost, read_mode="readindex")  # type: ignore[assignment]  # made as the class is

        figures = self.run_seeds(SimulatedCluster(ReadIndex), range(1, 3), Settings(SimulatedCluster.faults))
        self.assertGreater(figures["replies"], 2 * 60)


class LocalTests(ModesCase):
    """Each store answers from what it has."""

    def follower(self) -> Member:
        """Give a store that doesn't lead."""
        return next(member for member in self.cluster.members.values() if member is not self.old)

    def test_any_store_answers_at_once(self) -> None:
        self.begin("local")
        for member in self.cluster.members.values():
            self.assertEqual(self.reader.read(member, "GET a"), bulk("old"))

    def test_it_may_be_old(self) -> None:
        self.begin("local")
        follower = self.follower()
        self.cluster.cut(follower.id)
        self.old.write("SET a new")
        self.cluster.run(5)
        self.assertEqual(self.reader.read(self.old, "GET a"), bulk("new"))
        self.assertEqual(self.reader.read(follower, "GET a"), bulk("old"))
        self.cluster.heal()
        self.cluster.run(5)
        self.assertEqual(self.reader.read(follower, "GET a"), bulk("new"))

    def test_a_store_sees_what_its_clients_wrote_elsewhere(self) -> None:
        """While that isn't applied here yet a read goes to the store that leads."""
        self.begin("local")
        follower = self.follower()
        reader = self.reader
        for number in range(100):
            written = Reader()
            arguments = [b"SET", b"a", b"%d" % number]
            follower.host.submit(
                (COMMANDS, written, 0, 0, lookup(arguments, TABLE), arguments, encode_command(arguments))
            )
            self.cluster.until(lambda written=written: written.told)
            self.assertEqual(reader.read_later(follower, "GET a"), bulk(str(number)))
        self.cluster.run(1)
        self.assertEqual(reader.read(follower, "GET a"), bulk("99"))

    def test_without_a_leader(self) -> None:
        self.begin("local")
        follower = self.follower()
        for member in self.cluster.members.values():
            if member is not follower:
                member.kill()
        self.cluster.run(10)
        self.assertEqual(self.reader.read(follower, "GET a"), bulk("old"))

    def test_what_has_expired_is_absent(self) -> None:
        """By the follower's clock, though nobody is there to decide it; nothing is deleted by that."""
        self.begin("local")
        self.old.write("SET b 1 PX 3000", "SET c 1", "HSET h f 1", "PEXPIRE h 3000")
        self.cluster.run(1)
        follower = self.follower()
        self.assertEqual(self.reader.read(follower, "GET b"), bulk("1"))
        self.cluster.cut(follower.id)
        self.cluster.run(1)
        applied = follower.host.applied
        self.assertEqual(self.reader.read(follower, "HGET h f"), bulk("1"))
        self.cluster.run(3)
        for line, expected in (
            ("GET b", b"$-1\r\n"),
            ("EXISTS b c h", b":1\r\n"),
            ("HGET h f", b"$-1\r\n"),
            ("TTL b", b":-2\r\n"),
            ("KEYS b", b"*0\r\n"),
        ):
            self.assertEqual(self.reader.read(follower, line), expected, line)
        self.assertEqual(follower.host.applied, applied)
        self.assertEqual(follower.failures, [])

    def test_a_key_whose_time_was_extended_is_there_again(self) -> None:
        """What a follower found expired was no decision."""
        self.begin("local")
        self.old.write("SET b 1 PX 3000")
        self.cluster.run(0.5)
        follower = self.follower()
        self.cluster.cut(follower.id)
        self.old.write("PERSIST b")
        self.cluster.run(5)
        self.assertEqual(self.reader.read(follower, "GET b"), b"$-1\r\n")
        self.cluster.heal()
        self.cluster.run(5)
        self.assertEqual(self.reader.read(follower, "GET b"), bulk("1"))

    def test_by_the_clock_on_a_store_of_its_own(self) -> None:
        hosted = Hosted(self.mktemp(), read_mode="local")
        self.addCleanup(hosted.close)
        client = hosted.client()
        client.send("SET a 1 PX 100")
        hosted.settle()
        self.assertEqual(client.read("GET a"), bulk("1"))
        hosted.now += 101
        self.assertEqual(client.read("GET a"), b"$-1\r\n")


class ReadOnlyTests(LocalTests):
    """The same for clients that want it, in a cluster where others read the newest."""

    def begin(self, mode: str) -> None:
        """Write a value, of which all stores know."""
        super().begin("lease")
        self.others = Reader()
        self.reader = LocalReader()

    def test_others_read_the_newest(self) -> None:
        self.begin("lease")
        follower = self.follower()
        self.assertEqual(self.reader.read(follower, "GET a"), bulk("old"))
        self.assertIsNone(self.others.read(follower, "GET a"))

    def test_what_was_written_before_anybody_wanted_that(self) -> None:
        self.begin("lease")
        follower = self.follower()
        written = Reader()
        arguments = [b"SET", b"a", b"new"]
        follower.host.submit((COMMANDS, written, 0, 0, lookup(arguments, TABLE), arguments, encode_command(arguments)))
        self.cluster.until(lambda: written.told)
        self.assertEqual(self.reader.read_later(follower, "GET a"), bulk("new"))


class LocalReader(Reader):
    """A client that has said READONLY."""

    def read(self, member: Member, line: str) -> bytes | None:
        """Read what is applied there; None if the answer comes later."""
        member.host.expect_local_reads()
        arguments = line.encode().split()
        client: Any = self
        return member.host.read_local(client, 0, 0, lookup(arguments, TABLE), arguments)


class OwnWritesTests(WorldCase):
    """Such a client in a region that was split off since it said so."""

    moves = False

    def test_in_the_part(self) -> None:
        store = next(s for s, _ in self.world.parts_of(1) if s is not self.leader and s.id != 4)
        port = self.port(store)
        self.assertEqual(self.ask(port, b"READONLY"), b"OK")
        self.sees_what_it_writes(port)
        (_, part) = self.split(MIDDLE)
        if self.leads(part) is store:
            store.process.soon("hands over", store.parts[part].host.hand_over)
            self.until(lambda: not store.parts[part].host.ready)
            self.leads(part)
        self.sees_what_it_writes(port)

    def sees_what_it_writes(self, port: RespPort) -> None:
        """Write and read keys of both halves."""
        for number in range(20):
            for key in (LOW.encode(), HIGH.encode()):
                value = b"%d" % number
                self.assertEqual(self.ask(port, b"SET", key, value), b"OK")
                self.assertEqual(self.ask(port, b"GET", key), value, key)
