"""
The time for which a leader knows that no one else leads (R18; the Raft thesis, section 6.4.1).

Who hears of a leader neither campaigns nor votes for a while (L{RaftConfig.silence
<tinykv.raft.config.RaftConfig.silence>}). So from the moment a round of heartbeats was I{sent} that a majority
answered, no one else can be elected for that long. The moment of the answers would be wrong: the silence began
earlier.
"""

from __future__ import annotations

from collections import deque
from typing import Final

_NEVER: Final = float("-inf")


class Lease:
    """
    The lease of one leader in one term.

    @ivar start: When the round was sent that a majority answered last, or minus infinity.
    @ivar surrendered: It has been given up, for the whole term.
    """

    __slots__ = ("_duration", "_rounds", "_step", "start", "surrendered")

    def __init__(self, duration: float, step: float) -> None:
        """
        @param duration: How long a lease lasts from its start.
        @param step: Rounds that are sent within this time after another don't count, so that a leader which asks a
            thousand times a second has no thousand times to remember.
        """
        self._duration = duration
        self._step = step
        self._rounds: deque[tuple[int, float]] = deque()
        self.start = _NEVER
        self.surrendered = False

    def sent(self, number: int, now: float) -> None:
        """Note that a round of heartbeats is about to be sent; numbers and times rise."""
        rounds = self._rounds
        if rounds and now < rounds[-1][1] + self._step:
            return
        rounds.append((number, now))
        while rounds[0][1] + self._duration < now:
            rounds.popleft()

    def sent_at(self, number: int) -> float:
        """Return when the latest round that counts, up to a number, was sent; minus infinity if it's too long ago."""
        for counted, at in reversed(self._rounds):
            if counted <= number:
                return at
        return _NEVER

    def surrender(self) -> None:
        """Give it up for the rest of the term: another may soon be elected."""
        self.surrendered = True

    def pause(self) -> None:
        """Give it up until rounds that are sent from now on are answered."""
        self._rounds.clear()
        self.start = _NEVER

    @property
    def end(self) -> float:
        """Tell until when it holds; minus infinity if it doesn't."""
        return _NEVER if self.surrendered else self.start + self._duration

    def valid(self, now: float) -> bool:
        """Tell whether the lease holds at a time."""
        return now < self.start + self._duration and not self.surrendered
