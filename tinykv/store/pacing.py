"""
A region's work in slices, so that nothing holds the reactor for long.

Most entries are applied in some hundred microseconds. But an entry may hold a hundred thousand commands, and a single
command may copy a set of a million elements, or wait for thousands of rows from a disk. Commands are plain functions,
and stay so: they run in a coroutine with a stack of its own (greenlet), and at many places on their way, between two
commands, two rows from the disk, two nodes of a tree, L{Pacer.pause} is called. When a slice of time is over it gives
the reactor a turn, and the work goes on behind that. Other regions, the links to other stores and whoever doesn't
touch this region's data are served meanwhile (R11 of the design).

The clock decides only when work rests, never what it does; so replicas stay equal.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final

from greenlet import getcurrent, greenlet
from twisted.internet.interfaces import IReactorTime

from tinykv.errors import OutOfTime

#: How long work may hold the reactor at a time, in seconds.
SLICE_SECONDS: Final = 0.005


class Stacks:
    """
    The work of all regions of a store: each has a stack of its own, and they share the rows.

    @ivar current: Whose work is being done, or was last.
    @ivar resting: How many regions rest in the midst of work.
    @ivar held: Whether no region is to begin another entry, so that all come to be between two entries.
    @ivar gathering: What has regions apply what waits there for more of it (L{tinykv.store.apply_queue}), in the order
        in which they began to wait.
    """

    __slots__ = ("current", "gathering", "held", "resting")

    def __init__(self) -> None:
        self.current: Pacer | None = None
        self.resting = 0
        self.held = False
        self.gathering: dict[Callable[[], None], None] = {}

    def catch_up(self, now: Callable[[], float]) -> None:
        """
        Have regions apply what waits there for more, since one has just done so: together that takes less time.

        @param now: Tells the time in seconds; this takes no longer than a slice, but for the last region's work.
        """
        ends = now() + SLICE_SECONDS
        for apply in list(self.gathering):
            if now() >= ends:
                break
            apply()

    @property
    def working(self) -> bool:
        """Whether this is asked from within some region's work."""
        return self.current is not None and self.current.can_rest

    def pause(self) -> None:
        """Let others have their turn, if it's time for that; see L{Pacer.pause}."""
        if self.current is not None:
            self.current.pause()


class Pacer:
    """
    Runs one piece of work after another, each in slices.

    @ivar running: Whether work was begun that isn't done.
    @ivar paused: Whether that work rests at this moment: what it works on is in the midst of a change.
    @ivar pauses: How often work has rested.
    """

    __slots__ = (
        "_active", "_before", "_clock", "_done", "_ends", "_held", "_look", "_main", "_now", "_rested",
        "_slice_seconds", "_stacks", "_wake", "_work", "_worker", "pauses", "running",
    )  # fmt: skip

    def __init__(
        self,
        clock: IReactorTime,
        now: Callable[[], float],
        rested: Callable[[], None],
        held: Callable[[float], None],
        slice_seconds: float = SLICE_SECONDS,
        stacks: Stacks | None = None,
    ) -> None:
        """
        @param clock: Gives the turns in which work goes on.
        @param now: Tells the time in seconds, from whenever; it's asked often.
        @param held: Told of each slice how long it held the reactor, in seconds.
        @param rested: Called in the reactor's own stack each time that work begins to rest.
        @param stacks: Of the store; none where there's no other work than this.
        """
        self._stacks = stacks if stacks is not None else Stacks()
        self.running = False
        self.pauses = 0
        self._clock = clock
        self._now = now
        self._rested = rested
        self._held = held
        self._slice_seconds = slice_seconds
        self._ends = inf
        #: When the look that is under way has to be given up; 0 if it hasn't been asked how long it takes.
        self._look = inf
        self._active = False
        #: Whose work a look interrupts.
        self._before: Pacer | None = None
        self._work: Callable[[], None] | None = None
        self._wake: Callable[[Callable[[], None]], None] | None = None
        self._done: Callable[[], None] = _nothing
        # One for all pieces of work: making one costs ten times as much as switching to it.
        self._main = getcurrent()
        self._worker = greenlet(self._run)

    @property
    def paused(self) -> bool:
        """Whether work rests at this moment."""
        return self.running and not self._active

    def run(self, work: Callable[[], None], done: Callable[[], None]) -> None:
        """
        Do some work, now and, if it takes longer than a slice, in later turns.

        @param work: It may raise nothing: there is nobody to tell.
        @param done: Called when it is done, in the reactor's own stack.
        """
        assert not self.running, "one piece of work at a time"
        self.running = True
        self._work = work
        self._done = done
        self._go_on()

    def look(self) -> None:
        """
        Begin a look at the data, outside of L{run}: until L{looked}, L{pause} ends it when it takes too long.
        """
        self._look = 0.0
        stacks = self._stacks
        self._before = stacks.current
        stacks.current = self

    def looked(self) -> None:
        """End the look; it may have been in the midst of another region's work."""
        self._look = inf
        self._stacks.current = self._before

    def pause(self) -> None:
        """
        Let others have their turn, if it's time for that. To be called often: it costs some 0.1 us.

        @raise OutOfTime: This is no work that can rest, but a look that takes too long.
        """
        if self._active:
            if self._now() >= self._ends:
                self.rest()
        elif self._look != inf:
            now = self._now()
            if self._look == 0.0:
                self._look = now + self._slice_seconds
            elif now >= self._look:
                raise OutOfTime()

    def rest(self) -> None:
        """Let others have their turn now; only within work."""
        assert self._active
        self._main.switch()

    def wait(self, wake: Callable[[Callable[[], None]], None]) -> None:
        """
        Rest until something has happened; only within work.

        @param wake: Called at once with what has to be called, once, in a later turn.
        """
        self._wake = wake
        self.rest()

    @property
    def can_rest(self) -> bool:
        """Whether this is asked from within work."""
        return self._active

    def stop(self) -> None:
        """Let work that rests never go on."""
        self._done = _nothing
        self._work = None

    def _run(self) -> None:
        """The worker's life: a piece of work for each time that it is called without one."""
        while True:
            assert self._work is not None
            self._work()
            self._work = None
            self.running = False
            self._main.switch()

    def _go_on(self) -> None:
        """Work for a slice."""
        if self._work is None:
            return
        stacks = self._stacks
        stacks.current = self
        begun = self._now()
        self._ends = begun + self._slice_seconds
        self._active = True
        self._worker.switch()
        self._active = False
        self._held(self._now() - begun)
        if self.running:
            self.pauses += 1
            stacks.resting += 1
            wake, self._wake = self._wake, None
            if wake is None:
                self._clock.callLater(0, self._resume)
            else:
                wake(self._resume)
            self._rested()
        else:
            done, self._done = self._done, _nothing
            done()

    def _resume(self) -> None:
        self._stacks.resting -= 1
        self._go_on()


def _nothing() -> None:
    """Do nothing."""
