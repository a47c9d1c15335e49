"""
The memory table: what changed since the last flush, at the price of a dict.

A table says three things, and a flush writes them in this order, in one transaction:

1. C{hidden}: ranges in which everything *under* this table is gone.
2. C{rows}: key -> bytes, C{None} (deleted), or a live object that stands for its bytes until it is encoded.
3. C{discards}: ranges of rows to which nothing refers any more.

Deleting a range therefore needs no table of its own: the rows that this table has in the range are dropped
and the range is added to C{hidden}; rows put later lie over it again. So a table is never frozen in the
middle of an entry, and what a flush writes is always a state between two entries (R4, R10).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from tinykv.storage.ordered import OrderedKeys
from tinykv.storage.ranges import Ranges

#: The column families: one SQLite table each.
FAMILIES: Final = ("data", "default", "lock", "write", "region")

#: What a row costs in memory beside its key and value: two bytes objects and a slot of a dict.
ROW_BYTES: Final = 150
#: What a live object is counted as until it is encoded and its size known.
OBJECT_BYTES: Final = 512


class Encodable(Protocol):
    """
    A live object that stands for its row in family C{data} until it is encoded.

    @ivar row_key: the key of its row. May change only while C{table} is C{None}.
    @ivar table: the L{MemTable} in which it is registered as changed. Only the storage package sets it.
    """

    row_key: bytes
    table: object | None

    def encode(self) -> bytes:
        """
        @return: the row's value as of now. Mustn't change anything.
        """
        ...


class MemTable:
    """
    One memory table, active or frozen.

    @ivar rows: family -> key -> value, live object or C{None} for deleted.
    @ivar live: the objects among C{rows["data"]}, by key.
    @ivar hidden: family -> the ranges in which nothing under this table counts. Only families that have some.
    @ivar discards: (family, start, end) of rows that nothing refers to.
    @ivar expiries: (time in ms, row key) -> C{True} noted, C{None} forgotten: what becomes of the derived
        index.
    @ivar bytes: about the memory it holds.
    """

    __slots__ = ("_orders", "bytes", "discards", "expiries", "expiry_order", "hidden", "live", "rows")

    def __init__(self) -> None:
        self.rows: dict[str, dict[bytes, bytes | Encodable | None]] = {name: {} for name in FAMILIES}
        self.live: dict[bytes, Encodable] = {}
        self.hidden: dict[str, Ranges] = {}
        self.discards: list[tuple[str, bytes, bytes]] = []
        self.expiries: dict[tuple[int, bytes], bool | None] = {}
        self.expiry_order: OrderedKeys[tuple[int, bytes]] = OrderedKeys(self.expiries)
        self.bytes = 0
        self._orders: dict[str, OrderedKeys[bytes]] = {}

    def __bool__(self) -> bool:
        """
        Does the table say anything?
        """
        return bool(self.hidden or self.discards or self.expiries or any(self.rows.values()))

    def order(self, family: str) -> OrderedKeys[bytes]:
        """
        @return: the keys of a family in order, made at the first question.
        """
        order = self._orders.get(family)
        if order is None:
            order = self._orders[family] = OrderedKeys(self.rows[family])
        return order

    def release(self, key: bytes) -> None:
        """
        The object at C{key} no longer stands for its row in this table.
        """
        self.live.pop(key).table = None
        self.bytes -= OBJECT_BYTES

    def encode(self, obj: Encodable) -> None:
        """
        Put an object's bytes in its place, and let go of it.
        """
        key = obj.row_key
        del self.live[key]
        self._replace(key, obj)

    def _replace(self, key: bytes, obj: Encodable) -> None:
        value = obj.encode()
        self.rows["data"][key] = value
        obj.table = None
        self.bytes += len(value) - OBJECT_BYTES

    def encode_some(self, budget_rows: int) -> bool:
        """
        Encode up to C{budget_rows} of the live objects.

        @return: whether all are encoded, so that the table can be flushed.
        """
        live = self.live
        while live and budget_rows > 0:
            # Not by looking for the last key: that would walk over all that were taken before it.
            self._replace(*live.popitem())
            budget_rows -= 1
        return not live

    def drop(self, family: str, ranges: Ranges) -> None:
        """
        Drop this table's own rows in the ranges, as if they had never been put.
        """
        rows = self.rows[family]
        doomed: Iterable[bytes]
        if len(ranges) <= 4:
            doomed = [key for start, end in ranges for key in rows if start <= key < end]
        else:
            covers = ranges.covers
            doomed = [key for key in rows if covers(key)]
        if not doomed:
            return
        for key in doomed:
            value = rows.pop(key)
            self.bytes -= ROW_BYTES + len(key)
            if isinstance(value, bytes):
                self.bytes -= len(value)
            elif value is not None:
                self.release(key)
        if not rows:
            # The dict keeps the room of its largest size; a new one is the only way to give it back.
            self.rows[family] = {}
            self._orders.pop(family, None)
        elif family in self._orders:
            self._orders[family].forget()

    def hide(self, family: str, ranges: Ranges) -> None:
        """
        From now on nothing under this table counts in the ranges.
        """
        known = self.hidden.get(family)
        if known is None:
            known = self.hidden[family] = Ranges()
        known.add(ranges)
