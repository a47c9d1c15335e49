"""Whatever happens to the stores, the regions come back to what they should be, and then there's rest."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.placement.making import GB, MB
from tests.placement.model import ModelCluster, quick
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
        plain = cluster.records[5].to_json()
        cluster.records[5] = type(cluster.records[5]).from_json({**plain, "region_weight": 0.5, "leader_weight": 0})
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
