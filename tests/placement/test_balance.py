"""Balance of replicas and of leaders: who gives, who takes, and when it isn't worth it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.placement.making import GB, MB, START, change, hear, placement, region, row, silence
from tinykv.placement.balance_leader import balance_leaders
from tinykv.placement.balance_region import balance_regions
from tinykv.placement.limits import Flow
from tinykv.placement.operators import Operator
from tinykv.placement.placement import Placement
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.steps import AddLearner, RemovePeer, TransferLeader
from tinykv.placement.stores import Life, StoreStats


def moved(operator: Operator | None) -> tuple[int, int, int] | None:
    """Give the region that an operator moves, from where and to where."""
    if operator is None:
        return None
    added = [step.store for step in operator.steps if isinstance(step, AddLearner)]
    removed = [step.store for step in operator.steps if isinstance(step, RemovePeer)]
    return (operator.region, removed[0], added[0])


def on(sizes: dict[int, int]) -> list[RegionInfo]:
    """Give regions of 10 MB with one replica each, so that each store has so many MB."""
    made: list[RegionInfo] = []
    for store, size in sizes.items():
        for _ in range(size // 10):
            number = len(made) + 1
            made.append(region(number, b"%04d" % number, b"%04d" % (number + 1), stores=(store,)))
    return made


class RegionTests(SynchronousTestCase):
    """Balance-region."""

    def placed(self, sizes: dict[int, int]) -> Placement:
        """Give a placement with one replica a region, and so many MB on each store."""
        return placement(*on(sizes), stores=max(sizes), replicas=1, region_tolerance=0.0)

    def test_from_the_fullest_to_the_emptiest(self) -> None:
        operator = balance_regions(self.placed({1: 160, 2: 70, 3: 80, 4: 100}).scene)
        assert operator is not None
        found = moved(operator)
        assert found is not None
        self.assertEqual((operator.name, found[1:]), ("balance-region", (1, 2)))

    def test_worth_more_than_the_region(self) -> None:
        """The taker must have less afterwards than the giver had: 10 MB moves from 30 to 10, and not from 20 to 10."""
        self.assertIsNone(balance_regions(self.placed({1: 20, 2: 10}).scene))
        self.assertIsNotNone(balance_regions(self.placed({1: 30, 2: 10}).scene))
        self.assertIsNotNone(balance_regions(self.placed({1: 60, 2: 50, 3: 50, 4: 40, 5: 40}).scene))

    def test_the_tolerance(self) -> None:
        """What they differ by must be more than a part of the mean, beside the region: 30 MB of 220 are 0.136."""
        placed = self.placed({1: 240, 2: 200})
        for tolerance, worth in ((0.0, True), (0.136, True), (0.137, False)):
            placed.configure(placed.cluster.config.changed({"region_tolerance": tolerance}))
            self.assertEqual(balance_regions(placed.scene) is not None, worth)

    def test_numbers_count_beside_sizes(self) -> None:
        """Eight regions of 1 MB, two of 40: sizes alone would have the small ones stay where they are."""
        placed = placement(
            *(region(each.region, each.start, each.end, stores=(1,), size=MB) for each in row(10)[:8]),
            *(region(each.region, each.start, each.end, stores=(2,), size=40 * MB) for each in row(10)[8:]),
            stores=2,
            replicas=1,
        )
        strain = placed.scene.strain
        self.assertGreater(strain.gain(MB, 1, 2), 0)
        self.assertGreater(strain.gain(40 * MB, 2, 1), 0)
        self.assertLess(strain.gain(MB, 2, 1), 0)

    def test_a_target_that_is_offline_or_down_is_skipped(self) -> None:
        """The next one is taken; and a store that's no more up doesn't give either."""
        placed = self.placed({1: 160, 2: 70, 3: 80, 4: 90})
        change(placed, 2, life=Life.OFFLINE)
        self.assertEqual((moved(balance_regions(placed.scene)) or ())[1:], (1, 3))
        silence(placed, 3, 1801)
        self.assertEqual((moved(balance_regions(placed.scene)) or ())[1:], (1, 4))
        silence(placed, 1, 1801)
        self.assertIsNone(balance_regions(placed.scene))

    def test_the_next_store_gives_where_the_fullest_cant(self) -> None:
        placed = self.placed({1: 160, 2: 150, 3: 10})
        for each in list(placed.cluster.regions):
            if each.stores == (1,):
                placed.heartbeat(region(each.region, each.start, each.end, stores=(1,), leader=None), START)
        self.assertEqual((moved(balance_regions(placed.scene)) or ())[1], 2)

    def test_a_store_that_holds_a_replica_is_no_target(self) -> None:
        placed = placement(*row(12), stores=3)
        self.assertIsNone(balance_regions(placed.scene))

    def test_pending_replicas_first_then_followers_then_leaders(self) -> None:
        """Stores 2 and 3 can't give: of store 1 that is moved first which costs least."""
        told = row(9)
        told[6] = region(7, told[6].start, told[6].end, leader=2)
        placed = self.giving(told)
        self.assertEqual(moved(balance_regions(placed.scene)), (7, 1, 4))
        told[4] = region(5, told[4].start, told[4].end, leader=2, pending=(1,))
        placed = self.giving(told)
        self.assertEqual(sorted(placed.cluster.regions.on(1).followers), [5, 7])
        self.assertEqual(moved(balance_regions(placed.scene)), (5, 1, 4))
        operator = balance_regions(self.giving(row(9)).scene)
        assert operator is not None
        self.assertEqual(operator.steps[1], TransferLeader(2))

    def giving(self, told: list[RegionInfo]) -> Placement:
        """Give a placement in which only store 1 gives, and store 4 takes."""
        placed = placement(*told)
        for store in (2, 3):
            placed.cluster.limits.take(store, Flow.REMOVE, 0.25, START)
            placed.cluster.limits.take(store, Flow.REMOVE, 0.25, START)
            change(placed, store, remove_limit=1.0)
        return placed

    def made(self, placed: Placement) -> Operator:
        """Give what balance decides."""
        operator = balance_regions(placed.scene)
        assert operator is not None
        return operator

    def test_regions_that_arent_whole_are_left_alone(self) -> None:
        """Fewer peers than replicas, more, learners, or somebody down."""
        for others in (
            {"stores": (1, 2)}, {"stores": (1, 2, 3, 5)}, {"learners": (5,)}, {"down": {3: 1.0}}, {"leader": None},
        ):  # fmt: skip
            placed = placement(*row(12, **others), stores=5)
            change(placed, 5, region_weight=0.0)
            self.assertIsNone(balance_regions(placed.scene), others)

    def test_what_is_under_way_counts(self) -> None:
        """Otherwise all would go to a new store before the first has arrived."""
        placed = placement(*row(16), region_tolerance=0.0, add_limit=6000.0, remove_limit=6000.0)
        for _ in range(40):
            if operator := balance_regions(placed.scene):
                placed.controller.add(operator)
        self.assertEqual(len(placed.controller.running), 12)

    def test_places_arent_crowded_for_balance(self) -> None:
        places = {store: {"host": f"h{min(store, 3)}"} for store in range(1, 5)}
        placed = placement(*row(12), places=places)
        found = moved(balance_regions(placed.scene))
        self.assertEqual(found and found[1:], (3, 4))

    def test_space(self) -> None:
        """A store that is short of space gives although it holds no more than others, and takes nothing."""
        placed = placement(*row(12))
        placed.store_heartbeat(4, StoreStats(100 * GB, 15 * GB), START)
        self.assertIsNone(balance_regions(placed.scene))
        even = [
            region(each.region, each.start, each.end, stores=[s for s in (1, 2, 3, 4) if s != each.region % 4 + 1])
            for each in row(16)
        ]
        placed = placement(*even)
        self.assertIsNone(balance_regions(placed.scene))
        placed.store_heartbeat(4, StoreStats(100 * GB, 25 * GB), START)
        self.assertEqual((moved(balance_regions(placed.scene)) or ())[1], 4)

    def test_limits_of_stores(self) -> None:
        placed = self.placed({1: 160, 2: 70, 3: 80})
        for store in (2, 1):
            change(placed, store, add_limit=1.0, remove_limit=1.0)
        placed.controller.add(self.made(placed))
        self.assertIsNone(balance_regions(placed.scene))

    def test_weights(self) -> None:
        placed = self.placed({1: 80, 2: 40})
        self.assertIsNotNone(balance_regions(placed.scene))
        change(placed, 1, region_weight=2.0)
        self.assertIsNone(balance_regions(placed.scene))

    def test_one_store_or_none(self) -> None:
        self.assertIsNone(balance_regions(placement(stores=0).scene))
        self.assertIsNone(balance_regions(self.placed({1: 80}).scene))


