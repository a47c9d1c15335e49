"""A host whose data is larger than its memory: what is read from the disk, when, and by whom."""

from __future__ import annotations

from typing import Any

from tests.store.hosted import Hosted
from tests.store.test_host import HostCase

BUDGET = 20_000


class ColdTests(HostCase):
    """Cold keys are read while the entry travels, large cold values some rows at a time."""

    def cold(self) -> Hosted:
        """Make one of whose keys nearly all are cold: strings k0, k1, ... and the large sets a and b."""
        hosted = self.make(budget=BUDGET)
        client = hosted.client()
        for start in range(0, 40_000, 1000):
            client.send("SADD a " + " ".join(f"m{number:05}" for number in range(start, start + 1000)))
            client.send("SADD b " + " ".join(f"m{number:05}" for number in range(start + 500, start + 1500)))
        for number in range(500):
            client.send(f"SET k{number} {number}")
        self.flushed(hosted)
        client.heard()
        self.asked: list[int] = []  # how many rows each time
        channel = hosted.store.read_channel
        session: Any = channel._session
        take = session.take

        def taken(messages: list[list[bytes]]) -> object:
            self.asked += map(len, messages)
            return take(messages)

        session.take = taken
        return hosted

    def flushed(self, hosted: Hosted) -> None:
        """Let everything be on disk, and little of it in memory."""
        hosted.settle()
        hosted.clock.advance(31)
        hosted.flush()
        hosted.settle()
        self.assertFalse(hosted.store.rows.frozen)
        for _ in range(2):
            hosted.keyspace.rotate()
        self.assertFalse(hosted.keyspace.complete)

    def test_keys_of_a_proposal(self) -> None:
        """Its entry is durable, but isn't applied before they're there; none is read by the reactor."""
        hosted = self.cold()
        client = hosted.client()
        client.send("INCR k1")
        client.send("MGET k2 k3 nothing")
        client.exec("INCR k4", "GET k5")
        hosted.turn()
        hosted.store.log_channel.run()
        self.assertEqual(client.told, [])
        reads: list[int] = []
        hosted.store.rows.pausing = lambda: reads.append(1)
        hosted.store.read_channel.run()
        self.assertEqual(
            client.heard(),
            [b":2\r\n", b"*3\r\n$1\r\n2\r\n$1\r\n3\r\n$-1\r\n", b"*2\r\n:5\r\n$1\r\n5\r\n"],
        )
        self.assertEqual((reads, self.asked), ([], [6]))

    def test_in_memory(self) -> None:
        """What is in memory isn't asked for again."""
        hosted = self.cold()
        client = hosted.client()
        client.send("INCR k1")
        hosted.settle()
        client.send("INCR k1")
        hosted.turn()
        hosted.store.log_channel.run()
        self.assertEqual(client.heard(), [b":2\r\n", b":3\r\n"])

    def test_the_reader_is_slow(self) -> None:
        """Entries behind the one that waits keep their order."""
        hosted = self.cold()
        client = hosted.client()
        client.send("INCR k1")
        hosted.turn()
        client.send("INCR k1")
        client.send("SET new 1")
        hosted.turn()
        hosted.store.log_channel.run()
        self.assertEqual(client.told, [])
        hosted.settle()
        self.assertEqual(client.heard(), [b":2\r\n", b":3\r\n", b"+OK\r\n"])

    def test_a_large_cold_value(self) -> None:
        """The region rests while its nodes are read; what comes of it is the same as without."""
        hosted = self.cold()
        client = hosted.client()
        client.send("SUNIONSTORE c a b")
        hosted.turn()
        hosted.sync()
        self.assertEqual(client.heard(), [b":40500\r\n"])
        self.assertGreater(sum(self.asked), 400)
        self.assertLess(len(self.asked), 80)
        self.assertGreater(hosted.host.pauses, 1)
        rows = hosted.rows()
        hosted.crash()
        self.assertEqual(hosted.rows(), rows)

    def test_a_flush_meanwhile(self) -> None:
        """What was read and is old by then is read again."""
        hosted = self.cold()
        client = hosted.client()
        client.send("INCR k1")
        self.flushed_behind(hosted)
        client.send("INCR k1")
        hosted.turn()
        hosted.store.log_channel.run()
        hosted.flush()
        hosted.store.read_channel.run()
        hosted.settle()
        self.assertEqual(client.heard(), [b":2\r\n", b":3\r\n"])

    def flushed_behind(self, hosted: Hosted) -> None:
        """Freeze what there is, forget it in memory, and leave its flush under way."""
        hosted.settle()
        hosted.clock.advance(31)
        hosted.settle()
        for _ in range(2):
            hosted.keyspace.rotate()
        self.assertTrue(hosted.store.rows.frozen)
