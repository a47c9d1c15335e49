"""Whatever happens to the stores, the regions come back to what they should be, and then there's rest."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.placement.making import GB, MB
from tests.placement.model import ModelCluster, quick
from tinykv.placement.filters import cannot_lead
from tinykv.placement.steps import TransferLeader
from tinykv.placement.stores import Life, Refused


def even(counts: dict[int, int]) -> bool:
    """Tell whether counts are within 15 % of their mean, or one of it."""
    mean = sum(counts.values()) / len(counts)
    return all(abs(count - mean) <= max(0.15 * mean, 1) for count in counts.values())


class BalanceTests(SynchronousTestCase):
    """Balance comes to rest."""

    def settled(self, cluster: ModelCluster) -> None:
        """Let a cluster come to rest and see that it's whole."""
        cluster.settle()
        cluster.assert_whole()

    def test_new_stores_get_their_share(self) -> None:
        cluster = ModelCluster()
        cluster.add_regions(40, [cluster.add_store(host=f"h{number}") for number in range(3)])
        self.settled(cluster)
        for number in range(3):
            cluster.add_store(host=f"h{number + 3}")
        self.settled(cluster)
        self.assertTrue(even(cluster.counts()), cluster.counts())
        leaders = cluster.leaders().values()
        self.assertLessEqual(max(leaders) - min(leaders), 2)

    def test_rest_is_rest(self) -> None:
        """Nothing more is asked for in five minutes."""
        cluster = ModelCluster()
        cluster.add_regions(20, [cluster.add_store(host=f"h{number}") for number in range(4)][:3])
        self.settled(cluster)
        self.assertEqual([cluster.round() for _ in range(300)], [0] * 300)

    def test_leaders(self) -> None:
        for stores in (3, 4, 5):
            cluster = ModelCluster(seed=stores)
            cluster.add_regions(30, [cluster.add_store(host=f"h{number}") for number in range(stores)][:3])
            self.settled(cluster)
            leaders = cluster.leaders().values()
            self.assertLessEqual(max(leaders) - min(leaders), 2, cluster.leaders())

    def test_hosts_are_kept_apart(self) -> None:
        """Two stores a host, and everything begins on two hosts."""
        cluster = ModelCluster(quick(labels=["host"]))
        stores = [cluster.add_store(host=f"h{number // 2}") for number in range(8)]
        cluster.add_regions(24, stores[:3])
        self.assertEqual(len(cluster.crowded()), 24)
        self.settled(cluster)
        self.assertEqual(cluster.crowded(), [])
        self.assertTrue(even(cluster.counts()), cluster.counts())

    def test_small_disks_are_spared(self) -> None:
        """Each store gets an equal share as long as it has room, and a small one isn't filled."""
        cluster = ModelCluster()
        for number in range(5):
            cluster.add_store(1000 * GB if number else 2 * GB, host=f"h{number}")
        cluster.add_regions(60, [2, 3, 4], 64 * MB)
        self.settled(cluster)
        counts = cluster.counts()
        small = counts.pop(1)
        self.assertTrue(even(counts), counts)
        self.assertGreater(small, 10)
        self.assertLess(small, min(counts.values()))
        self.assertLessEqual(small * 64 * MB, 2 * GB * 0.8)

    def test_unequal_capacities_with_room(self) -> None:
        cluster = ModelCluster()
        for number in range(5):
            cluster.add_store((number + 1) * 100 * GB, host=f"h{number}")
        cluster.add_regions(50, [1, 2, 3])
        self.settled(cluster)
        self.assertTrue(even(cluster.counts()), cluster.counts())

    def test_unequal_sizes(self) -> None:
        cluster = ModelCluster()
        cluster.add_regions(60, [cluster.add_store(host=f"h{number}") for number in range(5)][:3])
        for number, region in cluster.regions.items():
            region.size = (number % 7 + 1) * 5 * MB
        self.settled(cluster)
        sizes = {store: cluster.placement.cluster.regions.on(store).size for store in cluster.records}
        mean = sum(sizes.values()) / len(sizes)
        self.assertLessEqual(max(sizes.values()) - min(sizes.values()), 0.15 * mean)

    def test_a_store_is_emptied(self) -> None:
        """It leads nothing any more before it's empty, and then it's a tombstone by itself."""
        cluster = ModelCluster(quick(add_limit=60))
        cluster.add_regions(24, [cluster.add_store(host=f"h{number}") for number in range(5)][:3])
        self.settled(cluster)
        cluster.offline(1)
        history = []
        while cluster.records[1].life is Life.OFFLINE:
            cluster.round()
            history.append((cluster.leaders()[1], sum(1 in each.voters[0] for each in cluster.regions.values())))
            self.assertLess(len(history), 200)
        first = next(place for place, (leaders, _) in enumerate(history) if not leaders)
        self.assertGreater(history[first][1], 0)
        self.assertEqual(cluster.records[1].life, Life.TOMBSTONE)
        self.settled(cluster)
        self.assertTrue(even(cluster.counts()), cluster.counts())

    def test_weights(self) -> None:
        cluster = ModelCluster()
        stores = [cluster.add_store(host=f"h{number}") for number in range(5)]
        cluster.change(5, region_weight=0.5, leader_weight=0.0)
        cluster.add_regions(45, stores[:3])
        self.settled(cluster)
        self.assertEqual(cluster.leaders()[5], 0)
        self.assertLessEqual(abs(cluster.counts()[5] - 15), 2)


