"""
The life of a write within a store: turn, entry, log, apply, flush.

What arrives in one turn of the reactor becomes one entry. It goes to the log writer, which makes everything that
queued while its last fsync ran durable with the next one; then the entry is decided, applied, and its clients are
answered. Entries overlap on their way, so the disk is never waited for with idle hands.

What takes long is done in slices (L{tinykv.store.pacing}), between which the reactor has its turn; a read that meets
such work waits behind it.

Behind that, when the active memory table has grown enough or some time has passed, it is frozen between two entries,
together with the apply state as of that moment, and written to data.db in one transaction; only then the log is cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from itertools import chain
from math import inf
from random import Random
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tinykv.errors import Fault, OutOfTime
from tinykv.interfaces import IDataWriter, ILogWriter, IReadAhead, IRegionHost, ISnapshotInstaller
from tinykv.raft.log import Compacted
from tinykv.raft.messages import CHANGE, Entry, SnapshotMeta
from tinykv.raft.refusals import NotLeader, Refused
from tinykv.raft.wire import decode_change
from tinykv.redis.command_keys import keys_of
from tinykv.redis.execution import Execution
from tinykv.redis.keyspace import Database
from tinykv.redis.operations import (
    COMMANDS,
    EXEC,
    INTERNAL,
    LOCAL,
    NOBODY,
    READ,
    READ_EXEC,
    WAITING,
    Client,
    Operation,
    decode_records,
    encode_records,
    size_of,
)
from tinykv.redis.spec import CommandSpec
from tinykv.region.descriptor import Descriptor, descriptor_key
from tinykv.region.entry import COMMAND_BYTES_MAX, ENTRY_BYTES_MAX, HEADER_BYTES, decode_header, encode_header
from tinykv.region.state import ApplyState, apply_key
from tinykv.resp import replies
from tinykv.storage.rowstore import RowStore
from tinykv.storage.tables import MemTable
from tinykv.storage.writers import LogBatch
from tinykv.store.durations import Durations
from tinykv.store.pacing import Pacer
from tinykv.store.replica import Replica

_DISK_FULL = replies.error(
    b"OOM command not allowed: the disk of this store is nearly full; delete keys, or free space on it"
)
_TRY_AGAIN = replies.error(b"TRYAGAIN the store is busy writing to disk; nothing was done")
_STALLED = replies.error(b"TRYAGAIN the disk of the store does not answer; nothing was done")
_UNKNOWN = replies.error(b"TIMEOUT the disk of the store does not answer; outcome unknown")
_UNDECIDED = replies.error(b"TIMEOUT no majority of the stores has answered in time; outcome unknown")
_TOO_LARGE = replies.error(b"ERR the command is too large for the log; nothing was done")

#: A table with changes is flushed after this many seconds at the latest, so that a restart has little to replay.
FLUSH_SECONDS = 30.0
#: Expired keys whose deletion is proposed at a time.
EXPIRY_BATCH = 200
#: Random bits in the name of a run.
START_BITS = 47
#: Entries that a follower keeps behind what is in its data.db, for a follower that it may have to lead.
KEPT_ENTRIES = 10_000
#: What a READ operation carries whose client has nothing else under way.
FRESH = True
#: Keys of a batch that are read ahead at most.
READ_AHEAD_KEYS = 1000
#: Operations between two looks at the time while an entry is applied.
OPERATIONS_A_LOOK = 32
#: How far region time may lie behind the clock, in ms, when a read looks by it.
LAG_MS = 10


def _nothing() -> None:
    """Nothing is to be done, or there's nothing."""


def new_start_id(store: int, random: Random) -> int:
    """Give a name to a run of a store, by which it's known whose it is."""
    return store << START_BITS | random.getrandbits(START_BITS)


def store_of(start_id: int) -> int:
    """Say which store's run has this name."""
    return start_id >> START_BITS


def _no_snapshots(snapshot: SnapshotMeta) -> str:
    raise AssertionError("no snapshot can have arrived")


class Batch:
    """
    A turn's operations on their way.

    @ivar index: The entry that has to be decided first.
    @ivar logged: Whether they have an entry of their own, which is the one at C{index}.
    @ivar since: When it was proposed, by the clock.
    @ivar reading: Whether cold rows that they need are still being read ahead, or the others are asked whether reads
        may be done.
    @ivar asked: Whether the others have said that they may.
    """

    __slots__ = ("asked", "index", "logged", "operations", "reading", "seed", "since", "term", "time")

    def __init__(
        self, index: int, logged: bool, operations: list[Operation], time: int, seed: int, term: int, since: float
    ) -> None:
        self.index = index
        self.logged = logged
        self.operations = operations
        self.reading = False
        self.asked = False
        self.since = since
        self.time = time
        self.seed = seed
        self.term = term


class Elsewhere(Protocol):
    """Where operations go that can't be done here, since another peer leads, or none; nothing of them was done."""

    @property
    def holds(self) -> bool:
        """Whether what comes now has to wait behind operations that were taken."""

    def take(self, operations: list[Operation]) -> None:
        """Take operations behind all that were taken before."""

    def take_back(self, operations: list[Operation]) -> None:
        """Take operations that were given up here, before all that are new."""

    def leads(self, here: bool) -> None:
        """Learn whether they can be done here now."""


