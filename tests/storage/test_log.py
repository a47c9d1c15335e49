"""
raft.db: what a batch leaves behind, after a restart too.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.storage.folders import LocalStore
from tinykv.storage import log as log_module
from tinykv.storage.errors import CorruptFile, DiskFull, LogGap, StorageError
from tinykv.storage.log import (
    REACH,
    HardState,
    LogStore,
    read_base,
    read_entries,
    read_hard_state,
    read_last,
    read_term,
    read_terms,
)
from tinykv.storage.schema import Identity, Kind, open_file, write_identity
from tinykv.storage.writers import LogBatch

steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 2), st.integers(0, 4), st.sampled_from((1, 2, 4, 40, 70))),
        st.tuples(st.just("cut"), st.integers(1, 2), st.integers(0, 6)),
        st.tuples(st.just("reset"), st.integers(1, 2), st.integers(1, 20)),
        st.tuples(st.just("forget"), st.integers(1, 2)),
        st.tuples(st.just("write")),
    ),
    max_size=15,
)


class SlowLog:
    """One region's log as a dict, the obvious way."""

    def __init__(self) -> None:
        self.base = (0, 0)
        self.entries: dict[int, tuple[int, bytes]] = {}

    @property
    def last(self) -> int:
        return max(self.entries, default=self.base[0])


