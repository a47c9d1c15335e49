"""
Regions of one group evenly over the stores, replicas as well as leaders, whatever else the stores hold.

Right after a split all parts are on the stores of the whole, and balance by size sees nothing to do while they are
empty; but they are about to be written to.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from tinykv.placement.filters import cannot_lead, takers
from tinykv.placement.operators import Kind, Operator, Priority
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.scene import Scene
from tinykv.placement.stores import Refused

#: So many groups are remembered, those that were scattered last.
GROUPS: Final = 64


class Scatter:
    """How many replicas, and leaders, of each group each store was given so far."""

    def __init__(self) -> None:
        self._given: dict[str, tuple[Counter[int], Counter[int]]] = {}

    def scatter(self, scene: Scene, region: RegionInfo, group: str) -> Operator | None:
        """
        Give an operator that has a region where its group isn't yet, None when it's there.

        @raise Refused: The region isn't whole, or something is under way for it.
        """
        if not scene.steady(region) or scene.cluster.healthy_peers(region) != set(region.stores):
            raise Refused(f"region {region.region} isn't whole, or something is under way for it")
        replicas, leaders = self._group(group)
        voters = self._spread(scene, region, replicas)
        able = [store for store in sorted(voters) if cannot_lead(scene.cluster, store) is None]
        leader = min(able, key=lambda store: (leaders[store], store != region.leader, store), default=region.leader)
        assert leader is not None, "a steady region has a leader"
        replicas.update(voters)
        leaders[leader] += 1
        kinds = (Kind.ADMIN, Kind.REGION, Kind.LEADER)
        return scene.placing(region, voters, "scatter", kinds, Priority.HIGH, (leader,) if leader in voters else ())

    def _group(self, group: str) -> tuple[Counter[int], Counter[int]]:
        """Give what the stores were given of a group, and forget the group that was asked for longest ago."""
        given = self._given.pop(group, None) or (Counter(), Counter())
        self._given[group] = given
        if len(self._given) > GROUPS:
            del self._given[next(iter(self._given))]
        return given

    def _spread(self, scene: Scene, region: RegionInfo, given: Counter[int]) -> set[int]:
        """Choose the stores for a region: for each replica the one that was given least, in no more crowded a place."""
        voters = set(region.voters)
        able = takers(scene.cluster, scene.scores, region, limited=False)
        for store in sorted(region.voters, key=lambda each: (-given[each], each)):
            rest = voters - {store}
            crowded = scene.crowding(store, rest)
            fit = [each for each in able if each not in voters and scene.crowding(each, rest) <= crowded]
            best = min(fit, key=lambda each: (given[each], able.index(each)), default=store)
            if given[best] < given[store]:
                voters = rest | {best}
        return voters
