"""
Whether regions that this store leads are asked for so much that they're to be split, so that others can lead parts.

What a region does is counted anyway; that's looked at from time to time. Only of one that has done more than is wanted
requests are sampled, some times a second: the last one that was read, and one of those that are being written. So
commands pay a count for it, and nothing else. After a while the samples say where to cut so that both parts do about
as much. What becomes of the parts is for the scheduler to say, which is told what each of them does.

Slots stay whole: of a region whose work one slot makes nothing can be cut off, and that's said once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import Any, Final, NamedTuple, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from tinykv.errors import ControlRefused, ControlUnknown
from tinykv.interfaces import RegionRange
from tinykv.keys import slot_of
from tinykv.redis.command_keys import keys_of
from tinykv.redis.keyspace import Keyspace
from tinykv.redis.operations import COMMANDS, EXEC, WAITING
from tinykv.redis.spec import CommandSpec
from tinykv.region.cuts import load_cut
from tinykv.region.descriptor import Descriptor
from tinykv.store.batches import Batch
from tinykv.store.split_check import AGAIN_SECONDS

#: A write counts as so many reads: it's also sent to the others, made durable, and applied.
WRITE_COSTS: Final = 2
#: How often requests are sampled, in seconds.
SAMPLE_SECONDS: Final = 0.02
#: A region must have done too much in so many looks in a row, and so many requests must have been sampled.
LOOKS_LEAST: Final = 3
SAMPLES_LEAST: Final = 100
#: What weighs least counts as this much: weights are whole numbers.
_FINE: Final = 1000


class Reading(Protocol):
    """Where a region's commands run; see L{tinykv.redis.execution.Execution}."""

    reads: int
    sampling: bool
    sampled: tuple[CommandSpec | None, Any] | None


class Writing(Protocol):
    """What is being written; see L{tinykv.store.apply_queue.ApplyQueue}."""

    @property
    def batches(self) -> Sequence[Batch]:
        """What was proposed here and isn't applied, in order."""


class BusyRegion(Protocol):
    """A region of this store; see L{tinykv.store.host.RegionHost}."""

    @property
    def descriptor(self) -> Descriptor:
        """What it is, as of what is applied."""

    @property
    def ready(self) -> bool:
        """Whether this store leads it, and knows all that was decided before."""

    @property
    def queue(self) -> Writing:
        """What is being written."""

    @property
    def execution(self) -> Reading:
        """Where it's read."""

    @property
    def keyspace(self) -> Keyspace:
        """Its keys."""


class _Counted(NamedTuple):
    """
    What a region had done at a look.

    @ivar slots: Which slots it had.
    """

    slots: tuple[int, int]
    reads: int
    writes: int


class _Samples:
    """
    What is known of the requests of a region that does too much.

    @ivar looks: How often in a row it did.
    @ivar reads: How many reads were sampled of each slot; C{writes} likewise.
    @ivar read: How much was read and C{written} meanwhile.
    """

    def __init__(self, region: BusyRegion) -> None:
        self.region = region
        self.looks = 1
        self.reads: Counter[int] = Counter()
        self.writes: Counter[int] = Counter()
        self.read = self.written = 0

    def take(self, random: Random) -> None:
        """Sample what was read last, and what is being written."""
        execution, batches = self.region.execution, self.region.queue.batches
        if execution.sampled is not None:
            (spec, arguments), execution.sampled = execution.sampled, None
            self._add(self.reads, some_slot(spec, arguments, random))
        if batches:
            kind, _, _, _, spec, arguments, _ = random.choice(batches[-1].operations)
            if kind in (COMMANDS, WAITING, EXEC):
                self._add(self.writes, some_slot(spec, arguments, random))

    def _add(self, slots: Counter[int], slot: int | None) -> None:
        first, end = self.region.descriptor.slots
        if slot is not None and first <= slot < end:
            slots[slot] += 1

    @property
    def enough(self) -> bool:
        """Whether there are enough to tell where to cut."""
        return self.looks >= LOOKS_LEAST and self.reads.total() + self.writes.total() >= SAMPLES_LEAST

    def weights(self) -> dict[int, int]:
        """Give what slots weigh: their part of what was sampled of the reads, and of the writes, by what these cost."""
        weights: Counter[int] = Counter()
        for slots, work in ((self.reads, self.read), (self.writes, WRITE_COSTS * self.written)):
            total = slots.total()
            for slot, count in slots.items():
                weights[slot] += count * work * _FINE // total
        return weights


