"""
What operators see of the cluster and change: its stores, who leads, whether the replicas are alike.

Each region is looked after by a L{RegionControl}; here is what they have in common, and who is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from tinykv.errors import ControlRefused, Damaged, NotLeading
from tinykv.interfaces import (
    IClusterControl,
    IForwardAnswer,
    IScheduler,
    ISummer,
    MemberView,
    Outcome,
    RegionChecksums,
    RegionRange,
    RegionView,
    merged_member,
)
from tinykv.region.descriptor import Descriptor
from tinykv.region.tombstone import decode_merged, tombstone_key
from tinykv.store.checksums import Checksums
from tinykv.store.comparisons import PREPARE, TELL
from tinykv.store.host import RegionHost
from tinykv.store.merger import Merger
from tinykv.store.places import Places
from tinykv.store.region_control import FATE, GREETING, LEADER, LOOK_SECONDS, MEMBERS, REMOVED, RegionControl, role_of
from tinykv.store.splitter import Splitter
from tinykv.store.surroundings import Addresses, Links, Surroundings

#: How often a store is asked about a region that isn't here, in seconds; and of how many that is remembered.
MET_SECONDS: Final = 1.0
MET_REGIONS: Final = 64
#: A question of operators, which another store has passed on.
QUESTION: Final = b"Q"
#: Where are the regions, as far as the store knows? The answer is as L{tinykv.region.routes} says.
WHERE: Final = b"W"


@implementer(IClusterControl)
class Control:
    """
    The cluster in the hands of operators.

    @ivar regions: Its regions on this store, by id.
    @ivar splitter: Splits those that this store leads; C{merger} merges them.
    @ivar relayed: Answers a question of operators that another store passes on.
    @ivar removing_elsewhere: Has the store that leads now remove a store: leader, store, region.
    @ivar stays: Tells whether a store is to go on without any region.
    @ivar adopt: Makes a region of which there's nothing here, and lets it begin; None where there can't be any.
    @ivar routes: Says where the regions are, as far as this store knows.
    @ivar hinted: Told who leads a region, by the word of another store.
    """

    log = Logger()

    def __init__(
        self,
        *,
        store_id: int,
        address: str,
        host: RegionHost,
        clock: IReactorTime,
        links: Links | None,
        addresses: Addresses,
        summer: ISummer,
        lingers: Callable[[], None],
        removed: Callable[[], None],
        scheduled: bool = False,
        scheduler: IScheduler | None = None,
        others: Sequence[RegionHost] = (),
    ) -> None:
        """
        @param address: Where others find this store, C{host:port}; empty if nobody does.
        @param host: The first region, and C{others} those behind it.
        @param links: To the other stores; None if this one is on its own for good.
        @param summer: Sums up this store's rows.
        @param lingers: Called when this store has learned that it was removed from the cluster: it serves no clients
            any more, and answers other stores for as long as these may need it.
        @param removed: Called when that is over.
        @param scheduled: Whether a scheduler decides who belongs to the regions; C{scheduler} is how it's asked.
        """
        self.store_id = store_id
        self.relayed: Callable[[bytes], Deferred[bytes]] = lambda payload: fail(ControlRefused("nobody is asked here"))
        self.removing_elsewhere: Callable[[int, int, int], Deferred[None]] = lambda leader, store, region: fail(
            NotLeading(leader)
        )
        self.stays: Callable[[int], bool] = lambda store: False
        self.hinted: Callable[[int, int | None], None] = lambda region, store: None
        self.routes: Callable[[], bytes] = bytes
        self._places: Places | None = None
        self.regions: dict[int, RegionControl] = {}
        self.adopt: Callable[[Descriptor], None] | None = None
        #: When it was last asked about regions that aren't here, the latest last.
        self._met: dict[int, float] = {}
        self._clock = clock
        self._lingers = lingers
        self._removed = removed
        self._ends = False
        self._checksums = Checksums(summer, clock)
        self._around = Surroundings(
            store_id=store_id,
            address=address,
            clock=clock,
            links=links,
            addresses=addresses,
            scheduled=scheduled,
            belongs=self._belongs,
        )
        self.splitter = Splitter(store_id=store_id, until=self._around.until, scheduler=scheduler)
        self.merger = Merger(until=self._around.until)
        self._looking: IDelayedCall | None = None
        for one in (host, *others):
            self.serve(one)

    def serve(self, host: RegionHost) -> RegionControl:
        """Take a region in."""
        self._checksums.serve(host)
        control = self.regions[host.descriptor.region] = RegionControl(
            host,
            around=self._around,
            checksums=self._checksums,
            splitter=self.splitter,
            merger=self.merger,
            leaves=self._leaves,
            left=self._left,
            ends=lambda: self._ends,
            hinted=lambda store: self.hinted(host.descriptor.region, store or None),
            elsewhere=self._ranged_elsewhere,
            removing_elsewhere=lambda leader, store, region: self.removing_elsewhere(leader, store, region),
        )
        return control

    def ended(self, region: int) -> None:
        """Let go of a region that was merged into another here."""
        control = self.regions.pop(region)
        control.departure.stop()

    def start(self) -> None:
        """Begin to look after learners, and after where regions are."""
        if self.adopt is not None:
            self._places = Places(
                self._first.host.regions,
                clock=self._clock,
                others=self._around.others,
                ask=lambda store: self._around.ask(store, WHERE),
                adopt=self.adopt,
            )
            self._places.begin()
        for region in self.regions.values():
            region.start()
        self._looking = self._clock.callLater(LOOK_SECONDS, self._look)

    def stop(self) -> None:
        """End; who still waits is told that nobody knows."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self._around.stop()
        for region in self.regions.values():
            region.departure.stop()
        self._checksums.stop()

    def _look(self) -> None:
        self._looking = self._clock.callLater(LOOK_SECONDS, self._look)
        self._around.look_at_waits()
        for region in list(self.regions.values()):
            if not self._around.scheduled:
                region.promote()
            if self._around.scheduled or len(self.regions) > 1:
                region.seek()
            if region.departure.begun:
                self._leaves(region)
            if region.departure.over and not self._ends:
                region.bury()
        if self._places is not None:
            self._places.look()

    def _ranged_elsewhere(self, store: int) -> None:
        """Learn that a store knows a region with another range."""
        if self._places is not None:
            self._places.ask(store)

    # What is seen

    @property
    def _first(self) -> RegionControl:
        return next(iter(self.regions.values()))

    def leader(self) -> int | None:
        """Name the store that leads the first region."""
        return self._first.leader()

    def leaders(self) -> dict[int, int | None]:
        """Name the stores that lead, by region."""
        return {number: region.leader() for number, region in self.regions.items()}

    def members(self) -> list[MemberView]:
        """List the members."""
        found: dict[int, MemberView] = {}
        for region in self.regions.values():
            descriptor, leader = region.host.descriptor, region.leader()
            for peer, store in descriptor.stores.items():
                view = MemberView(
                    store=store,
                    address=self._around.address_of(store, descriptor),
                    role=role_of(region.host, peer),
                    leads=store == leader,
                    up=self._around.is_up(store),
                )
                before = found.get(store)
                found[store] = view if before is None else merged_member(before, view)
        return [found[store] for store in sorted(found)]

    def status(self) -> list[RegionView]:
        """Describe the regions."""
        return [region.view() for _, region in sorted(self.regions.items()) if region.host.group.peer]

    # What is changed

    def _region(self, region: int | None) -> RegionControl:
        """
        Find the region that is meant.

        @raise ControlRefused: There's no such region, or there are several and it isn't said which.
        """
        if region is None:
            if len(self.regions) > 1:
                raise ControlRefused(
                    f"this cluster has {len(self.regions)} regions, each with a leader of its own: say which is meant"
                    " (--region; `tinykv ctl status` lists them)"
                )
            return self._first
        found = self.regions.get(region)
        if found is None:
            raise ControlRefused(f"there is no region {region}; `tinykv ctl status` lists them")
        return found

    def add_store(self, store_id: int, address: str, region: int | None = None) -> Deferred[None]:
        """Make a store a learner of a region."""

        async def added() -> None:
            await self._region(region).add(store_id, address)

        return Deferred.fromCoroutine(added())

    def remove_store(self, store_id: int, region: int | None = None) -> Deferred[None]:
        """Make a store leave a region."""

        async def removed() -> None:
            await self._region(region).remove(store_id)

        return Deferred.fromCoroutine(removed())

    def transfer_leader(self, store_id: int | None, region: int | None = None) -> Deferred[int]:
        """Hand leadership of a region over."""
        try:
            return self._region(region).transfer_leader(store_id)
        except ControlRefused as problem:
            return fail(problem)

    def checksum(self, seconds: float, region: int | None = None) -> Deferred[list[RegionChecksums]]:
        """Have all replicas of a region sum up their rows."""
        try:
            return self._region(region).checksum(seconds)
        except ControlRefused as problem:
            return fail(problem)

    def split(self, region: int | None, slots: Sequence[int], parts: int) -> Deferred[list[RegionRange]]:
        """Split a region in parts."""

        async def split() -> list[RegionRange]:
            found = self._region_of(slots) if region is None and slots else self._region(region)
            return await found.split(slots, parts)

        return Deferred.fromCoroutine(split())

    def merge(self, region: int, target: int) -> Deferred[RegionRange]:
        """Merge a region into its neighbour."""

        async def merged() -> RegionRange:
            found = self._region(region)
            self._region(target)
            return await found.merge(target)

        return Deferred.fromCoroutine(merged())

    def _region_of(self, slots: Sequence[int]) -> RegionControl:
        """
        Find the region in which slots lie.

        @raise ControlRefused: They don't lie in one.
        """
        found = {host.descriptor.region for host in map(self._first.host.regions.of_slot, slots)}
        if len(found) > 1:
            numbers = ", ".join(map(str, sorted(found)))
            raise ControlRefused(f"the slots lie in regions {numbers}: have each of them split by itself")
        return self.regions[found.pop()]

    @property
    def mismatches(self) -> int:
        """Count the comparisons of replicas that weren't alike."""
        return sum(region.comparisons.mismatches for region in self.regions.values())

    # What leaves

    def _leaves(self, region: RegionControl) -> None:
        """Learn that this store's peer of a region was removed: without any other one it ends, unless it's to stay."""
        if self._ends or any(not other.host.vacant for other in self.regions.values()):
            return
        if not self.stays(self.store_id):
            self._ends = True
            self.log.warn(
                "store {store} was removed from the cluster. It serves no clients any more, and stops when a majority "
                "of the others knows that: {waits}",
                store=self.store_id,
                waits=region.departure.waits,
            )
            self._lingers()

    def _left(self, region: RegionControl) -> None:
        """Learn that nobody needs the removed peer of a region any more."""
        if not self._ends:
            region.bury()
        elif all(other.departure.over for other in self.regions.values() if other.departure.begun):
            self._removed()

    def _belongs(self, store: int) -> bool:
        """Tell whether a store, from which some region was taken, is needed still."""
        return self.stays(store) or any(
            store in region.host.descriptor.stores.values() for region in self.regions.values()
        )

    @property
    def problem(self) -> str | None:
        """Say why this store doesn't serve, if it was removed; None if it wasn't, as far as it knows."""
        if not self._ends:
            return None
        waits = next(region.departure.waits for region in self.regions.values() if region.departure.begun)
        return f"removed from the cluster: it stops when a majority of the others knows that; {waits}"

    # Regions that aren't here

    def met(self, store_id: int, region: int) -> None:
        """
        Learn that a store leads a region that isn't here, or would lead it, and takes this store for one of its stores.

        A part may have been cut off where this store was overtaken by a copy, so that its peer never began here, and is
        needed for the majority all the same. It has promised nothing, so it may vote.
        """
        now = self._clock.seconds()
        if self.adopt is None or now - self._met.get(region, -MET_SECONDS) < MET_SECONDS:
            return
        if region in self._first.host.regions.merged:
            # It's part of another one here, and will be there.
            return
        self._met.pop(region, None)
        self._met[region] = now
        if len(self._met) > MET_REGIONS:
            del self._met[next(iter(self._met))]
        self._around.ask(store_id, MEMBERS + b"%d" % region).addCallback(self._told_region, region)

    def _told_region(self, answer: tuple[Outcome, bytes], region: int) -> None:
        """Let a region begin here that has a peer on this store, if its keys lie in none that's at work here."""
        outcome, row = answer
        known = self.regions.get(region)
        if outcome is not Outcome.ANSWERED or self.adopt is None or (known is not None and known.host.group.peer):
            return
        try:
            theirs = Descriptor.decode(region, row)
        except Damaged as problem:
            self.log.warn("what another store says of region {region} makes no sense: {problem}", region=region,
                          problem=str(problem))  # fmt: skip
            return
        regions = self._first.host.regions
        peer = theirs.peer_on(self.store_id)
        if region in regions.merged or regions.claims(theirs.start, theirs.end):
            return
        others = [
            other for other in regions.overlapping(theirs.start, theirs.end) if other.descriptor.region != region
        ]
        if peer is None or not all(other.may_cede(theirs) for other in others):
            # They come again; by then what has its keys may have been cut, or given up.
            return
        wholes = [other.descriptor.slots for other in others]
        with regions.together():
            for other in others:
                other.cede(theirs)
            if known is None:
                self.adopt(theirs)
        host = regions.hosts.get(region)
        if host is not None and not host.group.peer and peer > host.buried:
            self.log.info("region {region}: this store has peer {peer}", region=region, peer=peer)
            host.group.become(peer)
        new = [] if host is None else [host]
        for other, whole in zip(others, wholes, strict=True):
            other.hand_on(whole, new)
            new = []

    def _merged(self, number: bytes) -> tuple[int, Descriptor] | None:
        """Give into which region one was merged here, and what it was at last; None if it wasn't."""
        region = int(number) if number.isdigit() and len(number) < 20 else 0
        if not 0 < region < 1 << 63:
            return None
        # By the rows, which say so in the same moment as that the other one has its keys.
        row = self._first.host.rows.get("region", tombstone_key(region))
        assert row is None or isinstance(row, bytes), "only values are live objects"
        return decode_merged(region, row)

    def _fate(self, number: bytes, target: bytes) -> bytes:
        """Say what is known here of whether a region was merged into another one; see L{FATE}."""
        found = self._merged(number)
        if found is not None:
            return b"1 %d\n" % found[0] + found[1].encode()
        region = self.regions.get(int(target)) if target.isdigit() and len(target) < 20 else None
        # A store that has a tombstone of a region has those of all that it had taken in.
        into = self._merged(target)
        if into is not None:
            about = into[1]
        elif region is not None and region.host.group.peer and region.host.applied:
            about = region.host.descriptor
        else:
            return b""
        return b"0 %d %d" % (about.version, about.conf_ver)

    # What other stores ask

    def forwarded(self, store_id: int, payload: bytes, answer: IForwardAnswer) -> None:
        """Take a batch that isn't one of commands, without its L{tinykv.store.surroundings.MARK}."""
        kind, rest = payload[:1], payload[1:]
        if kind == QUESTION:
            self.relayed(rest).addCallbacks(answer.answer, lambda failure: answer.unknown())
            return
        if kind == WHERE:
            answer.answer(self.routes())
            return
        if kind == TELL:
            self._first.comparisons.asked(kind, rest, answer)
            return
        number, _, rest = rest.partition(b" ")
        region = self.regions.get(int(number)) if number.isdigit() and len(number) < 20 else None
        if kind not in (GREETING, REMOVED, MEMBERS, LEADER, PREPARE, FATE):
            answer.refuse(b"this version doesn't know that question")
        elif kind == FATE:
            answer.answer(self._fate(number, rest))
        elif region is None and kind in (MEMBERS, LEADER) and (merged := self._merged(number)) is not None:
            # Who was removed before it was merged may go when a majority knows that. And it's led by nobody; its keys
            # lie in a later version of another one.
            _, last = merged
            answer.answer(last.encode() if kind == MEMBERS else b"0 %d" % (last.version + 1))
        elif region is None or (kind == MEMBERS and not region.host.group.peer):
            answer.refuse(b"there's no such region here")
        elif kind == PREPARE:
            region.comparisons.asked(kind, rest, answer)
        elif kind == GREETING:
            answer.answer(region.greeted())
        elif kind == LEADER:
            answer.answer(region.asked_for_leader())
        elif kind == MEMBERS:
            answer.answer(region.asked_for_members(store_id))
        else:
            answer.answer(b"")
            if rest.isdigit() and len(rest) < 20:
                region.told_removed(store_id, int(rest))
