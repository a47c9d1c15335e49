"""
What the slots of a region hold, in bytes; read by a process of its own.

Keys and lengths are read some rows at a time, so that no read transaction is open for long: what is written meanwhile
may be counted or not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, gatherResults
from twisted.python.failure import Failure

from tinykv.keys import slots_range
from tinykv.storage.errors import StorageError, by_name, from_os
from tinykv.storage.frames import FAILED, MEASURED
from tinykv.storage.reader import Reader
from tinykv.storage.writers import Channel

#: Rows that are read at a time, in some 10 ms where they lie all over the file.
PIECE_ROWS: Final = 1000
#: What a row takes beside its key and its value: numbers, its place in the index.
ROW_BYTES: Final = 24


class SizesSession:
    """
    The work of such a process. The message C{(first, end)} has it measure the slots from C{first} to before C{end},
    which is answered with C{(MEASURED, [(slot, bytes)])}, the slots in which there's something.
    """

    def __init__(self, reader: Reader, piece_rows: int = PIECE_ROWS) -> None:
        self._reader = reader
        self._piece_rows = piece_rows
        self._sizes: dict[int, int] = {}
        #: The range that is yet to be read, while there's one.
        self._range: tuple[bytes, bytes] | None = None

    @property
    def busy(self) -> bool:
        """Is it under way?"""
        return self._range is not None

    def take(self, messages: list[Any]) -> list[tuple[Any, ...]]:
        """
        Begin, or go on for a step.

        @raise StorageError: Rows can't be read.
        """
        for slots in messages:
            assert self._range is None, "a process measures once"
            self._range = slots_range(slots)
        assert self._range is not None, "it was told what to measure"
        start, end = self._range
        sizes = self._sizes
        rows = self._reader.lengths("data", start, end, self._piece_rows)
        for key, length in rows:
            slot = int.from_bytes(key[1:3], "big")
            sizes[slot] = sizes.get(slot, 0) + len(key) + length + ROW_BYTES
        if len(rows) < self._piece_rows:
            self._range = None
            return [(MEASURED, sorted(sizes.items()))]
        self._range = rows[-1][0] + b"\0", end
        return []

    def rest(self) -> None:
        """There's nothing to tidy up: this connection never writes (R8)."""

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


class _Measuring:
    """One measurement, from the start of its process."""

    def __init__(self, channel: Channel, slots: tuple[int, int], ended: Callable[[_Measuring], None]) -> None:
        self._channel = channel
        self._ended = ended
        self._done = False
        self.answer: Deferred[dict[int, int]] = Deferred(lambda _: self._end())
        channel.connect(self)
        channel.send(slots)

    def replied(self, message: tuple[Any, ...]) -> None:
        """Called by the channel."""
        if self._done:
            return
        if message[0] == FAILED:
            self.lost(by_name(message[1], message[2]))
            return
        assert message[0] == MEASURED, message
        self._end()
        self.answer.callback(dict(message[1]))

    def writable(self) -> None:
        """Called by the channel."""

    def lost(self, error: StorageError) -> None:
        """Called by the channel."""
        if not self._done:
            self._end()
            self.answer.errback(error)

    def close(self) -> Deferred[None]:
        """End the process."""
        return self._channel.close()

    def _end(self) -> None:
        self._done = True
        self._ended(self)


class SlotSizes:
    """Measures slots, a process for each time."""

    def __init__(self, start: Callable[[], Channel]) -> None:
        """
        @param start: Starts a process, and gives the channel to it.
        """
        self._start = start
        self._running: set[_Measuring] = set()
        #: Processes that were told to end.
        self._ending: set[Deferred[None]] = set()
        self._closed = False

    def measure(self, slots: tuple[int, int]) -> Deferred[dict[int, int]]:
        """
        Measure slots, by the first of them and the one behind the last.

        @return: fires with the bytes of each slot in which there's something; may be cancelled. Fails with a
            StorageError.
        @raise StorageError: No process can be started.
        """
        assert not self._closed, "the store ends"
        try:
            channel = self._start()
        except OSError as error:
            raise from_os(error, sys.executable) from error
        measuring = _Measuring(channel, slots, self._end)
        self._running.add(measuring)
        return measuring.answer

    def _end(self, ended: _Measuring) -> None:
        self._running.discard(ended)
        closing = ended.close()
        # How a process failed was told already.
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


def _told(failure: Failure) -> None:
    failure.trap(StorageError)
