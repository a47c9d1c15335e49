"""
Scores as bytes whose order is the order of the numbers.

The sign bit of a double that isn't negative is set, and all bits of a negative one are turned over: then big-endian
bytes compare as the numbers do. 0 and -0 are the same place. Not a number has none, and never becomes a score.
"""

from __future__ import annotations

from struct import Struct

_double = Struct(">d").pack
_as_double = Struct(">d").unpack
_bits = Struct(">Q").unpack
_bits_at = Struct(">Q").unpack_from
_unsigned = Struct(">Q").pack

_SIGN = 1 << 63
_ALL = (1 << 64) - 1


def order_of(score: float) -> bytes:
    """Give the 8 bytes by which a score is ordered."""
    # Adding 0.0 makes 0.0 of -0.0 and changes nothing else.
    bits: int = _bits(_double(score + 0.0))[0]
    return _unsigned(bits ^ _ALL if bits & _SIGN else bits | _SIGN)


def order_after(score: float) -> bytes:
    """Give the least 8 bytes that come behind those of a score."""
    return _unsigned(_bits(order_of(score))[0] + 1)


def score_at(name: bytes) -> float:
    """Give the score whose L{order_of} these bytes begin with; 0.0 for -0.0."""
    bits: int = _bits_at(name)[0]
    score: float = _as_double(_unsigned(bits ^ _SIGN if bits & _SIGN else bits ^ _ALL))[0]
    return score
