"""
Raw KV: plain keys in column families, in a key space of their own beside Redis's.

A column family (C{default}, C{lock}, C{write}) is a namespace: the same key in two of them is two entries.
There are no types and no expiry, an empty value is a value, and keys are ordered by their bytes. Reads see
one moment, batches change everything or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tinykv.errors import CommandError, SyntaxProblem, WrongArity
from tinykv.keys import RAW_PREFIX, RAW_RANGE, after, raw_key
from tinykv.redis.arguments import integer
from tinykv.redis.context import Context
from tinykv.redis.spec import READ, WRITE, command
from tinykv.resp import replies

FAMILIES = ("default", "lock", "write")


def _family(name: bytes) -> str:
    """
    Read the name of a column family.

    @raise CommandError: There's none of that name.
    """
    family = name.decode("latin-1").lower()
    if family not in FAMILIES:
        raise CommandError(b"ERR unknown column family '%b'; there are default, lock and write" % name[:64])
    return family


def _value(ctx: Context, family: str, key: bytes) -> bytes | None:
    """Give the value of an entry, or None."""
    row = ctx.keyspace.rows.get(family, raw_key(key))
    assert row is None or isinstance(row, bytes)
    return row


def _bulk(value: bytes | None, proto: int) -> bytes:
    """Give a value, or nothing, as a reply."""
    return replies.nil(proto) if value is None else replies.bulk(value)


def _change(ctx: Context, family: str, key: bytes, value: bytes | None) -> bytes | None:
    """Set an entry, or delete it, such that a rollback undoes it; give its old value."""
    rows = ctx.keyspace.rows
    row_key = raw_key(key)
    old = _value(ctx, family, key)
    if old is None and value is None:
        return None
    inverse: tuple[Callable[..., object], tuple[Any, ...]]
    inverse = (rows.remove, (family, row_key)) if old is None else (rows.put, (family, row_key, old))
    ctx.keyspace.undo.append(inverse)
    if value is None:
        rows.remove(family, row_key)
    else:
        rows.put(family, row_key, value)
    ctx.keyspace.changes += 1
    return old


@command("raw.get", READ)
def get(ctx: Context, args: list[bytes]) -> bytes:
    """RAW.GET family key: give an entry's value, or nil."""
    return _bulk(_value(ctx, _family(args[1]), args[2]), ctx.proto)


@command("raw.put", WRITE)
def put(ctx: Context, args: list[bytes]) -> bytes:
    """RAW.PUT family key value: set an entry."""
    _change(ctx, _family(args[1]), args[2], args[3])
    return replies.OK


@command("raw.delete", WRITE)
def delete(ctx: Context, args: list[bytes]) -> bytes:
    """RAW.DELETE family key: delete an entry; say if there was one (1 or 0)."""
    return replies.ZERO if _change(ctx, _family(args[1]), args[2], None) is None else replies.ONE


@command("raw.batchget", READ)
def batch_get(ctx: Context, args: list[bytes]) -> bytes:
    """RAW.BATCHGET family key [key ...]: give the values of several entries, nil for absent ones."""
    family = _family(args[1])
    return replies.array([_bulk(_value(ctx, family, key), ctx.proto) for key in ctx.paced(args[2:])])


@command("raw.batchput", WRITE)
def batch_put(ctx: Context, args: list[bytes]) -> bytes:
    """RAW.BATCHPUT family key value [key value ...]: set several entries."""
    if len(args) % 2:
        raise WrongArity("raw.batchput")
    family = _family(args[1])
    for key, value in zip(ctx.paced(args[2::2]), args[3::2], strict=True):
        _change(ctx, family, key, value)
    return replies.OK


@command("raw.batchdelete", WRITE)
def batch_delete(ctx: Context, args: list[bytes]) -> bytes:
    """RAW.BATCHDELETE family key [key ...]: delete several entries; say how many there were."""
    family = _family(args[1])
    return replies.integer(sum([_change(ctx, family, key, None) is not None for key in ctx.paced(args[2:])]))


@command("raw.cas", WRITE)
def compare_and_set(ctx: Context, args: list[bytes]) -> bytes:
    """
    RAW.CAS family key VALUE expected new, RAW.CAS family key ABSENT new: set an entry if it's as expected.

    @return: Whether it was (1 or 0), and the value before, or nil.
    """
    family, key, mode = _family(args[1]), args[2], args[3].upper()
    if (mode, len(args)) not in ((b"VALUE", 6), (b"ABSENT", 5)):
        raise SyntaxProblem()
    expected = args[4] if mode == b"VALUE" else None
    old = _value(ctx, family, key)
    if old == expected:
        _change(ctx, family, key, args[-1])
    return replies.array([replies.ONE if old == expected else replies.ZERO, _bulk(old, ctx.proto)])


@command("raw.scan", READ)
def scan(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give up to C{limit} entries: RAW.SCAN family start limit [END end] [REVERSE] [KEYSONLY].

    They come in the order of their keys from C{start} on, which is included, up to C{end}, which isn't.
    REVERSE goes down instead; an empty start then is the last key.

    @return: Keys and values in turn, or only keys.
    """
    family = _family(args[1])
    limit = integer(args[3])
    if limit < 0:
        raise CommandError(b"ERR value is out of range, must be positive")
    end: bytes | None = None
    reverse = keys_only = False
    place = 4
    while place < len(args):
        option = args[place].upper()
        place += 1
        if option == b"REVERSE":
            reverse = True
        elif option == b"KEYSONLY":
            keys_only = True
        elif option == b"END" and place < len(args):
            end = args[place]
            place += 1
        else:
            raise SyntaxProblem()
    found: list[bytes] = []
    if limit:
        for row_key, value in _rows(ctx, family, args[2], end, reverse):
            found.append(row_key[len(RAW_PREFIX) :])
            if not keys_only:
                found.append(value)
            limit -= 1
            if not limit:
                break
    return replies.bulks(found)


def _rows(
    ctx: Context, family: str, start: bytes, end: bytes | None, reverse: bool
) -> Iterator[tuple[bytes, bytes]]:
    """Walk over rows from C{start} (included) up or down to C{end} (excluded; L{None} for all)."""
    if reverse:
        low = RAW_RANGE[0] if end is None else after(raw_key(end))
        high = after(raw_key(start)) if start else RAW_RANGE[1]
    else:
        low = raw_key(start)
        high = RAW_RANGE[1] if end is None else raw_key(end)
    if low >= high:
        return
    for row_key, value in ctx.keyspace.rows.scan(family, low, high, reverse=reverse):
        assert isinstance(value, bytes)
        yield row_key, value
