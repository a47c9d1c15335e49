"""
Commands on ranges of sorted sets.

@see: U{https://redis.io/commands/?group=sorted-set}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tinykv.errors import CommandError, SyntaxProblem
from tinykv.redis.arguments import integer
from tinykv.redis.context import Context
from tinykv.redis.keyed_value import place
from tinykv.redis.spec import READ, WRITE, command
from tinykv.redis.zset_ranges import Range, lex_range, rank_range, score_range
from tinykv.redis.zset_replies import members_reply
from tinykv.redis.zset_value import SortedSet
from tinykv.resp import replies

_RANK = b"BYRANK"
_SCORE = b"BYSCORE"
_LEX = b"BYLEX"


@dataclass(slots=True)
class _Query:
    """
    What a command of the ZRANGE family asks for.

    @ivar kind: By what the range goes; None until an option, or the lack of one, says it.
    @ivar reverse: Whether the highest comes first; None likewise.
    @ivar offset: How many to leave out at the beginning; if negative, all.
    @ivar limit: How many to give at most; if negative, all.
    """

    key: bytes
    kind: bytes | None
    reverse: bool | None
    offset: int = 0
    limit: int = -1
    with_scores: bool = False
    range: Range | None = None

    def read(self, args: list[bytes], at: int, stores: bool) -> None:
        """
        Read what follows the key: both ends of the range, and options.

        @raise CommandError: They don't fit.
        """
        options = iter(args[at + 2 :])
        left = len(args) - at - 2
        for option in options:
            left -= 1
            name = option.upper()
            if name == b"WITHSCORES" and not stores:
                self.with_scores = True
            elif name == b"LIMIT" and left >= 2:
                self.offset = integer(next(options))
                self.limit = integer(next(options))
                left -= 2
            elif name == b"REV" and self.reverse is None:
                self.reverse = True
            elif name in (_LEX, _SCORE) and self.kind is None:
                self.kind = name
            else:
                raise SyntaxProblem()
        self.kind = self.kind or _RANK
        if self.limit != -1 and self.kind == _RANK:
            raise CommandError(b"ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
        if self.with_scores and self.kind == _LEX:
            raise CommandError(b"ERR syntax error, WITHSCORES not supported in combination with BYLEX")
        first, last = args[at], args[at + 1]
        if self.kind == _RANK:
            self.range = rank_range(first, last, bool(self.reverse))
            return
        low, high = (last, first) if self.reverse else (first, last)
        self.range = score_range(low, high) if self.kind == _SCORE else lex_range(low, high)

    def ranks(self, value: SortedSet) -> tuple[int, int]:
        """Give the ranks in a sorted set that the range and LIMIT leave."""
        assert self.range is not None
        start, stop = self.range.ranks(value)
        if self.kind == _RANK:
            # LIMIT isn't for ranks, but with a count of -1 Redis lets it pass, and ignores it.
            return start, stop
        count = stop - start - self.offset if self.offset >= 0 else 0
        if self.limit >= 0:
            count = min(count, self.limit)
        if count <= 0:
            return 0, 0
        if self.reverse:
            return stop - self.offset - count, stop - self.offset
        return start + self.offset, start + self.offset + count


def _answer(ctx: Context, args: list[bytes], kind: bytes | None, reverse: bool | None) -> bytes:
    """Run ZRANGE or one of its older forms, whose names say the kind of range and the direction."""
    query = _Query(args[1], kind, reverse)
    query.read(args, 2, False)
    value = ctx.db.typed(query.key, SortedSet)
    if value is None:
        return replies.EMPTY_ARRAY
    pairs = value.by_rank(*query.ranks(value), bool(query.reverse))
    return members_reply(pairs, query.with_scores, ctx.proto)


@command("zrange", READ)
def zrange(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give a range of members by rank, score or member.

    @see: U{https://redis.io/commands/zrange/}
    """
    return _answer(ctx, args, None, None)


