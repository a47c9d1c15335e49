"""
Stores with several regions, and schedulers, broken on purpose, each in one place; see L{tests.testing.cluster_mutants}
for those with one region.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from tests.testing.region_cluster import PartReplica, RegionStore
from tests.testing.schedulers import PortedMember, WatchedPlacing
from tinykv.interfaces import Outcome
from tinykv.keys import slots_range
from tinykv.placement.cluster import Cluster
from tinykv.placement.placement import Placement
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.regions import RegionTable
from tinykv.placement.stores import Life, StoreState
from tinykv.redis.keyspace import Keyspace
from tinykv.redis.operations import LOCAL, Operation
from tinykv.redis.ownership import names_keys
from tinykv.region.state import FIRST_INDEX, FIRST_TERM, ApplyState
from tinykv.region.tombstone import encode_tombstone, tombstone_key
from tinykv.schedule.errors import NotLeader
from tinykv.schedule.leadership import Leadership
from tinykv.schedule.rows import Record
from tinykv.schedule.state import State
from tinykv.schedule.timestamps import TimestampWindow
from tinykv.storage.folder import Recovery
from tinykv.storage.log import RESET, Entry
from tinykv.storage.writers import LogBatch
from tinykv.store.burial import Burial
from tinykv.store.flushes import RegionFlushes
from tinykv.store.forwarding import Forwarder
from tinykv.store.host import RegionHost
from tinykv.store.proposals import Proposals
from tinykv.store.recovery import RecoverableStore, Recovered
from tinykv.store.remote_clients import RemoteClient

# What regions share


class _OwnFlushes(RegionFlushes):
    """Says only now and then how far its region is, though its rows go with every table."""

    _turn = 0

    def freeze(self, rows: Any) -> ApplyState | None:
        """Leave every other one out."""
        self._turn += 1
        if self._turn % 2 and self.queue.applied > 5:
            return None
        return super().freeze(rows)


class ForgetsStates(RegionStore):
    """A flush doesn't say of all regions what it contains of them."""

    def start(self) -> None:
        """Start it."""
        super().start()
        for part in self.parts.values():
            part.host.flushing.__class__ = _OwnFlushes


# Splits


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


class ResetsParts(RegionStore):
    """What a part's peer has in the log file is reset when the split is applied again."""

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


class OvertakesTheWhole(RegionStore):
    """A part doesn't wait for what was sent to the whole."""

    host_type = _ImpatientHost


class _CarelessHost(RegionHost):
    """Looks at keys that lie elsewhere by now."""

    def stays(self, operation: Operation) -> bool:
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


class LooksAtNoKeys(RegionStore):
    """Commands are done in whichever region they arrive at."""

    host_type = _CarelessHost


class _DoingHost(RegionHost):
    """Does of what other stores' clients want what it still can."""

    def stays(self, operation: Operation) -> bool:
        """Look at the keys alone."""
        if type(operation[1]) is RemoteClient:
            return names_keys(operation) and self.owns(operation)
        return super().stays(operation)


class DoesWhatItCan(RegionStore):
    """What waits when a region is split is done, though what came before it is sent back to another store."""

    host_type = _DoingHost


class _SteppingHost(RegionHost):
    """Takes steps of the front's for its own."""

    def stays(self, operation: Operation) -> bool:
        """Take them so."""
        return operation[0] == LOCAL or super().stays(operation)


class StepsTooEarly(RegionStore):
    """What is to come behind all that a client has sent doesn't wait for what a split has moved elsewhere."""

    host_type = _SteppingHost


class _EarlyHost(RegionHost):
    """Lets go what waits for a split as soon as that begins to be applied."""

    def _split(self, arguments: list[bytes]) -> None:
        self.proposals.decided()
        super()._split(arguments)


class LetsGoEarly(RegionStore):
    """What waited for a split is proposed behind its entry."""

    host_type = _EarlyHost


class _LeasedReplica(PartReplica):
    """Reads by its lease while the region is being split."""

    def no_lease_before(self, index: int) -> None:
        """Keep it."""


class KeepsLeases(RegionStore):
    """A lease is kept while the region is being split."""

    replica_type = _LeasedReplica


class _WideKeyspace(Keyspace):
    """Deletes in all slots that the region had when this store began with it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._widest = self.slots

    def clear(self) -> None:
        """Delete everything there."""
        slots, self.slots = self.slots, self._widest
        super().clear()
        self.slots = slots


class DeletesBeyondItsRange(RegionStore):
    """A delete of all keys goes on for the range that the region had before it was split."""

    keyspace_type = _WideKeyspace


class _CountingKeyspace(Keyspace):
    """Goes on counting what is another region's."""

    def cede(self, region: int, slots: tuple[int, int]) -> Keyspace:
        """Let a new region have some slots."""
        to = super().cede(region, slots)
        for mine, theirs in zip(self.physical, to.physical, strict=True):
            mine.keys += theirs.keys
        return to


class CountsPartsTwice(RegionStore):
    """The keys of a part count in the region that it was split from, too."""

    keyspace_type = _CountingKeyspace


# Replicas that come and go


class _HastyBurial(Burial):
    """What was promised goes before the rows do."""

    def _deleted(self) -> None:
        batch = LogBatch()
        batch.forget(self._host.descriptor.region)
        self._host.regions.log_writer.write(batch, self._late)

    def _late(self) -> None:
        host = self._host
        host.rows.put("region", tombstone_key(host.descriptor.region), encode_tombstone(host.group.peer))
        super()._deleted()


