"""The contract of a store's two files, and that the simulated ones keep it as the real ones do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.testing.stored import Files, SimulatedFiles, SqliteFiles, everything
from tinykv.region.state import ApplyState, apply_key
from tinykv.storage.errors import CorruptFile, LogGap
from tinykv.storage.log import Entry, HardState
from tinykv.storage.ranges import Ranges
from tinykv.storage.tables import MemTable
from tinykv.storage.writers import LogBatch, pieces

if TYPE_CHECKING:
    _Mixin = SynchronousTestCase
else:
    _Mixin = object


class Contract(_Mixin):
    """What both keep; run over each of them."""

    files: Files

    def batch(self, *steps: tuple[Any, ...]) -> None:
        """Commit a batch, given as the names and arguments of its operations."""
        batch = LogBatch()
        for name, *arguments in steps:
            getattr(batch, name)(*arguments)
        self.files.write_log(batch.operations)

    def flush(self, table: MemTable) -> None:
        """Commit a table."""
        self.files.write_data([piece for piece in pieces(table) if piece is not None])

    def log(self, region: int = 1) -> list[tuple[int, int, bytes]]:
        """Read a log, from its base on."""
        after = self.files.base(region)[0]
        return [(entry.index, entry.term, entry.data) for entry in self.files.entries(region, after)]

    def applied(self, index: int, term: int) -> None:
        """Let the rows hold the log's effects up to an entry."""
        table = MemTable()
        table.rows["region"][apply_key(1)] = ApplyState(index, term, 0, 0).encode()
        self.flush(table)

    def test_nothing_yet(self) -> None:
        found = self.files.reopen()
        self.assertEqual((found.base, found.applied, found.last, found.commit), ((0, 0), (0, 0), (0, 0), 0))
        self.assertEqual((found.hard_state, found.apply_state), (None, None))

    def test_entries_follow_each_other(self) -> None:
        self.batch(("append", 1, 1, [(1, b"a"), (1, b"b")]), ("append", 1, 3, [(2, b"")]))
        self.assertEqual(self.log(), [(1, 1, b"a"), (2, 1, b"b"), (3, 2, b"")])
        self.assertEqual(self.files.last(1), (3, 2))

    def test_a_conflict_replaces_the_tail(self) -> None:
        self.batch(("append", 1, 1, [(1, b"a"), (1, b"b"), (1, b"c")]))
        self.batch(("append", 1, 2, [(2, b"B")]))
        self.assertEqual(self.log(), [(1, 1, b"a"), (2, 2, b"B")])
        self.batch(("append", 1, 3, [(2, b"C")]), ("append", 1, 3, [(3, b"D")]), ("append", 1, 1, []))
        self.assertEqual(self.log(), [])
        self.assertEqual(self.files.last(1), (0, 0))

    def test_a_gap_changes_nothing(self) -> None:
        self.batch(("append", 1, 1, [(1, b"a")]))
        gap = (("append", 1, 2, [(1, b"b")]), ("hard_state", 1, 1, 9, 9, 9), ("append", 1, 4, [(1, b"d")]))
        self.assertRaises(LogGap, self.batch, *gap)
        self.assertEqual((self.log(), self.files.hard_state(1)), ([(1, 1, b"a")], None))

    def test_promises(self) -> None:
        self.batch(("hard_state", 1, 7, 3, 7, 5), ("hard_state", 2, 8, 1, 0, 0))
        self.batch(("hard_state", 1, 7, 4, 0, 6))
        self.assertEqual(self.files.hard_state(1), HardState(7, 4, 0, 6))
        self.assertEqual(self.files.hard_state(2), HardState(8, 1, 0, 0))

    def test_a_cut(self) -> None:
        self.batch(("append", 1, 1, [(1, b"a"), (1, b"b"), (2, b"c")]), ("cut", 1, 2, 1))
        self.assertEqual((self.files.base(1), self.log()), ((2, 1), [(3, 2, b"c")]))
        self.assertEqual([self.files.term(1, index) for index in range(5)], [None, None, 1, 2, None])
        self.batch(("cut", 1, 9, 4))
        self.assertEqual((self.files.base(1), self.files.last(1), self.log()), ((9, 4), (9, 4), []))
        self.batch(("append", 1, 10, [(4, b"x")]))
        self.assertEqual(self.files.last(1), (10, 4))

    def test_a_reset(self) -> None:
        self.batch(("append", 1, 1, [(1, b"a"), (1, b"b")]), ("reset", 1, 1, 5), ("append", 1, 2, [(5, b"x")]))
        self.assertEqual((self.files.base(1), self.log()), ((1, 5), [(2, 5, b"x")]))

    def test_forgetting_concerns_one_region(self) -> None:
        for region in (1, 2):
            self.batch(
                ("append", region, 1, [(1, b"a"), (1, b"b")]), ("hard_state", region, 1, 1, 1, 1), ("cut", region, 1, 1)
            )
        self.batch(("forget", 1))
        self.assertEqual((self.files.hard_state(1), self.files.base(1), self.log()), (None, (0, 0), []))
        self.assertEqual((self.files.base(2), self.log(2)), ((1, 1), [(2, 1, b"b")]))
        self.batch(("append", 1, 1, [(1, b"new")]))
        self.assertEqual(self.log(), [(1, 1, b"new")])

    def test_a_hole_is_noticed(self) -> None:
        self.batch(("append", 1, 1, [(1, b"a"), (1, b"b"), (1, b"c")]), ("cut", 1, 2, 1))
        self.assertRaises(CorruptFile, self.files.entries, 1, 1)
        self.assertEqual(self.files.entries(1, 2), [Entry(3, 1, b"c")])
        self.assertEqual(self.files.entries(1, 3), [])

    def test_a_flush_hides_writes_and_discards_in_this_order(self) -> None:
        table = MemTable()
        table.rows["data"].update({b"a": b"1", b"b": b"2", b"c": b"3"})
        self.flush(table)
        table = MemTable()
        table.rows["data"].update({b"b": b"new", b"c": None, b"d": b"4"})
        table.hide("data", Ranges([(b"a", b"c")]))
        table.discards.append(("data", b"d", b"e"))
        table.expiries.update({(1, b"a"): True, (2, b"b"): True})
        self.flush(table)
        table = MemTable()
        table.expiries.update({(1, b"a"): None, (1, b"b"): True})
        self.flush(table)
        reader = self.files.reader()
        self.assertEqual(reader.rising("data")(b"", b"z", 9), [(b"b", b"new")])
        self.assertEqual(reader.expiries((0, b""), (9, b""), 9), [((1, b"b"), True), ((2, b"b"), True)])

    def test_recovery_goes_by_what_is_applied(self) -> None:
        self.batch(("hard_state", 1, 7, 2, 7, 2), ("append", 1, 1, [(1, b"a"), (1, b"b"), (2, b"c"), (2, b"d")]))
        self.applied(3, 2)
        found = self.files.reopen()
        self.assertEqual((found.base, found.applied, found.last, found.commit), ((0, 0), (3, 2), (4, 2), 3))
        self.batch(("hard_state", 1, 7, 2, 7, 4))
        self.assertEqual(self.files.reopen().commit, 4)
        # Beyond the log's end it's of another log.
        self.batch(("hard_state", 1, 7, 2, 7, 9))
        self.assertEqual(self.files.reopen().commit, 3)

    def test_a_log_that_lacks_what_is_applied_is_replaced(self) -> None:
        self.batch(("append", 1, 1, [(1, b"a"), (1, b"b")]))
        self.applied(5, 3)
        found = self.files.reopen()
        self.assertEqual((found.base, found.last, found.commit, self.log()), ((5, 3), (5, 3), 5, []))
        self.batch(("append", 1, 6, [(3, b"x")]))
        self.assertEqual(self.files.reopen().last, (6, 3))

    def test_a_log_of_other_terms_is_replaced(self) -> None:
        self.batch(("append", 1, 1, [(1, b"a"), (1, b"b"), (1, b"c")]))
        self.applied(2, 3)
        self.assertEqual((self.files.reopen().last, self.log()), ((2, 3), []))

    def test_a_log_that_begins_too_late(self) -> None:
        self.batch(("append", 1, 1, [(1, b"a"), (1, b"b"), (1, b"c")]), ("cut", 1, 2, 1))
        self.applied(1, 1)
        self.assertRaises(CorruptFile, self.files.reopen)


