"""
The scheduler as a client asks it: whichever member leads, over HTTP.

Any member that answers says which one leads, and that one is asked from then on until it can't be reached or leads no
more. Meanwhile, and while no member leads, the question is asked again, with pauses that grow and are never quite the
same, until the time is over that it may take. All that is asked here may safely be asked twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from http import HTTPStatus
from random import Random
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from treq import collect
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import TimeoutError as TooLate
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IConsumer, IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import HTTPConnectionPool, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from tinykv.errors import ScheduleRefused, ScheduleUnavailable
from tinykv.interfaces import ClusterBeginning, HeardRegions, IScheduler, PartIds, SplitChoices
from tinykv.placement.operators import Order
from tinykv.placement.plain import BadRecord
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.stores import StoreRecord, StoreStats

T = TypeVar("T")

#: Below which all questions are.
PREFIX: Final = "/api/v1"
#: How long a question may take, in seconds, all attempts together, where nothing else is said.
PATIENCE: Final = 10.0
#: How long one attempt may take: then another member may answer sooner.
ATTEMPT_SECONDS: Final = 5.0
#: How long connections may take to end.
CLOSE_SECONDS: Final = 1.0
#: The first pause between attempts, in seconds; each is twice the one before, up to the longest. A part of each is
#: chance, so that stores that lost the same scheduler don't all come back at once.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 2.0
#: How many members may send a question on to another, one after the other, before it counts as unanswered.
REDIRECTS_MAX: Final = 4
#: Longest answer, in bytes: that of some 100,000 regions.
ANSWER_BYTES_MAX: Final = 64 << 20
#: How much of an answer is quoted that isn't understood.
_QUOTED: Final = 200

#: Twisted has it as a number that its typing doesn't know.
TOO_MANY_REQUESTS: Final = HTTPStatus.TOO_MANY_REQUESTS
#: Answers after which the same question may get a better one.
_PASSING: Final = frozenset(
    (TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT, HTTPStatus.INTERNAL_SERVER_ERROR)
)
#: Those of them after which it may have been done.
_UNKNOWN: Final = frozenset((HTTPStatus.GATEWAY_TIMEOUT, HTTPStatus.INTERNAL_SERVER_ERROR))

_RECORD_FIELDS: Final = frozenset(field.name for field in fields(StoreRecord))


class _NoAnswer(Exception):
    """
    An attempt failed.

    @ivar arrived: Whether the question may have reached somebody.
    """

    def __init__(self, why: str, arrived: bool) -> None:
        super().__init__(why)
        self.arrived = arrived


@implementer(IBodyProducer)
class _Body:
    """What is sent: little enough to be written at once."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:  # noqa: N802 - the name that Twisted calls
        """Write it."""
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing is left to be paused."""

    def resumeProducing(self) -> None:
        """Nothing is left to go on with."""

    def stopProducing(self) -> None:
        """Nothing is left to be stopped."""


@implementer(IScheduler)
class Scheduler:
    """
    The members of a scheduler, as one.

    @ivar leader: The URL of the member that leads, as far as that is known; empty if it isn't.
    """

    def __init__(
        self,
        *,
        addresses: Sequence[str],
        agent: IAgent,
        clock: IReactorTime,
        random: Random,
        token: bytes = b"",
        tls: bool = False,
        pool: HTTPConnectionPool | None = None,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
    ) -> None:
        """
        @param addresses: C{host:port} of each member, or of some.
        @param agent: Makes the requests; by https it has to make sure whom it asks.
        @param token: What the scheduler demands; empty for nothing.
        @param tls: Whether it's asked by https.
        @param pool: The agent's connections, to be closed at the end.
        """
        assert addresses, "somebody has to be asked"
        self.leader = ""
        self._scheme = "https" if tls else "http"
        self._urls = [f"{self._scheme}://{address}" for address in addresses]
        self._next = 0
        self._http = HTTPClient(agent)
        self._clock = clock
        self._random = random
        self._pool = pool
        self._answer_bytes_max = answer_bytes_max
        self._headers = Headers({"User-Agent": ["tinykv"]})
        if token:
            self._headers.setRawHeaders(b"Authorization", [b"Bearer " + token])
        self._asking: set[Deferred[Any]] = set()
        self._closed = False

    # Questions

    def term(self) -> Deferred[int]:
        """Ask in which term a member leads: any of them answers, and the one that it names is asked next."""

        def read(answer: dict[str, Any]) -> int:
            leader = answer["leader"]
            urls = [each["url"] for each in answer["members"] if each["member"] == leader]
            self.leader = self._leader_in({"leader": urls[0]}) if urls else ""
            return int(answer["term"]) if leader is not None else 0

        return self.ask("GET", "/members").addCallback(_read, read)

    def beginning(self) -> Deferred[ClusterBeginning]:
        """Ask how the cluster begins."""

        def read(answer: dict[str, Any]) -> ClusterBeginning:
            return {
                "cluster_id": str(answer["cluster_id"]),
                "bootstrapped": bool(answer["bootstrapped"]),
                "missing_stores": int(answer["missing_stores"]),
                "regions": [RegionInfo.from_json(plain) for plain in answer["regions"]],
            }

        return self.ask("GET", "/bootstrap").addCallback(_read, read)

    def tell_beginning(self, cluster_id: str, regions: Sequence[RegionInfo]) -> Deferred[None]:
        """Say how the cluster began."""
        body = {"cluster_id": cluster_id, "regions": [region.to_json() for region in regions]}
        return self.ask("PUT", "/bootstrap", body).addCallback(lambda answer: None)

    def register(
        self, store_id: int, *, address: str, client_address: str, folder_id: str, labels: dict[str, str]
    ) -> Deferred[StoreRecord]:
        """Say that a store is there."""
        body = {"address": address, "client_address": client_address, "folder": folder_id, "labels": labels}
        return self.ask("PUT", f"/stores/{store_id}", body).addCallback(_read, _record)

    def stores(self) -> Deferred[dict[int, StoreRecord]]:
        """List the stores."""

        def read(answer: dict[str, Any]) -> dict[int, StoreRecord]:
            return {record.store: record for record in map(_record, answer["stores"])}

        return self.ask("GET", "/stores").addCallback(_read, read)

    def store_heartbeat(self, store_id: int, folder_id: str, stats: StoreStats) -> Deferred[None]:
        """Say how a store is."""
        body = {"folder": folder_id, "stats": stats.to_json()}
        return self.ask("POST", f"/stores/{store_id}/heartbeat", body).addCallback(lambda answer: None)

    def split_choices(self) -> Deferred[SplitChoices]:
        """Ask when regions are to be split."""

        def read(answer: dict[str, Any]) -> SplitChoices:
            # One that is older has no such choices.
            names = ("region_max_size", "region_split_size", "split_load_threshold")
            return SplitChoices(*(int(answer.get(name, 0)) for name in names))

        return self.ask("GET", "/config").addCallback(_read, read)

    def region_heartbeats(self, store_id: int, folder_id: str, regions: Sequence[RegionInfo]) -> Deferred[HeardRegions]:
        """Say how regions are."""
        body = {"store": store_id, "folder": folder_id, "regions": [region.to_json() for region in regions]}

        def read(answer: dict[str, Any]) -> HeardRegions:
            return {
                "orders": [Order.from_json(plain) for plain in answer["orders"]],
                "refused": {int(each["region"]): str(each["reason"]) for each in answer["refused"]},
            }

        return self.ask("POST", "/region-heartbeats", body).addCallback(_read, read)

    def ids(self, count: int) -> Deferred[range]:
        """Ask for ids."""

        def read(answer: dict[str, Any]) -> range:
            first = int(answer["first"])
            return range(first, first + count)

        return self.ask("POST", "/ids", {"count": count}).addCallback(_read, read)

    def timestamps(self, count: int) -> Deferred[range]:
        """Ask for timestamps."""

        def read(answer: dict[str, Any]) -> range:
            first = int(answer["physical"]) << 18 | int(answer["logical"])
            return range(first, first + count)

        return self.ask("POST", "/timestamps", {"count": count}).addCallback(_read, read)

    def ask_split(self, region: int, *, version: int, conf_ver: int, count: int) -> Deferred[list[PartIds]]:
        """Ask for the ids of parts."""
        body = {"version": version, "conf_ver": conf_ver, "count": count}

        def read(answer: dict[str, Any]) -> list[PartIds]:
            parts: list[PartIds] = [
                {"region": int(part["region"]), "peers": [int(peer) for peer in part["peers"]]}
                for part in answer["regions"]
            ]
            if len(parts) != count:
                raise ValueError(f"ids for {len(parts)} parts, not for {count}")
            return parts

        return self.ask("POST", f"/regions/{region}/ask-split", body).addCallback(_read, read)

    def report_split(self, regions: Sequence[RegionInfo]) -> Deferred[None]:
        """Say how a region was split."""
        body = {"regions": [region.to_json() for region in regions]}
        return self.ask("POST", "/report-split", body).addCallback(lambda answer: None)

    def region_at(self, key: bytes) -> Deferred[RegionInfo | None]:
        """Ask for the region of a key."""

        def unknown(failure: Failure) -> None:
            failure.trap(ScheduleRefused)
            problem = failure.value
            assert isinstance(problem, ScheduleRefused)
            if problem.status != HTTPStatus.NOT_FOUND:
                failure.raiseException()

        asked = self.ask("GET", f"/region-at?key={key.hex()}").addCallback(_read, RegionInfo.from_json)
        return asked.addErrback(unknown)

    def regions(self, start: bytes, end: bytes, limit: int) -> Deferred[list[RegionInfo]]:
        """List regions."""

        def read(answer: dict[str, Any]) -> list[RegionInfo]:
            return [RegionInfo.from_json(plain) for plain in answer["regions"]]

        path = f"/regions?start={start.hex()}&end={end.hex()}&limit={limit}"
        return self.ask("GET", path).addCallback(_read, read)

    def close(self) -> Deferred[None]:
        """Give up what is under way, and end the connections."""
        self._closed = True
        for asked in list(self._asking):
            asked.cancel()
        if self._pool is None:
            return succeed(None)
        closing: Deferred[None] = self._pool.closeCachedConnections().addCallback(lambda _: None)
        # TLS waits for the other side's goodbye, which may never come.
        closing.addTimeout(CLOSE_SECONDS, self._clock).addErrback(lambda failure: failure.trap(TooLate) and None)
        return closing

    # How they're asked

    def ask(self, method: str, path: str, body: object = None, seconds: float = PATIENCE) -> Deferred[dict[str, Any]]:
        """
        Ask something below L{PREFIX}.

        @param body: What is sent, as JSON; None for nothing.
        @param seconds: How long it may take.
        @return: What was answered. Fails with a L{tinykv.errors.ScheduleProblem}.
        """
        asked = Deferred.fromCoroutine(self._ask(method, PREFIX + path, body, seconds))
        self._asking.add(asked)

        def answered(result: T) -> T:
            self._asking.discard(asked)
            return result

        return asked.addBoth(answered)

    async def _ask(self, method: str, path: str, body: object, seconds: float) -> dict[str, Any]:
        payload = None if body is None else json.dumps(body, allow_nan=False).encode()
        deadline = self._clock.seconds() + seconds
        pause = FIRST_PAUSE
        failures = redirects = 0
        perhaps_done = False
        while True:
            url = self.leader or self._urls[self._next]
            left = max(deadline - self._clock.seconds(), 0.0)
            least = 0.0
            try:
                status, answer, least = await self._attempt(method, url + path, payload, min(left, ATTEMPT_SECONDS))
            except _NoAnswer as problem:
                perhaps_done = perhaps_done or problem.arrived
                why = str(problem)
            else:
                if status == HTTPStatus.OK:
                    self.leader = url
                    return answer
                why = str(answer.get("error", f"status {status}"))
                if status == HTTPStatus.TEMPORARY_REDIRECT:
                    leader = self._leader_in(answer)
                    if leader not in ("", url) and redirects < REDIRECTS_MAX:
                        redirects += 1
                        self.leader = leader
                        continue
                    why += f", and sends to {leader or 'nowhere that may be asked'}"
                elif status not in _PASSING:
                    raise ScheduleRefused(status, f"the scheduler at {_place(url)} refuses: {_advised(status, why)}")
                perhaps_done = perhaps_done or status in _UNKNOWN
            if self._closed:
                raise ScheduleUnavailable("the scheduler isn't asked any more: this ends", perhaps_done)
            self._failed(url)
            failures += 1
            if failures < len(self._urls) and self._clock.seconds() < deadline:
                continue
            # Nobody is left to be asked at once, or no time.
            failures = redirects = 0
            wait = max(pause * (1 + self._random.random()) / 2, min(least, LONGEST_PAUSE))
            pause = min(2 * pause, LONGEST_PAUSE)
            if self._clock.seconds() + wait >= deadline:
                raise ScheduleUnavailable(f"the scheduler gives no answer: {_place(url)}: {why}", perhaps_done)
            try:
                await deferLater(self._clock, wait)
            except CancelledError as problem:
                raise ScheduleUnavailable("the scheduler isn't asked any more: this ends", perhaps_done) from problem

    def _failed(self, url: str) -> None:
        """Ask somebody else next than who failed, unless another question has found somebody meanwhile."""
        if self.leader == url:
            self.leader = ""
        if self._urls[self._next] == url:
            self._next = (self._next + 1) % len(self._urls)

    def _leader_in(self, answer: dict[str, Any]) -> str:
        """Give the URL that a redirect names; empty if it's none that the token may be sent to."""
        url = str(answer.get("leader", ""))
        try:
            parts = urlsplit(url)
            usable = parts.scheme == self._scheme and bool(parts.hostname) and not parts.path and parts.port != 0
        except ValueError:
            return ""
        return url if usable else ""

    async def _attempt(
        self, method: str, url: str, payload: bytes | None, seconds: float
    ) -> tuple[int, dict[str, Any], float]:
        """
        Ask one member once.

        @return: The status, the JSON object, and for how many seconds it wants not to be asked again.
        @raise _NoAnswer: There's none.
        """
        headers = self._headers.copy()
        if payload is not None:
            headers.setRawHeaders("Content-Type", ["application/json"])
        data = None if payload is None else _Body(payload)
        asked = self._http.request(method, url, headers=headers, data=data, allow_redirects=False, unbuffered=True)
        asked.addCallback(lambda response: Deferred.fromCoroutine(_all_of(response, self._answer_bytes_max)))
        # What comes of a request that is cancelled isn't said: the agent wraps it.
        late = self._clock.callLater(seconds, asked.cancel)
        try:
            response, text = await asked
        except (ConnectError, DNSLookupError) as problem:
            raise _NoAnswer(f"it can't be reached: {_reason(problem)}", False) from problem
        except Exception as problem:  # noqa: BLE001 - whatever agents, TLS and connections may fail with
            why = _reason(problem) if late.active() else f"no answer within {seconds:.3g} s"
            raise _NoAnswer(why, True) from problem
        finally:
            if late.active():
                late.cancel()
        try:
            answer = json.loads(text)
            if not isinstance(answer, dict):
                raise ValueError("no JSON object")
        except ValueError as problem:
            quoted = text[:_QUOTED].decode("utf-8", "backslashreplace")
            raise _NoAnswer(f"that isn't a scheduler's answer (status {response.code}): {quoted!r}", True) from problem
        return response.code, answer, _seconds(response)


