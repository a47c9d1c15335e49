"""The log over a disk whose writes end late, against a slow and obvious twin."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from tests.raft.disk import Disk
from tinykv.errors import Damaged
from tinykv.raft.group import Ready
from tinykv.raft.log import Compacted, RaftLog
from tinykv.raft.membership import Membership
from tinykv.raft.messages import NORMAL, Entry, SnapshotMeta

GROUP = Membership((1, 2, 3))


def entry(index: int, term: int) -> Entry:
    """Make an entry with as many bytes as its term."""
    return Entry(index, term, NORMAL, b"x" * term)


class LogMachine(RuleBasedStateMachine):
    """
    A log, and a twin: all terms that were ever appended, in one list, and what the disk has after each write.

    @ivar terms: The terms of the log from index 1 on, those that were cut off included.
    @ivar disk: What is durable, done in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.disk = Disk(GROUP)
        self.log = RaftLog(self.disk, 0, 0)
        self.terms: list[int] = []
        self.term = 1
        self.number = 0
        self.promised = 0

    @property
    def last(self) -> int:
        return len(self.terms)

    @rule(count=st.integers(1, 3))
    def append(self, count: int) -> None:
        """A leader's own entries."""
        self.log.append([entry(self.last + place, self.term) for place in range(1, count + 1)])
        self.terms += [self.term] * count

    @rule(newer=st.integers(0, 2), back=st.integers(0, 5), count=st.integers(0, 3))
    def merge(self, newer: int, back: int, count: int) -> None:
        """A leader's entries for a follower: some are there already, some conflict with what isn't committed."""
        self.term += newer
        index = max(self.log.committed, self.last - back)
        previous = self.terms[index - 1] if index else 0
        new = tuple(entry(index + place, self.term) for place in range(1, count + 1))
        self.assert_equal(self.log.merge(index, previous, new), index + count)
        for place, (_, term, _, _) in enumerate(new, index):
            if place >= self.last or self.terms[place] != term:
                self.terms[place:] = [term for _, term, _, _ in new[place - index :]]
                break

    @rule(beyond=st.integers(1, 3))
    def mismatch(self, beyond: int) -> None:
        """What the log doesn't have is no place to append at."""
        self.assert_equal(self.log.merge(self.last + beyond, self.term, ()), None)
        if self.last > self.log.committed:
            self.assert_equal(self.log.merge(self.last, self.terms[-1] + 1, ()), None)

    @precondition(lambda self: self.log.committed < self.last)
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(self.log.committed, self.last))
        before = self.log.committed
        self.assert_equal(self.log.commit_to(index), index > before)

    @rule()
    def write(self) -> None:
        """Something begins to be written."""
        snapshot, entries = self.log.take_unwritten()
        if snapshot is not None or entries:
            self.number += 1
            self.log.begin_write(self.number)
            self.disk.begin(Ready(self.number, None, snapshot, entries, [], [], (), [], []))

    @precondition(lambda self: self.disk.pending)
    @rule()
    def finish(self) -> None:
        """The oldest write is durable."""
        number, _ = self.disk.finish()
        self.log.finish_write(number)

    @rule(size=st.integers(1, 9))
    def hand_out(self, size: int) -> None:
        """Entries are handed out to be applied."""
        before = self.log.handed
        found = self.log.take_appliable(size, self.log.committed)
        self.assert_equal([one.term for one in found], self.terms[before : before + len(found)])

    @precondition(lambda self: self.log.applied < self.log.handed)
    @rule(data=st.data())
    def apply(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(self.log.applied, self.log.handed))
        self.log.applied_to(index)
        self.disk.apply(self.log.applied, GROUP)

    @precondition(lambda self: self.log.snapshot is None and self.disk.base[0] < self.disk.applied)
    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        self.disk.compact(data.draw(st.integers(self.disk.base[0], self.disk.applied)))

    @rule(beyond=st.integers(1, 4))
    def restore(self, beyond: int) -> None:
        """A snapshot takes the log's place."""
        index = self.last + beyond
        self.term += 1
        self.terms += [self.term] * beyond
        self.log.restore(SnapshotMeta(index, self.term, GROUP))

    @rule()
    def crash(self) -> None:
        """What isn't durable is lost, and nothing that was said to be durable."""
        self.disk.crash()
        stable = self.log.stable
        self.log = RaftLog(self.disk, self.disk.applied, self.disk.applied)
        assert self.log.last >= stable or self.disk.base[0] >= stable
        last = self.log.last
        durable = [one.term for one in self.disk.log]
        assert durable[: max(0, stable - self.disk.base[0])] == self.terms[self.disk.base[0] : stable]
        self.terms[last:] = []
        self.terms[self.disk.base[0] :] = durable
        self.term = max(self.term, *self.terms, 1)

    @rule(data=st.data(), size=st.integers(1, 9))
    def read(self, data: st.DataObject, size: int) -> None:
        """Entries from memory, from disk, or from both: at least one, and not more bytes than allowed otherwise."""
        if not self.last:
            return
        low = data.draw(st.integers(1, self.last))
        high = data.draw(st.integers(low + 1, self.last + 1))
        try:
            found, total = self.log.entries(low, high, size)
        except Compacted:
            assert low <= max(self.disk.base[0], self.log.snapshot.index if self.log.snapshot else 0)
            return
        terms = self.terms[low - 1 : high - 1][: len(found)]
        self.assert_equal([(one.index, one.term) for one in found], list(enumerate(terms, low)))
        self.assert_equal(total, sum(terms))
        assert found and (total <= size or len(found) == 1)

    @rule(index=st.integers(0, 30), term=st.integers(0, 9))
    def last_not_beyond(self, index: int, term: int) -> None:
        """The last entry up to an index whose term is no greater; the term is unknown if that was cut off."""
        place = min(index, self.last)
        while place and self.terms[place - 1] > term and self.has(place):
            place -= 1
        found, found_term = self.log.last_not_beyond(index, term)
        self.assert_equal(found, place)
        self.assert_equal(found_term, self.terms[place - 1] if place and self.has(place) else 0)

    def has(self, index: int) -> bool:
        """Tell whether the log knows an entry's term."""
        try:
            self.log.term(index)
        except Compacted:
            return False
        return True

    def assert_equal(self, one: object, other: object) -> None:
        assert one == other, (one, other)

    @invariant()
    def agrees(self) -> None:
        """The log is what the twin says, and its indexes are in order."""
        log = self.log
        assert log.last == self.last
        assert log.last_term == (self.terms[-1] if self.terms else 0)
        assert log.applied <= log.handed <= log.stable <= log.last
        assert log.applied <= log.committed <= log.last
        assert log.stable <= log.written
        for index in range(log.applied, log.last + 1):
            if self.has(index):
                assert log.term(index) == (self.terms[index - 1] if index else 0)

    @invariant()
    def stable_is_durable(self) -> None:
        """What is said to be durable is on the disk, and no write on its way takes it back."""
        stable = self.log.stable
        for ready in self.disk.pending:
            if ready.entries and ready.snapshot is None:
                assert ready.entries[0].index > stable or self.log.snapshot is not None
        if self.log.snapshot is None:
            base = self.disk.base[0]
            assert [one.term for one in self.disk.log[: max(0, stable - base)]] == self.terms[base:stable]


