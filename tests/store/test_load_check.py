"""Regions that have too much to do are found, sampled and split where both parts do about the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.store.checks import CheckCase, LookedAt
from tests.store.hosted import Asker, Hosted
from tinykv.errors import ControlRefused
from tinykv.keys import SLOTS, slot_of
from tinykv.redis.operations import COMMANDS, EXEC, INTERNAL, LOCAL, NOBODY, READ, Operation, lookup
from tinykv.region.cuts import LIGHTER_PART, load_cut
from tinykv.store.batches import Batch
from tinykv.store.load_check import LOOKS_LEAST, SAMPLE_SECONDS, SAMPLES_LEAST, WRITE_COSTS, LoadCheck, some_slot
from tinykv.store.split_check import AGAIN_SECONDS
from tinykv.testing.embedded import TABLE

INTERVAL = 2.0
THRESHOLD = 1000

#: A key of each slot.
KEYS: dict[int, bytes] = {}
for _number in range(200_000):
    KEYS.setdefault(slot_of(b"%d" % _number), b"%d" % _number)


def write(slot: int) -> Operation:
    """Give a write to a slot."""
    arguments = [b"SET", KEYS[slot], b"1"]
    return (COMMANDS, NOBODY, 0, 0, lookup(arguments, TABLE), arguments, None)


class Execution:
    """As much of where commands run as is looked at."""

    def __init__(self) -> None:
        self.reads = 0
        self.sampling = False
        self.sampled: Any = None

    def read(self, slot: int) -> None:
        """Read a key of a slot."""
        self.reads += 1
        if self.sampling:
            arguments = [b"GET", KEYS[slot]]
            self.sampled = (lookup(arguments, TABLE), arguments)


class Keyspace:
    """And of the keys."""

    sequence = 0


class Queue:
    """And of what is being written."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []


class Region(LookedAt):
    """A region."""

    def __init__(self, number: int, first: int = 0, end: int = SLOTS) -> None:
        super().__init__(number, first, end)
        self.queue = Queue()
        self.execution = Execution()
        self.keyspace: Any = Keyspace()

    def write(self, *slots: int) -> None:
        """Write keys of slots, in one entry that isn't applied yet."""
        self.keyspace.sequence += len(slots)
        self.queue.batches = [Batch(1, True, [write(slot) for slot in slots], 0, 0, 1, 0.0)]


class Case(CheckCase):
    """A store of one region, at first."""

    def setUp(self) -> None:
        super().setUp()
        self.random = Random(1)
        self.regions = [Region(1)]
        self.check = LoadCheck(
            regions=lambda: self.regions,
            split=self._split,
            clock=self.clock,
            random=Random(2),
            interval=INTERVAL,
            threshold=THRESHOLD,
        )
        self.check.start()

    def load(self, looks: int, reads: float = 0.0, writes: float = 0.0, slots: Sequence[int] = (1, 9000)) -> None:
        """Have each region read and write so much a second, for so many looks, in slots that are as likely."""
        for _ in range(round(looks * INTERVAL / SAMPLE_SECONDS)):
            for region in self.regions:
                first, end = region.descriptor.slots
                own = [slot for slot in slots if first <= slot < end]
                region.execution.reads += round(reads * SAMPLE_SECONDS) - 1 if own and reads else 0
                if own and reads:
                    region.execution.read(self.random.choice(own))
                if own and writes:
                    region.write(*self.random.choices(own, k=round(writes * SAMPLE_SECONDS)))
            self.clock.advance(SAMPLE_SECONDS)


