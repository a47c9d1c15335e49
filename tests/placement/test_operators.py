"""Operators: from one heartbeat to the next, at most one a region, within limits, and how they end."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.placement.making import START, change, hear, placement, region, row, silence
from tinykv.placement import admin
from tinykv.placement.builder import operator, placing
from tinykv.placement.operators import Kind, Operator, Order, Priority, Status
from tinykv.placement.placement import Placement
from tinykv.placement.region_info import PeerInfo, RegionInfo, Role
from tinykv.placement.steps import (
    AddLearner,
    EnterJoint,
    LeaveJoint,
    MergeRegion,
    PromoteLearner,
    RemovePeer,
    SplitRegion,
    Step,
    TransferLeader,
)
from tinykv.placement.stores import Refused


def made(
    placed: Placement,
    number: int,
    *steps: Step,
    priority: Priority = Priority.NORMAL,
    kinds: tuple[Kind, ...] = (Kind.REGION,),
) -> Operator:
    """Give an operator for a region as it's known."""
    known = placed.cluster.regions.get(number)
    assert known is not None
    return operator(placed.cluster, known, "test", kinds, priority, steps)


def joint(**others: Any) -> RegionInfo:
    """Give region 1 while store 4 takes the place of store 3."""
    peers = (PeerInfo(1, 1), PeerInfo(2, 2), PeerInfo(3, 3, Role.DEMOTING), PeerInfo(4, 4, Role.INCOMING))
    return RegionInfo(1, b"", b"", peers, 1, **{"conf_ver": 3, "version": 1, **others})


class StepTests(SynchronousTestCase):
    """When a step is done, and what is asked for meanwhile."""

    def test_a_move_from_heartbeat_to_heartbeat(self) -> None:
        """Learner first; voters change at once; the old one goes last. Steps are repeated until they are done."""
        placed = placement(region(1))
        known = placed.cluster.regions.get(1)
        assert known is not None
        steps = placing(placed.cluster, known, (1, 2, 4))
        self.assertEqual(steps, (AddLearner(4), EnterJoint((4,), (3,)), LeaveJoint(), RemovePeer(3)))
        first = placed.run(made(placed, 1, *steps))
        self.assertEqual(first, Order(1, 1, 1, 1, AddLearner(4)))
        demoted = {"stores": (1, 2, 4), "learners": (3,)}
        for told, step in (
            (region(1), AddLearner(4)),
            (region(1), AddLearner(4)),
            (region(1, learners=(4,), conf_ver=2, pending=(4,)), None),
            (region(1, learners=(4,), conf_ver=2), EnterJoint((4,), (3,))),
            (joint(), LeaveJoint()),
            (region(1, **demoted, conf_ver=4), RemovePeer(3)),
            (region(1, stores=(1, 2, 4), conf_ver=5), None),
        ):
            order = placed.heartbeat(told, START)
            self.assertEqual(order and order.step, step)
        last = placed.controller.last(1)
        assert last is not None
        self.assertEqual((last.status, placed.controller.running), (Status.SUCCESS, []))

    def test_the_joint_configuration_was_left_by_itself(self) -> None:
        placed = placement(region(1))
        placed.run(made(placed, 1, AddLearner(4), EnterJoint((4,), (3,)), LeaveJoint(), RemovePeer(3)))
        placed.heartbeat(region(1, learners=(4,), conf_ver=2), START)
        order = placed.heartbeat(region(1, stores=(1, 2, 4), learners=(3,), conf_ver=4), START)
        self.assertEqual(order and order.step, RemovePeer(3))

    def test_a_leader_is_handed_over(self) -> None:
        placed = placement(region(1))
        placed.run(made(placed, 1, TransferLeader(2)))
        placed.heartbeat(region(1, leader=3), START)
        self.assertEqual(placed.controller.count(Kind.REGION), 1)
        placed.heartbeat(region(1, leader=2), START)
        self.assertEqual(placed.controller.ended[Status.SUCCESS], 1)

    def test_a_split(self) -> None:
        placed = placement(region(1, b"a", b"z"))
        placed.run(made(placed, 1, SplitRegion(1, (b"m",))))
        placed.heartbeat(region(1, b"a", b"m", version=2), START)
        self.assertEqual(placed.controller.ended[Status.SUCCESS], 1)

    def test_a_merge(self) -> None:
        """The region that remains is reserved; the other one's operator is done when that one covers its keys."""
        placed = placement(*row(2))
        placed.run(made(placed, 1, MergeRegion(2, 1)))
        self.assertIn("test is under way for region 2", self.problem(placed, made(placed, 2, TransferLeader(2))))
        order = placed.heartbeat(row(2)[0], START)
        self.assertEqual(order and order.step, MergeRegion(2, 1))
        prepared = region(1, b"", b"0001", conf_ver=2, version=2)
        self.assertIsNone(placed.heartbeat(prepared, START))
        self.assertEqual(len(placed.controller.running), 1)
        placed.heartbeat(region(2, version=3), START)
        self.assertEqual(placed.controller.ended, {Status.SUCCESS: 1})

    def test_a_split_before_a_merge(self) -> None:
        """The version rises, but not by preparing."""
        placed = placement(*row(2))
        placed.run(made(placed, 1, MergeRegion(2, 1)))
        self.assertIsNone(placed.heartbeat(region(1, b"", b"0000", version=2), START))
        self.assertEqual(placed.controller.ended, {Status.CANCELLED: 1})

    def test_a_merge_with_what_has_moved(self) -> None:
        placed = placement(*row(2))
        placed.run(made(placed, 1, MergeRegion(2, 1)))
        placed.heartbeat(region(2, b"0001", b"", stores=(1, 2, 4), conf_ver=4), START)
        self.assertIsNone(placed.heartbeat(row(2)[0], START))
        last = placed.controller.last(1)
        assert last is not None
        self.assertEqual(last.reason, "region 2 isn't on the same stores")

    def problem(self, placed: Placement, operator: Operator) -> str:
        """Expect an operator to be refused."""
        return str(self.assertRaises(Refused, placed.controller.add, operator))

    def test_records(self) -> None:
        steps = (
            AddLearner(4), PromoteLearner(4), EnterJoint((4,), (3,)), LeaveJoint(), RemovePeer(3), TransferLeader(2),
            SplitRegion(1, (b"m",)), MergeRegion(2, 1),
        )  # fmt: skip
        placed = placement(*row(2))
        whole = made(placed, 1, *steps, kinds=(Kind.REGION, Kind.MERGE))
        self.assertEqual(Operator.from_json(whole.to_json()), whole)
        for step in steps:
            order = Order(1, 2, 3, 4, step)
            self.assertEqual(Order.from_json(order.to_json()), order)


