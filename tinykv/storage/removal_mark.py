"""
That a store was removed from its cluster, and that nobody needs it any more, in a file of its own beside the databases.

These may not say the first, where the store was only told, and never say the second. Without the file a store that was
removed asks the others at each start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tinykv.storage.small_files import read_file, replace_file

NAME: Final = "removed"


class RemovalMark:
    """The mark in a store's folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME

    @property
    def is_set(self) -> bool:
        """
        Whether it's there.

        @raise tinykv.storage.errors.StorageError: That can't be seen.
        """
        return read_file(self._path) is not None

    def set(self) -> None:
        """
        Set it, durably.

        @raise tinykv.storage.errors.StorageError: It can't be written.
        """
        replace_file(self._path, "This store was removed from its cluster, and a majority of the others knows it.\n")
