"""What a start makes of a log: the same as the store that wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tinykv.errors import Damaged
from tinykv.raft.messages import HardState
from tinykv.redis.commands import VALUE_TYPES
from tinykv.redis.execution import Execution
from tinykv.redis.keyspace import Keyspace
from tinykv.redis.operations import COMMANDS, NOBODY, encode_records, lookup
from tinykv.region.entry import encode_header
from tinykv.region.state import ApplyState
from tinykv.resp.replies import encode_command
from tinykv.storage.folder import Recovery
from tinykv.storage.log import Entry
from tinykv.storage.log import HardState as StoredState
from tinykv.tap.store import PEER, recover
from tinykv.testing.embedded import TABLE
from tinykv.testing.memory_rows import MemoryRows

TIME = 1_700_000_000_000


def entry(index: int, term: int, time: int, *lines: str) -> Entry:
    """Make an entry of commands."""
    operations = []
    for line in lines:
        arguments = line.encode().split()
        raw = encode_command(arguments)
        operations.append((COMMANDS, NOBODY, 0, 0, lookup(arguments, TABLE), arguments, raw))
    return Entry(index, term, b"".join([encode_header(time, index), *encode_records(operations, 1)]))


class Log:
    """A folder with a log."""

    def __init__(self, entries: list[Entry], state: ApplyState | None = None, term: int = 1, commit: int = 0) -> None:
        self.state = state
        self.log = entries
        self.hard_state = StoredState(PEER, term, PEER, commit) if term else None

    def recover(self, region: int) -> Recovery:
        """Say where it stands."""
        applied = (0, 0) if self.state is None else (self.state.index, self.state.term)
        last = (self.log[-1].index, self.log[-1].term) if self.log else applied
        row = None if self.state is None else self.state.encode()
        hint = 0 if self.hard_state is None else self.hard_state.commit_hint
        commit = min(max(hint, applied[0]), last[0])
        return Recovery(region, self.hard_state, (0, 0), applied, row, last, commit)

    def entries(self, region: int, after: int) -> Iterator[Entry]:
        """Give the rest of the log."""
        return (entry for entry in self.log if entry.index > after)


class RecoverTests(SynchronousTestCase):
    """The replay of a log over rows."""

    def setUp(self) -> None:
        """Make an empty region."""
        self.rows = MemoryRows()
        self.execution = self.execute()

    def execute(self, budget: int = 1 << 30) -> Execution:
        """Put commands over the rows."""
        keyspace = Keyspace(self.rows, VALUE_TYPES, budget=budget)
        return Execution(keyspace, TABLE, start_id=1, random=Random(1), defect=self.fail_with)

    def fail_with(self, name: str, problem: BaseException) -> None:
        """Let nothing fail."""
        raise AssertionError(name) from problem

    def value(self, key: bytes) -> bytes | None:
        """Give what a key holds."""
        return self.execution.keyspace.databases[0].string(key)

    def test_an_empty_folder(self) -> None:
        """There's nothing, and the first term is still to come."""
        state, hard_state = recover(Log([], term=0), self.execution)
        self.assertEqual(state, ApplyState())
        self.assertEqual(hard_state, HardState(0, 0, 0))

    def test_the_rest_of_the_log(self) -> None:
        """What the rows contain isn't applied again, what they don't is; terms open with empty entries."""
        log = [
            Entry(1, 1, b""),
            entry(2, 1, TIME, "INCR a", "INCR b"),
            Entry(3, 2, b""),
            entry(4, 2, TIME + 5, "INCR a"),
            entry(5, 2, TIME + 7),
        ]
        told: list[int] = []
        state, hard_state = recover(Log(log, term=2, commit=4), self.execution, told.append)
        self.assertEqual((self.value(b"a"), self.value(b"b")), (b"2", b"1"))
        self.assertEqual((state.index, state.term, state.time), (5, 2, TIME + 7))
        self.assertEqual(hard_state, HardState(2, PEER, 5))
        self.assertEqual(told, [1, 2, 3, 4, 5])
        self.rows.flush()
        self.execution = self.execute()
        again, _ = recover(Log([*log, entry(6, 2, TIME + 9, "INCR a")], state, term=2), self.execution)
        self.assertEqual(self.value(b"a"), b"3")
        self.assertEqual((again.index, again.time, again.sequence), (6, TIME + 9, state.sequence + 1))

    def test_the_budget_is_kept(self) -> None:
        """A long log doesn't fill the memory with what it touches."""
        self.execution = self.execute(budget=100_000)
        recover(Log([entry(n, 1, TIME, f"SET k{n} " + "x" * 1000) for n in range(1, 500)]), self.execution)
        self.assertLess(self.execution.keyspace.memory, 110_000)
        self.assertEqual(self.execution.keyspace.databases[0].keys, 499)

    def test_a_lost_vote(self) -> None:
        """A log of a term that was never written down is refused: its vote is lost."""
        log = [entry(1, 3, TIME, "INCR a")]
        self.assertRaises(Damaged, recover, Log(log, term=2), self.execution)
        self.assertRaises(Damaged, recover, Log(log, term=0), self.execute())

    def test_damaged(self) -> None:
        """What is no entry, or no apply state, is refused."""
        self.assertRaises(Damaged, recover, Log([Entry(1, 1, b"x")]), self.execution)
        broken = entry(1, 1, TIME, "INCR a")
        self.assertRaises(Damaged, recover, Log([Entry(1, 1, broken.data[:-3])]), self.execute())
        log = Log([entry(1, 1, TIME, "INCR a"), Entry(2, 1, broken.data + b"x")])
        self.assertRaises(Damaged, recover, log, self.execute())

    def test_the_promise(self) -> None:
        """The vote is what was written down."""
        _, hard_state = recover(Log([Entry(1, 1, b"")], term=7), self.execution)
        self.assertEqual(hard_state, HardState(7, PEER, 1))
