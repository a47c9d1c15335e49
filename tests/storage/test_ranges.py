"""
L{tinykv.storage.ranges} against a set of keys.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.storage.ranges import Ranges

KEYS = [b"%02d" % number for number in range(30)]
keys = st.sampled_from(KEYS)
pairs = st.lists(st.tuples(keys, keys), max_size=6)


class RangesTests(SynchronousTestCase):
    """
    The union of ranges.
    """

    @given(first=pairs, second=pairs)
    def test_as_a_set_of_keys(
        self, first: list[tuple[bytes, bytes]], second: list[tuple[bytes, bytes]]
    ) -> None:
        ranges = Ranges(first)
        ranges.add(second)
        inside = {key for key in KEYS for start, end in first + second if start <= key < end}
        self.assertEqual({key for key in KEYS if ranges.covers(key)}, inside)
        self.assertEqual(bool(ranges), bool(inside))
        flat = [bound for pair in ranges for bound in pair]
        self.assertEqual(flat, sorted(set(flat)))
        for key in KEYS:
            beyond = ranges.beyond(key)
            self.assertFalse(ranges.covers(beyond))
            self.assertTrue(all(ranges.covers(other) for other in KEYS if key <= other < beyond))
            before = ranges.before(key)
            self.assertTrue(all(ranges.covers(other) for other in KEYS if before <= other < key))
            below = [other for other in KEYS if other < before]
            self.assertFalse(below and before < key and ranges.covers(below[-1]))

    def test_next_from(self) -> None:
        ranges = Ranges([(b"b", b"c"), (b"e", b"g")])
        self.assertEqual(ranges.next_from(b""), (b"b", b"c"))
        self.assertEqual(ranges.next_from(b"b"), (b"b", b"c"))
        self.assertEqual(ranges.next_from(b"c"), (b"e", b"g"))
        self.assertEqual(ranges.next_from(b"g"), None)

    def test_empty_ranges_say_nothing(self) -> None:
        self.assertFalse(Ranges([(b"b", b"b"), (b"c", b"a")]))
        self.assertEqual(len(Ranges()), 0)
