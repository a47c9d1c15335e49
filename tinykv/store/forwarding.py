"""
Any store serves any client: what this one can't do itself goes to the store that leads.

The order of a client's commands is kept, and nothing is done twice (R1 and R2 of the design). Operations wait in one
queue, and leave in batches, in order. A batch that was certainly not done, or a part of it, is sent again: for that
nothing new leaves until all batches under way have an outcome; then what was refused goes first, in its order, under
the next generation, and whoever refused something of a generation refuses all that comes later of it. What may have
been done is never sent again: its client is told that the outcome is unknown. Reads may be repeated, unless the same
client's write behind them may have been done: they might see it.

As long as anything waits here, what comes later waits behind it, also when this store leads by now.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from tinykv.errors import Damaged
from tinykv.interfaces import IForwardAnswer, Outcome
from tinykv.peering.notices import Notices
from tinykv.peering.settings import GATEWAYS
from tinykv.redis.forwarded import (
    PUT_OFF,
    REFUSED,
    REPLY,
    UNKNOWN,
    WAITS,
    Result,
    decode_batch,
    decode_origin,
    decode_results,
    decode_timeout,
    encode_batch,
    version_of,
)
from tinykv.redis.operations import (
    COMMANDS,
    EXEC,
    INTERNAL,
    LOCAL,
    LOOK,
    NOBODY,
    READ,
    READ_EXEC,
    WAITING,
    Client,
    Operation,
    size_of,
)
from tinykv.redis.ownership import NOT_HERE
from tinykv.resp import replies
from tinykv.resp.splitting import elements_of
from tinykv.store.refusals import NO_LEADER
from tinykv.store.remote_clients import RemoteBatch, RemoteClient

_UNKNOWN = replies.error(b"TIMEOUT the link to the store that leads was lost; outcome unknown")
_TOO_LARGE = replies.error(
    b"TRYAGAIN the replies to this pipeline are too large to be passed on by another store; nothing was done"
)
_STRANGE = replies.error(
    b"ERR the store that leads runs another version, which can't do this command; nothing was done"
)

#: How long to wait before what was refused is sent again, in seconds.
RETRY_SECONDS = 0.02
#: Operations of one batch at most.
BATCH_OPERATIONS = 4096
#: Bytes of operations after which a batch is closed.
BATCH_BYTES = 1 << 20
#: How long a store that leads no more may take to say what became of a batch, in seconds.
GRACE_SECONDS = 1.0
#: How often it's looked who has waited too long, in seconds.
LATE_SECONDS = 0.25
#: Runs of stores and gateways of which is remembered what was refused.
_REMEMBERED = 1024


#: Operations, with the slots of the region for which they were meant.
Meant = tuple[tuple[int, int], Sequence[Operation]]


class Here(Protocol):
    """The region on this store; see L{tinykv.store.host.RegionHost}."""

    start_id: int

    @property
    def version(self) -> int:
        """Which range of keys the region has."""

    def owns(self, operation: Operation) -> bool:
        """Say whether all keys of an operation lie in the region."""

    def pass_on(self, meant: Sequence[Meant], later: Sequence[Operation]) -> None:
        """
        Take back operations of which nothing was done, the oldest first; hand on what isn't for the region any more.

        @param later: Those that came behind them, and were meant for the region as it is now.
        """

    @property
    def ready(self) -> bool:
        """Whether it leads."""

    @property
    def closing(self) -> bool:
        """Whether its end has begun."""

    @property
    def vacant(self) -> bool:
        """Whether what is decided isn't told here: no client can wait, and a step of the front's sees nothing."""

    @property
    def unresolved(self) -> bool:
        """Whether it has proposed something of which it doesn't know what became of it."""

    def submit_before(self, operations: list[Operation]) -> None:
        """Take operations in before all that wait there, since they are older."""

    def refusal(self, spec: Any) -> bytes | None:
        """Say why a command can't be taken now."""

    def look(self, operation: Operation) -> bool:
        """Run a step of the front's when all that was decided by now is applied here; say if that could be asked."""

    def hurry(self) -> None:
        """Have what is decided within a moment be applied without waiting for more."""

    def read(self, client: Any, number: int, db: int, spec: Any, arguments: list[bytes]) -> bytes | None:
        """Run a read now; None if its client is answered later."""


