"""
What the scheduler orders, carried out by the store that leads the region.

An order is for one epoch: one that comes late, twice, or after somebody else has changed the region does nothing. What
would leave a region without a majority that is reached isn't done, whoever orders it; the scheduler looks anew with the
next report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from tinykv.errors import ControlRefused, ControlUnknown
from tinykv.keys import slot_from
from tinykv.placement.operators import Order
from tinykv.placement.steps import (
    AddLearner,
    EnterJoint,
    LeaveJoint,
    MergeRegion,
    PromoteLearner,
    RemovePeer,
    SplitRegion,
    TransferLeader,
)
from tinykv.placement.steps import Step as OrderedStep
from tinykv.raft.membership import ADD_LEARNER, ADD_VOTER, Change, ImpossibleChange, Step, changed
from tinykv.raft.refusals import Refused
from tinykv.store.region_reports import LedRegion, has_caught_up
from tinykv.store.replica import Replica

#: Regions whose last order is remembered, so that the log says the same only once.
_REMEMBERED: Final = 10_000


class OrderedRegion(LedRegion, Protocol):
    """A region of this store whose leader may be told what to do; see L{tinykv.store.host.RegionHost}."""

    @property
    def applied(self) -> int:
        """The last entry applied."""

    @property
    def replica(self) -> Replica:
        """What does what follows from what is proposed."""


class _Undone(Exception):
    """An order isn't carried out; the text says why."""


class _Proposed(NamedTuple):
    """A change that was ordered: in which term, and which entry of the log it is."""

    order: Order
    term: int
    entry: int


