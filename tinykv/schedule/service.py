"""
What the scheduler answers: each question of the API is a method here, and nothing of HTTP is known.

What is replicated is read under the lease, or after a majority has confirmed who leads; what is changed goes through
the log. What is known of regions is of this leader's own hearing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tinykv.placement.cluster import Cluster
from tinykv.placement.config import SCHEDULERS, PlacementConfig
from tinykv.placement.plain import BadRecord
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.regions import StaleHeartbeat
from tinykv.placement.stores import Life, Refused, StoreRecord, StoreStats
from tinykv.schedule.errors import Conflict, Invalid, NotFound
from tinykv.schedule.host import ScheduleHost
from tinykv.schedule.leadership import Leadership
from tinykv.schedule.routes import Answer, Call
from tinykv.schedule.rows import Record

#: Regions that one answer lists at most.
REGIONS_MAX: Final = 1_000


class Scheduler:
    """
    The answers.

    @ivar cluster: What is known of stores and regions, while this member leads.
    """

    def __init__(
        self,
        *,
        host: ScheduleHost,
        leadership: Leadership,
        now_ms: Callable[[], int],
        seconds: Callable[[], float],
        bootstrap_stores: int,
        initial_regions: int,
        health: Callable[[], str | None],
        members: dict[int, str],
    ) -> None:
        """
        @param now_ms: The time of day, in ms since 1970.
        @param seconds: A clock that never goes back.
        @param bootstrap_stores: With how many stores the cluster begins; C{initial_regions} likewise.
        @param health: Says what is wrong, or None.
        @param members: Where members reach each other, by number.
        """
        self._host = host
        self._leadership = leadership
        self._now_ms = now_ms
        self._seconds = seconds
        self._bootstrap_stores = bootstrap_stores
        self._initial_regions = initial_regions
        self._health = health
        self._members = members
        self.cluster = self._fresh()
        leadership.begun = self._begin

    def _fresh(self) -> Cluster:
        state = self._host.state
        return Cluster(state.stores, self._choices(), self._seconds())

    def _begin(self) -> None:
        """A term begins: what is known of regions is heard anew."""
        self.cluster = self._fresh()

    def _choices(self) -> PlacementConfig:
        """Give the placement's choices, without the schedulers that are paused."""
        state, now = self._host.state, self._now_ms()
        choices = state.choices
        running = [name for name in choices.schedulers if state.paused_until(name) <= now]
        return choices.changed({"schedulers": running})

    def _up_to_date(self) -> Cluster:
        """Give the cluster as of now."""
        cluster = self.cluster
        cluster.advance(self._seconds())
        # The records may have changed.
        cluster.stores = self._host.state.stores
        return cluster

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
        up = [store.store for store in state.stores.values() if store.life is Life.UP]
        return {
            "cluster_id": state.cluster_id,
            "bootstrapped": state.bootstrapped,
            "missing_stores": 0 if state.bootstrapped else max(0, self._bootstrap_stores - len(up)),
            "regions": [region.to_json() for region in state.initial_regions],
        }

    async def bootstrap(self, call: Call) -> Answer:
        """Begin the cluster with the stores that have come."""
        await self._bootstrap()
        return await self.bootstrap_view(call)

    async def _bootstrap(self) -> None:
        await self._propose("bootstrap", stores=self._bootstrap_stores, regions=self._initial_regions)

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
        cluster = self._up_to_date()
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
        return self._view(self._record(call.parameters["store"]))

    def _record(self, store: int) -> StoreRecord:
        record = self._host.state.stores.get(store)
        if record is None:
            raise NotFound(f"there's no store {store}")
        return record

    async def put_store(self, call: Call) -> Answer:
        """Register a store; the one that completes the number begins the cluster."""
        store = call.parameters["store"]
        await self._propose("put-store", store={**call.body, "store": store})
        state = self._host.state
        if not state.bootstrapped and sum(s.life is Life.UP for s in state.stores.values()) >= self._bootstrap_stores:
            try:
                await self._bootstrap()
            except Conflict:
                # Another one that came at the same time has begun it, or a store has gone again: that's no matter here.
                pass
        return {**self._view(self._record(store)), "bootstrapped": self._host.state.bootstrapped}

    async def change_store(self, call: Call) -> Answer:
        """Change labels, weights and limits of a store."""
        store = call.parameters["store"]
        if not call.body:
            raise Invalid("the body says nothing that is to be changed")
        await self._propose("change-store", store=store, changes=call.body)
        return self._view(self._record(store))

    async def offline(self, call: Call) -> Answer:
        """Have a store drained."""
        return await self._set_life(call, Life.OFFLINE)

    async def cancel_offline(self, call: Call) -> Answer:
        """Have a store stay after all."""
        return await self._set_life(call, Life.UP)

    async def remove(self, call: Call) -> Answer:
        """Make a store that was drained a tombstone."""
        await self._host.barrier()
        record = self._record(call.parameters["store"])
        if record.life is Life.OFFLINE:
            self._check_drained(record.store)
        return await self._set_life(call, Life.TOMBSTONE)

    def _check_drained(self, store: int) -> None:
        """
        Make sure that a store holds nothing any more.

        @raise Conflict: It does, or may.
        """
        cluster = self._up_to_date()
        stats = cluster.stats(store)
        held = max(cluster.regions.on(store).count, stats.regions if stats is not None else 0)
        if held:
            raise Conflict(f"store {store} holds {held} replicas still; wait until they are elsewhere")
        if self._host.state.bootstrapped and cluster.regions.gap() is not None:
            why = "not all regions have been heard of yet, some may have a replica"
            raise Conflict(f"{why} on store {store}; ask later")

    async def _set_life(self, call: Call, life: Life) -> Answer:
        store = call.parameters["store"]
        await self._propose("set-life", store=store, life=life.value)
        if life is Life.TOMBSTONE:
            self.cluster.forget(store)
        return self._view(self._record(store))

    # Heartbeats

    async def store_heartbeat(self, call: Call) -> Answer:
        """Hear a store."""
        await self._leadership.leased()
        record = self._from_store(call.parameters["store"], call.body["folder"])
        try:
            stats = StoreStats.from_json(call.body["stats"])
            self._up_to_date().store_heartbeat(record.store, stats)
        except BadRecord as problem:
            raise Invalid(str(problem)) from problem
        except Refused as problem:
            raise Conflict(str(problem)) from problem
        return {"life": record.life.value, "bootstrapped": self._host.state.bootstrapped}

    def _from_store(self, store: int, folder: str) -> StoreRecord:
        """
        Make sure who speaks.

        @raise NotFound: It isn't registered.
        @raise Conflict: It was removed, or has another folder (R16).
        """
        record = self._record(store)
        if record.life is Life.TOMBSTONE:
            raise Conflict(f"store {store} was removed and never returns")
        if record.folder != folder:
            raise Conflict(f"store {store} has the folder {record.folder}, not {folder}: it's another store")
        return record

    async def region_heartbeats(self, call: Call) -> Answer:
        """Hear of the regions that a store leads."""
        await self._leadership.leased()
        body = call.body
        record = self._from_store(body["store"], body["folder"])
        cluster = self._up_to_date()
        read = [_region(plain) for plain in body["regions"]]
        refused: list[Answer] = []
        for region in read:
            try:
                if region.leader != record.store:
                    raise StaleHeartbeat(f"store {record.store} doesn't lead region {region.region}")
                cluster.regions.put(region)
            except StaleHeartbeat as problem:
                refused.append({"region": region.region, "reason": str(problem)})
        return {"refused": refused}

    # Regions

    async def regions(self, call: Call) -> Answer:
        """List regions in the order of their keys."""
        await self._leadership.leased()
        given = call.parameters
        start, end = bytes.fromhex(given.get("start", "")), bytes.fromhex(given.get("end", ""))
        if end and start >= end:
            raise Invalid("the range ends before it starts")
        found = self.cluster.regions.scan(start, end, given.get("limit", REGIONS_MAX))
        return {"regions": [region.to_json() for region in found]}

    async def region(self, call: Call) -> Answer:
        """Tell of one region."""
        await self._leadership.leased()
        return self._known(call.parameters["region"]).to_json()

    async def region_at(self, call: Call) -> Answer:
        """Tell of the region of a key."""
        await self._leadership.leased()
        return _found(self.cluster.regions.at(bytes.fromhex(call.parameters["key"])))

    async def region_before(self, call: Call) -> Answer:
        """Tell of the region before that of a key."""
        await self._leadership.leased()
        return _found(self.cluster.regions.previous(bytes.fromhex(call.parameters["key"])))

    def _known(self, region: int) -> RegionInfo:
        found = self.cluster.regions.get(region)
        if found is None:
            raise NotFound(f"region {region} hasn't been heard of")
        return found

    async def ask_split(self, call: Call) -> Answer:
        """Give the ids that a split needs."""
        await self._leadership.leased()
        body = call.body
        known = self._known(call.parameters["region"])
        # Newer ones will be heard of with the next heartbeat.
        if body["version"] < known.version or body["conf_ver"] < known.conf_ver:
            raise Conflict(
                f"region {known.region} is in version {known.version} and conf_ver {known.conf_ver} already, not in"
                f" {body['version']} and {body['conf_ver']}"
            )
        count, peers = body["count"], len(known.peers)
        first = await self._leadership.ids(count * (1 + peers))
        return {
            "regions": [
                {"region": at, "peers": list(range(at + 1, at + 1 + peers))}
                for at in range(first, first + count * (1 + peers), 1 + peers)
            ]
        }

    async def report_split(self, call: Call) -> Answer:
        """Hear how a region was split, before its parts' own heartbeats."""
        await self._leadership.leased()
        parts = [_region(plain) for plain in call.body["regions"]]
        for left, right in zip(parts, parts[1:], strict=False):
            if not left.end or left.end != right.start:
                raise Invalid(f"region {right.region} doesn't begin where region {left.region} ends")
            if left.version != right.version:
                raise Invalid("parts of one split have the same version")
        if len({part.region for part in parts}) < len(parts):
            raise Invalid("two parts have the same id")
        regions = self.cluster.regions
        try:
            for part in parts:
                regions.check(part)
            for part in parts:
                regions.put(part)
        except StaleHeartbeat as problem:
            raise Conflict(str(problem)) from problem
        return {}

    # Choices

    async def choices(self, call: Call) -> Answer:
        """Tell what was chosen for the placement."""
        await self._host.barrier()
        return self._host.state.choices.to_json()

    async def choose(self, call: Call) -> Answer:
        """Change choices of the placement."""
        result = await self._propose("choose", choices=call.body)
        self._chosen()
        return result

    def _chosen(self) -> None:
        self.cluster.config = self._choices()

    async def schedulers(self, call: Call) -> Answer:
        """List the schedulers."""
        await self._host.barrier()
        state, now = self._host.state, self._now_ms()
        chosen = state.choices.schedulers
        return {
            "schedulers": [
                {
                    "name": name,
                    "chosen": name in chosen,
                    "paused_for": max(0, state.paused_until(name) - now) / 1000,
                }
                for name in SCHEDULERS
            ]
        }

    async def pause(self, call: Call) -> Answer:
        """Pause a scheduler, or have it go on."""
        until = self._now_ms() + int(1000 * call.body["seconds"]) if call.body["seconds"] else 0
        await self._propose("pause", scheduler=call.parameters["scheduler"], until=until)
        self._chosen()
        return await self.schedulers(call)

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


def _region(plain: Record) -> RegionInfo:
    """
    Read a region.

    @raise Invalid: It can't be one.
    """
    try:
        return RegionInfo.from_json(plain)
    except BadRecord as problem:
        raise Invalid(str(problem)) from problem


def _found(region: RegionInfo | None) -> Answer:
    if region is None:
        raise NotFound("no region has been heard of there")
    return region.to_json()
