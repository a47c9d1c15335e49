"""
Any store serves any client: what this one can't do itself goes to the store that leads.

The order of a client's commands is kept, and nothing is done twice (R1 and R2 of the design). Operations wait in one
queue, and leave in batches, in order. A batch that was certainly not done, or a part of it, is sent again: for that
nothing new leaves until all batches under way have an outcome; then what was refused goes first, in its order, under
the next generation, and whoever refused something of a generation refuses all that comes later of it. What may have
been done is never sent again: its client is told that the outcome is unknown. Reads may be repeated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from tinykv.errors import Damaged
from tinykv.interfaces import IForwardAnswer, Outcome
from tinykv.redis.forwarded import (
    REFUSED,
    REPLY,
    WAITS,
    Batch,
    decode_batch,
    decode_results,
    decode_timeout,
    encode_batch,
)
from tinykv.redis.operations import EXEC, INTERNAL, LOCAL, NOBODY, READ, READ_EXEC, WAITING, Operation
from tinykv.resp import replies
from tinykv.resp.splitting import elements_of
from tinykv.store.remote_clients import RemoteBatch, RemoteClient

_NO_LEADER = replies.error(b"CLUSTERDOWN no store leads, so a majority can't be reached; nothing was done")
_UNKNOWN = replies.error(b"TIMEOUT the link to the store that leads was lost; outcome unknown")

#: How long to wait before what was refused is sent again, in seconds.
RETRY_SECONDS = 0.02
#: Operations of one batch at most.
BATCH_OPERATIONS = 4096
#: Bytes of operations after which a batch is closed.
BATCH_BYTES = 1 << 20
#: Stores and runs of stores of which is remembered what was refused.
_REMEMBERED = 64


class Here(Protocol):
    """The region on this store; see L{tinykv.store.host.RegionHost}."""

    start_id: int

    @property
    def ready(self) -> bool:
        """Whether it leads."""

    @property
    def unresolved(self) -> bool:
        """Whether it has proposed something of which it doesn't know what became of it."""

    def submit(self, operation: Operation) -> None:
        """Take an operation in."""

    def look(self, operation: Operation) -> bool:
        """Run a step of the front's when all that was decided by now is applied here; say if that could be asked."""

    def read(self, client: Any, number: int, db: int, spec: Any, arguments: list[bytes]) -> bytes | None:
        """Run a read now; None if its client is answered later."""


class Forwards(Protocol):
    """What it needs of L{tinykv.interfaces.IPeering}."""

    def forward(self, store_id: int, payload: bytes, answered: Callable[[Outcome, bytes], None]) -> None:
        """Send a batch, once."""


class _Flight:
    """A batch under way; C{refused} is what of it has to be sent again."""

    __slots__ = ("done", "operations", "refused")

    def __init__(self, operations: list[Operation]) -> None:
        self.operations = operations
        self.done = False
        self.refused: list[Operation] = []


