"""
Errors in words for the operator.
"""

from __future__ import annotations

import errno
import os
import sqlite3

from twisted.trial.unittest import SynchronousTestCase

from tinykv.storage import errors


def sqlite_error(code: int, name: str) -> sqlite3.Error:
    """An error as SQLite's module raises it."""
    error = sqlite3.OperationalError("text of SQLite")
    error.sqlite_errorcode = code
    error.sqlite_errorname = name
    return error


class ErrorTests(SynchronousTestCase):
    """
    Codes become classes; the message names the file and says what to do.
    """

    def test_codes_of_sqlite(self) -> None:
        for code, kind in (
            (sqlite3.SQLITE_FULL, errors.DiskFull),
            (sqlite3.SQLITE_IOERR, errors.DiskFailure),
            (sqlite3.SQLITE_IOERR_FSYNC, errors.DiskFailure),
            (sqlite3.SQLITE_CORRUPT, errors.CorruptFile),
            (sqlite3.SQLITE_NOTADB, errors.CorruptFile),
            (sqlite3.SQLITE_READONLY_DBMOVED, errors.ReadOnlyFolder),
            (sqlite3.SQLITE_BUSY, errors.FolderInUse),
            (sqlite3.SQLITE_MISUSE, errors.StorageError),
        ):
            error = errors.from_sqlite(sqlite_error(code, "NAME"), "/f/data.db")
            self.assertIs(type(error), kind)
            self.assertTrue(str(error).startswith("/f/data.db: "))
            self.assertIn("NAME: text of SQLite", str(error))

    def test_an_error_of_the_module_itself(self) -> None:
        error = errors.from_sqlite(sqlite3.ProgrammingError("closed"), "/f/data.db")
        self.assertEqual(str(error), "/f/data.db: closed")

    def test_codes_of_the_system(self) -> None:
        for code, kind in (
            (errno.ENOSPC, errors.DiskFull),
            (errno.EDQUOT, errors.DiskFull),
            (errno.EROFS, errors.ReadOnlyFolder),
            (errno.EACCES, errors.ReadOnlyFolder),
            (errno.EIO, errors.DiskFailure),
        ):
            error = errors.from_os(OSError(code, os.strerror(code)), "/f/LOCK")
            self.assertIs(type(error), kind)
            self.assertIn("/f/LOCK", str(error))

    def test_over_a_process_border(self) -> None:
        error = errors.by_name("DiskFull", "words")
        self.assertEqual((type(error), str(error)), (errors.DiskFull, "words"))
        self.assertIs(type(errors.by_name("Unheard", "words")), errors.StorageError)
