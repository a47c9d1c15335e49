"""
A write-ahead log that has lost its end is told from one that never had it.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tinykv.storage.connection import PAGE_BYTES, connect_writer
from tinykv.storage.errors import CorruptFile
from tinykv.storage.log_end import LogEnd, end_path, forget_end, good_frames, verify_end

_FRAME = 24 + PAGE_BYTES


class LogEndTests(SynchronousTestCase):
    """
    L{LogEnd} beside a database.
    """

    def setUp(self) -> None:
        folder = self.mktemp()
        os.mkdir(folder)
        self.path = os.path.join(folder, "x.db")
        self.connection = connect_writer(self.path)
        self.connection.execute("CREATE TABLE t (x)")
        self.end = LogEnd(self.path)
        self.addCleanup(self.end.close)
        self.addCleanup(self.connection.close)

    def commit(self, count: int) -> None:
        """Commit and note."""
        for _ in range(count):
            self.connection.execute("INSERT INTO t VALUES (?)", (os.urandom(1000),))
            self.end.committed()

    def frames(self) -> int:
        """Count the frames as SQLite does."""
        return int(self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1])

    def refused(self) -> None:
        """See it refused, by name."""
        error = self.assertRaises(CorruptFile, verify_end, self.path)
        self.assertIn("x.db-wal", str(error))

    def test_frames_are_counted_as_sqlite_counts_them(self) -> None:
        self.commit(10)
        found, salts = good_frames(self.path)
        self.assertEqual(len(salts), 8)
        self.assertEqual(found, self.frames())
        verify_end(self.path)

    def test_any_frame_that_is_missing_or_changed(self) -> None:
        self.commit(5)
        wal = Path(self.path + "-wal")
        content = wal.read_bytes()
        for place in range(len(content) // 100):
            damaged = bytearray(content)
            damaged[place * 100] ^= 16
            wal.write_bytes(damaged)
            self.refused()
            wal.write_bytes(content[: place * 100])
            self.refused()
        wal.unlink()
        self.refused()
        wal.write_bytes(content)
        verify_end(self.path)

    def test_what_was_not_noted_may_be_missing(self) -> None:
        self.commit(5)
        wal = Path(self.path + "-wal")
        noted = wal.stat().st_size
        self.connection.execute("INSERT INTO t VALUES (1)")
        content = wal.read_bytes()
        self.assertEqual(len(content), noted + _FRAME)
        for size in (noted + 1, noted + _FRAME - 1, noted):
            wal.write_bytes(content[:size])
            verify_end(self.path)
        wal.write_bytes(content[: noted - 1])
        self.refused()
        wal.write_bytes(content)

    def test_a_torn_note_promises_nothing(self) -> None:
        self.commit(5)
        note = Path(end_path(self.path))
        content = note.read_bytes()
        Path(self.path + "-wal").write_bytes(b"")
        for size in range(len(content)):
            note.write_bytes(content[:size])
            verify_end(self.path)
        note.write_bytes(content[:-1] + bytes((content[-1] ^ 1,)))
        verify_end(self.path)
        note.write_bytes(content)
        self.refused()

    def test_a_new_generation(self) -> None:
        self.commit(5)
        frames = self.frames()
        self.end.forget()
        verify_end(self.path)
        self.commit(1)
        self.assertLess(good_frames(self.path)[0], frames)
        verify_end(self.path)
        forget_end(self.path)
        forget_end(self.path)
        verify_end(self.path)

    def test_a_database_in_memory_has_none(self) -> None:
        end = LogEnd(":memory:")
        end.committed()
        end.close()
        self.assertFalse(os.path.exists(end_path(":memory:")))

    def test_sqlite_recovers_what_was_noted(self) -> None:
        self.commit(8)
        copy = self.path + ".copy.db"
        for suffix in ("", "-wal"):
            Path(copy + suffix).write_bytes(Path(self.path + suffix).read_bytes())
        connection = sqlite3.connect(copy)
        self.assertEqual(connection.execute("SELECT COUNT(*) FROM t").fetchone()[0], 8)
        connection.close()
