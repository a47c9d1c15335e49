"""Snapshots from file to file: whole, resumed, slowed, refused, stalled, damaged, cancelled."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, cast
from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.peering.stores import PeerStore, pair, sides
from tests.peering.test_acceptor import Hand, PortCase
from tests.peering.wires import Network
from tinykv.interfaces import ISnapshotFile, ISnapshotFiles, ISnapshotSink
from tinykv.peering.errors import SnapshotFailed
from tinykv.peering.grammar import Line, framed
from tinykv.peering.handshake import SNAPSHOT
from tinykv.peering.rate import Rate
from tinykv.peering.snapshot_files import PARTIAL
from tinykv.peering.snapshot_receiver import ARRIVED_MAX, Arrivals
from tinykv.peering.snapshot_sender import WAITING_MAX
from tinykv.peering.verbs import CHUNK_BYTES, META_BYTES

LARGE = Random(5).randbytes(5 * CHUNK_BYTES + 1000)


class SnapshotCase(SynchronousTestCase):
    """Two stores, the first of which sends."""

    def stores(self, **changes: Any) -> tuple[Network, PeerStore, PeerStore]:
        """Make them."""
        self.folder = Path(self.mktemp())
        return pair(self.folder, **changes)

    def send(self, one: PeerStore, data: bytes, meta: bytes = b"meta") -> Deferred[None]:
        """Send bytes as region 9's snapshot."""
        path = self.folder / "source"
        path.write_bytes(data)
        return one.peering.send_snapshot(2, 9, str(path), meta)

    def until_accepted(self, network: Network) -> None:
        """Let things happen up to the receiver's HAVE line, which isn't delivered yet."""
        network.clock.advance(0)
        while not network.wires or b"HAVE" not in sides(network)[1].sent:
            for wire in network.wires:
                wire.move(1 << 20)
            network.clock.advance(0)

    def arrivals(self) -> list[str]:
        """List the files that are with the receiver."""
        return sorted(path.name for path in (self.folder / "arrivals2").iterdir())

    def failure(self, sent: Deferred[None]) -> str:
        """Give the text by which a snapshot failed."""
        return str(self.failureResultOf(sent, SnapshotFailed).value)


