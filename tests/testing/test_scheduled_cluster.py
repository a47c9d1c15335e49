"""Whole clusters keep their promises, and their scheduler's, whatever happens to stores and schedulers."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.testing.cluster import Variant
from tests.testing.scheduled_cluster import REPLICAS, ScheduledCluster, ScheduledWorld
from tests.testing.seeds import SeedsCase
from tinykv.placement.stores import Life
from tinykv.testing.simulation.events import SECOND
from tinykv.testing.simulation.scenario import Settings


class ScheduledClusterTests(SeedsCase):
    """Some seeds; `make sim` runs many."""

    def test_they_keep_their_promises_whatever_happens(self) -> None:
        figures = self.run_seeds(ScheduledCluster(), range(2, 4), Settings(ScheduledCluster.faults))
        self.assertGreater(figures["replies"], 2 * 40)
        self.assertGreater(figures["batches of timestamps"] + figures["batches of ids"], 2 * 30)
        self.assertGreater(figures["replicas destroyed"], 2)

    def test_nobody_is_left_in_doubt_when_nothing_is_wrong(self) -> None:
        """Though regions are split, and replicas moved to the stores that came as new ones."""
        figures = self.run_seeds(ScheduledCluster(), range(1, 2), Settings((), seconds=5))
        self.assertEqual(figures["requests of unknown outcome"], 0)
        self.assertGreater(figures["replies"], 60)
        self.assertGreater(figures["replicas destroyed"], 2)


class HealingTests(SynchronousTestCase):
    """Replicas are placed as stores come and go."""

    def begin(self, regions: int) -> ScheduledWorld:
        """Begin a cluster to which nothing happens by itself."""

        class World(ScheduledWorld):
            bursts = 0

        world = self.world = World(5, Variant(), regions=regions)
        self.addCleanup(world.close)
        world.mend()
        return world

    def until(self, condition: Any, seconds: int = 40) -> None:
        """Let happen what does until something is so."""
        reached = self.world.run_while(lambda: not condition(), seconds)
        self.assertEqual(self.world.checker.problems, [])
        self.assertTrue(reached, self.world.unlike())

    def stores_of(self, region: int) -> set[int]:
        """Name the stores of a region."""
        return set(self.world.descriptor_of(region).stores.values())

    def test_a_store_that_was_lost_before_the_scheduler_knew_it(self) -> None:
        """Its regions' leaders say so."""
        world = self.begin(1)
        world.crash("store2")
        world.stores[2].removed = True
        self.until(lambda: 2 not in self.stores_of(1) and world.converged())
        self.assertEqual(len(self.stores_of(1)), REPLICAS)

    def test_a_store_that_is_drained(self) -> None:
        """It gives up what it has, ends by itself, and stays a tombstone; new stores have its replicas."""
        world = self.begin(2)
        self.until(world.converged)
        asked: Deferred[Any] = world.operator.ask("POST", "/stores/1/offline")
        self.until(lambda: asked.called and world.stores[1].removed)
        self.until(world.converged)
        assert world.schedulers is not None
        leading = world.schedulers.leading()
        assert leading is not None
        self.assertIs(leading.host.state.stores[1].life, Life.TOMBSTONE)
        self.assertTrue(all(1 not in self.stores_of(region) for region in world.regions))

    def test_what_it_says_when_it_is_not_healed(self) -> None:
        world = self.begin(1)
        world.run_until(SECOND // 10)
        self.assertEqual(world.unlike(), "no scheduler leads")
        self.until(world.converged)
        world.kill("store1")
        self.assertEqual(world.unlike(), f"region 1 is on stores {sorted(self.stores_of(1))}")