class EndTests(SynchronousTestCase):
    """How operators end before they are done."""

    def ended(self, placed: Placement, status: Status, words: str) -> None:
        """Expect region 1's operator to have ended, and why."""
        last = placed.controller.last(1)
        assert last is not None
        self.assertEqual((last.status, placed.controller.running), (status, []))
        self.assertIn(words, last.reason)

    def test_members_changed_by_somebody_else(self) -> None:
        """Dispatch on heartbeat: more changes of conf_ver than its steps have made."""
        placed = placement(region(1))
        placed.run(made(placed, 1, AddLearner(4), PromoteLearner(4)))
        self.assertIsNone(placed.heartbeat(region(1, conf_ver=2), START))
        self.ended(placed, Status.CANCELLED, "somebody else")

    def test_as_many_changes_as_its_steps_have_made(self) -> None:
        placed = placement(region(1))
        placed.run(made(placed, 1, AddLearner(4), PromoteLearner(4)))
        self.assertIsNotNone(placed.heartbeat(region(1, learners=(4,), conf_ver=2), START))
        self.assertIsNone(placed.heartbeat(region(1, learners=(4,), conf_ver=3), START))
        self.ended(placed, Status.CANCELLED, "somebody else")

    def test_timeouts(self) -> None:
        """Ten seconds for leadership alone, ten minutes for all else, be there heartbeats or not."""
        for step, seconds in ((TransferLeader(2), 10.0), (AddLearner(4), 600.0)):
            for beats in (True, False):
                placed = placement(region(1), schedulers=())
                placed.run(made(placed, 1, step))
                hear(placed, START + seconds)
                self.assertIsNotNone(placed.heartbeat(region(1), START + seconds))
                if beats:
                    self.assertIsNone(placed.heartbeat(region(1), START + seconds + 0.1))
                else:
                    placed.tick(START + seconds + 0.1)
                self.ended(placed, Status.TIMEOUT, "it wasn't done within")

    def test_records_are_kept_for_a_while(self) -> None:
        placed = placement(region(1), schedulers=())
        placed.run(made(placed, 1, TransferLeader(2)))
        placed.heartbeat(region(1, leader=2), START)
        placed.tick(START + 600)
        self.assertIsNotNone(placed.controller.last(1))
        placed.tick(START + 601)
        self.assertIsNone(placed.controller.last(1))

    def test_the_target_of_a_transfer_has_vanished(self) -> None:
        placed = placement(region(1))
        placed.run(made(placed, 1, TransferLeader(3)))
        self.assertIsNone(placed.heartbeat(region(1, stores=(1, 2)), START))
        self.ended(placed, Status.CANCELLED, "store 3 has no voter")

    def test_the_target_of_a_transfer_is_behind(self) -> None:
        placed = placement(region(1))
        placed.run(made(placed, 1, TransferLeader(3)))
        placed.heartbeat(region(1, pending=(3,)), START)
        self.ended(placed, Status.CANCELLED, "store 3 is behind")

    def test_the_target_of_a_transfer_is_silent(self) -> None:
        placed = placement(region(1), leader_timeout=900.0)
        placed.run(made(placed, 1, TransferLeader(3)))
        self.assertIsNone(placed.heartbeat(region(1), silence(placed, 3, 21)))
        self.ended(placed, Status.CANCELLED, "store 3 can't be relied on")

    def test_who_is_to_be_removed_leads_by_now(self) -> None:
        placed = placement(region(1, stores=(1, 2, 3, 4)))
        placed.run(made(placed, 1, RemovePeer(4)))
        placed.heartbeat(region(1, stores=(1, 2, 3, 4), leader=4), START)
        self.ended(placed, Status.CANCELLED, "store 4 leads")

    def test_no_majority_would_be_left(self) -> None:
        """A store went silent between two steps."""
        placed = placement(region(1, stores=(1, 2, 3)))
        placed.run(made(placed, 1, RemovePeer(3)))
        now = silence(placed, 2, 25)
        self.assertIsNone(placed.heartbeat(region(1), now))
        self.ended(placed, Status.CANCELLED, "no majority")

    def test_the_store_to_be_given_a_replica_is_lost(self) -> None:
        placed = placement(region(1), region_timeout=9000.0)
        placed.run(made(placed, 1, AddLearner(4)))
        self.assertIsNone(placed.heartbeat(region(1), silence(placed, 4, 1801)))
        self.ended(placed, Status.CANCELLED, "store 4 isn't up")

    def test_the_region_is_gone(self) -> None:
        placed = placement(*row(2))
        placed.run(made(placed, 1, TransferLeader(2)))
        placed.heartbeat(region(2, version=9), START)
        self.ended(placed, Status.CANCELLED, "isn't any more")


