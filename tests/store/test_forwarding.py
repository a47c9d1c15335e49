"""
Tests for L{tinykv.store.forwarding}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.redis.test_forwarded import raw, transaction, words
from tinykv.interfaces import Outcome
from tinykv.keys import SLOTS
from tinykv.peering.figures import PeerFigures
from tinykv.peering.notices import NOTICE_SECONDS, Notices
from tinykv.redis.forwarded import (
    PUT_OFF,
    REFUSED,
    REPLY,
    UNKNOWN,
    WAITS,
    decode_batch,
    decode_origin,
    encode_batch,
    encode_results,
    encode_timeout,
)
from tinykv.redis.looks import VERSIONS
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
    Operation,
    encode_transaction,
    lookup,
)
from tinykv.resp import replies
from tinykv.resp.replies import encode_command
from tinykv.store.forwarding import BATCH_BYTES, BATCH_OPERATIONS, GRACE_SECONDS, Forwarder, Meant, Receiver
from tinykv.store.remote_clients import RemoteClient
from tinykv.testing.embedded import TABLE

OWN = 1
OK = b"+OK\r\n"


class Asker:
    """
    A client, that makes operations.

    @ivar told: (number, reply) in the order in which they came.
    """

    proto = 2

    def __init__(self, client_id: int = 1) -> None:
        self.client_id = client_id
        self.number = 0
        self.told: list[tuple[int, bytes]] = []
        self.waiting: list[tuple[int, int]] = []

    def answer(self, number: int, reply: bytes) -> None:
        self.told.append((number, reply))

    def waits(self, number: int, timeout_ms: int) -> None:
        self.waiting.append((number, timeout_ms))

    def __call__(self, line: str) -> Operation:
        """Make an operation of a command."""
        arguments = words(line)
        spec = lookup(arguments, TABLE)
        number, self.number = self.number, self.number + 1
        if not spec.writes:
            return (READ, self, number, 0, spec, arguments, None)
        if spec.blocks:
            return (WAITING, self, number, 0, spec, arguments, None)
        return (COMMANDS, self, number, 0, spec, arguments, encode_command(arguments))

    def step(self, function: Callable[[], None]) -> Operation:
        """Make a step of the front's."""
        number, self.number = self.number, self.number + 1
        return (LOCAL, self, number, 0, None, function, None)

    def look(self, *keys: bytes) -> Operation:
        """Make the front's question for the versions of keys."""
        number, self.number = self.number, self.number + 1
        return (LOOK, self, number, 0, None, [VERSIONS, *keys], None)


class FakeHere:
    """The region on this store."""

    start_id = 5

    def __init__(self) -> None:
        self.version = 1
        self.meant: list[Meant] = []
        self.lost: set[bytes] = set()
        self.ready = False
        self.vacant = False
        self.closing = False
        self.unresolved = False
        self.submitted: list[Operation] = []
        self.looks: list[Operation] = []
        self.can_look = True
        self.reply: bytes | None = b":1\r\n"
        self.full: bytes | None = None
        self.hurried = 0

    def owns(self, operation: Operation) -> bool:
        return operation[0] != COMMANDS or operation[5][1] not in self.lost

    def pass_on(self, meant: Sequence[Meant], later: Sequence[Operation]) -> None:
        self.meant += meant
        self.submitted += later

    def submit_distant(self, operation: Operation) -> None:
        self.submitted.append(operation)

    def submit_before(self, operations: list[Operation]) -> None:
        self.submitted[:0] = operations

    def refusal(self, spec: Any) -> bytes | None:
        return self.full

    def hurry(self) -> None:
        self.hurried += 1

    def look(self, operation: Operation) -> bool:
        if self.can_look:
            self.looks.append(operation)
        return self.can_look

    def read(self, client: Any, number: int, db: int, spec: Any, arguments: list[bytes]) -> bytes | None:
        if self.reply is None:
            self.submit_distant((READ, client, number, db, spec, arguments, None))
        return self.reply


class Flight:
    """A batch as the links were given it."""

    def __init__(self, to: int, payload: bytes, answered: Callable[[Outcome, bytes], None]) -> None:
        self.to = to
        self.generation = decode_origin(payload)[1]
        batch = decode_batch(payload, TABLE, lambda place, proto, client_id: NOBODY)
        assert not batch.strange
        self.lines = [_line(operation) for operation in batch.operations]
        self._answered = answered

    def answer(self, *results: bytes | None) -> None:
        """Answer it; None for what was refused."""
        self.results(*((REFUSED, b"") if reply is None else (REPLY, reply) for reply in results))

    def results(self, *results: tuple[int, bytes]) -> None:
        self._answered(Outcome.ANSWERED, encode_results(list(results)))

    def damaged(self, data: bytes) -> None:
        self._answered(Outcome.ANSWERED, data)

    def refuse(self) -> None:
        self._answered(Outcome.REFUSED, b"")

    def lose(self) -> None:
        self._answered(Outcome.UNKNOWN, b"")


def _line(operation: Operation) -> str:
    if operation[0] in (EXEC, READ_EXEC):
        return "; ".join(b" ".join(command[2]).decode() for command in operation[5])
    return b" ".join(operation[5]).decode() if operation[0] != LOCAL else "step"


