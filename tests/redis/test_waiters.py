"""Who waits, by origin and by key."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tinykv.redis.waiters import Waiter, Waiters
from tinykv.testing.memory_rows import MemoryRows


def waiter(order: int, number: int, *keys: bytes) -> Waiter:
    """Make one of the same client."""
    return Waiter(order, (1, 2, number), 0, list(keys), [b"BLPOP", *keys, b"0"])


class WaitersTests(SynchronousTestCase):
    """Each origin waits once."""

    def setUp(self) -> None:
        """Nobody waits."""
        self.rows = MemoryRows()
        self.waiters = Waiters(self.rows, 1)

    def test_the_oldest_first(self) -> None:
        """For a key, and in all."""
        first, second = waiter(5, 1, b"a", b"b"), waiter(6, 2, b"b")
        self.waiters.add(first)
        self.waiters.add(second)
        self.assertEqual(self.waiters.of(0, b"b"), [first, second])
        self.waiters.remove(first)
        self.assertEqual((list(self.waiters), self.waiters.waited(0)), ([second], [b"b"]))

    def test_the_same_origin_again(self) -> None:
        """The later one takes the place of the earlier, in the rows as well; a store that is broken stops nobody."""
        self.waiters.add(waiter(5, 1, b"a"))
        again = waiter(6, 1, b"b")
        self.waiters.add(again)
        self.assertEqual((list(self.waiters), self.waiters.waited(0)), ([again], [b"b"]))
        loaded = Waiters(self.rows, 1)
        loaded.load()
        self.assertEqual([held.order for held in loaded], [6])
        self.waiters.remove(again)
        self.assertEqual((len(self.waiters), self.rows.rows["region"]), (0, {}))
