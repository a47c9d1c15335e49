"""
A region's peer at work: what its Raft group wants is written, sent, and handed on to be applied.

L{tinykv.raft.group} decides and does nothing; here it is done. Appends leave at once, and the same entries go to the
log writer beside that; what promises something (votes, acknowledgements) waits until exactly its write is durable.
Nothing is handed on before it is decided and durable here (R6 of the design).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from tinykv.interfaces import ILogWriter
from tinykv.raft.core import CANDIDATE, FOLLOWER, PRE_CANDIDATE
from tinykv.raft.group import Group, Ready
from tinykv.raft.messages import Entry, HardState, Message, SnapshotMeta
from tinykv.raft.stored import stored_data
from tinykv.storage.writers import LogBatch
from tinykv.store.durations import Durations
from tinykv.store.ticks import Ticks

#: A leader's news of what is committed waits so long, in seconds, for entries that it can go with; each that goes alone
#: costs both sides a message, and an answer to it. It waits less where somebody at another store may wait for it.
TELL_SECONDS = 0.02
TELL_SOON_SECONDS = 0.003


class ReplicaUser(Protocol):
    """Who applies what is decided; see L{tinykv.store.host.RegionHost}."""

    def decided(self) -> None:
        """Learn that L{Replica.entries} has more."""

    def role_changed(self) -> None:
        """Learn that this peer begins or ceases to lead, or that another does."""

    def readable(self, context: object, index: int) -> None:
        """Learn that a read may be answered when what is at an index has been applied."""

    def unreadable(self, context: object) -> None:
        """Learn that a read has to be asked for anew: whoever was asked doesn't lead any more."""

    def persisted(self) -> None:
        """Learn that something has become durable."""

    def install(self, snapshot: SnapshotMeta, installed: Callable[[], None]) -> None:
        """Replace all that is applied by the snapshot that has arrived, and call back when that is durable."""


