"""
Commands on lists.

@see: U{https://redis.io/commands/?group=list}
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, pairwise

from tinykv.errors import CommandError, NoSuchKey, OutOfRange, SyntaxProblem, WrongArity
from tinykv.redis.arguments import integer
from tinykv.redis.context import Context
from tinykv.redis.list_value import List
from tinykv.redis.numbers import INT64_MIN, parse_int64
from tinykv.redis.spec import READ, WRITE, command
from tinykv.redis.timeouts import timeout_ms
from tinykv.resp import replies

_NOT_FOUND = replies.integer(-1)

#: So many elements of a large list can be copied while one is removed from its midst.
_COPIED = 64


def _at_least(text: bytes, least: int, problem: bytes) -> int:
    """
    Read a number that mustn't be smaller than C{least}.

    @raise CommandError: It's none, or smaller; both in the words of C{problem}.
    """
    number = parse_int64(text)
    if number is None or number < least:
        raise CommandError(problem)
    return number


def _is_left(text: bytes) -> bool:
    """
    Read which end of a list is meant.

    @raise SyntaxProblem: Neither LEFT nor RIGHT.
    """
    where = text.upper()
    if where not in (b"LEFT", b"RIGHT"):
        raise SyntaxProblem()
    return where == b"LEFT"


def _stretch(size: int, start: int, stop: int) -> tuple[int, int]:
    """Turn the first and last index of LRANGE and LTRIM, from the end if negative, into a range's bounds."""
    if start < 0:
        start = max(start + size, 0)
    if stop < 0:
        stop += size
    stop = min(stop + 1, size)
    return (start, stop) if start < stop else (0, 0)


# Pushing


@command("lpush", WRITE)
def lpush(ctx: Context, args: list[bytes]) -> bytes:
    """LPUSH key element [element ...]: the length then."""
    value = ctx.db.typed_or_new(args[1], List)
    for element in islice(args, 2, None):
        value.push_left(element)
    return b":%d\r\n" % len(value)


@command("rpush", WRITE)
def rpush(ctx: Context, args: list[bytes]) -> bytes:
    """RPUSH key element [element ...]: the length then."""
    value = ctx.db.typed_or_new(args[1], List)
    if len(args) == 3:
        value.push_right(args[2])
    else:
        value.extend(args[2:])
    return b":%d\r\n" % len(value)


@command("lpushx", WRITE)
def lpushx(ctx: Context, args: list[bytes]) -> bytes:
    """LPUSHX key element [element ...]: the length then; nothing is done if there's no list."""
    return replies.ZERO if ctx.db.typed(args[1], List) is None else lpush(ctx, args)


@command("rpushx", WRITE)
def rpushx(ctx: Context, args: list[bytes]) -> bytes:
    """RPUSHX key element [element ...]: the length then; nothing is done if there's no list."""
    return replies.ZERO if ctx.db.typed(args[1], List) is None else rpush(ctx, args)


@command("linsert", WRITE)
def linsert(ctx: Context, args: list[bytes]) -> bytes:
    """LINSERT key BEFORE|AFTER pivot element: the length then, or -1 if the pivot isn't there."""
    where = args[2].upper()
    if where not in (b"BEFORE", b"AFTER"):
        raise SyntaxProblem()
    value = ctx.db.typed(args[1], List)
    if value is None:
        return replies.ZERO
    place = next(value.positions(args[3]), None)
    if place is None:
        return _NOT_FOUND
    value.insert(place if where == b"BEFORE" else place + 1, args[4])
    return replies.integer(len(value))


@command("lset", WRITE)
def lset(ctx: Context, args: list[bytes]) -> bytes:
    """LSET key index element."""
    value = ctx.db.typed(args[1], List)
    if value is None:
        raise NoSuchKey()
    index = integer(args[2])
    if index < 0:
        index += len(value)
    if not 0 <= index < len(value):
        raise OutOfRange()
    value.set(index, args[3])
    return replies.OK


