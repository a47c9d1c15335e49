"""The proofs that run seeds by the thousand: each seed of each scenario once, and a few of them here."""

from __future__ import annotations

import pickle

from twisted.trial.unittest import SynchronousTestCase

from tests.proofs.regions import SCENARIO_NAMES, SEEDS
from tests.proofs.seeds import SEEDS_OF_A_UNIT, run_seeds, scenario_of, settings_of, unit_of_seeds
from tests.testing.mutations import MUTATIONS
from tests.testing.region_mutations import REGION_MUTATIONS


class UnitTests(SynchronousTestCase):
    """What belongs to which unit."""

    def test_each_seed_is_run_once(self) -> None:
        names, seeds = ("one", "two", "three"), 3 * (2 * SEEDS_OF_A_UNIT + 5)
        found: dict[str, list[int]] = {}
        for number in range(1, 1 + 3 * 3):
            name, some = unit_of_seeds(number, names, seeds)
            found.setdefault(name, []).extend(some)
        self.assertEqual(found, {name: list(range(1, 2 * SEEDS_OF_A_UNIT + 6)) for name in names})

    def test_scenarios_have_equal_shares(self) -> None:
        self.assertEqual(SEEDS % len(SCENARIO_NAMES), 0)
        self.assertEqual([scenario_of(name).name for name in SCENARIO_NAMES], list(SCENARIO_NAMES))

    def test_mutations_reach_the_processes(self) -> None:
        for mutation in (*MUTATIONS, *REGION_MUTATIONS):
            self.assertEqual(pickle.loads(pickle.dumps(mutation)), mutation)


class ShortTests(SynchronousTestCase):
    """A seed of each scenario of the proof of regions, for a shorter time than there."""

    def test_seeds(self) -> None:
        for place, name in enumerate(SCENARIO_NAMES, 101):
            ((_, report),) = run_seeds(name, [place], settings_of(name, seconds=4))
            self.assertEqual(report.problems, [], f"seed {place} of {name}\n{report.schedule}")
            self.assertGreater(report.figures["requests"], 10)
