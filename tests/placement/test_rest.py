"""From wherever regions are balance ends, and ends where it should: each move lowers what stores differ by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.placement.making import GB, MB, START, change, placement, region, row
from tinykv.placement.balance_leader import balance_leaders
from tinykv.placement.balance_region import balance_regions
from tinykv.placement.hot_region import spread_hot_regions
from tinykv.placement.labels import crowding
from tinykv.placement.operators import Operator
from tinykv.placement.placement import Placement
from tinykv.placement.region_info import PeerInfo, RegionInfo
from tinykv.placement.steps import AddLearner, RemovePeer, TransferLeader
from tinykv.placement.stores import StoreStats

#: How often a balancer that draws regions by chance finds nothing before that's believed.
LOOKS = 3

FEWER = settings(max_examples=max(settings.default.max_examples // 4, 1))

SEEDS = st.integers(0, 2**32)
SIZES: dict[str, Callable[[Random], int]] = {
    "equal": lambda random: 10 * MB,
    "as splits leave them": lambda random: random.randint(48 * MB, 96 * MB),
    "any": lambda random: random.choice([0, 0, MB, 50 * MB, 100 * MB]),
}


class AtOnce:
    """Stores and regions to which all that balance asks for is done at once."""

    def __init__(self, seed: int, stores: int, regions: int, replicas: int, sizes: str, *labels: str) -> None:
        """
        @param seed: Chooses where everything is at the beginning.
        @param labels: For each store where it is; as many as there are stores, or none.
        """
        self.random = random = Random(seed)
        first = random.choice([stores, replicas])
        told = []
        for each in row(regions):
            where = random.sample(range(1, first + 1), replicas)
            size = SIZES[sizes](random)
            told.append(region(each.region, each.start, each.end, stores=sorted(where), leader=where[0], size=size))
        places = {store: {"host": label} for store, label in enumerate(labels, 1)}
        choices = {"replicas": replicas, "add_limit": 1e9, "remove_limit": 1e9}
        self.placement = placement(*told, stores=stores, places=places, **choices)

    def settle(self) -> int:
        """Do what balance asks for until it asks for nothing more; return how many replicas were moved."""
        moves = idle = 0
        while idle < LOOKS:
            before, crowded = self.strain, self.crowded
            if operator := balance_regions(self.placement.scene):
                self.carry_out(operator)
                moves += 1
                assert self.strain < before, f"{operator} gained nothing"
                assert self.crowded <= crowded, f"{operator} crowded places"
            elif operator := balance_leaders(self.placement.scene):
                self.carry_out(operator)
            else:
                idle += 1
                continue
            idle = 0
        return moves

    @property
    def strain(self) -> float:
        """What stores differ by."""
        return self.placement.scene.strain.total

    @property
    def crowded(self) -> int:
        """How many pairs of replicas share a place."""
        cluster = self.placement.cluster
        return sum(
            crowding(cluster.stores, cluster.config.labels, store, each.voters)[-1]
            for each in cluster.regions
            for store in each.voters
        )

    def carry_out(self, operator: Operator) -> None:
        """Do all steps of an operator."""
        known = self.placement.cluster.regions.get(operator.region)
        assert known is not None
        stores, leader = set(known.stores), known.leader
        for step in operator.steps:
            if isinstance(step, AddLearner):
                stores.add(step.store)
            elif isinstance(step, RemovePeer):
                stores.remove(step.store)
            elif isinstance(step, TransferLeader):
                leader = step.target
        peers = tuple(PeerInfo(store, store) for store in sorted(stores))
        told = replace(known, peers=peers, leader=leader, conf_ver=known.conf_ver + 1, term=known.term + 1)
        self.placement.heartbeat(told, START)

    def counts(self) -> list[int]:
        """Tell how many replicas each store has."""
        return [self.placement.cluster.regions.on(store).count for store in self.placement.cluster.stores]

    def leaders(self) -> list[int]:
        """Tell how many regions each store leads."""
        return [len(self.placement.cluster.regions.on(store).leaders) for store in self.placement.cluster.stores]


class RestTests(SynchronousTestCase):
    """Stores that are alike."""

    @FEWER
    @given(SEEDS, st.integers(2, 9), st.integers(1, 40), st.sampled_from([1, 3, 5]), st.sampled_from(sorted(SIZES)))
    def test_it_ends_even(self, seed: int, stores: int, regions: int, replicas: int, sizes: str) -> None:
        """Replicas within 15 % of their mean, or one of it; leaders within two, where more than one can lead."""
        made = AtOnce(seed, max(stores, replicas), regions, replicas, sizes)
        made.settle()
        counts, leaders = made.counts(), made.leaders()
        mean = sum(counts) / len(counts)
        self.assertLessEqual(max(abs(count - mean) for count in counts), max(0.15 * mean, 1), counts)
        if sizes == "equal":
            self.assertLessEqual(max(counts) - min(counts), max(0.05 * mean + 1, 1), counts)
        if replicas > 1:
            self.assertLessEqual(max(leaders) - min(leaders), 2, leaders)

    def test_as_even_as_few_can_be(self) -> None:
        """24 replicas on five stores: 5, 5, 5, 5 and 4 is the best that there is."""
        made = AtOnce(3, 5, 8, 3, "equal")
        made.settle()
        self.assertEqual(sorted(made.counts()), [4, 5, 5, 5, 5])

    @FEWER
    @given(SEEDS, st.integers(4, 9), st.integers(1, 40), st.sampled_from(sorted(SIZES)))
    def test_hosts(self, seed: int, stores: int, regions: int, sizes: str) -> None:
        """Two stores a host: whatever is asked for crowds no place, and there's an end of it."""
        made = AtOnce(seed, stores, regions, 3, sizes, *(f"h{number // 2}" for number in range(stores)))
        made.settle()

    @FEWER
    @given(SEEDS, st.integers(4, 7), st.integers(1, 40), st.sampled_from(sorted(SIZES)), st.data())
    def test_capacities_and_weights(
        self, seed: int, stores: int, regions: int, sizes: str, data: st.DataObject
    ) -> None:
        """Some disks are nearly full, some stores are to have less, or nothing."""
        made = AtOnce(seed, stores, regions, 3, sizes)
        used = {store: data.draw(st.integers(0, 80)) * GB // 20 for store in range(1, stores + 1)}
        for store in range(1, stores + 1):
            change(made.placement, store, region_weight=data.draw(st.sampled_from([0.0, 0.5, 1.0, 1.0, 2.0])))
        self.fill(made, used)
        while operator := balance_regions(made.placement.scene):
            held, before = self.held_of_none(made), made.strain
            made.carry_out(operator)
            self.fill(made, used)
            self.assertTrue(self.held_of_none(made) < held or made.strain < before, operator)

    def fill(self, made: AtOnce, used: dict[int, int]) -> None:
        """Have stores of 10 GB say how much is free, beside what others use of them."""
        for store, beside in used.items():
            free = max(10 * GB - beside - made.placement.cluster.regions.on(store).size, 0)
            made.placement.store_heartbeat(store, StoreStats(10 * GB, free), START)

    def held_of_none(self, made: AtOnce) -> int:
        """Count the replicas on stores that are to have none."""
        stores = made.placement.cluster.stores.items()
        return sum(
            made.placement.cluster.regions.on(store).count for store, record in stores if not record.region_weight
        )

    def test_a_store_that_is_to_hold_nothing(self) -> None:
        """What it has goes to the others evenly, without a detour."""
        made = placement(*row(30, stores=(1,)), stores=5, replicas=1, add_limit=1e9, remove_limit=1e9)
        change(made, 1, region_weight=0.0)
        for left in range(30, 0, -1):
            operator = balance_regions(made.scene)
            assert operator is not None
            (taker,) = [step.store for step in operator.steps if isinstance(step, AddLearner)]
            known = made.cluster.regions.get(operator.region)
            assert known is not None
            told = replace(known, peers=(PeerInfo(taker, taker),), leader=taker, conf_ver=2, term=known.term + 1)
            made.heartbeat(told, START)
            self.assertEqual(made.cluster.regions.on(1).count, left - 1)
        held = [made.cluster.regions.on(store).count for store in range(2, 6)]
        self.assertLessEqual(max(held) - min(held), 1, held)
        self.assertIsNone(balance_regions(made.scene))

    def test_weights(self) -> None:
        """Half the weight is half as much."""
        made = AtOnce(1, 5, 45, 3, "equal")
        change(made.placement, 5, region_weight=0.5)
        made.settle()
        *others, half = made.counts()
        self.assertLessEqual(abs(half - 15), 1)
        self.assertLessEqual(max(others) - min(others), 2)

    def test_sizes_and_numbers(self) -> None:
        """Both are even where both can be."""
        made = AtOnce(1, 5, 100, 3, "any")
        made.settle()
        sizes = [made.placement.cluster.regions.on(store).size for store in made.placement.cluster.stores]
        for held in (sizes, made.counts()):
            mean = sum(held) / len(held)
            self.assertLessEqual(max(abs(each - mean) for each in held), 0.15 * mean, held)

    def test_none_is_left_out(self) -> None:
        """Only one of many regions is worth moving, and it's found although few are looked at more closely."""
        row_of_200 = row(201)[:-1]
        for place, each in enumerate(row_of_200):
            size = 99 * MB + MB // 2 if place % 2 else 100 * MB
            row_of_200[place] = region(each.region, each.start, each.end, stores=(1 + place % 2,), size=size)
        made = placement(
            *row_of_200,
            region(201, b"0200", stores=(1,), size=40 * MB),
            stores=2,
            replicas=1,
            candidates=1,
            region_tolerance=0.0,
        )
        operator = balance_regions(made.scene)
        self.assertEqual(operator and operator.region, 201)


class LoadTests(SynchronousTestCase):
    """Regions that make work, some of them much."""

    def made(self, seed: int, stores: int, regions: int, loads: list[float]) -> AtOnce:
        """Give regions whose reads and writes are drawn from some loads, in commands a second."""
        made = AtOnce(seed, stores, regions, 3, "as splits leave them")
        random = Random(seed)
        for each in list(made.placement.cluster.regions):
            reads, writes = random.choice(loads), random.choice(loads)
            self.beat(made, replace(each, reads=reads, writes=writes))
        return made

    def beat(self, made: AtOnce, each: RegionInfo) -> None:
        """Have a region send as many heartbeats as it takes to be believed."""
        for _ in range(made.placement.cluster.config.hot_heartbeats + 1):
            made.placement.heartbeat(each, START)

    def settle(self, made: AtOnce) -> None:
        """Do what's asked for until nothing is."""
        moves = idle = 0
        while idle < LOOKS:
            loads = self.loads(made)
            operator = (
                spread_hot_regions(made.placement.scene)
                or balance_regions(made.placement.scene)
                or balance_leaders(made.placement.scene)
            )
            if operator is None:
                idle += 1
                continue
            idle, moves = 0, moves + 1
            made.carry_out(operator)
            known = made.placement.cluster.regions.get(operator.region)
            assert known is not None
            self.beat(made, known)
            if operator.name == "hot-region":
                self.assertLess(self.loads(made), loads)
            elif made.placement.hot.busy(operator.region):
                self.assertLessEqual(self.loads(made), [load + 1e-6 for load in loads])
            self.assertLess(moves, 1000, "they take turns")

    def loads(self, made: AtOnce) -> list[float]:
        """Give how busy the stores are, the busiest first."""
        return sorted(map(made.placement.hot.on, made.placement.cluster.stores), reverse=True)

    @FEWER
    @given(
        SEEDS,
        st.integers(3, 6),
        st.integers(1, 30),
        st.lists(st.sampled_from([0.0, 1.0, 40.0, 90.0, 120.0, 1000.0, 5000.0]), min_size=1, max_size=4),
    )
    def test_they_dont_take_turns(self, seed: int, stores: int, regions: int, loads: list[float]) -> None:
        """Work first, numbers then: there's an end of both together."""
        self.settle(self.made(seed, stores, regions, loads))

    def test_parts_of_a_split(self) -> None:
        """Eight parts that do as much as each other, on the same stores, led by one, beside some that do nothing."""
        for stores, most in ((3, 3), (5, 3)):
            parts = [
                region(each.region, each.start, each.end, leader=1 if place < 8 else 2 + place % 2,
                       reads=500.0 if place < 8 else 0.0)
                for place, each in enumerate(row(12))
            ]  # fmt: skip
            made = AtOnce(1, stores, 1, 3, "equal")
            made.placement = placement(*parts, stores=stores, add_limit=1e9, remove_limit=1e9)
            for each in parts:
                self.beat(made, each)
            self.settle(made)
            led = [
                sum(number <= 8 for number in made.placement.cluster.regions.on(store).leaders)
                for store in range(1, stores + 1)
            ]
            self.assertLessEqual(max(led), most, led)

    def test_numbers_yield_to_work(self) -> None:
        """Store 1 leads one region that does much, store 2 three that do little: none of these goes to store 1."""
        told = [
            region(
                each.region, each.start, each.end, leader=1 if place == 0 else 2, reads=5000.0 if place == 0 else 200.0
            )
            for place, each in enumerate(row(4))
        ]
        made = placement(*told, stores=3)
        for each in told * 4:
            made.heartbeat(each, START)
        operator = balance_leaders(made.scene)
        self.assertEqual(operator and operator.steps, (TransferLeader(3),))
        change(made, 3, leader_weight=0.0)
        self.assertIsNone(balance_leaders(made.scene))

    def test_the_first_word_of_another_leader(self) -> None:
        """It has nothing to compare its counts with yet, so what was known before goes on."""
        made = placement(region(1, reads=1000.0), stores=3)
        made.heartbeat(region(1, leader=2), START)
        load = made.hot.load(1)
        self.assertEqual(load and (load.leader, load.read), (2, 1000.0))
        made.heartbeat(region(1, leader=2, reads=500.0), START)
        load = made.hot.load(1)
        self.assertEqual(load and load.read, 750.0)

    def test_the_first_word_of_another_term(self) -> None:
        """A leader that was elected again counts from then on."""
        made = placement(region(1, reads=1000.0), stores=3)
        made.heartbeat(region(1, term=2), START)
        load = made.hot.load(1)
        self.assertEqual(load and load.read, 1000.0)

    def test_the_first_word_of_a_region(self) -> None:
        """It's nothing mostly, so the second one counts wholly."""
        made = placement(region(1), stores=3)
        made.heartbeat(region(1, reads=1000.0), START)
        load = made.hot.load(1)
        self.assertEqual(load and load.read, 1000.0)


class LeastTests(SynchronousTestCase):
    """What a cluster may be short of."""

    def test_no_store_and_one(self) -> None:
        for stores in (0, 1):
            self.assertIsNone(balance_regions(placement(stores=stores).scene))

    def test_no_region(self) -> None:
        scene = placement(stores=3).scene
        self.assertIsNone(balance_regions(scene))
        self.assertEqual((scene.strain.total, scene.strain.fullness(1)), (0.0, 0.0))

    def test_all_of_no_weight(self) -> None:
        made: Placement = placement(*row(3), stores=4)
        for store in range(1, 5):
            change(made, store, region_weight=0.0)
        self.assertIsNone(balance_regions(made.scene))
