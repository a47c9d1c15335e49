"""
Which data folder each other store has, in a file of its own beside the databases (R16).

It's written at the first contact with a store, once in its life, so it's made durable on the spot.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from tinykv.interfaces import IFolderIds
from tinykv.storage.errors import CorruptFile, StorageError
from tinykv.storage.small_files import read_file, replace_file

NAME: Final = "peers.json"


@implementer(IFolderIds)
class FolderIds:
    """The ids that this store remembers."""

    def __init__(self, folder: Path) -> None:
        """
        @raise tinykv.storage.errors.CorruptFile: The file holds something else.
        """
        self._path = folder / NAME
        self._known: dict[int, str] = {}
        data = read_file(self._path)
        if data is None:
            return
        try:
            self._known = _read(data)
        except ValueError as error:
            raise CorruptFile(
                f"{self._path}: this isn't the list of the other stores' folders. Put it back from a copy, or delete "
                "it if none of the other stores has lost its folder since it was written"
            ) from error

    def lookup(self, store_id: int) -> str | None:
        """Give the folder that is remembered for a store."""
        return self._known.get(store_id)

    def remember(self, store_id: int, folder_id: str) -> Deferred[None]:
        """Remember a store's folder; the first that was given stays."""
        if store_id in self._known:
            return succeed(None)
        known = {**self._known, store_id: folder_id}
        try:
            replace_file(self._path, json.dumps({str(store): known[store] for store in sorted(known)}, indent=1))
        except StorageError as problem:
            return fail(problem)
        self._known = known
        return succeed(None)


def _read(data: bytes) -> dict[int, str]:
    """
    Read the file.

    @raise ValueError: It holds something else.
    """
    known = json.loads(data)
    if not isinstance(known, dict) or not all(isinstance(folder_id, str) for folder_id in known.values()):
        raise ValueError("no folder ids by store id")
    return {int(store): folder_id for store, folder_id in known.items()}
