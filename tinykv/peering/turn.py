"""
The end of the turn, once for all parts of a store: what follows from all that came is done, what is to be sent leaves,
and what is to be written goes to the log writer.

If each part asked the reactor for itself, what one of them does would let the next one ask again, and every step would
cost the reactor a round through all descriptors.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime


def _nothing() -> None:
    """Do nothing."""


class Turn:
    """
    Collects what is to be done at the end of this turn, and in which order.
    """

    def __init__(self, clock: IReactorTime, flushed: Callable[[], None] = _nothing) -> None:
        """
        @param flushed: Called when everything has left.
        """
        self._clock = clock
        self._flushed = flushed
        self._calls: deque[Callable[[], None]] = deque()
        self._following: deque[Callable[[], None]] = deque()
        self._flushes: list[Callable[[], None]] = []
        self._writes: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def call_later(self, call: Callable[[], None]) -> None:
        """Call something at the end of the turn, never sooner: not while whoever caused it is still at work."""
        self._calls.append(call)
        if not self._scheduled:
            self._schedule()

    def follow(self, call: Callable[[], None]) -> None:
        """
        Call something behind that, and behind all that was asked for so before; what asks for more while it's called is
        asked to see to it that it ends.
        """
        self._following.append(call)
        if not self._scheduled:
            self._schedule()

    def flush_later(self, flush: Callable[[], None]) -> None:
        """Call C{flush} behind that, or with L{flush}; whoever asks sees to it that it's once."""
        self._flushes.append(flush)
        if not self._scheduled:
            self._schedule()

    def write_later(self, write: Callable[[], None]) -> None:
        """Call something when all that has left, so that others get it first and the disk works beside them."""
        self._writes.append(write)
        if not self._scheduled:
            self._schedule()

    def flush(self) -> None:
        """Let what was queued leave now."""
        if self._flushes:
            flushes, self._flushes = self._flushes, []
            for flush in flushes:
                flush()
            self._flushed()

    def _schedule(self) -> None:
        self._scheduled = True
        self._clock.callLater(0, self._end)

    def _end(self) -> None:
        calls, following, writes = self._calls, self._following, self._writes
        try:
            # What these ask for in turn has its turn next time.
            for _ in range(len(calls)):
                calls.popleft()()
            while following:
                following.popleft()()
            self.flush()
            for _ in range(len(writes)):
                writes.popleft()()
        finally:
            # An error is nobody else's.
            self._scheduled = False
            if calls or following or writes or self._flushes:
                self._schedule()
