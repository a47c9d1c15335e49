"""What the scheduler orders, at stores that are simulated: done once, for the right epoch, and never too much of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.store.members import Cluster, Member
from tinykv.errors import ControlRefused, ControlUnknown
from tinykv.placement.operators import Order
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
from tinykv.raft.membership import ADD_LEARNER, ADD_VOTER, Change
from tinykv.raft.membership import Step as ChangeStep
from tinykv.store.orders import Orders


class Case(SynchronousTestCase):
    """A cluster, and the orders of the store that leads."""

    def setUp(self) -> None:
        #: What was to be split.
        self.splits: list[tuple[int, list[int], Deferred[object]]] = []
        #: And what into which.
        self.merges: list[tuple[int, int, Deferred[object]]] = []

    def begin(self, stores: int = 3) -> Member:
        """Begin it."""
        self.cluster = Cluster(stores, scheduled=True)
        leader = self.cluster.leader()
        self.cluster.run(1)
        self.take_over(leader)
        return leader

    def take_over(self, member: Member) -> None:
        """Have a store be the one that orders go to."""
        self.leader = member
        self.orders = Orders(
            store_id=member.id,
            region=lambda region: member.host if region == 1 else None,
            is_up=member.peering.is_up,
            address=lambda store: None if store == 6 else f"store{store}:1",
            split=self.split,
            merge=self.merge,
        )

    def merge(self, region: int, target: int) -> Deferred[object]:
        """Note that a region is to be merged."""
        deferred: Deferred[object] = Deferred()
        self.merges.append((region, target, deferred))
        return deferred

    def split(self, region: int, slots: Sequence[int]) -> Deferred[object]:
        """Note that a region is to be split."""
        deferred: Deferred[object] = Deferred()
        self.splits.append((region, list(slots), deferred))
        return deferred

    def order(self, step: Step, **more: int) -> Order:
        """Make an order for the region as it is."""
        descriptor = self.leader.host.descriptor
        head = {"region": 1, "leader": self.leader.id, "conf_ver": descriptor.conf_ver, "version": descriptor.version}
        return Order(**{**head, **more}, step=step)

    def done(self, step: Step) -> None:
        """Have something done."""
        before = self.orders.done
        self.orders.take([self.order(step)])
        self.assertEqual(self.orders.done, before + 1)
        self.cluster.run(2)

    def ignored(self, *orders: Order) -> None:
        """Check that orders make no difference, and no words."""
        last, counts = self.leader.group.last, (self.orders.done, self.orders.undone)
        self.orders.take(orders)
        self.assertEqual((self.leader.group.last, (self.orders.done, self.orders.undone)), (last, counts))

    def undone(self, step: Step, why: str) -> None:
        """Check that something isn't done, and that the log says why, once."""
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        last, undone = self.leader.group.last, self.orders.undone
        for _ in range(2):
            self.orders.take([self.order(step)])
        globalLogPublisher.removeObserver(events.append)
        self.assertEqual((self.leader.group.last, self.orders.undone), (last, undone + 2))
        (event,) = [event for event in events if "order" in event]
        self.assertIn(why, event["why"])

    def other(self, *but: int) -> Member:
        """Give a store that neither leads nor is one of these."""
        return next(m for m in self.cluster.members.values() if m is not self.leader and m.id not in but)

    def with_learner(self, store: int = 4) -> Member:
        """Add a learner, and let it catch up."""
        member = self.cluster.join(store)
        self.done(AddLearner(store))
        self.assertEqual(self.leader.roles[store], "learner")
        return member


