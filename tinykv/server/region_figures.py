"""
What the front knows of the data, where it lies in several regions: their figures added up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tinykv.keys import DATABASES
from tinykv.redis.operations import Client

if TYPE_CHECKING:
    from tinykv.redis.execution import Execution
    from tinykv.redis.keyspace import Keyspace
    from tinykv.redis.settings import Settings
    from tinykv.redis.waiters import Origin, Waiter


class AllDatabases:
    """A database in all regions."""

    def __init__(self, executions: Sequence[Execution], index: int) -> None:
        """
        @param executions: Those of all regions; it may change.
        """
        self._executions = executions
        self._index = index

    @property
    def keys(self) -> int:
        """Count the keys."""
        return sum(one.keyspace.databases[self._index].keys for one in self._executions)

    @property
    def expiring(self) -> int:
        """Count those that can expire."""
        return sum(one.keyspace.databases[self._index].expiring for one in self._executions)


class AllKeyspaces:
    """The data of all regions."""

    def __init__(self, executions: Sequence[Execution]) -> None:
        self._executions = executions
        self.databases = [AllDatabases(executions, index) for index in range(DATABASES)]

    @property
    def _all(self) -> list[Keyspace]:
        return [execution.keyspace for execution in self._executions]

    @property
    def settings(self) -> Settings:
        """The logged settings, which all regions have alike."""
        return self._all[0].settings

    @property
    def memory(self) -> int:
        """Estimate the bytes that the caches hold."""
        return sum(keyspace.memory for keyspace in self._all)

    @property
    def budget(self) -> int:
        """The bytes that the caches may hold."""
        return sum(keyspace.budget for keyspace in self._all)

    @property
    def changes(self) -> int:
        """Count the changes of keys since the start."""
        return sum(keyspace.changes for keyspace in self._all)

    @property
    def misses(self) -> int:
        """Count how often a read found no key."""
        return sum(keyspace.misses for keyspace in self._all)

    @misses.setter
    def misses(self, count: int) -> None:
        for place, keyspace in enumerate(self._all):
            keyspace.misses = 0 if place else count

    @property
    def expired_keys(self) -> int:
        """Count the keys that were deleted because their time was over."""
        return sum(keyspace.expired_keys for keyspace in self._all)

    @expired_keys.setter
    def expired_keys(self, count: int) -> None:
        for place, keyspace in enumerate(self._all):
            keyspace.expired_keys = 0 if place else count


class AllWaiters:
    """The clients that wait, in whichever region."""

    def __init__(self, executions: Sequence[Execution]) -> None:
        self._executions = executions

    def __len__(self) -> int:
        """Count them."""
        return sum(len(execution.waiters) for execution in self._executions)

    def find(self, origin: Origin) -> Waiter | None:
        """Give a waiter by its origin."""
        return next(filter(None, (execution.waiters.find(origin) for execution in self._executions)), None)


class AllExecutions:
    """The commands of all regions."""

    def __init__(self, executions: Sequence[Execution]) -> None:
        """
        @param executions: Those of all regions, at least one; it may change.
        """
        self._all = executions
        self.keyspace = AllKeyspaces(self._all)
        self.waiters = AllWaiters(self._all)

    @property
    def time(self) -> int:
        """The latest region time."""
        return max(execution.time for execution in self._all)

    @property
    def refused(self) -> Callable[[Client, str, bytes], None]:
        """Who is told of errors."""
        return self._all[0].refused

    @refused.setter
    def refused(self, refused: Callable[[Client, str, bytes], None]) -> None:
        for execution in self._all:
            execution.refused = refused

    @property
    def waiting_client(self) -> Callable[[int, int], Client]:
        """Who knows the clients that wait."""
        return self._all[0].waiting_client

    @waiting_client.setter
    def waiting_client(self, waiting_client: Callable[[int, int], Client]) -> None:
        for execution in self._all:
            execution.waiting_client = waiting_client
