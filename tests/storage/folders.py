"""
A data folder whose writers run in the test's own process.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlite_utils import Database
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred

from tinykv.region.state import ApplyState, apply_key
from tinykv.storage.child import open_session
from tinykv.storage.connection import connect_writer
from tinykv.storage.data import DataStore
from tinykv.storage.folder import DataFolder, open_folder
from tinykv.storage.log_end import LogEnd
from tinykv.storage.readahead import ReadAhead, ReadSession
from tinykv.storage.reader import Reader
from tinykv.storage.rowstore import FROZEN_TABLES, RowStore
from tinykv.storage.schema import APPLICATION_ID, raft_migrations
from tinykv.storage.sessions import DataSession
from tinykv.storage.slot_sizes import SlotSizes
from tinykv.storage.snapshot_maker import SnapshotMaker
from tinykv.storage.summer import Summer
from tinykv.storage.synchronous import SynchronousChannel
from tinykv.storage.tables import MemTable
from tinykv.storage.writers import DataWriter, LogWriter

reactor: Any = global_reactor


def open_small(path: str, store_id: int = 1, cluster_id: str = "") -> DataFolder:
    """Open a folder without ballast and without waiting."""
    return open_folder(path, store_id, cluster_id, ballast_bytes=0, patience=0)


def make_format_1(path: str, *, killed: bool = False) -> None:
    """
    Put what a raft.db holds into one as the first version wrote it, in its place.

    @param killed: leave it as a store does that was killed: with all that in the write-ahead log, and a note of it.
    """
    before = sqlite3.connect(path, isolation_level=None)
    rows = {
        table: before.execute(f"SELECT {columns} FROM {table}").fetchall()
        for table, columns in (
            ("log", "region, idx, term, crc, data"),
            ("hard_state", "*"),
            ("log_base", "*"),
            ("meta", "name, CASE name WHEN 'format' THEN '1' ELSE value END"),
        )
    }
    before.close()
    os.unlink(path)
    connection = connect_writer(path)
    raft_migrations.apply(Database(connection, execute_plugins=False), stop_before="2")
    for table, found in rows.items():
        if found:
            connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(found[0]))})", found)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")
    files: dict[str, bytes] = {}
    if killed:
        LogEnd(path).committed()
        files = {name: Path(name).read_bytes() for name in (path, f"{path}-wal")}
    connection.close()
    for name, content in files.items():
        Path(name).write_bytes(content)


class ServingStore:
    """
    The storage of a running store, with processes at its files.

    @ivar helper: Another process at the files, which a subclass starts; ended first.
    """

    helper: Summer | SnapshotMaker | SlotSizes

    def __init__(self, path: str) -> None:
        self.folder: DataFolder = open_small(path)
        self.log, self.data = self.folder.start_writers(reactor)
        self.reader = Reader(self.folder.data_path)
        self.rows = RowStore(self.reader)

    def flush(self, index: int) -> Deferred[None]:
        """Flush the rows of an entry."""
        self.rows.put("region", apply_key(1), ApplyState(index, 1, index, index).encode())
        frozen = self.rows.freeze()
        assert frozen is not None
        flushed: Deferred[None] = Deferred()

        def done() -> None:
            self.rows.retire(frozen)
            flushed.callback(None)

        self.data.flush(frozen, done)
        return flushed

    async def close(self) -> None:
        """End."""
        await self.helper.close()
        self.reader.close()
        await self.log.close()
        await self.data.close()
        self.folder.close()


class Box:
    """A live object: its row is what it holds."""

    def __init__(self, row_key: bytes, content: bytes) -> None:
        self.row_key = row_key
        self.table: object | None = None
        self.content = content
        self.encoded = 0

    def encode(self) -> bytes:
        """Count, and give the content."""
        self.encoded += 1
        return self.content


class LocalStore:
    """Everything of a store's storage, in one process and by hand."""

    def __init__(self, path: str, *, fsync: bool = True, frozen_tables: int = FROZEN_TABLES) -> None:
        self.path = path
        self.fsync = fsync
        self.frozen_tables = frozen_tables
        self.open()

    def open(self) -> None:
        """Open the folder, and hand its files over."""
        self.folder = open_small(self.path)
        self.recovery = self.folder.recover(1)
        self.replay = list(self.folder.entries(1, self.recovery.applied[0]))
        self.folder.release_files()
        self.log_session = open_session("log", self.folder.raft_path, fsync=self.fsync)
        self.data_connection = connect_writer(self.folder.data_path)
        self.data_session = DataSession(DataStore(self.data_connection, self.folder.data_path))
        self.log_channel = SynchronousChannel(self.log_session)
        self.data_channel = SynchronousChannel(self.data_session)
        self.log = LogWriter(self.log_channel)
        self.data = DataWriter(self.data_channel)
        self.reader = Reader(self.folder.data_path)
        self.rows = RowStore(self.reader, frozen_tables_max=self.frozen_tables)
        self.read_channel = SynchronousChannel(ReadSession(self.reader))
        self.read_ahead = ReadAhead(self.read_channel, self.rows)

    def flush(self, table: MemTable) -> None:
        """Flush and retire the oldest frozen table."""
        self.data.flush(table, lambda: self.rows.retire(table))
        self.data_channel.run()

    def hurry(self) -> None:
        """Leave out the fsyncs of data.db, where a test isn't about them."""
        self.data_connection.execute("PRAGMA synchronous = OFF")

    def lose_memory(self) -> None:
        """Lose what isn't in SQLite, as a crash does, but leave the files open."""
        self.data_channel.drop()
        self.rows = RowStore(self.reader, frozen_tables_max=self.frozen_tables)
        self.read_ahead = ReadAhead(self.read_channel, self.rows)

    def crash(self) -> None:
        """Lose what isn't durable, and start again."""
        self.log_channel.drop()
        self.data_channel.drop()
        self.close()
        self.open()

    def close(self) -> None:
        """Close everything."""
        self.reader.close()
        self.log_session.close()
        self.data_session.close()
        self.folder.close()
