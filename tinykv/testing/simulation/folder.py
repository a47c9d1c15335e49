"""
What of a simulated machine's disk are real files: its snapshots, and data.db while one is copied or installed.

The rows of a machine are in dicts (L{tinykv.testing.simulation.files}). To make or install a snapshot they're written
into a database of their own, at which the real code works: L{tinykv.storage.snapshot_copy} makes the file, the real
session of the data writer installs it, and what each of its steps has changed is a transaction of the simulated file.
So a crash may come between any two of them, or in the midst of one, as of any other.

The folder of snapshots is the real one as well; what wasn't synced there a loss of power may take or spoil.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EIO, ENOSPC
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from zope.interface import implementer

from tinykv.interfaces import ISnapshotFiles, ISnapshotSink
from tinykv.peering.snapshot_files import SnapshotFile, SnapshotFolder
from tinykv.region.snapshot import MARKS
from tinykv.storage.connection import connect_writer
from tinykv.storage.data import COMMIT, EXPIRIES, ROWS, DataStore
from tinykv.storage.errors import DiskFull, StorageError
from tinykv.storage.schema import Kind, open_file
from tinykv.storage.sessions import DataSession
from tinykv.storage.snapshot_folder import ARRIVING, make_snapshots_folder, tidy_snapshots
from tinykv.storage.snapshot_install import marks, recover_installs
from tinykv.storage.tables import FAMILIES
from tinykv.testing.simulation.files import DataRows, Transaction


class Closed(Protocol):
    """A file that is open."""

    def close(self) -> None:
        """Let go of it."""
        ...


@cache
def _template() -> bytes:
    """Give an empty data.db: to make its tables takes longer than all that's done with them."""
    with TemporaryDirectory(prefix="tinykv-simulation-") as folder:
        path = os.path.join(folder, "data.db")
        open_file(path, Kind.DATA).close()
        return Path(path).read_bytes()


class RealFolder:
    """
    The real files of one machine.

    @ivar path: Where they are.
    @ivar finished: How many snapshots, half installed, were installed at a start.
    @ivar open_files: What the store has open there: a process that ends lets go of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.finished = 0
        self.open_files: dict[Closed, None] = {}
        #: The file that was deleted with the last step of an installation, as long as that may not be on disk: its
        #: name and contents.
        self._installed: tuple[str, bytes] | None = None
        path.mkdir()
        make_snapshots_folder(str(path))

    @property
    def snapshots(self) -> Path:
        """Give the folder of snapshots."""
        return self.path / "snapshots"

    def database(self, name: str, rows: DataRows) -> DataStore:
        """Write rows into a database; whoever gets it closes it with L{forget}."""
        path = str(self.path / name)
        self.forget(path)
        with open(path, "wb") as file:
            file.write(_template())
        connection = connect_writer(path)
        connection.execute("PRAGMA synchronous = OFF")
        store = DataStore(connection, path)
        with store.transaction():
            for family in FAMILIES:
                known = rows.everything(family)
                store.upsert(family, [key for key, _ in known], [value for _, value in known])
            store.note([(at, key, True) for at, key in rows.all_expiries()])
        return store

    @staticmethod
    def forget(path: str) -> None:
        """Delete a database, with what SQLite and what watches over it keep beside it."""
        for beside in Path(path).parent.glob(Path(path).stem + ".*"):
            beside.unlink()

    # The life of a store

    def settle(self, rows: DataRows) -> Transaction | None:
        """
        At a start: finish what was being installed, as L{tinykv.storage.folder.open_folder} does; and tidy up.

        @return: What that changes.
        @raise StorageError: It can't be done.
        """
        installed, self._installed = self._installed, None
        changed = self._finish(rows, installed) if rows.first("region", *MARKS, 1) else None
        tidy_snapshots(str(self.path))
        return changed

    def _finish(self, rows: DataRows, installed: tuple[str, bytes] | None) -> Transaction:
        store = self.database("data.db", rows)
        try:
            for _, mark in marks(store.connection, store.path):
                if installed is not None and installed[0] == mark.name and not (self.path / mark.name).exists():
                    # It's deleted behind the last transaction, and that isn't on disk.
                    (self.path / mark.name).write_bytes(installed[1])
            self.finished += len(recover_installs(store))
            return difference(rows, store)
        finally:
            store.connection.close()
            self.forget(store.path)

    def deleted(self, path: str, contents: bytes) -> None:
        """Learn that a file was deleted, behind a transaction that is yet to be committed."""
        self._installed = (os.path.relpath(path, self.path), contents)

    def ended(self) -> None:
        """The store's process has ended."""
        for file in list(self.open_files):
            file.close()
        self.open_files.clear()

    def lost_power(self, random: Random) -> None:
        """The machine has stopped: of what arrives some is lost, or something else."""
        for path in sorted(self.snapshots.glob(f"*{ARRIVING}")):
            data = path.read_bytes()
            kept = random.randint(0, len(data))
            torn = random.randint(0, min(kept, 512)) if random.random() < 0.3 else 0
            path.write_bytes(data[: kept - torn] + random.randbytes(torn))


