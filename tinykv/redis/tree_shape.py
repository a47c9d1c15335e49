"""
The shape of a counted B+tree: reaching, cutting, joining and walking its nodes.

Shapes are functions of the sequence of operations alone. Nothing here asks whether a node is in memory: a
neighbour that decides over a join is loaded. The way to a leaf is loaded before anything on it changes, and
no node is loaded twice by one step, so that a clean node may leave the cache in the middle of an operation.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from struct import Struct
from struct import error as struct_error
from typing import Final

from tinykv.errors import Damaged, Fault
from tinykv.redis.tree_nodes import (
    BRANCH_BYTES,
    BRANCH_CHILDREN,
    FREE_IDS,
    HALF_BRANCH,
    HALF_BRANCH_BYTES,
    HALF_LEAF,
    HALF_LEAF_BYTES,
    LEAF_BYTES,
    LEAF_ENTRIES,
    MAX_ID,
    SKEW,
    Node,
    NodeStore,
    decode_node,
    shortest_bound,
)

_ROOT: Final = Struct("<BIQB")
_FREE: Final = Struct("<I")
_MAX_HEIGHT: Final = 32
EXPECTED: Final = 16
"""Leaves after which a walk counts as a long one, and how many more it announces then at a time."""
FILL: Final = LEAF_ENTRIES - SKEW
"""Entries that a bulk append puts into a leaf: what repeated single appends leave there."""


class Tree:
    """
    What keyed and sequence trees share. The root is the owner's; other nodes are the store's.

    Root format, little-endian: height u8 | next id u32 | count u64 | f u8 | free ids u32[f] | root node.
    """

    __slots__ = (
        "nodes", "height", "next_id", "count", "free_ids", "root", "leaf_kind", "branch_kind", "keyed",
    )  # fmt: skip

    def __init__(self, nodes: NodeStore, leaf_kind: int, branch_kind: int, keyed: bool) -> None:
        """Make an empty tree of nodes of these kinds."""
        self.nodes = nodes
        self.leaf_kind = leaf_kind
        self.branch_kind = branch_kind
        self.keyed = keyed
        self.height = 0
        self.next_id = 1
        self.count = 0
        self.free_ids: list[int] = []
        self.root = self._new_leaf(0)

    def __len__(self) -> int:
        """Return the number of entries."""
        return self.count

    def __bool__(self) -> bool:
        """A tree is true even if empty, as any live object."""
        return True

    def encode_root(self) -> bytes:
        """Return the state that the owner keeps in its row."""
        head = _ROOT.pack(self.height, self.next_id, self.count, len(self.free_ids))
        return b"".join((head, *map(_FREE.pack, self.free_ids), self.root.encode()))

    def load_root(self, data: bytes) -> None:
        """
        Take the state that C{encode_root} returned.

        @raise Damaged: It isn't one.
        """
        try:
            height, next_id, count, free = _ROOT.unpack_from(data)
        except struct_error:
            raise Damaged("the root of a tree is cut short") from None
        at = _ROOT.size + 4 * free
        if height > _MAX_HEIGHT or free > FREE_IDS or at > len(data):
            raise Damaged("the head of a tree's root is impossible")
        free_ids = [_FREE.unpack_from(data, _ROOT.size + 4 * i)[0] for i in range(free)]
        if not all(0 < node_id < next_id for node_id in free_ids):
            raise Damaged("the free ids of a tree's root are impossible")
        root = decode_node(data[at:])
        if root.kind != (self.branch_kind if height else self.leaf_kind) or root.total() != count:
            raise Damaged("the root of a tree is of another kind or count")
        self.height = height
        self.next_id = next_id
        self.count = count
        self.free_ids = free_ids
        self.root = root

    def _new_leaf(self, node_id: int) -> Node:
        raise NotImplementedError

    def _take_id(self) -> int:
        if self.free_ids:
            return self.free_ids.pop()
        if self.next_id > MAX_ID:
            raise Fault("a collection ran out of node ids")
        self.next_id += 1
        return self.next_id - 1

    def _free(self, node_id: int) -> None:
        self.nodes.free(node_id)
        if len(self.free_ids) < FREE_IDS:
            self.free_ids.append(node_id)

    def _load(self, parent: Node, slot: int, height: int) -> Node:
        """Load a child of C{parent} that isn't in memory; C{height} is the number of levels below it."""
        node = self.nodes.load(parent.ids[slot])
        if node.kind != (self.branch_kind if height else self.leaf_kind):
            raise Damaged(f"node {node.node_id} is of kind {node.kind}")
        if node.total() != parent.counts[slot]:
            raise Damaged(f"node {node.node_id} has {node.total()} entries, {parent.counts[slot]} expected")
        return node

    def _child(self, parent: Node, slot: int, height: int) -> Node:
        return self.nodes.cache.young.get(self.nodes.base | parent.ids[slot]) or self._load(parent, slot,
        height)

    def _find_rank(self, rank: int, path: list[Node], slots: list[int]) -> tuple[Node, int]:
        """
        Return the leaf and the place in it of entry C{rank} (0..count; count is the end of the last leaf).

        The branches on the way and the slots taken are appended to C{path} and C{slots}.
        """
        node = self.root
        total = self.count
        height = self.height
        store = self.nodes
        young = store.cache.young
        base = store.base
        while height:
            height -= 1
            counts = node.counts
            if rank < counts[0]:
                slot = 0
            elif rank >= total - counts[-1]:
                slot = len(counts) - 1
                rank -= total - counts[-1]
            else:
                # Halving with C-level sums beats adding up in a loop.
                slot = 0
                high = len(counts)
                while high - slot > 1:
                    middle = (slot + high) >> 1
                    part = sum(counts[slot:middle])
                    if rank >= part:
                        rank -= part
                        slot = middle
                    else:
                        high = middle
            path.append(node)
            slots.append(slot)
            total = counts[slot]
            node = young.get(base | node.ids[slot]) or self._load(node, slot, height)
        return node, rank

    def _leaves(self, path: list[Node], slots: list[int], leaf: Node) -> Iterator[Node]:
        """Yield C{leaf} and the leaves after it, each loaded when asked for. Uses up C{path} and C{slots}."""
        yield leaf
        pause = self.nodes.pause
        passed = 0
        while path:
            pause()
            if slots[-1] + 1 == len(path[-1].ids):
                path.pop()
                slots.pop()
                continue
            slots[-1] += 1
            passed += 1
            if len(path) == self.height and not passed % EXPECTED:
                self.nodes.expect(path[-1].ids[slots[-1] : slots[-1] + EXPECTED])
            node = self._child(path[-1], slots[-1], self.height - len(path))
            while len(path) < self.height:
                path.append(node)
                slots.append(0)
                node = self._child(node, 0, self.height - len(path))
            yield node

    def _leaves_back(self, path: list[Node], slots: list[int], leaf: Node) -> Iterator[Node]:
        """Yield C{leaf} and the leaves before it, backwards. Uses up C{path} and C{slots}."""
        yield leaf
        pause = self.nodes.pause
        passed = 0
        while path:
            pause()
            if not slots[-1]:
                path.pop()
                slots.pop()
                continue
            slots[-1] -= 1
            passed += 1
            if len(path) == self.height and not passed % EXPECTED:
                self.nodes.expect(path[-1].ids[max(slots[-1] + 1 - EXPECTED, 0) : slots[-1] + 1])
            node = self._child(path[-1], slots[-1], self.height - len(path))
            while len(path) < self.height:
                path.append(node)
                slots.append(len(node.ids) - 1)
                node = self._child(node, slots[-1], self.height - len(path))
            yield node

    def _mark(self, path: list[Node], slots: list[int], leaf: Node, change: int) -> None:
        """Announce a change of C{change} entries in C{leaf} and count it on the way there and in the tree."""
        store = self.nodes
        active = store.rows.active
        if store.owner.table is not active:
            store.root_changed()
        for node, slot in zip(path, slots, strict=True):
            if node.table is not active and node.node_id:
                store.changed(node)
            node.counts[slot] += change
        if leaf.table is not active and leaf.node_id:
            store.changed(leaf)
        self.count += change

    def _mark_leaf(self, leaf: Node) -> None:
        """Announce a change of C{leaf} that leaves its count alone."""
        store = self.nodes
        if leaf is self.root:
            if store.owner.table is not store.rows.active:
                store.root_changed()
        elif leaf.table is not store.rows.active:
            store.changed(leaf)

    def _bias(self, path: list[Node], slots: list[int], leaf: Node, place: int) -> int:
        """Return 1 if the entry at C{place} is the last of the tree, -1 if it is the first, else 0."""
        if place == len(leaf.entries) - 1:
            if all(slot == len(node.ids) - 1 for node, slot in zip(path, slots, strict=True)):
                return 1
        if place == 0 and not any(slots):
            return -1
        return 0

    def _split(self, path: list[Node], slots: list[int], leaf: Node, bias: int) -> None:
        """Cut a leaf that is too large (see C{_bias} for C{bias}). Everything on C{path} is marked."""
        entries = leaf.entries
        values = leaf.values
        cuts: list[int] = []
        if leaf.payload <= LEAF_BYTES:
            cuts.append(_cut_count(len(entries), bias))
        else:
            if values is None:
                sizes = list(map(len, entries))
            else:
                sizes = [len(key) + len(value) for key, value in zip(entries, values, strict=True)]
            _cut_bytes(list(accumulate(sizes, initial=0)), 0, len(sizes), bias, cuts)
        siblings = []
        for start, end in zip(cuts, [*cuts[1:], len(entries)], strict=True):
            part = None if values is None else values[start:end]
            siblings.append(Node(self._take_id(), leaf.kind, entries[start:end], part, [], []))
        del entries[cuts[0] :]
        if values is not None:
            del values[cuts[0] :]
        leaf.payload -= sum(sibling.payload for sibling in siblings)
        self._add_siblings(path, slots, leaf, siblings, bias)

    def _add_siblings(
        self, path: list[Node], slots: list[int], node: Node, siblings: list[Node], bias: int
    ) -> None:
        """
        Hang in new leaves behind the leaf C{node}, cutting branches that become too large. Uses up C{path}.
        """
        bounds = []
        if self.keyed:
            left = node
            for right in siblings:
                bounds.append(shortest_bound(left.entries[-1], right.entries[0]))
                left = right
        while True:
            for sibling in siblings:
                self.nodes.add(sibling)
            if not path:
                node = self._push_down()
                path.append(self.root)
                slots.append(0)
            parent = path.pop()
            slot = slots.pop()
            parent.ids[slot + 1 : slot + 1] = [sibling.node_id for sibling in siblings]
            parent.counts[slot : slot + 1] = [node.total(), *(sibling.total() for sibling in siblings)]
            if self.keyed:
                parent.entries[slot:slot] = bounds
                parent.payload += sum(map(len, bounds))
            n = len(parent.ids)
            if n <= BRANCH_CHILDREN and (parent.payload <= BRANCH_BYTES or n < 4):
                return
            cut = _cut_count(n, bias if parent.payload <= BRANCH_BYTES else 0)
            entries = parent.entries
            sibling = Node(
                self._take_id(), self.branch_kind, entries[cut:], None, parent.ids[cut:], parent.counts[cut:]
            )
            if self.keyed:
                bounds = [entries[cut - 1]]
                parent.payload -= sibling.payload + len(bounds[0])
                del entries[cut - 1 :]
            del parent.ids[cut:]
            del parent.counts[cut:]
            node = parent
            siblings = [sibling]

    def _push_down(self) -> Node:
        """Put a new root above the content of the root; return the node of the store that holds it now."""
        root = self.root
        node = Node(self._take_id(), root.kind, root.entries, root.values, root.ids, root.counts)
        self.root = Node(0, self.branch_kind, [], None, [node.node_id], [self.count])
        self.height += 1
        self.nodes.add(node)
        return node

    def _shrink(self, path: list[Node], slots: list[int], node: Node) -> None:
        """
        Remove the leaf C{node} if it is empty, else join it with a neighbour if they fit; and so upwards.

        Everything on C{path} and C{node} are marked. Uses up C{path}.
        """
        height = 0
        while path:
            parent = path.pop()
            slot = slots.pop()
            if not (node.ids if height else node.entries):
                self._free(node.node_id)
                _drop_child(parent, slot, max(slot - 1, 0))
            elif not self._join(parent, slot, node, height):
                return
            node = parent
            height += 1
        # A root branch has at least two children, and loses one at a time, so it is never empty here.
        while self.height and len(self.root.ids) == 1:
            child = self._child(self.root, 0, self.height - 1)
            # The lists are copied: a frozen table may still have to encode the child as it is.
            values = None if child.values is None else child.values[:]
            self.root = Node(0, child.kind, child.entries[:], values, child.ids[:], child.counts[:])
            self.height -= 1
            self._free(child.node_id)

    def _join(self, parent: Node, slot: int, node: Node, height: int) -> bool:
        """
        Join C{node} with its right, else left neighbour under C{parent} if both fit into half a node.

        Return whether it did.
        """
        n = len(node.ids) if height else len(node.entries)
        if n > (HALF_BRANCH if height else HALF_LEAF):
            return False
        if node.payload > (HALF_BRANCH_BYTES if height else HALF_LEAF_BYTES):
            return False
        for place in (slot + 1, slot - 1):
            if not 0 <= place < len(parent.ids) or (not height and n + parent.counts[place] > HALF_LEAF):
                continue
            other = self._child(parent, place, height)
            left, right = (node, other) if place > slot else (other, node)
            at = min(slot, place)
            payload = node.payload + other.payload
            if height:
                bound = parent.entries[at : at + 1]
                payload += sum(map(len, bound))
                if n + len(other.ids) > HALF_BRANCH or payload > HALF_BRANCH_BYTES:
                    continue
            elif payload > HALF_LEAF_BYTES:
                continue
            if left is other and left.table is not self.nodes.rows.active:
                self.nodes.changed(left)
            if height:
                left.entries += bound
                left.ids += right.ids
                left.counts += right.counts
            left.entries += right.entries
            if left.values is not None and right.values is not None:
                left.values += right.values
            left.payload = payload
            parent.counts[at] += parent.counts[at + 1]
            self._free(right.node_id)
            _drop_child(parent, at + 1, at)
            return True
        return False

    def _remove_range(self, low: int, high: int, entries: list[bytes], values: list[bytes]) -> None:
        """
        Remove the entries low <= rank < high (0 <= low, high <= count) leaf by leaf.

        They are added to C{entries} and C{values} (if the tree has values) as they go.
        """
        while low < high:
            path: list[Node] = []
            slots: list[int] = []
            leaf, place = self._find_rank(low, path, slots)
            gone = slice(place, min(place + high - low, len(leaf.entries)))
            n = gone.stop - place
            self._mark(path, slots, leaf, -n)
            entries += leaf.entries[gone]
            leaf.payload -= sum(map(len, leaf.entries[gone]))
            del leaf.entries[gone]
            if leaf.values is not None:
                values += leaf.values[gone]
                leaf.payload -= sum(map(len, leaf.values[gone]))
                del leaf.values[gone]
            self._shrink(path, slots, leaf)
            high -= n

    def _append_run(self, entries: list[bytes], values: list[bytes] | None) -> None:
        """Append entries behind the last one, filling leaves to FILL entries or LEAF_BYTES."""
        done = 0
        while done < len(entries):
            path: list[Node] = []
            slots: list[int] = []
            leaf, _ = self._find_rank(self.count, path, slots)
            taken = self._fitting(entries, values, done, FILL - len(leaf.entries), LEAF_BYTES - leaf.payload)
            if taken or not leaf.entries:
                end = done + max(taken, 1)
                part = entries[done:end]
                self._mark(path, slots, leaf, end - done)
                leaf.entries += part
                leaf.payload += sum(map(len, part))
                if leaf.values is not None and values is not None:
                    leaf.values += values[done:end]
                    leaf.payload += sum(map(len, values[done:end]))
            else:
                end = done + max(self._fitting(entries, values, done, FILL, LEAF_BYTES), 1)
                self._mark(path, slots, leaf, end - done)
                part_values = None if values is None else values[done:end]
                new = Node(self._take_id(), self.leaf_kind, entries[done:end], part_values, [], [])
                self._add_siblings(path, slots, leaf, [new], 1)
            done = end

    @staticmethod
    def _fitting(
        entries: list[bytes], values: list[bytes] | None, start: int, room: int, room_bytes: int
    ) -> int:
        """Return how many of the entries from C{start} fit into C{room} entries and C{room_bytes} bytes."""
        end = min(start + max(room, 0), len(entries))
        for at in range(start, end):
            room_bytes -= len(entries[at]) + (0 if values is None else len(values[at]))
            if room_bytes < 0:
                return at - start
        return end - start


