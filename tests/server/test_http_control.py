"""The pages for operators: what is answered, and what is refused. A client in memory asks; there are no sockets."""

from __future__ import annotations

import json
from typing import Any

from prometheus_client import CollectorRegistry
from treq.testing import StubTreq
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.server.controls import FakeControl
from tinykv.errors import ControlRefused
from tinykv.server.control import QUESTION_BYTES_MAX
from tinykv.server.http_control import HEADER, control_resource
from tinykv.server.http_status import status_resource, status_site

HEADERS = {HEADER: "1", "Content-Type": "application/json"}


def unreachable(store: int, payload: bytes) -> Deferred[bytes]:
    """Pass nothing on."""
    return fail(ControlRefused("there is no link"))


class PageTests(SynchronousTestCase):
    """What each address answers."""

    def setUp(self) -> None:
        self.control = FakeControl()
        root = status_resource(dict, lambda: None, CollectorRegistry())
        root.putChild(b"control", control_resource(self.control, unreachable, {"host-1"}))
        self.client = StubTreq(root)

    def ask(
        self,
        path: str,
        body: Any = None,
        *,
        method: str | None = None,
        headers: dict[str, str] = HEADERS,
        host: str = "127.0.0.1",
    ) -> tuple[int, dict[str, Any]]:
        """Return status and body of a request: a POST if there's a body."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        method = method or ("GET" if body is None else "POST")
        answer = self.successResultOf(
            self.client.request(method, f"http://{host}/control{path}", data=data, headers=headers)
        )
        content = self.successResultOf(answer.content())
        self.assertEqual(answer.headers.getRawHeaders("content-type"), ["application/json"])
        self.assertEqual(answer.headers.getRawHeaders("cache-control"), ["no-store"])
        return answer.code, json.loads(content) if content else {}

    def test_members(self) -> None:
        code, body = self.ask("/v1/members", headers={})
        self.assertEqual((code, body["leader"], body["store"]), (200, 1, 1))
        self.assertEqual(
            body["members"][2], {"store": 3, "address": "host-3:20160", "role": "voter", "leads": False, "up": True}
        )

    def test_status(self) -> None:
        code, body = self.ask("/v1/status/", headers={})
        self.assertEqual((code, body["regions"][0]["term"]), (200, 5))

    def test_head(self) -> None:
        self.assertEqual(self.ask("/v1/status", method="HEAD"), (200, {}))

    def test_changes(self) -> None:
        self.assertEqual(self.ask("/v1/add-store", {"store": 4, "address": "d:1"}), (202, {"store": 4}))
        self.assertEqual(self.ask("/v1/remove-store", {"store": 4}), (202, {"store": 4}))
        self.assertEqual(self.ask("/v1/checksum", {})[0], 200)
        self.assertEqual(self.ask("/v1/transfer-leader", {}), (200, {"leader": 2}))
        asked = [("add-store", 4, "d:1"), ("remove-store", 4), ("checksum", 600), ("transfer-leader", None)]
        self.assertEqual(self.control.asked, asked)

    def test_refusals_have_their_reason(self) -> None:
        self.control.problem = ControlRefused("another change is under way")
        self.assertEqual(self.ask("/v1/remove-store", {"store": 2}), (409, {"error": "another change is under way"}))
        self.control.problem = None
        self.control.leads = 2
        code, body = self.ask("/v1/remove-store", {"store": 2})
        self.assertEqual((code, body["leader"]), (503, 2))

    def test_what_is_there(self) -> None:
        for path in ("", "/", "/v1", "/v1/"):
            self.assertIn("/control/v1/add-store", self.ask(path)[1]["pages"])
        for path in ("/v2", "/v1/nothing", "/v1/members/3", "//"):
            self.assertEqual(self.ask(path), (404, {"error": "no such page"}))

    def test_methods(self) -> None:
        self.assertEqual(self.ask("/v1/members", {})[0], 405)
        for method in ("GET", "PUT", "DELETE", "OPTIONS"):
            self.assertEqual(self.ask("/v1/add-store", method=method)[0], 405)
        self.assertEqual(self.control.asked, [])

    def test_what_a_form_can_send_is_refused(self) -> None:
        for headers, code in (
            ({"Content-Type": "application/json"}, 403),
            ({HEADER: "1"}, 415),
            ({HEADER: "1", "Content-Type": "text/plain"}, 415),
            ({**HEADERS, "Origin": "http://127.0.0.1"}, 403),
            ({**HEADERS, "Origin": "null"}, 403),
        ):
            self.assertEqual(self.ask("/v1/checksum", {}, headers=headers)[0], code, headers)
        self.assertEqual(self.ask("/v1/members", headers={"Origin": "http://example.org"})[0], 403)
        self.assertEqual(self.control.asked, [])

    def test_the_type_may_have_parameters(self) -> None:
        headers = {HEADER: "1", "Content-Type": "Application/JSON; charset=utf-8"}
        self.assertEqual(self.ask("/v1/checksum", {}, headers=headers)[0], 200)

    def test_hosts(self) -> None:
        for host in ("127.0.0.1:20180", "[::1]:20180", "localhost", "LOCALHOST.", "host-1:80", "192.0.2.1"):
            self.assertEqual(self.ask("/v1/members", host="127.0.0.1", headers={"Host": host})[0], 200, host)
        for host in ("example.org", "host-2", "127.0.0.1.example.org", "localhost.example.org:20180"):
            code, body = self.ask("/v1/members", headers={"Host": host})
            self.assertEqual(code, 403, host)
            self.assertIn("use its IP address", body["error"])
        self.assertEqual(self.ask("/v1/checksum", {}, headers={**HEADERS, "Host": "example.org"})[0], 403)

    def test_bodies(self) -> None:
        for body in (b"", b"{", b"[]", b"\xff", b"[" * 4000, {"store": 0}, {"store": 1, "now": True}):
            code, answer = self.ask("/v1/remove-store", body)
            self.assertEqual(code, 400, body)
            self.assertIn("error", answer)
        self.assertEqual(self.control.asked, [])

    def test_the_length_of_a_body(self) -> None:
        self.assertEqual(self.ask("/v1/checksum", b"{}".ljust(QUESTION_BYTES_MAX))[0], 200)
        self.assertEqual(self.ask("/v1/checksum", b"{}".ljust(QUESTION_BYTES_MAX + 1))[0], 413)


class PatienceTests(SynchronousTestCase):
    """An answer that takes its time."""

    def setUp(self) -> None:
        self.control = FakeControl()
        self.control.pending = Deferred()
        root = status_resource(dict, lambda: None, CollectorRegistry())
        root.putChild(b"control", control_resource(self.control, unreachable))
        self.clock = Clock()
        self.transport = StringTransport()
        self.protocol = status_site(root, self.clock).buildProtocol(None)
        self.protocol.makeConnection(self.transport)
        lines = ["POST /control/v1/remove-store HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
        self.protocol.dataReceived("\r\n".join([*lines, f"{HEADER}: 1", "Content-Length: 12", "", ""]).encode())
        self.protocol.dataReceived(b'{"store": 3}')

    def test_it_comes_later(self) -> None:
        self.clock.advance(300)
        self.assertEqual(self.transport.value(), b"")
        assert self.control.pending is not None
        self.control.pending.callback(None)
        self.assertTrue(self.transport.value().startswith(b"HTTP/1.1 202 "))

    def test_nobody_waits_for_it_any_more(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))
        assert self.control.pending is not None
        self.control.pending.callback(None)
        self.assertNotIn(3, self.control.roles)
