"""
The bytes of a log entry's data.

C{format(1) apply_version(2) time(8) seed(8)}, big-endian, then records (L{tinykv.redis.operations}). The apply version
says by which rules the entry is to be applied: a store that doesn't know it stops rather than diverge. The entry that
opens a term is empty.
"""

from __future__ import annotations

from struct import Struct

from tinykv.errors import Damaged

FORMAT = 1
#: The rules by which this version applies entries; raised when any of them changes.
APPLY_VERSION = 1

_HEADER = Struct(">BHQQ")
HEADER_BYTES = _HEADER.size

#: An entry is closed when it has grown to this size; a single larger command has one alone.
ENTRY_BYTES_MAX = 8 * 1024 * 1024
#: What can't be made smaller than this isn't taken: SQLite stores no more than 10**9 bytes in a row.
COMMAND_BYTES_MAX = 10**9 - 1024


def encode_header(time: int, seed: int) -> bytes:
    """Give an entry's header; C{time} in ms since 1970, C{seed} of 64 bits."""
    return _HEADER.pack(FORMAT, APPLY_VERSION, time, seed)


def decode_header(data: bytes) -> tuple[int, int]:
    """
    Read (time, seed) from an entry; its records begin at L{HEADER_BYTES}.

    @raise Damaged: It's no entry, or one of a version that isn't known here.
    """
    if len(data) < HEADER_BYTES:
        raise Damaged("a log entry ends within its header")
    form, version, time, seed = _HEADER.unpack_from(data)
    if form != FORMAT:
        raise Damaged(f"a log entry of the unknown format {form}")
    if version != APPLY_VERSION:
        raise Damaged(
            f"a log entry asks for apply version {version}; this TinyKV knows {APPLY_VERSION}: start a newer one"
        )
    return time, seed
