"""A simulated store keeps its promises, and the checks see it when it doesn't."""

from __future__ import annotations

from collections.abc import Callable

from tests.testing.one_store import AcknowledgesEarly, AppliesTwice, Lies, OneStore, Retries, Variant
from tests.testing.seeds import SeedsCase
from tinykv.testing.simulation import faults
from tinykv.testing.simulation.runner import run_once
from tinykv.testing.simulation.scenario import Report, Settings

CRASHES = (faults.CRASH, faults.KILL)


class OneStoreTests(SeedsCase):
    """Some seeds; `make sim` runs many."""

    def test_it_keeps_its_promises_whatever_happens(self) -> None:
        figures = self.run_seeds(OneStore(), range(1, 13), Settings(OneStore.faults))
        for kind in OneStore.faults:
            self.assertGreater(figures.get(f"faults {kind}", 0), 0, f"{kind} never happened: {figures}")
        self.assertGreater(figures["replies"], 12 * 150)
        self.assertGreater(figures["requests of unknown outcome"], 12)

    def test_nobody_is_refused_or_left_in_doubt_when_nothing_is_wrong(self) -> None:
        figures = self.run_seeds(OneStore(), range(1, 4), Settings(()))
        self.assertEqual((figures["requests of unknown outcome"], figures["requests refused"]), (0, 0))
        self.assertGreater(figures["replies"], 600)

    def test_without_fsync_it_survives_what_kills_only_the_process(self) -> None:
        # With the power it would lose the end of its log, as documented.
        scenario = OneStore(fsync=False, last_crash=False)
        self.run_seeds(scenario, range(1, 4), Settings((faults.KILL, faults.PAUSE, faults.SLOW_DISK)))

    def test_a_seed_is_a_run(self) -> None:
        settings = Settings(OneStore.faults, seconds=5)
        scenario = OneStore()
        first, again, other = (scenario.run(seed, settings) for seed in (5, 5, 6))
        self.assertEqual((first.digest, first.figures), (again.digest, again.figures))
        self.assertNotEqual(first.digest, other.digest)

    def caught(self, variant: Callable[[], Variant], kinds: tuple[str, ...], seeds: range) -> list[Report]:
        """Run seeds of a broken variant; give the reports of those that were found out by their history."""
        reports = [run_once(OneStore(variant), seed, Settings(kinds)) for seed in seeds]
        found = [report for report in reports if any("isn't linearizable" in text for text in report.problems)]
        self.assertGreater(len(found), 0)
        for report in found:
            self.assertNotEqual((report.schedule, report.recent), ("no faults", []))
        return found

    def test_early_acknowledgements_are_caught(self) -> None:
        self.caught(AcknowledgesEarly, CRASHES, range(1, 9))

    def test_a_lost_tail_is_caught(self) -> None:
        self.caught(Lies, (faults.CRASH,), range(1, 9))

    def test_entries_applied_twice_are_caught(self) -> None:
        self.caught(AppliesTwice, (faults.KILL,), range(1, 9))

    def test_requests_sent_twice_are_caught(self) -> None:
        self.caught(Retries, (faults.CRASH, faults.KILL, faults.FAILING_DISK), range(1, 9))
