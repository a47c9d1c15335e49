"""What the Raft paper says, section by section, of one peer among others that the test speaks for."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.raft.network import PLAIN, Network, Peer, accept_all, make_candidate, make_leader, peer_with
from tinykv.raft.messages import (
    APPEND,
    APPEND_REPLY,
    HEARTBEAT,
    NORMAL,
    VOTE,
    VOTE_REPLY,
    Entry,
    Message,
)

ELECTION = PLAIN.election_ticks


def entry(index: int, term: int, data: bytes = b"x") -> Entry:
    """Make an entry."""
    return Entry(index, term, NORMAL, data)


def kinds(messages: list[Message]) -> list[tuple[int, int]]:
    """Return receivers and kinds of messages, in the receivers' order."""
    return sorted((message.to, message.kind) for message in messages)


def ticks_to_campaign(peer: Peer) -> int:
    """Tick until a new term begins; return how often that was."""
    term = peer.group.term
    for count in range(1, 3 * ELECTION):
        peer.tick()
        if peer.group.term > term:
            return count
    raise AssertionError("no election")


class TermTests(SynchronousTestCase):
    """Section 5.1: who sees a newer term adopts it and follows."""

    def check(self, peer: Peer) -> None:
        peer.step(Message(APPEND, 1, 2, 7))
        self.assertEqual((peer.group.term, peer.role, peer.group.leader_id), (7, "follower", 2))

    def test_follower_adopts_a_newer_term(self) -> None:
        self.check(Peer(1))

    def test_candidate_adopts_a_newer_term(self) -> None:
        peer = Peer(1)
        make_candidate(peer)
        self.check(peer)

    def test_leader_adopts_a_newer_term(self) -> None:
        peer = Peer(1)
        make_leader(peer)
        self.check(peer)

    def test_reject_stale_term(self) -> None:
        """A message of an older term has no effect but an answer with the newer one."""
        peer = peer_with((1, 2))
        sent = peer.step(Message(APPEND, 1, 2, 1, index=1, log_term=1, entries=(entry(2, 1, b"stale"),)))
        self.assertEqual(peer.log, [(1, b"1"), (2, b"2")])
        self.assertEqual([(message.term, message.reject) for message in sent], [(2, True)])


class ElectionTests(SynchronousTestCase):
    """Section 5.2."""

    def test_start_as_follower(self) -> None:
        peer = Peer(1)
        self.assertEqual((peer.role, peer.group.term, peer.group.leader_id), ("follower", 0, 0))

    def test_leader_sends_bare_heartbeats(self) -> None:
        peer = Peer(1)
        make_leader(peer)
        accept_all(peer, 2, 3)
        sent = peer.tick()
        expected = [Message(HEARTBEAT, to, 1, 1, round=1) for to in (2, 3)]
        self.assertEqual(sorted(sent), expected)

    def check_election(self, peer: Peer) -> None:
        """Within twice the election timeout: a new term, a vote for itself, requests to all others."""
        term = peer.group.term
        sent = []
        for _ in range(2 * ELECTION - 1):
            sent += peer.tick()
        self.assertEqual((peer.group.term, peer.role), (term + 1, "candidate"))
        self.assertEqual(peer.group.hard_state.vote, 1)
        # Who doesn't answer is asked again.
        self.assertEqual(sorted(set(kinds(sent))), [(2, VOTE), (3, VOTE)])

    def test_follower_starts_an_election(self) -> None:
        self.check_election(Peer(1))

    def test_candidate_starts_a_new_election(self) -> None:
        peer = Peer(1)
        make_candidate(peer)
        self.check_election(peer)

    def test_leader_election_in_one_round(self) -> None:
        for size, answers, role in (
            (1, {}, "leader"),
            (3, {2: True, 3: True}, "leader"),
            (3, {2: True}, "leader"),
            (5, {2: True, 3: True, 4: True, 5: True}, "leader"),
            (5, {2: True, 3: True, 4: True}, "leader"),
            (5, {2: True, 3: True}, "leader"),
            (3, {2: False, 3: False}, "follower"),
            (5, {2: False, 3: False, 4: False, 5: False}, "follower"),
            (5, {2: True, 3: False, 4: False, 5: False}, "follower"),
            (3, {}, "candidate"),
            (5, {2: True}, "candidate"),
            (5, {2: False, 3: False}, "candidate"),
            (5, {}, "candidate"),
        ):
            peer = Peer(1, voters=range(1, size + 1))
            make_candidate(peer)
            for voter, granted in answers.items():
                peer.step(Message(VOTE_REPLY, 1, voter, 1, reject=not granted))
            self.assertEqual((peer.role, peer.group.term), (role, 1), (size, answers))

    def test_follower_votes_once(self) -> None:
        for vote, candidate, reject in (
            (0, 2, False),
            (0, 3, False),
            (2, 2, False),
            (3, 3, False),
            (2, 3, True),
            (3, 2, True),
        ):
            peer = peer_with(term=1, vote=vote)
            sent = peer.step(Message(VOTE, 1, candidate, 1))
            self.assertEqual(sent, [Message(VOTE_REPLY, candidate, 1, 1, reject=reject)])

    def test_candidate_falls_back(self) -> None:
        for newer in (0, 1):
            peer = Peer(1)
            make_candidate(peer)
            peer.step(Message(APPEND, 1, 2, peer.group.term + newer))
            self.assertEqual((peer.role, peer.group.term, peer.group.leader_id), ("follower", 1 + newer, 2))

    def test_election_timeouts_are_random(self) -> None:
        """Of a follower and of a candidate all timeouts occur, from the least to less than twice that."""
        for candidate in (False, True):
            seen = set()
            for seed in range(200):
                peer = Peer(1, seed=seed)
                if candidate:
                    make_candidate(peer)
                seen.add(ticks_to_campaign(peer))
            self.assertEqual(seen, set(range(ELECTION, 2 * ELECTION)))

    def check_conflicts(self, candidates: bool) -> None:
        """Seldom do two of five campaign at once."""
        conflicts = 0
        for seed in range(200):
            peers = [Peer(peer, voters=range(1, 6), seed=seed) for peer in range(1, 6)]
            if candidates:
                for peer in peers:
                    make_candidate(peer)
            term = peers[0].group.term
            while not (campaigning := [peer for peer in peers if peer.group.term > term]):
                for peer in peers:
                    peer.tick()
            conflicts += len(campaigning) > 1
        self.assertLessEqual(conflicts / 200, 0.3)  # chance alone gives 0.23

    def test_followers_seldom_campaign_together(self) -> None:
        self.check_conflicts(candidates=False)

    def test_candidates_seldom_campaign_together(self) -> None:
        self.check_conflicts(candidates=True)


