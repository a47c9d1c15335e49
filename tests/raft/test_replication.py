"""Entries on their way through a group: what is committed, what is lost, and how logs come together again."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.raft.network import FULL, PLAIN, Network, Peer, accept_all, make_candidate, make_leader, peer_with
from tinykv.errors import Damaged, Fault
from tinykv.raft.membership import REMOVE, Change, Step
from tinykv.raft.messages import (
    APPEND,
    APPEND_REPLY,
    HEARTBEAT,
    HEARTBEAT_REPLY,
    NORMAL,
    VOTE,
    Entry,
    HardState,
    Message,
)
from tinykv.raft.progress import PROBE, REPLICATE
from tinykv.raft.refusals import NotLeader, Overloaded


def entries_of(*terms: int, after: int = 0) -> tuple[Entry, ...]:
    """Make entries of some terms behind an index."""
    return tuple(Entry(index, term, NORMAL, b"%d" % index) for index, term in enumerate(terms, after + 1))


class CommitTests(SynchronousTestCase):
    """What a majority has is committed (the paper, sections 5.3 and 5.4)."""

    def test_log_replication(self) -> None:
        """What was proposed is committed everywhere, in order, over changes of the leader."""
        network = Network(3)
        network.elect(1)
        network.propose(b"first")
        self.assertEqual([peer.data for peer in network.peers.values()], [[b"first"]] * 3)
        network.elect(2)
        network.propose(b"second")
        self.assertEqual([peer.data for peer in network.peers.values()], [[b"first", b"second"]] * 3)
        self.assertEqual([peer.group.committed for peer in network.peers.values()], [4] * 3)

    def test_lone_peer_commits(self) -> None:
        network = Network([Peer(1, voters=(1,))])
        network.elect(1)
        network.propose(b"a", b"b")
        self.assertEqual((network[1].group.committed, network[1].data), (3, [b"a", b"b"]))

    def test_nothing_without_a_majority(self) -> None:
        """Earlier entries aren't committed by a new leader until one of its own is (section 5.4.2)."""
        network = Network(5)
        network.elect(1)
        network.isolate(3, 4, 5)
        network.propose(b"one", b"two")
        self.assertEqual(network[1].group.committed, 1)
        network.heal()
        network.lost = lambda message: message.kind == APPEND
        network.elect(2)
        self.assertEqual(network[2].group.committed, 1)
        network.heal()
        network.tick(only=[2])
        self.assertEqual(network[2].group.committed, 4)

    def test_the_entry_that_opens_a_term_commits_those_before(self) -> None:
        network = Network(5)
        network.elect(1)
        network.isolate(3, 4, 5)
        network.propose(b"one", b"two")
        network.heal()
        network.elect(2)
        self.assertEqual([peer.group.committed for peer in network.peers.values()], [4] * 5)
        self.assertEqual(network[5].data, [b"one", b"two"])

    def test_the_answer_to_a_heartbeat_brings_appends(self) -> None:
        """A follower that missed appends gets them when it answers a heartbeat."""
        network = Network(5)
        network.elect(1)
        network.isolate(3, 4, 5)
        network.propose(b"one", b"two")
        self.assertEqual(network[1].group.committed, 1)
        network.heal()
        network.tick(only=[1])
        self.assertEqual([peer.group.committed for peer in network.peers.values()], [3] * 5)

    def test_a_lost_commit_index_is_told_again(self) -> None:
        """Who has all entries and doesn't know that they are committed learns it after a heartbeat."""
        network = Network(3)
        network.elect(1)
        network.lost = lambda message: message.to == 3 and message.commit == 2
        network.propose(b"one")
        network.heal()
        self.assertEqual(network[3].group.committed, 1)
        network.tick(only=[1])
        self.assertEqual(network[3].group.committed, 2)

    def test_proposal(self) -> None:
        """It's committed exactly if a majority is there."""
        for down, size, committed in (
            ((), 3, True),
            ((3,), 3, True),
            ((2, 3), 3, False),
            ((3, 4, 5), 5, False),
            ((4, 5), 5, True),
        ):
            network = Network(size)
            network.elect(1)
            network.isolate(*down)
            network.propose(b"some data")
            self.assertEqual(network[1].data == [b"some data"], committed)

    def test_only_a_leader_proposes(self) -> None:
        peer = Peer(1)
        self.assertEqual(self.assertRaises(NotLeader, peer.group.propose, [b""]).leader, 0)
        peer.step(Message(APPEND, 1, 2, 1))
        self.assertEqual(self.assertRaises(NotLeader, peer.group.propose, [b""]).leader, 2)
        make_candidate(peer)
        self.assertRaises(NotLeader, peer.group.propose, [b""])

    def test_progress_of_the_leader(self) -> None:
        """A leader counts its own log like others', as far as it's durable."""
        peer = Peer(1)
        make_leader(peer)
        self.assertEqual((peer.group.progress()[1].match, peer.group.progress()[1].next), (1, 2))
        peer.lazy_disk = True
        peer.group.propose([b"a"])
        peer.pump()
        self.assertEqual(peer.group.progress()[1].match, 1)
        peer.finish_writes()
        self.assertEqual((peer.group.progress()[1].match, peer.group.progress()[1].next), (2, 3))

    def test_leader_advances_next(self) -> None:
        """Replicating, the leader sends ahead; probing, it waits for the answer."""
        for state, following in ((REPLICATE, 3), (PROBE, 1)):
            peer = Peer(1)
            make_leader(peer)
            if state == REPLICATE:
                accept_all(peer, 2)
            peer.group.propose([b"some data"])
            peer.pump()
            progress = peer.group.progress()[2]
            self.assertEqual((progress.state, progress.next), (state, following))


