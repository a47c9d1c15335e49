"""
Clients of other stores, at the store that leads.
"""

from __future__ import annotations

from collections.abc import Callable

from tinykv.interfaces import IForwardAnswer
from tinykv.redis.forwarded import REFUSED, REPLY, WAITS, Result, encode_results, encode_timeout


class RemoteBatch:
    """
    Operations that came together from another store, and go back together when all have an outcome.

    A waiter's later reply isn't sent from here: the store that it's connected to applies the same entries, and answers
    it from these.
    """

    __slots__ = ("_answer", "_left", "_refused", "_results")

    def __init__(self, answer: IForwardAnswer, refused: Callable[[], None]) -> None:
        """
        @param refused: Called when one of them turns out to have been refused after all.
        """
        self._answer = answer
        self._refused = refused
        self._results: list[Result | None] = []
        self._left = 0

    def client(self, place: int, proto: int, client_id: int) -> RemoteClient:
        """Make the client of the operation at the next place."""
        assert place == len(self._results)
        self._results.append(None)
        self._left += 1
        return RemoteClient(self, place, proto, client_id)

    def done(self, place: int, status: int, data: bytes) -> None:
        """Learn what became of an operation; the first word counts."""
        if self._results[place] is not None:
            return
        self._results[place] = (status, data)
        self._left -= 1
        if status == REFUSED:
            self._refused()
        if not self._left:
            self._answer.answer(encode_results([result for result in self._results if result is not None]))


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
