"""Whether enough is known since the start to decide anything: regions that weren't heard of look like missing ones."""

from __future__ import annotations

from tinykv.placement.cluster import Cluster
from tinykv.placement.stores import Life


class StartGate:
    """Opens once, and stays open."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._closes_until = cluster.now + cluster.config.gate_wait
        self._open = False

    @property
    def open(self) -> bool:
        """
        Tell whether heartbeats told of most of what each store says that it holds, or enough time has gone by.

        A store that's up and that nobody has heard of keeps it closed, until that time.
        """
        self._open = self._open or self._cluster.now >= self._closes_until or self._collected()
        return self._open

    def _collected(self) -> bool:
        """Tell whether most has been heard of."""
        cluster = self._cluster
        up = [store for store, record in cluster.stores.items() if record.life is Life.UP]
        for store in up:
            stats = cluster.stats(store)
            if stats is None or cluster.regions.on(store).count < stats.regions * cluster.config.gate_fraction:
                return False
        return bool(up) and len(cluster.regions) > 0
