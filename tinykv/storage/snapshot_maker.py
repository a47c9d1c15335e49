"""
The store's side of making snapshots: a process for each, its result as a Deferred.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.python.failure import Failure
from zope.interface import implementer

from tinykv.interfaces import ISnapshotMaker
from tinykv.region.snapshot import EVERYTHING
from tinykv.storage.errors import StorageError, by_name, from_os
from tinykv.storage.frames import FAILED, MADE, REFUSED
from tinykv.storage.schema import errors_of
from tinykv.storage.snapshot_folder import UNFINISHED, forget_made, make_snapshots_folder
from tinykv.storage.writers import Channel

#: Seconds that a snapshot's transaction may take. Meanwhile the write-ahead log of data.db only grows.
SECONDS_MAX: Final = 300.0
#: Bytes that have to stay free on the disk when it's made.
ROOM_BYTES: Final = 128 * 1024 * 1024

#: Snapshots that are made at a time; each is a process that reads data.db at disk speed.
MAKING_MAX: Final = 2

#: Runs what waits for the disk where nobody else has to wait for it: a thread will do.
Run = Callable[[Callable[[], None]], Deferred[None]]


@dataclass(frozen=True, slots=True)
class Made:
    """
    A snapshot that was made.

    @ivar path: The file.
    @ivar size: Its bytes.
    @ivar state: The row of the apply state that it stands for.
    @ivar labels: The rows that were asked for beside it, by key, as of the same moment.
    """

    path: str
    size: int
    state: bytes
    labels: dict[bytes, bytes | None] = field(default_factory=dict)

    @property
    def index(self) -> int:
        """Index of the last entry that it contains."""
        return int.from_bytes(self.state[:8], "big")

    @property
    def term(self) -> int:
        """The term of that entry."""
        return int.from_bytes(self.state[8:16], "big")


class _Making:
    """
    One snapshot that is being made.
    """

    def __init__(self, channel: Channel, labels: Sequence[bytes], ended: Callable[[], None]) -> None:
        self._channel = channel
        self._labels = labels
        self._ended = ended
        self._done = False
        self.answer: Deferred[Made] = Deferred(lambda _: self.give_up())

    def begin(self, message: tuple[Any, ...]) -> None:
        """Ask for it."""
        self._channel.connect(self)
        self._channel.send(message)

    def replied(self, message: tuple[Any, ...]) -> None:
        """Called by the channel."""
        if self._done:
            return
        if message[0] == MADE:
            _, path, size, state, labels = message
            self.give_up()
            self.answer.callback(Made(path, size, state, dict(zip(self._labels, labels, strict=True))))
        elif message[0] in (REFUSED, FAILED):
            self.lost(by_name(message[1], message[2]))

    def writable(self) -> None:
        """Called by the channel."""

    def lost(self, error: StorageError) -> None:
        """Called by the channel."""
        if not self._done:
            self.give_up()
            self.answer.errback(error)

    def give_up(self) -> None:
        """End the process. It notices before its next frame, and leaves nothing that isn't whole."""
        self._done = True
        self._ended()


@implementer(ISnapshotMaker)
class SnapshotMaker:
    """
    Makes snapshots.

    @param data_folder: the data folder.
    @param start: starts a process, and gives the channel to it.
    @param run: runs deletions.
    @param seconds_max: how long a snapshot's transaction may take.
    @param room_bytes: what has to stay free on the disk.
    """

    def __init__(
        self,
        data_folder: str,
        start: Callable[[], Channel],
        run: Run,
        *,
        seconds_max: float = SECONDS_MAX,
        room_bytes: int = ROOM_BYTES,
    ) -> None:
        self._data_folder = data_folder
        self._start = start
        self._run = run
        self._seconds_max = seconds_max
        self._room_bytes = room_bytes
        self._number = 0
        self._making: dict[int, _Making] = {}
        #: What is to be made when there's room, by region, oldest first.
        self._waiting: dict[int, tuple[Deferred[Made], Callable[[], Deferred[Made]]]] = {}
        #: Processes that were told to end.
        self._ending: set[Deferred[None]] = set()
        self._closed = False

    def make(
        self, region: int, *, start: bytes = EVERYTHING[0], end: bytes = EVERYTHING[1], labels: Sequence[bytes] = ()
    ) -> Deferred[Made]:
        """
        Make a snapshot of what data.db holds of a region, as soon as there's room for one more.
        """
        assert region not in self._making and region not in self._waiting, "one at a time of a region"
        assert not self._closed, "the store ends"
        if len(self._making) < MAKING_MAX:
            return self._make(region, start, end, labels)

        def cancel(turn: Deferred[Made]) -> None:
            if region in self._waiting:
                del self._waiting[region]
            else:
                self._making[region].answer.cancel()

        turn: Deferred[Made] = Deferred(cancel)
        self._waiting[region] = turn, lambda: self._make(region, start, end, labels)
        return turn

    def _make(self, region: int, start: bytes, end: bytes, labels: Sequence[bytes]) -> Deferred[Made]:
        try:
            folder = make_snapshots_folder(self._data_folder)
            channel = self._start()
        except StorageError as error:
            return fail(error)
        except OSError as error:
            return fail(from_os(error, sys.executable))
        self._number += 1
        temporary = f"{region}-{self._number}{UNFINISHED}"

        def ended() -> None:
            del self._making[region]
            self._end(channel, os.path.join(folder, temporary))
            self._begin_waiting()

        making = self._making[region] = _Making(channel, labels, ended)
        place = (region, start, end or EVERYTHING[1])
        making.begin((*place, list(labels), temporary, self._seconds_max, self._room_bytes))
        return making.answer

    def _begin_waiting(self) -> None:
        """Begin what waits, as far as there's room."""
        while self._waiting and len(self._making) < MAKING_MAX and not self._closed:
            turn, make = self._waiting.pop(next(iter(self._waiting)))
            make().chainDeferred(turn)

    def _end(self, channel: Channel, temporary: str) -> None:
        """End a process, and delete what it has left if it was killed."""
        closing = channel.close()
        closing.addErrback(_told)
        closing.addCallback(lambda _: self._run(lambda: _delete(temporary)) if os.path.exists(temporary) else None)
        self._ending.add(closing)
        closing.addBoth(self._ended, closing)

    def _ended(self, result: Any, closing: Deferred[None]) -> Any:
        self._ending.discard(closing)
        return result

    def drop(self, region: int) -> Deferred[None]:
        """
        Delete the file of a region.
        """
        return self._run(lambda: forget_made(self._data_folder, region))

    def close(self) -> Deferred[None]:
        """
        Give up what is being made, and take no more.
        """
        self._closed = True
        for turn, _ in list(self._waiting.values()):
            turn.cancel()
        for making in list(self._making.values()):
            making.answer.cancel()
        return gatherResults(list(self._ending), consumeErrors=True).addCallback(lambda _: None)


def _told(failure: Failure) -> None:
    """How a process failed was told already, to whom it matters."""
    failure.trap(StorageError)


def _delete(path: str) -> None:
    with errors_of(path):
        os.unlink(path)
