"""
Which commands are taken at all, and for how long clients are let wait: a disk that is full, slow or silent says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tinykv.redis.operations import LOCAL, NOBODY, READ, Operation
from tinykv.redis.spec import CommandSpec
from tinykv.store.apply_queue import ApplyQueue
from tinykv.store.lease import Lease
from tinykv.store.pacing import Pacer
from tinykv.store.proposals import Proposals
from tinykv.store.refusals import DISK_FULL, NO_MAJORITY, STALLED, TRY_AGAIN, UNDECIDED, UNKNOWN, give_up
from tinykv.store.replica import Replica

#: Least time between two hand-overs by a store that can't write as a leader has to, in seconds.
PAUSE_SECONDS: Final = 30.0
#: Where leadership comes back each time, since the others can't either, it's twice as long each time, up to this.
PAUSE_SECONDS_MOST: Final = 3600.0


class Admission:
    """
    What a region refuses, and what it gives up waiting for.

    @ivar growing_refused: Whether the disk is nearly full.
    @ivar stalled: Whether a write of the log has been under way for longer than clients wait.
    """

    log = Logger()

    def __init__(
        self,
        *,
        queue: ApplyQueue,
        proposals: Proposals,
        replica: Replica,
        pacer: Pacer,
        lease: Lease,
        clock: IReactorTime,
        request_timeout: float,
        answered: Callable[[], None],
        applied: Callable[[], None],
        hand_over: Callable[[], bool],
        fail: Callable[[BaseException], None],
    ) -> None:
        """
        @param request_timeout: How long clients wait, in seconds.
        @param applied: Called when the reads among what waited have been run.
        @param hand_over: Lets another store lead, whose disk may answer or have room; says if there's one.
        """
        self.growing_refused = False
        self.stalled = False
        self._queue = queue
        self._proposals = proposals
        self._replica = replica
        self._pacer = pacer
        self._holds_lease = lease.holds
        self._clock = clock
        self._request_timeout = request_timeout
        self._answered = answered
        self._applied = applied
        self._hand_over = hand_over
        self._fail = fail
        #: When leadership was handed over last, and for how long it isn't again.
        self._handed_over = float("-inf")
        self._pause = PAUSE_SECONDS

    def refusal(self, spec: CommandSpec) -> bytes | None:
        """Say why a command can't be taken now; where another store leads, that one says it."""
        proposals = self._proposals
        if not self._queue.ready and proposals.elsewhere is not None:
            return None
        if self.stalled:
            return STALLED
        if self.growing_refused and spec.grows:
            return DISK_FULL
        busy_since = proposals.busy_since
        if busy_since is not None and self._clock.seconds() - busy_since > self._request_timeout:
            return TRY_AGAIN
        return None

    def look(self) -> None:
        """Some times a second: tell those who have waited too long."""
        self._look_for_stall()
        self._look_for_leader()
        self._look_for_busy()
        self._look_for_undecided()

    def _look_for_stall(self) -> None:
        """
        Tell clients that the disk doesn't answer, rather than let them wait for it without a word.

        Their writes may still happen: once, if ever. Waiters of blocking commands wait anyhow, and stay.
        """
        oldest = self._replica.oldest_write
        stalled = oldest is not None and self._clock.seconds() - oldest > self._request_timeout
        if stalled != self.stalled:
            self.stalled = stalled
            if stalled:
                self.log.error("the log writer has not answered for {seconds} s", seconds=self._request_timeout)
            else:
                self.log.info("the log writer answers again")
        late = self._clock.seconds() - self._request_timeout
        committed = self._replica.group.committed
        given_up = False
        for batch in self._queue.batches:
            if stalled or (batch.index > committed and batch.since < late):
                unknown = UNKNOWN if stalled else UNDECIDED
                batch.operations = [give_up(operation, unknown) for operation in batch.operations]
                given_up = True
        if given_up:
            self._answered()

    def _look_for_leader(self) -> None:
        """
        Let another store lead while this one can't write, also if it was made leader since: the cluster couldn't.

        How the others' disks are isn't known here. If none is better, leadership mustn't go round and round.
        """
        if not self._queue.ready or not (self.stalled or self.growing_refused):
            return
        now = self._clock.seconds()
        since = now - self._handed_over
        if since < self._pause or not self._hand_over():
            return
        self._pause = min(2 * self._pause, PAUSE_SECONDS_MOST) if since < 2 * self._pause else PAUSE_SECONDS
        self._handed_over = now

    def _look_for_busy(self) -> None:
        """Refuse what has waited too long for the data writer; none of it was proposed, so nothing of it is done."""
        busy_since = self._proposals.busy_since
        if busy_since is None or self._clock.seconds() - busy_since <= self._request_timeout:
            return
        queue = self._queue
        if not self._proposals.pending or queue.batches or self._pacer.running:
            return
        if queue.ready and queue.applied == self._replica.group.committed and self._holds_lease():
            self._pacer.run(self._refuse_waiting, self._applied)
        else:
            # What is applied here may be old, or be on its way out, before a snapshot.
            self._refuse_all(TRY_AGAIN)

    def _look_for_undecided(self) -> None:
        """Refuse what couldn't even be proposed for too long, since a majority doesn't decide what was."""
        proposals = self._proposals
        since = proposals.refused_since
        if since is None or self._clock.seconds() - since <= self._request_timeout:
            return
        proposals.refused_since = None
        self._refuse_all(NO_MAJORITY)

    def _refuse_all(self, refusal: bytes) -> None:
        """Refuse the reads and writes that wait."""
        proposals = self._proposals
        waiting, proposals.pending = proposals.pending, []
        for operation in waiting:
            kind, client, number, _, _, step, _ = operation
            if kind == LOCAL:
                step()
            elif client is NOBODY:
                proposals.pending.append(operation)
            else:
                client.answer(number, refusal)
        self._answered()

    def _refuse_waiting(self) -> None:
        """Refuse the writes that wait, and run the reads: with no entry under way they're all in their place."""
        proposals = self._proposals
        waiting, proposals.pending = proposals.pending, []
        kept: list[Operation] = []
        try:
            for operation in waiting:
                if operation[0] >= READ:
                    self._queue.run_read(operation)
                elif operation[1] is NOBODY:
                    kept.append(operation)
                else:
                    operation[1].answer(operation[2], TRY_AGAIN)
        except Exception as problem:  # noqa: BLE001 - a read can't be answered: what it looks at is lost
            self._fail(problem)
        proposals.pending[:0] = kept
