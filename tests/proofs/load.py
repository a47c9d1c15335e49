"""A load of writes of all kinds, made from a seed."""

from __future__ import annotations

from random import Random

Command = list[bytes]


def _key(random: Random, kind: str, count: int = 6) -> bytes:
    return b"%s:%d" % (kind.encode(), random.randrange(count))


def _bytes(random: Random, longest: int) -> bytes:
    return random.randbytes(random.randint(1, longest))


def group(random: Random) -> list[Command]:
    """Give a command, or several that are to be one transaction."""
    if random.random() < 0.12:
        return [command for _ in range(random.randint(2, 4)) for command in (_command(random),)]
    return [_command(random)]


def _command(random: Random) -> Command:
    kind = random.choice(("string", "counter", "list", "set", "zset", "hash", "expiry", "raw", "large", "rest"))
    number = b"%d" % random.randrange(300)
    if kind == "string":
        return [b"set", _key(random, kind, 20), _bytes(random, 3000 if random.random() < 0.1 else 100)]
    if kind == "counter":
        return [b"incrby", _key(random, kind), number]
    if kind == "list":
        return [random.choice((b"rpush", b"lpush")), _key(random, kind), number, _bytes(random, 60)]
    if kind == "set":
        return [random.choice((b"sadd", b"sadd", b"srem")), _key(random, kind), number]
    if kind == "zset":
        return [b"zadd", _key(random, kind), b"%d" % random.randrange(1000), number]
    if kind == "hash":
        return [b"hset", _key(random, kind), number, _bytes(random, 80)]
    if kind == "expiry":
        return [b"set", _key(random, kind), number, b"pxat", b"%d" % (1_700_000_000_000 + random.randrange(1, 2000))]
    if kind == "raw":
        return [b"raw.put", random.choice((b"default", b"lock", b"write")), _key(random, kind, 30), _bytes(random, 50)]
    if kind == "large":
        # Enough elements for trees of several nodes.
        name, per = random.choice(((b"rpush", 1), (b"hset", 2), (b"zadd", 2), (b"sadd", 1)))
        command = [name, b"large:" + name]
        for _ in range(60):
            if per == 2:
                command.append(b"%d" % random.randrange(2000))
            command.append(b"element %d" % random.randrange(2000))
        return command
    return random.choice(
        (
            [b"del", _key(random, random.choice(("string", "list", "hash")))],
            [b"lpop", _key(random, "list")],
            [b"rename", b"string:1", b"string:2"],
            [b"persist", _key(random, "expiry")],
            [b"del", b"large:" + random.choice((b"rpush", b"hset", b"zadd", b"sadd"))],
            [b"flushdb"] if random.random() < 0.1 else [b"set", b"plain", number],
        )
    )
