"""Followers whose entries have been cut off the leader's log get a snapshot (the paper, section 7)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.raft.network import PLAIN, Network, Peer, accept_all, make_leader, peer_with
from tinykv.raft.membership import Membership
from tinykv.raft.messages import APPEND, APPEND_REPLY, HEARTBEAT_REPLY, SNAPSHOT, Entry, Message, SnapshotMeta
from tinykv.raft.progress import PROBE, REPLICATE
from tinykv.raft.progress import SNAPSHOT as SENDING

META = SnapshotMeta(11, 11, Membership((1, 2, 3)))


def snapshot(meta: SnapshotMeta = META, term: int = 12) -> Message:
    """Make a snapshot message to peer 1."""
    return Message(SNAPSHOT, 1, 2, term, snapshot=meta)


class FollowerTests(SynchronousTestCase):
    """What a follower does with a snapshot."""

    def test_restore(self) -> None:
        """It takes the place of the log and of the membership."""
        peer = Peer(1, voters=(1, 2))
        sent = peer.step(snapshot())
        group = peer.group
        self.assertEqual((group.last, group.term_of(11), group.committed, group.applied), (11, 11, 11, 11))
        self.assertEqual((group.membership, group.leader_id), (META.membership, 2))
        self.assertEqual(sent, [Message(APPEND_REPLY, 2, 1, 12, index=11)])

    def test_answer_waits_for_the_installation(self) -> None:
        """Until it's durable nothing is applied, nothing promised, and there's no campaign."""
        peer = Peer(1)
        peer.lazy_disk = True
        self.assertEqual(peer.step(snapshot()), [])
        entries = (Entry(12, 12, 0, b"x"),)
        self.assertEqual(peer.step(Message(APPEND, 1, 2, 12, 11, 11, 12, entries)), [])
        self.assertEqual((peer.group.appliable, peer.group.applied, peer.data), (0, 0, []))
        self.assertFalse(peer.group.campaign(0))
        sent = peer.finish_writes()
        self.assertEqual([message.index for message in sent], [11, 12])
        self.assertEqual((peer.group.applied, peer.data), (12, [b"x"]))

    def test_entries_handed_out_before(self) -> None:
        """What the host was still applying when the snapshot came may still be reported."""
        peer = Peer(1)
        peer.lazy_apply = True
        peer.step(Message(APPEND, 1, 2, 1, commit=2, entries=(Entry(1, 1, 0, b"a"), Entry(2, 1, 0, b"b"))))
        peer.lazy_disk = True
        peer.step(snapshot())
        peer.apply(1)
        self.assertEqual(peer.group.applied, 1)
        peer.finish_writes()
        peer.apply()
        self.assertEqual(peer.group.applied, 11)

    def test_ignore_what_the_log_has(self) -> None:
        """A snapshot of what is committed changes nothing; the answer says how far this is."""
        peer = peer_with((1, 1, 1), commit=3)
        sent = peer.step(snapshot(SnapshotMeta(2, 1, Membership((1,))), 1))
        self.assertEqual((peer.group.last, peer.group.membership), (3, Membership((1, 2, 3))))
        self.assertEqual(sent, [Message(APPEND_REPLY, 2, 1, 1, index=3)])

    def test_what_the_log_has_is_committed(self) -> None:
        """A snapshot of an entry that is in the log says that it's committed."""
        peer = peer_with((1, 1, 1), commit=1)
        peer.step(snapshot(SnapshotMeta(2, 1, Membership((1, 2, 3))), 1))
        self.assertEqual((peer.group.last, peer.group.committed), (3, 2))
        self.assertEqual([ready.snapshot for ready in peer.readies], [None] * len(peer.readies))

    def test_membership_of_a_snapshot(self) -> None:
        """Who isn't in it is no member any more."""
        peer = Peer(1, voters=(2, 3, 4))
        peer.step(snapshot())
        self.assertEqual(peer.group.membership.voters, (1, 2, 3))

    def test_a_newer_snapshot(self) -> None:
        """One that comes while another is being installed takes its place."""
        peer = Peer(1)
        peer.lazy_disk = True
        peer.step(snapshot())
        peer.step(snapshot(META._replace(index=15)))
        peer.finish_write()
        self.assertEqual((peer.group.applied, peer.group.stable), (0, 0))
        peer.finish_write()
        self.assertEqual((peer.group.applied, peer.group.stable), (15, 15))

    def test_crash_before_the_installation(self) -> None:
        peer = Peer(1)
        peer.lazy_disk = True
        peer.step(snapshot())
        peer.crash()
        self.assertEqual((peer.group.last, peer.group.committed), (0, 0))


