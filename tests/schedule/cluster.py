"""
Members of one scheduler in this process, of the parts that real ones have from the links up to the answers, over
simulated disks, links and time; to be killed and cut off, and their clocks to be set.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.testing.cluster import DiskLog
from tests.testing.one_store import Durations
from tinykv.peering.address_book import AddressBook
from tinykv.peering.settings import PeerLimits
from tinykv.raft.config import RaftConfig
from tinykv.region.descriptor import Descriptor
from tinykv.schedule.api import routes_of
from tinykv.schedule.choices import Choices
from tinykv.schedule.host import ScheduleHost
from tinykv.schedule.leadership import Leadership
from tinykv.schedule.members import Members
from tinykv.schedule.placing import Placing
from tinykv.schedule.recovery import REGION, recover
from tinykv.schedule.routes import Call, RouteTable
from tinykv.schedule.service import Scheduler
from tinykv.storage.folder_ids import FolderIds
from tinykv.store.composition import replica_of, snapshots_of
from tinykv.testing.simulation.clock import NodeClock, Process
from tinykv.testing.simulation.disk import Disk
from tinykv.testing.simulation.endpoints import address_of, dialling, real_peering
from tinykv.testing.simulation.events import SECOND, Events
from tinykv.testing.simulation.folder import RealFolder
from tinykv.testing.simulation.network import GOOD, Network
from tinykv.testing.simulation.peering import SimulatedPeering
from tinykv.testing.simulation.streams import Streams

RAFT = RaftConfig()


class Within(NamedTuple):
    """A simulated world."""

    events: Events
    network: Network
    streams: Streams


class Member:
    """
    A member.

    @ivar failures: What stopped it.
    @ivar scheduler: Its answers.
    @ivar leadership_type: What it gives ids and timestamps by, and C{placing_type} decides by where replicas go.
    """

    scheduler: Scheduler
    routes: RouteTable
    leadership_type: type[Leadership] = Leadership
    placing_type: type[Placing] = Placing

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.cluster = cluster
        self.id = number
        self.name = f"m{number}"
        self.clock = NodeClock(cluster.events)
        self.folder = RealFolder(cluster.path / self.name)
        self.disk = Disk(cluster.events, self.name, folder=self.folder)
        self.failures: list[BaseException] = []
        self.starts = 0
        self.start()

    def start(self) -> None:
        """Start it, from what is on its disk."""
        cluster, disk = self.cluster, self.disk
        process = self.process = Process(cluster.events, self.clock, self.name)
        self.starts += 1
        random = cluster.events.random(f"{self.name} {self.starts}")
        reader = disk.reader()
        recovered = recover(disk, reader, cluster.initial, self.id)
        log_writer, data_writer = disk.start_writers(process)
        peering = SimulatedPeering(
            store_id=self.id,
            process=process,
            network=cluster.network,
            streams=cluster.streams,
            addresses=cluster.addresses,
            random=Random(random.getrandbits(64)),
            snapshots=real_peering(
                store_id=self.id,
                start_id=self.starts,
                process=process,
                streams=cluster.streams,
                addresses=AddressBook(dialling(cluster.streams, process), cluster.known),
                folder_ids=FolderIds(self.folder.path),
                files=disk.snapshot_folder(process),
                limits=PeerLimits(),
                random=Random(random.getrandbits(64)),
            ),
        )
        members = Members(peering)
        peering.handle(members)
        log = DiskLog(disk)
        durations = Durations()
        self.host = host = ScheduleHost(
            recovered=recovered,
            replica=replica_of(
                recovered,
                raft=RAFT,
                log=log,
                log_writer=log_writer,
                send=members.send,
                clock=process,
                uptime=process.seconds,
                random=random,
                durations=durations,
                quiet_until=None if self.starts > 1 else 0.0,
            ),
            reader=reader,
            log_writer=log_writer,
            data_writer=data_writer,
            installer=data_writer,
            clock=process,
            uptime=process.seconds,
            durations=durations,
            stopped=self.failures.append,
            kept_entries=cluster.kept_entries,
        )
        snapshots = self.snapshots = snapshots_of(
            host, log=log, maker=disk.snapshot_maker(process, lambda rows: rows), sends=peering, clock=process
        )
        members.serve(host, snapshots)
        self.leadership = self.leadership_type(
            host=host,
            url=f"http://{self.name}:2379",
            now_ms=self.clock.calendar_ms,
            new_cluster_id=lambda: f"{random.getrandbits(64):016x}",
        )
        choices = Choices(host=host, now_ms=self.clock.calendar_ms)
        self.placing = self.placing_type(
            host=host,
            leadership=self.leadership,
            choices=choices,
            clock=process,
            now_ms=self.clock.calendar_ms,
            seconds=process.seconds,
            random=Random(random.getrandbits(64)),
        )
        self.scheduler = Scheduler(
            host=host,
            leadership=self.leadership,
            placing=self.placing,
            now_ms=self.clock.calendar_ms,
            bootstrap_stores=3,
            initial_regions=1,
            health=lambda: None,
            members=cluster.addresses,
        )
        self.routes = routes_of(self.scheduler, self.placing, choices)
        host.start()
        cluster.streams.listen(self.name, process, peering.accept)

    def kill(self) -> None:
        """Kill it."""
        self.process.kill()
        self.cluster.streams.killed(self.process)
        self.disk.killed()

    def crash(self) -> None:
        """Take its machine's power away."""
        self.process.kill()
        self.cluster.streams.lost_power(self.process)
        self.disk.lost_power()

    def begin(self, coroutine: Coroutine[Any, Any, Any]) -> list[Any]:
        """Ask something; what comes back will be the list's only item."""
        answers: list[Any] = []
        Deferred.fromCoroutine(coroutine).addBoth(answers.append)
        return answers

    def ask(self, name: str, body: Any = None, **parameters: Any) -> Any:
        """Ask a question by its name, and wait for the answer; raise what it's refused with."""
        (route,) = (route for route in self.routes.routes if route.name == name)
        answers = self.begin(route.answer(Call(parameters, body)))  # type: ignore[arg-type]  # all are coroutines
        self.cluster.until(lambda: answers)
        if isinstance(answers[0], Failure):
            answers[0].raiseException()
        return answers[0]

    def timestamps(self, count: int = 1) -> int:
        """Take timestamps, and give the last of them."""
        given = self.ask("timestamps", {"count": count})
        return int(given["physical"] << 18 | given["logical"] + count - 1)


