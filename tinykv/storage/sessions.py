"""
What a writer does with the messages that reach it, wherever it runs: in a process of its own, or in a test's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final, Protocol

from tinykv.storage.data import INSTALL, DataStore
from tinykv.storage.errors import StorageError
from tinykv.storage.frames import DONE, INSTALLED, REFUSED
from tinykv.storage.log import CUT, FORGET, RESET, LogStore
from tinykv.storage.snapshot_install import Installation

#: Bytes of entries that are cut off in one transaction, of all regions together: some 20 ms at worst.
CUT_BYTES: Final = 2 * 1024 * 1024


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

    What is cut off can be hundreds of megabytes, when a store was waited for that has caught up. Nobody waits for it,
    but all wait behind it; so it goes in pieces, one with each batch or alone. A log that is cut by some of the pieces
    is as good as one that is cut to the end.
    """

    def __init__(self, store: LogStore, *, cut_bytes: int = CUT_BYTES) -> None:
        """
        @param cut_bytes: bytes of entries that are deleted in one transaction, of all regions together.
        """
        self._store = store
        self._cut_bytes = cut_bytes
        #: By region, what is left of a cut.
        self._cuts: dict[int, tuple[Any, ...]] = {}

    @property
    def busy(self) -> bool:
        """
        Is something left of a cut?
        """
        return bool(self._cuts)

    def take(self, messages: list[Any]) -> list[tuple[Any, ...]]:
        """
        Commit all batches together, with a piece of what is to be cut.
        """
        operations: list[tuple[Any, ...]] = []
        renewed: set[int] = set()
        for operation in chain.from_iterable(messages):
            verb = operation[0]
            if verb == CUT and operation[1] not in renewed and operation[2] <= self._store.last(operation[1]):
                self._cuts[operation[1]] = operation
                continue
            if verb in (CUT, RESET, FORGET):
                # It may go beyond the log, or what follows builds on it.
                renewed.add(operation[1])
                self._cuts.pop(operation[1], None)
            operations.append(operation)
        if self._cuts:
            share = self._cut_bytes // len(self._cuts)
            operations += [self._piece(cut, share) for cut in list(self._cuts.values())]
        self._store.write(operations)
        return [(DONE, len(messages))] if messages else []

    def _piece(self, cut: tuple[Any, ...], size: int) -> tuple[Any, ...]:
        """Give what is to be cut now, of about so many bytes, and keep what is left."""
        _, region, index, _ = cut
        place = self._store.cut_place(region, index, size)
        if place is not None:
            return (CUT, region, *place)
        del self._cuts[region]
        return cut

    def rest(self) -> None:
        """
        Checkpoint if enough was written.
        """
        if self._store.wants_checkpoint:
            self._store.checkpoint()

    def close(self) -> None:
        """
        Empty the write-ahead log and close the file. What is left of a cut stays; the next one takes it along.
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
