"""What is known of the cluster, as checkers and schedulers see it."""

from __future__ import annotations

from collections.abc import Mapping

from tinykv.placement.config import PlacementConfig
from tinykv.placement.limits import Flow, StoreLimits
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.regions import RegionTable
from tinykv.placement.stores import Life, Refused, StoreRecord, StoreState, StoreStats


class Cluster:
    """
    Stores, regions and the time.

    @ivar stores: The records, by store id. The host owns and changes the mapping; it's only read here.
    @ivar now: The time of the last call, in seconds. It never goes back.
    """

    def __init__(self, stores: Mapping[int, StoreRecord], config: PlacementConfig, now: float) -> None:
        self.stores = stores
        self.config = config
        self.now = now
        self.regions = RegionTable()
        self.limits = StoreLimits()
        #: When each store's record was first seen: who has just come hasn't been silent.
        self._came = dict.fromkeys(stores, now)
        self._stats: dict[int, StoreStats] = {}
        self._heard: dict[int, float] = {}

    def advance(self, now: float) -> None:
        """Take the time over."""
        self.now = max(self.now, now)

    # Stores

    def store_heartbeat(self, store: int, stats: StoreStats) -> None:
        """
        Take over what a store says of itself.

        @raise Refused: It's unknown, or was removed.
        """
        record = self.stores.get(store)
        if record is None:
            raise Refused(f"store {store} isn't known: it has to be registered first")
        if record.life is Life.TOMBSTONE:
            raise Refused(f"store {store} was removed and never returns")
        self._stats[store] = stats
        self._heard[store] = self.now

    def look_at_stores(self) -> None:
        """Take note of stores that have come, and drop what was said by those that are no more, or tombstones."""
        for store in self.stores.keys() - self._came.keys():
            self._came[store] = self.now
        for store in list(self._came):
            record = self.stores.get(store)
            if record is None or record.life is Life.TOMBSTONE:
                self.forget(store)
            if record is None:
                del self._came[store]

    def forget(self, store: int) -> None:
        """Drop what a store said."""
        self._stats.pop(store, None)
        self._heard.pop(store, None)
        self.limits.forget(store)

    def stats(self, store: int) -> StoreStats | None:
        """Give the last heartbeat of a store, None before the first."""
        return self._stats.get(store)

    def silence(self, store: int) -> float:
        """
        Tell for how many seconds a store hasn't been heard of, counted at most from when this began, or when the store
        came.
        """
        return self.now - self._heard.get(store, self._came.get(store, self.now))

    def disconnected(self, store: int) -> bool:
        """Tell whether a store has been silent for too long to be given something."""
        return self.silence(store) > self.config.disconnected_after

    def down(self, store: int) -> bool:
        """Tell whether a store has been silent for so long that it's taken for lost."""
        return self.silence(store) > self.config.max_down

    def state(self, store: int) -> StoreState:
        """Tell what a known store is."""
        life = self.stores[store].life
        if life is Life.TOMBSTONE:
            return StoreState.TOMBSTONE
        if life is Life.OFFLINE:
            return StoreState.OFFLINE
        if self.down(store):
            return StoreState.DOWN
        return StoreState.DISCONNECTED if self.disconnected(store) else StoreState.UP

    def up(self, store: int) -> bool:
        """Tell whether a store is known, shall stay, and isn't lost."""
        record = self.stores.get(store)
        return record is not None and record.life is Life.UP and not self.down(store)

    def serving(self, store: int) -> bool:
        """Tell whether a store is known and was heard of lately, whatever is decided about it."""
        record = self.stores.get(store)
        return record is not None and record.life is not Life.TOMBSTONE and not self.disconnected(store)

    def rate(self, store: int, flow: Flow) -> float:
        """Tell how many replicas a store may be given or have taken from it, each second."""
        record = self.stores.get(store)
        own = record and (record.add_limit if flow is Flow.ADD else record.remove_limit)
        common = self.config.add_limit if flow is Flow.ADD else self.config.remove_limit
        return (own or common) / 60

    def allows(self, store: int, flow: Flow) -> bool:
        """Tell whether the limit of a store lets a replica go to or from it now."""
        return self.limits.allows(store, flow, self.rate(store, flow), self.now)

    # Regions

    def healthy_peers(self, region: RegionInfo) -> frozenset[int]:
        """Give the stores whose peers of a region can be relied on: heard of by the leader and here, not behind."""
        return frozenset(
            store
            for store in region.stores
            if store not in region.down and store not in region.pending and self.serving(store)
        )

    def lost_peers(self, region: RegionInfo) -> frozenset[int]:
        """
        Give the stores whose peers of a region are taken for lost.

        Of stores that aren't known only the leader can say so: they were lost before they said that they're there.
        """
        return frozenset(
            store
            for store in region.stores
            if region.down.get(store, 0.0) > self.config.max_down
            or (store in self.stores and (self.down(store) or self.stores[store].life is Life.TOMBSTONE))
        )
