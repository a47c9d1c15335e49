"""Where stores are, and how crowded a place is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.placement.labels import crowding, shared_levels
from tinykv.placement.stores import StoreRecord

LABELS = ("zone", "host")


def store(number: int, **labels: str) -> StoreRecord:
    """Give a store."""
    return StoreRecord(number, f"h{number}:1", labels=labels)


class CrowdingTests(SynchronousTestCase):
    """How many others share a place."""

    def test_nested_places(self) -> None:
        one = store(1, zone="a", host="x")
        for other, levels in (
            (store(2, zone="a", host="x"), 2),
            (store(2, zone="a", host="y"), 1),
            (store(2, zone="b", host="x"), 0),
            (store(2, host="x"), 0),
            (store(2, zone="a"), 1),
            (store(2), 0),
        ):
            self.assertEqual(shared_levels(one, other, LABELS), levels)
            self.assertEqual(shared_levels(other, one, LABELS), levels)
        self.assertEqual(shared_levels(store(1), store(2), LABELS), 0)
        self.assertEqual(shared_levels(store(1, host="x"), store(2, host="x"), LABELS), 2)
        self.assertEqual(shared_levels(store(1, host="x"), store(2, host="y"), LABELS), 0)
        self.assertEqual(shared_levels(store(1, zone="a"), store(2, zone="a"), LABELS), 1)
        self.assertEqual(shared_levels(one, one, ()), 0)

    def test_crowding(self) -> None:
        stores = {
            1: store(1, zone="a", host="x"), 2: store(2, zone="a", host="x"), 3: store(3, zone="a", host="y"),
            4: store(4, zone="b", host="z"),
        }  # fmt: skip
        self.assertEqual(crowding(stores, LABELS, 1, [1, 2, 3, 4, 99]), (2, 1))
        self.assertEqual(crowding(stores, LABELS, 4, [1, 2, 3]), (0, 0))
        self.assertLess(crowding(stores, LABELS, 4, [1, 2]), crowding(stores, LABELS, 3, [1, 2]))

    @given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=3, max_size=6), st.data())
    def test_a_less_crowded_place_is_better_for_all_together(
        self, places: list[tuple[int, int]], data: st.DataObject
    ) -> None:
        """A move that lowers one replica's crowding lowers the sum: so such moves come to an end."""
        stores = {
            number: store(number, zone=f"z{zone}", host=f"h{zone}{host}")
            for number, (zone, host) in enumerate(places, 1)
        }
        ids = data.draw(st.permutations(sorted(stores)))
        target, source, rest = ids[0], ids[1], set(ids[2:])

        def total(held: set[int]) -> list[int]:
            each = [crowding(stores, LABELS, number, held) for number in held]
            return [sum(counts) for counts in zip(*each, strict=True)]

        if crowding(stores, LABELS, target, rest) < crowding(stores, LABELS, source, rest):
            self.assertLess(total(rest | {target}), total(rest | {source}))
