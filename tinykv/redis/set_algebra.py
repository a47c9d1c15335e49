"""
Intersection, union and difference of sets, as streams.

A stream is the L{tinykv.redis.keyed_value.place}s of the result's members, ascending: the row order of large
sets. So two large sets are merged without building anything, and a result that is to be stored goes from the
stream into the leaves of its tree. A source must not change while a stream is in use.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from itertools import groupby

from tinykv.redis.numbers import parse_int64
from tinykv.redis.set_value import Set

#: How many steps of a merge cost as much as looking up one member.
_LOOKUP = 5


def intersection(sets: list[Set]) -> Iterator[bytes]:
    """Stream what all sets have, by looking up the members of the smallest in the others."""
    smallest, *others = sorted(sets, key=len)
    return (name for name in smallest.places() if all(name[4:] in other for other in others))


def union(sets: list[Set]) -> Iterator[bytes]:
    """Stream what any of the sets has."""
    if len(sets) == 1:
        return sets[0].places()
    return (name for name, _ in groupby(merge(*[held.places() for held in sets])))


def difference(first: Set, others: list[Set]) -> Iterator[bytes]:
    """Stream what the first set has and none of the others, by merging or by look-ups, as costs less."""
    if not others:
        return first.places()
    if len(first) * len(others) * _LOOKUP < len(first) + sum(map(len, others)):
        # The largest first: it's the likeliest to have a member.
        others = sorted(others, key=len, reverse=True)
        return (name for name in first.places() if not any(name[4:] in other for other in others))
    return _without(first.places(), union(others))


def _without(names: Iterator[bytes], gone: Iterator[bytes]) -> Iterator[bytes]:
    """Stream those names that aren't gone; both ascend."""
    taken = next(gone, None)
    for name in names:
        while taken is not None and taken < name:
            taken = next(gone, None)
        if taken != name:
            yield name


def copies_first(first: Set, others: list[Set]) -> bool:
    """
    Say if Redis would compute this difference by taking members out of a copy of the first set.

    It shows in the encoding of the result, which is then that of the copy.
    """
    return len(first) * (len(others) + 1) // 2 > len(first) + sum(map(len, others))


def was_intset(held: Set, limit: int) -> bool:
    """Say if a set of the same members, added one by one, would be an intset of at most C{limit} members."""
    return len(held) <= limit and (held.packed or all(parse_int64(member) is not None for member in held))


def listed(names: Iterator[bytes], limit: int) -> list[bytes]:
    """List the members of a result as a client sees them: what could be an intset of C{limit} ascends."""
    members = [name[4:] for name in names]
    if len(members) <= limit and all(parse_int64(member) is not None for member in members):
        members.sort(key=int)
    return members
