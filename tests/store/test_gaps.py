"""A store that doesn't know where some slots lie: commands for them wait, and nobody answers as if they were empty."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.store.hosted import Hosted
from tinykv.keys import SLOTS, slot_of
from tinykv.redis.ownership import NOT_HERE

#: Keys on both sides of the middle.
LOW, HIGH = "b", "a"
MIDDLE = SLOTS // 2


class LeftBehindTests(SynchronousTestCase):
    """A copy has narrowed a region, and the rows of what was cut off are still in data.db."""

    def setUp(self) -> None:
        """Write keys, and take over as a copy's what is there, of fewer slots."""
        self.assertLess(slot_of(LOW.encode()), MIDDLE)
        self.assertGreaterEqual(slot_of(HIGH.encode()), MIDDLE)
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
