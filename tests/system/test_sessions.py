"""
Client libraries at real stores while regions are split and led elsewhere; C{make proof-sessions} is the long form.
"""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.proofs.sessions import Size, unit
from tests.system.sessions import node_client_found

#: Each session goes through its script once.
SIZE = Size(seconds=0.5, many=10, pause=0.2, gateway=False)


class SessionTests(SynchronousTestCase):
    """Every answer is right, and no error reaches them."""

    if not sys.platform.startswith("linux"):
        skip = "finds the writers' processes in /proc"

    def test_while_regions_move(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        node = node_client_found()
        figures = unit(folder, 1, SIZE, node=node)
        self.assertGreater(figures["splits"], 0)
        self.assertGreater(figures["transfers"], 0)
        rounds = {name: count for name, count in figures.items() if name.startswith("rounds, ")}
        self.assertEqual(len(rounds), 5 if node else 3)
        self.assertGreaterEqual(min(rounds.values()), 1)
