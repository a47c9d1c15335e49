"""
What waits to be sent on one connection, and in which order it leaves.

Two lanes. The urgent one holds small lines: votes, acknowledgements, pings, and the heartbeats of all regions, which
leave as one line; of a region only the latest heartbeat waits. The bulk lane holds appends, commands and replies in
the order in which they came. What is longer than L{FRAME_BYTES} leaves in pieces, a C{BEGIN} line and C{PART} lines,
and everything urgent passes between two pieces.

Both lanes are bounded. What doesn't fit is refused here, and whoever sends knows what that means: Raft sends again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

from tinykv.peering.grammar import GrammarError, Line, Verb, framed, number, shown
from tinykv.peering.verbs import FRAME_BYTES, HEARTBEATS_MAX

#: What is taken for one write, unless a single line is longer.
WRITE_BYTES: Final = 1024 * 1024
#: A line around a payload has no more bytes than this; what waits counts with it.
_HEAD_BYTES: Final = 64


class Tracked:
    """
    Something in the bulk lane whose sender wants to know whether it left.

    @ivar left: Whether all of it was taken for sending, so that the other side may have it.
    """

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = False


#: Verb and fields, payload, and what it's about: a region's id, something tracked, or nothing.
_Bulk = tuple[bytes, bytes, int | Tracked | None]


class Lanes:
    """
    The lanes of one connection.

    @ivar bulk_bytes: What waits in the bulk lane.
    @ivar urgent_bytes: What waits in the urgent lane, heartbeats aside.
    """

    __slots__ = (
        "_beats",
        "_bulk",
        "_bulk_max",
        "_cut_at",
        "_heard",
        "_urgent",
        "_urgent_max",
        "_urgent_regions",
        "bulk_bytes",
        "urgent_bytes",
    )

    def __init__(self, urgent_bytes_max: int, bulk_bytes_max: int) -> None:
        self._urgent_max = urgent_bytes_max
        self._bulk_max = bulk_bytes_max
        self.urgent_bytes = 0
        self.bulk_bytes = 0
        self._urgent: list[bytes] = []
        #: The regions that messages in the urgent lane are about.
        self._urgent_regions: list[int] = []
        #: Regions' latest heartbeats, and answers to heartbeats.
        self._beats: dict[int, bytes] = {}
        self._heard: dict[int, bytes] = {}
        self._bulk: deque[_Bulk] = deque()
        #: How much of the first in the bulk lane has left, when it leaves in pieces.
        self._cut_at = 0

    def __bool__(self) -> bool:
        """Tell whether anything waits."""
        return bool(self._urgent or self._bulk or self._beats or self._heard)

    def beat(self, region_id: int, field: bytes) -> None:
        """Take a region's heartbeat, in place of one that still waits."""
        self._beats[region_id] = field

    def heard(self, region_id: int, field: bytes) -> None:
        """Take a region's answer to a heartbeat, in place of one that still waits."""
        self._heard[region_id] = field

    def urgent(self, line: bytes, region_id: int = 0) -> bool:
        """
        Take a whole line.

        @return: Whether there was room.
        """
        size = self.urgent_bytes + len(line)
        if size > self._urgent_max:
            return False
        self.urgent_bytes = size
        self._urgent.append(line)
        if region_id:
            self._urgent_regions.append(region_id)
        return True

    def bulk(self, head: bytes, payload: bytes, about: int | Tracked | None) -> bool:
        """
        Take verb and fields, and their payload.

        @return: Whether there was room. Something that is too large by itself has room when nothing waits.
        """
        size = self.bulk_bytes + len(payload) + _HEAD_BYTES
        if size > self._bulk_max and self._bulk:
            return False
        self.bulk_bytes = size
        self._bulk.append((head, payload, about))
        return True

    def take(self) -> bytes:
        """Take what one write should send: everything urgent, and of the rest what fits."""
        out: list[bytes] = []
        if self._beats:
            out += _one_line(b"HEARTBEAT ", self._beats)
        if self._heard:
            out += _one_line(b"HEARD ", self._heard)
        if self._urgent:
            out += self._urgent
            self._urgent.clear()
            self._urgent_regions.clear()
            self.urgent_bytes = 0
        bulk = self._bulk
        room = WRITE_BYTES
        while bulk:
            head, payload, about = bulk[0]
            size = len(payload)
            if size > FRAME_BYTES:
                size = min(size - self._cut_at, FRAME_BYTES)
            if size > room and room < WRITE_BYTES:
                break
            room -= size
            if len(payload) > FRAME_BYTES:
                out.append(self._piece())
                continue
            bulk.popleft()
            self.bulk_bytes -= size + _HEAD_BYTES
            if isinstance(about, Tracked):
                about.left = True
            out.append(framed(head, payload))
        return out[0] if len(out) == 1 else b"".join(out)

    def _piece(self) -> bytes:
        """Take the next piece of the first in the bulk lane."""
        head, payload, about = self._bulk[0]
        start = self._cut_at
        begin = b"" if start else b"BEGIN %b %d\r\n" % (head, len(payload))
        end = min(start + FRAME_BYTES, len(payload))
        piece = framed(b"PART", payload[start:end])
        self._cut_at = end
        if end == len(payload):
            self._bulk.popleft()
            self.bulk_bytes -= end + _HEAD_BYTES
            self._cut_at = 0
            if isinstance(about, Tracked):
                about.left = True
        return begin + piece

    def clear(self) -> list[int]:
        """
        Throw everything away.

        @return: The regions whose messages, other than heartbeats, were thrown away, once for each message.
        """
        lost = self._urgent_regions
        lost += [about for _, _, about in self._bulk if isinstance(about, int)]
        self._urgent_regions = []
        self._urgent.clear()
        self._beats.clear()
        self._heard.clear()
        self._bulk.clear()
        self._cut_at = 0
        self.urgent_bytes = self.bulk_bytes = 0
        return lost


