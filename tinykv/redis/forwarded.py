"""
Operations on their way to the store that leads, and what became of them on the way back.

A batch is C{region(8) version(8) start_id(8) generation(8)}, then for each operation
C{kind(1) flags(1) proto(1) db(1) client(8) number(8) length(4)} and so many bytes: a RESP request, or the body of a
transaction as the log has it (L{tinykv.redis.operations}). Numbers are big-endian.

The answer has for each operation C{status(1) length(4)} and so many bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Final

from tinykv.errors import Damaged
from tinykv.keys import DATABASES
from tinykv.redis import looks
from tinykv.redis.operations import (
    COMMANDS,
    EXEC,
    INTERNAL,
    LOOK,
    READ,
    READ_EXEC,
    WAITING,
    Client,
    Operation,
    RequestDecoder,
    decode_transaction,
    encode_transaction,
    lookup,
)
from tinykv.redis.spec import CommandSpec
from tinykv.resp.replies import encode_command

_BATCH = Struct(">QQQQ")
_OPERATION = Struct(">BBBBQQI")
_RESULT = Struct(">BI")
_TIMEOUT = Struct(">Q")
_ORIGIN = Struct(">QQQ")

#: In C{flags}: the client has nothing else under way, so that the read needs no place behind writes.
FRESH: Final = 1

#: What became of an operation: this is its reply;
REPLY: Final = 0
#: it's a waiter now, for so many ms (8 bytes);
WAITS: Final = 1
#: it certainly did nothing, and may be sent again;
REFUSED: Final = 2
#: the same of a read, since the replies before it are large; other clients' writes behind it may have been done;
PUT_OFF: Final = 3
#: nobody knows what it does, and this is what its client is told.
UNKNOWN: Final = 4

#: As many digits as the largest number has that an id can be.
_DIGITS: Final = 20
_KINDS: Final = frozenset((COMMANDS, WAITING, EXEC, INTERNAL, READ, READ_EXEC, LOOK))


@dataclass(frozen=True, slots=True)
class Batch:
    """
    Operations from another store.

    @ivar fresh: Places of the reads that may be done at once.
    @ivar strange: Places of the operations that this version can't do: there's no such command, or not in this form.
    """

    operations: list[Operation]
    fresh: frozenset[int]
    strange: frozenset[int]


def encode_batch(
    region: int, version: int, start_id: int, generation: int, operations: list[Operation]
) -> bytes:
    """
    Encode operations of this store's clients on a region's data.

    @param version: Of the region, whose range of keys they're meant for.
    """
    pieces = [_BATCH.pack(region, version, start_id, generation)]
    for kind, client, number, db, _, arguments, extra in operations:
        flags = 0
        if kind == COMMANDS:
            body = extra
        elif kind in (EXEC, READ_EXEC):
            body = encode_transaction(arguments, extra or [])
        else:
            body = encode_command(arguments)
            flags = FRESH if kind == READ and extra else 0
        pieces += (_OPERATION.pack(kind, flags, client.proto, db, client.client_id, number, len(body)), body)
    return b"".join(pieces)


def region_of(data: bytes) -> int:
    """Say which region a batch is for; 0, which none has, if it's no batch."""
    return int(_BATCH.unpack_from(data)[0]) if len(data) >= _BATCH.size else 0


def version_of(data: bytes) -> int:
    """Say which version of its region a batch is meant for."""
    return int(_BATCH.unpack_from(data)[1])


def decode_origin(data: bytes) -> tuple[int, int]:
    """
    Decode where a batch comes from: (the start id of that store's run, its generation, which rises there when
    something was refused and is sent again).

    @raise Damaged: It's no batch.
    """
    if len(data) < _BATCH.size:
        raise Damaged("a forwarded batch is cut off")
    _, _, start_id, generation = _BATCH.unpack_from(data)
    return start_id, generation


def decode_batch(data: bytes, table: Mapping[str, CommandSpec], client: Callable[[int, int, int], Client]) -> Batch:
    """
    Decode what L{encode_batch} gave.

    What would fail when it's applied, and so on every replica, is found here: whoever sent it may be of another
    version, or broken.

    @param client: Makes the client of an operation from its place in the batch, its protocol, and its client's id.
    @raise Damaged: It's no batch.
    """
    start_id, _ = decode_origin(data)
    at = _BATCH.size
    end = len(data)
    unpack, head = _OPERATION.unpack_from, _OPERATION.size
    decode = RequestDecoder().decode
    #: The last plain write, which may well be that of the next one: as it was spelled, and which command it is.
    name: bytes | None = None
    spec: CommandSpec | None = None
    operations: list[Operation] = []
    fresh: list[int] = []
    strange: list[int] = []
    while at < end:
        if end - at < head:
            raise Damaged("a forwarded operation is cut off")
        kind, flags, proto, db, client_id, number, length = unpack(data, at)
        at += head
        body = data[at : at + length]
        at += length
        if len(body) != length or kind not in _KINDS or proto not in (2, 3) or db >= DATABASES:
            raise Damaged("a forwarded operation is none")
        place = len(operations)
        sender = client(place, proto, client_id)
        try:
            if kind == COMMANDS:
                arguments = decode(body)
                if arguments[0] != name or spec is None:
                    spec = lookup(arguments, table)
                    if not spec.writes or spec.blocks:
                        raise Damaged("a command is of another kind here")
                    name = None if "|" in spec.name else arguments[0]
                _check(spec, arguments, db)
                operation: Operation = (COMMANDS, sender, place, db, spec, arguments, body)
            else:
                operation = _operation(kind, sender, place, db, body, table, decode, (start_id, client_id, number))
        except Damaged:
            name = None
            operation = (kind, sender, place, db, None, [], None)
            strange.append(place)
        else:
            if kind == READ and flags & FRESH:
                fresh.append(place)
        operations.append(operation)
    return Batch(operations, frozenset(fresh), frozenset(strange))


