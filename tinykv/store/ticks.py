"""
What Raft groups need of the reactor, in one call for all groups of a store: ticks, by which they count time, and the
end of a turn (L{tinykv.peering.turn}), at which they do what follows from the messages that came.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from tinykv.peering.turn import Turn


class Ticks:
    """
    Counts ticks while there's somebody to tell.

    One that comes late counts once (R18), and only when the sockets were read, since the word of a leader may have come
    meanwhile. But what makes each a little late doesn't add up, or elections would take as much longer as there's more
    to do.

    @ivar at_turn_end: Calls something when the sockets were read, behind all that was asked for before; once each time.
    """

    def __init__(self, clock: IReactorTime, seconds: float, turn: Turn) -> None:
        """
        @param seconds: How long a tick is.
        """
        self.at_turn_end = turn.follow
        self._clock = clock
        self._seconds = seconds
        #: Who is told, in the order in which they came.
        self._told: dict[Callable[[], None], None] = {}
        #: When the next one is due, by the clock.
        self._at = 0.0
        self._ticking: IDelayedCall | None = None

    def begin(self, tick: Callable[[], None]) -> None:
        """Tell somebody of each tick from now on."""
        self._told[tick] = None
        if self._ticking is None:
            self._at = self._clock.seconds() + self._seconds
            self._ticking = self._clock.callLater(self._seconds, self._tick)

    def end(self, tick: Callable[[], None]) -> None:
        """Tell somebody no more."""
        self._told.pop(tick, None)
        if not self._told and self._ticking is not None:
            if self._ticking.active():
                self._ticking.cancel()
            self._ticking = None

    def _tick(self) -> None:
        """Count a tick when it's due."""
        now = self._clock.seconds()
        late = now - self._at
        self._at = (now if late > self._seconds else self._at) + self._seconds
        if late > self._seconds:
            self._ticking = self._clock.callLater(0, self._count)
        else:
            self._count()

    def _count(self) -> None:
        self._ticking = self._clock.callLater(max(0.0, self._at - self._clock.seconds()), self._tick)
        for tick in list(self._told):
            tick()
