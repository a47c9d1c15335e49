"""
Tests for L{tinykv.raft.stored}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.raft.messages import CHANGE, NORMAL, Entry
from tinykv.raft.stored import MARK, entry_of, stored_data
from tinykv.region.entry import encode_header


class StoredTests(SynchronousTestCase):
    """L{stored_data} and L{entry_of}."""

    @given(st.binary(max_size=10))
    def test_changes(self, data: bytes) -> None:
        entry = Entry(5, 3, CHANGE, data)
        self.assertEqual(entry_of(5, 3, stored_data(entry)), entry)

    @given(st.integers(0, 2**40), st.integers(0, 2**64 - 1), st.binary(max_size=10))
    def test_data_of_the_host(self, time: int, seed: int, records: bytes) -> None:
        data = encode_header(time, seed) + records
        self.assertFalse(data.startswith(MARK))
        entry = Entry(5, 3, NORMAL, data)
        self.assertEqual(stored_data(entry), data)
        self.assertEqual(entry_of(5, 3, data), entry)

    def test_an_empty_entry(self) -> None:
        self.assertEqual(entry_of(1, 1, stored_data(Entry(1, 1, NORMAL, b""))), Entry(1, 1, NORMAL, b""))
