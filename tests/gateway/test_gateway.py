"""A gateway in memory: a front with its clients, and stores that a test speaks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.server.harness import Client
from tinykv.errors import ScheduleUnavailable
from tinykv.gateway.config import GatewayConfig
from tinykv.gateway.gateway import CHECK_SECONDS, ROUTES_SECONDS, SCHEDULE_SECONDS, Gateway, Place
from tinykv.gateway.regions import DistantRegion, Forwards
from tinykv.gateway.waiters import ASKED_MOST, GRACE_SECONDS
from tinykv.interfaces import IPeerHandler, IRegionHost, Outcome
from tinykv.keys import SLOTS, slot_of
from tinykv.redis.forwarded import (
    REFUSED,
    REPLY,
    WAITS,
    decode_batch,
    decode_origin,
    encode_results,
    encode_timeout,
    encode_woken,
    region_of,
)
from tinykv.redis.operations import INTERNAL, LOOK, NOBODY, READ, WAITING, Operation
from tinykv.redis.ownership import NOT_HERE
from tinykv.region.routes import Route, encode_routes
from tinykv.resp import replies
from tinykv.server.commands import CONNECTION_MODULES
from tinykv.server.front import Front
from tinykv.server.router import Router
from tinykv.store.forwarding import Forwarder
from tinykv.testing.embedded import TABLE

RUN = (1 << 63) | 7
OK = b"+OK\r\n"
ONE = [Route(1, 0, SLOTS, 1, 1, 1)]


class Batch:
    """What a store was sent."""

    def __init__(self, store: int, payload: bytes, answered: Callable[[Outcome, bytes], None]) -> None:
        self.store = store
        self.payload = payload
        self.region = region_of(payload)
        self.generation = 0
        self.operations: list[Operation] = []
        #: Who sent each: client and number.
        self.senders: list[tuple[int, int]] = []
        if self.region:
            self.operations = decode_batch(payload, TABLE, self._sender).operations
            self.generation = decode_origin(payload)[1]
        self.answered = answered

    def _sender(self, place: int, proto: int, client_id: int) -> Any:
        self.senders.append((client_id, proto))
        return NOBODY

    @property
    def lines(self) -> list[str]:
        """The commands in words."""
        return [b" ".join(operation[5]).decode() for operation in self.operations]

    def answer(self, *results: bytes) -> None:
        """Answer each."""
        self.answered(Outcome.ANSWERED, encode_results([(REPLY, result) for result in results]))


class FakeLinks:
    """Links to stores that are up as a test says."""

    def __init__(self) -> None:
        self.reached: set[int] = set()
        self.known: dict[int, str] = {}
        self.batches: list[Batch] = []
        self.questions: list[Batch] = []
        self.kept: set[int] = set()

    def connect(self, store_id: int, address: str) -> None:
        """Note it."""
        self.known[store_id] = address

    def keep(self, store_ids: set[int]) -> None:
        """Note it."""
        self.kept = store_ids

    def forward(self, store_id: int, payload: bytes, answered: Callable[[Outcome, bytes], None]) -> None:
        """Keep it for the test."""
        batch = Batch(store_id, payload, answered)
        (self.batches if batch.region else self.questions).append(batch)

    def is_up(self, store_id: int) -> bool:
        """Say as the test does."""
        return store_id in self.reached

    @property
    def up(self) -> list[int]:
        """The same."""
        return sorted(self.reached)


class GatewayCase(SynchronousTestCase):
    """A gateway and three stores."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.links = FakeLinks()
        self.front: Front | None = None
        self.places: list[Place] = []
        self.begin()

    def begin(self, scheduled: Callable[[], Deferred[Mapping[int, str]]] | None = None) -> None:
        """Make it."""
        self.gateway = Gateway(
            start_id=RUN,
            links=self.links,
            clock=self.clock,
            request_timeout=5.0,
            answered=self.answered,
            forwarder=self.forwarder,
            scheduled=scheduled,
        )
        self.gateway.routed = self.routed
        self.gateway.start({1: "a:1"})

    def answered(self) -> None:
        """Let clients have their replies."""
        if self.front is not None:
            self.front.flush()

    def forwarder(self, region: DistantRegion, leader: Callable[[], int | None]) -> Forwards:
        """Make the way to whoever leads."""
        forwarder = Forwarder(
            region=region.region,
            here=region,
            links=self.links,
            leader_store=leader,
            own_store=0,
            clock=self.clock,
            request_timeout=5.0,
            answered=self.answered,
        )
        forwarder.refused = self.gateway.told
        forwarder.astray = self.gateway.went_astray
        return forwarder

    def routed(self, places: list[Place]) -> None:
        """Make the front, or let it know."""
        self.places = places
        if self.front is not None:
            self.router.route(places)
            return
        self.gateway.way = self.router = Router(places, Random(1).randrange)
        self.front = Front(
            self.router,
            TABLE,
            CONNECTION_MODULES,
            config=GatewayConfig(),
            clock=self.clock,
            now=self.clock.seconds,
            shutdown=lambda: None,
        )

    def turn(self, seconds: float = 0) -> None:
        """Do what is due; with C{seconds}, let time pass first."""
        while seconds > 0:
            self.clock.advance(min(seconds, 0.05))
            seconds -= 0.05
        self.clock.advance(0)

    def say(self, routes: list[Route], *stores: int) -> None:
        """Let stores be reached, and answer all questions with these routes."""
        for store in stores:
            self.links.reached.add(store)
            self.gateway.link_up(store)
        self.answer(routes)

    def answer(self, routes: list[Route]) -> None:
        """Answer all questions."""
        text = encode_routes(routes, {1: "a:1", 2: "b:2", 3: "c:3"})
        questions, self.links.questions = self.links.questions, []
        for question in questions:
            question.answered(Outcome.REFUSED, text)

    def connect(self) -> Client:
        """Connect a client."""
        assert self.front is not None
        session = self.front.session(tls=False)
        transport = StringTransport()
        transport.peerAddr = transport.hostAddr = IPv4Address("TCP", "127.0.0.1", 6379)
        client = Client(self, session, transport)  # type: ignore[arg-type]  # it needs what lets time pass
        session.makeConnection(transport)
        return client

    def batch(self) -> Batch:
        """Take the oldest batch."""
        return self.links.batches.pop(0)

    def began(self) -> Client:
        """Begin with one region, which store 1 leads, and give a client."""
        self.say(ONE, 1, 2, 3)
        return self.connect()


