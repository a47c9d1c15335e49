"""Elections among several peers, as the paper has them and with what was added to keep leaders undisturbed."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from tests.raft.network import FULL, PLAIN, Network, Peer, make_candidate, make_leader, peer_with
from tinykv.raft.config import RaftConfig
from tinykv.raft.membership import ADD_VOTER, REMOVE, Change, Membership, Step
from tinykv.raft.messages import (
    APPEND,
    APPEND_REPLY,
    CHANGE,
    HEARTBEAT,
    HEARTBEAT_REPLY,
    NORMAL,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    TIMEOUT_NOW,
    VOTE,
    VOTE_REPLY,
    Entry,
    Message,
)
from tinykv.raft.wire import encode_change

ELECTION = PLAIN.election_ticks


class ElectionTests(SynchronousTestCase):
    """Elections without pre-vote and check-quorum (the paper, section 5.2)."""

    def test_leader_election(self) -> None:
        """A majority is needed, and logs that aren't longer."""
        for down, size, role in (((), 3, "leader"), ((3,), 3, "leader"), ((2, 3), 3, "candidate")):
            network = Network(size)
            network.isolate(*down)
            network.elect(1)
            self.assertEqual((network[1].role, network[1].group.term), (role, 1))
        network = Network(4)
        network.isolate(2, 3)
        network.elect(1)
        self.assertEqual(network[1].role, "candidate")
        longer = [peer_with((1,), peer=peer, voters=range(1, 6)) for peer in (2, 3, 4)]
        network = Network([Peer(1, voters=range(1, 6)), *longer, Peer(5, voters=range(1, 6))])
        network.elect(1)
        self.assertEqual(network[1].role, "follower")

    def test_each_can_be_elected_in_turn(self) -> None:
        network = Network(3)
        for candidate in (1, 2, 3, 1):
            network.elect(candidate)
            roles = ["leader" if peer == candidate else "follower" for peer in (1, 2, 3)]
            self.assertEqual(network.roles(), roles)

    def test_newer_uncommitted_entries_are_overwritten(self) -> None:
        """
        A new leader's log wins over entries of a later term that were never committed.

        Peers 1 and 2 have entries of term 1, peer 3 one of term 2 that nobody saw, for whom the others had voted.
        """
        voters = range(1, 6)
        network = Network(
            [
                peer_with((1,), peer=1, voters=voters),
                peer_with((1,), peer=2, voters=voters),
                peer_with((2,), peer=3, voters=voters),
                peer_with(peer=4, voters=voters, term=2, vote=3),
                peer_with(peer=5, voters=voters, term=2, vote=3),
            ]
        )
        network.elect(1)
        self.assertEqual((network[1].role, network[1].group.term), ("follower", 2))
        network.elect(1)
        self.assertEqual((network[1].role, network[1].group.term), ("leader", 3))
        for peer in network.peers.values():
            self.assertEqual(peer.log, [(1, b"1"), (3, b"")])

    def test_vote_in_any_role(self) -> None:
        """A request of a newer term gets a vote from a peer in any role, which then follows."""
        for prepare in (lambda peer: [], make_candidate, make_leader):
            peer = Peer(1)
            prepare(peer)
            term = peer.group.term + 1
            sent = peer.step(Message(VOTE, 1, 2, term, log_term=term, index=42))
            self.assertEqual(sent, [Message(VOTE_REPLY, 2, 1, term)])
            self.assertEqual((peer.role, peer.group.term, peer.group.hard_state.vote), ("follower", term, 2))

    def test_vote_table(self) -> None:
        """
        A vote depends on role, logs and on whom this peer voted for (section 5.4.1).

        The log ends with (2, 2); candidates and leaders have voted for themselves.
        """
        for role, index, log_term, vote, reject in (
            ("follower", 0, 0, 0, True),
            ("follower", 1, 0, 0, True),
            ("follower", 2, 0, 0, True),
            ("follower", 3, 0, 0, True),
            ("follower", 0, 1, 0, True),
            ("follower", 1, 1, 0, True),
            ("follower", 2, 1, 0, True),
            ("follower", 3, 1, 0, True),
            ("follower", 0, 2, 0, True),
            ("follower", 1, 2, 0, True),
            ("follower", 2, 2, 0, False),
            ("follower", 3, 2, 0, False),
            ("follower", 0, 3, 0, False),
            ("follower", 3, 3, 0, False),
            ("follower", 3, 2, 2, False),
            ("follower", 3, 2, 3, True),
            ("leader", 3, 3, 1, True),
            ("candidate", 3, 3, 1, True),
        ):
            peer = peer_with((2, 2), term=3, vote=vote)
            if role == "candidate":
                peer = peer_with((2, 2), term=2)
                make_candidate(peer)
            elif role == "leader":
                peer = peer_with((2, 2), term=2)
                make_leader(peer)
            sent = peer.step(Message(VOTE, 1, 2, 3, log_term=log_term, index=index))
            self.assertEqual([(message.kind, message.reject) for message in sent], [(VOTE_REPLY, reject)])
            self.assertEqual(peer.role, role)

    def test_dueling_candidates(self) -> None:
        """A candidate that was cut off deposes a healthy leader when it's back, and changes no log."""
        network = Network(3)
        network.lost = lambda message: {message.to, message.sender} == {1, 3}
        network.elect(1)
        network.elect(3)
        self.assertEqual(network.roles(), ["leader", "follower", "candidate"])
        network.heal()
        network.elect(3)
        self.assertEqual(network.roles(), ["follower", "follower", "follower"])
        self.assertEqual([peer.group.term for peer in network.peers.values()], [2, 2, 2])
        self.assertEqual([peer.log for peer in network.peers.values()], [[(1, b"")], [(1, b"")], []])

    def test_candidate_concedes(self) -> None:
        """A candidate follows a leader of its term, and takes its log."""
        network = Network(3)
        network.isolate(1)
        network.elect(1)
        network.elect(3)
        network.heal()
        network.tick(only=[3])
        network.propose(b"force follower")
        self.assertEqual(network.roles(), ["follower", "follower", "leader"])
        for peer in network.peers.values():
            self.assertEqual(peer.log, [(1, b""), (1, b"force follower")])

    def test_lone_peer(self) -> None:
        network = Network([Peer(1, voters=(1,))])
        network.elect(1)
        self.assertEqual(network.roles(), ["leader"])

    def test_lone_peer_leads_only_when_its_vote_is_durable(self) -> None:
        peer = Peer(1, voters=(1,))
        peer.lazy_disk = True
        make_candidate(peer)
        self.assertEqual(peer.role, "candidate")
        peer.finish_writes()
        self.assertEqual(peer.role, "leader")

    def test_all_step_down(self) -> None:
        """In any role, a newer term makes a follower; of the sender, if only leaders say such a thing."""
        for prepare in (lambda peer: [], make_candidate, make_leader):
            for kind, leader in ((VOTE, 0), (APPEND, 2)):
                peer = Peer(1)
                prepare(peer)
                peer.step(Message(kind, 1, 2, 3))
                self.assertEqual((peer.role, peer.group.term, peer.group.leader_id), ("follower", 3, leader))

    def test_candidate_yields_to_a_leader_of_its_term_or_a_newer(self) -> None:
        for kind in (HEARTBEAT, APPEND):
            for newer in (0, 2):
                peer = Peer(1)
                make_candidate(peer)
                peer.step(Message(kind, 1, 3, 1 + newer))
                self.assertEqual((peer.role, peer.group.term, peer.group.leader_id), ("follower", 1 + newer, 3))

    def test_answer_to_a_stale_leader_deposes_it(self) -> None:
        """A heartbeat of an older term gets an answer with the newer one."""
        network = Network(3)
        network.elect(1)
        network.isolate(3)
        network.elect(3)
        network.elect(3)
        network.heal()
        network.tick(only=[1])
        self.assertEqual([peer.group.term for peer in network.peers.values()][::2], [3, 3])
        self.assertEqual(network[1].role, "follower")

    def test_only_leaders_send_heartbeats(self) -> None:
        for prepare, expected in ((lambda peer: [], 0), (make_candidate, 0), (make_leader, 2)):
            peer = Peer(1)
            prepare(peer)
            sent = [message.kind for message in peer.tick()]
            self.assertEqual(sent.count(HEARTBEAT), expected)

    def test_campaign_of_a_leader_changes_nothing(self) -> None:
        network = Network(3)
        network.elect(1)
        network.elect(1)
        self.assertEqual((network[1].role, network[1].group.term), ("leader", 1))

    def test_split_vote(self) -> None:
        """Two candidates tie; the next to time out is elected."""
        network = Network(3)
        network.elect(1)
        network.isolate(1)
        network.tick(only=[2, 3])
        for peer in (2, 3):
            network[peer].group.campaign(0)
        network.settle()
        self.assertEqual(network.roles()[1:], ["candidate", "candidate"])
        network.elect(2)
        self.assertEqual(network.roles()[1:], ["leader", "follower"])

    def test_who_has_no_vote_doesnt_campaign(self) -> None:
        peer = Peer(1, voters=(2, 3))
        peer.tick(3 * ELECTION)
        self.assertEqual((peer.role, peer.group.term), ("follower", 0))

    def test_votes_of_strangers_dont_count(self) -> None:
        peer = Peer(1)
        make_candidate(peer)
        peer.step(Message(VOTE_REPLY, 1, 9, 1))
        self.assertEqual(peer.role, "candidate")

    def test_a_second_answer_doesnt_count(self) -> None:
        peer = Peer(1, voters=range(1, 6))
        make_candidate(peer)
        for reject in (True, False):
            peer.step(Message(VOTE_REPLY, 1, 2, 1, reject=reject))
        peer.step(Message(VOTE_REPLY, 1, 3, 1))
        self.assertEqual(peer.role, "candidate")

    def test_messages_for_others_and_of_oneself(self) -> None:
        peer = Peer(1)
        self.assertEqual(peer.step(Message(VOTE, 2, 3, 9)) + peer.step(Message(VOTE, 1, 1, 9)), [])
        self.assertEqual(peer.group.term, 0)


