"""
Commands that take the lowest or highest members out of sorted sets, and wait for them if need be.

@see: U{https://redis.io/commands/?group=sorted-set}
"""

from __future__ import annotations

from tinykv.errors import CommandError, SyntaxProblem
from tinykv.redis.context import Context
from tinykv.redis.numbers import parse_int64
from tinykv.redis.spec import WRITE, command
from tinykv.redis.timeouts import timeout_ms
from tinykv.redis.zset_replies import flat_reply, pairs_reply
from tinykv.redis.zset_value import SortedSet
from tinykv.resp import replies

#: Up to this many members are removed faster one by one than as a range.
_FEW = 4


@command("zpopmin", WRITE)
def zpopmin(ctx: Context, args: list[bytes]) -> bytes:
    """
    Take out the members with the lowest scores.

    @see: U{https://redis.io/commands/zpopmin/}
    """
    return _pop(ctx, args, False)


@command("zpopmax", WRITE)
def zpopmax(ctx: Context, args: list[bytes]) -> bytes:
    """
    Take out the members with the highest scores.

    @see: U{https://redis.io/commands/zpopmax/}
    """
    return _pop(ctx, args, True)


def _pop(ctx: Context, args: list[bytes], highest: bool) -> bytes:
    """Run either of the two."""
    if len(args) > 3:
        raise SyntaxProblem()
    count = 1
    if len(args) == 3:
        count = _number(args[2], 0, b"ERR value is out of range, must be positive")
    value = ctx.db.typed(args[1], SortedSet)
    if value is None or not count:
        return replies.EMPTY_ARRAY
    taken = _take(ctx, value, highest, count)
    if ctx.proto == 3 and len(args) == 3:
        return pairs_reply(taken, ctx.proto)
    return flat_reply(taken, ctx.proto)


def _number(text: bytes, least: int, problem: bytes) -> int:
    """
    Read a number that has a least value.

    @raise CommandError: It's none, in the words of C{problem}.
    """
    number = parse_int64(text)
    if number is None or number < least:
        raise CommandError(problem)
    return number


def _take(ctx: Context, value: SortedSet, highest: bool, count: int) -> list[tuple[bytes, float]]:
    """Take out that many members, or all; give them in the order in which they went."""
    size = len(value)
    if count >= size:
        taken = list(value.by_rank(0, size, highest))
        ctx.db.delete(value.key)
        return taken
    start, stop = (size - count, size) if highest else (0, count)
    taken = list(value.by_rank(start, stop, highest))
    if count <= _FEW:
        for member, _ in taken:
            value.remove(member)
    else:
        value.remove_ranks(start, stop)
    return taken


@command("bzpopmin", WRITE)
def bzpopmin(ctx: Context, args: list[bytes]) -> bytes:
    """
    Take out the member with the lowest score, or wait for one.

    @see: U{https://redis.io/commands/bzpopmin/}
    """
    return _pop_or_wait(ctx, args, False)


@command("bzpopmax", WRITE)
def bzpopmax(ctx: Context, args: list[bytes]) -> bytes:
    """
    Take out the member with the highest score, or wait for one.

    @see: U{https://redis.io/commands/bzpopmax/}
    """
    return _pop_or_wait(ctx, args, True)


def _pop_or_wait(ctx: Context, args: list[bytes], highest: bool) -> bytes:
    """Run either of the two."""
    timeout = timeout_ms(args[-1])
    keys = args[1:-1]
    for key in ctx.candidates(keys):
        value = ctx.db.typed(key, SortedSet)
        if value is not None:
            return flat_reply(_take(ctx, value, highest, 1), ctx.proto, (replies.bulk(key),))
    return ctx.wait(keys, timeout, replies.nil_array(ctx.proto))


@command("zmpop", WRITE)
def zmpop(ctx: Context, args: list[bytes]) -> bytes:
    """
    Take members out of the first of several sorted sets that has any.

    @see: U{https://redis.io/commands/zmpop/}
    """
    keys, highest, count = _many_options(args, 1)
    reply = _pop_first(ctx, keys, highest, count)
    return replies.nil_array(ctx.proto) if reply is None else reply


@command("bzmpop", WRITE)
def bzmpop(ctx: Context, args: list[bytes]) -> bytes:
    """
    Take members out of the first of several sorted sets that has any, or wait for some.

    @see: U{https://redis.io/commands/bzmpop/}
    """
    keys, highest, count = _many_options(args, 2)
    timeout = timeout_ms(args[1])
    reply = _pop_first(ctx, ctx.candidates(keys), highest, count)
    return ctx.wait(keys, timeout, replies.nil_array(ctx.proto)) if reply is None else reply


def _many_options(args: list[bytes], place: int) -> tuple[list[bytes], bool, int]:
    """
    Read C{numkeys key [key ...] MIN|MAX [COUNT count]} from a place on.

    @return: (keys, whether it's MAX, count).
    @raise CommandError: They aren't that.
    """
    number = _number(args[place], 1, b"ERR numkeys should be greater than 0")
    where = place + 1 + number
    if where >= len(args) or args[where].upper() not in (b"MIN", b"MAX"):
        raise SyntaxProblem()
    options = args[where + 1 :]
    count = 1
    if options:
        if len(options) < 2 or options[0].upper() != b"COUNT":
            raise SyntaxProblem()
        count = _number(options[1], 1, b"ERR count should be greater than 0")
        if len(options) > 2:
            raise SyntaxProblem()
    return args[place + 1 : where], args[where].upper() == b"MAX", count


def _pop_first(ctx: Context, keys: list[bytes], highest: bool, count: int) -> bytes | None:
    """Take members out of the first of these keys that holds a sorted set; give None if none does."""
    for key in keys:
        value = ctx.db.typed(key, SortedSet)
        if value is not None:
            taken = _take(ctx, value, highest, count)
            return replies.array([replies.bulk(key), pairs_reply(taken, ctx.proto)])
    return None
