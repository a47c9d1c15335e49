"""Where the regions lie of which a store has no peer: what others tell of it, and when they are asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.testing.cluster import Variant
from tests.testing.region_cluster import RegionStore
from tests.testing.split_cluster import SplitWorld
from tinykv.interfaces import Outcome
from tinykv.keys import SLOTS
from tinykv.region.routes import Route, encode_routes
from tinykv.region.splitting import Split, own_cuts
from tinykv.store.places import ASK_SECONDS
from tinykv.testing.simulation.events import SECOND

MIDDLE = SLOTS // 2


class PlacesCase(SynchronousTestCase):
    """Three stores with one region, and a fourth one without a replica."""

    def setUp(self) -> None:
        """Begin."""
        self.world = SplitWorld(3, Variant(), size=3, moves=True, bursts=0)
        self.addCleanup(self.world.close)
        self.world.mend()
        self.store: RegionStore = self.world.stores[4]

    def until(self, condition: Callable[[], object], seconds: int = 20) -> None:
        """Let happen what does until something is so."""
        self.assertTrue(self.world.run_while(lambda: not condition(), seconds), self.world.checker.problems)
        self.assertEqual(self.world.checker.problems, [])

    def split(self, slot: int, region: int = 1) -> None:
        """Have a region split."""
        store, part = next((store, part) for store, part in self.world.parts_of(region) if part.host.ready)
        descriptor = part.host.descriptor

        def propose() -> None:
            part.host.propose_split(Split(descriptor.version, descriptor.conf_ver, own_cuts(descriptor, (slot,))))

        store.process.soon("splits a region", propose)
        self.until(lambda: part.host.version > descriptor.version)

    def slots(self) -> list[tuple[int, int]]:
        """Give the ranges of the fourth store's regions."""
        return [host.descriptor.slots for host in self.store.regions.ordered]

    def versions(self) -> list[int]:
        """Give the versions of these ranges."""
        return [host.version for host in self.store.regions.ordered]


class LearningTests(PlacesCase):
    """A store without a peer learns that a region was split."""

    def setUp(self) -> None:
        """Begin, and have a leader."""
        super().setUp()
        self.until(lambda: any(part.host.ready for _, part in self.world.parts_of(1)))

    def test_soon(self) -> None:
        """Within some seconds, whether anyone asks it for anything or not."""
        self.split(MIDDLE)
        self.until(lambda: self.slots() == [(0, MIDDLE), (MIDDLE, SLOTS)], 4)
        self.split(1000)
        self.until(lambda: self.slots() == [(0, 1000), (1000, MIDDLE), (MIDDLE, SLOTS)], 4)
        self.assertEqual(self.versions(), [3, 3, 2])
        # Nothing of it is in the files.
        self.world.kill(self.store.name)
        self.world.restart(self.store.name)
        self.assertEqual(self.slots(), [(0, SLOTS)])
        self.until(lambda: len(self.slots()) == 3, 4)

    def test_one_whose_replica_was_destroyed(self) -> None:
        """It begins with the range that the region had last, and after a start makes room for what is at work."""
        self.split(MIDDLE)
        store = next(store for store, part in self.world.parts_of(1) if part.group.peer and not part.group.leads)
        leader, part = next((store, part) for store, part in self.world.parts_of(1) if part.host.ready)

        def propose() -> None:
            part.group.propose_change(part.host.descriptor.removing(store.id))
            part.host.replica.go_on()

        leader.process.soon("changes members", propose)
        self.until(lambda: store.parts[1].host.buried)
        hosts: list[Any] = store.regions.ordered
        self.assertEqual([host.descriptor.slots for host in hosts], [(0, MIDDLE), (MIDDLE, SLOTS)])
        self.world.kill(store.name)
        self.world.restart(store.name)
        hosts = store.regions.ordered
        self.assertEqual([host.descriptor.slots for host in hosts], [(0, MIDDLE), (MIDDLE, SLOTS)])
        self.assertTrue(hosts[0].clipped and hosts[0].needs_copy)
        self.until(lambda: not hosts[0].clipped, 4)
        self.assertEqual(hosts[0].version, 2)


class ToldTests(PlacesCase):
    """What is told may be old, incomplete, or nonsense."""

    def told(self, *routes: Route, outcome: Outcome = Outcome.ANSWERED, text: bytes | None = None) -> None:
        """Let another store tell something."""
        places: Any = self.store.control._places
        places._told((outcome, encode_routes(routes, {}) if text is None else text), 2)

    def test_what_does_not_cover_all_slots(self) -> None:
        """The range stays, so that no command goes to a region that hasn't its keys."""
        self.told(Route(1, 0, MIDDLE, 2, 1, 1))
        self.assertEqual(self.slots(), [(0, SLOTS)])
        self.told(Route(9, MIDDLE, SLOTS, 2, 1, 1))
        self.assertEqual(self.slots(), [(0, MIDDLE), (MIDDLE, SLOTS)])

    def test_what_is_old(self) -> None:
        self.told(Route(1, 0, MIDDLE, 2, 1, 1), Route(9, MIDDLE, SLOTS, 2, 1, 1))
        self.told(Route(1, 0, SLOTS, 1, 5, 1))
        self.assertEqual(self.slots(), [(0, MIDDLE), (MIDDLE, SLOTS)])

    def test_what_was_merged(self) -> None:
        """It's kept in mind no more, nor when a start has found it again, with what took its place in a flush."""
        initial = self.store.regions.hosts[1].descriptor
        for _ in range(2):
            self.told(Route(9, 0, SLOTS, 4, 1, 1))
            self.assertEqual(list(self.store.regions.hosts), [9])
            places: Any = self.store.control._places
            places._adopt(initial)
            self.assertEqual(sorted(self.store.regions.hosts), [1, 9])

    def test_nonsense(self) -> None:
        self.told(text=b"region 1 0 0 1 1 1")
        self.told(outcome=Outcome.UNKNOWN)
        self.assertEqual(self.slots(), [(0, SLOTS)])

    def test_what_is_at_work_here_knows_better(self) -> None:
        """A store that hasn't applied the split goes on with the whole until it does."""
        store = self.world.stores[1]
        places: Any = store.control._places
        text = encode_routes([Route(1, 0, MIDDLE, 2, 1, 1), Route(9, MIDDLE, SLOTS, 2, 1, 1)], {})
        places._told((Outcome.ANSWERED, text), 2)
        self.assertEqual([host.descriptor.slots for host in store.regions.ordered], [(0, SLOTS)])

    def test_one_is_asked_now_and_then(self) -> None:
        places: Any = self.store.control._places
        asked: list[int] = []

        def ask(store: int) -> Deferred[Any]:
            asked.append(store)
            return Deferred()

        places._ask = ask
        for _ in range(3):
            places.ask(2)
        self.assertEqual(asked, [2])
        self.world.run_until(self.world.events.now + int(2 * ASK_SECONDS * SECOND))
        places.ask(2)
        self.assertGreater(asked.count(2), 1)
