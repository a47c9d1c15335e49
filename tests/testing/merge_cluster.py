"""
Simulated stores whose regions are split and merged, at any time and whatever else happens:
L{tests.testing.split_cluster}, with merges among the faults.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

from tests.testing import region_moves
from tests.testing.cluster import Variant, World
from tests.testing.region_cluster import Part, RegionStore
from tests.testing.split_cluster import SplitCluster, SplitWorld, StraddledCluster
from tinykv.raft.messages import CHANGE, Entry
from tinykv.raft.refusals import Refused
from tinykv.redis.operations import decode_records
from tinykv.region.descriptor import Descriptor
from tinykv.region.entry import HEADER_BYTES
from tinykv.region.merging import (
    PREPARE,
    REFUSE,
    ROLLBACK,
    CommitMerge,
    Merging,
    PrepareMerge,
    RefuseMerge,
    decode_rollback,
    merged,
    prepared,
    refused,
    rolled_back,
)
from tinykv.store.host import RegionHost
from tinykv.store.merge_entries import merges
from tinykv.testing.embedded import TABLE
from tinykv.testing.simulation.events import SECOND

MERGE: Final = "merge"
#: How many times some are merged in any case.
BURSTS: Final = 4
#: How often one is tried that is refused, a fifth of a second apart.
TRIES: Final = 6


class MergeStore(RegionStore):
    """A store whose regions may be merged."""

    world: MergeWorld

    def __init__(self, world: Any, store_id: int) -> None:
        super().__init__(world, store_id)
        if self.world.strands:
            # What was away needs a snapshot, however little was written.
            self._log_entries = 2

    @property
    def _focus(self) -> Part:
        # The one that faults are about may have gone meanwhile.
        return self.parts.get(self.world.focus) or next(iter(self.parts.values()))

    def start(self) -> None:
        """Start it."""
        super().start()
        self.regions.gone = self._gone

    def _gone(self, host: RegionHost) -> None:
        region = host.descriptor.region
        self.control.ended(region)
        self.peers.ended(region)
        del self.parts[region]
        self.world.gone(self.name, host)


class MergeWorld(SplitWorld):
    """
    The stores.

    @ivar merges: How many were proposed.
    @ivar refusals: Why others weren't.
    @ivar taken_in: The version of each region that was taken in by another one, as it was then; by what was decided.
    @ivar rolled_back: How many regions served again that were about to be merged.
    @ivar replaced: How many regions' replicas were replaced by a snapshot of the one that has taken them in.
    @ivar buried: How many were destroyed on the word of another store.
    """

    store_type: type[MergeStore] = MergeStore
    #: Whether stores are away while regions are merged.
    strands = False

    def __init__(
        self,
        seed: int,
        variant: Variant,
        *,
        size: int | None = None,
        regions: int = 1,
        moves: bool = False,
        calm: bool = False,
    ) -> None:
        """
        @param calm: Whether nothing is split or merged unless it's asked for.
        """
        self.calm = calm
        self.merges = 0
        self.refusals: list[str] = []
        self.rolled_back = self.replaced = self.buried = 0
        self._merging: dict[int, Merging] = {}
        self._away = Random(seed)
        super().__init__(seed, variant, size=size, regions=regions, moves=moves)
        for _ in range(BURSTS):
            at = self.random.randint(3 * SECOND, 10 * SECOND)
            self.events.after(at, "merges some regions", self.merge, "")

    @property
    def actions(self) -> dict[str, Callable[[str], bool]]:
        """Give faults that only this world has, by name."""
        return {**super().actions, MERGE: self.merge}

    def leader(self) -> Any:
        """Give the store that leads a region, which is picked by chance, if some region is known to all stores."""
        if any(len(self.parts_of(region)) == len(self.stores) for region in self.regions):
            return super().leader()
        return None

    def merge(self, node: str) -> bool:
        """Merge regions, which are picked by chance, one after another."""
        if self.calm:
            return False
        for place in range(self.random.choice((1, 2, 4))):
            at = self.random.randint(0, (place + 1) * SECOND // 2)
            self.events.after(at, "merges a region", self._merge_one, TRIES)
        return True

    def _merge_one(self, tries: int) -> None:
        leader = self.leader() if len(self.regions) > 1 else None
        if leader is not None and leader.process.life is leader.process.life.RUNNING:
            leader.process.soon("merges a region", self._merge, leader, self.focus, tries)
        else:
            self._again(tries)

    def _again(self, tries: int) -> None:
        if tries > 1:
            self.events.after(SECOND // 5, "tries again to merge a region", self._merge_one, tries - 1)

    def _merge(self, store: MergeStore, region: int, tries: int) -> None:
        if region not in store.parts:
            return
        host = store.parts[region].host
        ordered = store.regions.ordered
        place = ordered.index(host)
        neighbours = [ordered[other] for other in (place - 1, place + 1) if 0 <= other < len(ordered)]
        if not neighbours:
            return
        target = self.random.choice(neighbours)
        try:
            leader = target.group.leader_id
            if leader and leader != target.group.peer:
                host.group.transfer_leader(host.descriptor.peer_on(target.descriptor.stores.get(leader, 0)) or 0)
                host.replica.go_on()
            host.propose_merge(target.descriptor.region)
        except Refused as problem:
            # It leads no more, or is being changed, or some peer lags.
            self.refusals.append(str(problem))
            self._again(tries)
            return
        self.merges += 1
        for straddler in self.straddlers:
            straddler.hurry(host.descriptor.slots, target.descriptor.slots)
        # The target may be split, or be led by another store, before it hears of it.
        then = self.random.choice((None, self._split_target, self._hand_over, self._hand_over))
        if then is not None:
            store.process.soon("something else befalls the target", then, store, target.descriptor.region)
        if self.strands:
            self._leave_behind(store)

    def _leave_behind(self, leader: MergeStore) -> None:
        """Have a store miss a merge, mostly; with its log cut it gets a snapshot of the target."""
        others = [store for store in self.stores.values() if store is not leader and store.runs]
        if others and self._away.random() < 0.6:
            store = self._away.choice(others)
            self.kill(store.name)
            self.events.after(self._away.randint(SECOND, 5 * SECOND), "the logs are cut", self._cut_logs, store)

    def _cut_logs(self, away: MergeStore) -> None:
        """Have the logs cut, and a store come back that was away."""
        for store in self.stores.values():
            if store.runs:
                store.process.soon("flushes", store.regions.flushes.flush_all, lambda: None)
        self.events.after(SECOND, "a store comes back", self._come_back, away)

    def _come_back(self, store: MergeStore) -> None:
        if store.process.is_dead:
            self.restart(store.name)

    def _hand_over(self, store: MergeStore, region: int) -> None:
        """Let another store lead a region."""
        if region in store.parts and store.parts[region].host.ready:
            store.parts[region].host.hand_over()

    def _split_target(self, store: MergeStore, region: int) -> None:
        if region in store.parts and store.parts[region].host.ready:
            self._split(store, region)

    def _split(self, store: RegionStore, region: int) -> None:
        if region in store.parts and not self.calm:
            super()._split(store, region)

    def gone(self, name: str, host: RegionHost) -> None:
        """
        Note that a region has ended on a store: where it was taken in there, on all in the same version; where its
        place was taken, as that was decided.
        """
        about = host.descriptor
        decided = self.taken_in.get(about.region)
        if not host.group.peer:
            return
        if host.merging.makes_way:
            self.replaced += 1
        if decided is None or about.version > decided or (about.version < decided and not host.merging.makes_way):
            self.checker.problem(f"{name} has ended region {about.region} in version {about.version}, not {decided}")

    def destroyed(self, part: Part, peer: int) -> None:
        """Note that nothing is left of a peer, be it one of a region that was taken in elsewhere."""
        if part.region not in self.taken_in:
            super().destroyed(part, peer)
            return
        self.buried += 1
        self._destroyed[part.store.name, part.region] = peer
        left = part.left_rows()
        if left:
            self.checker.problem(f"{part.store.name} has destroyed region {part.region}, and has its rows {left[:3]}")

    def decided_in(self, region: int, name: str, entry: Entry) -> None:
        """Of an entry that is applied for the first time: what it makes of regions, if it's about their merge."""
        if entry.kind == CHANGE and region in self._merging:
            known = len(self._descriptors_in[region])
            super().decided_in(region, name, entry)
            del self._descriptors_in[region][known:]
            return
        super().decided_in(region, name, entry)
        if entry.kind != CHANGE and merges(entry.data):
            (operation,) = decode_records(entry.data, HEADER_BYTES, TABLE)
            now = self._merges(self.descriptor_of(region), operation[5], entry.index)
            if now is not None:
                self._descriptors_in[region].append(now)
                self._ranges[region, now.version] = now.slots
                self._look_at_cover()

    def _merges(self, about: Descriptor, arguments: list[bytes], index: int) -> Descriptor | None:
        """Give what a region becomes by an entry about a merge; None if that does nothing."""
        region = about.region
        if arguments[0] == PREPARE:
            found = None if region in self._merging else prepared(about, PrepareMerge.decode(arguments), index)
            if found is not None:
                self._merging[region] = found[1]
            return None if found is None else found[0]
        if arguments[0] == ROLLBACK:
            state = self._merging.get(region)
            if state is None or state.at != decode_rollback(arguments):
                return None
            self.rolled_back += 1
            del self._merging[region]
            if region in self.taken_in:
                self.checker.problem(f"region {region} was taken in, and serves again")
            return rolled_back(about)
        if arguments[0] == REFUSE:
            now = refused(about, RefuseMerge.decode(arguments))
            return None if now is about else now
        commit = CommitMerge.decode(arguments)
        if not commit.is_for(about):
            return None
        state, source = self._merging.get(commit.region), self.descriptor_of(commit.region)
        if state is None or (state.at, state.target) != (commit.at, region) or commit.region in self.taken_in:
            self.checker.problem(f"region {region} takes in region {commit.region}, which isn't about to be merged so")
        self.taken_in[commit.region] = source.version
        return merged(about, source)

    def look(self) -> None:
        """After each event: what was taken in anywhere doesn't serve in a later version anywhere."""
        super().look()
        for region, version in self.taken_in.items():
            for store, part in self.parts_of(region):
                if part.host.descriptor.version > version:
                    self.checker.problem(f"region {region} was taken in, and goes on at {store.name}")

    def compare_at_end(self) -> None:
        """Compare what all stores have in the end: nothing is left of regions that were taken in."""
        super().compare_at_end()
        for store in self.stores.values():
            for region in self.taken_in:
                if region in store.parts:
                    self.checker.problem(f"region {region} was taken in, and is at {store.name}")