class RefusedVoteTests(SynchronousTestCase):
    """What a refused vote brings."""

    def test_the_only_voter_left_learns_it(self) -> None:
        """
        Who alone can be elected any more is elected, although others have longer logs and its votes are needed as far
        as it knows: the refusals say that the change is committed.
        """
        network = Network(3, replace(PLAIN, max_append_bytes=1))
        network.elect(1)
        leader = network[1].group
        leader.propose_change(Change((Step(REMOVE, 1), Step(REMOVE, 2)), auto_leave=False))
        network.settle()
        network.lost = lambda message: message.to == 3 and (message.commit > 2 or message.index > 2)
        leader.propose_change(Change(()))
        leader.propose([b"a longer log"])
        network.settle()
        self.assertEqual([network[peer].group.last for peer in (1, 2, 3)], [4, 4, 3])
        self.assertEqual([network[peer].group.committed for peer in (1, 3)], [3, 2])
        self.assertEqual(network[1].role, "follower")
        network.heal()
        network[3].lazy_apply = True
        network.elect(3)
        self.assertEqual((network[3].group.committed, network[3].role), (3, "follower"))
        network[3].apply()
        network.elect(3)
        self.assertEqual(network[3].role, "leader")


class CommittedTests(SynchronousTestCase):
    """All that is said in elections carries what is known to be committed, and who has the same entry believes it."""

    def left(self, config: RaftConfig) -> Network:
        """
        Begin with a change of three voters to two, 3 and 4, of which only 4 knows that it's committed; 3 has a longer
        log, and one of the two whose votes it therefore seems to need has left for good.
        """
        network = Network([Peer(peer, config) for peer in (1, 2, 3, 4)])
        network.elect(1)
        leader = network[1].group
        network.isolate(2)
        leader.propose_change(Change((Step(REMOVE, 1), Step(REMOVE, 2), Step(ADD_VOTER, 4)), auto_leave=False))
        network.settle()
        network.isolated.clear()
        network.tick()
        self.assertEqual(network[3].group.membership, Membership((3, 4), outgoing=(1, 2, 3)))
        leave = leader.last + 1
        network.isolate(2)
        network.lost = lambda message: message.to == 3 and message.commit >= leave
        leader.propose_change(Change(()))
        network.settle()
        self.assertEqual([network[peer].group.committed for peer in (1, 3, 4)], [leave, leave - 1, leave])
        self.assertEqual(network[4].group.membership, Membership((3, 4)))
        third = network[3]
        third.step(Message(APPEND, 3, 1, 1, 1, leave, leave - 1, (Entry(leave + 1, 1, NORMAL, b"longer"),)))
        network.heal()
        network.isolate(1, 2)
        return network

    def test_from_a_vote_that_is_granted(self) -> None:
        network = self.left(PLAIN)
        network.elect(3)
        self.assertEqual((network[3].role, network[3].group.membership), ("follower", Membership((3, 4))))
        network.elect(3)
        self.assertEqual(network[3].role, "leader")

    def test_from_a_willing_answer(self) -> None:
        network = self.left(FULL)
        network.tick(6 * ELECTION, only=[3, 4])
        self.assertEqual((network[3].role, network[3].group.membership), ("leader", Membership((3, 4))))

    def test_from_a_candidate(self) -> None:
        """It can't be elected itself, since its log is shorter."""
        for config in (PLAIN, FULL):
            network = self.left(config)
            for peer in (3, 4):
                network[peer].now += 3 * ELECTION
            network.elect(4)
            self.assertNotEqual(network[4].role, "leader")
            self.assertEqual(network[3].group.membership, Membership((3, 4)))

    def test_whatever_the_term(self) -> None:
        """Of an older one, or of a newer one that doesn't count since there's a leader."""
        for kind, term in product((PRE_VOTE, VOTE, PRE_VOTE_REPLY, VOTE_REPLY), (1, 2, 3)):
            peer = peer_with((1, 1, 2), commit=1, config=FULL)
            peer.step(Message(HEARTBEAT, 1, 2, 2, round=1))
            message = Message(kind, 1, 3, term, 1, 2, reject=True)
            if kind in (PRE_VOTE, VOTE):
                message = Message(kind, 1, 3, term, 1, 1, hint_index=2, hint_term=1)
            peer.step(message)
            self.assertEqual(peer.group.committed, 2, (kind, term))

    def test_who_has_another_entry_there(self) -> None:
        """What isn't in the log can't be known to be committed."""
        for index, term in ((3, 1), (4, 2), (9, 9)):
            peer = peer_with((1, 1, 2), commit=1, config=FULL)
            peer.step(Message(VOTE_REPLY, 1, 3, 2, term, index, reject=True))
            peer.step(Message(PRE_VOTE, 1, 3, 3, 9, 9, hint_index=index, hint_term=term))
            self.assertEqual(peer.group.committed, 1)

    def test_a_leader_goes_on(self) -> None:
        """A change that it learns of so is applied like any other; only an election is void."""
        peer = peer_with((1,), commit=1)
        change = Entry(2, 1, CHANGE, encode_change(Change((Step(REMOVE, 3),))))
        peer.step(Message(APPEND, 1, 2, 1, 1, 1, 1, (change,)))
        make_leader(peer)
        peer.lazy_apply = True
        peer.step(Message(VOTE_REPLY, 1, 3, 1, 1, 2, reject=True))
        self.assertEqual((peer.group.committed, peer.role), (2, "leader"))
        peer.apply()
        self.assertEqual((peer.group.membership, peer.role), (Membership((1, 2)), "leader"))


