"""
All regions that the scheduler has heard of, by id and by key, and what each store holds of them.

Heartbeats of different leaders arrive in any order, so the table decides what is news. Of the same region an older half
of the epoch or an older term is stale. Of another region in the same range only the newer one lives on: a split and a
merge both give a higher version than what was in that range before, so a lower version is stale, and of equal versions
the lower C{conf_ver}. With a higher version C{conf_ver} says nothing: it counts the changes of one group, and the
region that another was merged into may have seen fewer.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import chain, islice
from random import Random

from tinykv.placement.region_info import RegionInfo, Role


class StaleHeartbeat(Exception):
    """A heartbeat is older than what is known already; its text says by what."""


class DrawnSet:
    """
    Ids of which some can be drawn by chance, all as likely, in constant time each.

    The order within depends only on the order of additions and removals, so that equal histories draw alike.
    """

    def __init__(self) -> None:
        self._items: list[int] = []
        self._places: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item: object) -> bool:
        return item in self._places

    def __iter__(self) -> Iterator[int]:
        return iter(self._items)

    def add(self, item: int) -> None:
        """Put an id in, unless it's there."""
        if item not in self._places:
            self._places[item] = len(self._items)
            self._items.append(item)

    def discard(self, item: int) -> None:
        """Take an id out, if it's there; the last one takes its place."""
        place = self._places.pop(item, None)
        if place is None:
            return
        last = self._items.pop()
        if last != item:
            self._items[place] = last
            self._places[last] = place

    def around(self, random: Random) -> Iterator[int]:
        """Give all ids once, from one drawn by chance on."""
        first = random.randrange(len(self._items)) if self._items else 0
        return chain(islice(self._items, first, None), islice(self._items, first))

    def draw(self, random: Random, most: int) -> list[int]:
        """Draw at most that many different ids."""
        return random.sample(self._items, min(most, len(self._items)))


class StoreRegions:
    """
    What one store holds.

    @ivar size: Bytes of all its peers, none of them less than L{LEAST_SIZE<tinykv.placement.region_info.LEAST_SIZE>}.
    @ivar leader_size: Likewise of the regions that it leads.
    """

    def __init__(self) -> None:
        self.leaders = DrawnSet()
        self.followers = DrawnSet()
        self.learners = DrawnSet()
        self.pending = DrawnSet()
        self.size = 0
        self.leader_size = 0

    @property
    def count(self) -> int:
        """How many peers it holds, learners among them."""
        return len(self.leaders) + len(self.followers) + len(self.learners)

    def all(self) -> list[int]:
        """List the regions of which it holds a peer, by their ids."""
        return sorted([*self.leaders, *self.followers, *self.learners])

    def _roles(self, region: RegionInfo, store: int) -> DrawnSet:
        if region.leader == store:
            return self.leaders
        return self.learners if region.role_on(store) is Role.LEARNER else self.followers

    def add(self, region: RegionInfo, store: int) -> None:
        """Count the region's peer on this store, whose id is C{store}."""
        self._roles(region, store).add(region.region)
        if store in region.pending:
            self.pending.add(region.region)
        self.size += region.placed_size
        if region.leader == store:
            self.leader_size += region.placed_size

    def remove(self, region: RegionInfo, store: int) -> None:
        """Count it no more; the region is as it was when it was added."""
        self._roles(region, store).discard(region.region)
        self.pending.discard(region.region)
        self.size -= region.placed_size
        if region.leader == store:
            self.leader_size -= region.placed_size


