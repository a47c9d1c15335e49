"""
`tinykv ctl` over real sockets.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.system.processes import TINYKV, Process, run
from tinykv.cli.ctl_http import HttpControl, UnknownOutcome
from tinykv.cli.problems import Problem


class SiteTests(SynchronousTestCase):
    """The pages of a made-up cluster."""

    def setUp(self) -> None:
        output = Path(self.mktemp()).absolute()
        self.site = Process([sys.executable, "-m", "tests.system.control_site"], output)
        self.addCleanup(self.site.destroy)
        self.site.wait_for(lambda: self.site.output.endswith("\n"), "it to listen")
        self.port = int(self.site.output)

    def test_a_command(self) -> None:
        done = run([*TINYKV, "ctl", "--url", f"http://localhost:{self.port}", "--json", "members"])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([member["store"] for member in json.loads(done.stdout)["members"]], [1, 2, 3])

    def test_changes(self) -> None:
        control = HttpControl(f"http://127.0.0.1:{self.port}/", 10)
        self.assertEqual(control.ask("add-store", {"store": 4, "address": "[::1]:20163"}), {"store": 4})
        self.assertEqual(control.ask("members")["members"][3]["role"], "learner")
        self.assertEqual(control.ask("remove-store", {"store": 4}), {"store": 4})
        problem = self.assertRaises(Problem, control.ask, "remove-store", {"store": 4})
        self.assertEqual(str(problem), "store 4 isn't a member")


class FailureTests(SynchronousTestCase):
    """Ports that aren't what they should be."""

    def setUp(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listener.close)
        self.control = HttpControl(f"http://127.0.0.1:{self.listener.getsockname()[1]}", 0.2)

    def test_nobody_listens(self) -> None:
        self.listener.close()
        problem = self.assertRaises(Problem, self.control.ask, "members")
        self.assertIn("can't be reached (Connection refused)", str(problem))

    def test_no_answer(self) -> None:
        problem = self.assertRaises(Problem, self.control.ask, "members")
        self.assertIn("didn't answer (timed out)", str(problem))
        self.assertEqual(problem.exit_code, 1)
        # The request may have got there.
        self.assertRaises(UnknownOutcome, self.control.ask, "remove-store", {"store": 3})
