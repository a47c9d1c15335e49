"""
Majorities: of the voters, and while a change is under way of the old voters too.

All questions that need a majority are one of three: how far has it come, how did it vote, is it there.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any, Final

from tinykv.raft.membership import Membership

#: How an election stands.
PENDING: Final = 0
WON: Final = 1
LOST: Final = 2


def agreed(membership: Membership, value: Callable[[int], Any]) -> Any:
    """
    Return the greatest value that a majority has reached, of the old voters too while joint.

    @param value: Gives each voter's: an index, a round, a time. One type that has an order.
    """
    voters = membership.voters
    reached = sorted(map(value, voters))[(len(voters) - 1) >> 1]
    outgoing = membership.outgoing
    if outgoing:
        return min(reached, sorted(map(value, outgoing))[(len(outgoing) - 1) >> 1])
    return reached


def vote_result(membership: Membership, votes: Mapping[int, bool]) -> int:
    """Tell how an election stands, given who answered what: L{WON}, L{LOST} or L{PENDING}."""
    results = {_majority_vote(voters, votes) for voters in (membership.voters, membership.outgoing) if voters}
    if LOST in results:
        return LOST
    return PENDING if PENDING in results else WON


def _majority_vote(voters: tuple[int, ...], votes: Mapping[int, bool]) -> int:
    """Tell how an election stands among one set of voters."""
    majority = len(voters) // 2 + 1
    granted = sum(votes.get(voter, False) for voter in voters)
    if granted >= majority:
        return WON
    rejected = sum(not votes.get(voter, True) for voter in voters)
    return LOST if len(voters) - rejected < majority else PENDING


def present(membership: Membership, peers: Container[int]) -> bool:
    """Tell whether some peers hold a majority, of the old voters too while joint."""
    return bool(agreed(membership, peers.__contains__))
