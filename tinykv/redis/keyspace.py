"""
The databases of one region: live values in front of rows.

What a command sees is a L{Database}: keys and typed values. Beneath it lie the rows (memory tables, then SQLite);
between them a cache of live values in two generations. A value that is used is in the young one; when that has grown
to half the memory budget it becomes the old one, and what wasn't used since is dropped with the next turn of the
wheel. So nothing is kept per use: a hit in the young generation is one dict lookup, and no list is maintained. A
dropped value that has changed is still in its memory table and comes back from there.

A command is all or nothing (R14 of the design): every change appends its inverse to L{Keyspace.undo};
L{Keyspace.rollback} runs them backwards, L{Keyspace.commit} forgets them. Values emptied by a command are deleted at
its commit, as Redis never keeps an empty collection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from struct import Struct
from typing import Any, Protocol, TypeVar

from tinykv.errors import Damaged, WrongType
from tinykv.keys import (
    ALL_SLOTS,
    DATABASES,
    FIRST_REGION,
    KIND_COUNTER,
    META_KEY_OFFSET,
    SLOTS,
    counter_key,
    database_range,
    generation_range,
    meta_key,
    meta_range,
    node_key,
    place_of,
    region_row,
    slot_of,
    slots_range,
)
from tinykv.redis.idleness import Idleness
from tinykv.redis.sampling import Chance, pick
from tinykv.redis.settings import SETTINGS_ROW, Settings
from tinykv.redis.tree import Node, decode_node
from tinykv.redis.value import (
    KEY_OVERHEAD,
    STRING,
    STRING_EXPIRES,
    Encodable,
    Value,
    check_row,
    expiring_head,
    plain_head,
    row_body,
    row_expires,
    row_type,
    row_version,
)

V = TypeVar("V", bound=Value)
Live = bytes | Value

_COUNTS = Struct(">QQ")
#: Names the row that says in which order clients select the databases.
_ORDER = b"databases"
#: How many dropped entries are freed at a time, so that no turn pays for a whole generation.
_DROP_SLICE = 4000
#: How many slots are counted together.
_BLOCK = 128
#: Up to so many keys of a slot are counted through to find one by its rank.
_RANKED = 1000
#: How many bits a slot's number has.
_SLOT_BITS = 14
#: How many keys behind a place by chance are chosen from, so that one behind a wide gap isn't chosen much more often.
_PICKED_FROM = 16


class Rows(Protocol):
    """What the keyspace needs of the row store; see L{tinykv.storage.rowstore.RowStore}."""

    active: Any

    def pause(self) -> None:
        """Let the running command rest, if it's time for that; to be called often by what may take long."""

    def expect(self, keys: list[bytes]) -> None:
        """Learn that these rows will be asked for next, and read them meanwhile if they aren't in memory."""

    def get(self, family: str, key: bytes) -> bytes | Encodable | None:
        """Give a row, or the live object that stands for it."""

    def scan(
        self, family: str, start: bytes, end: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes | Encodable]]:
        """Give the rows of a range in key order."""

    def put(self, family: str, key: bytes, value: bytes) -> None:
        """Write a row."""

    def put_many(self, family: str, keys: list[bytes], values: list[bytes]) -> None:
        """Write rows, one after another."""

    def remove(self, family: str, key: bytes) -> None:
        """Delete a row."""

    def mark(self, obj: Encodable) -> None:
        """Register a live object that is about to change."""

    def settle(self, start: bytes, end: bytes) -> None:
        """Let the bytes stand for themselves, in a range of family C{data}, for which live objects stand."""

    def delete_ranges(self, family: str, ranges: list[tuple[bytes, bytes]]) -> None:
        """Delete whole ranges, in apply order."""

    def discard(self, family: str, start: bytes, end: bytes) -> None:
        """Delete, some time, rows that nothing refers to and whose keys won't be used again."""

    def note_expiry(self, at_ms: int, row_key: bytes) -> None:
        """Enter a key into the index of expiries."""

    def forget_expiry(self, at_ms: int, row_key: bytes) -> None:
        """Take a key out of the index of expiries."""


class Counter:
    """The counter row of a (slot, db): how many keys it holds, and how many of them can expire."""

    __slots__ = ("expires", "keys", "row_key", "table")

    def __init__(self, row_key: bytes, keys: int = 0, expires: int = 0) -> None:
        self.row_key = row_key
        self.table: object | None = None
        self.keys = keys
        self.expires = expires

    def encode(self) -> bytes:
        """Give the row: two numbers of 8 bytes."""
        return _COUNTS.pack(self.keys, self.expires)


