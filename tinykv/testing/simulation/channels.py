"""
The processes at a store's files, as far as the store can see them: they take messages, work, and answer.

The store talks to them through the real L{tinykv.storage.writers.LogWriter}, L{tinykv.storage.writers.DataWriter} and
L{tinykv.storage.readahead.ReadAhead}; here is what stands for their L{tinykv.storage.writers.Channel}s.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, succeed

from tinykv.storage.data import COMMIT, INSTALL, ROWS
from tinykv.storage.errors import LogGap, StorageError
from tinykv.storage.frames import DONE, FAILED, REFUSED
from tinykv.storage.log import APPEND
from tinykv.storage.readahead import ReadSession
from tinykv.storage.row_sum import SumSession
from tinykv.storage.snapshot_copy import SnapshotSession
from tinykv.storage.writers import Receiver
from tinykv.testing.simulation.clock import Process
from tinykv.testing.simulation.events import Event
from tinykv.testing.simulation.files import DataRows, Transaction
from tinykv.testing.simulation.folder import Installing

if TYPE_CHECKING:
    from tinykv.testing.simulation.disk import Disk, StoredFile

#: How probable it is that a writer whose store was killed commits one more of the transactions that it was given.
GOES_ON: Final = 0.7


class WritingChannel:
    """
    A writer's process with its file, as far as the store can see it; see L{tinykv.storage.writers.Channel}.

    @ivar running: The transaction that is under way.
    """

    def __init__(self, disk: Disk, process: Process, file: StoredFile[Any], name: str) -> None:
        self.running: Transaction | None = None
        self._disk = disk
        self._process = process
        self._file = file
        self._name = name
        self._receiver: Receiver | None = None
        self._queue: list[Any] = []
        self._answers: list[tuple[Any, ...]] = []
        self._ending: Event | None = None
        #: Whether the commit is over but for a disk that is stuck.
        self._held = False
        self._ended = False
        self._closing: Deferred[None] | None = None

    # What differs between the two writers

    def _take(self) -> tuple[Transaction, list[tuple[Any, ...]]] | None:
        """Take the next transaction from the queue, and give what the store is told when it's committed."""
        raise NotImplementedError

    def _synced(self, transaction: Transaction) -> bool:
        """Say whether a transaction is on disk when it's committed."""
        return True

    def _bytes(self, transaction: Transaction) -> int:
        raise NotImplementedError

    # Channel

    def connect(self, receiver: Receiver) -> None:
        """Say who listens."""
        self._receiver = receiver

    def send(self, message: Any) -> None:
        """Queue, and begin if nothing is under way."""
        self._queue.append(message)
        self._begin()

    def call_when_writable(self) -> None:
        """Call the receiver in the next turn: the writer's process takes everything at once."""
        assert self._receiver is not None, "connect comes first"
        self._process.soon(f"{self._name} writable", self._receiver.writable)

    @property
    def queued_bytes(self) -> int:
        """The writer's process takes everything at once."""
        return 0

    def close(self) -> Deferred[None]:
        """Fire when nothing is left to do."""
        self._closing = Deferred()
        self._maybe_closed()
        return self._closing

    def _maybe_closed(self) -> None:
        if self._closing is not None and not self._queue and self.running is None and not self._closing.called:
            self._process.soon(f"{self._name} closed", self._closing.callback, None)

    # Committing

    def _begin(self) -> None:
        if self.running is not None or self._ended:
            return
        taken = self._take()
        if taken is None:
            return
        self.running, self._answers = taken
        delay = self._disk.duration_us(self._bytes(self.running))
        self._ending = self._disk.events.after(delay, f"{self._process.name} {self._name} commits", self._end)
        self._disk.stepped()

    def _end(self) -> None:
        """Commit, unless the disk is stuck; then it's done when it no longer is."""
        if self._disk.stuck:
            self._held = True
            return
        running = self.running
        assert running is not None
        problem = self._disk.problem()
        error: StorageError | None = problem.error if problem is not None else None
        if problem is None or (problem.happens and not self._disk.chooses()):
            try:
                self._file.commit(running, synced=self._synced(running) and self._name not in self._disk.lies)
            except LogGap as gap:
                error = gap
        self.running = None
        if error is not None:
            self.abandon()
            self._say((FAILED, type(error).__name__, str(error)))
            return
        self._disk.stepped()
        for answer in self._answers:
            self._say(answer)
        self._begin()
        self._maybe_closed()

    def _say(self, message: tuple[Any, ...]) -> None:
        assert self._receiver is not None, "connect comes first"
        self._process.soon(f"{self._name} {message[0]}", self._receiver.replied, message)

    def go_on(self) -> None:
        """The disk is no longer stuck."""
        if self._held:
            self._held = False
            self._end()

    def abandon(self) -> None:
        """Do nothing more."""
        self._ended = True
        self._queue.clear()
        if self._ending is not None:
            self._ending.cancel()

    def finish_some(self, random: Random) -> None:
        """The store was killed: of what this process had been given, some is still committed."""
        transaction = self.running
        # One after another: what a step of an installation changes is found by what the one before has left.
        while random.random() < GOES_ON:
            if transaction is not None:
                self._file.commit(transaction, synced=self._synced(transaction) and self._name not in self._disk.lies)
            taken = self._take()
            if taken is None:
                break
            transaction = taken[0]


