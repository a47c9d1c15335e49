"""The keyspace against a plain dictionary, over rows in memory and over the real row store with SQLite beneath."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database as SqliteUtils
from twisted.trial.unittest import SynchronousTestCase

from tinykv.errors import Damaged, WrongType
from tinykv.keys import REDIS_RANGE, counter_key, meta_key, region_row, slot_of
from tinykv.redis.commands import VALUE_TYPES
from tinykv.redis.hash_value import Hash
from tinykv.redis.keyspace import Database, Keyspace
from tinykv.redis.list_value import List
from tinykv.redis.value import row_expires, string_body
from tinykv.storage.data import DataStore
from tinykv.storage.reader import Reader
from tinykv.storage.rowstore import RowStore
from tinykv.storage.schema import Kind
from tinykv.storage.writers import pieces
from tinykv.testing.memory_rows import MemoryRows

NOW = 1_700_000_000_000

#: Two keys share a slot; the others have their own.
KEYS = [b"{a}1", b"{a}2", b"b", b"c"]
#: So many fields make a tree of several nodes.
MANY = 300

#: key -> (what it holds, expiry).
Model = dict[bytes, tuple[bytes | dict[bytes, bytes] | list[bytes], int]]


class Told:
    """Chance that goes by a list."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = iter(numbers)

    def random(self) -> float:
        """Give the next number."""
        return next(self.numbers)


class CountingRows:
    """
    Rows to be scanned only.

    @ivar given: How many were given.
    """

    def __init__(self, rows: Any) -> None:
        self._rows = rows
        self.given = 0

    def scan(self, family: str, start: bytes, end: bytes) -> Iterator[tuple[bytes, Any]]:
        """Give rows, and count them."""
        for row in self._rows.scan(family, start, end):
            self.given += 1
            yield row


class InMemory:
    """A keyspace over dicts."""

    def __init__(self, budget: int = 1 << 30) -> None:
        self.budget = budget
        self.rows: Any = MemoryRows()
        self._load(0)

    def _load(self, sequence: int) -> None:
        self.keyspace = Keyspace(self.rows, VALUE_TYPES, budget=self.budget)
        self.keyspace.sequence = sequence
        self.keyspace.load()

    def freeze(self) -> None:
        """Encode everything."""
        self.rows.flush()

    def flush(self) -> None:
        """There's no disk."""

    def flush_some(self, count: int) -> None:
        """There's no disk."""

    def reopen(self) -> None:
        """Start again from the rows."""
        self.rows.flush()
        self._load(self.keyspace.sequence)

    def image(self) -> dict[bytes, bytes]:
        """Give the rows of the keyspace."""
        self.rows.flush()
        return {key: row for key, row in self.rows.rows["data"].items() if row is not None}

    def expiries(self) -> set[tuple[int, bytes]]:
        """Give the index of expiries."""
        return set(self.rows.expiries)

    def close(self) -> None:
        """Leave nothing open."""


class OnDisk(InMemory):
    """A keyspace over memory tables and SQLite; tables are flushed when the test says so, piece by piece."""

    def __init__(self, budget: int = 1 << 30) -> None:
        self.budget = budget
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        Kind.DATA.migrations.apply(SqliteUtils(self.connection, execute_plugins=False))
        self.data = DataStore(self.connection, ":memory:")
        self.rows = RowStore(Reader(":memory:", self.connection))
        self._pieces: Iterator[Any] | None = None
        self._load(0)

    def freeze(self) -> None:
        """Freeze the active table."""
        self.rows.freeze()

    def flush_some(self, count: int) -> None:
        """Send some pieces of the oldest frozen table."""
        for _ in range(count):
            if self._pieces is None:
                if not self.rows.frozen:
                    return
                self._pieces = pieces(self.rows.frozen[0])
            piece = next(self._pieces, None)
            if piece is not None and self.data.receive(piece):
                self._pieces = None
                self.rows.retire(self.rows.frozen[0])

    def flush(self) -> None:
        """Write all frozen tables."""
        while self.rows.frozen:
            self.flush_some(1)

    def reopen(self) -> None:
        """Start again from what is on disk, which is everything."""
        self.freeze()
        self.flush()
        self.rows = RowStore(Reader(":memory:", self.connection))
        self._load(self.keyspace.sequence)

    def image(self) -> dict[bytes, bytes]:
        """Give the rows on disk."""
        self.freeze()
        self.flush()
        return dict(self.connection.execute("SELECT key, value FROM data").fetchall())

    def expiries(self) -> set[tuple[int, bytes]]:
        """Give the index of expiries."""
        return set(self.rows.due(1 << 60, 1 << 30))

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


