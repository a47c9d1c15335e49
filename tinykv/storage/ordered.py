"""
The keys of a dict in order, made only when somebody asks, and from then on kept up with little work.

A memory table takes writes at dict speed; most of its keys are never scanned. So the order is derived: a dict
keeps its insertion order, hence the keys added since the last scan are the tail of the dict, and only those
are merged. The keys live in blocks of a bounded size, so one late key costs one short insertion and not a
move of the whole list.

A key that leaves the dict breaks the count of those seen; then the order is forgotten and made again when
needed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from itertools import islice
from typing import Any, Final, Generic, TypeVar

Key = TypeVar("Key", bytes, tuple[int, bytes])

#: Keys in a block after a cut. Twice as many cut it again.
BLOCK: Final = 512


class OrderedKeys(Generic[Key]):
    """
    The sorted keys of C{source}.

    @ivar source: a dict from which keys are only removed together with a call of L{forget}.
    """

    __slots__ = ("_blocks", "_lasts", "_seen", "source")

    source: dict[Key, Any]

    def __init__(self, source: dict[Key, Any]) -> None:
        self.source = source
        self.forget()

    def forget(self) -> None:
        """
        Keys left the source: begin anew at the next question.
        """
        self._seen = 0
        self._blocks: list[list[Key]] = []
        self._lasts: list[Key] = []  # the greatest key of each block

    def _catch_up(self) -> None:
        count = len(self.source) - self._seen
        if not count:
            return
        fresh: list[Key] = list(islice(reversed(self.source), count))
        if count * 8 > self._seen:
            self._rebuild(fresh)
        else:
            for key in fresh:
                self._insert(key)
        self._seen += count

    def _rebuild(self, fresh: list[Key]) -> None:
        for block in self._blocks:
            fresh.extend(block)
        fresh.sort()
        self._blocks = [fresh[place : place + BLOCK] for place in range(0, len(fresh), BLOCK)]
        self._lasts = [block[-1] for block in self._blocks]

    def _insert(self, key: Key) -> None:
        place = min(bisect_left(self._lasts, key), len(self._blocks) - 1)
        block = self._blocks[place]
        insort(block, key)
        if len(block) >= 2 * BLOCK:
            self._blocks[place : place + 1] = [block[:BLOCK], block[BLOCK:]]
            self._lasts.insert(place, block[BLOCK - 1])
            place += 1
        self._lasts[place] = self._blocks[place][-1]

    def first(self, start: Key, end: Key, limit: int) -> list[Key]:
        """
        @return: up to C{limit} keys of [start, end), ascending.
        """
        self._catch_up()
        found: list[Key] = []
        place = bisect_left(self._lasts, start)
        while place < len(self._blocks) and len(found) < limit:
            block = self._blocks[place]
            low = bisect_left(block, start)
            high = bisect_left(block, end, low)
            found += block[low : min(high, low + limit - len(found))]
            if high < len(block):
                break
            place += 1
        return found

    def last(self, start: Key, end: Key, limit: int) -> list[Key]:
        """
        @return: up to C{limit} keys of [start, end), descending.
        """
        self._catch_up()
        found: list[Key] = []
        place = min(bisect_left(self._lasts, end), len(self._blocks) - 1)
        while place >= 0 and len(found) < limit:
            block = self._blocks[place]
            low = bisect_left(block, start)
            high = bisect_left(block, end, low)
            part = block[max(low, high - limit + len(found)) : high]
            part.reverse()
            found += part
            if low > 0:
                break
            place -= 1
        return found

    def holds_any(self, start: Key, end: Key) -> bool:
        """
        Is there a key in [start, end)?
        """
        return bool(self.first(start, end, 1))

