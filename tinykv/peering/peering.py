"""
All links of a store to the others: the parts of this package put together.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from tinykv.interfaces import IFolderIds, IPeerHandler, IPeering, ISnapshotFiles, Outcome
from tinykv.peering.acceptor import Acceptor
from tinykv.peering.address_book import AddressBook
from tinykv.peering.channel import Common
from tinykv.peering.clocks import PeerClocks
from tinykv.peering.figures import PeerFigures
from tinykv.peering.links import EntryBytes, Link
from tinykv.peering.notices import Notices
from tinykv.peering.settings import PeerIdentity, PeerLimits
from tinykv.peering.snapshot_receiver import Arrivals
from tinykv.peering.snapshot_sender import Senders
from tinykv.peering.turn import Turn
from tinykv.raft.messages import Message


@implementer(IPeering)
class Peering:
    """
    A store's links.

    @ivar figures: What the metrics page tells of them.
    @ivar acceptor: The factory for the port where other stores connect.
    @ivar clocks: What other stores' clocks say.
    """

    def __init__(
        self,
        *,
        clock: IReactorTime,
        identity: PeerIdentity,
        limits: PeerLimits,
        folder_ids: IFolderIds,
        addresses: AddressBook,
        files: ISnapshotFiles,
        entropy: Callable[[int], bytes],
        random: Random,
        now_ms: Callable[[], int],
        serves: Callable[[], str] = str,
    ) -> None:
        """
        @param clock: Time, and the end of the turn.
        @param addresses: Where other stores are; it's kept up to date here.
        @param files: Where snapshots come from and go to.
        @param entropy: Gives so many random bytes that nobody can foretell, for nonces.
        @param random: For the pauses between attempts to connect.
        @param now_ms: The time of day, in ms since 1970.
        @param serves: Gives the address where clients of the cluster find this store; empty for none.
        """
        self.figures = PeerFigures()
        self._entry_bytes = EntryBytes()
        self.turn = Turn(clock, self._entry_bytes.forget)
        self._random = random
        self.clocks = PeerClocks(clock)
        self._common = Common(
            clock=clock,
            identity=identity,
            limits=limits,
            folder_ids=folder_ids,
            addresses=addresses,
            entropy=entropy,
            now_ms=now_ms,
            clocks=self.clocks,
            figures=self.figures,
            notices=Notices(clock, self.figures),
            turn=self.turn,
            serves=serves,
        )
        self.acceptor = Acceptor(self._common, Arrivals(files), self._seen)
        self._links: dict[int, Link] = {}
        self._senders = Senders(self._common, files, random)
        self._batches = 0
        self._closed = False

    def handle(self, handler: IPeerHandler) -> None:
        """Register who hears what comes in."""
        assert self._common.handler is None
        self._common.handler = handler

    def send(self, store_id: int, region_id: int, message: Message) -> None:
        """Queue a Raft message."""
        link = self._links.get(store_id)
        if link is None:
            link = self._link(store_id)
        link.send(region_id, message)

    def connect(self, store_id: int) -> None:
        """
        Begin the link to a store, if there's none, before there's anything to be sent.

        An election mustn't wait for connections to be made, nor, since a store that hears of another one dials it at
        once, for the pause between attempts to reach one that was away.
        """
        if store_id not in self._links:
            self._link(store_id)

    def _link(self, store_id: int) -> Link:
        """Begin the link to a store."""
        assert store_id != self._common.identity.store_id, "a store has no link to itself"
        link = self._links[store_id] = Link(self._common, store_id, self._random, self._entry_bytes)
        if not self._closed:
            link.dial()
        return link

    def flush(self) -> None:
        """Let everything leave now."""
        self.turn.flush()

    def forward(self, store_id: int, payload: bytes, answered: Callable[[Outcome, bytes], None]) -> None:
        """Queue a batch of commands."""
        link = self._links.get(store_id)
        if link is None:
            link = self._link(store_id)
        self._batches += 1
        link.forward(self._common.identity.start_id, self._batches, payload, answered)

    def push(self, store_id: int, payload: bytes) -> bool:
        """Queue bytes on the link that a store opened."""
        link = self.acceptor.links.get(store_id) or self.acceptor.gateways.get(store_id)
        return link is not None and link.channel.is_up and link.push(payload)

    def is_connected(self, gateway_id: int) -> bool:
        """Tell whether a gateway has a link to this store."""
        return gateway_id in self.acceptor.gateways

    def send_snapshot(self, store_id: int, region_id: int, path: str, meta: bytes) -> Deferred[None]:
        """Send a file."""
        return self._senders.send(store_id, region_id, path, meta)

    def is_up(self, store_id: int) -> bool:
        """Tell whether the link to a store is up."""
        link = self._links.get(store_id)
        return link is not None and link.is_up

    def can(self, store_id: int, feature: str) -> bool:
        """Tell whether a store is reached and can do something beyond the protocol's version."""
        link = self._links.get(store_id)
        return link is not None and link.can(feature)

    def forget(self, store_id: int) -> None:
        """Close the link to a store for good."""
        self._common.addresses.forget(store_id)
        self.clocks.forget(store_id)
        link = self._links.pop(store_id, None)
        if link is not None:
            link.close()

    def _seen(self, store_id: int, address: str) -> None:
        """Learn where a store is, which has connected and proven who it is."""
        addresses = self._common.addresses
        if addresses.has_room(store_id):
            addresses.told(store_id, address)
        link = self._links.get(store_id)
        if link is not None:
            link.nudge()

    def close(self) -> Deferred[None]:
        """End all connections."""
        self._closed = True
        self._senders.close()
        links, self._links = self._links, {}
        ends = [self.acceptor.close(), *(link.close() for link in links.values())]
        return DeferredList(ends).addCallback(lambda results: None)
