"""Examples of messages, memberships and changes, for Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from tinykv.raft.membership import ACTIONS, Change, Membership, Step
from tinykv.raft.messages import (
    APPEND,
    APPEND_REPLY,
    CHANGE,
    HEARTBEAT,
    HEARTBEAT_REPLY,
    NORMAL,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    QUIESCE,
    READ_INDEX,
    READ_INDEX_REPLY,
    SNAPSHOT,
    TIMEOUT_NOW,
    TRANSFER,
    VOTE,
    VOTE_REPLY,
    Entry,
    Message,
    SnapshotMeta,
)
from tinykv.raft.wire import MAX_NUMBER, encode_change

numbers = st.one_of(st.integers(0, 9), st.integers(0, MAX_NUMBER - 1))
ids = st.one_of(st.integers(1, 9), st.integers(1, MAX_NUMBER - 1))


@st.composite
def memberships(draw: st.DrawFn) -> Membership:
    """Draw a membership that a group can have."""
    places = draw(st.dictionaries(ids, st.sampled_from("ioblx"), max_size=12))
    places[draw(ids)] = "i"

    def who(kinds: str) -> tuple[int, ...]:
        return tuple(sorted(peer for peer, place in places.items() if place in kinds))

    outgoing = who("obx")
    return Membership(who("ib"), who("l"), outgoing, who("x"), bool(outgoing) and draw(st.booleans()))


changes = st.builds(
    Change,
    st.lists(st.builds(Step, st.sampled_from(sorted(ACTIONS)), ids), max_size=5, unique_by=lambda step: step.peer).map(
        tuple
    ),
    st.booleans(),
    st.binary(max_size=20),
)


@st.composite
def appends(draw: st.DrawFn) -> Message:
    """Draw an append whose entries follow each other."""
    index, log_term = draw(st.integers(0, 2**61)), draw(st.integers(0, 2**61))
    term = log_term
    entries = []
    for place in range(draw(st.integers(0, 5))):
        term = max(1, term + draw(st.integers(0, 2)))
        kind = draw(st.sampled_from((NORMAL, CHANGE)))
        data = encode_change(draw(changes)) if kind == CHANGE else draw(st.binary(max_size=30))
        entries.append(Entry(index + 1 + place, term, kind, data))
    return Message(
        APPEND,
        draw(ids),
        draw(ids),
        term + draw(st.integers(0, 5)),
        log_term=log_term,
        index=index,
        commit=draw(numbers),
        entries=tuple(entries),
    )


def _kind(kind: int, **fields: st.SearchStrategy[object]) -> st.SearchStrategy[Message]:
    """Draw messages of a kind."""
    everywhere = {"to": ids, "sender": ids, "term": numbers}
    return st.fixed_dictionaries({**everywhere, **fields}).map(lambda drawn: Message(kind, **drawn))


snapshots = st.builds(SnapshotMeta, ids, ids, memberships())

messages = st.one_of(
    appends(),
    _kind(APPEND_REPLY, index=numbers, hint_index=numbers, hint_term=numbers, reject=st.booleans()),
    _kind(HEARTBEAT, round=numbers),
    _kind(HEARTBEAT_REPLY, round=numbers, commit=numbers),
    _kind(PRE_VOTE, index=numbers, log_term=numbers),
    _kind(PRE_VOTE_REPLY, index=numbers, log_term=numbers, reject=st.booleans()),
    _kind(VOTE, index=numbers, log_term=numbers, force=st.booleans()),
    _kind(VOTE_REPLY, index=numbers, log_term=numbers, reject=st.booleans()),
    _kind(SNAPSHOT, snapshot=snapshots),
    _kind(TIMEOUT_NOW),
    _kind(TRANSFER, target=ids),
    _kind(READ_INDEX, round=numbers),
    _kind(READ_INDEX_REPLY, round=numbers, index=numbers, reject=st.booleans()),
    _kind(QUIESCE, index=numbers, log_term=numbers),
)
