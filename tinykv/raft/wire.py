"""
Messages as bytes.

A message is a I{head}, and of an append its entries. All numbers are little-endian::

    head     kind(u8) flags(u8) to(u64) sender(u64) term(u64), the kind's own fields (u64 each),
             and of a snapshot its membership
    entries  count(u32), for each: term(u64) kind(u8) length(u32), then the data of all
    members  auto_leave(u8), four lists (voters, learners, outgoing, learners_next): count(u8) id(u64)...
    change   auto_leave(u8) count(u8), for each step: action(u8) peer(u64); then the context up to the end

The indexes of an append's entries aren't written: the first follows the message's index. What is read here comes from
other hosts, so everything is checked before it's believed, and nothing is allocated that the bytes don't hold.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from operator import itemgetter
from struct import Struct
from typing import Any, Final

from tinykv.errors import Damaged
from tinykv.raft.membership import ACTIONS, MAX_MEMBERS, Change, Membership, Step, possible
from tinykv.raft.messages import (
    APPEND,
    APPEND_REPLY,
    CHANGE,
    ENTRY_KINDS,
    HEARTBEAT,
    HEARTBEAT_REPLY,
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

#: Indexes, terms and ids stay below this, so that adding to one that was read never leaves 64 bits.
MAX_NUMBER: Final = 2**62

_REJECT: Final = 1
_FORCE: Final = 2

#: What each kind has behind the term, and which flags it may carry.
_FIELDS: Final[dict[int, tuple[tuple[str, ...], int]]] = {
    APPEND: (("index", "log_term", "commit"), 0),
    APPEND_REPLY: (("index", "hint_index", "hint_term"), _REJECT),
    HEARTBEAT: (("round",), 0),
    HEARTBEAT_REPLY: (("round", "commit"), 0),
    PRE_VOTE: (("index", "log_term", "hint_index", "hint_term"), 0),
    PRE_VOTE_REPLY: (("index", "log_term"), _REJECT),
    VOTE: (("index", "log_term", "hint_index", "hint_term"), _FORCE),
    VOTE_REPLY: (("index", "log_term"), _REJECT),
    SNAPSHOT: ((), 0),
    TIMEOUT_NOW: ((), 0),
    TRANSFER: (("target",), 0),
    READ_INDEX: (("round",), 0),
    READ_INDEX_REPLY: (("round", "index"), _REJECT),
    QUIESCE: (("index", "log_term"), 0),
}


class Malformed(Exception):
    """Bytes of a peer that aren't a message: the link that they came over is no longer to be trusted."""


class _Layout:
    """How one kind's head lies in bytes."""

    __slots__ = ("flags", "places", "struct", "values")

    def __init__(self, fields: tuple[str, ...], flags: int) -> None:
        names = ("to", "sender", "term", *fields)
        self.places = tuple(map(Message._fields.index, names))
        self.values = itemgetter(*self.places)
        self.struct = Struct(f"<BB{len(names)}Q")
        self.flags = flags


_LAYOUTS: Final = {kind: _Layout(*row) for kind, row in _FIELDS.items()}
_DEFAULTS: Final = [0, 0, 0, 0, *Message._field_defaults.values()]
_PLACE_OF_TERM: Final = Message._fields.index("term")
_PLACE_OF_LOG_TERM: Final = Message._fields.index("log_term")
_PLACE_OF_INDEX: Final = Message._fields.index("index")
_PLACE_OF_REJECT: Final = Message._fields.index("reject")
_PLACE_OF_FORCE: Final = Message._fields.index("force")
_PLACE_OF_ENTRIES: Final = Message._fields.index("entries")
_PLACE_OF_SNAPSHOT: Final = Message._fields.index("snapshot")

_COUNT: Final = Struct("<I")
_ENTRY: Final = Struct("<QBI")
_POINT: Final = Struct("<QQ")
_STEP: Final = Struct("<BQ")


def encode_head(message: Message) -> bytes:
    """Encode all of a message but the entries of an append; L{encode_entries} gives what belongs behind it."""
    kind = message.kind
    layout = _LAYOUTS[kind]
    flags = _REJECT * message.reject + _FORCE * message.force
    head = layout.struct.pack(kind, flags, *layout.values(message))
    if kind == SNAPSHOT:
        snapshot = message.snapshot
        assert snapshot is not None
        head += _POINT.pack(snapshot.index, snapshot.term) + encode_membership(snapshot.membership)
    return head


def encode_entries(entries: Sequence[Entry]) -> bytes:
    """
    Encode an append's entries, which is worth sharing when several peers get the same ones.

    The data of the entries is copied once.
    """
    return b"".join(_entry_parts(entries))


def encode_message(message: Message) -> bytes:
    """Encode a message whole: its head, and of an append the entries."""
    if message.kind == APPEND:
        return b"".join((encode_head(message), *_entry_parts(message.entries)))
    return encode_head(message)


def _entry_parts(entries: Sequence[Entry]) -> list[bytes]:
    """Give the pieces of encoded entries, the data as it is."""
    pack = _ENTRY.pack
    parts = [_COUNT.pack(len(entries))]
    parts += [pack(term, kind, len(data)) for _, term, kind, data in entries]
    parts += [entry.data for entry in entries]
    return parts


