"""Connections keep bytes whole and in order over a network that doesn't."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.error import TimeoutError as ConnectionTimeout
from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tinykv.testing.simulation.clock import NodeClock, Process
from tinykv.testing.simulation.events import MILLISECOND, SECOND, Events
from tinykv.testing.simulation.network import GOOD, Network, Quality
from tinykv.testing.simulation.streams import GIVE_UP_US, WINDOW_BYTES, Streams

ROUGH = Quality(jitter_us=20_000, loss=0.2, duplication=0.1, fifo=False)


class Noting(Protocol):
    """Notes what happens to it."""

    transport: Any

    def __init__(self) -> None:
        self.heard = b""
        self.ended: list[type[BaseException]] = []

    def dataReceived(self, data: bytes) -> None:
        """Note bytes."""
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note the end."""
        assert reason.value is not None
        self.ended.append(type(reason.value))


class Pushing:
    """A producer that counts what it's asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def pauseProducing(self) -> None:
        """Note it."""
        self.asked.append("pause")

    def resumeProducing(self) -> None:
        """Note it."""
        self.asked.append("resume")

    def stopProducing(self) -> None:
        """Note it."""
        self.asked.append("stop")


class StreamsTests(SynchronousTestCase):
    """A client and a server."""

    def begin(self, quality: Quality = GOOD, seed: int = 1) -> None:
        self.events = Events(seed)
        self.network = Network(self.events, quality)
        self.streams = Streams(self.events, self.network)
        self.client = Process(self.events, NodeClock(self.events), "client")
        self.accepted: list[tuple[str, Noting]] = []
        self.listen()
        self.failures: list[type[Exception]] = []

    def listen(self) -> None:
        self.server = Process(self.events, NodeClock(self.events), "server")

        def accept(address: str) -> Noting:
            protocol = Noting()
            self.accepted.append((address, protocol))
            return protocol

        self.streams.listen("server", self.server, accept)

    def connect(self) -> Noting:
        protocol = Noting()
        self.streams.connect(
            "client", self.client, "server", protocol, lambda reason: self.failures.append(type(reason))
        )
        self.pass_time(SECOND)
        return protocol

    def pass_time(self, duration: int) -> None:
        self.events.run_until(self.events.now + duration)

    def test_both_ways(self) -> None:
        self.begin()
        here = self.connect()
        ((address, there),) = self.accepted
        verifyObject(ITransport, here.transport)
        self.assertEqual((address, here.transport.getPeer()), ("client", there.transport.getHost()))
        self.assertNotEqual(here.transport.getPeer(), here.transport.getHost())
        here.transport.write(b"a")
        here.transport.writeSequence([b"b", b"c"])
        there.transport.write(b"x")
        self.assertEqual(there.heard, b"")
        self.pass_time(10 * MILLISECOND)
        self.assertEqual((there.heard, here.heard), (b"abc", b"x"))

    def test_whole_and_in_order_over_a_rough_network(self) -> None:
        for seed in range(10):
            self.begin(ROUGH, seed)
            here = self.connect()
            self.pass_time(5 * SECOND)
            said = b"".join(b"%d," % number for number in range(200))
            for number in range(200):
                self.events.at(
                    self.events.now + number * 1000, "says", here.transport.write, b"%d," % number, owner=self.client
                )
            self.pass_time(60 * SECOND)
            self.assertEqual(self.accepted[-1][1].heard, said)

    def test_a_close_comes_behind_what_was_written(self) -> None:
        self.begin()
        here = self.connect()
        there = self.accepted[0][1]
        here.transport.write(b"last words")
        here.transport.loseConnection()
        here.transport.write(b"too late")
        self.pass_time(SECOND)
        self.assertEqual((there.heard, there.ended, here.ended), (b"last words", [ConnectionDone], [ConnectionDone]))
        there.transport.write(b"nobody")
        self.pass_time(SECOND)
        self.assertEqual(here.heard, b"")

    def test_an_abort(self) -> None:
        self.begin()
        here = self.connect()
        there = self.accepted[0][1]
        there.transport.abortConnection()
        self.pass_time(SECOND)
        self.assertEqual((there.ended, here.ended), ([ConnectionLost], [ConnectionLost]))

    def test_a_cut_holds_bytes_up(self) -> None:
        self.begin()
        here = self.connect()
        self.network.cut("client", "server")
        here.transport.write(b"a")
        self.pass_time(2 * SECOND)
        here.transport.write(b"b")
        self.assertEqual(self.accepted[0][1].heard, b"")
        self.network.heal("client", "server")
        self.pass_time(SECOND)
        self.assertEqual(self.accepted[0][1].heard, b"ab")

    def test_an_end_that_gets_nothing_through_gives_up(self) -> None:
        self.begin()
        here = self.connect()
        there = self.accepted[0][1]
        self.network.cut("client", "server")
        here.transport.write(b"a")
        self.pass_time(GIVE_UP_US + SECOND)
        self.assertEqual((here.ended, there.ended), ([ConnectionTimeout], []))
        # The other end learns it when it has something to say.
        there.transport.write(b"hello")
        self.pass_time(SECOND)
        self.assertEqual(there.ended, [])
        self.network.heal("client", "server")
        self.pass_time(SECOND)
        self.assertEqual(there.ended, [ConnectionLost])

    def test_nobody_listens(self) -> None:
        self.begin()
        self.server.kill()
        here = self.connect()
        self.assertEqual((self.failures, here.connected), ([ConnectionRefusedError], 0))

    def test_nothing_is_heard(self) -> None:
        self.begin()
        self.network.cut("server", "client")
        self.server.kill()
        self.connect()
        self.pass_time(GIVE_UP_US + SECOND)
        self.assertEqual(self.failures, [ConnectionTimeout])

    def test_connecting_outlives_a_cut(self) -> None:
        self.begin()
        self.network.cut("client", "server")
        here = self.connect()
        self.assertFalse(here.connected)
        self.network.heal("client", "server")
        self.pass_time(SECOND)
        self.assertTrue(here.connected)
        self.assertEqual((len(self.accepted), self.failures), (1, []))

    def test_a_killed_process_resets(self) -> None:
        self.begin()
        here = self.connect()
        self.server.kill()
        self.streams.killed(self.server)
        self.pass_time(SECOND)
        self.assertEqual(here.ended, [ConnectionLost])

    def test_a_machine_without_power_says_nothing_until_it_is_up_again(self) -> None:
        self.begin()
        here = self.connect()
        self.server.kill()
        self.streams.lost_power(self.server)
        here.transport.write(b"a")
        self.pass_time(5 * SECOND)
        self.assertEqual(here.ended, [])
        self.listen()
        self.pass_time(SECOND)
        self.assertEqual((here.ended, self.accepted[0][1].heard), ([ConnectionLost], b""))

    def test_a_paused_process_hears_later(self) -> None:
        self.begin()
        here = self.connect()
        self.server.pause()
        here.transport.write(b"a")
        self.pass_time(2 * GIVE_UP_US)
        self.assertEqual((self.accepted[0][1].heard, here.ended), (b"", []))
        self.server.resume()
        self.pass_time(0)
        self.assertEqual(self.accepted[0][1].heard, b"a")

    def test_who_does_not_read_makes_producers_pause(self) -> None:
        self.begin()
        here = self.connect()
        there = self.accepted[0][1]
        producer = Pushing()
        here.transport.registerProducer(producer, True)
        there.transport.pauseProducing()
        here.transport.write(b"x" * WINDOW_BYTES)
        self.assertEqual(producer.asked, [])
        here.transport.write(b"x")
        self.assertEqual(producer.asked, ["pause"])
        self.pass_time(SECOND)
        self.assertEqual((producer.asked, there.heard), (["pause"], b""))
        there.transport.resumeProducing()
        self.pass_time(SECOND)
        self.assertEqual((producer.asked, len(there.heard)), (["pause", "resume"], WINDOW_BYTES + 1))
        here.transport.loseConnection()
        self.pass_time(SECOND)
        self.assertEqual(there.ended, [])
        here.transport.unregisterProducer()
        self.pass_time(SECOND)
        self.assertEqual(there.ended, [ConnectionDone])

    def test_a_pull_producer_is_asked_as_there_is_room(self) -> None:
        self.begin()
        here = self.connect()
        producer = Pushing()
        here.transport.registerProducer(producer, False)
        self.pass_time(SECOND)
        self.assertEqual(producer.asked, ["resume"])
        here.transport.write(b"x")
        self.pass_time(SECOND)
        self.assertEqual(producer.asked.count("pause"), 0)
        self.assertGreater(producer.asked.count("resume"), 1)
