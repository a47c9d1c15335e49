"""
The commands that the model of Redis knows, each as a function of the keys; see L{tinykv.testing.redis_model}.

Each gives its expected output, and looks before it changes anything: when it refuses, nothing has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tinykv.testing.redis_space import HASH, LIST, SET, STRING, Command, Failed, Refused, Space


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


def _flush(space: Space, command: Command) -> Any:
    """Delete all keys, which the history names: those of them that are done at one moment."""
    for key in command[1:]:
        if key in space.items:
            space.remove(key)
    return b"OK"


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
    return None if float(timeout) > 0 and waited >= float(timeout) * 1e6 else waits_still


def waits_still(output: Any) -> bool:
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
    b"FLUSHALL": _flush,
    b"FLUSHDB": _flush,
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
    if name in (b"MGET", b"DEL", b"EXISTS", b"FLUSHALL", b"FLUSHDB"):
        return command[1:]
    if name in (b"BLPOP", b"BRPOP"):
        return command[1:-1]
    return command[1:2]
