"""
Reading layers of sorted rows as one: SQLite at the bottom, memory tables over it.

The merge goes window by window. A window is as long as every layer can fill with a limited number of rows, so
the work and the memory are bounded however unequal the layers are; it is computed at once, and nothing is
kept open between two windows, so writes between two steps of an iteration can't break it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, NamedTuple, TypeVar

from tinykv.storage.ordered import OrderedKeys
from tinykv.storage.ranges import Ranges

Key = TypeVar("Key", bytes, tuple[int, bytes])

#: Rows of the first window: most scans end within it.
FIRST_WINDOW: Final = 16
#: Rows of the longest window.
WINDOW: Final = 256


class Layer(NamedTuple, Generic[Key]):
    """
    One memory table's part in a merge.

    @ivar rows: what it says of each key; C{None} hides what lies under it.
    @ivar hidden: the ranges in which it hides everything under it, if any.
    """

    order: OrderedKeys[Key]
    rows: dict[Key, Any]
    hidden: Ranges | None


#: (start, end, limit) -> the bottom's first rows of [start, end), in the direction of the scan.
Read = Callable[[Key, Key, int], list[tuple[Key, Any]]]


def ascending(
    read: Read[Key],
    layers: Callable[[], list[Layer[Key]]],
    start: Key,
    end: Key,
    successor: Callable[[Key], Key],
) -> Iterator[tuple[Key, Any]]:
    """
    Yield the rows of [start, end) in rising order.

    @param layers: the memory tables as of now, oldest first; asked once a window.
    @param successor: the least key above the given one.
    """
    limit = FIRST_WINDOW
    while start < end:
        over = layers()
        low: Any = start
        for layer in over:
            if layer.hidden is not None:
                low = layer.hidden.beyond(low)
        bottom = read(low, end, limit) if low < end else []
        parts = [layer.order.first(start, end, limit) for layer in over]
        # Each layer that was cut off says how far the window may reach; the nearest wins.
        cuts = [part[-1] for part in parts if len(part) == limit]
        if len(bottom) == limit:
            cuts.append(bottom[-1][0])
        cut = min(cuts) if cuts else None
        if not over:
            yield from bottom
        else:
            if cut is not None:
                bottom = [row for row in bottom if row[0] <= cut]
                parts = [[key for key in part if key <= cut] for part in parts]
            found = _overlay(bottom, over, parts)
            for key in sorted(found):
                yield key, found[key]
        if cut is None:
            return
        start = successor(cut)
        limit = min(limit * 4, WINDOW)


def descending(
    read: Read[Key], layers: Callable[[], list[Layer[Key]]], start: Key, end: Key
) -> Iterator[tuple[Key, Any]]:
    """
    Yield the rows of [start, end) in falling order.

    @param layers: as for L{ascending}.
    """
    limit = FIRST_WINDOW
    while start < end:
        over = layers()
        high: Any = end
        for layer in over:
            if layer.hidden is not None:
                high = layer.hidden.before(high)
        bottom = read(start, high, limit) if start < high else []
        parts = [layer.order.last(start, end, limit) for layer in over]
        cuts = [part[-1] for part in parts if len(part) == limit]
        if len(bottom) == limit:
            cuts.append(bottom[-1][0])
        cut = max(cuts) if cuts else None
        if not over:
            yield from bottom
        else:
            if cut is not None:
                bottom = [row for row in bottom if row[0] >= cut]
                parts = [[key for key in part if key >= cut] for part in parts]
            found = _overlay(bottom, over, parts)
            for key in sorted(found, reverse=True):
                yield key, found[key]
        if cut is None:
            return
        end = cut
        limit = min(limit * 4, WINDOW)


def _overlay(
    bottom: list[tuple[Key, Any]], layers: list[Layer[Key]], parts: list[list[Key]]
) -> dict[Key, Any]:
    """
    Apply each layer's part of one window over what lies under it.
    """
    found = dict(bottom)
    for layer, part in zip(layers, parts, strict=True):
        hidden: Any = layer.hidden
        if hidden is not None and found:
            found = {key: value for key, value in found.items() if not hidden.covers(key)}
        rows = layer.rows
        for key in part:
            value = rows.get(key)
            if value is None:
                found.pop(key, None)
            else:
                found[key] = value
    return found
