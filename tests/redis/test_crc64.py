"""CRC-64 by its published check value and by its definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.redis.crc64 import crc64


def by_definition(data: bytes) -> int:
    """Divide bit by bit."""
    crc = 0
    for byte in data:
        for bit in range(8):
            carry = (crc >> 63) ^ (byte >> bit & 1)
            crc = (crc << 1 & (1 << 64) - 1) ^ (0xAD93D23594C935A9 if carry else 0)
    return int(f"{crc:064b}"[::-1], 2)


class Crc64Tests(SynchronousTestCase):
    """L{crc64}."""

    def test_check_value(self) -> None:
        self.assertEqual(crc64(b"123456789"), 0xE9C6D914C4B8D9CA)
        self.assertEqual(crc64(b""), 0)

    @given(st.binary(max_size=60))
    def test_equals_the_definition(self, data: bytes) -> None:
        self.assertEqual(crc64(data), by_definition(data))

    @given(st.binary(max_size=40), st.binary(max_size=40))
    def test_goes_on_where_it_stopped(self, first: bytes, second: bytes) -> None:
        self.assertEqual(crc64(second, crc64(first)), crc64(first + second))
