"""
Commands on strings that are numbers.

@see: U{https://redis.io/commands/?group=string}
"""

from __future__ import annotations

from tinykv.errors import CommandError, NotAFloat, NotAnInteger, WrongType
from tinykv.redis.arguments import integer
from tinykv.redis.context import Context
from tinykv.redis.numbers import (
    INT64_MAX,
    INT64_MIN,
    add_long_doubles,
    format_long_double,
    parse_int64,
    parse_long_double,
)
from tinykv.redis.spec import WRITE, command
from tinykv.redis.strings import string_row
from tinykv.redis.value import STRING, row_expires, string_body
from tinykv.resp import replies


@command("incr", WRITE)
def incr(ctx: Context, args: list[bytes]) -> bytes:
    """
    Add one to a number.

    @see: U{https://redis.io/commands/incr/}
    """
    return _add(ctx, args[1], 1)


@command("decr", WRITE)
def decr(ctx: Context, args: list[bytes]) -> bytes:
    """
    Subtract one from a number.

    @see: U{https://redis.io/commands/decr/}
    """
    return _add(ctx, args[1], -1)


@command("incrby", WRITE)
def incrby(ctx: Context, args: list[bytes]) -> bytes:
    """
    Add to a number.

    @see: U{https://redis.io/commands/incrby/}
    """
    return _add(ctx, args[1], integer(args[2]))


@command("decrby", WRITE)
def decrby(ctx: Context, args: list[bytes]) -> bytes:
    """
    Subtract from a number.

    @see: U{https://redis.io/commands/decrby/}
    """
    amount = integer(args[2])
    if amount == INT64_MIN:
        raise CommandError(b"ERR decrement would overflow")
    return _add(ctx, args[1], -amount)


def _add(ctx: Context, key: bytes, amount: int) -> bytes:
    """Add to the number that a key holds; nothing counts as 0."""
    db = ctx.db
    row = db.get(key)
    if row is None:
        number = amount
        expires = 0
    else:
        if type(row) is not bytes:
            raise WrongType()
        plain = row[0] == STRING
        expires = 0 if plain else row_expires(row)
        old = parse_int64(row[9:] if plain else row[17:])
        if old is None:
            raise NotAnInteger()
        number = old + amount
        if not INT64_MIN <= number <= INT64_MAX:
            raise CommandError(b"ERR increment or decrement would overflow")
    db.set_string(key, b"%d" % number, expires)
    return b":%d\r\n" % number


@command("incrbyfloat", WRITE)
def incrbyfloat(ctx: Context, args: list[bytes]) -> bytes:
    """
    Add to a floating point number of 80 bits.

    @see: U{https://redis.io/commands/incrbyfloat/}
    """
    key = args[1]
    row = string_row(ctx, key)
    old = (0, 0) if row is None else parse_long_double(string_body(row))
    amount = parse_long_double(args[2])
    if old is None or amount is None:
        raise NotAFloat()
    total = add_long_doubles(old, amount)
    if total is None:
        raise CommandError(b"ERR increment would produce NaN or Infinity")
    text = format_long_double(total)
    ctx.db.set_string(key, text, 0 if row is None else row_expires(row))
    return replies.bulk(text)
