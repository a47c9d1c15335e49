"""CONFIG: what is shown, what a change does, and what is refused."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.option_examples import ErrorReply
from tests.server.harness import Client, Store
from tinykv.redis.settings import ALIASES, DEFAULTS
from tinykv.resp.replies import encode_command
from tinykv.server.config_commands import SETTINGS
from tinykv.server.parameters import TABLE


def get(client: Client, *patterns: str) -> dict[str, str]:
    """Ask for parameters."""
    reply = client.call([b"CONFIG", b"GET", *(pattern.encode() for pattern in patterns)])
    assert isinstance(reply, list)
    return {name.decode(): value.decode() for name, value in zip(reply[::2], reply[1::2], strict=True)}


def change(client: Client, *words: str) -> object:
    """Set parameters; give the error's text, or OK."""
    reply = client.call([b"CONFIG", b"SET", *(word.encode() for word in words)])
    return reply.text.decode() if isinstance(reply, ErrorReply) else reply


class ConfigTests(SynchronousTestCase):
    """The parameters of a store."""

    def setUp(self) -> None:
        self.store = Store(maxclients=100, durability="os")
        self.client = self.store.connect()

    def test_get(self) -> None:
        self.assertEqual(get(self.client, "maxclients"), {"maxclients": "100"})
        self.assertEqual(get(self.client, "nosuch"), {})
        self.assertEqual(
            get(self.client, "HASH-MAX-*-entries", "hash-max-ziplist-entries", "timeout"),
            {"hash-max-listpack-entries": "512", "hash-max-ziplist-entries": "512", "timeout": "0"},
        )
        self.assertEqual(get(self.client, "TIMEOUT", "Maxc*s"), {"TIMEOUT": "0", "maxclients": "100"})
        everything = get(self.client, "*")
        self.assertEqual(everything.keys() >= TABLE.keys() | DEFAULTS.keys() | ALIASES.keys(), True)
        self.assertEqual(everything["appendfsync"], "everysec")
        self.assertEqual(everything["bind"], "127.0.0.1")

    def test_every_setting_is_checked(self) -> None:
        self.assertEqual(SETTINGS.keys(), DEFAULTS.keys())
        for name, check in SETTINGS.items():
            self.assertEqual(check(b"%d" % DEFAULTS[name]), b"%d" % DEFAULTS[name])

    def test_defaults_are_allowed(self) -> None:
        """What CONFIG GET shows CONFIG SET takes back."""
        for name, parameter in TABLE.items():
            if parameter.kind is not None:
                value = get(self.client, name)[name]
                self.assertEqual(change(self.client, name, value), b"OK", name)
                self.assertEqual(get(self.client, name)[name], value)

    def test_set(self) -> None:
        cases = {
            ("timeout", "7"): "7",
            ("slowlog-log-slower-than", "-1"): "-1",
            ("stream-node-max-bytes", "4kb"): "4096",
            ("latency-tracking-info-percentiles", "50.0 99.9"): "50 99.9",
            ("notify-keyspace-events", "KEA"): "AKE",
            ("notify-keyspace-events", "Ex$"): "$xE",
            ("notify-keyspace-events", ""): "",
            ("save", "900 1  300 10"): "900 1 300 10",
            ("maxmemory-policy", "ALLKEYS-LFU"): "allkeys-lfu",
            ("lazyfree-lazy-expire", "YES"): "yes",
            ("busy-reply-threshold", "10"): "10",
            ("hash-max-ziplist-value", "1kb"): "1024",
            ("list-max-listpack-size", "-5"): "-5",
            ("maxmemory", "0"): "0",
        }
        for (name, given), shown in cases.items():
            self.assertEqual(change(self.client, name, given), b"OK")
            self.assertEqual(get(self.client, name), {name: shown})
        self.assertEqual(get(self.client, "lua-time-limit"), {"lua-time-limit": "10"})

    def test_settings_change_through_the_log(self) -> None:
        self.store.log.held = True
        self.client.pipeline(
            b"CONFIG SET hash-max-listpack-entries 3 timeout 9", b"CONFIG GET hash-max-listpack-entries"
        )
        self.store.turn()
        self.assertEqual(self.client.taken(), b"")
        self.store.log.let_go()
        self.store.turn()
        self.assertTrue(self.client.taken().startswith(b"+OK\r\n"))
        self.assertEqual(self.store.execution.keyspace.settings.hash_entries, 3)
        self.client.says(b"HSET h a 1 b 2 c 3 d 4")
        self.assertEqual(self.client.call([b"OBJECT", b"ENCODING", b"h"]), b"hashtable")

    def test_refusals(self) -> None:
        failed = "ERR CONFIG SET failed (possibly related to argument '{}') - {}"
        cases: dict[tuple[str, ...], str] = {
            ("nosuch", "1", "port", "2"): "ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'",
            ("port", "2", "nosuch", "1"): "ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'",
            ("port", "2"): failed.format("port", "can't set immutable config"),
            ("timeout", "x"): failed.format("timeout", "argument couldn't be parsed into an integer"),
            ("timeout", "-1"): failed.format("timeout", "argument must be between 0 and 2147483647 inclusive"),
            ("timeout", "0", "TIMEOUT", "1"): failed.format("TIMEOUT", "duplicate parameter"),
            ("hash-max-ziplist-value", "1", "hash-max-listpack-value", "2"): failed.format(
                "hash-max-listpack-value", "duplicate parameter"
            ),
            ("maxmemory", "x"): failed.format("maxmemory", "argument must be a memory value"),
            ("activerehashing", "maybe"): failed.format("activerehashing", "argument must be 'yes' or 'no'"),
            ("loglevel", "x"): failed.format(
                "loglevel", "argument(s) must be one of the following: debug, verbose, notice, warning"
            ),
            ("save", "a"): failed.format("save", "Invalid save parameters"),
            ("notify-keyspace-events", "q"): failed.format(
                "notify-keyspace-events", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."
            ),
            ("client-output-buffer-limit", "normal x 0 0"): failed.format(
                "client-output-buffer-limit",
                "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
            ),
            ("client-output-buffer-limit", "foo 0 0 0"): failed.format(
                "client-output-buffer-limit", "Invalid client class specified in buffer limit configuration."
            ),
            ("latency-tracking-info-percentiles", "101"): failed.format(
                "latency-tracking-info-percentiles",
                "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
            ),
            ("proto-max-bulk-len", "100"): failed.format(
                "proto-max-bulk-len", "argument must be between 1048576 and 9223372036854775807 inclusive"
            ),
            ("timeout", "1", "maxclients"): "ERR syntax error",
        }
        for words, text in cases.items():
            self.assertEqual(change(self.client, *words), text)

    def test_what_would_promise_too_much(self) -> None:
        for name, value in {"maxmemory": "100mb", "appendonly": "no", "min-replicas-to-write": "1"}.items():
            self.assertIn(f"possibly related to argument '{name}'", str(change(self.client, name, value)))

    def test_all_or_nothing(self) -> None:
        change(self.client, "maxclients", "5", "hash-max-listpack-entries", "7", "timeout", "x")
        found = get(self.client, "maxclients", "hash-max-listpack-entries")
        self.assertEqual(found, {"maxclients": "100", "hash-max-listpack-entries": "512"})
        self.assertEqual(self.store.front.maxclients, 100)

    def test_live_ones(self) -> None:
        client = self.client
        change(client, "maxclients", "2")
        self.store.connect()
        third = self.store.connect()
        self.assertTrue(third.session.closing)
        change(client, "requirepass", "secret")
        self.assertEqual(client.says(b"PING"), b"+PONG\r\n")
        third.lose()
        change(client, "maxclients", "3")
        self.assertEqual(self.store.connect().call([b"PING"]), ErrorReply(b"NOAUTH Authentication required."))
        change(client, "client-output-buffer-limit", "normal 1mb 0 0")
        self.assertEqual(self.store.front.output_buffer_limit, 1 << 20)
        self.assertEqual(
            get(client, "client-output-buffer-limit")["client-output-buffer-limit"],
            "normal 1048576 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
        )
        change(client, "timeout", "5")
        self.assertEqual(self.store.front.timeout, 5)

    def test_the_longest_argument(self) -> None:
        change(self.client, "proto-max-bulk-len", "1mb")
        self.client.feed(encode_command([b"SET", b"k", b"x" * ((1 << 20) + 1)]))
        self.store.turn()
        self.assertEqual(self.client.taken(), b"-ERR Protocol error: invalid bulk length\r\n")

    def test_the_query_buffer(self) -> None:
        change(self.client, "client-query-buffer-limit", "1mb")
        self.client.feed(b"*2\r\n$4\r\nECHO\r\n$2000000\r\n" + b"x" * 1_100_000)
        self.assertTrue(self.client.session.closing)

    def test_help(self) -> None:
        reply = self.client.call([b"CONFIG", b"HELP"])
        assert isinstance(reply, list)
        self.assertEqual(reply[0], b"CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")
