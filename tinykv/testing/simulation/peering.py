"""
The links between simulated stores: L{IPeering} over the simulated network.

Raft messages travel one by one, as datagrams do, so that whatever the network does to them (loss, delay, another
order, a second copy) happens to each on its own, which is more than a connection would let through. They're bytes on
the way, so that their wire form is used. Batches of commands, and what is pushed, go over connections, whose end
decides what became of them. Snapshots go over the real links (L{tinykv.testing.simulation.endpoints}).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tinykv.interfaces import IForwardAnswer, IPeerHandler, IPeering, Outcome
from tinykv.peering.turn import Turn
from tinykv.raft.messages import HEARTBEAT, Message
from tinykv.raft.wire import decode_message, encode_message
from tinykv.testing.simulation.clock import Process
from tinykv.testing.simulation.frames import ANSWER, FORWARD, HELLO, PUSH, REFUSED, UNKNOWN, Frames
from tinykv.testing.simulation.network import Network
from tinykv.testing.simulation.streams import Streams

#: Seconds that an attempt to connect may take, and the pause before the next one: it's doubled by each failure.
PATIENCE: Final = 3.0
PAUSES: Final = (0.05, 1.0)

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
        random: Random,
        snapshots: IPeering | None = None,
    ) -> None:
        """
        @param addresses: Of all stores, by id.
        @param snapshots: The real links, for snapshots, if there are any.
        """
        self.store_id = store_id
        self.process = process
        self.turn = Turn(process)
        self.incoming: dict[int, _Incoming] = {}
        self._snapshots = snapshots
        self._network = network
        self._streams = streams
        self._addresses = addresses
        self._stores = {address: store for store, address in addresses.items()}
        self._random = random
        self._links: dict[int, _Link] = {}
        self._handler: IPeerHandler | None = None
        self._out: dict[int, list[tuple[int, Message]]] = {}
        self._batches = 0
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
        if self._snapshots is not None:
            self._snapshots.handle(handler)

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
            return self._snapshots is not None and self._snapshots.push(store_id, payload)
        incoming.reply(PUSH, 0, payload)
        return True

    def is_connected(self, gateway_id: int) -> bool:
        """Tell whether a gateway has a link to this store."""
        return self._snapshots is not None and self._snapshots.is_connected(gateway_id)

    def is_up(self, store_id: int) -> bool:
        """Tell whether the link to a store is up."""
        link = self._links.get(store_id)
        return link is not None and link.is_up

    def can(self, store_id: int, feature: str) -> bool:
        """Tell whether a store is reached: all are of this version."""
        return self.is_up(store_id)

    def break_link(self, store_id: int) -> bool:
        """Let the connection to a store break, as a firewall does that forgets it; tell whether there was one."""
        link = self._links.get(store_id)
        return link is not None and link.break_now()

    def forget(self, store_id: int) -> None:
        """Close the link to a store for good."""
        link = self._links.pop(store_id, None)
        if link is not None:
            link.close()
        if self._snapshots is not None:
            self._snapshots.forget(store_id)

    # Snapshots

    def send_snapshot(self, store_id: int, region_id: int, path: str, meta: bytes) -> Deferred[None]:
        """Send a file, by the real links."""
        assert self._snapshots is not None, "these links carry no snapshots"
        return self._snapshots.send_snapshot(store_id, region_id, path, meta)

    def close(self) -> Deferred[None]:
        """End all connections."""
        self._closed = True
        for link in self._links.values():
            link.close()
        self._links.clear()
        for incoming in list(self.incoming.values()):
            incoming.abort()
        return succeed(None) if self._snapshots is None else self._snapshots.close()


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
    """A connection that another store dialled."""

    def __init__(self, peering: SimulatedPeering, store_id: int) -> None:
        super().__init__()
        self._peering = peering
        self._store_id = store_id
        self._ended = False

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
        else:
            assert kind == FORWARD, f"nobody sends {kind} here"
            self._peering.handler.forwarded(self._store_id, payload, _ForwardAnswer(self, number))

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
