"""
Whether regions that this store leads have grown so much that they're to be split.

A region is measured when nothing is known of it, or when it may have grown too large since: bytes of entries that were
applied, and keys that came, tell that for nothing. Measuring is done by a process of its own, one region at a time.
Commands that make much of little (COPY, SETRANGE) are noticed late, when there are more keys or more entries.

Slots stay whole, so a part may be larger than wanted, and a region of one slot stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from tinykv.errors import ControlRefused, ControlUnknown
from tinykv.interfaces import RegionRange
from tinykv.redis.keyspace import Keyspace
from tinykv.region.cuts import size_cuts
from tinykv.region.descriptor import Descriptor
from tinykv.region.splitting import PARTS_MAX
from tinykv.storage.errors import StorageError

#: By which part of the size of a part a region has to have grown to be measured again.
STEP_PART: Final = 8
#: By which part of its keys, and by how many at least.
KEYS_PART: Final = 4
KEYS_LEAST: Final = 1000
#: After how long a region is looked at again that couldn't be measured or split, in seconds.
AGAIN_SECONDS: Final = 60.0


class Applied(Protocol):
    """What was applied of a region; see L{tinykv.store.apply_queue.ApplyQueue}."""

    @property
    def bytes(self) -> int:
        """Bytes of the entries."""


class GrowingRegion(Protocol):
    """A region of this store; see L{tinykv.store.host.RegionHost}."""

    @property
    def descriptor(self) -> Descriptor:
        """What it is, as of what is applied."""

    @property
    def ready(self) -> bool:
        """Whether this store leads it, and knows all that was decided before."""

    @property
    def queue(self) -> Applied:
        """What is applied."""

    @property
    def keyspace(self) -> Keyspace:
        """Its keys."""


class _Size(NamedTuple):
    """
    What a region held when it was measured.

    @ivar slots: Which slots it had.
    @ivar applied: Bytes of entries that were applied by then; C{keys}: how many keys it had.
    """

    slots: tuple[int, int]
    size: int
    applied: int
    keys: int


class SplitCheck:
    """
    Looks at regions from time to time.

    @ivar splits: How many regions it has had split.
    """

    log = Logger()

    def __init__(
        self,
        *,
        regions: Callable[[], Sequence[GrowingRegion]],
        held: Callable[[], int],
        measure: Callable[[tuple[int, int]], Deferred[dict[int, int]]],
        split: Callable[[int, Sequence[int]], Deferred[list[RegionRange]]],
        clock: IReactorTime,
        interval: float,
        max_bytes: int,
        part_bytes: int,
    ) -> None:
        """
        @param regions: Gives the regions of this store.
        @param held: Gives the bytes that the store holds, about, at no cost.
        @param measure: Gives the bytes of slots, by the first and the one behind the last.
        @param split: Splits a region at some slots, and gives what it has then, and its parts.
        @param interval: How often is looked, in seconds.
        @param max_bytes: A region that holds more is split, in parts of C{part_bytes} or somewhat more.
        """
        self.splits = 0
        self._regions = regions
        self._held = held
        self._measure = measure
        self._split = split
        self._clock = clock
        self._interval = interval
        self._max = max_bytes
        self._part = part_bytes
        self._sizes: dict[int, _Size] = {}
        #: Those that were measured when sizes counted that don't any more.
        self._stale: set[int] = set()
        #: Regions of which was said that they can't be cut further.
        self._warned: set[int] = set()
        self._looking: IDelayedCall | None = None
        self._working: Deferred[None] | None = None
        #: The region that was looked at last, so that each has its turn.
        self._last = 0
        #: When those are looked at again that couldn't be measured or split.
        self._again: dict[int, float] = {}

    def start(self) -> None:
        """Begin to look."""
        self._looking = self._clock.callLater(self._interval, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if self._working is not None:
            self._working.cancel()

    def choose(self, max_bytes: int, part_bytes: int) -> None:
        """Split by other sizes from now on: what was known to be small enough may not be."""
        if part_bytes >= max_bytes:
            # One was chosen without the other.
            part_bytes = max_bytes * 2 // 3
        if (max_bytes, part_bytes) != (self._max, self._part):
            self._max, self._part = max_bytes, part_bytes
            self._stale.update(self._sizes)

    def size(self, region: int) -> int | None:
        """Give the bytes that a region held when it was measured last; None if it never was."""
        known = self._sizes.get(region)
        return None if known is None else known.size

    def _look(self) -> None:
        self._looking = self._clock.callLater(self._interval, self._look)
        self._next()

    def _go_on(self) -> None:
        """Measure the next region that may be too large, if there's one."""
        regions = {region.descriptor.region: region for region in self._regions()}
        for known in (self._sizes, self._again):
            for gone in known.keys() - regions.keys():
                del known[gone]
        self._warned &= regions.keys()
        self._stale &= regions.keys()
        numbers = sorted(number for number, region in regions.items() if region.ready)
        held = self._held()
        turns = [*(number for number in numbers if number > self._last), *numbers]
        for number in turns[: len(numbers)]:
            if self._is_due(regions[number], held):
                self._last = number
                self._working = Deferred.fromCoroutine(self._check(regions[number]))
                self._working.addErrback(self._failed, number).addBoth(self._over)
                return

    def _over(self, _: object) -> None:
        self._working = None
        if self._looking is not None:
            # Others may be due too.
            self._clock.callLater(0, self._next)

    def _next(self) -> None:
        if self._looking is None or self._working is not None:
            return
        try:
            self._go_on()
        except StorageError as problem:
            self.log.warn("regions' sizes aren't looked at now: {why}", why=problem)

    def _is_due(self, region: GrowingRegion, held: int) -> bool:
        """Say whether a region may have grown too large since it was measured; the store holds so many bytes."""
        number, slots = region.descriptor.region, region.descriptor.slots
        if number in self._again:
            return self._clock.seconds() >= self._again[number]
        known = self._sizes.get(number)
        if known is None or known.slots != slots or number in self._stale:
            return held > self._max
        grown = region.queue.bytes - known.applied
        if grown >= max(self._part, known.size) // STEP_PART and known.size + grown > self._max:
            return True
        more = _keys(region) - known.keys
        return more > known.keys // KEYS_PART + KEYS_LEAST and held > self._max

    async def _check(self, region: GrowingRegion) -> None:
        """Measure a region, and split it if it's too large."""
        number, slots = region.descriptor.region, region.descriptor.slots
        self._again[number] = self._clock.seconds() + AGAIN_SECONDS
        # What is applied meanwhile counts as grown.
        applied, keys = region.queue.bytes, _keys(region)
        sizes = await self._measure(slots)
        size = sum(sizes.values())
        self._sizes[number] = _Size(slots, size, applied, keys)
        self._stale.discard(number)
        if not region.ready or region.descriptor.slots != slots:
            # Whoever leads it now looks at what it is now.
            self._again.pop(number, None)
            return
        cuts = size_cuts(sizes, self._part, self._max)[:PARTS_MAX] if size > self._max else []
        if cuts:
            what = "region {region} holds {size} bytes, more than region_max_size, and is split in {parts}"
            self.log.info(what, region=number, size=size, parts=len(cuts) + 1)
            self._note(await self._split(number, cuts), sizes)
            self.splits += 1
        elif size > self._max:
            self._warn(number, sizes)
        self._again.pop(number, None)

    def _note(self, parts: Sequence[RegionRange], sizes: Mapping[int, int]) -> None:
        """Take over what is known of the parts of a region that was split."""
        regions = {region.descriptor.region: region for region in self._regions()}
        for number, first, last in ((part["region"], part["first"], part["last"]) for part in parts):
            if number in regions:
                size = sum(held for slot, held in sizes.items() if first <= slot <= last)
                region = regions[number]
                self._sizes[number] = _Size((first, last + 1), size, region.queue.bytes, _keys(region))

    def _warn(self, region: int, sizes: Mapping[int, int]) -> None:
        if region in self._warned:
            return
        self._warned.add(region)
        slot = max(sizes, key=lambda each: (sizes[each], -each))
        self.log.warn(
            "region {region} is larger than region_max_size, and can't be split: {size} of its bytes are in slot"
            " {slot}, and slots aren't cut. Give keys that needn't be used together no common hash tag",
            region=region,
            size=sizes[slot],
            slot=slot,
        )

    def _failed(self, failure: Failure, region: int) -> None:
        if failure.check(CancelledError) is not None and self._looking is None:
            return
        if failure.check(ControlRefused, ControlUnknown, StorageError) is None:
            # A defect of ours mustn't end the looking for good.
            self.log.failure("looking at region {region} failed", failure, region=region)
        else:
            self.log.warn(
                "region {region} wasn't split by its size, that is tried again: {why}",
                region=region,
                why=failure.getErrorMessage(),
            )


def _keys(region: GrowingRegion) -> int:
    return sum(database.keys for database in region.keyspace.physical)
