"""
A durable log of which only the end is known: enough for a group that has no one to send entries to.
"""

from __future__ import annotations

from tinykv.raft.log import Compacted
from tinykv.raft.messages import Entry, SnapshotMeta


class EndedLog:
    """Everything up to its end has been cut off."""

    def __init__(self, index: int = 0, term: int = 0) -> None:
        """
        @param index: Its last entry, of this term.
        """
        self._end = (index, term)

    def last(self) -> tuple[int, int]:
        """Give the end."""
        return self._end

    def term(self, index: int) -> int:
        """Know the end's only."""
        if index != self._end[0]:
            raise Compacted(index)
        return self._end[1]

    def entries(self, low: int, high: int, max_bytes: int) -> list[Entry]:
        """Have none."""
        raise Compacted(low)

    def snapshot(self) -> SnapshotMeta | None:
        """Have none."""
        return None
