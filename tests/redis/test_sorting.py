"""The order of SORT: by hand, and against a real server."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis_server import Argument, RedisServer, ReplyError
from tinykv.redis.sorting import NotNumeric, limited, sort_order, sort_score

NUMBERS = (
    st.integers(-5, 5).map(lambda value: b"%d" % value)
    | st.floats(allow_nan=False).map(lambda value: b"%.17g" % value)
    | st.sampled_from([b"1.0", b"1", b"1e0", b"01", b"-0", b"0", b"inf", b"-inf", b" 1", b"0x10", b"",
    b"1.50", b"+1"])
)  # fmt: skip
ODD = st.sampled_from([
    b"nan", b"one", b"1 ", b"\t 2", b" ", b"1e400", b"1e-400", b"5e-324", b"0x1p-1074", b"1\x00junk",
    b"\x00", b"--1",
    b"0x1.8p-1074", b"0x1.8p-1075", b"2.2250738585072014e-308", b"2.2250738585072011e-308", b"0e-999",
    b"- 1", b".",
    b"-0x1p-1030", b"0x0p-9999999", b"4.9406564584124654e-324", b"0x.1p-1024", b"1e-310",
])  # fmt: skip
TEXTS = st.lists(st.sampled_from(b"aAbB \xff~1"), max_size=4).map(bytes)
LIMITS = st.none() | st.tuples(st.integers(-2, 12), st.integers(-2, 12))


class SortingTests(SynchronousTestCase):
    """L{sort_order}, L{sort_score} and L{limited}."""

    def test_numbers_then_bytes(self) -> None:
        values = [b"10", b"9", b"1.0", b"1", b"-inf"]
        self.assertEqual(sort_order(values, values), [4, 3, 2, 1, 0])
        self.assertEqual(sort_order(values, values, descending=True), [0, 1, 2, 3, 4])

    def test_bytes(self) -> None:
        values = [b"b", b"\xff", b"", b"B", b"ab"]
        self.assertEqual(sort_order(values, values, alpha=True), [2, 3, 4, 0, 1])

    def test_keys_that_were_not_found(self) -> None:
        values = [b"c", b"b", b"a"]
        self.assertEqual(sort_order(values, [b"1", None, b"-1"]), [2, 1, 0])
        self.assertEqual(sort_order(values, [b"", None, None], alpha=True), [1, 2, 0])
        self.assertEqual(sort_order(values, [b"", None, None], alpha=True, descending=True), [0, 1, 2])

    def test_what_is_no_number(self) -> None:
        error = self.assertRaises(NotNumeric, sort_order, [b"1", b"x"], [b"1", b"x"])
        self.assertEqual(str(error), "One or more scores can't be converted into double")
        self.assertRaises(NotNumeric, sort_score, b"1" + b"0" * 3000 + b"e-3310")

    def test_nothing_counts_as_zero(self) -> None:
        self.assertEqual((sort_score(None), sort_score(b""), sort_score(b"\x00x")), (0.0, 0.0, 0.0))

    def test_limits(self) -> None:
        for offset, count, expected in (
            (0, -1, (0, 5)),
            (-3, 2, (0, 2)),
            (3, 9, (3, 5)),
            (9, 9, (5, 5)),
            (2, 0, (2, 2)),
            (2**62, 2**62, (5, 5)),
        ):
            self.assertEqual(limited(5, offset, count), expected)


class DifferentialTests(SynchronousTestCase):
    """What a real server answers."""

    def setUp(self) -> None:
        # Without a locale the server compares texts as this does.
        self.server = RedisServer()
        self.addCleanup(self.server.close)

    def check(
        self,
        values: list[bytes],
        keys: list[bytes | None] | None,
        alpha: bool,
        descending: bool,
        limit: tuple[int, int] | None,
    ) -> None:
        """Compare one SORT of a list; with C{keys}, element n is sorted BY the key k<n>."""
        client = self.server.client
        commands: list[list[Argument]] = [["FLUSHALL"]]
        options: list[Argument] = []
        if keys is not None:
            values = [b"%d" % place for place in range(len(values))]
            commands += [
                ["SET", b"k" + v, key] for v, key in zip(values, keys, strict=True) if key is not None
            ]
            options += ["BY", "k*"]
        commands.append(["RPUSH", "list", *values])
        start, stop = 0, len(values)
        if limit is not None:
            options += ["LIMIT", *limit]
            start, stop = limited(len(values), *limit)
        options += ["ALPHA"] * alpha + ["DESC"] * descending
        expected: object
        try:
            order = sort_order(values, values if keys is None else keys, alpha=alpha, descending=descending)
            expected = [values[place] for place in order[start:stop]]
        except NotNumeric as error:
            expected = ReplyError(b"ERR " + str(error).encode())
        # SORT looks at errno without clearing it first; ZADD does clear it.
        commands += [["ZADD", "zset", 1, "member"], ["SORT", "list", *options]]
        self.assertEqual(expected, client.pipeline(commands)[-1], (values, keys, options))

    @given(st.lists(NUMBERS, min_size=1, max_size=12), st.booleans(), LIMITS)
    def test_numbers(self, values: list[bytes], descending: bool, limit: tuple[int, int] | None) -> None:
        self.check(values, None, False, descending, limit)

    @given(st.lists(NUMBERS | ODD, min_size=1, max_size=2))
    def test_odd_numbers(self, values: list[bytes]) -> None:
        self.check(values, None, False, False, None)

    @given(st.lists(TEXTS, min_size=1, max_size=12), st.booleans(), LIMITS)
    def test_texts(self, values: list[bytes], descending: bool, limit: tuple[int, int] | None) -> None:
        self.check(values, None, True, descending, limit)

    @given(st.lists(st.none() | NUMBERS, min_size=1, max_size=12), st.booleans(), LIMITS)
    def test_by_numbers(
        self, keys: list[bytes | None], descending: bool, limit: tuple[int, int] | None
    ) -> None:
        self.check([b""] * len(keys), keys, False, descending, limit)

    @given(st.lists(st.none() | TEXTS, min_size=1, max_size=12), st.booleans())
    def test_by_texts(self, keys: list[bytes | None], descending: bool) -> None:
        self.check([b""] * len(keys), keys, True, descending, None)
