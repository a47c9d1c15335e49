"""
MULTI, EXEC, DISCARD, WATCH, UNWATCH.

A transaction is one operation: all its commands go into the log as one record, and apply runs them with nothing in
between. What WATCH saw travels with it and is compared when it's applied, so nothing about a watching client is kept
anywhere but in its session.

@see: U{https://redis.io/docs/interact/transactions/}
"""

from __future__ import annotations

from tinykv.redis import looks
from tinykv.redis.operations import EXEC, LOOK, READ_EXEC
from tinykv.resp import replies
from tinykv.server.routes import connection
from tinykv.server.session import Session

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
    # In its place behind the client's own earlier writes.
    watching = _Watching(session, session.db, request[1:])
    session.host.submit((LOOK, watching, number, session.db, None, [looks.VERSIONS, *request[1:]], None))
    return None


class _Watching:
    """Learns the versions of keys that a client is about to watch."""

    __slots__ = ("_db", "_keys", "_session", "client_id", "proto")

    def __init__(self, session: Session, db: int, keys: list[bytes]) -> None:
        self._session = session
        self._db = db
        self._keys = keys
        self.client_id = session.client_id
        self.proto = session.proto

    def answer(self, number: int, reply: bytes) -> None:
        """Let the client watch them, or tell it why it can't; one that watches a key already watches what it saw."""
        session = self._session
        if reply.startswith(b"-"):
            session.answer(number, reply)
            return
        for key, version in zip(self._keys, looks.numbers_in(reply), strict=True):
            session.watched.setdefault((self._db, key), version)
        session.answer(number, replies.OK)

    def waits(self, number: int, timeout_ms: int) -> None:
        """Questions don't wait."""
        raise AssertionError("a question of the front's doesn't block")


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
