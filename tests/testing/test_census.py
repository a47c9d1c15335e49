"""A client that looks at all keys notices when one is missing, is there twice, or comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tinykv.testing.redis_space import Command, Failed
from tinykv.testing.simulation.census import Census
from tinykv.testing.simulation.events import SECOND, Events
from tinykv.testing.simulation.ports import Together
from tinykv.testing.simulation.workload import Done, Silence


class Databases:
    """Single copies of some databases, which may lie."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._keys: dict[bytes, dict[bytes, bytes]] = {}
        self.renewed = 0
        #: What is answered instead of the truth.
        self.lie: Callable[[Command, Any], Any] = lambda command, answer: answer

    def send(self, request: Together, done: Done) -> None:
        """Answer in a moment."""
        (_, db), command = request.commands
        answer = self.lie(command, self._do(self._keys.setdefault(db, {}), command))
        told = answer if isinstance(answer, Silence) else (b"OK", answer)
        self._events.after(100, "answers", done, told)

    def _do(self, keys: dict[bytes, bytes], command: Command) -> Any:
        name, *named = command
        match name:
            case b"SET":
                keys[named[0]] = named[1]
                return b"OK"
            case b"DEL" | b"UNLINK":
                return sum(keys.pop(key, None) is not None for key in named)
            case b"EXISTS" | b"TOUCH":
                return sum(key in keys for key in named)
            case b"MGET":
                return tuple(keys.get(key) for key in named)
            case b"DBSIZE":
                return len(keys)
            case b"KEYS":
                return tuple(keys)
            case b"SCAN":
                at = int(named[0])
                return (b"%d" % (at + 2) if at + 2 < len(keys) else b"0", tuple(list(keys)[at : at + 2]))
            case b"RANDOMKEY":
                return next(iter(keys), None)
            case b"FLUSHDB":
                keys.clear()
                return b"OK"
        raise AssertionError(command)

    def renew(self) -> None:
        """Count."""
        self.renewed += 1


class CensusTests(SynchronousTestCase):
    """Ten seconds of one."""

    def run_census(self, lie: Callable[[Command, Any], Any] = lambda command, answer: answer) -> Census:
        """Let one look, then look at all once more."""
        events = Events(7)
        self.databases = databases = Databases(events)
        databases.lie = lie
        census = Census(events, databases, "c", pause_us=SECOND // 50, end_us=10 * SECOND)  # type: ignore[arg-type]  # as below
        census.start()
        events.run_until(11 * SECOND)
        databases.lie = lambda command, answer: answer
        census.look_at_all(databases)  # type: ignore[arg-type]  # all that it needs of a port
        events.run_until(20 * SECOND)
        self.assertFalse(census.busy)
        return census

    def test_the_truth(self) -> None:
        census = self.run_census()
        self.assertEqual(census.problems, [])
        self.assertGreater(census.looks, 50)

    def test_lies(self) -> None:
        """Whatever is told wrongly once is noticed."""

        def less(answer: Any) -> Any:
            return answer[:-1] if isinstance(answer, tuple) else answer - 1

        for name, wrong in (
            (b"DBSIZE", less),
            (b"DBSIZE", lambda answer: answer + 1),
            (b"KEYS", less),
            (b"KEYS", lambda answer: (*answer, answer[0])),
            (b"SCAN", lambda answer: (answer[0], ())),
            (b"RANDOMKEY", lambda answer: b"nobody's"),
            (b"EXISTS", lambda answer: answer + 4),
            (b"DEL", lambda answer: answer + 4),
            (b"MGET", lambda answer: (b"nobody's", *answer[1:])),
            (b"SET", lambda answer: Failed(b"ERR")),
        ):
            census = self.run_census(
                lambda command, answer, name=name, wrong=wrong: (
                    wrong(answer) if command[0] == name and answer else answer
                )
            )
            self.assertTrue(census.problems, name)

    def test_what_nobody_knows_is_not_expected(self) -> None:
        """Neither to be there, nor not to be."""
        turns = iter(range(10_000))

        def lose(command: Command, answer: Any) -> Any:
            turn = next(turns)
            if turn % 5 == 0:
                return Silence.LOST
            return Failed(b"TRYAGAIN") if turn % 7 == 0 else answer

        census = self.run_census(lose)
        self.assertEqual(census.problems, [])
        self.assertGreater(self.databases.renewed, 20)
