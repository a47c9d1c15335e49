"""Changes of the membership (R17; the paper, section 6; the thesis, chapter 4)."""

from __future__ import annotations

from collections import deque

from twisted.trial.unittest import SynchronousTestCase

from tests.raft.network import FULL, PLAIN, Network, Peer, accept_all, make_candidate, make_leader, peer_with
from tinykv.raft.membership import (
    ADD_LEARNER,
    ADD_VOTER,
    MAX_MEMBERS,
    REMOVE,
    Change,
    ImpossibleChange,
    Membership,
    Step,
    applied,
    changed,
    possible,
)
from tinykv.raft.messages import (
    APPEND,
    APPEND_REPLY,
    CHANGE,
    HEARTBEAT,
    HEARTBEAT_REPLY,
    NORMAL,
    TIMEOUT_NOW,
    VOTE,
    Entry,
    Message,
)
from tinykv.raft.refusals import ChangeRefused, NotLeader, Transferring
from tinykv.raft.wire import encode_change


def change(*steps: tuple[int, int], auto_leave: bool = True) -> Change:
    """Make a change."""
    return Change(tuple(Step(*step) for step in steps), auto_leave)


class MembershipTests(SynchronousTestCase):
    """What a change makes of a membership."""

    def check(self, before: Membership, what: Change, after: Membership) -> None:
        self.assertEqual(changed(before, what), after)
        self.assertTrue(possible(after))

    def test_one_voter(self) -> None:
        """A change of one voter is done at once."""
        self.check(Membership((1,)), change((ADD_VOTER, 2)), Membership((1, 2)))
        self.check(Membership((1, 2)), change((REMOVE, 1)), Membership((2,)))
        self.check(Membership((1, 2), (3,)), change((ADD_VOTER, 3)), Membership((1, 2, 3)))
        self.check(Membership((1, 2, 3)), change((ADD_LEARNER, 3)), Membership((1, 2), (3,)))

    def test_learners(self) -> None:
        """Learners come and go at once, however many."""
        self.check(Membership((1,)), change((ADD_LEARNER, 2), (ADD_LEARNER, 3)), Membership((1,), (2, 3)))
        self.check(Membership((1,), (2, 3)), change((REMOVE, 2), (REMOVE, 3)), Membership((1,)))

    def test_what_is_so_already(self) -> None:
        """To add a member again, or to remove a stranger, changes nothing."""
        before = Membership((1, 2), (3,))
        for what in ((ADD_VOTER, 1), (ADD_LEARNER, 3), (REMOVE, 9)):
            self.check(before, change(what), before)

    def test_several_voters(self) -> None:
        """Both majorities are needed, until it's left; a demoted voter becomes a learner only then."""
        joint = Membership((1, 4), (), (1, 2, 3), (2,), True)
        self.check(Membership((1, 2, 3)), change((ADD_VOTER, 4), (ADD_LEARNER, 2), (REMOVE, 3)), joint)
        self.check(joint, Change(()), Membership((1, 4), (2,)))
        replaced = Membership((1, 2, 4), (), (1, 2, 3), (), False)
        self.check(Membership((1, 2, 3), (4,)), change((ADD_VOTER, 4), (REMOVE, 3), auto_leave=False), replaced)

    def test_impossible(self) -> None:
        for before, what in (
            (Membership((1,)), change((REMOVE, 1))),
            (Membership((1, 2)), change((REMOVE, 1), (ADD_LEARNER, 2))),
            (Membership((1,)), Change(())),
            (Membership((1, 4), (), (1, 2, 3)), change((REMOVE, 1))),
            (Membership(tuple(range(1, MAX_MEMBERS + 1))), change((ADD_LEARNER, 100))),
        ):
            self.assertRaises(ImpossibleChange, changed, before, what)
            self.assertIs(applied(before, what), before)

    def test_largest(self) -> None:
        self.assertEqual(
            len(changed(Membership(tuple(range(1, MAX_MEMBERS))), change((ADD_VOTER, 100))).voters), MAX_MEMBERS
        )


