"""
Consensus of a group of one: what there is to agree on when no one else votes.

The shape is that of a group of any size (the Raft paper, figure 2): a term that only grows and is durable before
anything is done in it, an entry of its own at the beginning of each term, entries that count as committed only when a
majority (here: this peer) has them on disk. So what stands around it, the log on disk, the turn, the apply machine,
is what replication will use: L{Node.propose}, L{Node.ready}, L{Node.persisted}.

Nothing here waits, and nothing has happened when L{Node.ready} returns: it says what is to be written.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """A record of the log; C{data} is empty in the entry that begins a term."""

    index: int
    term: int
    data: bytes


@dataclass(frozen=True, slots=True)
class HardState:
    """What a peer must never forget: the term, whom it voted for in it (0: no one), and how far it had committed."""

    term: int
    vote: int
    commit: int


@dataclass(frozen=True, slots=True)
class Ready:
    """
    What is to be written, in one transaction.

    @ivar hard_state: The new hard state, or None if it's the old one.
    @ivar entries: New entries, in order.
    """

    hard_state: HardState | None
    entries: list[Entry]


class Node:
    """
    One peer of a group that has no other.

    @ivar term: The current term.
    @ivar last: Index of the last entry, durable or not.
    @ivar stable: Index of the last durable entry. Invariant: committed <= stable <= last.
    @ivar committed: Index of the last entry that is decided.
    """

    __slots__ = ("_entries", "_hard_state_changed", "committed", "last", "peer", "stable", "term", "vote")

    def __init__(self, peer: int, hard_state: HardState, last: int) -> None:
        """
        @param peer: This peer's id.
        @param hard_state: As it was read from disk.
        @param last: Index of the last entry on disk. With no one else to ask, what is durable is decided.
        """
        assert 0 <= hard_state.commit <= last
        self.peer = peer
        self.term = hard_state.term
        self.vote = hard_state.vote
        self.last = self.stable = self.committed = last
        self._entries: list[Entry] = []
        self._hard_state_changed = False

    def campaign(self) -> int:
        """
        Begin a term: vote for oneself and, being the majority, append the entry that opens it.

        @return: That entry's index. Until it's applied no read may be answered, since only then is all known that
            earlier terms decided (the paper's section 8).
        """
        self.term += 1
        self.vote = self.peer
        self._hard_state_changed = True
        return self.propose(b"")

    def propose(self, data: bytes) -> int:
        """Append an entry; give its index."""
        assert self.vote == self.peer, "only a leader appends"
        self.last += 1
        self._entries.append(Entry(self.last, self.term, data))
        return self.last

    def ready(self) -> Ready | None:
        """Give what is to be written since the last time, or None."""
        if not self._entries and not self._hard_state_changed:
            return None
        hard_state = HardState(self.term, self.vote, self.committed) if self._hard_state_changed else None
        ready = Ready(hard_state, self._entries)
        self._entries = []
        self._hard_state_changed = False
        return ready

    def persisted(self, index: int, term: int) -> None:
        """
        Learn that the entries up to an index, as of a term, are durable; here that decides them.

        A write of an earlier term's entries that were replaced since wouldn't count (R6): with no other peer, none
        ever is.
        """
        assert self.stable <= index <= self.last and term <= self.term
        self.stable = index
        self.committed = index
