"""Writers of the blobs that servers before Redis 7.0 put in their payloads, and of payloads from parts."""

from __future__ import annotations

from collections.abc import Sequence

from tinykv.redis.crc64 import crc64


def sealed(body: bytes, version: int = 9) -> bytes:
    """Return type and body with a right footer."""
    covered = body + version.to_bytes(2, "little")
    return covered + crc64(covered).to_bytes(8, "little")


def plain(text: bytes) -> bytes:
    """Return a string with a 32-bit length, neither packed nor taken for a number."""
    return b"\x80" + len(text).to_bytes(4, "big") + text


def ziplist_item(item: bytes | int) -> bytes:
    """Return encoding and data of a ziplist's element, an integer in its narrowest form."""
    if isinstance(item, int):
        if 0 <= item <= 12:
            return bytes((0xF1 + item,))
        for first, width in ((0xFE, 1), (0xC0, 2), (0xF0, 3), (0xD0, 4), (0xE0, 8)):
            if -(1 << (8 * width - 1)) <= item < 1 << (8 * width - 1):
                return bytes((first,)) + item.to_bytes(width, "little", signed=True)
        raise ValueError(item)
    size = len(item)
    if size < 64:
        return bytes((size,)) + item
    if size < 16384:
        return bytes((0x40 | size >> 8, size & 0xFF)) + item
    return b"\x80" + size.to_bytes(4, "big") + item


def ziplist(items: Sequence[bytes | int]) -> bytes:
    """Return a ziplist."""
    body, tail, previous = b"", 10, 0
    for item in items:
        tail = 10 + len(body)
        before = bytes((previous,)) if previous < 254 else b"\xfe" + previous.to_bytes(4, "little")
        entry = before + ziplist_item(item)
        previous = len(entry)
        body += entry
    total = 10 + len(body) + 1
    count = min(len(items), 0xFFFF)
    return (
        total.to_bytes(4, "little")
        + tail.to_bytes(4, "little")
        + count.to_bytes(2, "little")
        + body
        + b"\xff"
    )


def zipmap(items: Sequence[bytes], unused: int = 0) -> bytes:
    """Return the zipmap of fields and values in turn, with C{unused} bytes behind each value."""
    body = b""
    for place, item in enumerate(items):
        size = len(item)
        body += bytes((size,)) if size < 254 else b"\xfe" + size.to_bytes(4, "little")
        body += bytes((unused,)) + item + b"?" * unused if place % 2 else item
    return bytes((min(len(items) // 2, 254),)) + body + b"\xff"
