"""
The short form of C{make proof-power}, and what it stands on: a disk that remembers.
"""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.proofs.power import fast_folder, lives
from tests.proofs.recording import (
    CREATE,
    NAMES,
    REPLACE,
    SYNC,
    WRITE,
    Disk,
    Event,
    Recorder,
    everything,
    lay_out,
    library,
    nothing,
    some,
    torn,
)
from tests.storage.folders import make_format_1, open_small
from tinykv.storage.log import LogStore, read_entries
from tinykv.storage.schema import Kind, connect_to_look, open_file
from tinykv.storage.writers import LogBatch


class PowerTests(SynchronousTestCase):
    """
    A whole store loses power at some syncs of a short load.
    """

    if library() is None:
        skip = "the SQLite of this Python can't be reached from outside of its module"

    def setUp(self) -> None:
        self.folder = fast_folder()
        self.addCleanup(shutil.rmtree, self.folder)

    def test_nothing_acknowledged_is_lost(self) -> None:
        figures = lives(self.folder, 4, parts=3, turns=25, subsets=3, every=5)
        self.assertGreater(figures["images"], 60)

    def recorded(self, synchronous: str) -> list[int]:
        """Commit ten rows; give how many are in the images of the files before each sync and at the end."""
        path = self.folder / "one"
        path.mkdir()
        with Recorder(str(path)) as recorder:
            connection = sqlite3.connect(path / "x.db", isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            connection.execute("CREATE TABLE t (x)")
            connection.execute("PRAGMA wal_checkpoint").fetchone()
            recorder.mark(NAMES)
            for number in range(10):
                connection.execute("INSERT INTO t VALUES (?)", (number,))
                recorder.mark(number + 1)
            events = list(recorder.events)
            connection.close()
        disk = Disk()
        lost: list[int] = []
        done = 0
        for event in events:
            if event.kind == SYNC and done:
                lost.append(done - self.rows(disk.image(nothing, Random(1))))
            elif isinstance(event.detail, int):
                done = event.detail
            disk.play(event)
        lost.append(done - self.rows(disk.image(nothing, Random(1))))
        self.assertEqual(self.rows(disk.image(everything, Random(1))), 10)
        return lost

    def rows(self, image: dict[str, bytes]) -> int:
        """Count the rows that SQLite finds in an image."""
        path = self.folder / "rebuilt"
        lay_out(image, path)
        connection = sqlite3.connect(path / "x.db", isolation_level=None)
        try:
            return int(connection.execute("SELECT COUNT(*) FROM t").fetchone()[0])
        finally:
            connection.close()

    def test_a_commit_with_its_sync_survives(self) -> None:
        lost = self.recorded("FULL")
        self.assertGreaterEqual(len(lost), 10)
        self.assertEqual(set(lost), {0})

    def test_a_commit_without_its_sync_is_lost(self) -> None:
        self.assertEqual(self.recorded("NORMAL")[-1], 10)

    def test_a_log_is_raised_to_a_newer_format_or_stays(self) -> None:
        path = self.folder / "live"
        open_small(str(path)).close()
        raft = str(path / "raft.db")
        connection = open_file(raft, Kind.RAFT)
        batch = LogBatch()
        for region in (1, 2):
            batch.append(region, 1, [(1, b"%d" % index * 300) for index in range(1, 100)])
        LogStore(connection, raft, noting=False).write(batch.operations)
        expected = [list(read_entries(connection, raft, region, 0)) for region in (1, 2)]
        connection.close()
        make_format_1(raft, killed=True)
        disk = Disk({file.name: file.read_bytes() for file in path.iterdir() if file.name != "LOCK"})
        with Recorder(str(path), replaced=["data.sum"], noted=["raft.end", "data.end"]) as recorder:
            open_small(str(path)).close()
            events = list(recorder.events)
        random = Random(1)
        formats: list[int] = []
        for event in [*events, Event(SYNC, "data.db")]:
            if event.kind in (SYNC, REPLACE):
                for choose in (nothing, everything, some, torn):
                    image = self.folder / "image"
                    lay_out(disk.image(choose, random), image)
                    formats.append(self.format_of(image / "raft.db"))
                    open_small(str(image)).close()
                    self.assertEqual(self.format_of(image / "raft.db"), 2)
                    connection = open_file(str(image / "raft.db"), Kind.RAFT)
                    found = [list(read_entries(connection, raft, region, 0)) for region in (1, 2)]
                    connection.close()
                    self.assertEqual(found, expected)
            disk.play(event)
        self.assertEqual(set(formats), {1, 2})

    def format_of(self, path: Path) -> int:
        """Say which format a file has."""
        connection = connect_to_look(str(path))
        try:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])
        finally:
            connection.close()


class DiskTests(SynchronousTestCase):
    """
    What is left of a file.
    """

    def test_only_what_was_synced_is_sure(self) -> None:
        disk = Disk({"f": b"....."})
        disk.play(Event(WRITE, "f", 0, b"a"))
        disk.play(Event(SYNC, "f"))
        disk.play(Event(WRITE, "f", 1, b"b"))
        disk.play(Event(WRITE, "f", 6, b"c"))
        self.assertEqual(disk.image(nothing, Random(1)), {"f": b"a...."})
        self.assertEqual(disk.image(everything, Random(1)), {"f": b"ab...\0c"})
        found = {disk.image(some, Random(seed))["f"] for seed in range(50)}
        self.assertEqual(found, {b"a....", b"ab...", b"a....\0c", b"ab...\0c"})

    def test_a_write_may_be_torn(self) -> None:
        disk = Disk({"f": b""})
        disk.play(Event(WRITE, "f", 0, b"x" * 1024))
        found = {disk.image(torn, Random(seed))["f"] for seed in range(200)}
        self.assertIn(b"\0" * 512 + b"x" * 512, found)
        self.assertGreater(len(found), 50)
        for content in found:
            self.assertEqual(content.strip(b"\0").strip(b"x"), b"")

    def test_a_new_file_may_be_missing_until_its_name_is_synced(self) -> None:
        disk = Disk()
        for event in (Event(CREATE, "f"), Event(WRITE, "f", 0, b"a"), Event(SYNC, "f")):
            disk.play(event)
        found = [disk.image(some, Random(seed)) for seed in range(20)]
        self.assertIn({}, found)
        self.assertIn({"f": b"a"}, found)
        self.assertNotIn({"f": b""}, found)
        disk.play(Event("mark", detail=NAMES))
        self.assertEqual(disk.image(nothing, Random(1)), {"f": b"a"})

    def test_what_is_written_to_a_lost_file_is_lost(self) -> None:
        disk = Disk()
        disk.play(Event(CREATE, "f"))
        disk.play(Event(WRITE, "f", 0, b"a"))
        found = [disk.image(some, Random(seed)) for seed in range(50)]
        for image in found:
            self.assertIn(image, ({}, {"f": b""}, {"f": b"a"}))


class LayoutTests(SynchronousTestCase):
    """
    An image becomes a folder.
    """

    def test_nothing_else_is_in_it(self) -> None:
        path = Path(self.mktemp())
        lay_out({"a": b"1", "b": b"2"}, path)
        lay_out({"b": b"3"}, path)
        self.assertEqual({file.name: file.read_bytes() for file in path.iterdir()}, {"b": b"3"})
