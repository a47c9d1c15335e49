"""
What a start makes of a region: its rows, and over them as much of the log as is known to be decided.

A peer that is the only voter has decided whatever it has written down, so all of its log counts. Any other peer goes
as far as it knew the log to be committed (R5 of the design), which may be less than it once applied in memory: the
leader tells it the rest again.

With one exception. Where raft.db has the log of a region that was cut off another one, and data.db knows nothing of it,
the entry that did so was applied here before; so that one was decided, and all before it, whatever is known of that.
It's done again at once. Would it wait for the leader's word it might never be: a snapshot may take its place, and what
the part's peer has promised would be nobody's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, Protocol

from tinykv.errors import Damaged
from tinykv.keys import region_row
from tinykv.raft.messages import CHANGE, HardState
from tinykv.raft.stored import entry_of, stored_data
from tinykv.raft.wire import decode_change
from tinykv.redis.execution import Execution
from tinykv.redis.keyspace import Rows
from tinykv.redis.operations import decode_records
from tinykv.region.descriptor import DESCRIPTORS, Descriptor, descriptor_key
from tinykv.region.entry import HEADER_BYTES, decode_header
from tinykv.region.merging import COMMIT, PREPARE, REFUSE, CommitMerge
from tinykv.region.state import FIRST_INDEX, FIRST_TERM, ApplyState, apply_key
from tinykv.region.tombstone import NO_PEER, decode_tombstone, tombstone_key
from tinykv.storage.folder import Recovery
from tinykv.storage.log import Entry
from tinykv.storage.log import HardState as StoredState
from tinykv.store.merge_entries import prepare, refuse, roll_back, state_in, take_in
from tinykv.store.splitting import Part, divide, regions_cut_off, splits

#: Ranges of the rows that commands kept of a region when a store had one, and their names didn't say which.
_ROWS_WITHOUT_REGION: Final = (
    (b"databases", b"databases\0"),
    (b"settings", b"settings\0"),
    (b"waiter/", b"waiter0"),
)


#: Gives a region that an entry takes in, which is where its service ended: its commands, and what it is.
TakenIn = Callable[[CommitMerge], tuple[Execution, Descriptor]]


class Recoverable(Protocol):
    """Where a start finds a region: a folder that is open for serving, or one that is only looked at."""

    def recover(self, region: int, row: bytes | None = None) -> Recovery:
        """
        Find where a region stands.

        @param row: Its apply state, where that isn't in data.db yet.
        """

    def entries(self, region: int, after: int) -> Iterator[Entry]:
        """Yield the entries of a region's log above C{after}."""


class RecoverableStore(Recoverable, Protocol):
    """The same of a store that has several regions."""

    def promised(self) -> dict[int, int]:
        """Give behind which entry the log begins of each region whose peer here has promised something, by id."""


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
    split: Callable[[Part], None] | None = None,
    begun: Collection[int] = (),
    source: TakenIn | None = None,
) -> Recovered:
    """
    Bring the commands' view of a region up to what is known to be decided.

    @param initial: The region as it was at its beginning; it stays so until its peers change.
    @param store: The store whose peer this is.
    @param progress: Told of each entry that was applied.
    @param split: Told of each part that an entry has cut off; it's to be recovered by L{recover_part}.
    @param begun: The regions whose logs have begun here and that data.db doesn't know.
    @param source: Gives a region that an entry takes in, which is where its service ended.
    @raise tinykv.storage.errors.StorageError: The files can't be read.
    @raise tinykv.errors.Damaged: They don't hold what they must.
    """
    rows = execution.keyspace.rows
    found = folder.recover(initial.region)
    state = ApplyState() if found.apply_state is None else ApplyState.decode(found.apply_state)
    row = rows.get("region", descriptor_key(initial.region))
    descriptor = initial
    if row is not None:
        assert isinstance(row, bytes), "only values are live objects"
        descriptor = Descriptor.decode(initial.region, row)
    _name_rows(execution, initial.region)
    execution.keyspace.slots = descriptor.slots
    execution.keyspace.sequence = state.sequence
    execution.load(state.time)
    return _replay(folder, execution, found, state, descriptor, store, progress, split, begun, source)


def recover_part(
    folder: Recoverable,
    part: Part,
    store: int,
    progress: Callable[[int], None] | None = None,
    split: Callable[[Part], None] | None = None,
    begun: Collection[int] = (),
    source: TakenIn | None = None,
) -> Recovered:
    """
    Bring a part that was cut off while the log of the whole was replayed up to what is known to be decided.

    What raft.db has of it already stays as it is (R5).

    @raise tinykv.storage.errors.StorageError: The files can't be read.
    @raise tinykv.errors.Damaged: They don't hold what they must.
    """
    found = folder.recover(part.descriptor.region, part.applied.encode())
    return _replay(folder, part.execution, found, part.applied, part.descriptor, store, progress, split, begun, source)