class PreVoteTests(SynchronousTestCase):
    """Asking before campaigning (the thesis, section 9.6)."""

    def test_a_term_begins_only_if_a_majority_would_vote(self) -> None:
        peer = Peer(1, FULL)
        sent = make_candidate(peer)
        self.assertEqual(sorted(sent), [Message(PRE_VOTE, to, 1, 1) for to in (2, 3)])
        self.assertEqual((peer.role, peer.group.hard_state), ("pre-candidate", (0, 0, 0)))
        sent = peer.step(Message(PRE_VOTE_REPLY, 1, 2, 1))
        self.assertEqual((peer.role, peer.group.hard_state), ("candidate", (1, 1, 0)))
        self.assertEqual(sorted(sent), [Message(VOTE, to, 1, 1) for to in (2, 3)])

    def test_a_majority_says_no(self) -> None:
        peer = Peer(1, FULL)
        make_candidate(peer)
        for voter in (2, 3):
            peer.step(Message(PRE_VOTE_REPLY, 1, voter, 0, reject=True))
        self.assertEqual((peer.role, peer.group.term), ("follower", 0))

    def test_willing_is_no_vote(self) -> None:
        """Many may hear that they'd get the vote."""
        peer = Peer(1, FULL)
        for candidate in (2, 3):
            sent = peer.step(Message(PRE_VOTE, 1, candidate, 1))
            self.assertEqual(sent, [Message(PRE_VOTE_REPLY, candidate, 1, 1)])
        self.assertEqual(peer.group.hard_state, (0, 0, 0))

    def test_unwilling(self) -> None:
        """A shorter log, or an old term; the answer carries the newer one, and what is committed."""
        peer = peer_with((2, 2), commit=1, config=FULL)
        refusal = Message(PRE_VOTE_REPLY, 2, 1, 2, index=1, log_term=2, reject=True)
        self.assertEqual(peer.step(Message(PRE_VOTE, 1, 2, 3, log_term=2, index=1)), [refusal])
        self.assertEqual(peer.step(Message(PRE_VOTE, 1, 2, 2, log_term=2, index=2)), [refusal])
        self.assertEqual(peer.step(Message(PRE_VOTE, 1, 2, 1, log_term=2, index=2)), [refusal])

    def test_a_newer_term_is_learnt_from_a_refusal(self) -> None:
        peer = Peer(1, FULL)
        make_candidate(peer)
        peer.step(Message(PRE_VOTE_REPLY, 1, 2, 5, reject=True))
        self.assertEqual((peer.role, peer.group.term), ("follower", 5))

    def test_late_answers(self) -> None:
        """An answer for another term than the next isn't for this question."""
        peer = peer_with(term=3, config=FULL)
        make_candidate(peer)
        for term in (3, 5):
            peer.step(Message(PRE_VOTE_REPLY, 1, 2, term))
        self.assertEqual((peer.role, peer.group.term), ("pre-candidate", 3))

    def test_who_was_cut_off_doesnt_disturb(self) -> None:
        network = Network(3, FULL)
        network.elect(1)
        network.isolate(3)
        network.tick(5 * ELECTION)
        network.heal()
        network.tick(2)
        self.assertEqual(network.roles(), ["leader", "follower", "follower"])
        self.assertEqual([peer.group.term for peer in network.peers.values()], [1, 1, 1])

    def test_of_two_that_ask_at_once_one_yields(self) -> None:
        """Else both would vote for themselves, and nobody be elected until the next timeout."""
        for terms, winner in (((), 3), ((1,), 2)):
            logs = {1: (), 2: terms, 3: ()}
            network = Network([peer_with(logs[peer], peer=peer, term=1, config=FULL) for peer in logs])
            network.isolate(1)
            for peer in (2, 3):
                network.send(make_candidate(network[peer]))
            network.settle()
            self.assertEqual((network[winner].role, network[winner].group.term), ("leader", 2))
            self.assertEqual(network[5 - winner].role, "follower")

    def test_who_yields_asks_again_later(self) -> None:
        peer = Peer(1, FULL)
        make_candidate(peer)
        peer.step(Message(PRE_VOTE, 1, 3, 1))
        self.assertEqual(peer.role, "follower")
        peer.step(Message(PRE_VOTE_REPLY, 1, 2, 1))
        self.assertEqual(peer.role, "follower")
        self.assertIn(PRE_VOTE, {message.kind for message in peer.tick(2 * ELECTION)})

    def test_nobody_yields_to_a_lesser_log_or_number(self) -> None:
        peer = peer_with((1,), peer=2, config=FULL)
        make_candidate(peer)
        peer.step(Message(PRE_VOTE, 2, 3, 2))
        peer.step(Message(PRE_VOTE, 2, 1, 2, log_term=1, index=1))
        self.assertEqual(peer.role, "pre-candidate")

    def test_lost_questions_are_asked_again(self) -> None:
        """Until the next timeout, and only those who haven't answered."""
        peer = Peer(1, FULL)
        make_candidate(peer)
        self.assertEqual([message[:2] for message in peer.tick()], [(PRE_VOTE, 2), (PRE_VOTE, 3)])
        peer.step(Message(PRE_VOTE_REPLY, 1, 2, 0, reject=True))
        self.assertEqual([message[:2] for message in peer.tick()], [(PRE_VOTE, 3)])
        peer.step(Message(PRE_VOTE_REPLY, 1, 3, 1))
        self.assertEqual([message[:2] for message in peer.tick()], [(VOTE, 2), (VOTE, 3)])
        peer.step(Message(VOTE_REPLY, 1, 2, 1, reject=True))
        self.assertEqual([message[:2] for message in peer.tick()], [(VOTE, 3)])
        peer.step(Message(VOTE_REPLY, 1, 3, 1))
        self.assertEqual(peer.role, "leader")

    def test_questions_wait_for_the_vote_to_be_durable(self) -> None:
        peer = Peer(1, FULL)
        make_candidate(peer)
        peer.lazy_disk = True
        self.assertEqual(peer.step(Message(PRE_VOTE_REPLY, 1, 2, 1)), [])
        self.assertEqual(peer.tick(2), [])
        self.assertIn(VOTE, {message.kind for message in peer.finish_writes()})

    def test_a_question_that_the_leader_asked_for_is_repeated_as_such(self) -> None:
        peer = Peer(1, FULL)
        peer.step(Message(HEARTBEAT, 1, 2, 1))
        for message in [*peer.step(Message(TIMEOUT_NOW, 1, 2, 1)), *peer.tick()]:
            self.assertEqual((message.kind, message.force), (VOTE, True))


