"""The way in of all clients: real sockets, a real epoll, and a reactor that only remembers what it should watch."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any
from unittest import skipUnless

from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.server.harness import SocketTransport, Store
from tinykv.server.intake import TURN_BYTES, Intake
from tinykv.server.session import Session


@implementer(IReactorFDSet)
class Descriptors(Clock):
    """Remembers what is to be watched."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:  # noqa: N802
        """Watch a descriptor."""
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:  # noqa: N802
        """Watch it no more."""
        self.readers.remove(reader)


class ReadingTransport(SocketTransport):
    """A transport of a real socket, which remembers whether it reads."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(0)
        self._connection = connection
        self.reads = True

    def getHandle(self) -> Any:  # noqa: N802
        """Give the socket."""
        return self._connection

    def pauseProducing(self) -> None:  # noqa: N802
        """Read no more."""
        self.reads = False

    def resumeProducing(self) -> None:  # noqa: N802
        """Read again."""
        self.reads = True


class Connected:
    """A client: its own end of the connection, and the session at the other."""

    def __init__(self, store: Store, here: socket.socket, there: socket.socket) -> None:
        here.setblocking(False)
        there.setblocking(False)
        self.socket = here
        self.server_side = there
        self.session: Session = store.front.session(tls=False)
        self.transport = ReadingTransport(there)
        self.session.makeConnection(self.transport)

    def taken(self) -> bytes:
        """Take what came."""
        try:
            return self.socket.recv(1 << 20)
        except BlockingIOError:
            return b""


@skipUnless(Intake.supported, "this system has no epoll")
class IntakeTests(SynchronousTestCase):
    """Clients are read together, and each goes its own way when it ends."""

    def setUp(self) -> None:
        self.store = Store(tcp_keepalive=0)
        self.reactor = Descriptors()
        self.before_flush: list[Callable[[], None]] = []
        front = self.store.front
        front.intake = self.intake = Intake(self.reactor, self._flush)

    def _flush(self) -> None:
        for call in self.before_flush:
            call()
        self.store.front.flush()

    def connect(self) -> Connected:
        """Connect a client."""
        client = Connected(self.store, *socket.socketpair())
        self.addCleanup(client.socket.close)
        self.addCleanup(client.server_side.close)
        return client

    def turn(self) -> None:
        """Read whoever has sent something, and do what is due."""
        self.intake.doRead()
        self.store.turn()

    def test_it_reads_instead_of_the_transports(self) -> None:
        client = self.connect()
        self.assertEqual(self.reactor.readers, [self.intake])
        self.assertGreaterEqual(self.intake.fileno(), 0)
        self.assertFalse(client.transport.reads)

    def test_replies_leave_when_all_have_been_read(self) -> None:
        clients = [self.connect() for _ in range(3)]
        for client in clients:
            client.socket.send(b"PING\r\n")
        early: list[bytes] = []
        self.before_flush.append(lambda: early.extend(client.taken() for client in clients))
        self.turn()
        self.assertEqual(early, [b"", b"", b""])
        self.assertEqual([client.taken() for client in clients], [b"+PONG\r\n"] * 3)

    def test_writes_and_reads(self) -> None:
        client = self.connect()
        client.socket.send(b"SET a 1\r\nGET a\r\n")
        self.turn()
        self.assertEqual(client.taken(), b"+OK\r\n$1\r\n1\r\n")
        client.socket.send(b"GET a\r\n")
        self.turn()
        self.assertEqual(client.taken(), b"$1\r\n1\r\n")

    def test_who_leaves_is_the_matter_of_its_transport(self) -> None:
        client = self.connect()
        client.socket.close()
        self.turn()
        self.assertTrue(client.transport.reads)
        self.turn()
        self.assertFalse(client.session.closing)

    def test_who_resets_the_connection(self) -> None:
        client = self.connect()
        # Bytes that nobody read make it a reset.
        client.server_side.send(b"x")
        client.socket.close()
        self.turn()
        self.assertTrue(client.transport.reads)

    def test_who_is_paused_is_not_read(self) -> None:
        client, other = self.connect(), self.connect()
        client.socket.send(b"BLPOP l 0\r\n" + b"PING\r\n")
        self.turn()
        client.session._read_less()
        client.socket.send(b"PING\r\n")
        self.turn()
        self.assertEqual(client.taken(), b"")
        self.assertFalse(client.transport.reads)
        other.socket.send(b"RPUSH l x\r\n")
        self.turn()
        self.turn()
        self.assertEqual(client.taken(), b"*2\r\n$1\r\nl\r\n$1\r\nx\r\n+PONG\r\n+PONG\r\n")

    def test_who_is_to_be_closed_is_given_back_first(self) -> None:
        client = self.connect()
        client.socket.send(b"QUIT\r\n")
        self.turn()
        self.assertEqual(client.taken(), b"+OK\r\n")
        self.assertTrue(client.transport.reads)
        self.assertTrue(client.transport.disconnecting)

    def test_who_breaks_the_protocol(self) -> None:
        client = self.connect()
        client.socket.send(b"*x\r\n")
        self.turn()
        self.assertEqual(client.taken(), b"-ERR Protocol error: invalid multibulk length\r\n")
        self.assertTrue(client.transport.disconnecting)

    def test_a_client_killed_by_another_of_the_same_turn(self) -> None:
        clients = [self.connect(), self.connect()]
        kills = b"CLIENT KILL ID %d\r\nSET killed-by %d\r\n"
        for client, other in zip(clients, clients[::-1], strict=True):
            client.socket.send(kills % (other.session.client_id, client.session.client_id))
        self.turn()
        closed = [client.transport.disconnecting for client in clients]
        self.assertEqual(sorted(closed), [False, True])
        # Only one of them came to say anything.
        killer = clients[closed.index(False)]
        last = self.store.connect().call([b"GET", b"killed-by"])
        self.assertEqual(last, b"%d" % killer.session.client_id)

    def test_a_defect_ends_one_client_alone(self) -> None:
        """Whether it shows when the client is read, or when it's answered."""
        for method in ("received", "_send"):
            client, other = self.connect(), self.connect()

            def fail(data: bytes) -> None:
                raise ZeroDivisionError

            setattr(client.session, method, fail)
            for each in (client, other):
                each.socket.send(b"PING\r\n")
            self.turn()
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertTrue(client.transport.aborted)
            self.assertEqual(other.taken(), b"+PONG\r\n")

    def test_a_lost_connection_is_forgotten_and_its_number_may_come_again(self) -> None:
        client = self.connect()
        number = client.server_side.fileno()
        here, there = socket.socketpair()
        self.addCleanup(here.close)
        client.server_side.close()
        client.session.connectionLost()
        same = socket.socket(fileno=os.dup2(there.fileno(), number))
        self.addCleanup(same.close)
        there.close()
        other = Connected(self.store, here, same)
        here.send(b"PING\r\n")
        self.turn()
        self.assertEqual(other.taken(), b"+PONG\r\n")

    def test_more_clients_than_one_turn_takes(self) -> None:
        self.intake.clients_a_turn = 2
        clients = [self.connect() for _ in range(5)]
        for client in clients:
            client.socket.send(b"PING\r\n")
        for _ in range(3):
            self.turn()
        self.assertEqual([client.session.answered for client in clients], [1] * 5)

    def test_more_bytes_than_one_turn_takes(self) -> None:
        clients = [self.connect() for _ in range(4)]
        pipeline = b"ECHO %s\r\n" % (b"x" * (TURN_BYTES // 3))
        for client in clients:
            client.socket.send(pipeline)
        self.turn()
        self.assertEqual([client.session.answered for client in clients], [1, 1, 1, 0])
        # Who has more to say comes after who wasn't read yet.
        clients[0].socket.send(pipeline * 3)
        clients[1].socket.send(b"PING\r\n")
        self.turn()
        self.assertEqual([client.session.answered for client in clients], [1, 1, 1, 1])
        self.turn()
        self.turn()
        self.assertEqual(clients[1].session.answered, 2)

    def test_one_that_was_left_for_the_next_turn_is_closed_meanwhile(self) -> None:
        clients = [self.connect() for _ in range(4)]
        for client in clients:
            client.socket.send(b"ECHO %s\r\n" % (b"x" * (TURN_BYTES // 2)))
        self.turn()
        self.assertEqual([client.session.answered for client in clients], [1, 1, 0, 0])
        number = clients[2].server_side.fileno()
        self.intake.unwatch(number)
        self.turn()
        self.assertEqual([client.session.answered for client in clients], [1, 1, 0, 1])

    def test_its_end(self) -> None:
        client = self.connect()
        self.store.front.close()
        self.assertEqual(self.reactor.readers, [])
        client.session.connectionLost()
