"""
A whole store in memory, driven with bytes: sessions, front, region host and commands; no sockets, files or processes.

Time stands still until a test moves it. What was sent is done by L{Store.turn}; a log that is held back
(L{HeldLog.held}) keeps writes from being decided.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any, cast

import hiredis
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from tests.option_examples import ErrorReply, Reply
from tinykv.config import StoreConfig
from tinykv.interfaces import IDataWriter, ILogWriter
from tinykv.raft.messages import HardState
from tinykv.redis.commands import MODULES, VALUE_TYPES
from tinykv.redis.execution import Execution
from tinykv.redis.keyspace import Keyspace
from tinykv.redis.table import commands_of
from tinykv.region.descriptor import Descriptor
from tinykv.region.state import ApplyState
from tinykv.resp.replies import encode_command
from tinykv.server.commands import CONNECTION_MODULES
from tinykv.server.front import Front
from tinykv.server.metrics import Metrics
from tinykv.server.router import Router
from tinykv.server.session import Session
from tinykv.storage.errors import StorageError
from tinykv.storage.rowstore import RowStore
from tinykv.storage.tables import MemTable
from tinykv.storage.writers import LogBatch
from tinykv.store.host import RegionHost
from tinykv.store.regions import Regions
from tinykv.testing.alone import alone
from tinykv.testing.nothing_ahead import NothingAhead

TABLE = commands_of(MODULES)
START = 1_700_000_000.0


class NoFile:
    """A data file with nothing in it."""

    def get(self, family: str, key: bytes) -> None:
        """Find nothing."""

    def rising(self, family: str) -> Callable[[bytes, bytes, int], list[tuple[bytes, Any]]]:
        """Find nothing."""
        return lambda start, end, limit: []

    falling = rising

    def expiries(self, start: tuple[int, bytes], end: tuple[int, bytes], limit: int) -> list[Any]:
        """Find nothing."""
        return []


@implementer(ILogWriter)
class HeldLog:
    """
    A log that is durable in the next turn, or when the test says so.

    @ivar held: Whether batches wait until L{let_go}.
    """

    def __init__(self, clock: Clock) -> None:
        self.held = False
        self._clock = clock
        self._waiting: list[Callable[[], None]] = []

    def write(self, batch: LogBatch, done: Callable[[], None]) -> None:
        """Take a batch."""
        if self.held:
            self._waiting.append(done)
        else:
            self._clock.callLater(0, done)

    def let_go(self) -> None:
        """Let everything be durable."""
        self.held = False
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            self._clock.callLater(0, done)

    def failed(self, callback: Callable[[StorageError], None]) -> None:
        """Never fail."""

    def close(self) -> Deferred[None]:
        """Do nothing."""
        return succeed(None)


@implementer(IDataWriter)
class NoFlush:
    """Writes nothing: tables stay in memory."""

    def flush(self, table: MemTable, done: Callable[[], None]) -> None:
        """Do nothing."""

    def failed(self, callback: Callable[[StorageError], None]) -> None:
        """Never fail."""

    def close(self) -> Deferred[None]:
        """Do nothing."""
        return succeed(None)


class Store:
    """
    The store.

    @ivar stopped: Whether SHUTDOWN was called.
    """

    def __init__(self, *, regions: int = 1, **options: Any) -> None:
        """
        @param regions: Into how many regions its slots are cut.
        """
        self.clock = Clock()
        self.config = replace(StoreConfig(), **options)
        self.rows = RowStore(cast(Any, NoFile()))
        self.defects: list[BaseException] = []
        self.log = HeldLog(self.clock)
        self.stopped = False
        metrics = Metrics()
        self.regions = Regions(
            rows=self.rows,
            log_writer=self.log,
            data_writer=NoFlush(),
            reader=NothingAhead(self.clock),
            clock=self.clock,
            now=lambda: 0.0,
            now_ms=lambda: int(self.now() * 1000),
            flushed=lambda: None,
            answered=lambda: self.front.flush(),
            stopped=self.defects.append,
            durations=metrics,
            memtable_bytes=1 << 30,
            durability_os=False,
            round_seconds=0.0,
            gather_seconds=0.0,
        )
        for descriptor in Descriptor.initial_regions(regions, [1]):
            self._add_region(descriptor, metrics)
        hosts = list(self.regions.hosts.values())
        host: Any = hosts[0]
        if regions > 1:
            host = Router([(one.descriptor.slots, one) for one in hosts], Random(4).randrange)
        self.host = host
        self.execution = host.execution
        self.front = Front(
            self.host,
            TABLE,
            CONNECTION_MODULES,
            config=self.config,
            clock=self.clock,
            now=self.now,
            shutdown=self._shut_down,
        )
        for one in hosts:
            one.start()
        self.front.start()
        self.turn()
        self._ports = 40_000

    def _add_region(self, descriptor: Descriptor, metrics: Metrics) -> None:
        region = descriptor.region
        execution = Execution(
            Keyspace(self.rows, VALUE_TYPES, budget=1 << 30, region=region, slots=descriptor.slots),
            TABLE,
            start_id=7,
            random=Random(1),
            defect=lambda name, problem: self.defects.append(problem),
        )
        execution.load(0)
        state, promised = ApplyState(), HardState(0, 0, 0)
        RegionHost(
            self.regions,
            replica=alone(self.log, self.clock, metrics, state, promised, Random(3), region=region),
            descriptor=descriptor,
            execution=execution,
            now_ms=lambda: int(self.now() * 1000),
            uptime=self.clock.seconds,
            random=Random(2),
            applied=state,
            request_timeout=5.0,
            hold_seconds=0.0,
            gather_seconds=0.0,
        )

    def _shut_down(self) -> None:
        self.stopped = True

    def now(self) -> float:
        """Give the time in seconds since 1970."""
        return START + self.clock.seconds()

    def turn(self, seconds: float = 0) -> None:
        """Do all that is due; with C{seconds}, let time pass first."""
        while seconds > 0:
            step = min(seconds, 0.05)
            self.clock.advance(step)
            seconds -= step
        self.clock.advance(0)

    def connect(self, *, room: int | None = None, cluster: bool = False) -> Client:
        """
        Open a connection.

        @param cluster: Whether it's to the port of a cluster's node.
        @param room: How many bytes the client's socket takes before it's read from; None for any number, through a
            transport that has no socket.
        """
        self._ports += 1
        session = self.front.session(tls=False, cluster=cluster)
        transport: StringTransport = StringTransport() if room is None else SocketTransport(room)
        transport.peerAddr = IPv4Address("TCP", "127.0.0.1", self._ports)
        transport.hostAddr = IPv4Address("TCP", "127.0.0.1", 6379)
        client = Client(self, session, transport)
        session.makeConnection(transport)
        return client

    def flush(self) -> None:
        """Delete all keys, and end all connections."""
        for session in list(self.front.sessions.values()):
            session.abort()
            session.connectionLost()
        client = self.connect()
        assert client.call([b"FLUSHALL"]) == b"OK"
        client.lose()


class Client:
    """A client's end of a connection."""

    def __init__(self, store: Store, session: Session, transport: StringTransport) -> None:
        self.store = store
        self.session = session
        self.transport = transport
        self._replies = hiredis.Reader()

    @property
    def closed(self) -> bool:
        """Whether the server has ended the connection."""
        return self.transport.disconnecting

    def feed(self, data: bytes) -> None:
        """Send bytes; nothing is done yet but what a read does at once."""
        self.session.dataReceived(data)

    def send(self, args: list[bytes]) -> None:
        """Send a command, and do what is due."""
        self.feed(encode_command(args))
        self.store.turn()

    def pipeline(self, *commands: bytes) -> None:
        """Send commands in one piece, each given as words."""
        self.feed(b"".join(encode_command(command.split()) for command in commands))

    def taken(self) -> bytes:
        """Take what came."""
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def says(self, *commands: bytes) -> bytes:
        """Send commands in one piece, do what is due, and take what came."""
        self.pipeline(*commands)
        self.store.turn()
        return self.taken()

    def call(self, args: list[bytes]) -> Reply:
        """Send a command and give its reply."""
        self.send(args)
        data = self.taken()
        if not data:
            # It waits in a blocking command.
            self.store.turn(0.1)
            data = self.taken()
        self._replies.feed(data)
        reply = self._replies.gets()
        assert reply is not False, f"no reply to {args!r}"
        return _decoded(reply)

    def lose(self) -> None:
        """Let the connection break."""
        self.session.connectionLost()


