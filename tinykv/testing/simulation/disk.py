"""
A store's disk: its two files, what of them a crash leaves, and what may go wrong with it.

The store writes through the real writers; what is simulated is the processes behind them
(L{tinykv.testing.simulation.channels}) and the contents of the files (L{tinykv.testing.simulation.files}). A commit
takes time, and only one is under way in a file; the batches of the log that come meanwhile make up the next one
together, as in production.

A file knows what is surely on disk, and which transactions were committed but not synced (with durability C{os}, or on
a disk that lies). What is left after the end of a process depends on how it ended:

- B{Loss of power}: what was synced, and of what wasn't, and of the transaction that was under way, any prefix.
- B{Kill}: the machine runs on, so nothing committed is lost; of what the writer's process had taken, any prefix is
  still committed.

The two files end independently of each other. Whatever is found at the next opening is on disk from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from twisted.internet.defer import Deferred, maybeDeferred

from tinykv.region.state import apply_key
from tinykv.region.tombstone import decode_tombstone, tombstone_key
from tinykv.storage.errors import CorruptFile, DiskFailure, DiskFull, StorageError
from tinykv.storage.folder import Recovery
from tinykv.storage.log import FORGET, RESET, Entry
from tinykv.storage.readahead import ReadAhead
from tinykv.storage.reader import Reader
from tinykv.storage.rowstore import RowStore
from tinykv.storage.snapshot_maker import SnapshotMaker
from tinykv.storage.summer import Summer
from tinykv.storage.writers import DataWriter, LogWriter
from tinykv.testing.simulation.channels import CopyingChannel, DataChannel, LogChannel, ReadChannel, SummingChannel
from tinykv.testing.simulation.clock import Process
from tinykv.testing.simulation.events import Events
from tinykv.testing.simulation.files import DataRows, LogRows, RowsReader, Transaction
from tinykv.testing.simulation.folder import Installing, RealFolder, SimulatedSnapshotFolder


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
    @ivar failed: Whether something has failed since the store was started.
    @ivar lies: The files, C{log} and C{data}, of which it says that something is on disk before it is.
    @ivar stepped: Called when a commit begins, and when it has ended and the store doesn't know yet.
    """

    def __init__(
        self, events: Events, name: str, quality: DiskQuality = USUAL, *, folder: RealFolder | None = None
    ) -> None:
        """
        @param folder: Where there's room for snapshots, if there are any.
        """
        self.events = events
        self.name = name
        self.quality = quality
        self.slowness = 1.0
        self.full = False
        self.failing = False
        self.failed = False
        self.lies: frozenset[str] = frozenset()
        self.stepped: Callable[[], None] = lambda: None
        self.log: StoredFile[LogRows] = StoredFile(LogRows())
        self.data: StoredFile[DataRows] = StoredFile(DataRows())
        self._folder = folder
        self._stuck = False
        self._random = events.random(f"disk {name}")
        self._channels: tuple[LogChannel, DataChannel] | None = None

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
        self.failed = self.failed or self.full or self.failing
        if self.full:
            return Problem(DiskFull(f"{self.name}: the disk is full"))
        if self.failing:
            return Problem(DiskFailure(f"{self.name}: the disk failed"), happens=True)
        return None

    def trouble(self) -> StorageError | None:
        """The same, for who writes files."""
        problem = self.problem()
        return None if problem is None else problem.error

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

    def open(self, region: int, row: bytes | None = None) -> Recovery:
        """
        Open the folder, and find where a region stands, as L{tinykv.storage.folder.DataFolder.recover} does.

        @param row: Its apply state, where that isn't in the rows yet.

        @raise CorruptFile: The files don't belong together.
        """
        assert self._channels is None, "one process at a time has a folder open"
        self.log.sync()
        self.data.sync()
        if self._folder is not None:
            installed = self._folder.settle(self.data.visible)
            if installed is not None:
                self.data.commit(installed, synced=True)
        log = self.log.visible
        state = row if row is not None else self.data.visible.get("region", apply_key(region))
        tombstone = self.data.visible.get("region", tombstone_key(region))
        promised = log.hard_state(region)
        if state is None and promised is not None and promised.peer <= decode_tombstone(tombstone):
            self.log.commit([(FORGET, region)], synced=True)
            log = self.log.visible
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
        commit = max(hint, applied[0]) if hint <= last[0] else applied[0]
        return Recovery(region, hard_state, base, applied, state, last, commit)

    def recover(self, region: int, row: bytes | None = None) -> Recovery:
        """Open the folder; the name by which L{tinykv.tap.store.recover} calls it."""
        return self.open(region, row)

    def entries(self, region: int, after: int) -> Iterator[Entry]:
        """Yield the entries of a region's log above C{after}."""
        return self.log.visible.entries(region, after)

    def promised(self) -> dict[int, int]:
        """Give behind which entry the log begins of each region whose peer has promised something, by id."""
        log = self.log.visible
        return {region: log.base(region)[0] for region in log.regions() if log.hard_state(region) is not None}

    def reader(self) -> Reader:
        """Read the committed rows, in place of a connection."""
        return cast(Reader, RowsReader(lambda: self.data.visible))

    def start_writers(self, process: Process, *, fsync: bool = True) -> tuple[LogWriter, DataWriter]:
        """
        Hand the files over to the writers of a run of the store.

        @param fsync: False for durability C{os}.
        """
        assert self._channels is None, "one process at a time has a folder open"
        log = LogChannel(self, process, self.log, "log")
        log.fsync = fsync
        data = DataChannel(self, process, self.data, "data")
        self._channels = (log, data)
        return LogWriter(log), DataWriter(data)

    def start_reader(self, process: Process, rows: RowStore) -> ReadAhead:
        """Start the process that reads ahead for a run of the store."""
        return ReadAhead(ReadChannel(self, process), rows)

    def summer(self, process: Process) -> Summer:
        """Give what sums up rows in a run of the store."""
        return Summer(lambda: SummingChannel(self, process), room_bytes=0)

    def reader_of_one_moment(self) -> Reader:
        """Read the rows that are committed now, whatever is committed later."""
        rows = self.data.visible.copy()
        return cast(Reader, RowsReader(lambda: rows))

    # Snapshots

    @property
    def real(self) -> RealFolder:
        """Give the part of it that has real files."""
        assert self._folder is not None, "this disk has no room for snapshots"
        return self._folder

    def installing(self, message: tuple[Any, ...]) -> Installing:
        """Begin to install a snapshot."""
        return Installing(self.real, message)

    def snapshot_maker(self, process: Process, rows: Callable[[DataRows], DataRows]) -> SnapshotMaker:
        """
        Give what makes snapshots in a run of the store.

        @param rows: Gives what is copied, of what there is.
        """
        return SnapshotMaker(
            str(self.real.path),
            lambda: CopyingChannel(self, process, rows),
            lambda step: maybeDeferred(step),
            room_bytes=0,
        )

    def snapshot_folder(self, process: Process) -> SimulatedSnapshotFolder:
        """Give the folder where snapshots arrive, to a run of the store."""

        def run(function: Callable[[], str]) -> Deferred[str]:
            ran: Deferred[str] = Deferred()
            self._when_synced(process, lambda: self._run(function, ran))
            return ran

        return SimulatedSnapshotFolder(self.real, self, run)

    def _when_synced(self, process: Process, function: Callable[[], None]) -> None:
        def synced() -> None:
            if self._stuck:
                self._when_synced(process, function)
            else:
                function()

        self.events.after(self.duration_us(0), f"{self.name} synced a file", synced, owner=process)

    @staticmethod
    def _run(function: Callable[[], str], ran: Deferred[str]) -> None:
        maybeDeferred(function).chainDeferred(ran)

    # Its end

    def killed(self) -> None:
        """The store's process was killed, or has ended by itself; the machine runs on."""
        self.failed = False
        if self._channels is not None:
            for channel in self._channels:
                if not (self.full or self.failing):
                    channel.finish_some(self._random)
                channel.abandon()
            self._channels = None
        if self._folder is not None:
            self._folder.ended()

    def lost_power(self) -> int:
        """
        The machine has stopped.

        @return: How many committed transactions are lost: none, but with durability C{os} or a disk that lies.
        """
        self.failed = False
        running = (None, None) if self._channels is None else [channel.running for channel in self._channels]
        lost = self.log.lose_power(self._random, running[0]) + self.data.lose_power(self._random, running[1])
        if self._channels is not None:
            for channel in self._channels:
                channel.abandon()
            self._channels = None
        if self._folder is not None:
            self._folder.ended()
            self._folder.lost_power(self._random)
        return lost
