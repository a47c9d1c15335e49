"""
Three or five whole stores in a simulated world: each with its disk, clock, region host, Raft peer and front, and
clients that go from store to store. While everything that can happen to machines and the network between them does
happen, the logs are compared as they're written, the rows as entries are applied, and at the end the clients' history
is checked.

Broken on purpose (L{tests.testing.cluster_mutants}) it shows that the checks see what they should.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from tests.testing import cluster_changes, cluster_steps
from tests.testing.cluster_changes import Changes, StandIns
from tests.testing.cluster_steps import Steps
from tests.testing.one_store import DOWN_US, Durations, Labour, end_stacks
from tinykv.config import StoreConfig
from tinykv.errors import Damaged
from tinykv.interfaces import ILogWriter
from tinykv.peering.address_book import AddressBook
from tinykv.peering.settings import PeerLimits
from tinykv.raft.config import RaftConfig
from tinykv.raft.group import Group, Ready
from tinykv.raft.log import Compacted
from tinykv.raft.membership import Membership
from tinykv.raft.messages import CHANGE, VOTE, VOTE_REPLY, Entry, Message, SnapshotMeta
from tinykv.raft.refusals import Refused
from tinykv.raft.stored import entry_of, stored_data
from tinykv.raft.wire import decode_change
from tinykv.redis.commands import VALUE_TYPES
from tinykv.redis.execution import Execution
from tinykv.redis.keyspace import Keyspace
from tinykv.redis.spec import CommandSpec
from tinykv.region.descriptor import Descriptor
from tinykv.region.entry import decode_header
from tinykv.region.state import FIRST_INDEX, ApplyState, apply_key
from tinykv.server.commands import CONNECTION_MODULES
from tinykv.server.front import Front
from tinykv.storage.folder_ids import FolderIds
from tinykv.storage.log import APPEND, FORGET, RESET, HardState
from tinykv.storage.rowstore import RowStore
from tinykv.storage.writers import DataWriter, LogBatch
from tinykv.store.composition import join_stores, replica_of
from tinykv.store.control import Control
from tinykv.store.forwarding import Forwarder
from tinykv.store.host import RegionHost
from tinykv.store.peers import Peers
from tinykv.store.recovery import recover
from tinykv.store.regions import Regions
from tinykv.store.replica import Replica
from tinykv.store.runs import new_start_id
from tinykv.testing.embedded import TABLE
from tinykv.testing.redis_model import RedisModel
from tinykv.testing.redis_space import Failed
from tinykv.testing.simulation import faults
from tinykv.testing.simulation.census import Census
from tinykv.testing.simulation.clock import NodeClock, Process
from tinykv.testing.simulation.disk import Disk
from tinykv.testing.simulation.endpoints import address_of, dialling, real_peering
from tinykv.testing.simulation.events import MILLISECOND, SECOND, Events
from tinykv.testing.simulation.faults import Limits, Nemesis, draw, schedule_text
from tinykv.testing.simulation.files import DataRows
from tinykv.testing.simulation.folder import RealFolder
from tinykv.testing.simulation.network import GOOD, Network, Quality
from tinykv.testing.simulation.optimists import Optimist
from tinykv.testing.simulation.peering import SimulatedPeering
from tinykv.testing.simulation.pipelines import Pipeliner
from tinykv.testing.simulation.ports import RespPort
from tinykv.testing.simulation.replication import ReplicationChecker
from tinykv.testing.simulation.scenario import Report, Settings, judge
from tinykv.testing.simulation.straddlers import Straddler
from tinykv.testing.simulation.streams import Streams
from tinykv.testing.simulation.workload import Done, Mix, Port, Request, Workload

REGION: Final = 1
RAFT: Final = RaftConfig()
#: Sizes from which each run takes one: with small ones entries travel one by one.
APPEND_BYTES: Final = (1, 300, RAFT.max_append_bytes)
INFLIGHT: Final = (1, RAFT.max_inflight_messages)
APPLY_BYTES: Final = (1, RAFT.max_apply_bytes)
#: How many entries a store keeps for others at most: with few whoever was away needs a snapshot.
LOG_ENTRIES: Final = (2, 10, 30, 1_000_000)
#: How fast snapshots travel, in bytes a second: slowly they meet more faults on their way.
SNAPSHOT_RATES: Final = (4_000, 20_000, 1 << 26)
#: How many stores may be added in a run: a store that was removed doesn't come back.
SPARES: Final = 2
#: Kinds of faults beside those that the nemesis knows.
TRANSFER: Final = "transfer"
BLIND_TRANSFER: Final = "blind-transfer"
BOUNCE: Final = "bounce"
DEAF: Final = "deaf"
CRASH_LOOP: Final = "crash-loop"
STRAND: Final = "strand"
BLACKOUT: Final = "blackout"
STORM: Final = "storm"
BREAK_LINK: Final = "break-link"
STOP_ALL: Final = "stop-all"

LIMITS: Final = Limits(
    interval_us=6 * SECOND,
    # Longer than a lease, and long enough for others to be elected meanwhile.
    duration_us=(50 * MILLISECOND, 4 * SECOND),
    # Two clocks that are off in opposite directions take a lease to be of lengths that differ by less than the bound.
    clock_rate=0.02,
)
#: How far clock readings may be off: the faults of clocks, the lag of region time, and whole milliseconds.
SLACK_US: Final = LIMITS.clock_error_us + int(LIMITS.clock_rate * LIMITS.duration_us[1]) + 15 * MILLISECOND
#: A network on which what was sent may arrive seconds later, in any order, and twice.
STORMY: Final = Quality(
    latency_us=500, jitter_us=20_000, loss=0.1, duplication=0.1, straying=0.1, straying_us=SECOND, fifo=False
)
MIX: Final = Mix(pause_us=SECOND // 10)
#: Rows are compared whenever so many entries were applied.
ROWS_EVERY: Final = 8
#: After this time without faults all clients are answered, and all stores have applied the same.
WHOLE_SECONDS: Final = 30

#: After how many seconds a store tells a client that nobody answers: sooner than clients lose their patience.
REQUEST_TIMEOUT: Final = 2.0


class Variant:
    """The stores as they are. What is derived from this breaks them somewhere."""

    host = RegionHost
    execution = Execution
    keyspace = Keyspace
    forwarder = Forwarder
    append_bytes = 0
    log_entries = 0

    def table(self, random: Random) -> Mapping[str, CommandSpec]:
        """Give the commands of a run of a store."""
        return TABLE

    def copied(self, store: Store, rows: DataRows) -> DataRows:
        """Give what goes into a snapshot."""
        return rows

    def writer(self, writer: ILogWriter, store: Store) -> ILogWriter:
        """Give the log writer that a store uses."""
        return writer

    def folder(self, disk: Disk) -> Any:
        """Give what a store recovers from."""
        return disk

    def disk(self, disk: Disk) -> None:
        """Spoil a disk."""

    def group(self, group: Group) -> None:
        """Spoil a peer."""

    def replica(self, replica: WatchedReplica) -> None:
        """Spoil what has written down what a peer says."""

    def control(self, control: Control) -> None:
        """Spoil what looks after the members."""

    def quiet_until(self, now: float) -> float:
        """Say until when a store neither votes nor campaigns that starts now."""
        return now + RAFT.silence

    def lease_end(self, replica: Replica, end: float) -> float:
        """Give the end of a lease."""
        return end

    def port(self, port: Port) -> Port:
        """Give the port that a client uses."""
        return port


# What is looked at


class WatchedGroup(Group):
    """Tells what it hands out to be applied."""

    __slots__ = ("_store",)

    def watch(self, store: Store) -> None:
        """Begin to tell."""
        self._store = store

    def ready(self, tell: int | None = None) -> Ready | None:
        """Hand out what is to be done."""
        ready = super().ready(tell)
        if ready is not None:
            for entry in ready.committed:
                self._store.applies(entry)
        return ready


class WatchedReplica(Replica):
    """Tells when entries have been applied."""

    watcher: Store
    _end = 0.0

    @property
    def lease_end(self) -> float:
        """Tell until when reads may be answered alone."""
        return self.watcher.world.variant.lease_end(self, self._end)

    @lease_end.setter
    def lease_end(self, end: float) -> None:
        self._end = end

    def _install(self, ready: Ready, snapshot: SnapshotMeta) -> None:
        self.watcher.world.installs(self.watcher)
        super()._install(ready, snapshot)

    def applied_to(self, index: int) -> None:
        """Learn up to where entries have been applied."""
        super().applied_to(index)
        if index % ROWS_EVERY == 0:
            self.watcher.compare_rows(index)


@implementer(ILogWriter)
class WatchedWriter:
    """Tells what is written, for each region."""

    def __init__(self, writer: ILogWriter, store: Store) -> None:
        self._writer = writer
        self._store = store
        self.failed = writer.failed
        self.close = writer.close
        #: By region, the term of each entry as of all writes so far, also of those that were cut off.
        self._terms: dict[int, dict[int, int]] = {}

    def _of(self, region: int) -> dict[int, int]:
        """Give a region's, from what the disk has of it when it's written for the first time."""
        terms = self._terms.get(region)
        if terms is None:
            disk = self._store.disk
            base, term = disk.log.visible.base(region)
            terms = self._terms[region] = {base: term}
            terms.update((entry.index, entry.term) for entry in disk.entries(region, base))
        return terms

    def write(self, batch: LogBatch, done: Callable[[], None]) -> None:
        """Write."""
        world = self._store.world
        for operation in batch.operations:
            terms = self._of(operation[1])
            if operation[0] == APPEND:
                _, region, first, entries = operation
                before = terms[first - 1] if first > 1 else 0
                world.checkers[region].writes(self._store.name, before, first, entries)
                terms.update((index, entry[0]) for index, entry in enumerate(entries, first))
            elif operation[0] == RESET:
                # A part that was cut off another region begins without a snapshot.
                world.installed += operation[2] > FIRST_INDEX
                terms[operation[2]] = operation[3]
            elif operation[0] == FORGET:
                terms.clear()
        self._writer.write(batch, done)


def _no_snapshot() -> SnapshotMeta | None:
    """There's none."""
    return None


