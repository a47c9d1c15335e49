"""LZF there and back, and damaged."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.redis.lzf import LzfError, compress, decompress

PIECES = st.sampled_from([b"a", b"ab", b"abc", b"\x00" * 40, b"x" * 300, bytes(range(33)), b"abcdefgh"])
TEXTS = st.lists(PIECES | st.binary(max_size=5), max_size=30).map(b"".join)


class LzfTests(SynchronousTestCase):
    """L{compress} and L{decompress}."""

    @given(TEXTS)
    def test_there_and_back(self, text: bytes) -> None:
        packed = compress(text, 2 * len(text) + 10)
        if text:
            assert packed is not None
            self.assertEqual(decompress(packed, len(text)), text)

    @given(TEXTS, st.integers(0, 400))
    def test_a_limit_holds(self, text: bytes, limit: int) -> None:
        packed = compress(text, limit)
        if packed is not None:
            self.assertLessEqual(len(packed), limit)
            self.assertEqual(decompress(packed, len(text)), text)

    def test_copies_reach_8192_bytes_back(self) -> None:
        noise = b"".join(b"%d;" % (n * n) for n in range(1500))
        for gap in (8188, 8189, 8190):
            text = b"-marker-" + noise[: gap - 3] + b"marker-" + noise[:5]
            packed = compress(text, len(text) * 2)
            assert packed is not None
            self.assertEqual(decompress(packed, len(text)), text)

    def test_runs_shrink(self) -> None:
        packed = compress(b"a" * 10000, 9996)
        assert packed is not None
        self.assertLess(len(packed), 200)
        self.assertEqual(decompress(packed, 10000), b"a" * 10000)

    def test_nothing_does_not_shrink(self) -> None:
        self.assertIsNone(compress(b"", 100))
        self.assertIsNone(compress(bytes(range(100)), 96))

    @given(st.binary(max_size=40), st.integers(0, 300))
    def test_damaged_text_is_refused(self, packed: bytes, length: int) -> None:
        try:
            self.assertEqual(len(decompress(packed, length)), length)
        except LzfError:
            pass

    def test_each_kind_of_damage(self) -> None:
        for packed, length in (
            (b"\x05abc", 6),
            (b"\x00a\x20\x05", 4),
            (b"\x00a\x20", 4),
            (b"\x00a\xe0", 10),
            (b"\x00a", 2),
            (b"\x01ab", 1),
        ):
            self.assertRaises(LzfError, decompress, packed, length)
