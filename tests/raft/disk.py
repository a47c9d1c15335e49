"""A log and hard state on a simulated disk: writes are done in order, some time after they began."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from tinykv.raft.group import Ready
from tinykv.raft.log import Compacted
from tinykv.raft.membership import Membership
from tinykv.raft.messages import Entry, HardState, Message, SnapshotMeta


class Disk:
    """
    What one peer has on disk, as L{tinykv.raft.log.Storage}, and the writes that are on their way there.

    @ivar base: (index, term) of the entry before the first.
    @ivar log: The entries.
    @ivar applied: Up to where the host had applied, durably, with C{membership} as of then.
    @ivar pending: Writes that have begun.
    """

    def __init__(self, membership: Membership) -> None:
        self.base = (0, 0)
        self.log: list[Entry] = []
        self.hard_state = HardState(0, 0, 0)
        self.membership = membership
        self.applied = 0
        self.pending: deque[Ready] = deque()
        self.offered: SnapshotMeta | None = None

    def begin(self, ready: Ready) -> None:
        """Begin a write."""
        self.pending.append(ready)

    def finish(self) -> tuple[int, list[Message]]:
        """Do the oldest write; return its number and the messages that waited for it."""
        ready = self.pending.popleft()
        if ready.hard_state is not None:
            self.hard_state = ready.hard_state
        if ready.snapshot is not None:
            self.base = (ready.snapshot.index, ready.snapshot.term)
            self.log = []
            self.membership = ready.snapshot.membership
            self.applied = ready.snapshot.index
        if ready.entries:
            keep = ready.entries[0].index - self.base[0] - 1
            assert 0 <= keep <= len(self.log), "a log without holes"
            self.log[keep:] = ready.entries
        return ready.number, ready.promises

    def crash(self) -> None:
        """Lose all writes that aren't done."""
        self.pending.clear()

    def apply(self, index: int, membership: Membership) -> None:
        """Keep up to where the host has applied, and the membership as of then."""
        self.applied, self.membership = index, membership

    def compact(self, index: int) -> None:
        """Cut the log, an entry that is applied included, and offer a snapshot in its place."""
        assert index <= self.applied
        self.offered = SnapshotMeta(self.applied, self.term(self.applied), self.membership)
        if index > self.base[0]:
            term = self.term(index)
            del self.log[: index - self.base[0]]
            self.base = (index, term)

    def last(self) -> tuple[int, int]:
        """See L{tinykv.raft.log.Storage}."""
        return (self.log[-1].index, self.log[-1].term) if self.log else self.base

    def term(self, index: int) -> int:
        """See L{tinykv.raft.log.Storage}."""
        if index < self.base[0]:
            raise Compacted(index)
        return self.base[1] if index == self.base[0] else self.log[index - self.base[0] - 1].term

    def entries(self, low: int, high: int, max_bytes: int) -> Sequence[Entry]:
        """See L{tinykv.raft.log.Storage}."""
        if low <= self.base[0]:
            raise Compacted(low)
        found: list[Entry] = []
        size = 0
        for entry in self.log[low - self.base[0] - 1 : high - self.base[0] - 1]:
            size += len(entry.data)
            if found and size > max_bytes:
                break
            found.append(entry)
        return found

    def snapshot(self) -> SnapshotMeta | None:
        """See L{tinykv.raft.log.Storage}."""
        return self.offered
