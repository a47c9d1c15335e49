"""Stores that a scheduler knows: what they tell it and when, and what becomes of them when something is lost."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.store.instant_scheduler import InstantScheduler
from tests.store.members import Cluster, Member
from tinykv.errors import ControlRefused, ScheduleRefused, ScheduleUnavailable
from tinykv.interfaces import IScheduler, SplitChoices
from tinykv.placement import admin
from tinykv.placement.operators import Status
from tinykv.placement.region_info import PeerInfo, RegionInfo
from tinykv.placement.stores import Life, StoreRecord, StoreStats
from tinykv.raft.membership import MAX_MEMBERS
from tinykv.region.descriptor import Descriptor
from tinykv.schedule.http import BODY_BYTES_MAX
from tinykv.schedule.schemas import KEY_BYTES_MAX
from tinykv.store.orders import Orders
from tinykv.store.region_reports import DOWN_SECONDS, PENDING_LAG, LedRegion, Measured, RegionReports
from tinykv.store.scheduling import (
    BATCH_REGIONS,
    LOOK_SECONDS,
    WATCH_SECONDS,
    Registration,
    Scheduling,
    first_descriptor,
    wait_for_cluster,
)

INTERVAL = 10.0


class Book:
    """Where stores are, for one of them."""

    def __init__(self) -> None:
        self.known: dict[int, str] = {}

    def has_room(self, store_id: int) -> bool:
        """Have some, but for one."""
        return store_id != 99

    def address(self, store_id: int) -> str | None:
        """Give what is known."""
        return self.known.get(store_id)

    def told(self, store_id: int, address: str) -> None:
        """Note it."""
        self.known[store_id] = address


class Scheduled:
    """A simulated store's part in it."""

    def __init__(self, member: Member, scheduler: InstantScheduler, beginning: Descriptor) -> None:
        self.member = member
        self.book = Book()
        self.measured = Measured(size=5 << 20, keys=7)
        self.chosen: list[SplitChoices] = []
        host, process = member.host, member.process
        self.reports = RegionReports(
            store_id=member.id,
            regions=lambda: (host,),
            is_up=member.peering.is_up,
            measure=self._measure,
            now=process.seconds,
            interval=INTERVAL / 2,
        )
        self.scheduling = Scheduling(
            scheduler=scheduler,
            registration=registration(member.id),
            cluster_id="c0de",
            beginning=[RegionInfo.of(beginning, None)],
            clock=process,
            interval=INTERVAL,
            stats=lambda: StoreStats(1 << 30, 1 << 29, regions=int(bool(member.group.peer))),
            reports=self.reports,
            is_up=member.peering.is_up,
            addresses=self.book,
            chosen=self.chosen.append,
        )
        self.scheduling.orders = Orders(
            store_id=member.id,
            region=lambda region: host if region == 1 else None,
            is_up=member.peering.is_up,
            address=self.scheduling.address,
            split=lambda region, slots: fail(ControlRefused("nothing is split")),
            merge=lambda region, target: fail(ControlRefused("nothing is merged")),
        )

    def _measure(self, region: LedRegion) -> Measured:
        return self.measured


def registration(store: int) -> Registration:
    """Say what a store says of itself."""
    return Registration(
        store_id=store, folder_id=f"f{store}", address=f"store{store}:1", client_address=lambda: "c:1", labels={}
    )


