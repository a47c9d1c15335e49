"""
The short form of C{make proof-kill}: a few kills of a real daemon under load.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.proofs.kill import Killing, Writer, apply


class KillTests(SynchronousTestCase):
    """
    L{Killing}, three rounds on one folder.
    """

    if not sys.platform.startswith("linux"):
        skip = "finds the writers' processes in /proc"

    def test_a_killed_daemon_finds_what_it_had_acknowledged(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        killing = Killing(folder.absolute(), Random(11))
        for _ in range(3):
            figures = killing.round(300)
            self.assertGreaterEqual(figures["acknowledged"], 150)
        killing.end()


class _Server:
    """Answers as a store does whose strings are these."""

    def __init__(self, strings: dict[bytes, bytes]) -> None:
        self._strings = strings

    def call(self, *arguments: Any) -> object:
        """Answer KEYS and GET."""
        return sorted(self._strings) if arguments[0] == "KEYS" else self._strings[arguments[1]]

    def pipeline(self, commands: list[list[object]]) -> list[bytes]:
        """Answer TYPE, as often as asked."""
        return [b"string"] * len(commands)


class WriterTests(SynchronousTestCase):
    """
    What counts as found, and what as lost.
    """

    def found(self, **strings: bytes) -> int:
        """Compare after two acknowledged requests and two more."""
        writer = Writer(b"w", Random(1))
        apply(writer.model, [[b"SET", b"a", b"1"], [b"SET", b"b", b"1"]])
        writer.pending = [[[b"SET", b"a", b"2"], [b"SET", b"b", b"2"]], [[b"INCR", b"a"]]]
        server: Any = _Server({key.encode(): value for key, value in strings.items()})
        return writer.check(server)

    def test_any_prefix_of_what_was_sent(self) -> None:
        self.assertEqual(self.found(a=b"1", b=b"1"), 0)
        self.assertEqual(self.found(a=b"2", b=b"2"), 1)
        self.assertEqual(self.found(a=b"3", b=b"2"), 2)

    def test_anything_else_is_a_loss(self) -> None:
        self.assertRaises(AssertionError, self.found, a=b"1")
        self.assertRaises(AssertionError, self.found, a=b"2", b=b"1")
        self.assertRaises(AssertionError, self.found, a=b"3", b=b"1")
