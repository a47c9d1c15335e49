"""
The gateway's daemon, put together: C{twistd tinykv-gateway --config FILE}.

Reads from top to bottom as the list of its parts: links, what they say of regions, front, ports. How it starts and ends
is in L{tinykv.tap.daemon}.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from random import Random, SystemRandom
from typing import Any, Final

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IListeningPort, IReactorFDSet, IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger

import tinykv
from tinykv.client.scheduler import Scheduler
from tinykv.gateway.config import TABLE, GatewayConfig
from tinykv.gateway.gateway import Gateway, Place
from tinykv.gateway.regions import DistantRegion, Forwards
from tinykv.peering.gateway_links import GatewayLinks
from tinykv.peering.settings import PeerLimits
from tinykv.placement.stores import Life
from tinykv.redis.commands import MODULES
from tinykv.redis.table import commands_of
from tinykv.server.commands import CONNECTION_MODULES
from tinykv.server.front import Front, RespFactory
from tinykv.server.http_status import status_resource, status_site
from tinykv.server.intake import Intake
from tinykv.server.metrics import Metrics
from tinykv.server.router import Router
from tinykv.store.forwarding import Forwarder
from tinykv.store.runs import gateway_of, new_gateway_run
from tinykv.tap import daemon
from tinykv.tap.daemon import DaemonService, Wanted, now_ms, service_of
from tinykv.tap.endpoints import check_passed, endpoints
from tinykv.tap.peers import peer_tls, read_secret
from tinykv.tap.scheduling import scheduler_of
from tinykv.tap.tls import TlsPort

#: How often it's looked at the end whether clients have what they're owed, in seconds.
_LOOK_SECONDS: Final = 0.05
#: For how long stores are told at the end that clients who waited have gone, in seconds.
_FAREWELL_SECONDS: Final = 1.0
#: No store is a gateway's own.
_NO_STORE: Final = 0


class Options(daemon.Options):
    """The command line of C{twistd tinykv-gateway}."""

    longdesc = "The front of a TinyKV cluster, without data. Options are in the file."


def makeService(options: Options) -> IService:
    """Make the daemon's service, or end with what is wrong with the configuration."""
    return service_of(options, TABLE, GatewayConfig(), GatewayService, check_passed)