class RoutingTests(GatewayCase):
    """Where commands go."""

    def test_contracts(self) -> None:
        self.assertEqual(self.gateway.problem, "no store is reached")
        self.links.reached.add(1)
        self.assertEqual(self.gateway.problem, "no store has said which regions there are")
        self.say(ONE, 1)
        verifyObject(IPeerHandler, self.gateway)
        verifyObject(IRegionHost, self.gateway.regions[1])
        self.assertIsNone(self.gateway.problem)
        self.links.reached.clear()
        self.assertEqual(self.gateway.problem, "no store is reached")

    def test_a_command(self) -> None:
        client = self.began()
        self.assertEqual(self.links.known, {1: "a:1", 2: "b:2", 3: "c:3"})
        self.assertEqual(client.says(b"SET a 1", b"GET a", b"PING"), b"")
        batch = self.batch()
        self.assertEqual((batch.store, batch.lines), (1, ["SET a 1", "GET a"]))
        self.assertTrue(self.gateway.holds)
        batch.answer(OK, b"$1\r\n1\r\n")
        self.turn()
        self.assertEqual(client.taken(), OK + b"$1\r\n1\r\n+PONG\r\n")
        self.assertFalse(self.gateway.holds)

    def test_another_leads(self) -> None:
        """The refusal says who; nothing was done, so it's done there."""
        client = self.began()
        client.pipeline(b"SET a 1")
        self.turn()
        self.batch().answered(Outcome.REFUSED, encode_routes([Route(1, 0, SLOTS, 1, 2, 3)], {}))
        self.turn(0.1)
        batch = self.batch()
        self.assertEqual((batch.store, batch.lines), (3, ["SET a 1"]))
        batch.answer(OK)
        self.assertEqual(client.taken(), OK)

    def test_the_leader_is_lost(self) -> None:
        """What may have been done is said so; what comes then waits for another leader, reads too."""
        client, reader = self.began(), self.connect()
        client.pipeline(b"SET a 1")
        reader.pipeline(b"GET a")
        self.turn()
        lost = self.batch()
        self.links.reached.remove(1)
        lost.answered(Outcome.UNKNOWN, b"")
        self.gateway.link_down(1)
        self.assertIn(b"outcome unknown", client.taken())
        client.pipeline(b"SET a 2")
        self.turn(0.5)
        self.assertEqual(self.links.batches, [])
        self.assertEqual(self.gateway.problem, "1 of 1 regions have no leader that is reached")
        self.assertEqual({question.store for question in self.links.questions}, {2, 3})
        self.answer([Route(1, 0, SLOTS, 1, 2, 2)])
        self.turn(0.1)
        batch = self.batch()
        self.assertEqual((batch.store, batch.lines), (2, ["GET a", "SET a 2"]))
        batch.answer(b"$-1\r\n", OK)
        self.assertEqual((reader.taken(), client.taken()), (b"$-1\r\n", OK))

    def test_nobody_leads(self) -> None:
        client = self.began()
        self.links.reached.remove(1)
        client.pipeline(b"SET a 1")
        self.turn(6)
        self.assertTrue(client.taken().startswith(b"-CLUSTERDOWN "))

    def test_a_leader_that_does_not_answer(self) -> None:
        """The others are asked; when one says that it leads what is under way isn't waited for."""
        client = self.began()
        client.pipeline(b"SET a 1")
        self.turn(0.5)
        self.assertEqual({question.store for question in self.links.questions}, {1, 2, 3})
        self.answer([Route(1, 0, SLOTS, 1, 2, 2)])
        self.turn(2)
        self.assertIn(b"outcome unknown", client.taken())
        client.pipeline(b"GET a")
        self.turn(0.1)
        self.assertEqual([batch.store for batch in self.links.batches], [1, 2])

    def test_one_store_is_asked_now_and_then(self) -> None:
        self.began()
        self.turn(3 * ROUTES_SECONDS + 1)
        self.assertEqual(len(self.links.questions), 3)
        self.assertEqual(len({question.store for question in self.links.questions}), 3)

    def test_what_is_not_understood(self) -> None:
        self.began()
        for text in (b"region 1", b"store 9 nowhere", b"\xff"):
            self.gateway.told(2, text)
        self.assertEqual(self.gateway.leader(1), 1)
        self.gateway.pushed(2, b"short")
        self.gateway.told(2, b"")
        self.assertNotIn(9, self.links.known)

    def test_a_transaction(self) -> None:
        client = self.began()
        client.pipeline(b"WATCH a", b"MULTI", b"INCR a", b"PING", b"EXEC")
        self.turn()
        batch = self.batch()
        self.assertEqual((batch.operations[0][0], batch.lines), (LOOK, ["versions a"]))
        batch.answer(b"*1\r\n:9\r\n")
        self.turn()
        (operation,) = self.batch_operations()
        self.assertEqual(operation[6], [(0, b"a", 9)])
        self.last.answer(b"*1\r\n:5\r\n")
        self.assertEqual(client.taken(), OK + OK + b"+QUEUED\r\n" * 2 + b"*2\r\n:5\r\n+PONG\r\n")

    def batch_operations(self) -> list[Operation]:
        """Take a batch, and give its operations."""
        self.last = self.batch()
        return self.last.operations

    def test_a_setting(self) -> None:
        """What the stores share is changed there, and what is the front's own along with it, if that was done."""
        client = self.began()
        assert self.front is not None
        for reply, timeout in ((b"-OOM no\r\n", 0), (OK, 7)):
            client.pipeline(b"CONFIG SET timeout 7 hash-max-listpack-entries 2 proto-max-bulk-len 2mb")
            self.turn(0.05)
            batch = self.batch()
            self.assertEqual(batch.lines, ["CONFIG SET hash-max-listpack-entries 2 proto-max-bulk-len 2097152"])
            batch.answer(reply)
            self.turn(0.05)
            self.assertEqual((client.taken(), self.front.timeout), (reply, timeout))
        self.assertEqual(self.front.limits.bulk_bytes, 2 << 20)
        self.assertEqual(client.says(b"CONFIG SET timeout 8"), OK)

    def test_the_stores_settings(self) -> None:
        """They're asked for; what is a store's own isn't made up, and what is the gateway's needs no store."""
        client = self.began()
        own = b"*4\r\n$10\r\nmaxclients\r\n$5\r\n10000\r\n$7\r\ntimeout\r\n$1\r\n0\r\n"
        self.assertEqual(client.says(b"CONFIG GET maxclients timeout dir hz appendfsync active-expire-effort"), own)
        unknown = b"-ERR Unknown option or number of arguments for CONFIG SET - 'hz'\r\n"
        self.assertEqual(client.says(b"CONFIG SET hz 20"), unknown)
        client.pipeline(b"CONFIG GET zset-max-ziplist-value maxclients", b"CONFIG SET maxclients 9")
        self.turn()
        batch = self.batch()
        self.assertEqual(batch.lines, ["CONFIG GET *"])
        self.assertEqual(batch.operations[0][0], READ)
        batch.answer(replies.bulks([b"hash-max-listpack-value", b"5", b"zset-max-listpack-value", b"7"]))
        self.turn()
        shown = replies.bulks([b"maxclients", b"10000", b"zset-max-ziplist-value", b"7"])
        self.assertEqual(client.taken(), shown + OK)

    def test_settings_in_a_transaction(self) -> None:
        """Its replies are there at once, so what only the stores know isn't shown."""
        client = self.began()
        client.says(b"MULTI", b"CONFIG GET zset-max-listpack-value timeout", b"INFO keyspace")
        client.pipeline(b"EXEC")
        self.turn()
        self.batch().answer(b"*0\r\n")
        self.turn()
        timeout = replies.bulks([b"timeout", b"0"])
        self.assertEqual(client.taken(), b"*2\r\n%b$12\r\n# Keyspace\r\n\r\n" % timeout)

    def test_settings_that_cannot_be_asked(self) -> None:
        client = self.began()
        self.links.reached.remove(1)
        client.pipeline(b"CONFIG GET zset*", b"PING")
        self.turn(6)
        self.assertRegex(client.taken(), rb"^-CLUSTERDOWN [^\r]+\r\n\+PONG\r\n$")

    def test_keys_of_all_regions(self) -> None:
        self.say([Route(1, 0, 100, 2, 1, 1), Route(5, 100, SLOTS, 2, 1, 2)], 1, 2, 3)
        client = self.connect()
        client.pipeline(b"INFO keyspace", b"PING")
        self.turn()
        for counts in ([3, 1, 0, 0, 4, 0], [5, 0, 0, 0, 0, 0]):
            batch = self.batch()
            self.assertEqual(batch.lines, ["INFO keyspace"])
            batch.answer(replies.array([replies.integer(count) for count in counts]))
        self.turn()
        text = b"# Keyspace\r\ndb0:keys=8,expires=1,avg_ttl=0\r\ndb2:keys=4,expires=0,avg_ttl=0\r\n"
        self.assertEqual(client.taken(), b"$%d\r\n%b\r\n+PONG\r\n" % (len(text), text))

    def test_keys_of_a_region_that_cannot_be_asked(self) -> None:
        """It's said, and soon: all else that INFO says is wanted then."""
        self.say([Route(1, 0, 100, 2, 1, 1), Route(5, 100, SLOTS, 2, 1, 2)], 1, 2, 3)
        client = self.connect()
        self.links.reached.remove(2)
        client.pipeline(b"INFO")
        self.turn()
        self.batch().answer(replies.array([replies.integer(3)] * 2))
        self.turn(0.9)
        self.assertEqual(client.taken(), b"")
        self.turn(0.2)
        said = client.taken()
        self.assertIn(b"redis_mode:standalone", said)
        self.assertIn(b"# Keyspace\r\nkeyspace_error:TIMEOUT not all regions have answered in time\r\n", said)
        self.turn(6)
        self.assertEqual(client.says(b"PING"), b"+PONG\r\n")

    def test_connection_commands_in_order(self) -> None:
        client = self.began()
        client.pipeline(b"SET a 1", b"HELLO 3", b"GET b")
        self.turn()
        self.batch().answer(OK)
        self.turn()
        self.assertTrue(client.taken().startswith(OK + b"%"))
        batch = self.batch()
        self.assertEqual(batch.senders[0][1], 3)
        batch.answer(b"_\r\n")
        self.assertEqual(client.taken(), b"_\r\n")
        self.assertIn(b"redis_mode:standalone", client.says(b"INFO server"))
        self.assertIn(b"disabled", client.says(b"CLUSTER INFO"))


