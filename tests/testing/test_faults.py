"""Schedules of faults, and what comes of them."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tinykv.testing.simulation import faults
from tinykv.testing.simulation.events import MILLISECOND, SECOND, Events
from tinykv.testing.simulation.faults import KINDS, Fault, Limits, Nemesis, Target, draw, schedule_text

NODES = ("a", "b", "c")
END = 60 * SECOND


class Noting(Target):
    """A cluster that notes what it's told; C{down} nodes are fit for nothing."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self.told: list[Any] = []
        self.down: set[str] = set()

    def _note(self, *what: Any) -> None:
        self.told.append((self._events.now, *what))

    def crash(self, node: str) -> bool:
        """Note it."""
        self._note("crash", node)
        return node not in self.down

    def kill(self, node: str) -> bool:
        """Note it."""
        self._note("kill", node)
        return node not in self.down

    def restart(self, node: str) -> None:
        """Note it."""
        self._note("restart", node)

    def pause(self, node: str) -> bool:
        """Note it."""
        self._note("pause", node)
        return node not in self.down

    def resume(self, node: str) -> None:
        """Note it."""
        self._note("resume", node)

    def cut(self, source: str, target: str) -> None:
        """Note it."""
        self._note("cut", source + target)

    def heal(self, source: str, target: str) -> None:
        """Note it."""
        self._note("heal", source + target)

    def set_disk(self, node: str, *, slowness: float, stuck: bool, full: bool, failing: bool) -> None:
        """Note it."""
        self._note("disk", node, slowness, stuck, full, failing)

    def set_clock(self, node: str, *, rate: float | None = None, error_us: int | None = None) -> None:
        """Note it."""
        self._note("clock", node, rate, error_us)


class ScheduleTests(SynchronousTestCase):
    """What is drawn."""

    def drawn(self, seed: int, kinds: tuple[str, ...] = KINDS, nodes: tuple[str, ...] = NODES) -> list[Fault]:
        return draw(Events(seed), nodes, kinds, begin_us=SECOND, end_us=END)

    def test_the_seed_decides(self) -> None:
        self.assertEqual(self.drawn(1), self.drawn(1))
        self.assertNotEqual(self.drawn(1), self.drawn(2))

    def test_every_kind_happens_within_its_bounds(self) -> None:
        found = self.drawn(1)
        self.assertEqual({fault.kind for fault in found}, set(KINDS))
        self.assertEqual([fault.at for fault in found], sorted(fault.at for fault in found))
        low, high = Limits().duration_us
        for fault in found:
            self.assertTrue(SECOND <= fault.at < fault.until < END, fault)
            self.assertTrue(low - 1 <= fault.until - fault.at <= high + 1, fault)
            self.assertFalse(set(fault.nodes) & set(fault.others))
            self.assertTrue(set(fault.nodes) <= set(NODES))
            if fault.kind in (faults.PARTITION, faults.ISOLATE):
                self.assertEqual({*fault.nodes, *fault.others}, set(NODES))

    def test_without_a_kind_the_others_stay(self) -> None:
        for kind in KINDS:
            fewer = self.drawn(3, tuple(other for other in KINDS if other != kind))
            self.assertEqual(fewer, [fault for fault in self.drawn(3) if fault.kind != kind])

    def test_faults_of_a_kind_do_not_overlap(self) -> None:
        for kind in KINDS:
            found = self.drawn(5, (kind,))
            for one, other in zip(found, found[1:], strict=False):
                self.assertLess(one.until, other.at)

    def test_one_node_alone_is_not_parted(self) -> None:
        kinds = {fault.kind for fault in self.drawn(1, nodes=("a",))}
        self.assertEqual(kinds, set(KINDS) - {faults.PARTITION, faults.ISOLATE, faults.ONE_WAY})

    def test_words(self) -> None:
        schedule = [
            Fault(1_500_000, 2_000_000, faults.SLOW_DISK, ("a",), amount=12.5),
            Fault(2 * SECOND, 3 * SECOND, faults.PARTITION, ("a",), ("b", "c")),
        ]
        self.assertEqual(
            schedule_text(schedule),
            "   1.500 s ..    2.000 s  slow-disk 12.5 a\n   2.000 s ..    3.000 s  partition a from b,c",
        )
        self.assertEqual(schedule_text([]), "no faults")


