"""Rows that are read before they're needed."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.folders import LocalStore
from tinykv.storage.errors import CorruptFile, StorageError
from tinykv.storage.readahead import ANSWER_BYTES, KEPT_BYTES


class ReadAheadTests(SynchronousTestCase):
    """What is asked for lies with the row store, as long as it's true."""

    def setUp(self) -> None:
        """Make a folder whose rows are in data.db."""
        self.store = LocalStore(self.mktemp(), fsync=False)
        self.addCleanup(self.store.close)
        self.done: list[str] = []

    def put(self, rows: dict[bytes, bytes]) -> None:
        """Write rows and flush them."""
        for key, value in rows.items():
            self.store.rows.put("data", key, value)
        table = self.store.rows.freeze()
        assert table is not None
        self.store.flush(table)

    def ask(self, *keys: bytes) -> None:
        """Read rows ahead."""
        self.store.read_ahead.keys(list(keys), lambda: self.done.append("keys"))
        self.store.read_channel.run()

    def test_keys(self) -> None:
        """What is there and what isn't: neither needs another look, once."""
        self.put({b"a": b"1", b"b": b"2"})
        self.ask(b"a", b"x")
        rows = self.store.rows
        reads: list[int] = []
        rows.pausing = lambda: reads.append(1)
        self.assertEqual(self.done, ["keys"])
        self.assertEqual((rows.get("data", b"a"), rows.get("data", b"x")), (b"1", None))
        self.assertEqual((reads, rows.ahead), ([], {}))
        self.assertEqual(rows.get("data", b"b"), b"2")
        self.assertEqual(len(reads), 1)

    def test_other_families(self) -> None:
        """Rows of another family under the same key are others."""
        self.put({b"a": b"1"})
        self.ask(b"a")
        self.assertIsNone(self.store.rows.get("write", b"a"))
        self.assertEqual(self.store.rows.get("data", b"a"), b"1")

    def test_memory_comes_first(self) -> None:
        """What was written since is newer."""
        self.put({b"a": b"1", b"b": b"1"})
        self.ask(b"a", b"b")
        self.store.rows.put("data", b"a", b"2")
        self.store.rows.delete_ranges("data", [(b"b", b"c")])
        self.assertEqual(self.store.rows.get("data", b"a"), b"2")
        self.assertIsNone(self.store.rows.get("data", b"b"))

    def test_old_after_a_flush(self) -> None:
        """When a table is retired data.db says something newer; what was read before is forgotten."""
        self.put({b"a": b"1"})
        self.ask(b"a")
        self.put({b"a": b"2"})
        self.assertEqual(self.store.rows.ahead, {})
        self.assertEqual(self.store.rows.get("data", b"a"), b"2")

    def test_under_way_during_a_flush(self) -> None:
        """An answer that crosses a retirement isn't kept, but told."""
        self.put({b"a": b"1"})
        self.store.read_ahead.keys([b"a"], lambda: self.done.append("keys"))
        self.put({b"a": b"2"})
        self.store.read_channel.run()
        self.assertEqual((self.done, self.store.rows.ahead), (["keys"], {}))

    def test_large_rows(self) -> None:
        """An answer has a limit; only its last row may go past it."""
        self.put({b"a": bytes(ANSWER_BYTES - 1), b"b": b"", b"c": bytes(ANSWER_BYTES), b"d": b""})
        self.ask(b"a", b"d", b"b")
        self.assertEqual(sorted(self.store.rows.ahead), [b"a", b"d"])
        self.store.rows.ahead.clear()
        self.ask(b"b", b"c", b"d")
        self.assertEqual(sorted(self.store.rows.ahead), [b"b", b"c"])

    def test_no_more_than_so_many_bytes(self) -> None:
        """What nobody comes for makes room."""
        big = bytes(ANSWER_BYTES - 10)
        count = KEPT_BYTES // len(big)
        self.put({b"%02d" % number: big for number in range(count + 1)})
        for number in range(count):
            self.ask(b"%02d" % number)
        self.assertEqual(len(self.store.rows.ahead), count)
        self.ask(b"%02d" % count)
        self.assertEqual(sorted(self.store.rows.ahead), [b"%02d" % count])

    def test_a_damaged_row(self) -> None:
        """It isn't handed on; the store has to stop."""
        self.put({b"a": b"1"})
        self.store.data_connection.execute('UPDATE "data" SET value = ? WHERE key = ?', (b"2", b"a"))
        self.store.data_connection.commit()
        errors: list[StorageError] = []
        self.store.read_ahead.failed(errors.append)
        self.ask(b"a")
        (error,) = errors
        self.assertIsInstance(error, CorruptFile)
        self.assertEqual((self.done, self.store.rows.ahead), ([], {}))
