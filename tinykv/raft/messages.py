"""
What peers of a group say to each other, and what they keep.

These are named tuples: immutable, comparable, and cheap enough to be made for every entry. Indexes and terms are
counted from 1; 0 means none. Peer ids are counted from 1 too; as a vote or a leader, 0 means no one.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from tinykv.raft.membership import Membership

#: Kinds of entries: data of the host (empty in the entry that opens a term), or a change of the membership.
NORMAL: Final = 0
CHANGE: Final = 1
ENTRY_KINDS: Final = frozenset((NORMAL, CHANGE))

# Kinds of messages, each with the fields that it uses beside kind, to, sender and term.

#: Leader: entries behind (index, log_term), and what is committed. Fields: index, log_term, commit, entries.
APPEND: Final = 1
#: Accepted: the log agrees up to index. Rejected: it didn't at index, and may at (hint_index, hint_term).
APPEND_REPLY: Final = 2
#: Leader: I'm here. Fields: round, the number of this round of heartbeats in the term.
HEARTBEAT: Final = 3
#: Fields: round of the heartbeat that is answered, commit of the one that answers.
HEARTBEAT_REPLY: Final = 4
#: Would you vote for me in this term (the thesis, section 9.6)? Fields: index and log_term of the last entry;
#: hint_index and hint_term of the last one that the sender knows to be committed.
PRE_VOTE: Final = 5
#: Granted, its term is the one asked for. Rejected, the term of the one that answers. Fields: reject, and index and
#: log_term of the last entry that the one that answers knows to be committed.
PRE_VOTE_REPLY: Final = 6
#: Fields as of a L{PRE_VOTE}; and force, when the leader asked for this election.
VOTE: Final = 7
#: Fields as of a L{PRE_VOTE_REPLY}.
VOTE_REPLY: Final = 8
#: Leader: your log ends before mine begins. Fields: snapshot; its contents travel beside the message.
SNAPSHOT: Final = 9
#: Leader: campaign at once (the thesis, section 3.10).
TIMEOUT_NOW: Final = 10
#: To the leader: hand over to target. Fields: target.
TRANSFER: Final = 11
#: To the leader: up to where must I have applied to answer reads? Fields: round, a number of the one that asks.
READ_INDEX: Final = 12
#: Fields: round of the question; index; reject, when it can't be answered now.
READ_INDEX_REPLY: Final = 13
#: Leader: nothing goes on, be silent until there is. Fields: index and log_term of the last entry, all committed.
QUIESCE: Final = 14

#: For people.
KIND_NAMES: Final = {
    APPEND: "append",
    APPEND_REPLY: "append-reply",
    HEARTBEAT: "heartbeat",
    HEARTBEAT_REPLY: "heartbeat-reply",
    PRE_VOTE: "pre-vote",
    PRE_VOTE_REPLY: "pre-vote-reply",
    VOTE: "vote",
    VOTE_REPLY: "vote-reply",
    SNAPSHOT: "snapshot",
    TIMEOUT_NOW: "timeout-now",
    TRANSFER: "transfer",
    READ_INDEX: "read-index",
    READ_INDEX_REPLY: "read-index-reply",
    QUIESCE: "quiesce",
}

#: What may be long. All other kinds are a few dozen bytes, and shouldn't wait behind these on a link.
BULKY: Final = frozenset((APPEND, SNAPSHOT))


class Entry(NamedTuple):
    """
    A record of the log.

    @ivar kind: L{NORMAL} or L{CHANGE}.
    @ivar data: Empty in the entry that opens a term; of a change, what L{tinykv.raft.wire.encode_change} gives.
    """

    index: int  # type: ignore[assignment]  # a field hides tuple.index, which no one calls on these
    term: int
    kind: int
    data: bytes


class HardState(NamedTuple):
    """
    What a peer must never forget.

    @ivar vote: Whom it voted for in the term, or 0.
    @ivar commit: How far it knew entries to be committed: a hint, which may be late.
    """

    term: int
    vote: int
    commit: int


class SnapshotMeta(NamedTuple):
    """What a snapshot stands for: everything up to an entry, and the membership as of that entry."""

    index: int  # type: ignore[assignment]  # a field hides tuple.index, which no one calls on these
    term: int
    membership: Membership


class Message(NamedTuple):
    """
    What one peer of a group tells another; which fields count is said beside each kind.

    @ivar sender: The peer that it comes from.
    @ivar term: The sender's term; of a pre-vote, the term that it would campaign for.
    @ivar entries: The leader gives the same tuple to all peers that get the same entries, so that an encoding of it
        can be shared.
    """

    kind: int
    to: int
    sender: int
    term: int
    log_term: int = 0
    index: int = 0  # type: ignore[assignment]  # as above
    commit: int = 0
    entries: tuple[Entry, ...] = ()
    reject: bool = False
    hint_index: int = 0
    hint_term: int = 0
    round: int = 0
    target: int = 0
    force: bool = False
    snapshot: SnapshotMeta | None = None