class ProposalTests(SynchronousTestCase):
    """When a change may be proposed."""

    def test_not_before_an_entry_of_the_term_is_committed(self) -> None:
        """Otherwise two majorities that don't overlap could decide."""
        for terms in ((), (1, 1)):
            peer = peer_with(terms)
            make_leader(peer)
            self.assertRaises(ChangeRefused, peer.group.propose_change, change((ADD_VOTER, 4)))
            accept_all(peer, 2)
            self.assertEqual(peer.group.propose_change(change((ADD_VOTER, 4))), len(terms) + 2)

    def test_not_before_what_came_before_is_applied(self) -> None:
        """In the log from before there may be a change."""
        peer = peer_with((1, 1))
        peer.lazy_apply = True
        make_leader(peer)
        accept_all(peer, 2)
        self.assertRaises(ChangeRefused, peer.group.propose_change, change((ADD_VOTER, 4)))
        peer.apply(2)
        peer.group.propose_change(change((ADD_VOTER, 4)))

    def test_one_at_a_time(self) -> None:
        """The next is refused until this one is applied."""
        peer = Peer(1)
        make_leader(peer)
        accept_all(peer, 2)
        peer.lazy_apply = True
        peer.group.propose_change(change((ADD_VOTER, 4)))
        peer.pump()
        for _ in range(2):
            self.assertRaises(ChangeRefused, peer.group.propose_change, change((ADD_VOTER, 5)))
            accept_all(peer, 2, 3)
        peer.apply()
        peer.group.propose_change(change((ADD_VOTER, 5)))

    def test_refused(self) -> None:
        """Only by a leader, not while it hands over, and only what is possible."""
        peer = Peer(1, voters=(1, 2))
        self.assertRaises(NotLeader, peer.group.propose_change, change((ADD_VOTER, 4)))
        make_leader(peer)
        accept_all(peer, 2)
        self.assertRaises(ChangeRefused, peer.group.propose_change, change((REMOVE, 1), (REMOVE, 2)))
        self.assertRaises(ChangeRefused, peer.group.propose_change, Change(()))
        peer.group.transfer_leader(2)
        self.assertRaises(Transferring, peer.group.propose_change, change((ADD_VOTER, 4)))

    def test_entry(self) -> None:
        """The entry says the change, and comes back with it to be applied."""
        network = Network([Peer(1, voters=(1,))])
        network.elect(1)
        what = Change((Step(ADD_VOTER, 2),), context=b"where it lives")
        network[1].group.propose_change(what)
        network[1].pump()
        self.assertEqual(network[1].applied[2], Entry(2, 1, CHANGE, encode_change(what)))
        self.assertEqual(network[1].group.membership, Membership((1, 2)))

    def test_adding_twice_is_harmless(self) -> None:
        network = Network([Peer(1, voters=(1,))])
        network.elect(1)
        for peer in (1, 1, 2):
            network[1].group.propose_change(change((ADD_LEARNER if peer == 2 else ADD_VOTER, peer)))
            network.settle()
        self.assertEqual(network[1].group.membership, Membership((1,), (2,)))
        self.assertEqual(network[1].group.committed, 4)

    def test_no_campaign_with_a_change_to_apply(self) -> None:
        """Other majorities may decide already."""
        peer = Peer(1)
        peer.lazy_apply = True
        entry = Entry(1, 1, CHANGE, encode_change(change((ADD_VOTER, 4))))
        peer.step(Message(APPEND, 1, 2, 1, commit=1, entries=(entry,)))
        self.assertFalse(peer.group.campaign(0))
        peer.step(Message(TIMEOUT_NOW, 1, 2, 1))
        self.assertEqual((peer.role, peer.group.term), ("follower", 1))
        peer.apply()
        self.assertTrue(peer.group.campaign(0))

    def test_an_impossible_change_that_was_committed(self) -> None:
        """It changes nothing, on all peers alike."""
        peer = Peer(1)
        self.assertEqual(peer.group.apply_change(Change(())), Membership((1, 2, 3)))


