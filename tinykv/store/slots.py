"""
Which store leads which slots, as this one knows it: what clients of a cluster are told.

For a moment nobody may be known to lead: a part that was split off begins with an election, and so does a region whose
leader is lost. Clients are to have all slots all the same, since some of them believe in no cluster that lacks any. So
such slots are shown where they were led last, if that store is reached, else as this one's, which takes what comes. A
part that was split off was led last where its whole was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zope.interface import implementer

from tinykv.interfaces import ISlots, SlotRange
from tinykv.redis.execution import Execution
from tinykv.store.gap import Gap
from tinykv.store.host import RegionHost

#: A region, or what takes slots in none, with the first of its slots and the one behind the last.
Routed = tuple[tuple[int, int], RegionHost | Gap]


@implementer(ISlots)
class Slots:
    """The regions of a store, by slot."""

    def __init__(
        self,
        routes: Callable[[], Sequence[Routed]],
        *,
        store_id: int,
        cluster_id: str,
        address: Callable[[int], tuple[str, int] | None],
        is_up: Callable[[int], bool],
    ) -> None:
        """
        @param routes: Gives the regions, and what takes slots in none, in the order of their slots; none is missing.
        @param address: Gives host and port where clients of the cluster find a store, this one among them.
        @param is_up: Tells whether another store can be reached.
        """
        self.store_id = store_id
        self.cluster_id = cluster_id
        self.address = address
        self._is_up = is_up
        self._routes = routes
        #: Who was known last to be asked about each region.
        self._last: dict[int, int] = {}
        self._places: list[Routed] = []
        self._host_of_slot: list[RegionHost | Gap] = []
        self.ranges_changed()

    def ranges_changed(self) -> None:
        """Learn that there are other regions, or that their ranges are others."""
        before, places = self._host_of_slot, list(self._routes())
        last: dict[int, int] = {}
        for (first, _), host in places:
            if isinstance(host, Gap):
                continue
            known = self._lately(host)
            whole = before[first] if before else host
            if known is None and not isinstance(whole, Gap):
                known = self._lately(whole)
            if known is not None:
                last[host.descriptor.region] = known
        self._last, self._places = last, places
        self._host_of_slot = [host for (first, end), host in places for _ in range(first, end)]

    def owner(self, slot: int) -> int | None:
        """Say who is to be asked about a slot."""
        return self._owner(self._host_of_slot[slot])

    def _owner(self, host: RegionHost | Gap) -> int | None:
        if isinstance(host, Gap):
            return None
        group = host.group
        leader = group.leader_id
        if host.vacant:
            store = host.leader_store()
            return store if store is None or self.address(store) is not None else self.store_id
        if not leader:
            return None
        if leader == group.peer:
            return self.store_id
        store = host.descriptor.stores.get(leader)
        if store is None:
            return None
        return store if self.address(store) is not None else self.store_id

    def _lately(self, host: RegionHost) -> int | None:
        """Say who is to be asked about a region, or was when that was known last."""
        owner = self._owner(host)
        return self._last.get(host.descriptor.region) if owner is None else owner

    def shows(self, slot: int) -> bool:
        """Say whether this store tells of a slot's keys to those who ask all."""
        host = self._host_of_slot[slot]
        return not isinstance(host, Gap) and self._lately(host) == self.store_id

    def ranges(self) -> list[SlotRange]:
        """List all slots."""
        found: list[SlotRange] = []
        for (first, end), host in self._places:
            if isinstance(host, Gap):
                found.append(SlotRange(first, end - 1, self.store_id, False, 0, ()))
                continue
            owner = self._owner(host)
            led = owner is not None
            if owner is None:
                owner = self._last.get(host.descriptor.region, self.store_id)
                if not self.is_up(owner) or self.address(owner) is None:
                    owner = self.store_id
            else:
                self._last[host.descriptor.region] = owner
            stores = tuple(sorted(host.descriptor.stores.values()))
            found.append(SlotRange(first, end - 1, owner, led, host.group.term, stores))
        return found

    def is_up(self, store_id: int) -> bool:
        """Tell whether a store can be reached."""
        return store_id == self.store_id or self._is_up(store_id)

    def execution(self, slot: int) -> Execution | None:
        """Give the commands at work on a slot's data."""
        found: Execution | None = self._host_of_slot[slot].execution
        return found
