"""
The HTTP client of C{tinykv ctl schedule}: asks the scheduler's members, whichever leads.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from tinykv.cli.ctl_http import ANSWER_BYTES_MAX, UnknownOutcome
from tinykv.cli.problems import Problem

PREFIX: Final = "/api/v1"
#: How long one answer is awaited, in seconds.
ANSWER_SECONDS: Final = 10.0
#: How long a question is asked again while no member leads, in seconds, and how often.
PATIENCE: Final = 10.0
PAUSE_SECONDS: Final = 0.5

_PORT: Final = 2379
#: Members that may send a question on, one to another.
_REDIRECTS_MAX: Final = 4


class Proof(NamedTuple):
    """
    What is shown to the scheduler, and who vouches for it.

    @ivar token: What it demands; empty for nothing.
    @ivar authority: Certificates that vouch for it, PEM; C{certificate} and C{key} are shown to it.
    """

    token: str = ""
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


class AsksScheduler(Protocol):
    """Who answers questions to the scheduler."""

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """
        Ask, and wait for the answer.

        @param path: Below L{PREFIX}.
        @param body: What is sent, as JSON; None for nothing.
        @raise Problem: It can't be asked, or it refused; L{UnknownOutcome} where nobody can tell.
        """


class Answered(NamedTuple):
    """An answer: its status, and the JSON object that it is."""

    code: int
    body: dict[str, Any]


class HttpScheduler:
    """The members of a scheduler."""

    def __init__(
        self,
        urls: Sequence[str],
        proof: Proof,
        now: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        patience: float = PATIENCE,
    ) -> None:
        """
        @param urls: C{http(s)://HOST[:PORT]} of some members.
        @param patience: How long a question is asked again while nobody answers well, in seconds.
        @raise ValueError: One is no such URL.
        @raise Problem: A certificate can't be used.
        """
        self._urls = [_checked(url) for url in urls]
        self._headers = {"Authorization": f"Bearer {proof.token}"} if proof.token else {}
        self._tls = _context(proof)
        self._now = now
        self._pause = pause
        self._patience = patience

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Ask one after another, until one answers well or refuses."""
        deadline = self._now() + self._patience
        while True:
            problem: Problem | None = None
            for url in self._urls:
                try:
                    return self._follow(url, method, path, body)
                except _Passing as passing:
                    problem = Problem(str(passing))
            assert problem is not None, "somebody was asked"
            if self._now() + PAUSE_SECONDS >= deadline:
                raise problem
            self._pause(PAUSE_SECONDS)

    def _follow(self, url: str, method: str, path: str, body: object) -> dict[str, Any]:
        """
        Ask a member, and the one that it sends us to.

        @raise _Passing: Another one may answer, or the same one later.
        """
        for _ in range(_REDIRECTS_MAX):
            answer = self._exchange(url, method, path, body)
            leader = answer.body.get("leader")
            if answer.code != HTTPStatus.TEMPORARY_REDIRECT or not isinstance(leader, str):
                return judged(url, answer)
            if urlsplit(leader).scheme != urlsplit(url).scheme:
                raise Problem(f"{url} sends us to {leader}, which isn't asked in the same way")
            url = leader
        raise _Passing(f"{url} and others send us on to each other; no member leads")

    def _exchange(self, url: str, method: str, path: str, body: object) -> Answered:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORT
        connection: HTTPConnection
        if parts.scheme == "https":
            connection = HTTPSConnection(host, port, timeout=ANSWER_SECONDS, context=self._tls)
        else:
            connection = HTTPConnection(host, port, timeout=ANSWER_SECONDS)
        try:
            try:
                connection.connect()
            except ssl.SSLError as problem:
                raise Problem(f"{url}: {problem.reason or problem} (see --ca, --cert and --key)") from problem
            except OSError as problem:
                hint = "is a scheduler running there, and is that its http_port?"
                raise _Passing(f"{url} can't be reached ({problem.strerror or problem}); {hint}") from problem
            return self._asked(connection, url, method, path, body)
        finally:
            connection.close()

    def _asked(self, connection: HTTPConnection, url: str, method: str, path: str, body: object) -> Answered:
        sent, headers = None, dict(self._headers)
        if body is not None:
            sent = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, PREFIX + path, sent, headers)
            response = connection.getresponse()
            code, text = response.status, response.read(ANSWER_BYTES_MAX + 1)
        except (OSError, HTTPException) as problem:
            why = f"{url} didn't answer ({str(problem) or type(problem).__name__})"
            if method == "GET":
                raise _Passing(why) from problem
            raise UnknownOutcome(f"{why}; it may have been done") from problem
        try:
            said = json.loads(text) if len(text) <= ANSWER_BYTES_MAX else None
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise Problem(f"{url} isn't the port of a scheduler: its answer can't be understood")
        return Answered(code, said)


class _Passing(Exception):
    """A member gave no answer, and another one may, or the same one soon."""


def judged(url: str, answer: Answered) -> dict[str, Any]:
    """
    Give an answer that is good.

    @raise Problem: It isn't; L{UnknownOutcome} where nobody can tell what was done.
    @raise _Passing: The next may be.
    """
    code, body = answer
    if code == HTTPStatus.OK:
        return body
    error = str(body.get("error", f"status {code}"))
    if code == HTTPStatus.UNAUTHORIZED:
        raise Problem(f"{error} (see --token-file)")
    if code in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        raise _Passing(f"{url}: {error}")
    if code == HTTPStatus.GATEWAY_TIMEOUT:
        raise UnknownOutcome(f"{error}; it may have been done")
    raise Problem(error)


def _checked(url: str) -> str:
    """
    Give a URL as it's used.

    @raise ValueError: It isn't one of a member.
    """
    whole = url if "://" in url else f"http://{url}"
    parts = urlsplit(whole)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or parts.port == 0:
        raise ValueError("expected http://HOST:PORT or https://HOST:PORT, the port of a scheduler's API")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("expected nothing behind the port")
    return whole.rstrip("/")


def _context(proof: Proof) -> ssl.SSLContext:
    """
    Make what TLS needs.

    @raise Problem: A file can't be used.
    """
    try:
        context = ssl.create_default_context(cafile=proof.authority)
        if proof.certificate is not None:
            context.load_cert_chain(proof.certificate, proof.key)
    except OSError as problem:
        named = proof.authority if proof.certificate is None else f"{proof.authority}, {proof.certificate}, {proof.key}"
        raise Problem(f"{named}: {problem.strerror or problem}") from problem
    return context
