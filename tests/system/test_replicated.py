"""
The measuring of three stores: the short form of C{make proof-replicated}.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.proofs.replicated import TESTS, Measured, measure
from tests.system.daemon import Daemon
from tests.system.test_clients import BENCHMARK


class Judging(SynchronousTestCase):
    """What was measured is compared with what is to be reached."""

    def measured(self, below: float) -> Measured:
        """Make up figures that are at the bounds, or below them."""
        rates = {test.label: {"ours": [100 * test.least - below], "theirs": [100.0]} for test in TESTS}
        return Measured(rates, {"Machine": "a fast one"})

    def test_all_reached(self) -> None:
        self.assertEqual(self.measured(0.0).missed, [])

    def test_missed(self) -> None:
        self.assertEqual(
            self.measured(1.0).missed,
            ["SET is 0.29 of Redis, not 0.3", "SET -P 16 is 0.14 of Redis, not 0.15", "GET is 0.59 of Redis, not 0.6"],
        )

    def test_rows(self) -> None:
        self.assertEqual(self.measured(0.0).rows[1], ("SET -P 16, 50 clients, a second", "15", "100", "0.15"))


class Measuring(SynchronousTestCase):
    """A daemon is measured."""

    if BENCHMARK is None:
        skip = "redis-benchmark isn't installed"

    def test_everything_once(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        told: list[str] = []
        with Daemon(folder) as daemon:
            found = measure({"ours": daemon.port, "theirs": daemon.port}, 2, 100, told.append)
        self.assertEqual(len(told), 2 * 2 * len(TESTS))
        self.assertEqual([len(found.rates[test.label]["ours"]) for test in TESTS], [2] * len(TESTS))
        self.assertEqual(len(found.rows), len(TESTS))
