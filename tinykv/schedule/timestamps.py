"""
Timestamps: unique, and rising in the order in which they're given, whoever gives them and whatever clocks say.

A timestamp is physical << 18 | logical: milliseconds since 1970, and a count within them. The member that leads gives
them from its memory, below a limit that was committed before. Who leads next begins above that limit, so none is given
twice and none goes back; and the lease (R18 of the design) sees to it that nobody else gives any meanwhile.

A clock that goes back changes nothing: the last physical part stays and the count goes on. One that jumps ahead takes
the timestamps with it.
"""

from __future__ import annotations

from typing import Final

#: Bits of the count within a millisecond.
LOGICAL_BITS: Final = 18
LOGICAL_MAX: Final = (1 << LOGICAL_BITS) - 1
#: Bits of the milliseconds: some 2,200 years.
PHYSICAL_MAX: Final = (1 << 46) - 1
#: Timestamps that are given at once.
BATCH_MAX: Final = 10_000
#: How far ahead a window reaches, in ms; a new leader begins at most so far ahead of the clock.
WINDOW_MS: Final = 3_000


def compose(physical: int, logical: int) -> int:
    """Give the timestamp of its two parts."""
    return physical << LOGICAL_BITS | logical


class TimestampWindow:
    """
    What one leader may give in one term.

    @ivar limit: No timestamp with this physical part or a greater one is given.
    """

    def __init__(self, begin: int, limit: int) -> None:
        """
        @param begin: The first physical part that wasn't anybody's before.
        @param limit: Up to where it's this leader's.
        """
        self.limit = limit
        self._physical = begin
        #: The next count at that.
        self._logical = 0

    def take(self, now_ms: int, count: int) -> int | None:
        """
        Give a batch: the last of its timestamps, which are neighbours; None if the window ends before.

        @param now_ms: The clock.
        @param count: How many, at most L{BATCH_MAX}.
        """
        assert 0 < count <= BATCH_MAX
        physical, logical = self._physical, self._logical
        if now_ms > physical:
            physical, logical = now_ms, 0
        if logical + count - 1 > LOGICAL_MAX:
            physical, logical = physical + 1, 0
        if physical >= self.limit:
            return None
        self._physical, self._logical = physical, logical + count
        return compose(physical, logical + count - 1)

    def wanted(self, now_ms: int) -> int | None:
        """Give the limit that is to be committed next, if less than half of a window is left; None if there's time."""
        ahead = max(now_ms, self._physical)
        return ahead + WINDOW_MS if self.limit - ahead < WINDOW_MS // 2 else None
