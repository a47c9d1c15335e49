"""What becomes of writes: when they're done, and what is left of them after a crash."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tinykv.interfaces import IDataWriter, ILogWriter
from tinykv.storage.errors import DiskFailure, DiskFull, LogGap, StorageError
from tinykv.storage.rowstore import RowStore
from tinykv.storage.writers import LogBatch
from tinykv.testing.simulation.clock import NodeClock, Process
from tinykv.testing.simulation.disk import Disk, DiskQuality
from tinykv.testing.simulation.events import SECOND, Events

STEADY = DiskQuality(commit_us=1_000, jitter_us=0)


class DiskTests(SynchronousTestCase):
    """One store's disk."""

    def begin(self, seed: int = 1, *, fsync: bool = True) -> None:
        self.events = Events(seed)
        self.disk = Disk(self.events, "disk", STEADY)
        self.start(fsync=fsync)

    def start(self, *, fsync: bool = True) -> None:
        self.found = self.disk.open(1)
        self.process = Process(self.events, NodeClock(self.events), "store")
        self.log, self.data = self.disk.start_writers(self.process, fsync=fsync)
        self.rows = RowStore(self.disk.reader())
        self.done: list[tuple[int, Any]] = []
        self.errors: list[StorageError] = []
        self.log.failed(self.errors.append)
        self.data.failed(self.errors.append)

    def tell(self, what: Any) -> Callable[[], None]:
        return lambda: self.done.append((self.events.now, what))

    def append(self, index: int, data: bytes = b"x") -> None:
        batch = LogBatch()
        batch.append(1, index, [(1, data)])
        self.log.write(batch, self.tell(index))

    def flush(self, key: bytes) -> None:
        self.rows.put("data", key, b"v")
        table = self.rows.freeze()
        assert table is not None

        def written() -> None:
            self.rows.retire(table)
            self.tell(key)()

        self.data.flush(table, written)

    def run_to(self, milliseconds: float) -> None:
        self.events.run_until(int(milliseconds * 1000))

    def after(self, end: Callable[[], Any], restart: Callable[[], None] | None = None) -> tuple[int, list[bytes]]:
        """End the process, and find what is left: the log's last index and the keys."""
        self.process.kill()
        end()
        (restart or self.start)()
        return self.found.last[0], [key for key, _ in self.rows.scan("data", b"", b"z")]

    def outcomes(self, prepare: Callable[[], None], end: str, *, fsync: bool = True) -> set[Any]:
        """What may be left, over many seeds."""
        found = set()
        for seed in range(60):
            self.begin(seed, fsync=fsync)
            prepare()
            last, keys = self.after(getattr(self.disk, end))
            found.add((last, b"".join(keys)))
        return found

    def test_they_are_writers(self) -> None:
        self.begin()
        verifyObject(ILogWriter, self.log)
        verifyObject(IDataWriter, self.data)

    def test_batches_that_wait_together_end_together(self) -> None:
        self.begin()
        self.append(1)
        self.append(2)
        self.append(3)
        self.run_to(10)
        self.assertEqual(self.done, [(1_000, 1), (2_000, 2), (2_000, 3)])

    def test_bytes_take_time(self) -> None:
        self.begin()
        self.append(1, b"x" * 200_000)
        self.run_to(10)
        self.assertEqual(self.done, [(2_000, 1)])
        self.disk.slowness = 3.0
        self.append(2)
        self.run_to(20)
        self.assertEqual(self.done[1:], [(13_000, 2)])

    def test_a_flush_is_read_from_then_on(self) -> None:
        self.begin()
        self.flush(b"a")
        self.flush(b"b")
        self.run_to(0.5)
        self.assertEqual(self.disk.reader().get("data", b"a"), None)
        self.assertEqual(self.rows.get("data", b"a"), b"v")
        self.run_to(10)
        self.assertEqual([what for _, what in self.done], [b"a", b"b"])
        self.assertEqual(self.disk.reader().get("data", b"b"), b"v")
        self.assertEqual(self.rows.frozen, [])

    def test_what_was_reported_survives_all(self) -> None:
        def prepare() -> None:
            self.append(1)
            self.flush(b"a")
            self.run_to(10)

        for end in ("lost_power", "killed"):
            self.assertEqual(self.outcomes(prepare, end), {(1, b"a")})

    def test_what_is_under_way_is_there_or_not(self) -> None:
        def prepare() -> None:
            self.append(1)
            self.append(2)
            self.flush(b"a")
            self.flush(b"b")
            self.run_to(0.5)

        # With the power everything stops; a writer's process may finish what it was given.
        self.assertEqual(self.outcomes(prepare, "lost_power"), {(0, b""), (1, b""), (0, b"a"), (1, b"a")})
        self.assertEqual(
            self.outcomes(prepare, "killed"), {(last, keys) for last in (0, 1, 2) for keys in (b"", b"a", b"ab")}
        )

    def test_without_fsync_a_loss_of_power_takes_a_suffix(self) -> None:
        def prepare() -> None:
            self.append(1)
            self.run_to(2)
            self.append(2)
            self.run_to(4)
            self.flush(b"a")
            self.run_to(10)

        self.assertEqual(self.outcomes(prepare, "lost_power", fsync=False), {(0, b"a"), (1, b"a"), (2, b"a")})
        self.assertEqual(self.outcomes(prepare, "killed", fsync=False), {(2, b"a")})

    def test_without_fsync_promises_and_syncs_are_kept(self) -> None:
        def prepare() -> None:
            self.append(1)
            self.run_to(2)
            batch = LogBatch()
            batch.hard_state(1, 1, 1, 1, 0)
            self.log.write(batch, self.tell("vote"))
            self.run_to(4)
            self.append(2)
            self.run_to(6)
            batch = LogBatch()
            batch.hard_state(1, 1, 1, 1, 2)
            self.log.write(batch, self.tell("hint"))
            self.run_to(8)

        self.assertEqual(self.outcomes(prepare, "lost_power", fsync=False), {(1, b""), (2, b"")})

        def prepare_and_sync() -> None:
            prepare()
            batch = LogBatch()
            batch.sync()
            self.log.write(batch, self.tell("sync"))
            self.run_to(20)

        self.assertEqual(self.outcomes(prepare_and_sync, "lost_power", fsync=False), {(2, b"")})

    def test_a_disk_that_lies_loses_what_it_reported(self) -> None:
        def prepare() -> None:
            self.disk.lies = frozenset({"log"})
            self.append(1)
            self.run_to(10)
            self.assertEqual(len(self.done), 1)

        self.assertEqual(self.outcomes(prepare, "lost_power"), {(0, b""), (1, b"")})

    def test_lost_transactions_are_counted(self) -> None:
        self.begin()
        self.disk.lies = frozenset({"log"})
        for index in (1, 2, 3):
            self.append(index)
            self.run_to(10 * index)
        last, _ = self.after(lambda: self.assertEqual(self.disk.lost_power(), 3 - self.disk.log.visible.last(1)[0]))
        self.assertIn(last, range(4))

    def test_a_stuck_disk_ends_nothing_until_it_goes_on(self) -> None:
        self.begin()
        self.disk.stuck = True
        self.append(1)
        self.flush(b"a")
        self.run_to(50)
        self.assertEqual(self.done, [])
        self.disk.stuck = False
        self.append(2)
        self.run_to(60)
        self.assertEqual([what for _, what in self.done], [1, b"a", 2])

    def test_a_full_disk_ends_the_writer_and_takes_nothing(self) -> None:
        self.begin()
        self.append(1)
        self.run_to(5)
        self.disk.full = True
        self.append(2)
        self.append(3)
        self.run_to(10)
        self.assertEqual([type(error) for error in self.errors], [DiskFull])
        self.assertEqual(self.done, [(1_000, 1)])
        self.append(4)
        self.run_to(20)
        self.assertEqual(self.after(self.disk.killed)[0], 1)

    def test_a_failing_disk_may_have_done_it(self) -> None:
        def prepare() -> None:
            self.disk.failing = True
            self.append(1)
            self.run_to(10)
            self.assertEqual([type(error) for error in self.errors], [DiskFailure])

        self.assertEqual(self.outcomes(prepare, "killed"), {(0, b""), (1, b"")})

    def test_a_fault_of_the_program_is_told(self) -> None:
        self.begin()
        self.append(2)
        self.run_to(10)
        self.assertEqual([type(error) for error in self.errors], [LogGap])

    def test_a_paused_store_hears_of_its_writes_later(self) -> None:
        self.begin()
        self.append(1)
        self.process.pause()
        self.run_to(10)
        self.assertEqual((self.done, self.disk.log.visible.last(1)), ([], (1, 1)))
        self.process.resume()
        self.run_to(10)
        self.assertEqual(self.done, [(10_000, 1)])

    def test_closing_waits_for_what_was_taken(self) -> None:
        self.begin()
        self.append(1)
        self.append(2)
        closing = self.log.close()
        idle = self.data.close()
        self.run_to(1.5)
        self.assertNoResult(closing)
        self.successResultOf(idle)
        self.run_to(10)
        self.successResultOf(closing)
        self.assertEqual(len(self.done), 2)

    def test_one_process_at_a_time(self) -> None:
        self.begin()
        self.assertRaises(AssertionError, self.disk.open, 1)
        self.assertRaises(AssertionError, self.disk.start_writers, self.process)

    def test_the_seed_decides(self) -> None:
        def run(seed: int) -> tuple[str, list[tuple[int, Any]]]:
            events = Events(seed)
            self.events, self.disk = events, Disk(events, "disk")
            self.start()
            for index in range(1, 20):
                self.append(index)
                self.run_to(index)
            self.events.run_until(SECOND)
            return events.digest, self.done

        self.assertEqual(run(1), run(1))
        self.assertNotEqual(run(1), run(2))
