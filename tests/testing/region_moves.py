"""Replicas that come and go region by region, as faults: what a scheduler orders, at any time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tinykv.raft.membership import ADD_LEARNER, ADD_VOTER, Change, Step
from tinykv.raft.refusals import Refused
from tinykv.store.region_reports import has_caught_up
from tinykv.testing.simulation.endpoints import address_of
from tinykv.testing.simulation.events import SECOND

if TYPE_CHECKING:
    from tests.testing.region_cluster import Part, RegionStore, RegionWorld

GIVE: Final = "give-replica"
TAKE: Final = "take-replica"
MOVE: Final = "move-replica"

KINDS: Final = (GIVE, TAKE, MOVE)


class Moves:
    """
    What a scheduler orders the leaders of regions.

    @ivar ordered: How many changes were proposed.
    """

    def __init__(self, world: RegionWorld, end_us: int) -> None:
        """
        @param end_us: When nothing may be wrong any more.
        """
        self.ordered = 0
        self._end_us = end_us
        self._world = world
        self._random = world.events.random("moves of replicas")

    @property
    def actions(self) -> dict[str, Callable[[str], bool]]:
        """Give them by their names."""
        return {GIVE: self.give, TAKE: self.take, MOVE: self.move}

    def _leading(self) -> list[tuple[RegionStore, Part]]:
        """Give the parts that lead, each with its store."""
        return [
            (store, part)
            for region in self._world.regions
            for store, part in self._world.parts_of(region)
            if store.process.life is store.process.life.RUNNING and part.host.ready
        ]

    def _some(self, change: Callable[[Part], Change | None]) -> bool:
        """Order it of some regions, one after another."""
        world, random = self._world, self._random
        for _ in range(random.randint(0, 4)):
            at = world.events.now + random.randint(0, 3 * SECOND)
            if at < self._end_us:
                world.events.at(at, "the scheduler orders something", self._propose, change)
        return self._propose(change)

    def _propose(self, change: Callable[[Part], Change | None]) -> bool:
        leading = self._leading()
        if not leading:
            return False
        store, part = self._random.choice(leading)
        store.process.soon("changes the replicas of a region", self._change, part, change)
        return True

    def _change(self, part: Part, change: Callable[[Part], Change | None]) -> None:
        if not part.host.ready or part.group.membership.outgoing:
            return
        wanted = change(part)
        if wanted is None:
            return
        try:
            part.group.propose_change(wanted)
        except Refused:
            return  # it leads no more, or another change is under way
        self.ordered += 1
        part.host.replica.go_on()

    def give(self, node: str) -> bool:
        """Give a region a learner on a store, which becomes a voter when it has caught up."""
        return self._some(self._giving)

    def _giving(self, part: Part) -> Change | None:
        now = part.host.descriptor
        without = [store for store in self._world.stores.values() if now.peer_on(store.id) is None]
        if not without or now.membership.learners:
            return None
        store = self._random.choice(without)
        return now.adding(store.id, address_of(store.name))

    def take(self, node: str) -> bool:
        """Take a replica from a store, the leader's own among them."""
        return self._some(self._taking)

    def _taking(self, part: Part) -> Change | None:
        now = part.host.descriptor
        if len(now.membership.voters) < 3 and self._random.random() < 0.8:
            return None
        peers = [peer for peer in now.stores if peer not in now.membership.voters or len(now.membership.voters) > 1]
        return now.removing(now.stores[self._random.choice(peers)]) if peers else None

    def move(self, node: str) -> bool:
        """Exchange a voter for a learner, by a joint configuration; who isn't one any more goes later."""
        return self._some(self._moving)

    def _moving(self, part: Part) -> Change | None:
        now = part.host.descriptor
        learners = now.membership.learners
        others = [peer for peer in now.membership.voters if peer != part.group.peer]
        if not learners or not others:
            return self._giving(part)
        progress = part.group.progress().get(learners[0])
        if progress is None or not has_caught_up(part.group, progress):
            # One that isn't there couldn't even be asked for its vote.
            return None
        return Change((Step(ADD_VOTER, learners[0]), Step(ADD_LEARNER, self._random.choice(others))))