def held(value: object) -> bytes | dict[bytes, bytes] | list[bytes] | None:
    """Give what a live value holds."""
    if isinstance(value, Hash):
        return dict(value.items())
    if isinstance(value, List):
        return list(value.items())
    return string_body(value) if isinstance(value, bytes) else None


def fields(start: int, count: int) -> dict[bytes, bytes]:
    """Make fields of a hash."""
    return {b"f%d" % number: b"v%d" % number for number in range(start, start + count)}


Primitive = tuple[Any, ...]

EXPIRIES = st.sampled_from([0, 0, 1000, 2000])
PRIMITIVES: st.SearchStrategy[Primitive] = st.one_of(
    st.tuples(st.just("string"), st.sampled_from(KEYS), st.sampled_from([b"", b"x", b"y" * 5000]), EXPIRIES),
    st.tuples(st.just("fields"), st.sampled_from(KEYS), st.sampled_from([0, 1, 100]), st.sampled_from([1, 3, MANY])),
    st.tuples(st.just("fields"), st.sampled_from(KEYS), st.sampled_from([0, 1, 100]), st.sampled_from([1, 3, MANY])),
    st.tuples(st.just("unfields"), st.sampled_from(KEYS), st.sampled_from([0, 1, 100]), st.sampled_from([1, 3, MANY])),
    st.tuples(st.just("push"), st.sampled_from(KEYS), st.sampled_from([1, 3, MANY])),
    st.tuples(st.just("pop"), st.sampled_from(KEYS), st.sampled_from([1, 3, MANY])),
    st.tuples(st.just("delete"), st.sampled_from(KEYS)),
    st.tuples(st.just("expire"), st.sampled_from(KEYS), EXPIRIES),
    st.tuples(st.just("new"), st.sampled_from(KEYS)),
    st.tuples(st.just("copy"), st.sampled_from(KEYS), st.sampled_from(KEYS)),
    st.tuples(st.just("swap")),
)
#: Which database, what to do there, and whether it's undone.
COMMANDS = st.tuples(
    st.just("command"), st.integers(0, 1), st.lists(PRIMITIVES, min_size=1, max_size=4), st.booleans()
)
STEPS = st.lists(
    st.one_of(
        COMMANDS,
        COMMANDS,
        COMMANDS,
        st.sampled_from([("rotate",), ("freeze",), ("flush",), ("reopen",), ("turn",), ("freeze",), ("rotate",)]),
        st.tuples(st.just("flush_some"), st.integers(1, 4)),
        st.tuples(st.just("clear"), st.integers(0, 2)),
        st.tuples(st.just("later"), st.sampled_from([1000, 1500])),
    ),
    max_size=14,
)


