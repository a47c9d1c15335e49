"""
A replica's apply state: how far the log is contained in the rows.

It's a row like any other and goes to disk in the same transaction as the rows it speaks of (R4 of the design), so
that a restart knows exactly which entries are still to be replayed.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from tinykv.errors import Damaged

_STATE = Struct(">QQQQ")

#: The entry up to which a region is applied that was cut off another, and its term, as if it had been: nobody who lacks
#: what it began with has a log that goes so far, so who does gets a snapshot.
FIRST_INDEX: Final = 5
FIRST_TERM: Final = 5


def apply_key(region: int) -> bytes:
    """Give the row key of a region's apply state, in the family C{region}."""
    return b"apply" + region.to_bytes(8, "big")


@dataclass(frozen=True, slots=True)
class ApplyState:
    """
    What the rows contain.

    @ivar index: Index of the last entry applied.
    @ivar term: Its term.
    @ivar time: Region time, in ms since 1970: the greatest entry time applied.
    @ivar sequence: The region's sequence.
    """

    index: int = 0
    term: int = 0
    time: int = 0
    sequence: int = 0

    def encode(self) -> bytes:
        """Give the row: four numbers of 8 bytes, index and term first."""
        return _STATE.pack(self.index, self.term, self.time, self.sequence)

    @classmethod
    def decode(cls, row: bytes) -> ApplyState:
        """
        Read the row.

        @raise Damaged: It isn't one.
        """
        if len(row) != _STATE.size:
            raise Damaged("the apply state is damaged")
        return cls(*_STATE.unpack(row))
