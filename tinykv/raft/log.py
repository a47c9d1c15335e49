"""
One peer's log: a tail in memory, over what is on disk.

The tail holds what isn't durable or isn't applied yet, so neither replication at full speed nor apply reads the disk.
Four indexes divide the log: C{applied <= committed <= last} and C{applied <= stable <= last}; what may be applied ends
at the lesser of committed and stable (R6).

Writes to disk finish later, and many are on their way at once. Each write stands for an index that it makes durable.
When the tail is replaced, the writes under way are taken back to what remains, so that the end of a write that held
an older tail never counts for a newer one, not even if a third leader restores the older: on the disk the newer one
comes in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from tinykv.errors import Damaged
from tinykv.raft.messages import CHANGE, Entry, SnapshotMeta


class Compacted(Exception):
    """Entries were asked for that have been cut off the log."""


class Storage(Protocol):
    """What is durable of a log. It holds at least what was reported as persisted, and nothing behind a tail's end."""

    def last(self) -> tuple[int, int]:
        """Return index and term of the last entry, or of the log's base if there are no entries, or (0, 0)."""

    def term(self, index: int) -> int:
        """
        Return the term of an entry, or of the base.

        @raise Compacted: The index lies before the base.
        """

    def entries(self, low: int, high: int, max_bytes: int) -> Sequence[Entry]:
        """
        Return entries from low to before high: at least one, then as many as have C{max_bytes} of data together.

        @raise Compacted: low isn't behind the base.
        """

    def snapshot(self) -> SnapshotMeta | None:
        """Return what the newest snapshot that can be sent stands for; None if there is none at the moment."""


