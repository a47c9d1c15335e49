"""
The HTTP port: who asks, what is asked, and how it's answered.

Answers are JSON objects; one that isn't good has the field C{error}. What only the leader can answer is redirected
there (307, with the leader's URL as Location and in the body), and answered with 503 while none is known. Questions are
held to their route's schemas before anything is done (L{tinykv.schedule.routes}). C{/openapi.json} describes them,
C{/healthz} says whether this member serves, and C{/metrics} gives its figures.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.logger import Logger
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from tinykv.schedule.errors import Conflict, Invalid, NotFound, NotLeader, OutcomeUnknown, Refusal, Unavailable
from tinykv.schedule.guard import Guard, RateLimit
from tinykv.schedule.openapi import document
from tinykv.schedule.routes import Route, RouteTable, read_call
from tinykv.schedule.schemas import read_json

#: Bytes of a body: a store's heartbeats of some thousand regions.
BODY_BYTES_MAX: Final = 1 << 20
#: How long a connection may stay open without a question, in seconds.
IDLE_SECONDS: Final = 60
#: After how many seconds to ask again what can't be answered now.
RETRY_SECONDS: Final = 1

#: The status that Twisted has no name for (RFC 6585).
TOO_MANY_REQUESTS: Final = 429

JSON_TYPE: Final = "application/json"
TEXT_TYPE: Final = "text/plain; charset=utf-8"

#: Statuses by what they say.
STATUSES: Final[dict[type[Refusal], int]] = {
    Invalid: http.BAD_REQUEST,
    NotFound: http.NOT_FOUND,
    Conflict: http.CONFLICT,
    Unavailable: http.SERVICE_UNAVAILABLE,
    OutcomeUnknown: http.GATEWAY_TIMEOUT,
}


class _Refused(Exception):
    """A request isn't taken, before its route is asked."""

    def __init__(self, code: int, reason: str, **headers: str) -> None:
        super().__init__(reason)
        self.code = code
        self.headers = headers


