"""
Rows read from data.db before they're needed, by a process of its own.

A row that isn't in memory costs a read of SQLite, which on a slow disk may take milliseconds, and the reactor would
wait for it. So the keys of a proposal are asked for while its entry travels to the log, and large values that are cold
are read some rows at a time while whoever walks over them rests. What comes back lies in L{RowStore.ahead} until
it's asked for, or may have become old.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from zope.interface import implementer

from tinykv.interfaces import IReadAhead
from tinykv.storage.frames import ROWS
from tinykv.storage.reader import Reader
from tinykv.storage.rowstore import RowStore
from tinykv.storage.writers import Channel, Worker

#: Bytes of rows in one answer. What goes past it is left out, and read when it's needed.
ANSWER_BYTES: Final = 1024 * 1024
#: Bytes of rows that are kept at most.
KEPT_BYTES: Final = 8 * 1024 * 1024


@implementer(IReadAhead)
class ReadAhead(Worker):
    """
    Asks for rows, and hands them to the row store.

    A row that was read is as old as data.db was at that moment. That's what the row store wants at the bottom, below
    its memory tables, until one of those is retired: from then on data.db says something newer. So the row store
    forgets at a retirement what was read before, and what was under way then isn't kept when it arrives.
    """

    def __init__(self, channel: Channel, rows: RowStore) -> None:
        super().__init__(channel)
        self._rows = rows
        self._asked: deque[int] = deque()
        self._kept = 0

    def keys(self, keys: list[bytes], done: Callable[[], None]) -> None:
        """
        Read rows of family C{data}, and call C{done} when they're there.
        """
        self._waiting.append(done)
        self._asked.append(self._rows.retired)
        self._channel.send(keys)

    def replied(self, message: tuple[Any, ...]) -> None:
        """
        Called by the channel.
        """
        if message[0] != ROWS or self._error is not None:
            super().replied(message)
            return
        rows = self._rows
        if self._asked.popleft() == rows.retired:
            ahead = rows.ahead
            if not ahead:
                self._kept = 0
            self._kept += message[2]
            if self._kept > KEPT_BYTES:
                ahead.clear()
                self._kept = message[2]
            ahead.update(message[1])
        self._waiting.popleft()()


class ReadSession:
    """
    The reader's work, wherever it runs.
    """

    busy = False

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def take(self, messages: list[Any]) -> list[tuple[Any, ...]]:
        """
        Answer each question, a list of keys, by C{(ROWS, [(key, value or None)], bytes)}.

        @raise StorageError: a row can't be read, or isn't what was written.
        """
        answers: list[tuple[Any, ...]] = []
        get = self._reader.get
        for keys in messages:
            rows: list[tuple[bytes, bytes | None]] = []
            size = 0
            for key in keys:
                value = get("data", key)
                size += len(key) + (len(value) if value is not None else 0)
                rows.append((key, value))
                if size > ANSWER_BYTES:
                    break
            answers.append((ROWS, rows, size))
        return answers

    def rest(self) -> None:
        """
        There's nothing to tidy up: this connection never writes (R8).
        """

    def close(self) -> None:
        """
        Close the file.
        """
        self._reader.close()
