"""Who leads next: the voter with the longest log that can be reached."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.raft.network import Peer, accept_all, make_leader
from tinykv.raft.membership import ADD_LEARNER, Change, Step
from tinykv.store.successor import successor_of


class SuccessorTests(SynchronousTestCase):
    """The choice of a leader that leaves."""

    def test_the_longest_log(self) -> None:
        """Of equal ones the first; the one that leads isn't chosen, nor one that isn't reached."""
        leader = Peer(2, voters=(1, 2, 3, 4))
        make_leader(leader)
        accept_all(leader, 1, 3, 4)
        self.assertEqual(successor_of(leader.group), 1)
        leader.group.propose([b"a"])
        leader.pump()
        accept_all(leader, 3, 4)
        self.assertEqual(successor_of(leader.group), 3)
        self.assertEqual(successor_of(leader.group, lambda peer: peer != 3), 4)
        self.assertEqual(successor_of(leader.group, lambda peer: peer == 1), 1)
        self.assertIsNone(successor_of(leader.group, lambda peer: False))

    def test_nobody(self) -> None:
        """Learners can't lead, and who doesn't lead doesn't choose."""
        alone = Peer(1, voters=(1,))
        make_leader(alone)
        alone.pump()
        alone.group.propose_change(Change((Step(ADD_LEARNER, 2),)))
        alone.pump()
        self.assertEqual(alone.group.membership.learners, (2,))
        accept_all(alone, 2)
        self.assertIsNone(successor_of(alone.group))
        self.assertIsNone(successor_of(Peer(1).group))
