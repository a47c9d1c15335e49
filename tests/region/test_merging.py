"""Tests of L{tinykv.region.merging} and of what is left of a region that was merged."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.errors import Damaged
from tinykv.keys import RAW_PREFIX, SLOTS, slots_range
from tinykv.raft.membership import Membership
from tinykv.raft.messages import CHANGE, NORMAL, Entry
from tinykv.region.descriptor import Descriptor
from tinykv.region.merging import (
    BYTES_MAX,
    ENTRIES_MAX,
    CommitMerge,
    Merging,
    PrepareMerge,
    Record,
    RefuseMerge,
    adjacent,
    decode_rollback,
    encode_rollback,
    merged,
    prepared,
    record_key,
    recorded,
    records,
    refused,
    rolled_back,
    why_not,
    why_not_with,
)
from tinykv.region.tombstone import NO_PEER, decode_merged, decode_tombstone, encode_merged, encode_tombstone

LEFT, MIDDLE, RIGHT = Descriptor.initial_regions(3, [1, 2, 3])
NUMBERS = st.integers(0, (1 << 64) - 1)


class RangeTests(SynchronousTestCase):
    """What becomes of the two."""

    def test_into_either_neighbour(self) -> None:
        for target, source, slots in (
            (LEFT, MIDDLE, (0, RIGHT.slots[0])),
            (MIDDLE, LEFT, (0, RIGHT.slots[0])),
            (MIDDLE, RIGHT, (MIDDLE.slots[0], SLOTS)),
            (RIGHT, MIDDLE, (MIDDLE.slots[0], SLOTS)),
        ):
            now = merged(target, source)
            self.assertEqual(now.slots, slots)
            self.assertEqual((now.region, now.stores, now.conf_ver), (target.region, target.stores, target.conf_ver))

    def test_the_version_is_later_than_both(self) -> None:
        self.assertEqual(merged(replace(LEFT, version=3), replace(MIDDLE, version=9)).version, 10)
        self.assertEqual(merged(replace(LEFT, version=9), replace(MIDDLE, version=3)).version, 10)

    def test_two_are_all(self) -> None:
        left, right = Descriptor.initial_regions(2, [1])
        self.assertTrue(adjacent(left, right) and adjacent(right, left))
        for now in (merged(left, right), merged(right, left)):
            self.assertEqual((now.start, now.end), (b"", b""))

    @given(st.integers(1, SLOTS - 2), st.data())
    def test_neighbours(self, first: int, data: st.DataObject) -> None:
        """Whatever is cut at two places: the outer ones aren't neighbours."""
        second = data.draw(st.integers(first + 1, SLOTS - 1))
        borders = [b"", slots_range((first, 0))[0], slots_range((second, 0))[0], b""]
        three = [replace(LEFT, region=place + 1, start=borders[place], end=borders[place + 1]) for place in range(3)]
        self.assertTrue(adjacent(three[0], three[1]) and adjacent(three[2], three[1]))
        self.assertFalse(adjacent(three[0], three[2]) or adjacent(three[2], three[0]))


class RefusalTests(SynchronousTestCase):
    """Which regions can't be merged, and what is said."""

    def refused(self, source: Descriptor, target: Descriptor, word: str) -> None:
        """See that it is."""
        self.assertIn(word, why_not(source, target) or "")
        self.assertIn(word, why_not(target, source) or "")

    def test_fit_ones(self) -> None:
        self.assertIsNone(why_not(LEFT, MIDDLE))
        self.assertIsNone(why_not(MIDDLE, LEFT))

    def test_others(self) -> None:
        self.refused(LEFT, LEFT, "itself")
        self.refused(LEFT, RIGHT, "neighbours")
        raw = replace(RIGHT, region=9, start=RAW_PREFIX)
        self.refused(replace(RIGHT, end=RAW_PREFIX), raw, "kinds")

    def test_members(self) -> None:
        voters = replace(MIDDLE, stores={1: 1, 2: 2, 3: 4})
        self.refused(LEFT, voters, "on stores 1, 2, 4")
        self.refused(LEFT, replace(MIDDLE, stores={1: 1, 2: 2}, membership=Membership((1, 2))), "on stores 1, 2")
        learner = replace(MIDDLE, stores={**MIDDLE.stores, 4: 4}, membership=Membership((1, 2, 3), (4,)))
        self.refused(LEFT, learner, "learner")
        joint = replace(MIDDLE, membership=Membership((1, 2), (), (1, 2, 3)))
        self.refused(LEFT, joint, "isn't done")
        leaving = replace(MIDDLE, membership=Membership((1, 2), (), (1, 2, 3), (3,)))
        self.refused(LEFT, leaving, "isn't done")

    def test_peers_have_other_numbers(self) -> None:
        """It's about stores."""
        other = replace(MIDDLE, stores={7: 3, 8: 1, 9: 2}, membership=Membership((7, 8, 9)))
        self.assertIsNone(why_not(LEFT, other))

    def test_what_some_lack(self) -> None:
        plain = Entry(5, 1, NORMAL, b"x")
        self.assertIsNone(why_not_with([plain], BYTES_MAX, ENTRIES_MAX))
        self.assertIn("lags", why_not_with([plain], BYTES_MAX + 1, 1) or "")
        self.assertIn("lags", why_not_with([plain], 1, ENTRIES_MAX + 1) or "")
        self.assertIn("change", why_not_with([plain, Entry(6, 1, CHANGE, b"x")], 2, 2) or "")


