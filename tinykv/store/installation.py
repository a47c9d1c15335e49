"""
A snapshot that has arrived takes the place of all that a region has (R10).

The region applies nothing meanwhile; what is older goes to data.db before, then the file is installed there, and what
it says is taken over.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger
from twisted.python.failure import Failure

from tinykv.interfaces import ISnapshotInstaller
from tinykv.raft.messages import SnapshotMeta
from tinykv.redis.execution import Execution
from tinykv.redis.operations import INTERNAL, NOBODY, READ, Operation
from tinykv.region.descriptor import Descriptor, descriptor_key
from tinykv.region.state import ApplyState
from tinykv.storage.rowstore import RowStore
from tinykv.store.apply_queue import ApplyQueue
from tinykv.store.flushes import RegionFlushes
from tinykv.store.pacing import Pacer
from tinykv.store.proposals import Proposals
from tinykv.store.refusals import UNDECIDED, give_up
from tinykv.store.replica import Replica


class Installation:
    """Replaces a region by snapshots."""

    log = Logger()

    def __init__(
        self,
        *,
        region: int,
        queue: ApplyQueue,
        proposals: Proposals,
        replica: Replica,
        flushes: RegionFlushes,
        execution: Execution,
        rows: RowStore,
        pacer: Pacer,
        installer: ISnapshotInstaller | None,
        arrived: Callable[[SnapshotMeta], str],
        stop_others: Callable[[SnapshotMeta, Callable[[], None]], None],
        replaced: Callable[[Descriptor], None],
        answered: Callable[[], None],
        installed: Callable[[], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        """
        @param arrived: Gives the file of a snapshot that has arrived.
        @param stop_others: Has the other regions do nothing any more whose place it takes as well, and calls back when
            that is so.
        @param replaced: Told what the region is now, when all that there was has been replaced.
        @param installed: Called at the end, when the region applies again.
        """
        self._region = region
        self._queue = queue
        self._proposals = proposals
        self._entries = replica.entries
        self._flushes = flushes
        self._execution = execution
        self._rows = rows
        self._pacer = pacer
        self._installer = installer
        self._arrived = arrived
        self._stop_others = stop_others
        self._replaced = replaced
        self._answered = answered
        self._installed = installed
        self._fail = fail
        #: The snapshot that is to take the place of all that there is, and whom to tell when it has.
        self._installing: tuple[SnapshotMeta, Callable[[], None]] | None = None
        self._descriptor: Descriptor | None = None

    def install(self, snapshot: SnapshotMeta, installed: Callable[[], None]) -> None:
        """Replace all that is applied by a snapshot that has arrived, and call back when that is durable."""
        what = "region {region} is replaced by a snapshot as of entry {index}"
        self.log.info(what, region=self._region, index=snapshot.index)
        self._entries.clear()
        self._installing = (snapshot, installed)
        self._queue.held = True
        if not self._pacer.running:
            self.begin()

    def begin(self) -> None:
        """Begin, now that nothing is being applied: what is older goes to data.db before (R10)."""
        assert self._installing is not None, "there is one"
        self.give_up_all()
        self._stop_others(self._installing[0], lambda: self._flushes.flush_all(self._install_file))

    def give_up_all(self) -> None:
        """Let go of all that waits to be applied: the rows won't be those any more that it was about."""
        queue = self._queue
        again: list[Operation] = []
        for batch in queue.batches:
            # It may be contained in the snapshot, or replaced: nobody can tell any more (R2).
            for operation in batch.operations:
                kind, client, *_ = operation
                if kind >= READ or (kind == INTERNAL and client is NOBODY):
                    # To do it again changes nothing, and a step of the front's was never begun.
                    again.append(operation)
                else:
                    give_up(operation, UNDECIDED)
        for _, operations in queue.readable:
            again += operations
        queue.batches.clear()
        queue.readable.clear()
        self._proposals.give_back(again)
        self._answered()

    def _install_file(self) -> None:
        assert self._installing is not None and self._installer is not None
        snapshot, _ = self._installing
        installing = self._installer.install(self._region, self._arrived(snapshot))
        installing.addCallback(self._file_installed)
        installing.addErrback(self._not_installed)

    def _not_installed(self, failure: Failure) -> None:
        assert failure.value is not None
        self._fail(failure.value)

    def _file_installed(self, row: bytes) -> None:
        """Take over the new rows, in slices: finding out what there is takes a while."""
        described = self._rows.get("region", descriptor_key(self._region))
        assert isinstance(described, bytes), "every region has a descriptor"
        about = self._descriptor = Descriptor.decode(self._region, described)
        self._rows.replaced(self._region, about.start, about.end)
        self._pacer.run(lambda: self._load(ApplyState.decode(row)), self._loaded)

    def _load(self, state: ApplyState) -> None:
        execution = self._execution
        assert self._descriptor is not None, "it was read"
        try:
            execution.forget()
            execution.keyspace.slots = self._descriptor.slots
            execution.keyspace.sequence = state.sequence
            execution.load(state.time)
        except Exception as problem:  # noqa: BLE001 - rows that can't be read stop the store, whatever it is
            self._fail(problem)
            return
        self._queue.applied = state.index
        self._queue.applied_term = state.term

    def _loaded(self) -> None:
        if self._queue.failed or self._installing is None:
            return
        _, installed = self._installing
        self._installing = None
        self._queue.held = False
        assert self._descriptor is not None, "it was loaded"
        self._replaced(self._descriptor)
        installed()
        self._answered()
        self._installed()