class SqliteTests(Contract, SynchronousTestCase):
    """The real files."""

    def setUp(self) -> None:
        self.files = SqliteFiles(self.mktemp())

    def tearDown(self) -> None:
        self.files.close()


class SimulatedTests(Contract, SynchronousTestCase):
    """The simulated files."""

    def setUp(self) -> None:
        self.files = SimulatedFiles()


regions = st.integers(1, 2)
log_steps = st.one_of(
    st.tuples(st.just("append"), regions, st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.just("cut"), regions, st.integers(0, 4)),
    st.tuples(st.just("reset"), regions, st.integers(1, 12)),
    st.tuples(st.just("forget"), regions),
    st.tuples(st.just("hard_state"), regions, st.integers(0, 3), st.integers(0, 3), st.integers(0, 9)),
    st.tuples(st.just("sync")),
)
keys = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])
spans = st.lists(st.tuples(keys, keys), max_size=2)
tables = st.fixed_dictionaries(
    {
        "rows": st.dictionaries(keys, st.one_of(st.none(), st.sampled_from([b"1", b"2"])), max_size=4),
        "hidden": spans,
        "discards": spans,
        "expiries": st.dictionaries(
            st.tuples(st.integers(1, 3), keys), st.one_of(st.none(), st.just(True)), max_size=3
        ),
    }
)


