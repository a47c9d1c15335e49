"""
Clocks that are off, and processes that may stop at any time.

A L{NodeClock} is a machine's: it runs at its own rate and its calendar is off by an offset; both may change while it
runs, and it goes on whatever the processes do. A L{Process} is one run of a program on that machine; it sees time
through the clock only, and is what code under test takes for a reactor (C{IReactorTime}). While it's paused nothing
happens to it: its timers and all that is delivered to it wait, in their order, but its clock goes on. When it's killed
nothing happens to it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Final

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from tinykv.testing.simulation.events import SECOND, Event, Events

#: The calendar's time at the beginning of every run, in ms since 1970.
EPOCH_MS: Final = 1_700_000_000_000


class NodeClock:
    """
    A machine's clock.

    @ivar rate: How many of its seconds pass in a true one.
    @ivar offset_us: How far its calendar is ahead of the true one, beside what its rate has made of it.
    """

    def __init__(self, events: Events, *, rate: float = 1.0, offset_us: int = 0) -> None:
        self._events = events
        self.rate = rate
        self.offset_us = offset_us
        self._since = events.now
        self._base = float(events.now)
        #: Told when the rate changes.
        self.listeners: list[Callable[[], None]] = []

    def elapsed(self) -> float:
        """Give its monotonic reading, in us; like CLOCK_BOOTTIME it goes on while processes are paused."""
        return self._base + (self._events.now - self._since) * self.rate

    def calendar_ms(self) -> int:
        """Give its calendar's reading, in ms since 1970."""
        return EPOCH_MS + int(self.elapsed() + self.offset_us) // 1000

    @property
    def error_us(self) -> int:
        """How far the calendar is ahead of the true one."""
        return int(self.elapsed() - self._events.now) + self.offset_us

    def set_rate(self, rate: float) -> None:
        """Let it run faster or slower from now on."""
        self._base = self.elapsed()
        self._since = self._events.now
        self.rate = rate
        for listener in list(self.listeners):
            listener()

    def set_error(self, error_us: int) -> None:
        """Set the calendar: so far ahead of the true one."""
        self.offset_us += error_us - self.error_us

    def true_time(self, reading: float) -> int:
        """Give the true time at which it will show a monotonic reading; rounded up, so that it's not earlier."""
        ahead = (reading - self._base) / self.rate
        return self._since + int(ahead) + (ahead > int(ahead))


class Life(Enum):
    """What may be said of a process."""

    RUNNING = "running"
    PAUSED = "paused"
    DEAD = "dead"


@implementer(IDelayedCall)
class _Call:
    """A timer of a process."""

    def __init__(self, process: Process, reading: float, function: Callable[[], Any], label: str) -> None:
        self._process = process
        self._reading = reading
        self._function = function
        self._label = label
        self._event: Event | None = None
        self._cancelled = False
        self.schedule()

    def schedule(self) -> None:
        """Enter the event, in place of the one before."""
        process = self._process
        if self._event is not None:
            self._event.cancel()
        time = process.clock.true_time(self._reading)
        self._event = process.events.at(time, self._label, self._fire, owner=process)

    def _fire(self) -> None:
        self._event = None
        self._process.done(self)
        self._function()

    def _check(self) -> None:
        if self._cancelled:
            raise AlreadyCancelled
        if self._event is None:
            raise AlreadyCalled

    def active(self) -> bool:
        """Whether it's still to come."""
        return self._event is not None

    def cancel(self) -> None:
        """Let it not come."""
        self._check()
        assert self._event is not None
        self._event.cancel()
        self._event = None
        self._cancelled = True
        self._process.done(self)

    def getTime(self) -> float:  # noqa: N802 - IDelayedCall's name
        """Give the reading at which it comes, in seconds."""
        return self._reading / SECOND

    def delay(self, secondsLater: float) -> None:  # noqa: N803 - IDelayedCall's name
        """Put it off."""
        self._check()
        self._reading += secondsLater * SECOND
        self.schedule()

    def reset(self, secondsFromNow: float) -> None:  # noqa: N803 - IDelayedCall's name
        """Let it come so long after now."""
        self._check()
        self._reading = self._process.clock.elapsed() + secondsFromNow * SECOND
        self.schedule()


@implementer(IReactorTime)
class Process:
    """
    One run of a program.

    @ivar name: For the trace.
    @ivar life: What it does.
    """

    def __init__(self, events: Events, clock: NodeClock, name: str) -> None:
        self.events = events
        self.clock = clock
        self.name = name
        self.life = Life.RUNNING
        self._calls: dict[_Call, None] = {}
        self._kept: list[Event] = []
        clock.listeners.append(self._rate_changed)

    @property
    def is_dead(self) -> bool:
        """Whether it was killed."""
        return self.life is Life.DEAD

    # IReactorTime

    def seconds(self) -> float:
        """Give the monotonic reading of the machine's clock."""
        return self.clock.elapsed() / SECOND

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any, **kw: Any) -> IDelayedCall:  # noqa: A002, N802
        """Call after so many of the machine's seconds; never at once."""
        assert delay >= 0, "the past is over"
        label = f"{self.name} {getattr(callable, '__qualname__', type(callable).__name__)}"
        reading = self.clock.elapsed() + delay * SECOND
        call = _Call(self, reading, lambda: callable(*args, **kw), label)
        self._calls[call] = None
        return call

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:  # noqa: N802
        """Give the timers that are to come."""
        return list(self._calls)

    # For timers and the queue

    def done(self, call: _Call) -> None:
        """Forget a timer."""
        self._calls.pop(call, None)

    def _rate_changed(self) -> None:
        for call in list(self._calls):
            call.schedule()

    def takes(self, event: Event) -> bool:
        """Say whether an event happens to it now."""
        if self.life is Life.PAUSED:
            self._kept.append(event)
        return self.life is Life.RUNNING

    # Life

    def soon(self, label: str, function: Callable[..., Any], *arguments: Any) -> None:
        """Let something happen to it in its next turn."""
        self.events.after(0, f"{self.name} {label}", function, *arguments, owner=self)

    def pause(self) -> None:
        """Let nothing happen to it for now, as SIGSTOP or a machine that is moved does."""
        if self.life is Life.RUNNING:
            self.life = Life.PAUSED

    def resume(self) -> None:
        """Let happen to it what waited, in its order."""
        if self.life is not Life.PAUSED:
            return
        self.life = Life.RUNNING
        kept, self._kept = self._kept, []
        for event in kept:
            if not event.cancelled:
                event.time = self.events.now
                self.events.put(event)

    def kill(self) -> None:
        """Let nothing happen to it any more."""
        if self.life is not Life.DEAD:
            self.life = Life.DEAD
            self._kept.clear()
            self._calls.clear()
            self.clock.listeners.remove(self._rate_changed)
