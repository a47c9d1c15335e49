"""
Seeds of simulated scenarios, by the thousand, in processes that order their sets of strings differently, and mutations
that must be seen.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from typing import Protocol

from tests.proofs.report import Figures, Run, options, prose
from tests.testing.simulate import SCENARIOS, be_quiet
from tinykv.testing.simulation.runner import failure_text, run_once
from tinykv.testing.simulation.scenario import Report, Scenario, Settings

#: Seeds of one unit, of which the first is run in each process.
SEEDS_OF_A_UNIT = 20
PROCESSES = 2


class Fails(Exception):
    """What was to be proven doesn't hold."""


class Mutation(Protocol):
    """A way to break what is simulated; see L{tests.testing.mutations.Mutation}."""

    @property
    def name(self) -> str:
        """What is wrong, in words."""

    def caught(self) -> tuple[int, Report] | None:
        """Run seeds until one shows what is expected; give it with its report, or None."""

    def run(self, seed: int, *, broken: bool = True) -> Report:
        """Run a seed."""


def scenario_of(name: str) -> Scenario:
    """Give a scenario by its name."""
    (found,) = (scenario for scenario in SCENARIOS if scenario.name == name)
    return found


def settings_of(name: str, seconds: int = 10) -> Settings:
    """Give the settings of its seeds: everything happens that can."""
    return Settings(tuple(scenario_of(name).faults), seconds)


def run_seeds(name: str, seeds: Sequence[int], settings: Settings) -> list[tuple[int, Report]]:
    """Run seeds of a scenario, one after another, up to the first that fails."""
    done: list[tuple[int, Report]] = []
    for seed in seeds:
        report = run_once(scenario_of(name), seed, settings)
        done.append((seed, report))
        if report.problems:
            break
    return done


def try_mutation(mutation: Mutation) -> str:
    """Try one of the mutations; say what is wrong, or nothing."""
    found = mutation.caught()
    if found is None:
        return f"Nobody saw {mutation.name}"
    seed, _ = found
    problems = mutation.run(seed, broken=False).problems
    return f"Where {mutation.name} is looked for, unbroken stores fail with seed {seed}: {problems}" if problems else ""


def unit_of_seeds(number: int, scenarios: Sequence[str], seeds: int) -> tuple[str, range]:
    """
    Say which scenario a unit runs, and which of its seeds.

    @param number: From 1 on; 0 is that of the mutations.
    @param seeds: How many there are of all scenarios together; each has as many.
    """
    turn, place = divmod(number - 1, len(scenarios))
    first = 1 + turn * SEEDS_OF_A_UNIT
    last = min(first + SEEDS_OF_A_UNIT - 1, seeds // len(scenarios))
    return scenarios[place], range(first, last + 1)


class Workers:
    """
    The processes, each with an order of its own for sets of strings.

    @ivar units: How many units there are: before those of seeds, one in which all mutations are tried.
    """

    def __init__(self, stack: ExitStack, scenarios: Sequence[str], mutations: Sequence[Mutation], seeds: int) -> None:
        context = get_context("spawn")
        self._pools = [stack.enter_context(ProcessPoolExecutor(1, context, be_quiet)) for _ in range(PROCESSES)]
        self._scenarios = scenarios
        self._mutations = mutations
        self._seeds = seeds
        self.units = 1 + len(scenarios) * -(-(seeds // len(scenarios)) // SEEDS_OF_A_UNIT)

    def unit(self, number: int) -> Figures:
        """
        Do a unit.

        @raise Fails: Something is wrong.
        """
        return self._run_seeds(number) if number else self._try_mutations()

    def _try_mutations(self) -> Figures:
        asked = [
            self._pools[place % PROCESSES].submit(try_mutation, mutation)
            for place, mutation in enumerate(self._mutations)
        ]
        wrong = [text for text in (one.result() for one in asked) if text]
        if wrong:
            raise Fails("\n".join(wrong))
        return {"mutations": len(self._mutations), "mutations that were seen": len(self._mutations)}

    def _run_seeds(self, number: int) -> Figures:
        name, seeds = unit_of_seeds(number, self._scenarios, self._seeds)
        settings = settings_of(name)
        first, *others = seeds
        asked: list[Future[list[tuple[int, Report]]]] = [
            pool.submit(run_seeds, name, [first, *others[place::PROCESSES]], settings)
            for place, pool in enumerate(self._pools)
        ]
        reports: dict[int, Report] = {}
        figures: Figures = {"seeds": 0, "seeds that went the same way in both processes": 1}
        if len(self._scenarios) > 1:
            figures[f"seeds of {name}"] = len(seeds)
        for one in asked:
            for seed, report in one.result():
                if report.problems:
                    program = "python -m tests.testing.simulate"
                    raise Fails(failure_text(program, scenario_of(name), seed, settings, report))
                if reports.setdefault(seed, report).digest != report.digest:
                    raise Fails(f"Seed {seed} of {name} went one way in one process, and another in the other")
        for report in reports.values():
            figures["seeds"] += 1
            for figure, count in report.figures.items():
                if figure != "runs":
                    figures[figure] = figures.get(figure, 0) + count
        return figures


def prove(
    name: str,
    title: str,
    about: str | None,
    arguments: Sequence[str],
    *,
    scenarios: Sequence[str],
    mutations: Sequence[Mutation],
    seeds: int,
    seconds: float,
) -> int:
    """
    Run what is left of a proof, and write its figures.

    @param about: The docstring of its module.
    @param seconds: After how many seconds no unit is begun, unless C{arguments} say otherwise.
    @return: The status to exit with: 0 when all is done, 2 when some is left, 1 when something is wrong.
    """
    with ExitStack() as stack:
        workers = Workers(stack, scenarios, mutations, seeds)
        units, seconds = options(arguments, units=workers.units, seconds=seconds)
        proof = Run(name, units=min(units, workers.units), seconds=seconds)
        try:
            complete = proof.work(workers.unit)
        except Fails as problem:
            print(problem, file=sys.stderr)
            return 1
    print(f"figures are in {proof.write(title, prose(about))}")
    return 0 if complete else 2
