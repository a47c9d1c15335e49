"""
Commands on hashes.

@see: U{https://redis.io/commands/?group=hash}
"""

from __future__ import annotations

from itertools import chain

from tinykv.errors import CommandError, NotAFloat, NotAnInteger, SyntaxProblem, WrongArity
from tinykv.redis.context import Context
from tinykv.redis.hash_value import Hash
from tinykv.redis.numbers import (
    INT64_MAX,
    INT64_MIN,
    add_long_doubles,
    format_long_double,
    is_infinite,
    parse_int64,
    parse_long_double,
)
from tinykv.redis.sampling import pick, sample
from tinykv.redis.spec import READ, WRITE, command
from tinykv.resp import replies

#: More picks than this in one reply are refused, lest one short command takes all memory.
MOST_PICKS = 1 << 24

_OUT_OF_RANGE = b"ERR value is out of range"


def parse_picks(text: bytes) -> int:
    """
    Read the count of HRANDFIELD or SRANDMEMBER: how many different ones, or if negative how many in all.

    @raise CommandError: It's no such number.
    """
    count = parse_int64(text)
    if count is None:
        raise NotAnInteger()
    if count == INT64_MIN:
        limits = (INT64_MAX, INT64_MAX)
        raise CommandError(b"ERR value is out of range, value must between -%d and %d" % limits)
    return count


# Writing


@command("hset", WRITE)
def hset(ctx: Context, args: list[bytes]) -> bytes:
    """HSET key field value [field value ...]: how many fields are new."""
    if len(args) == 4:
        return replies.ONE if ctx.db.typed_or_new(args[1], Hash).put(args[2], args[3]) else replies.ZERO
    return replies.integer(_put_all(ctx, args, "hset"))


@command("hmset", WRITE)
def hmset(ctx: Context, args: list[bytes]) -> bytes:
    """HMSET key field value [field value ...]."""
    _put_all(ctx, args, "hmset")
    return replies.OK


def _put_all(ctx: Context, args: list[bytes], name: str) -> int:
    if len(args) % 2:
        raise WrongArity(name)
    put = ctx.db.typed_or_new(args[1], Hash).put
    return sum(map(put, ctx.paced(args[2::2]), args[3::2]))


@command("hsetnx", WRITE)
def hsetnx(ctx: Context, args: list[bytes]) -> bytes:
    """HSETNX key field value: set the field unless it exists."""
    value = ctx.db.typed(args[1], Hash)
    if value is None:
        value = ctx.db.create(args[1], Hash)
    elif value.get(args[2]) is not None:
        return replies.ZERO
    value.put(args[2], args[3])
    return replies.ONE


@command("hdel", WRITE)
def hdel(ctx: Context, args: list[bytes]) -> bytes:
    """HDEL key field [field ...]: how many fields are gone."""
    value = ctx.db.typed(args[1], Hash)
    if value is None:
        return replies.ZERO
    return replies.integer(sum(map(value.remove, ctx.paced(args[2:]))))


@command("hincrby", WRITE)
def hincrby(ctx: Context, args: list[bytes]) -> bytes:
    """HINCRBY key field increment: the sum, which the field holds then."""
    increment = parse_int64(args[3])
    if increment is None:
        raise NotAnInteger()
    value = ctx.db.typed(args[1], Hash)
    held = None if value is None else value.get(args[2])
    number = 0 if held is None else parse_int64(held)
    if number is None:
        raise CommandError(b"ERR hash value is not an integer")
    number += increment
    if not INT64_MIN <= number <= INT64_MAX:
        raise CommandError(b"ERR increment or decrement would overflow")
    if value is None:
        value = ctx.db.create(args[1], Hash)
    value.put(args[2], b"%d" % number)
    return replies.integer(number)


@command("hincrbyfloat", WRITE)
def hincrbyfloat(ctx: Context, args: list[bytes]) -> bytes:
    """HINCRBYFLOAT key field increment: the sum, which the field holds then."""
    increment = parse_long_double(args[3])
    if increment is None:
        raise NotAFloat()
    if is_infinite(increment):
        raise CommandError(b"ERR value is NaN or Infinity")
    value = ctx.db.typed(args[1], Hash)
    held = None if value is None else value.get(args[2])
    number = (0, 0) if held is None else parse_long_double(held)
    if number is None:
        raise CommandError(b"ERR hash value is not a float")
    total = add_long_doubles(number, increment)
    if total is None:
        raise CommandError(b"ERR increment would produce NaN or Infinity")
    text = format_long_double(total)
    if value is None:
        value = ctx.db.create(args[1], Hash)
    value.put(args[2], text)
    return replies.bulk(text)


