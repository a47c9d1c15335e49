"""
The scheduler's daemon, put together: C{twistd tinyschedule --config FILE}.

Reads from top to bottom as the list of its parts: folder, state, group, links to other members, answers, ports. How
it starts and ends is in L{tinykv.tap.daemon}.
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

from twisted.application.service import IService
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IListeningPort, IStreamClientEndpoint
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

import tinykv
from tinykv.peering.address_book import AddressBook
from tinykv.peering.peering import Peering
from tinykv.peering.settings import PeerIdentity, PeerLimits
from tinykv.peering.snapshot_files import SnapshotFolder
from tinykv.raft.messages import Message
from tinykv.raft.refusals import Refused
from tinykv.region.descriptor import Descriptor
from tinykv.schedule.api import routes_of
from tinykv.schedule.choices import Choices
from tinykv.schedule.config import TABLE, ScheduleConfig
from tinykv.schedule.guard import Guard, RateLimit
from tinykv.schedule.host import ScheduleHost
from tinykv.schedule.http import Api, ApiSite, limited
from tinykv.schedule.leadership import Leadership
from tinykv.schedule.members import Members
from tinykv.schedule.metrics import Metrics
from tinykv.schedule.placing import Placing
from tinykv.schedule.recovery import REGION, recover
from tinykv.schedule.service import Scheduler
from tinykv.storage.folder import open_folder
from tinykv.storage.folder_ids import FolderIds
from tinykv.storage.log_reader import LogReader
from tinykv.storage.reader import Reader
from tinykv.storage.snapshot_folder import make_snapshots_folder
from tinykv.store.composition import replica_of, snapshots_of
from tinykv.store.runs import new_start_id
from tinykv.store.snapshots import Snapshots
from tinykv.tap import daemon
from tinykv.tap.daemon import DaemonService, Wanted, now_ms, service_of, uptime
from tinykv.tap.endpoints import endpoints
from tinykv.tap.peers import peer_tls, raft_config, read_secret, secret_of
from tinykv.tap.tls import TlsPort

#: Connections that may wait to be accepted.
_BACKLOG = 511


class Options(daemon.Options):
    """The command line of C{twistd tinyschedule}."""

    longdesc = "The scheduler of a TinyKV cluster. Options are in the file."


def makeService(options: Options) -> IService:
    """Make the daemon's service, or end with what is wrong with the configuration."""
    return service_of(options, TABLE, ScheduleConfig(), ScheduleService)


def cluster_id_of(config: ScheduleConfig) -> str:
    """Name the scheduler to its members: the same for all that have the same list. It isn't the stores' cluster id."""
    members = ",".join(str(member.store_id) for member in config.initial_members)
    return sha256(f"schedule {config.cluster_name} {members}".encode()).hexdigest()[:32]


