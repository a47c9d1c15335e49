"""
Commands on several sorted sets: union, intersection, difference.

@see: U{https://redis.io/commands/?group=sorted-set}
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from itertools import chain, islice

from tinykv.errors import CommandError, SyntaxProblem, WrongType
from tinykv.redis.arguments import integer
from tinykv.redis.context import Context
from tinykv.redis.numbers import parse_float, parse_int64
from tinykv.redis.set_value import Set
from tinykv.redis.spec import READ, WRITE, command
from tinykv.redis.zset_algebra import (
    Combine,
    Scored,
    Source,
    add,
    difference,
    higher,
    intersection,
    lower,
    union,
)
from tinykv.redis.zset_replies import members_reply
from tinykv.redis.zset_value import SortedSet
from tinykv.resp import replies

_COMBINES: dict[bytes, Combine] = {b"SUM": add, b"MIN": lower, b"MAX": higher}


class _Form(Enum):
    """What a command does with the result."""

    GIVE = 1
    STORE = 2
    COUNT = 3


class _Sources:
    """
    The sets that a command names, and its options.

    @ivar limit: Up to where to count; 0 for no limit.
    """

    __slots__ = ("_args", "_form", "_weighs", "combine", "limit", "sources", "with_scores")

    def __init__(self, ctx: Context, args: list[bytes], form: _Form, *, weighs: bool) -> None:
        """
        Read C{numkeys key [key ...] [options]}.

        @param weighs: Whether it takes WEIGHTS and AGGREGATE.
        @raise CommandError: They aren't that.
        """
        at = 2 if form is _Form.STORE else 1
        number = integer(args[at])
        if number < 1:
            name = args[0].decode("latin-1").lower().encode("latin-1")
            raise CommandError(b"ERR at least 1 input key is needed for '%b' command" % name)
        at += 1
        if number > len(args) - at:
            raise SyntaxProblem()
        self._args = args
        self._form = form
        self._weighs = weighs
        self.sources = [Source(_held(ctx, key)) for key in args[at : at + number]]
        self.combine: Combine = add
        self.with_scores = False
        self.limit = 0
        at += number
        while at < len(args):
            at = self._option(args[at].upper(), at + 1)

    def _option(self, name: bytes, at: int) -> int:
        """Read an option, whose arguments begin here; give the place of the next one."""
        left = len(self._args) - at
        if name == b"WEIGHTS" and self._weighs and left >= len(self.sources):
            for source, text in zip(self.sources, self._args[at:], strict=False):
                weight = parse_float(text)
                if weight is None:
                    raise CommandError(b"ERR weight value is not a float")
                source.weight = weight
            return at + len(self.sources)
        if name == b"AGGREGATE" and self._weighs and left:
            combine = _COMBINES.get(self._args[at].upper())
            if combine is None:
                raise SyntaxProblem()
            self.combine = combine
            return at + 1
        if name == b"WITHSCORES" and self._form is _Form.GIVE:
            self.with_scores = True
            return at
        if name == b"LIMIT" and self._form is _Form.COUNT and left:
            limit = parse_int64(self._args[at])
            if limit is None or limit < 0:
                raise CommandError(b"ERR LIMIT can't be negative")
            self.limit = limit
            return at + 1
        raise SyntaxProblem()


def _held(ctx: Context, key: bytes) -> Set | SortedSet | None:
    """
    Look up a set of either kind.

    @raise WrongType: The key holds something else.
    """
    value = ctx.db.get(key)
    if value is None or isinstance(value, (Set, SortedSet)):
        return value
    raise WrongType()


def _answer(ctx: Context, asked: _Sources, result: Scored) -> bytes:
    """Give a result, ascending."""
    ranked = sorted((score, name[4:]) for name, score in result)
    pairs: Iterator[tuple[bytes, float]] = ((member, score) for score, member in ranked)
    return members_reply(pairs, asked.with_scores, ctx.proto)


def _store(ctx: Context, key: bytes, result: Scored) -> bytes:
    """Let a key hold a result, whatever it held; nothing if that's nothing."""
    db = ctx.db
    first = next(result, None)
    # What the key held is still there to be read, as it may be one of the sources.
    db.delete(key)
    if first is None:
        return replies.ZERO
    value = db.create(key, SortedSet)
    value.build(chain((first,), result))
    return replies.integer(len(value))


@command("zunion", READ)
def zunion(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give what any of the sets has.

    @see: U{https://redis.io/commands/zunion/}
    """
    asked = _Sources(ctx, args, _Form.GIVE, weighs=True)
    return _answer(ctx, asked, union(asked.sources, asked.combine))


@command("zunionstore", WRITE)
def zunionstore(ctx: Context, args: list[bytes]) -> bytes:
    """
    Let a key hold what any of the sets has.

    @see: U{https://redis.io/commands/zunionstore/}
    """
    asked = _Sources(ctx, args, _Form.STORE, weighs=True)
    return _store(ctx, args[1], union(asked.sources, asked.combine))


@command("zinter", READ)
def zinter(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give what all of the sets have.

    @see: U{https://redis.io/commands/zinter/}
    """
    asked = _Sources(ctx, args, _Form.GIVE, weighs=True)
    return _answer(ctx, asked, intersection(asked.sources, asked.combine))


@command("zinterstore", WRITE)
def zinterstore(ctx: Context, args: list[bytes]) -> bytes:
    """
    Let a key hold what all of the sets have.

    @see: U{https://redis.io/commands/zinterstore/}
    """
    asked = _Sources(ctx, args, _Form.STORE, weighs=True)
    return _store(ctx, args[1], intersection(asked.sources, asked.combine))


@command("zintercard", READ)
def zintercard(ctx: Context, args: list[bytes]) -> bytes:
    """
    Count what all of the sets have, up to a limit.

    @see: U{https://redis.io/commands/zintercard/}
    """
    asked = _Sources(ctx, args, _Form.COUNT, weighs=False)
    found = intersection(asked.sources, asked.combine)
    return replies.integer(sum(1 for _ in islice(found, asked.limit or None)))


@command("zdiff", READ)
def zdiff(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give what the first set has and the others don't.

    @see: U{https://redis.io/commands/zdiff/}
    """
    asked = _Sources(ctx, args, _Form.GIVE, weighs=False)
    return _answer(ctx, asked, difference(asked.sources))


@command("zdiffstore", WRITE)
def zdiffstore(ctx: Context, args: list[bytes]) -> bytes:
    """
    Let a key hold what the first set has and the others don't.

    @see: U{https://redis.io/commands/zdiffstore/}
    """
    asked = _Sources(ctx, args, _Form.STORE, weighs=False)
    return _store(ctx, args[1], difference(asked.sources))
