"""
Every way to break stores with several regions, and their scheduler, on purpose: with what it comes to light, and what
the checks say then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.testing import merge_mutants, region_moves, schedulers
from tests.testing import region_mutants as mutants
from tests.testing.cluster import TRANSFER, Cluster, Variant, World
from tests.testing.cluster_mutants import SLOW
from tests.testing.merge_cluster import MERGE, MergeCluster, MergeWorld
from tests.testing.mutations import Sought, often
from tests.testing.region_cluster import MovingCluster, RegionCluster, RegionWorld
from tests.testing.region_mutants import MEMBER, STORE
from tests.testing.scheduled_cluster import DRAIN, LOSE, ScheduledCluster, ScheduledWorld
from tests.testing.split_cluster import SPLIT, SplitCluster, SplitWorld, StraddledCluster
from tinykv.testing.simulation import faults
from tinykv.testing.simulation.census import Census
from tinykv.testing.simulation.events import SECOND
from tinykv.testing.simulation.runner import run_once
from tinykv.testing.simulation.scenario import Report, Settings
from tinykv.testing.simulation.workload import Mix

#: What of a world is another part than usual.
Parts = Mapping[str, Any]


def _regions(seed: int, parts: Parts) -> Cluster:
    return _with(RegionCluster(size=3), RegionWorld, parts)


def _moves(seed: int, parts: Parts) -> Cluster:
    return _with(MovingCluster(size=3), RegionWorld, parts)


def _splits(seed: int, parts: Parts) -> Cluster:
    return _with(SplitCluster(size=3, regions=1 + seed % 3), SplitWorld, parts)


class _Counted(SplitCluster):
    """Somebody looks at all keys, and nobody deletes them."""

    def _mixed(self, world: World) -> Mix:
        return self._mix

    def _censuses(self, world: World, end: int) -> list[Census]:
        return [world.census("census", SECOND // 8, end)]


def _counted_splits(seed: int, parts: Parts) -> Cluster:
    return _with(_Counted(size=3, regions=1 + seed % 3), SplitWorld, parts)


def _pipelined_splits(seed: int, parts: Parts) -> Cluster:
    return _with(SplitCluster(size=3, regions=1 + seed % 3, pipeliners=3), SplitWorld, parts)


def _straddled_splits(seed: int, parts: Parts) -> Cluster:
    return _with(StraddledCluster(size=3, pipeliners=0), SplitWorld, parts)


def _merges(seed: int, parts: Parts) -> Cluster:
    return _with(MergeCluster(size=3, regions=2 + seed % 2), MergeWorld, parts)


def _pipelined_merges(seed: int, parts: Parts) -> Cluster:
    return _with(MergeCluster(size=3, regions=2 + seed % 2, pipeliners=3), MergeWorld, parts)


class _Flushed(SplitCluster):
    """Clients delete all keys now and then."""

    def _mixed(self, world: World) -> Mix:
        return self._mix.with_weights(flush=6).flushing(b"FLUSHALL")


def _flushed_splits(seed: int, parts: Parts) -> Cluster:
    return _with(_Flushed(size=3, regions=1 + seed % 3), SplitWorld, parts)


class _SlowWorld(RegionWorld):
    """What is written takes its time, so that batches are under way for long."""

    def __init__(self, seed: int, variant: Variant, **options: Any) -> None:
        super().__init__(seed, variant, **options)
        for store in self.stores.values():
            store.disk.quality = SLOW


def _pipelined_moves(seed: int, parts: Parts) -> Cluster:
    """Stores stand still until others lead and the leader's word is waited for no longer."""
    return _with(MovingCluster(size=3, regions=1, pipeliners=3, limits=often(0.5, 3.0, 4.0)), _SlowWorld, parts)


class _Calm(ScheduledCluster):
    """Clients do nothing that takes long to simulate."""

    def _mixed(self, world: World) -> Mix:
        return self._mix

    def _censuses(self, world: World, end: int) -> list[Census]:
        return []


class _CalmWorld(ScheduledWorld):
    """Nothing is split."""

    bursts = 0


def _scheduled(seed: int, parts: Parts) -> Cluster:
    """Of one region, so that two stores have none."""
    return _with(_Calm(regions=1, limits=often(1.0, 1.0, 3.0)), _CalmWorld, parts)