class Replica:
    """
    One region's consensus.

    @ivar entries: What is to be applied, in order. Whoever applies it takes it from here.
    @ivar lease_end: Until when, by C{uptime}, this peer may answer reads from what is applied; minus infinity if not.
    @ivar awaited: The last entry of which somebody at another store may wait to hear that it's committed: one that may
        serve a blocked client there, or that splits the region. To be set when it's proposed.
    @ivar serves: Whether the region serves: no lease counts for one that is about to be merged.
    """

    log = Logger()

    def __init__(
        self,
        *,
        region: int,
        group: Group,
        log_writer: ILogWriter,
        send: Callable[[Message], None],
        clock: IReactorTime,
        uptime: Callable[[], float],
        ticks: Ticks,
        durations: Durations,
    ) -> None:
        """
        @param send: Sends a message to the peer that it's for, some time this turn.
        @param uptime: The time in seconds since whenever, sleep included, for leases.
        """
        self.group = group
        self.entries: deque[Entry] = deque()
        self.lease_end = -inf
        self.awaited = 0
        self.serves = True
        self._region = region
        self._log_writer = log_writer
        self._send = send
        self._clock = clock
        self._uptime = uptime
        self._ticks = ticks
        self._durations = durations
        self._user: ReplicaUser | None = None
        #: When each write of the log that is under way began, oldest first.
        self._writes: deque[float] = deque()
        #: The commit index that was last written.
        self._commit = group.hard_state.commit
        self._standing = group.standing
        self._due = False
        self._stopped = False
        #: Up to where the others have been told what is committed, whether entries went along or not.
        self._tell = 0
        self._telling: IDelayedCall | None = None
        #: Whether that comes soon.
        self._soon = False
        #: The entry that has to be applied before a lease counts.
        self._unleased = 0
        #: While a snapshot is installed: what is to be written behind it.
        self._held: deque[Ready] | None = None

    # Begin and end

    def start(self, user: ReplicaUser) -> None:
        """Begin to count time. A peer that has nobody to ask asks for leadership at once."""
        self._user = user
        if self.group.membership.voters == (self.group.peer,):
            self.group.campaign(self._uptime())
        self._ticks.begin(self._tick)
        self.go_on()

    def stop(self) -> None:
        """Do nothing any more."""
        self._stopped = True
        self._ticks.end(self._tick)
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None

    def begin_anew(self) -> None:
        """Begin again, after L{stop}, as the peer that the group is by now; of the one before nothing is under way."""
        assert self._stopped and not self._writes, "what the peer before wrote is durable"
        self.entries.clear()
        self.lease_end = -inf
        self._standing = self.group.standing
        self._commit = self.group.hard_state.commit
        self._tell = self.awaited = 0
        self._held = None
        self._stopped = False
        self._ticks.begin(self._tick)

    @property
    def oldest_write(self) -> float | None:
        """Say since when the oldest write of the log is under way, by the clock; None if none is."""
        return self._writes[0] if self._writes else None

    def campaign(self) -> None:
        """Ask for leadership without waiting for a timeout; once started."""
        if self.group.campaign(self._uptime()):
            self.go_on()

    def no_lease_before(self, index: int) -> None:
        """
        Rely on no lease until an entry of the own term has been applied.

        One that splits the region takes keys from it, at each store when that applies it: from when it's decided on
        another group may serve them (R18).
        """
        self._unleased = index
        self.lease_end = -inf

    def _tick(self) -> None:
        """Count a tick; a group that is quiet has nothing to do then."""
        if self.group.quiesced:
            return
        self.group.tick(self._uptime())
        self.go_on()

    # What comes in

    def received(self, message: Message) -> None:
        """Take a message of another peer; what follows from all of a turn's is done at its end."""
        if self._stopped:
            return
        self.group.step(message, self._uptime())
        if not self._due:
            self._due = True
            self._ticks.at_turn_end(self.go_on)

    def suspect_leader(self) -> None:
        """Learn that the leader's store may be gone."""
        if not self._stopped:
            self.group.suspect_leader(self._uptime())

    # What goes out

    def go_on(self) -> None:
        """Do what the group says is to be done."""
        self._due = False
        user = self._user
        group = self.group
        while not self._stopped:
            ready = group.ready(self._tell)
            if ready is None:
                break
            for message in ready.messages:
                self._send(message)
            if ready.number:
                self._write(ready)
            assert user is not None, "it was started"
            if ready.committed:
                self.entries += ready.committed
                user.decided()
            for context, index in ready.reads:
                user.readable(context, index)
            for context in ready.lost_reads:
                user.unreadable(context)
            if not (ready.committed or ready.reads or ready.lost_reads):
                # Nothing was handed on from which more could follow by now.
                break
        self._look_at_role()
        if group.leads and group.committed > self._tell:
            self._tell_later()

    def _tell_later(self) -> None:
        """See to it that who doesn't know it yet is told what is committed."""
        soon = self.awaited > self._tell
        if self._telling is not None:
            if self._soon or not soon:
                return
            self._telling.cancel()
        self._soon = soon
        seconds = TELL_SOON_SECONDS if soon else TELL_SECONDS
        self._telling = self._clock.callLater(seconds, self._tell_commit, self.group.committed)

    def _tell_commit(self, index: int) -> None:
        """Tell who doesn't know it yet what was committed a while ago."""
        self._telling = None
        self._tell = index
        self.go_on()

    def _look_at_role(self) -> None:
        group = self.group
        self.lease_end = group.lease_end
        if self._unleased or not self.serves:
            self._look_at_lease()
        before = self._standing
        standing = group.standing
        if standing == before:
            return
        self._standing = standing
        if standing[1:] != before[1:]:
            self._tell_role()
        if standing[:2] != before[:2] and not self._stopped:
            if group.leads:
                # The first round of heartbeats, and with it the lease, needn't wait for the next tick.
                group.tick(self._uptime())
                self.go_on()
            assert self._user is not None
            self._user.role_changed()

    def _tell_role(self) -> None:
        """Log how elections go: once each time, for one that nobody answers is repeated for ever."""
        group = self.group
        if group.membership.voters == (group.peer,):
            return
        what = ""
        if group.role == PRE_CANDIDATE:
            what = "hears of no leader, and asks the others whether they would vote for it"
        elif group.role == CANDIDATE:
            what = "asks for votes"
        elif group.role == FOLLOWER and group.leader_id:
            what = f"follows peer {group.leader_id}"
        if what:
            self.log.info(
                "region {region}: this store {what}, in term {term}", region=self._region, what=what, term=group.term
            )

    def applied_to(self, index: int) -> None:
        """Learn up to where entries have been applied."""
        if self._stopped:
            # What is applied then was decided in another region's log.
            return
        self.group.applied_to(index)
        self.lease_end = self.group.lease_end
        if self._unleased or not self.serves:
            self._look_at_lease()

    def _look_at_lease(self) -> None:
        """See whether a lease counts again."""
        if not self.group.leads or self.group.applied >= self._unleased:
            self._unleased = 0
        if self._unleased or not self.serves:
            self.lease_end = -inf

    def _write(self, ready: Ready) -> None:
        """Write what a Ready says; a snapshot holds up all that comes behind it."""
        if self._held is not None:
            self._held.append(ready)
        elif ready.snapshot is not None:
            self._held = deque()
            self._install(ready, ready.snapshot)
        else:
            self._write_log(ready, LogBatch())

    def _install(self, ready: Ready, snapshot: SnapshotMeta) -> None:
        """Install a snapshot: the promises, then the rows, then the log's new base, then the answer (R5 b)."""
        user = self._user
        assert user is not None

        def promised() -> None:
            if not self._stopped:
                user.install(snapshot, installed)

        def installed() -> None:
            if self._stopped:
                return
            held, self._held = self._held, None
            batch = LogBatch()
            batch.reset(self._region, snapshot.index, snapshot.term)
            self._write_log(ready, batch)
            for later in held or ():
                self._write(later)

        first = LogBatch()
        state = ready.hard_state
        if state is not None:
            # What the snapshot says to be committed is true of its log. This store's own may have other entries there,
            # until its base is replaced: after a crash in between they would be taken for committed.
            self._add_state(first, HardState(state.term, state.vote, self._commit))
        if first:
            self._log_writer.write(first, promised)
        else:
            self._clock.callLater(0, promised)

    def _add_state(self, batch: LogBatch, state: HardState) -> None:
        self._commit = state.commit
        batch.hard_state(self._region, self.group.peer, state.term, state.vote, state.commit)

    def _write_log(self, ready: Ready, batch: LogBatch) -> None:
        if ready.hard_state is not None:
            self._add_state(batch, ready.hard_state)
        entries = ready.entries
        if entries:
            batch.append(self._region, entries[0].index, [(entry.term, stored_data(entry)) for entry in entries])
        begun = self._clock.seconds()
        self._writes.append(begun)

        def written() -> None:
            self._writes.popleft()
            durations = self._durations
            durations.log_commit_seconds.observe(self._clock.seconds() - begun)
            durations.log_commit_bytes.observe(sum([len(entry.data) for entry in entries]))
            if self._stopped:
                return
            for message in ready.promises:
                self._send(message)
            self.group.persisted(ready.number)
            self.go_on()
            assert self._user is not None
            self._user.persisted()

        self._log_writer.write(batch, written)