class DiskLog:
    """
    A disk's log, for the group.

    @ivar newest: Gives the newest snapshot that can be sent, or has one made.
    """

    def __init__(self, disk: Disk, region: int = REGION) -> None:
        self._disk = disk
        self._region = region
        self.newest: Callable[[], SnapshotMeta | None] = _no_snapshot

    def last(self) -> tuple[int, int]:
        """Give index and term of the last entry."""
        return self._disk.log.visible.last(self._region)

    def term(self, index: int) -> int:
        """Give an entry's term."""
        term = self._disk.log.visible.term(self._region, index)
        if term is None:
            raise Compacted(index)
        return term

    def entries(self, low: int, high: int, max_bytes: int) -> Sequence[Entry]:
        """Give entries from low to before high: one, and as many more as fit."""
        if low <= self.base():
            raise Compacted(low)
        found: list[Entry] = []
        size = 0
        for entry in self._disk.log.visible.entries(self._region, low - 1):
            size += len(entry.data)
            if entry.index >= high or (found and size > max_bytes):
                break
            found.append(entry_of(entry.index, entry.term, entry.data))
        return found

    def hard_state(self) -> HardState | None:
        """Give what the region's peer has promised."""
        return self._disk.log.visible.hard_state(self._region)

    def snapshot(self) -> SnapshotMeta | None:
        """Give the newest snapshot that can be sent."""
        return self.newest()

    def base(self) -> int:
        """Give the index before the first entry."""
        return self._disk.log.visible.base(self._region)[0]


class Closed(Protocol):
    """A connection to a port that nobody listens on any more."""

    def connectionMade(self) -> None:
        """End it."""
        assert self.transport is not None, "it's connected"
        self.transport.loseConnection()


# A store