def _replay(
    folder: Recoverable,
    execution: Execution,
    found: Recovery,
    state: ApplyState,
    descriptor: Descriptor,
    store: int,
    progress: Callable[[int], None] | None,
    split: Callable[[Part], None] | None,
    begun: Collection[int],
    source: TakenIn | None,
) -> Recovered:
    """Replay a region's log over its rows, as far as it's known to be decided."""
    region = descriptor.region
    rows = execution.keyspace.rows
    buried = buried_in(rows, region)
    hard = found.hard_state
    promised = 0 if hard is None else hard.term
    if found.last[1] > promised and (hard is not None or found.last != (FIRST_INDEX, FIRST_TERM)):
        # A term is written down together with its first entry.
        known = "there is no vote on disk" if hard is None else f"the vote on disk is of term {hard.term}"
        raise Damaged(f"the log has an entry of term {found.last[1]}, but {known}")

    def splitting(arguments: list[bytes]) -> None:
        nonlocal descriptor
        if hard is not None and hard.peer not in descriptor.stores:
            # It was removed; see L{tinykv.store.host.RegionHost}.
            return
        divided = divide(execution, descriptor, arguments)
        if divided is not None:
            descriptor = divided.descriptor
            if split is not None:
                for part in divided.parts:
                    split(part)

    def merging(arguments: list[bytes]) -> None:
        nonlocal descriptor
        if arguments[0] == PREPARE:
            descriptor = prepare(rows, descriptor, arguments, index + 1)
        elif arguments[0] == REFUSE:
            descriptor = refuse(rows, descriptor, arguments)
        elif arguments[0] != COMMIT:
            descriptor = roll_back(rows, descriptor, arguments)
        elif hard is None or hard.peer in descriptor.stores:
            commit = CommitMerge.decode(arguments)
            if commit.is_for(descriptor):
                assert source is not None, "a region that has a neighbour isn't the only one"
                descriptor = take_in(execution, descriptor, *source(commit), commit)

    execution.splitting = splitting
    execution.merging = merging
    index, term = state.index, state.term
    commit = found.commit
    for stored in folder.entries(region, state.index):
        if stored.index > commit and not _decides_alone(descriptor, store):
            missing = {part for part in begun if rows.get("region", apply_key(part)) is None}
            commit = _begun_by(folder, region, index, missing)
            if stored.index > commit:
                break
        entry = entry_of(stored.index, stored.term, stored.data)
        if entry.kind == CHANGE and state_in(rows, region) is not None:
            pass  # it's about to be merged, and its members stay
        elif entry.kind == CHANGE:
            before, descriptor = descriptor, descriptor.after(decode_change(entry.data))
            if descriptor != before:
                rows.put("region", descriptor_key(region), descriptor.encode())
        elif entry.data:
            execution.begin_entry(*decode_header(entry.data))
            execution.run_all(decode_records(entry.data, HEADER_BYTES, execution.table))
            execution.keyspace.turn()
        index, term = entry.index, entry.term
        if progress is not None:
            progress(index)
    applied = ApplyState(index, term, execution.time, execution.keyspace.sequence)
    commit = max(index, found.commit)
    # A part that was cut off has a term before its peer has promised anything.
    hard_state = HardState(found.last[1], 0, commit) if hard is None else HardState(hard.term, hard.vote, commit)
    return Recovered(applied, hard_state, descriptor, _peer_of(descriptor, hard, store, buried), buried)


def _begun_by(folder: Recoverable, region: int, applied: int, begun: set[int]) -> int:
    """Give the first entry behind what is applied that cuts off a region which has begun here; 0 if none does."""
    if begun:
        for stored in folder.entries(region, applied):
            entry = entry_of(stored.index, stored.term, stored.data)
            if entry.kind != CHANGE and splits(entry.data) and not begun.isdisjoint(regions_cut_off(entry.data)):
                return entry.index
    return 0


def begun_regions(rows: Iterable[tuple[bytes, object]], firsts: Sequence[Descriptor]) -> list[Descriptor]:
    """
    Name the regions that a store starts with, in the order of their ranges; those that the logs have beyond them come
    up when these are replayed.

    @param rows: The rows in data.db whose keys begin as those of descriptors.
    @param firsts: The regions with which the cluster began; they have rows once they were flushed.
    """
    known = {first.region: first for first in firsts}
    for key, row in rows:
        region = int.from_bytes(key[len(DESCRIPTORS[0]) :], "big")
        assert isinstance(row, bytes), "only values are live objects"
        known[region] = Descriptor.decode(region, row)
    return sorted(known.values(), key=lambda descriptor: descriptor.start)


def recover_regions(
    folder: RecoverableStore,
    known: Sequence[Descriptor],
    execution_of: Callable[[Descriptor], Execution],
    store: int,
    progress: Callable[[int], None] | None = None,
) -> list[tuple[Execution, Recovered]]:
    """
    Bring all regions of a store up to what is known to be decided, those among them that the logs split off.

    @param known: As L{begun_regions} gives them.
    @param execution_of: Puts the commands of a region together, of which nothing is known yet but this.
    @return: In the order of their ranges.
    @raise tinykv.storage.errors.StorageError: The files can't be read.
    @raise tinykv.errors.Damaged: They don't hold what they must.
    """
    return _Start(folder, known, execution_of, store, progress).recover()


