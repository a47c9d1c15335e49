"""
Messages between machines: late, lost, twice, out of order, or not at all.

A link goes one way, from one address to another. What it does to messages is its L{Quality}; besides, it may be cut,
which takes what is under way as well. Messages are handed over as they are, so they mustn't be changed after they were
sent; they reach whichever process listens at the address when they arrive, so a message to a process that was killed
may reach its successor, as a datagram may. While a process is paused its messages wait for it.

With C{fifo} a link keeps the order, as one TCP connection does, though even then messages may be lost from the middle,
as when a connection breaks and a new one is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from tinykv.testing.simulation.clock import Process
from tinykv.testing.simulation.events import Events

#: What a listener is called with: (source, message).
Receive = Callable[[str, Any], None]


@dataclass(frozen=True)
class Quality:
    """
    What a link does to messages.

    @ivar latency_us: How long each takes at least.
    @ivar jitter_us: The mean of what it takes longer, exponentially distributed.
    @ivar bytes_per_second: How fast it takes bytes; messages queue for it.
    @ivar loss: The part of messages that is lost.
    @ivar duplication: The part that arrives twice.
    @ivar straying: The part that takes ten times as long; with C{fifo} those behind it wait.
    @ivar straying_us: The mean of what these take longer still, exponentially distributed.
    @ivar fifo: Whether messages arrive in the order in which they were sent.
    """

    latency_us: int = 200
    jitter_us: int = 100
    bytes_per_second: int = 100_000_000
    loss: float = 0.0
    duplication: float = 0.0
    straying: float = 0.0
    straying_us: int = 0
    fifo: bool = True

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        for part in (self.loss, self.duplication, self.straying):
            assert 0.0 <= part <= 1.0, "a part is between none and all"
        assert self.latency_us >= 0 and self.jitter_us >= 0 and self.bytes_per_second > 0


#: A network on which nothing goes wrong.
GOOD: Final = Quality()
#: One on which everything does, now and then.
BAD: Final = Quality(latency_us=500, jitter_us=2_000, loss=0.02, duplication=0.02, straying=0.02, fifo=False)


@dataclass
class Statistics:
    """What happened to a link's messages; a duplicate is delivered, or lost, on its own."""

    sent: int = 0
    sent_bytes: int = 0
    delivered: int = 0
    lost: int = 0
    cut: int = 0
    unheard: int = 0
    duplicated: int = 0


class Link:
    """
    One way from one address to another.

    @ivar quality: What it does to messages that are sent from now on.
    @ivar is_cut: Whether nothing gets through.
    """

    def __init__(self, quality: Quality) -> None:
        self.quality = quality
        self.is_cut = False
        self.statistics = Statistics()
        #: When the bytes sent so far have left, and when the last message arrives.
        self.busy_until = 0
        self.last_arrival = 0
        #: Raised by each cut: what was sent before doesn't arrive.
        self.cuts = 0


class Network:
    """
    All links.

    @param quality: That of links for which nothing else was said.
    """

    def __init__(self, events: Events, quality: Quality = GOOD) -> None:
        self._events = events
        self._random = events.random("network")
        self._quality = quality
        self._links: dict[tuple[str, str], Link] = {}
        self._listeners: dict[str, tuple[Process, Receive]] = {}

    def listen(self, address: str, process: Process, receive: Receive) -> None:
        """Let a process have the messages to an address; it takes the place of the one before."""
        self._listeners[address] = (process, receive)

    def link(self, source: str, target: str) -> Link:
        """Give a link."""
        link = self._links.get((source, target))
        if link is None:
            link = self._links[source, target] = Link(self._quality)
        return link

    def set_quality(self, quality: Quality) -> None:
        """Let all links be of a quality from now on."""
        self._quality = quality
        for link in self._links.values():
            link.quality = quality

    # Cuts

    def cut(self, source: str, target: str) -> None:
        """Let nothing through from one address to another; the other way stays as it is."""
        link = self.link(source, target)
        link.is_cut = True
        link.cuts += 1

    def heal(self, source: str, target: str) -> None:
        """End a cut."""
        self.link(source, target).is_cut = False

    def part(self, some: Iterable[str], others: Iterable[str]) -> None:
        """Cut every link between two groups, both ways."""
        others = list(others)
        for one in some:
            for other in others:
                self.cut(one, other)
                self.cut(other, one)

    def heal_all(self) -> None:
        """End all cuts."""
        for link in self._links.values():
            link.is_cut = False

    # Messages

    def send(self, source: str, target: str, message: Any, size: int = 100) -> None:
        """Send a message of some bytes."""
        link = self.link(source, target)
        quality, statistics = link.quality, link.statistics
        statistics.sent += 1
        statistics.sent_bytes += size
        if link.is_cut:
            statistics.cut += 1
            return
        random = self._random.random
        copies = 1
        if quality.duplication and random() < quality.duplication:
            statistics.duplicated += 1
            copies = 2
        link.busy_until = max(link.busy_until, self._events.now) + size * 1_000_000 // quality.bytes_per_second
        for _ in range(copies):
            if quality.loss and random() < quality.loss:
                statistics.lost += 1
                continue
            self._let_travel(link, source, target, message)

    def _let_travel(self, link: Link, source: str, target: str, message: Any) -> None:
        quality = link.quality
        delay = quality.latency_us
        if quality.jitter_us:
            delay += int(self._random.expovariate(1.0 / quality.jitter_us))
        if quality.straying and self._random.random() < quality.straying:
            delay *= 10
            if quality.straying_us:
                delay += int(self._random.expovariate(1.0 / quality.straying_us))
        arrival = link.busy_until + delay
        if quality.fifo:
            arrival = link.last_arrival = max(arrival, link.last_arrival)
        self._events.at(arrival, f"{source}>{target}", self._arrive, link, link.cuts, source, target, message)

    def _arrive(self, link: Link, cuts: int, source: str, target: str, message: Any) -> None:
        """Reach the other end; the listener takes it when it can."""
        if cuts != link.cuts:
            link.statistics.cut += 1
            return
        listener = self._listeners.get(target)
        if listener is None or listener[0].is_dead:
            link.statistics.unheard += 1
            return
        link.statistics.delivered += 1
        process, receive = listener
        process.soon(f"hears {source}", receive, source, message)

    def statistics(self) -> dict[tuple[str, str], Statistics]:
        """Give what happened on each link."""
        return {ends: link.statistics for ends, link in sorted(self._links.items())}
