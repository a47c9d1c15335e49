"""
The tables of raft.db and data.db: made once, raised by migrations, refused when they aren't ours.

A file is ours by its C{application_id}, written in the same transaction as its identity; a file without it
that holds nothing but our half-made tables is an unfinished creation and is finished. C{user_version} is the
format's number: a file of a newer one is refused, and an older one is migrated, in one transaction, when a store opens
it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import quote

from sqlite_utils import Database, Migrations

from tinykv.storage.checksum import numbers_checksum
from tinykv.storage.connection import connect_writer
from tinykv.storage.errors import (
    CorruptFile,
    FolderInUse,
    ForeignFile,
    WrongFolder,
    WrongFormat,
    from_os,
    from_sqlite,
)
from tinykv.storage.log import REACH
from tinykv.storage.log_end import forget_end
from tinykv.storage.tables import FAMILIES

#: "TkV1": the mark of our files.
APPLICATION_ID: Final = 0x546B5631

_HEAD: Final = b"SQLite format 3\0"
#: How a rollback journal that is to be played back begins.
_JOURNAL_HEAD: Final = bytes.fromhex("d9d505f920a163d7")

raft_migrations: Final = Migrations("tinykv-raft")
data_migrations: Final = Migrations("tinykv-data")


@raft_migrations(name="1")
def _raft_1(db: Database) -> None:
    # Raw DDL, since sqlite-utils has no WITHOUT ROWID. Without it each entry would change two trees.
    db.conn.execute(
        "CREATE TABLE log (region INTEGER NOT NULL, idx INTEGER NOT NULL, term INTEGER NOT NULL, crc INTEGER "
        "NOT NULL, data BLOB NOT NULL, PRIMARY KEY (region, idx)) WITHOUT ROWID"
    )
    db.conn.execute(
        "CREATE TABLE hard_state (region INTEGER PRIMARY KEY, peer INTEGER NOT NULL, term INTEGER NOT "
        "NULL, vote INTEGER NOT NULL, commit_hint INTEGER NOT NULL, crc INTEGER NOT NULL)"
    )
    db.conn.execute(
        "CREATE TABLE log_base (region INTEGER PRIMARY KEY, idx INTEGER NOT NULL, term INTEGER NOT NULL, crc "
        "INTEGER NOT NULL)"
    )
    _meta(db)


@raft_migrations(name="2")
def _raft_2(db: Database) -> None:
    # Entries lie in the order in which they are written, on pages that all regions share (ADR 0029). Those that are
    # there already are put one region behind the other, so that each region's marks lie as far apart as they reach.
    execute = db.conn.execute
    execute("ALTER TABLE log RENAME TO log_before")
    execute(
        "CREATE TABLE log (place INTEGER PRIMARY KEY, region INTEGER NOT NULL, idx INTEGER NOT NULL, term INTEGER NOT "
        "NULL, crc INTEGER NOT NULL, data BLOB NOT NULL)"
    )
    execute(
        "CREATE TABLE log_mark (region INTEGER NOT NULL, idx INTEGER NOT NULL, place INTEGER NOT NULL, crc INTEGER NOT "
        "NULL, PRIMARY KEY (region, idx)) WITHOUT ROWID"
    )
    execute(
        "INSERT INTO log (region, idx, term, crc, data) "
        "SELECT region, idx, term, crc, data FROM log_before ORDER BY region, idx"
    )
    execute("DROP TABLE log_before")
    marks = execute(
        "SELECT log.region, log.idx, log.place FROM log "
        "JOIN (SELECT region, MIN(place) AS first FROM log GROUP BY region) AS begins ON begins.region = log.region "
        f"WHERE (log.place - begins.first) % {REACH} = 0"
    ).fetchall()
    db.conn.executemany(
        "INSERT INTO log_mark (region, idx, place, crc) VALUES (?, ?, ?, ?)",
        [(*mark, numbers_checksum(*mark)) for mark in marks],
    )
    execute("UPDATE meta SET value = '2' WHERE name = 'format'")
    execute("PRAGMA user_version = 2")


@data_migrations(name="1")
def _data_1(db: Database) -> None:
    # With rowids, so that rows of up to a page lie in pages that they share, and what one flush adds lies together. The
    # keys are in a tree of their own. See ADR 0014.
    for family in FAMILIES:
        db.conn.execute(
            f'CREATE TABLE "{family}" (key BLOB PRIMARY KEY NOT NULL, crc INTEGER NOT NULL, value BLOB NOT NULL)'
        )
    db.conn.execute(
        "CREATE TABLE expiries (at INTEGER NOT NULL, key BLOB NOT NULL, PRIMARY KEY (at, key)) WITHOUT ROWID"
    )
    _meta(db)


def _meta(db: Database) -> None:
    db.conn.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")


class Kind(Enum):
    """
    The two files of a folder. The value is the file's name.
    """

    RAFT = "raft.db"
    DATA = "data.db"

    @property
    def migrations(self) -> Migrations:
        """
        What makes and raises the file's tables.
        """
        return raft_migrations if self is Kind.RAFT else data_migrations

    @property
    def format(self) -> int:
        """
        The number of the newest format that this program knows; one per migration.
        """
        return 2 if self is Kind.RAFT else 1


@dataclass(frozen=True)
class Identity:
    """
    Whose folder it is; the same in both files.

    @ivar store_id: the store's id in the cluster.
    @ivar cluster_id: the cluster's id; empty until it is known.
    @ivar folder_id: random, made with the folder (R16).
    """

    store_id: int
    cluster_id: str
    folder_id: str


@contextmanager
def errors_of(path: str) -> Iterator[None]:
    """
    Turn what SQLite and the system raise inside into errors that name the file.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise from_sqlite(error, path) from error
    except OSError as error:
        raise from_os(error, path) from error
    except UnicodeDecodeError as error:
        raise CorruptFile(
            f"{path}: the file is damaged, a name in it isn't text. It was left as it is; keep a copy, and start this "
            "store with an empty folder under a new id"
        ) from error


