"""
Simulated stores that have several regions each: what L{tests.testing.cluster} has for one, with a checker for each.

The faults are the same. Those that are about a leader pick a region by chance. Members change region by region, among
the stores that there are from the beginning; one of them has no replica at first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from hashlib import blake2b
from random import Random
from typing import Any, Final

from twisted.internet.interfaces import IProtocol

from tests.testing import cluster_changes, region_moves
from tests.testing.cluster import (
    LIMITS,
    MIX,
    REQUEST_TIMEOUT,
    ROWS_EVERY,
    Closed,
    Cluster,
    DiskLog,
    Store,
    Variant,
    WatchedWriter,
    World,
    all_majorities,
    quorums_of,
)
from tests.testing.one_store import Durations
from tinykv.config import StoreConfig
from tinykv.interfaces import ILogWriter
from tinykv.keys import region_row, slots_range
from tinykv.peering.address_book import AddressBook
from tinykv.raft.group import Group, Ready
from tinykv.raft.log import Storage
from tinykv.raft.membership import Membership
from tinykv.raft.messages import APPEND_REPLY, CHANGE, VOTE, VOTE_REPLY, Entry, Message, SnapshotMeta
from tinykv.raft.stored import entry_of
from tinykv.raft.wire import decode_change
from tinykv.redis.commands import VALUE_TYPES
from tinykv.redis.execution import Execution
from tinykv.redis.keyspace import Keyspace
from tinykv.redis.operations import decode_records
from tinykv.region.descriptor import DESCRIPTORS, Descriptor
from tinykv.region.entry import HEADER_BYTES, decode_header
from tinykv.region.splitting import Split, parts_of, why_not
from tinykv.region.state import FIRST_INDEX
from tinykv.region.tombstone import decode_tombstone, tombstone_key
from tinykv.server.commands import CONNECTION_MODULES
from tinykv.server.front import Front
from tinykv.server.router import Router
from tinykv.storage.rowstore import RowStore
from tinykv.store.composition import Start, join_stores, replica_of
from tinykv.store.control import Control
from tinykv.store.forwarding import Forwarder
from tinykv.store.host import RegionHost
from tinykv.store.peers import Peers
from tinykv.store.recovery import RecoverableStore, Recovered, begun_by_word, begun_regions, buried_in, recover_regions
from tinykv.store.replica import Replica
from tinykv.store.runs import new_start_id
from tinykv.store.splitting import Adopted, begin_peer, splits
from tinykv.store.splitting import Part as CutOff
from tinykv.store.ticks import Ticks
from tinykv.store.turn_writer import TurnWriter
from tinykv.testing.embedded import TABLE
from tinykv.testing.simulation.clock import Process
from tinykv.testing.simulation.endpoints import address_of, dialling
from tinykv.testing.simulation.events import SECOND
from tinykv.testing.simulation.faults import Limits
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

    def begin_anew(self, membership: Membership) -> None:
        """Become a peer that isn't there yet: the one before was destroyed."""
        self._part.store.world.destroyed(self._part, self.peer)
        super().begin_anew(membership)


