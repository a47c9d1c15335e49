"""
The rows of a store, as its regions see them: memory tables over SQLite, read through from the newest down.

Writes touch only the active table. Between two entries the owner calls L{RowStore.freeze}; the frozen table
is flushed into SQLite by the data writer in one transaction and then retired. A row is at every moment in the
active table, or in a frozen one, or in SQLite, and a table is retired only after the commit that made SQLite
say the same, so no read sees an older state than the last one (R4, R9, R10).

Everything here runs in the reactor's thread and is called from it only; a read that SQLite must answer blocks
for some microseconds when its pages are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from tinykv.region.snapshot import EVERYTHING, key_range, own_ranges
from tinykv.region.state import apply_key
from tinykv.storage.merge import Layer, ascending, descending
from tinykv.storage.ranges import Ranges
from tinykv.storage.reader import Reader
from tinykv.storage.tables import FAMILIES, OBJECT_BYTES, ROW_BYTES, Encodable, MemTable

_MISSING: Final[Any] = object()

#: Frozen tables at which the store counts as full (R9).
FROZEN_TABLES: Final = 4
#: Bytes of frozen tables at which the store counts as full (R9).
FROZEN_BYTES: Final = 256 * 1024 * 1024
#: Steps that the search for rows under a deleted range may take before it is taken for granted that there are
#: some.
_LOOKS: Final = 64


def _go_on() -> None:
    """
    Nobody waits.
    """


def _nobody(keys: list[bytes]) -> None:
    """
    Nobody reads ahead.
    """


def _after(key: bytes) -> bytes:
    return key + b"\0"


def _after_expiry(key: tuple[int, bytes]) -> tuple[int, bytes]:
    return (key[0], key[1] + b"\0")


class RowStore:
    """
    All rows of a store.

    @ivar active: the table that takes the writes.
    @ivar frozen: tables on their way into SQLite, oldest first.
    @ivar reader: SQLite, as far as it has been flushed.
    @ivar pausing: called often by what may take long, with the chance to let others have their turn.
    @ivar expected: called with the keys of rows that are needed next and probably aren't in memory; it may see to it
        that they're in C{ahead} when it returns.
    @ivar ahead: rows of family C{data} that were read ahead, as data.db has them now.
    @ivar retired: how many tables were retired; what was read before the last of them may be old.
    @param frozen_tables_max: that many frozen tables are too many.
    @param frozen_bytes_max: and so are that many bytes in them.
    """

    def __init__(
        self, reader: Reader, *, frozen_tables_max: int = FROZEN_TABLES, frozen_bytes_max: int = FROZEN_BYTES
    ) -> None:
        self.reader = reader
        self.active = MemTable()
        self.frozen: list[MemTable] = []
        self._frozen_tables_max = frozen_tables_max
        self._frozen_bytes_max = frozen_bytes_max
        self._tables: tuple[MemTable, ...] = (self.active,)  # newest first
        self._read = reader.get
        self.pausing: Callable[[], None] = _go_on
        self.expected: Callable[[list[bytes]], None] = _nobody
        self.ahead: dict[bytes, bytes | None] = {}
        self.retired = 0

    # Reading

    def pause(self) -> None:
        """
        Let others have their turn, if it is time for that. Tables may be retired meanwhile, but not frozen.
        """
        self.pausing()

    def expect(self, keys: list[bytes]) -> None:
        """
        Learn that these rows of family C{data} will be asked for next. As L{pause}, it may take its time.
        """
        self.expected(keys)

    def get(self, family: str, key: bytes) -> bytes | Encodable | None:
        """
        @return: the row's value, or the live object that stands for it, or C{None} if there is no such row.
        @raise StorageError: SQLite failed.
        """
        for table in self._tables:
            value = table.rows[family].get(key, _MISSING)
            if value is not _MISSING:
                return value  # type: ignore[no-any-return]
            if table.hidden:
                hidden = table.hidden.get(family)
                if hidden is not None and hidden.covers(key):
                    return None
        if key in self.ahead and family == "data":
            # Whoever asks keeps it, or what he makes of it, in a cache of his own.
            return self.ahead.pop(key)
        self.pausing()
        return self._read(family, key)

    def scan(
        self, family: str, start: bytes, end: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes | Encodable]]:
        """
        Yield the rows of [start, end) in key order, or from the end down.

        Lazily: rows are read some at a time, 16 at first. Writes during the iteration don't disturb it, but
        whether it yields rows that were put, changed or removed meanwhile is not said.

        @raise StorageError: SQLite failed.
        """

        def layers() -> list[Layer[bytes]]:
            # Between two windows; what a window is made of is read in one go.
            self.pausing()
            return [
                Layer(table.order(family), table.rows[family], table.hidden.get(family))
                for table in reversed(self._tables)
                if table.rows[family] or family in table.hidden
            ]

        if reverse:
            return descending(self.reader.falling(family), layers, start, end)
        return ascending(self.reader.rising(family), layers, start, end, _after)

    def due(
        self,
        until_ms: int,
        limit: int,
        after: tuple[int, bytes] | None = None,
        within: tuple[bytes, bytes] = EVERYTHING,
    ) -> list[tuple[int, bytes]]:
        """
        @param after: where to begin: entries up to this one are known to be dealt with. That saves looking at those
            that are forgotten but still on disk.
        @param within: the range of row keys that is asked for.
        @return: up to C{limit} entries (time in ms, row key) of the derived expiry index with a time not
            later than C{until_ms}, soonest first. An entry says only that the row *had* this expiry once.
        """

        def layers() -> list[Layer[tuple[int, bytes]]]:
            return [
                Layer(table.expiry_order, table.expiries, None)
                for table in reversed(self._tables)
                if table.expiries
            ]

        found: list[tuple[int, bytes]] = []
        start, end = within
        first = (-(2**63), b"") if after is None else _after_expiry(after)
        for entry, _ in ascending(self.reader.expiries, layers, first, (until_ms + 1, b""), _after_expiry):
            if start <= entry[1] < end:
                found.append(entry)
                if len(found) == limit:
                    break
        return found

    def size(self, family: str, start: bytes, end: bytes) -> int:
        """
        @return: about the bytes of keys and values in [start, end). Rows that are both in SQLite and in a
            table count twice, live objects as a constant. It reads the whole range: some 100 ns a row.
        """
        total = self.reader.size(family, start, end)
        for table in self._tables:
            rows = table.rows[family]
            for key in table.order(family).first(start, end, len(rows)):
                value = rows[key]
                if value is not None:
                    total += len(key) + (len(value) if isinstance(value, bytes) else OBJECT_BYTES)
        return total

    # Writing

    def put(self, family: str, key: bytes, value: bytes) -> None:
        """
        Write a row. An object that stood for it no longer does.
        """
        table = self.active
        rows = table.rows[family]
        old = rows.get(key, _MISSING)
        if old is _MISSING:
            table.bytes += ROW_BYTES + len(key) + len(value)
        elif old is None:
            table.bytes += len(value)
        elif old.__class__ is bytes:
            table.bytes += len(value) - len(old)
        else:
            table.release(key)
            table.bytes += len(value)
        rows[key] = value

    def put_many(self, family: str, keys: list[bytes], values: list[bytes]) -> None:
        """
        Write rows, one after another, as L{put} writes one.
        """
        table = self.active
        rows = table.rows[family]
        get = rows.get
        grown = 0
        for key, value in zip(keys, values, strict=True):
            old = get(key, _MISSING)
            if old is _MISSING:
                grown += ROW_BYTES + len(key) + len(value)
            elif old.__class__ is bytes:
                grown += len(value) - len(old)
            else:
                if old is not None:
                    table.release(key)
                grown += len(value)
            rows[key] = value
        table.bytes += grown

    def remove(self, family: str, key: bytes) -> None:
        """
        Delete a row, if it exists. An object that stood for it no longer does.
        """
        table = self.active
        rows = table.rows[family]
        old = rows.get(key, _MISSING)
        if old is _MISSING:
            table.bytes += ROW_BYTES + len(key)
        elif old is not None:
            if old.__class__ is bytes:
                table.bytes -= len(old)
            else:
                table.release(key)
        rows[key] = None

    def mark(self, obj: Encodable) -> None:
        """
        The object, which stands for its row in family C{data}, is about to change.

        To be called B{before} each change: if a frozen table still waits for the object's bytes, they are
        made now.
        """
        table = obj.table
        active = self.active
        if table is active:
            return
        if table is not None:
            assert isinstance(table, MemTable), "only the storage package sets an object's table"
            table.encode(obj)
        key = obj.row_key
        rows = active.rows["data"]
        old = rows.get(key, _MISSING)
        if old is _MISSING:
            active.bytes += ROW_BYTES + len(key) + OBJECT_BYTES
        elif old is None:
            active.bytes += OBJECT_BYTES
        elif old.__class__ is bytes:
            active.bytes += OBJECT_BYTES - len(old)
        else:
            active.release(key)
            active.bytes += OBJECT_BYTES
        rows[key] = obj
        active.live[key] = obj
        obj.table = active

    def settle(self, start: bytes, end: bytes) -> None:
        """
        Put the bytes of all live objects of family C{data} in their place whose keys are in [start, end): whoever has
        changed them doesn't any more. As L{pause}, it may take its time.
        """
        for table in self._tables:
            for key, obj in list(table.live.items()):
                if start <= key < end:
                    self.pausing()
                    # Meanwhile it may have gone with its table to disk.
                    if table.live.get(key) is obj:
                        table.encode(obj)

    def delete_ranges(self, family: str, ranges: Iterable[tuple[bytes, bytes]]) -> None:
        """
        Delete all rows in the ranges [start, end). Many ranges in one call cost little more than one.
        """
        doomed = Ranges(ranges)
        if not doomed:
            return
        self.active.drop(family, doomed)
        if self._lies_beneath(family, doomed):
            self.active.hide(family, doomed)

    def _lies_beneath(self, family: str, ranges: Ranges) -> bool:
        """
        Might a frozen table or SQLite have rows in the ranges? Hops from row to row and from range to range;
        gives up with "yes" after some hops, which is always safe.
        """
        # A frozen table may only say "deleted" there; hiding that once more is harmless.
        if any(table.rows[family] for table in self.frozen):
            for table in self.frozen:
                order = table.order(family)
                if any(order.holds_any(start, end) for start, end in ranges):
                    return True
        first = self.reader.rising(family)
        place = ranges.next_from(b"")
        for _ in range(_LOOKS):
            if place is None:
                return False
            rows = first(place[0], ranges.ends[-1], 1)
            if not rows:
                return False
            key = rows[0][0]
            if ranges.covers(key):
                return True
            place = ranges.next_from(key)
        return True

    def discard(self, family: str, start: bytes, end: bytes) -> None:
        """
        Nothing refers to the rows in [start, end) any more, and their keys are never used again: they go from
        disk with the flush. Until then they may or may not be read; nobody should.
        """
        if start < end:
            self.active.discards.append((family, start, end))
            self.active.bytes += ROW_BYTES + len(start) + len(end)

    def discarded(self) -> list[tuple[str, bytes, bytes]]:
        """
        @return: the ranges (family, start, end) that were discarded, and whose rows may still be read.
        """
        return [piece for table in (*self.frozen, self.active) for piece in table.discards]

    def note_expiry(self, at_ms: int, row_key: bytes) -> None:
        """
        The row expires at this time: an entry for the derived index.
        """
        self._note((at_ms, row_key), True)

    def forget_expiry(self, at_ms: int, row_key: bytes) -> None:
        """
        The entry of the derived index was dealt with, or is known to be wrong.
        """
        self._note((at_ms, row_key), None)

    def _note(self, entry: tuple[int, bytes], state: bool | None) -> None:
        table = self.active
        if entry not in table.expiries:
            table.bytes += ROW_BYTES + len(entry[1])
        table.expiries[entry] = state

    # Flushing

    def freeze(self) -> MemTable | None:
        """
        Between two entries only (R4): the active table takes no more writes and waits for its flush.

        @return: the frozen table, or C{None} if there was nothing in it.
        """
        table = self.active
        if not table:
            return None
        self.frozen.append(table)
        self.active = MemTable()
        self._renew()
        return table

    def retire(self, table: MemTable) -> None:
        """
        The flush of the oldest frozen table is committed.
        """
        assert self.frozen and self.frozen[0] is table, "tables are flushed in the order of their freezing"
        assert not table.live, "a table with live objects can't have been flushed"
        del self.frozen[0]
        self.ahead.clear()
        self.retired += 1
        self._renew()

    def replaced(self, region: int, start: bytes, end: bytes) -> None:
        """
        A snapshot of a region was installed (R10): what SQLite says about it is new. Forget what was read ahead.

        No table says anything about it by now, for it was stopped, and what was older is flushed.

        @param start: where the region's range begins; C{end} is behind its end, empty for none.
        """
        start, end = key_range(start, end)
        state = apply_key(region)
        own = [("region", first, last) for first, last in (*own_ranges(region), (state, _after(state)))]
        for table in self._tables:
            for family, first, last in (*own, *((name, start, end) for name in FAMILIES if name != "region")):
                hidden = table.hidden[family].next_from(first) if family in table.hidden else None
                assert not table.order(family).holds_any(first, last), "the region has to be stopped and flushed"
                assert hidden is None or hidden[0] >= last, "the region has to be stopped and flushed"
            assert not any(start <= key < end for _, key in table.expiries), "the region has to be stopped and flushed"
        self.ahead.clear()
        self.retired += 1

    def _renew(self) -> None:
        self._tables = (self.active, *reversed(self.frozen))

    @property
    def active_bytes(self) -> int:
        """
        About the memory that the active table holds.
        """
        return self.active.bytes

    @property
    def frozen_bytes(self) -> int:
        """
        About the memory that the frozen tables hold.
        """
        return sum(table.bytes for table in self.frozen)

    @property
    def full(self) -> bool:
        """
        Is the bound of frozen tables reached, so that no more writes should be taken (R9)?
        """
        return len(self.frozen) >= self._frozen_tables_max or self.frozen_bytes >= self._frozen_bytes_max
