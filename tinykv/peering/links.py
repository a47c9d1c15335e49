"""
The link to another store: dialled when something is to be sent, and again and again until it's up.

While a first attempt is under way, what is sent waits for it. Between attempts nothing waits: Raft sends again, and
commands are refused at once, with the certainty that they did nothing. When a link is lost, whatever of it may have
left has an unknown outcome, and the rest none at all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final

from twisted.internet.defer import Deferred

from tinykv.interfaces import Outcome
from tinykv.peering.channel import Channel, Common
from tinykv.peering.dialling import Dialling
from tinykv.peering.grammar import GrammarError, framed, line, number
from tinykv.peering.handshake import Hello, Refused
from tinykv.peering.lanes import Assembly, Lanes, Tracked
from tinykv.peering.settings import ANY_CLUSTER
from tinykv.peering.verbs import LINK_TO_DIALLER, SERVES_FEATURE, heartbeat_field
from tinykv.raft.messages import APPEND, BULKY, HEARTBEAT, HEARTBEAT_REPLY, Entry, Message
from tinykv.raft.wire import encode_entries, encode_head

#: An attempt that has taken so long, in seconds, is given up when the store shows that it's there: what asked for the
#: connection was lost, and the system asks again ever more seldom.
_STALE_SECONDS: Final = 0.5

#: What a command's outcome is told by.
Answered = Callable[[Outcome, bytes], None]

_OUTCOMES: Final = {b"ANSWER": Outcome.ANSWERED, b"REFUSED": Outcome.REFUSED, b"UNKNOWN": Outcome.UNKNOWN}


class Forward(Tracked):
    """A batch of commands that was given to another store."""

    __slots__ = ("answered",)

    def __init__(self, answered: Answered) -> None:
        super().__init__()
        self.answered = answered


class EntryBytes:
    """
    The bytes of the entries that were encoded last: a leader sends the same ones to all its followers.
    """

    def __init__(self) -> None:
        self._entries: tuple[Entry, ...] = ()
        self._bytes = encode_entries(())

    def encode(self, message: Message) -> bytes:
        """Encode an append."""
        if message.entries is not self._entries:
            self._bytes = encode_entries(message.entries)
            self._entries = message.entries
        return encode_head(message) + self._bytes

    def forget(self) -> None:
        """Let go of them."""
        self._entries = ()
        self._bytes = encode_entries(())


class Dialled(Channel):
    """A connection of a link that this store dialled."""

    def __init__(self, common: Common, link: Link, lanes: Lanes) -> None:
        super().__init__(common, purpose=common.purpose, expected=link.store_id)
        self.lanes = lanes
        self._link = link
        self._assembly = Assembly(common.limits.message_bytes_max)
        self._whole: dict[bytes, Callable[[list[bytes], bytes], None]] = {
            b"ANSWER": self._answer,
            b"REFUSED": self._refused,
            b"UNKNOWN": self._unknown,
            b"PUSH": self._push,
        }

    def came_up(self, hello: Hello) -> None:
        """
        Let the link know, and tell the other store what it tells its clients of this one.

        @raise Refused: To a gateway: it's of another cluster than the stores before it.
        """
        common = self.common
        if common.identity.cluster_id == ANY_CLUSTER:
            common.cluster_id = common.cluster_id or hello.cluster_id
            if hello.cluster_id != common.cluster_id:
                why = f"this gateway has found stores of cluster {common.cluster_id}, and you are of {hello.cluster_id}"
                raise Refused("cluster", why)
        self.speak(LINK_TO_DIALLER, {**self._whole, b"BEGIN": self._begin, b"PART": self._part})
        address = self.common.serves()
        if address and SERVES_FEATURE in hello.features:
            self.lanes.urgent(line(b"SERVES", address))
        self._link.came_up(hello.features)

    def went_down(self) -> None:
        """Let the link know."""
        self._link.went_down()

    def _answer(self, fields: list[bytes], payload: bytes) -> None:
        self._link.answered(number(fields[0]), Outcome.ANSWERED, payload)

    def _refused(self, fields: list[bytes], payload: bytes) -> None:
        self._link.answered(number(fields[0]), Outcome.REFUSED, payload)

    def _unknown(self, fields: list[bytes], payload: bytes) -> None:
        self._link.answered(number(fields[0]), Outcome.UNKNOWN, b"")

    def _push(self, fields: list[bytes], payload: bytes) -> None:
        self.common.figures.pushes_in += 1
        self.common.listener.pushed(self.store_id, payload)

    def _begin(self, fields: list[bytes], payload: bytes) -> None:
        self._assembly.begin(fields, LINK_TO_DIALLER)

    def _part(self, fields: list[bytes], payload: bytes) -> None:
        if (found := self._assembly.part(payload)) is not None:
            verb, whole_fields, whole = found
            self._whole[verb](whole_fields, whole)


class Link:
    """
    The way to one other store.

    @ivar store_id: That store.
    """

    def __init__(self, common: Common, store_id: int, random: Random, entry_bytes: EntryBytes) -> None:
        self.store_id = store_id
        self._common = common
        self._entry_bytes = entry_bytes
        self._dialling = Dialling(common, store_id, random, self.dial)
        #: What waits to leave, and by what, while there's a connection or the attempt for one.
        self._lanes: Lanes | None = None
        self._channel: Dialled | None = None
        #: What the store can do beyond the protocol's version, by its last word.
        self._features: frozenset[str] = frozenset()
        #: Whether the connection has been up.
        self._was_up = False
        #: Fires when the link is closed; None until it's to be.
        self._closing: Deferred[None] | None = None
        self._up_at = 0.0
        self._forwards: dict[int, Forward] = {}
        #: Batches refused on this side whose senders haven't heard of it.
        self._refused: list[Forward] = []
        self._lost_regions: set[int] = set()

    @property
    def is_up(self) -> bool:
        """Whether there is a connection that works."""
        return self._channel is not None and self._channel.is_up

    def can(self, feature: str) -> bool:
        """Say whether the store is reached, and can do something beyond the protocol's version."""
        return self.is_up and feature in self._features

    # Sending

    def send(self, region_id: int, message: Message) -> None:
        """Queue a Raft message."""
        lanes = self._lanes
        if lanes is None:
            self._lose(region_id, message.kind)
            return
        kind = message.kind
        if kind == HEARTBEAT:
            lanes.beat(region_id, heartbeat_field(region_id, message))
        elif kind == HEARTBEAT_REPLY:
            lanes.heard(region_id, heartbeat_field(region_id, message))
        elif kind in BULKY:
            payload = self._entry_bytes.encode(message) if kind == APPEND else encode_head(message)
            if len(payload) > self._common.limits.message_bytes_max:
                self._common.notices.warn(
                    f"store {self.store_id}",
                    "message",
                    f"a message of {len(payload)} bytes for region {region_id} is too long to be sent",
                )
                self._lose(region_id, kind)
                return
            if not lanes.bulk(b"RAFT %d" % region_id, payload, region_id):
                self._lose(region_id, kind)
                return
        elif not lanes.urgent(framed(b"RAFT %d" % region_id, encode_head(message)), region_id):
            self._lose(region_id, kind)
            return
        self._common.figures.messages_out += 1
        self._flush_later()

    def _flush_later(self) -> None:
        if self._channel is not None:
            self._channel.flush_later()

    def _lose(self, region_id: int, kind: int) -> None:
        """Drop a message, and let Raft know."""
        self._common.figures.messages_dropped += 1
        if kind != HEARTBEAT and kind != HEARTBEAT_REPLY:
            self._report((region_id,))

    def _report(self, region_ids: list[int] | tuple[int, ...]) -> None:
        lost = self._lost_regions
        if not lost and region_ids:
            self._common.turn.call_later(self._report_lost)
        lost.update(region_ids)

    def _report_lost(self) -> None:
        lost, self._lost_regions = self._lost_regions, set()
        listener = self._common.listener
        for region_id in sorted(lost):
            listener.unreachable(self.store_id, region_id)

    def forward(self, origin: int, count: int, payload: bytes, answered: Answered) -> None:
        """Queue a batch of commands."""
        lanes = self._lanes
        limits = self._common.limits
        forward = Forward(answered)
        if (
            lanes is None
            or self._refused
            or len(self._forwards) >= limits.forwards_max
            or len(payload) > limits.message_bytes_max
            or not lanes.bulk(b"FORWARD %d %d" % (origin, count), payload, forward)
        ):
            self._refuse(forward)
            return
        self._common.figures.forwards_out += 1
        self._forwards[count] = forward
        self._flush_later()

    def _refuse(self, forward: Forward) -> None:
        """
        Refuse a batch. All that follow it are refused, too, until that has been told, so that none of them is done
        before the first could be sent again (R1).
        """
        self._common.figures.forwards_refused += 1
        if not self._refused:
            self._common.turn.call_later(self._tell_refused)
        self._refused.append(forward)

    def _tell_refused(self) -> None:
        told = self._refused.copy()
        for forward in told:
            forward.answered(Outcome.REFUSED, b"")
        # What was refused meanwhile is told in the next turn.
        del self._refused[: len(told)]
        if self._refused:
            self._common.turn.call_later(self._tell_refused)

    def answered(self, count: int, outcome: Outcome, payload: bytes) -> None:
        """
        Take the outcome of a batch.

        @raise GrammarError: There was no such batch, or it has been answered.
        """
        forward = self._forwards.get(count)
        if forward is None or not forward.left:
            raise GrammarError(f"batch {count} is answered, and nobody asks for that")
        del self._forwards[count]
        if outcome is Outcome.UNKNOWN:
            self._common.figures.forwards_unknown += 1
        forward.answered(outcome, payload)

    # Connecting

    def dial(self) -> None:
        """Connect, unless there's a connection or an attempt for one."""
        if self._closing is not None or self._lanes is not None:
            return
        self._dialling.wait_no_more()
        common = self._common
        endpoint = common.addresses.endpoint(self.store_id)
        if endpoint is None:
            return
        common.figures.dials += 1
        limits = common.limits
        self._lanes = Lanes(limits.urgent_bytes_max, limits.bulk_bytes_max)
        self._channel = channel = Dialled(common, self, self._lanes)
        self._dialling.attempt(endpoint, channel, self._not_connected)

    def _not_connected(self, text: str | None) -> None:
        if text is not None and self._closing is None:
            address = self._common.addresses.address(self.store_id)
            self._common.notices.warn(f"store {self.store_id}", "dial", f"{address} can't be reached: {text}")
        self._common.figures.dials_failed += 1
        self._failed()

    def came_up(self, features: frozenset[str]) -> None:
        """Learn that the handshake is through, and what the other store can do."""
        common = self._common
        self._features = features
        self._was_up = True
        self._up_at = common.clock.seconds()
        common.figures.links_out += 1
        common.listener.link_up(self.store_id)

    def went_down(self) -> None:
        """Learn that the connection is gone."""
        common = self._common
        was_up, self._was_up = self._was_up, False
        if was_up:
            common.figures.links_out -= 1
            if common.clock.seconds() - self._up_at >= common.limits.reconnect_most:
                self._dialling.back_off.reset()
        else:
            common.figures.dials_failed += 1
        self._failed()
        if was_up:
            common.listener.link_down(self.store_id)

    def _failed(self) -> None:
        """Let go of what waited, and try again later."""
        common = self._common
        self._channel = None
        lanes, self._lanes = self._lanes, None
        if lanes is not None:
            lost = lanes.clear()
            common.figures.messages_dropped += len(lost)
            self._report(lost)
        forwards, self._forwards = self._forwards, {}
        for forward in forwards.values():
            if forward.left:
                common.figures.forwards_unknown += 1
                common.turn.call_later(partial(forward.answered, Outcome.UNKNOWN, b""))
            else:
                self._refuse(forward)
        if self._closing is None:
            self._dialling.again_later()
        else:
            self._closing.callback(None)

    def nudge(self) -> None:
        """Dial at once: the store is there, for it has connected, and its address is known for sure."""
        if self._closing is not None:
            return
        if self._dialling.under_way_for >= _STALE_SECONDS:
            self._dialling.give_up()
        if self._lanes is None:
            self._dialling.back_off.reset()
            self.dial()

    def close(self) -> Deferred[None]:
        """
        Close, and dial no more; once.

        @return: fires when the connection is gone.
        """
        assert self._closing is None
        closing: Deferred[None] = Deferred()
        self._closing = closing
        self._dialling.wait_no_more()
        if self._dialling.give_up():
            return closing
        if self._channel is not None:
            self._channel.end("closing", "this store closes its link")
        else:
            closing.callback(None)
        return closing
