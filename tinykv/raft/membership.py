"""
Who belongs to a group: voters, learners, and the two sets of voters of a change that is under way.

A change of one voter needs one entry: the majorities before and after it overlap. A change of more goes through a
I{joint} configuration, in which every decision needs a majority of the old voters and one of the new (the Raft
paper, section 6; the thesis, section 4.3). A learner gets the log and has no vote (the thesis, section 4.2.1).
"""

from __future__ import annotations

from typing import Final, NamedTuple


class ImpossibleChange(Exception):
    """A change can't be made from the membership that there is; its text says why."""


#: Members of a group, of all kinds together: a limit for what peers and changes may say.
MAX_MEMBERS: Final = 64

#: What a step of a change does. A peer that is a learner and is added as a voter is promoted; a voter that is added
#: as a learner is demoted.
ADD_VOTER: Final = 1
ADD_LEARNER: Final = 2
REMOVE: Final = 3
ACTIONS: Final = frozenset((ADD_VOTER, ADD_LEARNER, REMOVE))


class Membership(NamedTuple):
    """
    A configuration. Each set is a sorted tuple of peer ids, so that equal configurations are equal values.

    @ivar voters: The voters; while joint, the new ones.
    @ivar learners: Who gets the log and has no vote.
    @ivar outgoing: While joint, the old voters; otherwise empty.
    @ivar learners_next: Old voters that become learners when the joint configuration is left.
    @ivar auto_leave: The leader leaves the joint configuration by itself as soon as it has been applied.
    """

    voters: tuple[int, ...]
    learners: tuple[int, ...] = ()
    outgoing: tuple[int, ...] = ()
    learners_next: tuple[int, ...] = ()
    auto_leave: bool = False


class Step(NamedTuple):
    """
    One peer's part in a change.

    @ivar action: L{ADD_VOTER}, L{ADD_LEARNER} or L{REMOVE}.
    """

    action: int
    peer: int


class Change(NamedTuple):
    """
    What an entry of kind change says.

    @ivar steps: At most one for each peer. A change of at most one voter is done at once, others through a joint
        configuration. No steps: leave the joint configuration.
    @ivar auto_leave: Leave the joint configuration without being asked.
    @ivar context: Bytes of the host, which come back when the change is applied.
    """

    steps: tuple[Step, ...]
    auto_leave: bool = True
    context: bytes = b""


def possible(membership: Membership) -> bool:
    """Tell whether a group can have a membership: no one is in two places at once, and someone votes."""
    voters, learners, outgoing, learners_next, auto_leave = membership
    voting = {*voters, *outgoing}
    return (
        bool(voters)
        and len(voting) + len(learners) <= MAX_MEMBERS
        and voting.isdisjoint(learners)
        and set(learners_next) <= set(outgoing) - set(voters)
        and (bool(outgoing) or not auto_leave)
    )


def everyone(membership: Membership) -> set[int]:
    """Return the ids of all members."""
    return {*membership.voters, *membership.learners, *membership.outgoing}


def votes_in(membership: Membership, peer: int) -> bool:
    """Tell whether a peer's vote counts."""
    return peer in membership.voters or peer in membership.outgoing


def changed(membership: Membership, change: Change) -> Membership:
    """
    Return what a change makes of a membership.

    To add who is there already, or to remove who isn't, changes nothing.

    @raise ImpossibleChange: There'd be no voter or too many members; or a joint configuration is to be left and there
        is none, or must be left first.
    """
    if not change.steps:
        return _left(membership)
    if membership.outgoing:
        raise ImpossibleChange("the change before this one isn't finished")
    voters, learners = set(membership.voters), set(membership.learners)
    for action, peer in change.steps:
        voters.discard(peer)
        learners.discard(peer)
        if action == ADD_VOTER:
            voters.add(peer)
        elif action == ADD_LEARNER:
            learners.add(peer)
    old = set(membership.voters)
    if not voters:
        raise ImpossibleChange("no voter would be left")
    if len(old | voters | learners) > MAX_MEMBERS:
        raise ImpossibleChange(f"there would be more than {MAX_MEMBERS} members")
    if len(old ^ voters) <= 1:
        return Membership(_sorted(voters), _sorted(learners))
    return Membership(
        _sorted(voters),
        # Who still votes among the old ones becomes a learner only when they have no say any more.
        _sorted(learners - old),
        membership.voters,
        _sorted(learners & old),
        change.auto_leave,
    )


def applied(membership: Membership, change: Change) -> Membership:
    """
    Return what a membership is when the entry of a change has been applied.

    One that isn't possible any more changes nothing, on all peers alike.
    """
    try:
        return changed(membership, change)
    except ImpossibleChange:
        return membership


def _left(membership: Membership) -> Membership:
    """Return what remains of a joint configuration."""
    if not membership.outgoing:
        raise ImpossibleChange("there is no joint configuration to be left")
    return Membership(membership.voters, _sorted({*membership.learners, *membership.learners_next}))


def _sorted(peers: set[int]) -> tuple[int, ...]:
    """Return ids in their order."""
    return tuple(sorted(peers))
