"""
Whether a region has the replicas that it should, where it should; the first thing that isn't so becomes an operator.

In this order: a joint configuration that nobody leaves; replicas that are lost; replicas on stores that are being
emptied; too few; too many; learners that nobody waits for; a place that is more crowded than it has to be.
"""

from __future__ import annotations

from collections.abc import Collection

from tinykv.placement.filters import cannot_take_replica, leader_takers, takers
from tinykv.placement.labels import Crowding
from tinykv.placement.operators import Kind, Operator, Priority
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.scene import Scene
from tinykv.placement.steps import LeaveJoint
from tinykv.placement.stores import Life

_REPAIR = (Kind.REPLICA,)


def check_replicas(scene: Scene, region: RegionInfo) -> Operator | None:
    """Give an operator for the first thing that is wrong with a region for which none runs, None when nothing is."""
    stores = scene.cluster.stores
    lost = scene.cluster.lost_peers(region)
    unknown = {store for store in region.stores if store not in stores}
    if region.leader is None:
        return None  # Nobody to ask.
    if region.joint:
        return scene.operator(region, "leave-joint", _REPAIR, Priority.HIGH, LeaveJoint())
    leaving = {store for store in region.stores if store not in unknown and stores[store].life is Life.OFFLINE}
    for bad, name in ((lost, "down-peer"), (leaving, "offline-peer")):
        for store in region.voters:
            if store in bad and (operator := _without(scene, region, store, name, lost | leaving)):
                return operator
    if not unknown <= lost or any(store in unknown for store in region.voters):
        return None  # Nothing is known of a store, so neither is whether it's lost, nor how it compares with others.
    return (
        _completed(scene, region, lost | leaving)
        or _reduced(scene, region)
        or _without_learners(scene, region)
        or _better_placed(scene, region)
    )


def best_taker(scene: Scene, region: RegionInfo, others: Collection[int], below: Crowding | None = None) -> int | None:
    """
    Give the store that's best for another replica of a region beside some others: the least crowded, then the emptiest.

    @param below: It must be less crowded than this.
    """
    able = takers(scene.cluster, scene.scores, region)
    best = min(able, key=lambda store: (scene.crowding(store, others), able.index(store)), default=None)
    return best if best is None or below is None or scene.crowding(best, others) < below else None


def _without(scene: Scene, region: RegionInfo, store: int, name: str, bad: Collection[int]) -> Operator | None:
    """
    Give an operator that has a region do without its voter on a store, with another for it where it needs one.

    A learner that is there already is that other one: an operator before this one has added it, perhaps by the word of
    a scheduler that isn't any more, and there may be no other store left.
    """
    rest = set(region.voters) - {store}
    leaders = leader_takers(scene.cluster, scene.scores, region)
    if len(rest) < scene.cluster.config.replicas:
        target = _learner_there(scene, region, bad)
        if target is None:
            target = best_taker(scene, region, rest)
        if target is None:
            return None  # Better one that's lost and may come back than one less to make a majority of.
        rest.add(target)
    return scene.placing(region, rest, name, _REPAIR, Priority.HIGH, leaders if region.leader == store else ())


def _learner_there(scene: Scene, region: RegionInfo, bad: Collection[int]) -> int | None:
    """Give the store of a learner that can become a voter, best one that has caught up."""
    able = [store for store in region.learners if store not in bad and scene.cluster.serving(store)]
    return min(able, key=lambda store: (store in region.pending, store), default=None)


def _completed(scene: Scene, region: RegionInfo, bad: Collection[int]) -> Operator | None:
    """Give an operator that adds all voters that a region lacks and that there's a store for."""
    voters = set(region.voters)
    lacking = scene.cluster.config.replicas - len(voters)
    if lacking <= 0:
        return None
    healthy = scene.cluster.healthy_peers(region)
    for store in region.learners:
        if lacking > 0 and store in healthy and store not in bad:
            voters.add(store)
            lacking -= 1
    able = takers(scene.cluster, scene.scores, region)
    while lacking > 0 and able:
        best = min(able, key=lambda store: (scene.crowding(store, voters), able.index(store)))
        able.remove(best)
        voters.add(best)
        lacking -= 1
    if len(voters) == len(region.voters):
        return None
    return scene.placing(region, voters, "add-replica", _REPAIR, Priority.HIGH)


def _reduced(scene: Scene, region: RegionInfo) -> Operator | None:
    """Give an operator that removes the worst voter of a region that has too many."""
    voters = set(region.voters)
    if len(voters) <= scene.cluster.config.replicas:
        return None
    healthy = scene.cluster.healthy_peers(region)

    def goodness(store: int) -> tuple[bool, tuple[int, ...], float, int]:
        crowded = tuple(-count for count in scene.crowding(store, voters))
        return store in healthy, crowded, -scene.scores.replicas(store), -store

    worst = min(voters, key=goodness)
    leaders = leader_takers(scene.cluster, scene.scores, region)
    return scene.placing(
        region, voters - {worst}, "extra-replica", _REPAIR, Priority.NORMAL, leaders if worst == region.leader else ()
    )


def _without_learners(scene: Scene, region: RegionInfo) -> Operator | None:
    """Give an operator that removes learners: what added them has ended, and the region has voters enough."""
    if not region.learners or len(region.voters) < scene.cluster.config.replicas:
        return None
    return scene.placing(region, region.voters, "orphan-learner", _REPAIR, Priority.NORMAL)


def _better_placed(scene: Scene, region: RegionInfo) -> Operator | None:
    """Give an operator that moves a voter out of a place that it shares with others, where there's a better one."""
    if not scene.steady(region):
        return None
    voters = set(region.voters)
    crowded = sorted(((scene.crowding(store, voters), store) for store in voters), reverse=True)
    for own, store in crowded:
        rest = voters - {store}
        if any(own) and _may_improve(scene, region, rest, own):
            target = best_taker(scene, region, rest, own)
            if target is not None:
                leaders = leader_takers(scene.cluster, scene.scores, region) if region.leader == store else ()
                return scene.placing(
                    region, rest | {target}, "label-peer", (Kind.REPLICA, Kind.REGION), Priority.NORMAL, leaders
                )
    return None


def _may_improve(scene: Scene, region: RegionInfo, rest: Collection[int], own: Crowding) -> bool:
    """Tell whether some store is in a less crowded place; most often none is, and that's quickly known."""
    return any(
        scene.crowding(store, rest) < own and cannot_take_replica(scene.cluster, scene.scores, region, store) is None
        for store in scene.cluster.stores
        if store not in region.stores
    )
