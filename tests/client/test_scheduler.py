"""The client of the scheduler: held to the real API, and to schedulers that are away, slow, confused or hostile."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError as Refusing
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.schedule.client import Client
from tests.schedule.cluster import Cluster
from tinykv.client.scheduler import ATTEMPT_SECONDS, CLOSE_SECONDS, PATIENCE, Scheduler
from tinykv.errors import ScheduleRefused, ScheduleUnavailable
from tinykv.interfaces import IScheduler, SplitChoices
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.stores import StoreStats
from tinykv.region.descriptor import Descriptor
from tinykv.region.splitting import Cut, Split, parts_of

TOKEN = b"0123456789abcdef"


@implementer(IAgent)
class Net:
    """
    Takes requests to servers in this process, by their hosts.

    @ivar sites: An agent for each host; a host without one refuses connections.
    @ivar asked: The host of each request, and its token.
    """

    def __init__(self) -> None:
        self.sites: dict[str, RequestTraversalAgent] = {}
        self.asked: list[tuple[str, str | None]] = []

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Any = None,
        bodyProducer: IBodyProducer | None = None,  # noqa: N803
    ) -> Deferred[IResponse]:
        """Pass one on."""
        host = uri.decode().partition("://")[2].partition("/")[0]
        self.asked.append((host, (headers.getRawHeaders("authorization") or [None])[0]))
        site = self.sites.get(host)
        if site is None:
            return fail(Refusing())
        found: Deferred[IResponse] = site.request(method, uri, headers, bodyProducer)
        return found

    def flush(self) -> None:
        """Let bytes arrive."""
        for site in self.sites.values():
            site.flush()


class Case(SynchronousTestCase):
    """A client and a network."""

    def setUp(self) -> None:
        self.net = Net()
        self.clock: Any = Clock()
        self.step: Callable[[], None] = lambda: self.clock.advance(0.05)

    def client(self, *addresses: str, **more: Any) -> Scheduler:
        """Make a client of some members."""
        return Scheduler(addresses=addresses, agent=self.net, clock=self.clock, random=Random(1), **more)

    def done(self, asked: Deferred[Any]) -> Any:
        """Let time pass until it's answered."""
        answers: list[Any] = []
        asked.addBoth(answers.append)
        for _ in range(1_000):
            self.net.flush()
            if answers:
                break
            self.step()
        assert answers, "it wasn't answered"
        if isinstance(answers[0], Failure):
            answers[0].raiseException()
        return answers[0]

    def serve(self, host: str, answer: Callable[[Request], bytes | int]) -> None:
        """Have a host answer as told."""

        class Page(Resource):
            isLeaf = True

            def render(self, request: Request) -> bytes | int:
                return answer(request)

        self.net.sites[host] = RequestTraversalAgent(Page())


