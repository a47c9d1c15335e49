"""
What the scheduler answers about itself, the cluster, its stores, and what may be collected.

Each question of the API is a method here or in L{tinykv.schedule.placing}, and nothing of HTTP is known. What is
replicated is read under the lease, or after a majority has confirmed who leads; what is changed goes through the log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from tinykv.placement.stores import Life, StoreRecord
from tinykv.schedule.errors import Conflict, Invalid, Refusal
from tinykv.schedule.host import ScheduleHost
from tinykv.schedule.leadership import Leadership
from tinykv.schedule.placing import Placing
from tinykv.schedule.routes import Answer, Call
from tinykv.schedule.rows import Record


class Scheduler:
    """The answers."""

    log = Logger()

    def __init__(
        self,
        *,
        host: ScheduleHost,
        leadership: Leadership,
        placing: Placing,
        now_ms: Callable[[], int],
        bootstrap_stores: int,
        initial_regions: int,
        health: Callable[[], str | None],
        members: dict[int, str],
    ) -> None:
        """
        @param now_ms: The time of day, in ms since 1970.
        @param bootstrap_stores: With how many stores the cluster begins; C{initial_regions} likewise.
        @param health: Says what is wrong, or None.
        @param members: Where members reach each other, by number.
        """
        self._host = host
        self._leadership = leadership
        self._placing = placing
        self._now_ms = now_ms
        self._bootstrap_stores = bootstrap_stores
        self._initial_regions = initial_regions
        self._health = health
        self._members = members
        leadership.begun.append(self._term_begins)

    def _term_begins(self) -> None:
        """See to what the leader before may not have got to: all stores may have come, and the cluster not begun."""
        Deferred.fromCoroutine(self._bootstrap_if_due()).addErrback(self._not_begun)

    def _not_begun(self, failure: Failure) -> None:
        failure.trap(Refusal)
        self.log.warn("the cluster has not begun, the next store that comes tries again: {why}", why=failure.value)

    async def _propose(self, do: str, **arguments: Any) -> Record:
        return await self._host.propose({"do": do, "now": self._now_ms(), **arguments})

    # The members and the cluster

    async def members(self, call: Call) -> Answer:
        """Name the members, as this one sees them."""
        host = self._host
        progress = host.group.progress()
        peers = {member: peer for peer, member in host.descriptor.stores.items()}
        return {
            "cluster_id": host.state.cluster_id,
            "member": host.member,
            "leader": host.leader or None,
            "term": host.group.term,
            "applied": host.applied,
            "members": [
                {
                    "member": member,
                    "address": self._members.get(member, ""),
                    "url": host.state.url_of(member),
                    "match": progress[peers[member]].match if peers[member] in progress else None,
                }
                for member in sorted(peers)
            ],
        }

    async def health(self, call: Call) -> Answer:
        """Say whether this member serves."""
        why = self._health()
        return {"healthy": why is None, "reason": why or "", "leads": self._leadership.leads}

    async def bootstrap_view(self, call: Call) -> Answer:
        """Say whether the cluster has begun, and with what."""
        await self._host.barrier()
        state = self._host.state
        return {
            "cluster_id": state.cluster_id,
            "bootstrapped": state.bootstrapped,
            "missing_stores": 0 if state.bootstrapped else max(0, self._bootstrap_stores - len(self._up)),
            "regions": [region.to_json() for region in state.initial_regions],
        }

    async def bootstrap(self, call: Call) -> Answer:
        """Begin the cluster with the stores that have come."""
        await self._bootstrap()
        return await self.bootstrap_view(call)

    async def adopt(self, call: Call) -> Answer:
        """Learn that the cluster began without the scheduler."""
        await self._propose("adopt", id=call.body["cluster_id"], regions=call.body["regions"])
        self._leadership.forget_ids()
        return await self.bootstrap_view(call)

    async def _bootstrap(self) -> None:
        await self._propose("bootstrap", stores=self._bootstrap_stores, regions=self._initial_regions)

    async def _bootstrap_if_due(self) -> None:
        """Begin the cluster if all the stores have come that it waits for."""
        state = self._host.state
        if not state.bootstrapped and len(self._up) >= self._bootstrap_stores:
            try:
                await self._bootstrap()
            except Conflict as problem:
                # Another one that came at the same time has begun it, or one has gone again.
                self.log.info("the cluster isn't begun by this store: {why}", why=str(problem))

    @property
    def _up(self) -> list[int]:
        """The stores that have come, and stay."""
        return [store.store for store in self._host.state.stores.values() if store.life is Life.UP]

    # Ids and timestamps

    async def ids(self, call: Call) -> Answer:
        """Give ids."""
        count = call.body["count"]
        return {"first": await self._leadership.ids(count), "count": count}

    async def timestamps(self, call: Call) -> Answer:
        """Give timestamps."""
        physical, logical, count = await self._leadership.timestamps(call.body["count"])
        return {"physical": physical, "logical": logical, "count": count}

    # Stores

    def _view(self, record: StoreRecord) -> Answer:
        cluster = self._placing.cluster
        stats = cluster.stats(record.store)
        held = cluster.regions.on(record.store)
        return {
            **record.to_json(),
            "state": cluster.state(record.store).value,
            "silence": cluster.silence(record.store),
            "stats": None if stats is None else stats.to_json(),
            "leaders": len(held.leaders),
            "regions": held.count,
            "bytes": held.size,
        }

    async def stores(self, call: Call) -> Answer:
        """List the stores."""
        await self._host.barrier()
        wanted = call.parameters.get("state")
        views = [self._view(record) for record in self._host.state.stores.values()]
        return {"stores": [view for view in views if wanted is None or view["state"] == wanted]}

    async def store(self, call: Call) -> Answer:
        """Tell of one store."""
        await self._host.barrier()
        return self._view(self._placing.record(call.parameters["store"]))

    async def put_store(self, call: Call) -> Answer:
        """Register a store; the one that completes the number begins the cluster."""
        store = call.parameters["store"]
        await self._propose("put-store", store={**call.body, "store": store})
        await self._bootstrap_if_due()
        return {**self._view(self._placing.record(store)), "bootstrapped": self._host.state.bootstrapped}

    async def change_store(self, call: Call) -> Answer:
        """Change labels, weights and limits of a store."""
        store = call.parameters["store"]
        if not call.body:
            raise Invalid("the body says nothing that is to be changed")
        await self._propose("change-store", store=store, changes=call.body)
        return self._view(self._placing.record(store))

    async def offline(self, call: Call) -> Answer:
        """Have a store drained."""
        await self._placing.offline(call.parameters["store"])
        return self._view(self._placing.record(call.parameters["store"]))

    async def cancel_offline(self, call: Call) -> Answer:
        """Have a store stay after all."""
        await self._placing.back_up(call.parameters["store"])
        return self._view(self._placing.record(call.parameters["store"]))

    async def remove(self, call: Call) -> Answer:
        """Make a store that was drained a tombstone."""
        await self._placing.bury(call.parameters["store"], call.parameters.get("force", False))
        return self._view(self._placing.record(call.parameters["store"]))

    # What may be collected

    async def safe_point(self, call: Call) -> Answer:
        """Tell the safe point, and who holds it back."""
        await self._host.barrier()
        return self._safe_point()

    def _safe_point(self) -> Answer:
        state, now = self._host.state, self._now_ms()
        return {
            "safe_point": state.safe_point,
            "services": [
                {"service": name, "safe_point": record["at"], "seconds": (record["until"] - now) / 1000}
                for name, record in sorted(state.services(now).items())
            ],
        }

    async def advance_safe_point(self, call: Call) -> Answer:
        """Raise the safe point."""
        await self._propose("advance-safe-point", at=call.body["safe_point"])
        return self._safe_point()

    async def hold_safe_point(self, call: Call) -> Answer:
        """Let a service hold the safe point back."""
        until = self._now_ms() + int(1000 * call.body["seconds"])
        at, service = call.body["safe_point"], call.parameters["service"]
        await self._propose("hold-safe-point", service=service, at=at, until=until)
        return self._safe_point()

    async def release_safe_point(self, call: Call) -> Answer:
        """Let a service hold the safe point back no more."""
        await self._propose("hold-safe-point", service=call.parameters["service"], at=0, until=0)
        return self._safe_point()
