"""
Stores whose regions are merged, broken on purpose, each in one place; see L{tests.testing.region_mutants} for what else
can be broken where there are several regions.
"""

from __future__ import annotations

from typing import Any

from tests.testing.merge_cluster import MergeStore
from tinykv.region.merging import Merging
from tinykv.store.gap import Gap
from tinykv.store.host import RegionHost
from tinykv.store.letting_go import LetGo
from tinykv.store.merging import RegionMerging


class OtherwiseMerging(RegionHost):
    """A region that merges in another way."""

    merging_type: type[RegionMerging]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.merging.__class__ = self.merging_type


class _Hearsay(RegionMerging):
    """Serves again as soon as it doesn't hear that it's taken in."""

    def look(self) -> None:
        """Take what isn't known here for what isn't so."""
        state, host = self.state, self._host
        target = None if state is None else host.regions.hosts.get(state.target)
        if state is not None and not self.gone and self._commit is None and (target is None or not target.ready):
            self._roll_back(state)
        super().look()


class _HearsayHost(OtherwiseMerging):
    merging_type = _Hearsay


class RollsBackByHearsay(MergeStore):
    """A region that is about to be merged serves again as soon as it doesn't hear that it's taken in."""

    host_type = _HearsayHost


class _Serving(RegionMerging):
    """Goes on serving when its service has ended."""

    def _be(self, state: Merging | None) -> None:
        super()._be(state)
        self._host.proposals.stopped = False
        self._host.replica.serves = True


class _ServingHost(OtherwiseMerging):
    merging_type = _Serving


class ServesOn(MergeStore):
    """A region serves on that is about to be merged."""

    host_type = _ServingHost


class _Unheld:
    """A region that is told to wait, and doesn't."""

    def __init__(self, host: RegionHost | Gap) -> None:
        self._host = host

    def __getattr__(self, name: str) -> Any:
        """Be as that one otherwise."""
        return getattr(self._host, name)

    def hold(self, until: LetGo) -> None:
        """Go on."""

    def let_go(self, until: LetGo) -> None:
        """Go on."""


class _Impatient(RegionMerging):
    """Doesn't wait for what was sent to the source."""

    def end(self, heir: RegionHost | Gap) -> None:
        """Let the target propose."""
        other: Any = _Unheld(heir)
        super().end(other)


class _ImpatientHost(OtherwiseMerging):
    merging_type = _Impatient


class WaitsForNoSource(MergeStore):
    """What comes to a region overtakes what had come before, to the one that it has taken in."""

    host_type = _ImpatientHost
