"""
Where replicas and leaders go, asked and told: the placement at work while this member leads.

What regions and stores say is known only to the member that leads, and heard anew by the next one. What was chosen, and
what stores are, is replicated. Orders go with the answers to heartbeats.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from tinykv.placement import admin
from tinykv.placement.cluster import Cluster
from tinykv.placement.operators import Operator
from tinykv.placement.placement import Placement
from tinykv.placement.plain import BadRecord
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.regions import StaleHeartbeat
from tinykv.placement.stores import Life, Refused, StoreRecord, StoreStats
from tinykv.schedule.choices import Choices
from tinykv.schedule.errors import Conflict, Invalid, NotFound, Refusal
from tinykv.schedule.host import ScheduleHost
from tinykv.schedule.leadership import Leadership
from tinykv.schedule.routes import Answer, Call
from tinykv.schedule.rows import Record
from tinykv.schedule.state import STORES_MAX

#: Regions that one answer lists at most.
REGIONS_MAX: Final = 1_000
#: How often the placement looks for what is to be done, in seconds.
TICK_SECONDS: Final = 0.1


class Placing:
    """
    The placement, and the questions about it.

    @ivar placement: What is known and decided in this member's term as the leader; of no use while it isn't.
    """

    log = Logger()

    def __init__(
        self,
        *,
        host: ScheduleHost,
        leadership: Leadership,
        choices: Choices,
        clock: IReactorTime,
        now_ms: Callable[[], int],
        seconds: Callable[[], float],
        random: Random,
    ) -> None:
        """
        @param now_ms: The time of day, in ms since 1970.
        @param seconds: A clock that never goes back.
        @param random: Where chance comes from.
        """
        self._host = host
        self._leadership = leadership
        self._choices = choices
        self._clock = clock
        self._now_ms = now_ms
        self._seconds = seconds
        self._random = random
        self._ticking: IDelayedCall | None = None
        #: What decides about a store's life sees what was decided before.
        self._lives = DeferredLock()
        self.placement = self._fresh()
        leadership.begun.append(self._begin)
        leadership.ended.append(self._end)

    # Terms

    def _fresh(self) -> Placement:
        return Placement(self._host.state.stores, self._choices.running(), self._random, self._seconds())

    def _begin(self) -> None:
        """A term begins: what is known of regions is heard anew."""
        self.placement = self._fresh()
        self._ticking = self._clock.callLater(TICK_SECONDS, self._tick)

    def _end(self) -> None:
        if self._ticking is not None and self._ticking.active():
            self._ticking.cancel()
        self._ticking = None

    def stop(self) -> None:
        """Decide nothing any more."""
        self._end()

    def _up_to_date(self) -> Placement:
        """Give the placement with the records and choices as of now."""
        placement = self.placement
        # The same mapping as ever, which is brought up to date by being asked for.
        assert placement.cluster.stores is self._host.state.stores, "the placement reads the replicated records"
        placement.cluster.advance(self._seconds())
        choices = self._choices.running()
        if choices != placement.cluster.config:
            placement.configure(choices)
        return placement

    @property
    def cluster(self) -> Cluster:
        """Give what is known."""
        return self._up_to_date().cluster

    @property
    def warnings(self) -> list[str]:
        """What a person should look at."""
        return self._up_to_date().warnings(self._seconds())[:STORES_MAX]

    def _tick(self) -> None:
        """Look for what is to be done; its orders go with the next heartbeats."""
        self._ticking = self._clock.callLater(TICK_SECONDS, self._tick)
        if not self._host.lease:
            return
        placement = self._up_to_date()
        now = self._seconds()
        placement.tick(now)
        if not self._lives.locked:
            for record in placement.buried(now):
                self.log.info("store {store} is empty, and a tombstone from now on", store=record.store)
                Deferred.fromCoroutine(self._propose_life(record)).addErrback(self._not_buried)

    def _not_buried(self, failure: Any) -> None:
        failure.trap(Refusal)
        self.log.warn("a store wasn't made a tombstone, it's tried again: {why}", why=failure.value)

    # How stores come and go

    def record(self, store: int) -> StoreRecord:
        """
        Give the record of a store.

        @raise NotFound: There's none.
        """
        record = self._host.state.stores.get(store)
        if record is None:
            raise NotFound(f"there's no store {store}")
        return record

    async def offline(self, store: int) -> None:
        """Have a store drained."""
        await self._decide_life(store, self._offline)

    def _offline(self, store: int) -> StoreRecord:
        return self.placement.offline(store, self._seconds())

    async def back_up(self, store: int) -> None:
        """Have a store stay after all."""
        await self._decide_life(store, lambda number: self.placement.back_up(number, self._seconds()))

    async def bury(self, store: int, force: bool) -> None:
        """
        Make a store a tombstone; forced, whatever it may hold, and also where none has registered under its number.

        @raise NotFound: None has, and it isn't forced.
        @raise Conflict: It can't be.
        """
        await self._leadership.leased()
        if store in self._host.state.stores:
            await self._decide_life(store, lambda number: self.placement.bury(number, self._seconds(), force=force))
            return
        if not force:
            raise NotFound(f"there's no store {store}; with force it's made one that never comes")
        try:
            self._up_to_date().refuse_named(store, self._seconds())
        except Refused as problem:
            raise Conflict(str(problem)) from problem
        await self._host.propose({"do": "bury-unknown", "now": self._now_ms(), "store": store})

    async def _decide_life(self, store: int, decide: Callable[[int], StoreRecord]) -> None:
        """Decide about one store at a time, and have it noted."""
        await self._leadership.leased()
        await self._lives.acquire()
        try:
            self._up_to_date()
            self.record(store)
            try:
                record = decide(store)
            except Refused as problem:
                raise Conflict(str(problem)) from problem
            await self._propose_life(record)
        finally:
            self._lives.release()

    async def _propose_life(self, record: StoreRecord) -> None:
        command = {"do": "set-life", "now": self._now_ms(), "store": record.store, "life": record.life.value}
        await self._host.propose(command)
        if record.life is Life.TOMBSTONE:
            self.placement.cluster.forget(record.store)

    # Heartbeats

    async def store_heartbeat(self, call: Call) -> Answer:
        """Hear a store."""
        await self._leadership.leased()
        record = self._from_store(call.parameters["store"], call.body["folder"])
        try:
            stats = StoreStats.from_json(call.body["stats"])
            self._up_to_date().store_heartbeat(record.store, stats, self._seconds())
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
        record = self.record(store)
        if record.life is Life.TOMBSTONE:
            raise Conflict(f"store {store} was removed and never returns")
        if record.folder != folder:
            raise Conflict(f"store {store} has the folder {record.folder}, not {folder}: it's another store")
        return record

    async def region_heartbeats(self, call: Call) -> Answer:
        """Hear of the regions that a store leads, and say what it's to do with them."""
        await self._leadership.leased()
        body = call.body
        record = self._from_store(body["store"], body["folder"])
        placement, now = self._up_to_date(), self._seconds()
        read = [_region(plain) for plain in body["regions"]]
        orders: list[Answer] = []
        refused: list[Answer] = []
        for region in read:
            try:
                if region.leader != record.store:
                    raise Refused(f"store {record.store} doesn't lead region {region.region}")
                order = placement.heartbeat(region, now)
            except (StaleHeartbeat, Refused) as problem:
                refused.append({"region": region.region, "reason": str(problem)})
            else:
                if order is not None:
                    orders.append(order.to_json())
        return {"orders": orders, "refused": refused}

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
        count, width = body["count"], 1 + len(known.peers)
        first = await self._leadership.ids(count * width)
        begins = range(first, first + count * width, width)
        return {"regions": [{"region": at, "peers": list(range(at + 1, at + width))} for at in begins]}

    async def report_split(self, call: Call) -> Answer:
        """Hear how a region was split, before its parts' own heartbeats."""
        await self._leadership.leased()
        parts = [_region(plain) for plain in call.body["regions"]]
        _check_parts(parts)
        placement, now = self._up_to_date(), self._seconds()
        try:
            for part in parts:
                placement.cluster.regions.check(part)
                if part.leader is not None and self.record(part.leader).life is Life.TOMBSTONE:
                    raise Refused(f"store {part.leader} was removed and never returns")
            for part in parts:
                placement.heartbeat(part, now)
        except (StaleHeartbeat, Refused) as problem:
            raise Conflict(str(problem)) from problem
        return {}

    # Operators

    async def operators(self, call: Call) -> Answer:
        """List the operators that run."""
        await self._leadership.leased()
        return {"operators": [operator.to_json() for operator in self._up_to_date().controller.running]}

    async def tell_warnings(self, call: Call) -> Answer:
        """Say what isn't mended by itself."""
        await self._leadership.leased()
        return {"warnings": self.warnings}

    async def operator(self, call: Call) -> Answer:
        """Tell of a region's operator, the one that runs or the last that did."""
        await self._leadership.leased()
        region = call.parameters["region"]
        operator = self._up_to_date().controller.last(region)
        if operator is None:
            raise NotFound(f"no operator of region {region} is known")
        return operator.to_json()

    async def add_operator(self, call: Call) -> Answer:
        """Have an operator run."""
        await self._leadership.leased()
        placement = self._up_to_date()
        try:
            operator = _asked_for(placement.cluster, call.body)
            placement.run(operator)
        except Refused as problem:
            raise Conflict(str(problem)) from problem
        return operator.to_json()

    async def cancel_operator(self, call: Call) -> Answer:
        """Cancel a region's operator."""
        await self._leadership.leased()
        region = call.parameters["region"]
        controller = self._up_to_date().controller
        operator = controller.of(region)
        if operator is None:
            raise NotFound(f"no operator of region {region} runs")
        controller.cancel(operator, "it was asked for")
        return operator.to_json()

    async def scatter(self, call: Call) -> Answer:
        """Spread regions over the stores."""
        await self._leadership.leased()
        begun, refused = self._up_to_date().scatter(call.body["regions"], call.body["group"], self._seconds())
        return {
            "operators": [operator.to_json() for operator in begun],
            "refused": [{"region": region, "reason": why} for region, why in sorted(refused.items())],
        }


