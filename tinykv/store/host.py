"""
The life of a write within a store: turn, entry, log, apply, flush.

What arrives in one turn of the reactor becomes one entry (L{tinykv.store.proposals}). It goes to the log writer, which
makes everything that queued while its last fsync ran durable with the next one (L{tinykv.store.replica}); then the
entry is decided, applied, and its clients are answered (L{tinykv.store.apply_queue}). Entries overlap on their way, so
the disk is never waited for with idle hands.

What takes long is done in slices (L{tinykv.store.pacing}), between which the reactor has its turn; a read
(L{tinykv.store.reads}) that meets such work waits behind it.

Behind that, when the active memory table has grown enough or some time has passed, it is frozen between two entries,
together with the apply state as of that moment, and written to data.db in one transaction (L{tinykv.store.flushes});
only then the log is cut (L{tinykv.store.log_cut}).

Here these are put together, begin and end. What is called for each command or batch of entries is theirs, and bound
here under its name, so that nothing is in between.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from math import inf
from random import Random
from typing import Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from zope.interface import implementer

from tinykv.interfaces import IRegionHost
from tinykv.keys import ALL_SLOTS
from tinykv.raft.messages import Entry, SnapshotMeta
from tinykv.raft.refusals import ChangeRefused, Refused
from tinykv.raft.wire import decode_change
from tinykv.redis.execution import Execution
from tinykv.redis.operations import INTERNAL, LOCAL, NOBODY, Client, Operation
from tinykv.redis.ownership import names_keys, owns
from tinykv.redis.spec import CommandSpec
from tinykv.region.descriptor import Descriptor, descriptor_key
from tinykv.region.entry import COMMAND_BYTES_MAX
from tinykv.region.splitting import Split, why_not
from tinykv.region.state import ApplyState
from tinykv.region.tombstone import encode_tombstone
from tinykv.store.admission import Admission
from tinykv.store.apply_queue import ApplyQueue
from tinykv.store.burial import Burial
from tinykv.store.expiry import Expiry
from tinykv.store.flushes import RegionFlushes
from tinykv.store.forwarding import Meant
from tinykv.store.gap import Gap
from tinykv.store.installation import Installation
from tinykv.store.lease import Lease
from tinykv.store.letting_go import LetGo
from tinykv.store.log_cut import LogCut
from tinykv.store.merging import RegionMerging
from tinykv.store.pacing import Pacer
from tinykv.store.proposals import GATHER_SECONDS, HOLD_SECONDS, Elsewhere, Proposals
from tinykv.store.reads import Reads
from tinykv.store.refusals import UNDECIDED, give_up
from tinykv.store.regions import Regions
from tinykv.store.remote_clients import RemoteClient
from tinykv.store.replica import Replica
from tinykv.store.runs import store_of
from tinykv.store.splitting import Part, divide
from tinykv.store.successor import successor_of

#: How often it's proposed that who waited at an earlier run has gone, in seconds, until it's so.
AGAIN_SECONDS: Final = 5.0


def _nothing() -> None:
    """Nothing is to be done, or there's nothing."""


def _no_sources(snapshot: SnapshotMeta) -> tuple[int, ...]:
    return ()


def _no_snapshots(snapshot: SnapshotMeta) -> str:
    raise AssertionError("no snapshot can have arrived")


