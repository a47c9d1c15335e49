"""
Slots of which a store doesn't know the region: it has no peer of it, and hasn't heard yet where it lies.

That is so after a copy has narrowed a region, until the part is known; and after a start, as nothing of what others
have told is in the files. The front takes such slots for a region like any other: what is for them waits here, and goes
where it belongs as soon as that is known (R3), for no longer than clients wait. So nothing takes what isn't known for
what isn't there, and what is about all keys isn't done without these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from tinykv.interfaces import IRegionHost
from tinykv.redis.operations import INTERNAL, LOCAL, NOBODY, READ, Client, Operation
from tinykv.redis.spec import CommandSpec
from tinykv.store.letting_go import LetGo
from tinykv.store.refusals import NO_LEADER

if TYPE_CHECKING:
    from tinykv.store.regions import Regions

#: Since when an operation waits, by the clock, and the operation.
_Waiting = tuple[float, Operation]


@implementer(IRegionHost)
class Gap:
    """
    Slots in no region that is known here.

    @ivar slots: The first of them, and the one behind the last.
    """

    #: There's no data.
    execution: Any = None

    def __init__(self, regions: Regions, slots: tuple[int, int], start_id: int) -> None:
        """
        @param start_id: Names this run of the store.
        """
        self.slots = slots
        self.start_id = start_id
        self.replaced: Callable[[Callable[[Operation], bool]], None] = lambda about: None
        self._regions = regions
        self._waiting: list[_Waiting] = []
        #: What all of it waits for: that outcomes are known in regions of which it was a part; and what of theirs goes
        #: before.
        self._held: list[LetGo] = []
        self._moved: list[_Waiting] = []
        #: Whether its slots are known by now; and who is held meanwhile, as what comes there comes later.
        self._over = False
        self._heirs: LetGo | None = None

    @property
    def table_bytes(self) -> int:
        """Count the memory of changes that aren't in data.db yet."""
        return self._regions.table_bytes

    # What comes

    def submit(self, operation: Operation) -> None:
        """Take an operation in, until it's known where it belongs."""
        if operation[0] == LOCAL and not self._held and not self._waits(operation[1]):
            self._regions.clock.callLater(0, self._pass, operation[5])
            return
        if self._over and not self._held:
            self._regions.moved(operation, self.slots, self)
            return
        self._waiting.append((self._regions.clock.seconds(), operation))

    def submit_moved(self, operation: Operation) -> None:
        """Take in what a region was given of which this was a part, and which did nothing of it."""
        if self._held:
            self._moved.append((self._regions.clock.seconds(), operation))
        else:
            self.submit(operation)

    def read(self, client: Client, number: int, db: int, spec: CommandSpec, arguments: list[bytes]) -> None:
        """Take a read in."""
        self.submit((READ, client, number, db, spec, arguments, None))

    #: There's nothing here that could be old.
    read_local = read

    def expect_local_reads(self) -> None:
        """Do nothing: there are none."""

    def refusal(self, spec: CommandSpec) -> bytes | None:
        """Refuse nothing at once."""
        return None

    def undone(self) -> list[Operation]:
        """Give the operations that wait."""
        return [operation for _, operation in (*self._moved, *self._waiting)]

    def _waits(self, client: Client) -> bool:
        """Say whether something of a client waits here."""
        return any(operation[1].client_id == client.client_id for _, operation in self._waiting)

    def _pass(self, step: Callable[[], None]) -> None:
        """Run a step of the front's."""
        if not self._regions.failed:
            step()
            self._regions.answered()

    # What becomes of it

    def hold(self, until: LetGo) -> None:
        """Keep all of it until something is over: what was sent before may yet come, from where this was cut off."""
        self._held.append(until)

    def let_go(self, until: LetGo) -> None:
        """Learn that nothing that was sent before comes any more."""
        self._held.remove(until)
        if self._held:
            return
        moved, self._moved = self._moved, []
        self._waiting[:0] = moved
        if self._over:
            self._hand_on()
        else:
            self._pass_on()

    def known(self) -> None:
        """Learn that the slots lie in others by now, which the store's regions name."""
        self._over = True
        if not (self._held or self._waiting):
            return
        first, end = self.slots
        routes = self._regions.routes()
        self._heirs = LetGo([one for (start, behind), one in routes if start < end and first < behind])
        if not self._held:
            self._hand_on()
            return
        # This is to be there before what may yet come from where it came from, and all else behind that.
        moved, self._moved = self._moved, []
        for _, operation in moved:
            self._regions.moved(operation, self.slots, self)

    def _hand_on(self) -> None:
        """Let all of it be done where it belongs."""
        waiting, self._waiting = self._waiting, []
        for _, operation in waiting:
            self._regions.moved(operation, self.slots, self)
        heirs, self._heirs = self._heirs, None
        if heirs is not None:
            heirs()

    def _pass_on(self) -> None:
        """Run the steps of the front's before which nothing of the same client is left."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            _, operation = one
            if operation[0] == LOCAL and not self._waits(operation[1]):
                self._regions.clock.callLater(0, self._pass, operation[5])
            else:
                self._waiting.append(one)

    def look(self, late: float) -> None:
        """
        Now and then: tell clients that have waited too long.

        @param late: What came before that has, by the clock.
        """
        told = False
        for waiting in (self._moved, self._waiting):
            kept: list[_Waiting] = []
            for one in waiting:
                since, (kind, client, number, *_) = one
                if since >= late or kind == LOCAL or (kind == INTERNAL and client is NOBODY):
                    kept.append(one)
                else:
                    client.answer(number, NO_LEADER)
                    told = True
            waiting[:] = kept
        if told:
            if not self._held:
                self._pass_on()
            self._regions.answered()
