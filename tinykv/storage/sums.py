"""
Checksums of the pages of data.db, in a file beside it: what a disk gives back wrongly is found at the next start.

A row's own checksum (L{tinykv.storage.checksum}) tells when a value is not what was written; it can't tell when a row
isn't found any more, because a byte of its key or of the tree above it is wrong. The pages' checksums can. SQLite
changes the file itself only in a checkpoint, which brings the pages that are in the write-ahead log into it; so

    - before a checkpoint, C{data.sum} gets the checksums of the pages that are in the write-ahead log;
    - a start compares all pages with it, but those that are in the write-ahead log, whose copies in the file may be
      old, new or torn. They have checksums there, and the start brings them into the file.

The file is replaced as a whole, durably: C{TkVsum1\\0}, then for each page its CRC-32 (4 bytes, big-endian), then the
CRC-32 of all that. If it's missing, nothing is compared, and it's made anew.
"""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Iterator
from struct import Struct
from typing import Final
from zlib import crc32

from tinykv.storage.connection import PAGE_BYTES
from tinykv.storage.errors import CorruptFile

_MAGIC: Final = b"TkVsum1\0"
_WAL_HEAD_BYTES: Final = 32
#: page, size of the database in pages after a commit (0: this frame is none), salts
_FRAME: Final = Struct(">IIII")
_FRAME_HEAD_BYTES: Final = 24
#: Bytes read at once.
_READ_BYTES: Final = 256 * PAGE_BYTES
#: The page that holds the byte at 1 GiB, on which SQLite sets its locks. It's left out of every database: never
#: written, so never in the write-ahead log. See "The Lock-Byte Page" in U{https://www.sqlite.org/fileformat.html}.
_LOCK_PAGE: Final = 2**30 // PAGE_BYTES + 1

_DAMAGED: Final = (
    "{}: page {} isn't what was written there, its checksum says; the disk gives back something else, or another "
    "program has changed the file. It was left as it is; keep a copy, and start this store with an empty folder under "
    "a new id"
)


def sums_path(path: str) -> str:
    """
    @return: where the checksums of a database file are.
    """
    return path.removesuffix(".db") + ".sum"


def frames(path: str, skip: int = 0) -> Iterator[tuple[int, int, bytes]]:
    """
    Yield the frames of a database's write-ahead log that are of its current generation: (page, size of the database in
    pages if the frame ends a transaction, contents of the page). Behind a crash the last of them may be torn.

    @param skip: so many of the first ones are left out.
    """
    try:
        file = open(path + "-wal", "rb")
    except FileNotFoundError:
        return
    with file:
        head = file.read(_WAL_HEAD_BYTES)
        salts = head[16:24]
        file.seek(skip * (_FRAME_HEAD_BYTES + PAGE_BYTES), os.SEEK_CUR)
        while len(frame := file.read(_FRAME_HEAD_BYTES + PAGE_BYTES)) == _FRAME_HEAD_BYTES + PAGE_BYTES:
            if frame[8:16] != salts:
                return
            page, size, _, _ = _FRAME.unpack_from(frame)
            yield page, size, frame[_FRAME_HEAD_BYTES:]


def _generation(path: str) -> bytes:
    """
    @return: what tells a write-ahead log from those that were in its place before: its salts.
    """
    try:
        with open(path + "-wal", "rb") as file:
            return file.read(_WAL_HEAD_BYTES)[16:24]
    except FileNotFoundError:
        return b""