class AppendTests(SynchronousTestCase):
    """What a follower does with appends."""

    def test_table(self) -> None:
        """A log of terms 1 and 2 meets appends of a leader in term 2."""
        for index, log_term, commit, new, last, committed, reject in (
            (2, 3, 3, (), 2, 0, True),
            (3, 3, 3, (), 2, 0, True),
            (1, 1, 1, (), 2, 1, False),
            (0, 0, 1, (2,), 1, 1, False),
            (2, 2, 3, (2, 2), 4, 3, False),
            (2, 2, 4, (2,), 3, 3, False),
            (1, 1, 4, (2,), 2, 2, False),
            (1, 1, 3, (), 2, 1, False),
            (1, 1, 3, (2,), 2, 2, False),
            (2, 2, 3, (), 2, 2, False),
            (2, 2, 4, (), 2, 2, False),
        ):
            peer = peer_with((1, 2), term=2)
            message = Message(APPEND, 1, 2, 2, log_term, index, commit, entries_of(*new, after=index))
            sent = peer.step(message)
            self.assertEqual((peer.group.last, peer.group.committed), (last, committed), message)
            self.assertEqual([reply.reject for reply in sent], [reject])

    def test_old_messages(self) -> None:
        """An append of an earlier term of a leader that leads again changes nothing."""
        network = Network(3)
        for candidate in (1, 2, 1):
            network.elect(candidate)
        network.send([Message(APPEND, 1, 2, 2, index=2, log_term=2, entries=entries_of(2, after=2))])
        network.settle()
        network.propose(b"some data")
        self.assertEqual(network[1].log, [(1, b""), (2, b""), (3, b""), (3, b"some data")])
        self.assertEqual(network[1].log, network[3].log)

    def test_heartbeats_commit_nothing(self) -> None:
        """A follower's log may differ from the leader's although it hears of it."""
        network = Network(3)
        network.elect(1)
        network.isolate(1)
        network[1].group.propose([b"a", b"b", b"c"])
        network.settle()
        network.elect(2)
        network.propose(b"x")
        network.heal()
        network.lost = lambda message: message.kind == APPEND
        network.tick(only=[2])
        self.assertEqual((network[1].role, network[1].group.committed), ("follower", 1))
        network.heal()
        network.tick(only=[2])
        self.assertEqual(network[1].data, [b"x"])

    def test_duplicates_dont_truncate(self) -> None:
        """An older append that is a prefix of the log takes nothing from it."""
        peer = Peer(1)
        message = Message(APPEND, 1, 2, 1, entries=entries_of(1, 1, 1))
        peer.step(message)
        peer.step(message._replace(entries=message.entries[:1]))
        self.assertEqual(peer.group.last, 3)

    def test_before_what_is_committed(self) -> None:
        """The answer to an append before the commit index says how much agrees."""
        peer = peer_with((1, 1, 1), commit=2)
        sent = peer.step(Message(APPEND, 1, 2, 2, index=1, log_term=1, entries=entries_of(2, after=1)))
        self.assertEqual(sent, [Message(APPEND_REPLY, 2, 1, 2, index=2)])
        self.assertEqual(peer.log[1], (1, b"2"))

    def test_another_entry_in_the_place_of_a_committed_one(self) -> None:
        """Then something that was promised is lost, and nothing may go on."""
        peer = peer_with((1, 1, 1), commit=2)
        self.assertRaises(Damaged, peer.group._log.merge, 0, 0, entries_of(1, 2))

    def test_two_leaders_in_a_term(self) -> None:
        peer = Peer(1)
        make_leader(peer)
        self.assertRaises(Fault, peer.step, Message(APPEND, 1, 2, 1))


