"""
Installing a snapshot replaces a region's rows by its own: all or, after a crash, again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.folders import LocalStore, open_small
from tests.storage.snapshots import Image, arrived, crashed, files_of, fill, flush, image, make
from tinykv.cli.stopped import StoppedStore, hold
from tinykv.keys import region_row
from tinykv.region.descriptor import Descriptor, descriptor_key
from tinykv.region.merging import Record, record_key
from tinykv.region.snapshot import InstallMark, install_key
from tinykv.region.state import ApplyState, apply_key
from tinykv.region.tombstone import decode_merged, tombstone_key
from tinykv.storage.check import check_folder
from tinykv.storage.checksum import row_checksum
from tinykv.storage.connection import PAGE_BYTES, connect_writer
from tinykv.storage.data import ROWS, DataStore
from tinykv.storage.errors import BadSnapshot, CorruptFile, DiskFull, StorageError
from tinykv.storage.snapshot_format import read_head
from tinykv.storage.snapshot_install import Installation, marks, room_of
from tinykv.storage.writers import LogBatch


class InstallCase(SynchronousTestCase):
    """
    A store that a snapshot was made of, and one that it's for.
    """

    def setUp(self) -> None:
        self.source = LocalStore(self.mktemp())
        self.source.hurry()
        self.addCleanup(lambda: self.source.close())
        fill(self.source, 7, 1)
        fill(self.source, 8, 2)
        self.snapshot = make(self.source)
        self.expected = image(self.source.folder.data_path)
        self.store = LocalStore(self.mktemp())
        self.store.hurry()
        self.addCleanup(lambda: self.store.close())
        self.file = arrived(self.snapshot, self.store)

    def image(self) -> object:
        """Read what the store has now."""
        return image(self.store.folder.data_path)

    def installation(self, store: LocalStore) -> Installation:
        """Prepare to install in many steps."""
        path = os.path.join(store.path, "snapshots", "1-arrived")
        return Installation(store.data_session._store, 1, path, delete_rows=10, step_bytes=1)

    def steps(self, store: LocalStore) -> Iterator[None]:
        """Install in many steps."""
        return self.installation(store).steps()


class InstallTests(InstallCase):
    """
    By the data writer.
    """

    def install(self) -> None:
        """Install the file, and expect that to succeed."""
        done = self.store.data.install(1, self.file)
        self.store.data_channel.run()
        self.assertEqual(self.successResultOf(done), ApplyState(8, 3, 1008, 5).encode())

    def test_into_an_empty_store(self) -> None:
        self.install()
        self.assertEqual(self.image(), self.expected)
        self.assertEqual(list(files_of(self.store.path)), [])

    def test_over_other_rows(self) -> None:
        fill(self.store, 5, 77, rows=300)
        self.install()
        self.assertEqual(self.image(), self.expected)

    def test_over_a_half_installed_one(self) -> None:
        fill(self.store, 5, 77)
        steps = self.steps(self.store)
        while not marks(self.store.data_connection, "data.db"):
            next(steps)
        for _ in range(30):
            next(steps)
        del steps
        fill(self.source, 9, 3)
        newer = make(self.source)
        self.file = arrived(newer, self.store)
        done = self.store.data.install(1, self.file)
        self.store.data_channel.run()
        self.successResultOf(done)
        self.assertEqual(self.image(), image(self.source.folder.data_path))

    def test_rows_outside_of_the_range_stay(self) -> None:
        part = make(self.source, start=b"r00300", end=b"r00600")
        fill(self.store, 5, 77)
        before = image(self.store.folder.data_path)
        self.file = arrived(part, self.store)
        self.install()
        found = image(self.store.folder.data_path)
        for name, place in (("data", 0), ("default", 0), ("lock", 0), ("write", 0), ("expiries", 1)):
            outside = [row for row in before[name] if not b"r00300" <= row[place] < b"r00600"]
            inside = [row for row in self.expected[name] if b"r00300" <= row[place] < b"r00600"]
            self.assertEqual(sorted(outside + inside), found[name])

    def test_a_folder_is_sound_afterwards(self) -> None:
        self.install()
        batch = LogBatch()
        batch.reset(1, 8, 3)
        self.store.log.write(batch, lambda: None)
        self.store.log_channel.run()
        self.store.close()
        self.assertEqual(check_folder(self.store.path), [])
        self.store.open()
        self.assertEqual((self.store.recovery.applied, self.store.recovery.base), ((8, 3), (8, 3)))

    def test_a_log_that_lags_begins_anew_at_the_next_start(self) -> None:
        batch = LogBatch()
        batch.append(1, 1, [(1, b"x"), (1, b"y")])
        self.store.log.write(batch, lambda: None)
        self.store.log_channel.run()
        self.install()
        self.store.crash()
        self.assertEqual((self.store.recovery.applied, self.store.recovery.last), ((8, 3), (8, 3)))

    def test_it_comes_behind_earlier_flushes_and_lets_later_ones_pass(self) -> None:
        self.store.rows.put("data", b"r1", b"old")
        table = self.store.rows.freeze()
        assert table is not None
        order: list[str] = []

        def retire() -> None:
            assert table is not None
            self.store.rows.retire(table)
            order.append("before")

        self.store.data.flush(table, retire)
        self.store.data.install(1, self.file).addCallback(lambda _: order.append("installed"))
        self.store.data_channel.run()
        self.assertEqual(order, ["before", "installed"])
        self.assertEqual(self.image(), self.expected)

    def test_other_regions_are_flushed_meanwhile(self) -> None:
        steps = self.steps(self.store)
        flushes = 0
        for _ in steps:
            flushes += 1
            self.store.rows.put("data", b"\xff\x01%d" % flushes, b"of another region")
            self.store.rows.put("region", apply_key(2), b"%032d" % flushes)
            table = self.store.rows.freeze()
            assert table is not None
            self.store.flush(table)
        self.assertGreater(flushes, 30)
        found = image(self.store.folder.data_path)
        self.assertEqual(len(found["data"]), len(self.expected["data"]) + flushes)
        self.assertEqual(len(found["region"]), len(self.expected["region"]) + 1)

    def test_a_flush_of_the_region_itself_is_a_fault(self) -> None:
        session = self.store.data_session
        session._installs.append(self.installation(self.store))
        while not session._installs[0].begun:
            self.assertEqual(session.take([]), [])
        for piece in (
            (0, "data", [(b"r", b"s")]),
            (1, "data", [b"r00300"], [b"x"]),
            (1, "region", [region_row(1, b"settings")], [b"x"]),
            (1, "region", [apply_key(1)], [b"x" * 32]),
            (2, [("data", b"r", b"s")]),
            (3, [(7, b"r00300", True)]),
        ):
            self.assertRaises(AssertionError, session.take, [piece])
        for piece in ((0, "data", [(b"\xff", b"\xff\xff")]), (1, "region", [apply_key(2)], [b"x" * 32]), (2, []), (4,)):
            session.take([piece])

    def test_what_was_read_ahead_is_forgotten(self) -> None:
        fill(self.store, 5, 77)
        self.store.rows.ahead[b"r00300"] = b"old"
        self.install()
        retired = self.store.rows.retired
        self.store.rows.replaced(1, b"", b"")
        self.assertEqual((self.store.rows.ahead, self.store.rows.retired), ({}, retired + 1))
        for key, _, value in self.expected["data"]:
            self.assertEqual(self.store.rows.get("data", key), value)

    def test_tables_must_be_empty_of_it_by_then(self) -> None:
        rows = self.store.rows
        rows.put("region", apply_key(2), b"x" * 32)
        rows.put("data", b"s", b"of another region")
        rows.replaced(1, b"r", b"s")
        rows.put("data", b"r", b"")
        self.assertRaises(AssertionError, rows.replaced, 1, b"r", b"s")
        rows.freeze()
        self.assertRaises(AssertionError, rows.replaced, 1, b"r", b"s")
        self.store.lose_memory()
        for change in (
            lambda: self.store.rows.put("region", apply_key(1), b"x"),
            lambda: self.store.rows.note_expiry(7, b"rx"),
            lambda: self.store.rows.remove("lock", b"rx"),
        ):
            change()
            self.assertRaises(AssertionError, self.store.rows.replaced, 1, b"r", b"s")
            self.store.lose_memory()


class RangedCase(SynchronousTestCase):
    """
    A snapshot with a part of the keys that a store has.
    """

    def setUp(self) -> None:
        source = LocalStore(self.mktemp())
        source.hurry()
        self.addCleanup(source.close)
        fill(source, 7, 1)
        source.rows.put("region", descriptor_key(1), self.descriptor(1, b"r00300", b"r00600").encode())
        flush(source, 8)
        self.snapshot = make(source, start=b"r00300", end=b"r00600")
        self.inside = image(source.folder.data_path)
        self.store = LocalStore(self.mktemp())
        self.store.hurry()
        self.addCleanup(lambda: self.store.close())
        fill(self.store, 5, 77, rows=300)

    def descriptor(self, region: int, start: bytes, end: bytes) -> Descriptor:
        """Make a descriptor of a region with a range of keys."""
        return replace(Descriptor.initial(region, [1, 2, 3]), start=start, end=end)

    def put(self, region: int, start: bytes, end: bytes, applied: int = 5) -> None:
        """Say in the memory table where a region is, and what is applied of it."""
        self.store.rows.put("region", descriptor_key(region), self.descriptor(region, start, end).encode())
        if applied:
            self.store.rows.put("region", apply_key(region), ApplyState(applied, 3, 1005, 5).encode())

    def flush(self) -> None:
        """Write the memory table."""
        table = self.store.rows.freeze()
        assert table is not None
        self.store.flush(table)

    def steps(self) -> Iterator[None]:
        """Install the file in many steps."""
        path = arrived(self.snapshot, self.store)
        return Installation(self.store.data_session._store, 1, path, delete_rows=10, step_bytes=1).steps()

    def check(self, before: Image, *kept: tuple[bytes, bytes]) -> None:
        """See that the rows are the snapshot's and, of those before, what lay in the ranges."""
        found = image(self.store.folder.data_path)
        for name, place in (("data", 0), ("default", 0), ("lock", 0), ("write", 0), ("expiries", 1)):
            own = [row for row in self.inside[name] if b"r00300" <= row[place] < b"r00600"]
            old = [row for row in before[name] if any(start <= row[place] < end for start, end in kept)]
            self.assertTrue(own, name)
            self.assertEqual(found[name], sorted(own + old), name)

    def install(self) -> Image:
        """Install all of it; give what there was before."""
        self.flush()
        before = image(self.store.folder.data_path)
        for _ in self.steps():
            pass
        return before


