"""
What a leader knows of one peer's log, and what it may send there.

::

            rejected                     behind the log's beginning
    PROBE <----------- REPLICATE    PROBE ----------------> SNAPSHOT
      |                    ^          ^                        |
      +--------------------+          +------------------------+
             accepted                    reported, or accepted

I{Probing}, the leader looks for where the logs agree: one append at a time. I{Replicating}, it sends as entries come,
as long as what is on its way fits the window. With a I{snapshot} under way nothing is sent.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from tinykv.raft.config import RaftConfig

PROBE: Final = 0
REPLICATE: Final = 1
SNAPSHOT: Final = 2

#: For people.
STATE_NAMES: Final = {PROBE: "probe", REPLICATE: "replicate", SNAPSHOT: "snapshot"}

_NEVER: Final = float("-inf")


class Progress:
    """
    One peer, as its leader sees it.

    @ivar match: Up to where its log is known to agree, durably. Invariant: match < next.
    @ivar next: The first entry that is to be sent next.
    @ivar state: L{PROBE}, L{REPLICATE} or L{SNAPSHOT}.
    @ivar waiting: Probing, the one append is on its way.
    @ivar due: An append is to be sent even if it's empty: to find out, or to tell the commit index.
    @ivar commit: The commit index that the peer knows when all that was sent has arrived.
    @ivar snapshot: Index of the snapshot under way, or 0.
    @ivar active: It was heard of since the leader last looked for its majority.
    @ivar round: The latest round of heartbeats that it answered.
    @ivar heard_from: When the latest round that it answered, of those that count for the lease, was sent.
    """

    __slots__ = (
        "_inflight",
        "_inflight_bytes",
        "_max_bytes",
        "_max_messages",
        "active",
        "commit",
        "due",
        "heard_from",
        "match",
        "next",
        "round",
        "snapshot",
        "state",
        "waiting",
    )

    def __init__(self, config: RaftConfig, following: int) -> None:
        """
        @param following: The entry to be tried first.
        """
        self._max_messages = config.max_inflight_messages
        self._max_bytes = config.max_inflight_bytes
        self.match = 0
        self.next = following
        self.state = PROBE
        self.waiting = False
        self.due = True
        self.commit = 0
        self.snapshot = 0
        self.active = False
        self.round = 0
        self.heard_from = _NEVER
        # (last index, bytes) of each append on its way that has entries, and their sum
        self._inflight: deque[tuple[int, int]] = deque()
        self._inflight_bytes = 0

    @property
    def paused(self) -> bool:
        """Tell whether nothing may be sent now."""
        if self.state == REPLICATE:
            return len(self._inflight) >= self._max_messages or self._inflight_bytes >= self._max_bytes
        return self.state == SNAPSHOT or self.waiting

    def sent(self, count: int, size: int, committed: int) -> None:
        """Note an append of some entries that have some bytes, with a commit index."""
        self.due = False
        last = self.next - 1 + count
        self.commit = committed if committed < last else last
        if self.state == PROBE:
            self.waiting = True
        elif count:
            self.next = last + 1
            self._inflight.append((last, size))
            self._inflight_bytes += size

    def accepted(self, index: int) -> bool:
        """
        Note that the peer's log agrees up to an index; tell whether that's news.

        Any answer to a probe ends the probing, since by then where the logs agree is known.
        """
        news = index > self.match
        if news:
            self.match = index
            if index >= self.next:
                self.next = index + 1
        state = self.state
        if state == REPLICATE:
            inflight = self._inflight
            while inflight and inflight[0][0] <= index:
                self._inflight_bytes -= inflight.popleft()[1]
        elif state == PROBE and index >= self.next - 1:
            self._enter(REPLICATE)
            self.next = self.match + 1
        elif state == SNAPSHOT and index >= self.snapshot:
            # It has all that the snapshot stands for, from wherever.
            self._enter(REPLICATE)
            self.next = self.match + 1
        return news

    def rejected(self, index: int, hint: int) -> bool:
        """
        Note that the peer's log didn't agree at an index, but may at a hint; tell whether that's news.

        What was rejected before the last word came is no news: a late or repeated message.
        """
        if self.state == REPLICATE:
            if index <= self.match:
                return False
            self.probe()
            return True
        if self.state == SNAPSHOT or index != self.next - 1:
            return False
        self.next = max(min(index, hint + 1), self.match + 1)
        self.waiting = False
        self.due = True
        return True

    def probe(self) -> None:
        """Look for where the logs agree, from what is known."""
        self._enter(PROBE)
        self.next = self.match + 1
        self.due = True

    def snapshot_sent(self, index: int) -> None:
        """Note that a snapshot is on its way, after which the entries behind it follow."""
        self._enter(SNAPSHOT)
        self.due = False
        self.snapshot = index

    def snapshot_done(self, arrived: bool) -> None:
        """Learn how the sending of the snapshot ended."""
        if self.state != SNAPSHOT:
            return
        index = self.snapshot
        self.probe()
        if arrived:
            self.next = max(self.next, index + 1)
        # Its own answer comes when it's installed; until then, or until it's heard of again, asking is too early.
        self.waiting = True

    def heard(self, behind: bool) -> None:
        """
        Note the answer to a heartbeat: the way is open.

        @param behind: It lacks entries, doesn't know what is committed, or isn't known to have them all; it may be that
            an append was lost.
        """
        self.active = True
        self.waiting = False
        if self.paused and self._inflight:
            self._inflight_bytes -= self._inflight.popleft()[1]
        if behind:
            self.due = True

    def silent(self) -> None:
        """Forget when it was heard of: it won't be for a while, and nothing may be counted from then."""
        self.heard_from = _NEVER

    def _enter(self, state: int) -> None:
        """Begin a state with nothing on its way."""
        self.state = state
        self.waiting = False
        self.snapshot = 0
        self._inflight.clear()
        self._inflight_bytes = 0