class AdmissionTests(SynchronousTestCase):
    """Which operators may run."""

    def refused(self, placed: Placement, operator: Operator, words: str) -> None:
        """Expect one to be refused, and nothing to have changed."""
        before = placed.controller.running
        self.assertIn(words, str(self.assertRaises(Refused, placed.controller.add, operator)))
        self.assertEqual((operator.status, placed.controller.running), (Status.CANCELLED, before))

    def test_one_a_region(self) -> None:
        placed = placement(region(1))
        placed.run(made(placed, 1, TransferLeader(2)))
        self.refused(placed, made(placed, 1, TransferLeader(3)), "test is under way for region 1")

    def test_a_higher_priority_replaces(self) -> None:
        placed = placement(region(1))
        low = made(placed, 1, TransferLeader(2), priority=Priority.LOW)
        placed.run(low)
        self.refused(placed, made(placed, 1, TransferLeader(3), priority=Priority.LOW), "under way")
        placed.run(made(placed, 1, TransferLeader(3), priority=Priority.HIGH))
        self.assertEqual(low.status, Status.REPLACED)
        self.assertEqual(len(placed.controller.running), 1)

    def test_a_merge_is_replaced_from_either_side(self) -> None:
        for number in (1, 2):
            placed = placement(*row(3))
            placed.run(made(placed, 1, MergeRegion(2, 1), priority=Priority.LOW))
            placed.run(made(placed, number, TransferLeader(2)))
            self.assertEqual([each.region for each in placed.controller.running], [number])
            self.assertIsNone(placed.controller.of(3 - number))

    def test_another_epoch(self) -> None:
        placed = placement(region(1))
        for newer in ({"version": 2}, {"version": 2, "conf_ver": 2}):
            late = made(placed, 1, TransferLeader(2))
            placed.heartbeat(region(1, **newer), START)
            self.refused(placed, late, "has changed meanwhile")

    def test_an_unknown_region(self) -> None:
        placed = placement(region(1))
        late = made(placed, 1, TransferLeader(2))
        placed.heartbeat(region(2, version=2), START)
        self.refused(placed, late, "region 1 isn't known")

    def test_limits_of_kinds(self) -> None:
        """An operator of several kinds counts in each."""
        placed = placement(*row(5), leader_limit=1, region_limit=3)
        placed.run(made(placed, 1, TransferLeader(2), kinds=(Kind.LEADER, Kind.REGION)))
        self.refused(placed, made(placed, 2, TransferLeader(2), kinds=(Kind.LEADER,)), "the limit of leader operators")
        placed.run(made(placed, 2, RemovePeer(3)))
        placed.run(made(placed, 3, RemovePeer(3)))
        self.refused(placed, made(placed, 4, RemovePeer(3)), "the limit of region operators")
        placed.run(made(placed, 4, RemovePeer(3), kinds=(Kind.ADMIN, Kind.REGION)))

    def test_limits_of_stores(self) -> None:
        """Tokens that come back with time: with six a minute, one at once, and another after ten seconds."""
        placed = placement(*row(4), add_limit=6.0, remove_limit=6000.0, region_timeout=9000.0)
        placed.run(made(placed, 1, AddLearner(4)))
        self.refused(placed, made(placed, 2, AddLearner(4)), "the limit of store 4")
        placed.cluster.advance(START + 9.9)
        self.refused(placed, made(placed, 2, AddLearner(4)), "the limit of store 4")
        placed.cluster.advance(START + 10)
        placed.run(made(placed, 2, AddLearner(4)))
        placed.run(made(placed, 3, RemovePeer(3)))
        placed.run(made(placed, 4, AddLearner(4), kinds=(Kind.ADMIN,)))

    def test_what_is_taken_from_a_lost_store(self) -> None:
        """It has no work of that, so its limit doesn't hold the repair up."""
        placed = placement(*row(4), remove_limit=6.0)
        placed.run(made(placed, 1, RemovePeer(3)))
        self.refused(placed, made(placed, 2, RemovePeer(3)), "the limit of store 3")
        silence(placed, 3, 1)
        hear(placed, placed.cluster.now + 20, 1, 2, 4)
        for number in (2, 3, 4):
            placed.run(made(placed, number, RemovePeer(3)))

    def test_a_store_has_a_limit_of_its_own(self) -> None:
        placed = placement(*row(4))
        change(placed, 4, add_limit=12.0)
        placed.run(made(placed, 1, AddLearner(4)))
        placed.run(made(placed, 2, AddLearner(4)))
        self.refused(placed, made(placed, 3, AddLearner(4)), "the limit of store 4")

    def test_no_majority(self) -> None:
        placed = placement(region(1, stores=(1, 2, 3)))
        silence(placed, 2, 25)
        self.refused(placed, made(placed, 1, RemovePeer(3)), "no majority")


