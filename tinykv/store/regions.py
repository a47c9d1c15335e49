"""
The regions of a store, and what they share: the rows, the writers, the time, and one end when something fails.

Each region is replicated by a group of its own and applies its own entries (L{tinykv.store.host}). But there's one
memory table for all of them, which is written with what it contains of each (L{tinykv.store.flushes}), one log writer,
whose transactions hold what all of them wrote meanwhile, one process that reads ahead, and one call of the reactor's
some times a second.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from tinykv.errors import Fault
from tinykv.interfaces import IDataWriter, ILogWriter, IReadAhead, ISnapshotInstaller
from tinykv.keys import SLOTS
from tinykv.peering.turn import Turn
from tinykv.redis.operations import Operation
from tinykv.redis.ownership import NOT_HERE
from tinykv.region.tombstone import tombstone_key
from tinykv.storage.rowstore import RowStore
from tinykv.storage.writers import LogBatch
from tinykv.store.durations import Durations
from tinykv.store.flushes import Flushes
from tinykv.store.gap import Gap
from tinykv.store.merge_entries import merged_regions
from tinykv.store.pacing import Stacks
from tinykv.store.polls import Polls
from tinykv.store.rounds import GATHER_SECONDS, ROUND_SECONDS, Rounds

if TYPE_CHECKING:
    from tinykv.store.host import RegionHost
    from tinykv.store.splitting import Part


def _not_here(operation: Operation, whole: tuple[int, int], host: RegionHost | Gap | None) -> None:
    """Tell a client that its command isn't for the region that it was given to, where nobody knows better."""
    operation[1].answer(operation[2], NOT_HERE)


#: A group in which nothing has happened for so long falls silent, in seconds, where a store has several.
QUIET_SECONDS = 5.0


