"""Majorities, against a slow and obvious twin."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.raft.membership import Membership
from tinykv.raft.quorum import LOST, PENDING, WON, agreed, present, vote_result

voters = st.lists(st.integers(1, 7), min_size=1, max_size=7, unique=True).map(lambda ids: tuple(sorted(ids)))
memberships = st.builds(Membership, voters, st.just(()), st.one_of(st.just(()), voters))


def majorities(membership: Membership) -> list[set[int]]:
    """List all sets of voters that can decide."""
    everyone = sorted({*membership.voters, *membership.outgoing})
    return [
        set(chosen)
        for size in range(1, len(everyone) + 1)
        for chosen in combinations(everyone, size)
        if all(
            2 * len(set(chosen) & set(group)) > len(group)
            for group in (membership.voters, membership.outgoing)
            if group
        )
    ]


class QuorumTests(SynchronousTestCase):
    """The three questions that need a majority."""

    @given(memberships, st.dictionaries(st.integers(1, 7), st.integers(0, 9)))
    def test_agreed(self, membership: Membership, matched: dict[int, int]) -> None:
        """The greatest value that all of some majority have reached."""
        best = max(min(matched.get(voter, 0) for voter in chosen) for chosen in majorities(membership))
        self.assertEqual(agreed(membership, lambda voter: matched.get(voter, 0)), best)

    @given(memberships, st.dictionaries(st.integers(1, 7), st.booleans()))
    def test_votes(self, membership: Membership, votes: dict[int, bool]) -> None:
        """Won if some majority has agreed; lost if none can agree any more."""
        granted = {voter for voter, vote in votes.items() if vote}
        possible = granted | {*membership.voters, *membership.outgoing} - votes.keys()
        decisive = majorities(membership)
        expected = PENDING
        if any(chosen <= granted for chosen in decisive):
            expected = WON
        elif not any(chosen <= possible for chosen in decisive):
            expected = LOST
        self.assertEqual(vote_result(membership, votes), expected)

    @given(memberships, st.sets(st.integers(1, 7)))
    def test_present(self, membership: Membership, peers: set[int]) -> None:
        self.assertEqual(present(membership, peers), any(chosen <= peers for chosen in majorities(membership)))
