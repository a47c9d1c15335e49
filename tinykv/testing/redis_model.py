"""
A single copy of a small Redis, for the linearizability checker.

It knows some commands of each type, transactions with WATCH, blocking pops and expiry; see L{COMMANDS}. An input is a
command (a tuple of byte strings), a L{Watch} or an L{Exec}; an output is what a RESP2 client makes of a reply: bytes,
int, None, a tuple of these, or L{Failed}.

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

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from tinykv.testing.history import Operation

#: The upper bound of an expiry that was set by an operation of unknown outcome.
FOREVER: Final = 1 << 62

STRING: Final = "string"
LIST: Final = "list"
HASH: Final = "hash"
SET: Final = "set"

#: (type, content, expiry): bytes, a tuple, a tuple of sorted pairs or a frozenset; bounds in us, or None for never.
Value = tuple[str, Any, tuple[int, int] | None]
#: Keys with their values, in order, and watches as (token, key, mark).
State = tuple[tuple[tuple[bytes, Value], ...], frozenset[tuple[int, bytes, str]]]

Command = tuple[bytes, ...]

# Marks of a watch: what became of the key.
_PRESENT: Final = "present"
_ABSENT: Final = "absent"
_CREATED: Final = "created"
_GONE_AGAIN: Final = "gone again"
_CHANGED: Final = "changed"


@dataclass(frozen=True, slots=True)
class Failed:
    """An error reply, by its first word."""

    code: bytes


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
class InAnyOrder:
    """An expected output: the same elements in any order."""

    elements: tuple[bytes, ...]

    def __call__(self, output: Any) -> bool:
        """Compare."""
        return isinstance(output, tuple) and tuple(sorted(output)) == self.elements


@dataclass(frozen=True, slots=True)
class Between:
    """An expected output: a number within bounds."""

    low: int
    high: int

    def __call__(self, output: Any) -> bool:
        """Compare."""
        return isinstance(output, int) and self.low <= output <= self.high


class Refused(Exception):
    """A command fails, and has changed nothing."""

    def __init__(self, code: bytes) -> None:
        super().__init__(code)
        self.code = code


WRONGTYPE: Final = b"WRONGTYPE"


class Space:
    """
    The keys, while an operation works on them.

    @ivar earliest: The earliest clock reading that may be taken for the operation, in us; C{latest} the latest.
    @ivar touched: The keys that it changed.
    @ivar alone: Whether it isn't part of a transaction, so that it may wait.
    """

    def __init__(self, state: State, operation: Operation, slack_us: int, script: tuple[int, ...]) -> None:
        self.items = dict(state[0])
        self.watches = state[1]
        self.operation = operation
        self.earliest = operation.called - slack_us
        self.latest = FOREVER if operation.returned is None else operation.returned + slack_us
        self.slack_us = slack_us
        self.touched: dict[bytes, None] = {}
        self.alone = True
        self._seen: set[bytes] = set()
        self._script = script
        self.choices: list[tuple[int, int]] = []

    def choose(self, count: int) -> int:
        """Choose a number below C{count}; each will be tried."""
        place = len(self.choices)
        chosen = self._script[place] if place < len(self._script) else 0
        self.choices.append((chosen, count))
        return chosen

    # Keys

    def find(self, key: bytes) -> Value | None:
        """Give a key's value; whether its time is over is decided here, once an operation."""
        value = self.items.get(key)
        if value is None or value[2] is None or key in self._seen:
            return value
        self._seen.add(key)
        low, high = value[2]
        may_go, may_stay = self.latest >= low, self.earliest <= high
        if may_go and (not may_stay or self.choose(2)):
            self.remove(key)
            return None
        return value

    def content(self, key: bytes, kind: str) -> Any:
        """Give what a key of a type holds, or None if there's none; refuse a key of another type."""
        value = self.find(key)
        if value is None:
            return None
        if value[0] != kind:
            raise Refused(WRONGTYPE)
        return value[1]

    def put(self, key: bytes, kind: str, content: Any, expiry: tuple[int, int] | None) -> None:
        """Write a key, and when it goes."""
        self.items[key] = (kind, content, expiry)
        self._seen.add(key)
        self.touched[key] = None

    def change(self, key: bytes, kind: str, content: Any) -> None:
        """Write a key, and leave its expiry; what holds nothing is removed."""
        if not content and kind != STRING:
            self.remove(key)
            return
        old = self.items.get(key)
        self.put(key, kind, content, old[2] if old is not None else None)

    def remove(self, key: bytes) -> None:
        """Remove a key that is there."""
        del self.items[key]
        self.touched[key] = None

    def expiry(self, ttl_ms: int) -> tuple[int, int]:
        """Give the bounds of an expiry that is set now."""
        high = FOREVER if self.latest == FOREVER else self.latest + ttl_ms * 1000
        return self.earliest + ttl_ms * 1000, high

    # The end

    def state(self) -> State:
        """Give the state afterwards."""
        watches = self.watches
        if watches and self.touched:
            watches = frozenset((token, key, self._mark(key, mark)) for token, key, mark in watches)
        return tuple(sorted(self.items.items())), watches

    def _mark(self, key: bytes, mark: str) -> str:
        """Say what becomes of a watched key's mark."""
        if key not in self.touched:
            return mark
        if mark in (_PRESENT, _CHANGED):
            return _CHANGED
        return _CREATED if key in self.items else _GONE_AGAIN


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
                (request.token, key, _ABSENT if space.find(key) is None else _PRESENT)
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
        if own & {_CREATED, _CHANGED}:
            return None
        if (_GONE_AGAIN in own or self._spurious_aborts) and space.choose(2):
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
        if output is _waits_still:
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