def looks_made(path: str) -> bool:
    """
    Is there a file with a SQLite head? An absent or empty file is one that is still to be made.

    To be asked before any connection is open: closing a file drops the locks that SQLite has on it.

    @raise ForeignFile: there is something else.
    """
    with errors_of(path):
        try:
            with open(path, "rb") as file:
                head = file.read(len(_HEAD))
        except FileNotFoundError:
            return False
        if not head or _was_empty(path):
            return False
    if head != _HEAD:
        raise ForeignFile(
            f"{path}: this is not a file of TinyKV, or its head is damaged. It was left as it is; give the "
            "store another folder"
        )
    return True


def _was_empty(path: str) -> bool:
    """
    Did the file's first transaction never end? Its rollback journal says then that there was no page before;
    opening the file for writing brings that back. (All later transactions are in the write-ahead log.)
    """
    try:
        with open(path + "-journal", "rb") as file:
            head = file.read(20)
    except FileNotFoundError:
        return False
    return head[:8] == _JOURNAL_HEAD and head[16:20] == bytes(4)


def open_file(path: str, kind: Kind) -> sqlite3.Connection:
    """
    Open one of the two files with its writing connection; make its tables if it is new, and raise it to the newest
    format if it's older. Its write-ahead log is brought into the file and emptied, so what is read afterwards is on
    disk (R7). To be called after L{inspect}.
    """
    with errors_of(path):
        connection = connect_writer(path)
        try:
            kind.migrations.apply(Database(connection, execute_plugins=False))
            truncate(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def connect_to_look(path: str) -> sqlite3.Connection:
    """
    Open a file so that neither reading nor closing can change it, its write-ahead log included.
    """
    try:
        pending = os.stat(path + "-wal").st_size > 0
    except FileNotFoundError:
        pending = False
    # Without a write-ahead log the file alone is the whole truth, and nothing needs to be made beside it.
    mode = "mode=ro" if pending else "immutable=1"
    return sqlite3.connect(f"file:{quote(path)}?{mode}", uri=True, isolation_level=None)


def inspect(path: str, kind: Kind, *, newest: bool = False) -> Identity | None:
    """
    Look whether a file is ours, of a known format and whole in its tables, without changing anything.

    @param newest: refuse an older format as well; for who reads the tables and can't raise them.
    @return: whose it is; C{None} if it doesn't exist or its creation was never finished.
    @raise StorageError: it isn't fit to be used.
    """
    if not looks_made(path):
        return None
    with errors_of(path):
        connection = connect_to_look(path)
        try:
            application: int = connection.execute("PRAGMA application_id").fetchone()[0]
            version: int = connection.execute("PRAGMA user_version").fetchone()[0]
            names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            tables = {name for (name,) in names}
            _refuse_strangers(path, kind, application, version, tables)
            identity = read_identity(connection, path)
        finally:
            connection.close()
    if newest and identity is not None and version < kind.format:
        raise WrongFormat(
            f"{path}: the file has format {version}, and this program reads format {kind.format}. Start the store once "
            "with this version of TinyKV, which raises it to that; or go on with the version that wrote it"
        )
    return identity


def _refuse_strangers(path: str, kind: Kind, application: int, version: int, tables: set[str]) -> None:
    expected = _tables(kind)
    if application != APPLICATION_ID and (application or not tables <= expected):
        raise ForeignFile(
            f"{path}: this database was made by another program. It was left as it is; give the store "
            "another folder"
        )
    if version > kind.format:
        raise WrongFormat(
            f"{path}: the file has format {version}, and this program knows formats up to {kind.format}. Start "
            "the newer version of TinyKV that wrote it"
        )
    if kind is Kind.RAFT and version < 2:
        expected -= {"log_mark"}
    if application == APPLICATION_ID and not expected <= tables:
        missing = ", ".join(sorted(expected - tables))
        raise CorruptFile(
            f"{path}: the tables {missing} are missing. The file was left as it is; keep a copy, and start "
            "this store with an empty folder under a new id"
        )


def _tables(kind: Kind) -> set[str]:
    own = {"log", "log_mark", "hard_state", "log_base"} if kind is Kind.RAFT else {*FAMILIES, "expiries"}
    return own | {"meta", Migrations.migrations_table}


def truncate(connection: sqlite3.Connection, path: str) -> None:
    """
    Bring everything from the write-ahead log into the file, fsync it and empty the log.

    @raise FolderInUse: somebody else reads or writes the file.
    """
    with errors_of(path):
        forget_end(path)
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise FolderInUse(
            f"{path}: another process reads or writes this file. Stop it; one folder serves one store"
        )


def read_identity(connection: sqlite3.Connection, path: str) -> Identity | None:
    """
    @return: whose file it is, or C{None} if its creation was never finished.
    """
    with errors_of(path):
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            return None
        meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    try:
        return Identity(int(meta["store_id"]), meta["cluster_id"], meta["folder_id"])
    except (KeyError, ValueError) as error:
        raise CorruptFile(
            f"{path}: the file doesn't say whose it is. It was left as it is; keep a copy, and start this "
            "store with an empty folder under a new id"
        ) from error


def write_identity(connection: sqlite3.Connection, path: str, kind: Kind, identity: Identity) -> None:
    """
    Say whose file it is, and with the same commit that it is ours and complete.
    """
    rows = [
        ("store_id", str(identity.store_id)),
        ("cluster_id", identity.cluster_id),
        ("folder_id", identity.folder_id),
        ("format", str(kind.format)),
        ("syncs", "0"),
    ]
    with errors_of(path):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", rows)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {kind.format}")
        connection.execute("COMMIT")


def check_identity(path: str, found: Identity, store_id: int, cluster_id: str) -> None:
    """
    @raise WrongFolder: the file belongs to another store, or to another cluster where both are known.
    """
    if found.store_id != store_id:
        raise WrongFolder(
            f"{path}: this folder belongs to store {found.store_id}, and this is store {store_id}. Set the "
            "right folder or the right id in the configuration; nothing was changed"
        )
    if cluster_id and found.cluster_id and found.cluster_id != cluster_id:
        raise WrongFolder(
            f"{path}: this folder belongs to cluster {found.cluster_id}, and the store was to join cluster "
            f"{cluster_id}. Set the right folder in the configuration; nothing was changed"
        )


def fsync_folder(path: str) -> None:
    """
    Make the names in a folder durable.

    @raise OSError: as the system says.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
