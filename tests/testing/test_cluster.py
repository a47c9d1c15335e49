"""Simulated clusters keep their promises, and the checks see it when they don't."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tests.testing import cluster_mutants as mutants
from tests.testing.cluster import (
    BLACKOUT,
    BLIND_TRANSFER,
    CRASH_LOOP,
    DEAF,
    LIMITS,
    STORM,
    STRAND,
    TRANSFER,
    Cluster,
    Variant,
)
from tests.testing.seeds import SeedsCase
from tinykv.testing.simulation import faults
from tinykv.testing.simulation.events import SECOND
from tinykv.testing.simulation.faults import Limits
from tinykv.testing.simulation.runner import run_once
from tinykv.testing.simulation.scenario import Settings


def often(seconds: float, least: float = 0.2, most: float = 4.0) -> Limits:
    """Let faults come so often, and last so long."""
    return Limits(
        interval_us=int(seconds * SECOND),
        duration_us=(int(least * SECOND), int(most * SECOND)),
        clock_rate=LIMITS.clock_rate,
    )


class ClusterTests(SeedsCase):
    """Some seeds; `make sim` runs many."""

    def test_they_keep_their_promises_whatever_happens(self) -> None:
        figures = self.run_seeds(Cluster(), range(1, 5), Settings(Cluster.faults))
        missing = [kind for kind in Cluster.faults if f"faults {kind}" not in figures]
        self.assertLess(len(missing), 6, f"{missing} never happened: {figures}")
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

    def test_a_seed_is_a_run(self) -> None:
        settings = Settings(Cluster.faults, seconds=3)
        first, again, other = (Cluster().run(seed, settings) for seed in (5, 5, 6))
        self.assertEqual((first.digest, first.figures), (again.digest, again.figures))
        self.assertNotEqual(first.digest, other.digest)


class MutantTests(SynchronousTestCase):
    """Each way to break them is seen, within some seeds, by a check that says what is wrong."""

    def caught(
        self,
        mutant: Callable[[], Variant],
        says: str,
        kinds: tuple[str, ...],
        limits: Limits,
        *,
        clients: int = 6,
        seconds: int = 10,
        seeds: range = range(1, 41),
    ) -> None:
        """Run seeds until one is seen to fail; it must say what is expected."""
        scenario = Cluster(mutant, size=3, limits=limits)
        for seed in seeds:
            report = run_once(scenario, seed, Settings(kinds, seconds, clients))
            # A store that fails at what it finds says so in its log.
            self.flushLoggedErrors()
            if any(says in problem for problem in report.problems):
                return
        self.fail(f"none of the seeds {seeds} showed it")

    def test_a_vote_that_is_not_synced(self) -> None:
        self.caught(mutants.VoteNotSynced, "has voted for peer", (BLACKOUT,), often(1.5), clients=0, seconds=60)

    def test_entries_that_are_not_synced(self) -> None:
        self.caught(mutants.EntriesNotSynced, "isn't on its disk", (faults.CRASH,), often(3.0))

    def test_a_late_write_that_counts_for_another_term(self) -> None:
        self.caught(mutants.LateWriteCounts, "isn't on its disk", (STRAND,), often(2.0))

    def test_an_entry_of_an_older_term_that_counts_as_committed(self) -> None:
        kinds = (faults.ISOLATE, faults.CRASH, STORM)
        self.caught(mutants.OldTermCounts, "for committed by itself", kinds, often(0.7, 0.05, 3.0))

    def test_no_pause_before_voting(self) -> None:
        self.caught(mutants.NoVotePause, "each hold a lease", (CRASH_LOOP,), often(1.0), clients=0)

    def test_a_read_after_the_lease(self) -> None:
        kinds = (faults.PAUSE, faults.ISOLATE)
        self.caught(mutants.ReadsAfterLease, "each hold a lease", kinds, often(1.5), seeds=range(3, 40))

    def test_a_read_after_the_word_to_campaign(self) -> None:
        self.caught(mutants.LeasesAfterTimeoutNow, "each hold a lease", (BLIND_TRANSFER,), often(1.0))

    def test_a_read_before_the_own_entry_is_applied(self) -> None:
        kinds = (TRANSFER, faults.KILL)
        limits = often(0.5, 0.05, 0.5)
        self.caught(
            mutants.ReadsBeforeOwnEntry, "isn't linearizable", kinds, limits, clients=12, seeds=range(2, 40)
        )

    def test_entries_that_are_applied_twice(self) -> None:
        self.caught(mutants.AppliesTwice, "the rows of", (faults.KILL,), often(1.5), seeds=range(2, 40))

    def test_a_replay_of_what_was_not_decided(self) -> None:
        kinds = (faults.CRASH, faults.ISOLATE, faults.PARTITION)
        self.caught(mutants.ReplaysAll, "of 3 disks", kinds, often(0.7, 0.1, 3.0), seeds=range(2, 40))

    def test_time_that_goes_back(self) -> None:
        kinds = (faults.CLOCK_STEP, TRANSFER)
        self.caught(mutants.TimeGoesBack, "before it of", kinds, often(0.7, 0.1, 3.0), seeds=range(2, 40))

    def test_operations_that_are_done_anew_too_early(self) -> None:
        kinds = (DEAF, faults.PAUSE, faults.ONE_WAY)
        limits = often(0.5, 0.3, 3.0)
        self.caught(mutants.RedoesReplaced, "isn't linearizable", kinds, limits, clients=12, seeds=range(10, 50))

    def test_requests_that_are_sent_twice(self) -> None:
        kinds = (faults.CRASH, faults.KILL, faults.ISOLATE)
        self.caught(mutants.Retries, "isn't linearizable", kinds, often(0.7, 0.1, 3.0), seeds=range(4, 40))
