"""
Reads that are answered at once: under a lease, or from what is applied here where the operator wants no more.

Whatever can't be answered at once is submitted, and keeps its place behind the entries that are under way.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from tinykv.errors import Fault, OutOfTime
from tinykv.raft.refusals import NotLeader
from tinykv.redis.execution import Execution
from tinykv.redis.keyspace import Database
from tinykv.redis.operations import READ, Client, Operation
from tinykv.redis.ownership import lie_in
from tinykv.redis.spec import CommandSpec
from tinykv.store.apply_queue import ApplyQueue
from tinykv.store.lease import Lease
from tinykv.store.pacing import Pacer
from tinykv.store.replica import Replica

#: What a READ operation carries whose client has nothing else under way.
FRESH = True


class Reads:
    """A region's reads of clients that have nothing else under way."""

    def __init__(
        self,
        *,
        queue: ApplyQueue,
        replica: Replica,
        execution: Execution,
        pacer: Pacer,
        lease: Lease,
        clock: IReactorTime,
        now_ms: Callable[[], int],
        behind: Callable[[], bool],
        submit: Callable[[Operation], None],
        expire: Callable[[list[tuple[Database, bytes]]], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        """
        @param behind: Whether something was done elsewhere, for a client of this store, that may not be applied here.
        @param expire: Sees to it that keys go which were found to have expired by the clock.
        """
        self._queue = queue
        self._replica = replica
        self._group = replica.group
        self._execution = execution
        self._pacer = pacer
        self._holds_lease = lease.holds
        self._clock = clock
        self._now_ms = now_ms
        self._behind = behind
        self._submit = submit
        self._expire = expire
        self._fail = fail

    def read(self, client: Client, number: int, db: int, spec: CommandSpec, arguments: list[bytes]) -> bytes | None:
        """Run a read now; None if the client is answered later."""
        pacer = self._pacer
        queue = self._queue
        # What is decided and isn't applied here may be applied elsewhere, where waiters are answered: not only entries
        # count that are here, but also those that others have while the disk here hasn't answered.
        execution = self._execution
        if (
            not queue.ready
            or pacer.paused
            or queue.applied < self._group.committed
            or not self._holds_lease()
            # What is left here of other regions' keys, or isn't, is no answer; when it's its turn it's handed on.
            or (execution.narrow and not lie_in(execution.keyspace.slots, spec, arguments))
        ):
            self._submit((READ, client, number, db, spec, arguments, FRESH))
            return None
        pacer.look()
        try:
            reply = execution.read(client, db, spec, arguments, self._now_ms())
        except OutOfTime:
            # It takes so long that it's begun anew, in slices.
            self._submit((READ, client, number, db, spec, arguments, FRESH))
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
        self._submit((READ, client, number, db, spec, arguments, FRESH))
        return None

    def read_local(
        self, client: Client, number: int, db: int, spec: CommandSpec, arguments: list[bytes]
    ) -> bytes | None:
        """
        Run a read on what is applied here, which may be old; what has expired by the clock is absent.

        Like L{read} where that lacks something that was done for a client of this store.
        """
        self._queue.catch_up()
        if self._pacer.paused or self._queue.held or self._behind():
            return self.read(client, number, db, spec, arguments)
        execution = self._execution
        if execution.narrow and not lie_in(execution.keyspace.slots, spec, arguments):
            return self.read(client, number, db, spec, arguments)
        try:
            reply = execution.read(client, db, spec, arguments, self._now_ms(), filters=True)
        except (Fault, MemoryError, OSError) as problem:
            self._fail(problem)
            return None
        assert isinstance(reply, bytes), "nothing is left to be decided"
        return reply

    def look(self, operation: Operation) -> bool:
        """Run a step of the front's when all that was decided by now is applied here; say if that could be asked."""
        try:
            self._replica.group.read_index([operation])
        except NotLeader:
            return False
        self._clock.callLater(0, self._replica.go_on)
        return True
