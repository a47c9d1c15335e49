"""What a start makes of a region that was split, and of its parts, wherever the store has ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.store.test_recovery import THREE, TIME, entry
from tinykv.keys import SLOTS, slot_of
from tinykv.raft.membership import Membership
from tinykv.raft.messages import HardState
from tinykv.redis.commands import VALUE_TYPES
from tinykv.redis.execution import Execution
from tinykv.redis.keyspace import Keyspace
from tinykv.redis.operations import INTERNAL, NOBODY, encode_records
from tinykv.region.descriptor import Descriptor, descriptor_key
from tinykv.region.entry import encode_header
from tinykv.region.splitting import Cut, Split, parts_of
from tinykv.region.state import FIRST_INDEX, FIRST_TERM, ApplyState, apply_key
from tinykv.region.tombstone import encode_tombstone, tombstone_key
from tinykv.storage.folder import Recovery
from tinykv.storage.log import Entry
from tinykv.storage.log import HardState as StoredState
from tinykv.store.recovery import Recovered, begun_by_word, begun_regions, recover_regions
from tinykv.testing.embedded import TABLE
from tinykv.testing.memory_rows import MemoryRows

MIDDLE = SLOTS // 2
#: Keys on both sides of the middle.
LOW, HIGH = "b", "a"
PART, LATER = 9, 10
SPLIT = Split(1, 1, (Cut(MIDDLE, PART, (1, 2, 3)),))


def splitting(index: int, split: Split) -> Entry:
    """Make an entry that splits a region."""
    record = encode_records([(INTERNAL, NOBODY, 0, 0, None, split.encode(), None)], 1)
    return Entry(index, 1, b"".join([encode_header(TIME, index), *record]))


class Folder:
    """What is on disk: logs of several regions, and rows."""

    def __init__(self) -> None:
        self.rows = MemoryRows()
        self.logs: dict[int, list[Entry]] = {}
        self.bases: dict[int, tuple[int, int]] = {}
        self.states: dict[int, StoredState] = {}
        self.recovered: list[int] = []

    def log(
        self, region: int, entries: list[Entry], state: StoredState | None, base: tuple[int, int] = (0, 0)
    ) -> None:
        """Let raft.db have a region."""
        self.logs[region], self.bases[region] = entries, base
        if state is not None:
            self.states[region] = state

    def recover(self, region: int, row: bytes | None = None) -> Recovery:
        """Say where a region stands."""
        self.recovered.append(region)
        found = self.rows.get("region", apply_key(region)) if row is None else row
        state = ApplyState() if found is None else ApplyState.decode(found)
        log, hard = self.logs.get(region, []), self.states.get(region)
        base = self.bases.get(region, (0, 0))
        last = (log[-1].index, log[-1].term) if log else max(base, (state.index, state.term))
        hint = 0 if hard is None else hard.commit_hint
        commit = max(hint, state.index) if hint <= last[0] else state.index
        return Recovery(region, hard, base, (state.index, state.term), found, last, commit)

    def entries(self, region: int, after: int) -> Iterator[Entry]:
        """Give the rest of a log."""
        return (one for one in self.logs.get(region, []) if one.index > after)

    def promised(self) -> dict[int, int]:
        """Say where the logs begin."""
        return {region: self.bases[region][0] for region in self.states}


class SplitRecoveryTests(SynchronousTestCase):
    """A store that was split ends before its rows are in data.db."""

    def setUp(self) -> None:
        """Have a region with an entry that splits it, of which it isn't known that it's decided."""
        self.assertTrue(slot_of(LOW.encode()) < MIDDLE <= slot_of(HIGH.encode()))
        self.folder = Folder()
        self.whole = [
            Entry(1, 1, b""),
            entry(2, 1, TIME, f"SET {LOW} 1", f"SET {HIGH} 1"),
            splitting(3, SPLIT),
            entry(4, 1, TIME, f"SET {LOW} 2"),
        ]
        self.folder.log(1, self.whole, StoredState(1, 1, 1, 1))

    def execution(self, first: Descriptor) -> Execution:
        """Put the commands of a region together."""
        rows = self.folder.rows
        keyspace = Keyspace(rows, VALUE_TYPES, budget=1 << 30, region=first.region, slots=first.slots)
        return Execution(keyspace, TABLE, start_id=1, random=Random(1), defect=self.fail_with)

    def fail_with(self, name: str, problem: BaseException) -> None:
        """Let nothing fail."""
        raise AssertionError(name) from problem

    def start(self) -> dict[int, tuple[Recovered, Execution]]:
        """Start the store."""
        known = begun_regions(list(self.folder.rows.scan("region", b"descriptor", b"descriptos")), [THREE])
        found = recover_regions(self.folder, known, self.execution, 1)
        return {recovered.descriptor.region: (recovered, execution) for execution, recovered in found}

    def test_before_the_part_has_promised_anything(self) -> None:
        """Then it isn't known to be decided, and waits for the leader's word."""
        found = self.start()
        self.assertEqual(list(found), [1])
        self.assertEqual((found[1][0].applied.index, found[1][0].descriptor.slots), (1, (0, SLOTS)))

    def test_when_the_log_of_the_part_has_begun(self) -> None:
        """It was done here before, so it was decided; what comes behind it may not be."""
        self.folder.log(PART, [], StoredState(1, FIRST_TERM, 0, FIRST_INDEX), (FIRST_INDEX, FIRST_TERM))
        found = self.start()
        whole, part = found[1][0], found[PART][0]
        self.assertEqual((whole.applied.index, whole.hard_state.commit), (3, 3))
        self.assertEqual((whole.descriptor.slots, part.descriptor.slots), ((0, MIDDLE), (MIDDLE, SLOTS)))
        self.assertEqual((part.peer, part.hard_state), (1, HardState(FIRST_TERM, 0, FIRST_INDEX)))
        self.assertEqual(found[1][1].keyspace.databases[0].string(LOW.encode()), b"1")

    def test_when_the_part_has_voted_and_written(self) -> None:
        """Its vote and all of its log stay, and as much as is known to be decided is done."""
        log = [Entry(6, 7, b""), entry(7, 7, TIME, f"SET {HIGH} 2"), entry(8, 7, TIME, f"SET {HIGH} 3")]
        self.folder.log(PART, log, StoredState(1, 8, 3, 7), (FIRST_INDEX, FIRST_TERM))
        part, execution = self.start()[PART]
        self.assertEqual(part.hard_state, HardState(8, 3, 7))
        self.assertEqual((part.applied.index, part.applied.term), (7, 7))
        self.assertEqual(execution.keyspace.databases[0].string(HIGH.encode()), b"2")

    def test_a_part_of_a_part(self) -> None:
        """Each is found in the log of the one that it was cut off."""
        again = Split(2, 1, (Cut(MIDDLE + 1, LATER, (1, 2, 3)),))
        log = [Entry(6, 7, b""), splitting(7, again)]
        self.folder.log(PART, log, StoredState(1, 7, 3, 6), (FIRST_INDEX, FIRST_TERM))
        self.folder.log(LATER, [Entry(6, 9, b"")], StoredState(1, 9, 2, 5), (FIRST_INDEX, FIRST_TERM))
        found = self.start()
        self.assertEqual(found[PART][0].applied.index, 7)
        self.assertEqual(found[LATER][0].hard_state, HardState(9, 2, FIRST_INDEX))
        self.assertEqual(found[LATER][0].descriptor.slots, (MIDDLE + 1, SLOTS))

    def test_one_that_did_nothing_before(self) -> None:
        """The same ids may have been proposed for an epoch that was over."""
        self.folder.logs[1].insert(2, splitting(3, SPLIT._replace(version=7)))
        self.folder.logs[1][3:] = [splitting(4, SPLIT), entry(5, 1, TIME, f"SET {LOW} 2")]
        self.folder.log(PART, [], StoredState(1, FIRST_TERM, 0, FIRST_INDEX), (FIRST_INDEX, FIRST_TERM))
        found = self.start()
        self.assertEqual(found[1][0].applied.index, 4)
        self.assertIn(PART, found)

    def test_when_data_db_has_it(self) -> None:
        """Then nothing has to be concluded from the part's log."""
        now, (part,) = parts_of(THREE, SPLIT)
        for descriptor, state in ((now, ApplyState(3, 1, TIME)), (part, ApplyState(FIRST_INDEX, FIRST_TERM, TIME))):
            self.folder.rows.put("region", descriptor_key(descriptor.region), descriptor.encode())
            self.folder.rows.put("region", apply_key(descriptor.region), state.encode())
        self.folder.log(PART, [Entry(6, 7, b"")], StoredState(1, 7, 3, 5), (FIRST_INDEX, FIRST_TERM))
        found = self.start()
        self.assertEqual((found[1][0].applied.index, found[PART][0].applied.index), (3, FIRST_INDEX))
        self.assertEqual(found[PART][0].hard_state, HardState(7, 3, FIRST_INDEX))

    def test_a_peer_that_was_removed(self) -> None:
        """No part has a peer here, so it stays in one piece until it's destroyed."""
        gone = replace(THREE, stores={2: 2, 3: 3}, membership=Membership((2, 3)), removed=(1,))
        self.folder.rows.put("region", descriptor_key(1), gone.encode())
        self.folder.states[1] = StoredState(1, 1, 1, 4)
        found = self.start()
        self.assertEqual(list(found), [1])
        self.assertEqual((found[1][0].applied.index, found[1][0].descriptor.slots), (4, (0, SLOTS)))

    def test_what_a_destroyed_peer_has_promised(self) -> None:
        """It's looked at, and so deleted, even where nothing else is left of its region."""
        self.folder.rows.put("region", tombstone_key(PART), encode_tombstone(4))
        self.folder.log(PART, [Entry(6, 7, b"")], StoredState(4, 7, 3, 5), (FIRST_INDEX + 3, 7))
        self.start()
        self.assertIn(PART, self.folder.recovered)


class WordTests(SynchronousTestCase):
    """A region begins by its leader's word."""

    def test_of_which_nothing_is_known(self) -> None:
        found = begun_by_word(THREE, None, 0, 4)
        assert found is not None
        self.assertEqual((found.peer, found.buried, found.hard_state), (0, 4, HardState(0, 0, 0)))
        self.assertEqual((found.descriptor.stores, found.descriptor.next_peer), ({}, 1))
        self.assertEqual((found.descriptor.slots, found.descriptor.version), (THREE.slots, THREE.version))

    def test_one_that_has_promised_something(self) -> None:
        """It ended before it got a copy, and is the same peer still."""
        found = begun_by_word(THREE, StoredState(3, 8, 2, 0), 0, 0)
        assert found is not None
        self.assertEqual((found.peer, found.hard_state), (3, HardState(8, 2, 0)))

    def test_one_that_has_a_log(self) -> None:
        """It has had rows, without which it would be another peer."""
        self.assertIsNone(begun_by_word(THREE, StoredState(3, 8, 2, 0), 6, 0))