class PartReplica(Replica):
    """Tells when entries have been applied."""

    part: Part

    def _install(self, ready: Ready, snapshot: SnapshotMeta) -> None:
        store = self.part.store
        store.world.installs(store)
        super()._install(ready, snapshot)

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
        """Sum up the rows, and tell; a peer that was removed isn't split any more."""
        if self.group.peer in self.host.descriptor.stores:
            self.checker.rows(self.store.name, index, self.digest_rows())

    def left_rows(self) -> list[bytes]:
        """List rows of the region that are here."""
        host = self.host
        rows, found = host.rows, []
        pausing, rows.pausing = rows.pausing, lambda: None
        own = (region_row(self.region), region_row(self.region + 1))
        for family, (start, end) in (("data", slots_range(host.descriptor.slots)), ("region", own)):
            found += [key for key, _ in rows.scan(family, start, end)]
        rows.pausing = pausing
        return found

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
    replica_type: type[PartReplica] = PartReplica
    host_type: type[RegionHost] = RegionHost
    keyspace_type: type[Keyspace] = Keyspace
    forwarder_type: type[Forwarder] = Forwarder

    def __init__(self, world: Any, store_id: int) -> None:
        super().__init__(world, store_id)
        self.parts = {}

    @property
    def _focus(self) -> Part:
        # One that was cut off another region may not be known here; the first one always is.
        return self.parts.get(self.world.focus) or self.parts[1]

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
        self._look_at_files()
        self.parts = {}
        # As a folder is opened: what was half installed is installed before anything is read.
        disk.recover(1)
        found = recover_regions(
            self.folder_found(),
            begun_regions(rows.scan("region", *DESCRIPTORS), list(world.firsts.values())),
            lambda first: self._execution(first, rows, start_id, random),
            self.id,
        )
        found = [(execution, self.believed(recovered)) for execution, recovered in found]
        for _, recovered in found:
            region = recovered.descriptor.region
            part = self.parts[region] = Part(self, region)
            for entry in disk.entries(region, disk.log.visible.base(region)[0]):
                if entry.index <= recovered.applied.index:
                    part.applies(entry_of(entry.index, entry.term, entry.data))
        log_writer, data_writer = disk.start_writers(process)
        durations = Durations()
        book = AddressBook(dialling(world.streams, process), world.known)
        self.peering = peering = self._link(process, start_id, book, random)
        turn = peering.turn
        watched = TurnWriter(WatchedWriter(log_writer, self), process, turn, lambda: len(self.regions.ordered) > 1)
        self.peers = peers = Peers(peering, process)
        peering.handle(peers)
        self.regions = regions = self._share(process, rows, watched, data_writer, durations, random)
        ticks = Ticks(process, world.raft.tick, turn)
        maker = disk.snapshot_maker(process, lambda rows: rows)

        def begin(execution: Execution, found: Start, log: Storage, quiet_until: float | None) -> RegionHost:
            part = self.parts[found.descriptor.region]
            replica = replica_of(
                found,
                raft=world.raft,
                log=log,
                log_writer=watched,
                send=part.send,
                clock=process,
                uptime=process.seconds,
                random=random,
                durations=durations,
                group_type=PartGroup,
                replica_type=self.replica_type,
                quiet_until=quiet_until,
                ticks=ticks,
            )
            assert isinstance(replica, PartReplica) and isinstance(replica.group, PartGroup)
            part.replica, part.group = replica, replica.group
            replica.part = part
            replica.group.watch(part)
            part.host = self.host_type(
                regions,
                replica=replica,
                descriptor=found.descriptor,
                execution=execution,
                now_ms=self.clock.calendar_ms,
                uptime=process.seconds,
                random=Random(random.getrandbits(64)),
                applied=found.applied,
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
                forwarder_type=self.forwarder_type,
            )
            return part.host

        def bear(cut: CutOff) -> RegionHost | None:
            region = cut.descriptor.region
            part = self.parts[region] = Part(self, region)
            adopted, log = self.begin_peer(cut, part.log, watched)
            host = begin(cut.execution, adopted, log, 0.0 if adopted.fresh else None)
            self.control.serve(host).start()
            peers.begun(region)
            return host

        def adopt(about: Descriptor) -> None:
            region = about.region
            log, buried = DiskLog(disk, region), buried_in(rows, region)
            heard = begun_by_word(about, log.hard_state(), log.last()[0], buried)
            if heard is None:
                return
            part = self.parts[region] = Part(self, region)
            execution = self._execution(heard.descriptor, rows, start_id, random)
            execution.load(0)
            host = begin(execution, heard, part.log, None)
            self.control.serve(host).start()
            peers.begun(region)
            host.buried = buried
            host.start()

        for execution, recovered in found:
            part = self.parts[recovered.descriptor.region]
            host = begin(execution, recovered, part.log, None)
            host.initial, host.buried = world.firsts.get(part.region), recovered.buried
        regions.bear = bear
        hosts = regions.ordered
        chance = world.events.random(f"chance of {self.name} {self.starts}")
        router = Router(regions.routes(), chance.randrange)
        regions.moved = router.moved

        def ranges_changed() -> None:
            router.route(regions.routes())
            world.ranges_in(self.name, regions.ordered)

        regions.watchers.append(ranges_changed)
        ranges_changed()
        self.front = front = Front(
            router,
            TABLE,
            CONNECTION_MODULES,
            config=StoreConfig(),
            clock=process,
            now=lambda: self.clock.calendar_ms() / 1000,
            shutdown=lambda: None,
        )
        self.control = peers.control = control = Control(
            store_id=self.id,
            address=address_of(self.name),
            host=hosts[0],
            others=hosts[1:],
            clock=process,
            links=peering,
            addresses=book,
            summer=disk.summer(process),
            **self.scheduled(process),
        )
        control.stays = lambda store: True
        control.adopt = adopt
        for host in list(hosts):
            host.start()
        self.control.start()
        front.start()

        def accept(address: str) -> IProtocol:
            if peering.knows(address):
                return peering.accept(address)
            return front.session(tls=False) if control.problem is None else Closed()

        world.streams.listen(self.name, process, accept)
        self.begun(process, book)

    def scheduled(self, process: Process) -> dict[str, Any]:
        """Give how its control is told what it belongs to: here, nobody removes it for good."""
        return {"lingers": lambda: None, "removed": lambda: None}

    def begun(self, process: Process, book: AddressBook) -> None:
        """Learn that all is put together."""

    def send_in(self, region: int, group: Group, message: Message) -> None:
        """Send a message of a region's peer; another peer of it, later, has a vote of its own."""
        checker, name = self.world.checkers[region], f"peer {group.peer} of {self.name}"
        if message.kind in (VOTE_REPLY, APPEND_REPLY):
            self.world.promised[self.name, region] = group.peer
        if message.kind == VOTE:
            checker.votes(name, message.term, group.peer)
        elif message.kind == VOTE_REPLY and not message.reject:
            checker.votes(name, message.term, message.to)
        self.peers.of(region).send(message)

    def _look_at_files(self) -> None:
        """Before a start: what a peer has promised is there, or a tombstone of it."""
        log, rows = self.disk.log.visible, self.disk.data.visible
        for region in self.world.regions:
            peer = self.world.promised.get((self.name, region), 0)
            if log.hard_state(region) is None and decode_tombstone(rows.get("region", tombstone_key(region))) < peer:
                self.world.checker.problem(f"{self.name} has forgotten what peer {peer} of region {region} promised")

    def believed(self, recovered: Recovered) -> Recovered:
        """Give what a start makes of what it found of a region."""
        return recovered

    def folder_found(self) -> RecoverableStore:
        """Give the folder as a start finds it."""
        return self.disk

    def begin_peer(self, cut: CutOff, log: DiskLog, writer: ILogWriter) -> tuple[Adopted, Storage]:
        """Let the peer begin, or go on, of a part that was cut off."""
        return begin_peer(cut, log, writer, self.id)

    def _execution(self, first: Descriptor, rows: RowStore, start_id: int, random: Random) -> Execution:
        budget = self._budget // REGIONS
        keyspace = self.keyspace_type(rows, VALUE_TYPES, budget=budget, region=first.region, slots=first.slots)
        return Execution(
            keyspace, TABLE, start_id=start_id, random=Random(random.getrandbits(64)), defect=self._defect
        )


