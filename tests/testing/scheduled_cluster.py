"""
Whole clusters: simulated stores whose replicas a scheduler places, with three members in the same world.

Five stores, of which two come as new ones that know nothing but where the scheduler is; each region has three replicas.
Beside what befalls stores, the scheduler's members are killed, cut off, stand still, and have their clocks set; stores
are drained until they're tombstones, perhaps stay after all, or are lost for good. In the end all regions have three
replicas on stores that are up, which the scheduler knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.schedule.cluster import Within
from tests.schedule.given import Given, given_problems
from tests.testing import schedulers
from tests.testing.cluster import LIMITS, STOP_ALL, Variant, World
from tests.testing.everywhere import Everywhere
from tests.testing.region_cluster import RegionStore, RegionWorld
from tests.testing.schedulers import PortedMember, Schedulers, scheduler_client
from tests.testing.split_cluster import BURSTS, SplitCluster, SplitWorld
from tinykv.client.scheduler import Scheduler
from tinykv.errors import ControlRefused, ControlUnknown, ScheduleProblem
from tinykv.peering.address_book import AddressBook
from tinykv.placement.placement import Placement
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.stores import Life, StoreRecord, StoreStats
from tinykv.raft.membership import Membership, votes_in
from tinykv.schedule.timestamps import compose
from tinykv.store.orders import Orders
from tinykv.store.region_reports import Measured, RegionReports
from tinykv.store.scheduling import Registration, Scheduling
from tinykv.testing.simulation.clock import NodeClock, Process
from tinykv.testing.simulation.endpoints import address_of
from tinykv.testing.simulation.events import MILLISECOND, SECOND
from tinykv.testing.simulation.faults import Limits

DRAIN: Final = "drain-store"
LOSE: Final = "lose-store"
#: Stores that there are at first, and those that come.
FIRST_STORES: Final = 3
NEW_STORES: Final = 2
REPLICAS: Final = 3
#: How many stores may be drained or lost: as many as leave enough for all replicas.
GOING: Final = FIRST_STORES + NEW_STORES - REPLICAS
#: What is chosen for the placement: all of it goes faster than elsewhere.
CHOICES: Final[dict[str, Any]] = {
    "disconnected_after": 2,
    "max_down": 5,
    "gate_wait": 6,
    "region_timeout": 6,
    "leader_timeout": 3,
    "record_time": 60,
    "add_limit": 6000,
    "remove_limit": 6000,
    "merge_size": 0,
    "patrol_interval": 0.2,
    "schedule_interval": 0.2,
    "schedule_interval_max": 1,
    "labels": [],
}
#: How often stores tell how they are, in seconds.
HEARTBEAT: Final = 1.0
#: How often what the scheduler believes is looked at, in us.
LOOK_US: Final = 50 * MILLISECOND
#: Each region counts as so many bytes, so that they're balanced by their number.
REGION_BYTES: Final = 10 << 20
#: Who takes ids and timestamps, and for how long each waits for them, in seconds: not until a member that stands still
#: goes on.
TAKERS: Final = 3
TAKER_PATIENCE: Final = 0.8
CLUSTER_ID: Final = "5ca1ab1e"


class ScheduledStore(RegionStore):
    """A store that a scheduler knows."""

    world: ScheduledWorld
    scheduler: Scheduler

    def scheduled(self, process: Process) -> dict[str, Any]:
        """Give how its control asks the scheduler; it ends for good when it was drained."""
        self.scheduler = self.world.scheduler_client(process, f"{self.name} {self.starts}")
        return {
            "scheduled": True,
            "scheduler": self.scheduler,
            "lingers": lambda: self._serve_stores_only(process),
            "removed": lambda: self._retire(process),
        }

    def begun(self, process: Process, book: AddressBook) -> None:
        """Begin to tell."""
        world, hosts, peering = self.world, self.regions.hosts, self.peering
        reports = RegionReports(
            store_id=self.id,
            regions=lambda: tuple(hosts.values()),
            is_up=peering.is_up,
            measure=lambda region: Measured(size=REGION_BYTES),
            now=process.seconds,
            interval=HEARTBEAT / 2,
        )
        self.scheduling = scheduling = Scheduling(
            scheduler=self.scheduler,
            registration=Registration(
                store_id=self.id,
                folder_id=f"folder-{self.id}",
                address=address_of(self.name),
                client_address=lambda: address_of(self.name),
                labels={},
            ),
            cluster_id=CLUSTER_ID,
            beginning=[RegionInfo.of(first, None) for first in world.firsts.values()],
            clock=process,
            interval=HEARTBEAT,
            stats=self._stats,
            reports=reports,
            is_up=peering.is_up,
            addresses=book,
            # Nothing is split by itself.
            chosen=lambda choices: None,
        )
        scheduling.orders = Orders(
            store_id=self.id,
            region=hosts.get,
            is_up=peering.is_up,
            address=lambda number: book.address(number) or scheduling.address(number),
            split=lambda region, slots: self.control.split(region, slots, 2),
            merge=lambda region, target: self.control.merge(region, target),
        )
        self.control.stays = scheduling.stays
        scheduling.start()

    def _stats(self) -> StoreStats:
        hosts = self.regions.hosts.values()
        held = sum(bool(host.group.peer) and host.descriptor.peer_on(self.id) is not None for host in hosts)
        return StoreStats(capacity=1 << 40, available=1 << 39, regions=held)

    def _retire(self, process: Process) -> None:
        """It was drained, and ends for good."""
        if process is self.process:
            self.removed = True
            self.world.retired(self)
            self.world.kill(self.name)


class _Taker:
    """One who takes ids and timestamps of the scheduler, one after another."""

    def __init__(self, world: ScheduledWorld, number: int) -> None:
        name = f"taker{number}"
        self.timestamps: list[Given] = []
        self.ids: list[range] = []
        self._events = world.events
        self._process = process = Process(world.events, NodeClock(world.events), name)
        self._scheduler = world.scheduler_client(process, name, number)
        self._random = world.events.random(name)
        self._rest()

    def _rest(self) -> None:
        self._process.callLater(self._random.expovariate(5.0), self._ask)

    def _ask(self) -> None:
        count = self._random.choice((1, 7, 100))
        begun = self._events.now
        if self._random.random() < 0.3:
            # As somebody would who comes anew.
            self._scheduler.leader = ""
        what, given = self._random.choice((("/ids", self._ids), ("/timestamps", self._timestamps)))
        asked = self._scheduler.ask("POST", what, {"count": count}, TAKER_PATIENCE)
        asked.addCallback(given, count, begun).addErrback(self._failed).addCallback(self._on)

    def _ids(self, answer: dict[str, Any], count: int, begun: int) -> None:
        first = int(answer["first"])
        self.ids.append(range(first, first + count))

    def _timestamps(self, answer: dict[str, Any], count: int, begun: int) -> None:
        first = compose(int(answer["physical"]), int(answer["logical"]))
        self.timestamps.append(Given(begun, self._events.now, first, first + count - 1))

    def _failed(self, failure: Failure) -> None:
        """Nothing comes of it, or nobody knows."""
        failure.trap(ScheduleProblem)

    def _on(self, _: object) -> None:
        self._rest()


class ScheduledWorld(SplitWorld):
    """
    The stores and the scheduler's members.

    @ivar drained: How many stores were made offline; C{lost} how many ended for good without a word.
    @ivar operator: Asks the scheduler what people would.
    """

    store_type = ScheduledStore
    member_type: type[PortedMember] = PortedMember
    #: How many times some regions are split in any case.
    bursts = BURSTS

    def __init__(self, seed: int, variant: Variant, *, regions: int = 1) -> None:
        self.drained = self.lost = self.retirements = 0
        #: What the placement of the member that leads knew of each region when it was looked at last.
        self._believed: dict[int, tuple[int, int]] = {}
        self._believing: Placement | None = None
        self._tombstones: set[int] = set()
        self.schedulers: Schedulers | None = None
        super().__init__(seed, variant, size=FIRST_STORES, regions=regions, bursts=self.bursts)
        for _ in range(NEW_STORES):
            number = max(self.stores) + 1
            self.stores[number] = store = self.store_type(self, number)
            store.start()
        members = type("Members", (Schedulers,), {"member_type": self.member_type})
        within = Within(self.events, self.network, self.streams)
        self.schedulers = members(str(self.folder / "schedulers"), within, self.checker.problem)
        process = Process(self.events, NodeClock(self.events), "operator")
        self._operator_process = process
        self.operator = self.scheduler_client(process, "operator")
        self.takers = [_Taker(self, number) for number in range(TAKERS)]
        self._choose()
        self._look_at_schedulers()

    def scheduler_client(self, process: Process, name: str, first: int = 0) -> Scheduler:
        """
        Make what a process asks the scheduler by.

        @param first: Which of the members it asks first.
        """
        random = self.events.random(f"scheduler of {name}")
        names = [f"m{1 + (first + place) % schedulers.MEMBERS}" for place in range(schedulers.MEMBERS)]
        return scheduler_client(self.streams, process, names, random)

    # What people ask for

    def _choose(self) -> None:
        """Have the placement told what was chosen, until it is."""
        self.operator.ask("PATCH", "/config", CHOICES).addErrback(self._choose_again)

    def _choose_again(self, failure: Failure) -> None:
        failure.trap(ScheduleProblem)
        self._operator_process.callLater(0.2, self._choose)

    @property
    def actions(self) -> dict[str, Callable[[str], bool]]:
        """Give faults that only this world has, by name."""
        assert self.schedulers is not None
        return {**super().actions, **self.schedulers.actions, DRAIN: self.drain, LOSE: self.lose}

    def drain(self, node: str) -> bool:
        """Have a store drained; now and then it's to stay after all."""
        store = self.store(node)
        if store.removed or self._going() >= GOING:
            return False
        self.drained += 1
        self.operator.ask("POST", f"/stores/{store.id}/offline").addErrback(self._refused)
        if self.random.random() < 0.3:
            at = self.random.randint(SECOND // 10, 3 * SECOND)
            self.events.after(at, f"{node} is to stay", self._cancel, store.id)
        return True

    def _cancel(self, store: int) -> None:
        self.operator.ask("POST", f"/stores/{store}/cancel-offline").addErrback(self._refused)

    def _refused(self, failure: Failure) -> None:
        """Nothing comes of it, or nobody knows."""
        failure.trap(ScheduleProblem)

    def _going(self) -> int:
        """Count the stores that are gone, or may be about to go."""
        return self.lost + self.drained

    def lose(self, node: str) -> bool:
        """Let a store end for good, with all it has; the others have a majority of everything."""
        store = self.store(node)
        if store.removed or self.lost or self._going() >= GOING or not self._without(store.id):
            return False
        self.lost += 1
        self.crash(node)
        store.removed = True
        return True

    def _without(self, store: int) -> bool:
        """Say whether all regions have majorities on other stores that aren't lost: all else comes back."""
        for region in self.regions:
            for descriptor in self._descriptors_in[region][-2:]:
                for voters in (descriptor.membership.voters, descriptor.membership.outgoing):
                    there = [peer for peer in voters if descriptor.stores[peer] != store]
                    if 2 * len(there) <= len(voters) and voters:
                        return False
        return True

    def retired(self, store: RegionStore) -> None:
        """Note that a store was drained, knows it, and ends."""
        self.retirements += 1
        for region in self.regions:
            # A learner that it's just being given never comes to be one; the scheduler takes it back.
            if votes_in(self.descriptor_of(region).membership, self.descriptor_of(region).peer_on(store.id) or 0):
                self.checker.problem(f"{store.name} ends as if it were drained, and votes in region {region}")

    # Splits

    def _split(self, store: RegionStore, region: int) -> None:
        asked: Deferred[Any] = store.control.split(region, [], self.random.choice((2, 2, 3)))

        def failed(failure: Failure) -> None:
            failure.trap(ControlRefused, ControlUnknown)

        def made(_: object) -> None:
            self.splits += 1

        asked.addCallbacks(made, failed)

    # Whom faults are about

    def leader(self) -> RegionStore | None:
        """Give the store that leads a region, which is picked by chance."""
        self.focus = focus = self.random.choice(self.regions)
        leading = [(part.group.term, store) for store, part in self.parts_of(focus) if store.runs and part.group.leads]
        return max(leading, key=lambda found: found[0])[1] if leading else None

    # What the scheduler believes

    def _look_at_schedulers(self) -> None:
        self.events.after(LOOK_US, "looks at the scheduler", self._look_at_schedulers)
        assert self.schedulers is not None
        for member in self.schedulers.members.values():
            for failure in member.failures:
                self.checker.problem(f"{member.name} failed: {failure!r}")
        leading = self.schedulers.leading()
        if leading is None or not leading.leadership.leads:
            return
        if self._believing is not leading.placing.placement:
            self._believing = leading.placing.placement
            self._believed.clear()
        for region in leading.table:
            self._look_at_belief(region)
        for store, record in leading.host.state.stores.items():
            if record.life is Life.TOMBSTONE:
                self._tombstones.add(store)
            elif store in self._tombstones:
                self.checker.problem(f"store {store} was removed, and is {record.life.value} again")

    def _look_at_belief(self, region: RegionInfo) -> None:
        """What it knows of a region was decided once, and it never believes something older."""
        number, epoch = region.region, (region.version, region.conf_ver)
        before = self._believed.get(number, (0, 0))
        if epoch == before:
            return
        self._believed[number] = epoch
        known = f"region {number} in version {epoch[0]} and conf_ver {epoch[1]}"
        if epoch[0] < before[0] or epoch[1] < before[1]:
            self.checker.problem(f"the scheduler believes in {known} after {before[0]} and {before[1]}")
        for one in self._descriptors_in.get(number, ()):
            if (one.version, one.conf_ver) == epoch and (one.start, one.end) == (region.start, region.end):
                return
        self.checker.problem(f"the scheduler believes in {known}, which nobody has decided")

    # The end

    def mend(self) -> None:
        """Let nothing be wrong any more."""
        super().mend()
        if self.schedulers is not None:
            self.schedulers.mend()

    def close(self) -> None:
        """Leave nothing."""
        if self.schedulers is not None:
            self.schedulers.close()
        super().close()

    def unlike(self) -> str:
        """Say what isn't yet as it has to be in the end; empty if all is."""
        assert self.schedulers is not None
        leading = self.schedulers.leading()
        if leading is None or not leading.leadership.leads:
            return "no scheduler leads"
        records = leading.host.state.stores
        leaving = [store for store, record in records.items() if record.life is Life.OFFLINE]
        if leaving:
            return f"stores {leaving} aren't drained"
        if leading.table.gap() is not None:
            return "the scheduler hasn't heard of all regions"
        for region in self.regions:
            why = self._unhealed(region, records, leading)
            if why:
                return f"region {region} {why}"
        return ""

    def _unhealed(self, region: int, records: dict[int, StoreRecord], leading: PortedMember) -> str:
        descriptor = self.descriptor_of(region)
        members = descriptor.membership
        if members != Membership(members.voters) or len(members.voters) != REPLICAS:
            return f"has {members}"
        stores = sorted(descriptor.stores.values())
        if not all(self.stores[store].runs and records[store].life is Life.UP for store in stores):
            return f"is on stores {stores}"
        known = leading.table.get(region)
        if known is None or (known.version, known.conf_ver) != (descriptor.version, descriptor.conf_ver):
            return "isn't known to the scheduler as it is"
        parts = [(store, part) for store, part in self.parts_of(region) if store.runs]
        if any(part.group.peer for store, part in parts if store.id not in stores):
            return "has a peer left where it has none"
        there = [part for store, part in parts if store.id in stores]
        if len(there) < REPLICAS or any(part.host.descriptor != descriptor for part in there):
            return "isn't applied everywhere"
        applied = {part.host.applied for part in there}
        if len(applied) != 1 or applied != {part.group.last for part in there}:
            return f"is applied up to {applied}"
        return ""

    def converged(self) -> bool:
        """Say whether all is as it has to be in the end."""
        return not self.unlike()

    def given_problems(self) -> list[str]:
        """Say what was wrong with ids and timestamps."""
        timestamps = [given for taker in self.takers for given in taker.timestamps]
        return given_problems(timestamps, [ids for taker in self.takers for ids in taker.ids])

    def compare_at_end(self) -> None:
        """Compare what all stores have in the end."""
        super().compare_at_end()
        for problem in self.given_problems():
            self.checker.problem(problem)


class ScheduledCluster(Everywhere, SplitCluster):
    """The scenario."""

    name = "scheduled"
    faults: Sequence[str] = (*SplitCluster.faults, STOP_ALL, *schedulers.KINDS, DRAIN, LOSE)
    world_type: type[RegionWorld] = ScheduledWorld

    def __init__(self, *, regions: int = 3, limits: Limits = LIMITS) -> None:
        super().__init__(regions=regions, limits=limits)

    def _world(self, seed: int) -> World:
        return self.world_type(seed, self._variant(), regions=self._regions)

    def _figures(self, world: World) -> dict[str, int]:
        assert isinstance(world, ScheduledWorld)
        return {
            **super()._figures(world),
            "replicas destroyed": world.burials,
            "stores drained": world.retirements,
            "stores lost for good": world.lost,
            "batches of timestamps": sum(len(taker.timestamps) for taker in world.takers),
            "batches of ids": sum(len(taker.ids) for taker in world.takers),
        }