class HintTests(SynchronousTestCase):
    """Few questions find where logs agree (the paper, section 5.3, at its end)."""

    def questions(self, leading: tuple[int, ...], following: tuple[int, ...]) -> int:
        """Return how many appends a new leader sends until the follower's log agrees."""
        term = max(*leading, *following)
        network = Network([peer_with(leading, term=term), peer_with(following, peer=2, term=term), Peer(3)])
        network.elect(1)
        self.assertEqual(network[1].log, network[2].log)
        appends = [message for message in network.sent if message.kind == APPEND and message.to == 2]
        return next(place for place, message in enumerate(appends) if message.commit)

    def test_a_short_log(self) -> None:
        self.assertEqual(self.questions((1,) * 50, (1,) * 3), 2)

    def test_terms_that_the_leader_doesnt_have(self) -> None:
        self.assertEqual(self.questions((1,) + (4,) * 50, (1,) + (2,) * 40), 2)

    def test_terms_that_the_follower_doesnt_have(self) -> None:
        self.assertEqual(self.questions((1, 1) + (3,) * 40 + (5,) * 3, (1,) * 60), 2)

    def test_alternating_terms(self) -> None:
        self.assertLessEqual(self.questions((1, 1, 1, 3, 3, 3, 5, 5, 5), (1, 2, 2, 2, 4, 4, 4, 4, 4)), 4)


