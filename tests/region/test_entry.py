"""The header of a log entry, and the apply state: the bytes of both are part of the format on disk."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.errors import Damaged
from tinykv.region.entry import APPLY_VERSION, HEADER_BYTES, decode_header, encode_header
from tinykv.region.state import ApplyState, apply_key

NUMBERS = st.integers(0, 2**64 - 1)


class EntryTests(SynchronousTestCase):
    """Headers."""

    def test_bytes(self) -> None:
        """The bytes are those that the format says."""
        self.assertEqual(encode_header(0x0102, 0x03), bytes.fromhex("01 0001 0000000000000102 0000000000000003"))

    def test_round_trip(self) -> None:
        """What was written is read, whatever follows."""

        @given(NUMBERS, NUMBERS, st.binary())
        def check(time: int, seed: int, records: bytes) -> None:
            header = encode_header(time, seed)
            assert len(header) == HEADER_BYTES
            assert decode_header(header + records) == (time, seed)

        check()

    def test_damaged(self) -> None:
        """What is cut off, or of another format, is no entry; a newer apply version is refused by name."""
        header = encode_header(1, 2)
        for length in range(HEADER_BYTES):
            self.assertRaises(Damaged, decode_header, header[:length])
        self.assertRaises(Damaged, decode_header, b"\x02" + header[1:])
        newer = header[:1] + (APPLY_VERSION + 1).to_bytes(2, "big") + header[3:]
        problem = self.assertRaises(Damaged, decode_header, newer)
        self.assertIn("start a newer one", str(problem))


class ApplyStateTests(SynchronousTestCase):
    """Apply states."""

    def test_bytes(self) -> None:
        """Index and term come first: recovery reads them without knowing the rest."""
        row = ApplyState(1, 2, 3, 4).encode()
        self.assertEqual(row, b"".join(number.to_bytes(8, "big") for number in (1, 2, 3, 4)))
        self.assertEqual(apply_key(1), b"apply" + (1).to_bytes(8, "big"))

    def test_round_trip(self) -> None:
        """What was written is read."""

        @given(st.builds(ApplyState, NUMBERS, NUMBERS, NUMBERS, NUMBERS))
        def check(state: ApplyState) -> None:
            assert ApplyState.decode(state.encode()) == state

        check()

    def test_damaged(self) -> None:
        """A row of another length is none."""
        row = ApplyState(1, 2, 3, 4).encode()
        self.assertRaises(Damaged, ApplyState.decode, row[:-1])
        self.assertRaises(Damaged, ApplyState.decode, row + b"\0")
