"""
Leadership from the stores that lead most to those that lead least.

Looked at from both ends: what a store that leads much may hand over, and what a store that leads little may take.
"""

from __future__ import annotations

from math import inf

from tinykv.placement.filters import can_give_leader, cannot_lead, leader_takers
from tinykv.placement.operators import Kind, Operator, Priority
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.scene import Scene
from tinykv.placement.steps import TransferLeader


def balance_leaders(scene: Scene) -> Operator | None:
    """Give an operator that hands one leadership over, None when nothing is worth it."""
    cluster, scores = scene.cluster, scene.scores
    givers = [store for store in sorted(cluster.stores) if can_give_leader(cluster, store)]
    able = [store for store in sorted(cluster.stores) if cannot_lead(cluster, store) is None]
    givers.sort(key=lambda store: (-scores.leaders(store), store))
    able.sort(key=lambda store: (scores.leaders(store), store))
    highest = scores.leaders(givers[0]) if givers else 0.0
    lowest = scores.leaders(able[0]) if able else inf
    for giver in givers:
        if not _worth(scene, scores.leaders(giver), lowest):
            break
        for region in scene.drawn(cluster.regions.on(giver).leaders):
            if operator := _handed_over(scene, region):
                return operator
    for taker in able:
        if not _worth(scene, highest, scores.leaders(taker)):
            break
        for region in scene.drawn(cluster.regions.on(taker).followers):
            if region.leader in givers and (operator := _handed_over(scene, region, taker)):
                return operator
    return None


def _worth(scene: Scene, high: float, low: float) -> bool:
    """Tell whether two stores' scores are so far apart that it may be worth a transfer."""
    return high - low > scene.cluster.config.leader_tolerance


def _handed_over(scene: Scene, region: RegionInfo, taker: int | None = None) -> Operator | None:
    """Give an operator by which some store leads a region instead, or the store given; None if it's not worth it."""
    scores = scene.scores
    if region.leader is None or region.joint or region.pending or scene.controller.of(region.region):
        return None
    leader = region.leader
    able = leader_takers(scene.cluster, scores, region)
    none = not scene.cluster.stores[leader].leader_weight  # It shall lead nothing, whatever work that makes.
    able = [target for target in able if none or scene.eases_leader(region, target)]
    for target in able[:1] if taker is None else [taker] if taker in able else []:
        less = none or scores.leaders(leader, -1) >= scores.leaders(target, 1)
        if less and _worth(scene, scores.leaders(leader), scores.leaders(target)):
            return scene.operator(region, "balance-leader", (Kind.LEADER,), Priority.LOW, TransferLeader(target))
    return None
