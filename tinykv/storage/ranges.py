"""
A set of key ranges, kept sorted and disjoint, so that a question is one bisection.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Ranges:
    """
    A union of half-open ranges [start, end) of byte strings.

    Invariant: C{starts[i] < ends[i] < starts[i + 1]}.
    """

    __slots__ = ("ends", "starts")

    def __init__(self, ranges: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.starts: list[bytes] = []
        self.ends: list[bytes] = []
        self.add(ranges)

    def add(self, ranges: Iterable[tuple[bytes, bytes]]) -> None:
        """
        Widen the set: O(n log n) for all ranges of one call together. Empty ranges are ignored.
        """
        merged = [(start, end) for start, end in ranges if start < end]
        if not merged:
            return
        merged.extend(zip(self.starts, self.ends, strict=True))
        merged.sort()
        starts: list[bytes] = []
        ends: list[bytes] = []
        for start, end in merged:
            if ends and start <= ends[-1]:
                if end > ends[-1]:
                    ends[-1] = end
            else:
                starts.append(start)
                ends.append(end)
        self.starts = starts
        self.ends = ends

    def __bool__(self) -> bool:
        return bool(self.starts)

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return zip(list(self.starts), list(self.ends), strict=True)

    def covers(self, key: bytes) -> bool:
        """
        Is the key in one of the ranges?
        """
        place = bisect_right(self.starts, key) - 1
        return place >= 0 and key < self.ends[place]

    def beyond(self, key: bytes) -> bytes:
        """
        @return: the least key not below C{key} that no range covers.
        """
        place = bisect_right(self.starts, key) - 1
        if place >= 0 and key < self.ends[place]:
            return self.ends[place]
        return key

    def before(self, end: bytes) -> bytes:
        """
        @return: the least bound C{b <= end} such that everything in [b, end) is covered.
        """
        place = bisect_left(self.starts, end) - 1
        if place >= 0 and end <= self.ends[place]:
            return self.starts[place]
        return end

    def next_from(self, key: bytes) -> tuple[bytes, bytes] | None:
        """
        @return: the first range that ends after C{key}.
        """
        place = bisect_right(self.ends, key)
        return (self.starts[place], self.ends[place]) if place < len(self.starts) else None