class LeaderTests(SynchronousTestCase):
    """Balance-leader."""

    def placed(self, leaders: dict[int, int], **choices: object) -> Placement:
        """Give regions on stores 1 to 4, of which each store leads so many."""
        led = [store for store, count in leaders.items() for _ in range(count)]
        regions = row(len(led), stores=(1, 2, 3, 4))
        return placement(
            *(region(each.region, each.start, each.end, stores=(1, 2, 3, 4), leader=leader)
              for each, leader in zip(regions, led, strict=True)),
            **{"replicas": 4, **choices},
        )  # fmt: skip

    def handed(self, placed: Placement) -> tuple[int, int] | None:
        """Tell from which store to which one leadership goes."""
        operator = balance_leaders(placed.scene)
        if operator is None:
            return None
        known = placed.cluster.regions.get(operator.region)
        (step,) = operator.steps
        assert known and known.leader and isinstance(step, TransferLeader)
        return known.leader, step.target

    def test_from_the_one_that_leads_most(self) -> None:
        self.assertEqual(self.handed(self.placed({1: 9, 2: 3, 3: 4, 4: 1})), (1, 4))

    def test_the_tolerance(self) -> None:
        """By default a difference of two is worth a transfer, and one of one isn't."""
        self.assertIsNone(self.handed(self.placed({1: 2, 2: 1, 3: 1, 4: 1})))
        self.assertEqual(self.handed(self.placed({1: 3, 2: 2, 3: 2, 4: 1})), (1, 4))
        self.assertIsNone(self.handed(self.placed({1: 10, 2: 1, 3: 9, 4: 9}, leader_tolerance=9)))
        self.assertEqual(self.handed(self.placed({1: 11, 2: 1, 3: 9, 4: 9}, leader_tolerance=9)), (1, 2))

    def test_numbers_count_and_not_sizes(self) -> None:
        regions = row(4, stores=(1, 2))
        regions[0] = region(1, b"", regions[0].end, stores=(1, 2), size=GB)
        led = [region(each.region, each.start, each.end, stores=(1, 2), leader=1 + place % 2, size=each.size)
               for place, each in enumerate(regions)]  # fmt: skip
        self.assertIsNone(self.handed(placement(*led, stores=2, replicas=2)))

    def test_who_isnt_given_leadership(self) -> None:
        """Leaving, busy, silent, evicted, weightless: the next one is."""
        for put in (
            lambda placed: change(placed, 4, life=Life.OFFLINE),
            lambda placed: hear(placed, START, 4, busy=True),
            lambda placed: silence(placed, 4, 21),
            lambda placed: silence(placed, 4, 1801),
            lambda placed: placed.configure(placed.cluster.config.changed({"evict_leader": [4]})),
            lambda placed: change(placed, 4, leader_weight=0.0),
            lambda placed: placed.cluster.forget(4),
        ):
            placed = self.placed({1: 9, 2: 2, 3: 4, 4: 0})
            put(placed)
            self.assertEqual(self.handed(placed), (1, 2))

    def test_who_doesnt_give_it(self) -> None:
        """A store that's silent can't be asked; one that leaves can; one that shall lead keeps it."""
        placed = self.placed({1: 9, 2: 6, 3: 2, 4: 1})
        silence(placed, 1, 21)
        self.assertEqual(self.handed(placed), (2, 4))
        placed = self.placed({1: 9, 2: 6, 3: 2, 4: 1})
        change(placed, 1, life=Life.OFFLINE)
        self.assertEqual(self.handed(placed), (1, 4))
        placed.configure(placed.cluster.config.changed({"grant_leader": [1]}))
        self.assertEqual(self.handed(placed), (2, 4))

    def test_regions_with_somebody_behind_stay(self) -> None:
        placed = placement(*row(9, pending=(3,)))
        self.assertIsNone(self.handed(placed))

    def test_what_is_under_way_counts(self) -> None:
        placed = self.placed({1: 8}, leader_limit=100)
        for _ in range(20):
            if operator := balance_leaders(placed.scene):
                placed.controller.add(operator)
        self.assertEqual(len(placed.controller.running), 6)

    def test_the_one_that_leads_least_takes(self) -> None:
        regions = row(16)
        told = [region(each.region, each.start, each.end, stores=(1, 2, 3)) for each in regions[:8]]
        told += [region(each.region, each.start, each.end, stores=(2, 3, 4), leader=2) for each in regions[8:]]
        placed = placement(*told, candidates=1)
        self.assertIn(self.handed(placed), [(1, 3), (2, 4)])

    def test_weights(self) -> None:
        placed = self.placed({1: 6, 2: 3, 3: 3, 4: 3})
        change(placed, 1, leader_weight=2.0)
        self.assertIsNone(self.handed(placed))

    def test_without_stores(self) -> None:
        self.assertIsNone(balance_leaders(placement(stores=0).scene))
