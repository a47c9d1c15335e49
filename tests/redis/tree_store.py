"""A node store in memory that forgets what it may forget, and checks what a tree promises it."""

from __future__ import annotations

from random import Random

from tinykv.redis.tree import KeyedTree, Node, SequenceTree, UndoStep, decode_node


class Table:
    """A memory table: live nodes until it is encoded, None for a deleted row."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes | Node | None] = {}
        #: What the nodes of a frozen table must still say when they are encoded.
        self.expected: dict[bytes, bytes] = {}

    def encode(self, row_key: bytes) -> None:
        """Encode one node; nothing may have changed it since the table was frozen."""
        node = self.rows[row_key]
        if isinstance(node, Node):
            row = node.encode()
            assert row == self.expected[row_key], "a node changed before it was announced"
            self.rows[row_key] = row
            node.table = None


class Rows:
    """The active table."""

    def __init__(self) -> None:
        self.active = Table()


class Owner:
    """Whoever holds the root."""

    def __init__(self) -> None:
        self.table: Table | None = None


class Cache:
    """The nodes in memory."""

    def __init__(self) -> None:
        self.young: dict[int, Node] = {}


class MemoryNodes:
    """
    The store of one tree.

    @ivar rows_below: Encoded rows, as they are in the database.
    @ivar random: Decides what is forgotten; None forgets nothing.
    @ivar loads: How many rows were decoded.
    """

    base = 7 << 32
    generation = 7

    def pause(self) -> None:
        """Everything happens at once here."""

    def expect(self, node_ids: list[int]) -> None:
        """Note what is said to come."""
        self.expected += node_ids

    def __init__(self, random: Random | None = None) -> None:
        self.random = random
        self.expected: list[int] = []
        self.cache = Cache()
        self.rows = Rows()
        self.owner = Owner()
        self.undo: list[UndoStep] = []
        self.rows_below: dict[bytes, bytes] = {}
        self.frozen: list[Table] = []
        self.loads = 0

    @staticmethod
    def row_key(node_id: int) -> bytes:
        """Name the row of a node."""
        return b"n%08x" % node_id

    def load(self, node_id: int) -> Node:
        self._forget_some()
        node = self.cache.young.get(self.base | node_id)
        if node is None:
            node = self._find(self.row_key(node_id), node_id)
            self.cache.young[self.base | node_id] = node
        return node

    def _find(self, row_key: bytes, node_id: int) -> Node:
        for table in (self.rows.active, *reversed(self.frozen)):
            if row_key in table.rows:
                row = table.rows[row_key]
                assert row is not None, "a deleted node was asked for"
                break
        else:
            row = self.rows_below[row_key]
        if isinstance(row, Node):
            return row
        self.loads += 1
        node = decode_node(row)
        node.node_id = node_id
        node.row_key = row_key
        return node

    def add(self, node: Node) -> None:
        node.row_key = self.row_key(node.node_id)
        node.table = self.rows.active
        self.rows.active.rows[node.row_key] = node
        self.cache.young[self.base | node.node_id] = node

    def changed(self, node: Node) -> None:
        assert node.table is not self.rows.active
        if node.table is not None:
            node.table.encode(node.row_key)
        node.table = self.rows.active
        self.rows.active.rows[node.row_key] = node

    def free(self, node_id: int) -> None:
        self.cache.young.pop(self.base | node_id, None)
        self.rows.active.rows[self.row_key(node_id)] = None

    def root_changed(self) -> None:
        assert self.owner.table is not self.rows.active
        self.owner.table = self.rows.active

    def _forget_some(self) -> None:
        if self.random is not None:
            for name in [name for name in self.cache.young if self.random.random() < 0.3]:
                del self.cache.young[name]

    def between_commands(self) -> None:
        """Freeze, encode and forget at random."""
        if self.random is not None:
            if self.random.random() < 0.1:
                self.freeze()
            if self.frozen and self.random.random() < 0.1:
                self.flush()
            self._forget_some()

    def freeze(self) -> None:
        """Begin a new active table."""
        table = self.rows.active
        for row_key, node in table.rows.items():
            if isinstance(node, Node):
                table.expected[row_key] = node.encode()
        self.frozen.append(table)
        self.rows.active = Table()

    def flush(self) -> None:
        """Move the oldest frozen table into the rows below."""
        table = self.frozen.pop(0)
        for row_key in table.rows:
            table.encode(row_key)
            row = table.rows[row_key]
            if row is None:
                self.rows_below.pop(row_key, None)
            else:
                assert isinstance(row, bytes)
                self.rows_below[row_key] = row

    def flush_all(self) -> dict[bytes, bytes]:
        """Encode everything, forget all nodes, and return the rows."""
        self.freeze()
        while self.frozen:
            self.flush()
        self.cache.young.clear()
        return self.rows_below

    def take_back(self) -> None:
        """Run the inverses of all that was recorded."""
        steps = self.undo[::-1]
        self.undo.clear()
        for function, arguments in steps:
            function(*arguments)
        assert not self.undo, "an inverse was recorded"


def check_shape(tree: KeyedTree | SequenceTree, nodes: MemoryNodes) -> None:
    """Check the whole tree: counts, bounds, limits, payloads, and that there are no rows besides."""
    seen: set[int] = set()

    def check(node: Node, height: int, low: bytes | None, high: bytes | None) -> int:
        parts = node.entries + (node.values or [])
        assert node.payload == sum(map(len, parts))
        if not height:
            assert node.kind == tree.leaf_kind and not node.ids
            assert len(node.entries) <= 128 and (node.payload <= 16384 or len(node.entries) == 1)
            if tree.keyed:
                assert node.entries == sorted(set(node.entries))
                assert not node.entries or low is None or low <= node.entries[0]
                assert not node.entries or high is None or node.entries[-1] < high
            return len(node.entries)
        assert node.kind == tree.branch_kind and 1 <= len(node.ids) <= 128
        assert len(node.entries) == (len(node.ids) - 1 if tree.keyed else 0)
        assert len(node.counts) == len(node.ids)
        bounds = [low, *node.entries, high] if tree.keyed else [None] * (len(node.ids) + 1)
        for slot, node_id in enumerate(node.ids):
            assert node_id not in seen and 0 < node_id < tree.next_id
            seen.add(node_id)
            child = nodes.load(node_id)
            assert child.node_id == node_id
            total = check(child, height - 1, bounds[slot], bounds[slot + 1])
            assert total == node.counts[slot] > 0
        return sum(node.counts)

    assert check(tree.root, tree.height, None, None) == tree.count
    assert not tree.height or len(tree.root.ids) > 1
    assert not seen & set(tree.free_ids)
    assert len(set(tree.free_ids)) == len(tree.free_ids) <= 16
    assert set(nodes.flush_all()) == {nodes.row_key(node_id) for node_id in seen}