def _placed(seed: int, parts: Parts) -> Cluster:
    """Of several regions, which are spread over all stores."""
    return _with(_Calm(regions=5, limits=often(1.0, 1.0, 4.0)), _CalmWorld, parts)


def _with(scenario: Any, world: type[World], parts: Parts) -> Cluster:
    """Give a scenario with another world."""
    scenario.world_type = type("World", (world,), dict(parts))
    made: Cluster = scenario
    return made


@dataclass(frozen=True)
class RegionMutation(Sought):
    """
    One way to break them.

    @ivar parts: What takes the place of which part of the world.
    @ivar scenario: Makes the scenario of a seed.
    @ivar says: What a check says, one of these among other words.
    @ivar short: Whether the tests look for it as well, and not the proof alone: it's seen within seconds.
    """

    name: str
    parts: Parts
    scenario: Callable[[int, Parts], Cluster]
    says: tuple[str, ...]
    settings: Settings
    first: int = 1
    most: int = 20
    short: bool = True

    def run(self, seed: int, *, broken: bool = True) -> Report:
        """Run a seed."""
        return run_once(self.scenario(seed, self.parts if broken else {}), seed, self.settings)

    @property
    def words(self) -> tuple[str, ...]:
        """What a check says, one of these."""
        return self.says


@dataclass(frozen=True)
class BurialMutation(RegionMutation):
    """One that shows when a store loses its power at some step of destroying a peer: its seeds are those steps."""

    def run(self, seed: int, *, broken: bool = True) -> Report:
        """Run to the step."""
        world = type("World", (RegionWorld,), dict(self.parts if broken else {}))
        made: RegionWorld = world(3, Variant(), size=3, moves=True)
        return Report(problems=crash_in_burial(made, 3 * seed))


def crash_in_burial(world: RegionWorld, events: int) -> list[str]:
    """Let a store lose its power so many events after it began to destroy a peer, and give what is found then."""
    world.mend()
    world.run_until(3 * SECOND)
    leader = next(part for _, part in world.parts_of(2) if part.host.ready)
    store = next(store for store, part in world.parts_of(2) if part.group.peer and part is not leader)

    def propose() -> None:
        leader.group.propose_change(leader.host.descriptor.removing(store.id))
        leader.host.replica.go_on()

    leader.store.process.soon("changes members", propose)
    world.run_while(lambda: not store.parts[2].host._burial.begun, 20)
    for _ in range(events):
        world.events.step(world.events.now + SECOND)
    world.crash(store.name)
    world.restart(store.name)
    world.close()
    return world.checker.problems


#: What a comparison of rows, or of what clients saw, says.
_DIFFERS: Final = ("the rows of", "isn't linearizable", "differ from those")

