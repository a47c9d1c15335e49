"""Commands on keys and databases, against a real server."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis.scripted import Pair, check_scripts
from tests.redis_server import RedisServer
from tinykv.testing.embedded import Embedded

SETS = frozenset((b"smembers", b"keys", b"hgetall"))

_KEYS = st.sampled_from([b"a", b"b", b"c"])
_COMMANDS = st.one_of(
    *[
        st.tuples(st.just(name), _KEYS).map(list)
        for name in (
            b"del",
            b"type",
            b"exists",
            b"persist",
            b"object encoding",
            b"dbsize",
            b"smembers",
            b"hgetall",
        )
    ],
    *[
        st.tuples(st.just(name), _KEYS, _KEYS).map(list)
        for name in (b"rename", b"renamenx", b"copy", b"set", b"touch")
    ],
    _KEYS.map(lambda key: [b"sadd", key, b"1", b"2"]),
    _KEYS.map(lambda key: [b"sadd", key, *[b"m%d" % n for n in range(150)]]),
    _KEYS.map(lambda key: [b"hset", key, b"f", b"v"]),
    _KEYS.map(lambda key: [b"rpush", key, b"x", b"1", b"x"]),
    _KEYS.map(lambda key: [b"rpush", key, *[b"%d" % n for n in range(300)]]),
    _KEYS.map(lambda key: [b"zadd", key, b"1", b"m", b"1.5", b"n"]),
    _KEYS.map(lambda key: [b"zadd", key, *[b"%d" % n for n in range(300)]]),
    _KEYS.map(lambda key: [b"lrange", key, b"0", b"-1"]),
    _KEYS.map(lambda key: [b"zscore", key, b"151"]),
    _KEYS.map(lambda key: [b"zrank", key, b"151"]),
    _KEYS.map(lambda key: [b"hset", key, *[b"%d" % n for n in range(300)]]),
    st.tuples(_KEYS, _KEYS, st.sampled_from([b"0", b"1"])).map(
        lambda t: [b"copy", t[0], t[1], b"REPLACE", b"DB", t[2]]
    ),
    st.tuples(_KEYS, st.sampled_from([b"0", b"1"])).map(lambda t: [b"move", *t]),
    st.sampled_from([[b"select", b"0"], [b"select", b"1"], [b"swapdb", b"0", b"1"], [b"flushdb"], [b"forget"]]),
    st.just([b"keys", b"*"]),
    _KEYS.map(lambda key: [b"expire", key, b"100"]),
    _KEYS.map(lambda key: [b"ttl", key]),
)


class GenericTests(SynchronousTestCase):
    """Commands on keys, OBJECT and MEMORY."""

    def test_replies_as_from_redis(self) -> None:
        with RedisServer() as server:
            self.assertEqual(check_scripts(server, "generic", SETS), [])

    def test_random_sequences(self) -> None:
        with RedisServer() as server:
            pair = Pair(server)

            @given(st.lists(_COMMANDS, max_size=20))
            def run(commands: list[list[bytes]]) -> None:
                pair.clear()
                for arguments in commands:
                    name = arguments[0]
                    if name == b"forget":
                        pair.ours.forget()
                        continue
                    if name == b"dbsize":
                        arguments = [name]
                    elif b" " in name:
                        arguments = [*name.split(), *arguments[1:]]
                    self.assertEqual(pair.differences([arguments], SETS), [])

            run()

    def test_a_refused_command_changes_nothing(self) -> None:
        embedded = Embedded()
        embedded.run(b"set", b"a", b"text", b"EX", b"100")
        embedded.run(b"sadd", b"s", *[b"%d" % number for number in range(1000)])
        embedded.run(b"set", b"a", b"1", db=1)
        before = embedded.rows.image()
        for line in (
            b"rename x a",
            b"renamenx a s",
            b"copy a s",
            b"move a 1",
            b"copy a a",
            b"swapdb 0 16",
            b"flushdb x",
            b"copy s a DB 1",
            b"move s 16",
        ):
            reply = embedded.run(*line.split())
            self.assertIn(reply[:1], b"-:", line)
            self.assertEqual(embedded.rows.image(), before, line)

    def test_whatever_is_renamed_or_copied_can_be_undone(self) -> None:
        embedded = Embedded()
        embedded.run(b"sadd", b"s", *[b"m%d" % number for number in range(1000)])
        embedded.run(b"hset", b"h", b"f", b"v")
        embedded.run(b"expire", b"h", b"100")
        embedded.run(b"rpush", b"l", *[b"%d" % number for number in range(3000)])
        embedded.run(b"zadd", b"z", *[b"%d" % number for number in range(3000)])
        embedded.run(b"set", b"a", b"1")
        before = embedded.rows.image()
        for line in (
            b"rename l z",
            b"copy z h REPLACE",
            b"move l 1",
            b"rename z m",
            b"sort z BY nosort STORE l",
            b"rename s a",
            b"rename a s",
            b"copy s t",
            b"copy s h REPLACE",
            b"move s 1",
            b"rename h i",
            b"del a s h l z",
        ):
            keyspace: Any = embedded.keyspace
            commit, keyspace.commit = keyspace.commit, keyspace.rollback
            embedded.run(*line.split())
            keyspace.commit = commit
            after = embedded.rows.image()
            # A slot's counter row stays when the slot is empty again.
            data = {key: row for key, row in after["data"].items() if key[4:] != b"\0" or row != bytes(16)}
            self.assertEqual(data, before["data"], line)

    def test_expired_keys_are_not_shown(self) -> None:
        embedded = Embedded()
        for number in range(20):
            embedded.run(b"set", b"gone%d" % number, b"1", b"PX", b"10")
        embedded.run(b"set", b"here", b"1")
        embedded.run(b"sadd", b"s", b"1")
        embedded.run(b"pexpire", b"s", b"10")
        embedded.now += 10
        self.assertEqual(embedded.run(b"keys", b"*"), b"*1\r\n$4\r\nhere\r\n")
        self.assertEqual(embedded.run(b"randomkey"), b"$4\r\nhere\r\n")
        self.assertEqual(embedded.run(b"exists", b"s", b"gone1", b"here"), b":1\r\n")
        self.assertEqual(embedded.run(b"rename", b"s", b"t"), b"-ERR no such key\r\n")
        self.assertEqual(embedded.run(b"copy", b"here", b"gone1"), b":1\r\n")
        self.assertEqual(embedded.run(b"del", b"gone2"), b":0\r\n")
        embedded.run(b"del", b"here", b"gone1")
        self.assertEqual(embedded.run(b"randomkey"), b"$-1\r\n")

    def test_randomkey_gives_every_key_some_time(self) -> None:
        embedded = Embedded()
        names = [b"k%d" % number for number in range(10)]
        for name in names:
            embedded.run(b"set", name, b"1")
        found = {embedded.run(b"randomkey") for _ in range(200)}
        self.assertEqual(found, {b"$2\r\n%b\r\n" % name for name in names})

    def test_idle_time_counts_from_the_last_change_or_touch(self) -> None:
        embedded = Embedded()
        embedded.run(b"set", b"a", b"1")
        embedded.now += 500
        embedded.run(b"set", b"b", b"1")
        embedded.now += 9500
        embedded.run(b"set", b"c", b"1")
        embedded.now += 1000

        def idle(key: bytes) -> int:
            return int(embedded.run(b"object", b"idletime", key)[1:])

        self.assertEqual([idle(b"a"), idle(b"b"), idle(b"c")], [11, 11, 1])
        embedded.run(b"touch", b"a", b"x")
        embedded.run(b"append", b"b", b"2")
        self.assertEqual([idle(b"a"), idle(b"b")], [0, 0])
        embedded.now += 5000
        self.assertEqual([idle(b"a"), idle(b"b"), idle(b"c")], [5, 5, 6])
        embedded.run(b"expire", b"a", b"100")
        self.assertEqual(idle(b"a"), 0)

    def test_memory_usage_grows_with_the_value(self) -> None:
        embedded = Embedded()
        embedded.run(b"set", b"a", b"x" * 1000)
        embedded.run(b"hset", b"h", b"f", b"v" * 100)
        members = [b"member:%d" % number for number in range(5000)]
        embedded.run(b"sadd", b"s", *members)
        embedded.run(b"hset", b"big", *members)

        def usage(*arguments: bytes) -> int:
            return int(embedded.run(b"memory", b"usage", *arguments)[1:])

        self.assertTrue(1000 < usage(b"a") < 1500)
        self.assertTrue(100 < usage(b"h") < 1000)
        everything = sum(map(len, members))
        for key in (b"s", b"big"):
            self.assertTrue(everything < usage(key, b"SAMPLES", b"0") < 20 * everything)
            self.assertTrue(everything / 2 < usage(key) < 20 * everything)

    def test_memory_reports(self) -> None:
        embedded = Embedded()
        embedded.run(b"set", b"a", b"1")
        self.assertIn(b"$10\r\nkeys.count\r\n:1\r\n", embedded.run(b"memory", b"stats"))
        self.assertEqual(embedded.run(b"memory", b"stats", proto=3)[:1], b"%")
        self.assertEqual(embedded.run(b"memory", b"purge"), b"+OK\r\n")
        self.assertEqual(embedded.run(b"memory", b"doctor", proto=3)[:1], b"=")
        self.assertEqual(embedded.run(b"memory", b"malloc-stats")[:1], b"$")
