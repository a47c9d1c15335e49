"""Numbers: by hand, and against a real server over many texts."""

from __future__ import annotations

import math
import struct

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis_server import RedisServer, ReplyError
from tinykv.redis.numbers import (
    INT64_MAX,
    INT64_MIN,
    add_long_doubles,
    format_long_double,
    is_infinite,
    parse_float,
    parse_int64,
    parse_long_double,
)

DIGITS = st.text("0123456789", max_size=25)
SHORT_DIGITS = st.text("0123456789", max_size=4)
EXPONENT = st.builds(
    lambda letter, sign, digits: letter + sign + digits,
    st.sampled_from("eE"),
    st.sampled_from(["", "+", "-"]),
    SHORT_DIGITS,
)
DECIMALS = st.builds(
    lambda sign, whole, point, behind, exponent: (sign + whole + point + behind + exponent).encode(),
    st.sampled_from(["", "", "-", "+", " ", "--"]), DIGITS, st.sampled_from(["", "."]), DIGITS,
    st.just("") | EXPONENT,
)  # fmt: skip
HEX_DIGITS = st.text("0123456789abcdefABCDEF", max_size=20)
HEXADECIMALS = st.builds(
    lambda sign, x, whole, point, behind, p,
    digits: (sign + x + whole + point + behind + p + digits).encode(),
    st.sampled_from(["", "-", "+"]), st.sampled_from(["0x", "0X", "x"]), HEX_DIGITS, st.sampled_from(["",
    "."]),
    HEX_DIGITS, st.sampled_from(["", "p", "P-", "p+"]), st.text("0123456789", max_size=5),
)  # fmt: skip
ODD = st.sampled_from([
    b"", b"inf", b"+inf", b"-inf", b"Infinity", b"-INFINITY", b"infinit", b"nan", b"-nan", b"nan(1)",
    b"NaN", b" 1",
    b"1 ", b"\t1", b"1\n", b"1\x00", b"\x001", b"0x", b"0x.", b"0x1p", b"0x.p1", b".", b"+", b"-", b"+.",
    b"e5", b"1e",
    b"1_0", b"0x1_0", b"-0", b"-0.0", b"1e309", b"-1e309", b"1e-400", b"4.9e-324", b"2e-324", b"2.5e-324",
    b"1e308",
    b"0x1p1024", b"0x1p-1074", b"0x1p-1075", b"0x1.8p-1075", b"0e99999999999", b"1e4932", b"1.2e4932",
    b"1e-4950",
    b"3.6e-4951", b"1.8e-4951", b"1.9e-4951", b"0x1p16383", b"0x1p16384", b"0x0.ffffffffffffffff8p16384",
    b"0x1p-16445", b"0x1p-16446", b"0x1.1p-16446", b"1.18973149535723176502e4932",
    b"1.18973149535723176509e4932",
    b"\xd9\xa1", b"1" * 5119, b"1" * 5120, b"0" * 5118 + b"1", b"0" * 5119 + b"1", b"1" + b"0" * 4932,
    b"9" * 4400,
    b"0." + b"0" * 4940 + b"1", b"1" * 4300 + b"e-4300", b"0." + b"3" * 5000, b"1e99999999999999999999999999",
    b"1e-99999999999999999999999999", b"0x1p9999999999999999999999", b"0x1p-9999999999999999999999",
    b"0e" + b"9" * 5000,
    b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808", b"-9223372036854775809",
    b"00", b"01",
    b"18446744073709551615", b"18446744073709551616", b"18446744073709551617", b"+5", b"0.000000000000000005",
    b"0.0000000000000000049", b"0.000000000000000015", b"-0.000000000000000001", b"9223372036854775807.5",
])  # fmt: skip
TEXTS = (
    DECIMALS
    | HEXADECIMALS
    | ODD
    | st.binary(max_size=6)
    | st.integers(-(2**65), 2**65).map(lambda n: b"%d" % n)
)
DOUBLES = st.floats(allow_nan=False, allow_infinity=False).map(lambda value: b"%.17g" % value)
SMALL = st.decimals(-10000, 10000, places=3).map(lambda value: str(value).encode())


class Int64Tests(SynchronousTestCase):
    """L{parse_int64}."""

    def test_accepts_each_canonical_text(self) -> None:
        for value in (0, 1, -1, 10, 99, -128, INT64_MAX, INT64_MIN):
            self.assertEqual(parse_int64(b"%d" % value), value)

    def test_refuses_every_other_text(self) -> None:
        for text in (b"", b"-", b"+1", b"01", b"-0", b"00", b" 1", b"1 ", b"1\n", b"1.0", b"1e3", b"0x1",
        b"1\x00",
                     b"%d" % (INT64_MAX + 1), b"%d" % (INT64_MIN - 1), b"9" * 30, b"\xd9\xa1"):  # fmt: skip
            self.assertIsNone(parse_int64(text), text)


