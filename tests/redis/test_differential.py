"""
Sequences of commands for our store and a real redis-server: the short form of C{make proof-differential}.
"""

from __future__ import annotations

import shlex
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.comparison import Comparison, Differs, compare_sequences
from tests.instant_store import TABLE
from tests.real_redis import REDIS_SERVER
from tests.redis_server import RedisServer
from tests.sequences import BLOCKING, BUDGETS, DISTURB, MAIN, OTHER, WAITER, CommandSequence, Step, load_forms, words_of
from tests.sides import InstantSide, Side, SocketSide

#: Each gives some ten sequences.
SEEDS_OF_A_TEST = 8

#: What once differed, as short as it could be made. C{2} or C{3} is the protocol, C{/} begins a command of another
#: client, C{!} what happens to our memory.
ONCE_DIFFERENT = """
2 EXEC limit
2 MULTI; EXEC limit; EXEC
2 WATCH s1; MULTI; EXEC limit; /SET s1 a; MULTI; PING; EXEC
2 ZADD z1 1e17 a; ZSCAN z1 0
3 ZADD z1 1e17 a 4611686018427387904 b 9e18 c -1.5 d; ZSCAN z1 0
2 ZADD z1 1e17 a; ZADD z1 1 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; ZSCAN z1 0
2 MULTI; HELLO 3; GET s1; EXEC
3 MULTI; HELLO 2; GET s1; SET s1 a; GET s1; EXEC
2 PEXPIREAT s1 1795579491000 '\\xff\\x00'
2 RESTORE s1 9223372036854775807 '\\x00\\x03abc\\n\\x00\\xd9\\xac0=Ar\\xa2\\xe2'; EXISTS s1
2 SET s1 a; RESTORE s1 9223372036854775807 '\\x00\\x03abc\\n\\x00\\xd9\\xac0=Ar\\xa2\\xe2' REPLACE; EXISTS s1
3 RESTORE s1 9223372036854775807 '\\x00\\x03abc\\n\\x00\\xd9\\xac0=Ar\\xa2\\xe2' ABSTTL; PEXPIRETIME s1; !flush; GET s1
"""


def steps_of(line: str) -> tuple[Step, ...]:
    """Read a line of L{ONCE_DIFFERENT} from behind the protocol."""
    steps: list[Step] = []
    for text in line.split(";"):
        words = [word.encode("latin-1").decode("unicode_escape").encode("latin-1") for word in shlex.split(text)]
        if words[0].startswith(b"!"):
            steps.append(Step(DISTURB, (words[0][1:],)))
            continue
        who = OTHER if words[0].startswith(b"/") else WAITER if words[0] in BLOCKING else MAIN
        steps.append(Step(who, (words[0].removeprefix(b"/"), *words[1:])))
    return tuple(steps)


class Compared(SynchronousTestCase):
    """A real server to compare with."""

    if REDIS_SERVER is None:
        skip = "redis-server isn't installed"

    def setUp(self) -> None:
        server = RedisServer()
        self.addCleanup(server.close)
        self.comparison = Comparison(InstantSide(), SocketSide(server.connect))


class WhatOnceDiffered(Compared):
    """Each difference that was found stays away."""

    def test_each(self) -> None:
        for line in ONCE_DIFFERENT.strip().splitlines():
            for budget in BUDGETS:
                self.comparison.check(CommandSequence(int(line[0]), budget, steps_of(line[2:])))


class RandomSequences(Compared):
    """Sequences that Hypothesis makes get the same replies, and leave the same data."""

    def compare(self, first: int) -> None:
        now_s = int(time.time())
        for number in range(first, first + SEEDS_OF_A_TEST):
            compare_sequences(self.comparison, number, now_s)
        self.assertGreaterEqual(self.comparison.sequences, 10 * SEEDS_OF_A_TEST)
        self.assertGreaterEqual(self.comparison.commands, 25 * self.comparison.sequences)

    def test_first(self) -> None:
        self.compare(0)

    def test_second(self) -> None:
        self.compare(100)

    def test_third(self) -> None:
        self.compare(200)

    def test_fourth(self) -> None:
        self.compare(300)


class Lying(InstantSide):
    """Our store, but one command is answered wrongly."""

    def __init__(self, name: bytes, right: bytes, wrong: bytes) -> None:
        super().__init__()
        self.name = name
        self.right = right
        self.wrong = wrong

    def send(self, who: str, arguments: tuple[bytes, ...]) -> bytes:
        """Run a command."""
        reply = super().send(who, arguments)
        return reply.replace(self.right, self.wrong) if arguments[0] == self.name else reply


class Forgetful(InstantSide):
    """Our store, but it loses a key when something happens to the memory."""

    def disturb(self, how: bytes) -> None:
        """Lose it."""
        self.send(OTHER, (b"DEL", b"s1"))