# Popping


@command("lpop", WRITE)
def lpop(ctx: Context, args: list[bytes]) -> bytes:
    """LPOP key [count]: the first element; with a count so many of them."""
    if len(args) > 2:
        return _pop_many(ctx, args, True)
    value = ctx.db.typed(args[1], List)
    if value is None:
        return replies.nil(ctx.proto)
    element = value.pop_left()
    return b"$%d\r\n%b\r\n" % (len(element), element)


@command("rpop", WRITE)
def rpop(ctx: Context, args: list[bytes]) -> bytes:
    """RPOP key [count]: the last element; with a count so many of them, the last one first."""
    if len(args) > 2:
        return _pop_many(ctx, args, False)
    value = ctx.db.typed(args[1], List)
    if value is None:
        return replies.nil(ctx.proto)
    element = value.pop_right()
    return b"$%d\r\n%b\r\n" % (len(element), element)


def _pop_many(ctx: Context, args: list[bytes], left: bool) -> bytes:
    """LPOP or RPOP with a count."""
    if len(args) > 3:
        raise WrongArity("lpop" if left else "rpop")
    count = _at_least(args[2], 0, b"ERR value is out of range, must be positive")
    value = ctx.db.typed(args[1], List)
    if value is None:
        return replies.nil_array(ctx.proto)
    return replies.bulks(_take(ctx, value, left, count))


def _take(ctx: Context, value: List, left: bool, count: int) -> list[bytes]:
    """Remove up to C{count} elements from an end of a list, and give them, the outermost first."""
    size = len(value)
    if count >= size:
        elements = list(value.items(reverse=not left))
        ctx.db.delete(value.key)
        return elements
    if left:
        return value.delete_range(0, count)
    return value.delete_range(size - count, size)[::-1]


@command("lrem", WRITE)
def lrem(ctx: Context, args: list[bytes]) -> bytes:
    """LREM key count element: how many are gone; a negative count begins at the end, 0 is for all."""
    count = integer(args[2])
    value = ctx.db.typed(args[1], List)
    if value is None:
        return replies.ZERO
    reverse = count < 0
    most = min(abs(count), len(value)) if count else None
    places = list(islice(value.positions(args[3], reverse), most))
    if places:
        _remove(ctx, value, places[::-1] if reverse else places)
    return replies.integer(len(places))


def _remove(ctx: Context, value: List, places: list[int]) -> None:
    """Remove the elements at these indexes, which ascend strictly."""
    size = len(value)
    runs = 1 + sum(after - before > 1 for before, after in pairwise(places))
    if not value.generations() or runs * _COPIED < size:
        value.delete_at(places)
        return
    db, key, expires = ctx.db, value.key, value.expires
    db.delete(key)
    if len(places) < size:
        db.create(key, List).extend(_others(value, places))
        if expires:
            db.set_expires(key, expires)


def _others(value: List, places: list[int]) -> Iterator[bytes]:
    """Give the elements that aren't at these indexes, which ascend strictly."""
    walk = value.items()
    passed = 0
    for place in places:
        yield from islice(walk, place - passed)
        next(walk)
        passed = place + 1
    yield from walk


@command("ltrim", WRITE)
def ltrim(ctx: Context, args: list[bytes]) -> bytes:
    """LTRIM key start stop: only these elements stay."""
    start, stop = integer(args[2]), integer(args[3])
    value = ctx.db.typed(args[1], List)
    if value is None:
        return replies.OK
    size = len(value)
    start, stop = _stretch(size, start, stop)
    if start == stop:
        ctx.db.delete(args[1])
    else:
        value.delete_range(stop, size)
        value.delete_range(0, start)
    return replies.OK


# Reading


@command("llen", READ)
def llen(ctx: Context, args: list[bytes]) -> bytes:
    """LLEN key."""
    value = ctx.db.typed(args[1], List)
    return replies.ZERO if value is None else replies.integer(len(value))


