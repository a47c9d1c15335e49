"""
Regions that this store leads are split, whoever wants it: ids are had for the parts, the split is proposed, its outcome
is waited for, and the scheduler is told.

What the scheduler is told here its clients may follow at once; it's no loss if that doesn't arrive, since the regions'
own reports say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from tinykv.errors import ControlRefused, ControlUnknown, ScheduleProblem
from tinykv.interfaces import IScheduler
from tinykv.placement.region_info import RegionInfo
from tinykv.raft.log import Compacted
from tinykv.raft.refusals import Refused
from tinykv.region.descriptor import Descriptor
from tinykv.region.splitting import Cut, Split, own_cuts, parts_of, why_not
from tinykv.store.host import RegionHost

T = TypeVar("T")

_LATE: Final = "no majority has confirmed the split in time; it may be made yet"


class Until(Protocol):
    """Waits; see L{tinykv.store.surroundings.Surroundings.until}."""

    def __call__(self, look: Callable[[], T | None], late: str) -> Deferred[T]:
        """Give what a look gives, once that isn't None."""


class Splitter:
    """
    Splits them.

    @ivar done: How many splits have been made here.
    """

    log = Logger()

    def __init__(self, *, store_id: int, until: Until, scheduler: IScheduler | None) -> None:
        """
        @param until: Waits until something is so.
        @param scheduler: Gives ids; None where there's none.
        """
        self.done = 0
        self._store_id = store_id
        self._until = until
        self._scheduler = scheduler
        #: Regions whose split is under way.
        self._splitting: set[int] = set()

    def splits(self, region: int) -> bool:
        """Say whether a split of a region is under way here."""
        return region in self._splitting

    async def split(self, host: RegionHost, slots: Sequence[int]) -> list[Descriptor]:
        """
        Split a region that this store leads.

        @param slots: The first slot of each part that is cut off, in order.
        @return: What it's now, and its parts, as they begin.
        @raise ControlRefused: It can't be; nothing was done.
        @raise ControlUnknown: Nobody can tell whether it was.
        """
        region = host.descriptor.region
        if region in self._splitting:
            raise ControlRefused(f"region {region} is being split already; ask again")
        self._splitting.add(region)
        try:
            return await self._split(host, slots)
        finally:
            self._splitting.discard(region)

    async def _split(self, host: RegionHost, slots: Sequence[int]) -> list[Descriptor]:
        descriptor = host.descriptor
        cuts = own_cuts(descriptor, slots)
        problem = why_not(descriptor, Split(descriptor.version, descriptor.conf_ver, cuts))
        if problem is not None:
            raise ControlRefused(problem)
        if self._scheduler is not None:
            cuts = await self._scheduled_cuts(self._scheduler, descriptor, slots)
        split = Split(descriptor.version, descriptor.conf_ver, cuts)
        try:
            index = host.propose_split(split)
        except Refused as refused:
            raise ControlRefused(f"{refused}; ask again") from refused
        await self._outcome(host, split, index)
        whole, parts = parts_of(descriptor, split)
        self.done += 1
        self._report(host, [whole, *parts])
        return [whole, *parts]

    async def _scheduled_cuts(
        self, scheduler: IScheduler, descriptor: Descriptor, slots: Sequence[int]
    ) -> tuple[Cut, ...]:
        """
        Ask for ids.

        @raise ControlRefused: There are none.
        """
        try:
            ids = await scheduler.ask_split(
                descriptor.region, version=descriptor.version, conf_ver=descriptor.conf_ver, count=len(slots)
            )
        except ScheduleProblem as problem:
            raise ControlRefused(f"ids for the parts are needed: {problem}") from problem
        return tuple(Cut(slot, part["region"], tuple(part["peers"])) for slot, part in zip(slots, ids, strict=True))

    def _outcome(self, host: RegionHost, split: Split, index: int) -> Deferred[bool]:
        """Wait until it's known what became of a split; fails where it wasn't made."""
        group = host.group
        term = group.term

        def applied() -> bool | None:
            if host.applied < index:
                return None
            try:
                found = group.term_of(index)
            except Compacted:
                raise ControlUnknown("another store leads now; see whether the region was split") from None
            if found != term:
                raise ControlRefused("another store took over before a majority had the split; ask again")
            if host.descriptor.version == split.version:
                raise ControlRefused("the region was changed before it could be split; ask again")
            # The parts may not be at work yet.
            return True if all(cut.region in host.regions.hosts for cut in split.cuts) else None

        return self._until(applied, _LATE)

    def _report(self, host: RegionHost, regions: Sequence[Descriptor]) -> None:
        """Tell the scheduler how a region was split."""
        if self._scheduler is None:
            return
        told: list[RegionInfo] = []
        for descriptor in regions:
            part = host.regions.hosts[descriptor.region]
            leader = self._store_id if part.group.leads else None
            told.append(RegionInfo.of(descriptor, leader, term=part.group.term))
        self._scheduler.report_split(told).addErrback(self._not_told)

    def _not_told(self, failure: Failure) -> None:
        failure.trap(ScheduleProblem)
        self.log.debug("the scheduler learns of a split by the regions' reports: {why}", why=failure.getErrorMessage())
