"""
How a command on data is spread over the regions in which its keys lie.

Nothing is done here: it's said which region a command is for, or how it's cut into parts, one for each region, and how
the replies to them become one reply. What works on the keys one by one is cut by key; what is about all keys goes to
all regions; the rest belongs to one region or is refused. Regions are named by their places in the order of slots.

Each part is atomic, and all of them together aren't.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from tinykv.errors import Damaged
from tinykv.redis.command_keys import keys_of
from tinykv.redis.spec import CommandSpec
from tinykv.resp import replies
from tinykv.resp.splitting import elements_of

#: Redis's words for it.
CROSS_SLOT: Final = replies.error(b"CROSSSLOT Keys in request don't hash to the same slot")

#: Gives the region in which a key lies.
RegionOf = Callable[[bytes], int]


class Part(NamedTuple):
    """
    A command on the keys of one region.

    @ivar places: Which of the keys of the whole command they are.
    """

    region: int
    arguments: list[bytes]
    places: Sequence[int]


#: Makes one reply of the replies to the parts, in their order.
Merge = Callable[[Sequence[Part], Sequence[bytes]], bytes]


class Spread(NamedTuple):
    """
    A command in parts.

    @ivar writes: Whether they change something.
    """

    parts: list[Part]
    merge: Merge
    writes: bool = False


def _sum(parts: Sequence[Part], answers: Sequence[bytes]) -> bytes:
    """Add up numbers."""
    return replies.integer(sum(int(answer[1:]) for answer in answers))


def _sums(parts: Sequence[Part], answers: Sequence[bytes]) -> bytes:
    """Add up lists of numbers, place by place."""
    columns = zip(*map(elements_of, answers), strict=True)
    return replies.array([replies.integer(sum(int(element[1:]) for element in column)) for column in columns])


def _in_place(parts: Sequence[Part], answers: Sequence[bytes]) -> bytes:
    """Put the elements of all replies at the places of their keys."""
    found: dict[int, bytes] = {}
    for part, answer in zip(parts, answers, strict=True):
        found.update(zip(part.places, elements_of(answer), strict=True))
    return replies.array([found[place] for place in sorted(found)])


def _joined(parts: Sequence[Part], answers: Sequence[bytes]) -> bytes:
    """Give the elements of all replies, in the order of the regions."""
    return replies.array([element for answer in answers for element in elements_of(answer)])


def alike(parts: Sequence[Part], answers: Sequence[bytes]) -> bytes:
    """Give the reply that all of them gave."""
    return answers[0]


#: What works on its keys, which are all of its arguments, one by one.
_BY_KEY: Final[Mapping[str, Merge]] = {
    "del": _sum,
    "unlink": _sum,
    "exists": _sum,
    "touch": _sum,
    "mget": _in_place,
}

#: What is about all keys, or about what all regions have alike.
EVERYWHERE: Final[Mapping[str, Merge]] = {
    "dbsize": _sum,
    "info": _sums,
    "keys": _joined,
    "flushdb": alike,
    "flushall": alike,
    "config|set": alike,
}

#: Reads that go from region to region, one step after another.
IN_STEPS: Final = frozenset(("scan", "randomkey"))

#: What is about databases as a whole, and can't be done to all regions at once.
_NOWHERE: Final = frozenset(("swapdb",))


def merged(spread: Spread, answers: Sequence[bytes]) -> bytes:
    """
    Make one reply of the replies to the parts; the first error counts.

    No error says that nothing was done where a part was done, or may have been: whoever reads that would do all of it
    again.

    @raise Damaged: One of them isn't a reply to its part.
    """
    errors = [answer for answer in answers if answer.startswith(b"-")]
    if errors:
        if not spread.writes:
            return errors[0]
        unknown = next((error for error in errors if error.startswith(b"-TIMEOUT ")), None)
        if unknown is not None or len(errors) == len(answers):
            return unknown or errors[0]
        why = errors[0][1:-2].removesuffix(b"; nothing was done")
        return replies.error(b"TIMEOUT not all parts of the command were done (%b); outcome unknown" % why)
    try:
        return spread.merge(spread.parts, answers)
    except (ValueError, KeyError) as problem:
        raise Damaged("the replies to the parts of a command don't fit together") from problem


def spread(spec: CommandSpec, arguments: list[bytes], region_of: RegionOf, regions: int) -> int | Spread | bytes:
    """
    Say where a command goes.

    @param regions: How many there are.
    @return: The one region that it's for; or its parts; or the refusal where its keys lie in several, and it can't be
        cut.
    """
    facts = spec.facts
    if facts is not None and facts.module:
        # Raw keys lie behind all slots.
        return regions - 1
    positions = keys_of(facts, arguments) if facts is not None else []
    if not positions:
        merge = EVERYWHERE.get(spec.name)
        if merge is not None:
            return Spread([Part(region, arguments, ()) for region in range(regions)], merge, spec.writes)
        return CROSS_SLOT if spec.name in _NOWHERE else 0
    first = region_of(arguments[positions[0]])
    for position in positions[1:]:
        if region_of(arguments[position]) != first:
            break
    else:
        return sorting_elsewhere(arguments) or first if spec.name in ("sort", "sort_ro") else first
    merge = _BY_KEY.get(spec.name)
    if merge is None:
        return CROSS_SLOT
    keys = [arguments[position] for position in positions]
    return by_key(arguments[:1], keys, region_of, merge)._replace(writes=spec.writes)


def by_key(name: list[bytes], keys: Sequence[bytes], region_of: RegionOf, merge: Merge = _in_place) -> Spread:
    """
    Cut what works on keys one by one.

    @param name: What stands before them.
    """
    parts: dict[int, tuple[list[bytes], list[int]]] = {}
    for place, key in enumerate(keys):
        arguments, places = parts.setdefault(region_of(key), (name.copy(), []))
        arguments.append(key)
        places.append(place)
    return Spread([Part(region, *parts[region]) for region in sorted(parts)], merge)


def sorting_elsewhere(arguments: Sequence[bytes]) -> bytes | None:
    """Refuse a SORT that looks at keys which it makes up, wherever they lie; in the words of Redis Cluster."""
    for option, pattern in zip(arguments[2:], arguments[3:], strict=False):
        name = option.upper()
        if name == b"BY" and b"*" in pattern or name == b"GET" and pattern != b"#":
            return replies.error(b"ERR %b option of SORT denied in Cluster mode." % name)
    return None


def region_of_transaction(
    commands: Sequence[tuple[int, CommandSpec | None, list[bytes], Any]],
    watched: Sequence[tuple[int, bytes, int]],
    region_of: RegionOf,
    regions: int,
) -> int | bytes:
    """
    Say for which region a transaction is.

    @param commands: As an operation has them; those without a spec are about the connection.
    @param watched: The keys that it depends on.
    @return: The region; or the refusal, if there are several.
    """
    found = {region_of(key) for _, key, _ in watched}
    for _, spec, arguments, _ in commands:
        if spec is None:
            continue
        if spec.name in IN_STEPS:
            return CROSS_SLOT
        one = spread(spec, arguments, region_of, regions)
        if not isinstance(one, int):
            return one if isinstance(one, bytes) else CROSS_SLOT
        if has_keys(spec, arguments):
            found.add(one)
    return CROSS_SLOT if len(found) > 1 else min(found, default=0)


def has_keys(spec: CommandSpec, arguments: list[bytes]) -> bool:
    """Say whether a command is about certain keys, so that it matters where it's run."""
    return spec.facts is not None and (bool(spec.facts.module) or bool(keys_of(spec.facts, arguments)))


def scanned(reply: bytes, following: int) -> bytes:
    """
    Let a region's reply to SCAN go on in the next region where it says that it's at its end.

    @param following: The cursor at which the next region begins; 0 behind the last.
    @raise Damaged: It's no such reply.
    """
    if not following or reply.startswith(b"-"):
        return reply
    cursor, items = elements_of(reply)
    return replies.array([replies.bulk(b"%d" % following), items]) if cursor == b"$1\r\n0\r\n" else reply
