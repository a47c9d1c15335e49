"""
C{make proof-sim}: simulated clusters keep their promises over thousands of seeds, and the checks see every mistake.

A cluster of three or five whole stores lives in one process, in a simulated world that a seed determines: clocks,
network, disks and the processes at them are simulated, all else is the real code. For ten seconds clients ask for reads
and writes, expiry, transactions with and without WATCH, and blocking pops, one request after another or in pipelines.
Meanwhile each kind of fault happens at random: messages are lost, late, twice, out of order; links are cut one way or
both, between groups, or break; machines lose their power, with what wasn't synced on either file; stores are killed,
paused for longer than a lease, and started again within one; stores end, either way, right where one of their commits
begins or ends, above all while they install a snapshot; a leader with entries of its own is cut off until the others'
logs begin behind them, and ends while it's brought up; disks are slow, stuck, full and failing; clocks run fast and
slow and are off; leadership is handed over, now and then to a store that the old leader can't hear; stores are added,
removed, exchanged by joint configurations and demoted; logs are cut, so that who was away is sent a snapshot.
Looked at meanwhile and at the end, when nothing has been wrong for a while:

    - at most one leader in a term, one vote of a store in a term, one holder of a lease at a time;
    - equal entries at equal index and term, and the same before them; what is applied lies on the disks of a majority,
      and nobody ever applies anything else there; leaders count entries of their own term only;
    - region time never goes back, and replicas that have applied the same have equal rows, byte by byte;
    - all stores come to the same state, and answer; one that was removed ends, but only when a majority of those who
      stay knows of it on its disks;
    - the clients' whole history is linearizable, pipelines were done in their order and once, and EXEC did nothing
      where something had changed since WATCH.

Then the stores are broken on purpose, in one place at a time: the checks must see each of these mutations, and with its
settings find nothing wrong in stores that aren't broken. Of every twenty seeds one is run in both processes, whose sets
of strings are ordered differently: it must go the same way to the last event.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context

from tests.proofs.report import Figures, Run, options, prose
from tests.testing.cluster import Cluster
from tests.testing.mutations import MUTATIONS
from tests.testing.simulate import be_quiet
from tinykv.testing.simulation.runner import failure_text, run_once
from tinykv.testing.simulation.scenario import Report, Settings

SEEDS = 3000
#: Seeds of one unit, of which the first is run in each process.
SEEDS_OF_A_UNIT = 20
#: Before them, a unit in which all mutations are tried.
UNITS = 1 + SEEDS // SEEDS_OF_A_UNIT
SECONDS = 3600.0
PROCESSES = 2
SETTINGS = Settings(tuple(Cluster.faults))


class Fails(Exception):
    """What was to be proven doesn't hold."""


def run_seeds(seeds: Sequence[int]) -> list[tuple[int, Report]]:
    """Run seeds, one after another, up to the first that fails."""
    done: list[tuple[int, Report]] = []
    for seed in seeds:
        report = run_once(Cluster(), seed, SETTINGS)
        done.append((seed, report))
        if report.problems:
            break
    return done


def try_mutation(place: int) -> str:
    """Try one of the mutations; say what is wrong, or nothing."""
    mutation = MUTATIONS[place]
    found = mutation.caught()
    if found is None:
        return f"Nobody saw {mutation.name}"
    seed, _ = found
    problems = mutation.run(seed, broken=False).problems
    return f"Where {mutation.name} is looked for, unbroken stores fail with seed {seed}: {problems}" if problems else ""


class Workers:
    """The processes, each with an order of its own for sets of strings."""

    def __init__(self, stack: ExitStack) -> None:
        context = get_context("spawn")
        self._pools = [stack.enter_context(ProcessPoolExecutor(1, context, be_quiet)) for _ in range(PROCESSES)]

    def unit(self, number: int) -> Figures:
        """
        Do a unit.

        @raise Fails: Something is wrong.
        """
        return self._seeds(number) if number else self._mutations()

    def _mutations(self) -> Figures:
        asked = [self._pools[place % PROCESSES].submit(try_mutation, place) for place in range(len(MUTATIONS))]
        wrong = [text for text in (one.result() for one in asked) if text]
        if wrong:
            raise Fails("\n".join(wrong))
        return {"mutations": len(MUTATIONS), "mutations that were seen": len(MUTATIONS)}

    def _seeds(self, number: int) -> Figures:
        first = 1 + (number - 1) * SEEDS_OF_A_UNIT
        last = min(first + SEEDS_OF_A_UNIT - 1, SEEDS)
        asked: list[Future[list[tuple[int, Report]]]] = [
            pool.submit(run_seeds, [first, *range(first + 1 + place, last + 1, PROCESSES)])
            for place, pool in enumerate(self._pools)
        ]
        reports: dict[int, Report] = {}
        figures: Figures = {"seeds": 0, "seeds that went the same way in both processes": 1}
        for one in asked:
            for seed, report in one.result():
                if report.problems:
                    raise Fails(failure_text("python -m tests.testing.simulate", Cluster(), seed, SETTINGS, report))
                if reports.setdefault(seed, report).digest != report.digest:
                    raise Fails(f"Seed {seed} went one way in one process, and another in the other")
        for report in reports.values():
            figures["seeds"] += 1
            for name, count in report.figures.items():
                if name != "runs":
                    figures[name] = figures.get(name, 0) + count
        return figures


def main(arguments: Sequence[str]) -> int:
    """Run what is left of the proof."""
    units, seconds = options(arguments, units=UNITS, seconds=SECONDS)
    proof = Run("sim", units=min(units, UNITS), seconds=seconds)
    with ExitStack() as stack:
        workers = Workers(stack)
        try:
            complete = proof.work(workers.unit)
        except Fails as problem:
            print(problem, file=sys.stderr)
            return 1
    print(f"figures are in {proof.write('Simulated clusters', prose(__doc__))}")
    return 0 if complete else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
