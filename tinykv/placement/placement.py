"""
The whole placement: heartbeats go in, orders come out.

The host owns the dict of store records and persists it; what regions and stores say is kept here, and is told anew by
heartbeats after a restart. Time is the C{now} of each call, in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from tinykv.placement import drain
from tinykv.placement.balance_leader import balance_leaders
from tinykv.placement.balance_region import balance_regions
from tinykv.placement.cluster import Cluster
from tinykv.placement.config import PlacementConfig
from tinykv.placement.controller import OperatorController
from tinykv.placement.gate import StartGate
from tinykv.placement.hot import HotRegions
from tinykv.placement.hot_region import spread_hot_regions
from tinykv.placement.leadership import evict_leaders, grant_leaders
from tinykv.placement.merge_checker import MergeChecker
from tinykv.placement.operators import Kind, Operator, Order, Priority
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.replica_checker import check_replicas
from tinykv.placement.scatter import Scatter
from tinykv.placement.scene import Scene
from tinykv.placement.steps import RemovePeer
from tinykv.placement.stores import Life, Refused, StoreRecord, StoreStats

#: A scheduler that found nothing to do looks again after this many times its last interval.
BACK_OFF: Final = 1.3

#: The schedulers by name, each with the kind in whose limit its operators count.
_SCHEDULERS: Final[Mapping[str, tuple[Callable[[Scene], Operator | None], Kind]]] = {
    "evict-leader": (evict_leaders, Kind.LEADER),
    "grant-leader": (grant_leaders, Kind.LEADER),
    "hot-region": (spread_hot_regions, Kind.HOT),
    "balance-region": (balance_regions, Kind.REGION),
    "balance-leader": (balance_leaders, Kind.LEADER),
}


@dataclass(slots=True)
class _Pace:
    """When a scheduler looks for work: in C{interval} seconds from its last look, at C{due}."""

    interval: float
    due: float


class Placement:
    """
    Where replicas and leaders go.

    @ivar cluster: What is known.
    @ivar controller: What is under way.
    """

    def __init__(self, stores: Mapping[int, StoreRecord], config: PlacementConfig, random: Random, now: float) -> None:
        self.cluster = Cluster(stores, config, now)
        self.controller = OperatorController(self.cluster)
        self.hot = HotRegions()
        self._random = random
        self._gate = StartGate(self.cluster)
        self._merges = MergeChecker()
        self._scatter = Scatter()
        self._paces = {name: _Pace(config.schedule_interval, now) for name in _SCHEDULERS}
        self._patrol_due = now
        self._patrol_at = b""

    @property
    def ready(self) -> bool:
        """Whether enough is known since the start to decide anything."""
        return self._gate.open

    @property
    def scene(self) -> Scene:
        """What there is to decide from now."""
        return Scene(self.cluster, self.controller, self.hot, self._random)

    def configure(self, config: PlacementConfig) -> None:
        """Go on with other choices."""
        self.cluster.config = config
        for pace in self._paces.values():
            pace.interval, pace.due = config.schedule_interval, self.cluster.now

    # What is told

    def store_heartbeat(self, store: int, stats: StoreStats, now: float) -> None:
        """
        Take over what a store says of itself.

        @raise Refused: It isn't known, or was removed.
        """
        self.cluster.advance(now)
        self.cluster.store_heartbeat(store, stats)

    def heartbeat(self, region: RegionInfo, now: float) -> Order | None:
        """
        Take over what a leader says of its region; give what to ask it for, if anything.

        @raise StaleHeartbeat: Something newer is known. The host tells the sender, and that's all.
        @raise Refused: The store that leads isn't known, or was removed.
        """
        self.cluster.advance(now)
        if region.leader is not None:
            leader = self.cluster.stores.get(region.leader)
            if leader is None or leader.life is Life.TOMBSTONE:
                raise Refused(f"store {region.leader} isn't known, or was removed")
        before = self.cluster.regions.get(region.region)
        for gone in self.cluster.regions.put(region):
            self.controller.absorbed(gone, region)
            self.hot.drop(gone.region)
            self._merges.drop(gone.region)
        self._merges.observe(before, region, self.cluster.now)
        self.hot.observe(region, self.cluster.config)
        return self.controller.heartbeat(region)

    # What is decided

    def tick(self, now: float) -> list[Order]:
        """
        Look for what is to be done; give the first orders of what was begun.

        They also come with the next heartbeats, so a host may pass over those that it can't send.
        """
        self.cluster.advance(now)
        self.cluster.look_at_stores()
        self.controller.tick()
        if not self.ready:
            return []
        begun = [*self._patrol(), *self._schedule()]
        return [order for order in map(self.controller.order, begun) if order]

    def run(self, operator: Operator) -> Order | None:
        """
        Have an operator run that somebody asks for; give its first order.

        @raise Refused: Says why not.
        """
        self.controller.add(operator)
        return self.controller.order(operator)

    def scatter(self, regions: Iterable[int], group: str, now: float) -> tuple[list[Operator], dict[int, str]]:
        """
        Spread regions over the stores, evenly among those of their group.

        @return: The operators that were begun, and for the regions that nothing could be done with, why.
        """
        self.cluster.advance(now)
        begun: list[Operator] = []
        refused: dict[int, str] = {}
        for number in regions:
            region = self.cluster.regions.get(number)
            try:
                if region is None:
                    raise Refused(f"region {number} isn't known")
                if operator := self._scatter.scatter(self.scene, region, group):
                    self.controller.add(operator)
                    begun.append(operator)
            except Refused as problem:
                refused[number] = str(problem)
        return begun, refused

    def _begin(self, operator: Operator | None) -> bool:
        """Have an operator run, if there's one and nothing is against it; tell whether it does."""
        if operator is None or self.controller.problem(operator) is not None:
            return False
        self.controller.add(operator)
        return True

    def _patrol(self) -> list[Operator]:
        """Look at the next regions for what needs repair, or can be merged."""
        config = self.cluster.config
        if self.cluster.now < self._patrol_due:
            return []
        self._patrol_due = self.cluster.now + config.patrol_interval
        begun = []
        regions = self.cluster.regions.scan(self._patrol_at, most=config.patrol_regions)
        scene = self.scene
        for region in regions:
            self._patrol_at = region.end
            if not self._to_be_checked(region):
                continue
            if not self.controller.room(Kind.REPLICA):
                break
            operator = check_replicas(scene, region) or self._merges.check(scene, region)
            if operator and self._begin(operator):
                begun.append(operator)
                scene = self.scene
        if len(regions) < config.patrol_regions:
            self._patrol_at = b""
        return begun

    def _to_be_checked(self, region: RegionInfo) -> bool:
        """Tell whether a region is to be looked at: nothing is under way for it, or only what a loss makes wait."""
        running = self.controller.of(region.region)
        if running is None:
            return True
        # What is half done looks like something to repair, so that's no reason to look.
        return running.priority < Priority.HIGH and not region.joint and bool(self.cluster.lost_peers(region))

    def _schedule(self) -> list[Operator]:
        """Have the schedulers look for work whose time it is."""
        config, now = self.cluster.config, self.cluster.now
        begun = []
        for name, (schedule, kind) in _SCHEDULERS.items():
            pace = self._paces[name]
            if name not in config.schedulers or now < pace.due:
                continue
            operator = schedule(self.scene) if self.controller.room(kind) else None
            if operator and self._begin(operator):
                begun.append(operator)
                pace.interval = config.schedule_interval
            else:
                pace.interval = min(pace.interval * BACK_OFF, config.schedule_interval_max)
            pace.due = now + pace.interval
        return begun

    # How stores leave

    def offline(self, store: int, now: float) -> StoreRecord:
        """
        Give the record to persist of a store that shall be emptied.

        @raise Refused: It could never be empty, isn't known, or is a tombstone.
        """
        self.cluster.advance(now)
        return drain.offline(self.cluster, store)

    def back_up(self, store: int, now: float) -> StoreRecord:
        """
        Give the record to persist of a store that shall stay after all; what is under way to empty it is cancelled.

        @raise Refused: It isn't known, or is a tombstone.
        """
        self.cluster.advance(now)
        record = drain.back_up(self.cluster, store)
        for operator in self.controller.running:
            if Kind.REPLICA in operator.kinds and RemovePeer(store) in operator.remaining:
                self.controller.cancel(operator, f"store {store} stays")
        return record

    def bury(self, store: int, now: float, *, force: bool = False) -> StoreRecord:
        """
        Give the record to persist of a store that's gone; forced, its replicas are taken for lost.

        @raise Refused: It isn't known, or isn't empty.
        """
        self.cluster.advance(now)
        return drain.bury(self.cluster, store, force=force)

    def refuse_named(self, store: int, now: float) -> None:
        """
        Make sure that no region has a replica on a store that isn't known.

        @raise Refused: One has; or it can't be said.
        """
        self.cluster.advance(now)
        drain.refuse_named(self.cluster, store)

    def warnings(self, now: float) -> list[str]:
        """Say what a person should look at: what isn't mended by itself."""
        self.cluster.advance(now)
        return drain.warnings(self.cluster) if self.ready else []

    def buried(self, now: float) -> list[StoreRecord]:
        """Give the records to persist of stores that were being emptied, and are empty now."""
        self.cluster.advance(now)
        if not self.ready:
            return []
        leaving = [store for store, record in sorted(self.cluster.stores.items()) if record.life is Life.OFFLINE]
        return [drain.bury(self.cluster, store) for store in leaving if drain.not_empty(self.cluster, store) is None]
