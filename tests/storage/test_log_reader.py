"""What is durable of a log, read by another than its writer."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.folders import LocalStore
from tinykv.raft.log import Compacted
from tinykv.storage.errors import CorruptFile
from tinykv.storage.log_reader import LogReader
from tinykv.storage.writers import LogBatch


class LogReaderTests(SynchronousTestCase):
    """One region's log."""

    def setUp(self) -> None:
        """Make a log of ten entries, of 100 bytes each."""
        self.store = LocalStore(self.mktemp(), fsync=False)
        self.addCleanup(self.store.close)
        batch = LogBatch()
        batch.append(1, 1, [(1 + index // 6, b"%d" % index * 100) for index in range(1, 10)])
        batch.append(2, 1, [(9, b"another region's")])
        self.write(batch)
        self.reader = LogReader(self.store.folder.raft_path, 1)
        self.addCleanup(self.reader.close)

    def write(self, batch: LogBatch) -> None:
        """Make something durable."""
        self.store.log.write(batch, lambda: None)
        self.store.log_channel.run()

    def test_entries(self) -> None:
        """From one index to before another, as many as fit and at least one."""
        self.assertEqual([entry.index for entry in self.reader.entries(2, 5, 1000)], [2, 3, 4])
        self.assertEqual([entry.index for entry in self.reader.entries(2, 9, 399)], [2, 3, 4])
        self.assertEqual([entry.index for entry in self.reader.entries(2, 9, 400)], [2, 3, 4, 5])
        (entry,) = self.reader.entries(7, 20, 1)
        self.assertEqual((entry.term, entry.data), (2, b"7" * 100))

    def test_terms(self) -> None:
        """Of entries, and of the end."""
        self.assertEqual(self.reader.last(), (9, 2))
        self.assertEqual([self.reader.term(index) for index in (5, 6)], [1, 2])
        self.assertRaises(Compacted, self.reader.term, 10)

    def test_what_was_cut(self) -> None:
        """The base's term is known, what lies before it isn't."""
        batch = LogBatch()
        batch.cut(1, 6, 2)
        self.write(batch)
        self.assertEqual(self.reader.term(6), 2)
        self.assertRaises(Compacted, self.reader.term, 5)
        self.assertRaises(Compacted, self.reader.entries, 6, 9, 1000)
        self.assertEqual([entry.index for entry in self.reader.entries(7, 9, 1000)], [7, 8])
        batch = LogBatch()
        batch.cut(1, 9, 2)
        self.write(batch)
        self.assertEqual(self.reader.last(), (9, 2))

    def test_what_was_replaced(self) -> None:
        """It reads what is durable now."""
        batch = LogBatch()
        batch.append(1, 8, [(5, b"new")])
        self.write(batch)
        self.assertEqual(self.reader.last(), (8, 5))
        self.assertEqual(self.reader.entries(8, 9, 1)[0].data, b"new")

    def test_damaged(self) -> None:
        """An entry that isn't what was written is no entry."""
        session: Any = self.store.log_session
        connection = session._store._connection
        connection.execute("UPDATE log SET data = x'00' WHERE region = 1 AND idx = 4")
        self.assertEqual(len(self.reader.entries(1, 4, 1000)), 3)
        self.assertRaises(CorruptFile, self.reader.entries, 1, 5, 1000)
        self.assertRaises(CorruptFile, self.reader.term, 4)
