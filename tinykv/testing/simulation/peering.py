"""
The links between simulated stores: L{IPeering} over the simulated network.

Raft messages travel one by one, as datagrams do, so that whatever the network does to them (loss, delay, another
order, a second copy) happens to each on its own, which is more than a connection would let through. They're bytes on
the way, so that their wire form is used. Batches of commands, what is pushed, and snapshots go over connections, whose
end decides what became of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from random import Random
from struct import Struct
from typing import Final

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tinykv.interfaces import IForwardAnswer, IPeerHandler, IPeering, Outcome
from tinykv.peering.errors import SnapshotFailed
from tinykv.peering.turn import Turn
from tinykv.raft.messages import HEARTBEAT, Message
from tinykv.raft.wire import decode_message, encode_message
from tinykv.testing.simulation.clock import Process
from tinykv.testing.simulation.frames import (
    ANSWER,
    DECLINED,
    DONE,
    FORWARD,
    HELLO,
    OFFER,
    PIECE,
    PUSH,
    READY,
    REFUSED,
    UNKNOWN,
    Frames,
)
from tinykv.testing.simulation.network import Network
from tinykv.testing.simulation.streams import Streams

#: Seconds that an attempt to connect may take, and the pause before the next one: it's doubled by each failure.
PATIENCE: Final = 3.0
PAUSES: Final = (0.05, 1.0)
#: A snapshot is given up after so many connections that brought nothing.
ATTEMPTS: Final = 10
PIECE_BYTES: Final = 16 * 1024

_OFFER: Final = Struct(">QQ32s")
_OUTCOMES: Final = {ANSWER: Outcome.ANSWERED, REFUSED: Outcome.REFUSED, UNKNOWN: Outcome.UNKNOWN}

Answered = Callable[[Outcome, bytes], None]


@implementer(IPeering)
class SimulatedPeering:
    """
    One run's links.

    @ivar store_id: Whose they are.
    @ivar process: The run.
    """

    def __init__(
        self,
        *,
        store_id: int,
        process: Process,
        network: Network,
        streams: Streams,
        addresses: Mapping[int, str],
        files: dict[str, bytes],
        random: Random,
    ) -> None:
        """
        @param addresses: Of all stores, by id.
        @param files: What lies on the machine's disk: snapshots are read from there, and put there.
        """
        self.store_id = store_id
        self.process = process
        self.files = files
        self.turn = Turn(process, lambda: None)
        self.incoming: dict[int, _Incoming] = {}
        #: What there is of snapshots that haven't arrived whole, by sender, region and digest.
        self.parts: dict[tuple[int, int, bytes], bytes] = {}
        self._network = network
        self._streams = streams
        self._addresses = addresses
        self._stores = {address: store for store, address in addresses.items()}
        self._random = random
        self._links: dict[int, _Link] = {}
        self._handler: IPeerHandler | None = None
        self._out: dict[int, list[tuple[int, Message]]] = {}
        self._batches = 0
        self._sending: dict[tuple[int, int], _Sending] = {}
        self._closed = False
        network.listen(addresses[store_id], process, self._heard)

    @property
    def handler(self) -> IPeerHandler:
        """Give who hears what comes in."""
        assert self._handler is not None, "somebody listens before anything is sent"
        return self._handler

    def handle(self, handler: IPeerHandler) -> None:
        """Register who hears what comes in."""
        assert self._handler is None, "once is enough"
        self._handler = handler

    # Raft messages

    def send(self, store_id: int, region_id: int, message: Message) -> None:
        """Queue a Raft message."""
        link = self._link(store_id)
        if not link.open:
            if message.kind != HEARTBEAT:
                link.lose(region_id)
            return
        queued = self._out.setdefault(store_id, [])
        if not queued:
            self.turn.flush_later(partial(self._send_queued, store_id))
        if message.kind == HEARTBEAT:
            # Only the latest is worth sending.
            queued[:] = [one for one in queued if (one[0], one[1].kind) != (region_id, HEARTBEAT)]
        queued.append((region_id, message))
        link.regions.add(region_id)

    def _send_queued(self, store_id: int) -> None:
        here, there = self._addresses[self.store_id], self._addresses[store_id]
        for region_id, message in self._out.pop(store_id, ()):
            data = encode_message(message)
            self._network.send(here, there, (region_id, data), len(data))

    def _heard(self, source: str, datagram: tuple[int, bytes]) -> None:
        store_id = self._stores[source]
        region_id, data = datagram
        message = decode_message(data)
        if not self._closed and self.handler.sender_store(region_id, message.sender) in (None, store_id):
            self.handler.received(store_id, region_id, message)

    def flush(self) -> None:
        """Let everything leave now."""
        self.turn.flush()

    # Links

    def _link(self, store_id: int) -> _Link:
        link = self._links.get(store_id)
        if link is None:
            assert store_id != self.store_id, "a store has no link to itself"
            link = self._links[store_id] = _Link(self, store_id, self._random)
            link.dial()
        return link

    def connect(self, store_id: int, protocol: Frames, failed: Callable[[], None]) -> None:
        """Connect to a store."""
        here, there = self._addresses[self.store_id], self._addresses[store_id]
        self._streams.connect(here, self.process, there, protocol, lambda reason: failed())

    def accept(self, address: str) -> Frames:
        """Take a connection of another store."""
        return _Incoming(self, self._stores[address])

    def knows(self, address: str) -> bool:
        """Say whether an address is a store's."""
        return address in self._stores

    def forward(self, store_id: int, payload: bytes, answered: Answered) -> None:
        """Queue a batch of commands."""
        self._batches += 1
        self._link(store_id).forward(self._batches, payload, answered)

    def push(self, store_id: int, payload: bytes) -> bool:
        """Queue bytes on the link that a store opened."""
        incoming = self.incoming.get(store_id)
        if incoming is None:
            return False
        incoming.reply(PUSH, 0, payload)
        return True

    def is_up(self, store_id: int) -> bool:
        """Tell whether the link to a store is up."""
        link = self._links.get(store_id)
        return link is not None and link.is_up

    def break_link(self, store_id: int) -> bool:
        """Let the connection to a store break, as a firewall does that forgets it; tell whether there was one."""
        link = self._links.get(store_id)
        return link is not None and link.break_now()

    def forget(self, store_id: int) -> None:
        """Close the link to a store for good."""
        link = self._links.pop(store_id, None)
        if link is not None:
            link.close()

    # Snapshots

    def send_snapshot(self, store_id: int, region_id: int, path: str, meta: bytes) -> Deferred[None]:
        """Send a file."""
        key = (store_id, region_id)
        assert key not in self._sending, "one at a time for each region and store"
        sending = self._sending[key] = _Sending(self, store_id, region_id, self.files[path], meta)

        def over(result: object) -> object:
            del self._sending[key]
            return result

        sending.finished.addBoth(over)
        sending.begin()
        return sending.finished

    def close(self) -> Deferred[None]:
        """End all connections."""
        self._closed = True
        for sending in list(self._sending.values()):
            sending.fail("the store stops")
        for link in self._links.values():
            link.close()
        self._links.clear()
        for incoming in list(self.incoming.values()):
            incoming.abort()
        return succeed(None)


