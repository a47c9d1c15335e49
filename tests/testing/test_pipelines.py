"""Clients that don't wait for replies, and clients that raise a counter under WATCH."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.testing.one_store import STORE, Variant, World
from tinykv.resp.reply_reader import ErrorReply
from tinykv.testing.redis_space import Failed
from tinykv.testing.simulation.clock import NodeClock, Process
from tinykv.testing.simulation.events import SECOND, Events
from tinykv.testing.simulation.network import Network
from tinykv.testing.simulation.optimists import Optimist
from tinykv.testing.simulation.pipelines import Pipeliner
from tinykv.testing.simulation.ports import RespPort, Together
from tinykv.testing.simulation.streams import Streams
from tinykv.testing.simulation.workload import Done, Request, Silence


class PipelinerTests(SynchronousTestCase):
    """One with a store, and one that's told what happened."""

    def begun(self, seconds: int) -> tuple[World, Pipeliner]:
        """Give a store, and a client that has begun, and ends after so many seconds."""
        world = World(1, Variant())
        self.process = Process(world.events, NodeClock(world.events), "client")
        client = Pipeliner(world.events, world.streams, self.process, [STORE], key=b"list", end_us=seconds * SECOND)
        client.start()
        return world, client

    def read(self, world: World, client: Pipeliner) -> None:
        """Let the client's list be read."""
        client.read(RespPort(world.streams, self.process, [STORE], world.events.random("reader")))

    def test_all_goes_well(self) -> None:
        """All is there, in order."""
        world, client = self.begun(5)
        world.events.run_until(6 * SECOND)
        self.read(world, client)
        world.events.run_until(8 * SECOND)
        assert client.found is not None
        self.assertEqual((client.problems(), len(client.found)), ([], client.sent))
        self.assertGreater(client.sent, 10)

    def test_a_store_that_goes_away(self) -> None:
        """It connects anew, and what it doesn't know of may be there or not."""
        world, client = self.begun(10)
        for second in range(1, 10):
            world.events.at(second * SECOND, "it ends", world.crash, STORE)
            world.events.at(second * SECOND + SECOND // 2, "it starts", world.restart, STORE)
        world.events.run_until(15 * SECOND)
        self.read(world, client)
        world.events.run_until(17 * SECOND)
        assert client.found is not None
        self.assertEqual(client.problems(), [])
        self.assertLess(len(client.found), client.sent)

    def test_it_is_read_in_the_midst(self) -> None:
        """Then the client goes away, so that nothing is acknowledged which the list didn't hold when it was read."""
        world, client = self.begun(5)
        world.events.run_until(2 * SECOND)
        self.read(world, client)
        world.events.run_until(8 * SECOND)
        assert client.found is not None
        self.assertEqual(client.problems(), [])

    def told(self, found: list[bytes], **replies: Any) -> list[str]:
        """Say what is wrong with a list, where each of some values got a reply, or none."""
        events = Events(1)
        streams = Streams(events, Network(events))
        client = Pipeliner(events, streams, Process(events, NodeClock(events), "c"), [], key=b"list", end_us=0)
        for name, reply in replies.items():
            client.noted(_value(name))
            if reply is not None:
                client.replied(_value(name), reply)
        client.found = found
        return client.problems()

    def test_what_is_wrong(self) -> None:
        """Order, loss, repetition, and what was refused."""
        refused, unknown = ErrorReply(b"CLUSTERDOWN no"), ErrorReply(b"TIMEOUT outcome unknown")
        self.assertEqual(self.told([b"1.1", b"1.2"], a1=1, a2=2), [])
        self.assertEqual(self.told([b"1.2"], a1=refused, a2=1), [])
        self.assertEqual(self.told([b"1.2"], a1=unknown, a2=1, a3=None), [])
        self.assertEqual(self.told([b"2.2", b"1.1"], a1=unknown, b2=1), [])
        for found, replies, says in (
            ([b"1.2", b"1.1"], {"a1": 2, "a2": 1}, "out of order"),
            ([b"1.1"], {"a1": 1, "a2": 2}, "lacks"),
            ([b"1.1", b"1.1"], {"a1": 1}, "twice"),
            ([b"1.1"], {"a1": refused}, "was refused"),
            ([], {"a1": ErrorReply(b"WRONGTYPE no")}, "can't take"),
        ):
            problems = self.told(found, **replies)
            self.assertEqual([says in problem for problem in problems], [True], problems)


def _value(name: str) -> bytes:
    return b"%d.%d" % ("ab".index(name[0]) + 1, int(name[1:]))


class Port:
    """Answers as it's told."""

    def __init__(self, events: Events, answers: list[Any]) -> None:
        self.answers = answers
        self.requests: list[Request] = []
        self.renewed = 0
        self._events = events

    def send(self, request: Request, done: Done) -> None:
        """Answer, if there's an answer left."""
        self.requests.append(request)
        if self.answers:
            self._events.after(1, "answers", done, self.answers.pop(0))

    def renew(self) -> None:
        """Note it."""
        self.renewed += 1


class OptimistTests(SynchronousTestCase):
    """One that's told what happened."""

    def client(self, *answers: Any, seconds: int = 1) -> tuple[Optimist, Port]:
        """Let one work."""
        events = Events(3)
        port = Port(events, list(answers))
        port_given: Any = port
        client = Optimist(events, port_given, "client", key=b"n", pause_us=1000, end_us=seconds * SECOND, share=1.0)
        client.start()
        events.run_until(seconds * SECOND)
        return client, port

    def test_nothing_in_between(self) -> None:
        """Or EXEC did nothing."""
        client, port = self.client(("OK", b"4"), (5,), ("OK", None), (1,), ("OK", b"7"), None)
        self.assertEqual((client.problems, client.rounds), ([], 3))
        self.assertIsInstance(port.requests[0], Together)

    def test_something_in_between(self) -> None:
        """It's told."""
        client, _ = self.client(("OK", b"4"), (6,))
        self.assertEqual(len(client.problems), 1)
        self.assertIn("read 4; EXEC raised it nonetheless, to 6", client.problems[0])

    def test_answers_that_say_little(self) -> None:
        """It goes elsewhere, when nothing comes as well."""
        client, port = self.client(
            ("OK", Failed(b"CLUSTERDOWN")), Silence.LOST, ("OK", b"4"), Failed(b"TIMEOUT"), seconds=5
        )
        self.assertEqual((client.problems, client.rounds, port.renewed), ([], 0, 4))
