"""
Commands on the connection itself: PING, ECHO, SELECT, QUIT, AUTH, HELLO, RESET.

@see: U{https://redis.io/commands/?group=connection}
"""

from __future__ import annotations

import hmac

from tinykv.errors import NotAnInteger
from tinykv.redis.numbers import parse_int64
from tinykv.resp import replies
from tinykv.server.cluster_nodes import Node, master_of
from tinykv.server.routes import connection
from tinykv.server.session import Session
from tinykv.server.transactions import end_transaction

#: What HELLO and INFO say that this server is compatible with.
REDIS_VERSION = b"7.2.4"

_WRONG_PASSWORD = replies.error(b"WRONGPASS invalid username-password pair or user is disabled.")
_NO_PASSWORD_SET = replies.error(
    b"ERR AUTH <password> called without any password configured for the default user. "
    b"Are you sure your configuration is correct?"
)


@connection("ping")
def ping(session: Session, number: int, request: list[bytes]) -> bytes:
    """Answer PONG, or what was sent along."""
    if len(request) > 2:
        return replies.error(b"ERR wrong number of arguments for 'ping' command")
    return replies.bulk(request[1]) if len(request) == 2 else replies.PONG


@connection("echo")
def echo(session: Session, number: int, request: list[bytes]) -> bytes:
    """Answer what was sent along."""
    return replies.bulk(request[1])


@connection("select")
def select(session: Session, number: int, request: list[bytes]) -> bytes:
    """Choose the database that the commands to come work on."""
    index = parse_int64(request[1])
    if index is None:
        raise NotAnInteger
    if session.cluster and index:
        return replies.error(b"ERR SELECT is not allowed in cluster mode")
    if not 0 <= index < session.databases:
        return replies.error(b"ERR DB index is out of range")
    session.db = index
    return replies.OK


@connection("quit", in_multi_at_once=True)
def quit_(session: Session, number: int, request: list[bytes]) -> bytes | None:
    """Answer OK behind everything else, and close."""
    session.answer(number, replies.OK)
    session.close_after_replies()
    return None


@connection("reset", in_multi_at_once=True, in_order=True)
def reset(session: Session, number: int, request: list[bytes]) -> bytes:
    """Put the connection back to how it began."""
    end_transaction(session)
    session.db = 0
    session.proto = 2
    session.name = b""
    session.quiet = session.replies_off = session.skip_next = False
    session.unmute(number)
    session.no_evict = session.no_touch = session.stale = False
    session.authenticated = session.front.open
    session.user = b"default"
    session.set_limits(session.front.limits if session.authenticated else session.front.limits_before_auth)
    return replies.simple(b"RESET")


@connection("readonly")
def readonly(session: Session, number: int, request: list[bytes]) -> bytes:
    """Let this connection read what is applied here, old as it may be; a standalone Redis refuses that."""
    session.stale = True
    session.front.host.expect_local_reads()
    return replies.OK


@connection("readwrite")
def readwrite(session: Session, number: int, request: list[bytes]) -> bytes:
    """Let this connection read what is newest again."""
    session.stale = False
    return replies.OK


@connection("auth")
def auth(session: Session, number: int, request: list[bytes]) -> bytes:
    """Show the password."""
    if len(request) > 3:
        return replies.error(b"ERR syntax error")
    user, password = (b"default", request[1]) if len(request) == 2 else (request[1], request[2])
    if len(request) == 2 and session.front.open:
        return _NO_PASSWORD_SET
    return _authenticate(session, user, password) or replies.OK


def _authenticate(session: Session, user: bytes, password: bytes) -> bytes | None:
    """Check a user and a password; give the error reply if they're wrong."""
    front = session.front
    right = front.open or hmac.compare_digest(password, front.password)
    if user != b"default" or not right:
        front.failed_auths += 1
        front.log.warn("{peer} failed to authenticate", peer=session.peer_text.decode())
        return _WRONG_PASSWORD
    session.authenticated = True
    session.user = user
    session.set_limits(front.limits)
    return None


@connection("hello", in_order=True)
def hello(session: Session, number: int, request: list[bytes]) -> bytes:
    """Choose the protocol version, and say who this is."""
    proto = session.proto
    if len(request) > 1:
        wanted = parse_int64(request[1])
        if wanted is None:
            return replies.error(b"ERR Protocol version is not an integer or out of range")
        if wanted not in (2, 3):
            return replies.error(b"NOPROTO unsupported protocol version")
        proto = wanted
    credentials: tuple[bytes, bytes] | None = None
    name: bytes | None = None
    place = 2
    while place < len(request):
        option = request[place].lower()
        if option == b"auth" and place + 2 < len(request):
            credentials = (request[place + 1], request[place + 2])
            place += 3
        elif option == b"setname" and place + 1 < len(request):
            name = request[place + 1]
            if not valid_name(name):
                return BAD_NAME
            place += 2
        else:
            return replies.error(b"ERR Syntax error in HELLO option '%b'" % request[place])
    if credentials is not None:
        refusal = _authenticate(session, *credentials)
        if refusal is not None:
            return refusal
    if not session.authenticated:
        return replies.error(
            b"NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> "
            b"<pass> option can be used to authenticate the client and select the RESP protocol version at the same "
            b"time"
        )
    session.proto = proto
    if name is not None:
        session.name = name
    return replies.map_(
        [
            replies.bulk(b"server"),
            replies.bulk(b"redis"),
            replies.bulk(b"version"),
            replies.bulk(REDIS_VERSION),
            replies.bulk(b"proto"),
            replies.integer(proto),
            replies.bulk(b"id"),
            replies.integer(session.client_id),
            replies.bulk(b"mode"),
            replies.bulk(b"cluster" if session.cluster else b"standalone"),
            replies.bulk(b"role"),
            replies.bulk(b"master" if _master_of(session) is None else b"replica"),
            replies.bulk(b"modules"),
            replies.EMPTY_ARRAY,
        ],
        proto,
    )


def _master_of(session: Session) -> Node | None:
    """Give the node whose replica this store is to a client of the cluster port; None if it's none."""
    slots = session.front.slots
    return master_of(slots) if session.cluster and slots is not None else None


BAD_NAME = replies.error(b"ERR Client names cannot contain spaces, newlines or special characters.")


def valid_name(name: bytes) -> bool:
    """Say whether a client may call itself so: printable ASCII without spaces."""
    return all(33 <= byte <= 126 for byte in name)
