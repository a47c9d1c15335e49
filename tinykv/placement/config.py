"""The choices of the placement: one frozen value, checked when it's made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from tinykv.placement.plain import BadRecord, from_plain, to_plain
from tinykv.raft.membership import MAX_MEMBERS

#: What runs beside the repair of replicas, by name.
SCHEDULERS: Final = ("balance-leader", "balance-region", "hot-region", "evict-leader", "grant-leader")

#: Limits on how many operators run at once: none of that kind are started when they are 0.
_COUNTS = ("leader_limit", "region_limit", "replica_limit", "hot_limit", "merge_limit")
_POSITIVE = (
    "disconnected_after", "max_down", "leader_timeout", "region_timeout", "record_time", "gate_wait", "patrol_interval",
    "schedule_interval", "schedule_interval_max", "add_limit", "remove_limit", "candidates", "patrol_regions",
    "snapshots_max", "pending_max",
)  # fmt: skip
#: When stores split regions, with the least that each may be; 0 is for what the stores' own configurations say.
_SPLITS = {"region_max_size": 1 << 20, "region_split_size": 1 << 16, "split_load_threshold": 10}
_FRACTIONS = ("low_space", "high_space", "region_tolerance", "hot_tolerance", "gate_fraction")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementConfig:
    """
    Times are in seconds, sizes in bytes, fractions between 0 and 1.

    @ivar replicas: How many voters each region shall have. Even numbers survive no more failures than the odd number
        below.
    @ivar labels: The names of the stores' labels that say where they are, the widest place first. No two replicas of
        a region are in one place where that can be avoided. A label that two stores lack says nothing about them.
    @ivar disconnected_after: A store that was silent for this long is given nothing new.
    @ivar max_down: A store that was silent for this long is taken for lost: its replicas are made anew elsewhere. Less
        means that a restart of a host moves data; more, that a second failure meets regions that lack a replica.
    @ivar low_space: A store with less than this fraction of its capacity free is given no replicas.
    @ivar high_space: A store with at least this fraction free counts by what it holds alone; between both, the less is
        free, the more what it holds counts.
    @ivar region_tolerance: By which part of the mean two stores may differ in what they hold, in bytes and in
        replicas, beside what is moved, before a region moves.
    @ivar leader_tolerance: By how many leaders two stores may differ before leadership moves. At least 1.
    @ivar leader_limit: How many operators that only move leadership run at once; likewise C{region_limit} for those
        that move replicas, C{replica_limit} for repairs, C{hot_limit} and C{merge_limit}.
    @ivar add_limit: How many replicas a store is given within a minute, at most; a store's record may say otherwise.
    @ivar remove_limit: Likewise how many are taken from it.
    @ivar snapshots_max: A store that sends or receives this many snapshots is given no more replicas.
    @ivar pending_max: Likewise with this many replicas that haven't caught up.
    @ivar leader_timeout: An operator that only moves leadership is given up after this long.
    @ivar region_timeout: Any other is given up after this long. A large region's snapshot must arrive within it.
    @ivar record_time: For how long it can be asked how an operator ended.
    @ivar gate_fraction: After a start nothing is decided before this part of each store's regions has been heard of,
    @ivar gate_wait: or this long has gone by.
    @ivar patrol_interval: How often the next C{patrol_regions} regions are looked at for what needs repair.
    @ivar schedule_interval: How often a scheduler looks for work while it finds some. While it doesn't, it looks less
        and less often, down to once in C{schedule_interval_max}.
    @ivar candidates: How many regions of a store are considered at a time, drawn by chance.
    @ivar hot_least: A region is busy when its load is at least this many commands each second; a KiB counts as one.
        It's moved away from the busiest store, and only balanced otherwise where it makes no store busier than another.
    @ivar hot_heartbeats: And was so in this many heartbeats in a row.
    @ivar hot_ratio: A busy region is hot when its load is this many times the mean of the others. It isn't balanced at
        all but by its load.
    @ivar hot_tolerance: The busiest store's load must fall by this part of it for a busy region to move.
    @ivar region_max_size: How many bytes a region may hold before the store that leads it splits it, instead of what
        each store's own configuration says; 0 leaves that to them. Only stores that split by size at all do; likewise
        C{region_split_size}, how many bytes the parts have then, and C{split_load_threshold}, how much a region
        may do a second before it's split, for those that split by load.
    @ivar merge_by_size: Whether neighbours are merged that have become small.
    @ivar merge_size: Two neighbours are merged when both together hold at most this.
    @ivar merge_keys: And at most this many keys.
    @ivar merge_pause: But not within this long of a split, or of when the scheduler first heard of them.
    @ivar least_regions: And never so that fewer regions remain; nor fewer than the cluster began with.
    @ivar evict_leader: Stores that shall not lead.
    @ivar grant_leader: Stores that shall lead whatever they can.
    @ivar schedulers: Which of L{SCHEDULERS} run. Repair of replicas always runs.
    """

    replicas: int = 3
    labels: tuple[str, ...] = ("zone", "host")
    disconnected_after: float = 20.0
    max_down: float = 1800.0
    low_space: float = 0.2
    high_space: float = 0.4
    region_tolerance: float = 0.05
    leader_tolerance: int = 1
    leader_limit: int = 4
    region_limit: int = 2048
    replica_limit: int = 64
    hot_limit: int = 4
    merge_limit: int = 8
    add_limit: float = 15.0
    remove_limit: float = 15.0
    snapshots_max: int = 16
    pending_max: int = 64
    leader_timeout: float = 10.0
    region_timeout: float = 600.0
    record_time: float = 600.0
    gate_fraction: float = 0.8
    gate_wait: float = 300.0
    patrol_interval: float = 0.1
    patrol_regions: int = 128
    schedule_interval: float = 0.01
    schedule_interval_max: float = 5.0
    candidates: int = 10
    hot_least: float = 100.0
    hot_heartbeats: int = 3
    hot_ratio: float = 2.0
    hot_tolerance: float = 0.05
    region_max_size: int = 0
    region_split_size: int = 0
    split_load_threshold: int = 0
    merge_by_size: bool = False
    merge_size: int = 20 << 20
    merge_keys: int = 200_000
    merge_pause: float = 3600.0
    least_regions: int = 1
    evict_leader: tuple[int, ...] = ()
    grant_leader: tuple[int, ...] = ()
    schedulers: tuple[str, ...] = SCHEDULERS

    def __post_init__(self) -> None:
        """
        Refuse what can't work.

        @raise BadRecord: Says which choice, and what it must be.
        """
        if not 1 <= self.replicas <= MAX_MEMBERS // 2:
            raise BadRecord(f"replicas must be between 1 and {MAX_MEMBERS // 2}")
        for name in _POSITIVE:
            if getattr(self, name) <= 0:
                raise BadRecord(f"{name} must be greater than 0")
        for name in (*_COUNTS, *_SPLITS, "merge_size", "merge_keys", "merge_pause", "hot_least"):
            if getattr(self, name) < 0:
                raise BadRecord(f"{name} must not be negative")
        for name in _FRACTIONS:
            if not 0 <= getattr(self, name) <= 1:
                raise BadRecord(f"{name} must be between 0 and 1")
        for name in ("leader_tolerance", "hot_heartbeats", "least_regions"):
            if getattr(self, name) < 1:
                raise BadRecord(f"{name} must be at least 1")
        for name, least in _SPLITS.items():
            if 0 < getattr(self, name) < least:
                raise BadRecord(f"{name} must be at least {least}, or 0 to leave it to the stores")
        if 0 < self.region_max_size <= self.region_split_size:
            raise BadRecord("region_split_size must be less than region_max_size")
        if self.hot_ratio <= 1:
            raise BadRecord("hot_ratio must be greater than 1")
        if self.low_space >= self.high_space:
            raise BadRecord("low_space must be less than high_space")
        if self.max_down <= self.disconnected_after:
            raise BadRecord("max_down must be greater than disconnected_after")
        if self.schedule_interval > self.schedule_interval_max:
            raise BadRecord("schedule_interval must be at most schedule_interval_max")
        if len(set(self.labels)) < len(self.labels) or not all(self.labels):
            raise BadRecord("labels must be different names")
        if unknown := sorted(set(self.schedulers) - set(SCHEDULERS)):
            raise BadRecord(f"schedulers has {', '.join(unknown)}; there are {', '.join(SCHEDULERS)}")
        if both := sorted(set(self.evict_leader) & set(self.grant_leader)):
            raise BadRecord(f"store {both[0]} can't be in both evict_leader and grant_leader")

    def changed(self, choices: Mapping[str, object]) -> PlacementConfig:
        """
        Give it with other choices, as JSON has them.

        @raise BadRecord: One isn't known, or isn't possible. Names the first.
        """
        known = [each.name for each in fields(self)]
        for name in choices:
            if name not in known:
                raise BadRecord(f"{name} isn't a choice of the placement")
        return from_plain(PlacementConfig, {**to_plain(self), **choices})

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, object]) -> PlacementConfig:
        """
        Read it; what isn't said has its default.

        @raise BadRecord: One choice isn't known, or isn't possible.
        """
        return cls().changed(plain)
