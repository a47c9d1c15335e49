"""
A blocking connection to a Redis server, for commands of the command line: send a batch, read its replies.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from tinykv.resp.reader import NEED_DATA
from tinykv.resp.replies import encode_command
from tinykv.resp.reply_reader import BadReply, ErrorReply, Reply, ReplyReader

#: How long a server may take to answer, in seconds: a single huge value takes its time.
PATIENCE = 60.0

_CHUNK = 1 << 16


class WireError(Exception):
    """The connection can't be used any more, or the server refused what can't be done without."""


@dataclass(frozen=True)
class Address:
    """
    Where a server is: what C{redis://[[user]:password@]host[:port][/db]} says.

    @ivar db: The database, or None if none is named.
    """

    host: str
    port: int = 6379
    user: str = ""
    password: str = ""
    db: int | None = None

    @classmethod
    def parse(cls, url: str) -> Address:
        """
        Read a URL.

        @raise ValueError: It's none of that form; the text says what is wrong.
        """
        parts = urlsplit(url)
        if parts.scheme != "redis":
            raise ValueError("it has to begin with redis://")
        if not parts.hostname:
            raise ValueError("the host is missing")
        if parts.query or parts.fragment:
            raise ValueError("nothing may follow the database")
        path = parts.path.strip("/")
        if path and not path.isdigit():
            raise ValueError(f"{path!r} is no number of a database")
        return cls(
            parts.hostname,
            parts.port or 6379,
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            int(path) if path else None,
        )

    def __str__(self) -> str:
        """Name the server, without its password."""
        return f"{self.host}:{self.port}"


class Wire:
    """A connection; a context manager. What fails is a L{WireError} that names the server."""

    def __init__(self, address: Address) -> None:
        """Connect, and authenticate if a password is given."""
        self.address = address
        try:
            self._socket = socket.create_connection((address.host, address.port), PATIENCE)
        except OSError as problem:
            raise WireError(f"{address}: can't connect: {problem.strerror or problem}") from problem
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = ReplyReader()
        if address.password:
            user = (address.user,) if address.user else ()
            self.need("AUTH", *user, address.password)

    def need(self, *command: str | bytes | int) -> Reply:
        """
        Send a command and give its reply.

        @raise WireError: It's an error.
        """
        (reply,) = self.batch([command])
        if isinstance(reply, ErrorReply):
            name = command[0] if isinstance(command[0], str) else "command"
            raise WireError(f"{self.address}: {name}: {reply.text.decode('utf-8', 'backslashreplace')}")
        return reply

    def batch(self, commands: Iterable[Sequence[str | bytes | int]]) -> list[Reply]:
        """
        Send commands and give their replies, errors among them.

        Either the commands or the replies of a batch have to be small, or both sides would wait for each other.
        """
        requests = [encode_command([_argument(argument) for argument in command]) for command in commands]
        try:
            self._socket.sendall(b"".join(requests))
            return [self._next() for _ in requests]
        except (OSError, BadReply) as problem:
            raise WireError(f"{self.address}: the connection broke: {problem}") from problem

    def _next(self) -> Reply:
        while (reply := self._reader.next_reply()) is NEED_DATA:
            data = self._socket.recv(_CHUNK)
            if not data:
                raise WireError(f"{self.address}: the server closed the connection")
            self._reader.feed(data)
        return reply

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _argument(argument: str | bytes | int) -> bytes:
    return argument if isinstance(argument, bytes) else str(argument).encode()
