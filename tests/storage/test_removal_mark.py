"""
Tests for L{tinykv.storage.removal_mark}.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tinykv.storage.errors import StorageError
from tinykv.storage.removal_mark import NAME, RemovalMark


class RemovalMarkTests(SynchronousTestCase):
    """L{RemovalMark}."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def test_it_stays(self) -> None:
        mark = RemovalMark(self.folder)
        self.assertFalse(mark.is_set)
        mark.set()
        mark.set()
        self.assertTrue(mark.is_set)
        self.assertTrue(RemovalMark(self.folder).is_set)
        self.assertEqual(os.listdir(self.folder), [NAME])

    def test_it_cant_be_set(self) -> None:
        self.assertRaises(StorageError, RemovalMark(self.folder / "missing").set)
