"""
Clients of a gateway that wait in blocking commands: what the stores push is for them.

Every store that decides what such a client is told says so over the link that the gateway has to it, and the first one
counts. What was pushed on a link that then broke may be lost, and so is what nobody could push: so it's asked now and
then whether those who seem to wait do. One who doesn't, and isn't told soon why, is told that nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime

from tinykv.redis import looks
from tinykv.redis.operations import INTERNAL, LOOK, Client, Operation
from tinykv.resp import replies

#: For how long what a store has decided may be on its way, in seconds.
GRACE_SECONDS: Final = 2.0
#: About so many clients it's asked in one question.
ASKED_MOST: Final = 1000

_LOST: Final = replies.error(
    b"TIMEOUT the stores serve this client no more, and their answer was lost; outcome unknown"
)


class Blocked:
    """
    A client with its blocking command.

    @ivar client_id: Names it to the stores; the lowest bit says that it speaks RESP3.
    @ivar waiters: Those of its region.
    @ivar operation: The command.
    @ivar parked: Whether the store that leads has said that it waits.
    """

    __slots__ = ("_client", "client_id", "number", "operation", "parked", "proto", "waiters")

    def __init__(self, waiters: GatewayWaiters, operation: Operation) -> None:
        self.waiters = waiters
        self.operation = operation
        _, client, self.number, *_ = operation
        self._client: Client = client
        self.proto = client.proto
        self.client_id = _name(client.client_id, client.proto)
        self.parked = False

    def answer(self, number: int, reply: bytes) -> None:
        """Take the reply, by whichever way it comes first."""
        self.waiters.forget(self)
        self._client.answer(number, reply)

    def waits(self, number: int, timeout_ms: int) -> None:
        """Learn that it waits now."""
        if self.waiters.known(self):
            self.parked = True
            self._client.waits(number, timeout_ms)


    def release(self) -> Client:
        """Give the client, which waits here no more."""
        self.waiters.forget(self)
        return self._client


def released(operation: Operation) -> Operation:
    """Give an operation as it was before it was sent to a region."""
    kind, client, number, *rest = operation
    return (kind, client.release(), number, *rest) if type(client) is Blocked else operation


def _name(client_id: int, proto: int) -> int:
    return client_id << 1 | (proto == 3)


class _Question:
    """Who of some clients still waits?"""

    __slots__ = ("_asked", "_waiters", "client_id", "proto")

    def __init__(self, waiters: GatewayWaiters, asked: list[Blocked]) -> None:
        self._waiters = waiters
        self._asked = asked
        self.client_id = 0
        self.proto = 2

    def answer(self, number: int, reply: bytes) -> None:
        """Take the answer; if there's none it's asked again later."""
        if not reply.startswith(b"-"):
            found = zip(self._asked, looks.numbers_in(reply), strict=True)
            self._waiters.gone([blocked for blocked, waits in found if not waits])

    def waits(self, number: int, timeout_ms: int) -> None:
        """Questions don't wait."""
        raise AssertionError("a question of the front's doesn't block")


def _nothing() -> None:
    """Nobody has to know."""


class GatewayWaiters:
    """Those of one region."""

    def __init__(
        self, start_id: int, clock: IReactorTime, submit: Callable[[Operation], None], answered: Callable[[], None]
    ) -> None:
        """
        @param start_id: Names the run of the gateway.
        @param submit: Sends a question.
        @param answered: Called when clients were answered.
        """
        #: Called when some don't wait here any more: it may be that they do in another region.
        self.missed: Callable[[], None] = _nothing
        self._start_id = start_id
        self._clock = clock
        self._submit = submit
        self._answered = answered
        self._blocked: dict[tuple[int, int], Blocked] = {}

    def __len__(self) -> int:
        """Count them."""
        return len(self._blocked)

    def block(self, operation: Operation) -> Operation:
        """Take a blocking command; give it as it's sent."""
        kind, client, number, *rest = operation
        blocked = Blocked(self, operation)
        self._blocked[blocked.client_id, number] = blocked
        return (kind, blocked, number, *rest)

    def wake(self, operation: Operation) -> Operation | None:
        """Give what wakes a client as it's sent; None if it isn't here."""
        kind, client, number, db, spec, (name, run, client_id, count, how), extra = operation
        for proto in (2, 3):
            named = _name(int(client_id), proto)
            blocked = self._blocked.get((named, int(count)))
            if blocked is not None:
                if how == b"gone":
                    self.forget(blocked)
                return (INTERNAL, client, number, db, spec, [name, run, b"%d" % named, count, how], extra)
        return None

    def known(self, blocked: Blocked) -> bool:
        """Say if a client hasn't been answered."""
        return self._blocked.get((blocked.client_id, blocked.number)) is blocked

    def forget(self, blocked: Blocked) -> None:
        """Learn that a client was answered, or has left."""
        if self.known(blocked):
            del self._blocked[blocked.client_id, blocked.number]

    def pushed(self, client_id: int, number: int, reply: bytes) -> bool:
        """Answer a client as a store has decided; say if it was here."""
        blocked = self._blocked.get((client_id, number))
        if blocked is None:
            return False
        blocked.answer(number, reply)
        return True

    def leave(self, stays: Callable[[Operation], bool]) -> list[Blocked]:
        """Give the clients whose commands aren't for this region any more."""
        left = [blocked for blocked in self._blocked.values() if not stays(blocked.operation)]
        for blocked in left:
            self.forget(blocked)
        return left

    def join(self, blocked: Blocked) -> None:
        """Take a client over that waits in this region by now."""
        blocked.waiters = self
        self._blocked[blocked.client_id, blocked.number] = blocked

    def check(self) -> None:
        """Ask who still waits."""
        asked = [blocked for blocked in self._blocked.values() if blocked.parked]
        for start in range(0, len(asked), ASKED_MOST):
            some = asked[start : start + ASKED_MOST]
            words = [b"%d" % number for blocked in some for number in (blocked.client_id, blocked.number)]
            question = [looks.WAITERS, b"%d" % self._start_id, *words]
            self._submit((LOOK, _Question(self, some), 0, 0, None, question, None))

    def gone(self, those: list[Blocked]) -> None:
        """Learn that some don't wait any more."""
        left = [blocked for blocked in those if self.known(blocked)]
        if left:
            self.missed()
            self._clock.callLater(GRACE_SECONDS, self._tell, left)

    def _tell(self, those: list[Blocked]) -> None:
        """Tell those who weren't told why that nobody knows."""
        for blocked in those:
            if self.known(blocked):
                blocked.answer(blocked.number, _LOST)
        self._answered()
