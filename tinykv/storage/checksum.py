"""
Checksums of what lies in the two files.

SQLite protects the frames of its write-ahead log with checksums, but not the pages of its files: a byte that a disk
gives back wrongly may be taken for data. So each row and each log entry has a CRC-32 of its own in a column beside it,
made by the writers' processes and compared at every read (some 0.2 us, where a read of a row costs 5).
"""

from __future__ import annotations

from struct import Struct, error
from typing import Final
from zlib import crc32

#: Equal to no checksum: what a damaged file gives may not even be of the right type.
NONE: Final = -1

_THREE: Final = Struct(">QQQ")
_NUMBER: Final = Struct(">Q")


def row_checksum(key: bytes, value: bytes) -> int:
    """
    @return: the checksum of a row of data.db.
    """
    try:
        return crc32(value, crc32(key))
    except TypeError:
        return NONE


def row_checksums(keys: list[bytes], values: list[bytes]) -> list[int]:
    """
    @return: the checksums of many rows of data.db that are to be written.
    """
    return list(map(crc32, values, map(crc32, keys)))


def entry_checksum(region: int, index: int, term: int, data: bytes) -> int:
    """
    @return: the checksum of a log entry.
    """
    try:
        return crc32(data, crc32(_THREE.pack(region, index, term)))
    except (TypeError, error):
        return NONE


def numbers_checksum(*numbers: int) -> int:
    """
    @return: the checksum of a row of raft.db that holds nothing but numbers.
    """
    try:
        return crc32(b"".join(map(_NUMBER.pack, numbers)))
    except error:
        return NONE
