"""
What goes wrong, and when: drawn from the seed before the run begins.

A fault is of a kind, hits a target, and lasts for a while. The schedule of each kind is drawn from a generator of its
own, so that leaving a kind out leaves the others where they are: a run that fails can be narrowed kind by kind. The
L{Nemesis} lets the faults happen in a cluster that offers what they need (L{Target}); a fault whose target is not fit
for it just then (it's down already) doesn't happen, and is noted as such.

When the last fault is over the world is whole again, so that a run can end with the question whether everything
recovers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, Protocol

from tinykv.testing.simulation.events import MILLISECOND, SECOND, Events

#: The kinds of faults that the nemesis knows by itself; others are given as callbacks.
CRASH: Final = "crash"
KILL: Final = "kill"
PAUSE: Final = "pause"
PARTITION: Final = "partition"
ISOLATE: Final = "isolate"
ONE_WAY: Final = "one-way"
SLOW_DISK: Final = "slow-disk"
STUCK_DISK: Final = "stuck-disk"
FULL_DISK: Final = "full-disk"
FAILING_DISK: Final = "failing-disk"
CLOCK_RATE: Final = "clock-rate"
CLOCK_STEP: Final = "clock-step"

KINDS: Final = (
    CRASH,
    KILL,
    PAUSE,
    PARTITION,
    ISOLATE,
    ONE_WAY,
    SLOW_DISK,
    STUCK_DISK,
    FULL_DISK,
    FAILING_DISK,
    CLOCK_RATE,
    CLOCK_STEP,
)


class Target(Protocol):
    """
    A cluster, as far as faults can hit it.

    What may not fit just then (to kill what is down) says whether it did.
    """

    def crash(self, node: str) -> bool:
        """Take a machine's power away."""
        ...

    def kill(self, node: str) -> bool:
        """Kill a store's process; its machine runs on."""
        ...

    def restart(self, node: str) -> None:
        """Start a store that is down."""
        ...

    def pause(self, node: str) -> bool:
        """Let a store's process stand still."""
        ...

    def resume(self, node: str) -> None:
        """Let it go on, if it stands still."""
        ...

    def cut(self, source: str, target: str) -> None:
        """Let no message through, one way."""
        ...

    def heal(self, source: str, target: str) -> None:
        """End that."""
        ...

    def set_disk(self, node: str, *, slowness: float, stuck: bool, full: bool, failing: bool) -> None:
        """Let a disk be so from now on."""
        ...

    def set_clock(self, node: str, *, rate: float | None = None, error_us: int | None = None) -> None:
        """Let a clock run at a rate, or set its calendar so far ahead."""
        ...


@dataclass(frozen=True)
class Limits:
    """
    How bad it may get.

    @ivar interval_us: The mean time between two faults of one kind.
    @ivar duration_us: How long one lasts, at least and at most; the longer end is longer than a lease.
    @ivar clock_rate: How far a clock's rate may be off: 0.01 is one percent.
    @ivar clock_error_us: How far a calendar may be set off.
    @ivar slowness: How many times as long a slow disk takes at most.
    """

    interval_us: int = 3 * SECOND
    duration_us: tuple[int, int] = (50 * MILLISECOND, 2 * SECOND)
    clock_rate: float = 0.01
    clock_error_us: int = 100 * MILLISECOND
    slowness: float = 50.0


@dataclass(frozen=True)
class Fault:
    """
    One fault.

    @ivar at: When it begins, in us; it ends at C{until}.
    @ivar nodes: Whom it concerns; of a partition, one side.
    @ivar others: The other side of a partition or cut.
    @ivar amount: How much, where the kind has a measure.
    """

    at: int
    until: int
    kind: str
    nodes: tuple[str, ...]
    others: tuple[str, ...] = ()
    amount: float = 0.0

    def __str__(self) -> str:
        """Word it as one line."""
        amount = f" {self.amount:g}" if self.amount else ""
        others = f" from {','.join(self.others)}" if self.others else ""
        times = f"{self.at / SECOND:8.3f} s .. {self.until / SECOND:8.3f} s"
        return f"{times}  {self.kind}{amount} {','.join(self.nodes)}{others}"


