"""
A skewed load on real stores is split and spread: the short form of C{make proof-skew}.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.proofs.beside_redis import marks, write
from tests.proofs.skew import COLUMNS, STORES, Look, Measured, Skewed, Times, measure
from tests.proofs.zipf import Zipf, keys_within
from tinykv.keys import slot_of


def measured(busiest: float) -> Measured:
    """Make up figures, with so much of the requests at the busiest store in the end."""
    before = Look({1: 1000.0, 2: 0.0, 3: 0.0}, {1: 0.9, 2: 0.1, 3: 0.1}, {1: 1, 2: 0, 3: 0})
    rest = (1 - busiest) / 2
    after = Look({1: 2000 * busiest, 2: 2000 * rest, 3: 2000 * rest}, {1: 0.5, 2: 0.4, 3: 0.4}, {1: 2, 2: 3, 3: 2})
    return Measured(before, after, 42.4, 166, 7, {"MOVED": 3}, {"Machine": "a fast one"})


class Judging(SynchronousTestCase):
    """What was measured is compared with what is to be reached, and written."""

    def test_reached(self) -> None:
        self.assertEqual(measured(0.5).missed, [])

    def test_missed(self) -> None:
        self.assertEqual(measured(0.51).missed, ["the busiest store has 0.51 of the requests, not 0.5"])

    def test_errors(self) -> None:
        """That nobody leads is one, be it for a moment; where a slot is led instead isn't."""
        found = replace(measured(0.5), refused={"MOVED": 3, "TRYAGAIN": 1, "CLUSTERDOWN": 2})
        self.assertEqual(found.missed, ["2 requests were answered CLUSTERDOWN"])

    def test_the_table(self) -> None:
        docs = Path(self.mktemp())
        found = measured(0.4)
        write(docs, "proof-skew", {}, found.rows, found.machine, COLUMNS)
        page = (docs / "performance.md").read_text()
        for line in (
            marks("proof-skew")[0],
            "| what | before | after | ratio |",
            "| requests a second | 1,000 | 2,000 | 2.00 |",
            "| of these the busiest store has | 1.00 | 0.40 | 0.40 |",
            "| parts that each store leads | 1 0 0 | 3 2 2 |  |",
            "- Machine: a fast one",
        ):
            self.assertIn(line, page.splitlines())


class LoadTests(SynchronousTestCase):
    """The load."""

    def test_keys_within_slots(self) -> None:
        keys = keys_within([(100, 200), (16000, 16383)], 50)
        self.assertEqual(len(set(keys)), 50)
        self.assertTrue(all(100 <= slot_of(key) <= 200 or slot_of(key) >= 16000 for key in keys))

    def test_what_is_wanted(self) -> None:
        """By Zipf's law the first is wanted twice as often as the second, and three times as often as the third."""
        keys = keys_within([(0, 16383)], 3)
        load = Zipf([1, 2], keys)
        first, second = load.shared_out([(0, slot_of(keys[0]), 0), (slot_of(keys[0]) + 1, 16383, 1)])
        self.assertAlmostEqual(first.weight + second.weight, 1 + 1 / 2 + 1 / 3)
        drawn = Counter(load.choose([first, second]) for _ in range(1000))
        self.assertLess(abs(drawn[0] / 1000 - first.weight / (11 / 6)), 0.1)


class Spreading(SynchronousTestCase):
    """Real stores."""

    if not sys.platform.startswith("linux"):
        skip = "looks at processes in /proc"

    def test_it_is_split_and_spread(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        told: list[str] = []
        small = {"split_check_interval": "2s", "schedule_heartbeat": "400ms"}
        times = Times(warm=0.5, before=1.0, rest=0.0, after=0.5, limit=120.0)
        with Skewed(folder, **small) as skewed:
            # Little is asked for, so that a busy machine isn't kept busy; and what is split is less still, should that
            # machine do less later than it did at first.
            found = measure(skewed, times, told.append, share=1 / 30, clients=4, pause=0.02)
        self.assertEqual(sorted(found.before.led.values()), [0, 0, 1])
        self.assertGreaterEqual(found.parts, STORES)
        self.assertTrue(all(found.after.led.values()), found.after.led)
        self.assertLess(found.after.busiest, 1.0)
