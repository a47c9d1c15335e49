"""Clients: what they ask for, and what they make of answers."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase

from tinykv.testing.history import Operation
from tinykv.testing.linearizability import Verdict, accepts, check
from tinykv.testing.redis_commands import COMMANDS, keys_of
from tinykv.testing.redis_model import Exec, RedisModel, Watch
from tinykv.testing.redis_space import Failed, State
from tinykv.testing.simulation.clock import NodeClock, Process
from tinykv.testing.simulation.events import SECOND, Events
from tinykv.testing.simulation.network import Network
from tinykv.testing.simulation.ports import RespPort
from tinykv.testing.simulation.streams import Streams
from tinykv.testing.simulation.workload import Done, Mix, Request, Requests, Silence, Workload

MODEL = RedisModel()


class Copy:
    """A single copy of the data that answers at once, or as it's told to."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._state: State = MODEL.initial()
        self.renewed = 0
        #: What to answer instead; None for the truth.
        self.instead: Callable[[Request], Any] = lambda request: None
        #: Answers that are held back.
        self.held: list[Done] = []
        self.holding = False

    def send(self, request: Request, done: Done) -> None:
        """Answer in a moment."""
        answer = self.instead(request)
        if self.holding:
            self.held.append(done)
        elif answer is not None:
            self._events.after(100, "answer", done, answer)
        else:
            self._events.after(100, "answer", self._do, request, done)

    def _do(self, request: Request, done: Done) -> None:
        # What would wait is answered as if its time were over, so it counts as called long ago.
        here = Operation(0, 0, self._events.now - 10 * SECOND, self._events.now, request)
        for expected, state in MODEL.step(self._state, here):
            for output in _outputs(expected):
                if accepts(expected, output):
                    self._state = state
                    done(output)
                    return
        raise AssertionError(request)

    def renew(self) -> None:
        """Count."""
        self.renewed += 1


def _outputs(expected: Any) -> list[Any]:
    if hasattr(expected, "expected"):
        answers = []
        for part in expected.expected:
            answers.append(_outputs(part)[0])
        return [tuple(answers)]
    if hasattr(expected, "elements"):
        return [expected.elements]
    return [expected.low] if hasattr(expected, "low") else [expected]


class RequestsTests(SynchronousTestCase):
    """What is asked for."""

    def drawn(self, seed: int, number: int = 1, mix: Mix | None = None) -> list[Request]:
        requests = Requests(Random(seed), mix or Mix(), number)
        found = []
        for _ in range(3000):
            found.append(request := requests.next())
            if isinstance(request, Watch):
                found.append(requests.watched(request))
        return found

    def commands(self, requests: list[Request]) -> list[tuple[bytes, ...]]:
        found = []
        for request in requests:
            if isinstance(request, Exec):
                found += request.commands
            elif not isinstance(request, Watch):
                found.append(request)
        return found

    def test_the_model_knows_them_and_all_of_it_is_used(self) -> None:
        flushes = (b"FLUSHALL", b"FLUSHDB")
        mixes = (Mix(), *(Mix().with_weights(flush=6).flushing(flush) for flush in flushes))
        names = {command[0] for mix in mixes for command in self.commands(self.drawn(1, mix=mix))}
        self.assertEqual(names - COMMANDS.keys(), set())
        self.assertEqual(COMMANDS.keys() - names, {b"PERSIST", b"LLEN", b"SREM"})

    def test_groups_stay_apart(self) -> None:
        for request in self.drawn(1):
            keys = MODEL.keys(Operation(0, 0, 0, None, request))
            self.assertEqual(len({key[:2] for key in keys}), 1, request)  # type: ignore[index]

    def test_values_and_tokens_are_unique(self) -> None:
        def values(requests: list[Request]) -> list[bytes]:
            return [
                word
                for command in self.commands(requests)
                for word in command[1:]
                if b"." in word and command[0] not in (b"BLPOP", b"BRPOP")
            ]

        one, other = self.drawn(1, 1), self.drawn(2, 2)
        self.assertEqual(len(set(values(one))), len(values(one)))
        self.assertEqual(set(values(one)) & set(values(other)), set())
        tokens = [{request.token for request in requests if isinstance(request, Watch)} for requests in (one, other)]
        self.assertEqual(tokens[0] & tokens[1], set())
        self.assertEqual(len(tokens[0]), sum(isinstance(request, Watch) for request in one))

    def test_the_seed_decides(self) -> None:
        self.assertEqual(self.drawn(1), self.drawn(1))
        self.assertNotEqual(self.drawn(1), self.drawn(2))

    def test_keys(self) -> None:
        self.assertEqual(keys_of((b"BLPOP", b"a", b"b", b"0")), (b"a", b"b"))
        self.assertEqual(keys_of((b"MSET", b"a", b"1", b"b", b"2")), (b"a", b"b"))
        self.assertEqual(keys_of((b"LRANGE", b"a", b"0", b"-1")), (b"a",))