class WhenTests(Case):
    """When a region is split."""

    def test_much_is_read(self) -> None:
        """The first look has nothing to compare with; then it takes some in a row."""
        self.load(LOOKS_LEAST, reads=2000)
        self.assertEqual(self.split, [])
        self.load(2, reads=2000)
        ((region, slots, _),) = self.split
        self.assertEqual(region, 1)
        self.assertTrue(1 < slots[0] <= 9000, slots)

    def test_much_is_written(self) -> None:
        self.load(LOOKS_LEAST + 2, writes=1000)
        self.assertEqual(len(self.split), 1)

    def test_just_not_too_much(self) -> None:
        (region,) = self.regions
        self.clock.advance(INTERVAL)
        at_most = round(THRESHOLD * INTERVAL)
        for reads, writes, much in (
            (at_most, 0, False),
            (at_most + 1, 0, True),
            (0, at_most // WRITE_COSTS, False),
            (1, at_most // WRITE_COSTS, True),
        ):
            region.execution.reads += reads
            region.keyspace.sequence += writes
            self.clock.advance(INTERVAL)
            self.assertEqual(region.execution.sampling, much, (reads, writes))

    def test_another_threshold(self) -> None:
        self.load(LOOKS_LEAST + 2, reads=THRESHOLD - 100)
        self.assertFalse(self.regions[0].execution.sampling)
        self.check.threshold = THRESHOLD - 200
        self.load(1, reads=THRESHOLD - 100)
        self.assertTrue(self.regions[0].execution.sampling)

    def test_a_short_while(self) -> None:
        for _ in range(5):
            self.load(LOOKS_LEAST - 1, reads=5000)
            self.load(2)
        self.assertEqual(self.split, [])

    def test_only_where_it_leads(self) -> None:
        self.regions[0].ready = False
        self.load(10, writes=5000)
        self.assertEqual(self.split, [])
        self.assertFalse(self.regions[0].execution.sampling)

    def test_it_leads_no_more(self) -> None:
        self.load(LOOKS_LEAST, reads=5000)
        self.assertTrue(self.regions[0].execution.sampling)
        self.regions[0].ready = False
        self.load(1, reads=5000)
        self.assertFalse(self.regions[0].execution.sampling)
        self.assertIsNone(self.regions[0].execution.sampled)

    def test_too_few_samples(self) -> None:
        """Such as where commands name no keys: nothing says where to cut."""
        (region,) = self.regions
        for _ in range(10):
            region.execution.reads += 100_000
            self.clock.advance(INTERVAL)
        self.assertEqual(self.split, [])

    def test_at_the_least_samples(self) -> None:
        (region,) = self.regions
        for most, splits in ((SAMPLES_LEAST - 1, 0), (1, 1)):
            for _ in range(LOOKS_LEAST + 1):
                region.execution.reads += 100_000
                self.clock.advance(INTERVAL)
            for number in range(most):
                region.execution.read(number % 2 * 100)
                self.clock.advance(SAMPLE_SECONDS)
            for _ in range(2):
                region.execution.reads += 100_000
                self.clock.advance(INTERVAL)
            self.assertEqual(len(self.split), splits)

    def test_another_range(self) -> None:
        """What was sampled says nothing of it."""
        self.load(LOOKS_LEAST, reads=5000)
        self.regions[0].descriptor = Region(1, 0, 9500).descriptor
        self.load(LOOKS_LEAST, reads=5000)
        self.assertEqual(self.split, [])
        self.load(2, reads=5000)
        self.assertEqual(len(self.split), 1)

    def test_a_region_that_goes(self) -> None:
        (region,) = self.regions
        self.load(LOOKS_LEAST, reads=5000)
        self.regions = []
        self.load(1)
        self.assertFalse(region.execution.sampling)
        self.check.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_is_sampled_of_the_others(self) -> None:
        self.regions = [Region(1, 0, 100), Region(2, 100)]
        self.load(LOOKS_LEAST, reads=5000, slots=(1, 2))
        self.assertEqual([region.execution.sampling for region in self.regions], [True, False])

    def test_the_end(self) -> None:
        self.load(LOOKS_LEAST + 2, reads=5000)
        self.assertEqual(len(self.split), 1)
        self.check.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.warnings, [])


class OutcomeTests(Case):
    """What becomes of it."""

    def test_parts_are_split_further(self) -> None:
        self.load(LOOKS_LEAST + 2, reads=5000, slots=(1, 5000, 9000, 13000))
        _, (cut,), asked = self.split[0]
        self.regions = [Region(1, 0, cut), Region(2, cut)]
        asked.callback([])
        self.assertEqual(self.check.splits, 1)
        self.load(LOOKS_LEAST + 2, reads=2500, slots=(1, 5000, 9000, 13000))
        self.assertEqual([region for region, *_ in self.split[1:]], [1, 2])

    def test_one_slot_has_it_all(self) -> None:
        """That's said once, however often it's seen."""
        self.load(LOOKS_LEAST + 2, reads=5000, slots=(5, 5, 5, 5, 5, 5, 5, 5, 5, 77))
        self.assertEqual(self.split, [])
        (warning,) = self.warnings
        self.assertEqual((warning["region"], warning["slot"]), (1, 5))
        self.assertTrue(80 <= warning["part"] <= 100, warning["part"])
        self.assertFalse(self.regions[0].execution.sampling)
        self.load(round(2 * AGAIN_SECONDS / INTERVAL), reads=5000, slots=(5,))
        self.assertEqual(len(self.warnings), 1)

    def test_it_is_refused(self) -> None:
        self.load(LOOKS_LEAST + 2, reads=5000)
        self.split[0][2].errback(ControlRefused("the scheduler gives no ids"))
        self.assertIn("gives no ids", self.warnings[0]["why"])
        self.load(round(AGAIN_SECONDS / INTERVAL) - 2, reads=5000)
        self.assertEqual(len(self.split), 1)
        self.load(LOOKS_LEAST + 3, reads=5000)
        self.assertEqual(len(self.split), 2)

    def test_a_defect(self) -> None:
        self.load(LOOKS_LEAST + 2, reads=5000)
        self.split[0][2].errback(ValueError("a defect"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_reads_and_writes_weigh_what_they_cost(self) -> None:
        """As many reads in slot 1 as writes in slot 2 and in slot 3: cut behind the first, or before the last."""
        region = self.regions[0]
        for _ in range(round((LOOKS_LEAST + 2) * INTERVAL / SAMPLE_SECONDS)):
            region.execution.reads += 59
            region.execution.read(1)
            region.write(*[2] * 30, *[3] * 30)
            self.clock.advance(SAMPLE_SECONDS)
        ((_, slots, _),) = self.split
        self.assertIn(slots, ([2], [3]))

    def test_zipf(self) -> None:
        """
        A simulated store whose keys are asked for by Zipf's law: its regions are split until none does too much, but
        those of a single slot; each cut is of use, and they come to an end.
        """
        slots = Random(3).sample(range(SLOTS), 300)
        shares = list(accumulate(1 / rank**0.9 for rank in range(1, len(slots) + 1)))
        total = 4 * THRESHOLD
        regions = self.regions
        calm = 0
        while calm < LOOKS_LEAST + 2:
            calm += 1
            for _ in range(round(INTERVAL / SAMPLE_SECONDS)):
                drawn = Counter(self.random.choices(slots, cum_weights=shares, k=round(total * SAMPLE_SECONDS)))
                for slot, count in drawn.items():
                    region = next(
                        each for each in regions if each.descriptor.slots[0] <= slot < each.descriptor.slots[1]
                    )
                    region.execution.reads += count - 1
                    region.execution.read(slot)
                self.clock.advance(SAMPLE_SECONDS)
            for number, (cut,), asked in self.split:
                region = next(each for each in regions if each.descriptor.region == number)
                first, end = region.descriptor.slots
                part = Region(100 + len(regions), cut, end)
                region.descriptor = Region(number, first, cut).descriptor
                regions.append(part)
                asked.callback([])
                calm = 0
            self.split.clear()
        weights = {slot: after - before for slot, after, before in zip(slots, shares, [0.0, *shares], strict=False)}
        for region in regions:
            first, end = region.descriptor.slots
            within = [weight for slot, weight in weights.items() if first <= slot < end]
            load = total * sum(within) / shares[-1]
            # Samples may be wrong by some.
            self.assertTrue(load <= 1.1 * THRESHOLD or max(within) >= 0.6 * sum(within), (first, end, load))
        self.assertTrue(4 < len(regions) < 16, len(regions))


class CutTests(SynchronousTestCase):
    """Where a region is cut."""

    def test_halves(self) -> None:
        self.assertEqual(load_cut({1: 10, 2: 10, 3: 10, 4: 10}, (0, 100)), 3)
        self.assertEqual(load_cut({1: 12, 50: 30, 99: 10}, (0, 100)), 50)
        self.assertEqual(load_cut({1: 10, 50: 30, 99: 12}, (0, 100)), 51)

    def test_what_cannot_be_cut(self) -> None:
        self.assertIsNone(load_cut({5: 10}, (5, 6)))
        self.assertIsNone(load_cut({5: 10}, (0, 100)))
        self.assertIsNone(load_cut({}, (0, 100)))

    def test_at_the_limit(self) -> None:
        self.assertEqual(load_cut({5: 7, 6: 1}, (0, 100)), 6)
        self.assertIsNone(load_cut({5: 71, 6: 10}, (0, 100)))

    @given(st.dictionaries(st.integers(10, 40), st.integers(1, 1000), min_size=1))
    def test_against_a_slow_twin(self, weights: dict[int, int]) -> None:
        """The lighter part is as heavy as it can be; none is heavy enough only where one slot makes most."""
        total = sum(weights.values())
        lighter = {
            cut: min(sum(w for slot, w in weights.items() if (slot < cut) is before) for before in (True, False))
            for cut in range(11, 41)
        }
        found = load_cut(weights, (10, 41))
        if found is None:
            self.assertLess(max(lighter.values()), total * LIGHTER_PART)
            self.assertGreater(max(weights.values()), 0.75 * total)
        else:
            self.assertEqual(lighter[found], max(lighter.values()))
            self.assertGreaterEqual(lighter[found], total * LIGHTER_PART)


class SlotTests(SynchronousTestCase):
    """Which slot a command is about."""

    def slots(self, *words: bytes) -> set[int | None]:
        """Give all that may be said of a command."""
        arguments = list(words)
        return {some_slot(lookup(arguments, TABLE), arguments, Random(seed)) for seed in range(20)}

    def test_commands(self) -> None:
        self.assertEqual(self.slots(b"GET", b"a"), {slot_of(b"a")})
        self.assertEqual(self.slots(b"MGET", b"a", b"b"), {slot_of(b"a"), slot_of(b"b")})
        self.assertEqual(self.slots(b"DBSIZE"), {None})
        self.assertEqual(self.slots(b"RAW.PUT", b"default", b"k", b"v"), {None})

    def test_transactions(self) -> None:
        request = [b"GET", b"a"]
        commands = [(0, lookup(request, TABLE), request, None), (0, None, [b"PING"], None)]
        self.assertEqual(some_slot(None, commands, Random(1)), slot_of(b"a"))
        self.assertIsNone(some_slot(None, commands[1:], Random(1)))


class RealTests(SynchronousTestCase):
    """What a real region lets be sampled."""

    def setUp(self) -> None:
        self.hosted = Hosted(self.mktemp())
        self.addCleanup(self.hosted.close)
        self.hosted.settle()

    def test_reads_are_counted_and_sampled(self) -> None:
        hosted, execution = self.hosted, self.hosted.execution
        asker: Asker = hosted.client()
        asker.read("GET a")
        self.assertEqual((execution.reads, execution.sampled), (1, None))
        execution.sampling = True
        asker.read("GET b")
        asker.send("GET c")
        self.assertEqual(execution.sampled, (TABLE["get"], [b"GET", b"b"]))
        hosted.settle()
        self.assertEqual((execution.reads, execution.sampled), (3, (TABLE["get"], [b"GET", b"c"])))

    def test_writes_are_there_to_be_sampled(self) -> None:
        asker: Asker = self.hosted.client()
        before = self.hosted.keyspace.sequence
        asker.send("SET a 1")
        asker.send("SET b 2")
        self.hosted.clock.advance(0)
        (batch,) = self.hosted.host.queue.batches
        kinds = [operation[0] for operation in batch.operations]
        self.assertEqual(kinds, [COMMANDS, COMMANDS])
        self.assertFalse({EXEC, READ, LOCAL, INTERNAL} & set(kinds))
        self.hosted.settle()
        self.assertEqual(self.hosted.keyspace.sequence, before + 2)