class GatewayService(DaemonService):
    """
    One gateway, from its links to its ports.

    @ivar gateway: What it knows of stores and regions.
    @ivar front: What client connections share, once started.
    """

    name = "tinykv-gateway"
    program = "TinyKV gateway"
    port_options = {"resp": "port"}
    log = Logger()
    gateway: Gateway
    links: GatewayLinks
    front: Front

    def __init__(self, config: GatewayConfig, reactor: Any, passed: dict[str, int] | None = None) -> None:
        super().__init__(reactor, passed)
        self.config = config
        self.metrics = Metrics()
        self.scheduler: Scheduler | None = None
        self._router: Router | None = None
        self._random: Random = SystemRandom()
        #: The first word on which regions there are, while it's waited for; and that word.
        self._known: Deferred[None] | None = None
        self._places: list[Place] = []

    # Start

    def _prepare(self) -> Deferred[None] | None:
        config, reactor = self.config, self._reactor
        start_id = new_gateway_run(self._random)
        gateway_id = gateway_of(start_id)
        assert gateway_id is not None, "it's a gateway's"
        self._peer_tls = tls = peer_tls(config)

        def dial(address: str) -> IStreamClientEndpoint:
            host, _, port = address.rpartition(":")
            endpoint = HostnameEndpoint(reactor, host.strip("[]"), int(port), timeout=5)
            return endpoint if tls is None else tls.dialling(endpoint, reactor)

        self.links = links = GatewayLinks(
            clock=reactor,
            gateway_id=gateway_id,
            start_id=start_id,
            secret=read_secret(config),
            dial=dial,
            limits=PeerLimits(),
            entropy=os.urandom,
            random=Random(self._random.getrandbits(64)),
            now_ms=now_ms,
        )
        if config.schedulers:
            self.scheduler = scheduler_of(config, reactor)
        self.gateway = gateway = Gateway(
            start_id=start_id,
            links=links,
            clock=reactor,
            request_timeout=config.request_timeout,
            answered=self._answered,
            forwarder=self._forwarder,
            scheduled=None if self.scheduler is None else self._stores,
        )
        gateway.routed = self._routed
        links.handle(gateway)
        known: Deferred[None] = Deferred()
        self._known = known
        self.log.info("the gateway asks which regions there are")
        gateway.start(dict(config.stores))
        return known

    def _stores(self) -> Deferred[Mapping[int, str]]:
        """Ask the scheduler where the stores are that belong to the cluster."""
        assert self.scheduler is not None, "there's one to be asked"
        asked = self.scheduler.stores()
        return asked.addCallback(
            lambda stores: {
                store: record.address for store, record in stores.items() if record.life is not Life.TOMBSTONE
            }
        )

    def _forwarder(self, region: DistantRegion, leader: Callable[[], int | None]) -> Forwards:
        forwarder = Forwarder(
            region=region.region,
            here=region,
            links=self.links,
            leader_store=leader,
            own_store=_NO_STORE,
            clock=self._reactor,
            request_timeout=self.config.request_timeout,
            answered=self._answered,
        )
        forwarder.refused = self.gateway.told
        forwarder.astray = self.gateway.went_astray
        if self._router is not None:
            forwarder.failed = self.front.refused
        return forwarder

    def _answered(self) -> None:
        if self._router is not None:
            self.front.flush()

    def _routed(self, places: list[Place]) -> None:
        """Learn which regions there are; clients are served from when that is known for the first time."""
        self._places = places
        if self._router is not None:
            self._router.route(places)
        elif self._known is not None:
            known, self._known = self._known, None
            # What said so is still being read.
            self._reactor.callLater(0, known.callback, None)

    async def _abandon(self) -> None:
        await self._close_links()

    def _open(self) -> None:
        reactor = self._reactor
        self._router = router = Router(self._places, self._random.randrange)
        self.gateway.way = router
        self.front = Front(
            router,
            commands_of(MODULES),
            CONNECTION_MODULES,
            config=self.config,
            clock=reactor,
            now=time.time,
            shutdown=reactor.stop,
        )
        for _, region in self._places:
            forwarder: Any = region.forwarder
            forwarder.failed = self.front.refused
        if Intake.supported and IReactorFDSet.providedBy(reactor):
            self.front.intake = Intake(reactor, self.front.flush)
        self._measure()
        self.front.start()

    def _wanted(self) -> list[Wanted]:
        config, reactor, passed = self.config, self._reactor, self._passed
        wanted: list[Wanted] = []
        for endpoint in endpoints(reactor, "resp", config.bind, config.port, config.backlog, passed):
            wanted.append(("resp", endpoint, RespFactory(self.front)))
        if config.tls_port is not None or "tls" in passed:
            self._tls = TlsPort(config)
            for endpoint in endpoints(reactor, "tls", config.bind, config.tls_port or 0, config.backlog, passed):
                wanted.append(("tls", endpoint, self._tls.wrap(RespFactory(self.front, tls=True), reactor)))
        if config.http_port is not None or "http" in passed:
            pages = status_resource(self.status, self.health, self.metrics.registry)
            for endpoint in endpoints(
                reactor, "http", [config.http_bind], config.http_port or 0, config.backlog, passed
            ):
                wanted.append(("http", endpoint, status_site(pages, reactor)))
        return wanted

    def _listening(self, ports: list[tuple[str, IListeningPort]]) -> None:
        for name, port in ports:
            address: Any = port.getHost()
            self.front.ports[name] = address.port
        version, count = tinykv.__version__, len(self.gateway.regions)
        self.log.info("TinyKV gateway {version} is ready, {count} regions", version=version, count=count)

    def _measure(self) -> None:
        metrics, front, gateway, links = self.metrics, self.front, self.gateway, self.links
        counter, gauge = metrics.counter, metrics.gauge
        metrics.info(tinykv.__version__, self.config.cluster_name)
        gauge("connected_clients", "Clients connected.", lambda: len(front.sessions))
        gauge("blocked_clients", "Clients that wait in a blocking command.", self._waiting)
        counter("connections_total", "Connections accepted.", lambda: front.accepted)
        counter("connections_refused_total", "Connections refused over maxclients.", lambda: front.rejected)
        counter("protocol_errors_total", "Clients closed for breaking the protocol.", lambda: front.protocol_errors)
        counter("auth_failures_total", "Wrong passwords.", lambda: front.failed_auths)
        counter("output_limit_closes_total", "Clients closed for not reading.", lambda: front.output_limit_closes)
        counter("defects_total", "Commands that failed unexpectedly.", lambda: front.defects)
        metrics.counters("commands_total", "Calls of commands.", "command", front.calls)
        gauge("stores_reached", "Stores that are reached.", lambda: len(links.up))
        gauge("regions", "Regions that are known.", lambda: len(gateway.regions))
        gauge(
            "regions_without_leader",
            "Regions whose leader isn't known or isn't reached.",
            lambda: sum(gateway.leader(region) is None for region in gateway.regions),
        )
        counter("route_questions_total", "Times stores were asked where regions are.", lambda: gateway.questions)
        counter("astray_total", "Commands that had to go to another region.", lambda: gateway.astray)
        figures = links.figures
        counter("batches_sent_total", "Batches of commands sent to stores.", lambda: figures.forwards_out)
        counter("batches_refused_total", "Batches that couldn't be sent.", lambda: figures.forwards_refused)
        counter("batches_unknown_total", "Batches of unknown outcome.", lambda: figures.forwards_unknown)

    def _waiting(self) -> int:
        return sum(len(region.waiters) for region in self.gateway.regions.values())

    # End

    async def _close(self) -> None:
        front = self.front
        front.quiesce()
        await self._wait_while(lambda: self.gateway.holds, self.config.request_timeout)
        front.close()
        # Those who waited have gone, which the stores are told.
        await self._wait_while(lambda: self.gateway.holds, _FAREWELL_SECONDS)
        await self._close_links()

    async def _wait_while(self, holds: Callable[[], bool], seconds: float) -> None:
        left = seconds
        while holds() and left > 0:
            await deferLater(self._reactor, _LOOK_SECONDS)
            left -= _LOOK_SECONDS

    async def _close_links(self) -> None:
        self.gateway.close()
        if self.scheduler is not None:
            await self.scheduler.close()
        await self.links.close()

    # Questions

    def health(self) -> str | None:
        """Say what is wrong, or None."""
        if self._failed is not None:
            return "stopping after a failure"
        return self.gateway.problem

    def status(self) -> dict[str, Any]:
        """Describe the gateway for /status."""
        front, gateway, problem = self.front, self.gateway, self.health()
        return {
            "name": self.config.cluster_name,
            "version": tinykv.__version__,
            "cluster": self.links.cluster_id,
            "healthy": problem is None,
            "problem": problem,
            "started": front.started,
            "uptime_seconds": round(front.now() - front.started, 3),
            "ports": dict(front.ports),
            "clients": len(front.sessions),
            "blocked_clients": self._waiting(),
            "commands": front.commands,
            "operations_per_second": round(front.operations_per_second, 1),
            "stores": sorted(self.links.up),
            "regions": {str(region): gateway.leader(region) for region in sorted(gateway.regions)},
        }
