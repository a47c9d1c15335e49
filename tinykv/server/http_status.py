"""
The HTTP port of a store: what it is doing, whether it serves, and its figures.

- C{/status}: a JSON object for people and tools.
- C{/healthz}: 200 and C{ok} while the store serves; 503 and the reason while it doesn't.
- C{/metrics}: Prometheus's text form.

These only read: GET and HEAD. What an operator may see and change of the cluster is under C{/control}
(L{tinykv.server.http_control}). Errors are JSON objects with one field, C{error}. A body of more than L{BODY_LIMIT}
bytes closes the connection before it's read; an idle connection is closed after L{IDLE_SECONDS}.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web import http
from twisted.web.http import INTERNAL_SERVER_ERROR, NOT_ALLOWED, NOT_FOUND, OK, SERVICE_UNAVAILABLE
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

#: Longest body of a request; the pages here have no use for one.
BODY_LIMIT = 64 << 10
#: How long a connection may stay open without a request.
IDLE_SECONDS = 30

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain; charset=utf-8"

Answer = tuple[int, str, bytes]


class _Page(Resource):
    """One address that answers GET and HEAD with what a callable returns."""

    _log = Logger()

    def __init__(self, answer: Callable[[], Answer]) -> None:
        super().__init__()
        self._answer = answer

    def getChild(self, path: bytes, request: Request) -> Resource:
        """There's nothing below a page, save itself with a slash at the end."""
        return self if path == b"" and not request.postpath else missing_page()

    def render(self, request: Request) -> bytes:
        """Answer; any other method than GET and HEAD is refused, and a failure is logged and told as 500."""
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader("allow", "GET, HEAD")
            code, content_type, body = error_answer(NOT_ALLOWED, "only GET and HEAD are answered here")
        else:
            try:
                code, content_type, body = self._answer()
            except Exception:  # noqa: BLE001  # whatever a page fails with is logged, and told as 500
                self._log.failure("page {path} failed", path=request.path.decode("utf-8", "backslashreplace"))
                code, content_type, body = error_answer(INTERNAL_SERVER_ERROR, "internal error, see the log")
        return headed(request, (code, content_type, body))


class _Root(_Page):
    """The address C{/}, which lists the others, and 404 for all that isn't there."""

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Whatever wasn't put is missing."""
        return self if path == b"" and not request.postpath else missing_page()


def status_resource(
    status: Callable[[], Mapping[str, Any]],
    health: Callable[[], str | None],
    registry: CollectorRegistry,
) -> Resource:
    """
    Make the tree of pages.

    @param status: Returns what /status shows; its values must be such as JSON has.
    @param health: Returns None while the store serves, else the reason why not.
    @param registry: What /metrics exports.
    """

    def status_page() -> Answer:
        return json_answer(OK, status())

    def health_page() -> Answer:
        reason = health()
        if reason is None:
            return OK, TEXT_TYPE, b"ok\n"
        return SERVICE_UNAVAILABLE, TEXT_TYPE, reason.encode() + b"\n"

    def metrics_page() -> Answer:
        return OK, CONTENT_TYPE_LATEST, generate_latest(registry)

    root = _Root(lambda: json_answer(OK, {"pages": ["/status", "/healthz", "/metrics"]}))
    root.putChild(b"status", _Page(status_page))
    root.putChild(b"healthz", _Page(health_page))
    root.putChild(b"metrics", _Page(metrics_page))
    return root


class _Request(Request):
    """A request that is refused as soon as its headers announce more than a small body."""

    def gotLength(self, length: int | None) -> None:
        """Close the connection before a body is read that is too long or of unknown length."""
        if length is None or length > BODY_LIMIT:
            assert self.channel is not None  # it's lost only after the request was received
            self.channel.write(b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\r\n")
            self.channel.loseConnection()
        else:
            super().gotLength(length)


class _Site(Site):
    """The factory of the port. A scrape every few seconds isn't worth a line in the log."""

    def log(self, request: http.Request) -> None:
        """Write nothing."""


def status_site(resource: Resource, clock: IReactorTime) -> Site:
    """Make the factory that serves the pages; the clock times idle connections out."""
    return _Site(resource, requestFactory=_Request, timeout=IDLE_SECONDS, reactor=clock)


def headed(request: Request, answer: Answer) -> bytes:
    """Put the status and the headers of an answer on a request; return the bytes of its body that are to be sent."""
    code, content_type, body = answer
    request.setResponseCode(code)
    request.setHeader("content-type", content_type)
    request.setHeader("content-length", str(len(body)))
    request.setHeader("cache-control", "no-store")
    request.setHeader("x-content-type-options", "nosniff")
    return b"" if request.method == b"HEAD" else body


def json_answer(code: int, value: Mapping[str, Any]) -> Answer:
    """Make an answer of a JSON object."""
    return code, JSON_TYPE, json.dumps(value, indent=2).encode() + b"\n"


def error_answer(code: int, reason: str) -> Answer:
    """Make the answer that says what is wrong with a request."""
    return json_answer(code, {"error": reason})


def missing_page() -> Resource:
    """Make what stands where there is no page."""
    return _Page(lambda: error_answer(NOT_FOUND, "no such page"))
