"""
L{tinykv.storage.ordered} against C{sorted}.
"""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.storage.ordered import BLOCK, OrderedKeys

steps = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40)), max_size=12)


class OrderedKeysTests(SynchronousTestCase):
    """
    The order is that of the dict's keys at every question.
    """

    def compare(self, source: dict[bytes, Any], order: OrderedKeys[bytes], start: bytes, end: bytes) -> None:
        expected = sorted(key for key in source if start <= key < end)
        for limit in (1, 3, len(source) + 1):
            self.assertEqual(order.first(start, end, limit), expected[:limit])
            self.assertEqual(order.last(start, end, limit), expected[::-1][:limit])
        self.assertEqual(order.holds_any(start, end), bool(expected))

    @given(steps=steps, seed=st.integers(0, 1000))
    def test_as_sorted(self, steps: list[tuple[int, int]], seed: int) -> None:
        source: dict[bytes, Any] = {}
        order = OrderedKeys(source)
        rng = random.Random(seed)
        for kind, count in steps:
            if kind == 2 and source:
                for key in rng.sample(list(source), min(count, len(source))):
                    del source[key]
                order.forget()
            else:
                for _ in range(count):
                    source[b"%03d" % rng.randrange(1000)] = None
            bounds = sorted(b"%03d" % rng.randrange(1000) for _ in range(2))
            self.compare(source, order, bounds[0], bounds[1])
            self.compare(source, order, b"", b"\xff")

    def test_many_blocks(self) -> None:
        source: dict[bytes, Any] = {b"%06d" % (number * 7919 % 100_000): None for number in range(5 * BLOCK)}
        order = OrderedKeys(source)
        self.compare(source, order, b"", b"\xff")
        for number in range(3 * BLOCK):
            # One at a time into the same place, so that a block is cut.
            source[b"050000%06d" % number] = None
            if number % 97 == 0:
                self.compare(source, order, b"04", b"06")
        self.compare(source, order, b"", b"\xff")
