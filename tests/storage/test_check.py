"""
The check of a folder finds what is wrong with it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.folders import LocalStore
from tinykv.storage.check import check_folder
from tinykv.storage.writers import LogBatch


class CheckTests(SynchronousTestCase):
    """
    L{check_folder} on folders that were made sick.
    """

    def setUp(self) -> None:
        self.path = self.mktemp()
        store = LocalStore(self.path)
        batch = LogBatch()
        batch.append(1, 1, [(1, os.urandom(300)) for _ in range(20)])
        batch.cut(1, 5, 1)
        store.log.write(batch, lambda: None)
        store.log_channel.run()
        for place in range(2000):
            store.rows.put("data", b"%d" % place, os.urandom(30))
        number = (1).to_bytes(8, "big")
        store.rows.put("region", b"apply" + number, (8).to_bytes(8, "big") + number)
        table = store.rows.freeze()
        assert table is not None
        store.flush(table)
        store.close()

    def sql(self, name: str, statement: str) -> None:
        connection = sqlite3.connect(os.path.join(self.path, name), isolation_level=None)
        connection.execute(statement)
        connection.close()

    def log(self, change: Callable[[LogBatch], None]) -> None:
        """Change the log in a way that nobody should have asked for."""
        store = LocalStore(self.path)
        batch = LogBatch()
        change(batch)
        store.log.write(batch, lambda: None)
        store.log_channel.run()
        store.close()

    def finds(self, *words: str) -> None:
        problems = check_folder(self.path)
        self.assertEqual(len(problems), len(words), problems)
        for problem, word in zip(problems, words, strict=True):
            self.assertIn(word, problem)

    def test_a_sound_folder(self) -> None:
        told: list[str] = []
        self.assertEqual(check_folder(self.path, progress=lambda name, steps: told.append(name)), [])
        self.assertEqual(check_folder(self.path, quick=True), [])

    def test_a_hole_in_the_log(self) -> None:
        self.sql("raft.db", "DELETE FROM log WHERE idx = 12")
        self.finds("entry 13 stands where entry 12 should be")

    def test_a_term_that_falls(self) -> None:
        self.log(lambda batch: batch.append(1, 12, [(0, b"")]))
        self.finds("entry 12 has term 0")

    def test_a_log_that_begins_too_late(self) -> None:
        self.log(lambda batch: batch.cut(1, 10, 1))
        self.finds("begins after entry 10")

    def test_a_log_that_ends_too_early(self) -> None:
        self.sql("raft.db", "DELETE FROM log WHERE idx > 7")
        self.finds("ends at 7")

    def test_entries_to_which_nothing_leads(self) -> None:
        self.sql("raft.db", "DELETE FROM log_mark")
        self.finds("entries are there, but marks lead to 0", "the log ends at 5")

    def test_a_page_that_was_changed(self) -> None:
        self.sql("data.db", "UPDATE data SET value = x'00' WHERE key = CAST('7' AS BLOB)")
        self.finds("isn't what was written there")

    def test_bytes_that_SQLite_does_not_miss(self) -> None:  # noqa: N802
        os.unlink(os.path.join(self.path, "data.sum"))
        for name, statement, word in (
            ("data.db", "UPDATE data SET value = x'00' WHERE key = CAST('7' AS BLOB)", "row b'7' of data"),
            ("raft.db", "UPDATE log SET data = x'00' WHERE idx = 12", "entry 12 of region 1"),
            ("raft.db", "UPDATE log_base SET term = 9", "region 1 in log_base"),
            ("raft.db", "UPDATE log_mark SET place = 2", "region 1 in log_mark"),
            ("raft.db", "INSERT INTO hard_state VALUES (1, 1, 1, 1, 1, 0)", "region 1 in hard_state"),
        ):
            before = Path(self.path, name).read_bytes()
            self.sql(name, statement)
            self.finds(word)
            Path(self.path, name).write_bytes(before)

    def test_a_missing_file(self) -> None:
        os.unlink(os.path.join(self.path, "data.db"))
        self.finds("data.db: missing")

    def test_damaged_pages(self) -> None:
        file = Path(self.path, "data.db")
        held = bytearray(file.read_bytes())
        for place in range(8 * 4096, len(held), 4096):
            held[place : place + 64] = os.urandom(64)
        file.write_bytes(held)
        self.assertTrue(check_folder(self.path))
        self.assertEqual(file.read_bytes(), held)
