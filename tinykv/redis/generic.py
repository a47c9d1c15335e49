"""
Commands on keys, whatever they hold, and on whole databases.

@see: U{https://redis.io/commands/?group=generic}
"""

from __future__ import annotations

from itertools import takewhile

from tinykv.errors import CommandError, NoSuchKey, SyntaxProblem
from tinykv.keys import ALL_SLOTS, DATABASES, slot_of
from tinykv.redis.arguments import database_number
from tinykv.redis.context import Context
from tinykv.redis.glob import Glob
from tinykv.redis.keyspace import Database, Live
from tinykv.redis.numbers import parse_int64
from tinykv.redis.operations import slots_named
from tinykv.redis.spec import READ, WRITE, command
from tinykv.redis.value import Encodable, Value, row_expires, row_type, string_body
from tinykv.resp import replies

_SAME_OBJECT = b"ERR source and destination objects are the same"
#: How often RANDOMKEY picks again when it met an expired key.
_PICKS = 100


def expires_of(row: bytes | Encodable) -> int:
    """Give the expiry of a meta row or of the object that stands for it, in ms since 1970; 0 for never."""
    if type(row) is bytes:
        return row_expires(row)
    assert isinstance(row, Value)
    return row.expires


def type_name(ctx: Context, row: bytes | Encodable) -> bytes:
    """Name the type of a meta row, or of the object that stands for it, as TYPE does."""
    if type(row) is bytes:
        cls = ctx.keyspace.types.get(row_type(row))
        return b"string" if cls is None else cls.NAME
    assert isinstance(row, Value)
    return row.NAME


# One key


@command("del", WRITE)
@command("unlink", WRITE)
def delete(ctx: Context, args: list[bytes]) -> bytes:
    """
    Delete keys.

    @see: U{https://redis.io/commands/del/}, U{https://redis.io/commands/unlink/}
    """
    db = ctx.db
    deleted = 0
    for key in ctx.paced(args[1:]):
        if db.get(key) is not None:
            db.delete(key)
            deleted += 1
    return b":%d\r\n" % deleted


@command("exists", READ)
def exists(ctx: Context, args: list[bytes]) -> bytes:
    """
    Count the keys that exist; one named twice counts twice.

    @see: U{https://redis.io/commands/exists/}
    """
    get = ctx.db.get
    return replies.integer(sum([get(key) is not None for key in ctx.paced(args[1:])]))


@command("touch", READ)
def touch(ctx: Context, args: list[bytes]) -> bytes:
    """
    Let keys count as used now.

    @see: U{https://redis.io/commands/touch/}
    """
    found = 0
    for key in ctx.paced(args[1:]):
        version = ctx.db.version(key)
        if version:
            ctx.keyspace.idleness.used(ctx.db.number, key, version, ctx.now)
            found += 1
    return replies.integer(found)


@command("type", READ)
def type_(ctx: Context, args: list[bytes]) -> bytes:
    """
    Name the type of what a key holds.

    @see: U{https://redis.io/commands/type/}
    """
    value = ctx.db.get(args[1])
    return replies.simple(b"none" if value is None else type_name(ctx, value))


# From key to key


def _place(target: Database, key: bytes, value: Live, expires: int) -> None:
    """Let a key, which holds nothing, hold the same as another."""
    if type(value) is bytes:
        target.set_string(key, string_body(value), expires)
        return
    assert isinstance(value, Value)
    copy = target.create(key, type(value))
    copy.copy_from(value)  # type: ignore[attr-defined]
    if expires:
        target.set_expires(key, expires)


@command("rename", WRITE)
def rename(ctx: Context, args: list[bytes]) -> bytes:
    """
    Rename a key; what held the new name before is deleted.

    @see: U{https://redis.io/commands/rename/}
    """
    _rename(ctx, args[1], args[2], True)
    return replies.OK


@command("renamenx", WRITE)
def renamenx(ctx: Context, args: list[bytes]) -> bytes:
    """
    Rename a key if there's no key of the new name.

    @see: U{https://redis.io/commands/renamenx/}
    """
    return replies.ONE if _rename(ctx, args[1], args[2], False) else replies.ZERO


def _rename(ctx: Context, old: bytes, new: bytes, replace: bool) -> bool:
    """
    Rename a key.

    @return: Whether it has another name now.
    @raise NoSuchKey: There's none.
    """
    db = ctx.db
    value = db.get(old)
    if value is None:
        raise NoSuchKey()
    if old == new:
        return False
    if db.get(new) is not None:
        if not replace:
            return False
        db.delete(new)
    _place(db, new, value, expires_of(value))
    db.delete(old)
    return True


@command("copy", WRITE)
def copy(ctx: Context, args: list[bytes]) -> bytes:
    """
    Let another key hold the same.

    @see: U{https://redis.io/commands/copy/}
    """
    replace = False
    index = ctx.index
    place = 3
    while place < len(args):
        option = args[place].upper()
        if option == b"REPLACE":
            replace = True
        elif option == b"DB" and place + 1 < len(args):
            place += 1
            index = database_number(args[place])
        else:
            raise SyntaxProblem()
        place += 1
    source, destination = args[1], args[2]
    target = ctx.keyspace.databases[index]
    if target is ctx.db and source == destination:
        raise CommandError(_SAME_OBJECT)
    value = ctx.db.get(source)
    if value is None:
        return replies.ZERO
    if target.get(destination) is not None:
        if not replace:
            return replies.ZERO
        target.delete(destination)
    _place(target, destination, value, expires_of(value))
    return replies.ONE


