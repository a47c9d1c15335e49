"""Timestamps are unique and rise, whatever the clock does, and end with their window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.schedule.timestamps import BATCH_MAX, LOGICAL_MAX, WINDOW_MS, TimestampWindow, compose

NOW = 1_700_000_000_000


class WindowTests(SynchronousTestCase):
    """One leader's timestamps."""

    def test_follows_the_clock(self) -> None:
        window = TimestampWindow(0, NOW + WINDOW_MS)
        self.assertEqual(window.take(NOW, 1), compose(NOW, 0))
        self.assertEqual(window.take(NOW, 3), compose(NOW, 3))
        self.assertEqual(window.take(NOW + 2, 2), compose(NOW + 2, 1))

    def test_clock_that_goes_back(self) -> None:
        window = TimestampWindow(0, NOW + WINDOW_MS)
        self.assertEqual(window.take(NOW, 1), compose(NOW, 0))
        self.assertEqual(window.take(NOW - 3_600_000, 1), compose(NOW, 1))

    def test_begins_above_what_others_gave(self) -> None:
        window = TimestampWindow(NOW + 5_000, NOW + 9_000)
        self.assertEqual(window.take(NOW, 1), compose(NOW + 5_000, 0))

    def test_full_millisecond(self) -> None:
        window = TimestampWindow(NOW, NOW + 2)
        for _ in range((LOGICAL_MAX + 1) // BATCH_MAX):
            self.assertIsNotNone(window.take(NOW, BATCH_MAX))
        self.assertEqual(window.take(NOW, BATCH_MAX), compose(NOW + 1, BATCH_MAX - 1))

    def test_end_of_the_window(self) -> None:
        window = TimestampWindow(NOW, NOW + 10)
        self.assertIsNotNone(window.take(NOW + 9, 1))
        self.assertIsNone(window.take(NOW + 10, 1))
        self.assertEqual(window.take(NOW, 1), compose(NOW + 9, 1))
        window.limit = NOW + 11
        self.assertEqual(window.take(NOW + 10, 1), compose(NOW + 10, 0))

    def test_when_more_is_wanted(self) -> None:
        window = TimestampWindow(NOW, NOW + WINDOW_MS)
        self.assertIsNone(window.wanted(NOW))
        self.assertIsNone(window.wanted(NOW + WINDOW_MS // 2))
        self.assertEqual(window.wanted(NOW + WINDOW_MS // 2 + 1), NOW + WINDOW_MS // 2 + 1 + WINDOW_MS)

    @given(st.lists(st.tuples(st.integers(NOW - 10_000, NOW + 10_000), st.integers(1, BATCH_MAX)), max_size=60))
    def test_never_twice_and_never_back(self, asked: list[tuple[int, int]]) -> None:
        window = TimestampWindow(NOW - 5_000, NOW + 5_000)
        last = -1
        for now, count in asked:
            given = window.take(now, count)
            if given is None:
                continue
            self.assertGreater(given - count + 1, last)
            self.assertEqual(given >> 18, (given - count + 1) >> 18)
            self.assertLess(given >> 18, window.limit)
            last = given
