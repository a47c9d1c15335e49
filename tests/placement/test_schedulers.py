"""Hot regions, stores that shall or shall not lead, merges, scattering, and when each has its turn."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.placement.making import MB, START, change, hear, only, placement, region, row, silence
from tests.placement.model import ModelCluster, quick
from tinykv.placement.balance_leader import balance_leaders
from tinykv.placement.balance_region import balance_regions
from tinykv.placement.config import PlacementConfig
from tinykv.placement.hot_region import spread_hot_regions
from tinykv.placement.leadership import evict_leaders, grant_leaders
from tinykv.placement.limits import Flow
from tinykv.placement.operators import Kind
from tinykv.placement.placement import Placement
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.scatter import GROUPS
from tinykv.placement.steps import AddLearner, MergeRegion, RemovePeer, TransferLeader
from tinykv.placement.stores import Life


class HotTests(SynchronousTestCase):
    """Hot regions by measured reads and writes."""

    def beat(self, placed: Placement, told: list[RegionInfo], times: int = 3) -> Placement:
        """Have regions send heartbeats."""
        for _ in range(times):
            for each in told:
                placed.heartbeat(each, START)
        return placed

    def told(self, *hot: dict[str, Any], count: int = 8) -> list[RegionInfo]:
        """Give some regions of which the first are hot, all led by store 1."""
        cold = [{"reads": 5.0}] * (count - len(hot))
        return [
            region(each.region, each.start, each.end, **load)
            for each, load in zip(row(count), [*hot, *cold], strict=True)
        ]

    def test_two_hot_regions_are_parted(self) -> None:
        told = self.told({"reads": 5000.0}, {"reads": 4000.0})
        placed = self.beat(placement(stores=3), told)
        operator = spread_hot_regions(placed.scene)
        assert operator is not None
        self.assertEqual((operator.region, operator.name, operator.steps), (1, "hot-region", (TransferLeader(2),)))
        placed.controller.add(operator)
        self.assertIsNone(spread_hot_regions(placed.scene))

    def test_a_single_hot_region_stays(self) -> None:
        """Wherever it was, it would be all the work there."""
        placed = self.beat(placement(stores=4), self.told({"reads": 5000.0}))
        self.assertEqual(placed.hot.lasting(placed.cluster.config), [1])
        self.assertIsNone(spread_hot_regions(placed.scene))

    def test_bytes_count(self) -> None:
        told = self.told({"read_bytes": 5e6}, {"write_bytes": 3e6})
        self.assertIsNotNone(spread_hot_regions(self.beat(placement(stores=3), told).scene))

    def test_written_regions_move_where_leadership_is_of_no_use(self) -> None:
        """All three stores apply the same writes; a fourth has nothing to do."""
        told = [
            region(each.region, each.start, each.end, leader=place % 3 + 1, writes=3000.0 if place < 6 else 1.0)
            for place, each in enumerate(row(24))
        ]
        placed = self.beat(placement(), told)
        operator = spread_hot_regions(placed.scene)
        assert operator is not None
        self.assertIn(AddLearner(4), operator.steps)
        self.assertEqual(operator.kinds, (Kind.HOT, Kind.REGION))

    def test_how_hot(self) -> None:
        """Below hot_least nothing is, nor when all are alike; and it moves when it's so for three heartbeats."""
        for told, beats, hot, lasting in (
            (self.told({"reads": 99.0}, {"reads": 99.0}), 9, False, []),
            (self.told({"reads": 101.0}, {"reads": 101.0}), 9, True, [1, 2]),
            (self.told({"reads": 5000.0}, {"reads": 4000.0}), 2, True, []),
            (self.told({"reads": 5000.0}, {"reads": 4000.0}), 3, True, [1, 2]),
            ([region(each.region, each.start, each.end, reads=900.0) for each in row(3)], 9, False, [1, 2, 3]),
        ):
            placed = self.beat(placement(stores=3), told, beats)
            config = placed.cluster.config
            self.assertEqual(any(placed.hot.hot(each.region, config) for each in told), hot, told[0])
            self.assertEqual(placed.hot.lasting(config), lasting)

    def test_a_new_leader_begins_anew(self) -> None:
        """It isn't moved again at once; that much is wanted of it is known all the while."""
        told = self.told({"reads": 5000.0}, {"reads": 4000.0})
        placed = self.beat(placement(stores=3), told)
        self.assertEqual(placed.hot.lasting(placed.cluster.config), [1, 2])
        placed.heartbeat(region(1, b"", b"0001", leader=2, reads=5000.0), START)
        self.assertEqual(placed.hot.lasting(placed.cluster.config), [2])
        self.assertTrue(placed.hot.hot(1, placed.cluster.config))

    def test_what_does_nothing_is_never_busy(self) -> None:
        """Even where whatever does something is."""
        placed = self.beat(placement(stores=3, hot_least=0), self.told({"reads": 1.0}, {}, count=2))
        self.assertEqual(placed.hot.lasting(placed.cluster.config), [1])
        self.assertFalse(placed.hot.busy(2))
        self.assertIsNone(spread_hot_regions(placed.scene))

    def test_what_isnt_busy_is_spread_by_numbers(self) -> None:
        """Store 1 has more of what isn't worth a thought; that doesn't move what is."""
        told = [
            region(each.region, each.start, each.end, leader=1 + place // 30, reads=90.0 if place < 29 else 120.0)
            for place, each in enumerate(row(31))
        ]
        placed = self.beat(placement(stores=3), told)
        self.assertEqual((placed.hot.on(1), placed.hot.on(2)), (120.0, 120.0))
        self.assertIsNone(spread_hot_regions(placed.scene))

    def test_who_may_lead(self) -> None:
        """The others write as much, so only the fourth store is less busy, and it's not to lead."""
        told = [
            region(each.region, each.start, each.end, leader=place % 3 + 1, writes=3000.0)
            for place, each in enumerate(row(6))
        ]
        for choices, weight, may in (
            ({}, 1.0, True),
            ({"evict_leader": (4,)}, 1.0, False),
            ({}, 0.0, False),
            ({"grant_leader": (1, 2, 3)}, 1.0, False),
        ):
            placed = placement(**choices)
            change(placed, 4, leader_weight=weight)
            operator = spread_hot_regions(self.beat(placed, told).scene)
            assert operator is not None or not may
            self.assertEqual(operator is not None and TransferLeader(4) in operator.steps, may, (choices, weight))

    def test_a_store_that_leads_whatever_it_can(self) -> None:
        """It would lead what it gets a replica of, so all of that counts."""
        told = [
            region(each.region, each.start, each.end, leader=1 + place % 3, reads=2000.0, writes=300.0)
            for place, each in enumerate(row(6))
        ]
        for granted, brought, may in (((), 300.0, True), ((4,), 2600.0, True), ((1, 4), 300.0, True)):
            placed = self.beat(placement(grant_leader=granted), told)
            known = placed.cluster.regions.get(1)
            assert known is not None
            self.assertEqual(placed.scene.brought(known, 2, 4), brought)
            self.assertEqual(placed.scene.brought(known, 1, 4), 2600.0)
            placed.scene.loads[4] = 4000.0
            self.assertEqual(spread_hot_regions(placed.scene) is not None, may)

    def test_balance_leaves_their_leaders_where_they_are(self) -> None:
        """Store 4 leads nothing, and could only be given what is hot."""
        for reads, left in ((5000.0, True), (5.0, False)):
            told = [
                region(each.region, each.start, each.end, stores=(1, 4), reads=reads)
                if place < 2
                else region(each.region, each.start, each.end, stores=(2, 3), leader=2 + place % 2, reads=5.0)
                for place, each in enumerate(row(8))
            ]
            placed = self.beat(placement(replicas=2), told, 5)
            self.assertEqual(balance_leaders(placed.scene) is None, left)

    def test_balance_leaves_their_replicas_where_they_are(self) -> None:
        """Where these make work."""
        for load, left in (({"writes": 5000.0}, True), ({"reads": 5000.0}, False), ({"reads": 5.0}, False)):
            told = [
                region(each.region, each.start, each.end, stores=(1, 2), size=100 * MB, **load)
                if place < 4
                else region(each.region, each.start, each.end, stores=(3, 4), reads=5.0, size=MB)
                for place, each in enumerate(row(18))
            ]
            placed = self.beat(placement(replicas=2), told, 5)
            for store in (3, 4):
                change(placed, store, remove_limit=0.001)
                placed.cluster.limits.take(store, Flow.REMOVE, 0.001 / 60, START)
            operator = balance_regions(placed.scene)
            self.assertEqual(operator is None, left)
            # Who leads what is hot keeps it; who doesn't gives no work away with it.
            self.assertFalse(load == {"reads": 5000.0} and operator and RemovePeer(1) in operator.steps)

    def test_it_comes_to_rest(self) -> None:
        cluster = ModelCluster(quick())
        cluster.add_regions(20, [cluster.add_store() for _ in range(5)][:3])
        for number in range(1, 7):
            cluster.regions[number].reads = 1000.0
        cluster.settle()
        cluster.assert_whole()
        led = Counter(cluster.regions[number].leader for number in range(1, 7))
        self.assertLessEqual(max(led.values()), 2)
        self.assertEqual([cluster.round() for _ in range(200)], [0] * 200)


class LeadershipTests(SynchronousTestCase):
    """Evict-leader and grant-leader."""

    def test_a_store_that_shall_not_lead(self) -> None:
        placed = placement(*row(3), evict_leader=(1,))
        operator = evict_leaders(placed.scene)
        assert operator is not None
        self.assertEqual((operator.name, operator.steps), ("evict-leader", (TransferLeader(2),)))
        self.assertIsNone(evict_leaders(placement(*row(3), evict_leader=(2,)).scene))

    def test_a_store_of_weight_0(self) -> None:
        """It hands over the last leadership too, and what makes work to those that are busier."""
        told = [region(1, b"", b"m", reads=500.0), region(2, b"m", b"", leader=2, reads=700.0)]
        placed = placement(*told, stores=2, replicas=3)
        for each in told:
            placed.heartbeat(each, START)
        change(placed, 1, leader_weight=0.0)
        operator = balance_leaders(placed.scene)
        self.assertEqual(operator and (operator.region, operator.steps), (1, (TransferLeader(2),)))

    def test_a_store_that_is_emptied(self) -> None:
        placed = placement(*row(3))
        self.assertIsNone(evict_leaders(placed.scene))
        change(placed, 1, life=Life.OFFLINE)
        self.assertIsNotNone(evict_leaders(placed.scene))

    def test_not_to_others_that_shall_not_lead(self) -> None:
        operator = evict_leaders(placement(*row(1), evict_leader=(1, 2)).scene)
        self.assertEqual(operator and operator.steps, (TransferLeader(3),))
        self.assertIsNone(evict_leaders(placement(*row(1), evict_leader=(1, 2, 3)).scene))

    def test_a_store_that_shall_lead(self) -> None:
        placed = placement(*row(3), grant_leader=(3,))
        operator = grant_leaders(placed.scene)
        assert operator is not None
        self.assertEqual((operator.name, operator.steps), ("grant-leader", (TransferLeader(3),)))
        silence(placed, 3, 21)
        self.assertIsNone(grant_leaders(placed.scene))

    def test_they_come_to_rest(self) -> None:
        for choice, led in (({"evict_leader": [1]}, 0), ({"grant_leader": [1]}, 12)):
            cluster = ModelCluster(quick(**choice))
            cluster.add_regions(12, [cluster.add_store() for _ in range(3)])
            cluster.settle()
            self.assertEqual(cluster.leaders()[1], led)


class MergeTests(SynchronousTestCase):
    """Merges of small neighbours."""

    def merged(self, *told: RegionInfo, later: float = 3600.0, **choices: Any) -> dict[int, str]:
        """Give what is begun with some regions, so long after they were heard of."""
        placed = placement(*told, **{"schedulers": (), "merge_by_size": True, **choices})
        hear(placed, START + later)
        placed.tick(START + later)
        self.placed = placed
        return only(placed)

    def small(self, *sizes: int, **others: Any) -> list[RegionInfo]:
        """Give regions of so many MB."""
        return [
            region(each.region, each.start, each.end, size=size * MB, **others)
            for each, size in zip(row(len(sizes)), sizes, strict=True)
        ]

    def test_the_neighbour_that_is_small_enough(self) -> None:
        self.assertEqual(self.merged(*self.small(18, 4, 3, 50)), {2: "merge"})
        self.assertEqual(self.placed.controller.running[0].steps, (MergeRegion(3, 1),))

    def test_at_the_limits(self) -> None:
        self.assertEqual(self.merged(*self.small(10, 10)), {1: "merge"})
        self.assertEqual(self.merged(*self.small(10, 11)), {})
        self.assertEqual(self.merged(*self.small(1, 1, keys=100_000)), {1: "merge"})
        self.assertEqual(self.merged(*self.small(1, 1, keys=100_001)), {})

    def test_not_soon_after_a_split(self) -> None:
        """Nor after the scheduler heard of them first, which may have been one."""
        self.assertEqual(self.merged(*self.small(1, 1), later=3599.0), {})
        whole = region(1, size=MB)
        placed = placement(whole, schedulers=(), merge_by_size=True)
        hear(placed, START + 5000)
        for each in self.small(1, 1, version=2):
            placed.heartbeat(each, START + 5000)
        hear(placed, START + 8599)
        placed.tick(START + 8599)
        self.assertEqual(only(placed), {})
        hear(placed, START + 8600)
        placed.tick(START + 8600)
        self.assertEqual(only(placed), {1: "merge"})

    def test_no_fewer_than_a_number(self) -> None:
        self.assertEqual(len(self.merged(*self.small(1, 1, 1, 1), least_regions=3)), 1)
        self.assertEqual(self.merged(*self.small(1, 1), least_regions=2), {})

    def test_two_pairs_at_once(self) -> None:
        self.assertEqual(self.merged(*self.small(1, 1, 1, 1)), {1: "merge", 3: "merge"})
        self.assertEqual(self.merged(*self.small(1, 1, 1, 1), merge_limit=1), {1: "merge"})

    def test_not_what_is_wanted_much(self) -> None:
        """Neither beside hot_least nor under another leader, which hasn't measured anything yet."""
        told = [region(each.region, each.start, each.end, reads=150.0, size=MB) for each in row(2)]
        placed = placement(*told, stores=3, schedulers=[], merge_by_size=True, merge_pause=60.0)
        now = START
        for seconds in (100.0, 110.0):
            now = START + seconds
            hear(placed, now)
            for each in told:
                placed.heartbeat(each, now)
            placed.tick(now)
        self.assertEqual(only(placed), {})
        for each in told:
            placed.heartbeat(replace(each, leader=2, term=7, reads=0.0), now)
        placed.tick(now + 1)
        self.assertEqual(only(placed), {})

    def test_not_what_would_be_split_again(self) -> None:
        """By its load, or by its size: what's merged may have half of it."""
        for choices, load, size, merged in (
            ({"split_load_threshold": 40}, 4.75, MB, True),
            ({"split_load_threshold": 40}, 5.0, MB, False),
            ({"split_load_threshold": 0}, 5.0, MB, True),
            ({"region_max_size": 8 * MB, "region_split_size": 4 * MB}, 0.0, 2 * MB, True),
            ({"region_max_size": 8 * MB, "region_split_size": 4 * MB}, 0.0, 2 * MB + 1, False),
        ):
            told = [region(each.region, each.start, each.end, writes=load, size=size) for each in row(2)]
            placed = placement(*told, stores=3, schedulers=[], merge_by_size=True, merge_pause=60.0, **choices)
            now = START + 100
            hear(placed, now)
            for each in told:
                placed.heartbeat(each, now)
            placed.tick(now)
            self.assertEqual(bool(only(placed)), merged, (choices, load, size))

    def test_not_of_different_kinds(self) -> None:
        one, other = self.small(1, 1)
        self.assertEqual(self.merged(one, region(2, other.start, size=MB, kind="raw")), {})
        self.assertEqual(self.merged(one, region(2, other.start, stores=(2, 3, 4), size=MB, kind="raw")), {})

    def test_not_where_something_is_wrong(self) -> None:
        one, other = self.small(1, 1)
        self.assertEqual(self.merged(one, region(2, other.start, size=MB, down={3: 1.0})), {})
        self.assertEqual(self.merged(one, region(2, other.start, size=MB, pending=(3,))), {})
        self.assertEqual(self.merged(one, region(3, b"0005", size=MB, version=1)), {})

    def test_onto_the_neighbours_stores_first(self) -> None:
        one, other = self.small(1, 1)
        self.assertEqual(self.merged(one, region(2, other.start, stores=(2, 3, 4), size=MB)), {1: "merge"})
        steps = self.placed.controller.running[0].steps
        self.assertEqual(
            (steps[:2], steps[-2:]), ((AddLearner(4), TransferLeader(3)), (RemovePeer(1), MergeRegion(2, 1)))
        )

    def test_never(self) -> None:
        self.assertEqual(self.merged(*self.small(0, 0), merge_size=0), {1: "merge"})
        self.assertEqual(self.merged(*self.small(0, 1), merge_size=0), {})

    def test_not_unless_it_is_wanted(self) -> None:
        self.assertEqual(self.merged(*self.small(1, 1), merge_by_size=False), {})
        self.assertFalse(PlacementConfig().merge_by_size)

    def test_it_comes_to_rest(self) -> None:
        """Ten regions of 3 MB become few of at most 20, on more stores than replicas."""
        cluster = ModelCluster(quick(merge_size=20 * MB, merge_pause=100, least_regions=2))
        cluster.add_regions(10, [cluster.add_store() for _ in range(5)][:3], size=3 * MB)
        cluster.settle(quiet=300)
        cluster.assert_whole()
        sizes = [region.size // MB for region in cluster.regions.values()]
        self.assertEqual(sum(sizes), 30)
        self.assertIn(len(sizes), (2, 3))
        self.assertIsNone(cluster.placement.cluster.regions.gap())


class ScatterTests(SynchronousTestCase):
    """Regions of one group, evenly over the stores."""

    def test_after_a_split(self) -> None:
        cluster = ModelCluster(quick(schedulers=[]))
        cluster.add_regions(30, [cluster.add_store() for _ in range(6)][:3], size=0)
        cluster.round()
        begun, refused = cluster.placement.scatter(range(1, 31), "table", cluster.now)
        self.assertEqual(refused, {})
        self.assertGreater(len(begun), 20)
        cluster.settle()
        cluster.assert_whole()
        for counts, mean in ((cluster.counts(), 15), (cluster.leaders(), 5)):
            self.assertLessEqual(max(abs(count - mean) for count in counts.values()), 1, counts)

    def test_refusals(self) -> None:
        placed = placement(*row(2), region(9, b"0001", pending=(3,), version=2))
        begun, refused = placed.scatter([1, 5, 9], "g", START)
        self.assertEqual(sorted(refused), [5, 9])
        self.assertIn("isn't known", refused[5])
        self.assertIn("isn't whole", refused[9])
        placed.scatter([1], "g", START)

    def test_groups_dont_count_for_each_other(self) -> None:
        """The first region of a group stays; the second goes where the first isn't."""
        placed = placement(*row(2), stores=6)
        for group in ("a", "b"):
            self.assertEqual(placed.scatter([1], group, START), ([], {}))
        (operator,), _ = placed.scatter([2], "a", START)
        self.assertEqual(
            [step for step in operator.steps if isinstance(step, AddLearner)], list(map(AddLearner, (4, 5, 6)))
        )

    def test_as_many_groups_as_are_remembered(self) -> None:
        for others, moves in ((GROUPS - 1, 1), (GROUPS, 0)):
            placed = placement(*row(2), stores=6)
            for number in range(1 + others):
                placed.scatter([1], str(number), START)
            begun, _ = placed.scatter([2], "0", START)
            self.assertEqual(len(begun), moves)

    def test_one_that_is_there_already(self) -> None:
        placed = placement(*row(1))
        self.assertEqual(placed.scatter([1], "g", START), ([], {}))


class PaceTests(SynchronousTestCase):
    """When schedulers have their turn."""

    def test_less_and_less_often_while_there_is_nothing_to_do(self) -> None:
        """From 10 ms on, 1.3 times as long after each look, up to five seconds; and again from 10 ms with work."""
        placed = placement(*row(1), stores=3)
        pace = placed._paces["balance-leader"]
        waits = []
        now = START
        for _ in range(30):
            placed.tick(now)
            waits.append(pace.interval)
            now = pace.due
            hear(placed, now)
        self.assertAlmostEqual(waits[0], 0.013)
        self.assertAlmostEqual(waits[1], 0.0169)
        self.assertEqual(waits[-1], 5.0)
        for each in row(3, version=2):
            placed.heartbeat(each, now)
        placed.tick(now)
        self.assertEqual(pace.interval, 0.01)

    def test_those_that_dont_run(self) -> None:
        placed = placement(*row(9), stores=3, schedulers=("hot-region",))
        placed.tick(START)
        self.assertEqual(only(placed), {})
        placed.configure(placed.cluster.config.changed({"schedulers": ["balance-leader"]}))
        placed.tick(START)
        self.assertEqual(list(only(placed).values()), ["balance-leader"])

    def test_first_orders_come_at_once(self) -> None:
        placed = placement(*row(9), stores=3)
        (order,) = placed.tick(START)
        self.assertEqual((order.leader, order.step), (1, TransferLeader(2)))

    def test_an_operator_that_waits_for_its_limit(self) -> None:
        placed = placement(*row(9), stores=3, leader_limit=1)
        for step in range(9):
            placed.tick(START + step)
        self.assertEqual(len(only(placed)), 1)


class GateTests(SynchronousTestCase):
    """The start gate: nothing is decided before most regions have been heard of."""

    def started(self, *counts: int) -> Placement:
        """Give a placement whose stores say that they hold so many replicas, of which none has been heard of."""
        placed = placement(stores=len(counts))
        for store, count in enumerate(counts, 1):
            hear(placed, START, store, regions=count)
        return placed

    def test_four_fifths_of_each_store(self) -> None:
        placed = self.started(10, 10, 10)
        for number, each in enumerate(row(10), 1):
            self.assertFalse(placed.ready)
            placed.tick(START)
            placed.heartbeat(each, START)
            if number == 8:
                break
        self.assertTrue(placed.ready)

    def test_not_only_leaders_count(self) -> None:
        placed = self.started(1, 1, 5)
        placed.heartbeat(region(1), START)
        self.assertFalse(placed.ready)

    def test_nothing_was_heard_of(self) -> None:
        self.assertFalse(self.started(0, 0, 0).ready)
        self.assertFalse(placement(stores=0).ready)

    def test_a_store_that_nobody_heard_of(self) -> None:
        placed = placement(*row(2), stores=3)
        placed.cluster.forget(3)
        self.assertFalse(placed.ready)
        change(placed, 3, life=Life.OFFLINE)
        self.assertTrue(placed.ready)

    def test_after_five_minutes(self) -> None:
        placed = self.started(10, 10, 10)
        placed.tick(START + 299)
        self.assertFalse(placed.ready)
        placed.tick(START + 300)
        self.assertTrue(placed.ready)

    def test_nothing_is_decided(self) -> None:
        placed = self.started(10, 10, 10, 10)
        placed.heartbeat(region(1, stores=(1, 2)), START)
        self.assertEqual((placed.tick(START), only(placed)), ([], {}))
        placed.tick(START + 300)

    def test_it_stays_open(self) -> None:
        placed = placement(region(1), stores=3)
        self.assertTrue(placed.ready)
        hear(placed, START, 1, regions=99)
        self.assertTrue(placed.ready)
