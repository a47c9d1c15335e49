"""
What a store remembers of a replica that was taken from it and destroyed: its number, so that nothing that was meant for
it, or that it has promised, is ever taken for its successor's.
"""

from __future__ import annotations

from struct import Struct

from tinykv.errors import Damaged

_TOMBSTONE = Struct(">Q")


def tombstone_key(region: int) -> bytes:
    """Give the row key of a region's tombstone, in the family C{region}."""
    return b"tombstone" + region.to_bytes(8, "big")


def encode_tombstone(peer: int) -> bytes:
    """Give the row: the number of the last peer that was destroyed here, 8 bytes."""
    return _TOMBSTONE.pack(peer)


def decode_tombstone(row: bytes | None) -> int:
    """
    Read the row; 0 if there's none.

    @raise Damaged: It isn't one.
    """
    if row is None:
        return 0
    if len(row) != _TOMBSTONE.size:
        raise Damaged("a region's tombstone is damaged")
    peer: int = _TOMBSTONE.unpack(row)[0]
    return peer
