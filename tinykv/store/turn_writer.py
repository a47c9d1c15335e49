"""
One batch to the log writer for what all regions of a store write in a turn, and for what is about to come.

Each alone would wake the log writer by itself: it would begin with the first, and the others would wait for two fsyncs
where one is enough. And what clients want of several regions leaves in rounds (L{tinykv.store.rounds}): what those
regions write that this store leads is soon followed by what other stores send of theirs. So the first write waits for
as many as the last time, a moment at most. A write alone is never waited for, nor while the log writer is at work,
which then takes all that has come meanwhile. Where there's one region it's handed on at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from tinykv.interfaces import ILogWriter
from tinykv.peering.turn import Turn
from tinykv.storage.errors import StorageError
from tinykv.storage.writers import LogBatch

#: So long, in seconds, what comes first waits for the rest.
GATHER_SECONDS: Final = 0.002
#: So many are no round yet: one client's commands, one after another, come so at a store that isn't needed for the
#: majority of the first and is still at it when the second comes.
FEW: Final = 2


@implementer(ILogWriter)
class TurnWriter:
    """Collects what is written, and hands it on together."""

    def __init__(
        self,
        writer: ILogWriter,
        clock: IReactorTime,
        turn: Turn,
        several: Callable[[], bool],
        gather_seconds: float = GATHER_SECONDS,
    ) -> None:
        """
        @param several: Says whether there are several regions, by now.
        """
        self._writer = writer
        self._several = several
        self._clock = clock
        self._end_later = turn.write_later
        self._gather_seconds = gather_seconds
        self._batch = LogBatch()
        self._told: list[Callable[[], None]] = []
        self._turn_due = False
        self._waiting: IDelayedCall | None = None
        #: How many batches are under way.
        self._under_way = 0
        #: Until when what comes might have gone with what came first since nothing was under way; how much that was so
        #: far, and the last time.
        self._until = 0.0
        self._count = 0
        self._expected = 0

    def write(self, batch: LogBatch, done: Callable[[], None]) -> None:
        """Make a batch durable together with others, and call C{done} then."""
        if not self._told and not self._several():
            self._writer.write(batch, done)
            return
        self._batch.operations += batch.operations
        self._told.append(done)
        now = self._clock.seconds()
        if not self._count:
            self._until = now + self._gather_seconds
            self._count = 1
        elif now <= self._until:
            self._count += 1
        if not self._turn_due:
            self._turn_due = True
            self._end_later(self._end_turn)

    def _end_turn(self) -> None:
        """Hand on what is there, or wait for the rest."""
        self._turn_due = False
        if not self._told:
            return
        left = self._until - self._clock.seconds()
        if self._under_way or self._count >= self._expected or self._expected <= FEW or left <= 0:
            self._hand_on()
        elif self._waiting is None:
            self._waiting = self._clock.callLater(left, self._waited)

    def _waited(self) -> None:
        self._waiting = None
        self._hand_on()

    def _hand_on(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        batch, self._batch = self._batch, LogBatch()
        told, self._told = self._told, []
        self._under_way += 1

        def durable() -> None:
            self._under_way -= 1
            if not self._under_way:
                self._expected, self._count = self._count, 0
            for done in told:
                done()

        self._writer.write(batch, durable)

    def failed(self, callback: Callable[[StorageError], None]) -> None:
        """Register what is to be called with the error that ends the writer."""
        self._writer.failed(callback)

    def close(self) -> Deferred[None]:
        """Finish what was taken."""
        if self._told:
            self._hand_on()
        return self._writer.close()
