"""
What a replica's rows sum up to, so that replicas can be compared.

An entry asks for it, so all replicas sum up behind the same one, each when it applies that. Equal rows give equal sums,
whatever of them lies in memory and whatever in SQLite. What may differ between replicas that are alike stays out: the
apply state, which says what was flushed; the rows of discarded ranges, to which nothing refers and which go with some
flush; the indexes that are derived from rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from typing import Final, NamedTuple

from twisted.internet.interfaces import IReactorTime

from tinykv.region.descriptor import descriptor_key
from tinykv.region.snapshot import EVERYTHING, own_ranges
from tinykv.storage.ranges import Ranges
from tinykv.storage.rowstore import RowStore
from tinykv.store.host import RegionHost

#: Families whose rows all belong to the region.
_FAMILIES: Final = ("data", "default", "lock", "write")

#: Rows between two chances for others to have their turn.
ROWS_A_LOOK: Final = 64

#: Sums that are remembered, for those who ask later.
REMEMBERED: Final = 16

#: Who may wait for sums that aren't there yet; when more do, the oldest is told that there's none.
WAITING_MAX: Final = 64


class Sum(NamedTuple):
    """
    What a replica's rows summed up to.

    @ivar index: The entry behind which they did. Invariant: the same for all replicas.
    @ivar digest: In hex.
    """

    index: int  # type: ignore[assignment]  # a field hides tuple.index, which no one calls on this
    digest: str


def digest_of(rows: RowStore, region: int, descriptor: bytes) -> str:
    """
    Sum up the rows of a region, resting now and then.

    @param descriptor: The region's descriptor, whose row isn't written before it's needed.
    @raise tinykv.storage.errors.StorageError: They can't be read.
    """
    total = blake2b(descriptor, digest_size=16)
    discarded: dict[str, Ranges] = {}
    for family, start, end in rows.discarded():
        discarded.setdefault(family, Ranges()).add([(start, end)])
    left_out = descriptor_key(region)
    ranges = [(family, *EVERYTHING) for family in _FAMILIES]
    ranges += [("region", start, end) for start, end in own_ranges()]
    for count, (family, start, end) in enumerate(ranges):
        total.update(b"family %d\n" % count)
        hidden = discarded.get(family)
        looked = 0
        for key, value in rows.scan(family, start, end):
            looked += 1
            if looked % ROWS_A_LOOK == 0:
                rows.pause()
            if (family == "region" and key == left_out) or (hidden is not None and hidden.covers(key)):
                continue
            row = value if isinstance(value, bytes) else value.encode()
            total.update(b"%d %d\n" % (len(key), len(row)))
            total.update(key)
            total.update(row)
    return total.hexdigest()


class Checksums:
    """
    The sums of this store's replica.
    """

    def __init__(self, host: RegionHost, clock: IReactorTime) -> None:
        self._host = host
        self._clock = clock
        self._sums: dict[bytes, Sum] = {}
        self._waiting: deque[tuple[bytes, Callable[[Sum | None], None]]] = deque()
        host.execution.summing = self._sum

    def _sum(self, name: bytes) -> None:
        """Sum up the rows now, in the midst of an entry, and tell who waits for it."""
        host = self._host
        # The entry counts as applied when all of it is.
        found = Sum(host.applied + 1, digest_of(host.rows, host.descriptor.region, host.descriptor.encode()))
        self._sums[name] = found
        if len(self._sums) > REMEMBERED:
            del self._sums[next(iter(self._sums))]
        waiting, self._waiting = self._waiting, deque()
        for wanted, told in waiting:
            if wanted == name:
                # In a turn of its own: this is in the midst of applying an entry.
                self._clock.callLater(0, told, found)
            else:
                self._waiting.append((wanted, told))

    def tell(self, name: bytes, told: Callable[[Sum | None], None]) -> None:
        """
        Tell of a sum, now or when it's there.

        @param name: Which: the entry that asked for it has this name.
        @param told: Called with it; with None if too many others wait.
        """
        found = self._sums.get(name)
        if found is not None:
            told(found)
            return
        self._waiting.append((name, told))
        if len(self._waiting) > WAITING_MAX:
            self._waiting.popleft()[1](None)
