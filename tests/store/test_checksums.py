"""What one replica does to sum up its rows: when it freezes, what waits for it, and what it says when it can't."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.store.hosted import Hosted
from tinykv.errors import ControlRefused
from tinykv.interfaces import ISum, ISummer
from tinykv.keys import meta_key
from tinykv.redis.operations import INTERNAL, NOBODY
from tinykv.region.state import apply_key
from tinykv.storage.errors import DiskFailure, StorageError, WriterLost
from tinykv.store.checksums import OPEN_SECONDS, Checksums, Sum, decode_result, encode_result

NAME = b"7-1"


@implementer(ISum)
class Summing:
    """A sum that a test makes."""

    def __init__(self) -> None:
        self.awake: Deferred[None] = Deferred()
        self.answer: Deferred[tuple[str, int]] = Deferred()
        self.begun: list[int] = []
        self.opened: Callable[[], None] = lambda: None

    def begin(self, region: int, start: bytes, end: bytes, index: int, opened: Callable[[], None]) -> None:
        """Note it."""
        self.begun.append(index)
        self.opened = opened


@implementer(ISummer)
class Summer:
    """Makes sums of which a test says what becomes of them."""

    def __init__(self) -> None:
        self.started: list[Summing] = []
        self.problem: StorageError | None = None

    def start(self) -> Summing:
        """Start one."""
        if self.problem is not None:
            raise self.problem
        self.started.append(Summing())
        return self.started[-1]

    def close(self) -> Deferred[None]:
        """There's nothing to close."""
        return succeed(None)


class ChecksumsCase(SynchronousTestCase):
    """One replica."""

    def make(self, **options: Any) -> Hosted:
        """Make a store that has begun its term."""
        self.hosted = hosted = Hosted(self.mktemp(), **options)
        self.addCleanup(hosted.close)
        hosted.settle()
        self.attach()
        return hosted

    def attach(self) -> None:
        """Have its sums made, in this run of it."""
        self.summer = Summer()
        self.checksums = Checksums(self.summer, self.hosted.clock)
        self.checksums.serve(self.hosted.host)

    def prepare(self, name: bytes = NAME, seconds: float = 60) -> Summing:
        """Have it make ready."""
        ready = self.checksums.prepare(self.hosted.host, name, seconds)
        self.assertNoResult(ready)
        summing = self.summer.started[-1]
        summing.awake.callback(None)
        self.successResultOf(ready)
        return summing

    def entry(self, name: bytes = NAME) -> None:
        """Put the entry into the turn."""
        self.hosted.host.submit((INTERNAL, NOBODY, 0, 0, None, [b"checksum", name], None))

    def on_disk(self) -> tuple[int, bytes | None]:
        """Give the entry as of which data.db is, and a row of it."""
        reader = self.hosted.store.reader
        state = reader.get("region", apply_key(1))
        return int.from_bytes(state[:8], "big") if state else 0, reader.get("data", meta_key(0, b"a"))

    def refused(self, name: bytes, *parts: str) -> None:
        """Check that there's no sum, and that the reason says so."""
        problem = self.assertRaises(ControlRefused, self.checksums.result, name)
        for part in parts:
            self.assertIn(part, str(problem))


