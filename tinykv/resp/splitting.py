"""
Cutting an encoded array into its encoded elements, without decoding them.
"""

from __future__ import annotations

from tinykv.errors import Damaged

_AGGREGATES = b"*~>"
_LONG = b"$=!"


def elements_of(reply: bytes) -> list[bytes]:
    """
    Give the encoded elements of an array that L{tinykv.resp.replies} made.

    @raise Damaged: It's no whole array.
    """
    count, at = _head(reply, 0)
    if reply[:1] != b"*":
        raise Damaged("a reply is no array")
    elements: list[bytes] = []
    for _ in range(count):
        end = _end(reply, at)
        elements.append(reply[at:end])
        at = end
    if at != len(reply):
        raise Damaged("bytes follow an array")
    return elements


def _head(reply: bytes, at: int) -> tuple[int, int]:
    """Read the number on the line that begins here, and where the next begins."""
    end = reply.find(b"\r\n", at)
    if end < 0:
        raise Damaged("a reply is cut off")
    try:
        return int(reply[at + 1 : end]), end + 2
    except ValueError:
        return 0, end + 2


def _end(reply: bytes, at: int) -> int:
    """Find where the element ends that begins here."""
    left = 1
    while left:
        left -= 1
        if at >= len(reply):
            raise Damaged("a reply is cut off")
        kind = reply[at]
        number, at = _head(reply, at)
        if kind in _AGGREGATES:
            left += max(number, 0)
        elif kind in b"%|":
            left += 2 * max(number, 0) + (kind == ord("|"))
        elif kind in _LONG and number >= 0:
            at += number + 2
    if at > len(reply):
        raise Damaged("a reply is cut off")
    return at
