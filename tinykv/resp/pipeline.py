"""hiredis as the parser of pipelines, behind a guard.

hiredis is made for replies. It takes whatever a server may send (nulls, numbers, status lines, nested arrays, the
types of RESP3), allocates an array as long as its header claims, and doesn't say where in its buffer it stands. So
it only gets chunks in which none of that can happen, or happens and is seen:

1. Before: no byte that marks an aggregate other than an array, or an element that comes back as bytes without
   being a bulk string. And no array header of more than `MOST_ARGUMENTS`, nor one without an argument behind it. The
   bytes are looked for everywhere, since only a parser knows what is a value; a value that holds one costs the quick
   way, nothing more.
2. After: each reply is an array of bytes, thus of bulk strings, whose headers hiredis takes in their one canonical
   form only, as `RequestReader` does. A null fed behind the chunk must come back as such: only then was nothing
   inside of an unfinished request.

What is refused, here or there, is read by others from its first byte. Nothing is kept between two chunks.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import Final

from hiredis import HiredisError, Reader

MOST_BYTES: Final = 64 * 1024
"""The longest chunk that is tried: what one read of a socket brings."""

MOST_ARGUMENTS: Final = 99
"""The most arguments of a request that is tried. An array takes 8 bytes for each that its header claims."""

LEAST_BYTES: Final = 1024
"""A shorter chunk is read as quickly without a parser, whose creation takes as long as three requests."""

LEAST_REQUESTS: Final = 8
"""So many requests as long as its first one a chunk must have room for."""

_MARKS: Final = tuple(bytes([mark]) for mark in b"%~>|+=(")
"""Of a map, a set, a push, an attribute; of a status, a verbatim string, a big number."""

_NULL: Final = b"_\r\n"

_next_array = re.compile(rb"\r\n\*[1-9]").match
_bad_array = re.compile(rb"\*(?:[0-9]{%d}|[0-9]+\r\n[^$])" % len(str(MOST_ARGUMENTS + 1))).search
_flat = chain.from_iterable


def read_pipeline(data: bytes) -> tuple[list[list[bytes]], int] | None:
    """The requests of a chunk and where the last one ends, or None if that takes another reader.

    `data` begins with a request, and is worth the call from `LEAST_BYTES` on. Only what is behind the last line end
    that looks like the end of a request may be unfinished.
    """
    size = len(data)
    second = data.find(b"*", 1, size // LEAST_REQUESTS + 1)
    if second < 0 or size > MOST_BYTES or not _next_array(data, second - 2) or not is_safe(data):
        return None
    end = size if data.endswith(b"\r\n") else data.rfind(b"\r\n*") + 2
    # The empty list ends the loop: hiredis has no more, or has read an empty array and not looked any further.
    nothing: list[bytes] = []
    parser = Reader(notEnoughData=nothing)
    parser.feed(data, 0, end)
    try:
        requests: list[list[bytes]] = list(iter(parser.gets, nothing))
        # A null or an empty string isn't iterable, or isn't seen by iterating, but is false.
        if not all(requests) or set(map(type, _flat(requests))) != {bytes} or parser.has_data():
            return None
        parser.feed(_NULL)
        return (requests, end) if parser.gets() is None else None
    except (HiredisError, TypeError):
        # No protocol that hiredis knows; or a reply that is a number or an error and can't be iterated.
        return None


def is_safe(data: bytes) -> bool:
    """Whether hiredis can be given these bytes: whatever they are, it allocates little and returns no false bytes."""
    for mark in _MARKS:
        if mark in data:
            return False
    return _bad_array(data) is None
