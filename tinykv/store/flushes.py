"""
How changes reach data.db: the active memory table is frozen between two entries, and written in one transaction.

With it goes the apply state of every region as of that moment (R4). It's done when the table has grown enough, when
it's old, or when somebody asks for it; and only behind it the logs are cut.

While a region rests in the midst of an entry nothing can be frozen. Then no region begins another entry until that one
is through, so that the others, however much they have to do, can't put it off for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from tinykv.interfaces import IDataWriter, ILogWriter
from tinykv.redis.execution import Execution
from tinykv.region.descriptor import Descriptor, descriptor_key
from tinykv.region.state import ApplyState, apply_key
from tinykv.storage.rowstore import RowStore
from tinykv.storage.tables import MemTable
from tinykv.storage.writers import LogBatch
from tinykv.store.durations import Durations
from tinykv.store.log_cut import LogCut
from tinykv.store.pacing import Stacks

#: A table with changes is flushed after this many seconds at the latest, so that a restart has little to replay.
FLUSH_SECONDS = 30.0


class Applied(Protocol):
    """Where a region's data stands; see L{tinykv.store.apply_queue.ApplyQueue}."""

    applied: int
    applied_term: int
    bytes: int
    held: bool
    failed: bool

    def go_on(self) -> None:
        """Begin to apply what is decided."""