class SplitTests(GatewayCase):
    """Regions change."""

    low, high = sorted((b"a", b"b"), key=slot_of)
    border = slot_of(high)
    after = [Route(1, 0, border, 2, 1, 1), Route(5, border, SLOTS, 2, 1, 2)]

    def test_what_goes_astray(self) -> None:
        """It did nothing, and goes where its keys are by now, for as long as clients wait."""
        client = self.began()
        client.pipeline(b"SET %b 1" % self.high)
        self.turn()
        self.batch().answer(NOT_HERE)
        self.turn()
        self.assertEqual(client.taken(), b"")
        self.answer(self.after)
        self.turn(0.1)
        batch = self.batch()
        self.assertEqual((batch.store, batch.region, batch.lines), (2, 5, [f"SET {self.high.decode()} 1"]))
        batch.answer(OK)
        self.assertEqual((client.taken(), self.gateway.astray), (OK, 1))

    def test_one_that_blocks(self) -> None:
        client = self.began()
        client.pipeline(b"BLPOP %b 0" % self.high)
        self.turn()
        self.batch().answer(NOT_HERE)
        self.answer(self.after)
        self.turn(0.1)
        batch = self.batch()
        self.assertEqual((batch.region, batch.operations[0][0]), (5, WAITING))
        self.assertEqual(len(self.router.execution.waiters), 1)
        batch.answer(b"*2\r\n$1\r\nb\r\n$1\r\nx\r\n")
        self.assertEqual(client.taken(), b"*2\r\n$1\r\nb\r\n$1\r\nx\r\n")
        self.assertEqual(len(self.router.execution.waiters), 0)

    def test_one_that_blocks_and_is_refused(self) -> None:
        """In the part it's known by the same name as anyone else who waits, so it's told, and woken."""
        client = self.began()
        client.pipeline(b"BLPOP %b 0" % self.high)
        self.turn()
        self.batch().answered(Outcome.REFUSED, encode_routes(self.after, {}))
        self.turn(0.1)
        batch = self.batch()
        self.assertEqual((batch.region, batch.operations[0][0]), (5, WAITING))
        origin = batch.operations[0][6]
        batch.answered(Outcome.ANSWERED, encode_results([(WAITS, encode_timeout(1000))]))
        self.turn(1.1)
        (operation,) = self.batch().operations
        self.assertEqual(operation[5], [b"wake", *(b"%d" % number for number in origin), b"timeout"])
        self.gateway.pushed(2, encode_woken(origin, b"*-1\r\n"))
        self.assertEqual(client.taken(), b"*-1\r\n")

    def test_for_too_long(self) -> None:
        client = self.began()
        client.pipeline(b"SET a 1")
        for _ in range(200):
            self.turn(0.05)
            while self.links.batches:
                self.batch().answer(NOT_HERE)
        self.assertEqual(client.taken(), NOT_HERE)

    def test_what_waits_for_a_region_that_is_no_more(self) -> None:
        self.say(self.after, 1, 2, 3)
        client = self.connect()
        self.links.reached.discard(2)
        client.pipeline(b"SET %b 1" % self.high, b"PING", b"RESET")
        self.turn(0.2)
        self.links.questions.clear()
        self.gateway.told(3, encode_routes([Route(1, 0, SLOTS, 3, 4, 3)], {}))
        self.turn(0.3)
        batch = self.batch()
        self.assertEqual((batch.store, batch.region, batch.lines), (3, 1, [f"SET {self.high.decode()} 1"]))
        batch.answer(OK)
        self.turn(0.1)
        self.assertEqual(client.taken(), OK + b"+PONG\r\n+RESET\r\n")


