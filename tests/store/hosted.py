"""A region's host over a real data folder whose writers run in the test's own process, when the test says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.storage.folders import LocalStore
from tinykv.redis.commands import VALUE_TYPES
from tinykv.redis.execution import Execution
from tinykv.redis.keyspace import Keyspace
from tinykv.redis.operations import COMMANDS, EXEC, LOCAL, READ, WAITING, lookup
from tinykv.region.descriptor import Descriptor
from tinykv.resp.replies import encode_command
from tinykv.server.metrics import Metrics
from tinykv.storage.folder import Recovery
from tinykv.storage.log import Entry
from tinykv.storage.log_reader import LogReader
from tinykv.store.host import RegionHost
from tinykv.store.recovery import recover
from tinykv.store.regions import Regions
from tinykv.testing.alone import alone
from tinykv.testing.embedded import TABLE

START = 1_700_000_000_000


class Found:
    """What a start found, for L{recover}."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store

    def recover(self, region: int, row: bytes | None = None) -> Recovery:
        """Give where the region stands."""
        return self._store.recovery

    def entries(self, region: int, after: int) -> Iterator[Entry]:
        """Give the log."""
        return iter(self._store.replay)


class Asker:
    """
    A client that notes what it's told.

    @ivar told: (number, reply), in the order in which they came.
    @ivar waiting: The requests that had to wait.
    """

    proto = 2

    def __init__(self, hosted: Hosted, client_id: int) -> None:
        self.hosted = hosted
        self.client_id = client_id
        self.number = 0
        self.told: list[tuple[int, bytes]] = []
        self.waiting: list[int] = []

    def answer(self, number: int, reply: bytes) -> None:
        """Note a reply."""
        self.told.append((number, reply))

    def waits(self, number: int, timeout_ms: int) -> None:
        """Note that a request waits."""
        self.waiting.append(number)

    def _next(self) -> int:
        self.number += 1
        return self.number - 1

    def send(self, line: str, db: int = 0) -> None:
        """Send a command in its place behind those before it."""
        arguments = line.encode().split()
        spec = lookup(arguments, TABLE)
        host = self.hosted.host
        number = self._next()
        if not spec.writes:
            host.submit((READ, self, number, db, spec, arguments, None))
        elif spec.blocks:
            host.submit((WAITING, self, number, db, spec, arguments, None))
        else:
            host.submit((COMMANDS, self, number, db, spec, arguments, encode_command(arguments)))

    def exec(self, *lines: str) -> None:
        """Send a transaction."""
        commands = [(0, lookup(line.encode().split(), TABLE), line.encode().split(), None) for line in lines]
        self.hosted.host.submit((EXEC, self, self._next(), 0, None, commands, []))

    def local(self, function: Any) -> None:
        """Send a step of the front's own."""
        self.hosted.host.submit((LOCAL, self, self._next(), 0, None, function, None))

    def read(self, line: str, db: int = 0) -> bytes | None:
        """Read at once, as a client does that has nothing under way."""
        arguments = line.encode().split()
        return self.hosted.host.read(self, self._next(), db, lookup(arguments, TABLE), arguments)

    def heard(self) -> list[bytes]:
        """Give the replies since the last time, which must have come in order."""
        numbers = [number for number, _ in self.told]
        assert numbers == sorted(numbers), numbers
        replies = [reply for _, reply in self.told]
        self.told.clear()
        return replies


