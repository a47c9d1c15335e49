"""
Clients that don't wait for replies: what one of them sends on a connection has to happen in its order (R1 of the
design).

Each pushes numbers to the end of a list of its own, several at a time and in several turns of the store. Whatever
happens, the list holds, of each connection, ascending numbers: each that was acknowledged, none that was refused, none
twice, and of the others any.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum
from random import Random
from typing import Any, Final

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from tinykv.resp.reader import NEED_DATA
from tinykv.resp.replies import encode_command
from tinykv.resp.reply_reader import ErrorReply, ReplyReader
from tinykv.testing.redis_space import Failed
from tinykv.testing.simulation.clock import Process
from tinykv.testing.simulation.events import MILLISECOND, SECOND, Event, Events
from tinykv.testing.simulation.ports import RespPort
from tinykv.testing.simulation.streams import Streams
from tinykv.testing.simulation.workload import NOTHING_DONE, UNKNOWN, Silence

#: How many requests come one after another, with pauses of up to so long between them, and the mean pause behind them.
REQUESTS: Final = (2, 6)
GAP_US: Final = 20 * MILLISECOND
PAUSE_US: Final = SECOND // 2
#: A client goes away when it hears nothing for so long.
PATIENCE_US: Final = 3 * SECOND


class _Outcome(Enum):
    """What became of a request."""

    OPEN = "open"
    DONE = "done"
    REFUSED = "refused"


class Pipeliner:
    """
    One client.

    @ivar key: Of its list.
    @ivar found: What the list holds in the end, once that's known.
    """

    def __init__(
        self, events: Events, streams: Streams, process: Process, targets: Sequence[str], *, key: bytes, end_us: int
    ) -> None:
        """
        @param targets: The addresses to which it may connect.
        @param end_us: When no more requests are sent.
        """
        self.key = key
        self.found: list[bytes] | None = None
        self._events = events
        self._streams = streams
        self._process = process
        self._targets = list(targets)
        self._end_us = end_us
        self._random: Random = events.random(f"pipeline {process.name}")
        self._connection: _Connection | None = None
        self._connections = 0
        self._count = 0
        self._outcomes: dict[bytes, _Outcome] = {}
        self._problems: list[str] = []

    @property
    def sent(self) -> int:
        """How many requests were sent."""
        return len(self._outcomes)

    def start(self) -> None:
        """Begin."""
        pause = int(self._random.expovariate(1.0 / PAUSE_US)) + 1
        self._events.after(pause, f"{self._process.name} sends some", self._burst)

    def _burst(self) -> None:
        if self._events.now >= self._end_us:
            return
        if self._connection is None or self._connection.over:
            self._connections += 1
            self._connection = _Connection(self, self._events)
            target = self._random.choice(self._targets)
            self._streams.connect(
                self._process.name, self._process, target, self._connection, self._connection.not_connected
            )
        delay = 0
        for _ in range(self._random.randint(*REQUESTS)):
            self._events.after(delay, f"{self._process.name} sends one", self._push, self._connection)
            delay += self._random.randint(0, GAP_US)
        self.start()

    def _push(self, connection: _Connection) -> None:
        if connection is not self._connection or connection.over:
            return
        self._count += 1
        value = b"%d.%d" % (self._connections, self._count)
        self.noted(value)
        connection.push(value)

    def noted(self, value: bytes) -> None:
        """Note a value that is about to be sent."""
        self._outcomes[value] = _Outcome.OPEN

    def replied(self, value: bytes, reply: Any) -> bool:
        """Learn what became of a value; say whether to go on with this connection."""
        if isinstance(reply, ErrorReply):
            code = reply.text.split(b" ", 1)[0]
            if code in NOTHING_DONE:
                self._outcomes[value] = _Outcome.REFUSED
            elif code not in UNKNOWN:
                self._problems.append(f"{self.key!r} can't take {value!r}: {reply.text!r}")
            return False
        self._outcomes[value] = _Outcome.DONE
        return True

    def read(self, port: RespPort) -> None:
        """
        In the end: find out what the list holds.

        The client goes away: what it was told from now on could have been done after the list was read.
        """
        self._end_us = self._events.now
        if self._connection is not None:
            self._connection.end()

        def ask() -> None:
            port.send((b"LRANGE", self.key, b"0", b"-1"), answered)

        def answered(answer: Any) -> None:
            if isinstance(answer, tuple):
                self.found = list(answer)
                return
            if isinstance(answer, Silence | Failed):
                port.renew()
            self._events.after(SECOND // 10, "pipelines are read again", ask)

        ask()

    def problems(self) -> list[str]:
        """Say what isn't as it should be."""
        problems = list(self._problems)
        found = self.found if self.found is not None else []
        there = set(found)
        if len(there) < len(found):
            problems.append(f"{self.key!r} holds something twice: {found}")
        lost = [value for value, outcome in self._outcomes.items() if outcome is _Outcome.DONE and value not in there]
        if lost:
            problems.append(f"{self.key!r} lacks {lost}, which it has acknowledged")
        kept = [value for value in found if self._outcomes[value] is _Outcome.REFUSED]
        if kept:
            problems.append(f"{self.key!r} holds {kept}, which was refused")
        last: dict[bytes, int] = {}
        for value in found:
            connection, _, number = value.partition(b".")
            if int(number) < last.get(connection, 0):
                problems.append(f"{self.key!r} holds {value!r} out of order, behind {last[connection]}: {found}")
                break
            last[connection] = int(number)
        return problems


class _Connection(Protocol):
    """
    One connection.

    @ivar over: Whether it's of no more use.
    """

    def __init__(self, client: Pipeliner, events: Events) -> None:
        self.over = False
        self._client = client
        self._events = events
        self._reader = ReplyReader()
        self._waiting: list[bytes] = []
        self._left: deque[bytes] = deque()
        self._patience: Event | None = None

    def push(self, value: bytes) -> None:
        """Send a request now, or once there's a connection."""
        self._waiting.append(value)
        if self._patience is None:
            self._patience = self._events.after(PATIENCE_US, "a pipeline has waited enough", self.end)
        if self.connected:
            self._write()

    def connectionMade(self) -> None:
        """Send what has waited for this."""
        if self.over:
            self.end()
        else:
            self._write()

    def _write(self) -> None:
        transport: Any = self.transport
        waiting, self._waiting = self._waiting, []
        for value in waiting:
            self._left.append(value)
            transport.write(encode_command([b"RPUSH", self._client.key, value]))

    def dataReceived(self, data: bytes) -> None:
        """Take replies, in the order of the requests."""
        self._reader.feed(data)
        while (reply := self._reader.next_reply()) is not NEED_DATA:
            if not self._client.replied(self._left.popleft(), reply):
                # All that is behind it may have been refused, too; another store may do better.
                self.over = True
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self._left:
            self._patience = self._events.after(PATIENCE_US, "a pipeline has waited enough", self.end)
        elif self.over:
            self.end()

    def end(self) -> None:
        """Go away."""
        self.over = True
        transport: Any = self.transport
        if self.connected:
            transport.abortConnection()

    def not_connected(self, reason: Exception) -> None:
        """Learn that there'll be no connection."""
        self.over = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Learn nothing more."""
        self.over = True
