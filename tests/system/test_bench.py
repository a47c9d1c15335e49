"""
The measuring itself: the short form of C{make bench}.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.proofs.bench import Measured, Mix, bench, mixed_load, rows_of
from tests.proofs.beside_redis import marks, share, write
from tests.sources import ROOT
from tests.system.daemon import Daemon
from tests.system.test_clients import BENCHMARK, ROWS

BEGIN_MARK, END_MARK = marks("bench")


def measured(share: float, p99: float) -> Measured:
    """Make up figures."""
    return Measured(
        single={test: {"ours": [share * 10, share * 20, 1.0], "theirs": [10.0, 20.0, 10.0]} for test in ("SET", "GET")},
        mix={name: [Mix(100.0, 1.0, p99, 0.5, 2.0)] for name in ("ours", "theirs", "ceiling")},
        all_plain={name: {"SET": 10.0} for name in ("ours", "theirs")},
        all_pipelined={name: {"SET": 20.0} for name in ("ours", "theirs")},
        machine={"Machine": "a fast one"},
    )


class Judging(SynchronousTestCase):
    """What was measured is compared with what is to be reached."""

    def test_all_reached(self) -> None:
        self.assertEqual(measured(0.7, 24.9).missed, [])

    def test_missed(self) -> None:
        self.assertEqual(
            measured(0.5, 25.0).missed, ["GET is 0.50 of Redis, not 0.6", "p99 of SET is 25.0 ms, not below 25"]
        )

    def test_shares_are_of_the_same_round(self) -> None:
        self.assertEqual(share(measured(0.5, 1.0).single, "SET"), 0.5)


class Writing(SynchronousTestCase):
    """The figures go into the page, and nothing else of it changes."""

    def setUp(self) -> None:
        self.docs = Path(self.mktemp())
        self.docs.mkdir()
        self.page = self.docs / "performance.md"

    def write(self, target: str = "bench") -> None:
        found = measured(0.5, 1.0)
        write(self.docs, target, asdict(found), rows_of(found), found.machine)

    def test_a_page_with_text_around(self) -> None:
        self.page.write_text(f"# Before\n{BEGIN_MARK}\nold\n{END_MARK}\nAfter\n", "utf-8")
        self.write()
        text = self.page.read_text("utf-8")
        self.assertTrue(text.startswith(f"# Before\n{BEGIN_MARK}\n"), text)
        self.assertTrue(text.endswith(f"{END_MARK}\nAfter\n"), text)
        self.assertNotIn("old", text)
        self.assertIn("| SET, -P 16 | 20 | 20 | 1.00 |", text)
        figures = json.loads((self.docs / "evidence" / "bench.json").read_text("utf-8"))
        self.assertEqual(figures["all_plain"]["ours"], {"SET": 10.0})

    def test_no_page_yet(self) -> None:
        self.write()
        first = self.page.read_text("utf-8")
        self.write()
        self.assertEqual(self.page.read_text("utf-8"), first)

    def test_two_tables(self) -> None:
        begin, end = marks("proof-replicated")
        self.page.write_text(f"{BEGIN_MARK}\none\n{END_MARK}\nBetween\n{begin}\nold\n{end}\nAfter\n", "utf-8")
        self.write("proof-replicated")
        text = self.page.read_text("utf-8")
        self.assertTrue(text.startswith(f"{BEGIN_MARK}\none\n{END_MARK}\nBetween\n{begin}\n\n| what"), text)
        self.assertTrue(text.endswith(f"{END_MARK}\nAfter\n"), text)
        self.assertTrue((self.docs / "evidence" / "replicated.json").exists())

    def test_the_real_page_has_all_marks(self) -> None:
        page = (ROOT / "docs" / "performance.md").read_text("utf-8")
        for target in ("bench", "proof-replicated"):
            self.assertIn(marks(target)[0], page)

    def test_a_page_without_marks(self) -> None:
        self.page.write_text("# Mine\n", "utf-8")
        self.assertRaises(ValueError, self.write)


class Measuring(SynchronousTestCase):
    """A daemon is measured."""

    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.daemon = Daemon(folder)
        self.addCleanup(self.daemon.kill)

    def test_the_mix(self) -> None:
        mix = mixed_load(self.daemon.port, 0.3)
        self.assertGreater(mix.rate, 0)
        self.assertTrue(0 < mix.set_p50 <= mix.set_p99 and 0 < mix.get_p50 <= mix.get_p99, mix)

    def test_everything_once(self) -> None:
        found = argparse.Namespace(rounds=1, requests=200, seconds=0.2, each=100)
        port = self.daemon.port
        told: list[str] = []
        figures = bench({"ours": port, "theirs": port}, port, found, told.append)
        self.assertEqual(sorted(figures.all_pipelined["theirs"]), sorted(ROWS))
        self.assertEqual(len(told), 4 + 3 + 4)
        self.assertEqual(len(rows_of(figures)), 2 + 1 + 4 + 1 + 2 * len(ROWS))

    if BENCHMARK is None:
        test_everything_once.skip = "redis-benchmark isn't installed"  # type: ignore[attr-defined]  # trial looks there
