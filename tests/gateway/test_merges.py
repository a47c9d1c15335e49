"""A gateway while regions are merged and split all the time: what is about all keys sees each slot once."""

from __future__ import annotations

from random import Random

from tests.gateway import test_splits
from tests.gateway.test_gateway import Batch
from tinykv.interfaces import Outcome


class MergingStores(test_splits.SplittingStores):
    """
    Stores whose regions are also merged.

    @ivar merges: How many were.
    """

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self.merges = 0

    def change(self) -> None:
        """Split a region, or merge two."""
        if self._random.randrange(2) and len(self.routes) > 1:
            self.merge()
        else:
            self.split()

    def merge(self) -> None:
        """Merge a region into one of its neighbours; who leads that knows it at once."""
        self.merges += 1
        ordered = sorted(self.routes.values(), key=lambda route: route.first)
        place = self._random.randrange(1, len(ordered))
        source, target = ordered[place - 1 : place + 1]
        if self._random.randrange(2):
            source, target = target, source
        del self.routes[source.region]
        self.routes[target.region] = target._replace(
            first=min(source.first, target.first),
            end=max(source.end, target.end),
            version=max(source.version, target.version) + 1,
        )
        self.known[target.leader] = dict(self.routes)

    def settle(self, batch: Batch, payload: bytes) -> None:
        """Answer a batch as the region is now, if it is."""
        if batch.region in self.routes:
            super().settle(batch, payload)
        else:
            batch.answered(Outcome.REFUSED, self.said(batch.store))


class MergingTests(test_splits.SplittingTests):
    """Clients who count all keys, and delete them, in whichever order."""

    stores_type = MergingStores

    def test_parts_that_are_about_nothing(self) -> None:
        """There aren't ever more of them."""
        self.play(Random(39))
