"""What a checker or balancer decides from: the cluster at one time, and what is under way already."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from tinykv.placement.builder import operator, placing
from tinykv.placement.cluster import Cluster
from tinykv.placement.controller import Influence, OperatorController
from tinykv.placement.hot import HotRegions
from tinykv.placement.labels import Crowding, crowding
from tinykv.placement.operators import Kind, Operator, Priority
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.regions import DrawnSet
from tinykv.placement.score import Scores
from tinykv.placement.steps import AddLearner, RemovePeer, Step, TransferLeader
from tinykv.placement.stores import Refused
from tinykv.placement.strain import Strain


@dataclass(frozen=True)
class Scene:
    """The cluster at one time. It's made anew whenever an operator was added."""

    cluster: Cluster
    controller: OperatorController
    hot: HotRegions
    random: Random

    @cached_property
    def scores(self) -> Scores:
        """The scores of the stores."""
        return Scores(self.cluster, self._influence)

    @cached_property
    def strain(self) -> Strain:
        """The strain of the stores that are up."""
        return Strain(self.cluster, self._influence, self.scores, list(filter(self.cluster.up, self.cluster.stores)))

    @cached_property
    def loads(self) -> dict[int, float]:
        """
        The work of each store once the operators that run are done, in commands each second: that of regions by which
        it's worth to be evened (L{HotRegions}).
        """
        loads = {store: self.hot.on(store) for store in self.cluster.stores}
        for running in self.controller.running:
            region, load = self.cluster.regions.get(running.region), self.hot.load(running.region)
            if region is None or load is None:
                continue
            stores, leader = set(region.stores), region.leader
            for step in running.remaining:
                if isinstance(step, AddLearner):
                    stores.add(step.store)
                elif isinstance(step, RemovePeer):
                    stores.discard(step.store)
                elif isinstance(step, TransferLeader):
                    leader = step.target
            for store in set(region.stores) & loads.keys():
                loads[store] -= load.on(store, region.leader)
            for store in stores & loads.keys():
                loads[store] += load.on(store, leader)
        return loads

    def brought(self, region: RegionInfo, source: int, target: int) -> float:
        """
        Tell how much work a replica brings along to the store that it moves to, in commands each second: that of
        leading it too where the source leads, or where the target leads whatever it can.
        """
        load, granted = self.hot.load(region.region), self.cluster.config.grant_leader
        if load is None:
            return 0.0
        leads = region.leader == source or target in granted and region.leader not in granted
        return load.on(target, target if leads else None)

    def eases_leader(self, region: RegionInfo, target: int) -> bool:
        """
        Tell whether a store may lead a region instead as far as work is concerned: what is busy may not make the taker
        busier than the giver is; and what makes much more work than others is where it is because of that.
        """
        load = self.hot.load(region.region)
        if load is None or region.leader is None or not load.leading:
            return True
        if self.hot.hot(region.region, self.cluster.config):
            return False
        return self.loads[target] + load.leading <= self.loads[region.leader]

    def eases_replica(self, region: RegionInfo, source: int, target: int) -> bool:
        """Tell likewise whether a replica may go from one store to another; one that brings no work may, anywhere."""
        brought = self.brought(region, source, target)
        if not brought:
            return True
        if self.hot.hot(region.region, self.cluster.config):
            return False
        return self.loads[target] + brought <= self.loads[source]

    def pressed(self, store: int) -> bool:
        """Tell whether a store has to get rid of replicas, whatever work they make: it's full, or shall hold none."""
        return not self.cluster.stores[store].region_weight or self.scores.free(store) < self.cluster.config.low_space

    @cached_property
    def _influence(self) -> Influence:
        return self.controller.influence()

    def crowding(self, store: int, others: Collection[int]) -> Crowding:
        """Tell how many of some stores share the places of a store."""
        return crowding(self.cluster.stores, self.cluster.config.labels, store, others)

    def steady(self, region: RegionInfo) -> bool:
        """Tell whether a region has just what it should, nothing of it is lost, and nothing is under way for it."""
        return (
            region.leader is not None
            and len(region.voters) == self.cluster.config.replicas
            and not region.joint
            and not region.learners
            and not region.down
            and all(map(self.cluster.up, region.stores))
            and self.controller.of(region.region) is None
        )

    def drawn(self, regions: DrawnSet) -> list[RegionInfo]:
        """Draw some of a store's regions by chance."""
        ids = regions.draw(self.random, self.cluster.config.candidates)
        return [region for region in map(self.cluster.regions.get, ids) if region]

    def operator(
        self, region: RegionInfo, name: str, kinds: tuple[Kind, ...], priority: Priority, *steps: Step
    ) -> Operator:
        """Give an operator with some steps."""
        return operator(self.cluster, region, name, kinds, priority, steps)

    def placing(
        self,
        region: RegionInfo,
        voters: Collection[int],
        name: str,
        kinds: tuple[Kind, ...],
        priority: Priority,
        leaders: Sequence[int] = (),
    ) -> Operator | None:
        """Give an operator that has a region's voters on some stores; None where they can't be, or are."""
        try:
            steps = placing(self.cluster, region, voters, leaders)
        except Refused:  # Whoever looks at all regions in turn comes by again.
            return None
        return self.operator(region, name, kinds, priority, *steps) if steps else None