class SuspicionTests(SynchronousTestCase):
    """A leader that is said to be gone (its connection has ended) is replaced as soon as that may be."""

    def suspect(self, peer: Peer) -> None:
        peer.group.suspect_leader(peer.now)

    def campaigns(self, peer: Peer) -> float:
        """Wait for its campaign, and tell when it came."""
        for _ in range(2 * ELECTION):
            if peer.role != "follower":
                break
            peer.tick()
        return peer.now

    def test_it_campaigns_when_the_silence_is_over(self) -> None:
        """Within a few ticks, not earlier: the leader may count on the silence (R18)."""
        found = set()
        for seed in range(50):
            peer = Peer(1, FULL, seed=seed)
            peer.now = 50.0
            peer.step(Message(HEARTBEAT, 1, 2, 1))
            peer.tick(3)
            self.suspect(peer)
            self.suspect(peer)
            found.add(self.campaigns(peer) - 50.0)
        self.assertEqual(found, {FULL.silence + 1, FULL.silence + 2, FULL.silence + 3})

    def test_long_after_its_last_word(self) -> None:
        peer = Peer(1, FULL)
        peer.step(Message(HEARTBEAT, 1, 2, 1))
        peer.group.suspect_leader(FULL.silence + 1)
        peer.now = FULL.silence + 1
        self.assertLessEqual(self.campaigns(peer), FULL.silence + 4)

    def test_the_leaders_word_ends_it(self) -> None:
        peer = Peer(1, FULL)
        peer.step(Message(HEARTBEAT, 1, 2, 1))
        self.suspect(peer)
        peer.tick(5)
        peer.step(Message(HEARTBEAT, 1, 2, 1))
        self.assertGreaterEqual(self.campaigns(peer), 5 + ELECTION)

    def test_it_votes_when_the_silence_is_over(self) -> None:
        """It doesn't wait for its own timeout, as one does who suspects nothing."""
        for suspects in (False, True):
            peer = Peer(1, FULL)
            peer.step(Message(HEARTBEAT, 1, 2, 1))
            if suspects:
                self.suspect(peer)
            request = Message(PRE_VOTE, 1, 3, 2)
            peer.group.step(request, FULL.silence - 0.01)
            self.assertEqual(peer.pump(), [])
            peer.group.step(request, FULL.silence)
            self.assertEqual(peer.pump(), [Message(PRE_VOTE_REPLY, 3, 1, 2)] if suspects else [])

    def test_without_a_leader_nothing_changes(self) -> None:
        for prepare in (lambda peer: [], make_candidate, make_leader):
            peer = Peer(1, FULL)
            prepare(peer)
            role = peer.role
            self.suspect(peer)
            self.assertEqual((peer.role, peer.pump()), (role, []))

    def test_it_wakes_who_was_quiet(self) -> None:
        network = Network(3, FULL)
        network.elect(1)
        network.tick(2)
        self.assertTrue(network[1].group.quiesce())
        network.settle()
        network.isolate(1)
        self.suspect(network[2])
        # The other one is quiet too until it's asked, and gives the leader the time to say that it's there.
        network.tick(3 * FULL.election_ticks, only=[2, 3])
        self.assertIn("leader", network.roles()[1:])

    def test_all_of_them(self) -> None:
        """Whoever is first is elected, in less than the least election timeout and a few ticks."""
        for seed in range(30):
            network = Network([Peer(peer, FULL, seed=seed) for peer in (1, 2, 3)])
            network.elect(1)
            network.tick(3)
            network.isolate(1)
            for peer in (2, 3):
                self.suspect(network[peer])
            network.tick(FULL.election_ticks + 2, only=[2, 3])
            self.assertIn("leader", network.roles()[1:])