class Twin:
    """
    Does the same to a keyspace and to a dictionary a database.

    @ivar models: By the number as clients know it.
    """

    def __init__(self, stack: InMemory) -> None:
        self.stack = stack
        self.models: list[Model] = [{}, {}]
        self.now = NOW

    def command(self, index: int, primitives: list[Primitive], undone: bool) -> None:
        """Run a command of several changes, and commit it or undo it."""
        keyspace = self.stack.keyspace
        # What a command looks at and has expired it deletes, and that's undone like the rest.
        before = [{key: (_copy(what), expires) for key, (what, expires) in model.items()} for model in self.models]
        keyspace.begin(self.now)
        for primitive in primitives:
            db = keyspace.databases[index]
            model = self.models[index]
            for key in KEYS:
                if key in model and 0 < model[key][1] <= self.now:
                    del model[key]
                    assert db.get(key) is None
            self._change(db, model, primitive)
        if undone:
            keyspace.rollback()
            self.models = before
        else:
            keyspace.commit()
            for model in self.models:
                for key in [key for key, (what, _) in model.items() if what in ([], {})]:
                    del model[key]
        assert not keyspace.undo and not keyspace.dead and not keyspace.touched

    def _change(self, db: Database, model: Model, primitive: Primitive) -> None:
        kind, *rest = primitive
        if kind == "swap":
            db.keyspace.swap(0, 1)
            self.models.reverse()
            return
        key = rest[0]
        what, expires = model.get(key, (None, 0))
        if kind == "string":
            expires = self.now + rest[2] if rest[2] else 0
            db.set_string(key, rest[1], expires)
            model[key] = rest[1], expires
        elif kind == "delete":
            assert db.delete(key) == (key in model)
            model.pop(key, None)
        elif kind == "expire" and key in model:
            assert what is not None
            expires = self.now + rest[1] if rest[1] else 0
            db.set_expires(key, expires)
            model[key] = what, expires
        elif kind == "new":
            db.delete(key)
            db.create(key, Hash)
            model[key] = {}, 0
        elif kind == "copy" and key in model and rest[1] != key:
            assert what is not None
            value: Any = db.get(key)
            db.delete(rest[1])
            if isinstance(what, bytes):
                db.set_string(rest[1], what, expires)
            else:
                copy: Any = db.create(rest[1], type(value))
                copy.copy_from(value)
                if expires:
                    db.set_expires(rest[1], expires)
            model[rest[1]] = _copy(what), expires
        elif kind in ("fields", "unfields") and (what is None or isinstance(what, dict)):
            hash_ = db.typed_or_new(key, Hash)
            what = {} if what is None else what
            for name, content in fields(rest[1], rest[2]).items():
                if kind == "fields":
                    assert hash_.put(name, content) == (name not in what)
                    what[name] = content
                else:
                    assert hash_.remove(name) == (name in what)
                    what.pop(name, None)
            model[key] = what, expires
        elif kind in ("push", "pop") and (what is None or isinstance(what, list)):
            list_ = db.typed_or_new(key, List)
            what = [] if what is None else what
            for number in range(rest[1]):
                if kind == "push":
                    list_.push_left(b"e%d" % number)
                    what.insert(0, b"e%d" % number)
                elif what:
                    assert list_.pop_right() == what.pop()
            model[key] = what, expires

    def step(self, step: Primitive) -> None:
        """Do one of STEPS, and compare."""
        kind, *rest = step
        keyspace = self.stack.keyspace
        if kind == "command":
            self.command(*rest)
        elif kind == "rotate":
            keyspace.rotate()
        elif kind == "turn":
            keyspace.turn()
        elif kind == "later":
            self.now += rest[0]
        elif kind == "clear":
            keyspace.begin(self.now)
            if rest[0] == 2:
                keyspace.clear()
                self.models = [{}, {}]
            else:
                keyspace.databases[rest[0]].clear()
                self.models[rest[0]] = {}
            keyspace.commit()
        else:
            getattr(self.stack, kind)(*rest)

    def compare(self) -> None:
        """Hold the keyspace against the model, without changing anything."""
        keyspace = self.stack.keyspace
        keyspace.writing = False
        keyspace.region_time = keyspace.now = 0
        index = self.stack.expiries()
        assert keyspace.used >= 0
        for db, model in zip(keyspace.databases, self.models, strict=False):
            assert db.keys == len(model), (db.keys, model.keys())
            assert db.expiring == sum(expires > 0 for _, expires in model.values())
            slots: dict[int, list[int]] = {}
            for key, (_, expires) in model.items():
                counts = slots.setdefault(slot_of(key), [0, 0])
                counts[0] += 1
                counts[1] += expires > 0
                if expires:
                    assert (expires, meta_key(db.number, key)) in index, (key, expires)
            assert {slot: [counter.keys, counter.expires] for slot, counter in db.counters.items()} == slots
            assert {key for _, _, key, _ in db.rows_from(0, 0)} == model.keys()
            for key in KEYS:
                if keyspace.complete and key in model:
                    assert key in db.live or key in db.old, "complete, but a key isn't in the cache"
                what, expires = model.get(key, (None, 0))
                value = db.get(key)
                assert held(value) == what, (key, held(value), what)
                if value is not None:
                    assert (row_expires(value) if isinstance(value, bytes) else value.expires) == expires
        assert not keyspace.noticed