class ExactTests(ChecksumsCase):
    """data.db is as of the entry until the sum's process reads."""

    def test_interfaces(self) -> None:
        verifyObject(ISummer, Summer())
        verifyObject(ISum, Summing())

    def test_writes_go_on(self) -> None:
        hosted = self.make()
        client = hosted.client()
        summing = self.prepare()
        client.send("SET a 1")
        self.entry()
        # In the same entry, behind it: all of the entry counts, on every replica.
        client.send("SET a 2")
        hosted.settle()
        index = hosted.host.applied
        self.assertTrue(self.checksums.applied(NAME))
        self.assertEqual(summing.begun, [])
        client.send("SET a 3")
        hosted.settle()
        later: list[bool] = []
        hosted.host.flush_all(lambda: later.append(True))
        self.assertEqual(len(client.heard()), 3)
        hosted.flush()
        # What came later waits, until somebody reads as of the entry.
        self.assertEqual((summing.begun, later, self.on_disk()[0]), ([index], [], index))
        self.assertIsNone(self.checksums.result(NAME))
        before = self.on_disk()
        summing.opened()
        hosted.flush()
        self.assertEqual((later, self.on_disk()[0]), ([True], hosted.host.applied))
        self.assertNotEqual(self.on_disk(), before)
        summing.answer.callback(("abc", 1))
        self.assertEqual(self.checksums.result(NAME), Sum(index, "abc"))
        self.assertEqual(client.read("GET a"), b"$1\r\n3\r\n")
        self.assertEqual(hosted.clock.getDelayedCalls(), self.without_late(hosted))

    def without_late(self, hosted: Hosted) -> list[Any]:
        """Give the calls that are due within the limit of a sum; that isn't among them any more."""
        return [call for call in hosted.clock.getDelayedCalls() if call.getTime() < 59]

    def test_what_is_older_goes_before(self) -> None:
        """Even where as many tables wait as may."""
        for options in ({}, {"durability_os": True}):
            hosted = self.make(frozen_tables=1, **options)
            client = hosted.client()
            client.send("SET a 1")
            hosted.settle()
            hosted.host.flush_all(lambda: None)
            self.assertTrue(hosted.host.busy)
            summing = self.prepare()
            # A leader that is busy proposes nothing; as one that follows would, it applies what is decided.
            hosted.execution.summing(NAME)
            hosted.host.queue.between()
            self.assertEqual(len(hosted.store.rows.frozen), 2)
            hosted.settle()
            hosted.flush()
            self.assertEqual(len(summing.begun), 1)
            summing.opened()
            hosted.settle()
            self.assertFalse(hosted.host.busy)

    def test_the_same_entry_twice(self) -> None:
        """The first one counts: on all replicas."""
        hosted = self.make()
        summing = self.prepare()
        self.entry()
        hosted.settle()
        index = hosted.host.applied
        self.entry()
        hosted.settle()
        hosted.flush()
        self.assertEqual(summing.begun, [index])
        summing.opened()
        summing.answer.callback(("abc", 1))
        self.entry()
        hosted.settle()
        self.assertEqual(self.checksums.result(NAME), Sum(index, "abc"))

    def test_an_entry_of_which_nobody_has_told(self) -> None:
        """It means nothing: it's an old one, or of a comparison that was given up."""
        hosted = self.make()
        self.entry()
        self.prepare(b"7-2")
        self.entry()
        hosted.settle()
        self.assertEqual(hosted.store.rows.frozen, [])
        self.assertFalse(self.checksums.applied(NAME))
        self.refused(NAME, "started anew")

    def test_replay(self) -> None:
        """After a crash the entry changes nothing, and a sum isn't made."""
        hosted = self.make()
        client = hosted.client()
        client.send("SET a 1")
        self.prepare()
        self.entry()
        client.send("SET b 2")
        hosted.settle()
        rows = hosted.rows()
        index = hosted.host.applied
        hosted.crash()
        hosted.settle()
        self.assertGreaterEqual(hosted.host.applied, index)
        self.assertEqual((hosted.rows(), hosted.store.rows.frozen, hosted.failures), (rows, [], []))
        self.attach()
        self.refused(NAME, "started anew")

    def test_the_store_ends(self) -> None:
        """Nothing waits for a sum."""
        hosted = self.make()
        client = hosted.client()
        summing = self.prepare()
        self.entry()
        hosted.settle()
        hosted.flush()
        client.send("SET a 1")
        hosted.settle()
        self.assertEqual(summing.begun, [hosted.host.applied - 1])
        self.checksums.stop()
        closing = hosted.closing()
        hosted.flush()
        self.successResultOf(closing)
        self.assertEqual(self.on_disk()[0], hosted.host.applied)
        self.refused(NAME, "this store stops")
        self.failureResultOf(self.checksums.prepare(self.hosted.host, b"7-2", 60), ControlRefused)


