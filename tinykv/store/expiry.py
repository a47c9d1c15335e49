"""
Expired keys are deleted by entries of the log, cold ones too: conditionally, a bounded number at a time (R15).
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from tinykv.errors import Fault
from tinykv.keys import slots_range
from tinykv.redis.execution import Execution
from tinykv.redis.keyspace import Database
from tinykv.redis.operations import INTERNAL, LOCAL, NOBODY, Operation
from tinykv.storage.rowstore import RowStore
from tinykv.store.apply_queue import ApplyQueue

#: Expired keys whose deletion is proposed at a time.
EXPIRY_BATCH = 200


class Expiry:
    """Proposes the deletion of a region's expired keys."""

    def __init__(
        self,
        *,
        slots: Callable[[], tuple[int, int]],
        queue: ApplyQueue,
        execution: Execution,
        rows: RowStore,
        clock: IReactorTime,
        now_ms: Callable[[], int],
        effort: int,
        submit: Callable[[Operation], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        """
        @param slots: Gives the region's slots: the first, and the one behind the last.
        @param effort: How many times the usual number of keys goes at a time.
        """
        self._slots = slots
        self._queue = queue
        self._execution = execution
        self._rows = rows
        self._clock = clock
        self._now_ms = now_ms
        self._batch = EXPIRY_BATCH * effort
        self._submit = submit
        self._fail = fail
        #: Whether deletions that were proposed aren't applied yet.
        self._under_way = False
        self._stopped = False
        #: The last entry of the index of expiries that was dealt with, as were all before it.
        self._expired: tuple[int, bytes] | None = None
        #: Whether the region has got keys since what is under way was proposed.
        self._widened = False

    def stop(self) -> None:
        """Look for nothing any more."""
        self._stopped = True

    def widened(self) -> None:
        """Learn that the region has got keys of another one, which may have expired long ago."""
        self._expired = None
        self._widened = self._under_way

    def noticed(self, found: list[tuple[Database, bytes]]) -> None:
        """Propose the deletion of keys that a read has found; it's conditional when it's applied."""
        by_database: dict[int, list[bytes]] = {}
        for db, key in found:
            by_database.setdefault(db.number, []).append(key)
        self._propose({number: list(dict.fromkeys(keys)) for number, keys in by_database.items()})

    def _propose(self, by_database: dict[int, list[bytes]]) -> None:
        for number, keys in by_database.items():
            arguments = [b"expire", b"%d" % number, *keys]
            self._submit((INTERNAL, NOBODY, 0, 0, None, arguments, None))

    def look(self) -> None:
        """Propose the deletion of what has expired, unless that is under way."""
        if not self._under_way:
            self._look_for_due()

    def _look_for_due(self) -> None:
        self._under_way = False
        if self._stopped or self._rows.full or not self._queue.ready:
            return
        try:
            due = self._rows.due(self._now_ms(), self._batch, self._expired, slots_range(self._slots()))
        except (Fault, MemoryError, OSError) as problem:
            self._fail(problem)
            return
        if due:
            self._under_way = True
            self._propose_due(due)

    def _propose_due(self, due: list[tuple[int, bytes]]) -> None:
        by_database: dict[int, list[bytes]] = {}
        for _, row_key in due:
            by_database.setdefault(row_key[3], []).append(row_key[9:])
        self._propose(by_database)

        def done() -> None:
            # By now each of these has been looked at: deleted, or found to have another expiry, or none. Not so if
            # the clock was put back meanwhile, so that they had not expired in the entry's time.
            over = [entry for entry in due if entry[0] <= self._execution.time]
            for at, row_key in over:
                self._rows.forget_expiry(at, row_key)
            if over and not self._widened:
                # No expiry is set that isn't later than region time, so none can come before this one.
                self._expired = over[-1]
            self._widened = False
            if len(over) == self._batch:
                self._clock.callLater(0, self._look_for_due)
            else:
                self._under_way = False

        self._submit((LOCAL, NOBODY, 0, 0, None, done, None))