class BlockedCase(GatewayCase):
    """Clients that wait in blocking commands."""

    def blocked(self, command: bytes = b"BLPOP list 0") -> tuple[Client, tuple[int, int, int]]:
        """Let a client wait; give it and how stores know it."""
        client = self.began() if self.front is None else self.connect()
        client.pipeline(command)
        self.turn()
        batch = self.batch()
        (operation,) = batch.operations
        batch.answered(Outcome.ANSWERED, encode_results([(WAITS, encode_timeout(0))]))
        origin: tuple[int, int, int] = operation[6]
        return client, origin


class WaitingTests(BlockedCase):
    """They're told by the stores."""

    def test_it_is_pushed(self) -> None:
        """By each store; the first counts."""
        client, origin = self.blocked()
        self.assertEqual((origin[0], origin[1] & 1), (RUN, 0))
        self.gateway.pushed(2, encode_woken((RUN + 1, *origin[1:]), b":1\r\n"))
        self.assertEqual(client.taken(), b"")
        for store in (2, 1, 3):
            self.gateway.pushed(store, encode_woken(origin, b"*2\r\n$4\r\nlist\r\n$1\r\nx\r\n"))
        self.assertEqual(client.taken(), b"*2\r\n$4\r\nlist\r\n$1\r\nx\r\n")
        self.assertEqual(len(self.router.execution.waiters), 0)

    def test_resp3(self) -> None:
        client = self.began()
        client.says(b"HELLO 3")
        client.pipeline(b"BLPOP list 0")
        self.turn()
        self.assertEqual(self.batch().operations[0][6][1] & 1, 1)

    def test_pushed_before_the_leader_answers(self) -> None:
        client = self.began()
        client.pipeline(b"BLPOP list 0", b"PING")
        self.turn()
        batch = self.batch()
        self.gateway.pushed(2, encode_woken(batch.operations[0][6], b"*-1\r\n"))
        self.turn()
        self.assertEqual(client.taken(), b"*-1\r\n+PONG\r\n")
        batch.answered(Outcome.ANSWERED, encode_results([(WAITS, encode_timeout(5))]))
        self.turn(1)
        self.assertEqual(client.taken(), b"")

    def test_it_is_woken(self) -> None:
        client, origin = self.blocked()
        other = self.connect()
        self.assertEqual(other.says(b"CLIENT UNBLOCK %d" % client.session.client_id), b":1\r\n")
        (operation,) = self.batch().operations
        self.assertEqual((operation[0], operation[5]), (INTERNAL, [b"wake", *(b"%d" % n for n in origin), b"timeout"]))
        self.gateway.pushed(1, encode_woken(origin, b"*-1\r\n"))
        self.assertEqual(client.taken(), b"*-1\r\n")

    def test_it_leaves(self) -> None:
        client, origin = self.blocked()
        client.lose()
        self.turn()
        (operation,) = self.batch().operations
        self.assertEqual(operation[5][-1], b"gone")
        self.assertEqual(len(self.router.execution.waiters), 0)

    def test_a_push_is_lost(self) -> None:
        """It's asked who waits; one who doesn't is told that nobody knows."""
        lost, origin = self.blocked()
        waiting, other = self.blocked()
        self.links.reached.remove(3)
        self.gateway.link_down(3)
        self.turn()
        batch = self.batch()
        words = [b"%d" % number for number in (RUN, *origin[1:], *other[1:])]
        self.assertEqual(batch.operations[0][5], [b"waiters", *words])
        batch.answer(replies.array([b":0\r\n", b":1\r\n"]))
        self.turn(GRACE_SECONDS - 0.2)
        self.assertEqual(lost.taken(), b"")
        self.turn(0.4)
        self.assertIn(b"outcome unknown", lost.taken())
        self.assertEqual(waiting.taken(), b"")
        self.assertEqual(len(self.router.execution.waiters), 1)

    def test_a_push_is_late(self) -> None:
        client, origin = self.blocked()
        self.turn(CHECK_SECONDS + 0.5)
        self.batch().answer(replies.array([b":0\r\n"]))
        self.gateway.pushed(2, encode_woken(origin, b"*-1\r\n"))
        self.turn(GRACE_SECONDS + 1)
        self.assertEqual(client.taken(), b"*-1\r\n")

    def test_nobody_can_be_asked(self) -> None:
        client, _ = self.blocked()
        self.links.reached.clear()
        self.turn(3 * CHECK_SECONDS)
        self.assertEqual(client.taken(), b"")

    def test_the_leader_loses_the_command(self) -> None:
        client = self.began()
        client.pipeline(b"BLPOP list 0")
        self.turn()
        batch = self.batch()
        origin = batch.operations[0][6]
        batch.answered(Outcome.UNKNOWN, b"")
        self.assertIn(b"outcome unknown", client.taken())
        self.turn(0.1)
        # Should it wait there nothing is to be popped for it.
        (operation,) = self.batch().operations
        self.assertEqual(operation[5], [b"wake", *(b"%d" % number for number in origin), b"gone"])

    def test_it_is_refused(self) -> None:
        client = self.began()
        client.pipeline(b"BLPOP list 0")
        self.turn()
        self.batch().answered(Outcome.ANSWERED, encode_results([(REFUSED, b"")]))
        self.turn(0.1)
        batch = self.batch()
        self.assertEqual(batch.lines, ["BLPOP list 0"])

    def test_many(self) -> None:
        """They're asked for in questions of some size."""
        waiters = [self.blocked() for _ in range(ASKED_MOST + 1)]
        self.turn(CHECK_SECONDS + 0.5)
        sizes = [len(operation[5]) // 2 - 1 for batch in self.links.batches for operation in batch.operations]
        self.assertEqual(sizes[:2], [ASKED_MOST, 1])
        self.assertEqual(len(waiters), ASKED_MOST + 1)


class MovedTests(BlockedCase):
    """Clients that wait where regions change, or have."""

    after = SplitTests.after

    def begun_waiting(self) -> tuple[Client, tuple[int, int, int]]:
        """Let a client wait for a key of the later part."""
        return self.blocked(b"BLPOP %b 0" % SplitTests.high)

    def test_it_is_split(self) -> None:
        """Whom the part that was left doesn't know of is asked for in the other one."""
        client, origin = self.begun_waiting()
        self.turn(CHECK_SECONDS + 0.5)
        self.links.questions.clear()
        self.batch().answer(replies.array([b":0\r\n"]))
        self.assertEqual({question.store for question in self.links.questions}, {1, 2, 3})
        self.answer(self.after)
        self.turn(GRACE_SECONDS + 1)
        self.assertEqual(client.taken(), b"")
        self.turn(CHECK_SECONDS)
        batch = self.batch()
        self.assertEqual((batch.region, batch.operations[0][5][0]), (5, b"waiters"))
        batch.answer(replies.array([b":1\r\n"]))
        self.gateway.pushed(2, encode_woken(origin, b"*-1\r\n"))
        self.assertEqual(client.taken(), b"*-1\r\n")
        self.assertEqual(len(self.router.execution.waiters), 0)

    def test_it_is_merged(self) -> None:
        self.say(self.after, 1, 2, 3)
        client, origin = self.begun_waiting()
        self.gateway.told(3, encode_routes([Route(1, 0, SLOTS, 3, 4, 3)], {}))
        self.turn(0.5)
        self.assertEqual(list(self.gateway.regions), [1])
        self.assertEqual(len(self.gateway.regions[1].waiters), 1)
        self.assertEqual(self.gateway._former, [])
        client.lose()
        self.turn()
        batch = self.batch()
        self.assertEqual((batch.store, batch.operations[0][5][-1]), (3, b"gone"))

    def test_its_keys_are_parted(self) -> None:
        client, origin = self.blocked(b"BLPOP %b %b 0" % (SplitTests.low, SplitTests.high))
        self.gateway.told(1, encode_routes(self.after, {}))
        self.gateway.pushed(1, encode_woken(origin, b"-CROSSSLOT\r\n"))
        self.assertEqual(client.taken(), b"-CROSSSLOT\r\n")


class SchedulerTests(GatewayCase):
    """It says where stores are."""

    def test_it_does(self) -> None:
        asked: list[int] = []

        def ask() -> Deferred[Mapping[int, str]]:
            asked.append(1)
            return succeed({4: "d:4"}) if len(asked) != 2 else fail(ScheduleUnavailable("not there", False))

        self.links = FakeLinks()
        self.begin(ask)
        self.assertEqual((self.links.known, self.links.kept), ({1: "a:1", 4: "d:4"}, {4}))
        self.turn(3 * SCHEDULE_SECONDS)
        self.assertGreaterEqual(len(asked), 3)

    def test_it_is_slow(self) -> None:
        asked: list[Deferred[Mapping[int, str]]] = []

        def ask() -> Deferred[Mapping[int, str]]:
            asked.append(Deferred())
            return asked[-1]

        self.begin(ask)
        self.turn(3 * SCHEDULE_SECONDS)
        self.assertEqual(len(asked), 1)
        self.gateway.close()
