"""How many replicas a store is given, and how many are taken from it: a bucket of tokens for each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

#: Of the tokens of one minute, so much may be used at once; at least one.
BURST_SECONDS: Final = 10.0


class Flow(Enum):
    """Which way replicas go."""

    ADD = "add"
    REMOVE = "remove"


@dataclass(slots=True)
class Bucket:
    """
    Tokens that come back at a rate.

    @ivar tokens: How many there were at C{time}. Invariant: 0 <= tokens <= the burst of the rate at that time.
    """

    tokens: float
    time: float

    def refill(self, rate: float, now: float) -> None:
        """Add what has come back by now, with so many tokens a second."""
        self.tokens = min(self.tokens + max(now - self.time, 0.0) * rate, burst(rate))
        self.time = max(now, self.time)


def burst(rate: float) -> float:
    """Give how many tokens there are at most, with so many a second."""
    return max(rate * BURST_SECONDS, 1.0)


class StoreLimits:
    """The buckets of all stores. A full one is as good as none, so stores that are gone cost nothing."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[int, Flow], Bucket] = {}

    def _bucket(self, store: int, flow: Flow, rate: float, now: float) -> Bucket:
        bucket = self._buckets.setdefault((store, flow), Bucket(burst(rate), now))
        bucket.refill(rate, now)
        return bucket

    def allows(self, store: int, flow: Flow, rate: float, now: float) -> bool:
        """Tell whether a replica may go to or from a store now, at so many a second."""
        return self._bucket(store, flow, rate, now).tokens >= 1.0

    def take(self, store: int, flow: Flow, rate: float, now: float) -> None:
        """Use a token up, where there's one."""
        bucket = self._bucket(store, flow, rate, now)
        bucket.tokens = max(bucket.tokens - 1.0, 0.0)

    def forget(self, store: int) -> None:
        """Drop the buckets of a store."""
        for flow in Flow:
            self._buckets.pop((store, flow), None)
