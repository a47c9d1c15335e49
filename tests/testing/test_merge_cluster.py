"""Simulated stores keep their promises while regions are merged."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final

from twisted.trial.unittest import SynchronousTestCase

from tests.testing.cluster import Variant
from tests.testing.merge_cluster import MERGE, MergeCluster, MergeStore, MergeWorld
from tests.testing.merge_mutants import OtherwiseMerging
from tests.testing.seeds import SeedsCase
from tests.testing.split_cluster import SPLIT
from tinykv.keys import slot_of, slots_range
from tinykv.raft.refusals import Refused
from tinykv.redis.operations import COMMANDS
from tinykv.region.splitting import Split, own_cuts
from tinykv.resp.replies import encode_command
from tinykv.store.host import RegionHost
from tinykv.store.merging import RegionMerging
from tinykv.testing.embedded import TABLE
from tinykv.testing.simulation.events import SECOND
from tinykv.testing.simulation.scenario import Settings

#: A key of the first of two regions.
KEY: Final = b"b"


class MergeClusterTests(SeedsCase):
    """Some seeds; `make sim` runs many."""

    def test_they_keep_their_promises_whatever_happens(self) -> None:
        figures = self.run_seeds(MergeCluster(regions=2), range(2, 7), Settings(MergeCluster.faults))
        self.assertGreater(figures["replies"], 5 * 60)
        self.assertGreater(figures["regions taken in"], 2)
        self.assertGreater(figures["merges rolled back"], 1)

    def test_nobody_is_left_in_doubt_when_nothing_else_happens(self) -> None:
        figures = self.run_seeds(MergeCluster(size=3, regions=3), range(1, 2), Settings((SPLIT, MERGE), seconds=6))
        self.assertEqual(figures["requests of unknown outcome"], 0)
        self.assertGreater(figures["regions taken in"], 1)

    def test_a_seed_is_a_run(self) -> None:
        settings = Settings(MergeCluster.faults)
        first, again = (MergeCluster(regions=2).run(5, settings) for _ in range(2))
        self.assertEqual((first.digest, first.figures), (again.digest, again.figures))


class DirectedCase(SynchronousTestCase):
    """Three stores with two regions, both of which one store leads."""

    log_entries = 1_000_000
    moves = False

    def begin(self, world_type: type[MergeWorld] = MergeWorld) -> MergeWorld:
        """Begin them."""
        variant = Variant()
        variant.log_entries = self.log_entries
        world = self.world = world_type(3, variant, size=3, regions=2, moves=self.moves, calm=True)
        self.addCleanup(world.close)
        world.mend()
        self.until(lambda: all(self.leading(region) for region in (1, 2)))
        leader = self.leading(1)
        self.lead(2, leader)
        return world

    def lead(self, region: int, store: MergeStore) -> None:
        """Let a store lead a region."""
        leader = self.leading(region)
        if leader is not store:
            part = leader.parts[region]
            part.group.transfer_leader(part.host.descriptor.peer_on(store.id) or 0)
            part.replica.go_on()
            self.until(lambda: store.parts[region].host.ready)

    def merge(self, store: MergeStore, step: int = SECOND // 20) -> None:
        """
        Have the first region merged into the second one, as soon as that can be.

        @param step: How long it may be until it's noticed that this has begun, in microseconds.
        """
        proposed: list[int] = []

        def propose() -> None:
            with contextlib.suppress(Refused):
                proposed.append(store.parts[1].host.propose_merge(2))

        while not proposed:
            store.process.soon("merges", propose)
            self.world.run_until(self.world.events.now + step)

    def leading(self, region: int) -> Any:
        """Give the store that leads a region, if one does."""
        return next((store for store, part in self.world.parts_of(region) if part.host.ready), None)

    def until(self, condition: Callable[[], object], seconds: int = 30) -> None:
        """Let happen what does until something is so."""
        self.assertTrue(self.world.run_while(lambda: not condition(), seconds), self.world.checker.problems)
        self.assertEqual(self.world.checker.problems, [])


class CrashTests(DirectedCase):
    """A store ends at any step of a merge."""

    def crash_at(self, step: int, events: int, leads: bool, power: bool) -> int:
        """
        Let a store end so many events after a step of a merge, and come back; all come to the same.

        @param step: 0 when it's proposed, 1 when a region's service has ended there, 2 when it was taken in there.
        @return: How many regions were taken in.
        """
        world = self.begin()
        leader = self.leading(1)
        store = leader if leads else next(one for one in world.stores.values() if one is not leader)
        self.merge(leader)
        if step == 1:
            self.until(lambda: 1 not in store.parts or store.parts[1].host.merging.state is not None)
        elif step == 2:
            self.until(lambda: 1 not in store.parts)
        for _ in range(events):
            world.events.step(world.events.now + SECOND)
        (world.crash if power else world.kill)(store.name)
        world.run_until(world.events.now + SECOND // 10)
        world.restart(store.name)
        self.until(world.converged)
        world.compare_at_end()
        self.assertEqual(world.checker.problems, [])
        for one in world.stores.values():
            self.assertEqual(sorted(one.parts), [2] if world.taken_in else [1, 2])
        world.close()
        return len(world.taken_in)

    def test_each_of_them(self) -> None:
        merged = 0
        for step in range(3):
            for place, events in enumerate((0, 3, 11, 40)):
                for leads in (False, True):
                    merged += self.crash_at(step, events, leads, bool(place % 2))
        self.assertGreater(merged, 15)


class SnapshotTests(DirectedCase):
    """A store is away while regions are merged, and the logs are cut: it gets a snapshot of the target."""

    log_entries = 2

    def away(self, world_type: type[MergeWorld] = MergeWorld, *, prepared: bool = False) -> tuple[MergeWorld, Any]:
        """
        Let a store go, and have the regions merged meanwhile.

        @param prepared: Whether it knows that the service of the first one has ended.
        @return: The world, and the store.
        """
        world = self.begin(world_type)
        leader = self.leading(1)
        store = next(one for one in world.stores.values() if one is not leader)
        self.write(leader.parts[1].host, KEY, b"1")
        self.until(lambda: store.parts[1].host.applied == leader.parts[1].host.applied)
        self.merge(leader, step=1)
        if prepared:
            self.until(lambda: store.parts[1].host.merging.state is not None)
        world.kill(store.name)
        self.until(lambda: 1 not in leader.parts)
        return world, store

    def go_on(self, key: bytes = KEY) -> None:
        """Have so much written that the logs are cut."""
        leader = next(store for store, part in self.world.parts_of(2) if not store.process.is_dead and part.host.ready)
        host = leader.parts[2].host
        for number in range(20):
            self.write(host, key, b"%d" % number)
        flushed: list[bool] = []
        leader.process.soon("flushes", host.flush_all, lambda: flushed.append(True))
        self.until(lambda: flushed)
        self.until(lambda: leader.parts[2].log.base() >= host.applied - self.log_entries)

    def write(self, host: RegionHost, key: bytes, value: bytes) -> None:
        """Write a key."""
        client, request = _Client(), [b"SET", key, value]
        host.submit((COMMANDS, client, 0, 0, TABLE["set"], request, encode_command(request)))
        self.until(lambda: client.told)
        self.assertEqual(client.told, [b"+OK\r\n"])

    def come_back(self, store: Any) -> None:
        """Let the store come back, and all come to the same."""
        world = self.world
        world.restart(store.name)
        self.until(world.converged)
        world.compare_at_end()
        self.assertEqual(world.checker.problems, [])

    def test_it_takes_the_sources_place(self) -> None:
        for prepared in (False, True):
            world, store = self.away(prepared=prepared)
            self.go_on()
            self.come_back(store)
            self.assertEqual((list(store.parts), world.replaced), ([2], 1))
            self.assertEqual(store.parts[2].host.keyspace.databases[0].string(KEY), b"19")
            self.until(lambda store=store: store.disk.log.visible.hard_state(1) is None)  # type: ignore[misc]  # as below
            # What the tombstone says outlives the next start.
            world.kill(store.name)
            self.come_back(store)
            self.assertEqual(list(store.parts), [2])
            world.close()

    def test_the_target_was_split_since(self) -> None:
        """The snapshot has but a part of the source's keys; what is left of it goes all the same, and then comes."""
        world, store = self.away()
        leader = self.leading(2)
        host = leader.parts[2].host
        slot = slot_of(KEY)
        cuts = own_cuts(host.descriptor, (slot - 1,))
        about = host.descriptor
        leader.process.soon("splits", host.propose_split, Split(about.version, about.conf_ver, cuts))
        self.until(lambda: cuts[0].region in leader.parts)
        self.go_on(next(key for key in map(b"%d".__mod__, range(1000)) if slot_of(key) < slot - 1))
        self.come_back(store)
        self.assertEqual((sorted(store.parts), world.replaced), ([2, cuts[0].region], 1))
        self.assertEqual(store.parts[cuts[0].region].host.keyspace.databases[0].string(KEY), b"1")

    def test_it_ends_in_the_midst(self) -> None:
        """Whatever step of the installation it ends at, the next start goes on."""
        for events in (1, 9, 25):
            world, store = self.away()
            self.go_on()
            world.restart(store.name)
            self.until(lambda store=store: 1 not in store.parts or store.parts[1].host.merging.makes_way)  # type: ignore[misc]  # looked at before the next round
            for _ in range(events):
                world.events.step(world.events.now + SECOND)
            world.crash(store.name)
            world.run_until(world.events.now + SECOND // 10)
            self.come_back(store)
            self.assertEqual(list(store.parts), [2])
            world.close()

    def test_one_that_keeps_the_source(self) -> None:
        """It's noticed: so the tests above say something."""

        world, store = self.away(_world_with(_Keeping))
        self.go_on()
        world.restart(store.name)
        world.run_while(lambda: not world.checker.problems, 20)
        self.assertTrue(world.checker.problems or not world.converged())
        self.flushLoggedErrors()


class _Client:
    """A client that notes what it's told."""

    proto = 2
    client_id = 77

    def __init__(self) -> None:
        self.told: list[bytes] = []

    def answer(self, number: int, reply: bytes) -> None:
        """Note a reply."""
        self.told.append(reply)

    def waits(self, number: int, timeout_ms: int) -> None:
        """Nothing waits."""
        raise AssertionError("nothing blocks")


class LeaseTests(DirectedCase):
    """The leader of a source knows that its service has ended, and can't apply it since its disk doesn't answer."""

    def read_late(self, world_type: type[MergeWorld]) -> bytes | None:
        """
        Have the target take the source in elsewhere, and a key of it written there; then read it where it was led.

        @return: What is answered at once.
        """
        world = self.begin(world_type)
        old = self.leading(1)
        new = next(store for store in world.stores.values() if store is not old)
        self.write(old.parts[1].host, b"1")
        world.run_until(world.events.now + SECOND)
        old.disk.stuck = True
        self.merge(old)
        self.until(lambda: new.parts[1].host.merging.state is not None)
        self.assertIsNone(old.parts[1].host.merging.state)
        self.lead(2, new)
        self.until(lambda: 1 not in new.parts)
        self.write(new.parts[2].host, b"2")
        host = old.parts[1].host
        found: bytes | None = host.read(_Client(), 0, 0, TABLE["get"], [b"GET", KEY])
        old.disk.stuck = False
        self.until(world.converged)
        return found

    def write(self, host: RegionHost, value: bytes) -> None:
        """Write the key."""
        client, request = _Client(), [b"SET", KEY, value]
        host.submit((COMMANDS, client, 0, 0, TABLE["set"], request, encode_command(request)))
        self.until(lambda: client.told)
        self.assertEqual(client.told, [b"+OK\r\n"])

    def test_it_does_not_count(self) -> None:
        self.assertIsNone(self.read_late(MergeWorld))

    def test_one_that_is_kept(self) -> None:
        """It's noticed: so the test above says something."""

        class Host(RegionHost):
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **options)
                self.read = self._read_by_lease

            def _read_by_lease(self, client: Any, number: int, db: int, spec: Any, request: Any) -> bytes | None:
                if not self.queue.ready or self.replica._uptime() >= self.group.lease_end:
                    return None
                found = self.execution.read(client, db, spec, request, self.keyspace.region_time)
                assert isinstance(found, bytes), "nothing has expired"
                return found

        class Broken(MergeStore):
            host_type = Host

        class World(MergeWorld):
            store_type = Broken

        self.assertEqual(self.read_late(World), b"$1\r\n1\r\n")