class _Start:
    """The regions of a store as a start brings them up, one after another."""

    def __init__(
        self,
        folder: RecoverableStore,
        known: Sequence[Descriptor],
        execution_of: Callable[[Descriptor], Execution],
        store: int,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._folder = folder
        self._execution_of = execution_of
        self._store = store
        self._progress = progress
        #: Those that data.db knows of, and haven't been brought up yet.
        self._left = {first.region: first for first in known}
        self._promised = folder.promised()
        self._begun = {
            region for region, base in self._promised.items() if base >= FIRST_INDEX and region not in self._left
        }
        #: Those that were cut off others, likewise.
        self._parts: dict[int, Part] = {}
        self._found: dict[int, tuple[Execution, Recovered]] = {}
        #: All that were brought up, those among them that were merged then.
        self._ids: set[int] = set()

    def recover(self) -> list[tuple[Execution, Recovered]]:
        """Bring them up, and give them in the order of their ranges."""
        while self._left or self._parts:
            self._bring_up(next(iter(self._left or self._parts)))
        rows = next(iter(self._found.values()))[0].keyspace.rows
        for region in sorted(self._promised.keys() - self._ids):
            if buried_in(rows, region):
                # Nothing is left of the region but what was promised by a peer that was destroyed.
                self._folder.recover(region)
        return sorted(self._found.values(), key=lambda one: one[1].descriptor.start)

    def _bring_up(self, region: int) -> None:
        """Bring up a region that is known by now, unless that was done."""
        if region in self._left:
            self._begin(self._left.pop(region))
        elif region in self._parts:
            part = self._parts.pop(region)
            found = recover_part(
                self._folder, part, self._store, self._progress, self._split, self._begun, self._source
            )
            self._found[region] = (part.execution, found)

    def _begin(self, first: Descriptor) -> None:
        execution = self._execution_of(first)
        if buried_in(execution.keyspace.rows, first.region) == NO_PEER:
            # The cluster began with it, and it was merged.
            return
        self._ids.add(first.region)
        found = recover(
            self._folder, execution, first, self._store, self._progress, self._split, self._begun, self._source
        )
        self._found[first.region] = (execution, found)

    def _split(self, part: Part) -> None:
        # Not in the midst of the whole's replay: it may have taken the whole in later.
        region = part.descriptor.region
        self._ids.add(region)
        self._parts[region] = part

    def _source(self, commit: CommitMerge) -> tuple[Execution, Descriptor]:
        """
        Bring a region that is taken in to where its service ended, and give it.

        @raise Damaged: It isn't there.
        """
        self._bring_up(commit.region)
        if commit.region not in self._found:
            raise Damaged(f"the log of its neighbour takes in region {commit.region}, which isn't here")
        execution, reached = self._found.pop(commit.region)
        applied = reached.applied
        if applied.index < commit.at:
            rest = _Rest(self._folder, commit)
            found = replace(self._folder.recover(commit.region, applied.encode()), commit=commit.at)
            reached = _replay(
                rest, execution, found, applied, reached.descriptor, self._store, self._progress, self._split,
                self._begun, self._source,
            )  # fmt: skip
        return execution, reached.descriptor


class _Rest:
    """The log of a region that is taken in, as far as its service went; its end stands in its neighbour's log."""

    def __init__(self, folder: Recoverable, commit: CommitMerge) -> None:
        self._folder = folder
        self._commit = commit

    def recover(self, region: int, row: bytes | None = None) -> Recovery:
        """Find where a region stands."""
        return self._folder.recover(region, row)

    def entries(self, region: int, after: int) -> Iterator[Entry]:
        """
        Yield the entries of its log above C{after}.

        @raise Damaged: It ends before it may.
        """
        first = self._commit.entries[0].index
        last = after
        for stored in self._folder.entries(region, after):
            if stored.index >= first:
                break
            last = stored.index
            yield stored
        if last < first - 1:
            raise Damaged(f"the log of region {region} ends at entry {last}, though entry {first - 1} was on disk here")
        for entry in self._commit.entries:
            if entry.index > after:
                yield Entry(entry.index, entry.term, stored_data(entry))


def begun_by_word(about: Descriptor, stored: StoredState | None, last: int, buried: int) -> Recovered | None:
    """
    Give where a region begins of which this store knows nothing but what its leader says.

    @param stored: What raft.db has of its peer's promises: one that had begun so before, and got no copy until the
        store ended, goes on as that peer. C{last} is up to where its log goes.
    @param buried: The number of the last peer of it that was destroyed here, 0 if none was.
    @return: None if its peer has a log, so has had rows, which are missing: it would be another peer without them (R5).
    """
    if last:
        return None
    state = HardState(0, 0, 0) if stored is None else HardState(stored.term, stored.vote, 0)
    return Recovered(ApplyState(), state, about.vacant(), 0 if stored is None else stored.peer, buried)


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


def buried_in(rows: Rows, region: int) -> int:
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
