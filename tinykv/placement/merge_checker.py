"""
Neighbours that are small enough to be one region.

The one that is merged into the other first gets its voters onto the other's stores, since only then can the two logs
be joined without anything being copied (R19). Regions that were just split, or just heard of for the first time, are
left alone for a while, and so is what would be split again by its size or its load, so that splits and merges don't
take turns. Nothing is merged unless that is wanted (C{merge_by_size}).
"""

from __future__ import annotations

from tinykv.placement.builder import placing
from tinykv.placement.filters import cannot_take_replica, leader_takers
from tinykv.placement.operators import Kind, Operator, Priority
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.scene import Scene
from tinykv.placement.steps import MergeRegion
from tinykv.placement.stores import Refused


class MergeChecker:
    """Which regions may be merged."""

    def __init__(self) -> None:
        self._narrowed: dict[int, float] = {}

    def observe(self, before: RegionInfo | None, region: RegionInfo, now: float) -> None:
        """Take note of a heartbeat; C{before} is what was known of the region."""
        if before is None or not region.covers(before):
            self._narrowed[region.region] = now

    def drop(self, region: int) -> None:
        """Forget a region."""
        self._narrowed.pop(region, None)

    def check(self, scene: Scene, region: RegionInfo) -> Operator | None:
        """Give an operator that merges a region into a neighbour, None where there's no reason to."""
        config, controller = scene.cluster.config, scene.controller
        if not config.merge_by_size:
            return None
        if len(scene.cluster.regions) - controller.count(Kind.MERGE) <= config.least_regions:
            return None
        if not controller.room(Kind.MERGE) or not self._ready(scene, region):
            return None
        neighbours = [each for each in scene.cluster.regions.neighbours(region) if each]
        for target in sorted(neighbours, key=lambda each: (each.size, each.start)):
            small = region.size + target.size <= config.merge_size and region.keys + target.keys <= config.merge_keys
            if small and region.kind == target.kind and self._ready(scene, target) and _stays(scene, region, target):
                return self._merging(scene, region, target)
        return None

    def _ready(self, scene: Scene, region: RegionInfo) -> bool:
        """Tell whether a region may take part in a merge now."""
        since = scene.cluster.now - self._narrowed.get(region.region, scene.cluster.now)
        return (
            since >= scene.cluster.config.merge_pause
            and scene.steady(region)
            and not scene.hot.busy(region.region)
            and scene.cluster.healthy_peers(region) == set(region.stores)
        )

    def _merging(self, scene: Scene, region: RegionInfo, target: RegionInfo) -> Operator | None:
        """Give the operator that merges one into the other, None where its voters can't be moved now."""
        for store in set(target.voters) - set(region.voters):
            if cannot_take_replica(scene.cluster, scene.scores, region, store) is not None:
                return None
        leaders = leader_takers(scene.cluster, scene.scores, region) if region.leader not in target.voters else ()
        try:
            steps = placing(scene.cluster, region, target.voters, leaders)
        except Refused:
            return None
        merge = MergeRegion(target.region, region.version)
        return scene.operator(region, "merge", (Kind.MERGE, Kind.REGION), Priority.LOW, *steps, merge)


def _stays(scene: Scene, region: RegionInfo, target: RegionInfo) -> bool:
    """Tell whether both together are far enough from what has a region split; half of that is."""
    config, loads = scene.cluster.config, [scene.hot.load(each.region) for each in (region, target)]
    work = sum(load.cost for load in loads if load)
    return (not config.split_load_threshold or 2 * work < config.split_load_threshold) and (
        not config.region_max_size or 2 * (region.size + target.size) <= config.region_max_size
    )
