"""
Hashes: fields with values.

@see: L{tinykv.redis.keyed_value} for how they're kept.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Iterator

from tinykv.redis.keyed_value import KeyedValue
from tinykv.redis.value import HASH


class Hash(KeyedValue):
    """A hash. C{packed} says whether Redis would still keep it as a listpack."""

    __slots__ = ()

    TYPE = HASH
    NAME = b"hash"
    PAIRED = True

    def encoding(self) -> bytes:
        """Give what OBJECT ENCODING says."""
        return b"listpack" if self.packed else b"hashtable"

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Give all (field, value) in row order."""
        return self.pairs()

    def at(self, rank: int) -> tuple[bytes, bytes]:
        """Give the (field, value) with this rank in row order."""
        return self.pair_at(rank)

    def scan(self, position: int, count: int) -> tuple[int, list[tuple[bytes, bytes]]]:
        """
        Give about C{count} elements from a position on.

        @return: (the next position, or 0 at the end; the (field, value)s).
        """
        return self.scan_pairs(position, count)

    def put(self, field: bytes, value: bytes) -> bool:
        """Set a field; say if it's new."""
        self.touch()
        tree = self._tree
        if tree is None:
            new = self._put_small(field, value)
        else:
            new = tree.put(crc32(field).to_bytes(4, "big") + field, value) is None
        if self.packed:
            settings = self.db.keyspace.settings
            longest = settings.hash_value
            if len(field) > longest or len(value) > longest or len(self) > settings.hash_entries:
                self._set_flag(False)
        return new
