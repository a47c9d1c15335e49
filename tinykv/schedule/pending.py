"""
Who waits for an entry to be applied, and for how long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from tinykv.schedule.errors import NotLeader, OutcomeUnknown, Refusal
from tinykv.schedule.rows import Record

#: How long an answer is awaited, in seconds.
PATIENCE: Final = 5.0


class Pending:
    """
    Those who wait: for what they have proposed to be decided, or for reads to be up to date.

    Whoever has waited for too long is told that nobody knows, and isn't told anything afterwards.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        #: Proposals by index: the term in which each was made, and who waits.
        self._proposals: dict[int, tuple[int, Deferred[Record]]] = {}
        #: Reads whose index isn't known yet, and those that wait for one to be applied.
        self._asked: set[Deferred[None]] = set()
        self._reads: list[tuple[int, Deferred[None]]] = []

    def __len__(self) -> int:
        return len(self._proposals)

    # Proposals

    def proposed(self, index: int, term: int) -> Deferred[Record]:
        """Wait for an entry that was proposed."""
        answer: Deferred[Record] = Deferred()
        assert index not in self._proposals, "who ceases to lead refuses all that wait"
        self._proposals[index] = (term, answer)
        return self._patient(answer, lambda: self._proposals.pop(index, None))

    def applied(self, index: int, term: int, result: Record | Refusal, leader: int) -> None:
        """Tell who has proposed an entry what became of it; another term's at its index means: nothing."""
        proposed_in, answer = self._proposals.pop(index, (0, None))
        if answer is None:
            return
        if proposed_in != term:
            answer.errback(NotLeader(leader))
        elif isinstance(result, Refusal):
            answer.errback(result)
        else:
            answer.callback(result)

    # Reads

    def asked(self) -> tuple[Deferred[None], Deferred[None]]:
        """Wait for a read to be up to date; give what it's known by to the group, and what fires then."""
        answer: Deferred[None] = Deferred()
        self._asked.add(answer)
        return answer, self._patient(answer, lambda: self._asked.discard(answer))

    def readable(self, context: object, index: int) -> None:
        """Learn which index a read waits for."""
        assert isinstance(context, Deferred)
        if context in self._asked:
            self._asked.discard(context)
            self._reads.append((index, context))

    def unreadable(self, context: object, leader: int) -> None:
        """Refuse a read."""
        assert isinstance(context, Deferred)
        if context in self._asked:
            self._asked.discard(context)
            context.errback(NotLeader(leader))

    def read(self, applied: int) -> None:
        """Answer the reads that waited for what is applied now."""
        reads, self._reads = self._reads, []
        for index, answer in reads:
            if index > applied:
                self._reads.append((index, answer))
            elif not answer.called:
                answer.callback(None)

    # Both

    def refuse(self, why: Refusal) -> None:
        """Refuse all."""
        proposals, self._proposals = self._proposals, {}
        asked, self._asked = self._asked, set()
        reads, self._reads = self._reads, []
        for _, proposed in proposals.values():
            proposed.errback(why)
        for answer in [*asked, *(answer for _, answer in reads)]:
            if not answer.called:
                answer.errback(why)

    def _patient(self, answer: Deferred[Any], forget: Callable[[], object]) -> Deferred[Any]:
        """Wait for an answer only so long."""

        def late() -> None:
            forget()
            answer.errback(OutcomeUnknown(f"no answer within {PATIENCE:g} s; it may have been done"))

        timer = self._clock.callLater(PATIENCE, late)

        def came(result: Any) -> Any:
            if timer.active():
                timer.cancel()
            return result

        return answer.addBoth(came)
