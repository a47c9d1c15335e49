"""
What the scheduler knows of a store: the record that is persisted, and what the store says of itself.

A store's life goes up, offline (its replicas are moved away), tombstone (it's empty, and never returns). How long it
has been silent makes two more states of one that is up: disconnected, and down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

from tinykv.placement.plain import BadRecord, from_plain, to_plain

#: How many labels a store has at most, and how long a name or value may be.
LABELS_MAX: Final = 32
LABEL_LENGTH_MAX: Final = 128


class Refused(Exception):
    """What was asked for isn't done, and nothing has changed; the text says why, and what to do about it."""


class Life(Enum):
    """What was decided about a store; this is persisted."""

    UP = "up"
    OFFLINE = "offline"
    TOMBSTONE = "tombstone"


class StoreState(Enum):
    """What a store is now: its life, and, of one that is up, whether it's heard of."""

    UP = "up"
    DISCONNECTED = "disconnected"
    DOWN = "down"
    OFFLINE = "offline"
    TOMBSTONE = "tombstone"


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """
    A store, as the host of the placement persists it.

    @ivar address: Where other stores reach it; no two stores that aren't tombstones have the same.
    @ivar client_address: Where clients reach it, where that was told.
    @ivar folder: The id of its data folder. Another folder under the same store id is refused (R16).
    @ivar labels: Where it is and what it's like, such as C{{"zone": "a", "host": "h1"}}.
    @ivar leader_weight: It shall lead this many times what a store of weight 1 does; C{region_weight} likewise for
        what it holds. 0 is for none.
    @ivar add_limit: Replicas that it may be given within a minute, where that differs from the common choice;
        C{remove_limit} likewise for those that may be taken.
    """

    store: int
    address: str
    client_address: str = ""
    folder: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    life: Life = Life.UP
    leader_weight: float = 1.0
    region_weight: float = 1.0
    add_limit: float | None = None
    remove_limit: float | None = None

    def __post_init__(self) -> None:
        """
        Refuse what no store can be.

        @raise BadRecord: Says what is wrong.
        """
        if self.store < 1:
            raise BadRecord("a store's id must be at least 1")
        if not self.address:
            raise BadRecord(f"store {self.store} needs an address")
        if len(self.labels) > LABELS_MAX:
            raise BadRecord(f"store {self.store} has more than {LABELS_MAX} labels")
        for text in (*self.labels, *self.labels.values()):
            if not 1 <= len(text) <= LABEL_LENGTH_MAX:
                raise BadRecord(f"a label of store {self.store} must have 1 to {LABEL_LENGTH_MAX} characters")
        if self.leader_weight < 0 or self.region_weight < 0:
            raise BadRecord(f"the weights of store {self.store} must not be negative")
        for limit in (self.add_limit, self.remove_limit):
            if limit is not None and limit <= 0:
                raise BadRecord(f"the limits of store {self.store} must be greater than 0")

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_json(cls, plain: object) -> StoreRecord:
        """
        Read it.

        @raise BadRecord: It isn't one.
        """
        return from_plain(cls, plain)


@dataclass(frozen=True, slots=True)
class StoreStats:
    """
    What a store says of itself: its heartbeat.

    @ivar capacity: Bytes of its disk, or of what it may use of it; C{available} of these are free. 0 for unknown.
    @ivar regions: How many peers it holds, learners among them.
    @ivar busy: It can't keep up, and shall be given nothing.
    @ivar snapshots_sending: Snapshots that it sends at the moment; C{snapshots_receiving} likewise.
    """

    capacity: int = 0
    available: int = 0
    regions: int = 0
    busy: bool = False
    snapshots_sending: int = 0
    snapshots_receiving: int = 0

    def __post_init__(self) -> None:
        """
        Refuse what can't be.

        @raise BadRecord: Says what is wrong.
        """
        if min(self.available, self.regions, self.snapshots_sending, self.snapshots_receiving) < 0:
            raise BadRecord("a store's heartbeat has a negative number")
        if self.available > self.capacity:
            raise BadRecord("a store has more bytes available than its capacity")

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_json(cls, plain: object) -> StoreStats:
        """
        Read it.

        @raise BadRecord: It isn't one.
        """
        return from_plain(cls, plain)


def registered(stores: Mapping[int, StoreRecord], record: StoreRecord) -> StoreRecord:
    """
    Give the record to persist when a store announces itself: a new one, or a known one with what it says now.

    Life, weights and limits of a known store stay; its addresses and labels are replaced.

    @raise Refused: It's a tombstone, comes with another folder, or another store has its address.
    """
    known = stores.get(record.store)
    if known and known.life is Life.TOMBSTONE:
        raise Refused(f"store {record.store} was removed and never returns: start it with a new folder, as a new store")
    if known and known.folder and known.folder != record.folder:
        raise Refused(
            f"store {record.store} has lost its folder {known.folder}: remove it, and start this one as a new store"
        )
    for other in stores.values():
        if other.store != record.store and other.address == record.address and other.life is not Life.TOMBSTONE:
            raise Refused(f"store {other.store} has the address {record.address} already")
    if known is None:
        return replace(record, life=Life.UP)
    return replace(
        known,
        address=record.address,
        client_address=record.client_address,
        folder=record.folder,
        labels=record.labels,
    )
