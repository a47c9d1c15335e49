"""Replicas come and go region by region, and stores keep their promises meanwhile; broken on purpose they're caught."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.testing import region_moves
from tests.testing.cluster import Variant
from tests.testing.region_cluster import MovingCluster, RegionStore, RegionWorld
from tests.testing.seeds import SeedsCase
from tinykv.server.control import Answer, answer_relayed, ask, question_of
from tinykv.testing.simulation.endpoints import address_of
from tinykv.testing.simulation.events import SECOND
from tinykv.testing.simulation.scenario import Settings


class MovingTests(SeedsCase):
    """Some seeds; `make sim` runs many."""

    def test_they_keep_their_promises_whatever_happens(self) -> None:
        figures = self.run_seeds(MovingCluster(), range(4, 6), Settings(MovingCluster.faults))
        self.assertGreater(figures["replicas destroyed"], 2)
        self.assertGreater(figures["replies"], 100)

    def test_clients_notice_little(self) -> None:
        figures = self.run_seeds(MovingCluster(), range(4, 5), Settings(region_moves.KINDS, seconds=6))
        self.assertGreater(figures["replicas destroyed"], 1)
        self.assertEqual(figures["requests of unknown outcome"], 0)


class BurialTests(SynchronousTestCase):
    """A replica is taken from a store that goes on."""

    def begin(self) -> RegionWorld:
        """Begin a cluster of three stores and one without replicas."""
        world = self.world = RegionWorld(3, Variant(), size=3, moves=True)
        self.addCleanup(world.close)
        world.mend()
        world.run_until(3 * SECOND)
        return world

    def change(self, region: int, change: Any) -> None:
        """Have a region's leader propose a change of its members."""
        store, part = next((store, part) for store, part in self.world.parts_of(region) if part.host.ready)

        def propose() -> None:
            part.group.propose_change(change(part.host.descriptor))
            part.host.replica.go_on()

        store.process.soon("changes members", propose)

    def other(self, region: int) -> RegionStore:
        """Give a store that has a peer of a region, and doesn't lead it."""
        parts = self.world.parts_of(region)
        return next(store for store, part in parts if part.group.peer and not part.group.leads)

    def until(self, condition: Any, seconds: int = 20) -> None:
        """Let happen what does until something is so."""
        self.assertTrue(self.world.run_while(lambda: not condition(), seconds), self.world.checker.problems)
        self.assertEqual(self.world.checker.problems, [])

    def test_a_store_crashes_at_each_step(self) -> None:
        """Whatever is on disk of it, nothing of the peer is left in the end, and it never comes back."""
        for step in range(7):
            self.crash_at(6 * step, power=bool(step % 2))

    def crash_at(self, events: int, power: bool) -> None:
        """Let a store crash so many events after it began to destroy a peer, and be given another one then."""
        world = self.begin()
        store = self.other(2)
        peer = store.parts[2].group.peer
        self.change(2, lambda now: now.removing(store.id))
        self.until(lambda: store.parts[2].host._burial.begun)
        for _ in range(events):
            world.events.step(world.events.now + SECOND)
        (world.crash if power else world.kill)(store.name)
        world.restart(store.name)
        self.until(lambda: store.parts[2].host.buried == peer)
        self.assertEqual(store.parts[2].group.peer, 0)
        self.assertIsNone(store.disk.log.durable.hard_state(2))
        self.change(2, lambda now: now.adding(store.id, address_of(store.name)))
        self.until(lambda: len(world.descriptor_of(2).membership.voters) == 3)
        self.assertGreater(store.parts[2].group.peer, peer)
        self.until(world.converged)
        world.compare_at_end()
        self.assertEqual(world.checker.problems, [])
        world.close()

    def test_a_learner_that_was_not_told(self) -> None:
        """It has no vote, so it asks for none; after a while it doubts."""
        world = self.begin()
        store = world.stores[4]
        self.change(1, lambda now: now.adding(4, address_of("store4")))
        self.until(lambda: store.disk.log.durable.hard_state(1) is not None)
        world.kill(store.name)
        world.run_until(world.events.now + SECOND)
        self.change(1, lambda now: now.removing(4))
        world.run_until(world.events.now + 8 * SECOND)
        world.restart(store.name)
        self.until(lambda: store.parts[1].host.buried == 4)