class PlanTests(SynchronousTestCase):
    """The steps from where replicas are to where they shall be."""

    def plan(self, known: RegionInfo, voters: tuple[int, ...], leaders: tuple[int, ...] = ()) -> tuple[Step, ...]:
        """Give the steps."""
        return placing(placement(known, stores=6).cluster, known, voters, leaders)

    def test_nothing_to_do(self) -> None:
        self.assertEqual(self.plan(region(1), (3, 2, 1)), ())

    def test_one_more(self) -> None:
        self.assertEqual(self.plan(region(1), (1, 2, 3, 4)), (AddLearner(4), PromoteLearner(4)))

    def test_two_more(self) -> None:
        self.assertEqual(
            self.plan(region(1, stores=(1,)), (1, 2, 3)),
            (AddLearner(2), AddLearner(3), EnterJoint((2, 3), ()), LeaveJoint()),
        )

    def test_one_less(self) -> None:
        """Who leads hands over first."""
        self.assertEqual(self.plan(region(1), (1, 2)), (RemovePeer(3),))
        self.assertEqual(self.plan(region(1), (2, 3)), (TransferLeader(2), RemovePeer(1)))
        self.assertEqual(self.plan(region(1), (2, 3), (3,)), (TransferLeader(3), RemovePeer(1)))

    def test_the_leaders_replica_moves(self) -> None:
        self.assertEqual(
            self.plan(region(1), (4, 2, 3), (3, 2)),
            (AddLearner(4), TransferLeader(3), EnterJoint((4,), (1,)), LeaveJoint(), RemovePeer(1)),
        )

    def test_the_only_replica_moves(self) -> None:
        self.assertEqual(
            self.plan(region(1, stores=(1,)), (4,)),
            (AddLearner(4), PromoteLearner(4), TransferLeader(4), RemovePeer(1)),
        )

    def test_all_replicas_move(self) -> None:
        self.assertEqual(
            self.plan(region(1), (4, 5, 6), (5,)),
            (
                AddLearner(4), AddLearner(5), AddLearner(6), PromoteLearner(5), TransferLeader(5),
                EnterJoint((4, 6), (1, 2, 3)), LeaveJoint(), RemovePeer(1), RemovePeer(2), RemovePeer(3),
            ),
        )  # fmt: skip

    def test_a_learner_that_is_there(self) -> None:
        self.assertEqual(self.plan(region(1, stores=(1, 2), learners=(4,)), (1, 2, 4)), (PromoteLearner(4),))
        self.assertEqual(self.plan(region(1, learners=(4,)), (1, 2, 3)), (RemovePeer(4),))

    def test_the_new_one_shall_lead(self) -> None:
        steps = self.plan(region(1), (1, 2, 4), (4,))
        self.assertEqual(steps[-2:], (RemovePeer(3), TransferLeader(4)))

    def test_refusals(self) -> None:
        for known, voters, words in (
            (joint(), (1, 2, 3), "joint"),
            (region(1, leader=None), (1, 2), "without a leader"),
            (region(1), (), "no voter"),
            (region(1, down={2: 60.0, 3: 60.0}), (1, 2, 4), "too few"),
            (region(1, down={2: 60.0}), (1, 2), "too few"),
        ):
            self.assertIn(words, str(self.assertRaises(Refused, self.plan, known, voters)))


