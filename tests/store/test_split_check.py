"""Regions that have grown are found, measured and split; nothing is done for the others."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from tests.store.checks import CheckCase, LookedAt
from tinykv.errors import ControlRefused
from tinykv.keys import SLOTS
from tinykv.storage.errors import StorageError
from tinykv.store.split_check import AGAIN_SECONDS, KEYS_LEAST, SplitCheck

INTERVAL = 10.0
MOST, PART = 1500, 1000


class Database:
    """As much of a database as is looked at."""

    keys = 0


class Keyspace:
    """And of all of them."""

    def __init__(self) -> None:
        self.physical = [Database(), Database()]


class Queue:
    """What was applied."""

    bytes = 0


class Region(LookedAt):
    """A region."""

    def __init__(self, number: int, first: int = 0, end: int = SLOTS) -> None:
        super().__init__(number, first, end)
        self.queue = Queue()
        self.keyspace: Any = Keyspace()


class Case(CheckCase):
    """A store of one region, at first."""

    def setUp(self) -> None:
        super().setUp()
        self.regions = [Region(1)]
        self.held: int | StorageError = MOST + 1
        #: What was measured, with what is answered.
        self.measured: list[tuple[tuple[int, int], Deferred[dict[int, int]]]] = []
        self.check = SplitCheck(
            regions=lambda: self.regions,
            held=self._held,
            measure=self._measure,
            split=self._split,
            clock=self.clock,
            interval=INTERVAL,
            max_bytes=MOST,
            part_bytes=PART,
        )
        self.check.start()

    def _held(self) -> int:
        if isinstance(self.held, StorageError):
            raise self.held
        return self.held

    def _measure(self, slots: tuple[int, int]) -> Deferred[dict[int, int]]:
        deferred: Deferred[dict[int, int]] = Deferred()
        self.measured.append((slots, deferred))
        return deferred

    def wait(self, seconds: float = INTERVAL) -> None:
        """Let time pass, and what follows at once."""
        self.clock.advance(seconds)
        self.clock.advance(0)

    def answer(self, sizes: dict[int, int]) -> None:
        """Say what was measured last."""
        self.measured[-1][1].callback(sizes)
        self.clock.advance(0)


class MeasureTests(Case):
    """When a region is measured."""

    def test_a_store_that_holds_little(self) -> None:
        self.held = MOST
        self.wait()
        self.assertEqual(self.measured, [])
        self.held = MOST + 1
        self.wait()
        self.assertEqual([slots for slots, _ in self.measured], [(0, SLOTS)])

    def test_one_at_a_time_each_once(self) -> None:
        self.regions = [Region(2, 100), Region(1, 0, 100)]
        self.wait()
        self.wait()
        self.assertEqual([slots for slots, _ in self.measured], [(0, 100)])
        self.answer({1: 800})
        self.assertEqual([slots for slots, _ in self.measured], [(0, 100), (100, SLOTS)])
        self.answer({100: 900})
        self.wait()
        self.assertEqual(len(self.measured), 2)
        self.assertEqual([self.check.size(region) for region in (1, 2, 3)], [800, 900, None])
        self.assertEqual(self.split, [])

    def test_only_where_it_leads(self) -> None:
        self.regions[0].ready = False
        self.wait()
        self.assertEqual(self.measured, [])

    def test_it_has_grown(self) -> None:
        (region,) = self.regions
        self.wait()
        self.answer({1: 1400})
        region.queue.bytes = 174  # A step is 175 bytes.
        self.wait()
        self.assertEqual(len(self.measured), 1)
        region.queue.bytes = 175
        self.wait()
        self.assertEqual(len(self.measured), 2)
        self.answer({1: 1200})
        region.queue.bytes = 475  # It can't hold more than is allowed.
        self.wait()
        self.assertEqual(len(self.measured), 2)
        region.queue.bytes = 476
        self.wait()
        self.assertEqual(len(self.measured), 3)

    def test_other_sizes(self) -> None:
        """What was small enough is measured anew, once."""
        self.wait()
        self.answer({1: 700, 2: 700})
        self.check.choose(MOST, PART)
        self.wait()
        self.assertEqual(len(self.measured), 1)
        self.check.choose(1200, 800)
        self.wait()
        self.answer({1: 700, 2: 700})
        self.assertEqual([slots for _, slots, _ in self.split], [[2]])

    def test_a_limit_below_the_size_of_parts(self) -> None:
        """Parts have two thirds of it then."""
        self.check.choose(PART, PART)
        self.wait()
        self.answer({1: 600, 2: 60, 3: 600})
        self.assertEqual([slots for _, slots, _ in self.split], [[3]])

    def test_it_was_measured_anew(self) -> None:
        self.wait()
        self.answer({1: 700})
        self.check.choose(1200, 800)
        self.wait()
        self.answer({1: 700})
        self.wait()
        self.assertEqual(len(self.measured), 2)

    def test_keys_that_came_of_little(self) -> None:
        (region,) = self.regions
        region.keyspace.physical[1].keys = 400
        self.wait()
        self.answer({1: 10})
        region.keyspace.physical[0].keys = KEYS_LEAST + 100
        self.wait()
        self.assertEqual(len(self.measured), 1)
        region.keyspace.physical[0].keys += 1
        self.wait()
        self.assertEqual(len(self.measured), 2)

    def test_another_range(self) -> None:
        self.wait()
        self.answer({1: 10})
        self.regions = [Region(1, 0, 5)]
        self.wait()
        self.assertEqual(self.measured[-1][0], (0, 5))

    def test_a_region_that_goes(self) -> None:
        self.wait()
        self.answer({1: 10})
        self.regions = []
        self.wait()
        self.assertIsNone(self.check.size(1))

    def test_it_cannot_be_measured(self) -> None:
        self.wait()
        self.measured[-1][1].errback(StorageError("the disk is gone"))
        self.wait(AGAIN_SECONDS - 1)
        self.assertEqual(len(self.measured), 1)
        self.assertIn("the disk is gone", self.warnings[0]["why"])
        self.wait()
        self.assertEqual(len(self.measured), 2)

    def test_the_store_cannot_be_looked_at(self) -> None:
        self.held = StorageError("no such file")
        self.wait()
        self.assertEqual(len(self.warnings), 1)
        self.held = MOST + 1
        self.wait()
        self.assertEqual(len(self.measured), 1)

    def test_the_end(self) -> None:
        self.wait()
        self.check.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.warnings, [])


class SplitTests(Case):
    """When it's split, and where."""

    def test_it_is_too_large(self) -> None:
        self.wait()
        self.answer({10: 700, 20: 700, 30: 700})
        ((region, slots, asked),) = self.split
        self.assertEqual((region, slots), (1, [20, 30]))
        self.wait()
        self.assertEqual(len(self.measured), 1)
        self.regions = [Region(1, 0, 20), Region(7, 20, 30), Region(8, 30)]
        asked.callback(
            [{"region": number, "first": first, "last": last} for number, first, last in ((1, 0, 19), (7, 20, 29),
                                                                                          (8, 30, SLOTS - 1))]
        )  # fmt: skip
        self.wait()
        # What the parts hold is known.
        self.assertEqual([self.check.size(region) for region in (1, 7, 8)], [700, 700, 700])
        self.assertEqual((len(self.measured), self.check.splits), (1, 1))

    def test_just_not_too_large(self) -> None:
        self.wait()
        self.answer({1: 700, 2: 800})
        self.assertEqual(self.split, [])

    def test_one_slot_has_it_all(self) -> None:
        """That's said once, and looked at again when it has grown by much."""
        self.wait()
        self.answer({5: 4000})
        self.assertEqual(self.split, [])
        self.assertEqual((self.warnings[0]["slot"], self.warnings[0]["size"]), (5, 4000))
        self.wait(AGAIN_SECONDS)
        self.assertEqual(len(self.measured), 1)
        self.regions[0].queue.bytes = 500
        self.wait()
        self.answer({5: 4500})
        self.assertEqual(len(self.warnings), 1)

    def test_it_does_not_lead_any_more(self) -> None:
        self.wait()
        self.answer({1: 1000, 2: 1000})
        self.split[0][2].errback(ControlRefused("store 2 leads, not this one"))
        self.assertIn("store 2 leads", self.warnings[0]["why"])
        self.wait(AGAIN_SECONDS - 1)
        self.assertEqual(len(self.measured), 1)
        self.wait()
        self.answer({1: 1000, 2: 1000})
        self.assertEqual(len(self.split), 2)

    def test_it_has_changed_meanwhile(self) -> None:
        self.wait()
        self.regions[0].ready = False
        self.answer({1: 1000, 2: 1000})
        self.assertEqual((self.split, self.warnings), ([], []))
        self.regions[0].ready = True
        self.regions[0].queue.bytes = 1000
        self.wait()
        self.regions[0].descriptor = Region(1, 0, 5).descriptor
        self.answer({1: 1000, 2: 1000})
        self.assertEqual((self.split, self.warnings), ([], []))
        self.wait()
        self.assertEqual([slots for slots, _ in self.measured], [(0, SLOTS), (0, SLOTS), (0, 5)])

    def test_a_defect(self) -> None:
        self.wait()
        self.answer({1: 1000, 2: 1000})
        self.split[0][2].errback(ValueError("a defect"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.wait(AGAIN_SECONDS)
        self.assertEqual(len(self.measured), 2)
