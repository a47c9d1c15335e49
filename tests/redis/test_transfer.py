"""DUMP and RESTORE, to and from a real server."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis.scripted import Pair, check_scripts
from tests.redis_server import RedisServer
from tinykv.redis.crc64 import crc64
from tinykv.testing.embedded import Embedded

PREPARED = [
    [b"set a hello"],
    [b"set a 12345"],
    [b"rpush a 1 2 three"],
    [b"rpush a " + b" ".join(b"element%d" % number for number in range(3000))],
    [b"sadd a 1 2 3"],
    [b"sadd a 1 2 x"],
    [b"sadd a " + b" ".join(b"%d" % number for number in range(1500))],
    [b"zadd a 1 x 2.5 y inf z -inf w"],
    [b"zadd a " + b" ".join(b"%d.25 m%d" % (number, number) for number in range(1500))],
    [b"hset a f v g w"],
    [b"hset a " + b" ".join(b"f%d v%d" % (number, number) for number in range(1500))],
    [b"hset a f " + b"x" * 100],
]
READERS = {
    b"string": b"get b",
    b"list": b"lrange b 0 -1",
    b"set": b"smembers b",
    b"zset": b"zrange b 0 -1 WITHSCORES",
    b"hash": b"hgetall b",
}


def _content(pair: Pair) -> list[list[bytes]]:
    """Give type, encoding, expiry and elements of the key C{b}, as we and as they say."""
    kind = pair.theirs.call("TYPE", "b")
    found: list[list[bytes]] = [[], []]
    for line in (b"type b", b"object encoding b", b"ttl b", READERS[kind]):
        for side, reply in zip(found, pair.run(*line.split()), strict=True):
            words = reply.split(b"\r\n")
            side += sorted(words) if kind in (b"set", b"hash") else words
    return found


class TransferTests(SynchronousTestCase):
    """DUMP and RESTORE."""

    def test_replies_as_from_redis(self) -> None:
        with RedisServer() as server:
            self.assertEqual(check_scripts(server, "transfer"), [])

    def test_dumps_load_on_the_other_side(self) -> None:
        with RedisServer() as server:
            pair = Pair(server)
            for commands in PREPARED:
                pair.clear()
                for line in commands:
                    pair.run(*line.split())
                ours = pair.ours.run(b"dump", b"a").partition(b"\r\n")[2][:-2]
                theirs = pair.theirs.call("DUMP", "a")
                self.assertEqual(pair.ours.run(b"restore", b"b", b"0", theirs), b"+OK\r\n", commands[0][:60])
                self.assertEqual(pair.theirs.raw("RESTORE", "b", 0, ours), b"+OK\r\n", commands[0][:60])
                self.assertEqual(*_content(pair), commands[0][:60])
                pair.ours.forget()
                self.assertEqual(*_content(pair), commands[0][:60])

    def test_options(self) -> None:
        with RedisServer() as server:
            pair = Pair(server)
            pair.run(b"set", b"a", b"hello")
            payload = pair.theirs.call("DUMP", "a")
            for arguments in (
                [b"restore", b"a", b"0", payload],
                [b"restore", b"a", b"100000", payload, b"REPLACE"],
                [b"ttl", b"a"],
                [b"restore", b"a", b"9999999999999", payload, b"REPLACE", b"ABSTTL"],
                [b"pexpiretime", b"a"],
                [b"restore", b"a", b"0", payload, b"replace"],
                [b"ttl", b"a"],
                [b"restore", b"a", b"1", payload, b"REPLACE", b"ABSTTL"],
                [b"exists", b"a"],
                [b"restore", b"b", b"1", payload, b"ABSTTL"],
                [b"exists", b"b"],
                [b"restore", b"c", b"0", payload, b"IDLETIME", b"1000"],
                [b"object", b"idletime", b"c"],
                [b"restore", b"d", b"0", payload, b"FREQ", b"100"],
                [b"restore", b"e", b"0", payload[:-1] + bytes((payload[-1] ^ 1,))],
                [b"restore", b"e", b"0", b"\xff" + payload[1:]],
                [b"restore", b"e", b"0", payload[:-10] + b"\x63\x00" + payload[-8:]],
                [b"exists", b"e"],
            ):
                self.assertEqual(*pair.run(*arguments), arguments)

    def test_damaged_payloads_change_nothing(self) -> None:
        embedded = Embedded()
        embedded.run(b"hset", b"a", *[b"%d" % number for number in range(100)])
        payload = embedded.run(b"dump", b"a").partition(b"\r\n")[2][:-2]
        embedded.run(b"set", b"b", b"1")
        before = embedded.rows.image()

        @given(st.integers(0, len(payload) - 1), st.integers(1, 255))
        def run(place: int, flip: int) -> None:
            damaged = payload[:place] + bytes((payload[place] ^ flip,)) + payload[place + 1 :]
            reply = embedded.run(b"restore", b"b", b"0", damaged, b"REPLACE")
            self.assertEqual(reply, b"-ERR DUMP payload version or checksum are wrong\r\n")
            self.assertEqual(embedded.rows.image(), before)

        run()
        sound = crc64(payload[:5] + payload[-10:-8]).to_bytes(8, "little")
        reply = embedded.run(b"restore", b"b", b"0", payload[:5] + payload[-10:-8] + sound, b"REPLACE")
        self.assertEqual(reply, b"-ERR Bad data format\r\n")
        self.assertEqual(embedded.rows.image(), before)
