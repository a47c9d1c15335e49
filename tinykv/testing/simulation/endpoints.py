"""
Simulated connections for code that dials by endpoints: the real links between stores, of which those for snapshots are
used here.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tinykv.interfaces import IFolderIds, ISnapshotFiles
from tinykv.peering.address_book import AddressBook
from tinykv.peering.peering import Peering
from tinykv.peering.settings import PeerIdentity, PeerLimits
from tinykv.testing.simulation.clock import Process
from tinykv.testing.simulation.streams import Streams

#: The service by which machines take the real connections between stores.
SERVICE: Final = "peers"
PORT: Final = 20160
#: What all stores know.
SECRET: Final = b"known to all stores of the simulation"


class _Passing(Protocol):
    """Tells that there's a connection, unless nobody waits for it any more, and passes everything on."""

    def __init__(self, inner: IProtocol, connected: Deferred[IProtocol]) -> None:
        self._inner = inner
        self._connected = connected

    def connectionMade(self) -> None:
        """Begin."""
        transport: Any = self.transport
        if self._connected.called:
            transport.abortConnection()
        else:
            self._inner.makeConnection(transport)
            self._connected.callback(self._inner)

    def dataReceived(self, data: bytes) -> None:
        """Pass it on."""
        self._inner.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Pass it on, if it ever began."""
        if self._inner.transport is not None:  # type: ignore[attr-defined]  # every Protocol has one
            self._inner.connectionLost(reason)


@implementer(IStreamClientEndpoint)
class SimulatedEndpoint:
    """The way to a port of a machine: that for other stores, or another service."""

    def __init__(self, streams: Streams, process: Process, target: str, service: str = SERVICE) -> None:
        self._service = service
        self._streams = streams
        self._process = process
        self._target = target

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803 - the interface's name
        """Connect."""
        inner = protocolFactory.buildProtocol(self._streams.numbered(self._target))
        assert inner is not None, "it has one"
        connected: Deferred[IProtocol] = Deferred()
        def failed(reason: Exception) -> None:
            if not connected.called:
                connected.errback(reason)

        passing = _Passing(inner, connected)
        self._streams.connect(self._process.name, self._process, self._target, passing, failed, service=self._service)
        return connected


def dialling(streams: Streams, process: Process) -> Callable[[str], IStreamClientEndpoint]:
    """Give what makes the endpoint for C{machine:port}."""
    return lambda address: SimulatedEndpoint(streams, process, address.partition(":")[0])


def address_of(machine: str) -> str:
    """Give a machine's address, as stores tell it each other."""
    return f"{machine}:{PORT}"


def real_peering(
    *,
    store_id: int,
    start_id: int,
    process: Process,
    streams: Streams,
    addresses: AddressBook,
    folder_ids: IFolderIds,
    files: ISnapshotFiles,
    limits: PeerLimits,
    random: Random,
) -> Peering:
    """Make the real links of a simulated store, and take the others' connections."""
    peering = Peering(
        clock=process,
        identity=PeerIdentity(
            cluster_id="simulation",
            store_id=store_id,
            folder_id=f"folder-{store_id}",
            start_id=start_id,
            address=address_of(process.name),
            secret=SECRET,
        ),
        limits=limits,
        folder_ids=folder_ids,
        addresses=addresses,
        files=files,
        entropy=random.randbytes,
        random=random,
        now_ms=process.clock.calendar_ms,
    )

    def accept(address: str) -> IProtocol:
        return peering.acceptor.buildProtocol(streams.numbered(address))

    streams.listen(process.name, process, accept, service=SERVICE)
    return peering