class StepTests(Case):
    """Steps that are done."""

    def test_a_learner_that_becomes_a_voter_only_when_told(self) -> None:
        self.begin()
        self.with_learner()
        self.cluster.run(30)
        self.assertEqual(self.leader.roles[4], "learner")
        self.done(PromoteLearner(4))
        self.assertEqual(self.leader.roles, dict.fromkeys((1, 2, 3, 4), "voter"))

    def test_one_voter_for_another(self) -> None:
        self.begin()
        self.with_learner()
        before = self.leader.host.descriptor.conf_ver
        old = self.other(4)
        self.done(EnterJoint((4,), (old.id,)))
        roles = self.leader.roles
        self.assertEqual((roles[4], roles[old.id]), ("voter", "learner"))
        # It was left as well, without being told.
        self.assertEqual(self.leader.host.descriptor.conf_ver, before + 2)
        self.assertFalse(self.leader.host.descriptor.membership.outgoing)
        old.kill()
        self.cluster.run(10)
        self.done(RemovePeer(old.id))
        self.assertNotIn(old.id, self.leader.roles)

    def test_a_joint_configuration_is_left(self) -> None:
        self.begin(4)
        one, other = [m.id for m in self.cluster.members.values() if m is not self.leader][:2]
        descriptor = self.leader.host.descriptor
        peers = [descriptor.peer_on(store) for store in (one, other)]
        change = Change(tuple(ChangeStep(ADD_LEARNER, peer or 0) for peer in peers), auto_leave=False)
        self.leader.group.propose_change(change)
        self.leader.host.replica.go_on()
        self.cluster.run(1)
        self.assertTrue(self.leader.host.descriptor.membership.outgoing)
        self.done(LeaveJoint())
        self.assertFalse(self.leader.host.descriptor.membership.outgoing)

    def test_a_store_that_leaves(self) -> None:
        self.begin(4)
        leaving = self.other()
        self.done(RemovePeer(leaving.id))
        self.assertNotIn(leaving.id, self.leader.roles)

    def test_a_split(self) -> None:
        self.begin()
        self.orders.take([self.order(SplitRegion(1, (b"r\x20\0", b"r\x20\0\0\1more", b"r\x10")))])
        ((region, slots, asked),) = self.splits
        self.assertEqual((region, slots), (1, [0x1000, 0x2000]))
        # It comes again until the region has another version.
        self.ignored(self.order(SplitRegion(1)))
        self.assertEqual(len(self.splits), 1)
        asked.callback(None)
        self.assertEqual((self.orders.done, self.orders.undone), (1, 0))
        self.orders.take([self.order(SplitRegion(1))])
        self.assertEqual(self.splits[1][:2], (1, []))

    def test_a_split_that_fails(self) -> None:
        self.begin()
        problems = (ControlRefused("no ids"), ControlUnknown("who knows"), ValueError("a defect"))
        for number, problem in enumerate(problems):
            self.orders.take([self.order(SplitRegion(1))])
            self.splits[number][2].errback(problem)
        self.assertEqual((self.orders.done, self.orders.undone), (0, 2))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_leadership(self) -> None:
        self.begin()
        target = self.other()
        self.done(TransferLeader(target.id))
        self.assertIs(self.cluster.leader(), target)


class IdempotenceTests(Case):
    """Orders come again and again, and late."""

    def test_the_same_before_it_is_applied(self) -> None:
        self.begin()
        self.cluster.join(4)
        order = self.order(AddLearner(4))
        self.orders.take([order])
        self.ignored(order, order)
        self.cluster.run(2)
        # Now it's for an epoch that was.
        self.ignored(order)
        self.assertEqual(self.leader.host.descriptor.conf_ver, order.conf_ver + 1)

    def test_what_is_done_already(self) -> None:
        self.begin()
        self.with_learner()
        self.ignored(self.order(AddLearner(4)), self.order(AddLearner(2)))
        self.done(PromoteLearner(4))
        self.ignored(
            self.order(PromoteLearner(4)),
            self.order(EnterJoint((4,), ())),
            self.order(LeaveJoint()),
            self.order(RemovePeer(5)),
            self.order(TransferLeader(self.leader.id)),
        )

    def test_a_transfer_that_is_under_way(self) -> None:
        self.begin()
        order = self.order(TransferLeader(self.other().id))
        self.orders.take([order])
        self.assertEqual(self.orders.done, 1)
        self.ignored(order)

    def test_other_epochs_regions_and_leaders(self) -> None:
        self.begin()
        self.cluster.join(4)
        step = AddLearner(4)
        descriptor = self.leader.host.descriptor
        self.ignored(
            self.order(step, conf_ver=descriptor.conf_ver - 1),
            self.order(step, conf_ver=descriptor.conf_ver + 1),
            self.order(step, version=descriptor.version - 1),
            self.order(step, version=descriptor.version + 1),
            self.order(step, region=2),
            self.order(step, leader=self.other().id),
        )
        self.take_over(self.other())
        self.ignored(self.order(step))

    def test_a_change_that_another_leader_lost(self) -> None:
        self.begin()
        old = self.leader
        self.cluster.join(4)
        self.cluster.cut(old.id)
        order = self.order(AddLearner(4))
        self.orders.take([order])
        self.cluster.until(lambda: any(m.host.ready for m in self.cluster.members.values() if m is not old))
        self.cluster.heal()
        self.cluster.run(5)
        self.assertNotIn(4, old.roles)
        self.take_over(self.cluster.leader())
        self.done(AddLearner(4))