class NarrowingTests(RangedCase):
    """
    What lies where the region was here, and isn't any more, goes with the rows that are replaced.
    """

    def test_nobody_else_is_there(self) -> None:
        self.put(1, b"", b"")
        self.check(self.install())

    def test_who_is_at_work_there_keeps_its_rows(self) -> None:
        self.put(1, b"", b"r00900")
        self.put(2, b"r00700", b"r00800")
        self.put(3, b"r00100", b"r00200")
        before = self.install()
        self.check(before, (b"r00700", b"r00800"), (b"r00100", b"r00200"), (b"r00900", b"s"))

    def test_beside_it_and_up_to_the_end(self) -> None:
        """Others begin right behind it, and reach beyond what it had."""
        self.put(1, b"r00200", b"r00700")
        self.put(2, b"r00600", b"")
        self.check(self.install(), (b"r", b"r00200"), (b"r00600", b"s"))

    def test_who_has_nothing_here_keeps_nothing(self) -> None:
        """A region without an apply state has no rows, though it's known where it lies."""
        self.put(1, b"", b"")
        self.put(2, b"r00700", b"r00800", applied=0)
        self.check(self.install())

    def test_it_was_as_wide_before(self) -> None:
        self.put(1, b"r00300", b"r00600")
        self.check(self.install(), (b"r", b"r00300"), (b"r00600", b"s"))

    def test_one_that_begins_there_meanwhile(self) -> None:
        """What comes with the transaction that says so stays, whenever that is."""
        self.put(1, b"", b"")
        self.flush()
        begun = self.mktemp()
        shutil.copytree(self.store.path, begun)
        step, ended = 0, False
        while not ended:
            path = self.mktemp()
            shutil.copytree(begun, path)
            self.store.close()
            self.store = LocalStore(path)
            self.store.hurry()
            steps = self.steps()
            for _ in range(step):
                next(steps, None)
            self.put(2, b"r00700", b"r00800")
            self.store.rows.put("data", b"r00750new", b"x")
            self.store.rows.note_expiry(7, b"r00750new")
            self.flush()
            ended = next(steps, self) is self
            for _ in steps:
                pass
            self.assertEqual(self.store.rows.get("data", b"r00750new"), b"x")
            self.assertIn((7, b"r00750new"), self.store.rows.due(10**14, 1))
            self.assertIsNone(self.store.rows.get("data", b"rlarge"))
            step += 7
        self.assertGreater(step, 100)

    def test_a_crash_after_any_step(self) -> None:
        """The next start does the rest."""
        self.put(1, b"", b"")
        self.put(2, b"r00700", b"r00800")
        self.flush()
        before = image(self.store.folder.data_path)
        steps = self.steps()
        left: list[str] = []
        for step, _ in enumerate(steps):
            if step % 5 == 0 and marks(self.store.data_connection, "data.db"):
                left.append(crashed(self.store.path, self.mktemp()))
        self.check(before, (b"r00700", b"r00800"))
        installed = image(self.store.folder.data_path)
        self.assertGreater(len(left), 20)
        for path in left:
            open_small(path).close()
            self.assertEqual(image(os.path.join(path, "data.db")), installed)

    def test_a_damaged_descriptor(self) -> None:
        self.put(1, b"", b"")
        self.store.rows.put("region", descriptor_key(2), b"x")
        self.flush()
        error = self.assertRaises(CorruptFile, list, self.steps())
        self.assertIn("data.db: the descriptor of region 2", str(error))


