"""
Replicas from the stores that have most to those that have least, until the difference isn't worth a move.

A move must leave the giver with more than the taker, by the tolerance, so that no other move undoes it; and it must
not crowd the region's places more than they are.
"""

from __future__ import annotations

from math import inf

from tinykv.placement.filters import can_give_replica, leader_takers, takers
from tinykv.placement.operators import Kind, Operator, Priority
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.scene import Scene


def balance_regions(scene: Scene) -> Operator | None:
    """Give an operator that moves one replica, None when nothing is worth moving."""
    cluster, scores = scene.cluster, scene.scores
    stores = [store for store in sorted(cluster.stores) if cluster.up(store)]
    known = [score for score in map(scores.replicas, stores) if score < inf]
    if len(known) < 2:
        return None
    slack = cluster.config.region_tolerance * sum(known) / len(known)
    lowest = min(known)
    for source in sorted(stores, key=lambda store: (-scores.replicas(store), store)):
        if scores.replicas(source) <= lowest + slack:
            break
        if can_give_replica(cluster, source):
            held = cluster.regions.on(source)
            for kept in (held.pending, held.followers, held.leaders):
                for region in scene.drawn(kept):
                    if operator := _moved(scene, region, source, slack):
                        return operator
    return None


def _moved(scene: Scene, region: RegionInfo, source: int, slack: float) -> Operator | None:
    """Give an operator that moves a region's replica away from a store, None when that isn't worth it."""
    cluster, scores = scene.cluster, scene.scores
    if not scene.steady(region) or scene.hot.hot(region.region, cluster.config):
        return None
    rest = set(region.voters) - {source}
    crowded = scene.crowding(source, rest)
    left = scores.replicas(source, -region.placed_size)
    for target in takers(cluster, scores, region):
        if left <= scores.replicas(target, region.placed_size) + slack:
            break
        if scene.crowding(target, rest) <= crowded:
            leads = region.leader == source
            leaders = leader_takers(cluster, scores, region) if leads else ()
            kinds = (Kind.REGION, Kind.LEADER) if leads else (Kind.REGION,)
            return scene.placing(region, rest | {target}, "balance-region", kinds, Priority.LOW, leaders)
    return None