@command("zrevrange", READ)
def zrevrange(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give a range of members by rank from the highest down.

    @see: U{https://redis.io/commands/zrevrange/}
    """
    return _answer(ctx, args, _RANK, True)


@command("zrangebyscore", READ)
def zrangebyscore(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give a range of members by score.

    @see: U{https://redis.io/commands/zrangebyscore/}
    """
    return _answer(ctx, args, _SCORE, False)


@command("zrevrangebyscore", READ)
def zrevrangebyscore(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give a range of members by score from the highest down.

    @see: U{https://redis.io/commands/zrevrangebyscore/}
    """
    return _answer(ctx, args, _SCORE, True)


@command("zrangebylex", READ)
def zrangebylex(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give a range of members of equal scores by the members.

    @see: U{https://redis.io/commands/zrangebylex/}
    """
    return _answer(ctx, args, _LEX, False)


@command("zrevrangebylex", READ)
def zrevrangebylex(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give a range of members of equal scores by the members, from the last down.

    @see: U{https://redis.io/commands/zrevrangebylex/}
    """
    return _answer(ctx, args, _LEX, True)


@command("zrangestore", WRITE)
def zrangestore(ctx: Context, args: list[bytes]) -> bytes:
    """
    Let a key hold a range of a sorted set.

    @see: U{https://redis.io/commands/zrangestore/}
    """
    query = _Query(args[2], None, None)
    query.read(args, 3, True)
    db, target = ctx.db, args[1]
    value = db.typed(query.key, SortedSet)
    start, stop = (0, 0) if value is None else query.ranks(value)
    # What the target held is still there to be read, as it may be the source.
    db.delete(target)
    if value is None or start == stop:
        return replies.ZERO
    settings = ctx.keyspace.settings
    pairs = value.by_rank(start, stop, bool(query.reverse))
    if query.kind != _RANK or stop - start <= settings.zset_entries:
        # Redis knows how many there are only of ranks, and begins with a compact encoding unless they're too many.
        pairs = _as_packed(pairs, settings.zset_entries, settings.zset_value)
    scored = sorted((place(member), score) for member, score in pairs)
    db.create(target, SortedSet).build(scored)
    return replies.integer(stop - start)


def _as_packed(pairs: Iterator[tuple[bytes, float]], entries: int, longest: int) -> Iterator[tuple[bytes, float]]:
    """Give what becomes of (member, score) added one by one: a compact encoding drops the sign of -0."""
    packed = True
    for count, (member, score) in enumerate(pairs, 1):
        packed = packed and count <= entries and len(member) <= longest
        yield member, score + 0.0 if packed else score


# Counting


@command("zcount", READ)
def zcount(ctx: Context, args: list[bytes]) -> bytes:
    """
    Count the members of a range of scores.

    @see: U{https://redis.io/commands/zcount/}
    """
    return _count(ctx, args[1], score_range(args[2], args[3]))


@command("zlexcount", READ)
def zlexcount(ctx: Context, args: list[bytes]) -> bytes:
    """
    Count the members of a range of members.

    @see: U{https://redis.io/commands/zlexcount/}
    """
    return _count(ctx, args[1], lex_range(args[2], args[3]))


def _count(ctx: Context, key: bytes, within: Range) -> bytes:
    value = ctx.db.typed(key, SortedSet)
    if value is None:
        return replies.ZERO
    start, stop = within.ranks(value)
    return replies.integer(stop - start)


# Removing


@command("zremrangebyrank", WRITE)
def zremrangebyrank(ctx: Context, args: list[bytes]) -> bytes:
    """
    Remove a range of members by rank.

    @see: U{https://redis.io/commands/zremrangebyrank/}
    """
    return _remove(ctx, args, rank_range)


@command("zremrangebyscore", WRITE)
def zremrangebyscore(ctx: Context, args: list[bytes]) -> bytes:
    """
    Remove a range of members by score.

    @see: U{https://redis.io/commands/zremrangebyscore/}
    """
    return _remove(ctx, args, score_range)


@command("zremrangebylex", WRITE)
def zremrangebylex(ctx: Context, args: list[bytes]) -> bytes:
    """
    Remove a range of members of equal scores by the members.

    @see: U{https://redis.io/commands/zremrangebylex/}
    """
    return _remove(ctx, args, lex_range)


def _remove(ctx: Context, args: list[bytes], read: Callable[[bytes, bytes], Range]) -> bytes:
    """Remove a range; say how many members are gone."""
    within = read(args[2], args[3])
    value = ctx.db.typed(args[1], SortedSet)
    if value is None:
        return replies.ZERO
    start, stop = within.ranks(value)
    if start < stop:
        if stop - start == len(value):
            ctx.db.delete(args[1])
        else:
            value.remove_ranks(start, stop)
    return replies.integer(stop - start)
