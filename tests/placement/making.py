"""Regions and stores as tests need them: short to write, with what doesn't matter left out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tinykv.placement.region_info import PeerInfo, RegionInfo, Role

MB, GB = 1 << 20, 1 << 30


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
