"""
MULTI, EXEC, DISCARD, WATCH, UNWATCH.

A transaction is one operation: all its commands go into the log as one record, and apply runs them with nothing in
between. What WATCH saw travels with it and is compared when it's applied, so nothing about a watching client is kept
anywhere but in its session.

@see: U{https://redis.io/docs/interact/transactions/}
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinykv.redis.operations import EXEC, LOCAL, READ_EXEC
from tinykv.resp import replies
from tinykv.server.routes import connection
from tinykv.server.session import Session

if TYPE_CHECKING:
    from tinykv.server.front import Front

_NESTED = replies.error(b"ERR MULTI calls can not be nested")
_NO_MULTI_EXEC = replies.error(b"ERR EXEC without MULTI")
_NO_MULTI_DISCARD = replies.error(b"ERR DISCARD without MULTI")
_WATCH_IN_MULTI = replies.error(b"ERR WATCH inside MULTI is not allowed")
_ABORTED = replies.error(b"EXECABORT Transaction discarded because of previous errors.")


@connection("multi", in_multi_at_once=True)
def multi(session: Session, number: int, request: list[bytes]) -> bytes:
    """Queue the commands that follow, until EXEC."""
    if session.queue is not None:
        return _NESTED
    session.queue = []
    session.queue_db = session.db
    session.spoiled = False
    return replies.OK


@connection("discard", in_multi_at_once=True)
def discard(session: Session, number: int, request: list[bytes]) -> bytes:
    """Forget the queued commands and the watched keys."""
    if session.queue is None:
        return _NO_MULTI_DISCARD
    end_transaction(session)
    return replies.OK


@connection("exec", in_multi_at_once=True)
def exec_(session: Session, number: int, request: list[bytes]) -> bytes | None:
    """Run the queued commands as one."""
    queue = session.queue
    if queue is None:
        return _NO_MULTI_EXEC
    spoiled = session.spoiled
    watched = [(db, key, version) for (db, key), version in session.watched.items()]
    end_transaction(session)
    if spoiled:
        return _ABORTED
    host = session.host
    writes = False
    for _, spec, _, _ in queue:
        if spec is None:
            # It may choose a database or a protocol, or close the connection: what follows has to wait for it.
            session.hold(number)
        elif spec.writes:
            writes = True
            refusal = host.refusal(spec)
            if refusal is not None:
                return refusal
    if writes or watched:
        host.submit((EXEC, session, number, 0, None, queue, watched))
    else:
        host.submit((READ_EXEC, session, number, 0, None, queue, None))
    return None


@connection("watch", in_multi_at_once=True)
def watch(session: Session, number: int, request: list[bytes]) -> bytes | None:
    """Let EXEC do nothing if one of these keys changes until then."""
    if session.queue is not None:
        return _WATCH_IN_MULTI
    session.hold(number)

    def look() -> None:
        # In its place behind the client's own earlier writes.
        front = session.front
        for key in request[1:]:
            if (session.db, key) not in session.watched:
                session.watched[session.db, key] = _version(front, session.db, key)
        session.answer(number, replies.OK)

    session.host.submit((LOCAL, session, number, 0, None, look, True))
    return None


def _version(front: Front, db: int, key: bytes) -> int:
    """Give the version of a key as it's here and now."""
    execution = front.host.execution_of(key)
    keyspace = execution.keyspace
    misses = keyspace.misses
    keyspace.writing = False
    # What has expired by the clock is absent for EXEC, whose time is no earlier; so it's absent now, too.
    keyspace.now = max(execution.time, int(front.now() * 1000))
    version = keyspace.databases[db].version(key)
    # Nobody waits for it to be deleted, and it's no read.
    keyspace.noticed = []
    keyspace.misses = misses
    return version


@connection("unwatch")
def unwatch(session: Session, number: int, request: list[bytes]) -> bytes:
    """Forget the watched keys."""
    session.watched.clear()
    return replies.OK


def end_transaction(session: Session) -> None:
    """Leave MULTI, and forget what is watched."""
    session.queue = None
    session.spoiled = False
    session.watched.clear()