class FlowTests(SynchronousTestCase):
    """How much is on its way, and waits."""

    def leader(self, **choices: int) -> Peer:
        """Return a leader of three with which peer 2 is in step."""
        peer = Peer(1, replace(PLAIN, **choices))
        make_leader(peer)
        accept_all(peer, 2)
        return peer

    def appends(self, messages: list[Message], to: int = 2) -> list[int]:
        """Return how many entries each append to a peer has."""
        return [len(message.entries) for message in messages if message.to == to and message.kind == APPEND]

    def test_size_of_appends(self) -> None:
        """Entries are cut at the limit; a larger one goes alone."""
        peer = self.leader(max_append_bytes=10)
        peer.group.propose([b"12345", b"12345", b"1", b"123456789abc", b"1"])
        self.assertEqual(self.appends(peer.pump()), [2, 1, 1, 1])

    def test_window_of_messages(self) -> None:
        peer = self.leader(max_inflight_messages=2)
        sent = []
        for _ in range(4):
            peer.group.propose([b"a"])
            sent += peer.pump()
        self.assertEqual(self.appends(sent), [1, 1])
        self.assertEqual(self.appends(peer.step(Message(APPEND_REPLY, 1, 2, 1, index=2)))[:1], [2])

    def test_window_of_bytes(self) -> None:
        """What reaches the limit still goes."""
        peer = self.leader(max_inflight_bytes=10)
        sent = []
        for _ in range(4):
            peer.group.propose([b"12345"])
            sent += peer.pump()
        self.assertEqual(self.appends(sent), [1, 1])

    def test_a_heartbeat_answered_opens_a_full_window(self) -> None:
        """It may be full of appends that were lost."""
        peer = self.leader(max_inflight_messages=1)
        peer.group.propose([b"a"])
        peer.pump()
        self.assertEqual(self.appends(peer.step(Message(HEARTBEAT_REPLY, 1, 2, 1, commit=1))), [0])
        sent = peer.step(Message(APPEND_REPLY, 1, 2, 1, index=2, reject=True, hint_index=1, hint_term=1))
        self.assertEqual(self.appends(sent), [1])

    def test_one_probe_at_a_time(self) -> None:
        peer = self.leader()
        sent = []
        for _ in range(3):
            peer.group.propose([b"a"])
            sent += peer.pump()
        self.assertEqual(self.appends(sent, 3), [])
        self.assertEqual(self.appends(peer.step(Message(HEARTBEAT_REPLY, 1, 3, 1)), 3), [4])
        self.assertEqual(self.appends(peer.step(Message(HEARTBEAT_REPLY, 1, 3, 1)), 3), [4])

    def test_unreachable(self) -> None:
        """What was sent ahead may be lost: back to probing, from what is known."""
        peer = self.leader()
        peer.group.propose([b"a"])
        peer.pump()
        peer.group.unreachable(2)
        self.assertEqual(self.appends(peer.pump()), [])
        self.assertEqual(peer.group.progress()[2].state, PROBE)
        self.assertEqual(self.appends(peer.step(Message(HEARTBEAT_REPLY, 1, 2, 1, commit=1))), [1])
        peer.group.unreachable(9)

    def test_unreachable_with_nothing_to_send(self) -> None:
        """The probing ends though nothing is proposed: else a learner that has everything would count as behind."""
        peer = self.leader()
        peer.step(Message(APPEND_REPLY, 1, 2, 1, index=1))
        self.assertEqual(peer.group.progress()[2].state, REPLICATE)
        peer.group.unreachable(2)
        self.assertEqual(self.appends(peer.pump()), [])
        self.assertEqual(self.appends(peer.step(Message(HEARTBEAT_REPLY, 1, 2, 1, commit=1))), [0])
        peer.step(Message(APPEND_REPLY, 1, 2, 1, index=1))
        self.assertEqual(peer.group.progress()[2].state, REPLICATE)
        self.assertEqual(self.appends(peer.step(Message(HEARTBEAT_REPLY, 1, 2, 1, commit=1))), [])

    def test_a_turn_is_one_append(self) -> None:
        peer = self.leader()
        self.assertEqual(list(peer.group.propose([b"a", b"b"])), [2, 3])
        self.assertEqual(list(peer.group.propose([b"c"])), [4])
        self.assertEqual(self.appends(peer.pump()), [3])

    def test_commit_travels_with_entries(self) -> None:
        """No append of its own is sent for a commit index when entries go anyway."""
        peer = self.leader()
        peer.group.propose([b"a"])
        peer.pump()
        peer.group.step(Message(APPEND_REPLY, 1, 2, 1, index=2), 0.0)
        peer.group.propose([b"b"])
        appends = [message for message in peer.pump() if message.to == 2]
        self.assertEqual([(len(message.entries), message.commit) for message in appends], [(1, 2)])

    def test_commit_waits_for_entries(self) -> None:
        """Alone it's told when the host says up to where; entries take it along whatever the host says."""
        peer = self.leader()
        peer.group.propose([b"a"])
        peer.pump()
        for follower in (2, 3):
            peer.group.step(Message(APPEND_REPLY, 1, follower, 1, index=2), 0.0)
        ready = peer.group.ready(0)
        assert ready is not None
        self.assertEqual((ready.messages, [entry.index for entry in ready.committed]), ([], [2]))
        peer.group.applied_to(2)
        self.assertIsNone(peer.group.ready(0))
        peer.group.propose([b"b"])
        ready = peer.group.ready(0)
        assert ready is not None
        self.assertEqual([(len(message.entries), message.commit) for message in ready.messages], [(1, 2)] * 2)
        peer.disk.begin(ready)
        peer.finish_write()
        for follower in (2, 3):
            peer.group.step(Message(APPEND_REPLY, 1, follower, 1, index=3), 0.0)
        ready = peer.group.ready(3)
        assert ready is not None
        self.assertEqual([(len(message.entries), message.commit) for message in ready.messages], [(0, 3)] * 2)

    def test_a_committed_change_is_told_at_once(self) -> None:
        """Whoever it removes would never hear of it later, whatever the host says."""
        peer = self.leader()
        peer.group.propose_change(Change((Step(REMOVE, 3),)))
        peer.pump()
        for follower in (2, 3):
            peer.group.step(Message(APPEND_REPLY, 1, follower, 1, index=2), 0.0)
        ready = peer.group.ready(0)
        assert ready is not None
        self.assertEqual([(message.to, message.commit) for message in ready.messages], [(2, 2), (3, 2)])

    def test_uncommitted_limit(self) -> None:
        """Up to the limit proposals are taken, one byte more is refused; a first one always goes."""
        peer = self.leader(max_uncommitted_bytes=10)
        peer.group.propose([b"12345"])
        peer.group.propose([b"12345"])
        self.assertRaises(Overloaded, peer.group.propose, [b"1"])
        self.assertEqual(peer.group.last, 3)
        peer.pump()
        accept_all(peer, 2)
        peer.group.propose([b"123456789abc"])
        self.assertRaises(Overloaded, peer.group.propose, [b""])

    def test_answers_of_strangers_and_of_the_impossible(self) -> None:
        """Peers that aren't members, or say that they have what isn't there, change nothing."""
        peer = self.leader()
        peer.group.propose([b"a"])
        peer.pump()
        for message in (
            Message(APPEND_REPLY, 1, 9, 1, index=2),
            Message(HEARTBEAT_REPLY, 1, 9, 1),
            Message(APPEND_REPLY, 1, 2, 1, index=3),
            Message(HEARTBEAT_REPLY, 1, 2, 1, round=99),
        ):
            self.assertEqual(peer.step(message), [])
        self.assertEqual(peer.group.committed, 1)