class Case(SynchronousTestCase):
    """A cluster and its scheduler."""

    def begin(self, stores: int = 3, **choices: Any) -> Member:
        """Begin it."""
        self.cluster = Cluster(stores, scheduled=True)
        self.scheduler = InstantScheduler(lambda: self.cluster.events.now / 1e6, **choices)
        self.parts: dict[int, Scheduled] = {}
        leader = self.cluster.leader()
        for store in range(1, stores + 1):
            self.schedule(store)
        self.run_for(1)
        return leader

    def schedule(self, store: int) -> Scheduled:
        """Have a store told of."""
        part = Scheduled(self.cluster.members[store], self.scheduler, self.cluster.initial)
        self.parts[store] = part
        part.scheduling.start()
        return part

    def join(self, store: int) -> Member:
        """Have a new store come."""
        member = self.cluster.join(store)
        self.schedule(store)
        return member

    def run_for(self, seconds: float) -> None:
        """Let time pass, for the scheduler as well."""
        for _ in range(round(seconds * 10)):
            self.cluster.run(0.1)
            self.scheduler.placement.tick(self.cluster.events.now / 1e6)

    def until(self, condition: Any, seconds: int = 120) -> None:
        """Let time pass until something is so."""
        for _ in range(seconds):
            if condition():
                return
            self.run_for(1)
        self.fail("it never was")

    def voters(self) -> set[int]:
        """Name the stores that vote, as the scheduler knows; none while somebody doesn't."""
        region = self.scheduler.placement.cluster.regions.get(1)
        return set(region.voters) if region is not None and not region.learners and not region.joint else set()

    def other(self, *but: Member) -> Member:
        """Give a store that isn't one of these."""
        return next(member for member in self.cluster.members.values() if member not in but)


