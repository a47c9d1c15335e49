"""
Commands that look at how a key is kept: OBJECT and MEMORY.

@see: U{https://redis.io/commands/object/}, U{https://redis.io/commands/memory/}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from tinykv.errors import CommandError, SyntaxProblem
from tinykv.redis.arguments import integer
from tinykv.redis.context import Context
from tinykv.redis.hash_value import Hash
from tinykv.redis.keyspace import Live
from tinykv.redis.list_value import List
from tinykv.redis.numbers import parse_int64
from tinykv.redis.set_value import Set
from tinykv.redis.spec import READ, command
from tinykv.redis.value import KEY_OVERHEAD, Value, string_body
from tinykv.redis.zset_value import SortedSet
from tinykv.resp import replies

#: The longest string that Redis keeps in one allocation with its object.
_EMBEDDED = 44
#: Redis shares the objects of the integers below.
_SHARED = 10_000
_SHARED_COUNT = 2147483647
#: How many elements of a large value MEMORY USAGE looks at by default.
_SAMPLES = 5
#: What an element costs beside its bytes.
_ELEMENT_OVERHEAD = 64

_OBJECT_HELP = (
    b"OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"ENCODING <key>",
    b"    Return the kind of internal representation used in order to store the value",
    b"    associated with a <key>.",
    b"FREQ <key>",
    b"    Return the access frequency index of the <key>. The returned integer is",
    b"    proportional to the logarithm of the recent access frequency of the key.",
    b"IDLETIME <key>",
    b"    Return the idle time of the <key>, that is the approximated number of",
    b"    seconds elapsed since the last access to the key.",
    b"REFCOUNT <key>",
    b"    Return the number of references of the value associated with the specified",
    b"    <key>.",
    b"HELP",
    b"    Prints this help.",
)

_MEMORY_HELP = (
    b"MEMORY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"DOCTOR",
    b"    Return memory problems reports.",
    b"MALLOC-STATS",
    b"    Return internal statistics report from the memory allocator.",
    b"PURGE",
    b"    Attempt to purge dirty pages for reclamation by the allocator.",
    b"STATS",
    b"    Return information about the memory usage of the server.",
    b"USAGE <key> [SAMPLES <count>]",
    b"    Return memory in bytes used by <key> and its value. Nested values are",
    b"    sampled up to <count> times (default: 5, 0 means sample all).",
    b"HELP",
    b"    Prints this help.",
)


def _help(lines: Iterable[bytes]) -> bytes:
    """Give a help text as Redis does, a simple string a line."""
    return replies.array([replies.simple(line) for line in lines])


# OBJECT


@command("object|help", READ)
def object_help(ctx: Context, args: list[bytes]) -> bytes:
    """
    Explain the subcommands of OBJECT.

    @see: U{https://redis.io/commands/object-help/}
    """
    return _help(_OBJECT_HELP)


@command("object|encoding", READ)
def object_encoding(ctx: Context, args: list[bytes]) -> bytes:
    """
    Name the encoding that Redis would keep a value in.

    @see: U{https://redis.io/commands/object-encoding/}
    """
    value = ctx.db.get(args[2])
    if value is None:
        return replies.nil(ctx.proto)
    if type(value) is not bytes:
        assert isinstance(value, (Hash, List, Set, SortedSet))
        return replies.bulk(value.encoding())
    body = string_body(value)
    if parse_int64(body) is not None:
        return replies.bulk(b"int")
    return replies.bulk(b"embstr" if len(body) <= _EMBEDDED else b"raw")


@command("object|refcount", READ)
def object_refcount(ctx: Context, args: list[bytes]) -> bytes:
    """
    Count the references to a value: one, but for the small integers that Redis shares.

    @see: U{https://redis.io/commands/object-refcount/}
    """
    value = ctx.db.get(args[2])
    if value is None:
        return replies.nil(ctx.proto)
    if type(value) is bytes:
        number = parse_int64(string_body(value))
        if number is not None and 0 <= number < _SHARED:
            return replies.integer(_SHARED_COUNT)
    return replies.ONE


@command("object|idletime", READ)
def object_idletime(ctx: Context, args: list[bytes]) -> bytes:
    """
    Say for how many seconds a key has been idle: since it was changed, or touched.

    @see: U{https://redis.io/commands/object-idletime/}
    """
    version = ctx.db.version(args[2])
    if not version:
        return replies.nil(ctx.proto)
    return replies.integer(ctx.keyspace.idleness.idle_ms(ctx.db.number, args[2], version, ctx.now) // 1000)


@command("object|freq", READ)
def object_freq(ctx: Context, args: list[bytes]) -> bytes:
    """
    Refuse to tell how often a key is used, as Redis does without an LFU policy.

    @see: U{https://redis.io/commands/object-freq/}
    """
    if ctx.db.get(args[2]) is None:
        return replies.nil(ctx.proto)
    raise CommandError(
        b"ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when "
        b"switching between policies at runtime LRU and LFU data will take some time to adjust."
    )


# MEMORY


@command("memory|help", READ)
def memory_help(ctx: Context, args: list[bytes]) -> bytes:
    """
    Explain the subcommands of MEMORY.

    @see: U{https://redis.io/commands/memory-help/}
    """
    return _help(_MEMORY_HELP)


@command("memory|usage", READ)
def memory_usage(ctx: Context, args: list[bytes]) -> bytes:
    """
    Estimate the bytes of memory that a key takes when all of it is in memory.

    @see: U{https://redis.io/commands/memory-usage/}
    """
    samples = _SAMPLES
    place = 3
    while place < len(args):
        if args[place].upper() != b"SAMPLES" or place + 1 == len(args):
            raise SyntaxProblem()
        samples = integer(args[place + 1])
        if samples < 0:
            raise SyntaxProblem()
        place += 2
    value = ctx.db.get(args[2])
    if value is None:
        return replies.nil(ctx.proto)
    return replies.integer(KEY_OVERHEAD + len(args[2]) + _value_bytes(value, samples))


def _value_bytes(value: Live, samples: int) -> int:
    """Estimate the bytes of a value, from so many elements of a large one; 0 for all of them."""
    if type(value) is bytes:
        return len(value)
    assert isinstance(value, Value)
    if not value.generations():
        return value.size()
    count = len(value)
    if not samples or samples >= count:
        samples = count
    elements: Iterator[object]
    if isinstance(value, Set):
        elements = value.members()
    else:
        assert isinstance(value, (Hash, List, SortedSet))
        elements = iter(value.items())
    total = sum(_element_bytes(element) for element in islice(elements, samples))
    return total * count // samples


def _element_bytes(element: object) -> int:
    """Estimate the bytes of an element."""
    if isinstance(element, tuple):
        return _ELEMENT_OVERHEAD + sum(len(part) if isinstance(part, bytes) else 8 for part in element)
    assert isinstance(element, bytes)
    return _ELEMENT_OVERHEAD + len(element)


@command("memory|stats", READ)
def memory_stats(ctx: Context, args: list[bytes]) -> bytes:
    """
    Give what the region's cache holds.

    @see: U{https://redis.io/commands/memory-stats/}
    """
    keyspace = ctx.keyspace
    count = sum(db.keys for db in keyspace.physical)
    facts = {
        b"total.allocated": keyspace.memory,
        b"dataset.bytes": keyspace.memory,
        b"keys.count": count,
        b"keys.bytes-per-key": keyspace.memory // count if count else 0,
        b"cache.budget": keyspace.budget,
    }
    items: list[bytes] = []
    for name, number in facts.items():
        items += (replies.bulk(name), replies.integer(number))
    return replies.map_(items, ctx.proto)


@command("memory|doctor", READ)
def memory_doctor(ctx: Context, args: list[bytes]) -> bytes:
    """
    Report memory problems: there are none, as the cache keeps within its budget.

    @see: U{https://redis.io/commands/memory-doctor/}
    """
    report = b"The cache of values keeps within memory_budget; what doesn't fit is read from disk."
    return replies.verbatim(report, b"txt", ctx.proto)


@command("memory|malloc-stats", READ)
def memory_malloc_stats(ctx: Context, args: list[bytes]) -> bytes:
    """
    Say that the allocator has no statistics, as Redis does when it isn't jemalloc.

    @see: U{https://redis.io/commands/memory-malloc-stats/}
    """
    return replies.bulk(b"Stats not supported for the current allocator")


@command("memory|purge", READ)
def memory_purge(ctx: Context, args: list[bytes]) -> bytes:
    """
    Do nothing: the interpreter gives memory back by itself.

    @see: U{https://redis.io/commands/memory-purge/}
    """
    return replies.OK
