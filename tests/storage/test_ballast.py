"""
Room kept back for a full disk.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.folders import open_small
from tinykv.storage.ballast import Ballast
from tinykv.storage.errors import StorageError
from tinykv.storage.folder import open_folder

SIZE = 256 * 1024


class BallastTests(SynchronousTestCase):
    """
    L{Ballast} on a real file system.
    """

    def setUp(self) -> None:
        folder = self.mktemp()
        os.mkdir(folder)
        self.path = os.path.join(folder, "ballast")

    def test_taken_given_up_and_taken_back(self) -> None:
        ballast = Ballast(self.path, SIZE, low_bytes=0)
        self.assertEqual(ballast.held, 0)
        self.assertTrue(ballast.restore())
        self.assertTrue(ballast.restore())
        self.assertEqual(ballast.held, SIZE)
        self.assertEqual(ballast.release(), SIZE)
        self.assertEqual((ballast.release(), ballast.held), (0, 0))
        self.assertTrue(ballast.restore())

    def test_a_sparse_file_holds_nothing_back(self) -> None:
        with open(self.path, "wb") as file:
            file.truncate(SIZE)
        ballast = Ballast(self.path, SIZE, low_bytes=0)
        self.assertEqual(ballast.held, 0)
        self.assertTrue(ballast.restore())
        self.assertEqual(ballast.held, SIZE)

    def test_not_taken_when_the_disk_is_low(self) -> None:
        ballast = Ballast(self.path, SIZE, low_bytes=1 << 60)
        self.assertTrue(ballast.is_low(0))
        self.assertFalse(ballast.restore())
        self.assertFalse(os.path.exists(self.path))
        self.assertFalse(Ballast(self.path, SIZE, low_bytes=0).is_low(1 << 60))

    def test_what_is_still_in_memory_counts_twice(self) -> None:
        ballast = Ballast(self.path, SIZE, low_bytes=SIZE)
        spare = ballast.free_bytes - SIZE
        slack = spare // 2
        self.assertFalse(ballast.is_low((spare - slack) // 2))
        self.assertTrue(ballast.is_low((spare + slack) // 2))

    def test_free_pages_are_room_but_not_for_the_logs(self) -> None:
        free = Ballast(self.path, 0).free_bytes
        ballast = Ballast(self.path, 0, low_bytes=2 * free)
        self.assertTrue(ballast.is_low(0))
        self.assertFalse(ballast.is_low(0, 2 * free))
        # A quarter of the mark has to be free outside of the file, however much is free within.
        self.assertTrue(Ballast(self.path, 0, low_bytes=8 * free).is_low(0, 100 * free))

    def test_none_is_wanted(self) -> None:
        self.assertTrue(Ballast(self.path, 0, low_bytes=0).restore())
        self.assertFalse(os.path.exists(self.path))

    def test_a_folder_takes_its_ballast(self) -> None:
        path = self.mktemp()
        folder = open_folder(path, 1, ballast_bytes=SIZE, disk_low_bytes=0, patience=0)
        folder.close()
        self.assertEqual(folder.ballast.held, SIZE)
        open_small(path).close()
        self.assertEqual(folder.ballast.held, SIZE)

    def test_errors_name_the_file(self) -> None:
        blocked = Path(self.path)
        blocked.touch()
        ballast = Ballast(os.path.join(self.path, "ballast"), SIZE, low_bytes=0)
        error = self.assertRaises(StorageError, ballast.restore)
        self.assertIn(ballast.path, str(error))
