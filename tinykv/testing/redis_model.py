"""
A single copy of a small Redis, for the linearizability checker.

It knows some commands of each type (L{tinykv.testing.redis_commands}), transactions with WATCH, blocking pops and
expiry. An input is a command (a tuple of byte strings), a L{Watch} or an L{Exec}; an output is what a RESP2 client
makes of a reply: bytes, int, None, a tuple of these, or L{Failed}.

B{Chance.} Where more than one thing may happen (which member SPOP takes, whether a key's time is over) a command asks
L{Space.choose}, and is run once for each answer.

B{Time.} An entry carries the clock reading of whoever led when it was proposed, and a key with an expiry goes when a
later entry or read has a reading that late. The checker sees only true times: a reading taken for an operation lies
between its call and its return, give or take C{slack_us}, by which clocks may be off and region time may lag. So a key
set to live for C{ttl} has bounds: it may be gone for an operation that returns after the lower one, and may be there
for one that was called before the upper one. In between both may happen; but what has once been seen gone is gone,
since that it goes is a change of the state.

B{WATCH.} A watch is part of the state: under its token it remembers of each key whether it was there, and what became
of it. EXEC must fail if a watched key was changed, and must not if none was (but see C{spurious_aborts}). A key that
was absent, appeared and is absent again may count as changed, as in Redis, or not.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tinykv.testing.history import Operation
from tinykv.testing.redis_commands import READS, Between, InAnyOrder, keys_of, run_command, waits_still
from tinykv.testing.redis_space import (
    ABSENT,
    CHANGED,
    CREATED,
    FOREVER,
    GONE_AGAIN,
    PRESENT,
    Command,
    Failed,
    Space,
    State,
)


@dataclass(frozen=True, slots=True)
class Watch:
    """WATCH; C{token} names what the next EXEC of the same client asks about."""

    token: int
    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Exec:
    """MULTI, commands, EXEC; C{token} is that of the watch before it, or None."""

    token: int | None
    watched: tuple[bytes, ...]
    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """The expected output of a transaction: one for each command."""

    expected: tuple[Any, ...]

    def __call__(self, output: Any) -> bool:
        """Compare."""
        return (
            isinstance(output, tuple)
            and len(output) == len(self.expected)
            and all(
                expected(found) if callable(expected) else expected == found
                for expected, found in zip(self.expected, output, strict=True)
            )
        )


class RedisModel:
    """
    The model, for L{tinykv.testing.linearizability}.

    @param slack_us: How far the clock reading of an operation may lie outside of its call and return.
    @param spurious_aborts: Whether EXEC may fail without a reason, as it does when the region's epoch has changed.
    """

    def __init__(self, *, slack_us: int = 0, spurious_aborts: bool = False) -> None:
        self._slack_us = slack_us
        self._spurious_aborts = spurious_aborts

    def initial(self) -> State:
        """Give the empty state."""
        return (), frozenset()

    def step(self, state: State, operation: Operation) -> Iterator[tuple[Any, State]]:
        """Give all that may happen."""
        scripts: list[tuple[int, ...]] = [()]
        while scripts:
            script = scripts.pop()
            space = Space(state, operation, self._slack_us, script)
            output = self._run(space, operation.input)
            made = tuple(chosen for chosen, _ in space.choices)
            for place in range(len(script), len(made)):
                for other in range(1, space.choices[place][1]):
                    scripts.append((*made[:place], other))
            yield output, space.state()

    def _run(self, space: Space, request: Any) -> Any:
        if isinstance(request, Watch):
            watches = {
                (request.token, key, ABSENT if space.find(key) is None else PRESENT)
                for key in dict.fromkeys(request.keys)
            }
            # What expires while it's looked at concerns older watches only.
            space.watches = space.state()[1] | watches
            space.touched.clear()
            return b"OK"
        if isinstance(request, Exec):
            return self._exec(space, request)
        return run_command(space, request)

    def _exec(self, space: Space, request: Exec) -> Any:
        for key in request.watched:
            space.find(key)
        own = {mark for token, _, mark in space.state()[1] if token == request.token}
        space.watches = frozenset(watch for watch in space.watches if watch[0] != request.token)
        if own & {CREATED, CHANGED}:
            return None
        if (GONE_AGAIN in own or self._spurious_aborts) and space.choose(2):
            return None
        space.alone = False
        return Answers(tuple(run_command(space, command) for command in request.commands))

    def keys(self, operation: Operation) -> Iterable[Hashable]:
        """Give all keys of an operation."""
        request: Any = operation.input
        if isinstance(request, Watch):
            return request.keys
        if isinstance(request, Exec):
            return [*request.watched, *(key for command in request.commands for key in keys_of(command))]
        return keys_of(request)

    def reads(self, operation: Operation) -> bool:
        """
        Say whether an operation only reads.

        A watch changes the state, but one of which the client knows nothing has no transaction behind it.
        """
        request: Any = operation.input
        if isinstance(request, Watch):
            return not operation.known
        return isinstance(request, tuple) and request[0] in READS

    def describe(self, operation: Operation) -> str:
        """Word an input as one would type it."""
        request: Any = operation.input
        if isinstance(request, Watch):
            return f"WATCH {_words(request.keys)}"
        if isinstance(request, Exec):
            commands = "; ".join(map(_words, request.commands))
            watched = f" (watching {_words(request.watched)})" if request.watched else ""
            return f"MULTI; {commands}; EXEC{watched}"
        return _words(request)

    def describe_output(self, output: Any) -> str:
        """Word an output."""
        if isinstance(output, tuple):
            return "[" + ", ".join(map(self.describe_output, output)) + "]"
        if isinstance(output, Failed):
            return "-" + output.code.decode("latin-1")
        if isinstance(output, Answers):
            return self.describe_output(output.expected)
        if isinstance(output, InAnyOrder):
            return self.describe_output(output.elements) + " in any order"
        if isinstance(output, Between):
            return f"{output.low} to {output.high}"
        if output is waits_still:
            return "nothing yet"
        return "nil" if output is None else _word(output) if isinstance(output, bytes) else str(output)

    def describe_state(self, state: State) -> str:
        """Word a state."""
        items, watches = state
        words = []
        for key, (kind, content, expiry) in items:
            text = sorted(content) if isinstance(content, frozenset) else content
            bounds = ""
            if expiry is not None:
                high = "?" if expiry[1] == FOREVER else f"{expiry[1] / 1000:.3f}"
                bounds = f" until {expiry[0] / 1000:.3f} .. {high} ms"
            words.append(f"{_word(key)} = {kind} {text!r}{bounds}")
        words += [f"watch {token} of {_word(key)}: {mark}" for token, key, mark in sorted(watches)]
        return "; ".join(words) or "empty"


def _word(text: bytes) -> str:
    return text.decode("ascii", "backslashreplace") or '""'


def _words(command: Iterable[bytes]) -> str:
    return " ".join(map(_word, command))
