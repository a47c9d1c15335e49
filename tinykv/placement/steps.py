"""
The steps of operators: what one order asks of a region's leader.

A step knows from a heartbeat whether it's done, whether it can be asked for at all, how many changes of the membership
it has made so far, and which voters decide once it's done: the last is what keeps an operator from losing a majority.
Steps are idempotent: the same one is sent with each heartbeat until it's done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tinykv.placement.region_info import NEW_VOTERS, RegionInfo, Role


class _Step:
    """
    What steps have in common.

    @cvar KIND: Its name in JSON.
    @cvar CHANGES: How many changes of the membership it makes.
    """

    __slots__ = ()
    KIND: ClassVar[str]
    CHANGES: ClassVar[int] = 1

    def finished(self, region: RegionInfo) -> bool:
        """Tell whether it's done."""
        raise NotImplementedError

    def waits(self, region: RegionInfo) -> bool:
        """Tell whether the leader did its part, so that there's nothing to ask for although it isn't done."""
        return False

    def impossible(self, region: RegionInfo) -> str | None:
        """Say why it can't be asked for, None when it can."""
        return None

    def changes_made(self, region: RegionInfo) -> int:
        """Tell how many changes of the membership it has made so far."""
        return self.CHANGES if self.finished(region) else 0

    def deciding(self, region: RegionInfo) -> tuple[frozenset[int], ...]:
        """Give the sets of voters of each of which a majority decides once it's done; none if it leaves them alone."""
        return ()


@dataclass(frozen=True, slots=True)
class AddLearner(_Step):
    """Add a learner on a store. Done when it's there and has caught up."""

    KIND: ClassVar[str] = "add-learner"
    store: int

    def finished(self, region: RegionInfo) -> bool:
        """Tell whether it's done."""
        return self.waits(region) and self.store not in region.pending

    def waits(self, region: RegionInfo) -> bool:
        """Tell whether the learner is there, so that it only has to catch up."""
        return region.role_on(self.store) is not None

    def impossible(self, region: RegionInfo) -> str | None:
        """Say why it can't be asked for."""
        return "the region is joint" if region.joint else None

    def changes_made(self, region: RegionInfo) -> int:
        """Tell how many changes of the membership it has made: the learner is there before it has caught up."""
        return int(self.waits(region))


@dataclass(frozen=True, slots=True)
class PromoteLearner(_Step):
    """Make the learner on a store a voter."""

    KIND: ClassVar[str] = "promote-learner"
    store: int

    def finished(self, region: RegionInfo) -> bool:
        """Tell whether it's done."""
        return region.role_on(self.store) in NEW_VOTERS

    def impossible(self, region: RegionInfo) -> str | None:
        """Say why it can't be asked for."""
        if region.joint:
            return "the region is joint"
        return None if region.role_on(self.store) is Role.LEARNER else f"store {self.store} has no learner"

    def deciding(self, region: RegionInfo) -> tuple[frozenset[int], ...]:
        """Give who decides once it's done."""
        return (frozenset(region.voters) | {self.store},)


@dataclass(frozen=True, slots=True)
class RemovePeer(_Step):
    """Remove the peer on a store, a learner or a voter. Never the leader."""

    KIND: ClassVar[str] = "remove-peer"
    store: int

    def finished(self, region: RegionInfo) -> bool:
        """Tell whether it's done."""
        return region.role_on(self.store) is None

    def impossible(self, region: RegionInfo) -> str | None:
        """Say why it can't be asked for."""
        if region.joint:
            return "the region is joint"
        return f"store {self.store} leads" if region.leader == self.store else None

    def deciding(self, region: RegionInfo) -> tuple[frozenset[int], ...]:
        """Give who decides once it's done."""
        return (frozenset(region.voters) - {self.store},)


