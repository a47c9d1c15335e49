"""
The way into a transport: one write at a time, to the socket directly while nothing is queued.

Bytes that the socket takes at once don't go a round through the reactor. Whatever it doesn't take is left to the
transport, and until that has sent it the outlet is I{busy}: who writes keeps its things in order itself meanwhile,
so that what is urgent can still pass. Under TLS, and where there's no socket, everything goes through the transport,
and a producer that stays registered says when much is queued.
"""

from __future__ import annotations

from collections.abc import Callable
from socket import socket
from typing import Any

from twisted.internet.interfaces import IPullProducer, IPushProducer
from zope.interface import implementer


@implementer(IPushProducer)
class _Pressure:
    """Hears from a transport when much is queued, and when nothing is any more."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    def pauseProducing(self) -> None:
        """Learn that much is queued."""
        self._outlet.busy = True

    def resumeProducing(self) -> None:
        """Learn that there's room again."""
        self._outlet.drained()

    def stopProducing(self) -> None:
        """Learn that the connection is gone; the protocol's connectionLost follows."""


@implementer(IPullProducer)
class _Drain:
    """Hears from a TCP transport when all is sent that was queued before this was registered with it."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._greeted = False

    def resumeProducing(self) -> None:
        """Learn that nothing is queued; the first call comes with the registration and says nothing."""
        if self._greeted:
            self._outlet.drained()
        self._greeted = True

    def stopProducing(self) -> None:
        """Learn that the connection is gone; the protocol's connectionLost follows."""


class Outlet:
    """
    Writes to one transport.

    @ivar busy: Whether bytes wait that the other side doesn't take yet.
    """

    def __init__(self, transport: Any, handle: socket | None, ready: Callable[[], None]) -> None:
        """
        @param handle: The socket below a plain TCP transport, or None.
        @param ready: Called when the outlet isn't busy any more.
        """
        self.busy = False
        self._transport = transport
        self._send = handle.send if handle is not None else None
        self._ready = ready
        if handle is None:
            transport.registerProducer(_Pressure(self), True)

    def send(self, data: bytes) -> None:
        """Write; not while busy, which somebody has to care for who writes much."""
        if self._send is None or self.busy:
            self._transport.write(data)
            return
        try:
            sent = self._send(data)
        except OSError:
            # Nothing was taken: either the socket is full, or the transport meets the same error and ends the
            # connection, which it knows how to do.
            sent = 0
        if sent < len(data):
            self.busy = True
            self._transport.write(data[sent:] if sent else data)
            self._transport.registerProducer(_Drain(self), False)

    def drained(self) -> None:
        """Learn that all that waited has been sent."""
        if self._send is not None:
            self._transport.unregisterProducer()
        self.busy = False
        self._ready()

    def close(self) -> None:
        """Close the connection when what was written is sent."""
        # A producer that stays registered would keep the connection open.
        self._transport.unregisterProducer()
        self._transport.loseConnection()