class ScheduleService(DaemonService):
    """
    One member, from its folder to its ports.

    @ivar host: The replicated state, once started.
    @ivar scheduler: The answers, once started.
    """

    name = "tinyschedule"
    program = "TinySchedule"
    log = Logger()
    host: ScheduleHost

    def __init__(self, config: ScheduleConfig, reactor: Any, passed: dict[str, int] | None = None) -> None:
        super().__init__(reactor, passed)
        self.config = config
        self._peering: Peering | None = None
        self._snapshots: Snapshots | None = None
        self.metrics = Metrics()

    # Start

    def _open(self) -> None:
        config, reactor = self.config, self._reactor
        random: Random = SystemRandom()
        self.folder = folder = open_folder(
            str(config.data_dir), config.member_id, cluster_id_of(config), ballast_bytes=config.ballast_bytes
        )
        if not folder.identity.cluster_id:
            folder.set_cluster(cluster_id_of(config))
        self.reader = reader = Reader(folder.data_path)
        numbers = [member.store_id for member in config.initial_members] or [config.member_id]
        recovered = recover(folder, reader, Descriptor.initial(REGION, numbers), config.member_id)
        members = self._members(random)
        self.log_reader = LogReader(folder.raft_path, REGION)
        self.log_writer, self.data_writer = folder.start_writers(reactor)
        replica = replica_of(
            recovered,
            raft=raft_config(config),
            log=self.log_reader,
            log_writer=self.log_writer,
            send=members.send if members is not None else _nobody,
            clock=reactor,
            uptime=uptime,
            random=random,
            durations=self.metrics,
        )
        self.host = host = ScheduleHost(
            recovered=recovered,
            replica=replica,
            reader=reader,
            log_writer=self.log_writer,
            data_writer=self.data_writer,
            installer=self.data_writer,
            clock=reactor,
            uptime=uptime,
            durations=self.metrics,
            stopped=self._stop_failed,
        )
        self.log_writer.failed(host.fail)
        self.data_writer.failed(host.fail)
        if members is not None:
            self._join(members)
        self.leadership = leadership = Leadership(
            host=host, url=self._url(), now_ms=now_ms, new_cluster_id=lambda: f"{random.getrandbits(64):016x}"
        )
        choices = Choices(host=host, now_ms=now_ms)
        self.placing = Placing(
            host=host,
            leadership=leadership,
            choices=choices,
            clock=reactor,
            now_ms=now_ms,
            seconds=uptime,
            random=Random(random.getrandbits(64)),
        )
        self.scheduler = Scheduler(
            host=host,
            leadership=leadership,
            placing=self.placing,
            now_ms=now_ms,
            bootstrap_stores=config.bootstrap_stores,
            initial_regions=config.initial_regions,
            health=self.health,
            members={member.store_id: member.address for member in config.initial_members},
        )
        hosts = {member.address.rpartition(":")[0].lower() for member in config.initial_members}
        if config.http_advertise:
            hosts.add(config.http_advertise.partition("://")[2].rpartition(":")[0].lower())
        self.api = Api(
            table=routes_of(self.scheduler, self.placing, choices),
            guard=Guard(secret_of(config.token, config.token_file, "http", "token_file"), hosts),
            limit=RateLimit(config.request_rate, uptime),
            leads=lambda: leadership.leads,
            leader=lambda: host.leader,
            url_of=host.state.url_of,
            health=self.health,
            registry=self.metrics.registry,
        )
        self._measure()
        host.start()

    def _members(self, random: Random) -> Members | None:
        """
        Make the links to the other members, if there are any.

        @raise ConfigError: The secret or a certificate can't be read.
        """
        config, reactor = self.config, self._reactor
        if not config.initial_members:
            return None
        tls = self._peer_tls = peer_tls(config)
        addresses = dict(config.initial_members)

        def dial(address: str) -> IStreamClientEndpoint:
            host, _, port = address.rpartition(":")
            endpoint = HostnameEndpoint(reactor, host.strip("[]"), int(port), timeout=5)
            return endpoint if tls is None else tls.dialling(endpoint, reactor)

        others = {member: address for member, address in addresses.items() if member != config.member_id}
        self._peering = peering = Peering(
            clock=reactor,
            identity=PeerIdentity(
                cluster_id=cluster_id_of(config),
                store_id=config.member_id,
                folder_id=self.folder.identity.folder_id,
                start_id=new_start_id(config.member_id, random),
                address=config.peer_advertise or addresses[config.member_id],
                secret=read_secret(config),
            ),
            limits=PeerLimits(),
            folder_ids=FolderIds(Path(config.data_dir)),
            addresses=AddressBook(dial, others),
            files=SnapshotFolder(
                Path(make_snapshots_folder(str(config.data_dir))),
                lambda function: deferToThreadPool(reactor, reactor.getThreadPool(), function),
            ),
            entropy=os.urandom,
            random=Random(random.getrandbits(64)),
            now_ms=now_ms,
        )
        self._peer_factory: Any = peering.acceptor if tls is None else tls.listening(peering.acceptor, reactor)
        members = Members(peering)
        peering.handle(members)
        return members

    def _join(self, members: Members) -> None:
        """Put the host among the other members."""
        host, reactor, peering = self.host, self._reactor, self._peering
        assert peering is not None, "there are links"
        pool = reactor.getThreadPool()
        self._snapshots = snapshots = snapshots_of(
            host,
            log=self.log_reader,
            maker=self.folder.snapshot_maker(reactor, lambda step: deferToThreadPool(reactor, pool, step)),
            sends=peering,
            clock=reactor,
        )
        members.serve(host, snapshots)
        for member in host.descriptor.stores.values():
            if member != self.config.member_id:
                peering.connect(member)

    def _url(self) -> str:
        """Give the URL by which others are told to reach this member."""
        config = self.config
        if config.http_advertise:
            return config.http_advertise
        host = f"[{config.http_bind}]" if ":" in config.http_bind else config.http_bind
        return f"{'http' if config.tls_cert is None else 'https'}://{host}:{config.http_port}"

    def _wanted(self) -> list[Wanted]:
        config, reactor = self.config, self._reactor
        factory: Any = ApiSite(self.api, reactor)
        if config.tls_cert is not None:
            self._tls = TlsPort(config)
            factory = self._tls.wrap(factory, reactor)
        factory = limited(factory, config.connections_max)
        wanted: list[Wanted] = [
            ("http", endpoint, factory)
            for endpoint in endpoints(reactor, "http", [config.http_bind], config.http_port, _BACKLOG, self._passed)
        ]
        if self._peering is not None:
            wanted += [
                ("peer", endpoint, self._peer_factory)
                for endpoint in endpoints(reactor, "peer", [config.peer_bind], config.peer_port, _BACKLOG, self._passed)
            ]
        return wanted

    def _listening(self, ports: list[tuple[str, IListeningPort]]) -> None:
        version, folder = tinykv.__version__, self.folder.path
        self.log.info("TinySchedule {version} is ready, state in {folder}", version=version, folder=folder)

    def _measure(self) -> None:
        host, metrics, api = self.host, self.metrics, self.api
        metrics.gauge("leads", "1 while this member leads.", lambda: int(self.leadership.leads))
        metrics.gauge("term", "The group's term.", lambda: host.group.term)
        metrics.gauge("applied_index", "Index of the last entry applied.", lambda: host.applied)
        metrics.gauge("waiting_proposals", "Questions that wait to be decided.", lambda: host.waiting)
        metrics.gauge("stores", "Stores that are registered.", lambda: len(host.state.stores))
        placing = self.placing
        metrics.gauge("regions", "Regions that were heard of.", lambda: len(placing.cluster.regions))
        metrics.gauge(
            "warnings",
            "What a person should look at, as GET /warnings tells it.",
            lambda: len(placing.warnings) if self.leadership.leads else 0,
        )
        metrics.gauge("operators_running", "Operators that run.", lambda: len(placing.placement.controller.running))
        metrics.counters(
            "operators_ended",
            "Operators that ended in this term, by how.",
            "status",
            lambda: {status.value: number for status, number in placing.placement.controller.ended.items()},
        )
        metrics.counters(
            "answers", "Questions answered, by status.", "code", lambda: {str(c): n for c, n in api.answered.items()}
        )

    # Running

    def health(self) -> str | None:
        """Say what is wrong, or None."""
        if self._failed is not None:
            return "stopping after a failure"
        return None if self.host.leader else "no member leads: a majority isn't reached"

    # End

    async def _close(self) -> None:
        self.placing.stop()
        try:
            if self._failed is None:
                await self._hand_over()
                await self.host.close()
                if self._snapshots is not None:
                    await self._snapshots.close()
                if self._peering is not None:
                    await self._peering.close()
                await self.log_writer.close()
                await self.data_writer.close()
        finally:
            self.reader.close()
            self.log_reader.close()
            self.folder.close()

    async def _hand_over(self) -> None:
        """Let another member lead before this one ends, so that nobody needs to wait for an election."""
        group = self.host.group
        others = [(known.match, peer) for peer, known in group.progress().items() if peer != group.peer]
        if not group.leads or not others:
            return
        try:
            group.transfer_leader(max(others)[1])
        except Refused as problem:
            self.log.info("leadership isn't handed over: {why}", why=str(problem))
            return
        self.host.replica.go_on()
        await self._wait_for_another_leader(lambda: group.transferring)


def _nobody(message: Message) -> None:
    raise AssertionError(f"there is no peer {message.to}")
