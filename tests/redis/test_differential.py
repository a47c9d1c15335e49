"""
Sequences of commands for our store and a real redis-server: the short form of C{make proof-differential}.
"""

from __future__ import annotations

import shlex
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.comparison import Comparison
from tests.instant_store import TABLE
from tests.real_redis import REDIS_SERVER
from tests.redis_server import RedisServer
from tests.sequences import BLOCKING, DISTURB, MAIN, OTHER, WAITER, Generator, Step, shrink
from tests.sides import InstantSide, SocketSide

#: Memory for live values: plenty, none, a little.
BUDGETS = (1 << 30, 0, 20_000)
LENGTH = 25

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


def steps_of(line: str) -> list[Step]:
    """Read a line of L{ONCE_DIFFERENT}."""
    steps: list[Step] = []
    for text in line.split(";"):
        words = [word.encode("latin-1").decode("unicode_escape").encode("latin-1") for word in shlex.split(text)]
        if words[0].startswith(b"!"):
            steps.append(Step(DISTURB, (words[0][1:],)))
            continue
        who = OTHER if words[0].startswith(b"/") else WAITER if words[0] in BLOCKING else MAIN
        steps.append(Step(who, (words[0].removeprefix(b"/"), *words[1:])))
    return steps


class Compared(SynchronousTestCase):
    """A real server to compare with."""

    if REDIS_SERVER is None:
        skip = "redis-server isn't installed"

    def setUp(self) -> None:
        server = RedisServer()
        self.addCleanup(server.close)
        self.ours = InstantSide()
        self.comparison = Comparison(self.ours, SocketSide(server.connect))

    def compare(self, first: int, count: int) -> None:
        for seed in range(first, first + count):
            generator = Generator(seed, now_s=int(time.time()))
            self.check(generator.steps(LENGTH), generator.proto, BUDGETS[seed % 3], f"seed {seed}")

    def check(self, steps: list[Step], proto: int, budget: int, name: str) -> None:
        self.ours.budget = budget
        found = self.comparison.difference(steps, proto)
        told = "\n".join(["", *map(str, steps)])
        self.assertIsNone(found, f"{name}, RESP{proto}:{told}")
        self.assertEqual(self.ours.defects, [], f"{name}, RESP{proto}:{told}")


class WhatOnceDiffered(Compared):
    """Each difference that was found stays away."""

    def test_each(self) -> None:
        for line in ONCE_DIFFERENT.strip().splitlines():
            for budget in BUDGETS:
                self.check(steps_of(line[2:]), int(line[0]), budget, line)


class RandomSequences(Compared):
    """Random sequences of commands get the same replies, and leave the same data."""

    def test_first(self) -> None:
        self.compare(0, 75)

    def test_second(self) -> None:
        self.compare(75, 75)

    def test_third(self) -> None:
        self.compare(150, 75)

    def test_fourth(self) -> None:
        self.compare(225, 75)


class Lying(InstantSide):
    """Our store, but one command is answered wrongly."""

    name = b""
    right = b""
    wrong = b""

    def send(self, who: str, arguments: tuple[bytes, ...]) -> bytes:
        """Run a command."""
        reply = super().send(who, arguments)
        return reply.replace(self.right, self.wrong) if arguments[0] == self.name else reply


class Noticing(SynchronousTestCase):
    """The comparison sees what is wrong."""

    def found(self, line: str, right: bytes, wrong: bytes) -> str | None:
        """Run a line, with its last command answered wrongly on one side."""
        steps = steps_of(line)
        liar = Lying()
        liar.name, liar.right, liar.wrong = steps[-1].arguments[0], right, wrong
        self.assertIsNone(Comparison(InstantSide(), InstantSide()).difference(steps, 2))
        return Comparison(liar, InstantSide()).difference(steps, 2)

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
        members.begin(2)
        for step in steps_of("SADD e1 a b"):
            members.send(step.who, step.arguments)
        ordered = members.send(MAIN, (b"SMEMBERS", b"e1")).partition(b"\r\n")[2]
        if swapped == ordered:
            swapped = b"$1\r\na\r\n$1\r\nb\r\n"
        self.assertIsNone(self.found("SADD e1 a b; SMEMBERS e1", ordered, swapped))

    def test_other_data_at_the_end(self) -> None:
        class Forgetful(InstantSide):
            """Our store, but it loses a key."""

            def disturb(self, how: bytes) -> None:
                """Lose it."""
                self.send(OTHER, (b"DEL", b"s1"))

        found = Comparison(Forgetful(), InstantSide()).difference(steps_of("SET s1 a; !flush"), 3)
        self.assertIsNotNone(found)

    def test_a_client_that_waits(self) -> None:
        found = self.found("BLPOP l1 0; RPUSH l1 a b; LLEN l1", b":1", b":2")
        self.assertIsNotNone(found)


class Forms(SynchronousTestCase):
    """The generator knows the commands."""

    def test_all_commands_on_data_are_there(self) -> None:
        known = set()
        for seed in range(1500):
            for step in Generator(seed, now_s=1).steps(40):
                if step.who != DISTURB:
                    known.add(step.arguments[0].decode("latin-1").lower())
        missing = {name.partition("|")[0] for name in TABLE if not name.startswith("raw.")} - known - {"memory"}
        self.assertEqual(missing, set())

    def test_a_seed_is_a_sequence(self) -> None:
        self.assertEqual(Generator(5, now_s=1).steps(50), Generator(5, now_s=1).steps(50))
        self.assertNotEqual(Generator(5, now_s=1).steps(50), Generator(6, now_s=1).steps(50))


class Shrinking(SynchronousTestCase):
    """A failing sequence is made as short as it can be."""

    def test_only_what_matters_stays(self) -> None:
        steps = [Step(MAIN, (b"SET", b"%d" % number, b"x", b"y")) for number in range(30)]

        def fails(tried: list[Step]) -> bool:
            kept = [step.arguments for step in tried]
            return any(b"7" in one for one in kept) and any(b"21" in one and b"y" in one for one in kept)

        self.assertEqual(shrink(steps, fails), [Step(MAIN, (b"SET", b"7")), Step(MAIN, (b"SET", b"21", b"y"))])
