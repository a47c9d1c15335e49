"""
A cluster that does what the placement asks for, with the descriptors that real regions have, and none of the rest.

Each round is a second: whoever is alive sends heartbeats, and each order is carried out at once, except that a new
learner takes some rounds to catch up. Whatever an order does to a region is checked: it may not take a majority away.
Heartbeats and orders can get lost, and old heartbeats come again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from tests.placement.making import GB, MB
from tinykv.placement.config import PlacementConfig
from tinykv.placement.labels import crowding
from tinykv.placement.operators import Order
from tinykv.placement.placement import Placement
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.regions import StaleHeartbeat
from tinykv.placement.steps import (
    AddLearner,
    EnterJoint,
    LeaveJoint,
    MergeRegion,
    PromoteLearner,
    RemovePeer,
    SplitRegion,
    TransferLeader,
)
from tinykv.placement.stores import Life, Refused, StoreRecord, StoreStats
from tinykv.raft.membership import ADD_LEARNER, ADD_VOTER, Change, Membership
from tinykv.raft.membership import Step as ChangeStep
from tinykv.region.descriptor import Descriptor

#: How many rounds a new learner takes to catch up.
CATCH_UP = 2


@dataclass
class ModelRegion:
    """
    A region, its leader's store, how much it holds, and the rounds that each new peer still takes to catch up.

    @ivar counted: In which term loads are counted: a leader's first word has nothing to compare its counts with.
    """

    descriptor: Descriptor
    leader: int
    size: int
    term: int = 5
    reads: float = 0.0
    writes: float = 0.0
    behind: dict[int, int] = field(default_factory=dict)
    counted: int = 0

    @property
    def voters(self) -> tuple[set[int], set[int]]:
        """The stores of the new and of the old voters."""
        members = self.descriptor.membership
        stores = self.descriptor.stores
        return {stores[peer] for peer in members.voters}, {stores[peer] for peer in members.outgoing or members.voters}


class ModelCluster:
    """Stores and regions, and the placement that looks after them."""

    def __init__(self, config: PlacementConfig | None = None, seed: int = 1, loss: float = 0.0) -> None:
        self.random = Random(seed)
        self.loss = loss
        self.now = 1000.0
        self.records: dict[int, StoreRecord] = {}
        self.capacities: dict[int, int] = {}
        self.dead: dict[int, float] = {}
        self.regions: dict[int, ModelRegion] = {}
        self.orders: list[Order] = []
        self.late: RegionInfo | None = None
        self.placement = Placement(self.records, config or quick(), Random(seed), self.now)

    @property
    def config(self) -> PlacementConfig:
        """The choices in force."""
        return self.placement.cluster.config

    # What happens to it

    def add_store(self, capacity: int = 1000 * GB, **labels: str) -> int:
        """Start a new store."""
        store = max(self.records, default=0) + 1
        self.records[store] = StoreRecord(store, f"h{store}:1", labels=labels)
        self.capacities[store] = capacity
        return store

    def add_regions(self, count: int, stores: list[int], size: int = 10 * MB) -> None:
        """Cut all keys evenly into regions, all of them on the same stores, led by the first."""
        for number in range(count):
            region = number + 1
            descriptor = replace(
                Descriptor.initial(region, stores),
                start=b"%06d" % number if number else b"",
                end=b"%06d" % (number + 1) if number + 1 < count else b"",
            )
            self.regions[region] = ModelRegion(descriptor, stores[0], size)

    def kill(self, store: int) -> None:
        """End a store's process."""
        self.dead.setdefault(store, self.now)

    def change(self, store: int, **choices: Any) -> None:
        """Change a store's record."""
        self.records[store] = replace(self.records[store], **choices)

    def choose(self, **choices: object) -> None:
        """Change choices of the placement."""
        self.placement.configure(self.config.changed(choices))

    def offline(self, store: int) -> None:
        """Ask for a store to be emptied."""
        self.records[store] = self.placement.offline(store, self.now)

    # Rounds

    def alive(self, store: int) -> bool:
        """Tell whether a store runs."""
        return store not in self.dead and self.records[store].life is not Life.TOMBSTONE

    def has_majority(self, region: ModelRegion) -> bool:
        """Tell whether a region can decide: whoever has caught up and runs is a majority of each set of voters."""
        return all(
            2 * sum(self.alive(store) and store not in region.behind for store in voters) > len(voters)
            for voters in region.voters
        )

    def round(self) -> int:
        """Let a second go by; return how many orders there were."""
        self.now += 1.0
        before = len(self.orders)
        counts = Counter(store for region in self.regions.values() for store in region.descriptor.stores.values())
        used = Counter[int]()
        for region in self.regions.values():
            used.update(dict.fromkeys(region.descriptor.stores.values(), region.size))
        for store in sorted(self.records):
            if self.alive(store):
                free = max(self.capacities[store] - used[store], 0)
                stats = StoreStats(self.capacities[store], free, counts[store])
                self.placement.store_heartbeat(store, stats, self.now)
        for number in sorted(self.regions):
            if region := self.regions.get(number):
                self._beat(region)
        self.placement.tick(self.now)
        for record in self.placement.buried(self.now):
            self.records[record.store] = record
        return len(self.orders) - before

    def settle(self, most: int = 3000, quiet: int = 100) -> int:
        """Let time go by until there was nothing to do for some rounds; return how many rounds it took."""
        idle = 0
        for rounds in range(most):
            idle = 0 if self.round() or self.placement.controller.running else idle + 1
            if idle >= quiet:
                return rounds
        running = self.placement.controller.running[:5]
        raise AssertionError(f"no rest after {most} rounds; {running}, last orders {self.orders[-5:]}")

    def _beat(self, region: ModelRegion) -> None:
        """Have a region's leader tell of it, and do what it's asked for."""
        if region.descriptor.membership.outgoing and self.has_majority(region):
            region.descriptor = region.descriptor.after(Change(()))
        stores = set(region.descriptor.stores.values())
        region.behind = {store: left - 1 for store, left in region.behind.items() if left > 1 and store in stores}
        if not self.alive(region.leader) or region.leader not in set.union(*region.voters):
            able = sorted(store for store in set.union(*region.voters) if self.alive(store))
            if not able or not self.has_majority(region):
                return
            region.leader, region.term = self.random.choice(able), region.term + 1
        if not self.has_majority(region):
            return
        if self._lost() and self._lost():
            return
        told = self.told(region)
        region.counted = region.term
        order = self.placement.heartbeat(told, self.now)
        if order and not self._lost():
            self.carry_out(region, order)
        if self._lost():
            self._repeat(told)

    def _lost(self) -> bool:
        """Tell whether something gets lost."""
        return bool(self.loss) and self.random.random() < self.loss

    def _repeat(self, told: RegionInfo) -> None:
        """Have a heartbeat arrive again, in a later round or not at all; the order that answers it goes nowhere."""
        late = self.late
        self.late = told
        if late:
            try:
                self.placement.heartbeat(late, self.now)
            except (StaleHeartbeat, Refused):
                return

    def told(self, region: ModelRegion) -> RegionInfo:
        """Give a region's heartbeat."""
        return RegionInfo.of(
            region.descriptor,
            region.leader,
            term=region.term,
            size=region.size,
            reads=region.reads if region.counted == region.term else 0.0,
            writes=region.writes if region.counted == region.term else 0.0,
            pending=tuple(sorted(region.behind)),
            down={
                store: self.now - self.dead[store]
                for store in sorted(region.descriptor.stores.values())
                if store in self.dead
            },
        )

    def carry_out(self, region: ModelRegion, order: Order) -> None:
        """Do a step, and see that the region can still decide."""
        self.orders.append(order)
        assert (order.leader, order.conf_ver, order.version) == (
            region.leader,
            region.descriptor.conf_ver,
            region.descriptor.version,
        ), order
        descriptor, step = region.descriptor, order.step
        match step:
            case AddLearner(store):
                assert store not in descriptor.stores.values(), order
                region.descriptor = descriptor.after(descriptor.adding(store, f"h{store}:1"))
                region.behind[store] = CATCH_UP
            case PromoteLearner(store):
                region.descriptor = descriptor.after(descriptor.promoting(store))
            case RemovePeer(store):
                assert store != region.leader, order
                region.descriptor = descriptor.after(descriptor.removing(store))
            case EnterJoint(promote, demote):
                region.descriptor = descriptor.after(self.joint(descriptor, promote, demote))
                assert region.descriptor.membership.outgoing, order
            case LeaveJoint():
                region.descriptor = descriptor.after(Change(()))
            case TransferLeader(target):
                assert target in region.voters[0] and self.alive(target) and target not in region.behind, order
                region.leader, region.term = target, region.term + 1
            case MergeRegion(target):
                self.merge(region, self.regions[target])
            case SplitRegion(_, keys):
                self.split(region, keys[0])
        assert step.CHANGES == 0 or isinstance(step, MergeRegion) or region.descriptor.conf_ver > order.conf_ver, order
        assert self.has_majority(region), f"{order} took the majority away"

    def joint(self, descriptor: Descriptor, promote: tuple[int, ...], demote: tuple[int, ...]) -> Change:
        """Give the change that promotes and demotes the peers on some stores."""
        steps = [(ADD_VOTER, store) for store in promote] + [(ADD_LEARNER, store) for store in demote]
        changes = []
        for action, store in steps:
            peer = descriptor.peer_on(store)
            assert peer is not None
            changes.append(ChangeStep(action, peer))
        return Change(tuple(changes))

    def merge(self, source: ModelRegion, target: ModelRegion) -> None:
        """Make two regions one."""
        one, other = source.descriptor, target.descriptor
        assert set(one.stores.values()) == set(other.stores.values()), (one, other)
        assert one.end == other.start or other.end == one.start, (one, other)
        first, last = (one, other) if one.end == other.start and one.end else (other, one)
        version = max(one.version + 1, other.version) + 1
        target.descriptor = replace(other, start=first.start, end=last.end, version=version)
        target.size += source.size
        target.reads, target.writes = target.reads + source.reads, target.writes + source.writes
        del self.regions[one.region]

    def split(self, region: ModelRegion, key: bytes) -> None:
        """Cut a region in two; the new one has the keys behind."""
        old = region.descriptor
        number = max(self.regions) + 1
        region.descriptor = replace(old, end=key, version=old.version + 1)
        region.size, region.reads, region.writes = region.size // 2, region.reads / 2, region.writes / 2
        new = replace(old, region=number, start=key, version=old.version + 1)
        self.regions[number] = ModelRegion(new, region.leader, region.size, reads=region.reads, writes=region.writes)

    # What it's like

    def counts(self) -> Counter[int]:
        """Tell how many voters each store has that's up."""
        found = Counter({store: 0 for store in self.records if self.placement.cluster.up(store)})
        for region in self.regions.values():
            found.update(region.voters[0])
        return found

    def leaders(self) -> Counter[int]:
        """Tell how many regions each store leads that's up."""
        found = Counter({store: 0 for store in self.records if self.placement.cluster.up(store)})
        found.update(region.leader for region in self.regions.values())
        return found

    def crowded(self) -> list[int]:
        """List the regions that have two replicas in one of the narrowest places."""
        labels = self.config.labels
        return [
            number
            for number, region in self.regions.items()
            if any(crowding(self.records, labels, store, region.voters[0])[-1] for store in region.voters[0])
        ]

    def assert_whole(self) -> None:
        """Fail unless each region has just the replicas that it should, on stores that are up."""
        for number, region in self.regions.items():
            members = region.descriptor.membership
            assert members == Membership(members.voters), f"region {number} has {members}"
            assert len(members.voters) == self.config.replicas, f"region {number} has {members}"
            assert all(map(self.placement.cluster.up, region.voters[0])), f"region {number} is on {region.voters[0]}"
            assert not self.dead.keys() & region.voters[0], f"region {number} is on {region.voters[0]}, one is dead"


def quick(**choices: object) -> PlacementConfig:
    """Give choices that come to rest soon: lost stores are known after a minute, and limits don't get in the way."""
    usual = {"max_down": 60, "add_limit": 6000, "remove_limit": 6000, "leader_limit": 64}
    return PlacementConfig.from_json({**usual, "merge_by_size": True, "merge_size": 0, **choices})
