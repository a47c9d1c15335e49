"""Regions are split: with ids of whom they come from, and told to whom it concerns."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from tests.store.instant_scheduler import InstantScheduler
from tests.store.test_splits import MIDDLE, SplitsCase
from tinykv.errors import ControlRefused, ControlUnknown, ScheduleUnavailable
from tinykv.interfaces import PartIds
from tinykv.keys import SLOTS
from tinykv.placement.region_info import RegionInfo
from tinykv.region.descriptor import Descriptor
from tinykv.region.splitting import own_cuts
from tinykv.store.splitter import Splitter

T = TypeVar("T")


class Waits:
    """Waits for something until a test has it looked at, or lets go of it."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], Any], str, Deferred[Any]]] = []

    def until(self, look: Callable[[], T | None], late: str) -> Deferred[T]:
        """Wait."""
        deferred: Deferred[T] = Deferred()
        self.waiting.append((look, late, deferred))
        self.look()
        return deferred

    def look(self) -> None:
        """See what has come true."""
        waiting, self.waiting = self.waiting, []
        for look, late, deferred in waiting:
            try:
                found = look()
            except (ControlRefused, ControlUnknown) as problem:
                deferred.errback(problem)
                continue
            if found is None:
                self.waiting.append((look, late, deferred))
            else:
                deferred.callback(found)

    def give_up(self) -> None:
        """Let the time be over."""
        for _, late, deferred in self.waiting:
            deferred.errback(ControlUnknown(late))
        self.waiting = []


class SlowScheduler(InstantScheduler):
    """One that answers a question for ids when a test lets it."""

    def ask_split(self, region: int, *, version: int, conf_ver: int, count: int) -> Deferred[list[PartIds]]:
        """Wait."""
        asked = super().ask_split(region, version=version, conf_ver=conf_ver, count=count)
        self.answers: Deferred[None] = Deferred()
        return self.answers.addCallback(lambda _: asked)


class SplitterCase(SplitsCase):
    """A store whose region can be split."""

    def setUp(self) -> None:
        super().setUp()
        self.waits = Waits()
        self.splitter = Splitter(store_id=1, until=self.waits.until, scheduler=None)

    def with_scheduler(self, kind: type[InstantScheduler] = InstantScheduler) -> InstantScheduler:
        """Have a scheduler that knows the region."""
        scheduler = kind(lambda: 0.0)
        self.successResultOf(scheduler.register(1, address="s:1", client_address="s:2", folder_id="f", labels={}))
        told = RegionInfo.of(self.whole.descriptor, 1, term=self.whole.group.term)
        self.successResultOf(scheduler.region_heartbeats(1, "f", [told]))
        self.splitter = Splitter(store_id=1, until=self.waits.until, scheduler=scheduler)
        return scheduler

    def begin(self, *slots: int) -> Deferred[list[Descriptor]]:
        """Begin a split."""
        splitting: Coroutine[Any, Any, list[Descriptor]] = self.splitter.split(self.whole, slots)
        return Deferred.fromCoroutine(splitting)

    def made(self, asked: Deferred[list[Descriptor]]) -> list[Descriptor]:
        """Let it be done."""
        self.hosted.settle()
        self.waits.look()
        return self.successResultOf(asked)

    def refused(self, asked: Deferred[Any], why: str) -> None:
        """Check that it's refused."""
        self.assertIn(why, str(self.failureResultOf(asked, ControlRefused).value))


