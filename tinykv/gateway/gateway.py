"""
The gateway: links to all stores, what they say of the regions, and the way of clients' commands there.

Which regions there are and who leads them is asked of the stores: of all of them when something doesn't get on, else
of one now and then; and a store that refuses a batch says at once where it belongs. Where the stores are is known from
the configuration, from the scheduler, and from the stores. Commands whose keys turn out to lie in another region did
nothing, and go there, as long as clients wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tinykv.errors import Damaged, ScheduleProblem
from tinykv.gateway.regions import DistantRegion, Forwards
from tinykv.gateway.waiters import released
from tinykv.interfaces import IForwardAnswer, IPeerHandler, IRegionHost, Outcome
from tinykv.peering.settings import is_address
from tinykv.raft.messages import Message
from tinykv.redis.forwarded import decode_woken
from tinykv.redis.operations import INTERNAL, LOCAL, NOBODY, Operation
from tinykv.redis.ownership import NOT_HERE, owns
from tinykv.region.route_table import RouteTable
from tinykv.region.routes import decode_routes

#: How often it's looked whether everything gets on, in seconds.
LOOK_SECONDS: Final = 0.1
#: What isn't answered after so long lets all stores be asked where the regions are.
PATIENCE_SECONDS: Final = 0.3
#: How often one of the stores is asked, in seconds, and how often it's asked whether clients still wait.
ROUTES_SECONDS: Final = 5.0
CHECK_SECONDS: Final = 5.0
#: How often the scheduler is asked where stores are, in seconds.
SCHEDULE_SECONDS: Final = 10.0
#: After so long what went astray is sent again, in seconds: by then it's known where to.
AGAIN_SECONDS: Final = 0.05
#: A batch for no region: it's refused with all that a store knows of the regions.
_QUESTION: Final = b""

#: The slots of a region, and the region.
Place = tuple[tuple[int, int], DistantRegion]


class Links(Protocol):
    """What it needs of L{tinykv.peering.gateway_links.GatewayLinks}."""

    def connect(self, store_id: int, address: str) -> None:
        """Begin the link to a store; or learn that it's somewhere else."""

    def keep(self, store_ids: set[int]) -> None:
        """End the links to all other stores."""

    def forward(self, store_id: int, payload: bytes, answered: Callable[[Outcome, bytes], None]) -> None:
        """Send a batch, once."""

    def is_up(self, store_id: int) -> bool:
        """Tell whether a store is reached."""

    @property
    def up(self) -> list[int]:
        """The stores that are reached."""


class Way(Protocol):
    """Takes operations to the regions of their keys."""

    def submit(self, operation: Operation) -> None:
        """Take one."""

    def moved(self, operation: Operation, whole: tuple[int, int], host: IRegionHost) -> None:
        """Take one that a region did nothing of, and that was meant for some slots."""


def _call_all(functions: list[Callable[[], None]]) -> None:
    for function in functions:
        function()


