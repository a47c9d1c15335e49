"""What is promised holds through gateways, whatever happens to them and to the stores."""

from __future__ import annotations

from tests.testing.cluster import TRANSFER
from tests.testing.gateway_cluster import GatewayCluster, GatewayMovingCluster, GatewayRegionCluster
from tests.testing.seeds import SeedsCase
from tinykv.testing.simulation.scenario import Settings


class GatewayClusterTests(SeedsCase):
    """Some seeds."""

    def test_whatever_happens(self) -> None:
        figures = self.run_seeds(GatewayCluster(), range(1, 4), Settings(GatewayCluster.faults))
        self.assertGreater(figures["replies"], 3 * 40)
        self.assertGreater(figures["terms with a leader"], 3 * 2)

    def test_several_regions(self) -> None:
        figures = self.run_seeds(GatewayRegionCluster(), range(1, 3), Settings(GatewayRegionCluster.faults))
        self.assertGreater(figures["replies"], 2 * 40)

    def test_replicas_move(self) -> None:
        figures = self.run_seeds(GatewayMovingCluster(), range(9, 10), Settings(GatewayMovingCluster.faults))
        self.assertGreater(figures["replies"], 40)
        self.assertGreater(figures["faults move-replica"], 1)

    def test_nobody_is_left_in_doubt_when_nothing_is_wrong(self) -> None:
        for scenario in (GatewayCluster(size=3, ends=False), GatewayRegionCluster(size=3, ends=False)):
            figures = self.run_seeds(scenario, range(1, 2), Settings((), seconds=4))
            self.assertEqual(figures["requests of unknown outcome"], 0)
            self.assertGreater(figures["replies"], 60)

    def test_planned_changes_of_the_leader_are_not_noticed(self) -> None:
        scenario = GatewayCluster(size=3, ends=False)
        figures = self.run_seeds(scenario, range(2, 4), Settings((TRANSFER,), seconds=6))
        self.assertGreater(figures["faults transfer"], 2)
        self.assertEqual((figures["requests of unknown outcome"], figures["requests refused"]), (0, 0))
