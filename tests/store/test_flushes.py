"""A flush takes with it the apply states of all regions, as of one moment between their entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.server.harness import NoFile
from tinykv.region.descriptor import Descriptor, descriptor_key
from tinykv.region.state import ApplyState, apply_key
from tinykv.server.metrics import Metrics
from tinykv.storage.rowstore import RowStore
from tinykv.storage.tables import MemTable
from tinykv.store.flushes import FLUSH_SECONDS, Flushes, RegionFlushes
from tinykv.store.pacing import Stacks


class FakeQueue:
    """Where a region's data stands; and its keyspace and log as well."""

    applied_term = 1
    bytes = 0
    held = False
    failed = False
    time = 7
    sequence = 0
    changed_bytes = 0
    budget = 1 << 30

    def __init__(self, applied: int) -> None:
        self.applied = applied
        self.keyspace = self
        self.went_on = 0
        self.cuts: list[int] = []

    def go_on(self) -> None:
        """Count it."""
        self.went_on += 1

    def mark(self, index: int, applied_bytes: int) -> None:
        """Note nothing."""

    def cut(self, state: ApplyState, applied_bytes: int) -> None:
        """Note where the log is cut."""
        self.cuts.append(state.index)


class FakeWriter:
    """Has tables to be written."""

    def __init__(self) -> None:
        self.tables: list[tuple[MemTable, Callable[[], None]]] = []

    def flush(self, table: MemTable, done: Callable[[], None]) -> None:
        """Take a table."""
        self.tables.append((table, done))

    def write(self) -> MemTable:
        """Write the oldest."""
        table, done = self.tables.pop(0)
        done()
        return table