@implementer(IPeerHandler)
class Gateway:
    """
    All that a gateway has beside its clients' connections.

    @ivar regions: The regions by id.
    @ivar way: Takes operations to their regions; set when it's known which there are.
    @ivar routed: Called when it's known for the first time which regions there are, or when they are others.
    @ivar questions: How often stores were asked; C{astray} is how many operations had to go to another region.
    """

    log = Logger()
    way: Way
    routed: Callable[[list[Place]], None]

    def __init__(
        self,
        *,
        start_id: int,
        links: Links,
        clock: IReactorTime,
        request_timeout: float,
        answered: Callable[[], None],
        forwarder: Callable[[DistantRegion, Callable[[], int | None]], Forwards],
        scheduled: Callable[[], Deferred[Mapping[int, str]]] | None = None,
    ) -> None:
        """
        @param start_id: Names this run.
        @param request_timeout: How long clients wait, in seconds.
        @param answered: Called when clients were answered.
        @param forwarder: Makes the way of a region's operations to whoever leads it, which its second argument names.
        @param scheduled: Asks the scheduler for the addresses of all stores that are members, by id.
        """
        self.regions: dict[int, DistantRegion] = {}
        self.questions = 0
        self.astray = 0
        self._start_id = start_id
        self._links = links
        self._clock = clock
        self._request_timeout = request_timeout
        self._answered = answered
        self._forwarder = forwarder
        self._scheduled = scheduled
        self._routes = RouteTable()
        #: Regions whose ranges others have taken over, as long as something of theirs is under way.
        self._former: list[DistantRegion] = []
        self._looking: IDelayedCall | None = None
        self._asked_at = self._checked_at = self._scheduled_at = -SCHEDULE_SECONDS
        self._asking_schedule: Deferred[None] | None = None
        self._closed = False
        self._turn = 0
        self._problem = ""
        #: Since when operations that went astray do so, by client and number.
        self._astray: dict[tuple[int, int], float] = {}

    # Start and end

    def start(self, stores: Mapping[int, str]) -> None:
        """Begin to reach stores, of which these are known."""
        for store, address in stores.items():
            self._links.connect(store, address)
        self._look()

    @property
    def holds(self) -> bool:
        """Whether clients wait for something that was sent, or is to be."""
        return any(region.holds for region in (*self.regions.values(), *self._former))

    @property
    def problem(self) -> str | None:
        """Say why nothing can be done for clients; None if it can."""
        if not self._links.up:
            return "no store is reached"
        if not self._routes.ranges:
            return "no store has said which regions there are"
        without = sum(self.leader(route.region) is None for route in self._routes.ranges)
        return f"{without} of {len(self._routes.ranges)} regions have no leader that is reached" if without else None

    def close(self) -> None:
        """Ask and send nothing any more."""
        self._closed = True
        if self._looking is not None and self._looking.active():
            self._looking.cancel()
        if self._asking_schedule is not None:
            self._asking_schedule.cancel()
        for region in (*self.regions.values(), *self._former):
            region.forwarder.close()

    # Where regions are

    def leader(self, region: int) -> int | None:
        """Name the store that leads a region, if it's reached."""
        store = self._routes.leader(region)
        return store if store and self._links.is_up(store) else None

    def _look(self) -> None:
        """See that everything gets on."""
        self._looking = self._clock.callLater(LOOK_SECONDS, self._look)
        now = self._clock.seconds()
        if self._is_stuck(now):
            self._ask_all()
        elif now - self._asked_at >= ROUTES_SECONDS and (up := self._links.up):
            self._turn += 1
            self._ask(up[self._turn % len(up)])
        if now - self._checked_at >= CHECK_SECONDS:
            self._check()
        if self._scheduled is not None and now - self._scheduled_at >= SCHEDULE_SECONDS:
            self._ask_scheduler(self._scheduled)
        for region in self._former.copy():
            self._withdraw(region)

    def _is_stuck(self, now: float) -> bool:
        if not self._routes.ranges:
            return True
        for region in self.regions.values():
            oldest = region.forwarder.oldest
            if oldest is not None and (now - oldest > PATIENCE_SECONDS or self.leader(region.region) is None):
                return True
        return False

    def _ask_all(self) -> None:
        for store in self._links.up:
            self._ask(store)

    def _ask(self, store: int) -> None:
        self._asked_at = self._clock.seconds()
        self.questions += 1
        self._links.forward(store, _QUESTION, lambda outcome, text: self.told(store, text))

    def told(self, store: int, text: bytes) -> None:
        """Learn what a store says of the regions; nothing if it wasn't reached."""
        try:
            routes, addresses = decode_routes(text)
            if not all(map(is_address, addresses.values())):
                raise Damaged("an address is none")
        except Damaged as problem:
            self.log.error("what store {store} says of the regions isn't understood: {why}", store=store, why=problem)
            return
        for other, address in addresses.items():
            self._links.connect(other, address)
        if self._routes.take(routes):
            self._cut()
        if routes:
            for region in self.regions.values():
                region.forwarder.leads(False)

    def _cut(self) -> None:
        """Have the regions that there are now."""
        before, self.regions = self.regions, {}
        #: Of what has other keys than before, or none, and isn't done with what was sent to it: the slots that it had.
        under_way = [(region, region.slots) for region in before.values() if region.holds]
        for route in self._routes.ranges:
            known = route.region in before
            region = before.pop(route.region) if known else self._new_region(route.region)
            region.ranged((route.first, route.end), route.version)
            self.regions[route.region] = region
        self._former += before.values()
        self._move_waiters()
        self.log.info("there are {count} regions", count=len(self.regions))
        self.routed([((route.first, route.end), self.regions[route.region]) for route in self._routes.ranges])
        self._hold_heirs([(one, slots) for one, slots in under_way if one in self._former or one.slots != slots])

    def _hold_heirs(self, changed: list[tuple[DistantRegion, tuple[int, int]]]) -> None:
        """Let what comes for slots that regions had wait until the outcome is known of all that was sent there."""
        held: list[list[Callable[[], None]]] = []
        for region, _ in changed:
            releases: list[Callable[[], None]] = []
            held.append(releases)
            # Before any of them waits for another one of them.
            region.submit_again([(LOCAL, NOBODY, 0, 0, None, partial(_call_all, releases), None)])
        for releases, (region, slots) in zip(held, changed, strict=True):
            releases += [one.hold() for one in self._overlapping(slots) if one is not region]

    def _overlapping(self, slots: tuple[int, int]) -> list[DistantRegion]:
        """Give the regions that have some of these slots."""
        first, end = slots
        return [region for region in self.regions.values() if region.slots[0] < end and first < region.slots[1]]

    def _move_waiters(self) -> None:
        """Look for each client that waits in the region that has its keys by now."""
        ranges = [((route.first, route.end), self.regions[route.region].waiters) for route in self._routes.ranges]
        here = {id(waiters): slots for slots, waiters in ranges}
        for region in (*self.regions.values(), *self._former):
            slots = here.get(id(region.waiters), (0, 0))
            for blocked in region.waiters.leave(partial(owns, slots)):
                for others, waiters in ranges:
                    if owns(others, blocked.operation):
                        waiters.join(blocked)
                        break
                else:
                    # Its keys lie in several by now, which is for the stores to say.
                    region.waiters.join(blocked)

    def _new_region(self, number: int) -> DistantRegion:
        region = DistantRegion(number, self._start_id, self._clock, self._answered)
        region.forwarder = self._forwarder(region, lambda: self.leader(number))
        region.waiters.missed = self._ask_all
        region.moved = lambda operation, whole, of: self.way.moved(operation, whole, of)
        return region

    def _withdraw(self, region: DistantRegion) -> None:
        """Let others do what waits for a region that is no more."""
        meant, later = region.forwarder.withdraw()
        for whole, operations in (*meant, (region.slots, later)):
            for operation in operations:
                if operation[0] == LOCAL:
                    self._run_behind(operation, self._overlapping(whole))
                elif operation[0] == INTERNAL:
                    self._once_more(operation)
                else:
                    self.way.moved(released(operation), whole, region)
        if not region.holds and not len(region.waiters):
            self._former.remove(region)
            region.forwarder.close()

    def _run_behind(self, operation: Operation, heirs: list[DistantRegion]) -> None:
        """Run a step behind what was handed on to some regions before it; one of ours at once, as they wait for it."""
        _, client, number, db, spec, step, extra = operation
        if client is NOBODY:
            step()
            return
        left = len(heirs)

        def passed() -> None:
            nonlocal left
            left -= 1
            if not left:
                step()

        for heir in heirs:
            heir.submit_moved((LOCAL, client, number, db, spec, passed, extra))

    # What went astray

    def went_astray(self, operation: Operation) -> bool:
        """Take an operation over that did nothing, as its keys lie in another region; no longer than clients wait."""
        name = (operation[1].client_id, operation[2])
        now = self._clock.seconds()
        since = self._astray.setdefault(name, now)
        if now - since > self._request_timeout:
            del self._astray[name]
            return False
        self.astray += 1
        self._ask_all()
        self._clock.callLater(AGAIN_SECONDS, self._again, operation, name)
        return True

    def _again(self, operation: Operation, name: tuple[int, int]) -> None:
        if self._clock.seconds() - self._astray.get(name, 0) > self._request_timeout:
            operation[1].answer(operation[2], NOT_HERE)
            self._answered()
        else:
            self._once_more(operation)
        for old in [old for old, since in self._astray.items() if self._clock.seconds() - since > SCHEDULE_SECONDS]:
            del self._astray[old]

    def _once_more(self, operation: Operation) -> None:
        regions = list(self.regions.values())
        if operation[0] == INTERNAL:
            for region in regions:
                region.submit_again([operation])
        else:
            self.way.submit(released(operation))

    # The scheduler

    def _ask_scheduler(self, ask: Callable[[], Deferred[Mapping[int, str]]]) -> None:
        if self._asking_schedule is not None and not self._asking_schedule.called:
            return
        self._scheduled_at = self._clock.seconds()

        async def asked() -> None:
            try:
                stores = await ask()
            except ScheduleProblem as problem:
                why = str(problem)
                if why != self._problem:
                    self.log.warn("the scheduler doesn't say where stores are: {why}", why=why)
                self._problem = why
                return
            self._problem = ""
            if stores:
                self._links.keep(set(stores))
            for store, address in stores.items():
                self._links.connect(store, address)

        self._asking_schedule = asking = Deferred.fromCoroutine(asked())
        asking.addErrback(self._not_asked)

    def _not_asked(self, failure: Failure) -> None:
        """Learn that no answer was waited for, or of a defect."""
        if not failure.check(CancelledError):
            self.log.failure("asking the scheduler failed", failure)

    # Clients that wait

    def _check(self) -> None:
        self._checked_at = self._clock.seconds()
        for region in self.regions.values():
            region.waiters.check()

    # IPeerHandler

    def pushed(self, store_id: int, payload: bytes) -> None:
        """Tell a client that waited what a store has decided."""
        try:
            (run, client, number), reply = decode_woken(payload)
        except Damaged as problem:
            self.log.error("what store {store} pushes isn't understood: {why}", store=store_id, why=problem)
            return
        if run == self._start_id:
            for region in (*self.regions.values(), *self._former):
                if region.waiters.pushed(client, number, reply):
                    self._answered()
                    return

    def link_up(self, store_id: int) -> None:
        """Learn that a store is reached: it's asked at once."""
        self.log.info("store {store} is reached", store=store_id)
        self._ask(store_id)

    def link_down(self, store_id: int) -> None:
        """Learn that a store isn't: what it has pushed may be lost."""
        if self._closed:
            return
        self.log.warn("store {store} isn't reached any more", store=store_id)
        self._ask_all()
        self._check()

    def sender_store(self, region_id: int, peer_id: int) -> int | None:
        """Know no peers."""
        return None

    def received(self, store_id: int, region_id: int, message: Message) -> None:
        """No link carries such a thing to a gateway."""

    def unreachable(self, store_id: int, region_id: int) -> None:
        """Nothing of that kind is sent."""

    def forwarded(self, store_id: int, payload: bytes, answer: IForwardAnswer) -> None:
        """No link carries such a thing to a gateway."""
        answer.refuse(b"")

    def snapshot_offered(self, store_id: int, region_id: int, size: int, meta: bytes) -> str | None:
        """Want none."""
        return "this is a gateway"

    def snapshot_received(self, store_id: int, region_id: int, path: str, meta: bytes) -> None:
        """None was wanted."""

