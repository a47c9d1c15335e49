"""
Stores of a test cluster, as far as their links go: what they hear is recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, execute, succeed
from zope.interface import implementer

from tests.peering.wires import Network, Wire
from tinykv.interfaces import IFolderIds, IForwardAnswer, IPeerHandler, Outcome
from tinykv.peering.address_book import AddressBook
from tinykv.peering.peering import Peering
from tinykv.peering.settings import PeerIdentity, PeerLimits
from tinykv.peering.snapshot_files import SnapshotFolder
from tinykv.raft.messages import APPEND, Entry, Message

SECRET = b"sixteen bytes of secret"


@implementer(IFolderIds)
class FolderIds:
    """
    Folders in memory, durable at once, or when the test fires what is in C{held}.
    """

    def __init__(self) -> None:
        self.known: dict[int, str] = {}
        self.holds = False
        self.held: list[Deferred[None]] = []

    def lookup(self, store_id: int) -> str | None:
        """Give the folder of a store."""
        return self.known.get(store_id)

    def remember(self, store_id: int, folder_id: str) -> Deferred[None]:
        """Remember it."""
        if not self.holds:
            self.known.setdefault(store_id, folder_id)
            return succeed(None)
        durable: Deferred[None] = Deferred()
        durable.addCallback(lambda nothing: self.known.setdefault(store_id, folder_id) and None)
        self.held.append(durable)
        return durable


@implementer(IPeerHandler)
class Recorder:
    """
    Hears everything.

    @ivar heard: What was heard, in order, as tuples that begin with the name of the method.
    @ivar answers: Where the answers to batches go.
    @ivar homes: The stores of peers, by (region, peer).
    @ivar refusal: Why snapshots are refused, or None.
    """

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.answers: list[IForwardAnswer] = []
        self.homes: dict[tuple[int, int], int] = {}
        self.refusal: str | None = None

    def sender_store(self, region_id: int, peer_id: int) -> int | None:
        """Say where a peer is."""
        return self.homes.get((region_id, peer_id))

    def received(self, store_id: int, region_id: int, message: Message) -> None:
        """Record a message."""
        self.heard.append(("received", store_id, region_id, message))

    def unreachable(self, store_id: int, region_id: int) -> None:
        """Record a loss."""
        self.heard.append(("unreachable", store_id, region_id))

    def forwarded(self, store_id: int, payload: bytes, answer: IForwardAnswer) -> None:
        """Record a batch."""
        self.heard.append(("forwarded", store_id, payload))
        self.answers.append(answer)

    def pushed(self, store_id: int, payload: bytes) -> None:
        """Record a push."""
        self.heard.append(("pushed", store_id, payload))

    def link_up(self, store_id: int) -> None:
        """Record a link."""
        self.heard.append(("link_up", store_id))

    def link_down(self, store_id: int) -> None:
        """Record the end of a link."""
        self.heard.append(("link_down", store_id))

    def snapshot_offered(self, store_id: int, region_id: int, size: int, meta: bytes) -> str | None:
        """Record an offer."""
        self.heard.append(("snapshot_offered", store_id, region_id, size, meta))
        return self.refusal

    def snapshot_received(self, store_id: int, region_id: int, path: str, meta: bytes) -> None:
        """Record a snapshot, with its contents."""
        self.heard.append(("snapshot_received", store_id, region_id, Path(path).read_bytes(), meta))

    def take(self, *names: str) -> list[tuple[Any, ...]]:
        """Give what was heard of some methods, or of all, and forget all."""
        heard, self.heard = self.heard, []
        return [event for event in heard if not names or event[0] in names]


class PeerStore:
    """
    One store: its links, what it remembers, and what it hears.
    """

    def __init__(
        self,
        network: Network,
        store_id: int,
        others: dict[int, str],
        folder: Path,
        *,
        start_id: int = 0,
        keep: Callable[[int, str | None], None] = lambda store_id, address: None,
        serves: Callable[[], str] = str,
        **changes: Any,
    ) -> None:
        """
        @param others: Addresses of other stores.
        @param folder: Where snapshots arrive.
        @param keep: Keeps other stores' addresses.
        @param serves: Gives where clients of a Redis Cluster find it.
        @param changes: Of the identity and the limits.
        """
        self.network = network
        self.store_id = store_id
        self.address = f"host{store_id}:1"
        self.recorder = Recorder()
        self.folder_ids = FolderIds()
        identity = PeerIdentity(
            cluster_id="c1",
            store_id=store_id,
            folder_id=f"folder{store_id}",
            start_id=start_id or 1000 + store_id,
            address=self.address,
            secret=SECRET,
        )
        for name in list(changes):
            if name in PeerIdentity.__dataclass_fields__:
                identity = replace(identity, **{name: changes.pop(name)})
        self.identity = identity
        self.entropy = Random(store_id)
        #: What its clock says.
        self.now_ms = 1_000_000_000_000 * store_id
        self.addresses = AddressBook(network.endpoint(f"host{store_id}"), others, keep)
        self.peering = Peering(
            clock=network.clock,
            identity=identity,
            limits=PeerLimits(**changes),
            folder_ids=self.folder_ids,
            addresses=self.addresses,
            files=SnapshotFolder(folder, execute),
            entropy=self.entropy.randbytes,
            random=Random(store_id),
            now_ms=lambda: self.now_ms,
            serves=serves,
        )
        self.peering.handle(self.recorder)
        self.figures = self.peering.figures

    def listen(self, address: str = "") -> None:
        """Listen on the network."""
        self.network.listeners[address or self.address] = self.peering.acceptor

    def take(self, *names: str) -> list[tuple[Any, ...]]:
        """Give what was heard, and forget it."""
        return self.recorder.take(*names)


def pair(folder: Path, network: Network | None = None, **changes: Any) -> tuple[Network, PeerStore, PeerStore]:
    """Make two stores that know each other's addresses and listen."""
    network = network or Network()
    stores = []
    for store_id, other in ((1, 2), (2, 1)):
        arrivals = folder / f"arrivals{store_id}"
        arrivals.mkdir(parents=True)
        stores.append(PeerStore(network, store_id, {other: f"host{other}:1"}, arrivals, **changes))
        stores[-1].listen()
    return network, stores[0], stores[1]


def append(data: bytes, index: int = 7) -> Message:
    """Make an append of one entry."""
    return Message(APPEND, 2, 1, 5, log_term=5, index=index, commit=6, entries=(Entry(index + 1, 5, 0, data),))


def outcomes() -> tuple[list[tuple[Outcome, bytes]], Callable[[Outcome, bytes], None]]:
    """Make a list, and what appends outcomes to it."""
    found: list[tuple[Outcome, bytes]] = []
    return found, lambda outcome, payload: found.append((outcome, payload))


def sides(network: Network) -> tuple[Wire, Wire]:
    """Give both sides of the connection that was dialled last."""
    return network.wires[-2], network.wires[-1]
