"""The repair of replicas: what is wrong with a region, and what is done about it first."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.placement.making import GB, MB, START, change, hear, only, placement, region, row, silence
from tinykv.placement.operators import Operator, Priority
from tinykv.placement.placement import Placement
from tinykv.placement.region_info import PeerInfo, RegionInfo, Role
from tinykv.placement.replica_checker import check_replicas
from tinykv.placement.steps import (
    AddLearner,
    EnterJoint,
    LeaveJoint,
    PromoteLearner,
    RemovePeer,
    Step,
    TransferLeader,
)
from tinykv.placement.stores import Life, StoreStats

#: Two zones with two hosts of two stores each.
PLACES = {store: {"zone": f"z{store // 4}", "host": f"h{store // 2}"} for store in range(8)}


def checked(placed: Placement, number: int = 1) -> Operator | None:
    """Give what the check says of a region."""
    known = placed.cluster.regions.get(number)
    assert known is not None
    return check_replicas(placed.scene, known)


class CheckerTests(SynchronousTestCase):
    """One region at a time."""

    def decided(self, placed: Placement, name: str, *steps: Step, priority: Priority = Priority.HIGH) -> None:
        """Expect an operator for region 1."""
        operator = checked(placed)
        assert operator is not None
        self.assertEqual((operator.name, operator.steps, operator.priority), (name, steps, priority))

    def test_nothing_is_wrong(self) -> None:
        self.assertIsNone(checked(placement(region(1))))

    def test_a_store_that_is_down(self) -> None:
        """Thirty minutes without a word; not a second sooner."""
        placed = placement(region(1))
        silence(placed, 3, 1800)
        self.assertIsNone(checked(placed))
        silence(placed, 3, 1)
        self.decided(placed, "down-peer", AddLearner(4), EnterJoint((4,), (3,)), LeaveJoint(), RemovePeer(3))

    def test_a_peer_that_is_down(self) -> None:
        """The store is up, but the leader hasn't heard of its peer."""
        self.assertIsNone(checked(placement(region(1, down={3: 1800.0}))))
        placed = placement(region(1, down={3: 1801.0}))
        self.decided(placed, "down-peer", AddLearner(4), EnterJoint((4,), (3,)), LeaveJoint(), RemovePeer(3))

    def test_a_down_store_and_no_other(self) -> None:
        """Two of three are left as they are: the third may come back."""
        placed = placement(region(1), stores=3)
        silence(placed, 3, 1801)
        self.assertIsNone(checked(placed))

    def test_a_down_store_too_many(self) -> None:
        placed = placement(region(1, stores=(1, 2, 3, 4)))
        silence(placed, 3, 1801)
        self.decided(placed, "down-peer", RemovePeer(3))

    def test_without_a_majority(self) -> None:
        placed = placement(region(1), stores=6)
        silence(placed, 3, 1801)
        hear(placed, placed.cluster.now + 1801, 1, 4, 5, 6)
        self.assertIsNone(checked(placed))

    def test_a_store_that_is_offline(self) -> None:
        placed = placement(region(1))
        change(placed, 3, life=Life.OFFLINE)
        self.decided(placed, "offline-peer", AddLearner(4), EnterJoint((4,), (3,)), LeaveJoint(), RemovePeer(3))

    def test_an_offline_store_that_leads(self) -> None:
        """Leaders first, then peers."""
        placed = placement(region(1))
        change(placed, 1, life=Life.OFFLINE)
        self.decided(
            placed, "offline-peer",
            AddLearner(4), TransferLeader(2), EnterJoint((4,), (1,)), LeaveJoint(), RemovePeer(1),
        )  # fmt: skip

    def test_an_offline_store_too_many(self) -> None:
        placed = placement(region(1, stores=(1, 2, 3, 4)))
        change(placed, 1, life=Life.OFFLINE)
        self.decided(placed, "offline-peer", TransferLeader(2), RemovePeer(1))

    def test_a_store_that_was_buried_by_force(self) -> None:
        placed = placement(region(1))
        change(placed, 3, life=Life.TOMBSTONE)
        self.decided(placed, "down-peer", AddLearner(4), EnterJoint((4,), (3,)), LeaveJoint(), RemovePeer(3))

    def test_down_before_offline(self) -> None:
        placed = placement(region(1), stores=5)
        change(placed, 2, life=Life.OFFLINE)
        silence(placed, 3, 1801)
        operator = checked(placed)
        self.assertEqual(operator and operator.name, "down-peer")

    def test_missing_replicas(self) -> None:
        self.decided(placement(region(1, stores=(1, 2))), "add-replica", AddLearner(3), PromoteLearner(3))
        self.decided(
            placement(region(1, stores=(1,))),
            "add-replica", AddLearner(2), AddLearner(3), EnterJoint((2, 3), ()), LeaveJoint(),
        )  # fmt: skip

    def test_a_learner_is_promoted_where_a_voter_is_missing(self) -> None:
        self.decided(placement(region(1, stores=(1, 2), learners=(4,))), "add-replica", PromoteLearner(4))

    def test_a_learner_that_is_there_takes_the_place_of_who_is_lost(self) -> None:
        """Its scheduler may have been replaced after it was added, and there's no other store."""
        steps = (EnterJoint((4,), (3,)), LeaveJoint(), RemovePeer(3))
        self.decided(placement(region(1, learners=(4,), down={3: 1801.0})), "down-peer", *steps)
        # The store that leads has it vote when it has caught up, and not before.
        self.decided(placement(region(1, learners=(4,), down={3: 1801.0}, pending=(4,))), "down-peer", *steps)
        # One that has caught up is better; one that is lost as well is none.
        placed = placement(region(1, learners=(4, 5), down={3: 1801.0}, pending=(4,)), stores=5)
        self.decided(placed, "down-peer", EnterJoint((5,), (3,)), LeaveJoint(), RemovePeer(3), RemovePeer(4))
        placed = placement(region(1, learners=(4,), down={3: 1801.0, 4: 1801.0}), stores=5)
        self.decided(
            placed, "down-peer", AddLearner(5), EnterJoint((5,), (3,)), LeaveJoint(), RemovePeer(3), RemovePeer(4)
        )

    def test_a_learner_that_nobody_waits_for(self) -> None:
        """What a cancelled move leaves behind."""
        placed = placement(region(1, learners=(4,)))
        self.decided(placed, "orphan-learner", RemovePeer(4), priority=Priority.NORMAL)

    def test_too_many_replicas(self) -> None:
        """The fullest store gives, unless one can't be relied on."""
        full = [region(number, b"%d" % number, b"%d" % (number + 1), stores=(3, 4), size=GB) for number in (5, 6)]
        placed = placement(region(1, b"", b"1", stores=(1, 2, 3, 4), pending=(4,)), *full)
        self.decided(placed, "extra-replica", RemovePeer(4), priority=Priority.NORMAL)
        placed = placement(region(1, b"", b"1", stores=(1, 2, 3, 4)), full[0])
        self.decided(placed, "extra-replica", RemovePeer(4), priority=Priority.NORMAL)

    def test_too_many_replicas_in_one_place(self) -> None:
        labels = {1: {"host": "a"}, 2: {"host": "b"}, 3: {"host": "c"}, 4: {"host": "b"}}
        placed = placement(region(1, stores=(1, 2, 3, 4)), places=labels)
        operator = checked(placed)
        self.assertIn(operator and operator.steps, [(RemovePeer(2),), (RemovePeer(4),)])

    def test_a_joint_configuration_that_nobody_leaves(self) -> None:
        peers = (PeerInfo(1, 1), PeerInfo(2, 2, Role.INCOMING), PeerInfo(3, 3, Role.OUTGOING))
        self.decided(placement(RegionInfo(1, b"", b"", peers, 1)), "leave-joint", LeaveJoint())

    def test_an_unknown_store(self) -> None:
        """It's skipped: nothing is known, so neither is whether it's lost."""
        self.assertIsNone(checked(placement(region(1, stores=(1, 2, 9)))))
        self.assertIsNone(checked(placement(region(1, stores=(1, 2, 9), down={9: 1800.0}))))

    def test_a_store_that_was_lost_before_it_was_known(self) -> None:
        """The scheduler came later than the cluster began; the leader knows for how long it hasn't heard of it."""
        placed = placement(region(1, stores=(1, 2, 9), down={9: 1801.0}))
        self.decided(placed, "down-peer", AddLearner(3), EnterJoint((3,), (9,)), LeaveJoint(), RemovePeer(9))
        placed = placement(region(1, stores=(1, 2, 9), down={9: 1801.0}), stores=2)
        self.assertIsNone(checked(placed), "there's no other store")
        placed = placement(region(1, stores=(1, 2, 3, 9), down={9: 1801.0}))
        self.decided(placed, "down-peer", RemovePeer(9))

    def test_an_unknown_store_among_too_many(self) -> None:
        """Which voter is the worst can't be said without it; nothing else breaks."""
        known = region(1, stores=(1, 2, 3, 4, 9))
        self.assertIsNone(checked(placement(known)))

    def test_a_lost_learner_of_an_unknown_store(self) -> None:
        """It would be one for ever, and the region never balanced or merged; one that isn't lost may have a purpose."""
        placed = placement(region(1, learners=(9,), down={9: 1801.0}))
        self.decided(placed, "orphan-learner", RemovePeer(9), priority=Priority.NORMAL)
        self.assertIsNone(checked(placement(region(1, learners=(9,)))))
        placed = placement(region(1, stores=(1, 2, 3, 4), learners=(9,), down={9: 1801.0}))
        self.decided(placed, "extra-replica", RemovePeer(4), RemovePeer(9), priority=Priority.NORMAL)

    def test_without_a_leader(self) -> None:
        self.assertIsNone(checked(placement(region(1, stores=(1, 2), leader=None))))

    def test_the_emptiest_store_is_given_it(self) -> None:
        full = region(2, b"m", stores=(3,), size=GB)
        self.decided(
            placement(region(1, b"", b"m", stores=(1, 2)), full), "add-replica", AddLearner(4), PromoteLearner(4)
        )

    def test_who_is_given_nothing(self) -> None:
        """Busy, disconnected, leaving, full, at its limits, or without weight."""
        for what, put in (
            ("busy", lambda placed: hear(placed, START, 4, busy=True)),
            ("silent", lambda placed: silence(placed, 4, 21)),
            ("leaving", lambda placed: change(placed, 4, life=Life.OFFLINE)),
            ("full", lambda placed: placed.store_heartbeat(4, StoreStats(100 * GB, 20 * GB), START)),
            ("snapshots", lambda placed: hear(placed, START, 4, snapshots_receiving=16)),
            ("weight", lambda placed: change(placed, 4, region_weight=0.0)),
            ("unheard", lambda placed: placed.cluster.forget(4)),
        ):
            placed = placement(region(1), stores=4)
            change(placed, 3, life=Life.OFFLINE)
            self.assertIsNotNone(checked(placed), what)
            put(placed)
            self.assertIsNone(checked(placed), what)

    def test_pending_replicas_of_a_store(self) -> None:
        lagging = row(3, stores=(1, 4), pending=(4,))[1:]
        for most, found in ((2, False), (3, True)):
            placed = placement(region(1, b"", b"0001"), *lagging, pending_max=most)
            change(placed, 3, life=Life.OFFLINE)
            self.assertEqual(checked(placed) is not None, found)

    def test_limits_at_the_limit(self) -> None:
        placed = placement(region(1))
        change(placed, 3, life=Life.OFFLINE)
        hear(placed, START, 4, snapshots_receiving=15)
        self.assertIsNotNone(checked(placed))
        placed.store_heartbeat(4, StoreStats(100 * GB, 20 * GB + 10 * MB), START)
        self.assertIsNotNone(checked(placed))

    def test_several_repairs_are_spread(self) -> None:
        """What is under way already counts, so not all go to the same store."""
        placed = placement(*row(4, stores=(1, 2)), stores=4, schedulers=())
        placed.tick(START)
        steps = [step for each in placed.controller.running for step in each.steps]
        given = [step.store for step in steps if isinstance(step, AddLearner)]
        self.assertEqual(sorted(given), [3, 3, 4, 4])


