"""
What only the member that leads may give: ids and timestamps, from windows that were committed before, under its lease.

A term of leadership begins when all that was decided before is applied: then it's known up to where others gave, and
this member's windows begin there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from tinykv.schedule.errors import NotLeader, Refusal, Unavailable
from tinykv.schedule.host import ScheduleHost
from tinykv.schedule.rows import Record
from tinykv.schedule.timestamps import LOGICAL_BITS, LOGICAL_MAX, TimestampWindow

#: Ids that are committed at once.
IDS_WINDOW: Final = 1_000
#: How often it's tried again when a window was used up by others meanwhile.
_ATTEMPTS: Final = 10


class Batch(NamedTuple):
    """Timestamps with the same physical part, and logical ones that are neighbours."""

    physical: int
    logical: int
    count: int  # type: ignore[assignment]  # a field hides tuple.count, which no one calls on this


class _Term:
    """What a leader has in one term."""

    def __init__(self, begin: int, first: int) -> None:
        self.timestamps = TimestampWindow(begin, begin)
        self.next_id = self.end_id = first


class Leadership:
    """
    This member's terms as the leader.

    @ivar begun: Called, in this order, when one has begun; C{ended} when it has ended.
    """

    log = Logger()

    def __init__(
        self,
        *,
        host: ScheduleHost,
        url: str,
        now_ms: Callable[[], int],
        new_cluster_id: Callable[[], str],
    ) -> None:
        """
        @param url: Of this member's port, for others to be told.
        @param now_ms: The time of day, in ms since 1970.
        @param new_cluster_id: Makes an id, should there be none yet.
        """
        self.begun: list[Callable[[], None]] = []
        self.ended: list[Callable[[], None]] = []
        self._host = host
        self._url = url
        self._now_ms = now_ms
        self._new_cluster_id = new_cluster_id
        self._term: _Term | None = None
        #: Whether windows are on their way, and who waits for them.
        self._extending = False
        self._waiters: list[Deferred[None]] = []
        host.role_changes.append(self._role_changed)

    @property
    def leads(self) -> bool:
        """Whether this member leads, and has applied all that was decided before."""
        return self._term is not None

    def _role_changed(self) -> None:
        ready = self._host.ready
        if ready and self._term is None:
            state = self._host.state
            self._term = _Term(state.timestamp_limit, state.next_id)
            self.log.info("member {member} leads, in term {term}", member=self._host.member, term=self._host.group.term)
            if not state.cluster_id:
                self._propose({"do": "begin", "id": self._new_cluster_id()})
            self._propose({"do": "lead", "member": self._host.member, "url": self._url})
            self._extend(0)
            for told in self.begun:
                told()
        elif not ready and self._term is not None:
            self._term = None
            self.log.info("member {member} doesn't lead any more", member=self._host.member)
            for told in self.ended:
                told()

    def _propose(self, command: Record) -> None:
        """Have something noted; whoever leads next does it again if it isn't."""
        self._host.propose({**command, "now": self._now_ms()}).addErrback(self._not_noted)

    def _not_noted(self, failure: Failure) -> None:
        failure.trap(Refusal)
        self.log.warn("not noted: {why}", why=failure.value)

    async def leased(self) -> None:
        """
        Make sure that nobody else leads.

        @raise Refusal: It can't be made sure.
        """
        host = self._host
        if not host.lease:
            # A leader that was just elected, or was slow, has it again when a majority has answered.
            await host.barrier()
            if not host.lease:
                raise Unavailable("the lease has ended: a majority didn't answer in time")
        if self._term is None:
            raise NotLeader(host.leader)

    async def timestamps(self, count: int) -> Batch:
        """
        Give a batch, above all that were ever given.

        @raise Refusal: None can be given here, or now.
        """
        for _ in range(_ATTEMPTS):
            await self.leased()
            term = self._term
            assert term is not None, "it leads"
            now = self._now_ms()
            last = term.timestamps.take(now, count)
            if last is not None:
                if term.timestamps.wanted(now) is not None:
                    self._extend(0)
                logical = last & LOGICAL_MAX
                return Batch(last >> LOGICAL_BITS, logical - count + 1, count)
            await self._extended(0)
        raise Unavailable("timestamps are used up faster than they're committed, ask again later")

    async def ids(self, count: int) -> int:
        """
        Give that many ids, that were never given, in a row; return the first.

        @raise Refusal: None can be given here, or now.
        """
        for _ in range(_ATTEMPTS):
            await self.leased()
            term = self._term
            assert term is not None, "it leads"
            first = term.next_id
            if term.end_id - first >= count:
                term.next_id += count
                return first
            await self._extended(max(count, IDS_WINDOW))
        raise Unavailable("ids are used up faster than they're committed, ask again later")

    def forget_ids(self) -> None:
        """Give no more of the ids that were committed so far: what is committed from now on has others."""
        if self._term is not None:
            self._term.next_id = self._term.end_id = 0

    def _extended(self, ids: int) -> Deferred[None]:
        """Wait for the next windows; fails with a L{Refusal}."""
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        self._extend(ids)
        return waiter

    def _extend(self, ids: int) -> None:
        """Have the next windows committed, unless that's under way."""
        if self._extending:
            return
        self._extending = True
        term = self._term
        now = self._now_ms()
        command: Record = {"do": "window", "now": now, "ids": ids}
        if term is not None:
            wanted = term.timestamps.wanted(now)
            command["timestamps"] = wanted if wanted is not None else 0
        self._host.propose(command).addCallback(self._take_over, term).addBoth(self._tell)

    def _take_over(self, result: Record, term: _Term | None) -> None:
        """Take what was committed, if it's still this term."""
        if term is None or term is not self._term:
            return
        term.timestamps.limit = result["timestamps"]
        if result["end"] > result["first"]:
            term.next_id, term.end_id = result["first"], result["end"]

    def _tell(self, result: object) -> None:
        self._extending = False
        waiters, self._waiters = self._waiters, []
        if isinstance(result, Failure):
            if not result.check(Refusal):
                self.log.failure("the next windows failed", result)
            for waiter in waiters:
                waiter.errback(result)
            return
        for waiter in waiters:
            waiter.callback(None)
