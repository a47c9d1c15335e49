"""
Folders of stores as a daemon leaves them, made in the test's own process.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from random import Random

from tests.storage.folders import LocalStore
from tinykv.redis.commands import VALUE_TYPES
from tinykv.redis.execution import Execution
from tinykv.redis.keyspace import Keyspace
from tinykv.redis.operations import COMMANDS, NOBODY, Operation, decode_records, encode_records, lookup
from tinykv.region.entry import HEADER_BYTES, decode_header, encode_header
from tinykv.region.state import ApplyState, apply_key
from tinykv.resp.replies import encode_command
from tinykv.storage.writers import LogBatch
from tinykv.testing.embedded import TABLE

START = 1_700_000_000_000


class Scribe:
    """
    Writes a store's folder entry by entry: log first, then applied, and flushed when told to.

    @ivar now: The time of the next entry, in ms since 1970.
    """

    def __init__(self, path: str) -> None:
        self.now = START
        self._index = 0
        self._store = LocalStore(path)
        self._store.hurry()
        self._keyspace = Keyspace(self._store.rows, VALUE_TYPES, budget=1 << 28)
        self._execution = Execution(
            self._keyspace, TABLE, start_id=1, random=Random(1), defect=self._defect
        )
        self._execution.load(0)
        batch = LogBatch()
        batch.hard_state(1, 1, 1, 1, 0)
        self._log(batch)
        self._append(b"")

    @staticmethod
    def _defect(command: str, problem: BaseException) -> None:
        raise AssertionError(command) from problem

    def _log(self, batch: LogBatch) -> None:
        self._store.log.write(batch, lambda: None)
        self._store.log_channel.run()

    def _append(self, data: bytes) -> None:
        self._index += 1
        batch = LogBatch()
        batch.append(1, self._index, [(1, data)])
        self._log(batch)

    def entry(self, *commands: tuple[bytes, ...], db: int = 0) -> None:
        """Write an entry with these commands, and apply it."""
        operations: list[Operation] = [
            (COMMANDS, NOBODY, 0, db, lookup(list(command), TABLE), list(command), encode_command(command))
            for command in commands
        ]
        data = encode_header(self.now, 7) + b"".join(encode_records(operations, 1))
        self._append(data)
        self._execution.begin_entry(*decode_header(data))
        self._execution.run_all(decode_records(data, HEADER_BYTES, TABLE))
        self.now += 1

    def flush(self) -> None:
        """Bring the rows to disk, and cut the log behind them."""
        state = ApplyState(self._index, 1, self._execution.time, self._keyspace.sequence)
        self._store.rows.put("region", apply_key(1), state.encode())
        table = self._store.rows.freeze()
        assert table is not None
        self._store.flush(table)
        batch = LogBatch()
        batch.cut(1, state.index, state.term)
        self._log(batch)

    def close(self) -> None:
        """Stop, without another flush."""
        self._store.close()


def write_sample(path: str) -> None:
    """Make a folder with every type, small and large, with and without expiry; the log's tail isn't in the rows."""
    scribe = Scribe(path)
    numbers = [b"%d" % number for number in range(1000)]
    scribe.entry(
        (b"set", b"greeting", b"hello"),
        (b"set", b"fleeting", b"soon", b"PXAT", b"%d" % (START + 10**12)),
        (b"set", b"over", b"gone", b"PX", b"1000"),
        (b"rpush", b"few", b"a", b"b", b"\xff\x00"),
        (b"rpush", b"many", *numbers),
        (b"sadd", b"members", *numbers),
        (b"hset", b"small hash", b"field", b"value"),
        (b"hset", b"large hash", *(part for number in numbers for part in (number, number * 3))),
        (b"zadd", b"small zset", b"1.5", b"one", b"-inf", b"low"),
        (b"zadd", b"large zset", *(part for number in numbers for part in (number, b"member " + number))),
        (b"pexpireat", b"large hash", b"%d" % (START + 10**12)),
        (b"raw.put", b"default", b"raw key", b"raw value"),
        (b"raw.put", b"write", b"", b""),
    )
    scribe.entry((b"set", b"elsewhere", b"in three"), db=3)
    scribe.flush()
    scribe.entry((b"set", b"greeting", b"hello again"), (b"rpush", b"many", b"last"), (b"del", b"small hash"))
    scribe.entry((b"swapdb", b"3", b"5"))
    scribe.close()


def fingerprint(path: str) -> dict[str, str]:
    """Give the hash of every file in a folder, but for the memory that SQLite's processes share."""
    return {
        item.name: hashlib.sha256(item.read_bytes()).hexdigest()
        for item in sorted(Path(path).iterdir())
        if not item.name.endswith("-shm")
    }
