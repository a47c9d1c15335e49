"""
The store's side of the two writers.

A writer speaks through a channel: in production a child process (L{tinykv.storage.process}), in tests the
same code in the test's own process (L{tinykv.storage.synchronous}). Completions come in the order of the
writes and are plain calls; an error is final, is told once, and no completion comes after it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from zope.interface import implementer

from tinykv.interfaces import IDataWriter, ILogWriter, ISnapshotInstaller
from tinykv.storage.data import COMMIT, DISCARD, EXPIRIES, HIDE, INSTALL, ROWS
from tinykv.storage.errors import SnapshotAborted, StorageError, by_name
from tinykv.storage.frames import DONE, FAILED, INSTALLED, REFUSED
from tinykv.storage.log import APPEND, CUT, FORGET, RESET, STATE, SYNC
from tinykv.storage.tables import MemTable

#: Bytes of rows in one piece of a flush: what a turn of the reactor spends on it.
PIECE_BYTES: Final = 128 * 1024
#: And the most rows of it.
PIECE_ROWS: Final = 512
#: What a row is counted as beside its key and value.
_ROW_BYTES: Final = 64
#: Live objects encoded in one turn.
ENCODE_ROWS: Final = 64


class Receiver(Protocol):
    """
    What a channel calls.
    """

    def replied(self, message: tuple[Any, ...]) -> None:
        """
        The other side says something.
        """
        ...

    def writable(self) -> None:
        """
        After L{Channel.call_when_writable}: a turn has passed and all that was sent is with the other side.
        """
        ...

    def lost(self, error: StorageError) -> None:
        """
        The other side is gone without having been asked to go.
        """
        ...


class Channel(Protocol):
    """
    A way to a writer's session.
    """

    def connect(self, receiver: Receiver) -> None:
        """
        Say who listens; before anything else.
        """
        ...

    def send(self, message: Any) -> None:
        """
        Send at once, or queue.
        """
        ...

    def call_when_writable(self) -> None:
        """
        Call the receiver once, not before the next turn, when nothing is queued.
        """
        ...

    @property
    def queued_bytes(self) -> int:
        """
        What was sent and is not with the other side yet.
        """
        ...

    def close(self) -> Deferred[None]:
        """
        No more will be sent.

        @return: fires when the other side has finished everything and closed its file; fails with a
            L{StorageError}.
        """
        ...


class LogBatch:
    """
    Operations for raft.db that become durable together, in the order in which they were added.
    """

    __slots__ = ("operations",)

    def __init__(self) -> None:
        self.operations: list[tuple[Any, ...]] = []

    def __bool__(self) -> bool:
        return bool(self.operations)

    def append(self, region: int, first: int, entries: list[tuple[int, bytes]]) -> None:
        """
        Write entries (term, data) at first, first + 1, ...; what the log holds from C{first} on is replaced.
        """
        self.operations.append((APPEND, region, first, entries))

    def hard_state(self, region: int, peer: int, term: int, vote: int, commit_hint: int) -> None:
        """
        Write what a peer promises.
        """
        self.operations.append((STATE, region, peer, term, vote, commit_hint))

    def cut(self, region: int, index: int, term: int) -> None:
        """
        Delete the entries up to C{index}; only after the data.db commit that makes them unneeded (R5).
        """
        self.operations.append((CUT, region, index, term))

    def reset(self, region: int, index: int, term: int) -> None:
        """
        Replace the whole log by this base (a snapshot was installed).
        """
        self.operations.append((RESET, region, index, term))

    def forget(self, region: int) -> None:
        """
        Delete everything of a region; only after the data.db commit that makes it unneeded (R5).
        """
        self.operations.append((FORGET, region))

    def sync(self) -> None:
        """
        With durability C{os}: everything up to and with this batch is to be on disk when it completes. To be
        done before each flush, up to the index that the flush covers.
        """
        self.operations.append((SYNC,))


class Worker:
    """
    What the processes at the files have in common: completions in order, and one failure.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._waiting: deque[Callable[[], None]] = deque()
        self._on_failure: list[Callable[[StorageError], None]] = []
        self._error: StorageError | None = None
        channel.connect(self)

    def failed(self, callback: Callable[[StorageError], None]) -> None:
        """
        Register what is to be called, once, with the error that ends this worker.
        """
        self._on_failure.append(callback)
        if self._error is not None:
            callback(self._error)

    @property
    def pending(self) -> int:
        """
        How many writes have not completed.
        """
        return len(self._waiting)

    def replied(self, message: tuple[Any, ...]) -> None:
        """
        Called by the channel.
        """
        if self._error is not None:
            return
        if message[0] == DONE:
            for _ in range(message[1]):
                self._waiting.popleft()()
        elif message[0] == FAILED:
            self.lost(by_name(message[1], message[2]))

    def writable(self) -> None:
        """
        Called by the channel.
        """

    def lost(self, error: StorageError) -> None:
        """
        Called by the channel.
        """
        if self._error is None:
            self._error = error
            for callback in self._on_failure:
                callback(error)

    def close(self) -> Deferred[None]:
        """
        Take no more; finish what was taken.
        """
        return self._channel.close()


