"""
Clients that wait in a blocking command, as part of the replicated state.

That a client waits, that it's served, that its time is over: all are decided by the order of the log, so an element
is never popped for a client that the other replicas think has gone. Each waiter is a row of the region, in the order
of arrival; where the client sits, and how its reply reaches it, is the business of the store that it's connected to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import Struct

from tinykv.codec import pack_strings, unpack_strings
from tinykv.errors import Damaged
from tinykv.keys import region_row
from tinykv.redis.keyspace import Rows
from tinykv.redis.operations import NOBODY, Client

_NAME = b"waiter/"
_HEAD = Struct(">QQQBI")

#: Names a waiter: (start id of its store, client, request number).
Origin = tuple[int, int, int]


@dataclass(slots=True, eq=False)
class Waiter:
    """
    One waiting request.

    @ivar order: Its place in the order of arrival: the sequence of its command.
    @ivar keys: The keys that may make it ready.
    @ivar client: Who is answered, where that's known: only on the store that it's connected to.
    @ivar timed_out: What to answer when its time is over.
    """

    order: int
    origin: Origin
    db: int
    keys: list[bytes]
    arguments: list[bytes]
    client: Client = field(default=NOBODY)
    timed_out: bytes = b""

    def encode(self) -> bytes:
        """Give the row."""
        head = _HEAD.pack(*self.origin, self.db, len(self.keys))
        return head + pack_strings([*self.keys, *self.arguments])


class Waiters:
    """
    All waiters of a region: by origin, and by the keys that they wait for.

    @ivar by_origin: Not to be changed by others. Whether it's empty is asked twice a command, which costs more of a
        method.
    """

    def __init__(self, rows: Rows, region: int) -> None:
        self._rows = rows
        self._prefix = region_row(region, _NAME)
        self.by_origin: dict[Origin, Waiter] = {}
        #: (db, key) -> waiters, oldest first.
        self._by_key: dict[tuple[int, bytes], list[Waiter]] = {}

    def __len__(self) -> int:
        """Count them."""
        return len(self.by_origin)

    def __iter__(self) -> Iterator[Waiter]:
        """Give them in the order of arrival."""
        return iter(sorted(self.by_origin.values(), key=lambda waiter: waiter.order))

    def add(self, waiter: Waiter) -> None:
        """
        Enter a waiter, which comes after all that there are.

        One of the same origin, which only a broken store could send twice, makes room for it.
        """
        known = self.by_origin.get(waiter.origin)
        if known is not None:
            self.remove(known)
        self.take(waiter)

    def take(self, waiter: Waiter) -> None:
        """Enter a waiter that waited in another region, whose order this one shares."""
        self._enter(waiter)
        self._rows.put("region", self._prefix + waiter.order.to_bytes(8, "big"), waiter.encode())

    def _enter(self, waiter: Waiter) -> None:
        self.by_origin[waiter.origin] = waiter
        for key in dict.fromkeys(waiter.keys):
            self._by_key.setdefault((waiter.db, key), []).append(waiter)

    def remove(self, waiter: Waiter) -> None:
        """Take a waiter out."""
        del self.by_origin[waiter.origin]
        for key in dict.fromkeys(waiter.keys):
            queue = self._by_key[waiter.db, key]
            queue.remove(waiter)
            if not queue:
                del self._by_key[waiter.db, key]
        self._rows.remove("region", self._prefix + waiter.order.to_bytes(8, "big"))

    def find(self, origin: Origin) -> Waiter | None:
        """Give a waiter by its origin."""
        return self.by_origin.get(origin)

    def of(self, db: int, key: bytes) -> list[Waiter]:
        """Give those that wait for a key, oldest first."""
        return list(self._by_key.get((db, key), ()))

    def waited(self, db: int) -> list[bytes]:
        """Name the keys of a database for which someone waits, in the order in which those who wait came."""
        first = [(queue[0].order, key) for (number, key), queue in self._by_key.items() if number == db]
        return [key for _, key in sorted(first)]

    def load(self) -> None:
        """
        Take over the rows.

        @raise Damaged: One of them is no waiter.
        """
        for row_key, row in self._rows.scan("region", self._prefix, self._prefix + b"\xff"):
            if not isinstance(row, bytes) or len(row) < _HEAD.size:
                raise Damaged("a waiter's row is cut off")
            start_id, client, number, db, keys = _HEAD.unpack_from(row)
            strings, _ = unpack_strings(row, _HEAD.size)
            waiter = Waiter(
                order=int.from_bytes(row_key[len(self._prefix) :], "big"),
                origin=(start_id, client, number),
                db=db,
                keys=strings[:keys],
                arguments=strings[keys:],
            )
            self._enter(waiter)
