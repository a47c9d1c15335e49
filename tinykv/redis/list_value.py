"""
Lists: byte strings by position.

A small list is a Python list, kept inline in the meta row. Past L{SMALL_ENTRIES} elements or L{SMALL_BYTES} bytes it
becomes a tree counted by position, for good, so that both ends and any index in between cost a logarithm.

The body of the row is a byte of flags, then either a pack of the elements, or the generation (8 bytes, big-endian) and
the root of a tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tinykv.codec import pack_strings, unpack_strings
from tinykv.errors import Damaged
from tinykv.redis.keyspace import Database, TreeNodes
from tinykv.redis.tree import SequenceTree
from tinykv.redis.value import LIST, Value

#: A larger one is kept as a tree. Part of the apply version: replicas must agree on it.
SMALL_ENTRIES = 128
SMALL_BYTES = 8192

_TREE = 1
_ROOT_AT = 9


class List(Value):
    """
    A list. Indexes count from 0; those that lie outside raise IndexError, negative ones are never meant from the end.
    """

    __slots__ = ("_bytes", "_generation", "_small", "_tree")

    TYPE = LIST
    NAME = b"list"

    def __init__(self, db: Database, key: bytes, row_key: bytes) -> None:
        super().__init__(db, key, row_key)
        #: The elements while there is no tree, and the sum of their lengths.
        self._small: list[bytes] = []
        self._bytes = 0
        self._tree: SequenceTree | None = None
        self._generation = 0

    def __len__(self) -> int:
        """Count the elements."""
        tree = self._tree
        return len(self._small) if tree is None else tree.count

    def encoding(self) -> bytes:
        """Give what OBJECT ENCODING says: there's only one in Redis 7.0."""
        return b"quicklist"

    # Reading

    def at(self, index: int) -> bytes:
        """Give the element at an index."""
        tree = self._tree
        if tree is not None:
            return tree.get(index)
        if index < 0:
            raise IndexError(index)
        return self._small[index]

    def items(self, start: int | None = None, reverse: bool = False) -> Iterator[bytes]:
        """
        Give the elements from an index on, towards the end or (C{reverse}) the start; none if it lies outside.

        @param start: Where to begin; if L{None} at the very first or last.
        """
        if start is None:
            start = len(self) - 1 if reverse else 0
        tree = self._tree
        if tree is not None:
            return tree.items(start, reverse)
        if not 0 <= start < len(self._small):
            return iter(())
        return iter(self._small[start::-1] if reverse else self._small[start:])

    def positions(self, element: bytes, reverse: bool = False, within: int = 0) -> Iterator[int]:
        """
        Find the indexes at which an element stands, from the start or (C{reverse}) from the end.

        @param within: Look at so many elements at most; 0 for all.
        """
        index, step = (len(self) - 1, -1) if reverse else (0, 1)
        end = index + step * within
        for held in self.items(reverse=reverse):
            if within and index == end:
                return
            if held == element:
                yield index
            index += step

    # Changing

    def push_left(self, element: bytes) -> None:
        """Add an element at the start."""
        tree = self._tree
        if tree is not None:
            # The tree itself registers this object before it changes; what's left is the version.
            tree.push_front(element)
            self.touch()
        else:
            self.insert(0, element)

    def push_right(self, element: bytes) -> None:
        """Add an element at the end."""
        tree = self._tree
        if tree is not None:
            tree.append(element)
            self.touch()
        else:
            self.insert(len(self._small), element)

    def extend(self, elements: Iterable[bytes]) -> None:
        """Add elements at the end, in their order."""
        source = iter(elements)
        for element in source:
            self.push_right(element)
            if self._tree is not None:
                self._tree.extend(source)

    def pop_left(self) -> bytes:
        """Remove the first element and give it."""
        tree = self._tree
        if tree is None:
            return self._delete_small(0)
        element = tree.pop_front()
        self.touch()
        return element

    def pop_right(self) -> bytes:
        """Remove the last element and give it."""
        tree = self._tree
        if tree is None:
            return self._delete_small(len(self._small) - 1)
        element = tree.pop_back()
        self.touch()
        return element

    def set(self, index: int, element: bytes) -> None:
        """Replace the element at an index."""
        tree = self._tree
        if tree is not None:
            tree.set(index, element)
            self.touch()
            return
        old = self.at(index)
        self.touch()
        self.db.keyspace.undo.append((self._set_small, (index, old)))
        self._set_small(index, element)
        if self._bytes > SMALL_BYTES:
            self._grow()

    def insert(self, index: int, element: bytes) -> None:
        """Insert an element before that at an index; at the end if the index is the length."""
        tree = self._tree
        if tree is not None:
            tree.insert(index, element)
            self.touch()
            return
        small = self._small
        if not 0 <= index <= len(small):
            raise IndexError(index)
        self.touch()
        self.db.keyspace.undo.append((self._drop_small, (index,)))
        small.insert(index, element)
        self._bytes += len(element)
        if self._bytes > SMALL_BYTES or len(small) > SMALL_ENTRIES:
            self._grow()

    def delete_range(self, start: int, stop: int) -> list[bytes]:
        """Remove the elements at C{start <= index < stop} (cut to what is there) and give them."""
        start = max(start, 0)
        stop = min(stop, len(self))
        if start >= stop:
            return []
        tree = self._tree
        if tree is not None:
            removed = tree.delete_range(start, stop)
            self.touch()
            return removed
        small = self._small
        removed = small[start:stop]
        self._exchange(small[:start] + small[stop:])
        return removed

    def delete_at(self, indexes: list[int]) -> None:
        """Remove the elements at these indexes, which ascend strictly."""
        if not indexes:
            return
        if self._tree is None:
            gone = set(indexes)
            self._exchange([element for index, element in enumerate(self._small) if index not in gone])
            return
        # Neighbours go together, and from the end on, so that what is left to remove stays where it is.
        stop = indexes[-1] + 1
        start = stop
        for index in reversed(indexes):
            if index != start - 1:
                self._tree.delete_range(start, stop)
                stop = index + 1
            start = index
        self._tree.delete_range(start, stop)
        self.touch()

    def copy_from(self, other: List) -> None:
        """Take over all elements of another; this one is new and empty."""
        if other._tree is None:
            self._exchange(other._small.copy())
        else:
            self.touch()
            self._plant(other.items())

    def _delete_small(self, index: int) -> bytes:
        """Remove the element of the Python list at an index, and give it."""
        if not self._small:
            raise IndexError("pop from an empty list")
        self.touch()
        element = self._small.pop(index)
        self._bytes -= len(element)
        self.db.keyspace.undo.append((self._put_small, (index, element)))
        return element

    def _exchange(self, small: list[bytes]) -> None:
        """Let another Python list take the place of that which there is."""
        self.touch()
        self.db.keyspace.undo.append((self._take_small, (self._small, self._bytes)))
        self._small = small
        self._bytes = sum(map(len, small))

    def _grow(self) -> None:
        """Turn from a Python list into a tree."""
        self._plant(self._small)

    def _plant(self, elements: Iterable[bytes]) -> None:
        """Let a tree of these elements take the Python list's place."""
        keyspace = self.db.keyspace
        # Steps are undone in reverse order: the tree loses its entries, and so its rows, before it's let go.
        keyspace.undo.append((self._take_small, (self._small, self._bytes)))
        self._generation = keyspace.next_generation()
        self._tree = SequenceTree(TreeNodes(self, self._generation))
        self._small = []
        self._bytes = 0
        self._tree.extend(elements)
        self.touch()

    # Undoing

    def _set_small(self, index: int, element: bytes) -> None:
        self._bytes += len(element) - len(self._small[index])
        self._small[index] = element

    def _put_small(self, index: int, element: bytes) -> None:
        self._small.insert(index, element)
        self._bytes += len(element)

    def _drop_small(self, index: int) -> None:
        self._bytes -= len(self._small.pop(index))

    def _take_small(self, small: list[bytes], size: int) -> None:
        self._small = small
        self._bytes = size
        self._tree = None
        self._generation = 0

    # The row

    def encode_body(self) -> bytes:
        """Encode what follows the head of the meta row."""
        if self._tree is None:
            return b"\0" + pack_strings(self._small)
        return bytes((_TREE,)) + self._generation.to_bytes(8, "big") + self._tree.encode_root()

    def decode_body(self, body: bytes) -> None:
        """
        Take over what a meta row's body says.

        @raise Damaged: It's no such body.
        """
        if not body or body[0] > _TREE:
            raise Damaged(f"the list {self.key!r} has unknown flags")
        if body[0]:
            self._generation = int.from_bytes(body[1:_ROOT_AT], "big")
            self._tree = SequenceTree.decode(TreeNodes(self, self._generation), body[_ROOT_AT:])
            return
        self._small, end = unpack_strings(body, 1)
        if end != len(body):
            raise Damaged(f"the list {self.key!r} has a part too many")
        self._bytes = sum(map(len, self._small))

    def generations(self) -> list[int]:
        """Name the generations under which this value has node rows."""
        return [] if self._tree is None else [self._generation]

    def size(self) -> int:
        """Estimate the bytes of memory of the inline form, or of the root."""
        tree = self._tree
        if tree is None:
            return 150 + self._bytes + 45 * len(self._small)
        root = tree.root
        return 1000 + root.payload + 24 * len(root.ids)
