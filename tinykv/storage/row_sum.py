"""
Summing up a region's rows, so that replicas can be compared. Runs in a process of its own.

One read transaction of data.db shows them as of exactly one entry, while others write on. As with a snapshot
(L{tinykv.storage.snapshot_copy}) the process serves for one sum, ends with it, and can be ended at any moment. While
its transaction is open the write-ahead log of data.db can't begin anew, so the disk has to have room for that, and
whoever asked for the sum gives it up after a time.

Equal rows give equal sums. What may differ between replicas that are alike stays out: the apply state, which lies
outside of a region's own ranges, and the index of expiries, which is derived from rows. A range of rows that was
discarded goes with the flush of the table that says so, so by then it's gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any, Final

from tinykv.region.snapshot import key_range, own_ranges
from tinykv.region.state import apply_key
from tinykv.storage.errors import StorageError, SumAborted
from tinykv.storage.frames import AWAKE, OPENED, REFUSED, SUMMED
from tinykv.storage.reader import Reader

#: Families whose rows belong to the region they lie in.
_FAMILIES: Final = ("data", "default", "lock", "write")
#: Bytes of rows that are read at a time, about, and the most rows.
_PIECE_BYTES: Final = 128 * 1024
_PIECE_ROWS: Final = 1000
#: Pieces between two looks at the room on the disk.
_PIECES_A_LOOK: Final = 64


class RowSum:
    """
    One sum on its way.

    @ivar digest: In hex, when it's done.
    @ivar rows: How many were read.
    """

    def __init__(
        self,
        reader: Reader,
        region: int,
        start: bytes,
        end: bytes,
        index: int,
        *,
        room_bytes: int,
        free: Callable[[], int],
    ) -> None:
        """
        @param reader: reads in one transaction.
        @param start: where the region's range begins; C{end} is behind its end, empty for none.
        @param index: the entry as of which the rows have to be.
        @param room_bytes: what has to stay free on the disk.
        @param free: tells what is free there, in bytes.
        """
        self.digest = ""
        self.rows = 0
        self._reader = reader
        self._region = region
        self._range = key_range(start, end)
        self._index = index
        self._room_bytes = room_bytes
        self._free = free
        self._pieces = 0

    def open(self) -> None:
        """
        Begin the transaction, with a look at what it shows.

        @raise SumAborted: The rows aren't as of that entry.
        """
        self._want_room()
        state = self._reader.get("region", apply_key(self._region))
        index = None if state is None else int.from_bytes(state[:8], "big")
        if index != self._index:
            raise SumAborted(
                f"data.db is as of entry {index} by now, not {self._index}: reading didn't begin in time. The host is "
                "busy; ask again"
            )

    def steps(self) -> Iterator[None]:
        """
        Sum up; what lies between two steps is a piece of the rows.

        @raise StorageError: why it can't be done.
        """
        total = blake2b(digest_size=16)
        ranges = [(family, *self._range) for family in _FAMILIES]
        ranges += [("region", start, end) for start, end in own_ranges(self._region)]
        for number, (family, start, end) in enumerate(ranges):
            total.update(b"family %d\n" % number)
            for rows in self._read(family, start, end):
                # The same bytes wherever the pieces end.
                total.update(b"".join([b"%d %d\n%b%b" % (len(key), len(row), key, row) for key, row in rows]))
                self.rows += len(rows)
                self._pieces += 1
                if self._pieces % _PIECES_A_LOOK == 0:
                    self._want_room()
                yield
        self.digest = total.hexdigest()

    def _read(self, family: str, start: bytes, end: bytes) -> Iterator[list[tuple[bytes, bytes]]]:
        """Yield pieces of the rows of [start, end), in order."""
        read = self._reader.rising(family)
        limit = 1
        while rows := read(start, end, limit):
            yield rows
            start = rows[-1][0] + b"\0"
            size = sum(len(key) + len(row) for key, row in rows)
            # Rows may be large; those that follow are taken to be like these, but never trusted to be much smaller.
            limit = max(1, min(4 * limit, _PIECE_BYTES * len(rows) // (size + 1), _PIECE_ROWS))

    def _want_room(self) -> None:
        free = self._free()
        if free < self._room_bytes:
            raise SumAborted(
                f"the disk has {free} bytes left, and while rows are summed up the write-ahead log of data.db only "
                f"grows; {self._room_bytes} have to be free. Free some space, and ask again"
            )


class SumSession:
    """
    The work of a sum's process. Messages: C{()} asks whether it's awake, which is answered with C{(AWAKE,)};
    C{(region, start, end, index, room_bytes)} has it sum up, which is answered with C{(OPENED,)} when the transaction
    is open, and then C{(SUMMED, digest, rows)}, or C{(REFUSED, class name, message)}.

    @param connect: gives a reader all of whose reads are in one transaction, which begins with the first.
    @param free: tells what is free on the disk, in bytes.
    """

    def __init__(self, connect: Callable[[], Reader], free: Callable[[], int]) -> None:
        self._connect = connect
        self._free = free
        self._reader: Reader | None = None
        self._sum: RowSum | None = None
        self._steps: Iterator[None] | None = None

    @property
    def busy(self) -> bool:
        """Is it under way?"""
        return self._steps is not None

    def take(self, messages: list[Any]) -> list[tuple[Any, ...]]:
        """Begin, or go on for a step."""
        try:
            return self._take(messages)
        except StorageError as error:
            self.close()
            return [(REFUSED, type(error).__name__, str(error))]

    def _take(self, messages: list[Any]) -> list[tuple[Any, ...]]:
        replies: list[tuple[Any, ...]] = []
        for message in messages:
            if not message:
                replies.append((AWAKE,))
                continue
            assert self._sum is None, "a process makes one sum"
            region, start, end, index, room_bytes = message
            self._reader = self._connect()
            self._sum = RowSum(self._reader, region, start, end, index, room_bytes=room_bytes, free=self._free)
            self._sum.open()
            self._steps = self._sum.steps()
            replies.append((OPENED,))
        if replies or self._steps is None:
            return replies
        try:
            next(self._steps)
        except StopIteration:
            assert self._sum is not None
            self.close()
            return [(SUMMED, self._sum.digest, self._sum.rows)]
        return []

    def rest(self) -> None:
        """There's nothing to tidy up: this connection never writes (R8)."""

    def close(self) -> None:
        """End the transaction."""
        self._steps = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None
