"""
How much work each region makes, and each store has, as heartbeats measure it.

A store is one core, so commands count, and a KiB that is moved counts as one. Followers apply what is written; the
leader serves the reads, and takes, replicates, applies and answers what is written, which counts as twice.

Only what is worth a thought is added up for stores: a region's leadership, or a replica of it, that makes at least
C{hot_least}. The rest is spread by numbers, and what numbers move changes nothing of what work decides.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from tinykv.placement.config import PlacementConfig
from tinykv.placement.region_info import RegionInfo

#: How much the newest heartbeat counts beside all before it.
NEWEST: Final = 0.5

#: So many bytes are as much work as one command.
BYTES_A_COMMAND: Final = 1024.0


@dataclass(frozen=True, slots=True)
class Load:
    """
    The work that a region makes, in commands each second.

    @ivar leading: What leading it costs a store beside its replica, 0 where that isn't worth a thought.
    @ivar holding: Likewise what a replica of it costs, whoever leads.
    @ivar streak: In how many heartbeats in a row it was worth a thought, without its leader or stores having changed.
    @ivar first: Whether there was one heartbeat only: a leader has nothing yet to compare its first counts with.
    """

    leader: int | None
    term: int
    stores: tuple[int, ...]
    read: float
    write: float
    leading: float
    holding: float
    streak: int
    first: bool

    def on(self, store: int, leader: int | None) -> float:
        """Tell how much a store has of it that holds a replica, when some store leads."""
        return self.holding + (self.leading if store == leader else 0.0)

    @property
    def total(self) -> float:
        """All that counts when it's compared with other regions."""
        return self.read + self.write

    @property
    def cost(self) -> float:
        """All that it makes for the store that leads: what a region is split by."""
        return self.read + 2 * self.write


class HotRegions:
    """The work of all regions."""

    def __init__(self) -> None:
        self._loads: dict[int, Load] = {}
        self._stores: defaultdict[int, float] = defaultdict(float)
        self._total = 0.0

    def observe(self, region: RegionInfo, config: PlacementConfig) -> None:
        """
        Take over what a heartbeat has measured.

        The first one of another leader, or of the same one in another term, hasn't: what was known before goes on.
        """
        before = self._loads.get(region.region)
        read = region.reads + region.read_bytes / BYTES_A_COMMAND
        write = region.writes + region.write_bytes / BYTES_A_COMMAND
        streak = 0
        if before and (before.leader, before.term) != (region.leader, region.term):
            read, write = before.read, before.write
        elif before and not before.first:
            read = NEWEST * read + (1 - NEWEST) * before.read
            write = NEWEST * write + (1 - NEWEST) * before.write
        if before and (before.leader, before.stores) == (region.leader, region.stores):
            streak = before.streak
        self.drop(region.region)
        leading, holding = (each if each >= config.hot_least else 0.0 for each in (read + write, write))
        streak = streak + 1 if leading else 0
        load = Load(
            region.leader, region.term, region.stores, read, write, leading, holding, streak, first=before is None
        )
        self._loads[region.region] = load
        self._total += load.total
        for store in load.stores:
            self._stores[store] += load.on(store, load.leader)

    def drop(self, region: int) -> None:
        """Forget a region, if it's known."""
        load = self._loads.pop(region, None)
        if load is None:
            return
        self._total -= load.total
        for store in load.stores:
            self._stores[store] -= load.on(store, load.leader)

    def load(self, region: int) -> Load | None:
        """Give the work that a region makes."""
        return self._loads.get(region)

    def on(self, store: int) -> float:
        """Give the work that a store has of what is worth a thought, in commands each second."""
        return self._stores[store]

    def busy(self, region: int) -> bool:
        """Tell whether a region makes so much work, by what is known last, that where it's led matters."""
        load = self._loads.get(region)
        return load is not None and load.leading > 0

    def hot(self, region: int, config: PlacementConfig) -> bool:
        """Tell whether it's busy, and makes much more work than the others."""
        load = self._loads.get(region)
        others = max(len(self._loads) - 1, 1)
        return (
            load is not None
            and load.leading > 0
            and load.total >= config.hot_ratio * (self._total - load.total) / others
        )

    def lasting(self, config: PlacementConfig) -> list[int]:
        """List the regions that have been busy for some time where they are, those that make most work first."""
        lasting = [region for region, load in self._loads.items() if load.streak >= config.hot_heartbeats]
        return sorted(lasting, key=lambda region: (-self._loads[region].total, region))
