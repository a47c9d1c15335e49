"""
Clients that read, and write what they've made of it, with WATCH in between: if EXEC does anything, nothing has changed
since they read.

The check of the whole history sees that, too; here it's told in one line, and by clients that do little else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tinykv.testing.redis_model import Exec
from tinykv.testing.redis_space import Failed
from tinykv.testing.simulation.events import SECOND, Event, Events
from tinykv.testing.simulation.ports import RespPort, Together
from tinykv.testing.simulation.workload import NOTHING_DONE, UNKNOWN, Request, Silence

#: A client goes away when it hears nothing for so long.
PATIENCE_US: Final = 3 * SECOND


class Optimist:
    """
    One client, which raises a counter that it shares with others.

    @ivar problems: Where EXEC did something although it mustn't have.
    @ivar rounds: How often it did something.
    """

    def __init__(
        self,
        events: Events,
        port: RespPort,
        name: str,
        *,
        key: bytes,
        pause_us: int,
        end_us: int,
        share: float = 0.5,
    ) -> None:
        """
        @param pause_us: The mean time between two rounds.
        @param end_us: When no more requests are sent.
        @param share: The part of its rounds in which it looks before; in the others it raises the counter as it is.
        """
        self.problems: list[str] = []
        self.rounds = 0
        self._events = events
        self._port = port
        self._name = name
        self._key = key
        self._pause_us = pause_us
        self._end_us = end_us
        self._share = share
        self._random = events.random(f"optimist {name}")
        self._patience: Event | None = None
        self._asked = 0

    def start(self) -> None:
        """Begin, some time."""
        pause = int(self._random.expovariate(1.0 / self._pause_us)) + 1
        self._events.after(pause, f"{self._name} goes on", self._go)

    def _go(self) -> None:
        if self._events.now >= self._end_us:
            return
        if self._random.random() >= self._share:
            self._ask((b"INCR", self._key), lambda answer: self.start())
        else:
            self._ask(Together(((b"WATCH", self._key), (b"GET", self._key))), self._looked)

    def _ask(self, request: Request, answered: Callable[[Any], None]) -> None:
        self._asked += 1
        asked = self._asked

        def heard(answer: Any) -> None:
            if asked != self._asked:
                return
            assert self._patience is not None
            self._patience.cancel()
            answers = answer if isinstance(answer, tuple) else (answer,)
            if any(isinstance(one, Silence) or _says_little(one) for one in answers):
                self._give_up()
            else:
                answered(answer)

        self._patience = self._events.after(PATIENCE_US, f"{self._name} has waited enough", self._give_up)
        self._port.send(request, heard)

    def _give_up(self) -> None:
        """Go to another store; what came of the request nobody knows."""
        self._asked += 1
        self._port.renew()
        self.start()

    def _looked(self, answer: tuple[Any, Any]) -> None:
        read = int(answer[1] or 0)
        self._ask(Exec(None, (), ((b"INCR", self._key),)), lambda result: self._done(read, result))

    def _done(self, read: int, result: Any) -> None:
        self.rounds += 1
        if result is not None and result != (read + 1,):
            self.problems.append(
                f"{self._name} watched {self._key!r} and read {read}; EXEC raised it nonetheless, to {result[0]}"
            )
        self.start()


def _says_little(answer: Any) -> bool:
    """Say if an answer is an error after which a client turns to another store."""
    return isinstance(answer, Failed) and answer.code in NOTHING_DONE | UNKNOWN
