"""
One batch to the log writer for what all regions of a store write in a turn.

Each alone would wake the log writer by itself: it would begin with the first, and the others would wait for two fsyncs
where one is enough.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from tinykv.interfaces import ILogWriter
from tinykv.storage.errors import StorageError
from tinykv.storage.writers import LogBatch


@implementer(ILogWriter)
class TurnWriter:
    """Collects what is written, and hands it on at the end of the turn."""

    def __init__(self, writer: ILogWriter, clock: IReactorTime) -> None:
        self._writer = writer
        self._clock = clock
        self._batch = LogBatch()
        self._told: list[Callable[[], None]] = []

    def write(self, batch: LogBatch, done: Callable[[], None]) -> None:
        """Make a batch durable together with the others of this turn, and call C{done} then."""
        if not self._told:
            self._clock.callLater(0, self._hand_on)
        self._batch.operations += batch.operations
        self._told.append(done)

    def _hand_on(self) -> None:
        batch, self._batch = self._batch, LogBatch()
        told, self._told = self._told, []
        if not told:
            return

        def durable() -> None:
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
