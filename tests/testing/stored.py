"""The files of a store under one set of names: the real ones in SQLite, and their simulated twins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from tests.storage.folders import LocalStore
from tinykv.storage.connection import connect_reader
from tinykv.storage.errors import StorageError
from tinykv.storage.folder import Recovery
from tinykv.storage.log import Entry, HardState, read_base, read_entries, read_hard_state, read_last, read_term
from tinykv.storage.reader import Reader
from tinykv.testing.simulation.disk import Disk
from tinykv.testing.simulation.events import Events


class Files(Protocol):
    """Both files of a store."""

    def write_log(self, operations: list[tuple[Any, ...]]) -> None:
        """Commit a batch in raft.db."""

    def write_data(self, pieces: list[tuple[Any, ...]]) -> None:
        """Commit a flush in data.db."""

    def reopen(self) -> Recovery:
        """Open them anew, and find where region 1 stands."""

    def reader(self) -> Reader:
        """Read data.db."""

    def hard_state(self, region: int) -> HardState | None:
        """Read raft.db."""

    def base(self, region: int) -> tuple[int, int]:
        """Read raft.db."""

    def last(self, region: int) -> tuple[int, int]:
        """Read raft.db."""

    def term(self, region: int, index: int) -> int | None:
        """Read raft.db."""

    def entries(self, region: int, after: int) -> list[Entry]:
        """Read raft.db."""

    def close(self) -> None:
        """Leave them."""


class SqliteFiles:
    """The real ones."""

    def __init__(self, path: str) -> None:
        self._store = LocalStore(path, fsync=False)
        self._store.hurry()
        self._closed = False

    def write_log(self, operations: list[tuple[Any, ...]]) -> None:
        """Commit a batch in raft.db."""
        self._store.log_session.take([operations])

    def write_data(self, pieces: list[tuple[Any, ...]]) -> None:
        """Commit a flush in data.db."""
        self._store.data_session.take(pieces)

    def reopen(self) -> Recovery:
        """Open them anew."""
        try:
            self._store.crash()
        except StorageError:
            # What had been opened by then stays so.
            self._store.folder.close()
            self._closed = True
            raise
        self._store.hurry()
        return self._store.recovery

    def reader(self) -> Reader:
        """Read data.db."""
        return self._store.reader

    @contextmanager
    def _raft(self) -> Iterator[Any]:
        connection = connect_reader(self._store.folder.raft_path)
        try:
            yield connection
        finally:
            connection.close()

    def hard_state(self, region: int) -> HardState | None:
        """Read raft.db."""
        with self._raft() as raft:
            return read_hard_state(raft, region)

    def base(self, region: int) -> tuple[int, int]:
        """Read raft.db."""
        with self._raft() as raft:
            return read_base(raft, region)

    def last(self, region: int) -> tuple[int, int]:
        """Read raft.db."""
        with self._raft() as raft:
            return read_last(raft, region)

    def term(self, region: int, index: int) -> int | None:
        """Read raft.db."""
        with self._raft() as raft:
            return read_term(raft, region, index)

    def entries(self, region: int, after: int) -> list[Entry]:
        """Read raft.db."""
        with self._raft() as raft:
            return list(read_entries(raft, "raft.db", region, after))

    def close(self) -> None:
        """Leave them."""
        if not self._closed:
            self._store.close()


class SimulatedFiles:
    """Their twins."""

    def __init__(self) -> None:
        self._disk = Disk(Events(1), "disk")

    def write_log(self, operations: list[tuple[Any, ...]]) -> None:
        """Commit a batch in raft.db."""
        self._disk.log.commit(operations, synced=True)

    def write_data(self, pieces: list[tuple[Any, ...]]) -> None:
        """Commit a flush in data.db."""
        self._disk.data.commit(pieces, synced=True)

    def reopen(self) -> Recovery:
        """Open them anew."""
        self._disk.lost_power()
        return self._disk.open(1)

    def reader(self) -> Reader:
        """Read data.db."""
        return self._disk.reader()

    def hard_state(self, region: int) -> HardState | None:
        """Read raft.db."""
        return self._disk.log.visible.hard_state(region)

    def base(self, region: int) -> tuple[int, int]:
        """Read raft.db."""
        return self._disk.log.visible.base(region)

    def last(self, region: int) -> tuple[int, int]:
        """Read raft.db."""
        return self._disk.log.visible.last(region)

    def term(self, region: int, index: int) -> int | None:
        """Read raft.db."""
        return self._disk.log.visible.term(region, index)

    def entries(self, region: int, after: int) -> list[Entry]:
        """Read raft.db."""
        return list(self._disk.log.visible.entries(region, after))

    def close(self) -> None:
        """Do nothing."""


def everything(files: Files) -> dict[str, Any]:
    """Read all that there is, in every way that there is."""
    reader = files.reader()
    found: dict[str, Any] = {}
    for region in (1, 2):
        base = files.base(region)
        found[f"log {region}"] = (
            files.hard_state(region),
            base,
            files.last(region),
            [files.term(region, index) for index in range(20)],
            files.entries(region, base[0]),
        )
    for family in ("data", "region"):
        for start, end in ((b"", b"\xff"), (b"b", b"d"), (b"d", b"b")):
            for limit in (1, 3, 100):
                found[f"{family} {start!r} {end!r} {limit}"] = (
                    reader.rising(family)(start, end, limit),
                    reader.falling(family)(start, end, limit),
                )
            found[f"{family} {start!r} {end!r}"] = reader.size(family, start, end)
        found[f"{family} get"] = [reader.get(family, bytes([key])) for key in b"abcdef"]
    for bounds in (((0, b""), (100, b"")), ((2, b"b"), (3, b"b"))):
        found[f"expiries {bounds}"] = [reader.expiries(*bounds, limit) for limit in (1, 2, 100)]
    return found
