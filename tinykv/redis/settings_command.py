"""
The part of CONFIG SET that is the same on every replica, and therefore goes through the log; and what CONFIG GET tells
of it.

A client's CONFIG SET is checked where it arrives (L{tinykv.server.config_commands}); of its parameters only those
that commands on data go by are logged, under their present names and in their proper form.

@see: U{https://redis.io/commands/config-set/}, U{https://redis.io/commands/config-get/}
"""

from __future__ import annotations

from tinykv.redis.context import Context
from tinykv.redis.spec import READ, WRITE, command
from tinykv.resp import replies


@command("config|set", WRITE)
def config_set(ctx: Context, args: list[bytes]) -> bytes:
    """Change settings; each is one of L{tinykv.redis.settings.DEFAULTS}, and its value a number."""
    changes = zip(args[2::2], args[3::2], strict=True)
    ctx.keyspace.settings.change({name.decode(): int(value) for name, value in changes}, ctx.keyspace.rows)
    return replies.OK


@command("config|get", READ)
def config_get(ctx: Context, args: list[bytes]) -> bytes:
    """Give all settings: names and values by turns."""
    values = ctx.keyspace.settings.values
    return replies.bulks([text for name in sorted(values) for text in (name.encode(), b"%d" % values[name])])
