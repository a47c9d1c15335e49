"""
Do the rows of a stopped store mean what they must? Reads every row of data.db once, and every tree from its root.

Memory is bounded by one tree (its node numbers) and one slot's trees (a number each), not by the data.
"""

from __future__ import annotations

import sqlite3
from binascii import crc32
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from struct import Struct
from typing import Any

from tinykv.cli.tree_check import check_tree, trees_of
from tinykv.errors import Damaged
from tinykv.keys import (
    DATABASES,
    KIND_COUNTER,
    KIND_META,
    KIND_NODE,
    META_KEY_OFFSET,
    RAW_PREFIX,
    SLOTS,
    region_row,
    slot_of,
)
from tinykv.redis.commands import VALUE_TYPES
from tinykv.redis.keyed_value import KeyedValue, place
from tinykv.redis.keyspace import Keyspace
from tinykv.redis.settings import Settings
from tinykv.redis.value import STRING, check_row, row_body, row_expires, row_type, row_version
from tinykv.redis.waiters import Waiters
from tinykv.redis.zset_value import SortedSet
from tinykv.region.descriptor import Descriptor
from tinykv.region.state import ApplyState
from tinykv.region.tombstone import decode_tombstone
from tinykv.storage.reader import Reader
from tinykv.storage.rowstore import RowStore

_COUNTS = Struct(">QQ")
_COUNTER_BYTES = 5
_NODE_BYTES = 17

#: Memory for the tree nodes that are read, in bytes.
_BUDGET = 64 << 20

#: Rows between two calls of the progress callback.
_STEP = 1000

#: A node row's value is read when its tree is walked, so it's left out here.
_ROWS = """
    SELECT key, CASE WHEN length(key) = 17 AND substr(key, 5, 1) = x'02' THEN x'' ELSE value END
    FROM data ORDER BY key
"""


@dataclass
class Totals:
    """What was counted on the way."""

    rows: int = 0
    keys: int = 0
    expiring: int = 0
    nodes: int = 0
    raw: int = 0
    databases: set[int] = field(default_factory=set)


