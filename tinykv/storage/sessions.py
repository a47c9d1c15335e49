"""
What a writer does with the messages that reach it, wherever it runs: in a process of its own, or in a test's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol

from tinykv.storage.data import INSTALL, DataStore
from tinykv.storage.errors import StorageError
from tinykv.storage.frames import DONE, INSTALLED, REFUSED
from tinykv.storage.log import LogStore
from tinykv.storage.snapshot_install import Installation


class Session(Protocol):
    """
    One writer's work on one file.
    """

    @property
    def busy(self) -> bool:
        """
        Is there work that waits for no message? Then C{take} is to be called again, with what has arrived or nothing.
        """
        ...

    def take(self, messages: list[Any]) -> list[tuple[Any, ...]]:
        """
        Work on everything that has arrived, and for a bounded time on what waits for no message.

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

    busy = False

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
    The data writer: collects the pieces of a flush and commits at the last. Snapshots are installed one after another,
    in steps between which flushes have their turn.
    """

    def __init__(self, store: DataStore) -> None:
        self._store = store
        self._installs: deque[Installation] = deque()
        self._steps: Iterator[None] | None = None

    @property
    def busy(self) -> bool:
        """
        Is a snapshot on its way in?
        """
        return bool(self._installs)

    def take(self, messages: list[Any]) -> list[tuple[Any, ...]]:
        """
        Take pieces; each flush that is whole is committed. Then go on with a snapshot for a step.
        """
        done = 0
        for message in messages:
            if message[0] == INSTALL:
                self._installs.append(Installation(self._store, message[1], message[2]))
            else:
                assert not self._installs or not self._installs[0].touched_by(message), "the region has to be stopped"
                done += self._store.receive(message)
        replies: list[tuple[Any, ...]] = [(DONE, done)] if done else []
        if self._installs:
            replies += self._step(self._installs[0])
        return replies

    def _step(self, install: Installation) -> list[tuple[Any, ...]]:
        if self._steps is None:
            self._steps = install.steps()
        try:
            next(self._steps)
            return []
        except StopIteration:
            assert install.head is not None
            reply: tuple[Any, ...] = (INSTALLED, install.head.state)
        except StorageError as error:
            if install.begun:
                raise
            install.discard()
            reply = (REFUSED, type(error).__name__, str(error))
        self._installs.popleft()
        self._steps = None
        return [reply]

    def rest(self) -> None:
        """
        Checkpoint if enough was written.
        """
        if self._store.wants_checkpoint:
            self._store.checkpoint()

    def close(self) -> None:
        """
        Empty the write-ahead log and close the file. A snapshot that is half installed is left for the next start.
        """
        self._installs.clear()
        self._steps = None
        self._store.close()
