"""
CLIENT: what a client may know and change of its own connection and of others'.

@see: U{https://redis.io/commands/client-list/}, U{https://redis.io/commands/client-kill/}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tinykv.errors import CommandError, NotAnInteger, SyntaxProblem
from tinykv.redis.numbers import parse_int64
from tinykv.resp import replies
from tinykv.resp.replies import encode_command
from tinykv.server.connections import valid_name
from tinykv.server.routes import connection
from tinykv.server.session import Session

#: The kinds of clients that Redis knows; here all are of the first.
_TYPES = (b"normal", b"master", b"slave", b"replica", b"pubsub")

_HELP = (
    b"CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"GETNAME",
    b"    Give the name of this connection.",
    b"ID",
    b"    Give the id of this connection.",
    b"INFO",
    b"    Describe this connection.",
    b"KILL <ip:port>",
    b"    Close the connection from this address.",
    b"KILL <option> <value> [<option> <value> [...]]",
    b"    Close connections. Options are:",
    b"    * ADDR <ip:port>: those from this address.",
    b"    * LADDR <ip:port>: those to this address of the server.",
    b"    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB): those of a type.",
    b"    * USER <username>: those of a user.",
    b"    * SKIPME (YES|NO): whether this connection stays (it does by default).",
    b"    * ID <client-id>: the one with this id.",
    b"LIST [options ...]",
    b"    Describe connections. Options are:",
    b"    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB): those of a type.",
    b"    * ID <client-id> [...]: those with these ids.",
    b"NO-EVICT (ON|OFF)",
    b"    Protect this connection from being closed for its memory.",
    b"NO-TOUCH (ON|OFF)",
    b"    Let commands of this connection not count as uses of keys.",
    b"REPLY (ON|OFF|SKIP)",
    b"    Hold replies back, or let them out again.",
    b"SETINFO <option> <value>",
    b"    Say which library this is. Options are LIB-NAME and LIB-VER.",
    b"SETNAME <name>",
    b"    Name this connection.",
    b"UNBLOCK <client-id> [TIMEOUT|ERROR]",
    b"    Wake a client that waits in a blocking command.",
    b"HELP",
    b"    Show these lines.",
)


def describe(session: Session, asking: Session, request: list[bytes]) -> bytes:
    """
    Give the line of CLIENT LIST for a client.

    @param asking: Whose request is being answered with it; as in Redis it counts in that client's query buffer.
    """
    now = session.front.now()
    flags = b""
    if session.waiting is not None:
        flags += b"b"
    if session.queue is not None:
        flags += b"x"
    if session.closing:
        flags += b"c"
    if session.stale:
        flags += b"r"
    if session.no_evict:
        flags += b"e"
    if session.no_touch:
        flags += b"T"
    queued = -1 if session.queue is None else len(session.queue)
    owed = session.output_buffer
    held = session.query_buffer + (len(encode_command(request)) if session is asking else 0)
    route = session.last_route
    fields = (
        (b"id", session.client_id),
        (b"addr", session.peer_text),
        (b"laddr", session.local_text),
        (b"fd", session.fd),
        (b"name", session.name),
        (b"age", max(0, int(now - session.since))),
        (b"idle", max(0, int(now - session.last_used))),
        (b"flags", flags or b"N"),
        (b"db", session.db),
        (b"sub", 0),
        (b"psub", 0),
        (b"ssub", 0),
        (b"multi", queued),
        (b"qbuf", held),
        (b"qbuf-free", 0),
        (b"argv-mem", 0),
        (b"multi-mem", sum(sum(map(len, command[2])) for command in session.queue or ())),
        (b"rbs", 0),
        (b"rbp", 0),
        (b"obl", owed),
        (b"oll", 0),
        (b"omem", owed),
        (b"tot-mem", held + owed),
        (b"events", b"r"),
        (b"cmd", b"NULL" if route is None else route.wire_name),
        (b"user", session.user),
        (b"redir", -1),
        (b"resp", session.proto),
        (b"lib-name", session.library),
        (b"lib-ver", session.library_version),
    )
    return b" ".join(b"%b=%b" % (name, b"%d" % value if isinstance(value, int) else value) for name, value in fields)


@connection("client|id")
def client_id(session: Session, number: int, request: list[bytes]) -> bytes:
    """Give the connection's id."""
    return replies.integer(session.client_id)


@connection("client|info")
def client_info(session: Session, number: int, request: list[bytes]) -> bytes:
    """Describe the connection."""
    return replies.verbatim(describe(session, session, request) + b"\n", b"txt", session.proto)


@connection("client|list")
def client_list(session: Session, number: int, request: list[bytes]) -> bytes:
    """Describe all connections, or those of a type, or some by id."""
    sessions: Iterable[Session] = session.front.sessions.values()
    if len(request) == 4 and request[2].lower() == b"type":
        if _type_of(request[3]) != b"normal":
            sessions = ()
    elif len(request) > 3 and request[2].lower() == b"id":
        ids = [parse_int64(text) for text in request[3:]]
        if None in ids:
            raise CommandError(b"ERR Invalid client ID")
        known = session.front.sessions
        sessions = [known[one] for one in ids if one in known]
    elif len(request) != 2:
        raise SyntaxProblem
    lines = b"".join(describe(one, session, request) + b"\n" for one in sessions)
    return replies.verbatim(lines, b"txt", session.proto)


def _type_of(text: bytes) -> bytes:
    if text.lower() not in _TYPES:
        raise CommandError(b"ERR Unknown client type '%b'" % text)
    return text.lower()


