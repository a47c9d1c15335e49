"""
What the clients of a store want of its regions leaves in rounds, all regions together.

With several regions, clients who speak at the same time want something of different ones, some of which other stores
lead. If each region went its own way they would be answered at different times, speak again at different times, and
soon every entry would hold two or three commands, though each costs as much as one with fifty. So what comes while a
round is under way waits until all of it was answered, and then a moment for those who were; both waits are short and
bounded. A client alone is never waited for, nor is anything that other stores have sent.
"""

from __future__ import annotations

from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from tinykv.peering.turn import Turn
from tinykv.redis.operations import Operation

#: For so long, in seconds, what comes waits for a round that is under way. Where that takes longer, since a region has
#: no leader, or a disk is slow, several are under way.
ROUND_SECONDS: Final = 0.025
#: For so long, in seconds, those who were answered are waited for, so that they take part in the next one.
GATHER_SECONDS: Final = 0.001
#: So many operations wait no longer: they're worth a round of their own.
ROUND_MOST: Final = 400


class Member(Protocol):
    """
    A region that takes part; see L{tinykv.store.proposals.Proposals}.

    @ivar pending: What waits there.
    """

    pending: list[Operation]

    def end_turn(self) -> bool:
        """Let go what mustn't wait of what has come in this turn; say if the rest waits for a round."""

    def leave(self) -> None:
        """Let go what waits."""


class Rounds:
    """
    A store's rounds.

    @ivar count: How many there were.
    """

    def __init__(
        self,
        clock: IReactorTime,
        turn: Turn,
        round_seconds: float = ROUND_SECONDS,
        gather_seconds: float = GATHER_SECONDS,
    ) -> None:
        self.count = 0
        self._end_later = turn.call_later
        self._clock = clock
        self._round_seconds = round_seconds
        self._gather_seconds = gather_seconds
        #: Regions in which something waits, and which has been looked at.
        self._waiting: dict[Member, None] = {}
        #: Regions in which something has come in this turn.
        self._due: list[Member] = []
        #: How many operations of the round that is under way each region has, as long as they aren't answered.
        self._under_way: dict[Member, int] = {}
        #: How many of them were.
        self._answered = 0
        #: Until when the round that is under way is waited for.
        self._until = 0.0
        #: How many operations are waited for behind it, and until when.
        self._expected = 0
        self._gathered_until = 0.0
        self._looking: IDelayedCall | None = None
        #: When that is due, and up to when it has been: a clock may be coarser than what it's asked for.
        self._look_at = self._looked_at = 0.0

    def come(self, member: Member) -> None:
        """Learn that something has come for a region; to be called once a turn, of which it sees the end."""
        if not self._due:
            self._end_later(self._end_turn)
        self._due.append(member)

    def _end_turn(self) -> None:
        due, self._due = self._due, []
        for member in due:
            waits = member.end_turn()
            # Only now: what has left may have been answered already, and a round have begun.
            if waits:
                self._waiting[member] = None
            else:
                self._waiting.pop(member, None)
        if self._waiting:
            self._look()

    def _look(self) -> None:
        """Let a round begin, or see to it that it's looked again."""
        count = sum([len(member.pending) for member in self._waiting])
        if self._under_way:
            until, most = self._until, ROUND_MOST
        else:
            until, most = self._gathered_until, min(self._expected, ROUND_MOST)
        now = self._clock.seconds()
        if count >= most or now >= until or self._looked_at >= until:
            self._begin(now)
        elif self._looking is None:
            self._look_at = until
            self._looking = self._clock.callLater(until - now, self._look_again)
        elif self._look_at > until:
            self._look_at = until
            self._looking.reset(until - now)

    def _look_again(self) -> None:
        self._looking = None
        self._looked_at = self._look_at
        if self._waiting:
            self._look()

    def _begin(self, now: float) -> None:
        members, self._waiting = self._waiting, {}
        self.count += 1
        self._until = now + self._round_seconds
        self._answered = 0
        # What is left of the one before isn't waited for any more.
        self._under_way = {member: len(member.pending) for member in members if member.pending}
        for member in members:
            member.leave()

    def answered(self, member: Member) -> None:
        """Learn that all that has left a region was answered."""
        count = self._under_way.pop(member, None)
        if count is None:
            return
        self._answered += count
        if not self._under_way:
            # Half of the clients and the other half would take turns for ever if only these were waited for.
            self._expected = self._answered + sum([len(member.pending) for member in self._waiting])
            self._gathered_until = self._clock.seconds() + self._gather_seconds
            if self._waiting:
                self._look()

    def forget(self, member: Member) -> None:
        """Learn that a region has ended."""
        self._waiting.pop(member, None)
        self.answered(member)

    def close(self) -> None:
        """Look at the clock no more."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
