"""The files of snapshots: what is kept, what is deleted, and when a file has its lasting name."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tinykv.interfaces import ISnapshotFile, ISnapshotFiles, ISnapshotSink
from tinykv.peering.hashing import hash_pieces
from tinykv.peering.snapshot_files import PARTIAL, SYNC_BYTES, SnapshotFolder


class SnapshotFolderTests(SynchronousTestCase):
    """A folder where snapshots arrive."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.mkdir()
        self.folder = SnapshotFolder(self.path, execute)

    def names(self) -> list[str]:
        """List the files."""
        return sorted(path.name for path in self.path.iterdir())

    def test_contracts(self) -> None:
        verifyObject(ISnapshotFiles, self.folder)
        (self.path / "source").write_bytes(b"x")
        verifyObject(ISnapshotFile, self.folder.open(str(self.path / "source")))
        verifyObject(ISnapshotSink, self.folder.sink(1, 9, "d", 1))

    def test_a_file_that_is_read(self) -> None:
        (self.path / "source").write_bytes(b"abcdef")
        found = self.folder.open(str(self.path / "source"))
        self.assertEqual((found.size, found.read(1, 3)), (6, b"bcd"))
        self.assertIn("was changed", str(self.assertRaises(OSError, found.read, 4, 3)))
        found.close()

    def test_it_has_its_name_when_it_is_durable(self) -> None:
        waiting: list[Callable[[], str]] = []
        done: Deferred[str] = Deferred()

        def run(call: Callable[[], str]) -> Deferred[str]:
            waiting.append(call)
            return done

        sink = SnapshotFolder(self.path, run).sink(1, 9, "d", 2)
        sink.write(b"a")
        sink.write(b"b")
        self.assertIs(sink.finish(), done)
        self.assertEqual(self.names(), ["9-d" + PARTIAL])
        self.assertEqual(waiting[0](), str(self.path / "9-d"))
        self.assertEqual(self.names(), ["9-d"])
        self.assertEqual((self.path / "9-d").read_bytes(), b"ab")

    def test_it_is_synced_while_it_arrives(self) -> None:
        calls: list[tuple[Callable[[], str], Deferred[str]]] = []

        def run(call: Callable[[], str]) -> Deferred[str]:
            calls.append((call, Deferred()))
            return calls[-1][1]

        sink = SnapshotFolder(self.path, run).sink(1, 9, "d", 3 * SYNC_BYTES)
        sink.write(bytes(SYNC_BYTES - 1))
        self.assertEqual(calls, [])
        sink.write(b"a")
        self.assertEqual(len(calls), 1)
        # One at a time; and the name waits for it.
        sink.write(bytes(SYNC_BYTES))
        finished = sink.finish()
        self.assertEqual(len(calls), 1)
        call, synced = calls[0]
        synced.callback(call())
        self.assertEqual(len(calls), 2)
        call, named = calls[1]
        named.callback(call())
        self.assertEqual(self.successResultOf(finished), str(self.path / "9-d"))
        self.assertEqual((self.path / "9-d").stat().st_size, 2 * SYNC_BYTES)

    def test_a_sync_that_fails_on_the_way_fails_all(self) -> None:
        first: Deferred[str] = Deferred()

        def run(call: Callable[[], str]) -> Deferred[str]:
            return execute(call) if first.called else first

        for ends in (False, True):
            first = Deferred()
            sink = SnapshotFolder(self.path, run).sink(1, 9, "d", 3 * SYNC_BYTES)
            sink.write(bytes(SYNC_BYTES))
            if ends:
                finished = sink.finish()
                first.errback(OSError(5, "worn out"))
            else:
                first.errback(OSError(5, "worn out"))
                self.assertRaises(OSError, sink.write, b"x")
                finished = sink.finish()
            self.failureResultOf(finished, OSError)
            self.assertEqual(self.names(), ["9-d" + PARTIAL])

    def test_it_is_closed_while_it_is_synced(self) -> None:
        calls: list[Callable[[], str]] = []

        def run(call: Callable[[], str]) -> Deferred[str]:
            calls.append(call)
            return Deferred()

        sink = SnapshotFolder(self.path, run).sink(1, 9, "d", 2 * SYNC_BYTES)
        sink.write(bytes(SYNC_BYTES))
        sink.close()
        self.assertEqual(calls[0](), "")

    def test_what_came_is_kept(self) -> None:
        sink = self.folder.sink(1, 9, "d", 4)
        sink.write(b"ab")
        sink.close()
        again = self.folder.sink(1, 9, "d", 4)
        self.assertEqual((again.kept, again.read(0, 2)), (2, b"ab"))
        again.write(b"cd")
        self.successResultOf(again.finish())
        self.assertEqual((self.path / "9-d").read_bytes(), b"abcd")

    def test_of_a_region_one_beginning_is_kept(self) -> None:
        self.folder.sink(1, 9, "old", 4).close()
        self.folder.sink(1, 8, "other", 4).close()
        self.folder.sink(1, 9, "new", 4).close()
        self.assertEqual(self.names(), ["8-other" + PARTIAL, "9-new" + PARTIAL])

    def test_discard(self) -> None:
        self.folder.sink(1, 9, "d", 4).discard()
        self.assertEqual(self.names(), [])

    def test_a_file_that_cant_be_finished(self) -> None:
        sink = self.folder.sink(1, 9, "d", 4)
        (self.path / ("9-d" + PARTIAL)).unlink()
        self.failureResultOf(sink.finish(), OSError)


class HashTests(SynchronousTestCase):
    """A hash in pieces."""

    def test_a_piece_a_turn(self) -> None:
        clock = Clock()
        asked: list[Any] = []

        def read(offset: int, size: int) -> bytes:
            asked.append((offset, size))
            clock.callLater(0, asked.append, "another turn")
            return b"x" * size

        done = hash_pieces(clock, read, 600_000)
        self.assertEqual(asked, [])
        clock.advance(0)
        self.assertEqual(self.successResultOf(done).digest(), sha256(b"x" * 600_000).digest())
        turn = "another turn"
        self.assertEqual(asked, [(0, 262144), turn, (262144, 262144), turn, (524288, 75712), turn])

    def test_a_file_that_cant_be_read(self) -> None:
        clock = Clock()

        def read(offset: int, size: int) -> bytes:
            raise OSError("disk")

        done = hash_pieces(clock, read, 1)
        clock.advance(0)
        self.failureResultOf(done, OSError)