@dataclass
class _Group:
    """What belongs to one (slot, database): the counter's figures, and what was found."""

    slot: int
    db: int
    counted: tuple[int, int] | None = None
    keys: int = 0
    expires: int = 0
    #: generation -> [nodes that trees refer to, node rows found]
    nodes: dict[int, list[int]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name it for a person."""
        return f"slot {self.slot} of database {self.db}"


class RowsCheck:
    """
    One walk over data.db.

    @ivar totals: What was counted so far.
    """

    def __init__(self, connection: sqlite3.Connection, path: str, tell: Callable[[int], None]) -> None:
        """
        @param connection: To data.db; nothing else may change the file meanwhile.
        @param path: Of data.db, for the findings.
        @param tell: Told the number of rows done since it was called last.
        """
        self._connection = connection
        self._path = path
        self._tell = tell
        self.totals = Totals()
        self._rows = RowStore(Reader(path, connection))
        self._keyspace = Keyspace(self._rows, VALUE_TYPES, budget=_BUDGET)
        self._sequence = 0

    def findings(self) -> Iterator[str]:
        """Yield what is wrong, one sentence each."""
        for text in (*self._region_rows(), *self._raw_rows()):
            yield f"{self._path}: {text}"
        for text in self._data_rows():
            yield f"{self._path}: {text}"

    def _region_rows(self) -> Iterator[str]:
        """Check the rows that describe regions."""
        known = {b"databases", b"settings", b"merging"}
        regions: set[int] = set()
        for key, value in self._connection.execute("SELECT key, value FROM region ORDER BY key"):
            self._count_row()
            if key.startswith(b"apply") and len(key) == 13:
                try:
                    self._sequence = max(self._sequence, ApplyState.decode(value).sequence)
                except Damaged as problem:
                    yield f"region {int.from_bytes(key[5:], 'big')}: {problem}"
            elif key.startswith(b"descriptor") and len(key) == 18:
                region = int.from_bytes(key[10:], "big")
                try:
                    Descriptor.decode(region, value)
                except Damaged as problem:
                    yield f"descriptor of region {region}: {problem}"
            elif key.startswith(b"tombstone") and len(key) == 17:
                try:
                    decode_tombstone(value)
                except Damaged as problem:
                    yield f"region {int.from_bytes(key[9:], 'big')}: {problem}"
            elif key.startswith(b"region") and (
                key[14:] in known or key[14:21] in (b"waiter/", b"merged/") and len(key) == 29
            ):
                regions.add(int.from_bytes(key[6:14], "big"))
            else:
                yield f"an unknown row {key!r} among those of regions"
        for region in sorted(regions):
            yield from self._own_rows(region)

    def _own_rows(self, region: int) -> Iterator[str]:
        """Check what commands keep of a region."""
        try:
            Settings(region).load(self._rows)
            Waiters(self._rows, region).load()
        except Damaged as problem:
            yield f"region {region}: {problem}"
        order = self._rows.get("region", region_row(region, b"databases"))
        if isinstance(order, bytes) and sorted(order) != list(range(DATABASES)):
            yield f"region {region}: the order of the databases is damaged"

    def _raw_rows(self) -> Iterator[str]:
        """Check that raw entries lie where raw entries lie."""
        for family in ("default", "lock", "write"):
            for (key,) in self._connection.execute(f'SELECT key FROM "{family}"'):
                self._count_row()
                self.totals.raw += 1
                if not key.startswith(RAW_PREFIX):
                    yield f"the row {key!r} of family {family} is no raw entry"

    def _data_rows(self) -> Iterator[str]:
        """Check the counters, keys and tree nodes of every slot."""
        group: _Group | None = None
        for key, value in self._connection.execute(_ROWS):
            self._count_row()
            slot, db = int.from_bytes(key[1:3], "big"), key[3] if len(key) > 3 else DATABASES
            if key[:1] != b"r" or len(key) < _COUNTER_BYTES or slot >= SLOTS or db >= DATABASES:
                yield f"the row {key!r} lies where nothing may lie"
                continue
            if group is None or (group.slot, group.db) != (slot, db):
                if group is not None:
                    yield from _end(group)
                group = _Group(slot, db)
            kind = key[4]
            if kind == KIND_COUNTER and len(key) == _COUNTER_BYTES:
                if len(value) == _COUNTS.size:
                    group.counted = _COUNTS.unpack(value)
                else:
                    yield f"the counter row of {group.name} is damaged"
            elif kind == KIND_META and len(key) >= META_KEY_OFFSET:
                yield from self._meta_row(group, key, value)
            elif kind == KIND_NODE and len(key) == _NODE_BYTES:
                self.totals.nodes += 1
                group.nodes.setdefault(int.from_bytes(key[5:13], "big"), [0, 0])[1] += 1
            else:
                yield f"the row {key!r} is of no known kind"
        if group is not None:
            yield from _end(group)

    def _meta_row(self, group: _Group, row_key: bytes, row: bytes) -> Iterator[str]:
        """Check a key: where it lies, its head, its value, its place in the index of expiries."""
        key = row_key[META_KEY_OFFSET:]
        name = f"key {key!r} of database {group.db}"
        totals = self.totals
        totals.keys += 1
        totals.databases.add(group.db)
        group.keys += 1
        if slot_of(key) != group.slot or crc32(key).to_bytes(4, "big") != row_key[5:META_KEY_OFFSET]:
            yield f"{name} lies in another place than its own"
        try:
            check_row(row)
            if row_version(row) > self._sequence:
                yield f"{name} has a version that was never given"
            expires = row_expires(row)
            if expires:
                totals.expiring += 1
                group.expires += 1
                if not self._indexed(expires, row_key):
                    yield f"{name} is missing in the index of expiries, so it wouldn't be deleted when its time is over"
            if row_type(row) != STRING:
                for text in self._collection(group, key, row_key, row):
                    yield f"{name}: {text}"
        except Damaged as problem:
            yield f"{name}: {problem}"

    def _indexed(self, expires: int, row_key: bytes) -> bool:
        execute = self._connection.execute
        return execute("SELECT 1 FROM expiries WHERE at = ? AND key = ?", (expires, row_key)).fetchone() is not None

    def _collection(self, group: _Group, key: bytes, row_key: bytes, row: bytes) -> Iterator[str]:
        """
        Check a collection against its row, and all its trees.

        @raise Damaged: It can't be read at all.
        """
        keyspace = self._keyspace
        value = keyspace.types[row_type(row)](keyspace.physical[group.db], key, row_key)
        value.version = row_version(row)
        value.expires = row_expires(row)
        value.decode_body(row_body(row))
        if not len(value):
            yield "it's empty"
        if value.encode() != row:
            yield "its row isn't what would be written for it"
        sound = True
        for generation in value.generations():
            group.nodes.setdefault(generation, [0, 0])
            if generation > self._sequence:
                yield f"the generation {generation} was never given"
        leaf = _check_place if isinstance(value, KeyedValue) else None
        for tree in trees_of(value):
            nodes: Any = tree.nodes
            ids: set[int] = set()
            for text in check_tree(tree, self._node_row(group, nodes.generation), ids, leaf):
                sound = False
                yield text
            group.nodes.setdefault(nodes.generation, [0, 0])[0] += len(ids)
        if sound and isinstance(value, SortedSet):
            yield from self._agreement(value)
        keyspace.turn()

    def _node_row(self, group: _Group, generation: int) -> Callable[[int], bytes | None]:
        """Give a function that reads the row of a node."""
        head = b"r" + group.slot.to_bytes(2, "big") + bytes((group.db, KIND_NODE)) + generation.to_bytes(8, "big")

        def read(node_id: int) -> bytes | None:
            row = self._rows.get("data", head + node_id.to_bytes(4, "big"))
            assert row is None or isinstance(row, bytes)
            return row

        return read

    def _agreement(self, value: SortedSet) -> Iterator[str]:
        """Check that the order of a sorted set and its members' scores say the same."""
        count = 0
        last: tuple[float, bytes] | None = None
        for member, score in value.items():
            count += 1
            if last is not None and (score, member) <= last:
                yield f"the member {member!r} stands behind one that is greater"
                return
            last = (score, member)
            if value.score(member) != score:
                yield f"the member {member!r} has one score in the order and another by its name"
                return
            if count % _STEP == 0:
                self._keyspace.turn()
        if count != len(value):
            yield f"{count} members are in order, but {len(value)} are counted"

    def _count_row(self) -> None:
        self.totals.rows += 1
        if self.totals.rows % _STEP == 0:
            self._tell(_STEP)


def _end(group: _Group) -> Iterator[str]:
    """Check what can be said only when all rows of a (slot, database) were seen."""
    if group.counted is None:
        yield f"{group.name} has no counter row"
    elif group.counted != (group.keys, group.expires):
        keys, expires = group.counted
        yield (
            f"the counter row of {group.name} says {keys} keys, {expires} with an expiry; there are {group.keys} and"
            f" {group.expires}"
        )
    for generation, (wanted, found) in group.nodes.items():
        if found > wanted:
            yield f"{found - wanted} tree nodes of generation {generation} in {group.name} belong to no key"


def _check_place(name: bytes) -> str | None:
    """Check the name of an element in the tree of a hash or a set."""
    return None if len(name) >= 4 and place(name[4:]) == name else "an element stands under another's hash"
