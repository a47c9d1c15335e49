"""
The store daemon, put together: C{twistd tinykv --config FILE}.

Reads from top to bottom as the list of its parts: folder, rows, commands, log, host, ports. What it has in common with
other daemons is in L{tinykv.tap.daemon}.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from random import Random, SystemRandom
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IReactorFDSet
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

import tinykv
from tinykv.client.scheduler import Scheduler
from tinykv.config import TABLE, StoreConfig, is_clustered
from tinykv.interfaces import ISnapshotMaker, SplitChoices
from tinykv.peering.turn import Turn
from tinykv.raft.log import Storage
from tinykv.raft.messages import Message
from tinykv.redis.commands import MODULES, VALUE_TYPES
from tinykv.redis.execution import Execution
from tinykv.redis.keyspace import Keyspace
from tinykv.redis.operations import Operation
from tinykv.redis.table import commands_of
from tinykv.region.descriptor import DESCRIPTORS, Descriptor
from tinykv.server.commands import CONNECTION_MODULES
from tinykv.server.front import Front, RespFactory
from tinykv.server.http_status import status_resource, status_site
from tinykv.server.intake import Intake
from tinykv.server.metrics import Metrics
from tinykv.server.router import NodeRouter, Router
from tinykv.server.status import describe
from tinykv.storage.beginning import Beginning
from tinykv.storage.errors import StorageError
from tinykv.storage.folder import DataFolder, open_folder
from tinykv.storage.log_reader import LogReader
from tinykv.storage.reader import Reader
from tinykv.storage.removal_mark import RemovalMark
from tinykv.storage.rowstore import FROZEN_BYTES, RowStore
from tinykv.storage.slot_sizes import SlotSizes
from tinykv.store.composition import Start, replica_of
from tinykv.store.gap import Gap
from tinykv.store.health import problem_of
from tinykv.store.host import RegionHost
from tinykv.store.load_check import LoadCheck
from tinykv.store.recovery import begun_by_word, begun_regions, buried_in, recover_regions
from tinykv.store.regions import Regions
from tinykv.store.runs import new_start_id
from tinykv.store.scheduling import Registration, Scheduling, first_descriptor
from tinykv.store.shares import Shares
from tinykv.store.slots import Slots
from tinykv.store.split_check import SplitCheck
from tinykv.store.splitting import Part, begin_peer
from tinykv.store.ticks import Ticks
from tinykv.store.turn_writer import TurnWriter
from tinykv.tap import daemon
from tinykv.tap.beginning import REGION, asked_beginning, cluster_id_of, known_beginning
from tinykv.tap.cluster import Cluster
from tinykv.tap.control import control_pages, make_control
from tinykv.tap.daemon import DaemonService, Wanted, now_ms, refuse, service_of, uptime
from tinykv.tap.endpoints import check_passed, endpoints
from tinykv.tap.figures import measure
from tinykv.tap.peers import cluster_address, raft_config
from tinykv.tap.scheduling import registration_of, scheduler_of, scheduling_of
from tinykv.tap.split_check import load_check_of, split_check_of
from tinykv.tap.tls import TlsPort

#: How often the free space of the disk is looked at, in seconds: until the next look a store may write a good part of
#: disk_low_mark, and on a disk that is wholly full it couldn't even start again.
DISK_SECONDS = 0.25

#: For how long a store that has handed over still answers those who haven't learned of it, in seconds.
_LEARN_SECONDS = 0.25

#: The ports of clients, by name.
_CLIENT_PORTS = ("resp", "cluster", "tls")


class Options(daemon.Options):
    """The command line of C{twistd tinykv}."""

    longdesc = "A Redis-compatible store that keeps every acknowledged write. Options are in the file."


def makeService(options: Options) -> IService:
    """Make the daemon's service, or end with what is wrong with the configuration."""
    return service_of(options, TABLE, StoreConfig(), StoreService, check_passed)


