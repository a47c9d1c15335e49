"""Changes of a simulated cluster's members, as faults: stores are added, removed, exchanged and demoted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tinykv.errors import ControlRefused, ControlUnknown, NotLeading
from tinykv.raft.membership import ADD_LEARNER, ADD_VOTER, REMOVE, Change, Step
from tinykv.raft.refusals import Refused
from tinykv.store.region_reports import has_caught_up
from tinykv.testing.simulation.endpoints import address_of
from tinykv.testing.simulation.events import SECOND
from tinykv.testing.simulation.faults import Target

if TYPE_CHECKING:
    from tests.testing.cluster import Store, World

ADD: Final = "add-store"
REMOVE_STORE: Final = "remove-store"
EXCHANGE: Final = "exchange-stores"
DEMOTE: Final = "demote"

KINDS: Final = (ADD, REMOVE_STORE, EXCHANGE, DEMOTE)

#: With fewer voters than these a removal is seldom: with two of them, one that is away is enough for a standstill.
ENOUGH: Final = 4
#: How often it's looked how far a store is that is to take another's place.
LOOK_US: Final = SECOND // 20


class Changes:
    """
    What operators do, at any time.

    @ivar begun: How many changes were asked for.
    """

    def __init__(self, world: World, end_us: int) -> None:
        """
        @param end_us: When nothing may be wrong any more.
        """
        self.begun = 0
        self._world = world
        self._end_us = end_us
        self._random = world.events.random("changes of members")

    @property
    def actions(self) -> dict[str, Callable[[str], bool]]:
        """Give them by their names."""
        return {ADD: self.add, REMOVE_STORE: self.remove, EXCHANGE: self.exchange, DEMOTE: self.demote}

    def _ask(self, leader: Store, what: str, function: Callable[..., Any], *arguments: Any) -> bool:
        self.begun += 1
        leader.process.soon(what, function, leader, *arguments)
        return True

    def _leader(self) -> Store | None:
        leader = self._world.leader()
        return leader if leader is not None and leader.process.life is leader.process.life.RUNNING else None

    # By the control, as operators do it

    def add(self, node: str) -> bool:
        """Add a store, which may end and start again meanwhile."""
        leader = self._leader()
        spare = self._world.spare() if leader is not None else None
        if leader is None or spare is None:
            return False
        self._trouble(spare)
        return self._ask(leader, "adds a store", self._add, spare)

    def _add(self, leader: Store, spare: Store) -> None:
        self._await(leader.control.add_store(spare.id, address_of(spare.name)))

    def _trouble(self, store: Store) -> None:
        """Let a new store end now and then, while it gets what the others have."""
        world, random = self._world, self._random
        for _ in range(random.choice((0, 0, 1, 3))):
            at, name = world.events.now + random.randint(0, 2 * SECOND), store.name
            again = at + random.randint(0, SECOND)
            end = world.crash if random.random() < 0.5 else world.kill
            if again < self._end_us:
                world.events.at(at, f"{name} ends", end, name)
                world.events.at(again, f"{name} is there again", world.restart, name)

    def remove(self, node: str) -> bool:
        """Remove a store; the leader as well."""
        leader, store = self._leader(), self._world.store(node)
        descriptor = self._world.descriptor
        peer = descriptor.peer_on(store.id)
        few = len(descriptor.membership.voters) < ENOUGH
        if leader is None or peer is None or (few and self._random.random() < 0.7):
            return False
        if store is leader:
            return self._ask(leader, "removes itself", self._propose, self._removing_itself(leader.id))
        return self._ask(leader, "removes a store", self._remove, store)

    @staticmethod
    def _removing_itself(store: int) -> Callable[[Any], Change | None]:
        def change(now: Any) -> Change | None:
            # The control hands leadership over first, but for the peers it's no matter.
            return now.removing(store) if len(now.membership.voters) > 1 else None

        return change

    def _remove(self, leader: Store, store: Store) -> None:
        self._await(leader.control.remove_store(store.id))

    def _await(self, done: Deferred[None]) -> None:
        done.addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        """Leave it at that: an operator would look, and ask again."""
        if failure.check(ControlRefused, ControlUnknown, NotLeading) is None:
            self._world.checker.problem(f"an operator's wish failed unexpectedly: {failure!r}")

    # By the group, what the control doesn't do yet

    def exchange(self, node: str) -> bool:
        """Put a new store in the place of another one, by a joint configuration when it has caught up."""
        leader, store = self._leader(), self._world.store(node)
        if leader is None or self._world.descriptor.peer_on(store.id) is None:
            return False
        spare = self._world.spare()
        if spare is None:
            return False
        self._trouble(spare)
        address = address_of(spare.name)

        def add(now: Any) -> Change | None:
            return now.adding(spare.id, address) if now.peer_on(spare.id) is None else None

        self._look_at(store, spare)
        return self._ask(leader, "takes in a store for another", self._propose, add)

    def _look_at(self, store: Store, spare: Store) -> None:
        """See soon how far the new store is: one that hasn't begun couldn't even be asked for its vote."""
        events = self._world.events
        if events.now + LOOK_US < self._end_us:
            events.at(events.now + LOOK_US, f"how far is {spare.name}?", self._exchange, store, spare)

    def _exchange(self, store: Store, spare: Store) -> None:
        leader = self._leader()
        if leader is not None:
            descriptor = leader.host.descriptor
            old, new = descriptor.peer_on(store.id), descriptor.peer_on(spare.id)
            if old is None:
                return
            progress = None if new is None else leader.group.progress().get(new)
            if new is not None and progress is not None and has_caught_up(leader.group, progress):
                change = Change((Step(ADD_VOTER, new), Step(REMOVE, old)))
                self._ask(leader, "exchanges stores", self._propose, lambda now: change)
                return
        self._look_at(store, spare)

    def demote(self, node: str) -> bool:
        """Take their votes from one or two stores, by a joint configuration if two; the leader gives them back."""
        leader = self._leader()
        if leader is None:
            return False
        count = self._random.choice((1, 2))

        def change(now: Any) -> Change | None:
            voters = now.membership.voters
            gone = self._random.sample(voters, min(count, (len(voters) - 1) // 2))
            return Change(tuple(Step(ADD_LEARNER, peer) for peer in gone)) if gone else None

        return self._ask(leader, "demotes", self._propose, change)

    @staticmethod
    def _propose(leader: Store, change: Callable[[Any], Change | None]) -> None:
        wanted = change(leader.host.descriptor)
        if wanted is None or leader.group.membership.outgoing:
            return
        try:
            leader.group.propose_change(wanted)
        except Refused:
            return  # it leads no more, or another change is under way
        leader.replica.go_on()


class StandIns(Target):
    """
    The cluster as faults hit it: those that were drawn for a store that was removed hit one that was added.

    @ivar names: By whom a store is stood for; it stays so.
    """

    def __init__(self, world: World) -> None:
        self.names: dict[str, str] = {}
        self._world = world

    def _name(self, node: str) -> str:
        world = self._world
        if node not in self.names and world.store(node).removed:
            taken = self.names.values()
            for store in world.members:
                if store.id not in world.known and store.name not in taken:
                    self.names[node] = store.name
                    break
        return self.names.get(node, node)

    def crash(self, node: str) -> bool:
        """Take a machine's power away."""
        return self._world.crash(self._name(node))

    def kill(self, node: str) -> bool:
        """Kill a store."""
        return self._world.kill(self._name(node))

    def restart(self, node: str) -> None:
        """Start it."""
        self._world.restart(self._name(node))

    def pause(self, node: str) -> bool:
        """Let it stand still."""
        return self._world.pause(self._name(node))

    def resume(self, node: str) -> None:
        """Let it go on."""
        self._world.resume(self._name(node))

    def cut(self, source: str, target: str) -> None:
        """Cut a link."""
        self._world.cut(self._name(source), self._name(target))

    def heal(self, source: str, target: str) -> None:
        """Heal it."""
        self._world.heal(self._name(source), self._name(target))

    def set_disk(self, node: str, *, slowness: float, stuck: bool, full: bool, failing: bool) -> None:
        """Spoil a disk, or mend it."""
        self._world.set_disk(self._name(node), slowness=slowness, stuck=stuck, full=full, failing=failing)

    def set_clock(self, node: str, *, rate: float | None = None, error_us: int | None = None) -> None:
        """Set a clock."""
        self._world.set_clock(self._name(node), rate=rate, error_us=error_us)
