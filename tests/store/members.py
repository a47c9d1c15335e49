"""
Stores of one cluster in this process, of the parts that real ones have from the links up to the control, over simulated
disks, links and time; to be added, removed, killed and cut off.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.testing.cluster import DiskLog
from tests.testing.one_store import Durations
from tinykv.interfaces import MemberView
from tinykv.raft.config import RaftConfig
from tinykv.redis.commands import VALUE_TYPES
from tinykv.redis.execution import Execution
from tinykv.redis.keyspace import Keyspace
from tinykv.redis.operations import COMMANDS, NOBODY, lookup
from tinykv.region.descriptor import Descriptor
from tinykv.resp.replies import encode_command
from tinykv.storage.rowstore import RowStore
from tinykv.store.composition import join_stores, replica_of
from tinykv.store.control import Control
from tinykv.store.host import RegionHost
from tinykv.store.peers import Peers
from tinykv.store.recovery import recover
from tinykv.store.regions import Regions
from tinykv.store.runs import START_BITS
from tinykv.testing.embedded import TABLE
from tinykv.testing.simulation.clock import NodeClock, Process
from tinykv.testing.simulation.disk import Disk
from tinykv.testing.simulation.events import SECOND, Events
from tinykv.testing.simulation.network import GOOD, Network
from tinykv.testing.simulation.peering import SimulatedPeering
from tinykv.testing.simulation.streams import Streams

REGION = 1
RAFT = RaftConfig()
#: Stores that there are addresses for.
MOST = 6

T = TypeVar("T")


class Book:
    """Where stores are, for one of them; in the simulation all of them are where they always were."""

    def __init__(self) -> None:
        self.noted: dict[int, str] = {}

    def has_room(self, store_id: int) -> bool:
        """Have some."""
        return store_id < 1000

    def note(self, store_id: int, address: str) -> None:
        """Note it."""
        self.noted[store_id] = address

    def stores(self) -> list[int]:
        """List those that were noted."""
        return sorted(self.noted)

    def address(self, store_id: int) -> str | None:
        """Give what was noted."""
        return self.noted.get(store_id)


class Member:
    """
    A store.

    @ivar lingers: How often it was told to serve no clients any more, since it was removed; C{left}: to stop.
    @ivar failures: What stopped it.
    """

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.cluster = cluster
        self.id = number
        self.name = f"store{number}"
        self.clock = NodeClock(cluster.events)
        self.disk = Disk(cluster.events, self.name)
        self.lingers = self.left = 0
        self.failures: list[BaseException] = []
        self.starts = 0
        self.budget = 1 << 30
        self.start()

    def start(self) -> None:
        """Start it, from what is on its disk."""
        cluster, disk = self.cluster, self.disk
        process = self.process = Process(cluster.events, self.clock, self.name)
        self.starts += 1
        random = cluster.events.random(f"{self.name} {self.starts}")
        rows = RowStore(disk.reader(), frozen_tables_max=2)
        execution = Execution(
            Keyspace(rows, VALUE_TYPES, budget=self.budget),
            TABLE,
            start_id=self.id << START_BITS | self.starts,
            random=Random(random.getrandbits(64)),
            defect=self._defect,
        )
        recovered = recover(disk, execution, cluster.initial, self.id)
        log_writer, data_writer = disk.start_writers(process)
        self.peering = peering = SimulatedPeering(
            store_id=self.id,
            process=process,
            network=cluster.network,
            streams=cluster.streams,
            addresses=cluster.addresses,
            random=Random(random.getrandbits(64)),
        )
        self.peers = Peers(peering, process)
        peering.handle(self.peers)
        log = DiskLog(disk)
        durations = Durations()
        regions = Regions(
            rows=rows,
            log_writer=log_writer,
            data_writer=data_writer,
            reader=disk.start_reader(process, rows),
            clock=process,
            now=process.seconds,
            now_ms=self.clock.calendar_ms,
            flushed=lambda: None,
            answered=lambda: None,
            stopped=self.failures.append,
            durations=durations,
            memtable_bytes=1 << 30,
            durability_os=False,
        )
        self.host = host = RegionHost(
            regions,
            replica=replica_of(
                recovered,
                raft=RAFT,
                log=log,
                log_writer=log_writer,
                send=self.peers.of(REGION).send,
                clock=process,
                uptime=process.seconds,
                random=random,
                durations=durations,
                quiet_until=None if self.starts > 1 else 0.0,
            ),
            descriptor=recovered.descriptor,
            execution=execution,
            now_ms=self.clock.calendar_ms,
            uptime=process.seconds,
            random=Random(random.getrandbits(64)),
            applied=recovered.applied,
            request_timeout=5.0,
            read_mode=cluster.read_mode,
        )
        self.group = host.group
        join_stores(
            host,
            peers=self.peers,
            links=peering,
            store_id=self.id,
            table=TABLE,
            maker=_NoMaker(),
            log=log,
            clock=process,
            request_timeout=5.0,
            answered=lambda: None,
            local_reads=cluster.read_mode == "local",
        )
        self.book = Book()
        self.control = self.peers.control = Control(
            store_id=self.id,
            address=cluster.addresses[self.id],
            host=self.host,
            clock=process,
            links=peering,
            addresses=self.book,
            summer=disk.summer(process),
            lingers=self._lingers,
            removed=self._removed,
            scheduled=cluster.scheduled,
        )
        self.control.removing_elsewhere = lambda leader, store, region: cluster.members[
            leader
        ].control.remove_store(store, region)
        self.host.start()
        self.control.start()
        cluster.streams.listen(self.name, process, peering.accept)

    def _defect(self, name: str, problem: BaseException) -> None:
        raise AssertionError(name) from problem

    def _lingers(self) -> None:
        self.lingers += 1

    def _removed(self) -> None:
        self.left += 1

    def kill(self) -> None:
        """Kill it."""
        self.process.kill()
        self.cluster.streams.killed(self.process)
        self.disk.killed()

    def write(self, *lines: str) -> None:
        """Have it propose some writes."""
        for line in lines:
            arguments = line.encode().split()
            raw = encode_command(arguments)
            self.host.submit((COMMANDS, NOBODY, 0, 0, lookup(arguments, TABLE), arguments, raw))

    @property
    def roles(self) -> dict[int, str]:
        """Give the members' roles, as it sees them."""
        return {member["store"]: member["role"] for member in self.control.members()}

    def view(self, store: int) -> MemberView:
        """Give what it says of a member."""
        return next(member for member in self.control.members() if member["store"] == store)