class RefusalTests(Case):
    """What isn't done, whoever orders it."""

    def test_who_has_not_caught_up(self) -> None:
        self.begin()
        self.done(AddLearner(4))  # Nobody is there.
        self.undone(PromoteLearner(4), "hasn't caught up")
        self.undone(EnterJoint((4,), (self.other().id,)), "hasn't caught up")
        self.undone(PromoteLearner(5), "no peer")

    def test_who_was_there_and_is_gone(self) -> None:
        self.begin()
        self.with_learner().kill()
        self.cluster.until(lambda: not self.leader.peering.is_up(4))
        self.undone(PromoteLearner(4), "isn't reached")

    def test_who_was_removed_or_is_nowhere(self) -> None:
        self.begin(4)
        gone = self.other()
        self.done(RemovePeer(gone.id))
        self.undone(AddLearner(6), "isn't known where")
        # Another peer, with a number of its own.
        self.done(AddLearner(gone.id))
        self.assertEqual((self.leader.roles[gone.id], self.leader.host.descriptor.removed), ("learner", ()))

    def test_the_leader_itself(self) -> None:
        self.begin()
        self.with_learner()
        self.undone(RemovePeer(self.leader.id), "leads")
        self.undone(EnterJoint((4,), (self.leader.id,)), "leads")

    def test_a_majority_that_is_not_reached(self) -> None:
        self.begin()
        away, staying = self.other(), self.other(self.other().id)
        away.kill()
        self.cluster.until(lambda: not self.leader.peering.is_up(away.id))
        self.undone(RemovePeer(staying.id), "only 1 of the 2")
        # Without the one that's away there is one.
        self.done(RemovePeer(away.id))

    def test_both_majorities_of_a_joint_configuration(self) -> None:
        self.begin()
        away, staying = self.other(), self.other(self.other().id)
        self.with_learner()
        away.kill()
        self.cluster.until(lambda: not self.leader.peering.is_up(away.id))
        self.done(EnterJoint((4,), (away.id,)))
        self.assertEqual(self.leader.roles[away.id], "learner")
        self.cluster.members[4].kill()
        self.cluster.until(lambda: not self.leader.peering.is_up(4))
        self.undone(EnterJoint((), (staying.id,)), "only 1 of the 2")

    def test_leadership_to_nobody(self) -> None:
        self.begin()
        self.with_learner()
        self.undone(TransferLeader(4), "doesn't vote")
        self.undone(TransferLeader(5), "doesn't vote")
        target = self.other(4)
        target.kill()
        self.cluster.until(lambda: not self.leader.peering.is_up(target.id))
        self.undone(TransferLeader(target.id), "isn't reached")

    def test_one_change_at_a_time(self) -> None:
        self.begin()
        self.cluster.join(4)
        peer = self.leader.host.descriptor.peer_on(self.other(4).id) or 0
        self.leader.group.propose_change(Change((ChangeStep(ADD_VOTER, peer),)))
        self.undone(AddLearner(4), "")

    def test_merge(self) -> None:
        """It's told when it's over; until then the same order says nothing new."""
        self.begin()
        order = self.order(MergeRegion(2, 1))
        self.orders.take([order])
        self.orders.take([order])
        ((region, target, merging),) = self.merges
        self.assertEqual((region, target, self.orders.done), (1, 2, 0))
        merging.errback(ControlRefused("it lags"))
        self.assertEqual((self.orders.done, self.orders.undone), (0, 1))
        self.orders.take([order])
        self.merges[1][2].callback(None)
        self.assertEqual((len(self.merges), self.orders.done), (2, 1))

    def test_where_nothing_can_be_cut(self) -> None:
        self.begin()
        for key in (b"k", b"r", b"r\0\0\0\1key", b"w", b"wkey"):
            self.undone(SplitRegion(1, (b"r\x10\0", key)), "slots aren't cut")
        self.assertEqual(self.splits, [])
