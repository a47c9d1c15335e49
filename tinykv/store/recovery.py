"""
What a start makes of a region: its rows, and over them as much of the log as is known to be decided.

A peer that is the only voter has decided whatever it has written down, so all of its log counts. Any other peer goes
as far as it knew the log to be committed (R5 of the design), which may be less than it once applied in memory: the
leader tells it the rest again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Protocol

from tinykv.errors import Damaged
from tinykv.keys import region_row
from tinykv.raft.messages import CHANGE, HardState
from tinykv.raft.stored import entry_of
from tinykv.raft.wire import decode_change
from tinykv.redis.execution import Execution
from tinykv.redis.keyspace import Rows
from tinykv.redis.operations import decode_records
from tinykv.region.descriptor import Descriptor, descriptor_key
from tinykv.region.entry import HEADER_BYTES, decode_header
from tinykv.region.state import ApplyState
from tinykv.region.tombstone import decode_tombstone, tombstone_key
from tinykv.storage.folder import Recovery
from tinykv.storage.log import Entry
from tinykv.storage.log import HardState as StoredState

#: Ranges of the rows that commands kept of a region when a store had one, and their names didn't say which.
_ROWS_WITHOUT_REGION: Final = (
    (b"databases", b"databases\0"),
    (b"settings", b"settings\0"),
    (b"waiter/", b"waiter0"),
)


class Recoverable(Protocol):
    """Where a start finds a region: a folder that is open for serving, or one that is only looked at."""

    def recover(self, region: int) -> Recovery:
        """Find where a region stands."""

    def entries(self, region: int, after: int) -> Iterator[Entry]:
        """Yield the entries of a region's log above C{after}."""


class Recovered(NamedTuple):
    """
    Where a region's peer begins.

    @ivar applied: What is applied now.
    @ivar hard_state: What this peer has promised, and how far it knows the log to be committed.
    @ivar descriptor: The region as of what is applied.
    @ivar peer: The store's peer; 0 if its number isn't known, since it was never there. One that was removed keeps
        its number; where that isn't known any more, None.
    @ivar buried: The number of the last peer that was destroyed here, 0 if none was.
    """

    applied: ApplyState
    hard_state: HardState
    descriptor: Descriptor
    peer: int | None
    buried: int = 0


def recover(
    folder: Recoverable,
    execution: Execution,
    initial: Descriptor,
    store: int,
    progress: Callable[[int], None] | None = None,
) -> Recovered:
    """
    Bring the commands' view of a region up to what is known to be decided.

    @param initial: The region as it was at its beginning; it stays so until its peers change.
    @param store: The store whose peer this is.
    @param progress: Told of each entry that was applied.
    @raise tinykv.storage.errors.StorageError: The files can't be read.
    @raise tinykv.errors.Damaged: They don't hold what they must.
    """
    region = initial.region
    rows = execution.keyspace.rows
    found = folder.recover(region)
    hard = found.hard_state
    if found.last[1] > (hard.term if hard is not None else 0):
        # A term is written down together with its first entry.
        known = "there is no vote on disk" if hard is None else f"the vote on disk is of term {hard.term}"
        raise Damaged(f"the log has an entry of term {found.last[1]}, but {known}")
    buried = _buried(rows, region)
    row = rows.get("region", descriptor_key(region))
    descriptor = initial
    if row is not None:
        assert isinstance(row, bytes), "only values are live objects"
        descriptor = Descriptor.decode(region, row)
    state = ApplyState() if found.apply_state is None else ApplyState.decode(found.apply_state)
    _name_rows(execution, region)
    execution.keyspace.slots = descriptor.slots
    execution.keyspace.sequence = state.sequence
    execution.load(state.time)
    index, term = state.index, state.term
    for stored in folder.entries(region, state.index):
        if stored.index > found.commit and not _decides_alone(descriptor, store):
            break
        entry = entry_of(stored.index, stored.term, stored.data)
        if entry.kind == CHANGE:
            before, descriptor = descriptor, descriptor.after(decode_change(entry.data))
            if descriptor != before:
                rows.put("region", descriptor_key(region), descriptor.encode())
        elif entry.data:
            execution.begin_entry(*decode_header(entry.data))
            for operation in decode_records(entry.data, HEADER_BYTES, execution.table):
                execution.run(operation)
            execution.keyspace.turn()
        index, term = entry.index, entry.term
        if progress is not None:
            progress(index)
    applied = ApplyState(index, term, execution.time, execution.keyspace.sequence)
    commit = max(index, found.commit)
    hard_state = HardState(0, 0, commit) if hard is None else HardState(hard.term, hard.vote, commit)
    return Recovered(applied, hard_state, descriptor, _peer_of(descriptor, hard, store, buried), buried)


def _name_rows(execution: Execution, region: int) -> None:
    """
    Give rows that a build with one region to a store has written the names that they have where there may be several.

    Before the log is replayed, so that all replicas come to the same, wherever their last flush was. The next flush
    writes it. The one region of those builds was the first.
    """
    rows = execution.keyspace.rows
    if region != 1:
        return
    for start, end in _ROWS_WITHOUT_REGION:
        for key, row in list(rows.scan("region", start, end)):
            assert isinstance(row, bytes), "only values are live objects"
            rows.put("region", region_row(region, key), row)
            rows.remove("region", key)


def _buried(rows: Rows, region: int) -> int:
    """
    Give the number of the last peer of a region that was destroyed here, 0 if none was.

    @raise Damaged: The row that says it isn't what it must be.
    """
    row = rows.get("region", tombstone_key(region))
    assert row is None or isinstance(row, bytes), "only values are live objects"
    return decode_tombstone(row)


def _peer_of(descriptor: Descriptor, promised: StoredState | None, store: int, buried: int) -> int | None:
    """
    Name the peer of a store.

    @param buried: The last one that was destroyed here: none up to that is ever there again.

    @param promised: What the log file has of a peer, if there is one: it knows its number before the descriptor does,
        where the entry that added it hasn't been applied.
    """
    found = descriptor.peer_on(store)
    if buried:
        if found is not None and found > buried:
            return found
        return promised.peer if promised is not None and promised.peer > buried else 0
    if found is None and promised is not None:
        return promised.peer
    return found or (None if store in descriptor.removed else 0)


def _decides_alone(descriptor: Descriptor, store: int) -> bool:
    """Say whether a store's peer is the only voter."""
    members = descriptor.membership
    return members.voters == (descriptor.peer_on(store),) and not members.outgoing
