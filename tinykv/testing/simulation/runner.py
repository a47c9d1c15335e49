"""
Many seeds of a scenario, one after another; what was done is kept, so that a run that was interrupted goes on.

What a file under C{build/} says counts only as long as the scenario, its settings and the sources are the same. A seed
that fails is run again with fewer kinds of faults, as long as it goes on failing, and what is printed then is enough to
go on with: the faults, what the checkers say, and the command that does it again.
"""

from __future__ import annotations

import argparse
import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tinykv.testing.simulation.scenario import Report, Scenario, Settings

#: Failing seeds after which a run ends.
FAILURES_MAX: Final = 3


@dataclass
class Kept:
    """
    What was done so far.

    @ivar passed: Seeds that did.
    @ivar figures: The sums of their figures.
    """

    path: Path
    key: dict[str, Any]
    passed: set[int] = field(default_factory=set)
    figures: dict[str, int] = field(default_factory=dict)

    def load(self) -> None:
        """Take over what a run before left, if it was of the same."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return
        if found.get("key") == self.key:
            self.passed = {seed for first, last in found["passed"] for seed in range(first, last + 1)}
            self.figures = found["figures"]

    def save(self) -> None:
        """Leave it for the next run; whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"key": self.key, "passed": _spans(self.passed), "figures": self.figures}, indent=1)
        beside = self.path.with_suffix(".new")
        beside.write_text(text, encoding="utf-8")
        beside.replace(self.path)

    def add(self, seed: int, report: Report) -> None:
        """Note a seed that passed."""
        self.passed.add(seed)
        for name, count in report.figures.items():
            self.figures[name] = self.figures.get(name, 0) + count


def _spans(numbers: set[int]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][1] == number - 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    return spans


def run_once(scenario: Scenario, seed: int, settings: Settings) -> Report:
    """Run a seed; an exception is a problem like others."""
    try:
        return scenario.run(seed, settings)
    except Exception:  # noqa: BLE001 - whatever it is, the seed and the traceback are what is needed
        return Report(problems=[traceback.format_exc()])


def run_twice(scenario: Scenario, seed: int, settings: Settings) -> Report:
    """Run a seed twice: what happens may depend on nothing but the seed, or no failure could be seen again."""
    report, again = run_once(scenario, seed, settings), run_once(scenario, seed, settings)
    if report.digest != again.digest:
        report.problems.append("Two runs of this seed differ: something depends on an order or an address")
    return report


def narrow(scenario: Scenario, seed: int, settings: Settings, report: Report) -> tuple[Settings, Report]:
    """
    Leave out kinds of faults, one after another, as long as the seed fails.

    @param report: That of the run that failed.
    @return: The settings that are left, and the report of their run.
    """
    for kind in settings.faults:
        fewer = replace(settings, faults=tuple(other for other in settings.faults if other != kind))
        found = run_once(scenario, seed, fewer)
        if found.problems:
            settings, report = fewer, found
    return settings, report


def command(program: str, scenario: Scenario, seed: int, settings: Settings) -> str:
    """Give the command that runs a seed again."""
    faults = ",".join(settings.faults) or "none"
    return (
        f"{program} --scenario {scenario.name} --seed {seed} --runs 1 --faults {faults} --seconds {settings.seconds} "
        f"--clients {settings.clients}"
    )


def failure_text(program: str, scenario: Scenario, seed: int, settings: Settings, report: Report) -> str:
    """Word a failure."""
    parts = [f"Seed {seed} of {scenario.name} failed.", f"Faults:\n{report.schedule or 'unknown'}"]
    if report.recent:
        parts.append("The last events (us):\n" + "\n".join(report.recent[-20:]))
    parts += report.problems
    parts.append("Again:\n    " + command(program, scenario, seed, settings))
    return "\n\n".join(parts)


def run_all(
    scenario: Scenario,
    seeds: Sequence[int],
    settings: Settings,
    *,
    kept: Kept,
    program: str,
    console: Console,
    seconds: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
) -> list[int]:
    """
    Run seeds, but for those that have passed before.

    @param seconds: No seed is begun after these; 0 for no bound.
    @return: Those that failed.
    """
    kept.load()
    begun = clock()
    failed: list[int] = []
    # The first one twice, lest all be in vain.
    run = run_twice
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task(scenario.name, total=len(seeds))
        for seed in seeds:
            if seed not in kept.passed:
                if seconds and clock() - begun > seconds:
                    break
                report = run(scenario, seed, settings)
                run = run_once
                if report.problems:
                    failed.append(seed)
                    smaller, report = narrow(scenario, seed, settings, report)
                    console.print(failure_text(program, scenario, seed, smaller, report), markup=False, highlight=False)
                    if len(failed) >= FAILURES_MAX:
                        break
                else:
                    kept.add(seed, report)
                    kept.save()
            progress.advance(task)
    done = len(kept.passed.intersection(seeds))
    figures = ", ".join(f"{count} {name}" for name, count in sorted(kept.figures.items()))
    console.print(f"{done} of {len(seeds)} seeds passed, {len(failed)} failed. In all: {figures or 'nothing'}")
    return failed


def main(
    scenarios: Sequence[Scenario],
    arguments: Sequence[str],
    *,
    program: str,
    folder: Path,
    sources: str,
    console: Console | None = None,
) -> int:
    """
    Run what a command line asks for.

    @param folder: Where to keep what was done.
    @param sources: Sums up the sources: with others everything is done anew.
    @return: The exit status: 1 if a seed failed.
    """
    by_name: Mapping[str, Scenario] = {scenario.name: scenario for scenario in scenarios}
    parser = argparse.ArgumentParser(prog=program, description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scenario", choices=by_name, default=scenarios[0].name)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--runs", type=int, default=100, help="how many seeds, one after another")
    parser.add_argument("--faults", default="all", help="kinds of faults, with commas between; all, or none")
    parser.add_argument("--seconds", type=int, default=Settings(()).seconds, help="simulated time of a run")
    parser.add_argument("--clients", type=int, default=Settings(()).clients, help="how many there are")
    parser.add_argument("--minutes", type=float, default=0.0, help="begin no seed after these")
    options = parser.parse_args(arguments)
    scenario = by_name[options.scenario]
    settings = Settings(_faults(parser, scenario, options.faults), options.seconds, options.clients)
    key = json.loads(json.dumps({"scenario": scenario.name, "settings": asdict(settings), "sources": sources}))
    failed = run_all(
        scenario,
        range(options.seed, options.seed + options.runs),
        settings,
        kept=Kept(folder / f"{scenario.name}.json", key),
        program=program,
        console=console if console is not None else Console(),
        seconds=options.minutes * 60,
    )
    return 1 if failed else 0


def _faults(parser: argparse.ArgumentParser, scenario: Scenario, text: str) -> tuple[str, ...]:
    if text in ("all", "none"):
        return tuple(scenario.faults) if text == "all" else ()
    wanted = text.split(",")
    unknown = [kind for kind in wanted if kind not in scenario.faults]
    if unknown:
        parser.error(f"{scenario.name} has no fault {unknown[0]}; it has {', '.join(scenario.faults)}")
    return tuple(kind for kind in scenario.faults if kind in wanted)
