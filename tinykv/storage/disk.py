"""
How large the file system of a store is, and how much room is left on it for this process.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from tinykv.storage.errors import from_os


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """
    The room of a file system, in bytes.

    @ivar capacity: What this process could ever fill of it, together with what's there already. What the system keeps
        back for its administrator, or beyond a quota, isn't part of it: else a disk could look full from the first.
    @ivar free: What this process may still fill.
    """

    capacity: int
    free: int


def disk_space(path: str) -> DiskSpace:
    """
    Look at the file system of a file or folder.

    @raise tinykv.storage.errors.StorageError: The system doesn't say.
    """
    try:
        status = os.statvfs(path)
    except OSError as error:
        raise from_os(error, path) from error
    return space_of(status.f_frsize, status.f_blocks, status.f_bfree, status.f_bavail)


def space_of(block: int, blocks: int, unused: int, available: int) -> DiskSpace:
    """
    Make sense of what C{statvfs} says.

    @param block: The size of a block, in bytes.
    @param unused: The blocks that hold nothing.
    @param available: Those of them that this process may use.
    """
    return DiskSpace(capacity=(blocks - unused + available) * block, free=available * block)