class AdminTests(SynchronousTestCase):
    """What a person asks for."""

    def test_what_can_be_asked_for(self) -> None:
        placed = placement(*row(2))
        cluster = placed.cluster
        for asked, steps in (
            (admin.transfer_leader(cluster, 1, 2), (TransferLeader(2),)),
            (admin.add_peer(cluster, 1, 4), (AddLearner(4), PromoteLearner(4))),
            (admin.remove_peer(cluster, 1, 3), (RemovePeer(3),)),
            (
                admin.move_peer(cluster, 1, 3, 4),
                (AddLearner(4), EnterJoint((4,), (3,)), LeaveJoint(), RemovePeer(3)),
            ),
            (admin.split(cluster, 1, (b"0000z", b"0000b")), (SplitRegion(1, (b"0000b", b"0000z")),)),
            (admin.split(cluster, 1), (SplitRegion(1),)),
            (admin.merge(cluster, 1, 2), (MergeRegion(2, 1),)),
        ):
            self.assertEqual((asked.steps, asked.priority), (steps, Priority.HIGH))
            order = placed.run(asked)
            self.assertEqual(order and order.step, steps[0])
            placed.controller.cancel(asked, "next")

    def test_a_merge_moves_first(self) -> None:
        placed = placement(row(2)[0], region(2, b"0001", stores=(1, 2, 4)))
        steps = admin.merge(placed.cluster, 1, 2).steps
        self.assertEqual(steps, (AddLearner(4), EnterJoint((4,), (3,)), LeaveJoint(), RemovePeer(3), MergeRegion(2, 1)))

    def test_refusals(self) -> None:
        first, second, third = row(3)
        placed = placement(first, second, region(3, third.start, kind="raw"))
        cluster = placed.cluster
        silence(placed, 4, 25)
        for ask, words in (
            (lambda: admin.transfer_leader(cluster, 9, 2), "region 9 isn't known"),
            (lambda: admin.transfer_leader(cluster, 1, 1), "leads region 1 already"),
            (lambda: admin.transfer_leader(cluster, 1, 4), "store 4 isn't up"),
            (lambda: admin.add_peer(cluster, 1, 2), "has a voter of region 1 already"),
            (lambda: admin.add_peer(cluster, 1, 4), "store 4 isn't up"),
            (lambda: admin.remove_peer(cluster, 1, 4), "no peer of region 1"),
            (lambda: admin.move_peer(cluster, 1, 4, 2), "no voter of region 1"),
            (lambda: admin.split(cluster, 2, (b"0001",)), "isn't within the region"),
            (lambda: admin.merge(cluster, 1, 3), "isn't beside"),
            (lambda: admin.merge(cluster, 2, 3), "different kinds"),
        ):
            self.assertIn(words, str(self.assertRaises(Refused, ask)))