def _word(text: bytes) -> str:
    return text.decode("ascii", "backslashreplace") or '""'


def _words(command: Iterable[bytes]) -> str:
    return " ".join(map(_word, command))


# The commands

Handler = Callable[[Space, Command], Any]


def run_command(space: Space, command: Command) -> Any:
    """Run a command; give its expected output."""
    try:
        return COMMANDS[command[0]](space, command)
    except Refused as refusal:
        return Failed(refusal.code)


def _get(space: Space, command: Command) -> Any:
    return space.content(command[1], STRING)


def _set(space: Space, command: Command) -> Any:
    _, key, value, *options = command
    old = space.find(key)
    if (b"NX" in options and old is not None) or (b"XX" in options and old is None):
        return None
    expiry = None
    if b"PX" in options:
        expiry = space.expiry(int(options[options.index(b"PX") + 1]))
    elif b"KEEPTTL" in options and old is not None:
        expiry = old[2]
    space.put(key, STRING, value, expiry)
    return b"OK"


def _setnx(space: Space, command: Command) -> Any:
    return int(_set(space, (*command, b"NX")) == b"OK")


def _getset(space: Space, command: Command) -> Any:
    old = space.content(command[1], STRING)
    space.put(command[1], STRING, command[2], None)
    return old


def _incr(space: Space, command: Command) -> Any:
    old = space.content(command[1], STRING)
    try:
        new = int(old or b"0") + 1
    except ValueError:
        raise Refused(b"ERR") from None
    space.change(command[1], STRING, b"%d" % new)
    return new


def _append(space: Space, command: Command) -> Any:
    new = (space.content(command[1], STRING) or b"") + command[2]
    space.change(command[1], STRING, new)
    return len(new)


def _mset(space: Space, command: Command) -> Any:
    for key, value in zip(command[1::2], command[2::2], strict=True):
        space.put(key, STRING, value, None)
    return b"OK"


def _mget(space: Space, command: Command) -> Any:
    found = map(space.find, command[1:])
    return tuple(value[1] if value is not None and value[0] == STRING else None for value in found)


def _del(space: Space, command: Command) -> Any:
    count = 0
    for key in command[1:]:
        if space.find(key) is not None:
            space.remove(key)
            count += 1
    return count


def _exists(space: Space, command: Command) -> Any:
    return sum(space.find(key) is not None for key in command[1:])


def _pexpire(space: Space, command: Command) -> Any:
    value = space.find(command[1])
    if value is None:
        return 0
    space.put(command[1], value[0], value[1], space.expiry(int(command[2])))
    return 1


def _persist(space: Space, command: Command) -> Any:
    value = space.find(command[1])
    if value is None or value[2] is None:
        return 0
    space.put(command[1], value[0], value[1], None)
    return 1


