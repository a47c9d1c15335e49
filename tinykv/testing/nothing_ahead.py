"""
The least that may stand for the process that reads ahead: it answers in time, and has read nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from tinykv.interfaces import IReadAhead
from tinykv.storage.errors import StorageError


@implementer(IReadAhead)
class NothingAhead:
    """
    Leaves every row to be read when it's needed.

    @ivar asked: The keys of every question.
    """

    def __init__(self, clock: IReactorTime) -> None:
        """
        @param clock: Gives the turn in which a question is answered.
        """
        self.asked: list[list[bytes]] = []
        self._clock = clock

    def keys(self, keys: list[bytes], done: Callable[[], None]) -> None:
        """Note what is asked for."""
        self.asked.append(keys)
        self._clock.callLater(0, done)

    def failed(self, callback: Callable[[StorageError], None]) -> None:
        """Never fail."""

    def close(self) -> Deferred[None]:
        """There's nothing to end."""
        return succeed(None)
