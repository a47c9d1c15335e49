"""
Sets.

@see: L{tinykv.redis.keyed_value} for how they're kept.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Iterable, Iterator

from tinykv.redis.keyed_value import KeyedValue
from tinykv.redis.numbers import parse_int64
from tinykv.redis.value import SET


class Set(KeyedValue):
    """A set. C{packed} says whether Redis would still keep it as an intset."""

    __slots__ = ()

    TYPE = SET
    NAME = b"set"
    PAIRED = False

    def encoding(self) -> bytes:
        """Give what OBJECT ENCODING says."""
        return b"intset" if self.packed else b"hashtable"

    def __contains__(self, member: bytes) -> bool:
        """Say if a member is there."""
        return self.get(member) is not None

    contains = __contains__

    def members(self) -> Iterator[bytes]:
        """Give all members in row order."""
        if self._tree is None:
            return iter(self._small)
        return (name[4:] for name in self._tree.keys())

    __iter__ = members

    def listed(self) -> list[bytes]:
        """Give all members in the order in which a client sees them: row order, but an intset ascends."""
        members = list(self.members())
        if self.packed:
            members.sort(key=int)
        return members

    def at(self, rank: int) -> bytes:
        """Give the member with this rank in row order."""
        return self.pair_at(rank)[0]

    def scan(self, position: int, count: int) -> tuple[int, list[bytes]]:
        """
        Give about C{count} members from a position on.

        @return: (the next position, or 0 at the end; the members).
        """
        position, found = self.scan_pairs(position, count)
        return position, [member for member, _ in found]

    def add(self, member: bytes) -> bool:
        """Add a member; say if it's new. Nothing changes if it isn't."""
        tree = self._tree
        if tree is not None:
            # The tree itself registers this object before it changes; what's left is the version.
            if tree.put(crc32(member).to_bytes(4, "big") + member) is not None:
                return False
            self.touch()
        else:
            if member in self._small:
                return False
            self.touch()
            self._put_small(member, b"")
        if self.packed and not self._fits(member, len(self)):
            self._set_flag(False)
        return True

    def build(self, places: Iterable[bytes]) -> None:
        """
        Take in members, by their L{tinykv.redis.keyed_value.place}s in ascending order.

        This one is new and empty.
        """
        self.fill(self._reviewed(places))

    def _reviewed(self, places: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Pass on places as C{fill} wants them, and leave the compact encoding when Redis would."""
        for count, name in enumerate(places, 1):
            if self.packed and not self._fits(name[4:], count):
                self._set_flag(False)
            yield name, b""

    def _fits(self, member: bytes, count: int) -> bool:
        """Say if a set that got this member and now has C{count} may be an intset."""
        return count <= self.db.keyspace.settings.intset_entries and parse_int64(member) is not None