def _decoded(reply: Any) -> Reply:
    if isinstance(reply, hiredis.ReplyError):
        return ErrorReply(str(reply).encode("latin-1"))
    if isinstance(reply, list):
        return [_decoded(item) for item in reply]
    return cast(Reply, reply)


class Socket:
    """A socket that takes so many bytes until they're read."""

    def __init__(self, transport: SocketTransport, room: int) -> None:
        self._transport = transport
        self.room = room
        self.options: list[tuple[int, int, int]] = []

    def fileno(self) -> int:
        """Give a number."""
        return 8

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """Remember an option."""
        self.options.append((level, option, value))

    def send(self, data: bytes) -> int:
        """Take what there's room for."""
        if not self.room:
            raise BlockingIOError
        taken = data[: self.room]
        self.room -= len(taken)
        self._transport.io.write(taken)
        return len(taken)


@implementer(ITCPTransport)
class SocketTransport(StringTransport):
    """A TCP transport with a socket of limited room; what has none waits in the transport."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.socket = Socket(self, room)
        self.waiting = b""
        self.aborted = False

    def getHandle(self) -> Socket:  # noqa: N802
        """Give the socket."""
        return self.socket

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802
        """Do nothing."""

    def getTcpNoDelay(self) -> bool:  # noqa: N802
        """Say yes."""
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None:  # noqa: N802
        """Do nothing: it's the socket that is asked."""

    def getTcpKeepAlive(self) -> bool:  # noqa: N802
        """Say yes."""
        return True

    def loseWriteConnection(self) -> None:  # noqa: N802
        """Do nothing: nobody half-closes."""

    def write(self, data: bytes) -> None:
        """Queue data."""
        self.waiting += data

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802
        """Greet a pull producer, as TCP transports do."""
        super().registerProducer(producer, streaming)
        if not streaming:
            producer.resumeProducing()

    def abortConnection(self) -> None:  # noqa: N802
        """End at once."""
        self.aborted = True
        super().abortConnection()

    def drain(self, room: int) -> None:
        """Let the client read: there's room again, and what waits is sent first."""
        self.socket.room = room
        sent, self.waiting = self.waiting[:room], self.waiting[room:]
        self.socket.room -= len(sent)
        self.io.write(sent)
        if not self.waiting and self.producer is not None:
            self.producer.resumeProducing()