class OperatorTests(SynchronousTestCase):
    """What operators ask of any store is done in all regions, or in one, by whoever leads there."""

    def setUp(self) -> None:
        self.world = RegionWorld(5, Variant(), size=3, moves=True)
        self.addCleanup(self.world.close)
        self.world.mend()
        self.world.run_until(3 * SECOND)

    def relay(self, store: int, payload: bytes) -> Deferred[bytes]:
        """Pass a question on."""
        return answer_relayed(self.world.stores[store].control, payload)

    def ask(self, asked_store: int, name: str, **fields: Any) -> Answer:
        """Ask a store, and wait for the answer."""
        control: Any = self.world.stores[asked_store].control
        control.removing_elsewhere = self.remove
        asked = Deferred.fromCoroutine(ask(control, self.relay, question_of(name, fields)))
        self.assertTrue(self.world.run_while(lambda: not asked.called, 60))
        return self.successResultOf(asked)

    def remove(self, leader: int, store: int, region: int) -> Deferred[None]:
        """Have another store remove one."""
        removing: Deferred[None] = self.world.stores[leader].control.remove_store(store, region)
        return removing

    def stores_of(self, region: int) -> list[int]:
        """Name the stores of a region."""
        return sorted(self.world.descriptor_of(region).stores.values())

    def test_all_regions(self) -> None:
        world = self.world
        status = self.ask(4, "status").body["regions"]
        self.assertEqual([view["region"] for view in status], list(world.firsts))
        self.assertTrue(all(member["match"] is not None for view in status for member in view["members"]))
        address = address_of("store4")
        self.assertEqual(self.ask(1, "add-store", store=4, address=address).code, 202)
        self.assertTrue(all(self.stores_of(region) == [1, 2, 3, 4] for region in world.firsts))
        self.assertTrue(
            world.run_while(lambda: {"learner"} & {one["role"] for one in self.ask(2, "members").body["members"]}, 30)
        )
        # Asked again it finds that all is done.
        self.assertEqual(self.ask(3, "add-store", store=4, address=address).code, 202)
        compared = self.ask(4, "checksum").body["regions"]
        self.assertEqual([one["region"] for one in compared], list(world.firsts))
        for one in compared:
            self.assertEqual(len({replica["checksum"] for replica in one["replicas"]} - {None}), 1, one)
            self.assertEqual(len(one["replicas"]), 4)
        leaders = {view["leader"] for view in self.ask(1, "status").body["regions"]}
        gone = leaders.pop()
        self.assertEqual(self.ask(1, "remove-store", store=gone).code, 202)
        self.assertTrue(all(gone not in self.stores_of(region) for region in world.firsts))
        parts = world.stores[gone].parts.values()
        self.assertTrue(world.run_while(lambda: any(part.group.peer for part in parts), 30))
        self.assertEqual(world.checker.problems, [])

    def test_one_region(self) -> None:
        self.assertEqual(self.ask(1, "add-store", store=4, address=address_of("store4"), region=2).code, 202)
        self.assertEqual([self.stores_of(region) for region in self.world.firsts], [[1, 2, 3], [1, 2, 3, 4], [1, 2, 3]])
        refused = self.ask(1, "transfer-leader", store=2)
        self.assertEqual(refused.code, 409)
        self.assertIn("say which is meant", refused.body["error"])
        self.assertEqual(self.ask(1, "transfer-leader", store=2, region=3).body, {"leader": 2})
        self.assertIn("there is no region 9", self.ask(1, "checksum", region=9).body["error"])
        self.assertEqual(self.ask(3, "remove-store", store=4, region=2).code, 202)
        part = self.world.stores[4].parts[2]
        self.assertTrue(self.world.run_while(lambda: part.host.buried != 4, 30))