class _Checkers(dict[int, ReplicationChecker]):
    """A checker for each region; what one finds is a problem of the world."""

    def __init__(self, first: ReplicationChecker, now: Callable[[], int], firsts: Iterable[int]) -> None:
        super().__init__()
        self._first = first
        self._now = now
        for region in firsts:
            self[region] = first if region == 1 else self._made(0)

    def _made(self, applied: int) -> ReplicationChecker:
        checker = ReplicationChecker(self._now)
        checker.problems = self._first.problems
        checker.applied_to = applied
        return checker

    def __missing__(self, region: int) -> ReplicationChecker:
        """Make one for a region that was cut off another."""
        checker = self[region] = self._made(FIRST_INDEX)
        return checker


class RegionWorld(World):
    """
    The stores.

    @ivar focus: The region that faults are about.
    @ivar firsts: The regions as they begin, by id.
    """

    store_type = RegionStore

    def __init__(
        self, seed: int, variant: Variant, *, size: int | None = None, regions: int = REGIONS, moves: bool = False
    ) -> None:
        self.focus = 1
        self._count = regions
        self._by_id: dict[int, Descriptor] = {}
        self._checkers: dict[int, ReplicationChecker] = {}
        self._led_in: dict[tuple[str, int], tuple[tuple[int, int], int]] = {}
        self._committed_in: dict[int, int] = {}
        self._times_in: dict[int, tuple[int, int]] = {}
        #: By region, the members as all first applications of changes made them, the latest last.
        self._descriptors_in: dict[int, list[Descriptor]] = {}
        #: The last peer of each region that was destroyed on each store.
        self._destroyed: dict[tuple[str, int], int] = {}
        self.burials = 0
        #: The last peer of each region that has answered something, by store.
        self.promised: dict[tuple[str, int], int] = {}
        #: The regions that were taken in by others, with the versions in which they ended.
        self.taken_in: dict[int, int] = {}
        #: The slots of each region in each version, by what was decided.
        self._ranges: dict[tuple[int, int], tuple[int, int]] = {}
        super().__init__(seed, variant, size=size)
        if moves:
            number = max(self.stores) + 1
            self.stores[number] = store = self.store_type(self, number)
            store.start()

    def descriptor_of(self, region: int) -> Descriptor:
        """Give a region as of the latest change that anyone has applied."""
        return self._descriptors_in[region][-1]

    def destroyed(self, part: Part, peer: int) -> None:
        """Note that nothing is left of a peer."""
        name, region = part.store.name, part.region
        self.burials += 1
        self._destroyed[name, region] = peer
        if part.store.disk.log.durable.hard_state(region) is not None:
            self.checker.problem(f"{name} has destroyed peer {peer} of region {region}, and has its promises")
        if peer in self.descriptor_of(region).stores:
            self.checker.problem(f"{name} has destroyed peer {peer} of region {region}, which is a member")
        left = part.left_rows()
        if left:
            self.checker.problem(f"{name} has destroyed peer {peer} of region {region}, and has its rows {left[:3]}")

    @property
    def firsts(self) -> dict[int, Descriptor]:
        """Give the regions as they begin."""
        if not self._by_id:
            stores = list(self.initial.stores.values())
            self._by_id = {one.region: one for one in Descriptor.initial_regions(self._count, stores)}
            self._descriptors_in = {region: [first] for region, first in self._by_id.items()}
            self._ranges = {(one.region, one.version): one.slots for one in self._by_id.values()}
        return self._by_id

    @property
    def checkers(self) -> dict[int, ReplicationChecker]:
        """Give a checker for each region; what one finds is a problem of the world."""
        if not self._checkers:
            self._checkers = _Checkers(self.checker, lambda: self.events.now, self.firsts)
        return self._checkers

    def parts_of(self, region: int) -> list[tuple[RegionStore, Part]]:
        """Give a region's parts, each with its store."""
        return [
            (store, store.parts[region])
            for store in self.stores.values()
            if isinstance(store, RegionStore) and region in store.parts
        ]

    @property
    def regions(self) -> list[int]:
        """Name the regions that are anywhere, in the order in which they came to be known."""
        return list(dict.fromkeys([region for store in self.stores.values() for region in store.parts]))

    def ranges_in(self, name: str, hosts: Sequence[RegionHost]) -> None:
        """
        Of a store's regions that have something applied: each has the slots that it has in that version by what was
        decided, and no slot lies in two of them.
        """
        before: RegionHost | None = None
        for host in hosts:
            about = host.descriptor
            if host.vacant or not host.applied:
                continue
            if self._ranges.get((about.region, about.version)) != about.slots:
                known = f"region {about.region} with slots {about.slots} in version {about.version}"
                self.checker.problem(f"{name} has {known}, which nobody has decided")
            if before is not None and before.descriptor.slots[1] > about.slots[0]:
                self.checker.problem(f"{name} has slots both in region {before.descriptor.region} and {about.region}")
            before = host

    def _divides(self, region: int, data: bytes) -> None:
        """Of an entry that splits a region, and is applied for the first time: what is cut off, and what is left."""
        (operation,) = decode_records(data, HEADER_BYTES, TABLE)
        descriptor, split = self.descriptor_of(region), Split.decode(operation[5])
        if why_not(descriptor, split) is not None:
            return
        now, parts = parts_of(descriptor, split)
        self._descriptors_in[region].append(now)
        for part in parts:
            if part.region in self._descriptors_in:
                self.checker.problem(f"region {part.region} is cut off region {region}, and was there before")
            self._descriptors_in[part.region] = [part]
        for one in (now, *parts):
            self._ranges[one.region, one.version] = one.slots
        self._look_at_cover()

    def _look_at_cover(self) -> None:
        """By what was decided each key lies in exactly one region."""
        there = [found[-1] for region, found in self._descriptors_in.items() if region not in self.taken_in]
        there.sort(key=lambda one: one.start)
        borders = [(before.end, after.start) for before, after in zip(there, there[1:], strict=False)]
        if there[0].start or there[-1].end or any(not end or end != start for end, start in borders):
            ranges = [(one.region, one.version, one.slots) for one in there]
            self.checker.problem(f"not every slot lies in exactly one region: {ranges}")

    def decided_in(self, region: int, name: str, entry: Entry) -> None:
        """Of an entry that is applied for the first time: it lies on the disks of a majority."""
        descriptors = self._descriptors_in[region]
        found: list[tuple[int, int]] = []
        # As of the entry before, or of the change before that, which may have been decided at the same time.
        for descriptor in descriptors[-2:]:
            quorums = quorums_of(descriptor.membership)
            found += [self._holders_in(region, descriptor, voters, entry) for voters in quorums]
        current = len(quorums_of(descriptors[-1].membership))
        if not (all_majorities(found[-current:]) or all_majorities(found[:-current] or [(0, 1)])):
            self.checkers[region].decided(name, entry.index, *found[-1])
        if entry.kind == CHANGE:
            described = descriptors[-1].after(decode_change(entry.data))
            if described != descriptors[-1]:
                descriptors.append(described)
        elif splits(entry.data):
            self._divides(region, entry.data)

    def _holders_in(self, region: int, descriptor: Descriptor, voters: Sequence[int], entry: Entry) -> tuple[int, int]:
        logs = [self.stores[descriptor.stores[voter]].disk.log.durable for voter in voters]
        holders = sum(log.term(region, entry.index) == entry.term or log.base(region)[0] > entry.index for log in logs)
        return holders, len(voters)

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
        """After each event: nobody leads or leases beside another, in no region, nor keys that are another one's."""
        for region in self.regions:
            checker = self.checkers[region]
            holders: list[str] = []
            for store, part in self.parts_of(region):
                if 0 < part.group.peer <= self._destroyed.get((store.name, region), 0):
                    self.checker.problem(f"{store.name} has peer {part.group.peer} of region {region} again")
                if store.process.is_dead or not part.group.leads:
                    continue
                self._look_at_part(region, store, part)
                if part.replica.lease_end > store.clock.elapsed() / SECOND:
                    holders.append(store.name)
                    if part.host.ready and part.host.version < self.descriptor_of(region).version:
                        self.checker.problem(f"{store.name} holds a lease on region {region} as it was before a split")
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
        everywhere = [region for region in self.regions if len(self.parts_of(region)) == len(self.stores)]
        self.focus = self.random.choice(everywhere)
        return super().leader()

    def converged(self) -> bool:
        """Say whether all have applied the same of all regions, and nothing is under way."""
        for region in self.regions:
            parts = self.parts_of(region)
            if len(parts) < len(self.stores) or not all(store.runs for store, _ in parts):
                return False
            stores = self.descriptor_of(region).stores.values()
            if any(part.group.peer for store, part in parts if store.id not in stores):
                return False
            if any(part.host.descriptor.slots != self.descriptor_of(region).slots for _, part in parts):
                return False
            parts = [(store, part) for store, part in parts if store.id in stores]
            applied = {part.host.applied for _, part in parts}
            if len(applied) != 1 or applied != {part.group.last for _, part in parts}:
                return False
        return True

    def compare_at_end(self) -> None:
        """Compare what all stores have in the end."""
        for region in self.regions:
            checker = self.checkers[region]
            stores = self.descriptor_of(region).stores.values()
            parts = [(store, part) for store, part in self.parts_of(region) if store.id in stores]
            for store, part in parts:
                checker.rows(store.name, part.host.applied, part.digest_rows())
            checker.converged({store.name: part.host.applied for store, part in parts})


