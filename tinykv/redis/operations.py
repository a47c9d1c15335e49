"""
What commands look like on their way into a log entry and out of it.

An I{operation} is a plain tuple, since there is one for every command on the hot path::

    (kind, client, number, db, spec, arguments, extra)

C{client} is whoever is to be answered (L{Client}), C{number} its count of requests. Records are the same in bytes:

    - C{COMMANDS}: commands of clients on one database, as they came: RESP requests one after another;
    - C{WAITING}: a blocking command with its origin: start id(8), client(8), number(8), then the RESP request;
    - C{EXEC}: a transaction: a count(4) of watched keys, each db(1) version(8) length(4) key; then its commands,
      each db(1) length(4) and a RESP request;
    - C{INTERNAL}: what a leader decides itself (expiry, waking a waiter): a RESP request.

Reads are operations too when they have to keep their place behind a client's writes, but they're never logged. A
C{LOCAL} one is a step of the front's, a function without arguments; a C{LOOK} a question of the front's about the data,
which is answered like a read (L{tinykv.redis.looks}).
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from struct import error as struct_error
from typing import Any, Final, Protocol

from tinykv.errors import Damaged
from tinykv.redis.spec import CommandSpec
from tinykv.resp.fast_reader import FastRequestReader
from tinykv.resp.limits import RequestLimits
from tinykv.resp.pipeline import LEAST_BYTES, MOST_BYTES
from tinykv.resp.replies import encode_command

COMMANDS = 1
WAITING = 2
EXEC = 3
INTERNAL = 4
#: Never logged.
READ = 5
READ_EXEC = 6
LOCAL = 7
LOOK = 8

Operation = tuple[int, Any, int, int, Any, Any, Any]

_RECORD = Struct(">BBI")
_ORIGIN = Struct(">QQQ")
_COUNT = Struct(">I")
_WATCHED = Struct(">BQI")
_COMMAND = Struct(">BI")

#: What was accepted once is in the log, whatever the limits are now.
_NO_LIMITS = RequestLimits(
    inline_bytes=1 << 40, arguments=1 << 31, bulk_bytes=1 << 40, query_buffer_bytes=1 << 40
)


#: Stands between a command's name and the slots to which it's limited, and in no name that a client may give.
_LIMIT: Final = "|"


def within_slots(arguments: list[bytes], slots: tuple[int, int]) -> list[bytes]:
    """
    Limit a command that is about all keys to those in some slots, as when the region has others by now of which that
    was done before.

    @param slots: The first of them, and the one behind the last.
    """
    before = slots_named(arguments)
    first, end = slots if before is None else (max(slots[0], before[0]), min(slots[1], before[1]))
    name = arguments[0].partition(_LIMIT.encode())[0]
    return [b"%b|%d|%d" % (name, first, max(first, end)), *arguments[1:]]


def slots_named(arguments: list[bytes]) -> tuple[int, int] | None:
    """Give the slots to which L{within_slots} has limited a command; None if it's about all."""
    _, *limits = arguments[0].split(_LIMIT.encode())
    return (int(limits[0]), int(limits[1])) if len(limits) == 2 else None


class Client(Protocol):
    """Whoever sent a command and is to be answered."""

    proto: int
    #: Names the client for as long as the store runs.
    client_id: int

    def answer(self, number: int, reply: bytes) -> None:
        """Take the reply to a request."""

    def waits(self, number: int, timeout_ms: int) -> None:
        """Learn that a request has become a waiter."""


class Nobody:
    """The client of operations that are replayed from the log: nobody waits for their replies."""

    proto = 2
    client_id = 0

    def answer(self, number: int, reply: bytes) -> None:
        """Do nothing: the reply went out, or didn't, when the entry was applied first."""

    def waits(self, number: int, timeout_ms: int) -> None:
        """Do nothing."""


NOBODY = Nobody()