def _pttl(space: Space, command: Command) -> Any:
    value = space.find(command[1])
    if value is None:
        return -2
    if value[2] is None:
        return -1
    low, high = value[2]
    # Rounded outwards, since readings are whole milliseconds.
    return Between(max(0, (low - space.latest) // 1000 - 1), (high - space.earliest) // 1000 + 1)


def _push(space: Space, command: Command) -> Any:
    old = space.content(command[1], LIST) or ()
    new = (*old, *command[2:]) if command[0] == b"RPUSH" else (*reversed(command[2:]), *old)
    space.change(command[1], LIST, new)
    return len(new)


def _take(space: Space, key: bytes, left: bool) -> Any:
    old = space.content(key, LIST)
    if not old:
        return None
    space.change(key, LIST, old[1:] if left else old[:-1])
    return old[0] if left else old[-1]


def _pop(space: Space, command: Command) -> Any:
    return _take(space, command[1], command[0] == b"LPOP")


def _blocking_pop(space: Space, command: Command) -> Any:
    """
    Pop, or wait, as BLPOP does.

    One that waited for several keys takes from that which became ready first, one that didn't from the first that has
    something; which of these it was can't be seen, so any key will do here. Without an element it ends when its time is
    over, not earlier.
    """
    *keys, timeout = command[1:]
    full = [key for key in keys if space.content(key, LIST)]
    if full:
        key = full[space.choose(len(full))]
        return (key, _take(space, key, command[0] == b"BLPOP"))
    if not space.alone:
        return None
    waited = space.latest - space.operation.called
    return None if float(timeout) > 0 and waited >= float(timeout) * 1e6 else _waits_still


def _waits_still(output: Any) -> bool:
    """Accept nothing: the command would go on waiting."""
    return False


def _lrange(space: Space, command: Command) -> Any:
    old = space.content(command[1], LIST) or ()
    start, end = int(command[2]), int(command[3])
    if start < 0:
        start = max(0, start + len(old))
    if end < 0:
        end += len(old)
    return tuple(old[start : end + 1])


def _llen(space: Space, command: Command) -> Any:
    return len(space.content(command[1], LIST) or ())


def _sadd(space: Space, command: Command) -> Any:
    old = space.content(command[1], SET) or frozenset()
    new = old | set(command[2:])
    if new != old:
        space.change(command[1], SET, new)
    return len(new) - len(old)


def _srem(space: Space, command: Command) -> Any:
    old = space.content(command[1], SET) or frozenset()
    new = old - set(command[2:])
    if new != old:
        space.change(command[1], SET, new)
    return len(old) - len(new)


def _spop(space: Space, command: Command) -> Any:
    old = space.content(command[1], SET)
    if not old:
        return None
    members = sorted(old)
    member = members[space.choose(len(members))]
    space.change(command[1], SET, old - {member})
    return member


def _smembers(space: Space, command: Command) -> Any:
    return InAnyOrder(tuple(sorted(space.content(command[1], SET) or ())))


def _hset(space: Space, command: Command) -> Any:
    old = dict(space.content(command[1], HASH) or ())
    new = old | dict(zip(command[2::2], command[3::2], strict=True))
    space.change(command[1], HASH, tuple(sorted(new.items())))
    return len(new) - len(old)


def _hget(space: Space, command: Command) -> Any:
    return dict(space.content(command[1], HASH) or ()).get(command[2])


def _hdel(space: Space, command: Command) -> Any:
    old = dict(space.content(command[1], HASH) or ())
    new = {field: value for field, value in old.items() if field not in command[2:]}
    if new != old:
        space.change(command[1], HASH, tuple(sorted(new.items())))
    return len(old) - len(new)


COMMANDS: Final[dict[bytes, Handler]] = {
    b"GET": _get,
    b"SET": _set,
    b"SETNX": _setnx,
    b"GETSET": _getset,
    b"INCR": _incr,
    b"APPEND": _append,
    b"MSET": _mset,
    b"MGET": _mget,
    b"DEL": _del,
    b"EXISTS": _exists,
    b"PEXPIRE": _pexpire,
    b"PERSIST": _persist,
    b"PTTL": _pttl,
    b"LPUSH": _push,
    b"RPUSH": _push,
    b"LPOP": _pop,
    b"RPOP": _pop,
    b"BLPOP": _blocking_pop,
    b"BRPOP": _blocking_pop,
    b"LRANGE": _lrange,
    b"LLEN": _llen,
    b"SADD": _sadd,
    b"SREM": _srem,
    b"SPOP": _spop,
    b"SMEMBERS": _smembers,
    b"HSET": _hset,
    b"HGET": _hget,
    b"HDEL": _hdel,
}

#: Commands that change nothing. (That a key's time is over may be noticed by them, but others notice it as well.)
READS: Final = frozenset({b"GET", b"MGET", b"EXISTS", b"PTTL", b"LRANGE", b"LLEN", b"SMEMBERS", b"HGET"})


def keys_of(command: Command) -> tuple[bytes, ...]:
    """Give the keys of a command."""
    name = command[0]
    if name == b"MSET":
        return command[1::2]
    if name in (b"MGET", b"DEL", b"EXISTS"):
        return command[1:]
    if name in (b"BLPOP", b"BRPOP"):
        return command[1:-1]
    return command[1:2]