class Serving(Here, Protocol):
    """The region on a store, for clients of others."""

    def submit_distant(self, operation: Operation) -> None:
        """Take an operation in for a client of another store."""


class Forwards(Protocol):
    """What it needs of L{tinykv.interfaces.IPeering}."""

    def forward(self, store_id: int, payload: bytes, answered: Callable[[Outcome, bytes], None]) -> None:
        """Send a batch, once."""


#: Since when an operation waits, and the operation.
_Waiting = tuple[float, Operation]


class _Flight:
    """
    A batch under way.

    @ivar since: When it was sent.
    @ivar done: Whether its outcome is known, or was waited for long enough.
    @ivar refused: What of it certainly did nothing.
    @ivar put_off: Whether some of that are reads which were put off, so that what was behind them may have been done.
    @ivar unknown: Whether nobody can tell what any of it did.
    @ivar changes: Whether it's more than reads.
    """

    __slots__ = ("changes", "done", "put_off", "refused", "since", "unknown", "waiting")

    def __init__(self, waiting: list[_Waiting], since: float) -> None:
        self.waiting = waiting
        self.since = since
        self.done = False
        self.refused: list[_Waiting] = []
        self.put_off = False
        self.unknown = False
        self.changes = any(operation[0] < READ for _, operation in waiting)


