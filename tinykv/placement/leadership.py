"""Stores that shall not lead, because somebody says so or because they are being emptied; and stores that shall."""

from __future__ import annotations

from tinykv.placement.filters import leader_takers
from tinykv.placement.operators import Kind, Operator, Priority
from tinykv.placement.scene import Scene
from tinykv.placement.steps import TransferLeader
from tinykv.placement.stores import Life


def evict_leaders(scene: Scene) -> Operator | None:
    """Give an operator that takes a leadership away from a store that shall not lead, None when no such store does."""
    cluster = scene.cluster
    for store in sorted(cluster.stores):
        if store not in cluster.config.evict_leader and cluster.stores[store].life is not Life.OFFLINE:
            continue
        for region in scene.drawn(cluster.regions.on(store).leaders):
            able = leader_takers(cluster, scene.scores, region)
            if able and not region.joint and scene.controller.of(region.region) is None:
                return scene.operator(region, "evict-leader", (Kind.LEADER,), Priority.NORMAL, TransferLeader(able[0]))
    return None


def grant_leaders(scene: Scene) -> Operator | None:
    """Give an operator that gives a leadership to a store that shall lead, None when such stores lead what they can."""
    cluster = scene.cluster
    for store in cluster.config.grant_leader:
        for region in scene.drawn(cluster.regions.on(store).followers):
            if (
                region.leader not in cluster.config.grant_leader
                and not region.joint
                and scene.controller.of(region.region) is None
                and store in leader_takers(cluster, scene.scores, region)
            ):
                return scene.operator(region, "grant-leader", (Kind.LEADER,), Priority.NORMAL, TransferLeader(store))
    return None
