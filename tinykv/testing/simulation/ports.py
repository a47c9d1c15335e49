"""
A client of the RESP port over simulated connections.

It's as careful as a client must be that wants to know what it may conclude: it never sends a request twice, and when
its connection is gone before an answer came it says that it doesn't know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from tinykv.resp.reader import NEED_DATA
from tinykv.resp.replies import encode_command
from tinykv.resp.reply_reader import ErrorReply, NullArray, ReplyReader
from tinykv.testing.redis_model import Exec, Watch
from tinykv.testing.redis_space import Command, Failed
from tinykv.testing.simulation.clock import Process
from tinykv.testing.simulation.streams import Streams
from tinykv.testing.simulation.workload import Done, Request, Silence


@dataclass(frozen=True)
class Together:
    """Commands that are sent in one go; the answer is the tuple of all their answers."""

    commands: tuple[Command, ...]


class RespPort:
    """
    One client; see L{tinykv.testing.simulation.workload.Port}.

    @param targets: The addresses to which it may connect; it goes to another one when it connects anew.
    """

    def __init__(self, streams: Streams, process: Process, targets: Sequence[str], random: Random) -> None:
        self._streams = streams
        self._process = process
        self._targets = list(targets)
        self._random = random
        self._connection: _Connection | None = None

    def send(self, request: Request, done: Done) -> None:
        """Send a request, over a new connection if there never was one or it was given up."""
        if self._connection is None:
            self._connection = _Connection()
            self._streams.connect(
                self._process.name,
                self._process,
                self._random.choice(self._targets),
                self._connection,
                self._connection.not_connected,
            )
        self._connection.ask(request, done)

    def renew(self) -> None:
        """Give the connection up."""
        if self._connection is not None:
            self._connection.give_up()
            self._connection = None


class _Connection(Protocol):
    """One connection, with at most one request under way."""

    def __init__(self) -> None:
        self._reader = ReplyReader()
        self._done: Done | None = None
        self._request: Request = None
        self._awaited = 0
        self._answers: list[Any] = []
        self._broken = False
        self._given_up = False

    def ask(self, request: Request, done: Done) -> None:
        """Send a request now, or once there's a connection."""
        assert self._done is None, "one request at a time"
        if self._broken:
            done(Silence.NEVER_SENT)
            return
        self._request = request
        self._done = done
        if self.connected:
            self._write()

    def give_up(self) -> None:
        """Hear nothing more."""
        self._given_up = True
        self._done = None
        transport: Any = self.transport
        if self.connected and not self._broken:
            transport.abortConnection()

    def not_connected(self, reason: Exception) -> None:
        """Learn that there'll be no connection."""
        self._broken = True
        self._answer(Silence.NEVER_SENT)

    def connectionMade(self) -> None:
        """Send what has waited for this."""
        transport: Any = self.transport
        if self._given_up:
            transport.abortConnection()
        elif self._done is not None:
            self._write()

    def _write(self) -> None:
        request = self._request
        if isinstance(request, Exec):
            commands: list[Sequence[bytes]] = [(b"MULTI",), *request.commands, (b"EXEC",)]
        elif isinstance(request, Watch):
            commands = [(b"WATCH", *request.keys)]
        elif isinstance(request, Together):
            commands = list(request.commands)
        else:
            commands = [request]
        self._awaited = len(commands)
        self._answers.clear()
        transport: Any = self.transport
        transport.write(b"".join(encode_command(list(command)) for command in commands))

    def dataReceived(self, data: bytes) -> None:
        """Take replies; the last one is the answer."""
        self._reader.feed(data)
        while (reply := self._reader.next_reply()) is not NEED_DATA:
            assert self._given_up or self._awaited > 0, f"a reply that nobody asked for: {reply!r}"
            self._awaited -= 1
            self._answers.append(as_output(reply))
            if self._awaited == 0:
                self._answer(tuple(self._answers) if isinstance(self._request, Together) else self._answers[-1])

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Learn nothing of the request that was under way."""
        self._broken = True
        self._answer(Silence.LOST)

    def _answer(self, answer: Any) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(answer)


def as_output(reply: Any) -> Any:
    """Give a reply as the model words it."""
    if isinstance(reply, ErrorReply):
        return Failed(reply.text.split(b" ", 1)[0])
    if isinstance(reply, NullArray):
        return None
    if isinstance(reply, bytes):
        return bytes(reply)
    if isinstance(reply, list | tuple):
        return tuple(map(as_output, reply))
    return reply
