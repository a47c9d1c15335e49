"""
What operators see of the cluster and change: its stores, who leads, whether the replicas are alike.

A store is added as a learner, and whoever leads makes it a voter as soon as it has caught up. That it's a learner is
all that has to be known for it, so it survives any change of the leader. Where there's a scheduler, it alone decides
who belongs to a region and who votes: a learner that became a voter by itself would have it give up what it's about.

What only concerns two stores goes over the links as a batch of its own, which L{MARK} tells from one of commands: its
next byte says what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from tinykv.errors import ControlRefused, ControlUnknown, NotLeading
from tinykv.interfaces import (
    IClusterControl,
    IForwardAnswer,
    ISummer,
    MemberView,
    Outcome,
    RegionChecksums,
    RegionView,
    ReplicaView,
)
from tinykv.raft.log import Compacted
from tinykv.raft.membership import Change
from tinykv.raft.progress import REPLICATE
from tinykv.raft.refusals import Refused
from tinykv.region.descriptor import Descriptor
from tinykv.store.checksums import Checksums
from tinykv.store.comparisons import PREPARE, TELL, Comparisons
from tinykv.store.departure import Departure
from tinykv.store.host import RegionHost
from tinykv.store.successor import successor_of

T = TypeVar("T")

#: What a batch begins with that isn't one of commands: those begin with a number of less than 64 bits.
MARK: Final = b"\xff"
#: A question of operators, which another store has passed on.
QUESTION: Final = b"Q"
#: Which peer is there; the answer is its number, 0 if the store waits to be added.
_GREETING: Final = b"G"
#: The store that hears this was removed from the cluster.
_REMOVED: Final = b"R"
#: Who are the members, as of what is applied there? The answer is the region's descriptor.
_MEMBERS: Final = b"M"

#: How often is looked whether a learner has caught up, or what is waited for has happened, in seconds.
LOOK_SECONDS: Final = 0.2
#: How long an operator waits for a majority, or for another leader, in seconds.
CHANGE_SECONDS: Final = 10.0
#: By how many entries a learner may be behind when it becomes a voter: what is under way all the time.
LAG_MAX: Final = 256
#: How long the link to a store that was removed stays, so that it hears of it, in seconds.
FAREWELL_SECONDS: Final = 5.0
#: Least time between two words to a store that it was removed, in seconds.
REMINDER_SECONDS: Final = 60.0


class Links(Protocol):
    """What it needs of L{tinykv.interfaces.IPeering}."""

    def is_up(self, store_id: int) -> bool:
        """Tell whether the link to a store is up."""

    def forward(self, store_id: int, payload: bytes, answered: Callable[[Outcome, bytes], None]) -> None:
        """Send a batch, once."""

    def forget(self, store_id: int) -> None:
        """Close the link to a store, and dial it no more."""


class Addresses(Protocol):
    """What it needs of L{tinykv.peering.address_book.AddressBook}."""

    def has_room(self, store_id: int) -> bool:
        """Tell whether a store's address can be noted."""

    def note(self, store_id: int, address: str) -> None:
        """Note where a store is."""

    def address(self, store_id: int) -> str | None:
        """Give a store's address, or None when it isn't known."""


