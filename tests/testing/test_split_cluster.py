"""Simulated stores keep their promises while their regions are split, and those that are broken on purpose don't."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.testing.cluster import TRANSFER
from tests.testing.region_cluster import PartReplica, RegionStore
from tests.testing.seeds import SeedsCase
from tests.testing.split_cluster import SPLIT, SplitCluster, SplitMovingCluster, SplitWorld
from tinykv.redis.operations import Operation
from tinykv.region.state import FIRST_INDEX, FIRST_TERM
from tinykv.storage.folder import Recovery
from tinykv.storage.log import RESET, Entry
from tinykv.store.host import RegionHost
from tinykv.store.proposals import Proposals
from tinykv.store.recovery import RecoverableStore
from tinykv.testing.simulation import faults
from tinykv.testing.simulation.runner import run_once
from tinykv.testing.simulation.scenario import Settings


class SplitClusterTests(SeedsCase):
    """Some seeds; `make sim` runs many."""

    def test_they_keep_their_promises_whatever_happens(self) -> None:
        figures = self.run_seeds(SplitCluster(), range(1, 5), Settings(SplitCluster.faults))
        self.assertGreater(figures["replies"], 4 * 60)

    def test_from_several_regions(self) -> None:
        self.run_seeds(SplitCluster(size=3, regions=3), range(5, 7), Settings(SplitCluster.faults))

    def test_while_replicas_come_and_go(self) -> None:
        """Stores without a peer learn where regions are; copies are sent, and replicas destroyed."""
        figures = self.run_seeds(SplitMovingCluster(regions=3), range(5, 6), Settings(SplitMovingCluster.faults))
        self.assertGreater(figures["replicas destroyed"] + figures["snapshots installed"], 2)

    def test_a_voter_that_has_never_begun(self) -> None:
        """A copy of the whole overtook the split, and without its vote there's no majority."""
        self.run_seeds(SplitMovingCluster(regions=2), range(88, 89), Settings(SplitMovingCluster.faults))

    def test_nobody_is_left_in_doubt_when_nothing_else_happens(self) -> None:
        figures = self.run_seeds(SplitCluster(size=3), range(1, 3), Settings((SPLIT,)))
        self.assertEqual(figures["requests of unknown outcome"], 0)

    def test_a_seed_is_a_run(self) -> None:
        settings = Settings(SplitCluster.faults)
        first, again = (SplitCluster().run(5, settings) for _ in range(2))
        self.assertEqual((first.digest, first.figures), (again.digest, again.figures))


class _ResettingFolder:
    """Begins the log of a part anew each time that the whole's log is replayed."""

    def __init__(self, disk: Any) -> None:
        self._disk = disk

    def recover(self, region: int, row: bytes | None = None) -> Recovery:
        """Find where a region stands."""
        if row is not None:
            state = self._disk.log.visible.hard_state(region)
            if state is not None:
                self._disk.log.commit([(RESET, region, FIRST_INDEX, FIRST_TERM)], synced=True)
        found: Recovery = self._disk.recover(region, row)
        return found

    def promised(self) -> dict[int, int]:
        """Give it."""
        found: dict[int, int] = self._disk.promised()
        return found

    def entries(self, region: int, after: int) -> Iterator[Entry]:
        """Yield the entries of a region's log."""
        found: Iterator[Entry] = self._disk.entries(region, after)
        return found


class _ResettingStore(RegionStore):
    def folder_found(self) -> RecoverableStore:
        """Give it."""
        return _ResettingFolder(self.disk)


class _Impatient(Proposals):
    """Doesn't wait for what was sent to the whole."""

    def hold(self) -> None:
        """Don't."""


class _ImpatientHost(RegionHost):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.proposals.__class__ = _Impatient


class _ImpatientStore(RegionStore):
    host_type = _ImpatientHost


class _CarelessHost(RegionHost):
    """Looks at keys that lie elsewhere by now."""

    def has_all_of(self, operation: Operation) -> bool:
        """Take it for its own."""
        return True

    def owns(self, operation: Operation) -> bool:
        """Take it for its own."""
        return True

    def start(self) -> None:
        """Start so."""
        self.execution.run = self.execution._run
        self.execution.narrow = False
        super().start()

    def _bring_up(self) -> None:
        super()._bring_up()
        self.execution.run = self.execution._run
        self.execution.narrow = False


class _CarelessStore(RegionStore):
    host_type = _CarelessHost


class _LeasedReplica(PartReplica):
    """Reads by its lease while the region is being split."""

    def no_lease_before(self, index: int) -> None:
        """Keep it."""


class _LeasedStore(RegionStore):
    replica_type = _LeasedReplica


class MutationTests(SynchronousTestCase):
    """Broken on purpose they're caught."""

    def caught(
        self, store: type[RegionStore], kinds: tuple[str, ...], seeds: range, pipeliners: int | None,
        says: str = "",
    ) -> None:
        """See that some seed shows what is wrong with such stores, and how."""

        class Broken(SplitWorld):
            store_type = store

        class Scenario(SplitCluster):
            world_type = Broken

        settings = Settings((*kinds, SPLIT))
        for seed in seeds:
            scenario = Scenario(size=3, regions=1 + seed % 3, pipeliners=pipeliners)
            if any(says in problem for problem in run_once(scenario, seed, settings).problems):
                break
        else:
            self.fail("no seed showed it")
        self.flushLoggedErrors()

    def test_a_part_whose_log_begins_anew_at_a_replay(self) -> None:
        self.caught(_ResettingStore, (faults.CRASH, faults.KILL), range(1, 11), None)

    def test_a_part_that_does_not_wait_for_the_whole(self) -> None:
        """Commands overtake those of the same client that were on their way to the whole."""
        self.caught(_ImpatientStore, (TRANSFER, faults.PAUSE), range(37, 62), 3)

    def test_a_lease_that_is_kept(self) -> None:
        """Others apply the split, and may lead the part, while the disk of who leads the whole takes its time."""
        self.caught(_LeasedStore, (faults.SLOW_DISK, faults.STUCK_DISK), range(1, 11), None, "as it was before a split")

    def test_keys_that_are_not_looked_at(self) -> None:
        self.caught(_CarelessStore, (faults.KILL,), range(3, 13), None)
