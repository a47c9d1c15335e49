"""
What clients did and were told, and when: the material of the linearizability checker.

Times are microseconds of the one true clock of a run. An operation's outcome is known if the client got its reply;
unknown if the connection broke or the reply said so: then it may take effect at any time after its call, or never. An
operation that surely did nothing (C{-TRYAGAIN}, C{-CLUSTERDOWN}) is no part of the history.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Operation:
    """
    One operation of a client.

    @ivar number: Its place in the order of the calls.
    @ivar client: Who called; for messages only.
    @ivar called: When the request left.
    @ivar returned: When the reply came; None if the outcome is unknown.
    @ivar input: What was asked for, as the model understands it.
    @ivar output: What was answered; None without a meaning if the outcome is unknown.

    Invariant: C{called <= returned}.
    """

    number: int
    client: int
    called: int
    returned: int | None
    input: Hashable
    output: Any = None

    @property
    def known(self) -> bool:
        """Whether the outcome is known."""
        return self.returned is not None

    def forgotten(self) -> Operation:
        """Give the operation as it looked before its reply."""
        return replace(self, returned=None, output=None)


class History:
    """
    Takes down operations while they happen.
    """

    def __init__(self) -> None:
        self._calls: list[Operation | None] = []

    def call(self, client: int, now: int, request: Hashable) -> int:
        """Note that a request leaves; give its number."""
        number = len(self._calls)
        self._calls.append(Operation(number, client, now, None, request))
        return number

    def reply(self, number: int, now: int, output: Any) -> None:
        """Note the reply to a request."""
        operation = self._calls[number]
        assert operation is not None and operation.returned is None, "an operation ends once"
        assert operation.called <= now, "a reply comes after its request"
        self._calls[number] = replace(operation, returned=now, output=output)

    def drop(self, number: int) -> None:
        """Learn that a request surely did nothing, and will do nothing."""
        operation = self._calls[number]
        assert operation is not None and operation.returned is None, "an operation ends once"
        self._calls[number] = None

    @property
    def operations(self) -> list[Operation]:
        """The operations so far, in the order of their calls; those without a reply have an unknown outcome."""
        return [operation for operation in self._calls if operation is not None]

    def __len__(self) -> int:
        """Count the requests that left, the dropped ones included."""
        return len(self._calls)


def up_to(operations: Iterable[Operation], time: int) -> list[Operation]:
    """Give the history as it was known at a time: later calls are missing, later replies unknown."""
    return [
        operation if operation.returned is not None and operation.returned <= time else operation.forgotten()
        for operation in operations
        if operation.called <= time
    ]
