"""
A store's disk: its two files, what of them a crash leaves, and the writers that take their time.

The store writes through the real L{LogWriter} and L{DataWriter}; what is simulated is the process behind them, as a
channel, and the file behind that. A commit takes time, and only one is under way in a file; the batches of the log
that come meanwhile make up the next one together, as in production.

A file knows what is surely on disk, and which transactions were committed but not synced (with durability C{os}, or on
a disk that lies). What is left after the end of a process depends on how it ended:

- B{Loss of power}: what was synced, and of what wasn't, and of the transaction that was under way, any prefix.
- B{Kill}: the machine runs on, so nothing committed is lost; of what the writer's process had taken, any prefix is
  still committed.

The two files end independently of each other. Whatever is found at the next opening is on disk from then on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from twisted.internet.defer import Deferred, succeed

from tinykv.region.state import apply_key
from tinykv.storage.data import COMMIT, ROWS
from tinykv.storage.errors import CorruptFile, DiskFailure, DiskFull, LogGap, StorageError
from tinykv.storage.folder import Recovery
from tinykv.storage.frames import DONE, FAILED
from tinykv.storage.log import APPEND, RESET, Entry
from tinykv.storage.readahead import ReadAhead, ReadSession
from tinykv.storage.reader import Reader
from tinykv.storage.rowstore import RowStore
from tinykv.storage.writers import DataWriter, LogWriter, Receiver
from tinykv.testing.simulation.clock import Process
from tinykv.testing.simulation.events import Event, Events
from tinykv.testing.simulation.files import DataRows, LogRows, RowsReader, Transaction


@dataclass(frozen=True)
class DiskQuality:
    """
    How fast a disk is.

    @ivar commit_us: What a commit takes at least.
    @ivar jitter_us: The mean of what it takes longer, exponentially distributed.
    @ivar read_us: The mean of what a read takes, exponentially distributed.
    @ivar bytes_per_second: How fast it takes bytes.
    """

    commit_us: int = 1_000
    jitter_us: int = 500
    read_us: int = 300
    bytes_per_second: int = 200_000_000


USUAL: Final = DiskQuality()


class Contents(Protocol):
    """What a file holds."""

    def apply(self, transaction: Transaction, /) -> None:
        """Do a transaction."""
        ...

    def copy(self) -> Any:
        """Give an independent one with the same contents."""
        ...


C = TypeVar("C", bound=Contents)


class StoredFile(Generic[C]):
    """
    A file.

    @ivar visible: What a reader sees: all that was committed.
    @ivar durable: What is surely on disk; the same object while that's the same.
    @ivar unsynced: The transactions between the two.
    """

    def __init__(self, contents: C) -> None:
        self.visible: C = contents
        self.durable: C = contents
        self.unsynced: list[Transaction] = []

    def commit(self, transaction: Transaction, *, synced: bool) -> None:
        """
        Do a transaction.

        @raise LogGap: It can't be done; nothing was changed.
        """
        if synced:
            self.visible.apply(transaction)
            self.sync()
            return
        if self.visible is self.durable:
            self.visible = self.durable.copy()
        self.visible.apply(transaction)
        self.unsynced.append(transaction)

    def sync(self) -> None:
        """Have everything on disk."""
        self.durable = self.visible
        self.unsynced.clear()

    def lose_power(self, random: Random, running: Transaction | None) -> int:
        """
        Keep what is surely on disk, and any prefix of the rest.

        @return: How many committed transactions are lost.
        """
        rest = list(self.unsynced)
        committed = len(rest)
        if running is not None:
            rest.append(running)
        kept = random.randint(0, len(rest))
        for transaction in rest[:kept]:
            self.durable.apply(transaction)
        self.visible = self.durable
        self.unsynced.clear()
        return max(0, committed - kept)


class _Channel:
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
        self._answers = 0
        self._ending: Event | None = None
        #: Whether the commit is over but for a disk that is stuck.
        self._held = False
        self._ended = False
        self._closing: Deferred[None] | None = None

    # What differs between the two writers

    def _take(self) -> tuple[Transaction, int] | None:
        """Take the next transaction from the queue, and say how many writes of the store's it completes."""
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

    def _end(self) -> None:
        """Commit, unless the disk is stuck; then it's done when it no longer is."""
        if self._disk.stuck:
            self._held = True
            return
        running = self.running
        assert running is not None
        problem = self._disk.problem()
        if problem is None or (problem.happens and not self._disk.chooses()):
            try:
                self._file.commit(running, synced=self._synced(running) and self._name not in self._disk.lies)
            except LogGap as gap:
                problem = Problem(gap)
        self.running = None
        if problem is not None:
            error = problem.error
            self.abandon()
            self._say((FAILED, type(error).__name__, str(error)))
            return
        self._say((DONE, self._answers))
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
        left: list[Transaction] = [] if self.running is None else [self.running]
        while (taken := self._take()) is not None:
            left.append(taken[0])
        for transaction in left[: random.randint(0, len(left))]:
            self._file.commit(transaction, synced=self._synced(transaction) and self._name not in self._disk.lies)


