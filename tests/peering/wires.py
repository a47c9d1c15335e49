"""
A network in memory: endpoints, listeners and connections whose bytes move when the test says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import (
    ConnectingCancelledError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
)
from twisted.internet.interfaces import IStreamClientEndpoint, ITCPTransport
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

#: A transport says that much is queued from here on, as Twisted's do.
BUFFER_BYTES = 65536


@implementer(ITCPTransport)
class Wire:
    """
    One side of a connection.

    @ivar other: The other side.
    @ivar sent: All that was ever written.
    @ivar writes: How many writes that was.
    @ivar deaf: Whether nothing gets through to this side, as on a host that vanished.
    """

    def __init__(self, network: Network, host: str) -> None:
        self.network = network
        self.other: Wire
        self.protocol: Any = None
        self.sent = b""
        self.writes = 0
        self.deaf = False
        self.paused = False
        self.connected = True
        self.closing = False
        self._host = host
        self._queue = bytearray()
        self._producer: Any = None
        self._producer_paused = False

    def write(self, data: bytes) -> None:
        """Queue bytes for the other side."""
        if not self.connected or self.closing:
            return
        self.writes += 1
        self.sent += data
        self._queue += data
        if self._producer is not None and len(self._queue) > BUFFER_BYTES and not self._producer_paused:
            self._producer_paused = True
            self._producer.pauseProducing()

    def writeSequence(self, data: Any) -> None:
        """Queue bytes for the other side."""
        self.write(b"".join(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Tell a producer when much is queued."""
        assert streaming
        self._producer = producer

    def unregisterProducer(self) -> None:
        """Tell it no more."""
        self._producer = None

    def pauseProducing(self) -> None:
        """Deliver nothing to this side's protocol for now."""
        self.paused = True

    def resumeProducing(self) -> None:
        """Deliver again."""
        self.paused = False

    def loseConnection(self) -> None:
        """Close when everything is delivered."""
        self.closing = True

    def abortConnection(self) -> None:
        """Close now."""
        if self.connected:
            self.lose(ConnectionAborted())
            self.other.lose(ConnectionLost())

    def lose(self, why: Exception) -> None:
        """End this side, in a turn of its own."""
        if self.connected:
            self.connected = False
            self.network.clock.callLater(0, self.protocol.connectionLost, Failure(why))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Do as asked, which changes nothing here."""

    def getHandle(self) -> None:
        """Give no socket."""

    def getPeer(self) -> IPv4Address:
        """Give the other side's address."""
        return IPv4Address("TCP", self.other._host, 1)

    def getHost(self) -> IPv4Address:
        """Give this side's address."""
        return IPv4Address("TCP", self._host, 1)

    def move(self, most: int) -> bool:
        """Deliver what is queued here, at most so many bytes; tell whether anything happened."""
        if not self.connected:
            return False
        other = self.other
        if self._queue and not other.paused and not other.deaf and other.connected:
            data = bytes(self._queue[:most])
            del self._queue[:most]
            if not self._queue and self._producer_paused:
                self._producer_paused = False
                if self._producer is not None:
                    self._producer.resumeProducing()
            other.protocol.dataReceived(data)
            return True
        if self.closing and not self._queue and not self._producer_paused:
            self.lose(ConnectionDone())
            other.lose(ConnectionDone())
            return True
        return False


@implementer(IStreamClientEndpoint)
class MemoryEndpoint:
    """Connects to whoever listens under an address of the network."""

    def __init__(self, network: Network, address: str, host: str) -> None:
        self._network = network
        self._address = address
        self._host = host

    def connect(self, factory: Factory) -> Deferred[Any]:
        """Connect at once, or be refused at once, or wait if the network says so."""
        network = self._network
        if self._address in network.silent:
            # As endpoints of TCP say it when they're given up.
            return Deferred(lambda attempt: attempt.errback(ConnectingCancelledError(self._address)))
        listener = network.listeners.get(self._address)
        if listener is None:
            return fail(ConnectionRefusedError())
        return succeed(network.connect(factory, listener, self._host, self._address.partition(":")[0]))


class Network:
    """
    All connections of a test.

    @ivar listeners: The factories that listen, by address.
    @ivar silent: Addresses from which no answer comes.
    @ivar wires: All sides of all connections, the dialler's and the acceptor's of each.
    @ivar most: How many bytes are delivered at a time.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.listeners: dict[str, Factory] = {}
        self.silent: set[str] = set()
        self.wires: list[Wire] = []
        self.most = 1 << 20

    def endpoint(self, host: str) -> Callable[[str], MemoryEndpoint]:
        """Give what makes endpoints for a host."""
        return lambda address: MemoryEndpoint(self, address, host)

    def connect(self, dialler: Factory, acceptor: Factory, dialling_host: str, host: str) -> Any:
        """Connect two factories' protocols; return the dialler's."""
        near, far = Wire(self, dialling_host), Wire(self, host)
        near.other, far.other = far, near
        near.protocol = dialler.buildProtocol(far.getHost())
        far.protocol = acceptor.buildProtocol(near.getHost())
        self.wires += [near, far]
        far.protocol.makeConnection(far)
        near.protocol.makeConnection(near)
        return near.protocol

    def settle(self) -> None:
        """Let everything happen that needs no time."""
        for _ in range(100_000):
            moved = [wire.move(self.most) for wire in self.wires]
            due = any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls())
            self.clock.advance(0)
            if not any(moved) and not due:
                return
        raise AssertionError("it never settles")

    def run(self, seconds: float) -> None:
        """Let time go by, in steps of at most a tenth of a second."""
        end = self.clock.seconds() + seconds
        self.settle()
        while (left := end - self.clock.seconds()) > 1e-9:
            self.clock.advance(min(left, 0.1))
            self.settle()
