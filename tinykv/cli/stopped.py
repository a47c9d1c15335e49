"""
A stopped store's folder, opened so that nothing in it can change.

What is looked at is as of the last flush; the tail of the log that isn't in the rows yet can be replayed on top of it
in memory, as a start would do on disk.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tinykv.region.descriptor import Descriptor, descriptor_key
from tinykv.region.state import FIRST_INDEX, FIRST_TERM, apply_key
from tinykv.storage.errors import CorruptFile, FolderInUse, WrongFolder
from tinykv.storage.folder import Recovery
from tinykv.storage.log import Entry, read_base, read_entries, read_hard_state, read_last, read_promised, read_term
from tinykv.storage.reader import Reader
from tinykv.storage.schema import Identity, Kind, connect_to_look, errors_of, inspect
from tinykv.storage.snapshot_install import half_installed

#: Regions of a store that are looked at, at most.
_REGIONS_MOST: Final = 1_000_000


class HeldFolder:
    """
    Keeps any store from starting on a folder while it is looked at; a context manager.

    The lock file is only opened, never made: where it's missing (in a copy, say) no store has ever run.

    @raise FolderInUse: A store is running on it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None
        name = path / "LOCK"
        try:
            lock = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            os.close(lock)
            text = f"{path}: a store is running on this folder; stop it first, or look at a copy"
            raise FolderInUse(text) from problem
        self._lock = lock

    def close(self) -> None:
        """Let go of the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> HeldFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def hold(path: Path) -> HeldFolder:
    """
    Hold the folder of a stopped store.

    @raise WrongFolder: There are no files of a store; the text says where there are some, if that's near.
    @raise FolderInUse: It isn't stopped.
    """
    if not path.is_dir():
        raise WrongFolder(f"{path}: there is no such folder")
    if not any((path / kind.value).exists() for kind in Kind):
        near = sorted(place.parent for place in path.glob(f"*/{Kind.DATA.value}"))
        hint = f"; did you mean {near[0]}?" if near else ""
        raise WrongFolder(f"{path}: no store has its files here{hint}")
    return HeldFolder(path)


class StoppedStore:
    """
    Both files of a held folder, for reading; a context manager. It offers what L{tinykv.tap.store.recover} asks of a
    folder.

    @ivar identity: Whose folder it is.
    @ivar raft: The connection to raft.db; C{data} is that to data.db.
    """

    def __init__(self, held: HeldFolder) -> None:
        """
        @raise tinykv.storage.errors.StorageError: They can't be read.
        """
        self.raft_path = str(held.path / Kind.RAFT.value)
        self.data_path = str(held.path / Kind.DATA.value)
        identities = [_identity(self.raft_path, Kind.RAFT), _identity(self.data_path, Kind.DATA)]
        if identities[0].folder_id != identities[1].folder_id:
            raise WrongFolder(f"{held.path}: raft.db and data.db come from different folders")
        self.identity = identities[0]
        with errors_of(self.raft_path):
            self.raft = connect_to_look(self.raft_path)
        with errors_of(self.data_path):
            self.data = connect_to_look(self.data_path)
        for problem in half_installed(self.data, self.data_path).values():
            self.close()
            raise CorruptFile(problem)

    def reader(self) -> Reader:
        """Give the rows as of the last flush."""
        return Reader(self.data_path, self.data)

    def descriptors(self) -> list[Descriptor]:
        """
        Give the regions that there are rows of, by id.

        @raise tinykv.errors.Damaged: One isn't what was written.
        """
        prefix = descriptor_key(0)[:-8]
        rows = self.reader().rising("region")(prefix, prefix + b"\xff", _REGIONS_MOST)
        return [Descriptor.decode(int.from_bytes(key[len(prefix) :], "big"), row) for key, row in rows]

    def last(self, region: int) -> tuple[int, int]:
        """Give index and term of the last entry of a region's log, or of its base; zeros if it has no log."""
        with errors_of(self.raft_path):
            return read_last(self.raft, region)

    @property
    def regions(self) -> int:
        """Count the regions into which its slots are cut."""
        row = self.raft.execute("SELECT value FROM meta WHERE name = 'regions'").fetchone()
        return 1 if row is None else int(row[0])

    def recover(self, region: int, row: bytes | None = None) -> Recovery:
        """
        Find where a region stands.

        @param row: Its apply state, where that isn't in data.db.
        @raise CorruptFile: The log begins after what is applied, or the apply state is damaged.
        """
        state = row
        if row is None:
            with errors_of(self.data_path):
                found = self.data.execute("SELECT value FROM region WHERE key = ?", (apply_key(region),)).fetchone()
            state = None if found is None else found[0]
        if state is not None and len(state) < 16:
            raise CorruptFile(f"{self.data_path}: the apply state of region {region} is too short")
        applied = (0, 0) if state is None else (int.from_bytes(state[:8], "big"), int.from_bytes(state[8:16], "big"))
        with errors_of(self.raft_path):
            base = read_base(self.raft, region)
            if state is None and base == (FIRST_INDEX, FIRST_TERM):
                # It was split off another region, and the next start finds that in the other's log.
                applied = base
            if base[0] > applied[0]:
                raise CorruptFile(
                    f"{self.raft_path}: the log of region {region} begins after entry {base[0]}, but the rows hold it"
                    f" only up to entry {applied[0]}"
                )
            last = read_last(self.raft, region)
            if not self._reaches(region, applied):
                base = last = applied
            hard_state = read_hard_state(self.raft, region)
        hint = hard_state.commit_hint if hard_state is not None else 0
        return Recovery(region, hard_state, base, applied, state, last, min(max(hint, applied[0]), last[0]))

    def entries(self, region: int, after: int) -> Iterator[Entry]:
        """
        Yield the entries of a region's log above C{after}.

        @raise CorruptFile: One is missing.
        """
        return read_entries(self.raft, self.raft_path, region, after)

    def promised(self) -> dict[int, int]:
        """Give behind which entry the log begins of each region whose peer has promised something, by id."""
        with errors_of(self.raft_path):
            return read_promised(self.raft)

    def _reaches(self, region: int, applied: tuple[int, int]) -> bool:
        """Say if the log has what is applied; a start would let one begin anew that hasn't."""
        return read_term(self.raft, region, applied[0]) == applied[1]

    def close(self) -> None:
        """Close both files; the folder stays held."""
        self.raft.close()
        self.data.close()

    def __enter__(self) -> StoppedStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _identity(path: str, kind: Kind) -> Identity:
    found = inspect(path, kind, newest=True)
    if found is None:
        raise WrongFolder(f"{path}: the file is missing, or its creation was never finished")
    return found


def pending(connection: sqlite3.Connection, region: int, after: int) -> int:
    """Count the entries of a region's log above C{after}."""
    row = connection.execute("SELECT COUNT(*) FROM log WHERE region = ? AND idx > ?", (region, after)).fetchone()
    return int(row[0])
