"""Conversations between two stores are what they were: tests/testdata/peering/*.txt."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.peering.conversations import CONVERSATIONS, FOLDER, render


class ConversationTests(SynchronousTestCase):
    """Each file."""

    maxDiff = None

    def test_each_is_as_written(self) -> None:
        for name in CONVERSATIONS:
            expected = (FOLDER / f"{name}.txt").read_text(encoding="ascii")
            self.assertEqual(render(name, Path(self.mktemp())), expected, name)

    def test_each_file_is_a_conversation(self) -> None:
        self.assertEqual(sorted(path.stem for path in FOLDER.iterdir()), sorted(CONVERSATIONS))
