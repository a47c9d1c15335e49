"""Reads without entries: by asking a majority, and by lease (the thesis, section 6.4; R18)."""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from tests.raft.network import FULL, PLAIN, Network, Peer, accept_all, make_leader
from tinykv.raft.config import RaftConfig
from tinykv.raft.group import Read
from tinykv.raft.leader import MAX_QUESTIONS
from tinykv.raft.lease import Lease
from tinykv.raft.membership import ADD_VOTER, REMOVE, Change, Membership, Step
from tinykv.raft.messages import (
    APPEND,
    APPEND_REPLY,
    HEARTBEAT,
    HEARTBEAT_REPLY,
    QUIESCE,
    READ_INDEX,
    READ_INDEX_REPLY,
    TIMEOUT_NOW,
    VOTE_REPLY,
    Message,
)
from tinykv.raft.refusals import NotLeader


def led(config: RaftConfig = FULL) -> Peer:
    """Return a leader of three whose first entry is committed and applied."""
    peer = Peer(1, config)
    make_leader(peer)
    accept_all(peer, 2, 3)
    return peer


def answer(peer: Peer, voter: int, number: int) -> list[Message]:
    """Have a voter answer a round."""
    return peer.step(Message(HEARTBEAT_REPLY, 1, voter, peer.group.term, round=number, commit=peer.group.committed))