class Way(SynchronousTestCase):
    """A forwarder among fakes."""

    #: Whether clients read what is applied on this store.
    local_reads = False

    def setUp(self) -> None:
        self.here = FakeHere()
        self.clock = Clock()
        self.leader: int | None = 2
        self.flights: list[Flight] = []
        self.answered = 0
        self.forwarder = Forwarder(
            region=1,
            here=self.here,
            links=self,
            leader_store=lambda: self.leader,
            own_store=OWN,
            clock=self.clock,
            request_timeout=5.0,
            answered=self._count,
            local_reads=self.local_reads,
        )
        self.forwarder.log = Logger(observer=LogPublisher())
        self.one = Asker(1)
        self.two = Asker(2)
        self.steps: list[str] = []

    def _count(self) -> None:
        self.answered += 1

    def forward(self, to: int, payload: bytes, answered: Callable[[Outcome, bytes], None]) -> None:
        self.flights.append(Flight(to, payload, answered))

    def take(self, *operations: Operation) -> None:
        self.forwarder.take(list(operations))

    def flight(self) -> Flight:
        """Take the oldest batch that nobody has looked at."""
        return self.flights.pop(0)

    def pass_time(self, seconds: float = 0.03) -> None:
        self.clock.pump([0.01] * round(seconds / 0.01))

    def step(self, name: str = "step") -> Operation:
        return self.one.step(lambda: self.steps.append(name))


class OwnWritesTests(Way):
    """Where reads are local, it's known whether what was done elsewhere is applied here."""

    local_reads = True

    def setUp(self) -> None:
        #: Whether that was so whenever clients were answered.
        self.told_behind: list[bool] = []
        super().setUp()

    def _count(self) -> None:
        super()._count()
        self.told_behind.append(self.forwarder.behind)

    def applied(self) -> None:
        """Let what was asked for be applied."""
        (operation,) = self.here.looks
        self.here.looks.clear()
        operation[5]()

    def test_until_it_is_applied_here(self) -> None:
        """Before the client hears that it was done."""
        self.take(self.one("SET a 1"))
        self.assertFalse(self.forwarder.behind)
        self.flight().answer(OK)
        self.assertEqual((self.told_behind, self.forwarder.behind), ([True], True))
        self.applied()
        self.assertFalse(self.forwarder.behind)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_is_done_meanwhile_is_asked_for_again(self) -> None:
        self.take(self.one("SET a 1"))
        self.flight().answer(OK)
        self.take(self.one("SET a 2"))
        self.flight().answer(OK)
        self.applied()
        self.assertTrue(self.forwarder.behind)
        self.applied()
        self.assertFalse(self.forwarder.behind)

    def test_reads_and_refusals_change_nothing(self) -> None:
        self.take(self.one("GET a"))
        self.flight().answer(OK)
        self.take(self.one("SET a 1"))
        self.flight().refuse()
        self.assertFalse(self.forwarder.behind)

    def test_what_may_have_been_done(self) -> None:
        self.take(self.one("SET a 1"))
        self.flight().lose()
        self.assertTrue(self.forwarder.behind)

    def test_nobody_to_ask(self) -> None:
        """It's asked until somebody leads."""
        self.here.can_look = False
        self.take(self.one("SET a 1"))
        self.flight().answer(OK)
        self.pass_time(0.5)
        self.assertTrue(self.forwarder.behind)
        self.here.can_look = True
        self.pass_time()
        self.applied()
        self.assertFalse(self.forwarder.behind)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_question_is_lost(self) -> None:
        self.take(self.one("SET a 1"))
        self.flight().answer(OK)
        self.forwarder.take_back([self.here.looks.pop()])
        self.assertTrue(self.forwarder.behind)
        self.pass_time()
        self.applied()
        self.assertFalse(self.forwarder.behind)

    def test_only_where_reads_are_local(self) -> None:
        self.local_reads = False
        self.setUp()
        self.take(self.one("SET a 1"))
        self.flight().answer(OK)
        self.assertEqual((self.forwarder.behind, self.here.looks), (False, []))


