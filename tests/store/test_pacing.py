"""Work in slices: the pacer by itself, and a host whose entries take long."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.store.hosted import Hosted
from tests.store.test_host import HostCase
from tinykv.errors import OutOfTime
from tinykv.store.apply_queue import OPERATIONS_A_LOOK
from tinykv.store.flushes import FLUSH_SECONDS
from tinykv.store.pacing import SLICE_SECONDS, Pacer, Stacks

OK = b"+OK\r\n"


class PacerTests(SynchronousTestCase):
    """One piece of work after another."""

    def setUp(self) -> None:
        """Make a pacer for which a second passes from one look at the time to the next."""
        self.clock = Clock()
        self.time = 0.0
        #: How many steps were done at each rest.
        self.rests: list[int] = []
        self.held: list[float] = []
        self.pacer = Pacer(self.clock, self.look, self.rested, self.held.append, slice_seconds=3)
        self.steps: list[int] = []
        self.done = 0

    def look(self) -> float:
        """Tell the time."""
        self.time += 1
        return self.time

    def rested(self) -> None:
        """Note a rest."""
        self.assertTrue(self.pacer.paused)
        self.rests.append(len(self.steps))

    def finished(self) -> None:
        """Count what is done."""
        self.done += 1

    def work(self, steps: int) -> Callable[[], None]:
        """Give work of some steps."""

        def work() -> None:
            for step in range(steps):
                self.pacer.pause()
                self.steps.append(step)

        return work

    def test_short_work_is_done_at_once(self) -> None:
        """It needs no turn of its own."""
        self.pacer.run(self.work(2), self.finished)
        self.assertEqual((self.steps, self.done, self.pacer.pauses), ([0, 1], 1, 0))
        self.assertFalse(self.pacer.running)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_look_within_another_regions_work(self) -> None:
        """Behind it that work goes on as the one that is being done."""
        stacks = Stacks()
        pacers = [Pacer(self.clock, self.look, lambda: None, self.held.append, stacks=stacks) for _ in range(2)]

        def work() -> None:
            pacers[1].look()
            self.assertIs(stacks.current, pacers[1])
            pacers[1].looked()
            self.assertIs(stacks.current, pacers[0])
            self.assertTrue(stacks.working)

        pacers[0].run(work, self.finished)
        self.assertEqual(self.done, 1)

    def test_long_work_rests(self) -> None:
        """Each turn does a slice of it; between them it's paused."""
        self.pacer.run(self.work(8), self.finished)
        self.assertEqual(self.steps, [0, 1])
        self.assertTrue(self.pacer.paused)
        self.clock.advance(0)
        self.assertEqual((self.steps, self.done), (list(range(8)), 1))
        self.assertEqual(self.rests, [2, 5])
        self.assertEqual(self.pacer.pauses, 2)
        self.assertFalse(self.pacer.running)
        self.assertEqual(self.held, [4, 4, 3])

    def test_one_after_another(self) -> None:
        """The same stack serves for all, also for what C{done} begins."""
        self.pacer.run(self.work(3), lambda: self.pacer.run(self.work(4), self.finished))
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual(self.steps, [0, 1, 2, 0, 1, 2, 3])
        self.assertEqual(self.done, 1)

    def test_waiting(self) -> None:
        """Work that waits goes on when it is told to, however long that takes."""
        wakes: list[Callable[[], None]] = []

        def work() -> None:
            self.steps.append(1)
            self.pacer.wait(wakes.append)
            self.steps.append(2)

        self.pacer.run(work, self.finished)
        self.clock.advance(100)
        self.assertEqual((self.steps, self.done, self.pacer.paused), ([1], 0, True))
        wakes.pop()()
        self.assertEqual((self.steps, self.done), ([1, 2], 1))

    def test_stopped(self) -> None:
        """Work that rests when all stops never goes on."""
        self.pacer.run(self.work(8), self.finished)
        self.pacer.stop()
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual((self.steps, self.done), ([0, 1], 0))

    def test_stopped_from_within(self) -> None:
        """The last piece of work is the one that found out."""

        def work() -> None:
            self.pacer.stop()
            self.steps.append(1)

        self.pacer.run(work, self.finished)
        self.assertEqual((self.steps, self.done), ([1], 0))

    def test_a_look_is_ended(self) -> None:
        """What can't rest is given up when it takes too long; outside of looks nothing is."""
        self.pacer.look()
        for _ in range(3):
            self.pacer.pause()
        self.assertRaises(OutOfTime, self.pacer.pause)
        self.pacer.looked()
        for _ in range(10):
            self.pacer.pause()
        self.pacer.look()
        self.pacer.pause()


