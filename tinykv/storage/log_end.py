"""
How far a file's write-ahead log was surely on disk: a note beside it, C{raft.end} or C{data.end}.

SQLite takes the first frame of a write-ahead log that isn't right for its end, as it must: a torn tail is what a loss
of power leaves. So a log that was cut off, or in which a byte was changed, looks like one that was never longer, and
acknowledged writes would be gone without a word. Therefore after each commit, when its fsync is done, the number of
frames is noted in a file, at the price of a system call; and a start that finds fewer good frames refuses.

The note itself is never fsynced: a loss of power may leave an older one, which promises less, or a torn one, which has
a wrong checksum and promises nothing; never one that promises too much. Before a write-ahead log is emptied
or begun anew the note is deleted, durably.

Layouts are those of SQLite's documented file format: the write-ahead log and its index (U{sqlite.org/walformat.html}).
"""

from __future__ import annotations

import os
import sys
from array import array
from struct import Struct
from typing import Final
from zlib import crc32

from tinykv.storage.connection import PAGE_BYTES
from tinykv.storage.errors import CorruptFile

#: frames, salts, CRC-32 of these
_NOTE: Final = Struct(">I8sI")
#: Place of the number of frames, and of the salts, in the index.
_FRAMES_AT: Final = 16
_SALTS_AT: Final = 32
_INDEX_HEAD_BYTES: Final = 48
_HEAD_BYTES: Final = 32
_FRAME_HEAD_BYTES: Final = 24
_MAGIC: Final = {b"\x37\x7f\x06\x82": "little", b"\x37\x7f\x06\x83": "big"}
_MASK: Final = 0xFFFFFFFF


def end_path(path: str) -> str:
    """
    @return: where the note about a database file is.
    """
    return path.removesuffix(".db") + ".end"


class LogEnd:
    """
    Takes the notes, in the process of the one connection that writes.

    @param path: of the database file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._index: int | None = None
        self._note: int | None = None

    def committed(self) -> None:
        """
        The last commit is on disk.

        @raise OSError: as the system says.
        """
        if self._index is None:
            # Open as long as the connection: closing it would drop the locks that SQLite has on this file.
            try:
                self._index = os.open(self._path + "-shm", os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                # A database in memory, as tests have them.
                return
        if self._note is None:
            self._note = os.open(end_path(self._path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        head = os.pread(self._index, _INDEX_HEAD_BYTES, 0)
        frames = int.from_bytes(head[_FRAMES_AT : _FRAMES_AT + 4], sys.byteorder)
        salts = head[_SALTS_AT : _SALTS_AT + 8]
        os.pwrite(self._note, _NOTE.pack(frames, salts, crc32(salts, frames)), 0)

    def forget(self) -> None:
        """
        All of the write-ahead log is in the file: the next transaction begins it anew, or it's about to be emptied.

        @raise OSError: as the system says.
        """
        if self._note is not None:
            os.close(self._note)
            self._note = None
        forget_end(self._path)

    def close(self) -> None:
        """
        To be called when the connection is closed.
        """
        for descriptor in (self._index, self._note):
            if descriptor is not None:
                os.close(descriptor)
        self._index = self._note = None


def forget_end(path: str) -> None:
    """
    Delete the note about a database file, durably, if there is one: its write-ahead log is about to be emptied.

    @raise OSError: as the system says.
    """
    name = end_path(path)
    try:
        os.unlink(name)
    except FileNotFoundError:
        return
    descriptor = os.open(os.path.dirname(name), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def verify_end(path: str) -> None:
    """
    Compare a write-ahead log with the note about it. Some 50 us a frame.

    @raise CorruptFile: it ends too early.
    """
    try:
        with open(end_path(path), "rb") as file:
            note = file.read()
    except FileNotFoundError:
        return
    if len(note) != _NOTE.size:
        return
    frames, salts, crc = _NOTE.unpack(note)
    if crc != crc32(salts, frames):
        return
    found, found_salts = good_frames(path)
    if found_salts != salts:
        found = 0
    if found < frames:
        raise CorruptFile(
            f"{path}-wal: {frames} pages of the log were on disk here, and {found} are left: the file was cut off, or "
            "the disk gives back something else. It was left as it is; keep a copy, and start this store with an "
            "empty folder under a new id"
        )


def good_frames(path: str) -> tuple[int, bytes]:
    """
    @return: how many frames of a database's write-ahead log have the checksums that they must have, one after another,
        and the log's salts; (0, b"") if its head is not right.
    """
    try:
        file = open(path + "-wal", "rb")
    except FileNotFoundError:
        return 0, b""
    with file:
        head = file.read(_HEAD_BYTES)
        order = _MAGIC.get(head[:4])
        if order is None or len(head) < _HEAD_BYTES:
            return 0, b""
        sums = _checksum(head[:24], order, (0, 0))
        if _pack(sums) != head[24:]:
            return 0, b""
        salts = head[16:24]
        count = 0
        while len(frame := file.read(_FRAME_HEAD_BYTES + PAGE_BYTES)) == _FRAME_HEAD_BYTES + PAGE_BYTES:
            sums = _checksum(frame[:8] + frame[_FRAME_HEAD_BYTES:], order, sums)
            if frame[8:16] != salts or frame[16:24] != _pack(sums):
                break
            count += 1
        return count, salts


def _pack(sums: tuple[int, int]) -> bytes:
    return sums[0].to_bytes(4, "big") + sums[1].to_bytes(4, "big")


def _checksum(data: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    """
    Go on with SQLite's running checksum over some more bytes.
    """
    words = array("I", data)
    if order != sys.byteorder:
        words.byteswap()
    first, second = sums
    numbers = iter(words)
    for word in numbers:
        first = (first + word + second) & _MASK
        second = (second + next(numbers) + first) & _MASK
    return first, second
