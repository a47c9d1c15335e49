"""
A whole store in this process that decides at once: sessions, front, commands, row store and SQLite, but no log writer
and no processes. What a client sends is applied and answered before L{InstantClient.raw} returns.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

from sqlite_utils import Database as SqliteUtils
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from tests.redis_server import encode_command
from tinykv.config import StoreConfig
from tinykv.interfaces import IRegionHost
from tinykv.redis import looks
from tinykv.redis.commands import MODULES, VALUE_TYPES
from tinykv.redis.execution import Execution
from tinykv.redis.keyspace import Keyspace
from tinykv.redis.operations import (
    INTERNAL,
    LOCAL,
    LOOK,
    NOBODY,
    READ,
    Client,
    Operation,
    decode_records,
    encode_records,
)
from tinykv.redis.spec import CommandSpec
from tinykv.redis.table import commands_of
from tinykv.region.entry import HEADER_BYTES, decode_header, encode_header
from tinykv.region.state import ApplyState, apply_key
from tinykv.server.commands import CONNECTION_MODULES
from tinykv.server.front import Front, RespFactory
from tinykv.storage.data import DataStore
from tinykv.storage.reader import Reader
from tinykv.storage.rowstore import RowStore
from tinykv.storage.schema import Kind
from tinykv.storage.tables import FAMILIES
from tinykv.storage.writers import pieces

REGION = 1
TABLE = commands_of(MODULES)


class Engine:
    """
    Commands over rows over SQLite in memory.

    @ivar index: Index of the last entry applied.
    @ivar defects: What failed unexpectedly.
    """

    def __init__(self, *, budget: int = 1 << 30, start_id: int = 7) -> None:
        self.budget = budget
        self.start_id = start_id
        self.index = 0
        self.defects: list[tuple[str, BaseException]] = []
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        Kind.DATA.migrations.apply(SqliteUtils(self.connection, execute_plugins=False))
        self._data = DataStore(self.connection, ":memory:")
        self.rows = RowStore(Reader(":memory:", self.connection))
        self._begin()

    def _begin(self) -> None:
        """Make the commands anew over the rows as they are."""
        state = self.rows.get("region", apply_key(REGION))
        applied = ApplyState.decode(state) if isinstance(state, bytes) else ApplyState()
        self.keyspace = Keyspace(self.rows, VALUE_TYPES, budget=self.budget)
        self.keyspace.sequence = applied.sequence
        self.execution = Execution(
            self.keyspace,
            TABLE,
            start_id=self.start_id,
            random=Random(1),
            defect=lambda name, problem: self.defects.append((name, problem)),
        )
        self.execution.load(applied.time)
        self.index = applied.index

    def apply(self, entry: bytes, operations: list[Operation] | None = None) -> None:
        """Apply an entry: its operations as they came, with their clients, or as the bytes say."""
        if operations is None:
            operations = decode_records(entry, HEADER_BYTES, TABLE)
        self.execution.begin_entry(*decode_header(entry))
        self.execution.run_all(operations)
        self.index += 1

    def freeze(self) -> None:
        """Freeze the active memory table, with the apply state as of now."""
        state = ApplyState(self.index, 1, self.execution.time, self.keyspace.sequence)
        self.rows.put("region", apply_key(REGION), state.encode())
        self.rows.freeze()

    def flush(self) -> None:
        """Write all frozen tables to SQLite."""
        for table in list(self.rows.frozen):
            for piece in pieces(table):
                if piece is not None:
                    self._data.receive(piece)
            self.rows.retire(table)

    def forget(self) -> None:
        """Drop the cache: everything is read from SQLite again."""
        self.freeze()
        self.flush()
        self._begin()

    def image(self) -> dict[str, list[tuple[bytes, bytes]]]:
        """Give all rows as they're on disk after a flush."""
        self.freeze()
        self.flush()
        return {
            family: self.connection.execute(f'SELECT key, value FROM "{family}" ORDER BY key').fetchall()
            for family in FAMILIES
        }