class Store:
    """
    A store and its machine.

    @ivar id: Its number.
    @ivar starts: How often it was started.
    @ivar removed: Whether it has learned that it isn't a member any more, and that nobody needs it; then it doesn't
        start again.
    """

    def __init__(self, world: World, store_id: int) -> None:
        self.world = world
        self.id = store_id
        self.name = f"store{store_id}"
        events = world.events
        self.clock = NodeClock(events)
        self.folder = RealFolder(world.folder / self.name)
        self.disk = Disk(events, self.name, folder=self.folder)
        world.variant.disk(self.disk)
        self.starts = 0
        self.removed = False
        random = events.random(f"shape of {self.name}")
        # Each is of another shape: much or little in memory, tables flushed often or seldom.
        self._memtable_bytes = random.choice((1_000, 10_000, 1 << 20))
        self._budget = random.choice((1 << 12, 1 << 15, 1 << 30))
        entries = random.choice(LOG_ENTRIES)
        self._log_entries = world.variant.log_entries or entries
        self.process = Process(events, self.clock, self.name)
        self.process.kill()

    @property
    def runs(self) -> bool:
        """Whether it's alive, though it may stand still."""
        return not self.process.is_dead

    @property
    def knows_durably(self) -> int:
        """Up to where its disk says what is decided: by the hint in the log file, or by what was flushed."""
        state = self.disk.log.durable.hard_state(REGION)
        row = self.disk.data.durable.get("region", apply_key(REGION))
        flushed = 0 if row is None else ApplyState.decode(row).index
        return max(flushed, 0 if state is None else state.commit_hint)

    def start(self) -> None:
        """Start it."""
        world, disk = self.world, self.disk
        variant = world.variant
        process = self.process = Process(world.events, self.clock, self.name)
        self.starts += 1
        random = world.events.random(f"{self.name} {self.starts}")
        rows = RowStore(disk.reader(), frozen_tables_max=2)
        keyspace = variant.keyspace(rows, VALUE_TYPES, budget=self._budget)
        table = variant.table(random)
        execution = variant.execution(
            keyspace,
            table,
            start_id=new_start_id(self.id, random),
            random=Random(random.getrandbits(64)),
            defect=self._defect,
        )
        recovered = recover(variant.folder(disk), execution, world.initial, self.id)
        applied = recovered.applied
        if recovered.peer is None:
            self.removed = True
            process.kill()
            return
        for entry in disk.entries(REGION, disk.log.visible.base(REGION)[0]):
            if entry.index <= applied.index:
                self.applies(entry_of(entry.index, entry.term, entry.data))
        log_writer, data_writer = disk.start_writers(process)
        watched = WatchedWriter(variant.writer(log_writer, self), self)
        self.log = DiskLog(disk)
        durations = Durations()
        replica = replica_of(
            recovered,
            raft=world.raft,
            log=self.log,
            log_writer=watched,
            send=self._send,
            clock=process,
            uptime=process.seconds,
            random=random,
            durations=durations,
            group_type=WatchedGroup,
            replica_type=WatchedReplica,
            quiet_until=variant.quiet_until(process.seconds()),
        )
        assert isinstance(replica, WatchedReplica) and isinstance(replica.group, WatchedGroup)
        self.replica, self.group = replica, replica.group
        self.replica.watcher = self
        self.group.watch(self)
        variant.group(self.group)
        variant.replica(self.replica)
        book = AddressBook(dialling(world.streams, process), world.known)
        self.peering = peering = self._link(process, execution.start_id, book, random)
        self.peers = peers = Peers(peering, process)
        peering.handle(peers)
        self.regions = regions = self._share(process, rows, watched, data_writer, durations, random)
        self.host = host = variant.host(
            regions,
            replica=self.replica,
            descriptor=recovered.descriptor,
            execution=execution,
            now_ms=self.clock.calendar_ms,
            uptime=process.seconds,
            random=Random(random.getrandbits(64)),
            applied=applied,
            request_timeout=REQUEST_TIMEOUT,
            log_entries_max=self._log_entries,
        )
        world.hosts.append(host)
        self.front = front = Front(
            host,
            table,
            CONNECTION_MODULES,
            config=StoreConfig(),
            clock=process,
            now=lambda: self.clock.calendar_ms() / 1000,
            shutdown=lambda: None,
        )
        join_stores(
            host,
            peers=peers,
            links=peering,
            store_id=self.id,
            table=table,
            maker=disk.snapshot_maker(process, lambda rows: variant.copied(self, rows)),
            log=self.log,
            clock=process,
            request_timeout=REQUEST_TIMEOUT,
            answered=lambda: front.flush(),
            forwarder_type=variant.forwarder,
        )
        self.control = peers.control = Control(
            store_id=self.id,
            address=address_of(self.name),
            host=host,
            clock=process,
            links=peering,
            addresses=book,
            summer=disk.summer(process),
            lingers=lambda: self._serve_stores_only(process),
            removed=lambda: self._retire(process),
        )
        variant.control(self.control)
        host.start()
        self.control.start()
        front.start()

        def accept(address: str) -> IProtocol:
            if peering.knows(address):
                return peering.accept(address)
            return front.session(tls=False) if self.control.problem is None else Closed()

        world.streams.listen(self.name, process, accept)

    def _link(self, process: Process, start_id: int, book: AddressBook, random: Random) -> SimulatedPeering:
        """Make the links to the others."""
        world = self.world
        return SimulatedPeering(
            store_id=self.id,
            process=process,
            network=world.network,
            streams=world.streams,
            addresses=world.addresses,
            random=Random(random.getrandbits(64)),
            snapshots=real_peering(
                store_id=self.id,
                start_id=start_id,
                process=process,
                streams=world.streams,
                addresses=book,
                folder_ids=FolderIds(self.folder.path),
                files=self.disk.snapshot_folder(process),
                limits=world.limits,
                random=Random(random.getrandbits(64)),
            ),
        )

    def _share(
        self,
        process: Process,
        rows: RowStore,
        log_writer: ILogWriter,
        data_writer: DataWriter,
        durations: Durations,
        random: Random,
    ) -> Regions:
        """Make what regions share; the front comes later."""
        return Regions(
            rows=rows,
            log_writer=log_writer,
            data_writer=data_writer,
            installer=data_writer,
            reader=self.disk.start_reader(process, rows),
            clock=process,
            now=Labour(random),
            now_ms=self.clock.calendar_ms,
            flushed=lambda: None,
            answered=lambda: self.front.flush(),
            stopped=lambda problem: self._stopped(process, problem),
            durations=durations,
            memtable_bytes=self._memtable_bytes,
            durability_os=False,
            request_timeout=REQUEST_TIMEOUT,
            turn=self.peering.turn,
        )

    def _send(self, message: Message) -> None:
        self.send_in(REGION, self.group, message)

    def send_in(self, region: int, group: Group, message: Message) -> None:
        """Send a message of a region's peer."""
        checker = self.world.checkers[region]
        if message.kind == VOTE:
            checker.votes(self.name, message.term, group.peer)
        elif message.kind == VOTE_REPLY and not message.reject:
            checker.votes(self.name, message.term, message.to)
        self.peers.of(region).send(message)

    def _defect(self, name: str, problem: BaseException) -> None:
        self.world.checker.problem(f"The command {name} failed unexpectedly at {self.name}: {problem!r}")

    def _stopped(self, process: Process, problem: BaseException) -> None:
        """The store ends by itself, and is started anew a little later, as by systemd."""
        # A store that was paused meanwhile learns of a failure when the disk is well again.
        if not self.disk.failed:
            self.world.checker.problem(f"{self.name} stopped without a reason: {problem!r}")
        # In the next turn: it's in the middle of something.
        process.soon("ends", self._end, process)

    def _end(self, process: Process) -> None:
        if process is self.process and self.world.kill(self.name):
            self.world.events.after(DOWN_US, f"{self.name} is started by its machine", self.world.restart, self.name)

    def _serve_stores_only(self, process: Process) -> None:
        """It isn't a member any more, and lingers for the others."""
        self.world.lingered += 1
        front = self.front
        front.quiesce()
        process.callLater(REQUEST_TIMEOUT, lambda: [session.end() for session in list(front.sessions.values())])

    def _retire(self, process: Process) -> None:
        """It isn't a member any more, and ends for good, since the others know it."""
        if process is self.process:
            self.world.left(self)
            self.removed = True
            self.world.kill(self.name)

    # For the checker

    def applies(self, entry: Entry) -> None:
        """Note an entry that is about to be applied."""
        if self.applies_in(REGION, entry):
            self.world.decided(self.name, entry)
            self.world.times(entry)

    def applies_in(self, region: int, entry: Entry) -> bool:
        """Note that a region is about to apply an entry; say if nobody has before."""
        checker = self.world.checkers[region]
        index, term = entry.index, entry.term
        first = checker.applies(self.name, index, term, stored_data(entry))
        if self.disk.log.durable.term(region, index) != term:
            checker.problem(f"{self.name} applies entry {index} of term {term}, which isn't on its disk")
        return first

    def compare_rows(self, index: int) -> None:
        """Sum up the rows, and tell."""
        self.world.checker.rows(self.name, index, self.digest_rows())

    def digest_rows(self) -> bytes:
        """
        Sum up the rows, but for the apply state, which says what was flushed, and with the descriptor as it's known: it
        becomes a row with the first flush.
        """
        rows = self.host.rows
        pausing, rows.pausing = rows.pausing, lambda: None
        found = blake2b(digest_size=16)
        for family in ("data", "region"):
            for key, row in rows.scan(family, b"", b"\xff" * 16):
                if not (family == "region" and key.startswith((b"apply", b"descriptor"))):
                    value = row if isinstance(row, bytes) else row.encode()
                    found.update(b"%d %d " % (len(key), len(value)) + key + value)
        rows.pausing = pausing
        found.update(self.host.descriptor.encode())
        return found.digest()


