"""
At which slots a region is cut, by what its slots weigh.

Slots stay whole: commands may use all keys of one together. So a part may weigh more than it was to, where one slot
does.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate
from typing import Final

#: What a region's lighter part has to do at least, of all its work, for a cut to be of use.
LIGHTER_PART: Final = 1 / 8


def even_cuts(weights: Mapping[int, int], slots: tuple[int, int], parts: int) -> list[int]:
    """
    Give the slots at which a region is cut in parts that weigh about the same.

    Slots that weigh nothing are shared out too, after what weighs something.

    @param weights: What slots weigh; those that are missing weigh nothing.
    @param slots: The region's first slot, and the one behind its last.
    @param parts: In how many, at most as many as it has slots.
    @return: The first slot of each part but the first one.
    """
    first, end = slots
    assert 1 <= parts <= end - first, "each part has a slot"
    # One more for each slot makes a difference only where the others make none.
    heavier = end - first
    before = [0, *accumulate(weights.get(slot, 0) * heavier + 1 for slot in range(first, end))]
    cuts: list[int] = []
    last = 0
    for number in range(1, parts):
        wanted = before[-1] * number / parts
        place = bisect_left(before, wanted)
        if place and wanted - before[place - 1] <= before[place] - wanted:
            place -= 1
        last = max(last + 1, min(place, end - first - (parts - number)))
        cuts.append(first + last)
    return cuts


def load_cut(weights: Mapping[int, int], slots: tuple[int, int]) -> int | None:
    """
    Give the slot at which a region is cut that has too much to do, so that both parts have about the same.

    @param weights: The work that slots make; those that are missing make none.
    @return: None if the lighter part had less than L{LIGHTER_PART} of it. Then one slot makes more than three quarters.
    """
    if slots[1] - slots[0] < 2:
        return None
    (cut,) = even_cuts(weights, slots, 2)
    before = sum(weight for slot, weight in weights.items() if slot < cut)
    total = sum(weights.values())
    return cut if min(before, total - before) >= total * LIGHTER_PART > 0 else None


def size_cuts(sizes: Mapping[int, int], part: int, most: int) -> list[int]:
    """
    Give the slots at which a region is cut that has grown too large.

    A part holds at most C{part} bytes, unless one slot has more; the last one, which grows on as the region did, may
    hold up to C{most} if it would be small otherwise.

    @param sizes: Bytes of its slots; those that are missing hold nothing.
    @return: The first slot of each part but the first one; none if all is in one slot.
    """
    cuts: list[int] = []
    held = before = 0
    for slot in sorted(slot for slot, size in sizes.items() if size):
        if held and held + sizes[slot] > part:
            cuts.append(slot)
            held, before = 0, held
        held += sizes[slot]
    if cuts and held < part // 2 and before + held <= most:
        cuts.pop()
    return cuts