class EpochTests(SynchronousTestCase):
    """What is meant for another epoch does nothing."""

    def test_prepare(self) -> None:
        wanted = PrepareMerge(LEFT.version, LEFT.conf_ver, 2, 5, 6, 17)
        found = prepared(LEFT, wanted, 20)
        assert found is not None
        now, state = found
        self.assertEqual((now.version, now.conf_ver), (LEFT.version + 1, LEFT.conf_ver + 1))
        self.assertEqual(state, Merging(2, 5, 6, 17, 20))
        self.assertIsNone(prepared(now, wanted, 21))
        self.assertEqual(rolled_back(now).version, now.version + 1)
        self.assertEqual(rolled_back(now).slots, LEFT.slots)

    def test_the_target(self) -> None:
        state = Merging(MIDDLE.region, 5, 6, 17, 20)
        for version, conf_ver, at, past in (
            (5, 6, True, False), (4, 6, False, False), (5, 5, False, False), (6, 6, False, True), (5, 7, False, True),
            (6, 7, False, True),
        ):  # fmt: skip
            target = replace(MIDDLE, version=version, conf_ver=conf_ver)
            self.assertEqual((state.is_at(target), state.is_past(target.version, target.conf_ver)), (at, past))
            self.assertEqual(CommitMerge(5, 6, 1, (Entry(20, 1, NORMAL, b""),)).is_for(target), at)


class FormTests(SynchronousTestCase):
    """As they are in the log, and in the rows."""

    @given(st.lists(NUMBERS, min_size=6, max_size=6))
    def test_prepare(self, numbers: list[int]) -> None:
        wanted = PrepareMerge(*numbers)
        self.assertEqual(PrepareMerge.decode(wanted.encode()), wanted)

    @given(st.lists(NUMBERS, min_size=5, max_size=5))
    def test_state(self, numbers: list[int]) -> None:
        state = Merging(*numbers)
        self.assertEqual(Merging.decode(state.encode()), state)
        self.assertRaises(Damaged, Merging.decode, state.encode()[:-1])

    @given(NUMBERS, st.lists(st.tuples(NUMBERS, st.sampled_from((NORMAL, CHANGE)), st.binary()), min_size=1))
    def test_commit(self, region: int, drawn: list[tuple[int, int, bytes]]) -> None:
        # Data of the host begins with the number of its format.
        entries = tuple(
            Entry(index, term, kind, data if kind == CHANGE or not data else b"\x01" + data)
            for index, (term, kind, data) in enumerate(drawn, 7)
        )
        commit = CommitMerge(1, 2, region, entries)
        self.assertEqual(CommitMerge.decode(commit.encode()), commit)
        self.assertEqual(commit.at, 6 + len(entries))

    def test_rollback(self) -> None:
        self.assertEqual(decode_rollback(encode_rollback(77)), 77)

    @given(NUMBERS, NUMBERS)
    def test_records(self, target: int, source: int) -> None:
        key = record_key(target, source)
        first, end = records(target)
        self.assertTrue(first <= key < end)
        self.assertEqual(recorded(key), source)

    def test_a_refusal(self) -> None:
        refuse = RefuseMerge(LEFT.version, LEFT.conf_ver)
        self.assertEqual(RefuseMerge.decode(refuse.encode()), refuse)
        now = refused(LEFT, refuse)
        self.assertEqual((now.version, now.conf_ver, now.slots), (LEFT.version + 1, LEFT.conf_ver, LEFT.slots))
        self.assertIs(refused(now, refuse), now)

    def test_a_record(self) -> None:
        row = Record(77, 2, LEFT).encode()
        self.assertEqual(Record.decode(LEFT.region, row), (77, 2, LEFT))
        for broken in (row[:7], row[:8], row[:20]):
            self.assertRaises(Damaged, Record.decode, LEFT.region, broken)


class TombstoneTests(SynchronousTestCase):
    """What is left of a region that was merged."""

    def test_no_peer_comes_again(self) -> None:
        row = encode_merged(7, LEFT)
        self.assertEqual(decode_tombstone(row), NO_PEER)
        self.assertEqual(decode_merged(LEFT.region, row), (7, LEFT))

    def test_one_of_a_peer(self) -> None:
        row = encode_tombstone(5)
        self.assertEqual((decode_tombstone(row), decode_tombstone(None)), (5, 0))
        self.assertIsNone(decode_merged(1, row))
        self.assertIsNone(decode_merged(1, None))

    def test_damaged_ones(self) -> None:
        row = encode_merged(7, LEFT)
        for broken in (row[:7], row[:8], row[:12], row[:20], b"\0" * 9):
            self.assertRaises(Damaged, decode_merged, 1, broken)