class DurableTests(SynchronousTestCase):
    """A change is applied when it's durable that it is committed."""

    def committed(self, *before: Entry) -> Peer:
        """Give a follower, with a slow disk that has entries with a change behind them, which are now committed."""
        peer = Peer(1)
        entries = (*before, Entry(len(before) + 1, 1, CHANGE, encode_change(change((REMOVE, 3)))))
        peer.step(Message(APPEND, 1, 2, 1, entries=(*entries, Entry(len(entries) + 1, 1, NORMAL, b"behind"))))
        peer.lazy_disk = True
        peer.step(Message(APPEND, 1, 2, 1, 1, len(entries) + 1, len(entries) + 1))
        return peer

    def test_it_waits_for_that(self) -> None:
        peer = self.committed(Entry(1, 1, NORMAL, b"before"))
        self.assertEqual((peer.group.appliable, peer.data, peer.group.membership.voters), (3, [b"before"], (1, 2, 3)))
        peer.finish_writes()
        self.assertEqual((peer.data, peer.group.membership.voters), ([b"before", b"behind"], (1, 2)))
        self.assertEqual((peer.disk.hard_state.commit, peer.disk.pending), (3, deque()))

    def test_it_outlives_a_crash(self) -> None:
        peer = self.committed()
        peer.finish_writes()
        peer.lazy_flush = True
        peer.crash()
        self.assertEqual(peer.group.committed, 2)

    def test_one_write_is_enough(self) -> None:
        """Whatever happens meanwhile."""
        peer = self.committed()
        for _ in range(3):
            peer.tick()
            peer.step(Message(HEARTBEAT, 1, 2, 1, round=1))
        self.assertEqual(len(peer.disk.pending), 1)

    def test_none_without_a_change(self) -> None:
        peer = Peer(1)
        peer.step(Message(APPEND, 1, 2, 1, entries=(Entry(1, 1, NORMAL, b"a"),)))
        peer.lazy_disk = True
        peer.step(Message(APPEND, 1, 2, 1, 1, 1, 1))
        self.assertEqual((peer.data, peer.disk.pending), ([b"a"], deque()))

    def test_the_only_voter(self) -> None:
        peer = Peer(1, voters=(1,))
        make_candidate(peer)
        peer.lazy_disk = True
        peer.group.propose_change(change((ADD_LEARNER, 2)))
        peer.pump()
        peer.finish_write()
        peer.pump()
        self.assertEqual((peer.group.committed, peer.group.membership.learners), (2, ()))
        peer.finish_writes()
        self.assertEqual(peer.group.membership.learners, (2,))

    def test_joint_configurations(self) -> None:
        """To enter one and to leave it are changes like others."""
        network = Network(3)
        network.elect(1)
        network[2].lazy_disk = True
        network.leader.group.propose_change(change((REMOVE, 1), (REMOVE, 2)))
        network.settle()
        seen = [network[2].group.membership]
        while network[2].disk.pending:
            network.send(network[2].finish_write())
            network.settle()
            if seen[-1] != network[2].group.membership:
                seen.append(network[2].group.membership)
                self.assertGreaterEqual(network[2].disk.hard_state.commit, network[2].group.applied)
        self.assertEqual([membership.outgoing for membership in seen], [(), (1, 2, 3), ()])


