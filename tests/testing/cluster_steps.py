"""
Stores that end right at a step of what they make durable, as faults.

What is safe only because one thing is on disk before another breaks in the moments between the two. They're short, so
that faults at any time hardly ever meet them; these look for them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from tinykv.testing.simulation.events import MILLISECOND, SECOND

if TYPE_CHECKING:
    from tests.testing.cluster import Store, World

END_AT_STEP: Final = "end-at-step"
END_INSTALLING: Final = "end-installing"
OVERTAKE: Final = "overtake"

KINDS: Final = (END_AT_STEP, END_INSTALLING, OVERTAKE)

#: Steps from now on among which one is drawn: two for each commit in either file.
STEPS: Final = 40
#: And from when a store begins to install a snapshot: as many as it takes before it changes anything, and some more
#: than all of it takes, as a rule.
STEPS_OF_INSTALLATION: Final = (8, 60)


class Steps:
    """Ends stores, by a loss of power or a kill, where a commit begins, or ends and nobody has heard of it."""

    def __init__(self, world: World, end_us: int) -> None:
        """
        @param end_us: When nothing may be wrong any more.
        """
        self._world = world
        self._end_us = end_us
        self._random = world.events.random("steps")
        #: After how many steps each store ends that is chosen.
        self._left: dict[str, int] = {}
        #: How many of the next installations don't end well.
        self._installations = 0
        #: Until when a leader is cut off.
        self._overtaken_at = 0
        world.installs = self._installs

    @property
    def actions(self) -> dict[str, Callable[[str], bool]]:
        """Give them by their names."""
        return {END_AT_STEP: self.at_step, END_INSTALLING: self.installing, OVERTAKE: self.overtake}

    def at_step(self, node: str) -> bool:
        """Let a store end at one of its next steps."""
        store = self._world.store(node)
        if not store.runs or node in self._left:
            return False
        self._choose(store, self._random.randint(1, STEPS))
        return True

    def installing(self, node: str) -> bool:
        """Let the next store end that installs a snapshot, whichever it is."""
        self._installations += 1
        return True

    def overtake(self, node: str) -> bool:
        """
        Let the leader be cut off from the others, though not from its clients, until others have gone on without it and
        cut their logs; and let it end while it installs the snapshot that it gets then.
        """
        world = self._world
        leader = world.leader()
        if leader is None or world.events.now < self._overtaken_at:
            return False
        others = [other for other in world.nodes if other != leader.name]
        for other in others:
            world.cut(leader.name, other)
            world.cut(other, leader.name)
        duration = self._random.randint(5 * SECOND // 2, 4 * SECOND)
        self._overtaken_at = world.events.now + duration
        for share in (2, 1):
            world.events.after(duration - share * SECOND // 4, "the others flush", self._flush, others)
        world.events.after(duration, f"{leader.name} is reached again", self._reach, leader.name, others)
        return True

    def _flush(self, nodes: list[str]) -> None:
        for node in nodes:
            store = self._world.store(node)
            store.process.soon("flushes", self._flush_one, store)

    @staticmethod
    def _flush_one(store: Store) -> None:
        if not store.host.queue.held:
            store.host.flush_all(_nothing)

    def _reach(self, node: str, others: list[str]) -> None:
        self._installations += 1
        for other in others:
            self._world.heal(node, other)
            self._world.heal(other, node)

    def _installs(self, store: Store) -> None:
        if self._installations and store.name not in self._left:
            self._installations -= 1
            self._choose(store, self._random.randint(1, self._random.choice(STEPS_OF_INSTALLATION)))

    def _choose(self, store: Store, step: int) -> None:
        self._left[store.name] = step
        store.disk.stepped = partial(self._stepped, store)

    def _stepped(self, store: Store) -> None:
        name = store.name
        self._left[name] -= 1
        if self._left[name]:
            return
        del self._left[name]
        store.disk.stepped = _nothing
        events = self._world.events
        if events.now < self._end_us:
            # Mostly at once: before the store hears of it.
            delay = self._random.choice((0, 0, self._random.randint(0, 2 * MILLISECOND)))
            events.after(delay, f"{name} ends at a step", self._end, name)

    def _end(self, name: str) -> None:
        world, random = self._world, self._random
        end = world.crash if random.random() < 0.5 else world.kill
        if end(name):
            world.ended_at_steps += 1
            world.events.after(random.randint(0, SECOND), f"{name} is there again", world.restart, name)


def _nothing() -> None:
    """Go on."""
