"""A store merges regions that it leads, and tells whoever asked what became of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred

from tests.store.test_merges import MergesCase
from tests.store.test_splitter import Waits
from tinykv.errors import ControlRefused, ControlUnknown
from tinykv.keys import SLOTS
from tinykv.region.descriptor import Descriptor
from tinykv.store.merger import Merger


class MergerTests(MergesCase):
    """A store that's on its own."""

    def setUp(self) -> None:
        """Begin."""
        super().setUp()
        self.waits = Waits()
        self.merger = Merger(until=self.waits.until)

    def begin(self, target: int = 1) -> Deferred[Descriptor]:
        """Begin to merge the part."""
        return Deferred.fromCoroutine(self.merger.merge(self.part, target))

    def refused(self, asked: Deferred[Any], why: str) -> None:
        """Check that it's refused."""
        self.assertIn(why, str(self.failureResultOf(asked, ControlRefused).value))

    def test_it_is_merged(self) -> None:
        asked = self.begin()
        self.refused(self.begin(), "is being merged already")
        self.waits.look()
        self.assertNoResult(asked)
        self.settle()
        self.waits.look()
        self.assertEqual(self.successResultOf(asked), self.whole.descriptor)
        self.assertEqual((self.whole.descriptor.slots, self.merger.done), ((0, SLOTS), 1))

    def test_what_cannot_be(self) -> None:
        self.refused(self.begin(77), "no replica of region 77")
        self.refused(self.begin(self.part.descriptor.region), "into itself")
        self.regions.durability_os = True
        self.refused(self.begin(), "durability = os")
        self.assertEqual(self.merger.done, 0)

    def test_the_target_is_changed_before(self) -> None:
        asked = self.begin()
        about = self.whole.descriptor
        self.whole.descriptor = replace(about, version=about.version + 1)
        self.settle()
        self.waits.look()
        self.refused(asked, "was changed before they could be merged")

    def test_nobody_knows(self) -> None:
        asked = self.begin()
        self.waits.give_up()
        self.failureResultOf(asked, ControlUnknown)
