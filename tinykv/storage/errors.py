"""
What can go wrong with the files of a store, in words for the operator.

Each error names the file and says what to do. None of them is retried inside: after an error of a write or an
fsync nobody knows what the disk holds, so the process stops and the next start reads the files again.
"""

from __future__ import annotations

import errno
import sqlite3
from typing import Final

from tinykv.errors import Fault


class StorageError(Fault):
    """
    The base of everything that the storage package raises on purpose. C{str()} is the operator's message.
    """


class DiskFull(StorageError):
    """
    The file system (or a quota) has no room left.
    """


class DiskFailure(StorageError):
    """
    The operating system failed a read, a write or an fsync.
    """


class CorruptFile(StorageError):
    """
    A file doesn't hold what this program wrote into it.
    """


class ReadOnlyFolder(StorageError):
    """
    The folder or a file in it can't be written.
    """


class ForeignFile(StorageError):
    """
    A file in the folder was made by another program.
    """


class WrongFormat(StorageError):
    """
    The file was written by a newer version of this program, or by an older one, and whoever looks at it can't raise it.
    """


class WrongFolder(StorageError):
    """
    The folder belongs to another store or cluster, or its files don't belong together.
    """


class FolderInUse(StorageError):
    """
    Another process has this folder open.
    """


class LogGap(StorageError):
    """
    A batch would leave a hole in a region's log: a fault of this program, stopped before it reaches the disk.
    """


class WriterLost(StorageError):
    """
    A writer's process ended without being asked to.
    """


class BadSnapshot(StorageError):
    """
    A file isn't a whole, undamaged snapshot of the region that it was to be one of.
    """


class SnapshotAborted(StorageError):
    """
    A snapshot wasn't made, or not installed, for a reason that has nothing to do with its contents.
    """


class SumAborted(StorageError):
    """
    Rows weren't summed up, for a reason that has nothing to do with them.
    """


_CODES: Final[dict[int, tuple[type[StorageError], str]]] = {
    sqlite3.SQLITE_FULL: (
        DiskFull,
        "the disk is full. Free some space on this file system and start the store again",
    ),
    sqlite3.SQLITE_IOERR: (
        DiskFailure,
        "the disk failed. Look at the system log, and replace the disk if it says so; nothing was repaired",
    ),
    sqlite3.SQLITE_CORRUPT: (
        CorruptFile,
        "the file is damaged. It was left as it is; keep a copy, and start this store with an empty "
        "folder under a new id",
    ),
    sqlite3.SQLITE_NOTADB: (
        CorruptFile,
        "this is not a database, or its head is damaged. It was left as it is; keep a copy, and start "
        "this store with an empty folder under a new id",
    ),
    sqlite3.SQLITE_READONLY: (
        ReadOnlyFolder,
        "the file can't be written. Check the owner and the rights of the folder and how it is mounted",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        DiskFailure,
        "the file can't be opened. Check the owner and the rights of the folder",
    ),
    sqlite3.SQLITE_PERM: (
        ReadOnlyFolder,
        "the file can't be written. Check the owner and the rights of the folder and how it is mounted",
    ),
    sqlite3.SQLITE_BUSY: (
        FolderInUse,
        "another process holds the file. Stop whatever has it open; one folder serves one store",
    ),
    sqlite3.SQLITE_LOCKED: (
        FolderInUse,
        "another connection holds the file. Stop whatever has it open; one folder serves one store",
    ),
}

_BY_NAME: Final[dict[str, type[StorageError]]] = {
    kind.__name__: kind
    for kind in (
        StorageError,
        DiskFull,
        DiskFailure,
        CorruptFile,
        ReadOnlyFolder,
        ForeignFile,
        WrongFormat,
        WrongFolder,
        FolderInUse,
        LogGap,
        WriterLost,
        BadSnapshot,
        SnapshotAborted,
        SumAborted,
    )
}


def from_sqlite(error: sqlite3.Error, path: str) -> StorageError:
    """
    Turn an error of SQLite into ours.

    @param path: the database file, for the message.
    """
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return StorageError(f"{path}: {error}")
    # The low byte is the primary code; the rest says where it happened and is in the text already.
    kind, advice = _CODES.get(code & 0xFF, (StorageError, "an unexpected error of the database"))
    return kind(f"{path}: {advice} ({error.sqlite_errorname}: {error})")


def from_os(error: OSError, path: str) -> StorageError:
    """
    Turn an error of the operating system into ours.
    """
    text = f"({error.strerror})"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"{path}: the disk is full. Free some space on this file system {text}")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return ReadOnlyFolder(
            f"{path}: can't be written. Check the owner and the rights of the folder and how it is mounted "
            f"{text}"
        )
    return DiskFailure(f"{path}: the operating system refused. Look at the system log {text}")


def by_name(name: str, message: str) -> StorageError:
    """
    Build an error again that crossed a process border as (class name, message).
    """
    return _BY_NAME.get(name, StorageError)(message)
