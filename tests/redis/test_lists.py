"""Commands on lists, compared with a real Redis."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis.scripted import Pair, check_scripts
from tests.redis.twins import roll_back, stray_nodes
from tests.redis_server import RedisServer
from tinykv.errors import CommandError
from tinykv.redis.context import MustWait
from tinykv.redis.list_value import List
from tinykv.redis.timeouts import timeout_ms
from tinykv.testing.embedded import Embedded

#: Blocked clients are answered at the server's clock ticks, so let it tick fast.
FAST = ("--hz", "500")

KEYS = [b"l", b"m", b"large", b"text"]
SIDES = st.sampled_from([b"LEFT", b"RIGHT"])
KEY = st.sampled_from(KEYS)
ELEMENT = st.sampled_from([b"", b"a", b"b", b"e7", b"e300", b"long" * 900])
INDEX = st.one_of(st.integers(-6, 6), st.integers(-450, 450)).map(lambda n: b"%d" % n)
COUNT = st.one_of(st.integers(0, 4), st.integers(0, 450)).map(lambda n: b"%d" % n)
SOME = st.lists(ELEMENT, min_size=1, max_size=4)
MANY = st.integers(1, 4).map(lambda n: [b"e%d" % i for i in range(90 * n)])


def made(
    name: bytes, *parts: st.SearchStrategy[bytes] | st.SearchStrategy[list[bytes]]
) -> st.SearchStrategy[list[bytes]]:
    """Make commands of a name whose arguments are drawn."""
    return st.tuples(*parts).map(
        lambda drawn: [name, *(x for part in drawn for x in (part if isinstance(part, list) else [part]))]
    )


NONE: st.SearchStrategy[list[bytes]] = st.just([])
CHANGES = st.one_of(
    *(made(name, KEY, SOME) for name in (b"LPUSH", b"RPUSH", b"LPUSHX", b"RPUSHX")),
    *(made(name, KEY, MANY) for name in (b"LPUSH", b"RPUSH")),
    *(made(name, KEY) for name in (b"LPOP", b"RPOP")),
    *(made(name, KEY, COUNT) for name in (b"LPOP", b"RPOP")),
    made(b"LSET", KEY, INDEX, ELEMENT),
    made(b"LINSERT", KEY, st.sampled_from([b"BEFORE", b"AFTER"]), ELEMENT, ELEMENT),
    made(b"LREM", KEY, INDEX, ELEMENT),
    made(b"LREM", KEY, st.just(b"0"), st.sampled_from([b"a", b"e7"])),
    made(b"RPUSH", KEY, st.integers(60, 200).map(lambda n: [b"a", b"b", b"c"] * n)),
    made(b"LTRIM", KEY, INDEX, INDEX),
    made(b"LMOVE", KEY, KEY, SIDES, SIDES),
    made(b"RPOPLPUSH", KEY, KEY),
    made(b"LMPOP", st.just(b"2"), KEY, KEY, SIDES, st.one_of(NONE, made(b"COUNT", COUNT))),
    made(b"DEL", st.sampled_from(KEYS[:2])),
    made(b"RENAME", st.just(b"large"), KEY),
    made(b"COPY", st.just(b"large"), KEY, st.just(b"REPLACE")),
)
LOOKS = st.one_of(
    made(b"LLEN", KEY),
    made(b"LINDEX", KEY, INDEX),
    made(b"LRANGE", KEY, INDEX, INDEX),
    made(
        b"LPOS",
        KEY,
        ELEMENT,
        st.one_of(NONE, made(b"RANK", INDEX)),
        st.one_of(NONE, made(b"COUNT", COUNT)),
        st.one_of(NONE, made(b"MAXLEN", COUNT)),
    ),
)


def content(embedded: Embedded) -> dict[bytes, object]:
    """Give what the first database holds: small values as rows, of large ones what can be seen."""
    db = embedded.keyspace.databases[0]
    held: dict[bytes, object] = {}
    for key in KEYS:
        value = db.get(key)
        if isinstance(value, List):
            held[key] = (value.version, list(value.items()) if value.generations() else value.encode_body())
        else:
            held[key] = value
    return held


class ListTests(SynchronousTestCase):
    """What clients see."""

    def test_replies_as_from_redis(self) -> None:
        """Every command with every option and refusal, in both protocols."""
        with RedisServer(*FAST) as server:
            self.assertEqual(check_scripts(server, "lists"), [])

    def test_like_redis(self) -> None:
        """Any commands give what Redis gives, over restarts from the rows and after undone commands."""
        undone = CHANGES.map(tuple)
        steps = st.lists(st.one_of(CHANGES, CHANGES, LOOKS, st.just("forget"), undone), max_size=25)
        with RedisServer(*FAST) as server:
            pairs = {proto: Pair(server, proto) for proto in (2, 3)}

            @given(steps, st.sampled_from((2, 3)))
            def check(steps: list[str | tuple[bytes, ...] | list[bytes]], proto: int) -> None:
                pair = pairs[proto]
                pair.clear()
                pair.run(b"SET", b"text", b"a string")
                pair.run(b"RPUSH", b"large", *[b"e%d" % i for i in range(400)])
                for step in steps:
                    if isinstance(step, str):
                        pair.ours.forget()
                    elif isinstance(step, list):
                        self.assertEqual(pair.differences([step]), [])
                    else:
                        before = content(pair.ours)
                        with contextlib.suppress(CommandError):
                            roll_back(pair.ours, [step])
                        pair.ours.keyspace.rollback()
                        self.assertEqual(content(pair.ours), before)
                self.assertEqual(pair.differences([b"LRANGE", key, b"0", b"-1"] for key in KEYS[:3]), [])
                self.assertEqual(stray_nodes(pair.ours), [])

            check()

    def test_removing_much(self) -> None:
        """When much of a large list goes its rest is built anew, with its expiry; then nothing is left of the old."""
        embedded = Embedded()
        for rest in (1000, 100, 0):
            embedded.run(b"RPUSH", b"l", *[b"a", b"b"] * rest, *[b"a"] * 500)
            embedded.run(b"PEXPIRE", b"l", b"5000")
            self.assertEqual(embedded.run(b"LREM", b"l", b"0", b"a"), b":%d\r\n" % (rest + 500))
            self.assertEqual(embedded.run(b"LLEN", b"l"), b":%d\r\n" % rest)
            self.assertEqual(embedded.run(b"PTTL", b"l"), b":5000\r\n" if rest else b":-2\r\n")
            self.assertEqual(stray_nodes(embedded), [])
            embedded.run(b"DEL", b"l")

    def test_a_refused_command_changes_nothing(self) -> None:
        """Not even what it would have made."""
        embedded = Embedded()
        embedded.run(b"SET", b"text", b"a string")
        embedded.run(b"RPUSH", b"l", b"a", b"b")
        embedded.run(b"RPUSH", b"large", *[b"e%d" % i for i in range(400)])
        before = embedded.rows.image()
        for line in (
            b"LPUSH text a",
            b"LMOVE l text LEFT LEFT",
            b"RPOPLPUSH large text",
            b"LMPOP 2 text l LEFT",
            b"LSET l 2 x",
            b"LSET large 400 x",
            b"LINSERT l BESIDE a b",
            b"LPOP l -1",
            b"BLMOVE large text LEFT LEFT 0",
            b"BLPOP l x",
        ):
            self.assertEqual(embedded.run(*line.split())[:1], b"-", line)
            self.assertEqual(embedded.rows.image(), before, line)


class WaitingTests(SynchronousTestCase):
    """What blocking commands do without and with leave to wait."""

    def test_within_a_transaction(self) -> None:
        """There they answer at once, as in Redis."""
        lines = (
            "BLPOP l 0",
            "BRPOP l m 0",
            "BLMOVE l m LEFT LEFT 0",
            "BRPOPLPUSH l m 0",
            "BLMPOP 0 2 l m LEFT COUNT 2",
        )
        with RedisServer(*FAST) as server:
            for proto in (2, 3):
                pair = Pair(server, proto)
                for line in lines:
                    pair.theirs.call("MULTI")
                    pair.theirs.call(*line.split())
                    theirs = pair.theirs.raw("EXEC")
                    self.assertEqual(b"*1\r\n" + pair.ours.run(*line.encode().split(), proto=proto), theirs, line)

    def test_timed_out(self) -> None:
        """What the client is told when nothing comes, and for which keys it waits."""
        lines = {
            "BLPOP l m 0.002": [b"l", b"m"],
            "BRPOP l 0.002": [b"l"],
            "BLMOVE l m LEFT LEFT 0.002": [b"l"],
            "BRPOPLPUSH l m 0.002": [b"l"],
            "BLMPOP 0.002 2 l m LEFT COUNT 2": [b"l", b"m"],
        }
        with RedisServer(*FAST) as server:
            for proto in (2, 3):
                pair = Pair(server, proto)
                for line, keys in lines.items():
                    arguments = line.encode().split()
                    wait = self.assertRaises(MustWait, pair.ours.run, *arguments, proto=proto, may_wait=True)
                    self.assertEqual((wait.keys, wait.timeout_ms), (keys, 2), line)
                    self.assertEqual(wait.timed_out, pair.theirs.raw(*arguments), line)

    def test_only_the_ready_key(self) -> None:
        """When it runs again, a command takes from the key that became ready alone."""
        embedded = Embedded()
        embedded.run(b"RPUSH", b"l", b"a")
        embedded.run(b"RPUSH", b"m", b"b")
        embedded.context.ready_key = b"m"
        self.assertEqual(embedded.run(b"BLPOP", b"l", b"m", b"0"), b"*2\r\n$1\r\nm\r\n$1\r\nb\r\n")

    def test_timeouts(self) -> None:
        """They're rounded up to whole milliseconds."""
        for text, expected in (
            (b"0", 0),
            (b"1", 1000),
            (b"0.1", 100),
            (b"0.0001", 1),
            (b"-0.0001", 0),
            (b"1.0001", 1001),
            (b"1e-4940", 1),
            (b"0x10", 16000),
            (b"9223372036854775", 9223372036854775000),
        ):
            self.assertEqual(timeout_ms(text), expected, text)