class Forwarder:
    """
    The way of one region's operations to whoever leads it, and back.

    @ivar forwarded: How many operations were sent to other stores.
    @ivar retried: How many operations that did nothing were sent, or done here, again.
    @ivar refused: Told of a batch that a store refused as a whole: which store it was, and what it says of the cause.
    @ivar astray: Given an operation of which nothing was done since its keys lie in another region; says whether it
        takes it over.
    @ivar blocks: Given a blocking command where this store has no replica, so that nobody could wait in the region.
    @ivar woken: Told whom an operation wakes; says whether that's one of these.
    @ivar blocked: Gives the commands of all of these.
    @ivar landed: Called when batches were answered; see L{changes} for whether that were all.
    @ivar failed: Told of a command that another store answered with an error, as L{Execution.refused} is of one here.
    """

    log = Logger()

    def __init__(
        self,
        *,
        region: int,
        here: Here,
        links: Forwards,
        leader_store: Callable[[], int | None],
        own_store: int,
        clock: IReactorTime,
        request_timeout: float,
        answered: Callable[[], None],
        local_reads: bool = False,
    ) -> None:
        """
        @param leader_store: Names the store that leads, if that's known.
        @param answered: Called when clients were answered.
        @param local_reads: Whether clients read what is applied here. They see their own writes all the same, so it's
            found out when those are applied here that were done elsewhere.
        """
        self.forwarded = 0
        self.retried = 0
        self.failed: Callable[[Client, str, bytes], None] = lambda client, name, text: None
        self.blocks: Callable[[Operation], None] = _blocks
        self.woken: Callable[[list[bytes]], bool] = lambda arguments: False
        self.blocked: Callable[[], list[Operation]] = list
        self.refused: Callable[[int, bytes], None] = lambda store, why: None
        self.astray: Callable[[Operation], bool] = lambda operation: False
        self.landed: Callable[[], None] = lambda: None
        self._region = region
        self._here = here
        self._links = links
        self._leader_store = leader_store
        self._own_store = own_store
        self._clock = clock
        self._request_timeout = request_timeout
        self._answered = answered
        self._queue: deque[_Waiting] = deque()
        #: How many at the head of the queue were given back here since it was last sent from.
        self._given_back = 0
        #: Batches under way, all to the same store.
        self._flights: deque[_Flight] = deque()
        self._to = 0
        #: Since when another store leads than the one that batches are under way to.
        self._overtaken: float | None = None
        #: Whether something was refused, so that nothing new leaves until all under way have an outcome.
        self._blocked = False
        self._generation = 1
        #: For each time the region was narrowed while something waited or was under way: its slots until then, and what
        #: has come since. What is in the queue or under way came before all of them.
        self._narrowed: list[tuple[tuple[int, int], deque[_Waiting]]] = []
        #: The step of the front's that waits for this store to know all that was decided: as it was taken from the
        #: queue, and as it was handed on.
        self._looking: tuple[_Waiting, Operation] | None = None
        #: Who takes what waits, since the region has ended; and whom to tell when nothing is left for the first time.
        self._heir: Callable[[Operation, tuple[int, int] | None], None] | None = None
        self._drained: Callable[[], None] | None = None
        self._local_reads = local_reads
        #: Whether something was done elsewhere since it was last asked up to where that goes.
        self._unseen = False
        #: What is run here when all is applied that was decided when it was asked.
        self._catching_up: Operation | None = None
        self._due: IDelayedCall | None = None
        #: When it was last looked who has waited too long.
        self._looked = 0.0
        self._closed = False

    # For the region on this store

    @property
    def holds(self) -> bool:
        """Whether what comes now has to wait behind something that is here or under way."""
        return bool(self._queue or self._flights or self._narrowed) or self._looking is not None

    @property
    def changes(self) -> bool:
        """Whether something that is more than a read waits here, or is under way and hasn't been answered."""
        return any(flight.changes and not flight.done for flight in self._flights) or any(
            operation[0] < READ for _, operation in self._all_waiting()
        )

    @property
    def behind(self) -> bool:
        """Whether something was done elsewhere that may not be applied here; known where reads are local."""
        return self._unseen or self._catching_up is not None

    @property
    def polls(self) -> bool:
        """Whether clients wait here of whom the region doesn't know, since there was no replica when they began."""
        return bool(self.blocked())

    def wakes(self, operation: Operation) -> bool:
        """Wake such a client, if an operation asks for that; say if it did."""
        return operation[0] == INTERNAL and operation[5][0] == b"wake" and self.woken(operation[5])

    @property
    def oldest(self) -> float | None:
        """Since when what is under way or waits here for longest does so, by the clock; None if there's nothing."""
        since = [flight.since for flight in self._flights if not flight.done]
        since += [waiting[0] for waiting in list(self._queue)[:1]]
        return min(since, default=None)

    def withdraw(self) -> tuple[list[Meant], list[Operation]]:
        """
        Give up what waits here, in its order, unless something is under way: it's to be done another way.

        @return: What was meant for slots that the region had before, the oldest first; and what came behind that.
        """
        if self._flights or self._looking is not None:
            return [], []
        return self._take_waiting()

    def _all_waiting(self) -> list[_Waiting]:
        """Give all that waits here, in its order."""
        return [*self._queue, *(waiting for _, since in self._narrowed for waiting in since)]

    def take(self, operations: list[Operation]) -> None:
        """Take operations behind all that were taken before."""
        self._keep(operations)
        self._try()

    def _keep(self, operations: list[Operation]) -> None:
        now = self._clock.seconds()
        queue = self._narrowed[-1][1] if self._narrowed else self._queue
        queue += [(now, operation) for operation in operations if not _refused(operation)]

    def take_back(self, operations: list[Operation]) -> None:
        """Take operations that were given up here, before all that are new, in the order of the calls."""
        now = self._clock.seconds()
        for operation in operations:
            waiting = (now, operation)
            if operation is self._catching_up:
                self._catching_up = None
                self._unseen = True
                continue
            if self._looking is not None and operation is self._looking[1]:
                waiting, self._looking = self._looking[0], None
            elif _refused(operation):
                continue
            self._queue.insert(self._given_back, waiting)
            self._given_back += 1
            self.retried += 1
        self._soon()

    def undone(self) -> list[Operation]:
        """Give the operations of which certainly nothing was done: what waits, and what was refused."""
        refused = [waiting for flight in self._flights for waiting in flight.refused]
        return [*(operation for _, operation in (*refused, *self._all_waiting())), *self.blocked()]

    def narrowed(self, whole: tuple[int, int], operations: list[Operation]) -> None:
        """
        Learn that the region has fewer keys than before, and so isn't the place for some of what waits or is under way.

        What is under way goes first, as far as nothing of it was done: whoever leads refuses it. What comes from now on
        is meant for the region as it is now.

        @param whole: Its slots until now.
        @param operations: Some more that were meant for these, behind all that were taken.
        """
        self._keep(operations)
        if not self.holds:
            return
        self._narrowed.append((whole, deque()))
        if self._flights:
            self._blocked = True
        self._soon()

    def end(
        self,
        operations: list[Operation],
        heir: Callable[[Operation, tuple[int, int] | None], None],
        drained: Callable[[], None],
    ) -> None:
        """
        Learn that the region has ended, and another one has its keys.

        @param operations: Some more that were meant for it, behind all that were taken.
        @param heir: Takes each operation of which nothing was done, in order: what waits, when nothing is under way any
            more, and whatever comes later. Also the slots for which it was meant; None for those that the region had
            at last.
        @param drained: Called when that is so for the first time.
        """
        self._keep(operations)
        self._heir, self._drained = heir, drained
        if self._flights:
            self._blocked = True
        self._try()

    def _drain(self, heir: Callable[[Operation, tuple[int, int] | None], None]) -> None:
        """Hand on what waits for a region that has ended, once nothing is under way."""
        if self._flights:
            return
        meant, later = self._take_waiting()
        for whole, operations in (*meant, (None, later)):
            for operation in operations:
                self.retried += 1
                heir(operation, whole)
        if self._drained is not None:
            drained, self._drained = self._drained, None
            drained()
        self.landed()

    def _take_waiting(self) -> tuple[list[Meant], list[Operation]]:
        """Take all that waits, in order: what was meant for slots that the region had, and what is for it as it is."""
        meant: list[Meant] = []
        waiting, self._queue = self._queue, deque()
        narrowed, self._narrowed = self._narrowed, []
        self._given_back = 0
        for whole, since in narrowed:
            meant.append((whole, [operation for _, operation in waiting]))
            waiting = since
        return meant, [operation for _, operation in waiting]

    def _pass_on(self) -> None:
        """Hand on, in order, what isn't for the region any more, now that nothing is under way."""
        self._here.pass_on(*self._take_waiting())

    def leads(self, here: bool) -> None:
        """Learn that it may have changed who leads."""
        self._soon()

    def expect_local_reads(self) -> None:
        """Find out from now on when what was done elsewhere is applied here; so far nobody wanted to know."""
        if not self._local_reads:
            self._local_reads = True
            if self.forwarded:
                self._unseen = True
                self._catch_up()

    def close(self) -> None:
        """Send nothing any more."""
        self._closed = True
        if self._due is not None and self._due.active():
            self._due.cancel()

    # Out

    def _soon(self) -> None:
        """Try again a little later, if there's something to be tried."""
        waits = self._queue or self._flights or self._narrowed or self._unseen or self._drained is not None
        if waits and not self._closed and (self._due is None or not self._due.active()):
            self._due = self._clock.callLater(RETRY_SECONDS, self._try)

    def _try(self) -> None:
        """Send what waits to whoever leads, or do it here; later, if that can't be now."""
        if self._closed:
            return
        self._overtake()
        if self._queue or self._narrowed or self._drained is not None:
            self._tell_late()
            self._send()
        if self._unseen and self._heir is None:
            self._catch_up()
        leaderless = bool(self._flights) and self._leader_store() is None
        unseen = self._unseen and self._heir is None
        if self._queue or self._narrowed or self._overtaken is not None or unseen or leaderless:
            self._soon()

    def _catch_up(self) -> None:
        """Ask up to where all that was done elsewhere goes, and learn when that is applied here."""
        if self._catching_up is not None:
            return

        def done() -> None:
            self._catching_up = None
            if self._unseen:
                self._catch_up()

        operation = (LOCAL, NOBODY, 0, 0, None, done, None)
        self._catching_up, self._unseen = operation, False
        if not self._here.look(operation):
            self._catching_up, self._unseen = None, True
            self._soon()

    def _tell_late(self) -> None:
        """Tell clients that have waited too long that there's no leader: what waits here did nothing."""
        now = self._clock.seconds()
        if now - self._looked < LATE_SECONDS:
            return
        self._looked = now
        late: list[Operation] = []
        given_back = self._given_back
        for queue in (self._queue, *(since for _, since in self._narrowed)):
            all_waiting = list(queue)
            queue.clear()
            for place, waiting in enumerate(all_waiting):
                since, operation = waiting
                if now - since <= self._request_timeout or (operation[0] == INTERNAL and operation[1] is NOBODY):
                    queue.append(waiting)
                    continue
                if queue is self._queue and place < given_back:
                    self._given_back -= 1
                late.append(operation)
        for kind, client, number, _, _, arguments, _ in late:
            if kind == LOCAL:
                arguments()
            else:
                client.answer(number, NO_LEADER)
        if late:
            self._answered()

    def _overtake(self) -> None:
        """
        Wait no longer than a little for a store that doesn't lead any more: it may be stopped, or cut off.

        Where none leads it may yet answer, or lead again, but its clients don't wait for that longer than they do.
        """
        # Of a region that has ended nobody learns any more who leads it.
        to = self._leader_store() if self._heir is None else 0
        now = self._clock.seconds()
        if not self._flights or to == self._to:
            self._overtaken = None
        elif to is None:
            self._overtaken = None
            self._give_up(now - self._request_timeout)
        elif self._overtaken is None:
            self._overtaken = now
        elif now - self._overtaken > GRACE_SECONDS:
            self._overtaken = None
            self._give_up(now)

    def _give_up(self, until: float) -> None:
        """Take what was sent until some time for lost; what is heard of it later is late."""
        lost = [flight for flight in self._flights if not flight.done and flight.since <= until]
        for flight in lost:
            self._settle(flight, Outcome.UNKNOWN, b"")
        if lost:
            self._look_at_flights()

    def _send(self) -> None:
        """Send what waits, as far as that can be now."""
        here = self._here
        if self._blocked or self._looking is not None or here.unresolved:
            return
        if self._heir is not None:
            self._drain(self._heir)
            return
        if self._narrowed:
            self._pass_on()
            return
        if here.ready:
            if not self._flights:
                waiting, self._queue = self._queue, deque()
                self._given_back = 0
                here.submit_before([operation for _, operation in waiting])
            return
        to = self._leader_store()
        if to is None or to == self._own_store or (self._flights and to != self._to):
            return
        self._to = to
        self._given_back = 0
        queue = self._queue
        # What can't be done elsewhere, or what may concern those who can't.
        staying = (LOCAL, WAITING, INTERNAL) if here.vacant else (LOCAL, INTERNAL) if self.polls else (LOCAL,)
        while queue:
            if queue[0][1][0] == LOCAL:
                if self._flights:
                    return
                if not here.vacant:
                    self._look()
                    return
                # Nothing is applied here that it could see; and all that was sent before has been answered.
                step = queue.popleft()[1][5]
                step()
                continue
            first = queue.popleft()
            if first[1][0] == WAITING and here.vacant:
                self.blocks(first[1])
                continue
            if self.wakes(first[1]):
                continue
            flight = [first]
            size = size_of(first[1])
            while queue and queue[0][1][0] not in staying and len(flight) < BATCH_OPERATIONS and size < BATCH_BYTES:
                flight.append(queue.popleft())
                size += size_of(flight[-1][1])
            self._fly(to, flight)

    def _look(self) -> None:
        """Let the step of the front's at the head of the queue be run here, as soon as it sees all that was decided."""
        waiting = self._queue.popleft()
        kind, client, number, db, spec, step, extra = waiting[1]

        def done() -> None:
            self._looking = None
            step()
            # Not before the step is over: what waits behind it may be of the same client.
            self._soon()

        operation = (kind, client, number, db, spec, done, extra)
        self._looking = (waiting, operation)
        if not self._here.look(operation):
            self._looking = None
            self._queue.appendleft(waiting)

    def _fly(self, to: int, waiting: list[_Waiting]) -> None:
        flight = _Flight(waiting, self._clock.seconds())
        self._flights.append(flight)
        self.forwarded += len(waiting)
        payload = encode_batch(
            self._region,
            self._here.version,
            self._here.start_id,
            self._generation,
            [operation for _, operation in waiting],
        )
        self._links.forward(to, payload, lambda outcome, data: self._landed(flight, outcome, data))

    # Back

    def _landed(self, flight: _Flight, outcome: Outcome, data: bytes) -> None:
        """Learn what became of a batch."""
        if flight.done:
            self._land_late(flight, outcome, data)
        else:
            self._settle(flight, outcome, data)
            self._look_at_flights()

    def _settle(self, flight: _Flight, outcome: Outcome, data: bytes) -> None:
        results: list[Result] = []
        if outcome is Outcome.ANSWERED:
            try:
                results = decode_results(data, len(flight.waiting))
            except Damaged as problem:
                self.log.error("the answer of the store that leads can't be read: {problem}", problem=problem)
                outcome = Outcome.UNKNOWN
        flight.done = True
        if self._local_reads and outcome is not Outcome.REFUSED and any(map(_writes, flight.waiting)):
            # Before any client is told that it was done.
            self._unseen = True
            self._catch_up()
        if outcome is Outcome.ANSWERED:
            for waiting, (status, result) in zip(flight.waiting, results, strict=True):
                if status == REFUSED:
                    flight.refused.append(waiting)
                elif status == PUT_OFF:
                    # It gets on, so nobody has waited for nothing.
                    flight.refused.append((self._clock.seconds(), waiting[1]))
                    flight.put_off = True
                elif status == REPLY and waiting[1][0] == COMMANDS and result[:1] != b"-":
                    _, client, number, *_ = waiting[1]
                    client.answer(number, result)
                else:
                    self._answer(waiting[1], status, result)
        elif outcome is Outcome.REFUSED:
            flight.refused = flight.waiting
            self.refused(self._to, data)
        else:
            flight.unknown = True
            for _, operation in flight.waiting:
                if not _repeatable(operation):
                    self._unknown(operation)
        if flight.refused or flight.unknown:
            self._blocked = True
        self._answered()

    def _answer(self, operation: Operation, status: int, result: bytes) -> None:
        kind, client, number, _, _, arguments, _ = operation
        try:
            if status == WAITS:
                if kind != WAITING:
                    raise Damaged("what doesn't block was made to wait")
                if self._here.vacant:
                    # Its entries aren't applied here any more, so nobody would ever hear of what it gets.
                    self._unknown(operation)
                    return
                # Whatever serves it is applied at once from when the waiter is known here; so is what says that it is.
                self._here.hurry()
                client.waits(number, decode_timeout(result))
            elif status == UNKNOWN:
                self._unknown(operation, result)
            elif result == NOT_HERE and self.astray(operation):
                self.retried += 1
            else:
                self._tell_errors(operation, result)
                client.answer(number, _with_locals(arguments, result) if kind in (EXEC, READ_EXEC) else result)
        except Damaged as problem:
            self.log.error("a reply of the store that leads can't be read: {problem}", problem=problem)
            client.answer(number, _UNKNOWN)

    def _tell_errors(self, operation: Operation, reply: bytes) -> None:
        """Let errors be counted where their client is."""
        kind, client, _, _, spec, arguments, _ = operation
        if reply.startswith(b"-"):
            self.failed(client, spec.name if spec is not None else "exec", reply[1:])
        elif kind in (EXEC, READ_EXEC) and b"\r\n-" in reply:
            specs = [command for _, command, _, _ in arguments if command is not None]
            for command, answer in zip(specs, elements_of(reply), strict=False):
                if answer.startswith(b"-"):
                    self.failed(client, command.name, answer[1:])

    def _unknown(self, operation: Operation, reply: bytes = _UNKNOWN) -> None:
        """Tell a client that nobody knows what became of its request."""
        operation[1].answer(operation[2], reply)
        if operation[0] == WAITING:
            self._forget_waiter(operation)

    def _forget_waiter(self, operation: Operation) -> None:
        """Let nobody pop anything for a client that was told otherwise: it may wait there, or be about to."""
        origin = (self._here.start_id, operation[1].client_id, operation[2])
        wake = [b"wake", *(b"%d" % part for part in origin), b"gone"]
        self._queue.append((self._clock.seconds(), (INTERNAL, NOBODY, 0, 0, None, wake, None)))

    def _land_late(self, flight: _Flight, outcome: Outcome, data: bytes) -> None:
        """Learn what became of a batch whose clients were told that nobody knows: some may wait there since then."""
        if outcome is not Outcome.ANSWERED:
            return
        try:
            results = decode_results(data, len(flight.waiting))
        except Damaged as problem:
            self.log.error("a late answer of the store that led can't be read: {problem}", problem=problem)
            return
        for (_, operation), (status, _) in zip(flight.waiting, results, strict=True):
            if status == WAITS and operation[0] == WAITING:
                self._forget_waiter(operation)
        self._try()

    def _look_at_flights(self) -> None:
        """Go on when nothing is under way any more that could change the order."""
        if self._blocked:
            if not all(flight.done for flight in self._flights):
                return
            again = self._once_more()
            self._flights.clear()
            self.retried += len(again)
            self._queue.extendleft(again)
            self._generation += 1
            self._blocked = False
            self._soon()
        else:
            while self._flights and self._flights[0].done:
                self._flights.popleft()
            self._try()
        self.landed()

    def _once_more(self) -> list[_Waiting]:
        """Give what is to be sent again, the last first."""
        again: list[_Waiting] = []
        #: Clients of whom something that was done, or may have been, is behind. Each part of a command has an object of
        #: its own that stands for the client, so they're told apart by their numbers.
        uncertain: set[int] = set()
        told = False
        put_off = any(flight.put_off for flight in self._flights)
        for flight in reversed(self._flights):
            undone = {id(waiting[1]): waiting for waiting in flight.refused}
            for waiting in reversed(flight.waiting if flight.unknown or put_off else flight.refused):
                operation = waiting[1]
                client = operation[1]
                refused = undone.get(id(operation))
                if refused is None and not (flight.unknown and _repeatable(operation)):
                    if _writes(waiting):
                        uncertain.add(client.client_id)
                elif _reads(waiting) and client.client_id in uncertain:
                    client.answer(operation[2], _UNKNOWN if refused is None else _TOO_LARGE)
                    told = True
                else:
                    again.append(refused or waiting)
        if told:
            self._answered()
        return again


