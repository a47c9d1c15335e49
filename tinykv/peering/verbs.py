"""
The verbs of the peer line protocol: which may come when, and how long they may be. docs/formats.md explains them.

What a side may send depends on whether it dialled, on what the connection is for, and on whether both sides have
proven who they are: until then lines are short, few, and without payload.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from tinykv.peering.grammar import GrammarError, Verb, number, shown
from tinykv.raft.messages import HEARTBEAT, HEARTBEAT_REPLY, Message
from tinykv.raft.wire import MAX_NUMBER

#: The most payload of one line: what is longer is cut, so that urgent lines can pass between the pieces.
FRAME_BYTES: Final = 1024 * 1024
#: A side that understands where clients of a cluster find the other one names this in its HELLO line.
SERVES_FEATURE: Final = "serves"
#: Named by a store that can take part in merges: it knows their entries, and has on disk what it has confirmed.
MERGE_FEATURE: Final = "merge"
#: How many regions one line of heartbeats may tell of.
HEARTBEATS_MAX: Final = 4096
#: How many batches of commands may be unanswered on one link.
FORWARDS_MAX: Final = 4096
#: The most payload of a piece of a snapshot, and of what is said about it in front.
CHUNK_BYTES: Final = 256 * 1024
META_BYTES: Final = 64 * 1024

_LINE_BYTES: Final = 512
_HELLO_BYTES: Final = 1024
#: Six numbers of 19 digits with what parts them, for each region.
_HEARTBEATS_BYTES: Final = 16 + HEARTBEATS_MAX * 6 * 20

_ERROR: Final = Verb(_LINE_BYTES, 2, 100)
_PING: Final = Verb(16, 0, 0)
#: On links, with what clocks say, if both sides understand that.
_TIMED_PING: Final = Verb(32, 0, 1)
_TIMED_PONG: Final = Verb(48, 0, 2)
_HEARTBEATS: Final = Verb(_HEARTBEATS_BYTES, 1, HEARTBEATS_MAX)

#: One region's heartbeat, and its answer; ids aren't 0. One match is a third of the work of reading each number.
_ID: Final = rb"([1-9][0-9]{0,18})"
_NUMBER: Final = rb"(0|[1-9][0-9]{0,18})"
_BEAT: Final = re.compile(b":".join((_ID, _ID, _ID, _NUMBER, _NUMBER)))
_HEARD: Final = re.compile(b":".join((_ID, _ID, _ID, _NUMBER, _NUMBER, _NUMBER)))

#: Until both sides have proven who they are. A HELLO of another version may have another number of fields.
BEFORE: Final[Mapping[bytes, Verb]] = {
    b"HELLO": Verb(_HELLO_BYTES, 1, 16),
    b"PROOF": Verb(80, 1, 1),
    b"ERROR": _ERROR,
}

#: What may be cut: these verbs' fields, of which a BEGIN line has one more, the verb.
_TO_ACCEPTOR: Final = {b"RAFT": 1, b"FORWARD": 2}
_TO_DIALLER: Final = {b"ANSWER": 1, b"REFUSED": 1, b"UNKNOWN": 1, b"PUSH": 0}


def _with_payloads(whole: Mapping[bytes, int]) -> dict[bytes, Verb]:
    """Describe verbs that have payloads, and the two that a long one of them is cut into."""
    verbs = {verb: Verb(_LINE_BYTES, count, count, FRAME_BYTES) for verb, count in whole.items()}
    counts = whole.values()
    verbs[b"BEGIN"] = Verb(_LINE_BYTES, min(counts) + 2, max(counts) + 2)
    verbs[b"PART"] = Verb(_LINE_BYTES, 0, 0, FRAME_BYTES)
    return verbs


#: On a link, from the one that dialled.
LINK_TO_ACCEPTOR: Final[Mapping[bytes, Verb]] = {
    **_with_payloads(_TO_ACCEPTOR),
    b"HEARTBEAT": _HEARTBEATS,
    b"HEARD": _HEARTBEATS,
    b"PING": _TIMED_PING,
    b"SERVES": Verb(_LINE_BYTES, 1, 1),
    b"ERROR": _ERROR,
}
#: On a link, from a gateway.
GATEWAY_TO_ACCEPTOR: Final[Mapping[bytes, Verb]] = {
    **_with_payloads({b"FORWARD": 2}),
    b"PING": _PING,
    b"ERROR": _ERROR,
}
#: On a link, to the one that dialled.
LINK_TO_DIALLER: Final[Mapping[bytes, Verb]] = {
    **_with_payloads(_TO_DIALLER),
    b"PONG": _TIMED_PONG,
    b"ERROR": _ERROR,
}
#: On a snapshot's connection, from the one that dialled, who has the snapshot.
SNAPSHOT_TO_ACCEPTOR: Final[Mapping[bytes, Verb]] = {
    b"SNAPSHOT": Verb(_LINE_BYTES, 5, 5, META_BYTES),
    b"CHUNK": Verb(_LINE_BYTES, 2, 2, CHUNK_BYTES),
    b"PING": _PING,
    b"ERROR": _ERROR,
}
#: On a snapshot's connection, to the one that dialled.
SNAPSHOT_TO_DIALLER: Final[Mapping[bytes, Verb]] = {
    b"HAVE": Verb(_LINE_BYTES, 2, 2),
    b"TAKEN": Verb(_LINE_BYTES, 1, 1),
    b"DONE": Verb(_LINE_BYTES, 0, 0),
    b"PONG": _PING,
    b"ERROR": _ERROR,
}


def heartbeat_field(region_id: int, message: Message) -> bytes:
    """Write one region's heartbeat, or the answer to one, as a field."""
    if message.kind == HEARTBEAT:
        return b"%d:%d:%d:%d:%d" % (region_id, message.to, message.sender, message.term, message.round)
    return b"%d:%d:%d:%d:%d:%d" % (
        region_id,
        message.to,
        message.sender,
        message.term,
        message.round,
        message.commit,
    )


def read_heartbeat(field: bytes) -> tuple[int, Message]:
    """
    Read what L{heartbeat_field} wrote for a heartbeat.

    @return: (region id, message).
    @raise GrammarError: It isn't one.
    """
    region_id, to, sender, term, count = _numbers(_BEAT, field)
    return region_id, Message(HEARTBEAT, to, sender, term, round=count)


def read_heard(field: bytes) -> tuple[int, Message]:
    """
    Read what L{heartbeat_field} wrote for the answer to a heartbeat.

    @return: (region id, message).
    @raise GrammarError: It isn't one.
    """
    region_id, to, sender, term, count, commit = _numbers(_HEARD, field)
    return region_id, Message(HEARTBEAT_REPLY, to, sender, term, round=count, commit=commit)


def _numbers(form: re.Pattern[bytes], field: bytes) -> list[int]:
    """Read the numbers of one region."""
    found = form.fullmatch(field)
    if found is None:
        raise GrammarError(f"{shown(field)} is no heartbeat")
    numbers = [int(group) for group in found.groups()]
    if max(numbers) >= MAX_NUMBER:
        raise GrammarError("a number of a heartbeat is out of range")
    return numbers


def read_id(field: bytes) -> int:
    """
    Read the id of a region.

    @raise GrammarError: It isn't one.
    """
    found = number(field)
    if not 0 < found < MAX_NUMBER:
        raise GrammarError(f"{found} is no id")
    return found
