"""The order that SORT gives: comparing and cutting, without looking up any key."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fractions import Fraction
from itertools import chain
from typing import Any, Final

from tinykv.redis.numbers import parse_float
from tinykv.redis.pace import Pause, go_on

_SPACE = b" \t\n\v\f\r"
# A decimal with more digits than this is no double below the normal range exactly.
_EXACT_TEXT = 2000


#: Values that are sorted at a time; the runs are then merged.
_RUN: Final = 4096


class NotNumeric(ValueError):
    """A value to sort by is not a number; the text is Redis's."""


def sort_order(
    values: Sequence[bytes],
    keys: Sequence[bytes | None],
    *,
    alpha: bool = False,
    descending: bool = False,
    pause: Pause = go_on,
) -> list[int]:
    """Return the places of ``values`` in the order of their ``keys`` (without BY: the values themselves).

    A key of None was not found: it counts as 0, or with ``alpha`` comes before all others. Equal numbers are
    ordered by value; equal texts stay as they were. Bytes are compared as unsigned numbers, as strings of a C
    locale. ``pause`` is called often. Raises `NotNumeric`.
    """
    ranks: list[Any] = []
    for start in range(0, len(values), _RUN):
        pause()
        some = keys[start : start + _RUN]
        if alpha:
            ranks += [(False, b"") if key is None else (True, key) for key in some]
        else:
            ranks += [(sort_score(key), value) for key, value in zip(some, values[start : start + _RUN], strict=True)]
    rank = ranks.__getitem__
    runs = [
        sorted(range(start, min(start + _RUN, len(values))), key=rank, reverse=descending)
        for start in range(0, len(values), _RUN)
    ]
    while len(runs) > 1:
        # Two sorted runs, one behind the other, are what Python's sort merges in one go.
        merged = []
        for at in range(0, len(runs), 2):
            pause()
            merged.append(sorted(chain(*runs[at : at + 2]), key=rank, reverse=descending))
        runs = merged
    return runs[0] if runs else []


def limited(length: int, offset: int, count: int) -> tuple[int, int]:
    """Return start and stop of LIMIT in a vector of ``length``: a negative ``count`` is all, ``offset`` 0."""
    start = min(max(offset, 0), length)
    return start, length if count < 0 else min(start + count, length)


def sort_score(text: bytes | None) -> float:
    """Return the number that SORT takes ``text`` for, or raise `NotNumeric`.

    Redis calls ``strtod`` and asks only that it stops at the end of the C string: white space may stand
    before a number, a zero byte ends the text, nothing at all is 0, as is a key that was not found (None).
    """
    if text is None:
        return 0.0
    text = text.partition(b"\0")[0]
    if not text:
        return 0.0
    value = parse_float(text.lstrip(_SPACE))
    if value is None or (abs(value) < sys.float_info.min and not _is_exact(text.strip(_SPACE), value)):
        raise NotNumeric("One or more scores can't be converted into double")
    return value


def _is_exact(text: bytes, value: float) -> bool:
    """Return whether ``value``, zero or below the normal range, is what ``text`` spells without any rounding.

    The C library reports a rounded one as out of range, and Redis then refuses it.
    """
    if value == 0.0:
        return True
    if len(text) > _EXACT_TEXT:
        return False
    if b"x" in text.lower():
        return _hex_fraction(text) == Fraction(value)
    return Fraction(text.decode("ascii")) == Fraction(value)


def _hex_fraction(text: bytes) -> Fraction:
    """Return the exact worth of a hexadecimal float."""
    mantissa, _, exponent = text.lower().partition(b"p")
    negative = mantissa.startswith(b"-")
    whole, _, behind = mantissa.lstrip(b"+-")[2:].partition(b".")
    digits = int(whole + behind, 16) * Fraction(2) ** (int(exponent or b"0") - 4 * len(behind))
    return -digits if negative else digits
