"""
What the metrics page tells of the links between stores.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class PeerFigures:
    """
    Counts since the start, and a few of now.

    @ivar links_out: Links that this store dialled and that are up now; C{links_in}: those that others dialled.
    @ivar gateways_in: Links of gateways that are up now.
    @ivar connections_in: Connections that others dialled, proven or not, now.
    @ivar unproven_in: Those of them whose peers haven't proven who they are.
    @ivar dials: Attempts to connect; C{dials_failed}: those without success.
    @ivar refused_in: Peers that this store refused, by the refusal's code.
    @ivar refused_out: Refusals that this store met, by code.
    @ivar breaches: Connections closed because the peer broke the grammar.
    @ivar connections_over_limit: Connections closed at once because there were too many.
    @ivar timeouts: Connections closed because nothing came any more, or the handshake took too long.
    @ivar replaced: Links closed because the same store opened another.
    @ivar unread: Connections closed because the peer didn't read what was sent.
    @ivar bytes_in: Bytes that came; C{bytes_out}: bytes that were given to the system or its queues.
    @ivar writes: How many writes those were.
    @ivar messages_in: Raft messages that came, heartbeats among them; C{messages_out}: those that left.
    @ivar messages_dropped: Raft messages that were thrown away before they left: no link, or too much waiting.
    @ivar messages_misplaced: Raft messages refused because their sender is on another store.
    @ivar forwards_out: Batches of commands that were sent; C{forwards_in}: those that came.
    @ivar forwards_refused: Batches refused on this side, for lack of a link or of room.
    @ivar forwards_unknown: Batches whose outcome nobody will tell.
    @ivar forwards_repeated: Batches that came a second time and were dropped.
    @ivar answers_lost: Answers to batches that had nobody left to go to.
    @ivar pushes_out: Pushed messages sent; C{pushes_in}: those that came.
    @ivar snapshots_out: Snapshots sent and taken; C{snapshots_in}: those received and verified.
    @ivar snapshots_failed: Snapshots that this store gave up sending.
    @ivar snapshots_resumed: Times that a snapshot went on behind a broken connection.
    @ivar snapshots_damaged: Snapshots that came and weren't what their checksum says.
    @ivar log_lines_held: Lines that weren't logged because the same was said within the minute.
    """

    links_out: int = 0
    links_in: int = 0
    gateways_in: int = 0
    connections_in: int = 0
    unproven_in: int = 0
    dials: int = 0
    dials_failed: int = 0
    refused_in: Counter[str] = field(default_factory=Counter)
    refused_out: Counter[str] = field(default_factory=Counter)
    breaches: int = 0
    connections_over_limit: int = 0
    timeouts: int = 0
    replaced: int = 0
    unread: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    writes: int = 0
    messages_in: int = 0
    messages_out: int = 0
    messages_dropped: int = 0
    messages_misplaced: int = 0
    forwards_out: int = 0
    forwards_in: int = 0
    forwards_refused: int = 0
    forwards_unknown: int = 0
    forwards_repeated: int = 0
    answers_lost: int = 0
    pushes_out: int = 0
    pushes_in: int = 0
    snapshots_out: int = 0
    snapshots_in: int = 0
    snapshots_failed: int = 0
    snapshots_resumed: int = 0
    snapshots_damaged: int = 0
    log_lines_held: int = 0