class _LateBurial(Burial):
    """The rows go a while after all else, when their range may be somebody else's."""

    def _delete(self) -> None:
        host = self._host
        rows, about = host.rows, host.descriptor
        host.execution.forget()
        rows.remove("region", b"apply" + about.region.to_bytes(8, "big"))
        rows.remove("region", b"descriptor" + about.region.to_bytes(8, "big"))
        rows.put("region", tombstone_key(about.region), encode_tombstone(host.group.peer))
        later = [slots_range(about.slots)]
        host.regions.clock.callLater(3, rows.delete_ranges, "data", later)


class DeletesLogsFirst(RegionStore):
    """Of a peer that is destroyed the log goes before the rows have gone durably."""

    burial: type[Burial] = _HastyBurial

    def start(self) -> None:
        """Start it."""
        super().start()
        for part in self.parts.values():
            part.host._burial.__class__ = self.burial


class DeletesLate(DeletesLogsFirst):
    """Of a peer that was destroyed the rows go when another one may be there."""

    burial = _LateBurial


class RevivesPeers(RegionStore):
    """A tombstone means nothing to it."""

    def believed(self, recovered: Recovered) -> Recovered:
        """Take a peer that was destroyed for one that never was."""
        if recovered.buried:
            return recovered._replace(peer=recovered.descriptor.peer_on(self.id) or 0, buried=0)
        return recovered


class _Resending(Forwarder):
    """Takes a batch of which it hasn't heard for undone when another store leads by now."""

    def _settle(self, flight: Any, outcome: Outcome, data: bytes) -> None:
        if outcome is Outcome.UNKNOWN and self._leader_store() != self._to:
            outcome = Outcome.REFUSED
        super()._settle(flight, outcome, data)


class SendsBatchesAgain(RegionStore):
    """A batch whose outcome is unknown is sent again to where the region's leader has moved."""

    forwarder_type = _Resending


# The scheduler


class _HastyLeadership(Leadership):
    """Gives ids as soon as it has asked for them."""

    _next = 0

    async def ids(self, count: int) -> int:
        """Give ids that nobody else has been given, as far as is known here."""
        if self._term is None:
            raise NotLeader(self._host.leader)
        first = max(self._next, self._host.state.next_id)
        self._next = first + count
        self._propose({"do": "window", "ids": count})
        return first


class GivesIdsAlone(PortedMember):
    """A member that doesn't lead any more, and hasn't learned that, gives ids."""

    leadership_type = _HastyLeadership


class _ClockLeadership(Leadership):
    """Begins with the clock, wherever others have ended."""

    def _role_changed(self) -> None:
        before = self._term
        super()._role_changed()
        if self._term is not None and self._term is not before:
            self._term.timestamps = TimestampWindow(0, 0)


class BeginsWithItsClock(PortedMember):
    """Timestamps of a new leader don't go on behind those that others have given."""

    leadership_type = _ClockLeadership


class _HalfTable(RegionTable):
    """Takes what isn't older in one half of its epoch."""

    def check(self, region: RegionInfo) -> None:
        """Look at the version alone."""
        known = self.get(region.region)
        if known is None or region.version < known.version:
            super().check(region)
        else:
            super().check(replace(region, conf_ver=max(region.conf_ver, known.conf_ver), term=known.term))


class _HalfPlacing(WatchedPlacing):
    def _fresh(self) -> Placement:
        placement = super()._fresh()
        placement.cluster.regions.__class__ = _HalfTable
        return placement


class BelievesHalfAnEpoch(PortedMember):
    """A heartbeat is taken over though its region's members are older than those that are known."""

    placing_type = _HalfPlacing


class _BlindCluster(Cluster):
    """Doesn't see that a store is being emptied."""

    def state(self, store: int) -> StoreState:
        """Tell what a store is."""
        found = super().state(store)
        return StoreState.UP if found is StoreState.OFFLINE else found

    def up(self, store: int) -> bool:
        """Tell whether a store is up."""
        record = self.stores.get(store)
        return super().up(store) or (record is not None and record.life is Life.OFFLINE and not self.down(store))


class _BlindPlacing(WatchedPlacing):
    def _fresh(self) -> Placement:
        placement = super()._fresh()
        placement.cluster.__class__ = _BlindCluster
        return placement


class GivesToOfflineStores(PortedMember):
    """A store that is being emptied is given replicas."""

    placing_type = _BlindPlacing


class _HopefulCluster(Cluster):
    """Takes no replica for lost."""

    def lost_peers(self, region: RegionInfo) -> frozenset[int]:
        """Name the stores whose replica of a region is taken for lost."""
        return frozenset()


class _HopefulPlacing(WatchedPlacing):
    def _fresh(self) -> Placement:
        placement = super()._fresh()
        placement.cluster.__class__ = _HopefulCluster
        return placement


class ReplacesNoReplicas(PortedMember):
    """Replicas of stores that are lost aren't replaced."""

    placing_type = _HopefulPlacing


class _ForgivingState(State):
    """Lets a store come back that was removed."""

    def apply(self, command: Record) -> Any:
        """Do what was decided."""
        if command.get("do") == "put-store":
            before = self.stores.get(int(command["store"]["store"]))
            if before is not None and before.life is Life.TOMBSTONE:
                self._save(replace(before, life=Life.UP))
        return super().apply(command)


class RevivesStores(PortedMember):
    """A store that registers again is up, whatever became of it."""

    def start(self) -> None:
        """Start it."""
        super().start()
        self.host.state.__class__ = _ForgivingState


#: What is broken, by which part of a world it's put in.
STORE: Final = "store_type"
MEMBER: Final = "member_type"