class LogStoreTests(SynchronousTestCase):
    """
    L{LogStore} and what reads its file.
    """

    def setUp(self) -> None:
        self.path = self.mktemp()
        self.connection = open_file(self.path, Kind.RAFT)
        write_identity(self.connection, self.path, Kind.RAFT, Identity(1, "", "f"))
        self.store = LogStore(self.connection, self.path)

    def tearDown(self) -> None:
        self.connection.close()

    def entries(self, region: int = 1) -> list[tuple[int, int, bytes]]:
        after = read_base(self.connection, region)[0]
        found = read_entries(self.connection, self.path, region, after)
        return [(entry.index, entry.term, entry.data) for entry in found]

    def marks(self) -> list[tuple[int, int, int]]:
        found = self.connection.execute("SELECT region, idx, place FROM log_mark ORDER BY region, idx").fetchall()
        return [(region, index, place) for region, index, place in found]

    def write(self, batch: LogBatch) -> None:
        self.store.write(batch.operations)

    @given(steps=steps)
    def test_as_a_dict(self, steps: list[tuple[Any, ...]]) -> None:
        for region in (1, 2):
            self.store.write([(log_module.FORGET, region)])
        logs = {1: SlowLog(), 2: SlowLog()}
        batch = LogBatch()
        term = 1
        for verb, *arguments in [*steps, ("write",)]:
            log = logs[arguments[0]] if arguments else logs[1]
            if verb == "append":
                term += 1
                region, back, count = arguments
                first = max(log.last + 1 - back, log.base[0] + 1)
                for index in [index for index in log.entries if index >= first]:
                    del log.entries[index]
                new = [(term, b"%d-%d" % (term, number)) for number in range(count)]
                log.entries.update(enumerate(new, first))
                batch.append(region, first, new)
            elif verb == "cut":
                region, ahead = arguments
                index = min(log.base[0] + ahead, log.last)
                log.base = (index, log.entries[index][0] if index in log.entries else log.base[1])
                log.entries = {place: entry for place, entry in log.entries.items() if place > index}
                batch.cut(region, *log.base)
            elif verb == "reset":
                region, index = arguments
                log.base, log.entries = (index, term), {}
                batch.reset(region, *log.base)
            elif verb == "forget":
                log.base, log.entries = (0, 0), {}
                batch.forget(arguments[0])
            else:
                self.write(batch)
                batch = LogBatch()
                for region, log in logs.items():
                    expected = [(index, *entry) for index, entry in sorted(log.entries.items())]
                    self.assertEqual(self.entries(region), expected)
                    self.assertEqual(read_base(self.connection, region), log.base)
                    self.assertEqual(read_last(self.connection, region)[0], log.last)
                # A store that opens the file anew knows the same.
                known = LogStore(self.connection, self.path)
                self.assertEqual(known._marks, self.store._marks)
                for region, log in logs.items():
                    self.assertEqual(known.last(region), log.last)

    def test_hard_states(self) -> None:
        self.assertEqual(read_hard_state(self.connection, 1), None)
        batch = LogBatch()
        batch.hard_state(1, 7, 3, 7, 10)
        batch.hard_state(2, 8, 1, 0, 0)
        batch.hard_state(1, 7, 4, 0, 11)
        self.write(batch)
        self.assertEqual(read_hard_state(self.connection, 1), HardState(7, 4, 0, 11))
        self.assertEqual(read_hard_state(self.connection, 2), HardState(8, 1, 0, 0))

    def test_a_batch_with_a_hole_changes_nothing(self) -> None:
        batch = LogBatch()
        batch.append(1, 1, [(1, b"a")])
        self.write(batch)
        batch = LogBatch()
        batch.hard_state(1, 1, 9, 9, 9)
        batch.append(1, 3, [(1, b"c")])
        self.assertRaises(LogGap, self.write, batch)
        self.assertEqual(self.entries(), [(1, 1, b"a")])
        self.assertEqual(read_hard_state(self.connection, 1), None)

    def test_terms(self) -> None:
        batch = LogBatch()
        batch.append(1, 1, [(1, b"a"), (2, b"b"), (2, b"c")])
        batch.cut(1, 2, 2)
        self.write(batch)
        found = [read_term(self.connection, 1, index) for index in range(5)]
        self.assertEqual(found, [None, None, 2, 2, None])

    def test_many_entries_are_read_in_turns(self) -> None:
        batch = LogBatch()
        batch.append(1, 1, [(1, b"%d" % number) for number in range(1000)])
        self.write(batch)
        self.assertEqual(len(self.entries()), 1000)

    def test_entries_of_many_regions(self) -> None:
        """Marks lead to the entries of each, wherever the others' lie, also when some were cut off or replaced."""
        regions = range(1, 8)
        for index in range(1, 101):
            batch = LogBatch()
            for region in regions:
                if index % region == 0:
                    batch.append(region, index // region, [(1, b"%d-%d" % (region, index // region))])
            self.write(batch)
        batch = LogBatch()
        for region in regions:
            last = 100 // region
            batch.cut(region, last // 3, 1)
            batch.append(region, last - 2, [(2, b"again")])
        self.write(batch)
        self.store = LogStore(self.connection, self.path)
        for region in regions:
            base, last = 100 // region // 3, 100 // region - 2
            expected = [(index, 1, b"%d-%d" % (region, index)) for index in range(base + 1, last)]
            self.assertEqual(self.entries(region), [*expected, (last, 2, b"again")])
            self.assertEqual(read_last(self.connection, region), (last, 2))
            self.assertEqual(list(read_terms(self.connection, region))[-1], (last, 2))
            terms = [read_term(self.connection, region, index) for index in range(base - 1, last + 2)]
            self.assertEqual(terms, [None, 1, *[1] * (last - base - 1), 2, None])

    def test_marks_lie_as_far_apart_as_they_reach(self) -> None:
        batch = LogBatch()
        batch.append(1, 1, [(1, b"")] * REACH)
        self.write(batch)
        self.assertEqual(self.marks(), [(1, 1, 1)])
        batch = LogBatch()
        batch.append(1, REACH + 1, [(1, b"")])
        batch.append(2, 1, [(1, b"")])
        self.write(batch)
        self.assertEqual(self.marks(), [(1, 1, 1), (1, REACH + 1, REACH + 1), (2, 1, REACH + 2)])
        self.assertEqual(len(self.entries()), REACH + 1)

    def test_who_writes_seldom_has_a_mark_for_each_entry(self) -> None:
        batch = LogBatch()
        for index in range(1, 6):
            batch.append(1, index, [(1, b"%d" % index)])
            batch.append(2, 1 + REACH * (index - 1), [(1, b"")] * REACH)
        self.write(batch)
        own = [(index, place) for region, index, place in self.marks() if region == 1]
        self.assertEqual(own, [(index, 1 + (1 + REACH) * (index - 1)) for index in range(1, 6)])
        self.assertEqual([entry[0] for entry in self.entries()], [1, 2, 3, 4, 5])
        self.assertEqual([read_term(self.connection, 1, index) for index in range(7)], [0, 1, 1, 1, 1, 1, None])
        batch = LogBatch()
        batch.cut(1, 2, 1)
        batch.append(1, 4, [(2, b"new"), (2, b"newer")])
        self.write(batch)
        self.assertEqual(self.entries(), [(3, 1, b"3"), (4, 2, b"new"), (5, 2, b"newer")])
        self.assertEqual([index for _, index, _ in self.marks()[:2]], [3, 4])
        self.assertEqual(len(self.entries(2)), 5 * REACH)

    def test_what_comes_behind_a_log_that_was_cut_to_its_end(self) -> None:
        """It mustn't be put before the mark that's left, though no entry is left there."""
        batch = LogBatch()
        batch.append(2, 1, [(1, b"")] * 10)
        batch.append(1, 1, [(1, b"")])
        batch.cut(1, 1, 1)
        batch.forget(2)
        self.write(batch)
        self.assertEqual(self.marks(), [(1, 1, 11)])
        self.store = LogStore(self.connection, self.path)
        batch = LogBatch()
        batch.append(1, 2, [(1, b"new")])
        self.write(batch)
        self.assertEqual(self.entries(), [(2, 1, b"new")])
        self.assertEqual(read_last(self.connection, 1), (2, 1))

    def test_a_damaged_mark_loses_no_entries(self) -> None:
        batch = LogBatch()
        batch.append(1, 1, [(1, b"")] * 3)
        self.write(batch)
        for damage in ("UPDATE log_mark SET place = 2", "UPDATE log_mark SET place = 99", "DELETE FROM log_mark"):
            self.connection.execute("BEGIN")
            self.connection.execute(damage)
            self.assertRaises(CorruptFile, LogStore, self.connection, self.path)
            if damage.startswith("UPDATE"):
                self.assertRaises(CorruptFile, self.entries)
                self.assertRaises(CorruptFile, read_term, self.connection, 1, 3)
                self.assertRaises(CorruptFile, list, read_terms(self.connection, 1))
            self.connection.execute("ROLLBACK")

    def test_durability_os_skips_the_disk_for_entries_only(self) -> None:
        store = LogStore(self.connection, self.path, fsync=False)

        def level() -> int:
            found: int = self.connection.execute("PRAGMA synchronous").fetchone()[0]
            return found

        normal, full = 1, 2
        for expected, operations in (
            (normal, [(log_module.APPEND, 1, 1, [(1, b"a")])]),
            (full, [(log_module.STATE, 1, 1, 2, 0, 0)]),
            (normal, [(log_module.STATE, 1, 1, 2, 0, 1), (log_module.APPEND, 1, 2, [(1, b"a")])]),
            (full, [(log_module.STATE, 1, 1, 2, 1, 1), (log_module.APPEND, 1, 3, [(1, b"a")])]),
            (normal, [(log_module.APPEND, 1, 4, [(1, b"a")])]),
            (full, [(log_module.SYNC,)]),
        ):
            store.write(operations)
            self.assertEqual(level(), expected)

    def test_a_full_disk_loses_nothing(self) -> None:
        self.store.write([(log_module.APPEND, 1, 1, [(1, b"a")])])
        pages: int = self.connection.execute("PRAGMA page_count").fetchone()[0]
        self.connection.execute(f"PRAGMA max_page_count = {pages}")
        big = (log_module.APPEND, 1, 2, [(1, bytes(100_000))])
        error = self.assertRaises(DiskFull, self.store.write, [big])
        self.assertIn(self.path, str(error))
        self.connection.close()
        self.connection = open_file(self.path, Kind.RAFT)
        self.assertEqual(self.entries(), [(1, 1, b"a")])

    def test_a_write_that_fails_says_which_file(self) -> None:
        self.connection.execute("PRAGMA query_only = ON")
        error = self.assertRaises(StorageError, self.store.write, [(log_module.RESET, 1, 1, 1)])
        self.assertIn(self.path, str(error))


class CrashTests(SynchronousTestCase):
    """
    A machine that stops between two steps.
    """

    def test_what_was_reported_is_there(self) -> None:
        store = LocalStore(self.mktemp())
        self.addCleanup(lambda: store.close())
        done: list[int] = []
        for number in range(1, 4):
            batch = LogBatch()
            batch.append(1, number, [(1, b"%d" % number)])
            store.log.write(batch, partial(done.append, number))
            if number == 2:
                self.assertEqual(done, [])
                store.log_channel.run()
        self.assertEqual((done, store.log.pending), ([1, 2], 1))
        store.crash()
        self.assertEqual([entry.data for entry in store.replay], [b"1", b"2"])
        self.assertEqual(done, [1, 2])

    def test_a_flush_is_whole_or_not_at_all(self) -> None:
        store = LocalStore(self.mktemp())
        self.addCleanup(lambda: store.close())
        for number in range(3000):
            store.rows.put("data", b"%d" % number, bytes(100))
        table = store.rows.freeze()
        assert table is not None
        store.data.flush(table, lambda: self.fail("it wasn't finished"))
        for _ in range(2):
            store.data.writable()
            messages, store.data_channel._queue = store.data_channel._queue, []
            self.assertEqual(store.data_session.take(messages), [])
        store.crash()
        self.assertEqual(list(store.rows.scan("data", b"", b"\xff")), [])
