"""Commands on strings, against a real server."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis.scripted import Pair, check_scripts
from tests.redis_server import RedisServer
from tinykv.testing.embedded import Embedded

_KEYS = st.sampled_from([b"a", b"b", b"c"])
_VALUES = st.sampled_from(
    [
        b"",
        b"1",
        b"-1",
        b"0",
        b"10",
        b"9223372036854775807",
        b"1.5",
        b"abc",
        b"hello",
        b"x" * 50,
        b" 1",
        b"1e3",
        b"0.1",
    ]
)
_OFFSETS = st.sampled_from([b"0", b"1", b"-1", b"3", b"-3", b"7", b"-100", b"100", b"x"])
_EXPIRIES = st.sampled_from(
    [
        [],
        [],
        [b"EX", b"100"],
        [b"PX", b"100000"],
        [b"EXAT", b"1"],
        [b"PXAT", b"9999999999999"],
        [b"KEEPTTL"],
        [b"PERSIST"],
    ]
)
_FLAGS = st.lists(st.sampled_from([b"NX", b"XX", b"GET", b"KEEPTTL"]), max_size=2)


def _plain(name: bytes, *parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[bytes]]:
    return st.tuples(*parts).map(lambda values: [name, *values])


_COMMANDS = st.one_of(
    st.tuples(_KEYS, _VALUES, _EXPIRIES, _FLAGS).map(lambda t: [b"set", t[0], t[1], *t[2], *t[3]]),
    st.tuples(_KEYS, _EXPIRIES).map(lambda t: [b"getex", t[0], *t[1]]),
    *[_plain(name, _KEYS) for name in (b"get", b"getdel", b"strlen", b"incr", b"decr", b"ttl", b"del")],
    *[
        _plain(name, _KEYS, _VALUES)
        for name in (b"setnx", b"getset", b"append", b"incrby", b"decrby", b"incrbyfloat")
    ],
    _plain(b"setrange", _KEYS, _OFFSETS, _VALUES),
    _plain(b"getrange", _KEYS, _OFFSETS, _OFFSETS),
    _plain(b"mset", _KEYS, _VALUES, _KEYS, _VALUES),
    _plain(b"msetnx", _KEYS, _VALUES, _KEYS, _VALUES),
    _plain(b"mget", _KEYS, _KEYS),
    _plain(b"sadd", _KEYS, _VALUES),
    _plain(b"lcs", _KEYS, _KEYS),
    st.just([b"forget"]),
)


class StringTests(SynchronousTestCase):
    """All string commands with all their options."""

    def test_replies_as_from_redis(self) -> None:
        with RedisServer() as server:
            self.assertEqual(check_scripts(server, "strings"), [])

    def test_random_sequences(self) -> None:
        with RedisServer() as server:
            pair = Pair(server)

            @given(st.lists(_COMMANDS, max_size=25))
            def run(commands: list[list[bytes]]) -> None:
                pair.clear()
                for arguments in commands:
                    if arguments == [b"forget"]:
                        pair.ours.forget()
                    else:
                        self.assertEqual(*pair.run(*arguments), arguments)

            run()

    def test_a_refused_command_changes_nothing(self) -> None:
        embedded = Embedded()
        embedded.run(b"set", b"a", b"text", b"EX", b"100")
        embedded.run(b"sadd", b"s", b"m")
        before = embedded.rows.image()
        for line in (
            b"set a 1 EX 0",
            b"set s 1 GET",
            b"incr a",
            b"append s x",
            b"getex a bad",
            b"setrange a -1 x",
            b"getset s 1",
            b"incrbyfloat a 1",
            b"msetnx b 1 a 2",
            b"getdel s",
        ):
            reply = embedded.run(*line.split())
            self.assertIn(reply[:1], b"-:", line)
            self.assertEqual(embedded.rows.image(), before, line)

    def test_an_expired_string_is_gone(self) -> None:
        embedded = Embedded()
        embedded.run(b"set", b"a", b"1", b"PX", b"10")
        embedded.now += 9
        self.assertEqual(embedded.run(b"get", b"a"), b"$1\r\n1\r\n")
        embedded.now += 1
        self.assertEqual(embedded.run(b"get", b"a"), b"$-1\r\n")
        self.assertEqual(embedded.run(b"incr", b"a"), b":1\r\n")
        self.assertEqual(embedded.run(b"ttl", b"a"), b":-1\r\n")

    def test_the_largest_string_follows_the_setting(self) -> None:
        embedded = Embedded()
        embedded.keyspace.settings.change({"proto-max-bulk-len": 1 << 20}, embedded.rows)
        embedded.run(b"set", b"a", b"x" * (1 << 20))
        refusal = b"-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"
        self.assertEqual(embedded.run(b"append", b"a", b"x"), refusal)
        self.assertEqual(embedded.run(b"append", b"a", b""), b":1048576\r\n")
        self.assertEqual(embedded.run(b"setrange", b"b", b"1048575", b"xx"), refusal)
        self.assertEqual(embedded.run(b"setrange", b"b", b"1048575", b"x"), b":1048576\r\n")
        refused = b"-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len\r\n"
        self.assertEqual(embedded.run(b"lcs", b"a", b"b"), refused)
