"""
What raft.db and data.db hold, in dicts: the twins of the SQLite files.

They take the same operations and pieces as L{tinykv.storage.log.LogStore} and L{tinykv.storage.data.DataStore}, one
transaction at a time, and are read with the same words; the tests hold them equal. There's no trace of how SQLite lays
them out: what a loss of power does to pages is for the tests with the real SQLite; here transactions are whole or
absent. SQLite in memory would write as fast (some 30 us a transaction), but opening a folder takes it 15 ms, and going
back to what was on disk means copying a database.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from typing import Any

from tinykv.storage.data import COMMIT, DISCARD, EXPIRIES, HIDE, ROWS
from tinykv.storage.errors import CorruptFile, LogGap
from tinykv.storage.log import APPEND, CUT, FORGET, RESET, STATE, SYNC, Entry, HardState
from tinykv.storage.tables import FAMILIES

#: A transaction: operations of a log, or pieces of a flush.
Transaction = list[tuple[Any, ...]]


class LogRows:
    """What raft.db holds."""

    def __init__(self) -> None:
        self._entries: dict[int, dict[int, tuple[int, bytes]]] = {}
        self._lasts: dict[int, int] = {}
        self._bases: dict[int, tuple[int, int]] = {}
        self._states: dict[int, HardState] = {}

    def copy(self) -> LogRows:
        """Give an independent one with the same contents."""
        other = LogRows()
        other._entries = {region: dict(entries) for region, entries in self._entries.items()}
        other._lasts = dict(self._lasts)
        other._bases = dict(self._bases)
        other._states = dict(self._states)
        return other

    # Writing

    def apply(self, operations: Transaction) -> None:
        """
        Do a transaction.

        @raise LogGap: Entries don't follow the last one; nothing was done.
        """
        self._look_for_gaps(operations)
        for operation in operations:
            verb = operation[0]
            if verb == APPEND:
                self._append(*operation[1:])
            elif verb == STATE:
                self._states[operation[1]] = HardState(*operation[2:])
            elif verb == CUT:
                _, region, index, term = operation
                entries = self._entries.get(region, {})
                for gone in [at for at in entries if at <= index]:
                    del entries[gone]
                self._bases[region] = (index, term)
                self._lasts[region] = max(self._lasts.get(region, 0), index)
            elif verb == RESET:
                _, region, index, term = operation
                self._entries.pop(region, None)
                self._bases[region] = (index, term)
                self._lasts[region] = index
            elif verb == FORGET:
                for table in (self._entries, self._lasts, self._bases, self._states):
                    table.pop(operation[1], None)
            else:
                assert verb == SYNC, f"unknown operation {verb}"

    def _look_for_gaps(self, operations: Transaction) -> None:
        lasts: dict[int, int] = {}
        for operation in operations:
            verb = operation[0]
            if verb in (STATE, SYNC):
                continue
            region = operation[1]
            last = lasts.get(region, self._lasts.get(region, 0))
            if verb == APPEND:
                first, entries = operation[2:]
                if first > last + 1:
                    raise LogGap(f"entries from {first} on were to follow entry {last} of region {region}")
                last = first + len(entries) - 1
            elif verb == CUT:
                last = max(last, operation[2])
            else:
                last = operation[2] if verb == RESET else 0
            lasts[region] = last

    def _append(self, region: int, first: int, added: list[tuple[int, bytes]]) -> None:
        entries = self._entries.setdefault(region, {})
        for index in range(first, self._lasts.get(region, 0) + 1):
            entries.pop(index, None)
        entries.update(enumerate(added, first))
        self._lasts[region] = first + len(added) - 1

    def promises(self, operations: Transaction) -> bool:
        """Say whether a batch has to be on disk with durability C{os}: it changes a term or a vote, or says so."""
        return any(
            operation[0] == SYNC or (operation[0] == STATE and self._vote(operation[1]) != operation[3:5])
            for operation in operations
        )

    def _vote(self, region: int) -> tuple[int, int] | None:
        state = self._states.get(region)
        return None if state is None else (state.term, state.vote)

    # Reading, as the functions of tinykv.storage.log do

    def regions(self) -> list[int]:
        """Name the regions of which there's anything."""
        return sorted(self._entries.keys() | self._bases.keys() | self._states.keys())

    def hard_state(self, region: int) -> HardState | None:
        """Give what a region's peer has promised."""
        return self._states.get(region)

    def base(self, region: int) -> tuple[int, int]:
        """Give (index, term) of the entry before the region's first; (0, 0) if the log begins at its beginning."""
        return self._bases.get(region, (0, 0))

    def last(self, region: int) -> tuple[int, int]:
        """Give (index, term) of the region's last entry, or of its base if it has none."""
        entries = self._entries.get(region)
        if not entries:
            return self.base(region)
        index = max(entries)
        return index, entries[index][0]

    def term(self, region: int, index: int) -> int | None:
        """Give the term of an entry or of the base, or None if the log doesn't hold that index."""
        entry = self._entries.get(region, {}).get(index)
        if entry is not None:
            return entry[0]
        base, term = self.base(region)
        return term if index == base else None

    def entries(self, region: int, after: int) -> Iterator[Entry]:
        """
        Yield the entries above C{after}.

        @raise CorruptFile: One is missing.
        """
        entries = self._entries.get(region, {})
        expected = after + 1
        while expected in entries:
            yield Entry(expected, *entries[expected])
            expected += 1
        if any(index > expected for index in entries):
            raise CorruptFile(f"entry {expected} of region {region} is missing")


