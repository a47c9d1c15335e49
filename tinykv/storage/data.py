"""
data.db: the rows of all regions. Runs in the data writer's process.

One flush is one transaction: it arrives in pieces, is sorted for the sake of the trees, and is written when
its last piece is there. So nothing of it is on disk before all of it is (R4).

Pieces, as the store sends them:

    (HIDE, family, [(start, end), ...])    delete what is there, before any row of this flush
    (ROWS, family, [key, ...], [value or None, ...])
    (DISCARD, [(family, start, end), ...])    delete after the rows
    (EXPIRIES, [(at_ms, key, True or None), ...])
    (COMMIT,)

And between flushes, not for this object but for L{tinykv.storage.snapshot_install}:

    (INSTALL, region, path)    replace the region's rows by those of a snapshot
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import compress
from typing import Any, Final, cast

from tinykv.storage.checksum import row_checksums
from tinykv.storage.errors import from_sqlite
from tinykv.storage.log_end import LogEnd
from tinykv.storage.schema import errors_of
from tinykv.storage.sums import PageSums
from tinykv.storage.tables import FAMILIES

HIDE: Final = 0
ROWS: Final = 1
DISCARD: Final = 2
EXPIRIES: Final = 3
COMMIT: Final = 4
INSTALL: Final = 5

#: Bytes of rows after which the write-ahead log is worth a checkpoint.
CHECKPOINT_BYTES: Final = 32 * 1024 * 1024
#: What a changed row is counted as beside its key and value.
_ROW_BYTES: Final = 64
#: Rows of one statement: a fifth faster than one row each, and longer ones gain nothing.
_STATEMENT_ROWS: Final = 100

_ONE: Final = {
    name: f'INSERT INTO "{name}" (key, crc, value) VALUES (?, ?, ?)'
    " ON CONFLICT (key) DO UPDATE SET crc = excluded.crc, value = excluded.value"
    for name in FAMILIES
}
_MANY: Final = {
    name: sql.replace("(?, ?, ?)", ", ".join(["(?, ?, ?)"] * _STATEMENT_ROWS)) for name, sql in _ONE.items()
}


class DataStore:
    """
    Writes to data.db.

    @ivar connection: the writing connection.
    @ivar path: of the file.
    @param connection: the writing connection of the file; from here on nobody else's.
    @param path: for messages.
    @param checkpoint_bytes: bytes of rows after which a checkpoint is due.
    """

    def __init__(
        self, connection: sqlite3.Connection, path: str, *, checkpoint_bytes: int = CHECKPOINT_BYTES
    ) -> None:
        self.connection = connection
        self._checkpoint_bytes = checkpoint_bytes
        self.path = path
        self._unchecked = 0
        with errors_of(path):
            self._sums = PageSums.load(path)
        self._end = LogEnd(path)
        self._begin()

    def _begin(self) -> None:
        self._rows: dict[str, tuple[list[bytes], list[bytes | None]]] = {}
        self._hidden: list[tuple[str, bytes, bytes]] = []
        self._discards: list[tuple[str, bytes, bytes]] = []
        self._expiries: list[tuple[int, bytes, bool | None]] = []

    def receive(self, piece: tuple[Any, ...]) -> bool:
        """
        Take one piece of a flush; with the last, write it all.

        @return: whether a flush is now committed.
        @raise StorageError: final; the object mustn't be used again.
        """
        verb = piece[0]
        if verb == ROWS:
            keys, values = self._rows.setdefault(piece[1], ([], []))
            keys += piece[2]
            values += piece[3]
        elif verb == HIDE:
            self._hidden.extend((piece[1], start, end) for start, end in piece[2])
        elif verb == DISCARD:
            self._discards.extend(piece[1])
        elif verb == EXPIRIES:
            self._expiries.extend(piece[1])
        else:
            assert verb == COMMIT, f"unknown piece {verb}"
            self._flush()
            return True
        return False

    def _flush(self) -> None:
        with self.transaction():
            self._delete(self._hidden)
            for family, (keys, values) in self._rows.items():
                self.upsert(family, keys, values)
            self._delete(self._discards)
            self.note(self._expiries)
        self._begin()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """
        Make what is done inside durable at the end, all of it together.

        @raise StorageError: final; the object mustn't be used again.
        """
        execute = self.connection.execute
        changes = self.connection.total_changes
        try:
            execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                execute("COMMIT")
            except BaseException:
                # A full disk has ended the transaction already.
                if self.connection.in_transaction:
                    execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise from_sqlite(error, self.path) from error
        with errors_of(self.path):
            self._end.committed()
        self._unchecked += _ROW_BYTES * (self.connection.total_changes - changes)

    def _delete(self, ranges: list[tuple[str, bytes, bytes]]) -> None:
        for family, start, end in ranges:
            self.connection.execute(f'DELETE FROM "{family}" WHERE key >= ? AND key < ?', (start, end))

    def upsert(self, family: str, keys: list[bytes], values: list[bytes | None]) -> None:
        """
        Write rows, or delete those without a value, within a transaction. The lists are used up.
        """
        # An empty value is false too; that only costs a look at each.
        kept = None if all(values) else [value is not None for value in values]
        if kept is not None:
            gone = sorted((key,) for key, keep in zip(keys, kept, strict=True) if not keep)
            self.connection.executemany(f'DELETE FROM "{family}" WHERE key = ?', gone)
            keys[:] = compress(keys, kept)
            values[:] = compress(values, kept)
        # In steps for all rows at once, none of which makes an object for each: that costs more than SQLite's own work.
        # What looks into the values goes first, while they come in the order in which they lie in memory.
        present = cast("list[bytes]", values)
        self._unchecked += sum(map(len, keys)) + sum(map(len, present))
        crcs = row_checksums(keys, present)
        order = sorted(range(len(keys)), key=keys.__getitem__)
        parameters: list[Any] = [None] * (3 * len(order))
        parameters[::3] = map(keys.__getitem__, order)
        parameters[1::3] = map(crcs.__getitem__, order)
        parameters[2::3] = map(present.__getitem__, order)
        keys.clear()
        values.clear()
        execute = self.connection.execute
        whole = len(order) - len(order) % _STATEMENT_ROWS
        for place in range(0, 3 * whole, 3 * _STATEMENT_ROWS):
            execute(_MANY[family], parameters[place : place + 3 * _STATEMENT_ROWS])
        for place in range(3 * whole, len(parameters), 3):
            execute(_ONE[family], parameters[place : place + 3])

    def note(self, expiries: list[tuple[int, bytes, bool | None]]) -> None:
        """
        Write entries of the index of expiries (C{True}), or delete them, within a transaction.
        """
        added = sorted((at, key) for at, key, state in expiries if state)
        gone = sorted((at, key) for at, key, state in expiries if not state)
        self.connection.executemany("DELETE FROM expiries WHERE at = ? AND key = ?", gone)
        self.connection.executemany("INSERT OR IGNORE INTO expiries (at, key) VALUES (?, ?)", added)

    @property
    def wants_checkpoint(self) -> bool:
        """
        Is enough written for a checkpoint to be worth its fsync?
        """
        return self._unchecked >= self._checkpoint_bytes

    def checkpoint(self) -> None:
        """
        Bring the write-ahead log into the file, between two transactions and waiting for nobody (R8).
        """
        self._unchecked = 0
        try:
            self._prepare()
            _, frames, moved = self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if frames == moved:
                with errors_of(self.path):
                    self._end.forget()
        except sqlite3.Error as error:
            raise from_sqlite(error, self.path) from error

    def _prepare(self) -> None:
        """
        Before a checkpoint: have the checksums of the pages that it changes on disk.
        """
        if self._sums is not None:
            with errors_of(self.path):
                self._sums.prepare()

    def close(self) -> None:
        """
        Empty the write-ahead log and close the file. A flush whose last piece never came is dropped.
        """
        try:
            self._prepare()
            with errors_of(self.path):
                self._end.forget()
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            raise from_sqlite(error, self.path) from error
        finally:
            self.connection.close()
            self._end.close()
