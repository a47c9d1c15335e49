"""
The slow, obvious twin of the row store: one dict a family, everything in memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from tinykv.redis.value import Encodable


class MemoryRows:
    """
    Rows in dicts, for tests of what lies above the row store.

    @ivar rows: family -> row key -> bytes, or the live object that stands for them.
    @ivar expiries: The index of expiries, as it was told.
    """

    def __init__(self) -> None:
        self.active: object = object()
        self.rows: dict[str, dict[bytes, bytes | Encodable]] = {
            name: {} for name in ("data", "default", "lock", "write", "region")
        }
        self.expiries: dict[tuple[int, bytes], None] = {}

    def pause(self) -> None:
        """Everything happens at once here."""

    def expect(self, keys: list[bytes]) -> None:
        """Nothing has to be read."""

    def get(self, family: str, key: bytes) -> bytes | Encodable | None:
        """Give a row, or the live object that stands for it."""
        return self.rows[family].get(key)

    def scan(
        self, family: str, start: bytes, end: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes | Encodable]]:
        """Give the rows of a range as of now, in key order."""
        rows = self.rows[family]
        for key in sorted((key for key in rows if start <= key < end), reverse=reverse):
            if key in rows:
                yield key, rows[key]

    def put(self, family: str, key: bytes, value: bytes) -> None:
        """Write a row."""
        self.rows[family][key] = value

    def put_many(self, family: str, keys: list[bytes], values: list[bytes]) -> None:
        """Write rows, one after another."""
        self.rows[family].update(zip(keys, values, strict=True))

    def remove(self, family: str, key: bytes) -> None:
        """Delete a row."""
        self.rows[family].pop(key, None)

    def mark(self, obj: Encodable) -> None:
        """Register a live object that is about to change."""
        obj.table = self.active
        self.rows["data"][obj.row_key] = obj

    def settle(self, start: bytes, end: bytes) -> None:
        """Let bytes stand where live objects do."""
        rows = self.rows["data"]
        for key, row in rows.items():
            if start <= key < end and not isinstance(row, bytes):
                rows[key] = row.encode()
                row.table = None

    def delete_ranges(self, family: str, ranges: list[tuple[bytes, bytes]]) -> None:
        """Delete whole ranges."""
        for start, end in ranges:
            self.discard(family, start, end)

    def discard(self, family: str, start: bytes, end: bytes) -> None:
        """Delete rows that nothing refers to."""
        rows = self.rows[family]
        for key in [key for key in rows if start <= key < end]:
            del rows[key]

    def note_expiry(self, at_ms: int, row_key: bytes) -> None:
        """Enter a key into the index of expiries."""
        self.expiries[at_ms, row_key] = None

    def forget_expiry(self, at_ms: int, row_key: bytes) -> None:
        """Take a key out of the index of expiries."""
        self.expiries.pop((at_ms, row_key), None)

    def flush(self) -> None:
        """Turn every live object into its bytes, as a memory table's way to disk does."""
        self.active = object()
        for rows in self.rows.values():
            for key, row in rows.items():
                if not isinstance(row, bytes):
                    rows[key] = row.encode()

    def image(self) -> dict[str, dict[bytes, bytes]]:
        """Give all rows as bytes, to compare."""
        return {
            family: {key: row if isinstance(row, bytes) else row.encode() for key, row in sorted(rows.items())}
            for family, rows in self.rows.items()
        }
