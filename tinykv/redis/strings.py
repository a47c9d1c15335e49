"""
Commands on strings.

@see: U{https://redis.io/commands/?group=string}
"""

from __future__ import annotations

from collections.abc import Iterator

from tinykv.errors import CommandError, SyntaxProblem, WrongArity, WrongType
from tinykv.redis.arguments import future, integer
from tinykv.redis.context import Context
from tinykv.redis.spec import READ, WRITE, command
from tinykv.redis.value import STRING, row_expires, string_body
from tinykv.resp import replies

#: Options that set an expiry: the milliseconds of their unit, and whether they count from now on.
_EXPIRIES = {b"EX": (1000, True), b"PX": (1, True), b"EXAT": (1000, False), b"PXAT": (1, False)}


def string_row(ctx: Context, key: bytes) -> bytes | None:
    """
    Give the meta row of a string, or None if there's nothing.

    @raise WrongType: The key holds something else.
    """
    row = ctx.db.get(key)
    if row is None:
        return None
    if type(row) is not bytes:
        raise WrongType()
    return row


def string_reply(row: bytes | None, proto: int) -> bytes:
    """Give a string's meta row, or nothing, as a reply."""
    if row is None:
        return replies.nil(proto)
    if row[0] == STRING:
        return b"$%d\r\n%b\r\n" % (len(row) - 9, row[9:])
    return b"$%d\r\n%b\r\n" % (len(row) - 17, row[17:])


def check_length(ctx: Context, length: int) -> None:
    """
    Check that a string may become this long.

    @raise CommandError: It may not.
    """
    if length > ctx.keyspace.settings.string_max:
        raise CommandError(b"ERR string exceeds maximum allowed size (proto-max-bulk-len)")


# Reading


