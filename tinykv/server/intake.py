"""
The way in of all plain TCP clients: one descriptor of the reactor that reads them all.

The sockets of the clients lie in an epoll of their own, whose descriptor is the one that the reactor watches. So a
turn of the reactor is one event, however many clients have sent something: each is read and what it asks for is run,
and when all have been, their replies leave together. A client that sleeps until its reply comes is then awake when
the others' replies reach it, and what the reactor does around each event (its logging context above all) is done once.

Only the common case is served here. Whose other side has left, who has broken the rules or is to be closed is given
back to its transport, which knows how connections end.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from socket import socket
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer, IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from tinykv.server.session import Session

#: So many bytes of a client are read at a time.
READ_BYTES = 64 * 1024
#: When a turn has read so many, the clients that are left come next turn: what was read is on its way to the disks and
#: the other stores while they are read, which long pipelines of many clients otherwise wait for.
TURN_BYTES = 64 * 1024


@implementer(IReadDescriptor)
class Intake:
    """
    Reads clients.

    @cvar supported: Whether this system has what it takes; where not, transports read for themselves.
    @ivar clients_a_turn: How many clients are read between two looks at the reactor's other events.
    """

    supported = hasattr(select, "epoll")
    clients_a_turn = 512

    def __init__(self, reactor: IReactorFDSet, flush: Callable[[], None]) -> None:
        """
        Begin to watch.

        @param reactor: Says when there's something to read.
        @param flush: Sends the replies of a turn; called once in each.
        """
        self._reactor = reactor
        self._flush = flush
        self._poll = select.epoll()
        self._clients: dict[int, tuple[Session, Callable[[int], bytes]]] = {}
        self._number = self._poll.fileno()
        # What the last turn found, and didn't get to. They have something to read still, so there will be a turn.
        self._left: list[tuple[int, int]] = []
        reactor.addReader(self)

    def source(self, session: Session, handle: socket) -> IPushProducer:
        """Read a client from now on, which its transport does no more; what's returned stops and resumes that."""
        return _Client(self, session, handle)

    def watch(self, number: int, session: Session, handle: socket) -> None:
        """Read a client."""
        self._clients[number] = session, handle.recv
        self._poll.register(number, select.EPOLLIN)

    def unwatch(self, number: int) -> None:
        """Read a client no more; its socket may have been closed."""
        if self._clients.pop(number, None) is not None:
            # Its number may be another client's soon.
            self._left = [event for event in self._left if event[0] != number]
            try:
                self._poll.unregister(number)
            except OSError:
                # The system has forgotten a closed socket by itself.
                return

    def close(self) -> None:
        """Read nobody any more."""
        self._clients.clear()
        self._reactor.removeReader(self)
        self._poll.close()

    # What the reactor asks for

    def doRead(self) -> None:  # noqa: N802
        """Read all clients that have sent something, run what they ask for, and send what they're owed."""
        find = self._clients.get
        ready, self._left = self._left or self._poll.poll(0, self.clients_a_turn), []
        most = TURN_BYTES
        for place, (number, events) in enumerate(ready):
            if most <= 0:
                self._left = ready[place:]
                break
            found = find(number)
            if found is None:
                # A client before it in this turn has had it closed.
                continue
            session, receive = found
            try:
                data = receive(READ_BYTES) if events == select.EPOLLIN else b""
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                session.transport_reads()
                continue
            most -= len(data)
            try:
                session.received(data)
            except Exception:  # noqa: BLE001 - one broken client mustn't end the others
                session.broken()
        self._flush()

    def fileno(self) -> int:
        """Name the descriptor to be watched."""
        return self._number

    def logPrefix(self) -> str:  # noqa: N802
        """Name this for the log."""
        return "clients"

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """Learn that the reactor stops watching, as it does when it ends."""
        self._clients.clear()


@implementer(IPushProducer)
class _Client:
    """One client's way in."""

    def __init__(self, intake: Intake, session: Session, handle: socket) -> None:
        self._intake = intake
        self._session = session
        self._handle: Any = handle
        self._number = handle.fileno()
        self.resumeProducing()

    def pauseProducing(self) -> None:  # noqa: N802
        """Read the client no more."""
        self._intake.unwatch(self._number)

    def resumeProducing(self) -> None:  # noqa: N802
        """Read the client."""
        self._intake.watch(self._number, self._session, self._handle)

    def stopProducing(self) -> None:  # noqa: N802
        """Read the client never again."""
        self._intake.unwatch(self._number)