class ReadIndexTests(SynchronousTestCase):
    """A majority says that this is the leader."""

    def test_one_round_for_all_reads_of_a_turn(self) -> None:
        peer = led()
        peer.group.read_index("a")
        peer.group.read_index("b")
        sent = peer.pump()
        self.assertEqual(sorted(sent), [Message(HEARTBEAT, to, 1, 1, round=1) for to in (2, 3)])
        self.assertEqual(peer.reads, [])
        answer(peer, 2, 1)
        self.assertEqual(peer.reads, [Read("a", 1), Read("b", 1)])

    def test_only_rounds_sent_later_count(self) -> None:
        """An answer to a round from before the read says nothing of now."""
        peer = led()
        peer.tick()
        peer.group.read_index("a")
        peer.pump()
        answer(peer, 2, 1)
        answer(peer, 3, 1)
        self.assertEqual(peer.reads, [])
        answer(peer, 3, 2)
        self.assertEqual(peer.reads, [Read("a", 1)])

    def test_a_later_round_answers_for_earlier_ones(self) -> None:
        peer = led()
        peer.group.read_index("a")
        peer.pump()
        peer.tick()
        answer(peer, 2, 2)
        self.assertEqual(peer.reads, [Read("a", 1)])

    def test_index_is_as_of_the_question(self) -> None:
        peer = led()
        peer.group.read_index("a")
        peer.pump()
        peer.group.propose([b"x"])
        peer.pump()
        accept_all(peer, 2)
        answer(peer, 2, 1)
        self.assertEqual(peer.reads, [Read("a", 1)])

    def test_not_before_an_entry_of_the_term_is_committed(self) -> None:
        """Before that the leader may not know all that was committed."""
        peer = Peer(1)
        make_leader(peer)
        peer.group.read_index("a")
        self.assertEqual(peer.pump(), [])
        peer.tick()
        answer(peer, 2, 1)
        self.assertEqual(peer.reads, [])
        sent = accept_all(peer, 2)
        self.assertEqual([message.round for message in sent if message.kind == HEARTBEAT], [2, 2])
        answer(peer, 2, 2)
        self.assertEqual(peer.reads, [Read("a", 1)])

    def test_who_asked_is_told_what_is_committed(self) -> None:
        """It can answer when it knows that, so the news doesn't wait for entries."""
        peer = led()
        peer.group.propose([b"a"])
        peer.pump()
        peer.group.step(Message(APPEND_REPLY, 1, 2, peer.group.term, index=2), peer.now)
        peer.group.step(Message(READ_INDEX, 1, 2, peer.group.term, round=7), peer.now)
        ready = peer.group.ready(0)
        assert ready is not None
        (beat,) = [message for message in ready.messages if message.kind == HEARTBEAT and message.to == 3]
        peer.group.step(Message(HEARTBEAT_REPLY, 1, 3, peer.group.term, round=beat.round, commit=1), peer.now)
        ready = peer.group.ready(0)
        assert ready is not None
        told = [(message.kind, message.index, message.commit) for message in ready.messages if message.to == 2]
        self.assertEqual(told, [(READ_INDEX_REPLY, 2, 0), (APPEND, 2, 2)])

    def test_the_only_voter_answers_at_once(self) -> None:
        network = Network([Peer(1, FULL, voters=(1,))])
        network.elect(1)
        network[1].group.read_index("a")
        network.settle()
        self.assertEqual(network[1].reads, [Read("a", 1)])

    def test_learners_dont_count(self) -> None:
        peer = Peer(1)
        peer.disk.membership = Membership((1, 2), (3,))
        peer.start()
        make_leader(peer)
        accept_all(peer, 2)
        peer.group.read_index("a")
        peer.pump()
        answer(peer, 3, 1)
        self.assertEqual(peer.reads, [])
        answer(peer, 2, 1)
        self.assertEqual(peer.reads, [Read("a", 1)])

    def test_joint_needs_both_majorities(self) -> None:
        peer = Peer(1)
        peer.disk.membership = Membership((1, 4, 5), (), (1, 2, 3))
        peer.start()
        make_joint_leader(peer)
        peer.group.read_index("a")
        peer.pump()
        answer(peer, 2, 1)
        self.assertEqual(peer.reads, [])
        answer(peer, 4, 1)
        self.assertEqual(peer.reads, [Read("a", 1)])

    def test_who_isnt_the_leader_any_more(self) -> None:
        """Reads that got no answer are given back."""
        peer = led()
        peer.group.read_index("asked")
        peer.pump()
        peer.group.read_index("waiting")
        peer.step(Message(APPEND, 1, 2, 5))
        self.assertEqual((peer.reads, peer.lost_reads), ([], ["asked", "waiting"]))

    def test_a_follower_asks_its_leader(self) -> None:
        network = Network(3, FULL)
        network.elect(1)
        network.propose(b"x")
        for context in ("a", "b"):
            network[2].group.read_index(context)
        network.settle()
        self.assertEqual(network[2].reads, [Read("a", 2), Read("b", 2)])
        self.assertEqual(len([message for message in network.sent if message.kind == READ_INDEX]), 1)

    def test_nobody_to_ask(self) -> None:
        self.assertRaises(NotLeader, Peer(1).group.read_index, "a")

    def test_a_follower_gets_no_answer(self) -> None:
        """After an election timeout, or when there's another leader, reads are given back."""
        peer = Peer(1, FULL)
        peer.step(Message(APPEND, 1, 2, 1))
        peer.group.read_index("lost")
        peer.pump()
        peer.tick(FULL.election_ticks)
        self.assertEqual(peer.lost_reads, [])
        peer.tick()
        self.assertEqual(peer.lost_reads, ["lost"])
        peer.step(Message(APPEND, 1, 2, 1))
        peer.group.read_index("asked")
        peer.pump()
        peer.group.read_index("waiting")
        peer.step(Message(APPEND, 1, 3, 2))
        self.assertEqual(peer.lost_reads, ["lost", "asked", "waiting"])

    def test_answers_to_an_earlier_life(self) -> None:
        """After a restart the numbers of questions are others."""
        peer = Peer(1, FULL)
        questions = set()
        for _ in range(2):
            peer.step(Message(APPEND, 1, 2, 1))
            peer.group.read_index("a")
            questions |= {message.round for message in peer.pump()}
            peer.crash()
        peer.step(Message(APPEND, 1, 2, 1))
        for number in questions:
            peer.step(Message(READ_INDEX_REPLY, 1, 2, 1, round=number, index=1))
        self.assertEqual((len(questions), peer.reads), (2, []))

    def test_a_leader_that_stops_tells_who_asked(self) -> None:
        peer = led()
        peer.step(Message(READ_INDEX, 1, 3, 1, round=77))
        peer.pump()
        sent = peer.step(Message(APPEND, 1, 2, 5))
        self.assertIn((3, 77, True), [(message.to, message.round, message.reject) for message in sent])

    def test_asked_and_not_the_leader(self) -> None:
        peer = Peer(1)
        self.assertEqual(
            peer.step(Message(READ_INDEX, 1, 3, 0, round=7)), [Message(READ_INDEX_REPLY, 3, 1, 0, round=7, reject=True)]
        )
        peer.step(Message(APPEND, 1, 3, 1))
        peer.group.read_index("a")
        number = peer.pump()[0].round
        peer.step(Message(READ_INDEX_REPLY, 1, 3, 1, round=number, reject=True))
        self.assertEqual(peer.lost_reads, ["a"])

    def test_questions_have_a_limit(self) -> None:
        """Up to the limit they are taken, one more is rejected; strangers' are ignored."""
        peer = Peer(1)
        make_leader(peer)
        for number in range(MAX_QUESTIONS):
            self.assertEqual(peer.step(Message(READ_INDEX, 1, 2, 1, round=number)), [])
        self.assertEqual([message.reject for message in peer.step(Message(READ_INDEX, 1, 2, 1, round=9))], [True])
        self.assertEqual(peer.step(Message(READ_INDEX, 1, 9, 1, round=9)), [])