class LoadCheck:
    """
    Looks at regions from time to time.

    @ivar splits: How many regions it has had split.
    @ivar threshold: A region that does more each second, in reads and twice the writes, is split; it may be changed.
    """

    log = Logger()

    def __init__(
        self,
        *,
        regions: Callable[[], Collection[BusyRegion]],
        split: Callable[[int, Sequence[int]], Deferred[list[RegionRange]]],
        clock: IReactorTime,
        random: Random,
        interval: float,
        threshold: float,
    ) -> None:
        """
        @param regions: Gives the regions of this store.
        @param split: Splits a region at some slots, and gives what it has then, and its parts.
        @param random: Chooses what is sampled.
        @param interval: How often is looked, in seconds.
        """
        self.splits = 0
        self.threshold = threshold
        self._regions = regions
        self._split = split
        self._clock = clock
        self._random = random
        self._interval = interval
        self._counted: dict[int, _Counted] = {}
        #: Those that have done too much.
        self._samples: dict[int, _Samples] = {}
        #: Regions of which was said that they can't be cut further.
        self._warned: set[int] = set()
        #: When those are looked at again that couldn't be split.
        self._again: dict[int, float] = {}
        self._working: dict[int, Deferred[None]] = {}
        self._looked_at = 0.0
        self._looking: IDelayedCall | None = None
        self._sampling: IDelayedCall | None = None

    def start(self) -> None:
        """Begin to look."""
        self._looked_at = self._clock.seconds()
        self._looking = self._clock.callLater(self._interval, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        for number in list(self._samples):
            self._drop(number)
        if self._sampling is not None:
            self._sampling.cancel()
            self._sampling = None
        for working in list(self._working.values()):
            working.cancel()

    def _look(self) -> None:
        now = self._clock.seconds()
        self._looking = self._clock.callLater(self._interval, self._look)
        # A look that comes late has seen more.
        seconds, self._looked_at = now - self._looked_at, now
        regions = {region.descriptor.region: region for region in self._regions()}
        for known in (self._counted, self._again, self._samples):
            for gone in known.keys() - regions.keys():
                self._forget(gone)
        for number in sorted(regions):
            self._look_at(number, regions[number], seconds, now)
        if self._samples and self._sampling is None:
            self._sampling = self._clock.callLater(SAMPLE_SECONDS, self._sample)

    def _look_at(self, number: int, region: BusyRegion, seconds: float, now: float) -> None:
        counted = _Counted(region.descriptor.slots, region.execution.reads, region.keyspace.sequence)
        before = self._counted.get(number)
        self._counted[number] = counted
        if before is None or before.slots != counted.slots or not region.ready:
            self._drop(number)
            return
        read, written = max(counted.reads - before.reads, 0), max(counted.writes - before.writes, 0)
        if read + WRITE_COSTS * written <= self.threshold * seconds or now < self._again.get(number, 0.0):
            self._drop(number)
            return
        samples = self._samples.get(number)
        if samples is None or samples.region is not region:
            self._samples[number] = _Samples(region)
            region.execution.sampling = True
            return
        samples.looks += 1
        samples.read += read
        samples.written += written
        if samples.enough:
            self._drop(number)
            self._decide(number, counted.slots, samples, (read + WRITE_COSTS * written) / seconds, now)

    def _sample(self) -> None:
        self._sampling = self._clock.callLater(SAMPLE_SECONDS, self._sample) if self._samples else None
        for samples in self._samples.values():
            samples.take(self._random)

    def _drop(self, number: int) -> None:
        """Sample a region no more."""
        samples = self._samples.pop(number, None)
        if samples is not None:
            samples.region.execution.sampling = False
            samples.region.execution.sampled = None

    def _forget(self, number: int) -> None:
        """Learn that a region isn't any more."""
        self._drop(number)
        self._counted.pop(number, None)
        self._again.pop(number, None)
        self._warned.discard(number)

    def _decide(self, number: int, slots: tuple[int, int], samples: _Samples, load: float, now: float) -> None:
        """Have a region split that has done too much for some time."""
        self._again[number] = now + AGAIN_SECONDS
        weights = samples.weights()
        cut = load_cut(weights, slots)
        if cut is None:
            self._warn(number, weights, load)
            return
        what = (
            "region {region} does {load} requests a second, more than split_load_threshold, and is split at slot {slot}"
        )
        self.log.info(what, region=number, load=round(load), slot=cut)
        working = self._working[number] = Deferred.fromCoroutine(self._divide(number, cut))
        working.addErrback(self._failed, number)
        working.addBoth(lambda _: self._working.pop(number, None))

    async def _divide(self, number: int, cut: int) -> None:
        await self._split(number, [cut])
        self.splits += 1
        self._again.pop(number, None)

    def _warn(self, region: int, weights: dict[int, int], load: float) -> None:
        if region in self._warned:
            return
        self._warned.add(region)
        slot = max(weights, key=lambda each: (weights[each], -each))
        self.log.warn(
            "region {region} does {load} a second, more than split_load_threshold, and can't be split in parts that"
            " share it: slot {slot} has {part} % of it, and slots aren't cut. Give keys that needn't be used together"
            " no common hash tag, and what is used very often more than one key",
            region=region,
            load=round(load),
            slot=slot,
            part=round(100 * weights[slot] / sum(weights.values())),
        )

    def _failed(self, failure: Failure, region: int) -> None:
        if failure.check(CancelledError) is not None and self._looking is None:
            return
        if failure.check(ControlRefused, ControlUnknown) is None:
            # A defect of ours mustn't end the looking for good.
            self.log.failure("splitting region {region} failed", failure, region=region)
        else:
            self.log.warn(
                "region {region} wasn't split by its load, that is tried again: {why}",
                region=region,
                why=failure.getErrorMessage(),
            )


def some_slot(spec: CommandSpec | None, arguments: Any, random: Random) -> int | None:
    """
    Give the slot of some key of a command, None if it names none.

    @param spec: None for a transaction, whose commands C{arguments} then are.
    """
    if spec is None:
        commands = [(command, request) for _, command, request, _ in arguments if command is not None]
        if not commands:
            return None
        spec, arguments = random.choice(commands)
    facts = spec.facts
    if facts is None or facts.module:
        return None
    positions = keys_of(facts, arguments)
    return slot_of(arguments[random.choice(positions)]) if positions else None
