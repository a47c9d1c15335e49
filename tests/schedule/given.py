"""What schedulers have given, and what must be so of it, whichever member gave it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Given(NamedTuple):
    """Timestamps that were given: asked for at C{begun}, and here at C{ended}, in us."""

    begun: int
    ended: int
    first: int
    last: int


def given_problems(timestamps: Sequence[Given], ids: Sequence[range]) -> list[str]:
    """Say what shouldn't be: timestamps that don't rise, and anything that was given twice."""
    problems: list[str] = []
    # The greatest of those that had ended before each one was asked for.
    ended = sorted(timestamps, key=lambda given: given.ended)
    greatest, place = -1, 0
    for given in sorted(timestamps, key=lambda given: given.begun):
        while place < len(ended) and ended[place].ended < given.begun:
            greatest = max(greatest, ended[place].last)
            place += 1
        if given.first <= greatest:
            problems.append(f"{given} was asked for after {greatest} had been given")
    for ranges in (sorted((g.first, g.last) for g in timestamps), sorted((r[0], r[-1]) for r in ids)):
        for one, two in zip(ranges, ranges[1:], strict=False):
            if one[1] >= two[0]:
                problems.append(f"{one} and {two} overlap")
    return problems
