"""
Commands on the time at which keys expire.

@see: U{https://redis.io/commands/?group=generic}
"""

from __future__ import annotations

from tinykv.errors import CommandError
from tinykv.redis.arguments import integer, invalid_expire_time
from tinykv.redis.context import Context
from tinykv.redis.numbers import INT64_MAX, INT64_MIN
from tinykv.redis.spec import READ, WRITE, command
from tinykv.resp import replies

_FLAGS = frozenset((b"NX", b"XX", b"GT", b"LT"))


@command("expire", WRITE)
def expire(ctx: Context, args: list[bytes]) -> bytes:
    """
    Let a key expire in some seconds.

    @see: U{https://redis.io/commands/expire/}
    """
    return _expire(ctx, args, ctx.now, 1000)


@command("pexpire", WRITE)
def pexpire(ctx: Context, args: list[bytes]) -> bytes:
    """
    Let a key expire in some milliseconds.

    @see: U{https://redis.io/commands/pexpire/}
    """
    return _expire(ctx, args, ctx.now, 1)


@command("expireat", WRITE)
def expireat(ctx: Context, args: list[bytes]) -> bytes:
    """
    Let a key expire at a time in seconds since 1970.

    @see: U{https://redis.io/commands/expireat/}
    """
    return _expire(ctx, args, 0, 1000)


@command("pexpireat", WRITE)
def pexpireat(ctx: Context, args: list[bytes]) -> bytes:
    """
    Let a key expire at a time in milliseconds since 1970.

    @see: U{https://redis.io/commands/pexpireat/}
    """
    return _expire(ctx, args, 0, 1)


def _expire(ctx: Context, args: list[bytes], base: int, unit: int) -> bytes:
    """
    Set an expiry, if the conditions among the arguments hold; one in the past deletes the key.

    @param base: What the time given counts from, in ms since 1970.
    @param unit: The milliseconds of its unit.
    """
    flags = _flags(args)
    at = integer(args[2]) * unit
    if not INT64_MIN <= at <= INT64_MAX - base:
        raise invalid_expire_time(args[0])
    at += base
    key = args[1]
    current = ctx.db.expires_at(key)
    if current < 0 or not _allowed(flags, current, at):
        return replies.ZERO
    if at <= ctx.now:
        ctx.db.delete(key)
    else:
        ctx.db.set_expires(key, at)
    return replies.ONE


def _flags(args: list[bytes]) -> set[bytes]:
    """
    Read the conditions of EXPIRE and its like.

    @raise CommandError: One is unknown, or they exclude each other.
    """
    flags: set[bytes] = set()
    for option in args[3:]:
        flag = option.upper()
        if flag not in _FLAGS:
            # Redis words it with C's printf, which stops at a NUL.
            raise CommandError(b"ERR Unsupported option " + option.partition(b"\0")[0])
        flags.add(flag)
    if b"NX" in flags and len(flags) > 1:
        raise CommandError(b"ERR NX and XX, GT or LT options at the same time are not compatible")
    if b"GT" in flags and b"LT" in flags:
        raise CommandError(b"ERR GT and LT options at the same time are not compatible")
    return flags


def _allowed(flags: set[bytes], current: int, at: int) -> bool:
    """Say if the conditions hold for this change; a key that never expires counts as infinitely late."""
    if current:
        if b"NX" in flags or (b"GT" in flags and at <= current):
            return False
        return not (b"LT" in flags and at >= current)
    return not (b"XX" in flags or b"GT" in flags)


@command("persist", WRITE)
def persist(ctx: Context, args: list[bytes]) -> bytes:
    """
    Let a key never expire.

    @see: U{https://redis.io/commands/persist/}
    """
    if ctx.db.expires_at(args[1]) <= 0:
        return replies.ZERO
    ctx.db.set_expires(args[1], 0)
    return replies.ONE


@command("ttl", READ)
def ttl(ctx: Context, args: list[bytes]) -> bytes:
    """
    Say in how many seconds, rounded, a key expires.

    @see: U{https://redis.io/commands/ttl/}
    """
    return _told(ctx, args[1], ctx.now, 1000)


@command("pttl", READ)
def pttl(ctx: Context, args: list[bytes]) -> bytes:
    """
    Say in how many milliseconds a key expires.

    @see: U{https://redis.io/commands/pttl/}
    """
    return _told(ctx, args[1], ctx.now, 1)


@command("expiretime", READ)
def expiretime(ctx: Context, args: list[bytes]) -> bytes:
    """
    Say when a key expires, in seconds since 1970.

    @see: U{https://redis.io/commands/expiretime/}
    """
    return _told(ctx, args[1], 0, 1000)


@command("pexpiretime", READ)
def pexpiretime(ctx: Context, args: list[bytes]) -> bytes:
    """
    Say when a key expires, in milliseconds since 1970.

    @see: U{https://redis.io/commands/pexpiretime/}
    """
    return _told(ctx, args[1], 0, 1)


def _told(ctx: Context, key: bytes, base: int, unit: int) -> bytes:
    """Answer with a key's expiry; -2 if there's no such key, -1 if it never expires."""
    at = ctx.db.expires_at(key)
    if at <= 0:
        return replies.integer(-2 if at else -1)
    return replies.integer((at - base + unit // 2) // unit)
