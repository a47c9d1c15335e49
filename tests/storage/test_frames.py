"""
Frames between the store and its writers, cut anywhere.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.storage.frames import decode, encode

MESSAGES = [(1, b"abc", [(b"k", None), (b"l", b"v")]), [], (2, "text", True, -5), b"x" * 300]


class FrameTests(SynchronousTestCase):
    """
    What goes in comes out, however it is cut.
    """

    @given(cuts=st.lists(st.integers(0, 500), max_size=8))
    def test_any_cut(self, cuts: list[int]) -> None:
        stream = b"".join(map(encode, MESSAGES))
        bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        buffer = bytearray()
        found = []
        for start, end in zip(bounds, bounds[1:], strict=False):
            buffer += stream[start:end]
            found += decode(buffer)
        self.assertEqual(found, MESSAGES)
        self.assertEqual(buffer, b"")

    def test_byte_by_byte(self) -> None:
        buffer = bytearray()
        found = []
        for byte in b"".join(map(encode, MESSAGES)):
            buffer.append(byte)
            found += decode(buffer)
        self.assertEqual(found, MESSAGES)