def _blocks(operation: Operation) -> None:
    raise AssertionError("there's a replica here, or somebody takes blocking commands")


def _writes(waiting: _Waiting) -> bool:
    """Tell whether an operation may change something for its client to see."""
    return waiting[1][0] in (COMMANDS, EXEC, WAITING)


def _reads(waiting: _Waiting) -> bool:
    """Tell whether an operation only reads, for its client."""
    return waiting[1][0] in (READ, READ_EXEC, LOOK)


def _repeatable(operation: Operation) -> bool:
    """Tell whether to do an operation twice is as good as once."""
    return operation[0] in (READ, READ_EXEC, LOOK) or (operation[0] == INTERNAL and operation[1] is NOBODY)


def _refused(operation: Operation) -> bool:
    """Tell another store, whose client it is of, that an operation wasn't done; it sends it where it belongs."""
    client = operation[1]
    if type(client) is RemoteClient:
        client.refuse()
        return True
    return False


def _with_locals(commands: list[Any], reply: bytes) -> bytes:
    """
    Put the replies of a transaction's commands that are about the connection between those on data.

    @raise Damaged: There aren't as many replies as commands.
    """
    if not reply.startswith(b"*") or reply.startswith(b"*-1") or all(spec is not None for _, spec, _, _ in commands):
        return reply
    done = elements_of(reply)
    if len(done) != sum(spec is not None for _, spec, _, _ in commands):
        raise Damaged(f"{len(done)} replies to the commands of a transaction")
    left = iter(done)
    return replies.array([next(left) if spec is not None else local() for _, spec, _, local in commands])