class Database:
    """
    One of the 16 databases of a region.

    @ivar number: Its physical number, as in row keys; SWAPDB exchanges whole databases, so that the number by which
        clients select it may be another.
    @ivar live: The young generation of live values by raw key. A string is its meta row.
    @ivar keys: How many keys there are, expired ones that are not yet deleted included.
    @ivar expiring: How many of them have an expiry.
    """

    __slots__ = ("_blocks", "counters", "expiring", "keys", "keyspace", "live", "number", "old")

    def __init__(self, keyspace: Keyspace, number: int) -> None:
        self.keyspace = keyspace
        self.number = number
        self.live: dict[bytes, Live] = {}
        self.old: dict[bytes, Live] = {}
        #: Of the slots that hold anything; and how many keys each L{_BLOCK} of slots holds, to find those by.
        self.counters: dict[int, Counter] = {}
        self._blocks = [0] * (SLOTS // _BLOCK)
        self.keys = 0
        self.expiring = 0

    # Reading

    def get(self, key: bytes) -> Live | None:
        """Give what a key holds: a string's meta row or a L{Value}; None if there is nothing, or it has expired."""
        value = self.live.get(key)
        if value is None:
            value = self._load(key)
            if value is None:
                if not self.keyspace.writing:
                    self.keyspace.misses += 1
                return None
        if type(value) is bytes:
            if value[0] == STRING:
                return value
            expires = row_expires(value)
        else:
            expires = value.expires  # type: ignore[union-attr]
        if expires and expires <= self.keyspace.now:
            self._found_expired(key, expires)
            return None
        return value

    def string(self, key: bytes) -> bytes | None:
        """
        Give the string that a key holds, or None.

        @raise WrongType: It holds something else.
        """
        row = self.get(key)
        if row is None:
            return None
        if type(row) is not bytes:
            raise WrongType()
        return row[9:] if row[0] == STRING else row[17:]

    def typed(self, key: bytes, cls: type[V]) -> V | None:
        """
        Give the collection of this type that a key holds, or None.

        @raise WrongType: It holds something else.
        """
        value = self.live.get(key)
        if type(value) is cls and not value.expires:
            return value
        value = self.get(key)
        if value is None:
            return None
        if type(value) is not cls:
            raise WrongType()
        return value

    def expires_at(self, key: bytes) -> int:
        """Give an existing key's expiry in ms since 1970; 0 for never, -1 if there's no such key."""
        value = self.get(key)
        if value is None:
            return -1
        return row_expires(value) if type(value) is bytes else value.expires  # type: ignore[union-attr]

    def version(self, key: bytes) -> int:
        """Give a key's version for WATCH: 0 when it is absent."""
        value = self.get(key)
        if value is None:
            return 0
        return row_version(value) if type(value) is bytes else value.version  # type: ignore[union-attr]

    def _load(self, key: bytes) -> Live | None:
        """Find a value that isn't in the young generation, and put it there."""
        keyspace = self.keyspace
        value = self.old.pop(key, None)
        if value is None:
            if keyspace.complete:
                return None
            row_key = meta_key(self.number, key)
            row = keyspace.rows.get("data", row_key)
            if row is None:
                return None
            value = self._alive(key, row_key, row)
        self.live[key] = value
        if type(value) is bytes:
            keyspace.used += len(value) + len(key) + KEY_OVERHEAD
        else:
            value.charged = value.size() + len(key) + KEY_OVERHEAD  # type: ignore[union-attr]
            keyspace.used += value.charged  # type: ignore[union-attr]
        return value

    def _alive(self, key: bytes, row_key: bytes, row: bytes | Encodable) -> Live:
        """Make a live value of a row; the object that already stands for it comes back as it is."""
        if isinstance(row, Value):
            return row
        assert isinstance(row, bytes)
        check_row(row)
        kind = row_type(row)
        if kind == STRING:
            return row
        value = self.keyspace.types[kind](self, key, row_key)
        value.version = row_version(row)
        value.expires = row_expires(row)
        value.decode_body(row_body(row))
        return value

    def _found_expired(self, key: bytes, expires: int) -> None:
        """
        Meet a key whose time is over.

        A writing command deletes it, with the entry's time that is the same on every replica. A reading one can't
        write: what only the clock says has expired is noted, so that the expiry is proposed and decided in the log
        before the reader is answered (R15).
        """
        keyspace = self.keyspace
        if keyspace.writing:
            self.delete(key)
            keyspace.count_expired(1)
            keyspace.undo.append((keyspace.count_expired, (-1,)))
        elif expires > keyspace.region_time:
            keyspace.noticed.append((self, key))
        else:
            keyspace.misses += 1

    # Writing

    def set_string(self, key: bytes, payload: bytes, expires: int = 0) -> None:
        """Let a key hold a string, whatever it held before; C{expires} in ms since 1970, 0 for never."""
        keyspace = self.keyspace
        live = self.live
        old = live.get(key)
        if old is None and (self.old or not keyspace.complete):
            old = self._load(key)
        if expires:
            row = expiring_head(STRING_EXPIRES, keyspace.sequence, expires) + payload
        else:
            row = plain_head(STRING, keyspace.sequence) + payload
        keyspace.undo.append((self._replace, (key, row, old)))
        keyspace.changes += 1
        # The commonest cases: a string that doesn't expire takes another's place, or nobody's.
        if not expires and old is None:
            live[key] = row
            row_key = meta_key(self.number, key)
            keyspace.rows.put("data", row_key, row)
            keyspace.used += len(row) + len(key) + KEY_OVERHEAD
            # The slot stands in the row's key.
            self._count(row_key[1] << 8 | row_key[2], 1, 0)
        elif not expires and type(old) is bytes and old[0] == STRING:
            live[key] = row
            keyspace.rows.put("data", meta_key(self.number, key), row)
            keyspace.used += len(row) - len(old)
        else:
            self._replace(key, old, row)

    def set_strings(self, requests: Iterable[list[bytes]]) -> int:
        """
        Let keys hold strings that never expire, as if each were set by a command of its own, with the next sequence.

        It ends before one that isn't among the commonest cases of L{set_string}, or that has other arguments.

        @param requests: The second argument of each is a key, the third and last what it's to hold.
        @return: How many were set; the next one is to be run alone.
        """
        keyspace = self.keyspace
        live = self.live
        number = self.number
        first, end = keyspace.slots
        whole = keyspace.complete and not self.old
        row_keys: list[bytes] = []
        rows: list[bytes] = []
        begun: list[int] = []
        used = 0
        sequence = keyspace.sequence
        for request in requests:
            if len(request) != 3:
                break
            _, key, payload = request
            old = live.get(key)
            if old is None:
                if not whole:
                    break
            elif type(old) is not bytes or old[0] != STRING:
                break
            row_key = meta_key(number, key)
            slot = row_key[1] << 8 | row_key[2]
            if not first <= slot < end:
                break
            if old is None:
                used += len(key) + KEY_OVERHEAD
                begun.append(slot)
            else:
                used -= len(old)
            sequence += 1
            live[key] = row = plain_head(STRING, sequence) + payload
            used += len(row)
            row_keys.append(row_key)
            rows.append(row)
        done = len(rows)
        keyspace.rows.put_many("data", row_keys, rows)
        self._count_begun(begun)
        keyspace.used += used
        keyspace.changes += done
        keyspace.sequence = sequence
        return done

    def create(self, key: bytes, cls: type[V]) -> V:
        """Let a key that holds nothing hold an empty collection; if it's still empty at commit it's deleted."""
        value = cls(self, key, meta_key(self.number, key))
        self.keyspace.undo.append((self._replace, (key, value, None)))
        self._replace(key, None, value)
        value.touch()
        return value

    def typed_or_new(self, key: bytes, cls: type[V]) -> V:
        """
        Give the collection of this type that a key holds; a new one if it holds nothing.

        @raise WrongType: It holds something else.
        """
        value = self.typed(key, cls)
        return self.create(key, cls) if value is None else value

    def delete(self, key: bytes) -> bool:
        """Delete a key, whatever it holds; say if there was something (an expired value counts as something)."""
        old = self.live.get(key)
        if old is None:
            old = self._load(key)
            if old is None:
                return False
        self.keyspace.undo.append((self._replace, (key, None, old)))
        self._replace(key, old, None)
        self.keyspace.changes += 1
        return True

    def set_expires(self, key: bytes, expires: int) -> None:
        """Change the expiry of an existing key; 0 for never."""
        value = self.get(key)
        assert value is not None
        if type(value) is bytes:
            self.set_string(key, value[9:] if value[0] == STRING else value[17:], expires)
            return
        assert isinstance(value, Value)
        value.set_expires(expires)
        self.keyspace.changes += 1

    def clear(self) -> None:
        """Delete everything; not undone by a rollback, so it's the last step of its command."""
        if not self.keys:
            return
        keyspace = self.keyspace
        keyspace.changes += self.keys
        keyspace.rows.delete_ranges("data", sorted(database_range(slot, self.number) for slot in self.counters))
        self.forget()
        keyspace.nodes.forget(self.number)
        keyspace.cleared()

    def clear_slots(self, slots: tuple[int, int]) -> bool:
        """Delete everything in some slots, and say if there was something; what the cache has of it means nothing."""
        gone = self._cut(slots)
        if gone:
            ranges = sorted(database_range(slot, self.number) for slot in gone)
            self.keyspace.rows.delete_ranges("data", ranges)
            self.keyspace.changes += sum(counter.keys for counter in gone.values())
        return bool(gone)

    def counts_within(self, slots: tuple[int, int]) -> tuple[int, int]:
        """Count the keys of some slots, expired ones that are not yet deleted included, and those that can expire."""
        first, end = slots
        found = [counter for slot, counter in self.counters.items() if first <= slot < end]
        return sum(counter.keys for counter in found), sum(counter.expires for counter in found)

    def forget(self) -> None:
        """Begin anew without any keys; their rows are gone."""
        self.keyspace.drop(self.live)
        self.keyspace.drop(self.old)
        self.live = {}
        self.old = {}
        self.counters = {}
        self._blocks = [0] * len(self._blocks)
        self.keys = self.expiring = 0

    def expiry_changed(self, key: bytes, before: int, after: int) -> None:
        """Account for another expiry of a collection, in ms since 1970; 0 for never."""
        self._index(key, before, after)
        if (before > 0) != (after > 0):
            self._count(slot_of(key), 0, 1 if after else -1)

    def _index(self, key: bytes, before: int, after: int) -> None:
        """Keep the index of expiries: it has one entry for each key that expires, and few that mean nothing."""
        if before == after:
            return
        rows = self.keyspace.rows
        row_key = meta_key(self.number, key)
        if before:
            rows.forget_expiry(before, row_key)
        if after:
            rows.note_expiry(after, row_key)

    def _count(self, slot: int, keys: int, expires: int) -> None:
        counter = self.counters.get(slot)
        if counter is None:
            counter = self.counters[slot] = Counter(counter_key(slot, self.number))
        rows = self.keyspace.rows
        if counter.table is not rows.active:
            rows.mark(counter)
        if expires:
            counter.expires += expires
            self.expiring += expires
        if keys:
            counter.keys += keys
            self._blocks[slot // _BLOCK] += keys
            self.keys += keys
            if not counter.keys:
                del self.counters[slot]
                rows.remove("data", counter.row_key)

    def _count_begun(self, slots: list[int]) -> None:
        """Count a new key, which doesn't expire, in each of these slots."""
        counters = self.counters
        active = self.keyspace.rows.active
        for slot in slots:
            counter = counters.get(slot)
            if counter is None or counter.table is not active:
                self._count(slot, 1, 0)
            else:
                counter.keys += 1
                self._blocks[slot // _BLOCK] += 1
                self.keys += 1

    def load_counter(self, slot: int, counter: Counter) -> None:
        """Take over a counter's row."""
        self.counters[slot] = counter
        self._blocks[slot // _BLOCK] += counter.keys
        self.keys += counter.keys
        self.expiring += counter.expires

    def cede(self, to: Database, slots: tuple[int, int]) -> None:
        """Let the same database of another region have some slots; what the cache has of them means nothing then."""
        for slot, counter in self._cut(slots).items():
            to.load_counter(slot, counter)

    def _cut(self, slots: tuple[int, int]) -> dict[int, Counter]:
        """Count what lies in some slots no more; give their counters."""
        first, end = slots
        gone: dict[int, Counter] = {}
        for slot in [slot for slot in self.counters if first <= slot < end]:
            counter = gone[slot] = self.counters.pop(slot)
            self._blocks[slot // _BLOCK] -= counter.keys
            self.keys -= counter.keys
            self.expiring -= counter.expires
        return gone

    def take_in(self, other: Database) -> None:
        """Take over the same database of another region, of other slots; what the cache has of them means nothing."""
        for slot, counter in other.counters.items():
            self.load_counter(slot, counter)

    def _replace(self, key: bytes, old: Live | None, new: Live | None) -> None:
        """Put one value, or nothing, in the place of another; L{set_string} does it itself in its commonest cases."""
        keyspace = self.keyspace
        had = has = before = after = 0
        if old is not None:
            had = 1
            if type(old) is bytes:
                before = row_expires(old)
                keyspace.used -= len(old) + len(key) + KEY_OVERHEAD
            else:
                assert isinstance(old, Value)
                before = old.expires
                keyspace.used -= old.charged
                old.charged = 0
                keyspace.dead.append(old)
        if new is None:
            self.live.pop(key, None)
            self.old.pop(key, None)
            keyspace.rows.remove("data", meta_key(self.number, key))
        else:
            has = 1
            self.live[key] = new
            if type(new) is bytes:
                after = row_expires(new)
                keyspace.used += len(new) + len(key) + KEY_OVERHEAD
                keyspace.rows.put("data", meta_key(self.number, key), new)
            else:
                assert isinstance(new, Value)
                after = new.expires
                keyspace.used += len(key) + KEY_OVERHEAD
                new.charged = len(key) + KEY_OVERHEAD
                keyspace.rows.mark(new)
        if before or after:
            self._index(key, before, after)
        if had != has or (before > 0) != (after > 0):
            self._count(slot_of(key), has - had, (after > 0) - (before > 0))
        if type(old) is not bytes and old is not None:
            assert isinstance(old, Value)
            if old.table is keyspace.rows.active:
                # Its row is another's, or nobody's, in that table by now.
                old.table = None

    # Walking over keys

    def rows_from(self, slot: int, crc: int) -> Iterator[tuple[int, int, bytes, bytes | Encodable]]:
        """
        Walk over the meta rows in their order, (slot, crc32 of the key, key), from a position on.

        @return: (slot, crc32, raw key, row or the object that stands for it), expired keys included.
        """
        scan = self.keyspace.rows.scan
        for place in self._slots(slot):
            start, end = meta_range(place, self.number, crc if place == slot else 0)
            for row_key, row in scan("data", start, end):
                yield place, place_of(row_key)[3], row_key[META_KEY_OFFSET:], row

    def _slots(self, first: int) -> Iterator[int]:
        """Give the slots that hold anything, from this one on."""
        counters = self.counters
        for block in range(first // _BLOCK, len(self._blocks)):
            if self._blocks[block]:
                start = block * _BLOCK
                for slot in range(max(start, first), start + _BLOCK):
                    if slot in counters:
                        yield slot

    def random_key(self, random: Chance) -> bytes:
        """
        Give a key by chance, one that has expired maybe; there has to be one.

        It's a rank in row order; but in a slot with many keys, where finding a rank would mean to read half of them,
        it's one of the first rows from a place by chance: so each has about the same chance, though not exactly.
        """
        rank = pick(random, self.keys)
        first = 0
        for held in self._blocks:
            if rank < held:
                break
            rank -= held
            first += _BLOCK
        scan = self.keyspace.rows.scan
        for slot in self._slots(first):
            held = self.counters[slot].keys
            if rank >= held:
                rank -= held
                continue
            start, end = meta_range(slot, self.number)
            if held > _RANKED:
                middle, _ = meta_range(slot, self.number, pick(random, 1 << 32))
                rows = list(islice(chain(scan("data", middle, end), scan("data", start, middle)), _PICKED_FROM))
                rank = pick(random, len(rows))
            else:
                rows = list(islice(scan("data", start, end), rank + 1))
            return rows[rank][0][META_KEY_OFFSET:]
        raise AssertionError("as many keys as the counters say")


class NodeCache:
    """The nodes of all trees of a region, in the same two generations as the values."""

    __slots__ = ("old", "young")

    def __init__(self) -> None:
        #: By generation, slot and node id, in 64, L{_SLOT_BITS} and 32 bits.
        self.young: dict[int, Node] = {}
        self.old: dict[int, Node] = {}

    def forget(self, db: int) -> None:
        """Drop the nodes of a database that was cleared."""
        for nodes in (self.young, self.old):
            for name in [name for name, node in nodes.items() if node.row_key[3] == db]:
                del nodes[name]


class TreeNodes:
    """The node store of one tree: see L{tinykv.redis.tree} for what a tree asks of it."""

    __slots__ = ("_db", "_keyspace", "_slot", "base", "cache", "generation", "owner", "pause", "rows", "undo")

    def __init__(self, value: Value, generation: int) -> None:
        keyspace = value.db.keyspace
        self.pause = keyspace.rows.pause
        self.generation = generation
        self.undo = keyspace.undo
        self.owner = value
        self.rows = keyspace.rows
        self._keyspace = keyspace
        self.cache = keyspace.nodes
        self._slot = slot_of(value.key)
        self._db = value.db.number
        # Regions that were merged may have given the same generation, each to a slot of its own.
        self.base = (generation << _SLOT_BITS | self._slot) << 32

    def load(self, node_id: int) -> Node:
        """
        Give a node.

        @raise Damaged: There's no such row, or it's no node.
        """
        name = self.base | node_id
        node = self.cache.young.get(name)
        if node is not None:
            return node
        node = self.cache.old.pop(name, None)
        if node is None:
            row_key = node_key(self._slot, self._db, self.generation, node_id)
            row = self.rows.get("data", row_key)
            if row is None:
                raise Damaged(f"node {node_id} of generation {self.generation} of key {self.owner.key!r} is missing")
            if isinstance(row, bytes):
                node = decode_node(row)
                node.node_id = node_id
                node.row_key = row_key
            else:
                assert isinstance(row, Node)
                node = row
        self.cache.young[name] = node
        node.charged = node.size
        self._keyspace.used += node.charged
        return node

    def expect(self, node_ids: list[int]) -> None:
        """Learn that these nodes will be asked for next."""
        young, old, base = self.cache.young, self.cache.old, self.base
        cold = [node_id for node_id in node_ids if base | node_id not in young and base | node_id not in old]
        if cold:
            self.rows.expect([node_key(self._slot, self._db, self.generation, node_id) for node_id in cold])

    def add(self, node: Node) -> None:
        """Take in a new node, which has its id already."""
        self.pause()
        node.row_key = node_key(self._slot, self._db, self.generation, node.node_id)
        self.cache.young[self.base | node.node_id] = node
        node.charged = 0
        self.changed(node)

    def changed(self, node: Node) -> None:
        """Learn that a node is about to change."""
        if node.table is not self.rows.active:
            self.rows.mark(node)
            # From now on it counts with what it may grow to.
            size = node.size_grown
            self._keyspace.used += size - node.charged
            self._keyspace.changed_bytes += size
            node.charged = size

    def free(self, node_id: int) -> None:
        """Delete a node."""
        self.pause()
        name = self.base | node_id
        node = self.cache.young.pop(name, None)
        if node is not None:
            self._keyspace.used -= node.charged
        self.cache.old.pop(name, None)
        self.rows.remove("data", node_key(self._slot, self._db, self.generation, node_id))

    def root_changed(self) -> None:
        """Learn that the root, which is part of the meta row, is about to change."""
        self.owner.touch()


class Keyspace:
    """
    All databases of a region, and the running command's bookkeeping.

    @ivar region: The region's id; C{slots} are the first of its slots, and the one behind the last.
    @ivar sequence: Raised by every writing command; versions and generations come from it.
    @ivar now: The time by which keys expire, in ms since 1970: an entry's time or, for reads, the clock's.
    @ivar region_time: The greatest entry time applied.
    @ivar writing: Whether the running command came through the log.
    @ivar idleness: What is known of how long keys have been idle.
    @ivar touched: The collections that the running command changed.
    @ivar swapped: The numbers of databases that the running command exchanged.
    @ivar noticed: Keys that a read found expired by the clock alone.
    @ivar complete: Whether every key there is has its value in the cache, so that a miss needs no look at the rows.
    @ivar used: Estimated bytes of the young generation.
    @ivar changed_bytes: Estimated bytes of the nodes in the active memory table, which it counts with less.
    @ivar expired_keys: How many keys were deleted because their time was over.
    @ivar misses: How often a read found no key.
    @ivar changes: How many changes of keys there were since the start.
    """

    def __init__(
        self,
        rows: Rows,
        types: list[type[Value]],
        *,
        budget: int,
        settings: Settings | None = None,
        region: int = FIRST_REGION,
        slots: tuple[int, int] = ALL_SLOTS,
    ) -> None:
        self.rows = rows
        self.region = region
        self.slots = slots
        self.types: dict[int, type[Value]] = {cls.TYPE: cls for cls in types}
        self.settings = settings if settings is not None else Settings(region)
        self.budget = budget
        self.nodes = NodeCache()
        self.idleness = Idleness()
        #: By physical number, and in the order in which clients select them.
        self.physical = [Database(self, number) for number in range(DATABASES)]
        self.databases = list(self.physical)
        self.sequence = 0
        self.now = 0
        self.region_time = 0
        self.writing = False
        self.undo: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self.touched: list[Value] = []
        self.dead: list[Value] = []
        self.noticed: list[tuple[Database, bytes]] = []
        self.swapped: list[int] = []
        self.complete = True
        self.used = 0
        self.changed_bytes = 0
        self._used_old = 0
        #: Whether the cache may have values of slots that another region has by now.
        self._has_ceded = False
        self.changes = 0
        self.expired_keys = 0
        self.misses = 0
        self._dropping: list[dict[Any, Any]] = []

    # Commands

    def begin(self, now: int, commands: int = 1) -> None:
        """
        Begin a command of the log at this time.

        @param commands: 0 for some that raise the sequence themselves.
        """
        if now >= self.idleness.due:
            self.idleness.note(self.sequence, now)
        self.writing = True
        self.now = now
        self.sequence += commands

    def commit(self) -> None:
        """End a command that went well: what it emptied is deleted, what it replaced is gone for good."""
        for value in self.touched:
            if not len(value):
                if value.db.live.get(value.key) is value:
                    value.db.delete(value.key)
            elif value.charged:
                size = value.size() + len(value.key) + KEY_OVERHEAD
                self.used += size - value.charged
                value.charged = size
                self.changes += 1
        if self.touched:
            self.touched.clear()
        if self.undo:
            self.undo.clear()
        if self.swapped:
            self.swapped.clear()
        if self.dead:
            self._bury()

    def rollback(self) -> None:
        """Undo everything that the running command did."""
        steps = self.undo
        while steps:
            function, arguments = steps.pop()
            # An inverse of a key's change goes through code that may record again; it mustn't.
            recorded = len(steps)
            function(*arguments)
            del steps[recorded:]
        self.touched.clear()
        self.dead.clear()
        self.swapped.clear()

    def count_expired(self, keys: int) -> None:
        """Count keys that were deleted because their time was over."""
        self.expired_keys += keys

    def cold(self, index: int, keys: Iterable[bytes]) -> list[bytes]:
        """Give the row keys of those keys whose values aren't in memory, or don't exist, as far as one look tells."""
        db = self.databases[index]
        return [meta_key(db.number, key) for key in keys if key not in db.live and key not in db.old]

    def next_generation(self) -> int:
        """Give a generation that no value ever had."""
        self.sequence += 1
        return self.sequence

    def _bury(self) -> None:
        for value in self.dead:
            slot = slot_of(value.key)
            for generation in value.generations():
                self.rows.discard("data", *generation_range(slot, value.db.number, generation))
        self.dead.clear()

    def swap(self, a: int, b: int) -> None:
        """Exchange two databases."""
        self.undo.append((self._swap, (a, b)))
        self._swap(a, b)
        self.swapped += (a, b)
        self.changes += 1

    def _swap(self, a: int, b: int) -> None:
        self.databases[a], self.databases[b] = self.databases[b], self.databases[a]
        self.rows.put("region", region_row(self.region, _ORDER), bytes(db.number for db in self.databases))

    def clear(self) -> None:
        """Delete everything in all databases; the last step of its command."""
        total = sum(db.keys for db in self.physical)
        if total:
            self.changes += total
            self.rows.delete_ranges("data", [slots_range(self.slots)])
            for db in self.physical:
                db.forget()
            self.cleared()

    def clear_slots(self, databases: Iterable[Database], slots: tuple[int, int]) -> None:
        """Delete everything that some databases have in some slots; the last step of its command."""
        if any([db.clear_slots(slots) for db in databases]):
            self._drop_all()
            self.cleared()

    def cede(self, region: int, slots: tuple[int, int]) -> Keyspace:
        """
        Let a new region have the slots behind some slot of this one's, with all that lies in them.

        Values that live in the cache belong to this region's databases, so the new one has its own made of the rows.
        What stays of them here is never looked at: nobody asks for keys that lie elsewhere. Rows aren't touched.

        @param slots: The last of this region's.
        """
        assert slots[1] == self.slots[1] and self.slots[0] < slots[0] < slots[1], "they're the last"
        self.rows.settle(*slots_range(slots))
        # Its cache is empty yet. Whoever has several regions shares out what they may take together.
        self._has_ceded = True
        to = Keyspace(self.rows, list(self.types.values()), budget=self.budget, region=region, slots=slots)
        self.slots = (self.slots[0], slots[0])
        for mine, theirs in zip(self.physical, to.physical, strict=True):
            mine.cede(theirs, slots)
        to.databases = [to.physical[db.number] for db in self.databases]
        to.sequence = self.sequence
        to.region_time = self.region_time
        to.complete = not any(db.keys for db in to.physical)
        own = region_row(self.region)
        for key, row in list(self.rows.scan("region", own, region_row(self.region + 1))):
            name = key[len(own) :]
            if name in (_ORDER, SETTINGS_ROW):
                assert isinstance(row, bytes), "only values are live objects"
                self.rows.put("region", region_row(region, name), row)
        to.settings.load(self.rows)
        return to

    def take_in(self, other: Keyspace) -> None:
        """
        Take over the slots of a neighbour, with all that lies in them; it's never looked at again.

        Its live values belong to its databases, so they're made of the rows anew. Rows aren't touched.
        """
        assert [db.number for db in self.databases] == [db.number for db in other.databases], "none was exchanged alone"
        own, theirs = self.slots, other.slots
        assert own[1] == theirs[0] or own[0] == theirs[1], "they're neighbours"
        self.rows.settle(*slots_range(theirs))
        self.slots = (min(own[0], theirs[0]), max(own[1], theirs[1]))
        self.complete = self.complete and not any(db.keys for db in other.physical)
        if self._has_ceded:
            # What it has of slots that were cut off once, and may come back now, is old.
            self._drop_all()
        for mine, its in zip(self.physical, other.physical, strict=True):
            mine.take_in(its)
            self.drop(its.live)
            self.drop(its.old)
        self.drop(other.nodes.young)
        self.drop(other.nodes.old)
        self.sequence = max(self.sequence, other.sequence)
        self.changes += other.changes
        self.expired_keys += other.expired_keys
        self.misses += other.misses

    def cleared(self) -> None:
        """Learn that a database was cleared: if it was the last, all there is to know of keys is known again."""
        if not any(db.keys for db in self.physical):
            self.complete = True
            self.used = self._used_old = 0
            self.drop(self.nodes.young)
            self.drop(self.nodes.old)
            self.nodes.young = {}
            self.nodes.old = {}

    # Cache

    def drop(self, entries: dict[Any, Any]) -> None:
        """Free what left the cache, some of it each turn."""
        if entries:
            self._dropping.append(entries)

    def turn(self) -> None:
        """Once a turn: keep the cache within its budget, and free a slice of what was dropped."""
        if self.used > self.budget // 2:
            self.rotate()
        if self._dropping:
            dropped = self._dropping[-1]
            for _ in range(min(_DROP_SLICE, len(dropped))):
                dropped.popitem()
            if not dropped:
                self._dropping.pop()

    def _drop_all(self) -> None:
        """Drop the whole cache; what has changed is still in the memory table."""
        for db in self.physical:
            self.complete = self.complete and not db.keys
            self.drop(db.live)
            self.drop(db.old)
            db.live, db.old = {}, {}
        self.drop(self.nodes.young)
        self.drop(self.nodes.old)
        self.nodes.young, self.nodes.old = {}, {}
        self.used = self._used_old = 0
        self._has_ceded = False

    def rotate(self) -> None:
        """Let the young generation of the cache become the old one, and drop what wasn't used since the last time."""
        for db in self.physical:
            if db.old:
                self.complete = False
                self.drop(db.old)
            db.old, db.live = db.live, {}
        self.drop(self.nodes.old)
        self.nodes.old, self.nodes.young = self.nodes.young, {}
        self._used_old, self.used = self.used, 0

    @property
    def memory(self) -> int:
        """Estimate the bytes that the cache holds."""
        return self.used + self._used_old

    # Start

    def forget(self) -> None:
        """Forget everything: the rows have been replaced, and L{load} is to follow."""
        for db in self.physical:
            db.forget()
        self.databases = list(self.physical)
        self.drop(self.nodes.young)
        self.drop(self.nodes.old)
        self.nodes.young = {}
        self.nodes.old = {}
        self.idleness = Idleness()
        self.used = self._used_old = self.changed_bytes = 0

    def load(self) -> None:
        """
        Take over what the rows say: counters, the order of the databases, settings.

        @raise Damaged: A row isn't what it must be.
        """
        order = self.rows.get("region", region_row(self.region, _ORDER))
        if isinstance(order, bytes):
            if sorted(order) != list(range(DATABASES)):
                raise Damaged("the order of the databases is damaged")
            self.databases = [self.physical[number] for number in order]
        self.settings.load(self.rows)
        at, end = slots_range(self.slots)
        self.complete = next(self.rows.scan("data", at, end), None) is None
        while True:
            # Skip from head to head: each (slot, db) that holds anything begins with its counter row.
            found = next(self.rows.scan("data", at, end), None)
            if found is None:
                return
            row_key, row = found
            slot, number = int.from_bytes(row_key[1:3], "big"), row_key[3]
            if row_key[4] != KIND_COUNTER or not isinstance(row, bytes) or len(row) != _COUNTS.size:
                raise Damaged(f"slot {slot} of database {number} has no counter row")
            self.physical[number].load_counter(slot, Counter(row_key, *_COUNTS.unpack(row)))
            at = database_range(slot, number)[1]
