"""
Room kept back for the day on which the disk is full.

SQLite can't delete, cut or checkpoint without writing first, so a full disk would also stop everything that
makes room. A file of zeros holds some space; below the low mark the store refuses growing writes and gives it
up, and has that much for flushing, cutting and moving its regions away. When there is room again it takes it
back.
"""

from __future__ import annotations

import os
from typing import Final

from tinykv.storage.disk import disk_space
from tinykv.storage.errors import from_os

#: Bytes that the file holds back.
BALLAST_BYTES: Final = 64 * 1024 * 1024


class Ballast:
    """
    The file, and the question of how much room there is.

    @param path: of the file.
    @param size: bytes to hold back; 0 for none.
    @param low_bytes: with less room than this, the ballast not counted, the disk is low.
    """

    def __init__(self, path: str, size: int = BALLAST_BYTES, *, low_bytes: int = 2 * BALLAST_BYTES) -> None:
        self.path = path
        self.size = size
        self.low_bytes = low_bytes

    @property
    def held(self) -> int:
        """
        Bytes that the file holds now.
        """
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise from_os(error, self.path) from error
        # A sparse file holds nothing back, whatever its length says.
        return min(status.st_size, status.st_blocks * 512)

    @property
    def free_bytes(self) -> int:
        """
        The room that the file system has for this process, the ballast not counted.
        """
        return disk_space(os.path.dirname(self.path) or ".").free

    def is_low(self, unwritten: int, reusable: int = 0) -> bool:
        """
        Is there less room than the low mark once the changes that are still in memory are written?

        Each of their bytes is written twice, to the write-ahead log and then to the file. Without room for them a
        store that refuses growing writes would still run into the end of the disk.

        Free pages within the data file are room too, or deleting would never end the refusal: the file doesn't shrink.
        But the write-ahead logs can't use them, so a quarter of the mark has to be free beside what they will take.

        @param unwritten: bytes of such changes.
        @param reusable: bytes of free pages within the data file.
        """
        if not self.low_bytes:
            return False
        free = self.free_bytes
        return free + reusable < self.low_bytes + 2 * unwritten or free < self.low_bytes // 4 + unwritten

    def restore(self) -> bool:
        """
        Take the room, if the file doesn't hold it and the disk wouldn't be low afterwards.

        @return: whether the file now holds it.
        """
        missing = self.size - self.held
        if missing <= 0:
            return True
        if self.free_bytes - missing < self.low_bytes:
            return False
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(descriptor, 0, self.size)
                else:  # macOS
                    _fill(descriptor, self.size)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise from_os(error, self.path) from error
        return True

    def release(self) -> int:
        """
        Give the room up.

        @return: how many bytes that were.
        """
        held = self.held
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise from_os(error, self.path) from error
        return held


def _fill(descriptor: int, size: int) -> None:
    """
    Write zeros, where the system can't reserve room.
    """
    piece = bytes(1024 * 1024)
    while size > 0:
        size -= os.write(descriptor, piece[:size])
