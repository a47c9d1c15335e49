"""
Regions that make much more work than others, away from the busiest store.

Handing the leadership over is tried before a replica is moved, for it costs nothing. Either is done only when the taker
is less busy afterwards than the giver was before, by the tolerance: a single region that is all the work there is stays
where it is, and what was moved isn't moved back.
"""

from __future__ import annotations

from tinykv.placement.filters import can_give_leader, can_give_replica, leader_takers, takers
from tinykv.placement.operators import Kind, Operator, Priority
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.scene import Scene
from tinykv.placement.steps import AddLearner, RemovePeer, TransferLeader


def spread_hot_regions(scene: Scene) -> Operator | None:
    """Give an operator that makes the busiest store less so, None when that isn't possible or not worth it."""
    cluster = scene.cluster
    hottest = scene.hot.hottest(cluster.config)
    if not hottest:
        return None
    loads = _loads(scene)
    busy = [store for store in loads if cluster.up(store) and not cluster.disconnected(store)]
    if not busy:
        return None
    busiest = max(busy, key=lambda store: (loads[store], -store))
    for number in hottest:
        region = cluster.regions.get(number)
        if region and busiest in region.voters and scene.steady(region):
            if operator := _led_elsewhere(scene, region, busiest, loads) or _moved(scene, region, busiest, loads):
                return operator
    return None


def _loads(scene: Scene) -> dict[int, float]:
    """Give the work of each store once the operators that run are done."""
    loads = {store: scene.hot.on(store) for store in scene.cluster.stores}
    for running in scene.controller.running:
        region, load = scene.cluster.regions.get(running.region), scene.hot.load(running.region)
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


def _worth(scene: Scene, loads: dict[int, float], source: int, target: int, moved: float) -> bool:
    """Tell whether the taker is less busy with what is moved than the giver is now, by the tolerance."""
    return loads[target] + moved < loads[source] * (1 - scene.cluster.config.hot_tolerance)


def _led_elsewhere(scene: Scene, region: RegionInfo, source: int, loads: dict[int, float]) -> Operator | None:
    """Give an operator that hands the leadership of a region to a less busy store."""
    load = scene.hot.load(region.region)
    if region.leader != source or load is None or not can_give_leader(scene.cluster, source):
        return None
    able = leader_takers(scene.cluster, scene.scores, region)
    target = min(able, key=lambda store: (loads[store], store), default=None)
    if target is None or not _worth(scene, loads, source, target, load.read + load.write):
        return None
    return scene.operator(region, "hot-region", (Kind.HOT, Kind.LEADER), Priority.LOW, TransferLeader(target))


def _moved(scene: Scene, region: RegionInfo, source: int, loads: dict[int, float]) -> Operator | None:
    """Give an operator that moves a region's replica to a less busy store."""
    load = scene.hot.load(region.region)
    if load is None or not can_give_replica(scene.cluster, source):
        return None
    rest = set(region.voters) - {source}
    crowded = scene.crowding(source, rest)
    able = [store for store in takers(scene.cluster, scene.scores, region) if scene.crowding(store, rest) <= crowded]
    target = min(able, key=lambda store: (loads[store], store), default=None)
    if target is None or not _worth(scene, loads, source, target, load.on(source, region.leader)):
        return None
    # The one that takes the replica leads as well: the others would only be given the work that this is about.
    leaders = (target,) if region.leader == source else ()
    return scene.placing(region, rest | {target}, "hot-region", (Kind.HOT, Kind.REGION), Priority.LOW, leaders)
