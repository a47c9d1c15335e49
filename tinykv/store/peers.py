"""
What other stores say to this one, and where it goes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from tinykv.errors import Fault
from tinykv.interfaces import IForwardAnswer, IPeerHandler, IPeering
from tinykv.peering.settings import GATEWAYS
from tinykv.raft.membership import MAX_MEMBERS
from tinykv.raft.messages import APPEND, HEARTBEAT, PRE_VOTE, SNAPSHOT, VOTE, Message, SnapshotMeta
from tinykv.raft.wire import Malformed, decode_message
from tinykv.redis.forwarded import region_of
from tinykv.redis.waiters import Origin
from tinykv.region.routes import Route, encode_routes
from tinykv.storage.errors import StorageError
from tinykv.storage.snapshot_format import SnapshotHead, read_head
from tinykv.store.control import Control
from tinykv.store.forwarding import Receiver
from tinykv.store.host import RegionHost
from tinykv.store.remote_clients import GatewayWaiter
from tinykv.store.runs import gateway_of
from tinykv.store.snapshots import Snapshots
from tinykv.store.surroundings import MARK

#: Messages that only the leader of a group sends.
_OF_LEADERS = frozenset((APPEND, HEARTBEAT, SNAPSHOT))

#: Messages by which a region begins whose peer here is about to be made: it was cut off another one, which this store
#: applies a little later than others do.
_OF_CANDIDATES = frozenset((PRE_VOTE, VOTE))
#: Regions that aren't here of which such messages are kept; and of how many peers of each.
PARKED_REGIONS = 64
PARKED_PEERS = 16

#: Clients that wait at a store which hasn't been reached for so long are taken for gone, in seconds.
LOST_SECONDS = 20.0

#: How long it's remembered since when a gateway is gone, for its clients that wait, in seconds.
_REMEMBERED_SECONDS = 10 * LOST_SECONDS

_NOT_HERE = "it's for a region or a peer that isn't here"


class RegionPeers:
    """
    The peers of one region, here and on other stores.

    @ivar host: The region on this store; there from L{serve} on.
    """

    log = Logger()
    host: RegionHost

    def __init__(self, peers: Peers, region: int, peering: IPeering) -> None:
        self.region = region
        self._peers = peers
        self._peering = peering
        self._receiver: Receiver | None = None
        self._snapshots: Snapshots | None = None
        #: The snapshots that have arrived and are to be installed, oldest first: what each stands for, its file, and
        #: the regions whose place it takes as well.
        self._arrived: list[tuple[SnapshotMeta, str, tuple[int, ...]]] = []
        #: Where peers are that the descriptor doesn't know, by whence they spoke: it's older than theirs.
        self._heard: dict[int, int] = {}
        #: The store that leads, by the word of another one: for a store without a peer of the region.
        self.hint: int | None = None

    def serve(self, host: RegionHost, receiver: Receiver, snapshots: Snapshots) -> None:
        """Say who takes what comes in; before anything does."""
        self.host = host
        self._receiver = receiver
        self._snapshots = snapshots
        host.arrived = self._take
        host.sources = self._sources
        host.lost_stores = self._peers.lost
        host.lost_runs = self._peers.lost_runs
        host.execution.tell_distant(self._peers.waiting_at_gateway)

    def end(self) -> None:
        """Learn that the region has ended here."""
        if self._snapshots is not None:
            self._snapshots.end()

    def store_of(self, peer: int) -> int | None:
        """Name the store of a peer, as far as it's known."""
        store = self.host.descriptor.stores.get(peer)
        return self._heard.get(peer) if store is None else store

    @property
    def route(self) -> Route:
        """Say where the region is, as far as it's known here."""
        descriptor, group = self.host.descriptor, self.host.group
        leader = self.leader_store() or 0
        return Route(self.region, *descriptor.slots, descriptor.version, group.term, leader)

    def leader_store(self) -> int | None:
        """Name the store that leads, as far as it's known: where no leader speaks to this store, others say it."""
        host = self.host
        leader = host.group.leader_id
        if leader and not host.departed:
            return self.store_of(leader)
        return self.hint if host.vacant else None

    # Out

    def send(self, message: Message) -> None:
        """Send a message to the peer that it's for."""
        store = self.store_of(message.to)
        if store is None:
            self._peers.strays += 1
        elif message.kind == SNAPSHOT:
            assert self._snapshots is not None
            self._snapshots.send(store, message)
        else:
            self._peering.send(store, self.region, message)

    # In

    def received(self, store_id: int, message: Message) -> None:
        """Take a Raft message."""
        host = self.host
        if not host.group.last and self._peers.disowned:
            self._peers.strays += 1
            return
        if message.to != host.group.peer and not self._is_for_here(store_id, message):
            self._peers.strays += 1
            if message.kind in _OF_CANDIDATES and not host.group.peer and message.to > host.buried:
                self._peers.control.met(store_id, self.region)
            return
        if message.kind == APPEND and not message.index and host.needs_copy:
            # The leader comes to send one.
            self._peers.strays += 1
            return
        if message.sender not in host.descriptor.stores:
            self._hear(store_id, message)
        try:
            host.replica.received(message)
        except Fault as problem:
            host.fail(problem)

    def _is_for_here(self, store_id: int, message: Message) -> bool:
        """
        Say if a message is for the peer here.

        Where there's none yet, since this store is about to join, the leader's first word says which it is. No one else
        is believed that: who only asks for a vote may be mistaken about the members.
        """
        group = self.host.group
        if group.peer and message.to > group.peer and message.kind in _OF_LEADERS:
            # A store has one peer of a region at a time.
            self._peers.control.regions[self.region].told_removed(store_id, group.peer)
        if not group.peer and message.kind in _OF_LEADERS and message.to > self.host.buried and not self._is_claimed:
            group.become(message.to)
            what = "this store has been added to the cluster: it's peer {peer} of region {region}"
            self.log.info(what, peer=message.to, region=self.region)
        return message.to == group.peer

    @property
    def _is_claimed(self) -> bool:
        """Whether a snapshot of another region is being installed where this one was thought to be."""
        descriptor = self.host.descriptor
        return self.host.regions.claims(descriptor.start, descriptor.end)

    def _hear(self, store_id: int, message: Message) -> None:
        """Note where a peer is that isn't known here: not yet, or not any more."""
        self._heard.pop(message.sender, None)
        self._heard[message.sender] = store_id
        if len(self._heard) > MAX_MEMBERS:
            del self._heard[next(iter(self._heard))]
        self._peers.control.regions[self.region].stray(store_id, message.sender)

    def unreachable(self, store_id: int) -> None:
        """Learn that messages were lost."""
        peer = self.host.descriptor.peer_on(store_id)
        if peer is not None:
            self.host.group.unreachable(peer)

    def forwarded(self, store_id: int, payload: bytes, answer: IForwardAnswer) -> None:
        """Take a batch of commands."""
        assert self._receiver is not None
        self._receiver.forwarded(store_id, payload, answer)

    def link_down(self, store_id: int) -> None:
        """Learn that a store isn't there."""
        host = self.host
        if store_id == self.store_of(host.group.leader_id):
            # Most likely its process has ended, so there's no need to wait and see.
            host.replica.suspect_leader()

    # Snapshots

    def snapshot_offered(self, store_id: int, meta: bytes) -> str | None:
        """Say why a snapshot isn't wanted, or nothing."""
        host = self.host
        message = self._read(store_id, meta)
        if message is None or message.snapshot is None:
            return _NOT_HERE
        if message.snapshot.index <= host.applied:
            return f"entry {host.applied} is applied here already"
        restoring = host.group.restoring
        if restoring is not None and message.snapshot.index <= restoring.index:
            return f"one as of entry {restoring.index} is being installed here"
        return None

    def snapshot_received(self, store_id: int, path: str, meta: bytes) -> None:
        """Take over a snapshot that has arrived."""
        message = self._read(store_id, meta)
        head = self._fitting(path) if message is not None and message.snapshot is not None else None
        if message is not None and message.snapshot is not None and head is not None:
            self.received(store_id, message)
            if self.host.group.restoring is message.snapshot:
                # It may be a while until it's installed, and another one may arrive meanwhile.
                self._arrived.append((message.snapshot, path, head.sources))
                self.host.regions.claimed[self.region] = (head.start, head.end)
                return
        os.unlink(path)

    def _fitting(self, path: str) -> SnapshotHead | None:
        """
        Read what a snapshot stands for; None if it has no place here.

        That's where no other region is at work but those which it takes the place of, as they were merged into its own:
        one that's old may have been cut since.
        """
        try:
            head = read_head(path)
        except StorageError as problem:
            self.log.error("region {region}: a snapshot isn't installed: {why}", region=self.region, why=problem)
            return None
        regions = self.host.regions
        if regions.claims(head.start, head.end, self.region):
            return None
        others = regions.overlapping(head.start, head.end)
        taken = [
            other.descriptor.region
            for other in others
            if other is not self.host and other.at_work and other.descriptor.region not in head.sources
        ]
        if taken:
            what = "region {region}: a snapshot isn't installed, since regions {taken} have keys of its range"
            self.log.warn(what, region=self.region, taken=taken)
        return None if taken else head

    def _read(self, store_id: int, meta: bytes) -> Message | None:
        """Read the message that came with a snapshot; None if it isn't for the peer here."""
        try:
            message = decode_message(meta)
        except Malformed:
            return None
        return message if self._is_for_here(store_id, message) else None

    def _sources(self, snapshot: SnapshotMeta) -> tuple[int, ...]:
        """Name the regions whose place a snapshot takes as well."""
        return next(sources for arrived, _, sources in self._arrived if arrived is snapshot)

    def _take(self, snapshot: SnapshotMeta) -> str:
        """Hand out the file of a snapshot, and delete those of older ones, whose place it takes."""
        while True:
            assert self._arrived, "what the group wants has arrived"
            arrived, path, _ = self._arrived.pop(0)
            if arrived is snapshot:
                return path
            os.unlink(path)


