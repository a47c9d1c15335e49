"""
Operators that a person asks for. They replace what the placement does by itself, and its limits don't hold them up.

Each function gives an operator for L{Placement.run<tinykv.placement.placement.Placement.run>}, or refuses with the
reason. That it leaves a region without what it should have isn't a reason: the repair will see to that.
"""

from __future__ import annotations

from tinykv.placement.builder import moving, operator, placing
from tinykv.placement.cluster import Cluster
from tinykv.placement.operators import Kind, Operator, Priority
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.steps import MergeRegion, SplitRegion, Step, TransferLeader
from tinykv.placement.stores import Refused


def transfer_leader(cluster: Cluster, region: int, store: int) -> Operator:
    """
    Give an operator by which a store leads.

    @raise Refused: It has no voter, or isn't up.
    """
    known = _region(cluster, region)
    if known.leader == store:
        raise Refused(f"store {store} leads region {region} already")
    if not cluster.serving(store):
        raise Refused(f"store {store} isn't up")
    return _made(cluster, known, "admin-transfer-leader", (Kind.ADMIN, Kind.LEADER), (TransferLeader(store),))


def add_peer(cluster: Cluster, region: int, store: int) -> Operator:
    """
    Give an operator that adds a voter.

    @raise Refused: There's one already, or the store isn't up.
    """
    known = _region(cluster, region)
    _refuse_taker(cluster, known, store)
    steps = placing(cluster, known, {*known.voters, store})
    return _made(cluster, known, "admin-add-peer", (Kind.ADMIN, Kind.REGION), steps)


def remove_peer(cluster: Cluster, region: int, store: int) -> Operator:
    """
    Give an operator that removes a voter or a learner.

    @raise Refused: There's none, or the others couldn't go on without it.
    """
    known = _region(cluster, region)
    if store not in known.stores:
        raise Refused(f"store {store} has no peer of region {region}")
    steps = placing(cluster, known, set(known.voters) - {store})
    return _made(cluster, known, "admin-remove-peer", (Kind.ADMIN, Kind.REGION), steps)


def move_peer(cluster: Cluster, region: int, source: int, target: int) -> Operator:
    """
    Give an operator that moves a voter from one store to another.

    @raise Refused: The one has none, or the other has one or isn't up.
    """
    known = _region(cluster, region)
    if source not in known.voters:
        raise Refused(f"store {source} has no voter of region {region}")
    _refuse_taker(cluster, known, target)
    steps = moving(cluster, known, source, target)
    return _made(cluster, known, "admin-move-peer", (Kind.ADMIN, Kind.REGION), steps)


def split(cluster: Cluster, region: int, keys: tuple[bytes, ...] = ()) -> Operator:
    """
    Give an operator that cuts a region at some keys; in the middle if there are none.

    @raise Refused: A key isn't within it.
    """
    known = _region(cluster, region)
    step = SplitRegion(known.version, tuple(sorted(set(keys))))
    if reason := step.impossible(known):
        raise Refused(reason)
    return _made(cluster, known, "admin-split", (Kind.ADMIN,), (step,))


def merge(cluster: Cluster, region: int, target: int) -> Operator:
    """
    Give an operator that merges a region into its neighbour, whose stores it moves to first.

    @raise Refused: They aren't neighbours, or hold different kinds of keys, or either isn't whole.
    """
    known, other = _region(cluster, region), _region(cluster, target)
    if other not in cluster.regions.neighbours(known):
        raise Refused(f"region {target} isn't beside region {region}")
    if known.kind != other.kind:
        raise Refused(f"regions {region} and {target} hold different kinds of keys")
    if other.joint or other.learners:
        raise Refused(f"the members of region {target} are about to change")
    for store in set(other.voters) - set(known.stores):
        _refuse_taker(cluster, known, store)
    steps = placing(cluster, known, other.voters)
    last = MergeRegion(target, known.version)
    return _made(cluster, known, "admin-merge", (Kind.ADMIN, Kind.MERGE, Kind.REGION), (*steps, last))


def _region(cluster: Cluster, region: int) -> RegionInfo:
    """Give a region that's known."""
    known = cluster.regions.get(region)
    if known is None:
        raise Refused(f"region {region} isn't known")
    return known


def _refuse_taker(cluster: Cluster, region: RegionInfo, store: int) -> None:
    """Refuse a store that can't be given a replica at all."""
    if store in region.voters:
        raise Refused(f"store {store} has a voter of region {region.region} already")
    if not cluster.up(store) or cluster.disconnected(store):
        raise Refused(f"store {store} isn't up")


def _made(
    cluster: Cluster, region: RegionInfo, name: str, kinds: tuple[Kind, ...], steps: tuple[Step, ...]
) -> Operator:
    """Give the operator."""
    return operator(cluster, region, name, kinds, Priority.HIGH, steps)
