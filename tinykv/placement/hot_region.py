"""
Regions that make work, away from the busiest stores.

Handing the leadership over is tried before a replica is moved, for it costs nothing. Either is done only when the taker
is less busy afterwards than the giver was before, by the tolerance: a single region that is all the work there is stays
where it is, and what was moved isn't moved back. Nor do the balancers of regions and leaders undo it: they move what is
busy only where the taker isn't busier afterwards than the giver was (L{tinykv.placement.scene.Scene.eases_leader}), and
what isn't busy doesn't count here. So the loads of stores, the highest first, only fall as long as clients want the
same; and among moves that leave them, what the balancers make even does.

Who shall lead, or not lead, goes before: stores of C{grant_leader} keep what they lead, and nobody is given the
leadership who is not to have it.
"""

from __future__ import annotations

from typing import Final

from tinykv.placement.filters import can_give_leader, can_give_replica, cannot_lead, leader_takers, takers
from tinykv.placement.operators import Kind, Operator, Priority
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.scene import Scene
from tinykv.placement.steps import TransferLeader

#: Whatever the tolerance, it must be less by so many commands a second: sums of what was measured aren't exact.
LEAST_FALL: Final = 1.0


def spread_hot_regions(scene: Scene) -> Operator | None:
    """Give an operator that makes a busy store less so, None when that isn't possible or not worth it."""
    cluster = scene.cluster
    lasting = [region for region in map(cluster.regions.get, scene.hot.lasting(cluster.config)) if region]
    able = [store for store in scene.loads if cluster.up(store) and not cluster.disconnected(store)]
    if not lasting or not able:
        return None
    mean = sum(scene.loads[store] for store in able) / len(able)
    for source in sorted(able, key=lambda store: (-scene.loads[store], store)):
        if scene.loads[source] <= mean:
            break
        for region in lasting:
            if source in region.voters and scene.steady(region):
                if operator := _led_elsewhere(scene, region, source) or _moved(scene, region, source):
                    return operator
    return None


def _worth(scene: Scene, source: int, target: int, brought: float) -> bool:
    """Tell whether the taker of some work is less busy with it than the giver is now, by the tolerance."""
    busy = scene.loads[source]
    return scene.loads[target] + brought < busy - max(busy * scene.cluster.config.hot_tolerance, LEAST_FALL)


def _led_elsewhere(scene: Scene, region: RegionInfo, source: int) -> Operator | None:
    """Give an operator that hands the leadership of a region to a less busy store."""
    load = scene.hot.load(region.region)
    if region.leader != source or load is None or not can_give_leader(scene.cluster, source):
        return None
    able = leader_takers(scene.cluster, scene.scores, region)
    target = min(able, key=lambda store: (scene.loads[store], store), default=None)
    if target is None or not load.leading or not _worth(scene, source, target, load.leading):
        return None
    return scene.operator(region, "hot-region", (Kind.HOT, Kind.LEADER), Priority.LOW, TransferLeader(target))


def _moved(scene: Scene, region: RegionInfo, source: int) -> Operator | None:
    """Give an operator that moves a region's replica to a less busy store."""
    cluster, load, leads = scene.cluster, scene.hot.load(region.region), region.leader == source
    if load is None or not load.on(source, region.leader) or not can_give_replica(cluster, source):
        return None
    if leads and not can_give_leader(cluster, source):
        return None
    rest = set(region.voters) - {source}
    crowded = scene.crowding(source, rest)
    after = {
        store: scene.loads[store] + scene.brought(region, source, store)
        for store in takers(cluster, scene.scores, region)
        if scene.crowding(store, rest) <= crowded and (not leads or cannot_lead(cluster, store) is None)
    }
    target = min(after, key=lambda store: (after[store], store), default=None)
    if target is None or not _worth(scene, source, target, scene.brought(region, source, target)):
        return None
    # The one that takes the replica leads as well: the others would only be given the work that this is about. One of
    # them does meanwhile.
    leaders = [target, *leader_takers(cluster, scene.scores, region)] if leads else ()
    return scene.placing(region, rest | {target}, "hot-region", (Kind.HOT, Kind.REGION), Priority.LOW, leaders)
