"""Commands on hashes, compared with a real Redis."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis.twins import Twins, content, parts_of, roll_back, stray_nodes
from tests.redis_server import RedisServer
from tinykv.testing.embedded import Embedded

KEYS = [b"h", b"g", b"large", b"text", b"members"]
FIELDS = [b"a", b"b", b"c", b"", b"n", b"f1", b"f77", b"f200", b"long" * 20, b"\x00\r\n\xff"]
VALUES = [b"", b"1", b"-7", b"value", b"3.25", b"9223372036854775807", b"v" * 65, b"1e4931", b"007", b"inf"]

#: Each line is run on both, in this order, on one keyspace.
CASES = """
HSET h a 1
HSET h a 2 b 3
HSET h a
HSET h a 1 b
HMSET h a
HMSET h a 1 b
HMSET h c 4 d 5
HSET text
HSET text a 1
HSET text a 1 b
HMSET text a 1
HSETNX h a 9
HSETNX h e 9
HSETNX fresh e 9
HSETNX text e 9
HGET h a
HGET h none
HGET none a
HGET text a
HMGET h a none b
HMGET none a b
HMGET text a
HMGET h
HGETALL h
HGETALL none
HGETALL text
HKEYS h
HKEYS none
HKEYS text
HVALS h
HVALS none
HVALS text
HLEN h
HLEN none
HLEN text
HEXISTS h a
HEXISTS h none
HEXISTS none a
HEXISTS text a
HSTRLEN h a
HSTRLEN h none
HSTRLEN none a
HSTRLEN text a
HDEL h a none a
HDEL none a
HDEL text a
HDEL h b c d e
HLEN h
HINCRBY h n 5
HINCRBY h n -7
HINCRBY h n 9223372036854775807
HINCRBY h n 9223372036854775807
HINCRBY h n -9223372036854775808
HINCRBY h n 9223372036854775808
HINCRBY h n abc
HINCRBY h n 1.5
HINCRBY h n +1
HINCRBY text n x
HINCRBY text n 1
HINCRBY fresh2 n x
HSET h w word sp :5 z 007
HINCRBY h w 1
HINCRBY h z 1
HINCRBYFLOAT h w 1
HINCRBYFLOAT h w x
HINCRBYFLOAT h q 0.1
HINCRBYFLOAT h q 0.2
HINCRBYFLOAT h q 3e2
HINCRBYFLOAT h q -300.3
HINCRBYFLOAT h q inf
HINCRBYFLOAT h q -inf
HINCRBYFLOAT h q nan
HINCRBYFLOAT h z 1
HINCRBYFLOAT h big 1e4931
HINCRBYFLOAT h big 1.18e4932
HINCRBYFLOAT h big 1.18e4932
HINCRBYFLOAT text q 1
HINCRBYFLOAT text q x
HSET h infinite inf
HINCRBYFLOAT h infinite 1
HRANDFIELD h
HRANDFIELD none
HRANDFIELD text
HRANDFIELD h 2
HRANDFIELD h 0
HRANDFIELD h 100
HRANDFIELD h -7
HRANDFIELD none 2
HRANDFIELD none -2
HRANDFIELD text 2
HRANDFIELD h x
HRANDFIELD text x
HRANDFIELD h 2 WITHVALUES
HRANDFIELD h 100 withvalues
HRANDFIELD h -7 WITHVALUES
HRANDFIELD h 0 WITHVALUES
HRANDFIELD none 2 WITHVALUES
HRANDFIELD h 2 WITH
HRANDFIELD h x WITH
HRANDFIELD h 2 WITHVALUES more
HRANDFIELD h -9223372036854775808
HRANDFIELD h -9223372036854775809
HRANDFIELD h 9223372036854775807
HRANDFIELD h 9223372036854775807 WITHVALUES
HRANDFIELD h -9223372036854775807 WITHVALUES
HRANDFIELD h -4611686018427387904 WITHVALUES
HRANDFIELD h 4611686018427387903 WITHVALUES
"""


Part = st.SearchStrategy[bytes] | st.SearchStrategy[list[bytes]]


def flat(parts: Iterable[Iterable[bytes]]) -> list[bytes]:
    """Put what's in the parts into one list."""
    return [item for part in parts for item in part]


def fields(count: int) -> list[bytes]:
    """Make fields with values, in turn."""
    return [part for i in range(count) for part in (b"f%d" % i, b"v%d" % i)]


def commands() -> st.SearchStrategy[list[bytes]]:
    """Make commands on hashes, right and wrong ones."""
    key = st.sampled_from(KEYS)
    field = st.sampled_from(FIELDS)
    value = st.sampled_from(VALUES)
    pairs = st.lists(st.tuples(field, value), min_size=1, max_size=4).map(flat)
    many = st.integers(1, 4).map(lambda n: fields(80 * n))
    most = st.integers(1, 4).map(lambda n: [b"f%d" % i for i in range(80 * n)])
    count = st.integers(-5, 300).map(lambda n: b"%d" % n)

    def made(name: bytes, *parts: Part) -> st.SearchStrategy[list[bytes]]:
        return st.tuples(*parts).map(
            lambda drawn: [name, *flat(part if isinstance(part, list) else [part] for part in drawn)]
        )

    return st.one_of(
        made(b"HSET", key, pairs),
        made(b"HSET", key, many),
        made(b"HMSET", key, pairs),
        made(b"HSETNX", key, field, value),
        made(b"HGET", key, field),
        made(b"HMGET", key, field, field),
        made(b"HSTRLEN", key, field),
        made(b"HEXISTS", key, field),
        made(b"HLEN", key),
        made(b"HGETALL", key),
        made(b"HKEYS", key),
        made(b"HVALS", key),
        made(b"HDEL", key, st.lists(field, min_size=1, max_size=4)),
        made(b"HDEL", key, most),
        made(b"HINCRBY", key, field, value),
        made(b"HINCRBYFLOAT", key, field, value),
        made(b"HRANDFIELD", key),
        made(b"HRANDFIELD", key, count),
        made(b"HRANDFIELD", key, count, st.just(b"WITHVALUES")),
    )


