"""
Simulated stores that have several regions each: what L{tests.testing.cluster} has for one, with a checker for each.

The faults are the same. Those that are about a leader pick a region by chance; members don't change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from random import Random
from typing import Any, Final

from twisted.internet.interfaces import IProtocol

from tests.testing import cluster_changes
from tests.testing.cluster import (
    MIX,
    REQUEST_TIMEOUT,
    ROWS_EVERY,
    Cluster,
    DiskLog,
    Store,
    Variant,
    WatchedWriter,
    World,
)
from tests.testing.one_store import Durations
from tinykv.config import StoreConfig
from tinykv.keys import region_row, slots_range
from tinykv.peering.address_book import AddressBook
from tinykv.raft.group import Group, Ready
from tinykv.raft.messages import Entry, Message
from tinykv.raft.stored import entry_of
from tinykv.redis.commands import VALUE_TYPES
from tinykv.redis.execution import Execution
from tinykv.redis.keyspace import Keyspace
from tinykv.region.descriptor import Descriptor
from tinykv.region.entry import decode_header
from tinykv.server.commands import CONNECTION_MODULES
from tinykv.server.front import Front
from tinykv.server.router import Router
from tinykv.storage.rowstore import RowStore
from tinykv.store.composition import join_stores, replica_of
from tinykv.store.control import Control
from tinykv.store.host import RegionHost
from tinykv.store.peers import Peers
from tinykv.store.recovery import Recovered, recover
from tinykv.store.replica import Replica
from tinykv.store.runs import new_start_id
from tinykv.store.ticks import Ticks
from tinykv.store.turn_writer import TurnWriter
from tinykv.testing.embedded import TABLE
from tinykv.testing.simulation.clock import Process
from tinykv.testing.simulation.endpoints import address_of, dialling
from tinykv.testing.simulation.events import SECOND
from tinykv.testing.simulation.replication import ReplicationChecker

REGIONS: Final = 3


class PartGroup(Group):
    """Tells what it hands out to be applied."""

    __slots__ = ("_part",)

    def watch(self, part: Part) -> None:
        """Begin to tell."""
        self._part = part

    def ready(self, tell: int | None = None) -> Ready | None:
        """Hand out what is to be done."""
        ready = super().ready(tell)
        if ready is not None:
            for entry in ready.committed:
                self._part.applies(entry)
        return ready


class PartReplica(Replica):
    """Tells when entries have been applied."""

    part: Part

    def applied_to(self, index: int) -> None:
        """Learn up to where entries have been applied."""
        super().applied_to(index)
        if index % ROWS_EVERY == 0:
            self.part.compare_rows(index)


class Part:
    """
    One region on one store.
    """

    group: PartGroup
    replica: PartReplica
    host: RegionHost

    def __init__(self, store: RegionStore, region: int) -> None:
        self.store = store
        self.region = region
        self.checker = store.world.checkers[region]
        self.log = DiskLog(store.disk, region)

    def send(self, message: Message) -> None:
        """Send a message."""
        self.store.send_in(self.region, self.group, message)

    def applies(self, entry: Entry) -> None:
        """Note an entry that is about to be applied."""
        store = self.store
        if store.applies_in(self.region, entry):
            store.world.decided_in(self.region, store.name, entry)
            store.world.times_in(self.region, entry)

    def compare_rows(self, index: int) -> None:
        """Sum up the rows, and tell."""
        self.checker.rows(self.store.name, index, self.digest_rows())

    def digest_rows(self) -> bytes:
        """Sum up the region's rows."""
        host = self.host
        rows = host.rows
        pausing, rows.pausing = rows.pausing, lambda: None
        found = blake2b(digest_size=16)
        own = (region_row(self.region), region_row(self.region + 1))
        for family, (start, end) in (("data", slots_range(host.descriptor.slots)), ("region", own)):
            for key, row in rows.scan(family, start, end):
                value = row if isinstance(row, bytes) else row.encode()
                found.update(b"%d %d " % (len(key), len(value)) + key + value)
        rows.pausing = pausing
        found.update(host.descriptor.encode())
        return found.digest()


