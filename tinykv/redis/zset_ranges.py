"""
Ranges of a sorted set, by rank, by score, and by member.

Each is read from a command's arguments and then gives, for a particular sorted set, the ranks that it covers: what is
done with a range never depends on its kind.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Protocol

from tinykv.errors import CommandError
from tinykv.redis.arguments import integer
from tinykv.redis.numbers import parse_float
from tinykv.redis.zset_value import SortedSet

_SPACE = b" \t\n\v\f\r"
_DECIMAL = re.compile(rb"[+-]?[0-9.][0-9.eE+-]*").fullmatch
_HEXADECIMAL = re.compile(rb"[+-]?0[xX][0-9a-fA-F.pP+-]+").fullmatch


class Range(Protocol):
    """A range of any kind."""

    def ranks(self, value: SortedSet) -> tuple[int, int]:
        """Give the ranks that it covers: C{0 <= start <= rank < stop <= len(value)}."""


@dataclass(frozen=True, slots=True)
class RankRange:
    """
    From one rank to another, both included; negative ones count from the end.

    @ivar reverse: Whether ranks count from the highest member down.
    """

    first: int
    last: int
    reverse: bool = False

    def ranks(self, value: SortedSet) -> tuple[int, int]:
        """Give the ranks that it covers."""
        count = len(value)
        first = max(self.first + count if self.first < 0 else self.first, 0)
        last = min(self.last + count if self.last < 0 else self.last, count - 1)
        if first > last:
            return 0, 0
        return (count - 1 - last, count - first) if self.reverse else (first, last + 1)


@dataclass(frozen=True, slots=True)
class ScoreRange:
    """From one score to another; C{low_open} and C{high_open} leave them out."""

    low: float
    low_open: bool
    high: float
    high_open: bool

    def ranks(self, value: SortedSet) -> tuple[int, int]:
        """Give the ranks that it covers."""
        start = value.ranks_below(self.low, self.low_open)
        return start, max(start, value.ranks_below(self.high, not self.high_open))


@dataclass(frozen=True, slots=True)
class LexRange:
    """From one member to another, as bytes, where all scores are equal: each end as in the command."""

    low: bytes
    high: bytes

    def ranks(self, value: SortedSet) -> tuple[int, int]:
        """Give the ranks that it covers."""
        start = self._rank(value, self.low, b"(")
        return start, max(start, self._rank(value, self.high, b"["))

    @staticmethod
    def _rank(value: SortedSet, end: bytes, passes: bytes) -> int:
        """Count the members before an end, itself included where it's of the kind C{passes}."""
        kind = end[:1]
        if kind == b"-":
            return 0
        if kind == b"+":
            return len(value)
        return value.ranks_before(end[1:], kind == passes)


def rank_range(first: bytes, last: bytes, reverse: bool = False) -> RankRange:
    """
    Read two ranks.

    @raise NotAnInteger: They aren't.
    """
    return RankRange(integer(first), integer(last), reverse)


def score_range(low: bytes, high: bytes) -> ScoreRange:
    """
    Read two scores, each with a C{(} before it if it's left out.

    @raise CommandError: They aren't scores.
    """
    lowest, highest = _score(low.removeprefix(b"(")), _score(high.removeprefix(b"("))
    if lowest is None or highest is None:
        raise CommandError(b"ERR min or max is not a float")
    return ScoreRange(lowest, low.startswith(b"("), highest, high.startswith(b"("))


def lex_range(low: bytes, high: bytes) -> LexRange:
    """
    Read two members, each behind a C{[} or, if it's left out, a C{(}; or C{-} and C{+} for the ends.

    @raise CommandError: They aren't that.
    """
    for end in (low, high):
        # A zero byte ends C's strings, and nothing may follow a sign.
        if end[:1] not in (b"(", b"[") and end.partition(b"\0")[0] not in (b"-", b"+"):
            raise CommandError(b"ERR min or max not valid string range item")
    return LexRange(low, high)


def _score(text: bytes) -> float | None:
    """
    Read an end of a range as C's strtod does, which Redis only asks whether it came to the end of the string.

    White space may stand before, a zero byte ends the text, nothing at all is 0, and what a double can't hold becomes
    infinite, or 0, or the nearest there is.
    """
    text = text.partition(b"\0")[0]
    if not text:
        return 0.0
    text = text.lstrip(_SPACE)
    score = parse_float(text)
    if score is not None:
        return score
    try:
        if _DECIMAL(text):
            return float(text)
        if _HEXADECIMAL(text):
            return float.fromhex(text.decode("ascii"))
    except ValueError:
        return None
    except OverflowError:
        return -math.inf if text.startswith(b"-") else math.inf
    return None
