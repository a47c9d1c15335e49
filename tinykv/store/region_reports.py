"""
What the scheduler is told of the regions that this store leads, and when.

A region is told of at once when somebody else leads it, when its peers or its range are others, when a peer has caught
up or fallen behind, or isn't reached any more; otherwise often enough for the scheduler to keep believing it. Loads are
what was counted since the word before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from tinykv.placement.region_info import RegionInfo
from tinykv.raft.group import Group
from tinykv.raft.progress import REPLICATE, SNAPSHOT, Progress
from tinykv.region.descriptor import Descriptor

#: A peer that lags by no more entries has caught up: so much may be under way all the time.
CAUGHT_UP_LAG: Final = 256
#: One that lags by more doesn't count as a replica. Between both it is what it was.
PENDING_LAG: Final = 8192
#: A store that isn't reached for so long is said not to be, in seconds: connections that end are made anew at once.
DOWN_SECONDS: Final = 3.0


class LedRegion(Protocol):
    """A region of this store; see L{tinykv.store.host.RegionHost}."""

    @property
    def descriptor(self) -> Descriptor:
        """What it is, as of what is applied."""

    @property
    def group(self) -> Group:
        """Its group."""

    @property
    def ready(self) -> bool:
        """Whether this store leads it, and knows all that was decided before."""


class Measured(NamedTuple):
    """
    What is known of a region's data and work.

    @ivar size: Bytes that it holds, about; C{keys} likewise.
    @ivar reads: Commands that have read since this store began, C{writes} those that wrote; likewise in bytes.
    """

    size: int = 0
    keys: int = 0
    reads: int = 0
    writes: int = 0
    read_bytes: int = 0
    write_bytes: int = 0


class _Told(NamedTuple):
    """
    What the scheduler was told of a region, and when.

    @ivar looks: None where that got lost.
    """

    looks: tuple[object, ...] | None
    descriptor: Descriptor
    at: float
    measured: Measured


def has_caught_up(group: Group, progress: Progress) -> bool:
    """Tell whether a peer has all of the log but what is on its way."""
    return progress.state == REPLICATE and progress.match + CAUGHT_UP_LAG >= group.last


class RegionReports:
    """The reports that are due."""

    def __init__(
        self,
        *,
        store_id: int,
        regions: Callable[[], Sequence[LedRegion]],
        is_up: Callable[[int], bool],
        measure: Callable[[LedRegion], Measured],
        now: Callable[[], float],
        interval: float,
    ) -> None:
        """
        @param regions: Gives the regions of this store, those that it leads among them.
        @param is_up: Tells whether a store is reached.
        @param measure: Measures a region.
        @param now: Tells the seconds since whenever.
        @param interval: After how many seconds a region is told of again.
        """
        self._store_id = store_id
        self._regions = regions
        self._is_up = is_up
        self._measure = measure
        self._now = now
        self._interval = interval
        self._told: dict[int, _Told] = {}
        #: Peers that count as behind, by region.
        self._behind: dict[int, set[int]] = {}
        #: Since when stores aren't reached.
        self._lost: dict[int, float] = {}

    def due(self, most: int) -> list[RegionInfo]:
        """Give what is to be told now, of so many regions at most; it counts as told."""
        now = self._now()
        led = [region for region in self._regions() if region.ready]
        ids = {region.descriptor.region for region in led}
        for gone in self._told.keys() - ids:
            del self._told[gone]
        self._look_at_stores(led, now)
        reports: list[RegionInfo] = []
        for region in led:
            told = self._told.get(region.descriptor.region)
            if told is not None and now - told.at < self._interval and self._is_calm(region, told):
                continue
            looks = self._looks(region, now)
            if told is None or told.looks != looks or now - told.at >= self._interval:
                reports.append(self._report(region, looks, told, now))
                if len(reports) == most:
                    break
        return reports

    def forget(self, region: int) -> None:
        """
        Learn that a region isn't known to the scheduler, or not as it was told: it's due again.

        Its counts go on from when they were taken, for a word without any would say that it does nothing.
        """
        told = self._told.get(region)
        if told is not None:
            self._told[region] = told._replace(looks=None)

    def forget_all(self) -> None:
        """Learn that the scheduler knows of no region: all are due again."""
        for region in list(self._told):
            self.forget(region)

    def _look_at_stores(self, led: Sequence[LedRegion], now: float) -> None:
        stores = {store for region in led for store in region.descriptor.stores.values()} - {self._store_id}
        away = {store for store in stores if not self._is_up(store)}
        for store in self._lost.keys() - away:
            del self._lost[store]
        for store in away:
            self._lost.setdefault(store, now)

    def _is_calm(self, region: LedRegion, told: _Told) -> bool:
        """Tell at a glance that nothing can have changed: most regions are idle, and there may be many."""
        group = region.group
        same = told.looks is not None and region.descriptor is told.descriptor and group.term == told.looks[0]
        return same and group.quiesced and not self._lost

    def _looks(self, region: LedRegion, now: float) -> tuple[object, ...]:
        """Give all that is told at once when it changes."""
        descriptor, group = region.descriptor, region.group
        behind = self._behind.setdefault(descriptor.region, set())
        progress = group.progress()
        behind &= progress.keys()
        for peer, seen in progress.items():
            if peer == group.peer or has_caught_up(group, seen):
                behind.discard(peer)
            elif peer in group.membership.learners or seen.state == SNAPSHOT or seen.match + PENDING_LAG < group.last:
                behind.add(peer)
        pending = tuple(sorted(descriptor.stores[peer] for peer in behind if peer in descriptor.stores))
        down = tuple(store for store in sorted(descriptor.stores.values()) if self._is_down(store, now))
        return (group.term, descriptor.conf_ver, descriptor.version, pending, down)

    def _is_down(self, store: int, now: float) -> bool:
        return now - self._lost.get(store, now) >= DOWN_SECONDS

    def _report(self, region: LedRegion, looks: tuple[object, ...], told: _Told | None, now: float) -> RegionInfo:
        descriptor = region.descriptor
        measured = self._measure(region)
        before = told.measured if told is not None else measured
        seconds = max(now - told.at, 0.001) if told is not None else 1.0
        self._told[descriptor.region] = _Told(looks, descriptor, now, measured)
        *_, pending, _ = looks
        return RegionInfo.of(
            descriptor,
            self._store_id,
            term=region.group.term,
            size=measured.size,
            keys=measured.keys,
            pending=pending,
            down={
                store: now - self._lost[store]
                for store in sorted(descriptor.stores.values())
                if self._is_down(store, now)
            },
            reads=max(measured.reads - before.reads, 0) / seconds,
            writes=max(measured.writes - before.writes, 0) / seconds,
            read_bytes=max(measured.read_bytes - before.read_bytes, 0) / seconds,
            write_bytes=max(measured.write_bytes - before.write_bytes, 0) / seconds,
        )