class PageSums:
    """
    The checksums of a database file's pages.

    @param path: of the database file.
    """

    def __init__(self, path: str, sums: array[int]) -> None:
        self._path = path
        self._sums = sums
        #: Of which write-ahead log how many frames were taken over. While somebody reads it for long, as the maker of a
        #: snapshot does, it isn't begun anew, and reading all of it before each checkpoint would take ever longer.
        self._taken = (b"", 0)

    @classmethod
    def load(cls, path: str) -> PageSums | None:
        """
        @return: what the file of checksums holds; C{None} if there is none.
        @raise CorruptFile: it's damaged itself.
        """
        name = sums_path(path)
        try:
            with open(name, "rb") as file:
                content = file.read()
        except FileNotFoundError:
            return None
        body = content[len(_MAGIC) : -4]
        if content[: len(_MAGIC)] != _MAGIC or len(body) % 4 or crc32(content[:-4]).to_bytes(4, "big") != content[-4:]:
            raise CorruptFile(
                f"{name}: the checksums of {os.path.basename(path)} are damaged themselves. Nothing was changed; if "
                "`tinykv check` finds no other problem, delete this file: the next start makes it anew"
            )
        sums = array("I", body)
        if sys.byteorder == "little":
            sums.byteswap()
        return cls(path, sums)

    @classmethod
    def of_file(cls, path: str) -> PageSums:
        """
        @return: the checksums of the pages as they are. While no connection in this process has the file open.
        """
        found = cls(path, array("I"))
        found._sums.extend(crc for _, crc in _pages(path))
        return found

    def refresh(self, pages: set[int]) -> None:
        """
        Take over pages from the file, and those by which it has grown. While no connection in this process has it open.
        """
        with open(self._path, "rb") as file:
            known = len(self._sums)
            size = file.seek(0, os.SEEK_END) // PAGE_BYTES
            self._sums.extend([0] * (size - known))
            for page in sorted({page for page in pages if page <= size} | set(range(known + 1, size + 1))):
                file.seek((page - 1) * PAGE_BYTES)
                self._sums[page - 1] = crc32(file.read(PAGE_BYTES))

    def verify(self, but: set[int]) -> None:
        """
        Compare the file with the checksums. While no connection in this process has it open.

        @param but: pages, the first being 1, that may differ.
        @raise CorruptFile: another one does.
        """
        sums = self._sums
        known = len(sums)
        page = 0
        for page, crc in _pages(self._path):
            if (page > known or sums[page - 1] != crc) and page not in but and page != _LOCK_PAGE:
                raise CorruptFile(_DAMAGED.format(self._path, page))
        for missing in range(page + 1, known + 1):
            if missing not in but:
                raise CorruptFile(_DAMAGED.format(self._path, missing))

    def prepare(self) -> None:
        """
        Take over the pages of the write-ahead log, and save that: now they may be brought into the file. Between two
        transactions of the only connection that writes.
        """
        found: dict[int, int] = {}
        committed: dict[int, int] = {}
        pages = len(self._sums)
        generation = _generation(self._path)
        taken = self._taken[1] if self._taken[0] == generation else 0
        for number, (page, size, content) in enumerate(frames(self._path, taken), taken + 1):
            found[page] = crc32(content)
            if size:
                committed.update(found)
                found.clear()
                pages = size
                taken = number
        if not committed:
            return
        sums = self._sums
        sums.extend([0] * (pages - len(sums)))
        for page, crc in committed.items():
            sums[page - 1] = crc
        self.save()
        self._taken = (generation, taken)

    def save(self) -> None:
        """
        Write the file of checksums, durably, in one step.

        @raise OSError: as the system says.
        """
        sums = self._sums
        if sys.byteorder == "little":
            sums = array("I", sums)
            sums.byteswap()
        content = _MAGIC + sums.tobytes()
        name = sums_path(self._path)
        with open(name + ".new", "wb") as file:
            file.write(content)
            file.write(crc32(content).to_bytes(4, "big"))
            file.flush()
            os.fsync(file.fileno())
        os.replace(name + ".new", name)
        _sync_folder(name)


def forget_sums(path: str) -> None:
    """
    Delete the file of checksums, durably: the pages are about to change in a way that it doesn't follow.

    @raise OSError: as the system says.
    """
    name = sums_path(path)
    if os.path.exists(name):
        os.unlink(name)
        _sync_folder(name)


def _pages(path: str) -> Iterator[tuple[int, int]]:
    """
    Yield the number and the checksum of each page.
    """
    page = 0
    with open(path, "rb") as file:
        while block := file.read(_READ_BYTES):
            view = memoryview(block)
            for start in range(0, len(block), PAGE_BYTES):
                page += 1
                yield page, crc32(view[start : start + PAGE_BYTES])


def _sync_folder(name: str) -> None:
    descriptor = os.open(os.path.dirname(name), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
