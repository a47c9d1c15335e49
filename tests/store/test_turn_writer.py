"""What all regions write in a turn, or soon behind it, is one batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tinykv.interfaces import ILogWriter
from tinykv.peering.turn import Turn
from tinykv.storage.log import APPEND, STATE
from tinykv.storage.writers import LogBatch
from tinykv.store.turn_writer import GATHER_SECONDS, TurnWriter


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
        self.several = True
        self.writer = TurnWriter(cast(Any, self.below), self.clock, Turn(self.clock), lambda: self.several)
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

    def test_one_region_writes_at_once(self) -> None:
        """Until there are several, as when it's split; and what comes when there's one again goes behind the rest."""
        self.several = False
        self.write(1)
        self.assertEqual(len(self.below.batches), 1)
        self.several = True
        self.write(1)
        self.several = False
        self.write(2)
        self.assertEqual(len(self.below.batches), 1)
        self.clock.advance(0)
        self.assertEqual(len(self.below.batches), 2)
        self.end()
        self.assertEqual(self.told, [1, 1, 2])
        self.write(2)
        self.assertEqual(len(self.below.batches), 1)

    def turn(self, *regions: int) -> int:
        """Let regions write in a turn; count the batches that were handed on."""
        before = len(self.below.batches)
        for region in regions:
            self.write(region)
        self.clock.advance(0)
        return len(self.below.batches) - before

    def end(self) -> None:
        """Let all that was handed on be durable."""
        for _, done in self.below.batches:
            done()
        self.below.batches.clear()

    def test_what_comes_is_waited_for_if_it_came_before(self) -> None:
        # The first time each is a batch.
        self.assertEqual(self.turn(1, 2), 1)
        self.clock.advance(GATHER_SECONDS / 2)
        self.assertEqual(self.turn(3), 1)
        self.end()
        # Then they're one.
        for _ in range(3):
            self.clock.advance(1)
            self.assertEqual(self.turn(1, 2), 0)
            self.clock.advance(GATHER_SECONDS / 2)
            self.assertEqual(self.turn(3), 1)
            self.told.clear()
            self.end()
            self.assertEqual(self.told, [1, 2, 3])

    def test_it_is_not_waited_for_without_end(self) -> None:
        self.turn(1, 2, 3, 4)
        self.end()
        self.assertEqual(self.turn(1), 0)
        self.clock.advance(GATHER_SECONDS / 2)
        self.assertEqual(self.turn(2, 4), 0)
        self.clock.advance(GATHER_SECONDS / 2)
        self.assertEqual(len(self.below.batches), 1)
        # What comes too late to go with them isn't waited for the next time.
        self.assertEqual(self.turn(), 0)
        self.clock.advance(GATHER_SECONDS)
        self.assertEqual(self.turn(3), 1)
        self.end()
        self.assertEqual(self.turn(1), 0)
        self.assertEqual(self.turn(2, 4), 1)

    def test_one_client_is_not_waited_for(self) -> None:
        """Though this store may be at its first command when the second comes."""
        for _ in range(3):
            self.assertEqual(self.turn(1), 1)
            self.assertEqual(self.turn(2), 1)
            self.end()

    def test_a_write_alone_is_not_waited_for(self) -> None:
        for _ in range(3):
            self.assertEqual(self.turn(1), 1)
            self.end()

    def test_nothing_waits_while_the_log_writer_is_at_work(self) -> None:
        """It takes all that has come when it's done."""
        self.turn(1, 2, 3)
        self.assertEqual(self.turn(1), 1)
        self.assertEqual(self.turn(2), 1)

    def test_what_is_written_when_others_are_told(self) -> None:
        self.write(1)
        self.clock.advance(0)
        ((_, done),) = self.below.batches
        self.below.batches.clear()
        told = self.told
        self.writer.write(LogBatch(), lambda: self.write(3))
        self.clock.advance(0)
        done()
        self.end()
        self.clock.advance(GATHER_SECONDS)
        self.end()
        self.assertEqual(told, [1, 3])

    def test_it_ends_while_something_waits(self) -> None:
        self.turn(1, 2, 3)
        self.end()
        self.assertEqual(self.turn(1), 0)
        self.writer.close()
        self.assertEqual((len(self.below.batches), self.below.closed), (1, 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_end_of_the_turn_is_not_waited_for_in_the_end(self) -> None:
        self.write(1)
        self.writer.close()
        self.assertEqual((len(self.below.batches), self.below.closed), (1, 1))
        self.clock.advance(0)
        self.assertEqual(len(self.below.batches), 1)
