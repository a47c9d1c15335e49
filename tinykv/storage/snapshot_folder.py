"""
Where the snapshots of a store lie: the folder C{snapshots} in its data folder.

    REGION-INDEX-TERM.snap    one that was made here, whole
    REGION-NUMBER.new         one that is being made
    *.part                    one that arrives, and goes on arriving after a restart
    others                    ones that have arrived, on their way into data.db

What was being sent, or made, when a store ended isn't asked for any more when it starts again.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Final

from tinykv.storage.disk import disk_space
from tinykv.storage.errors import DiskFull
from tinykv.storage.schema import errors_of, fsync_folder

#: The end of the name of a snapshot that was made here.
MADE: Final = ".snap"
#: The end of the name of one that isn't whole, and never will be if its maker is gone.
UNFINISHED: Final = ".new"
#: The end of the name of one that arrives.
ARRIVING: Final = ".part"


def snapshots_path(data_folder: str) -> str:
    """Give the folder of a data folder's snapshots, which may not exist yet."""
    return os.path.join(data_folder, "snapshots")


def made_name(region: int, index: int, term: int) -> str:
    """Give the name of a snapshot that was made here."""
    return f"{region}-{index}-{term}{MADE}"


def make_snapshots_folder(data_folder: str) -> str:
    """
    Make the folder, durably, if it doesn't exist.

    @return: its path.
    @raise StorageError: It can't be made.
    """
    path = snapshots_path(data_folder)
    with errors_of(path):
        if not os.path.isdir(path):
            os.mkdir(path, 0o700)
            fsync_folder(data_folder)
    return path


def tidy_snapshots(data_folder: str, wanted: Collection[str] = ()) -> None:
    """
    Delete what an earlier run of the store has left, but for snapshots that are arriving.

    @param wanted: paths of files that are still to be installed.
    @raise StorageError: It can't be deleted.
    """
    path = snapshots_path(data_folder)
    with errors_of(path):
        if not os.path.isdir(path):
            return
        for name in os.listdir(path):
            file = os.path.join(path, name)
            if not name.endswith(ARRIVING) and file not in wanted:
                os.unlink(file)


def forget_made(data_folder: str, region: int, *, but: str = "") -> None:
    """
    Delete the snapshots of a region that were made here. Who reads one reads on.

    @param but: the name of one that stays.
    @raise StorageError: It can't be deleted.
    """
    path = snapshots_path(data_folder)
    with errors_of(path):
        for name in os.listdir(path):
            if name.startswith(f"{region}-") and name.endswith(MADE) and name != but:
                os.unlink(os.path.join(path, name))


def want_room(path: str, needed: int, reusable: int = 0) -> None:
    """
    Refuse early what would fill the disk.

    @param path: a file or folder there.
    @param needed: bytes.
    @param reusable: bytes that are free within a file, for what is to be written there.
    @raise DiskFull: There's less room than that.
    """
    free = disk_space(path).free + reusable
    if free < needed:
        raise DiskFull(
            f"{path}: a snapshot needs {needed} bytes here, and {free} are free. Free some space on this file system"
        )