@implementer(IRegionHost)
class RegionHost:
    """
    Hosts a store's region.

    @ivar applied: Index of the last entry applied; C{applied_term} is its term.
    @ivar ready: Whether this peer leads and has applied an entry of its term, so that it knows all that was decided
        before and may propose and answer.
    @ivar growing_refused: Whether the disk is nearly full.
    @ivar stalled: Whether a write of the log has been under way for longer than C{request_timeout}.
    @ivar stopped: Called once with the failure that stops the store.
    """

    log = Logger()

    def __init__(
        self,
        *,
        region: int,
        replica: Replica,
        descriptor: Descriptor,
        execution: Execution,
        rows: RowStore,
        log_writer: ILogWriter,
        data_writer: IDataWriter,
        installer: ISnapshotInstaller | None = None,
        reader: IReadAhead,
        clock: IReactorTime,
        now_ms: Callable[[], int],
        random: Random,
        applied: ApplyState,
        flushed: Callable[[], None],
        answered: Callable[[], None],
        stopped: Callable[[BaseException], None],
        now: Callable[[], float],
        uptime: Callable[[], float],
        memtable_bytes: int,
        durability_os: bool,
        request_timeout: float,
        expiry_effort: int = 1,
        hz: int = 10,
        durations: Durations,
        log_entries_max: int = 1_000_000,
        log_bytes_max: int = 1 << 30,
        read_mode: str = "lease",
        command_bytes_max: int = COMMAND_BYTES_MAX,
    ) -> None:
        """
        @param now_ms: The time of day, in ms since 1970.
        @param now: The time in seconds since whenever, for how long work takes.
        @param uptime: The same, sleep included, for leases.
        """
        self.start_id = execution.start_id
        self.execution = execution
        self.keyspace = execution.keyspace
        self.rows = rows
        self.replica = replica
        self.group = replica.group
        self.descriptor = descriptor
        self.elsewhere: Elsewhere | None = None
        #: Called when C{descriptor} has changed.
        self.described: Callable[[], None] = lambda: None
        self.applied = applied.index
        self.applied_term = applied.term
        self.ready = False
        self.growing_refused = False
        self.stalled = False
        self.entries = 0
        self.flushes = 0
        self._region = region
        self._log_writer = log_writer
        self._data_writer = data_writer
        self._installer = installer
        #: Gives the file of a snapshot that has arrived.
        self.arrived: Callable[[SnapshotMeta], str] = _no_snapshots
        #: Called when a snapshot was installed, so that waiters may have gone without a word.
        self.replaced: Callable[[], None] = _nothing
        #: Names the stores that haven't been reached for so long that whoever waits there is taken for gone.
        self.lost_stores: Callable[[], Collection[int]] = tuple
        #: The index behind which the log mustn't be cut, since a snapshot as of it is on its way.
        self.log_needed: Callable[[], int | None] = _nothing
        #: The snapshot that is to take the place of all that there is, and whom to tell when it has.
        self._installing: tuple[SnapshotMeta, Callable[[], None]] | None = None
        #: Who wants a flush to begin, and who waits for how many of them to be done.
        self._flush_wanted: list[Callable[[], None]] = []
        self._flush_waiting: list[tuple[int, Callable[[], None]]] = []
        self._reader = reader
        self._clock = clock
        self._now_ms = now_ms
        self._uptime = uptime
        self._random = random
        self._flushed = flushed
        self._answered = answered
        self._stopped = stopped
        self._memtable_bytes = memtable_bytes
        self._durability_os = durability_os
        self._request_timeout = request_timeout
        self._expiry_batch = EXPIRY_BATCH * expiry_effort
        self._hz = hz
        self._durations = durations
        self._log_entries_max = log_entries_max
        self._log_bytes_max = log_bytes_max
        self._log_bytes = 0
        #: At each flush behind which the log wasn't cut yet: the index, and how many bytes of entries had been applied.
        self._log_marks: deque[tuple[int, int]] = deque()
        self._local_reads = read_mode == "local"
        self._trusts_lease = read_mode == "lease"
        self._command_bytes_max = command_bytes_max
        self._pending: list[Operation] = []
        self._batches: deque[Batch] = deque()
        self._pacer = Pacer(clock, now, answered, durations.turn_seconds.observe)
        self._turn_due = False
        #: Reads that may be answered from what is applied up to an index.
        self._readable: deque[tuple[int, list[Operation]]] = deque()
        self._proposed_time = 0
        self._entries = replica.entries
        self._flush_due: IDelayedCall | None = None
        self._ticking: IDelayedCall | None = None
        self._busy_since: float | None = None
        self._expiring = False
        #: The last entry of the index of expiries that was dealt with, as were all before it.
        self._expired: tuple[int, bytes] | None = None
        self._failed = False
        self._closing: Deferred[None] | None = None
        self._giving_up: IDelayedCall | None = None
        self._closed = False
        rows.pausing = self._pacer.pause
        rows.expected = self._expected
        log_writer.failed(self.fail)
        data_writer.failed(self.fail)
        reader.failed(self.fail)

    # Start and end

    def start(self) -> None:
        """Take part in the group; clients are answered from when it's known who leads."""
        self.replica.start(self)
        self._let_waiters_go(frozenset((store_of(self.start_id),)))
        self._tick()

    def hand_over(self) -> None:
        """Ask the voter with the longest log to lead, if this peer leads and there is another."""
        group = self.group
        candidates = {*group.membership.voters} - {group.peer}
        others = [(seen.match, peer) for peer, seen in group.progress().items() if peer in candidates]
        if not others or group.transferring:
            return
        try:
            group.transfer_leader(max(others)[1])
        except Refused as problem:
            self.log.warn("leadership isn't handed over: {why}", why=problem)
        self.replica.go_on()

    def _let_waiters_go(self, stores: Collection[int]) -> None:
        """Propose that whoever waited at earlier runs of some stores has gone."""
        gone = {waiter.origin[0] for waiter in self.execution.waiters if store_of(waiter.origin[0]) in stores}
        for start_id in sorted(gone - {self.start_id}):
            self.submit((INTERNAL, NOBODY, 0, 0, None, [b"gone", b"%d" % start_id], None))

    def close(self) -> Deferred[None]:
        """
        Finish what was taken; fires when all of it is applied and flushed, fails if the store does.

        The front sends nothing more by now, so that this comes to an end; what no majority decides is waited for no
        longer than clients wait.
        """
        if self._failed:
            return succeed(None)
        closing: Deferred[None] = Deferred()
        self._closing = closing
        if self._ticking is not None and self._ticking.active():
            self._ticking.cancel()
        if self.elsewhere is not None:
            self._giving_up = self._clock.callLater(self._request_timeout, self._give_up_undecided)
        self._maybe_closed()
        return closing

    def _give_up_undecided(self) -> None:
        """Wait no longer for a majority: what was proposed may still happen, once."""
        while self._batches and self._batches[-1].index > self.group.committed:
            for operation in self._batches.pop().operations:
                self._give_up(operation, _UNDECIDED)
        self._answered()
        self._maybe_closed()

    def _maybe_closed(self) -> None:
        if self._closing is None or self._batches or self._pending or self._pacer.running:
            return
        if self._flush_due is not None and self._flush_due.active():
            self._flush_due.cancel()
        if self.rows.active:
            self._freeze()
        if self.rows.frozen:
            return
        self._closed = True
        if self._giving_up is not None and self._giving_up.active():
            self._giving_up.cancel()
        self.replica.stop()
        closing, self._closing = self._closing, None
        closing.callback(None)

    def fail(self, problem: BaseException) -> None:
        """Stop serving: what was under way has an unknown outcome, and nobody is told otherwise."""
        if self._failed:
            return
        self._failed = True
        if not isinstance(problem, (Fault, OSError)):
            # No one foresaw it, so where it was is worth knowing.
            self.log.failure("the region fails", Failure(problem))
        self._pacer.stop()
        self.replica.stop()
        self._stopped(problem)
        if self._closing is not None:
            closing, self._closing = self._closing, None
            closing.errback(problem)

    # Turn and entry

    def submit(self, operation: Operation) -> None:
        """Take an operation in for this turn's proposal; nothing more after the end."""
        if self._closed:
            return
        self._pending.append(operation)
        if not self._turn_due:
            self._turn_due = True
            self._clock.callLater(0, self._end_turn)

    def submit_before(self, operations: list[Operation]) -> None:
        """Take operations in that came before all those which wait to be proposed."""
        if operations and not self._closed:
            self._pending[:0] = operations
            self._propose_waiting()

    def read(self, client: Client, number: int, db: int, spec: CommandSpec, arguments: list[bytes]) -> bytes | None:
        """Run a read now; None if the client is answered later."""
        pacer = self._pacer
        if self._local_reads and not pacer.paused and self._installing is None:
            return self._read_locally(client, number, db, spec, arguments)
        if not self.ready or pacer.paused or self._entries or not self._holds_lease():
            self.submit((READ, client, number, db, spec, arguments, FRESH))
            return None
        pacer.look()
        try:
            reply = self.execution.read(client, db, spec, arguments, self._now_ms())
        except OutOfTime:
            # It takes so long that it's begun anew, in slices.
            self.submit((READ, client, number, db, spec, arguments, FRESH))
            return None
        except (Fault, MemoryError, OSError) as problem:
            self.fail(problem)
            return None
        finally:
            pacer.looked()
        if type(reply) is bytes:
            return reply
        assert isinstance(reply, list)
        self._expire(reply)
        self.submit((READ, client, number, db, spec, arguments, FRESH))
        return None

    def _read_locally(
        self, client: Client, number: int, db: int, spec: CommandSpec, arguments: list[bytes]
    ) -> bytes | None:
        """Run a read on what is applied here, which may be old; what has expired by region time is absent."""
        try:
            reply = self.execution.read(client, db, spec, arguments, self.execution.time)
        except (Fault, MemoryError, OSError) as problem:
            self.fail(problem)
            return None
        assert isinstance(reply, bytes), "by region time nothing is left to be decided"
        return reply

    def refusal(self, spec: CommandSpec) -> bytes | None:
        """Say why a command can't be taken now; where another store leads, that one says it."""
        if not self.ready and self.elsewhere is not None:
            return None
        if self.stalled:
            return _STALLED
        if self.growing_refused and spec.grows:
            return _DISK_FULL
        if self._busy_since is not None and self._clock.seconds() - self._busy_since > self._request_timeout:
            return _TRY_AGAIN
        return None

    @property
    def table_bytes(self) -> int:
        """Count the memory of changes that aren't in data.db yet."""
        return self.rows.active_bytes + self.rows.frozen_bytes

    @property
    def pauses(self) -> int:
        """Count how often the applying of entries has given the reactor a turn."""
        return self._pacer.pauses

    @property
    def unresolved(self) -> bool:
        """Whether something was proposed here of which it isn't known what became of it."""
        return bool(self._batches)

    @property
    def busy(self) -> bool:
        """Whether as many tables wait for the data writer as may (R9): then proposals wait too."""
        return self.rows.full

    def _end_turn(self) -> None:
        """Make this turn's operations an entry, or several if they are large."""
        self._turn_due = False
        if self._failed:
            return
        if self.busy:
            # They wait here, and their clients with them; the flush that ends it calls again.
            if self._busy_since is None:
                self._busy_since = self._clock.seconds()
            return
        self._busy_since = None
        elsewhere = self.elsewhere
        if not self.ready or (elsewhere is not None and elsewhere.holds):
            # Where no one else could lead, it's so soon after the start that this one doesn't yet. And what is there
            # since this one didn't lead goes before what came later (R1).
            if elsewhere is not None and self._pending:
                operations, self._pending = self._pending, []
                elsewhere.take(operations)
            return
        operations = self._pending
        self._pending = []
        if not operations:
            return
        self._keep_cache()
        parts = deque(_by_size(operations))
        try:
            while parts:
                self._propose(parts[0])
                parts.popleft()
        except Refused:
            # Too much is on its way; what could not go waits until some of it is durable.
            self._pending = list(chain(*parts))
        self.replica.go_on()
        self._apply()

    def _propose(self, operations: list[Operation]) -> None:
        pieces = encode_records(operations, self.start_id)
        last = max(self.execution.time, self._proposed_time)
        time = max(self._now_ms(), last)
        if not pieces and (time - last <= LAG_MS or all(operation[0] == LOCAL for operation in operations)):
            # Reads that wait for their client's writes; they're run behind the entries before them.
            self._take(Batch(self.group.last, False, operations, 0, 0, self.group.term, self._clock.seconds()))
            return
        # Without records it only moves region time, which the reads look by.
        seed = self._random.getrandbits(64)
        data = b"".join([encode_header(time, seed), *pieces])
        size = len(data)
        if size > ENTRY_BYTES_MAX and operations[-1][0] == WAITING:
            # If it has to wait, the row that says so names its keys twice.
            size *= 2
        if size > self._command_bytes_max:
            self._refuse(operations)
            return
        self._proposed_time = time
        (index,) = self.group.propose([data])
        self._take(Batch(index, True, operations, time, seed, self.group.term, self._clock.seconds()))
        self.entries += 1

    def _take(self, batch: Batch) -> None:
        """Let a batch go on its way, and read ahead meanwhile what it will need and isn't in memory."""
        self._batches.append(batch)
        if self.keyspace.complete:
            return
        cold: list[bytes] = []
        for kind, _, _, db, spec, arguments, _ in batch.operations:
            if kind in (COMMANDS, WAITING, READ):
                self._add_cold(cold, db, spec, arguments)
            elif kind in (EXEC, READ_EXEC):
                for index, command, words, _ in arguments:
                    self._add_cold(cold, index, command, words)
        if cold:
            batch.reading = True
            self._reader.keys(cold, lambda: self._read_ahead(batch))

    def _add_cold(self, cold: list[bytes], db: int, spec: CommandSpec | None, arguments: list[bytes]) -> None:
        facts = spec.facts if spec is not None else None
        if facts is None or facts.module or len(cold) >= READ_AHEAD_KEYS:
            return
        if facts.single_key:
            keys = arguments[facts.single_key : facts.single_key + 1]
        else:
            keys = [arguments[place] for place in keys_of(facts, arguments)]
        cold += self.keyspace.cold(db, keys)

    def _read_ahead(self, batch: Batch) -> None:
        batch.reading = False
        self._apply()

    def _refuse(self, operations: list[Operation]) -> None:
        """Refuse a command that the log can't hold; it stands alone, but for reads."""
        for kind, client, number, *_ in operations:
            if kind < READ:
                client.answer(number, _TOO_LARGE)
        reads = [operation for operation in operations if operation[0] >= READ]
        if reads:
            self._propose(reads)
        self._answered()

    # Consensus

    def decided(self) -> None:
        """Learn that there's something to apply."""
        self._apply()

    def persisted(self) -> None:
        """Learn that something is durable: there may be room for more."""
        if self._pending:
            self._propose_waiting()

    def role_changed(self) -> None:
        """Learn that this peer begins or ceases to lead, or that another one does."""
        group = self.group
        ready = group.leads and self.applied_term == group.term
        if ready != self.ready:
            self.ready = ready
            self.log.info(
                "region {region}: this store {leads} in term {term}",
                region=self._region,
                leads="leads" if ready else "doesn't lead any more",
                term=group.term,
            )
        if self.elsewhere is not None:
            self.elsewhere.leads(ready)
        if self._pending:
            self._propose_waiting()

    def _holds_lease(self) -> bool:
        """Say if reads may be answered now from what is applied; the clock is looked at after they came (R18)."""
        end = self.replica.lease_end
        return end == inf or (self._trusts_lease and self._uptime() < end)

    def readable(self, context: object, index: int) -> None:
        """Learn that reads may be answered when what is at an index has been applied."""
        if isinstance(context, Batch):
            # It led when it asked and does still, so what it knew when they came is all that they have to see.
            context.reading = False
            context.asked = True
        else:
            self._readable.append((index, context))  # type: ignore[arg-type]  # it's what read_index was given
        self._apply()

    def unreadable(self, context: object) -> None:
        """Learn that reads have to be asked for anew."""
        if not isinstance(context, Batch):
            self._give_back(context)  # type: ignore[arg-type]  # as above
        elif self._batches and self._batches[0] is context:
            self._give_back(self._batches.popleft().operations)
            self._apply()

    def _give_back(self, operations: list[Operation]) -> None:
        """Let operations, of which nothing was done, be done elsewhere; nobody waits for what was given up."""
        operations = [
            operation
            for operation in operations
            if operation[1] is not NOBODY or operation[0] in (INTERNAL, WAITING, LOCAL)
        ]
        if not operations:
            return
        if self.elsewhere is not None:
            self.elsewhere.take_back(operations)
        else:
            self._pending[:0] = operations
            self._propose_waiting()

    def _propose_waiting(self) -> None:
        """Propose what came while there was no leader, or too much on its way."""
        if not self._turn_due:
            self._turn_due = True
            self._clock.callLater(0, self._end_turn)

    # Apply

    def _apply(self) -> None:
        """Begin to apply what is decided, unless that is under way."""
        if self._failed or self._pacer.running or self._installing is not None or not self._decided():
            return
        self._pacer.run(self._apply_decided, self._applied)

    def _decided(self) -> bool:
        """Say if there's something to apply, or to read from what is applied."""
        if self._readable and self._readable[0][0] <= self.applied:
            return True
        batches = self._batches
        if not batches:
            return bool(self._entries)
        batch = batches[0]
        if batch.reading:
            return False
        return bool(self._entries) or (not batch.logged and batch.index <= self.applied)

    def _apply_decided(self) -> None:
        """Apply what is decided, and what is decided meanwhile."""
        try:
            while self._installing is None and self._decided():
                batches = self._batches
                if self._readable and self._readable[0][0] <= self.applied:
                    self._run_all(self._readable.popleft()[1])
                elif batches and not batches[0].logged and batches[0].index <= self.applied:
                    self._run_reads(batches[0])
                else:
                    self._apply_entry(self._entries.popleft())
                # Here, not only at the end: under load there may always be one more that is decided.
                self._freeze_grown()
        except Exception as problem:  # noqa: BLE001 - whatever it is, the entry isn't applied, and no later one may be
            # Before the entry counts as applied: the rows stay behind, and a restart replays it.
            self.fail(problem)

    def _applied(self) -> None:
        """After something was applied: answer its clients, and see to it that it's flushed some time."""
        if self._failed:
            return
        self._answered()
        self._keep_cache()
        if self._installing is not None:
            self._install()
            return
        if self._flush_wanted:
            self._flush_now()
        if self._flush_due is None and self.rows.active:
            self._flush_due = self._clock.callLater(FLUSH_SECONDS, self._flush_old)
        self._maybe_closed()

    def _apply_entry(self, entry: Entry) -> None:
        """Apply an entry: one that this run proposed with its clients, any other with nobody."""
        assert entry.index == self.applied + 1, "entries are applied one after another"
        execution = self.execution
        batches = self._batches
        if batches and batches[0].index == entry.index and batches[0].logged and batches[0].term == entry.term:
            batch = batches.popleft()
            execution.begin_entry(batch.time, batch.seed)
            self._run_all(batch.operations)
        else:
            while batches and batches[0].term < entry.term:
                # Whatever an earlier term proposed for this index or a later one was replaced (R2).
                self._give_back(batches.popleft().operations)
            if entry.kind == CHANGE:
                self._change(entry)
            elif entry.data:
                execution.begin_entry(*decode_header(entry.data))
                self._run_all(decode_records(entry.data, HEADER_BYTES, execution.table))
        self._log_bytes += len(entry.data)
        self.applied = entry.index
        self.applied_term = entry.term
        self.replica.applied_to(entry.index)
        if not self.ready and entry.term == self.group.term:
            self.role_changed()

    def _change(self, entry: Entry) -> None:
        """Apply a change of the region's peers."""
        change = decode_change(entry.data)
        before = self.group.membership
        membership = self.group.apply_change(change)
        if membership != before:
            self.descriptor = self.descriptor.changed(change, membership)
            self.rows.put("region", descriptor_key(self._region), self.descriptor.encode())
            self.described()

    def look(self, operation: Operation) -> bool:
        """Run a step of the front's when all that was decided by now is applied here; say if that could be asked."""
        try:
            self.group.read_index([operation])
        except NotLeader:
            return False
        self._clock.callLater(0, self.replica.go_on)
        return True

    def _run_reads(self, batch: Batch) -> None:
        """
        Run reads whose place has come; without a lease ask first whether this peer still leads.

        Until the answer comes nothing behind them is applied, or they would see what their clients wrote after them.
        """
        if self.ready and (batch.asked or self._holds_lease()):
            self._batches.popleft()
            self._run_all(batch.operations)
        elif not self.ready:
            self._batches.popleft()
            self._give_back(batch.operations)
        else:
            batch.reading = True
            self.group.read_index(batch)
            self._clock.callLater(0, self.replica.go_on)

    def _run_all(self, operations: list[Operation]) -> None:
        run = self.execution.run
        for start in range(0, len(operations), OPERATIONS_A_LOOK):
            if start:
                self._pacer.pause()
            # Between two operations nobody holds what is in the cache.
            self.keyspace.turn()
            for operation in operations[start : start + OPERATIONS_A_LOOK]:
                if operation[0] < READ:
                    run(operation)
                else:
                    self._run_read(operation)

    def _expected(self, keys: list[bytes]) -> None:
        """Rest until rows have been read that are needed next, and by a process that may wait for the disk."""
        if self._pacer.can_rest:
            self._pacer.wait(lambda wake: self._reader.keys(keys, wake))

    def _keep_cache(self) -> None:
        """Keep the cache within its budget; a command that rests keeps what it holds."""
        if not self._pacer.running:
            self.keyspace.turn()

    def _run_read(self, operation: Operation) -> None:
        """
        Run a read, or a step of the front's, that kept its place behind a client's writes.

        It looks by region time: what only the clock says has expired can't be decided here and now, and if it were
        run later it would see what the client wrote behind it.
        """
        kind, client, number, db, spec, arguments, _ = operation
        if kind == LOCAL:
            arguments()
            return
        execution = self.execution
        reply = execution.read(client, db, spec if kind == READ else None, arguments, execution.time)
        assert isinstance(reply, bytes), "by region time nothing is left to be decided"
        client.answer(number, reply)

    # Expiry

    def _expire(self, noticed: list[tuple[Database, bytes]]) -> None:
        """Propose the deletion of keys that have expired by the clock (R15); it's conditional when it's applied."""
        by_database: dict[int, list[bytes]] = {}
        for db, key in noticed:
            by_database.setdefault(db.number, []).append(key)
        for number, keys in by_database.items():
            arguments = [b"expire", b"%d" % number, *dict.fromkeys(keys)]
            self.submit((INTERNAL, NOBODY, 0, 0, None, arguments, None))

    def _tick(self) -> None:
        """Some times a second: delete expired keys, cold ones too; a bounded number each time."""
        if self._failed:
            return
        self._ticking = self._clock.callLater(1 / self._hz, self._tick)
        self._look_for_stall()
        self._look_for_busy()
        if self._pending:
            # What could not be proposed waits for what nobody tells of, such as the end of a transfer that failed.
            self._propose_waiting()
        if self.ready and self.execution.waiters:
            lost = self.lost_stores()
            if lost:
                self._let_waiters_go(lost)
        self._keep_cache()
        if not self._expiring:
            self._look_for_due()

    def _look_for_stall(self) -> None:
        """
        Tell clients that the disk doesn't answer, rather than let them wait for it without a word.

        Their writes may still happen: once, if ever. Waiters of blocking commands wait anyhow, and stay.
        """
        oldest = self.replica.oldest_write
        stalled = oldest is not None and self._clock.seconds() - oldest > self._request_timeout
        if stalled != self.stalled:
            self.stalled = stalled
            if stalled:
                self.log.error("the log writer has not answered for {seconds} s", seconds=self._request_timeout)
                self.hand_over()
            else:
                self.log.info("the log writer answers again")
        late = self._clock.seconds() - self._request_timeout
        committed = self.group.committed
        given_up = False
        for batch in self._batches:
            if stalled or (batch.index > committed and batch.since < late):
                unknown = _UNKNOWN if stalled else _UNDECIDED
                batch.operations = [self._give_up(operation, unknown) for operation in batch.operations]
                given_up = True
        if given_up:
            self._answered()

    def _look_for_busy(self) -> None:
        """Refuse what has waited too long for the data writer; none of it was proposed, so nothing of it is done."""
        if self._busy_since is None or self._clock.seconds() - self._busy_since <= self._request_timeout:
            return
        if self._pending and not self._batches and not self._pacer.running:
            self._pacer.run(self._refuse_waiting, self._applied)

    def _refuse_waiting(self) -> None:
        """Refuse the writes that wait, and run the reads: with no entry under way they're all in their place."""
        waiting, self._pending = self._pending, []
        kept: list[Operation] = []
        try:
            for operation in waiting:
                if operation[0] >= READ:
                    self._run_read(operation)
                elif operation[1] is NOBODY:
                    kept.append(operation)
                else:
                    operation[1].answer(operation[2], _TRY_AGAIN)
        except Exception as problem:  # noqa: BLE001 - a read can't be answered: what it looks at is lost
            self.fail(problem)
        self._pending[:0] = kept

    @staticmethod
    def _give_up(operation: Operation, unknown: bytes) -> Operation:
        """Answer an operation that is under way; if it's done after all nobody is told."""
        kind, client, number, *rest = operation
        if kind in (WAITING, INTERNAL, LOCAL) or client is NOBODY:
            return operation
        client.answer(number, _STALLED if kind in (READ, READ_EXEC) else unknown)
        return (kind, NOBODY, 0, rest[0], rest[1], rest[2], rest[3])

    def _look_for_due(self) -> None:
        self._expiring = False
        if self._failed or self._closing is not None or self._closed or self.busy or not self.ready:
            return
        try:
            due = self.rows.due(self._now_ms(), self._expiry_batch, self._expired)
        except (Fault, MemoryError, OSError) as problem:
            self.fail(problem)
            return
        if due:
            self._expiring = True
            self._propose_due(due)

    def _propose_due(self, due: list[tuple[int, bytes]]) -> None:
        by_database: dict[int, list[bytes]] = {}
        for _, row_key in due:
            by_database.setdefault(row_key[3], []).append(row_key[9:])
        for number, keys in by_database.items():
            arguments = [b"expire", b"%d" % number, *keys]
            self.submit((INTERNAL, NOBODY, 0, 0, None, arguments, None))

        def done() -> None:
            # By now each of these has been looked at: deleted, or found to have another expiry, or none. Not so if
            # the clock was put back meanwhile, so that they had not expired in the entry's time.
            over = [entry for entry in due if entry[0] <= self.execution.time]
            for at, row_key in over:
                self.rows.forget_expiry(at, row_key)
            if over:
                # No expiry is set that isn't later than region time, so none can come before this one.
                self._expired = over[-1]
            if len(over) == self._expiry_batch:
                self._clock.callLater(0, self._look_for_due)
            else:
                self._expiring = False

        self.submit((LOCAL, NOBODY, 0, 0, None, done, None))

    # Flush

    @property
    def _grown(self) -> bool:
        """
        Say if the active table is large enough to be written.

        Nodes of large values count in it as if they were small, so that one that changes often is written seldom; but
        what has changed can't leave the memory, so they may only take a quarter of its budget.
        """
        if self.rows.active_bytes >= self._memtable_bytes:
            return True
        return self.keyspace.changed_bytes >= max(self.keyspace.budget // 4, self._memtable_bytes)

    def _freeze_grown(self) -> None:
        """Between two entries: begin a flush if the active table has grown enough, and another one may wait."""
        if self._flush_wanted:
            self._flush_now()
        elif self._grown and not self.busy:
            self._freeze()

    def _flush_old(self) -> None:
        self._flush_due = None
        if not self.rows.active or self._failed:
            return
        if self.busy or self._pacer.running or self._installing is not None:
            self._flush_due = self._clock.callLater(FLUSH_SECONDS, self._flush_old)
        else:
            self._freeze()

    def _freeze(self) -> None:
        """Freeze the active table with the apply state as of now, and send it on its way."""
        if self._flush_due is not None:
            if self._flush_due.active():
                self._flush_due.cancel()
            self._flush_due = None
        state = ApplyState(self.applied, self.applied_term, self.execution.time, self.keyspace.sequence)
        self._log_marks.append((self.applied, self._log_bytes))
        self.rows.put("region", apply_key(self._region), state.encode())
        if self.rows.get("region", descriptor_key(self._region)) is None:
            # As it was from the beginning; a snapshot carries it.
            self.rows.put("region", descriptor_key(self._region), self.descriptor.encode())
        table = self.rows.freeze()
        assert table is not None
        self.keyspace.changed_bytes = 0
        if self._durability_os:
            # The log has to be on disk as far as the rows that are about to be.
            batch = LogBatch()
            batch.sync()
            self._log_writer.write(batch, lambda: self._flush(table, state))
        else:
            self._flush(table, state)

    def _flush(self, table: MemTable, state: ApplyState) -> None:
        begun = self._clock.seconds()
        self._durations.flush_bytes.observe(table.bytes)

        def written() -> None:
            self._durations.flush_seconds.observe(self._clock.seconds() - begun)
            self._table_flushed(table, state)

        self._data_writer.flush(table, written)

    def _table_flushed(self, table: MemTable, state: ApplyState) -> None:
        """Learn that a table is in data.db: let go of it, cut the log behind it, and go on with what waited."""
        self.rows.retire(table)
        self.flushes += 1
        if self._installing is None:
            self._cut_log(state)
        self._flushed()
        while self._flush_waiting and self._flush_waiting[0][0] <= self.flushes:
            self._flush_waiting.pop(0)[1]()
        if self._flush_wanted and not self._pacer.running:
            self._flush_now()
        if not self.busy:
            self._busy_since = None
        self._propose_waiting()
        self._maybe_closed()

    def flush_all(self, done: Callable[[], None]) -> None:
        """Write all that is applied into data.db, and call back then."""
        self._flush_wanted.append(done)
        if not self._pacer.running:
            self._flush_now()

    def _flush_now(self) -> None:
        """Begin the flush that somebody waits for, if that can be now; else whatever hinders calls again."""
        if self.busy:
            return
        wanted, self._flush_wanted = self._flush_wanted, []
        self._freeze()
        target = self.flushes + len(self.rows.frozen)
        self._flush_waiting += [(target, done) for done in wanted]

    def snapshot_sent(self, peer: int, arrived: bool) -> None:
        """Learn whether a snapshot that the group sent has arrived."""
        self.group.snapshot_done(peer, arrived)
        self._clock.callLater(0, self.replica.go_on)

    # Snapshots that arrive

    def install(self, snapshot: SnapshotMeta, installed: Callable[[], None]) -> None:
        """Replace all that is applied by a snapshot that has arrived, and call back when that is durable."""
        what = "region {region} is replaced by a snapshot as of entry {index}"
        self.log.info(what, region=self._region, index=snapshot.index)
        self._entries.clear()
        self._installing = (snapshot, installed)
        if not self._pacer.running:
            self._install()

    def _install(self) -> None:
        """Begin, now that nothing is being applied: what is older goes to data.db before (R10)."""
        again: list[Operation] = []
        for batch in self._batches:
            # It may be contained in the snapshot, or replaced: nobody can tell any more (R2).
            for operation in batch.operations:
                kind, client, *_ = operation
                if kind >= READ or (kind == INTERNAL and client is NOBODY):
                    # To do it again changes nothing, and a step of the front's was never begun.
                    again.append(operation)
                else:
                    self._give_up(operation, _UNDECIDED)
        for _, operations in self._readable:
            again += operations
        self._batches.clear()
        self._readable.clear()
        self._give_back(again)
        self._answered()
        self.flush_all(self._install_file)

    def _install_file(self) -> None:
        assert self._installing is not None and self._installer is not None
        snapshot, _ = self._installing
        installing = self._installer.install(self._region, self.arrived(snapshot))
        installing.addCallback(self._file_installed)
        installing.addErrback(self._not_installed)

    def _not_installed(self, failure: Failure) -> None:
        assert failure.value is not None
        self.fail(failure.value)

    def _file_installed(self, row: bytes) -> None:
        """Take over the new rows, in slices: finding out what there is takes a while."""
        self.rows.replaced(self._region, b"", b"")
        self._pacer.run(lambda: self._load(ApplyState.decode(row)), self._loaded)

    def _load(self, state: ApplyState) -> None:
        execution = self.execution
        try:
            execution.forget()
            execution.keyspace.sequence = state.sequence
            execution.load(state.time)
            described = self.rows.get("region", descriptor_key(self._region))
            assert isinstance(described, bytes), "every region has a descriptor"
            self.descriptor = Descriptor.decode(self._region, described)
        except Exception as problem:  # noqa: BLE001 - rows that can't be read stop the store, whatever it is
            self.fail(problem)
            return
        self.applied = state.index
        self.applied_term = state.term

    def _loaded(self) -> None:
        if self._failed or self._installing is None:
            return
        _, installed = self._installing
        self._installing = None
        self.replaced()
        self.described()
        installed()
        self._answered()
        self._apply()
        self._maybe_closed()

    def _log_bytes_begin(self) -> int:
        """Name the last index at a flush before which entries lie that are too many bytes to be kept."""
        marks = self._log_marks
        begin = 0
        while marks and self._log_bytes - marks[0][1] > self._log_bytes_max:
            begin = marks.popleft()[0]
        return begin

    def _cut_log(self, state: ApplyState) -> None:
        """
        Cut the log behind what is in data.db; what a slow follower still needs stays, within the limit.

        A follower keeps as much as a leader would for others: it may be asked to lead next.
        """
        group = self.group
        index = state.index
        others = [progress.match for peer, progress in group.progress().items() if peer != group.peer]
        if group.membership.voters != (group.peer,):
            behind = min(others) if group.leads else index - KEPT_ENTRIES
            index = min(index, max(behind, index - self._log_entries_max, self._log_bytes_begin()))
        needed = self.log_needed()
        if needed is not None:
            index = min(index, needed)
        while self._log_marks and self._log_marks[0][0] <= index:
            self._log_marks.popleft()
        batch = LogBatch()
        if index == state.index:
            batch.cut(self._region, index, state.term)
        elif index > 0:
            try:
                batch.cut(self._region, index, group.term_of(index))
            except Compacted:
                return
        if batch:
            self._log_writer.write(batch, lambda: None)


def _by_size(operations: list[Operation]) -> list[list[Operation]]:
    """Cut a turn's operations where an entry would grow too large; a single large one stands alone."""
    parts: list[list[Operation]] = []
    start = size = 0
    for place, operation in enumerate(operations):
        length = 0 if operation[0] in (READ, LOCAL) else size_of(operation)
        if size and size + length > ENTRY_BYTES_MAX:
            parts.append(operations[start:place])
            start = place
            size = 0
        size += length
    parts.append(operations[start:])
    return parts