@connection("client|getname")
def client_getname(session: Session, number: int, request: list[bytes]) -> bytes:
    """Give the connection's name."""
    return replies.bulk(session.name) if session.name else replies.nil(session.proto)


@connection("client|setname")
def client_setname(session: Session, number: int, request: list[bytes]) -> bytes:
    """Name the connection; the empty name takes the name away."""
    if not valid_name(request[2]):
        raise CommandError(b"ERR Client names cannot contain spaces, newlines or special characters.")
    session.name = request[2]
    return replies.OK


@connection("client|setinfo")
def client_setinfo(session: Session, number: int, request: list[bytes]) -> bytes:
    """Say which library the client uses."""
    option, value = request[2], request[3]
    if option.lower() not in (b"lib-name", b"lib-ver"):
        raise CommandError(b"ERR Unrecognized option '%b'" % option)
    if not valid_name(value):
        raise CommandError(b"ERR %b cannot contain spaces, newlines or special characters." % option.lower())
    if option.lower() == b"lib-name":
        session.library = value
    else:
        session.library_version = value
    return replies.OK


def _switch(text: bytes) -> bool:
    if text.lower() not in (b"on", b"off"):
        raise SyntaxProblem
    return text.lower() == b"on"


@connection("client|no-evict")
def client_no_evict(session: Session, number: int, request: list[bytes]) -> bytes:
    """Ask not to be closed for the memory that the connection takes; none is."""
    session.no_evict = _switch(request[2])
    return replies.OK


@connection("client|no-touch")
def client_no_touch(session: Session, number: int, request: list[bytes]) -> bytes:
    """Ask that commands don't count as uses of keys; reads never do here."""
    session.no_touch = _switch(request[2])
    return replies.OK


@connection("client|reply", refused_in_multi=True)
def client_reply(session: Session, number: int, request: list[bytes]) -> bytes:
    """Hold back all replies, or the next one, or none; only ON is answered."""
    how = request[2].lower()
    if how == b"on":
        session.replies_off = session.quiet = session.skip_next = False
        session.unmute(number)
        return replies.OK
    if how == b"off":
        session.replies_off = session.quiet = True
    elif how == b"skip":
        session.skip_next = not session.replies_off
        session.quiet = True
    else:
        raise SyntaxProblem
    return b""


@connection("client|unblock", in_order=True)
def client_unblock(session: Session, number: int, request: list[bytes]) -> bytes:
    """Wake a client that waits, as if its time were over or with an error."""
    how = request[3].lower() if len(request) == 4 else b"timeout"
    if how not in (b"timeout", b"error"):
        raise CommandError(b"ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    wanted = parse_int64(request[2])
    if wanted is None:
        raise NotAnInteger
    waiting = session.front.sessions.get(wanted)
    if waiting is None or waiting.waiting is None or waiting.woken:
        return replies.ZERO
    waiting.woken = True
    session.front.wake(waiting, how)
    return replies.ONE


@connection("client|kill")
def client_kill(session: Session, number: int, request: list[bytes]) -> bytes:
    """Close one connection by its address, or all that fit the filters."""
    if len(request) == 3:
        victims = [one for one in session.front.sessions.values() if one.peer_text == request[2]]
        if not victims:
            raise CommandError(b"ERR No such client")
        _kill(session, number, victims[:1])
        return replies.OK
    skip_me, fits = _filters(request)
    victims = [
        one
        for one in session.front.sessions.values()
        if not (skip_me and one is session) and all(fit(one) for fit in fits)
    ]
    _kill(session, number, victims)
    return replies.integer(len(victims))


def _kill(session: Session, number: int, victims: list[Session]) -> None:
    """Close connections; the one that asks for it gets its reply first."""
    for victim in victims:
        if victim is session:
            session.close_after_replies()
        else:
            victim.cut()


def _filters(request: list[bytes]) -> tuple[bool, list[Callable[[Session], bool]]]:
    """
    Read the filters of CLIENT KILL.

    @return: Whether the client itself is spared, and what all victims have to fulfil.
    """
    skip_me = True
    fits: list[Callable[[Session], bool]] = []
    for place in range(2, len(request), 2):
        if place + 1 == len(request):
            raise SyntaxProblem
        option, value = request[place].lower(), request[place + 1]
        if option == b"id":
            wanted = parse_int64(value)
            if wanted is None or wanted < 1:
                raise CommandError(b"ERR client-id should be greater than 0")
            fits.append(lambda one, wanted=wanted: one.client_id == wanted)  # type: ignore[misc]
        elif option == b"type":
            kind = _type_of(value)
            fits.append(lambda one, kind=kind: kind == b"normal")  # type: ignore[misc]
        elif option == b"addr":
            fits.append(lambda one, value=value: one.peer_text == value)  # type: ignore[misc]
        elif option == b"laddr":
            fits.append(lambda one, value=value: one.local_text == value)  # type: ignore[misc]
        elif option == b"user":
            if value != b"default":
                raise CommandError(b"ERR No such user '%b'" % value)
        elif option == b"skipme" and value.lower() in (b"yes", b"no"):
            skip_me = value.lower() == b"yes"
        else:
            raise SyntaxProblem
    return skip_me, fits


@connection("client|help")
def client_help(session: Session, number: int, request: list[bytes]) -> bytes:
    """Say what there is."""
    return replies.array([replies.simple(line) for line in _HELP])
