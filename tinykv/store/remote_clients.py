"""
Clients of other stores, at the store that leads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from tinykv.interfaces import IForwardAnswer
from tinykv.redis.forwarded import (
    PUT_OFF,
    REFUSED,
    REPLY,
    UNKNOWN,
    WAITS,
    Result,
    encode_results,
    encode_timeout,
    encode_woken,
)
from tinykv.redis.operations import READ, Operation
from tinykv.resp import replies

#: When the replies to a batch have so many bytes, what of it only reads is put off until these have left.
ANSWER_BYTES: Final = 32 << 20
#: When they have so many, those of clients that write later are, too, and the replies to writes are lost; the longest
#: reply fits all the same.
ANSWER_BYTES_MOST: Final = 256 << 20
_LOST: Final = replies.error(
    b"ERR the replies to this pipeline are too large to be passed on by another store; the command was done"
)


class RemoteBatch:
    """
    Operations that came together from another store, and go back together when all have an outcome.

    A waiter's later reply isn't sent from here: the store that it's connected to applies the same entries, and answers
    it from these.
    """

    __slots__ = ("_answer", "_bytes", "_late", "_left", "_operations", "_refused", "_results", "_writing")

    def __init__(self, answer: IForwardAnswer, refused: Callable[[], None], late: set[int]) -> None:
        """
        @param refused: Called when one of them turns out to have been refused after all, or is put off.
        @param late: The clients of whom something was put off, here or in a batch that came with this one.
        """
        self._answer = answer
        self._refused = refused
        self._late = late
        self._operations: Sequence[Operation] = ()
        #: The places of the last writes of clients; None as long as nobody has asked.
        self._writing: dict[int, int] | None = None
        self._results: list[Result | None] = []
        self._left = 0
        self._bytes = 0

    def holds(self, operations: Sequence[Operation]) -> None:
        """Learn what it consists of."""
        self._operations = operations

    def client(self, place: int, proto: int, client_id: int) -> RemoteClient:
        """Make the client of the operation at the next place."""
        assert place == len(self._results)
        self._results.append(None)
        self._left += 1
        return RemoteClient(self, place, proto, client_id)

    def put_off(self, place: int, client_id: int) -> bool:
        """
        Put a read off if the replies before it are many, or one before it was: it would overtake that. Say if it is.

        Behind a client's later write there's no time for a read any more, so that before one it's put off only when it
        has to be.
        """
        if self._bytes <= ANSWER_BYTES and client_id not in self._late:
            return False
        if client_id not in self._late and self._bytes <= ANSWER_BYTES_MOST and place < self._last_write(client_id):
            return False
        self._late.add(client_id)
        self.done(place, PUT_OFF, b"")
        return True

    def _last_write(self, client_id: int) -> int:
        """Give the place of a client's last write; -1 if it has none."""
        if self._writing is None:
            places = enumerate(self._operations)
            self._writing = {operation[1].client_id: place for place, operation in places if operation[0] < READ}
        return self._writing.get(client_id, -1)

    def done(self, place: int, status: int, data: bytes) -> None:
        """Learn what became of an operation; the first word counts."""
        if self._results[place] is not None:
            return
        if self._bytes + len(data) > ANSWER_BYTES_MOST and self._bytes and status == REPLY:
            data = _LOST
        self._results[place] = (status, data)
        self._bytes += len(data)
        self._left -= 1
        if status in (REFUSED, PUT_OFF):
            self._refused()
        if not self._left:
            self._answer.answer(encode_results([result for result in self._results if result is not None]))
            # Operations that nobody waits for may be kept long after this.
            self._results = [_TOLD] * len(self._results)
            self._operations = ()


#: Stands for what was sent back.
_TOLD: Final = (REPLY, b"")


class GatewayWaiter:
    """
    A client of a gateway that waits: each replica that decides what it's told tells the gateway.

    Only so does a gateway, which has no replica of its own, hear of it whatever becomes of the leader. The lowest bit
    of its client's number says which protocol it speaks, since replicas know no more of it.
    """

    __slots__ = ("_origin", "_push", "client_id", "proto")

    def __init__(self, origin: tuple[int, int, int], push: Callable[[bytes], object]) -> None:
        self._origin = origin
        self._push = push
        self.client_id = origin[1]
        self.proto = 2 + (origin[1] & 1)

    def answer(self, number: int, reply: bytes) -> None:
        """Tell it."""
        self._push(encode_woken(self._origin, reply))

    def waits(self, number: int, timeout_ms: int) -> None:
        """The store that leads says so."""


class RemoteClient:
    """
    Whoever is to be answered for one operation, through the store that it's connected to.

    Requests are numbered by that store; here its place in the batch counts.
    """

    __slots__ = ("_batch", "_place", "client_id", "proto")

    def __init__(self, batch: RemoteBatch, place: int, proto: int, client_id: int) -> None:
        self._batch = batch
        self._place = place
        self.proto = proto
        self.client_id = client_id

    def answer(self, number: int, reply: bytes) -> None:
        """Send a reply back."""
        self._batch.done(self._place, REPLY, reply)

    def waits(self, number: int, timeout_ms: int) -> None:
        """Send back that it's a waiter now."""
        self._batch.done(self._place, WAITS, encode_timeout(timeout_ms))

    def refuse(self) -> None:
        """Send back that it did nothing."""
        self._batch.done(self._place, REFUSED, b"")

    def lose(self, reply: bytes) -> None:
        """Send back that nobody knows what it does; it's a blocking command, which may wait from some time on."""
        self._batch.done(self._place, UNKNOWN, reply)

    def put_off(self) -> bool:
        """Send back that a read is to be asked for later, if the replies before it are many; say if that was so."""
        return self._batch.put_off(self._place, self.client_id)
