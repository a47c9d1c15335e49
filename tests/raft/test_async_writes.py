"""Writes that finish late: nothing is promised or applied before it's durable (R6; the thesis, section 10.2.1)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.raft.network import Network, Peer, make_leader
from tests.raft.test_replication import entries_of
from tinykv.raft.messages import APPEND, APPEND_REPLY, HEARTBEAT, HEARTBEAT_REPLY, VOTE, VOTE_REPLY, Entry, Message


def append(sender: int, term: int, index: int, log_term: int, *entries: Entry, commit: int = 0) -> Message:
    """Make an append to peer 1."""
    return Message(APPEND, 1, sender, term, log_term, index, commit, entries)


class AsynchronousWriteTests(SynchronousTestCase):
    """A disk that takes its time."""

    def follower(self) -> Peer:
        """Return a follower in term 1 with a slow disk."""
        peer = Peer(1, voters=range(1, 6))
        peer.step(append(2, 1, 0, 0, *entries_of(1)))
        peer.lazy_disk = True
        return peer

    def test_leader_sends_while_it_writes(self) -> None:
        """Others may have committed an entry before the leader's own disk has it; it applies it only then."""
        network = Network(3)
        network.elect(1)
        network[1].lazy_disk = True
        network.propose(b"a")
        leader = network[1]
        self.assertEqual((leader.group.committed, leader.group.stable, leader.group.appliable), (2, 1, 1))
        self.assertEqual(leader.data, [])
        self.assertEqual(network[2].data, [b"a"])
        leader.finish_writes()
        self.assertEqual(leader.data, [b"a"])

    def test_leader_counts_itself_only_when_durable(self) -> None:
        network = Network(3)
        network.elect(1)
        network.isolate(3)
        network[1].lazy_disk = True
        network.propose(b"a")
        self.assertEqual(network[1].group.committed, 1)
        network.send(network[1].finish_writes())
        self.assertEqual(network[1].group.committed, 2)

    def test_many_writes_at_once(self) -> None:
        """Each answer waits for its own write, not for all."""
        peer = self.follower()
        for index in (1, 2, 3):
            self.assertEqual(peer.step(append(2, 1, index, 1, *entries_of(1, after=index))), [])
        self.assertEqual(len(peer.disk.pending), 3)
        for index in (2, 3, 4):
            self.assertEqual(peer.finish_write(), [Message(APPEND_REPLY, 2, 1, 1, index=index)])
            self.assertEqual(peer.group.stable, index)

    def test_a_promise_about_older_writes_waits_for_them(self) -> None:
        """A repeated append writes nothing, but what it agrees with is on its way."""
        peer = self.follower()
        message = append(2, 1, 1, 1, *entries_of(1, after=1))
        peer.step(message)
        self.assertEqual(peer.step(message), [])
        self.assertEqual(len(peer.disk.pending), 2)
        peer.finish_write()
        self.assertEqual(peer.finish_write(), [Message(APPEND_REPLY, 2, 1, 1, index=2)])
        self.assertEqual(len(peer.step(message)), 1)

    def test_vote_waits(self) -> None:
        peer = self.follower()
        self.assertEqual(peer.step(Message(VOTE, 1, 3, 2, log_term=1, index=1)), [])
        self.assertEqual(peer.finish_writes(), [Message(VOTE_REPLY, 3, 1, 2)])

    def test_a_refusal_of_a_new_term_waits_for_the_term(self) -> None:
        peer = self.follower()
        self.assertEqual(peer.step(Message(HEARTBEAT, 1, 3, 2, round=1)), [])
        self.assertEqual(peer.finish_writes(), [Message(HEARTBEAT_REPLY, 3, 1, 2, round=1)])

    def test_own_vote_is_forgotten_with_its_term(self) -> None:
        """A write that ends when another term has begun is no vote in that."""
        peer = Peer(1, voters=(1, 2))
        peer.lazy_disk = True
        peer.group.campaign(0)
        peer.pump()
        peer.group.campaign(0)
        peer.pump()
        peer.finish_write()
        self.assertEqual((peer.role, peer.group.term), ("candidate", 2))
        peer.step(Message(VOTE_REPLY, 1, 2, 2))
        self.assertEqual(peer.role, "candidate")
        peer.finish_writes()
        self.assertEqual(peer.role, "leader")

    def test_late_write_of_replaced_entries(self) -> None:
        """The end of a write of entries that were replaced since makes nothing durable."""
        peer = self.follower()
        peer.step(append(2, 1, 1, 1, *entries_of(1, 1, after=1)))
        peer.step(append(3, 2, 1, 1, *entries_of(2, after=1)))
        peer.finish_write()
        self.assertEqual((peer.group.stable, peer.group.last), (1, 2))
        peer.finish_write()
        self.assertEqual(peer.group.stable, 2)

    def test_late_write_of_entries_that_came_back(self) -> None:
        """
        Entries that were replaced, and restored by a third leader, aren't durable because their first write ended.

        The replacement's write comes in between: a crash after it would lose them.
        """
        peer = self.follower()
        old = entries_of(1, after=1)
        peer.step(append(2, 1, 1, 1, *old))
        peer.step(append(3, 2, 1, 1, *entries_of(2, after=1)))
        peer.step(append(4, 3, 1, 1, *old))
        self.assertEqual(peer.log[1], (1, b"2"))
        self.assertEqual(peer.finish_write(), [Message(APPEND_REPLY, 2, 1, 1, index=2)])
        self.assertEqual(peer.group.stable, 1)
        peer.finish_write()
        self.assertEqual(peer.group.stable, 1)
        self.assertEqual(peer.finish_write(), [Message(APPEND_REPLY, 4, 1, 3, index=2)])
        self.assertEqual(peer.group.stable, 2)

    def test_crash_between_writes(self) -> None:
        """After a crash there's what was durable, and the term of every promise that left."""
        peer = self.follower()
        peer.step(append(2, 1, 1, 1, *entries_of(1, after=1)))
        sent = peer.finish_write()
        peer.step(append(3, 2, 2, 1, *entries_of(2, after=2)))
        peer.crash()
        self.assertEqual(sent, [Message(APPEND_REPLY, 2, 1, 1, index=2)])
        self.assertEqual((peer.group.last, peer.group.term), (2, 1))

    def test_commit_index_becomes_durable_with_entries(self) -> None:
        """A change in the log together with the knowledge that the one before it is committed, see L{Ready}."""
        peer = self.follower()
        peer.step(append(2, 1, 1, 1, *entries_of(1, after=1), commit=1))
        self.assertEqual(peer.readies[-1].hard_state, (1, 0, 1))
        peer.finish_writes()
        count = len(peer.readies)
        peer.step(append(2, 1, 2, 1, commit=2))
        self.assertEqual([ready.hard_state for ready in peer.readies[count:]], [None] * (len(peer.readies) - count))

    def test_leader_steps_down_with_writes_under_way(self) -> None:
        """What it had not written is replaced, and what it wrote late counts for nothing."""
        peer = Peer(1)
        make_leader(peer)
        peer.lazy_disk = True
        peer.group.propose([b"lost"])
        peer.pump()
        sent = peer.step(append(3, 2, 1, 1, *entries_of(2, after=1)))
        self.assertEqual(sent, [])
        peer.finish_write()
        self.assertEqual(peer.group.stable, 1)
        self.assertEqual(peer.finish_writes(), [Message(APPEND_REPLY, 3, 1, 2, index=2)])
