"""
The port where other stores connect: who gets in, and how many.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory

from tinykv.peering.channel import Channel, Common
from tinykv.peering.handshake import GATEWAY, LINK, Hello, Refused
from tinykv.peering.incoming import IncomingLink, Repeats
from tinykv.peering.snapshot_receiver import Arrivals, SnapshotReceiver


class Accepted(Channel):
    """
    A connection that another store dialled.
    """

    def __init__(self, common: Common, acceptor: Acceptor) -> None:
        super().__init__(common, purpose=None, expected=None)
        self._acceptor = acceptor
        self._counted = False
        self.link: IncomingLink | None = None
        self.receiver: SnapshotReceiver | None = None

    def connectionMade(self) -> None:
        """Begin, if there's room for one more."""
        self._counted = True
        self._acceptor.made(self)
        super().connectionMade()
        if (text := self._acceptor.excess()) is not None:
            self.turn_away(text)

    def turn_away(self, text: str) -> None:
        """Close, since there are too many connections."""
        self.common.figures.connections_over_limit += 1
        self.common.notices.warn(self._peer_text, "busy", text)
        self.end("busy", text)

    def came_up(self, hello: Hello) -> None:
        """Become a link, or receive a snapshot."""
        self._acceptor.proven(self, hello)

    def went_down(self) -> None:
        """Make room."""
        if self._counted:
            self._counted = False
            self._acceptor.lost(self)


class Acceptor(Factory):
    """
    Makes the connections that other stores dial.

    @ivar links: The link from each store; C{gateways} likewise.
    """

    noisy = False

    def __init__(self, common: Common, arrivals: Arrivals, seen: Callable[[int, str], None]) -> None:
        """
        @param seen: Called with a store's id and address when it has connected.
        """
        self.links: dict[int, IncomingLink] = {}
        self.gateways: dict[int, IncomingLink] = {}
        self._common = common
        self._arrivals = arrivals
        self._seen = seen
        self._repeats = Repeats()
        self._open: set[Accepted] = set()
        #: Those whose peers haven't proven who they are, oldest first.
        self._unproven: dict[Accepted, None] = {}
        self._receiving: set[Accepted] = set()
        #: Fires when all connections are gone; None until they're to be.
        self._closing: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress | None) -> Accepted:
        """Make the connection for a peer that has connected."""
        return Accepted(self._common, self)

    def made(self, channel: Accepted) -> None:
        """
        Count a new connection in.

        If too many wait to prove who they are the oldest goes: a store does so at once, and whoever only connects
        mustn't keep stores out.
        """
        self._open.add(channel)
        self._unproven[channel] = None
        most = self._common.limits.unproven_max
        if len(self._unproven) > most:
            oldest = next(iter(self._unproven))
            del self._unproven[oldest]
            oldest.turn_away(f"{most} newer connections are waiting to prove who they are")
        self._count()

    def excess(self) -> str | None:
        """Say why the connection that was made last is one too many, or None."""
        limits = self._common.limits
        if self._closing is not None:
            return "this store stops"
        if len(self._open) > limits.connections_max:
            return f"there are {limits.connections_max} connections already"
        return None

    def proven(self, channel: Accepted, hello: Hello) -> None:
        """
        Put a connection to its use.

        @raise Refused: There's no room for it.
        """
        self._unproven.pop(channel, None)
        if hello.purpose in (LINK, GATEWAY):
            channel.link = IncomingLink(channel, self._common, self._repeats, hello)
            links = self.links if hello.purpose == LINK else self.gateways
            if (older := links.get(hello.store_id)) is not None:
                # The store lost it before we did.
                self._common.figures.replaced += 1
                older.channel.end("replaced", "a newer link came")
            links[hello.store_id] = channel.link
        else:
            if len(self._receiving) >= self._common.limits.snapshots_max:
                raise Refused("busy", f"this store is receiving {len(self._receiving)} snapshots already")
            self._receiving.add(channel)
            channel.receiver = SnapshotReceiver(channel, self._common, self._arrivals, hello)
        self._count()
        if hello.purpose != GATEWAY:
            self._seen(hello.store_id, hello.address)

    def lost(self, channel: Accepted) -> None:
        """Count a connection out."""
        self._open.discard(channel)
        self._unproven.pop(channel, None)
        self._receiving.discard(channel)
        for links in (self.links, self.gateways):
            if channel.link is not None and links.get(channel.link.store_id) is channel.link:
                del links[channel.link.store_id]
        if channel.receiver is not None:
            channel.receiver.went_down()
        self._count()

    def _count(self) -> None:
        figures = self._common.figures
        figures.connections_in = len(self._open)
        figures.unproven_in = len(self._unproven)
        figures.links_in = len(self.links)
        figures.gateways_in = len(self.gateways)
        if self._closing is not None and not self._open and not self._closing.called:
            self._closing.callback(None)

    def close(self) -> Deferred[None]:
        """
        Close all connections, and take no more; once.

        @return: fires when they're gone.
        """
        assert self._closing is None
        closing: Deferred[None] = Deferred()
        self._closing = closing
        for channel in list(self._open):
            channel.end("closing", "this store stops")
        self._count()
        return closing