def size_of(operation: Operation) -> int:
    """Count the bytes of a request on data; roughly, without what stands between its arguments."""
    raw: Any = operation[6]
    if type(raw) is bytes:
        return len(raw)
    if operation[0] in (EXEC, READ_EXEC):
        return sum(sum(map(len, command[2])) for command in operation[5])
    return sum(map(len, operation[5]))


def encode_records(operations: list[Operation], start_id: int) -> list[bytes]:
    """
    Encode the operations that are logged, in their order.

    Neighbours of one database share a record, so that a pipeline of writes costs one join.

    @param start_id: Names the run of the store whose clients these are.
    @return: The pieces of the records, to be joined.
    """
    pieces: list[bytes] = []
    run: list[bytes] = []
    run_db = 0
    for operation in operations:
        kind = operation[0]
        if kind == COMMANDS:
            if run and operation[3] != run_db:
                _close(pieces, run, run_db)
                run = []
            run_db = operation[3]
            run.append(operation[6])
            continue
        if kind >= READ:
            continue
        if run:
            _close(pieces, run, run_db)
            run = []
        if kind == WAITING:
            # Of a client of another store, its origin came along.
            origin = operation[6] or (start_id, operation[1].client_id, operation[2])
            body = _ORIGIN.pack(*origin) + encode_command(operation[5])
        elif kind == EXEC:
            body = encode_transaction(operation[5], operation[6])
        else:
            body = encode_command(operation[5])
        pieces.append(_RECORD.pack(kind, operation[3], len(body)))
        pieces.append(body)
    if run:
        _close(pieces, run, run_db)
    return pieces


def _close(pieces: list[bytes], run: list[bytes], db: int) -> None:
    body = run[0] if len(run) == 1 else b"".join(run)
    pieces.append(_RECORD.pack(COMMANDS, db, len(body)))
    pieces.append(body)


def encode_transaction(
    commands: list[tuple[int, CommandSpec | None, list[bytes], Any]], watched: list[tuple[int, bytes, int]]
) -> bytes:
    """Encode the body of a transaction: what is watched, and the commands on data."""
    pieces = [_COUNT.pack(len(watched))]
    for db, key, version in watched:
        pieces += (_WATCHED.pack(db, version, len(key)), key)
    for db, spec, arguments, _ in commands:
        if spec is not None:
            request = encode_command(arguments)
            pieces += (_COMMAND.pack(db, len(request)), request)
    return b"".join(pieces)


def decode_records(data: bytes, offset: int, table: Mapping[str, CommandSpec]) -> list[Operation]:
    """
    Read the records of an entry back, from an offset to the end.

    @raise Damaged: They're cut off, or hold a command that this version doesn't know.
    """
    operations: list[Operation] = []
    end = len(data)
    while offset < end:
        if end - offset < _RECORD.size:
            raise Damaged("an entry ends within a record's head")
        kind, db, length = _RECORD.unpack_from(data, offset)
        offset += _RECORD.size
        body = data[offset : offset + length]
        offset += length
        if len(body) != length:
            raise Damaged("an entry ends within a record")
        if kind == COMMANDS:
            # Mostly there are many of one command, spelled alike.
            name: bytes | None = None
            for arguments in _requests(body):
                if arguments[0] != name:
                    spec = lookup(arguments, table)
                    name = None if "|" in spec.name else arguments[0]
                operations.append((COMMANDS, NOBODY, 0, db, spec, arguments, None))
        elif kind == WAITING:
            if length < _ORIGIN.size:
                raise Damaged("a record ends within a waiter's origin")
            arguments = decode_request(body[_ORIGIN.size :])
            origin = _ORIGIN.unpack_from(body)
            operations.append((WAITING, NOBODY, 0, db, lookup(arguments, table), arguments, origin))
        elif kind == EXEC:
            commands, watched = decode_transaction(body, table)
            operations.append((EXEC, NOBODY, 0, 0, None, commands, watched))
        elif kind == INTERNAL:
            arguments = decode_request(body)
            operations.append((INTERNAL, NOBODY, 0, db, None, arguments, None))
        else:
            raise Damaged(f"a record of the unknown kind {kind}")
    return operations


