"""
How changes reach data.db: the active memory table is frozen between two entries, and written in one transaction.

With it goes the apply state as of that moment (R4). It's done when the table has grown enough, when it's old, or when
somebody asks for it; and only behind it the log is cut.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from tinykv.interfaces import IDataWriter, ILogWriter
from tinykv.redis.execution import Execution
from tinykv.region.descriptor import Descriptor, descriptor_key
from tinykv.region.state import ApplyState, apply_key
from tinykv.storage.rowstore import RowStore
from tinykv.storage.tables import MemTable
from tinykv.storage.writers import LogBatch
from tinykv.store.apply_queue import ApplyQueue
from tinykv.store.durations import Durations
from tinykv.store.log_cut import LogCut
from tinykv.store.pacing import Pacer

#: A table with changes is flushed after this many seconds at the latest, so that a restart has little to replay.
FLUSH_SECONDS = 30.0


class Flushes:
    """
    A region's changes on their way to data.db.

    @ivar count: How many tables were written.
    """

    def __init__(
        self,
        *,
        region: int,
        queue: ApplyQueue,
        execution: Execution,
        rows: RowStore,
        log_writer: ILogWriter,
        data_writer: IDataWriter,
        log_cut: LogCut,
        pacer: Pacer,
        clock: IReactorTime,
        durations: Durations,
        memtable_bytes: int,
        durability_os: bool,
        descriptor: Callable[[], Descriptor],
        flushed: Callable[[], None],
        room: Callable[[], None],
    ) -> None:
        """
        @param flushed: Called when a table is in data.db.
        @param room: Called at the end of that: there may be room for what waits.
        """
        self.count = 0
        self._region = region
        self._queue = queue
        self._execution = execution
        self._keyspace = execution.keyspace
        self._rows = rows
        self._log_writer = log_writer
        self._data_writer = data_writer
        self._log_cut = log_cut
        self._pacer = pacer
        self._clock = clock
        self._durations = durations
        self._memtable_bytes = memtable_bytes
        self._durability_os = durability_os
        self._descriptor = descriptor
        self._flushed = flushed
        self._room = room
        #: Who wants a flush to begin, and who waits for how many of them to be done.
        self._wanted: list[Callable[[], None]] = []
        self._waiting: list[tuple[int, Callable[[], None]]] = []
        self._due: IDelayedCall | None = None
        #: Who wants data.db to be as of exactly the entry that is being applied.
        self._exactly: Callable[[], None] | None = None
        #: The table with which it will be so, and whom to tell; and those behind it, which wait meanwhile.
        self._exact: tuple[MemTable, Callable[[], None]] | None = None
        self._kept_back: list[tuple[MemTable, ApplyState]] = []
        self._keeps_back = False

    def flush_all(self, done: Callable[[], None]) -> None:
        """Write all that is applied into data.db, and call back then."""
        self._wanted.append(done)
        if not self._pacer.running:
            self._flush_now()

    def flush_exactly(self, done: Callable[[], None]) -> None:
        """
        Freeze behind the entry that is being applied, even if as many tables wait as may, and call back when data.db is
        as of exactly that. It stays so until L{let_flush}, which mustn't be long.
        """
        assert not (self._keeps_back or self._exact or self._exactly), "one at a time"
        self._exactly = done

    def let_flush(self) -> None:
        """Nobody needs data.db as it is any more; or, if it wasn't so yet, nobody will be called back."""
        self._exactly = self._exact = None
        self._keeps_back = False
        kept, self._kept_back = self._kept_back, []
        for table, state in kept:
            self._flush(table, state)

    @property
    def _grown(self) -> bool:
        """
        Say if the active table is large enough to be written.

        Nodes of large values count in it as if they were small, so that one that changes often is written seldom; but
        what has changed can't leave the memory, so they may only take a quarter of its budget.
        """
        if self._rows.active_bytes >= self._memtable_bytes:
            return True
        return self._keyspace.changed_bytes >= max(self._keyspace.budget // 4, self._memtable_bytes)

    def between(self) -> None:
        """Between two entries: begin a flush if the active table has grown enough, and another one may wait."""
        if self._exactly is not None:
            done, self._exactly = self._exactly, None
            self._freeze(done)
        elif self._wanted:
            self._flush_now()
        elif self._grown and not self._rows.full:
            self._freeze()

    def look_after(self) -> None:
        """See to it that what was applied is flushed some time."""
        if self._wanted:
            self._flush_now()
        if self._due is None and self._rows.active:
            self._due = self._clock.callLater(FLUSH_SECONDS, self._flush_old)

    def _flush_old(self) -> None:
        self._due = None
        if not self._rows.active or self._queue.failed:
            return
        if self._rows.full or self._pacer.running or self._queue.held:
            self._due = self._clock.callLater(FLUSH_SECONDS, self._flush_old)
        else:
            self._freeze()

    def finish(self) -> bool:
        """Write what isn't written yet, now that nothing more is applied; say if nothing is left."""
        if self._due is not None and self._due.active():
            self._due.cancel()
        if self._rows.active:
            self._freeze()
        self.let_flush()
        return not self._rows.frozen

    def _freeze(self, exact: Callable[[], None] | None = None) -> None:
        """
        Freeze the active table with the apply state as of now, and send it on its way.

        @param exact: Called when data.db is as of this, if tables behind it are to wait then.
        """
        if self._due is not None:
            if self._due.active():
                self._due.cancel()
            self._due = None
        queue = self._queue
        rows = self._rows
        state = ApplyState(queue.applied, queue.applied_term, self._execution.time, self._keyspace.sequence)
        self._log_cut.mark(queue.applied, queue.bytes)
        rows.put("region", apply_key(self._region), state.encode())
        if rows.get("region", descriptor_key(self._region)) is None:
            # As it was from the beginning; a snapshot carries it.
            rows.put("region", descriptor_key(self._region), self._descriptor().encode())
        table = rows.freeze()
        assert table is not None
        self._keyspace.changed_bytes = 0
        if exact is not None:
            self._exact = (table, exact)
        if self._durability_os:
            # The log has to be on disk as far as the rows that are about to be.
            batch = LogBatch()
            batch.sync()
            self._log_writer.write(batch, lambda: self._flush(table, state))
        else:
            self._flush(table, state)

    def _flush(self, table: MemTable, state: ApplyState) -> None:
        if self._keeps_back:
            self._kept_back.append((table, state))
            return
        self._keeps_back = self._exact is not None and self._exact[0] is table
        begun = self._clock.seconds()
        self._durations.flush_bytes.observe(table.bytes)

        def written() -> None:
            self._durations.flush_seconds.observe(self._clock.seconds() - begun)
            self._table_flushed(table, state)

        self._data_writer.flush(table, written)

    def _table_flushed(self, table: MemTable, state: ApplyState) -> None:
        """Learn that a table is in data.db: let go of it, cut the log behind it, and go on with what waited."""
        self._rows.retire(table)
        self.count += 1
        if self._exact is not None and self._exact[0] is table:
            self._exact[1]()
        if not self._queue.held:
            self._log_cut.cut(state, self._queue.bytes)
        self._flushed()
        while self._waiting and self._waiting[0][0] <= self.count:
            self._waiting.pop(0)[1]()
        if self._wanted and not self._pacer.running:
            self._flush_now()
        self._room()

    def _flush_now(self) -> None:
        """Begin the flush that somebody waits for, if that can be now; else whatever hinders calls again."""
        if self._rows.full:
            return
        wanted, self._wanted = self._wanted, []
        self._freeze()
        target = self.count + len(self._rows.frozen)
        self._waiting += [(target, done) for done in wanted]
