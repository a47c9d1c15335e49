"""The conversations of tests/testdata/raft go as they are written down."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.raft.golden import replay, scripts


class GoldenTests(SynchronousTestCase):
    """Scripts and their outcome."""

    maxDiff = None

    def test_conversations(self) -> None:
        """After a change on purpose, `make golden` writes down what happens now."""
        self.assertGreaterEqual(len(scripts()), 8)
        for path in scripts():
            text = path.read_text(encoding="utf-8")
            self.assertMultiLineEqual(text, replay(text), path.name)

    def test_every_command_shows_something(self) -> None:
        """A script without outcome proves nothing."""
        for path in scripts():
            lines = path.read_text(encoding="utf-8").splitlines()
            seen = [line for line in lines if line and line[0] not in "#>"]
            self.assertGreater(len(seen), 5, path.name)
