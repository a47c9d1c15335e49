"""
Making a snapshot: one read transaction of data.db becomes a file. Runs in a process of its own.

The process is started for one snapshot and ends with it. They're rare, so the start doesn't count; what it took of
memory is given back; and to give one up means to end its process, which ends its read transaction whatever it was at.
While that is open the write-ahead log of data.db can't begin anew, so its duration has a limit.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Generator, Iterator
from hashlib import sha256
from typing import Any, Final

from tinykv.codec import pack_strings
from tinykv.region.merging import recorded, records
from tinykv.region.snapshot import own_ranges
from tinykv.region.state import apply_key
from tinykv.storage.checksum import row_checksum
from tinykv.storage.connection import connect_reader
from tinykv.storage.errors import CorruptFile, SnapshotAborted, StorageError, from_sqlite
from tinykv.storage.frames import MADE, REFUSED
from tinykv.storage.reader import Reader
from tinykv.storage.schema import errors_of, fsync_folder
from tinykv.storage.snapshot_folder import forget_made, made_name, snapshots_path, want_room
from tinykv.storage.snapshot_format import (
    END,
    EXPIRIES,
    FRAME_BYTES,
    KINDS,
    SnapshotHead,
    encode_end,
    encode_expiry,
    encode_frame,
)

#: Bytes after which what is written is brought to disk. Whoever else waits for an fsync on the same file system waits
#: for this much at most.
_SYNC_BYTES: Final = 8 * 1024 * 1024
#: Steps of SQLite's machine between two looks at the time.
_STEPS: Final = 10_000
#: What a row is counted as beside its key and value.
_ROW_BYTES: Final = 8
#: More regions than one ever takes in.
_SOURCES_MAX: Final = 100_000

_sync: Final[Callable[[int], None]] = getattr(os, "fdatasync", os.fsync)


class SnapshotFileWriter:
    """
    Writes the file, under a temporary name until it's whole.

    @ivar size: Bytes so far.
    """

    def __init__(self, folder: str, temporary: str) -> None:
        self._folder = folder
        self._temporary = os.path.join(folder, temporary)
        self._file = open(self._temporary, "wb")
        self._digest = sha256()
        self._counts = dict.fromkeys(KINDS, 0)
        self._unsynced = 0
        self.size = 0

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)
        self._unsynced += len(data)
        if self._unsynced >= _SYNC_BYTES:
            self._unsynced = 0
            self._file.flush()
            _sync(self._file.fileno())

    def head(self, head: SnapshotHead) -> None:
        """Say what it stands for, first."""
        self._write(head.encode())

    def frame(self, kind: int, rows: int, items: list[bytes]) -> None:
        """Write a frame of rows."""
        body = pack_strings(items)
        self._counts[kind] += rows
        self._write(encode_frame(kind, rows, body))
        self._write(body)

    def finish(self, name: str) -> str:
        """
        Write the end, and make all of it durable under its lasting name.

        @return: its path.
        """
        body = encode_end(self._counts, self._digest.digest())
        self._write(encode_frame(END, 0, body))
        self._write(body)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        path = os.path.join(self._folder, name)
        os.replace(self._temporary, path)
        fsync_folder(self._folder)
        return path

    def discard(self) -> None:
        """Close and delete it."""
        self._file.close()
        if os.path.exists(self._temporary):
            os.unlink(self._temporary)


class SnapshotCopy:
    """
    One snapshot on its way from data.db into its file.

    @ivar head: What it stands for, once the transaction is open.
    @ivar labels: The rows of the family C{region} that were asked for, as of the same transaction.
    @ivar path: The file, when it's whole.
    @ivar size: Its bytes.
    """

    def __init__(
        self,
        data_path: str,
        region: int,
        start: bytes,
        end: bytes,
        labels: list[bytes],
        *,
        temporary: str,
        seconds_max: float,
        room_bytes: int,
        frame_bytes: int = FRAME_BYTES,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        @param labels: keys in the family C{region}.
        @param temporary: the name of the file until it's whole.
        @param seconds_max: how long the transaction may take.
        @param room_bytes: what has to stay free on the disk.
        @param frame_bytes: bytes of keys and values at which a frame is closed.
        """
        self._data_path = data_path
        self._data_folder = os.path.dirname(data_path)
        self._region = region
        self._range = (start, end)
        self._keys = labels
        self._temporary = temporary
        self._seconds_max = seconds_max
        self._room_bytes = room_bytes
        self._frame_bytes = frame_bytes
        self._now = now
        self._until = 0.0
        self.head: SnapshotHead | None = None
        self.labels: list[bytes | None] = []
        self.path = ""
        self.size = 0

    def steps(self) -> Generator[None, None, None]:
        """
        Make it; what lies between two steps is about a frame. Closed early, it leaves nothing.

        @raise StorageError: why it can't be made; nothing is left of it.
        """
        folder = snapshots_path(self._data_folder)
        writer: SnapshotFileWriter | None = None
        try:
            with errors_of(folder):
                writer = SnapshotFileWriter(folder, self._temporary)
                connection = connect_reader(self._data_path)
                try:
                    yield from self._copy(connection, writer)
                finally:
                    # With it the transaction ends: nothing holds up the write-ahead log while the rest is synced.
                    connection.close()
                assert self.head is not None
                name = made_name(self._region, self.head.index, self.head.term)
                self.path = writer.finish(name)
                self.size = writer.size
                forget_made(self._data_folder, self._region, but=name)
        finally:
            if writer is not None:
                writer.discard()

    def _copy(self, connection: sqlite3.Connection, writer: SnapshotFileWriter) -> Iterator[None]:
        self._until = self._now() + self._seconds_max
        connection.set_progress_handler(lambda: self._now() > self._until, _STEPS)
        try:
            connection.execute("BEGIN")
            self._look(connection)
            assert self.head is not None
            writer.head(self.head)
            for kind, family in KINDS.items():
                for start, end in own_ranges(self._region) if family == "region" else [self._range]:
                    read = self._expiries if kind == EXPIRIES else self._rows
                    for items, rows in read(connection, family, start, end):
                        writer.frame(kind, rows, items)
                        if self._now() > self._until:
                            raise self._too_slow()
                        yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                raise self._too_slow() from error
            raise from_sqlite(error, self._data_path) from error

    def _too_slow(self) -> StorageError:
        return SnapshotAborted(
            f"{self._data_path}: reading a snapshot of region {self._region} took longer than {self._seconds_max:g} s, "
            "and was given up, for the write-ahead log can't be emptied meanwhile. Either the disk is too slow or "
            "too busy, or the limit is too low for this much data"
        )

    def _look(self, connection: sqlite3.Connection) -> None:
        """Read what it stands for, the first thing in the transaction, and see if there's room."""
        reader = Reader(self._data_path, connection)
        state = reader.get("region", apply_key(self._region))
        if state is None or len(state) < 16:
            raise SnapshotAborted(
                f"{self._data_path}: there's no region {self._region} to make a snapshot of, or it is half installed"
            )
        taken_in = reader.rising("region")(*records(self._region), _SOURCES_MAX)
        self.head = SnapshotHead(self._region, *self._range, state, tuple(recorded(key) for key, _ in taken_in))
        self.labels = [reader.get("region", key) for key in self._keys]
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        needed = pages * size - reader.reusable_bytes()
        want_room(snapshots_path(self._data_folder), needed + self._room_bytes)

    def _rows(
        self, connection: sqlite3.Connection, family: str, start: bytes, end: bytes
    ) -> Iterator[tuple[list[bytes], int]]:
        """Yield a family's rows, each compared with its checksum, in frames of bounded size."""
        items: list[bytes] = []
        size = 0
        limit = self._frame_bytes
        # The whole speed is that of this loop.
        for key, crc, value in connection.execute(
            f'SELECT key, crc, value FROM "{family}" WHERE key >= ? AND key < ? ORDER BY key', (start, end)
        ):
            if row_checksum(key, value) != crc:
                raise CorruptFile(
                    f"{self._data_path}: the row {key!r} isn't what was written there, its checksum says. The file was "
                    "left as it is; keep a copy, and start this store with an empty folder under a new id"
                )
            items.append(key)
            items.append(value)
            size += len(key) + len(value) + _ROW_BYTES
            if size >= limit:
                yield items, len(items) // 2
                items = []
                size = 0
        if items:
            yield items, len(items) // 2

    def _expiries(
        self, connection: sqlite3.Connection, family: str, start: bytes, end: bytes
    ) -> Iterator[tuple[list[bytes], int]]:
        """The same for the index of expiries. It's in the order of time, so all of it is read for any range of keys."""
        items: list[bytes] = []
        size = 0
        for at, key in connection.execute(
            f"SELECT at, key FROM {family} WHERE key >= ? AND key < ? ORDER BY at, key", (start, end)
        ):
            items.append(encode_expiry(at, key))
            size += len(items[-1]) + _ROW_BYTES
            if size >= self._frame_bytes:
                yield items, len(items)
                items = []
                size = 0
        if items:
            yield items, len(items)


