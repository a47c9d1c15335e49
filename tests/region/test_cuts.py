"""Where regions are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.keys import ALL_SLOTS, SLOTS
from tinykv.region.cuts import even_cuts, size_cuts


class EvenTests(SynchronousTestCase):
    """In parts that weigh the same."""

    def test_without_any_weight(self) -> None:
        self.assertEqual(even_cuts({}, ALL_SLOTS, 2), [SLOTS // 2])
        self.assertEqual(even_cuts({}, (10, 14), 4), [11, 12, 13])
        self.assertEqual(even_cuts({}, (10, 11), 1), [])

    def test_by_weight(self) -> None:
        self.assertEqual(even_cuts({3: 10, 5: 10}, (0, 8), 2), [4])
        self.assertEqual(even_cuts({0: 5, 1: 5, 2: 5, 3: 15}, (0, 4), 2), [3])
        self.assertEqual(even_cuts(dict.fromkeys(range(100, 200), 7), ALL_SLOTS, 4), [125, 150, 175])

    def test_one_slot_has_it_all(self) -> None:
        for slot in (0, 4, 7):
            (cut,) = even_cuts({slot: 1000}, (0, 8), 2)
            self.assertIn(cut, (max(slot, 1), min(slot + 1, 7)))
        self.assertEqual(even_cuts({7: 1000}, (0, 8), 8), list(range(1, 8)))

    @given(
        st.dictionaries(st.integers(0, 40), st.integers(0, 1 << 40)),
        st.integers(0, 20),
        st.integers(1, 20),
        st.data(),
    )
    def test_any(self, weights: dict[int, int], first: int, count: int, data: st.DataObject) -> None:
        parts = data.draw(st.integers(1, count))
        cuts = even_cuts(weights, (first, first + count), parts)
        borders = [first, *cuts, first + count]
        self.assertEqual(len(cuts), parts - 1)
        self.assertTrue(all(one < other for one, other in zip(borders, borders[1:], strict=False)), borders)
        # No part weighs more than its share by more than the slots at its ends do.
        inside = {slot: weight for slot, weight in weights.items() if first <= slot < first + count}
        heaviest = max(inside.values(), default=0)
        total = sum(inside.values())
        for one, other in zip(borders, borders[1:], strict=False):
            part = sum(weight for slot, weight in inside.items() if one <= slot < other)
            self.assertLessEqual(part * parts, total + 2 * parts * heaviest)


class SizeTests(SynchronousTestCase):
    """In parts that are as large as wanted."""

    def test_parts(self) -> None:
        self.assertEqual(size_cuts(dict.fromkeys(range(30), 10), 100, 150), [10, 20])
        self.assertEqual(size_cuts(dict.fromkeys(range(31), 10), 100, 150), [10, 20])
        # A rest that would be small stays with the part before, as far as that may grow.
        self.assertEqual(size_cuts(dict.fromkeys(range(24), 10), 100, 150), [10])
        self.assertEqual(size_cuts(dict.fromkeys(range(24), 10), 100, 139), [10, 20])
        self.assertEqual(size_cuts(dict.fromkeys(range(25), 10), 100, 150), [10, 20])

    def test_large_slots(self) -> None:
        self.assertEqual(size_cuts({5: 1000}, 100, 150), [])
        self.assertEqual(size_cuts({5: 1000, 6: 0}, 100, 150), [])
        self.assertEqual(size_cuts({1: 30, 5: 1000, 6: 60}, 100, 150), [5, 6])
        self.assertEqual(size_cuts({1: 30, 5: 1000, 6: 10}, 100, 150), [5, 6])
        self.assertEqual(size_cuts({}, 100, 150), [])

    @given(st.dictionaries(st.integers(0, 200), st.integers(0, 120), max_size=60))
    def test_any(self, sizes: dict[int, int]) -> None:
        cuts = size_cuts(sizes, 100, 150)
        borders = [0, *cuts, 201]
        self.assertEqual(sorted(set(cuts)), cuts)
        for number, (first, end) in enumerate(zip(borders, borders[1:], strict=False)):
            inside = [size for slot, size in sizes.items() if first <= slot < end and size]
            self.assertTrue(inside or not cuts)
            most = 150 if number == len(cuts) else 100
            self.assertTrue(sum(inside) <= most or len(inside) == 1, inside)