class Cluster:
    """
    The members.

    @ivar kept_entries: How many entries their logs keep.
    @ivar member_type: What a member is.
    """

    member_type: type[Member] = Member

    def __init__(
        self, path: str, members: int = 3, seed: int = 1, kept_entries: int = 10_000, within: Within | None = None
    ) -> None:
        """
        @param within: The world in which they are, among others; one of their own if it isn't said.
        """
        self.path = Path(path)
        self.path.mkdir()
        self.kept_entries = kept_entries
        if within is None:
            events = Events(seed)
            network = Network(events, GOOD)
            within = Within(events, network, Streams(events, network))
        self.events, self.network, self.streams = within
        numbers = list(range(1, members + 1))
        self.addresses = {number: f"m{number}" for number in numbers}
        self.known = {number: address_of(f"m{number}") for number in numbers}
        self.initial = Descriptor.initial(REGION, numbers)
        self.members = {number: self.member_type(self, number) for number in numbers}

    @property
    def alive(self) -> list[Member]:
        """Those that run."""
        return [member for member in self.members.values() if not member.process.is_dead]

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.events.run_until(self.events.now + int(seconds * SECOND))

    def until(self, condition: Callable[[], object], seconds: int = 30) -> None:
        """Let time pass until something is so."""
        assert self.events.run_while(lambda: not condition(), self.events.now + seconds * SECOND), "it never was"

    def leader(self, *, but: Member | None = None) -> Member:
        """Wait for a leader that has a lease, other than one."""

        def leading() -> list[Member]:
            return [member for member in self.alive if member.host.lease and member is not but]

        self.until(leading)
        (member,) = leading()
        return member

    def cut(self, member: Member) -> None:
        """Cut a member off from all others."""
        for other in self.addresses.values():
            if other != member.name:
                self.network.cut(member.name, other)
                self.network.cut(other, member.name)

    def heal(self) -> None:
        """End all cuts."""
        for one in self.addresses.values():
            for other in self.addresses.values():
                if one != other:
                    self.network.heal(one, other)