class HashTests(SynchronousTestCase):
    """What clients see."""

    def setUp(self) -> None:
        """Start a server."""
        self.server = RedisServer()
        self.addCleanup(self.server.close)
        self.twins = Twins(self.server)

    def _prepare(self) -> None:
        self.twins.clear()
        self.twins.set_string(b"text")

    def test_cases(self) -> None:
        """Every command with every option and refusal, in both protocols."""
        for proto in (2, 3):
            self._prepare()
            for line in filter(None, CASES.split("\n")):
                self.twins.run(*line.encode().split(), proto=proto)
            self.twins.compare_all([b"h", b"text", b"fresh", b"fresh2"])

    def test_encoding(self) -> None:
        """A hash is a listpack up to the limits, and never again."""
        self._prepare()
        run = self.twins.run
        for i in range(128):
            run(b"HSET", b"h", b"f%d" % i, b"v" * 64)
        self.twins.compare_all([b"h"])
        run(b"HSET", b"h", b"f0", b"v" * 65)
        run(b"HSET", b"h", b"f0", b"v")
        self.twins.compare_all([b"h"])
        run(b"HSET", b"g", *fields(512))
        self.twins.compare_all([b"g"])
        run(b"HSETNX", b"g", b"one more", b"v")
        run(b"HDEL", b"g", b"one more")
        self.twins.compare_all([b"g"])
        run(b"HINCRBY", b"i", b"f" * 65, b"1")
        run(b"HSETNX", b"j", b"f", b"v" * 65)
        self.twins.compare_all([b"i", b"j"])
        self._limit(100)
        for i in range(101):
            run(b"HSET", b"k", b"f%d" % i, b"v")
            self.twins.compare_all([b"k"])
        self._limit(300)
        run(b"HSET", b"l", *fields(200))
        self.twins.compare_all([b"l"])
        self.twins.embedded.forget()
        self._limit(100)
        self.twins.compare_all([b"l"])
        run(b"HSET", b"l", b"f0", b"again")
        self.twins.compare_all([b"l"])
        self.twins.embedded.forget()
        self.twins.compare_all([b"h", b"g", b"i", b"j", b"k", b"l"])
        self._limit(512)

    def _limit(self, entries: int) -> None:
        embedded = self.twins.embedded
        embedded.keyspace.settings.change({"hash-max-listpack-entries": entries}, embedded.rows)
        self.twins.real[2].call("CONFIG", "SET", "hash-max-listpack-entries", entries)

    def test_like_redis(self) -> None:
        """Any commands give what Redis gives, over restarts from the rows and after undone commands."""

        @given(
            st.lists(
                st.one_of(
                    st.tuples(st.sampled_from((2, 3)), commands()),
                    st.just("forget"),
                    st.lists(commands().filter(lambda c: c[0] in (b"HSET", b"HDEL", b"HSETNX")), max_size=5),
                ),
                max_size=25,
            )
        )
        def check(steps: list[str | list[list[bytes]] | tuple[int, list[bytes]]]) -> None:
            self._prepare()
            twins = self.twins
            twins.run(b"HSET", b"large", *fields(350))
            for step in steps:
                if isinstance(step, str):
                    twins.embedded.forget()
                elif isinstance(step, tuple):
                    twins.run(*step[1], proto=step[0])
                else:
                    before = content(twins.embedded.keyspace)
                    roll_back(twins.embedded, [tuple(c) for c in step if c[1] != b"text"])
                    assert content(twins.embedded.keyspace) == before, step
                    assert not stray_nodes(twins.embedded)
            twins.compare_all(KEYS)
            assert not stray_nodes(twins.embedded)

        check()


class HashRandomTests(SynchronousTestCase):
    """HRANDFIELD depends on the seed alone."""

    def test_too_many(self) -> None:
        """A count that would take all memory is refused."""
        embedded = Embedded()
        embedded.run(b"HSET", b"h", b"f", b"v")
        assert embedded.run(b"HRANDFIELD", b"h", b"-1000000000000") == b"-ERR value is out of range\r\n"

    def test_every_field(self) -> None:
        """Each field has its turn."""
        for size in (5, 200):
            embedded = Embedded()
            for i in range(size):
                embedded.run(b"HSET", b"h", b"%d" % i, b"v")
            _, picked = parts_of(embedded.run(b"HRANDFIELD", b"h", b"-5000"))
            assert len(set(picked)) == size
            seen: set[bytes] = set()
            for _ in range(40 * size):
                seen.add(embedded.run(b"HRANDFIELD", b"h"))
            assert len(seen) == size