class RegionCluster(Cluster):
    """The scenario."""

    name = "regions"
    faults: Sequence[str] = tuple(kind for kind in Cluster.faults if kind not in cluster_changes.KINDS)
    world_type: type[RegionWorld] = RegionWorld

    def __init__(
        self,
        *,
        size: int | None = None,
        regions: int = REGIONS,
        pipeliners: int | None = None,
        limits: Limits = LIMITS,
    ) -> None:
        super().__init__(size=size, mix=replace(MIX, tagged=True), pipeliners=pipeliners, limits=limits)
        self._regions = regions

    def _world(self, seed: int) -> World:
        return self.world_type(seed, self._variant(), size=self._size, regions=self._regions)


class MovingCluster(RegionCluster):
    """The same, with replicas that come and go."""

    name = "moves"
    faults: Sequence[str] = (*RegionCluster.faults, *region_moves.KINDS)

    def _world(self, seed: int) -> World:
        return self.world_type(seed, self._variant(), size=self._size or 3, regions=self._regions, moves=True)

    def _changes(self, world: World, end: int) -> dict[str, Callable[[str], bool]]:
        assert isinstance(world, RegionWorld)
        return region_moves.Moves(world, end).actions

    def _figures(self, world: World) -> dict[str, int]:
        assert isinstance(world, RegionWorld)
        return {"replicas destroyed": world.burials}