class AloneTests(SplitterCase):
    """Without a scheduler."""

    def test_it_is_split(self) -> None:
        cuts = own_cuts(self.whole.descriptor, [5, MIDDLE])
        asked = self.begin(5, MIDDLE)
        self.assertNoResult(asked)
        self.assertTrue(self.splitter.splits(1))
        regions = self.made(asked)
        self.assertEqual(regions, [host.descriptor for host in self.regions.ordered])
        self.assertEqual([each.region for each in regions], [1, *(cut.region for cut in cuts)])
        self.assertEqual([each.slots for each in regions], [(0, 5), (5, MIDDLE), (MIDDLE, SLOTS)])
        self.assertFalse(self.splitter.splits(1))
        self.assertEqual(self.splitter.done, 1)

    def test_what_cannot_be(self) -> None:
        self.made(self.begin(MIDDLE))
        for slots, why in (
            ([MIDDLE], f"region 1 has slots 0 to {MIDDLE - 1}"),
            ([0], "slot 0 isn't the first of a part"),
            ([5, 5], "slot 5 isn't"),
            ([], "into 2 to 257 parts"),
            (range(1, 258), "into 2 to 257 parts"),
        ):
            self.refused(self.begin(*slots), why)
        self.assertEqual(len(self.regions.ordered), 2)

    def test_one_at_a_time(self) -> None:
        first = self.begin(MIDDLE)
        self.refused(self.begin(5), "is being split already")
        self.assertEqual(len(self.made(first)), 2)
        self.assertEqual(len(self.made(self.begin(5))), 2)

    def test_another_change_is_under_way(self) -> None:
        self.propose()
        self.refused(self.begin(5), "ask again")

    def test_it_was_changed_before_it_could_be_split(self) -> None:
        """As by a change of the members that lay in the log before it."""
        asked = self.begin(MIDDLE)
        descriptor = self.whole.descriptor
        self.whole.descriptor = replace(descriptor, conf_ver=descriptor.conf_ver + 1)
        self.hosted.settle()
        self.waits.look()
        self.refused(asked, "was changed before it could be split")
        self.assertEqual(len(self.regions.ordered), 1)

    def test_nobody_knows(self) -> None:
        asked = self.begin(MIDDLE)
        self.waits.give_up()
        self.failureResultOf(asked, ControlUnknown)
        self.assertFalse(self.splitter.splits(1))


class ScheduledTests(SplitterCase):
    """With one."""

    def test_it_gives_ids_and_is_told(self) -> None:
        scheduler = self.with_scheduler()
        regions = self.made(self.begin(5, MIDDLE))
        self.assertEqual([each.region for each in regions], [1, 1000, 1002])
        self.assertEqual([each.stores for each in regions], [{1: 1}, {1001: 1}, {1003: 1}])
        self.assertEqual([each.region for each in scheduler.split], [1, 1000, 1002])
        # Routes follow at once.
        known = self.successResultOf(scheduler.regions(b"", b"", 10))
        self.assertEqual([(each.region, each.start) for each in known], [(each.region, each.start) for each in regions])
        self.assertEqual(known[0].leader, 1)

    def test_it_gives_none(self) -> None:
        scheduler = self.with_scheduler()
        scheduler.problem = ScheduleUnavailable("nobody is there", False)
        self.refused(self.begin(MIDDLE), "ids for the parts are needed: nobody is there")
        self.assertFalse(self.splitter.splits(1))
        scheduler.problem = None
        self.assertEqual(len(self.made(self.begin(MIDDLE))), 2)

    def test_it_is_not_told(self) -> None:
        """The regions' own reports will say it."""
        scheduler = self.with_scheduler()
        asked = self.begin(MIDDLE)
        scheduler.problem = ScheduleUnavailable("nobody is there", False)
        self.assertEqual(len(self.made(asked)), 2)

    def test_the_region_is_another_when_ids_come(self) -> None:
        scheduler = self.with_scheduler(SlowScheduler)
        assert isinstance(scheduler, SlowScheduler)
        asked = self.begin(MIDDLE)
        self.split(5)
        scheduler.answers.callback(None)
        self.refused(asked, "in version 2")
        self.assertEqual(len(self.regions.ordered), 2)

    def test_what_cannot_be_costs_no_ids(self) -> None:
        scheduler = self.with_scheduler()
        self.refused(self.begin(SLOTS), "isn't the first of a part")
        self.assertEqual(scheduler.next_id, 1000)
