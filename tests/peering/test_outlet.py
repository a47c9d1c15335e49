"""What goes to a socket directly, and what is left to its transport."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tinykv.peering.outlet import Outlet


class FakeSocket:
    """
    A socket that takes so many bytes at a time, or fails.

    @ivar takes: What the next send does: a number of bytes, or an error.
    """

    def __init__(self) -> None:
        self.takes: int | OSError = 1 << 20
        self.sent = b""

    def send(self, data: bytes) -> int:
        """Take some."""
        if isinstance(self.takes, OSError):
            raise self.takes
        self.sent += data[: self.takes]
        return min(len(data), self.takes)


class FakeTransport:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.written = b""
        self.producer: Any = None
        self.streaming = False
        self.lost = False

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.written += data

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Do as Twisted's do: who is to be asked is asked at once."""
        assert self.producer is None
        self.producer, self.streaming = producer, streaming
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """Forget it."""
        self.producer = None

    def loseConnection(self) -> None:
        """Note it."""
        self.lost = True


class OutletTests(SynchronousTestCase):
    """Each case."""

    def outlet(self, direct: bool) -> None:
        """Make an outlet, with a socket or without."""
        self.socket: Any = FakeSocket()
        self.transport = FakeTransport()
        self.ready: list[str] = []
        self.out = Outlet(self.transport, self.socket if direct else None, lambda: self.ready.append("ready"))

    def test_a_socket_that_takes_all(self) -> None:
        self.outlet(direct=True)
        self.out.send(b"abc")
        self.assertEqual((self.socket.sent, self.transport.written, self.out.busy), (b"abc", b"", False))
        self.assertIsNone(self.transport.producer)

    def test_a_socket_that_takes_some(self) -> None:
        self.outlet(direct=True)
        self.socket.takes = 2
        self.out.send(b"abc")
        self.assertEqual((self.socket.sent, self.transport.written, self.out.busy), (b"ab", b"c", True))
        self.out.send(b"d")
        self.assertEqual((self.socket.sent, self.transport.written), (b"ab", b"cd"))
        self.assertEqual(self.ready, [])
        self.transport.producer.resumeProducing()
        self.assertEqual((self.ready, self.out.busy, self.transport.producer), (["ready"], False, None))
        self.out.send(b"e")
        self.assertEqual(self.socket.sent, b"abe")

    def test_a_socket_that_fails_is_the_matter_of_the_transport(self) -> None:
        for error in (BlockingIOError(), ConnectionResetError()):
            self.outlet(direct=True)
            self.socket.takes = error
            self.out.send(b"abc")
            self.assertEqual((self.transport.written, self.out.busy), (b"abc", True))
            self.transport.producer.stopProducing()

    def test_without_a_socket(self) -> None:
        self.outlet(direct=False)
        self.assertTrue(self.transport.streaming)
        self.out.send(b"abc")
        self.assertEqual((self.transport.written, self.out.busy), (b"abc", False))
        self.transport.producer.pauseProducing()
        self.assertTrue(self.out.busy)
        self.transport.producer.resumeProducing()
        self.assertEqual((self.ready, self.out.busy), (["ready"], False))
        self.transport.producer.stopProducing()

    def test_close_lets_no_producer_keep_the_connection_open(self) -> None:
        for direct in (False, True):
            self.outlet(direct)
            self.out.close()
            self.assertEqual((self.transport.producer, self.transport.lost), (None, True))
