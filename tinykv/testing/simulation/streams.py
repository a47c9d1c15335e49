"""
Connections between simulated machines, as TCP makes of a network that loses packets: bytes come whole and in order, or
the connection ends.

Both ends are Twisted protocols, which get a transport. What was written travels in trains, as fast as the link allows;
one that is lost, or meets a cut, is sent again until it arrives, and with it all that came behind it. An end that gets
nothing through for too long gives up. A process that is killed has its machine reset its connections; one whose machine
lost power says nothing, and the other end learns it only when it has something to send and the machine is up again, or
when it gives up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.error import TimeoutError as ConnectionTimeout
from twisted.internet.interfaces import IAddress, IProtocol, ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

from tinykv.testing.simulation.clock import Process
from tinykv.testing.simulation.events import MILLISECOND, SECOND, Event, Events
from tinykv.testing.simulation.network import Link, Network

#: After how long what hasn't arrived is sent again, and after how long an end gives up.
RETRY_US: Final = 200 * MILLISECOND
GIVE_UP_US: Final = 10 * SECOND
#: Bytes under way, or not taken by the other end, at which a producer is asked to pause.
WINDOW_BYTES: Final = 64 * 1024

#: Makes the protocol of a connection that a process accepts, given the other end's address.
Accept = Callable[[str], IProtocol]


@implementer(ITransport)
class End:
    """
    One end of a connection: the transport of its protocol.

    @ivar process: Whose it is.
    @ivar open: Whether it's connected, as far as this end knows.
    @ivar disconnecting: Whether it ends when all is sent.
    """

    def __init__(self, streams: Streams, process: Process, address: str, peer: str) -> None:
        self.process = process
        self.address = address
        self.peer = peer
        self.open = True
        self.disconnecting = False
        self.other: End = self
        self._streams = streams
        self._events = streams.events
        self._protocol: Any = None
        #: Trains that haven't arrived, and the number of the first of them; b"" is the end of all.
        self._trains: deque[bytes] = deque()
        self._first = 0
        self._retry: Event | None = None
        #: Since when nothing has arrived although something was sent; None if nothing waits.
        self._waiting_since: int | None = None
        self._producer: Any = None
        self._streaming = False
        self._producer_paused = False
        #: What has arrived and wasn't taken.
        self._inbox: deque[bytes] = deque()
        self._reading = True

    # Transport

    def write(self, data: bytes) -> None:
        """Send bytes."""
        assert isinstance(data, bytes), "bytes are sent, not what might change"
        if data and self.open and not self.disconnecting:
            self._send(data)
            self._look_at_window()

    def writeSequence(self, data: Any) -> None:  # noqa: N802 - ITransport's name
        """Send bytes in pieces."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:  # noqa: N802 - ITransport's name
        """End when all is sent; a producer that is at work goes on until it's done."""
        if self.open and not self.disconnecting:
            self.disconnecting = True
            if self._producer is None:
                self._finish()

    def abortConnection(self) -> None:  # noqa: N802 - ITCPTransport's name
        """End now."""
        if self.open:
            self._streams.say_reset(self)
            self.end(ConnectionLost("aborted"))

    def getPeer(self) -> IAddress:  # noqa: N802 - ITransport's name
        """Give the other end's address."""
        return self._streams.numbered(self.peer)

    def getHost(self) -> IAddress:  # noqa: N802 - ITransport's name
        """Give this end's address."""
        return self._streams.numbered(self.address)

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802 - IConsumer's name
        """Ask a producer for data as the other end takes it."""
        self._producer = producer
        self._streaming = streaming
        self._producer_paused = not streaming
        self._look_at_window()

    def unregisterProducer(self) -> None:  # noqa: N802 - IConsumer's name
        """Ask it no more."""
        self._producer = None
        if self.disconnecting:
            self._finish()

    def pauseProducing(self) -> None:  # noqa: N802 - IPushProducer's name
        """Leave what arrives where it is."""
        self._reading = False

    def resumeProducing(self) -> None:  # noqa: N802 - IPushProducer's name
        """Take what has arrived, in the next turn."""
        if not self._reading:
            self._reading = True
            self.process.soon("reads on", self._take)

    def stopProducing(self) -> None:  # noqa: N802 - IPushProducer's name
        """End."""
        self.loseConnection()

    # Out

    def _finish(self) -> None:
        self._send(b"")

    def _send(self, train: bytes) -> None:
        self._trains.append(train)
        self._streams.dispatch(self, self._first + len(self._trains) - 1, len(train))
        if self._waiting_since is None:
            self._waiting_since = self._events.now
        if self._retry is None:
            self._retry = self._events.after(RETRY_US, f"{self.address} sends again", self._send_again)

    def _send_again(self) -> None:
        """The machine does this, whatever the process does."""
        self._retry = None
        if not self._trains or not self.open or self._waiting_since is None:
            return
        if self._events.now - self._waiting_since >= GIVE_UP_US:
            self.end(ConnectionTimeout())
            return
        for place, train in enumerate(self._trains):
            self._streams.dispatch(self, self._first + place, len(train))
        self._retry = self._events.after(RETRY_US, f"{self.address} sends again", self._send_again)

    def arrived(self, number: int) -> None:
        """A train has reached the other machine."""
        if number != self._first or not self._trains:
            # A second copy, or one that comes before another that was lost and is sent again.
            return
        train = self._trains.popleft()
        self._first += 1
        self._waiting_since = self._events.now if self._trains else None
        self.other.receive(train)
        if train:
            self._look_at_window()
        else:
            self.end(ConnectionDone())

    def _look_at_window(self) -> None:
        if self._producer is None or not self.open:
            return
        waiting = sum(map(len, self._trains)) + sum(map(len, self.other._inbox))
        if self._streaming and waiting > WINDOW_BYTES and not self._producer_paused:
            self._producer_paused = True
            self._producer.pauseProducing()
        elif waiting <= WINDOW_BYTES // 2 and self._producer_paused:
            self._producer_paused = not self._streaming
            self.process.soon("may send", self._ask_producer)

    def _ask_producer(self) -> None:
        if self._producer is not None and self.open:
            self._producer.resumeProducing()

    # In

    def connected(self, protocol: IProtocol) -> None:
        """Let the protocol begin."""
        self._protocol = protocol
        protocol.makeConnection(self)

    def receive(self, train: bytes) -> None:
        """The machine has bytes for the process."""
        if self.open:
            self._inbox.append(train)
            self.process.soon(f"reads from {self.peer}", self._take)

    def _take(self) -> None:
        while self._inbox and self._reading and self.open:
            train = self._inbox.popleft()
            if train:
                self._protocol.dataReceived(train)
            else:
                self.end(ConnectionDone())
        self.other._look_at_window()

    # The end

    def reset(self) -> None:
        """The other machine says that there's no such connection."""
        self.end(ConnectionLost("reset"))

    def end(self, reason: Exception) -> None:
        """Know that it's over, and tell the protocol in a later turn."""
        if not self.open:
            return
        self.open = False
        self._inbox.clear()
        self._streams.forget(self)
        if self._protocol is not None:
            self.process.soon("loses a connection", self._protocol.connectionLost, Failure(reason))