class _NoMaker:
    """Makes no snapshots: the logs reach back to their beginning."""

    def make(self, region: int, **options: Any) -> Deferred[Any]:
        """Fail."""
        raise AssertionError("the log wasn't cut")

    def drop(self, region: int) -> Deferred[None]:
        """Fail."""
        raise AssertionError("there's none")

    def close(self) -> Deferred[None]:
        """Do nothing."""
        raise AssertionError("nobody closes it")


class Cluster:
    """
    The stores.

    @ivar initial: The region at its beginning.
    """

    def __init__(
        self, stores: int = 3, seed: int = 1, *, read_mode: str = "lease", scheduled: bool = False
    ) -> None:
        self.read_mode = read_mode
        self.scheduled = scheduled
        self.events = Events(seed)
        self.network = Network(self.events, GOOD)
        self.streams = Streams(self.events, self.network)
        self.addresses = {number: f"store{number}" for number in range(1, MOST + 1)}
        self.initial = Descriptor.initial(REGION, list(range(1, stores + 1)))
        self.members: dict[int, Member] = {}
        for number in range(1, stores + 1):
            self.join(number)

    def join(self, number: int) -> Member:
        """Start a store with an empty disk."""
        member = self.members[number] = Member(self, number)
        return member

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.events.run_until(self.events.now + int(seconds * SECOND))

    def until(self, condition: Callable[[], object], seconds: int = 30) -> None:
        """Let time pass until something is so."""
        assert self.events.run_while(lambda: not condition(), self.events.now + seconds * SECOND), "it never was"

    def leader(self) -> Member:
        """Wait for the leader."""

        def leading() -> list[Member]:
            alive = [member for member in self.members.values() if not member.process.is_dead]
            return [member for member in alive if member.host.ready]

        self.until(leading)
        return max(leading(), key=lambda member: member.group.term)

    def done(self, deferred: Deferred[T]) -> T:
        """Wait for a result; raise what it fails with."""
        results: list[Any] = []
        deferred.addBoth(results.append)
        self.until(lambda: results, 60)
        if isinstance(results[0], Failure):
            results[0].raiseException()
        result: T = results[0]
        return result

    def cut(self, store: int, but: int | None = None) -> None:
        """Cut a store off from all others, but one."""
        name = self.addresses[store]
        for number, other in self.addresses.items():
            if number not in (store, but):
                self.network.cut(name, other)
                self.network.cut(other, name)

    def heal(self) -> None:
        """End all cuts."""
        for one in self.addresses.values():
            for other in self.addresses.values():
                if one != other:
                    self.network.heal(one, other)
