"""
The links of a gateway: it dials all stores, and none dials it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from zope.interface import implementer

from tinykv.interfaces import IFolderIds, IPeerHandler, Outcome
from tinykv.peering.address_book import AddressBook
from tinykv.peering.channel import Common
from tinykv.peering.clocks import PeerClocks
from tinykv.peering.figures import PeerFigures
from tinykv.peering.handshake import GATEWAY
from tinykv.peering.links import EntryBytes, Link
from tinykv.peering.notices import Notices
from tinykv.peering.settings import ANY_CLUSTER, NO_FOLDER, NOWHERE, PeerIdentity, PeerLimits
from tinykv.peering.turn import Turn


@implementer(IFolderIds)
class RememberedFolders:
    """The folders of the stores, for as long as the gateway runs: it has no folder to note them in."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}

    def lookup(self, store_id: int) -> str | None:
        """Give the folder of a store."""
        return self._known.get(store_id)

    def remember(self, store_id: int, folder_id: str) -> Deferred[None]:
        """Remember it."""
        self._known[store_id] = folder_id
        return succeed(None)


class GatewayLinks:
    """
    A gateway's links.

    @ivar figures: What the metrics page tells of them.
    """

    def __init__(
        self,
        *,
        clock: IReactorTime,
        gateway_id: int,
        start_id: int,
        secret: bytes,
        dial: Callable[[str], IStreamClientEndpoint],
        limits: PeerLimits,
        entropy: Callable[[int], bytes],
        random: Random,
        now_ms: Callable[[], int],
    ) -> None:
        """
        @param gateway_id: How the stores know it; see L{tinykv.peering.settings.GATEWAYS}.
        @param start_id: Names this run.
        @param secret: What all stores of the cluster know, and nobody else.
        @param dial: Makes the endpoint for C{host:port}.
        """
        self.figures = PeerFigures()
        self._entry_bytes = EntryBytes()
        self._random = random
        self._start_id = start_id
        self._addresses = AddressBook(dial, {})
        self._common = Common(
            clock=clock,
            identity=PeerIdentity(
                cluster_id=ANY_CLUSTER,
                store_id=gateway_id,
                folder_id=NO_FOLDER,
                start_id=start_id,
                address=NOWHERE,
                secret=secret,
            ),
            limits=limits,
            folder_ids=RememberedFolders(),
            addresses=self._addresses,
            entropy=entropy,
            now_ms=now_ms,
            clocks=PeerClocks(clock),
            figures=self.figures,
            notices=Notices(clock, self.figures),
            turn=Turn(clock, self._entry_bytes.forget),
            serves=str,
            purpose=GATEWAY,
        )
        self._links: dict[int, Link] = {}
        self._batches = 0
        self._closed = False

    def handle(self, handler: IPeerHandler) -> None:
        """Register who hears what comes in."""
        self._common.handler = handler

    @property
    def cluster_id(self) -> str:
        """The cluster of the stores; empty until one was reached."""
        return self._common.cluster_id

    @property
    def up(self) -> list[int]:
        """The stores that are reached."""
        return [store for store, link in self._links.items() if link.is_up]

    def connect(self, store_id: int, address: str) -> None:
        """Begin the link to a store; or learn that it's somewhere else."""
        if self._closed or not self._addresses.has_room(store_id):
            return
        link = self._links.get(store_id)
        if self._addresses.address(store_id) != address and (link is None or not link.is_up):
            self._addresses.note(store_id, address)
        if link is None:
            link = self._links[store_id] = Link(self._common, store_id, self._random, self._entry_bytes)
            link.dial()

    def keep(self, store_ids: set[int]) -> None:
        """End the links to all other stores."""
        for store in self._links.keys() - store_ids:
            self._addresses.forget(store)
            self._links.pop(store).close()

    def forward(self, store_id: int, payload: bytes, answered: Callable[[Outcome, bytes], None]) -> None:
        """Send a batch, once; see L{tinykv.interfaces.IPeering}."""
        link = self._links.get(store_id)
        self._batches += 1
        if link is None:
            self._common.turn.call_later(lambda: answered(Outcome.REFUSED, b""))
        else:
            link.forward(self._start_id, self._batches, payload, answered)

    def is_up(self, store_id: int) -> bool:
        """Tell whether a store is reached."""
        link = self._links.get(store_id)
        return link is not None and link.is_up

    def close(self) -> Deferred[None]:
        """End all links."""
        self._closed = True
        links, self._links = self._links, {}
        return DeferredList([link.close() for link in links.values()]).addCallback(lambda results: None)
