"""
One connection to another store, from its first byte to its last: what all kinds of connections have in common.

A channel begins with the handshake. When both sides have proven who they are, and the folder of the other store is the
one that is remembered for it, it's I{up}; before that nothing but the lines of the handshake is read or written. The
side that dialled pings, the other side answers, and either side closes when nothing came for too long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from socket import socket
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from tinykv.interfaces import IFolderIds, IPeerHandler
from tinykv.peering.address_book import STORES_MAX, AddressBook
from tinykv.peering.clocks import FEATURE, PeerClocks
from tinykv.peering.figures import PeerFigures
from tinykv.peering.grammar import GrammarError, LineReader, Verb, line, number, words
from tinykv.peering.handshake import GATEWAY, LINK, NONCE_BYTES, Handshake, Hello, Refused
from tinykv.peering.lanes import Lanes
from tinykv.peering.notices import Notices
from tinykv.peering.outlet import Outlet
from tinykv.peering.settings import PeerIdentity, PeerLimits
from tinykv.peering.tls import why_ended
from tinykv.peering.turn import Turn
from tinykv.peering.verbs import BEFORE

#: What may arrive while reading waits for the disk, before the handshake is through.
_HELD_BYTES: Final = 256 * 1024
#: How much of a reason goes into an ERROR line.
_ERROR_BYTES: Final = 400
#: Codes of ERROR lines: others are counted together.
CODES: Final = frozenset(
    (
        "version cluster own-id other-store secret folder stores "
        "busy grammar timeout replaced closing failed refused damaged"
    ).split()
)

_PING: Final = b"PING\r\n"
_PONG: Final = b"PONG\r\n"


@dataclass(kw_only=True)
class Common:
    """
    What all connections of a store share.

    @ivar entropy: Gives random bytes that nobody can foretell.
    @ivar now_ms: The time of day, in ms since 1970, to be compared with other stores'.
    @ivar serves: Gives the address where clients of the cluster find this store; empty for none.
    @ivar purpose: What links are for that are dialled here.
    @ivar cluster_id: Of a gateway: the cluster of the first store that it reached.
    @ivar handler: Who hears what comes in; None until it's registered.
    """

    clock: IReactorTime
    identity: PeerIdentity
    limits: PeerLimits
    folder_ids: IFolderIds
    addresses: AddressBook
    entropy: Callable[[int], bytes]
    now_ms: Callable[[], int]
    clocks: PeerClocks
    figures: PeerFigures
    notices: Notices
    turn: Turn
    serves: Callable[[], str]
    purpose: str = LINK
    cluster_id: str = ""
    handler: IPeerHandler | None = None

    @property
    def listener(self) -> IPeerHandler:
        """Who hears what comes in."""
        assert self.handler is not None, "nobody was registered to hear what comes in"
        return self.handler


class Channel(Protocol):
    """
    A connection.

    @ivar lanes: What waits to be sent.
    @ivar is_up: Whether the handshake is through and the connection isn't being closed.
    @ivar store_id: The other store, once the channel has been up; 0 before.
    """

    log = Logger()

    def __init__(self, common: Common, *, purpose: str | None, expected: int | None) -> None:
        """
        @param purpose: What the connection is for, on the side that dialled; None on the other.
        @param expected: Who was dialled; None on the other side.
        """
        limits = common.limits
        self.common = common
        self.lanes = Lanes(limits.urgent_bytes_max, limits.bulk_bytes_max)
        self.is_up = False
        self.store_id = 0
        self._dials = purpose is not None
        self._expected = expected
        self._handshake = Handshake(common.identity, common.entropy(NONCE_BYTES), purpose=purpose, expected=expected)
        self._reader = LineReader(BEFORE)
        self._takers: dict[bytes, Callable[[list[bytes], bytes], None]] = {
            b"HELLO": self._hello,
            b"PROOF": self._proof,
            b"ERROR": self._error,
        }
        self._outlet: Outlet | None = None
        self._timer: IDelayedCall | None = None
        self._heard_at = 0.0
        self._held = False
        self._over = False
        self._listed = False
        #: Whether pings tell what clocks say.
        self._timed = False
        self._peer_text = "a peer"

    # What kinds of connections add

    def came_up(self, hello: Hello) -> None:
        """
        Say which lines come from now on, with L{speak}, and make use of the connection.

        @raise Refused: It has none.
        """
        raise NotImplementedError

    def went_down(self) -> None:
        """Learn that the connection is gone; also called when it was never up."""
        raise NotImplementedError

    def was_refused(self, code: str, text: str) -> None:
        """Learn that the peer closes, and why; L{went_down} follows."""

    def speak(self, verbs: Mapping[bytes, Verb], takers: dict[bytes, Callable[[list[bytes], bytes], None]]) -> None:
        """Read these lines from now on; pings and errors are seen to."""
        self._reader.verbs = verbs
        self._takers = {**takers, b"ERROR": self._error}
        if self._dials:
            self._takers[b"PONG"] = self._pong
        else:
            self._takers[b"PING"] = self._ping
        assert self._takers.keys() == verbs.keys(), (self._takers.keys(), verbs.keys())

    # The connection

    def connectionMade(self) -> None:
        """Begin the handshake."""
        transport: Any = self.transport
        handle = None
        if ITCPTransport.providedBy(transport):
            tcp: Any = transport
            tcp.setTcpNoDelay(True)
            # What a TLS connection calls its handle isn't the socket.
            handle = given if isinstance(given := tcp.getHandle(), socket) else None
        self._peer_text = self._name_peer(transport.getPeer())
        self._outlet = Outlet(transport, handle, self._drained)
        self._heard_at = self.common.clock.seconds()
        self._timer = self.common.clock.callLater(self.common.limits.handshake_timeout, self._too_late)
        if first := self._handshake.begin():
            self._write(first)

    def _name_peer(self, address: Any) -> str:
        """Name the peer for the log: by who was dialled, or by its host, for ports change."""
        host = str(getattr(address, "host", address))
        return f"store {self._expected} at {host}" if self._expected else f"peer {host}"

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Learn that the connection is gone."""
        if not self._over and not self.store_id:
            # Else nobody would learn that stores don't come together because of a certificate, or a port.
            why = why_ended(reason.value) or "it closed the connection before the handshake was through"
            self.common.notices.warn(self._peer_text, "no handshake", why)
        self._over = True
        self.is_up = False
        self._stop_timer()
        self.went_down()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    # Bytes in

    def dataReceived(self, data: bytes) -> None:
        """Read what came."""
        common = self.common
        common.figures.bytes_in += len(data)
        if self._over:
            return
        self._heard_at = common.clock.seconds()
        self._reader.feed(data)
        if not self._held:
            self._read()
        elif self._reader.buffered > _HELD_BYTES:
            self._breach(GrammarError("much came before the handshake was through"))

    def _read(self) -> None:
        """Hand out whole lines."""
        reader = self._reader
        try:
            while not self._over and not self._held and (found := reader.next()) is not None:
                verb, fields, payload = found
                self._takers[verb](fields, payload)
        except GrammarError as error:
            self._breach(error)
        except Refused as refusal:
            self.refuse(refusal)

    def _hello(self, fields: list[bytes], payload: bytes) -> None:
        self._write(self._handshake.hello_received(fields))

    def _proof(self, fields: list[bytes], payload: bytes) -> None:
        self._handshake.proof_received(fields)
        hello = self._handshake.peer
        assert hello is not None
        common = self.common
        if hello.purpose == GATEWAY and not self._dials:
            self._be_up(hello, f"gateway {hello.store_id}")
            return
        if common.folder_ids.lookup(hello.store_id) is not None:
            self._check_folder(hello)
            return
        if not common.addresses.has_room(hello.store_id):
            raise Refused("stores", f"this store knows {STORES_MAX} other stores already, and you are one more")
        # First contact: what isn't remembered by tomorrow can't be told from another folder then.
        self._held = True
        transport: Any = self.transport
        transport.pauseProducing()
        remembered: Deferred[None] = common.folder_ids.remember(hello.store_id, hello.folder_id)
        remembered.addCallbacks(self._remembered, self._not_remembered, callbackArgs=(hello,))
        remembered.addErrback(self._broken)

    def _remembered(self, nothing: None, hello: Hello) -> None:
        if self._over:
            return
        self._held = False
        transport: Any = self.transport
        transport.resumeProducing()
        try:
            self._check_folder(hello)
        except Refused as refusal:
            self.refuse(refusal)
        else:
            self._read()

    def _not_remembered(self, failure: Failure) -> None:
        self.log.failure("{peer}'s folder can't be remembered, so it's refused", failure, peer=self._peer_text)
        if not self._over:
            self.end("failed", "this store can't write down who you are: see its log")

    def _broken(self, failure: Failure) -> None:
        """Close after a defect, which is ours."""
        self.log.failure("a connection with {peer} failed, and is closed", failure, peer=self._peer_text)
        self.abort()

    def _check_folder(self, hello: Hello) -> None:
        """
        Compare the folder that the peer has with the one that is remembered, and be up.

        @raise Refused: It's another.
        """
        known = self.common.folder_ids.lookup(hello.store_id)
        if known != hello.folder_id:
            raise Refused(
                "folder",
                f"store {hello.store_id} came with folder {hello.folder_id}, and is known by folder {known}: a store "
                "whose disk was lost comes back under a new store_id",
            )
        self._be_up(hello, f"store {hello.store_id}")

    def _be_up(self, hello: Hello, name: str) -> None:
        """
        Begin what the connection is for.

        @raise Refused: There's no use for it.
        """
        self.store_id = hello.store_id
        self._peer_text = name
        self.is_up = True
        self._timed = hello.purpose == LINK and FEATURE in hello.features & self.common.identity.features
        self.came_up(hello)
        if not self._dials:
            self._write(self._handshake.proof())
        self._stop_timer()
        self._timer = self.common.clock.callLater(self.common.limits.ping_interval, self._tick)
        self.flush()

    def _error(self, fields: list[bytes], payload: bytes) -> None:
        """Learn that the peer closes, and why."""
        code = fields[0].decode()
        text = b" ".join(fields[1:]).decode()
        self.was_refused(code, text)
        known = code if code in CODES else "other"
        self.common.figures.refused_out[known] += 1
        self.common.notices.warn(self._peer_text, f"told {known}", f"it closes the connection ({code}): {text}")
        self.abort()

    # Being there

    def _too_late(self) -> None:
        """Close when the handshake takes too long."""
        self._timer = None
        self.common.figures.timeouts += 1
        self.common.notices.warn(
            self._peer_text, "timeout", f"no handshake within {self.common.limits.handshake_timeout:g} s"
        )
        self.end("timeout", "the handshake took too long")

    def _tick(self) -> None:
        """Ping, and close when nothing came for too long."""
        common = self.common
        self._timer = None
        if common.clock.seconds() - self._heard_at >= common.limits.idle_timeout:
            common.figures.timeouts += 1
            common.notices.warn(
                self._peer_text, "idle", f"nothing came for {common.limits.idle_timeout:g} s, closing the connection"
            )
            self.abort()
            return
        self._timer = common.clock.callLater(common.limits.ping_interval, self._tick)
        if self._dials and self.lanes.urgent(line(b"PING", common.now_ms()) if self._timed else _PING):
            self.flush()

    def _ping(self, fields: list[bytes], payload: bytes) -> None:
        answer = _PONG
        if fields:
            answer = line(b"PONG", number(fields[0]), self.common.now_ms())
        if self.lanes.urgent(answer):
            self.flush_later()

    def _pong(self, fields: list[bytes], payload: bytes) -> None:
        """Compare clocks, if it tells them; else having come is all that it's for."""
        if not fields:
            return
        if len(fields) != 2:
            raise GrammarError("a PONG line has one time where two belong")
        common = self.common
        common.clocks.answered(self.store_id, number(fields[0]), number(fields[1]), common.now_ms())

    # Bytes out

    def flush_later(self) -> None:
        """Send what waits at the end of the turn."""
        if not self._listed:
            self._listed = True
            self.common.turn.flush_later(self.flush)

    def flush(self) -> None:
        """Send what waits, as far as the other side takes it."""
        self._listed = False
        outlet, lanes = self._outlet, self.lanes
        if outlet is None or not self.is_up:
            return
        figures = self.common.figures
        while lanes and not outlet.busy:
            data = lanes.take()
            figures.writes += 1
            figures.bytes_out += len(data)
            outlet.send(data)

    def _drained(self) -> None:
        """Go on sending; that the other side takes what was sent is a sign of life, too."""
        self._heard_at = self.common.clock.seconds()
        self.flush()

    def _write(self, data: bytes) -> None:
        """Send what isn't queued: the lines of the handshake and of the end."""
        assert self._outlet is not None
        figures = self.common.figures
        figures.writes += 1
        figures.bytes_out += len(data)
        self._outlet.send(data)

    # The end

    def _breach(self, error: GrammarError) -> None:
        """Close because the peer broke the grammar."""
        self.common.figures.breaches += 1
        self.common.notices.warn(self._peer_text, "grammar", f"it broke the peer protocol: {error.reason}")
        self.end("grammar", error.reason)

    def refuse(self, refusal: Refused) -> None:
        """Close because the peer isn't one to talk to."""
        self.common.figures.refused_in[refusal.code] += 1
        self.common.notices.warn(self._peer_text, refusal.code, f"refused, and told: {refusal.text}")
        self.end(refusal.code, refusal.text)

    def end(self, code: str, text: str) -> None:
        """Close, and tell the peer why."""
        assert code in CODES
        if self._over or self._outlet is None:
            return
        self._over = True
        self.is_up = False
        said = b" ".join(words(text))[:_ERROR_BYTES].split()
        self._write(line(b"ERROR", code, *said))
        self._outlet.close()
        self._stop_timer()
        # Who doesn't read that isn't waited for.
        self._timer = self.common.clock.callLater(self.common.limits.handshake_timeout, self.abort)

    def abort(self) -> None:
        """Close now."""
        self._over = True
        self.is_up = False
        if self.transport is not None:
            transport: Any = self.transport
            transport.abortConnection()
