"""
One peer's part in consensus: terms, elections and following (the Raft paper, figure 2).

What a leader does besides is in L{tinykv.raft.leader}; how it all meets disk and network in L{tinykv.raft.group}.

Messages leave by two ways. What promises something that must survive a crash (a vote, that entries are there) waits
until the write that holds it is durable; so do requests for votes, because of what they say of the own log: were the
tail lost and the same term campaigned in again, late votes for the longer log would elect the shorter one. What
promises nothing leaves at once.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from random import Random
from typing import Final

from tinykv.errors import Fault
from tinykv.raft.config import RaftConfig
from tinykv.raft.leader import Leader
from tinykv.raft.log import RaftLog
from tinykv.raft.membership import Membership, votes_in
from tinykv.raft.messages import (
    APPEND,
    APPEND_REPLY,
    CHANGE,
    HEARTBEAT,
    HEARTBEAT_REPLY,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    QUIESCE,
    READ_INDEX,
    READ_INDEX_REPLY,
    SNAPSHOT,
    TIMEOUT_NOW,
    TRANSFER,
    VOTE,
    VOTE_REPLY,
    HardState,
    Message,
)
from tinykv.raft.quorum import LOST, WON, vote_result
from tinykv.raft.reads import FollowerReads, Question
from tinykv.raft.refusals import NotLeader, TransferRefused

#: What a peer is at the moment.
FOLLOWER: Final = 0
PRE_CANDIDATE: Final = 1
CANDIDATE: Final = 2
LEADER: Final = 3

#: For people.
ROLE_NAMES: Final = {FOLLOWER: "follower", PRE_CANDIDATE: "pre-candidate", CANDIDATE: "candidate", LEADER: "leader"}

#: Messages that only the leader of their term sends.
_OF_LEADERS: Final = frozenset((APPEND, HEARTBEAT, SNAPSHOT, QUIESCE))

#: Messages that say what their sender knows to be committed, for the sake of elections.
_OF_ELECTIONS: Final = frozenset((PRE_VOTE, PRE_VOTE_REPLY, VOTE, VOTE_REPLY))

_NEVER: Final = float("-inf")


class Core:
    """
    The state of one peer.

    @ivar term: The current term, and C{vote} whom it voted for in it.
    @ivar role: L{FOLLOWER}, L{PRE_CANDIDATE}, L{CANDIDATE} or L{LEADER}.
    @ivar leader_id: Who leads in this term as far as is known, or 0.
    @ivar leader: What a leader knows; None in the other roles.
    @ivar messages: What may be sent at once.
    @ivar promises: What may be sent when all that was to be written until now is durable.
    @ivar durable: Term and vote that are durable.
    @ivar answers: Reads that were answered: (context, index).
    @ivar lost_reads: Contexts of reads that won't be answered, and may be asked again.
    @ivar quiesced: Nothing goes on; ticks don't count until something comes.
    """

    __slots__ = (
        "_config",
        "_elapsed",
        "_forced",
        "_heard_at",
        "_questions",
        "_quiet_until",
        "_random",
        "_suspects",
        "_ticks",
        "_timeout",
        "_votes",
        "answers",
        "durable",
        "leader",
        "leader_id",
        "log",
        "lost_reads",
        "membership",
        "messages",
        "peer",
        "promises",
        "quiesced",
        "role",
        "term",
        "vote",
    )

    def __init__(
        self,
        peer: int,
        config: RaftConfig,
        random: Random,
        log: RaftLog,
        hard_state: HardState,
        membership: Membership,
        quiet_until: float,
    ) -> None:
        """
        @param random: Where election timeouts come from.
        @param membership: As of the last entry that was applied.
        @param quiet_until: Until when it neither votes nor campaigns, unless it's the only voter: after a start, one
            lease, since whom it had heard of before is forgotten (R18).
        """
        self.peer = peer
        self.term = hard_state.term
        self.vote = hard_state.vote
        self.durable = (self.term, self.vote)
        self.log = log
        self.membership = membership
        self.role = FOLLOWER
        self.leader_id = 0
        self.leader: Leader | None = None
        self.messages: list[Message] = []
        self.promises: list[Message] = []
        self.answers: list[tuple[object, int]] = []
        self.lost_reads: list[object] = []
        self.quiesced = False
        self._config = config
        self._random = random
        self._quiet_until = quiet_until
        self._heard_at = _NEVER
        self._ticks = 0
        self._elapsed = 0
        self._timeout = self._draw_timeout()
        self._votes: dict[int, bool] = {}
        #: Whether the leader of before asked for the election that is under way.
        self._forced = False
        #: Whether the leader is said to be gone, and wasn't heard of since.
        self._suspects = False
        self._questions = FollowerReads(random.getrandbits(48))

    def _draw_timeout(self) -> int:
        """Choose after how many ticks to campaign, so that seldom two peers do it together (the paper, 5.2)."""
        return self._random.randrange(self._config.election_ticks, 2 * self._config.election_ticks)

    # Roles

    def follow(self, term: int, leader: int) -> None:
        """Become a follower, in a term, of a leader if one is known."""
        if term != self.term:
            self.term = term
            self.vote = 0
        self._end_role()
        self.role = FOLLOWER
        if leader != self.leader_id:
            self.leader_id = leader
            self.lost_reads += self._questions.abandoned()

    def _end_role(self) -> None:
        """Forget what only counted in the last role."""
        self._elapsed = 0
        self._timeout = self._draw_timeout()
        self._votes = {}
        self._suspects = False
        self.quiesced = False
        leader = self.leader
        if leader is not None:
            self.leader = None
            self.answers += leader.answers
            for peer, context in leader.reads.abandoned():
                if not peer:
                    self.lost_reads.append(context)
                elif isinstance(context, int):
                    self.messages.append(
                        Message(READ_INDEX_REPLY, peer, self.peer, self.term, round=context, reject=True)
                    )

    def campaign(self, now: float, forced: bool = False) -> bool:
        """
        Begin an election, unless that isn't allowed now; tell whether it began.

        @param forced: The leader asked for it: others vote although they hear of a leader, and needn't be asked
            before.
        """
        if self.role == LEADER or not self._may_campaign(now) or (self._hears_of_leader(now) and not forced):
            return False
        if self._config.pre_vote and not forced:
            self._ask_before_campaign()
        else:
            self._ask_for_votes(forced)
        return True

    def _may_campaign(self, now: float) -> bool:
        """
        Tell whether this peer may become the leader.

        A change that is committed and not applied here could mean that other majorities decide already (R17).
        """
        return (
            votes_in(self.membership, self.peer)
            and not self._is_quiet(now)
            and self.log.snapshot is None
            and not self._has_unapplied_change()
        )

    def _is_quiet(self, now: float) -> bool:
        """Tell whether it's too soon after the start to vote or campaign."""
        return now < self._quiet_until and not (self.membership.voters == (self.peer,) and not self.membership.outgoing)

    def _has_unapplied_change(self) -> bool:
        """Tell whether a change is committed and not applied."""
        low, end = self.log.applied + 1, self.log.committed + 1
        while low < end:
            entries, _ = self.log.entries(low, end, self._config.max_append_bytes)
            if any(entry.kind == CHANGE for entry in entries):
                return True
            low = entries[-1].index + 1
        return False

    def _ask_before_campaign(self) -> None:
        """Ask who would vote for this peer, in the same term and without a vote (the thesis, section 9.6)."""
        self.follow(self.term, 0)
        self.role = PRE_CANDIDATE
        self._ask()
        self._count_vote(self.peer, True)

    def _ask_for_votes(self, forced: bool = False) -> None:
        """Begin a term as its candidate. The own vote counts when it's durable, like everyone's."""
        self.follow(self.term + 1, 0)
        self.role = CANDIDATE
        self.vote = self.peer
        self._forced = forced
        self._ask()

    def _ask(self) -> None:
        """Ask those who haven't answered: the question may have been lost, or come while a leader was heard of."""
        log = self.log
        last, last_term = log.last, log.last_term
        committed = log.committed
        committed_term = log.term(committed)
        before = self.role == PRE_CANDIDATE
        for voter in self._other_voters():
            if voter not in self._votes:
                (self.messages if before else self.promises).append(
                    Message(
                        PRE_VOTE if before else VOTE,
                        voter,
                        self.peer,
                        self.term + 1 if before else self.term,
                        index=last,
                        log_term=last_term,
                        hint_index=committed,
                        hint_term=committed_term,
                        force=self._forced and not before,
                    )
                )

    def _other_voters(self) -> list[int]:
        """List who else has a vote."""
        return sorted({*self.membership.voters, *self.membership.outgoing} - {self.peer})

    def _count_vote(self, voter: int, granted: bool) -> None:
        """Count an answer; go on if that decides the election."""
        if not votes_in(self.membership, voter):
            return
        self._votes.setdefault(voter, granted)
        result = vote_result(self.membership, self._votes)
        if result == WON:
            if self.role == PRE_CANDIDATE:
                self._ask_for_votes()
            else:
                self._lead()
        elif result == LOST:
            self.follow(self.term, 0)

    def _lead(self) -> None:
        """Become the leader."""
        self._end_role()
        self.role = LEADER
        self.leader_id = self.peer
        self.leader = Leader(self.peer, self.term, self._config, self.log, self.membership, self.messages)

    # Time

    def tick(self, now: float) -> None:
        """Count a tick."""
        if self.quiesced:
            return
        self._ticks += 1
        leader = self.leader
        if leader is not None:
            if not leader.tick(now):
                self.follow(self.term, 0)
            return
        self.lost_reads += self._questions.expired(self._ticks - self._config.election_ticks)
        self._elapsed += 1
        if self._elapsed >= self._timeout and not self._hears_of_leader(now):
            self._elapsed = 0
            self._timeout = self._draw_timeout()
            self.campaign(now)
        elif self.role != FOLLOWER and self._elapsed % self._config.heartbeat_ticks == 0:
            self._ask()

    def suspect_leader(self, now: float) -> None:
        """
        Learn that the leader may be gone, as when the connection to its store has ended.

        It may be there all the same and count on this peer's silence, which is kept. When that is over the next tick,
        or one of a few behind it, begins a campaign, unless the leader was heard of again.
        """
        if self.role != FOLLOWER or not self.leader_id or self._suspects:
            return
        self.wake()
        self._suspects = True
        config = self._config
        left = ceil(max(0.0, self._heard_at + config.silence - now) / config.tick) if config.check_quorum else 0
        stagger = self._random.randrange(1, 1 + len(self.membership.voters)) if self.membership.voters else 1
        self._timeout = min(self._timeout, self._elapsed + left + stagger)

    def _hears_of_leader(self, now: float) -> bool:
        """
        Tell whether a leader may count on this peer's silence (the thesis, section 4.2.3, and R18).

        By the clock, as leases are: ticks may come late and then close together.
        """
        return self._config.check_quorum and now < self._heard_at + self._config.silence

    def wake(self) -> None:
        """End quiet times: somebody has something to say, or the leader is said to be gone."""
        if self.quiesced:
            self.quiesced = False
            self._elapsed = 0
            if self.leader is not None:
                self.leader.wake()

    def quiesce(self) -> bool:
        """Have the whole group fall silent if nothing goes on; tell whether it does. Only a leader can do that."""
        if self.leader is not None and not self.quiesced and self.leader.quiesce():
            self.quiesced = True
        return self.quiesced

    # Messages

    def step(self, message: Message, now: float) -> None:
        """
        Take a message.

        @raise Fault: It can't be unless someone has lost what was promised.
        """
        if message.to != self.peer or message.sender == self.peer:
            return
        if self.quiesced and message.kind != QUIESCE:
            self.wake()
            if message.kind in (PRE_VOTE, VOTE):
                # Most likely the others are quiet too, and the one that asks only missed that word. The leader is
                # woken by the same question; it gets the time to say that it's there.
                self._heard_at = now
        if message.kind in _OF_ELECTIONS:
            self._learn_committed(message)
        term = message.term
        if term > self.term:
            if not self._meet_newer_term(message, now):
                return
        elif term < self.term:
            self._meet_older_term(message)
            return
        if message.kind in _OF_LEADERS:
            self._hear_leader(message, now)
        _STEPS[message.kind](self, message, now)

    def _meet_newer_term(self, message: Message, now: float) -> bool:
        """Adopt a newer term, where the message shows that it has begun; tell whether the message counts."""
        kind = message.kind
        if kind in (PRE_VOTE, VOTE) and not message.force and self._stands_by_leader(now):
            return False
        if kind != PRE_VOTE and (kind != PRE_VOTE_REPLY or message.reject):
            self.follow(message.term, message.sender if kind in _OF_LEADERS else 0)
        return True

    def _stands_by_leader(self, now: float) -> bool:
        """Tell whether a candidate is to be ignored because there's a leader."""
        if self._hears_of_leader(now):
            return True
        return self._config.check_quorum and (
            self.role == LEADER
            or (self.leader_id != 0 and self._elapsed < self._config.election_ticks and not self._suspects)
        )

    def _meet_older_term(self, message: Message) -> None:
        """Tell a leader or candidate of an older term of this one, so that it steps down; the rest is too late."""
        kind, sender = message.kind, message.sender
        if kind == HEARTBEAT or kind == QUIESCE:
            self._reply(Message(HEARTBEAT_REPLY, sender, self.peer, self.term, commit=self.log.committed))
        elif kind == APPEND or kind == SNAPSHOT:
            self._reply(Message(APPEND_REPLY, sender, self.peer, self.term, index=message.index, reject=True))
        elif kind == PRE_VOTE:
            self._reply(self._vote(PRE_VOTE_REPLY, sender, self.term, reject=True))
        elif kind == VOTE:
            self._reply(self._vote(VOTE_REPLY, sender, self.term, reject=True))

    def _hear_leader(self, message: Message, now: float) -> None:
        """Follow the sender of a message that only the leader of this term sends."""
        if self.role == LEADER:
            raise Fault(f"peer {message.sender} leads in term {self.term}, as this one does")
        if self.role != FOLLOWER or self.leader_id != message.sender or self._suspects:
            self.follow(self.term, message.sender)
        self._elapsed = 0
        self._heard_at = now

    def _on_append(self, message: Message, now: float) -> None:
        """Take entries, and answer once (the paper, section 5.3)."""
        log = self.log
        index = message.index
        if index < log.committed:
            self.promises.append(Message(APPEND_REPLY, message.sender, self.peer, self.term, index=log.committed))
            return
        last = log.merge(index, message.log_term, message.entries)
        if last is None:
            hint_index, hint_term = log.last_not_beyond(index, message.log_term)
            self._reply(
                Message(
                    APPEND_REPLY,
                    message.sender,
                    self.peer,
                    self.term,
                    index=index,
                    reject=True,
                    hint_index=hint_index,
                    hint_term=hint_term,
                )
            )
            return
        # What lies behind the entries of this message may be another leader's.
        log.commit_to(min(message.commit, last))
        self.promises.append(Message(APPEND_REPLY, message.sender, self.peer, self.term, index=last))

    def _on_append_reply(self, message: Message, now: float) -> None:
        """Pass it to the leader."""
        if self.leader is not None:
            self.leader.on_append_reply(message)

    def _on_heartbeat(self, message: Message, now: float) -> None:
        """Answer; whether the log agrees isn't known, so nothing is committed by it."""
        self._reply(
            Message(
                HEARTBEAT_REPLY, message.sender, self.peer, self.term, round=message.round, commit=self.log.committed
            )
        )

    def _on_heartbeat_reply(self, message: Message, now: float) -> None:
        """Pass it to the leader."""
        if self.leader is not None:
            self.leader.on_heartbeat_reply(message)

    def _on_pre_vote(self, message: Message, now: float) -> None:
        """
        Say whether this peer would vote for the sender. That is no vote, and may be said to many.

        Of two that ask at the same time one would so become a candidate for nothing, and take its vote from the other:
        the one with the lesser log or number leaves it to the other.
        """
        willing = (
            message.term > self.term
            and not self._is_quiet(now)
            and self.log.is_up_to_date(message.index, message.log_term)
        )
        if willing:
            self.messages.append(self._vote(PRE_VOTE_REPLY, message.sender, message.term))
            own = (self.term + 1, self.log.last_term, self.log.last, self.peer)
            if self.role == PRE_CANDIDATE and own < (message.term, message.log_term, message.index, message.sender):
                self.follow(self.term, 0)
        else:
            self._reply(self._vote(PRE_VOTE_REPLY, message.sender, self.term, reject=True))

    def _on_vote(self, message: Message, now: float) -> None:
        """Vote for the sender, or not (the paper, sections 5.2 and 5.4.1)."""
        sender = message.sender
        free = self.vote == sender or (self.vote == 0 and self.leader_id == 0)
        if free and not self._is_quiet(now) and self.log.is_up_to_date(message.index, message.log_term):
            self.vote = sender
            self._elapsed = 0
            self.promises.append(self._vote(VOTE_REPLY, sender, self.term))
        else:
            self._reply(self._vote(VOTE_REPLY, sender, self.term, reject=True))

    def _vote(self, kind: int, candidate: int, term: int, reject: bool = False) -> Message:
        """
        Make the answer to a candidate, which says what is committed as well, whether it's a vote or not.

        It may be that only the candidate can be elected any more, and doesn't know it: a change that is committed has
        taken the vote from all whose logs are longer. When it learns that, the others' votes aren't needed.
        """
        committed = self.log.committed
        return Message(
            kind, candidate, self.peer, term, index=committed, log_term=self.log.term(committed), reject=reject
        )

    def _learn_committed(self, message: Message) -> None:
        """
        Learn what is committed from whoever asks for a vote or answers; what is stays so, whatever the term.

        As long as a change of who votes isn't known to be committed everywhere, its voters may wait for votes that
        nobody gives any more; but a majority of them knows, and some of those are asked or ask. If it changes who
        votes, the election that is under way here is void (R17).
        """
        log = self.log
        index, term = message.index, message.log_term
        if message.kind == VOTE or message.kind == PRE_VOTE:
            index, term = message.hint_index, message.hint_term
        if index > log.committed and log.matches(index, term):
            log.commit_to(index)
            if (self.role == CANDIDATE or self.role == PRE_CANDIDATE) and self._has_unapplied_change():
                self.follow(self.term, 0)

    def _on_pre_vote_reply(self, message: Message, now: float) -> None:
        """Count an answer. One that was granted carries the term that was asked for."""
        if self.role == PRE_CANDIDATE and message.term == self.term + (not message.reject):
            self._count_vote(message.sender, not message.reject)

    def _on_vote_reply(self, message: Message, now: float) -> None:
        """Count an answer."""
        if self.role == CANDIDATE:
            self._count_vote(message.sender, not message.reject)

    def _on_snapshot(self, message: Message, now: float) -> None:
        """Take a snapshot in the place of the log, unless the log has all of it (the paper, section 7)."""
        snapshot = message.snapshot
        assert snapshot is not None, "a snapshot stands for something"
        log = self.log
        if snapshot.index > log.committed:
            if log.matches(snapshot.index, snapshot.term):
                log.commit_to(snapshot.index)
            else:
                log.restore(snapshot)
                self.membership = snapshot.membership
        self.promises.append(Message(APPEND_REPLY, message.sender, self.peer, self.term, index=log.committed))

    def _on_timeout_now(self, message: Message, now: float) -> None:
        """Campaign at once: the leader wants to hand over."""
        self.campaign(now, forced=True)

    def _on_transfer(self, message: Message, now: float) -> None:
        """Hand over as a peer asks, if that can be."""
        if self.leader is not None and message.sender in self.leader.progress:
            try:
                self.leader.transfer(message.target)
            except TransferRefused:
                return  # the one that asked sees that nothing happens, as it would if its message were lost

    def _on_read_index(self, message: Message, now: float) -> None:
        """Pass it to the leader, or say that there's none here."""
        if self.leader is not None:
            self.leader.on_read_index(message)
        else:
            self.messages.append(
                Message(READ_INDEX_REPLY, message.sender, self.peer, self.term, round=message.round, reject=True)
            )

    def _on_read_index_reply(self, message: Message, now: float) -> None:
        """Learn the index for reads that were passed on."""
        contexts = self._questions.answered(message.round)
        if message.reject:
            self.lost_reads += contexts
        else:
            self.answers += [(context, message.index) for context in contexts]

    def _on_quiesce(self, message: Message, now: float) -> None:
        """Fall silent, if this log is the leader's, all of which is committed. If not, the answer wakes the leader."""
        log = self.log
        if log.last == message.index and log.last_term == message.log_term:
            log.commit_to(message.index)
            self.quiesced = True
        else:
            self._reply(Message(HEARTBEAT_REPLY, message.sender, self.peer, self.term, commit=log.committed))

    # What the host asks

    def transfer_leader(self, target: int) -> None:
        """
        Hand leadership over, or ask the leader to.

        @raise NotLeader: No leader is known.
        @raise TransferRefused: The target is no voter.
        """
        if self.leader is not None:
            self.leader.transfer(target)
        elif self.leader_id:
            self.messages.append(Message(TRANSFER, self.leader_id, self.peer, self.term, target=target))
        else:
            raise NotLeader(0)

    def read_index(self, context: object) -> None:
        """
        Ask which index a read has to see; the answer comes with a later turn.

        @raise NotLeader: No leader is known.
        """
        if self.leader is not None:
            self.leader.reads.waiting.append(Question(0, context))
        elif self.leader_id:
            self._questions.waiting.append(context)
        else:
            raise NotLeader(0)

    def speak(self, now: float, tell: int) -> None:
        """Say what there is to say at the end of a turn; see L{tinykv.raft.leader.Leader.speak}."""
        leader = self.leader
        if leader is not None:
            leader.speak(now, tell)
            if leader.answers:
                self.answers += leader.answers
                leader.answers = []
        elif self._questions.waiting:
            self.messages.append(
                Message(READ_INDEX, self.leader_id, self.peer, self.term, round=self._questions.asked(self._ticks))
            )

    def persisted(self, durable: tuple[int, int]) -> None:
        """
        Learn that term and vote, and some of the log, are durable.

        @param durable: The latest (term, vote) that is.
        """
        self.durable = durable
        if self.role == CANDIDATE and durable == (self.term, self.peer):
            self._count_vote(self.peer, True)
        elif self.leader is not None:
            self.leader.stable()

    def membership_is(self, membership: Membership) -> None:
        """Go on with another membership. A leader that has no vote in it any more steps down (the thesis, 4.2.2)."""
        self.membership = membership
        if self.leader is not None:
            self.leader.membership_is(membership)
            if not votes_in(membership, self.peer):
                self.follow(self.term, 0)

    # Sending

    def _reply(self, message: Message) -> None:
        """Send a message that promises nothing but its term: it waits until that is durable (R6)."""
        (self.messages if self.durable[0] == self.term else self.promises).append(message)


_STEPS: Final[dict[int, Callable[[Core, Message, float], None]]] = {
    APPEND: Core._on_append,
    APPEND_REPLY: Core._on_append_reply,
    HEARTBEAT: Core._on_heartbeat,
    HEARTBEAT_REPLY: Core._on_heartbeat_reply,
    PRE_VOTE: Core._on_pre_vote,
    PRE_VOTE_REPLY: Core._on_pre_vote_reply,
    VOTE: Core._on_vote,
    VOTE_REPLY: Core._on_vote_reply,
    SNAPSHOT: Core._on_snapshot,
    TIMEOUT_NOW: Core._on_timeout_now,
    TRANSFER: Core._on_transfer,
    READ_INDEX: Core._on_read_index,
    READ_INDEX_REPLY: Core._on_read_index_reply,
    QUIESCE: Core._on_quiesce,
}
