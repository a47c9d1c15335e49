"""
Small files beside the databases, written whole: after a crash there's the old one or the new one.
"""

from __future__ import annotations

import os
from pathlib import Path

from tinykv.storage.errors import from_os
from tinykv.storage.schema import fsync_folder


def read_file(path: Path) -> bytes | None:
    """
    Read a file; None if there is none.

    @raise tinykv.storage.errors.StorageError: It can't be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise from_os(error, str(path)) from error


def replace_file(path: Path, text: str) -> None:
    """
    Write a file durably: under another name, synced, renamed, and the folder synced.

    @raise tinykv.storage.errors.StorageError: It can't be written.
    """
    temporary = path.with_name(path.name + ".new")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        fsync_folder(str(path.parent))
    except OSError as error:
        raise from_os(error, str(path)) from error
