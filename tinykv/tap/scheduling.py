"""
What ties a store to its scheduler, put together: the client, what's told, and what's done when told.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any

from twisted.internet.ssl import platformTrust
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.iweb import IPolicyForHTTPS

from tinykv.client.scheduler import Scheduler
from tinykv.client.tls import ScheduleTls, TlsProblem
from tinykv.config import ConfigError, StoreConfig
from tinykv.gateway.config import GatewayConfig
from tinykv.placement.stores import StoreStats
from tinykv.storage.beginning import Beginning
from tinykv.storage.disk import disk_space
from tinykv.storage.folder import DataFolder
from tinykv.store.orders import Orders
from tinykv.store.region_reports import LedRegion, Measured, RegionReports
from tinykv.store.scheduling import Registration, Scheduling
from tinykv.tap.cluster import Cluster
from tinykv.tap.peers import peer_address, secret_of
from tinykv.tap.split_check import data_bytes

if TYPE_CHECKING:
    from tinykv.tap.store import StoreService

#: How long it may take to connect to a scheduler, in seconds.
CONNECT_SECONDS = 3.0

_SOURCE = "configuration"


def scheduler_of(config: StoreConfig | GatewayConfig, reactor: Any) -> Scheduler:
    """
    Make the client of the scheduler.

    @raise ConfigError: The token or a certificate can't be read.
    """
    pool = HTTPConnectionPool(reactor)
    # What was sent on a kept connection that had ended isn't sent again by it: the client knows better what to do.
    pool.retryAutomatically = False
    agent = Agent(reactor, _policy(config), connectTimeout=CONNECT_SECONDS, pool=pool)
    return Scheduler(
        addresses=config.schedulers,
        agent=agent,
        clock=reactor,
        random=Random(SystemRandom().getrandbits(64)),
        token=secret_of(config.schedule_token, config.schedule_token_file, "schedule", "schedule_token_file"),
        tls=config.schedule_tls_ca is not None,
        pool=pool,
    )


def _policy(config: StoreConfig | GatewayConfig) -> IPolicyForHTTPS:
    """
    Give whom to believe.

    @raise ConfigError: A file can't be used.
    """
    authority, certificate, key = config.schedule_tls_ca, config.schedule_tls_cert, config.schedule_tls_key
    if authority is None:
        # It's asked without TLS, so this is never used.
        return BrowserLikePolicyForHTTPS(platformTrust())
    try:
        return ScheduleTls(authority, certificate, key)
    except TlsProblem as problem:
        options = {certificate: "schedule_tls_cert", key: "schedule_tls_key", authority: "schedule_tls_ca"}
        raise ConfigError(_SOURCE, "schedule", options[problem.path], str(problem)) from problem


def registration_of(config: StoreConfig, folder: DataFolder, port: Callable[[], int]) -> Registration:
    """
    Make what the store says of itself.

    @param port: Gives the port of its clients.
    """

    def client_address() -> str:
        host, number = config.advertise or (config.bind[0], port())
        return f"[{host}]:{number}" if ":" in host else f"{host}:{number}"

    return Registration(
        store_id=config.store_id,
        folder_id=folder.identity.folder_id,
        address=peer_address(config),
        client_address=client_address,
        labels=dict(config.labels),
    )


def scheduling_of(
    store: StoreService,
    reactor: Any,
    cluster: Cluster,
    scheduler: Scheduler,
    registration: Registration,
    beginning: Beginning,
) -> Scheduling:
    """Put together what tells the scheduler of a store, once its other parts are there."""
    config, hosts = store.config, store.regions.hosts
    clock = reactor
    reports = RegionReports(
        store_id=config.store_id,
        regions=lambda: tuple(hosts.values()),
        is_up=cluster.peering.is_up,
        measure=lambda region: _measured(store, region),
        now=clock.seconds,
        interval=config.schedule_heartbeat / 2,
    )
    scheduling = Scheduling(
        scheduler=scheduler,
        registration=registration,
        cluster_id=beginning.cluster_id,
        beginning=beginning.regions,
        clock=clock,
        interval=config.schedule_heartbeat,
        stats=lambda: _stats(store, cluster),
        reports=reports,
        is_up=cluster.peering.is_up,
        addresses=cluster.addresses,
        chosen=store.split_by,
    )
    scheduling.orders = Orders(
        store_id=config.store_id,
        region=hosts.get,
        is_up=cluster.peering.is_up,
        address=lambda number: cluster.addresses.address(number) or scheduling.address(number),
        split=lambda region, slots: store.control.split(region, slots, 2),
        merge=lambda region, target: store.control.merge(region, target),
    )
    return scheduling


def _measured(store: StoreService, region: LedRegion) -> Measured:
    """Measure a region; what nobody counts for each of several is shared out among them."""
    hosts = store.regions.hosts
    host = hosts[region.descriptor.region]
    held = sum(not other.vacant for other in hosts.values()) or 1
    keyspace = host.keyspace
    size = None if store.split_check is None else store.split_check.size(region.descriptor.region)
    return Measured(
        size=data_bytes(store) // held if size is None else size,
        keys=sum(db.keys for db in keyspace.physical),
        reads=host.execution.reads,
        # Raised by every command that writes, whichever store its client is connected to.
        writes=keyspace.sequence,
        read_bytes=host.execution.read_bytes,
        write_bytes=host.queue.bytes,
    )


def _stats(store: StoreService, cluster: Cluster) -> StoreStats:
    """
    Say how the store is.

    @raise tinykv.storage.errors.StorageError: Its disk can't be looked at.
    """
    hosts = store.regions.hosts.values()
    disk = disk_space(store.folder.path)
    capacity = store.config.capacity or disk.capacity
    free = min(disk.free, max(capacity - data_bytes(store), 0))
    return StoreStats(
        capacity=capacity,
        available=min(free, capacity),
        regions=sum(
            bool(host.group.peer) and host.descriptor.peer_on(store.config.store_id) is not None for host in hosts
        ),
        busy=any(host.busy or host.stalled or host.growing_refused for host in hosts),
        snapshots_sending=sum(snapshots.sending for snapshots in cluster.snapshots),
        snapshots_receiving=sum(host.group.restoring is not None for host in hosts),
    )