@command("get", READ)
def get(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give the string that a key holds.

    @see: U{https://redis.io/commands/get/}
    """
    row = ctx.db.get(args[1])
    if row is None:
        return replies.nil(ctx.proto)
    if type(row) is not bytes:
        raise WrongType()
    if row[0] == STRING:
        return b"$%d\r\n%b\r\n" % (len(row) - 9, row[9:])
    return b"$%d\r\n%b\r\n" % (len(row) - 17, row[17:])


@command("mget", READ)
def mget(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give the strings of several keys; nil for what is no string.

    @see: U{https://redis.io/commands/mget/}
    """
    found = ctx.db.get
    nil = replies.nil(ctx.proto)
    items: list[bytes] = []
    for key in ctx.paced(args[1:]):
        row = found(key)
        items.append(replies.bulk(string_body(row)) if type(row) is bytes else nil)
    return replies.array(items)


@command("strlen", READ)
def strlen(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give a string's length.

    @see: U{https://redis.io/commands/strlen/}
    """
    row = string_row(ctx, args[1])
    return replies.ZERO if row is None else replies.integer(len(row) - (9 if row[0] == STRING else 17))


@command("getrange", READ)
@command("substr", READ)
def getrange(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give a part of a string, both ends included; negative offsets count from its end.

    @see: U{https://redis.io/commands/getrange/}
    """
    start, end = integer(args[2]), integer(args[3])
    row = string_row(ctx, args[1])
    if row is None or (start < 0 and end < 0 and start > end):
        return replies.EMPTY_BULK
    head = 9 if row[0] == STRING else 17
    length = len(row) - head
    if start < 0:
        start = max(start + length, 0)
    if end < 0:
        end = max(end + length, 0)
    return replies.bulk(row[head + start : head + min(end, length - 1) + 1])


# SET and its variants


def _set_many(ctx: Context, requests: Iterator[list[bytes]]) -> list[bytes]:
    """Run the first of some SETs: those without options, on keys that hold strings or nothing."""
    return [replies.OK] * ctx.db.set_strings(requests)


@command("set", WRITE, run_many=_set_many)
def set_(ctx: Context, args: list[bytes]) -> bytes:
    """
    Let a key hold a string, on conditions and with an expiry if asked for.

    @see: U{https://redis.io/commands/set/}
    """
    if len(args) == 3:
        ctx.db.set_string(args[1], args[2])
        return replies.OK
    return _set_with_options(ctx, args)


def _set_with_options(ctx: Context, args: list[bytes]) -> bytes:
    """Run a SET that has options."""
    condition = expiry = amount = b""
    wants_old = False
    place, end = 3, len(args)
    while place < end:
        option = args[place].upper()
        place += 1
        if option in (b"NX", b"XX") and condition in (b"", option):
            condition = option
        elif option == b"GET":
            wants_old = True
        elif option == b"KEEPTTL" and expiry in (b"", option):
            expiry = option
        elif option in _EXPIRIES and expiry in (b"", option) and place < end:
            expiry = option
            amount = args[place]
            place += 1
        else:
            raise SyntaxProblem()
    expires = _expires(ctx, args[0], expiry, amount)
    key = args[1]
    if wants_old:
        row = string_row(ctx, key)
        found = row is not None
        reply = string_reply(row, ctx.proto)
    else:
        found = ctx.db.get(key) is not None
        reply = replies.OK
    if condition and found != (condition == b"XX"):
        return reply if wants_old else replies.nil(ctx.proto)
    if expiry == b"KEEPTTL":
        expires = max(ctx.db.expires_at(key), 0)
    _assign(ctx, key, args[2], expires)
    return reply


def _expires(ctx: Context, name: bytes, expiry: bytes, amount: bytes) -> int:
    """
    Give the expiry that an option asks for, in ms since 1970; 0 for none.

    @raise CommandError: Its number can't be.
    """
    if expiry not in _EXPIRIES:
        return 0
    unit, relative = _EXPIRIES[expiry]
    return future(amount, name, ctx.now if relative else 0, unit)


def _assign(ctx: Context, key: bytes, value: bytes, expires: int) -> None:
    """Let a key hold a string; one whose expiry is in the past is gone at once."""
    if expires and expires <= ctx.now:
        ctx.db.delete(key)
    else:
        ctx.db.set_string(key, value, expires)


@command("setnx", WRITE)
def setnx(ctx: Context, args: list[bytes]) -> bytes:
    """
    Let a key that holds nothing hold a string.

    @see: U{https://redis.io/commands/setnx/}
    """
    if ctx.db.get(args[1]) is not None:
        return replies.ZERO
    ctx.db.set_string(args[1], args[2])
    return replies.ONE


@command("setex", WRITE)
def setex(ctx: Context, args: list[bytes]) -> bytes:
    """
    Let a key hold a string for some seconds.

    @see: U{https://redis.io/commands/setex/}
    """
    ctx.db.set_string(args[1], args[3], future(args[2], args[0], ctx.now, 1000))
    return replies.OK


@command("psetex", WRITE)
def psetex(ctx: Context, args: list[bytes]) -> bytes:
    """
    Let a key hold a string for some milliseconds.

    @see: U{https://redis.io/commands/psetex/}
    """
    ctx.db.set_string(args[1], args[3], future(args[2], args[0], ctx.now, 1))
    return replies.OK


@command("getset", WRITE)
def getset(ctx: Context, args: list[bytes]) -> bytes:
    """
    Let a key hold a string and give the one it held.

    @see: U{https://redis.io/commands/getset/}
    """
    reply = string_reply(string_row(ctx, args[1]), ctx.proto)
    ctx.db.set_string(args[1], args[2])
    return reply


@command("getdel", WRITE)
def getdel(ctx: Context, args: list[bytes]) -> bytes:
    """
    Delete a string and give it.

    @see: U{https://redis.io/commands/getdel/}
    """
    row = string_row(ctx, args[1])
    if row is not None:
        ctx.db.delete(args[1])
    return string_reply(row, ctx.proto)


@command("getex", WRITE)
def getex(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give a string and change its expiry.

    @see: U{https://redis.io/commands/getex/}
    """
    expiry = amount = b""
    place, end = 2, len(args)
    while place < end:
        option = args[place].upper()
        place += 1
        if option == b"PERSIST" and expiry in (b"", option):
            expiry = option
        elif option in _EXPIRIES and expiry in (b"", option) and place < end:
            expiry = option
            amount = args[place]
            place += 1
        else:
            raise SyntaxProblem()
    key = args[1]
    row = string_row(ctx, key)
    if row is None:
        return replies.nil(ctx.proto)
    expires = _expires(ctx, args[0], expiry, amount)
    if expires:
        _assign(ctx, key, string_body(row), expires)
    elif expiry and row[0] != STRING:
        ctx.db.set_string(key, string_body(row))
    return string_reply(row, ctx.proto)


@command("mset", WRITE)
def mset(ctx: Context, args: list[bytes]) -> bytes:
    """
    Let several keys hold strings.

    @see: U{https://redis.io/commands/mset/}
    """
    if len(args) % 2 == 0:
        raise WrongArity("mset")
    assign = ctx.db.set_string
    for key, value in zip(ctx.paced(args[1::2]), args[2::2], strict=True):
        assign(key, value)
    return replies.OK


@command("msetnx", WRITE)
def msetnx(ctx: Context, args: list[bytes]) -> bytes:
    """
    Let several keys hold strings if none of them holds anything.

    @see: U{https://redis.io/commands/msetnx/}
    """
    if len(args) % 2 == 0:
        raise WrongArity("msetnx")
    if any(ctx.db.get(key) is not None for key in ctx.paced(args[1::2])):
        return replies.ZERO
    mset(ctx, [b"mset", *args[1:]])
    return replies.ONE


# Changing a part


@command("append", WRITE)
def append(ctx: Context, args: list[bytes]) -> bytes:
    """
    Append to a string.

    @see: U{https://redis.io/commands/append/}
    """
    key, tail = args[1], args[2]
    row = string_row(ctx, key)
    if row is None:
        ctx.db.set_string(key, tail)
        return replies.integer(len(tail))
    old = string_body(row)
    check_length(ctx, len(old) + len(tail))
    ctx.db.set_string(key, old + tail, row_expires(row))
    return replies.integer(len(old) + len(tail))


@command("setrange", WRITE)
def setrange(ctx: Context, args: list[bytes]) -> bytes:
    """
    Overwrite a part of a string, zero bytes filling what was missing before it.

    @see: U{https://redis.io/commands/setrange/}
    """
    key, part = args[1], args[3]
    offset = integer(args[2])
    if offset < 0:
        raise CommandError(b"ERR offset is out of range")
    row = string_row(ctx, key)
    old = b"" if row is None else string_body(row)
    if not part:
        return replies.integer(len(old))
    check_length(ctx, offset + len(part))
    new = old[:offset].ljust(offset, b"\0") + part + old[offset + len(part) :]
    ctx.db.set_string(key, new, 0 if row is None else row_expires(row))
    return replies.integer(len(new))