class SendTests(SnapshotCase):
    """The whole way."""

    def test_sizes(self) -> None:
        for size in (0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, len(LARGE)):
            network, one, two = self.stores()
            sent = self.send(one, LARGE[:size])
            self.assertNoResult(sent)
            network.run(0.2)
            self.successResultOf(sent)
            offered, received = two.take()
            self.assertEqual(offered, ("snapshot_offered", 1, 9, size, b"meta"))
            self.assertEqual(received == ("snapshot_received", 1, 9, LARGE[:size], b"meta"), True)
            self.assertEqual(self.arrivals(), [f"9-{sha256(LARGE[:size]).hexdigest()}"])
            self.assertEqual((one.figures.snapshots_out, two.figures.snapshots_in), (1, 1))
            network.run(1)
            self.assertEqual(two.figures.connections_in, 0)
            self.assertEqual(network.clock.getDelayedCalls(), [])

    @given(st.integers(1, 40_000))
    def test_any_split_of_the_bytes(self, most: int) -> None:
        network, one, two = self.stores()
        network.most = most
        sent = self.send(one, LARGE[: 50 * most])
        network.run(0.2)
        self.successResultOf(sent)

    def test_no_more_is_under_way_than_the_credit(self) -> None:
        network, one, two = self.stores(snapshot_credit=2, snapshot_rate=1 << 40)
        sent = self.send(one, LARGE)
        self.until_accepted(network)
        near, far = sides(network)
        before = len(near.sent)
        far.move(1 << 20)
        near.deaf = True
        network.run(0.1)
        self.assertNoResult(sent)
        self.assertEqual((len(near.sent) - before) // CHUNK_BYTES, 2)
        near.deaf = False
        network.run(0.1)
        self.successResultOf(sent)

    def test_some_at_a_time_and_the_rest_in_order(self) -> None:
        network, one, two = self.stores(snapshots_max=2)
        path = self.folder / "source"
        path.write_bytes(b"x")
        sent = [one.peering.send_snapshot(2, region, str(path), b"") for region in range(1, 6)]
        sent[3].cancel()
        self.failureResultOf(sent[3], CancelledError)
        del sent[3]
        network.run(0.1)
        for one_sent in sent:
            self.successResultOf(one_sent)
        self.assertEqual([event[2] for event in two.take("snapshot_received")], [1, 2, 3, 5])

    def test_too_many_waiting(self) -> None:
        network, one, _ = self.stores(snapshots_max=1)
        network.silent.add("host2:1")
        path = self.folder / "source"
        path.write_bytes(b"x")
        first = [one.peering.send_snapshot(2, region, str(path), b"") for region in range(1, WAITING_MAX + 2)]
        self.assertNoResult(first[-1])
        late = one.peering.send_snapshot(2, WAITING_MAX + 2, str(path), b"")
        self.assertIn("others wait", self.failure(late))
        one.peering.close()
        for sent in first:
            self.assertIn("stops", self.failure(sent))

    def test_one_at_a_time_for_each_region_and_store(self) -> None:
        network, one, two = self.stores()
        sent = self.send(one, b"x")
        self.assertIn("on its way there already", self.failure(self.send(one, b"x")))
        network.run(0.1)
        self.successResultOf(sent)
        again = self.send(one, b"x")
        network.run(0.1)
        self.successResultOf(again)

    def test_meta_at_the_limit_and_one_past(self) -> None:
        network, one, two = self.stores()
        sent = self.send(one, b"x", b"m" * META_BYTES)
        network.settle()
        self.successResultOf(sent)
        self.assertIn("over the limit", self.failure(self.send(one, b"x", b"m" * (META_BYTES + 1))))

    def test_size_at_the_limit_and_one_past(self) -> None:
        network, one, two = self.stores(snapshot_bytes_max=1000)
        sent = self.send(one, b"x" * 1000)
        network.settle()
        self.successResultOf(sent)
        self.assertIn("1001 bytes, over the limit", self.failure(self.send(one, b"x" * 1001)))
        self.assertEqual(one.figures.snapshots_failed, 1)

    def test_no_such_file(self) -> None:
        network, one, _ = self.stores()
        sent = one.peering.send_snapshot(2, 9, str(self.folder / "nothing"), b"")
        self.assertIn("can't be opened", self.failure(sent))

    def test_an_unknown_store(self) -> None:
        network, one, _ = self.stores()
        path = self.folder / "source"
        path.write_bytes(b"x")
        sent = one.peering.send_snapshot(7, 9, str(path), b"")
        network.settle()
        self.assertIn("address of store 7", self.failure(sent))


class ResumeTests(SnapshotCase):
    """Broken connections."""

    def begun(self, network: Network, one: PeerStore, two: PeerStore) -> Deferred[None]:
        """Send until some of it has arrived, and break the connection."""
        sent = self.send(one, LARGE)
        network.run(0.5)
        self.assertNoResult(sent)
        sides(network)[0].abortConnection()
        network.settle()
        return sent

    def test_it_goes_on_where_it_broke(self) -> None:
        network, one, two = self.stores(snapshot_rate=4 * CHUNK_BYTES)
        sent = self.begun(network, one, two)
        (partial,) = (self.folder / "arrivals2").iterdir()
        kept = partial.stat().st_size
        self.assertEqual(partial.suffix, PARTIAL)
        self.assertGreater(kept, 0)
        network.run(20)
        self.successResultOf(sent)
        _, far = sides(network)
        self.assertIn(b"HAVE %d 8\r\n" % kept, far.sent)
        self.assertEqual(one.figures.snapshots_resumed, 1)
        self.assertEqual(two.take("snapshot_received")[0][3] == LARGE, True)

    def test_it_goes_on_behind_a_restart_of_the_receiver(self) -> None:
        network, one, two = self.stores(snapshot_rate=4 * CHUNK_BYTES)
        sent = self.begun(network, one, two)
        again = PeerStore(network, 2, {}, self.folder / "arrivals2")
        again.listen()
        network.run(20)
        self.successResultOf(sent)
        self.assertNotIn(b"HAVE 0 ", sides(network)[1].sent)
        self.assertEqual(again.take("snapshot_received")[0][3] == LARGE, True)

    def test_it_goes_on_behind_a_restart_of_the_sender(self) -> None:
        network, one, two = self.stores(snapshot_rate=4 * CHUNK_BYTES)
        sent = self.begun(network, one, two)
        sent.cancel()
        self.failureResultOf(sent, CancelledError)
        again = PeerStore(network, 1, {2: "host2:1"}, self.folder / "arrivals1", start_id=5)
        sent = self.send(again, LARGE)
        network.run(20)
        self.successResultOf(sent)
        self.assertNotIn(b"HAVE 0 ", sides(network)[1].sent)

    def test_a_beginning_that_was_damaged_is_sent_again(self) -> None:
        network, one, two = self.stores(snapshot_rate=4 * CHUNK_BYTES)
        sent = self.begun(network, one, two)
        (partial,) = (self.folder / "arrivals2").iterdir()
        partial.write_bytes(bytes(partial.stat().st_size))
        network.run(30)
        self.successResultOf(sent)
        self.assertEqual(two.figures.snapshots_damaged, 1)
        self.assertEqual(two.take("snapshot_received")[0][3] == LARGE, True)

    def test_a_beginning_that_is_too_long_is_sent_again(self) -> None:
        network, one, two = self.stores()
        digest = sha256(b"x").hexdigest()
        (self.folder / "arrivals2" / f"9-{digest}{PARTIAL}").write_bytes(b"xx")
        sent = self.send(one, b"x")
        network.run(20)
        # The receiver has deleted it; with nothing resumed there was no point in trying again.
        self.assertIn("damaged", self.failure(sent))
        sent = self.send(one, b"x")
        network.run(20)
        self.successResultOf(sent)

    def test_an_answer_that_was_lost(self) -> None:
        network, one, two = self.stores()
        sent = self.send(one, b"x" * 10)
        while not two.figures.snapshots_in:
            network.clock.advance(0)
            for wire in network.wires:
                wire.move(1 << 20)
        sides(network)[0].abortConnection()
        network.run(5)
        self.successResultOf(sent)
        self.assertEqual(len(two.take("snapshot_received")), 1)

    def test_a_receiver_that_isnt_there_yet(self) -> None:
        network, one, two = self.stores()
        del network.listeners["host2:1"]
        sent = self.send(one, LARGE)
        network.run(30)
        two.listen()
        network.run(10)
        self.successResultOf(sent)

    def test_it_gives_up(self) -> None:
        network, one, two = self.stores(snapshot_give_up=60.0)
        del network.listeners["host2:1"]
        sent = self.send(one, LARGE)
        network.run(59)
        self.assertNoResult(sent)
        network.run(2)
        self.assertIn("nothing more for 60 s", self.failure(sent))
        self.assertEqual(network.clock.getDelayedCalls(), [])

    def test_it_doesnt_give_up_while_it_gets_on(self) -> None:
        network, one, two = self.stores(snapshot_give_up=2.0, snapshot_rate=CHUNK_BYTES // 2)
        sent = self.send(one, LARGE)
        network.run(11)
        self.successResultOf(sent)

    def test_cancel(self) -> None:
        network, one, two = self.stores(snapshot_rate=4 * CHUNK_BYTES)
        sent = self.send(one, LARGE)
        network.run(0.5)
        sent.cancel()
        self.failureResultOf(sent, CancelledError)
        network.run(1)
        self.assertEqual((two.figures.connections_in, network.clock.getDelayedCalls()), (0, []))

    def test_cancel_while_it_is_dialled(self) -> None:
        network, one, two = self.stores()
        network.silent.add("host2:1")
        sent = self.send(one, LARGE)
        network.run(1)
        sent.cancel()
        self.failureResultOf(sent, CancelledError)
        network.settle()
        self.assertEqual(network.clock.getDelayedCalls(), [])


class SlowTests(SnapshotCase):
    """Rate and stalls."""

    def test_the_rate(self) -> None:
        rate = len(LARGE) // 10
        network, one, two = self.stores(snapshot_rate=rate)
        sent = self.send(one, LARGE)
        network.run(9)
        self.assertNoResult(sent)
        network.run(1.2)
        self.successResultOf(sent)

    def test_the_rate_is_shared(self) -> None:
        rate = len(LARGE) // 10
        network, one, two = self.stores(snapshot_rate=rate)
        path = self.folder / "source"
        path.write_bytes(LARGE)
        sent = [one.peering.send_snapshot(2, region, str(path), b"") for region in (1, 2)]
        network.run(18)
        self.assertNoResult(sent[1])
        network.run(3)
        for one_sent in sent:
            self.successResultOf(one_sent)

    def test_a_slow_rate_is_no_stall(self) -> None:
        network, one, two = self.stores(snapshot_rate=400, snapshot_stall=3.0)
        sent = self.send(one, LARGE[:4000])
        network.run(12)
        self.successResultOf(sent)
        self.assertEqual(one.figures.timeouts + two.figures.timeouts, 0)

    def test_booking(self) -> None:
        clock = Clock()
        rate = Rate(clock, 100)
        self.assertEqual([rate.book(50), rate.book(100), rate.book(1)], [0, 0.5, 1.5])
        clock.advance(10)
        # What a late turn didn't use may be used later, up to some bytes.
        self.assertEqual([round(rate.book(size), 6) for size in (10, 10, 1)], [0, 0, 0.1])

    def test_a_receiver_that_stalls(self) -> None:
        network, one, two = self.stores(snapshot_stall=5.0, idle_timeout=100.0)
        sent = self.send(one, LARGE)
        self.until_accepted(network)
        sides(network)[1].deaf = True
        network.run(6)
        self.assertEqual(one.figures.timeouts, 1)
        network.run(5)
        self.successResultOf(sent)


class RefusalTests(SnapshotCase):
    """Receivers that won't have it."""

    def test_the_handler_refuses(self) -> None:
        network, one, two = self.stores()
        two.recorder.refusal = "a newer one was applied"
        sent = self.send(one, LARGE)
        network.settle()
        self.assertIn("store 2 says (refused): a newer one was applied", self.failure(sent))
        self.assertEqual(self.arrivals(), [])

    def test_too_large_for_the_receiver(self) -> None:
        network, one, _ = self.stores()
        small = PeerStore(network, 2, {}, self.folder / "arrivals2", snapshot_bytes_max=999)
        small.listen()
        sent = self.send(one, b"x" * 1000)
        network.settle()
        self.assertIn("over the limit of 999", self.failure(sent))

    def test_receiving_at_the_limit_and_one_past(self) -> None:
        network, one, two = self.stores(snapshot_rate=100_000)
        few = PeerStore(network, 2, {}, self.folder / "arrivals2", snapshots_max=1)
        few.listen()
        path = self.folder / "source"
        path.write_bytes(LARGE[:200_000])
        sent = [one.peering.send_snapshot(2, region, str(path), b"") for region in (1, 2)]
        network.run(0.5)
        self.assertGreater(few.figures.refused_in["busy"], 0)
        network.run(20)
        for one_sent in sent:
            self.successResultOf(one_sent)

    def test_another_secret_is_final(self) -> None:
        network, one, _ = self.stores()
        other = PeerStore(network, 2, {}, self.folder / "arrivals2", secret=b"another sixteen bytes")
        other.listen()
        sent = self.send(one, LARGE)
        network.settle()
        self.assertIn("secret", self.failure(sent))

    def test_a_disk_that_is_full_is_tried_again(self) -> None:
        network, one, two = self.stores(snapshot_give_up=30.0)
        arrivals = self.folder / "arrivals2"
        arrivals.rmdir()
        sent = self.send(one, b"x")
        network.run(10)
        self.assertNoResult(sent)
        arrivals.mkdir()
        network.run(10)
        self.successResultOf(sent)

    def test_a_file_that_gets_shorter(self) -> None:
        network, one, two = self.stores(snapshot_rate=4 * CHUNK_BYTES)
        sent = self.send(one, LARGE)
        network.run(0.5)
        (self.folder / "source").write_bytes(b"")
        network.run(5)
        self.assertIn("changed while it was sent", self.failure(sent))

    def test_a_file_that_changes(self) -> None:
        network, one, two = self.stores(snapshot_rate=4 * CHUNK_BYTES)
        sent = self.send(one, LARGE)
        network.run(0.5)
        (self.folder / "source").write_bytes(bytes(len(LARGE)))
        network.run(20)
        self.assertIn("damaged", self.failure(sent))
        self.assertEqual((two.take("snapshot_received"), self.arrivals()), ([], []))


class ByHandCase(PortCase):
    """A store that receives, spoken to by hand."""

    def sender(self, **changes: Any) -> Hand:
        """Make the store, and a snapshot's connection to it."""
        self.store(**changes)
        return self.another()

    def another(self, store_id: int = 2) -> Hand:
        """Make another connection."""
        hand = self.dial()
        self.assertEqual([verb for verb, _, _ in self.greet(hand, store_id, SNAPSHOT)], [b"PROOF"])
        return hand

    def offer(self, data: bytes, count: int = 1, region_id: int = 9) -> bytes:
        """Write the offer of a snapshot."""
        digest = sha256(data).hexdigest().encode()
        return framed(b"SNAPSHOT 7 %d %d %d %b" % (count, region_id, len(data), digest), b"meta")

    def chunk(self, offset: int, data: bytes) -> bytes:
        """Write a piece."""
        return framed(b"CHUNK %d %08x" % (offset, crc32(data)), data)

    def ends(self, came: list[Line], code: bytes, reason: str) -> None:
        """Check the code and the reason by which a connection ended."""
        self.assertEqual([(verb, fields[0]) for verb, fields, _ in came], [(b"ERROR", code)])
        self.assertIn(reason, b" ".join(came[0][1]).decode())


class ByHandTests(ByHandCase):
    """What a sender may do wrong."""

    def test_the_conversation(self) -> None:
        hand = self.sender()
        self.assertEqual(self.say(hand, self.offer(b"abcd")), [(b"HAVE", [b"0", b"8"], b"")])
        self.assertEqual(self.say(hand, self.chunk(0, b"ab")), [(b"TAKEN", [b"2"], b"")])
        self.assertEqual(self.say(hand, self.chunk(2, b"cd")), [(b"TAKEN", [b"4"], b""), (b"DONE", [], b"")])

    def test_breaches(self) -> None:
        offer = self.offer(b"abcd")
        for data, reason in (
            (self.chunk(0, b"ab"), "nobody asked for"),
            (self.chunk(1, b"ab"), "2 bytes at 1 where 0 of 4"),
            (self.chunk(0, b""), "0 bytes at 0"),
            (self.chunk(0, b"abcde"), "5 bytes at 0"),
            (framed(b"CHUNK 0 00000000", b"ab"), "checksum"),
            (framed(b"CHUNK 0 x", b"ab"), "checksum"),
            (offer, "second SNAPSHOT"),
            (framed(b"RAFT 9", b""), "no verb"),
        ):
            hand = self.sender()
            if reason != "nobody asked for":
                self.say(hand, offer)
            self.ends(self.say(hand, data), b"grammar", reason)
            self.assertTrue(hand.gone)
        hand = self.sender()
        self.ends(self.say(hand, framed(b"SNAPSHOT 7 1 9 4 abc", b"")), b"grammar", "SHA-256")

    def test_a_whole_that_isnt_what_it_should_be(self) -> None:
        hand = self.sender()
        self.say(hand, self.offer(b"abcd"))
        came = self.say(hand, self.chunk(0, b"abcX"))
        self.ends(came, b"damaged", "isn't what its SHA-256 says")
        self.assertEqual(self.one.take("snapshot_received"), [])

    def test_a_sender_that_stalls(self) -> None:
        hand = self.sender(snapshot_stall=5.0)
        self.say(hand, self.offer(b"abcd"))
        self.network.run(4.9)
        self.assertFalse(hand.gone)
        self.network.run(0.3)
        self.ends(hand.lines(), b"timeout", "nothing of the snapshot")

    def test_a_sender_that_offers_nothing(self) -> None:
        hand = self.sender(snapshot_stall=5.0)
        self.network.run(5.2)
        self.ends(hand.lines(), b"timeout", "nothing of the snapshot")

    def test_a_newer_connection_takes_over(self) -> None:
        older = self.sender()
        self.say(older, self.offer(b"abcd"))
        self.say(older, self.chunk(0, b"ab"))
        newer = self.another()
        self.assertEqual(self.say(newer, self.offer(b"abcd")), [(b"HAVE", [b"2", b"8"], b"")])
        self.ends(older.lines(), b"replaced", "newer connection")

    def test_another_store_has_to_wait(self) -> None:
        older = self.sender()
        self.say(older, self.offer(b"abcd"))
        newer = self.another(3)
        self.ends(self.say(newer, self.offer(b"abcd")), b"busy", "is arriving")
        self.assertFalse(older.gone)
        # Of another region it needn't.
        other = self.another(3)
        self.assertEqual(self.say(other, self.offer(b"abcd", region_id=8)), [(b"HAVE", [b"0", b"8"], b"")])

    def test_one_that_arrived_is_not_taken_again(self) -> None:
        hand = self.sender()
        self.say(hand, self.offer(b""))
        self.assertEqual(self.say(self.another(), self.offer(b"")), [(b"DONE", [], b"")])
        # Sent anew it is.
        self.assertEqual(
            self.say(self.another(), self.offer(b"", count=2)), [(b"HAVE", [b"0", b"8"], b""), (b"DONE", [], b"")]
        )

    def test_arrivals_at_the_limit_and_one_past(self) -> None:
        arrivals = Arrivals(cast(Any, None))
        for count in range(ARRIVED_MAX):
            arrivals.arrived(1, count)
        self.assertTrue(arrivals.has_arrived(1, 0))
        arrivals.arrived(1, ARRIVED_MAX)
        self.assertFalse(arrivals.has_arrived(1, 0))
        self.assertTrue(arrivals.has_arrived(1, 1))


@implementer(ISnapshotSink)
class FailingSink:
    """
    A file in memory, whose disk fails at one thing.

    @ivar closed: How often it was let go of.
    """

    def __init__(self, fails_at: str, data: bytes) -> None:
        self._fails_at = fails_at
        self._data = data
        self.kept = len(data)
        self.closed = 0

    def _do(self, what: str) -> None:
        if what == self._fails_at:
            raise OSError(28, "No space left on device")

    def read(self, offset: int, size: int) -> bytes:
        """Read."""
        self._do("read")
        return self._data[offset : offset + size]

    def write(self, data: bytes) -> None:
        """Append."""
        self._do("write")
        self.kept += len(data)

    def finish(self) -> Deferred[str]:
        """Finish, and let go."""
        self.closed += 1
        return execute(self._finish)

    def _finish(self) -> str:
        self._do("finish")
        return "path"

    def discard(self) -> None:
        """Delete, and let go."""
        self.closed += 1
        self._do("discard")

    def close(self) -> None:
        """Let go."""
        self.closed += 1


@implementer(ISnapshotFiles)
class OneSink:
    """Gives one sink, or fails."""

    def __init__(self, sink: FailingSink | None) -> None:
        self._sink = sink

    def open(self, path: str) -> ISnapshotFile:
        """Open nothing."""
        raise OSError(2, "No such file or directory")

    def sink(self, store_id: int, region_id: int, digest: str, size: int) -> ISnapshotSink:
        """Give it."""
        if self._sink is None:
            raise OSError(13, "Permission denied")
        return self._sink


class DiskTests(ByHandCase):
    """Disks that fail while a snapshot arrives."""

    def failing(self, at: str, kept: bytes = b"") -> tuple[Hand, FailingSink]:
        """Make a store whose disk fails, and a connection to it."""
        hand = self.sender()
        sink = FailingSink(at, kept)
        verifyObject(ISnapshotSink, sink)
        self.one.peering.acceptor._arrivals.files = OneSink(sink)
        return hand, sink

    def test_each_thing(self) -> None:
        for at, kept, code, reason in (
            ("read", b"a", b"failed", "No space left"),
            ("write", b"", b"failed", "No space left"),
            ("finish", b"", b"failed", "No space left"),
            ("discard", b"abcde", b"failed", "No space left"),
            ("nothing", b"abcde", b"damaged", "more of it was there"),
        ):
            hand, sink = self.failing(at, kept)
            came = self.say(hand, self.offer(b"abcd"))
            if at in ("write", "finish"):
                came = self.say(hand, self.chunk(0, b"abcd"))
            self.ends(came, code, reason)
            self.assertEqual((sink.closed, self.one.take("snapshot_received")), (1, []), at)
            # Another may come.
            self.one.peering.acceptor._arrivals.files = OneSink(FailingSink("nothing", b""))
            self.assertEqual(self.say(self.another(), self.offer(b"abcd")), [(b"HAVE", [b"0", b"8"], b"")])

    def test_a_file_that_cant_be_opened(self) -> None:
        hand = self.sender()
        self.one.peering.acceptor._arrivals.files = OneSink(None)
        self.ends(self.say(hand, self.offer(b"abcd")), b"failed", "Permission denied")

    def test_a_connection_lost_while_what_there_is_is_read(self) -> None:
        hand, sink = self.failing("nothing", b"abc")
        transport: Any = hand.transport
        transport.write(self.offer(b"abcd"))
        for wire in self.network.wires:
            wire.move(1 << 20)
        transport.abortConnection()
        self.network.settle()
        self.assertEqual(sink.closed, 1)

    def test_a_file_being_finished_is_not_taken_over(self) -> None:
        hand, sink = self.failing("nothing")
        finished: Deferred[str] = Deferred()
        replaced: Any = sink
        replaced.finish = lambda: finished
        self.assertEqual(len(self.say(hand, self.offer(b""))), 1)
        transport: Any = hand.transport
        transport.abortConnection()
        self.network.settle()
        self.ends(self.say(self.another(), self.offer(b"")), b"busy", "is arriving")
        path = Path(self.mktemp())
        path.write_bytes(b"")
        finished.callback(str(path))
        self.assertEqual(len(self.one.take("snapshot_received")), 1)
        self.assertEqual(self.say(self.another(), self.offer(b"")), [(b"DONE", [], b"")])


class ReceiverBreachTests(SnapshotCase):
    """What a receiver may do wrong."""

    def test_breaches(self) -> None:
        for said, reason in (
            (b"HAVE 0 8\r\n", "a second HAVE"),
            (b"TAKEN 0\r\n", "TAKEN line says 0"),
            (b"TAKEN 99999999\r\n", "TAKEN line says 99999999"),
            (b"DONE\r\n", "before everything was taken"),
            (b"CHUNK 0\r\n", "no verb"),
        ):
            network, one, two = self.stores(snapshot_rate=4 * CHUNK_BYTES)
            sent = self.send(one, LARGE)
            network.run(0.5)
            near, far = sides(network)
            far.write(said)
            network.settle()
            self.assertIn(reason.encode(), near.sent)
            self.assertEqual(one.figures.breaches, 1)
            network.run(20)
            self.successResultOf(sent)

    def test_more_than_there_is_and_credit_at_the_limit_and_one_past(self) -> None:
        for said, breaches in (
            (b"HAVE 1 1024\r\n", 0),
            (b"HAVE 2 1\r\n", 1),
            (b"HAVE 0 0\r\n", 1),
            (b"HAVE 0 1025\r\n", 1),
        ):
            network, one, two = self.stores()
            sent = self.send(one, b"x")
            while not network.wires or b"SNAPSHOT" not in sides(network)[0].sent:
                for wire in network.wires:
                    wire.move(1 << 20)
                network.clock.advance(0)
            near, far = sides(network)
            far.write(said)
            far.move(1 << 20)
            self.assertEqual(one.figures.breaches, breaches, said)
            sent.addErrback(lambda failure: None)
            sent.cancel()
