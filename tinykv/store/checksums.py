"""
What a replica's rows sum up to, so that replicas can be compared.

An entry asks for it, so all replicas sum up behind the same one, each when it applies that. It changes nothing, and
nobody waits: behind the entry the memory table is frozen, as for any flush; when that is in data.db a process of its
own begins a read transaction, which shows the rows as of exactly this entry, and the next flush waits for no more than
that (L{tinykv.storage.row_sum}). Reads and writes go on meanwhile.

Whoever compares replicas tells each one before, so that its process is there when the entry comes. An entry of which
nobody has told this run of the store means nothing, such as one that is applied again after a crash, or late by a store
that was away.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from tinykv.errors import ControlRefused
from tinykv.interfaces import ISum, ISummer
from tinykv.storage.errors import StorageError
from tinykv.store.host import RegionHost

#: How long flushes wait for a process to have its read transaction, in seconds; usually it's some milliseconds.
OPEN_SECONDS: Final = 5.0

#: How long the entry may take to come, in seconds: others are asked before, some of which don't answer, and a majority
#: has to decide it.
READY_SECONDS: Final = 30.0


class Sum(NamedTuple):
    """
    What a replica's rows summed up to.

    @ivar index: The entry behind which they did. Invariant: the same for all replicas.
    @ivar digest: In hex.
    """

    index: int  # type: ignore[assignment]  # a field hides tuple.index, which no one calls on this
    digest: str


class _Task:
    """
    One sum that was asked for.

    @ivar host: The region.
    @ivar seconds: How long it may take, behind the entry.
    @ivar late: When it's given up.
    @ivar waiting: The same while flushes wait for it.
    @ivar index: The entry, 0 until it's applied.
    @ivar problem: Why there will be no sum.
    """

    def __init__(
        self, host: RegionHost, name: bytes, summing: ISum, seconds: float, began: float, late: IDelayedCall
    ) -> None:
        self.host = host
        self.name = name
        self.summing = summing
        self.seconds = seconds
        self.began = began
        self.late = self.waiting = late
        self.index = 0
        self.found: Sum | None = None
        self.problem = ""

    @property
    def over(self) -> bool:
        """Whether nothing more comes."""
        return self.found is not None or bool(self.problem)


class Checksums:
    """
    The sums of this store's replicas: one at a time, of which the last is remembered.

    Only who leads a region asks for sums of it, and for one at a time; so when another one is asked for, nobody waits
    for the one before any more. While a region is summed up no other one is: flushes wait for one of them only.
    """

    log = Logger()

    def __init__(self, summer: ISummer, clock: IReactorTime) -> None:
        self._summer = summer
        self._clock = clock
        self._task: _Task | None = None
        self._stopped = False

    def serve(self, host: RegionHost) -> None:
        """Take a region in."""
        host.execution.summing = lambda name: self._applied(host, name)
        host.skipped = lambda: self._skipped(host)

    def prepare(self, host: RegionHost, name: bytes, seconds: float) -> Deferred[None]:
        """
        Make ready to sum up behind the entry of a name.

        @param seconds: How long it may take, behind the entry.
        @return: fires when the entry may come. Fails with L{ControlRefused}.
        """
        ready: Deferred[None] = Deferred()
        before = self._task
        if before is not None and before.host is not host and not before.over:
            region = before.host.descriptor.region
            ready.errback(ControlRefused(f"region {region} is being summed up; ask again when that's done"))
            return ready
        if before is not None:
            self._give_up(before, "another comparison has begun meanwhile")
        try:
            if self._stopped:
                raise ControlRefused("this store stops")
            summing = self._summer.start()
        except (ControlRefused, StorageError) as problem:
            ready.errback(ControlRefused(str(problem)))
            return ready

        def late() -> None:
            if task.index:
                why = f"entry {task.index} isn't summed up within {seconds:g} s; ask again, with a longer timeout"
            else:
                why = f"the entry for it hasn't been applied within {READY_SECONDS:g} s; ask again"
            self._give_up(task, why)

        def fail(why: str) -> None:
            if not ready.called:
                ready.errback(ControlRefused(why))

        task = _Task(host, name, summing, seconds, self._clock.seconds(), self._clock.callLater(READY_SECONDS, late))
        self._task = task
        summing.awake.addCallback(ready.callback)
        summing.answer.addCallback(lambda found: self._summed(task, *found))
        summing.answer.addErrback(lambda failure: self._not_summed(task, failure))
        summing.answer.addCallback(lambda _: fail(task.problem))
        return ready

    def applied(self, name: bytes) -> bool:
        """Say whether the entry of a name has been applied, of which this was told before."""
        return self._task is not None and self._task.name == name and bool(self._task.index)

    def result(self, name: bytes) -> Sum | None:
        """
        Give a sum; None if it isn't there yet.

        @raise ControlRefused: It won't be; says why.
        """
        task = self._task
        if task is None or task.name != name:
            raise ControlRefused("another comparison has begun meanwhile, or it was started anew; ask again")
        if task.problem:
            raise ControlRefused(task.problem)
        return task.found

    def stop(self) -> None:
        """Give up what is under way: the store stops."""
        self._stopped = True
        if self._task is not None:
            self._give_up(self._task, "this store stops")

    # From the entry to the sum

    def _applied(self, host: RegionHost, name: bytes) -> None:
        """In the midst of an entry: have the table frozen behind it."""
        task = self._task
        if task is None or task.host is not host or task.name != name or task.index or task.over:
            return
        # The entry counts as applied when all of it is.
        task.index = host.applied + 1
        task.late.reset(task.seconds)
        host.flush_exactly(lambda: self._committed(task))

    def _skipped(self, host: RegionHost) -> None:
        """A snapshot took the place of all entries up to some."""
        task = self._task
        if task is not None and task.host is host and not task.index:
            self._give_up(task, "it got a copy of the data in place of entries; ask again")

    def _committed(self, task: _Task) -> None:
        """data.db is as of the entry, and stays so until there's somebody who reads it."""
        assert not task.over, "who has given up isn't called back"

        def opened() -> None:
            if not task.over:
                task.waiting.cancel()
                task.host.let_flush()

        why = f"reading didn't begin within {OPEN_SECONDS:g} s: the host is busy; ask again"
        task.waiting = self._clock.callLater(OPEN_SECONDS, self._give_up, task, why)
        about = task.host.descriptor
        task.summing.begin(about.region, about.start, about.end, task.index, opened)

    def _summed(self, task: _Task, digest: str, rows: int) -> None:
        task.late.cancel()
        task.found = Sum(task.index, digest)
        self.log.info(
            "summed up {rows} rows as of entry {index} within {seconds:.1f} s",
            rows=rows,
            index=task.index,
            seconds=self._clock.seconds() - task.began,
        )

    def _not_summed(self, task: _Task, failure: Failure) -> None:
        if not failure.check(CancelledError):
            failure.trap(StorageError)
            self.log.error("no checksum as of entry {index}: {why}", index=task.index, why=failure.value)
            self._give_up(task, failure.getErrorMessage())

    def _give_up(self, task: _Task, why: str) -> None:
        if task.over:
            return
        task.problem = why
        for call in (task.late, task.waiting):
            if call.active():
                call.cancel()
        if task.index:
            task.host.let_flush()
        task.summing.answer.cancel()


def encode_result(found: Sum | None) -> bytes:
    """Write what L{Checksums.result} gives, for another store."""
    return b"" if found is None else b"%d %b" % (found.index, found.digest.encode())


def decode_result(payload: bytes) -> Sum | None:
    """
    Read what another store has said.

    @raise ControlRefused: It can't be read.
    """
    if not payload:
        return None
    index, _, digest = payload.partition(b" ")
    if not index.isdigit() or not digest.isalnum():
        raise ControlRefused("it answered what this version doesn't understand")
    return Sum(int(index), digest.decode("ascii", "replace"))
