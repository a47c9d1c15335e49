"""
What other stores say to this one, and where it goes.
"""

from __future__ import annotations

from twisted.logger import Logger
from zope.interface import implementer

from tinykv.errors import Fault
from tinykv.interfaces import IForwardAnswer, IPeerHandler, IPeering
from tinykv.raft.messages import SNAPSHOT, Message
from tinykv.store.forwarding import Receiver
from tinykv.store.host import RegionHost


@implementer(IPeerHandler)
class Peers:
    """
    The other stores, for the one region that there is.

    @ivar strays: Messages of regions or peers that aren't known here.
    """

    log = Logger()

    def __init__(self, region: int, peering: IPeering) -> None:
        self.strays = 0
        self._region = region
        self._peering = peering
        self._host: RegionHost | None = None
        self._receiver: Receiver | None = None

    def serve(self, host: RegionHost, receiver: Receiver) -> None:
        """Say who takes what comes in; before anything does."""
        self._host = host
        self._receiver = receiver

    # Out

    def send(self, message: Message) -> None:
        """Send a message to the peer that it's for."""
        assert self._host is not None
        store = self._host.descriptor.stores.get(message.to)
        if store is None:
            self.strays += 1
        elif message.kind == SNAPSHOT:
            self._host.group.snapshot_done(message.to, False)
        else:
            self._peering.send(store, self._region, message)

    # IPeerHandler

    def sender_store(self, region_id: int, peer_id: int) -> int | None:
        """Name the store of a peer."""
        assert self._host is not None
        return self._host.descriptor.stores.get(peer_id) if region_id == self._region else None

    def received(self, store_id: int, region_id: int, message: Message) -> None:
        """Take a Raft message."""
        host = self._host
        assert host is not None
        if region_id != self._region or message.to != host.group.peer:
            self.strays += 1
            return
        try:
            host.replica.received(message)
        except Fault as problem:
            host.fail(problem)

    def unreachable(self, store_id: int, region_id: int) -> None:
        """Learn that messages were lost."""
        host = self._host
        assert host is not None
        peer = host.descriptor.peer_on(store_id)
        if peer is not None:
            host.group.unreachable(peer)

    def forwarded(self, store_id: int, payload: bytes, answer: IForwardAnswer) -> None:
        """Take a batch of commands."""
        assert self._receiver is not None
        self._receiver.forwarded(store_id, payload, answer)

    def pushed(self, store_id: int, payload: bytes) -> None:
        """Nothing is pushed yet."""
        self.strays += 1

    def link_up(self, store_id: int) -> None:
        """Learn that a store is there."""
        self.log.info("store {store} is reached", store=store_id)

    def link_down(self, store_id: int) -> None:
        """Learn that a store isn't there."""
        self.log.warn("store {store} isn't reached any more", store=store_id)

    def snapshot_offered(self, store_id: int, region_id: int, size: int, meta: bytes) -> str | None:
        """Take none yet."""
        return "this version takes no snapshots"

    def snapshot_received(self, store_id: int, region_id: int, path: str, meta: bytes) -> None:
        """None was taken."""
        raise AssertionError("no snapshot was taken")
