"""hiredis reads pipelines as the reference reader does, or is not let, and hostile bytes cost no memory."""

from __future__ import annotations

import tracemalloc
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.resp.streams import ODD_REPLIES, Outcome, bad_streams, cut, hostile_pipelines, places, read_all
from tinykv.resp.fast_reader import FastRequestReader
from tinykv.resp.limits import UNAUTHENTICATED, RequestLimits
from tinykv.resp.pipeline import LEAST_BYTES, LEAST_REQUESTS, MOST_ARGUMENTS, MOST_BYTES, is_safe, read_pipeline
from tinykv.resp.reader import NEED_DATA, ProtocolError, RequestReader
from tinykv.resp.replies import encode_command

GET = [b"GET", b"key:17"]
PIPELINE = encode_command(GET) * LEAST_REQUESTS
SAME = [GET] * LEAST_REQUESTS


class EqualityTests(SynchronousTestCase):
    """What the guard lets through is what the reference reader makes of the same bytes, and ends in the same place."""

    def check(self, data: bytes) -> None:
        found = read_pipeline(data)
        if found is None:
            return
        requests, end = found
        reference = RequestReader(RequestLimits())
        reference.feed(data[:end])
        wanted = []
        while (request := reference.next_request()) is not NEED_DATA:
            wanted.append(request)
        self.assertEqual(requests, wanted)
        self.assertFalse(reference.inside)
        self.assertEqual(reference.buffered, 0)

    @given(hostile_pipelines, places)
    def test_hostile_pipelines(self, stream: bytes, where: list[int]) -> None:
        self.check(PIPELINE + stream)
        for piece in cut(stream, where):
            self.check(PIPELINE + piece)

    @given(bad_streams, places)
    def test_bad_streams(self, stream: bytes, where: list[int]) -> None:
        for piece in [stream, *cut(stream, where)]:
            self.check(PIPELINE + piece)

    @given(st.binary(max_size=60))
    def test_random_bytes(self, data: bytes) -> None:
        self.check(PIPELINE + data)

    def test_every_byte_in_every_place(self) -> None:
        tail = b"*2\r\n$3\r\nSET\r\n$1\r\nk\r\n*1\r\n$0\r\n\r\n"
        for place in range(len(tail)):
            for byte in range(256):
                changed = tail[:place] + bytes([byte]) + tail[place + 1 :]
                self.check(PIPELINE + changed)
                self.check(PIPELINE + changed + PIPELINE)
            self.check(PIPELINE + tail[:place])
            self.check(PIPELINE + tail[:place] + tail[place + 1 :] + PIPELINE)

    def test_odd_replies_in_every_place(self) -> None:
        for odd in ODD_REPLIES:
            for before in (b"", b"*1\r\n", b"*2\r\n$1\r\na\r\n", b"*0\r\n", b"*1\r\n$1\r\naXY", b"*2\r\n$1\r\naXY"):
                self.check(PIPELINE + before + odd)
                self.check(PIPELINE + before + odd + PIPELINE)

    def test_replies_that_come_back_as_arrays_of_bytes(self) -> None:
        for odd in (b"+PING\r\n", b"(12\r\n", b"=8\r\ntxt:PING\r\n"):
            self.assertIsNone(read_pipeline(PIPELINE + b"*2\r\n$1\r\na\r\n" + odd))
        for odd in (b">1\r\n$4\r\nPING\r\n", b"~1\r\n$4\r\nPING\r\n", b"|1\r\n$4\r\nPING\r\n$1\r\na\r\n"):
            self.assertIsNone(read_pipeline(PIPELINE + odd))

    def test_ends_that_look_whole(self) -> None:
        for end in (b"*2\r\n", b"*2\r\n$1\r\na\r\n", b"*1\r\n$9\r\n", b"*0\r\n$-1\r\n", b"$-1\r\n", b"$0\r\n\r\n"):
            self.assertIsNone(read_pipeline(PIPELINE + end))


