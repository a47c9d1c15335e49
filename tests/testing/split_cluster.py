"""
Simulated stores whose regions are split, at any time and whatever else happens: L{tests.testing.region_cluster}, with
splits among the faults. They begin with one region, or some.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from tests.testing import region_moves
from tests.testing.cluster import LIMITS, Variant, World
from tests.testing.region_cluster import RegionCluster, RegionStore, RegionWorld
from tinykv.raft.refusals import Refused
from tinykv.region.descriptor import Descriptor
from tinykv.region.splitting import Split, own_cuts
from tinykv.testing.simulation.events import SECOND
from tinykv.testing.simulation.faults import Limits
from tinykv.testing.simulation.straddlers import Straddler

SPLIT: Final = "split"
#: There are no more regions than these.
MOST: Final = 12
#: How many times some are split.
BURSTS: Final = 3

#: How many clients there are whose keys lie in several regions, and how long each rests.
STRADDLERS: Final = 8
STRADDLER_PAUSE_US: Final = SECOND // 5


class SplitWorld(RegionWorld):
    """
    The stores.

    @ivar splits: How many were proposed.
    @ivar straddlers: Clients whose keys lie in several regions; they send something when one is split.
    """

    def __init__(
        self, seed: int, variant: Variant, *, size: int | None = None, regions: int = 1, moves: bool = False,
        bursts: int = BURSTS,
    ) -> None:
        """
        @param bursts: How many times some regions are split in any case, whatever else is drawn.
        """
        self.splits = 0
        self.straddlers: list[Straddler] = []
        super().__init__(seed, variant, size=size, regions=regions, moves=moves)
        for _ in range(bursts):
            at = self.random.randint(2 * SECOND, 8 * SECOND)
            self.events.after(at, "splits some regions", self.split, "")

    @property
    def actions(self) -> dict[str, Callable[[str], bool]]:
        """Give faults that only this world has, by name."""
        return {SPLIT: self.split}

    def split(self, node: str) -> bool:
        """Split regions, which are picked by chance, one after another."""
        for place in range(self.random.choice((1, 2, 3))):
            self.events.after(self.random.randint(0, place * SECOND), "splits a region", self._split_one)
        return True

    def _split_one(self) -> None:
        leader = self.leader()
        if leader is None or leader.process.life is not leader.process.life.RUNNING or len(self.regions) >= MOST:
            return
        leader.process.soon("splits a region", self._split, leader, self.focus)

    def _split(self, store: RegionStore, region: int) -> None:
        host = store.parts[region].host
        descriptor: Descriptor = host.descriptor
        first, end = descriptor.slots
        held = sorted({slot for db in host.keyspace.physical for slot in db.counters if first < slot < end})
        wanted = self.random.choice((1, 1, 2))
        slots = sorted(self.random.sample(held, min(wanted, len(held))))
        if not slots and end - first > 1:
            slots = [self.random.randrange(first + 1, end)]
        if not slots:
            return
        try:
            host.propose_split(Split(descriptor.version, descriptor.conf_ver, own_cuts(descriptor, slots)))
        except Refused:
            return  # it leads no more, or is being changed
        self.splits += 1
        for straddler in self.straddlers:
            straddler.hurry((first, slots[0]), (slots[0], end))


class SplitCluster(RegionCluster):
    """The scenario."""

    name = "splits"
    faults: Sequence[str] = (*RegionCluster.faults, SPLIT)

    def __init__(
        self,
        *,
        size: int | None = None,
        regions: int = 1,
        pipeliners: int | None = None,
        limits: Limits = LIMITS,
    ) -> None:
        super().__init__(size=size, regions=regions, pipeliners=pipeliners, limits=limits)

    world_type: type[RegionWorld] = SplitWorld

    def _world(self, seed: int) -> World:
        return self.world_type(seed, self._variant(), size=self._size, regions=self._regions)

    def _figures(self, world: World) -> dict[str, int]:
        assert isinstance(world, SplitWorld)
        return {"splits asked for": world.splits, "regions in the end": len(world.regions)}


class StraddledCluster(SplitCluster):
    """The same, with clients whose keys lie in several regions, and hardly any others."""

    name = "straddlers"

    def _straddlers(self, world: World, end: int) -> list[Straddler]:
        assert isinstance(world, SplitWorld)
        world.straddlers += [
            world.straddler(f"straddler{number}", STRADDLER_PAUSE_US, end) for number in range(STRADDLERS)
        ]
        return world.straddlers


class SplitMovingCluster(SplitCluster):
    """The same, with replicas that come and go."""

    name = "splits-moves"
    faults: Sequence[str] = (*SplitCluster.faults, *region_moves.KINDS)

    def _world(self, seed: int) -> World:
        return self.world_type(seed, self._variant(), size=self._size or 3, regions=self._regions, moves=True)

    def _changes(self, world: World, end: int) -> dict[str, Callable[[str], bool]]:
        assert isinstance(world, SplitWorld)
        return region_moves.Moves(world, end).actions

    def _figures(self, world: World) -> dict[str, int]:
        assert isinstance(world, SplitWorld)
        return {**super()._figures(world), "replicas destroyed": world.burials}
