"""
Replicas from the stores that have most to those that have least, until there's nothing to be gained.

A move must lower what stores differ by (L{tinykv.placement.strain}), more than by the tolerance; and it must not crowd
the region's places more than they are. So no move undoes another one, and there's an end of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from tinykv.placement.filters import can_give_replica, cannot_lead, leader_takers, takers
from tinykv.placement.operators import Kind, Operator, Priority
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.scene import Scene


def balance_regions(scene: Scene) -> Operator | None:
    """Give an operator that moves one replica, None when nothing is worth moving."""
    cluster, strain = scene.cluster, scene.strain
    stores = [store for store in sorted(cluster.stores) if cluster.up(store)]
    for source in sorted(stores, key=lambda store: (-strain.fullness(store), store)):
        if not can_give_replica(cluster, source):
            continue
        targets = [store for store in stores if cluster.stores[store].region_weight and strain.may_gain(source, store)]
        if not targets:
            continue
        held = cluster.regions.on(source)
        for kept in (held.pending, held.followers, held.leaders):
            regions = filter(None, map(cluster.regions.get, kept.around(scene.random)))
            for region in islice(_worth_a_look(scene, regions, source, targets), cluster.config.candidates):
                if operator := _moved(scene, region, source):
                    return operator
    return None


def _worth_a_look(scene: Scene, regions: Iterator[RegionInfo], source: int, targets: list[int]) -> Iterator[RegionInfo]:
    """Pick the regions by which something is gained somewhere; whether they can be moved there is more to find out."""
    strain = scene.strain
    for region in regions:
        if any(
            target not in region.stores and strain.gain(region.placed_size, source, target) > 0 for target in targets
        ):
            yield region


def _moved(scene: Scene, region: RegionInfo, source: int) -> Operator | None:
    """Give an operator that moves a region's replica away from a store, None when that isn't worth it."""
    cluster, scores, size = scene.cluster, scene.scores, region.placed_size
    leads, pressed = region.leader == source, scene.pressed(source)
    if not scene.steady(region) or leads and scene.hot.busy(region.region) and not pressed:
        return None  # Who is to lead instead is decided by load first, where there's much.
    leaders = leader_takers(cluster, scores, region) if leads else []
    rest = set(region.voters) - {source}
    crowded = scene.crowding(source, rest)
    able = [
        target
        for target in takers(cluster, scores, region)
        if scene.crowding(target, rest) <= crowded
        and (pressed or scene.eases_replica(region, source, target))
        # Where nobody who stays may lead it's whoever gets the replica.
        and (not leads or leaders or cannot_lead(cluster, target) is None)
    ]
    target = min(able, key=lambda each: (scene.strain.rise(size, each), each), default=None)
    if target is None or scene.strain.gain(size, source, target) <= 0:
        return None
    if leads and scene.hot.busy(region.region):
        leaders.sort(key=lambda each: (scene.loads[each], each))
    kinds = (Kind.REGION, Kind.LEADER) if leads else (Kind.REGION,)
    after = (leaders or [target]) if leads else ()
    return scene.placing(region, rest | {target}, "balance-region", kinds, Priority.LOW, after)
