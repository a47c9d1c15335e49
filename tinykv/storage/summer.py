"""
The store's side of summing up rows: a process for each sum.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, gatherResults
from twisted.python.failure import Failure
from zope.interface import implementer

from tinykv.interfaces import ISum, ISummer
from tinykv.storage.errors import StorageError, by_name, from_os
from tinykv.storage.frames import AWAKE, FAILED, OPENED, REFUSED, SUMMED
from tinykv.storage.writers import Channel

#: Bytes that have to stay free on the disk meanwhile.
ROOM_BYTES: Final = 128 * 1024 * 1024


@implementer(ISum)
class Sum:
    """
    One sum, from the start of its process.

    @ivar awake: Fires when the process runs.
    @ivar answer: Fires with the digest in hex and the number of rows.
    """

    def __init__(self, channel: Channel, room_bytes: int, ended: Callable[[Sum], None]) -> None:
        self._channel = channel
        self._room_bytes = room_bytes
        self._ended = ended
        self._done = False
        self._opened: Callable[[], None] = _nothing
        self.awake: Deferred[None] = Deferred()
        self.answer: Deferred[tuple[str, int]] = Deferred(lambda _: self._end())
        channel.connect(self)
        channel.send(())

    def begin(self, region: int, start: bytes, end: bytes, index: int, opened: Callable[[], None]) -> None:
        """Begin to read."""
        self._opened = opened
        self._channel.send((region, start, end, index, self._room_bytes))

    def replied(self, message: tuple[Any, ...]) -> None:
        """Called by the channel."""
        if self._done:
            return
        if message[0] == AWAKE:
            self.awake.callback(None)
        elif message[0] == OPENED:
            self._opened()
        elif message[0] == SUMMED:
            self._end()
            self.answer.callback((message[1], message[2]))
        elif message[0] in (REFUSED, FAILED):
            self.lost(by_name(message[1], message[2]))

    def writable(self) -> None:
        """Called by the channel."""

    def lost(self, error: StorageError) -> None:
        """Called by the channel."""
        if not self._done:
            self._end()
            self.answer.errback(error)

    def close(self) -> Deferred[None]:
        """End the process. It notices before its next piece of rows."""
        return self._channel.close()

    def _end(self) -> None:
        self._done = True
        self._ended(self)


@implementer(ISummer)
class Summer:
    """
    Sums up rows.

    @param start: starts a process, and gives the channel to it.
    @param room_bytes: what has to stay free on the disk meanwhile.
    """

    def __init__(self, start: Callable[[], Channel], *, room_bytes: int = ROOM_BYTES) -> None:
        self._start = start
        self._room_bytes = room_bytes
        self._running: set[Sum] = set()
        #: Processes that were told to end.
        self._ending: set[Deferred[None]] = set()
        self._closed = False

    def start(self) -> Sum:
        """Start a process."""
        assert not self._closed, "the store ends"
        try:
            channel = self._start()
        except OSError as error:
            raise from_os(error, sys.executable) from error
        started = Sum(channel, self._room_bytes, self._end)
        self._running.add(started)
        return started

    def _end(self, ended: Sum) -> None:
        self._running.discard(ended)
        closing = ended.close()
        # How a process failed was told already, to whom it matters.
        closing.addErrback(_told)
        self._ending.add(closing)
        closing.addBoth(self._has_ended, closing)

    def _has_ended(self, result: Any, closing: Deferred[None]) -> Any:
        self._ending.discard(closing)
        return result

    def close(self) -> Deferred[None]:
        """Give up what is under way, and take no more."""
        self._closed = True
        for running in list(self._running):
            running.answer.cancel()
        return gatherResults(list(self._ending), consumeErrors=True).addCallback(lambda _: None)


def _nothing() -> None:
    """Do nothing."""


def _told(failure: Failure) -> None:
    failure.trap(StorageError)