class Forwarder:
    """
    The way of one region's operations to whoever leads it, and back.

    @ivar forwarded: How many operations were sent to other stores.
    @ivar retried: How many of these were sent again.
    """

    log = Logger()

    def __init__(
        self,
        *,
        here: Here,
        links: Forwards,
        leader_store: Callable[[], int | None],
        own_store: int,
        clock: IReactorTime,
        request_timeout: float,
        answered: Callable[[], None],
    ) -> None:
        """
        @param leader_store: Names the store that leads, if that's known.
        @param answered: Called when clients were answered.
        """
        self.forwarded = 0
        self.retried = 0
        self._here = here
        self._links = links
        self._leader_store = leader_store
        self._own_store = own_store
        self._clock = clock
        self._request_timeout = request_timeout
        self._answered = answered
        #: What waits: since when, and what.
        self._queue: deque[tuple[float, Operation]] = deque()
        self._flights: deque[_Flight] = deque()
        self._to = 0
        #: Whether something was refused, so that nothing new leaves until all under way have an outcome.
        self._blocked = False
        self._generation = 1
        #: Whether a step of the front's at the head of the queue waits for this store to know all that was decided.
        self._looking = False
        self._due: IDelayedCall | None = None

    # For the region on this store

    def take(self, operations: list[Operation]) -> None:
        """Take operations behind all that were taken before."""
        now = self._clock.seconds()
        for operation in operations:
            if not _refused(operation):
                self._queue.append((now, operation))
        self._try()

    def take_back(self, operations: list[Operation]) -> None:
        """Take operations that were given up here, before all that are new, in the order of the calls."""
        now = self._clock.seconds()
        self._looking = False
        own = [(now, operation) for operation in operations if not _refused(operation)]
        if own:
            self.retried += len(own)
            place = self._given_back
            for at, item in enumerate(own):
                self._queue.insert(place + at, item)
            self._given_back = place + len(own)
            self._soon()

    #: How many at the head of the queue were given back here since it was last sent from.
    _given_back = 0

    def leads(self, here: bool) -> None:
        """Learn that it may have changed who leads."""
        if self._queue:
            self._soon()

    def close(self) -> None:
        """Send nothing any more."""
        if self._due is not None and self._due.active():
            self._due.cancel()

    # Out

    def _soon(self) -> None:
        if self._due is None or not self._due.active():
            self._due = self._clock.callLater(RETRY_SECONDS, self._try)

    def _try(self) -> None:
        """Send what waits to whoever leads, or do it here; later, if that can't be now."""
        if not self._queue:
            return
        self._give_up()
        if self._queue and not self._send():
            self._soon()

    def _give_up(self) -> None:
        """Tell clients that have waited too long that there's no leader."""
        late = self._clock.seconds() - self._request_timeout
        queue = self._queue
        told = False
        while queue and queue[0][0] < late and not self._flights:
            _, (kind, client, number, _, _, arguments, _) = queue[0]
            if kind == INTERNAL and client is NOBODY:
                break
            queue.popleft()
            self._given_back = max(self._given_back - 1, 0)
            if kind == LOCAL:
                arguments()
            else:
                client.answer(number, _NO_LEADER)
            told = True
        if told:
            self._answered()

    def _send(self) -> bool:
        """
        @return: Whether nothing is left that has to be tried again.
        """
        here = self._here
        if self._blocked or self._looking or here.unresolved:
            return False
        if here.ready:
            if self._flights:
                return False
            waiting, self._queue = self._queue, deque()
            self._given_back = 0
            for _, operation in waiting:
                here.submit(operation)
            return True
        to = self._leader_store()
        if to is None or to == self._own_store or (self._flights and to != self._to):
            return False
        self._to = to
        self._given_back = 0
        queue = self._queue
        while queue:
            if queue[0][1][0] == LOCAL:
                if self._flights:
                    return True  # the last of them calls again
                if here.look(self._step(queue[0][1])):
                    self._looking = True
                    queue.popleft()
                return False
            operations: list[Operation] = []
            size = 0
            while queue and queue[0][1][0] != LOCAL and len(operations) < BATCH_OPERATIONS and size < BATCH_BYTES:
                operation = queue.popleft()[1]
                operations.append(operation)
                size += _size(operation)
            self._fly(to, operations)
        return True

    def _step(self, operation: Operation) -> Operation:
        """Let what waits behind a step of the front's go on when it's done."""
        kind, client, number, db, spec, step, extra = operation

        def done() -> None:
            self._looking = False
            step()
            if self._queue:
                self._soon()

        return (kind, client, number, db, spec, done, extra)

    def _fly(self, to: int, operations: list[Operation]) -> None:
        flight = _Flight(operations)
        self._flights.append(flight)
        self.forwarded += len(operations)
        payload = encode_batch(self._here.start_id, self._generation, operations)
        self._links.forward(to, payload, lambda outcome, data: self._landed(flight, outcome, data))

    # Back

    def _landed(self, flight: _Flight, outcome: Outcome, data: bytes) -> None:
        """Learn what became of a batch."""
        if outcome is Outcome.ANSWERED:
            try:
                results = decode_results(data, len(flight.operations))
            except Damaged as problem:
                self.log.error("the answer of the store that leads can't be read: {problem}", problem=problem)
                outcome = Outcome.UNKNOWN
        flight.done = True
        if outcome is Outcome.ANSWERED:
            for operation, (status, result) in zip(flight.operations, results, strict=True):
                self._answer(flight, operation, status, result)
        elif outcome is Outcome.REFUSED:
            flight.refused = flight.operations
        else:
            for operation in flight.operations:
                self._unknown(flight, operation)
        if flight.refused:
            self._blocked = True
        self._answered()
        self._look_at_flights()

    def _answer(self, flight: _Flight, operation: Operation, status: int, result: bytes) -> None:
        kind, client, number, _, _, arguments, _ = operation
        if status == REPLY:
            client.answer(number, _with_locals(arguments, result) if kind in (EXEC, READ_EXEC) else result)
        elif status == WAITS:
            client.waits(number, decode_timeout(result))
        else:
            assert status == REFUSED
            flight.refused.append(operation)

    def _unknown(self, flight: _Flight, operation: Operation) -> None:
        kind, client, number, _, _, _, _ = operation
        if kind in (READ, READ_EXEC) or (kind == INTERNAL and client is NOBODY):
            # To do it again changes nothing.
            flight.refused.append(operation)
            return
        client.answer(number, _UNKNOWN)
        if kind == WAITING:
            # It may wait there now; nobody is to pop anything for a client that was told otherwise.
            wake = [b"wake", *(b"%d" % part for part in (self._here.start_id, client.client_id, number)), b"gone"]
            self.take([(INTERNAL, NOBODY, 0, 0, None, wake, None)])

    def _look_at_flights(self) -> None:
        """Go on when nothing is under way any more that could change the order."""
        if self._blocked:
            if not all(flight.done for flight in self._flights):
                return
            again = [operation for flight in self._flights for operation in flight.refused]
            self._flights.clear()
            self.retried += len(again)
            now = self._clock.seconds()
            # The time that they wait counts from now: each attempt may take its time.
            self._queue.extendleft((now, operation) for operation in reversed(again))
            self._generation += 1
            self._blocked = False
            self._soon()
            return
        while self._flights and self._flights[0].done:
            self._flights.popleft()
        if self._queue:
            self._try()


