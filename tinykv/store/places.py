"""
Where the regions lie of which this store has no peer.

It applies nothing of them, so it doesn't see them split. What it knows of them is the word of other stores: the range
that a region has in a version is a fact, whoever tells it; only how new it is can't be told. So of all that is told the
newest counts that covers all slots (L{tinykv.region.route_table}), and what is at work here is as it's applied here,
until that is applied here which makes it otherwise. A region that has no place among the newest ones was merged, or
lies elsewhere, which is heard of in time: it's kept in mind no more.

Others are asked when who leads a region says that it's in a later version, and when there are slots here that lie in no
region: that may be so at a start, as none of this is in the files, and when a snapshot has narrowed a region.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tinykv.errors import Damaged
from tinykv.interfaces import Outcome
from tinykv.keys import SLOTS, slots_range
from tinykv.raft.membership import Membership
from tinykv.region.descriptor import Descriptor
from tinykv.region.route_table import RouteTable
from tinykv.region.routes import Route, decode_routes

if TYPE_CHECKING:
    from tinykv.store.host import RegionHost
    from tinykv.store.regions import Regions

#: How often others are asked while slots lie in no region, in seconds.
ASK_SECONDS: Final = 1.0


class Places:
    """
    Keeps the regions without a peer here where they are.
    """

    log = Logger()

    def __init__(
        self,
        regions: Regions,
        *,
        clock: IReactorTime,
        others: Callable[[], list[int]],
        ask: Callable[[int], Deferred[tuple[Outcome, bytes]]],
        adopt: Callable[[Descriptor], None],
    ) -> None:
        """
        @param others: Names the other stores.
        @param ask: Asks one of them for all that it knows of where regions are.
        @param adopt: Makes a region of which there's nothing here, and lets it begin.
        """
        self._regions = regions
        self._clock = clock
        self._others = others
        self._ask = ask
        self._adopt = adopt
        self._table = RouteTable()
        self._asked_at = float("-inf")
        #: When each store was last asked.
        self._asked: dict[int, float] = {}

    def begin(self) -> None:
        """
        At a start: leave to what is at work here what was cut off its whole, as far as that can be seen here. That has
        no peer here, or one that has yet to get its copy.
        """
        with self._regions.together():
            for host in list(self._regions.ordered):
                if not host.vacant:
                    for other in self._regions.overlapping(host.descriptor.start, host.descriptor.end):
                        if other is not host and other.lacks(host.descriptor):
                            other.cede(host.descriptor)

    def look(self) -> None:
        """Now and then: ask others if there are slots in no region, or if it isn't known where one has its keys."""
        if not self._is_whole():
            now = self._clock.seconds()
            if now - self._asked_at >= ASK_SECONDS:
                self._asked_at = now
                for store in self._others():
                    self.ask(store)

    def ask(self, store: int) -> None:
        """Ask a store, unless it was asked just now."""
        now = self._clock.seconds()
        if now - self._asked.get(store, float("-inf")) >= ASK_SECONDS / 2:
            self._asked[store] = now
            self._ask(store).addCallback(self._told, store)

    def _is_whole(self) -> bool:
        """Say whether each slot lies in a region that is known to have it; of a single one nobody tells unasked."""
        if len(self._regions.ordered) == 1 and self._regions.ordered[0].vacant:
            return False
        return not self._regions.gaps and not any(host.clipped for host in self._regions.ordered)

    def _told(self, answer: tuple[Outcome, bytes], store: int) -> None:
        """Learn what a store knows."""
        outcome, text = answer
        if outcome is not Outcome.ANSWERED:
            return
        try:
            routes, _ = decode_routes(text)
        except Damaged as problem:
            self.log.warn("what store {store} says of the regions makes no sense: {problem}", store=store,
                          problem=str(problem))  # fmt: skip
            return
        self._table.take([_route(host) for host in self._regions.ordered if not host.clipped])
        self._table.take(routes)
        self._place()

    def _place(self) -> None:
        """Have all regions that aren't at work here where they are by what is known."""
        regions = self._regions
        at_work = [host.descriptor.slots for host in regions.ordered if not host.vacant or host.departed]
        wanted = [
            route
            for route in self._table.ranges
            if not any(first < route.end and route.first < end for first, end in at_work) and self._moves(route)
        ]
        # What has a place by now, with what is to get one: a start may find both that and what it took the place of.
        placed = [route for route in self._table.ranges if route in wanted or self._lies(route)]
        named = {route.region for route in self._table.ranges}
        former = [
            host
            for host in regions.ordered
            if not host.group.peer and host.descriptor.region not in named and any(_overlap(host, to) for to in placed)
        ]
        if not (wanted or former):
            return
        narrowed: list[tuple[RegionHost, tuple[int, int]]] = []
        with regions.together():
            for one in former:
                regions.remove(one.descriptor.region)
            for route in wanted:
                host = regions.hosts.get(route.region)
                if host is not None:
                    narrowed.append((host, host.descriptor.slots))
                    host.lies(*_range(route), route.version)
            for route in wanted:
                if route.region not in regions.hosts:
                    start, end = _range(route)
                    self._adopt(Descriptor(route.region, start, end, 1, route.version, {}, Membership(()), 1))
        new = [host for host in regions.ordered if host not in [known for known, _ in narrowed]]
        for host, whole in narrowed:
            own = [one for one in new if whole[0] <= one.descriptor.slots[0] < whole[1] and one.vacant]
            host.hand_on(whole, own)
            new = [one for one in new if one not in own]
        for one in former:
            one.merging.end(regions.having(one.descriptor.slots[0]))
            regions.gone(one)

    def _lies(self, route: Route) -> bool:
        """Say whether a region is here where it's told to be."""
        host = self._regions.hosts.get(route.region)
        return host is not None and host.descriptor.slots == (route.first, route.end)

    def _moves(self, route: Route) -> bool:
        """Say whether something is new in what is told of a region."""
        host = self._regions.hosts.get(route.region)
        if host is None:
            return True
        if not host.vacant or host.departed:
            return False
        return host.version < route.version or (host.clipped and host.version == route.version)


def _overlap(host: RegionHost, route: Route) -> bool:
    first, end = host.descriptor.slots
    return first < route.end and route.first < end


def _route(host: RegionHost) -> Route:
    return Route(host.descriptor.region, *host.descriptor.slots, host.version, 0, 0)


def _range(route: Route) -> tuple[bytes, bytes]:
    """Give the keys of a region: behind the slots lie raw keys, which are the last one's."""
    start = slots_range((route.first, route.first))[0] if route.first else b""
    end = slots_range((route.end, route.end))[0] if route.end < SLOTS else b""
    return start, end