class TwinTests(SynchronousTestCase):
    """Whatever is written, both say the same afterwards."""

    def setUp(self) -> None:
        self.real = SqliteFiles(self.mktemp())
        self.twin = SimulatedFiles()

    def tearDown(self) -> None:
        self.real.close()

    def batch(self, steps: list[tuple[Any, ...]], term: int) -> list[tuple[Any, ...]]:
        """Make a batch that is right where the logs stand now."""
        batch = LogBatch()
        lasts = {region: self.twin.last(region)[0] for region in (1, 2)}
        bases = {region: self.twin.base(region)[0] for region in (1, 2)}
        for step in steps:
            if step[0] == "append":
                _, region, back, count = step
                first = max(bases[region], lasts[region] - back) + 1
                batch.append(region, first, [(term, b"%d" % (first + place)) for place in range(count)])
                lasts[region] = first + count - 1
            elif step[0] == "cut":
                _, region, on = step
                bases[region] += on
                lasts[region] = max(lasts[region], bases[region])
                batch.cut(region, bases[region], term)
            elif step[0] == "reset":
                _, region, index = step
                bases[region] = lasts[region] = index
                batch.reset(region, index, term)
            elif step[0] == "forget":
                bases[step[1]] = lasts[step[1]] = 0
                batch.forget(step[1])
            elif step[0] == "hard_state":
                batch.hard_state(step[1], 7, *step[2:])
            else:
                batch.sync()
        return batch.operations

    @settings(max_examples=40)
    @given(st.lists(st.one_of(st.lists(log_steps, min_size=1, max_size=6), tables), max_size=8))
    def test_both_say_the_same(self, steps: list[Any]) -> None:
        wipe = LogBatch()
        wipe.forget(1)
        wipe.forget(2)
        for term, step in enumerate(steps, 1):
            if isinstance(step, list):
                operations = self.batch(step, term)
                for files in (self.real, self.twin):
                    files.write_log(operations)
            else:
                for files in (self.real, self.twin):
                    table = MemTable()
                    table.rows["data"].update(step["rows"])
                    for start, end in step["hidden"]:
                        table.hide("data", _ranges(start, end))
                    table.discards += [("data", start, end) for start, end in step["discards"]]
                    table.expiries.update(step["expiries"])
                    files.write_data([piece for piece in pieces(table) if piece is not None])
        self.assertEqual(everything(self.real), everything(self.twin))
        for files in (self.real, self.twin):
            files.write_log(wipe.operations)


def _ranges(start: bytes, end: bytes) -> Ranges:
    return Ranges([(start, end)])
