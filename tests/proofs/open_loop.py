"""
Clients that don't wait: each SET leaves when its time has come, whatever became of those before it.

So a server that rests for a second is seen by all requests whose time came in that second, as its users would see it. A
client that waits for each reply would have asked once.
"""

from __future__ import annotations

import select
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from threading import Thread

from tests.redis_server import encode_command

#: How long the replies to the last requests are awaited, in seconds.
_LAST_SECONDS = 10.0
#: Between two attempts to connect again, in seconds.
_RETRY_SECONDS = 0.05


@dataclass
class Answers:
    """
    What became of the requests.

    @ivar answered: (when it was due, when it was answered OK), in seconds of the monotonic clock.
    @ivar failed: How many ended otherwise, by the error's code; C{lost} if there was no reply.
    """

    answered: list[tuple[float, float]] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)

    def between(self, begin: float, end: float) -> Answers:
        """Give those that were due in a time; failures have none, and are left out."""
        return Answers([times for times in self.answered if begin <= times[0] < end])

    def percentile(self, percent: float) -> float:
        """Give the time in ms within which so many of 100 were answered."""
        times = sorted(end - due for due, end in self.answered)
        return times[min(len(times) - 1, int(len(times) * percent / 100))] * 1000 if times else 0.0

    def longest_gap(self, begin: float, end: float) -> float:
        """Give the longest time in ms, within a time, in which no request was answered OK."""
        moments = sorted(moment for _, moment in self.answered if begin < moment < end)
        moments = [begin, *moments, end]
        return max(after - before for before, after in zip(moments, moments[1:], strict=False)) * 1000


class _Connection:
    """One client. Requests of which nobody knows what became are those in C{due} when it breaks."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due: deque[float] = deque()
        self.received = b""


class OpenLoop:
    """
    A load of SETs on a port of 127.0.0.1, from a thread of its own; a context manager that ends it.

    @ivar answers: What became of them; to be read when it has ended.
    """

    def __init__(self, port: int, *, rate: float, connections: int, keys: int, value_bytes: int, seed: int = 1) -> None:
        """
        @param rate: Requests a second, of all connections.
        @param keys: Of so many, one for each request at random.
        """
        self.answers = Answers()
        self._port = port
        self._rate = rate
        self._count = connections
        random = Random(seed)
        self._keys: Callable[[], bytes] = lambda: b"open:%012d" % random.randrange(keys)
        self._value = b"x" * value_bytes
        self._connections: dict[int, _Connection] = {}
        self._poll = select.epoll()
        self._ending = False
        self._problem: BaseException | None = None
        self._thread = Thread(target=self._run)

    def __enter__(self) -> OpenLoop:
        for _ in range(self._count):
            self._connect()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._thread.join()
        if self._problem is not None:
            raise self._problem

    def _connect(self) -> None:
        connection = _Connection(self._port)
        self._connections[connection.socket.fileno()] = connection
        self._poll.register(connection.socket.fileno(), select.EPOLLIN)

    def _drop(self, number: int) -> None:
        connection = self._connections.pop(number)
        self._poll.unregister(number)
        connection.socket.close()
        self.answers.failed["lost"] += len(connection.due)

    def _run(self) -> None:
        try:
            self._send_all()
        except BaseException as problem:  # noqa: BLE001 - it's raised again where the load is ended
            self._problem = problem
        finally:
            for number in list(self._connections):
                self._drop(number)
            self._poll.close()

    def _send_all(self) -> None:
        now = time.monotonic
        following = now()
        retry = following
        while not self._ending:
            self._receive(max(0.0, following - now()))
            if len(self._connections) < self._count and now() >= retry:
                retry = now() + _RETRY_SECONDS
                try:
                    self._connect()
                except OSError:
                    self.answers.failed["refused"] += 1
            while following <= now():
                self._send(following)
                following += 1 / self._rate
        deadline = now() + _LAST_SECONDS
        while any(connection.due for connection in self._connections.values()) and now() < deadline:
            self._receive(0.1)

    def _send(self, due: float) -> None:
        """Send one by the connection that has the fewest under way."""
        if not self._connections:
            self.answers.failed["lost"] += 1
            return
        number, connection = min(self._connections.items(), key=lambda item: len(item[1].due))
        connection.due.append(due)
        try:
            connection.socket.sendall(encode_command((b"SET", self._keys(), self._value)))
        except OSError:
            self._drop(number)

    def _receive(self, seconds: float) -> None:
        """Take what comes within some seconds."""
        for number, _ in self._poll.poll(seconds):
            connection = self._connections[number]
            try:
                data = connection.socket.recv(65536)
            except OSError:
                data = b""
            if not data:
                self._drop(number)
                continue
            *lines, connection.received = (connection.received + data).split(b"\r\n")
            moment = time.monotonic()
            for line in lines:
                due = connection.due.popleft()
                if line == b"+OK":
                    self.answers.answered.append((due, moment))
                else:
                    self.answers.failed[line[1:].split(b" ", 1)[0].decode("latin-1")] += 1
