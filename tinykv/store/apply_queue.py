"""
What a region applies, in order: entries that are decided, and between them the reads that kept their place.

An entry that this run proposed is applied with its clients, who are answered; any other one with nobody. What takes
long is done in slices (L{tinykv.store.pacing}), between which the reactor has its turn.

Where another peer leads, nobody waits for an entry as a rule. So entries gather there for a moment, and are applied
together: that takes half of what each takes alone, when others have had the processor's caches in between. What
somebody waits for is applied at once: a read, a blocked client, a change of the peers, a split. When it's time for one
of a store's regions, the others apply what has gathered there, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from tinykv.interfaces import IReadAhead
from tinykv.raft.messages import CHANGE, Entry
from tinykv.redis import looks
from tinykv.redis.execution import Execution
from tinykv.redis.operations import LOCAL, LOOK, READ, Operation, decode_records
from tinykv.redis.ownership import owns
from tinykv.region.entry import HEADER_BYTES, decode_header
from tinykv.region.state import ApplyState
from tinykv.store.batches import Batch, cold_keys
from tinykv.store.lease import Lease
from tinykv.store.merge_entries import merges, takes_in
from tinykv.store.pacing import Pacer, Stacks
from tinykv.store.remote_clients import RemoteClient
from tinykv.store.replica import Replica
from tinykv.store.splitting import splits

#: Operations between two looks at the time while an entry is applied.
OPERATIONS_A_LOOK = 32
#: For how many seconds entries gather at most where nobody waits for them. Who leads next has them to apply first.
BEHIND_SECONDS = 0.1
#: And how many bytes of them: some 2,000 small commands.
BEHIND_BYTES = 256 * 1024


class ApplyQueue:
    """
    Where a region's data stands, and what comes next.

    @ivar applied: Index of the last entry applied; C{applied_term} is its term.
    @ivar ready: Whether this peer leads and has applied an entry of its term, so that it knows all that was decided
        before and may propose and answer.
    @ivar held: Whether nothing is to be applied, since a snapshot takes the place of all that is.
    @ivar failed: Whether nothing is to be applied any more.
    @ivar bytes: How many bytes of entries were applied in this run.
    @ivar batches: What was proposed here and isn't applied, in order.
    @ivar readable: Reads that may be answered from what is applied up to an index.
    @ivar between: To be set: called after each entry, when all its changes are there and none of the next; says whether
        the next one has to wait.
    @ivar may_take_in: To be set: says whether an entry that takes in another region may be applied; if not, the queue
        is called when it may.
    @ivar give_back: To be set: takes operations of which nothing was done.
    """

    between: Callable[[], bool]
    may_take_in: Callable[[Entry], bool]
    give_back: Callable[[list[Operation]], None]

    def __init__(
        self,
        *,
        replica: Replica,
        execution: Execution,
        reader: IReadAhead,
        pacer: Pacer,
        stacks: Stacks,
        lease: Lease,
        clock: IReactorTime,
        now_ms: Callable[[], int],
        applied: ApplyState,
        change: Callable[[Entry], None],
        done: Callable[[], None],
        leads: Callable[[], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        """
        @param now_ms: The time of day, in ms since 1970.
        @param change: Applies a change of the region's peers.
        @param done: Called when all that is decided has been applied.
        @param leads: Called when the first entry of the own term was applied.
        """
        self.applied = applied.index
        self.applied_term = applied.term
        self.ready = False
        self.held = False
        self.failed = False
        self.bytes = 0
        self.batches: deque[Batch] = deque()
        self.readable: deque[tuple[int, list[Operation]]] = deque()
        self._replica = replica
        self._group = replica.group
        self._entries = replica.entries
        self._execution = execution
        self._keyspace = execution.keyspace
        self._reader = reader
        self._pacer = pacer
        self._stacks = stacks
        self._holds_lease = lease.holds
        self._clock = clock
        self._now_ms = now_ms
        self._change = change
        self._done = done
        self._leads = leads
        self._fail = fail
        #: Whether entries wait for more of them; up to which they were looked at, their size, and what ends that.
        self._gathers = False
        self._gathered = 0
        self._gathered_bytes = 0
        self._gathering: IDelayedCall | None = None
        #: Until when somebody waits for what isn't there yet, by the clock.
        self._hurried_until = 0.0

    # What comes

    def take(self, batch: Batch) -> None:
        """Let a batch go on its way, and read ahead meanwhile what it will need and isn't in memory."""
        self.batches.append(batch)
        if self._keyspace.complete:
            return
        cold = cold_keys(batch.operations, self._keyspace)
        if cold:
            batch.reading = True
            self._reader.keys(cold, lambda: self._read_ahead(batch))

    def _read_ahead(self, batch: Batch) -> None:
        batch.reading = False
        self.go_on()

    def may_read(self, context: object, index: int) -> None:
        """Learn that reads may be answered when what is at an index has been applied."""
        if isinstance(context, Batch):
            # It led when it asked and does still, so what it knew when they came is all that they have to see.
            context.reading = False
            context.asked = True
        else:
            self.readable.append((index, context))  # type: ignore[arg-type]  # it's what read_index was given
        self.go_on()

    def may_not_read(self, context: object) -> None:
        """Learn that reads have to be asked for anew."""
        if not isinstance(context, Batch):
            self.give_back(context)  # type: ignore[arg-type]  # as above
        elif self.batches and self.batches[0] is context:
            self.give_back(self.batches.popleft().operations)
            self.go_on()

    # What is done

    def go_on(self) -> None:
        """Begin to apply what is decided, unless that is under way."""
        if self.failed or self._pacer.running or self.held or self._stacks.held or not self._decided():
            return
        if self._may_gather():
            self._gathers = True
            self._stacks.gathering[self.catch_up] = None
            if self._gathering is None:
                self._gathering = self._clock.callLater(BEHIND_SECONDS, self._gathered_enough)
        else:
            self._run()

    def catch_up(self) -> None:
        """Begin to apply all that is decided, though nothing here waits for it."""
        if self._gathers and not (self.failed or self._pacer.running or self.held or self._stacks.held):
            self._run()

    def hurry(self) -> None:
        """Learn that somebody waits for what will be decided soon."""
        self._hurried_until = self._clock.seconds() + BEHIND_SECONDS
        self.catch_up()

    def stop(self) -> None:
        """Look at the clock no more."""
        self._stacks.gathering.pop(self.catch_up, None)
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None

    def begin_anew(self) -> None:
        """Begin again where nothing is: another peer takes the place of the one that was here."""
        self.stop()
        self.applied = self.applied_term = 0
        self.ready = self.held = self._gathers = False
        self._gathered = self._gathered_bytes = 0
        self._hurried_until = 0.0

    def _run(self) -> None:
        if self._gathers:
            self._gathers = False
            self.stop()
        self._gathered_bytes = 0
        self._pacer.run(self._apply_decided, self._done)

    def _gathered_enough(self) -> None:
        self._gathering = None
        self.catch_up()
        self._stacks.catch_up(self._clock.seconds)

    def _may_gather(self) -> bool:
        """Say if what is decided may wait for more, since nobody waits for it."""
        if self._group.leads or self.batches or self.readable or self._execution.waiters.by_origin:
            return False
        if self._hurried_until and self._clock.seconds() < self._hurried_until:
            return False
        entries = self._entries
        for entry in reversed(entries):
            if entry.index <= self._gathered:
                break
            if entry.kind == CHANGE or splits(entry.data) or merges(entry.data):
                return False
            self._gathered_bytes += len(entry.data)
        self._gathered = entries[-1].index
        return self._gathered_bytes < BEHIND_BYTES

    def _decided(self) -> bool:
        """Say if there's something to apply, or to read from what is applied."""
        if self.readable and self.readable[0][0] <= self.applied:
            return True
        batches = self.batches
        if not batches:
            return bool(self._entries)
        batch = batches[0]
        if batch.reading:
            return False
        return bool(self._entries) or (not batch.logged and batch.index <= self.applied)

    def _apply_decided(self) -> None:
        """Apply what is decided, and what is decided meanwhile."""
        try:
            while not self.held and self._decided():
                batches = self.batches
                if self.readable and self.readable[0][0] <= self.applied:
                    self._run_all(self.readable.popleft()[1])
                elif batches and not batches[0].logged and batches[0].index <= self.applied:
                    self._run_reads(batches[0])
                elif takes_in(self._entries[0].data) and not self.may_take_in(self._entries[0]):
                    break
                else:
                    self._apply_entry(self._entries.popleft())
                # Here, not only at the end: under load there may always be one more that is decided.
                if self.between():
                    break
        except Exception as problem:  # noqa: BLE001 - whatever it is, the entry isn't applied, and no later one may be
            # Before the entry counts as applied: the rows stay behind, and a restart replays it.
            self._fail(problem)

    def _apply_entry(self, entry: Entry) -> None:
        """Apply an entry: one that this run proposed with its clients, any other with nobody."""
        assert entry.index == self.applied + 1, "entries are applied one after another"
        execution = self._execution
        batches = self.batches
        if batches and batches[0].index == entry.index and batches[0].logged and batches[0].term == entry.term:
            batch = batches.popleft()
            execution.begin_entry(batch.time, batch.seed)
            self._run_all(batch.operations)
        else:
            while batches and batches[0].term < entry.term:
                # Whatever an earlier term proposed for this index or a later one was replaced (R2).
                self.give_back(batches.popleft().operations)
            if entry.kind == CHANGE:
                self._change(entry)
            elif entry.data:
                execution.begin_entry(*decode_header(entry.data))
                self._run_all(decode_records(entry.data, HEADER_BYTES, execution.table))
        self.bytes += len(entry.data)
        self.applied = entry.index
        self.applied_term = entry.term
        self._replica.applied_to(entry.index)
        if not self.ready and entry.term == self._group.term:
            self._leads()

    def _run_reads(self, batch: Batch) -> None:
        """
        Run reads whose place has come; without a lease ask first whether this peer still leads.

        Until the answer comes nothing behind them is applied, or they would see what their clients wrote after them.
        """
        if self.ready and (batch.asked or self._holds_lease()):
            self.batches.popleft()
            self._run_all(batch.operations)
        elif not (self.ready and self._group.leads):
            # The entry before may have taken the lead from this peer, which is told to all others later.
            self.batches.popleft()
            self.give_back(batch.operations)
        else:
            batch.reading = True
            self._group.read_index(batch)
            self._clock.callLater(0, self._replica.go_on)

    def _run_all(self, operations: list[Operation]) -> None:
        run_from = self._execution.run_from
        for start in range(0, len(operations), OPERATIONS_A_LOOK):
            if start:
                self._pacer.pause()
            # Between two operations nobody holds what is in the cache.
            self._keyspace.turn()
            some = operations[start : start + OPERATIONS_A_LOOK]
            place, end = 0, len(some)
            while place < end:
                if some[place][0] < READ:
                    place += run_from(some, place)
                else:
                    self.run_read(some[place])
                    place += 1

    def run_read(self, operation: Operation) -> None:
        """
        Run a read, or a step of the front's, that kept its place behind a client's writes.

        It looks by region time: what only the clock says has expired can't be decided here and now, and if it were
        run later it would see what the client wrote behind it.
        """
        kind, client, number, db, spec, arguments, _ = operation
        if kind == LOCAL:
            arguments()
            return
        if type(client) is RemoteClient and client.put_off():
            return
        execution = self._execution
        if execution.narrow and not owns(self._keyspace.slots, operation):
            execution.elsewhere(operation)
            return
        if kind == LOOK:
            client.answer(number, looks.answer(execution, db, arguments, self._now_ms()))
            return
        reply = execution.read(client, db, spec if kind == READ else None, arguments, execution.time)
        assert isinstance(reply, bytes), "by region time nothing is left to be decided"
        client.answer(number, reply)

    # Memory

    def keep_cache(self) -> None:
        """Keep the cache within its budget; a command that rests keeps what it holds."""
        if not self._pacer.running:
            self._keyspace.turn()