class Hosted:
    """
    A store without ports.

    @ivar now: The time in ms since 1970; it moves only by hand.
    @ivar failures: What stopped it.
    """

    def __init__(
        self, path: str, *, budget: int = 1 << 20, frozen_tables: int = 2, reads_log: bool = False, **options: Any
    ) -> None:
        """
        @param reads_log: Whether the log on disk can be read while the store serves.
        """
        self.budget = budget
        self.reads_log = reads_log
        self.options: dict[str, Any] = {
            "memtable_bytes": 1 << 30,
            "durability_os": False,
            "request_timeout": 5.0,
            # Turns end when a test says so.
            "hold_seconds": 0.0,
            "gather_seconds": 0.0,
            **options,
        }
        self.now = START
        #: Seconds that pass from one look at the time to the next while work is done.
        self.look_seconds = 0.0
        self._looked = 0.0
        self.failures: list[BaseException] = []
        #: Called when clients have been answered, and when work begins to rest.
        self.at_answer: Callable[[], None] = lambda: None
        self._starts = 0
        self._clients = 0
        self.store = LocalStore(path, fsync=False, frozen_tables=frozen_tables)
        self._begin()

    def _begin(self) -> None:
        self.store.hurry()
        self._starts += 1
        self.clock = Clock()
        self.answered = 0
        self.keyspace = Keyspace(self.store.rows, VALUE_TYPES, budget=self.budget)
        self.execution = Execution(
            self.keyspace, TABLE, start_id=self._starts, random=Random(1), defect=self._defect
        )
        initial = Descriptor.initial(1, [1])
        applied, hard_state, descriptor, *_ = recover(Found(self.store), self.execution, initial, 1)
        self.replayed = applied
        metrics = Metrics()
        options = dict(self.options)
        shared = {name: options.pop(name) for name in ("memtable_bytes", "durability_os", "hz") if name in options}
        self.regions = Regions(
            rows=self.store.rows,
            log_writer=self.store.log,
            data_writer=self.store.data,
            reader=self.store.read_ahead,
            clock=self.clock,
            now=self._look,
            now_ms=lambda: self.now,
            flushed=lambda: None,
            answered=self._answered,
            stopped=self.failures.append,
            durations=metrics,
            **shared,
        )
        self.host = RegionHost(
            self.regions,
            replica=alone(
                self.store.log, self.clock, metrics, applied, hard_state, Random(self._starts), log=self.log_of(1)
            ),
            descriptor=descriptor,
            execution=self.execution,
            now_ms=lambda: self.now,
            uptime=lambda: self.clock.seconds(),
            random=Random(self._starts),
            applied=applied,
            **options,
        )
        self.host.start()

    def log_of(self, region: int) -> LogReader | None:
        """Give a region's log on disk, if it's to be read."""
        return LogReader(self.store.folder.raft_path, region) if self.reads_log else None

    def _defect(self, name: str, problem: BaseException) -> None:
        raise AssertionError(name) from problem

    def _look(self) -> float:
        self._looked += self.look_seconds
        return self._looked

    def _answered(self) -> None:
        self.answered += 1
        self.at_answer()

    def client(self) -> Asker:
        """Connect a client."""
        self._clients += 1
        return Asker(self, self._clients)

    def turn(self) -> None:
        """Let a turn end: what was sent is proposed, nothing is durable yet."""
        self.clock.advance(0)

    def sync(self) -> None:
        """Let everything that reached the log writer be durable, all that is read ahead be there, and so applied."""
        self.store.log_channel.run()
        self.store.read_channel.run()

    def settle(self) -> None:
        """Let all that was sent be done, and no time pass."""
        for _ in range(10):
            self.turn()
            self.sync()

    def flush(self) -> None:
        """Let the frozen tables reach data.db."""
        self.store.data_channel.run()

    def crash(self) -> None:
        """Lose what isn't durable, and start again."""
        self.store.crash()
        self._begin()

    def close(self) -> None:
        """Leave the files."""
        self.store.close()

    def closing(self) -> Deferred[None]:
        """Ask for the end."""
        return self.host.close()

    def rows(self) -> dict[str, list[tuple[bytes, bytes]]]:
        """Give all rows that commands wrote, by family, as they are in the memory tables or on disk."""
        rows = self.store.rows
        return {
            family: [
                (key, row if isinstance(row, bytes) else row.encode())
                for key, row in rows.scan(family, b"", b"\xff" * 8)
                if not key.startswith((b"apply", b"descriptor"))
            ]
            for family in ("data", "region")
        }