def _copy(what: bytes | dict[bytes, bytes] | list[bytes]) -> Any:
    return what if isinstance(what, bytes) else what.copy()


class ModelTests(SynchronousTestCase):
    """Any commands, with anything between them."""

    def test_in_memory(self) -> None:
        """Over rows in dicts."""
        self._check(InMemory)

    def test_on_disk(self) -> None:
        """Over memory tables and SQLite."""
        self._check(OnDisk)

    def test_with_no_budget(self) -> None:
        """Over memory tables and SQLite, with a cache that's dropped at every turn."""
        self._check(lambda: OnDisk(budget=0))

    def _check(self, make: Any) -> None:
        @given(STEPS)
        def check(steps: list[Primitive]) -> None:
            stack = make()
            twin = Twin(stack)
            for step in steps:
                twin.step(step)
                twin.compare()
            stack.reopen()
            twin.compare()
            stack.close()

        check()

    def test_equal_rows(self) -> None:
        """What is in the cache, and when tables are frozen and flushed, leaves no trace in the rows."""

        @given(STEPS, STEPS)
        def check(steps: list[Primitive], others: list[Primitive]) -> None:
            memory, disk = InMemory(), OnDisk()
            one, two = Twin(memory), Twin(disk)
            pauses = iter([step for step in others if step[0] not in ("command", "clear", "later")])
            for step in steps:
                one.step(step)
                if step[0] in ("command", "clear", "later"):
                    two.step(step)
                two.step(next(pauses, ("turn",)))
            assert memory.image() == disk.image()
            disk.close()

        check()


