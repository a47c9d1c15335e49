"""
A long cut of the log goes in pieces, and what comes meanwhile doesn't wait for all of them.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tinykv.storage.frames import DONE
from tinykv.storage.log import LogStore, read_base, read_entries, read_last
from tinykv.storage.schema import Kind, open_file
from tinykv.storage.sessions import LogSession
from tinykv.storage.writers import LogBatch

ENTRIES = 100


class CutTests(SynchronousTestCase):
    """
    Entries of 1,000 bytes, of which some 10 are cut off at a time.
    """

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.path = str(folder / "raft.db")
        self.connection = open_file(self.path, Kind.RAFT)
        self.store = LogStore(self.connection, self.path)
        self.addCleanup(self.store.close)
        self.session = LogSession(self.store, cut_bytes=10_000)
        for region in (1, 2):
            batch = LogBatch()
            batch.append(region, 1, [(index // 10 + 1, bytes(1000)) for index in range(1, ENTRIES + 1)])
            self.session.take([batch.operations])

    def cut(self, index: int, region: int = 1) -> LogBatch:
        """Give a batch that cuts."""
        batch = LogBatch()
        batch.cut(region, index, index // 10 + 1)
        return batch

    def indexes(self, region: int = 1) -> list[int]:
        """Give what is there, after a look at the base: it's before the first, and of its term."""
        base, term = read_base(self.connection, region)
        self.assertEqual(term, base // 10 + 1 if base else 0)
        found = [entry.index for entry in read_entries(self.connection, self.path, region, base)]
        (count,) = self.connection.execute("SELECT COUNT(*) FROM log WHERE region = ?", (region,)).fetchone()
        self.assertEqual((count, found), (len(found), list(range(base + 1, base + 1 + len(found)))))
        return found

    def finish(self) -> int:
        """Let it go on to the end; give the number of steps."""
        steps = 0
        while self.session.busy:
            self.assertEqual(self.session.take([]), [])
            self.session.rest()
            self.indexes()
            steps += 1
        return steps

    def test_in_pieces(self) -> None:
        self.assertFalse(self.session.busy)
        self.assertEqual(self.session.take([self.cut(85).operations]), [(DONE, 1)])
        self.assertEqual(self.indexes()[0], 11)
        self.assertEqual(self.finish(), 8)
        self.assertEqual(self.indexes(), list(range(86, 101)))
        self.assertEqual(self.indexes(2), list(range(1, 101)))

    def test_a_piece_is_of_all_regions_together(self) -> None:
        self.session.take([self.cut(85).operations, self.cut(40, 2).operations])
        self.assertEqual((self.indexes()[0], self.indexes(2)[0]), (6, 6))
        self.finish()
        self.assertEqual((self.indexes()[0], self.indexes(2)[0]), (86, 41))

    def test_a_short_one_at_once(self) -> None:
        self.session.take([self.cut(5).operations])
        self.assertFalse(self.session.busy)
        self.assertEqual(self.indexes()[0], 6)

    def test_to_the_end(self) -> None:
        self.session.take([self.cut(100).operations])
        self.finish()
        self.assertEqual(self.indexes(), [])
        self.assertEqual(read_last(self.connection, 1), (100, 11))

    def test_what_comes_meanwhile(self) -> None:
        self.session.take([self.cut(85).operations, self.cut(40, 2).operations])
        later = LogBatch()
        later.append(1, 101, [(11, b"x")])
        later.hard_state(1, 7, 11, 0, 100)
        self.assertEqual(self.session.take([later.operations, self.cut(95).operations]), [(DONE, 2)])
        self.assertEqual(self.indexes()[-1], 101)
        self.finish()
        self.assertEqual(self.indexes(), list(range(96, 102)))
        self.assertEqual(self.indexes(2), list(range(41, 101)))

    def test_a_new_base_ends_it(self) -> None:
        for end in ("reset", "forget"):
            self.session.take([self.cut(85, 2 if end == "reset" else 1).operations])
            batch = LogBatch()
            if end == "reset":
                batch.reset(2, 300, 31)
                batch.append(2, 301, [(31, b"x")])
                batch.cut(2, 301, 31)
            else:
                batch.forget(1)
            self.session.take([batch.operations])
            self.assertFalse(self.session.busy)
        self.assertEqual(read_base(self.connection, 2), (301, 31))
        self.assertEqual(self.indexes(), [])

    def test_beyond_the_log(self) -> None:
        batch = self.cut(200)
        batch.append(1, 201, [(21, b"x")])
        self.session.take([batch.operations])
        self.assertFalse(self.session.busy)
        self.assertEqual(self.indexes(), [201])
