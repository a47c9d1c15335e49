"""
The row store over a real data.db, against a dict.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.storage.folders import Box, LocalStore
from tinykv.storage.tables import MemTable

KEYS = [b"%02d" % number for number in range(24)]
keys = st.sampled_from(KEYS)
ranges = st.lists(st.tuples(keys, keys), min_size=1, max_size=7)
values = st.binary(max_size=3)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), keys, values),
        st.tuples(st.just("remove"), keys),
        st.tuples(st.just("change"), keys, values),
        st.tuples(st.just("change"), keys, values),
        st.tuples(st.just("evict"), keys),
        st.tuples(st.just("delete_ranges"), ranges),
        st.tuples(st.just("freeze")),
        st.tuples(st.just("encode"), st.integers(1, 3)),
        st.tuples(st.just("flush")),
        st.tuples(st.just("crash")),
    ),
    max_size=40,
)
END = b"\xff"


class Pair:
    """
    A row store and its twin, given the same steps.

    The twin is a dict of the rows, a copy of it for each frozen table, and one for what is on disk.
    """

    def __init__(self, test: SynchronousTestCase, store: LocalStore) -> None:
        self.test = test
        self.store = store
        store.lose_memory()
        store.rows.delete_ranges("data", [(b"", END)])
        table = store.rows.freeze()
        if table is not None:
            store.flush(table)
        self.twin: dict[bytes, bytes] = {}
        self.copies: list[dict[bytes, bytes]] = []
        self.disk: dict[bytes, bytes] = {}
        self.live: dict[bytes, Box] = {}

    def put(self, key: bytes, value: bytes) -> None:
        self.live.pop(key, None)
        self.store.rows.put("data", key, value)
        self.twin[key] = value

    def remove(self, key: bytes) -> None:
        self.live.pop(key, None)
        self.store.rows.remove("data", key)
        self.twin.pop(key, None)

    def change(self, key: bytes, value: bytes) -> None:
        box = self.live.get(key)
        if box is None:
            found: Any = self.store.rows.get("data", key)
            box = found if isinstance(found, Box) else Box(key, found or b"")
            self.live[key] = box
        self.store.rows.mark(box)
        box.content = value
        self.twin[key] = value

    def evict(self, key: bytes) -> None:
        self.live.pop(key, None)

    def delete_ranges(self, doomed: list[tuple[bytes, bytes]]) -> None:
        self.store.rows.delete_ranges("data", doomed)
        for start, end in doomed:
            for key in [key for key in self.twin if start <= key < end]:
                del self.twin[key]
            for key in [key for key in self.live if start <= key < end]:
                del self.live[key]

    def freeze(self) -> None:
        if self.store.rows.freeze() is not None:
            self.copies.append(dict(self.twin))

    def encode(self, budget: int) -> None:
        for table in self.store.rows.frozen:
            table.encode_some(budget)

    def flush(self) -> None:
        frozen = self.store.rows.frozen
        if frozen:
            self.store.flush(frozen[0])
            self.disk = self.copies.pop(0)
            connection = sqlite3.connect(self.store.folder.data_path)
            self.test.assertEqual(dict(connection.execute("SELECT key, value FROM data")), self.disk)
            connection.close()

    def crash(self) -> None:
        self.store.lose_memory()
        self.live.clear()
        self.copies.clear()
        self.twin = dict(self.disk)

    def compare(self) -> None:
        rows = self.store.rows

        def plain(row: tuple[bytes, Any]) -> tuple[bytes, bytes]:
            return row[0], row[1] if isinstance(row[1], bytes) else row[1].content

        expected = sorted(self.twin.items())
        self.test.assertEqual(list(map(plain, rows.scan("data", b"", END))), expected)
        self.test.assertEqual(list(map(plain, rows.scan("data", b"", END, reverse=True))), expected[::-1])
        middle = [row for row in expected if b"05" <= row[0] < b"17"]
        self.test.assertEqual(list(map(plain, rows.scan("data", b"05", b"17"))), middle)
        self.test.assertEqual(list(map(plain, rows.scan("data", b"05", b"17", reverse=True))), middle[::-1])
        for key in KEYS:
            found: Any = rows.get("data", key)
            value = found.content if isinstance(found, Box) else found
            self.test.assertEqual(value, self.twin.get(key))


class TwinTests(SynchronousTestCase):
    """
    Any steps leave the row store with what the dict has.
    """

    def setUp(self) -> None:
        self.store = LocalStore(self.mktemp())
        self.addCleanup(self.store.close)
        self.store.hurry()

    @given(steps=steps)
    def test_as_a_dict(self, steps: list[tuple[Any, ...]]) -> None:
        pair = Pair(self, self.store)
        for verb, *arguments in steps:
            getattr(pair, verb)(*arguments)
            pair.compare()


class RowStoreTests(SynchronousTestCase):
    """
    Single behaviours.
    """

    def setUp(self) -> None:
        self.store = LocalStore(self.mktemp())
        self.addCleanup(self.store.close)
        self.store.hurry()
        self.rows = self.store.rows

    def freeze(self) -> MemTable:
        table = self.rows.freeze()
        assert table is not None
        return table

    def flush(self) -> None:
        self.store.flush(self.freeze())

    def test_long_scans_over_all_layers(self) -> None:
        expected: dict[bytes, bytes] = {}
        for layer in range(3):
            for number in range(layer, 3000, 2 + layer):
                key = b"%05d" % (number * 7 % 3000)
                if number % 11 == layer:
                    self.rows.remove("data", key)
                    expected.pop(key, None)
                else:
                    self.rows.put("data", key, b"%d" % layer)
                    expected[key] = b"%d" % layer
            if layer == 0:
                self.flush()
            elif layer == 1:
                self.freeze()
        rows = sorted(expected.items())
        self.assertEqual(list(self.rows.scan("data", b"", END)), rows)
        self.assertEqual(list(self.rows.scan("data", b"", END, reverse=True)), rows[::-1])

    def test_writes_during_a_scan_do_not_break_it(self) -> None:
        for number in range(500):
            self.rows.put("data", b"%05d" % number, b"x")
        for step, (key, _) in enumerate(self.rows.scan("data", b"", END)):
            self.rows.put("data", key + b"+", b"y")
            self.rows.remove("data", b"%05d" % (step * 3 % 500))
            if step == 40:
                self.rows.delete_ranges("data", [(b"00100", b"00200")])
            if step == 60:
                self.flush()

    def test_an_object_is_encoded_once_and_only_when_needed(self) -> None:
        box = Box(b"k", b"1")
        self.rows.mark(box)
        box.content = b"2"
        self.rows.mark(box)
        self.assertEqual(box.encoded, 0)
        self.assertIs(self.rows.get("data", b"k"), box)
        table = self.freeze()
        self.assertIs(self.rows.get("data", b"k"), box)
        self.rows.mark(box)
        box.content = b"3"
        self.assertEqual((box.encoded, table.rows["data"][b"k"]), (1, b"2"))
        self.assertIs(box.table, self.rows.active)
        self.assertTrue(table.encode_some(1))
        self.assertEqual(box.encoded, 1)
        self.store.flush(table)
        self.assertEqual(self.store.reader.get("data", b"k"), b"2")
        self.assertIs(self.rows.get("data", b"k"), box)

    def test_an_encoded_object_is_let_go(self) -> None:
        boxes = [Box(b"%d" % number, b"1") for number in range(3)]
        for box in boxes:
            self.rows.mark(box)
        table = self.freeze()
        self.assertFalse(table.encode_some(2))
        self.assertTrue(table.encode_some(2))
        self.assertEqual([box.table for box in boxes], [None] * 3)
        self.rows.mark(boxes[0])
        self.assertEqual(boxes[0].encoded, 1)

    def test_a_replaced_object_no_longer_stands_for_its_row(self) -> None:
        for replace in (
            lambda: self.rows.put("data", b"k", b"new"),
            lambda: self.rows.remove("data", b"k"),
            lambda: self.rows.delete_ranges("data", [(b"a", b"z")]),
            lambda: self.rows.mark(Box(b"k", b"new")),
        ):
            box = Box(b"k", b"old")
            self.rows.mark(box)
            replace()
            self.assertIs(box.table, None)
            self.flush() if self.rows.active else None
            self.assertEqual(box.encoded, 0)

    def test_bytes_come_back_to_what_they_were(self) -> None:
        self.rows.put("data", b"k", b"123")
        once = self.rows.active_bytes
        for _ in range(5):
            self.rows.put("data", b"k", b"456")
            self.rows.mark(Box(b"k", b""))
            self.rows.remove("data", b"k")
            self.rows.put("data", b"k", b"789")
        self.assertEqual(self.rows.active_bytes, once)
        self.rows.mark(Box(b"k", b"789"))
        self.rows.active.encode_some(1)
        self.assertEqual(self.rows.active_bytes, once)
        self.rows.delete_ranges("data", [(b"a", b"z")])
        self.assertEqual(self.rows.active_bytes, 0)

    def test_nothing_is_hidden_where_nothing_lies_beneath(self) -> None:
        self.rows.put("data", b"r5", b"x")
        self.flush()
        self.rows.put("data", b"r3", b"x")
        self.rows.delete_ranges("data", [(b"r2", b"r4"), (b"r6", b"r8")])
        self.assertFalse(self.rows.active)
        self.assertEqual(self.rows.get("data", b"r3"), None)

    def test_many_ranges_at_once(self) -> None:
        slots = [b"r" + slot.to_bytes(2, "big") for slot in range(16384)]
        doomed = [(slot + b"\0", slot + b"\1") for slot in slots]
        kept = b"r" + (7).to_bytes(2, "big") + b"\1x"
        lost = b"r" + (7).to_bytes(2, "big") + b"\0x"
        for key in (kept, lost):
            self.rows.put("data", key, b"x")
        self.flush()
        self.rows.delete_ranges("data", doomed)
        self.assertEqual([key for key, _ in self.rows.scan("data", b"", END)], [kept])
        self.flush()
        self.assertEqual(self.store.reader.get("data", lost), None)
        self.assertEqual(self.store.reader.get("data", kept), b"x")

    def test_more_ranges_with_neighbours_than_it_looks_at_are_hidden(self) -> None:
        for number in range(100):
            self.rows.put("data", b"%03d-b" % number, b"x")
        self.flush()
        self.rows.delete_ranges("data", [(b"%03d-a" % number, b"%03d-b" % number) for number in range(100)])
        self.assertEqual(len(list(self.rows.scan("data", b"", END))), 100)
        self.assertTrue(self.rows.active.hidden)

    def test_discards_go_with_the_flush_after_its_rows(self) -> None:
        self.rows.put("data", b"g1-a", b"x")
        self.flush()
        self.rows.put("data", b"g1-b", b"x")
        self.rows.put("data", b"h", b"x")
        self.rows.discard("data", b"g1", b"g2")
        self.flush()
        self.assertEqual([key for key, _ in self.rows.scan("data", b"", END)], [b"h"])

    def test_families_are_apart(self) -> None:
        for family in ("data", "default", "lock", "write", "region"):
            self.rows.put(family, b"k", family.encode())
        self.flush()
        for family in ("data", "default", "lock", "write", "region"):
            self.assertEqual(self.rows.get(family, b"k"), family.encode())
        self.rows.delete_ranges("lock", [(b"", END)])
        self.assertEqual(self.rows.get("lock", b"k"), None)
        self.assertEqual(self.rows.get("write", b"k"), b"write")

    def test_full_by_tables_and_by_bytes(self) -> None:
        for _ in range(3):
            self.rows.put("data", b"k", b"x")
            self.freeze()
            self.assertFalse(self.rows.full)
        self.rows.put("data", b"k", b"x")
        self.freeze()
        self.assertTrue(self.rows.full)
        self.store.flush(self.rows.frozen[0])
        self.assertFalse(self.rows.full)
        self.rows._frozen_bytes_max = self.rows.frozen_bytes
        self.assertTrue(self.rows.full)

    def test_an_empty_table_is_not_frozen(self) -> None:
        self.assertIs(self.rows.freeze(), None)

    def test_expiries_over_all_layers(self) -> None:
        self.rows.note_expiry(30, b"c")
        self.rows.note_expiry(10, b"a")
        self.rows.note_expiry(-5, b"n")
        self.flush()
        self.rows.note_expiry(20, b"b")
        self.freeze()
        self.rows.forget_expiry(10, b"a")
        self.rows.note_expiry(5, b"e")
        self.assertEqual(self.rows.due(30, 10), [(-5, b"n"), (5, b"e"), (20, b"b"), (30, b"c")])
        self.assertEqual(self.rows.due(29, 2), [(-5, b"n"), (5, b"e")])
        self.store.flush(self.rows.frozen[0])
        self.flush()
        self.assertEqual(self.rows.due(30, 10), [(-5, b"n"), (5, b"e"), (20, b"b"), (30, b"c")])
        self.rows.note_expiry(10, b"a")
        self.assertEqual(self.rows.due(10, 10), [(-5, b"n"), (5, b"e"), (10, b"a")])

    def test_size(self) -> None:
        self.rows.put("data", b"a", b"123")
        self.flush()
        self.rows.put("data", b"b", b"1")
        self.rows.put("data", b"z", b"1")
        self.assertEqual(self.rows.size("data", b"a", b"c"), 6)

    def test_a_read_leaves_no_transaction_behind(self) -> None:
        self.rows.put("data", b"a", b"1")
        self.rows.put("data", b"b", b"1")
        self.flush()
        self.rows.get("data", b"a")
        next(iter(self.rows.scan("data", b"", END)))
        connection = sqlite3.connect(self.store.folder.data_path)
        self.addCleanup(connection.close)
        self.assertEqual(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0], 0)
