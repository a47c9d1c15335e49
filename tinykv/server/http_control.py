"""
The pages of the HTTP port by which operators see and change a cluster; `tinykv ctl` uses them.

- GET C{/control/v1/members} and C{/control/v1/status};
- POST C{/control/v1/add-store} (C{{"store": 4, "address": "host:20160"}}), C{/control/v1/remove-store}
  (C{{"store": 4}}), C{/control/v1/transfer-leader} (C{{}} or C{{"store": 2}}), C{/control/v1/checksum} (C{{}} or
  C{{"timeout": 60}}, in seconds; it's answered when it's done), C{/control/v1/split} (C{{}} or C{{"parts": 4}} for
  parts of about as many keys, C{{"slots": [4096, 8192]}} for parts that begin at these slots, the first one apart; it's
  answered when it's done, with the slots that each region has by then), C{/control/v1/merge}
  (C{{"region": 7, "target": 2}}: region 7 becomes a part of region 2, its neighbour; answered likewise).
- Those that are about a region take C{{"region": 7}} too.

Answers are JSON objects; one that isn't good has the field C{error}. 202 means that a change has begun: members tells
when it's done. 409 means that nothing was done, 503 that there's no leader and nothing was done, 504 that nobody can
tell.

The port asks for no password, so a web page in an operator's browser mustn't get at it. What browsers send with
C{Origin} is refused, and what is sent to a host name that isn't ours: such a name may have been made to point here. A
POST needs the header L{HEADER} and the type of JSON, which no form can send.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import (
    BAD_REQUEST,
    FORBIDDEN,
    INTERNAL_SERVER_ERROR,
    NOT_ALLOWED,
    OK,
    REQUEST_ENTITY_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
)
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from tinykv.interfaces import IClusterControl
from tinykv.server.control import (
    ACTIONS,
    QUESTION_BYTES_MAX,
    VIEWS,
    Answer,
    BadQuestion,
    Question,
    Relay,
    ask,
    decode_json,
    described,
    question_of,
)
from tinykv.server.http_status import JSON_TYPE, error_answer, headed, json_answer, missing_page

#: Stands in every POST, with any value.
HEADER: Final = "X-TinyKV-Control"


class _Refused(Exception):
    """
    A request isn't taken.

    @ivar code: The status that says so.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class _Branch(Resource):
    """An address that has others below it."""

    def __init__(self, pages: list[str]) -> None:
        super().__init__()
        self._pages = pages

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Whatever wasn't put is missing."""
        return self if path == b"" and not request.postpath else missing_page()

    def render(self, request: Request) -> bytes:
        """List what is below."""
        return headed(request, json_answer(OK, {"pages": self._pages}))


class _Page(Resource):
    """One question's address."""

    _log = Logger()

    def __init__(self, name: str, control: IClusterControl, relay: Relay, hosts: Collection[str]) -> None:
        super().__init__()
        self._name = name
        self._control = control
        self._relay = relay
        self._hosts = hosts

    def getChild(self, path: bytes, request: Request) -> Resource:
        """There's nothing below a page, save itself with a slash at the end."""
        return self if path == b"" and not request.postpath else missing_page()

    def render(self, request: Request) -> bytes | int:
        """Answer now if the request isn't taken, later if it is."""
        try:
            question = self._question(request)
        except _Refused as problem:
            return headed(request, error_answer(problem.code, str(problem)))
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        answered = Deferred.fromCoroutine(ask(self._control, self._relay, question))
        answered.addCallback(self._tell, request, question, gone)
        answered.addErrback(self._failed, request, gone)
        return NOT_DONE_YET

    def _question(self, request: Request) -> Question:
        """
        Read the question.

        @raise _Refused: It isn't one, or not from an operator.
        """
        self._check_sender(request)
        if self._name in VIEWS:
            if request.method not in (b"GET", b"HEAD"):
                request.setHeader("allow", "GET, HEAD")
                raise _Refused(NOT_ALLOWED, "only GET and HEAD are answered here")
            return Question(self._name)
        if request.method != b"POST":
            request.setHeader("allow", "POST")
            raise _Refused(NOT_ALLOWED, "only POST is answered here")
        if not request.requestHeaders.hasHeader(HEADER):
            raise _Refused(FORBIDDEN, f"the header {HEADER} is needed")
        kind = request.getHeader("content-type") or ""
        if kind.partition(";")[0].strip().lower() != JSON_TYPE:
            raise _Refused(UNSUPPORTED_MEDIA_TYPE, f"the content type {JSON_TYPE} is needed")
        assert request.content is not None, "the body has come"
        body = request.content.read(QUESTION_BYTES_MAX + 1)
        if len(body) > QUESTION_BYTES_MAX:
            raise _Refused(REQUEST_ENTITY_TOO_LARGE, f"a question has at most {QUESTION_BYTES_MAX} bytes")
        try:
            return question_of(self._name, decode_json(body))
        except BadQuestion as problem:
            raise _Refused(BAD_REQUEST, str(problem)) from problem

    def _check_sender(self, request: Request) -> None:
        """
        Look for signs of a web page.

        @raise _Refused: There are some.
        """
        if request.requestHeaders.hasHeader("origin"):
            raise _Refused(FORBIDDEN, "web pages aren't answered here (there's an Origin)")
        host = request.getRequestHostname().decode("ascii", "backslashreplace").lower().rstrip(".")
        if host != "localhost" and host not in self._hosts and not _is_number(host):
            raise _Refused(FORBIDDEN, f"the host name {host!r} isn't known to be this store's; use its IP address")

    def _tell(self, answer: Answer, request: Request, question: Question, gone: list[object]) -> None:
        """Send the answer, if it's still awaited."""
        if question.name in ACTIONS:
            self._log.info(
                "{client} asked for {question}: {code} {error}",
                client=request.getClientAddress(),
                question=described(question),
                code=answer.code,
                error=answer.body.get("error", ""),
            )
        if not gone:
            request.write(headed(request, json_answer(*answer)))
            request.finish()

    def _failed(self, failure: Failure, request: Request, gone: list[object]) -> None:
        """Tell of a defect."""
        self._log.failure("{name} failed", failure=failure, name=self._name)
        if not gone:
            request.write(headed(request, error_answer(INTERNAL_SERVER_ERROR, "internal error, see the log")))
            request.finish()


def _is_number(host: str) -> bool:
    """Tell whether a host is an IP address: no name leads to it, so none can mislead."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def control_resource(control: IClusterControl, relay: Relay, hosts: Collection[str] = ()) -> Resource:
    """
    Make what stands at C{/control}.

    @param relay: Takes questions that only the leader can answer to it.
    @param hosts: Names of this host by which it may be asked, in lower case, beside localhost and IP addresses.
    """
    names = (*VIEWS, *ACTIONS)
    pages = [f"/control/v1/{name}" for name in names]
    root, version = _Branch(pages), _Branch(pages)
    root.putChild(b"v1", version)
    for name in names:
        version.putChild(name.encode(), _Page(name, control, relay, hosts))
    return root
