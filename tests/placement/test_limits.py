"""Tokens for what a store is given, and for what is taken from it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.placement.limits import BURST_SECONDS, Flow, StoreLimits, burst


class BucketTests(SynchronousTestCase):
    """Rates."""

    def test_a_burst(self) -> None:
        """What ten seconds give may be used at once, and at least one."""
        self.assertEqual((burst(0.5), burst(0.01)), (5.0, 1.0))
        limits = StoreLimits()
        for _ in range(5):
            self.assertTrue(limits.allows(1, Flow.ADD, 0.5, 0.0))
            limits.take(1, Flow.ADD, 0.5, 0.0)
        self.assertFalse(limits.allows(1, Flow.ADD, 0.5, 1.9))
        self.assertTrue(limits.allows(1, Flow.ADD, 0.5, 2.0))

    def test_each_store_and_each_way_has_its_own(self) -> None:
        limits = StoreLimits()
        limits.take(1, Flow.ADD, 0.1, 0.0)
        self.assertFalse(limits.allows(1, Flow.ADD, 0.1, 0.0))
        self.assertTrue(limits.allows(1, Flow.REMOVE, 0.1, 0.0))
        self.assertTrue(limits.allows(2, Flow.ADD, 0.1, 0.0))
        limits.forget(1)
        self.assertTrue(limits.allows(1, Flow.ADD, 0.1, 0.0))

    @given(st.lists(st.tuples(st.floats(0, 30), st.booleans()), max_size=40), st.floats(0.01, 5))
    def test_no_more_than_the_rate_in_the_long_run(self, steps: list[tuple[float, bool]], rate: float) -> None:
        limits, now, taken = StoreLimits(), 0.0, 0
        for wait, wanted in steps:
            now += wait
            if wanted and limits.allows(7, Flow.ADD, rate, now):
                limits.take(7, Flow.ADD, rate, now)
                taken += 1
            limits.allows(7, Flow.ADD, rate, now - BURST_SECONDS)  # A clock that's late gives nothing.
        self.assertLessEqual(taken, burst(rate) + rate * now + 1e-6)
