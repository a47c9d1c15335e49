"""What all regions write in a turn is one batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tinykv.interfaces import ILogWriter
from tinykv.storage.log import APPEND, STATE
from tinykv.storage.writers import LogBatch
from tinykv.store.turn_writer import TurnWriter


class FakeWriter:
    """Notes what it's given."""

    def __init__(self) -> None:
        self.batches: list[tuple[list[Any], Callable[[], None]]] = []
        self.closed = 0

    def write(self, batch: LogBatch, done: Callable[[], None]) -> None:
        """Take a batch."""
        self.batches.append((batch.operations, done))

    def close(self) -> Any:
        """Count it."""
        self.closed += 1
        return succeed(None)


class TurnWriterTests(SynchronousTestCase):
    """L{TurnWriter}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.below = FakeWriter()
        self.writer = TurnWriter(cast(Any, self.below), self.clock)
        self.told: list[int] = []

    def write(self, region: int) -> None:
        """Let a region write an entry and its state."""
        batch = LogBatch()
        batch.append(region, 5, [(1, b"x")])
        batch.hard_state(region, 1, 1, 1, 4)
        self.writer.write(batch, lambda: self.told.append(region))

    def test_interface(self) -> None:
        verifyObject(ILogWriter, self.writer)

    def test_one_batch_a_turn(self) -> None:
        for region in (3, 1, 2):
            self.write(region)
        self.assertEqual(self.below.batches, [])
        self.clock.advance(0)
        ((operations, done),) = self.below.batches
        self.assertEqual([part[:2] for part in operations], [(kind, n) for n in (3, 1, 2) for kind in (APPEND, STATE)])
        self.write(4)
        self.clock.advance(0)
        self.assertEqual(self.told, [])
        done()
        self.assertEqual(self.told, [3, 1, 2])
        self.below.batches[1][1]()
        self.assertEqual(self.told, [3, 1, 2, 4])

    def test_the_end_of_the_turn_is_not_waited_for_in_the_end(self) -> None:
        self.write(1)
        self.writer.close()
        self.assertEqual((len(self.below.batches), self.below.closed), (1, 1))
        self.clock.advance(0)
        self.assertEqual(len(self.below.batches), 1)
