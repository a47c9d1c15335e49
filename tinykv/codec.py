"""
Bytes on disk for lists of byte strings and small numbers: what rows and log entries are made of.

A I{pack} is C{count(u32 LE)}, then that many lengths (u32 LE), then the byte strings one after another. Lengths come
first so that both directions run in C: one C{array} and one C{join} to write it, slices to read it.
"""

from __future__ import annotations

import sys
from array import array
from itertools import accumulate

from tinykv.errors import Damaged

_SWAP = sys.byteorder == "big"
assert array("I").itemsize == 4


def pack_strings(items: list[bytes]) -> bytes:
    """Encode byte strings as a pack."""
    lengths = array("I", [len(items)])
    lengths.extend(map(len, items))
    if _SWAP:
        lengths.byteswap()
    return lengths.tobytes() + b"".join(items)


def unpack_strings(data: bytes, offset: int = 0) -> tuple[list[bytes], int]:
    """
    Decode a pack that begins at an offset.

    @return: (the byte strings, the offset behind them).
    @raise Damaged: The bytes aren't a whole pack.
    """
    if len(data) - offset < 4:
        raise Damaged("a pack is cut off in its count")
    count = int.from_bytes(data[offset : offset + 4], "little")
    start = offset + 4
    body = start + 4 * count
    if body > len(data):
        raise Damaged("a pack is cut off in its lengths")
    lengths = array("I")
    lengths.frombytes(data[start:body])
    if _SWAP:
        lengths.byteswap()
    ends = list(accumulate(lengths, initial=body))
    if ends[-1] > len(data):
        raise Damaged("a pack is cut off in its strings")
    return [data[a:b] for a, b in zip(ends, ends[1:], strict=False)], ends[-1]