class CheckQuorumTests(SynchronousTestCase):
    """Leaders without a majority step down, and who hears of a leader doesn't vote (the thesis, 6.2 and 4.2.3)."""

    def test_a_leader_without_majority_steps_down(self) -> None:
        network = Network(3, FULL)
        network.elect(1)
        network.isolate(1)
        network.tick(2 * ELECTION, only=[1])
        self.assertEqual((network[1].role, network[1].group.leader_id), ("follower", 0))

    def test_a_leader_with_a_majority_stays(self) -> None:
        network = Network(3, FULL)
        network.elect(1)
        network.isolate(2)
        network.tick(3 * ELECTION)
        self.assertEqual(network[1].role, "leader")

    def test_no_vote_while_a_leader_is_heard(self) -> None:
        """A request of a newer term is ignored for an election timeout, unless the leader asked for it."""
        network = Network(3, FULL)
        network.elect(1)
        network.tick(2)
        for kind in (PRE_VOTE, VOTE):
            request = Message(kind, 2, 3, 9, log_term=9, index=9)
            self.assertEqual(network[2].step(request), [])
            self.assertEqual(network[1].step(request._replace(to=1)), [])
        self.assertEqual([peer.group.term for peer in network.peers.values()], [1, 1, 1])
        sent = network[2].step(Message(VOTE, 2, 3, 9, log_term=9, index=9, force=True))
        self.assertEqual(sent, [Message(VOTE_REPLY, 3, 2, 9, index=1, log_term=1)])

    def test_no_campaign_while_a_leader_is_heard(self) -> None:
        """Not even if the host asks for it: the leader counts on it."""
        peer = Peer(1, FULL)
        peer.step(Message(HEARTBEAT, 1, 2, 1))
        self.assertFalse(peer.group.campaign(FULL.silence - 0.01))
        self.assertTrue(peer.group.campaign(FULL.silence))

    def test_silence_is_kept_by_the_clock(self) -> None:
        """Ticks that come late and then close together don't shorten it."""
        peer = Peer(1, FULL)
        peer.now = 50.0
        peer.step(Message(HEARTBEAT, 1, 2, 1))
        for _ in range(2 * ELECTION):
            peer.group.tick(50.0 + FULL.silence - 0.01)
        self.assertEqual(peer.role, "follower")
        peer.group.step(Message(VOTE, 1, 3, 2), 50.0 + FULL.silence - 0.01)
        self.assertEqual(peer.group.hard_state.vote, 0)
        peer.group.tick(50.0 + FULL.silence)
        self.assertEqual(peer.role, "pre-candidate")

    def test_a_newer_term_of_the_one_that_was_cut_off(self) -> None:
        """Without pre-vote, its answer deposes the leader, so that it isn't kept out for ever."""
        network = Network(3, PLAIN)
        network.elect(1)
        network[3].step(Message(VOTE, 3, 2, 7))
        network.tick(only=[1])
        self.assertEqual((network[1].role, network[1].group.term), ("follower", 7))


