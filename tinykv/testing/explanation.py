"""
Why a history can't be explained, in a form that a person can read.

A long history that isn't linearizable is cut to its smallest prefix that isn't: prefixes of linearizable histories are
linearizable, so it's found by halving. Its last reply is the one that can't be; then the reads that aren't needed to
see that are left out, and what remains is printed with the longest order that the search found, and what the last
operations could have answered after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from tinykv.testing.history import Operation, up_to
from tinykv.testing.linearizability import STEPS_MAX, Model, Outcome, Verdict, accepts, check, check_part

#: Operations printed; of a longer history the end.
SHOWN: Final = 40
#: Steps of all searches that make a history smaller.
NARROWING_STEPS: Final = 2_000_000


@dataclass(frozen=True)
class Explanation:
    """
    A violation, made small.

    @ivar operations: A history that isn't linearizable.
    @ivar culprit: The operation whose reply makes it so: without that reply it would be linearizable.
    @ivar outcome: The search's end.
    """

    operations: tuple[Operation, ...]
    culprit: Operation
    outcome: Outcome

    def text(self, model: Model) -> str:
        """Word it, over several lines."""
        order = {operation.number: place for place, operation in enumerate(self.outcome.order, 1)}
        shown = self.operations[-SHOWN:]
        lines = [
            "The history isn't linearizable. With this reply it can't be explained any more:",
            "",
            "    " + _line(self.culprit, model),
            "",
            "The operations concerned, by their calls (times in ms; ? is an unknown outcome; #n is the place in the",
            "longest order that was found, which ends in the state below, and - one that didn't fit):",
            "",
        ]
        if len(shown) < len(self.operations):
            lines.append(f"    ... {len(self.operations) - len(shown)} earlier ones")
        for operation in shown:
            place = f"#{order[operation.number]}" if operation.number in order else "-"
            lines.append(f"    {place:>5}  {_line(operation, model)}")
        lines += ["", f"State there: {model.describe_state(self.outcome.state)}", ""]
        for operation in self.operations:
            if operation.number not in order and operation.known:
                lines += _why(operation, self.outcome.state, model)
        return "\n".join(lines)


def _line(operation: Operation, model: Model) -> str:
    returned = f"{operation.returned / 1000:.3f}" if operation.returned is not None else "?"
    output = model.describe_output(operation.output) if operation.known else "?"
    return (
        f"[{operation.called / 1000:.3f} .. {returned}] client {operation.client}: "
        f"{model.describe(operation)} -> {output}"
    )


def _why(operation: Operation, state: Any, model: Model) -> list[str]:
    """Say what an operation that doesn't fit would have answered."""
    outcomes = list(model.step(state, operation))
    wanted = " or ".join(dict.fromkeys(model.describe_output(expected) for expected, _ in outcomes))
    if any(accepts(expected, operation.output) for expected, _ in outcomes):
        return []
    return [f"There {model.describe(operation)} gives {wanted}, not {model.describe_output(operation.output)}."]


def explain(operations: Iterable[Operation], model: Model, *, steps_max: int = STEPS_MAX) -> Explanation:
    """
    Make a violation small.

    @param operations: A part, as L{Outcome.part} has it: not linearizable.
    """
    whole = list(operations)
    times = sorted({operation.returned for operation in whole if operation.returned is not None})
    low, high = 0, len(times) - 1
    while low < high:
        middle = (low + high) // 2
        if check(up_to(whole, times[middle]), model, steps_max=steps_max).verdict is Verdict.VIOLATED:
            high = middle
        else:
            low = middle + 1
    prefix = up_to(whole, times[high])
    culprit = next(operation for operation in reversed(prefix) if operation.returned == times[high])
    prefix = list(check(prefix, model, steps_max=steps_max).part)
    kept = _without_needless_reads(prefix, culprit, model, steps_max)
    return Explanation(tuple(kept), culprit, check_part(kept, model, steps_max=steps_max))


def _without_needless_reads(
    operations: list[Operation], culprit: Operation, model: Model, steps_max: int
) -> list[Operation]:
    """Leave out reads, which only say more about the state, and unknown operations, as long as it's a violation."""
    kept = [operation for operation in operations if operation.known or not model.reads(operation)]
    budget = NARROWING_STEPS
    for operation in list(kept):
        if operation.number == culprit.number or not model.reads(operation):
            continue
        fewer = [other for other in kept if other is not operation]
        outcome = check_part(fewer, model, steps_max=min(steps_max, budget))
        budget -= outcome.steps
        if outcome.verdict is Verdict.VIOLATED:
            kept = fewer
        if budget <= 0:
            break
    return kept