def draw(
    events: Events,
    nodes: Sequence[str],
    kinds: Iterable[str],
    *,
    begin_us: int,
    end_us: int,
    limits: Limits = Limits(),  # noqa: B008 - it's frozen
) -> list[Fault]:
    """
    Draw a schedule.

    @param kinds: Those that may happen; names that aren't in L{KINDS} are callbacks of the nemesis.
    @return: Faults in the order of their beginnings; all are over at C{end_us}.
    """
    found: list[Fault] = []
    for kind in kinds:
        random = events.random(f"faults {kind}")
        at = begin_us
        while True:
            at += int(random.expovariate(1.0 / limits.interval_us)) + 1
            low, high = limits.duration_us
            # Short ones are more frequent than long ones, but both happen.
            until = at + int(low * (high / low) ** random.random())
            fault = _draw_one(random, kind, at, until, nodes, limits)
            if until >= end_us:
                break
            if fault is not None:
                found.append(fault)
                at = until
    found.sort(key=lambda fault: fault.at)
    return found


def _draw_one(random: Random, kind: str, at: int, until: int, nodes: Sequence[str], limits: Limits) -> Fault | None:
    """Draw the target of a fault; None if there aren't enough nodes for its kind."""
    shuffled = random.sample(list(nodes), len(nodes))
    size = random.randint(1, max(1, len(nodes) // 2))
    share = random.uniform(-1.0, 1.0)
    one, others = (shuffled[0],), tuple(shuffled[1:])
    if kind in (PARTITION, ISOLATE, ONE_WAY):
        if not others:
            return None
        if kind == PARTITION:
            return Fault(at, until, kind, tuple(sorted(shuffled[:size])), tuple(sorted(shuffled[size:])))
        return Fault(at, until, kind, one, tuple(sorted(others)) if kind == ISOLATE else others[:1])
    amount = 0.0
    if kind == SLOW_DISK:
        amount = round(1.0 + abs(share) * (limits.slowness - 1.0), 1)
    elif kind == CLOCK_RATE:
        amount = round(1.0 + share * limits.clock_rate, 6)
    elif kind == CLOCK_STEP:
        amount = round(share * limits.clock_error_us)
    return Fault(at, until, kind, one, amount=amount)


def schedule_text(faults: Iterable[Fault]) -> str:
    """Word a schedule, one fault a line."""
    return "\n".join(map(str, faults)) or "no faults"


@dataclass
class Statistics:
    """How many faults of each kind happened, and how many didn't because their target wasn't fit for them."""

    happened: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)


class Nemesis:
    """
    Lets faults happen.

    @ivar statistics: What became of them.
    @param actions: For kinds of one's own (a transfer of leadership, a change of membership): called with the node
        that was drawn when such a fault begins; says whether it could be done.
    """

    def __init__(
        self, events: Events, target: Target, actions: Mapping[str, Callable[[str], bool]] | None = None
    ) -> None:
        self.statistics = Statistics()
        self._events = events
        self._target = target
        self._actions = dict(actions or {})
        #: How many faults are at work on something: it's whole again when the last of them ends.
        self._at_work: dict[tuple[str, ...], int] = {}
        self._begin: dict[str, Callable[[Fault], bool]] = {
            CRASH: lambda fault: target.crash(fault.nodes[0]),
            KILL: lambda fault: target.kill(fault.nodes[0]),
            PAUSE: lambda fault: target.pause(fault.nodes[0]),
            PARTITION: lambda fault: self._cut(_both_ways(fault)),
            ISOLATE: lambda fault: self._cut(_both_ways(fault)),
            ONE_WAY: lambda fault: self._cut(_one_way(fault)),
            SLOW_DISK: lambda fault: self._disk(fault, slowness=fault.amount),
            STUCK_DISK: lambda fault: self._disk(fault, stuck=True),
            FULL_DISK: lambda fault: self._disk(fault, full=True),
            FAILING_DISK: lambda fault: self._disk(fault, failing=True),
            CLOCK_RATE: self._clock_rate,
            CLOCK_STEP: self._clock_step,
        }
        self._end: dict[str, Callable[[Fault], None]] = {
            CRASH: lambda fault: target.restart(fault.nodes[0]),
            KILL: lambda fault: target.restart(fault.nodes[0]),
            PAUSE: lambda fault: target.resume(fault.nodes[0]),
            PARTITION: lambda fault: self._heal(_both_ways(fault)),
            ISOLATE: lambda fault: self._heal(_both_ways(fault)),
            ONE_WAY: lambda fault: self._heal(_one_way(fault)),
            SLOW_DISK: self._whole_disk,
            STUCK_DISK: self._whole_disk,
            FULL_DISK: self._whole_disk,
            FAILING_DISK: self._whole_disk,
            # Set right as well, or errors would add up over a long run.
            CLOCK_RATE: lambda fault: target.set_clock(fault.nodes[0], rate=1.0, error_us=0),
            CLOCK_STEP: lambda fault: target.set_clock(fault.nodes[0], error_us=0),
        }

    def arm(self, faults: Iterable[Fault]) -> None:
        """Let a schedule happen."""
        for fault in faults:
            assert fault.kind in self._begin or fault.kind in self._actions, f"nobody knows the fault {fault.kind}"
            self._events.at(fault.at, f"fault {fault.kind}", self._start, fault)

    def _start(self, fault: Fault) -> None:
        action = self._actions.get(fault.kind)
        begun = self._begin[fault.kind](fault) if action is None else action(fault.nodes[0])
        counted = self.statistics.happened if begun else self.statistics.skipped
        counted[fault.kind] = counted.get(fault.kind, 0) + 1
        self._events.note(f"{'begins' if begun else 'is left out'}: {fault}")
        if begun and action is None:
            self._events.at(fault.until, f"end of {fault.kind}", self._stop, fault)

    def _stop(self, fault: Fault) -> None:
        self._events.note(f"ends: {fault}")
        self._end[fault.kind](fault)

    # Faults that may be at work on the same thing at the same time

    def _more(self, *what: str) -> None:
        self._at_work[what] = self._at_work.get(what, 0) + 1

    def _less(self, *what: str) -> bool:
        """Say whether the last one ends."""
        self._at_work[what] -= 1
        return self._at_work[what] == 0

    def _cut(self, links: list[tuple[str, str]]) -> bool:
        for source, target in links:
            self._more("link", source, target)
            self._target.cut(source, target)
        return True

    def _heal(self, links: list[tuple[str, str]]) -> None:
        for source, target in links:
            if self._less("link", source, target):
                self._target.heal(source, target)

    def _disk(
        self, fault: Fault, *, slowness: float = 1.0, stuck: bool = False, full: bool = False, failing: bool = False
    ) -> bool:
        """Let a disk have a fault, unless it has one."""
        node = fault.nodes[0]
        if self._at_work.get(("disk", node)):
            return False
        self._more("disk", node)
        self._target.set_disk(node, slowness=slowness, stuck=stuck, full=full, failing=failing)
        return True

    def _whole_disk(self, fault: Fault) -> None:
        node = fault.nodes[0]
        self._less("disk", node)
        self._target.set_disk(node, slowness=1.0, stuck=False, full=False, failing=False)

    def _clock_rate(self, fault: Fault) -> bool:
        self._target.set_clock(fault.nodes[0], rate=fault.amount)
        return True

    def _clock_step(self, fault: Fault) -> bool:
        self._target.set_clock(fault.nodes[0], error_us=int(fault.amount))
        return True


def _one_way(fault: Fault) -> list[tuple[str, str]]:
    return [(source, target) for source in fault.nodes for target in fault.others]


def _both_ways(fault: Fault) -> list[tuple[str, str]]:
    links = _one_way(fault)
    return links + [(target, source) for source, target in links]