@command("move", WRITE)
def move(ctx: Context, args: list[bytes]) -> bytes:
    """
    Move a key to another database, unless it has one of that name.

    @see: U{https://redis.io/commands/move/}
    """
    key = args[1]
    target = ctx.keyspace.databases[database_number(args[2])]
    if target is ctx.db:
        raise CommandError(_SAME_OBJECT)
    value = ctx.db.get(key)
    if value is None or target.get(key) is not None:
        return replies.ZERO
    _place(target, key, value, expires_of(value))
    ctx.db.delete(key)
    return replies.ONE


# Whole databases


@command("swapdb", WRITE)
def swapdb(ctx: Context, args: list[bytes]) -> bytes:
    """
    Exchange two databases.

    @see: U{https://redis.io/commands/swapdb/}
    """
    first, second = parse_int64(args[1]), parse_int64(args[2])
    if first is None or not -(1 << 31) <= first < 1 << 31:
        raise CommandError(b"ERR invalid first DB index")
    if second is None or not -(1 << 31) <= second < 1 << 31:
        raise CommandError(b"ERR invalid second DB index")
    if not (0 <= first < DATABASES and 0 <= second < DATABASES):
        raise CommandError(b"ERR DB index is out of range")
    if first != second:
        ctx.keyspace.swap(first, second)
    return replies.OK


@command("dbsize", READ)
def dbsize(ctx: Context, args: list[bytes]) -> bytes:
    """
    Count the keys of a database, expired ones that aren't deleted yet included.

    @see: U{https://redis.io/commands/dbsize/}
    """
    slots = slots_named(args)
    return replies.integer(ctx.db.keys if slots is None else ctx.db.counts_within(slots)[0])


@command("info", READ)
def info(ctx: Context, args: list[bytes]) -> bytes:
    """
    Count the keys of each database, and those that can expire, by turns.

    It's what INFO tells of the data in its section keyspace; the rest is the matter of who is asked.
    """
    slots, databases = slots_named(args), ctx.keyspace.databases
    counts = [(db.keys, db.expiring) if slots is None else db.counts_within(slots) for db in databases]
    return replies.array([replies.integer(count) for pair in counts for count in pair])


def _check_flush(args: list[bytes]) -> None:
    """
    Check the options of FLUSHDB and FLUSHALL; either way the rows go in one range deletion.

    @raise SyntaxProblem: They're others than ASYNC or SYNC.
    """
    if len(args) > 2 or (len(args) == 2 and args[1].upper() not in (b"ASYNC", b"SYNC")):
        raise SyntaxProblem()


@command("flushdb", WRITE)
def flushdb(ctx: Context, args: list[bytes]) -> bytes:
    """
    Delete all keys of a database.

    @see: U{https://redis.io/commands/flushdb/}
    """
    _check_flush(args)
    slots = slots_named(args)
    if slots is None:
        ctx.db.clear()
    else:
        ctx.keyspace.clear_slots([ctx.db], slots)
    return replies.OK


@command("flushall", WRITE)
def flushall(ctx: Context, args: list[bytes]) -> bytes:
    """
    Delete all keys of all databases.

    @see: U{https://redis.io/commands/flushall/}
    """
    _check_flush(args)
    slots = slots_named(args)
    if slots is None:
        ctx.keyspace.clear()
    else:
        ctx.keyspace.clear_slots(ctx.keyspace.physical, slots)
    return replies.OK


@command("randomkey", READ)
def randomkey(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give a key by chance.

    @see: U{https://redis.io/commands/randomkey/}
    """
    db = ctx.db
    for _ in range(_PICKS):
        if not db.keys:
            return replies.nil(ctx.proto)
        key = db.random_key(ctx.random)
        if db.get(key) is not None:
            return replies.bulk(key)
    # Nearly all have expired and wait to be deleted; one may still be alive.
    for _, _, key, row in db.rows_from(0, 0):
        if not 0 < expires_of(row) <= ctx.now:
            return replies.bulk(key)
    return replies.nil(ctx.proto)


@command("keys", READ)
def keys(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give all keys that match a pattern, in row order.

    @see: U{https://redis.io/commands/keys/}
    """
    glob = Glob(args[1])
    first, end = slots_named(args) or ALL_SLOTS
    if glob.literal is not None:
        found = first <= slot_of(glob.literal) < end and ctx.db.get(glob.literal) is not None
        return replies.bulks([glob.literal] if found else [])
    now = ctx.now
    every, matches = glob.matches_all, glob.matches
    return ctx.bulks(
        [
            key
            for _, _, key, row in takewhile(lambda found: found[0] < end, ctx.db.rows_from(first, 0))
            if (every or matches(key)) and not 0 < expires_of(row) <= now
        ]
    )
