"""What stores tell gateways of regions, in lines of text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.errors import Damaged
from tinykv.keys import SLOTS
from tinykv.region.routes import LINES_MAX, Route, decode_routes, encode_routes

NUMBERS = st.integers(0, (1 << 62) - 1)
ROUTES = st.builds(
    Route, NUMBERS.filter(bool), st.integers(0, 99), st.integers(100, SLOTS), NUMBERS, NUMBERS, NUMBERS
)


class RoutesTests(SynchronousTestCase):
    """Written and read."""

    @given(st.lists(ROUTES), st.dictionaries(NUMBERS, st.sampled_from(["a:1", "[::1]:2"])))
    def test_round_trip(self, routes: list[Route], addresses: dict[int, str]) -> None:
        self.assertEqual(decode_routes(encode_routes(routes, addresses)), (routes, addresses))

    def test_text(self) -> None:
        text = encode_routes([Route(1, 0, 8192, 3, 7, 2)], {2: "b:2", 1: "a:1"})
        self.assertEqual(text, b"region 1 0 8192 3 7 2\nstore 1 a:1\nstore 2 b:2")

    @given(st.binary())
    def test_anything(self, text: bytes) -> None:
        try:
            decode_routes(text)
        except Damaged:
            pass

    def test_no_routes(self) -> None:
        for text in (
            b"region 1 0 1 1 1", b"region 0 0 1 1 1 1", b"region 1 1 1 1 1 1", b"region 1 0 16385 1 1 1",
            b"region 1 0 1 1 1 -1", b"region 1 0 1 1 1 9223372036854775808", b"region  1 0 1 1 1 1", b"store 1",
            b"store x a:1", b"store 1 \xff", b"stores 1 a:1", b"store 1 a:1\n", b"\n",
        ):  # fmt: skip
            self.assertRaises(Damaged, decode_routes, text)

    def test_many(self) -> None:
        line = b"store 1 a"
        self.assertEqual(decode_routes(b"\n".join([line] * LINES_MAX)), ([], {1: "a"}))
        self.assertRaises(Damaged, decode_routes, b"\n".join([line] * (LINES_MAX + 1)))
