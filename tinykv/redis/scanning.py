"""
The SCAN family: iterations whose whole state is a cursor.

A cursor is a position in the order of the rows. For keys that is (slot, crc32 of the key), as the number
C{slot << 32 | crc32}; for the elements of a large value it's their crc32. Whatever shares a position comes
together, so an element that is there from the first call to the last is returned, and none twice, over
changes, restarts and moves to another store alike. A small value comes whole.

@see: U{https://redis.io/commands/scan/}
"""

from __future__ import annotations

import re

from tinykv.errors import CommandError, SyntaxProblem
from tinykv.keys import SLOTS
from tinykv.redis.arguments import integer
from tinykv.redis.context import Context
from tinykv.redis.generic import expires_of, type_name
from tinykv.redis.glob import Glob
from tinykv.redis.hash_value import Hash
from tinykv.redis.set_value import Set
from tinykv.redis.spec import READ, command
from tinykv.redis.zset_value import SortedSet
from tinykv.resp import replies

#: Beyond these a listpack holds a score as text.
_WHOLE_MAX = 2.0**62
_CURSOR = re.compile(rb"[+-]?[0-9]+").fullmatch
_CRC_BITS = 32
_CRC_MASK = (1 << _CRC_BITS) - 1
_UNSIGNED_MAX = (1 << 64) - 1
_DEFAULT_COUNT = 10


def _cursor(text: bytes) -> int:
    """
    Read a cursor by the rules of C's strtoul.

    @raise CommandError: It's no such number.
    """
    if not text:
        return 0
    digits = text.lstrip(b"+-").lstrip(b"0")
    # A longer one is no 64-bit number, and Python may refuse to convert it.
    if _CURSOR(text) is None or len(digits) > 20 or int(digits or b"0") > _UNSIGNED_MAX:
        raise CommandError(b"ERR invalid cursor")
    number = int(digits or b"0")
    return -number & _UNSIGNED_MAX if text[:1] == b"-" else number


class _Options:
    """
    What all scans are told.

    @ivar count: About how many elements to look at.
    @ivar glob: What to keep of them; L{None} for everything.
    @ivar type: The type of key to keep, in lower case.
    """

    __slots__ = ("count", "glob", "type")

    def __init__(self, args: list[bytes], place: int, of_keys: bool) -> None:
        """
        Read them from the arguments from a place on.

        @raise CommandError: They're none.
        """
        self.count = _DEFAULT_COUNT
        self.glob: Glob | None = None
        self.type: bytes | None = None
        while place < len(args):
            option = args[place].upper()
            if place + 1 == len(args):
                raise SyntaxProblem()
            value = args[place + 1]
            if option == b"COUNT":
                self.count = integer(value)
                if self.count < 1:
                    raise SyntaxProblem()
            elif option == b"MATCH":
                glob = Glob(value)
                self.glob = None if glob.matches_all else glob
            elif option == b"TYPE" and of_keys:
                self.type = value.lower()
            else:
                raise SyntaxProblem()
            place += 2

    def keeps(self, name: bytes) -> bool:
        """Say if a name matches."""
        return self.glob is None or self.glob.matches(name)


def slot_at(text: bytes) -> int:
    """Say in which slot SCAN goes on from a cursor; in the first where it's no cursor, which SCAN says itself."""
    try:
        return min(_cursor(text) >> _CRC_BITS, SLOTS - 1)
    except CommandError:
        return 0


def cursor_at(slot: int) -> int:
    """Give the cursor from which SCAN goes on at the beginning of a slot."""
    return slot << _CRC_BITS


def _reply(cursor: int, items: list[bytes]) -> bytes:
    """Give a scan's reply: the next cursor, and encoded elements."""
    return replies.array([replies.bulk(b"%d" % cursor), replies.array(items)])


@command("scan", READ)
def scan(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give some keys of a database, and from where to go on.

    @see: U{https://redis.io/commands/scan/}
    """
    cursor = _cursor(args[1])
    options = _Options(args, 2, True)
    if cursor >> _CRC_BITS >= SLOTS:
        return _reply(0, [])
    found: list[bytes] = []
    looked_at = 0
    last = -1
    for slot, crc, key, row in ctx.db.rows_from(cursor >> _CRC_BITS, cursor & _CRC_MASK):
        position = slot << _CRC_BITS | crc
        if looked_at >= options.count and position != last:
            return _reply(position, found)
        looked_at += 1
        last = position
        if (
            options.keeps(key)
            and not 0 < expires_of(row) <= ctx.now
            and (options.type is None or type_name(ctx, row) == options.type)
        ):
            found.append(replies.bulk(key))
    return _reply(0, found)


@command("hscan", READ)
def hscan(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give some fields of a hash with their values, and from where to go on.

    @see: U{https://redis.io/commands/hscan/}
    """
    cursor = _cursor(args[2])
    value = ctx.db.typed(args[1], Hash)
    if value is None:
        return _reply(0, [])
    options = _Options(args, 3, False)
    following, elements = value.scan(min(cursor, _CRC_MASK), options.count)
    items: list[bytes] = []
    for field, content in elements:
        if options.keeps(field):
            items += (replies.bulk(field), replies.bulk(content))
    return _reply(following, items)


@command("sscan", READ)
def sscan(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give some members of a set, and from where to go on.

    @see: U{https://redis.io/commands/sscan/}
    """
    cursor = _cursor(args[2])
    value = ctx.db.typed(args[1], Set)
    if value is None:
        return _reply(0, [])
    options = _Options(args, 3, False)
    following, members = value.scan(min(cursor, _CRC_MASK), options.count)
    return _reply(following, [replies.bulk(member) for member in members if options.keeps(member)])


@command("zscan", READ)
def zscan(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give some members of a sorted set with their scores, and from where to go on.

    @see: U{https://redis.io/commands/zscan/}
    """
    cursor = _cursor(args[2])
    value = ctx.db.typed(args[1], SortedSet)
    if value is None:
        return _reply(0, [])
    options = _Options(args, 3, False)
    following, elements = value.scan(min(cursor, _CRC_MASK), options.count)
    # A small sorted set of Redis holds whole scores as integers, and shows them so here and only here.
    text = _whole if value.encoding() == b"listpack" else replies.format_double
    items: list[bytes] = []
    for member, score in elements:
        if options.keeps(member):
            items += (replies.bulk(member), replies.bulk(text(score)))
    return _reply(following, items)


def _whole(score: float) -> bytes:
    """Write a score as the listpack of a small sorted set holds it."""
    if -_WHOLE_MAX <= score <= _WHOLE_MAX and score == int(score):
        return b"%d" % score
    return replies.format_double(score)
