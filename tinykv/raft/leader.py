"""
What a leader does in its term: replicate, commit, show that it still leads, hand over.

One L{Leader} lives for one term of one peer; what it knows of others ends with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tinykv.raft.config import RaftConfig
from tinykv.raft.lease import Lease
from tinykv.raft.log import Compacted, RaftLog
from tinykv.raft.membership import Change, ImpossibleChange, Membership, changed, everyone, votes_in
from tinykv.raft.messages import (
    APPEND,
    CHANGE,
    HEARTBEAT,
    NORMAL,
    QUIESCE,
    READ_INDEX_REPLY,
    SNAPSHOT,
    TIMEOUT_NOW,
    Entry,
    Message,
)
from tinykv.raft.progress import PROBE, REPLICATE, Progress
from tinykv.raft.quorum import agreed, present
from tinykv.raft.reads import LeaderReads, Question
from tinykv.raft.refusals import ChangeRefused, Overloaded, TransferRefused, Transferring
from tinykv.raft.wire import encode_change

#: When a leader has heard of itself, for the lease.
_ALWAYS: Final = float("inf")

#: Questions of other peers that may wait at once; more are rejected, and asked again.
MAX_QUESTIONS: Final = 1024


class Leader:
    """
    A leader's knowledge and duties.

    @ivar first: Index of the entry that opened the term. Only when that is committed is all known that was committed
        before (the paper, section 8), and only entries from there on are committed by counting (section 5.4.2).
    @ivar progress: What is known of each member's log, the leader's own included.
    @ivar target: To whom leadership is being handed over, or 0.
    @ivar lease: See L{Leader.lease_valid}.
    @ivar reads: Who waits to know that this still leads.
    @ivar answers: Reads of the own host that were answered: (context, index).
    """

    __slots__ = (
        "_changed_at",
        "_config",
        "_heartbeat_elapsed",
        "_log",
        "_membership",
        "_others",
        "_out",
        "_peer",
        "_quorum_elapsed",
        "_round",
        "_term",
        "_transfer_elapsed",
        "_uncommitted",
        "answers",
        "first",
        "lease",
        "progress",
        "reads",
        "target",
    )

    def __init__(
        self, peer: int, term: int, config: RaftConfig, log: RaftLog, membership: Membership, out: list[Message]
    ) -> None:
        """
        Open the term by appending its first entry, which is empty.

        @param out: Where messages go.
        """
        self._peer = peer
        self._term = term
        self._config = config
        self._log = log
        self._membership = membership
        self._out = out
        self._heartbeat_elapsed = config.heartbeat_ticks  # the lease needs a round soon
        self._quorum_elapsed = 0
        self._transfer_elapsed = 0
        self._round = 0
        # Bytes of this term's entries that aren't committed.
        self._uncommitted = 0
        # The last entry that may be a change: until it's applied, no other is proposed. Of what is in the log from
        # before nothing is known, so it counts as one.
        self._changed_at = log.last
        self.first = log.last + 1
        self.target = 0
        self.lease = Lease(config.lease, config.tick / 2)
        self.reads = LeaderReads()
        self.answers: list[tuple[object, int]] = []
        self.progress = {member: Progress(config, self.first) for member in sorted(everyone(membership))}
        self._others = self._without_self()
        log.append([Entry(self.first, term, NORMAL, b"")])
        self.stable()

    def _without_self(self) -> list[tuple[int, Progress]]:
        """List the other members."""
        return [(member, progress) for member, progress in self.progress.items() if member != self._peer]

    # Proposals

    def propose(self, datas: Sequence[bytes]) -> range:
        """
        Append entries; return their indexes.

        @raise Transferring: Leadership is being handed over.
        @raise Overloaded: Too much waits to be committed.
        """
        if self.target:
            raise Transferring(self.target)
        assert datas, "there's nothing to propose"
        size = sum(map(len, datas))
        if self._uncommitted and self._uncommitted + size > self._config.max_uncommitted_bytes:
            raise Overloaded(self._uncommitted)
        self._uncommitted += size
        index = self._log.last + 1
        term = self._term
        self._log.append([Entry(place, term, NORMAL, data) for place, data in enumerate(datas, index)])
        return range(index, index + len(datas))

    def propose_change(self, change: Change) -> int:
        """
        Append an entry that changes the membership when it's applied; return its index (R17).

        @raise ChangeRefused: No entry of this term is committed yet (a change proposed before could be decided by
            majorities that don't overlap); or the change before isn't applied; or this one is impossible.
        @raise Transferring: Leadership is being handed over.
        """
        if self.target:
            raise Transferring(self.target)
        if not self.established:
            raise ChangeRefused("the leader has committed nothing in its term yet")
        if self._changed_at > self._log.applied:
            raise ChangeRefused("the change before this one isn't applied yet")
        try:
            changed(self._membership, change)
        except ImpossibleChange as error:
            raise ChangeRefused(str(error)) from None
        index = self._log.last + 1
        data = encode_change(change)
        self._uncommitted += len(data)
        self._log.append([Entry(index, self._term, CHANGE, data)])
        self._changed_at = index
        return index

    def no_change_before(self, index: int) -> None:
        """Refuse changes until an entry has been applied: who is added then begins behind what it did."""
        self._changed_at = max(self._changed_at, index)

    def leave_joint(self) -> None:
        """Propose to leave a joint configuration that is to be left by itself, as soon as that's allowed."""
        if (
            self._membership.auto_leave
            and self.established
            and not self.target
            and self._changed_at <= self._log.applied
        ):
            self.propose_change(Change(()))

    # Commit

    @property
    def established(self) -> bool:
        """Tell whether an entry of this term is committed."""
        return self._log.committed >= self.first

    def stable(self) -> None:
        """Learn that more of the own log is durable: the leader counts like everyone else (the thesis, 10.2.1)."""
        own = self.progress.get(self._peer)
        if own is not None:
            own.match = self._log.stable
            own.next = own.match + 1
            if own.match > self._log.committed:
                self._commit()

    def _commit(self) -> None:
        """Commit what a majority has, if it's of this term (the paper, section 5.4.2)."""
        log = self._log
        progress = self.progress
        index = agreed(self._membership, lambda voter: progress[voter].match)
        if index > log.committed and index >= self.first:
            if self._uncommitted:
                self._uncommitted -= log.uncommitted_bytes(max(log.committed + 1, self.first), index + 1)
            log.commit_to(index)

    # What is said to the others

    def speak(self, now: float, tell: int) -> None:
        """
        Say what there is to say at the end of a turn: one round for all reads, and each peer its entries.

        @param tell: Who doesn't know it to be committed up to here is told, even if there are no entries for him.
        """
        if self.reads.waiting and self.established:
            self.beat(now)
        last = self._log.last
        if tell < self._changed_at <= self._log.committed:
            # A member that a change removes hears of it now or never: when it's applied here, nothing is sent there.
            tell = self._changed_at
        shared: dict[int, tuple[tuple[Entry, ...], int]] = {}
        for peer, progress in self._others:
            if progress.next <= last or progress.due or progress.commit < tell:
                self._replicate(peer, progress, shared)

    def _replicate(self, peer: int, progress: Progress, shared: dict[int, tuple[tuple[Entry, ...], int]]) -> None:
        """
        Send a peer appends as far as it may get them.

        @param shared: Entries and their size by first index: peers that get the same entries get the same tuple.
        """
        log = self._log
        last, committed = log.last, log.committed
        while not progress.paused:
            following = progress.next
            previous = following - 1
            if following > last and not progress.due and progress.commit >= min(committed, previous):
                return
            if previous == 0 and log.copies_first and peer in self._membership.learners:
                self._send_snapshot(peer, progress)
                return
            try:
                log_term = log.term(previous)
                found = shared.get(following)
                if found is None:
                    found = (), 0
                    if following <= last:
                        found = log.entries(following, last + 1, self._config.max_append_bytes)
                    shared[following] = found
            except Compacted:
                self._send_snapshot(peer, progress)
                return
            entries, size = found
            self._out.append(Message(APPEND, peer, self._peer, self._term, log_term, previous, committed, entries))
            progress.sent(len(entries), size, committed)
            if previous + len(entries) == last:
                return

    def _send_snapshot(self, peer: int, progress: Progress) -> None:
        """Send a snapshot in the place of entries that have been cut off, to a peer that is there to take it."""
        snapshot = self._log.newest_snapshot() if progress.active else None
        if snapshot is None:
            # The answer to a heartbeat asks again.
            progress.due = False
            progress.waiting = True
            return
        self._out.append(Message(SNAPSHOT, peer, self._peer, self._term, snapshot=snapshot))
        progress.snapshot_sent(snapshot.index)

    def beat(self, now: float) -> None:
        """Send everyone a heartbeat: a new round, which serves the lease and all reads that wait."""
        self._heartbeat_elapsed = 0
        self._round += 1
        self.lease.sent(self._round, now)
        if self.reads.waiting and self.established:
            self.reads.asked(self._round, self._log.committed)
        for peer, _ in self._others:
            self._out.append(Message(HEARTBEAT, peer, self._peer, self._term, round=self._round))
        self._round_answered()

    def _round_answered(self) -> None:
        """Look how far a majority has come in answering rounds: for the lease, and for reads."""
        progress = self.progress
        own = self._peer
        self.lease.start = agreed(
            self._membership, lambda voter: _ALWAYS if voter == own else progress[voter].heard_from
        )
        if self.reads.open:
            current = self._round
            answered = agreed(self._membership, lambda voter: current if voter == own else progress[voter].round)
            for index, question in self.reads.answered(answered):
                self._answer(question, index)

    def _answer(self, question: Question, index: int) -> None:
        """Tell who asked which index their read has to see."""
        peer, context = question
        if not peer:
            self.answers.append((context, index))
        elif isinstance(context, int):
            progress = self.progress.get(peer)
            if progress is not None and progress.commit < index:
                # It can't answer before it knows this.
                progress.due = True
            self._out.append(Message(READ_INDEX_REPLY, peer, self._peer, self._term, round=context, index=index))

    # What the others say

    def on_append_reply(self, message: Message) -> None:
        """Learn where a peer's log agrees, or doesn't."""
        progress = self.progress.get(message.sender)
        if progress is None or message.index > self._log.last:
            return  # of no member, or of no log that this leader could have written
        progress.active = True
        if message.reject:
            hint, _ = self._log.last_not_beyond(message.hint_index, message.hint_term)
            progress.rejected(message.index, hint)
        elif progress.accepted(message.index):
            if progress.match > self._log.committed:
                self._commit()
            if message.sender == self.target and progress.match == self._log.last:
                self._let_campaign()

    def on_heartbeat_reply(self, message: Message) -> None:
        """Learn that a peer takes this for its leader, as of the round that it answers."""
        progress = self.progress.get(message.sender)
        if progress is None or message.round > self._round:
            return
        # What it knows as committed falls back when the message with the news was lost.
        lacks_commit = message.commit < min(progress.match, self._log.committed)
        if lacks_commit:
            progress.commit = min(progress.commit, message.commit)
        # A probe that was lost is sent again though nothing is lacking: it's what ends the probing.
        progress.heard(lacks_commit or progress.match < self._log.last or progress.state == PROBE)
        if message.round > progress.round:
            progress.round = message.round
            progress.heard_from = max(progress.heard_from, self.lease.sent_at(message.round))
            self._round_answered()

    def on_read_index(self, message: Message) -> None:
        """Take a question of a peer, or reject it when too many wait."""
        if message.sender not in self.progress:
            return
        if len(self.reads.waiting) >= MAX_QUESTIONS:
            self._out.append(
                Message(READ_INDEX_REPLY, message.sender, self._peer, self._term, round=message.round, reject=True)
            )
        else:
            self.reads.waiting.append(Question(message.sender, message.round))

    def unreachable(self, peer: int) -> None:
        """Learn that messages to a peer were lost: what was sent ahead may not have arrived."""
        progress = self.progress.get(peer)
        if progress is not None and progress.state == REPLICATE:
            progress.probe()
            progress.due = False
            progress.waiting = True

    def snapshot_done(self, peer: int, arrived: bool) -> None:
        """Learn how the sending of a snapshot ended."""
        progress = self.progress.get(peer)
        if progress is not None:
            progress.snapshot_done(arrived)

    # Time

    def tick(self, now: float) -> bool:
        """
        Count a tick: send a heartbeat when it's time, give up a transfer that takes too long.

        @return: False when no majority has been heard of for an election timeout, so that this mustn't lead any more.
        """
        config = self._config
        if self.target:
            self._transfer_elapsed += 1
            if self._transfer_elapsed >= config.election_ticks:
                self.target = 0
        self._quorum_elapsed += 1
        if self._quorum_elapsed >= config.election_ticks:
            self._quorum_elapsed = 0
            if config.check_quorum and not self._majority_is_there():
                return False
        self._heartbeat_elapsed += 1
        if self._heartbeat_elapsed >= config.heartbeat_ticks:
            self.beat(now)
        self.leave_joint()
        return True

    def _majority_is_there(self) -> bool:
        """Tell whether a majority was heard of since this was asked last."""
        active = {peer for peer, progress in self.progress.items() if progress.active}
        active.add(self._peer)
        for progress in self.progress.values():
            progress.active = False
        return present(self._membership, active)

    def lease_valid(self, now: float) -> bool:
        """
        Tell whether the leader may answer reads at a time from what it has applied (R18).

        Besides the lease, an entry of this term must be applied: before, what was committed earlier may be missing.
        """
        return self._log.applied >= self.first and self._config.check_quorum and self.lease.valid(now)

    @property
    def lease_end(self) -> float:
        """Tell until when L{lease_valid} holds, if nothing else happens; minus infinity if it doesn't."""
        if self._log.applied >= self.first and self._config.check_quorum:
            return self.lease.end
        return float("-inf")

    # Handing over

    def transfer(self, target: int) -> None:
        """
        Hand leadership to a voter: bring its log up to date, then let it campaign (the thesis, section 3.10).

        No proposals are taken meanwhile. Naming oneself ends a transfer that is under way, naming another replaces it.

        @raise TransferRefused: The peer is no voter.
        """
        if target == self._peer:
            self.target = 0
            return
        if target not in self._membership.voters:
            raise TransferRefused(f"{target} is no voter")
        if target == self.target:
            return
        self.target = target
        self._transfer_elapsed = 0
        progress = self.progress[target]
        if progress.match == self._log.last:
            self._let_campaign()
        else:
            progress.due = True

    def _let_campaign(self) -> None:
        """Tell the target to campaign. Before that word leaves, the lease ends, for the rest of the term (R18)."""
        self.lease.surrender()
        self._out.append(Message(TIMEOUT_NOW, self.target, self._peer, self._term))

    # Membership and quiet

    def membership_is(self, membership: Membership) -> None:
        """Go on with another membership: with other majorities, more may be committed, answered or leased, or less."""
        self._membership = membership
        members = everyone(membership)
        for member in sorted(members - self.progress.keys()):
            # It gets time to be heard of before its silence counts.
            progress = self.progress[member] = Progress(self._config, self._log.last + 1)
            progress.active = True
        for member in self.progress.keys() - members:
            del self.progress[member]
        self._others = self._without_self()
        if self.target and self.target not in membership.voters:
            self.target = 0
        if votes_in(membership, self._peer):
            self._commit()
            self._round_answered()

    def quiesce(self) -> bool:
        """
        Tell everyone that nothing goes on, if that is so; tell whether it is.

        From then on no heartbeats are sent, so the lease ends.
        """
        log = self._log
        if (
            self.target
            or self.reads.open
            or self._membership.outgoing
            or not self.established
            or not log.applied == log.committed == log.last
            or not all(progress.match == log.last for progress in self.progress.values())
        ):
            return False
        for peer, _ in self._others:
            self._out.append(Message(QUIESCE, peer, self._peer, self._term, index=log.last, log_term=log.last_term))
        self.lease.pause()
        for progress in self.progress.values():
            progress.silent()
        return True

    def wake(self) -> None:
        """Go on after quiet times: speak at the next tick, and give the others time to be heard of."""
        self._heartbeat_elapsed = self._config.heartbeat_ticks
        self._quorum_elapsed = 0
