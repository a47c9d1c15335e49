"""Whether reads may be answered here from what is applied, without asking anybody (R18)."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from tinykv.store.replica import Replica


class Lease:
    """The time in which nobody else can lead, as far as it's relied on."""

    __slots__ = ("_replica", "_trusted", "_uptime")

    def __init__(self, replica: Replica, uptime: Callable[[], float], trusted: bool) -> None:
        """
        @param uptime: The time in seconds since whenever, sleep included.
        @param trusted: Whether clocks are relied on; if not, only who needs no others' votes holds one.
        """
        self._replica = replica
        self._uptime = uptime
        self._trusted = trusted

    def holds(self) -> bool:
        """Say if reads may be answered now from what is applied; the clock is looked at after they came (R18)."""
        end = self._replica.lease_end
        return end == inf or (self._trusted and self._uptime() < end)
