"""Replies in both protocols, byte for byte as Redis 7.0.15 sends them."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.resp.streams import read_all
from tinykv.resp import replies


class EncodingTests(SynchronousTestCase):
    """One function for each type of reply."""

    def test_same_in_both_protocols(self) -> None:
        for encoded, wanted in [
            (replies.simple(b"OK"), b"+OK\r\n"),
            (replies.OK, b"+OK\r\n"),
            (replies.integer(-3), b":-3\r\n"),
            (replies.integer(1), replies.ONE),
            (replies.integer(0), replies.ZERO),
            (replies.bulk(b""), b"$0\r\n\r\n"),
            (replies.bulk(b""), replies.EMPTY_BULK),
            (replies.bulk(b"a\r\nb"), b"$4\r\na\r\nb\r\n"),
            (replies.array([]), replies.EMPTY_ARRAY),
            (replies.array([replies.ONE, replies.array([replies.OK])]), b"*2\r\n:1\r\n*1\r\n+OK\r\n"),
            (replies.bulks([]), b"*0\r\n"),
            (replies.bulks([b"a", b""]), b"*2\r\n$1\r\na\r\n$0\r\n\r\n"),
        ]:
            self.assertEqual(encoded, wanted)

    def test_resp2_and_resp3(self) -> None:
        pair = [replies.bulk(b"a"), replies.ONE]
        for encode, in2, in3 in [
            (replies.nil, b"$-1\r\n", b"_\r\n"),
            (replies.nil_array, b"*-1\r\n", b"_\r\n"),
            (lambda proto: replies.map_(pair, proto), b"*2\r\n$1\r\na\r\n:1\r\n", b"%1\r\n$1\r\na\r\n:1\r\n"),
            (lambda proto: replies.set_(pair, proto), b"*2\r\n$1\r\na\r\n:1\r\n", b"~2\r\n$1\r\na\r\n:1\r\n"),
            (lambda proto: replies.push(pair, proto), b"*2\r\n$1\r\na\r\n:1\r\n", b">2\r\n$1\r\na\r\n:1\r\n"),
            (lambda proto: replies.double(3.141, proto), b"$5\r\n3.141\r\n", b",3.141\r\n"),
            (lambda proto: replies.boolean(True, proto), b":1\r\n", b"#t\r\n"),
            (lambda proto: replies.boolean(False, proto), b":0\r\n", b"#f\r\n"),
            (
                lambda proto: replies.verbatim(b"a\nb", b"txt", proto),
                b"$3\r\na\nb\r\n",
                b"=7\r\ntxt:a\nb\r\n",
            ),
            (lambda proto: replies.big_number(2**70, proto), b"$22\r\n%d\r\n" % 2**70, b"(%d\r\n" % 2**70),
        ]:
            self.assertEqual((encode(2), encode(3)), (in2, in3))

    def test_verbatim_needs_a_format(self) -> None:
        self.assertRaises(ValueError, replies.verbatim, b"a", b"text", 3)

    def test_errors_are_one_line(self) -> None:
        self.assertEqual(replies.error(b"ERR no"), b"-ERR no\r\n")
        self.assertEqual(replies.error(b"\r\nERR a\r\nb\nc\r\n"), b"-ERR a  b c\r\n")

    def test_doubles(self) -> None:
        for number, text in [
            (0.1, b"0.10000000000000001"),
            (3.0, b"3"),
            (-1.5, b"-1.5"),
            (-0.0, b"-0"),
            (1e15, b"1000000000000000"),
            (2.0**52 + 1, b"4503599627370497"),
            (1e16, b"10000000000000000"),
            (1e17, b"1e+17"),
            (1e20, b"1e+20"),
            (1e300, b"1.0000000000000001e+300"),
            (1e-5, b"1.0000000000000001e-05"),
            (5e-324, b"4.9406564584124654e-324"),
            (123456789012345678.0, b"1.2345678901234568e+17"),
            (math.inf, b"inf"),
            (-math.inf, b"-inf"),
            (math.nan, b"nan"),
            (-math.nan, b"nan"),
        ]:
            self.assertEqual(replies.format_double(number), text)

    @given(st.floats(allow_nan=False))
    def test_doubles_come_back(self, number: float) -> None:
        self.assertEqual(float(replies.format_double(number)), number)

    @given(st.lists(st.lists(st.binary(max_size=30), min_size=1, max_size=5), max_size=5))
    def test_commands_come_back(self, commands: list[list[bytes]]) -> None:
        self.assertEqual(read_all([b"".join(map(replies.encode_command, commands))]), (commands, None))
