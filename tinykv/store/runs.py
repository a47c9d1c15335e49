"""
The name of a run of a store or a gateway: whose it is. What was forwarded, or waits, carries it.

A store's has its number in front. A gateway has none, and keeps nothing that could outlive it: each of its runs is
another gateway to the stores, with a number of its own that no store can have (L{tinykv.peering.settings}).
"""

from __future__ import annotations

from random import Random
from typing import Final

from tinykv.peering.settings import GATEWAYS

#: Random bits in the name of a run.
START_BITS = 47


def new_start_id(store: int, random: Random) -> int:
    """Give a name to a run of a store, by which it's known whose it is."""
    return store << START_BITS | random.getrandbits(START_BITS)


#: Tells the runs of gateways from those of stores, whose numbers are small.
_OF_GATEWAY: Final = 1 << 63


def new_gateway_run(random: Random) -> int:
    """Give a name to a run of a gateway."""
    return _OF_GATEWAY | random.randrange(GATEWAYS)


def gateway_of(start_id: int) -> int | None:
    """Give the number by which a gateway that runs under this name is known on its links; None if it's a store."""
    return GATEWAYS | (start_id & (GATEWAYS - 1)) if start_id & _OF_GATEWAY else None


def store_of(start_id: int) -> int:
    """Say which store's run has this name."""
    return start_id >> START_BITS
