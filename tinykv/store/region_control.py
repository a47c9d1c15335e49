"""
What operators see of a region and change: its stores, who leads, whether the replicas are alike.

A store is added as a learner, and whoever leads makes it a voter as soon as it has caught up. That it's a learner is
all that has to be known for it, so it survives any change of the leader. Where there's a scheduler, it alone decides
who belongs to a region and who votes: a learner that became a voter by itself would have it give up what it's about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import deferLater
from twisted.logger import Logger

from tinykv.errors import ControlRefused, ControlUnknown, Damaged, NotLeading
from tinykv.interfaces import Outcome, RegionChecksums, RegionRange, RegionView, ReplicaView
from tinykv.raft.log import Compacted
from tinykv.raft.membership import Change
from tinykv.raft.progress import REPLICATE
from tinykv.raft.refusals import Refused
from tinykv.redis.keyspace import Keyspace
from tinykv.region.cuts import even_cuts
from tinykv.region.descriptor import Descriptor
from tinykv.store.checksums import Checksums
from tinykv.store.comparisons import Comparisons
from tinykv.store.departure import Departure
from tinykv.store.host import RegionHost
from tinykv.store.merger import Merger
from tinykv.store.splitter import Splitter
from tinykv.store.successor import successor_of
from tinykv.store.surroundings import CHANGE_SECONDS, MARK, Surroundings

#: Which peer of a region is there, whose number follows; the answer is its number, 0 if the store waits to be added.
GREETING: Final = b"G"
#: The peer of a region on the store that hears this was removed; the numbers of both follow.
REMOVED: Final = b"R"
#: Which store leads a region, whose number follows? The answer is its number, 0 if that isn't known, and the version of
#: the region's range.
LEADER: Final = b"L"
#: Who are the members of a region, whose number follows? The answer is its descriptor, as of what is applied there.
MEMBERS: Final = b"M"

#: Was a region merged, whose number follows, and the one of the region that was to take it in, 0 if that isn't known?
#: The answer is 1, the number of the region that took it in, a line feed and what it was at last; or 0 and the epoch in
#: which that one is here without it; or nothing.
FATE: Final = b"F"

#: How often is looked whether a learner has caught up, or what is waited for has happened, in seconds.
LOOK_SECONDS: Final = 0.2
#: By how many entries a learner may be behind when it becomes a voter: what is under way all the time.
LAG_MAX: Final = 256
#: How often who leads a region is asked of which there's no peer here, in seconds, while nobody wants to know.
SEEK_SECONDS: Final = 2.0
#: After how long without a leader a store doubts that it has a peer of a region still, in seconds.
DOUBT_SECONDS: Final = 5.0
#: Least time between two words to a peer that it was removed, in seconds.
REMINDER_SECONDS: Final = 60.0


class RegionControl:
    """
    A region in the hands of operators.

    @ivar host: The region.
    @ivar comparisons: Of its replicas.
    @ivar departure: What it does when this store's peer was removed.
    """

    log = Logger()

    def __init__(
        self,
        host: RegionHost,
        *,
        around: Surroundings,
        checksums: Checksums,
        splitter: Splitter,
        merger: Merger,
        leaves: Callable[[RegionControl], None],
        left: Callable[[RegionControl], None],
        ends: Callable[[], bool],
        hinted: Callable[[int], None],
        elsewhere: Callable[[int], None],
        removing_elsewhere: Callable[[int, int, int], Deferred[None]],
    ) -> None:
        """
        @param checksums: Sums up this store's rows.
        @param splitter: Splits regions that this store leads; C{merger} merges them.
        @param leaves: Called when this store has learned that its peer was removed: it only answers other stores any
            more, for as long as these may need it.
        @param left: Called when that is over.
        @param ends: Tells whether this store is to end.
        @param hinted: Told which store leads by the word of another one, 0 if none; where no leader speaks to this one.
        @param elsewhere: Told a store that knows the region, of which there's no peer here, with another range.
        @param removing_elsewhere: Has the store that leads now remove a store: leader, store, region.
        """
        self.host = host
        self.region = host.descriptor.region
        self._around = around
        self._splitter = splitter
        self._merger = merger
        self._leaves = leaves
        self._ends = ends
        self._hinted = hinted
        self._elsewhere = elsewhere
        self._sought = float("-inf")
        self._heard_at = around.clock.seconds()
        self._removing_elsewhere = removing_elsewhere
        self._left = left
        self.departure = self._departure()
        self.comparisons = Comparisons(
            store_id=around.store_id,
            host=host,
            checksums=checksums,
            clock=around.clock,
            ask=around.ask,
            check_leads=self._check_leads,
        )
        self._descriptor = host.descriptor
        #: When each peer was last told that it was removed.
        self._reminded: dict[int, float] = {}
        #: Stores that say that the peer here was removed, and are asked to show it.
        self._doubted: set[int] = set()
        host.described = self._described

    def _departure(self) -> Departure:
        around = self._around
        return Departure(
            store_id=around.store_id,
            region=self.region,
            clock=around.clock,
            gone=self._gone,
            ends=self._ends,
            ask=lambda store: around.ask(store, MEMBERS + b"%d" % self.region),
            met=around.note_all,
            over=lambda: self._left(self),
        )

    def start(self) -> None:
        """Begin, from what is known."""
        # Where they were when they were added; what they have said themselves since then is newer.
        self._around.note_all(self.host.descriptor)
        if self._gone(self.host.descriptor):
            self._leave()

    # What is seen

    def leader(self) -> int | None:
        """Name the store that leads."""
        if self.host.vacant:
            return self.host.leader_store()
        return self._store_of(self.host.group.leader_id)

    def _store_of(self, peer: int) -> int | None:
        if peer and peer == self.host.group.peer:
            return self._around.store_id
        return self.host.descriptor.stores.get(peer)

    def view(self) -> RegionView:
        """Describe the region."""
        host = self.host
        group = host.group
        known = group.progress()
        members: list[ReplicaView] = []
        for store, peer in sorted((store, peer) for peer, store in host.descriptor.stores.items()):
            match = known[peer].match if peer in known else None
            lag = None if match is None else max(group.last - match, 0)
            members.append(ReplicaView(store=store, role=role_of(host, peer), match=match, lag=lag))
        leader = group.leader_id
        own = leader and leader == group.peer
        first, end = host.descriptor.slots
        return RegionView(
            region=host.descriptor.region,
            first=first,
            last=end - 1,
            term=group.term,
            leader=self._around.store_id if own else host.descriptor.stores.get(leader),
            commit=group.committed,
            applied=host.applied,
            members=members,
        )

    # What is changed

    async def add(self, store: int, address: str) -> None:
        """
        Make a store a learner.

        @raise ControlRefused: It can't be; NotLeading, if another store leads.
        @raise ControlUnknown: Nobody can tell.
        """
        if self._around.scheduled:
            raise ControlRefused(
                "the scheduler decides what a store is given: start the store with the option schedulers, and it joins"
            )
        if self._is_member_at(store, address):
            return
        if self._around.links is None:
            raise ControlRefused(
                "this store is on its own and serves no others; begin a cluster with initial_stores, even of one store"
            )
        self._check_address(store, address)
        await self._greet(store, address)
        # Meanwhile anything may have happened.
        if self._is_member_at(store, address):
            return
        await self._change(self.host.descriptor.adding(store, address))

    def _is_member_at(self, store: int, address: str) -> bool:
        """
        Say whether a store is a member at an address; if it isn't, then it could be added.

        @raise ControlRefused: It couldn't.
        """
        self._check_leads()
        descriptor = self.host.descriptor
        if store in descriptor.stores.values():
            if address in (self._around.address_of(store, descriptor), descriptor.addresses.get(store)):
                return True
            raise ControlRefused(
                f"store {store} is a member already, at {self._around.address_of(store, descriptor)}; it tells the"
                " others itself when it has moved, if its peer_advertise is right"
            )
        if store in descriptor.removed:
            raise ControlRefused(
                f"store {store} was removed, and doesn't come back: give it an empty folder and a new store_id"
            )
        self._check_calm()
        if descriptor.membership.learners:
            learner = descriptor.stores[descriptor.membership.learners[0]]
            raise ControlRefused(f"store {learner} is still catching up; one store is added at a time")
        return False

    def _check_address(self, store: int, address: str) -> None:
        """
        See whether a new store can be where it's said to be.

        @raise ControlRefused: It can't.
        """
        for other in self.host.descriptor.stores.values():
            if self._around.address_of(other, self.host.descriptor) == address:
                raise ControlRefused(f"store {other} is at {address}")
        if not self._around.addresses.has_room(store):
            raise ControlRefused("too many stores have been here; start this one anew, and ask again")

    async def _greet(self, store: int, address: str) -> None:
        """
        See whether a new store is there and fit to be added.

        @raise ControlRefused: It isn't.
        """
        assert self._around.links is not None
        self._around.addresses.note(store, address)
        outcome, answer = await self._around.ask(store, GREETING + b"%d" % self.region)
        if outcome is Outcome.ANSWERED and answer == b"0":
            return
        self._around.links.forget(store)
        if outcome is Outcome.ANSWERED:
            raise ControlRefused(
                f"store {store} has data of a cluster already: give it an empty folder and join = yes. If it was a "
                "member before, give it a new store_id too"
            )
        raise ControlRefused(
            f"store {store} can't be reached at {address}. Is it running there, with join = yes, the same "
            "initial_stores and the same secret? Its log, and the one of this store, say more"
        )

    async def remove(self, store: int) -> None:
        """
        Make a store leave.

        @raise ControlRefused: It can't; NotLeading, if another store leads.
        @raise ControlUnknown: Nobody can tell.
        """
        if self._around.scheduled:
            raise ControlRefused(
                f"the scheduler decides what a store holds: have it drained by `tinykv ctl schedule drain {store}`, or"
                f" taken for lost by `tinykv ctl schedule remove {store} --lost`"
            )
        self._check_leads()
        self._check_calm()
        self._check_majority_without(store)
        if store != self._around.store_id:
            await self._change(self.host.descriptor.removing(store))
            return
        deadline = self._around.clock.seconds() + CHANGE_SECONDS
        leader = await self.transfer_leader(None)
        while True:
            try:
                await self._removing_elsewhere(leader, store, self.region)
                return
            except NotLeading as problem:
                if self._around.clock.seconds() >= deadline:
                    raise
                # It has been elected, and has to learn what was decided before.
                leader = problem.leader or self.leader() or leader
            await deferLater(self._around.clock, LOOK_SECONDS)

    def _check_majority_without(self, store: int) -> None:
        """
        See whether the cluster could go on without a store.

        @raise ControlRefused: It couldn't.
        """
        descriptor = self.host.descriptor
        peer = descriptor.peer_on(store)
        if peer is None:
            before = " any more: it was removed" if store in descriptor.removed else ""
            raise ControlRefused(f"store {store} isn't a member{before}")
        voters = descriptor.membership.voters
        if peer not in voters:
            return
        left = sorted(descriptor.stores[voter] for voter in voters if voter != peer)
        if not left:
            raise ControlRefused(f"store {store} is the only one that votes: without it nothing would be left")
        there = [other for other in left if self._around.is_up(other)]
        if 2 * len(there) <= len(left):
            which = f"only {', '.join(map(str, there))}" if there else "none"
            raise ControlRefused(
                f"the cluster would lose its majority: of stores {', '.join(map(str, left))}, which would be left,"
                f" {which} can be reached"
            )

    def transfer_leader(self, store_id: int | None) -> Deferred[int]:
        """Hand leadership over."""
        host = self.host
        group = host.group
        try:
            self._check_leads()
            target = self._best() if store_id is None else self._target(store_id)
            if target == group.peer:
                return self._around.until(lambda: self._around.store_id, "")
            if group.transferring not in (0, target):
                raise ControlRefused(f"leadership goes to store {self._store_of(group.transferring)} already")
            group.transfer_leader(target)
        except (ControlRefused, Refused) as problem:
            return fail(problem if isinstance(problem, ControlRefused) else ControlRefused(str(problem)))
        host.replica.go_on()
        name = self._store_of(target)

        def taken_over() -> int | None:
            if not group.leads:
                return self.leader()
            if not group.transferring:
                raise ControlRefused(f"store {name} didn't take over in time; this one leads on")
            return None

        late = f"leadership was handed to store {name}, and no store has said that it leads"
        return self._around.until(taken_over, late)

    def _best(self) -> int:
        """
        Choose who leads next.

        @raise ControlRefused: Nobody can.
        """
        stores = self.host.descriptor.stores
        successor = successor_of(self.host.group, lambda peer: self._around.is_up(stores[peer]))
        if successor is None:
            raise ControlRefused("no other store that votes can be reached")
        return successor

    def _target(self, store: int) -> int:
        """
        Find the peer that is to lead.

        @raise ControlRefused: It can't.
        """
        peer = self.host.descriptor.peer_on(store)
        if peer is None:
            raise ControlRefused(f"store {store} isn't a member")
        if peer not in self.host.group.membership.voters:
            raise ControlRefused(f"store {store} doesn't vote, so it can't lead")
        if not self._around.is_up(store):
            raise ControlRefused(f"store {store} can't be reached")
        return peer

    def _check_leads(self) -> None:
        """
        See whether this store leads, and knows all that was decided.

        @raise NotLeading: It doesn't.
        @raise ControlRefused: It never will any more.
        """
        if self.departure.begun and self._ends():
            raise ControlRefused(f"store {self._around.store_id} was removed from the cluster; ask another one")
        leader = self.leader()
        if not self.host.ready:
            raise NotLeading(None if leader == self._around.store_id else leader)

    def _check_calm(self) -> None:
        """
        See whether a change of the members could begin.

        @raise ControlRefused: Another one is under way.
        """
        group = self.host.group
        if group.membership.outgoing:
            raise ControlRefused("the change of members before isn't done; ask again")
        if group.transferring:
            raise ControlRefused(f"leadership is being handed to store {self._store_of(group.transferring)}; ask again")

    async def split(self, slots: Sequence[int], parts: int) -> list[RegionRange]:
        """
        Split the region at some slots, or in so many parts of about as many keys.

        @raise ControlRefused: It can't be; NotLeading, if another store leads.
        @raise ControlUnknown: Nobody can tell.
        """
        self._check_leads()
        self._check_calm()
        made = await self._splitter.split(self.host, sorted(set(slots)) or self._even_cuts(parts))
        ranges = [(each.region, each.slots) for each in made]
        return [RegionRange(region=region, first=first, last=end - 1) for region, (first, end) in ranges]

    async def merge(self, target: int) -> RegionRange:
        """
        Merge the region into a neighbour.

        @raise ControlRefused: It can't be; NotLeading, if another store leads.
        @raise ControlUnknown: Nobody can tell.
        """
        self._check_leads()
        self._check_calm()
        made = await self._merger.merge(self.host, target)
        first, end = made.slots
        return RegionRange(region=made.region, first=first, last=end - 1)

    def _even_cuts(self, parts: int) -> list[int]:
        """
        Choose where to cut.

        @raise ControlRefused: There's no such place.
        """
        first, end = slots = self.host.descriptor.slots
        if parts > end - first:
            count = "one slot" if end - first == 1 else f"{end - first} slots"
            raise ControlRefused(
                f"region {self.region} has {count}, and slots aren't cut: it can't be split in {parts} parts"
            )
        return even_cuts(keys_by_slot(self.host.keyspace), slots, parts)

    def _change(self, change: Change) -> Deferred[None]:
        """Propose a change of the members; fires when it's applied here."""
        host = self.host
        group = host.group
        try:
            index = group.propose_change(change)
        except Refused as problem:
            return fail(ControlRefused(f"{problem}; ask again"))
        term = group.term
        host.replica.go_on()

        def applied() -> bool | None:
            if host.applied < index:
                return None
            try:
                found = group.term_of(index)
            except Compacted:
                raise ControlUnknown("another store leads now; see whether the change was made") from None
            if found != term:
                raise ControlRefused("another store took over before a majority had the change; ask again")
            return True

        return self._around.until(
            applied, "no majority has confirmed the change in time; it may be made yet"
        ).addCallback(lambda _: None)

    # What follows

    def promote(self) -> None:
        """Make a learner a voter that has caught up."""
        host = self.host
        group = host.group
        members = group.membership
        if not host.ready or not members.learners or members.outgoing or group.transferring:
            return
        known = group.progress()
        for peer in members.learners:
            progress = known[peer]
            store = host.descriptor.stores[peer]
            if progress.state == REPLICATE and progress.match + LAG_MAX >= group.last and self._around.is_up(store):
                try:
                    group.propose_change(host.descriptor.promoting(store))
                except Refused:
                    return  # the change before isn't applied yet; the next look tries again
                what = "region {region}: store {store} has caught up and becomes a voter"
                self.log.info(what, region=self.region, store=store)
                host.replica.go_on()
                return

    def _described(self) -> None:
        """Learn that the members are others than before."""
        before, self._descriptor = self._descriptor, self.host.descriptor
        now = self._descriptor
        for store, address in now.addresses.items():
            if before.addresses.get(store) != address:
                self._around.note(store, address)
        for store in sorted(set(now.removed) - set(before.removed)):
            self.log.info("region {region}: store {store} was removed", region=self.region, store=store)
            peer = before.peer_on(store)
            if store == self._around.store_id:
                # It may have been another peer, before this one.
                if self._gone(now):
                    self._leave()
            elif peer is not None:
                # One that had no vote asks for none, so nobody would ever answer it that it's gone.
                self._tell_removed(store, peer, lambda outcome, reply: None)
                self._around.forget_later(store)
        self._around.clock.callLater(0, self._around.look_at_waits)

    def _leave(self, teller: int | None = None) -> None:
        """Learn that this store's peer isn't a member any more, as applied here or as another store says."""
        begun = self.departure.begun
        self.departure.begin(self.host.descriptor, teller)
        if not begun:
            self.host.departed = True
            # In a turn of its own: an entry may be in the midst of being applied.
            self._around.clock.callLater(0, self._leaves, self)

    def _gone(self, descriptor: Descriptor) -> bool:
        """Tell whether a descriptor is as of after the removal of this store's peer: numbers aren't used again."""
        peer = self.host.group.peer
        return 0 < peer < descriptor.next_peer and peer not in descriptor.stores

    def stray(self, store_id: int, peer: int) -> None:
        """Learn that a peer talks that isn't known here; if it was one, it should know that it isn't any more."""
        if peer >= self.host.descriptor.next_peer or self._around.links is None:
            return
        now = self._around.clock.seconds()
        if now - self._reminded.get(peer, -REMINDER_SECONDS) < REMINDER_SECONDS:
            return
        self._reminded[peer] = now

        def told(outcome: Outcome, reply: bytes) -> None:
            if outcome is not Outcome.ANSWERED:
                self._reminded.pop(peer, None)

        self._tell_removed(store_id, peer, told)
        self._around.forget_later(store_id)

    def _tell_removed(self, store_id: int, peer: int, told: Callable[[Outcome, bytes], None]) -> None:
        """Tell a store that its peer was removed."""
        if self._around.links is not None:
            self._around.links.forward(store_id, MARK + REMOVED + b"%d %d" % (self.region, peer), told)

    # A replica that was taken from a store which goes on

    def bury(self) -> None:
        """Destroy it, when nobody needs it any more; asked for again until that begins."""
        self.host.bury(self._buried)

    def _buried(self) -> None:
        """Nothing is left of it: the region may come again."""
        self.departure = self._departure()
        self._descriptor = self.host.descriptor
        self._reminded.clear()

    def seek(self) -> None:
        """Where no leader speaks to this store, ask others now and then who leads: clients' commands go there."""
        around, host = self._around, self.host
        if host.elsewhere is None or around.links is None:
            return
        if host.merging.wants_word():
            self._ask_fate()
        if not host.vacant or host.departed:
            self._doubt()
        if not host.vacant:
            return
        hint, now = host.leader_store(), around.clock.seconds()
        if now - self._sought < (LOOK_SECONDS if hint is None or host.elsewhere.holds else SEEK_SECONDS):
            return
        self._sought = now
        stores = [hint] if hint is not None else around.others()
        for store in stores:
            around.ask(store, LEADER + b"%d" % self.region).addCallback(self._told_leader, store)

    def _doubt(self) -> None:
        """
        Where no leader has been heard of for a while, ask others who the members are: the peer here may be none.

        One that had no vote asks for none, so it isn't answered; and the word that it was removed comes once.
        """
        now = self._around.clock.seconds()
        if self.host.group.leader_id and not self.host.departed:
            self._heard_at = now
        elif now - self._heard_at >= DOUBT_SECONDS:
            self._heard_at = now
            self._ask_fate()
            if not self.host.departed:
                for store in self._around.others():
                    self._around.ask(store, MEMBERS + b"%d" % self.region).addCallback(self._told_members, store)

    def _ask_fate(self) -> None:
        """Ask others whether the region was merged."""
        state = self.host.merging.state
        question = FATE + b"%d %d" % (self.region, 0 if state is None else state.target)
        for store in self._around.others():
            self._around.ask(store, question).addCallback(self._told_fate, store)

    def _told_fate(self, answer: tuple[Outcome, bytes], teller: int) -> None:
        outcome, text = answer
        head, _, row = text.partition(b"\n")
        numbers = head.split(b" ")
        if outcome is not Outcome.ANSWERED or not all(word.isdigit() and len(word) < 20 for word in numbers):
            return
        kind, *rest = map(int, numbers)
        if kind and len(rest) == 1:
            try:
                self.host.merging.told_taken_in(rest[0], Descriptor.decode(self.region, row))
            except Damaged as problem:
                what = "store {store} says nothing that makes sense: {problem}"
                self.log.warn(what, store=teller, problem=str(problem))
        elif not kind and len(rest) == 2:
            self.host.merging.told_past(*rest)

    def _told_members(self, answer: tuple[Outcome, bytes], teller: int) -> None:
        outcome, row = answer
        if outcome is not Outcome.ANSWERED or self.host.vacant or self.host.merging.gone:
            return
        try:
            theirs = Descriptor.decode(self.region, row)
        except Damaged as problem:
            self.log.warn("store {store} says nothing that makes sense: {problem}", store=teller, problem=str(problem))
            return
        if self._gone(theirs):
            self._leave(teller)

    def _told_leader(self, answer: tuple[Outcome, bytes], teller: int) -> None:
        outcome, reply = answer
        if self.host.merging.gone:
            return
        numbers = reply.split(b" ")
        if outcome is not Outcome.ANSWERED or not all(word.isdigit() and len(word) < 20 for word in numbers):
            numbers = [b"0"]
        store, version = int(numbers[0]), int(numbers[-1]) if len(numbers) == 2 else 0
        if version > self.host.version and self.host.vacant:
            self._elsewhere(teller)
        if store or teller == self.host.leader_store():
            self._hinted(store if store != self._around.store_id else 0)

    def asked_for_leader(self) -> bytes:
        """Name the store that leads, as far as it's known from the leader itself, and the version of the range."""
        if self.host.vacant:
            return b"0 0"
        return b"%d %d" % (self.leader() or 0, self.host.version)

    # What other stores ask

    def greeted(self) -> bytes:
        """Say which peer is here."""
        return b"%d" % self.host.group.peer

    def told_removed(self, store_id: int, peer: int) -> None:
        """
        Learn of the removal of a peer that may be here.

        The mere word isn't believed, since a replica that was removed serves nobody any more: whoever says it has to
        show a descriptor that has given the number, and doesn't have it any more.
        """
        if not peer or peer != self.host.group.peer:
            return
        if self.departure.begun:
            self._leave(store_id)
        elif store_id not in self._doubted and self._around.links is not None:
            self._doubted.add(store_id)
            asked = self._around.ask(store_id, MEMBERS + b"%d" % self.region)
            asked.addCallback(self._shown, store_id)

    def _shown(self, answer: tuple[Outcome, bytes], teller: int) -> None:
        self._doubted.discard(teller)
        self._told_members(answer, teller)

    def asked_for_members(self, store_id: int) -> bytes:
        """Give the descriptor to a store, which may have been removed."""
        if store_id in self.host.descriptor.removed:
            self._around.forget_later(store_id)
        return self.host.descriptor.encode()

    # Checksums

    def checksum(self, seconds: float) -> Deferred[list[RegionChecksums]]:
        """Have all replicas sum up their rows."""
        return Deferred.fromCoroutine(self.comparisons.compare(seconds)).addCallback(lambda compared: [compared])


def keys_by_slot(keyspace: Keyspace) -> dict[int, int]:
    """Count the keys of each slot that has some, in all databases."""
    counted: dict[int, int] = {}
    for database in keyspace.physical:
        for slot, counter in database.counters.items():
            counted[slot] = counted.get(slot, 0) + counter.keys
    return counted


def role_of(host: RegionHost, peer: int) -> str:
    """Name a peer's part."""
    members = host.descriptor.membership
    if peer in members.voters:
        return "voter"
    return "outgoing" if peer in members.outgoing else "learner"