class Regions:
    """
    What the regions of a store share, and which there are.

    @ivar hosts: The regions, by id, in the order of their ranges.
    @ivar ordered: The same without ids: always this list, which changes when they do.
    @ivar gaps: The slots in none of them, in their order.
    @ivar watchers: Called when there are other regions than before, or their ranges are others.
    @ivar bear: To be set where regions may be split: makes a region of a part that was cut off, and takes it in; gives
        None if this store has no peer of it.
    @ivar moved: To be set likewise: takes an operation to where it belongs by now, which certainly did nothing; with
        the slots that it was meant for, and the region where it was, if it was in one.
    @ivar local_reads: Whether some client reads what is applied here, and is to see what it has had done elsewhere.
    @ivar gone: To be set where regions may be merged: told of one that was taken in by another, and has ended here.
    @ivar durability_os: Whether what is confirmed may be lost when the machine stops.
    @ivar merged: The regions that were merged, as far as this store has applied it, and into which.
    @ivar claimed: The ranges of snapshots that are being installed, by region.
    @ivar polls: Who waits for keys of regions of which this store has no replica; to be set where there may be such.
    @ivar rounds: In which what clients want of them leaves, where there are several.
    @ivar stacks: Which of them works, and how many rest.
    @ivar failed: Whether the store has failed, so that none of them applies anything any more.
    """

    log = Logger()
    bear: Callable[[Part], RegionHost | None]

    def __init__(
        self,
        *,
        rows: RowStore,
        log_writer: ILogWriter,
        data_writer: IDataWriter,
        installer: ISnapshotInstaller | None = None,
        reader: IReadAhead,
        clock: IReactorTime,
        now: Callable[[], float],
        now_ms: Callable[[], int],
        flushed: Callable[[], None],
        answered: Callable[[], None],
        stopped: Callable[[BaseException], None],
        durations: Durations,
        memtable_bytes: int,
        durability_os: bool,
        hz: int = 10,
        request_timeout: float = 5.0,
        turn: Turn | None = None,
        round_seconds: float = ROUND_SECONDS,
        gather_seconds: float = GATHER_SECONDS,
    ) -> None:
        """
        @param now: The time in seconds since whenever, for how long work takes.
        @param now_ms: The time of day, in ms since 1970.
        @param flushed: Called when a table is in data.db.
        @param answered: Called when clients may have been answered, so that it can be sent.
        @param stopped: Called once with the failure that stops the store.
        @param hz: How often a second it's looked after what takes too long, and what has expired.
        @param request_timeout: How long clients wait, in seconds.
        @param turn: At whose end clients' commands leave; its own if it has nothing to do with others.
        @param round_seconds: For how long at most what comes waits for a round of all regions that is under way; and
            C{gather_seconds} for clients who were answered just now.
        """
        self.rows = rows
        self.log_writer = log_writer
        self.installer = installer
        self.reader = reader
        self.clock = clock
        self.now = now
        self.answered = answered
        self.durations = durations
        self.hosts: dict[int, RegionHost] = {}
        self.ordered: list[RegionHost] = []
        self.gaps: list[Gap] = []
        self.watchers: list[Callable[[], None]] = []
        self.moved: Callable[[Operation, tuple[int, int], RegionHost | Gap | None], None] = _not_here
        self.local_reads = False
        self.gone: Callable[[RegionHost], None] = lambda host: None
        self.durability_os = durability_os
        self.merged: dict[int, int] = {}
        self.claimed: dict[int, tuple[bytes, bytes]] = {}
        self.polls: Polls | None = None
        self.failed = False
        self._changing = False
        self.rounds = Rounds(clock, turn if turn is not None else Turn(clock), round_seconds, gather_seconds)
        self.stacks = Stacks()
        self.flushes = Flushes(
            rows=rows,
            stacks=self.stacks,
            log_writer=log_writer,
            data_writer=data_writer,
            clock=clock,
            durations=durations,
            memtable_bytes=memtable_bytes,
            durability_os=durability_os,
            flushed=flushed,
        )
        self._now_ms = now_ms
        self._stopped = stopped
        self._hz = hz
        self._request_timeout = request_timeout
        self._ticking: IDelayedCall | None = None
        self._looks = 0
        #: Of each region that leads: what was the last entry when it was looked at, and since when that is so.
        self._still: dict[int, tuple[int, float]] = {}
        rows.expected = self._expected
        rows.pausing = self.stacks.pause
        for worker in (log_writer, data_writer, reader):
            worker.failed(self.fail)

    def expect_local_reads(self) -> None:
        """Learn that some client reads what is applied here: regions that come are to know it, too."""
        if not self.local_reads:
            self.local_reads = True
            for host in self.ordered:
                if host.elsewhere is not None:
                    host.elsewhere.expect_local_reads()

    def add(self, host: RegionHost) -> None:
        """Take a region in, at any time; whoever makes it starts it."""
        region = host.descriptor.region
        assert region not in self.hosts, "a store has a region once"
        self.hosts[region] = host
        if self.failed:
            host.halt()
        self.ranges_changed()

    def remove(self, region: int) -> None:
        """
        Let go of a region that has ended: it was halted, and applies nothing any more.

        What flushes say of it ends here; what the files have of it is whoever's business ended it.
        """
        host = self.hosts.pop(region)
        self.flushes.remove(host.flushing)
        self._still.pop(region, None)
        self.claimed.pop(region, None)
        self.ranges_changed()

    def drop(self, host: RegionHost) -> None:
        """Keep a region in mind no more of which nothing is here, and which lies elsewhere or was merged."""
        self.remove(host.descriptor.region)
        host.merging.end(self.having(host.descriptor.slots[0]))
        self.gone(host)

    def ranges_changed(self) -> None:
        """Learn that there are other regions, or that the ranges are others; keep them in their order."""
        if self._changing:
            return
        ordered = self.ordered
        ordered[:] = sorted(self.hosts.values(), key=lambda host: host.descriptor.start)
        self.hosts.clear()
        self.hosts.update((host.descriptor.region, host) for host in ordered)
        for host in ordered:
            # What the log of a whole did is not to be done again where its parts are at work.
            host.group.copies_first = len(ordered) > 1 or host.descriptor.version > 1
            host.proposals.rounds = self.rounds if len(ordered) > 1 else None
        # With one there's nothing to be found out.
        self.rows.pausing = ordered[0].pacer.pause if len(ordered) == 1 else self.stacks.pause
        before, self.gaps = self.gaps, self._look_for_gaps()
        for watcher in self.watchers:
            watcher()
        for gap in before:
            if gap not in self.gaps:
                gap.known()

    def _look_for_gaps(self) -> list[Gap]:
        """Find the slots that lie in no region here; what was found before stays the same."""
        ordered = self.ordered
        if not ordered:
            return []
        known = {gap.slots: gap for gap in self.gaps}
        firsts = [*(host.descriptor.slots[0] for host in ordered), SLOTS]
        ends = [0, *(host.descriptor.slots[1] for host in ordered)]
        start_id = ordered[0].start_id
        return [
            known.get((end, first)) or Gap(self, (end, first), start_id)
            for end, first in zip(ends, firsts, strict=True)
            if end < first
        ]

    def gaps_within(self, slots: tuple[int, int]) -> list[Gap]:
        """Give those that begin in a range, from its first slot to before its second one."""
        return [gap for gap in self.gaps if slots[0] <= gap.slots[0] < slots[1]]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make several changes of which others learn as one."""
        self._changing = True
        try:
            yield
        finally:
            self._changing = False
            self.ranges_changed()

    def routes(self) -> list[tuple[tuple[int, int], RegionHost | Gap]]:
        """
        Give each region with the first of the slots that go there and the one behind the last, in their order; and what
        takes them where the region isn't known.
        """
        found: list[tuple[int, RegionHost | Gap]] = [(host.descriptor.slots[0], host) for host in self.ordered]
        if self.gaps:
            found = sorted([*found, *((gap.slots[0], gap) for gap in self.gaps)], key=itemgetter(0))
        ends = [*(first for first, _ in found[1:]), SLOTS]
        return [((first, end), one) for (first, one), end in zip(found, ends, strict=True)]

    def overlapping(self, start: bytes, end: bytes) -> list[RegionHost]:
        """
        Give the regions here that have keys of a range, by what is applied here.

        @param end: The first key behind it; empty if nothing is.
        """
        return [
            host
            for host in self.ordered
            if (not end or host.descriptor.start < end) and (not host.descriptor.end or start < host.descriptor.end)
        ]

    def claims(self, start: bytes, end: bytes, but: int = 0) -> bool:
        """Say whether a snapshot, but of one region, is being installed that has keys of a range."""
        return any(
            region != but and (not end or first < end) and (not behind or start < behind)
            for region, (first, behind) in self.claimed.items()
        )

    def having(self, slot: int) -> RegionHost | Gap:
        """Give what takes what is for a slot."""
        return next(one for (first, end), one in self.routes() if first <= slot < end)

    def of_slot(self, slot: int) -> RegionHost:
        """Give the region in which a slot lies."""
        ordered = self.ordered
        return ordered[bisect_right([host.descriptor.slots[0] for host in ordered], slot) - 1]

    def _expected(self, keys: list[bytes]) -> None:
        """Rest until rows have been read that are needed next, and by a process that may wait for the disk."""
        stacks = self.stacks
        if stacks.working:
            assert stacks.current is not None
            stacks.current.wait(lambda wake: self.reader.keys(keys, wake))

    # Time

    def begin(self) -> None:
        """Begin to look after them some times a second, if that hasn't begun."""
        if self._ticking is None:
            self._ticking = self.clock.callLater(1 / self._hz, self._tick)
            self.merged.update(merged_regions(self.rows))
            # What a replay has merged isn't in data.db yet.
            fresh = [region for region in self.merged if tombstone_key(region) in self.rows.active.rows["region"]]
            for region in fresh:
                self.ordered[0].flush_all(partial(self.forget_log, region))

    def forget_log(self, region: int) -> None:
        """Delete what raft.db has of a region that was merged, now that data.db says so (R5 a)."""
        if not self.failed:
            batch = LogBatch()
            batch.forget(region)
            self.log_writer.write(batch, lambda: None)

    def end(self) -> None:
        """Learn that a region has come to its end; when all have, they're looked after no more."""
        if self._ticking is not None and self._ticking.active() and all(host.ended for host in self.hosts.values()):
            self._ticking.cancel()
            self.rounds.close()

    def _tick(self) -> None:
        if self.failed:
            return
        self._ticking = self.clock.callLater(1 / self._hz, self._tick)
        for gap in self.gaps:
            gap.look(self.clock.seconds() - self._request_timeout)
        # Some may end meanwhile, as when they're merged.
        hosts = list(self.hosts.values())
        if len(hosts) == 1:
            for host in hosts:
                host.tick()
            return
        # What is quiet costs nothing, unless something of it, or of another region, has expired.
        due = self._is_due()
        for host in hosts:
            if not host.ended and (due or not host.quiet):
                host.tick()
        self._looks += 1
        if self._looks % self._hz == 0:
            self._quiet()

    def _is_due(self) -> bool:
        """Say whether some key has expired, in whichever region."""
        try:
            return bool(self.rows.due(self._now_ms(), 1))
        except (Fault, MemoryError, OSError) as problem:
            self.fail(problem)
            return False

    def _quiet(self) -> None:
        """Once a second: let groups fall silent in which nothing happens, so that they cost nothing."""
        now = self.clock.seconds()
        for region, host in self.hosts.items():
            group = host.group
            if not group.leads or group.quiesced or host.queue.batches or host.proposals.pending or not host.ready:
                self._still.pop(region, None)
                continue
            last, since = self._still.get(region, (-1, now))
            if last != group.last:
                self._still[region] = (group.last, now)
            elif now - since >= QUIET_SECONDS and group.quiesce():
                host.replica.go_on()

    # The end

    def fail(self, problem: BaseException) -> None:
        """Stop serving: what was under way has an unknown outcome, and nobody is told otherwise."""
        if self.failed:
            return
        self.failed = True
        self.rounds.close()
        if not isinstance(problem, (Fault, OSError)):
            # No one foresaw it, so where it was is worth knowing.
            self.log.failure("the store fails", Failure(problem))
        hosts = list(self.hosts.values())
        for host in hosts:
            host.halt()
        self._stopped(problem)
        for host in hosts:
            host.give_up_closing(problem)

    def close(self) -> Deferred[None]:
        """Finish what was taken in all of them; fires when it's applied and flushed."""
        closing = gatherResults([host.close() for host in self.hosts.values()], consumeErrors=True)
        return closing.addCallback(lambda _: None)

    # What others ask

    def hand_over(self) -> None:
        """Let other stores lead what this one leads."""
        for host in self.hosts.values():
            host.hand_over()

    @property
    def transferring(self) -> int:
        """To which peer leadership of some region is being handed over; 0 if none is."""
        return max((host.group.transferring for host in self.hosts.values()), default=0)

    @property
    def growing_refused(self) -> bool:
        """Whether the disk is nearly full, so that commands are refused that make data grow."""
        return any(host.growing_refused for host in self.hosts.values())

    @growing_refused.setter
    def growing_refused(self, refused: bool) -> None:
        for host in self.hosts.values():
            host.growing_refused = refused

    @property
    def table_bytes(self) -> int:
        """Count the memory of changes that aren't in data.db yet."""
        return self.rows.active_bytes + self.rows.frozen_bytes