@implementer(IClusterControl)
class Control:
    """
    The cluster in the hands of operators, as long as there's one region.

    @ivar relayed: Answers a question of operators that another store passes on.
    @ivar removing_elsewhere: Has the store that leads now remove a store: leader, store.
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
        others: Sequence[RegionHost] = (),
    ) -> None:
        """
        @param address: Where others find this store, C{host:port}; empty if nobody does.
        @param links: To the other stores; None if this one is on its own for good.
        @param summer: Sums up this store's rows.
        @param lingers: Called when this store has learned that it was removed from the cluster: it serves no clients
            any more, and answers other stores for as long as these may need it.
        @param removed: Called when that is over.
        @param others: The other regions, if there are any: then the members can't be changed by hand.
        @param scheduled: Whether a scheduler decides who belongs to the region.
        """
        self.store_id = store_id
        self.relayed: Callable[[bytes], Deferred[bytes]] = lambda payload: fail(ControlRefused("nobody is asked here"))
        self.removing_elsewhere: Callable[[int, int], Deferred[None]] = lambda leader, store: fail(NotLeading(leader))
        self._address = address
        self._host = host
        self._clock = clock
        self._links = links
        self._addresses = addresses
        self._lingers = lingers
        self._scheduled = scheduled
        self._others = others
        self._departure = Departure(
            store_id=store_id,
            clock=clock,
            ask=lambda store: self._ask(store, _MEMBERS),
            met=self._note_all,
            over=removed,
        )
        self._checksums = Checksums(host, summer, clock)
        self._comparisons = Comparisons(
            store_id=store_id,
            host=host,
            checksums=self._checksums,
            clock=clock,
            ask=self._ask,
            check_leads=self._check_leads,
        )
        self._descriptor = host.descriptor
        #: What is looked at, until it's true or too late.
        self._waits: list[_Wait[Any]] = []
        self._looking: IDelayedCall | None = None
        #: When each store was last told that it was removed.
        self._reminded: dict[int, float] = {}
        #: Stores whose links are about to be forgotten.
        self._forgetting: set[int] = set()
        host.described = self._described

    def start(self) -> None:
        """Begin to look after learners."""
        for store, address in self._host.descriptor.addresses.items():
            # Where it was when it was added; what it has said itself since then is newer.
            if self._addresses.address(store) is None:
                self._note(store, address)
        if self.store_id in self._host.descriptor.removed:
            self._leave()
        self._looking = self._clock.callLater(LOOK_SECONDS, self._look)

    def stop(self) -> None:
        """End; who still waits is told that nobody knows."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        waits, self._waits = self._waits, []
        for wait in waits:
            wait.give_up("this store stops")
        self._departure.stop()
        self._checksums.stop()

    # What is seen

    def leader(self) -> int | None:
        """Name the store that leads."""
        return self._store_of(self._host.group.leader_id)

    def _store_of(self, peer: int) -> int | None:
        if peer and peer == self._host.group.peer:
            return self.store_id
        return self._host.descriptor.stores.get(peer)

    def members(self) -> list[MemberView]:
        """List the members."""
        descriptor = self._host.descriptor
        leader = self.leader()
        return [
            MemberView(
                store=store,
                address=self._address_of(store),
                role=_role(self._host, peer),
                leads=store == leader,
                up=self._is_up(store),
            )
            for store, peer in sorted((store, peer) for peer, store in descriptor.stores.items())
        ]

    def _address_of(self, store: int) -> str:
        if store == self.store_id:
            return self._address
        return self._addresses.address(store) or self._host.descriptor.addresses.get(store, "")

    def _is_up(self, store: int) -> bool:
        return store == self.store_id or (self._links is not None and self._links.is_up(store))

    def status(self) -> list[RegionView]:
        """Describe the regions."""
        return [self._view(host) for host in (self._host, *self._others) if host.group.peer]

    def _view(self, host: RegionHost) -> RegionView:
        """Describe a region."""
        group = host.group
        known = group.progress()
        members: list[ReplicaView] = []
        for store, peer in sorted((store, peer) for peer, store in host.descriptor.stores.items()):
            match = known[peer].match if peer in known else None
            lag = None if match is None else max(group.last - match, 0)
            members.append(ReplicaView(store=store, role=_role(host, peer), match=match, lag=lag))
        leader = group.leader_id
        own = leader and leader == group.peer
        return RegionView(
            region=host.descriptor.region,
            term=group.term,
            leader=self.store_id if own else host.descriptor.stores.get(leader),
            commit=group.committed,
            applied=host.applied,
            members=members,
        )

    # What is changed

    def add_store(self, store_id: int, address: str) -> Deferred[None]:
        """Make a store a learner."""
        return Deferred.fromCoroutine(self._add(store_id, address))

    async def _add(self, store: int, address: str) -> None:
        if self._scheduled:
            raise ControlRefused(
                "the scheduler decides what a store is given: start the store with the option schedulers, and it joins"
            )
        if self._is_member_at(store, address):
            return
        if self._links is None:
            raise ControlRefused(
                "this store is on its own and serves no others; begin a cluster with initial_stores, even of one store"
            )
        self._check_address(store, address)
        await self._greet(store, address)
        # Meanwhile anything may have happened.
        if self._is_member_at(store, address):
            return
        await self._change(self._host.descriptor.adding(store, address))

    def _is_member_at(self, store: int, address: str) -> bool:
        """
        Say whether a store is a member at an address; if it isn't, then it could be added.

        @raise ControlRefused: It couldn't.
        """
        self._check_leads()
        descriptor = self._host.descriptor
        if store in descriptor.stores.values():
            if address in (self._address_of(store), descriptor.addresses.get(store)):
                return True
            raise ControlRefused(
                f"store {store} is a member already, at {self._address_of(store)}; it tells the others itself when it "
                "has moved, if its peer_advertise is right"
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
        for other in self._host.descriptor.stores.values():
            if self._address_of(other) == address:
                raise ControlRefused(f"store {other} is at {address}")
        if not self._addresses.has_room(store):
            raise ControlRefused("too many stores have been here; start this one anew, and ask again")

    async def _greet(self, store: int, address: str) -> None:
        """
        See whether a new store is there and fit to be added.

        @raise ControlRefused: It isn't.
        """
        assert self._links is not None
        self._addresses.note(store, address)
        outcome, answer = await self._ask(store, _GREETING)
        if outcome is Outcome.ANSWERED and answer == b"0":
            return
        self._links.forget(store)
        if outcome is Outcome.ANSWERED:
            raise ControlRefused(
                f"store {store} has data of a cluster already: give it an empty folder and join = yes. If it was a "
                "member before, give it a new store_id too"
            )
        raise ControlRefused(
            f"store {store} can't be reached at {address}. Is it running there, with join = yes, the same "
            "initial_stores and the same secret? Its log, and the one of this store, say more"
        )

    def _ask(self, store: int, payload: bytes) -> Deferred[tuple[Outcome, bytes]]:
        """Ask another store."""
        assert self._links is not None
        answered: Deferred[tuple[Outcome, bytes]] = Deferred()
        late = self._clock.callLater(CHANGE_SECONDS, answered.callback, (Outcome.UNKNOWN, b""))

        def arrived(outcome: Outcome, answer: bytes) -> None:
            if late.active():
                late.cancel()
                answered.callback((outcome, answer))

        self._links.forward(store, MARK + payload, arrived)
        return answered

    def remove_store(self, store_id: int) -> Deferred[None]:
        """Make a store leave."""
        return Deferred.fromCoroutine(self._remove(store_id))

    async def _remove(self, store: int) -> None:
        if self._scheduled:
            raise ControlRefused(
                f"the scheduler decides what a store holds: have it drained by `tinykv ctl schedule drain {store}`, or"
                f" taken for lost by `tinykv ctl schedule remove {store} --lost`"
            )
        self._check_leads()
        self._check_calm()
        self._check_majority_without(store)
        if store != self.store_id:
            await self._change(self._host.descriptor.removing(store))
            return
        deadline = self._clock.seconds() + CHANGE_SECONDS
        leader = await self.transfer_leader(None)
        while True:
            try:
                await self.removing_elsewhere(leader, store)
                return
            except NotLeading as problem:
                if self._clock.seconds() >= deadline:
                    raise
                # It has been elected, and has to learn what was decided before.
                leader = problem.leader or self.leader() or leader
            await deferLater(self._clock, LOOK_SECONDS)

    def _check_majority_without(self, store: int) -> None:
        """
        See whether the cluster could go on without a store.

        @raise ControlRefused: It couldn't.
        """
        descriptor = self._host.descriptor
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
        there = [other for other in left if self._is_up(other)]
        if 2 * len(there) <= len(left):
            which = f"only {', '.join(map(str, there))}" if there else "none"
            raise ControlRefused(
                f"the cluster would lose its majority: of stores {', '.join(map(str, left))}, which would be left,"
                f" {which} can be reached"
            )

    def transfer_leader(self, store_id: int | None) -> Deferred[int]:
        """Hand leadership over."""
        host = self._host
        group = host.group
        try:
            self._check_leads()
            target = self._best() if store_id is None else self._target(store_id)
            if target == group.peer:
                return self._until(lambda: self.store_id, "")
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

        return self._until(taken_over, f"leadership was handed to store {name}, and no store has said that it leads")

    def _best(self) -> int:
        """
        Choose who leads next.

        @raise ControlRefused: Nobody can.
        """
        stores = self._host.descriptor.stores
        successor = successor_of(self._host.group, lambda peer: self._is_up(stores[peer]))
        if successor is None:
            raise ControlRefused("no other store that votes can be reached")
        return successor

    def _target(self, store: int) -> int:
        """
        Find the peer that is to lead.

        @raise ControlRefused: It can't.
        """
        peer = self._host.descriptor.peer_on(store)
        if peer is None:
            raise ControlRefused(f"store {store} isn't a member")
        if peer not in self._host.group.membership.voters:
            raise ControlRefused(f"store {store} doesn't vote, so it can't lead")
        if not self._is_up(store):
            raise ControlRefused(f"store {store} can't be reached")
        return peer

    def _check_leads(self) -> None:
        """
        See whether this store leads, and knows all that was decided.

        @raise NotLeading: It doesn't.
        @raise ControlRefused: It never will any more.
        """
        if self._departure.begun:
            raise ControlRefused(f"store {self.store_id} was removed from the cluster; ask another one")
        if self._others:
            raise ControlRefused(
                f"this cluster has {1 + len(self._others)} regions, each with a leader of its own; what is asked can "
                "only be done where there's one region as yet"
            )
        leader = self.leader()
        if not self._host.ready:
            raise NotLeading(None if leader == self.store_id else leader)

    def _check_calm(self) -> None:
        """
        See whether a change of the members could begin.

        @raise ControlRefused: Another one is under way.
        """
        group = self._host.group
        if group.membership.outgoing:
            raise ControlRefused("the change of members before isn't done; ask again")
        if group.transferring:
            raise ControlRefused(f"leadership is being handed to store {self._store_of(group.transferring)}; ask again")

    def _change(self, change: Change) -> Deferred[None]:
        """Propose a change of the members; fires when it's applied here."""
        host = self._host
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

        return self._until(
            applied, "no majority has confirmed the change in time; it may be made yet"
        ).addCallback(lambda _: None)

    # What is waited for

    def _until(self, look: Callable[[], T | None], late: str) -> Deferred[T]:
        """
        Wait until something is so.

        @param look: Gives what is waited for, or None; may raise what it fails with.
        @param late: What an operator is told when it wasn't so in time.
        """
        wait: _Wait[T] = _Wait(look, self._clock.seconds() + CHANGE_SECONDS, late)
        self._waits.append(wait)
        self._look_at_waits()
        return wait.deferred

    def _look_at_waits(self) -> None:
        now = self._clock.seconds()
        # Whoever is told may wait for something else at once.
        waits, self._waits = self._waits, []
        self._waits[:0] = [wait for wait in waits if not wait.over(now)]

    def _look(self) -> None:
        self._looking = self._clock.callLater(LOOK_SECONDS, self._look)
        self._look_at_waits()
        if not self._scheduled:
            self._promote()

    def _promote(self) -> None:
        """Make a learner a voter that has caught up."""
        host = self._host
        group = host.group
        members = group.membership
        if not host.ready or not members.learners or members.outgoing or group.transferring:
            return
        known = group.progress()
        for peer in members.learners:
            progress = known[peer]
            store = host.descriptor.stores[peer]
            if progress.state == REPLICATE and progress.match + LAG_MAX >= group.last and self._is_up(store):
                try:
                    group.propose_change(host.descriptor.promoting(store))
                except Refused:
                    return  # the change before isn't applied yet; the next look tries again
                self.log.info("store {store} has caught up and becomes a voter", store=store)
                host.replica.go_on()
                return

    def _described(self) -> None:
        """Learn that the members are others than before."""
        before, self._descriptor = self._descriptor, self._host.descriptor
        now = self._descriptor
        for store, address in now.addresses.items():
            if before.addresses.get(store) != address:
                self._note(store, address)
        for store in sorted(set(now.removed) - set(before.removed)):
            self.log.info("store {store} was removed from the cluster", store=store)
            if store == self.store_id:
                self._leave()
            else:
                # One that had no vote asks for none, so nobody would ever answer it that it's gone.
                self._tell_removed(store, lambda outcome, reply: None)
                self._forget_later(store)
        self._clock.callLater(0, self._look_at_waits)

    def _note(self, store: int, address: str) -> None:
        if store != self.store_id and self._addresses.has_room(store):
            self._addresses.note(store, address)

    def _note_all(self, descriptor: Descriptor) -> None:
        """Note where stores are of which another one tells; what they have said themselves is newer."""
        for store, address in descriptor.addresses.items():
            if self._addresses.address(store) is None:
                self._note(store, address)

    def _leave(self, teller: int | None = None) -> None:
        """Learn that this store isn't a member any more, as applied here or as another one says."""
        begun = self._departure.begun
        self._departure.begin(self._host.descriptor, teller)
        if not begun:
            # In a turn of its own: an entry may be in the midst of being applied.
            self._clock.callLater(0, self._lingers)

    @property
    def problem(self) -> str | None:
        """Say why this store doesn't serve, if it was removed; None if it wasn't, as far as it knows."""
        if not self._departure.begun:
            return None
        return f"removed from the cluster: it stops when a majority of the others knows that; {self._departure.waits}"

    # What other stores ask

    def forwarded(self, store_id: int, payload: bytes, answer: IForwardAnswer) -> None:
        """Take a batch that isn't one of commands, without its L{MARK}."""
        kind, rest = payload[:1], payload[1:]
        if kind == QUESTION:
            self.relayed(rest).addCallbacks(answer.answer, lambda failure: answer.unknown())
        elif kind == _GREETING:
            answer.answer(b"%d" % self._host.group.peer)
        elif kind in (PREPARE, TELL):
            self._comparisons.asked(kind, rest, answer)
        elif kind == _REMOVED:
            answer.answer(b"")
            if rest == b"%d" % self.store_id and self._host.group.peer:
                self._leave(store_id)
        elif kind == _MEMBERS:
            answer.answer(self._host.descriptor.encode())
            if store_id in self._host.descriptor.removed:
                self._forget_later(store_id)
        else:
            answer.refuse(b"this version doesn't know that question")

    def stray(self, store_id: int) -> None:
        """Learn that a store talks as if it were a member; if it was one, it should know that it isn't any more."""
        if store_id not in self._host.descriptor.removed or self._links is None:
            return
        now = self._clock.seconds()
        if now - self._reminded.get(store_id, -REMINDER_SECONDS) < REMINDER_SECONDS:
            return
        self._reminded[store_id] = now

        def told(outcome: Outcome, reply: bytes) -> None:
            if outcome is not Outcome.ANSWERED:
                self._reminded.pop(store_id, None)

        self._tell_removed(store_id, told)
        self._forget_later(store_id)

    def _tell_removed(self, store_id: int, told: Callable[[Outcome, bytes], None]) -> None:
        """Tell a store that it was removed."""
        if self._links is not None:
            self._links.forward(store_id, MARK + _REMOVED + b"%d" % store_id, told)

    def _forget_later(self, store_id: int) -> None:
        """Forget the link to a store that was removed, and where it is, when it has had time to answer."""
        if self._links is not None and store_id not in self._forgetting:
            self._forgetting.add(store_id)
            self._clock.callLater(FAREWELL_SECONDS, self._forget, store_id)

    def _forget(self, store_id: int) -> None:
        self._forgetting.discard(store_id)
        assert self._links is not None, "there was a link"
        self._links.forget(store_id)

    # Checksums

    @property
    def mismatches(self) -> int:
        """Count the comparisons of replicas that weren't alike."""
        return self._comparisons.mismatches

    def checksum(self, seconds: float) -> Deferred[list[RegionChecksums]]:
        """Have all replicas sum up their rows."""
        return Deferred.fromCoroutine(self._comparisons.compare(seconds)).addCallback(lambda compared: [compared])


def _role(host: RegionHost, peer: int) -> str:
    """Name a peer's part."""
    members = host.descriptor.membership
    if peer in members.voters:
        return "voter"
    return "outgoing" if peer in members.outgoing else "learner"


class _Wait(Generic[T]):
    """Something that is waited for."""

    __slots__ = ("_deadline", "_late", "_look", "deferred")

    def __init__(self, look: Callable[[], T | None], deadline: float, late: str) -> None:
        self.deferred: Deferred[T] = Deferred()
        self._look = look
        self._deadline = deadline
        self._late = late

    def over(self, now: float) -> bool:
        """Look, and say if there's nothing to wait for any more."""
        try:
            found = self._look()
        except (ControlRefused, ControlUnknown) as problem:
            self.deferred.errback(problem)
            return True
        if found is not None:
            self.deferred.callback(found)
        elif now >= self._deadline:
            self.give_up(self._late)
        return self.deferred.called

    def give_up(self, why: str) -> None:
        """Say that nobody knows."""
        self.deferred.errback(ControlUnknown(why))