class ReadyTests(SynchronousTestCase):
    """What the host gets to do."""

    def test_start(self) -> None:
        """A lone peer: a term, a vote, its first entry; a proposal; then nothing."""
        peer = Peer(1, voters=(1,))
        make_candidate(peer)
        peer.group.propose([b"foo"])
        peer.pump()
        written = [(ready.hard_state, ready.entries) for ready in peer.readies if ready.number]
        self.assertEqual(
            written,
            [
                (HardState(1, 1, 0), ()),
                (None, (Entry(1, 1, NORMAL, b""),)),
                (HardState(1, 1, 1), (Entry(2, 1, NORMAL, b"foo"),)),
            ],
        )
        self.assertEqual(peer.data, [b"foo"])
        self.assertIsNone(peer.group.ready())

    def test_restart(self) -> None:
        """What is committed and not applied is handed out, and nothing else."""
        peer = peer_with((1, 1), term=1, commit=1)
        ready = peer.group.ready()
        assert ready is not None
        self.assertEqual(ready.committed, entries_of(1))
        self.assertEqual(ready._replace(committed=()), (0, None, None, (), [], [], (), [], []))
        self.assertIsNone(peer.group.ready())

    def test_restart_from_a_snapshot(self) -> None:
        peer = peer_with((1, 1, 1), term=1, commit=3)
        peer.pump()
        peer.disk.compact(2)
        peer.disk.applied = 2
        peer.start()
        ready = peer.group.ready()
        assert ready is not None
        self.assertEqual([entry.index for entry in ready.committed], [3])
        self.assertIsNone(peer.group.ready())

    def test_impossible_starts(self) -> None:
        """A log that doesn't reach what is applied or committed isn't ours."""
        for applied, commit in ((3, 0), (0, 3)):
            peer = peer_with((1, 1))
            peer.disk.applied = applied
            peer.disk.hard_state = HardState(1, 0, commit)
            with self.assertRaises(Damaged):
                peer.group.__class__(
                    1,
                    PLAIN,
                    Random(1),
                    peer.disk,
                    peer.disk.hard_state,
                    peer.disk.membership,
                    applied,
                )

    def test_apply_in_portions(self) -> None:
        peer = Peer(1, replace(PLAIN, max_apply_bytes=2), voters=(1,))
        make_candidate(peer)
        peer.group.propose([b"a", b"b", b"c"])
        peer.pump()
        self.assertEqual([len(ready.committed) for ready in peer.readies if ready.committed], [1, 2, 1])

    def test_nothing_to_do(self) -> None:
        for config in (PLAIN, FULL):
            network = Network(3, config)
            network.elect(1)
            network.propose(b"a")
            self.assertEqual([peer.group.ready() for peer in network.peers.values()], [None] * 3)

    def test_vote_request_waits_for_its_write(self) -> None:
        """What it says of the log must be durable, see L{tinykv.raft.core}."""
        peer = Peer(1)
        peer.lazy_disk = True
        self.assertEqual(make_candidate(peer), [])
        self.assertEqual([message.kind for message in peer.finish_writes()], [VOTE, VOTE])

    def test_heartbeats_overtake(self) -> None:
        """What promises nothing doesn't wait for the disk."""
        peer = Peer(1)
        peer.step(Message(APPEND, 1, 2, 1, entries=entries_of(1)))
        peer.lazy_disk = True
        self.assertEqual(peer.step(Message(APPEND, 1, 2, 1, index=1, log_term=1, entries=entries_of(1, after=1))), [])
        sent = peer.step(Message(HEARTBEAT, 1, 2, 1, round=3))
        self.assertEqual(sent, [Message(HEARTBEAT_REPLY, 2, 1, 1, round=3)])
        self.assertEqual(peer.finish_writes(), [Message(APPEND_REPLY, 2, 1, 1, index=2)])
