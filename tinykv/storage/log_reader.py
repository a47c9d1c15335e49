"""
What is durable of a region's log, for whoever has to send or apply it again.

Another connection than the log writer's, read-only and query_only (R8); no read stays open after the call that made it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Final, TypeVar

from tinykv.raft.log import Compacted
from tinykv.raft.messages import Entry, SnapshotMeta
from tinykv.raft.stored import entry_of
from tinykv.storage.connection import PASSING_CACHE_KIB, connect_reader
from tinykv.storage.errors import from_sqlite
from tinykv.storage.log import HardState, read_base, read_hard_state, read_last, read_some, read_term

T = TypeVar("T")

#: Entries of one read at most.
_ENTRIES: Final = 1024


def _none() -> None:
    """
    Nobody makes snapshots.
    """


class LogReader:
    """
    The log of one region, as L{tinykv.raft.log.Storage} wants it.

    @param path: where raft.db is, for connecting and for messages.
    @ivar newest: gives the newest snapshot that can be sent, or has one made.
    @param connection: an open connection instead of an own one; tests pass one to a database in memory.
    """

    def __init__(self, path: str, region: int, connection: sqlite3.Connection | None = None) -> None:
        self._path = path
        self._region = region
        self._connection = connect_reader(path, cache_kib=PASSING_CACHE_KIB) if connection is None else connection
        self.newest: Callable[[], SnapshotMeta | None] = _none

    def of(self, region: int) -> LogReader:
        """
        @return: the same for another region, by the same connection, which is closed once.
        """
        return LogReader(self._path, region, self._connection)

    def _asked(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except sqlite3.Error as error:
            raise from_sqlite(error, self._path) from error

    def last(self) -> tuple[int, int]:
        """
        @return: index and term of the last entry, or of the base.
        """
        return self._asked(lambda: read_last(self._connection, self._region))

    def hard_state(self) -> HardState | None:
        """
        @return: what the region's peer has promised; C{None} if nothing.
        """
        return self._asked(lambda: read_hard_state(self._connection, self._region))

    def term(self, index: int) -> int:
        """
        @return: the term of an entry, or of the base.
        @raise Compacted: it was cut off.
        """
        term = self._asked(lambda: read_term(self._connection, self._region, index))
        if term is None:
            raise Compacted(index)
        return term

    def entries(self, low: int, high: int, max_bytes: int) -> list[Entry]:
        """
        @return: entries from low to before high: at least one, then as many as have C{max_bytes} of data together.
        @raise Compacted: the first was cut off.
        """
        if low <= self._asked(lambda: read_base(self._connection, self._region))[0]:
            raise Compacted(low)
        found: list[Entry] = []
        size = 0
        limit = min(high - low, _ENTRIES)
        with closing(read_some(self._connection, self._path, self._region, low, limit)) as entries:
            for entry in entries:
                size += len(entry.data)
                if found and size > max_bytes:
                    break
                found.append(entry_of(entry.index, entry.term, entry.data))
        return found

    def snapshot(self) -> SnapshotMeta | None:
        """
        @return: the newest snapshot that can be sent.
        """
        return self.newest()

    def base(self) -> int:
        """
        @return: the index before the first entry.
        """
        return self._asked(lambda: read_base(self._connection, self._region))[0]

    def close(self) -> None:
        """
        Close the connection. No method may be called afterwards.
        """
        self._connection.close()