class World(faults.Target):
    """
    The stores and what they live in.

    @ivar store_type: What a store is.
    """

    store_type = Store

    def __init__(self, seed: int, variant: Variant, *, size: int | None = None) -> None:
        self.events = Events(seed)
        self._temporary = TemporaryDirectory(prefix="tinykv-simulation-")
        self.folder = Path(self._temporary.name)
        self.variant = variant
        self.random = self.events.random("world")
        choose = self.random.choice
        self.checker = ReplicationChecker(lambda: self.events.now)
        self.quality = Quality(
            loss=choose((0.0, 0.02)),
            jitter_us=choose((50, 2_000)),
            duplication=choose((0.0, 0.02)),
            straying=choose((0.0, 0.02)),
            fifo=choose((True, False)),
        )
        self.raft = replace(
            RAFT,
            max_append_bytes=variant.append_bytes or choose(APPEND_BYTES),
            max_inflight_messages=choose(INFLIGHT),
            max_apply_bytes=choose(APPLY_BYTES),
        )
        self.network = Network(self.events, self.quality)
        self.streams = Streams(self.events, self.network)
        self._storms = 0
        self._deaf_until = 0
        #: The greatest commit index that anyone has known.
        self._committed = 0
        #: Of each store that leads: which run and term, and what was committed when it was looked at last.
        self._led: dict[str, tuple[tuple[int, int], int]] = {}
        self._times: tuple[int, int] = (0, 0)
        count = size if size is not None else choose((3, 3, 5))
        self.limits = PeerLimits(snapshot_rate=choose(SNAPSHOT_RATES), snapshot_stall=5.0, snapshot_give_up=10.0)
        self.installed = 0
        #: Called when a store begins to install a snapshot.
        self.installs: Callable[[Store], None] = lambda store: None
        #: How often a store ended right at a step of what it makes durable.
        self.ended_at_steps = 0
        #: How often a run of a store lingered after its removal.
        self.lingered = 0
        #: Of all runs of all stores.
        self.hosts: list[RegionHost] = []
        #: Of all stores that may ever be, and those that every store knows from the beginning.
        self.addresses = {number: f"store{number}" for number in range(1, count + SPARES + 1)}
        self.known = {number: address_of(self.addresses[number]) for number in range(1, count + 1)}
        self.initial = Descriptor.initial(REGION, list(self.known))
        #: The members as all first applications of changes made them, the latest last, with where they are.
        self.descriptors = [self.initial]
        #: The entries that made them so.
        self._changed_at = [0]
        self.stores: dict[int, Store] = {}
        for number in self.known:
            self.stores[number] = self.store_type(self, number)
        for store in self.stores.values():
            store.start()

    @property
    def checkers(self) -> dict[int, ReplicationChecker]:
        """Give a checker for each region."""
        return {REGION: self.checker}

    @property
    def actions(self) -> dict[str, Callable[[str], bool]]:
        """Give faults that only this world has, by name."""
        return {}

    def close(self) -> None:
        """Leave nothing."""
        for store in self.stores.values():
            self.kill(store.name)
        end_stacks(self.hosts)
        self._temporary.cleanup()

    # Members

    @property
    def descriptor(self) -> Descriptor:
        """Give the region as of the latest change that anyone has applied."""
        return self.descriptors[-1]

    @property
    def members(self) -> list[Store]:
        """Give the stores that belong to the cluster now."""
        return [self.stores[store] for store in self.descriptor.stores.values()]

    @property
    def lingering(self) -> list[Store]:
        """Give the stores that were removed, know it, and are there for the others' sake."""
        return [store for store in self.stores.values() if store.runs and store.control.problem is not None]

    def spare(self) -> Store | None:
        """Start a store that waits to be added, unless there are as many as may be."""
        waiting = [store for store in self.stores.values() if not store.removed and store.runs and not store.group.peer]
        if waiting:
            return waiting[0]
        number = len(self.stores) + 1
        if number not in self.addresses:
            return None
        store = self.stores[number] = self.store_type(self, number)
        store.start()
        return store

    def decided(self, name: str, entry: Entry) -> None:
        """
        Of an entry that is applied for the first time: it lies on the disks of a majority.

        Of the members as of the entry before, or as of the change before that: the leader that counted needn't have
        applied the last change, which may have been decided at the same time.
        """
        found: list[tuple[int, int]] = []
        for descriptor in self.descriptors[-2:]:
            membership = descriptor.membership
            found += [self._holders(descriptor, voters, entry) for voters in quorums_of(membership)]
        current = len(quorums_of(self.descriptors[-1].membership))
        if not (all_majorities(found[-current:]) or all_majorities(found[:-current] or [(0, 1)])):
            self.checker.decided(name, entry.index, *found[-1])
        if entry.kind == CHANGE:
            described = self.descriptor.after(decode_change(entry.data))
            if described != self.descriptor:
                self.descriptors.append(described)
                self._changed_at.append(entry.index)

    def left(self, store: Store) -> None:
        """
        Of a store that was removed and ends: the majority of a configuration without it knows of that on its disks.

        Of the log up to where it's known there to be decided, all is applied at the next start.
        """
        without = [descriptor for descriptor in self.descriptors if store.id in descriptor.removed]
        index = self._changed_at[self.descriptors.index(without[0])]
        aware = {number for number, other in self.stores.items() if other.knows_durably >= index}
        for descriptor in without:
            quorums = quorums_of(descriptor.membership)
            if all_majorities(
                [(sum(descriptor.stores[voter] in aware for voter in voters), len(voters)) for voters in quorums]
            ):
                return
        self.checker.problem(f"{store.name} has left, and those who stay may forget that it was removed")

    def _holders(self, descriptor: Descriptor, voters: Sequence[int], entry: Entry) -> tuple[int, int]:
        """Count those who have an entry on their disks, or have had it, and all."""
        holders = 0
        for voter in voters:
            store = self.stores.get(descriptor.stores[voter])
            if store is not None:
                log = store.disk.log.durable
                holders += log.term(REGION, entry.index) == entry.term or log.base(REGION)[0] > entry.index
        return holders, len(voters)

    def store(self, node: str) -> Store:
        """Give a store by its name."""
        return self.stores[int(node.removeprefix("store"))]

    @property
    def nodes(self) -> list[str]:
        """Name the stores that there are."""
        return [store.name for store in self.stores.values()]

    def client(self, name: str) -> Port:
        """Make a client on a machine of its own."""
        process = Process(self.events, NodeClock(self.events), name)
        return self.variant.port(SeekingPort(self._port(name, process)))

    def _port(self, name: str, process: Process) -> RespPort:
        return RespPort(self.streams, process, list(self.addresses.values()), self.events.random(f"port {name}"))

    def pipeliner(self, name: str, end: int) -> Pipeliner:
        """Make a client that doesn't wait for replies."""
        process = Process(self.events, NodeClock(self.events), name)
        targets = list(self.addresses.values())
        return Pipeliner(self.events, self.streams, process, targets, key=name.encode(), end_us=end)

    def optimist(self, name: str, pause: int, end: int) -> Optimist:
        """Make a client that raises a counter if nobody else has."""
        port = self._port(name, Process(self.events, NodeClock(self.events), name))
        return Optimist(self.events, port, name, key=b"counter", pause_us=pause, end_us=end)

    def straddler(self, name: str, pause: int, end: int) -> Straddler:
        """Make a client whose keys lie in several regions."""
        port, watching = (
            self._port(part, Process(self.events, NodeClock(self.events), part)) for part in (name, f"{name} watching")
        )
        return Straddler(self.events, port, watching, name, pause_us=pause, end_us=end)

    def census(self, name: str, pause: int, end: int) -> Census:
        """Make a client that looks at all keys at once, in a database of its own."""
        port = self._port(name, Process(self.events, NodeClock(self.events), name))
        return Census(self.events, port, name, pause_us=pause, end_us=end)

    def look_at_censuses(self, censuses: Sequence[Census]) -> None:
        """In the end: have them look once more."""
        for number, census in enumerate(censuses):
            process = Process(self.events, NodeClock(self.events), f"last look {number}")
            census.look_at_all(self._port(process.name, process))

    def read_pipelines(self, pipeliners: Sequence[Pipeliner]) -> None:
        """In the end: find out what they have left."""
        for pipeliner in pipeliners:
            process = Process(self.events, NodeClock(self.events), f"reader of {pipeliner.key.decode()}")
            pipeliner.read(self._port(process.name, process))

    # Watching

    def run_until(self, time: int) -> None:
        """Let all happen up to a time; not what comes after something that mustn't."""
        step, look, problems = self.events.step, self.look, self.checker.problems
        while step(time):
            look()
            if problems:
                return
        self.events.run_until(time)

    def run_while(self, condition: Callable[[], bool], seconds: int) -> bool:
        """
        Let happen what does as long as a condition holds, for so many seconds at most; say if it no longer does.

        There's an end as well when something happens that mustn't.
        """
        until = self.events.now + seconds * SECOND
        while condition():
            if not self.events.step(until):
                self.events.run_until(until)
                return not condition()
            self.look()
            if self.checker.problems:
                break
        return True

    def look(self) -> None:
        """After each event: nobody leads or leases beside another."""
        holders: list[str] | None = None
        for store in self.stores.values():
            if store.process.is_dead or not store.group.leads:
                continue
            self._look_at_leader(store)
            if store.replica.lease_end > store.clock.elapsed() / SECOND:
                holders = [store.name] if holders is None else [*holders, store.name]
        self._committed = max(self._committed, *[store.group.committed for store in self.stores.values()])
        if holders is not None and len(holders) > 1:
            self.checker.leases(holders)

    def _look_at_leader(self, store: Store) -> None:
        """It's the only one of its term, and decides by entries of its own term only."""
        group = store.group
        run, committed = (store.starts, group.term), group.committed
        known, before = self._led.get(store.name, ((0, 0), 0))
        if known != run:
            self.checker.leads(store.name, group.term)
        elif before < committed > self._committed and group.term_of(committed) != group.term:
            # One that it was told of, as by who refuses a vote, has been committed before.
            self.checker.commits(store.name, committed, group.term_of(committed), group.term)
        if known != run or before < committed:
            self._led[store.name] = (run, committed)

    def times(self, entry: Entry) -> None:
        """Of entries that are applied for the first time: region time never goes back."""
        if entry.kind or not entry.data:
            return
        time, _ = decode_header(entry.data)
        index, latest = self._times
        if index < entry.index:
            if time < latest:
                self.checker.problem(f"entry {entry.index} is of {time} ms, entry {index} before it of {latest} ms")
            self._times = (entry.index, max(time, latest))

    def leader(self) -> Store | None:
        """Give the store that leads in the latest term, if one does."""
        leading = [store for store in self.stores.values() if store.runs and store.group.leads]
        return max(leading, key=lambda store: store.group.term, default=None)

    def converged(self) -> bool:
        """Say whether all members have applied the same, and nothing is under way."""
        members = self.members
        applied = {store.host.applied for store in members if store.runs}
        lasts = {store.group.last for store in members if store.runs}
        return all(store.runs for store in members) and len(applied) == 1 and applied == lasts

    def unlike(self) -> str:
        """Say what keeps them from having converged."""
        applied = {store.name: store.host.applied for store in self.members if store.runs}
        return f"they have applied up to {applied}"

    def compare_at_end(self) -> None:
        """Compare what all members have in the end."""
        checker = self.checker
        for store in self.members:
            checker.rows(store.name, store.host.applied, store.digest_rows())
        checker.converged({store.name: store.host.applied for store in self.members})

    # Target

    def crash(self, node: str) -> bool:
        """Take a machine's power away."""
        store = self.store(node)
        if not store.runs:
            return False
        store.process.kill()
        self.streams.lost_power(store.process)
        store.disk.lost_power()
        return True

    def kill(self, node: str) -> bool:
        """Kill a store."""
        store = self.store(node)
        if not store.runs:
            return False
        store.process.kill()
        self.streams.killed(store.process)
        store.disk.killed()
        return True

    def restart(self, node: str) -> None:
        """Start a store, unless it runs."""
        store = self.store(node)
        if not store.runs and not store.removed:
            try:
                store.start()
            except Damaged as problem:
                self.checker.problem(f"{node} can't be started: {problem}")

    def pause(self, node: str) -> bool:
        """Let it stand still."""
        store = self.store(node)
        store.process.pause()
        return store.runs

    def resume(self, node: str) -> None:
        """Let it go on."""
        self.store(node).process.resume()

    def cut(self, source: str, target: str) -> None:
        """Cut a link."""
        self.network.cut(source, target)

    def heal(self, source: str, target: str) -> None:
        """Heal it."""
        self.network.heal(source, target)

    def set_disk(self, node: str, *, slowness: float, stuck: bool, full: bool, failing: bool) -> None:
        """Spoil a disk, or mend it."""
        disk = self.store(node).disk
        disk.slowness = slowness
        disk.full = full
        disk.failing = failing
        disk.stuck = stuck

    def set_clock(self, node: str, *, rate: float | None = None, error_us: int | None = None) -> None:
        """Set a clock."""
        clock = self.store(node).clock
        if rate is not None:
            clock.set_rate(rate)
        if error_us is not None:
            clock.set_error(error_us)

    # Faults of its own

    def transfer(self, node: str) -> bool:
        """Hand leadership to a store, or ask the leader to."""
        leader = self.leader()
        if leader is None or leader.process.life is not leader.process.life.RUNNING:
            return False
        leader.process.soon("hands over", self._transfer, leader, self.store(node).id)
        return True

    @staticmethod
    def _transfer(leader: Store, target: int) -> None:
        try:
            leader.group.transfer_leader(target)
        except Refused:
            return  # it leads no more
        leader.replica.go_on()

    def blind_transfer(self, node: str) -> bool:
        """Hand leadership over, and let the old leader hear nothing of what the new one does with it."""
        leader = self.leader()
        if leader is None or leader.name == node or not self.transfer(node):
            return False
        self.events.after(1, f"{leader.name} doesn't hear {node}", self._cut_for_a_while, node, leader.name)
        return True

    def deaf(self, node: str) -> bool:
        """Let a store not hear the leader, which may hear it, and whom the others hear."""
        leader = self.leader()
        if leader is None or leader.name == node or self.events.now < self._deaf_until:
            return False
        self._deaf_until = self.events.now + 4 * SECOND
        self._cut_for_a_while(leader.name, node)
        if self.random.random() < 0.5:
            self._cut_for_a_while(node, leader.name)
        return True

    def _cut_for_a_while(self, source: str, target: str) -> None:
        self.cut(source, target)
        duration = self.random.randint(SECOND, 4 * SECOND)
        self.events.after(duration, f"{target} hears {source}", self.heal, source, target)

    def bounce(self, node: str) -> bool:
        """Let a store end, and be there again within a lease."""
        if not self.kill(node):
            return False
        self.events.after(self.random.randint(0, SECOND // 4), f"{node} is there again", self.restart, node)
        return True

    def crash_loop(self, node: str) -> bool:
        """Let a store end and start again and again, while another one and the leader can't hear each other."""
        leader = self.leader()
        others = [other for other in self.nodes if leader is not None and other not in (leader.name, node)]
        if not others or leader is None or leader.name == node:
            return False
        other = self.random.choice(others)
        self._deaf_until = self.events.now + 4 * SECOND
        self._cut_for_a_while(leader.name, other)
        self._cut_for_a_while(other, leader.name)
        for _ in range(12):
            at = self.random.randint(0, 3 * SECOND)
            self.events.after(at, f"{node} ends", self.kill, node)
            self.events.after(at + 10 * MILLISECOND, f"{node} is there again", self.restart, node)
        return True

    def blackout(self, node: str) -> bool:
        """Let all machines lose their power at once, and come back one after another."""
        for other in self.nodes:
            if self.crash(other):
                self.events.after(self.random.randint(0, SECOND), f"{other} has power again", self.restart, other)
        return True

    def stop_all(self, node: str) -> bool:
        """Let all stores end at once; some are started, which may end before the others are, and then all."""
        stop = self.random.choice((self.kill, self.crash))
        stopped = [other for other in self.nodes if stop(other)]
        if not stopped:
            return False
        first = self.random.sample(stopped, self.random.randint(1, len(stopped)))
        rest = self.random.randint(SECOND, 4 * SECOND)
        for other in first:
            at = self.random.randint(0, SECOND // 2)
            self.events.after(at, f"{other} is started, of some", self.restart, other)
            if self.random.random() < 0.5:
                self.events.after(self.random.randint(at, rest), f"{other} ends again", stop, other)
        for other in stopped:
            at = rest + self.random.randint(0, SECOND)
            self.events.after(at, f"{other} is started, as all are", self.restart, other)
        return True

    def strand(self, node: str) -> bool:
        """Let the leader be cut off with a disk that doesn't answer, and be reached again before its disk is."""
        leader = self.leader()
        if leader is None or leader.disk.stuck:
            return False
        others = [other for other in self.nodes if other != leader.name]
        for other in others:
            self.cut(leader.name, other)
            self.cut(other, leader.name)
        leader.disk.stuck = True
        duration = self.random.randint(SECOND, 4 * SECOND)
        self.events.after(duration, f"{leader.name} is reached again", self._reach, leader.name, others)
        self.events.after(
            duration + self.random.randint(0, SECOND // 2), f"the disk of {leader.name} answers", self._answers, leader
        )
        return True

    def _reach(self, node: str, others: list[str]) -> None:
        for other in others:
            self.heal(node, other)
            self.heal(other, node)

    @staticmethod
    def _answers(store: Store) -> None:
        store.disk.stuck = False

    def storm(self, node: str) -> bool:
        """Let the network be as bad as it gets, for a while."""
        self._storms += 1
        self.network.set_quality(STORMY)
        self.events.after(self.random.randint(SECOND // 5, 3 * SECOND), "the storm is over", self._calm)
        return True

    def _calm(self) -> None:
        self._storms -= 1
        if not self._storms:
            self.network.set_quality(self.quality)

    def break_link(self, node: str) -> bool:
        """Let the connections break that a store has dialled."""
        store = self.store(node)
        return store.runs and any([store.peering.break_link(other) for other in self.stores if other != store.id])

    def mend(self) -> None:
        """Let nothing be wrong any more."""
        self._storms = 0
        self.network.set_quality(GOOD)
        self.network.heal_all()


def quorums_of(membership: Membership) -> list[Sequence[int]]:
    """Give the sets of voters of each of which a majority decides."""
    return [membership.voters, membership.outgoing] if membership.outgoing else [membership.voters]


def all_majorities(found: Sequence[tuple[int, int]]) -> bool:
    """Say whether each of some sets of voters has a majority of holders."""
    return all(2 * holders > voters for holders, voters in found)


class SeekingPort:
    """A client that goes to another store when the one that it talks to can't reach a majority."""

    def __init__(self, port: RespPort) -> None:
        self._port = port

    def send(self, request: Request, done: Done) -> None:
        """Send a request to whichever store it is."""

        def answered(answer: Any) -> None:
            if isinstance(answer, Failed) and answer.code == b"CLUSTERDOWN":
                self._port.renew()
            done(answer)

        self._port.send(request, answered)

    def renew(self) -> None:
        """Connect anew."""
        self._port.renew()


class Cluster:
    """The scenario."""

    name = "cluster"
    faults: Sequence[str] = (
        faults.CRASH,
        faults.KILL,
        faults.PAUSE,
        faults.PARTITION,
        faults.ISOLATE,
        faults.ONE_WAY,
        faults.SLOW_DISK,
        faults.STUCK_DISK,
        faults.FULL_DISK,
        faults.FAILING_DISK,
        faults.CLOCK_RATE,
        faults.CLOCK_STEP,
        TRANSFER,
        BLIND_TRANSFER,
        BOUNCE,
        DEAF,
        CRASH_LOOP,
        STRAND,
        BLACKOUT,
        STORM,
        BREAK_LINK,
        *cluster_changes.KINDS,
        *cluster_steps.KINDS,
    )

    def __init__(
        self,
        variant: Callable[[], Variant] = Variant,
        *,
        size: int | None = None,
        limits: Limits = LIMITS,
        mix: Mix = MIX,
        pipeliners: int | None = None,
        optimists: int | None = None,
        pause_us: int = SECOND // 2,
    ) -> None:
        """
        @param size: How many stores there are at first; three or five if it isn't said.
        @param pipeliners: How many clients don't wait for replies; none or one if it isn't said.
        @param optimists: How many share a counter under WATCH; none or some if it isn't said. C{pause_us} is how long
            they rest.
        """
        self._variant = variant
        self._size = size
        self._limits = limits
        self._mix = mix
        self._pipeliners = pipeliners
        self._optimists = optimists
        self._pause_us = pause_us

    def _world(self, seed: int) -> World:
        """Make the world."""
        return World(seed, self._variant(), size=self._size)

    def _mixed(self, world: World) -> Mix:
        """Give what the clients of a run ask for."""
        return self._mix

    def _censuses(self, world: World, end: int) -> list[Census]:
        """Give the clients that look at all keys at once."""
        return []

    def _straddlers(self, world: World, end: int) -> list[Straddler]:
        """Give the clients whose keys lie in several regions."""
        return []

    def _changes(self, world: World, end: int) -> dict[str, Callable[[str], bool]]:
        """Give the faults that are about members, by name."""
        return Changes(world, end).actions

    def _figures(self, world: World) -> dict[str, int]:
        """Give further figures of a run."""
        return {}

    def run(self, seed: int, settings: Settings) -> Report:
        """Run it once."""
        world = self._world(seed)
        try:
            return self._run(world, settings)
        finally:
            world.close()

    def _run(self, world: World, settings: Settings) -> Report:
        events = world.events
        checker = world.checker
        end = settings.seconds * SECOND
        schedule = draw(events, world.nodes, settings.faults, begin_us=2 * SECOND, end_us=end, limits=self._limits)
        actions = {
            TRANSFER: world.transfer,
            BLIND_TRANSFER: world.blind_transfer,
            BOUNCE: world.bounce,
            DEAF: world.deaf,
            CRASH_LOOP: world.crash_loop,
            STRAND: world.strand,
            BLACKOUT: world.blackout,
            STORM: world.storm,
            BREAK_LINK: world.break_link,
            STOP_ALL: world.stop_all,
            **self._changes(world, end),
            **Steps(world, end).actions,
            **world.actions,
        }
        nemesis = Nemesis(events, StandIns(world), actions)
        nemesis.arm(schedule)
        ports = [world.client(f"client{number}") for number in range(settings.clients)]
        mix = self._mixed(world)
        # Where clients delete all keys, those of others wouldn't stay.
        flushed = "flush" in mix.weights
        workload = Workload(events, ports, mix, end_us=end)
        workload.start()
        count = self._pipeliners if self._pipeliners is not None else world.random.choice((0, 1)) * bool(ports)
        pipeliners = [world.pipeliner(f"pipeline{number}", end) for number in range(0 if flushed else count)]
        count = self._optimists if self._optimists is not None else world.random.choice((0, 0, 3)) * bool(ports)
        optimists = [
            world.optimist(f"optimist{number}", self._pause_us, end) for number in range(0 if flushed else count)
        ]
        censuses = self._censuses(world, end)
        straddlers = [] if flushed else self._straddlers(world, end)
        for client in (*pipeliners, *optimists, *censuses, *straddlers):
            client.start()
        world.run_until(end)
        steps = 0
        if not checker.problems:
            self._end(world, workload, pipeliners, censuses)
        for client in (*optimists, *censuses, *straddlers):
            for problem in client.problems:
                checker.problem(problem)
        problems = list(checker.problems)
        if not problems:
            operations = workload.history.operations
            if flushed:
                operations = mix.in_groups(operations)
            problems, steps = judge(operations, RedisModel(slack_us=SLACK_US))
        figures = {
            "runs": 1,
            "stores": len(world.stores),
            "requests": len(workload.history),
            "requests in pipelines": sum(pipeliner.sent for pipeliner in pipeliners),
            "rounds of optimists": sum(optimist.rounds for optimist in optimists),
            "replies": workload.statistics.replies,
            "requests of unknown outcome": workload.statistics.unknown,
            "requests refused": workload.statistics.nothing_done,
            "starts": sum(store.starts for store in world.stores.values()),
            "terms with a leader": len(checker.leaders),
            "entries": checker.applied_to,
            "snapshots installed": world.installed,
            "snapshots installed at a start": sum(store.folder.finished for store in world.stores.values()),
            "ends right at a step": world.ended_at_steps,
            "changes of members": len(world.descriptors) - 1,
            "runs of stores that lingered": world.lingered,
            "stores that left": sum(store.removed for store in world.stores.values()),
            "comparisons of rows": checker.rows_compared,
            "events": events.happened,
            "steps of the checker": steps,
        }
        if censuses:
            figures["looks at all keys"] = sum(census.looks for census in censuses)
        if straddlers:
            figures["rounds across regions"] = sum(straddler.rounds for straddler in straddlers)
            figures["transactions seen in time"] = sum(straddler.looks for straddler in straddlers)
        figures |= self._figures(world)
        figures |= {f"faults {kind}": count for kind, count in nemesis.statistics.happened.items()}
        recent = list(events.recent) if problems else []
        return Report(events.digest, schedule_text(schedule), problems, figures, recent)

    @staticmethod
    def _end(
        world: World, workload: Workload, pipeliners: Sequence[Pipeliner], censuses: Sequence[Census]
    ) -> None:
        """With nothing wrong any more, they recover: all that was acknowledged is there, and the same everywhere."""
        checker = world.checker
        world.mend()
        world.run_while(lambda: workload.busy, WHOLE_SECONDS)
        for node in world.nodes:
            world.crash(node)
        for node in world.nodes:
            world.restart(node)
        workload.look_at_all(world.client("auditor"))
        world.read_pipelines(pipeliners)
        world.look_at_censuses(censuses)

        def busy() -> bool:
            waited = any(pipeliner.found is None for pipeliner in pipeliners)
            return workload.busy or waited or any(census.busy for census in censuses)

        if not world.run_while(busy, WHOLE_SECONDS):
            checker.problem(f"The stores don't answer, although nothing has been wrong for {WHOLE_SECONDS} s")
        if not world.run_while(lambda: not world.converged(), WHOLE_SECONDS):
            checker.problem(f"The stores don't come to the same state: {world.unlike()}")
        if not world.run_while(lambda: bool(world.lingering), WHOLE_SECONDS):
            left = [store.name for store in world.lingering]
            checker.problem(f"{left} were removed, and linger although nothing has been wrong for {WHOLE_SECONDS} s")
        for pipeliner in pipeliners:
            for problem in pipeliner.problems():
                checker.problem(problem)
        if checker.problems:
            return
        world.compare_at_end()
