"""
How far what stores hold is from what it would be if all had their share: what balance of replicas makes less.

A store's strain is the sum of two squares: of the bytes that it holds and of the number of its replicas, both as parts
of what a store of its weight would have if all had the same. Bytes count the more, the less space is free (see
L{tinykv.placement.score}). It's a sum over the stores and a function of who holds what and nothing else; so where each
move lowers it, by an amount that has a least value, no move is ever undone by others, and there's an end of them.

Were it bytes alone, stores with some small regions would have to be given many; were it numbers alone, large regions
might all be in one place. Where regions hold about as much as each other both say the same: a replica is moved
from a store that has at least two more.
"""

from __future__ import annotations

from collections.abc import Collection
from math import inf
from typing import NamedTuple

from tinykv.placement.cluster import Cluster
from tinykv.placement.controller import Influence
from tinykv.placement.region_info import LEAST_SIZE
from tinykv.placement.score import Scores


class _Held(NamedTuple):
    """What a store holds once the operators that run are done, and its weight."""

    size: int
    replicas: int
    weight: float


class Strain:
    """
    The strain of some stores.

    @ivar share: The bytes and the replicas that a store of weight 1 would have.
    """

    def __init__(self, cluster: Cluster, influence: Influence, scores: Scores, stores: Collection[int]) -> None:
        """
        @param stores: Those among which replicas are moved.
        """
        self._scores = scores
        self._tolerance = 2 * cluster.config.region_tolerance
        self._held = {
            store: _Held(
                cluster.regions.on(store).size + influence.size[store],
                cluster.regions.on(store).count + influence.replicas[store],
                cluster.stores[store].region_weight,
            )
            for store in stores
        }
        weights = sum(held.weight for held in self._held.values()) or 1.0
        #: At least 1, for what isn't there is nobody's share.
        self.share = (
            max(sum(held.size for held in self._held.values()), 1) / weights,
            max(sum(held.replicas for held in self._held.values()), 1) / weights,
        )

    @property
    def total(self) -> float:
        """The strain of all stores but those of weight 0, which are to have nothing."""
        return sum(
            self._of_size(store, 0) + self._of_count(store, 0) for store, held in self._held.items() if held.weight
        )

    def fullness(self, store: int) -> float:
        """Tell how full a store is: the one from which the most is gained gives first."""
        size, count, weight = self._held[store]
        if not weight:
            return inf if count else 0.0
        return size / self.share[0] / weight / self._scores.headroom(store) + count / self.share[1] / weight

    def gain(self, size: int, source: int, target: int) -> float:
        """
        Tell by how much more than what's worth it the strain falls when a replica moves; nothing is to be gained if
        that isn't more than 0.

        What's worth it is twice C{region_tolerance} for each share that is moved. So of stores that differ by
        less than that, beside the replica itself, none gives to the other.

        @param size: What the replica holds, in bytes; at least L{LEAST_SIZE}.
        """
        if not self._held[source].weight:
            return inf
        return self._gain_of_size(size, source, target) + self._gain_of_count(source, target)

    def rise(self, size: int, target: int) -> float:
        """Tell by how much the strain of a store that gets a replica rises: the one by which most is gained, least."""
        of_size = self._of_size(target, size) - self._of_size(target, 0)
        return of_size + self._of_count(target, 1) - self._of_count(target, 0)

    def may_gain(self, source: int, target: int) -> bool:
        """Tell whether some replica may be worth moving; most often none is, and that's quickly known."""
        if not self._held[source].weight:
            return True
        # The more is moved the less is gained by each byte, so the least that there is says it of all.
        return self._gain_of_size(LEAST_SIZE, source, target) > 0 or self._gain_of_count(source, target) > 0

    def _gain_of_size(self, size: int, source: int, target: int) -> float:
        falls = self._of_size(source, 0) - self._of_size(source, -size)
        return falls - (self._of_size(target, size) - self._of_size(target, 0)) - self._tolerance * size / self.share[0]

    def _gain_of_count(self, source: int, target: int) -> float:
        falls = self._of_count(source, 0) - self._of_count(source, -1)
        return falls - (self._of_count(target, 1) - self._of_count(target, 0)) - self._tolerance / self.share[1]

    def _of_size(self, store: int, given: int) -> float:
        size, _, weight = self._held[store]
        return ((size + given) / self.share[0]) ** 2 / weight / self._scores.headroom(store, given)

    def _of_count(self, store: int, given: int) -> float:
        _, count, weight = self._held[store]
        return ((count + given) / self.share[1]) ** 2 / weight
