"""The HTTP port: its pages, and what it refuses. A client in memory asks; there are no sockets."""

from __future__ import annotations

import json
from typing import Any

from prometheus_client import CollectorRegistry, Counter
from treq.testing import StubTreq
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tinykv.server.http_status import BODY_LIMIT, IDLE_SECONDS, status_resource, status_site


class Trouble(Exception):
    """A page fails in a way that nobody thought of."""


class PageTests(SynchronousTestCase):
    """What each address answers."""

    def setUp(self) -> None:
        self.health: str | None = None
        self.status: dict[str, Any] = {"store": "tinykv", "applied": 7}
        self.registry = CollectorRegistry()
        root = status_resource(lambda: self.status, lambda: self.health, self.registry)
        self.client = StubTreq(root)

    def ask(self, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, str, bytes]:
        """Return status, content type and body of a request."""
        answer = self.successResultOf(self.client.request(method, f"http://127.0.0.1{path}", data=body))
        content = self.successResultOf(answer.content())
        return answer.code, answer.headers.getRawHeaders("content-type")[0], content

    def test_status(self) -> None:
        code, kind, body = self.ask("/status")
        self.assertEqual((code, kind), (200, "application/json"))
        self.assertEqual(json.loads(body), self.status)

    def test_healthy(self) -> None:
        self.assertEqual(self.ask("/healthz"), (200, "text/plain; charset=utf-8", b"ok\n"))

    def test_unhealthy(self) -> None:
        self.health = "the disk is full"
        self.assertEqual(self.ask("/healthz"), (503, "text/plain; charset=utf-8", b"the disk is full\n"))

    def test_metrics(self) -> None:
        Counter("seen", "What was seen.", registry=self.registry).inc(3)
        code, kind, body = self.ask("/metrics")
        self.assertEqual(code, 200)
        self.assertTrue(kind.startswith("text/plain; version="), kind)
        self.assertIn(b"\nseen_total 3.0\n", body)

    def test_root_lists_the_pages(self) -> None:
        code, _, body = self.ask("/")
        self.assertEqual((code, json.loads(body)["pages"]), (200, ["/status", "/healthz", "/metrics"]))

    def test_a_slash_at_the_end_is_the_same_page(self) -> None:
        self.assertEqual(self.ask("/healthz/")[0], 200)

    def test_missing_pages(self) -> None:
        for path in ("/nothing", "/status/more", "/status//", "//", "/healthz/x/y"):
            code, kind, body = self.ask(path)
            self.assertEqual((code, kind), (404, "application/json"), path)
            self.assertEqual(json.loads(body), {"error": "no such page"})

    def test_other_methods(self) -> None:
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            code, kind, body = self.ask("/status", method, b"x" if method == "POST" else None)
            self.assertEqual((code, kind), (405, "application/json"), method)
            self.assertIn("error", json.loads(body))

    def test_head(self) -> None:
        for path in ("/", "/status", "/healthz", "/metrics"):
            code, kind, body = self.ask(path, "HEAD")
            self.assertEqual((code, kind, body), (200, self.ask(path)[1], b""))
        self.assertEqual(self.ask("/nothing", "HEAD")[0], 404)

    def test_a_failing_page_is_told_and_logged(self) -> None:
        def fail() -> dict[str, Any]:
            raise Trouble

        self.client = StubTreq(status_resource(fail, lambda: None, self.registry))
        code, _, body = self.ask("/status")
        self.assertEqual((code, json.loads(body)), (500, {"error": "internal error, see the log"}))
        self.assertEqual(len(self.flushLoggedErrors(Trouble)), 1)
        self.assertEqual(self.ask("/healthz")[0], 200)


class ConnectionTests(SynchronousTestCase):
    """What a connection may do."""

    def setUp(self) -> None:
        self.clock = Clock()
        root = status_resource(dict, lambda: None, CollectorRegistry())
        self.site = status_site(root, self.clock)
        self.transport = StringTransport()
        self.protocol = self.site.buildProtocol(None)
        self.protocol.makeConnection(self.transport)

    def send(self, *headers: str) -> bytes:
        """Send the head of a request for /healthz and return what came back."""
        lines = ["POST /healthz HTTP/1.1", "Host: x", *headers, "", ""]
        self.protocol.dataReceived("\r\n".join(lines).encode())
        return self.transport.value()

    def test_a_body_at_the_limit_is_awaited(self) -> None:
        self.assertEqual(self.send(f"Content-Length: {BODY_LIMIT}"), b"")
        self.protocol.dataReceived(b"x" * BODY_LIMIT)
        self.assertTrue(self.transport.value().startswith(b"HTTP/1.1 405 "))

    def test_a_body_past_the_limit_closes(self) -> None:
        self.assertTrue(self.send(f"Content-Length: {BODY_LIMIT + 1}").startswith(b"HTTP/1.1 413 "))
        self.assertTrue(self.transport.disconnecting)

    def test_a_body_of_unknown_length_closes(self) -> None:
        self.assertTrue(self.send("Transfer-Encoding: chunked").startswith(b"HTTP/1.1 413 "))
        self.assertTrue(self.transport.disconnecting)

    def test_an_idle_connection_is_closed(self) -> None:
        self.clock.advance(IDLE_SECONDS - 1)
        self.assertFalse(self.transport.disconnecting)
        self.clock.advance(2)
        self.assertTrue(self.transport.disconnecting)