class HistoryTests(SynchronousTestCase):
    """Sequences of what happens to stores."""

    @settings(max_examples=max(settings.default.max_examples // 4, 1))
    @given(
        st.integers(0, 2**32),
        st.sampled_from([1, 3, 5]),
        st.lists(
            st.tuples(st.sampled_from(["add", "kill", "restart", "offline", "back", "split"]), st.integers(0, 99)),
            max_size=8,
        ),
    )
    def test_histories(self, seed: int, replicas: int, events: list[tuple[str, int]]) -> None:
        """Nothing is ever asked for that takes a majority away: the model looks at each step."""
        cluster = ModelCluster(quick(labels=["host"], replicas=replicas), seed, loss=seed % 3 * 0.1)
        for number in range(replicas + 1):
            cluster.add_store(200 * GB, host=f"h{number}")
        cluster.add_regions(12, sorted(cluster.records)[:replicas])
        for _ in range(30):
            cluster.round()
        for event, number in events:
            self.happen(cluster, event, number)
            for _ in range(number % 7 * 5):
                cluster.round()
        while sum(map(cluster.alive, cluster.records)) - self.leaving(cluster) < replicas + 1:
            cluster.add_store(200 * GB, host=f"n{len(cluster.records)}")
        cluster.settle()
        cluster.assert_whole()
        hosts = {cluster.records[store].labels["host"] for store in cluster.counts() if cluster.alive(store)}
        if len(hosts) >= replicas:
            self.assertEqual(cluster.crowded(), [])
        leaders = cluster.leaders().values()
        if replicas > 1:  # Who holds the only replica leads.
            self.assertLessEqual(max(leaders) - min(leaders), 2, cluster.leaders())
        self.assertEqual([cluster.round() for _ in range(50)], [0] * 50)

    def happen(self, cluster: ModelCluster, event: str, number: int) -> None:
        """Let something happen, unless it would take a region's majority away by itself."""
        running = [store for store in sorted(cluster.records) if cluster.alive(store)]
        store = running[number % len(running)]
        if event == "add":
            cluster.add_store((50 + number) * GB, host=f"h{number % 9}")
        elif event == "offline":
            try:
                cluster.offline(store)
            except Refused:
                return
        elif event == "split":
            region = cluster.regions[sorted(cluster.regions)[number % len(cluster.regions)]]
            key = region.descriptor.start + b"!%02d" % number
            if not region.descriptor.membership.outgoing and (not region.descriptor.end or key < region.descriptor.end):
                cluster.split(region, key)
        elif event == "restart":
            for dead in sorted(cluster.dead)[:1]:
                del cluster.dead[dead]
        elif event == "back":
            cluster.records[store] = cluster.placement.back_up(store, cluster.now)
        else:
            cluster.kill(store)
            if not all(map(cluster.has_majority, cluster.regions.values())):
                del cluster.dead[store]

    def leaving(self, cluster: ModelCluster) -> int:
        """Count the living stores that are being emptied."""
        return sum(record.life is Life.OFFLINE and cluster.alive(store) for store, record in cluster.records.items())


#: What regions may be asked for, in commands a second: nothing, less than what's worth a thought, just that, and more.
WORK = [0.0, 50.0, 90.0, 100.0, 300.0, 1000.0, 8000.0]

#: What a person may choose, and clients do, beside what happens to stores.
CHOICES = "reads writes evict grant free lead-none hold-none weigh full add kill split".split()


class TogetherTests(SynchronousTestCase):
    """All schedulers at once, whatever is wanted of each: none undoes for ever what another one does."""

    def cluster(self, led: list[tuple[tuple[int, ...], int]], reads: list[float], **choices: object) -> ModelCluster:
        """Give a cluster with regions on some stores, led by one of them, and asked for so much."""
        cluster = ModelCluster(quick(**choices))
        for _ in range(max(store for held, _ in led for store in held)):
            cluster.add_store()
        cluster.add_regions(len(led), [1, 2, 3])
        for number, ((held, leader), wanted) in enumerate(zip(led, reads, strict=True), 1):
            region = cluster.regions[number]
            stores = dict(enumerate(held, 1))
            region.descriptor = replace(region.descriptor, stores=stores)
            region.leader, region.reads = leader, wanted
        return cluster

    def rests(self, cluster: ModelCluster) -> None:
        """Let a cluster come to rest, and see that who shall lead does, and nobody who shall not."""
        cluster.settle()
        cluster.assert_whole()
        self.assertEqual([cluster.round() for _ in range(100)], [0] * 100)
        known, config = cluster.placement.cluster, cluster.config
        for number, region in cluster.regions.items():
            able = [store for store in sorted(region.voters[0]) if cannot_lead(known, store) is None]
            self.assertTrue(not able or region.leader in able, f"region {number} is led by {region.leader}, not {able}")
            granted = [store for store in able if store in config.grant_leader]
            self.assertTrue(not granted or region.leader in granted, f"region {number} isn't led by any of {granted}")

    def test_one_that_does_much_beside_many(self) -> None:
        """Store 1 leads one region that does more than the 18 others, which differ by number from what work says."""
        for leaders in ([1] + [2] * 9 + [3] * 9, [1 + place % 3 for place in range(19)]):
            self.rests(self.cluster([((1, 2, 3), leader) for leader in leaders], [10000.0] + [1000.0] * 18))

    def four(self, shunned: int | None = None, wanted: int | None = None) -> list[tuple[tuple[int, ...], int]]:
        """Spread 16 regions over four stores, led by all that aren't shunned, or by one wherever it can."""
        led = []
        for place in range(16):
            held = ((1, 2, 3), (1, 2, 4), (1, 3, 4), (2, 3, 4))[place % 4]
            able = [store for store in held if store != shunned]
            led.append((held, wanted if wanted in held else able[place // 4 % len(able)]))
        return led

    def test_a_store_that_shall_lead(self) -> None:
        """It's the busiest by far, because of that."""
        cluster = self.cluster(self.four(wanted=1), [300.0] * 16, grant_leader=[1])
        self.rests(cluster)
        self.assertLessEqual(len(cluster.orders), 40)

    def test_a_store_that_shall_not_lead(self) -> None:
        """It's the least busy by far, because of that."""
        for choices, weight in (({"evict_leader": [4]}, 1.0), ({}, 0.0)):
            cluster = self.cluster(self.four(shunned=4), [300.0] * 16, **choices)
            cluster.change(4, leader_weight=weight)
            self.rests(cluster)
            given = [order for order in cluster.orders if order.step == TransferLeader(4)]
            self.assertEqual(given, [])
            counts = cluster.counts().values()
            self.assertLessEqual(max(counts) - min(counts), 2, cluster.counts())

    def test_a_store_that_shall_lead_and_has_no_weight(self) -> None:
        """It leads nothing: who takes a store out of use by its weight need not know of other choices."""
        cluster = self.cluster([((1, 2, 3), 2)] * 6, [300.0] * 6, grant_leader=[2])
        cluster.change(2, leader_weight=0.0)
        self.rests(cluster)
        self.assertEqual(cluster.leaders()[2], 0)

    def test_a_store_that_is_not_busy_and_holds_all(self) -> None:
        """It gives busy replicas away that bring no work along."""
        led = [((1 + place % 3, 1 + (place + 1) % 3, 4), 1 + place % 3) for place in range(24)]
        cluster = self.cluster(led, [300.0] * 24)
        cluster.change(4, leader_weight=0.0)
        self.rests(cluster)
        self.assertLessEqual(max(cluster.counts().values()) - min(cluster.counts().values()), 2, cluster.counts())

    def test_a_full_store(self) -> None:
        """It gives replicas away even to those that are busier with them than it is."""
        led = [((1 + place % 3, 1 + (place + 1) % 3, 4), 1 + place % 3) for place in range(24)]
        cluster = self.cluster(led, [300.0] * 24)
        cluster.change(4, leader_weight=0.0)
        for region in cluster.regions.values():
            region.writes = 200.0
        cluster.capacities[4] = 250 * MB
        self.rests(cluster)
        self.assertLessEqual(cluster.counts()[4], 20)

    @settings(max_examples=max(settings.default.max_examples // 4, 1))
    @given(
        st.integers(0, 2**32),
        st.integers(3, 5),
        st.lists(st.sampled_from(WORK), min_size=2, max_size=14),
        st.lists(st.tuples(st.sampled_from(CHOICES), st.integers(0, 99)), max_size=8),
    )
    def test_histories(self, seed: int, stores: int, reads: list[float], events: list[tuple[str, int]]) -> None:
        random = Random(seed)
        led = []
        for _ in reads:
            held = random.sample(range(1, stores + 1), 3)
            led.append((tuple(held), held[0]))
        cluster = self.cluster(led, reads)
        for _ in range(30):
            cluster.round()
        for event, number in events:
            self.happen(cluster, event, number)
            for _ in range(number % 7 * 5):
                cluster.round()
        while sum(self.able(cluster, store) for store in cluster.records) < 4:
            cluster.add_store()
        self.rests(cluster)
        if "full" not in [event for event, _ in events]:
            held = {store: cluster.counts()[store] for store in cluster.counts()}
            none = [store for store, record in cluster.records.items() if not record.region_weight]
            self.assertEqual([held.get(store, 0) for store in none], [0] * len(none))

    def able(self, cluster: ModelCluster, store: int) -> bool:
        """Tell whether a store can be given what others shall not have."""
        return cluster.alive(store) and cluster.records[store].region_weight > 0 and cluster.capacities[store] > GB

    def happen(self, cluster: ModelCluster, event: str, number: int) -> None:
        """Let something be wanted, or happen."""
        store = sorted(cluster.records)[number % len(cluster.records)]
        region = cluster.regions[sorted(cluster.regions)[number % len(cluster.regions)]]
        others = [other for other in cluster.config.evict_leader + cluster.config.grant_leader if other != store]
        match event:
            case "reads":
                region.reads = WORK[number % len(WORK)]
            case "writes":
                region.writes = WORK[number % len(WORK)]
            case "evict":
                cluster.choose(evict_leader=[store], grant_leader=[])
            case "grant":
                cluster.choose(grant_leader=[store, *others][: 1 + number % 2], evict_leader=[])
            case "free":
                cluster.choose(grant_leader=[], evict_leader=[])
            case "lead-none":
                cluster.change(store, leader_weight=0.0)
            case "hold-none":
                cluster.change(store, region_weight=0.0)
            case "weigh":
                cluster.change(store, leader_weight=1.0 + number % 3, region_weight=1.0 + number % 2)
            case "full":
                cluster.capacities[store] = (100 + number) * MB
            case "add":
                cluster.add_store()
            case "kill":
                cluster.kill(store)
                if not all(map(cluster.has_majority, cluster.regions.values())):
                    del cluster.dead[store]
            case "split":
                key = region.descriptor.start + b"!%02d" % number
                if not region.descriptor.membership.outgoing and (
                    not region.descriptor.end or key < region.descriptor.end
                ):
                    cluster.split(region, key)
