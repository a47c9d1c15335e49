"""
What clients of simulated stores with several regions ask for beside: what is about all keys, wherever they lie.

In a third of the runs the clients delete all keys, and nobody else has any; in another one they delete those of their
database, while others look at all keys of theirs; in the rest these do, and nobody deletes anything of the clients'.
"""

from __future__ import annotations

from tests.testing.cluster import World
from tinykv.testing.simulation.census import Census
from tinykv.testing.simulation.events import SECOND
from tinykv.testing.simulation.workload import Mix

#: How often all keys are deleted, beside the other weights.
FLUSHES = 2


class Everywhere:
    """What such runs have in common, for a scenario to be derived of."""

    _mix: Mix

    @staticmethod
    def _kind(world: World) -> int:
        return world.events.random("about all keys").randrange(3)

    def _mixed(self, world: World) -> Mix:
        kind = self._kind(world)
        if not kind:
            return self._mix
        mix = self._mix.with_weights(flush=FLUSHES)
        return mix.flushing(b"FLUSHALL" if kind == 1 else b"FLUSHDB")

    def _censuses(self, world: World, end: int) -> list[Census]:
        if self._kind(world) == 1:
            return []
        return [world.census("census", SECOND // 8, end)]
