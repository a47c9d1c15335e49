"""The queue, clocks and processes."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tinykv.testing.simulation.clock import EPOCH_MS, NodeClock, Process
from tinykv.testing.simulation.events import MILLISECOND, SECOND, Events, Livelock


class EventsTests(SynchronousTestCase):
    """What happens, and in which order."""

    def setUp(self) -> None:
        self.events = Events(1)
        self.seen: list[object] = []

    def test_by_time_then_by_order(self) -> None:
        for time, name in ((5, "c"), (3, "a"), (5, "d"), (3, "b")):
            self.events.at(time, name, self.seen.append, name)
        self.events.run_until(4)
        self.assertEqual((self.seen, self.events.now), (["a", "b"], 4))
        self.events.run_until(5)
        self.assertEqual(self.seen, ["a", "b", "c", "d"])

    def test_the_past_is_now(self) -> None:
        self.events.run_until(10)
        self.events.at(3, "late", lambda: self.seen.append(self.events.now))
        self.events.run_until(10)
        self.assertEqual(self.seen, [10])

    def test_cancelled(self) -> None:
        self.events.after(5, "x", self.seen.append, 1).cancel()
        self.assertFalse(self.events.step())
        self.assertEqual((self.seen, self.events.happened), ([], 0))

    def test_what_does_not_happen_makes_nothing_later_happen(self) -> None:
        process = Process(self.events, NodeClock(self.events), "p")
        for name in ("cancelled", "kept back"):
            event = self.events.at(5, name, self.seen.append, name, owner=process)
            self.events.at(20, "later", self.seen.append, "later")
            if name == "cancelled":
                event.cancel()
            process.pause()
            self.events.run_until(10)
            self.events.run_while(lambda: True, 15)
            self.assertEqual((self.seen, self.events.now), ([], 15))

    def test_as_long_as(self) -> None:
        for time in (1, 2, 3):
            self.events.at(time, "x", self.seen.append, time)
        self.assertTrue(self.events.run_while(lambda: len(self.seen) < 2, 10))
        self.assertEqual(self.events.now, 2)
        self.assertFalse(self.events.run_while(lambda: len(self.seen) < 4, 10))
        self.assertEqual(self.events.now, 10)

    def test_a_loop_without_time_is_noticed(self) -> None:
        def again() -> None:
            self.events.after(0, "again", again)

        again()
        self.assertRaises(Livelock, self.events.run_until, 1)

    def test_generators_are_independent(self) -> None:
        first = self.events.random("a")
        [first.random() for _ in range(100)]
        self.assertEqual(self.events.random("b").random(), Events(1).random("b").random())
        self.assertNotEqual(self.events.random("b").random(), Events(2).random("b").random())

    @given(st.integers())
    def test_equal_seeds_make_equal_runs(self, seed: int) -> None:
        digests = []
        for other in (seed, seed, seed + 1):
            events = Events(other)
            random = events.random("x")

            def split(left: int, events: Events = events, random: Random = random) -> None:
                for _ in range(random.randrange(3)):
                    events.after(random.randrange(100), f"split {left}", split, left - 1)

            events.at(0, "first", split, 5)
            events.run_until(SECOND)
            events.note(f"{random.random()}")
            digests.append(events.digest)
        self.assertEqual(digests[0], digests[1])
        self.assertNotEqual(digests[0], digests[2])


class ProcessTests(SynchronousTestCase):
    """A process takes part in time as its machine's clock and its life allow."""

    def setUp(self) -> None:
        self.events = Events(1)
        self.clock = NodeClock(self.events)
        self.process = Process(self.events, self.clock, "p")
        self.seen: list[object] = []

    def run_to(self, milliseconds: float) -> None:
        self.events.run_until(int(milliseconds * MILLISECOND))

    def test_it_is_a_reactors_time(self) -> None:
        verifyObject(IReactorTime, self.process)
        verifyObject(IDelayedCall, self.process.callLater(1, lambda: None))

    def test_timers(self) -> None:
        self.process.callLater(0.002, self.seen.append, "b")
        call = self.process.callLater(0.001, self.seen.append, "a")
        gone = self.process.callLater(0.001, self.seen.append, "x")
        self.assertEqual((call.active(), call.getTime(), len(self.process.getDelayedCalls())), (True, 0.001, 3))
        gone.cancel()
        self.run_to(1)
        self.assertEqual((self.seen, call.active()), (["a"], False))
        self.assertRaises(AlreadyCalled, call.cancel)
        self.assertRaises(AlreadyCancelled, gone.cancel)
        self.run_to(2)
        self.assertEqual((self.seen, self.process.getDelayedCalls()), (["a", "b"], []))

    def test_timers_put_off(self) -> None:
        first = self.process.callLater(0.001, self.seen.append, "first")
        second = self.process.callLater(0.005, self.seen.append, "second")
        first.delay(0.002)
        second.reset(0.002)
        self.run_to(2)
        self.assertEqual(self.seen, ["second"])
        self.run_to(3)
        self.assertEqual(self.seen, ["second", "first"])

    def test_not_in_this_turn(self) -> None:
        def begin() -> None:
            self.process.callLater(0, self.seen.append, "later")
            self.seen.append("now")

        self.process.soon("x", begin)
        self.process.soon("x", self.seen.append, "same time")
        self.run_to(0)
        self.assertEqual(self.seen, ["now", "same time", "later"])

    def test_keywords(self) -> None:
        def told(**words: int) -> None:
            self.seen.append(words)

        self.process.callLater(0, told, one=1)
        self.run_to(0)
        self.assertEqual(self.seen, [{"one": 1}])

    def test_a_fast_clock(self) -> None:
        clock = NodeClock(self.events, rate=2.0, offset_us=5 * SECOND)
        process = Process(self.events, clock, "fast")
        process.callLater(1.0, lambda: self.seen.append(self.events.now))
        self.events.run_until(SECOND)
        self.assertEqual(self.seen, [SECOND // 2])
        self.assertEqual(process.seconds(), 2.0)
        self.assertEqual(clock.calendar_ms(), EPOCH_MS + 7_000)
        self.assertEqual(clock.error_us, 6 * SECOND)

    def test_a_rate_that_changes_moves_timers(self) -> None:
        self.process.callLater(1.0, lambda: self.seen.append(self.events.now))
        self.events.run_until(SECOND // 2)
        self.clock.set_rate(0.5)
        self.events.run_until(2 * SECOND)
        self.assertEqual(self.seen, [SECOND * 3 // 2])
        self.assertEqual(self.process.seconds(), 1.25)

    def test_a_calendar_that_is_set_moves_no_timers(self) -> None:
        self.process.callLater(1.0, lambda: self.seen.append(self.events.now))
        self.clock.set_error(-3 * SECOND)
        self.assertEqual(self.clock.calendar_ms(), EPOCH_MS - 3_000)
        self.events.run_until(SECOND)
        self.assertEqual(self.seen, [SECOND])

    @given(st.floats(0.5, 2.0), st.integers(0, 10**9))
    def test_no_timer_is_early(self, rate: float, delay: int) -> None:
        events = Events(1)
        process = Process(events, NodeClock(events, rate=rate), "p")
        seen: list[float] = []
        process.callLater(delay / SECOND, lambda: seen.append(process.seconds()))
        events.step()
        self.assertGreaterEqual(seen[0], delay / SECOND - 1e-9)
        self.assertLess(seen[0], delay / SECOND + 1e-5)

    def test_while_paused_everything_waits_and_time_goes_on(self) -> None:
        def tick() -> None:
            self.seen.append((self.events.now, self.process.seconds()))

        self.process.callLater(0.001, tick)
        late = self.process.callLater(0.002, tick)
        late_too = self.process.callLater(0.003, tick)
        self.process.pause()
        self.run_to(10)
        self.assertEqual(self.seen, [])
        late_too.cancel()
        self.process.resume()
        self.process.resume()
        self.run_to(11)
        self.assertEqual(self.seen, [(10 * MILLISECOND, 0.01)] * 2)
        self.assertFalse(late.active())

    def test_nothing_happens_to_the_dead(self) -> None:
        self.process.callLater(0.001, self.seen.append, "x")
        self.process.pause()
        self.run_to(2)
        self.process.kill()
        self.process.resume()
        self.process.pause()
        self.process.soon("y", self.seen.append, "y")
        self.run_to(10)
        self.assertEqual((self.seen, self.process.is_dead, self.clock.listeners), ([], True, []))