@command("lindex", READ)
def lindex(ctx: Context, args: list[bytes]) -> bytes:
    """LINDEX key index: the element there, from the end if negative."""
    value = ctx.db.typed(args[1], List)
    if value is None:
        return replies.nil(ctx.proto)
    index = integer(args[2])
    if index < 0:
        index += len(value)
    return replies.bulk(value.at(index)) if 0 <= index < len(value) else replies.nil(ctx.proto)


@command("lrange", READ)
def lrange(ctx: Context, args: list[bytes]) -> bytes:
    """LRANGE key start stop: the elements from the one index to the other, both included."""
    start, stop = integer(args[2]), integer(args[3])
    value = ctx.db.typed(args[1], List)
    if value is None:
        return replies.EMPTY_ARRAY
    start, stop = _stretch(len(value), start, stop)
    return ctx.bulks(list(islice(value.items(start), stop - start)))


@command("lpos", READ)
def lpos(ctx: Context, args: list[bytes]) -> bytes:
    """LPOS key element [RANK rank] [COUNT count] [MAXLEN length]: where it stands, or with COUNT all places."""
    rank, count, within = 1, -1, 0
    for place in range(3, len(args), 2):
        option = args[place].upper()
        if place + 1 == len(args):
            raise SyntaxProblem()
        if option == b"RANK":
            rank = integer(args[place + 1])
            if not rank:
                raise CommandError(
                    b"ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... "
                    b"or use negative to start from the end of the list"
                )
        elif option == b"COUNT":
            count = _at_least(args[place + 1], 0, b"ERR COUNT can't be negative")
        elif option == b"MAXLEN":
            within = _at_least(args[place + 1], 0, b"ERR MAXLEN can't be negative")
        else:
            raise SyntaxProblem()
    value = ctx.db.typed(args[1], List)
    if value is None:
        return replies.nil(ctx.proto) if count < 0 else replies.EMPTY_ARRAY
    # The least number has no opposite; Redis takes it for -1.
    passed = 0 if rank == INT64_MIN else min(abs(rank) - 1, len(value))
    found = islice(value.positions(args[2], rank < 0, within), passed, None)
    if count < 0:
        first = next(found, None)
        return replies.nil(ctx.proto) if first is None else replies.integer(first)
    wanted = min(count, len(value)) if count else None
    return replies.array([replies.integer(index) for index in islice(found, wanted)])


# From list to list


@command("lmove", WRITE)
def lmove(ctx: Context, args: list[bytes]) -> bytes:
    """LMOVE source destination LEFT|RIGHT LEFT|RIGHT: the element that went from the one to the other."""
    return _move(ctx, args[1], args[2], _is_left(args[3]), _is_left(args[4]))


@command("rpoplpush", WRITE)
def rpoplpush(ctx: Context, args: list[bytes]) -> bytes:
    """RPOPLPUSH source destination: the element that went from the end of the one to the start of the other."""
    return _move(ctx, args[1], args[2], False, True)


def _move(ctx: Context, source: bytes, destination: bytes, from_left: bool, to_left: bool) -> bytes:
    """Move an element; give it, or nil if there's none."""
    value = ctx.db.typed(source, List)
    if value is None:
        return replies.nil(ctx.proto)
    target = ctx.db.typed_or_new(destination, List)
    element = value.pop_left() if from_left else value.pop_right()
    if to_left:
        target.push_left(element)
    else:
        target.push_right(element)
    return replies.bulk(element)


# Several keys


