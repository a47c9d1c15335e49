"""
From where a region's replicas are to where they shall be, in steps that never take its majority away.

A new replica is a learner until it has caught up. Voters are exchanged through a joint configuration, so that there
are never more or fewer of them than before, nor two new ones in one place with what they replace. Whoever is removed
doesn't lead any more by then.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tinykv.placement.cluster import Cluster
from tinykv.placement.operators import Kind, Operator, Priority
from tinykv.placement.region_info import RegionInfo, majority
from tinykv.placement.steps import AddLearner, EnterJoint, LeaveJoint, PromoteLearner, RemovePeer, Step, TransferLeader
from tinykv.placement.stores import Refused


def operator(
    cluster: Cluster,
    region: RegionInfo,
    name: str,
    kinds: tuple[Kind, ...],
    priority: Priority,
    steps: Sequence[Step],
) -> Operator:
    """Give an operator with some steps, for a region as it is now."""
    return Operator(region.region, name, kinds, priority, tuple(steps), region.conf_ver, region.version, cluster.now)


def placing(
    cluster: Cluster, region: RegionInfo, voters: Collection[int], leaders: Sequence[int] = ()
) -> tuple[Step, ...]:
    """
    Give the steps after which a region has its voters on some stores, and no other peers.

    @param leaders: Which of these shall lead, the best first; only one that's among them can. None to have the leader
        stay, where it may.

    @raise Refused: The region is joint or has no leader, or too few of its voters can be relied on.
    """
    if region.joint or region.leader is None:
        raise Refused(f"region {region.region} is {'joint' if region.joint else 'without a leader'}")
    if not voters:
        raise Refused(f"region {region.region} would have no voter")
    healthy = cluster.healthy_peers(region) | (set(voters) - set(region.stores))
    if not majority(region.voters, healthy) or not majority(voters, healthy):
        raise Refused(f"too few peers of region {region.region} can be relied on")
    steps: list[Step] = [AddLearner(store) for store in sorted(voters) if store not in region.stores]
    promote = sorted(store for store in voters if store not in region.voters)
    demote = sorted(store for store in region.voters if store not in voters)
    wanted = [store for store in leaders if store in voters]
    leader = region.leader
    if leader not in voters:
        order = [*wanted, *(store for store in sorted(voters) if store not in wanted)]
        able = [store for store in order if store in region.voters and store in healthy]
        if not able:  # Nobody who stays votes yet: one of the new ones does first, and leads.
            able = [store for store in order if store in promote][:1]
            steps += map(PromoteLearner, able)
            promote = [store for store in promote if store not in able]
        if not able:
            raise Refused(f"nobody who stays can lead region {region.region}")
        leader = able[0]
        steps.append(TransferLeader(leader))
    if len(promote) + len(demote) > 1:
        steps += [EnterJoint(tuple(promote), tuple(demote)), LeaveJoint()]
    else:
        steps += map(PromoteLearner, promote)
    gone = [store for store in region.stores if store not in voters]
    steps += [RemovePeer(store) for store in sorted(gone)]
    if wanted and leader != wanted[0]:
        steps.append(TransferLeader(wanted[0]))
    return tuple(steps)


def moving(
    cluster: Cluster, region: RegionInfo, source: int, target: int, leaders: Sequence[int] = ()
) -> tuple[Step, ...]:
    """
    Give the steps that move a region's voter from one store to another.

    @param leaders: Who may lead instead, the best first, where the source leads.

    @raise Refused: As L{placing}.
    """
    voters = (set(region.voters) - {source}) | {target}
    return placing(cluster, region, voters, leaders if region.leader == source else ())
