"""Links over real sockets: what is written to them directly, and what waits when they're full."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import execute
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.peering.certificates import Authority
from tests.peering.stores import SECRET, FolderIds, Recorder, append
from tinykv.peering.address_book import AddressBook
from tinykv.peering.peering import Peering
from tinykv.peering.settings import PeerIdentity, PeerLimits
from tinykv.peering.snapshot_files import SnapshotFolder
from tinykv.peering.tls import PeerTls
from tinykv.peering.verbs import FRAME_BYTES
from tinykv.raft.messages import VOTE, Message


class SocketTests(TestCase):
    """Two stores in one process, on the loopback interface."""

    timeout = 30

    async def start(self, tls: PeerTls | None) -> None:
        """Let two stores listen and know each other."""
        self.stores: dict[int, Peering] = {}
        self.heard: dict[int, Recorder] = {}
        book: dict[int, str] = {}
        clock: Any = reactor

        def dial(address: str) -> Any:
            endpoint = TCP4ClientEndpoint(clock, "127.0.0.1", int(address.partition(":")[2]))
            return endpoint if tls is None else tls.dialling(endpoint, clock)

        for store_id in (1, 2):
            folder = Path(self.mktemp())
            folder.mkdir()
            self.heard[store_id] = Recorder()
            addresses = AddressBook(dial, {})
            peering = Peering(
                clock=clock,
                identity=PeerIdentity(
                    cluster_id="c1",
                    store_id=store_id,
                    folder_id=f"folder{store_id}",
                    start_id=store_id,
                    address="127.0.0.1:1",
                    secret=SECRET,
                ),
                limits=PeerLimits(),
                folder_ids=FolderIds(),
                addresses=addresses,
                files=SnapshotFolder(folder, execute),
                entropy=Random(store_id).randbytes,
                random=Random(store_id),
                now_ms=lambda: 0,
            )
            peering.handle(self.heard[store_id])
            factory: Any = peering.acceptor if tls is None else tls.listening(peering.acceptor, clock)
            port = await TCP4ServerEndpoint(clock, 0, interface="127.0.0.1").listen(factory)
            self.addCleanup(port.stopListening)
            self.addCleanup(peering.close)
            book[store_id] = f"127.0.0.1:{port.getHost().port}"
            self.stores[store_id] = peering
            if store_id == 2:
                self.stores[1]._common.addresses.note(2, book[2])

    async def until(self, *names: str, count: int) -> list[Any]:
        """Wait for what the second store hears."""
        while True:
            found = [event for event in self.heard[2].heard if event[0] in names]
            if len(found) >= count:
                return found
            await deferLater(reactor, 0.002, lambda: None)

    async def converse(self, tls: PeerTls | None) -> None:
        """Send what fills the socket, and what passes it."""
        await self.start(tls)
        one = self.stores[1]
        large = [append(bytes([place]) * (2 * FRAME_BYTES + place), place) for place in range(10)]
        for message in large:
            one.send(2, 9, message)
        await self.until("received", count=1)
        for place in range(100):
            one.send(2, 9, append(b"small", 100 + place))
            one.send(2, 9, Message(VOTE, 2, 1, 5, index=place, log_term=1))
            one.flush()
        found = await self.until("received", count=210)
        messages = [event[3] for event in found]
        appends = [message for message in messages if message.kind != VOTE]
        self.assertEqual([message.index for message in appends], [*range(10), *range(100, 200)])
        self.assertEqual(appends[:10] == large, True)
        self.assertEqual([message.index for message in messages if message.kind == VOTE], [*range(100)])

    async def test_plain(self) -> None:
        await self.converse(None)
        self.assertEqual(self.stores[1].figures.messages_dropped, 0)

    async def test_tls(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        authority = Authority(folder, "authority")
        await self.converse(PeerTls(*authority.issue("both"), authority.path))

    async def test_a_lost_connection_while_the_socket_is_full(self) -> None:
        await self.start(None)
        one = self.stores[1]
        one.send(2, 9, append(b"first"))
        await self.until("received", count=1)
        transport: Any = self.stores[2].acceptor.links[1].channel.transport
        transport.pauseProducing()
        for place in range(20):
            one.send(2, 9, append(bytes(2 * FRAME_BYTES), place))
        one.flush()
        self.stores[2].acceptor.links[1].channel.abort()
        while ("link_down", 2) not in self.heard[1].heard:
            await deferLater(reactor, 0.002, lambda: None)
        one.send(2, 9, append(b"last", 77))
        while True:
            found = await self.until("received", count=1)
            if found[-1][3].index == 77:
                return
            one.send(2, 9, append(b"last", 77))
            await deferLater(reactor, 0.02, lambda: None)