class RefusalTests(ChecksumsCase):
    """There will be no sum, and whoever asks hears why; flushes wait no longer."""

    def begun(self, seconds: float = 60) -> Summing:
        """Go on to where flushes wait for the sum's process, and a change waits for them."""
        hosted = self.make()
        summing = self.prepare(seconds=seconds)
        self.entry()
        hosted.settle()
        hosted.flush()
        hosted.client().send("SET a 1")
        hosted.settle()
        hosted.host.flush_all(lambda: None)
        hosted.flush()
        self.assertIsNone(self.on_disk()[1])
        return summing

    def flushes_go_on(self) -> None:
        """Check it."""
        self.hosted.flush()
        self.assertIsNotNone(self.on_disk()[1])
        self.assertEqual(self.hosted.store.rows.frozen, [])

    def test_it_fails(self) -> None:
        self.begun().answer.errback(DiskFailure("the disk failed"))
        self.flushes_go_on()
        self.refused(NAME, "the disk failed")

    def test_it_takes_too_long(self) -> None:
        summing = self.begun(seconds=30)
        summing.opened()
        self.hosted.clock.advance(29.9)
        self.assertIsNone(self.checksums.result(NAME))
        self.hosted.clock.advance(0.2)
        self.refused(NAME, "isn't summed up within 30 s", "longer timeout")
        self.flushes_go_on()

    def test_its_process_does_not_begin(self) -> None:
        """Flushes wait for no more than a moment: writes would wait behind them."""
        self.begun()
        self.hosted.clock.advance(OPEN_SECONDS - 0.1)
        self.assertIsNone(self.checksums.result(NAME))
        self.hosted.clock.advance(0.2)
        self.refused(NAME, "didn't begin within 5 s")
        self.flushes_go_on()

    def test_the_entry_does_not_come(self) -> None:
        self.make()
        self.prepare(seconds=30)
        self.hosted.clock.advance(30)
        self.refused(NAME, "hasn't been applied")
        self.entry()
        self.hosted.settle()
        self.assertEqual(self.hosted.store.rows.frozen, [])

    def test_another_one_begins(self) -> None:
        """Only who leads asks, and for one at a time: so nobody waits for the first one."""
        self.begun()
        second = self.prepare(b"7-2")
        self.refused(NAME, "another comparison")
        self.flushes_go_on()
        self.entry(b"7-2")
        self.hosted.settle()
        self.hosted.flush()
        self.assertEqual(second.begun, [self.hosted.host.applied])

    def test_another_one_before_the_flush(self) -> None:
        """The first one's table is flushed like any other."""
        hosted = self.make()
        first = self.prepare()
        self.entry()
        hosted.settle()
        second = self.prepare(b"7-2")
        self.entry(b"7-2")
        hosted.settle()
        hosted.flush()
        self.assertEqual((first.begun, second.begun), ([], [hosted.host.applied]))

    def test_a_copy_in_place_of_entries(self) -> None:
        hosted = self.make()
        self.prepare()
        hosted.host.skipped()
        self.refused(NAME, "a copy of the data")

    def test_a_copy_behind_the_entry(self) -> None:
        """It does no harm: what is read is read."""
        summing = self.begun()
        summing.opened()
        self.hosted.host.skipped()
        summing.answer.callback(("abc", 1))
        self.assertEqual(self.checksums.result(NAME), Sum(summing.begun[0], "abc"))

    def test_no_process(self) -> None:
        self.make()
        self.summer.problem = DiskFailure("no more processes")
        failure = self.failureResultOf(self.checksums.prepare(self.hosted.host, NAME, 60), ControlRefused)
        self.assertIn("no more processes", failure.getErrorMessage())

    def test_its_process_dies_at_once(self) -> None:
        self.make()
        ready = self.checksums.prepare(self.hosted.host, NAME, 60)
        self.summer.started[-1].answer.errback(WriterLost("it's gone"))
        self.assertIn("it's gone", self.failureResultOf(ready, ControlRefused).getErrorMessage())
        self.refused(NAME, "it's gone")

    def test_another_one_before_it_is_ready(self) -> None:
        self.make()
        ready = self.checksums.prepare(self.hosted.host, NAME, 60)
        self.prepare(b"7-2")
        self.failureResultOf(ready, ControlRefused)


class WireTests(SynchronousTestCase):
    """Sums on their way to another store."""

    def test_there_and_back(self) -> None:
        for found in (None, Sum(17, "00ff")):
            self.assertEqual(decode_result(encode_result(found)), found)

    def test_what_is_none(self) -> None:
        for payload in (b" ", b"1", b"1 ", b"x y", b"-1 ab", b"1 a b", b"1 \xff"):
            self.assertRaises(ControlRefused, decode_result, payload)
