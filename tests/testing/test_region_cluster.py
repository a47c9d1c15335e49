"""Simulated stores with several regions keep their promises, in each region."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.testing.cluster import Variant
from tests.testing.region_cluster import RegionCluster, RegionWorld
from tests.testing.seeds import SeedsCase
from tinykv.testing.simulation.events import SECOND
from tinykv.testing.simulation.scenario import Settings


class RegionClusterTests(SeedsCase):
    """Some seeds; `make sim` runs many."""

    def test_they_keep_their_promises_whatever_happens(self) -> None:
        figures = self.run_seeds(RegionCluster(), range(1, 4), Settings(RegionCluster.faults))
        self.assertGreater(figures["replies"], 3 * 60)
        self.assertGreater(figures["terms with a leader"], 3 * 2)
        self.assertGreater(figures["comparisons of rows"], 3 * 5)

    def test_nobody_is_left_in_doubt_when_nothing_is_wrong(self) -> None:
        figures = self.run_seeds(RegionCluster(size=3), range(1, 2), Settings((), seconds=4))
        self.assertEqual(figures["requests of unknown outcome"], 0)
        self.assertGreater(figures["replies"], 60)

    def test_many_regions(self) -> None:
        self.run_seeds(RegionCluster(size=3, regions=7), range(5, 6), Settings(RegionCluster.faults, seconds=3))

    def test_a_seed_is_a_run(self) -> None:
        settings = Settings(RegionCluster.faults, seconds=3)
        first, again, other = (RegionCluster().run(seed, settings) for seed in (5, 5, 6))
        self.assertEqual((first.digest, first.figures), (again.digest, again.figures))
        self.assertNotEqual(first.digest, other.digest)


class QuietTests(SynchronousTestCase):
    """Groups in which nothing happens cost nothing."""

    def test_they_fall_silent_and_are_woken(self) -> None:
        world = RegionWorld(7, Variant(), size=3, regions=7)
        self.addCleanup(world.close)
        world.mend()
        world.run_until(12 * SECOND)
        for region in world.firsts:
            self.assertTrue(all(part.group.quiesced for _, part in world.parts_of(region)), region)
        happened = world.events.happened
        world.run_until(20 * SECOND)
        # What's left is the stores' own ticks and looks, however many regions they have.
        self.assertLess(world.events.happened - happened, 8 * 3 * 40)
        # A store that's found dead wakes the groups that it led, and no others.
        dead = next(store for store, part in world.parts_of(1) if part.group.leads)
        others = [one for one in world.firsts if not dead.parts[one].group.leads]
        self.assertTrue(others)
        world.kill(dead.name)
        world.run_until(24 * SECOND)
        for region in world.firsts:
            leaders = [store for store, part in world.parts_of(region) if store.runs and part.group.leads]
            self.assertEqual(len(leaders), 1, region)
        self.assertEqual(world.checker.problems, [])
