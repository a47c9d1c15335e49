"""Simulated stores keep their promises while their regions are split."""

from __future__ import annotations

from tests.testing.seeds import SeedsCase
from tests.testing.split_cluster import SPLIT, SplitCluster, SplitMovingCluster, StraddledCluster
from tinykv.testing.simulation.scenario import Settings


class SplitClusterTests(SeedsCase):
    """Some seeds; `make sim` runs many."""

    def test_they_keep_their_promises_whatever_happens(self) -> None:
        figures = self.run_seeds(SplitCluster(), range(1, 5), Settings(SplitCluster.faults))
        self.assertGreater(figures["replies"], 4 * 60)

    def test_from_several_regions(self) -> None:
        self.run_seeds(SplitCluster(size=3, regions=3), range(5, 7), Settings(SplitCluster.faults))

    def test_while_replicas_come_and_go(self) -> None:
        """Stores without a peer learn where regions are; copies are sent, and replicas destroyed."""
        figures = self.run_seeds(SplitMovingCluster(regions=3), range(5, 6), Settings(SplitMovingCluster.faults))
        self.assertGreater(figures["replicas destroyed"] + figures["snapshots installed"], 2)

    def test_a_voter_that_has_never_begun(self) -> None:
        """A copy of the whole overtook the split, and without its vote there's no majority."""
        self.run_seeds(SplitMovingCluster(regions=2), range(88, 89), Settings(SplitMovingCluster.faults))

    def test_nobody_is_left_in_doubt_when_nothing_else_happens(self) -> None:
        figures = self.run_seeds(SplitCluster(size=3), range(1, 3), Settings((SPLIT,)))
        self.assertEqual(figures["requests of unknown outcome"], 0)

    def test_clients_whose_keys_lie_in_several_regions(self) -> None:
        figures = self.run_seeds(StraddledCluster(size=3, pipeliners=0), range(1, 3), Settings((SPLIT,), 4, 0))
        self.assertGreater(figures["rounds across regions"], 2 * 60)

    def test_a_seed_is_a_run(self) -> None:
        settings = Settings(SplitCluster.faults)
        first, again = (SplitCluster().run(5, settings) for _ in range(2))
        self.assertEqual((first.digest, first.figures), (again.digest, again.figures))
