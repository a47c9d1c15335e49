"""Commands on the time at which keys expire, against a real server."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.redis.scripted import check_scripts
from tests.redis_server import RedisServer
from tinykv.testing.embedded import Embedded


class ExpiryTests(SynchronousTestCase):
    """EXPIRE, TTL, PERSIST and their variants."""

    def test_replies_as_from_redis(self) -> None:
        with RedisServer() as server:
            self.assertEqual(check_scripts(server, "expiry"), [])

    def test_to_the_millisecond(self) -> None:
        embedded = Embedded()
        for key in (b"a", b"h"):
            embedded.run(b"set" if key == b"a" else b"sadd", key, b"1")
            self.assertEqual(embedded.run(b"pexpire", key, b"1501"), b":1\r\n")
            at = embedded.now + 1501
            self.assertEqual(embedded.run(b"pexpiretime", key), b":%d\r\n" % at)
            self.assertEqual(embedded.run(b"expiretime", key), b":%d\r\n" % ((at + 500) // 1000))
            self.assertEqual(embedded.run(b"pttl", key), b":1501\r\n")
            self.assertEqual(embedded.run(b"ttl", key), b":2\r\n")
            embedded.now = at - 1
            self.assertEqual(embedded.run(b"pttl", key), b":1\r\n")
            self.assertEqual(embedded.run(b"ttl", key), b":0\r\n")
            embedded.now = at
            self.assertEqual(embedded.run(b"pttl", key), b":-2\r\n")
            self.assertEqual(embedded.run(b"persist", key), b":0\r\n")
            self.assertEqual(embedded.run(b"exists", key), b":0\r\n")

    def test_it_lasts_over_a_restart(self) -> None:
        embedded = Embedded()
        embedded.run(b"set", b"a", b"1")
        embedded.run(b"sadd", b"s", b"1")
        for key in (b"a", b"s"):
            embedded.run(b"expire", key, b"100")
        embedded.forget()
        self.assertEqual(embedded.keyspace.databases[0].expiring, 2)
        for key in (b"a", b"s"):
            self.assertEqual(embedded.run(b"ttl", key), b":100\r\n")
            self.assertEqual(embedded.run(b"persist", key), b":1\r\n")
        embedded.forget()
        self.assertEqual(embedded.keyspace.databases[0].expiring, 0)
        self.assertEqual(embedded.run(b"ttl", b"s"), b":-1\r\n")

    def test_the_index_of_expiries_is_told(self) -> None:
        embedded = Embedded()
        embedded.run(b"set", b"a", b"1")
        embedded.run(b"sadd", b"s", b"1")
        embedded.run(b"pexpire", b"a", b"5")
        embedded.run(b"pexpire", b"s", b"7")
        self.assertEqual([at - embedded.now for at, _ in embedded.rows.expiries], [5, 7])

    def test_a_refused_command_changes_nothing(self) -> None:
        embedded = Embedded()
        embedded.run(b"set", b"a", b"1", b"EX", b"100")
        before = embedded.rows.image()
        for line in (
            b"expire a 200 NX",
            b"expire a x",
            b"expire a 200 LT",
            b"expire a 50 GT",
            b"expire a 5 bad",
            b"expire a 9223372036854775807",
            b"persist b",
            b"expire b 0",
        ):
            self.assertIn(embedded.run(*line.split())[:1], b"-:")
            self.assertEqual(embedded.rows.image(), before, line)
