"""Which stores may give or take a replica or the leadership of a region, and why the others may not."""

from __future__ import annotations

from tinykv.placement.cluster import Cluster
from tinykv.placement.limits import Flow
from tinykv.placement.region_info import NEW_VOTERS, RegionInfo
from tinykv.placement.score import Scores
from tinykv.placement.stores import Life, StoreState


def cannot_take_replica(
    cluster: Cluster, scores: Scores, region: RegionInfo, store: int, *, limited: bool = True
) -> str | None:
    """
    Say why a store can't be given a replica of a region now, None when it can.

    @param limited: Whether the limit of the store counts.
    """
    config, stats = cluster.config, cluster.stats(store)
    if store in region.stores:
        return "it holds one"
    if cluster.state(store) is not StoreState.UP:
        return f"it's {cluster.state(store).value}"
    if stats is None:
        return "it hasn't been heard of"
    if stats.busy:
        return "it's busy"
    if not cluster.stores[store].region_weight:
        return "its weight is 0"
    if scores.free(store, region.placed_size) < config.low_space:
        return "it would have too little free space"
    if max(stats.snapshots_sending, stats.snapshots_receiving) >= config.snapshots_max:
        return "it has too many snapshots under way"
    if len(cluster.regions.on(store).pending) >= config.pending_max:
        return "too many of its replicas haven't caught up"
    return None if not limited or cluster.allows(store, Flow.ADD) else "its limit is reached"


def takers(cluster: Cluster, scores: Scores, region: RegionInfo, *, limited: bool = True) -> list[int]:
    """List the stores that can be given a replica of a region now, those with the lowest score first."""
    able = [
        store
        for store in sorted(cluster.stores)
        if cannot_take_replica(cluster, scores, region, store, limited=limited) is None
    ]
    return sorted(able, key=lambda store: (scores.replicas(store, region.placed_size), store))


def can_give_replica(cluster: Cluster, store: int) -> bool:
    """Tell whether a replica may be taken from a store now, for the sake of balance."""
    return cluster.up(store) and not cluster.disconnected(store) and cluster.allows(store, Flow.REMOVE)


def cannot_lead(cluster: Cluster, store: int) -> str | None:
    """Say why a store can't be given any leadership now, None when it can."""
    state, stats = cluster.state(store), cluster.stats(store)
    if state is not StoreState.UP:
        return f"it's {state.value}"
    if stats is None:
        return "it hasn't been heard of"
    if stats.busy:
        return "it's busy"
    if store in cluster.config.evict_leader:
        return "it shall not lead"
    return None if cluster.stores[store].leader_weight else "its weight is 0"


def leader_takers(cluster: Cluster, scores: Scores, region: RegionInfo) -> list[int]:
    """List the stores that can be given the leadership of a region now, those with the lowest score first."""
    healthy = cluster.healthy_peers(region)
    able = [
        peer.store
        for peer in region.peers
        if peer.store != region.leader
        and peer.role in NEW_VOTERS
        and peer.store in healthy
        and cannot_lead(cluster, peer.store) is None
    ]
    return sorted(able, key=lambda store: (scores.leaders(store), store))


def can_give_leader(cluster: Cluster, store: int) -> bool:
    """Tell whether leadership may be taken from a store now, for the sake of balance."""
    record = cluster.stores.get(store)
    return (
        record is not None
        and record.life is not Life.TOMBSTONE
        and not cluster.disconnected(store)
        # Of two contrary wishes the one that it lead nothing counts.
        and (store not in cluster.config.grant_leader or not record.leader_weight)
    )
