"""
Nodes of the counted B+trees behind large collections, and their row format.

A node is one row. All integers are little-endian; n is the number of entries (leaf) or of children (branch):

    kind u8 | n u32 | body
    LEAF_KEYS, LEAF_SEQUENCE   body = lengths u32[n] | entries, joined
    LEAF_PAIRS                 body = key lengths u32[n] | value lengths u32[n] | keys, values, joined
    BRANCH_KEYED               body = child ids u32[n] | counts u64[n] | lengths u32[n-1] | bounds, joined
    BRANCH_SEQUENCE            body = child ids u32[n] | counts u64[n]

A count is the number of entries below that child. Bound i lies between the children i and i+1: all keys of
child i are smaller, all keys of child i+1 greater or equal. The limits below shape the trees, so they are
part of the format: changing one needs a new apply version, or replicas would cut their nodes differently.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable
from itertools import accumulate, pairwise
from operator import lt
from struct import Struct
from typing import Any, Final, Protocol

from tinykv.errors import Damaged

LEAF_ENTRIES: Final = 128
"""Most entries in a leaf."""
LEAF_BYTES: Final = 16 * 1024
"""Most payload bytes (keys and values) in a leaf of more than one entry."""
BRANCH_CHILDREN: Final = 128
"""Most children of a branch."""
BRANCH_BYTES: Final = 16 * 1024
"""Payload (bounds) over which a branch of four or more children is halved."""
SKEW: Final = 16
"""Entries (children) that go to the new node when a node at the end where the tree grows is cut."""
FREE_IDS: Final = 16
"""Most freed node ids that a root remembers for reuse."""
MAX_ID: Final = 0xFFFFFFFF
"""Greatest node id: ids are u32. Id 0 is the root, which has no row of its own."""

HALF_LEAF: Final = LEAF_ENTRIES // 2
HALF_LEAF_BYTES: Final = LEAF_BYTES // 2
HALF_BRANCH: Final = BRANCH_CHILDREN // 2
HALF_BRANCH_BYTES: Final = BRANCH_BYTES // 2

LEAF_KEYS: Final = 1
LEAF_PAIRS: Final = 2
LEAF_SEQUENCE: Final = 3
BRANCH_KEYED: Final = 4
BRANCH_SEQUENCE: Final = 5

_HEADER: Final = Struct("<BI")
_SWAP: Final = sys.byteorder == "big"
_NODE_BYTES: Final = 400
_ENTRY_BYTES: Final = 41

UndoStep = tuple[Callable[..., object], tuple[Any, ...]]
"""A call that takes one change back: function, arguments. Steps are called in reverse order."""


class Node:
    """
    One node of a tree: a leaf (entries, perhaps values) or a branch (bounds in C{entries}, ids, counts).

    @ivar node_id: Its number within the tree; 0 for the root.
    @ivar kind: One of LEAF_* and BRANCH_*.
    @ivar entries: Sorted keys (keyed leaf), values (sequence leaf), bounds (keyed branch) or empty.
    @ivar values: One value per key in a LEAF_PAIRS, else None.
    @ivar ids: Ids of the children (branch), else empty.
    @ivar counts: Entries below each child (branch), else empty.
    @ivar payload: Exact sum of the lengths of entries and values, in bytes.
    @ivar charged: What the cache's account holds for it, in bytes; set by the node store.
    @ivar row_key: Key of its row; set by the node store.
    @ivar table: Table in which it is registered as changed; set by the node store, None when clean.
    """

    __slots__ = ("charged", "node_id", "kind", "entries", "values", "ids", "counts", "payload", "row_key", "table")

    def __init__(
        self,
        node_id: int,
        kind: int,
        entries: list[bytes],
        values: list[bytes] | None,
        ids: list[int],
        counts: list[int],
    ) -> None:
        """Make a clean node that owns the given lists."""
        self.node_id = node_id
        self.kind = kind
        self.entries = entries
        self.values = values
        self.ids = ids
        self.counts = counts
        self.payload = _length(entries) + (_length(values) if values is not None else 0)
        self.charged = 0
        self.row_key = b""
        self.table: Any = None

    @property
    def size(self) -> int:
        """Approximate memory in bytes, for cache accounting."""
        size = _NODE_BYTES + self.payload + _ENTRY_BYTES * len(self.entries) + 24 * len(self.ids)
        return size if self.values is None else size + _ENTRY_BYTES * len(self.values)

    @property
    def size_grown(self) -> int:
        """Approximate memory in bytes when it has filled with more of the same."""
        size = self.size
        return min(size * LEAF_ENTRIES // max(len(self.ids) or len(self.entries), 1), size + LEAF_BYTES)

    def total(self) -> int:
        """Return the number of entries in or below this node."""
        return sum(self.counts) if self.ids else len(self.entries)

    def encode(self) -> bytes:
        """Return the row of this node, as described in the module."""
        entries = self.entries
        ids = self.ids
        if self.kind >= BRANCH_KEYED:
            head = _HEADER.pack(self.kind, len(ids)) + _pack("I", ids) + _pack("Q", self.counts)
            if self.kind == BRANCH_SEQUENCE:
                return head
            return b"".join((head, _pack("I", map(len, entries)), *entries))
        head = _HEADER.pack(self.kind, len(entries)) + _pack("I", map(len, entries))
        if self.values is None:
            return b"".join((head, *entries))
        return b"".join((head, _pack("I", map(len, self.values)), *entries, *self.values))


def decode_node(row: bytes) -> Node:
    """
    Return the clean node that C{row} encodes; its node_id and row_key are left to the caller.

    @raise Damaged: The row is no node's.
    """
    if len(row) < _HEADER.size:
        raise Damaged(f"{len(row)} bytes are too short for a node")
    kind, n = _HEADER.unpack_from(row)
    at = _HEADER.size
    if kind in (LEAF_KEYS, LEAF_SEQUENCE):
        (lengths,) = _arrays(row, at, ("I", n))
        node = Node(0, kind, _cut(row, at + 4 * n, lengths), None, [], [])
    elif kind == LEAF_PAIRS:
        key_lengths, value_lengths = _arrays(row, at, ("I", n), ("I", n))
        both = _cut(row, at + 8 * n, key_lengths + value_lengths)
        node = Node(0, kind, both[:n], both[n:], [], [])
    elif kind in (BRANCH_KEYED, BRANCH_SEQUENCE):
        if not n:
            raise Damaged("a branch without children")
        bounds = n - 1 if kind == BRANCH_KEYED else 0
        ids, counts, lengths = _arrays(row, at, ("I", n), ("Q", n), ("I", bounds))
        entries = _cut(row, at + 12 * n + 4 * bounds, lengths)
        node = Node(0, kind, entries, None, ids.tolist(), counts.tolist())
        if 0 in ids or len(set(ids)) != n or 0 in counts:
            raise Damaged("a branch with impossible child ids or counts")
    else:
        raise Damaged(f"a node of unknown kind {kind}")
    if kind in (LEAF_KEYS, LEAF_PAIRS, BRANCH_KEYED) and not all(map(lt, node.entries, node.entries[1:])):
        raise Damaged("a node whose keys don't ascend")
    return node


def shortest_bound(left: bytes, right: bytes) -> bytes:
    """
    Return the shortest prefix of C{right} that is greater than C{left}, which must be smaller than C{right}.
    """
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[:middle] == right[:middle]:
            low = middle
        else:
            high = middle - 1
    return right[: low + 1]


def _length(parts: Iterable[bytes]) -> int:
    return sum(map(len, parts))


def _pack(code: str, numbers: Iterable[int]) -> bytes:
    packed = array(code, numbers)
    if _SWAP:
        packed.byteswap()
    return packed.tobytes()


def _arrays(row: bytes, at: int, *shapes: tuple[str, int]) -> list[array[int]]:
    """Read the arrays of the given (type code, length) that follow each other from offset C{at}."""
    arrays = []
    for code, n in shapes:
        numbers = array(code)
        end = at + n * numbers.itemsize
        if end > len(row):
            raise Damaged("a node is cut short")
        numbers.frombytes(row[at:end])
        if _SWAP:
            numbers.byteswap()
        arrays.append(numbers)
        at = end
    return arrays


def _cut(row: bytes, at: int, lengths: array[int]) -> list[bytes]:
    """Return the pieces of the given lengths that fill C{row} from offset C{at} exactly."""
    ends = list(accumulate(lengths, initial=at))
    if ends[-1] != len(row):
        raise Damaged(f"a node of {len(row)} bytes instead of {ends[-1]}")
    return [row[start:end] for start, end in pairwise(ends)]


class Tables(Protocol):
    """What a tree needs of the row store: which table takes changes now."""

    @property
    def active(self) -> object:
        """The table in which changed objects are registered. It changes only between commands."""


class NodeCache(Protocol):
    """Nodes in memory, perhaps of many trees."""

    @property
    def young(self) -> dict[int, Node]:
        """The nodes used lately, by name: a tree's base or-ed with the node id."""


