"""
The operators that run: at most one a region, within the limits, from one heartbeat to the next.

A heartbeat shows which steps are done, and is answered with the next one. An operator ends when all are; when it takes
too long; when the membership was changed by somebody else; when its next step can't be asked for any more, or would
leave a region without a majority that can be relied on; or when one of higher priority takes its place.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tinykv.placement.cluster import Cluster
from tinykv.placement.limits import Flow
from tinykv.placement.operators import Kind, Operator, Order, Status
from tinykv.placement.region_info import RegionInfo, majority
from tinykv.placement.steps import AddLearner, MergeRegion, PromoteLearner, RemovePeer, Step, TransferLeader
from tinykv.placement.stores import Refused


@dataclass(slots=True)
class Influence:
    """
    What the operators that run will still change on each store: bytes, replicas, and regions led.

    Without it each look at the stores would find the same one empty until the first replica has arrived there.
    """

    size: Counter[int] = field(default_factory=Counter)
    replicas: Counter[int] = field(default_factory=Counter)
    leaders: Counter[int] = field(default_factory=Counter)


class OperatorController:
    """
    The operators of a cluster.

    @ivar ended: How many operators ended in which way since the start, for figures.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._running: dict[int, Operator] = {}
        self._partners: dict[int, int] = {}  #: The source of a merge by its target. Sources are keys of _running.
        self._records: dict[int, Operator] = {}
        self.ended: Counter[Status] = Counter()

    # What runs

    @property
    def running(self) -> list[Operator]:
        """The operators that run, by region."""
        return [self._running[region] for region in sorted(self._running)]

    def of(self, region: int) -> Operator | None:
        """Give the operator that runs for a region, also where it's the one that another is merged into."""
        return self._running.get(self._partners.get(region, region))

    def last(self, region: int) -> Operator | None:
        """Give the operator that runs for a region or, a while longer, the last that did."""
        return self.of(region) or self._records.get(region)

    def count(self, kind: Kind) -> int:
        """Tell how many operators of a kind run."""
        return sum(kind in operator.kinds for operator in self._running.values())

    def room(self, kind: Kind) -> bool:
        """Tell whether one more operator of a kind may run."""
        limit: int | None = getattr(self._cluster.config, f"{kind.value}_limit", None)
        return limit is None or self.count(kind) < limit

    def influence(self) -> Influence:
        """Tell what the operators that run will still change."""
        influence = Influence()
        for operator in self._running.values():
            region = self._cluster.regions.get(operator.region)
            if region is None:
                continue
            leader = region.leader
            for step in operator.remaining:
                if isinstance(step, AddLearner) and step.store not in region.stores:
                    influence.size[step.store] += region.placed_size
                    influence.replicas[step.store] += 1
                elif isinstance(step, RemovePeer) and step.store in region.stores:
                    influence.size[step.store] -= region.placed_size
                    influence.replicas[step.store] -= 1
                elif isinstance(step, TransferLeader):
                    leader = step.target
            if leader is not None and region.leader is not None:
                influence.leaders[region.leader] -= 1
                influence.leaders[leader] += 1
        return influence

    # Beginning

    def add(self, operator: Operator) -> None:
        """
        Have an operator run.

        @raise Refused: Says why it doesn't. Its status is cancelled.
        """
        problem = self.problem(operator)
        if problem is not None:
            operator.status, operator.reason, operator.ended = Status.CANCELLED, problem, self._cluster.now
            raise Refused(problem)
        for region in self._concerned(operator):
            if before := self.of(region):
                self._end(before, Status.REPLACED, f"{operator.name} is more urgent")
        for store, flow in self._flows(operator.steps):
            self._cluster.limits.take(store, flow, self._cluster.rate(store, flow), self._cluster.now)
        self._running[operator.region] = operator
        if operator.partner is not None:
            self._partners[operator.partner] = operator.region

    def problem(self, operator: Operator) -> str | None:
        """Say why an operator may not run now, None when it may."""
        region = self._cluster.regions.get(operator.region)
        if region is None:
            return f"region {operator.region} isn't known"
        if (region.conf_ver, region.version) != (operator.conf_ver, operator.version):
            return f"region {operator.region} has changed meanwhile"
        for concerned in self._concerned(operator):
            if (running := self.of(concerned)) and running.priority >= operator.priority:
                return f"{running.name} is under way for region {concerned}"
        if reason := self._impossible(operator, region):
            return reason
        if Kind.ADMIN in operator.kinds:
            return None
        for kind in operator.kinds:
            if not self.room(kind):
                return f"the limit of {kind.value} operators is reached"
        for store, flow in self._flows(operator.steps):
            if not self._cluster.allows(store, flow):
                return f"the limit of store {store} is reached"
        return None

    def _concerned(self, operator: Operator) -> list[int]:
        """List the regions that an operator concerns."""
        return [operator.region] if operator.partner is None else [operator.region, operator.partner]

    # Going on

    def heartbeat(self, region: RegionInfo) -> Order | None:
        """
        Go on with a region's operator after a heartbeat that the table took; give what to ask the leader for.

        None when there's nothing to ask for, be it that no operator runs or that it waits.
        """
        operator = self._running.get(region.region)
        if operator is None:
            return None
        operator.advance(region)
        if operator.current is None:
            self._end(operator, Status.SUCCESS)
            return None
        if self._late(operator):
            return None
        changes, made = region.conf_ver - operator.conf_ver, operator.changes_made(region)
        if changes > made:
            self.cancel(operator, "the region's members were changed by somebody else")
            return None
        if changes < made and isinstance(operator.current, MergeRegion):  # Its version rose, but not by preparing.
            self.cancel(operator, "its range has changed meanwhile")
            return None
        if operator.current.waits(region):
            return None
        if reason := self._impossible(operator, region):
            self.cancel(operator, reason)
            return None
        return self.order(operator)

    def order(self, operator: Operator) -> Order | None:
        """Give what to ask for next, of an operator that runs and whose region has a leader."""
        region = self._cluster.regions.get(operator.region)
        step = operator.current
        if region is None or region.leader is None or step is None or step.waits(region):
            return None
        return Order(region.region, region.leader, region.conf_ver, region.version, step)

    def absorbed(self, gone: RegionInfo, by: RegionInfo) -> None:
        """End the operators of a region that isn't any more, because another has its range."""
        operator = self.of(gone.region)
        if operator is None:
            return
        merging = isinstance(operator.current, MergeRegion) and operator.region == gone.region
        if merging and operator.partner == by.region and by.covers(gone):
            self._end(operator, Status.SUCCESS)
        else:
            self.cancel(operator, f"region {gone.region} isn't any more")

    def tick(self) -> None:
        """End what takes too long, also where no heartbeats come any more, and forget what ended long ago."""
        for operator in list(self._running.values()):
            self._late(operator)
        oldest = self._cluster.now - self._cluster.config.record_time
        for region, operator in list(self._records.items()):
            if operator.ended is not None and operator.ended < oldest:
                del self._records[region]

    def cancel(self, operator: Operator, reason: str) -> None:
        """End an operator that runs, before it's done."""
        self._end(operator, Status.CANCELLED, reason)

    def _late(self, operator: Operator) -> bool:
        """End an operator that has taken too long; tell whether it has."""
        config = self._cluster.config
        timeout = config.leader_timeout if operator.only_leader else config.region_timeout
        if self._cluster.now - operator.created <= timeout:
            return False
        self._end(operator, Status.TIMEOUT, f"it wasn't done within {timeout:g} s")
        return True

    def _end(self, operator: Operator, status: Status, reason: str = "") -> None:
        """Take an operator out of those that run."""
        operator.status, operator.reason, operator.ended = status, reason, self._cluster.now
        del self._running[operator.region]
        if operator.partner is not None:
            del self._partners[operator.partner]
        self._records[operator.region] = operator
        self.ended[status] += 1

    # What may not be

    def _impossible(self, operator: Operator, region: RegionInfo) -> str | None:
        """Say why the next step of an operator can't be asked for."""
        step = operator.current
        assert step is not None, "an operator that's done has ended"
        if reason := step.impossible(region):
            return reason
        if isinstance(step, AddLearner) and not self._cluster.up(step.store):
            return f"store {step.store} isn't up"
        if isinstance(step, TransferLeader) and not self._cluster.serving(step.target):
            return f"store {step.target} can't be relied on"
        if isinstance(step, MergeRegion):
            return self._unmergeable(operator, region, step)
        healthy = self._cluster.healthy_peers(region)
        if isinstance(step, PromoteLearner) and step.store not in healthy:
            return f"store {step.store} can't be relied on"
        if not all(majority(voters, healthy) for voters in step.deciding(region)):
            return "no majority that can be relied on would be left"
        return None

    def _unmergeable(self, operator: Operator, region: RegionInfo, step: MergeRegion) -> str | None:
        """Say why a region can't be merged into another now (R19)."""
        target = self._cluster.regions.get(step.target)
        if target is None or target not in self._cluster.regions.neighbours(region):
            return f"region {step.target} isn't beside it"
        if target.kind != region.kind:
            return f"region {step.target} holds another kind of keys"
        if region.version != operator.version:
            return "its range has changed meanwhile"
        if target.joint or target.learners or set(target.voters) != set(region.voters):
            return f"region {step.target} isn't on the same stores"
        return None

    def _flows(self, steps: tuple[Step, ...]) -> list[tuple[int, Flow]]:
        """List the stores that are given a replica, and those from which one is taken that this costs something."""
        flows: list[tuple[int, Flow]] = []
        for step in steps:
            if isinstance(step, AddLearner):
                flows.append((step.store, Flow.ADD))
            elif isinstance(step, RemovePeer) and self._cluster.serving(step.store):
                flows.append((step.store, Flow.REMOVE))
        return flows
