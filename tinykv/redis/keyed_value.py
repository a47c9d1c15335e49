"""
Collections of unique elements: what hashes and sets have in common.

A small collection is a dict in insertion order, which is also the order of its row. Past L{SMALL_ENTRIES}
elements or L{SMALL_BYTES} bytes it becomes a tree ordered by (crc32(element), element), for good: the order
spreads the elements evenly and gives HSCAN and SSCAN a position that is a number. Whether OBJECT ENCODING
names Redis's compact form is a flag of its own that follows Redis's rules and the logged settings; where the
bytes lie doesn't depend on it.

The body of the row is a byte of flags, then either a pack of the elements (each followed by its value, if
there are values), or the generation (8 bytes, big-endian) and the root of a tree.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import ClassVar

from tinykv.codec import pack_strings, unpack_strings
from tinykv.errors import Damaged
from tinykv.redis.keyspace import Database, TreeNodes
from tinykv.redis.tree import KeyedTree
from tinykv.redis.value import Value

#: A larger one is kept as a tree. Part of the apply version: replicas must agree on it.
SMALL_ENTRIES = 128
SMALL_BYTES = 8192

#: Up to this many elements a scan gives a collection in its compact encoding all at once, as Redis does.
SCAN_WHOLE = 1024

_TREE = 1
_PACKED = 2

_ROOT_AT = 9
_LAST_POSITION = 0xFFFFFFFF

#: When more than one element in this many is wanted by rank, walking over all costs less than finding each.
_WALK = 16


def place(element: bytes) -> bytes:
    """Give the key under which an element stands in its tree."""
    return crc32(element).to_bytes(4, "big") + element


class KeyedValue(Value):
    """
    A collection of unique elements, each with a value if C{PAIRED}.

    @cvar PAIRED: Whether elements have values; without, all values read C{b""}.
    @ivar packed: Whether Redis would still keep it in its compact encoding.
    """

    __slots__ = ("_bytes", "_copied", "_generation", "_small", "_tree", "packed")

    PAIRED: ClassVar[bool]

    def __init__(self, db: Database, key: bytes, row_key: bytes) -> None:
        super().__init__(db, key, row_key)
        self.packed = True
        #: The elements while there is no tree, and the sum of the lengths of all that's in it.
        self._small: dict[bytes, bytes] = {}
        self._bytes = 0
        self._tree: KeyedTree | None = None
        self._generation = 0
        #: The sequence at which the undo list got a copy of the whole small dict.
        self._copied = -1

    def __len__(self) -> int:
        """Count the elements."""
        tree = self._tree
        return len(self._small) if tree is None else tree.count

    def encoding(self) -> bytes:
        """Give what OBJECT ENCODING says."""
        raise NotImplementedError

    # Reading

    def get(self, element: bytes) -> bytes | None:
        """Give an element's value (C{b""} if it has none), or None if it isn't there."""
        tree = self._tree
        if tree is None:
            return self._small.get(element)
        return tree.get(crc32(element).to_bytes(4, "big") + element)

    def pairs(self) -> Iterator[tuple[bytes, bytes]]:
        """Give all (element, value) in row order."""
        if self._tree is None:
            return iter(self._small.items())
        return ((name[4:], value) for name, value in self._tree.items())

    def places(self) -> Iterator[bytes]:
        """Give the L{place} of every element, ascending."""
        if self._tree is None:
            return iter(sorted(map(place, self._small)))
        return self._tree.keys()

    def pair_at(self, rank: int) -> tuple[bytes, bytes]:
        """Give the (element, value) with this rank in row order."""
        if self._tree is None:
            return next(islice(self._small.items(), rank, None))
        name, value = self._tree.at(rank)
        return name[4:], value

    def pairs_at(self, ranks: list[int]) -> Iterator[tuple[bytes, bytes]]:
        """Give the (element, value) of each of these ranks, which ascend strictly."""
        if self._tree is not None and len(ranks) * _WALK < len(self):
            yield from map(self.pair_at, ranks)
            return
        walk = self.pairs()
        passed = 0
        for rank in ranks:
            yield next(islice(walk, rank - passed, None))
            passed = rank + 1

    def scan_pairs(self, position: int, count: int) -> tuple[int, list[tuple[bytes, bytes]]]:
        """
        Give about C{count} elements from a position (a crc32) on, equal hashes together; a small value whole.

        @return: (the next position, or 0 at the end; the elements with their values).
        """
        if self._tree is None or (self.packed and len(self) <= SCAN_WHOLE):
            return 0, list(self.pairs())
        found: list[tuple[bytes, bytes]] = []
        if position > _LAST_POSITION:
            return 0, found
        last = -1
        for name, value in self._tree.items(position.to_bytes(4, "big")):
            crc = int.from_bytes(name[:4], "big")
            if len(found) >= count and crc != last:
                return crc, found
            found.append((name[4:], value))
            last = crc
        return 0, found

    # Changing

    def remove(self, element: bytes) -> bool:
        """Remove an element; say if it was there."""
        tree = self._tree
        if tree is not None:
            # The tree itself registers this object before it changes; what's left is the version.
            if tree.remove(crc32(element).to_bytes(4, "big") + element) is None:
                return False
            self.touch()
            return True
        small = self._small
        value = small.get(element)
        if value is None:
            return False
        self.touch()
        keyspace = self.db.keyspace
        if self._copied != keyspace.sequence:
            # The order is in the row, so undoing has to give back the very same order. The copy covers
            # whatever else this command does to the dict.
            self._copied = keyspace.sequence
            keyspace.undo.append((self._set_small, (small.copy(), self._bytes)))
        del small[element]
        self._bytes -= len(element) + len(value)
        return True

    def _put_small(self, element: bytes, value: bytes) -> bool:
        """Set an element of the dict, of a value that is touched; say if it's new."""
        small = self._small
        keyspace = self.db.keyspace
        old = small.get(element)
        if old is None:
            if self._copied != keyspace.sequence:
                keyspace.undo.append((self._undo_new, (element,)))
            self._bytes += len(element) + len(value)
        else:
            if self._copied != keyspace.sequence:
                keyspace.undo.append((self._undo_old, (element, old)))
            self._bytes += len(value) - len(old)
        small[element] = value
        if self._bytes > SMALL_BYTES or len(small) > SMALL_ENTRIES:
            self._grow()
        return old is None

    def copy_from(self, other: KeyedValue) -> None:
        """Take over all elements of another of the same type, and its encoding; this one is new and empty."""
        self.touch()
        self._set_flag(other.packed)
        if other._tree is None:
            self.db.keyspace.undo.append((self._set_small, ({}, 0)))
            self._small = other._small.copy()
            self._bytes = other._bytes
        else:
            self._plant(other._tree.items())

    def fill(self, ascending: Iterable[tuple[bytes, bytes]]) -> None:
        """
        Take in (place, value) in ascending order of the places; this one is new and empty.

        The encoding isn't looked at.
        """
        self.touch()
        items = iter(ascending)
        first: list[tuple[bytes, bytes]] = []
        size = 0
        for name, value in items:
            first.append((name, value))
            size += len(name) - 4 + len(value)
            if size > SMALL_BYTES or len(first) > SMALL_ENTRIES:
                self._plant(chain(first, items))
                return
        self.db.keyspace.undo.append((self._set_small, ({}, 0)))
        self._small = {name[4:]: value for name, value in first}
        self._bytes = size

    def unpack(self) -> None:
        """Leave Redis's compact encoding, for good."""
        if self.packed:
            self.touch()
            self._set_flag(False)

    def _set_flag(self, packed: bool) -> None:
        """Change C{packed}, of a value that is touched."""
        self.db.keyspace.undo.append((self._set_packed, (self.packed,)))
        self.packed = packed

    def _grow(self) -> None:
        """Turn from a dict into a tree."""
        self._plant(sorted((place(element), value) for element, value in self._small.items()))

    def _plant(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Let a tree of these (place, value), which ascend, take the dict's place."""
        keyspace = self.db.keyspace
        # Steps are undone in reverse order: the tree loses its entries, and so its rows, before it's let go.
        keyspace.undo.append((self._set_small, (self._small, self._bytes)))
        self._generation = keyspace.next_generation()
        self._tree = KeyedTree(TreeNodes(self, self._generation), self.PAIRED)
        self._small = {}
        self._bytes = 0
        self._tree.build(items)

    # Undoing

    def _undo_new(self, element: bytes) -> None:
        self._bytes -= len(element) + len(self._small.pop(element))

    def _undo_old(self, element: bytes, old: bytes) -> None:
        self._bytes += len(old) - len(self._small[element])
        self._small[element] = old

    def _set_small(self, small: dict[bytes, bytes], size: int) -> None:
        self._small = small
        self._bytes = size
        self._tree = None
        self._generation = 0

    def _set_packed(self, packed: bool) -> None:
        self.packed = packed

    # The row

    def encode_body(self) -> bytes:
        """Encode what follows the head of the meta row."""
        flags = _PACKED if self.packed else 0
        if self._tree is not None:
            head = bytes((_TREE | flags,)) + self._generation.to_bytes(8, "big")
            return head + self._tree.encode_root()
        parts = list(chain.from_iterable(self._small.items())) if self.PAIRED else list(self._small)
        return bytes((flags,)) + pack_strings(parts)

    def decode_body(self, body: bytes) -> None:
        """
        Take over what a meta row's body says.

        @raise Damaged: It's no such body.
        """
        if not body or body[0] > _TREE | _PACKED:
            raise Damaged(f"the {self.NAME.decode()} {self.key!r} has unknown flags")
        self.packed = bool(body[0] & _PACKED)
        if body[0] & _TREE:
            self._generation = int.from_bytes(body[1:_ROOT_AT], "big")
            self._tree = KeyedTree.decode(TreeNodes(self, self._generation), body[_ROOT_AT:], self.PAIRED)
            return
        parts, end = unpack_strings(body, 1)
        step = 2 if self.PAIRED else 1
        if end != len(body) or len(parts) % step:
            raise Damaged(f"the {self.NAME.decode()} {self.key!r} has a part too many")
        if self.PAIRED:
            self._small = dict(zip(parts[::2], parts[1::2], strict=True))
        else:
            self._small = dict.fromkeys(parts, b"")
        if len(self._small) * step != len(parts):
            raise Damaged(f"the {self.NAME.decode()} {self.key!r} has an element twice")
        self._bytes = sum(map(len, parts))

    def generations(self) -> list[int]:
        """Name the generations under which this value has node rows."""
        return [] if self._tree is None else [self._generation]

    def size(self) -> int:
        """Estimate the bytes of memory of the inline form, or of the root."""
        tree = self._tree
        if tree is None:
            return 200 + self._bytes + 150 * len(self._small)
        return 600 + tree.root.size