class RegionStore(Store):
    """
    A store with several regions; C{group}, C{replica} and C{host} are those of the region that the world looks at.
    """

    world: RegionWorld
    parts: dict[int, Part]

    @property
    def _focus(self) -> Part:
        return self.parts[self.world.focus]

    @property
    def group(self) -> Any:
        """Give the group in focus."""
        return self._focus.group

    @property
    def replica(self) -> Any:
        """Give the replica in focus."""
        return self._focus.replica

    @property
    def host(self) -> Any:
        """Give the host in focus."""
        return self._focus.host

    def start(self) -> None:
        """Start it."""
        world, disk = self.world, self.disk
        process = self.process = Process(world.events, self.clock, self.name)
        self.starts += 1
        random = world.events.random(f"{self.name} {self.starts}")
        rows = RowStore(disk.reader(), frozen_tables_max=2)
        start_id = new_start_id(self.id, random)
        found = [self._recover(first, rows, start_id, random) for first in world.firsts.values()]
        self.parts = {region: Part(self, region) for region in world.firsts}
        for _, recovered in found:
            region = recovered.descriptor.region
            for entry in disk.entries(region, disk.log.visible.base(region)[0]):
                if entry.index <= recovered.applied.index:
                    self.parts[region].applies(entry_of(entry.index, entry.term, entry.data))
        log_writer, data_writer = disk.start_writers(process)
        watched = TurnWriter(WatchedWriter(log_writer, self), process)
        durations = Durations()
        book = AddressBook(dialling(world.streams, process), world.known)
        self.peering = peering = self._link(process, start_id, book, random)
        self.peers = peers = Peers(peering, process)
        peering.handle(peers)
        self.regions = regions = self._share(process, rows, watched, data_writer, durations, random)
        ticks = Ticks(process, world.raft.tick)
        maker = disk.snapshot_maker(process, lambda rows: rows)
        for execution, recovered in found:
            part = self.parts[recovered.descriptor.region]
            replica = replica_of(
                recovered,
                raft=world.raft,
                log=part.log,
                log_writer=watched,
                send=part.send,
                clock=process,
                uptime=process.seconds,
                random=random,
                durations=durations,
                group_type=PartGroup,
                replica_type=PartReplica,
                ticks=ticks,
            )
            assert isinstance(replica, PartReplica) and isinstance(replica.group, PartGroup)
            part.replica, part.group = replica, replica.group
            replica.part = part
            replica.group.watch(part)
            part.host = RegionHost(
                regions,
                replica=replica,
                descriptor=recovered.descriptor,
                execution=execution,
                now_ms=self.clock.calendar_ms,
                uptime=process.seconds,
                random=Random(random.getrandbits(64)),
                applied=recovered.applied,
                request_timeout=REQUEST_TIMEOUT,
                log_entries_max=self._log_entries,
            )
            world.hosts.append(part.host)
            join_stores(
                part.host,
                peers=peers,
                links=peering,
                store_id=self.id,
                table=TABLE,
                maker=maker,
                log=part.log,
                clock=process,
                request_timeout=REQUEST_TIMEOUT,
                answered=lambda: front.flush(),
            )
        hosts = list(regions.hosts.values())
        chance = world.events.random(f"chance of {self.name} {self.starts}")
        router = Router([(host.descriptor.slots, host) for host in hosts], chance.randrange)
        self.front = front = Front(
            router,
            TABLE,
            CONNECTION_MODULES,
            config=StoreConfig(),
            clock=process,
            now=lambda: self.clock.calendar_ms() / 1000,
            shutdown=lambda: None,
        )
        self.control = peers.control = Control(
            store_id=self.id,
            address=address_of(self.name),
            host=hosts[0],
            others=hosts[1:],
            clock=process,
            links=peering,
            addresses=book,
            summer=disk.summer(process),
            lingers=lambda: None,
            removed=lambda: None,
        )
        for host in hosts:
            host.start()
        self.control.start()
        front.start()

        def accept(address: str) -> IProtocol:
            return peering.accept(address) if peering.knows(address) else front.session(tls=False)

        world.streams.listen(self.name, process, accept)

    def _recover(self, first: Descriptor, rows: RowStore, start_id: int, random: Random) -> tuple[Execution, Recovered]:
        keyspace = Keyspace(rows, VALUE_TYPES, budget=self._budget // REGIONS, region=first.region, slots=first.slots)
        execution = Execution(
            keyspace, TABLE, start_id=start_id, random=Random(random.getrandbits(64)), defect=self._defect
        )
        return execution, recover(self.disk, execution, first, self.id)


class RegionWorld(World):
    """
    The stores.

    @ivar focus: The region that faults are about.
    @ivar firsts: The regions as they begin, by id.
    """

    store_type = RegionStore

    def __init__(self, seed: int, variant: Variant, *, size: int | None = None, regions: int = REGIONS) -> None:
        self.focus = 1
        self._count = regions
        self._by_id: dict[int, Descriptor] = {}
        self._checkers: dict[int, ReplicationChecker] = {}
        self._led_in: dict[tuple[str, int], tuple[tuple[int, int], int]] = {}
        self._committed_in: dict[int, int] = {}
        self._times_in: dict[int, tuple[int, int]] = {}
        super().__init__(seed, variant, size=size)

    @property
    def firsts(self) -> dict[int, Descriptor]:
        """Give the regions as they begin."""
        if not self._by_id:
            stores = list(self.initial.stores.values())
            self._by_id = {one.region: one for one in Descriptor.initial_regions(self._count, stores)}
        return self._by_id

    @property
    def checkers(self) -> dict[int, ReplicationChecker]:
        """Give a checker for each region; what one finds is a problem of the world."""
        if not self._checkers:
            for region in self.firsts:
                checker = self._checkers[region] = ReplicationChecker(lambda: self.events.now)
                checker.problems = self.checker.problems
            self._checkers[1] = self.checker
        return self._checkers

    def parts_of(self, region: int) -> list[tuple[RegionStore, Part]]:
        """Give a region's parts, each with its store."""
        return [(store, store.parts[region]) for store in self.stores.values() if isinstance(store, RegionStore)]

    def decided_in(self, region: int, name: str, entry: Entry) -> None:
        """Of an entry that is applied for the first time: it lies on the disks of a majority."""
        logs = [store.disk.log.durable for store in self.stores.values()]
        holders = sum(log.term(region, entry.index) == entry.term or log.base(region)[0] > entry.index for log in logs)
        if 2 * holders <= len(self.initial.stores):
            self.checkers[region].decided(name, entry.index, holders, len(self.initial.stores))

    def times_in(self, region: int, entry: Entry) -> None:
        """Of entries that are applied for the first time: region time never goes back."""
        if entry.kind or not entry.data:
            return
        time, _ = decode_header(entry.data)
        index, latest = self._times_in.get(region, (0, 0))
        if index < entry.index:
            if time < latest:
                self.checker.problem(f"entry {entry.index} of region {region} is of {time} ms, before it {latest} ms")
            self._times_in[region] = (entry.index, max(time, latest))

    def look(self) -> None:
        """After each event: nobody leads or leases beside another, in no region."""
        for region in self.firsts:
            checker = self.checkers[region]
            holders: list[str] = []
            for store, part in self.parts_of(region):
                if store.process.is_dead or not part.group.leads:
                    continue
                self._look_at_part(region, store, part)
                if part.replica.lease_end > store.clock.elapsed() / SECOND:
                    holders.append(store.name)
            known = self._committed_in.get(region, 0)
            self._committed_in[region] = max(known, *[part.group.committed for _, part in self.parts_of(region)])
            if len(holders) > 1:
                checker.leases(holders)

    def _look_at_part(self, region: int, store: Store, part: Part) -> None:
        group, checker = part.group, self.checkers[region]
        run, committed = (store.starts, group.term), group.committed
        known, before = self._led_in.get((store.name, region), ((0, 0), 0))
        if known != run:
            checker.leads(store.name, group.term)
        elif before < committed > self._committed_in.get(region, 0) and group.term_of(committed) != group.term:
            checker.commits(store.name, committed, group.term_of(committed), group.term)
        if known != run or before < committed:
            self._led_in[store.name, region] = (run, committed)

    def leader(self) -> Store | None:
        """Give the store that leads a region, which is picked by chance."""
        self.focus = self.random.choice(list(self.firsts))
        return super().leader()

    def converged(self) -> bool:
        """Say whether all have applied the same of all regions, and nothing is under way."""
        for region in self.firsts:
            parts = self.parts_of(region)
            if not all(store.runs for store, _ in parts):
                return False
            applied = {part.host.applied for _, part in parts}
            if len(applied) != 1 or applied != {part.group.last for _, part in parts}:
                return False
        return True

    def compare_at_end(self) -> None:
        """Compare what all stores have in the end."""
        for region, checker in self.checkers.items():
            parts = self.parts_of(region)
            for store, part in parts:
                checker.rows(store.name, part.host.applied, part.digest_rows())
            checker.converged({store.name: part.host.applied for store, part in parts})


class RegionCluster(Cluster):
    """The scenario."""

    name = "regions"
    faults: Sequence[str] = tuple(kind for kind in Cluster.faults if kind not in cluster_changes.KINDS)

    def __init__(self, *, size: int | None = None, regions: int = REGIONS, pipeliners: int | None = None) -> None:
        super().__init__(size=size, mix=replace(MIX, tagged=True), pipeliners=pipeliners)
        self._regions = regions

    def _world(self, seed: int) -> World:
        return RegionWorld(seed, self._variant(), size=self._size, regions=self._regions)
