"""
DUMP and RESTORE: a key's value in Redis's own form, to be carried from server to server.

@see: U{https://redis.io/commands/dump/}, U{https://redis.io/commands/restore/}
"""

from __future__ import annotations

from tinykv.errors import CommandError, SyntaxProblem
from tinykv.redis import rdb
from tinykv.redis.arguments import integer
from tinykv.redis.context import Context
from tinykv.redis.hash_value import Hash
from tinykv.redis.keyspace import Live
from tinykv.redis.list_value import List
from tinykv.redis.numbers import INT64_MAX
from tinykv.redis.pace import Pause
from tinykv.redis.set_value import Set
from tinykv.redis.spec import READ, WRITE, command
from tinykv.redis.value import string_body
from tinykv.redis.zset_value import SortedSet
from tinykv.resp import replies

_FREQUENCY_MAX = 255


@command("dump", READ)
def dump(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give what a key holds in the form that RESTORE takes, without its expiry.

    @see: U{https://redis.io/commands/dump/}
    """
    value = ctx.db.get(args[1])
    return replies.nil(ctx.proto) if value is None else replies.bulk(payload_of(value, ctx.keyspace.rows.pause))


def payload_of(value: Live, pause: Pause) -> bytes:
    """Give the payload of DUMP for a value; C{pause} is called often on the way."""
    if type(value) is bytes:
        return rdb.dump("string", string_body(value), pause=pause)
    if isinstance(value, List):
        return rdb.dump("list", list(value.items()), pause=pause)
    if isinstance(value, Set):
        return rdb.dump("set", value.listed(), encoding=value.encoding().decode(), pause=pause)
    if isinstance(value, SortedSet):
        return rdb.dump("zset", list(value.items()), encoding=value.encoding().decode(), pause=pause)
    assert isinstance(value, Hash)
    return rdb.dump("hash", list(value.items()), encoding=value.encoding().decode(), pause=pause)


@command("restore", WRITE)
def restore(ctx: Context, args: list[bytes]) -> bytes:
    """
    Let a key hold what DUMP gave.

    @see: U{https://redis.io/commands/restore/}
    """
    key = args[1]
    replace = absolute = False
    idle = frequency = -1
    place = 4
    while place < len(args):
        option = args[place].upper()
        place += 1
        if option == b"REPLACE":
            replace = True
        elif option == b"ABSTTL":
            absolute = True
        elif option == b"IDLETIME" and place < len(args) and frequency < 0:
            idle = integer(args[place])
            place += 1
            if idle < 0:
                raise CommandError(b"ERR Invalid IDLETIME value, must be >= 0")
        elif option == b"FREQ" and place < len(args) and idle < 0:
            frequency = integer(args[place])
            place += 1
            if not 0 <= frequency <= _FREQUENCY_MAX:
                raise CommandError(b"ERR Invalid FREQ value, must be >= 0 and <= 255")
        else:
            raise SyntaxProblem()
    if not replace and ctx.db.get(key) is not None:
        raise CommandError(b"BUSYKEY Target key name already exists.")
    expires = integer(args[2])
    if expires < 0:
        raise CommandError(b"ERR Invalid TTL value, must be >= 0")
    if expires and not absolute:
        expires += ctx.now
        if expires > INT64_MAX:
            # In Redis the sum wraps around, into the past.
            expires = 1
    loaded = _load(ctx, args[3])
    ctx.db.delete(key)
    if not expires or expires > ctx.now:
        _build(ctx, key, loaded, expires)
        if idle >= 0:
            version = ctx.db.version(key)
            ctx.keyspace.idleness.used(ctx.db.number, key, version, ctx.now - idle * 1000)
    return replies.OK


def _load(ctx: Context, payload: bytes) -> rdb.Loaded:
    """
    Read a payload of DUMP.

    @raise CommandError: It's none.
    """
    try:
        return rdb.load(payload, ctx.keyspace.rows.pause)
    except rdb.BadFooter as problem:
        raise CommandError(b"ERR DUMP payload version or checksum are wrong") from problem
    except rdb.BadPayload as problem:
        raise CommandError(b"ERR Bad data format") from problem


def _build(ctx: Context, key: bytes, loaded: rdb.Loaded, expires: int) -> None:
    """Let a key, which holds nothing, hold what a payload said."""
    db = ctx.db
    if loaded[0] == "string":
        db.set_string(key, loaded[1], expires)
        return
    if loaded[0] == "list":
        db.create(key, List).extend(loaded[1])
    elif loaded[0] == "set":
        members = db.create(key, Set)
        for member in ctx.paced(loaded[1]):
            members.add(member)
    elif loaded[0] == "zset":
        scored = db.create(key, SortedSet)
        for member, score in ctx.paced(loaded[1]):
            scored.add(member, score)
    else:
        fields = db.create(key, Hash)
        for field, content in ctx.paced(loaded[1]):
            fields.put(field, content)
    if expires:
        db.set_expires(key, expires)