class NemesisTests(SynchronousTestCase):
    """What comes of a schedule."""

    def setUp(self) -> None:
        self.events = Events(1)
        self.target = Noting(self.events)
        self.nemesis = Nemesis(self.events, self.target)

    def happen(self, *schedule: Fault) -> list[Any]:
        self.nemesis.arm(schedule)
        self.events.run_until(END)
        return self.target.told

    def test_each_kind_begins_and_ends(self) -> None:
        whole = ("disk", "a", 1.0, False, False, False)
        expected: dict[str, tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]] = {
            faults.CRASH: ([("crash", "a")], [("restart", "a")]),
            faults.KILL: ([("kill", "a")], [("restart", "a")]),
            faults.PAUSE: ([("pause", "a")], [("resume", "a")]),
            faults.PARTITION: ([("cut", "ab"), ("cut", "ba")], [("heal", "ab"), ("heal", "ba")]),
            faults.ISOLATE: ([("cut", "ab"), ("cut", "ba")], [("heal", "ab"), ("heal", "ba")]),
            faults.ONE_WAY: ([("cut", "ab")], [("heal", "ab")]),
            faults.SLOW_DISK: ([("disk", "a", 2.0, False, False, False)], [whole]),
            faults.STUCK_DISK: ([("disk", "a", 1.0, True, False, False)], [whole]),
            faults.FULL_DISK: ([("disk", "a", 1.0, False, True, False)], [whole]),
            faults.FAILING_DISK: ([("disk", "a", 1.0, False, False, True)], [whole]),
            faults.CLOCK_RATE: ([("clock", "a", 2.0, None)], [("clock", "a", 1.0, 0)]),
            faults.CLOCK_STEP: ([("clock", "a", None, 2)], [("clock", "a", None, 0)]),
        }
        self.assertEqual(set(expected), set(KINDS))
        for kind, (begin, end) in expected.items():
            self.setUp()
            told = self.happen(Fault(5, 9, kind, ("a",), ("b",), 2.0))
            self.assertEqual(told, [(5, *what) for what in begin] + [(9, *what) for what in end], kind)
            self.assertEqual(self.nemesis.statistics.happened, {kind: 1})

    def test_what_does_not_fit_is_left_out(self) -> None:
        self.target.down = {"a"}
        told = self.happen(Fault(5, 9, faults.CRASH, ("a",)), Fault(6, 8, faults.KILL, ("b",)))
        self.assertEqual(told, [(5, "crash", "a"), (6, "kill", "b"), (8, "restart", "b")])
        self.assertEqual(self.nemesis.statistics.skipped, {faults.CRASH: 1})

    def test_a_link_is_whole_when_its_last_cut_ends(self) -> None:
        told = self.happen(Fault(5, 9, faults.PARTITION, ("a",), ("b",)), Fault(6, 12, faults.ONE_WAY, ("a",), ("b",)))
        self.assertEqual([what for what in told if what[1] == "heal"], [(9, "heal", "ba"), (12, "heal", "ab")])

    def test_a_disk_has_one_fault_at_a_time(self) -> None:
        told = self.happen(
            Fault(5, 9, faults.SLOW_DISK, ("a",), amount=3.0),
            Fault(6, 20, faults.FULL_DISK, ("a",)),
            Fault(7, 8, faults.STUCK_DISK, ("b",)),
            Fault(10, 11, faults.FULL_DISK, ("a",)),
        )
        self.assertEqual(
            [(when, node) for when, _, node, *_ in told if node == "a"], [(t, "a") for t in (5, 9, 10, 11)]
        )
        self.assertEqual(self.nemesis.statistics.skipped, {faults.FULL_DISK: 1})

    def test_faults_of_ones_own(self) -> None:
        moved: list[str] = []

        def transfer(node: str) -> bool:
            moved.append(node)
            return len(moved) < 2

        self.nemesis = Nemesis(self.events, self.target, {"transfer": transfer})
        schedule = draw(
            self.events, NODES, ("transfer",), begin_us=0, end_us=END, limits=Limits(interval_us=100 * MILLISECOND)
        )
        self.happen(*schedule[:3])
        self.assertEqual(moved, [fault.nodes[0] for fault in schedule[:3]])
        self.assertEqual(self.nemesis.statistics.happened, {"transfer": 1})
        self.assertEqual(self.nemesis.statistics.skipped, {"transfer": 2})

    def test_an_unknown_fault(self) -> None:
        self.assertRaises(AssertionError, self.nemesis.arm, [Fault(1, 2, "flood", ("a",))])
