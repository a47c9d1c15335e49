"""
What a front asks of the data for itself, beside what its clients ask: as of its place among their commands.

A question is a request like a command's; who asks it is answered in RESP. It changes nothing, so it may be asked twice.
"""

from __future__ import annotations

from typing import Final

from tinykv.errors import Damaged
from tinykv.redis.execution import Execution
from tinykv.resp import replies
from tinykv.resp.splitting import elements_of

#: Which versions keys have, 0 for one that is absent: C{versions key ...}.
VERSIONS: Final = b"versions"


def check(arguments: list[bytes]) -> None:
    """
    Check a question that came from elsewhere.

    @raise Damaged: It's none.
    """
    if arguments[0] != VERSIONS:
        raise Damaged("there's no such question of a front")


def answer(execution: Execution, db: int, arguments: list[bytes], now: int) -> bytes:
    """
    Answer a question.

    @param now: The time of day, in ms since 1970.
    """
    return replies.array([replies.integer(version) for version in _versions(execution, db, arguments[1:], now)])


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


def versions_in(reply: bytes) -> list[int]:
    """
    Read the answer about versions.

    @raise Damaged: It's none.
    """
    return [int(element[1:]) for element in elements_of(reply)]
