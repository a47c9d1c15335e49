"""
A snapshot holds what one read transaction saw, and says so rightly.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.folders import LocalStore
from tests.storage.snapshots import Image, copy_of, files_of, fill, flush, image, make
from tinykv.keys import region_row
from tinykv.region.snapshot import install_key
from tinykv.region.state import ApplyState, apply_key
from tinykv.storage.errors import BadSnapshot, CorruptFile, DiskFull, SnapshotAborted
from tinykv.storage.frames import MADE, REFUSED
from tinykv.storage.snapshot_copy import SnapshotSession
from tinykv.storage.snapshot_folder import make_snapshots_folder
from tinykv.storage.snapshot_format import SnapshotReader, decode_expiry, read_head


def contents(path: str) -> Image:
    """Read a snapshot's rows, without checksums."""
    reader = SnapshotReader(path)
    found: Image = {}
    for kind, items, _ in reader.frames():
        family = {1: "data", 2: "default", 3: "lock", 4: "write", 5: "expiries", 6: "region"}[kind]
        strings = iter(items)
        rows = [decode_expiry(item) for item in items] if kind == 5 else list(zip(strings, strings, strict=True))
        found.setdefault(family, []).extend(rows)
    reader.close()
    return found


def expected(found: Image, *, start: bytes = b"", end: bytes = b"\xff") -> Image:
    """Give what a snapshot of a data.db has to hold."""
    rows = {
        name: [(row[0], row[2]) for row in table if start <= row[0] < end]
        for name, table in found.items()
        if name not in ("expiries", "region")
    }
    rows["expiries"] = [row for row in found["expiries"] if start <= row[1] < end]
    rows["region"] = [(key, value) for key, _, value in found["region"] if key[:5] != b"apply"]
    return {name: table for name, table in rows.items() if table}


class SnapshotCopyTests(SynchronousTestCase):
    """
    L{tinykv.storage.snapshot_copy.SnapshotCopy}.
    """

    def setUp(self) -> None:
        self.store = LocalStore(self.mktemp())
        self.store.hurry()
        self.addCleanup(self.store.close)
        self.path = self.store.folder.data_path

    def test_all_that_is_there(self) -> None:
        fill(self.store, 7, 1)
        copy = make(self.store, labels=[region_row(1, b"settings"), b"nothing"])
        before = image(self.path)
        self.assertEqual(contents(copy.path), expected(before))
        assert copy.head is not None
        self.assertEqual((copy.head.index, copy.head.term), (7, 3))
        self.assertEqual(ApplyState.decode(copy.head.state), ApplyState(7, 3, 1007, 5))
        self.assertEqual(read_head(copy.path), copy.head)
        self.assertEqual(copy.size, os.stat(copy.path).st_size)
        settings = [value for key, _, value in before["region"] if key == region_row(1, b"settings")]
        self.assertEqual(copy.labels, [*settings, None])
        self.assertEqual(list(files_of(self.store.path)), ["1-7-3.snap"])

    def test_nothing_but_an_apply_state(self) -> None:
        flush(self.store, 1)
        self.assertEqual(contents(make(self.store).path), {})

    def test_a_part_of_the_keys(self) -> None:
        fill(self.store, 7, 1)
        copy = make(self.store, start=b"r00300", end=b"r00600")
        self.assertEqual(contents(copy.path), expected(image(self.path), start=b"r00300", end=b"r00600"))

    def test_other_apply_states_and_marks_stay_out(self) -> None:
        fill(self.store, 7, 1)
        self.store.rows.put("region", apply_key(2), b"x" * 32)
        self.store.rows.put("region", install_key(2), b"x" * 32)
        flush(self.store, 8)
        rows = dict(contents(make(self.store).path)["region"])
        self.assertNotIn(apply_key(2), rows)
        self.assertNotIn(install_key(2), rows)
        self.assertIn(region_row(1, b"settings"), rows)

    def test_flushes_that_go_on_are_not_seen(self) -> None:
        fill(self.store, 7, 1)
        before = image(self.path)
        copy = copy_of(self.store)
        steps = 0
        for _ in copy.steps():
            steps += 1
            fill(self.store, 7 + steps, 1 + steps, rows=10)
            self.store.data_session._store.checkpoint()
        self.assertGreater(steps, 8)
        assert copy.head is not None
        self.assertEqual(copy.head.index, 7)
        self.assertEqual(contents(copy.path), expected(before))
        # The next one sees them.
        again = make(self.store)
        assert again.head is not None
        self.assertEqual(again.head.index, 7 + steps)
        self.assertEqual(contents(again.path), expected(image(self.path)))
        self.assertEqual(list(files_of(self.store.path)), [f"1-{7 + steps}-3.snap"])

    def test_the_transaction_ends_before_the_file(self) -> None:
        fill(self.store, 7, 1)
        for _ in copy_of(self.store).steps():
            pass
        (busy, _, _) = self.store.data_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self.assertEqual(busy, 0)

    def test_given_up_it_leaves_nothing(self) -> None:
        fill(self.store, 7, 1)
        steps = copy_of(self.store).steps()
        next(steps)
        self.assertEqual(list(files_of(self.store.path)), ["1-1.new"])
        steps.close()
        self.assertEqual(list(files_of(self.store.path)), [])
        (busy, _, _) = self.store.data_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self.assertEqual(busy, 0)

    def test_it_has_a_limit_in_time(self) -> None:
        fill(self.store, 7, 1)
        clock = [0.0]
        copy = copy_of(self.store, seconds_max=5.0, now=lambda: clock[0])
        steps = copy.steps()
        next(steps)
        clock[0] = 5.0
        next(steps)
        clock[0] = 5.1
        error = self.assertRaises(SnapshotAborted, next, steps)
        self.assertIn("longer than 5 s", str(error))
        self.assertEqual(list(files_of(self.store.path)), [])

    def test_a_long_search_is_interrupted(self) -> None:
        for number in range(30_000):
            self.store.rows.put("default", b"%d" % number, b"")
            self.store.rows.note_expiry(number, b"%d" % number)
        flush(self.store, 7)
        ticks = iter([0.0, *[6.0] * 1000])
        copy = copy_of(self.store, start=b"a", end=b"b", seconds_max=5.0, now=lambda: next(ticks))
        self.assertIn("longer than 5 s", str(self.assertRaises(SnapshotAborted, list, copy.steps())))

    def test_there_must_be_room(self) -> None:
        fill(self.store, 7, 1)
        error = self.assertRaises(DiskFull, list, copy_of(self.store, room_bytes=1 << 60).steps())
        self.assertIn("Free some space", str(error))
        self.assertEqual(list(files_of(self.store.path)), [])

    def test_there_must_be_such_a_region(self) -> None:
        error = self.assertRaises(SnapshotAborted, list, copy_of(self.store).steps())
        self.assertIn("no region 1", str(error))

    def test_a_damaged_row_is_not_copied(self) -> None:
        fill(self.store, 7, 1)
        self.store.data_connection.execute("UPDATE data SET crc = crc + 1 WHERE key = x'72656d707479'")
        error = self.assertRaises(CorruptFile, list, copy_of(self.store).steps())
        self.assertIn("rempty", str(error))
        self.assertEqual(list(files_of(self.store.path)), [])


