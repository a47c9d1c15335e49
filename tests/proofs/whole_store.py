"""
A whole store in one process and by hand: the folder, both writers, the rows, the commands and the host of the region
are those of the daemon; only sockets, processes and the clock are missing.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from random import Random
from typing import Any

from twisted.internet.task import Clock

from tinykv.redis.commands import MODULES, VALUE_TYPES
from tinykv.redis.execution import Execution
from tinykv.redis.keyspace import Keyspace
from tinykv.redis.operations import COMMANDS, EXEC, decode_records
from tinykv.redis.table import commands_of
from tinykv.region.descriptor import Descriptor
from tinykv.region.entry import HEADER_BYTES, decode_header
from tinykv.resp.replies import encode_command
from tinykv.server.metrics import Metrics
from tinykv.storage.connection import connect_writer
from tinykv.storage.data import DataStore
from tinykv.storage.folder import DataFolder, open_folder
from tinykv.storage.log import APPEND, LogStore
from tinykv.storage.reader import Reader
from tinykv.storage.rowstore import RowStore
from tinykv.storage.sessions import DataSession, LogSession
from tinykv.storage.synchronous import SynchronousChannel
from tinykv.storage.writers import DataWriter, LogWriter
from tinykv.store.host import RegionHost
from tinykv.store.recovery import recover
from tinykv.store.regions import Regions
from tinykv.tap.beginning import REGION, STORE_ID
from tinykv.testing.alone import alone
from tinykv.testing.memory_rows import MemoryRows
from tinykv.testing.nothing_ahead import NothingAhead

TABLE = commands_of(MODULES)

#: Memory for live values: little, so that rows are read back from the disk as well.
BUDGET = 64 * 1024

Command = list[bytes]


def _defect(command: str, problem: BaseException) -> None:
    raise problem


def execution_over(rows: Any, budget: int = BUDGET) -> Execution:
    """Put the commands over some rows."""
    keyspace = Keyspace(rows, VALUE_TYPES, budget=budget)
    return Execution(keyspace, TABLE, start_id=1, random=Random(1), defect=_defect)


class History:
    """
    What the log has held since the beginning, entry by entry, and what the data is after each of them.

    The data is that of an own copy of the commands, over rows that are only memory.

    @ivar entries: Data of the entries, the first one first.
    @ivar digests: What the data is before the first entry, after it, after the second, ...
    """

    def __init__(self, entries: list[bytes]) -> None:
        self.entries: list[bytes] = []
        self._execution = execution_over(MemoryRows(), 1 << 30)
        self._execution.load(0)
        self.digests: list[bytes] = [digest(self._execution)]
        for data in entries:
            self._add(data)

    def append(self, first: int, entries: list[tuple[int, bytes]]) -> None:
        """Learn of entries (term, data) that are to be written."""
        assert first == len(self.entries) + 1, "a group of one never replaces an entry"
        for _, data in entries:
            self._add(data)

    def _add(self, data: bytes) -> None:
        self.entries.append(data)
        replay(self._execution, data)
        self.digests.append(digest(self._execution))


def replay(execution: Execution, data: bytes) -> None:
    """Apply an entry for nobody."""
    if data:
        execution.begin_entry(*decode_header(data))
        execution.run_all(decode_records(data, HEADER_BYTES, execution.table))
    execution.keyspace.turn()


class _Nobody:
    """Asks for what digests are made of."""

    proto = 2
    client_id = 0

    def answer(self, number: int, reply: bytes) -> None:
        """Not called: reads give their replies back."""

    def waits(self, number: int, timeout_ms: int) -> None:
        """Not called."""


def digest(execution: Execution) -> bytes:
    """Sum up all that a client could see: every key with its value and expiry, raw entries, counts, time."""
    keyspace = execution.keyspace
    client: Any = _Nobody()
    seen = sha256()
    seen.update(b"%d %d " % (execution.time, keyspace.sequence))
    seen.update(b"".join(b"%d/%d " % (db.keys, db.expiring) for db in keyspace.physical))
    for row_key, _ in keyspace.rows.scan("data", b"r", b"s"):
        if row_key[4] != 1:
            continue
        key = row_key[9:]
        for name in ("dump", "pexpiretime"):
            reply = execution.read(client, row_key[3], TABLE[name], [name.encode(), key], 0)
            assert isinstance(reply, bytes) and not reply.startswith(b"-"), (key, reply)
            seen.update(b"%d:%b:%b" % (row_key[3], key, reply))
    for family in ("default", "lock", "write"):
        for row_key, value in keyspace.rows.scan(family, b"", b"\xff"):
            assert isinstance(value, bytes)
            seen.update(b"%b %b %b" % (family.encode(), row_key, value))
    keyspace.turn()
    return seen.digest()


class _Client:
    """
    A client whose every write is acknowledged to somebody.
    """

    proto = 2
    client_id = 1

    def __init__(self, acknowledged: Callable[[bytes], None]) -> None:
        self._acknowledged = acknowledged

    def answer(self, number: int, reply: bytes) -> None:
        """Take a reply."""
        self._acknowledged(reply)

    def waits(self, number: int, timeout_ms: int) -> None:
        """Not called: no command here blocks."""


class _Tapped(SynchronousChannel):
    """A channel on which somebody listens."""

    def __init__(self, session: LogSession, heard: Callable[[list[Any]], None]) -> None:
        super().__init__(session)
        self._heard = heard

    def send(self, message: Any) -> None:
        """Let the listener hear it before it's sent."""
        self._heard(message)
        super().send(message)


