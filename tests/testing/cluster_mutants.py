"""
Stores broken on purpose, each in one place: what a careless change would do, and what the checks must see.

They're composed of the real parts with one of them replaced; the parts of a Raft group, which it makes by itself, get
another class after they were made.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from hashlib import blake2b
from math import inf
from random import Random
from typing import Any

from zope.interface import implementer

from tests.testing.cluster import REGION, Store, Variant, WatchedReplica
from tests.testing.one_store import Doubled
from tests.testing.one_store import Retries as RetriesAlone
from tinykv.interfaces import ILogWriter
from tinykv.raft.core import Core
from tinykv.raft.group import Group, Ready
from tinykv.raft.leader import Leader
from tinykv.raft.log import RaftLog
from tinykv.raft.messages import TIMEOUT_NOW, Entry, Message, SnapshotMeta
from tinykv.raft.quorum import agreed
from tinykv.redis.context import Context
from tinykv.redis.execution import Execution
from tinykv.redis.keyspace import Database, Keyspace
from tinykv.redis.operations import Operation
from tinykv.redis.sampling import pick
from tinykv.redis.set_value import Set
from tinykv.redis.spec import CommandSpec
from tinykv.redis.value import Value
from tinykv.region.descriptor import Descriptor
from tinykv.region.state import ApplyState, apply_key
from tinykv.resp import replies
from tinykv.storage.data import COMMIT, ROWS
from tinykv.storage.folder import Recovery
from tinykv.storage.log import STATE
from tinykv.storage.log import Entry as StoredEntry
from tinykv.storage.rowstore import RowStore
from tinykv.storage.tables import MemTable
from tinykv.storage.writers import LogBatch
from tinykv.store.control import Control
from tinykv.store.departure import Departure
from tinykv.store.flushes import Flushes, RegionFlushes
from tinykv.store.forwarding import Forwarder
from tinykv.store.host import RegionHost
from tinykv.store.proposals import Proposals
from tinykv.store.regions import Regions
from tinykv.store.replica import Replica
from tinykv.testing.embedded import TABLE
from tinykv.testing.simulation.clock import Process
from tinykv.testing.simulation.disk import Disk, DiskQuality
from tinykv.testing.simulation.events import MILLISECOND, SECOND
from tinykv.testing.simulation.files import DataRows
from tinykv.testing.simulation.workload import Port

SLOW = DiskQuality(commit_us=30 * MILLISECOND, jitter_us=30 * MILLISECOND)


# Who belongs to it


class LeavesAtOnce(Variant):
    """A store that was removed ends as soon as it knows that."""

    def control(self, control: Control) -> None:
        """Let it not wait for the others."""
        control.regions[REGION].departure.__class__ = _HastyDeparture


class _HastyDeparture(Departure):
    def begin(self, descriptor: Descriptor, teller: int | None = None) -> None:
        """Go."""
        super().begin(descriptor, teller)
        self.over = True
        self._clock.callLater(0, self._over)


class ForgetsChanges(Variant):
    """Changes are applied though a crash may take away that they're decided."""

    def group(self, group: Group) -> None:
        """Let it not wait for that to be durable."""
        group._log.__class__ = _HastyLog


class _HastyLog(RaftLog):
    __slots__ = ()

    def take_appliable(self, max_bytes: int, known: int) -> tuple[Entry, ...]:
        """Hand out all that is decided and durable."""
        return super().take_appliable(max_bytes, self.committed)


# What is written


class VoteNotSynced(Variant):
    """A vote leaves before it's on disk."""

    def disk(self, disk: Disk) -> None:
        """Let the disk take its time, for votes to be lost."""
        disk.quality = DiskQuality(commit_us=SECOND)

    def writer(self, writer: ILogWriter, store: Store) -> ILogWriter:
        """Say too early that votes are written."""
        return _EarlyVotes(writer, store.process)