REGION_MUTATIONS: Final = (
    RegionMutation(
        "a flush without the states of all regions",
        {STORE: mutants.ForgetsStates},
        _regions,
        ("the rows of", "lacks"),
        Settings((faults.KILL, faults.CRASH), seconds=8),
        most=30,
        short=False,
    ),
    RegionMutation(
        "a part whose log begins anew at a replay",
        {STORE: mutants.ResetsParts},
        _splits,
        ("applies an entry of term",),
        Settings((faults.CRASH, faults.KILL, SPLIT)),
    ),
    RegionMutation(
        "a part that does not wait for the whole",
        {STORE: mutants.OvertakesTheWhole},
        _pipelined_splits,
        ("out of order",),
        Settings((TRANSFER, faults.PAUSE, SPLIT)),
        first=42,
        short=False,
    ),
    RegionMutation(
        "a command that overtakes what is sent back",
        {STORE: mutants.DoesWhatItCan},
        _straddled_splits,
        ("was told",),
        Settings((SPLIT,), seconds=4, clients=0),
        first=2,
    ),
    RegionMutation(
        "a step that does not wait for what was moved",
        {STORE: mutants.StepsTooEarly},
        _straddled_splits,
        ("behind EXEC",),
        Settings((SPLIT,), seconds=4, clients=0),
        first=9,
        most=60,
    ),
    RegionMutation(
        "a split that lets go too early what waits for it",
        {STORE: mutants.LetsGoEarly},
        _straddled_splits,
        ("was told",),
        Settings((SPLIT,), seconds=4, clients=0),
        first=2,
        short=False,
    ),
    RegionMutation(
        "a lease that is kept through a split",
        {STORE: mutants.KeepsLeases},
        _splits,
        ("as it was before a split",),
        Settings((faults.SLOW_DISK, faults.STUCK_DISK, SPLIT)),
    ),
    RegionMutation(
        "keys that are not looked at",
        {STORE: mutants.LooksAtNoKeys},
        _splits,
        ("the rows of",),
        # With few clients nothing waits at the very moment of a split.
        Settings((faults.KILL, SPLIT), seconds=8, clients=24),
        first=5,
        short=False,
    ),
    RegionMutation(
        "a delete of all keys that outlives the range of its region",
        {STORE: mutants.DeletesBeyondItsRange},
        _flushed_splits,
        _DIFFERS,
        Settings((faults.KILL, SPLIT)),
        short=False,
    ),
    RegionMutation(
        "keys of a part that count in the whole",
        {STORE: mutants.CountsPartsTwice},
        _counted_splits,
        ("DBSIZE was answered with",),
        Settings((SPLIT,)),
        short=False,
    ),
    RegionMutation(
        "a delete of a destroyed peer that outlives it",
        {STORE: mutants.DeletesLate},
        _moves,
        ("has its rows", "differ from those"),
        Settings((*region_moves.KINDS, faults.KILL, faults.CRASH), seconds=8),
        most=60,
        short=False,
    ),
    BurialMutation(
        "the log of a destroyed peer that goes before its rows",
        {STORE: mutants.DeletesLogsFirst},
        _moves,
        ("has forgotten what peer",),
        Settings(()),
    ),
    RegionMutation(
        "a peer that comes back",
        {STORE: mutants.RevivesPeers},
        _moves,
        ("has peer",),
        Settings((*region_moves.KINDS, faults.KILL, faults.CRASH), seconds=8),
        most=60,
        short=False,
    ),
    RegionMutation(
        "a batch that is sent again over a move",
        {STORE: mutants.SendsBatchesAgain},
        _pipelined_moves,
        ("isn't linearizable", "twice"),
        Settings((faults.PAUSE, region_moves.MOVE), seconds=14, clients=2),
        first=2,
        short=False,
    ),
    RegionMutation(
        "a merge that is rolled back by hearsay",
        {STORE: merge_mutants.RollsBackByHearsay},
        _merges,
        ("which isn't about to be merged so",),
        Settings((TRANSFER, faults.PARTITION, SPLIT, MERGE)),
        first=2,
    ),
    RegionMutation(
        "a source that serves on",
        {STORE: merge_mutants.ServesOn},
        _pipelined_merges,
        _DIFFERS,
        Settings((TRANSFER, faults.PAUSE, SPLIT, MERGE)),
        first=6,
    ),
    RegionMutation(
        "a target that does not wait for its source",
        {STORE: merge_mutants.WaitsForNoSource},
        _pipelined_merges,
        ("out of order",),
        Settings((TRANSFER, faults.PAUSE, MERGE)),
        first=20,
        short=False,
    ),
    RegionMutation(
        "ids from an old leader of the scheduler",
        {MEMBER: mutants.GivesIdsAlone},
        _scheduled,
        ("overlap",),
        Settings((schedulers.STRAND_SCHEDULER,), clients=0),
    ),
    RegionMutation(
        "timestamps that begin with the clock of who leads",
        {MEMBER: mutants.BeginsWithItsClock},
        _scheduled,
        ("was asked for after",),
        Settings((schedulers.KILL_SCHEDULER, schedulers.SCHEDULER_CLOCK), clients=0),
    ),
    RegionMutation(
        "a lost store whose replicas are not replaced",
        {MEMBER: mutants.ReplacesNoReplicas},
        _scheduled,
        ("don't come to the same state: region",),
        Settings((LOSE,), clients=0),
        short=False,
    ),
    RegionMutation(
        "a heartbeat that counts by half its epoch",
        {MEMBER: mutants.BelievesHalfAnEpoch},
        _placed,
        ("the scheduler believes in",),
        Settings((faults.PAUSE, DRAIN), clients=0),
        first=3,
        short=False,
    ),
    RegionMutation(
        "an offline store that is given a replica",
        {MEMBER: mutants.GivesToOfflineStores},
        _placed,
        ("is offline, and is given a replica",),
        Settings((DRAIN,), clients=0),
        short=False,
    ),
    RegionMutation(
        "a removed store that comes back",
        {MEMBER: mutants.RevivesStores},
        _scheduled,
        ("was removed, and is",),
        Settings((DRAIN,), clients=0),
    ),
)
