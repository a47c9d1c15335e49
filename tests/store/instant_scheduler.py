"""
A scheduler in this process that answers at once: the real placement, with nothing replicated and nothing on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from tinykv.errors import ScheduleProblem, ScheduleRefused
from tinykv.interfaces import ClusterBeginning, HeardRegions, IScheduler, PartIds, SplitChoices
from tinykv.placement.config import PlacementConfig
from tinykv.placement.placement import Placement
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.regions import StaleHeartbeat
from tinykv.placement.stores import Refused, StoreRecord, StoreStats, registered

T = TypeVar("T")


@implementer(IScheduler)
class InstantScheduler:
    """
    It.

    @ivar records: The stores that it knows, by id.
    @ivar problem: What all questions fail with, if anything.
    @ivar told: The region heartbeats that came, in order.
    @ivar split: What was told of splits, region by region.
    @ivar leading: Its leader's term.
    @ivar next_id: The next id to be given.
    @ivar cluster_id: Of its cluster, empty before that has begun.
    """

    def __init__(self, now: Callable[[], float], **choices: object) -> None:
        self.records: dict[int, StoreRecord] = {}
        self.problem: ScheduleProblem | None = None
        self.told: list[RegionInfo] = []
        self.heard: list[StoreStats] = []
        self.split: list[RegionInfo] = []
        self.leading = 0
        self.next_id = 1000
        self.cluster_id = ""
        self.regions_at_first: list[RegionInfo] = []
        self.missing = 0
        self.closed = False
        self._now = now
        self._choices = PlacementConfig().changed(choices)
        self.restart()

    def restart(self) -> None:
        """Forget what a new leader of a real one wouldn't know."""
        self.leading += 1
        self.placement = Placement(self.records, self._choices, Random(1), self._now())

    def _answer(self, answer: Callable[[], T]) -> Deferred[T]:
        if self.problem is not None:
            return fail(self.problem)
        try:
            return succeed(answer())
        except Refused as problem:
            return fail(ScheduleRefused(409, str(problem)))

    def term(self) -> Deferred[int]:
        """Tell it."""
        return self._answer(lambda: self.leading)

    def beginning(self) -> Deferred[ClusterBeginning]:
        """Tell how the cluster begins."""
        return self._answer(
            lambda: {
                "cluster_id": self.cluster_id,
                "bootstrapped": not self.missing,
                "missing_stores": self.missing,
                "regions": self.regions_at_first,
            }
        )

    def tell_beginning(self, cluster_id: str, regions: Sequence[RegionInfo]) -> Deferred[None]:
        """Hear how it began."""

        def hear() -> None:
            if self.cluster_id not in ("", cluster_id):
                raise Refused(f"this is the scheduler of cluster {self.cluster_id}")
            self.cluster_id, self.regions_at_first = cluster_id, list(regions)

        return self._answer(hear)

    def register(
        self, store_id: int, *, address: str, client_address: str, folder_id: str, labels: dict[str, str]
    ) -> Deferred[StoreRecord]:
        """Take a store in."""

        def take() -> StoreRecord:
            self.records[store_id] = registered(
                self.records, StoreRecord(store_id, address, client_address, folder_id, labels)
            )
            return self.records[store_id]

        return self._answer(take)

    def stores(self) -> Deferred[dict[int, StoreRecord]]:
        """List the stores."""
        return self._answer(lambda: dict(self.records))

    def store_heartbeat(self, store_id: int, folder_id: str, stats: StoreStats) -> Deferred[None]:
        """Hear a store."""
        if store_id not in self.records and self.problem is None:
            return fail(ScheduleRefused(404, f"there's no store {store_id}"))
        self.heard.append(stats)
        return self._answer(lambda: self.placement.store_heartbeat(store_id, stats, self._now()))

    def split_choices(self) -> Deferred[SplitChoices]:
        """Tell them."""
        config = self.placement.cluster.config
        chosen = SplitChoices(config.region_max_size, config.region_split_size, config.split_load_threshold)
        return self._answer(lambda: chosen)

    def region_heartbeats(self, store_id: int, folder_id: str, regions: Sequence[RegionInfo]) -> Deferred[HeardRegions]:
        """Hear of regions."""

        def hear() -> HeardRegions:
            heard: HeardRegions = {"orders": [], "refused": {}}
            for region in regions:
                # As it goes over the wire.
                read = RegionInfo.from_json(region.to_json())
                self.told.append(read)
                try:
                    order = self.placement.heartbeat(read, self._now())
                except (StaleHeartbeat, Refused) as problem:
                    heard["refused"][region.region] = str(problem)
                else:
                    heard["orders"] += [order] if order is not None else []
            return heard

        return self._answer(hear)

    def ids(self, count: int) -> Deferred[range]:
        """Nobody asks."""
        raise AssertionError("stores of one region need no ids")

    def timestamps(self, count: int) -> Deferred[range]:
        """Nobody asks."""
        raise AssertionError("stores of one region need no timestamps")

    def ask_split(self, region: int, *, version: int, conf_ver: int, count: int) -> Deferred[list[PartIds]]:
        """Give ids."""

        def give() -> list[PartIds]:
            known = self.placement.cluster.regions.get(region)
            if known is None or (version, conf_ver) < (known.version, known.conf_ver):
                raise Refused(f"region {region} is another by now")
            width = 1 + len(known.peers)
            firsts = range(self.next_id, self.next_id + count * width, width)
            self.next_id = firsts.stop
            return [{"region": first, "peers": list(range(first + 1, first + width))} for first in firsts]

        return self._answer(give)

    def report_split(self, regions: Sequence[RegionInfo]) -> Deferred[None]:
        """Hear of a split."""

        def hear() -> None:
            for region in regions:
                self.split.append(RegionInfo.from_json(region.to_json()))
                try:
                    self.placement.heartbeat(self.split[-1], self._now())
                except StaleHeartbeat as problem:
                    raise Refused(str(problem)) from problem

        return self._answer(hear)

    def region_at(self, key: bytes) -> Deferred[RegionInfo | None]:
        """Find a region."""
        return self._answer(lambda: self.placement.cluster.regions.at(key))

    def regions(self, start: bytes, end: bytes, limit: int) -> Deferred[list[RegionInfo]]:
        """List regions."""
        return self._answer(lambda: list(self.placement.cluster.regions.scan(start, end, limit)))

    def close(self) -> Deferred[None]:
        """Note it."""
        self.closed = True
        return succeed(None)