class Streams:
    """
    All connections.
    """

    def __init__(self, events: Events, network: Network) -> None:
        self.events = events
        self._network = network
        self._random = events.random("streams")
        #: By address and service.
        self._accepting: dict[tuple[str, str], tuple[Process, Accept]] = {}
        self._ends: dict[End, None] = {}
        self._numbers: dict[str, IPv4Address] = {}

    def numbered(self, address: str) -> IPv4Address:
        """Give an address in the form that Twisted's protocols know."""
        found = self._numbers.get(address)
        if found is None:
            number = len(self._numbers) + 1
            found = self._numbers[address] = IPv4Address("TCP", f"10.0.{number >> 8}.{number & 255}", 6379)
        return found

    def listen(self, address: str, process: Process, accept: Accept, *, service: str = "") -> None:
        """Let a process take the connections to an address; it may offer more than one service there, as by ports."""
        self._accepting[address, service] = (process, accept)

    def connect(
        self,
        source: str,
        process: Process,
        target: str,
        protocol: IProtocol,
        failed: Callable[[Exception], None],
        *,
        service: str = "",
    ) -> None:
        """
        Connect to an address; then the protocol gets its transport.

        @param failed: Called instead if nobody listens there, or nothing is heard.
        """
        begun = self.events.now
        over = False

        def refused() -> None:
            nonlocal over
            if not over:
                over = True
                process.soon("is refused", failed, ConnectionRefusedError())

        def knock() -> None:
            nonlocal over
            if over or process.is_dead:
                return
            if self.events.now - begun >= GIVE_UP_US:
                over = True
                process.soon("gives up connecting", failed, ConnectionTimeout())
                return
            self._carry(source, target, 0, answer)
            self.events.after(RETRY_US, f"{source} connects again", knock)

        def answer() -> None:
            nonlocal over
            listener = self._accepting.get((target, service))
            if listener is None or listener[0].is_dead:
                self._carry(target, source, 0, refused)
            elif not over and not process.is_dead:
                over = True
                here = End(self, process, source, target)
                there = End(self, listener[0], target, source)
                here.other, there.other = there, here
                self._ends[here] = self._ends[there] = None
                listener[0].soon(f"accepts {source}", self._accept, there, listener[1])
                process.soon(f"is connected to {target}", here.connected, protocol)

        knock()

    @staticmethod
    def _accept(end: End, accept: Accept) -> None:
        end.connected(accept(end.peer))

    # The machines

    def _carry(self, source: str, target: str, size: int, arrive: Callable[[], None]) -> None:
        """Let something travel; it arrives unless it's lost."""
        link = self._network.link(source, target)
        if link.is_cut or (link.quality.loss and self._random.random() < link.quality.loss):
            return
        arrival = self._arrival(link, size)
        cuts = link.cuts
        self.events.at(arrival, f"{source}>{target}", lambda: arrive() if link.cuts == cuts else None)

    def _arrival(self, link: Link, size: int) -> int:
        quality = link.quality
        link.busy_until = max(link.busy_until, self.events.now) + size * 1_000_000 // quality.bytes_per_second
        delay = quality.latency_us
        if quality.jitter_us:
            delay += int(self._random.expovariate(1.0 / quality.jitter_us))
        # A connection keeps its order, whatever the network does.
        link.last_arrival = max(link.busy_until + delay, link.last_arrival)
        return link.last_arrival

    def dispatch(self, end: End, number: int, size: int) -> None:
        """Let a train travel to the other end."""
        self._carry(end.address, end.peer, size, lambda: self._deliver(end, number))

    def _deliver(self, end: End, number: int) -> None:
        other = end.other
        if not other.process.is_dead and other.open:
            end.arrived(number)
            return
        listener = self._accepting.get((end.peer, ""))
        if not other.process.is_dead or (listener is not None and not listener[0].is_dead):
            # The machine is up and knows nothing of this connection.
            self._carry(end.peer, end.address, 0, end.reset)

    def say_reset(self, end: End) -> None:
        """Tell the other machine that a connection is over."""
        self._carry(end.address, end.peer, 0, end.other.reset)

    def killed(self, process: Process) -> None:
        """A process has ended, and its machine runs on: it resets the connections."""
        for end in [end for end in self._ends if end.process is process]:
            self.say_reset(end)
            self._ends.pop(end)
            end.open = False

    def lost_power(self, process: Process) -> None:
        """A process has ended with its machine: nobody is told."""
        for end in [end for end in self._ends if end.process is process]:
            self._ends.pop(end)
            end.open = False

    def forget(self, end: End) -> None:
        """An end is over."""
        self._ends.pop(end, None)