class _LogChannel(_Channel):
    """The log writer: all that has queued is one transaction."""

    fsync = True

    def _take(self) -> tuple[Transaction, int] | None:
        batches, self._queue = self._queue, []
        if not batches:
            return None
        return [operation for batch in batches for operation in batch], len(batches)

    def _synced(self, transaction: Transaction) -> bool:
        return self.fsync or self._file.visible.promises(transaction)

    def _bytes(self, transaction: Transaction) -> int:
        return sum(len(entry[1]) for operation in transaction if operation[0] == APPEND for entry in operation[3])


class _DataChannel(_Channel):
    """The data writer: a flush is a transaction when its last piece is there."""

    def _take(self) -> tuple[Transaction, int] | None:
        for place, piece in enumerate(self._queue, 1):
            if piece[0] == COMMIT:
                transaction, self._queue = self._queue[:place], self._queue[place:]
                return transaction, 1
        return None

    def _bytes(self, transaction: Transaction) -> int:
        return sum(len(key) + len(value or b"") for piece in transaction if piece[0] == ROWS for key, value in piece[2])


class _ReadChannel:
    """The process that reads ahead: the real session, whose answers take their time."""

    def __init__(self, disk: Disk, process: Process) -> None:
        self._disk = disk
        self._process = process
        self._session = ReadSession(disk.reader())
        self._receiver: Receiver | None = None
        self._free_at = 0

    def connect(self, receiver: Receiver) -> None:
        """Say who listens."""
        self._receiver = receiver

    def send(self, message: Any) -> None:
        """Answer when everything before it has been answered."""
        events = self._disk.events
        self._free_at = max(self._free_at, events.now) + self._disk.read_us()
        events.at(self._free_at, f"{self._process.name} reads ahead", self._read, message)

    def _read(self, message: Any) -> None:
        assert self._receiver is not None, "connect comes first"
        for answer in self._session.take([message]):
            self._process.soon("has read ahead", self._receiver.replied, answer)

    def call_when_writable(self) -> None:
        """Nobody asks for this."""
        raise NotImplementedError

    @property
    def queued_bytes(self) -> int:
        """The process takes everything at once."""
        return 0

    def close(self) -> Deferred[None]:
        """There's nothing to end."""
        return succeed(None)


@dataclass(frozen=True)
class Problem:
    """
    Why a commit fails.

    @ivar happens: Whether it may be on disk nonetheless.
    """

    error: StorageError
    happens: bool = False


