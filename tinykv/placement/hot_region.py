"""
Regions that make work, away from the busiest store.

Handing the leadership over is tried before a replica is moved, for it costs nothing. Either is done only when the taker
is less busy afterwards than the giver was before, by the tolerance: a single region that is all the work there is stays
where it is, and what was moved isn't moved back. Nor do the balancers of regions and leaders undo it: they move what is
busy only where the taker isn't busier afterwards than the giver was (L{tinykv.placement.scene.Scene.eases}). So
the loads of stores, the highest first, only fall as long as clients want the same; and among moves that leave them,
what the balancers make even does.
"""

from __future__ import annotations

from tinykv.placement.filters import can_give_leader, can_give_replica, leader_takers, takers
from tinykv.placement.operators import Kind, Operator, Priority
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.scene import Scene
from tinykv.placement.steps import TransferLeader


def spread_hot_regions(scene: Scene) -> Operator | None:
    """Give an operator that makes the busiest store less so, None when that isn't possible or not worth it."""
    cluster, loads = scene.cluster, scene.loads
    busiest_regions = scene.hot.busiest(cluster.config)
    if not busiest_regions:
        return None
    able = [store for store in loads if cluster.up(store) and not cluster.disconnected(store)]
    if not able:
        return None
    busiest = max(able, key=lambda store: (loads[store], -store))
    for number in busiest_regions:
        region = cluster.regions.get(number)
        if region and busiest in region.voters and scene.steady(region):
            if operator := _led_elsewhere(scene, region, busiest) or _moved(scene, region, busiest):
                return operator
    return None


def _worth(scene: Scene, source: int, target: int, moved: float) -> bool:
    """Tell whether much is moved, and the taker is less busy with it than the giver is now, by the tolerance."""
    loads, config = scene.loads, scene.cluster.config
    return moved >= config.hot_least and loads[target] + moved < loads[source] * (1 - config.hot_tolerance)


def _led_elsewhere(scene: Scene, region: RegionInfo, source: int) -> Operator | None:
    """Give an operator that hands the leadership of a region to a less busy store."""
    load = scene.hot.load(region.region)
    if region.leader != source or load is None or not can_give_leader(scene.cluster, source):
        return None
    able = leader_takers(scene.cluster, scene.scores, region)
    target = min(able, key=lambda store: (scene.loads[store], store), default=None)
    if target is None or not _worth(scene, source, target, load.read + load.write):
        return None
    return scene.operator(region, "hot-region", (Kind.HOT, Kind.LEADER), Priority.LOW, TransferLeader(target))


def _moved(scene: Scene, region: RegionInfo, source: int) -> Operator | None:
    """Give an operator that moves a region's replica to a less busy store."""
    load = scene.hot.load(region.region)
    if load is None or not can_give_replica(scene.cluster, source):
        return None
    rest = set(region.voters) - {source}
    crowded = scene.crowding(source, rest)
    able = [store for store in takers(scene.cluster, scene.scores, region) if scene.crowding(store, rest) <= crowded]
    target = min(able, key=lambda store: (scene.loads[store], store), default=None)
    if target is None or not _worth(scene, source, target, load.on(source, region.leader)):
        return None
    # The one that takes the replica leads as well: the others would only be given the work that this is about.
    leaders = (target,) if region.leader == source else ()
    return scene.placing(region, rest | {target}, "hot-region", (Kind.HOT, Kind.REGION), Priority.LOW, leaders)