class SnapshotSessionTests(SynchronousTestCase):
    """
    The same by messages.
    """

    def setUp(self) -> None:
        self.store = LocalStore(self.mktemp())
        self.store.hurry()
        self.addCleanup(self.store.close)
        make_snapshots_folder(self.store.path)
        self.session = SnapshotSession(self.store.folder.data_path)
        self.message = (1, b"", b"\xff", [region_row(1, b"settings")], "1-1.new", 100.0, 0)

    def run_on(self) -> list[tuple[object, ...]]:
        """Call until it isn't busy."""
        replies = []
        while self.session.busy:
            replies += self.session.take([])
            self.session.rest()
        return replies

    def test_it_answers_at_the_end(self) -> None:
        fill(self.store, 7, 1, rows=20_000)
        self.assertFalse(self.session.busy)
        self.assertEqual(self.session.take([self.message]), [])
        self.assertTrue(self.session.busy)
        ((verb, path, size, state, labels),) = self.run_on()
        self.assertEqual(verb, MADE)
        self.assertEqual((size, state[:8]), (os.stat(str(path)).st_size, (7).to_bytes(8, "big")))
        self.assertEqual(len(labels), 1)
        self.assertEqual(self.session.take([]), [])
        self.session.close()

    def test_it_refuses_with_a_reason(self) -> None:
        replies = self.session.take([self.message]) + self.run_on()
        self.assertEqual([reply[:2] for reply in replies], [(REFUSED, "SnapshotAborted")])

    def test_closing_gives_up(self) -> None:
        fill(self.store, 7, 1, rows=20_000)
        self.session.take([self.message])
        self.session.close()
        self.assertFalse(self.session.busy)
        self.assertEqual(list(files_of(self.store.path)), [])


class SnapshotReaderTests(SynchronousTestCase):
    """
    What isn't as it was written isn't taken.
    """

    def setUp(self) -> None:
        store = LocalStore(self.mktemp())
        store.hurry()
        fill(store, 7, 1, rows=10)
        self.path = make(store).path
        self.content = Path(self.path).read_bytes()
        store.close()

    def refused(self, content: bytes) -> str:
        Path(self.path).write_bytes(content)
        return str(self.assertRaises(BadSnapshot, contents, self.path))

    def test_every_byte_counts(self) -> None:
        content = bytearray(self.content)
        # All of the head and of the end, and some of what is between.
        places = [*range(200), *range(200, len(content) - 200, 97), *range(len(content) - 200, len(content))]
        for place in places:
            content[place] ^= 0x10
            self.refused(bytes(content))
            content[place] ^= 0x10

    def test_every_length_counts(self) -> None:
        for size in [*range(0, len(self.content) - 200, 89), *range(len(self.content) - 200, len(self.content))]:
            self.refused(self.content[:size])
        self.assertIn("behind its end", self.refused(self.content + b"\0"))

    def test_frames_have_their_places(self) -> None:
        reader = SnapshotReader(self.path)
        start = len(reader.head.encode())
        sizes = [length + 13 for _, _, length in reader.frames()]
        reader.close()
        first, second = self.content[start : start + sizes[0]], self.content[start + sizes[0] :][: sizes[1]]
        rest = self.content[start + sizes[0] + sizes[1] :]
        head = self.content[:start]
        self.refused(head + second + first + rest)
        self.refused(head + first + first + second + rest)
        self.refused(head + second + rest)
        self.refused(head + first + second + rest[-1000:])

    def test_another_file(self) -> None:
        self.assertIn("doesn't begin", self.refused(b"SQLite format 3\0" * 10))
        os.unlink(self.path)
        self.assertIn("is missing", str(self.assertRaises(BadSnapshot, SnapshotReader, self.path)))