def _one_line(verb: bytes, fields: dict[int, bytes]) -> list[bytes]:
    """Write all fields as one line, or as few as their number allows, and forget them."""
    found = list(fields.values())
    fields.clear()
    return [
        b"%b%b\r\n" % (verb, b" ".join(found[start : start + HEARTBEATS_MAX]))
        for start in range(0, len(found), HEARTBEATS_MAX)
    ]


class Assembly:
    """
    Puts messages together again that were cut into pieces; one at a time is under way.
    """

    __slots__ = ("_left", "_line", "_max", "_parts")

    def __init__(self, message_bytes_max: int) -> None:
        self._max = message_bytes_max
        self._line: tuple[bytes, list[bytes]] | None = None
        self._parts: list[bytes] = []
        self._left = 0

    def begin(self, fields: list[bytes], verbs: Mapping[bytes, Verb]) -> None:
        """
        Take a BEGIN line: a verb, its fields, and the length of all pieces together.

        @param verbs: What may be cut.
        @raise GrammarError: Something else is still under way, or this can't be.
        """
        if self._line is not None:
            raise GrammarError("a BEGIN line while another message is under way")
        verb, *middle = fields
        size = number(middle.pop())
        rule = verbs.get(verb)
        if rule is None or rule.payload_bytes is None or verb == b"PART":
            raise GrammarError(f"{shown(verb)} is nothing that comes in pieces")
        if len(middle) != rule.fields_least:
            raise GrammarError(f"a BEGIN {verb.decode()} line has another number of fields")
        if not FRAME_BYTES < size <= self._max:
            raise GrammarError(f"a message of {size} bytes isn't within {FRAME_BYTES + 1} to {self._max}")
        self._line = verb, middle
        self._left = size

    def part(self, payload: bytes) -> Line | None:
        """
        Take a piece.

        @return: The whole message, with the last piece.
        @raise GrammarError: Nothing is under way, or the piece is too long or empty.
        """
        if self._line is None:
            raise GrammarError("a PART line without a BEGIN line")
        if not 0 < len(payload) <= self._left:
            raise GrammarError(f"a piece of {len(payload)} bytes where {self._left} are left")
        self._parts.append(payload)
        self._left -= len(payload)
        if self._left:
            return None
        verb, fields = self._line
        self._line = None
        whole = b"".join(self._parts)
        self._parts.clear()
        return verb, fields, whole