class LabelTests(SynchronousTestCase):
    """No two replicas in one host or zone where that can be avoided."""

    def placed(self, *stores: int, among: tuple[int, ...] = tuple(range(1, 8)), **choices: Any) -> Placement:
        """Give a region on some stores, while others are up."""
        made = placement(region(1, stores=stores), stores=7, places=PLACES, **choices)
        for store in range(1, 8):
            if store not in among:
                change(made, store, region_weight=0.0)
        return made

    def test_a_replica_is_added_where_there_is_none(self) -> None:
        """Another zone before another host."""
        operator = checked(self.placed(2, 3))
        assert operator is not None
        self.assertIsInstance(operator.steps[0], AddLearner)
        self.assertIn(operator.steps[0], map(AddLearner, (4, 5, 6, 7)))

    def test_a_replica_moves_out_of_a_shared_host(self) -> None:
        operator = checked(self.placed(2, 3, 4))
        assert operator is not None
        self.assertEqual((operator.name, operator.priority), ("label-peer", Priority.NORMAL))
        self.assertIn(RemovePeer(3), operator.steps)

    def test_what_cant_be_avoided_stays(self) -> None:
        self.assertIsNone(checked(self.placed(2, 3, 4, among=(2, 3, 4, 5))))
        self.assertIsNone(checked(self.placed(1, 2, 4)))

    def test_stores_without_labels(self) -> None:
        """Each is in a place of its own."""
        self.assertIsNone(checked(placement(region(1), places={1: {"host": "a"}})))

    def test_a_lost_replica_is_replaced_in_the_best_place(self) -> None:
        placed = self.placed(1, 2, 4)
        silence(placed, 4, 1801)
        operator = checked(placed)
        assert operator is not None
        self.assertIn(operator.steps[0], map(AddLearner, (5, 6, 7)))

    def test_without_choices_of_labels_hosts_dont_count(self) -> None:
        placed = placement(region(1, stores=(2, 3, 4)), stores=7, places=PLACES, labels=())
        self.assertIsNone(checked(placed))


