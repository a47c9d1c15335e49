"""
The file of a snapshot: a head, frames of rows, an end.

    head    "TkVsnp1\\0" length(4) body crc32(4)           body: region(8), a pack of start, end and apply state, and,
                                                         if there are some, the regions that it took in (8 bytes each)
    frame   kind(1) rows(4) length(4) crc32(4) body       crc32: of what stands before it, and the body
    end     a frame of kind 0 without rows; its body is how many rows of each kind there are (8 each, kinds 1 to 6),
            then the SHA-256 of everything before this frame

A frame's body is a pack: of key, value, key, value ... or, of the index of expiries, of time(8) and key in one. The
head says what the snapshot stands for: the apply state is that of the transaction that all of it was read in (R4).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from struct import Struct
from typing import Final
from zlib import crc32

from tinykv.codec import pack_strings, unpack_strings
from tinykv.errors import Damaged
from tinykv.storage.errors import BadSnapshot, from_os

MAGIC: Final = b"TkVsnp1\0"
END: Final = 0
EXPIRIES: Final = 5
#: The kinds of frames, in the order in which they stand in a file. These numbers are on disk.
KINDS: Final = {1: "data", 2: "default", 3: "lock", 4: "write", EXPIRIES: "expiries", 6: "region"}

#: Bytes of keys and values at which a frame is closed. A single larger row has one alone.
FRAME_BYTES: Final = 1024 * 1024
#: The index and term that an apply state begins with.
_LABEL_BYTES: Final = 16
_HEAD_BYTES_MAX: Final = 1024 * 1024

_FRAME: Final = Struct(">BII")
_LENGTH: Final = Struct(">I")
_COUNTS: Final = Struct(f">{len(KINDS)}Q")
_AT: Final = Struct(">q")


@dataclass(frozen=True, slots=True)
class SnapshotHead:
    """
    What a snapshot stands for.

    @ivar region: The region's id.
    @ivar start: Where its range begins; C{end} is behind its end.
    @ivar state: The row of its apply state.
    @ivar sources: The regions that it has taken in, itself or with others; the snapshot takes their place as well.
    """

    region: int
    start: bytes
    end: bytes
    state: bytes
    sources: tuple[int, ...] = ()

    @property
    def index(self) -> int:
        """Index of the last entry that the snapshot contains."""
        return int.from_bytes(self.state[:8], "big")

    @property
    def term(self) -> int:
        """The term of that entry."""
        return int.from_bytes(self.state[8:_LABEL_BYTES], "big")

    def encode(self) -> bytes:
        """Give the head's bytes."""
        sources = b"".join(source.to_bytes(8, "big") for source in self.sources)
        strings = [self.start, self.end, self.state, *([sources] if sources else [])]
        body = self.region.to_bytes(8, "big") + pack_strings(strings)
        head = MAGIC + _LENGTH.pack(len(body)) + body
        return head + _LENGTH.pack(crc32(head))


def encode_frame(kind: int, rows: int, body: bytes) -> bytes:
    """Give the bytes of a frame before its body."""
    head = _FRAME.pack(kind, rows, len(body))
    return head + _LENGTH.pack(crc32(body, crc32(head)))


def encode_end(counts: dict[int, int], digest: bytes) -> bytes:
    """Give the body of the end."""
    return _COUNTS.pack(*(counts[kind] for kind in KINDS)) + digest


def encode_expiry(at: int, key: bytes) -> bytes:
    """Give the string that stands for an entry of the index of expiries."""
    return _AT.pack(at) + key


def decode_expiry(item: bytes) -> tuple[int, bytes]:
    """
    Read such a string.

    @raise Damaged: It's too short.
    """
    if len(item) < _AT.size:
        raise Damaged("an entry of the index of expiries is cut off")
    return _AT.unpack_from(item)[0], item[_AT.size :]


