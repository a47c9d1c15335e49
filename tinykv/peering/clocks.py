"""
What other stores' clocks say, compared with this store's.

The side that dialled a link says with each ping what its clock says, and gets that back with what the other's said
meanwhile (Cristian's method): the other clock was read some time between the sending and the answer's arrival, so the
difference is known to half of what passed between the two. Of some answers the quickest knows best.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from twisted.internet.interfaces import IReactorTime

#: A side that understands pings with times names this in its HELLO line.
FEATURE: Final = "clock"
#: How long an answer counts, in seconds: some pings.
KEPT_SECONDS: Final = 15.0
#: Answers of one store that are kept.
_KEPT: Final = 8


class ClockOffset(NamedTuple):
    """
    How far a store's clock is ahead of this one's, in ms; negative when it's behind.

    @ivar ms: The likeliest value.
    @ivar within: By how much it may differ from that.
    """

    ms: float
    within: float


class PeerClocks:
    """The clocks of other stores, as far as they were told lately."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        #: By store: when each answer came, and what follows from it.
        self._told: dict[int, deque[tuple[float, ClockOffset]]] = {}

    def answered(self, store_id: int, sent_ms: int, told_ms: int, now_ms: int) -> None:
        """
        Learn what a store has answered; all times are in ms since 1970.

        @param sent_ms: What this store's clock said when it asked.
        @param told_ms: What the other's said when it answered.
        @param now_ms: What this store's says now.
        """
        if now_ms < sent_ms:
            # The own clock was set meanwhile; the next answer is better.
            return
        told = self._told.setdefault(store_id, deque(maxlen=_KEPT))
        # Clocks are read in whole ms.
        told.append(
            (self._clock.seconds(), ClockOffset(told_ms - (sent_ms + now_ms) / 2, (now_ms - sent_ms) / 2 + 1))
        )

    def offset(self, store_id: int) -> ClockOffset | None:
        """Tell how far a store's clock is ahead of this one's; None if it hasn't told lately."""
        told = self._told.get(store_id, ())
        since = self._clock.seconds() - KEPT_SECONDS
        lately = [offset for at, offset in told if at >= since]
        return min(lately, key=lambda offset: offset.within, default=None)

    def forget(self, store_id: int) -> None:
        """Forget a store."""
        self._told.pop(store_id, None)
