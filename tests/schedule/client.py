"""Requests to the API of simulated members, without sockets."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry
from treq.content import content
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.client import FileBodyProducer
from twisted.web.http_headers import Headers

from tests.schedule.cluster import Member
from tinykv.schedule.guard import Guard, RateLimit
from tinykv.schedule.http import Api


class Answer(NamedTuple):
    """What came back; C{body} is what its JSON says, or its text."""

    code: int
    body: Any
    headers: Headers

    def header(self, name: str) -> str | None:
        """Give a header."""
        values = self.headers.getRawHeaders(name)
        return values[0] if values else None


class Client:
    """Asks one member."""

    def __init__(self, member: Member, *, token: bytes = b"", rate: int = 0) -> None:
        self.member = member
        self.now = 0.0
        self.health: str | None = None
        host = member.host
        self.api = Api(
            table=member.routes,
            guard=Guard(token, {"scheduler.example"}),
            limit=RateLimit(rate, lambda: self.now),
            leads=lambda: member.leadership.leads,
            leader=lambda: host.leader,
            url_of=host.state.url_of,
            health=lambda: self.health,
            registry=CollectorRegistry(),
        )
        self._agent = RequestTraversalAgent(self.api)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        host: str = "127.0.0.1:2379",
        **headers: str,
    ) -> Answer:
        """
        Ask something below C{/api/v1}, or a whole path.

        @param body: Sent as JSON; C{raw} as it is.
        """
        sent = Headers({name.replace("_", "-"): [value] for name, value in headers.items()})
        if body is not None:
            raw = json.dumps(body).encode()
        if raw is not None and not sent.hasHeader("content-type"):
            sent.setRawHeaders("content-type", ["application/json"])
        path = path[1:] if path.startswith("//") else f"/api/v1{path}"
        producer = None if raw is None else FileBodyProducer(BytesIO(raw), cooperator=_AtOnce())
        response = self._wait(self._agent.request(method.encode(), f"http://{host}{path}".encode(), sent, producer))
        text = self._wait(content(response))
        kind = (response.headers.getRawHeaders("content-type") or [""])[0]
        said = json.loads(text) if kind == "application/json" and text else text.decode()
        return Answer(response.code, said, response.headers)

    def _wait(self, asked: Deferred[Any]) -> Any:
        """Let time pass until it's answered."""
        answers: list[Any] = []
        asked.addBoth(answers.append)
        for _ in range(2_000):
            self._agent.flush()
            if answers:
                break
            self.member.cluster.run(0.005)
        assert answers, "it wasn't answered"
        if isinstance(answers[0], Failure):
            answers[0].raiseException()
        return answers[0]


class _AtOnce:
    """Does all of a task at once."""

    def cooperate(self, iterator: Any) -> Any:
        """Do it."""
        for _ in iterator:
            pass
        return _Done()


class _Done:
    """A task that's done."""

    def whenDone(self) -> Deferred[None]:  # noqa: N802 - the name that Twisted calls
        """Say so."""
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def stop(self) -> None:
        """There's nothing to stop."""

    pause = resume = stop