class MergeCluster(SplitCluster):
    """The scenario."""

    name = "merges"
    faults: Sequence[str] = (*SplitCluster.faults, MERGE)
    world_type: type[MergeWorld] = MergeWorld

    def _figures(self, world: World) -> dict[str, int]:
        assert isinstance(world, MergeWorld)
        return {
            **super()._figures(world),
            "merges proposed": world.merges,
            "regions taken in": len(world.taken_in),
            "merges rolled back": world.rolled_back,
            "replicas replaced by a target's": world.replaced,
            "replicas destroyed by word": world.buried,
        }


class StraddledMergeCluster(MergeCluster):
    """The same, with clients whose keys lie in several regions, and hardly any others."""

    name = "merge-straddlers"
    _straddlers = StraddledCluster._straddlers


class MergeMovingWorld(MergeWorld):
    """The stores."""

    strands = True


class MergeMovingCluster(MergeCluster):
    """The same, with replicas that come and go, and stores that are away while regions are merged."""

    name = "merges-moves"
    faults: Sequence[str] = (*MergeCluster.faults, *region_moves.KINDS)
    world_type: type[MergeWorld] = MergeMovingWorld

    def _world(self, seed: int) -> World:
        return self.world_type(seed, self._variant(), size=self._size or 3, regions=self._regions, moves=True)

    def _changes(self, world: World, end: int) -> dict[str, Callable[[str], bool]]:
        assert isinstance(world, MergeWorld)
        return region_moves.Moves(world, end).actions

    def _figures(self, world: World) -> dict[str, int]:
        assert isinstance(world, MergeWorld)
        return {**super()._figures(world), "replicas destroyed": world.burials}