def decode_transaction(
    body: bytes, table: Mapping[str, CommandSpec]
) -> tuple[list[tuple[int, CommandSpec | None, list[bytes], Any]], list[tuple[int, bytes, int]]]:
    """
    Decode the body of a transaction.

    @return: (its commands, what is watched).
    @raise Damaged: It's none.
    """
    try:
        return _transaction(body, table)
    except struct_error as problem:
        raise Damaged("a record ends within a transaction") from problem


def _transaction(
    body: bytes, table: Mapping[str, CommandSpec]
) -> tuple[list[tuple[int, CommandSpec | None, list[bytes], Any]], list[tuple[int, bytes, int]]]:
    (count,) = _COUNT.unpack_from(body)
    offset = _COUNT.size
    watched: list[tuple[int, bytes, int]] = []
    for _ in range(count):
        db, version, length = _WATCHED.unpack_from(body, offset)
        offset += _WATCHED.size
        watched.append((db, body[offset : offset + length], version))
        offset += length
        if offset > len(body):
            raise Damaged("a record ends within a watched key")
    commands: list[tuple[int, CommandSpec | None, list[bytes], Any]] = []
    while offset < len(body):
        db, length = _COMMAND.unpack_from(body, offset)
        offset += _COMMAND.size
        arguments = decode_request(body[offset : offset + length])
        offset += length
        if offset > len(body):
            raise Damaged("a record ends within a transaction")
        commands.append((db, lookup(arguments, table), arguments, None))
    return commands, watched


def _requests(body: bytes) -> list[list[bytes]]:
    reader = FastRequestReader(_NO_LIMITS)
    if len(body) <= MOST_BYTES:
        requests = reader.requests(body)
    else:
        requests = []
        for start in range(0, len(body), MOST_BYTES):
            requests += reader.requests(body[start : start + MOST_BYTES])
    if reader.error is not None:
        raise Damaged("a request in the log is none") from reader.error
    if reader.buffered or reader.inside:
        raise Damaged("a request in the log is cut off")
    return requests


class RequestDecoder:
    """Decodes one RESP request after the other, as L{decode_request} does; most of them without a reader of its own."""

    __slots__ = ("_reader",)

    def __init__(self) -> None:
        self._reader = FastRequestReader(_NO_LIMITS)

    def decode(self, body: bytes) -> list[bytes]:
        """
        Decode one RESP request.

        @raise Damaged: It's none, or not exactly one.
        """
        if len(body) < LEAST_BYTES:
            reader = self._reader
            requests = reader.requests(body)
            if reader.whole and len(requests) == 1:
                return requests[0]
            # What it may have kept of this one mustn't be in the way of the next.
            self._reader = FastRequestReader(_NO_LIMITS)
        return decode_request(body)


def decode_request(body: bytes) -> list[bytes]:
    """
    Decode one RESP request.

    @raise Damaged: It's none, or not exactly one.
    """
    requests = _requests(body)
    if len(requests) != 1:
        raise Damaged(f"{len(requests)} requests in the log where one belongs")
    return requests[0]


def lookup(arguments: list[bytes], table: Mapping[str, CommandSpec]) -> CommandSpec:
    """
    Find the command that a logged request names.

    @raise Damaged: There is no such command in this version, so this store can't follow the log.
    """
    name = arguments[0].decode("latin-1").lower().partition(_LIMIT)[0]
    spec = table.get(name)
    if spec is None and len(arguments) > 1:
        spec = table.get(f"{name}|{arguments[1].decode('latin-1').lower()}")
    if spec is None:
        raise Damaged(f"the log holds the command {name!r}, which this version doesn't know")
    return spec
