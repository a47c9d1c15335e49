"""
A link that another store dialled: its Raft messages and batches of commands come in, answers and pushes go out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from zope.interface import implementer

from tinykv.interfaces import IForwardAnswer
from tinykv.peering.channel import Channel, Common
from tinykv.peering.grammar import GrammarError, number
from tinykv.peering.handshake import GATEWAY, Hello
from tinykv.peering.lanes import Assembly
from tinykv.peering.settings import is_address
from tinykv.peering.verbs import (
    FORWARDS_MAX,
    GATEWAY_TO_ACCEPTOR,
    LINK_TO_ACCEPTOR,
    read_heard,
    read_heartbeat,
    read_id,
)
from tinykv.raft.messages import Message
from tinykv.raft.wire import Malformed, decode_message

#: Runs of other stores whose last number is remembered: several for each store there may be.
ORIGINS_MAX: Final = 4096


class Repeats:
    """
    Which batches have come already, over all links.

    An origin numbers its batches upwards and sends them in order, so the last number says it all: what isn't above it
    came before, or was overtaken when a newer link replaced the one it was on. Either way it isn't run; its origin
    knows that its outcome is unknown.
    """

    def __init__(self) -> None:
        self._last: OrderedDict[int, int] = OrderedDict()

    def is_new(self, origin: int, count: int) -> bool:
        """Tell whether a batch hasn't come, and note that now it has."""
        last = self._last
        if count <= last.get(origin, -1):
            return False
        last[origin] = count
        last.move_to_end(origin)
        if len(last) > ORIGINS_MAX:
            last.popitem(last=False)
        return True


@implementer(IForwardAnswer)
class ForwardAnswer:
    """Where the answer to one batch goes."""

    __slots__ = ("_given", "_link", "_number")

    def __init__(self, link: IncomingLink, count: int) -> None:
        self._link = link
        self._number = count
        self._given = False

    @property
    def crowded(self) -> bool:
        """Whether many answers wait already."""
        return self._link.crowded

    def answer(self, payload: bytes) -> None:
        """Give the answer."""
        self._give(b"ANSWER", payload)

    def refuse(self, payload: bytes) -> None:
        """Say that the batch did nothing, and why."""
        self._give(b"REFUSED", payload)

    def unknown(self) -> None:
        """Say that nobody can tell."""
        self._give(b"UNKNOWN", b"")

    def _give(self, verb: bytes, payload: bytes) -> None:
        assert not self._given, "a batch has one answer"
        self._given = True
        self._link.answered(verb, self._number, payload)