class Receiver:
    """Takes what other stores forward to this one."""

    def __init__(
        self, *, here: Serving, table: Any, notices: Notices, route: Callable[[], bytes] = bytes
    ) -> None:
        """
        @param route: Says where the region is, as far as it's known here, for gateways that came to the wrong store.
        @param notices: Says what is wrong with other stores' batches, now and then.
        """
        self._here = here
        self._table = table
        self._route = route
        self._notices = notices
        #: The generation of which something was refused, by (store, start id), latest last.
        self._refused: dict[tuple[int, int], int] = {}
        #: The latest generation of each, and the clients of whom a read was put off in it.
        self._late: dict[tuple[int, int], tuple[int, set[int]]] = {}

    def forwarded(self, store_id: int, payload: bytes, answer: IForwardAnswer) -> None:
        """Take a batch of another store's clients."""
        try:
            start_id, generation = decode_origin(payload)
            origin = (store_id, start_id)
            late = self._late_clients(origin, generation)
            remote = RemoteBatch(answer, lambda: self._refuse_from(origin, generation), late)
            batch = decode_batch(payload, self._table, remote.client)
        except Damaged as problem:
            why = f"a batch of its clients' commands can't be read, their outcome is unknown: {problem}"
            self._notices.warn(f"store {store_id}", "batch", why)
            # If it were refused it would be sent again just as it is.
            answer.unknown()
            return
        here = self._here
        # A store that stops would never come to its end if the others' clients kept it busy: another one does it.
        # What is about all keys of the region mustn't be done where it has others than its sender took it to have.
        other = version_of(payload) != here.version
        if other or not here.ready or here.closing or answer.crowded or self._refused.get(origin, 0) >= generation:
            self._refuse_from(origin, generation)
            answer.refuse(self._route() if store_id >= GATEWAYS else b"")
            return
        if not batch.operations:
            answer.answer(b"")
        remote.holds(batch.operations)
        refused = False
        #: The last plain write that could be taken; which can doesn't change while a batch is.
        taken: Any = None
        for place, operation in enumerate(batch.operations):
            kind, client, number, db, spec, arguments, _ = operation
            if refused:
                client.refuse()
            elif place in batch.strange:
                client.answer(number, _STRANGE)
            elif not here.owns(operation):
                if store_id >= GATEWAYS:
                    client.answer(number, NOT_HERE)
                else:
                    # It learns where the keys are when it applies what is applied here already; and sends again all
                    # that is behind, in its order.
                    refused = True
                    client.refuse()
            elif place in batch.fresh:
                if client.put_off():
                    continue
                reply = here.read(client, number, db, spec, arguments)
                if reply is not None:
                    client.answer(number, reply)
            else:
                if kind != COMMANDS or spec is not taken:
                    refusal = self._refusal(operation)
                    if refusal is not None:
                        client.answer(number, refusal)
                        continue
                    if kind == COMMANDS:
                        taken = spec
                here.submit_distant(operation)

    def _refusal(self, operation: Operation) -> bytes | None:
        """Say why an operation can't be taken now; the store that it comes from can't know that."""
        kind, _, _, _, spec, arguments, _ = operation
        if kind in (COMMANDS, WAITING):
            return self._here.refusal(spec)
        if kind == EXEC:
            for _, command, _, _ in arguments:
                if command.writes and (refusal := self._here.refusal(command)) is not None:
                    return refusal
        return None

    def _refuse_from(self, origin: tuple[int, int], generation: int) -> None:
        refused = self._refused
        refused[origin] = max(refused.pop(origin, 0), generation)
        if len(refused) > _REMEMBERED:
            del refused[next(iter(refused))]

    def _late_clients(self, origin: tuple[int, int], generation: int) -> set[int]:
        """Give the clients of whom a read was put off in a generation."""
        known = self._late.get(origin)
        if known is None or known[0] < generation:
            known = self._late[origin] = (generation, set())
            if len(self._late) > _REMEMBERED:
                del self._late[next(iter(self._late))]
        return known[1]
