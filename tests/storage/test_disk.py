"""The room of a file system."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from tinykv.storage.disk import DiskSpace, disk_space, space_of
from tinykv.storage.errors import StorageError


class DiskSpaceTests(SynchronousTestCase):
    """What C{statvfs} says, and what it means."""

    def test_what_is_kept_back_is_no_capacity(self) -> None:
        # 1,000 blocks, of which 300 are used, and 500 of the rest are for somebody else.
        self.assertEqual(space_of(4096, 1000, 700, 200), DiskSpace(capacity=500 * 4096, free=200 * 4096))
        # Nothing is kept back.
        self.assertEqual(space_of(512, 1000, 700, 700), DiskSpace(capacity=1000 * 512, free=700 * 512))

    def test_of_this_machine(self) -> None:
        space = disk_space(".")
        self.assertLessEqual(space.free, space.capacity)
        self.assertGreater(space.capacity, 0)

    def test_the_error_names_the_path(self) -> None:
        path = os.path.join(self.mktemp(), "absent")
        error = self.assertRaises(StorageError, disk_space, path)
        self.assertIn(path, str(error))