@implementer(ILogWriter)
class _EarlyVotes:
    def __init__(self, writer: ILogWriter, process: Process) -> None:
        self._writer = writer
        self._process = process
        self._under_way = 0
        self.failed = writer.failed
        self.close = writer.close

    def write(self, batch: LogBatch, done: Callable[[], None]) -> None:
        """Write; what is nothing but a vote, with no entries before it, is said to be there at once."""
        if not self._under_way and all(operation[0] == STATE for operation in batch.operations):
            self._writer.write(batch, lambda: None)
            self._process.callLater(0, done)
            return
        self._under_way += 1

        def written() -> None:
            self._under_way -= 1
            done()

        self._writer.write(batch, written)


class EntriesNotSynced(Variant):
    """Entries are acknowledged before they're on disk."""

    def disk(self, disk: Disk) -> None:
        """Let the disk take its time."""
        disk.quality = SLOW

    def writer(self, writer: ILogWriter, store: Store) -> ILogWriter:
        """Say too early that anything is written."""
        return _EarlyWriter(writer, store.process)


@implementer(ILogWriter)
class _EarlyWriter:
    def __init__(self, writer: ILogWriter, process: Process) -> None:
        self._writer = writer
        self._process = process
        self.failed = writer.failed
        self.close = writer.close

    def write(self, batch: LogBatch, done: Callable[[], None]) -> None:
        """Write, and say at once that it's done."""
        self._writer.write(batch, lambda: None)
        self._process.callLater(0, done)


class LateWriteCounts(Variant):
    """The end of a write counts for whatever the log has at its index by then."""

    def disk(self, disk: Disk) -> None:
        """Let the disk take its time."""
        disk.quality = SLOW

    def group(self, group: Group) -> None:
        """Break the log."""
        group._log.__class__ = _ForgetfulLog


class _ForgetfulLog(RaftLog):
    __slots__ = ()

    def _replace(self, entries: Any) -> None:
        before = [list(write) for write in self._writes]
        super()._replace(entries)
        for write, (_, index) in zip(self._writes, before, strict=True):
            write[1] = index


class BelievesSnapshotsEarly(Variant):
    """What a snapshot says to be committed is written down before its log takes the place of the old one."""

    log_entries = 2

    def replica(self, replica: WatchedReplica) -> None:
        """Let it write that first."""
        replica.__class__ = _HastyReplica

    def folder(self, disk: Disk) -> Any:
        """Believe it, as far as the log goes."""
        return _Believed(disk)


class _HastyReplica(WatchedReplica):
    def _install(self, ready: Ready, snapshot: SnapshotMeta) -> None:
        self._commit = snapshot.index
        super()._install(ready, snapshot)


class _Believed(Doubled):
    def recover(self, region: int) -> Recovery:
        """Find where it stands."""
        found = super().recover(region)
        hint = found.hard_state.commit_hint if found.hard_state is not None else 0
        return replace(found, commit=min(max(hint, found.applied[0]), found.last[0]))

    def entries(self, region: int, after: int) -> Iterator[StoredEntry]:
        """Yield them."""
        return self._disk.entries(region, after)


# What is decided


class OldTermCounts(Variant):
    """Entries of older terms are taken for committed when a majority has them."""

    append_bytes = 1

    def group(self, group: Group) -> None:
        """Break the leader."""
        group._core.__class__ = _core_with(_HastyLeader)


class _HastyLeader(Leader):
    __slots__ = ()

    def _commit(self) -> None:
        index = agreed(self._membership, lambda voter: self.progress[voter].match)
        if index > self._log.committed:
            self._log.commit_to(index)


def _core_with(leader: type[Leader]) -> type[Core]:
    class Broken(Core):
        __slots__ = ()

        def _lead(self) -> None:
            super()._lead()
            assert self.leader is not None
            self.leader.__class__ = leader

    return Broken


class NoVotePause(Variant):
    """A store votes as soon as it has started, though it may have promised its silence before."""

    def quiet_until(self, now: float) -> float:
        """Not at all."""
        return 0.0


# What is read


class ReadsAfterLease(Variant):
    """Whoever believes to lead answers reads, lease or not."""

    def lease_end(self, replica: Replica, end: float) -> float:
        """For ever."""
        return inf if replica.group.leads else end


