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
from collections.abc import Callable
from itertools import chain
from random import Random
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from tinykv.errors import Fault, OutOfTime
from tinykv.interfaces import IDataWriter, ILogWriter, IReadAhead, IRegionHost
from tinykv.raft.group import Group, Ready
from tinykv.raft.messages import Entry
from tinykv.raft.refusals import Refused
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
    encode_records,
)
from tinykv.redis.spec import CommandSpec
from tinykv.region.entry import COMMAND_BYTES_MAX, ENTRY_BYTES_MAX, encode_header
from tinykv.region.state import ApplyState, apply_key
from tinykv.resp import replies
from tinykv.storage.rowstore import RowStore
from tinykv.storage.tables import MemTable
from tinykv.storage.writers import LogBatch
from tinykv.store.pacing import Pacer

_DISK_FULL = replies.error(
    b"OOM command not allowed: the disk of this store is nearly full; delete keys, or free space on it"
)
_TRY_AGAIN = replies.error(b"TRYAGAIN the store is busy writing to disk; nothing was done")
_STALLED = replies.error(b"TRYAGAIN the disk of the store does not answer; nothing was done")
_UNKNOWN = replies.error(b"TIMEOUT the disk of the store does not answer; outcome unknown")
_TOO_LARGE = replies.error(b"ERR the command is too large for the log; nothing was done")

#: The time between two ticks of the consensus, in seconds.
TICK_SECONDS = 0.1
#: A table with changes is flushed after this many seconds at the latest, so that a restart has little to replay.
FLUSH_SECONDS = 30.0
#: Expired keys whose deletion is proposed at a time.
EXPIRY_BATCH = 200
#: Keys of a batch that are read ahead at most.
READ_AHEAD_KEYS = 1000
#: Operations between two looks at the time while an entry is applied.
OPERATIONS_A_LOOK = 32
#: How far region time may lie behind the clock, in ms, when a read looks by it.
LAG_MS = 10


class Histogram(Protocol):
    """Takes observations, as C{prometheus_client.Histogram} does."""

    def observe(self, amount: float) -> None:
        """Take one."""


class Durations(Protocol):
    """Where the host tells how long its slow steps took; see L{tinykv.server.metrics.Metrics}."""

    @property
    def log_commit_seconds(self) -> Histogram:
        """From handing a turn's entries to the log writer until they're durable."""

    @property
    def log_commit_bytes(self) -> Histogram:
        """The bytes of such entries."""

    @property
    def flush_seconds(self) -> Histogram:
        """From handing a table to the data writer until it's in data.db."""

    @property
    def flush_bytes(self) -> Histogram:
        """The memory of such a table."""

    @property
    def turn_seconds(self) -> Histogram:
        """How long applying what was decided held the reactor at a time."""


class Batch:
    """
    A turn's operations on their way.

    @ivar index: The entry that has to be decided first.
    @ivar logged: Whether they have an entry of their own, which is the one at C{index}.
    @ivar reading: Whether cold rows that they need are still being read ahead.
    """

    __slots__ = ("index", "logged", "operations", "reading", "seed", "term", "time")

    def __init__(self, index: int, logged: bool, operations: list[Operation], time: int, seed: int, term: int) -> None:
        self.index = index
        self.logged = logged
        self.operations = operations
        self.reading = False
        self.time = time
        self.seed = seed
        self.term = term