class SnapshotReader:
    """
    Reads a snapshot, and believes nothing of it that it hasn't compared with its checksums.

    @ivar head: What it stands for.
    @ivar size: Its length in bytes.
    """

    def __init__(self, path: str) -> None:
        """
        @raise BadSnapshot: It isn't there, or no snapshot.
        @raise StorageError: It can't be read.
        """
        self.path = path
        try:
            self._file = open(path, "rb")
        except FileNotFoundError as error:
            raise BadSnapshot(f"{path}: this snapshot is missing") from error
        except OSError as error:
            raise from_os(error, path) from error
        try:
            self.size = os.fstat(self._file.fileno()).st_size
            self.head = self._head()
        except BaseException:
            self._file.close()
            raise
        self._begin = self._file.tell()

    def _bad(self, what: str) -> BadSnapshot:
        return BadSnapshot(f"{self.path}: this snapshot is damaged or cut off: {what}")

    def _read(self, size: int, what: str) -> bytes:
        try:
            if size > self.size - self._file.tell():
                raise self._bad(f"it ends within {what}")
            data = self._file.read(size)
        except OSError as error:
            raise from_os(error, self.path) from error
        if len(data) != size:
            raise self._bad(f"it ends within {what}")
        return data

    def _head(self) -> SnapshotHead:
        start = self._read(len(MAGIC) + _LENGTH.size, "its head")
        if not start.startswith(MAGIC):
            raise self._bad("it doesn't begin as one, or is of a version that isn't known here")
        (length,) = _LENGTH.unpack_from(start, len(MAGIC))
        if length > _HEAD_BYTES_MAX:
            raise self._bad("its head is too long")
        body = self._read(length, "its head")
        if self._read(_LENGTH.size, "its head") != _LENGTH.pack(crc32(body, crc32(start))):
            raise self._bad("the checksum of its head differs")
        try:
            (first, last, state, *more), rest = unpack_strings(body, 8)
        except (Damaged, ValueError) as problem:
            raise self._bad("its head has another form") from problem
        sources = b"".join(more)
        if rest != length or len(state) < _LABEL_BYTES or first >= last or len(more) > 1 or len(sources) % 8:
            raise self._bad("its head has another form")
        named = tuple(int.from_bytes(sources[at : at + 8], "big") for at in range(0, len(sources), 8))
        return SnapshotHead(int.from_bytes(body[:8], "big"), first, last, state, named)

    def frames(self) -> Iterator[tuple[int, list[bytes], int]]:
        """
        Yield the frames from the first on: (kind, the strings of its pack, its length in bytes). What is yielded is as
        it was written; whether all is there is known when the iteration has come to its end.

        @raise BadSnapshot: Something is wrong.
        @raise StorageError: It can't be read.
        """
        self._file.seek(0)
        digest = sha256(self._read(self._begin, "its head"))
        counts = dict.fromkeys(KINDS, 0)
        last = END
        while True:
            head = self._read(_FRAME.size + _LENGTH.size, "the head of a frame")
            kind, rows, length = _FRAME.unpack_from(head)
            body = self._read(length, "a frame")
            if head[_FRAME.size :] != _LENGTH.pack(crc32(body, crc32(head[: _FRAME.size]))):
                raise self._bad("the checksum of a frame differs")
            if kind == END:
                break
            if kind not in KINDS or kind < last:
                raise self._bad(f"a frame of kind {kind} has no place there")
            last = kind
            digest.update(head)
            digest.update(body)
            counts[kind] += rows
            yield kind, self._strings(kind, rows, body), length
        if body != encode_end(counts, digest.digest()) or rows:
            raise self._bad("its end doesn't fit what stands before it")
        if self._file.tell() != self.size:
            raise self._bad("there's something behind its end")

    def _strings(self, kind: int, rows: int, body: bytes) -> list[bytes]:
        try:
            items, rest = unpack_strings(body)
        except Damaged as problem:
            raise self._bad(str(problem)) from problem
        if rest != len(body) or len(items) != (rows if kind == EXPIRIES else 2 * rows):
            raise self._bad("a frame hasn't as many rows as it says")
        return items

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_head(path: str) -> SnapshotHead:
    """
    Read what a snapshot stands for; nothing else of it is looked at.

    @raise BadSnapshot: It isn't there, or no snapshot.
    @raise StorageError: It can't be read.
    """
    reader = SnapshotReader(path)
    reader.close()
    return reader.head