def _refused(operation: Operation) -> bool:
    """Tell another store, whose client it is of, that an operation wasn't done; it sends it where it belongs."""
    client = operation[1]
    if type(client) is RemoteClient:
        client.refuse()
        return True
    return False


def _size(operation: Operation) -> int:
    raw: Any = operation[6]
    if type(raw) is bytes:
        return len(raw)
    if operation[0] in (EXEC, READ_EXEC):
        return sum(sum(map(len, command[2])) for command in operation[5])
    return sum(map(len, operation[5]))


def _with_locals(commands: list[Any], reply: bytes) -> bytes:
    """Put the replies of a transaction's commands that are about the connection between those on data."""
    if not reply.startswith(b"*") or reply.startswith(b"*-1") or all(spec is not None for _, spec, _, _ in commands):
        return reply
    done = iter(elements_of(reply))
    return replies.array([next(done) if spec is not None else local() for _, spec, _, local in commands])


class Receiver:
    """Takes what other stores forward to this one."""

    log = Logger()

    def __init__(self, *, here: Here, table: Any) -> None:
        self._here = here
        self._table = table
        #: The generation of which something was refused, by (store, start id), latest last.
        self._refused: dict[tuple[int, int], int] = {}

    def forwarded(self, store_id: int, payload: bytes, answer: IForwardAnswer) -> None:
        """Take a batch of another store's clients."""
        origin: tuple[int, int] = (store_id, 0)
        generation = 0

        def refused() -> None:
            self._refuse_from(origin, generation)

        remote = RemoteBatch(answer, refused)
        try:
            batch: Batch = decode_batch(payload, self._table, remote.client)
        except Damaged as problem:
            self.log.error("a batch of store {store} can't be read: {problem}", store=store_id, problem=problem)
            answer.refuse(b"")
            return
        origin, generation = (store_id, batch.start_id), batch.generation
        here = self._here
        if not here.ready or self._refused.get(origin, 0) >= generation:
            refused()
            answer.refuse(b"")
            return
        for place, operation in enumerate(batch.operations):
            _, client, number, db, spec, arguments, _ = operation
            if place in batch.fresh:
                reply = here.read(client, number, db, spec, arguments)
                if reply is not None:
                    client.answer(number, reply)
            else:
                here.submit(operation)

    def _refuse_from(self, origin: tuple[int, int], generation: int) -> None:
        refused = self._refused
        refused[origin] = max(refused.pop(origin, 0), generation)
        if len(refused) > _REMEMBERED:
            del refused[next(iter(refused))]
