"""
Clients whose keys lie in several regions, as soon as there are several: what one of them sends in one go happens in its
order, key by key, and a transaction behind all of it (R1 and R3 of the design), also while regions are split.

Each writes keys that nobody else writes, so it knows what they hold. When a region is about to be split it takes keys
on both sides of the cut, and a second connection looks at them: when that sees what a transaction has written it has to
see what was sent before that, too.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

from tinykv.keys import SLOTS, slot_of
from tinykv.testing.redis_space import Command, Failed
from tinykv.testing.simulation.events import MILLISECOND, SECOND, Event, Events
from tinykv.testing.simulation.ports import Together
from tinykv.testing.simulation.workload import NOTHING_DONE, UNKNOWN, Port, Silence

#: A client goes away when it hears nothing for so long.
PATIENCE_US: Final = 3 * SECOND
#: Within how long one begins that is to hurry.
HURRY_US: Final = 4 * MILLISECOND
#: How many commands are sent in one go, but for the transaction.
COMMANDS: Final = (2, 5)
ANYWHERE: Final = (0, SLOTS)
#: So many names are tried for a key that's to lie in certain slots.
NAMES: Final = 200


class Straddler:
    """
    One client.

    @ivar problems: What wasn't as it should be.
    @ivar rounds: How often all that it had sent in one go was done.
    @ivar looks: How often a transaction was seen before it was answered.
    """

    def __init__(self, events: Events, port: Port, watching: Port, name: str, *, pause_us: int, end_us: int) -> None:
        """
        @param watching: The way of its second connection.
        @param pause_us: The mean time between two rounds.
        @param end_us: When no more requests are sent.
        """
        self.problems: list[str] = []
        self.rounds = 0
        self.looks = 0
        self._events = events
        self._port = port
        self._watching = watching
        self._name = name
        self._pause_us = pause_us
        self._end_us = end_us
        self._random: Random = events.random(f"straddler {name}")
        self._patience: Event | None = None
        self._resting: Event | None = None
        #: Whether what it sends next is watched.
        self._watches = False
        self._round = 0
        self._lives = 0
        self._values = 0
        self._begin_anew()

    def _begin_anew(self, *ranges: tuple[int, int]) -> None:
        """
        Take other keys, of which it knows what they hold.

        @param ranges: Of slots, in which the keys lie; anywhere, if there are none or they're narrow.
        """
        self._lives += 1
        low, high = ranges or (ANYWHERE, ANYWHERE)
        # What comes last is for what keeps the beginning, and the region's leader.
        self._keys = (self._key(b"one", low), self._key(b"two", high))
        self._sign = self._key(b"sign", low)
        #: What they hold.
        self._held: dict[bytes, bytes | None] = dict.fromkeys(self._keys)

    def _key(self, what: bytes, slots: tuple[int, int]) -> bytes:
        first, end = slots
        names = [b"%b.%d.%b.%d" % (self._name.encode(), self._lives, what, number) for number in range(NAMES)]
        return next((name for name in names if first <= slot_of(name) < end), names[0])

    def start(self) -> None:
        """Begin a round, some time."""
        self._rest(int(self._random.expovariate(1.0 / self._pause_us)) + 1)

    def hurry(self, low: tuple[int, int], high: tuple[int, int]) -> None:
        """
        Begin a round within some ms, unless one is under way, since a region is to be cut in two.

        @param low: The first of its slots, and the one at which it's cut.
        @param high: That one, and the one behind the last.
        """
        if self._resting is not None:
            self._begin_anew(low, high)
            self._watches = True
            self._resting.cancel()
            self._rest(self._random.randint(1, HURRY_US))

    def _rest(self, pause: int) -> None:
        self._resting = self._events.after(pause, f"{self._name} goes on", self._go)

    def _value(self) -> bytes:
        self._values += 1
        return b"%d" % self._values

    def _go(self) -> None:
        self._resting = None
        if self._events.now >= self._end_us:
            return
        self._round += 1
        commands: list[Command] = []
        #: Says of the answer to each whether it's right.
        wanted: list[Callable[[Any], bool]] = []
        held = dict(self._held)
        for _ in range(self._random.randint(*COMMANDS)):
            key = self._random.choice(self._keys)
            kind = self._random.choice(("set", "set", "delete", "delete", "get", "both"))
            if kind == "set":
                held[key] = value = self._value()
                commands.append((b"SET", key, value))
                wanted.append(_is(b"OK"))
            elif kind == "delete":
                commands.append((b"DEL", *self._keys))
                wanted.append(_is(sum(value is not None for value in held.values())))
                held = dict.fromkeys(self._keys)
            elif kind == "get":
                commands.append((b"GET", key))
                wanted.append(_is(held[key]))
            else:
                commands.append((b"MGET", *self._keys))
                wanted.append(_is(tuple(held.values())))
        sign = self._value()
        commands += [(b"MULTI",), (b"SET", self._sign, sign), (b"EXEC",)]
        wanted += [_is(b"OK"), _is(b"QUEUED"), _is((b"OK",))]
        self._seen: tuple[Any] | None = None
        number = self._round
        watches, self._watches = self._watches, False
        self._patience = self._events.after(PATIENCE_US, f"{self._name} has waited enough", self._give_up, number)
        self._port.send(
            Together(tuple(commands)), lambda answers: self._answered(number, commands, wanted, held, answers)
        )
        # If the connection is gone all is over by now.
        if watches and number == self._round:
            self._watch(number, sign)

    def _watch(self, number: int, sign: bytes) -> None:
        """Look whether the transaction was done; if so, look at what was to be done before it."""

        def signed(answer: Any) -> None:
            if number != self._round or _says_little(answer):
                return
            if answer == sign:
                # Of the other key: what is written to this one goes the same way.
                self._watching.send((b"GET", self._keys[1]), looked)
            else:
                self._watch(number, sign)

        def looked(answer: Any) -> None:
            if number == self._round and not _says_little(answer):
                self.looks += 1
                self._seen = (answer,)

        self._watching.send((b"GET", self._sign), signed)

    def _answered(
        self,
        number: int,
        commands: list[Command],
        wanted: list[Callable[[Any], bool]],
        held: dict[bytes, bytes | None],
        answers: Any,
    ) -> None:
        if number != self._round:
            return
        assert self._patience is not None
        self._patience.cancel()
        if not isinstance(answers, tuple) or any(_says_little(answer) for answer in answers):
            self._give_up(number)
            return
        for command, right, answer in zip(commands, wanted, answers, strict=True):
            if not right(answer):
                self.problems.append(f"{self._name} sent {commands}, and {command} was told {answer}: {answers}")
                break
        if self._seen is not None and self._seen != (held[self._keys[1]],):
            self.problems.append(f"{self._name} sent {commands}, and saw {self._seen[0]} behind EXEC")
        self._round += 1
        self.rounds += 1
        self._held = held
        self._watching.renew()
        self.start()

    def _give_up(self, number: int) -> None:
        """Go to another store; what came of it nobody knows."""
        if number == self._round:
            self._round += 1
            self._port.renew()
            self._watching.renew()
            self._begin_anew()
            self.start()


def _is(wanted: Any) -> Callable[[Any], bool]:
    """Say whether an answer is this one."""
    return lambda answer: bool(answer == wanted)


def _says_little(answer: Any) -> bool:
    """Say if an answer is an error after which a client turns to another store."""
    return isinstance(answer, Silence) or (isinstance(answer, Failed) and answer.code in NOTHING_DONE | UNKNOWN)