class DatabaseTests(SynchronousTestCase):
    """Single cases."""

    def setUp(self) -> None:
        """Make an empty keyspace."""
        self.stack = OnDisk()
        self.addCleanup(lambda: self.stack.close())

    @property
    def keyspace(self) -> Keyspace:
        """The keyspace as it is after the last reopening."""
        return self.stack.keyspace

    @property
    def db(self) -> Database:
        """The first database."""
        return self.keyspace.databases[0]

    def begin(self, now: int = NOW) -> Database:
        """Begin a command."""
        self.keyspace.begin(now)
        return self.db

    def make(self, key: bytes, count: int) -> Hash:
        """Make a hash of so many fields."""
        value = self.begin().create(key, Hash)
        for name, content in fields(0, count).items():
            value.put(name, content)
        self.keyspace.commit()
        return value

    def test_empty_counters_go(self) -> None:
        """A (slot, db) that holds nothing has no counter row."""
        row_key = counter_key(slot_of(b"k"), 0)
        self.begin().set_string(b"k", b"v")
        self.keyspace.commit()
        self.assertIn(row_key, self.stack.image())
        self.begin().delete(b"k")
        self.keyspace.commit()
        self.assertEqual(self.stack.image(), {})
        self.assertEqual(self.db.counters, {})
        self.stack.reopen()
        self.assertTrue(self.keyspace.complete)

    def test_undone_creation_leaves_no_rows(self) -> None:
        """A command that made the first key of its slot and was undone leaves no counter row."""
        self.begin().create(b"k", Hash).put(b"f", b"v")
        self.keyspace.rollback()
        self.assertEqual(self.stack.image(), {})
        self.begin().create(b"k", Hash)
        self.keyspace.commit()
        self.assertEqual(self.stack.image(), {})
        self.assertEqual((self.db.keys, self.db.counters), (0, {}))

    def test_dead_nodes_go(self) -> None:
        """The nodes of a large value go with it, also when they're on disk."""
        self.make(b"k", MANY)
        self.assertGreater(len(self.stack.image()), 3)
        self.begin().delete(b"k")
        self.keyspace.commit()
        self.assertEqual(self.stack.image(), {})
        self.make(b"k", MANY)
        self.begin().set_string(b"k", b"v")
        self.keyspace.commit()
        self.assertEqual(len(self.stack.image()), 2)

    def test_undone_deletion_keeps_nodes(self) -> None:
        """A large value whose deletion was undone is there with all its nodes."""
        self.make(b"k", MANY)
        image = self.stack.image()
        self.begin().delete(b"k")
        self.keyspace.rollback()
        self.assertEqual(self.stack.image(), image)
        self.begin().set_string(b"k", b"v")
        self.db.delete(b"k")
        self.keyspace.rollback()
        self.assertEqual(self.stack.image(), image)
        self.stack.reopen()
        self.assertEqual(held(self.db.get(b"k")), fields(0, MANY))

    def test_many_deletions_undone(self) -> None:
        """Undoing the deletion of many collections takes no time beyond their number."""
        for number in range(3000):
            self.make(b"k%d" % number, 1)
        self.begin()
        for number in range(3000):
            self.db.delete(b"k%d" % number)
        self.keyspace.rollback()
        self.assertEqual(self.db.keys, 3000)

    def test_one_object(self) -> None:
        """A value that left the cache, but not its table, comes back as the same object."""
        value = self.make(b"k", 1)
        self.keyspace.rotate()
        self.keyspace.rotate()
        self.assertIs(self.db.get(b"k"), value)
        self.stack.freeze()
        self.keyspace.rotate()
        self.keyspace.rotate()
        self.assertIs(self.db.get(b"k"), value)
        self.stack.flush()
        self.keyspace.rotate()
        self.keyspace.rotate()
        self.assertIsNot(self.db.get(b"k"), value)

    def test_frozen_stays(self) -> None:
        """What was frozen is written as it was then."""
        value = self.make(b"k", MANY)
        self.stack.freeze()
        self.begin()
        value.put(b"f0", b"changed")
        self.keyspace.commit()
        self.stack.flush()
        rows = dict(self.stack.connection.execute("SELECT key, value FROM data").fetchall())
        self.assertFalse(any(b"changed" in row for row in rows.values()))
        self.assertTrue(any(b"changed" in row for row in self.stack.image().values()))

    def test_versions(self) -> None:
        """Each change gives a version that the key never had; what is undone gives the old one back."""
        seen = {0}
        for change in (
            lambda db: db.set_string(b"k", b"v"),
            lambda db: db.set_string(b"k", b"v"),
            lambda db: db.set_expires(b"k", NOW + 5),
            lambda db: db.delete(b"k") and db.create(b"k", Hash).put(b"f", b"v"),
            lambda db: db.typed(b"k", Hash).put(b"f", b"w"),
            lambda db: [db.typed(b"k", Hash).put(name, b"") for name in fields(0, MANY)],
            lambda db: db.set_expires(b"k", NOW + 5),
            lambda db: db.set_expires(b"k", 0),
        ):
            before = self.db.version(b"k")
            change(self.begin())
            self.keyspace.rollback()
            self.assertEqual(self.db.version(b"k"), before)
            change(self.begin())
            self.keyspace.commit()
            self.assertNotIn(self.db.version(b"k"), seen)
            seen.add(self.db.version(b"k"))
        self.begin().delete(b"k")
        self.keyspace.commit()
        self.assertEqual(self.db.version(b"k"), 0)

    def test_wrong_types(self) -> None:
        """Only what a key holds can be got."""
        self.begin().set_string(b"s", b"v")
        self.db.create(b"h", Hash).put(b"f", b"v")
        self.keyspace.commit()
        self.assertRaises(WrongType, self.db.typed, b"s", Hash)
        self.assertRaises(WrongType, self.db.typed, b"h", List)
        self.assertRaises(WrongType, self.db.string, b"h")
        self.assertEqual(self.db.string(b"s"), b"v")
        self.assertIsNone(self.db.string(b"none"))
        self.assertIsNone(self.db.typed(b"none", Hash))

    def test_reads_notice(self) -> None:
        """A read notes what only the clock says has expired; what the region knows to be expired it just hides."""
        self.begin().set_string(b"k", b"v", NOW + 5)
        self.keyspace.commit()
        keyspace = self.keyspace
        keyspace.writing = False
        keyspace.region_time = NOW
        keyspace.now = NOW + 4
        self.assertIsNotNone(self.db.get(b"k"))
        self.assertEqual(keyspace.noticed, [])
        keyspace.now = NOW + 5
        self.assertIsNone(self.db.get(b"k"))
        self.assertEqual(keyspace.noticed, [(self.db, b"k")])
        keyspace.noticed.clear()
        keyspace.region_time = NOW + 5
        self.assertIsNone(self.db.get(b"k"))
        self.assertEqual(keyspace.noticed, [])
        self.assertEqual(self.db.keys, 1)

    def test_writes_delete(self) -> None:
        """A writing command deletes what has expired when it meets it."""
        self.begin().create(b"k", Hash).put(b"f", b"v")
        self.db.set_expires(b"k", NOW + 5)
        self.keyspace.commit()
        self.assertIsNotNone(self.begin(NOW + 4).get(b"k"))
        self.keyspace.commit()
        self.assertIsNone(self.begin(NOW + 5).get(b"k"))
        self.keyspace.commit()
        self.assertEqual((self.db.keys, self.db.expiring), (0, 0))
        self.assertEqual(self.stack.image(), {})

    def test_index_of_expiries(self) -> None:
        """The index holds one entry for each key that expires, however often its expiry was changed."""
        for ttl in range(1, 10):
            self.begin().set_string(b"s", b"v", NOW + ttl)
            self.db.typed_or_new(b"h", Hash).put(b"f", b"v")
            self.db.set_expires(b"h", NOW + ttl)
            self.keyspace.commit()
            if ttl % 3 == 0:
                self.stack.freeze()
                self.stack.flush()
        entries = {(NOW + 9, meta_key(0, b"s")), (NOW + 9, meta_key(0, b"h"))}
        self.assertEqual(self.stack.expiries(), entries)
        self.begin().set_string(b"s", b"v", NOW + 20)
        self.db.delete(b"h")
        self.keyspace.rollback()
        self.assertLessEqual(entries, self.stack.expiries())
        self.begin().set_string(b"s", b"v")
        self.db.delete(b"h")
        self.keyspace.commit()
        self.assertFalse(entries & self.stack.expiries())

    def test_random_key(self) -> None:
        """Every rank has its key, in row order."""
        names = [b"k%d" % number for number in range(200)] + [b"{x}%d" % number for number in range(30)]
        self.begin()
        for name in names:
            self.db.set_string(name, b"")
        self.keyspace.commit()
        ordered = [key for _, _, key, _ in self.db.rows_from(0, 0)]
        self.assertEqual(sorted(ordered), sorted(names))
        count = len(names)
        self.assertEqual([self.db.random_key(Told((rank + 0.5) / count)) for rank in range(count)], ordered)

    def test_random_key_of_a_full_slot(self) -> None:
        """With many keys in a slot few rows are read, round its end too, and each key has its chance."""
        count = 1001
        self.begin()
        for number in range(count):
            self.db.set_string(b"{x}%d" % number, b"")
        self.db.set_string(b"other", b"")
        self.keyspace.commit()
        counting = CountingRows(self.stack.rows)
        self.keyspace.rows = counting
        random = Random(1)
        found = Counter(self.db.random_key(random) for _ in range(20 * count))
        self.assertLessEqual(counting.given, 20 * count * 17)
        self.assertEqual(len(found), count + 1)
        self.assertLess(max(found.values()), 20 * 5)
        ordered = [key for _, _, key, _ in self.db.rows_from(0, 0) if key != b"other"]
        # In the middle of the slot's keys; from its last place on, whence it goes on at the first one.
        last = [self.db.random_key(Told(0.5, 1 - 2**-40, place / 16)) for place in range(16)]
        self.assertEqual(last, ordered[:16])