class Api(Resource):
    """
    All pages of the port.

    @ivar answered: How many questions were answered, by status.
    """

    isLeaf = True
    log = Logger()

    def __init__(
        self,
        *,
        table: RouteTable,
        guard: Guard,
        limit: RateLimit,
        leads: Callable[[], bool],
        leader: Callable[[], int],
        url_of: Callable[[int], str],
        health: Callable[[], str | None],
        registry: CollectorRegistry,
    ) -> None:
        """
        @param leads: Tells whether this member leads.
        @param leader: Names the member that leads, 0 while none is known.
        @param url_of: Gives the URL of a member's port, empty if it isn't known.
        @param health: Says what is wrong, or None.
        """
        super().__init__()
        self.answered: dict[int, int] = {}
        self._table = table
        self._guard = guard
        self._limit = limit
        self._leads = leads
        self._leader = leader
        self._url_of = url_of
        self._health = health
        self._registry = registry
        self._document = document(table.routes, token=guard.demands_token)

    def render(self, request: Request) -> bytes | int:
        """Answer a request, now or later."""
        try:
            self._check_sender(request)
            page = self._page(request)
            if page is not None:
                return self._headed(request, *page)
            route, call = self._question(request)
            if not route.anywhere and not self._leads():
                raise NotLeader(self._leader())
        except _Refused as problem:
            for name, value in problem.headers.items():
                request.setHeader(name.replace("_", "-"), value)
            return self._headed(request, problem.code, JSON_TYPE, _json({"error": str(problem)}))
        except Refusal as problem:
            return self._headed(request, *self._refusal(request, problem))
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)

        def ask() -> Any:
            answer = route.answer(call)
            return answer if isinstance(answer, dict | Deferred) else Deferred.fromCoroutine(answer)  # type: ignore[arg-type]

        asked = maybeDeferred(ask).addCallback(lambda answer: (http.OK, JSON_TYPE, _json(answer)))
        asked.addErrback(self._failed, request).addCallback(self._tell, request, gone)
        return NOT_DONE_YET

    # Questions

    def _check_sender(self, request: Request) -> None:
        """
        Look at who asks.

        @raise _Refused: It isn't somebody who may, or it's too often.
        """
        address: Any = request.getClientAddress()
        if not self._limit.takes(str(getattr(address, "host", ""))):
            why = "too many questions from this address, ask again later"
            raise _Refused(TOO_MANY_REQUESTS, why, retry_after=str(RETRY_SECONDS))
        host = request.getRequestHostname().decode("ascii", "backslashreplace")
        why_not = self._guard.distrusts(_header(request, "origin"), host)
        if why_not is not None:
            raise _Refused(http.FORBIDDEN, why_not)
        if request.path != b"/healthz" and not self._guard.proves(_header(request, "authorization")):
            why = "the header Authorization: Bearer TOKEN is needed, with this cluster's token"
            raise _Refused(http.UNAUTHORIZED, why, www_authenticate='Bearer realm="TinySchedule"')

    def _page(self, request: Request) -> tuple[int, str, bytes] | None:
        """Give what is to be read by people and tools, None for a question."""
        if request.path not in (b"/healthz", b"/metrics", b"/openapi.json"):
            return None
        if request.method not in (b"GET", b"HEAD"):
            raise _Refused(http.NOT_ALLOWED, "only GET and HEAD are answered here", allow="GET, HEAD")
        if request.path == b"/metrics":
            return http.OK, CONTENT_TYPE_LATEST, generate_latest(self._registry)
        if request.path == b"/openapi.json":
            return http.OK, JSON_TYPE, _json(self._document)
        reason = self._health()
        if reason is None:
            return http.OK, TEXT_TYPE, b"ok\n"
        return http.SERVICE_UNAVAILABLE, TEXT_TYPE, reason.encode() + b"\n"

    def _question(self, request: Request) -> tuple[Route, Any]:
        """
        Read a question.

        @raise _Refused: There's no such one.
        @raise Invalid: It isn't as its route has it.
        """
        found = self._table.find(request.path)
        if found is None:
            raise _Refused(http.NOT_FOUND, "no such page; /openapi.json names those that there are")
        methods, parts = found
        method = request.method.decode("ascii", "backslashreplace")
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            allowed = ", ".join(sorted(methods) + (["HEAD"] if "GET" in methods else []))
            raise _Refused(http.NOT_ALLOWED, f"only {allowed} is answered here", allow=allowed)
        raw_query = request.uri.partition(b"?")[2]
        try:
            query = parse_qs(raw_query, keep_blank_values=True, max_num_fields=32) if raw_query else {}
        except ValueError as problem:
            raise Invalid("the query has too many parameters") from problem
        return route, read_call(route, parts, query, self._body(request, route))

    def _body(self, request: Request, route: Route) -> Any:
        """
        Read what was sent; None for nothing.

        @raise _Refused: It's too long, or not said to be JSON.
        @raise Invalid: It isn't JSON.
        """
        assert request.content is not None, "the body has come"
        body = request.content.read(BODY_BYTES_MAX + 1)
        if len(body) > BODY_BYTES_MAX:
            raise _Refused(http.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {BODY_BYTES_MAX} bytes")
        if not body and route.body is None:
            return None
        kind = request.getHeader("content-type") or ""
        if kind.partition(";")[0].strip().lower() != JSON_TYPE:
            raise _Refused(http.UNSUPPORTED_MEDIA_TYPE, f"the content type {JSON_TYPE} is needed")
        return read_json(body)

    # Answers

    def _refusal(self, request: Request, problem: Refusal) -> tuple[int, str, bytes]:
        """Make the answer that says why a question isn't answered."""
        body = {"error": str(problem)}
        code = STATUSES.get(type(problem), http.SERVICE_UNAVAILABLE)
        if isinstance(problem, NotLeader):
            url = self._url_of(problem.leader) if problem.leader else ""
            if url:
                code = http.TEMPORARY_REDIRECT
                body["leader"] = url
                request.setHeader("location", url.encode() + request.uri)
        if code == http.SERVICE_UNAVAILABLE:
            request.setHeader("retry-after", str(RETRY_SECONDS))
        return code, JSON_TYPE, _json(body)

    def _failed(self, failure: Failure, request: Request) -> tuple[int, str, bytes]:
        """Make the answer to a question that wasn't answered."""
        problem = failure.value
        if isinstance(problem, Refusal):
            return self._refusal(request, problem)
        self.log.failure("{method} {path} failed", failure, method=request.method, path=request.path)
        return http.INTERNAL_SERVER_ERROR, JSON_TYPE, _json({"error": "internal error, see the log"})

    def _tell(self, answer: tuple[int, str, bytes], request: Request, gone: list[object]) -> None:
        """Send an answer, if it's still awaited."""
        if not gone:
            request.write(self._headed(request, *answer))
            request.finish()

    def _headed(self, request: Request, code: int, kind: str, body: bytes) -> bytes:
        """Put the status and the headers of an answer on a request; return the bytes of its body."""
        self.answered[code] = self.answered.get(code, 0) + 1
        request.setResponseCode(code)
        request.setHeader("content-type", kind)
        request.setHeader("content-length", str(len(body)))
        request.setHeader("cache-control", "no-store")
        request.setHeader("x-content-type-options", "nosniff")
        return b"" if request.method == b"HEAD" else body


def _header(request: Request, name: str) -> bytes | None:
    values = request.requestHeaders.getRawHeaders(name.encode())
    return values[0] if values else None


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, allow_nan=False).encode() + b"\n"


class _Request(Request):
    """A request that is refused as soon as its headers announce too long a body."""

    def gotLength(self, length: int | None) -> None:
        """Close the connection before a body is read that is too long."""
        if length is not None and length > BODY_BYTES_MAX:
            assert self.channel is not None  # it's lost only after the request was received
            body = _json({"error": f"a body has at most {BODY_BYTES_MAX} bytes"})
            head = (
                b"HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body)
            )
            self.channel.write(head + body)
            self.channel.loseConnection()
        else:
            super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - the name that Twisted calls
        """Take a piece of the body; one of unknown length ends when it's too long."""
        assert self.content is not None
        if self.content.tell() <= BODY_BYTES_MAX:
            super().handleContentChunk(data)


class ApiSite(Site):
    """The factory of the port."""

    noisy = False

    def __init__(self, api: Api, clock: IReactorTime) -> None:
        super().__init__(api, requestFactory=_Request, timeout=IDLE_SECONDS, reactor=clock)

    def log(self, request: http.Request) -> None:
        """Write nothing: questions come all the time."""


class _Limited(WrappingFactory):
    """Takes so many connections, and closes further ones."""

    noisy = False

    def __init__(self, wrapped: Any, most: int) -> None:
        super().__init__(wrapped)
        self._most = most

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Take a connection, if it isn't one too many."""
        return None if len(self.protocols) >= self._most else super().buildProtocol(addr)


def limited(factory: Any, connections_max: int) -> Any:
    """Limit how many connections a factory serves at a time."""
    return _Limited(factory, connections_max)
