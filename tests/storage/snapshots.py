"""
Stores with rows of all families, and snapshots of them, made in the test's own process.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from random import Random
from typing import Any

from tests.storage.folders import LocalStore
from tinykv.keys import region_row
from tinykv.region.state import ApplyState, apply_key
from tinykv.storage.connection import connect_reader
from tinykv.storage.snapshot_copy import SnapshotCopy
from tinykv.storage.snapshot_folder import make_snapshots_folder
from tinykv.storage.tables import FAMILIES

#: Frames of so few bytes that a small store has many.
FRAME_BYTES = 2000

#: Table -> its rows.
Image = dict[str, list[tuple[Any, ...]]]


def fill(store: LocalStore, index: int, seed: int, *, rows: int = 60) -> None:
    """Change rows of all kinds, some deleted, and flush that as of an entry."""
    random = Random(seed)
    target = store.rows
    for family in ("data", "default", "lock", "write"):
        for _ in range(rows):
            target.put(family, b"r%05d" % random.randrange(1000), random.randbytes(random.randrange(100)))
        for _ in range(rows // 10):
            target.remove(family, b"r%05d" % random.randrange(1000))
    target.put("data", b"rlarge", random.randbytes(30_000))
    target.put("data", b"rempty", b"")
    for _ in range(rows):
        target.note_expiry(random.randrange(10**13), b"r%05d" % random.randrange(1000))
    target.put("region", region_row(1, b"settings"), random.randbytes(20))
    target.put("region", region_row(1, b"databases"), random.randbytes(16))
    for _ in range(3):
        target.put("region", region_row(1, b"waiter/") + random.randbytes(8), random.randbytes(50))
    flush(store, index)


def flush(store: LocalStore, index: int) -> None:
    """Flush what has changed, as of an entry."""
    store.rows.put("region", apply_key(1), ApplyState(index, 3, 1000 + index, 5).encode())
    table = store.rows.freeze()
    assert table is not None
    store.flush(table)


def image(data_path: str) -> Image:
    """Read all tables of a data.db, checksums included."""
    connection = connect_reader(data_path)
    try:
        connection.execute("BEGIN")
        found = {name: connection.execute(f'SELECT * FROM "{name}" ORDER BY 1').fetchall() for name in FAMILIES}
        found["expiries"] = connection.execute("SELECT * FROM expiries ORDER BY 1, 2").fetchall()
        return found
    finally:
        connection.close()


def copy_of(store: LocalStore, **options: Any) -> SnapshotCopy:
    """Prepare a snapshot of region 1."""
    make_snapshots_folder(store.path)
    arguments: dict[str, Any] = {
        "start": b"",
        "end": b"\xff",
        "labels": [],
        "temporary": "1-1.new",
        "seconds_max": 1000.0,
        "room_bytes": 0,
        "frame_bytes": FRAME_BYTES,
        **options,
    }
    return SnapshotCopy(store.folder.data_path, 1, **arguments)


def make(store: LocalStore, **options: Any) -> SnapshotCopy:
    """Make a snapshot of region 1."""
    copy = copy_of(store, **options)
    for _ in copy.steps():
        pass
    return copy


def arrived(copy: SnapshotCopy, store: LocalStore) -> str:
    """Put a snapshot where one lies that came from another store."""
    path = os.path.join(make_snapshots_folder(store.path), "1-arrived")
    shutil.copy(copy.path, path)
    return path


def crashed(path: str, to: str) -> str:
    """Copy a folder as a crash of the process leaves it."""
    shutil.copytree(path, to, ignore=shutil.ignore_patterns("*-shm", "LOCK"))
    return to


def files_of(path: str) -> Iterator[str]:
    """Name the files in the folder of the snapshots."""
    folder = os.path.join(path, "snapshots")
    yield from sorted(os.listdir(folder)) if os.path.isdir(folder) else []
