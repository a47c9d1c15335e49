"""A client whose keys lie in several regions notices when what it sent in one go happens in another order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tinykv.keys import SLOTS, slot_of
from tinykv.testing.redis_model import Exec
from tinykv.testing.redis_space import Command, Failed
from tinykv.testing.simulation.events import MILLISECOND, SECOND, Events
from tinykv.testing.simulation.ports import Together
from tinykv.testing.simulation.straddlers import Straddler
from tinykv.testing.simulation.workload import Done, Request, Silence

HALF = SLOTS // 2


class Keys:
    """A single copy of all keys, which may do things in another order."""

    def __init__(self, events: Events, keys: dict[bytes, bytes]) -> None:
        self._events = events
        self._keys = keys
        self.renewed = 0
        self.seen: set[bytes] = set()
        #: How long it takes to answer, in microseconds.
        self.takes = 100
        #: In which order commands that come together are done.
        self.order: Callable[[tuple[Command, ...]], list[int]] = lambda commands: list(range(len(commands)))
        #: Whether nothing can be sent.
        self.gone = False
        self._busy = False
        #: What is answered instead of the truth.
        self.lie: Callable[[Request, Any], Any] = lambda request, answer: answer

    def send(self, request: Request, done: Done) -> None:
        """Answer in a moment."""
        assert not isinstance(request, Exec)
        assert not self._busy, "one request at a time"
        if self.gone:
            done(Silence.NEVER_SENT)
            return
        if isinstance(request, Together):
            answers = {place: self._do(request.commands[place]) for place in self.order(request.commands)}
            answer: Any = tuple(answers[place] for place in range(len(request.commands)))
        else:
            answer = self._do(request)
        self._busy = True
        lives = self.renewed

        def answered() -> None:
            if lives == self.renewed:
                self._busy = False
                done(self.lie(request, answer))

        self._events.after(self.takes, "answers", answered)

    def _do(self, command: Command) -> Any:
        name, *named = command
        self.seen |= {key for key in named if b"." in key}
        match name:
            case b"SET":
                self._keys[named[0]] = named[1]
                # Each transaction has one command, the last one.
                return b"OK"
            case b"GET":
                return self._keys.get(named[0])
            case b"MGET":
                return tuple(self._keys.get(key) for key in named)
            case b"DEL":
                return sum(self._keys.pop(key, None) is not None for key in named)
            case b"MULTI":
                return b"OK"
            case b"EXEC":
                return (b"OK",)
        raise AssertionError(command)

    def renew(self) -> None:
        """Note it; what was asked before isn't answered any more."""
        self.renewed += 1
        self._busy = False


def _queued(request: Request, answer: Any) -> Any:
    """Answer a transaction's command as it's answered before EXEC."""
    return (*answer[:-2], b"QUEUED", answer[-1]) if isinstance(request, Together) else answer


def _last_first(commands: tuple[Command, ...]) -> list[int]:
    return list(reversed(range(len(commands))))


class StraddlerTests(SynchronousTestCase):
    """One with a copy that does as it's told."""

    def setUp(self) -> None:
        self.events = Events(1)
        keys: dict[bytes, bytes] = {}
        self.port, self.watching = Keys(self.events, keys), Keys(self.events, keys)
        self.port.lie = _queued
        self.client: Any = Straddler(
            self.events, self.port, self.watching, "one", pause_us=SECOND // 10, end_us=9 * SECOND
        )
        self.client.start()

    def test_all_goes_well(self) -> None:
        self.events.run_until(10 * SECOND)
        self.assertEqual(self.client.problems, [])
        self.assertGreater(self.client.rounds, 30)

    def test_another_order(self) -> None:
        self.port.order = _last_first
        self.events.run_until(10 * SECOND)
        self.assertIn("was told", self.client.problems[0])

    def test_on_both_sides_of_a_cut(self) -> None:
        """It begins soon, and what it has done is looked at before it's answered."""
        self.port.takes = 10 * MILLISECOND
        self.client.hurry((0, HALF), (HALF, SLOTS))
        # The first round is over by then, and no second one.
        self.events.run_until(18 * MILLISECOND)
        self.assertEqual({slot_of(key) < HALF for key in self.port.seen if b".two." in key} or {False}, {False})
        self.assertEqual({slot_of(key) < HALF for key in self.port.seen if b".two." not in key}, {True})
        self.assertEqual((self.client.rounds, self.client.looks, self.client.problems), (1, 1, []))

    def test_what_is_seen_behind_a_transaction(self) -> None:
        self.port.takes = SECOND // 100
        self.watching.lie = lambda request, answer: b"-1" if b".two." in request[1] else answer
        self.client.hurry((0, HALF), (HALF, SLOTS))
        self.events.run_until(SECOND // 20)
        self.assertIn("saw b'-1' behind EXEC", self.client.problems[0])

    def test_a_connection_that_is_gone(self) -> None:
        """It's told so at once, and looks at nothing then."""
        self.port.gone = True
        for _ in range(3):
            self.client.hurry((0, HALF), (HALF, SLOTS))
            self.events.run_until(self.events.now + SECOND // 20)
        self.assertEqual((self.client.rounds, self.client.problems, self.watching.seen), (0, [], set()))
        self.assertEqual(self.port.renewed, self.watching.renewed)
        self.assertGreater(self.port.renewed, 2)

    def test_what_nobody_knows(self) -> None:
        """It takes other keys, over another connection."""
        for nothing in (Silence.LOST, (Failed(b"TIMEOUT"),) * 8):
            self.port.lie = lambda request, answer, nothing=nothing: nothing
            before = self.port.renewed
            self.events.run_until(self.events.now + 2 * SECOND)
            self.assertGreater(self.port.renewed, before)
        self.port.lie = _queued
        self.events.run_until(10 * SECOND)
        self.assertEqual(self.client.problems, [])