class MergedTests(RangedCase):
    """
    A snapshot takes the place of the regions as well that were merged into its own.
    """

    def setUp(self) -> None:
        super().setUp()
        source = LocalStore(self.mktemp())
        source.hurry()
        self.addCleanup(source.close)
        fill(source, 7, 1)
        source.rows.put("region", descriptor_key(1), self.descriptor(1, b"r00300", b"r00600").encode())
        self.last = self.descriptor(2, b"r00500", b"r00700")
        source.rows.put("region", record_key(1, 2), Record(9, 1, self.last).encode())
        flush(source, 8)
        self.snapshot = make(source, start=b"r00300", end=b"r00600")
        self.inside = image(source.folder.data_path)
        self.assertEqual(read_head(self.snapshot.path).sources, (2,))

    def test_what_it_had_goes(self) -> None:
        """In the snapshot's range and beyond, but not where another region is at work."""
        self.put(1, b"r00300", b"r00500")
        self.put(2, b"r00500", b"r00800")
        self.put(3, b"r00750", b"r00780")
        self.store.rows.put("region", region_row(2, b"settings"), b"x")
        before = self.install()
        self.check(before, (b"r", b"r00300"), (b"r00750", b"r00780"), (b"r00800", b"s"))
        reader = self.store.reader
        for key in (descriptor_key(2), apply_key(2), region_row(2, b"settings")):
            self.assertIsNone(reader.get("region", key))
        self.assertEqual(decode_merged(2, reader.get("region", tombstone_key(2))), (1, self.last))
        self.assertIsNotNone(reader.get("region", apply_key(3)))

    def test_a_flush_of_one_is_a_fault(self) -> None:
        self.put(1, b"r00300", b"r00500")
        self.put(2, b"r00500", b"r00700")
        self.flush()
        path = arrived(self.snapshot, self.store)
        installation = Installation(self.store.data_session._store, 1, path, delete_rows=10, step_bytes=1)
        for _ in installation.steps():
            if installation.begun:
                break
        self.assertTrue(installation.touched_by((ROWS, "region", [apply_key(2)], [b"x"])))
        self.assertFalse(installation.touched_by((ROWS, "region", [apply_key(3)], [b"x"])))