class _Dialled(Frames):
    """A connection of a link that this store dialled."""

    def __init__(self, link: _Link) -> None:
        super().__init__()
        self._link = link
        self.given_up = False

    def connectionMade(self) -> None:
        """Say who calls."""
        if self.given_up:
            self.abort()
        else:
            self.send(HELLO, self._link.peering.store_id)

    def frame(self, kind: int, number: int, payload: bytes) -> None:
        """Pass it on."""
        if self.given_up:
            return
        if kind == HELLO:
            self._link.came_up()
        elif kind == PUSH:
            self._link.peering.handler.pushed(self._link.store_id, payload)
        else:
            self._link.answered(number, _OUTCOMES[kind], payload)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Let the link know."""
        if not self.given_up:
            self._link.went_down()


class _Link:
    """
    The way to one other store.

    @ivar is_up: Whether the other store has answered on it.
    @ivar open: Whether something may be queued: it's up, or an attempt is under way.
    @ivar regions: Whose messages went this way since it was opened.
    """

    def __init__(self, peering: SimulatedPeering, store_id: int, random: Random) -> None:
        self.peering = peering
        self.store_id = store_id
        self.is_up = False
        self.open = False
        self.regions: set[int] = set()
        self._random = random
        self._pause = PAUSES[0]
        self._channel: _Dialled | None = None
        self._timer: IDelayedCall | None = None
        self._waiting: list[tuple[int, bytes, Answered]] = []
        self._left: dict[int, Answered] = {}
        self._refused: list[Answered] = []
        self._lost: set[int] = set()
        self._flush_due = False
        self._closed = False

    def dial(self) -> None:
        """Connect."""
        self._timer = None
        self.open = True
        self.regions.clear()
        channel = self._channel = _Dialled(self)
        self._timer = self.peering.process.callLater(PATIENCE, self._give_up, channel)
        self.peering.connect(self.store_id, channel, lambda: self._give_up(channel))

    def _give_up(self, channel: _Dialled) -> None:
        """The attempt has failed, or takes too long."""
        if not channel.given_up:
            channel.given_up = True
            if channel.connected:
                channel.abort()
            self.went_down()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def came_up(self) -> None:
        """Learn that the other store has answered."""
        self._stop_timer()
        self.is_up = True
        self._pause = PAUSES[0]
        self.peering.handler.link_up(self.store_id)
        self._flush()

    def went_down(self) -> None:
        """Learn that the connection is gone, or never was."""
        self._stop_timer()
        was_up, self.is_up = self.is_up, False
        self.open = False
        self._channel = None
        for region_id in sorted(self.regions):
            self.lose(region_id)
        left, self._left = self._left, {}
        for answered in left.values():
            self.peering.turn.call_later(partial(answered, Outcome.UNKNOWN, b""))
        waiting, self._waiting = self._waiting, []
        for _, _, answered in waiting:
            self._refuse(answered)
        if self._closed:
            return
        self._timer = self.peering.process.callLater(self._pause * (1 - self._random.random() / 2), self.dial)
        self._pause = min(2 * self._pause, PAUSES[1])
        if was_up:
            self.peering.handler.link_down(self.store_id)

    def break_now(self) -> bool:
        """End the connection; tell whether it was up."""
        if self.is_up and self._channel is not None:
            self._channel.abort()
            return True
        return False

    def close(self) -> None:
        """End it for good."""
        self._closed = True
        channel = self._channel
        if channel is not None:
            self._give_up(channel)
        self._stop_timer()

    def lose(self, region_id: int) -> None:
        """Report that a message was lost, once a turn."""
        if not self._lost:
            self.peering.turn.call_later(self._report_lost)
        self._lost.add(region_id)

    def _report_lost(self) -> None:
        lost, self._lost = self._lost, set()
        for region_id in sorted(lost):
            self.peering.handler.unreachable(self.store_id, region_id)

    # Batches

    def forward(self, number: int, payload: bytes, answered: Answered) -> None:
        """Queue a batch; behind one that was refused here, and whose sender doesn't know it yet, all are refused."""
        if not self.open or self._refused:
            self._refuse(answered)
            return
        self._waiting.append((number, payload, answered))
        if not self._flush_due:
            self._flush_due = True
            self.peering.turn.flush_later(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if not self.is_up or self._channel is None:
            return
        waiting, self._waiting = self._waiting, []
        for number, payload, answered in waiting:
            self._left[number] = answered
            self._channel.send(FORWARD, number, payload)

    def _refuse(self, answered: Answered) -> None:
        if not self._refused:
            self.peering.turn.call_later(self._tell_refused)
        self._refused.append(answered)

    def _tell_refused(self) -> None:
        told = list(self._refused)
        for answered in told:
            answered(Outcome.REFUSED, b"")
        del self._refused[: len(told)]
        if self._refused:
            self.peering.turn.call_later(self._tell_refused)

    def answered(self, number: int, outcome: Outcome, payload: bytes) -> None:
        """Take the outcome of a batch."""
        self._left.pop(number)(outcome, payload)


class _Incoming(Frames):
    """A connection that another store dialled: its link, or one for a snapshot."""

    def __init__(self, peering: SimulatedPeering, store_id: int) -> None:
        super().__init__()
        self._peering = peering
        self._store_id = store_id
        self._ended = False
        self._offer = (0, 0, b"", b"")

    def frame(self, kind: int, number: int, payload: bytes) -> None:
        """Take what the other store says."""
        if self._ended:
            return
        if kind == HELLO:
            assert number == self._store_id, "a store calls from its own address"
            before = self._peering.incoming.get(self._store_id)
            if before is not None:
                before.abort()
            self._peering.incoming[self._store_id] = self
            self.send(HELLO, self._peering.store_id)
        elif kind == FORWARD:
            self._peering.handler.forwarded(self._store_id, payload, _ForwardAnswer(self, number))
        elif kind == OFFER:
            self._offered(number, payload)
        else:
            assert kind == PIECE, f"nobody sends {kind} here"
            self._piece(payload)

    def reply(self, kind: int, number: int, payload: bytes) -> None:
        """Send a frame, if there's still someone to hear it."""
        if not self._ended:
            self.send(kind, number, payload)

    def abort(self) -> None:
        """End it."""
        self._ended = True
        super().abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget it."""
        self._ended = True
        if self._peering.incoming.get(self._store_id) is self:
            del self._peering.incoming[self._store_id]

    # A snapshot

    def _offered(self, region_id: int, payload: bytes) -> None:
        size, _, digest = _OFFER.unpack_from(payload)
        meta = payload[_OFFER.size :]
        refusal = self._peering.handler.snapshot_offered(self._store_id, region_id, size, meta)
        if refusal is not None:
            self.send(DECLINED, 0, refusal.encode())
            return
        self._offer = (region_id, size, digest, meta)
        kept = self._peering.parts.setdefault((self._store_id, region_id, digest), b"")
        self.send(READY, len(kept))
        self._piece(b"")

    def _piece(self, data: bytes) -> None:
        region_id, size, digest, meta = self._offer
        peering = self._peering
        key = (self._store_id, region_id, digest)
        peering.parts[key] += data
        if len(peering.parts[key]) < size:
            return
        whole = peering.parts.pop(key)
        if sha256(whole).digest() != digest:
            self.abort()
            return
        path = f"snapshot of region {region_id} from store {self._store_id}, {digest.hex()[:16]}"
        peering.files[path] = whole
        peering.handler.snapshot_received(self._store_id, region_id, path, meta)
        self.send(DONE, 0)


@implementer(IForwardAnswer)
class _ForwardAnswer:
    """Where the answer to a batch goes."""

    crowded = False

    def __init__(self, channel: _Incoming, number: int) -> None:
        self._channel = channel
        self._number = number
        self._given = False

    def _give(self, kind: int, payload: bytes) -> None:
        assert not self._given, "one answer is enough"
        self._given = True
        self._channel.reply(kind, self._number, payload)

    def answer(self, payload: bytes) -> None:
        """Give the answer."""
        self._give(ANSWER, payload)

    def refuse(self, payload: bytes) -> None:
        """Say that it did nothing."""
        self._give(REFUSED, payload)

    def unknown(self) -> None:
        """Say that nobody knows."""
        self._give(UNKNOWN, b"")


class _Sending:
    """
    A snapshot on its way: connections one after another, until one has brought the rest.

    @ivar over: Whether it has arrived, or was given up.
    """

    def __init__(self, peering: SimulatedPeering, store_id: int, region_id: int, data: bytes, meta: bytes) -> None:
        self.peering = peering
        self.store_id = store_id
        self.region_id = region_id
        self.data = data
        self.offer = _OFFER.pack(len(data), 0, sha256(data).digest()) + meta
        self.finished: Deferred[None] = Deferred(lambda _: self._stop(Failure(CancelledError())))
        #: What the other store had of it when a connection began last.
        self.kept = 0
        self._stream: _Stream | None = None
        self._attempts = 0
        self._timer: IDelayedCall | None = None
        self.over = False

    def begin(self) -> None:
        """Dial."""
        self._timer = None
        stream = self._stream = _Stream(self)
        self.peering.connect(self.store_id, stream, lambda: self.broken(stream))

    def broken(self, stream: _Stream) -> None:
        """Learn that a connection is gone: dial another after a while."""
        if self.over or stream is not self._stream:
            return
        self._stream = None
        self._attempts = 0 if stream.got_on else self._attempts + 1
        if self._attempts >= ATTEMPTS:
            self.fail("nothing gets through")
        else:
            self._timer = self.peering.process.callLater(PAUSES[1], self.begin)

    def fail(self, text: str) -> None:
        """Give it up."""
        problem = f"the snapshot of region {self.region_id} for store {self.store_id}: {text}"
        self._stop(Failure(SnapshotFailed(problem)))

    def done(self) -> None:
        """Learn that the other store has it."""
        self._stop(None)

    def _stop(self, failure: Failure | None) -> None:
        if self.over:
            return
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
        stream, self._stream = self._stream, None
        if stream is not None and stream.connected:
            stream.abort()
        if failure is None:
            self.finished.callback(None)
        else:
            self.finished.errback(failure)


class _Stream(Frames):
    """
    One connection that a snapshot is sent on.

    @ivar got_on: Whether the other store took something of it.
    """

    def __init__(self, sending: _Sending) -> None:
        super().__init__()
        self.got_on = False
        self._sending = sending

    def connectionMade(self) -> None:
        """Offer it."""
        if self._sending.over:
            self.abort()
        else:
            self.send(OFFER, self._sending.region_id, self._sending.offer)

    def frame(self, kind: int, number: int, payload: bytes) -> None:
        """Take what the other store says."""
        if kind == READY:
            self.got_on = number > self._sending.kept
            self._sending.kept = number
            data = self._sending.data
            for start in range(number, len(data), PIECE_BYTES):
                self.send(PIECE, 0, data[start : start + PIECE_BYTES])
        elif kind == DECLINED:
            self._sending.fail(payload.decode())
        else:
            assert kind == DONE, f"nobody sends {kind} here"
            self._sending.done()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Try again."""
        self._sending.broken(self)