class WorkloadTests(SynchronousTestCase):
    """What becomes of answers."""

    def begin(self, clients: int = 3, **options: Any) -> None:
        self.events = Events(1)
        self.copy = Copy(self.events)
        self.workload = Workload(self.events, [self.copy] * clients, Mix(**options), end_us=10 * SECOND)
        self.workload.start()

    def run_all(self) -> list[Operation]:
        self.events.run_until(20 * SECOND)
        self.assertFalse(self.workload.busy)
        return self.workload.history.operations

    def test_a_good_history(self) -> None:
        self.begin()
        operations = self.run_all()
        self.assertTrue(100 < len(operations) < 200, len(operations))
        self.assertTrue(all(operation.known for operation in operations))
        self.assertEqual(self.workload.statistics.replies, len(operations))
        # Pops that would wait are given up at once by this copy, which a client notices.
        model = RedisModel(slack_us=2 * SECOND)
        self.assertIs(check(operations, model).verdict, Verdict.LINEARIZABLE)

    def test_a_watch_is_followed_by_its_transaction(self) -> None:
        self.begin(1)
        operations = self.run_all()
        for one, other in zip(operations, operations[1:], strict=False):
            if isinstance(one.input, Watch):
                assert isinstance(other.input, Exec)
                self.assertEqual((other.input.token, other.input.watched), (one.input.token, one.input.keys))

    def test_what_did_nothing_is_no_part_of_the_history(self) -> None:
        for answer in (Failed(b"TRYAGAIN"), Failed(b"CLUSTERDOWN"), Silence.NEVER_SENT):
            self.begin()
            self.copy.instead = lambda request, answer=answer: answer
            self.assertEqual(self.run_all(), [])
            self.assertGreater(self.workload.statistics.nothing_done, 50)
            self.assertEqual(self.copy.renewed > 0, answer is Silence.NEVER_SENT)

    def test_unknown_outcomes_and_new_names(self) -> None:
        for answer in (Failed(b"TIMEOUT"), Silence.LOST):
            self.begin()
            self.copy.instead = lambda request, answer=answer: answer
            operations = self.run_all()
            self.assertFalse(any(operation.known for operation in operations))
            self.assertEqual(len({operation.client for operation in operations}), len(operations))
            self.assertEqual(self.copy.renewed, len(operations))

    def test_other_errors_are_replies(self) -> None:
        self.begin()
        self.copy.instead = lambda request: Failed(b"WRONGTYPE")
        self.assertEqual({operation.output for operation in self.run_all()}, {Failed(b"WRONGTYPE")})

    def test_patience_ends_and_a_late_answer_changes_nothing(self) -> None:
        self.begin(1, patience_us=SECOND)
        self.copy.holding = True
        self.events.run_until(9 * SECOND)
        self.assertTrue(4 <= self.workload.statistics.unknown <= 9)
        for done in self.copy.held[:-1]:
            done(b"late")
        self.assertFalse(any(operation.known for operation in self.workload.history.operations))

    def test_at_the_end_everything_is_read(self) -> None:
        self.begin()
        before = len(self.run_all())
        refusals = [Failed(b"TRYAGAIN"), Silence.LOST, Silence.NEVER_SENT]
        self.copy.instead = lambda request: refusals.pop() if refusals else None
        self.workload.look_at_all(self.copy)
        self.assertTrue(self.workload.busy)
        self.events.run_until(40 * SECOND)
        self.assertFalse(self.workload.busy)
        operations = self.workload.history.operations
        self.assertEqual(len(operations) - before, 4 * 8)
        self.assertIs(check(operations, RedisModel(slack_us=2 * SECOND)).verdict, Verdict.LINEARIZABLE)