class LogMachineTests(SynchronousTestCase):
    """Any sequence of what can happen to a log."""

    def test_anything(self) -> None:
        run_state_machine_as_test(LogMachine, settings=settings(stateful_step_count=40))


class LogTests(SynchronousTestCase):
    """What no sequence of right steps shows."""

    def test_committed_beyond_the_end(self) -> None:
        log = RaftLog(Disk(GROUP), 0, 0)
        log.append([entry(1, 1)])
        log.commit_to(1)
        self.assertRaises(Damaged, log.commit_to, 2)

    def test_committed_entries_stay(self) -> None:
        log = RaftLog(Disk(GROUP), 0, 0)
        log.append([entry(1, 1), entry(2, 1)])
        log.commit_to(1)
        self.assertRaises(Damaged, log.merge, 0, 0, (entry(1, 2),))
        self.assertEqual(log.merge(1, 1, (entry(2, 2),)), 2)

    def test_only_what_was_handed_out_is_applied(self) -> None:
        log = RaftLog(Disk(GROUP), 0, 0)
        log.append([entry(1, 1)])
        log.commit_to(1)
        self.assertEqual(log.take_appliable(9, 99), ())
        self.assertRaises(AssertionError, log.applied_to, 1)

    def test_no_second_snapshot_while_one_is_installed(self) -> None:
        disk = Disk(GROUP)
        disk.offered = SnapshotMeta(1, 1, GROUP)
        log = RaftLog(disk, 0, 0)
        self.assertEqual(log.newest_snapshot(), disk.offered)
        log.restore(SnapshotMeta(5, 1, GROUP))
        self.assertIsNone(log.newest_snapshot())