def decode_message(data: bytes) -> Message:
    """
    Decode what L{encode_message} gave.

    @raise Malformed: The bytes aren't exactly one message.
    """
    layout = _LAYOUTS.get(data[0]) if data else None
    if layout is None:
        raise Malformed(f"no kind of message is called {data[:1]!r}")
    size = layout.struct.size
    if len(data) < size:
        raise Malformed("a message is cut off in its head")
    kind, flags, *numbers = layout.struct.unpack_from(data)
    if flags & ~layout.flags:
        raise Malformed(f"a message of kind {kind} has flags {flags}")
    if max(numbers) >= MAX_NUMBER:
        raise Malformed("a number of a message is out of range")
    fields: list[Any] = _DEFAULTS.copy()
    fields[0] = kind
    for place, number in zip(layout.places, numbers, strict=True):
        fields[place] = number
    if flags:
        fields[_PLACE_OF_REJECT] = bool(flags & _REJECT)
        fields[_PLACE_OF_FORCE] = bool(flags & _FORCE)
    if kind == APPEND:
        fields[_PLACE_OF_ENTRIES] = _decode_entries(data, size, fields)
    elif kind == SNAPSHOT:
        fields[_PLACE_OF_SNAPSHOT] = _decode_snapshot(data, size)
    elif len(data) != size:
        raise Malformed("a message goes on behind its end")
    if not fields[1] or not fields[2]:
        raise Malformed("a message has no sender or no receiver")
    return Message._make(fields)


def _decode_entries(data: bytes, place: int, fields: list[Any]) -> tuple[Entry, ...]:
    """Decode the entries of an append, which begin at a place; the fields are what its head said."""
    heads = place + _COUNT.size
    if len(data) < heads:
        raise Malformed("entries are cut off in their count")
    (count,) = _COUNT.unpack_from(data, place)
    place = heads + count * _ENTRY.size
    if len(data) < place:
        raise Malformed("entries are cut off in their heads")
    entries = []
    index = fields[_PLACE_OF_INDEX] + 1
    least = max(1, fields[_PLACE_OF_LOG_TERM])
    greatest = fields[_PLACE_OF_TERM]
    for term, kind, length in _ENTRY.iter_unpack(data[heads:place]):
        end = place + length
        if kind not in ENTRY_KINDS or not least <= term <= greatest:
            raise Malformed(f"entry {index} has kind {kind} and term {term}")
        content = data[place:end]
        if kind == CHANGE:
            _check_change(content)
        entries.append(Entry(index, term, kind, content))
        least = term  # terms never fall along a log
        index += 1
        place = end
    if place != len(data):
        raise Malformed("entries don't end where their message does")
    return tuple(entries)


def _check_change(data: bytes) -> None:
    """Refuse an entry whose change nobody could read."""
    try:
        decode_change(data)
    except Damaged as error:
        raise Malformed(str(error)) from None


def _decode_snapshot(data: bytes, place: int) -> SnapshotMeta:
    """Decode what a snapshot stands for, at a place up to the end."""
    members = place + _POINT.size
    if len(data) < members:
        raise Malformed("a snapshot is cut off")
    index, term = _POINT.unpack_from(data, place)
    if not 0 < index < MAX_NUMBER or not 0 < term < MAX_NUMBER:
        raise Malformed(f"a snapshot has index {index} and term {term}")
    try:
        return SnapshotMeta(index, term, decode_membership(data[members:]))
    except Damaged as error:
        raise Malformed(str(error)) from None


def encode_membership(membership: Membership) -> bytes:
    """Encode a membership, for a message or for a row."""
    parts = [b"\x01" if membership.auto_leave else b"\x00"]
    for ids in membership[:4]:
        parts.append(struct.pack(f"<B{len(ids)}Q", len(ids), *ids))
    return b"".join(parts)


def decode_membership(data: bytes) -> Membership:
    """
    Decode what L{encode_membership} gave.

    @raise Damaged: The bytes aren't a membership that a group can have.
    """
    if not data or data[0] > 1:
        raise Damaged("a membership is cut off, or begins with something else")
    place = 1
    lists: list[tuple[int, ...]] = []
    for _ in range(4):
        if place >= len(data):
            raise Damaged("a membership is cut off")
        end = place + 1 + 8 * data[place]
        if end > len(data):
            raise Damaged("a membership is cut off in a list")
        ids = struct.unpack_from(f"<{data[place]}Q", data, place + 1)
        if any(a >= b for a, b in zip((0, *ids), (*ids, MAX_NUMBER), strict=True)):
            raise Damaged("the ids of a membership aren't in order")
        lists.append(ids)
        place = end
    if place != len(data):
        raise Damaged("a membership goes on behind its end")
    membership = Membership(lists[0], lists[1], lists[2], lists[3], bool(data[0]))
    if not possible(membership):
        raise Damaged(f"no group has the membership {membership}")
    return membership


def encode_change(change: Change) -> bytes:
    """Encode a change, for the data of an entry."""
    steps: Iterable[bytes] = (_STEP.pack(*step) for step in change.steps)
    return b"".join((bytes((change.auto_leave, len(change.steps))), *steps, change.context))


def decode_change(data: bytes) -> Change:
    """
    Decode what L{encode_change} gave.

    @raise Damaged: The bytes aren't a change.
    """
    if len(data) < 2 or data[0] > 1 or data[1] > MAX_MEMBERS:
        raise Damaged("a change is cut off, or begins with something else")
    end = 2 + data[1] * _STEP.size
    if len(data) < end:
        raise Damaged("a change is cut off in its steps")
    steps = tuple(Step(*step) for step in _STEP.iter_unpack(data[2:end]))
    peers = {step.peer for step in steps}
    if len(peers) != len(steps) or not all(0 < peer < MAX_NUMBER for peer in peers):
        raise Damaged("a change names a peer twice, or one that can't be")
    if not {step.action for step in steps} <= ACTIONS:
        raise Damaged("a change has a step of no known kind")
    return Change(steps, bool(data[0]), data[end:])