def _cut_count(n: int, bias: int) -> int:
    """
    Return how many of C{n} entries stay left: half, or all but a few at the end where the tree grows.

    Thanks to the few, a stack that moves to and fro over the border of two nodes doesn't make and remove one
    each time.
    """
    if bias and min(LEAF_ENTRIES, BRANCH_CHILDREN) >= n - SKEW >= SKEW:
        return n - SKEW if bias > 0 else SKEW
    return n // 2


def _cut_bytes(ends: list[int], start: int, end: int, bias: int, cuts: list[int]) -> None:
    """
    Append to C{cuts}, ascending, where the entries C{start}..C{end} are to be cut so that all parts fit.

    C{ends} are the running sums of the entries' sizes. A part fits if it has one entry or at most LEAF_BYTES.
    """
    if end - start == 1 or (ends[end] - ends[start] <= LEAF_BYTES and end - start <= LEAF_ENTRIES):
        return
    if bias:
        few = SKEW if end - start > 2 * SKEW else 1
        cut = end - few if bias > 0 else start + few
    else:
        middle = (ends[start] + ends[end]) // 2
        cut = start + 1
        while cut < end - 1 and ends[cut] < middle:
            cut += 1
    _cut_bytes(ends, start, cut, 0, cuts)
    cuts.append(cut)
    _cut_bytes(ends, cut, end, 0, cuts)


def _drop_child(parent: Node, slot: int, bound: int) -> None:
    """Take the child C{slot} out of C{parent}, and with it the bound at C{bound} if there is one."""
    del parent.ids[slot], parent.counts[slot]
    if parent.entries:
        parent.payload -= len(parent.entries.pop(bound))