class _Sorted:
    """A dict with its keys in order."""

    def __init__(self) -> None:
        self.values: dict[Any, Any] = {}
        self.keys: list[Any] = []

    def copy(self) -> _Sorted:
        """Give an independent one."""
        other = _Sorted()
        other.values = dict(self.values)
        other.keys = list(self.keys)
        return other

    def put(self, key: Any, value: Any) -> None:
        """Enter or change."""
        if key not in self.values:
            insort(self.keys, key)
        self.values[key] = value

    def remove(self, key: Any) -> None:
        """Remove, if it's there."""
        if self.values.pop(key, None) is not None:
            del self.keys[bisect_left(self.keys, key)]

    def range(self, start: Any, end: Any) -> tuple[int, int]:
        """Give the places of the keys in [start, end)."""
        low = bisect_left(self.keys, start)
        return low, bisect_left(self.keys, end, low)

    def remove_range(self, start: Any, end: Any) -> None:
        """Remove all in [start, end)."""
        low, high = self.range(start, end)
        for key in self.keys[low:high]:
            del self.values[key]
        del self.keys[low:high]


class DataRows:
    """What data.db holds."""

    def __init__(self) -> None:
        self._families = {name: _Sorted() for name in FAMILIES}
        self._expiries = _Sorted()

    def copy(self) -> DataRows:
        """Give an independent one with the same contents."""
        other = DataRows()
        other._families = {name: rows.copy() for name, rows in self._families.items()}
        other._expiries = self._expiries.copy()
        return other

    # Writing

    def apply(self, pieces: Transaction) -> None:
        """Do a flush, given by all its pieces."""
        for verb in (HIDE, ROWS, DISCARD, EXPIRIES):
            for piece in pieces:
                if piece[0] == verb:
                    self._do(piece)
        assert pieces[-1][0] == COMMIT, "a flush that isn't whole is nothing"

    def _do(self, piece: tuple[Any, ...]) -> None:
        verb = piece[0]
        if verb == HIDE:
            for start, end in piece[2]:
                self._families[piece[1]].remove_range(start, end)
        elif verb == ROWS:
            rows = self._families[piece[1]]
            for key, value in zip(piece[2], piece[3], strict=True):
                if value is None:
                    rows.remove(key)
                else:
                    rows.put(key, value)
        elif verb == DISCARD:
            for family, start, end in piece[1]:
                self._families[family].remove_range(start, end)
        else:
            for at, key, state in piece[1]:
                if state:
                    self._expiries.put((at, key), True)
                else:
                    self._expiries.remove((at, key))

    # Reading, as tinykv.storage.reader.Reader does

    def get(self, family: str, key: bytes) -> bytes | None:
        """Give a row's value."""
        return self._families[family].values.get(key)

    def first(self, family: str, start: bytes, end: bytes, limit: int) -> list[tuple[bytes, Any]]:
        """Give the first rows of [start, end), ascending."""
        rows = self._families[family]
        low, high = rows.range(start, end)
        return [(key, rows.values[key]) for key in rows.keys[low : min(high, low + limit)]]

    def last(self, family: str, start: bytes, end: bytes, limit: int) -> list[tuple[bytes, Any]]:
        """Give the last rows of [start, end), descending."""
        rows = self._families[family]
        low, high = rows.range(start, end)
        return [(key, rows.values[key]) for key in reversed(rows.keys[max(low, high - limit) : high])]

    def expiries(
        self, start: tuple[int, bytes], end: tuple[int, bytes], limit: int
    ) -> list[tuple[tuple[int, bytes], Any]]:
        """Give the first entries of the index of expiries in [start, end)."""
        low, high = self._expiries.range(start, end)
        return [(entry, True) for entry in self._expiries.keys[low : min(high, low + limit)]]

    def everything(self, family: str) -> list[tuple[bytes, Any]]:
        """Give all rows, ascending."""
        rows = self._families[family]
        return [(key, rows.values[key]) for key in rows.keys]

    def all_expiries(self) -> list[tuple[int, bytes]]:
        """Give the whole index of expiries."""
        return list(self._expiries.keys)

    def size(self, family: str, start: bytes, end: bytes) -> int:
        """Count the bytes of the keys and values in [start, end)."""
        return sum(len(key) + len(value) for key, value in self.first(family, start, end, 1 << 60))


class RowsReader:
    """
    Reads of committed rows, in place of L{tinykv.storage.reader.Reader}.

    @param rows: Gives what is committed now.
    """

    def __init__(self, rows: Callable[[], DataRows]) -> None:
        self._rows = rows

    def get(self, family: str, key: bytes) -> bytes | None:
        """Give a row's value."""
        return self._rows().get(family, key)

    def rising(self, family: str) -> Callable[[bytes, bytes, int], list[tuple[bytes, Any]]]:
        """Give a function (start, end, limit) -> the first rows of [start, end), ascending."""
        return lambda start, end, limit: self._rows().first(family, start, end, limit)

    def falling(self, family: str) -> Callable[[bytes, bytes, int], list[tuple[bytes, Any]]]:
        """Give a function (start, end, limit) -> the last rows of [start, end), descending."""
        return lambda start, end, limit: self._rows().last(family, start, end, limit)

    def expiries(
        self, start: tuple[int, bytes], end: tuple[int, bytes], limit: int
    ) -> list[tuple[tuple[int, bytes], Any]]:
        """Give the first entries of the index of expiries in [start, end)."""
        return self._rows().expiries(start, end, limit)

    def size(self, family: str, start: bytes, end: bytes) -> int:
        """Count the bytes of the keys and values in [start, end)."""
        return self._rows().size(family, start, end)

    def reusable_bytes(self) -> int:
        """There are no pages, and none of them are free."""
        return 0

    def close(self) -> None:
        """There's nothing to close."""
