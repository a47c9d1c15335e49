"""
The two servers of a comparison, each with three clients: ours in this process, and any behind a socket.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tests.instant_store import Engine, InstantStore
from tests.redis_server import BlockingClient
from tests.sequences import MAIN, OTHER, WAITER


class Side(Protocol):
    """One of the two servers, with three clients."""

    def begin(self, proto: int, budget: int) -> None:
        """
        Be without data and settings.

        @param proto: The protocol of all clients.
        @param budget: Bytes of memory for live values, where they can be chosen.
        """

    def send(self, who: str, arguments: tuple[bytes, ...]) -> bytes:
        """Give the reply to a command of the main or the other client."""

    def wait(self, arguments: tuple[bytes, ...]) -> None:
        """Send a command that may wait."""

    def waited(self) -> bytes:
        """End the wait, if it lasts, and give the reply to the command that might wait."""

    def disturb(self, how: bytes) -> None:
        """Let something happen to the memory, where there's access to it."""

    @property
    def defects(self) -> list[tuple[str, BaseException]]:
        """Give the commands that failed unexpectedly since the beginning, where that can be seen."""


class InstantSide:
    """Our store, in this process."""

    def __init__(self) -> None:
        self._engine = Engine()
        self._store = InstantStore(self._engine)
        self._clients = {who: self._store.client() for who in (MAIN, OTHER, WAITER)}

    def begin(self, proto: int, budget: int) -> None:
        """Put new data under the same front."""
        for client in self._clients.values():
            client.raw(b"RESET")
            client.raw(b"HELLO", b"%d" % proto)
        self._engine = Engine(budget=budget)
        self._store.renew(self._engine)

    def send(self, who: str, arguments: tuple[bytes, ...]) -> bytes:
        """Run a command."""
        return self._clients[who].raw(*arguments)

    def wait(self, arguments: tuple[bytes, ...]) -> None:
        """Send a command that may wait."""
        self._reply = self._clients[WAITER].raw(*arguments)

    def waited(self) -> bytes:
        """Give its reply."""
        waiter = self._clients[WAITER]
        self._reply += waiter.received()
        if not self._reply:
            self._store.front.wake(waiter.session, b"error")
            self._reply = waiter.received()
        return self._reply

    def disturb(self, how: bytes) -> None:
        """Freeze tables, flush them, shrink the cache."""
        engine = self._engine
        if how == b"freeze":
            engine.freeze()
        elif how == b"flush":
            engine.freeze()
            engine.flush()
        elif how == b"turn":
            engine.keyspace.rotate()
        elif how == b"forget":
            engine.keyspace.rotate()
            engine.keyspace.rotate()
        elif not engine.execution.waiters:
            # What the clients watch and wait for stays with them.
            engine.forget()

    @property
    def defects(self) -> list[tuple[str, BaseException]]:
        """Give the commands that failed unexpectedly since the beginning."""
        return self._engine.defects


class SocketSide:
    """A server behind a socket."""

    def __init__(self, connect: Callable[[], BlockingClient]) -> None:
        self._clients = {who: connect() for who in (MAIN, OTHER, WAITER)}
        self._waiter_id = b"%d" % self._clients[WAITER].call("CLIENT", "ID")

    def begin(self, proto: int, budget: int) -> None:
        """Empty it; its memory is its own."""
        for client in self._clients.values():
            client.call("RESET")
            client.call("HELLO", proto)
        self._clients[MAIN].call("FLUSHALL")

    def send(self, who: str, arguments: tuple[bytes, ...]) -> bytes:
        """Run a command."""
        return self._clients[who].raw(*arguments)

    def wait(self, arguments: tuple[bytes, ...]) -> None:
        """Send a command that may wait, and let it arrive."""
        count = b"*%d\r\n" % len(arguments)
        self._clients[WAITER].send_raw(count + b"".join(b"$%d\r\n%b\r\n" % (len(one), one) for one in arguments))
        # A write that changes nothing: where it's through, what came before it is too.
        self._clients[OTHER].call("DEL", "no such key")

    def waited(self) -> bytes:
        """Give its reply."""
        self._clients[OTHER].call("CLIENT", "UNBLOCK", self._waiter_id, "ERROR")
        return self._clients[WAITER].raw_reply()

    def disturb(self, how: bytes) -> None:
        """Do nothing: its memory is its own."""

    @property
    def defects(self) -> list[tuple[str, BaseException]]:
        """Give nothing: from outside none can be told from an error reply."""
        return []
