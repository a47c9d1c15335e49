"""
One run of a simulated world, as the runner sees it: what it's given, and what it found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tinykv.testing.explanation import explain
from tinykv.testing.history import Operation
from tinykv.testing.linearizability import STEPS_MAX, Model, Verdict, check


@dataclass(frozen=True)
class Settings:
    """
    What a run depends on beside its seed.

    @ivar faults: The kinds that may happen; see L{tinykv.testing.simulation.faults}.
    @ivar seconds: How long clients are at work, in simulated seconds.
    @ivar clients: How many there are.
    """

    faults: tuple[str, ...]
    seconds: int = 10
    clients: int = 6


@dataclass
class Report:
    """
    What a run found.

    @ivar digest: Sums up all that happened: runs of one seed have the same.
    @ivar schedule: The faults, a line each.
    @ivar problems: What is wrong, a text each; none if all is well.
    @ivar figures: Counts, to be added up over runs.
    @ivar recent: The last events of a run with problems.
    """

    digest: str = ""
    schedule: str = ""
    problems: list[str] = field(default_factory=list)
    figures: dict[str, int] = field(default_factory=dict)
    recent: list[str] = field(default_factory=list)


class Scenario(Protocol):
    """
    A simulated world with its checks.

    @ivar name: What it's called on the command line.
    @ivar faults: All kinds of faults that it can take.
    """

    name: str
    faults: Sequence[str]

    def run(self, seed: int, settings: Settings) -> Report:
        """
        Run once. What goes wrong in the world belongs into the report; an exception counts as a problem as well.
        """
        ...


def judge(operations: Sequence[Operation], model: Model, *, steps_max: int = STEPS_MAX) -> tuple[list[str], int]:
    """
    Check a history; a search that was too long is a problem, as nobody knows then.

    @return: (problems, steps of the search).
    """
    outcome = check(operations, model, steps_max=steps_max)
    if outcome.verdict is Verdict.LINEARIZABLE:
        return [], outcome.steps
    if outcome.verdict is Verdict.UNDECIDED:
        return [
            f"Undecided: {len(outcome.part)} operations that share keys took more than {steps_max} steps of the "
            "search. Use more groups of keys, fewer operations or a higher bound"
        ], outcome.steps
    return [explain(outcome.part, model, steps_max=steps_max).text(model)], outcome.steps
