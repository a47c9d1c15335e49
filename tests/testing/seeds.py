"""Seeds of a scenario that must pass."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tinykv.testing.simulation.runner import run_once
from tinykv.testing.simulation.scenario import Scenario, Settings


class SeedsCase(SynchronousTestCase):
    """Runs some; `make sim` runs many."""

    def run_seeds(self, scenario: Scenario, seeds: range, settings: Settings) -> dict[str, int]:
        """Run seeds that must pass; sum up their figures."""
        figures: dict[str, int] = {}
        for seed in seeds:
            report = run_once(scenario, seed, settings)
            self.assertEqual(report.problems, [], f"seed {seed}\n{report.schedule}")
            for name, count in report.figures.items():
                figures[name] = figures.get(name, 0) + count
        return figures