class OrderTests(Way):
    """In order, once."""

    def test_a_batch(self) -> None:
        self.take(self.one("SET a 1"), self.two("GET a"))
        flight = self.flight()
        self.assertEqual((flight.to, flight.generation, flight.lines), (2, 1, ["SET a 1", "GET a"]))
        self.assertTrue(self.forwarder.holds)
        flight.answer(OK, b"$1\r\n1\r\n")
        self.assertEqual((self.one.told, self.two.told), ([(0, OK)], [(0, b"$1\r\n1\r\n")]))
        self.assertEqual(self.answered, 1)
        self.assertFalse(self.forwarder.holds)
        self.assertEqual((self.forwarder.forwarded, self.forwarder.retried), (2, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_several_under_way(self) -> None:
        self.take(self.one("SET a 1"))
        self.take(self.one("SET a 2"))
        first, second = self.flights
        second.answer(OK)
        first.answer(OK)
        self.assertEqual(self.one.told, [(1, OK), (0, OK)])
        self.assertFalse(self.forwarder.holds)

    def test_a_refusal_waits_for_all_under_way(self) -> None:
        self.take(self.one("SET a 1"))
        self.take(self.one("SET a 2"))
        first, second = self.flights
        self.flights.clear()
        first.refuse()
        self.take(self.one("SET a 3"))
        self.pass_time(0.1)
        self.assertEqual(self.flights, [])
        second.refuse()
        self.pass_time()
        again = self.flight()
        self.assertEqual((again.generation, again.lines), (2, ["SET a 1", "SET a 2", "SET a 3"]))
        again.answer(OK, OK, OK)
        self.assertEqual(self.one.told, [(0, OK), (1, OK), (2, OK)])
        self.assertEqual(self.forwarder.retried, 2)

    def test_reads_are_put_off(self) -> None:
        """What the replies to others have no room for is asked for again, as often as it takes."""
        self.take(self.one("GET a"), self.one("GET b"), self.two("SET c 1"))
        self.take(self.one("GET c"), self.two("GET d"))
        first, second = self.flights
        self.flights.clear()
        first.results((REPLY, b"$1\r\na\r\n"), (PUT_OFF, b""), (REPLY, OK))
        second.results((PUT_OFF, b""), (PUT_OFF, b""))
        self.assertEqual((self.one.told, self.two.told), ([(0, b"$1\r\na\r\n")], [(0, OK)]))
        self.pass_time()
        again = self.flight()
        self.assertEqual((again.generation, again.lines), (2, ["GET b", "GET c", "GET d"]))

    def test_reads_that_are_put_off_mustnt_see_what_came_behind_them(self) -> None:
        self.take(self.one("GET a"), self.two("GET a"), self.one("SET a 1"), self.one("GET a"))
        self.take(self.two("SET a 2"))
        first, second = self.flights
        self.flights.clear()
        second.answer(OK)
        first.results((PUT_OFF, b""), (PUT_OFF, b""), (REPLY, OK), (PUT_OFF, b""))
        (told,) = [reply for number, reply in self.one.told if number == 0]
        self.assertTrue(told.startswith(b"-TRYAGAIN "))
        (told,) = [reply for number, reply in self.two.told if number == 0]
        self.assertTrue(told.startswith(b"-TRYAGAIN "))
        self.pass_time()
        self.assertEqual([flight.lines for flight in self.flights], [["GET a"]])
        self.flights[0].answer(b"$1\r\n2\r\n")
        self.assertEqual(self.one.told[-1], (2, b"$1\r\n2\r\n"))

    def test_reads_that_are_put_off_get_their_time(self) -> None:
        self.take(self.one("GET a"))
        for _ in range(4):
            self.pass_time(2)
            self.flight().results((PUT_OFF, b""))
            self.pass_time(0.1)
        self.assertEqual((self.one.told, len(self.flights)), ([], 1))

    def test_a_waiter_that_nobody_knows_of(self) -> None:
        """It may wait there, so that it has to be told that its client doesn't."""
        self.take(self.one("BLPOP l 0"))
        self.flight().results((UNKNOWN, b"-TIMEOUT x\r\n"))
        self.assertEqual(self.one.told, [(0, b"-TIMEOUT x\r\n")])
        self.assertEqual(self.flight().lines, ["wake 5 1 0 gone"])

    def test_a_part_is_refused(self) -> None:
        self.take(self.one("SET a 1"), self.two("SET b 1"), self.one("GET a"))
        self.flight().answer(None, OK, None)
        self.assertEqual(self.two.told, [(0, OK)])
        self.pass_time()
        again = self.flight()
        self.assertEqual((again.generation, again.lines), (2, ["SET a 1", "GET a"]))

    def test_refused_again_and_again(self) -> None:
        self.take(self.one("SET a 1"), self.one("SET a 2"))
        for generation in range(1, 20):
            flight = self.flight()
            self.assertEqual((flight.generation, flight.lines), (generation, ["SET a 1", "SET a 2"]))
            flight.refuse()
            self.pass_time()
        self.flight().answer(OK, OK)
        self.assertEqual(self.one.told, [(0, OK), (1, OK)])

    def test_limits_of_a_batch(self) -> None:
        self.take(*(self.one("GET a") for _ in range(BATCH_OPERATIONS + 1)))
        self.assertEqual([len(flight.lines) for flight in self.flights], [BATCH_OPERATIONS, 1])
        self.flights.clear()
        large = "x" * (BATCH_BYTES // 2)
        self.take(*(self.one(f"SET a {large}") for _ in range(5)))
        self.assertEqual([len(flight.lines) for flight in self.flights], [2, 2, 1])

    def test_a_closed_one_sends_nothing(self) -> None:
        self.take(self.one("SET a 1"))
        self.forwarder.close()
        self.flight().refuse()
        self.take(self.one("SET a 2"))
        self.pass_time(1)
        self.assertEqual((self.flights, self.clock.getDelayedCalls()), ([], []))

    def test_of_another_store(self) -> None:
        refused: list[int] = []

        class Batch:
            def done(self, place: int, status: int, data: bytes) -> None:
                refused.append(status)

        batch: Any = Batch()
        remote = RemoteClient(batch, 0, 2, 9)
        operation = (COMMANDS, remote, 0, 0, TABLE["set"], words("SET a 1"), b"")
        self.take(operation)
        self.forwarder.take_back([operation])
        self.assertEqual((refused, self.forwarder.holds), ([REFUSED, REFUSED], False))


class LeaderTests(Way):
    """Who leads, and who doesn't any more."""

    def test_nobody(self) -> None:
        self.leader = None
        self.take(self.one("SET a 1"))
        self.pass_time(4.9)
        self.assertEqual((self.one.told, self.flights), ([], []))
        self.pass_time(0.5)
        ((number, reply),) = self.one.told
        self.assertEqual(number, 0)
        self.assertTrue(reply.startswith(b"-CLUSTERDOWN "))
        self.assertFalse(self.forwarder.holds)
        self.leader = 2
        self.forwarder.leads(False)
        self.pass_time(1)
        self.assertEqual((self.flights, self.clock.getDelayedCalls()), ([], []))

    def test_what_came_since_the_region_was_narrowed(self) -> None:
        """It waits no longer than what came before, though that has no outcome."""
        self.take(self.one("SET a 1"))
        self.forwarder.narrowed((0, SLOTS), [])
        self.take(self.one("SET a 2"), self.step())
        self.pass_time(4.9)
        self.assertEqual((self.one.told, self.steps), ([], []))
        self.pass_time(0.5)
        ((number, reply),) = self.one.told
        self.assertEqual((number, reply.startswith(b"-CLUSTERDOWN "), self.steps), (1, True, ["step"]))

    def test_what_has_to_see_the_latest_state_is_refused(self) -> None:
        self.leader = None
        # An older version of a key would make EXEC abort without a cause, or not abort at all.
        self.take(self.one.look(b"a"), self.step())
        self.pass_time(5.5)
        self.assertEqual(self.steps, ["step"])
        ((_, reply),) = self.one.told
        self.assertTrue(reply.startswith(b"-CLUSTERDOWN "))

    def test_a_question_of_the_fronts(self) -> None:
        """It goes where the data is led; it's asked again when nobody knows what became of it."""
        self.take(self.one.look(b"a", b"b"))
        flight = self.flight()
        self.assertEqual(flight.lines, ["versions a b"])
        flight.lose()
        self.pass_time(0.1)
        self.flight().answer(b"*2\r\n:7\r\n:0\r\n")
        self.assertEqual(self.one.told, [(0, b"*2\r\n:7\r\n:0\r\n")])

    def test_what_the_store_wants_is_never_given_up(self) -> None:
        self.leader = None
        self.take((INTERNAL, NOBODY, 0, 0, None, [b"gone", b"4"], None), self.one("SET a 1"), self.step())
        self.pass_time(5.5)
        self.assertEqual(len(self.one.told), 1)
        self.assertEqual(self.steps, ["step"])
        self.leader = 3
        self.pass_time()
        self.assertEqual(self.flight().lines, ["gone 4"])

    def test_refusals_end_some_time(self) -> None:
        self.take(self.one("SET a 1"))
        for _ in range(400):
            if self.flights:
                self.flight().refuse()
            self.pass_time()
        self.assertTrue(self.one.told[0][1].startswith(b"-CLUSTERDOWN "))
        self.assertEqual(len(self.one.told), 1)

    def test_a_leader_appears(self) -> None:
        self.leader = None
        self.take(self.one("SET a 1"))
        self.pass_time(1)
        self.leader = 3
        self.pass_time()
        self.assertEqual(self.flight().to, 3)

    def test_another_leader_waits_for_the_batches_to_the_old_one(self) -> None:
        self.take(self.one("SET a 1"))
        self.leader = 3
        self.forwarder.leads(False)
        self.take(self.one("SET a 2"))
        self.pass_time(0.5)
        (old,) = self.flights
        self.flights.clear()
        old.answer(OK)
        self.pass_time()
        new = self.flight()
        self.assertEqual((new.to, new.lines), (3, ["SET a 2"]))

    def test_it_waits_only_a_little(self) -> None:
        self.take(self.one("SET a 1"), self.two("GET a"))
        self.leader = 3
        self.forwarder.leads(False)
        self.pass_time(GRACE_SECONDS - 0.1)
        self.assertEqual(len(self.flights), 1)
        self.pass_time(0.2)
        old, new = self.flights
        self.assertIn(b"outcome unknown", self.one.told[0][1])
        self.assertEqual((new.to, new.lines), (3, ["GET a"]))
        # What it says after all is too late.
        old.answer(OK, b"$-1\r\n")
        new.answer(b"$1\r\n1\r\n")
        self.assertEqual((len(self.one.told), self.two.told), (1, [(0, b"$1\r\n1\r\n")]))

    def test_nobody_leads_for_long(self) -> None:
        """Clients aren't let wait for a store that may never speak again."""
        self.take(self.one("SET a 1"), self.two("GET a"), self.one("BLPOP q 0"))
        self.leader = None
        self.forwarder.leads(False)
        self.pass_time(4.9)
        self.assertEqual((self.one.told, self.two.told), ([], []))
        self.pass_time(0.2)
        self.assertEqual([number for number, _ in self.one.told], [0, 1])
        self.assertIn(b"outcome unknown", self.one.told[0][1])
        self.pass_time(0.5)
        self.assertIn(b"nothing was done", self.two.told[0][1])
        # It's there again.
        (old,) = self.flights
        self.flights.clear()
        self.leader = 2
        self.forwarder.leads(False)
        self.pass_time()
        self.assertEqual(self.flight().lines, ["wake 5 1 1 gone"])
        old.results((REPLY, OK), (REPLY, b"$1\r\n1\r\n"), (WAITS, encode_timeout(0)))
        self.assertEqual((len(self.one.told), len(self.two.told), self.one.waiting), (2, 1, []))

    def test_what_was_sent_later_is_waited_for(self) -> None:
        self.take(self.one("SET a 1"))
        self.pass_time(3)
        self.take(self.two("SET b 1"))
        self.leader = None
        self.forwarder.leads(False)
        self.pass_time(2.5)
        self.assertEqual((len(self.one.told), self.two.told), (1, []))
        self.flights[1].answer(OK)
        self.assertEqual(self.two.told, [(0, OK)])

    def test_a_leader_that_is_slow_is_waited_for(self) -> None:
        """It says itself what it gives up."""
        self.take(self.one("SET a 1"))
        self.pass_time(20)
        self.assertEqual(self.one.told, [])

    def test_it_leads_again(self) -> None:
        self.take(self.one("SET a 1"))
        self.leader = 3
        self.forwarder.leads(False)
        self.pass_time(GRACE_SECONDS - 0.1)
        self.leader = 2
        self.forwarder.leads(False)
        self.pass_time(5)
        self.assertEqual((self.one.told, len(self.flights)), ([], 1))

    def test_this_store_leads(self) -> None:
        self.leader = None
        self.take(self.one("SET a 1"))
        self.here.submitted = [self.one("SET a 2")]
        self.leader, self.here.ready = OWN, True
        self.forwarder.leads(True)
        self.pass_time()
        self.assertEqual(list(map(_line, self.here.submitted)), ["SET a 1", "SET a 2"])
        self.assertFalse(self.forwarder.holds)

    def test_this_store_leads_while_a_batch_is_under_way(self) -> None:
        self.take(self.one("SET a 1"))
        self.leader, self.here.ready = OWN, True
        self.forwarder.leads(True)
        self.assertTrue(self.forwarder.holds)
        self.take(self.one("SET a 2"))
        self.pass_time(0.1)
        self.assertEqual(self.here.submitted, [])
        self.flight().refuse()
        self.pass_time()
        self.assertEqual(list(map(_line, self.here.submitted)), ["SET a 1", "SET a 2"])

    def test_what_is_undone(self) -> None:
        """What waits, and what was refused; what is under way may be done."""
        self.take(self.one("SET a 1"))
        self.take(self.two("SET a 2"))
        first, second = self.flights
        self.flights.clear()
        first.refuse()
        self.take(self.one("SET a 3"))
        self.assertEqual(list(map(_line, self.forwarder.undone())), ["SET a 1", "SET a 3"])
        second.answer(OK)
        self.assertEqual(list(map(_line, self.forwarder.undone())), ["SET a 1", "SET a 3"])
        self.pass_time()
        self.assertEqual((self.flight().lines, self.forwarder.undone()), (["SET a 1", "SET a 3"], []))

    def test_given_up_here(self) -> None:
        self.here.unresolved = True
        self.take(self.one("SET a 4"))
        self.pass_time(0.1)
        self.assertEqual(self.flights, [])
        self.forwarder.take_back([self.one("SET a 1"), self.one("SET a 2")])
        self.forwarder.take_back([self.one("SET a 3")])
        self.here.unresolved = False
        self.pass_time()
        self.assertEqual(self.flight().lines, [f"SET a {number}" for number in (1, 2, 3, 4)])
        self.here.unresolved = True
        self.take(self.one("SET a 6"))
        self.forwarder.take_back([self.one("SET a 5")])
        self.here.unresolved = False
        self.pass_time()
        self.assertEqual(self.flight().lines, ["SET a 5", "SET a 6"])


class ErrorTests(Way):
    """Errors are counted where their client is."""

    def setUp(self) -> None:
        super().setUp()
        self.failed: list[tuple[int, str, bytes]] = []
        self.forwarder.failed = lambda client, name, text: self.failed.append((client.client_id, name, text))

    def test_a_command(self) -> None:
        self.take(self.one("SET a 1"), self.two("INCR a"), self.one("GET a"))
        self.flight().answer(OK, b"-ERR no\r\n", b"$-1\r\n")
        self.assertEqual(self.failed, [(2, "incr", b"ERR no\r\n")])

    def test_a_transaction(self) -> None:
        """Its own error, or those of its commands on data; what a value holds is no error."""
        commands: list[Any] = [
            (0, lookup([b"get"], TABLE), [b"get", b"a"], None),
            (0, None, [b"ping"], lambda: b"+PONG\r\n"),
            (0, lookup([b"incr"], TABLE), [b"incr", b"a"], None),
        ]
        for reply, failed in (
            (b"*2\r\n$4\r\n\r\n-x\r\n:1\r\n", []),
            (b"*2\r\n$1\r\nx\r\n-ERR no\r\n", [(1, "incr", b"ERR no\r\n")]),
            (b"-OOM no\r\n", [(1, "exec", b"OOM no\r\n")]),
        ):
            self.failed.clear()
            self.take((EXEC, self.one, 0, 0, None, commands, []))
            self.flight().answer(reply)
            self.assertEqual(self.failed, failed)


class UnknownTests(Way):
    """What may have been done."""

    def test_writes_are_never_repeated(self) -> None:
        self.take(self.one("SET a 1"), self.one("BLPOP q 0"))
        self.flight().lose()
        self.assertEqual([number for number, _ in self.one.told], [0, 1])
        for _, reply in self.one.told:
            self.assertTrue(reply.startswith(b"-TIMEOUT ") and b"unknown" in reply)
        self.pass_time()
        # But nobody is to pop anything for who may wait there.
        self.assertEqual(self.flight().lines, ["wake 5 1 1 gone"])

    def test_reads_are(self) -> None:
        self.take(self.one("GET a"), self.two("SET a 1"), (INTERNAL, NOBODY, 0, 0, None, [b"gone", b"4"], None))
        self.flight().lose()
        self.assertEqual((len(self.one.told), len(self.two.told)), (0, 1))
        self.pass_time()
        self.assertEqual(self.flight().lines, ["GET a", "gone 4"])

    def test_but_not_where_they_could_see_the_future(self) -> None:
        self.take(self.one("GET a"), self.two("GET a"), self.one("SET a 1"), self.one("GET a"))
        self.take(self.two("SET a 2"))
        first, second = self.flights
        self.flights.clear()
        first.lose()
        second.lose()
        self.assertEqual([number for number, _ in self.one.told], [1, 0])
        self.assertEqual(sorted(number for number, _ in self.two.told), [0, 1])
        self.pass_time()
        self.assertEqual(self.flight().lines, ["GET a"])

    def test_nor_where_a_part_could(self) -> None:
        # Parts of a spread command come from objects of their own, which name the same client.
        part = Asker(self.one.client_id)
        self.take(part("MGET a"), self.one("SET a 1"))
        self.flight().lose()
        (reply,) = (reply for _, reply in part.told)
        self.assertTrue(reply.startswith(b"-TIMEOUT ") and b"unknown" in reply)
        self.pass_time()
        self.assertEqual(self.flights, [])

    def test_a_late_word_that_someone_waits(self) -> None:
        self.take(self.one("BLPOP q 0"))
        self.leader = 3
        self.forwarder.leads(False)
        self.pass_time(GRACE_SECONDS + 0.1)
        old, wake = self.flights
        self.assertEqual(wake.lines, ["wake 5 1 0 gone"])
        self.flights.clear()
        wake.answer(OK)
        old.results((WAITS, encode_timeout(0)))
        self.assertEqual((self.one.waiting, len(self.one.told)), ([], 1))
        self.assertEqual(self.flight().lines, ["wake 5 1 0 gone"])

    def test_an_answer_that_cannot_be_read(self) -> None:
        for data in (b"x", b"", encode_results([(REPLY, OK)] * 2), encode_results([(WAITS, b"")])):
            self.take(self.one("SET a 1"))
            self.flight().damaged(data)
            self.assertIn(b"unknown", self.one.told.pop()[1])
        self.take(self.one("SET a 1"))
        self.flight().results((WAITS, encode_timeout(0)))
        self.assertIn(b"unknown", self.one.told.pop()[1])


class WaiterTests(Way):
    """Blocking commands."""

    def test_waits(self) -> None:
        self.take(self.one("BLPOP q 1"))
        self.flight().results((WAITS, encode_timeout(1000)))
        self.assertEqual((self.one.waiting, self.one.told), ([(0, 1000)], []))
        self.assertFalse(self.forwarder.holds)
        # Whatever serves it is to be applied as soon as it's decided.
        self.assertEqual(self.here.hurried, 1)

    def test_served_at_once(self) -> None:
        self.take(self.one("BLPOP q 1"))
        self.flight().answer(b"*0\r\n")
        self.assertEqual((self.one.waiting, self.one.told), ([], [(0, b"*0\r\n")]))

    def test_refused(self) -> None:
        self.take(self.one("BLPOP q 1"))
        self.flight().refuse()
        self.pass_time()
        self.assertEqual(self.flight().lines, ["BLPOP q 1"])


class StepTests(Way):
    """Steps of the front's, in their place."""

    def test_between_commands(self) -> None:
        self.take(self.one("SET a 1"), self.step(), self.one("SET a 2"))
        first = self.flight()
        self.pass_time(0.1)
        self.assertEqual((first.lines, self.here.looks), (["SET a 1"], []))
        first.answer(OK)
        (look,) = self.here.looks
        self.pass_time(0.1)
        self.assertEqual((self.flights, self.steps), ([], []))
        self.assertTrue(self.forwarder.holds)
        look[5]()
        self.assertEqual(self.steps, ["step"])
        self.pass_time()
        self.assertEqual(self.flight().lines, ["SET a 2"])

    def test_it_cannot_be_asked(self) -> None:
        self.here.can_look = False
        self.take(self.step("a"), self.step("b"))
        self.pass_time(0.1)
        self.here.can_look = True
        self.pass_time()
        (look,) = self.here.looks
        look[5]()
        self.pass_time()
        self.here.looks[1][5]()
        self.assertEqual(self.steps, ["a", "b"])
        self.assertFalse(self.forwarder.holds)

    def test_the_question_is_lost(self) -> None:
        self.take(self.step(), self.one("SET a 2"))
        (look,) = self.here.looks
        self.leader = None
        self.forwarder.take_back([look])
        self.leader, self.here.ready = OWN, True
        self.pass_time()
        self.assertEqual(list(map(_line, self.here.submitted)), ["step", "SET a 2"])
        self.here.submitted[0][5]()
        self.assertEqual(self.steps, ["step"])
        self.assertFalse(self.forwarder.holds)

    def test_others_are_given_back_meanwhile(self) -> None:
        self.take(self.step(), self.one("SET a 2"))
        (look,) = self.here.looks
        self.forwarder.take_back([self.two("SET b 1")])
        self.pass_time(0.1)
        self.assertEqual(self.flights, [])
        look[5]()
        self.pass_time()
        self.assertEqual(self.flight().lines, ["SET b 1", "SET a 2"])

    def test_nobody_leads(self) -> None:
        self.here.can_look = False
        self.take(self.step())
        self.pass_time(5.5)
        self.assertEqual((self.steps, self.forwarder.holds), (["step"], False))


class TransactionTests(Way):
    """MULTI and EXEC."""

    def exec(self, *lines: str, kind: int = EXEC) -> None:
        commands: list[Any] = []
        for line in lines:
            if line.isupper():
                commands.append((0, None, [], lambda line=line: b"+" + line.encode() + b"\r\n"))
            else:
                commands.append((0, lookup(words(line), TABLE), words(line), None))
        self.take((kind, self.one, 0, 0, None, commands, [] if kind == EXEC else None))

    def told(self, reply: bytes) -> bytes:
        self.flight().answer(reply)
        ((_, told),) = self.one.told
        self.one.told.clear()
        return told

    def test_commands_about_the_connection(self) -> None:
        self.exec("PING", "set a 1", "PING", "get a", "SELECT")
        self.assertEqual(self.flights[0].lines, ["set a 1; get a"])
        told = self.told(replies.array([OK, b"$1\r\n1\r\n"]))
        self.assertEqual(told, replies.array([b"+PING\r\n", OK, b"+PING\r\n", b"$1\r\n1\r\n", b"+SELECT\r\n"]))

    def test_nothing_was_done(self) -> None:
        for reply in (b"*-1\r\n", b"_\r\n", b"-OOM no\r\n"):
            self.exec("PING", "set a 1")
            self.assertEqual(self.told(reply), reply)

    def test_only_reads(self) -> None:
        self.exec("get a", "PING", kind=READ_EXEC)
        self.assertEqual(self.told(replies.array([b"_\r\n"])), replies.array([b"_\r\n", b"+PING\r\n"]))

    def test_not_as_many_replies(self) -> None:
        for reply in (replies.array([]), replies.array([OK, OK]), b"*1\r\n", b"*1\r\n$5\r\n"):
            self.exec("PING", "set a 1")
            self.assertIn(b"outcome unknown", self.told(reply))


class Answer:
    """Where the answer to a batch goes."""

    crowded = False

    def __init__(self) -> None:
        self.told: list[Any] = []

    def answer(self, payload: bytes) -> None:
        self.told.append(payload)

    def refuse(self, payload: bytes) -> None:
        self.told.append(Outcome.REFUSED)

    def unknown(self) -> None:
        self.told.append(Outcome.UNKNOWN)


class ReceiverTests(SynchronousTestCase):
    """L{Receiver}."""

    def setUp(self) -> None:
        self.here = FakeHere()
        self.here.ready = True
        self.clock = Clock()
        self.notices = Notices(self.clock, PeerFigures())
        self.receiver = Receiver(here=self.here, table=TABLE, notices=self.notices)
        self.logged: list[LogEvent] = []
        self.notices.log = Logger(observer=self.logged.append)
        self.one = Asker()

    def test_batches_that_cant_be_read_are_told_of_once_a_minute(self) -> None:
        for _ in range(3):
            self.assertEqual(self.raw(b"x").told, [Outcome.UNKNOWN])
        self.assertEqual(len(self.logged), 1)
        self.raw(b"x", store=3)
        self.assertEqual(len(self.logged), 2)
        self.clock.advance(NOTICE_SECONDS)
        self.raw(b"x")
        self.assertEqual(len(self.logged), 3)

    def send(self, *operations: Operation, store: int = 2, start_id: int = 7, generation: int = 1) -> Answer:
        return self.raw(encode_batch(1, 1, start_id, generation, list(operations)), store)

    def raw(self, payload: bytes, store: int = 2) -> Answer:
        answer = Answer()
        self.receiver.forwarded(store, payload, answer)
        return answer

    def take(self) -> Operation:
        return self.here.submitted.pop(0)

    def test_in_order(self) -> None:
        answer = self.send(self.one("SET a 1"), self.one("GET a"))
        first, second = self.take(), self.take()
        self.assertEqual([_line(first), _line(second)], ["SET a 1", "GET a"])
        second[1].answer(second[2], b"$1\r\n1\r\n")
        self.assertEqual(answer.told, [])
        first[1].answer(first[2], OK)
        self.assertEqual(answer.told, [encode_results([(REPLY, OK), (REPLY, b"$1\r\n1\r\n")])])

    def test_a_fresh_read(self) -> None:
        read = (*self.one("GET a")[:6], True)
        self.assertEqual(self.send(read).told, [encode_results([(REPLY, b":1\r\n")])])
        self.here.reply = None
        answer = self.send(read)
        self.assertEqual(answer.told, [])
        self.take()[1].answer(0, b":2\r\n")
        self.assertEqual(answer.told, [encode_results([(REPLY, b":2\r\n")])])

    def test_a_waiter(self) -> None:
        answer = self.send(self.one("BLPOP q 0"))
        operation = self.take()
        self.assertEqual(operation[6], (7, 1, 0))
        operation[1].waits(0, 1500)
        self.assertEqual(answer.told, [encode_results([(WAITS, encode_timeout(1500))])])
        # Its store answers it from its own log.
        operation[1].answer(0, b"*0\r\n")
        self.assertEqual(len(answer.told), 1)

    def test_not_the_leader(self) -> None:
        self.here.ready = False
        self.assertEqual(self.send(self.one("SET a 1")).told, [Outcome.REFUSED])
        self.here.ready = True
        # What was under way behind it would overtake it.
        self.assertEqual(self.send(self.one("SET a 2")).told, [Outcome.REFUSED])
        self.assertEqual(self.here.submitted, [])
        self.assertEqual(self.send(self.one("SET a 1"), generation=2).told, [])
        self.assertEqual(self.send(self.one("SET b 1"), start_id=8).told, [])
        self.assertEqual(self.send(self.one("SET b 1"), store=3).told, [])

    def test_behind_one_whose_keys_lie_elsewhere(self) -> None:
        self.here.lost.add(b"b")
        answer = self.send(self.one("SET a 1"), self.one("SET b 2"), self.one("SET a 3"))
        operation = self.take()
        self.assertEqual((_line(operation), self.here.submitted), ("SET a 1", []))
        operation[1].answer(0, OK)
        self.assertEqual(answer.told, [encode_results([(REPLY, OK), (REFUSED, b""), (REFUSED, b"")])])

    def test_the_leader_is_about_to_end(self) -> None:
        self.here.closing = True
        self.assertEqual(self.send(self.one("SET a 1")).told, [Outcome.REFUSED])
        self.assertEqual(self.here.submitted, [])

    def test_refused_later(self) -> None:
        answer = self.send(self.one("SET a 1"), self.one("SET a 2"))
        first, second = self.take(), self.take()
        first[1].answer(0, OK)
        second[1].refuse()
        self.assertEqual(answer.told, [encode_results([(REPLY, OK), (REFUSED, b"")])])
        self.assertEqual(self.send(self.one("SET a 3")).told, [Outcome.REFUSED])
        self.assertEqual(self.send(self.one("SET a 2"), generation=2).told, [])

    def test_refusals_of_many_are_remembered(self) -> None:
        self.here.ready = False
        for store in range(100):
            self.send(self.one("SET a 1"), store=store)
        self.here.ready = True
        self.assertEqual(self.send(self.one("SET a 1"), store=99).told, [Outcome.REFUSED])
        self.assertEqual(self.send(self.one("SET a 1"), store=36).told, [Outcome.REFUSED])

    def test_crowded(self) -> None:
        answer = Answer()
        answer.crowded = True
        self.receiver.forwarded(2, encode_batch(1, 1, 7, 1, [self.one("SET a 1")]), answer)
        self.assertEqual((answer.told, self.here.submitted), ([Outcome.REFUSED], []))

    def test_the_disk_is_full(self) -> None:
        self.here.full = b"-OOM no\r\n"
        answer = self.send(self.one("SET a 1"), self.one("BLPOP q 0"), transaction("GET a", "SET a 1"))
        self.assertEqual(answer.told, [encode_results([(REPLY, b"-OOM no\r\n")] * 3)])
        self.send(self.one("GET a"), transaction("GET a"), transaction("GET a", kind=READ_EXEC))
        self.assertEqual(len(self.here.submitted), 3)

    def test_a_command_of_another_version(self) -> None:
        strange = (COMMANDS, self.one, 0, 0, None, [], encode_command(words("NEWCOMMAND a")))
        answer = self.send(strange, self.one("SET a 1"))
        self.take()[1].answer(1, OK)
        (told,) = answer.told
        self.assertIn(b"-ERR the store that leads runs another version", told)
        self.assertIn(OK, told)

    def test_nothing(self) -> None:
        self.assertEqual(self.send().told, [b""])

    def test_damaged(self) -> None:
        good = encode_batch(1, 1, 7, 1, [self.one("SET a 1")])
        for bad in (b"", good[:15], good[:-1], good[:16] + b"x"):
            self.assertEqual(self.raw(bad).told, [Outcome.UNKNOWN])
        self.assertEqual(self.here.submitted, [])

    @given(st.binary(max_size=80))
    def test_any_bytes(self, data: bytes) -> None:
        for payload in (data, b"\0" * 15 + b"\1" + data):
            self.here.submitted.clear()
            answer = self.raw(payload)
            self.assertTrue(answer.told or self.here.submitted)

    @given(st.sampled_from((COMMANDS, WAITING, EXEC, INTERNAL, READ, READ_EXEC)), st.data())
    def test_any_operation(self, kind: int, data: Any) -> None:
        body = encode_command(words("SET a 1"))
        if kind in (EXEC, READ_EXEC):
            body = encode_transaction([(0, TABLE["set"], words("SET a 1"), None)], [(0, b"k", 1)])
        bad = bytearray(raw(kind, body))
        for _ in range(data.draw(st.integers(0, 4))):
            bad[data.draw(st.integers(16, len(bad) - 1))] = data.draw(st.integers(0, 255))
        self.here.submitted.clear()
        answer = self.raw(bytes(bad))
        self.assertTrue(answer.told or self.here.submitted)
