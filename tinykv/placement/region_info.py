"""What the leader of a region tells the scheduler about it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from tinykv.placement.plain import BadRecord, from_plain, to_plain
from tinykv.raft.membership import MAX_MEMBERS
from tinykv.region.descriptor import Descriptor

#: A region that holds less counts as this many bytes: it costs a log, ticks and heartbeats even when it's empty.
LEAST_SIZE: Final = 1 << 20


class Role(Enum):
    """
    What a peer is in its group.

    While the group is joint, C{INCOMING} votes with the new voters only, C{OUTGOING} and C{DEMOTING} with the old ones
    only: the first leaves the group together with the joint configuration, the other one becomes a learner.
    """

    VOTER = "voter"
    LEARNER = "learner"
    INCOMING = "incoming"
    OUTGOING = "outgoing"
    DEMOTING = "demoting"


#: Who votes among the new voters (the only ones, when there's no joint configuration), and who among the old ones.
NEW_VOTERS: Final = frozenset((Role.VOTER, Role.INCOMING))
OLD_VOTERS: Final = frozenset((Role.VOTER, Role.OUTGOING, Role.DEMOTING))


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """One replica: its peer id, the store that it's on, and what it is."""

    peer: int
    store: int
    role: Role = Role.VOTER


@dataclass(frozen=True, slots=True)
class RegionInfo:
    """
    A region as its leader sees it: one heartbeat.

    @ivar region: Its id.
    @ivar start: The first key of its range; C{end} the first behind it, empty for none.
    @ivar conf_ver: Rises with each change of the peers; C{version} with each change of the range.
    @ivar peers: Its replicas, at most one a store.
    @ivar leader: The store that leads; None where nobody is known to.
    @ivar term: The leader's term.
    @ivar size: What it holds, in bytes, about; C{keys} how many keys.
    @ivar pending: The stores whose peers lag so far behind that they can't count as replicas yet.
    @ivar down: For each store that the leader doesn't hear of, for how many seconds it hasn't.
    @ivar read_bytes: Bytes that clients read, each second; likewise C{write_bytes}, and C{reads} and C{writes} for
        the commands. What the leader measured since its last heartbeat.
    @ivar kind: Which kind of keys it holds. Regions of different kinds are never merged.
    """

    region: int
    start: bytes
    end: bytes
    peers: tuple[PeerInfo, ...]
    leader: int | None = None
    conf_ver: int = 0
    version: int = 0
    term: int = 0
    size: int = 0
    keys: int = 0
    pending: tuple[int, ...] = ()
    down: dict[int, float] = field(default_factory=dict)
    read_bytes: float = 0.0
    write_bytes: float = 0.0
    reads: float = 0.0
    writes: float = 0.0
    kind: str = ""

    def __post_init__(self) -> None:
        """
        Refuse what no region can be.

        @raise BadRecord: Says what is wrong.
        """
        stores = self.stores
        numbers = (self.conf_ver, self.version, self.term, self.size, self.keys)
        rates = (self.read_bytes, self.write_bytes, self.reads, self.writes, *self.down.values())
        if self.region < 1:
            raise BadRecord("a region's id must be at least 1")
        if self.end and self.start >= self.end:
            raise BadRecord(f"region {self.region} ends before it starts")
        if not 1 <= len(self.peers) <= MAX_MEMBERS:
            raise BadRecord(f"region {self.region} must have 1 to {MAX_MEMBERS} peers")
        if len(set(stores)) < len(stores):
            raise BadRecord(f"region {self.region} has two peers on one store")
        if not self.voters:
            raise BadRecord(f"region {self.region} has no voter")
        if self.leader is not None and self.leader not in stores:
            raise BadRecord(f"region {self.region} is led by store {self.leader}, which has no peer of it")
        if min(*numbers, *rates) < 0:
            raise BadRecord(f"region {self.region} has a negative number")

    @classmethod
    def of(cls, descriptor: Descriptor, leader: int | None, **measured: Any) -> RegionInfo:
        """Give what a leader says of a region with a descriptor; C{measured} are the other fields."""
        voters, learners, outgoing, learners_next, _ = descriptor.membership

        def role(peer: int) -> Role:
            if peer in learners:
                return Role.LEARNER
            if peer in voters:
                return Role.VOTER if not outgoing or peer in outgoing else Role.INCOMING
            return Role.DEMOTING if peer in learners_next else Role.OUTGOING

        return cls(
            descriptor.region,
            descriptor.start,
            descriptor.end,
            tuple(PeerInfo(peer, store, role(peer)) for peer, store in sorted(descriptor.stores.items())),
            leader,
            descriptor.conf_ver,
            descriptor.version,
            **measured,
        )

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON has it; keys are hexadecimal."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_json(cls, plain: object) -> RegionInfo:
        """
        Read it.

        @raise BadRecord: It isn't one.
        """
        return from_plain(cls, plain)

    @property
    def stores(self) -> tuple[int, ...]:
        """The stores that hold a peer."""
        return tuple(peer.store for peer in self.peers)

    @property
    def voters(self) -> tuple[int, ...]:
        """The stores of the voters; of the new ones, while it's joint."""
        return tuple(peer.store for peer in self.peers if peer.role in NEW_VOTERS)

    @property
    def old_voters(self) -> tuple[int, ...]:
        """The stores of the old voters; the same as the voters unless it's joint."""
        return tuple(peer.store for peer in self.peers if peer.role in OLD_VOTERS)

    @property
    def learners(self) -> tuple[int, ...]:
        """The stores of the learners."""
        return tuple(peer.store for peer in self.peers if peer.role is Role.LEARNER)

    @property
    def joint(self) -> bool:
        """Whether a change of several voters is under way."""
        return any(peer.role not in (Role.VOTER, Role.LEARNER) for peer in self.peers)

    @property
    def placed_size(self) -> int:
        """What a replica of it weighs on a store, in bytes: never nothing."""
        return max(self.size, LEAST_SIZE)

    def role_on(self, store: int) -> Role | None:
        """Tell what the peer on a store is, if there's one."""
        for peer in self.peers:
            if peer.store == store:
                return peer.role
        return None

    def covers(self, other: RegionInfo) -> bool:
        """Tell whether all keys of another region are among this one's."""
        return self.start <= other.start and (not self.end or bool(other.end) and other.end <= self.end)


def majority(voters: Collection[int], healthy: Collection[int]) -> bool:
    """Tell whether more than half of some voters are healthy."""
    return sum(voter in healthy for voter in voters) * 2 > len(voters)