class RegionFlushes:
    """
    One region's part in the flushes of its store.

    @ivar count: How many tables were written.
    @ivar room: To be set: called when a table was written, so that there may be room for what waits.
    """

    room: Callable[[], None]

    def __init__(
        self,
        flushes: Flushes,
        *,
        region: int,
        queue: Applied,
        execution: Execution,
        log_cut: LogCut,
        descriptor: Callable[[], Descriptor],
    ) -> None:
        self.queue = queue
        self._flushes = flushes
        self._region = region
        self._execution = execution
        self._keyspace = execution.keyspace
        self._log_cut = log_cut
        self._descriptor = descriptor
        self._described = False
        #: The entry as of which the last table was frozen; -1 if it has to be said in any case.
        self._frozen = -1 if queue.applied else 0
        flushes.add(self)

    @property
    def count(self) -> int:
        """Count the tables that were written."""
        return self._flushes.count

    @property
    def log_bytes_max(self) -> int:
        """About how many bytes of entries are kept at most behind what is in data.db, for slow followers."""
        return self._log_cut.bytes_max

    @log_bytes_max.setter
    def log_bytes_max(self, bytes_max: int) -> None:
        self._log_cut.bytes_max = bytes_max

    def flush_all(self, done: Callable[[], None]) -> None:
        """Write all that is applied into data.db, and call back then."""
        self._frozen = -1
        self._flushes.flush_all(done)

    def flush_exactly(self, done: Callable[[], None]) -> None:
        """
        Freeze behind the entry that is being applied, even if as many tables wait as may, and call back when data.db is
        as of exactly that. It stays so until L{let_flush}, which mustn't be long.
        """
        self._frozen = -1
        self._flushes.flush_exactly(done)

    def let_flush(self) -> None:
        """Nobody needs data.db as it is any more; or, if it wasn't so yet, nobody will be called back."""
        self._flushes.let_flush()

    @property
    def _grown(self) -> bool:
        """
        Say if the active table is large enough to be written.

        Nodes of large values count in it as if they were small, so that one that changes often is written seldom; but
        what has changed can't leave the memory, so they may only take a quarter of its budget.
        """
        flushes = self._flushes
        if flushes.rows.active_bytes >= flushes.memtable_bytes:
            return True
        return self._keyspace.changed_bytes >= max(self._keyspace.budget // 4, flushes.memtable_bytes)

    def between(self) -> bool:
        """
        Between two entries: begin a flush if it's time for one, and another one may wait.

        @return: Whether the region has to wait before its next entry; it's called when it may go on.
        """
        flushes = self._flushes
        if flushes.wanted or (self._grown and not flushes.rows.full):
            return not flushes.try_now()
        return False

    def look_after(self) -> None:
        """See to it that what was applied is flushed some time."""
        self._flushes.look_after()

    def finish(self) -> bool:
        """Write what isn't written yet, now that nothing more is applied; say if nothing is left."""
        return self._flushes.finish()

    def forget(self) -> None:
        """Say nothing of the region in the next table, or those behind it: its rows are gone."""
        self._frozen = self.queue.applied
        self._described = False
        self._log_cut.marks.clear()

    # For the store's flushes

    def freeze(self, rows: RowStore) -> ApplyState | None:
        """Put into the active table up to where it contains the log; give that, or None if it's known already."""
        queue = self.queue
        self._keyspace.changed_bytes = 0
        if queue.applied == self._frozen:
            return None
        self._frozen = queue.applied
        state = ApplyState(queue.applied, queue.applied_term, self._execution.time, self._keyspace.sequence)
        self._log_cut.mark(queue.applied, queue.bytes)
        rows.put("region", apply_key(self._region), state.encode())
        if not self._described:
            self._described = True
            if rows.get("region", descriptor_key(self._region)) is None:
                # As it was from the beginning; a snapshot carries it.
                rows.put("region", descriptor_key(self._region), self._descriptor().encode())
        return state

    def flushed(self, state: ApplyState) -> None:
        """Cut the log behind what is in data.db now."""
        if not self.queue.held:
            self._log_cut.cut(state, self.queue.bytes)


#: The regions that a table says something new of, and up to where it contains their logs.
_States = list[tuple[RegionFlushes, ApplyState]]


class Flushes:
    """
    A store's changes on their way to data.db.

    @ivar count: How many tables were written.
    @ivar wanted: Whether a flush is to begin as soon as that can be.
    """

    def __init__(
        self,
        *,
        rows: RowStore,
        stacks: Stacks,
        log_writer: ILogWriter,
        data_writer: IDataWriter,
        clock: IReactorTime,
        durations: Durations,
        memtable_bytes: int,
        durability_os: bool,
        flushed: Callable[[], None],
    ) -> None:
        """
        @param flushed: Called when a table is in data.db.
        """
        self.rows = rows
        self.memtable_bytes = memtable_bytes
        self.count = 0
        self.wanted = False
        self._stacks = stacks
        self._log_writer = log_writer
        self._data_writer = data_writer
        self._clock = clock
        self._durations = durations
        self._durability_os = durability_os
        self._flushed = flushed
        self._regions: list[RegionFlushes] = []
        #: Who wants a flush to begin, and who waits for how many of them to be done.
        self._asking: list[Callable[[], None]] = []
        self._waiting: list[tuple[int, Callable[[], None]]] = []
        self._due: IDelayedCall | None = None
        #: Who wants data.db to be as of exactly the entry that is being applied.
        self._exactly: Callable[[], None] | None = None
        #: The table with which it will be so, and whom to tell; and those behind it, which wait meanwhile.
        self._exact: tuple[MemTable, Callable[[], None]] | None = None
        self._kept_back: list[tuple[MemTable, _States]] = []
        self._keeps_back = False

    def add(self, region: RegionFlushes) -> None:
        """Take a region in."""
        self._regions.append(region)

    def remove(self, region: RegionFlushes) -> None:
        """Say nothing of a region any more."""
        self._regions.remove(region)

    def flush_all(self, done: Callable[[], None]) -> None:
        """Write all that is applied into data.db, and call back then."""
        self._asking.append(done)
        self.wanted = True
        if not self._stacks.working:
            self.try_now()

    def flush_exactly(self, done: Callable[[], None]) -> None:
        """Freeze behind the entry that is being applied, and call back when data.db is as of exactly that."""
        assert not (self._keeps_back or self._exact or self._exactly), "one at a time"
        self._exactly = done
        self.wanted = True

    def let_flush(self) -> None:
        """Nobody needs data.db as it is any more; or, if it wasn't so yet, nobody will be called back."""
        self._exactly = self._exact = None
        self._keeps_back = False
        kept, self._kept_back = self._kept_back, []
        for table, states in kept:
            self._flush(table, states)
        self._look_what_is_wanted()

    def try_now(self) -> bool:
        """
        Freeze, unless as many tables wait as may: then whatever hinders calls again. Not in the midst of an entry.

        @return: False if some region rests in the midst of an entry, so that all others have to wait for it.
        """
        if self._stacks.resting:
            self._stacks.held = self.wanted = True
            return False
        if self._exactly is not None:
            done, self._exactly = self._exactly, None
            self._freeze(done)
        elif not self.rows.full:
            asking, self._asking = self._asking, []
            self._freeze()
            target = self.count + len(self.rows.frozen)
            if target > self.count:
                self._waiting += [(target, done) for done in asking]
            else:
                # What they asked for was written meanwhile, with the end of some region.
                for done in asking:
                    self._clock.callLater(0, done)
        if self._stacks.held:
            self._stacks.held = False
            # Each in the reactor's own stack, where this needn't be.
            self._clock.callLater(0, self._go_on)
        self._look_what_is_wanted()
        return True

    def _look_what_is_wanted(self) -> None:
        self.wanted = self._exactly is not None or bool(self._asking) or self._stacks.held

    def _go_on(self) -> None:
        for region in self._regions:
            region.queue.go_on()

    def look_after(self) -> None:
        """See to it that what was applied is flushed some time; not in the midst of an entry."""
        if self.wanted:
            self.try_now()
        if self._due is None and self.rows.active:
            self._due = self._clock.callLater(FLUSH_SECONDS, self._flush_old)

    def _flush_old(self) -> None:
        self._due = None
        if not self.rows.active or any(region.queue.failed for region in self._regions):
            return
        stopped = any(region.queue.held for region in self._regions)
        if self.rows.full or self._stacks.resting or stopped:
            self._due = self._clock.callLater(FLUSH_SECONDS, self._flush_old)
        else:
            self._freeze()

    def finish(self) -> bool:
        """Write what isn't written yet, where nothing more is applied; say if nothing is left."""
        if self._due is not None and self._due.active():
            self._due.cancel()
        if self.rows.active and not self._stacks.resting:
            self._freeze()
        self.let_flush()
        return not self.rows.frozen and not self.rows.active

    def _freeze(self, exact: Callable[[], None] | None = None) -> None:
        """
        Freeze the active table with the apply states as of now, and send it on its way.

        @param exact: Called when data.db is as of this, if tables behind it are to wait then.
        """
        if self._due is not None:
            if self._due.active():
                self._due.cancel()
            self._due = None
        rows = self.rows
        # In one go: a region that had its turn meanwhile would put rows into this table that its state doesn't tell of.
        pausing, rows.pausing = rows.pausing, _go_on
        try:
            frozen = [(region, region.freeze(rows)) for region in self._regions]
        finally:
            rows.pausing = pausing
        states = [(region, state) for region, state in frozen if state is not None]
        table = self.rows.freeze()
        if table is None:
            assert exact is None, "who asks for a flush as of an entry has something to say"
            return
        if exact is not None:
            self._exact = (table, exact)
        if self._durability_os:
            # The logs have to be on disk as far as the rows that are about to be.
            batch = LogBatch()
            batch.sync()
            self._log_writer.write(batch, lambda: self._flush(table, states))
        else:
            self._flush(table, states)

    def _flush(self, table: MemTable, states: _States) -> None:
        if self._keeps_back:
            self._kept_back.append((table, states))
            return
        self._keeps_back = self._exact is not None and self._exact[0] is table
        begun = self._clock.seconds()
        self._durations.flush_bytes.observe(table.bytes)

        def written() -> None:
            self._durations.flush_seconds.observe(self._clock.seconds() - begun)
            self._table_flushed(table, states)

        self._data_writer.flush(table, written)

    def _table_flushed(self, table: MemTable, states: _States) -> None:
        """Learn that a table is in data.db: let go of it, cut the logs behind it, and go on with what waited."""
        self.rows.retire(table)
        self.count += 1
        if self._exact is not None and self._exact[0] is table:
            self._exact[1]()
        for region, state in states:
            region.flushed(state)
        self._flushed()
        while self._waiting and self._waiting[0][0] <= self.count:
            self._waiting.pop(0)[1]()
        if self.wanted and not self._stacks.working:
            self.try_now()
        for region in self._regions:
            region.room()


def _go_on() -> None:
    """Give nobody a turn."""
