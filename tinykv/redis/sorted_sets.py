"""
Commands on members of sorted sets. Ranges and set algebra have modules of their own.

@see: U{https://redis.io/commands/?group=sorted-set}
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from math import isnan

from tinykv.errors import CommandError, NotAFloat, SyntaxProblem, WrongArity
from tinykv.redis.context import Context
from tinykv.redis.hashes import MOST_PICKS, parse_picks
from tinykv.redis.numbers import INT64_MAX, parse_float
from tinykv.redis.sampling import pick, sample
from tinykv.redis.spec import READ, WRITE, command
from tinykv.redis.zset_replies import members_reply
from tinykv.redis.zset_value import SortedSet
from tinykv.resp import replies

_CONDITIONS = frozenset((b"NX", b"XX", b"GT", b"LT"))
_OPTIONS = _CONDITIONS | {b"CH", b"INCR"}
_NO_OPTIONS: frozenset[bytes] = frozenset()

#: Up to this length a number without an exponent is neither too large for a double nor too small.
_SHORT = 24
_DIGITS = b"0123456789.-"


# Writing


@command("zadd", WRITE)
def zadd(ctx: Context, args: list[bytes]) -> bytes:
    """
    Set scores of members.

    @see: U{https://redis.io/commands/zadd/}
    """
    if len(args) == 4:
        # The commonest case; no option is a number.
        score = _parse_score(args[2])
        if score is not None:
            old = ctx.db.typed_or_new(args[1], SortedSet).add(args[3], score)
            return replies.ONE if old is None else replies.ZERO
    return _add(ctx, args, set())


@command("zincrby", WRITE)
def zincrby(ctx: Context, args: list[bytes]) -> bytes:
    """
    Add to a member's score.

    @see: U{https://redis.io/commands/zincrby/}
    """
    change = _parse_score(args[2])
    if change is None:
        # Redis takes ZADD's options here too, though none of them leaves enough arguments.
        return _add(ctx, args, {b"INCR"})
    result = _increment(ctx.db.typed_or_new(args[1], SortedSet), args[3], change, _NO_OPTIONS)
    assert result is not None
    return replies.double(result, ctx.proto)


def _add(ctx: Context, args: list[bytes], options: set[bytes]) -> bytes:
    """Run ZADD or ZINCRBY: C{options} are what the command's name means."""
    place = 2
    while place < len(args) and args[place].upper() in _OPTIONS:
        options.add(args[place].upper())
        place += 1
    texts, members = args[place::2], args[place + 1 :: 2]
    if not texts or len(texts) != len(members):
        raise SyntaxProblem()
    only_new, only_old, increments = b"NX" in options, b"XX" in options, b"INCR" in options
    if only_new and only_old:
        raise CommandError(b"ERR XX and NX options at the same time are not compatible")
    if only_new + (b"GT" in options) + (b"LT" in options) > 1:
        raise CommandError(b"ERR GT, LT, and/or NX options at the same time are not compatible")
    if increments and len(texts) > 1:
        raise CommandError(b"ERR INCR option supports a single increment-element pair")
    scores = [_score(text) for text in ctx.paced(texts)]
    db, key = ctx.db, args[1]
    value = db.typed(key, SortedSet) if only_old else db.typed_or_new(key, SortedSet)
    if increments:
        result = None if value is None else _increment(value, members[0], scores[0], options)
        return replies.nil(ctx.proto) if result is None else replies.double(result, ctx.proto)
    added = updated = 0
    conditional = not options.isdisjoint(_CONDITIONS)
    if value is not None:
        for member, score in zip(ctx.paced(members), scores, strict=True):
            if conditional and not _applies(value.score(member), score, options):
                continue
            old = value.add(member, score)
            if old is None:
                added += 1
            elif old != score:
                updated += 1
    return replies.integer(added + updated if b"CH" in options else added)


def _score(text: bytes) -> float:
    """
    Read a score.

    @raise NotAFloat: It's none.
    """
    score = _parse_score(text)
    if score is None:
        raise NotAFloat()
    return score


def _parse_score(text: bytes) -> float | None:
    """Do what L{parse_float} does, faster where there are but some digits, for which Python has the same rules."""
    if len(text) <= _SHORT and not text.translate(None, _DIGITS):
        try:
            return float(text)
        except ValueError:
            return None
    return parse_float(text)


def _applies(old: float | None, new: float, options: AbstractSet[bytes]) -> bool:
    """Say if the options let a member, which has this score or isn't there, get another."""
    if old is None:
        return b"XX" not in options
    if b"NX" in options or (b"GT" in options and new <= old):
        return False
    return b"LT" not in options or new < old


def _increment(value: SortedSet, member: bytes, change: float, options: AbstractSet[bytes]) -> float | None:
    """
    Add to a member's score; give the new one, or None if the options don't let it.

    @raise CommandError: There's no such sum.
    """
    old = value.score(member)
    new = change if old is None else old + change
    if b"NX" in options and old is not None:
        return None
    if isnan(new):
        raise CommandError(b"ERR resulting score is not a number (NaN)")
    if not _applies(old, new, options):
        return None
    value.add(member, new)
    return new


@command("zrem", WRITE)
def zrem(ctx: Context, args: list[bytes]) -> bytes:
    """
    Remove members.

    @see: U{https://redis.io/commands/zrem/}
    """
    value = ctx.db.typed(args[1], SortedSet)
    return replies.ZERO if value is None else replies.integer(sum(map(value.remove, ctx.paced(args[2:]))))


# Reading


@command("zcard", READ)
def zcard(ctx: Context, args: list[bytes]) -> bytes:
    """
    Count the members.

    @see: U{https://redis.io/commands/zcard/}
    """
    value = ctx.db.typed(args[1], SortedSet)
    return replies.ZERO if value is None else replies.integer(len(value))


@command("zscore", READ)
def zscore(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give a member's score.

    @see: U{https://redis.io/commands/zscore/}
    """
    value = ctx.db.typed(args[1], SortedSet)
    return _score_reply(ctx, None if value is None else value.score(args[2]))


@command("zmscore", READ)
def zmscore(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give several members' scores.

    @see: U{https://redis.io/commands/zmscore/}
    """
    value = ctx.db.typed(args[1], SortedSet)
    scores = [None if value is None else value.score(member) for member in ctx.paced(args[2:])]
    return replies.array([_score_reply(ctx, score) for score in scores])


def _score_reply(ctx: Context, score: float | None) -> bytes:
    return replies.nil(ctx.proto) if score is None else replies.double(score, ctx.proto)


@command("zrank", READ)
def zrank(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give a member's rank from the lowest score up.

    @see: U{https://redis.io/commands/zrank/}
    """
    return _rank(ctx, args, False)


@command("zrevrank", READ)
def zrevrank(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give a member's rank from the highest score down.

    @see: U{https://redis.io/commands/zrevrank/}
    """
    return _rank(ctx, args, True)


def _rank(ctx: Context, args: list[bytes], reverse: bool) -> bytes:
    """Run either of the two; WITHSCORE came with Redis 7.2."""
    if len(args) > 4:
        raise WrongArity(args[0].decode("latin-1").lower())
    with_score = len(args) == 4
    if with_score and args[3].upper() != b"WITHSCORE":
        raise SyntaxProblem()
    value = ctx.db.typed(args[1], SortedSet)
    rank = None if value is None else value.rank(args[2])
    if value is None or rank is None:
        return replies.nil_array(ctx.proto) if with_score else replies.nil(ctx.proto)
    if reverse:
        rank = len(value) - 1 - rank
    if not with_score:
        return replies.integer(rank)
    return replies.array([replies.integer(rank), _score_reply(ctx, value.score(args[2]))])


@command("zrandmember", READ)
def zrandmember(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give members at random: different ones, unless the count is negative.

    @see: U{https://redis.io/commands/zrandmember/}
    """
    if len(args) == 2:
        value = ctx.db.typed(args[1], SortedSet)
        if value is None:
            return replies.nil(ctx.proto)
        return replies.bulk(value.at(pick(ctx.random, len(value)))[0])
    count = parse_picks(args[2])
    with_scores = len(args) == 4
    if len(args) > 4 or (with_scores and args[3].upper() != b"WITHSCORES"):
        raise SyntaxProblem()
    if (with_scores and abs(count) > INT64_MAX // 2) or -count > MOST_PICKS:
        raise CommandError(b"ERR value is out of range")
    value = ctx.db.typed(args[1], SortedSet)
    if value is None or not count:
        return replies.EMPTY_ARRAY
    random, size = ctx.random, len(value)
    if count < 0:
        pairs = [value.at(pick(random, size)) for _ in range(-count)]
    elif count >= size:
        pairs = list(value.by_rank(0, size, True))
    else:
        pairs = list(value.pairs_at(sample(random, size, count)))
    return members_reply(pairs, with_scores, ctx.proto)