class LongDoubleTests(SynchronousTestCase):
    """Long doubles where no server is needed."""

    def test_infinities_are_parsed_and_never_added(self) -> None:
        for text in (b"inf", b"-Infinity"):
            value = parse_long_double(text)
            assert value is not None
            self.assertTrue(is_infinite(value))
            self.assertIsNone(add_long_doubles(value, (1, 0)))
            self.assertIsNone(add_long_doubles((1, 0), value))

    def test_a_sum_out_of_range_is_refused(self) -> None:
        most = ((1 << 64) - 1, 16384 - 64)
        self.assertIsNone(add_long_doubles(most, most))
        self.assertEqual(add_long_doubles(most, (0, 0)), most)

    def test_a_sum_is_rounded_to_64_bits_ties_to_even(self) -> None:
        self.assertEqual(add_long_doubles((1, 64), (1, 0)), (1 << 63, 1))
        self.assertEqual(add_long_doubles((1, 64), (3, 0)), ((1 << 63) + 2, 1))


class DifferentialTests(SynchronousTestCase):
    """What a real server takes and answers."""

    def setUp(self) -> None:
        self.server = RedisServer()
        self.addCleanup(self.server.close)

    @given(st.lists(TEXTS, min_size=6, max_size=6))
    def test_integers(self, texts: list[bytes]) -> None:
        commands: list[list[bytes]] = []
        for text in texts:
            commands += [[b"SET", b"n", text], [b"INCRBY", b"n", b"0"]]
        for text, reply in zip(texts, self.server.client.pipeline(commands)[1::2], strict=True):
            self.assertEqual(parse_int64(text), None if isinstance(reply, ReplyError) else reply, text)

    @given(st.lists(TEXTS | DOUBLES, min_size=6, max_size=6))
    def test_doubles(self, texts: list[bytes]) -> None:
        commands: list[list[bytes]] = []
        for text in texts:
            commands += [[b"ZADD", b"z", text, b"m"], [b"ZSCORE", b"z", b"m"], [b"DEL", b"z"]]
        replies = self.server.client.pipeline(commands)
        for text, added, score in zip(texts, replies[::3], replies[1::3], strict=True):
            value = parse_float(text)
            if isinstance(added, ReplyError):
                self.assertIsNone(value, text)
            else:
                assert value is not None, text
                self.assertEqual(struct.pack("d", value + 0.0), struct.pack("d", float(score) + 0.0), text)

    @given(st.lists(st.tuples(TEXTS | SMALL | DOUBLES, TEXTS | SMALL | DOUBLES), min_size=6, max_size=6))
    @example(
        [(b"1e4932", b"1e4932"), (b"10.5", b"0.1"), (b"3.0e3", b"200"), (b"5.0e3", b"-5e3"), (b"inf", b"1")]
    )
    def test_long_doubles(self, pairs: list[tuple[bytes, bytes]]) -> None:
        commands: list[list[bytes]] = []
        for left, right in pairs:
            commands += [[b"SET", b"f", left], [b"INCRBYFLOAT", b"f", right]]
        for (left, right), reply in zip(pairs, self.server.client.pipeline(commands)[1::2], strict=True):
            self.assertEqual(_incremented(left, right), reply, (left, right))

    @given(st.lists(st.tuples(TEXTS | SMALL, TEXTS | SMALL), min_size=6, max_size=6))
    def test_long_doubles_in_hashes(self, pairs: list[tuple[bytes, bytes]]) -> None:
        commands: list[list[bytes]] = []
        for left, right in pairs:
            commands += [[b"HSET", b"h", b"f", left], [b"HINCRBYFLOAT", b"h", b"f", right]]
        for (left, right), reply in zip(pairs, self.server.client.pipeline(commands)[1::2], strict=True):
            expected = _incremented(left, right)
            if isinstance(expected, ReplyError):
                self.assertIsInstance(reply, ReplyError, (left, right))
            else:
                self.assertEqual(expected, reply, (left, right))

    @given(st.lists(st.floats(allow_nan=False, width=64), min_size=6, max_size=6))
    def test_every_double_survives_its_text(self, values: list[float]) -> None:
        for value in values:
            text = b"%.17g" % value
            self.assertEqual(parse_float(text), value)
            if math.isfinite(value):
                self.assertEqual(parse_float(value.hex().encode()), value)


def _incremented(left: bytes, right: bytes) -> bytes | ReplyError:
    """Return what INCRBYFLOAT replies."""
    first, second = parse_long_double(left), parse_long_double(right)
    if first is None or second is None:
        return ReplyError(b"ERR value is not a valid float")
    total = add_long_doubles(first, second)
    if total is None:
        return ReplyError(b"ERR increment would produce NaN or Infinity")
    return format_long_double(total)