class RaftLog:
    """
    The log as one peer knows it.

    @ivar last: Index of the last entry, and C{last_term} its term.
    @ivar stable: Index up to which the log is durable.
    @ivar committed: Index up to which it is decided.
    @ivar applied: Index up to which the host has applied it.
    @ivar handed: Index up to which entries were handed out to be applied.
    @ivar held_up: Index of the last change that wasn't handed out at once, since it wasn't durable that it's committed.
    @ivar written: Index up to which entries were handed out to be written.
    @ivar snapshot: The snapshot that takes this log's place and isn't durable yet.
    @ivar copies_first: Whether a new member, which has no vote yet, begins with a snapshot, even if the log goes back
        to its beginning: what that did isn't to be done again where others go by it already.
    """

    __slots__ = (
        "_offset",
        "_offset_term",
        "_snapshot_written",
        "_storage",
        "_tail",
        "_writes",
        "applied",
        "committed",
        "copies_first",
        "handed",
        "held_up",
        "last",
        "last_term",
        "snapshot",
        "stable",
        "written",
    )

    def __init__(self, storage: Storage, applied: int, commit: int) -> None:
        """
        @param applied: Up to where the host has applied.
        @param commit: The commit index of the hard state.
        @raise Damaged: The log doesn't reach what was applied or committed.
        """
        self._storage = storage
        self.last, self.last_term = storage.last()
        if not applied <= self.last or not commit <= self.last:
            raise Damaged(f"the log ends at {self.last}, but {applied} is applied and {commit} committed")
        self.stable = self.written = self._offset = self.last
        self._offset_term = self.last_term
        self.applied = self.handed = applied
        self.committed = max(commit, applied)
        self.held_up = 0
        # In memory: the entries behind the offset. On disk: what lies up to it; what the disk has behind it is old.
        self._tail: list[Entry] = []
        self._writes: deque[list[int]] = deque()
        self.snapshot: SnapshotMeta | None = None
        self.copies_first = False
        self._snapshot_written = False

    def term(self, index: int) -> int:
        """
        Return the term of an entry that the log has, or of its base; 0 of index 0.

        @raise Compacted: It was cut off.
        """
        place = index - self._offset
        if place > 0:
            return self._tail[place - 1].term
        if place == 0:
            return self._offset_term
        if self.snapshot is not None:
            raise Compacted(index)
        return self._storage.term(index) if index else 0

    def matches(self, index: int, term: int) -> bool:
        """Tell whether the log has an entry of that index and term, or has cut it off as decided."""
        if index > self.last:
            return False
        try:
            return self.term(index) == term
        except Compacted:
            return True

    def is_up_to_date(self, index: int, term: int) -> bool:
        """Tell whether a log that ends there is at least as up to date as this one (the paper, section 5.4.1)."""
        return term > self.last_term or (term == self.last_term and index >= self.last)

    def entries(self, low: int, high: int, max_bytes: int) -> tuple[tuple[Entry, ...], int]:
        """
        Return entries from low to before high, and their size: at least one, then as many as fit.

        @raise Compacted: The first of them was cut off.
        """
        start = low - self._offset - 1
        if start < 0:
            if self.snapshot is not None:
                raise Compacted(low)
            return self._entries_across(low, high, max_bytes)
        end = high - self._offset - 1
        if end - start == 1:
            entry = self._tail[start]
            return (entry,), len(entry.data)
        size = 0
        for place in range(start, end):
            size += len(self._tail[place].data)
            if size > max_bytes and place > start:
                return tuple(self._tail[start:place]), size - len(self._tail[place].data)
        return tuple(self._tail[start:end]), size

    def _entries_across(self, low: int, high: int, max_bytes: int) -> tuple[tuple[Entry, ...], int]:
        """Return entries of which the first is on disk."""
        found = tuple(self._storage.entries(low, min(high, self._offset + 1), max_bytes))
        size = sum(len(entry.data) for entry in found)
        following = found[-1].index + 1
        if self._offset < following < high and size < max_bytes:
            more, more_size = self.entries(following, high, max_bytes - size)
            if size + more_size <= max_bytes:
                return found + more, size + more_size
        return found, size

    def last_not_beyond(self, index: int, term: int) -> tuple[int, int]:
        """
        Return index and term of the last entry up to an index whose term is no greater than a term.

        Whoever has another entry of the term at the index can't agree with this log behind that, so this skips whole
        terms in one question (the paper, section 5.3, at its end). The term is 0 if the entry was cut off.
        """
        low, high = 0, min(index, self.last)
        while low < high:  # terms never fall along a log
            middle = (low + high + 1) >> 1
            try:
                fits = self.term(middle) <= term
            except Compacted:
                fits = True
            if fits:
                low = middle
            else:
                high = middle - 1
        try:
            return low, self.term(low)
        except Compacted:
            return low, 0

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries behind the last."""
        self._tail += entries
        self.last, self.last_term = entries[-1][:2]

    def merge(self, index: int, term: int, entries: Sequence[Entry]) -> int | None:
        """
        Take a leader's entries: those that conflict with it go, those that are there already stay.

        @param index: The entry before the first, and C{term} its term.
        @return: The index up to which the log now agrees with the leader's, or None if it doesn't at C{index}.
        @raise Damaged: A committed entry would have to go. Then someone has lost what was promised.
        """
        if not self.matches(index, term):
            return None
        if entries:
            if index == self.last:
                self.append(entries)
                return self.last
            for place, entry in enumerate(entries):
                if not self.matches(entry.index, entry.term):
                    self._replace(entries[place:])
                    break
        return index + len(entries)

    def _replace(self, entries: Sequence[Entry]) -> None:
        """Put entries in the place of all from the first one's index on."""
        first = entries[0].index
        if first <= self.committed:
            raise Damaged(f"entry {first} is committed, and the leader has another of term {entries[0].term}")
        keep = first - 1
        if keep < self.last:
            if keep >= self._offset:
                del self._tail[keep - self._offset :]
            else:
                self._offset_term = self.term(keep)
                self._offset = keep
                self._tail.clear()
            self.stable = min(self.stable, keep)
            self.written = min(self.written, keep)
            for write in self._writes:
                write[1] = min(write[1], keep)
        self.append(entries)

    def commit_to(self, index: int) -> bool:
        """Learn that entries are decided; tell whether that's news."""
        if index <= self.committed:
            return False
        if index > self.last:
            raise Damaged(f"entry {index} is committed, and this log ends at {self.last}")
        self.committed = index
        return True

    def restore(self, snapshot: SnapshotMeta) -> None:
        """Replace the whole log by a snapshot, which is durable and applied when its write has finished."""
        self._tail.clear()
        for write in self._writes:
            write[1] = 0
        self.snapshot = snapshot
        self._snapshot_written = False
        self.last = self.committed = self.written = self._offset = snapshot.index
        self.last_term = self._offset_term = snapshot.term
        self.stable = self.handed

    def take_unwritten(self) -> tuple[SnapshotMeta | None, tuple[Entry, ...]]:
        """Hand out what is to be written now: a snapshot, then entries."""
        snapshot = None
        if self.snapshot is not None and not self._snapshot_written:
            snapshot = self.snapshot
            self._snapshot_written = True
        if self.written == self.last:
            return snapshot, ()
        entries = tuple(self._tail[self.written - self._offset :])
        self.written = self.last
        return snapshot, entries

    def begin_write(self, number: int) -> None:
        """Note that a write is on its way; numbers rise."""
        self._writes.append([number, self.written])

    @property
    def writing(self) -> bool:
        """Tell whether writes are on their way."""
        return bool(self._writes)

    def finish_write(self, number: int) -> None:
        """Learn that all writes up to a number are durable."""
        writes = self._writes
        stable = 0
        while writes and writes[0][0] <= number:
            stable = writes.popleft()[1]
        if stable > self.stable:
            self.stable = stable
            if self.snapshot is not None and stable >= self.snapshot.index:
                self.applied = max(self.applied, self.snapshot.index)
                self.handed = max(self.handed, self.applied)
                self.snapshot = None
            self._trim()

    def take_appliable(self, max_bytes: int, known: int) -> tuple[Entry, ...]:
        """
        Hand out the next entries that are both committed and durable here; of changes only those of which it's durable
        as well that they're committed.

        Who has applied a change vouches for it to those who don't know it, and mustn't forget it in a crash.

        @param known: Up to where it's durable here what is committed.
        """
        end = min(self.committed, self.stable)
        if self.handed >= end:
            return ()
        entries, _ = self.entries(self.handed + 1, end + 1, max_bytes)
        for place, entry in enumerate(entries):
            if entry.kind == CHANGE and entry.index > known:
                self.held_up = entry.index
                entries = entries[:place]
                break
        if entries:
            self.handed = entries[-1].index
        return entries

    def applied_to(self, index: int) -> None:
        """Learn up to where the host has applied; earlier news than was known is no news."""
        if index > self.applied:
            assert index <= self.handed, "only what was handed out can be applied"
            self.applied = index
            self._trim()

    def _trim(self) -> None:
        """Forget what is durable and applied."""
        count = min(self.stable, self.applied) - self._offset
        if count > 0:
            self._offset_term = self._tail[count - 1].term
            self._offset += count
            del self._tail[:count]

    def newest_snapshot(self) -> SnapshotMeta | None:
        """Return what the newest snapshot that can be sent stands for, or None."""
        return None if self.snapshot is not None else self._storage.snapshot()

    def uncommitted_bytes(self, low: int, high: int) -> int:
        """Return the size of entries of the tail, from low to before high."""
        offset = self._offset + 1
        return sum(len(entry.data) for entry in self._tail[max(0, low - offset) : max(0, high - offset)])