def _operation(
    kind: int,
    sender: Client,
    place: int,
    db: int,
    body: bytes,
    table: Mapping[str, CommandSpec],
    decode: Callable[[bytes], list[bytes]],
    origin: tuple[int, int, int],
) -> Operation:
    """
    Decode one operation that isn't a plain write.

    @raise Damaged: It can't be done here.
    """
    if kind in (EXEC, READ_EXEC):
        commands, watched = decode_transaction(body, table)
        for number, spec, arguments, _ in commands:
            _check(spec, arguments, number)
            if kind == READ_EXEC and spec is not None and spec.writes:
                raise Damaged("a transaction that reads would write")
        for number, _, _ in watched:
            _check(None, [], number)
        return (kind, sender, place, 0, None, commands, watched if kind == EXEC else None)
    arguments = decode(body)
    if kind == INTERNAL:
        _check_internal(arguments)
        return (INTERNAL, sender, place, db, None, arguments, None)
    if kind == LOOK:
        _check(None, [], db)
        looks.check(arguments)
        return (LOOK, sender, place, db, None, arguments, None)
    spec = lookup(arguments, table)
    _check(spec, arguments, db)
    if kind != (READ if not spec.writes else WAITING if spec.blocks else COMMANDS):
        raise Damaged("a command is of another kind here")
    return (kind, sender, place, db, spec, arguments, origin if kind == WAITING else None)


def _check(spec: CommandSpec | None, arguments: list[bytes], db: int) -> None:
    """
    Check what the front has checked where a command came from.

    @raise Damaged: There's no such database, or the command doesn't take so many arguments.
    """
    if db >= DATABASES:
        raise Damaged("there's no such database")
    if spec is not None and (
        len(arguments) != spec.arity if spec.arity > 0 else len(arguments) < -spec.arity
    ):
        raise Damaged("a command has the wrong number of arguments")


def _check_internal(arguments: list[bytes]) -> None:
    """
    Check that something which a leader decides itself can be applied.

    @raise Damaged: It can't.
    """
    name, *rest = arguments
    numbers = {b"expire": rest[:1], b"wake": rest[:3], b"gone": rest}.get(name, [])
    count = {b"expire": len(rest) >= 1, b"wake": len(rest) == 4, b"gone": len(rest) == 1}.get(name, False)
    if not count or not all(number.isdigit() and len(number) <= _DIGITS for number in numbers):
        raise Damaged("there's no such decision of a leader")
    if name == b"expire" and int(rest[0]) >= DATABASES:
        raise Damaged("there's no such database")


Result = tuple[int, bytes]


def encode_results(results: list[Result]) -> bytes:
    """Encode what became of a batch's operations."""
    return b"".join([piece for status, data in results for piece in (_RESULT.pack(status, len(data)), data)])


def decode_results(data: bytes, count: int) -> list[Result]:
    """
    Decode what L{encode_results} gave.

    @raise Damaged: It isn't the answer to so many operations.
    """
    results: list[Result] = []
    at = 0
    while at < len(data):
        if len(data) - at < _RESULT.size:
            raise Damaged("an answer is cut off")
        status, length = _RESULT.unpack_from(data, at)
        at += _RESULT.size
        if status > UNKNOWN or at + length > len(data) or (status == WAITS and length != _TIMEOUT.size):
            raise Damaged("an answer is none")
        results.append((status, data[at : at + length]))
        at += length
    if len(results) != count:
        raise Damaged(f"{len(results)} answers to {count} operations")
    return results


def encode_woken(origin: tuple[int, int, int], reply: bytes) -> bytes:
    """Encode what a gateway's client is told that waited: its origin, as the log has it, and the reply."""
    return _ORIGIN.pack(*origin) + reply


def decode_woken(data: bytes) -> tuple[tuple[int, int, int], bytes]:
    """
    Decode what L{encode_woken} gave.

    @raise Damaged: It isn't that.
    """
    if len(data) < _ORIGIN.size:
        raise Damaged("the reply to one that waited is cut off")
    run, client, number = _ORIGIN.unpack_from(data)
    return (run, client, number), data[_ORIGIN.size :]


def encode_timeout(timeout_ms: int) -> bytes:
    """Encode how long a waiter waits."""
    return _TIMEOUT.pack(timeout_ms)


def decode_timeout(data: bytes) -> int:
    """
    Decode how long a waiter waits.

    @raise Damaged: It isn't that.
    """
    if len(data) != _TIMEOUT.size:
        raise Damaged("a time-out is none")
    return int(_TIMEOUT.unpack(data)[0])
