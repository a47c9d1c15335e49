"""
Where the log is cut: behind what is in data.db, and not before what somebody still needs of it, within limits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tinykv.interfaces import ILogWriter
from tinykv.raft.group import Group
from tinykv.raft.log import Compacted
from tinykv.region.state import ApplyState
from tinykv.storage.writers import LogBatch

#: Entries that a follower keeps behind what is in its data.db, for a follower that it may have to lead.
KEPT_ENTRIES = 10_000


class LogCut:
    """
    Cuts a region's log.

    @ivar marks: At each flush behind which the log wasn't cut yet: the index, and how many bytes of entries had been
        applied.
    @ivar bytes_max: About how many bytes of entries are kept at most behind what is in data.db, for slow followers.
    """

    def __init__(
        self,
        *,
        region: int,
        group: Group,
        log_writer: ILogWriter,
        entries_max: int,
        bytes_max: int,
        needed: Callable[[], int | None],
    ) -> None:
        """
        @param entries_max: How many entries are kept at most behind what is in data.db, for slow followers.
        @param bytes_max: And about how many bytes.
        @param needed: Gives the index behind which the log mustn't be cut, since a snapshot as of it is on its way.
        """
        self.marks: deque[tuple[int, int]] = deque()
        self._region = region
        self._group = group
        self._log_writer = log_writer
        self._entries_max = entries_max
        self.bytes_max = bytes_max
        self._needed = needed
        #: Up to where the last cut goes, which may be yet to be done.
        self._cut = 0

    def mark(self, index: int, applied_bytes: int) -> None:
        """Note how many bytes of entries lie before a flush as of an index."""
        self.marks.append((index, applied_bytes))

    def _bytes_begin(self, applied_bytes: int) -> int:
        """Name the last index at a flush before which entries lie that are too many bytes to be kept."""
        marks = self.marks
        begin = 0
        while marks and applied_bytes - marks[0][1] > self.bytes_max:
            begin = marks.popleft()[0]
        return begin

    def cut(self, state: ApplyState, applied_bytes: int) -> None:
        """
        Cut the log behind what is in data.db; what a slow follower still needs stays, within the limit.

        A follower keeps as much as a leader would for others: it may be asked to lead next.
        """
        group = self._group
        index = state.index
        others = [progress.match for peer, progress in group.progress().items() if peer != group.peer]
        if group.membership.voters != (group.peer,):
            behind = min(others) if group.leads else index - KEPT_ENTRIES
            index = min(index, max(behind, index - self._entries_max, self._bytes_begin(applied_bytes)))
        needed = self._needed()
        if needed is not None:
            index = min(index, needed)
        while self.marks and self.marks[0][0] <= index:
            self.marks.popleft()
        if index <= self._cut:
            # As when somebody else leads than before. A log can't begin with what was cut off.
            return
        term = state.term
        if index != state.index:
            try:
                term = group.term_of(index)
            except Compacted:
                return
        self._cut = index
        batch = LogBatch()
        batch.cut(self._region, index, term)
        self._log_writer.write(batch, lambda: None)
