"""The API as clients see it: answers, redirects, and what is refused without changing anything."""

from __future__ import annotations

from math import inf
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tests.schedule.client import Answer, Client
from tests.schedule.cluster import Cluster
from tinykv.placement.config import SCHEDULERS
from tinykv.schedule import api as module
from tinykv.schedule.errors import NotFound
from tinykv.schedule.guard import ADDRESSES_MAX, Guard, RateLimit
from tinykv.schedule.http import BODY_BYTES_MAX, ApiSite, limited
from tinykv.schedule.routes import Route, RouteTable
from tinykv.schedule.schemas import check
from tinykv.schedule.timestamps import BATCH_MAX

TOKEN = b"0123456789abcdef"


def store(number: int, **more: Any) -> dict[str, Any]:
    """Say what a store says of itself."""
    return {"address": f"h{number}:20160", "folder": f"f{number}", **more}


def region(number: int, start: str, end: str, leader: int = 1, **more: Any) -> dict[str, Any]:
    """Say what a leader says of a region."""
    peers = [{"peer": 10 * number + at, "store": at} for at in (1, 2, 3)]
    return {"region": number, "start": start, "end": end, "peers": peers, "leader": leader, **more}


class Case(SynchronousTestCase):
    """One member, and a client of it."""

    members = 1

    def setUp(self) -> None:
        self.cluster = Cluster(self.mktemp(), members=self.members)
        self.client = Client(self.cluster.leader())
        # What it notes at its beginning.
        self.cluster.run(0.1)

    def good(self, method: str, path: str, body: Any = None, **headers: Any) -> Any:
        """Ask what has to be answered; give the answer, which is as its schema says."""
        answer = self.client.ask(method, path, body, **headers)
        self.assertEqual(answer.code, 200, answer.body)
        found = self.client.member.routes.find(f"/api/v1{path.partition('?')[0]}".encode())
        assert found is not None
        check(found[0][method].result, answer.body)
        return answer.body

    def refused(self, code: int, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """Ask what has to be refused, and changes nothing; give the answer."""
        before = self.client.member.host.state.tables.rows()
        answer = self.client.ask(method, path, body, **more)
        self.assertEqual(answer.code, code, answer.body)
        self.assertIsInstance(answer.body["error"], str)
        self.assertEqual(self.client.member.host.state.tables.rows(), before)
        return answer

    def begin(self) -> None:
        """Have the cluster begin with three stores, and hear them."""
        for number in (1, 2, 3):
            self.good("PUT", f"/stores/{number}", store(number))
            self.good("POST", f"/stores/{number}/heartbeat", {"folder": f"f{number}", "stats": {"regions": 1}})

    def hear(self, *regions: dict[str, Any], leader: int = 1) -> Any:
        """Hear of regions that a store leads."""
        return self.good(
            "POST", "/region-heartbeats", {"store": leader, "folder": f"f{leader}", "regions": list(regions)}
        )


class AnswerTests(Case):
    """What is answered."""

    def test_members_and_health(self) -> None:
        self.assertEqual(self.good("GET", "/members")["leader"], 1)
        self.assertTrue(self.good("GET", "/health")["healthy"])
        self.assertEqual(self.client.ask("GET", "//healthz").body, "ok\n")
        self.client.health = "no"
        self.assertEqual(self.client.ask("GET", "//healthz").code, 503)
        self.assertEqual(self.client.ask("GET", "//metrics").code, 200)
        self.assertEqual(self.client.ask("HEAD", "/members").body, "")

    def test_timestamps_and_ids(self) -> None:
        one = self.good("POST", "/timestamps", {"count": BATCH_MAX})
        other = self.good("POST", "/timestamps", {"count": 1})
        self.assertGreater((other["physical"], other["logical"]), (one["physical"], one["logical"] + BATCH_MAX - 1))
        first = self.good("POST", "/ids", {"count": module.IDS_MAX})["first"]
        self.assertGreaterEqual(self.good("POST", "/ids", {"count": 1})["first"], first + module.IDS_MAX)

    def test_bootstrap(self) -> None:
        self.assertEqual(self.good("GET", "/bootstrap")["missing_stores"], 3)
        self.refused(409, "POST", "/bootstrap")
        self.begin()
        view = self.good("GET", "/bootstrap")
        self.assertTrue(view["bootstrapped"])
        self.assertEqual([len(each["peers"]) for each in view["regions"]], [3])
        self.refused(409, "POST", "/bootstrap")

    def test_a_cluster_that_began_without_it(self) -> None:
        first = self.good("POST", "/ids", {"count": 1})["first"]
        body = {"cluster_id": "c0de", "regions": [region(1, "", "")]}
        for _ in range(2):
            view = self.good("PUT", "/bootstrap", body)
            self.assertEqual((view["cluster_id"], view["bootstrapped"]), ("c0de", True))
        self.assertGreater(self.good("POST", "/ids", {"count": 1})["first"], first + 1000)
        self.assertIn("c0de", self.refused(409, "PUT", "/bootstrap", {**body, "cluster_id": "bad"}).body["error"])
        self.refused(400, "PUT", "/bootstrap", {**body, "cluster_id": "no hex"})
        self.begin()
        self.assertEqual(len(self.good("GET", "/bootstrap")["regions"]), 1)

    def test_no_fewer_regions_than_the_cluster_began_with(self) -> None:
        """Whatever was chosen: somebody wanted so many."""
        body = {"cluster_id": "c0de", "regions": [region(1, "", "72"), region(2, "72", "73"), region(3, "73", "")]}
        self.good("PUT", "/bootstrap", body)
        least = [self.client.member.placing.cluster.config.least_regions]
        for chosen in (2, 3, 4):
            self.assertEqual(self.good("PATCH", "/config", {"least_regions": chosen})["least_regions"], chosen)
            least.append(self.client.member.placing.cluster.config.least_regions)
        self.assertEqual(least, [3, 3, 3, 4])

    def test_stores(self) -> None:
        self.begin()
        self.assertEqual([view["state"] for view in self.good("GET", "/stores")["stores"]], ["up"] * 3)
        self.assertEqual(self.good("GET", "/stores?state=offline")["stores"], [])
        changed = self.good("PATCH", "/stores/1", {"labels": {"zone": "a"}, "leader_weight": 2, "add_limit": None})
        self.assertEqual((changed["labels"], changed["leader_weight"]), ({"zone": "a"}, 2))
        self.assertEqual(self.good("PUT", "/stores/1", store(1, address="new:1"))["address"], "new:1")
        self.refused(409, "PUT", "/stores/1", store(1, folder="lost"))
        self.refused(409, "PUT", "/stores/2", store(2, address="new:1"))
        self.refused(404, "GET", "/stores/9")
        self.refused(404, "PATCH", "/stores/9", {"labels": {}})

    def test_store_that_leaves(self) -> None:
        self.begin()
        self.hear(region(1, "", ""))
        self.assertIn("add a store first", self.refused(409, "POST", "/stores/3/offline").body["error"])
        self.refused(404, "POST", "/stores/9/offline")
        self.good("PUT", "/stores/4", store(4))
        self.assertEqual(self.good("POST", "/stores/3/offline")["life"], "offline")
        self.assertEqual(self.good("POST", "/stores/3/cancel-offline")["life"], "up")
        self.refused(409, "DELETE", "/stores/3")
        self.good("POST", "/stores/3/offline")
        self.refused(409, "DELETE", "/stores/3")
        self.assertEqual(self.good("DELETE", "/stores/3?force=true")["life"], "tombstone")
        for method, path in (("POST", "/stores/3/offline"), ("POST", "/stores/3/cancel-offline")):
            self.refused(409, method, path)
        self.refused(409, "PUT", "/stores/3", store(3))
        self.refused(409, "POST", "/stores/3/heartbeat", {"folder": "f3", "stats": {}})

    def test_store_that_was_never_heard_of(self) -> None:
        """It registered, and that was all."""
        self.begin()
        self.hear(region(1, "", ""))
        self.good("PUT", "/stores/4", store(4))
        self.assertIn("offline first", self.refused(409, "DELETE", "/stores/4").body["error"])
        self.cluster.run(21)
        self.good("DELETE", "/stores/4")
        self.assertEqual(self.good("GET", "/stores/4")["state"], "tombstone")
        self.refused(409, "PUT", "/stores/4", store(4))

    def test_store_that_never_registered(self) -> None:
        """Its number is nobody's from then on; unless a region has a replica there."""
        self.begin()
        self.refused(404, "DELETE", "/stores/9")
        self.assertIn("haven't been heard of", self.refused(409, "DELETE", "/stores/9?force=true").body["error"])
        peers = [{"peer": at, "store": store} for at, store in ((1, 1), (2, 2), (3, 9))]
        self.hear({**region(1, "", ""), "peers": peers})
        said = self.refused(409, "DELETE", "/stores/9?force=true").body["error"]
        self.assertIn("store 9 still holds 1 regions: it hasn't registered", said)
        self.hear({**region(1, "", ""), "conf_ver": 2})
        self.assertEqual(self.good("DELETE", "/stores/9?force=true")["life"], "tombstone")
        self.assertIn("never returns", self.refused(409, "PUT", "/stores/9", store(9)).body["error"])
        self.assertEqual(self.good("DELETE", "/stores/9")["state"], "tombstone")

    def test_store_that_is_empty_is_buried(self) -> None:
        self.begin()
        self.good("PUT", "/stores/4", store(4))
        for number in (1, 2, 3, 4):
            stats = {"regions": 0 if number == 4 else 1}
            self.good("POST", f"/stores/{number}/heartbeat", {"folder": f"f{number}", "stats": stats})
        self.hear(region(1, "", ""))
        self.good("POST", "/stores/4/offline")
        self.cluster.run(1)
        self.assertEqual(self.good("GET", "/stores/4")["life"], "tombstone")

    def test_heartbeats(self) -> None:
        self.begin()
        stats = {"capacity": 10, "available": 5, "regions": 1}
        self.good("POST", "/stores/1/heartbeat", {"folder": "f1", "stats": stats})
        self.assertEqual(self.good("GET", "/stores/1")["stats"]["available"], 5)
        self.refused(400, "POST", "/stores/1/heartbeat", {"folder": "f1", "stats": {"capacity": 1, "available": 2}})
        self.refused(409, "POST", "/stores/1/heartbeat", {"folder": "other", "stats": {}})
        self.refused(404, "POST", "/stores/9/heartbeat", {"folder": "f9", "stats": {}})

    def test_regions(self) -> None:
        self.begin()
        heard = self.hear(region(1, "", "50", version=2), region(2, "50", "", version=2))
        self.assertEqual(heard["refused"], [])
        self.assertEqual([each["region"] for each in self.good("GET", "/regions")["regions"]], [1, 2])
        self.assertEqual([each["region"] for each in self.good("GET", "/regions?start=50")["regions"]], [2])
        self.assertEqual([each["region"] for each in self.good("GET", "/regions?limit=1")["regions"]], [1])
        self.assertEqual(self.good("GET", "/regions/2")["start"], "50")
        self.assertEqual(self.good("GET", "/region-at?key=4fff")["region"], 1)
        self.assertEqual(self.good("GET", "/region-before?key=50")["region"], 1)
        self.refused(404, "GET", "/region-before?key=4f")
        self.refused(404, "GET", "/regions/9")
        self.refused(400, "GET", "/regions?start=50&end=4f")

    def test_stale_heartbeats(self) -> None:
        self.begin()
        self.hear(region(1, "", "50", version=2, conf_ver=2), region(2, "50", "", version=2))
        stale = [
            region(1, "", "", version=1, conf_ver=2),
            region(1, "", "50", version=2, conf_ver=1),
            region(3, "40", "60", version=1),
            region(2, "50", "", version=2, leader=2),
        ]
        self.assertEqual([each["region"] for each in self.hear(*stale)["refused"]], [1, 1, 3, 2])
        self.assertEqual([each["region"] for each in self.good("GET", "/regions")["regions"]], [1, 2])
        body = {"store": 1, "folder": "f1", "regions": [region(4, "60", "50")]}
        self.refused(400, "POST", "/region-heartbeats", body)

    def test_splits(self) -> None:
        self.begin()
        self.hear(region(1, "", "", version=1, conf_ver=1))
        asked = {"version": 1, "conf_ver": 1, "count": 2}
        given = self.good("POST", "/regions/1/ask-split", asked)["regions"]
        ids = [number for each in given for number in (each["region"], *each["peers"])]
        self.assertEqual(len(set(ids)), 2 * 4)
        self.refused(409, "POST", "/regions/1/ask-split", {**asked, "version": 0})
        self.refused(409, "POST", "/regions/1/ask-split", {**asked, "conf_ver": 0})
        self.refused(404, "POST", "/regions/7/ask-split", asked)
        parts = [region(1, "", "50", version=2, conf_ver=1), region(2, "50", "", version=2, conf_ver=1)]
        self.assertEqual(self.good("POST", "/report-split", {"regions": parts}), {})
        self.assertEqual(len(self.good("GET", "/regions")["regions"]), 2)
        old = [region(1, "", "60", version=1), region(3, "60", "", version=1)]
        self.refused(409, "POST", "/report-split", {"regions": old})
        gap = [region(1, "", "40", version=3), region(3, "50", "", version=3)]
        self.refused(400, "POST", "/report-split", {"regions": gap})
        uneven = [region(1, "", "50", version=3), region(3, "50", "", version=4)]
        self.refused(400, "POST", "/report-split", {"regions": uneven})
        twice = [region(1, "", "50", version=3), region(1, "50", "", version=3)]
        self.refused(400, "POST", "/report-split", {"regions": twice})
        self.assertEqual(len(self.good("GET", "/regions")["regions"]), 2)

    def test_operators(self) -> None:
        self.begin()
        self.hear(region(1, "", "", version=1, conf_ver=1))
        self.refused(409, "POST", "/operators", {"kind": "transfer-leader", "region": 1, "store": 1})
        made = self.good("POST", "/operators", {"kind": "transfer-leader", "region": 1, "store": 2})
        self.assertEqual(made["status"], "running")
        self.assertEqual(len(self.good("GET", "/operators")["operators"]), 1)
        orders = self.hear(region(1, "", "", version=1, conf_ver=1))["orders"]
        self.assertEqual([(order["region"], order["step"]["kind"]) for order in orders], [(1, "transfer-leader")])
        self.hear(region(1, "", "", leader=2, version=1, conf_ver=1), leader=2)
        self.assertEqual(self.good("GET", "/operators/1")["status"], "success")
        self.refused(404, "DELETE", "/operators/1")
        self.refused(404, "GET", "/operators/9")
        self.good("POST", "/operators", {"kind": "split", "region": 1, "keys": ["50"]})
        self.assertEqual(self.good("DELETE", "/operators/1")["status"], "cancelled")
        for body in (
            {"kind": "add-peer", "region": 1},
            {"kind": "move-peer", "region": 1, "store": 1},
            {"kind": "merge", "region": 1},
            {"kind": "split", "region": 1, "store": 1},
        ):
            self.refused(400, "POST", "/operators", body)
        for body in (
            {"kind": "add-peer", "region": 1, "store": 9},
            {"kind": "remove-peer", "region": 1, "store": 9},
            {"kind": "move-peer", "region": 1, "store": 1, "target": 2},
            {"kind": "merge", "region": 1, "target_region": 2},
        ):
            self.refused(409, "POST", "/operators", body)

    def test_scatter(self) -> None:
        self.begin()
        self.hear(region(1, "", ""))
        scattered = self.good("POST", "/scatter", {"regions": [1, 9], "group": "g"})
        self.assertEqual([each["region"] for each in scattered["refused"]], [9])

    def test_choices(self) -> None:
        self.assertEqual(self.good("PATCH", "/config", {"replicas": 5})["replicas"], 5)
        self.assertEqual(self.good("GET", "/config")["replicas"], 5)
        self.assertEqual(self.client.member.placing.cluster.config.replicas, 5)
        self.assertIs(self.good("PATCH", "/config", {"merge_by_size": True})["merge_by_size"], True)
        self.refused(400, "PATCH", "/config", {"merge_by_size": 1})
        for body in ({"replicas": 0}, {"replicas": "3"}, {"unheard": 1}, {}, {"schedulers": ["x"]}):
            self.refused(400, "PATCH", "/config", body)

    def test_schedulers(self) -> None:
        name = SCHEDULERS[0]
        self.good("POST", f"/schedulers/{name}/pause", {"seconds": 5})
        self.assertNotIn(name, self.client.member.placing.cluster.config.schedulers)
        (view,) = (each for each in self.good("GET", "/schedulers")["schedulers"] if each["name"] == name)
        self.assertGreater(view["paused_for"], 4)
        self.cluster.run(5)
        self.assertIn(name, self.client.member.placing.cluster.config.schedulers)
        self.good("POST", f"/schedulers/{name}/pause", {"seconds": 5})
        self.good("POST", f"/schedulers/{name}/pause", {"seconds": 0})
        self.assertIn(name, self.client.member.placing.cluster.config.schedulers)
        self.good("PATCH", "/schedulers/evict-leader", {"evict_leader": [2]})
        self.assertEqual(self.client.member.placing.cluster.config.evict_leader, (2,))
        self.refused(400, "PATCH", "/schedulers/evict-leader", {"replicas": 1})
        self.refused(404, "PATCH", "/schedulers/unheard", {"replicas": 1})
        self.refused(404, "POST", "/schedulers/unheard/pause", {"seconds": 5})

    def test_safe_points(self) -> None:
        self.good("PUT", "/safe-point/services/backup", {"safe_point": 7, "seconds": 60})
        self.assertEqual(self.good("POST", "/safe-point", {"safe_point": 10})["safe_point"], 7)
        self.assertEqual(self.good("DELETE", "/safe-point/services/backup")["services"], [])
        self.assertEqual(self.good("POST", "/safe-point", {"safe_point": 10})["safe_point"], 10)
        self.refused(409, "PUT", "/safe-point/services/backup", {"safe_point": 9, "seconds": 60})
        self.good("PUT", "/safe-point/services/backup", {"safe_point": 11, "seconds": 1})
        self.cluster.run(1.1)
        self.assertEqual(self.good("GET", "/safe-point")["services"], [])


class RefusalTests(Case):
    """Malformed and hostile requests get a reason, and change nothing."""

    def test_no_such_page(self) -> None:
        for path in ("/unheard", "//", "//api", "/stores/1/unheard", "/stores//offline"):
            self.refused(404 if path != "/stores//offline" else 400, "POST", path)
        self.assertEqual(self.refused(405, "DELETE", "/stores").header("allow"), "GET, HEAD")
        self.refused(405, "POST", "//healthz")

    def test_bodies(self) -> None:
        self.refused(400, "POST", "/ids", raw=b"{")
        self.refused(400, "POST", "/ids", raw=b'{"count": 1, "count": 2}')
        self.refused(400, "POST", "/ids", raw=b"[" * 10_000)
        self.refused(400, "POST", "/ids", {"count": 1, "more": 1})
        self.refused(415, "POST", "/ids", raw=b'{"count": 1}', content_type="text/plain")
        self.refused(415, "POST", "/ids")
        self.refused(400, "POST", "/bootstrap", {})
        self.refused(413, "POST", "/ids", raw=b" " * (BODY_BYTES_MAX + 1))
        self.assertEqual(self.client.ask("POST", "/ids", raw=b'{"count": 1}'.ljust(BODY_BYTES_MAX)).code, 200)

    def test_limits(self) -> None:
        for path, count in (("/ids", module.IDS_MAX), ("/timestamps", BATCH_MAX)):
            self.refused(400, "POST", path, {"count": count + 1})
            self.refused(400, "POST", path, {"count": 0})
        self.begin()
        body = {"store": 1, "folder": "f1", "regions": [region(1, "", "")] * (module.HEARTBEATS_MAX + 1)}
        self.refused(400, "POST", "/region-heartbeats", body)

    def test_parameters(self) -> None:
        for path in ("/stores/0", "/stores/65536", "/stores/x", "/stores/%ff", "/stores/1?x=1", "/stores?state=x"):
            self.refused(400, "GET", path)
        for query in ("", "?key=x", "?key=0", "?key=00&key=01", "?" + "&".join(f"a{n}=1" for n in range(40))):
            self.refused(400, "GET", f"/region-at{query}")

    def test_web_pages(self) -> None:
        self.refused(403, "GET", "/stores", origin="http://evil.example")
        self.refused(403, "GET", "/stores", host="evil.example:2379")
        for host in ("localhost:2379", "[::1]:2379", "scheduler.example:2379", "10.0.0.1"):
            self.assertEqual(self.client.ask("GET", "/stores", host=host).code, 200)

    def test_token(self) -> None:
        self.client = Client(self.client.member, token=TOKEN)
        self.assertEqual(self.refused(401, "GET", "/stores").header("www-authenticate"), 'Bearer realm="TinySchedule"')
        for shown in ("Bearer wrong", f"Basic {TOKEN.decode()}", TOKEN.decode(), "Bearer"):
            self.refused(401, "PUT", "/stores/1", store(1), authorization=shown)
        self.good("GET", "/stores", authorization=f"Bearer {TOKEN.decode()}")
        self.refused(401, "GET", "//metrics")
        self.assertEqual(self.client.ask("GET", "//healthz").code, 200)

    def test_rate(self) -> None:
        self.client = Client(self.client.member, rate=2)
        self.assertEqual([self.client.ask("GET", "/members").code for _ in range(4)], [200] * 4)
        self.assertEqual(self.refused(429, "GET", "/members").header("retry-after"), "1")
        self.client.now += 0.5
        self.assertEqual([self.client.ask("GET", "/members").code for _ in range(2)], [200, 429])

    def test_defects_are_told(self) -> None:
        def broken(call: Any) -> dict[str, Any]:
            raise ZeroDivisionError

        def missing(call: Any) -> dict[str, Any]:
            raise NotFound("nothing")

        member = self.client.member
        member.routes = RouteTable(
            [
                Route(method="GET", path="/broken", name="b", about="", tag="t", answer=broken, result={}),
                Route(method="GET", path="/nan", name="n", about="", tag="t", answer=lambda _: {"a": inf}, result={}),
                Route(method="GET", path="/missing", name="m", about="", tag="t", answer=missing, result={}),
            ]
        )
        self.client = Client(member)
        self.refused(500, "GET", "/broken")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.refused(500, "GET", "/nan")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.refused(404, "GET", "/missing")


class FollowerTests(Case):
    """Members that don't lead."""

    members = 3

    def test_redirects(self) -> None:
        leader = self.client.member
        self.cluster.run(1)
        self.client = Client(next(each for each in self.cluster.alive if each is not leader))
        url = f"http://{leader.name}:2379"
        answer = self.refused(307, "GET", "/stores?state=up")
        self.assertEqual((answer.body["leader"], answer.header("location")), (url, f"{url}/api/v1/stores?state=up"))
        self.refused(307, "PUT", "/stores/1", store(1))
        self.refused(400, "PUT", "/stores/1", {})
        self.assertEqual(self.good("GET", "/members")["leader"], leader.id)
        leader.kill()
        self.cluster.run(1.2)
        answer = self.client.ask("GET", "/stores")
        self.assertIn(answer.code, (307, 503))

    def test_no_leader(self) -> None:
        leader = self.client.member
        others = [each for each in self.cluster.alive if each is not leader]
        leader.kill()
        others[0].kill()
        self.cluster.run(5)
        self.client = Client(others[1])
        self.assertEqual(self.refused(503, "POST", "/ids", {"count": 1}).header("retry-after"), "1")

    def test_leader_without_a_majority(self) -> None:
        leader = self.client.member
        for other in self.cluster.members.values():
            if other is not leader:
                other.kill()
        self.refused(504, "PUT", "/stores/1", store(1))
        self.cluster.run(3)
        self.refused(503, "GET", "/stores")


class DocumentTests(Case):
    """The OpenAPI document."""

    def test_every_route_is_described(self) -> None:
        made = self.client.ask("GET", "//openapi.json").body
        for route in self.client.member.routes.routes:
            operation = made["paths"][route.template][route.method.lower()]
            self.assertEqual(operation["operationId"], route.name)
            self.assertEqual("307" in operation["responses"], not route.anywhere)
            self.assertEqual("requestBody" in operation, route.body is not None)
        names = [route.name for route in self.client.member.routes.routes]
        self.assertEqual(len(set(names)), len(names))

    def test_token_is_described(self) -> None:
        client = Client(self.client.member, token=TOKEN)
        made = client.ask("GET", "//openapi.json", authorization=f"Bearer {TOKEN.decode()}").body
        self.assertEqual(made["security"], [{"token": []}])


class PortTests(Case):
    """What happens before there is a request."""

    def connect(self, factory: Any) -> tuple[Any, StringTransport]:
        """Make a connection."""
        protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        transport = StringTransport()
        if protocol is not None:
            protocol.makeConnection(transport)
        return protocol, transport

    def test_too_long_a_body_is_not_awaited(self) -> None:
        protocol, transport = self.connect(ApiSite(self.client.api, Clock()))
        head = "POST /api/v1/ids HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n"
        protocol.dataReceived(head.format(BODY_BYTES_MAX + 1).encode())
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 413 "))
        self.assertTrue(transport.disconnecting)

    def test_endless_body(self) -> None:
        protocol, transport = self.connect(ApiSite(self.client.api, Clock()))
        protocol.dataReceived(b"POST /api/v1/ids HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b" " * (1 << 16)
        for _ in range(BODY_BYTES_MAX // len(piece) + 3):
            protocol.dataReceived(b"%x\r\n%b\r\n" % (len(piece), piece))
        protocol.dataReceived(b"0\r\n\r\n")
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 413 "))

    def test_connections(self) -> None:
        factory = limited(ApiSite(self.client.api, Clock()), 2)
        first, _ = self.connect(factory)
        self.assertIsNotNone(self.connect(factory)[0])
        self.assertIsNone(self.connect(factory)[0])
        first.connectionLost(None)
        self.assertIsNotNone(self.connect(factory)[0])


class GuardTests(SynchronousTestCase):
    """Who may ask, and how often."""

    def test_addresses_that_are_forgotten(self) -> None:
        limit = RateLimit(1, lambda: 0.0)
        for _ in range(2):
            self.assertTrue(limit.takes("a"))
        self.assertFalse(limit.takes("a"))
        for number in range(ADDRESSES_MAX):
            limit.takes(str(number))
        self.assertTrue(limit.takes("a"))

    def test_no_limit(self) -> None:
        limit = RateLimit(0, lambda: 0.0)
        self.assertTrue(all(limit.takes("a") for _ in range(100)))

    def test_token_without_characters_of_ascii(self) -> None:
        self.assertFalse(Guard(TOKEN, ()).proves(b"Bearer \xff"))
