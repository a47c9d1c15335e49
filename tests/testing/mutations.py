"""Every way to break the stores on purpose, with the faults that bring it to light and what the checks say then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.testing import cluster_mutants as mutants
from tests.testing.cluster import (
    BLACKOUT,
    BLIND_TRANSFER,
    BREAK_LINK,
    CRASH_LOOP,
    DEAF,
    LIMITS,
    STORM,
    STRAND,
    TRANSFER,
    Cluster,
    Variant,
)
from tests.testing.cluster_changes import ADD, EXCHANGE, REMOVE_STORE
from tests.testing.cluster_steps import OVERTAKE
from tinykv.testing.simulation import faults
from tinykv.testing.simulation.events import SECOND
from tinykv.testing.simulation.faults import Limits
from tinykv.testing.simulation.runner import run_once
from tinykv.testing.simulation.scenario import Report, Settings


def often(seconds: float, least: float = 0.2, most: float = 4.0) -> Limits:
    """Let faults come so often, and last so long."""
    return Limits(
        interval_us=int(seconds * SECOND),
        duration_us=(int(least * SECOND), int(most * SECOND)),
        clock_rate=LIMITS.clock_rate,
    )


class Sought:
    """
    A way to break stores, as far as it's sought among seeds.

    @ivar first: The seed to begin with: the ones before it don't show it.
    @ivar most: How many seeds are tried from there on.
    """

    first: int
    most: int

    @property
    def words(self) -> tuple[str, ...]:
        """What a check says, one of these among other words."""
        raise NotImplementedError

    def run(self, seed: int, *, broken: bool = True) -> Report:
        """Run a seed."""
        raise NotImplementedError

    def caught(self) -> tuple[int, Report] | None:
        """Run seeds until one shows what is expected; give it with its report, or None."""
        for seed in range(self.first, self.first + self.most):
            report = self.run(seed)
            if self.shows(report):
                return seed, report
        return None

    def shows(self, report: Report) -> bool:
        """Say if a report says what is expected."""
        return any(word in problem for word in self.words for problem in report.problems)


@dataclass(frozen=True)
class Mutation(Sought):
    """
    One way to break them.

    @ivar name: What is wrong, in words.
    @ivar says: What a check says, among other words.
    @ivar kinds: The kinds of faults, as often as C{limits} says.
    """

    name: str
    variant: Callable[[], Variant]
    says: str
    kinds: tuple[str, ...]
    limits: Limits
    clients: int = 6
    seconds: int = 10
    pipeliners: int = 0
    optimists: int = 0
    first: int = 1
    most: int = 40

    def run(self, seed: int, *, broken: bool = True) -> Report:
        """Run a seed."""
        scenario = Cluster(
            self.variant if broken else Variant,
            size=3,
            limits=self.limits,
            pipeliners=self.pipeliners,
            optimists=self.optimists,
            pause_us=SECOND // 10,
        )
        return run_once(scenario, seed, Settings(self.kinds, self.seconds, self.clients))

    @property
    def words(self) -> tuple[str, ...]:
        """What a check says."""
        return (self.says,)


MUTATIONS: Final = (
    Mutation(
        "a vote that is not synced",
        mutants.VoteNotSynced,
        "has voted for peer",
        (BLACKOUT,),
        often(1.5),
        clients=0,
        seconds=60,
    ),
    Mutation(
        "entries that are not synced", mutants.EntriesNotSynced, "isn't on its disk", (faults.CRASH,), often(3.0)
    ),
    Mutation(
        "a late write that counts for another term",
        mutants.LateWriteCounts,
        "isn't on its disk",
        (STRAND,),
        often(2.0),
        first=13,
    ),
    Mutation(
        "a snapshot that is believed before its log is there",
        mutants.BelievesSnapshotsEarly,
        "has applied one of term",
        (OVERTAKE,),
        often(1.0),
        clients=12,
        first=5,
    ),
    Mutation(
        "an entry of an older term that counts as committed",
        mutants.OldTermCounts,
        "for committed by itself",
        (faults.ISOLATE, faults.CRASH, STORM),
        often(0.7, 0.05, 3.0),
        first=3,
    ),
    Mutation(
        "no pause before voting", mutants.NoVotePause, "each hold a lease", (CRASH_LOOP,), often(1.0), clients=0
    ),
    Mutation(
        "a read after the lease",
        mutants.ReadsAfterLease,
        "each hold a lease",
        (faults.PAUSE, faults.ISOLATE),
        often(1.5),
    ),
    Mutation(
        "a read after the word to campaign",
        mutants.LeasesAfterTimeoutNow,
        "each hold a lease",
        (BLIND_TRANSFER,),
        often(1.0),
    ),
    Mutation(
        "a read before the own entry is applied",
        mutants.ReadsBeforeOwnEntry,
        "isn't linearizable",
        (TRANSFER, faults.KILL),
        often(0.5, 0.05, 0.5),
        clients=12,
    ),
    Mutation(
        "a removed store that ends at once",
        mutants.LeavesAtOnce,
        "may forget that it was removed",
        (REMOVE_STORE, EXCHANGE, ADD),
        often(0.7),
    ),
    Mutation(
        "a change that is applied before it is surely known",
        mutants.ForgetsChanges,
        "may forget that it was removed",
        (REMOVE_STORE, EXCHANGE, ADD),
        often(0.7),
        clients=0,
    ),
    Mutation("entries that are applied twice", mutants.AppliesTwice, "the rows of", (faults.KILL,), often(1.5)),
    Mutation(
        "a replay of what was not decided",
        mutants.ReplaysAll,
        "of 3 disks",
        (faults.CRASH, faults.ISOLATE, faults.PARTITION),
        often(0.7, 0.1, 3.0),
    ),
    Mutation(
        "an applied index that is not that of the flush",
        mutants.LiveAppliedIndex,
        "the rows of",
        (faults.KILL,),
        often(0.8, 0.05, 0.5),
    ),
    Mutation(
        "a snapshot with another index than its rows",
        mutants.WrongLabel,
        "the rows of",
        (faults.ISOLATE, EXCHANGE, ADD),
        often(1.0, 1.0, 4.0),
    ),
    Mutation("SPOP by the order of a set", mutants.SpopBySetOrder, "the rows of", (), often(1.5)),
    Mutation(
        "WATCH by the index of the log",
        mutants.WatchByIndex,
        "the rows of",
        (faults.KILL,),
        often(0.8, 0.05, 0.5),
        clients=2,
        optimists=4,
    ),
    Mutation(
        "time that goes back",
        mutants.TimeGoesBack,
        "before it of",
        (faults.CLOCK_STEP, TRANSFER),
        often(0.7, 0.1, 3.0),
        first=2,
    ),
    Mutation(
        "operations that are done anew too early",
        mutants.RedoesReplaced,
        "isn't linearizable",
        (DEAF, faults.PAUSE, faults.ONE_WAY),
        often(0.5, 0.3, 3.0),
        clients=12,
        first=8,
    ),
    Mutation(
        "operations that are done anew out of order",
        mutants.RetriesOutOfOrder,
        "out of order",
        (TRANSFER, faults.KILL, BREAK_LINK),
        often(0.7),
        clients=2,
        pipeliners=3,
        first=5,
    ),
    Mutation(
        "requests that are sent twice",
        mutants.Retries,
        "isn't linearizable",
        (faults.CRASH, faults.KILL, faults.ISOLATE),
        often(0.7, 0.1, 3.0),
        first=10,
    ),
)
