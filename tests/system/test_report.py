"""
A proof's run is bounded, goes on where it was interrupted, and says on what it was made.
"""

from __future__ import annotations

import shutil
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.proofs.report import Figures, Run, folder_of, prose


class FolderTests(SynchronousTestCase):
    """A proof's folder stays when there's something to be looked at."""

    def test_it_goes_unless_something_fails(self) -> None:
        with folder_of("report") as folder:
            (folder / "file").touch()
        self.assertFalse(folder.exists())
        said = StringIO()
        with redirect_stderr(said), self.assertRaises(SystemExit), folder_of("report") as folder:
            raise SystemExit(1)
        self.addCleanup(shutil.rmtree, folder)
        self.assertTrue(folder.is_dir())
        self.assertEqual(said.getvalue(), f"what is left is in {folder}\n")


class RunTests(SynchronousTestCase):
    """
    L{Run} in a project of its own.
    """

    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        (self.root / "tinykv").mkdir(parents=True)
        self.source = self.root / "tinykv" / "a.py"
        self.source.write_text("a = 1\n")
        self.done: list[int] = []

    def run_of(self, units: int, *, seconds: float = 0, resume: bool = True) -> Run:
        return Run("x", units=units, seconds=seconds, resume=resume, root=self.root)

    def unit(self, number: int) -> Figures:
        """Do one; the fourth is where somebody interrupts the first run."""
        self.done.append(number)
        if len(self.done) == 4:
            raise KeyboardInterrupt
        return {"things": number + 1}

    def test_an_interrupted_run_is_continued(self) -> None:
        self.assertRaises(KeyboardInterrupt, self.run_of(5).work, self.unit)
        again = self.run_of(5)
        self.assertTrue(again.work(self.unit))
        self.assertEqual(self.done, [0, 1, 2, 3, 3, 4])
        self.assertEqual(again.figures, {"things": 15})
        self.assertEqual(self.run_of(5).done, 0)

    def test_with_other_sources_it_begins_anew(self) -> None:
        self.assertRaises(KeyboardInterrupt, self.run_of(5).work, self.unit)
        self.assertEqual(self.run_of(5).done, 3)
        self.assertEqual(self.run_of(5, resume=False).done, 0)
        self.source.write_text("a = 2\n")
        self.assertEqual(self.run_of(5).done, 0)

    def test_it_begins_nothing_when_its_time_is_over(self) -> None:
        run = self.run_of(5, seconds=1e-9)
        self.assertFalse(run.work(self.unit))
        self.assertEqual(self.done, [])

    def test_the_page(self) -> None:
        run = self.run_of(2)
        run.work(self.unit)
        text = run.write("Title", prose("C{make x}: all of L{this}:\n\n    - one\n      more\n\nEnd.\n")).read_text()
        self.assertTrue(text.startswith("# Title\n\nAll of `this`:\n\n- one\n  more\n\nEnd.\n\n| figure | value |\n"))
        self.assertIn("| things | 3 |\n", text)
        for word in ("2 of 2 units", "Commit: ", "Date: ", "cores", "SQLite"):
            self.assertIn(word, text)