class IncomingLink:
    """
    The link's part of an accepted connection.

    @ivar store_id: The store that dialled, or the gateway.
    """

    def __init__(self, channel: Channel, common: Common, repeats: Repeats, hello: Hello) -> None:
        self.store_id = hello.store_id
        self.channel = channel
        self._common = common
        self._listener = common.listener
        self._repeats = repeats
        self._unanswered = 0
        self._assembly = Assembly(common.limits.message_bytes_max)
        self._whole: dict[bytes, Callable[[list[bytes], bytes], None]] = {
            b"RAFT": self._raft,
            b"FORWARD": self._forward,
        }
        pieces = {b"BEGIN": self._begin, b"PART": self._part}
        if hello.purpose == GATEWAY:
            # It has no peers, and so nothing to say to any.
            self._verbs = GATEWAY_TO_ACCEPTOR
            del self._whole[b"RAFT"]
            channel.speak(self._verbs, {**self._whole, **pieces})
            return
        self._verbs = LINK_TO_ACCEPTOR
        channel.speak(
            self._verbs,
            {
                **self._whole,
                **pieces,
                b"HEARTBEAT": self._heartbeats,
                b"HEARD": self._heard,
                b"SERVES": self._serves,
            },
        )
        # It says anew where clients find it, if they do.
        common.addresses.serves(hello.store_id, None)

    # What comes in

    def _raft(self, fields: list[bytes], payload: bytes) -> None:
        region_id = read_id(fields[0])
        try:
            message = decode_message(payload)
        except Malformed as error:
            raise GrammarError(f"a RAFT payload is malformed: {error}") from None
        self._received(region_id, message)

    def _heartbeats(self, fields: list[bytes], payload: bytes) -> None:
        for region_id, message in [read_heartbeat(field) for field in fields]:
            self._received(region_id, message)

    def _heard(self, fields: list[bytes], payload: bytes) -> None:
        for region_id, message in [read_heard(field) for field in fields]:
            self._received(region_id, message)

    def _received(self, region_id: int, message: Message) -> None:
        """Hand a message on, if the store that it comes from is the one that its sender is on."""
        store_id = self.store_id
        figures = self._common.figures
        figures.messages_in += 1
        home = self._listener.sender_store(region_id, message.sender)
        if home is not None and home != store_id:
            figures.messages_misplaced += 1
            self._common.notices.warn(
                f"store {store_id}",
                "misplaced",
                f"it sends as peer {message.sender} of region {region_id}, which is on store {home}: not taken",
            )
            return
        self._listener.received(store_id, region_id, message)

    def _forward(self, fields: list[bytes], payload: bytes) -> None:
        figures = self._common.figures
        count = number(fields[1])
        if not self._repeats.is_new(number(fields[0]), count):
            figures.forwards_repeated += 1
            return
        figures.forwards_in += 1
        if self._unanswered >= FORWARDS_MAX:
            raise GrammarError(f"there are {FORWARDS_MAX} batches that aren't answered already")
        self._unanswered += 1
        self._listener.forwarded(self.store_id, payload, ForwardAnswer(self, count))

    def _serves(self, fields: list[bytes], payload: bytes) -> None:
        address = fields[0].decode()
        if not is_address(address):
            raise GrammarError("the address of a SERVES line is no host:port")
        self._common.addresses.serves(self.store_id, address)

    def _begin(self, fields: list[bytes], payload: bytes) -> None:
        self._assembly.begin(fields, self._verbs)

    def _part(self, fields: list[bytes], payload: bytes) -> None:
        if (found := self._assembly.part(payload)) is not None:
            verb, whole_fields, whole = found
            self._whole[verb](whole_fields, whole)

    # What goes out

    @property
    def crowded(self) -> bool:
        """Whether what waits for the other store is more than half of what may."""
        return 2 * self.channel.lanes.bulk_bytes > self._common.limits.bulk_bytes_max

    def answered(self, verb: bytes, count: int, payload: bytes) -> None:
        """Send the answer to a batch."""
        self._unanswered -= 1
        if not self.channel.is_up:
            self._common.figures.answers_lost += 1
            return
        if len(payload) > self._common.limits.message_bytes_max:
            self._common.notices.warn(
                f"store {self.store_id}", "answer", f"an answer of {len(payload)} bytes is too long to be sent"
            )
            self._common.figures.answers_lost += 1
            verb, payload = b"UNKNOWN", b""
        self._queue(b"%b %d" % (verb, count), payload)

    def push(self, payload: bytes) -> bool:
        """Send bytes in one order with the answers."""
        if len(payload) > self._common.limits.message_bytes_max:
            # It can't be left out quietly: what follows it may depend on it.
            self._unread("something too long was to be pushed")
            return False
        self._common.figures.pushes_out += 1
        return self._queue(b"PUSH", payload)

    def _queue(self, head: bytes, payload: bytes) -> bool:
        channel = self.channel
        if not channel.lanes.bulk(head, payload, None):
            self._unread("it doesn't read its answers")
            return False
        channel.flush_later()
        return True

    def _unread(self, text: str) -> None:
        common = self._common
        common.figures.unread += 1
        common.notices.warn(f"store {self.store_id}", "unread", f"{text}, closing the link")
        self.channel.abort()