class Noticing(SynchronousTestCase):
    """The comparison sees what is wrong."""

    def found(self, line: str, right: bytes, wrong: bytes) -> str | None:
        """Run a line, with its last command answered wrongly on one side."""
        sequence = CommandSequence(2, BUDGETS[0], steps_of(line))
        liar = Lying(sequence.steps[-1].arguments[0], right, wrong)
        self.assertIsNone(Comparison(InstantSide(), InstantSide()).difference(sequence))
        return Comparison(liar, InstantSide()).difference(sequence)

    def test_a_wrong_reply(self) -> None:
        for line, right, wrong in [
            ("INCR s1", b":1", b":2"),
            ("SADD e1 a b; SMEMBERS e1", b"a", b"c"),
            ("HSET h1 a 1 b 2; HGETALL h1", b"1", b"2"),
            ("SADD e1 a b; SSCAN e1 0", b"a", b"c"),
            ("SADD e1 a; SPOP e1", b"a", b"c"),
            ("SADD e1 a b; SRANDMEMBER e1 1", b"\r\n", b"\r\nx"),
            ("SET s1 a EX 100; TTL s1", b":", b":2"),
            ("MULTI; INCR s1; EXEC", b":1", b":3"),
            ("WATCH s1; /SET s1 a; MULTI; GET s1; EXEC", b"*-1\r\n", b"*1\r\n$1\r\na\r\n"),
            ("ZADD z1 1 a; DEL z1", b":1", b":0"),
        ]:
            self.assertIsNotNone(self.found(line, right, wrong), line)

    def test_another_order_where_there_is_none(self) -> None:
        swapped = b"$1\r\nb\r\n$1\r\na\r\n"
        members = InstantSide()
        members.begin(2, BUDGETS[0])
        for step in steps_of("SADD e1 a b"):
            members.send(step.who, step.arguments)
        ordered = members.send(MAIN, (b"SMEMBERS", b"e1")).partition(b"\r\n")[2]
        if swapped == ordered:
            swapped = b"$1\r\na\r\n$1\r\nb\r\n"
        self.assertIsNone(self.found("SADD e1 a b; SMEMBERS e1", ordered, swapped))

    def test_other_data_at_the_end(self) -> None:
        sequence = CommandSequence(3, BUDGETS[0], steps_of("SET s1 a; !flush"))
        self.assertIsNotNone(Comparison(Forgetful(), InstantSide()).difference(sequence))

    def test_a_client_that_waits(self) -> None:
        found = self.found("BLPOP l1 0; RPUSH l1 a b; LLEN l1", b":1", b":2")
        self.assertIsNotNone(found)


class Making(SynchronousTestCase):
    """Hypothesis makes the sequences, and makes them small where they fail."""

    def test_all_commands_on_data_are_there(self) -> None:
        known = {next(words_of(form.parts)).decode().lower() for form in load_forms()}
        on_data = {name.partition("|")[0] for name in TABLE if not name.startswith("raw.")}
        # What these answer is about the server.
        self.assertEqual(on_data - known - {"config", "info", "memory"}, set())

    def test_a_seed_gives_the_same_sequences_each_time(self) -> None:
        class Recorder(Comparison):
            """Keeps what it's given."""

            def __init__(self) -> None:
                super().__init__(InstantSide(), InstantSide())
                self.seen: list[CommandSequence] = []

            def check(self, sequence: CommandSequence) -> None:
                """Keep it."""
                self.seen.append(sequence)

        one, same, other = Recorder(), Recorder(), Recorder()
        compare_sequences(one, 5, now_s=1)
        compare_sequences(same, 5, now_s=1)
        compare_sequences(other, 6, now_s=1)
        self.assertEqual(one.seen, same.seen)
        self.assertNotEqual(one.seen, other.seen)

    def smallest(self, ours: Side) -> list[str]:
        """Give the lines that tell of a difference from our right store: the setting, the steps, what differed."""
        comparison = Comparison(ours, InstantSide())
        with self.assertRaises(Differs) as caught:
            for number in range(100):
                compare_sequences(comparison, number, now_s=1)
        return str(caught.exception).splitlines()

    def test_only_what_matters_stays(self) -> None:
        self.assertEqual(
            self.smallest(Lying(b"SET", b"+OK", b"+KO")),
            [
                f"RESP2, {BUDGETS[0]} bytes for values",
                "    main: 'SET' 's1' 'a'",
                "step 0, main: 'SET' 's1' 'a': b'+KO\\r\\n' instead of b'+OK\\r\\n'",
            ],
        )

    def test_data_that_is_lost(self) -> None:
        setting, *steps, told = self.smallest(Forgetful())
        self.assertEqual(len(steps), 2, steps)
        self.assertIn("'s1'", steps[0])
        self.assertEqual(steps[1], "    disturb: 'freeze'")
        self.assertTrue(told.startswith("at the end database b'0' has b'*0"), told)
