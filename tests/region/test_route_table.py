"""What a gateway makes of what it's told."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tinykv.keys import SLOTS
from tinykv.region.route_table import RouteTable
from tinykv.region.routes import Route


class RouteTableTests(SynchronousTestCase):
    """The newest counts."""

    def setUp(self) -> None:
        self.table = RouteTable()

    def test_leaders(self) -> None:
        self.assertEqual((self.table.ranges, self.table.leader(1)), ((), 0))
        self.assertTrue(self.table.take([Route(1, 0, SLOTS, 1, 3, 2)]))
        self.assertEqual(self.table.leader(1), 2)
        # What is older is no news, and that nobody is known to lead in the same term neither.
        for told, leader in (
            (Route(1, 0, SLOTS, 1, 2, 1), 2), (Route(1, 0, SLOTS, 1, 3, 0), 2), (Route(1, 0, SLOTS, 1, 4, 0), 0),
            (Route(1, 0, SLOTS, 1, 4, 3), 3), (Route(1, 0, SLOTS, 1, 3, 2), 3),
        ):  # fmt: skip
            self.assertFalse(self.table.take([told]))
            self.assertEqual(self.table.leader(1), leader)

    def test_a_split(self) -> None:
        """Stores apply it at different times; until the other part is known nothing changes."""
        self.table.take([Route(1, 0, SLOTS, 1, 3, 2)])
        self.assertFalse(self.table.take([Route(1, 0, 100, 2, 3, 2)]))
        self.assertEqual([route.region for route in self.table.ranges], [1])
        self.assertTrue(self.table.take([Route(5, 100, SLOTS, 2, 1, 3)]))
        self.assertEqual([route[:3] for route in self.table.ranges], [(1, 0, 100), (5, 100, SLOTS)])
        # One that hasn't applied it yet.
        self.assertFalse(self.table.take([Route(1, 0, SLOTS, 1, 3, 2)]))
        self.assertEqual([route[:3] for route in self.table.ranges], [(1, 0, 100), (5, 100, SLOTS)])

    def test_a_merge(self) -> None:
        self.table.take([Route(1, 0, 100, 2, 3, 2), Route(5, 100, SLOTS, 2, 1, 3)])
        self.assertTrue(self.table.take([Route(5, 0, SLOTS, 3, 1, 3)]))
        self.assertEqual([route[:3] for route in self.table.ranges], [(5, 0, SLOTS)])
        self.assertEqual(self.table.leader(1), 0)

    def test_a_gap(self) -> None:
        self.assertFalse(self.table.take([Route(1, 0, 100, 1, 1, 1), Route(2, 101, SLOTS, 1, 1, 1)]))
        self.assertEqual(self.table.ranges, ())
