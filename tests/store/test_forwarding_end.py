"""What becomes of what a region's clients want on other stores when the region has ended here."""

from __future__ import annotations

from tests.store.test_forwarding import OK, Way
from tinykv.redis.operations import Operation
from tinykv.store.forwarding import GRACE_SECONDS


class EndTests(Way):
    """Another region takes it over, in its order."""

    def setUp(self) -> None:
        """Note what it takes."""
        super().setUp()
        self.taken: list[bytes] = []
        self.meant: dict[bytes, tuple[int, int]] = {}
        self.drained = 0
        self.landed = 0
        self.forwarder.landed = self.land

    def heir(self, operation: Operation, whole: tuple[int, int] | None) -> None:
        """Take an operation."""
        if whole is not None:
            self.meant[b" ".join(operation[5])] = whole
        self.taken.append(b" ".join(operation[5]))

    def end(self, *operations: Operation) -> None:
        """Let the region end, in which these wait."""
        self.forwarder.end(list(operations), self.heir, self.drain)

    def drain(self) -> None:
        """Note that nothing is left."""
        self.drained += 1

    def land(self) -> None:
        """Note that nothing is under way."""
        self.landed += 1

    def test_nothing_is_under_way(self) -> None:
        self.leader = None
        self.take(self.one("SET a 1"), self.two("GET a"))
        self.end()
        self.assertEqual((self.taken, self.drained), ([b"SET a 1", b"GET a"], 1))
        self.assertFalse(self.forwarder.holds)
        self.pass_time()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_there_is_nothing(self) -> None:
        self.end()
        self.assertEqual((self.taken, self.drained), ([], 1))

    def test_what_is_under_way_goes_first(self) -> None:
        """As far as it did nothing."""
        self.take(self.one("SET a 1"))
        self.take(self.one("SET a 2"))
        first, second = self.flights
        self.end()
        self.take(self.one("SET a 3"))
        self.pass_time(0.1)
        self.assertEqual((self.taken, self.drained), ([], 0))
        second.refuse()
        self.pass_time()
        self.assertEqual(self.drained, 0)
        first.answer(OK)
        self.pass_time()
        self.assertEqual((self.taken, self.drained), ([b"SET a 2", b"SET a 3"], 1))
        self.assertEqual(self.one.told, [(0, OK)])
        self.assertEqual(len(self.flights), 2)

    def test_a_store_that_does_not_answer(self) -> None:
        """It's waited for a little only: nobody learns any more who leads the region."""
        self.take(self.one("SET a 1"))
        self.end()
        self.take(self.one("SET a 2"))
        self.pass_time(GRACE_SECONDS / 2)
        self.assertEqual(self.drained, 0)
        self.pass_time(GRACE_SECONDS)
        self.assertEqual((self.taken, self.drained), ([b"SET a 2"], 1))
        ((number, reply),) = self.one.told
        self.assertEqual((number, reply[:8]), (0, b"-TIMEOUT"))

    def test_what_comes_later(self) -> None:
        """It's handed on as it comes, and nobody is told again."""
        self.end()
        self.take(self.one("SET a 1"))
        self.pass_time()
        self.forwarder.take_back([self.one("SET a 2")])
        self.pass_time()
        self.assertEqual((self.taken, self.drained), ([b"SET a 1", b"SET a 2"], 1))
        self.assertEqual(self.flights, [])

    def test_what_waits_with_the_region(self) -> None:
        """It goes behind what was sent elsewhere."""
        self.leader = None
        self.take(self.one("SET a 1"))
        self.end(self.one("SET a 2"))
        self.assertEqual((self.taken, self.drained), ([b"SET a 1", b"SET a 2"], 1))

    def test_what_was_meant_for_more(self) -> None:
        """The region was narrowed, twice, before it ended: all of it goes in its order, and says for what it was."""
        self.take(self.one("SET a 1"))
        self.take(self.one("SET a 2"))
        self.forwarder.narrowed((0, 100), [self.one("SET a 3")])
        self.take(self.one("SET a 4"))
        self.forwarder.narrowed((0, 50), [])
        self.take(self.one("SET a 5"))
        self.end(self.one("SET a 6"))
        self.pass_time()
        self.assertEqual((self.taken, self.drained, self.landed), ([], 0, 0))
        for each in self.flights:
            each.refuse()
        self.pass_time()
        self.assertEqual(self.taken, [b"SET a %d" % number for number in range(1, 7)])
        meant = [self.meant.get(name) for name in self.taken]
        self.assertEqual(meant, [(0, 100)] * 3 + [(0, 50)] + [None] * 2)
        self.assertEqual(self.drained, 1)
        self.assertFalse(self.forwarder.holds)
        self.assertTrue(self.landed)
        self.assertEqual(self.clock.getDelayedCalls(), [])
