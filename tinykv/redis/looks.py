"""
What a front asks of the data for itself, beside what its clients ask: as of its place among their commands.

A question is a request like a command's; who asks it is answered in RESP. It changes nothing, so it may be asked twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tinykv.errors import Damaged
from tinykv.resp import replies
from tinykv.resp.splitting import elements_of

if TYPE_CHECKING:
    from tinykv.redis.execution import Execution

#: As many digits as the largest number has that an id can be.
_DIGITS: Final = 20
#: Which versions keys have, 0 for one that is absent: C{versions key ...}.
VERSIONS: Final = b"versions"
#: Who of a gateway's clients waits: C{waiters RUN CLIENT NUMBER ...}; 1 for each that does, else 0.
WAITERS: Final = b"waiters"


def check(arguments: list[bytes]) -> None:
    """
    Check a question that came from elsewhere.

    @raise Damaged: It's none.
    """
    if arguments[0] == WAITERS:
        if len(arguments) % 2 or not all(word.isdigit() and len(word) <= _DIGITS for word in arguments[1:]):
            raise Damaged("a question for waiters doesn't say for which")
    elif arguments[0] != VERSIONS:
        raise Damaged("there's no such question of a front")


def answer(execution: Execution, db: int, arguments: list[bytes], now: int) -> bytes:
    """
    Answer a question.

    @param now: The time of day, in ms since 1970.
    """
    if arguments[0] == WAITERS:
        run, *rest = map(int, arguments[1:])
        found = [execution.waiters.find((run, *pair)) for pair in zip(rest[::2], rest[1::2], strict=True)]
        return replies.array([replies.integer(waiter is not None) for waiter in found])
    return replies.array([replies.integer(version) for version in _versions(execution, db, arguments[1:], now)])


def keys_of(arguments: list[bytes]) -> list[bytes]:
    """Give the keys that a question is about."""
    return arguments[1:] if arguments[0] == VERSIONS else []


def _versions(execution: Execution, db: int, keys: list[bytes], now: int) -> list[int]:
    keyspace = execution.keyspace
    misses = keyspace.misses
    keyspace.writing = False
    # What has expired by the clock is absent for EXEC, whose time is no earlier; so it's absent now, too.
    keyspace.now = max(execution.time, now)
    found = [keyspace.databases[db].version(key) for key in keys]
    # Nobody waits for it to be deleted, and it's no read.
    keyspace.noticed = []
    keyspace.misses = misses
    return found


def numbers_in(reply: bytes) -> list[int]:
    """
    Read the answer to a question.

    @raise Damaged: It's none.
    """
    return [int(element[1:]) for element in elements_of(reply)]