class GroupTests(SynchronousTestCase):
    """Changes that happen."""

    def test_add_a_peer(self) -> None:
        """A learner gets the log, and has no vote until it's promoted."""
        network = Network(3)
        network.elect(1)
        network.propose(b"before")
        network.add(Peer(4, voters=(1, 2, 3)))
        network[1].group.propose_change(change((ADD_LEARNER, 4)))
        network.settle()
        network.tick(only=[1])
        self.assertEqual(network[4].data, [b"before"])
        self.assertEqual(network[4].group.membership, Membership((1, 2, 3), (4,)))
        self.assertFalse(network[4].group.campaign(0))
        network.isolate(2, 3)
        network.propose(b"no majority")
        self.assertEqual(network[1].group.committed, 3)
        network.heal()
        network.tick(2, only=[1])
        network[1].group.propose_change(change((ADD_VOTER, 4)))
        network.settle()
        network.isolate(2)
        network.propose(b"three of four")
        self.assertEqual(network[4].data, [b"before", b"no majority", b"three of four"])
        network.isolate(3)
        network.propose(b"two of four")
        self.assertEqual(network[1].data[-1], b"three of four")

    def test_remove_a_peer(self) -> None:
        network = Network(2)
        network.elect(1)
        network[1].group.propose_change(change((REMOVE, 2)))
        network.settle()
        self.assertEqual(network[1].group.membership, Membership((1,)))
        self.assertEqual(list(network[1].group.progress()), [1])

    def test_removal_commits_what_waited(self) -> None:
        """With fewer voters a smaller majority suffices (the removed peer had held it up)."""
        peer = Peer(1, voters=(1, 2))
        make_leader(peer)
        accept_all(peer, 2)
        peer.group.propose_change(change((REMOVE, 2)))
        peer.group.propose([b"hello"])
        peer.pump()
        self.assertEqual(peer.group.committed, 1)
        peer.step(Message(APPEND_REPLY, 1, 2, 1, index=2))
        self.assertEqual(peer.group.committed, 3)
        self.assertEqual(peer.data, [b"hello"])

    def test_messages_of_a_removed_peer(self) -> None:
        """What it says changes nothing; nor does it disturb with pre-vote and check-quorum."""
        network = Network(3, FULL)
        network.elect(1)
        network[1].group.propose_change(change((REMOVE, 3)))
        network.lost = lambda message: message.to == 3
        network.settle()
        self.assertEqual(network[1].step(Message(APPEND_REPLY, 1, 3, 1, index=2)), [])
        self.assertEqual(network[1].step(Message(HEARTBEAT_REPLY, 1, 3, 1)), [])
        network.tick(3 * FULL.election_ticks)
        self.assertEqual((network[1].role, network[1].group.term), ("leader", 1))
        self.assertEqual(network[3].role, "pre-candidate")

    def test_joint_change(self) -> None:
        """Two voters are replaced; the leader leaves the joint configuration by itself."""
        network = Network(3)
        network.elect(1)
        for peer in (4, 5):
            network.add(Peer(peer, voters=(1, 2, 3)))
        steps = ((ADD_VOTER, 4), (ADD_VOTER, 5), (REMOVE, 2), (REMOVE, 3))
        network[1].group.propose_change(change(*steps))
        network.settle()
        network.tick(3)
        self.assertEqual([network[peer].group.membership for peer in (1, 4, 5)], [Membership((1, 4, 5))] * 3)
        network.isolate(2, 3)
        network.propose(b"new majority")
        self.assertEqual(network[5].data, [b"new majority"])

    def test_joint_needs_both_majorities(self) -> None:
        network = Network(3)
        network.elect(1)
        for peer in (4, 5):
            network.add(Peer(peer, voters=(1, 2, 3)))
        steps = ((ADD_VOTER, 4), (ADD_VOTER, 5), (REMOVE, 2), (REMOVE, 3))
        network[1].group.propose_change(change(*steps, auto_leave=False))
        network.settle()
        network.tick(3)
        joint = Membership((1, 4, 5), (), (1, 2, 3))
        self.assertEqual(network[1].group.membership, joint)
        before = network[1].group.committed
        for down in ((4, 5), (2, 3)):
            network.isolate(*down)
            network.propose(b"x")
            self.assertEqual(network[1].group.committed, before)
            network.heal()
            network.tick(2)
            before = network[1].group.committed
        network.isolate(2, 4)
        network.propose(b"one of each may miss")
        self.assertEqual(network[1].group.committed, before + 1)
        network.heal()
        self.assertRaises(ChangeRefused, network[1].group.propose_change, change((REMOVE, 2)))
        network[1].group.propose_change(Change(()))
        network.settle()
        self.assertEqual(network[1].group.membership, Membership((1, 4, 5)))

    def test_a_new_leader_leaves_the_joint_configuration(self) -> None:
        """It's written in the configuration that it's to be left."""
        network = Network(3)
        network.elect(1)
        network[1].group.propose_change(change((REMOVE, 2), (ADD_LEARNER, 3)))
        network[1].lazy_apply = True
        network.settle()
        self.assertTrue(network[3].group.membership.auto_leave)
        network.elect(2)
        self.assertEqual(network[2].group.membership, Membership((1,), (3,)))
        self.assertEqual(network.roles(), ["follower"] * 3)

    def test_a_leader_that_is_removed_steps_down(self) -> None:
        """When it has committed and applied that (the thesis, section 4.2.2)."""
        for what in ((REMOVE, 1), (ADD_LEARNER, 1)):
            network = Network(3)
            network.elect(1)
            network[1].group.propose_change(change(what))
            network.settle()
            self.assertEqual(network.roles(), ["follower"] * 3)
            self.assertEqual([network[peer].group.membership.voters for peer in (2, 3)], [(2, 3)] * 2)
            network.elect(2)
            self.assertEqual(network[2].role, "leader")

    def test_a_peer_that_never_heard_of_its_removal(self) -> None:
        """It can't be elected: the others' logs are longer."""
        network = Network(3)
        network.elect(1)
        network.lost = lambda message: message.to == 3
        network[1].group.propose_change(change((REMOVE, 3)))
        network.settle()
        network.heal()
        network.elect(3)
        self.assertEqual(network[3].role, "follower")
        self.assertEqual(network[3].group.term, 2)

    def test_votes_for_who_isnt_a_member(self) -> None:
        """A peer that is behind may not know the candidate: a vote isn't asked what it knows of members."""
        peer = Peer(1, PLAIN)
        sent = peer.step(Message(VOTE, 1, 4, 1))
        self.assertEqual([message.reject for message in sent], [False])

    def test_candidate_asks_both_sets(self) -> None:
        joint = Membership((1, 4), (), (1, 2, 3))
        peer = peer_with(voters=())
        peer.disk.membership = joint
        peer.start()
        self.assertEqual(sorted(message.to for message in make_candidate(peer)), [2, 3, 4])