class Disk:
    """
    A disk with the folder of one store.

    @ivar quality: How fast it is.
    @ivar slowness: How many times as long everything takes.
    @ivar full: Whether it has no room left: commits fail and nothing of them is there.
    @ivar failing: Whether it fails: commits fail, and may be there nonetheless.
    @ivar lies: The files, C{log} and C{data}, of which it says that something is on disk before it is.
    """

    def __init__(self, events: Events, name: str, quality: DiskQuality = USUAL) -> None:
        self.events = events
        self.name = name
        self.quality = quality
        self.slowness = 1.0
        self.full = False
        self.failing = False
        self.lies: frozenset[str] = frozenset()
        self.log: StoredFile[LogRows] = StoredFile(LogRows())
        self.data: StoredFile[DataRows] = StoredFile(DataRows())
        self._stuck = False
        self._random = events.random(f"disk {name}")
        self._channels: tuple[_LogChannel, _DataChannel] | None = None

    # Faults

    @property
    def stuck(self) -> bool:
        """Whether nothing that was begun ends."""
        return self._stuck

    @stuck.setter
    def stuck(self, stuck: bool) -> None:
        self._stuck = stuck
        if not stuck and self._channels is not None:
            for channel in self._channels:
                channel.go_on()

    def problem(self) -> Problem | None:
        """Say why a commit fails now, if it does."""
        if self.full:
            return Problem(DiskFull(f"{self.name}: the disk is full"))
        if self.failing:
            return Problem(DiskFailure(f"{self.name}: the disk failed"), happens=True)
        return None

    def chooses(self) -> bool:
        """Choose one of two possibilities."""
        return self._random.random() < 0.5

    def duration_us(self, size: int) -> int:
        """Draw what a commit of some bytes takes."""
        quality = self.quality
        duration = quality.commit_us + size * 1_000_000 / quality.bytes_per_second
        if quality.jitter_us:
            duration += self._random.expovariate(1.0 / quality.jitter_us)
        return int(duration * self.slowness)

    def read_us(self) -> int:
        """Draw what a read takes."""
        return int(self._random.expovariate(1.0 / self.quality.read_us) * self.slowness)

    # A run of a store

    def open(self, region: int) -> Recovery:
        """
        Open the folder, and find where a region stands, as L{tinykv.storage.folder.DataFolder.recover} does.

        @raise CorruptFile: The files don't belong together.
        """
        assert self._channels is None, "one process at a time has a folder open"
        self.log.sync()
        self.data.sync()
        log = self.log.visible
        state = self.data.visible.get("region", apply_key(region))
        applied = (0, 0)
        if state is not None:
            applied = (int.from_bytes(state[:8], "big"), int.from_bytes(state[8:16], "big"))
        base, last = log.base(region), log.last(region)
        if base[0] > applied[0]:
            raise CorruptFile(f"{self.name}: the log begins after entry {base[0]}, the rows end at {applied[0]}")
        term = log.term(region, applied[0])
        if term is None and last[0] > applied[0]:
            raise CorruptFile(f"{self.name}: entry {applied[0]} is missing, though there are later ones")
        if term != applied[1]:
            self.log.commit([(RESET, region, *applied)], synced=True)
            base = last = applied
        hard_state = log.hard_state(region)
        hint = hard_state.commit_hint if hard_state is not None else 0
        return Recovery(region, hard_state, base, applied, state, last, min(max(hint, applied[0]), last[0]))

    def recover(self, region: int) -> Recovery:
        """Open the folder; the name by which L{tinykv.tap.store.recover} calls it."""
        return self.open(region)

    def entries(self, region: int, after: int) -> Iterator[Entry]:
        """Yield the entries of a region's log above C{after}."""
        return self.log.visible.entries(region, after)

    def reader(self) -> Reader:
        """Read the committed rows, in place of a connection."""
        return cast(Reader, RowsReader(lambda: self.data.visible))

    def start_writers(self, process: Process, *, fsync: bool = True) -> tuple[LogWriter, DataWriter]:
        """
        Hand the files over to the writers of a run of the store.

        @param fsync: False for durability C{os}.
        """
        assert self._channels is None, "one process at a time has a folder open"
        log = _LogChannel(self, process, self.log, "log")
        log.fsync = fsync
        data = _DataChannel(self, process, self.data, "data")
        self._channels = (log, data)
        return LogWriter(log), DataWriter(data)

    def start_reader(self, process: Process, rows: RowStore) -> ReadAhead:
        """Start the process that reads ahead for a run of the store."""
        return ReadAhead(_ReadChannel(self, process), rows)

    # Its end

    def killed(self) -> None:
        """The store's process was killed, or has ended by itself; the machine runs on."""
        if self._channels is not None:
            for channel in self._channels:
                if not (self.full or self.failing):
                    channel.finish_some(self._random)
                channel.abandon()
            self._channels = None

    def lost_power(self) -> int:
        """
        The machine has stopped.

        @return: How many committed transactions are lost: none, but with durability C{os} or a disk that lies.
        """
        running = (None, None) if self._channels is None else [channel.running for channel in self._channels]
        lost = self.log.lose_power(self._random, running[0]) + self.data.lose_power(self._random, running[1])
        if self._channels is not None:
            for channel in self._channels:
                channel.abandon()
            self._channels = None
        return lost