class StacksTests(SynchronousTestCase):
    """L{Stacks}."""

    def test_regions_catch_up_for_no_longer_than_a_slice(self) -> None:
        stacks = Stacks()
        clock = Clock()
        done: list[int] = []

        def of(region: int) -> Callable[[], None]:
            def apply() -> None:
                del stacks.gathering[apply]
                done.append(region)
                clock.advance(SLICE_SECONDS / 2)

            return apply

        for region in range(5):
            stacks.gathering[of(region)] = None
        stacks.catch_up(clock.seconds)
        # The others have times of their own.
        self.assertEqual((done, len(stacks.gathering)), ([0, 1], 3))
        stacks.catch_up(clock.seconds)
        self.assertEqual(done, [0, 1, 2, 3])


class SlowHostTests(HostCase):
    """A host for which time passes while it works."""

    def loaded(self, size: int = 3000, **options: object) -> Hosted:
        """Make one that has two large sets, for which a millisecond passes at each look at the time."""
        hosted = self.make(**options)
        client = hosted.client()
        for start in range(0, size, 500):
            client.send("SADD a " + " ".join(f"m{number}" for number in range(start, start + 500)))
            client.send("SADD b " + " ".join(f"m{number}" for number in range(start + 250, start + 750)))
        hosted.settle()
        client.heard()
        hosted.look_seconds = 0.001
        return hosted

    def test_a_long_command_rests(self) -> None:
        """Others get their turns while it works, and what it leaves is what it leaves without rests."""
        hosted = self.loaded()
        client, other = hosted.client(), hosted.client()
        client.send("SUNIONSTORE c a b")
        client.send("SCARD c")
        hosted.turn()
        hosted.sync()
        self.assertEqual((client.told, hosted.host.pauses), ([], 1))
        # A look can't see half of it; it waits for its turn.
        self.assertIsNone(other.read("EXISTS c"))
        hosted.settle()
        self.assertGreater(hosted.host.pauses, 5)
        self.assertEqual(client.heard(), [b":3250\r\n", b":3250\r\n"])
        self.assertEqual(other.heard(), [b":1\r\n"])
        rows = hosted.rows()
        hosted.look_seconds = 0.0
        hosted.crash()
        self.assertEqual(hosted.rows(), rows)

    def test_nothing_is_frozen_in_the_midst(self) -> None:
        """A flush that is due waits for the end of the entry (R4)."""
        hosted = self.loaded(memtable_bytes=1)
        client = hosted.client()
        hosted.flush()
        client.send("SUNIONSTORE c a b")
        hosted.turn()
        hosted.sync()
        frozen = len(hosted.store.rows.frozen)
        self.assertFalse(client.told)
        hosted.regions.flushes._flush_old()  # as if its time had come just now
        self.assertEqual(len(hosted.store.rows.frozen), frozen)
        for _ in range(100):
            hosted.turn()
        self.assertEqual(client.heard(), [b":3250\r\n"])
        self.assertEqual(len(hosted.store.rows.frozen), frozen + 1)

    def test_a_long_look_is_taken_again(self) -> None:
        """A read that takes long is answered later, by the same words."""
        hosted = self.loaded()
        client = hosted.client()
        self.assertEqual(client.read("SCARD a"), b":3000\r\n")
        self.assertIsNone(client.read("SMEMBERS a"))
        self.assertEqual(hosted.host.pauses, 0)
        for _ in range(200):
            hosted.turn()
            hosted.sync()
        self.assertGreater(hosted.host.pauses, 3)
        (reply,) = client.heard()
        self.assertTrue(reply.startswith(b"*3000\r\n"))

    def test_between_the_commands_of_an_entry(self) -> None:
        """Many small commands are work too; those that are done are answered while the others wait."""
        hosted = self.make()
        hosted.look_seconds = 0.001
        client = hosted.client()
        count = 20 * OPERATIONS_A_LOOK
        for _ in range(count):
            client.send("INCR a")
        hosted.turn()
        hosted.sync()
        first = len(client.told)
        self.assertTrue(0 < first < count, first)
        self.assertEqual(first % OPERATIONS_A_LOOK, 0)
        answered = hosted.answered
        hosted.settle()
        self.assertEqual(client.heard()[-1], b":%d\r\n" % count)
        self.assertGreater(hosted.answered, answered)

    def test_a_failure_while_it_rests(self) -> None:
        """The entry never counts as applied, and nobody is told anything of it."""
        hosted = self.loaded()
        client = hosted.client()
        applied = hosted.host.applied
        client.send("SUNIONSTORE c a b")
        hosted.turn()
        hosted.sync()
        hosted.host.fail(OSError("the disk"))
        for _ in range(100):
            hosted.turn()
        self.assertEqual((client.told, hosted.host.applied), ([], applied))
        hosted.crash()
        self.assertEqual(hosted.client().read("SCARD c"), None)

    def test_closing_waits(self) -> None:
        """What rests is done before the end."""
        hosted = self.loaded()
        client = hosted.client()
        client.send("SUNIONSTORE c a b")
        hosted.turn()
        hosted.sync()
        closed = hosted.closing()
        self.assertNoResult(closed)
        for _ in range(100):
            hosted.turn()
            hosted.flush()
        self.successResultOf(closed)
        self.assertEqual(client.heard(), [b":3250\r\n"])

    def test_a_flush_comes_later(self) -> None:
        """A flush that found work resting isn't forgotten."""
        hosted = self.loaded()
        client = hosted.client()
        hosted.clock.advance(FLUSH_SECONDS - 0.001)
        client.send("SUNIONSTORE c a b")
        hosted.clock.advance(0)
        hosted.sync()
        hosted.clock.advance(0.001)
        self.assertEqual(hosted.store.rows.frozen, [])
        for _ in range(100):
            hosted.turn()
        hosted.clock.advance(FLUSH_SECONDS)
        self.assertEqual(len(hosted.store.rows.frozen), 1)

    def test_a_load_without_an_end(self) -> None:
        """What keeps the memory within its bounds is done between entries, also when there's always one more."""
        budget = 200_000
        hosted = self.make(budget=budget, memtable_bytes=budget, frozen_tables=1000)
        hosted.look_seconds = 0.002
        client = hosted.client()
        rests: list[tuple[int, int]] = []  # what the cache and the active table held

        def send() -> None:
            for place in range(6 * OPERATIONS_A_LOOK):
                client.send(f"SET key:{len(rests)}:{place} {place:0100}")
            hosted.clock.callLater(0, hosted.store.log_channel.run)
            hosted.clock.callLater(0, hosted.store.read_channel.run)

        def at_answer() -> None:
            rests.append((hosted.keyspace.memory, hosted.store.rows.active_bytes))
            if len(rests) < 60:
                send()

        hosted.at_answer = at_answer
        send()
        hosted.settle()
        self.assertEqual(client.heard(), [OK] * (60 * 6 * OPERATIONS_A_LOOK))
        self.assertGreater(len(rests), 100)
        self.assertLess(max(cache for cache, _ in rests), 3 * budget)
        self.assertLess(max(table for _, table in rests), 3 * budget)
