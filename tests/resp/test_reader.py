"""The reference reader: what it takes, what it refuses and with which words, in any pieces.

The tables were checked against redis-server 7.0.15.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from tests.resp.streams import bad_streams, cut, good_streams, mutated_streams, places, read_all, single_bytes
from tinykv.resp.limits import UNAUTHENTICATED, RequestLimits
from tinykv.resp.reader import NEED_DATA, ProtocolError, RequestReader
from tinykv.resp.replies import encode_command

PING = b"*1\r\n$4\r\nPING\r\n"
COUNT = b"invalid multibulk length"
LENGTH = b"invalid bulk length"

ACCEPTED = [
    (PING, [[b"PING"]]),
    (PING + PING, [[b"PING"], [b"PING"]]),
    (b"*0\r\n" + PING, [[b"PING"]]),
    (b"*-1\r\n*-5\r\n" + PING, [[b"PING"]]),
    (b"\r\n\n  \r\nPING\n" + PING, [[b"PING"], [b"PING"]]),
    (b"*1\rX$4\rYPINGab" + PING, [[b"PING"], [b"PING"]]),
    (b"*1\r\n$0\r\n\r\n", [[b""]]),
    (b"*2\r\n$3\r\nGET\r\n$4\r\n\r\n\r\n\r\n", [[b"GET", b"\r\n\r\n"]]),
    (b"PING\r\nPING\nECHO a\r\r\n", [[b"PING"], [b"PING"], [b"ECHO", b"a"]]),
    (b"*1\n$4\nPING\n", []),
    (b"PI\0NG\r\nPING\r\n", []),
    (b"*1\0\r\n" + PING, []),
    (b"*1\r\n\0\r\n" + PING, []),
    (b"*1\r\n$4\0\r\nPING\r\n", []),
    (b"*1\r\n:", []),
    (b"*1\r\n:\r", []),
    (b"*1048576\r\n", []),
    (b"*1\r\n$536870912\r\n", []),
]

REFUSED = [
    (b"*\r\n", COUNT),
    (b"*-0\r\n", COUNT),
    (b"*00\r\n", COUNT),
    (b"*01\r\n", COUNT),
    (b"*+1\r\n", COUNT),
    (b"* 1\r\n", COUNT),
    (b"*1 \r\n", COUNT),
    (b"*--1\r\n", COUNT),
    (b"*1\n$4\r\nPING\r\n", COUNT),
    (b"*1048577\r\n", COUNT),
    (b"*99999999999999999999999\r\n", COUNT),
    (b"*-9223372036854775809\r\n", COUNT),
    (b"*1\r\n$-1\r\n", LENGTH),
    (b"*1\r\n$\r\n", LENGTH),
    (b"*1\r\n$04\r\n", LENGTH),
    (b"*1\r\n$4x\r\n", LENGTH),
    (b"*1\r\n$536870913\r\n", LENGTH),
    (b"*1\r\n$9223372036854775808\r\n", LENGTH),
    (b"*1\r\n:4\r\n", b"expected '$', got ':'"),
    (b"*1\r\n*4\r\n", b"expected '$', got '*'"),
    (b"*1\r\n\xff\r\n", b"expected '$', got '\xff'"),
    (b"*1\r\n\r\n", b"expected '$', got ' '"),
    (b"*1\r\n\n\r\n", b"expected '$', got ' '"),
    (b"ECHO 'a'b\r\n", b"unbalanced quotes in request"),
]


class RequestTests(SynchronousTestCase):
    """Requests out of bytes."""

    def test_accepted(self) -> None:
        for stream, requests in ACCEPTED:
            for pieces in ([stream], single_bytes(stream)):
                self.assertEqual(read_all(pieces), (requests, None), stream)

    def test_refused(self) -> None:
        for stream, text in REFUSED:
            for pieces in ([PING + stream], single_bytes(PING + stream)):
                self.assertEqual(read_all(pieces), ([[b"PING"]], b"ERR Protocol error: " + text), stream)

    def test_dead_after_an_error(self) -> None:
        reader = RequestReader(RequestLimits())
        reader.feed(b"*x\r\n" + PING)
        for _ in range(2):
            with self.assertRaises(ProtocolError):
                reader.next_request()

    def test_buffered_and_rest(self) -> None:
        reader = RequestReader(RequestLimits())
        reader.feed(PING + b"*2\r\n")
        self.assertEqual(reader.next_request(), [b"PING"])
        self.assertEqual((reader.buffered, reader.inside), (4, False))
        self.assertEqual(reader.pop_rest(), b"*2\r\n")
        self.assertEqual(reader.buffered, 0)
        reader.feed(b"*2\r\n$3\r\nGET\r\n$2")
        self.assertIs(reader.next_request(), NEED_DATA)
        self.assertEqual((reader.buffered, reader.inside), (5, True))
        self.assertRaises(ValueError, reader.pop_rest)
        reader.feed(b"\r\nab\r\n")
        self.assertEqual(reader.next_request(), [b"GET", b"ab"])
        self.assertEqual((reader.buffered, reader.inside), (0, False))

    def test_long_argument_in_pieces(self) -> None:
        value = bytes(range(256)) * 1024
        stream = encode_command([b"SET", b"k", value]) + PING
        for size in (1000, 4096, 65_536, 100_000, len(stream) - 15, len(stream) - 16, len(stream) - 14):
            pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
            self.assertEqual(read_all(pieces), ([[b"SET", b"k", value], [b"PING"]], None), size)

    def test_many_arguments(self) -> None:
        request = [b"DEL", *(b"%d" % number for number in range(20_000))]
        stream = encode_command(request)
        pieces = [stream[start : start + 777] for start in range(0, len(stream), 777)]
        self.assertEqual(read_all(pieces), ([request], None))

    @given(good_streams, places)
    def test_good_streams_in_pieces(self, stream: bytes, where: list[int]) -> None:
        requests, error = read_all([stream])
        self.assertIsNone(error)
        self.assertEqual(read_all(cut(stream, where)), (requests, None))
        self.assertEqual(read_all(single_bytes(stream)), (requests, None))

    @given(bad_streams, places)
    def test_bad_streams_in_pieces(self, stream: bytes, where: list[int]) -> None:
        self.assertEqual(read_all(cut(stream, where)), read_all([stream]))

    @given(mutated_streams(), places)
    def test_mutated_streams_in_pieces(self, stream: bytes, where: list[int]) -> None:
        self.assertEqual(read_all(cut(stream, where)), read_all([stream]))


class LimitTests(SynchronousTestCase):
    """Each limit, at it and one past it."""

    LIMITS = RequestLimits(inline_bytes=20, arguments=3, bulk_bytes=5)

    def check(
        self, stream: bytes, requests: list[list[bytes]], error: bytes | None, limits: RequestLimits
    ) -> None:
        wire = None if error is None else b"ERR Protocol error: " + error
        for pieces in ([stream], single_bytes(stream)):
            self.assertEqual(read_all(pieces, limits), (requests, wire), stream)

    def test_arguments(self) -> None:
        self.check(encode_command([b"a"] * 3), [[b"a"] * 3], None, self.LIMITS)
        self.check(encode_command([b"a"] * 4), [], COUNT, self.LIMITS)

    def test_bulk_bytes(self) -> None:
        self.check(encode_command([b"aaaaa"]), [[b"aaaaa"]], None, self.LIMITS)
        self.check(encode_command([b"aaaaaa"]), [], LENGTH, self.LIMITS)

    def test_lines(self) -> None:
        self.check(b"a" * 20, [], None, self.LIMITS)
        self.check(b"a" * 20 + b"\n", [[b"a" * 20]], None, self.LIMITS)
        self.check(b"a" * 21, [], b"too big inline request", self.LIMITS)
        self.check(b"a" * 21 + b"\n", [], b"too big inline request", self.LIMITS)
        self.check(b"*" + b"1" * 19, [], None, self.LIMITS)
        self.check(b"*" + b"1" * 20, [], b"too big mbulk count string", self.LIMITS)
        self.check(b"*1\r\n$" + b"1" * 19, [], None, self.LIMITS)
        self.check(b"*1\r\n$" + b"1" * 20, [], b"too big bulk count string", self.LIMITS)
        self.check(b"*1\r\n" + b"z" * 21, [], b"too big bulk count string", self.LIMITS)
        self.check(b"a\0\n" + b"b" * 18, [], b"too big inline request", self.LIMITS)

    def test_redis_line_limit(self) -> None:
        self.check(b"x" * 65_536, [], None, RequestLimits())
        self.check(b"x" * 65_537, [], b"too big inline request", RequestLimits())

    def test_before_auth(self) -> None:
        self.check(encode_command([b"a"] * 10), [[b"a"] * 10], None, UNAUTHENTICATED)
        self.check(encode_command([b"a"] * 11), [], b"unauthenticated multibulk length", UNAUTHENTICATED)
        self.check(encode_command([b"a" * 16_384]), [[b"a" * 16_384]], None, UNAUTHENTICATED)
        self.check(b"*1\r\n$16385\r\n", [], b"unauthenticated bulk length", UNAUTHENTICATED)
        self.check(b"*1048577\r\n", [], COUNT, UNAUTHENTICATED)
        self.check(b"*1\r\n$536870913\r\n", [], LENGTH, UNAUTHENTICATED)

    def test_changed_after_auth(self) -> None:
        reader = RequestReader(UNAUTHENTICATED)
        auth, long = [b"AUTH", b"pw"], [b"a"] * 11
        reader.feed(encode_command(auth) + encode_command(long))
        self.assertEqual(reader.next_request(), auth)
        reader.limits = replace(UNAUTHENTICATED, authenticated=True)
        self.assertEqual(reader.next_request(), long)
