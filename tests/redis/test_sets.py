"""Commands on sets, compared with a real Redis."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis.twins import Twins, content, parts_of, roll_back, stray_nodes
from tests.redis_server import RedisServer
from tinykv.redis.set_value import Set
from tinykv.testing.embedded import Embedded

KEYS = [b"s", b"u", b"large", b"numbers", b"text"]
MEMBERS = [
    b"a",
    b"b",
    b"",
    b"1",
    b"-5",
    b"007",
    b"77",
    b"300",
    b"9223372036854775808",
    b"m1",
    b"m200",
    b"\x00\r\n\xff",
]

#: Each line is run on both, in this order, on one keyspace.
CASES = """
SADD s a
SADD s a b c
SADD text a
SADD s
SISMEMBER s a
SISMEMBER s z
SISMEMBER none a
SISMEMBER text a
SMISMEMBER s a z b
SMISMEMBER none a z
SMISMEMBER text a
SCARD s
SCARD none
SCARD text
SMEMBERS s
SMEMBERS none
SMEMBERS text
SREM s c z c
SREM none a
SREM text a
SMOVE s u a
SMOVE s u z
SMOVE none u a
SMOVE none text a
SMOVE text u a
SMOVE s text a
SMOVE s text b
SMOVE u u a
SMOVE u u z
SMOVE s u b
SCARD s
SADD s a b c 1 2 3
SADD t b c d
SADD n 3 1 2 -9
SINTER s t
SINTER s
SINTER s none
SINTER none text
SINTER text
SINTER s text
SINTER s t u n
SUNION s t
SUNION s t none n
SUNION none
SUNION none text
SUNION n
SDIFF s t
SDIFF s
SDIFF none s
SDIFF none text
SDIFF s text
SDIFF s none t
SDIFF n s
SDIFF s s
SINTERSTORE d s t
SMEMBERS d
SINTERSTORE d s none
SCARD d
SINTERSTORE text s text
SINTERSTORE text s t
SMEMBERS text
SUNIONSTORE d s t n
SMEMBERS d
SUNIONSTORE s s t
SMEMBERS s
SUNIONSTORE d none
SCARD d
SDIFFSTORE d s t
SMEMBERS d
SDIFFSTORE s s n
SMEMBERS s
SDIFFSTORE d none s
SCARD d
SDIFFSTORE d s s
SINTERCARD 2 s t
SINTERCARD 2 s t LIMIT 1
SINTERCARD 2 s t LIMIT 0
SINTERCARD 2 s t limit 100
SINTERCARD 2 s none
SINTERCARD 0 s
SINTERCARD -1 s
SINTERCARD x s
SINTERCARD 99999999999999999999 s
SINTERCARD 3 s t
SINTERCARD 1 s t
SINTERCARD 2 s t LIMIT
SINTERCARD 2 s t LIMIT -1
SINTERCARD 2 s t LIMIT x
SINTERCARD 2 s t LIMIT 1 LIMIT 2
SINTERCARD 2 s t LIMIT 2 LIMIT 1
SINTERCARD 2 s t MORE 1
SINTERCARD 2 s list
SPOP none
SPOP none 2
SPOP none 0
SPOP s -1
SPOP s x
SPOP s 1 2
SPOP s 0
SPOP s
SPOP s 2
SPOP s 100
SCARD s
SADD s a b c d e f g h i j k l m n
SPOP s 12
SCARD s
SRANDMEMBER s
SRANDMEMBER none
SRANDMEMBER s 1
SRANDMEMBER s 0
SRANDMEMBER s 100
SRANDMEMBER s -100
SRANDMEMBER n 2
SRANDMEMBER n 3
SRANDMEMBER none 2
SRANDMEMBER none -2
SRANDMEMBER s x
SRANDMEMBER s 1 2
SRANDMEMBER s -9223372036854775808
SRANDMEMBER s -9223372036854775809
SRANDMEMBER s 9223372036854775807
"""

WRONG_TYPE = """
SPOP text
SPOP text 1
SPOP text 0
SPOP text x
SRANDMEMBER text
SRANDMEMBER text 1
SRANDMEMBER text 0
SRANDMEMBER text x
SINTERCARD 1 text
SINTERCARD 2 none text
SDIFFSTORE d text
SUNIONSTORE d s text
SINTERSTORE d none text
"""


def decimal(numbers: range) -> list[bytes]:
    """Spell numbers."""
    return [b"%d" % number for number in numbers]


def several(prefix: bytes) -> list[bytes]:
    """Make many members."""
    return [prefix + b"%d" % i for i in range(300)]


def commands() -> st.SearchStrategy[list[bytes]]:
    """Make commands on sets, right and wrong ones."""
    key = st.sampled_from(KEYS).map(lambda key: [key])
    keys = st.lists(st.sampled_from(KEYS[:-1] * 4 + KEYS[-1:]), min_size=1, max_size=4)
    member = st.sampled_from(MEMBERS).map(lambda member: [member])
    members = st.lists(st.sampled_from(MEMBERS), min_size=1, max_size=4)
    numbers = st.builds(range, st.integers(-300, 300), st.integers(300, 600)).map(decimal)
    many = st.one_of(members, members, numbers, st.sampled_from([several(b"m"), several(b"")]))
    count = st.integers(-20, 700).map(lambda n: [b"%d" % n])
    limit = st.integers(0, 300).map(lambda n: [b"LIMIT", b"%d" % n])
    made: list[st.SearchStrategy[list[bytes]]] = []
    for name, *parts in (
        (b"SADD", key, many),
        (b"SADD", key, members),
        (b"SREM", key, many),
        (b"SREM", key, members),
        (b"SMOVE", key, key, member),
        (b"SISMEMBER", key, member),
        (b"SMISMEMBER", key, members),
        (b"SCARD", key),
        (b"SMEMBERS", key),
        (b"SPOP", key),
        (b"SPOP", key, count),
        (b"SRANDMEMBER", key),
        (b"SRANDMEMBER", key, count),
        (b"SINTER", keys),
        (b"SUNION", keys),
        (b"SDIFF", keys),
        (b"SINTERCARD", keys.map(lambda keys: [b"%d" % len(keys), *keys])),
        (b"SINTERCARD", keys.map(lambda keys: [b"%d" % len(keys), *keys]), limit),
        (b"SINTERSTORE", key, keys),
        (b"SUNIONSTORE", key, keys),
        (b"SDIFFSTORE", key, keys),
    ):
        made.append(st.tuples(st.just([name]), *parts).map(lambda drawn: [x for part in drawn for x in part]))
    return st.one_of(made)


WRITES = (b"SADD", b"SREM", b"SMOVE", b"SPOP", b"SINTERSTORE", b"SUNIONSTORE", b"SDIFFSTORE")


class SetTests(SynchronousTestCase):
    """What clients see."""

    def setUp(self) -> None:
        """Start a server."""
        self.server = RedisServer()
        self.addCleanup(self.server.close)
        self.twins = Twins(self.server)

    def test_cases(self) -> None:
        """Every command with every option and refusal, in both protocols."""
        for proto in (2, 3):
            self.twins.clear()
            self.twins.set_string(b"text")
            for line in filter(None, CASES.split("\n")):
                self.twins.run(*line.encode().split(), proto=proto)
            self.twins.set_string(b"text")
            for line in filter(None, WRONG_TYPE.split("\n")):
                self.twins.run(*line.encode().split(), proto=proto)
            self.twins.compare_all([b"s", b"t", b"u", b"n", b"d", b"text"])

    def test_encoding(self) -> None:
        """A set of integers is an intset up to the limit, and never again; what is built anew may be one."""
        run, compare = self.twins.run, self.twins.compare_all
        run(b"SADD", b"s", b"1", b"9223372036854775807", b"-9223372036854775808", b"0")
        compare([b"s"])
        for member in (b"007", b"-0", b"+1", b"9223372036854775808", b"", b" 1", b"1.0"):
            run(b"SADD", b"one" + member, member)
            run(b"SADD", b"more" + member, b"1", b"2", member)
            run(b"SREM", b"more" + member, member)
            compare([b"one" + member, b"more" + member])
        numbers = [b"%d" % i for i in range(513)]
        run(b"SADD", b"n", *numbers[:512])
        compare([b"n"])
        run(b"SUNIONSTORE", b"copy", b"n")
        run(b"SADD", b"n", numbers[512])
        run(b"SREM", b"n", numbers[512])
        compare([b"n", b"copy"])
        run(b"SINTERSTORE", b"d", b"n", b"n")
        compare([b"d"])
        # Redis subtracts from a copy of the first set when the others are small: the copy decides.
        run(b"SADD", b"n", b"more")
        run(b"SADD", b"few", b"more", b"1")
        run(b"SADD", b"fewer", b"more", b"2")
        run(b"SADD", b"fewest", b"5")
        for others in ([b"few"], [b"few", b"fewer"], [b"few", b"fewer", b"fewest"], [b"fewest", b"few"]):
            run(b"SDIFFSTORE", b"d", b"n", *others)
            compare([b"d"])
            run(b"SDIFFSTORE", b"d", b"copy", *others)
            compare([b"d"])
        self.twins.embedded.forget()
        compare([b"s", b"n", b"copy", b"d"])

    def test_pop_most(self) -> None:
        """What stays of a set that loses most of its members is built anew, with its expiry."""
        embedded = self.twins.embedded
        for stays in (1, 100, 101, 250, 300, 599):
            self.twins.run(b"SADD", b"s", *(b"%d" % i for i in range(600)))
            embedded.keyspace.begin(embedded.now)
            embedded.keyspace.databases[0].set_expires(b"s", embedded.now + 1000)
            embedded.keyspace.commit()
            before = content(embedded.keyspace)
            roll_back(embedded, [(b"SPOP", b"s", b"%d" % (600 - stays))])
            assert content(embedded.keyspace) == before
            self.twins.run(b"SPOP", b"s", b"%d" % (600 - stays))
            value = embedded.keyspace.databases[0].get(b"s")
            assert isinstance(value, Set)
            assert (len(value), value.expires) == (stays, embedded.now + 1000)
            # Redis was given the same by SREM, which never goes back to an intset.
            assert value.encoding() == (b"intset" if stays <= 100 else b"hashtable")
            assert not stray_nodes(embedded)
            self.twins.run(b"SPOP", b"s", b"600")

    def test_like_redis(self) -> None:
        """Any commands give what Redis gives, over restarts from the rows and after undone commands."""

        @given(
            st.lists(
                st.one_of(
                    st.tuples(st.sampled_from((2, 3)), commands()),
                    st.tuples(st.sampled_from((2, 3)), commands()),
                    st.just("forget"),
                    st.lists(commands().filter(lambda c: c[0] in WRITES and b"-" not in c[-1]), max_size=5),
                ),
                max_size=25,
            )
        )
        def check(steps: list[str | list[list[bytes]] | tuple[int, list[bytes]]]) -> None:
            twins = self.twins
            twins.clear()
            twins.set_string(b"text")
            twins.run(b"SADD", b"large", *several(b"m"))
            twins.run(b"SADD", b"numbers", *several(b"")[:250])
            for step in steps:
                if isinstance(step, str):
                    twins.embedded.forget()
                elif isinstance(step, tuple):
                    rebuilt = twins.rebuilds(step[1])
                    twins.run(*step[1], proto=step[0])
                    if rebuilt:
                        # The real server got SREM instead: let the encodings agree again.
                        twins.run(b"SUNIONSTORE", step[1][1], step[1][1])
                else:
                    before = content(twins.embedded.keyspace)
                    roll_back(twins.embedded, [tuple(c) for c in step if b"text" not in c])
                    assert content(twins.embedded.keyspace) == before, step
                    assert not stray_nodes(twins.embedded)
            twins.compare_all(KEYS)
            assert not stray_nodes(twins.embedded)

        check()


class SetOrderTests(SynchronousTestCase):
    """What is decided here: order, chance, and what counts as a change."""

    def setUp(self) -> None:
        """Start with nothing."""
        self.embedded = Embedded()
        self.run_command = self.embedded.run

    def test_intset_ascends(self) -> None:
        """An intset comes sorted by value, as in Redis."""
        numbers = [b"%d" % (i * 7919 % 401 - 200) for i in range(401)]
        self.run_command(b"SADD", b"s", *numbers)
        _, parts = parts_of(self.run_command(b"SMEMBERS", b"s"))
        assert parts == sorted(numbers, key=int)
        self.run_command(b"SADD", b"t", *numbers[:200])
        for name in (b"SINTER", b"SUNION", b"SDIFF"):
            _, parts = parts_of(self.run_command(name, b"s", b"t"))
            assert parts == sorted(parts, key=int), name

    def test_pick_is_seeded(self) -> None:
        """The same seed and place pick the same member, whether the set is in memory or only in rows."""
        for size in (10, 500):
            one, other = Embedded(), Embedded()
            for embedded in (one, other):
                for i in range(size):
                    embedded.run(b"SADD", b"s", b"m%d" % i)
            other.forget()
            for line in (b"SPOP s", b"SPOP s 7", b"SPOP s %d" % (size // 2), b"SMEMBERS s"):
                assert one.run(*line.split()) == other.run(*line.split()), line

    def test_every_member(self) -> None:
        """Each member has its turn."""
        for size in (5, 200):
            self.run_command(b"SADD", b"s", *(b"%d" % i for i in range(size)))
            _, picked = parts_of(self.run_command(b"SRANDMEMBER", b"s", b"-5000"))
            assert len(set(picked)) == size
            popped = {self.run_command(b"SPOP", b"s") for _ in range(size)}
            assert len(popped) == size

    def test_too_many(self) -> None:
        """A count that would take all memory is refused."""
        self.run_command(b"SADD", b"s", b"m")
        assert self.run_command(b"SRANDMEMBER", b"s", b"-1000000000000") == b"-ERR value is out of range\r\n"

    def test_no_change(self) -> None:
        """What changes nothing leaves the version as it was, which WATCH compares."""
        for size in (3, 300):
            self.run_command(b"SADD", b"s", *(b"m%d" % i for i in range(size)))
            db = self.embedded.keyspace.databases[0]
            version = db.version(b"s")
            for line in (b"SADD s m1", b"SREM s none", b"SMOVE s s m1", b"SMOVE s t none", b"SPOP s 0"):
                self.run_command(*line.split())
                assert db.version(b"s") == version, line
            self.run_command(b"SREM", b"s", b"m1")
            assert db.version(b"s") > version
            version = db.version(b"s")
            self.run_command(b"SADD", b"s", b"m1")
            assert db.version(b"s") > version
            self.run_command(b"SPOP", b"s", b"1000")
