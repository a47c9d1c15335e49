"""
Files of snapshots in a folder: read piece by piece, and received under a temporary name until they're whole.

A file that arrives is called by its region and its SHA-256, so that what came before a connection broke, or before the
store was restarted, is found again. When it's whole it's synced, renamed, and the folder is synced. And it's synced now
and then while it arrives: whoever else waits for an fsync of that disk, as the log does, would wait for all of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from tinykv.interfaces import ISnapshotFile, ISnapshotFiles, ISnapshotSink

#: The end of the name of a file that isn't whole.
PARTIAL: Final = ".part"
#: Bytes after which what has arrived is brought to disk.
SYNC_BYTES: Final = 8 * 1024 * 1024

#: Runs a function, and gives its result.
Run = Callable[[Callable[[], str]], Deferred[str]]

_fdatasync: Final[Callable[[int], None]] = getattr(os, "fdatasync", os.fsync)


@implementer(ISnapshotFile)
class SnapshotFile:
    """A file that is sent."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._path = path
        self.size = os.fstat(self._fd).st_size

    def read(self, offset: int, size: int) -> bytes:
        """Read a piece."""
        data = os.pread(self._fd, size, offset)
        if len(data) != size:
            raise OSError(f"{self._path} ends before byte {offset + size}: it was changed while it was sent")
        return data

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)


@implementer(ISnapshotSink)
class SnapshotSink:
    """A file that arrives."""

    def __init__(self, path: Path, run: Run) -> None:
        self._run = run
        self._path = path
        self._partial = path.with_name(path.name + PARTIAL)
        self._fd = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self.kept = os.fstat(self._fd).st_size
        self._unsynced = 0
        self._syncing: Deferred[str] | None = None
        #: Why what has arrived can't be brought to disk. The system tells it once.
        self._problem: OSError | None = None

    def read(self, offset: int, size: int) -> bytes:
        """Read a piece of what there is."""
        return os.pread(self._fd, size, offset)

    def write(self, data: bytes) -> None:
        """Append a piece."""
        if self._problem is not None:
            raise self._problem
        left = memoryview(data)
        while left:
            written = os.pwrite(self._fd, left, self.kept)
            self.kept += written
            left = left[written:]
        self._unsynced += len(data)
        if self._unsynced >= SYNC_BYTES and self._syncing is None:
            self._sync()

    def _sync(self) -> None:
        """Bring what there is to disk, while more arrives."""
        self._unsynced = 0
        # One of its own: this one may be closed meanwhile, and its number be another file's.
        descriptor = os.dup(self._fd)

        def sync() -> str:
            try:
                _fdatasync(descriptor)
            finally:
                os.close(descriptor)
            return ""

        self._syncing = self._run(sync)
        self._syncing.addCallbacks(self._synced, self._not_synced)

    def _synced(self, nothing: str) -> str:
        self._syncing = None
        return nothing

    def _not_synced(self, failure: Failure) -> str:
        failure.trap(OSError)
        assert isinstance(failure.value, OSError)
        self._syncing = None
        self._problem = failure.value
        return ""

    def finish(self) -> Deferred[str]:
        """Make it durable under its lasting name."""
        if self._syncing is None:
            return self._run(self._finish)
        return self._syncing.addCallback(lambda _: self._run(self._finish))

    def _finish(self) -> str:
        try:
            if self._problem is not None:
                raise self._problem
            os.fsync(self._fd)
        finally:
            self.close()
        os.rename(self._partial, self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return str(self._path)

    def discard(self) -> None:
        """Delete it."""
        self.close()
        self._partial.unlink()

    def close(self) -> None:
        """Let go of it, and keep what there is."""
        os.close(self._fd)


@implementer(ISnapshotFiles)
class SnapshotFolder:
    """
    The folder where snapshots arrive.
    """

    def __init__(self, path: Path, run: Run) -> None:
        """
        @param path: It exists.
        @param run: Runs what waits for the disk, where nobody else has to wait for it: a thread will do.
        """
        self._path = path
        self._run = run

    def open(self, path: str) -> SnapshotFile:
        """Open a file to send."""
        return SnapshotFile(path)

    def sink(self, store_id: int, region_id: int, digest: str, size: int) -> SnapshotSink:
        """Open a file to receive into; other beginnings of this region's snapshots are deleted."""
        name = f"{region_id}-{digest}"
        for other in self._path.glob(f"{region_id}-*{PARTIAL}"):
            if other.name != name + PARTIAL:
                other.unlink()
        return SnapshotSink(self._path / name, self._run)
