"""Histories by hand, and the slow, obvious twin of the checker."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations, permutations
from typing import Any

from tinykv.testing.history import Operation
from tinykv.testing.linearizability import Model, accepts
from tinykv.testing.redis_model import Exec, Watch
from tinykv.testing.redis_space import Failed


def asked(line: str) -> Any:
    """Read an input: `SET a 1`, `WATCH a b` (token 1), `a b: MULTI; SET a 1; GET b` (watched keys before the colon)."""
    if "MULTI" in line:
        watched, _, commands = line.partition("MULTI")
        keys = tuple(watched.strip(": ").encode().split())
        words = tuple(tuple(command.encode().split()) for command in commands.split(";") if command.strip())
        return Exec(1 if keys else None, keys, words)
    words_ = tuple(line.encode().split())
    if words_[0] == b"WATCH":
        return Watch(1, words_[1:])
    return words_


def told(output: Any) -> Any:
    """Read an output: text is bytes, `-CODE` an error, a list a tuple."""
    if isinstance(output, str):
        return Failed(output[1:].encode()) if output.startswith("-") else output.encode()
    if isinstance(output, list):
        return tuple(map(told, output))
    return output


#: (client, called, returned or None, input, output), in ms.
Row = tuple[int, float, float | None, str, Any]


def history(*rows: Row) -> list[Operation]:
    """Make a history."""
    return [
        Operation(
            number,
            client,
            int(called * 1000),
            None if returned is None else int(returned * 1000),
            asked(line),
            None if returned is None else told(output),
        )
        for number, (client, called, returned, line, output) in enumerate(rows)
    ]


def linearizable_by_force(operations: Sequence[Operation], model: Model) -> bool:
    """Try every order of every choice of the unknown operations."""
    known = [operation for operation in operations if operation.known]
    unknown = [operation for operation in operations if not operation.known]
    for count in range(len(unknown) + 1):
        for chosen in combinations(unknown, count):
            for order in permutations([*known, *chosen]):
                if _keeps_time(order) and _explains(order, model.initial(), model):
                    return True
    return False


def _keeps_time(order: Sequence[Operation]) -> bool:
    latest_call = -1
    for operation in order:
        if operation.returned is not None and operation.returned < latest_call:
            return False
        latest_call = max(latest_call, operation.called)
    return True


def _explains(order: Sequence[Operation], state: Hashable, model: Model) -> bool:
    if not order:
        return True
    first, rest = order[0], order[1:]
    return any(_explains(rest, after, model) for after in _after(first, state, model))


def _after(operation: Operation, state: Hashable, model: Model) -> Iterator[Hashable]:
    for expected, after in model.step(state, operation):
        if not operation.known or accepts(expected, operation.output):
            yield after


def linearizable_plainly(operations: Sequence[Operation], model: Model) -> bool:
    """Search as Lowe does, with a memory of configurations and nothing else: for longer histories."""
    operations = list(operations)
    seen: set[tuple[frozenset[int], Hashable]] = set()

    def search(taken: frozenset[int], state: Hashable) -> bool:
        left = [operation for operation in operations if operation.number not in taken]
        returns = [operation.returned for operation in left if operation.returned is not None]
        if not returns:
            return True
        if (taken, state) in seen:
            return False
        seen.add((taken, state))
        return any(
            search(taken | {operation.number}, after)
            for operation in left
            if operation.called <= min(returns)
            for after in _after(operation, state, model)
        )

    return search(frozenset(), model.initial())
