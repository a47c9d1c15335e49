"""
Reads without entries: the leader asks a majority once whether it still leads (the Raft thesis, section 6.4).

A read that came when C{index} was committed may be answered by any peer that has applied up to there, provided that
the leader was the leader I{after} the read had come. One round of heartbeats shows that for all reads before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple


class Question(NamedTuple):
    """
    A read that wants to know its index.

    @ivar peer: Who asks, or 0 when it's the leader's own host.
    @ivar context: The host's own name for it; of another peer, its number.
    """

    peer: int
    context: object


class LeaderReads:
    """
    The questions that a leader has been asked in its term.

    @ivar waiting: Those that no round has been sent for.
    """

    __slots__ = ("_asked", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Question] = []
        # (round, index, its questions)
        self._asked: deque[tuple[int, int, list[Question]]] = deque()

    def asked(self, number: int, index: int) -> None:
        """Note that a round is about to be sent on behalf of all that wait."""
        self._asked.append((number, index, self.waiting))
        self.waiting = []

    def answered(self, number: int) -> Iterator[tuple[int, Question]]:
        """Take and yield (index, question) of all rounds up to one that a majority has answered."""
        asked = self._asked
        while asked and asked[0][0] <= number:
            _, index, questions = asked.popleft()
            for question in questions:
                yield index, question

    @property
    def open(self) -> bool:
        """Tell whether anyone waits."""
        return bool(self.waiting or self._asked)

    def abandoned(self) -> list[Question]:
        """Take all questions: the leader doesn't lead any more."""
        questions = [question for _, _, asked in self._asked for question in asked] + self.waiting
        self._asked.clear()
        self.waiting = []
        return questions


class FollowerReads:
    """
    The questions that a follower has passed on to its leader.

    @ivar waiting: Those that weren't passed on yet.
    """

    __slots__ = ("_asked", "_number", "waiting")

    def __init__(self, number: int) -> None:
        """
        @param number: A random number to count from, so that an answer to a question of an earlier life of this peer
            is never taken for one of now.
        """
        self.waiting: list[object] = []
        self._number = number
        self._asked: dict[int, tuple[int, list[object]]] = {}

    def asked(self, time: int) -> int:
        """Note that all that wait are asked about in one question at a tick; return its number."""
        self._number += 1
        self._asked[self._number] = (time, self.waiting)
        self.waiting = []
        return self._number

    def answered(self, number: int) -> list[object]:
        """Take the contexts of a question; none if it's not known."""
        return self._asked.pop(number, (0, []))[1]

    def expired(self, time: int) -> list[object]:
        """Take the contexts of all questions that were asked before a tick: they, or their answers, were lost."""
        found: list[object] = []
        for number, (asked, contexts) in list(self._asked.items()):
            if asked < time:
                found += contexts
                del self._asked[number]
        return found

    def abandoned(self) -> list[object]:
        """Take the contexts of all questions: there's another leader or none."""
        contexts = [context for _, asked in self._asked.values() for context in asked] + self.waiting
        self._asked.clear()
        self.waiting = []
        return contexts
