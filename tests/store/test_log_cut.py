"""
Up to where a region's log is cut.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from tests.store.test_turn_writer import FakeWriter
from tinykv.raft.config import RaftConfig
from tinykv.raft.membership import Membership
from tinykv.raft.progress import Progress
from tinykv.region.state import ApplyState
from tinykv.storage.log import CUT
from tinykv.store.log_cut import LogCut

REGION = 1


class FakeGroup:
    """The group of a peer whose disk hasn't done anything yet, so that it knows all entries' terms."""

    peer = 1
    leads = True
    membership = Membership((1, 2))

    def __init__(self) -> None:
        self.match = 0

    def progress(self) -> dict[int, Progress]:
        """Know of the other's log."""
        progress = Progress(RaftConfig(), 1)
        progress.match = self.match
        return {1: Progress(RaftConfig(), 1), 2: progress}

    def term_of(self, index: int) -> int:
        """Be of one term."""
        return 1


class CutTests(SynchronousTestCase):
    """A leader of two, that keeps ten entries for the other one."""

    def setUp(self) -> None:
        self.group = FakeGroup()
        self.writer = FakeWriter()
        self.log_cut = LogCut(
            region=REGION,
            group=cast(Any, self.group),
            log_writer=cast(Any, self.writer),
            entries_max=10,
            bytes_max=1 << 30,
            needed=lambda: None,
        )

    def cut(self, applied: int) -> list[tuple[Any, ...]]:
        """Flush as of an entry, and say what is written."""
        self.log_cut.cut(ApplyState(applied, 1), 0)
        written = [operation for operations, _ in self.writer.batches for operation in operations]
        self.writer.batches.clear()
        return written

    def test_what_the_other_needs_stays(self) -> None:
        self.group.match = 95
        self.assertEqual(self.cut(100), [(CUT, REGION, 95, 1)])

    def test_within_a_limit(self) -> None:
        self.assertEqual(self.cut(100), [(CUT, REGION, 90, 1)])

    def test_what_was_cut_before_stays_cut(self) -> None:
        """
        What a new leader leaves to others may begin before the end of a cut that is yet to be done: there'd be a hole
        in the log behind its base.
        """
        self.group.match = 100
        self.assertEqual(self.cut(100), [(CUT, REGION, 100, 1)])
        self.group.match = 0
        self.assertEqual(self.cut(105), [])
        self.assertEqual(self.cut(120), [(CUT, REGION, 110, 1)])