class LeasesAfterTimeoutNow(Variant):
    """A leader that has told another one to campaign still answers reads."""

    def group(self, group: Group) -> None:
        """Break the leader."""
        group._core.__class__ = _core_with(_ClingingLeader)


class _ClingingLeader(Leader):
    __slots__ = ()

    def _let_campaign(self) -> None:
        self._out.append(Message(TIMEOUT_NOW, self.target, self._peer, self._term))


class ReadsBeforeOwnEntry(Variant):
    """A new leader answers reads before it knows what was committed before."""

    class host(RegionHost):  # noqa: N801 - it stands for the attribute
        """Is ready as soon as it leads."""

        def role_changed(self) -> None:
            super().role_changed()
            self.queue.ready = self.group.leads

    def disk(self, disk: Disk) -> None:
        """Let the disk take its time, so that its own entry does."""
        disk.quality = SLOW

    def group(self, group: Group) -> None:
        """Break the leader."""
        group._core.__class__ = _core_with(_EagerLeader)


class _EagerLeader(Leader):
    __slots__ = ()

    @property
    def lease_end(self) -> float:
        return self.lease.end


# What is applied


class AppliesTwice(Variant):
    """A restart applies each entry twice."""

    def folder(self, disk: Disk) -> Any:
        """Give the entries twice."""
        return Doubled(disk)


class ReplaysAll(Variant):
    """A restart applies the whole log, as if nobody else had a say."""

    def folder(self, disk: Disk) -> Any:
        """Take all of it for committed."""
        return _AllCommitted(disk)


class _AllCommitted(Doubled):
    def recover(self, region: int, row: bytes | None = None) -> Recovery:
        """Find where it stands."""
        found = super().recover(region, row)
        return Recovery(
            region, found.hard_state, found.base, found.applied, found.apply_state, found.last, found.last[0]
        )

    def entries(self, region: int, after: int) -> Iterator[StoredEntry]:
        """Yield them."""
        return self._disk.entries(region, after)


class TimeGoesBack(Variant):
    """A new leader takes its own clock for the region's time."""

    class execution(Execution):  # noqa: N801 - it stands for the attribute
        """Takes any time."""

        def begin_entry(self, time: int, seed: int) -> None:
            """Begin an entry."""
            self.time = time
            super().begin_entry(time, seed)

    class host(RegionHost):  # noqa: N801 - it stands for the attribute
        """Forgets what time it was."""

        def __init__(self, regions: Regions, **options: Any) -> None:
            super().__init__(regions, **options)
            self.proposals.__class__ = _ForgetfulProposals


class _ForgetfulProposals(Proposals):
    def _propose(self, operations: list[Operation]) -> None:
        time, self._execution.time = self._execution.time, 0
        proposed, self._proposed_time = self._proposed_time, 0
        try:
            super()._propose(operations)
        finally:
            self._execution.time = time
            self._proposed_time = self._proposed_time or proposed


class RedoesReplaced(Variant):
    """What was proposed is proposed again when leadership is lost, although it may yet be committed."""

    class host(RegionHost):  # noqa: N801 - it stands for the attribute
        """Gives back what is under way, too early."""

        def role_changed(self) -> None:
            if self.ready and not self.group.leads:
                while self.queue.batches:
                    self.proposals.give_back(self.queue.batches.popleft().operations)
            super().role_changed()


class RetriesOutOfOrder(Variant):
    """What was refused is sent again behind what came after it."""

    class forwarder(Forwarder):  # noqa: N801 - it stands for the attribute
        """Puts it at the end of the queue."""

        def _once_more(self) -> list[Any]:
            self._queue.extend(reversed(super()._once_more()))
            return []