@implementer(IRegionHost)
class InstantHost:
    """
    Decides each turn's operations when L{turn} is called.

    @ivar entries: The entries so far, if C{record} was asked for.
    """

    def __init__(self, engine: Engine, *, now_ms: Callable[[], int], record: bool = False) -> None:
        self.engine = engine
        self.start_id = engine.start_id
        self.now_ms = now_ms
        self.entries: list[bytes] | None = [] if record else None
        self._random = Random(engine.start_id)
        self._pending: list[Operation] = []

    @property
    def table_bytes(self) -> int:
        """Estimate what the memory tables hold."""
        return self.engine.rows.active_bytes

    @property
    def execution(self) -> Execution:
        """The commands at work on the data."""
        return self.engine.execution

    def submit(self, operation: Operation) -> None:
        """Take an operation in for this turn's proposal."""
        self._pending.append(operation)

    def read(self, client: Client, number: int, db: int, spec: CommandSpec, arguments: list[bytes]) -> bytes | None:
        """Run a read now; None if an expiry has to be applied first."""
        reply = self.execution.read(client, db, spec, arguments, self.now_ms())
        if isinstance(reply, bytes):
            return reply
        self._expire(reply)
        self.submit((READ, client, number, db, spec, arguments, None))
        return None

    def read_local(
        self, client: Client, number: int, db: int, spec: CommandSpec, arguments: list[bytes]
    ) -> bytes | None:
        """Do as L{read}: there is no other store."""
        return self.read(client, number, db, spec, arguments)

    def expect_local_reads(self) -> None:
        """Do nothing: there is no other store."""

    def refusal(self, spec: CommandSpec) -> bytes | None:
        """Refuse nothing."""
        return None

    def turn(self) -> bool:
        """Decide and apply what was submitted; say if there was anything."""
        operations, self._pending = self._pending, []
        if not operations:
            return False
        records = encode_records(operations, self.start_id)
        if records:
            time_ms = max(self.now_ms(), self.execution.time)
            entry = b"".join([encode_header(time_ms, self._random.getrandbits(64)), *records])
            if self.entries is not None:
                self.entries.append(entry)
            self.execution.begin_entry(*decode_header(entry))
            self.engine.index += 1
        for operation in operations:
            kind, client, number, db, spec, arguments, _ = operation
            if kind < READ:
                self.execution.run(operation)
            elif kind == LOCAL:
                arguments()
            elif kind == LOOK:
                client.answer(number, looks.answer(self.execution, db, arguments, self.now_ms()))
            else:
                reply = self.execution.read(client, db, spec if kind == READ else None, arguments, self.now_ms())
                if isinstance(reply, bytes):
                    client.answer(number, reply)
                else:
                    self._expire(reply)
                    self.submit(operation)
        self.engine.keyspace.turn()
        return True

    def _expire(self, noticed: list[Any]) -> None:
        for db, key in noticed:
            arguments = [b"expire", b"%d" % db.number, key]
            self.submit((INTERNAL, NOBODY, 0, 0, None, arguments, None))


class InstantStore:
    """
    The store as clients see it.

    @ivar engine: What lies beneath.
    @ivar now_ms: The clock, to be replaced where time has to stand still.
    """

    def __init__(self, engine: Engine, *, now_ms: Callable[[], int] | None = None, record: bool = False) -> None:
        self.engine = engine
        self.now_ms = now_ms if now_ms is not None else lambda: int(time.time() * 1000)
        self.host = InstantHost(engine, now_ms=lambda: self.now_ms(), record=record)
        self.clock = Clock()
        self.front = Front(
            self.host,
            TABLE,
            CONNECTION_MODULES,
            config=StoreConfig(),
            clock=self.clock,
            now=lambda: self.now_ms() / 1000,
            shutdown=lambda: None,
        )

    def client(self) -> InstantClient:
        """Connect a client."""
        return InstantClient(self)

    def renew(self, engine: Engine) -> None:
        """Put other data under the clients, none of which may be waiting."""
        self.engine = self.host.engine = engine

    def settle(self) -> None:
        """Let turns pass until nothing is under way."""
        self.front.flush()
        while self.host.turn():
            self.front.flush()
        self.clock.advance(0)
        self.front.flush()


class InstantClient:
    """A client that has its reply when its call returns."""

    def __init__(self, store: InstantStore) -> None:
        self.store = store
        self.transport = StringTransport()
        self.session = RespFactory(store.front).buildProtocol(None)
        self.session.makeConnection(self.transport)
        store.settle()
        self.transport.clear()

    def raw(self, *arguments: bytes) -> bytes:
        """Send a command, and give what came back; nothing if the client has to wait."""
        self.session.dataReceived(encode_command(arguments))
        return self.received()

    def raw_pipeline(self, commands: Iterable[Sequence[bytes]]) -> bytes:
        """Send commands at once, so that what they write is one entry."""
        self.session.dataReceived(b"".join(encode_command(arguments) for arguments in commands))
        return self.received()

    def received(self) -> bytes:
        """Give what has come since the last call."""
        self.store.settle()
        data: bytes = self.transport.value()
        self.transport.clear()
        return data
