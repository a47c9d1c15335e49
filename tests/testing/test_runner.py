"""Many seeds, one after another: what is kept, what is said, what ends it."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from tests.testing.histories import history
from tinykv.testing.redis_model import RedisModel
from tinykv.testing.simulation.runner import FAILURES_MAX, main, narrow
from tinykv.testing.simulation.scenario import Report, Settings, judge


class Made:
    """A scenario that fails where it's told to; C{ran} notes each run."""

    name = "made"
    faults = ("a", "b", "c")

    def __init__(self, failing: dict[int, frozenset[str]] | None = None) -> None:
        self.failing = failing or {}
        self.ran: list[tuple[int, Settings]] = []

    def run(self, seed: int, settings: Settings) -> Report:
        """Fail if all the faults that it takes are there."""
        self.ran.append((seed, settings))
        needed = self.failing.get(seed)
        if needed is None or not needed <= set(settings.faults):
            return Report("digest", "schedule", figures={"runs": 1})
        if "c" in needed:
            raise ValueError("boom")
        return Report("digest", f"schedule of {','.join(settings.faults)}", ["it's broken"], recent=["9 event"])


class RunnerTests(SynchronousTestCase):
    """The command line."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())

    def run_made(self, scenario: Made, *arguments: str, sources: str = "1") -> tuple[int, str]:
        screen = io.StringIO()
        console = Console(file=screen, width=200)
        status = main([scenario], arguments, program="make-it", folder=self.folder, sources=sources, console=console)
        return status, screen.getvalue()

    def seeds(self, scenario: Made) -> list[int]:
        """Which seeds were run, each time; the first is run twice."""
        seeds = [seed for seed, _ in scenario.ran]
        self.assertEqual(seeds[:1], seeds[1:2])
        return seeds[1:]

    def test_all_pass(self) -> None:
        scenario = Made()
        status, text = self.run_made(scenario, "--seed", "5", "--runs", "3", "--seconds", "7", "--clients", "2")
        self.assertEqual((status, self.seeds(scenario)), (0, [5, 6, 7]))
        self.assertEqual(scenario.ran[0][1], Settings(("a", "b", "c"), 7, 2))
        self.assertIn("3 of 3 seeds passed, 0 failed. In all: 3 runs", text)

    def test_what_passed_is_not_done_again(self) -> None:
        self.run_made(Made(), "--runs", "3")
        again = Made()
        _, text = self.run_made(again, "--runs", "5")
        self.assertEqual(self.seeds(again), [4, 5])
        self.assertIn("5 of 5 seeds passed, 0 failed. In all: 5 runs", text)

    def test_with_other_sources_or_settings_it_is(self) -> None:
        self.run_made(Made(), "--runs", "2")
        other = Made()
        self.run_made(other, "--runs", "2", sources="2")
        self.assertEqual(self.seeds(other), [1, 2])
        other = Made()
        self.run_made(other, "--runs", "2", "--clients", "9")
        self.assertEqual(self.seeds(other), [1, 2])

    def test_a_damaged_file_is_as_none(self) -> None:
        self.run_made(Made(), "--runs", "2")
        (self.folder / "made.json").write_text("{")
        again = Made()
        self.run_made(again, "--runs", "2")
        self.assertEqual(self.seeds(again), [1, 2])

    def test_a_failure_is_narrowed_and_explained(self) -> None:
        status, text = self.run_made(Made({2: frozenset("b")}), "--runs", "3")
        self.assertEqual(status, 1)
        for said in (
            "Seed 2 of made failed.",
            "schedule of b\n",
            "9 event",
            "it's broken",
            "make-it --scenario made --seed 2 --runs 1 --faults b --seconds 10 --clients 6",
            "2 of 3 seeds passed, 1 failed",
        ):
            self.assertIn(said, text)

    def test_what_failed_is_done_again(self) -> None:
        self.run_made(Made({2: frozenset()}), "--runs", "3")
        again = Made()
        status, _ = self.run_made(again, "--runs", "3")
        self.assertEqual((status, self.seeds(again)), (0, [2]))

    def test_an_exception_is_a_failure(self) -> None:
        status, text = self.run_made(Made({1: frozenset("ac")}), "--runs", "1")
        self.assertEqual(status, 1)
        self.assertIn("ValueError: boom", text)
        self.assertIn("--faults a,c ", text)

    def test_runs_that_differ_are_a_failure(self) -> None:
        class Fickle(Made):
            def run(self, seed: int, settings: Settings) -> Report:
                report = super().run(seed, settings)
                report.digest = str(len(self.ran))
                return report

        status, text = self.run_made(Fickle(), "--runs", "1")
        self.assertEqual(status, 1)
        self.assertIn("Two runs of this seed differ", text)

    def test_some_failures_are_enough(self) -> None:
        scenario = Made(dict.fromkeys(range(1, 100), frozenset()))
        _, text = self.run_made(scenario, "--runs", "50", "--faults", "none")
        self.assertEqual(self.seeds(scenario)[-1], FAILURES_MAX)
        self.assertIn(f"0 of 50 seeds passed, {FAILURES_MAX} failed. In all: nothing", text)
        self.assertIn("--faults none ", text)

    def test_no_seed_is_begun_when_time_is_over(self) -> None:
        scenario = Made()
        _, text = self.run_made(scenario, "--runs", "50", "--minutes", "0.0000001")
        self.assertLess(len(scenario.ran), 50)
        self.assertIn("of 50 seeds passed", text)

    def test_faults_are_chosen(self) -> None:
        for text, faults in (("none", ()), ("all", ("a", "b", "c")), ("c,a", ("a", "c"))):
            scenario = Made()
            self.run_made(scenario, "--runs", "1", "--faults", text)
            self.assertEqual(scenario.ran[0][1].faults, faults)

    def test_narrowing_leaves_what_is_needed(self) -> None:
        found = Report(problems=["it's broken"])
        settings, report = narrow(Made({1: frozenset("ab")}), 1, Settings(("a", "b", "c")), found)
        self.assertEqual((settings.faults, report.schedule), (("a", "b"), "schedule of a,b"))


class JudgeTests(SynchronousTestCase):
    """The verdict on a history, as a problem."""

    def test_problems(self) -> None:
        good = history((1, 0, 1, "SET a 1", "OK"), (1, 2, 3, "GET a", "1"))
        bad = history((1, 0, 1, "SET a 1", "OK"), (1, 2, 3, "GET a", "2"))
        self.assertEqual(judge(good, RedisModel())[0], [])
        (text,), _ = judge(bad, RedisModel())
        self.assertIn("There GET a gives 1, not 2.", text)
        (text,), steps = judge(good, RedisModel(), steps_max=0)
        self.assertIn("Undecided: 2 operations that share keys took more than 0 steps", text)
        self.assertEqual(steps, 1)