class LetThroughTests(SynchronousTestCase):
    """Pipelines of everyday requests do get to hiredis."""

    def test_plain(self) -> None:
        self.assertEqual(read_pipeline(PIPELINE), (SAME, len(PIPELINE)))
        mixed = [[b"SET", b"k:%d" % index, b"line\r\n{'a': [1, -2, null]} $5 * *9 " * index] for index in range(20)]
        data = PIPELINE + b"".join(map(encode_command, mixed))
        self.assertEqual(read_pipeline(data), (SAME + mixed, len(data)))

    def test_cut(self) -> None:
        last = encode_command([b"SET", b"k", b"abc"])
        for size in range(1, len(last)):
            data = PIPELINE + last[:size]
            # A cut behind a line end looks like a whole chunk, and is left to others.
            wanted = None if data.endswith(b"\r\n") else (SAME, len(PIPELINE))
            self.assertEqual(read_pipeline(data), wanted)

    def test_cut_inside_of_a_value_like_a_request(self) -> None:
        self.assertIsNone(read_pipeline(PIPELINE + encode_command([b"SET", b"k", b"a\r\n*1"])[:-1]))

    def test_few_requests(self) -> None:
        self.assertIsNone(read_pipeline(encode_command(GET) * (LEAST_REQUESTS - 1)))
        self.assertIsNone(read_pipeline(encode_command([b"SET", b"k", b"*" * 5000])))
        self.assertIsNone(read_pipeline(b""))

    def test_longest_chunk_and_beyond(self) -> None:
        request = encode_command([b"x" * 53])
        self.assertEqual(MOST_BYTES % len(request), 0)
        data = request * (MOST_BYTES // len(request))
        self.assertEqual(read_pipeline(data), ([[b"x" * 53]] * (MOST_BYTES // len(request)), MOST_BYTES))
        self.assertIsNone(read_pipeline(data + b"*"))

    def test_most_arguments_and_beyond(self) -> None:
        most = [b"x"] * MOST_ARGUMENTS
        data = PIPELINE + encode_command(most)
        self.assertEqual(read_pipeline(data), ([*SAME, most], len(data)))
        self.assertIsNone(read_pipeline(PIPELINE + encode_command([*most, b"x"])))

    def test_marks_in_values(self) -> None:
        for byte in range(256):
            data = PIPELINE + encode_command([b"SET", b"k", bytes([byte])])
            self.assertEqual(read_pipeline(data) is None, byte in b"%~>|+=(", bytes([byte]))


class ReaderTests(SynchronousTestCase):
    """The quick reader with pipelines long enough that it asks hiredis."""

    LONG = encode_command(GET) * (LEAST_BYTES // len(encode_command(GET)) + 1)

    def through_auth(self, pieces: list[bytes]) -> tuple[Outcome, Outcome]:
        """What both readers make of a stream in whose middle the limits of a client without a password end."""
        fast, slow = FastRequestReader(UNAUTHENTICATED), RequestReader(UNAUTHENTICATED)
        got: list[list[bytes]] = []
        wanted: list[list[bytes]] = []
        error = None
        for piece in pieces:
            slow.feed(piece)
            again = True
            while again:
                more = fast.requests(piece)
                piece, again = b"", fast.again
                got += more
                if more and more[-1][0] == b"AUTH":
                    fast.limits = RequestLimits()
            try:
                while error is None and (request := slow.next_request()) is not NEED_DATA:
                    wanted.append(request)
                    if request[0] == b"AUTH":
                        slow.limits = RequestLimits()
            except ProtocolError as problem:
                error = problem.wire
        return (got, fast.error.wire if fast.error else None), (wanted, error)

    @given(hostile_pipelines, hostile_pipelines, places)
    def test_around_auth(self, before: bytes, after: bytes, where: list[int]) -> None:
        auth = encode_command([b"AUTH", b"pw"])
        for stream in (before + auth + self.LONG + after, auth + self.LONG + after):
            for pieces in ([stream], [auth, stream], cut(stream, where)):
                got, wanted = self.through_auth(pieces)
                self.assertEqual(got, wanted)

    @given(hostile_pipelines, places, st.integers(0, 2000))
    def test_any_split(self, stream: bytes, where: list[int], place: int) -> None:
        data = self.LONG + stream + self.LONG
        for pieces in ([data], cut(data, where), [data[:place], data[place:]]):
            reader = FastRequestReader(RequestLimits())
            got = [request for piece in pieces for request in reader.requests(piece)]
            self.assertEqual((got, reader.error.wire if reader.error else None), read_all(pieces))

    @given(st.binary(max_size=3000), st.integers(0, 2**32))
    def test_random_values(self, value: bytes, seed: int) -> None:
        random = Random(seed)
        wanted = [[b"SET", b"k%d" % index, random.randbytes(index)] for index in range(60)]
        wanted.insert(30, [b"SET", b"k", value])
        reader = FastRequestReader(RequestLimits())
        self.assertEqual(reader.requests(b"".join(map(encode_command, wanted))), wanted)

    def test_narrow_limits(self) -> None:
        # What hiredis may read must be within the limits; under narrower ones nothing is given to it.
        for arguments, bulk_bytes, wanted in ((2, 6, True), (1, 6, False), (2, 5, False)):
            limits = RequestLimits(arguments=arguments, bulk_bytes=bulk_bytes)
            reader = FastRequestReader(limits)
            self.assertEqual(bool(reader.requests(self.LONG)), wanted)
            self.assertEqual(reader.error is None, wanted)


class MemoryTests(SynchronousTestCase):
    """A header claims what it likes: hiredis, which would believe it, doesn't see it, or not too many."""

    CLAIMS = (b"100", b"1000000", b"1000000000", b"4294967295", b"9223372036854775807", b"0100", b"099")

    LONG = ReaderTests.LONG

    def test_claims_are_kept_from_hiredis(self) -> None:
        for claim in self.CLAIMS:
            for mark in b"*%~>|":
                header = bytes([mark]) + claim + b"\r\n"
                for before in (b"", b"*1\r\n", b"*2\r\n$1\r\na\r\n", b"*1\r\n$1\r\nabc", b"*1\r\n$1\r\nab\r"):
                    self.assertFalse(is_safe(PIPELINE + before + header), header)

    def test_nesting_is_kept_from_hiredis(self) -> None:
        self.assertFalse(is_safe(PIPELINE + b"*9\r\n*9\r\n"))

    def peak(self, data: bytes) -> int:
        """How many bytes Python's allocators, which hiredis takes its arrays from, gave at most while reading."""
        reader = FastRequestReader(RequestLimits())
        tracemalloc.start()
        try:
            reader.requests(data)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def test_arrays_in_arrays(self) -> None:
        # The worst that the guard lets in: arrays of which each claims the most behind the least of an element.
        worst = b"*%d\r\n$0\r\n\r\n" % MOST_ARGUMENTS
        data = worst * (MOST_BYTES // len(worst))
        self.assertTrue(is_safe(data))
        self.assertLess(self.peak(data), 100 * MOST_BYTES)

    def test_claims_behind_a_pipeline(self) -> None:
        self.assertLess(self.peak(self.LONG + b"*1048576\r\n$536870912\r\n"), 1_000_000)

    def test_nothing_is_kept(self) -> None:
        data = self.LONG + b"*50\r\n$0\r\n\r\n" * 1000
        self.assertTrue(is_safe(data))
        self.assertIsNone(read_pipeline(data))
        tracemalloc.start()
        try:
            for _ in range(20):
                read_pipeline(data)
            self.assertLess(tracemalloc.get_traced_memory()[0], 100_000)
        finally:
            tracemalloc.stop()