class LogChannel(WritingChannel):
    """The log writer: all that has queued is one transaction."""

    fsync = True

    def _take(self) -> tuple[Transaction, list[tuple[Any, ...]]] | None:
        batches, self._queue = self._queue, []
        if not batches:
            return None
        return [operation for batch in batches for operation in batch], [(DONE, len(batches))]

    def _synced(self, transaction: Transaction) -> bool:
        return self.fsync or self._file.visible.promises(transaction)

    def _bytes(self, transaction: Transaction) -> int:
        return sum(len(entry[1]) for operation in transaction if operation[0] == APPEND for entry in operation[3])


class DataChannel(WritingChannel):
    """The data writer: a flush is a transaction when its last piece is there; a snapshot is one after another."""

    _installing: Installing | None = None

    def _take(self) -> tuple[Transaction, list[tuple[Any, ...]]] | None:
        queue = self._queue
        if self._installing is None and queue and queue[0][0] == INSTALL:
            self._installing = self._disk.installing(queue.pop(0))
        flush = self._take_flush()
        if self._installing is not None:
            # A flush of the other regions goes along with a step.
            step = self._installing.step(self._file.visible, flush)
            if self._installing.over:
                self._installing = None
            return step
        return (flush, [(DONE, 1)]) if flush else None

    def _take_flush(self) -> Transaction:
        """Take the pieces of the next flush, if all of them are there, and no snapshot is to be installed before."""
        for place, piece in enumerate(self._queue, 1):
            if piece[0] == INSTALL:
                break
            if piece[0] == COMMIT:
                flush, self._queue = self._queue[:place], self._queue[place:]
                return flush
        return []

    def abandon(self) -> None:
        """Do nothing more."""
        super().abandon()
        if self._installing is not None:
            self._installing.close()
            self._installing = None

    def _bytes(self, transaction: Transaction) -> int:
        return sum(
            len(key) + len(value or b"")
            for piece in transaction
            if piece[0] == ROWS
            for key, value in zip(piece[2], piece[3], strict=True)
        )


class _Channel:
    """What a store sees of a process that only reads; see L{tinykv.storage.writers.Channel}."""

    def __init__(self, disk: Disk, process: Process) -> None:
        self._disk = disk
        self._process = process
        self._receiver: Receiver | None = None

    def connect(self, receiver: Receiver) -> None:
        """Say who listens."""
        self._receiver = receiver

    def call_when_writable(self) -> None:
        """Nobody asks for this."""
        raise NotImplementedError

    @property
    def queued_bytes(self) -> int:
        """The process takes everything at once."""
        return 0


