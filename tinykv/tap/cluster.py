"""
A store's part in a cluster, put together: its links to the others, and what goes over them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.threads import deferToThreadPool

from tinykv.config import StoreConfig
from tinykv.interfaces import ISnapshotMaker
from tinykv.peering.address_book import AddressBook
from tinykv.peering.peering import Peering
from tinykv.peering.snapshot_files import SnapshotFolder
from tinykv.storage.folder_ids import FolderIds
from tinykv.storage.known_addresses import KnownAddresses
from tinykv.storage.schema import Identity
from tinykv.storage.snapshot_folder import make_snapshots_folder
from tinykv.store.clock_watch import ClockWatch
from tinykv.store.composition import Log, join_stores
from tinykv.store.forwarding import Forwarder
from tinykv.store.host import RegionHost
from tinykv.store.peers import Peers
from tinykv.store.regions import Regions
from tinykv.store.snapshots import Snapshots
from tinykv.tap.peers import peer_address, peer_addresses, peer_identity, peer_limits, peer_tls


class Cluster:
    """
    The others, as this store sees them.

    @ivar peering: The links; C{addresses} is where they lead.
    @ivar peers: What comes over them.
    @ivar forwarders: What clients want that another store has to do, region by region; C{snapshots} likewise.
    @ivar clock_watch: Compares the stores' clocks; once there are regions.
    """

    clock_watch: ClockWatch

    def __init__(
        self,
        config: StoreConfig,
        reactor: Any,
        identity: Identity,
        start_id: int,
        told: Mapping[int, str],
        serves: Callable[[], str],
    ) -> None:
        """
        @param identity: Whose folder it is.
        @param told: Where the scheduler says that stores are, by id; nothing where it wasn't asked.
        @param serves: Gives the address where clients of the cluster find this store; empty for none.
        @raise tinykv.config.ConfigError: The secret or a certificate can't be read.
        @raise tinykv.storage.errors.StorageError: The lists of the other stores' folders and addresses can't be read,
            or the folder of snapshots can't be made.
        """
        self._config = config
        self._reactor = reactor
        self.tls = peer_tls(config)
        snapshots = Path(make_snapshots_folder(str(config.data_dir)))
        known = KnownAddresses(Path(config.data_dir), peer_addresses(config))
        self.addresses = AddressBook(self._dial, known.addresses, known.keep)
        for store, address in told.items():
            if store != config.store_id and self.addresses.has_room(store):
                self.addresses.told(store, address)
        self.peering = Peering(
            clock=reactor,
            identity=peer_identity(config, identity.cluster_id, identity.folder_id, start_id),
            limits=peer_limits(config),
            folder_ids=FolderIds(Path(config.data_dir)),
            addresses=self.addresses,
            files=SnapshotFolder(
                snapshots, lambda function: deferToThreadPool(reactor, reactor.getThreadPool(), function)
            ),
            entropy=os.urandom,
            random=Random(),
            now_ms=lambda: int(time.time() * 1000),
            serves=serves,
        )
        self.peers = Peers(self.peering, reactor)
        self.peers.addresses = lambda: {**self.addresses.known, config.store_id: peer_address(config)}
        self.peers.known_otherwise = lambda: self.peering.figures.refused_out["folder"] > 0
        self.forwarders: list[Forwarder] = []
        self.snapshots: list[Snapshots] = []
        self.peering.handle(self.peers)

    def _dial(self, address: str) -> IStreamClientEndpoint:
        host, _, port = address.rpartition(":")
        endpoint = HostnameEndpoint(self._reactor, host.strip("[]"), int(port), timeout=5)
        return endpoint if self.tls is None else self.tls.dialling(endpoint, self._reactor)

    def serve(self, host: RegionHost, table: Any, answered: Any, maker: ISnapshotMaker, log: Log) -> None:
        """Take a region in."""
        forwarder, snapshots = join_stores(
            host,
            peers=self.peers,
            links=self.peering,
            store_id=self._config.store_id,
            table=table,
            maker=maker,
            log=log,
            clock=self._reactor,
            request_timeout=self._config.request_timeout,
            answered=answered,
            local_reads=self._config.read_mode == "local",
        )
        self.forwarders.append(forwarder)
        self.snapshots.append(snapshots)

    def start(self, regions: Regions) -> None:
        """Begin, with all regions that there are."""
        hosts = regions.ordered
        self.clock_watch = ClockWatch(
            hosts=hosts,
            store_id=self._config.store_id,
            clocks=self.peering.clocks,
            is_up=self.peering.is_up,
            clock=self._reactor,
            max_offset_ms=1000 * self._config.max_clock_offset,
        )
        self.clock_watch.start()
        for store in sorted({store for host in hosts for store in host.descriptor.stores.values()}):
            if store != self._config.store_id:
                self.peering.connect(store)

    @property
    def factory(self) -> Any:
        """What serves the port where other stores connect."""
        acceptor = self.peering.acceptor
        return acceptor if self.tls is None else self.tls.listening(acceptor, self._reactor)

    def close(self) -> Deferred[None]:
        """End all links; fires when they're closed."""
        for forwarder in self.forwarders:
            forwarder.close()
        self.clock_watch.stop()
        closing = gatherResults([snapshots.close() for snapshots in self.snapshots])
        return closing.addCallback(lambda _: self.peering.close())
