"""
Which regions there are, and who leads them: the newest of what stores and the scheduler say.

What is said may be old: a range counts by its version, a leader by its term. Stores that apply a change of ranges at
different times tell of ranges that overlap; until what is known covers all slots exactly once the ranges stay as they
were.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable

from tinykv.keys import SLOTS
from tinykv.region.routes import Route


class RouteTable:
    """
    What is known.

    @ivar ranges: The regions that cover all slots, in their order; empty until they do.
    """

    def __init__(self) -> None:
        self.ranges: tuple[Route, ...] = ()
        self._known: dict[int, Route] = {}

    def leader(self, region: int) -> int:
        """Name the store that leads a region; 0 if that isn't known."""
        known = self._known.get(region)
        return 0 if known is None else known.leader

    def take(self, routes: Iterable[Route]) -> bool:
        """Take what somebody says; say if other regions cover the slots now."""
        ranged = False
        for route in routes:
            known = self._known.get(route.region)
            newer = self._known[route.region] = _newer(known, route)
            ranged = ranged or known is None or newer[:4] != known[:4]
        if not ranged:
            return False
        covering = self._covering()
        if not covering:
            return False
        before, self.ranges = self.ranges, covering
        self._known = {route.region: route for route in covering}
        return [route[:4] for route in before] != [route[:4] for route in covering]

    def _covering(self) -> tuple[Route, ...]:
        """Give the regions that cover all slots, those with newer ranges before others; none if they don't do so."""
        covered: list[Route] = []
        for route in sorted(self._known.values(), key=lambda route: -route.version):
            at = bisect(covered, route.first, key=lambda other: other.first)
            if (at == 0 or covered[at - 1].end <= route.first) and (
                at == len(covered) or route.end <= covered[at].first
            ):
                covered.insert(at, route)
        borders = [route.first for route in covered]
        if [*borders, SLOTS] != [0, *(route.end for route in covered)]:
            return ()
        return tuple(covered)


def _newer(known: Route | None, told: Route) -> Route:
    """Give of two words on a region what is newer in each."""
    if known is None:
        return told
    ranged = told if told.version > known.version else known
    led = told if (told.term, bool(told.leader)) > (known.term, bool(known.leader)) else known
    return ranged._replace(term=led.term, leader=led.leader)
