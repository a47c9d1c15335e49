"""A plan for one region: steps that its leader is asked for one after another, and how that ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any

from tinykv.placement.plain import from_plain, to_plain
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.steps import MergeRegion, Step, TransferLeader


class Kind(Enum):
    """What an operator is about. One may be about several things, and counts in the limit of each."""

    LEADER = "leader"
    REGION = "region"
    REPLICA = "replica"
    HOT = "hot"
    MERGE = "merge"
    ADMIN = "admin"


class Priority(IntEnum):
    """Of two operators for one region the one with the higher priority runs; of equal ones the first."""

    LOW = 0
    NORMAL = 1
    HIGH = 2


class Status(Enum):
    """How far an operator is, or how it ended."""

    RUNNING = "running"
    SUCCESS = "success"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    REPLACED = "replaced"


@dataclass(slots=True)
class Operator:
    """
    A plan for one region.

    @ivar region: The region's id.
    @ivar name: Who made it, such as C{balance-region}.
    @ivar conf_ver: The region's epoch when it was made, with C{version}.
    @ivar created: When, in seconds.
    @ivar step: How many steps are done.
    @ivar reason: Why it was cancelled, for a person.
    @ivar ended: When it ended.
    """

    region: int
    name: str
    kinds: tuple[Kind, ...]
    priority: Priority
    steps: tuple[Step, ...]
    conf_ver: int
    version: int
    created: float
    step: int = 0
    status: Status = Status.RUNNING
    reason: str = ""
    ended: float | None = None

    @property
    def current(self) -> Step | None:
        """The step to be done next, None when all are."""
        return self.steps[self.step] if self.step < len(self.steps) else None

    @property
    def remaining(self) -> tuple[Step, ...]:
        """The steps that aren't done."""
        return self.steps[self.step :]

    @property
    def partner(self) -> int | None:
        """The other region that it concerns: the one that remains of a merge."""
        last = self.steps[-1]
        return last.target if isinstance(last, MergeRegion) else None

    @property
    def only_leader(self) -> bool:
        """Whether it moves nothing but leadership."""
        return all(isinstance(step, TransferLeader) for step in self.steps)

    def advance(self, region: RegionInfo) -> None:
        """Count the steps that a heartbeat shows to be done."""
        while (step := self.current) is not None and step.finished(region):
            self.step += 1

    def changes_made(self, region: RegionInfo) -> int:
        """Tell how many changes of the membership the steps up to the current one have made."""
        current = self.current
        return sum(step.CHANGES for step in self.steps[: self.step]) + (current.changes_made(region) if current else 0)

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_json(cls, plain: object) -> Operator:
        """
        Read it.

        @raise BadRecord: It isn't one.
        """
        return from_plain(cls, plain)


@dataclass(frozen=True, slots=True)
class Order:
    """
    A step, for the leader of a region, in an epoch.

    The leader refuses it in another epoch or when it doesn't lead. It comes again with the answer to each heartbeat.
    """

    region: int
    leader: int
    conf_ver: int
    version: int
    step: Step

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_json(cls, plain: object) -> Order:
        """
        Read it.

        @raise BadRecord: It isn't one.
        """
        return from_plain(cls, plain)