async def _all_of(response: IResponse, most: int) -> tuple[IResponse, bytes]:
    """
    Read an answer to its end.

    @raise ValueError: It has more than so many bytes.
    """
    parts: list[bytes] = []
    size = 0

    def take(data: bytes) -> None:
        nonlocal size
        size += len(data)
        if size <= most:
            parts.append(data)

    await collect(response, take)
    if size > most:
        raise ValueError(f"an answer of more than {most} bytes")
    return response, b"".join(parts)


def _read(answer: dict[str, Any], read: Any) -> Any:
    """
    Read what was answered.

    @raise ScheduleUnavailable: It isn't as it should be: the scheduler is of another version.
    """
    try:
        return read(answer)
    except (BadRecord, KeyError, TypeError, ValueError) as problem:
        why = f"the scheduler's answer isn't understood, is it of another version? {problem!r}"
        raise ScheduleUnavailable(why, True) from problem


def _record(plain: dict[str, Any]) -> StoreRecord:
    """Read a store's record out of what more is said of it."""
    return StoreRecord.from_json({name: value for name, value in plain.items() if name in _RECORD_FIELDS})


def _advised(status: int, why: str) -> str:
    """Say what to do about a refusal, where that isn't in its text."""
    if status == HTTPStatus.UNAUTHORIZED:
        return f"{why} (option schedule_token or schedule_token_file)"
    return why


def _seconds(response: IResponse) -> float:
    """Give how long an answer asks for patience, in seconds."""
    values = response.headers.getRawHeaders("retry-after") or [""]
    return float(values[0]) if values[0].isdigit() and len(values[0]) < 6 else 0.0


def _place(url: str) -> str:
    """Give host and port of a URL."""
    return url.partition("://")[2]


def _reason(problem: BaseException) -> str:
    """Say in words why a request failed."""
    if isinstance(problem, ResponseFailed) and problem.reasons:
        problem = problem.reasons[0].value
    return str(problem).rstrip(".") or type(problem).__name__
