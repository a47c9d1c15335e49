"""
What must hold in every replicated log, whatever happens: looked at while it happens, not only at the end.

The names are those of the Raft paper's figure 3. Whoever runs stores tells here what they write, vote, lead, apply and
lease; whatever contradicts what was told before is a problem, worded once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Final

#: Problems after which no more are noted: the first ones say what is wrong, the rest follows.
PROBLEMS_MAX: Final = 10


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=8).digest()


class ReplicationChecker:
    """
    Compares what the replicas of one region do.

    @ivar problems: What contradicts what.
    @ivar applied_to: The greatest index that anyone has applied.
    @ivar leaders: Who led in each term.
    """

    def __init__(self, now: Callable[[], int]) -> None:
        """
        @param now: The true time in us, for what is worded.
        """
        self.problems: list[str] = []
        self.applied_to = 0
        self.leaders: dict[int, str] = {}
        self.rows_compared = 0
        self._now = now
        self._votes: dict[tuple[str, int], int] = {}
        #: (index, term) -> the digest of its data, the term of the entry before it, who wrote it first.
        self._written: dict[tuple[int, int], tuple[bytes, int, str]] = {}
        self._applied: dict[int, tuple[int, bytes, str]] = {}
        self._rows: dict[int, tuple[bytes, str]] = {}

    def problem(self, text: str) -> None:
        """Note what is wrong."""
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(f"{self._now() / 1_000_000:.6f} s: {text}")

    def leads(self, store: str, term: int) -> None:
        """Election safety: at most one leader in a term."""
        other = self.leaders.setdefault(term, store)
        if other != store:
            self.problem(f"{store} leads in term {term}, as {other} does or did")

    def votes(self, store: str, term: int, candidate: int) -> None:
        """A vote has left: it's the only one of this store in its term, crashes or not."""
        other = self._votes.setdefault((store, term), candidate)
        if other != candidate:
            self.problem(f"{store} votes for peer {candidate} in term {term}, and has voted for peer {other}")

    def writes(self, store: str, before: int, first: int, entries: Iterable[tuple[int, bytes]]) -> None:
        """
        Log matching: what is written at an index in a term is the same everywhere, and so is all before it.

        @param before: The term of the entry before the first.
        @param entries: (term, data) of each.
        """
        for index, (term, data) in enumerate(entries, first):
            found = (_digest(data), before)
            known = self._written.setdefault((index, term), (*found, store))
            if known[:2] != found:
                what = "follows an entry of another term" if known[0] == found[0] else "is another"
                self.problem(f"{store} writes entry {index} of term {term}, which {what} than with {known[2]}")
            if term < before:
                self.problem(f"{store} writes entry {index} of term {term} behind one of term {before}")
            before = term

    def applies(self, store: str, index: int, term: int, data: bytes) -> bool:
        """
        State machine safety: nobody applies another entry at an index than anyone else did, ever.

        @return: Whether it's the first time that anyone applies it.
        """
        first = index not in self._applied
        known = self._applied.setdefault(index, (term, _digest(data), store))
        if known[0] != term or known[1] != _digest(data):
            self.problem(
                f"{store} applies an entry of term {term} at {index}, where {known[2]} has applied one of term "
                f"{known[0]}" + ("" if known[0] != term else " with other data")
            )
        if first and index > self.applied_to + 1:
            self.problem(f"{store} applies entry {index} before anyone has applied {index - 1}")
        self.applied_to = max(self.applied_to, index)
        return first

    def decided(self, store: str, index: int, holders: int, voters: int) -> None:
        """What is applied first of all lies on the disks of a majority by then."""
        if 2 * holders <= voters:
            self.problem(f"{store} applies entry {index}, which is on {holders} of {voters} disks")

    def commits(self, store: str, index: int, of: int, term: int) -> None:
        """A leader has moved the commit index to an entry of an older term, which the next one may replace (5.4.2)."""
        self.problem(f"{store} leads in term {term} and takes entry {index} of term {of} for committed by itself")

    def leases(self, holders: list[str]) -> None:
        """No two stores may answer reads alone at one moment."""
        if len(holders) > 1:
            self.problem(f"{' and '.join(holders)} each hold a lease")

    def rows(self, store: str, index: int, digest: bytes) -> None:
        """Replicas that have applied the same have the same rows."""
        known = self._rows.setdefault(index, (digest, store))
        if known[1] != store:
            self.rows_compared += 1
        if known[0] != digest:
            self.problem(f"the rows of {store} as of entry {index} differ from those of {known[1]}")

    def converged(self, applied: Mapping[str, int]) -> None:
        """At the end, with nothing wrong any more, everyone has all that was ever applied."""
        for store, index in applied.items():
            if index < self.applied_to:
                self.problem(f"{store} has applied up to {index} at the end, though {self.applied_to} was applied")
