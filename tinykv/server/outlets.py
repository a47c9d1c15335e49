"""
How a session learns whether its transport takes more.

Two small producers, one of which is registered with the transport: L{Pressure} stays there for the whole connection
and hears when much is queued; L{Drain} comes and goes, and hears when nothing is queued any more, which is what
somebody has to know who would rather write to the socket directly.
"""

from __future__ import annotations

from collections.abc import Callable
from socket import IPPROTO_TCP, SO_KEEPALIVE, SOL_SOCKET, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, socket

from twisted.internet.interfaces import IPullProducer, IPushProducer
from zope.interface import implementer


@implementer(IPushProducer)
class Pressure:
    """
    Passes on what a transport says about its queue: C{full} when it has grown, C{drained} when it's empty again.
    """

    def __init__(self, full: Callable[[], None], drained: Callable[[], None]) -> None:
        self._full = full
        self._drained = drained

    def pauseProducing(self) -> None:
        """Learn that much is queued."""
        self._full()

    def resumeProducing(self) -> None:
        """Learn that the queue is empty."""
        self._drained()

    def stopProducing(self) -> None:
        """Learn that the connection is gone; the protocol's connectionLost follows."""


@implementer(IPullProducer)
class Drain:
    """
    Calls C{drained} when all is sent that was queued in a TCP transport before this was registered with it.
    """

    def __init__(self, drained: Callable[[], None]) -> None:
        self._drained = drained
        self._greeted = False

    def resumeProducing(self) -> None:
        """Learn that the queue is empty; the first call comes with the registration and says nothing."""
        if self._greeted:
            self._drained()
        self._greeted = True

    def stopProducing(self) -> None:
        """Learn that the connection is gone; the protocol's connectionLost follows."""


def keep_alive(connection: socket, seconds: float) -> None:
    """Let the system probe an idle connection after so many seconds, so that a client that vanished is found."""
    idle = max(1, round(seconds))
    connection.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
    connection.setsockopt(IPPROTO_TCP, TCP_KEEPIDLE, idle)
    connection.setsockopt(IPPROTO_TCP, TCP_KEEPINTVL, max(1, idle // 3))
    connection.setsockopt(IPPROTO_TCP, TCP_KEEPCNT, 3)