class StartTests(SynchronousTestCase):
    """After a start a peer keeps quiet for one lease (R18)."""

    def test_neither_votes_nor_campaigns(self) -> None:
        peer = Peer(1, FULL, quiet_until=100.0)
        peer.now = 99.0
        peer.group.campaign(99.0)
        self.assertEqual((peer.pump(), peer.role), ([], "follower"))
        for request in (
            Message(VOTE, 1, 2, 1, log_term=1, index=1),
            Message(VOTE, 1, 2, 1, log_term=1, index=1, force=True),
            Message(PRE_VOTE, 1, 2, 2, log_term=1, index=1),
        ):
            self.assertEqual([message.reject for message in peer.step(request)], [True])
        self.assertEqual(peer.group.hard_state, (1, 0, 0))

    def test_votes_when_the_time_is_over(self) -> None:
        peer = Peer(1, FULL, quiet_until=100.0)
        peer.now = 100.0
        self.assertEqual(peer.step(Message(VOTE, 1, 2, 1)), [Message(VOTE_REPLY, 2, 1, 1)])

    def test_the_only_voter_begins_at_once(self) -> None:
        peer = Peer(1, FULL, voters=(1,), quiet_until=100.0)
        make_candidate(peer)
        self.assertEqual(peer.role, "leader")

    def test_takes_entries_meanwhile(self) -> None:
        peer = Peer(1, FULL, quiet_until=100.0)
        self.assertEqual(peer.step(Message(APPEND, 1, 2, 1)), [Message(APPEND_REPLY, 2, 1, 1)])
        self.assertEqual(peer.step(Message(HEARTBEAT, 1, 2, 1, round=4)), [Message(HEARTBEAT_REPLY, 2, 1, 1, round=4)])
