"""Listpacks, ziplists, intsets and zipmaps: there and back, and damaged."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.redis.old_blobs import ziplist, zipmap
from tinykv.redis.packed import (
    BadPayload,
    listpack_item,
    listpack_size,
    read_intset,
    read_listpack,
    read_ziplist,
    read_zipmap,
    write_intset,
    write_listpack,
)

INTEGERS = st.sampled_from([
    sign * (1 << bits) + off for bits in (0, 3, 7, 12, 15, 23, 31, 62) for sign in (1, -1) for off in (-1,
    0, 1)
]) | st.integers(-(2**63), 2**63 - 1)  # fmt: skip
SIZED = st.sampled_from([0, 1, 63, 64, 125, 126, 250, 253, 254, 300, 4095, 4096, 16380, 16384]).map(
    lambda n: b"x" * n
)
ITEMS = st.lists(SIZED | st.binary(max_size=8) | INTEGERS.map(lambda n: b"%d" % n), max_size=8)

Reader = Callable[[bytes], list[bytes]]


class PackedTests(SynchronousTestCase):
    """The readers and writers of C{packed}."""

    @given(ITEMS)
    def test_listpacks(self, items: list[bytes]) -> None:
        blob = write_listpack(items)
        self.assertEqual(read_listpack(blob), items)
        self.assertEqual(listpack_size(b"".join(map(listpack_item, items))), len(blob))

    def test_the_longest_lengths(self) -> None:
        for size in (16376, 16377, 16378, 16379, 2097140, 2097145, 2097150):
            self.assertEqual(read_listpack(write_listpack([b"a" * size, b"1"])), [b"a" * size, b"1"])

    def test_more_items_than_the_header_counts(self) -> None:
        items = [b"7"] * 70000
        self.assertEqual(read_listpack(write_listpack(items)), items)

    @given(st.lists(SIZED | st.binary(max_size=8) | INTEGERS, max_size=8))
    def test_ziplists(self, items: list[bytes | int]) -> None:
        expected = [b"%d" % item if isinstance(item, int) else item for item in items]
        self.assertEqual(read_ziplist(ziplist(items)), expected)

    @given(ITEMS.filter(lambda items: len(items) % 2 == 0), st.integers(0, 3))
    def test_zipmaps(self, items: list[bytes], unused: int) -> None:
        self.assertEqual(read_zipmap(zipmap(items, unused)), items)

    @given(st.sets(INTEGERS, min_size=1))
    def test_intsets(self, values: set[int]) -> None:
        self.assertEqual(read_intset(write_intset(list(values))), [b"%d" % value for value in sorted(values)])

    def test_the_width_of_intsets(self) -> None:
        for value, width in ((32767, 2), (32768, 4), (-32769, 4), (2**31, 8), (-(2**31), 4)):
            self.assertEqual(len(write_intset([0, value])), 8 + 2 * width, value)

    def test_each_kind_of_damage(self) -> None:
        listpack, old, ints = write_listpack([b"a", b"b"]), ziplist([b"a", b"b"]), write_intset([1, 2])
        cases: list[tuple[Reader, bytes]] = [
            (read_listpack, b""),
            (read_listpack, listpack[:-1]),
            (read_listpack, listpack[:-1] + b"\x00"),
            (read_listpack, listpack[:4] + b"\x03" + listpack[5:]),
            (read_listpack, listpack[:6] + b"\x82" + listpack[7:]),
            (read_listpack, listpack[:6] + b"\xf5" + listpack[7:]),
            (read_listpack, listpack[:8] + b"\x03" + listpack[9:]),
            (read_ziplist, b""),
            (read_ziplist, old[:-1]),
            (read_ziplist, old[:4] + b"\x0a" + old[5:]),
            (read_ziplist, old[:8] + b"\x01" + old[9:]),
            (read_ziplist, old[:10] + b"\x01" + old[11:]),
            (read_ziplist, old[:11] + b"\xc1" + old[12:]),
            (read_ziplist, old[:14] + b"\x3f" + old[15:]),
            (read_intset, b"\x02\x00"),
            (read_intset, ints[:-1]),
            (read_intset, b"\x03" + ints[1:]),
            (read_intset, ints[:8] + ints[10:] + ints[8:10]),
            (read_zipmap, b"\x00"),
            (read_zipmap, b"\x00\x00"),
            (read_zipmap, b"\x02\x01a\x01\x00b\xff"),
            (read_zipmap, b"\x01\x01a\xff"),
            (read_zipmap, b"\x01\x01a\x05\x00b\xff"),
            (read_zipmap, b"\x01\x01a\xff\x00b\xff"),
        ]
        for reader, blob in cases:
            self.assertRaises(BadPayload, reader, blob)