def difference(before: DataRows, store: DataStore) -> Transaction:
    """Give what has to be done to rows to have those of a database."""
    found: Transaction = []
    read = store.connection.execute
    for family in FAMILIES:
        after = dict(read(f'SELECT key, value FROM "{family}"').fetchall())
        known = dict(before.everything(family))
        rows = {key: None for key in known if key not in after}
        rows |= {key: value for key, value in sorted(after.items()) if known.get(key) != value}
        if rows:
            found.append((ROWS, family, list(rows), list(rows.values())))
    noted, known_expiries = set(read("SELECT at, key FROM expiries").fetchall()), set(before.all_expiries())
    expiries = [(*entry, None) for entry in sorted(known_expiries - noted)]
    expiries += [(*entry, True) for entry in sorted(noted - known_expiries)]
    if expiries:
        found.append((EXPIRIES, expiries))
    found.append((COMMIT,))
    return found


class Installing:
    """
    A snapshot on its way into the simulated data.db, step by step.

    @ivar over: Whether there's no step left.
    """

    def __init__(self, folder: RealFolder, message: tuple[Any, ...]) -> None:
        """
        @param message: What the data writer's process was told.
        """
        self.over = False
        self._folder = folder
        self._messages = [message]
        self._path = message[2]
        self._contents = Path(self._path).read_bytes() if os.path.exists(self._path) else b""
        self._store: DataStore | None = None
        self._session: DataSession | None = None

    def step(self, rows: DataRows, flush: Transaction) -> tuple[Transaction, list[tuple[Any, ...]]]:
        """
        Do a step.

        @param rows: What the simulated file holds.
        @param flush: The pieces of a flush, if one goes along.
        @return: What it changes, and what the store is told when that is on disk.
        """
        if self._session is None:
            self._store = self._folder.database("data.db", rows)
            self._session = DataSession(self._store)
        assert self._store is not None
        messages, self._messages = self._messages, []
        replies = self._session.take([*messages, *flush])
        changed = difference(rows, self._store)
        if not self._session.busy:
            self._folder.deleted(self._path, self._contents)
            self.close()
        return changed, replies

    def close(self) -> None:
        """Do no more."""
        self.over = True
        if self._store is not None:
            self._store.connection.close()
            self._folder.forget(self._store.path)
            self._store = None


# Files that are sent, and that arrive


class Trouble(Protocol):
    """What it has to know of the disk; see L{tinykv.testing.simulation.disk.Disk}."""

    def trouble(self) -> StorageError | None:
        """Say why a write fails now, if it does."""
        ...


@contextmanager
def _troubled(disk: Trouble) -> Iterator[None]:
    """Fail as the system would."""
    problem = disk.trouble()
    if problem is not None:
        raise OSError(ENOSPC if isinstance(problem, DiskFull) else EIO, str(problem))
    yield


class _File(SnapshotFile):
    """A file that is sent."""

    def __init__(self, path: str, opened: dict[Closed, None]) -> None:
        super().__init__(path)
        self._opened = opened
        opened[self] = None

    def close(self) -> None:
        """Let go of it."""
        if self._opened.pop(self, self) is None:
            super().close()


@implementer(ISnapshotSink)
class _Sink:
    """A file that arrives, on a disk that may be full or fail."""

    def __init__(self, real: Any, disk: Trouble, opened: dict[Closed, None]) -> None:
        self._real = real
        self._disk = disk
        self._opened = opened
        opened[self] = None

    @property
    def kept(self) -> int:
        """How many bytes there are."""
        kept: int = self._real.kept
        return kept

    def read(self, offset: int, size: int) -> bytes:
        """Read a piece of what there is."""
        data: bytes = self._real.read(offset, size)
        return data

    def write(self, data: bytes) -> None:
        """Append a piece."""
        with _troubled(self._disk):
            self._real.write(data)

    def finish(self) -> Deferred[str]:
        """Make it durable under its lasting name."""

        def over(result: Any) -> Any:
            self._opened.pop(self, None)
            return result

        finishing: Deferred[str] = self._real.finish()
        return finishing.addBoth(over)

    def discard(self) -> None:
        """Delete it."""
        self._opened.pop(self, None)
        self._real.discard()

    def close(self) -> None:
        """Let go of it."""
        if self._opened.pop(self, self) is None:
            self._real.close()


@implementer(ISnapshotFiles)
class SimulatedSnapshotFolder(SnapshotFolder):
    """The folder where a machine's snapshots arrive."""

    def __init__(self, folder: RealFolder, disk: Trouble, run: Callable[[Callable[[], str]], Deferred[str]]) -> None:
        """
        @param run: Runs what waits for the disk, when that has answered.
        """
        super().__init__(folder.snapshots, run)
        self._disk = disk
        self._opened = folder.open_files

    def open(self, path: str) -> SnapshotFile:
        """Open a file to send."""
        return _File(path, self._opened)

    def sink(self, store_id: int, region_id: int, digest: str, size: int) -> Any:
        """Open a file to receive into."""
        with _troubled(self._disk):
            return _Sink(super().sink(store_id, region_id, digest, size), self._disk, self._opened)
