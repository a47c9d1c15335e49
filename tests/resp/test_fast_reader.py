"""The quick reader is the reference reader, only quicker."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.resp.streams import (
    bad_streams,
    cut,
    good_streams,
    mutated_streams,
    places,
    plain_streams,
    read_all,
    single_bytes,
)
from tests.resp.test_reader import ACCEPTED, PING, REFUSED
from tinykv.resp.fast_reader import FastRequestReader
from tinykv.resp.limits import UNAUTHENTICATED, RequestLimits
from tinykv.resp.reader import NEED_DATA, ProtocolError, RequestReader
from tinykv.resp.replies import bulks, encode_command

SMALL = RequestLimits(inline_bytes=30, arguments=3, bulk_bytes=10)


class EqualityTests(SynchronousTestCase):
    """After every piece both readers have given the same requests, or the same error, and hold as much."""

    def check(self, pieces: list[bytes], limits: RequestLimits | None = None) -> None:
        limits = limits or RequestLimits()
        fast, slow = FastRequestReader(limits), RequestReader(limits)
        carried = 0
        for piece in pieces:
            got = fast.requests(piece)
            slow.feed(piece)
            wanted, error = [], None
            try:
                while (request := slow.next_request()) is not NEED_DATA:
                    wanted.append(request)
            except ProtocolError as problem:
                error = problem.wire
            self.assertEqual(got, wanted)
            self.assertEqual(fast.error.wire if fast.error else None, error)
            self.assertFalse(fast.again)
            if fast.whole:
                self.assertEqual(carried, 0)
                self.assertEqual(b"".join(map(encode_command, got)), piece)
            if error is not None:
                self.assertEqual(fast.requests(PING), [])
                self.assertFalse(fast.whole)
                return
            carried = fast.buffered
            self.assertEqual(carried, slow.buffered)

    def test_requests_in_canonical_form(self) -> None:
        for lengths in ([0], [1, 1024], [3, 16, 100], [3, 1024, 1025], [1025, 0, 3], [3, 1, 2, 3], [8193] * 4):
            arguments = [b"x" * length for length in lengths]
            self.assertEqual(encode_command(arguments), bulks(arguments))

    def test_tables(self) -> None:
        for stream, _ in [*ACCEPTED, *REFUSED]:
            for data in (stream, PING + stream, PING * 20 + stream, stream + PING):
                self.check([data])
                self.check(single_bytes(data))
                self.check([data], SMALL)

    @given(good_streams, places)
    def test_good_streams(self, stream: bytes, where: list[int]) -> None:
        self.check([stream])
        self.check(cut(stream, where))
        self.check(single_bytes(stream))

    @given(plain_streams, places)
    def test_plain_streams(self, stream: bytes, where: list[int]) -> None:
        self.check([stream])
        self.check(cut(stream, where))
        self.check(cut(stream, where), SMALL)

    @given(bad_streams, places)
    def test_bad_streams(self, stream: bytes, where: list[int]) -> None:
        self.check([stream])
        self.check(cut(stream, where))
        self.check(cut(stream, where), SMALL)

    @given(mutated_streams(), places)
    def test_mutated_streams(self, stream: bytes, where: list[int]) -> None:
        self.check([stream])
        self.check(cut(stream, where))

    @given(st.lists(st.binary(max_size=60)))
    def test_random_bytes(self, pieces: list[bytes]) -> None:
        self.check(pieces)

    @given(
        st.lists(st.sampled_from([b"*", b"$", b"1", b"2", b"\r\n", b"\r", b"\n", b"a", b":", b"-", b"\0"])),
        places,
    )
    def test_random_tokens(self, tokens: list[bytes], where: list[int]) -> None:
        self.check(cut(b"".join(tokens), where))

    @given(st.integers(1, 40), st.integers(1, 5), places, st.data())
    def test_uniform_pipelines_with_one_flaw(
        self, size: int, count: int, where: list[int], data: st.DataObject
    ) -> None:
        stream = bytearray(encode_command([b"abc"] * count) * size)
        self.check(cut(bytes(stream), where))
        place = data.draw(st.integers(0, len(stream) - 1))
        stream[place : place + 1] = data.draw(
            st.sampled_from([b"", b"\r", b"\n", b"1", b"\r\n", b"*", b"$2"])
        )
        self.check(cut(bytes(stream), where))


class ChunkTests(SynchronousTestCase):
    """What a session reads off besides the requests."""

    def test_whole(self) -> None:
        short, longer = [b"GET", b"k"], [b"SET", b"k", b"v" * 100]
        many = [b"MSET", *[b"k"] * 30]
        for requests in ([short], [longer], [[b"PING"]], [many], [short] * 20, [short, longer] * 5):
            reader = FastRequestReader(RequestLimits())
            self.assertEqual(reader.requests(b"".join(map(encode_command, requests))), requests)
            self.assertTrue(reader.whole)

    def test_not_whole(self) -> None:
        for data in (
            b"",
            b"PING\r\n",
            PING + b"*",
            PING + b"\r\n",
            PING[:-2],
            b"*1\r\n$4\r\nPINGxx",
            b"*1\rx$4\r\nPING\r\n",
        ):
            reader = FastRequestReader(RequestLimits())
            reader.requests(data)
            self.assertFalse(reader.whole, data)

    def test_carried_over(self) -> None:
        reader = FastRequestReader(RequestLimits())
        self.assertEqual(reader.requests(PING + PING[:5]), [[b"PING"]])
        self.assertEqual(reader.buffered, 1)
        self.assertEqual(reader.requests(PING[5:] + PING * 20), [[b"PING"]] * 21)
        self.assertFalse(reader.whole)
        self.assertEqual(reader.requests(PING), [[b"PING"]])
        self.assertTrue(reader.whole)

    def test_requests_before_an_error(self) -> None:
        reader = FastRequestReader(RequestLimits())
        self.assertEqual(reader.requests(PING * 3 + b"*1\r\n:1\r\n" + PING), [[b"PING"]] * 3)
        assert reader.error is not None
        self.assertEqual(reader.error.wire, b"ERR Protocol error: expected '$', got ':'")
        self.assertFalse(reader.whole)

    def test_longest_quick_argument_and_beyond(self) -> None:
        for size in (8170, 8191, 8192, 8193, 8194, 9_999, 10_000, 70_000):
            for request in ([b"SET", b"k", b"x" * size], [b"GET", b"x" * size], [b"x" * size]):
                reader = FastRequestReader(RequestLimits())
                self.assertEqual(reader.requests(encode_command(request) + PING), [request, [b"PING"]])
                self.assertEqual(reader.requests(PING), [[b"PING"]])

    def test_most_quick_arguments_and_beyond(self) -> None:
        for size in (1023, 1024, 1025, 3000):
            reader = FastRequestReader(RequestLimits())
            self.assertEqual(reader.requests(encode_command([b"x"] * size)), [[b"x"] * size])

    def test_claims_cost_nothing(self) -> None:
        for claim in (b"*1048576\r\n", b"*1048576\r\n$536870912\r\n", b"*1\r\n$536870912\r\n"):
            reader = FastRequestReader(RequestLimits())
            self.assertEqual(reader.requests(claim), [])
            self.assertIsNone(reader.error)
            self.assertEqual(reader.buffered, 0)


class BeforeAuthTests(SynchronousTestCase):
    """One request a call, so that AUTH decides about what follows it in the same bytes."""

    AUTH = (b"AUTH", b"pw")
    LONG = (b"a",) * 11

    def test_auth_then_more(self) -> None:
        reader = FastRequestReader(UNAUTHENTICATED)
        data = encode_command(self.AUTH) + encode_command(self.LONG) + PING
        self.assertEqual(reader.requests(data), [list(self.AUTH)])
        self.assertTrue(reader.again)
        reader.limits = RequestLimits()
        self.assertEqual(reader.requests(b""), [list(self.LONG), [b"PING"]])
        self.assertFalse(reader.again)
        self.assertEqual(reader.requests(PING), [[b"PING"]])
        self.assertTrue(reader.whole)

    def test_auth_refused(self) -> None:
        reader = FastRequestReader(UNAUTHENTICATED)
        self.assertEqual(
            reader.requests(encode_command(self.AUTH) + encode_command(self.LONG)), [list(self.AUTH)]
        )
        self.assertIsNone(reader.error)
        self.assertEqual(reader.requests(b""), [])
        assert reader.error is not None
        self.assertEqual(reader.error.wire, b"ERR Protocol error: unauthenticated multibulk length")
        self.assertFalse(reader.again)

    def test_limits_narrowed(self) -> None:
        reader = FastRequestReader(RequestLimits())
        reader.limits = replace(reader.limits, arguments=2)
        self.assertEqual(reader.requests(encode_command([b"a", b"b"])), [[b"a", b"b"]])
        self.assertEqual(reader.requests(encode_command([b"a", b"b", b"c"])), [])
        self.assertIsNotNone(reader.error)

    @given(bad_streams, places)
    def test_same_requests_one_by_one(self, stream: bytes, where: list[int]) -> None:
        reader = FastRequestReader(UNAUTHENTICATED)
        requests = []
        for piece in cut(stream, where):
            requests += reader.requests(piece)
            while reader.again:
                requests += reader.requests(b"")
        error = reader.error.wire if reader.error else None
        self.assertEqual((requests, error), read_all([stream], UNAUTHENTICATED))