class FlushesTests(SynchronousTestCase):
    """Three regions."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.stacks = Stacks()
        self.rows = RowStore(cast(Any, NoFile()), frozen_tables_max=2)
        self.writer = FakeWriter()
        self.flushes = Flushes(
            rows=self.rows,
            stacks=self.stacks,
            log_writer=cast(Any, None),
            data_writer=cast(Any, self.writer),
            clock=self.clock,
            durations=Metrics(),
            memtable_bytes=1000,
            durability_os=False,
            flushed=lambda: None,
        )
        self.told: list[str] = []
        self.queues = [FakeQueue(0), FakeQueue(10), FakeQueue(20)]
        self.regions = [self.region(number, queue) for number, queue in enumerate(self.queues, 1)]

    def region(self, number: int, queue: FakeQueue) -> RegionFlushes:
        """Make a region."""
        anything = cast(Any, queue)
        descriptor = Descriptor.initial(number, [1])
        region = RegionFlushes(
            self.flushes,
            region=number,
            queue=anything,
            execution=anything,
            log_cut=anything,
            descriptor=lambda: descriptor,
        )
        region.room = lambda: None
        return region

    def states(self, table: MemTable) -> dict[int, int]:
        """Give the regions of which a table says where they are."""
        rows = table.rows["region"]
        found = {number: rows.get(apply_key(number)) for number in (1, 2, 3)}
        return {number: ApplyState.decode(row).index for number, row in found.items() if isinstance(row, bytes)}

    def applies(self, place: int, entries: int = 1) -> None:
        """Let a region apply something."""
        queue = self.queues[place]
        queue.applied += entries
        self.rows.put("data", b"r%d" % queue.applied, b"")

    def test_all_of_them(self) -> None:
        self.applies(0)
        self.regions[0].flush_all(lambda: self.told.append("flushed"))
        self.assertEqual(self.told, [])
        table = self.writer.write()
        self.assertEqual(self.told, ["flushed"])
        self.assertEqual(self.states(table), {1: 1, 2: 10, 3: 20})
        self.assertIn(descriptor_key(3), table.rows["region"])
        self.assertEqual([queue.cuts for queue in self.queues], [[1], [10], [20]])

    def test_nobody_has_a_turn_meanwhile(self) -> None:
        """Or rows would be in the table of which its apply states say nothing: a restart would apply them twice."""
        self.applies(0)
        self.rows.pausing = lambda: self.applies(2)
        self.regions[0].flush_all(lambda: None)
        table = self.writer.write()
        self.assertEqual(self.states(table), {1: 1, 2: 10, 3: 20})
        self.assertEqual(table.rows["data"], {b"r1": b""})
        # Later on everybody has one.
        self.rows.pause()
        self.assertEqual(self.queues[2].applied, 21)

    def test_only_what_is_new(self) -> None:
        self.applies(0)
        self.regions[0].flush_all(lambda: None)
        self.writer.write()
        self.applies(1, 5)
        self.regions[1].flush_all(lambda: None)
        table = self.writer.write()
        self.assertEqual(self.states(table), {2: 15})
        self.assertNotIn(descriptor_key(2), table.rows["region"])
        # Who asks for it gets it, though there's nothing new.
        self.regions[2].flush_all(lambda: self.told.append("flushed"))
        self.assertEqual(self.states(self.writer.write()), {3: 20})
        self.assertEqual(self.told, ["flushed"])

    def test_one_rests_in_the_midst_of_an_entry(self) -> None:
        self.stacks.resting = 1
        self.applies(0)
        self.assertFalse(self.regions[0].between())
        self.regions[0].flush_all(lambda: self.told.append("flushed"))
        self.assertEqual(self.writer.tables, [])
        # Nobody begins another entry.
        self.assertTrue(self.stacks.held)
        self.applies(1)
        self.assertTrue(self.regions[1].between())
        # Until that one is through.
        self.stacks.resting = 0
        self.applies(2, 3)
        self.assertFalse(self.regions[2].between())
        self.assertFalse(self.stacks.held)
        self.assertEqual(self.states(self.writer.write()), {1: 1, 2: 11, 3: 23})
        self.assertEqual(self.told, ["flushed"])
        self.assertEqual([queue.went_on for queue in self.queues], [0, 0, 0])
        self.clock.advance(0)
        self.assertEqual([queue.went_on for queue in self.queues], [1, 1, 1])

    def test_grown(self) -> None:
        self.applies(0)
        self.rows.put("data", b"large", bytes(2000))
        self.stacks.resting = 1
        self.assertTrue(self.regions[0].between())
        self.stacks.resting = 0
        self.assertFalse(self.regions[1].between())
        self.assertEqual(len(self.writer.tables), 1)
        # As many wait as may: they go on, and their proposals wait.
        for _ in range(2):
            self.applies(0)
            self.rows.put("data", b"large", bytes(2000))
            self.assertFalse(self.regions[0].between())
        self.assertEqual(len(self.writer.tables), 2)

    def test_exactly(self) -> None:
        """data.db is as of one region's entry, whatever others rest in."""
        self.stacks.resting = 1
        self.applies(0)
        self.regions[0].flush_exactly(lambda: self.told.append("exactly"))
        self.assertTrue(self.regions[0].between())
        self.stacks.resting = 0
        self.assertFalse(self.regions[1].between())
        self.applies(0)
        self.regions[1].flush_all(lambda: self.told.append("later"))
        self.assertEqual(self.states(self.writer.write()), {1: 1, 2: 10, 3: 20})
        self.assertEqual((self.told, self.writer.tables), (["exactly"], []))
        self.regions[0].let_flush()
        self.assertEqual(self.states(self.writer.write()), {1: 2, 2: 10})
        self.assertEqual(self.told, ["exactly", "later"])

    def test_given_up_before_it_was_frozen(self) -> None:
        self.stacks.resting = 1
        self.applies(0)
        self.regions[0].flush_exactly(lambda: self.told.append("exactly"))
        self.assertTrue(self.regions[0].between())
        self.regions[0].let_flush()
        self.stacks.resting = 0
        self.assertFalse(self.regions[1].between())
        self.assertFalse(self.stacks.held)
        self.clock.advance(0)
        self.assertEqual(self.told, [])
        self.assertEqual([queue.went_on for queue in self.queues], [1, 1, 1])

    def test_old_changes(self) -> None:
        self.applies(1)
        self.regions[1].look_after()
        self.stacks.resting = 1
        self.clock.advance(FLUSH_SECONDS)
        self.assertEqual(self.writer.tables, [])
        self.stacks.resting = 0
        self.clock.advance(FLUSH_SECONDS)
        self.assertEqual(self.states(self.writer.write()), {2: 11, 3: 20})

    def test_a_region_that_is_replaced(self) -> None:
        """Its log isn't cut by what was, and it's waited for."""
        self.applies(0)
        self.queues[0].held = True
        self.regions[0].flush_all(lambda: None)
        self.writer.write()
        self.assertEqual([queue.cuts for queue in self.queues], [[], [10], [20]])
        self.applies(1)
        self.regions[1].flush_all(lambda: None)
        self.assertEqual(self.states(self.writer.write()), {2: 11})

    def test_the_end(self) -> None:
        self.applies(0)
        self.stacks.resting = 1
        self.assertFalse(self.regions[0].finish())
        self.stacks.resting = 0
        self.assertFalse(self.regions[0].finish())
        self.writer.write()
        self.assertTrue(self.regions[0].finish())
