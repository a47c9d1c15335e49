"""How a group behaves: times as counts of ticks, sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RaftConfig:
    """
    The choices of a group; all its peers must have the same times.

    @ivar tick: The time between two ticks, in the unit of the C{now} that the host hands in, say seconds.
    @ivar election_ticks: A follower that hasn't heard of a leader for this many ticks, or up to twice as many (chosen
        at random each time), campaigns.
    @ivar heartbeat_ticks: A leader speaks to everyone at least this often. Less than election_ticks.
    @ivar drift_bound: By how much, in the unit of C{tick}, two hosts' clocks may differ in how long they take one
        lease to be.
    @ivar pre_vote: Ask before campaigning, so that a peer that was cut off doesn't disturb a leader (the thesis,
        section 9.6).
    @ivar check_quorum: A leader that a majority doesn't answer steps down, and who hears of a leader doesn't vote
        for others (the thesis, sections 6.2 and 4.2.3). Without it there are no leases.
    @ivar max_append_bytes: An append carries entries of at most this size together; one larger entry goes alone.
    @ivar max_inflight_messages: Appends on their way to one peer.
    @ivar max_inflight_bytes: Entries on their way to one peer; the append that reaches it still goes.
    @ivar max_uncommitted_bytes: Proposals are refused when entries of the term that aren't committed would be
        larger than this together; a first one is always taken.
    @ivar max_apply_bytes: One L{Ready<tinykv.raft.group.Ready>} gives at most this much to be applied.
    """

    tick: float = 0.1
    election_ticks: int = 10
    heartbeat_ticks: int = 2
    drift_bound: float = 0.05
    pre_vote: bool = True
    check_quorum: bool = True
    max_append_bytes: int = 1 << 20
    max_inflight_messages: int = 128
    max_inflight_bytes: int = 32 << 20
    max_uncommitted_bytes: int = 64 << 20
    max_apply_bytes: int = 16 << 20

    def __post_init__(self) -> None:
        """
        Refuse what can't work.

        @raise ValueError: Says which choice, and what it must be.
        """
        for name in ("heartbeat_ticks", *self.__slots__[-5:]):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.election_ticks <= self.heartbeat_ticks:
            raise ValueError("election_ticks must be greater than heartbeat_ticks")
        if self.tick <= 0:
            raise ValueError("tick must be greater than 0")
        if not 0 <= self.drift_bound < self.silence:
            raise ValueError("drift_bound must be less than election_ticks - 1 ticks")

    @property
    def silence(self) -> float:
        """
        For how long who heard of a leader neither campaigns nor votes.

        A tick less than the least election timeout, since the first tick may come right after the leader's word.
        """
        return (self.election_ticks - 1) * self.tick

    @property
    def lease(self) -> float:
        """For how long a leader that a majority answered knows that no one else was elected (R18)."""
        return self.silence - self.drift_bound
