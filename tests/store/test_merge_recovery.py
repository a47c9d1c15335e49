"""A start takes in regions again whose merge isn't in data.db, and finds those that were merged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.store.test_recovery import TIME, entry
from tinykv.errors import Damaged
from tinykv.keys import slot_of
from tinykv.raft.membership import REMOVE, Change, Step
from tinykv.raft.messages import CHANGE
from tinykv.raft.messages import Entry as RaftEntry
from tinykv.raft.stored import entry_of, stored_data
from tinykv.raft.wire import encode_change
from tinykv.redis.commands import VALUE_TYPES
from tinykv.redis.execution import Execution
from tinykv.redis.keyspace import Keyspace
from tinykv.redis.operations import INTERNAL, NOBODY, encode_records
from tinykv.region.descriptor import Descriptor
from tinykv.region.entry import encode_header
from tinykv.region.merging import CommitMerge, PrepareMerge, encode_rollback, merging_key, record_key
from tinykv.region.splitting import Split, own_cuts
from tinykv.region.state import FIRST_INDEX, FIRST_TERM, ApplyState, apply_key
from tinykv.region.tombstone import decode_merged, encode_merged, tombstone_key
from tinykv.storage.folder import Recovery
from tinykv.storage.log import Entry
from tinykv.storage.log import HardState as StoredState
from tinykv.store.recovery import Recovered, recover_regions
from tinykv.testing.embedded import TABLE
from tinykv.testing.memory_rows import MemoryRows

LEFT, RIGHT = Descriptor.initial_regions(2, [1, 2, 3])
#: A key of each.
LOW, HIGH = "b", "a"


def decided(index: int, term: int, *arguments: bytes, time: int = TIME + 7) -> Entry:
    """Make an entry that says what was decided of a region."""
    records = encode_records([(INTERNAL, NOBODY, 0, 0, None, list(arguments), None)], 1)
    return Entry(index, term, b"".join([encode_header(time, index), *records]))


def raft_entries(entries: Sequence[Entry]) -> tuple[RaftEntry, ...]:
    """Give them as the group knows them."""
    return tuple(entry_of(one.index, one.term, one.data) for one in entries)


class Folder:
    """A folder with the logs of several regions, of which data.db knows nothing but what C{rows} say."""

    def __init__(self, logs: dict[int, list[Entry]], commits: dict[int, int], bases: dict[int, int]) -> None:
        self.logs = logs
        self.commits = commits
        self.bases = bases
        self.recovered: list[int] = []

    def promised(self) -> dict[int, int]:
        """Give where their logs begin."""
        return {region: self.bases.get(region, 0) for region in self.logs}

    def recover(self, region: int, row: bytes | None = None) -> Recovery:
        """Say where one stands."""
        self.recovered.append(region)
        state = ApplyState() if row is None else ApplyState.decode(row)
        log = self.logs.get(region, [])
        last = (log[-1].index, log[-1].term) if log else (state.index, state.term)
        commit = max(self.commits.get(region, 0), state.index)
        hard = StoredState(1, max(last[1], FIRST_TERM), 1, commit)
        return Recovery(region, hard, (self.bases.get(region, 0), 0), (state.index, state.term), row, last, commit)

    def entries(self, region: int, after: int) -> Iterator[Entry]:
        """Give the rest of a log."""
        return (one for one in self.logs.get(region, []) if one.index > after)


class MergeRecoveryTests(SynchronousTestCase):
    """The replay of two logs."""

    def setUp(self) -> None:
        """Begin with nothing."""
        self.rows = MemoryRows()
        self.assertLess(slot_of(LOW.encode()), RIGHT.slots[0])
        self.assertGreaterEqual(slot_of(HIGH.encode()), RIGHT.slots[0])

    def execution(self, first: Descriptor) -> Execution:
        """Put the commands of a region over the rows."""
        keyspace = Keyspace(self.rows, VALUE_TYPES, budget=1 << 30, region=first.region, slots=first.slots)
        return Execution(keyspace, TABLE, start_id=1, random=Random(1), defect=self.fail)  # type: ignore[arg-type]  # it fails

    def start(
        self,
        logs: dict[int, list[Entry]],
        commits: dict[int, int],
        bases: dict[int, int] | None = None,
        known: Sequence[Descriptor] = (LEFT, RIGHT),
    ) -> list[tuple[Execution, Recovered]]:
        """Start, and give what there is."""
        self.folder = Folder(logs, commits, bases or {})
        return recover_regions(self.folder, known, self.execution, 1)

    def source_log(self, target: Descriptor = LEFT) -> list[Entry]:
        """Give the log of the right region up to where its service ended."""
        prepare = PrepareMerge(1, 1, target.region, target.version, target.conf_ver, 2)
        return [
            Entry(1, 1, b""),
            entry(2, 1, TIME + 5, f"SET {HIGH} 1"),
            entry(3, 1, TIME + 7, f"APPEND {HIGH} 2"),
            decided(4, 1, *prepare.encode()),
        ]

    def target_log(self, source: list[Entry], first: int) -> list[Entry]:
        """Give the log of the left region, which takes it in; entries from the first on go with it."""
        commit = CommitMerge(1, 1, RIGHT.region, raft_entries([one for one in source if one.index >= first]))
        return [Entry(1, 1, b""), entry(2, 1, TIME, f"SET {LOW} x"), decided(3, 1, *commit.encode(), time=TIME)]

    def check_merged(self, found: list[tuple[Execution, Recovered]]) -> None:
        """See that all is in one region."""
        ((execution, recovered),) = found
        self.assertEqual((recovered.descriptor.region, recovered.descriptor.slots), (LEFT.region, (0, 1 << 14)))
        self.assertEqual(recovered.descriptor.version, 3)
        databases = execution.keyspace.databases
        self.assertEqual(databases[0].string(HIGH.encode()), b"12")
        self.assertEqual(databases[0].string(LOW.encode()), b"x")
        self.assertEqual(recovered.applied.time, TIME + 7)
        self.assertIsNone(self.rows.get("region", apply_key(RIGHT.region)))
        self.assertIsNotNone(self.rows.get("region", record_key(LEFT.region, RIGHT.region)))
        row = self.rows.get("region", tombstone_key(RIGHT.region))
        assert isinstance(row, bytes)
        merged = decode_merged(RIGHT.region, row)
        assert merged is not None
        self.assertEqual((merged[0], merged[1].version), (LEFT.region, 2))

    def test_both_logs_are_whole(self) -> None:
        source = self.source_log()
        self.check_merged(self.start({1: self.target_log(source, 3), 2: source}, {1: 3, 2: 4}))

    def test_the_end_is_in_the_targets_log(self) -> None:
        """This store was told of the source's last entries by its neighbour alone."""
        source = self.source_log()
        self.check_merged(self.start({1: self.target_log(source, 3), 2: source[:2]}, {1: 3, 2: 1}))

    def test_another_end(self) -> None:
        """What was written by a leader that was overruled doesn't count."""
        source = self.source_log()
        other = [*source[:2], entry(3, 1, TIME + 9, f"SET {HIGH} other")]
        self.check_merged(self.start({1: self.target_log(source, 3), 2: other}, {1: 3, 2: 2}))

    def test_it_is_not_known_to_be_decided(self) -> None:
        """Then both live, and the source serves nothing."""
        source = self.source_log()
        found = self.start({1: self.target_log(source, 3), 2: source}, {1: 2, 2: 4})
        self.assertEqual([recovered.descriptor.version for _, recovered in found], [1, 2])
        self.assertIsNotNone(self.rows.get("region", merging_key(RIGHT.region)))

    def test_one_that_is_missing(self) -> None:
        """A store that has lost what it had on disk doesn't start."""
        source = self.source_log()
        self.assertRaises(Damaged, self.start, {1: self.target_log(source, 3), 2: source[:1]}, {1: 3, 2: 1})
        self.assertRaises(Damaged, self.start, {1: self.target_log(source, 3)}, {1: 3}, None, [LEFT])

    def test_rolled_back(self) -> None:
        source = [*self.source_log(), decided(5, 1, *encode_rollback(4))]
        found = self.start({1: [Entry(1, 1, b"")], 2: source}, {1: 1, 2: 5})
        self.assertEqual([recovered.descriptor.version for _, recovered in found], [1, 3])
        self.assertIsNone(self.rows.get("region", merging_key(RIGHT.region)))

    def test_no_change_of_the_members_behind_it(self) -> None:
        change = RaftEntry(5, 1, CHANGE, encode_change(Change((Step(REMOVE, 3),))))
        source = [*self.source_log(), Entry(5, 1, stored_data(change))]
        found = self.start({1: [Entry(1, 1, b"")], 2: source}, {1: 1, 2: 5})
        self.assertEqual(found[1][1].descriptor.stores, RIGHT.stores)
        self.assertEqual(found[1][1].descriptor.conf_ver, 2)

    def test_into_a_part_of_its_own(self) -> None:
        """The region is split, and goes into what was cut off it; its log is replayed as far as that is known."""
        whole = Descriptor.initial(1, [1, 2, 3])
        (cut,) = cuts = own_cuts(whole, (RIGHT.slots[0],))
        split = Split(1, 1, cuts)
        prepare = PrepareMerge(2, 1, cut.region, 2, 1, 3)
        log = [
            Entry(1, 1, b""),
            entry(2, 1, TIME, f"SET {LOW} x", f"SET {HIGH} 1"),
            decided(3, 1, *split.encode()),
            entry(4, 1, TIME + 7, f"SET {LOW} y"),
            decided(5, 1, *prepare.encode()),
        ]
        commit = CommitMerge(2, 1, 1, raft_entries(log[3:]))
        part = [decided(6, FIRST_TERM, *commit.encode())]
        # What was split off has begun here, so the split was decided, whatever the commit index says.
        found = self.start({1: log[:3], cut.region: part}, {1: 1, cut.region: 6}, {cut.region: FIRST_INDEX}, [whole])
        ((execution, recovered),) = found
        self.assertEqual((recovered.descriptor.region, recovered.descriptor.slots), (cut.region, (0, 1 << 14)))
        database = execution.keyspace.databases[0]
        self.assertEqual((database.string(LOW.encode()), database.string(HIGH.encode())), (b"y", b"1"))

    def test_one_that_data_db_knows(self) -> None:
        """What the cluster began with isn't begun again, and what raft.db has of it is looked after."""
        self.rows.put("region", tombstone_key(RIGHT.region), encode_merged(LEFT.region, RIGHT))
        found = self.start({1: [Entry(1, 1, b"")], 2: self.source_log()}, {1: 1, 2: 4})
        self.assertEqual([recovered.descriptor.region for _, recovered in found], [LEFT.region])
        self.assertEqual(self.folder.recovered.count(RIGHT.region), 1)