@dataclass(frozen=True, slots=True)
class TransferLeader(_Step):
    """Have another store lead. Done when it does."""

    KIND: ClassVar[str] = "transfer-leader"
    CHANGES: ClassVar[int] = 0
    target: int

    def finished(self, region: RegionInfo) -> bool:
        """Tell whether it's done."""
        return region.leader == self.target

    def impossible(self, region: RegionInfo) -> str | None:
        """Say why it can't be asked for."""
        if region.role_on(self.target) not in NEW_VOTERS:
            return f"store {self.target} has no voter"
        return f"store {self.target} is behind" if self.target in (*region.pending, *region.down) else None


@dataclass(frozen=True, slots=True)
class EnterJoint(_Step):
    """
    Change several voters at once, through a joint configuration (the Raft thesis, section 4.3).

    The leader had better leave that by itself (auto_leave), so that no group stays joint when its scheduler is gone.

    @ivar promote: Stores whose learners become voters.
    @ivar demote: Stores whose voters become learners.
    """

    KIND: ClassVar[str] = "enter-joint"
    promote: tuple[int, ...]
    demote: tuple[int, ...]

    def finished(self, region: RegionInfo) -> bool:
        """Tell whether it's done, be the region still joint or not any more."""
        return all(region.role_on(store) in NEW_VOTERS for store in self.promote) and not any(
            region.role_on(store) in NEW_VOTERS for store in self.demote
        )

    def impossible(self, region: RegionInfo) -> str | None:
        """Say why it can't be asked for."""
        if region.joint:
            return "the region is joint already"
        for store in self.promote:
            if region.role_on(store) is not Role.LEARNER:
                return f"store {store} has no learner"
        for store in self.demote:
            if region.role_on(store) is not Role.VOTER:
                return f"store {store} has no voter"
        return f"store {region.leader} leads" if region.leader in self.demote else None

    def deciding(self, region: RegionInfo) -> tuple[frozenset[int], ...]:
        """Give who decides once it's done: the old voters, and the new ones."""
        old = frozenset(region.voters)
        return (old, (old | set(self.promote)) - set(self.demote))


@dataclass(frozen=True, slots=True)
class LeaveJoint(_Step):
    """Leave the joint configuration."""

    KIND: ClassVar[str] = "leave-joint"

    def finished(self, region: RegionInfo) -> bool:
        """Tell whether it's done."""
        return not region.joint


@dataclass(frozen=True, slots=True)
class SplitRegion(_Step):
    """
    Cut a region in parts. Done when its version has risen.

    @ivar version: The version to be cut.
    @ivar keys: Where to cut; none to let the store choose the middle.
    """

    KIND: ClassVar[str] = "split-region"
    CHANGES: ClassVar[int] = 0
    version: int
    keys: tuple[bytes, ...] = ()

    def finished(self, region: RegionInfo) -> bool:
        """Tell whether it's done."""
        return region.version > self.version

    def impossible(self, region: RegionInfo) -> str | None:
        """Say why it can't be asked for."""
        for key in self.keys:
            if key <= region.start or region.end and key >= region.end:
                return f"the key {key.hex()} isn't within the region"
        return None


@dataclass(frozen=True, slots=True)
class MergeRegion(_Step):
    """
    Merge this region into a neighbour (R19). Done when a heartbeat of the neighbour covers its range.

    @ivar target: The region that remains.
    @ivar version: This region's version when the operator was made: preparing to merge raises it.
    """

    KIND: ClassVar[str] = "merge-region"
    target: int
    version: int

    def finished(self, region: RegionInfo) -> bool:
        """A region that still has heartbeats isn't merged."""
        return False

    def waits(self, region: RegionInfo) -> bool:
        """Tell whether it's prepared, so that the rest is between the two regions."""
        return region.version > self.version

    def impossible(self, region: RegionInfo) -> str | None:
        """Say why it can't be asked for."""
        return "the region has learners" if region.learners or region.joint else None

    def changes_made(self, region: RegionInfo) -> int:
        """Tell how often it has raised C{conf_ver}: preparing does."""
        return int(self.waits(region))


Step = AddLearner | PromoteLearner | RemovePeer | TransferLeader | EnterJoint | LeaveJoint | SplitRegion | MergeRegion