@implementer(IPeerHandler)
class Peers:
    """
    The other stores, and to which region what they say goes.

    @ivar strays: Messages of regions or peers that aren't known here.
    @ivar known_otherwise: Says whether some store knows this one's number with another folder.
    """

    _control: Control

    log = Logger()

    def __init__(self, peering: IPeering, clock: IReactorTime) -> None:
        self.strays = 0
        self.known_otherwise: Callable[[], bool] = lambda: False
        self._peering = peering
        self._clock = clock
        #: Since when each store that isn't reached isn't.
        self._down: dict[int, float] = {}
        self._regions: dict[int, RegionPeers] = {}
        #: Since when each run of a gateway whose clients wait isn't connected.
        self._gateways_gone: dict[int, float] = {}
        #: Gives the addresses of all stores, this one's too.
        self.addresses: Callable[[], Mapping[int, str]] = dict
        #: The last question for votes of each peer, by region: of those that aren't here, the latest last.
        self._parked: dict[int, dict[int, tuple[int, Message]]] = {}

    def begun(self, region: int) -> None:
        """Learn that a region begins here: who has asked its peer for votes before hears from it now."""
        for store, message in self._parked.pop(region, {}).values():
            self.received(store, region, message)

    def _park(self, store_id: int, region: int, message: Message) -> None:
        """Keep a question for votes, in case its region begins here soon."""
        parked = self._parked.pop(region, {})
        if len(parked) < PARKED_PEERS or message.sender in parked:
            parked[message.sender] = (store_id, message)
        self._parked[region] = parked
        if len(self._parked) > PARKED_REGIONS:
            del self._parked[next(iter(self._parked))]

    def ended(self, region: int) -> None:
        """Learn that a region was merged into another here: nothing that comes for it is for anybody."""
        known = self._regions.pop(region, None)
        if known is not None:
            known.end()

    def of(self, region: int) -> RegionPeers:
        """Give the peers of a region, which is on this store."""
        known = self._regions.get(region)
        if known is None:
            known = self._regions[region] = RegionPeers(self, region, self._peering)
        return known

    @property
    def control(self) -> Control:
        """Who takes what isn't about data; once there is one."""
        return self._control

    @control.setter
    def control(self, control: Control) -> None:
        self._control = control
        control.hinted = self._hinted
        control.routes = self.routes

    def _hinted(self, region: int, store: int | None) -> None:
        """Learn which store leads a region of which there's no peer here."""
        known = self._regions.get(region)
        if known is not None:
            known.hint = store

    # IPeerHandler

    def sender_store(self, region_id: int, peer_id: int) -> int | None:
        """Name the store of a peer."""
        known = self._regions.get(region_id)
        return None if known is None else known.host.descriptor.stores.get(peer_id)

    def received(self, store_id: int, region_id: int, message: Message) -> None:
        """Take a Raft message."""
        known = self._regions.get(region_id)
        if known is not None:
            known.received(store_id, message)
        elif message.kind in _OF_CANDIDATES:
            self._park(store_id, region_id, message)
            self._control.met(store_id, region_id)
        else:
            self.strays += 1
            if message.kind in _OF_LEADERS:
                self._control.met(store_id, region_id)

    def unreachable(self, store_id: int, region_id: int) -> None:
        """Learn that messages were lost."""
        known = self._regions.get(region_id)
        if known is not None:
            known.unreachable(store_id)

    def forwarded(self, store_id: int, payload: bytes, answer: IForwardAnswer) -> None:
        """Take a batch of commands."""
        of_gateway = store_id >= GATEWAYS
        if payload.startswith(MARK):
            if of_gateway:
                # It has no business with the others' questions.
                answer.refuse(b"")
                return
            self.control.forwarded(store_id, payload[len(MARK) :], answer)
            return
        known = self._regions.get(region_of(payload))
        if known is None:
            # Certainly nothing of it was done; whoever sent it looks where the region is by now.
            self.strays += not of_gateway
            answer.refuse(self.routes() if of_gateway else b"")
        else:
            known.forwarded(store_id, payload, answer)

    @property
    def disowned(self) -> bool:
        """
        Whether this store has nothing, and another one knows its number with another folder (R16).

        Then the store that had the number has lost its folder, with all that it had promised. Only that one refuses it,
        but others that have lost theirs too don't: together they'd be a majority that begins the cluster anew. So it
        takes part in nothing. Who has a log is believed more than somebody who may have met an impostor.
        """
        return self.known_otherwise() and not any(known.host.group.last for known in self._regions.values())

    # Gateways

    def routes(self, regions: Iterable[RegionPeers] | None = None) -> bytes:
        """Say where regions are, for a gateway; all of them, if it asks by a batch for a region that there never is."""
        if regions is not None:
            return encode_routes([known.route for known in regions], {})
        exact = [known.route for known in self._regions.values() if not known.host.clipped]
        return encode_routes(sorted(exact), self.addresses())

    def waiting_at_gateway(self, origin: Origin) -> GatewayWaiter | None:
        """Give the client of a gateway that waits; None if it's a store's."""
        gateway = gateway_of(origin[0])
        return None if gateway is None else GatewayWaiter(origin, partial(self._peering.push, gateway))

    def lost_runs(self, runs: Collection[int]) -> list[int]:
        """Of runs at which clients wait, name those of gateways that haven't been connected here for long."""
        now = self._clock.seconds()
        lost: list[int] = []
        for run in runs:
            gateway = gateway_of(run)
            if gateway is None:
                continue
            if self._peering.is_connected(gateway):
                self._gateways_gone.pop(run, None)
            elif now - self._gateways_gone.setdefault(run, now) > LOST_SECONDS:
                lost.append(run)
        for run in [run for run, since in self._gateways_gone.items() if now - since > _REMEMBERED_SECONDS]:
            del self._gateways_gone[run]
        return lost

    def pushed(self, store_id: int, payload: bytes) -> None:
        """Nothing is pushed yet."""
        self.strays += 1

    def lost(self) -> list[int]:
        """Name the stores that haven't been reached for long."""
        late = self._clock.seconds() - LOST_SECONDS
        return [store for store, since in self._down.items() if since < late]

    def link_up(self, store_id: int) -> None:
        """Learn that a store is there."""
        self._down.pop(store_id, None)
        self.log.info("store {store} is reached", store=store_id)

    def link_down(self, store_id: int) -> None:
        """Learn that a store isn't there."""
        self._down.setdefault(store_id, self._clock.seconds())
        self.log.warn("store {store} isn't reached any more", store=store_id)
        for known in self._regions.values():
            known.link_down(store_id)

    def snapshot_offered(self, store_id: int, region_id: int, size: int, meta: bytes) -> str | None:
        """Say why a snapshot isn't wanted, or nothing."""
        known = self._regions.get(region_id)
        return _NOT_HERE if known is None else known.snapshot_offered(store_id, meta)

    def snapshot_received(self, store_id: int, region_id: int, path: str, meta: bytes) -> None:
        """Take over a snapshot that has arrived."""
        known = self._regions.get(region_id)
        if known is None:
            os.unlink(path)
        else:
            known.snapshot_received(store_id, path, meta)
