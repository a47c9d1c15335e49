"""Many reads of large values by a client of a store that doesn't lead, in a simulated cluster."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.store.members import Cluster
from tests.store.test_forwarding import Asker
from tinykv.store.forwarding import Forwarder
from tinykv.store.remote_clients import ANSWER_BYTES

SIZE = ANSWER_BYTES // 4


class LargeAnswerTests(SynchronousTestCase):
    """They come in several answers, all of them, and as if in one."""

    def setUp(self) -> None:
        self.cluster = Cluster()
        leader = self.cluster.leader()
        self.other = next(member for member in self.cluster.members.values() if member is not leader)
        self.cluster.run(2)
        self.client = Asker()
        self.other.host.submit(self.client("SET a " + "x" * SIZE))
        self.cluster.run(1)
        self.assertEqual(self.client.told, [(0, b"+OK\r\n")])
        self.client.told.clear()

    def test_reads(self) -> None:
        for _ in range(12):
            self.other.host.submit(self.client("GET a"))
        self.cluster.run(3)
        self.assertEqual([number for number, _ in self.client.told], list(range(1, 13)))
        self.assertEqual({len(reply) for _, reply in self.client.told}, {len(b"$%d\r\n\r\n" % SIZE) + SIZE})
        elsewhere = self.other.host.elsewhere
        assert isinstance(elsewhere, Forwarder)
        self.assertGreater(elsewhere.retried, 6)

    def test_a_write_among_them(self) -> None:
        """What stands before it has no other time."""
        other = Asker(2)
        for line in (*["GET a"] * 6, "SET a 1", "GET a"):
            self.other.host.submit(self.client(line))
        self.other.host.submit(other("GET a"))
        self.cluster.run(3)
        told = dict(self.client.told)
        self.assertEqual({len(told[number]) > SIZE for number in range(1, 7)}, {True})
        self.assertEqual((told[7], told[8]), (b"+OK\r\n", b"$1\r\n1\r\n"))
        self.assertEqual(other.told, [(0, b"$1\r\n1\r\n")])
