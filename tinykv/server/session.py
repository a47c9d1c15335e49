"""
One client's connection: bytes in, replies out in order.

Requests are numbered as they're read. A read of a client with nothing under way is answered at once; a write gets its
number and goes to the region, and so does everything the client sends behind it that has to see it. Replies come back
with their numbers, and leave in order (L{tinykv.server.outbound}).

Back-pressure goes both ways: while the client doesn't take its replies, or has as many commands under way as it may,
nothing more is read from it. What comes behind a request that has to be answered first (a blocking command, a WATCH)
is kept unrun; such a client is read from all the same, up to its query buffer's limit, since only who reads notices
that the other side has left.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.interfaces import IHalfCloseableProtocol, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tinykv.redis.operations import COMMANDS, LOCAL, READ, WAITING, Operation
from tinykv.resp import replies
from tinykv.resp.fast_reader import FastRequestReader
from tinykv.resp.limits import RequestLimits
from tinykv.resp.replies import encode_command
from tinykv.server.outbound import Outbound
from tinykv.server.outlets import Pressure, keep_alive
from tinykv.server.routes import CONNECTION, READS_MANY, TIMED_OF, WRITES, Route

if TYPE_CHECKING:
    from tinykv.redis.spec import CommandSpec
    from tinykv.server.front import Front

#: Of the bytes that were kept unread so many are read as requests at a time.
CHUNK_BYTES = 64 * 1024

#: A command that waits for EXEC: (database, spec or None, arguments, what to call where there's no spec).
Queued = tuple[int, "CommandSpec | None", list[bytes], Any]


@implementer(IHalfCloseableProtocol)
class Session(Outbound):
    """
    A client's connection.

    @ivar host: Runs its commands on data.
    @ivar proto: 2 or 3.
    @ivar db: The database it has selected.
    @ivar authenticated: Whether it has shown the password, where one is set.
    @ivar user: Whom it authenticated as.
    @ivar name: What CLIENT SETNAME said; C{library} and C{library_version} what CLIENT SETINFO did.
    @ivar queue: Since MULTI, the commands for EXEC; None outside.
    @ivar queue_db: The database that a command queued next would work on.
    @ivar spoiled: Whether a command since MULTI was refused, so that EXEC must be.
    @ivar watched: What WATCH saw: (db, key) -> version.
    @ivar stale: Whether it reads what is applied here, old as it may be, since it said READONLY.
    @cvar cluster: Whether it's spoken to as a node of a Redis Cluster.
    @ivar blocking: Its last blocking command; None if there was none.
    @ivar since: When it connected, C{last_used} when it last sent something; seconds since 1970.
    @ivar last_route: Its last command; None if there was none.
    """

    cluster = False

    def __init__(self, front: Front, client_id: int) -> None:
        super().__init__(front, client_id)
        self.host = front.host
        self.proto = 2
        self.db = 0
        self.authenticated = front.open
        self.user = b"default"
        self.name = b""
        self.library = b""
        self.library_version = b""
        self.queue: list[Queued] | None = None
        self.queue_db = 0
        self.spoiled = False
        self.watched: dict[tuple[int, bytes], int] = {}
        self.no_evict = False
        self.no_touch = False
        self.stale = False
        self.since = self.last_used = front.turn_time
        self.last_route: Route | None = None
        self.blocking: Operation | None = None
        self.bytes_in = 0
        self.local_text = b""
        self.fd = -1
        self._reader = FastRequestReader(front.limits if self.authenticated else front.limits_before_auth)
        #: What isn't run yet: requests, and behind them bytes that aren't read as requests yet (C{_kept} of them).
        self._backlog: deque[list[bytes] | bytearray] = deque()
        self._kept = 0
        self._paused = False
        #: What reads the client: its transport, or the way in of all clients.
        self._source: Any = None
        #: Whether the client has said that it sends no more; and whether its blocking command is known to wait.
        self._ended = False
        self._parked = False

    # Bytes in

    def connectionMade(self) -> None:
        """Learn the addresses, and announce oneself."""
        self._source = transport = cast(Any, self.transport)
        front = self.front
        self.peer_text = _address(transport.getPeer())
        self.local_text = _address(transport.getHost())
        tls = front.is_tls(self)
        handle: Any = None
        if ITCPTransport.providedBy(transport):
            # What a TLS connection calls its handle isn't the socket.
            connection: Any = getattr(transport, "transport", transport) if tls else transport
            connection.setTcpNoDelay(True)
            handle = connection.getHandle()
            self.fd = handle.fileno()
            if front.tcp_keepalive:
                keep_alive(handle, front.tcp_keepalive)
        if handle is not None and not tls:
            self._send = handle.send
            if front.intake is not None:
                transport.pauseProducing()
                self._source = front.intake.source(self, handle)
        else:
            transport.registerProducer(Pressure(self._full, self._drained), True)
        front.connected(self)

    def dataReceived(self, data: bytes) -> None:
        """Run what the client asks for, and send what it's owed."""
        self.received(data)
        self.front.flush()

    def received(self, data: bytes) -> None:
        """Run what the client asks for; what it's owed leaves with the replies to the others of this turn."""
        self.bytes_in += len(data)
        self.last_used = self.front.turn_time
        if self._stalled or self._backlog:
            self._keep(data)
            return
        reader = self._reader
        requests = reader.requests(data)
        if reader.whole and len(requests) == 1:
            self._dispatch(requests[0], data)
        else:
            self._take(requests)
            self._proceed()
        if self.closing and not self._listed:
            self._close_when_done()

    def _keep(self, data: bytes) -> None:
        """Keep bytes for later, as there's something in the way."""
        if self.closing or self._reader.error is not None:
            return
        backlog = self._backlog
        if backlog and isinstance(backlog[-1], bytearray):
            backlog[-1] += data
        else:
            backlog.append(bytearray(data))
        self._kept += len(data)
        if self.query_buffer > self._reader.limits.query_buffer_bytes:
            self._exceed()
        elif self.held is None:
            self._read_less()

    def _take(self, requests: list[list[bytes]]) -> None:
        """Run requests that were just read, and see what the reader says of the bytes behind them."""
        reader = self._reader
        if reader.again:
            # Before AUTH one request at a time is read, since the limits for the next depend on it.
            self._backlog.appendleft(bytearray())
        self._run(requests)
        if reader.error is not None:
            self._protocol_error()
        elif reader.buffered > reader.limits.query_buffer_bytes:
            self._exceed()

    def _exceed(self) -> None:
        """Close a client that sends more than may wait to be run."""
        self.front.query_limit_closes += 1
        self.front.log.warn(
            "{peer} sent {size} bytes that can't be run yet: closing it",
            peer=self.peer_text.decode(),
            size=self.query_buffer,
        )
        self.abort()

    def _run(self, requests: list[list[bytes]]) -> None:
        """Run requests; the rest is kept when something comes in the way."""
        depth = self.front.pipeline_depth
        for place, request in enumerate(requests):
            if self._stalled or self.issued - self.answered >= depth:
                if not self.closing:
                    self._backlog.extendleft(reversed(requests[place:]))
                    if self.held is None:
                        self._read_less()
                return
            self._dispatch(request, None)

    def _proceed(self) -> None:
        """Run what was kept, as far as nothing is in the way."""
        backlog = self._backlog
        depth = self.front.pipeline_depth
        while backlog and not self._stalled and self.issued - self.answered < depth:
            first = backlog[0]
            if isinstance(first, list):
                backlog.popleft()
                self._dispatch(first, None)
                continue
            data = bytes(first[:CHUNK_BYTES])
            del first[:CHUNK_BYTES]
            self._kept -= len(data)
            if not first:
                backlog.popleft()
            self._take(self._reader.requests(data))

    def _protocol_error(self) -> None:
        """Answer bytes that are no request, behind all requests before them, and close."""
        error = self._reader.error
        if error is None or self.closing:
            return
        backlog = self._backlog
        while backlog and isinstance(backlog[-1], bytearray):
            # What is behind them is nothing.
            backlog.pop()
        self._kept = 0
        if backlog or self._stalled:
            # When it's this one's turn, the reader will say so again.
            backlog.append(bytearray())
            return
        self.front.protocol_errors += 1
        self.front.log.info(
            "{peer} broke the protocol: {text}", peer=self.peer_text.decode(), text=error.wire.decode("latin-1")
        )
        number = self.issued
        self.issued += 1
        if self.quiet:
            self._mute(number)
        self.answer(number, self.front.errors.counted(replies.error(error.wire)))
        self.close_after_replies()

    def _dispatch(self, request: list[bytes], raw: bytes | None) -> None:
        """Run one request; C{raw} are its bytes, where they're at hand."""
        front = self.front
        route = front.route_of(request[0])
        if route is None or route.subcommands is not None:
            found = front.find_route(request)
            if isinstance(found, bytes):
                if request[0].lower() in _WEB_REQUEST:
                    self._distrust()
                else:
                    self._refuse(found)
                return
            route = found
        count = len(request)
        if count != route.arity if route.arity > 0 else count < -route.arity:
            route.rejected += 1
            self._refuse(self._wrong_arity(route))
            return
        number = self.issued
        self.issued = number + 1
        route.calls = calls = route.calls + 1
        self.last_route = route
        if self.quiet:
            self._mute(number)
        if (self.queue is not None or not self.authenticated) and self._intercepted(number, route, request):
            return
        kind = route.kind
        if kind == CONNECTION:
            if route.in_order and self.answered != number:
                self._serve_in_order(number, route, request)
                return
            reply = front.serve(self, number, route, request)
            if reply is not None:
                self.answer(number, reply)
            return
        spec = route.timed if calls % TIMED_OF == 1 else route.spec
        if kind == WRITES:
            refusal = self.host.refusal(spec)
            if refusal is not None:
                route.rejected += 1
                self.answer(number, front.errors.counted(refusal))
            elif spec.blocks:
                self.hold(number)
                self.waiting = number
                self.blocking = (WAITING, self, number, self.db, spec, request, None)
                self.host.submit(self.blocking)
                if self._ended:
                    front.wake(self, b"gone")
            else:
                self.host.submit(
                    (COMMANDS, self, number, self.db, spec, request, encode_command(request) if raw is None else raw)
                )
            return
        if kind == READS_MANY:
            front.look_up(route, request)
        if self.answered == number:
            read = self.host.read_local if self.stale else self.host.read
            reply = read(self, number, self.db, spec, request)
            if reply is not None:
                self.answer(number, reply)
        else:
            self.host.submit((READ, self, number, self.db, spec, request, None))

    def _serve_in_order(self, number: int, route: Route, request: list[bytes]) -> None:
        """Run a command on the server when what the client sent before it has been applied, and nothing behind it."""
        self.hold(number)

        def serve() -> None:
            reply = self.front.serve(self, number, route, request)
            if reply is not None:
                self.answer(number, reply)

        self.host.submit((LOCAL, self, number, 0, None, serve, None))

    def _wrong_arity(self, route: Route) -> bytes:
        """Word the refusal of a wrong number of arguments; an EXEC that is refused ends its transaction."""
        if route.name != "exec":
            return self.front.wrong_arity(route)
        self.queue = None
        self.spoiled = False
        self.watched.clear()
        return _EXEC_ARITY

    def _refuse(self, reply: bytes) -> None:
        """Answer a request that there's no command for, or that has the wrong number of arguments."""
        number = self.issued
        self.issued = number + 1
        if self.quiet:
            self._mute(number)
        self.spoil()
        self.answer(number, self.front.errors.counted(reply))

    def _distrust(self) -> None:
        """
        Cut off what is no Redis client, but a web browser that a foreign page makes send a request to this port.

        Lines of its body would be commands otherwise.
        """
        self.front.protocol_errors += 1
        self.front.log.warn(
            "{peer} sent POST or Host:, as a web browser does that is abused for an attack: closing it",
            peer=self.peer_text.decode(),
        )
        self.abort()

    def _intercepted(self, number: int, route: Route, request: list[bytes]) -> bool:
        """Let the password and MULTI stand before a command; say whether it has been answered."""
        if not self.authenticated and not route.before_auth:
            refusal = _NO_AUTH if route.name != "exec" else _EXEC_NO_AUTH
        elif self.queue is None or route.in_multi_at_once:
            return False
        elif route.refused_in_multi:
            refusal = _NOT_IN_MULTI
        else:
            self.front.enqueue(self, route, request)
            self.answer(number, replies.QUEUED)
            return True
        route.calls -= 1
        route.rejected += 1
        self.spoil()
        self.answer(number, self.front.errors.counted(refusal))
        return True

    def waits(self, number: int, timeout_ms: int) -> None:
        """Learn that the request with this number now waits, for so long at most (0: for ever)."""
        if self.waiting != number:
            # The entry that serves it was applied here before the store that leads could say that it waits.
            return
        self.front.waits(self, timeout_ms)
        self._parked = True
        if self._ended:
            self.cut()

    def _release(self) -> None:
        self._parked = False
        super()._release()

    # Holding requests back

    def _read_less(self) -> None:
        if not self._paused and not self.closing:
            self._paused = True
            self._source.pauseProducing()

    def _go_on(self) -> None:
        """Run what was kept back; read on when there's nothing of it left, or the client is waited for."""
        backlog = self._backlog
        if not backlog and not self._paused:
            return
        self._listed = True
        self._proceed()
        self._listed = False
        if self._out:
            self._flush()
        if self.closing:
            self._close_when_done()
        elif self._paused and not self._queued and (self.held is not None or not (backlog or self._stalled)):
            if self._ended:
                self._end_when_done()
            else:
                self._paused = False
                self._source.resumeProducing()

    def transport_reads(self) -> None:
        """Leave it to the transport to read, as it knows how a connection ends."""
        source = self._source
        transport: Any = self.transport
        if source is not transport:
            source.stopProducing()
            self._source = transport
            if not self._paused:
                transport.resumeProducing()

    # MULTI

    def spoil(self) -> None:
        """Remember that a command since MULTI was refused."""
        if self.queue is not None:
            self.spoiled = True

    # The end

    def readConnectionLost(self) -> None:
        """
        Learn that the client sends no more, though it may still read: it gets what it asked for, and is closed.

        One that waits in a blocking command is taken to have left altogether, as Redis does.
        """
        self._ended = self._paused = True
        if self._parked:
            self.cut()
            return
        if self.waiting is not None:
            # If it has to wait, it's gone by then, and what others push meanwhile isn't for it.
            self.front.wake(self, b"gone")
        self._go_on()

    def _end_when_done(self) -> None:
        """Close the connection of a client that sends no more, if it's owed nothing."""
        if self.answered == self.issued and not self._backlog:
            self.closing = self._stalled = True
            self._close_when_done()

    def writeConnectionLost(self) -> None:
        """Learn that nothing more can be sent; it's never asked for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget everything; what is under way may still happen, and nobody is told."""
        self._backlog.clear()
        self._forget()
        self.front.disconnected(self)

    # Figures

    @property
    def databases(self) -> int:
        """Count the databases that it may select."""
        return self.front.databases

    @property
    def query_buffer(self) -> int:
        """Count the bytes of requests that aren't run yet."""
        return self._reader.buffered + self._kept

    def set_limits(self, limits: RequestLimits) -> None:
        """Change what the client may send, as AUTH does."""
        self._reader.limits = limits


#: What begins a line of every HTTP request that has a body.
_WEB_REQUEST = (b"post", b"host:")
_NO_AUTH = replies.error(b"NOAUTH Authentication required.")
_EXEC_NO_AUTH = replies.error(b"EXECABORT Transaction discarded because of: NOAUTH Authentication required.")
_EXEC_ARITY = replies.error(b"EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command")
_NOT_IN_MULTI = replies.error(b"ERR Command not allowed inside a transaction")


def _address(address: Any) -> bytes:
    """Write an address as Redis does."""
    host = getattr(address, "host", None)
    if host is None:
        return b"unix:0"
    return (f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}").encode()