def _asked_for(cluster: Cluster, body: Record) -> Operator:
    """
    Make the operator that somebody asks for.

    @raise Invalid: Something lacks.
    @raise Refused: It can't be.
    """
    kind, region = body["kind"], body["region"]
    needed = {"move-peer": ("store", "target"), "split": (), "merge": ("target_region",)}.get(kind, ("store",))
    for name in needed:
        if name not in body:
            raise Invalid(f"{kind} needs {name}")
    for name in body:
        if name not in ("kind", "region", *needed, *(("keys",) if kind == "split" else ())):
            raise Invalid(f"{kind} has no use for {name}")
    if kind == "split":
        return admin.split(cluster, region, tuple(bytes.fromhex(key) for key in body.get("keys", ())))
    if kind == "merge":
        return admin.merge(cluster, region, body["target_region"])
    if kind == "move-peer":
        return admin.move_peer(cluster, region, body["store"], body["target"])
    make = {
        "transfer-leader": admin.transfer_leader,
        "add-peer": admin.add_peer,
        "remove-peer": admin.remove_peer,
    }[kind]
    return make(cluster, region, body["store"])


def _check_parts(parts: list[RegionInfo]) -> None:
    """
    Make sure that regions can be the parts of one.

    @raise Invalid: They can't.
    """
    for left, right in zip(parts, parts[1:], strict=False):
        if not left.end or left.end != right.start:
            raise Invalid(f"region {right.region} doesn't begin where region {left.region} ends")
        if left.version != right.version:
            raise Invalid("parts of one split have the same version")
    if len({part.region for part in parts}) < len(parts):
        raise Invalid("two parts have the same id")


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
