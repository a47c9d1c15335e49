"""A real redis-server to compare with, and a plain blocking client that talks to it or to anything else in
RESP.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import socket
import tempfile
from collections.abc import Iterable, Sequence
from functools import cache
from types import TracebackType
from typing import IO, Any

from tests.real_redis import RealRedis

Argument = bytes | str | int | float
_ATTEMPTS = 10
_TIMEOUT_SECONDS = 30.0


class ReplyError(Exception):
    """An error reply; equal to another with the same text, which is in C{wire} without the leading minus."""

    def __init__(self, wire: bytes) -> None:
        super().__init__(wire.decode("latin-1"))
        self.wire = wire

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReplyError) and other.wire == self.wire

    def __hash__(self) -> int:
        return hash(self.wire)


#: Below what systems choose ports from for whoever connects, who could have one before it's listened on.
_PORTS = range(10_000, 32_768)
_given: set[int] = set()


@cache
def _claims() -> int:
    """Open the file of which each byte stands for a port; locked ones belong to a process of tests while it runs."""
    path = os.path.join(tempfile.gettempdir(), f"tinykv-test-ports-{os.getuid()}")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def free_port() -> int:
    """
    Return a port of 127.0.0.1 that nobody listens on at the moment; another one each time.

    It's the caller's also before something listens there: other processes of tests aren't given it.
    """
    while True:
        port = secrets.choice(_PORTS)
        if port in _given:
            continue
        try:
            fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            socket.create_server(("127.0.0.1", port)).close()
        except OSError as problem:
            if problem.errno not in (errno.EADDRINUSE, errno.EACCES, errno.EAGAIN):
                raise
            continue
        _given.add(port)
        return port


class RedisServer:
    """A running redis-server on a free port of 127.0.0.1 and on a Unix socket; a context manager that ends
    it.

    C{port} and C{path} are where it listens, C{pid} is its process, C{client} is a connection to it.
    """

    def __init__(self, *options: str) -> None:
        """Start it, with C{options} added to its command line, and wait until it answers PING."""
        self._real, self.port = _start(options)
        self.path = self._real.path
        self.pid = self._real.process.pid
        self._clients: list[BlockingClient] = []
        try:
            self.client = self.connect()
            self.client.call("PING")
            # Nobody reads its output from here on.
            self.client.call("CONFIG", "SET", "loglevel", "warning")
        except BaseException:
            self.close()
            raise

    def connect(self) -> BlockingClient:
        """Return one more connection, closed with the server at the latest."""
        client = BlockingClient.unix(self.path)
        self._clients.append(client)
        return client

    def close(self) -> None:
        """End the process and close all connections to it."""
        for client in self._clients:
            client.close()
        self._real.close()

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _start(options: Sequence[str]) -> tuple[RealRedis, int]:
    """Start a server, on another port where somebody was faster than it."""
    for _ in range(_ATTEMPTS):
        port = free_port()
        try:
            return RealRedis("--port", str(port), "--bind", "127.0.0.1", *options), port
        except RuntimeError as error:
            if "Address already in use" not in str(error):
                raise
    raise RuntimeError("no port stayed free")


class BlockingClient:
    """A connection that sends commands and waits for their replies.

    Replies become: bytes (bulk, simple, verbatim), int, None, bool, float, list (arrays, pushes), dict, set
    (as a list: members may be of any type), L{ReplyError}.
    """

    def __init__(self, connection: socket.socket, timeout: float = _TIMEOUT_SECONDS) -> None:
        connection.settimeout(timeout)
        self._socket = connection
        self._stream: IO[bytes] = connection.makefile("rb")
        self._read: list[bytes] = []

    @classmethod
    def tcp(cls, host: str, port: int, timeout: float = _TIMEOUT_SECONDS) -> BlockingClient:
        """Connect to a port."""
        return cls(socket.create_connection((host, port), timeout), timeout)

    @classmethod
    def unix(cls, path: str) -> BlockingClient:
        """Connect to a Unix socket."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        return cls(connection)

    def call(self, *arguments: Argument) -> Any:
        """Return the reply to one command; raise it if it's an error."""
        reply = self.attempt(*arguments)
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    def attempt(self, *arguments: Argument) -> Any:
        """Return the reply to one command, be it an error."""
        self._socket.sendall(encode_command(arguments))
        return self.read_reply()

    def pipeline(self, commands: Iterable[Sequence[Argument]]) -> list[Any]:
        """Send all C{commands} at once and return their replies, errors among them."""
        requests = [encode_command(command) for command in commands]
        self._socket.sendall(b"".join(requests))
        return [self.read_reply() for _ in requests]

    def raw(self, *arguments: Argument) -> bytes:
        """Return the reply to one command as it is on the wire."""
        self.attempt(*arguments)
        return b"".join(self._read)

    def raw_reply(self) -> bytes:
        """Wait for a reply, and return it as it is on the wire."""
        self.read_reply()
        return b"".join(self._read)

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def read_reply(self) -> Any:
        """Wait for a reply, and return it."""
        self._read.clear()
        return self._reply()

    def close(self) -> None:
        """End the connection."""
        self._stream.close()
        self._socket.close()

    def _take(self, data: bytes, complete: bool) -> bytes:
        if not complete:
            raise ConnectionError("the connection ended within a reply")
        self._read.append(data)
        return data

    def _reply(self) -> Any:
        """Read one reply, with all that is nested in it."""
        line = self._stream.readline()
        self._take(line, line.endswith(b"\r\n"))
        kind, text = line[:1], line[1:-2]
        if kind == b"+" or kind == b"(":
            return text
        if kind == b"-":
            return ReplyError(text)
        if kind == b":":
            return int(text)
        if kind == b"_":
            return None
        if kind == b"#":
            return text == b"t"
        if kind == b",":
            return float(text)
        count = int(text)
        if count < 0:
            return None
        if kind in b"$=!":
            data = self._stream.read(count + 2)
            self._take(data, len(data) == count + 2)
            if kind == b"!":
                return ReplyError(data[:-2])
            return data[:-2] if kind == b"$" else data[4:-2]
        if kind in b"*~>":
            return [self._reply() for _ in range(count)]
        if kind == b"%":
            return {self._reply(): self._reply() for _ in range(count)}
        raise ValueError(f"no reply starts with {kind!r}")


def encode_command(arguments: Sequence[Argument]) -> bytes:
    """Return a command as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)