class WholeStore:
    """
    Everything from the folder to the host.

    @ivar host: The region's host.
    @param history: Learns of every entry before it's written.
    @param acknowledged: Called with an entry's index when a client is told that it's done.
    @param opened: Called when the folder is open and nothing is read from it yet.
    """

    def __init__(
        self,
        path: str,
        *,
        history: History | None = None,
        acknowledged: Callable[[int], None] = lambda index: None,
        opened: Callable[[], None] = lambda: None,
        memtable_bytes: int = 16 * 1024,
        log_checkpoint_bytes: int = 64 * 1024,
        data_checkpoint_bytes: int = 64 * 1024,
        durability_os: bool = False,
        now_ms: int = 1_700_000_000_000,
        seed: int = 1,
    ) -> None:
        self.folder = folder = open_small(path)
        opened()
        self.rows = RowStore(Reader(folder.data_path))
        self.execution = execution_over(self.rows)
        initial = Descriptor.initial(REGION, [STORE_ID])
        applied, hard_state, descriptor, *_ = recover(folder, self.execution, initial, STORE_ID)
        folder.release_files()
        log = LogStore(
            connect_writer(folder.raft_path),
            folder.raft_path,
            fsync=not durability_os,
            checkpoint_bytes=log_checkpoint_bytes,
        )
        data = DataStore(connect_writer(folder.data_path), folder.data_path, checkpoint_bytes=data_checkpoint_bytes)
        self._sessions = (LogSession(log), DataSession(data))
        self._history = history
        self.log = _Tapped(self._sessions[0], self._heard)
        self.data = SynchronousChannel(self._sessions[1])
        self.clock = Clock()
        self._now_ms = now_ms
        self._client: Any = _Client(lambda reply: acknowledged(self.host.applied + 1))
        self.failures: list[BaseException] = []
        metrics = Metrics()
        log_writer = LogWriter(self.log)
        regions = Regions(
            rows=self.rows,
            log_writer=log_writer,
            data_writer=DataWriter(self.data),
            reader=NothingAhead(self.clock),
            clock=self.clock,
            now=lambda: 0.0,
            now_ms=self._now,
            flushed=lambda: None,
            answered=lambda: None,
            stopped=self.failures.append,
            durations=metrics,
            memtable_bytes=memtable_bytes,
            durability_os=durability_os,
        )
        self.host = RegionHost(
            regions,
            replica=alone(log_writer, self.clock, metrics, applied, hard_state, Random(seed)),
            descriptor=descriptor,
            execution=self.execution,
            now_ms=self._now,
            uptime=self.clock.seconds,
            random=Random(seed),
            applied=applied,
            request_timeout=5.0,
        )
        self.host.start()

    def _now(self) -> int:
        return self._now_ms + int(self.clock.seconds() * 1000)

    def _heard(self, operations: list[Any]) -> None:
        if self._history is not None:
            for operation in operations:
                if operation[0] == APPEND:
                    self._history.append(operation[2], operation[3])

    def submit(self, group: list[Command]) -> None:
        """Take a command in, or several as one transaction."""
        operations = [(0, TABLE[command[0].decode()], command) for command in group]
        if len(operations) == 1:
            (db, spec, command), = operations
            self.host.submit((COMMANDS, self._client, 0, db, spec, command, encode_command(command)))
        else:
            commands = [(*operation, None) for operation in operations]
            self.host.submit((EXEC, self._client, 0, 0, None, commands, []))

    def turn(self) -> None:
        """Let a turn of the reactor pass."""
        self.clock.advance(0.001)

    def settle(self) -> None:
        """Let both writers finish all they have."""
        for _ in range(8):
            self.turn()
            self.log.run()
            self.data.run()
        if self.failures:
            raise self.failures[0]

    def stop(self) -> None:
        """Stop in good order, as SIGTERM does."""
        closed = self.host.close()
        self.settle()
        assert closed.called
        for session in self._sessions:
            session.close()
        self._close()

    def abandon(self) -> None:
        """Let go of everything without finishing anything. SQLite tidies up, so nothing may count after this."""
        for session in self._sessions:
            session.close()
        self._close()

    def _close(self) -> None:
        for call in self.clock.getDelayedCalls():
            call.cancel()
        self.rows.reader.close()
        self.folder.close()


def open_small(path: str) -> DataFolder:
    """Open a folder without ballast and without waiting."""
    return open_folder(path, STORE_ID, ballast_bytes=0, patience=0)


def look(path: str) -> tuple[int, bytes]:
    """
    Start on a folder as far as a store does before it serves anyone.

    @return: Index of the last entry, and the digest of the data.
    """
    folder = open_small(path)
    try:
        rows = RowStore(Reader(folder.data_path))
        try:
            execution = execution_over(rows)
            applied = recover(folder, execution, Descriptor.initial(REGION, [STORE_ID]), STORE_ID).applied
            return applied.index, digest(execution)
        finally:
            rows.reader.close()
    finally:
        folder.close()