@implementer(IRegionHost)
class RegionHost:
    """
    Hosts a store's region.

    @ivar applied: Index of the last entry applied; C{applied_term} is its term.
    @ivar ready: Whether the entry that opened this run's term has been applied, so that reads may be answered.
    @ivar growing_refused: Whether the disk is nearly full.
    @ivar stalled: Whether a write of the log has been under way for longer than C{request_timeout}.
    @ivar stopped: Called once with the failure that stops the store.
    """

    log = Logger()

    def __init__(
        self,
        *,
        region: int,
        peer: int,
        group: Group,
        execution: Execution,
        rows: RowStore,
        log_writer: ILogWriter,
        data_writer: IDataWriter,
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
        self.group = group
        self.applied = applied.index
        self.applied_term = applied.term
        self.ready = False
        self.growing_refused = False
        self.stalled = False
        self.entries = 0
        self.flushes = 0
        self._region = region
        self._peer = peer
        self._log_writer = log_writer
        self._data_writer = data_writer
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
        self._command_bytes_max = command_bytes_max
        self._pending: list[Operation] = []
        self._batches: deque[Batch] = deque()
        self._pacer = Pacer(clock, now, answered, durations.turn_seconds.observe)
        self._turn_due = False
        #: When each write of the log that is under way began, oldest first.
        self._writes: deque[float] = deque()
        self._proposed_time = 0
        #: Entries to be applied, in order.
        self._entries: deque[Entry] = deque()
        self._flush_due: IDelayedCall | None = None
        self._ticking: IDelayedCall | None = None
        self._group_ticking: IDelayedCall | None = None
        self._busy_since: float | None = None
        self._expiring = False
        #: The last entry of the index of expiries that was dealt with, as were all before it.
        self._expired: tuple[int, bytes] | None = None
        self._failed = False
        self._closing: Deferred[None] | None = None
        self._closed = False
        rows.pausing = self._pacer.pause
        rows.expected = self._expected
        log_writer.failed(self._fail)
        data_writer.failed(self._fail)
        reader.failed(self._fail)

    # Start and end

    def start(self) -> None:
        """Ask to lead; reads are answered from when the first entry of this run's term is applied."""
        self.group.campaign(self._uptime())
        self._go_on()
        gone = {waiter.origin[0] for waiter in self.execution.waiters}
        for start_id in sorted(gone):
            self.submit((INTERNAL, NOBODY, 0, 0, None, [b"gone", b"%d" % start_id], None))
        self._tick()
        self._tick_group()

    def close(self) -> Deferred[None]:
        """
        Finish what was taken; fires when all of it is applied and flushed, fails if the store does.

        The front sends nothing more by now, so that this comes to an end.
        """
        if self._failed:
            return succeed(None)
        closing: Deferred[None] = Deferred()
        self._closing = closing
        for call in (self._ticking, self._group_ticking):
            if call is not None and call.active():
                call.cancel()
        self._maybe_closed()
        return closing

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
        closing, self._closing = self._closing, None
        closing.callback(None)

    def _fail(self, problem: BaseException) -> None:
        """Stop serving: what was under way has an unknown outcome, and nobody is told otherwise."""
        if self._failed:
            return
        self._failed = True
        self._pacer.stop()
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

    def read(self, client: Client, number: int, db: int, spec: CommandSpec, arguments: list[bytes]) -> bytes | None:
        """Run a read now; None if the client is answered later."""
        pacer = self._pacer
        if not self.ready or pacer.paused:
            self.submit((READ, client, number, db, spec, arguments, None))
            return None
        pacer.look()
        try:
            reply = self.execution.read(client, db, spec, arguments, self._now_ms())
        except OutOfTime:
            # It takes so long that it's begun anew, in slices.
            self.submit((READ, client, number, db, spec, arguments, None))
            return None
        except (Fault, MemoryError, OSError) as problem:
            self._fail(problem)
            return None
        finally:
            pacer.looked()
        if type(reply) is bytes:
            return reply
        assert isinstance(reply, list)
        self._expire(reply)
        self.submit((READ, client, number, db, spec, arguments, None))
        return None

    def refusal(self, spec: CommandSpec) -> bytes | None:
        """Say why a command can't be taken now."""
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
        if not self.group.leads:
            # So soon after the start; whoever begins to lead calls again.
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
        self._go_on()
        self._apply()

    def _propose(self, operations: list[Operation]) -> None:
        pieces = encode_records(operations, self.start_id)
        last = max(self.execution.time, self._proposed_time)
        time = max(self._now_ms(), last)
        if not pieces and (time - last <= LAG_MS or all(operation[0] == LOCAL for operation in operations)):
            # Reads that wait for their client's writes; they're run behind the entries before them.
            self._take(Batch(self.group.last, False, operations, 0, 0, 0))
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
        self._take(Batch(index, True, operations, time, seed, self.group.term))
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

    def _tick_group(self) -> None:
        if self._failed:
            return
        self._group_ticking = self._clock.callLater(TICK_SECONDS, self._tick_group)
        self.group.tick(self._uptime())
        self._go_on()

    def _go_on(self) -> None:
        """Do what the group says is to be done: write, and apply what is decided."""
        while not self._failed:
            ready = self.group.ready()
            if ready is None:
                return
            assert not ready.messages and not ready.promises and ready.snapshot is None, "there is no one else"
            if ready.number:
                self._write(ready)
            if ready.committed:
                self._entries += ready.committed
                self._apply()

    def _write(self, ready: Ready) -> None:
        batch = LogBatch()
        state = ready.hard_state
        if state is not None:
            batch.hard_state(self._region, self._peer, state.term, state.vote, state.commit)
        entries = ready.entries
        if entries:
            batch.append(self._region, entries[0].index, [(entry.term, entry.data) for entry in entries])
        begun = self._clock.seconds()
        self._writes.append(begun)
        number = ready.number

        def written() -> None:
            self._writes.popleft()
            durations = self._durations
            durations.log_commit_seconds.observe(self._clock.seconds() - begun)
            durations.log_commit_bytes.observe(sum([len(entry.data) for entry in entries]))
            self.group.persisted(number)
            self._go_on()
            self._propose_waiting()

        self._log_writer.write(batch, written)

    def _propose_waiting(self) -> None:
        """Propose what came while there was no leader, or too much on its way."""
        if self._pending and not self._turn_due and self.group.leads:
            self._turn_due = True
            self._clock.callLater(0, self._end_turn)

    # Apply

    def _apply(self) -> None:
        """Begin to apply what is decided, unless that is under way."""
        if self._failed or self._pacer.running or not self._decided():
            return
        self._pacer.run(self._apply_decided, self._applied)

    def _decided(self) -> bool:
        """Say if there's something to apply, or to read from what is applied."""
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
            while self._decided():
                batches = self._batches
                if batches and not batches[0].logged and batches[0].index <= self.applied:
                    self._run_all(batches.popleft().operations)
                else:
                    self._apply_entry(self._entries.popleft())
                # Here, not only at the end: under load there may always be one more that is decided.
                self._freeze_grown()
        except Exception as problem:  # noqa: BLE001 - whatever it is, the entry isn't applied, and no later one may be
            # Before the entry counts as applied: the rows stay behind, and a restart replays it.
            self._fail(problem)

    def _applied(self) -> None:
        """After something was applied: answer its clients, and see to it that it's flushed some time."""
        if self._failed:
            return
        self._answered()
        self._keep_cache()
        if self._flush_due is None and self.rows.active:
            self._flush_due = self._clock.callLater(FLUSH_SECONDS, self._flush_old)
        self._maybe_closed()

    def _apply_entry(self, entry: Entry) -> None:
        """Apply an entry: one that this run proposed with its clients, any other with nobody."""
        assert entry.index == self.applied + 1, "entries are applied one after another"
        batches = self._batches
        if batches and batches[0].logged and batches[0].index == entry.index:
            batch = batches.popleft()
            assert batch.term == entry.term, "there is no one else who could have replaced it"
            self.execution.begin_entry(batch.time, batch.seed)
            self._run_all(batch.operations)
        else:
            assert not entry.data, "what the log held at the start is applied by then"
            self.ready = True
        self.applied = entry.index
        self.applied_term = entry.term
        self.group.applied_to(entry.index)

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
        self._keep_cache()
        if not self._expiring:
            self._look_for_due()

    def _look_for_stall(self) -> None:
        """
        Tell clients that the disk doesn't answer, rather than let them wait for it without a word.

        Their writes may still happen: once, if ever. Waiters of blocking commands wait anyhow, and stay.
        """
        stalled = bool(self._writes) and self._clock.seconds() - self._writes[0] > self._request_timeout
        if stalled != self.stalled:
            self.stalled = stalled
            if stalled:
                self.log.error("the log writer has not answered for {seconds} s", seconds=self._request_timeout)
            else:
                self.log.info("the log writer answers again")
        if stalled:
            for batch in self._batches:
                batch.operations = [self._give_up(operation) for operation in batch.operations]
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
            self._fail(problem)
        self._pending[:0] = kept

    @staticmethod
    def _give_up(operation: Operation) -> Operation:
        """Answer an operation that is under way; if it's done after all nobody is told."""
        kind, client, number, *rest = operation
        if kind in (WAITING, INTERNAL, LOCAL) or client is NOBODY:
            return operation
        client.answer(number, _STALLED if kind in (READ, READ_EXEC) else _UNKNOWN)
        return (kind, NOBODY, 0, rest[0], rest[1], rest[2], rest[3])

    def _look_for_due(self) -> None:
        self._expiring = False
        if self._failed or self._closing is not None or self._closed or self.busy or not self.ready:
            return
        try:
            due = self.rows.due(self._now_ms(), self._expiry_batch, self._expired)
        except (Fault, MemoryError, OSError) as problem:
            self._fail(problem)
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
        if self._grown and not self.busy:
            self._freeze()

    def _flush_old(self) -> None:
        self._flush_due = None
        if not self.rows.active or self._failed:
            return
        if self.busy or self._pacer.running:
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
        self.rows.put("region", apply_key(self._region), state.encode())
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
        batch = LogBatch()
        batch.cut(self._region, state.index, state.term)
        self._log_writer.write(batch, lambda: None)
        self._flushed()
        if not self.busy:
            self._busy_since = None
        self._propose_waiting()
        self._maybe_closed()


def _by_size(operations: list[Operation]) -> list[list[Operation]]:
    """Cut a turn's operations where an entry would grow too large; a single large one stands alone."""
    parts: list[list[Operation]] = []
    start = size = 0
    for place, operation in enumerate(operations):
        length = _size(operation)
        if size and size + length > ENTRY_BYTES_MAX:
            parts.append(operations[start:place])
            start = place
            size = 0
        size += length
    parts.append(operations[start:])
    return parts


def _size(operation: Operation) -> int:
    raw: Any = operation[6]
    if type(raw) is bytes:
        return len(raw)
    if operation[0] in (EXEC, READ_EXEC):
        return sum(sum(map(len, command[2])) for command in operation[5])
    if operation[0] >= READ:
        return 0
    return sum(map(len, operation[5]))