class LeaderTests(SynchronousTestCase):
    """What a leader does with a follower that is behind its log."""

    def leader(self) -> Peer:
        """Return a leader whose log begins behind index 3; peer 2 has all, peer 3 nothing."""
        peer = peer_with((1, 1, 1), commit=3)
        peer.pump()
        peer.disk.compact(3)
        peer.start()
        make_leader(peer)
        accept_all(peer, 2)
        return peer

    def rejected(self, peer: Peer) -> list[Message]:
        """Have peer 3 say that it has nothing."""
        sent = peer.step(Message(APPEND_REPLY, 1, 3, 2, index=3, reject=True))
        return [message for message in sent if message.to == 3]

    def test_a_snapshot_instead_of_entries(self) -> None:
        """One message; then nothing, until it's known how that ended."""
        peer = self.leader()
        meta = SnapshotMeta(3, 1, Membership((1, 2, 3)))
        self.assertEqual(self.rejected(peer), [Message(SNAPSHOT, 3, 1, 2, snapshot=meta)])
        progress = peer.group.progress()[3]
        self.assertEqual((progress.state, progress.snapshot), (SENDING, 3))
        peer.group.propose([b"a"])
        self.assertEqual([message for message in peer.pump() if message.to == 3], [])
        self.assertEqual(peer.step(Message(HEARTBEAT_REPLY, 1, 3, 2)), [])

    def test_arrived(self) -> None:
        """The follower goes on behind the snapshot when it's heard of."""
        peer = self.leader()
        self.rejected(peer)
        peer.group.snapshot_done(3, True)
        self.assertEqual(peer.pump(), [])
        progress = peer.group.progress()[3]
        self.assertEqual((progress.state, progress.next), (PROBE, 4))
        sent = peer.step(Message(APPEND_REPLY, 1, 3, 2, index=3))
        self.assertEqual([(message.kind, message.index, message.to) for message in sent], [(APPEND, 3, 3)])
        self.assertEqual(progress.state, REPLICATE)

    def test_the_answer_comes_before_the_report(self) -> None:
        peer = self.leader()
        self.rejected(peer)
        peer.step(Message(APPEND_REPLY, 1, 3, 2, index=3))
        self.assertEqual(peer.group.progress()[3].state, REPLICATE)
        peer.group.snapshot_done(3, False)
        self.assertEqual(peer.group.progress()[3].state, REPLICATE)

    def test_failed(self) -> None:
        """It's sent again, but not before the follower is heard of."""
        peer = self.leader()
        self.rejected(peer)
        peer.group.snapshot_done(3, False)
        self.assertEqual(peer.pump(), [])
        sent = peer.step(Message(HEARTBEAT_REPLY, 1, 3, 2))
        self.assertEqual([message.kind for message in sent], [SNAPSHOT])

    def test_none_available(self) -> None:
        """The next answer to a heartbeat asks again."""
        peer = self.leader()
        offered, peer.disk.offered = peer.disk.offered, None
        self.assertEqual(self.rejected(peer), [])
        self.assertEqual(peer.step(Message(HEARTBEAT_REPLY, 1, 3, 2)), [])
        peer.disk.offered = offered
        self.assertEqual([m.kind for m in peer.step(Message(HEARTBEAT_REPLY, 1, 3, 2))], [SNAPSHOT])

    def test_not_to_who_is_gone(self) -> None:
        """Who wasn't heard of for long gets no snapshot until it is."""
        peer = self.leader()
        peer.group.progress()[3].active = False
        peer.group.progress()[3].next = 2
        peer.group.propose([b"a"])
        sent = peer.step(Message(APPEND_REPLY, 1, 2, 2, index=5))
        self.assertEqual([message for message in sent if message.kind == SNAPSHOT], [])
        self.assertEqual([m.kind for m in peer.step(Message(HEARTBEAT_REPLY, 1, 3, 2))], [SNAPSHOT])

    def test_a_slow_peer_catches_up(self) -> None:
        network = Network(3)
        network.elect(1)
        network.isolate(3)
        for number in range(20):
            network.propose(b"%d" % number)
        network[1].disk.compact(network[1].group.applied)
        network[1].group.unreachable(3)
        network.heal()
        network.tick(2, only=[1])
        network.propose(b"after")
        self.assertEqual(network[3].group.committed, network[1].group.committed)
        self.assertEqual(network[3].disk.base, (21, 1))
        self.assertEqual(network[3].data, [b"after"])

    def test_reports_of_strangers(self) -> None:
        peer = self.leader()
        peer.group.snapshot_done(9, True)
        self.assertEqual(peer.pump(), [])
        Peer(1, PLAIN).group.snapshot_done(2, True)
