"""
A region that is split, on each store that has a replica of it.

That is done by an entry of its log, so alike on all replicas, at once in the rows: the region's descriptor is narrower,
and for each part there are a descriptor, an apply state and what commands keep of a region, all in the memory table in
which the region's own apply state will say that the entry is contained (R4). So data.db either knows of the parts, and
that the region was split, or of neither.

A part's log begins behind an entry that nobody ever wrote (L{tinykv.region.state.FIRST_INDEX}). raft.db may know of the
part before data.db does: after a crash the entry is applied again, and what the part's peer had promised meanwhile is
taken over as it is, never begun anew (R5). Where it knows nothing, that is what's written first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from tinykv.errors import Damaged
from tinykv.interfaces import ILogWriter
from tinykv.raft.log import Storage
from tinykv.raft.messages import Entry, HardState, SnapshotMeta
from tinykv.redis.execution import Execution
from tinykv.redis.operations import INTERNAL, decode_records
from tinykv.region.descriptor import Descriptor, descriptor_key
from tinykv.region.entry import HEADER_BYTES
from tinykv.region.splitting import SPLIT, Split, parts_of, why_not
from tinykv.region.state import FIRST_INDEX, FIRST_TERM, ApplyState, apply_key
from tinykv.storage.log import HardState as StoredState
from tinykv.storage.writers import LogBatch

_INTERNAL: Final = bytes((INTERNAL,))
#: Where the first record's request begins in such an entry, and what stands near its beginning.
_REQUEST_AT: Final = HEADER_BYTES + 6
_REQUEST: Final = b"\r\n$%d\r\n%b\r\n" % (len(SPLIT), SPLIT)


def splits(data: bytes) -> bool:
    """Say at a glance whether an entry splits a region: it has nothing else in it."""
    return data[HEADER_BYTES : HEADER_BYTES + 1] == _INTERNAL and _REQUEST in data[_REQUEST_AT : _REQUEST_AT + 24]


def regions_cut_off(data: bytes) -> list[int]:
    """Name the regions that an entry cuts off, which L{splits} a region."""
    ((_, _, _, _, _, arguments, _),) = decode_records(data, HEADER_BYTES, {})
    return [cut.region for cut in Split.decode(arguments).cuts]


class Part(NamedTuple):
    """
    What was cut off a region, as far as the rows go.

    @ivar applied: What is applied of it, as of its beginning.
    """

    execution: Execution
    descriptor: Descriptor
    applied: ApplyState


class Divided(NamedTuple):
    """
    What became of a region.

    @ivar descriptor: What it is now.
    @ivar parts: What was cut off, in order.
    """

    descriptor: Descriptor
    parts: list[Part]


def divide(execution: Execution, descriptor: Descriptor, arguments: Sequence[bytes]) -> Divided | None:
    """
    Split a region as an entry says, in the rows and in memory.

    @param arguments: The request in the entry.
    @return: None if nothing was done, since the region isn't any more what the entry was meant for.
    """
    split = Split.decode(arguments)
    if why_not(descriptor, split) is not None:
        return None
    rows = execution.keyspace.rows
    now, cut_off = parts_of(descriptor, split)
    parts: list[Part] = []
    for part in reversed(cut_off):
        # The last one first, so that what is left always ends where it begins.
        commands = execution.cede(part.region, part.slots)
        applied = ApplyState(FIRST_INDEX, FIRST_TERM, commands.time, commands.keyspace.sequence)
        rows.put("region", descriptor_key(part.region), part.encode())
        rows.put("region", apply_key(part.region), applied.encode())
        parts.insert(0, Part(commands, part, applied))
    rows.put("region", descriptor_key(now.region), now.encode())
    return Divided(now, parts)


class Adopted(NamedTuple):
    """
    A part's peer as it begins, or goes on: what L{tinykv.store.composition.replica_of} makes a replica of.

    @ivar peer: None if this store has no peer of it.
    @ivar fresh: Whether nothing was known of it, so that its log is yet to begin.
    """

    applied: ApplyState
    hard_state: HardState
    descriptor: Descriptor
    peer: int | None
    fresh: bool


def adopt(part: Part, stored: StoredState | None, last: tuple[int, int], store: int) -> Adopted:
    """
    Give a part's peer on a store.

    @param stored: What raft.db has of its promises; C{last} is index and term of the last entry that it has.
    @raise Damaged: It has a peer of another number, or a log without promises.
    """
    region = part.descriptor.region
    peer = part.descriptor.peer_on(store)
    if stored is None:
        if last[0]:
            raise Damaged(f"the log of region {region} ends at entry {last[0]}, but there is no vote on disk")
        return Adopted(part.applied, HardState(FIRST_TERM, 0, FIRST_INDEX), part.descriptor, peer, True)
    if stored.peer != peer:
        raise Damaged(f"region {region} was split off with peer {peer} on this store, which has peer {stored.peer}")
    # As L{tinykv.storage.folder.DataFolder.recover}: one beyond the log's end says nothing of this log.
    commit = max(stored.commit_hint, FIRST_INDEX) if stored.commit_hint <= last[0] else FIRST_INDEX
    return Adopted(part.applied, HardState(stored.term, stored.vote, commit), part.descriptor, peer, False)


def _begin_log(adopted: Adopted) -> LogBatch:
    """Give what raft.db is to know first of a part of which it knows nothing."""
    assert adopted.peer is not None, "a peer has a log"
    batch = LogBatch()
    region, state = adopted.descriptor.region, adopted.hard_state
    batch.reset(region, FIRST_INDEX, FIRST_TERM)
    batch.hard_state(region, adopted.peer, state.term, state.vote, state.commit)
    return batch


class BegunLog:
    """
    A log whose beginning is on its way to the disk; all that follows is written behind it.

    From when it's there it's as the disk has it: should the peer be destroyed, its successor has nothing.
    """

    def __init__(self, log: Storage) -> None:
        self._log = log
        self._written = False

    def written(self) -> None:
        """Learn that the beginning is on disk."""
        self._written = True

    def last(self) -> tuple[int, int]:
        """Give index and term of the last entry, or of the base."""
        return self._log.last() if self._written else max(self._log.last(), (FIRST_INDEX, FIRST_TERM))

    def term(self, index: int) -> int:
        """
        Give the term of an entry or of the base.

        @raise tinykv.raft.log.Compacted: It was cut off.
        """
        if index == FIRST_INDEX and not self._written and not self._log.last()[0]:
            return FIRST_TERM
        return self._log.term(index)

    def entries(self, low: int, high: int, max_bytes: int) -> Sequence[Entry]:
        """
        Give entries from low to before high.

        @raise tinykv.raft.log.Compacted: The first was cut off.
        """
        return self._log.entries(low, high, max_bytes)

    def snapshot(self) -> SnapshotMeta | None:
        """Give the newest snapshot that can be sent."""
        return self._log.snapshot()


class PartLog(Storage, Protocol):
    """A part's log on disk."""

    def hard_state(self) -> StoredState | None:
        """Give what the part's peer has promised."""


def begin_peer(part: Part, log: PartLog, log_writer: ILogWriter, store: int) -> tuple[Adopted, Storage]:
    """
    Let a part's peer on a store begin, or go on.

    @return: The peer, and its log.
    @raise Damaged: As L{adopt} says.
    """
    adopted = adopt(part, log.hard_state(), log.last(), store)
    if not adopted.fresh:
        return adopted, log
    begun = BegunLog(log)
    log_writer.write(_begin_log(adopted), begun.written)
    return adopted, begun
