"""
What a snapshot of a region holds, beside the rows in its range of keys.

A region's rows in the family C{region} go with it: its descriptor, the order of the databases, the settings, the
clients that wait. Two kinds don't. The apply state has a place of its own in a snapshot, for it's written last when one
is installed; and the mark of an installation says something about the store, not about the region.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from tinykv.errors import Damaged
from tinykv.keys import after, region_row
from tinykv.region.descriptor import descriptor_key

#: The range of all keys of all families.
EVERYTHING = (b"", b"\xff")

_INSTALLING = b"installing"
_MARK = Struct(">QQ")

#: All marks of installations, in the family C{region}.
MARKS = (_INSTALLING, b"installinh")


def own_ranges(region: int) -> list[tuple[bytes, bytes]]:
    """Give the ranges of the family C{region} that belong to a region, without its apply state."""
    described = descriptor_key(region)
    return [(described, after(described)), (region_row(region), region_row(region + 1))]


def key_range(start: bytes, end: bytes) -> tuple[bytes, bytes]:
    """Give a region's range of row keys, whose end is empty where nothing is behind it, with an end in any case."""
    return start, end or EVERYTHING[1]


def install_key(region: int) -> bytes:
    """Give the key of the row that says that a region is half installed; it's in the family C{region}."""
    return _INSTALLING + region.to_bytes(8, "big")


def marked_region(key: bytes) -> int:
    """
    Read the region from such a key.

    @raise Damaged: It isn't one.
    """
    if len(key) != len(_INSTALLING) + 8:
        raise Damaged(f"the row {key!r} of the family region is no mark of an installation")
    return int.from_bytes(key[len(_INSTALLING) :], "big")


@dataclass(frozen=True, slots=True)
class InstallMark:
    """
    What is being installed, for the case that it has to be done again.

    @ivar index: Index of the last entry that the snapshot contains.
    @ivar term: Its term.
    @ivar name: The snapshot's file, as seen from the data folder.
    """

    index: int
    term: int
    name: str

    def encode(self) -> bytes:
        """Give the row: two numbers of 8 bytes, then the name in UTF-8."""
        return _MARK.pack(self.index, self.term) + self.name.encode()

    @classmethod
    def decode(cls, row: bytes) -> InstallMark:
        """
        Read the row.

        @raise Damaged: It isn't one.
        """
        if len(row) <= _MARK.size:
            raise Damaged("the mark of an installation is cut off")
        try:
            index, term = _MARK.unpack_from(row)
            return cls(index, term, row[_MARK.size :].decode())
        except UnicodeDecodeError as problem:
            raise Damaged("the mark of an installation has a name that isn't text") from problem
