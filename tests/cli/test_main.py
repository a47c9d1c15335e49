"""
The command line as a whole.
"""

from __future__ import annotations

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from tinykv import __version__
from tinykv.cli.main import COMMANDS, refusal, tinykv


class MainTests(SynchronousTestCase):
    """L{tinykv} and what it lists."""

    def test_help_names_every_command(self) -> None:
        result = CliRunner().invoke(tinykv, ["--help"])
        self.assertEqual(result.exit_code, 0)
        for name in (*COMMANDS, "version"):
            self.assertIn(f"\n  {name} ", result.output)

    def test_every_command_has_help(self) -> None:
        for name in (*COMMANDS, "version"):
            result = CliRunner().invoke(tinykv, [name, "--help"])
            self.assertEqual(result.exit_code, 0, result.output)
            self.assertIn(f"Usage: tinykv {name}", result.output)

    def test_version(self) -> None:
        self.assertIn(f"tinykv {__version__} (Python 3.", CliRunner().invoke(tinykv, ["version"]).output)
        self.assertEqual(CliRunner().invoke(tinykv, ["--version"]).output, f"tinykv {__version__}\n")

    def test_unknown_command(self) -> None:
        result = CliRunner().invoke(tinykv, ["frobnicate"])
        self.assertEqual(result.exit_code, 2)
        self.assertIn("No such command 'frobnicate'", result.output)

    def test_old_python(self) -> None:
        self.assertIsNone(refusal((3, 11, 0)))
        self.assertIsNone(refusal((4, 0, 0)))
        self.assertEqual(refusal((3, 9, 19)), "tinykv: Python 3.11 or newer is needed, and this is Python 3.9.19")
