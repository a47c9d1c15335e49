"""
Counted B+trees for large collections: sorted keys with values (KeyedTree), and positions (SequenceTree).

Every changing method takes C{record}: True appends its inverse to the store's undo list; the inverses
themselves run with False. An inverse restores the content, not the shape of the tree, so undoing is for
commands that fail alike on all replicas. A tree must not change while one of its iterators is in use.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice, repeat

from tinykv.redis.tree_nodes import (
    BRANCH_KEYED,
    BRANCH_SEQUENCE,
    HALF_LEAF,
    LEAF_BYTES,
    LEAF_ENTRIES,
    LEAF_KEYS,
    LEAF_PAIRS,
    LEAF_SEQUENCE,
    Node,
    NodeStore,
    UndoStep,
    decode_node,
)
from tinykv.redis.tree_shape import FILL, Tree

__all__ = ["KeyedTree", "Node", "NodeStore", "SequenceTree", "UndoStep", "decode_node"]

_BATCH = 32 * FILL

Way = tuple[Node, int, "Way"] | None
"""The way from a leaf up to the root, as it costs least to collect: (branch, slot taken, way from there)."""


class KeyedTree(Tree):
    """Unique bytes keys in ascending order, each with a bytes value; without values (sets) all read b""."""

    __slots__ = ()

    def __init__(self, nodes: NodeStore, with_values: bool = True) -> None:
        """Make an empty tree; without values none is stored."""
        super().__init__(nodes, LEAF_PAIRS if with_values else LEAF_KEYS, BRANCH_KEYED, True)

    @classmethod
    def decode(cls, nodes: NodeStore, root: bytes, with_values: bool = True) -> KeyedTree:
        """
        Return the tree whose C{encode_root} returned C{root}.

        @raise Damaged: It's no such root.
        """
        tree = cls(nodes, with_values)
        tree.load_root(root)
        return tree

    def get(self, key: bytes) -> bytes | None:
        """Return the value of C{key}, None if it isn't there."""
        node = self.root
        height = self.height
        if height:
            store = self.nodes
            young = store.cache.young
            base = store.base
            while height:
                height -= 1
                slot = bisect_right(node.entries, key)
                node = young.get(base | node.ids[slot]) or self._load(node, slot, height)
        entries = node.entries
        place = bisect_left(entries, key)
        if place == len(entries) or entries[place] != key:
            return None
        return b"" if node.values is None else node.values[place]

    def put(self, key: bytes, value: bytes = b"", record: bool = True) -> bytes | None:
        """Set the value of C{key}; return the value that it had, None if it is new."""
        store = self.nodes
        way: Way = None
        node = self.root
        height = self.height
        if height:
            young = store.cache.young
            base = store.base
            while height:
                height -= 1
                slot = bisect_right(node.entries, key)
                way = (node, slot, way)
                node = young.get(base | node.ids[slot]) or self._load(node, slot, height)
        entries = node.entries
        values = node.values
        place = bisect_left(entries, key)
        if place < len(entries) and entries[place] == key:
            if values is None:
                return b""
            old = values[place]
            if old == value:
                return old
            grown = node.payload + len(value) - len(old)
            if grown > LEAF_BYTES:
                # The leaf is probably going to be cut, which changes everything above.
                self._count(way, node, 0)
            else:
                self._mark_leaf(node)
            values[place] = value
            node.payload = grown
            if record:
                store.undo.append((self.put, (key, old, False)))
        else:
            old = None
            self._count(way, node, 1)
            entries.insert(place, key)
            node.payload += len(key)
            if values is not None:
                values.insert(place, value)
                node.payload += len(value)
            if record:
                store.undo.append((self.remove, (key, False)))
        if len(entries) > LEAF_ENTRIES or (node.payload > LEAF_BYTES and len(entries) > 1):
            path, slots = _lists(way)
            self._split(path, slots, node, self._bias(path, slots, node, place))
        return old

    def remove(self, key: bytes, record: bool = True) -> bytes | None:
        """Remove C{key}; return the value that it had, None if it wasn't there."""
        store = self.nodes
        way: Way = None
        node = self.root
        height = self.height
        if height:
            young = store.cache.young
            base = store.base
            while height:
                height -= 1
                slot = bisect_right(node.entries, key)
                way = (node, slot, way)
                node = young.get(base | node.ids[slot]) or self._load(node, slot, height)
        entries = node.entries
        place = bisect_left(entries, key)
        if place == len(entries) or entries[place] != key:
            return None
        self._count(way, node, -1)
        del entries[place]
        node.payload -= len(key)
        old = b""
        if node.values is not None:
            old = node.values.pop(place)
            node.payload -= len(old)
        if record:
            store.undo.append((self.put, (key, old, False)))
        if len(entries) <= HALF_LEAF and way:
            self._shrink(*_lists(way), node)
        return old

    def rank(self, key: bytes) -> tuple[int, bool]:
        """Return the number of keys smaller than C{key}, and whether C{key} is there."""
        path: list[Node] = []
        slots: list[int] = []
        leaf, place = self._find_key(key, path, slots)
        rank = place
        for node, slot in zip(path, slots, strict=True):
            counts = node.counts
            rank += sum(counts[:slot])
        return rank, place < len(leaf.entries) and leaf.entries[place] == key

    def at(self, rank: int) -> tuple[bytes, bytes]:
        """Return the (key, value) with C{rank} smaller keys. Raises IndexError unless 0 <= rank < count."""
        if not 0 <= rank < self.count:
            raise IndexError(rank)
        leaf, place = self._find_rank(rank, [], [])
        return leaf.entries[place], b"" if leaf.values is None else leaf.values[place]

    def items(self, start: bytes | None = None, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """
        Yield (key, value) ascending from the first key >= C{start}, or descending from the last <= C{start}.

        Without C{start} from the very first or last.
        """
        if start is None:
            return self.items_by_rank(self.count - 1 if reverse else 0, reverse)
        path: list[Node] = []
        slots: list[int] = []
        leaf, place = self._find_key(start, path, slots)
        if reverse and (place == len(leaf.entries) or leaf.entries[place] != start):
            place -= 1
        return self._items(path, slots, leaf, place, reverse)

    def items_by_rank(self, rank: int, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) from that of C{rank} on, ascending or descending; nothing if it is outside."""
        if not 0 <= rank < self.count:
            return iter(())
        path: list[Node] = []
        slots: list[int] = []
        leaf, place = self._find_rank(rank, path, slots)
        return self._items(path, slots, leaf, place, reverse)

    def keys(self, start: bytes | None = None, reverse: bool = False) -> Iterator[bytes]:
        """Yield keys as C{items} does."""
        return (key for key, _ in self.items(start, reverse))

    def remove_range_by_rank(self, low: int, high: int, record: bool = True) -> list[tuple[bytes, bytes]]:
        """
        Remove the keys of ranks low <= rank < high (cut to what is there); return them with their values.
        """
        low = max(low, 0)
        high = min(high, self.count)
        keys: list[bytes] = []
        values: list[bytes] = []
        if low < high and record:
            # The lists are filled afterwards, so that also a removal that fails halfway is taken back.
            self.nodes.undo.append((self._put_all, (keys, values)))
        self._remove_range(low, high, keys, values)
        return list(zip(keys, values or repeat(b""), strict=False))

    def build(self, items: Iterable[tuple[bytes, bytes]], record: bool = True) -> None:
        """
        Append (key, value) pairs that ascend strictly from the last key on; so an empty tree is built.

        Raises ValueError if they don't; what was appended by then stays, with its inverse recorded. A tree
        without values ignores theirs.
        """
        last = self.at(self.count - 1)[0] if self.count else None
        pairs = iter(items)
        while batch := list(islice(pairs, _BATCH)):
            keys = [key for key, _ in batch]
            for key in keys:
                if last is not None and key <= last:
                    raise ValueError("keys to append must ascend")
                last = key
            before = self.count
            if record:
                self.nodes.undo.append((self.remove_range_by_rank, (before, before + len(keys), False)))
            self._append_run(keys, [value for _, value in batch] if self.leaf_kind == LEAF_PAIRS else None)

    def clear(self, record: bool = True) -> None:
        """Remove everything so that it can be undone. (A whole collection goes with its owner instead.)"""
        self.remove_range_by_rank(0, self.count, record)

    def _new_leaf(self, node_id: int) -> Node:
        return Node(node_id, self.leaf_kind, [], [] if self.leaf_kind == LEAF_PAIRS else None, [], [])

    def _count(self, way: Way, leaf: Node, change: int) -> None:
        """Do what L{Tree._mark} does."""
        store = self.nodes
        active = store.rows.active
        if store.owner.table is not active:
            store.root_changed()
        self.count += change
        if leaf.table is not active and leaf.node_id:
            store.changed(leaf)
        while way is not None:
            node, slot, way = way
            if node.table is not active and node.node_id:
                store.changed(node)
            node.counts[slot] += change

    def _find_key(self, key: bytes, path: list[Node], slots: list[int]) -> tuple[Node, int]:
        """Return the leaf for C{key} and the place of the first key >= C{key} in it (perhaps its end)."""
        node = self.root
        for height in range(self.height - 1, -1, -1):
            slot = bisect_right(node.entries, key)
            path.append(node)
            slots.append(slot)
            node = self._child(node, slot, height)
        return node, bisect_left(node.entries, key)

    def _items(
        self, path: list[Node], slots: list[int], leaf: Node, place: int, reverse: bool
    ) -> Iterator[tuple[bytes, bytes]]:
        """
        Yield from C{place} in C{leaf} (its length: from the next leaf; -1 and reversed: the one before).
        """
        if reverse:
            for node in self._leaves_back(path, slots, leaf):
                end = place + 1 if node is leaf else len(node.entries)
                values = repeat(b"") if node.values is None else reversed(node.values[:end])
                yield from zip(reversed(node.entries[:end]), values, strict=False)
        else:
            for node in self._leaves(path, slots, leaf):
                start = place if node is leaf else 0
                following = repeat(b"") if node.values is None else iter(node.values[start:])
                yield from zip(node.entries[start:], following, strict=False)

    def _put_all(self, keys: list[bytes], values: list[bytes]) -> None:
        for key, value in zip(keys, values or repeat(b""), strict=False):
            self.put(key, value, False)


def _lists(way: Way) -> tuple[list[Node], list[int]]:
    """Return the branches and the slots of a way, from the root down."""
    path = []
    slots = []
    while way is not None:
        node, slot, way = way
        path.append(node)
        slots.append(slot)
    return path[::-1], slots[::-1]


class SequenceTree(Tree):
    """
    Bytes values by position, from 0 to count - 1. Positions outside raise IndexError, also negative ones.
    """

    __slots__ = ()

    def __init__(self, nodes: NodeStore) -> None:
        """Make an empty sequence."""
        super().__init__(nodes, LEAF_SEQUENCE, BRANCH_SEQUENCE, False)

    @classmethod
    def decode(cls, nodes: NodeStore, root: bytes) -> SequenceTree:
        """
        Return the sequence whose C{encode_root} returned C{root}.

        @raise Damaged: It's no such root.
        """
        tree = cls(nodes)
        tree.load_root(root)
        return tree

    def get(self, index: int) -> bytes:
        """Return the value at C{index}."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        leaf, place = self._find_rank(index, [], [])
        return leaf.entries[place]

    def set(self, index: int, value: bytes, record: bool = True) -> bytes:
        """Replace the value at C{index}; return the old one."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        path: list[Node] = []
        slots: list[int] = []
        leaf, place = self._find_rank(index, path, slots)
        old = leaf.entries[place]
        grown = leaf.payload + len(value) - len(old)
        if grown > LEAF_BYTES and len(leaf.entries) > 1:
            # The leaf is going to be cut, which changes everything above.
            self._mark(path, slots, leaf, 0)
        else:
            self._mark_leaf(leaf)
        leaf.entries[place] = value
        leaf.payload = grown
        if record:
            self.nodes.undo.append((self.set, (index, old, False)))
        if grown > LEAF_BYTES and len(leaf.entries) > 1:
            self._split(path, slots, leaf, self._bias(path, slots, leaf, place))
        return old

    def insert(self, index: int, value: bytes, record: bool = True) -> None:
        """Insert C{value} before that at C{index} (at the end if index == count)."""
        if not 0 <= index <= self.count:
            raise IndexError(index)
        path: list[Node] = []
        slots: list[int] = []
        leaf, place = self._find_rank(index, path, slots)
        self._mark(path, slots, leaf, 1)
        leaf.entries.insert(place, value)
        leaf.payload += len(value)
        if record:
            self.nodes.undo.append((self.delete, (index, False)))
        if len(leaf.entries) > LEAF_ENTRIES or (leaf.payload > LEAF_BYTES and len(leaf.entries) > 1):
            self._split(path, slots, leaf, self._bias(path, slots, leaf, place))

    def append(self, value: bytes, record: bool = True) -> None:
        """Add C{value} at the end."""
        leaf, path = self._end(-1, 1)
        entries = leaf.entries
        entries.append(value)
        leaf.payload += len(value)
        if record:
            self.nodes.undo.append((self.pop_back, (False,)))
        if len(entries) > LEAF_ENTRIES or (leaf.payload > LEAF_BYTES and len(entries) > 1):
            self._split(path, [len(node.ids) - 1 for node in path], leaf, 1)

    def push_front(self, value: bytes, record: bool = True) -> None:
        """Add C{value} at the start."""
        leaf, path = self._end(0, 1)
        entries = leaf.entries
        entries.insert(0, value)
        leaf.payload += len(value)
        if record:
            self.nodes.undo.append((self.pop_front, (False,)))
        if len(entries) > LEAF_ENTRIES or (leaf.payload > LEAF_BYTES and len(entries) > 1):
            self._split(path, [0] * len(path), leaf, -1)

    def pop_back(self, record: bool = True) -> bytes:
        """Remove the last value and return it."""
        if not self.count:
            raise IndexError("pop from an empty sequence")
        leaf, path = self._end(-1, -1)
        value = leaf.entries.pop()
        leaf.payload -= len(value)
        if record:
            self.nodes.undo.append((self.append, (value, False)))
        n = len(leaf.entries)
        if path and n <= HALF_LEAF:
            counts = path[-1].counts
            if not n or (len(counts) > 1 and n + counts[-2] <= HALF_LEAF):
                self._shrink(path, [len(node.ids) - 1 for node in path], leaf)
        return value

    def pop_front(self, record: bool = True) -> bytes:
        """Remove the first value and return it."""
        if not self.count:
            raise IndexError("pop from an empty sequence")
        leaf, path = self._end(0, -1)
        value = leaf.entries.pop(0)
        leaf.payload -= len(value)
        if record:
            self.nodes.undo.append((self.push_front, (value, False)))
        n = len(leaf.entries)
        if path and n <= HALF_LEAF:
            counts = path[-1].counts
            if not n or (len(counts) > 1 and n + counts[1] <= HALF_LEAF):
                self._shrink(path, [0] * len(path), leaf)
        return value

    def delete(self, index: int, record: bool = True) -> bytes:
        """Remove the value at C{index} and return it."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        path: list[Node] = []
        slots: list[int] = []
        leaf, place = self._find_rank(index, path, slots)
        self._mark(path, slots, leaf, -1)
        value = leaf.entries.pop(place)
        leaf.payload -= len(value)
        if record:
            self.nodes.undo.append((self.insert, (index, value, False)))
        if len(leaf.entries) <= HALF_LEAF:
            self._shrink(path, slots, leaf)
        return value

    def delete_range(self, low: int, high: int, record: bool = True) -> list[bytes]:
        """Remove the values at low <= index < high (cut to what is there) and return them."""
        low = max(low, 0)
        high = min(high, self.count)
        removed: list[bytes] = []
        if low < high and record:
            # Filled afterwards, as in KeyedTree.remove_range_by_rank.
            self.nodes.undo.append((self._insert_all, (low, removed)))
        self._remove_range(low, high, removed, [])
        return removed

    def extend(self, values: Iterable[bytes], record: bool = True) -> None:
        """Add values at the end."""
        source = iter(values)
        while batch := list(islice(source, _BATCH)):
            before = self.count
            if record:
                self.nodes.undo.append((self.delete_range, (before, before + len(batch), False)))
            self._append_run(batch, None)

    def items(self, start: int = 0, reverse: bool = False) -> Iterator[bytes]:
        """
        Yield the values from C{start} on, towards the end or (reversed) the start; none if it is outside.
        """
        if not 0 <= start < self.count:
            return iter(())
        path: list[Node] = []
        slots: list[int] = []
        leaf, place = self._find_rank(start, path, slots)
        return self._items(path, slots, leaf, place, reverse)

    def clear(self, record: bool = True) -> None:
        """Remove everything, as it can be undone. (A whole collection goes with its owner instead.)"""
        self.delete_range(0, self.count, record)

    def _new_leaf(self, node_id: int) -> Node:
        return Node(node_id, LEAF_SEQUENCE, [], None, [], [])

    def _end(self, slot: int, change: int) -> tuple[Node, list[Node]]:
        """
        Return the first (slot 0) or last (slot -1) leaf and the way to it, marked and counted as by C{_mark}.
        """
        store = self.nodes
        active = store.rows.active
        path: list[Node] = []
        node = self.root
        height = self.height
        if height:
            young = store.cache.young
            base = store.base
            while height:
                height -= 1
                path.append(node)
                node = young.get(base | node.ids[slot]) or self._load(node, slot, height)
            if node.table is not active:
                store.changed(node)
        if store.owner.table is not active:
            store.root_changed()
        for branch in path:
            if branch.table is not active and branch.node_id:
                store.changed(branch)
            branch.counts[slot] += change
        self.count += change
        return node, path

    def _items(
        self, path: list[Node], slots: list[int], leaf: Node, place: int, reverse: bool
    ) -> Iterator[bytes]:
        if reverse:
            for node in self._leaves_back(path, slots, leaf):
                yield from reversed(node.entries[: place + 1] if node is leaf else node.entries)
        else:
            for node in self._leaves(path, slots, leaf):
                yield from node.entries[place:] if node is leaf else node.entries

    def _insert_all(self, index: int, values: list[bytes]) -> None:
        for place, value in enumerate(values, index):
            self.insert(place, value, False)
