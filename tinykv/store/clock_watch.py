"""
A leader whose clock is wrong hands over (R15 of the design).

Expiries go by the leader's clock, and region time never goes back: a clock that is ahead ends keys early for good, one
that is behind keeps them. Which clock is right nobody knows, so what counts is the median of the voters' clocks, which
is as good as most of them are. Each difference is known only within a bound (L{tinykv.peering.clocks}), and so is the
median: a leader acts when it's off for certain, and hands over only to a store that certainly isn't, so that two stores
never hand leadership to and fro because of what isn't known exactly.

Availability comes first: whoever is to lead has to be reached and to have nearly all of the log, and where nobody is
fit, a leader with a wrong clock is better than none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from tinykv.peering.clocks import ClockOffset
from tinykv.raft.progress import REPLICATE
from tinykv.raft.refusals import Refused
from tinykv.store.host import RegionHost
from tinykv.store.region_control import LAG_MAX
from tinykv.store.successor import successor_of

#: How often the clocks are looked at, in seconds.
LOOK_SECONDS: Final = 1.0
#: Least time between two hand-overs by this store, and between two words in its log about its clock, in seconds.
PAUSE_SECONDS: Final = 30.0


class Clocks(Protocol):
    """What it needs of L{tinykv.peering.clocks.PeerClocks}."""

    def offset(self, store_id: int) -> ClockOffset | None:
        """Tell how far a store's clock is ahead of this one's; None if it hasn't told lately."""


class Median(NamedTuple):
    """Between which values the median of the clocks is for certain, in ms ahead of this store's."""

    least: float
    most: float

    @property
    def likeliest(self) -> float:
        """The middle of them."""
        return (self.least + self.most) / 2

    @property
    def distance(self) -> float:
        """By how much this store's clock is off at least."""
        return max(self.least, -self.most, 0.0)

    def has_within(self, offset: ClockOffset, bound: float) -> bool:
        """Tell whether a clock is certainly no more than so far off."""
        return offset.ms + offset.within - self.least <= bound and self.most - (offset.ms - offset.within) <= bound


def median_of(offsets: Mapping[int, ClockOffset], voters: int) -> Median | None:
    """
    Find the median of the clocks that are known.

    Of an even number it's anything between the two in the middle: of two nobody can say which is right.

    @param offsets: By store, this one among them.
    @param voters: How many clocks there are.
    @return: None where less than a majority is known.
    """
    count = len(offsets)
    if 2 * count <= voters:
        return None
    least = sorted(offset.ms - offset.within for offset in offsets.values())
    most = sorted(offset.ms + offset.within for offset in offsets.values())
    return Median(least[(count - 1) // 2], most[count // 2])


class ClockWatch:
    """
    Compares this store's clock with the others', and hands leadership over if it's off.

    @ivar offset_ms: How far it's ahead of the median, as is likeliest; None if that isn't known.
    @ivar hand_overs: How often leadership was to be handed over because of that.
    """

    log = Logger()

    def __init__(
        self,
        *,
        hosts: Sequence[RegionHost],
        store_id: int,
        clocks: Clocks,
        is_up: Callable[[int], bool],
        clock: IReactorTime,
        max_offset_ms: float,
    ) -> None:
        """
        @param hosts: The regions; the stores that vote in the first are those whose clocks count.
        @param is_up: Tells whether the link to a store is up.
        @param max_offset_ms: How far a leader's clock may be from the median.
        """
        self.offset_ms: float | None = None
        self.hand_overs = 0
        self._hosts = hosts
        self._store_id = store_id
        self._clocks = clocks
        self._is_up = is_up
        self._clock = clock
        self._max = max_offset_ms
        self._looking: IDelayedCall | None = None
        #: When something was last done or said about a wrong clock.
        self._acted = float("-inf")

    def start(self) -> None:
        """Begin to look."""
        self._looking = self._clock.callLater(LOOK_SECONDS, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _look(self) -> None:
        self._looking = self._clock.callLater(LOOK_SECONDS, self._look)
        held = [host for host in self._hosts if not host.vacant]
        stores = dict.fromkeys(store for host in held for store in _voting_stores(host).values())
        offsets = {store: found for store in stores if (found := self._offset(store)) is not None}
        median = median_of(offsets, len(stores))
        self.offset_ms = None if median is None or self._store_id not in offsets else -median.likeliest
        if self.offset_ms is None or median is None or median.distance <= self._max:
            return
        now = self._clock.seconds()
        if now - self._acted >= PAUSE_SECONDS and not any(host.group.transferring for host in self._hosts):
            self._acted = now
            self._act(offsets, median)

    def _offset(self, store: int) -> ClockOffset | None:
        return ClockOffset(0.0, 0.0) if store == self._store_id else self._clocks.offset(store)

    def _act(self, offsets: Mapping[int, ClockOffset], median: Median) -> None:
        """Hand over what this store leads, where another is fit to; say that the clock is wrong in any case."""
        said = [self._hand_over(host, offsets, median) for host in self._hosts if host.ready]
        then = "".join(dict.fromkeys(said))
        self.log.warn(
            "the clock of this store is {offset:.0f} ms {side} the median of the stores' clocks, and max_clock_offset "
            "is {most:.0f} ms: expiries go by it while this store leads; see to its time service{then}",
            offset=abs(median.likeliest),
            side="behind" if median.likeliest > 0 else "ahead of",
            most=self._max,
            then=then,
        )

    def _hand_over(self, host: RegionHost, offsets: Mapping[int, ClockOffset], median: Median) -> str:
        """Hand a region over; say what came of it."""
        stores = _voting_stores(host)
        target = self._successor(host, stores, offsets, median)
        if target is None:
            return "; this store leads on, since no other that could is certain to be nearer to it"
        try:
            host.group.transfer_leader(target)
        except Refused as problem:
            return f"; leadership isn't handed over: {problem}"
        self.hand_overs += 1
        host.replica.go_on()
        return f"; leadership is handed to store {stores[target]}"

    def _successor(
        self, host: RegionHost, stores: Mapping[int, int], offsets: Mapping[int, ClockOffset], median: Median
    ) -> int | None:
        """Choose the peer with the longest log among those that are reached, keep up, and have a good clock."""
        group = host.group
        known = group.progress()

        def fit(peer: int) -> bool:
            store = stores[peer]
            return (
                store in offsets
                and median.has_within(offsets[store], self._max)
                and self._is_up(store)
                and known[peer].state == REPLICATE
                and known[peer].match + LAG_MAX >= group.last
            )

        return successor_of(group, fit)


def _voting_stores(host: RegionHost) -> dict[int, int]:
    """Give the stores that vote, by peer."""
    descriptor = host.descriptor
    return {voter: descriptor.stores[voter] for voter in descriptor.membership.voters}
