"""What the regions of a store have of its limits, whichever there are."""

from __future__ import annotations

from tests.store.test_splits import SplitsCase
from tinykv.store.shares import Shares

MEMORY = 1 << 30
LOG = 1 << 32


class SharesTests(SplitsCase):
    """All of them have the same."""

    def setUp(self) -> None:
        """Share the limits of a store that has one region yet."""
        super().setUp()
        Shares(self.regions, memory_budget=MEMORY, log_bytes_max=LOG)

    def check(self, count: int) -> None:
        """See that each of so many has its share."""
        hosts = self.regions.ordered
        self.assertEqual(len(hosts), count)
        for host in hosts:
            self.assertEqual(host.keyspace.budget, MEMORY // count)
            self.assertEqual(host.flushing.log_bytes_max, LOG // count)

    def test_one_has_all(self) -> None:
        self.check(1)

    def test_many_splits_one_after_another(self) -> None:
        for number in range(40):
            self.split(16000 - 100 * number)
            self.check(2 + number)

    def test_several_parts_at_once(self) -> None:
        self.split(100, 200, 300)
        self.check(4)

    def test_one_that_goes_leaves_its_share_to_the_others(self) -> None:
        part, _ = self.split(100, 200)
        part.halt()
        self.regions.remove(part.descriptor.region)
        self.check(2)

    def test_values_stay_in_memory_after_many_splits(self) -> None:
        """What lies in a share that is large enough isn't dropped at every look."""
        for number in range(30):
            self.split(16000 - 100 * number)
        self.ask("SET b 1")
        db = self.whole.keyspace.databases[0]
        for _ in range(5):
            self.whole.keyspace.turn()
        self.assertIn(b"b", db.live)
