"""
One peer of a group as its host sees it: messages and ticks go in, L{Ready} comes out, until there's nothing to do.

The host's duty for each L{Ready}, in any order but where said:

 1. Send C{messages}.
 2. If it has a C{number}: write what it holds, behind all writes before it, in one transaction. When that is durable,
    send its C{promises} and call L{Group.persisted} with the number. Many writes may be on their way.
 3. Apply C{committed}, call L{Group.apply_change} for changes among them, then L{Group.applied_to}.
 4. Answer C{reads} when their index is applied; ask again for C{lost_reads}.

Nothing here waits, reads a clock, or has chosen a random number by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from tinykv.raft.config import RaftConfig
from tinykv.raft.core import Core
from tinykv.raft.leader import Leader
from tinykv.raft.log import RaftLog, Storage
from tinykv.raft.membership import Change, Membership, applied
from tinykv.raft.messages import Entry, HardState, Message, SnapshotMeta
from tinykv.raft.progress import Progress
from tinykv.raft.refusals import NotLeader


class Read(NamedTuple):
    """
    A read that may be answered from what is applied up to an index.

    @ivar context: What the host gave to L{Group.read_index}.
    """

    context: object
    index: int  # type: ignore[assignment]  # a field hides tuple.index, which no one calls on this


class Ready(NamedTuple):
    """
    What is to be done now.

    @ivar number: What L{Group.persisted} is to be called with; 0 when nothing is to be written and no promise waits.
    @ivar hard_state: To be written, or None. When only its commit index has changed it comes along with entries, and
        must become durable with them: a peer that has a change in its log, and has forgotten that the change before it
        is committed, would campaign with a majority that no longer is one. It comes alone when a change is committed
        that is to be applied.
    @ivar snapshot: To be installed before the entries are written: it takes the place of the whole log.
    @ivar entries: To be written. They take the place of all that the log has from the first one's index on.
    @ivar messages: To be sent at once.
    @ivar promises: To be sent when this and all writes before are durable.
    @ivar committed: To be applied, in order: durable here, and decided; of changes that is durable here too, so that
        whoever has applied one never forgets that it was.
    @ivar reads: What may be answered when their index is applied.
    @ivar lost_reads: Contexts of reads that got no answer, since there's another leader or none.
    """

    number: int
    hard_state: HardState | None
    snapshot: SnapshotMeta | None
    entries: tuple[Entry, ...]
    messages: list[Message]
    promises: list[Message]
    committed: tuple[Entry, ...]
    reads: list[Read]
    lost_reads: list[object]


class Group:
    """One peer of one group."""

    __slots__ = ("_config", "_core", "_known", "_log", "_now", "_number", "_random", "_storage", "_told", "_writes")

    def __init__(
        self,
        peer: int,
        config: RaftConfig,
        random: Random,
        storage: Storage,
        hard_state: HardState,
        membership: Membership,
        applied: int,
        quiet_until: float = 0.0,
    ) -> None:
        """
        Begin as a follower, from what is on disk.

        @param random: Where election timeouts come from.
        @param membership: As of C{applied}.
        @param applied: The entry up to which the host has applied.
        @param quiet_until: Until when this peer neither votes nor campaigns, unless it's the only voter: after the
            start of its store, one L{lease<RaftConfig.lease>} of the longest kind.
        @raise tinykv.errors.Damaged: The log doesn't reach what is applied or committed.
        """
        self._config = config
        self._random = random
        self._storage = storage
        self._now = 0.0
        self._number = 0
        self._begin(peer, hard_state, membership, applied, quiet_until)

    def _begin(
        self, peer: int, hard_state: HardState, membership: Membership, applied: int, quiet_until: float
    ) -> None:
        self._log = RaftLog(self._storage, applied, hard_state.commit)
        self._core = Core(peer, self._config, self._random, self._log, hard_state, membership, quiet_until)
        self._told = HardState(hard_state.term, hard_state.vote, self._log.committed)
        # up to where it's durable what is committed
        self._known = hard_state.commit
        # (number, (term, vote), commit) of writes on their way
        self._writes: deque[tuple[int, tuple[int, int], int]] = deque()

    # What is so

    @property
    def peer(self) -> int:
        """This peer's id."""
        return self._core.peer

    @property
    def term(self) -> int:
        """The current term."""
        return self._core.term

    @property
    def role(self) -> int:
        """What this peer is: one of the roles of L{tinykv.raft.core}."""
        return self._core.role

    @property
    def leader_id(self) -> int:
        """Who leads, as far as is known, or 0."""
        return self._core.leader_id

    @property
    def standing(self) -> tuple[int, int, int]:
        """How the group stands, as this peer sees it: C{term}, C{leader_id} and C{role}."""
        core = self._core
        return core.term, core.leader_id, core.role

    @property
    def leads(self) -> bool:
        """Whether this peer is the leader, as far as it knows."""
        return self._core.leader is not None

    @property
    def membership(self) -> Membership:
        """Who belongs to the group, as of what is applied."""
        return self._core.membership

    @property
    def hard_state(self) -> HardState:
        """Term, vote and commit index of now, which need not be durable."""
        return HardState(self._core.term, self._core.vote, self._log.committed)

    @property
    def last(self) -> int:
        """Index of the last entry."""
        return self._log.last

    @property
    def stable(self) -> int:
        """Index up to which the log is durable."""
        return self._log.stable

    @property
    def committed(self) -> int:
        """Index up to which it is decided."""
        return self._log.committed

    @property
    def applied(self) -> int:
        """Index up to which the host has applied."""
        return self._log.applied

    @property
    def appliable(self) -> int:
        """Index up to which the host may apply: what is decided and durable here (R6)."""
        return min(self._log.committed, self._log.stable)

    @property
    def restoring(self) -> SnapshotMeta | None:
        """The snapshot that is taking the log's place and isn't durable yet."""
        return self._log.snapshot

    @property
    def copies_first(self) -> bool:
        """Whether this peer, when it leads, begins with a snapshot where a new member has nothing."""
        return self._log.copies_first

    @copies_first.setter
    def copies_first(self, copies: bool) -> None:
        self._log.copies_first = copies

    @property
    def quiesced(self) -> bool:
        """Whether the group is silent: ticks do nothing then."""
        return self._core.quiesced

    @property
    def transferring(self) -> int:
        """To whom leadership is being handed over, or 0."""
        return self._core.leader.target if self._core.leader is not None else 0

    def progress(self) -> dict[int, Progress]:
        """Return what a leader knows of each member's log, to look at; of others nothing."""
        return self._core.leader.progress if self._core.leader is not None else {}

    def term_of(self, index: int) -> int:
        """
        Return an entry's term.

        @raise tinykv.raft.log.Compacted: It has been cut off.
        """
        return self._log.term(index)

    @property
    def handed(self) -> int:
        """Index up to which entries were handed out to be applied."""
        return self._log.handed

    def entries(self, low: int, high: int, max_bytes: int) -> tuple[Entry, ...]:
        """
        Return entries of the log from low to before high: at least one, then as many as have so many bytes together.

        @raise tinykv.raft.log.Compacted: The first was cut off.
        """
        return self._log.entries(low, high, max_bytes)[0]

    def become(self, peer: int) -> None:
        """
        Learn which peer this is, before it has said anything: one that was made as 0, where the group is yet to get a
        peer, is named by the first message that comes for it.
        """
        assert not self._core.peer and peer, "a peer has one name"
        self._core.peer = peer

    def begin_anew(self, membership: Membership) -> None:
        """
        Become a peer that isn't there yet, and is named by L{become}: of the one that was here nothing is left, neither
        in the log nor of what it had promised.

        @param membership: Who belongs to the group before its first entry.
        """
        self._begin(0, HardState(0, 0, 0), membership, 0, 0.0)

    # What comes in

    def step(self, message: Message, now: float) -> None:
        """
        Take a message of another peer.

        @raise tinykv.errors.Fault: It can't be unless someone has lost what was promised; nothing goes on then.
        """
        self._now = now
        self._core.step(message, now)

    def tick(self, now: float) -> None:
        """Count a tick; one that comes late counts once."""
        self._now = now
        self._core.tick(now)

    def propose(self, datas: Sequence[bytes]) -> range:
        """
        Append entries; return their indexes. They are committed if the entries at these get this term.

        @raise tinykv.raft.refusals.Refused: L{NotLeader}, or leadership is being handed over, or too much waits.
        """
        return self._leader().propose(datas)

    def no_change_before(self, index: int) -> None:
        """Refuse changes of the membership until an entry of this leader's has been applied, as one that is such."""
        self._leader().no_change_before(index)

    def propose_change(self, change: Change) -> int:
        """
        Append an entry that changes the membership when it's applied; return its index.

        @raise tinykv.raft.refusals.Refused: L{NotLeader}, or leadership is being handed over, or
            L{tinykv.raft.refusals.ChangeRefused}.
        """
        return self._leader().propose_change(change)

    def _leader(self) -> Leader:
        """Return the leader's part, awake."""
        leader = self._core.leader
        if leader is None:
            raise NotLeader(self._core.leader_id)
        if self._core.quiesced:
            self._core.wake()
        return leader

    def campaign(self, now: float) -> bool:
        """
        Begin an election without waiting for the timeout; tell whether it began.

        It doesn't where a leader may count on this peer's silence, nor without a vote, nor with a committed change to
        be applied.
        """
        self._now = now
        self._core.wake()
        return self._core.campaign(now)

    def transfer_leader(self, target: int) -> None:
        """
        Hand leadership to a voter, or ask the leader to. It's given up after an election timeout.

        @raise tinykv.raft.refusals.Refused: L{NotLeader}, when none is known, or
            L{tinykv.raft.refusals.TransferRefused}.
        """
        self._core.wake()
        self._core.transfer_leader(target)

    def read_index(self, context: object) -> None:
        """
        Ask which index a read that comes now has to see; L{Ready} brings it back. Reads of a turn share one round.

        @raise NotLeader: No leader is known.
        """
        self._core.wake()
        self._core.read_index(context)

    def lease_valid(self, now: float) -> bool:
        """
        Tell whether this peer may answer a read at a time from what it has applied, without asking anyone (R18).

        @param now: The clock as read after the request had come.
        """
        leader = self._core.leader
        return leader is not None and leader.lease_valid(now)

    @property
    def lease_end(self) -> float:
        """Tell until when L{lease_valid} holds, if nothing else happens; minus infinity if it doesn't."""
        leader = self._core.leader
        return leader.lease_end if leader is not None else float("-inf")

    def suspect_leader(self, now: float) -> None:
        """
        Learn that the leader may be gone, as when the connection to its store has ended: an election begins as soon as
        the leader can't count on this peer's silence any more, unless it's heard of before.
        """
        self._now = now
        self._core.suspect_leader(now)

    def unreachable(self, peer: int) -> None:
        """Learn that messages to a peer got lost."""
        if self._core.leader is not None:
            self._core.leader.unreachable(peer)

    def snapshot_done(self, peer: int, arrived: bool) -> None:
        """Learn how the sending of a snapshot to a peer ended. Until then it gets nothing else."""
        if self._core.leader is not None:
            self._core.leader.snapshot_done(peer, arrived)

    def quiesce(self) -> bool:
        """Have the group fall silent if nothing goes on and all its logs are equal; tell whether it does."""
        return self._core.quiesce()

    def wake(self, now: float) -> None:
        """End the group's silence, as when the leader's store is said to be gone; a proposal or question does too."""
        self._now = now
        self._core.wake()

    # What was done

    def persisted(self, number: int) -> None:
        """
        Learn that the write of a L{Ready}, and all before it, are durable.

        A number stands for exactly one write, so that one which finishes after its entries were replaced doesn't
        count for what replaced them (see L{tinykv.raft.log}).
        """
        durable = self._core.durable
        while self._writes and self._writes[0][0] <= number:
            _, durable, self._known = self._writes.popleft()
        self._log.finish_write(number)
        self._core.persisted(durable)

    def apply_change(self, change: Change) -> Membership:
        """
        Apply a change of an entry that L{Ready} handed out; return what the membership now is.

        One that isn't possible any more changes nothing, on all peers alike. A host that refuses a change for its own
        reasons doesn't call this.
        """
        before = self._core.membership
        membership = applied(before, change)
        if membership is not before:
            self._core.membership_is(membership)
        return membership

    def applied_to(self, index: int) -> None:
        """Learn up to where the host has applied."""
        self._log.applied_to(index)
        if self._core.leader is not None:
            self._core.leader.leave_joint()

    # What goes out

    def ready(self, tell: int | None = None) -> Ready | None:
        """
        Return what is to be done, or None. What it holds counts as being done.

        @param tell: A leader tells the others what is committed along with entries. If there are none for them, it
            still tells those who don't know it up to here: a host that sees to it that this comes later may name 0.
            None for all of it.
        """
        core = self._core
        log = self._log
        core.speak(self._now, log.committed if tell is None else tell)
        if not (core.messages or core.promises) and self._rests():
            return None
        snapshot, entries = log.take_unwritten()
        committed = log.take_appliable(self._config.max_apply_bytes, self._known)
        hard_state = self._changed_hard_state(bool(entries) or snapshot is not None or log.held_up > self._told.commit)
        messages, promises = core.messages, core.promises
        number = 0
        if entries or hard_state is not None or snapshot is not None or (promises and log.writing):
            self._number = number = self._number + 1
            log.begin_write(number)
            self._writes.append((number, (core.term, core.vote), self._told.commit))
        elif promises:
            # All that they promise is durable already.
            messages += promises
            promises.clear()
        elif not (messages or committed or core.answers or core.lost_reads):
            return None
        ready = Ready(
            number,
            hard_state,
            snapshot,
            entries,
            messages.copy(),
            promises.copy(),
            committed,
            [Read(context, index) for context, index in core.answers] if core.answers else [],
            core.lost_reads.copy(),
        )
        messages.clear()
        promises.clear()
        core.answers.clear()
        core.lost_reads.clear()
        return ready

    def _rests(self) -> bool:
        """Say if certainly nothing is to be written, applied or answered, as is so for half of those who ask."""
        core, log, told = self._core, self._log, self._told
        return (
            log.written == log.last
            and (log.handed >= log.committed or log.handed >= log.stable)
            and core.term == told.term
            and core.vote == told.vote
            and log.snapshot is None
            and log.held_up <= told.commit
            and not (core.answers or core.lost_reads)
        )

    def _changed_hard_state(self, writing: bool) -> HardState | None:
        """Return the hard state if it's to be written."""
        core = self._core
        told = self._told
        if core.term == told.term and core.vote == told.vote and not (writing and self._log.committed != told.commit):
            return None
        self._told = HardState(core.term, core.vote, self._log.committed)
        return self._told
