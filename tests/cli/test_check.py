"""
`tinykv check` finds what is wrong with a folder, and changes nothing.
"""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from tests.cli.folders import Scribe, fingerprint, write_sample
from tests.storage.folders import open_small
from tinykv.cli.main import tinykv
from tinykv.keys import META_KEY_OFFSET, meta_key
from tinykv.raft.messages import CHANGE, Entry
from tinykv.raft.stored import stored_data
from tinykv.raft.wire import encode_change
from tinykv.region.descriptor import Descriptor, descriptor_key
from tinykv.region.tombstone import encode_tombstone, tombstone_key
from tinykv.storage.checksum import entry_checksum, numbers_checksum, row_checksum
from tinykv.storage.sums import sums_path
from tinykv.storage.tables import FAMILIES

#: Tells the rows of tree nodes from others, in SQL.
NODE = "length(key) = 17 AND substr(key, 5, 1) = x'02'"


class CheckTests(SynchronousTestCase):
    """A sound folder, and the same made sick."""

    sample: str

    def setUp(self) -> None:
        self.path = self.mktemp()
        shutil.copytree(self.sample_folder(), self.path)

    @classmethod
    def sample_folder(cls) -> str:
        """Make the sound folder once."""
        if "sample" not in cls.__dict__:
            cls.sample = str(Path("check sample").absolute())
            shutil.rmtree(cls.sample, ignore_errors=True)
            write_sample(cls.sample)
        return cls.sample

    def check(self) -> Result:
        """Check the folder; it mustn't change."""
        before = fingerprint(self.path)
        result = CliRunner().invoke(tinykv, ["check", self.path])
        self.assertEqual(fingerprint(self.path), before)
        self.assertFalse(isinstance(result.exception, Exception), result)
        return result

    def finds(self, *words: str) -> None:
        """Check that every one of these is found."""
        result = self.check()
        self.assertEqual(result.exit_code, 1, result.output)
        for word in words:
            self.assertIn(word, result.output)
        self.assertIn("nothing was changed", result.output)

    def sql(self, name: str, statement: str, *parameters: object) -> None:
        """Change a file, and make all checksums fit again: what is looked for here lies above them."""
        file = Path(self.path) / name
        connection = sqlite3.connect(file, isolation_level=None)
        self.assertGreater(connection.execute(statement, parameters).rowcount, 0)
        connection.create_function("row_sum", 2, row_checksum)
        connection.create_function("entry_sum", 4, entry_checksum)
        connection.create_function("numbers_sum", -1, numbers_checksum)
        if name == "data.db":
            for family in FAMILIES:
                connection.execute(f'UPDATE "{family}" SET crc = row_sum(key, value)')
        else:
            connection.execute("UPDATE log SET crc = entry_sum(region, idx, term, data)")
            connection.execute("UPDATE hard_state SET crc = numbers_sum(region, peer, term, vote, commit_hint)")
        connection.close()
        Path(sums_path(str(file))).unlink(missing_ok=True)

    def row(self, key: bytes) -> bytes:
        """Read the meta row of a key in database 0."""
        connection = sqlite3.connect(Path(self.path) / "data.db")
        (row,) = connection.execute("SELECT value FROM data WHERE key = ?", (meta_key(0, key),)).fetchone()
        connection.close()
        return bytes(row)

    def put(self, key: bytes, row: bytes) -> None:
        """Replace the meta row of a key in database 0."""
        self.sql("data.db", "UPDATE data SET value = ? WHERE key = ?", row, meta_key(0, key))

    def test_a_sound_folder(self) -> None:
        result = self.check()
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertIn("no problems found", result.output)
        self.assertIn("11 keys in databases 0, 3 (3 with an expiry)", result.output)
        self.assertIn("2 raw entries", result.output)
        self.assertIn("applied to 3; the next start applies the other 2", result.output)

    def test_a_write_ahead_log_that_is_left(self) -> None:
        connection = sqlite3.connect(Path(self.path) / "data.db", isolation_level=None)
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        row = (b"wlater", row_checksum(b"wlater", b"x"), b"x")
        connection.execute('INSERT INTO "default" (key, crc, value) VALUES (?, ?, ?)', row)
        left = self.mktemp()
        shutil.copytree(self.path, left)
        connection.close()
        self.path = left
        self.assertGreater((Path(left) / "data.db-wal").stat().st_size, 0)
        self.assertEqual(self.check().exit_code, 0)

    def test_an_empty_store(self) -> None:
        self.path = self.mktemp()
        scribe = Scribe(self.path)
        scribe.close()
        result = self.check()
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertIn("0 keys in databases none", result.output)

    def test_a_wrong_counter(self) -> None:
        self.sql("data.db", "UPDATE data SET value = ? WHERE length(key) = 5", bytes(16))
        self.finds("says 0 keys, 0 with an expiry; there are 1 and")

    def test_a_missing_counter(self) -> None:
        self.sql("data.db", "DELETE FROM data WHERE length(key) = 5")
        self.finds("has no counter row")

    def test_a_missing_node(self) -> None:
        self.sql("data.db", f"DELETE FROM data WHERE key = (SELECT max(key) FROM data WHERE {NODE})")
        self.finds("is missing")

    def test_an_orphaned_node(self) -> None:
        node = b"r" + bytes(3) + b"\2" + bytes(7) + b"\1" + bytes(3) + b"\1"
        self.sql("data.db", "INSERT INTO data (key, crc, value) VALUES (?, 0, ?)", node, b"x")
        self.finds("1 tree nodes of generation 1 in slot 0 of database 0 belong to no key")

    def test_a_node_that_is_no_node(self) -> None:
        self.sql("data.db", f"UPDATE data SET value = x'01' WHERE {NODE}")
        self.finds("too short for a node")

    def test_a_node_of_another_place(self) -> None:
        last = f"SELECT max(key) FROM data WHERE {NODE}"
        first = f"SELECT value FROM data WHERE {NODE} AND substr(key, 1, 13) = substr(({last}), 1, 13) ORDER BY key"
        self.sql("data.db", f"UPDATE data SET value = ({first} LIMIT 1) WHERE key = ({last})")
        self.finds("has a key outside of its bounds")

    def test_an_expiry_that_is_not_indexed(self) -> None:
        self.sql("data.db", "DELETE FROM expiries")
        self.finds("key b'fleeting' of database 0 is missing in the index of expiries")

    def test_a_key_in_a_wrong_place(self) -> None:
        key = meta_key(0, b"greeting")
        wrong = key[:META_KEY_OFFSET] + b"gritting"
        self.sql("data.db", "UPDATE data SET key = ? WHERE key = ?", wrong, key)
        self.finds("key b'gritting' of database 0 lies in another place")

    def test_damaged_values(self) -> None:
        self.put(b"greeting", b"\x09" + bytes(8))
        self.put(b"few", self.row(b"few")[:-1])
        self.put(b"small zset", self.row(b"small zset")[:12])
        self.put(b"fleeting", b"\x81\0")
        self.finds("b'greeting'", "b'few'", "b'small zset'", "b'fleeting'")

    def test_a_value_written_in_another_way(self) -> None:
        row = self.row(b"small zset")
        self.put(b"small zset", row.replace(b"one", b"two"))
        self.assertEqual(self.check().exit_code, 0)
        self.put(b"greeting", b"\1" + b"\x7f" * 8 + b"x")
        self.finds("has a version that was never given")

    def test_trees_of_a_sorted_set_that_disagree(self) -> None:
        nodes = f"SELECT key FROM data WHERE {NODE} AND instr(value, 'member 500') > 0"
        self.sql(
            "data.db",
            f"UPDATE data SET value = CAST(replace(value, 'member 500', 'member 50x') AS BLOB)"
            f" WHERE key = (SELECT min(key) FROM ({nodes}))",
        )
        self.finds("b'large zset'")

    def test_a_stray_row(self) -> None:
        self.sql("data.db", "INSERT INTO data (key, crc, value) VALUES (?, 0, ?)", b"q", b"x")
        self.sql("data.db", "INSERT INTO region (key, crc, value) VALUES (?, 0, ?)", b"q", b"x")
        self.sql("data.db", 'INSERT INTO "default" (key, crc, value) VALUES (?, 0, ?)', b"q", b"x")
        self.finds("b'q' lies where nothing may lie", "unknown row b'q'", "b'q' of family default")

    def test_a_regions_descriptor(self) -> None:
        key, row = descriptor_key(1), Descriptor.initial(1, [1, 2, 3]).encode()
        self.sql("data.db", "INSERT INTO region (key, value, crc) VALUES (?, ?, 0)", key, row)
        self.assertEqual(self.check().exit_code, 0)
        self.sql("data.db", "UPDATE region SET value = ? WHERE key = ?", row[:-1], key)
        self.finds("descriptor of region 1: ")

    def test_a_tombstone(self) -> None:
        key = tombstone_key(7)
        self.sql("data.db", "INSERT INTO region (key, value, crc) VALUES (?, ?, 0)", key, encode_tombstone(3))
        self.assertEqual(self.check().exit_code, 0)
        self.sql("data.db", "UPDATE region SET value = x'00' WHERE key = ?", key)
        self.finds("region 7: a region's tombstone is damaged")

    def test_a_change_of_the_members(self) -> None:
        change = Descriptor.initial(1, [1, 2, 3]).adding(4, "d:1")
        data = stored_data(Entry(4, 1, CHANGE, encode_change(change)))
        self.sql("raft.db", "UPDATE log SET data = ? WHERE idx = 4", data)
        self.assertEqual(self.check().exit_code, 0)
        self.sql("raft.db", "UPDATE log SET data = ? WHERE idx = 4", data[:3])
        self.finds("region 1: entry 4: ")

    def test_a_log_entry_that_is_none(self) -> None:
        self.sql("raft.db", "UPDATE log SET data = x'00' WHERE idx = 4")
        self.finds("region 1: entry 4: a log entry ends within its header")

    def test_a_commit_past_the_end(self) -> None:
        self.sql("raft.db", "UPDATE hard_state SET commit_hint = 99")
        self.finds("entry 99 is committed, but the log ends at 5")

    def test_a_hole_in_the_log(self) -> None:
        self.sql("raft.db", "DELETE FROM log WHERE idx = 4")
        self.finds("entry 5 stands where entry 4 should be")

    def test_a_damaged_page(self) -> None:
        file = Path(self.path) / "data.db"
        content = bytearray(file.read_bytes())
        content[4096 * 3 : 4096 * 12] = b"\x5a" * (4096 * 9)
        file.write_bytes(content)
        self.finds("data.db")

    def test_a_file_that_is_none(self) -> None:
        (Path(self.path) / "raft.db").write_bytes(b"not a database at all")
        self.finds("this is not a file of TinyKV")

    def test_a_missing_file(self) -> None:
        (Path(self.path) / "raft.db").unlink()
        self.finds("raft.db: missing")

    def test_no_such_folder(self) -> None:
        result = CliRunner().invoke(tinykv, ["check", "nowhere"])
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(result.output, "tinykv: nowhere: there is no such folder\n")

    def test_the_folder_above(self) -> None:
        above = Path(self.mktemp())
        above.mkdir()
        shutil.copytree(self.path, above / "store-1")
        result = CliRunner().invoke(tinykv, ["check", str(above)])
        self.assertEqual(result.exit_code, 1)
        self.assertIn(f"did you mean {above / 'store-1'}?", result.output)

    def test_a_running_store(self) -> None:
        folder = open_small(self.path)
        self.addCleanup(folder.close)
        result = CliRunner().invoke(tinykv, ["check", self.path])
        self.assertEqual(result.exit_code, 1)
        self.assertIn("a store is running on this folder", result.output)
