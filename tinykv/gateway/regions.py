"""
A region as a gateway has it: all of it is elsewhere.

Operations are taken turn by turn, and go to the store that leads; the forwarder sees to order and retries, as it does
for a store that doesn't lead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from tinykv.gateway.figures import NoExecution
from tinykv.gateway.waiters import GatewayWaiters, released
from tinykv.interfaces import IRegionHost
from tinykv.keys import ALL_SLOTS
from tinykv.redis.operations import INTERNAL, LOCAL, NOBODY, READ, WAITING, Client, Operation
from tinykv.redis.ownership import names_keys, owns
from tinykv.redis.spec import CommandSpec

#: Operations, with the slots of the region for which they were meant.
Meant = tuple[tuple[int, int], Sequence[Operation]]


def _lost(operation: Operation, whole: tuple[int, int], region: IRegionHost) -> None:
    raise AssertionError("nothing is moved before it's known where to")


class Forwards(Protocol):
    """What it needs of L{tinykv.store.forwarding.Forwarder}."""

    @property
    def holds(self) -> bool:
        """Whether something is here or under way."""

    @property
    def oldest(self) -> float | None:
        """Since when what is there for longest is."""

    def take(self, operations: list[Operation]) -> None:
        """Take operations behind all that were taken before."""

    def undone(self) -> list[Operation]:
        """Give the operations of which certainly nothing was done."""

    def withdraw(self) -> tuple[list[Meant], list[Operation]]:
        """Give up what waits, unless something is under way: what was meant for other slots, and what came later."""

    def leads(self, here: bool) -> None:
        """Learn that it may have changed who leads."""

    def narrowed(self, whole: tuple[int, int], operations: list[Operation]) -> None:
        """Learn that the region has other keys than before, its slots until now; and take more that was for these."""

    def close(self) -> None:
        """Send nothing any more."""


class _Wave:
    """
    What waits in a region for another one.

    @ivar came: What has come, with the slots that the region had then.
    @ivar over: Whether it waits no longer, but for those before it.
    """

    __slots__ = ("came", "over")

    def __init__(self, came: list[Meant], over: bool = False) -> None:
        self.came = came
        self.over = over


@implementer(IRegionHost)
class DistantRegion:
    """
    A region.

    @ivar forwarder: The way to whoever leads it; set by whoever makes it.
    @ivar waiters: The clients that wait in it.
    @ivar slots: The first of its slots and the one behind the last, as of C{version}.
    @ivar moved: Takes an operation to where it belongs by now, with the slots that it was meant for; to be set.
    """

    table_bytes = 0
    #: It never leads, so nothing was ever proposed here.
    ready = False
    closing = False
    #: Steps of the front's and clients that wait are looked after here.
    vacant = False
    unresolved = False
    forwarder: Forwards

    def __init__(self, region: int, start_id: int, clock: IReactorTime, answered: Callable[[], None]) -> None:
        """
        @param start_id: Names the run of the gateway.
        @param answered: Called when clients were answered outside of the forwarder.
        """
        self.region = region
        self.slots = ALL_SLOTS
        self.version = 0
        self.moved: Callable[[Operation, tuple[int, int], IRegionHost], None] = _lost
        self.start_id = start_id
        self.replaced: Callable[[Callable[[Operation], bool]], None] = lambda about: None
        self.waiters = GatewayWaiters(start_id, clock, self.submit, answered)
        self.execution: Any = NoExecution(self.waiters)
        self._clock = clock
        self._answered = answered
        self._pending: list[Operation] = []
        #: What waits for regions to which what lies here now was sent before; behind all of it, what is pending.
        self._waves: list[_Wave] = []
        #: What comes back here of what is being handed on.
        self._coming: list[Operation] | None = None

    # What the front wants

    def submit(self, operation: Operation) -> None:
        """Take an operation in for what is sent at the end of this turn."""
        if operation[0] == WAITING:
            operation = self.waiters.block(operation)
        elif operation[0] == INTERNAL:
            wake = self.waiters.wake(operation)
            if wake is None:
                return
            operation = wake
        if not self._pending:
            self._clock.callLater(0, self._end_turn)
        self._pending.append(operation)

    def submit_moved(self, operation: Operation) -> None:
        """Take in what was meant for another region; who waits waits here by now."""
        if operation[0] == WAITING:
            operation = self.waiters.block(operation)
        if self._coming is not None:
            self._coming.append(operation)
        elif self._waves:
            # What it had to wait for it has waited for where it was; and what waits here came later.
            if not self._waves[0].over:
                self._waves.insert(0, _Wave([], over=True))
                self._clock.callLater(0, self._end_turn)
            self._waves[0].came.append((self.slots, [operation]))
        else:
            self.submit_again([operation])

    def ranged(self, slots: tuple[int, int], version: int) -> None:
        """Learn which slots it has."""
        whole, self.slots, self.version = self.slots, slots, version
        if whole != slots:
            pending, self._pending = self._pending, []
            if self._waves:
                self._waves[-1].came.append((whole, pending))
                pending = []
            self.forwarder.narrowed(whole, pending)

    def hold(self) -> Callable[[], None]:
        """
        Let what comes from now on wait: what was sent to another region may lie here by now, and come from there.

        What has come by now doesn't wait for that, or two regions that get slots of each other would wait for ever.

        @return: Ends that; what comes from another region meanwhile goes first.
        """
        pending, self._pending = self._pending, []
        if self._waves:
            self._waves[-1].came.append((self.slots, pending))
        elif pending:
            self._waves.append(_Wave([(self.slots, pending)], over=True))
        wave = _Wave([])
        self._waves.append(wave)

        def let_go() -> None:
            wave.over = True
            self._end_turn()

        return let_go

    def _let_go(self) -> None:
        """Send what waits no longer."""
        while self._waves and self._waves[0].over:
            wave = self._waves.pop(0)
            later: list[Operation] = []
            if not self._waves:
                later, self._pending = self._pending, []
            self.pass_on(wave.came, later)

    def submit_again(self, operations: list[Operation]) -> None:
        """Take operations that were to be done elsewhere; they are as they are sent."""
        if operations and not self._pending:
            self._clock.callLater(0, self._end_turn)
        self._pending += operations

    def _end_turn(self) -> None:
        self._let_go()
        if not self._waves:
            operations, self._pending = self._pending, []
            self.forwarder.take(operations)

    def read(self, client: Client, number: int, db: int, spec: CommandSpec, arguments: list[bytes]) -> None:
        """Send a read of a client that has nothing else under way."""
        self.submit((READ, client, number, db, spec, arguments, True))

    #: There's nothing here that could be old.
    read_local = read

    def expect_local_reads(self) -> None:
        """Do nothing: there are none."""

    def refusal(self, spec: CommandSpec) -> bytes | None:
        """Refuse nothing: the store that leads does where it has to."""
        return None

    def undone(self) -> list[Operation]:
        """Give the operations of which certainly nothing was done."""
        meant = [one for wave in self._waves for _, some in wave.came for one in some]
        return [*meant, *self._pending, *self.forwarder.undone()]

    # What the forwarder wants

    def owns(self, operation: Operation) -> bool:
        """Leave it to the store that leads."""
        return True

    def pass_on(self, meant: Sequence[Meant], later: Sequence[Operation]) -> None:
        """Have operations done where they belong by now, in their order, of which nothing was done."""
        # What is about all keys has a part here and parts elsewhere, so it comes back; nothing is to overtake it.
        self._coming = coming = []
        for whole, operations in meant:
            for operation in operations:
                if whole == self.slots or self._stays(operation):
                    coming.append(operation)
                else:
                    self.moved(released(operation), whole, self)
        self._coming = None
        coming += later
        if self._waves:
            # It came before all that waits.
            self.forwarder.take(coming)
        else:
            self._pending[:0] = coming
            self._end_turn()

    def _stays(self, operation: Operation) -> bool:
        """Say whether an operation that was meant for the region as it was before is still for it alone."""
        if operation[0] == LOCAL:
            # What its client sent before may be on the way to another region.
            return operation[1] is NOBODY
        return names_keys(operation) and owns(self.slots, operation)

    def submit_before(self, operations: list[Operation]) -> None:
        """Nothing is done here."""
        raise AssertionError("a gateway doesn't lead")

    def look(self, operation: Operation) -> bool:
        """Run a step of the front's: all that was before it has been answered, and here is nothing to be seen."""
        self._clock.callLater(0, self._step, operation[5])
        return True

    def hurry(self) -> None:
        """Do nothing: nothing is applied here."""

    def _step(self, step: Callable[[], None]) -> None:
        step()
        self._answered()

    @property
    def holds(self) -> bool:
        """Whether something isn't answered, but for those who wait."""
        return bool(self._waves or self._pending) or self.forwarder.holds