# Reading


@command("hget", READ)
def hget(ctx: Context, args: list[bytes]) -> bytes:
    """HGET key field."""
    value = ctx.db.typed(args[1], Hash)
    held = None if value is None else value.get(args[2])
    return replies.nil(ctx.proto) if held is None else b"$%d\r\n%b\r\n" % (len(held), held)


@command("hmget", READ)
def hmget(ctx: Context, args: list[bytes]) -> bytes:
    """HMGET key field [field ...]."""
    value = ctx.db.typed(args[1], Hash)
    nil = replies.nil(ctx.proto)
    if value is None:
        return replies.array([nil] * (len(args) - 2))
    return replies.array([nil if held is None else replies.bulk(held) for held in map(value.get, ctx.paced(args[2:]))])


@command("hgetall", READ)
def hgetall(ctx: Context, args: list[bytes]) -> bytes:
    """HGETALL key: fields and values in row order."""
    value = ctx.db.typed(args[1], Hash)
    items = () if value is None else value.items()
    return replies.map_([replies.bulk(part) for part in chain.from_iterable(items)], ctx.proto)


@command("hkeys", READ)
def hkeys(ctx: Context, args: list[bytes]) -> bytes:
    """HKEYS key: fields in row order."""
    value = ctx.db.typed(args[1], Hash)
    return replies.EMPTY_ARRAY if value is None else ctx.bulks([field for field, _ in value.items()])


@command("hvals", READ)
def hvals(ctx: Context, args: list[bytes]) -> bytes:
    """HVALS key: values in row order."""
    value = ctx.db.typed(args[1], Hash)
    return replies.EMPTY_ARRAY if value is None else ctx.bulks([held for _, held in value.items()])


@command("hlen", READ)
def hlen(ctx: Context, args: list[bytes]) -> bytes:
    """HLEN key."""
    value = ctx.db.typed(args[1], Hash)
    return replies.ZERO if value is None else replies.integer(len(value))


@command("hexists", READ)
def hexists(ctx: Context, args: list[bytes]) -> bytes:
    """HEXISTS key field."""
    value = ctx.db.typed(args[1], Hash)
    return replies.ZERO if value is None or value.get(args[2]) is None else replies.ONE


@command("hstrlen", READ)
def hstrlen(ctx: Context, args: list[bytes]) -> bytes:
    """HSTRLEN key field: the length of the field's value, 0 without one."""
    value = ctx.db.typed(args[1], Hash)
    held = None if value is None else value.get(args[2])
    return replies.ZERO if held is None else replies.integer(len(held))


@command("hrandfield", READ)
def hrandfield(ctx: Context, args: list[bytes]) -> bytes:
    """HRANDFIELD key [count [WITHVALUES]]: fields at random, different ones unless the count is negative."""
    if len(args) == 2:
        value = ctx.db.typed(args[1], Hash)
        if value is None:
            return replies.nil(ctx.proto)
        return replies.bulk(value.at(pick(ctx.random, len(value)))[0])
    count = parse_picks(args[2])
    with_values = len(args) == 4
    if len(args) > 4 or (with_values and args[3].lower() != b"withvalues"):
        raise SyntaxProblem()
    if with_values and abs(count) > INT64_MAX // 2:
        raise CommandError(_OUT_OF_RANGE)
    if -count > MOST_PICKS:
        raise CommandError(_OUT_OF_RANGE)
    value = ctx.db.typed(args[1], Hash)
    if value is None or not count:
        return replies.EMPTY_ARRAY
    random, size = ctx.random, len(value)
    if count < 0:
        pairs = [value.at(pick(random, size)) for _ in range(-count)]
    elif count >= size:
        pairs = list(value.items())
    else:
        pairs = list(value.pairs_at(sample(random, size, count)))
    if not with_values:
        return ctx.bulks([field for field, _ in pairs])
    if ctx.proto == 3:
        return replies.array([replies.bulks(pair) for pair in ctx.paced(pairs)])
    return ctx.bulks(list(chain.from_iterable(pairs)))