class RoomTests(SynchronousTestCase):
    """
    What rows take on disk is known before.
    """

    def test_it_is_enough(self) -> None:
        for length in (20, 200, 900, 1010, 1400, 2000, 2060, 4000, 4060, 4100, 9000):
            store = LocalStore(self.mktemp())
            store.hurry()
            before = os.stat(store.folder.data_path).st_size
            for number in range(400):
                store.rows.put("data", b"%06d" % number, bytes(length))
            flush(store, 1)
            store.close()
            taken = os.stat(store.folder.data_path).st_size - before
            room = room_of([b"%06d" % number if part else bytes(length) for number in range(400) for part in (1, 0)])
            # Some pages are for the tables themselves.
            self.assertLess(taken, room + 20 * PAGE_BYTES, length)
            self.assertLess(room, 3 * taken + 20 * PAGE_BYTES, length)


class RefusalTests(InstallCase):
    """
    What isn't a whole snapshot of the region changes nothing.
    """

    def refused(self, kind: type[StorageError], region: int = 1) -> str:
        """Install the file, and expect a refusal."""
        before = self.image()
        done = self.store.data.install(region, self.file)
        self.store.data_channel.run()
        failure = self.failureResultOf(done)
        self.assertIs(failure.type, kind)
        self.assertEqual(self.image(), before)
        self.assertEqual(list(files_of(self.store.path)), [])
        return failure.getErrorMessage()

    def test_damage(self) -> None:
        fill(self.store, 5, 77)
        content = bytearray(Path(self.file).read_bytes())
        for place in range(5, len(content), len(content) // 60):
            content[place] ^= 1
            Path(self.file).write_bytes(content)
            self.assertIn("damaged or cut off", self.refused(BadSnapshot))
            content[place] ^= 1

    def test_a_file_that_was_cut_off(self) -> None:
        fill(self.store, 5, 77)
        content = Path(self.file).read_bytes()
        for size in [*range(0, len(content), len(content) // 40), len(content) - 1]:
            Path(self.file).write_bytes(content[:size])
            self.assertIn("damaged or cut off", self.refused(BadSnapshot))

    def test_a_missing_file(self) -> None:
        os.unlink(self.file)
        self.assertIn("is missing", self.refused(BadSnapshot))

    def test_another_region(self) -> None:
        self.assertIn("of region 1, not of region 2", self.refused(BadSnapshot, 2))

    def test_a_huge_file(self) -> None:
        os.truncate(self.file, 1 << 40)
        self.assertIn("behind its end", self.refused(BadSnapshot))

    def test_no_room(self) -> None:
        before = self.image()
        installation = Installation(self.store.data_session._store, 1, self.file, room_bytes=1 << 60)
        self.assertRaises(DiskFull, list, installation.steps())
        self.assertFalse(installation.begun)
        self.assertEqual(self.image(), before)
        self.store.data_session._installs.append(installation)
        while self.store.data_session.busy:
            self.store.data_session.take([])
        self.assertEqual(list(files_of(self.store.path)), [])

    def test_the_writer_goes_on(self) -> None:
        os.unlink(self.file)
        self.refused(BadSnapshot)
        self.file = arrived(self.snapshot, self.store)
        fill(self.store, 6, 5)
        done = self.store.data.install(1, self.file)
        self.store.data_channel.run()
        self.successResultOf(done)
        self.assertEqual(self.image(), self.expected)

    def test_closing_leaves_it_for_the_next_start(self) -> None:
        fill(self.store, 5, 77)
        self.store.data_session._installs.append(self.installation(self.store))
        for _ in range(30):
            self.assertEqual(self.store.data_session.take([]), [])
        self.store.close()
        self.assertIn("half installed", check_folder(self.store.path)[0])
        self.store.open()
        self.assertEqual(self.image(), self.expected)

    def test_a_failure_amid_it_ends_the_writer(self) -> None:
        self.store.data_session._installs.append(self.installation(self.store))
        done = self.store.data.install(1, self.file)
        errors: list[StorageError] = []
        self.store.data.failed(errors.append)
        while not self.store.data_session._installs[0].begun:
            self.store.data_session.take([])
        content = Path(self.file).read_bytes()
        os.truncate(self.file, len(content) // 2)
        self.store.data_channel.run()
        self.failureResultOf(done, BadSnapshot)
        self.assertEqual(len(errors), 1)
        self.failureResultOf(self.store.data.install(1, self.file), BadSnapshot)
        Path(self.file).write_bytes(content)
        self.store.lose_memory()
        self.store.data_session._installs.clear()
        self.store.crash()
        self.assertEqual(self.image(), self.expected)


class RecoveryTests(InstallCase):
    """
    A crash at any step.
    """

    def setUp(self) -> None:
        super().setUp()
        fill(self.store, 5, 77)
        self.store.close()
        self.before = crashed(self.store.path, self.mktemp())
        self.old = image(os.path.join(self.before, "data.db"))
        self.store.open()

    def crash(self, steps: int) -> str:
        """Install for some steps, and give the folder as a crash leaves it."""
        base = self.mktemp()
        shutil.copytree(self.before, base)
        store = LocalStore(base)
        store.hurry()
        self.file = arrived(self.snapshot, store)
        work = self.steps(store)
        self.ended = any(next(work, self) is self for _ in range(steps))
        left = crashed(base, self.mktemp())
        store.close()
        return left

    def test_after_every_step(self) -> None:
        step = half = 0
        self.ended = False
        while not self.ended:
            path = self.crash(step)
            found = check_folder(path)
            begun = any("half installed" in problem for problem in found)
            # At the very end the log is still to begin anew.
            self.assertEqual(len(found), begun or self.ended, found)
            half += begun
            if begun:
                with hold(Path(path)) as held:
                    self.assertIn("half installed", str(self.assertRaises(CorruptFile, StoppedStore, held)))
            folder = open_small(path)
            folder.recover(1)
            folder.close()
            self.assertEqual(image(folder.data_path), self.expected if begun or self.ended else self.old)
            self.assertEqual(list(files_of(path)), [])
            self.assertEqual(check_folder(path), [])
            step += 1
        self.assertGreater(half, 20)

    def test_a_crash_within_the_recovery(self) -> None:
        path = self.crash(40)
        for steps in (20, 45):
            data_path = os.path.join(path, "data.db")
            store = DataStore(connect_writer(data_path), data_path)
            file = os.path.join(path, "snapshots", "1-arrived")
            work = Installation(store, 1, file, delete_rows=10, step_bytes=1).steps()
            for _ in range(steps):
                next(work)
            path = crashed(path, self.mktemp())
            store.close()
        open_small(path).close()
        self.assertEqual(image(os.path.join(path, "data.db")), self.expected)

    def test_the_file_is_gone(self) -> None:
        path = self.crash(60)
        os.unlink(os.path.join(path, "snapshots", "1-arrived"))
        before = image(os.path.join(path, "data.db"))
        for _ in range(2):
            error = self.assertRaises(CorruptFile, open_small, path)
            self.assertIn("region 1 is half installed", str(error))
            self.assertIn("1-arrived: this snapshot is missing", str(error))
        self.assertEqual(image(os.path.join(path, "data.db")), before)

    def test_the_file_is_damaged(self) -> None:
        path = self.crash(60)
        file = Path(path, "snapshots", "1-arrived")
        content = file.read_bytes()
        file.write_bytes(content[:-1])
        self.assertIn("cut off", str(self.assertRaises(CorruptFile, open_small, path)))
        self.assertTrue(file.exists())
        file.write_bytes(content)
        open_small(path).close()
        self.assertEqual(image(os.path.join(path, "data.db")), self.expected)

    def test_the_file_is_another(self) -> None:
        path = self.crash(60)
        fill(self.source, 9, 3)
        shutil.copy(make(self.source).path, os.path.join(path, "snapshots", "1-arrived"))
        self.assertIn("is another one", str(self.assertRaises(CorruptFile, open_small, path)))

    def test_a_damaged_mark(self) -> None:
        for key, value in ((install_key(1), b"short"), (b"installing", b"x" * 20), (install_key(1), b"\xff" * 20)):
            path = self.mktemp()
            shutil.copytree(self.before, path)
            store = LocalStore(path)
            store.data_connection.execute(
                "INSERT INTO region (key, crc, value) VALUES (?, ?, ?)", (key, row_checksum(key, value), value)
            )
            store.close()
            self.assertIn("mark of an installation", str(self.assertRaises(CorruptFile, open_small, path)))
            self.assertIn("mark of an installation", check_folder(path)[0])

    def test_marks_can_be_read_back(self) -> None:
        mark = InstallMark(2**63, 5, "snapshots/schön")
        self.assertEqual(InstallMark.decode(mark.encode()), mark)


class TidyTests(SynchronousTestCase):
    """
    What an earlier run has left in the folder of the snapshots.
    """

    def test_a_start_keeps_what_is_arriving(self) -> None:
        path = self.mktemp()
        store = LocalStore(path)
        flush(store, 1)
        make(store)
        for name in ("1-2.new", "1-abc", "1-abd.part"):
            Path(path, "snapshots", name).write_bytes(b"x")
        store.close()
        open_small(path).close()
        self.assertEqual(list(files_of(path)), ["1-abd.part"])
