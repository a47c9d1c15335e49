"""
What happens next: the one queue of a simulated world, and the one true time.

Everything that happens is an event with a time in whole microseconds; events of the same time happen in the order in
which they were scheduled. Randomness comes from generators that are named: each part of the world draws from its own,
so that one part drawing more or less often doesn't change what the others draw. So a run depends on its seed alone.

What was done is summed up in L{Events.digest}: equal digests mean equal runs, and the first seeds of a test can be run
twice to find what depends on the order of a set or on an address.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from heapq import heappop, heappush
from random import Random
from typing import Any, Final, Protocol

#: Microseconds in a second and in a millisecond.
SECOND: Final = 1_000_000
MILLISECOND: Final = 1_000
#: So many events at one instant are taken for a loop that never ends.
INSTANT_MAX: Final = 100_000
#: Events remembered for messages.
REMEMBERED: Final = 200


class Livelock(AssertionError):
    """Time doesn't go on: events at one instant cause others at the same instant without end."""


class Owner(Protocol):
    """To whom an event happens."""

    def takes(self, event: Event) -> bool:
        """Say whether it happens now; whoever keeps it back for later schedules it again."""
        ...


class Event:
    """
    Something that is to happen.

    @ivar time: When, in us.
    @ivar label: What, for the trace.
    @ivar cancelled: Whether it won't.
    """

    __slots__ = ("arguments", "cancelled", "function", "label", "owner", "time")

    def __init__(
        self, time: int, label: str, owner: Owner | None, function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> None:
        self.time = time
        self.label = label
        self.owner = owner
        self.function = function
        self.arguments = arguments
        self.cancelled = False

    def cancel(self) -> None:
        """Let it not happen."""
        self.cancelled = True


class Events:
    """
    The queue.

    @ivar now: The true time, in us since the beginning.
    @ivar seed: What the run depends on.
    @ivar happened: How many events have.
    @ivar recent: The last events and notes, as text, oldest first.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now = 0
        self.happened = 0
        self.recent: deque[str] = deque(maxlen=REMEMBERED)
        self._queue: list[tuple[int, int, Event]] = []
        self._order = 0
        self._instant = 0
        self._hash = blake2b(digest_size=16)

    def random(self, name: str) -> Random:
        """Make the generator of this name; whoever asks for the same name draws the same numbers."""
        return Random(f"{self.seed}/{name}")

    def at(
        self, time: int, label: str, function: Callable[..., Any], *arguments: Any, owner: Owner | None = None
    ) -> Event:
        """Let something happen at a time, which is now if it's past."""
        event = Event(max(time, self.now), label, owner, function, arguments)
        self.put(event)
        return event

    def after(
        self, delay: int, label: str, function: Callable[..., Any], *arguments: Any, owner: Owner | None = None
    ) -> Event:
        """Let something happen after C{delay} us."""
        return self.at(self.now + delay, label, function, *arguments, owner=owner)

    def put(self, event: Event) -> None:
        """Enter an event, as its owner does with one that it kept back; it comes behind those of the same time."""
        self._order += 1
        heappush(self._queue, (event.time, self._order, event))

    def note(self, text: str) -> None:
        """Take something that happened into the trace, such as what a message said or a fault did."""
        line = f"{self.now} {text}"
        self.recent.append(line)
        self._hash.update(line.encode())
        self._hash.update(b"\n")

    @property
    def digest(self) -> str:
        """Sum up all that has happened."""
        return self._hash.hexdigest()

    def step(self, until: int | None = None) -> bool:
        """
        Let the next event happen, unless it's later than C{until}.

        @return: Whether one did.
        """
        queue = self._queue
        while queue and (until is None or queue[0][0] <= until):
            time, _, event = heappop(queue)
            if event.cancelled:
                continue
            if time > self.now:
                self.now = time
                self._instant = 0
            owner = event.owner
            if owner is not None and not owner.takes(event):
                continue
            self._instant += 1
            if self._instant > INSTANT_MAX:
                raise Livelock(f"{INSTANT_MAX} events at {self.now} us; the last ones: {list(self.recent)[-5:]}")
            self.happened += 1
            self.note(event.label)
            event.function(*event.arguments)
            return True
        return False

    def run_until(self, time: int) -> None:
        """Let all happen that does up to and at a time, which then is now."""
        while self.step(time):
            pass
        self.now = max(self.now, time)

    def run_while(self, condition: Callable[[], bool], until: int) -> bool:
        """
        Let events happen as long as a condition holds, up to a time at the latest.

        @return: Whether it no longer holds.
        """
        while condition():
            if not self.step(until):
                self.now = max(self.now, until)
                return not condition()
        return True
