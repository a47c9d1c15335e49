"""
Intersection, union and difference of sorted sets, as streams.

A stream is (L{tinykv.redis.keyed_value.place} of a member, score), by ascending places, as set algebra has them: large
sources are merged without building anything. Plain sets take part; their members have the score 1. Where scores are
combined, it's in the order of the sources, since sums of floating point numbers depend on it. A source must not change
while a stream is in use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from math import isnan
from operator import itemgetter

from tinykv.redis.set_value import Set
from tinykv.redis.zset_value import SortedSet

Scored = Iterator[tuple[bytes, float]]
Combine = Callable[[float, float], float]

#: How many steps of a merge cost as much as looking up one member.
_LOOKUP = 5

_place_of = itemgetter(0)


def add(total: float, score: float) -> float:
    """Give the sum; that of opposite infinities is 0."""
    total += score
    return 0.0 if isnan(total) else total


def lower(least: float, score: float) -> float:
    """Give the lower score, the first of equal ones."""
    return score if score < least else least


def higher(most: float, score: float) -> float:
    """Give the higher score, the first of equal ones."""
    return score if score > most else most


class Source:
    """One of the sets, and what its scores are multiplied by."""

    __slots__ = ("held", "weight")

    def __init__(self, held: Set | SortedSet | None, weight: float = 1.0) -> None:
        self.held = held
        self.weight = weight

    def __len__(self) -> int:
        """Count the members."""
        return 0 if self.held is None else len(self.held)

    def scored(self) -> Scored:
        """Stream the members with their weighted scores."""
        weight = self.weight
        if self.held is None:
            return iter(())
        if isinstance(self.held, Set):
            score = _number(weight)
            return ((name, score) for name in self.held.places())
        if weight == 1.0:
            return self.held.places()
        return ((name, _number(weight * score)) for name, score in self.held.places())

    def find(self, member: bytes) -> float | None:
        """Give the weighted score of a member, or None; it may be NaN, as 0 times infinity."""
        if isinstance(self.held, Set):
            return self.weight if member in self.held else None
        score = None if self.held is None else self.held.score(member)
        return None if score is None else score * self.weight


def _number(score: float) -> float:
    return 0.0 if isnan(score) else score


def _by_size(sources: list[Source]) -> list[Source]:
    return sorted(sources, key=len)


def intersection(sources: list[Source], combine: Combine) -> Scored:
    """Stream what all have, by looking up the members of the smallest in the others."""
    smallest, *others = _by_size(sources)
    for name, score in smallest.scored():
        for other in others:
            found = other.find(name[4:])
            if found is None:
                break
            score = combine(score, found)
        else:
            yield name, score


def union(sources: list[Source], combine: Combine) -> Scored:
    """Stream what any has."""
    streams = [source.scored() for source in _by_size(sources) if len(source)]
    if len(streams) == 1:
        yield from streams[0]
        return
    last, total = b"", 0.0
    # Entries with one key come out in the order of their streams.
    for name, score in merge(*streams, key=_place_of):
        if name == last:
            total = combine(total, score)
            continue
        if last:
            yield last, total
        last, total = name, score
    if last:
        yield last, total


def difference(sources: list[Source]) -> Scored:
    """Stream what the first has and none of the others, by merging or by looking up, whichever costs less."""
    first, *others = sources
    others = [other for other in others if len(other)]
    if len(first) * len(others) * _LOOKUP < len(first) + sum(map(len, others)):
        # The largest first: it's the likeliest to have a member.
        others.sort(key=len, reverse=True)
        return (pair for pair in first.scored() if all(other.find(pair[0][4:]) is None for other in others))
    return _without(first.scored(), merge(*[other.scored() for other in others], key=_place_of))


def _without(pairs: Scored, gone: Iterable[tuple[bytes, float]]) -> Scored:
    """Stream those pairs whose names aren't among the others; both ascend."""
    taken = iter(gone)
    name_taken = next(taken, (None, 0.0))[0]
    for name, score in pairs:
        while name_taken is not None and name_taken < name:
            name_taken = next(taken, (None, 0.0))[0]
        if name_taken != name:
            yield name, score
