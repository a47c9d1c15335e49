"""Handing leadership over (the thesis, section 3.10)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.raft.network import FULL, PLAIN, Network, Peer, accept_all, make_leader
from tinykv.raft.membership import REMOVE, Change, Step
from tinykv.raft.messages import APPEND, TIMEOUT_NOW, TRANSFER, VOTE, Message
from tinykv.raft.refusals import NotLeader, TransferRefused, Transferring


class TransferTests(SynchronousTestCase):
    """A leader hands over."""

    def network(self) -> Network:
        """Return three peers that peer 1 leads."""
        network = Network(3, FULL)
        network.elect(1)
        network.tick(2)
        return network

    def transfer(self, network: Network, to: int, at: int = 1) -> None:
        """Ask a peer to hand over."""
        network[at].group.transfer_leader(to)
        network.settle()

    def stuck(self, network: Network, to: int = 3) -> None:
        """Begin a transfer to a peer that doesn't hear of it."""
        network.isolate(to)
        network.propose(b"a")
        self.transfer(network, to)
        self.assertEqual(network[1].group.transferring, to)

    def test_there_and_back(self) -> None:
        network = self.network()
        self.transfer(network, 2)
        self.assertEqual(network.roles(), ["follower", "leader", "follower"])
        network.propose(b"a")
        self.transfer(network, 1, at=2)
        self.assertEqual(network.roles(), ["leader", "follower", "follower"])

    def test_followers_pass_it_on(self) -> None:
        network = self.network()
        self.transfer(network, 2, at=2)
        self.assertEqual(network.roles(), ["follower", "leader", "follower"])
        self.transfer(network, 1, at=3)
        self.assertEqual(network.roles(), ["leader", "follower", "follower"])

    def test_no_leader_to_pass_it_on_to(self) -> None:
        self.assertRaises(NotLeader, Peer(1).group.transfer_leader, 2)

    def test_to_one_that_lacks_entries(self) -> None:
        """It gets them first; nothing is proposed meanwhile."""
        network = self.network()
        self.stuck(network)
        self.assertRaises(Transferring, network[1].group.propose, [b"b"])
        self.assertEqual([message for message in network.sent if message.kind == TIMEOUT_NOW], [])
        network.heal()
        network.tick(only=[1])
        self.assertEqual(network.roles(), ["follower", "follower", "leader"])
        self.assertEqual(network[3].data, [b"a"])

    def test_to_one_that_needs_a_snapshot(self) -> None:
        network = self.network()
        network.isolate(3)
        network.propose(b"a")
        network[1].disk.compact(network[1].group.applied)
        network[1].group.unreachable(3)
        network.heal()
        self.transfer(network, 3)
        network.tick(only=[1])
        self.assertEqual(network.roles(), ["follower", "follower", "leader"])

    def test_to_itself(self) -> None:
        network = self.network()
        self.transfer(network, 1)
        self.assertEqual((network[1].role, network[1].group.transferring), ("leader", 0))

    def test_to_strangers_and_learners(self) -> None:
        network = self.network()
        self.assertRaises(TransferRefused, network[1].group.transfer_leader, 4)
        network.send([Message(TRANSFER, 1, 2, 1, target=4), Message(TRANSFER, 1, 9, 1, target=2)])
        network.settle()
        self.assertEqual((network[1].role, network[1].group.transferring), ("leader", 0))

    def test_a_vote_of_a_newer_term_ends_it(self) -> None:
        network = self.network()
        self.stuck(network)
        network[1].step(Message(VOTE, 1, 2, 9, log_term=9, index=9, force=True))
        self.assertEqual((network[1].role, network[1].group.transferring), ("follower", 0))

    def test_removal_of_the_target_ends_it(self) -> None:
        network = Network(3)
        network.elect(1)
        network.isolate(3)
        network[1].lazy_apply = True
        network[1].group.propose_change(Change((Step(REMOVE, 3),)))
        network.settle()
        self.transfer(network, 3)
        network[1].apply()
        self.assertEqual((network[1].role, network[1].group.transferring), ("leader", 0))
        self.assertRaises(TransferRefused, network[1].group.transfer_leader, 3)

    def test_naming_itself_takes_it_back(self) -> None:
        network = self.network()
        self.stuck(network)
        self.transfer(network, 1)
        network.propose(b"b")
        self.assertEqual(network[1].data, [b"a", b"b"])

    def test_another_target_replaces_it(self) -> None:
        network = self.network()
        self.stuck(network)
        self.transfer(network, 2)
        self.assertEqual(network.roles()[:2], ["follower", "leader"])

    def test_the_same_again_gives_no_more_time(self) -> None:
        network = self.network()
        self.stuck(network)
        network.tick(PLAIN.election_ticks - 1, only=[1])
        self.transfer(network, 3)
        network.tick(only=[1])
        self.assertEqual(network[1].group.transferring, 0)

    def test_it_takes_too_long(self) -> None:
        """After an election timeout proposals are taken again."""
        network = self.network()
        self.stuck(network)
        network.tick(FULL.election_ticks - 1, only=[1])
        self.assertRaises(Transferring, network[1].group.propose, [b"b"])
        network.tick(only=[1])
        network.propose(b"b")
        self.assertEqual(network[1].data, [b"a", b"b"])

    def test_who_isnt_a_member_doesnt_campaign(self) -> None:
        peer = Peer(1, voters=(2, 3, 4))
        peer.step(Message(TIMEOUT_NOW, 1, 2, 1))
        self.assertEqual((peer.role, peer.group.term), ("follower", 1))

    def test_an_old_word(self) -> None:
        """Of a leader of an earlier term."""
        peer = Peer(1)
        peer.step(Message(APPEND, 1, 2, 5))
        peer.step(Message(TIMEOUT_NOW, 1, 3, 4))
        self.assertEqual((peer.role, peer.group.term), ("follower", 5))

    def test_at_once_and_without_asking(self) -> None:
        """The target campaigns without pre-vote, and others vote although they hear of the leader."""
        peer = Peer(1, FULL)
        peer.step(Message(APPEND, 1, 2, 1))
        sent = peer.step(Message(TIMEOUT_NOW, 1, 2, 1))
        self.assertEqual(sorted(sent), [Message(VOTE, to, 1, 2, force=True) for to in (2, 3)])

    def test_sent_only_when_the_log_is_whole(self) -> None:
        peer = Peer(1)
        make_leader(peer)
        accept_all(peer, 2)
        peer.group.propose([b"a"])
        peer.group.transfer_leader(2)
        self.assertEqual([message.kind for message in peer.pump() if message.to == 2], [APPEND])
        self.assertIn(Message(TIMEOUT_NOW, 2, 1, 1), accept_all(peer, 2))