def _keys_and_options(args: list[bytes], at: int) -> tuple[list[bytes], bool, int]:
    """
    Read the arguments of LMPOP and BLMPOP: numkeys key [key ...] LEFT|RIGHT [COUNT count].

    @param at: Where they begin.
    @return: The keys, whether elements are taken from the left, and how many.
    @raise CommandError: They're others.
    """
    numkeys = _at_least(args[at], 1, b"ERR numkeys should be greater than 0")
    where = at + 1 + numkeys
    if where >= len(args):
        raise SyntaxProblem()
    left = _is_left(args[where])
    options = args[where + 1 :]
    if not options:
        return args[at + 1 : where], left, 1
    if options[0].upper() != b"COUNT" or len(options) == 1:
        raise SyntaxProblem()
    count = _at_least(options[1], 1, b"ERR count should be greater than 0")
    if len(options) > 2:
        raise SyntaxProblem()
    return args[at + 1 : where], left, count


def _pop_first(ctx: Context, keys: list[bytes], left: bool, count: int) -> bytes | None:
    """
    Take elements from the first of these lists that there is.

    @return: Its key and the elements, as LMPOP gives them; L{None} without a list.
    """
    for key in keys:
        value = ctx.db.typed(key, List)
        if value is not None:
            return replies.array([replies.bulk(key), replies.bulks(_take(ctx, value, left, count))])
    return None


@command("lmpop", WRITE)
def lmpop(ctx: Context, args: list[bytes]) -> bytes:
    """LMPOP numkeys key [key ...] LEFT|RIGHT [COUNT count]: the key and the elements of the first list there is."""
    reply = _pop_first(ctx, *_keys_and_options(args, 1))
    return replies.nil_array(ctx.proto) if reply is None else reply


# Waiting


@command("blpop", WRITE)
def blpop(ctx: Context, args: list[bytes]) -> bytes:
    """BLPOP key [key ...] timeout: the key and the first element of the first list there is."""
    return _pop_or_wait(ctx, args, True)


@command("brpop", WRITE)
def brpop(ctx: Context, args: list[bytes]) -> bytes:
    """BRPOP key [key ...] timeout: the key and the last element of the first list there is."""
    return _pop_or_wait(ctx, args, False)


def _pop_or_wait(ctx: Context, args: list[bytes], left: bool) -> bytes:
    """BLPOP or BRPOP."""
    timeout = timeout_ms(args[-1])
    keys = args[1:-1]
    for key in ctx.candidates(keys):
        value = ctx.db.typed(key, List)
        if value is not None:
            return replies.bulks([key, value.pop_left() if left else value.pop_right()])
    return ctx.wait(keys, timeout, replies.nil_array(ctx.proto))


@command("blmpop", WRITE)
def blmpop(ctx: Context, args: list[bytes]) -> bytes:
    """BLMPOP timeout numkeys key [key ...] LEFT|RIGHT [COUNT count]: as LMPOP."""
    keys, left, count = _keys_and_options(args, 2)
    timeout = timeout_ms(args[1])
    reply = _pop_first(ctx, ctx.candidates(keys), left, count)
    return ctx.wait(keys, timeout, replies.nil_array(ctx.proto)) if reply is None else reply


@command("blmove", WRITE)
def blmove(ctx: Context, args: list[bytes]) -> bytes:
    """BLMOVE source destination LEFT|RIGHT LEFT|RIGHT timeout: as LMOVE."""
    from_left, to_left = _is_left(args[3]), _is_left(args[4])
    return _move_or_wait(ctx, args, from_left, to_left)


@command("brpoplpush", WRITE)
def brpoplpush(ctx: Context, args: list[bytes]) -> bytes:
    """BRPOPLPUSH source destination timeout: as RPOPLPUSH."""
    return _move_or_wait(ctx, args, False, True)


def _move_or_wait(ctx: Context, args: list[bytes], from_left: bool, to_left: bool) -> bytes:
    """BLMOVE or BRPOPLPUSH."""
    timeout = timeout_ms(args[-1])
    source = args[1]
    if ctx.may_wait and ctx.db.typed(source, List) is None:
        # When the time is over the answer is an array that isn't there; elsewhere it's a missing element.
        return ctx.wait([source], timeout, replies.nil_array(ctx.proto))
    return _move(ctx, source, args[2], from_left, to_left)
