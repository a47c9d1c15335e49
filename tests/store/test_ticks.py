"""All groups of a store count time by one call of the reactor's."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tinykv.peering.turn import Turn
from tinykv.store.ticks import Ticks


class TicksTests(SynchronousTestCase):
    """L{Ticks}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.ticks = Ticks(self.clock, 0.1, Turn(self.clock))
        self.told: list[str] = []

    def one(self) -> None:
        self.told.append("one")

    def other(self) -> None:
        self.told.append("other")

    def test_each_is_told(self) -> None:
        self.ticks.begin(self.one)
        self.ticks.begin(self.other)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.pump([0.1] * 2)
        self.assertEqual(self.told, ["one", "other"] * 2)

    def test_the_last_one_ends(self) -> None:
        self.ticks.begin(self.one)
        self.ticks.begin(self.other)
        self.ticks.end(self.one)
        self.clock.advance(0.1)
        self.assertEqual(self.told, ["other"])
        self.ticks.end(self.other)
        self.ticks.end(self.other)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.ticks.begin(self.one)
        self.clock.advance(0.1)
        self.assertEqual(self.told, ["other", "one"])

    def test_one_ends_in_the_midst(self) -> None:
        self.ticks.begin(lambda: self.ticks.end(self.one))
        self.ticks.begin(self.one)
        self.clock.pump([0.1] * 2)
        self.assertLess(len(self.told), 2)

    def test_a_late_one_counts_once(self) -> None:
        self.ticks.begin(self.one)
        self.clock.advance(1)
        # It comes in the next turn, when the sockets have been read.
        self.clock.advance(0)
        self.assertEqual(self.told, ["one"])
        self.clock.advance(0.1)
        self.assertEqual(self.told, ["one"] * 2)

    def test_what_makes_each_a_little_late_does_not_add_up(self) -> None:
        self.ticks.begin(self.one)
        for _ in range(100):
            self.clock.advance(0.03)
        # Each counted from the one before would be 25.
        self.assertGreaterEqual(len(self.told), 29)
