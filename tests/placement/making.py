"""Regions and stores as tests need them: short to write, with what doesn't matter left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import Any

from tinykv.placement.config import PlacementConfig
from tinykv.placement.placement import Placement
from tinykv.placement.region_info import PeerInfo, RegionInfo, Role
from tinykv.placement.stores import StoreRecord, StoreStats

MB, GB = 1 << 20, 1 << 30

#: When the placements of tests begin.
START = 1000.0

#: What a store with plenty of room says.
ROOMY = StoreStats(100 * GB, 90 * GB)


def region(
    number: int,
    start: bytes = b"",
    end: bytes = b"",
    *,
    stores: Iterable[int] = (1, 2, 3),
    learners: Iterable[int] = (),
    leader: int | None = 0,
    **others: Any,
) -> RegionInfo:
    """Give a region with voters and learners on some stores; the first voter leads, unless another does or none."""
    voters = tuple(stores)
    peers = [PeerInfo(store, store) for store in voters]
    peers += [PeerInfo(store, store, Role.LEARNER) for store in learners]
    others = {"conf_ver": 1, "version": 1, "size": 10 * MB, **others}
    return RegionInfo(number, start, end, tuple(peers), voters[0] if leader == 0 else leader, **others)


def row(count: int, **others: Any) -> list[RegionInfo]:
    """Give regions that cover all keys together."""
    keys = [b"", *(b"%04d" % number for number in range(1, count)), b""]
    return [region(number + 1, keys[number], keys[number + 1], **others) for number in range(count)]


def placement(
    *regions: RegionInfo, stores: int = 4, places: dict[int, dict[str, str]] | None = None, **choices: Any
) -> Placement:
    """
    Give a placement that has just heard of some stores, from 1 on, and of some regions.

    @param places: The labels of stores; C{choices} are those of the placement.
    """
    told = places or {}
    records = {store: StoreRecord(store, f"h{store}:1", labels=told.get(store, {})) for store in range(1, stores + 1)}
    made = Placement(records, PlacementConfig(**choices), Random(1), START)
    hear(made, START)
    for each in regions:
        made.heartbeat(each, START)
    return made


def hear(made: Placement, now: float, *stores: int, **stats: Any) -> None:
    """Have stores send heartbeats; all that there are, unless some are named."""
    for store in stores or sorted(made.cluster.stores):
        made.store_heartbeat(store, StoreStats(100 * GB, stats.pop("available", 90 * GB), **stats), now)


def change(made: Placement, store: int, **choices: Any) -> None:
    """Change a store's record, as the host does."""
    records = made.cluster.stores
    assert isinstance(records, dict)
    records[store] = replace(records[store], **choices)


def silence(made: Placement, store: int, seconds: float) -> float:
    """Let so much time go by without a word of one store; return the time then."""
    now = made.cluster.now + seconds
    hear(made, now, *(other for other in sorted(made.cluster.stores) if other != store))
    return now


def only(made: Placement) -> dict[int, str]:
    """Give the names of the operators that run, by region."""
    return {operator.region: operator.name for operator in made.controller.running}
