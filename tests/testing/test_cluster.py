"""Simulated clusters keep their promises, and the checks see it when they don't."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tests.testing.cluster import Cluster
from tests.testing.cluster_changes import EXCHANGE
from tests.testing.mutations import MUTATIONS, Mutation
from tests.testing.seeds import SeedsCase
from tinykv.testing.simulation import faults
from tinykv.testing.simulation.scenario import Settings


class ClusterTests(SeedsCase):
    """Some seeds; `make sim` runs many."""

    def test_they_keep_their_promises_whatever_happens(self) -> None:
        figures = self.run_seeds(Cluster(), range(1, 5), Settings(Cluster.faults))
        missing = [kind for kind in Cluster.faults if f"faults {kind}" not in figures]
        self.assertLess(len(missing), 8, f"{missing} never happened: {figures}")
        self.assertGreater(figures["changes of members"], 2)
        self.assertGreater(figures["snapshots installed"], 0)
        self.assertGreater(figures["replies"], 4 * 60)
        self.assertGreater(figures["requests of unknown outcome"], 4)
        self.assertGreater(figures["terms with a leader"], 4 * 2)
        self.assertGreater(figures["comparisons of rows"], 4 * 10)

    def test_nobody_is_left_in_doubt_when_nothing_is_wrong(self) -> None:
        for size in (3, 5):
            figures = self.run_seeds(Cluster(size=size), range(1, 2), Settings((), seconds=4))
            self.assertEqual(figures["requests of unknown outcome"], 0)
            # All that comes while the first leader is elected is sent elsewhere; then the last crash has another one.
            self.assertEqual(figures["terms with a leader"], 2)
            self.assertGreater(figures["replies"], 60)

    def test_a_leader_that_leaves_with_reads_behind_its_last_entry(self) -> None:
        """It isn't the leader any more when it comes to them, and they're done elsewhere."""
        kinds = (faults.PARTITION, EXCHANGE)
        self.run_seeds(Cluster(), range(22, 23), Settings(kinds))

    def test_stores_that_linger(self) -> None:
        """
        Stores are exchanged, and those that left linger, are started again meanwhile, and are let go in the end.

        What becomes of a group whose leader left with what only another one knows is in tests/raft/test_elections.py.
        """
        figures = self.run_seeds(Cluster(), range(266, 267), Settings(Cluster.faults))
        self.assertGreater(figures["stores that left"], 0)
        self.assertGreaterEqual(figures["runs of stores that lingered"], figures["stores that left"])

    def test_a_wait_that_a_coarse_clock_ends(self) -> None:
        """Entries wait for company until a time that lies between two moments of the clock, and then go."""
        self.run_seeds(Cluster(), range(726, 727), Settings(Cluster.faults))

    def test_a_seed_is_a_run(self) -> None:
        settings = Settings(Cluster.faults, seconds=3)
        first, again, other = (Cluster().run(seed, settings) for seed in (5, 5, 6))
        self.assertEqual((first.digest, first.figures), (again.digest, again.figures))
        self.assertNotEqual(first.digest, other.digest)


class MutationTests(SynchronousTestCase):
    """Each way to break them is seen, within some seeds, by a check that says what is wrong; unbroken all is well."""

    def look(self, mutation: Mutation) -> None:
        """Break them, and don't."""
        found = mutation.caught()
        # A store that fails at what it finds says so in its log.
        self.flushLoggedErrors()
        assert found is not None, "no seed showed it"
        seed, _ = found
        self.assertEqual(mutation.run(seed, broken=False).problems, [], f"unbroken, seed {seed}")


def _test_of(mutation: Mutation) -> Callable[[MutationTests], None]:
    return lambda case: case.look(mutation)


for _mutation in MUTATIONS:
    setattr(MutationTests, "test_" + _mutation.name.lower().replace(" ", "_"), _test_of(_mutation))