class Owner(Protocol):
    """The live object whose row holds the root of the tree."""

    @property
    def table(self) -> object:
        """The table in which the owner is registered as changed, None when clean."""


class NodeStore(Protocol):
    """
    Where the nodes of one tree live.

    The cache may forget a node at any time; while the node is registered as changed in a table, C{load} gives
    that same object back. The tree calls C{changed} (and for the root C{root_changed}) only when the node's
    (the owner's) C{table} isn't C{rows.active}; afterwards it is. While a tree operation runs, C{rows.active}
    stays the same.
    """

    @property
    def cache(self) -> NodeCache:
        """The nodes in memory. The tree looks there before it calls C{load}, and never writes."""

    @property
    def generation(self) -> int:
        """What tells the tree from all others that ever were in its slot, in the keys of its rows."""

    @property
    def base(self) -> int:
        """What a node id is or-ed with to give its name in the cache."""

    @property
    def rows(self) -> Tables:
        """The tables of rows."""

    @property
    def owner(self) -> Owner:
        """The owner of the root."""

    @property
    def undo(self) -> list[UndoStep]:
        """The inverses of the running command's changes: the tree appends to it."""

    @property
    def pause(self) -> Callable[[], None]:
        """Called from leaf to leaf: a long walk may rest there. Nobody else touches the tree meanwhile."""

    def expect(self, node_ids: list[int]) -> None:
        """Called on a long walk with the leaves that come next: the time to read them all at once."""

    def load(self, node_id: int) -> Node:
        """Return the node of this id, from its row if need be, and keep it in the cache."""

    def add(self, node: Node) -> None:
        """Take a new node: give it its row_key, register it as changed, keep it in the cache."""

    def changed(self, node: Node) -> None:
        """
        Called before C{node} changes: register it as changed.

        If it is registered in a frozen table that isn't encoded yet, it must be encoded there first.
        """

    def free(self, node_id: int) -> None:
        """Forget the node and delete its row. The object changes no more; its id may be used again."""

    def root_changed(self) -> None:
        """Called before the root changes: register the owner as changed, as C{changed} does a node."""
