"""
The replicated state as rows: JSON values in named tables, of which only what has changed goes to disk.

A row's key in SQLite is C{t}, the table, C{/}, and the name; its value is JSON with sorted keys, so that equal states
are equal bytes on all members.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from tinykv.errors import Damaged

#: All rows of the scheduler's state, in the family C{data}.
ROWS: Final = (b"t", b"u")

Record = dict[str, Any]


def encode_json(value: object) -> bytes:
    """Write a value in the one form that equal values have."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Tables:
    """
    The tables of a state.

    Records are never changed in place: whoever changes one puts another in its place.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._tables: dict[str, dict[str, Record]] = {name: {} for name in names}
        self._changed: set[tuple[str, str]] = set()
        self._versions: dict[str, int] = dict.fromkeys(self._tables, 0)

    def version(self, table: str) -> int:
        """Give a number that rises with each change of a table."""
        return self._versions[table]

    def get(self, table: str, name: str) -> Record | None:
        """Give a record, or None."""
        return self._tables[table].get(name)

    def all(self, table: str) -> dict[str, Record]:
        """Give all records of a table by name, to look at."""
        return self._tables[table]

    def put(self, table: str, name: str, record: Record) -> None:
        """Put a record in its place."""
        self._tables[table][name] = record
        self._note(table, name)

    def remove(self, table: str, name: str) -> None:
        """Remove a record, which must be there."""
        del self._tables[table][name]
        self._note(table, name)

    def _note(self, table: str, name: str) -> None:
        self._changed.add((table, name))
        self._versions[table] += 1

    def rows(self) -> dict[bytes, bytes]:
        """Give all rows."""
        return {
            _key(table, name): encode_json(record)
            for table, records in self._tables.items()
            for name, record in records.items()
        }

    def take_changes(self) -> dict[bytes, bytes | None]:
        """Give the rows that have changed since the last time, None for those that are gone."""
        changed, self._changed = self._changed, set()
        rows: dict[bytes, bytes | None] = {}
        for table, name in changed:
            record = self._tables[table].get(name)
            rows[_key(table, name)] = None if record is None else encode_json(record)
        return rows

    def load(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """
        Take over rows in place of all that there is.

        @raise Damaged: One isn't what L{rows} gave.
        """
        for name, records in self._tables.items():
            records.clear()
            self._versions[name] += 1
        self._changed.clear()
        for key, value in rows:
            try:
                table, slash, name = key[1:].decode().partition("/")
                record = json.loads(value)
            except ValueError as problem:
                raise Damaged(f"the row {key!r} of the scheduler's state isn't JSON text") from problem
            if not slash or table not in self._tables or not isinstance(record, dict):
                raise Damaged(f"the row {key!r} of the scheduler's state isn't one that this program knows")
            self._tables[table][name] = record


def _key(table: str, name: str) -> bytes:
    return f"t{table}/{name}".encode()