def make_joint_leader(peer: Peer) -> None:
    """Have peer 1 of the joint 1 4 5 and 1 2 3 be elected, and its first entry be committed."""
    peer.group.campaign(peer.now)
    peer.pump()
    for voter in (2, 4):
        peer.step(Message(VOTE_REPLY, 1, voter, 1))
    accept_all(peer, 2, 4)


class LeaseTests(SynchronousTestCase):
    """The leader knows that no one else leads, for a while."""

    def test_from_the_sending_of_the_round(self) -> None:
        """Not from its answers; and for less than the least election timeout."""
        peer = led()
        peer.tick()  # at 1.0 the first round is sent
        self.assertFalse(peer.group.lease_valid(1.0))
        peer.now = 5.0
        answer(peer, 2, 1)
        end = 1.0 + FULL.lease
        self.assertEqual(FULL.lease, FULL.election_ticks - 1 - 0.5)
        self.assertTrue(peer.group.lease_valid(end - 0.001))
        self.assertFalse(peer.group.lease_valid(end))

    def test_later_rounds_extend_it(self) -> None:
        peer = led()
        peer.tick(3)
        answer(peer, 2, 1)
        answer(peer, 3, 3)
        self.assertTrue(peer.group.lease_valid(2.9 + FULL.lease))
        answer(peer, 2, 2)
        self.assertTrue(peer.group.lease_valid(2.9 + FULL.lease))
        self.assertFalse(peer.group.lease_valid(3.0 + FULL.lease))

    def test_needs_an_entry_of_the_term_applied(self) -> None:
        peer = Peer(1, FULL)
        peer.lazy_apply = True
        make_leader(peer)
        peer.tick()
        answer(peer, 2, 1)
        self.assertFalse(peer.group.lease_valid(1.0))
        accept_all(peer, 2)
        self.assertFalse(peer.group.lease_valid(1.0))
        peer.apply()
        self.assertTrue(peer.group.lease_valid(1.0))

    def test_only_with_check_quorum(self) -> None:
        """Without it nobody keeps silent."""
        peer = led(replace(FULL, check_quorum=False))
        peer.tick()
        answer(peer, 2, 1)
        self.assertFalse(peer.group.lease_valid(1.0))

    def test_followers_have_none(self) -> None:
        self.assertFalse(Peer(1, FULL).group.lease_valid(0.0))

    def test_the_only_voter(self) -> None:
        network = Network([Peer(1, FULL, voters=(1,))])
        network.elect(1)
        network.tick()
        self.assertTrue(network[1].group.lease_valid(1000.0))

    def test_given_up_before_the_successor_campaigns(self) -> None:
        """And not taken again in that term, even if the transfer comes to nothing; asking still works."""
        peer = led()
        peer.tick()
        answer(peer, 2, 1)
        peer.group.transfer_leader(2)
        self.assertFalse(peer.group.lease_valid(1.0))
        self.assertIn(TIMEOUT_NOW, [message.kind for message in peer.pump()])
        for number in range(2, 2 + FULL.election_ticks):
            peer.tick()
            answer(peer, 2, number)
            answer(peer, 3, number)
        self.assertEqual(peer.group.transferring, 0)
        self.assertFalse(peer.group.lease_valid(peer.now))
        peer.group.read_index("a")
        number = peer.pump()[0].round
        answer(peer, 2, number)
        self.assertEqual(peer.reads, [Read("a", 1)])

    def test_kept_while_the_successor_catches_up(self) -> None:
        peer = led()
        peer.group.propose([b"x"])
        peer.tick()
        answer(peer, 3, 1)
        peer.group.transfer_leader(2)
        self.assertTrue(peer.group.lease_valid(1.0))
        accept_all(peer, 2)
        self.assertFalse(peer.group.lease_valid(1.0))

    def test_counted_again_when_the_membership_changes(self) -> None:
        """With more voters the majority that answered may be none any more."""
        peer = led()
        peer.tick()
        answer(peer, 2, 1)
        peer.group.propose_change(Change((Step(ADD_VOTER, 4), Step(ADD_VOTER, 5), Step(REMOVE, 3))))
        peer.pump()
        accept_all(peer, 2)
        self.assertEqual(peer.group.membership.voters, (1, 2, 4, 5))
        self.assertFalse(peer.group.lease_valid(1.0))
        answer(peer, 4, 1)
        self.assertTrue(peer.group.lease_valid(1.0))

    def test_answers_to_rounds_that_were_not_sent(self) -> None:
        peer = led()
        peer.tick()
        answer(peer, 2, 99)
        self.assertFalse(peer.group.lease_valid(1.0))

    def test_no_one_is_elected_before_it_ends(self) -> None:
        """Whoever campaigns, and whenever the leader was cut off."""
        for seed in range(30):
            network = Network([Peer(peer, FULL, seed=seed) for peer in (1, 2, 3)])
            network.elect(1)
            network.tick(3)
            network.isolate(1)
            while not any(network[peer].group.leads for peer in (2, 3)):
                network.tick()
            self.assertFalse(network[1].group.lease_valid(network[1].now))

    def test_few_rounds_are_remembered(self) -> None:
        """Rounds that follow each other quickly don't all count, but the answer to a later one says as much."""
        lease = Lease(10.0, 1.0)
        for number in range(1000):
            lease.sent(number, number / 100)
        self.assertEqual(lease.sent_at(999), 9.0)
        self.assertEqual(lease.sent_at(450), 4.0)
        self.assertLess(len(lease._rounds), 12)
        lease.sent(1000, 30.0)
        self.assertEqual(lease.sent_at(999), float("-inf"))


