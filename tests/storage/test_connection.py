"""
Settings of the connections that a build of SQLite could choose otherwise.
"""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from tinykv.storage.connection import connect_writer


class WriterTests(SynchronousTestCase):
    """
    The writing connection of a file.
    """

    def test_deleting_writes_little(self) -> None:
        # Debian's SQLite zeroes what is deleted: as much would go to the write-ahead log of a disk that may be full.
        path = self.mktemp()
        connection = connect_writer(path)
        self.addCleanup(connection.close)
        connection.execute("CREATE TABLE t (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
        size = 1_000_000
        rows = [(b"%d" % number, bytes(size)) for number in range(8)]
        connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("DELETE FROM t")
        self.assertLess(os.path.getsize(path + "-wal"), size)
