"""
What a store remembers of a replica that is no more: of one that was taken from it and destroyed its number, so that
nothing that was meant for it, or that it has promised, is ever taken for its successor's. Of one whose region was
merged into another that no peer of it ever comes again, and what the region was at last.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from tinykv.errors import Damaged
from tinykv.region.descriptor import Descriptor

_TOMBSTONE = Struct(">Q")
_MERGED = Struct(">QQ")

#: The range of all tombstones' row keys, in the family C{region}.
TOMBSTONES: Final = (b"tombstone", b"tombstonf")
#: Greater than any peer's number: there's none that comes after it.
NO_PEER: Final = (1 << 64) - 1


def tombstone_key(region: int) -> bytes:
    """Give the row key of a region's tombstone, in the family C{region}."""
    return TOMBSTONES[0] + region.to_bytes(8, "big")


def encode_tombstone(peer: int) -> bytes:
    """Give the row: the number of the last peer that was destroyed here, 8 bytes."""
    return _TOMBSTONE.pack(peer)


def encode_merged(into: int, last: Descriptor) -> bytes:
    """
    Give the row of a region that was merged: L{NO_PEER}, the region that took it in, and its descriptor.

    @param last: What it was when it was taken in.
    """
    return _MERGED.pack(NO_PEER, into) + last.encode()


def decode_tombstone(row: bytes | None) -> int:
    """
    Read the row: which peers are no more, up to a number; 0 if there's none, L{NO_PEER} of a region that was merged.

    @raise Damaged: It isn't one.
    """
    if row is None:
        return 0
    if len(row) < _TOMBSTONE.size:
        raise Damaged("a region's tombstone is damaged")
    peer: int = _TOMBSTONE.unpack_from(row)[0]
    if (len(row) > _TOMBSTONE.size) != (peer == NO_PEER):
        raise Damaged("a region's tombstone is damaged")
    return peer


def decode_merged(region: int, row: bytes | None) -> tuple[int, Descriptor] | None:
    """
    Read into which region a region was merged, and what it was at last; None if it wasn't, as far as the row says.

    @raise Damaged: It's no tombstone.
    """
    if decode_tombstone(row) != NO_PEER or row is None:
        return None
    if len(row) < _MERGED.size:
        raise Damaged("a region's tombstone is damaged")
    return _MERGED.unpack_from(row)[1], Descriptor.decode(region, row[_MERGED.size :])
