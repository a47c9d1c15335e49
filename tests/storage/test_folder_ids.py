"""
Tests for L{tinykv.storage.folder_ids}.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tinykv.storage.errors import CorruptFile
from tinykv.storage.folder_ids import NAME, FolderIds


class FolderIdsTests(SynchronousTestCase):
    """L{FolderIds}."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def remember(self, store: int, folder_id: str) -> None:
        self.assertIsNone(self.successResultOf(FolderIds(self.folder).remember(store, folder_id)))

    def test_nothing_at_first(self) -> None:
        self.assertIsNone(FolderIds(self.folder).lookup(1))
        self.assertEqual(os.listdir(self.folder), [])

    def test_over_a_restart(self) -> None:
        self.remember(2, "abc")
        self.remember(3, "def")
        found = FolderIds(self.folder)
        self.assertEqual([found.lookup(store) for store in (1, 2, 3)], [None, "abc", "def"])
        self.assertEqual(os.listdir(self.folder), [NAME])

    def test_the_first_stays(self) -> None:
        self.remember(2, "abc")
        self.remember(2, "xyz")
        self.assertEqual(FolderIds(self.folder).lookup(2), "abc")

    def test_a_file_that_was_left_unfinished(self) -> None:
        (self.folder / f"{NAME}.new").write_text("{")
        self.remember(2, "abc")
        self.assertEqual(FolderIds(self.folder).lookup(2), "abc")

    def test_something_else(self) -> None:
        for text in (b"", b"{", b"[]", b"5", b'{"a": "b"}', b'{"1": 2}', b'{"1": null}', b"\xff\xfe\xfa"):
            (self.folder / NAME).write_bytes(text)
            problem = self.assertRaises(CorruptFile, FolderIds, self.folder)
            self.assertIn(NAME, str(problem))

    def test_it_cannot_be_written(self) -> None:
        ids = FolderIds(self.folder)
        (self.folder / f"{NAME}.new").mkdir()
        self.failureResultOf(ids.remember(2, "abc"))
        # What isn't durable isn't known either.
        self.assertIsNone(ids.lookup(2))