class RealTests(Case):
    """With the real API."""

    members = 3

    def setUp(self) -> None:
        super().setUp()
        self.cluster = Cluster(self.mktemp(), members=self.members)
        self.leading = self.cluster.leader()
        self.cluster.run(0.2)
        self.clock = self.cluster.members[1].process
        self.step = lambda: self.cluster.run(0.05)
        for number, member in self.cluster.members.items():
            self.net.sites[f"m{number}:2379"] = RequestTraversalAgent(Client(member, token=TOKEN).api)

    def scheduler(self, **more: Any) -> Scheduler:
        """Make a client of all members, one that doesn't lead being the first."""
        other = next(number for number, member in self.cluster.members.items() if member is not self.leading)
        hosts = sorted((f"m{number}:2379" for number in self.cluster.members), key=lambda h: h != f"m{other}:2379")
        return self.client(*hosts, token=TOKEN, **more)

    def test_all_questions(self) -> None:
        scheduler = self.scheduler()
        self.assertTrue(verifyObject(IScheduler, scheduler))
        self.assertEqual(self.done(scheduler.term()), self.leading.host.group.term)
        del self.net.asked[:]
        beginning = self.done(scheduler.beginning())
        self.assertEqual((beginning["bootstrapped"], beginning["missing_stores"]), (False, 3))
        for store in (1, 2, 3):
            asked = scheduler.register(
                store, address=f"h{store}:1", client_address=f"h{store}:2", folder_id=f"f{store}", labels={"zone": "a"}
            )
            self.assertEqual(self.done(asked).address, f"h{store}:1")
        beginning = self.done(scheduler.beginning())
        self.assertTrue(beginning["bootstrapped"])
        (region,) = beginning["regions"]
        self.assertEqual(region.stores, (1, 2, 3))
        self.done(scheduler.tell_beginning(beginning["cluster_id"], []))
        records = self.done(scheduler.stores())
        self.assertEqual({store: record.client_address for store, record in records.items()},
                         {1: "h1:2", 2: "h2:2", 3: "h3:2"})  # fmt: skip
        self.done(scheduler.store_heartbeat(1, "f1", StoreStats(100, 50, 1)))
        self.assertEqual(self.done(scheduler.split_choices()), SplitChoices())
        self.done(scheduler.ask("PATCH", "/config", {"split_load_threshold": 70, "region_max_size": 9 << 20}))
        self.assertEqual(self.done(scheduler.split_choices()), SplitChoices(9 << 20, 0, 70))
        self.assertIsNone(self.done(scheduler.region_at(b"k")))
        led = RegionInfo.of(Descriptor.initial(1, [1, 2, 3]), 1)
        heard = self.done(scheduler.region_heartbeats(1, "f1", [led]))
        self.assertEqual(heard, {"orders": [], "refused": {}})
        heard = self.done(scheduler.region_heartbeats(1, "f1", [RegionInfo.of(Descriptor.initial(1, [1, 2, 3]), 2)]))
        self.assertIn("doesn't lead", heard["refused"][1])
        self.assertEqual(self.done(scheduler.region_at(b"k")), led)
        self.assertEqual(self.done(scheduler.regions(b"", b"", 10)), [led])
        epoch = {"version": 1, "conf_ver": 1}
        first, second = self.done(scheduler.ask_split(1, **epoch, count=2))
        self.assertEqual([len(part["peers"]) for part in (first, second)], [3, 3])
        numbers = {number for part in (first, second) for number in (part["region"], *part["peers"])}
        self.assertEqual(len(numbers), 8)
        whole = Descriptor.initial(1, [1, 2, 3])
        cut = Cut(5, first["region"], tuple(first["peers"]))
        left, (right,) = parts_of(whole, Split(1, 1, (cut,)))
        parts = [RegionInfo.of(part, 1) for part in (left, right)]
        self.assertIsNone(self.done(scheduler.report_split(parts)))
        self.assertEqual(self.done(scheduler.regions(b"", b"", 10)), parts)
        problem = self.assertRaises(ScheduleRefused, self.done, scheduler.ask_split(1, **epoch, count=1))
        self.assertEqual(problem.status, 409)
        self.assertRaises(ScheduleRefused, self.done, scheduler.report_split([led, parts[1]]))
        ids = self.done(scheduler.ids(5))
        self.assertEqual(self.done(scheduler.ids(1)).start, ids.stop)
        first = self.done(scheduler.timestamps(10))
        self.assertGreater(self.done(scheduler.timestamps(1)).start, first.stop - 1)
        # Once it's known who leads, nobody else is asked.
        self.assertEqual({host for host, _ in self.net.asked[3:]}, {f"{self.leading.name}:2379"})

    def test_refusals(self) -> None:
        scheduler = self.scheduler()
        problem = self.assertRaises(ScheduleRefused, self.done, scheduler.store_heartbeat(9, "f", StoreStats()))
        self.assertEqual(problem.status, 404)
        self.assertIn("no store 9", str(problem))
        stranger = self.client("m1:2379", token=b"another token than that")
        problem = self.assertRaises(ScheduleRefused, self.done, stranger.beginning())
        self.assertEqual(problem.status, 401)
        self.assertIn("schedule_token", str(problem))
        self.assertNotIn("another", str(problem))

    def test_a_leader_that_dies(self) -> None:
        scheduler = self.scheduler()
        before = self.done(scheduler.timestamps(1)).start
        self.leading.kill()
        del self.net.sites[f"{self.leading.name}:2379"]
        if self.clock is self.leading.process:
            self.clock = scheduler._clock = next(iter(self.cluster.alive)).process  # noqa: SLF001 - it ran there
        # Before another one leads, whoever is asked names the dead one, or nobody.
        terms = [self.done(scheduler.term()) for _ in range(3)]
        self.assertGreater(self.done(scheduler.timestamps(1)).start, before)
        self.assertGreater(self.done(scheduler.term()), max(terms))

    def test_no_majority(self) -> None:
        scheduler = self.scheduler()
        for member in list(self.cluster.members.values())[1:]:
            member.kill()
            del self.net.sites[f"{member.name}:2379"]
        begun = self.cluster.events.now
        self.assertRaises(ScheduleUnavailable, self.done, scheduler.beginning())
        self.assertLessEqual((self.cluster.events.now - begun) / 1e6, PATIENCE * 1e6)


