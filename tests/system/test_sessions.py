"""
Client libraries at real stores while regions are split and led elsewhere; C{make proof-sessions} is the long form.
"""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.proofs.sessions import unit
from tests.system.sessions import node_client_found

#: How long sessions go on, in seconds; each goes through its script once at least.
SECONDS = 1.0


class SessionTests(SynchronousTestCase):
    """Every answer is right, and no error reaches them."""

    if not sys.platform.startswith("linux"):
        skip = "finds the writers' processes in /proc"

    def test_while_regions_move(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        figures = unit(folder, 1, SECONDS, node=node_client_found())
        self.assertGreater(figures["splits"], 0)
        self.assertGreater(figures["transfers"], 0)
        rounds = {name: count for name, count in figures.items() if name.startswith("rounds, ")}
        self.assertGreaterEqual(len(rounds), 4)
        self.assertGreaterEqual(min(rounds.values()), 1)