class ReplicationTests(SynchronousTestCase):
    """Section 5.3."""

    def leader(self, size: int = 3) -> Peer:
        """Return a leader whose first entry everyone has."""
        peer = Peer(1, voters=range(1, size + 1))
        make_leader(peer)
        accept_all(peer, *range(2, size + 1))
        return peer

    def test_leader_starts_replication(self) -> None:
        peer = self.leader()
        peer.lazy_disk = True
        peer.group.propose([b"some data"])
        sent = peer.pump()
        new = (entry(2, 1, b"some data"),)
        self.assertEqual((peer.group.last, peer.group.stable, peer.group.committed), (2, 1, 1))
        expected = [Message(APPEND, to, 1, 1, log_term=1, index=1, commit=1, entries=new) for to in (2, 3)]
        self.assertEqual(sorted(sent), expected)
        self.assertIs(sent[0].entries, sent[1].entries)
        self.assertEqual(peer.readies[-1].entries, new)

    def test_leader_commits_an_entry(self) -> None:
        """What a majority has is committed, applied, and told to all at once."""
        peer = self.leader()
        peer.group.propose([b"some data"])
        peer.pump()
        sent = peer.step(Message(APPEND_REPLY, 1, 2, 1, index=2))
        self.assertEqual(peer.group.committed, 2)
        self.assertEqual(peer.data, [b"some data"])
        self.assertEqual(
            [(message.to, message.kind, message.commit) for message in sorted(sent)], [(2, APPEND, 2), (3, APPEND, 2)]
        )

    def test_leader_acknowledges_commit(self) -> None:
        for size, acceptors, committed in (
            (1, (), True),
            (3, (), False),
            (3, (2,), True),
            (3, (2, 3), True),
            (5, (), False),
            (5, (2,), False),
            (5, (2, 3), True),
            (5, (2, 3, 4), True),
            (5, (2, 3, 4, 5), True),
        ):
            peer = self.leader(size)
            peer.group.propose([b"some data"])
            peer.pump()
            for acceptor in acceptors:
                peer.step(Message(APPEND_REPLY, 1, acceptor, 1, index=2))
            self.assertEqual(peer.group.committed == 2, committed, (size, acceptors))

    def test_leader_commits_preceding_entries(self) -> None:
        """With an entry of its term all before it are committed, those of earlier leaders included."""
        for terms in ((), (2,), (1, 2), (1,)):
            peer = peer_with(terms, term=2)
            make_leader(peer)
            peer.group.propose([b"some data"])
            peer.pump()
            accept_all(peer, 2)
            self.assertEqual(peer.group.committed, len(terms) + 2)
            self.assertEqual(list(peer.applied), list(range(1, len(terms) + 3)))
            self.assertEqual(peer.data[-1], b"some data")

    def test_follower_commits(self) -> None:
        """Up to what the message says and brings, in order."""
        for count, commit in ((1, 1), (2, 2), (2, 1), (2, 9)):
            peer = Peer(1)
            entries = tuple(entry(index, 1, b"%d" % index) for index in range(1, count + 1))
            peer.step(Message(APPEND, 1, 2, 1, commit=commit, entries=entries))
            self.assertEqual(peer.group.committed, min(commit, count))
            self.assertEqual(peer.data, [b"%d" % index for index in range(1, min(commit, count) + 1)])

    def test_follower_checks_what_comes_before(self) -> None:
        """An append is accepted if the log has the entry before it, and rejected with a hint if not."""
        accepted = Message(APPEND_REPLY, 2, 1, 3)
        rejected = accepted._replace(reject=True)
        for log_term, index, reply in (
            (0, 0, accepted._replace(index=1)),
            (1, 1, accepted._replace(index=1)),
            (2, 2, accepted._replace(index=2)),
            (1, 2, rejected._replace(index=2, hint_index=1, hint_term=1)),
            (3, 3, rejected._replace(index=3, hint_index=2, hint_term=2)),
        ):
            peer = peer_with((1, 2), commit=1)
            self.assertEqual(peer.step(Message(APPEND, 1, 2, 3, log_term=log_term, index=index)), [reply])

    def test_follower_appends_entries(self) -> None:
        """What conflicts is replaced, with all behind it, and must become durable again; what agrees stays."""
        for log_term, index, new, terms, unstable in (
            (2, 2, (3,), (1, 2, 3), (3,)),
            (1, 1, (3, 4), (1, 3, 4), (3, 4)),
            (0, 0, (1,), (1, 2), ()),
            (0, 0, (3,), (3,), (3,)),
        ):
            peer = peer_with((1, 2))
            entries = tuple(entry(place, term) for place, term in enumerate(new, index + 1))
            peer.step(Message(APPEND, 1, 2, 4, log_term=log_term, index=index, entries=entries))
            self.assertEqual(tuple(term for term, _ in peer.log), terms)
            self.assertEqual(tuple(entry.term for entry in peer.readies[-1].entries), unstable)

    def test_one_answer_to_each_append(self) -> None:
        peer = peer_with((1, 2))
        for message in (
            Message(APPEND, 1, 2, 3, log_term=2, index=2),
            Message(APPEND, 1, 2, 3, log_term=2, index=2, entries=(entry(3, 3), entry(4, 3))),
            Message(APPEND, 1, 2, 3, log_term=3, index=9),
        ):
            self.assertEqual(kinds(peer.step(message)), [(2, APPEND_REPLY)])

    def test_leader_brings_logs_in_line(self) -> None:
        """The paper's figure 7: whatever followers have, in the end they have what the leader has."""
        leading = (1, 1, 1, 4, 4, 5, 5, 6, 6, 6)
        for terms in (
            (1, 1, 1, 4, 4, 5, 5, 6, 6),
            (1, 1, 1, 4),
            (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),
            (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),
            (1, 1, 1, 4, 4, 4, 4),
            (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
        ):
            # The third peer has nothing but a vote: the leader needs it, since the second may have the longer log.
            follower = peer_with(terms, peer=2, term=max(terms), commit=0)
            network = Network([peer_with(leading, term=7), follower, peer_with(peer=3, term=7)])
            network.elect(1)
            network.propose(b"new")
            self.assertEqual(follower.log, network[1].log)
            self.assertEqual(len(follower.log), len(leading) + 2)


class SafetyTests(SynchronousTestCase):
    """Section 5.4."""

    def test_vote_request(self) -> None:
        """Section 5.4.1: a request has the end of the candidate's log, and goes to all others."""
        for terms in ((1,), (1, 2)):
            peer = peer_with(terms)
            sent = make_candidate(peer)
            term = terms[-1] + 1
            self.assertEqual(
                sorted(sent), [Message(VOTE, to, 1, term, log_term=terms[-1], index=len(terms)) for to in (2, 3)]
            )

    def test_voter(self) -> None:
        """Section 5.4.1: no vote for who has the less up-to-date log."""
        for terms, log_term, index, reject in (
            ((1,), 1, 1, False),
            ((1,), 1, 2, False),
            ((1, 1), 1, 1, True),
            ((1,), 2, 1, False),
            ((1,), 2, 2, False),
            ((1, 1), 2, 1, False),
            ((2,), 1, 1, True),
            ((2,), 1, 2, True),
            ((2, 1), 1, 1, True),
        ):
            peer = peer_with(sorted(terms), term=2)
            sent = peer.step(Message(VOTE, 1, 2, 3, log_term=log_term, index=index))
            self.assertEqual(sent, [Message(VOTE_REPLY, 2, 1, 3, reject=reject)], (terms, log_term, index))

    def test_only_entries_of_the_own_term_are_counted(self) -> None:
        """Section 5.4.2, figure 8: entries of earlier terms are never committed by counting."""
        for index, committed in ((1, 0), (2, 0), (3, 3)):
            peer = peer_with((1, 2), term=2)
            make_leader(peer)
            peer.step(Message(APPEND_REPLY, 1, 2, 3, index=index))
            self.assertEqual(peer.group.committed, committed)
