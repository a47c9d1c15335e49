"""
How a store leaves: it's made offline, its leaders and replicas go elsewhere, and when it's empty it's a tombstone.

These functions give records for the host to persist, and change nothing.
"""

from __future__ import annotations

from dataclasses import replace

from tinykv.placement.cluster import Cluster
from tinykv.placement.region_info import majority
from tinykv.placement.stores import Life, Refused, StoreRecord, StoreState


def offline(cluster: Cluster, store: int) -> StoreRecord:
    """
    Give the record of a store that shall be emptied; of one that is being emptied, the same.

    @raise Refused: It isn't known or is a tombstone; or it could never be empty: says why, and what to do first.
    """
    record = _record(cluster, store)
    if record.life is Life.TOMBSTONE:
        raise Refused(f"store {store} is a tombstone already")
    if record.life is Life.UP and (reason := endless(cluster, store)):
        raise Refused(reason)
    return replace(record, life=Life.OFFLINE)


def back_up(cluster: Cluster, store: int) -> StoreRecord:
    """
    Give the record of a store that shall stay after all; of one that wasn't about to go, the same.

    @raise Refused: It isn't known, or is a tombstone.
    """
    record = _record(cluster, store)
    if record.life is Life.TOMBSTONE:
        raise Refused(f"store {store} was removed and never returns")
    return replace(record, life=Life.UP)


def bury(cluster: Cluster, store: int, *, force: bool = False) -> StoreRecord:
    """
    Give the record of a store that's gone.

    @param force: Even if it's up or something is said to be on it: its replicas are taken for lost. For a store whose
        disk is gone, so that nobody waits for it.

    @raise Refused: It isn't known; or, unless forced, it isn't empty, or was heard of and isn't being emptied.
    """
    record = _record(cluster, store)
    if record.life is not Life.TOMBSTONE and not force:
        # One that has said nothing since the scheduler leads isn't there to be emptied.
        if record.life is Life.UP and (cluster.stats(store) is not None or not cluster.disconnected(store)):
            raise Refused(f"store {store} is up: make it offline first")
        if reason := not_empty(cluster, store):
            raise Refused(f"store {store} {reason}")
    return replace(record, life=Life.TOMBSTONE)


def refuse_named(cluster: Cluster, store: int) -> None:
    """
    Make sure that no region has a replica on a store that isn't known, so that its number can be a tombstone's.

    @raise Refused: One has; or it can't be said.
    """
    if reason := not_empty(cluster, store):
        raise Refused(f"store {store} {reason}: it hasn't registered, so have it do that, or wait for the repair")


def not_empty(cluster: Cluster, store: int) -> str | None:
    """Say why it can't be said that nothing is on a store, None when it can."""
    if count := cluster.regions.on(store).count:
        return f"still holds {count} regions"
    if cluster.regions.gap() is not None:
        return "may hold regions that haven't been heard of"
    stats = cluster.stats(store)
    if stats and stats.regions and not cluster.disconnected(store):
        return f"says that it holds {stats.regions} regions"
    return None


def endless(cluster: Cluster, store: int) -> str | None:
    """Say why a store could never be emptied as things are, and what to do about it; None when it can be."""
    config, held, records = cluster.config, cluster.regions.on(store), cluster.stores
    if not held.count and cluster.regions.gap() is None:
        return None
    others = [
        other
        for other in sorted(cluster.stores)
        if other != store and cluster.state(other) in (StoreState.UP, StoreState.DISCONNECTED)
    ]
    if len(others) < config.replicas:
        return (
            f"each region shall have {config.replicas} replicas, and without store {store} there would be"
            f" {len(others)} stores: add a store first"
        )
    for region in filter(None, map(cluster.regions.get, held.all())):
        lost = cluster.lost_peers(region)
        if not majority(region.voters, set(region.stores) - lost):
            return f"region {region.region} on store {store} has lost its majority: recover it first"
        # Stores that aren't known keep what they have, and can be given nothing.
        stay = {other for other in region.stores if other not in lost and (other in others or other not in records)}
        able = stay.union(other for other in others if records[other].region_weight)
        if len(able) < config.replicas:
            return (
                f"region {region.region} shall have {config.replicas} replicas, and without store {store} there would"
                f" be {len(able)} stores that may have one: add a store first, or raise the region_weight of one that"
                " has 0"
            )
    return _too_full(cluster, store, [other for other in others if records[other].region_weight])


def _too_full(cluster: Cluster, store: int, others: list[int]) -> str | None:
    """Say by how much what leaves is more than others have room for; None when it isn't, or nobody knows."""
    leaving = [other for other, record in cluster.stores.items() if record.life is Life.OFFLINE or cluster.down(other)]
    need = sum(cluster.regions.on(other).size for other in {*leaving, store})
    room = 0
    for other in others:
        stats = cluster.stats(other)
        if stats is None or not stats.capacity:
            return None
        room += max(stats.available - int(stats.capacity * cluster.config.low_space), 0)
    if need <= room:
        return None
    return (
        f"{need} bytes would have to be moved from store {store} and others that leave, and the rest has room for"
        f" {room}: add a store first"
    )


def warnings(cluster: Cluster) -> list[str]:
    """Say what a person should look at: what the placement can't mend by itself."""
    up = [store for store in cluster.stores if cluster.up(store)]
    found = []
    if len(up) < cluster.config.replicas:
        found.append(f"{len(up)} stores are up, and each region shall have {cluster.config.replicas} replicas")
    if gap := cluster.regions.gap():
        found.append(f"no region is known that has the keys from {gap[0].hex() or 'the first'} on")
    for store in cluster.regions.held_by:
        if store not in cluster.stores:
            found.append(
                f"store {store} has replicas of {cluster.regions.on(store).count} regions, and hasn't registered: if it"
                " runs, give it the scheduler's address; they stay where they are until its leaders miss it for long"
            )
    for store, record in sorted(cluster.stores.items()):
        if record.life is Life.OFFLINE and (reason := endless(cluster, store)):
            found.append(f"store {store} can't be emptied: {reason}")
    return found


def _record(cluster: Cluster, store: int) -> StoreRecord:
    """Give the record of a store that's known."""
    record = cluster.stores.get(store)
    if record is None:
        raise Refused(f"store {store} isn't known")
    return record