class TellingTests(Case):
    """What the scheduler hears, and when."""

    def test_the_fake_is_one(self) -> None:
        self.assertTrue(verifyObject(IScheduler, InstantScheduler(lambda: 0.0)))

    def test_at_first(self) -> None:
        leader = self.begin()
        self.assertEqual(set(self.scheduler.records), {1, 2, 3})
        self.assertEqual(self.scheduler.cluster_id, "c0de")
        (told,) = self.scheduler.told
        self.assertEqual((told.leader, told.stores, told.size, told.keys), (leader.id, (1, 2, 3), 5 << 20, 7))
        self.assertEqual((told.pending, told.down, told.term), ((), {}, leader.group.term))
        self.assertEqual(self.parts[leader.id].book.known, {})

    def test_at_intervals(self) -> None:
        self.begin()
        del self.scheduler.told[:], self.scheduler.heard[:]
        self.run_for(4 * INTERVAL)
        self.assertIn(len(self.scheduler.told), (7, 8))
        self.assertIn(len(self.scheduler.heard), (11, 12, 13))

    def test_when_regions_are_split(self) -> None:
        """It's asked with each word of the store, so a change is known within that time."""
        self.begin(split_load_threshold=700)
        chosen = self.parts[1].chosen
        self.assertEqual(chosen, [SplitChoices(threshold=700)])
        config = self.scheduler.placement.cluster.config
        self.scheduler.placement.configure(config.changed({"region_max_size": 9 << 20, "region_split_size": 8 << 20}))
        self.run_for(INTERVAL + 1)
        self.assertEqual(chosen[1:], [SplitChoices(9 << 20, 8 << 20, 700)])

    def test_another_scheduler_leads(self) -> None:
        self.begin()
        self.run_for(2)
        self.assertTrue(self.scheduler.placement.ready)
        self.scheduler.restart()
        self.run_for(WATCH_SECONDS + 3 * LOOK_SECONDS)
        self.assertTrue(self.scheduler.placement.ready)
        # The same leader isn't told twice.
        del self.scheduler.told[:], self.scheduler.heard[:]
        self.run_for(INTERVAL / 2 - 1)
        self.assertEqual((self.scheduler.told, self.scheduler.heard), ([], []))

    def test_a_scheduler_without_a_leader(self) -> None:
        self.begin()
        self.run_for(2)
        del self.scheduler.heard[:]
        term, self.scheduler.leading = self.scheduler.leading, 0
        self.run_for(2 * WATCH_SECONDS)
        self.scheduler.leading = term
        self.run_for(2 * WATCH_SECONDS)
        self.assertEqual(self.scheduler.heard, [])

    def test_loads_are_what_was_counted_since(self) -> None:
        leader = self.begin()
        part = self.parts[leader.id]
        part.measured = Measured(reads=50, writes=100, read_bytes=1000, write_bytes=500)
        self.run_for(INTERVAL / 2)
        told = self.scheduler.told[-1]
        for rate, count in ((told.reads, 50), (told.writes, 100), (told.read_bytes, 1000), (told.write_bytes, 500)):
            self.assertAlmostEqual(rate, count / (INTERVAL / 2), delta=count / 25)
        part.measured = Measured()
        self.run_for(INTERVAL / 2)
        self.assertEqual(self.scheduler.told[-1].reads, 0)

    def test_loads_of_a_word_that_got_lost(self) -> None:
        """The next one says what was counted since, not that nothing was done; nor does one to another leader."""
        leader = self.begin()
        part = self.parts[leader.id]
        self.successResultOf(part.scheduling.stop())
        self.run_for(INTERVAL)
        part.reports.due(10)
        for forget in (lambda: part.reports.forget(1), part.reports.forget_all):
            part.measured = Measured(reads=part.measured.reads + 100)
            forget()
            self.run_for(1)
            (told,) = part.reports.due(10)
            self.assertAlmostEqual(told.reads, 100, delta=1)
            self.assertEqual(part.reports.due(10), [])

    def test_counts_of_one_that_led_before(self) -> None:
        """What it did while another one led isn't this leader's doing."""
        leader = self.begin()
        part, other = self.parts[leader.id], self.other(leader)
        for successor in (other, leader):
            group = self.cluster.leader().host.group
            group.transfer_leader(leader.host.descriptor.peer_on(successor.id) or 0)
            self.cluster.leader().host.replica.go_on()
            self.run_for(1)
            part.measured = Measured(reads=part.measured.reads + 1000)
        self.assertEqual((self.scheduler.told[-1].leader, self.scheduler.told[-1].reads), (leader.id, 0.0))

    def test_idle_groups(self) -> None:
        leader = self.begin()
        part = self.parts[leader.id]
        self.successResultOf(part.scheduling.stop())
        self.run_for(INTERVAL)
        self.assertEqual(len(part.reports.due(10)), 1)
        self.assertTrue(leader.group.quiesce())
        self.assertEqual(part.reports.due(10), [])
        leader.group.propose_change(leader.host.descriptor.adding(4, "store4:1"))
        leader.host.replica.go_on()
        self.run_for(1)
        (told,) = part.reports.due(10)
        self.assertEqual(told.learners, (4,))

    def test_the_longest_message(self) -> None:
        peers = tuple(PeerInfo((1 << 53) - at, 65535 - at) for at in range(MAX_MEMBERS))
        keys = b"k" * KEY_BYTES_MAX, b"l" * KEY_BYTES_MAX
        region = RegionInfo((1 << 53) - 1, *keys, peers, 65535, down={peer.store: 1e-9 / 3 for peer in peers[:3]})
        said = json.dumps([region.to_json()] * BATCH_REGIONS)
        self.assertLess(len(said) + 1000, BODY_BYTES_MAX)
        self.assertGreater(len(said) * 2, BODY_BYTES_MAX)

    def test_another_leader(self) -> None:
        leader = self.begin()
        other = self.other(leader)
        leader.host.group.transfer_leader(leader.host.descriptor.peer_on(other.id) or 0)
        leader.host.replica.go_on()
        self.run_for(1)
        self.assertEqual(self.scheduler.told[-1].leader, other.id)

    def test_a_learner_that_catches_up(self) -> None:
        leader = self.begin()
        leader.group.propose_change(leader.host.descriptor.adding(4, "store4:1"))
        leader.host.replica.go_on()
        self.run_for(1)
        self.assertEqual(self.scheduler.told[-1].pending, (4,))
        self.join(4)
        self.run_for(2)
        # Until the scheduler, which wants three replicas, has it given up.
        self.assertIn(((4,), ()), [(told.learners, told.pending) for told in self.scheduler.told])

    def test_a_store_that_is_not_reached(self) -> None:
        leader = self.begin()
        lost = self.other(leader)
        lost.kill()
        self.cluster.until(lambda: not leader.peering.is_up(lost.id))
        before = len(self.scheduler.told)
        self.run_for(DOWN_SECONDS - 1)
        self.assertFalse(any(told.down for told in self.scheduler.told[before:]))
        self.run_for(2)
        self.assertGreaterEqual(self.scheduler.told[-1].down[lost.id], DOWN_SECONDS)
        self.run_for(INTERVAL)
        self.assertGreaterEqual(self.scheduler.told[-1].down[lost.id], INTERVAL)
        self.assertEqual(self.scheduler.told[-1].pending, ())
        lost.start()
        self.run_for(1)
        self.assertEqual(self.scheduler.told[-1].down, {})

    def test_a_voter_that_falls_behind(self) -> None:
        leader = self.begin()
        slow = self.other(leader)
        self.cluster.cut(slow.id)
        for count, pending in ((PENDING_LAG - 100, False), (200, True)):
            leader.group.propose([b""] * count)
            leader.host.replica.go_on()
            self.run_for(1)
            self.assertEqual(bool(self.scheduler.told[-1].pending), pending)
        self.assertEqual(self.scheduler.told[-1].pending, (slow.id,))
        self.cluster.heal()
        self.run_for(10)
        self.assertEqual(self.scheduler.told[-1].pending, ())

    def test_where_stores_are(self) -> None:
        leader = self.begin()
        self.scheduler.records[7] = StoreRecord(7, "moved:1", folder="f7")
        self.scheduler.records[8] = StoreRecord(8, "gone:1", folder="f8", life=Life.TOMBSTONE)
        self.scheduler.records[99] = StoreRecord(99, "many:1", folder="f99")
        self.run_for(INTERVAL)
        part = self.parts[leader.id]
        self.assertEqual(part.book.known, {7: "moved:1"})
        self.assertEqual((part.scheduling.address(7), part.scheduling.address(8)), ("moved:1", None))
        self.assertEqual((part.scheduling.stays(7), part.scheduling.stays(8)), (True, False))

    def test_the_end(self) -> None:
        leader = self.begin()
        for part in self.parts.values():
            self.successResultOf(part.scheduling.stop())
        del self.scheduler.told[:], self.scheduler.heard[:]
        self.run_for(2 * INTERVAL)
        self.assertEqual((self.scheduler.told, self.scheduler.heard), ([], []))
        self.assertTrue(leader.host.ready)


