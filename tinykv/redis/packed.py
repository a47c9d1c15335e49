"""The packed blobs inside RDB values: listpacks, ziplists, intsets and zipmaps.

Each reader takes a whole blob and returns its elements as byte strings (integers in decimal), or raises
`BadPayload`; it checks every length and every count that the blob claims, so that a blob that passes was
written by a sane program. Multi-byte numbers are little-endian unless said otherwise.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from tinykv.redis.numbers import parse_int64


class BadPayload(ValueError):
    """A payload of RESTORE that is damaged, inconsistent, or of a type that is not kept here."""


_END = 0xFF
_UNKNOWN_COUNT = 0xFFFF
_LISTPACK_HEADER = struct.Struct("<IH")
_ZIPLIST_HEADER = struct.Struct("<IIH")
_INTSET_HEADER = struct.Struct("<II")
_LONGEST_BACK = 5
# First byte -> width of the integer that follows it.
_LISTPACK_INTEGERS = {0xF1: 2, 0xF2: 3, 0xF3: 4, 0xF4: 8}
_ZIPLIST_INTEGERS = {0xFE: 1, 0xC0: 2, 0xF0: 3, 0xD0: 4, 0xE0: 8}
_INTSET_FORMATS = {2: "h", 4: "i", 8: "q"}


def read_listpack(blob: bytes) -> list[bytes]:
    """Return the elements of a listpack.

    Layout: total bytes (4), count (2; 0xFFFF: unknown), elements, 0xFF. An element is its encoding and data,
    then the length of both for reading backwards.
    """
    size = len(blob)
    if size < _LISTPACK_HEADER.size + 1:
        raise BadPayload("a listpack is cut short")
    total, count = _LISTPACK_HEADER.unpack_from(blob)
    if total != size or blob[-1] != _END:
        raise BadPayload("a listpack has a wrong length")
    out: list[bytes] = []
    at, end = _LISTPACK_HEADER.size, size - 1
    while at < end:
        item, length = _listpack_item(blob, at)
        behind = at + length
        back = _back_length(length)
        at = behind + len(back)
        if at > end or blob[behind:at] != back:
            raise BadPayload("a listpack element has a wrong length")
        out.append(item)
    if count not in (_UNKNOWN_COUNT, len(out)):
        raise BadPayload("a listpack has a wrong count")
    return out


def _listpack_item(blob: bytes, at: int) -> tuple[bytes, int]:
    """Return the element at ``at`` and the length of its encoding and data (unchecked against the end)."""
    first = blob[at]
    if first < 0x80:
        return b"%d" % first, 1
    if first < 0xC0:
        length = 1 + (first & 0x3F)
        return blob[at + 1 : at + length], length
    if first < 0xE0:
        value = (first & 0x1F) << 8 | blob[at + 1]
        return b"%d" % (value - 8192 if value >= 4096 else value), 2
    if first < 0xF0:
        length = 2 + ((first & 0x0F) << 8 | blob[at + 1])
        return blob[at + 2 : at + length], length
    if first == 0xF0:
        length = 5 + int.from_bytes(blob[at + 1 : at + 5], "little")
        return blob[at + 5 : at + length], length
    width = _LISTPACK_INTEGERS.get(first)
    if width is None:
        raise BadPayload("a listpack element has an unknown encoding")
    return b"%d" % int.from_bytes(blob[at + 1 : at + 1 + width], "little", signed=True), 1 + width


def _back_length(length: int) -> bytes:
    """Return ``length`` as it stands behind an element: 7 bits a byte, highest first, all but the first
    marked.
    """
    if length <= 127:
        return bytes((length,))
    # As Redis has it, the largest number of two and of three bytes already takes one more.
    size = 2 if length < 16383 else 3 if length < 2097151 else 4 if length < 268435455 else _LONGEST_BACK
    groups = [(length >> (7 * place)) & 0x7F for place in range(size - 1, -1, -1)]
    return bytes(groups[:1] + [group | 0x80 for group in groups[1:]])


def write_listpack(items: Iterable[bytes]) -> bytes:
    """Return the listpack of ``items``, each in its shortest encoding, as Redis writes it."""
    parts = [listpack_item(item) for item in items]
    body = b"".join(parts)
    total = _LISTPACK_HEADER.size + len(body) + 1
    return _LISTPACK_HEADER.pack(total, min(len(parts), _UNKNOWN_COUNT)) + body + b"\xff"


def listpack_size(items: bytes | bytearray) -> int:
    """Return the size of the listpack around the encoded ``items``."""
    return _LISTPACK_HEADER.size + len(items) + 1


def listpack_item(item: bytes) -> bytes:
    """Return one element of a listpack, with the length behind it."""
    value = parse_int64(item) if len(item) <= 20 else None
    if value is not None:
        data = _listpack_integer(value)
    elif len(item) < 64:
        data = bytes((0x80 | len(item),)) + item
    elif len(item) < 4096:
        data = bytes((0xE0 | len(item) >> 8, len(item) & 0xFF)) + item
    else:
        data = b"\xf0" + len(item).to_bytes(4, "little") + item
    return data + _back_length(len(data))


def _listpack_integer(value: int) -> bytes:
    """Return the shortest encoding of an integer in a listpack."""
    if 0 <= value <= 127:
        return bytes((value,))
    if -4096 <= value <= 4095:
        return bytes((0xC0 | (value & 0x1FFF) >> 8, value & 0xFF))
    for first, width in _LISTPACK_INTEGERS.items():
        if width == 8 or -(1 << (8 * width - 1)) <= value < 1 << (8 * width - 1):
            return bytes((first,)) + value.to_bytes(width, "little", signed=True)
    raise AssertionError("the last width takes every 64-bit integer")


def read_ziplist(blob: bytes) -> list[bytes]:
    """Return the elements of a ziplist, the listpack of Redis before 7.0.

    Layout: total bytes (4), place of the last element (4), count (2; 0xFFFF: unknown), elements, 0xFF. An
    element is the length of the one before it (1 byte, or 0xFE and 4), its encoding, its data.
    """
    size = len(blob)
    if size < _ZIPLIST_HEADER.size + 1:
        raise BadPayload("a ziplist is cut short")
    total, tail, count = _ZIPLIST_HEADER.unpack_from(blob)
    if total != size or blob[-1] != _END:
        raise BadPayload("a ziplist has a wrong length")
    out: list[bytes] = []
    at, end = _ZIPLIST_HEADER.size, size - 1
    last, previous = at, 0
    while at < end:
        start = at
        claimed = blob[at]
        at += 1
        if claimed == 0xFE:
            claimed = int.from_bytes(blob[at : at + 4], "little")
            at += 4
        if claimed != previous or at >= end:
            raise BadPayload("a ziplist element has a wrong length before it")
        item, length = _ziplist_item(blob, at)
        at += length
        if at > end:
            raise BadPayload("a ziplist element is cut short")
        out.append(item)
        last, previous = start, at - start
    if tail != last:
        raise BadPayload("a ziplist has a wrong tail")
    if count not in (_UNKNOWN_COUNT, len(out)):
        raise BadPayload("a ziplist has a wrong count")
    return out


def _ziplist_item(blob: bytes, at: int) -> tuple[bytes, int]:
    """Return the element whose encoding is at ``at``, and the length of it and its data (unchecked)."""
    first = blob[at]
    if first < 0x40:
        length = 1 + first
        return blob[at + 1 : at + length], length
    if first < 0x80:
        length = 2 + ((first & 0x3F) << 8 | blob[at + 1])
        return blob[at + 2 : at + length], length
    if first < 0xC0:
        length = 5 + int.from_bytes(blob[at + 1 : at + 5], "big")
        return blob[at + 5 : at + length], length
    if 0xF1 <= first <= 0xFD:
        return b"%d" % (first - 0xF1), 1
    width = _ZIPLIST_INTEGERS.get(first)
    if width is None:
        raise BadPayload("a ziplist element has an unknown encoding")
    return b"%d" % int.from_bytes(blob[at + 1 : at + 1 + width], "little", signed=True), 1 + width


def read_intset(blob: bytes) -> list[bytes]:
    """Return the elements of an intset: width (4), count (4), integers of that width in ascending order."""
    if len(blob) < _INTSET_HEADER.size:
        raise BadPayload("an intset is cut short")
    width, count = _INTSET_HEADER.unpack_from(blob)
    form = _INTSET_FORMATS.get(width)
    if form is None or len(blob) != _INTSET_HEADER.size + width * count:
        raise BadPayload("an intset has a wrong length")
    values = struct.unpack_from(f"<{count}{form}", blob, _INTSET_HEADER.size)
    if any(left >= right for left, right in zip(values, values[1:], strict=False)):
        raise BadPayload("an intset is out of order")
    return [b"%d" % value for value in values]


def write_intset(values: Sequence[int]) -> bytes:
    """Return the intset of 64-bit integers, in the narrowest width that holds them all."""
    ordered = sorted(values)
    width = 8
    for narrower in (4, 2):
        bound = 1 << (8 * narrower - 1)
        if all(-bound <= value < bound for value in (ordered[0], ordered[-1])):
            width = narrower
    form = f"<{len(ordered)}{_INTSET_FORMATS[width]}"
    return _INTSET_HEADER.pack(width, len(ordered)) + struct.pack(form, *ordered)


def read_zipmap(blob: bytes) -> list[bytes]:
    """Return fields and values, in turn, of a zipmap, the small hash of Redis before 2.6.

    Layout: count of pairs (1; 254 and more: unknown), pairs, 0xFF. A pair is field length, field, value
    length, unused bytes (1), value, that many unused. A length is 1 byte, or 0xFE and 4.
    """
    if len(blob) < 2 or blob[-1] != _END:
        raise BadPayload("a zipmap is cut short")
    out: list[bytes] = []
    at, end = 1, len(blob) - 1
    while at < end:
        is_value = len(out) % 2
        length = blob[at]
        at += 1
        if length == 0xFE:
            length = int.from_bytes(blob[at : at + 4], "little")
            at += 4
        elif length == _END:
            raise BadPayload("a zipmap ends early")
        unused = 0
        if is_value:
            unused = blob[at]
            at += 1
        out.append(blob[at : at + length])
        at += length + unused
        if at > end:
            raise BadPayload("a zipmap element is cut short")
    if len(out) % 2 or (blob[0] < 0xFE and blob[0] != len(out) // 2):
        raise BadPayload("a zipmap has a wrong count")
    return out
