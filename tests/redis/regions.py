"""A region's commands at work, with clients that note what they are told, and a log that can be replayed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from hypothesis import strategies as st

from tinykv.redis.commands import VALUE_TYPES
from tinykv.redis.execution import Execution
from tinykv.redis.keyspace import Keyspace
from tinykv.redis.operations import (
    COMMANDS,
    EXEC,
    INTERNAL,
    WAITING,
    Operation,
    decode_records,
    encode_records,
    lookup,
)
from tinykv.redis.spec import CommandSpec
from tinykv.resp.replies import encode_command
from tinykv.testing.embedded import TABLE
from tinykv.testing.memory_rows import MemoryRows

START_ID = 77
START_TIME = 1_700_000_000_000

#: (time, seed, records)
Entry = tuple[int, int, bytes]


def lines(form: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Make command lines of a form with gaps."""
    return st.tuples(*parts).map(lambda drawn: form.format(*drawn))


class Teller:
    """
    A client.

    @ivar told: What it was answered: (number of the request, reply).
    @ivar blocked: Whether it waits now.
    @ivar waiting: The requests with which it waits or has waited: (number, timeout in ms).
    """

    def __init__(self, client_id: int, proto: int = 2) -> None:
        self.client_id = client_id
        self.proto = proto
        self.number = 0
        self.told: list[tuple[int, bytes]] = []
        self.waiting: list[tuple[int, int]] = []
        self.blocked = False

    def answer(self, number: int, reply: bytes) -> None:
        """Note a reply."""
        self.told.append((number, reply))
        self.blocked = False

    def waits(self, number: int, timeout_ms: int) -> None:
        """Note that it waits."""
        self.waiting.append((number, timeout_ms))
        self.blocked = True

    def heard(self) -> list[bytes]:
        """Give the replies since the last time."""
        replies = [reply for _, reply in self.told]
        self.told.clear()
        return replies


class Region:
    """
    One region.

    @ivar log: All entries.
    @ivar time: The time of the last entry.
    """

    def __init__(self, budget: int = 1 << 30, table: Mapping[str, CommandSpec] = TABLE) -> None:
        self.budget = budget
        self.table = table
        self.rows = MemoryRows()
        self.time = START_TIME
        self.log: list[Entry] = []
        self.defects: list[tuple[str, BaseException]] = []
        self._open(0)

    def _open(self, sequence: int) -> None:
        self.keyspace = Keyspace(self.rows, VALUE_TYPES, budget=self.budget)
        self.keyspace.sequence = sequence
        self.execution = Execution(
            self.keyspace,
            self.table,
            start_id=START_ID,
            random=Random(1),
            defect=lambda name, problem: self.defects.append((name, problem)),
        )
        self.execution.load(self.time)

    def narrow(self, slots: tuple[int, int]) -> None:
        """Leave some slots to other regions; only a region that holds nothing there may."""
        self.keyspace.slots = slots
        self.execution._look_at_range()

    def forget(self) -> None:
        """Start again from the rows alone."""
        self.rows.flush()
        self._open(self.keyspace.sequence)

    def apply(self, *operations: Operation, after_ms: int = 1) -> None:
        """Apply an entry of these operations, so long after the last one, and log it."""
        records = b"".join(encode_records(list(operations), START_ID))
        self.time += after_ms
        self.log.append((self.time, len(self.log) + 5, records))
        self._run(self.log[-1], list(operations))

    def replay(self, entry: Entry) -> None:
        """Apply an entry of a log."""
        self.time = entry[0]
        self.log.append(entry)
        self._run(entry, decode_records(entry[2], 0, self.table))

    def _run(self, entry: Entry, operations: list[Operation]) -> None:
        self.execution.begin_entry(entry[0], entry[1])
        self._run_all(operations)
        self.keyspace.turn()

    def _run_all(self, operations: list[Operation]) -> None:
        self.execution.run_all(operations)

    def make(self, client: Teller, line: str | list[bytes], db: int = 0) -> Operation:
        """Make the operation of a client's command."""
        arguments = line.encode().split() if isinstance(line, str) else line
        client.number += 1
        spec = lookup(arguments, self.table)
        if spec.blocks:
            return (WAITING, client, client.number, db, spec, arguments, None)
        return (COMMANDS, client, client.number, db, spec, arguments, encode_command(arguments))

    def do(self, client: Teller, line: str | list[bytes], db: int = 0) -> list[bytes]:
        """Apply one command in an entry of its own, and give what its client was told."""
        self.apply(self.make(client, line, db))
        return client.heard()

    def watch(self, key: bytes, db: int = 0) -> tuple[int, bytes, int]:
        """Give what WATCH notes."""
        keyspace = self.keyspace
        keyspace.writing = False
        keyspace.now = self.time
        return db, key, keyspace.databases[db].version(key)

    def transaction(
        self, client: Teller, *lines: str, watched: tuple[tuple[int, bytes, int], ...] = (), db: int = 0
    ) -> Operation:
        """Make the operation of an EXEC; a line that only says C{SELECT n} changes the database."""
        client.number += 1
        commands: list[tuple[int, CommandSpec | None, list[bytes], Callable[[], bytes] | None]] = []
        for line in lines:
            arguments = line.encode().split()
            if arguments[0] == b"SELECT":
                db = int(arguments[1])
                commands.append((db, None, arguments, lambda: b"+OK\r\n"))
            else:
                commands.append((db, lookup(arguments, self.table), arguments, None))
        return (EXEC, client, client.number, 0, None, commands, list(watched))

    @staticmethod
    def internal(*arguments: bytes) -> Operation:
        """Make an operation of the leader's own."""
        return (INTERNAL, Teller(0), 0, 0, None, list(arguments), None)

    def wake(self, client: Teller, how: bytes = b"timeout") -> None:
        """Let a client's waiting be over: C{timeout}, C{error} or C{gone}."""
        self.apply(self.internal(b"wake", b"%d" % START_ID, b"%d" % client.client_id, b"%d" % client.number, how))

    def image(self) -> dict[str, dict[bytes, bytes]]:
        """Give all rows, and the sequence as one of them."""
        image = self.rows.image()
        image["region"][b"sequence"] = b"%d" % self.keyspace.sequence
        return image
