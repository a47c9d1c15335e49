"""
Where other stores said they were, in a file of its own beside the databases.

Every store is configured with an address for each of the others, which goes out of date when one moves. The one that
moved tells those that it reaches; were that forgotten at their next start, two that have moved couldn't find each other
any more. What a store said counts for as long as the configuration says what it said then: who changes that knows
better.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from twisted.logger import Logger

from tinykv.storage.errors import CorruptFile, StorageError
from tinykv.storage.small_files import read_file, replace_file

NAME: Final = "addresses.json"


class KnownAddresses:
    """The addresses that this store keeps."""

    log = Logger()

    def __init__(self, folder: Path, configured: Mapping[int, str]) -> None:
        """
        @param configured: What the configuration says, by store.
        @raise tinykv.storage.errors.StorageError: The file can't be read, or holds something else.
        """
        self._path = folder / NAME
        self._configured = dict(configured)
        #: By store, what it said and what was configured then; empty if nothing was.
        self._told: dict[int, tuple[str, str]] = {}
        data = read_file(self._path)
        if data is None:
            return
        try:
            self._told = _read(data)
        except ValueError as error:
            raise CorruptFile(
                f"{self._path}: this isn't the list of the other stores' addresses. Delete it, and see that "
                "initial_stores says where they are"
            ) from error

    @property
    def addresses(self) -> dict[int, str]:
        """Where each store is, as far as that is known at a start."""
        configured = self._configured
        told = {store: said for store, (said, then) in self._told.items() if configured.get(store, "") == then}
        return {**configured, **told}

    def keep(self, store_id: int, address: str | None) -> None:
        """
        Keep what a store says, or forget it for good. Where that can't be written, it's logged: it's only missed when
        stores have moved, and is told again.
        """
        told = dict(self._told)
        if address is None:
            told.pop(store_id, None)
        else:
            told[store_id] = (address, self._configured.get(store_id, ""))
        if told == self._told:
            return
        self._told = told
        try:
            replace_file(self._path, json.dumps({str(store): told[store] for store in sorted(told)}, indent=1))
        except StorageError as problem:
            self.log.error(
                "where store {store} is now can't be kept: {problem}", store=store_id, problem=str(problem)
            )


def _read(data: bytes) -> dict[int, tuple[str, str]]:
    """
    Read the file.

    @raise ValueError: It holds something else.
    """
    known = json.loads(data)
    if not isinstance(known, dict):
        raise ValueError("no addresses by store id")
    told: dict[int, tuple[str, str]] = {}
    for store, pair in known.items():
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(address, str) for address in pair):
            raise ValueError("no pair of addresses")
        told[int(store)] = (pair[0], pair[1])
    return told
