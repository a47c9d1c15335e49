"""Replicas are compared all the time, whatever happens: they never seem to differ, and nobody is kept from anything."""

from __future__ import annotations

from twisted.python.failure import Failure

from tests.testing.cluster import Cluster, Store, World
from tests.testing.seeds import SeedsCase
from tinykv.errors import ControlRefused
from tinykv.interfaces import RegionChecksums
from tinykv.testing.simulation.events import SECOND
from tinykv.testing.simulation.scenario import Report, Settings

#: Time between two questions, and how long a store may take, in seconds.
PAUSE_US = SECOND // 3
PATIENCE = 2.0


class Comparer:
    """
    An operator who asks all stores, of which one leads.

    @ivar alike: How often two or more stores said what they hold.
    @ivar missing: How often a store didn't say.
    @ivar refused: How often nothing was compared.
    """

    def __init__(self, world: World) -> None:
        self.alike = 0
        self.missing = 0
        self.refused = 0
        self._world = world

    def ask(self) -> None:
        """Ask now, and again and again."""
        for store in list(self._world.stores.values()):
            if store.runs:
                asked = store.control.checksum(PATIENCE)
                asked.addCallbacks(self._compared, self._not_compared, callbackArgs=(store,))
        self._world.events.after(PAUSE_US, "stores are compared", self.ask)

    def _compared(self, regions: list[RegionChecksums], store: Store) -> None:
        for region in regions:
            told = [replica["checksum"] for replica in region["replicas"] if replica["checksum"]]
            self.missing += len(region["replicas"]) - len(told)
            self.alike += len(told) > 1
            if len(set(told)) > 1:
                self._world.checker.problem(f"The stores differ, {store.name} says: {region}")

    def _not_compared(self, failure: Failure) -> None:
        failure.trap(ControlRefused)
        self.refused += 1


class Compared(Cluster):
    """The scenario, with such an operator."""

    def _run(self, world: World, settings: Settings) -> Report:
        comparer = Comparer(world)
        comparer.ask()
        report = super()._run(world, settings)
        report.figures["alike"] = comparer.alike
        report.figures["missing"] = comparer.missing
        report.figures["not compared"] = comparer.refused
        return report


class ComparisonTests(SeedsCase):
    """Some seeds."""

    def test_whatever_happens(self) -> None:
        figures = self.run_seeds(Compared(), range(1, 4), Settings(Cluster.faults))
        self.assertGreater(figures["alike"], 3 * 3)
        self.assertGreater(figures["missing"], 0)
        self.assertGreater(figures["not compared"], 0)

    def test_when_nothing_is_wrong(self) -> None:
        figures = self.run_seeds(Compared(size=3), range(1, 2), Settings((), seconds=4))
        self.assertGreater(figures["alike"], 5)
