"""
Which store leads which slots, as this one knows it: what clients of a cluster are told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zope.interface import implementer

from tinykv.interfaces import ISlots, SlotRange
from tinykv.keys import SLOTS
from tinykv.redis.execution import Execution
from tinykv.store.host import RegionHost


@implementer(ISlots)
class Slots:
    """The regions of a store, by slot."""

    def __init__(
        self,
        hosts: Sequence[RegionHost],
        *,
        store_id: int,
        cluster_id: str,
        address: Callable[[int], tuple[str, int] | None],
        is_up: Callable[[int], bool],
    ) -> None:
        """
        @param hosts: The regions, in the order of their slots; none is missing. It may change.
        @param address: Gives host and port where clients of the cluster find a store, this one among them.
        @param is_up: Tells whether another store can be reached.
        """
        self.store_id = store_id
        self.cluster_id = cluster_id
        self.address = address
        self._is_up = is_up
        self._hosts = hosts
        self.ranges_changed()

    def ranges_changed(self) -> None:
        """Learn that there are other regions, or that their ranges are others."""
        firsts = [0, *(host.descriptor.slots[0] for host in self._hosts[1:]), SLOTS]
        ranges = zip(self._hosts, firsts, firsts[1:], strict=False)
        self._host_of_slot = [host for host, first, end in ranges for _ in range(first, end)]

    def owner(self, slot: int) -> int | None:
        """Say who is to be asked about a slot."""
        return self._owner(self._host_of_slot[slot])

    def _owner(self, host: RegionHost) -> int | None:
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

    def ranges(self) -> list[SlotRange]:
        """List all slots."""
        found: list[SlotRange] = []
        for host in self._hosts:
            first, end = host.descriptor.slots
            stores = tuple(sorted(host.descriptor.stores.values()))
            found.append(SlotRange(first, end - 1, self._owner(host), host.group.term, stores))
        return found

    def is_up(self, store_id: int) -> bool:
        """Tell whether a store can be reached."""
        return store_id == self.store_id or self._is_up(store_id)

    def execution(self, slot: int) -> Execution:
        """Give the commands at work on a slot's data."""
        return self._host_of_slot[slot].execution