@implementer(IRegionHost)
class RegionHost:
    """
    Hosts a store's region.

    @ivar regions: What it shares with the other regions of the store.
    @ivar pacer: Its work, in slices.
    @ivar flushing: Its part in the flushes of its store.
    @ivar merging: Its part in merges with its neighbours.
    @ivar queue: What is applied, and what comes next.
    @ivar proposals: What clients want, on its way into the log.
    @ivar submit: Takes an operation in for this turn's proposal; see L{Proposals.submit}.
    @ivar submit_distant: The same for a client of another store; see L{Proposals.submit_distant}.
    @ivar submit_before: Takes in what came before all that waits; see L{Proposals.submit_before}.
    @ivar submit_moved: Takes in what another region was given, which did nothing of it; see L{Proposals.submit_moved}.
    @ivar undone: Gives the operations of which certainly nothing was done; see L{Proposals.undone}.
    @ivar read: Runs a read now; None if its client is answered later; see L{Reads.read}.
    @ivar read_local: The same, from what is applied here, old as it may be; see L{Reads.read_local}.
    @ivar refusal: Says why a command can't be taken now; see L{Admission.refusal}.
    @ivar hurry: Has what is decided within a moment be applied without waiting for more.
    @ivar look: Runs a step of the front's when all that was decided by now is applied; see L{Reads.look}.
    @ivar decided: To be called when there's something to apply; see L{tinykv.store.replica.ReplicaUser}, and for the
        next three.
    @ivar flush_all: Writes all that is applied into data.db, and calls back then.
    @ivar flush_exactly: Has data.db be as of exactly the entry that is being applied, for a moment, and calls back
        then; see L{Flushes.flush_exactly}.
    @ivar let_flush: Ends that moment.
    @ivar give_up_all: Lets go of all that waits to be applied.
    @ivar fail: Stops the store.
    """

    log = Logger()
    submit: Callable[[Operation], None]
    submit_distant: Callable[[Operation], None]
    submit_before: Callable[[list[Operation]], None]
    submit_moved: Callable[[Operation], None]
    undone: Callable[[], list[Operation]]
    read: Callable[[Client, int, int, CommandSpec, list[bytes]], bytes | None]
    read_local: Callable[[Client, int, int, CommandSpec, list[bytes]], bytes | None]
    refusal: Callable[[CommandSpec], bytes | None]
    look: Callable[[Operation], bool]
    hurry: Callable[[], None]
    decided: Callable[[], None]
    readable: Callable[[object, int], None]
    unreadable: Callable[[object], None]
    install: Callable[[SnapshotMeta, Callable[[], None]], None]
    flush_all: Callable[[Callable[[], None]], None]
    flush_exactly: Callable[[Callable[[], None]], None]
    let_flush: Callable[[], None]
    fail: Callable[[BaseException], None]
    give_up_all: Callable[[], None]

    def __init__(
        self,
        regions: Regions,
        *,
        replica: Replica,
        descriptor: Descriptor,
        execution: Execution,
        now_ms: Callable[[], int],
        random: Random,
        applied: ApplyState,
        uptime: Callable[[], float],
        request_timeout: float,
        expiry_effort: int = 1,
        log_entries_max: int = 1_000_000,
        log_bytes_max: int = 1 << 30,
        read_mode: str = "lease",
        command_bytes_max: int = COMMAND_BYTES_MAX,
        hold_seconds: float = HOLD_SECONDS,
        gather_seconds: float = GATHER_SECONDS,
    ) -> None:
        """
        @param now_ms: The time of day, in ms since 1970.
        @param uptime: The time in seconds since whenever, sleep included, for leases.
        @param hold_seconds: For how long at most what comes waits for an entry that is under way; and
            C{gather_seconds} for clients who were answered just now.
        """
        clock, rows, answered = regions.clock, regions.rows, regions.answered
        self.regions = regions
        self.fail = regions.fail
        self.start_id = execution.start_id
        self.execution = execution
        self.keyspace = execution.keyspace
        self.rows = rows
        self.replica = replica
        self.group = replica.group
        self.descriptor = descriptor
        #: Called when C{descriptor} has changed.
        self.described: Callable[[], None] = _nothing
        #: Gives the file of a snapshot that has arrived.
        self.arrived: Callable[[SnapshotMeta], str] = _no_snapshots
        #: Names the regions whose place such a one takes as well, since they were merged into this one.
        self.sources: Callable[[SnapshotMeta], tuple[int, ...]] = _no_sources
        #: Called when a snapshot was installed, so that waiters may have gone without a word; see L{IRegionHost}.
        self.replaced: Callable[[Callable[[Operation], bool]], None] = lambda about: None
        #: Called then too: entries up to it are never applied here.
        self.skipped: Callable[[], None] = _nothing
        #: Says whether the store of a peer can be reached, so that it may be handed leadership.
        self.reached: Callable[[int], bool] = lambda peer: True
        #: Says whether the store of a peer is reached and can take part in merges.
        self.can_merge: Callable[[int], bool] = lambda peer: True
        #: Names the stores that haven't been reached for so long that whoever waits there is taken for gone.
        self.lost_stores: Callable[[], Collection[int]] = tuple
        #: Of some runs of gateways names those that haven't been heard of for so long.
        self.lost_runs: Callable[[Collection[int]], Collection[int]] = lambda runs: ()
        #: The index behind which the log mustn't be cut, since a snapshot as of it is on its way.
        self.log_needed: Callable[[], int | None] = _nothing
        #: What the region was before its first entry; None if that lies before its log, as where it was split off.
        self.initial: Descriptor | None = None
        #: The number of the last peer of it that was destroyed here, 0 if none was; those up to it never return.
        self.buried = 0
        #: Whether the peer was taken from this store, and is there for others only.
        self.departed = False
        #: Whether it was cut since this store has heard so, without a peer of it; and whether it isn't known where
        #: exactly, but that a part of its keys is at work here.
        self.ceded = False
        self.clipped = False
        #: Names the store that leads, as far as is known.
        self.leader_store: Callable[[], int | None] = _nothing
        self._region = region = descriptor.region
        self.clock = self._clock = clock
        self._answered = answered
        self._request_timeout = request_timeout
        #: Whether the end has begun, so that nothing is to be taken that others could do.
        self.closing = False
        self._closing: Deferred[None] | None = None
        self._giving_up: IDelayedCall | None = None
        #: When it was proposed last that who waited at an earlier run of this store has gone, by run.
        self._let_go: dict[int, float] = {}
        #: What was cut off by the entry that was applied last, and the region's slots before that.
        self._parts: list[Part] = []
        self._whole = descriptor.slots

        held = regions.durations.turn_seconds.observe
        self.pacer = pacer = Pacer(clock, regions.now, answered, held, stacks=regions.stacks)
        lease = Lease(replica, uptime, read_mode == "lease")
        self.queue = queue = ApplyQueue(
            replica=replica,
            execution=execution,
            reader=regions.reader,
            pacer=pacer,
            stacks=regions.stacks,
            lease=lease,
            clock=clock,
            now_ms=now_ms,
            applied=applied,
            change=self._change,
            done=self._applied,
            leads=self.role_changed,
            fail=self.fail,
        )
        self.proposals = proposals = Proposals(
            queue=queue,
            replica=replica,
            execution=execution,
            rows=rows,
            clock=clock,
            now_ms=now_ms,
            random=random,
            answered=answered,
            command_bytes_max=command_bytes_max,
            hold_seconds=hold_seconds,
            gather_seconds=gather_seconds,
        )
        queue.give_back = proposals.give_back
        self.merging = RegionMerging(self)
        self.merging.load()
        queue.may_take_in = self.merging.may_take_in
        execution.merging = self.merging.apply
        execution.splitting = self._split
        execution.elsewhere = self._not_here
        self._expiry = Expiry(
            slots=lambda: self.descriptor.slots,
            queue=queue,
            execution=execution,
            rows=rows,
            clock=clock,
            now_ms=now_ms,
            effort=expiry_effort,
            submit=proposals.submit,
            fail=self.fail,
        )
        reads = Reads(
            queue=queue,
            replica=replica,
            execution=execution,
            pacer=pacer,
            lease=lease,
            clock=clock,
            now_ms=now_ms,
            # Where nothing is applied yet, as before a copy, there's nothing old either.
            behind=lambda: (
                proposals.elsewhere is not None and (proposals.elsewhere.behind or self.vacant or not queue.applied)
            ),
            submit=proposals.submit,
            expire=self._expiry.noticed,
            fail=self.fail,
        )
        self.flushing = flushes = RegionFlushes(
            regions.flushes,
            region=region,
            queue=queue,
            execution=execution,
            log_cut=LogCut(
                region=region,
                group=replica.group,
                log_writer=regions.log_writer,
                entries_max=log_entries_max,
                bytes_max=log_bytes_max,
                needed=lambda: self.merging.log_needed(self.log_needed()),
            ),
            descriptor=lambda: self.descriptor,
        )
        flushes.room = self._room
        queue.between = flushes.between
        self._admission = Admission(
            queue=queue,
            proposals=proposals,
            replica=replica,
            pacer=pacer,
            lease=lease,
            clock=clock,
            request_timeout=request_timeout,
            answered=answered,
            applied=self._applied,
            hand_over=self.hand_over,
            fail=self.fail,
        )
        self._installation = Installation(
            region=region,
            queue=queue,
            proposals=proposals,
            replica=replica,
            flushes=flushes,
            execution=execution,
            rows=rows,
            pacer=pacer,
            installer=regions.installer,
            arrived=lambda snapshot: self.arrived(snapshot),
            stop_others=lambda snapshot, stopped: self.merging.make_way(self.sources(snapshot), stopped),
            replaced=self._replaced,
            answered=answered,
            installed=self._installed,
            fail=self.fail,
        )
        self._burial = Burial(self)
        self.give_up_all = self._installation.give_up_all
        self.submit = proposals.submit
        self.submit_distant = proposals.submit_distant
        self.submit_before = proposals.submit_before
        self.submit_moved = proposals.submit_moved
        self.undone = proposals.undone
        self.read_local = reads.read_local
        self.read = reads.read_local if read_mode == "local" else reads.read
        self.refusal = self._admission.refusal
        self.look = reads.look
        self.hurry = queue.hurry
        self.decided = queue.go_on
        self.readable = queue.may_read
        self.unreadable = queue.may_not_read
        self.install = self._installation.install
        self.flush_all = flushes.flush_all
        self.flush_exactly = flushes.flush_exactly
        self.let_flush = flushes.let_flush
        regions.add(self)

    # Start and end

    def start(self) -> None:
        """Take part in the group; clients are answered from when it's known who leads."""
        self.replica.start(self)
        # Before anything that comes from now on.
        self._let_own_runs_go()
        self.regions.begin()
        self.tick()

    def hand_over(self) -> bool:
        """Ask the voter with the longest log that is reached to lead, if this peer leads; say if there is such one."""
        group = self.group
        successor = successor_of(group, self.reached)
        if successor is None or group.transferring:
            return False
        try:
            group.transfer_leader(successor)
        except Refused as problem:
            self.log.warn("leadership isn't handed over: {why}", why=problem)
        self.replica.go_on()
        return True

    def expect_local_reads(self) -> None:
        """Learn that some client reads what is applied here: it's to see what it has had done elsewhere."""
        self.regions.expect_local_reads()

    def _let_waiters_go(self, stores: Collection[int]) -> None:
        """Propose that whoever waited at earlier runs of some stores has gone."""
        for start_id in sorted(self._runs_of(stores)):
            self._let_run_go(start_id)

    def _runs_of(self, stores: Collection[int]) -> set[int]:
        """Name the earlier runs of some stores at which somebody waits."""
        runs = {origin[0] for origin in self.execution.waiters.by_origin}
        return {run for run in runs if store_of(run) in stores and run != self.start_id}

    def _let_own_runs_go(self) -> None:
        """
        See to it that who waited here before the last start has gone, which no other store knows while it reaches this
        one.

        That they waited may be learned long after the start, from the log's end or from a snapshot; and it may be
        decided even then, when what was sent before the end of that run is read behind what this one says.
        """
        earlier = self._runs_of((store_of(self.start_id),))
        now = self._clock.seconds()
        self._let_go = {run: said for run, said in self._let_go.items() if run in earlier}
        for run in sorted(earlier):
            if now - self._let_go.get(run, -inf) >= AGAIN_SECONDS:
                self._let_go[run] = now
                self._let_run_go(run)

    def _let_run_go(self, start_id: int) -> None:
        """Propose that whoever waited at a run of a store or a gateway has gone."""
        self.submit((INTERNAL, NOBODY, 0, 0, None, [b"gone", b"%d" % start_id], None))

    def close(self) -> Deferred[None]:
        """
        Finish what was taken; fires when all of it is applied and flushed, fails if the store does.

        The front sends nothing more by now, so that this comes to an end; what no majority decides is waited for no
        longer than clients wait.
        """
        if self.queue.failed:
            return succeed(None)
        closing: Deferred[None] = Deferred()
        self.closing = True
        self._closing = closing
        self._expiry.stop()
        self.queue.catch_up()
        if self.elsewhere is not None:
            self._giving_up = self._clock.callLater(self._request_timeout, self._give_up_undecided)
        self._maybe_closed()
        return closing

    def _give_up_undecided(self) -> None:
        """Wait no longer for a majority: what was proposed may still happen, once."""
        batches = self.queue.batches
        while batches and batches[-1].index > self.group.committed:
            for operation in batches.pop().operations:
                give_up(operation, UNDECIDED)
        self._answered()
        self._maybe_closed()

    def _maybe_closed(self) -> None:
        if self._closing is None or self.unresolved or self.proposals.pending or self.pacer.running:
            return
        if not self.flushing.finish():
            return
        self.proposals.close()
        self.queue.stop()
        if self._giving_up is not None and self._giving_up.active():
            self._giving_up.cancel()
        self.regions.end()
        self.replica.stop()
        closing, self._closing = self._closing, None
        closing.callback(None)

    def halt(self) -> None:
        """Do nothing any more: the store fails."""
        self.queue.failed = True
        self.queue.stop()
        self.proposals.close()
        self._expiry.stop()
        self.pacer.stop()
        self.replica.stop()

    def end(self) -> None:
        """End: another region has taken this one in, and all that waited here."""
        self.halt()
        self.regions.rounds.forget(self.proposals)
        self.skipped()
        if self._giving_up is not None and self._giving_up.active():
            self._giving_up.cancel()
        if self._closing is not None:
            closing, self._closing = self._closing, None
            closing.callback(None)

    def give_up_closing(self, problem: BaseException) -> None:
        """Tell whoever waits for the end that there'll be none but this."""
        if self._closing is not None:
            closing, self._closing = self._closing, None
            closing.errback(problem)

    # What others ask

    @property
    def applied(self) -> int:
        """Name the last entry applied."""
        return self.queue.applied

    @property
    def ready(self) -> bool:
        """
        Whether this peer leads and knows all that was decided before, so that it may propose and answer; not while it's
        about to be merged.
        """
        return self.queue.ready and self.merging.state is None

    @property
    def vacant(self) -> bool:
        """Whether this store has no peer of the region, or one that isn't told any more what is decided."""
        return self.departed or not self.group.peer

    @property
    def at_work(self) -> bool:
        """Whether this store has rows of the region, or is about to: not of one that has yet to get its copy."""
        if not self.group.peer:
            return False
        return self.departed or bool(self.applied) or self._region in self.regions.claimed

    @property
    def needs_copy(self) -> bool:
        """Whether a peer that begins here must begin with a snapshot: there may be others of what its log did first."""
        return bool(self.buried or self.ceded) and not self.applied and len(self.regions.hosts) > 1

    def owns(self, operation: Operation) -> bool:
        """Say whether all keys of an operation lie in the region."""
        slots = self.keyspace.slots
        return slots == ALL_SLOTS or owns(slots, operation)

    @property
    def version(self) -> int:
        """Which range of keys the region has, as of what is applied: it rises with each change of that."""
        return self.descriptor.version

    @property
    def elsewhere(self) -> Elsewhere | None:
        """Where operations go that can't be done here; None where no other store could lead."""
        return self.proposals.elsewhere

    @elsewhere.setter
    def elsewhere(self, elsewhere: Elsewhere) -> None:
        self.proposals.elsewhere = elsewhere
        if self.regions.local_reads:
            elsewhere.expect_local_reads()

    @property
    def growing_refused(self) -> bool:
        """Whether the disk is nearly full, so that commands are refused that make data grow."""
        return self._admission.growing_refused

    @growing_refused.setter
    def growing_refused(self, refused: bool) -> None:
        self._admission.growing_refused = refused

    @property
    def stalled(self) -> bool:
        """Whether a write of the log has been under way for longer than clients wait."""
        return self._admission.stalled

    @property
    def entries(self) -> int:
        """Count the entries that were proposed."""
        return self.proposals.entries

    @property
    def flushes(self) -> int:
        """Count the tables that were written to data.db."""
        return self.flushing.count

    @property
    def table_bytes(self) -> int:
        """Count the memory of changes that aren't in data.db yet."""
        return self.regions.table_bytes

    @property
    def pauses(self) -> int:
        """Count how often the applying of entries has given the reactor a turn."""
        return self.pacer.pauses

    @property
    def unresolved(self) -> bool:
        """Whether something was proposed here of which it isn't known what became of it."""
        return bool(self.queue.batches)

    @property
    def ended(self) -> bool:
        """Whether all that was taken has been applied and flushed, and nothing more is taken."""
        return self.proposals.closed

    @property
    def quiet(self) -> bool:
        """Whether the group has fallen silent, and nobody waits for anything."""
        return (
            self.group.quiesced
            and self.merging.state is None
            and not (self.queue.batches or self.queue.readable or self.proposals.pending or self.execution.waiters)
        )

    @property
    def busy(self) -> bool:
        """Whether as many tables wait for the data writer as may (R9): then proposals wait too."""
        return self.rows.full

    # Consensus

    def persisted(self) -> None:
        """Learn that something is durable: there may be room for more."""
        if self.proposals.refused_since is not None:
            self.proposals.go_on()

    def role_changed(self) -> None:
        """Learn that this peer begins or ceases to lead, or that another one does."""
        group = self.group
        queue = self.queue
        ready = group.leads and queue.applied_term == group.term
        if ready != queue.ready:
            queue.ready = ready
            self.log.info(
                "region {region}: this store {leads} in term {term}",
                region=self._region,
                leads="leads" if ready else "doesn't lead any more",
                term=group.term,
            )
        if not ready:
            self.proposals.decided()
        if self.elsewhere is not None:
            self.elsewhere.leads(ready)
        if self.proposals.pending:
            self.proposals.go_on()

    def _change(self, entry: Entry) -> None:
        """Apply a change of the region's peers."""
        if self.merging.state is not None:
            # As on all replicas: the target counts on the members that it was told of.
            self.log.info("region {region} is about to be merged, so its members stay", region=self._region)
            return
        change = decode_change(entry.data)
        before, self.descriptor = self.descriptor, self.descriptor.after(change)
        membership = self.group.apply_change(change)
        assert membership == self.descriptor.membership, "a group's members are those of its region"
        if self.descriptor is not before:
            self.rows.put("region", descriptor_key(self._region), self.descriptor.encode())
            self.described()

    # Splits

    def propose_split(self, split: Split) -> int:
        """
        Have the region split; give the index of the entry that says it.

        @raise Refused: It can't be now; nothing was done.
        """
        problem = why_not(self.descriptor, split)
        if problem is not None:
            raise ChangeRefused(problem)
        return self.proposals.decide(split.encode())

    def _split(self, arguments: list[bytes]) -> None:
        """Apply an entry that splits the region; nothing more is applied until its parts are at work."""
        if self.group.peer not in self.descriptor.stores:
            # It was removed. No part has a peer here, so all of it stays in one piece until it's destroyed.
            self.proposals.decided()
            return
        whole = self.descriptor.slots
        divided = divide(self.execution, self.descriptor, arguments)
        if divided is None:
            self.proposals.decided()
            return
        self._whole, self.descriptor, self._parts = whole, divided.descriptor, divided.parts
        self.queue.between = lambda: True

    def _bring_up(self) -> None:
        """Let the parts that were cut off begin, and have done there what was to be done here."""
        regions = self.regions
        parts, self._parts = self._parts, []
        self.queue.between = self.flushing.between
        what = "region {region} was split: {parts} begin"
        self.log.info(what, region=self._region, parts=", ".join(str(part.descriptor.region) for part in parts))
        with regions.together():
            hosts = [host for part in parts if (host := regions.bear(part)) is not None]
        self.hand_on(self._whole, hosts)
        # Not before: there are pauses in between, and what waited was meant for the whole.
        self.proposals.decided()
        for host in hosts:
            host.start()
            if self.group.leads:
                host.replica.campaign()
        self.described()
        self._clock.callLater(0, self.queue.go_on)

    def hand_on(self, whole: tuple[int, int], hosts: list[RegionHost]) -> None:
        """
        Have done where it belongs by now what waits here, after the region was narrowed, or widened.

        @param whole: The slots that it had.
        @param hosts: The regions that were cut off, new here: what comes there waits for what was sent before.
        """
        proposals, elsewhere = self.proposals, self.elsewhere
        under_way = (
            self.unresolved or proposals.pending or proposals.on_hold or (elsewhere is not None and elsewhere.holds)
        )
        held: list[RegionHost | Gap] = [*hosts, *self.regions.gaps_within(whole)] if under_way else []
        until = LetGo(held, proposals.held) if held else None
        self._move_pending(whole)
        if until is not None:
            # When this is run, the outcome of all that was sent before is known.
            proposals.submit((LOCAL, NOBODY, 0, 0, None, until, None))

    def hold(self, until: LetGo) -> None:
        """Propose nothing until something is over; see L{Proposals.hold}."""
        self.proposals.hold(until)

    def let_go(self, until: LetGo) -> None:
        """Learn that nothing comes any more that was sent before."""
        meant = self.proposals.let_go(until, self.descriptor.slots)
        if meant and self.merging.gone:
            self.merging.hand_on(meant)
        elif meant:
            self.pass_on(meant, ())

    def _move_pending(self, whole: tuple[int, int]) -> None:
        """Look anew where that belongs of which nothing was done."""
        proposals, elsewhere = self.proposals, self.elsewhere
        waiting = proposals.narrowed(whole)
        if elsewhere is not None and elsewhere.holds:
            # While it's on hold nothing of that goes elsewhere.
            elsewhere.narrowed(whole, [] if proposals.on_hold else waiting)
            if not proposals.on_hold:
                return
        self.pass_on([(whole, waiting)], ())

    def pass_on(self, meant: Sequence[Meant], later: Sequence[Operation]) -> None:
        """
        Have operations done where they belong by now, of which nothing was done: in their order, also where that is
        here, as what is about all keys has a part here and parts elsewhere.

        Those of other stores' clients go back there, also if they could be done here: behind one of which a part lies
        elsewhere, so that it's sent again, they'd overtake it.

        @param meant: The oldest, with the slots of the region for which they were meant.
        @param later: Those behind them that were meant for it as it is.
        """
        until = LetGo([self])
        for whole, operations in meant:
            for operation in operations:
                if whole == self.descriptor.slots or self.stays(operation):
                    self.submit_moved(operation)
                else:
                    self.move(operation, whole)
        for operation in later:
            self.submit_moved(operation)
        until()

    def stays(self, operation: Operation) -> bool:
        """Say whether an operation that was meant for the region before it was narrowed is still done in it alone."""
        kind, client, _, _, _, arguments, _ = operation
        if type(client) is RemoteClient:
            return False
        if kind == LOCAL:
            # What its client sent before may be on the way to a part.
            return client is NOBODY
        if kind == INTERNAL and arguments[0] == b"wake":
            # So may whom it's about.
            return False
        return names_keys(operation) and self.owns(operation)

    def move(self, operation: Operation, whole: tuple[int, int]) -> None:
        """
        Hand on an operation of which nothing was done, since not all that it's about lies here; or have it sent again.

        @param whole: The slots for which it was meant.
        """
        client = operation[1]
        if type(client) is RemoteClient:
            client.refuse()
        elif client is not NOBODY or operation[0] == INTERNAL:
            self.regions.moved(operation, whole, self)

    def _not_here(self, operation: Operation) -> None:
        """Hand on what was found not to lie here when it was its turn."""
        self.move(operation, self._whole)

    # Merges

    def propose_merge(self, target: int) -> int:
        """
        Have the region merged into a neighbour; give the index of the entry with which that begins.

        @raise Refused: It can't be now; nothing was done.
        """
        return self.merging.propose(target)

    def widened(self, whole: tuple[int, int]) -> None:
        """
        Learn that the region has got the keys of another one.

        @param whole: The slots that it had: what waits here of what is about all keys was meant for these.
        """
        self._expiry.widened()
        self.hand_on(whole, [])

    def progress(self, peer: int) -> tuple[int, int] | None:
        """Give up to where a peer is known to have the log, and up to where it's applied here; None if nobody knows."""
        known = self.group.progress().get(peer)
        return None if known is None else (known.match, self.applied)

    def snapshot_sent(self, peer: int, arrived: bool) -> None:
        """Learn whether a snapshot that the group sent has arrived."""
        self.group.snapshot_done(peer, arrived)
        self._clock.callLater(0, self.replica.go_on)

    # What follows from what

    def _applied(self) -> None:
        """After something was applied: answer its clients, and see to it that it's flushed some time."""
        queue = self.queue
        if queue.failed:
            return
        if self._parts:
            self._bring_up()
        self.merging.after_entries()
        if self.merging.gone:
            return
        self._answered()
        self.proposals.applied()
        queue.keep_cache()
        if queue.held:
            if not self.merging.makes_way:
                (self._burial if self._burial.begun else self._installation).begin()
            return
        self.flushing.look_after()
        self._maybe_closed()

    def _room(self) -> None:
        """After a table was written: there may be room for what waits."""
        if not self.busy:
            self.proposals.busy_since = None
        self.proposals.go_on()
        self._maybe_closed()

    def _replaced(self, descriptor: Descriptor) -> None:
        """After a snapshot was installed: whoever looks at the region has to look anew."""
        before = self.descriptor
        ranged = (before.start, before.end) != (descriptor.start, descriptor.end)
        with self.regions.together():
            self.regions.claimed.pop(self._region, None)
            self.descriptor = descriptor
            self.clipped = False
            self.merging.load()
            gone = self.merging.take_places()
        if ranged:
            # Before what waits for those whose place it takes comes here, which is meant for other slots.
            self.hand_on(before.slots, [])
        self.merging.end_others(gone)
        self.replaced(self.owns)
        self.skipped()
        self.described()

    def _installed(self) -> None:
        """After that, go on with what comes behind the snapshot."""
        self.queue.go_on()
        self.flushing.look_after()
        self._maybe_closed()

    # A replica that was taken from this store

    def may_cede(self, part: Descriptor) -> bool:
        """Say whether some keys may lie in another region: this store has no peer of this one, and it was cut since."""
        return self.vacant and not self.departed and self._was_whole(part)

    def lacks(self, part: Descriptor) -> bool:
        """Say whether some keys lie in another region at a start: this one has nothing here, and was cut since."""
        return not self.applied and self._was_whole(part)

    def _was_whole(self, part: Descriptor) -> bool:
        """Say whether this region, as it's known here, had the keys of another one before, beside some of its own."""
        own = self.descriptor
        beyond = part.end and (not own.end or part.end < own.end)
        return own.version < part.version and (own.start < part.start or bool(beyond))

    def cede(self, part: Descriptor) -> None:
        """Leave to another region what it has by now, as far as this store knows it: commands go there."""
        own = self.descriptor
        if own.start < part.start:
            own = replace(own, end=part.start)
        else:
            own = replace(own, start=part.end)
        self.clipped = True
        self._cut_to(own)

    def lies(self, start: bytes, end: bytes, version: int) -> None:
        """Learn where the keys of the region are by now, of which this store has no peer."""
        self.clipped = False
        self._cut_to(replace(self.descriptor, start=start, end=end, version=version))

    def _cut_to(self, descriptor: Descriptor) -> None:
        self.ceded = True
        self.descriptor = descriptor
        self.execution.keyspace.slots = descriptor.slots

    def bury(self, done: Callable[[], None], merged: bytes | None = None) -> bool:
        """
        Destroy the replica, which nobody needs any more, and call back when nothing is left of it.

        @param merged: The tombstone of a region that was merged; None of one that goes on elsewhere.
        @return: False if that can't begin now; it may be asked for again.
        """
        initial = self.initial
        if initial is None or initial.version != self.descriptor.version:
            # Its log begins behind a copy, which will say who belongs to it.
            initial = self.descriptor.vacant()
        # It may have been cut since then, without a peer of it here.
        initial = replace(initial, start=self.descriptor.start, end=self.descriptor.end)
        return self._burial.bury(initial, merged or encode_tombstone(self.group.peer), done)

    def begin_anew(self, descriptor: Descriptor, buried: int) -> None:
        """
        Begin as a store does that has no peer of the region, when nothing is left of the one that was here.

        @param buried: That one's number.
        """
        execution, queue = self.execution, self.queue
        self.buried = buried
        self.departed = False
        self.regions.claimed.pop(self._region, None)
        self.descriptor = descriptor
        self.group.begin_anew(descriptor.membership)
        execution.keyspace.slots = descriptor.slots
        execution.keyspace.sequence = 0
        execution.load(0)
        queue.begin_anew()
        self.flushing.forget()
        self.merging.load()
        self.replica.begin_anew()
        self.regions.ranges_changed()
        self.replaced(self.owns)
        self.skipped()
        self.proposals.go_on()
        queue.go_on()

    def tick(self) -> None:
        """Some times a second: give up what takes too long, and delete what has expired."""
        self._admission.look()
        if self.proposals.pending:
            # What could not be proposed waits for what nobody tells of, such as the end of a transfer that failed.
            self.proposals.go_on()
        if self.execution.waiters and self.group.leader_id and not self.closing:
            self._let_own_runs_go()
        if self.ready and self.execution.waiters and not self.closing:
            lost = self.lost_stores()
            if lost:
                self._let_waiters_go(lost)
            for run in sorted(self.lost_runs({waiter.origin[0] for waiter in self.execution.waiters})):
                self._let_run_go(run)
        self.queue.keep_cache()
        self._expiry.look()
        self.merging.look()
