"""
The HTTP client of C{tinykv ctl}: asks one store, which has the leader answer what only that can.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any, Protocol
from urllib.parse import urlsplit

from tinykv.cli.problems import Problem

#: Longest answer that is read, in bytes: a status of some hundred thousand regions.
ANSWER_BYTES_MAX = 64 << 20

_PORT = 20180


class UnknownOutcome(Problem):
    """What was asked for may have been done, or may still be."""

    exit_code = 3


class Asks(Protocol):
    """Who answers questions about the cluster."""

    def ask(self, name: str, fields: Mapping[str, Any] | None = None, *, longer: float = 0.0) -> dict[str, Any]:
        """
        Ask, and wait for the answer.

        @param name: A page under /control/v1.
        @param fields: What is asked for; None only looks.
        @param longer: How much longer than usual the answer may take, in seconds.
        @raise Problem: It can't be asked, or it refused; L{UnknownOutcome} where nobody can tell.
        """


class HttpControl:
    """The control pages of a store."""

    def __init__(self, url: str, timeout: float) -> None:
        """
        @param url: C{http://HOST[:PORT]}.
        @param timeout: How long an answer is awaited, in seconds.
        @raise ValueError: That's no such URL.
        """
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
        if parts.scheme != "http" or not parts.hostname or parts.username is not None:
            raise ValueError("expected http://HOST:PORT, a store's HTTP port")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError("expected nothing behind the port")
        self._url = url
        self._host = parts.hostname
        self._port = _PORT if port is None else port
        self._timeout = timeout

    def ask(self, name: str, fields: Mapping[str, Any] | None = None, *, longer: float = 0.0) -> dict[str, Any]:
        """Send one request, on a connection of its own."""
        connection = HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            try:
                connection.connect()
            except OSError as problem:
                why = problem.strerror or problem
                hint = "is a store running there, and is that its HTTP port (http_port)?"
                raise Problem(f"{self._url} can't be reached ({why}); {hint}") from problem
            assert connection.sock is not None, "it's connected"
            connection.sock.settimeout(self._timeout + longer)
            code, body = self._exchange(connection, name, fields)
        finally:
            connection.close()
        return judged(self._url, code, body)

    def _exchange(
        self, connection: HTTPConnection, name: str, fields: Mapping[str, Any] | None
    ) -> tuple[int, bytes]:
        path = f"/control/v1/{name}"
        try:
            if fields is None:
                connection.request("GET", path)
            else:
                headers = {"Content-Type": "application/json", "X-TinyKV-Control": "1"}
                connection.request("POST", path, json.dumps(fields).encode(), headers)
            response = connection.getresponse()
            return response.status, response.read(ANSWER_BYTES_MAX + 1)
        except (OSError, HTTPException) as problem:
            why = str(problem) or type(problem).__name__
            if fields is None:
                raise Problem(f"{self._url} didn't answer ({why})") from problem
            raise UnknownOutcome(
                f"{self._url} didn't answer ({why}); it may have been done: see `tinykv ctl members`"
            ) from problem


def judged(url: str, code: int, body: bytes) -> dict[str, Any]:
    """
    Give an answer that is good.

    @param url: Who gave it.
    @raise Problem: It isn't; L{UnknownOutcome} where nobody can tell what was done.
    """
    try:
        answer = json.loads(body) if len(body) <= ANSWER_BYTES_MAX else None
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise Problem(f"{url} isn't the HTTP port of a TinyKV store: its answer can't be understood")
    if code in (200, 202):
        return answer
    if code == 404:
        raise Problem(f"{url} knows nothing of a cluster: its store is on its own, or of another version")
    error = str(answer.get("error", f"status {code}"))
    if code == 504:
        raise UnknownOutcome(f"{error}; it may have been done: see `tinykv ctl members`")
    raise Problem(error)