class StoreService(DaemonService):
    """
    One store, from its folder to its ports.

    @ivar regions: The regions at work, once started.
    @ivar front: What client connections share, once started.
    """

    name = "tinykv-store"
    program = "TinyKV"
    port_options = {"resp": "port"}
    log = Logger()
    front: Front
    folder: DataFolder
    _slots: Slots
    _begun_with: int
    _sizes: SlotSizes
    _registration: Registration

    def __init__(self, config: StoreConfig, reactor: Any, passed: dict[str, int] | None = None) -> None:
        super().__init__(reactor, passed)
        self.config = config
        self._loops: list[LoopingCall] = []
        self._client_ports: list[IListeningPort] = []
        #: How the cluster began, once that's known; the scheduler's word on where stores are, when it was asked.
        self.beginning: Beginning | None = None
        self._store_addresses: dict[int, str] = {}
        self.scheduler: Scheduler | None = None
        self.scheduling: Scheduling | None = None
        self.split_check: SplitCheck | None = None
        self.load_check: LoadCheck | None = None
        self.metrics = Metrics()

    # Start

    def _prepare(self) -> Deferred[None] | None:
        config = self.config
        self.folder = folder = open_folder(
            str(config.data_dir),
            config.store_id,
            cluster_id_of(config),
            ballast_bytes=config.ballast_bytes,
            disk_low_bytes=config.disk_low_mark,
        )
        self.beginning = known_beginning(config, folder)
        if config.schedulers:
            self.scheduler = scheduler_of(config, self._reactor)
            self._registration = registration_of(config, folder, self._client_port)
        return Deferred.fromCoroutine(self._ask_beginning()) if self.beginning is None else None

    async def _ask_beginning(self) -> None:
        """Wait until the scheduler has said what this store belongs to."""
        assert self.scheduler is not None, "nobody else could say it"
        self.log.info("store {store} asks the scheduler for its cluster", store=self.config.store_id)
        self.beginning, self._store_addresses = await asked_beginning(
            self.config, self.scheduler, self._registration, self._reactor
        )

    async def _abandon(self) -> None:
        if self.scheduler is not None:
            await self.scheduler.close()
        self.folder.close()

    def _client_port(self) -> int:
        """Give the port of clients: the one that is open, once it is."""
        return int(self.front.ports.get("resp", self.config.port)) if self._opened else self.config.port

    def _open(self) -> None:
        config, folder, beginning = self.config, self.folder, self.beginning
        assert beginning is not None, "it's known by now"
        random: Random = SystemRandom()
        self.rows = RowStore(
            Reader(folder.data_path),
            frozen_tables_max=config.frozen_tables,
            frozen_bytes_max=max(FROZEN_BYTES, 2 * config.memtable_bytes),
        )
        self.table = commands_of(MODULES)
        start_id = new_start_id(config.store_id, random)
        firsts = sorted(map(first_descriptor, beginning.regions), key=lambda descriptor: descriptor.start)
        self._check_begun_with(len(firsts))
        begun = begun_regions(self.rows.scan("region", *DESCRIPTORS), firsts)
        found = recover_regions(
            folder, begun, lambda first: self._execution(first, len(begun), start_id, random), config.store_id
        )
        self._begun_with = len(found)
        self.removal_mark = RemovalMark(config.data_dir)
        if self.removal_mark.is_set or any(recovered.peer is None for _, recovered in found):
            refuse(
                f"store {config.store_id} was removed from its cluster; its host may join again, with an empty folder,"
                " a new store_id, and join = yes"
            )
        cluster: Cluster | None = None
        if is_clustered(config):
            if not folder.identity.cluster_id:
                folder.set_cluster(beginning.cluster_id)
            cluster = Cluster(config, self._reactor, folder.identity, start_id, self._store_addresses, self._serves)
            self._peer_tls = cluster.tls
        self.cluster = cluster
        self.log_reader = LogReader(folder.raft_path, REGION)
        fsync = config.durability == "fsync"
        self.log_writer, self.data_writer = folder.start_writers(self._reactor, fsync=fsync)
        self.read_ahead = folder.start_reader(self._reactor, self.rows)
        turn = Turn(self._reactor) if cluster is None else cluster.peering.turn
        log_writer = TurnWriter(self.log_writer, self._reactor, turn, lambda: len(self.regions.ordered) > 1)
        self.regions = Regions(
            rows=self.rows,
            log_writer=log_writer,
            data_writer=self.data_writer,
            installer=self.data_writer,
            reader=self.read_ahead,
            clock=self._reactor,
            now=time.perf_counter,
            now_ms=now_ms,
            flushed=self._look_at_disk,
            answered=lambda: self.front.flush(),
            stopped=self._stop_failed,
            durations=self.metrics,
            memtable_bytes=config.memtable_bytes,
            durability_os=config.durability == "os",
            hz=config.hz,
            request_timeout=config.request_timeout,
            turn=turn,
        )
        ticks = Ticks(self._reactor, raft_config(config).tick, turn)
        maker: ISnapshotMaker | None = None
        if cluster is not None:
            pool = self._reactor.getThreadPool()
            maker = folder.snapshot_maker(self._reactor, lambda step: deferToThreadPool(self._reactor, pool, step))

        def begin(execution: Execution, found: Start, log: Storage | None = None, quiet: float | None = None) -> None:
            self._begin_region(execution, found, maker, ticks, random, log, quiet)

        def bear(part: Part) -> RegionHost | None:
            peer, log = begin_peer(part, self.log_reader.of(part.descriptor.region), log_writer, config.store_id)
            if peer.peer is None:
                return None
            begin(part.execution, peer, log, 0.0 if peer.fresh else None)
            return self._born(part.descriptor.region)

        initial = {first.region: first for first in firsts}
        for execution, recovered in found:
            begin(execution, recovered)
            if cluster is not None:
                host = self.regions.hosts[recovered.descriptor.region]
                host.initial, host.buried = initial.get(recovered.descriptor.region), recovered.buried
        self.regions.bear = bear
        # Before the first of them comes or goes.
        Shares(self.regions, memory_budget=config.memory_budget, log_bytes_max=config.log_bytes_max)

        def adopt(about: Descriptor) -> None:
            region = about.region
            log, buried = self.log_reader.of(region), buried_in(self.rows, region)
            heard = begun_by_word(about, log.hard_state(), log.last()[0], buried)
            if heard is None:
                return
            execution = self._execution(heard.descriptor, 1 + len(self.regions.hosts), start_id, random)
            execution.load(0)
            begin(execution, heard)
            host = self._born(region)
            host.buried = buried
            host.start()

        if cluster is not None:
            cluster.start(self.regions)
        self.summer = folder.summer(self._reactor)
        self.control = make_control(
            config,
            self._reactor,
            self.regions,
            cluster,
            self.summer,
            self._serve_stores_only,
            self._removed,
            self.scheduler,
        )
        if cluster is not None:
            self.control.adopt = adopt
        hosts = self.regions.ordered
        # One that has some slots only, while the others aren't known, is one of several.
        one = len(self.regions.routes()) == 1
        self.front = Front(
            hosts[0] if one else Router(self.regions.routes(), random.randrange),
            self.table,
            CONNECTION_MODULES,
            config=config,
            clock=self._reactor,
            now=time.time,
            shutdown=self._reactor.stop,
        )
        self._slots = Slots(
            self.regions.routes,
            store_id=config.store_id,
            cluster_id=folder.identity.cluster_id or folder.identity.folder_id,
            address=self._cluster_address,
            is_up=_never_up if cluster is None else cluster.peering.is_up,
        )
        self.front.slots = self._slots
        if not one:
            self.front.node_host = self._node_router(random.randrange)
        self.regions.moved = self._moved
        self.regions.gone = self._gone
        self.regions.watchers.append(lambda: self._ranges_changed(random.randrange))
        if Intake.supported and IReactorFDSet.providedBy(self._reactor):
            self.front.intake = Intake(self._reactor, self.front.flush)
        if cluster is not None:
            for forwarder in cluster.forwarders:
                forwarder.failed = self.front.refused
        if self.scheduler is not None and cluster is not None:
            self.scheduling = scheduling_of(self, self._reactor, cluster, self.scheduler, self._registration, beginning)
            self.control.stays = self.scheduling.stays
        self._sizes = folder.slot_sizes(self._reactor)
        several = len(firsts) > 1
        if config.split_by_size == "yes" or (config.split_by_size == "auto" and several):
            self.split_check = split_check_of(self, self._reactor, self._sizes)
        if config.split_by_load == "yes" or (config.split_by_load == "auto" and several and cluster is not None):
            self.load_check = load_check_of(self, self._reactor, random)
        measure(self)
        for host in list(hosts):
            host.start()
        self.control.start()
        self.front.start()

    def _node_router(self, chance: Callable[[int], int]) -> NodeRouter:
        """Make the way of commands that come to the cluster's port, where there are several regions."""
        return NodeRouter(self.regions.routes(), chance, self._slots.shows)

    def _moved(self, operation: Operation, whole: tuple[int, int], host: RegionHost | Gap | None) -> None:
        """Take a client's command to where it belongs by now."""
        front = self.front.host
        if isinstance(front, Router):
            front.moved(operation, whole, host)
        else:
            assert host is None, "there's one region, which has all keys"
            front.submit_moved(operation)

    def _gone(self, host: RegionHost) -> None:
        """Let go of a region that was taken in by another one."""
        region = host.descriptor.region
        self.control.ended(region)
        if self.cluster is not None:
            self.cluster.peers.ended(region)

    def _ranges_changed(self, chance: Callable[[int], int]) -> None:
        """Learn that there are other regions, or that their ranges are others: clients' commands go there."""
        front, routes = self.front, self.regions.routes()
        self._slots.ranges_changed()
        if isinstance(front.host, Router) and isinstance(front.node_host, Router):
            front.host.route(routes)
            front.node_host.route(routes)
        elif len(routes) > 1:
            front.reroute(Router(routes, chance), self._node_router(chance))

    def _check_begun_with(self, wanted: int) -> None:
        """See that the slots are cut as they were when the store began."""
        begun = self.folder.begun_with(wanted)
        if begun != wanted:
            refuse(
                f"initial_regions is {wanted}, but this store began with {begun}: the slots stay as they were cut then;"
                f" set it to {begun}"
            )

    def _execution(self, first: Descriptor, regions: int, start_id: int, random: Random) -> Execution:
        """Put the commands of a region together, which is one of several."""
        budget = self.config.memory_budget // regions
        keyspace = Keyspace(self.rows, VALUE_TYPES, budget=budget, region=first.region, slots=first.slots)
        return Execution(
            keyspace,
            self.table,
            start_id=start_id,
            random=Random(random.getrandbits(64)),
            defect=self._defect,
        )

    def _born(self, region: int) -> RegionHost:
        """Make a region known that was split off another one, and is about to begin."""
        host = self.regions.hosts[region]
        self.control.serve(host).start()
        if self.cluster is not None:
            self.cluster.forwarders[-1].failed = self.front.refused
            self.cluster.peers.begun(region)
        return host

    def _begin_region(
        self,
        execution: Execution,
        recovered: Start,
        maker: ISnapshotMaker | None,
        ticks: Ticks,
        random: Random,
        begun: Storage | None,
        quiet_until: float | None,
    ) -> None:
        """
        Put a region together, and among other stores.

        @param begun: Its log, if there's more to be known of it than the file has yet.
        @param quiet_until: See L{replica_of}.
        """
        config, cluster = self.config, self.cluster
        region = recovered.descriptor.region
        log = self.log_reader.of(region)
        host = RegionHost(
            self.regions,
            replica=replica_of(
                recovered,
                raft=raft_config(config),
                log=log if begun is None else begun,
                log_writer=self.regions.log_writer,
                send=cluster.peers.of(region).send if cluster is not None else _nobody,
                clock=self._reactor,
                uptime=uptime,
                random=random,
                durations=self.metrics,
                quiet_until=quiet_until,
                ticks=ticks,
            ),
            descriptor=recovered.descriptor,
            execution=execution,
            now_ms=now_ms,
            random=Random(random.getrandbits(64)),
            applied=recovered.applied,
            uptime=uptime,
            request_timeout=config.request_timeout,
            expiry_effort=config.active_expire_effort,
            log_entries_max=config.log_entries_max,
            log_bytes_max=config.log_bytes_max // max(self._begun_with, 1 + len(self.regions.hosts)),
            read_mode=config.read_mode,
        )
        if cluster is not None:
            assert maker is not None, "a store among others makes snapshots"
            cluster.serve(host, self.table, lambda: self.front.flush(), maker, log)

    # Where clients of the cluster find stores

    def _cluster_address(self, store_id: int) -> tuple[str, int] | None:
        """Give host and port where they find a store; None if that isn't known."""
        if store_id == self.config.store_id:
            return cluster_address(self.config, self.front.ports.get("cluster"))
        told = None if self.cluster is None else self.cluster.addresses.serving(store_id)
        if told is None:
            return None
        host, _, port = told.rpartition(":")
        return host.strip("[]"), int(port)

    def _serves(self) -> str:
        """Give the address where they find this store, for the others; empty if there's none."""
        address = self._cluster_address(self.config.store_id)
        if address is None:
            return ""
        host, port = address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    # Ports

    def _wanted(self) -> list[Wanted]:
        """Name the ports to listen on: (name, endpoint, factory)."""
        config = self.config
        passed = self._passed
        wanted: list[Wanted] = []
        for endpoint in endpoints(self._reactor, "resp", config.bind, config.port, config.backlog, passed):
            wanted.append(("resp", endpoint, RespFactory(self.front)))
        if config.cluster_port is not None or "cluster" in passed:
            number = config.cluster_port or 0
            for endpoint in endpoints(self._reactor, "cluster", config.bind, number, config.backlog, passed):
                wanted.append(("cluster", endpoint, RespFactory(self.front, cluster=True)))
        if config.tls_port is not None or "tls" in passed:
            self._tls = TlsPort(config)
            for endpoint in endpoints(self._reactor, "tls", config.bind, config.tls_port or 0, config.backlog, passed):
                factory = RespFactory(self.front, tls=True)
                wanted.append(("tls", endpoint, self._tls.wrap(factory, self._reactor)))
        if config.http_port is not None or "http" in passed:
            for endpoint in endpoints(
                self._reactor, "http", [config.http_bind], config.http_port or 0, config.backlog, passed
            ):
                pages = status_resource(self.status, self.health, self.metrics.registry)
                pages.putChild(b"control", control_pages(config, self.control, self.cluster))
                wanted.append(("http", endpoint, status_site(pages, self._reactor)))
        return [*wanted, *self._wanted_by_stores()]

    def _wanted_by_stores(self) -> Iterator[Wanted]:
        """Name the port where other stores connect."""
        config = self.config
        if self.cluster is not None:
            factory = self.cluster.factory
            for endpoint in endpoints(
                self._reactor, "peer", [config.peer_bind], config.peer_port, config.backlog, self._passed
            ):
                yield "peer", endpoint, factory

    def _listening(self, ports: list[tuple[str, IListeningPort]]) -> None:
        for name, port in ports:
            address: Any = port.getHost()
            self.front.ports[name] = address.port
            if name in _CLIENT_PORTS:
                self._client_ports.append(port)
        if self.control.problem is not None:
            self._close_client_ports()
        folder = self.folder.path
        self.log.info("TinyKV {version} is ready, data in {folder}", version=tinykv.__version__, folder=folder)
        self._watch_disk()
        if self.scheduling is not None:
            self.scheduling.start()
        if self.split_check is not None:
            self.split_check.start()
        if self.load_check is not None:
            self.load_check.start()

    # Running

    def _watch_disk(self) -> None:
        loop = LoopingCall(self._look_at_disk)
        loop.clock = self._reactor
        self._loops.append(loop)
        loop.start(DISK_SECONDS)

    def _look_at_disk(self) -> None:
        """Refuse growing writes while the disk is nearly full, and give the ballast up meanwhile."""
        ballast = self.folder.ballast
        try:
            low = ballast.is_low(self.regions.table_bytes, self.rows.reader.reusable_bytes())
            if low and not self.regions.growing_refused:
                released = ballast.release()
                self.log.error(
                    "the disk of {folder} has less than {mark} bytes left: commands that make data grow are refused, "
                    "{released} bytes of ballast were given up",
                    folder=self.folder.path,
                    mark=self.config.disk_low_mark,
                    released=released,
                )
            elif not low and self.regions.growing_refused:
                ballast.restore()
                self.log.info("the disk of {folder} has room again", folder=self.folder.path)
            self.regions.growing_refused = low
        except StorageError as problem:
            self._stop_failed(problem)

    def _defect(self, command: str, problem: BaseException) -> None:
        """Learn that a command failed in a way it never should; it was undone."""
        self.front.defects += 1
        self.log.failure("{command} failed and was undone", Failure(problem), command=command)

    def split_by(self, chosen: SplitChoices) -> None:
        """Learn when regions are to be split, where the scheduler says it."""
        config = self.config
        if self.split_check is not None:
            self.split_check.choose(
                chosen.max_bytes or config.region_max_size, chosen.part_bytes or config.region_split_size
            )
        if self.load_check is not None:
            self.load_check.threshold = chosen.threshold or config.split_load_threshold

    # When the cluster doesn't count on this store any more

    def _serve_stores_only(self) -> None:
        """
        Learn that this store was removed, and is there for the others only.

        Its clients go elsewhere: it can't have writes done for them, and what it holds is no state of the cluster, in
        which nothing changes here any more, so that they mustn't read it either, not even as old data.
        """
        self._close_client_ports()
        self.front.quiesce()
        # Who waits in a blocking command, or for what nobody decides here any more, isn't told sooner.
        self._reactor.callLater(self.config.request_timeout, self._close_clients)

    def _close_client_ports(self) -> None:
        ports, self._client_ports = self._client_ports, []
        for port in ports:
            self._ports.remove(port)
            port.stopListening()

    def _close_clients(self) -> None:
        for session in list(self.front.sessions.values()):
            session.end()

    def _removed(self) -> None:
        """Learn that no other store needs this one any more."""
        try:
            self.removal_mark.set()
        except StorageError as problem:
            self.log.error("the next start has to ask anew whether it was removed: {problem}", problem=str(problem))
        if self.running:
            self._reactor.stop()

    # End

    async def _close(self) -> None:
        for loop in self._loops:
            loop.stop()
        self.front.quiesce()
        if self.split_check is not None:
            self.split_check.stop()
        if self.load_check is not None:
            self.load_check.stop()
        self.control.stop()
        if self.scheduling is not None:
            await self.scheduling.stop()
        try:
            if self._failed is None:
                await self._hand_over()
                await self.regions.close()
                if self.cluster is not None:
                    await self.cluster.close()
                await self._sizes.close()
                await self.summer.close()
                await self.read_ahead.close()
                await self.log_writer.close()
                await self.data_writer.close()
        finally:
            self.front.close()
            self.rows.reader.close()
            self.log_reader.close()
            self.folder.close()

    async def _hand_over(self) -> None:
        """Let another store lead before this one ends, so that clients needn't wait for an election."""
        self.regions.hand_over()
        if self.regions.transferring:
            await self._wait_for_another_leader(lambda: self.regions.transferring)
            # Who still sends commands here is refused, and so learns of it; what a link loses is of unknown outcome.
            await deferLater(self._reactor, _LEARN_SECONDS)

    # Questions

    def health(self) -> str | None:
        """Say what is wrong, or None."""
        if self._failed is not None:
            return "stopping after a failure"
        if self.cluster is not None and self.cluster.peers.disowned:
            return "its number is known with another folder: a store that lost its disk comes back under a new store_id"
        scheduled = bool(self.config.schedulers)
        hosts = self.regions.ordered
        # A store may have no peers of some regions, if it has any of others.
        held = [host for host in hosts if not host.vacant] or hosts
        problems = (problem_of(host, scheduled) for host in held)
        return self.control.problem or next(filter(None, problems), None)

    def status(self) -> dict[str, Any]:
        """Describe the store for /status."""
        described = describe(self.front, self.folder.identity, self.health())
        if self.scheduling is not None:
            described["scheduler"] = self.scheduling.complaints.problem or "ok"
        return described


def _never_up(store_id: int) -> bool:
    """Reach no other store, on a store that is on its own."""
    return False


def _nobody(message: Message) -> None:
    raise AssertionError(f"there is no peer {message.to}")