class PatrolTests(SynchronousTestCase):
    """All regions in turn."""

    def test_regions_are_looked_at_in_turn(self) -> None:
        """At most so many at a time, in the order of their keys, and from the first again."""
        regions = row(5, stores=(1, 2))
        placed = placement(*regions, patrol_regions=2, add_limit=6000.0, schedulers=())
        for at, found in ((0, 2), (0, 2), (0.1, 4), (0.2, 5)):
            placed.tick(START + at)
            self.assertEqual(len(only(placed)), found)
        self.assertEqual(set(only(placed).values()), {"add-replica"})

    def test_a_loss_is_repaired_at_once(self) -> None:
        """What balance has under way for the region makes room; what is half done isn't taken for something wrong."""
        placed = placement(*row(12), stores=5, region_timeout=9000.0, schedulers=("balance-region",))
        placed.tick(START)
        ((number, name),) = only(placed).items()
        self.assertEqual(name, "balance-region")
        known = placed.cluster.regions.get(number)
        assert known is not None
        added = placed.controller.running[0].steps[0]
        assert isinstance(added, AddLearner)
        placed.heartbeat(
            region(number, known.start, known.end, learners=(added.store,), conf_ver=2, pending=(added.store,)), START
        )
        placed.tick(START + 1)
        self.assertEqual(only(placed)[number], "balance-region")
        placed.tick(silence(placed, 3, 1801))
        self.assertEqual(only(placed)[number], "down-peer")

    def test_no_more_than_the_limit(self) -> None:
        placed = placement(*row(9, stores=(1, 2)), replica_limit=4, add_limit=6000.0, schedulers=())
        placed.tick(START)
        placed.tick(START + 1)
        self.assertEqual(len(only(placed)), 4)

    def test_what_is_at_its_limit_waits(self) -> None:
        """Two stores of which each may be given one at once."""
        placed = placement(*row(9, stores=(1, 2)), add_limit=6.0, schedulers=())
        placed.tick(START)
        self.assertEqual(len(only(placed)), 2)
        placed.tick(START + 10)
        self.assertEqual(len(only(placed)), 4)
