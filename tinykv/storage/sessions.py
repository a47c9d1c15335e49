"""
What a writer does with the messages that reach it, wherever it runs: in a process of its own, or in a test's.
"""

from __future__ import annotations

from typing import Any, Protocol

from tinykv.storage.data import DataStore
from tinykv.storage.frames import DONE
from tinykv.storage.log import LogStore


class Session(Protocol):
    """
    One writer's work on one file.
    """

    def take(self, messages: list[Any]) -> list[tuple[Any, ...]]:
        """
        Work on everything that has arrived.

        @return: the replies.
        @raise StorageError: final.
        """
        ...

    def rest(self) -> None:
        """
        The replies are sent: the time for a checkpoint, if one is due.
        """
        ...

    def close(self) -> None:
        """
        Leave the file in order.
        """
        ...


class LogSession:
    """
    The log writer: all batches that queued while the last commit ran become one transaction.
    """

    def __init__(self, store: LogStore) -> None:
        self._store = store

    def take(self, messages: list[Any]) -> list[tuple[Any, ...]]:
        """
        Commit all batches together.
        """
        self._store.write([operation for batch in messages for operation in batch])
        return [(DONE, len(messages))]

    def rest(self) -> None:
        """
        Checkpoint if enough was written.
        """
        if self._store.wants_checkpoint:
            self._store.checkpoint()

    def close(self) -> None:
        """
        Empty the write-ahead log and close the file.
        """
        self._store.close()


class DataSession:
    """
    The data writer: collects the pieces of a flush and commits at the last.
    """

    def __init__(self, store: DataStore) -> None:
        self._store = store

    def take(self, messages: list[Any]) -> list[tuple[Any, ...]]:
        """
        Take pieces; each flush that is whole is committed.
        """
        done = sum(map(self._store.receive, messages))
        return [(DONE, done)] if done else []

    def rest(self) -> None:
        """
        Checkpoint if enough was written.
        """
        if self._store.wants_checkpoint:
            self._store.checkpoint()

    def close(self) -> None:
        """
        Empty the write-ahead log and close the file.
        """
        self._store.close()