@implementer(ILogWriter)
class LogWriter(Worker):
    """
    Writes batches to raft.db.
    """

    def write(self, batch: LogBatch, done: Callable[[], None]) -> None:
        """
        Make a batch durable, and call C{done} then.
        """
        self._waiting.append(done)
        self._channel.send(batch.operations)

    @property
    def queued_bytes(self) -> int:
        """
        Bytes that the writer's process has not taken yet.
        """
        return self._channel.queued_bytes


@implementer(IDataWriter, ISnapshotInstaller)
class DataWriter(Worker):
    """
    Flushes frozen tables into data.db, one transaction each, a piece a turn; and installs snapshots.
    """

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self._work: deque[Iterator[tuple[Any, ...] | None]] = deque()
        self._installs: deque[Deferred[bytes]] = deque()

    def flush(self, table: MemTable, done: Callable[[], None]) -> None:
        """
        Write a frozen table, and call C{done} when it is durable. The table's live objects are encoded on the
        way.
        """
        self._waiting.append(done)
        self._begin(pieces(table))

    def install(self, region: int, path: str) -> Deferred[bytes]:
        """
        Replace a region's rows by those of a snapshot, behind all flushes that were given before.
        """
        answer: Deferred[bytes] = Deferred()
        self._installs.append(answer)
        if self._error is None:
            self._begin(iter([(INSTALL, region, path)]))
        else:
            self._give_up(self._error)
        return answer

    def _begin(self, work: Iterator[tuple[Any, ...] | None]) -> None:
        self._work.append(work)
        if len(self._work) == 1:
            self._channel.call_when_writable()

    def writable(self) -> None:
        """
        Called by the channel: the time for the next piece.
        """
        if not self._work or self._error is not None:
            return
        for piece in self._work[0]:
            if piece is not None:
                self._channel.send(piece)
            break
        else:
            self._work.popleft()
        if self._work:
            self._channel.call_when_writable()

    def replied(self, message: tuple[Any, ...]) -> None:
        """
        Called by the channel.
        """
        if message[0] == INSTALLED and self._error is None:
            self._installs.popleft().callback(message[1])
        elif message[0] == REFUSED and self._error is None:
            self._installs.popleft().errback(by_name(message[1], message[2]))
        else:
            super().replied(message)

    def lost(self, error: StorageError) -> None:
        """
        Called by the channel.
        """
        super().lost(error)
        self._give_up(error)

    def close(self) -> Deferred[None]:
        """
        Take no more; finish the flushes that were taken. A snapshot that is half installed is left for the next start.
        """

        def closed(result: Any) -> Any:
            self._give_up(SnapshotAborted("the store ends; a snapshot that has begun is installed at its next start"))
            return result

        return super().close().addBoth(closed)

    def _give_up(self, error: StorageError) -> None:
        installs, self._installs = self._installs, deque()
        for answer in installs:
            answer.errback(error)


def pieces(table: MemTable) -> Iterator[tuple[Any, ...] | None]:
    """
    Yield a frozen table in pieces of bounded size; C{None} where a turn went into encoding.
    """
    while not table.encode_some(ENCODE_ROWS):
        yield None
    for family, ranges in table.hidden.items():
        yield (HIDE, family, list(ranges))
    for family, rows in table.rows.items():
        for keys, values in _parts(rows):
            yield (ROWS, family, keys, values)
    if table.discards:
        yield (DISCARD, table.discards)
    noted: list[tuple[int, bytes, bool | None]] = []
    for (at, key), state in table.expiries.items():
        noted.append((at, key, state))
        if len(noted) >= PIECE_BYTES // 64:
            yield (EXPIRIES, noted)
            noted = []
    if noted:
        yield (EXPIRIES, noted)
    yield (COMMIT,)


def _parts(rows: dict[bytes, Any]) -> Iterator[tuple[list[bytes], list[bytes | None]]]:
    """
    Yield encoded rows in parts of bounded size, keys and values apart.
    """
    all_keys = iter(rows)
    all_values = iter(rows.values())
    while keys := list(islice(all_keys, PIECE_ROWS)):
        values = list(islice(all_values, PIECE_ROWS))
        # Mostly they're small: one look at them all.
        if _ROW_BYTES * len(keys) + sum(map(len, keys)) + sum(map(len, filter(None, values))) <= 2 * PIECE_BYTES:
            yield keys, values
            continue
        begin = size = 0
        for place, (key, value) in enumerate(zip(keys, values, strict=True), 1):
            size += _ROW_BYTES + len(key) + (0 if value is None else len(value))
            if size >= PIECE_BYTES or place == len(keys):
                yield keys[begin:place], values[begin:place]
                begin = place
                size = 0