class FailureTests(Case):
    """Schedulers that don't do as they should."""

    def json(self, status: int, body: Any, **headers: str) -> Callable[[Request], bytes]:
        """Make what answers always the same."""

        def answer(request: Request) -> bytes:
            request.setResponseCode(status)
            for name, value in headers.items():
                request.setHeader(name.replace("_", "-"), value)
            return json.dumps(body).encode()

        return answer

    def test_nobody_is_there(self) -> None:
        problem = self.assertRaises(ScheduleUnavailable, self.done, self.client("a:1", "b:1").ids(1))
        self.assertFalse(problem.perhaps_done)
        self.assertIn("can't be reached", str(problem))
        self.assertLessEqual(self.clock.seconds(), PATIENCE)
        hosts = [host for host, _ in self.net.asked]
        self.assertEqual(hosts[:4], ["a:1", "b:1"] * 2)
        # Pauses have grown: some dozen rounds at most.
        self.assertLess(len(hosts), 30)

    def test_the_next_one_is_asked_at_once(self) -> None:
        self.serve("b:1", self.json(200, {"first": 7}))
        scheduler = self.client("a:1", "b:1")
        self.assertEqual(self.done(scheduler.ids(2)), range(7, 9))
        self.assertEqual(self.clock.seconds(), 0)
        self.assertEqual(scheduler.leader, "http://b:1")

    def test_one_that_never_answers(self) -> None:
        self.serve("a:1", lambda request: NOT_DONE_YET)
        problem = self.assertRaises(ScheduleUnavailable, self.done, self.client("a:1").ids(1))
        self.assertTrue(problem.perhaps_done)
        self.assertIn("no answer within", str(problem))
        self.assertLessEqual(self.clock.seconds(), PATIENCE + 0.1)

    def test_one_that_is_slow_does_not_keep_the_other_from_being_asked(self) -> None:
        self.serve("a:1", lambda request: NOT_DONE_YET)
        self.serve("b:1", self.json(200, {"first": 7}))
        self.assertEqual(self.done(self.client("a:1", "b:1").ids(1)), range(7, 8))

    def test_a_leader_that_answers_no_more(self) -> None:
        """Whatever asks it meanwhile loses one attempt: it's not asked again for being the first of the list."""
        self.serve("a:1", self.json(200, {"first": 7}))
        scheduler = self.client("a:1", "b:1", "c:1")
        self.done(scheduler.ids(1))
        self.serve("a:1", lambda request: NOT_DONE_YET)
        for host in ("b:1", "c:1"):
            self.serve(host, self.json(200, {"first": 9}))
        begun, answered = self.clock.seconds(), []
        for _ in range(3):
            scheduler.ids(1).addCallback(lambda _: answered.append(self.clock.seconds() - begun))
            self.clock.advance(0.2)
        for _ in range(300):
            self.net.flush()
            self.clock.advance(0.05)
        self.assertEqual(len(answered), 3)
        self.assertLess(max(answered), ATTEMPT_SECONDS + 1)
        self.assertNotEqual(scheduler.leader, "http://a:1")
        self.assertEqual([host for host, _ in self.net.asked].count("a:1"), 4)

    def test_nobody_else_is_asked_when_the_time_is_over(self) -> None:
        """An attempt that nobody answers ends a little later than it should; a reactor takes no time that is past."""
        self.serve("a:1", lambda request: NOT_DONE_YET)
        self.serve("b:1", lambda request: NOT_DONE_YET)
        self.step = lambda: self.clock.advance(0.07)
        asked = self.client("a:1", "b:1", "c:1").ask("GET", "/members", None, 3.0)
        problem = self.assertRaises(ScheduleUnavailable, self.done, asked)
        self.assertIn("no answer within 3 s", str(problem))
        self.assertEqual([host for host, _ in self.net.asked], ["a:1"])

    def test_passing_refusals(self) -> None:
        for status in (429, 500, 503, 504):
            answers = [self.json(status, {"error": "not now"}, retry_after="1"), self.json(200, {"first": 7})]
            self.serve("a:1", lambda request, answers=answers: answers.pop(0)(request))  # type: ignore[misc]
            begun = self.clock.seconds()
            self.assertEqual(self.done(self.client("a:1").ids(1)), range(7, 8))
            self.assertGreaterEqual(self.clock.seconds() - begun, 1)

    def test_an_endless_wish_for_patience(self) -> None:
        answers = [self.json(503, {"error": "no"}, retry_after="99999"), self.json(200, {"first": 7})]
        self.serve("a:1", lambda request: answers.pop(0)(request))
        self.assertEqual(self.done(self.client("a:1").ids(1)), range(7, 8))

    def test_outcomes(self) -> None:
        for status, perhaps in ((503, False), (504, True), (500, True)):
            self.serve("a:1", self.json(status, {"error": "no"}))
            problem = self.assertRaises(ScheduleUnavailable, self.done, self.client("a:1").ids(1))
            self.assertEqual(problem.perhaps_done, perhaps)

    def test_redirects_in_a_circle(self) -> None:
        self.serve("a:1", self.json(307, {"error": "b leads", "leader": "http://b:1"}))
        self.serve("b:1", self.json(307, {"error": "a leads", "leader": "http://a:1"}))
        problem = self.assertRaises(ScheduleUnavailable, self.done, self.client("a:1").ids(1))
        self.assertIn("leads", str(problem))
        self.assertLess(len(self.net.asked), 100)

    def test_the_token_goes_where_it_may(self) -> None:
        for leader in ("https://b:1", "ftp://b:1", "http://b:1/more", "nonsense", "http://[b:1", ""):
            self.serve("a:1", self.json(307, {"error": "b leads", "leader": leader}))
            self.assertRaises(ScheduleUnavailable, self.done, self.client("a:1", token=TOKEN).ids(1))
            self.assertEqual({host for host, _ in self.net.asked}, {"a:1"})
            self.assertEqual({token for _, token in self.net.asked}, {f"Bearer {TOKEN.decode()}"})

    def test_other_servers(self) -> None:
        for body in (b"<html>", b"[]", b"\xff", b""):
            self.serve("a:1", lambda request, body=body: body)  # type: ignore[misc]
            problem = self.assertRaises(ScheduleUnavailable, self.done, self.client("a:1").ids(1))
            self.assertIn("isn't a scheduler's answer", str(problem))

    def test_another_version(self) -> None:
        for body in ({}, {"first": "x"}, {"first": None}):
            self.serve("a:1", self.json(200, body))
            problem = self.assertRaises(ScheduleUnavailable, self.done, self.client("a:1").ids(1))
            self.assertIn("another version", str(problem))

    def test_the_longest_answer(self) -> None:
        text = b'{"first": 7}'
        self.serve("a:1", lambda request: text)
        self.assertEqual(self.done(self.client("a:1", answer_bytes_max=len(text)).ids(1)), range(7, 8))
        asked = self.client("a:1", answer_bytes_max=len(text) - 1).ids(1)
        self.assertIn("bytes", str(self.assertRaises(ScheduleUnavailable, self.done, asked)))

    def test_connections_that_do_not_end(self) -> None:
        class Pool:
            def closeCachedConnections(self) -> Deferred[None]:  # noqa: N802 - the name that Twisted calls
                return Deferred()

        pool: Any = Pool()
        closed = self.client("a:1", pool=pool).close()
        self.assertNoResult(closed)
        self.clock.advance(CLOSE_SECONDS)
        self.assertIsNone(self.successResultOf(closed))

    def test_the_end(self) -> None:
        self.serve("a:1", lambda request: NOT_DONE_YET)
        scheduler = self.client("a:1")
        asked = scheduler.ids(1)
        self.net.flush()
        self.successResultOf(scheduler.close())
        self.failureResultOf(asked, ScheduleUnavailable)
        self.assertEqual(self.clock.getDelayedCalls(), [])