class Orders:
    """
    The orders of this store's regions.

    @ivar done: How many were carried out; C{undone}: how many weren't, other than for having come twice or late.
    """

    log = Logger()

    def __init__(
        self,
        *,
        store_id: int,
        region: Callable[[int], OrderedRegion | None],
        is_up: Callable[[int], bool],
        address: Callable[[int], str | None],
        split: Callable[[int, Sequence[int]], Deferred[Any]],
        merge: Callable[[int, int], Deferred[Any]],
    ) -> None:
        """
        @param region: Gives a region of this store by its id.
        @param is_up: Tells whether a store is reached.
        @param address: Says where other stores reach one, as far as that is known.
        @param split: Splits a region at some slots, or in the middle where there are none; fails with ControlRefused
            or ControlUnknown.
        @param merge: Merges a region into another one; fails likewise.
        """
        self.done = self.undone = 0
        self._store_id = store_id
        self._region = region
        self._is_up = is_up
        self._address = address
        self._split = split
        self._merge = merge
        #: The regions whose split or merge is under way.
        self._cutting: set[int] = set()
        self._proposed: dict[int, _Proposed] = {}
        #: Why the last order of a region wasn't carried out, and which it was.
        self._told: dict[int, tuple[OrderedStep, str]] = {}

    def take(self, orders: Sequence[Order]) -> None:
        """Carry orders out, as far as they're for here and for now."""
        for order in orders:
            region = self._region(order.region)
            if region is None or not region.ready or order.leader != self._store_id:
                continue
            descriptor = region.descriptor
            if (order.conf_ver, order.version) != (descriptor.conf_ver, descriptor.version):
                continue
            try:
                told = self._carry_out(region, order)
            except (_Undone, Refused, ImpossibleChange) as problem:
                self._undone(order, str(problem))
            else:
                if told:
                    self._done(order, told)

    def _done(self, order: Order, what: str) -> None:
        """Note that something was carried out."""
        self.done += 1
        self._told.pop(order.region, None)
        self.log.info("region {region}: {what}, as the scheduler orders", region=order.region, what=what)

    def _undone(self, order: Order, why: str) -> None:
        """Note that something wasn't."""
        self.undone += 1
        self._tell(order, why)

    def _tell(self, order: Order, why: str) -> None:
        """Say why something isn't done, once for as long as it's the same."""
        if self._told.get(order.region) == (order.step, why):
            return
        if len(self._told) >= _REMEMBERED:
            self._told.clear()
        self._told[order.region] = (order.step, why)
        self.log.warn(
            "region {region}: the scheduler's order {order} isn't carried out: {why}",
            region=order.region,
            order=order.step.KIND,
            why=why,
        )

    def _carry_out(self, region: OrderedRegion, order: Order) -> str:
        """
        Do what is ordered; say what that was, nothing if it's under way or done already.

        @raise _Undone: It's better not done; likewise Refused, ImpossibleChange.
        """
        step = order.step
        if isinstance(step, TransferLeader):
            return self._transfer(region, step.target)
        if isinstance(step, SplitRegion):
            self._begin_split(region, order, step)
            return ""
        if isinstance(step, MergeRegion):
            if order.region not in self._cutting:
                self._follow(order, self._merge(order.region, step.target), f"it was merged into region {step.target}")
            return ""
        if self._is_under_way(region, order):
            return ""
        change, told = self._change(region, step)
        if change is None:
            return ""
        self._check_majorities(region, change)
        index = region.group.propose_change(change)
        self._proposed[order.region] = _Proposed(order, region.group.term, index)
        region.replica.go_on()
        return told

    def _is_under_way(self, region: OrderedRegion, order: Order) -> bool:
        """Tell whether the very same was proposed in this term, and isn't applied."""
        before = self._proposed.get(order.region)
        return (
            before is not None
            and before.order == order
            and before.term == region.group.term
            and region.applied < before.entry
        )

    def _transfer(self, region: OrderedRegion, store: int) -> str:
        """Hand leadership over."""
        group = region.group
        peer = region.descriptor.peer_on(store)
        if peer == group.peer or (peer is not None and group.transferring == peer):
            return ""
        if peer is None or peer not in group.membership.voters:
            raise _Undone(f"store {store} doesn't vote")
        if not self._is_up(store):
            raise _Undone(f"store {store} isn't reached")
        group.transfer_leader(peer)
        region.replica.go_on()
        return f"leadership goes to store {store}"

    def _begin_split(self, region: OrderedRegion, order: Order, step: SplitRegion) -> None:
        """
        Have a region split, unless that is under way; what becomes of it is told later.

        @raise _Undone: It can't be split there.
        """
        if order.region in self._cutting:
            return
        slots = region.descriptor.slots
        cuts: set[int] = set()
        for key in step.keys:
            slot = slot_from(key)
            if not slots[0] < slot < slots[1]:
                raise _Undone(f"no part can begin at the key {key.hex()}: slots aren't cut")
            cuts.add(slot)
        self._follow(order, self._split(order.region, sorted(cuts)), "it was split")

    def _follow(self, order: Order, doing: Deferred[Any], done: str) -> None:
        """
        Tell what becomes of an order that is carried out by itself.

        @param done: What was done, if it was.
        """
        self._cutting.add(order.region)

        def over(result: object) -> None:
            self._cutting.discard(order.region)
            if not isinstance(result, Failure):
                self._done(order, done)
            elif result.check(ControlRefused, ControlUnknown):
                self._undone(order, result.getErrorMessage())
            else:
                self.log.failure("region {region}: the order {order} failed", result, region=order.region,
                                 order=order.step.KIND)  # fmt: skip

        doing.addBoth(over)

    def _change(self, region: OrderedRegion, step: OrderedStep) -> tuple[Change | None, str]:
        """
        Give the change of the members that a step is, and what it does; None if it's done already.

        @raise _Undone: It can't be.
        """
        descriptor = region.descriptor
        members = descriptor.membership
        if isinstance(step, AddLearner):
            return self._adding(region, step.store), f"store {step.store} becomes a learner"
        if isinstance(step, PromoteLearner):
            peer = self._peer(region, step.store)
            if peer in members.voters:
                return None, ""
            self._check_caught_up(region, step.store, peer)
            return descriptor.promoting(step.store), f"store {step.store} becomes a voter"
        if isinstance(step, RemovePeer):
            if descriptor.peer_on(step.store) is None:
                return None, ""
            self._check_removable(step.store)
            return descriptor.removing(step.store), f"the replica on store {step.store} is given up"
        if isinstance(step, EnterJoint):
            return self._entering(region, step)
        assert isinstance(step, LeaveJoint), "there are no others"
        return (Change(()), "the joint configuration is left") if members.outgoing else (None, "")

    def _adding(self, region: OrderedRegion, store: int) -> Change | None:
        descriptor = region.descriptor
        if descriptor.peer_on(store) is not None:
            return None
        address = self._address(store)
        if address is None:
            raise _Undone(f"it isn't known where store {store} is")
        return descriptor.adding(store, address)

    def _entering(self, region: OrderedRegion, step: EnterJoint) -> tuple[Change | None, str]:
        members = region.descriptor.membership
        incoming = {store: self._peer(region, store) for store in step.promote}
        outgoing = {store: self._peer(region, store) for store in step.demote}
        if region.group.peer in outgoing.values():
            raise _Undone("this store leads, and would lose its vote")
        for store, peer in incoming.items():
            if peer not in members.voters:
                self._check_caught_up(region, store, peer)
        steps = [Step(ADD_VOTER, peer) for peer in incoming.values() if peer not in members.voters]
        steps += [Step(ADD_LEARNER, peer) for peer in outgoing.values() if peer in members.voters]
        if not steps:
            return None, ""
        stores = [f"store {store} becomes a voter" for store in incoming]
        stores += [f"store {store} a learner" for store in outgoing]
        return Change(tuple(steps)), ", ".join(stores)

    def _peer(self, region: OrderedRegion, store: int) -> int:
        peer = region.descriptor.peer_on(store)
        if peer is None:
            raise _Undone(f"store {store} has no peer of it")
        return peer

    def _check_caught_up(self, region: OrderedRegion, store: int, peer: int) -> None:
        """
        See whether a learner could vote at once without holding anything up.

        @raise _Undone: It couldn't.
        """
        progress = region.group.progress().get(peer)
        if progress is None or not has_caught_up(region.group, progress):
            raise _Undone(f"store {store} hasn't caught up")
        if not self._is_up(store):
            raise _Undone(f"store {store} isn't reached")

    def _check_removable(self, store: int) -> None:
        """
        See whether a store may lose its peer.

        @raise _Undone: It mayn't.
        """
        if store == self._store_id:
            raise _Undone("this store leads; leadership has to go elsewhere first")

    def _check_majorities(self, region: OrderedRegion, change: Change) -> None:
        """
        See whether those who decide after a change can: a majority of each set of voters is reached.

        @raise _Undone: They couldn't.
        @raise ImpossibleChange: There's no such change.
        """
        descriptor = region.descriptor
        after = changed(descriptor.membership, change)
        for voters in (after.voters, after.outgoing):
            reached = [peer for peer in voters if peer == region.group.peer or self._is_up(descriptor.stores[peer])]
            if voters and 2 * len(reached) <= len(voters):
                raise _Undone(f"only {len(reached)} of the {len(voters)} that decide then are reached")