class ProblemTests(Case):
    """When the scheduler is away, or won't."""

    def words(self) -> list[str]:
        """Collect what is logged of it from now on."""
        said: list[str] = []

        def observe(event: Any) -> None:
            if event.get("log_namespace", "").startswith("tinykv.store.scheduling"):
                said.append(event["log_format"].format(**event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        return said

    def test_it_is_said_once(self) -> None:
        leader = self.begin()
        said = self.words()
        self.scheduler.problem = ScheduleUnavailable("nobody there", False)
        self.run_for(5 * INTERVAL)
        self.assertEqual(said, ["nobody there"] * 3)
        self.assertEqual(self.parts[leader.id].scheduling.complaints.problem, "nobody there")
        self.scheduler.problem = None
        self.run_for(2 * INTERVAL)
        self.assertEqual(said[3:], ["the scheduler answers again"] * 3)
        self.assertIsNone(self.parts[leader.id].scheduling.complaints.problem)

    def test_what_was_not_heard_is_told_again(self) -> None:
        leader = self.begin()
        self.scheduler.problem = ScheduleUnavailable("nobody there", False)
        other = self.other(leader)
        leader.host.group.transfer_leader(leader.host.descriptor.peer_on(other.id) or 0)
        leader.host.replica.go_on()
        self.run_for(1)
        self.scheduler.problem = None
        self.run_for(2)
        self.assertEqual(self.scheduler.told[-1].leader, other.id)

    def test_a_scheduler_that_has_forgotten_all(self) -> None:
        self.begin()
        self.scheduler.records.clear()
        self.scheduler.cluster_id = ""
        self.scheduler.restart()
        self.run_for(2 * INTERVAL)
        self.assertEqual(set(self.scheduler.records), {1, 2, 3})
        self.assertEqual(self.scheduler.cluster_id, "c0de")
        self.assertEqual([region.region for region in self.scheduler.regions_at_first], [1])
        self.assertIsNotNone(self.scheduler.placement.cluster.regions.get(1))

    def test_the_scheduler_of_another_cluster(self) -> None:
        leader = self.begin()
        said = self.words()
        self.scheduler.records.clear()
        self.scheduler.cluster_id = "bad"
        self.scheduler.restart()
        self.run_for(5 * INTERVAL)
        self.assertEqual(self.scheduler.records, {})
        self.assertEqual(sum("cluster bad" in words for words in said), 3)
        self.assertTrue(leader.host.ready)

    def test_a_store_that_was_taken_out(self) -> None:
        leader = self.begin()
        gone = self.other(leader)
        said = self.words()
        self.scheduler.records[gone.id] = replace(self.scheduler.records[gone.id], life=Life.TOMBSTONE)
        self.run_for(5 * INTERVAL)
        self.assertEqual(self.scheduler.records[gone.id].life, Life.TOMBSTONE)
        self.assertEqual(sum("never returns" in words for words in said), len(said))
        self.assertIn(len(said), (1, 2))

    def test_a_folder_that_was_lost(self) -> None:
        leader = self.begin()
        self.scheduler.records[leader.id] = StoreRecord(leader.id, "elsewhere:1", folder="another")
        self.parts[leader.id].scheduling._registered = False  # noqa: SLF001 - as after a restart
        said = self.words()
        self.run_for(3 * INTERVAL)
        self.assertEqual(self.scheduler.records[leader.id].folder, "another")
        self.assertEqual(sum("folder" in words for words in said), 1)


class RepairTests(Case):
    """What is lost is mended by stores and the placement together."""

    def test_a_store_that_is_lost(self) -> None:
        for which in ("leader", "follower"):
            leader = self.begin(disconnected_after=15.0, max_down=30.0, gate_wait=20.0)
            new = self.join(4)
            self.run_for(15)
            lost = leader if which == "leader" else self.other(leader, new)
            lost.kill()
            self.until(lambda lost=lost: self.voters() == {1, 2, 3, 4} - {lost.id})  # type: ignore[misc]
            now = self.cluster.leader()
            now.write("SET k v")
            self.run_for(1)
            self.cluster.until(lambda new=new, now=now: new.host.applied == now.host.applied)  # type: ignore[misc]
            self.assertEqual(new.roles, now.roles)
            # It comes back, and learns that it's no member any more.
            lost.start()
            self.cluster.until(lambda lost=lost: lost.lingers or lost.left)  # type: ignore[misc]
            self.assertEqual([failure for m in self.cluster.members.values() for failure in m.failures], [])

    def test_a_scheduler_that_is_replaced_in_the_midst_of_a_repair(self) -> None:
        leader = self.begin(disconnected_after=15.0, max_down=30.0, gate_wait=20.0)
        new = self.join(4)
        self.run_for(15)
        lost = self.other(leader, new)
        lost.kill()
        while leader.roles.get(4) != "learner":
            self.cluster.run(0.01)
            self.scheduler.placement.tick(self.cluster.events.now / 1e6)
        # The next one knows nothing of what was under way.
        self.scheduler.restart()
        self.until(lambda: self.voters() == {1, 2, 3, 4} - {lost.id})

    def test_a_cluster_that_grows(self) -> None:
        self.begin(1, gate_wait=5.0)
        self.join(2)
        self.join(3)
        self.until(lambda: self.voters() == {1, 2, 3})
        self.join(4)
        self.run_for(60)
        self.assertEqual(self.voters(), {1, 2, 3})

    def test_a_store_that_is_drained(self) -> None:
        leader = self.begin(gate_wait=5.0)
        self.join(4)
        self.run_for(15)
        placement = self.scheduler.placement
        self.scheduler.records[leader.id] = placement.offline(leader.id, self.cluster.events.now / 1e6)
        self.until(lambda: self.voters() == {1, 2, 3, 4} - {leader.id})
        self.cluster.until(lambda: leader.lingers or leader.left)

    def test_operators_change_the_members_through_the_scheduler_alone(self) -> None:
        control = self.begin().control
        for asked in (control.add_store(4, "store4:1"), control.remove_store(1)):
            self.assertIn("the scheduler", str(self.failureResultOf(asked, ControlRefused).value))

    def test_leadership_that_is_asked_for(self) -> None:
        leader = self.begin(gate_wait=5.0)
        self.run_for(10)
        target = self.other(leader)
        placement = self.scheduler.placement
        placement.run(admin.transfer_leader(placement.cluster, 1, target.id))
        self.run_for(INTERVAL)
        self.assertTrue(target.host.ready)

    def test_somebody_else_changes_the_members(self) -> None:
        leader = self.begin(disconnected_after=15.0, max_down=30.0, gate_wait=20.0)
        self.join(4)
        self.run_for(15)
        lost = self.other(leader, self.cluster.members[4])
        lost.kill()
        self.until(lambda: self.scheduler.placement.controller.running)
        self.join(5)
        leader.group.propose_change(leader.host.descriptor.adding(5, "store5:1"))
        leader.host.replica.go_on()
        self.run_for(60)
        voters = leader.host.descriptor.membership.voters
        self.assertEqual(len(voters), 3)
        self.assertNotIn(leader.host.descriptor.peer_on(lost.id), voters)
        self.assertIn(Status.CANCELLED, self.scheduler.placement.controller.ended)


class BeginningTests(SynchronousTestCase):
    """A new store that waits for its cluster."""

    def setUp(self) -> None:
        self.clock: Any = Clock()
        self.scheduler = InstantScheduler(self.clock.seconds)
        self.scheduler.missing = 2

    def wait(self) -> Deferred[Any]:
        """Begin to wait."""
        return Deferred.fromCoroutine(wait_for_cluster(self.scheduler, registration(4), self.clock))

    def test_others_have_to_come(self) -> None:
        asked = self.wait()
        self.assertEqual(set(self.scheduler.records), {4})
        self.clock.pump([LOOK_SECONDS] * 20)
        self.assertNoResult(asked)
        self.scheduler.missing = 0
        self.clock.pump([LOOK_SECONDS] * 20)
        # Nobody has said yet with what it began.
        self.assertNoResult(asked)
        region = RegionInfo.of(Descriptor.initial(1, [1, 2, 3]), None)
        self.scheduler.regions_at_first = [region]
        self.clock.pump([LOOK_SECONDS] * 5)
        beginning, records = self.successResultOf(asked)
        self.assertEqual((beginning["regions"], set(records)), ([region], {4}))

    def test_the_scheduler_comes_later(self) -> None:
        self.scheduler.problem = ScheduleUnavailable("nobody there", False)
        asked = self.wait()
        self.clock.pump([LOOK_SECONDS] * 20)
        self.assertNoResult(asked)
        self.assertEqual(self.scheduler.records, {})
        self.scheduler.problem = ScheduleRefused(401, "no token")
        self.clock.pump([LOOK_SECONDS] * 20)
        self.scheduler.problem = None
        self.clock.pump([LOOK_SECONDS] * 20)
        self.assertEqual(set(self.scheduler.records), {4})
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_first_region_is_what_a_list_of_stores_makes(self) -> None:
        for stores in ([1], [1, 2, 3], [7, 2, 30]):
            initial = Descriptor.initial(1, stores)
            self.assertEqual(first_descriptor(RegionInfo.of(initial, None)), initial)
