"""LZF, the compression of strings in RDB payloads.

A stream of pieces: a control byte below 32 is followed by that many literal bytes and one more; any other
holds in its top three bits a length (7: one more byte is added) and in the rest, with the next byte, how
far back the copy starts. A copy may overlap what it writes.
"""

from __future__ import annotations

_LONGEST_LITERAL = 32
_LONGEST_COPY = 264
_FARTHEST = 1 << 13


class LzfError(ValueError):
    """The compressed text is damaged, or does not unpack to the length that was promised."""


def decompress(packed: bytes, length: int) -> bytes:
    """Return the ``length`` bytes that ``packed`` stands for, or raise `LzfError`."""
    out = bytearray()
    at, end = 0, len(packed)
    try:
        while at < end:
            control = packed[at]
            at += 1
            if control < 32:
                stop = at + control + 1
                if stop > end:
                    raise LzfError("a literal run is cut short")
                out += packed[at:stop]
                at = stop
            else:
                count = control >> 5
                if count == 7:
                    count += packed[at]
                    at += 1
                start = len(out) - ((control & 31) << 8) - packed[at] - 1
                at += 1
                if start < 0:
                    raise LzfError("a copy starts before the text")
                _copy(out, start, count + 2)
            if len(out) > length:
                raise LzfError("the text is longer than promised")
    except IndexError:
        raise LzfError("a copy is cut short") from None
    if len(out) != length:
        raise LzfError("the text is shorter than promised")
    return bytes(out)


def _copy(out: bytearray, start: int, count: int) -> None:
    """Append ``count`` bytes of ``out`` from ``start`` on, of which the later may be among the appended."""
    piece = out[start : start + count]
    if len(piece) < count:
        piece = (piece * (count // len(piece) + 1))[:count]
    out += piece


def compress(text: bytes, limit: int) -> bytes | None:
    """Return ``text`` packed into at most ``limit`` bytes, or None where that is not possible.

    Copies are found through the last place of each triple of bytes, as the C library does, whose output this
    equals on short texts (its table of triples loses some of them on long ones).
    """
    end = len(text)
    out = bytearray()
    last_seen: dict[bytes, int] = {}
    at = literal_start = 0
    while at < end - 2:
        triple = text[at : at + 3]
        found = last_seen.get(triple, 0)
        last_seen[triple] = at
        # Place 0 is never copied from: the library cannot tell it from an empty slot.
        if not found or at - found > _FARTHEST:
            at += 1
            continue
        _put_literals(out, text, literal_start, at)
        count = _common_length(text, found, at, _most(end - at))
        _put_copy(out, at - found - 1, count - 2)
        at += count
        literal_start = at
        if at < end - 2:
            last_seen[text[at - 2 : at + 1]] = at - 2
            last_seen[text[at - 1 : at + 2]] = at - 1
    if not end or len(out) + _literals_size(at - literal_start) + 3 > limit:
        return None
    _put_literals(out, text, literal_start, end)
    return bytes(out)


def _most(left: int) -> int:
    """Return how long a copy may be where ``left`` bytes are left.

    Two less, but the library looks at 3 bytes, or if there are enough at 19, before it asks for the end.
    """
    most = min(_LONGEST_COPY, left - 2)
    return max(most, 19 if most > 16 else 3)


def _common_length(text: bytes, left: int, right: int, most: int) -> int:
    """Return how many bytes from ``left`` equal those from ``right``: at least 3 are known to, ``most``
    count.
    """
    count = 3
    while count < most and text[left + count] == text[right + count]:
        count += 1
    return count


def _literals_size(count: int) -> int:
    """Return the room that ``count`` literals take with the control byte of a run that is still open."""
    return count + count // _LONGEST_LITERAL + 1


def _put_literals(out: bytearray, text: bytes, start: int, stop: int) -> None:
    """Append the literal runs for ``text[start:stop]``."""
    while start < stop:
        piece = text[start : min(start + _LONGEST_LITERAL, stop)]
        out.append(len(piece) - 1)
        out += piece
        start += len(piece)


def _put_copy(out: bytearray, distance: int, count: int) -> None:
    """Append a copy from ``distance`` + 1 bytes back of ``count`` + 2 bytes."""
    if count < 7:
        out.append((count << 5) + (distance >> 8))
    else:
        out.append((7 << 5) + (distance >> 8))
        out.append(count - 7)
    out.append(distance & 0xFF)