class CopyingChannel(_Channel):
    """A process that makes a snapshot: the real session, whose steps take their time."""

    def __init__(self, disk: Disk, process: Process, rows: Callable[[DataRows], DataRows]) -> None:
        """
        @param rows: Gives what it copies, of what there is.
        """
        super().__init__(disk, process)
        self._rows = rows
        self._session: SnapshotSession | None = None
        self._messages: list[Any] = []
        self._path = ""

    def send(self, message: Any) -> None:
        """Begin, some time."""
        self._messages.append(message)
        self._later()

    def _later(self) -> None:
        name = f"{self._process.name} copies"
        self._disk.events.after(self._disk.duration_us(0), name, self._step)

    def _step(self) -> None:
        if self._process.is_dead:
            self._end()
            return
        if self._disk.stuck:
            self._later()
            return
        if self._session is None:
            if not self._messages:
                return  # it was given up
            # The moment at which its transaction begins.
            store = self._disk.real.database("copy.db", self._rows(self._disk.data.visible))
            store.connection.close()
            self._path = store.path
            self._session = SnapshotSession(self._path)
        problem = self._disk.problem()
        if problem is not None:
            self._end()
            self._say((REFUSED, type(problem.error).__name__, str(problem.error)))
            return
        messages, self._messages = self._messages, []
        for answer in self._session.take(messages):
            self._say(answer)
        if self._session.busy:
            self._later()

    def _say(self, message: tuple[Any, ...]) -> None:
        assert self._receiver is not None, "connect comes first"
        self._process.soon("copied", self._receiver.replied, message)

    def _end(self) -> None:
        session, self._session = self._session, None
        self._messages.clear()
        if session is not None:
            session.close()
            self._disk.real.forget(self._path)

    def close(self) -> Deferred[None]:
        """Leave nothing that isn't whole."""
        self._end()
        return succeed(None)


class SummingChannel(_Channel):
    """A process that sums up rows: the real session, whose steps take their time."""

    def __init__(self, disk: Disk, process: Process) -> None:
        super().__init__(disk, process)
        self._session = SumSession(disk.reader_of_one_moment, lambda: 0)
        self._messages: list[Any] = []
        self._closed = False

    def send(self, message: Any) -> None:
        """Begin, some time."""
        self._messages.append(message)
        self._later()

    def _later(self) -> None:
        self._disk.events.after(self._disk.read_us(), f"{self._process.name} sums up", self._step)

    def _step(self) -> None:
        if self._closed or self._process.is_dead:
            return
        if self._disk.stuck:
            self._later()
            return
        assert self._receiver is not None, "connect comes first"
        messages, self._messages = self._messages, []
        for answer in self._session.take(messages):
            self._process.soon("summed up", self._receiver.replied, answer)
        if self._session.busy:
            self._later()

    def close(self) -> Deferred[None]:
        """End."""
        self._closed = True
        return succeed(None)


class ReadChannel(_Channel):
    """The process that reads ahead: the real session, whose answers take their time."""

    def __init__(self, disk: Disk, process: Process) -> None:
        super().__init__(disk, process)
        self._session = ReadSession(disk.reader())
        self._free_at = 0

    def send(self, message: Any) -> None:
        """Answer when everything before it has been answered."""
        events = self._disk.events
        self._free_at = max(self._free_at, events.now) + self._disk.read_us()
        events.at(self._free_at, f"{self._process.name} reads ahead", self._read, message)

    def _read(self, message: Any) -> None:
        assert self._receiver is not None, "connect comes first"
        for answer in self._session.take([message]):
            self._process.soon("has read ahead", self._receiver.replied, answer)

    def close(self) -> Deferred[None]:
        """There's nothing to end."""
        return succeed(None)
