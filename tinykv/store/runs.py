"""The name of a store's run: whose it is, and which of its starts. What was forwarded, or waits, carries it."""

from __future__ import annotations

from random import Random

#: Random bits in the name of a run.
START_BITS = 47


def new_start_id(store: int, random: Random) -> int:
    """Give a name to a run of a store, by which it's known whose it is."""
    return store << START_BITS | random.getrandbits(START_BITS)


def store_of(start_id: int) -> int:
    """Say which store's run has this name."""
    return start_id >> START_BITS
