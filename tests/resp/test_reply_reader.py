"""Replies read back: every type, nested, in any pieces, and what is refused."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.resp.streams import cut, places, single_bytes
from tinykv.resp import replies
from tinykv.resp.reader import NEED_DATA
from tinykv.resp.reply_reader import (
    Attributed,
    BadReply,
    BigNumber,
    ErrorReply,
    MapReply,
    NullArray,
    Push,
    Reply,
    ReplyLimits,
    ReplyReader,
    SetReply,
    Simple,
    Verbatim,
)

VALUES: list[tuple[bytes, Reply]] = [
    (b"+OK\r\n", Simple(b"OK")),
    (b"+\r\n", Simple(b"")),
    (b"-ERR no\r\n", ErrorReply(b"ERR no")),
    (b":12\r\n", 12),
    (b":-12\r\n", -12),
    (b"$3\r\na\r\n\r\n", b"a\r\n"),
    (b"$0\r\n\r\n", b""),
    (b"$-1\r\n", None),
    (b"_\r\n", None),
    (b"*-1\r\n", NullArray()),
    (b"*0\r\n", []),
    (b"*2\r\n*1\r\n:1\r\n*0\r\n", [[1], []]),
    (b"#t\r\n", True),
    (b"#f\r\n", False),
    (b",1.5\r\n", 1.5),
    (b",1e+20\r\n", 1e20),
    (b",-inf\r\n", -math.inf),
    (b"(123456789012345678901234567890\r\n", BigNumber(123456789012345678901234567890)),
    (b"!5\r\nERR a\r\n", ErrorReply(b"ERR a")),
    (b"=5\r\ntxt:a\r\n", Verbatim(b"txt", b"a")),
    (b"%2\r\n+a\r\n:1\r\n*1\r\n:2\r\n_\r\n", MapReply(((b"a", 1), ([2], None)))),
    (b"%0\r\n", MapReply(())),
    (b"~2\r\n:1\r\n:1\r\n", SetReply((1, 1))),
    (b">2\r\n+message\r\n$1\r\na\r\n", Push((b"message", b"a"))),
    (b"|1\r\n+ttl\r\n:5\r\n*1\r\n:1\r\n", Attributed(((b"ttl", 5),), [1])),
    (b"*1\r\n|1\r\n+ttl\r\n:5\r\n:1\r\n", [Attributed(((b"ttl", 5),), 1)]),
]

REFUSED = [
    b"hello\r\n",
    b"\r\n",
    b":\r\n",
    b":1x\r\n",
    b": 1\r\n",
    b":1_0\r\n",
    b"+a\nb\r\n",
    b"+a\rb\r\n",
    b"$-2\r\n",
    b"$?\r\n",
    b"*?\r\n",
    b"*-2\r\n",
    b"%-1\r\n",
    b"$1\r\nabc",
    b"#x\r\n",
    b",one\r\n",
    b",1_0\r\n",
    b"(1.5\r\n",
    b"_x\r\n",
    b"=3\r\ntxt\r\n",
    b"=5\r\ntext:\r\n",
    b"$99999999999999999999\r\n",
]


def read_replies(pieces: list[bytes], limits: ReplyLimits | None = None) -> list[Reply]:
    """All replies of a stream that comes in these pieces."""
    reader = ReplyReader(limits)
    values: list[Reply] = []
    for piece in pieces:
        reader.feed(piece)
        while (value := reader.next_reply()) is not NEED_DATA:
            values.append(value)
    return values


def typed(value: Reply) -> str:
    """A form in which 1, 1.0 and True differ, and a simple string from another."""
    return f"{type(value).__name__} {value!r}"


class ReplyTests(SynchronousTestCase):
    """`ReplyReader`."""

    def test_types(self) -> None:
        for stream, value in VALUES:
            for pieces in ([stream], single_bytes(stream)):
                self.assertEqual(list(map(typed, read_replies(pieces))), [typed(value)], stream)

    def test_nan(self) -> None:
        (value,) = read_replies([b",nan\r\n"])
        self.assertTrue(isinstance(value, float) and math.isnan(value))

    def test_refused(self) -> None:
        for stream in REFUSED:
            for pieces in ([stream], single_bytes(stream)):
                with self.assertRaises(BadReply, msg=repr(stream)):
                    read_replies(pieces)

    def test_dead_after_an_error(self) -> None:
        reader = ReplyReader()
        reader.feed(b"?\r\n+OK\r\n")
        self.assertRaises(BadReply, reader.next_reply)
        self.assertRaises(BadReply, reader.next_reply)

    @given(st.lists(st.sampled_from(VALUES), max_size=8), places)
    def test_streams_in_pieces(self, parts: list[tuple[bytes, Reply]], where: list[int]) -> None:
        stream = b"".join(part for part, _ in parts)
        self.assertEqual(read_replies(cut(stream, where)), [value for _, value in parts])

    @given(st.lists(st.binary(max_size=40)))
    def test_random_bytes_are_read_or_refused(self, pieces: list[bytes]) -> None:
        try:
            read_replies(pieces)
        except BadReply:
            return

    def test_what_the_encoders_make(self) -> None:
        stream = b"".join(
            [
                replies.map_([replies.bulk(b"k"), replies.double(0.1, 3)], 3),
                replies.set_([replies.nil(3)], 3),
                replies.push([replies.boolean(True, 3)]),
                replies.verbatim(b"hi", b"mkd", 3),
                replies.nil_array(2),
            ]
        )
        wanted = [
            MapReply(((b"k", 0.1),)),
            SetReply((None,)),
            Push((True,)),
            Verbatim(b"mkd", b"hi"),
            NullArray(),
        ]
        self.assertEqual(read_replies([stream]), wanted)


class LimitTests(SynchronousTestCase):
    """Each limit, at it and one past it."""

    def check(self, limits: ReplyLimits, at: bytes, past: bytes) -> None:
        self.assertEqual(len(read_replies([at, at], limits)), 2)
        for pieces in ([past], single_bytes(past)):
            with self.assertRaises(BadReply):
                read_replies(pieces, limits)

    def test_depth(self) -> None:
        nested = [b"*1\r\n" * depth + b":1\r\n" for depth in (4, 5)]
        self.check(ReplyLimits(depth=4), nested[0], nested[1])

    def test_elements(self) -> None:
        self.check(ReplyLimits(elements=4), b"*3\r\n:1\r\n:2\r\n:3\r\n", b"*2\r\n*2\r\n:1\r\n:2\r\n:3\r\n")
        self.check(ReplyLimits(elements=4), b"*0\r\n", b"*5\r\n")

    def test_line_bytes(self) -> None:
        self.check(ReplyLimits(line_bytes=10), b"+" + b"a" * 9 + b"\r\n", b"+" + b"a" * 10 + b"\r\n")

    def test_bulk_bytes(self) -> None:
        self.check(ReplyLimits(bulk_bytes=10), b"$10\r\n" + b"a" * 10 + b"\r\n", b"$11\r\n")

    def test_claims_cost_nothing(self) -> None:
        self.assertEqual(read_replies([b"*60000000\r\n", b"$500000000\r\n"]), [])
