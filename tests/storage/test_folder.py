"""
Opening a data folder: what is made, what is found, and what is refused without being touched.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sqlite_utils import Database
from twisted.trial.unittest import SynchronousTestCase

from tests.storage.folders import LocalStore, make_format_1, open_small
from tinykv.storage.check import check_folder
from tinykv.storage.errors import (
    CorruptFile,
    FolderInUse,
    ForeignFile,
    StorageError,
    WrongFolder,
    WrongFormat,
)
from tinykv.storage.log import REACH, LogStore, read_base, read_entries, read_hard_state, read_last
from tinykv.storage.reader import Reader
from tinykv.storage.schema import Identity, Kind, connect_to_look, inspect, open_file, raft_migrations
from tinykv.storage.writers import LogBatch


def contents(path: str) -> dict[str, bytes]:
    """Everything that matters in a folder."""
    return {
        file.name: file.read_bytes()
        for file in Path(path).iterdir()
        if file.suffix in (".db", ".sum") or (file.name.endswith("-wal") and file.stat().st_size)
    }


def apply_state(index: int, term: int) -> bytes:
    """The row that says how far the rows have come."""
    return index.to_bytes(8, "big") + term.to_bytes(8, "big") + b"opaque"


APPLY_KEY = b"apply" + (1).to_bytes(8, "big")


class OpeningTests(SynchronousTestCase):
    """
    Folders that are whose they should be.
    """

    def test_a_new_folder_gets_an_identity_and_keeps_it(self) -> None:
        path = os.path.join(self.mktemp(), "deep", "folder")
        first = open_small(path, 3, "c")
        first.close()
        again = open_small(path, 3, "c")
        again.close()
        self.assertEqual(first.identity, again.identity)
        self.assertEqual((first.identity.store_id, first.identity.cluster_id), (3, "c"))
        other = open_small(self.mktemp(), 3, "c")
        other.close()
        self.assertNotEqual(first.identity.folder_id, other.identity.folder_id)

    def test_a_folder_of_other_files(self) -> None:
        """No store is made among them, and nothing is left there."""
        for names in (["thesis.txt"], ["a", "b", "c", "photos/", ".git/"], ["raft.db.bak"], ["ballast", "LOCK"]):
            path = Path(self.mktemp())
            for name in names:
                if name.endswith("/"):
                    (path / name).mkdir(parents=True)
                else:
                    path.mkdir(exist_ok=True)
                    (path / name).touch()
            before = sorted(path.iterdir())
            problem = self.assertRaises(ForeignFile, open_small, str(path))
            self.assertIn(f"{path.absolute()}: there is no store here, but other files: ", str(problem))
            self.assertIn("an empty folder of its own", str(problem))
            self.assertEqual("c and 1 more" in str(problem), len(names) > 4)
            self.assertEqual(sorted(path.iterdir()), before)

    def test_what_lies_in_any_folder(self) -> None:
        """What the file system, a service or the operator keeps there hinders nobody, nor a start broken off."""
        path = Path(self.mktemp())
        path.mkdir()
        (path / "lost+found").mkdir()
        (path / "raft.db-journal").touch()
        for name in ("LOCK", ".hidden", "1.ini", "cluster.secret", "store-1.log", "store-1.log.old", "twistd.pid"):
            (path / name).touch()
        open_small(str(path)).close()

    def test_later_files_hinder_nobody(self) -> None:
        """A store that was begun goes on, whatever somebody has put beside it."""
        path = Path(self.mktemp())
        path.mkdir()
        (path / "raft.db").touch()
        (path / "notes.txt").touch()
        open_small(str(path)).close()
        (path / "more.txt").touch()
        open_small(str(path)).close()

    def test_the_files_have_the_settings_that_the_promise_needs(self) -> None:
        path = self.mktemp()
        folder = open_small(path)
        self.addCleanup(folder.close)
        for connection in folder._connections():
            for setting, value in (
                ("journal_mode", "wal"),
                ("synchronous", 2),
                ("wal_autocheckpoint", 0),
                ("page_size", 4096),
            ):
                self.assertEqual(connection.execute(f"PRAGMA {setting}").fetchone()[0], value)

    def test_the_cluster_is_learned_later(self) -> None:
        path = self.mktemp()
        folder = open_small(path, 1)
        folder.set_cluster("c1")
        folder.close()
        for wanted in ("", "c1"):
            folder = open_small(path, 1, wanted)
            folder.close()
            self.assertEqual(folder.identity.cluster_id, "c1")
        self.assertRaises(WrongFolder, open_small, path, 1, "c2")

    def test_only_one_may_have_it_open(self) -> None:
        path = self.mktemp()
        folder = open_small(path)
        error = self.assertRaises(FolderInUse, open_small, path)
        self.assertIn(path, str(error))
        folder.close()
        open_small(path).close()

    def test_an_unfinished_creation_is_finished(self) -> None:
        path = self.mktemp()
        os.mkdir(path)
        open_file(os.path.join(path, "raft.db"), Kind.RAFT).close()
        Path(path, "data.db").touch()
        folder = open_small(path)
        folder.close()
        os.unlink(os.path.join(path, "data.db"))
        again = open_small(path)
        again.close()
        self.assertEqual(again.identity, folder.identity)

    def test_a_creation_that_lost_power_before_its_first_commit_is_finished(self) -> None:
        # SQLite makes a file's first page under a rollback journal that says that nothing was there before.
        path = self.mktemp()
        os.mkdir(path)
        first_page = os.path.join(path, "raft.db")
        open_file(first_page, Kind.RAFT).close()
        Path(path, "data.db").write_bytes(Path(first_page).read_bytes()[:4096])
        head = bytes.fromhex("d9d505f920a163d7") + bytes(4) + b"once" + bytes(4)
        head += (512).to_bytes(4, "big") + (4096).to_bytes(4, "big")
        Path(path, "data.db-journal").write_bytes(head.ljust(512, b"\0"))
        open_small(path).close()
        self.assertFalse(os.path.exists(os.path.join(path, "data.db-journal")))


class OlderFormatTests(SynchronousTestCase):
    """
    A raft.db of before the regions' entries lay together is raised when the store starts.
    """

    def setUp(self) -> None:
        self.path = self.mktemp()
        folder = open_small(self.path, 1, "c")
        self.identity = folder.identity
        folder.close()
        self.raft = os.path.join(self.path, "raft.db")
        connection = open_file(self.raft, Kind.RAFT)
        batch = LogBatch()
        for region, count in ((1, 3 * REACH), (2, 1), (3, REACH + 1), (4, 7)):
            batch.hard_state(region, 1, 2, 1, count)
            batch.append(region, 1, [(1 + (index > 2), b"%d-%d" % (region, index)) for index in range(1, count + 1)])
        batch.cut(4, 7, 2)
        batch.cut(1, 5, 2)
        LogStore(connection, self.raft, noting=False).write(batch.operations)
        self.before = self.held(connection)
        connection.close()
        make_format_1(self.raft)
        self.assertEqual(self.format(), 1)

    def held(self, connection: sqlite3.Connection) -> list[object]:
        """All that the four regions have there."""
        return [
            (
                list(read_entries(connection, self.raft, region, read_base(connection, region)[0])),
                read_hard_state(connection, region),
                read_base(connection, region),
                read_last(connection, region),
            )
            for region in range(1, 5)
        ]

    def format(self) -> int:
        connection = sqlite3.connect(self.raft)
        found: int = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.close()
        return found

    def after(self) -> list[object]:
        connection = connect_to_look(self.raft)
        found = self.held(connection)
        connection.close()
        return found

    def test_it_holds_what_it_held(self) -> None:
        for _ in range(2):
            folder = open_small(self.path, 1, "c")
            self.assertEqual(folder.identity, self.identity)
            folder.close()
            self.assertEqual(self.after(), self.before)
        self.assertEqual(self.format(), 2)
        connection = connect_to_look(self.raft)
        self.addCleanup(connection.close)
        self.assertEqual(connection.execute("SELECT value FROM meta WHERE name = 'format'").fetchone(), ("2",))
        marks = connection.execute("SELECT region, idx, place FROM log_mark ORDER BY region, idx").fetchall()
        own = [(1, 6, 1), (1, 6 + REACH, 1 + REACH), (1, 6 + 2 * REACH, 1 + 2 * REACH)]
        others = 1 + 3 * REACH - 5
        self.assertEqual(marks, [*own, (2, 1, others), (3, 1, others + 1), (3, 1 + REACH, others + 1 + REACH)])

    def test_it_goes_on_from_there(self) -> None:
        connection = open_file(self.raft, Kind.RAFT)
        self.addCleanup(connection.close)
        batch = LogBatch()
        batch.append(1, 3 * REACH - 1, [(3, b"new")])
        batch.append(2, 2, [(3, b"new")])
        batch.append(4, 8, [(3, b"new")])
        LogStore(connection, self.raft, noting=False).write(batch.operations)
        for region, last, count in ((1, 3 * REACH - 1, 3 * REACH - 6), (2, 2, 2), (4, 8, 1)):
            self.assertEqual(read_last(connection, region), (last, 3))
            base = read_base(connection, region)[0]
            self.assertEqual(len(list(read_entries(connection, self.raft, region, base))), count)

    def test_a_crash_on_the_way_leaves_the_older(self) -> None:
        connection = sqlite3.connect(self.raft, isolation_level=None)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        self.assertRaises(sqlite3.OperationalError, raft_migrations.apply, Database(connection, execute_plugins=False))
        connection.close()
        self.assertEqual(self.format(), 1)
        open_small(self.path, 1, "c").close()
        self.assertEqual(self.after(), self.before)


def flip_first(held: bytearray) -> None:
    """Change the first byte."""
    held[0] ^= 1


class RefusalTests(SynchronousTestCase):
    """
    What isn't fit to be used is left as it is, with a message that names the file.
    """

    def setUp(self) -> None:
        self.path = self.mktemp()
        store = LocalStore(self.path)
        batch = LogBatch()
        batch.append(1, 1, [(1, os.urandom(300)) for _ in range(200)])
        batch.hard_state(1, 1, 1, 1, 0)
        store.log.write(batch, lambda: None)
        store.log_channel.run()
        for number in range(2000):
            store.rows.put("data", b"%d" % number, os.urandom(30))
        table = store.rows.freeze()
        assert table is not None
        store.flush(table)
        store.close()

    def refused(self, kind: type[StorageError], name: str, store_id: int = 1) -> None:
        before = contents(self.path)
        error = self.assertRaises(kind, open_small, self.path, store_id)
        self.assertIn(os.path.join(os.path.abspath(self.path), name), str(error))
        self.assertEqual(contents(self.path), before)

    def refused_as_a_whole(self) -> None:
        before = contents(self.path)
        error = self.assertRaises(WrongFolder, open_small, self.path)
        self.assertTrue(str(error).startswith(os.path.abspath(self.path) + ": "))
        self.assertEqual(contents(self.path), before)

    def sql(self, name: str, *statements: str) -> None:
        connection = sqlite3.connect(os.path.join(self.path, name), isolation_level=None)
        for statement in statements:
            connection.execute(statement)
        connection.close()

    def overwrite(self, name: str, change: Callable[[bytearray], None]) -> None:
        file = Path(self.path, name)
        held = bytearray(file.read_bytes())
        change(held)
        file.write_bytes(held)

    def test_another_store(self) -> None:
        self.refused(WrongFolder, "raft.db", 2)

    def test_a_newer_format(self) -> None:
        for name in ("data.db", "raft.db"):
            self.sql(name, "PRAGMA user_version = 99")
            self.refused(WrongFormat, name)

    def test_an_older_format_isnt_only_looked_at(self) -> None:
        make_format_1(os.path.join(self.path, "raft.db"))
        before = contents(self.path)
        (problem,) = check_folder(self.path)
        self.assertIn("Start the store once", problem)
        path = os.path.join(self.path, "raft.db")
        self.assertRaises(WrongFormat, inspect, path, Kind.RAFT, newest=True)
        self.assertEqual(contents(self.path), before)

    def test_an_older_format_that_is_damaged(self) -> None:
        make_format_1(os.path.join(self.path, "raft.db"))
        self.sql("raft.db", "UPDATE log SET data = x'00' WHERE idx = 7")
        self.refused(CorruptFile, "raft.db")

    def test_an_older_format_that_lacks_a_table(self) -> None:
        make_format_1(os.path.join(self.path, "raft.db"))
        self.sql("raft.db", "DROP TABLE log_base")
        self.refused(CorruptFile, "raft.db")

    def test_another_programs_database(self) -> None:
        for name in ("data.db", "raft.db"):
            os.unlink(os.path.join(self.path, name))
            self.sql(name, "PRAGMA journal_mode = WAL", "CREATE TABLE bookmarks (url)")
            self.refused(ForeignFile, name)

    def test_another_programs_database_with_our_tables(self) -> None:
        self.sql("data.db", "PRAGMA application_id = 5")
        self.refused(ForeignFile, "data.db")

    def test_no_database_at_all(self) -> None:
        Path(self.path, "raft.db").write_bytes(b"hello, this is a text file")
        self.refused(ForeignFile, "raft.db")

    def test_a_damaged_head(self) -> None:
        def flip(held: bytearray) -> None:
            held[3] ^= 1

        self.overwrite("data.db", flip)
        self.refused(ForeignFile, "data.db")

    def test_a_truncated_file(self) -> None:
        def cut(held: bytearray) -> None:
            del held[2048:]

        for name in ("data.db", "raft.db"):
            self.overwrite(name, cut)
            self.refused(CorruptFile, name)

    def test_a_wiped_page_of_the_schema(self) -> None:
        def wipe(held: bytearray) -> None:
            held[100:4096] = bytes(3996)

        self.overwrite("data.db", wipe)
        self.refused(CorruptFile, "data.db")

    def test_a_missing_table(self) -> None:
        self.sql("raft.db", "DROP TABLE hard_state")
        self.refused(CorruptFile, "raft.db")

    def test_a_missing_identity(self) -> None:
        self.sql("raft.db", "DELETE FROM meta")
        self.refused(CorruptFile, "raft.db")

    def test_votes_lost(self) -> None:
        os.unlink(os.path.join(self.path, "raft.db"))
        self.refused_as_a_whole()

    def test_rows_lost(self) -> None:
        os.unlink(os.path.join(self.path, "data.db"))
        self.refused_as_a_whole()

    def test_files_of_two_folders(self) -> None:
        other = self.mktemp()
        open_small(other).close()
        os.replace(os.path.join(other, "data.db"), os.path.join(self.path, "data.db"))
        self.refused_as_a_whole()

    def test_a_damaged_page_is_an_error_when_it_is_read(self) -> None:
        def wipe(held: bytearray) -> None:
            for place in range(14 * 4096, len(held), 4096):
                held[place : place + 64] = os.urandom(64)

        folder = open_small(self.path)
        self.addCleanup(folder.close)
        for name in ("data.db", "raft.db"):
            self.overwrite(name, wipe)
        error = self.assertRaises(CorruptFile, lambda: list(folder.entries(1, 0)))
        self.assertIn("raft.db", str(error))
        folder.release_files()
        before = contents(self.path)
        reader = Reader(folder.data_path)
        self.addCleanup(reader.close)
        keys = [b"%d" % number for number in range(2000)]
        error = self.assertRaises(CorruptFile, lambda: [reader.get("data", key) for key in keys])
        self.assertIn("data.db", str(error))
        self.assertRaises(CorruptFile, lambda: reader.size("data", b"", b"\xff"))
        self.assertRaises(CorruptFile, lambda: reader.rising("data")(b"", b"\xff", 5000))
        self.assertEqual(contents(self.path), before)

    def test_a_byte_that_is_another_is_found_at_the_start(self) -> None:
        def flip(held: bytearray) -> None:
            held[-1500] ^= 4

        before = Path(self.path, "data.db").read_bytes()
        self.overwrite("data.db", flip)
        self.refused(CorruptFile, "data.db")
        Path(self.path, "data.db").write_bytes(before[:-4096])
        self.refused(CorruptFile, "data.db")
        Path(self.path, "data.db").write_bytes(before + bytes(4096))
        self.refused(CorruptFile, "data.db")
        Path(self.path, "data.db").write_bytes(before)
        self.overwrite("data.sum", flip_first)
        self.refused(CorruptFile, "data.sum")
        os.unlink(os.path.join(self.path, "data.sum"))
        open_small(self.path).close()
        self.overwrite("data.db", flip)
        self.refused(CorruptFile, "data.db")

    def test_an_index_that_says_something_else_than_its_table(self) -> None:
        # Of all tables only that of the migrations has one; with it wrong, the log's table would be made again.
        def flip(held: bytearray) -> None:
            held[held.rindex(b"tinykv-raft1")] ^= 1

        self.overwrite("raft.db", flip)
        self.refused(CorruptFile, "raft.db")

    def test_what_the_log_holds_is_compared_with_its_checksum(self) -> None:
        for statement in (
            "UPDATE log SET data = x'00' WHERE idx = 12",
            "UPDATE log SET term = 2 WHERE idx = 12",
            "UPDATE log SET data = 'text' WHERE idx = 12",
        ):
            connection = sqlite3.connect(os.path.join(self.path, "raft.db"), isolation_level=None)
            connection.execute(statement)
            connection.close()
            self.refused(CorruptFile, "raft.db")
            connection = open_file(os.path.join(self.path, "raft.db"), Kind.RAFT)
            error = self.assertRaises(CorruptFile, lambda: list(read_entries(connection, "raft.db", 1, 0)))  # noqa: B023
            connection.close()
            self.assertIn("entry 12 of region 1", str(error))

    def test_a_folder_that_is_a_file(self) -> None:
        path = self.mktemp()
        Path(path).touch()
        error = self.assertRaises(StorageError, open_small, path)
        self.assertIn(path, str(error))


class RecoveryTests(SynchronousTestCase):
    """
    What a start makes of log and rows (R5).
    """

    def setUp(self) -> None:
        self.store = LocalStore(self.mktemp())
        self.addCleanup(lambda: self.store.close())

    def log(self, fill: Callable[[LogBatch], None]) -> None:
        batch = LogBatch()
        fill(batch)
        self.store.log.write(batch, lambda: None)
        self.store.log_channel.run()

    def test_a_hole_where_the_rows_end_is_no_reason_to_begin_anew(self) -> None:
        self.log(lambda batch: batch.append(1, 1, [(1, b"%d" % index) for index in range(1, 6)]))
        self.applied(3, 1)
        self.store.close()
        connection = sqlite3.connect(self.store.folder.raft_path, isolation_level=None)
        connection.execute("DELETE FROM log WHERE idx = 3")
        connection.close()
        error = self.assertRaises(CorruptFile, self.store.open)
        self.assertIn("entry 3 of region 1 is missing", str(error))
        self.store.folder.close()
        connection = sqlite3.connect(self.store.folder.raft_path, isolation_level=None)
        connection.execute("DELETE FROM log WHERE idx > 3")
        connection.close()
        self.store.open()
        self.assertEqual(self.store.recovery.last, (3, 1))

    def applied(self, index: int, term: int) -> None:
        self.store.rows.put("region", APPLY_KEY, apply_state(index, term))
        table = self.store.rows.freeze()
        assert table is not None
        self.store.flush(table)

    def restart(self) -> None:
        self.store.crash()

    def entries(self, *terms: int) -> list[tuple[int, bytes]]:
        return [(term, b"%d" % place) for place, term in enumerate(terms)]

    def test_a_new_region(self) -> None:
        found = self.store.recovery
        self.assertEqual((found.base, found.applied, found.last, found.commit), ((0, 0), (0, 0), (0, 0), 0))
        self.assertEqual((found.hard_state, found.apply_state, self.store.replay), (None, None, []))

    def test_the_rest_of_the_log_is_replayed(self) -> None:
        self.log(lambda batch: batch.append(1, 1, self.entries(1, 1, 2, 2, 3)))
        self.log(lambda batch: batch.hard_state(1, 4, 3, 4, 4))
        self.applied(3, 2)
        self.log(lambda batch: batch.cut(1, 2, 1))
        self.restart()
        found = self.store.recovery
        assert found.hard_state is not None
        self.assertEqual((found.base, found.applied, found.last, found.commit), ((2, 1), (3, 2), (5, 3), 4))
        self.assertEqual((found.hard_state.peer, found.hard_state.term, found.hard_state.vote), (4, 3, 4))
        self.assertEqual(found.apply_state, apply_state(3, 2))
        self.assertEqual([(entry.index, entry.term) for entry in self.store.replay], [(4, 2), (5, 3)])

    def test_a_commit_index_counts_between_what_is_applied_and_the_logs_end(self) -> None:
        self.log(lambda batch: batch.append(1, 1, self.entries(1, 1, 1)))
        self.applied(2, 1)
        for hint, commit in ((0, 2), (3, 3), (4, 2), (9, 2)):
            self.log(partial(LogBatch.hard_state, region=1, peer=1, term=1, vote=1, commit_hint=hint))
            self.restart()
            self.assertEqual(self.store.recovery.commit, commit)

    def test_a_log_that_lacks_the_applied_entry_is_replaced(self) -> None:
        self.log(lambda batch: batch.append(1, 1, self.entries(1, 1)))
        self.log(lambda batch: batch.hard_state(1, 1, 5, 1, 2))
        for applied in ((7, 4), (7, 5)):
            self.applied(*applied)
            self.restart()
            found = self.store.recovery
            self.assertEqual((found.base, found.last, found.commit), (applied, applied, 7))
            self.assertEqual(self.store.replay, [])
            assert found.hard_state is not None
            self.assertEqual(found.hard_state.term, 5)
        self.log(lambda batch: batch.append(1, 8, self.entries(5)))
        self.restart()
        self.assertEqual([entry.index for entry in self.store.replay], [8])

    def test_a_log_of_another_term_at_the_applied_index_is_replaced(self) -> None:
        self.log(lambda batch: batch.append(1, 1, self.entries(1, 1, 1)))
        self.applied(2, 2)
        self.restart()
        self.assertEqual((self.store.recovery.base, self.store.recovery.last), ((2, 2), (2, 2)))

    def test_a_base_above_what_is_applied_is_corruption(self) -> None:
        self.log(lambda batch: batch.append(1, 1, self.entries(1, 1, 1)))
        self.log(lambda batch: batch.cut(1, 3, 1))
        self.applied(2, 1)
        self.store.reader.close()
        self.store.log_session.close()
        self.store.data_session.close()
        self.store.folder.close()
        folder = open_small(self.store.path)
        error = self.assertRaises(CorruptFile, folder.recover, 1)
        self.assertIn("raft.db", str(error))
        folder.close()
        self.store = LocalStore(self.mktemp())

    def test_a_missing_entry_is_corruption(self) -> None:
        self.log(lambda batch: batch.append(1, 1, self.entries(1, 1, 1)))
        folder = self.store.folder
        connection = sqlite3.connect(folder.raft_path, isolation_level=None)
        connection.execute("DELETE FROM log WHERE idx = 2")
        connection.close()
        self.assertRaises(CorruptFile, self.restart)
        self.store.folder.close()
        self.store = LocalStore(self.mktemp())

    def test_a_short_apply_state_is_corruption(self) -> None:
        self.store.rows.put("region", APPLY_KEY, b"short")
        table = self.store.rows.freeze()
        assert table is not None
        self.store.flush(table)
        self.assertRaises(CorruptFile, self.restart)
        self.store.folder.close()
        self.store = LocalStore(self.mktemp())


class IdentityTests(SynchronousTestCase):
    """
    An identity is a value.
    """

    def test_equality(self) -> None:
        self.assertEqual(Identity(1, "c", "f"), Identity(1, "c", "f"))
        self.assertNotEqual(Identity(1, "c", "f"), Identity(1, "c", "g"))


class RegionsTests(SynchronousTestCase):
    """Into how many regions the slots are cut is said once."""

    def setUp(self) -> None:
        self.path = self.mktemp()

    def begun_with(self, wanted: int, *, promise: bool = False) -> int:
        """Open the folder as a store does that wants so many; it may promise something then."""
        folder = open_small(self.path)
        try:
            found = folder.begun_with(wanted)
        finally:
            folder.close()
        if promise:
            self.promise()
        return found

    def promise(self) -> None:
        """Let the first region's peer promise something."""
        store = LocalStore(self.path)
        batch = LogBatch()
        batch.hard_state(1, 1, 1, 1, 0)
        store.log.write(batch, lambda: None)
        store.log_channel.run()
        store.close()

    def test_it_stays(self) -> None:
        self.assertEqual(self.begun_with(6), 6)
        self.assertEqual(self.begun_with(6, promise=True), 6)
        self.assertEqual([self.begun_with(wanted) for wanted in (1, 3, 6)], [6, 6, 6])

    def test_a_folder_of_before(self) -> None:
        """There was one region before anyone asked."""
        self.promise()
        self.assertEqual([self.begun_with(wanted) for wanted in (3, 1)], [1, 1])
