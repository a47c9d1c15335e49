"""Which cluster a store belongs to: what its folder and its options say, and what the scheduler has to be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.store.instant_scheduler import InstantScheduler
from tests.store.test_scheduling import registration
from tinykv.config import ConfigError, StoreConfig, parse
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.stores import Life, StoreRecord
from tinykv.region.descriptor import Descriptor
from tinykv.storage.beginning import Beginning, read_beginning
from tinykv.storage.folder import DataFolder, open_folder
from tinykv.storage.log import LogStore
from tinykv.storage.writers import LogBatch
from tinykv.tap.beginning import asked_beginning, cluster_id_of, known_beginning

SCHEDULED = "[schedule]\nschedulers = 127.0.0.1:2379\n"
LIST = "initial_stores = 1@127.0.0.1:20160, 2@127.0.0.1:20161, 3@127.0.0.1:20162\n"


class Case(SynchronousTestCase):
    """A folder."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()

    def config(self, *, stores: str = "", scheduled: bool = True, number: int = 1) -> StoreConfig:
        """Read a configuration."""
        text = f"[store]\ndata_dir = {self.path}\n[cluster]\nstore_id = {number}\n"
        text += "cluster_secret = 0123456789abcdef\n" + stores
        return parse(text + (SCHEDULED if scheduled else ""), "test")

    def folder(self, cluster_id: str = "") -> DataFolder:
        """Open the folder."""
        folder = open_folder(str(self.path), 1, cluster_id, ballast_bytes=0)
        self.addCleanup(folder.close)
        return folder

    def used_folder(self, promised: bool = True) -> DataFolder:
        """
        Open the folder of a store that has run on its own.

        @param promised: Whether it has a vote, or else an entry.
        """
        folder = self.folder()
        batch = LogBatch()
        if promised:
            batch.hard_state(1, 1, 1, 1, 0)
        else:
            batch.append(1, 1, [(1, b"")])
        raft, _ = folder._connections()  # noqa: SLF001 - as the log writer would
        LogStore(raft, folder.raft_path, noting=False).write(batch.operations)
        return folder


class KnownTests(Case):
    """What needn't be asked."""

    def test_a_new_store_has_to_ask(self) -> None:
        self.assertIsNone(known_beginning(self.config(), self.folder()))

    def test_a_store_of_its_own(self) -> None:
        beginning = known_beginning(self.config(scheduled=False), self.folder())
        first = RegionInfo.of(Descriptor.initial(1, [1]), None)
        self.assertEqual(beginning, Beginning("", (first,)))
        self.assertIsNone(read_beginning(self.path))

    def test_a_store_of_its_own_that_is_given_a_scheduler(self) -> None:
        folder = self.used_folder()
        beginning = known_beginning(self.config(), folder)
        assert beginning is not None
        self.assertRegex(beginning.cluster_id, "^[0-9a-f]{32}$")
        self.assertEqual(beginning.regions[0].stores, (1,))
        self.assertEqual(read_beginning(self.path), beginning)
        # And from now on it's known, whatever else there is.
        self.assertEqual(known_beginning(self.config(), folder), beginning)
        problem = self.assertRaises(ConfigError, known_beginning, self.config(scheduled=False), folder)
        self.assertEqual(problem.name, "schedulers")

    def test_a_list_of_stores(self) -> None:
        config = self.config(stores=LIST)
        folder = self.folder()
        beginning = known_beginning(config, folder)
        assert beginning is not None
        self.assertEqual(beginning.cluster_id, cluster_id_of(config))
        self.assertEqual(beginning.regions[0].stores, (1, 2, 3))
        self.assertEqual(read_beginning(self.path), beginning)
        # Without the list it's what the file says.
        self.assertEqual(known_beginning(self.config(), folder), beginning)

    def test_a_list_that_is_needed_still(self) -> None:
        folder = self.folder()
        folder.set_cluster("c0de")
        for scheduled in (False, True):
            problem = self.assertRaises(ConfigError, known_beginning, self.config(scheduled=scheduled), folder)
            self.assertEqual(problem.name, "initial_stores")

    def test_a_store_of_its_own_is_not_taken_into_a_cluster(self) -> None:
        for promised in (False, True):
            self.path = Path(self.mktemp()).absolute()
            folder = self.used_folder(promised)
            for config in (
                self.config(stores=LIST),
                self.config(stores=LIST, scheduled=False),
                self.config(stores=LIST.replace(" 1@", " 4@") + "join = yes\npeer_bind = 127.0.0.1\n", scheduled=False),
            ):
                problem = self.assertRaises(ConfigError, known_beginning, config, folder)
                self.assertEqual(problem.name, "initial_stores")
                self.assertIn("tinykv ctl add-store", str(problem))
            self.assertIsNone(read_beginning(self.path))

    def test_a_store_of_its_own_grows_into_a_cluster(self) -> None:
        config = self.config(stores="initial_stores = 1@127.0.0.1:20160\n", scheduled=False)
        beginning = known_beginning(config, self.used_folder())
        assert beginning is not None
        self.assertEqual(beginning.cluster_id, cluster_id_of(config))
        self.assertEqual(beginning.regions[0].stores, (1,))

    def test_a_member_with_data(self) -> None:
        folder = self.used_folder()
        config = self.config(stores=LIST, scheduled=False)
        folder.set_cluster(cluster_id_of(config))
        beginning = known_beginning(config, folder)
        assert beginning is not None
        self.assertEqual(beginning.cluster_id, cluster_id_of(config))


class AskedTests(Case):
    """What the scheduler says."""

    def setUp(self) -> None:
        super().setUp()
        self.path.mkdir()
        self.clock: Any = Clock()
        self.scheduler = InstantScheduler(self.clock.seconds)
        self.scheduler.cluster_id = "c0de"

    def ask(self) -> Deferred[Any]:
        """Ask it."""
        return Deferred.fromCoroutine(
            asked_beginning(self.config(number=4), self.scheduler, registration(4), self.clock)
        )

    def test_it_is_kept(self) -> None:
        region = RegionInfo.of(Descriptor.initial(1, [1, 2, 3]), None)
        self.scheduler.regions_at_first = [region]
        self.scheduler.records[9] = StoreRecord(9, "gone:1", life=Life.TOMBSTONE)
        beginning, addresses = self.successResultOf(self.ask())
        self.assertEqual(beginning, Beginning("c0de", (region,)))
        self.assertEqual(addresses, {4: "store4:1"})
        self.assertEqual(read_beginning(self.path), beginning)

    def test_several_regions(self) -> None:
        regions = [RegionInfo.of(descriptor, None) for descriptor in Descriptor.initial_regions(3, [1, 2, 3])]
        self.scheduler.regions_at_first = regions
        beginning, _ = self.successResultOf(self.ask())
        self.assertEqual(beginning.regions, tuple(regions))
        self.assertEqual(read_beginning(self.path), beginning)
