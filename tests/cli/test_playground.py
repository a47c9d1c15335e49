"""
What `tinykv playground` refuses before it starts anything, and how it reads logs.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from tests.redis_server import free_port
from tinykv.cli.main import tinykv
from tinykv.cli.playground import write_record
from tinykv.cli.playground_stores import TAIL_LINES, LocalStore, last_words, tail
from tinykv.cli.screen import quoted
from tinykv.config import StoreConfig, load


class RefusalTests(SynchronousTestCase):
    """One line, exit status 1."""

    def refused(self, *arguments: str, folder: str | None = None) -> str:
        """Start a playground in vain."""
        result = CliRunner().invoke(tinykv, ["playground", "--dir", folder or self.mktemp(), *arguments])
        self.assertEqual(result.exit_code, 1, result.output)
        self.assertTrue(result.output.startswith("tinykv: "), result.output)
        self.assertEqual(result.output.count("\n"), 1, result.output)
        return result.output

    def test_several_stores(self) -> None:
        self.assertIn("--stores 3: only 1 works for now", self.refused("--stores", "3"))

    def test_a_taken_port(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            said = self.refused("--port", str(port))
            self.assertIn(f"127.0.0.1:{port} can't be used (Address already in use", said)
            said = self.refused("--port", "0", "--http-port", str(port))
            self.assertIn("choose another with --http-port", said)

    def test_the_same_port_twice(self) -> None:
        port = str(free_port())
        self.assertIn("[http] http_port: is the same as port", self.refused("--port", port, "--http-port", port))

    def test_a_file_in_the_way(self) -> None:
        file = self.mktemp()
        Path(file).write_text("")
        self.assertIn("File exists", self.refused("--port", "0", folder=file))
        self.assertIn("Not a directory", self.refused("--port", "0", folder=f"{file}/data"))

    def test_a_folder_in_the_way_of_a_file(self) -> None:
        folder = Path(self.mktemp())
        (folder / "store-1.ini").mkdir(parents=True)
        self.assertIn("store-1.ini: Is a directory", self.refused("--port", "0", folder=str(folder)))


class LogTests(SynchronousTestCase):
    """The end of a log."""

    def test_last_words(self) -> None:
        log = Path(self.mktemp())
        log.write_text("starting\n2026-01-01T00:00:00.000Z error stderr: tinykv: the reason\nmore\n")
        self.assertEqual(last_words(log), "the reason")
        log.write_text("tinykv: another\n")
        self.assertEqual(last_words(log), "another")
        log.write_text("nothing\n")
        self.assertEqual(last_words(log), f"see {log}")

    def test_tail(self) -> None:
        log = Path(self.mktemp())
        log.write_bytes(b"".join(b"%d \xff\n" % n for n in range(10_000)))
        self.assertEqual(tail(log), [f"{n} \\xff" for n in range(10_000 - TAIL_LINES, 10_000)])
        self.assertEqual(tail(Path("nowhere")), ["(nowhere can't be read: No such file or directory)"])


class StoreTests(SynchronousTestCase):
    """The files of a store that isn't running."""

    def test_the_configuration_can_be_read_again(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        config = StoreConfig(data_dir=folder / "store-1", port=7000, http_port=7001)
        store = LocalStore("store-1", folder, config)
        self.assertEqual(load(folder / "store-1.ini"), config)
        self.assertFalse(store.answers())

    def test_no_stores_in_the_record(self) -> None:
        record = Path(self.mktemp())
        write_record(record, [])
        self.assertEqual(json.loads(record.read_text()), {"processes": []})


class QuotedTests(SynchronousTestCase):
    """L{quoted}."""

    def test_every_byte(self) -> None:
        self.assertEqual(quoted(b'a"b\\c\n\r\t\a\b\0\x7f\xff'), '"a\\"b\\\\c\\n\\r\\t\\a\\b\\x00\\x7f\\xff"')
