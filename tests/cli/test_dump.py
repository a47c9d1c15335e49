"""
`tinykv dump` writes all that a stopped store holds, the log's tail included.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from tests.cli.folders import Scribe, fingerprint, write_sample
from tinykv.cli.main import tinykv
from tinykv.resp.limits import RequestLimits
from tinykv.resp.reader import NEED_DATA, RequestReader
from tinykv.testing.embedded import Embedded

LIMITS = RequestLimits(inline_bytes=1 << 30, arguments=1 << 30, bulk_bytes=1 << 30, query_buffer_bytes=1 << 30)


class DumpTests(SynchronousTestCase):
    """The forms of a dump of the sample folder."""

    sample: str

    def setUp(self) -> None:
        self.path = self.mktemp()
        if "sample" not in type(self).__dict__:
            type(self).sample = str(Path("dump sample").absolute())
            shutil.rmtree(self.sample, ignore_errors=True)
            write_sample(self.sample)
        shutil.copytree(self.sample, self.path)

    def dump(self, *options: str) -> bytes:
        """Dump the folder; it mustn't change."""
        before = fingerprint(self.path)
        result = CliRunner().invoke(tinykv, ["dump", self.path, *options])
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertEqual(fingerprint(self.path), before)
        return result.stdout_bytes

    def test_text(self) -> None:
        text = self.dump().decode()
        self.assertIn('[0] "greeting" (string)\n  "hello again"\n', text)
        self.assertIn('[0] "few" (list)\n  "a"\n  "b"\n  "\\xff\\x00"\n', text)
        self.assertIn('[5] "elsewhere" (string)\n  "in three"\n', text)
        self.assertIn('[0] "small zset" (zset)\n  "low" -inf\n  "one" 1.5\n', text)
        self.assertIn('[raw default] "raw key"\n  "raw value"\n', text)
        self.assertIn('[raw write] ""\n  ""\n', text)
        self.assertRegex(text, r'\[0\] "fleeting" \(string, \d+\.\d{3} s to live\)')
        self.assertNotIn('"over"', text)
        self.assertNotIn('"small hash"', text)

    def test_json(self) -> None:
        entries = [json.loads(line) for line in self.dump("--format", "json").splitlines()]
        found = {(entry.get("db"), entry["key"]): entry for entry in entries}
        self.assertEqual(len(found), len(entries))
        self.assertEqual(found[0, "few"]["value"], ["a", "b", {"base64": "/wA="}])
        self.assertEqual(found[0, "few"]["expires_at_ms"], None)
        self.assertEqual(found[0, "many"]["value"], [*map(str, range(1000)), "last"])
        self.assertEqual(found[0, "small zset"]["value"], [["low", "-inf"], ["one", 1.5]])
        self.assertEqual(found[0, "large zset"]["value"], [[f"member {n}", n] for n in range(1000)])
        self.assertEqual(dict(found[0, "large hash"]["value"])["7"], "777")
        self.assertEqual(sorted(map(int, found[0, "members"]["value"])), list(range(1000)))
        self.assertGreater(found[0, "large hash"]["expires_at_ms"], 0)
        self.assertEqual(found[5, "elsewhere"]["value"], "in three")
        self.assertEqual(found[None, "raw key"]["family"], "default")

    def test_commands_make_the_same_again(self) -> None:
        reader = RequestReader(LIMITS)
        reader.feed(self.dump("--format", "resp"))
        other, db = Embedded(), 0
        while (command := reader.next_request()) is not NEED_DATA:
            if command[0] == b"SELECT":
                db = int(command[1])
            else:
                self.assertFalse(other.run(*command, db=db).startswith(b"-"), command)
        self.assertEqual(other.run(b"get", b"greeting"), b"$11\r\nhello again\r\n")
        self.assertEqual(other.run(b"get", b"elsewhere", db=5), b"$8\r\nin three\r\n")
        self.assertEqual(other.run(b"llen", b"many"), b":1001\r\n")
        self.assertEqual(other.run(b"zscore", b"large zset", b"member 9"), b"$1\r\n9\r\n")
        self.assertEqual(other.run(b"raw.get", b"default", b"raw key"), b"$9\r\nraw value\r\n")
        self.assertGreater(int(other.run(b"pttl", b"large hash")[1:-2]), 0)
        self.assertEqual(other.run(b"dbsize"), b":8\r\n")

    def test_an_empty_store(self) -> None:
        self.path = self.mktemp()
        Scribe(self.path).close()
        for form in ("text", "json", "resp"):
            self.assertEqual(self.dump("--format", form), b"")

    def test_a_damaged_store(self) -> None:
        (Path(self.path) / "data.db").write_bytes(b"nonsense")
        result = CliRunner().invoke(tinykv, ["dump", self.path])
        self.assertEqual(result.exit_code, 1)
        self.assertTrue(result.output.startswith("tinykv: "), result.output)
        self.assertEqual(result.output.count("\n"), 1)
