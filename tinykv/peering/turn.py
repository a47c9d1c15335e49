"""
The end of the turn: what was queued for other stores leaves, once for each connection.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime


class Turn:
    """
    Collects what is to be done at the end of this turn.
    """

    def __init__(self, clock: IReactorTime, flushed: Callable[[], None]) -> None:
        """
        @param flushed: Called when everything has left.
        """
        self._clock = clock
        self._flushed = flushed
        self._flushes: list[Callable[[], None]] = []
        self._calls: list[Callable[[], None]] = []
        self._scheduled = False

    def flush_later(self, flush: Callable[[], None]) -> None:
        """Call C{flush} at the end of the turn, or with L{flush}; whoever asks sees to it that it's once."""
        self._flushes.append(flush)
        if not self._scheduled:
            self._scheduled = True
            self._clock.callLater(0, self._end)

    def call_later(self, call: Callable[[], None]) -> None:
        """Call something at the end of the turn, never sooner: not while whoever caused it is still at work."""
        self._calls.append(call)
        if not self._scheduled:
            self._scheduled = True
            self._clock.callLater(0, self._end)

    def flush(self) -> None:
        """Let what was queued leave now."""
        if self._flushes:
            flushes, self._flushes = self._flushes, []
            for flush in flushes:
                flush()
            self._flushed()

    def _end(self) -> None:
        self._scheduled = False
        calls, self._calls = self._calls, []
        for call in calls:
            call()
        # What the calls queued leaves with the rest.
        self.flush()