class SnapshotSession:
    """
    The work of a snapshot's process: the one message says what to copy, the one reply what came of it.

    @param data_path: of data.db.
    """

    def __init__(self, data_path: str) -> None:
        self._data_path = data_path
        self._copy: SnapshotCopy | None = None
        self._steps: Generator[None, None, None] | None = None

    @property
    def busy(self) -> bool:
        """Is it under way?"""
        return self._steps is not None

    def take(self, messages: list[Any]) -> list[tuple[Any, ...]]:
        """
        Begin, or go on for a step.

        @return: at the end C{(MADE, path, size, apply state, labels)}, or C{(REFUSED, class name, message)}.
        """
        for region, start, end, labels, temporary, seconds_max, room_bytes in messages:
            assert self._copy is None, "a process makes one snapshot"
            self._copy = SnapshotCopy(
                self._data_path,
                region,
                start,
                end,
                labels,
                temporary=temporary,
                seconds_max=seconds_max,
                room_bytes=room_bytes,
            )
            self._steps = self._copy.steps()
        if self._steps is None:
            return []
        try:
            next(self._steps)
        except StopIteration:
            copy = self._copy
            assert copy is not None and copy.head is not None
            self._steps = None
            return [(MADE, copy.path, copy.size, copy.head.state, copy.labels)]
        except StorageError as error:
            self._steps = None
            return [(REFUSED, type(error).__name__, str(error))]
        return []

    def rest(self) -> None:
        """There's nothing to tidy up: this connection never writes (R8)."""

    def close(self) -> None:
        """Nobody waits for it any more: leave nothing of what isn't whole."""
        if self._steps is not None:
            self._steps.close()
            self._steps = None
