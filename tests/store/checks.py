"""What is common to those who look at regions from time to time, and have some of them split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tinykv.interfaces import RegionRange
from tinykv.keys import SLOTS, slots_range
from tinykv.region.descriptor import Descriptor


class LookedAt:
    """A region, as far as all of them look at it."""

    def __init__(self, number: int, first: int = 0, end: int = SLOTS) -> None:
        start, stop = slots_range((first, end))
        self.descriptor = replace(
            Descriptor.initial(number, [1]), start=start if first else b"", end=stop if end < SLOTS else b""
        )
        self.ready = True


class CheckCase(SynchronousTestCase):
    """
    A store's clock, and what is noted.

    @ivar split: What was split, with what is answered.
    @ivar warnings: What was warned of.
    """

    def setUp(self) -> None:
        """Begin to note."""
        self.clock = Clock()
        self.split: list[tuple[int, list[int], Deferred[list[RegionRange]]]] = []
        self.warnings: list[Any] = []
        globalLogPublisher.addObserver(self._warned)
        self.addCleanup(globalLogPublisher.removeObserver, self._warned)

    def _warned(self, event: Any) -> None:
        if event["log_level"].name == "warn":
            self.warnings.append(event)

    def _split(self, region: int, slots: Sequence[int]) -> Deferred[list[RegionRange]]:
        deferred: Deferred[list[RegionRange]] = Deferred()
        self.split.append((region, list(slots), deferred))
        return deferred
