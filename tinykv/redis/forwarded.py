"""
Operations on their way to the store that leads, and what became of them on the way back.

A batch is C{start_id(8) generation(8)}, then for each operation
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
from tinykv.redis.operations import (
    COMMANDS,
    EXEC,
    INTERNAL,
    READ,
    READ_EXEC,
    WAITING,
    Client,
    Operation,
    decode_request,
    decode_transaction,
    encode_transaction,
    lookup,
)
from tinykv.redis.spec import CommandSpec
from tinykv.resp.replies import encode_command

_BATCH = Struct(">QQ")
_OPERATION = Struct(">BBBBQQI")
_RESULT = Struct(">BI")
_TIMEOUT = Struct(">Q")

#: In C{flags}: the client has nothing else under way, so that the read needs no place behind writes.
FRESH: Final = 1

#: What became of an operation: this is its reply;
REPLY: Final = 0
#: it's a waiter now, for so many ms (8 bytes);
WAITS: Final = 1
#: it certainly did nothing, and may be sent again.
REFUSED: Final = 2

_KINDS = frozenset((COMMANDS, WAITING, EXEC, INTERNAL, READ, READ_EXEC))


@dataclass(frozen=True, slots=True)
class Batch:
    """
    Operations from another store.

    @ivar start_id: Names the run of that store.
    @ivar generation: Rises there when something was refused and is sent again.
    @ivar fresh: Places of the reads that may be done at once.
    """

    start_id: int
    generation: int
    operations: list[Operation]
    fresh: frozenset[int]


def encode_batch(start_id: int, generation: int, operations: list[Operation]) -> bytes:
    """Encode operations of this store's clients."""
    pieces = [_BATCH.pack(start_id, generation)]
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


def decode_batch(
    data: bytes, table: Mapping[str, CommandSpec], client: Callable[[int, int, int], Client]
) -> Batch:
    """
    Decode what L{encode_batch} gave.

    @param client: Makes the client of an operation from its place in the batch, its protocol, and its client's id.
    @raise Damaged: It's no batch, or names a command that this version doesn't know.
    """
    if len(data) < _BATCH.size:
        raise Damaged("a forwarded batch is cut off")
    start_id, generation = _BATCH.unpack_from(data)
    at = _BATCH.size
    operations: list[Operation] = []
    fresh: list[int] = []
    while at < len(data):
        if len(data) - at < _OPERATION.size:
            raise Damaged("a forwarded operation is cut off")
        kind, flags, proto, db, client_id, number, length = _OPERATION.unpack_from(data, at)
        at += _OPERATION.size
        body = data[at : at + length]
        at += length
        if len(body) != length or kind not in _KINDS or proto not in (2, 3) or db >= 16:
            raise Damaged("a forwarded operation is none")
        place = len(operations)
        sender = client(place, proto, client_id)
        if kind in (EXEC, READ_EXEC):
            commands, watched = decode_transaction(body, table)
            operations.append((kind, sender, place, 0, None, commands, watched if kind == EXEC else None))
            continue
        arguments = decode_request(body)
        if kind == INTERNAL:
            operations.append((INTERNAL, sender, place, db, None, arguments, None))
            continue
        spec = lookup(arguments, table)
        extra: object = None
        if kind == COMMANDS:
            extra = body
        elif kind == WAITING:
            extra = (start_id, client_id, number)
        elif flags & FRESH:
            fresh.append(place)
        operations.append((kind, sender, place, db, spec, arguments, extra))
    return Batch(start_id, generation, operations, frozenset(fresh))


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
        if status > REFUSED or at + length > len(data):
            raise Damaged("an answer is none")
        results.append((status, data[at : at + length]))
        at += length
    if len(results) != count:
        raise Damaged(f"{len(results)} answers to {count} operations")
    return results


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
