"""What a start makes of a log: the same as the store that wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tinykv.errors import Damaged
from tinykv.keys import region_row
from tinykv.raft.membership import ADD_VOTER, REMOVE, Change, Membership, Step
from tinykv.raft.messages import CHANGE, HardState
from tinykv.raft.messages import Entry as RaftEntry
from tinykv.raft.stored import stored_data
from tinykv.raft.wire import encode_change
from tinykv.redis.commands import VALUE_TYPES
from tinykv.redis.execution import Execution
from tinykv.redis.keyspace import Keyspace
from tinykv.redis.operations import COMMANDS, NOBODY, encode_records, lookup
from tinykv.region.descriptor import Descriptor, descriptor_key
from tinykv.region.entry import encode_header
from tinykv.region.state import ApplyState
from tinykv.resp.replies import encode_command
from tinykv.storage.folder import Recovery
from tinykv.storage.log import Entry
from tinykv.storage.log import HardState as StoredState
from tinykv.store.recovery import Recovered, recover
from tinykv.testing.embedded import TABLE
from tinykv.testing.memory_rows import MemoryRows

PEER = 1
TIME = 1_700_000_000_000
ALONE = Descriptor.initial(1, [1])
THREE = Descriptor.initial(1, [1, 2, 3])


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

    def recover(self, region: int, row: bytes | None = None) -> Recovery:
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
        state, hard_state, _, peer, _ = recover(Log([], term=0), self.execution, ALONE, 1)
        self.assertEqual(peer, PEER)
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
        state, hard_state, *_ = recover(Log(log, term=2, commit=4), self.execution, ALONE, 1, told.append)
        self.assertEqual((self.value(b"a"), self.value(b"b")), (b"2", b"1"))
        self.assertEqual((state.index, state.term, state.time), (5, 2, TIME + 7))
        self.assertEqual(hard_state, HardState(2, PEER, 5))
        self.assertEqual(told, [1, 2, 3, 4, 5])
        self.rows.flush()
        self.execution = self.execute()
        longer = Log([*log, entry(6, 2, TIME + 9, "INCR a")], state, term=2)
        again = recover(longer, self.execution, ALONE, 1).applied
        self.assertEqual(self.value(b"a"), b"3")
        self.assertEqual((again.index, again.time, again.sequence), (6, TIME + 9, state.sequence + 1))

    def test_rows_of_before_regions(self) -> None:
        """What a build with one region has kept is found, whether it was in the rows or is still in the log."""
        log = [entry(1, 1, TIME, "SET a first"), entry(2, 1, TIME, "SWAPDB 0 1")]
        flushed = recover(Log(log), self.execution, ALONE, 1).applied
        self.rows.flush()
        family = self.rows.rows["region"]
        for key in [key for key in family if key.startswith(region_row(1))]:
            family[key.removeprefix(region_row(1))] = family.pop(key)
        self.assertIn(b"databases", family)
        self.execution = self.execute()
        recover(Log([*log, entry(3, 1, TIME, "SWAPDB 1 2")], flushed), self.execution, ALONE, 1)
        self.assertEqual(self.execution.keyspace.databases[2].string(b"a"), b"first")
        self.rows.flush()
        self.assertEqual([key for key in family if key == b"databases"], [])
        self.assertIn(region_row(1, b"databases"), family)

    def test_the_budget_is_kept(self) -> None:
        """A long log doesn't fill the memory with what it touches."""
        self.execution = self.execute(budget=100_000)
        log = Log([entry(n, 1, TIME, f"SET k{n} " + "x" * 1000) for n in range(1, 500)])
        recover(log, self.execution, ALONE, 1)
        self.assertLess(self.execution.keyspace.memory, 110_000)
        self.assertEqual(self.execution.keyspace.databases[0].keys, 499)

    def test_a_lost_vote(self) -> None:
        """A log of a term that was never written down is refused: its vote is lost."""
        log = [entry(1, 3, TIME, "INCR a")]
        self.assertRaises(Damaged, recover, Log(log, term=2), self.execution, ALONE, 1)
        self.assertRaises(Damaged, recover, Log(log, term=0), self.execute(), ALONE, 1)

    def test_damaged(self) -> None:
        """What is no entry, or no apply state, is refused."""
        self.assertRaises(Damaged, recover, Log([Entry(1, 1, b"x")]), self.execution, ALONE, 1)
        broken = entry(1, 1, TIME, "INCR a")
        self.assertRaises(Damaged, recover, Log([Entry(1, 1, broken.data[:-3])]), self.execute(), ALONE, 1)
        log = Log([entry(1, 1, TIME, "INCR a"), Entry(2, 1, broken.data + b"x")])
        self.assertRaises(Damaged, recover, log, self.execute(), ALONE, 1)

    def test_the_promise(self) -> None:
        """The vote is what was written down."""
        hard_state = recover(Log([Entry(1, 1, b"")], term=7), self.execution, ALONE, 1).hard_state
        self.assertEqual(hard_state, HardState(7, PEER, 1))

    # Several voters

    def recover_three(self, log: list[Entry], commit: int, term: int = 2) -> Recovered:
        """Start a store of three."""
        return recover(Log(log, term=term, commit=commit), self.execution, THREE, 1)

    def test_with_other_voters_only_what_is_known_as_committed_is_applied(self) -> None:
        """What lies behind it may yet be replaced by another leader."""
        log = [Entry(1, 1, b""), entry(2, 1, TIME, "INCR a"), entry(3, 2, TIME + 1, "INCR a"), Entry(4, 2, b"")]
        for commit, value in ((0, None), (1, None), (2, b"1"), (3, b"2"), (4, b"2"), (9, b"2")):
            self.setUp()
            state, hard_state, descriptor, *_ = self.recover_three(log, commit)
            known = min(commit, 4)
            self.assertEqual((self.value(b"a"), state.index, hard_state.commit), (value, known, known))
            self.assertEqual(state.term, log[known - 1].term if known else 0)
            self.assertEqual((hard_state.term, hard_state.vote, descriptor), (2, PEER, THREE))

    def test_a_commit_index_behind_the_rows_is_late(self) -> None:
        """What the rows contain was committed, whatever the hint says."""
        log = [entry(1, 1, TIME, "INCR a"), entry(2, 1, TIME, "INCR a")]
        state = self.recover_three(log[:1], 1, term=1).applied
        self.rows.flush()
        self.execution = self.execute()
        again, hard_state, *_ = recover(Log(log, state, term=1, commit=0), self.execution, THREE, 1)
        self.assertEqual((again.index, hard_state.commit, self.value(b"a")), (1, 1, b"1"))

    def test_a_lost_vote_shows_behind_the_commit_index_too(self) -> None:
        """An entry that isn't applied yet was written with its term all the same."""
        log = [Entry(1, 1, b""), Entry(2, 3, b"")]
        self.assertRaises(Damaged, self.recover_three, log, 1)

    def change(self, index: int, change: Change) -> Entry:
        """Make an entry that changes the peers."""
        return Entry(index, 1, stored_data(RaftEntry(index, 1, CHANGE, encode_change(change))))

    def test_changes_of_the_peers_are_applied(self) -> None:
        """The region is found as of what is applied, from the log or from its row."""
        log = [Entry(1, 1, b""), self.change(2, THREE.adding(7, "g:1")), entry(3, 1, TIME, "INCR a")]
        state, _, descriptor, *_ = self.recover_three(log, 3)
        self.assertEqual(descriptor.membership, Membership((1, 2, 3), (4,)))
        self.assertEqual((descriptor.stores[4], descriptor.conf_ver), (7, 2))
        self.assertEqual(self.rows.get("region", descriptor_key(1)), descriptor.encode())
        self.rows.flush()
        self.execution = self.execute()
        again = recover(Log(log, state, term=2, commit=3), self.execution, THREE, 1).descriptor
        self.assertEqual(again, descriptor)

    def test_an_impossible_change_changes_nothing(self) -> None:
        """As on the peers that applied it while they ran."""
        log = [self.change(1, Change(()))]
        descriptor = self.recover_three(log, 1).descriptor
        self.assertEqual(descriptor, THREE)
        self.assertIsNone(self.rows.get("region", descriptor_key(1)))

    def test_who_becomes_one_of_several_voters_decides_no_further(self) -> None:
        """Up to the change it was the only one; behind it the others have a say."""
        adding = Change((Step(ADD_VOTER, 2),), context=ALONE.adding(2, "b:1").context)
        log = [entry(1, 1, TIME, "INCR a"), self.change(2, adding), entry(3, 1, TIME, "INCR a")]
        state, hard_state, descriptor, *_ = recover(Log(log, term=1, commit=0), self.execution, ALONE, 1)
        self.assertEqual((state.index, hard_state.commit, self.value(b"a")), (2, 2, b"1"))
        self.assertEqual(descriptor.membership.voters, (1, 2))

    def test_who_is_left_as_the_only_voter_decides_the_rest(self) -> None:
        """Nobody else can have another opinion."""
        two = Descriptor.initial(1, [1, 2])
        remove = Change((Step(REMOVE, 2),))
        log = [self.change(1, remove), entry(2, 1, TIME, "INCR a"), entry(3, 1, TIME, "INCR a")]
        state, _, descriptor, *_ = recover(Log(log, term=1, commit=1), self.execution, two, 1)
        self.assertEqual((state.index, descriptor.membership.voters, self.value(b"a")), (3, (1,), b"2"))

    def test_the_peer(self) -> None:
        """The log file knows its number before the region's row does, and when it was removed."""
        for log, store, peer in (
            ([Entry(1, 1, b"")], 2, 2),
            ([Entry(1, 1, b"")], 9, PEER),
            ([self.change(1, THREE.removing(2))], 2, PEER),
        ):
            self.setUp()
            self.assertEqual(recover(Log(log, term=1, commit=1), self.execution, THREE, store).peer, peer)
        self.setUp()
        self.assertEqual(recover(Log([], term=0), self.execution, THREE, 9).peer, 0)
        self.assertIsNone(recover(Log([], term=0), self.execution, THREE.after(THREE.removing(2)), 2).peer)

    def test_in_a_joint_configuration_nobody_decides_alone(self) -> None:
        """The old voters have their say until it's left."""
        two = Descriptor.initial(1, [2, 3])
        steps = (Step(ADD_VOTER, 3), Step(REMOVE, 1), Step(REMOVE, 2))
        change = Change(steps, context=two.adding(1, "a:1").context)
        log = [self.change(1, change), entry(2, 1, TIME, "INCR a")]
        state, _, descriptor, *_ = recover(Log(log, term=1, commit=1), self.execution, two, 1)
        self.assertEqual((descriptor.membership.voters, descriptor.membership.outgoing), ((3,), (1, 2)))
        self.assertEqual((descriptor.peer_on(1), state.index), (3, 1))
