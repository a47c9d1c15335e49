"""
A member of the scheduler at work: what is asked goes through the log, what is decided is applied, and what was applied
goes to disk.

The group is one like any other (L{tinykv.raft.group}), on a folder like a store's. The state is small, so it's wholly
in memory: entries change it at once, the rows that changed are written some time later with the apply state, in one
transaction (R4 of the design), and a start replays the rest of the log. A member that is too far behind gets all rows
as a snapshot, as a store does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from tinykv.errors import Damaged, Fault
from tinykv.interfaces import ApplyDurations, IDataWriter, ILogWriter, ISnapshotInstaller
from tinykv.raft.group import Group
from tinykv.raft.log import Compacted
from tinykv.raft.messages import NORMAL, Entry, Message, SnapshotMeta
from tinykv.raft.refusals import NotLeader as NotLeading
from tinykv.raft.refusals import Refused
from tinykv.region.descriptor import Descriptor, descriptor_key
from tinykv.region.state import ApplyState, apply_key
from tinykv.schedule.errors import NotLeader, OutcomeUnknown, Refusal, Unavailable
from tinykv.schedule.pending import Pending
from tinykv.schedule.recovery import REGION, Recovered, decode_entry, load_rows
from tinykv.schedule.rows import Record, encode_json
from tinykv.storage.reader import Reader
from tinykv.storage.tables import MemTable
from tinykv.storage.writers import LogBatch

#: What was applied is written at the latest after so many seconds, or so many entries.
FLUSH_SECONDS: Final = 5.0
FLUSH_ENTRIES: Final = 1_000
#: Entries behind what is on disk that are kept in the log, for a member that was away.
KEPT_ENTRIES: Final = 10_000
#: Entries of this member that may wait to be decided.
WAITING_MAX: Final = 1_000
#: Bytes of an entry.
ENTRY_BYTES_MAX: Final = 1 << 20


class Consensus(Protocol):
    """A replica of the group, as L{tinykv.store.replica.Replica} is one."""

    group: Group
    entries: deque[Entry]

    def start(self, user: Any) -> None:
        """Begin to count time."""

    def stop(self) -> None:
        """Do nothing any more."""

    def received(self, message: Message) -> None:
        """Take a message of another member."""

    def suspect_leader(self) -> None:
        """Learn that the leader may be gone."""

    def applied_to(self, index: int) -> None:
        """Learn up to where entries have been applied."""

    def go_on(self) -> None:
        """Do what the group says is to be done."""


class ScheduleHost:
    """
    The replicated state of this member.

    @ivar state: What was applied.
    @ivar applied: The index of the last entry that was.
    @ivar descriptor: The members.
    @ivar arrived: Gives the file of a snapshot that has arrived; set by who takes it.
    @ivar log_needed: Says behind which index the log mustn't be cut; set by who sends snapshots.
    @ivar role_changes: Called when this member begins or ceases to lead, or has applied its first entry as the leader.
    """

    log = Logger()

    def __init__(
        self,
        *,
        recovered: Recovered,
        replica: Consensus,
        reader: Reader,
        log_writer: ILogWriter,
        data_writer: IDataWriter,
        installer: ISnapshotInstaller,
        clock: IReactorTime,
        uptime: Callable[[], float],
        durations: ApplyDurations,
        stopped: Callable[[BaseException], None],
        kept_entries: int = KEPT_ENTRIES,
    ) -> None:
        """
        @param kept_entries: How many entries behind what is on disk the log keeps, for a member that was away.
        @param uptime: The time in seconds since whenever, sleep included, for the lease (R18).
        @param stopped: Told what the member can't go on after.
        """
        self.state = recovered.state
        self.applied = recovered.applied.index
        self.descriptor = recovered.descriptor
        self.replica = replica
        self.arrived: Callable[[SnapshotMeta], str] = _no_snapshot
        self.log_needed: Callable[[], int | None] = lambda: None
        self.role_changes: list[Callable[[], None]] = []
        self._applied_term = recovered.applied.term
        self._flushed = 0
        self._reader = reader
        self._log_writer = log_writer
        self._data_writer = data_writer
        self._installer = installer
        self._clock = clock
        self._uptime = uptime
        self._durations = durations
        self._stopped = stopped
        self._kept_entries = kept_entries
        self._ended = False
        self._going_on = False
        self._pending = Pending(clock)
        self._flush_due: IDelayedCall | None = None
        #: Whether a flush or an installation is under way, and who waits for the next flush.
        self._flushing = False
        self._installing: tuple[SnapshotMeta, Callable[[], None]] | None = None
        self._wanted: list[Callable[[], None]] = []
        self._idle: list[Deferred[None]] = []
        self._ready = False

    # What is so

    @property
    def group(self) -> Group:
        """The group."""
        return self.replica.group

    @property
    def member(self) -> int:
        """This member's number."""
        return self.descriptor.stores[self.group.peer]

    @property
    def leader(self) -> int:
        """The member that leads, 0 while none is known."""
        return self.descriptor.stores.get(self.group.leader_id, 0)

    @property
    def ready(self) -> bool:
        """Whether this member leads, and has applied all that was decided before."""
        return self._ready

    @property
    def lease(self) -> bool:
        """Whether nobody else can lead now; the clock is looked at for it (R18)."""
        return self._ready and self.group.lease_valid(self._uptime())

    @property
    def waiting(self) -> int:
        """How many proposals wait."""
        return len(self._pending)

    # Begin and end

    def start(self) -> None:
        """Begin."""
        self.replica.start(self)

    def fail(self, problem: BaseException) -> None:
        """Stop, since nothing can be relied on any more."""
        if not self._ended:
            self._end()
            self._stopped(problem)

    def _end(self) -> None:
        self._ended = True
        self.replica.stop()
        if self._flush_due is not None and self._flush_due.active():
            self._flush_due.cancel()
        self._pending.refuse(OutcomeUnknown("this member ends; it may have been done"))

    def close(self) -> Deferred[None]:
        """End; fires when all that was applied is with the writers."""
        if not self._ended:
            self._end()
            self._flush()
        done: Deferred[None] = succeed(None)
        if self._flushing:
            done = Deferred()
            self._idle.append(done)
        return done

    # What is asked

    def propose(self, command: Record) -> Deferred[Record]:
        """
        Have a command decided and applied.

        @return: fires with its result. Fails with a L{Refusal}: the command's own, or that it wasn't taken here, or
            that nobody knows.
        """
        if self._ended:
            return fail(Unavailable("this member ends"))
        if len(self._pending) >= WAITING_MAX:
            return fail(Unavailable("too much waits to be decided, ask again later"))
        data = encode_json(command)
        assert len(data) <= ENTRY_BYTES_MAX, "the limits of what is asked see to that"
        try:
            (index,) = self.group.propose([data])
        except NotLeading:
            return fail(NotLeader(self.leader))
        except Refused as problem:
            return fail(Unavailable(str(problem)))
        self._go_on_soon()
        return self._pending.proposed(index, self.group.term)

    def barrier(self) -> Deferred[None]:
        """
        Wait until all that was answered before is applied here, and known to be all that there is.

        @return: fires then. Fails with a L{Refusal}.
        """
        if self.lease:
            return succeed(None)
        if self._ended or not self.group.leads:
            return fail(NotLeader(0 if self._ended else self.leader))
        context, answer = self._pending.asked()
        self.group.read_index(context)
        self._go_on_soon()
        return answer

    def _go_on_soon(self) -> None:
        """Have all proposals of a turn leave together."""
        if not self._going_on:
            self._going_on = True
            self._clock.callLater(0, self._go_on)

    def _go_on(self) -> None:
        self._going_on = False
        if not self._ended:
            self.replica.go_on()

    # What the replica says

    def decided(self) -> None:
        """Apply what was decided."""
        entries = self.replica.entries
        if not entries or self._installing is not None or self._ended:
            return
        begun = self._uptime()
        try:
            while entries:
                self._apply(entries.popleft())
        except Fault as problem:
            self.fail(problem)
            return
        self._durations.turn_seconds.observe(self._uptime() - begun)
        self.replica.applied_to(self.applied)
        self._pending.read(self.applied)
        self._look_at_role()
        if self.applied - self._flushed >= FLUSH_ENTRIES:
            self._flush()
        elif self._flush_due is None and not self._ended:
            self._flush_due = self._clock.callLater(FLUSH_SECONDS, self._flush)

    def _apply(self, entry: Entry) -> None:
        if entry.kind != NORMAL:
            raise Damaged(f"entry {entry.index} changes the members, which this program can't")
        result: Record | Refusal = {}
        if entry.data:
            result = self.state.apply(decode_entry(entry))
        self.applied, self._applied_term = entry.index, entry.term
        self._pending.applied(entry.index, entry.term, result, self.leader)

    def _look_at_role(self) -> None:
        group = self.group
        ready = group.leads and self._applied_term == group.term
        if ready != self._ready:
            self._ready = ready
            for changed in self.role_changes:
                changed()

    def role_changed(self) -> None:
        """Learn that this member begins or ceases to lead."""
        if not self.group.leads:
            self._pending.refuse(OutcomeUnknown("another member leads now; it may have been done"))
        self._look_at_role()

    def readable(self, context: object, index: int) -> None:
        """Answer a read when what is at an index has been applied."""
        self._pending.readable(context, index)
        self._pending.read(self.applied)

    def unreadable(self, context: object) -> None:
        """Refuse a read: this member doesn't lead any more."""
        self._pending.unreadable(context, self.leader)

    def persisted(self) -> None:
        """Learn that something has become durable; nobody waits for that."""

    # To disk

    def flush_all(self, done: Callable[[], None]) -> None:
        """Write all that is applied, and call back then."""
        self._wanted.append(done)
        self._flush()

    def _flush(self) -> None:
        """Write the rows that changed, with the apply state."""
        if self._flush_due is not None and self._flush_due.active():
            self._flush_due.cancel()
        self._flush_due = None
        if self._flushing or self._installing is not None:
            return
        wanted, self._wanted = self._wanted, []
        changes = self.state.tables.take_changes()
        index, term = self.applied, self._applied_term
        table = MemTable()
        table.rows["data"].update(changes)
        table.rows["region"][apply_key(REGION)] = ApplyState(index, term).encode()
        table.rows["region"][descriptor_key(REGION)] = self.descriptor.encode()
        self._flushing = True
        begun = self._clock.seconds()
        self._durations.flush_bytes.observe(sum(len(key) + len(value or b"") for key, value in changes.items()))

        def flushed() -> None:
            self._durations.flush_seconds.observe(self._clock.seconds() - begun)
            self._flushing = False
            self._flushed = index
            self._cut(index)
            for done in wanted:
                done()
            self._flush_done()

        self._data_writer.flush(table, flushed)

    def _flush_done(self) -> None:
        if self._installing is not None:
            self._install()
        elif self._wanted or (self._ended and self.applied > self._flushed):
            self._flush()
        if not self._flushing:
            idle, self._idle = self._idle, []
            for waiting in idle:
                waiting.callback(None)

    def _cut(self, index: int) -> None:
        """Cut the log behind what is on disk, save what a member that was away may need."""
        index -= self._kept_entries
        needed = self.log_needed()
        if needed is not None:
            index = min(index, needed)
        if index <= 0 or self._ended:
            return
        batch = LogBatch()
        try:
            batch.cut(REGION, index, self.group.term_of(index))
        except Compacted:
            return
        self._log_writer.write(batch, lambda: None)

    # Snapshots

    def install(self, snapshot: SnapshotMeta, installed: Callable[[], None]) -> None:
        """Replace all that is applied by a snapshot that has arrived, and call back when that is durable."""
        self.log.info("all state is replaced by a snapshot as of entry {index}", index=snapshot.index)
        self.replica.entries.clear()
        self._installing = (snapshot, installed)
        if not self._flushing:
            self._install()

    def _install(self) -> None:
        assert self._installing is not None
        if self._flush_due is not None and self._flush_due.active():
            self._flush_due.cancel()
        self._flush_due = None
        installing = self._installer.install(REGION, self.arrived(self._installing[0]))
        installing.addCallback(self._installed)
        installing.addErrback(self._not_installed)

    def _not_installed(self, failure: Failure) -> None:
        assert failure.value is not None
        self.fail(failure.value)

    def _installed(self, row: bytes) -> None:
        assert self._installing is not None
        applied = ApplyState.decode(row)
        self.state.tables.load(load_rows(self._reader))
        described = self._reader.get("region", descriptor_key(REGION))
        if described is None:
            raise Damaged("the snapshot has no list of the members")
        self.descriptor = Descriptor.decode(REGION, described)
        self.applied = self._flushed = applied.index
        self._applied_term = applied.term
        _, installed = self._installing
        self._installing = None
        self._pending.refuse(OutcomeUnknown("another member leads now; it may have been done"))
        if self._ended:
            return
        installed()
        self._look_at_role()
        if self._wanted:
            self._flush()
        self.decided()

    # What senders of snapshots ask

    def snapshot_sent(self, peer: int, arrived: bool) -> None:
        """Learn how the sending of a snapshot ended."""
        self.group.snapshot_done(peer, arrived)
        self._go_on_soon()

    def progress(self, peer: int) -> tuple[int, int] | None:
        """Give up to where a peer has the log, and up to where it's applied here; None if that isn't known."""
        found = self.group.progress().get(peer)
        return None if found is None else (found.match, self.applied)


def _no_snapshot(snapshot: SnapshotMeta) -> str:
    raise AssertionError("no snapshot has arrived")
