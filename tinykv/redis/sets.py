"""
Commands on sets.

@see: U{https://redis.io/commands/?group=set}
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

from tinykv.errors import CommandError, SyntaxProblem
from tinykv.redis.context import Context
from tinykv.redis.hashes import MOST_PICKS, parse_picks
from tinykv.redis.numbers import INT64_MAX, parse_int64
from tinykv.redis.sampling import pick, sample
from tinykv.redis.set_algebra import copies_first, difference, intersection, listed, union, was_intset
from tinykv.redis.set_value import Set
from tinykv.redis.spec import READ, WRITE, command
from tinykv.resp import replies

#: Redis builds a set anew when at most one in this many members stays.
_FEW_STAY = 5

#: It's cheaper to build a set anew, too, when more than one in this many members goes.
_MANY_GO = 8


# Single sets


@command("sadd", WRITE)
def sadd(ctx: Context, args: list[bytes]) -> bytes:
    """SADD key member [member ...]: how many members are new."""
    value = ctx.db.typed_or_new(args[1], Set)
    if len(args) == 3:
        return replies.ONE if value.add(args[2]) else replies.ZERO
    return replies.integer(sum(map(value.add, ctx.paced(args[2:]))))


@command("srem", WRITE)
def srem(ctx: Context, args: list[bytes]) -> bytes:
    """SREM key member [member ...]: how many members are gone."""
    value = ctx.db.typed(args[1], Set)
    return replies.ZERO if value is None else replies.integer(sum(map(value.remove, ctx.paced(args[2:]))))


@command("smove", WRITE)
def smove(ctx: Context, args: list[bytes]) -> bytes:
    """SMOVE source destination member: whether the source had it."""
    db = ctx.db
    _, source_key, target_key, member = args
    source = db.typed(source_key, Set)
    if source is None:
        return replies.ZERO
    target = db.typed(target_key, Set)
    if source is target:
        return replies.ONE if member in source else replies.ZERO
    if not source.remove(member):
        return replies.ZERO
    if target is None:
        target = db.create(target_key, Set)
    target.add(member)
    return replies.ONE


@command("sismember", READ)
def sismember(ctx: Context, args: list[bytes]) -> bytes:
    """SISMEMBER key member."""
    value = ctx.db.typed(args[1], Set)
    return replies.ZERO if value is None or value.get(args[2]) is None else replies.ONE


@command("smismember", READ)
def smismember(ctx: Context, args: list[bytes]) -> bytes:
    """SMISMEMBER key member [member ...]."""
    value = ctx.db.typed(args[1], Set)
    if value is None:
        return replies.array([replies.ZERO] * (len(args) - 2))
    return replies.array([replies.ONE if member in value else replies.ZERO for member in ctx.paced(args[2:])])


@command("scard", READ)
def scard(ctx: Context, args: list[bytes]) -> bytes:
    """SCARD key."""
    value = ctx.db.typed(args[1], Set)
    return replies.ZERO if value is None else replies.integer(len(value))


@command("smembers", READ)
def smembers(ctx: Context, args: list[bytes]) -> bytes:
    """SMEMBERS key: in row order, but an intset ascends."""
    value = ctx.db.typed(args[1], Set)
    return _set(ctx, [] if value is None else value.listed())


def _set(ctx: Context, members: list[bytes]) -> bytes:
    return replies.set_([replies.bulk(member) for member in ctx.paced(members)], ctx.proto)


# At random


@command("spop", WRITE)
def spop(ctx: Context, args: list[bytes]) -> bytes:
    """SPOP key [count]: take out members at random."""
    if len(args) > 2:
        return _pop_many(ctx, args)
    value = ctx.db.typed(args[1], Set)
    if value is None:
        return replies.nil(ctx.proto)
    member = value.at(pick(ctx.random, len(value)))
    value.remove(member)
    return replies.bulk(member)


def _pop_many(ctx: Context, args: list[bytes]) -> bytes:
    if len(args) > 3:
        raise SyntaxProblem()
    count = parse_int64(args[2])
    if count is None or count < 0:
        raise CommandError(b"ERR value is out of range, must be positive")
    db, key = ctx.db, args[1]
    value = db.typed(key, Set)
    if value is None or not count:
        return _set(ctx, [])
    size = len(value)
    if count >= size:
        members = value.listed()
        db.delete(key)
        return _set(ctx, members)
    ranks = sample(ctx.random, size, count)
    members = [member for member, _ in value.pairs_at(ranks)]
    few_stay = size - count <= count // _FEW_STAY
    if few_stay or count * _MANY_GO > size:
        rest = _without(ctx, key, value, set(members))
        if not few_stay and not value.packed:
            # As in Redis: only what it would build anew, too, may be an intset again.
            rest.unpack()
    else:
        for member in ctx.paced(members):
            value.remove(member)
    return _set(ctx, members)


def _without(ctx: Context, key: bytes, value: Set, gone: set[bytes]) -> Set:
    """Let the key of a set hold a new one, without these members but with the same expiry."""
    db = ctx.db
    db.delete(key)
    rest = db.create(key, Set)
    rest.build(name for name in value.places() if name[4:] not in gone)
    if value.expires:
        db.set_expires(key, value.expires)
    return rest


@command("srandmember", READ)
def srandmember(ctx: Context, args: list[bytes]) -> bytes:
    """SRANDMEMBER key [count]: members at random, different ones unless the count is negative."""
    if len(args) == 2:
        value = ctx.db.typed(args[1], Set)
        if value is None:
            return replies.nil(ctx.proto)
        return replies.bulk(value.at(pick(ctx.random, len(value))))
    if len(args) > 3:
        raise SyntaxProblem()
    count = parse_picks(args[2])
    if -count > MOST_PICKS:
        raise CommandError(b"ERR value is out of range")
    value = ctx.db.typed(args[1], Set)
    if value is None or not count:
        return replies.EMPTY_ARRAY
    random, size = ctx.random, len(value)
    if count < 0:
        return ctx.bulks([value.at(pick(random, size)) for _ in ctx.paced(range(-count))])
    if count >= size:
        return ctx.bulks(value.listed())
    return ctx.bulks([member for member, _ in value.pairs_at(sample(random, size, count))])


# Several sets


def _sets(ctx: Context, keys: list[bytes]) -> list[Set | None]:
    """
    Look up sets.

    @raise WrongType: One of the keys holds something else.
    """
    return [ctx.db.typed(key, Set) for key in keys]


def _present(sets: list[Set | None]) -> list[Set]:
    return [held for held in sets if held is not None]


def _intersection(sets: list[Set | None]) -> Iterator[bytes]:
    present = _present(sets)
    return iter(()) if len(present) < len(sets) else intersection(present)


def _difference(sets: list[Set | None]) -> Iterator[bytes]:
    return iter(()) if sets[0] is None else difference(sets[0], _present(sets[1:]))


def _union(sets: list[Set | None]) -> Iterator[bytes]:
    return union(_present(sets))


def _answer(ctx: Context, names: Iterator[bytes]) -> bytes:
    return _set(ctx, listed(names, ctx.keyspace.settings.intset_entries))


def _store(ctx: Context, key: bytes, names: Iterator[bytes], *, intset: bool = True) -> bytes:
    """
    Let a key hold what a stream gives, whatever it held; nothing if that's nothing.

    @param intset: Whether the result may be one, if its members and their number allow.
    """
    db = ctx.db
    first = next(names, None)
    # What the key held is still there to be read, as it may be one of the sources.
    db.delete(key)
    if first is None:
        return replies.ZERO
    value = db.create(key, Set)
    value.build(chain((first,), names))
    if not intset:
        value.unpack()
    return replies.integer(len(value))


@command("sinter", READ)
def sinter(ctx: Context, args: list[bytes]) -> bytes:
    """SINTER key [key ...]."""
    return _answer(ctx, _intersection(_sets(ctx, args[1:])))


@command("sinterstore", WRITE)
def sinterstore(ctx: Context, args: list[bytes]) -> bytes:
    """SINTERSTORE destination key [key ...]: how many members it has."""
    return _store(ctx, args[1], _intersection(_sets(ctx, args[2:])))


@command("sintercard", READ)
def sintercard(ctx: Context, args: list[bytes]) -> bytes:
    """SINTERCARD numkeys key [key ...] [LIMIT limit]: how many members SINTER would give, at most."""
    number = parse_int64(args[1])
    if number is None or not 0 < number <= INT64_MAX:
        raise CommandError(b"ERR numkeys should be greater than 0")
    if number > len(args) - 2:
        raise CommandError(b"ERR Number of keys can't be greater than number of args")
    limit = 0
    options = iter(args[2 + number :])
    for option in options:
        text = next(options, None)
        if option.lower() != b"limit" or text is None:
            raise SyntaxProblem()
        given = parse_int64(text)
        if given is None or given < 0:
            raise CommandError(b"ERR LIMIT can't be negative")
        limit = given
    names = _intersection(_sets(ctx, args[2 : 2 + number]))
    return replies.integer(sum(1 for _ in islice(names, limit or None)))


@command("sunion", READ)
def sunion(ctx: Context, args: list[bytes]) -> bytes:
    """SUNION key [key ...]."""
    return _answer(ctx, _union(_sets(ctx, args[1:])))


@command("sunionstore", WRITE)
def sunionstore(ctx: Context, args: list[bytes]) -> bytes:
    """SUNIONSTORE destination key [key ...]: how many members it has."""
    return _store(ctx, args[1], _union(_sets(ctx, args[2:])))


@command("sdiff", READ)
def sdiff(ctx: Context, args: list[bytes]) -> bytes:
    """SDIFF key [key ...]."""
    return _answer(ctx, _difference(_sets(ctx, args[1:])))


@command("sdiffstore", WRITE)
def sdiffstore(ctx: Context, args: list[bytes]) -> bytes:
    """SDIFFSTORE destination key [key ...]: how many members it has."""
    sets = _sets(ctx, args[2:])
    first, others = sets[0], _present(sets[1:])
    intset = True
    if first is not None and copies_first(first, others):
        intset = was_intset(first, ctx.keyspace.settings.intset_entries)
    return _store(ctx, args[1], _difference(sets), intset=intset)