class SpopBySetOrder(Variant):
    """
    SPOP takes a member by its place in a set of Python's.

    Its order depends on the process, on its PYTHONHASHSEED. All simulated stores share one, so each draws its own here.
    """

    def table(self, random: Random) -> Mapping[str, CommandSpec]:
        """Give the commands, with another SPOP."""
        salt = random.randbytes(8)
        spop = TABLE["spop"].run

        def run(ctx: Context, args: list[bytes]) -> bytes:
            value = ctx.db.typed(args[1], Set)
            if len(args) > 2 or value is None:
                return spop(ctx, args)
            members = sorted(value.members(), key=lambda member: blake2b(member, key=salt).digest())
            member = members[pick(ctx.random, len(members))]
            value.remove(member)
            return replies.bulk(member)

        return {**TABLE, "spop": replace(TABLE["spop"], run=run)}


class WatchByIndex(Variant):
    """
    WATCH remembers at which index of the log a key was changed, and EXEC compares that.

    It's no part of the rows, so who was started anew doesn't know it, and decides otherwise than the others.
    """

    class keyspace(Keyspace):  # noqa: N801 - it stands for the attribute
        """Remembers the index of each entry, by the sequence at its beginning."""

        def __init__(self, rows: RowStore, types: list[type[Value]], **options: Any) -> None:
            super().__init__(rows, types, **options)
            self.marks: list[tuple[int, int]] = []
            for database in self.physical:
                database.__class__ = _DatabaseByIndex

        def index_of(self, version: int) -> int:
            """Give the index of the entry that has made a version."""
            place = bisect_left(self.marks, (version,)) - 1
            return self.marks[place][1] if place >= 0 else 0

    class execution(Execution):  # noqa: N801 - it stands for the attribute
        """Takes down where it is."""

        host: RegionHost | None = None

        def begin_entry(self, time: int, seed: int) -> None:
            """Begin an entry."""
            super().begin_entry(time, seed)
            keyspace: Any = self.keyspace
            if self.host is not None:
                keyspace.marks.append((keyspace.sequence, self.host.applied + 1))

    class host(RegionHost):  # noqa: N801 - it stands for the attribute
        """Tells the index."""

        def __init__(self, regions: Regions, **options: Any) -> None:
            super().__init__(regions, **options)
            options["execution"].host = self


class _DatabaseByIndex(Database):
    __slots__ = ()

    def version(self, key: bytes) -> int:
        keyspace: Any = self.keyspace
        index: int = keyspace.index_of(super().version(key))
        return index


# What is flushed, and what snapshots say


class LiveAppliedIndex(Variant):
    """A flush says what is applied when it's written, not when it was frozen."""

    class host(RegionHost):  # noqa: N801 - it stands for the attribute
        """Flushes so."""

        def __init__(self, regions: Regions, **options: Any) -> None:
            super().__init__(regions, **options)
            regions.flushes.__class__ = _LiveFlushes


class _LiveFlushes(Flushes):
    __slots__ = ()

    def _flush(self, table: MemTable, states: list[tuple[RegionFlushes, ApplyState]]) -> None:
        def write() -> None:
            lives: list[tuple[RegionFlushes, ApplyState]] = []
            for region, _ in states:
                queue, keyspace = region.queue, region._keyspace
                live = ApplyState(queue.applied, queue.applied_term, region._execution.time, keyspace.sequence)
                table.rows["region"][apply_key(region._region)] = live.encode()
                lives.append((region, live))
            Flushes._flush(self, table, lives)

        # When the data writer is ready for it.
        self._clock.callLater(0.05, write)


class WrongLabel(Variant):
    """A snapshot says what is applied when it's made, not what is in it."""

    def disk(self, disk: Disk) -> None:
        """Let the disk take its time, so that entries are applied meanwhile."""
        disk.quality = SLOW

    def copied(self, store: Store, rows: DataRows) -> DataRows:
        """Give the rows with another apply state."""
        queue, execution = store.host.queue, store.host.execution
        live = ApplyState(queue.applied, queue.applied_term, execution.time, execution.keyspace.sequence)
        labelled = rows.copy()
        labelled.apply([(ROWS, "region", [apply_key(REGION)], [live.encode()]), (COMMIT,)])
        return labelled


# What clients do


class Retries(Variant):
    """Clients send a request again when the connection breaks, as careless ones do."""

    def port(self, port: Port) -> Port:
        """Give a careless one."""
        return RetriesAlone().port(port)  # type: ignore[arg-type]