class QuiescenceTests(SynchronousTestCase):
    """Groups in which nothing goes on are silent."""

    def network(self) -> Network:
        """Return three peers that have agreed on everything."""
        network = Network(3, FULL)
        network.elect(1)
        network.propose(b"a")
        network.tick(2)
        return network

    def quiesce(self, network: Network) -> bool:
        """Ask the leader for silence."""
        quiet = network[1].group.quiesce()
        network.settle()
        return quiet

    def quiet(self, network: Network) -> list[bool]:
        """Tell who is silent."""
        return [network[peer].group.quiesced for peer in (1, 2, 3)]

    def test_silence(self) -> None:
        network = self.network()
        self.assertTrue(self.quiesce(network))
        self.assertEqual(self.quiet(network), [True] * 3)
        count = len(network.sent)
        network.tick(5 * FULL.election_ticks)
        self.assertEqual((len(network.sent), network.roles()), (count, ["leader", "follower", "follower"]))
        self.assertTrue(self.quiesce(network))

    def test_it_ends_the_lease(self) -> None:
        """And what was answered before doesn't bring it back."""
        network = self.network()
        now = network[1].now
        self.assertTrue(network[1].group.lease_valid(now))
        self.quiesce(network)
        self.assertFalse(network[1].group.lease_valid(now))
        answer(network[1], 2, 2)
        self.assertFalse(network[1].group.lease_valid(now))
        network.tick()
        self.assertTrue(network[1].group.lease_valid(network[1].now))

    def test_not_while_something_goes_on(self) -> None:
        network = self.network()
        self.assertFalse(network[2].group.quiesce())
        network[1].group.read_index("a")
        self.assertFalse(network[1].group.quiesce())
        network.settle()
        network.isolate(3)
        network.propose(b"b")
        self.assertFalse(network[1].group.quiesce())
        network.heal()
        network.tick()
        network[1].lazy_apply = True
        network.propose(b"c")
        self.assertFalse(network[1].group.quiesce())
        network[1].apply()
        network[1].group.transfer_leader(3)
        self.assertFalse(network[1].group.quiesce())

    def test_a_proposal_ends_it(self) -> None:
        network = self.network()
        self.quiesce(network)
        network.propose(b"b")
        self.assertEqual(self.quiet(network), [False] * 3)
        self.assertEqual(network[3].data, [b"a", b"b"])

    def test_a_read_ends_it(self) -> None:
        network = self.network()
        self.quiesce(network)
        network[3].group.read_index("a")
        network.settle()
        self.assertEqual(self.quiet(network), [False] * 3)
        self.assertEqual(network[3].reads, [Read("a", 2)])

    def test_who_is_behind_wakes_the_leader(self) -> None:
        """Its log isn't the one that is said to be everybody's."""
        network = self.network()
        self.quiesce(network)
        peer = network[1]
        peer.step(Message(HEARTBEAT_REPLY, 1, 3, 1, commit=1))
        self.assertFalse(peer.group.quiesced)
        lagging = Peer(2, FULL)
        sent = lagging.step(Message(QUIESCE, 2, 1, 1, index=2, log_term=1))
        self.assertEqual((sent, lagging.group.quiesced), ([Message(HEARTBEAT_REPLY, 1, 2, 1)], False))

    def test_the_word_tells_what_is_committed(self) -> None:
        network = self.network()
        network.lost = lambda message: message.to == 3 and message.commit == 3
        network.propose(b"b")
        self.assertEqual(network[3].group.committed, 2)
        network.heal()
        self.quiesce(network)
        self.assertEqual((network[3].data, self.quiet(network)), ([b"a", b"b"], [True] * 3))

    def test_who_missed_the_word_disturbs_nobody(self) -> None:
        """Its question wakes the others, and the leader stays."""
        network = self.network()
        network.isolate(3)
        self.quiesce(network)
        network.heal()
        network.tick(2 * FULL.election_ticks)
        self.assertEqual((network.roles(), network[1].group.term), (["leader", "follower", "follower"], 1))
        self.assertEqual(self.quiet(network), [False] * 3)

    def test_a_leader_that_is_gone(self) -> None:
        """Peers that are told so elect another."""
        network = self.network()
        self.quiesce(network)
        network.isolate(1)
        for peer in (2, 3):
            network[peer].group.wake(network[peer].now)
        network.tick(4 * FULL.election_ticks, only=[2, 3])
        self.assertIn("leader", network.roles()[1:])

    def test_others_stay_silent_without_reason(self) -> None:
        """Without check-quorum too, a leader wakes when it's asked to hand over."""
        network = Network(3, PLAIN)
        network.elect(1)
        self.assertTrue(self.quiesce(network))
        network[2].group.transfer_leader(2)
        network.settle()
        self.assertEqual(network.roles(), ["follower", "leader", "follower"])

    def test_acknowledgements_of_earlier_appends(self) -> None:
        """A late answer wakes the leader, which says so to no one without need."""
        network = self.network()
        self.quiesce(network)
        self.assertEqual(network[1].step(Message(APPEND_REPLY, 1, 2, 1, index=2)), [])
        self.assertEqual([message.kind for message in network[1].tick()], [HEARTBEAT] * 2)