class RegionTable:
    """The regions, without two that overlap."""

    def __init__(self) -> None:
        self._regions: dict[int, RegionInfo] = {}
        self._starts: list[bytes] = []  #: Sorted, one for each region.
        self._ids: list[int] = []  #: The id of the region that starts at the same place of _starts.
        self._stores: dict[int, StoreRegions] = {}

    def __len__(self) -> int:
        return len(self._regions)

    def __iter__(self) -> Iterator[RegionInfo]:
        return (self._regions[region] for region in self._ids)

    def get(self, region: int) -> RegionInfo | None:
        """Give the region with an id."""
        return self._regions.get(region)

    def on(self, store: int) -> StoreRegions:
        """Give what a store holds."""
        return self._stores.get(store) or StoreRegions()

    @property
    def held_by(self) -> tuple[int, ...]:
        """The stores that hold something, in order of their ids."""
        return tuple(sorted(store for store, held in self._stores.items() if held.count))

    def at(self, key: bytes) -> RegionInfo | None:
        """Give the region that a key belongs to."""
        place = bisect_right(self._starts, key) - 1
        if place < 0:
            return None
        region = self._regions[self._ids[place]]
        return None if region.end and region.end <= key else region

    def previous(self, key: bytes) -> RegionInfo | None:
        """Give the region right before the one that a key belongs to, if both are known and nothing lies between."""
        own = self.at(key)
        return self.neighbours(own)[0] if own else None

    def neighbours(self, region: RegionInfo) -> tuple[RegionInfo | None, RegionInfo | None]:
        """Give the regions that end where a region starts, and start where it ends."""
        place = bisect_left(self._starts, region.start)
        before = self._regions[self._ids[place - 1]] if place else None
        after = self.at(region.end) if region.end else None
        return (
            before if before and before.end == region.start else None,
            after if after and after.start == region.end else None,
        )

    def scan(self, start: bytes, end: bytes = b"", most: int | None = None) -> list[RegionInfo]:
        """List the regions that have keys in a range, in order; an empty end is none. At most as many as are asked."""
        place = max(bisect_right(self._starts, start) - 1, 0)
        found: list[RegionInfo] = []
        for region in map(self._regions.__getitem__, self._ids[place : None if most is None else place + most + 1]):
            if end and region.start >= end or most is not None and len(found) >= most:
                break
            if not region.end or region.end > start:
                found.append(region)
        return found

    def gap(self) -> tuple[bytes, bytes] | None:
        """Give the first range of keys of which no region is known, if there's one."""
        at = b""
        for region in self:
            if region.start != at:
                return at, region.start
            if not region.end:
                return None
            at = region.end
        return at, b""

    def check(self, region: RegionInfo) -> None:
        """
        Refuse what is older than what is known.

        @raise StaleHeartbeat: Says by what.
        """
        known = self._regions.get(region.region)
        if known:
            for name in ("version", "conf_ver", "term"):
                told, had = getattr(region, name), getattr(known, name)
                if told < had:
                    raise StaleHeartbeat(f"region {region.region} has {name} {had} already, not {told}")
            if (region.start, region.end) == (known.start, known.end):
                return  # No other one is in its range.
        for other in self.scan(region.start, region.end):
            if other.region != region.region and (region.version, region.conf_ver) < (
                other.version,
                other.conf_ver if other.version == region.version else 0,
            ):
                raise StaleHeartbeat(
                    f"the range of region {region.region} in version {region.version} belongs to region"
                    f" {other.region} in version {other.version}"
                )

    def put(self, region: RegionInfo) -> list[RegionInfo]:
        """
        Take a region over, instead of what was known of it and of all that overlap it; return those others.

        @raise StaleHeartbeat: What is known is newer. Nothing has changed.
        """
        self.check(region)
        known = self._regions.get(region.region)
        if known and (region.start, region.end) == (known.start, known.end):
            self._recount(known, region)
            self._regions[region.region] = region
            return []
        replaced = [other for other in self.scan(region.start, region.end) if other.region != region.region]
        for other in replaced:
            self.drop(other.region)
        self.drop(region.region)
        place = bisect_left(self._starts, region.start)
        self._starts.insert(place, region.start)
        self._ids.insert(place, region.region)
        self._regions[region.region] = region
        for store in region.stores:
            self._stores.setdefault(store, StoreRegions()).add(region, store)
        return replaced

    def _recount(self, before: RegionInfo, after: RegionInfo) -> None:
        """Have the stores count a region as it's now; mostly it's as it was, apart from what was measured."""

        def counted(region: RegionInfo) -> tuple[object, ...]:
            return region.peers, region.leader, region.pending, region.placed_size

        if counted(before) == counted(after):
            return
        for store in before.stores:
            self._stores[store].remove(before, store)
        for store in after.stores:
            self._stores.setdefault(store, StoreRegions()).add(after, store)
        for store in before.stores:
            self._forget_empty(store)

    def _forget_empty(self, store: int) -> None:
        """Drop what is kept of a store that holds nothing any more."""
        if not self._stores[store].count:
            del self._stores[store]

    def drop(self, region: int) -> None:
        """Forget a region, if it's known."""
        known = self._regions.pop(region, None)
        if known is None:
            return
        place = bisect_left(self._starts, known.start)
        del self._starts[place], self._ids[place]
        for store in known.stores:
            self._stores[store].remove(known, store)
            self._forget_empty(store)