class KeyspaceTests(SynchronousTestCase):
    """What concerns all databases."""

    def setUp(self) -> None:
        """Make an empty keyspace."""
        self.stack = OnDisk(budget=100_000)
        self.addCleanup(lambda: self.stack.close())

    def fill(self, count: int, size: int = 1000) -> None:
        """Set strings."""
        keyspace = self.stack.keyspace
        for number in range(count):
            keyspace.begin(NOW)
            keyspace.databases[0].set_string(b"k%d" % number, b"x" * size)
            keyspace.commit()
            keyspace.turn()

    def test_budget(self) -> None:
        """The cache keeps to its budget, and what left it is found."""
        self.fill(500)
        self.stack.freeze()
        self.stack.flush()
        keyspace = self.stack.keyspace
        db = keyspace.databases[0]
        self.assertFalse(keyspace.complete)
        for number in range(500):
            self.assertEqual(db.string(b"k%d" % number), b"x" * 1000)
            keyspace.turn()
            self.assertLess(keyspace.memory, 102_000)
        self.assertLess(len(db.live) + len(db.old), 100)

    def test_budget_of_nodes(self) -> None:
        """Nodes that grow count with what they've grown to."""
        stack = OnDisk(budget=1 << 30)
        self.addCleanup(stack.close)
        keyspace = stack.keyspace
        for number in range(2000):
            keyspace.begin(NOW)
            keyspace.databases[0].typed_or_new(b"l", List).push_right(b"%0100d" % number)
            keyspace.commit()
        self.assertGreater(keyspace.used, 2000 * 100)
        self.assertLess(keyspace.used, 2000 * 400)

    def test_complete_again(self) -> None:
        """After FLUSHALL the cache knows again that it knows everything."""
        self.fill(500)
        keyspace = self.stack.keyspace
        keyspace.begin(NOW)
        keyspace.clear()
        keyspace.commit()
        self.assertTrue(keyspace.complete)
        self.assertEqual(keyspace.memory, 0)
        self.fill(1)
        self.assertEqual(keyspace.databases[0].string(b"k0"), b"x" * 1000)
        self.assertIsNone(keyspace.databases[0].string(b"k1"))

    def test_swapped_databases(self) -> None:
        """The order of the databases outlives a restart."""
        self.fill(1)
        keyspace = self.stack.keyspace
        keyspace.begin(NOW)
        keyspace.swap(0, 5)
        keyspace.commit()
        self.stack.reopen()
        self.assertEqual(self.stack.keyspace.databases[5].string(b"k0"), b"x" * 1000)
        self.assertEqual(self.stack.keyspace.databases[0].keys, 0)

    def test_damaged_order(self) -> None:
        """An order of the databases that is none is refused."""
        self.stack.rows.put("region", region_row(1, b"databases"), bytes(16))
        self.assertRaises(Damaged, self.stack.reopen)

    def test_missing_counter(self) -> None:
        """Keys without their counter row are refused."""
        self.fill(1)
        self.stack.rows.remove("data", counter_key(slot_of(b"k0"), 0))
        self.assertRaises(Damaged, self.stack.reopen)

    def test_missing_node(self) -> None:
        """A tree without one of its nodes is found out."""
        keyspace = self.stack.keyspace
        keyspace.begin(NOW)
        value = keyspace.databases[0].create(b"h", Hash)
        for name, content in fields(0, MANY).items():
            value.put(name, content)
        keyspace.commit()
        self.stack.freeze()
        self.stack.flush()
        for row_key, _ in list(self.stack.rows.scan("data", *REDIS_RANGE)):
            if row_key[4] == 2:
                self.stack.rows.remove("data", row_key)
        self.stack.reopen()
        self.assertRaises(Damaged, lambda: held(self.stack.keyspace.databases[0].get(b"h")))
