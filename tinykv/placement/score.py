"""
How much a store has, compared with others: who is given what is made anew, and who leads.

For replicas that is what it holds, divided by its weight. As long as there's much free space, capacity doesn't count:
each store has one core, whatever its disk. From C{high_space} on down to C{low_space} the score rises beyond all
bounds, so that small disks are spared before they are full. For leaders it's their number, divided by the weight.

Which replicas are moved for the sake of balance is decided by more (L{tinykv.placement.strain}).
"""

from __future__ import annotations

from math import inf
from typing import Final

from tinykv.placement.cluster import Cluster
from tinykv.placement.controller import Influence

#: A store without any free space counts as if it had this part of the room above low_space.
LEAST_HEADROOM: Final = 0.01


class Scores:
    """The scores of stores, with what the operators that run will change."""

    def __init__(self, cluster: Cluster, influence: Influence) -> None:
        self._cluster = cluster
        self._influence = influence

    def free(self, store: int, given: int = 0) -> float:
        """Tell which fraction of a store's capacity is free, once it was given so many bytes more."""
        stats = self._cluster.stats(store)
        if stats is None or not stats.capacity:
            return 1.0
        return (stats.available - self._influence.size[store] - given) / stats.capacity

    def replicas(self, store: int, given: int = 0) -> float:
        """Give the score of what a store holds, once it was given so many bytes more."""
        held = self._cluster.regions.on(store).size + self._influence.size[store] + given
        return _weighed(held / self.headroom(store, given), self._cluster.stores[store].region_weight)

    def headroom(self, store: int, given: int = 0) -> float:
        """Tell how far a store is from being full, once it was given so many bytes more: 1 is far enough."""
        config = self._cluster.config
        headroom = (self.free(store, given) - config.low_space) / (config.high_space - config.low_space)
        return min(max(headroom, LEAST_HEADROOM), 1.0)

    def leaders(self, store: int, given: int = 0) -> float:
        """Give the score of what a store leads, once it led so many more."""
        led = len(self._cluster.regions.on(store).leaders) + self._influence.leaders[store] + given
        return _weighed(led, self._cluster.stores[store].leader_weight)


def _weighed(amount: float, weight: float) -> float:
    """Divide an amount by a weight, of which 0 is for nothing at all."""
    if not weight:
        return inf if amount > 0 else 0.0
    return amount / weight
