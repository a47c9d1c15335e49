"""Longest common subsequence, as LCS gives it: the same one of several as Redis, and the same ranges.

Row i of the table says for each place j of the second string by how much one more byte of it lengthens the
subsequence with the first i bytes of the other: 0 or 1, so a row is one big integer and the next one comes
from it by an addition (Hyyro's bit-parallel algorithm). Redis's walk back from the corner needs just these
bits.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_TABLE_BYTES = 512 * 1024 * 1024
"""The table that Redis refuses to pass with its default ``proto-max-bulk-len``."""

_CELL_BYTES = 4


class LcsTooLarge(ValueError):
    """The table for both strings would be larger than allowed; the text is Redis's."""


@dataclass(frozen=True, slots=True)
class Match:
    """A run of equal bytes: first and last place, both within, in the first and the second string."""

    first: tuple[int, int]
    second: tuple[int, int]

    @property
    def length(self) -> int:
        """The number of bytes in the run."""
        return self.first[1] - self.first[0] + 1


def lcs_length(first: bytes, second: bytes, *, max_table_bytes: int = MAX_TABLE_BYTES) -> int:
    """Return the length of the longest common subsequence.

    Raises `LcsTooLarge` by Redis's count, which is 4 bytes a cell (here a cell is a bit, and only of two
    rows).
    """
    _check_size(first, second, max_table_bytes)
    places = _places(second)
    full = (1 << len(second)) - 1
    row = full
    for byte in first:
        row = _next_row(row, places.get(byte, 0), full)
    return len(second) - row.bit_count()


def lcs(first: bytes, second: bytes, *, max_table_bytes: int = MAX_TABLE_BYTES) -> bytes:
    """Return the longest common subsequence that Redis returns; raises `LcsTooLarge`."""
    found = lcs_matches(first, second, max_table_bytes=max_table_bytes)[0]
    return b"".join(first[match.first[0] : match.first[1] + 1] for match in reversed(found))


def lcs_matches(
    first: bytes, second: bytes, min_length: int = 0, *, max_table_bytes: int = MAX_TABLE_BYTES
) -> tuple[list[Match], int]:
    """Return the runs of at least ``min_length`` bytes, last first, and the length of the whole subsequence.

    Raises `LcsTooLarge`. A row of the table is kept for each byte of ``first``, 1 bit a cell.
    """
    _check_size(first, second, max_table_bytes)
    rows = _rows(first, second)
    i, j = len(first), len(second)
    total = rows[i].bit_count()
    out: list[Match] = []
    row = _row_bytes(rows[i], j)
    run = 0
    while i and j:
        if first[i - 1] == second[j - 1]:
            run += 1
            i -= 1
            j -= 1
            row = _row_bytes(rows[i], len(second))
            if i and j:
                continue
            at = (i, j)
        elif row[(j - 1) >> 3] >> ((j - 1) & 7) & 1:
            at = (i, j)
            i -= 1
            row = _row_bytes(rows[i], len(second))
        else:
            at = (i, j)
            j -= 1
        if run and run >= min_length:
            out.append(Match((at[0], at[0] + run - 1), (at[1], at[1] + run - 1)))
        run = 0
    return out, total


def _check_size(first: bytes, second: bytes, limit: int) -> None:
    """Raise `LcsTooLarge` where Redis refuses to make a table."""
    if (len(first) + 1) * (len(second) + 1) * _CELL_BYTES > limit:
        raise LcsTooLarge("Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")


def _places(text: bytes) -> dict[int, int]:
    """Return for each byte in ``text`` the integer that has a bit at each of its places."""
    out: dict[int, int] = {}
    reversed_text = text[::-1]
    for byte in set(text):
        marks = bytes(0x31 if other == byte else 0x30 for other in range(256))
        out[byte] = int(reversed_text.translate(marks), 2)
    return out


def _next_row(row: int, places: int, full: int) -> int:
    """Return the complement of the next row, from that of a row and the places of the next byte."""
    common = row & places
    return ((row + common) | (row - common)) & full


def _rows(first: bytes, second: bytes) -> list[int]:
    """Return the rows of the table for 0, 1, ... bytes of ``first``: bit j tells of byte j of ``second``."""
    places = _places(second)
    full = (1 << len(second)) - 1
    row = full
    out = [0]
    for byte in first:
        row = _next_row(row, places.get(byte, 0), full)
        out.append(row ^ full)
    return out


def _row_bytes(row: int, bits: int) -> bytes:
    """Return a row of ``bits`` bits as bytes, lowest first: a bit of these is found without a shift of them
    all.
    """
    return row.to_bytes((bits + 7) // 8, "little")