class _Keeping(RegionMerging):
    """Doesn't let regions go whose place a snapshot takes."""

    def make_way(self, sources: tuple[int, ...], stopped: Callable[[], None]) -> None:
        """Stop none."""
        stopped()

    def take_places(self) -> list[RegionHost]:
        """Let none go."""
        return []


class _Deleting(RegionMerging):
    """Deletes, where a source was taken in, the range that it had: as if its replica had been destroyed."""

    def _take_over(self, source: RegionHost) -> None:
        super()._take_over(source)
        if not self._host.group.leads:
            self._host.rows.delete_ranges("data", [slots_range(source.descriptor.slots)])


def _world_with(merging: type[RegionMerging]) -> type[MergeWorld]:
    """Give a world whose stores merge in another way."""

    class Host(OtherwiseMerging):
        merging_type = merging

    class Broken(MergeStore):
        host_type = Host

    class World(MergeWorld):
        store_type = Broken

    return World


class RangeTests(DirectedCase):
    """A range that is deleted when it's another region's."""

    def merged(self, world_type: type[MergeWorld]) -> list[str]:
        """Merge regions that have a key, and give what the checkers find."""
        world = self.begin(world_type)
        leader = self.leading(1)
        client, request = _Client(), [b"SET", KEY, b"1"]
        host = leader.parts[1].host
        host.submit((COMMANDS, client, 0, 0, TABLE["set"], request, encode_command(request)))
        self.until(lambda: client.told)
        self.merge(leader)
        self.until(lambda: all(1 not in store.parts for store in world.stores.values()))
        self.until(world.converged)
        world.compare_at_end()
        return list(world.checker.problems)

    def test_none_is_deleted(self) -> None:
        self.assertEqual(self.merged(MergeWorld), [])

    def test_a_range_delete_that_outlives_its_range(self) -> None:
        self.assertNotEqual(self.merged(_world_with(_Deleting)), [])
        self.flushLoggedErrors()
