"""
The reading connection to data.db, in the process of the store.

It never writes, commits or checkpoints (R8): it is opened read-only, says C{query_only}, and no read stays
open after the call that made it, so it never holds up the data writer's checkpoints. Opened read-only, its
closing can't checkpoint either, in whatever order the processes end.

A point read of a page in memory costs about 5 us, of which half are the locks of the read transaction. No
mmap: a failing disk would then be a signal that kills the process instead of an error that says what
happened.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final

from tinykv.storage.checksum import row_checksum
from tinykv.storage.connection import connect_reader
from tinykv.storage.errors import CorruptFile, StorageError, from_sqlite
from tinykv.storage.tables import FAMILIES

_GET: Final = {name: f'SELECT crc, value FROM "{name}" WHERE key = ?' for name in FAMILIES}
_RISING: Final = {
    name: f'SELECT key, crc, value FROM "{name}" WHERE key >= ? AND key < ? ORDER BY key LIMIT ?'
    for name in FAMILIES
}
_FALLING: Final = {
    name: f'SELECT key, crc, value FROM "{name}" WHERE key >= ? AND key < ? ORDER BY key DESC LIMIT ?'
    for name in FAMILIES
}
_SIZE: Final = {
    name: f'SELECT TOTAL(LENGTH(key) + LENGTH(value)) FROM "{name}" WHERE key >= ? AND key < ?'
    for name in FAMILIES
}
_LENGTHS: Final = {
    name: f'SELECT key, LENGTH(value) FROM "{name}" WHERE key >= ? AND key < ? ORDER BY key LIMIT ?'
    for name in FAMILIES
}
_EXPIRIES: Final = (
    "SELECT at, key FROM expiries WHERE (at, key) >= (?, ?) AND (at, key) < (?, ?) ORDER BY at, key LIMIT ?"
)


class Reader:
    """
    Reads of committed rows.

    @param path: where data.db is, for connecting and for messages.
    @param connection: an open connection instead of an own one; tests pass one to a database in memory.
    """

    def __init__(self, path: str, connection: sqlite3.Connection | None = None) -> None:
        self.path = path
        self._connection = connect_reader(path) if connection is None else connection
        cursor = self._connection.cursor()
        self._execute = cursor.execute
        self._one = cursor.fetchone

    def _failed(self, error: sqlite3.Error) -> StorageError:
        return from_sqlite(error, self.path)

    def _damaged(self, key: bytes) -> StorageError:
        return CorruptFile(
            f"{self.path}: the row {key!r} isn't what was written there, its checksum says. The file was left as it "
            "is; keep a copy, and start this store with an empty folder under a new id"
        )

    def reusable_bytes(self) -> int:
        """
        @return: bytes of pages within the file that hold nothing, and that the next rows take first.
        """
        try:
            (pages,) = self._connection.execute("PRAGMA freelist_count").fetchone()
            (size,) = self._connection.execute("PRAGMA page_size").fetchone()
        except sqlite3.Error as error:
            raise self._failed(error) from error
        return int(pages) * int(size)

    def get(self, family: str, key: bytes) -> bytes | None:
        """
        @return: the value of a row, or C{None}.
        @raise CorruptFile: it isn't what was written.
        """
        try:
            self._execute(_GET[family], (key,))
            row = self._one()
        except sqlite3.Error as error:
            raise self._failed(error) from error
        if row is None:
            return None
        crc, value = row
        if row_checksum(key, value) != crc:
            raise self._damaged(key)
        return value  # type: ignore[no-any-return]

    def rising(self, family: str) -> Callable[[bytes, bytes, int], list[tuple[bytes, Any]]]:
        """
        @return: a function (start, end, limit) -> the first rows of [start, end), ascending.
        """
        return self._rows(_RISING[family])

    def falling(self, family: str) -> Callable[[bytes, bytes, int], list[tuple[bytes, Any]]]:
        """
        @return: a function (start, end, limit) -> the last rows of [start, end), descending.
        """
        return self._rows(_FALLING[family])

    def _rows(self, sql: str) -> Callable[[bytes, bytes, int], list[tuple[bytes, Any]]]:
        def read(start: bytes, end: bytes, limit: int) -> list[tuple[bytes, Any]]:
            try:
                found = self._execute(sql, (start, end, limit)).fetchall()
            except sqlite3.Error as error:
                raise self._failed(error) from error
            rows: list[tuple[bytes, Any]] = []
            for key, crc, value in found:
                if row_checksum(key, value) != crc:
                    raise self._damaged(key)
                rows.append((key, value))
            return rows

        return read

    def expiries(
        self, start: tuple[int, bytes], end: tuple[int, bytes], limit: int
    ) -> list[tuple[tuple[int, bytes], Any]]:
        """
        @return: the first entries of the expiry index in [start, end), in the form that
            L{tinykv.storage.merge} reads.
        """
        try:
            found = self._execute(_EXPIRIES, (*start, *end, limit)).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from error
        return [(entry, True) for entry in found]

    def size(self, family: str, start: bytes, end: bytes) -> int:
        """
        @return: bytes of the keys and values in [start, end); reads the whole range.
        """
        try:
            return int(self._execute(_SIZE[family], (start, end)).fetchone()[0])
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def lengths(self, family: str, start: bytes, end: bytes, limit: int) -> list[tuple[bytes, int]]:
        """
        @return: the keys of the first rows of [start, end), ascending, and the lengths of their values, which aren't
            read.
        """
        try:
            return self._execute(_LENGTHS[family], (start, end, limit)).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """
        Close the connection. No method may be called afterwards.
        """
        self._connection.close()
