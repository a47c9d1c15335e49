"""
The checksums of the pages follow the file through checkpoints, crashes and restarts.
"""

from __future__ import annotations

import os
from array import array
from pathlib import Path
from zlib import crc32

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.folders import LocalStore
from tinykv.storage.connection import PAGE_BYTES, connect_reader
from tinykv.storage.errors import CorruptFile
from tinykv.storage.sums import PageSums, forget_sums, frames, sums_path


class SumsTests(SynchronousTestCase):
    """
    L{PageSums} beside a store's data.db.
    """

    def setUp(self) -> None:
        self.store = LocalStore(self.mktemp())
        self.path = self.store.folder.data_path
        self.addCleanup(lambda: self.store.close())

    def fill(self, first: int, count: int) -> None:
        """Flush some rows."""
        for number in range(first, first + count):
            self.store.rows.put("data", b"%06d" % number, os.urandom(200))
        table = self.store.rows.freeze()
        assert table is not None
        self.store.flush(table)

    def sums(self) -> PageSums:
        """Read the file of checksums."""
        found = PageSums.load(self.path)
        assert found is not None
        return found

    def pending(self) -> set[int]:
        """Name the pages in the write-ahead log."""
        return {page for page, _, _ in frames(self.path)}

    def test_a_new_folder_has_them(self) -> None:
        self.sums().verify(set())

    def test_pages_in_the_write_ahead_log_are_left_out(self) -> None:
        self.fill(0, 100)
        self.assertTrue(self.pending())
        self.sums().verify(self.pending())

    def test_a_checkpoint_is_followed(self) -> None:
        before = os.stat(self.path).st_size
        self.fill(0, 500)
        self.store.data_session._store.checkpoint()
        self.assertGreater(os.stat(self.path).st_size, before)
        self.sums().verify(set())
        self.fill(400, 300)
        # The write-ahead log has begun anew: its older frames, behind the new ones, are none any more.
        self.sums().verify(self.pending())
        self.store.data_session._store.checkpoint()
        self.sums().verify(set())

    def test_a_write_ahead_log_that_is_read_for_long_is_followed(self) -> None:
        store = self.store.data_session._store
        reader = connect_reader(self.path)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM data").fetchall()
        for turn in range(4):
            self.fill(100 * turn, 200)
            store.checkpoint()
            self.sums().verify(self.pending())
        reader.close()
        store.checkpoint()
        self.sums().verify(set())
        for turn in range(3):
            self.fill(50 * turn, 100)
            store.checkpoint()
            self.sums().verify(set())

    def test_a_restart_after_a_crash_is_followed(self) -> None:
        self.fill(0, 500)
        files = {
            name: Path(self.store.path, name).read_bytes()
            for name in os.listdir(self.store.path)
            if not name.endswith(("-shm", "LOCK"))
        }
        self.store.close()
        for name, content in files.items():
            Path(self.store.path, name).write_bytes(content)
        self.store.open()
        self.assertEqual(self.pending(), set())
        self.sums().verify(set())
        self.assertEqual(len(list(self.store.rows.scan("data", b"", b"\xff"))), 500)

    def test_they_are_made_anew_where_they_are_missing(self) -> None:
        self.fill(0, 100)
        self.store.close()
        forget_sums(self.path)
        forget_sums(self.path)
        self.store.open()
        self.sums().verify(set())

    def test_what_differs_is_named(self) -> None:
        self.fill(0, 100)
        self.store.close()
        held = bytearray(Path(self.path).read_bytes())
        held[3 * PAGE_BYTES + 17] ^= 1
        Path(self.path).write_bytes(held)
        error = self.assertRaises(CorruptFile, self.sums().verify, {1, 2, 3})
        self.assertIn("data.db: page 4", str(error))
        self.sums().verify({4})
        self.assertRaises(CorruptFile, self.store.open)
        held[3 * PAGE_BYTES + 17] ^= 1
        Path(self.path).write_bytes(held)
        self.store.open()

    def test_the_page_of_the_locks_has_none(self) -> None:
        """A database of more than 1 GiB leaves one page out, which no checkpoint ever tells of."""
        lock_page = 2**30 // PAGE_BYTES + 1
        path = self.mktemp()
        with open(path, "wb") as file:
            file.truncate((lock_page + 2) * PAGE_BYTES)
        known = array("I", [crc32(bytes(PAGE_BYTES))]) * (lock_page + 2)
        known[lock_page - 1] = known[lock_page] = 0
        sums = PageSums(path, known)
        error = self.assertRaises(CorruptFile, sums.verify, set())
        self.assertIn(f"page {lock_page + 1} ", str(error))
        sums.verify({lock_page + 1})

    def test_a_damaged_file_of_checksums_says_so(self) -> None:
        name = Path(sums_path(self.path))
        before = name.read_bytes()
        for damaged in (b"", before[:-1], before + b"\0", before[:10] + b"\xff" + before[11:]):
            name.write_bytes(damaged)
            error = self.assertRaises(CorruptFile, PageSums.load, self.path)
            self.assertIn("data.sum", str(error))
        name.write_bytes(before)
