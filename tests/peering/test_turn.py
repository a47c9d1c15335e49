"""The end of a turn is one, whoever has something to do there."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tinykv.peering.turn import Turn


class TurnTests(SynchronousTestCase):
    """L{Turn}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[str] = []
        self.turn = Turn(self.clock, self.tell("flushed"))

    def tell(self, what: str) -> Callable[[], None]:
        return lambda: self.told.append(what)

    def test_it_comes_once_for_all_in_order(self) -> None:
        self.turn.write_later(self.tell("write"))
        self.turn.flush_later(self.tell("flush"))
        self.turn.follow(self.tell("follow"))
        self.turn.call_later(self.tell("call"))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.assertEqual(self.told, [])
        self.clock.advance(0)
        self.assertEqual(self.told, ["call", "follow", "flush", "flushed", "write"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_one_step_asks_of_the_next_comes_in_the_same_turn(self) -> None:
        def call() -> None:
            self.turn.follow(follow)

        def follow() -> None:
            self.turn.write_later(self.tell("write"))
            self.turn.flush_later(self.tell("flush"))
            self.turn.follow(self.tell("behind"))

        self.turn.call_later(call)
        self.clock.advance(0)
        self.assertEqual(self.told, ["behind", "flush", "flushed", "write"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_calls_ask_for_in_turn_comes_in_the_next(self) -> None:
        self.turn.call_later(lambda: self.turn.call_later(self.tell("again")))
        self.turn.write_later(lambda: self.turn.write_later(self.tell("more")))
        self.turn.write_later(self.tell("write"))
        self.clock.advance(0)
        self.assertEqual(self.told, ["write", "again", "more"])

    def test_all_may_leave_at_once(self) -> None:
        self.turn.flush_later(self.tell("flush"))
        self.turn.flush()
        self.turn.flush()
        self.assertEqual(self.told, ["flush", "flushed"])
        self.clock.advance(0)
        self.assertEqual(self.told, ["flush", "flushed"])

    def test_an_error_is_no_one_else_s(self) -> None:
        def fails() -> None:
            raise RuntimeError("a defect")

        self.turn.follow(self.tell("one"))
        self.turn.follow(fails)
        self.turn.follow(self.tell("other"))
        self.turn.write_later(self.tell("write"))
        self.assertRaises(RuntimeError, self.clock.advance, 0)
        self.assertEqual(self.told, ["one"])
        self.clock.advance(0)
        self.assertEqual(self.told, ["one", "other", "write"])