class Scripted(Protocol):
    """A server that notes requests, and says what it's told."""

    def __init__(self) -> None:
        self.heard = b""

    def dataReceived(self, data: bytes) -> None:
        """Note them."""
        self.heard += data

    def say(self, data: bytes) -> None:
        """Answer."""
        transport: Any = self.transport
        transport.write(data)


class RespPortTests(SynchronousTestCase):
    """A client of the RESP port."""

    def setUp(self) -> None:
        self.events = Events(1)
        self.streams = Streams(self.events, Network(self.events))
        self.server = Process(self.events, NodeClock(self.events), "server")
        self.sessions: list[Scripted] = []
        self.streams.listen("server", self.server, self.accept)
        client = Process(self.events, NodeClock(self.events), "client")
        self.port = RespPort(self.streams, client, ["server"], Random(1))
        self.answers: list[Any] = []

    def accept(self, address: str) -> Scripted:
        self.sessions.append(Scripted())
        return self.sessions[-1]

    def ask(self, request: Request) -> bytes:
        self.port.send(request, self.answers.append)
        self.events.run_until(self.events.now + SECOND)
        return self.sessions[-1].heard if self.sessions else b""

    def say(self, data: bytes) -> Any:
        self.sessions[-1].say(data)
        self.events.run_until(self.events.now + SECOND)
        return self.answers[-1] if self.answers else "nothing"

    def test_requests_and_replies(self) -> None:
        self.assertEqual(self.ask((b"GET", b"a")), b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n")
        for said, output in (
            (b"$1\r\nx\r\n", b"x"),
            (b"+OK\r\n", b"OK"),
            (b":5\r\n", 5),
            (b"$-1\r\n", None),
            (b"*-1\r\n", None),
            (b"*2\r\n$1\r\nx\r\n:1\r\n", (b"x", 1)),
            (b"-WRONGTYPE no\r\n", Failed(b"WRONGTYPE")),
        ):
            self.assertEqual(self.say(said), output)
            self.assertIs(type(self.answers[-1]), type(output))
            self.ask((b"GET", b"a"))
        self.assertEqual(len(self.sessions), 1)

    def test_a_transaction_is_answered_by_its_last_reply(self) -> None:
        heard = self.ask(Exec(1, (b"a",), ((b"GET", b"a"), (b"INCR", b"b"))))
        self.assertEqual(heard.count(b"*"), 4)
        self.assertTrue(heard.startswith(b"*1\r\n$5\r\nMULTI\r\n") and heard.endswith(b"*1\r\n$4\r\nEXEC\r\n"))
        self.assertEqual(self.say(b"+OK\r\n+QUEUED\r\n+QUEUED\r\n"), "nothing")
        self.assertEqual(self.say(b"*2\r\n$-1\r\n:1\r\n"), (None, 1))
        self.ask(Watch(1, (b"a", b"b")))
        self.assertTrue(self.sessions[0].heard.endswith(b"*3\r\n$5\r\nWATCH\r\n$1\r\na\r\n$1\r\nb\r\n"))

    def test_a_connection_that_breaks(self) -> None:
        self.ask((b"GET", b"a"))
        transport: Any = self.sessions[0].transport
        transport.abortConnection()
        self.events.run_until(3 * SECOND)
        self.assertEqual(self.answers, [Silence.LOST])
        self.ask((b"GET", b"b"))
        self.assertEqual(self.answers, [Silence.LOST, Silence.NEVER_SENT])
        self.port.renew()
        self.assertIn(b"$1\r\nc\r\n", self.ask((b"GET", b"c")))
        self.assertEqual(len(self.sessions), 2)

    def test_nobody_listens(self) -> None:
        self.server.kill()
        self.ask((b"GET", b"a"))
        self.assertEqual(self.answers, [Silence.NEVER_SENT])

    def test_what_was_given_up_is_not_answered(self) -> None:
        self.ask((b"GET", b"a"))
        self.port.renew()
        self.port.renew()
        self.events.run_until(5 * SECOND)
        self.assertEqual(self.answers, [])
        self.port.send((b"GET", b"b"), self.answers.append)
        self.port.renew()
        self.events.run_until(10 * SECOND)
        self.assertEqual(self.answers, [])
        self.assertEqual([session.heard for session in self.sessions[1:]], [b""])
