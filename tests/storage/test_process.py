"""
The writers' processes, for real.
"""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.storage.folders import open_small
from tinykv.storage.errors import FolderInUse, LogGap, StorageError, WriterLost
from tinykv.storage.process import ProcessChannel
from tinykv.storage.reader import Reader
from tinykv.storage.rowstore import RowStore
from tinykv.storage.writers import LogBatch

reactor: Any = global_reactor


def entry(index: int, data: bytes) -> LogBatch:
    """A batch of one entry."""
    batch = LogBatch()
    batch.append(1, index, [(1, data)])
    return batch


class WriterProcessTests(TestCase):
    """
    One folder with two children.
    """

    timeout = 30

    def setUp(self) -> None:
        self.path = self.mktemp()
        self.folder = open_small(self.path)
        self.log, self.data = self.folder.start_writers(reactor)
        self.reader = Reader(self.folder.data_path)
        self.addCleanup(self.folder.close)

    def log_channel(self) -> ProcessChannel:
        channel = self.log._channel
        assert isinstance(channel, ProcessChannel)
        return channel

    async def finish(self) -> None:
        self.reader.close()
        await self.log.close()
        await self.data.close()

    async def test_what_completes_is_there_after_a_restart(self) -> None:
        done: list[int] = []
        written: Deferred[None] = Deferred()
        big = os.urandom(3_000_000)  # more than the socket takes at once
        for index in range(1, 6):

            def complete(index: int = index) -> None:
                done.append(index)
                if index == 5:
                    written.callback(None)

            self.log.write(entry(index, big if index == 3 else b"small"), complete)
        self.assertEqual(done, [])
        self.assertGreater(self.log.queued_bytes, 0)
        await written
        self.assertEqual(done, [1, 2, 3, 4, 5])
        rows = RowStore(self.reader)
        for number in range(5000):
            rows.put("data", b"%05d" % number, bytes(100))
        table = rows.freeze()
        assert table is not None
        flushed: Deferred[None] = Deferred()
        self.data.flush(table, lambda: flushed.callback(None))
        await flushed
        rows.retire(table)
        self.assertEqual(len(list(rows.scan("data", b"", b"\xff"))), 5000)
        await self.finish()
        self.folder.close()
        self.assertEqual(sorted(os.listdir(self.path)), ["LOCK", "data.db", "data.sum", "raft.db"])
        again = open_small(self.path)
        self.addCleanup(again.close)
        self.assertEqual([held.index for held in again.entries(1, 0)], [1, 2, 3, 4, 5])
        self.assertEqual([held.data for held in again.entries(1, 2)][0], big)

    async def test_reading_ahead(self) -> None:
        rows = RowStore(self.reader)
        ahead = self.folder.start_reader(reactor, rows)
        rows.put("data", b"a", b"1")
        table = rows.freeze()
        assert table is not None
        flushed: Deferred[None] = Deferred()
        self.data.flush(table, lambda: flushed.callback(None))
        await flushed
        rows.retire(table)
        read: Deferred[None] = Deferred()
        ahead.keys([b"a", b"b"], lambda: read.callback(None))
        await read
        self.assertEqual(rows.ahead, {b"a": b"1", b"b": None})
        await ahead.close()
        await self.finish()

    async def test_closing_finishes_what_was_taken(self) -> None:
        done: list[int] = []
        rows = RowStore(self.reader)
        for number in range(5000):
            rows.put("data", b"%05d" % number, bytes(100))
        table = rows.freeze()
        assert table is not None
        self.data.flush(table, lambda: done.append(0))
        for index in range(1, 4):
            self.log.write(entry(index, bytes(500_000)), partial(done.append, index))
        await self.finish()
        self.assertEqual(sorted(done), [0, 1, 2, 3])

    async def test_the_death_of_a_child_is_told_once(self) -> None:
        errors: list[StorageError] = []
        told: Deferred[None] = Deferred()

        def failed(error: StorageError) -> None:
            errors.append(error)
            told.callback(None)

        self.log.failed(failed)
        # It gets the signals that end a service too, and has to outlive them.
        os.kill(self.log_channel().pid, signal.SIGKILL)
        self.log.write(entry(1, b"x"), lambda: self.fail("nobody wrote it"))
        await told
        self.log.write(entry(2, b"x"), lambda: self.fail("nobody wrote it"))
        self.assertIsInstance(errors[0], WriterLost)
        self.assertIn("raft.db", str(errors[0]))
        self.assertEqual(len(errors), 1)
        await self.assertFailure(self.log.close(), WriterLost)
        self.reader.close()
        await self.data.close()

    async def test_an_error_in_a_child_arrives_with_its_words(self) -> None:
        errors: list[StorageError] = []
        told: Deferred[None] = Deferred()

        def failed(error: StorageError) -> None:
            errors.append(error)
            told.callback(None)

        self.log.failed(failed)
        self.log.write(entry(7, b"x"), lambda: self.fail("it can't have been written"))
        await told
        self.assertIsInstance(errors[0], LogGap)
        await self.assertFailure(self.log.close(), LogGap)
        self.reader.close()
        await self.data.close()

    async def test_signals_to_the_service_do_not_end_a_child(self) -> None:
        first: Deferred[None] = Deferred()
        self.log.write(entry(1, b"x"), lambda: first.callback(None))
        await first
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(self.log_channel().pid, number)
        second: Deferred[None] = Deferred()
        self.log.write(entry(2, b"x"), lambda: second.callback(None))
        await second
        await self.finish()

    async def test_the_folder_stays_locked_until_the_children_are_done(self) -> None:
        self.folder.close()
        self.assertRaises(FolderInUse, open_small, self.path)
        await self.finish()
        open_small(self.path).close()
