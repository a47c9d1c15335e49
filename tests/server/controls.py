"""
A cluster as operators see it, of values that a test sets: what the control pages and `tinykv ctl` are tested with.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from tinykv.errors import ControlRefused, NotLeading
from tinykv.interfaces import (
    IClusterControl,
    MemberView,
    RegionChecksums,
    RegionRange,
    RegionView,
    ReplicaChecksum,
    ReplicaView,
)
from tinykv.keys import SLOTS


@implementer(IClusterControl)
class FakeControl:
    """
    One store's view of a cluster with one region.

    @ivar roles: Role by store id.
    @ivar leads: The store that leads, or None.
    @ivar asked: What was asked for, in order.
    @ivar problem: With it every change fails, if it's set.
    @ivar pending: If it's set, changes give this in place of an answer.
    @ivar in_steps: Whether who is removed votes until a test takes it out.
    @ivar checksums: By store id; one that is missing didn't say.
    @ivar down: Stores that can't be reached.
    @ivar lags: By how many entries a store is behind, if it is.
    @ivar slots: The first and the last slot of the region; None if the store has none.
    """

    def __init__(self, store_id: int = 1, stores: tuple[int, ...] = (1, 2, 3)) -> None:
        self.store_id = store_id
        self.roles = dict.fromkeys(stores, "voter")
        self.leads: int | None = 1
        self.asked: list[tuple[object, ...]] = []
        self.problem: BaseException | None = None
        self.pending: Deferred[None] | None = None
        self.in_steps = False
        self.checksums = dict.fromkeys(stores, "00c0ffee")
        self.down: set[int] = set()
        self.lags: dict[int, int] = {}
        self.slots: tuple[int, int] | None = (0, SLOTS - 1)

    def leader(self) -> int | None:
        """Name the leader."""
        return self.leads

    def leaders(self) -> dict[int, int | None]:
        """Name the leader of the only region."""
        return {1: self.leads}

    def members(self) -> list[MemberView]:
        """List the members."""
        return [
            {
                "store": store,
                "address": f"host-{store}:20160",
                "role": role,
                "leads": store == self.leads,
                "up": store not in self.down,
            }
            for store, role in sorted(self.roles.items())
        ]

    def status(self) -> list[RegionView]:
        """Describe the region; who doesn't lead knows nothing of the others' logs."""
        if self.slots is None:
            return []
        first, last = self.slots
        leading = self.leads == self.store_id
        members: list[ReplicaView] = []
        for store, role in sorted(self.roles.items()):
            lag = self.lags.get(store, 0) if leading else None
            members.append({"store": store, "role": role, "match": None if lag is None else 1000 - lag, "lag": lag})
        view: RegionView = {
            "region": 1, "first": first, "last": last, "term": 5, "leader": self.leads,
            "commit": 1000, "applied": 999, "members": members,
        }  # fmt: skip
        return [view]

    def _change(self, *asked: object) -> Deferred[None]:
        self.asked.append(asked)
        if self.problem is not None:
            return fail(self.problem)
        if self.leads != self.store_id:
            return fail(NotLeading(self.leads))
        return succeed(None) if self.pending is None else self.pending

    def add_store(self, store_id: int, address: str, region: int | None = None) -> Deferred[None]:
        """Make it a learner."""

        def added(result: None) -> None:
            self.roles.setdefault(store_id, "learner")

        return self._change("add-store", store_id, address).addCallback(added)

    def remove_store(self, store_id: int, region: int | None = None) -> Deferred[None]:
        """Make it leave."""

        def removed(result: None) -> None:
            if store_id not in self.roles:
                raise ControlRefused(f"store {store_id} isn't a member")
            if self.in_steps:
                self.roles[store_id] = "outgoing"
            else:
                del self.roles[store_id]

        return self._change("remove-store", store_id).addCallback(removed)

    def transfer_leader(self, store_id: int | None, region: int | None = None) -> Deferred[int]:
        """Make it, or the first other one, the leader."""

        def transferred(result: None) -> int:
            self.leads = store_id or next(store for store in self.roles if store != self.store_id)
            return self.leads

        return self._change("transfer-leader", store_id).addCallback(transferred)

    def split(self, region: int | None, slots: Sequence[int], parts: int) -> Deferred[list[RegionRange]]:
        """Say that it was done."""

        def split(result: None) -> list[RegionRange]:
            firsts = sorted(slots) or [SLOTS * part // parts for part in range(1, parts)]
            pairs = zip([0, *firsts], [*firsts, SLOTS], strict=True)
            return [{"region": 1 + at, "first": first, "last": end - 1} for at, (first, end) in enumerate(pairs)]

        return self._change("split", region, tuple(slots), parts).addCallback(split)

    def merge(self, region: int, target: int) -> Deferred[RegionRange]:
        """Say that it was done."""
        made: RegionRange = {"region": target, "first": 0, "last": SLOTS - 1}
        return self._change("merge", region, target).addCallback(lambda _: made)

    def checksum(self, seconds: float, region: int | None = None) -> Deferred[list[RegionChecksums]]:
        """Give what was set."""

        def summed(result: None) -> list[RegionChecksums]:
            replicas: list[ReplicaChecksum] = []
            for store in sorted(self.roles):
                told = self.checksums.get(store)
                replicas.append({"store": store, "checksum": told, "problem": None if told else "it is away"})
            return [{"region": 1, "index": 1000, "replicas": replicas}]

        return self._change("checksum", seconds).addCallback(summed)
