"""
What the scheduler's members agree on, as a function of their log.

Commands are JSON objects, in the order in which they were decided; C{do} names what is to be done, C{now} is the time
of the one who proposed it, in ms since 1970. The same commands make the same rows on every member, whatever its clock
says; what can't be done changes nothing, on all alike. Regions, stores' heartbeats and operators aren't here: they're
learned anew by whoever leads.

Tables of rows (L{tinykv.schedule.rows}), each record by its name:

 - cluster: C{cluster}, the cluster's id and whether it has begun; C{windows}, up to where timestamps and ids were given
   to leaders; C{safe_point}.
 - member: the members that have led, with the URLs of their ports.
 - store: L{StoreRecord}s.
 - region: the regions with which the cluster began.
 - choices: C{placement}, what was said of L{PlacementConfig}.
 - scheduler: schedulers that are paused.
 - service: services that hold the safe point back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from tinykv.errors import Fault
from tinykv.keys import REDIS_PREFIX, SLOTS
from tinykv.placement.config import SCHEDULERS, PlacementConfig
from tinykv.placement.plain import BadRecord
from tinykv.placement.region_info import PeerInfo, RegionInfo
from tinykv.placement.stores import Life, Refused, StoreRecord, registered
from tinykv.schedule.errors import Conflict, Invalid, NotFound, Refusal
from tinykv.schedule.rows import Record, Tables
from tinykv.schedule.timestamps import PHYSICAL_MAX

#: No more ids than this are ever given.
ID_MAX: Final = (1 << 53) - 1
#: Stores that there may be, tombstones among them.
STORES_MAX: Final = 4096
#: The address and the folder of a tombstone that was never a store here.
NOWHERE: Final = "nowhere:1"
NO_FOLDER: Final = "none"
#: Services that may hold the safe point back.
SERVICES_MAX: Final = 256
#: Regions with which a cluster may begin.
INITIAL_REGIONS_MAX: Final = 1024
#: Ids begin with this one: those below are the regions' with which a cluster begins, numbered from 1 on whoever begins
#: it, so that it's the same cluster whether the scheduler or a list of stores began it.
FIRST_ID: Final = INITIAL_REGIONS_MAX + 1

_TABLES: Final = ("cluster", "member", "store", "region", "choices", "scheduler", "service")


class State:
    """
    The state.

    @ivar tables: All of it, as rows.
    """

    def __init__(self) -> None:
        self.tables = Tables(_TABLES)
        #: The stores' records by id, read from the rows when those change.
        self._stores: dict[int, StoreRecord] = {}
        self._stores_version = -1

    # Views

    @property
    def cluster_id(self) -> str:
        """The cluster's id, empty before it has one."""
        return str(self._cluster.get("id", ""))

    @property
    def bootstrapped(self) -> bool:
        """Whether the cluster has begun: it has regions."""
        return bool(self._cluster.get("bootstrapped", 0))

    @property
    def timestamp_limit(self) -> int:
        """No physical part of a timestamp from here on was ever given; in ms since 1970."""
        return int(self._windows.get("timestamps", 0))

    @property
    def next_id(self) -> int:
        """The first id that belongs to nobody."""
        return int(self._windows.get("ids", FIRST_ID))

    @property
    def safe_point(self) -> int:
        """What is older than this timestamp may be collected."""
        return int((self.tables.get("cluster", "safe_point") or {}).get("at", 0))

    @property
    def stores(self) -> dict[int, StoreRecord]:
        """The stores by id; to be looked at only. It's the same object for ever, and always up to date."""
        version = self.tables.version("store")
        if version != self._stores_version:
            self._stores_version = version
            self._stores.clear()
            read = map(StoreRecord.from_json, self.tables.all("store").values())
            self._stores.update((store.store, store) for store in sorted(read, key=lambda store: store.store))
        return self._stores

    @property
    def choices(self) -> PlacementConfig:
        """What was chosen for the placement."""
        return PlacementConfig.from_json(self.tables.get("choices", "placement") or {})

    def paused_until(self, scheduler: str) -> int:
        """Say until when a scheduler is paused, in ms since 1970; 0 if it isn't."""
        return int((self.tables.get("scheduler", scheduler) or {}).get("paused_until", 0))

    @property
    def initial_regions(self) -> list[RegionInfo]:
        """The regions with which the cluster began, in the order of their keys."""
        found = [RegionInfo.from_json(record) for record in self.tables.all("region").values()]
        return sorted(found, key=lambda region: region.start)

    @property
    def initial_count(self) -> int:
        """With how many regions the cluster began, 0 before."""
        return len(self.tables.all("region"))

    def services(self, now: int) -> dict[str, Record]:
        """Give the services that hold the safe point back at a time, in ms since 1970."""
        return {name: record for name, record in self.tables.all("service").items() if record["until"] > now}

    def url_of(self, member: int) -> str:
        """Give the URL of a member's port, empty if it has never led."""
        return str((self.tables.get("member", str(member)) or {}).get("url", ""))

    @property
    def _cluster(self) -> Record:
        return self.tables.get("cluster", "cluster") or {}

    @property
    def _windows(self) -> Record:
        return self.tables.get("cluster", "windows") or {}

    # Commands

    def apply(self, command: Record) -> Record | Refusal:
        """
        Do what was decided.

        @return: The result, or why nothing was done.
        @raise Fault: It isn't known what it would do.
        """
        do = _COMMANDS.get(str(command.get("do")))
        if do is None:
            # To pass it over would make the members differ.
            why = "a newer member has proposed it; start the same version here"
            raise Fault(f"the command {command.get('do')!r} isn't known: {why}")
        try:
            return do(self, command)
        except Refusal as problem:
            return problem
        except Refused as problem:
            return Conflict(str(problem))
        except BadRecord as problem:
            return Invalid(str(problem))

    def _begin(self, command: Record) -> Record:
        """Give the cluster its id: the first entry of all."""
        if not self.cluster_id:
            self.tables.put("cluster", "cluster", {"id": command["id"], "since": command["now"]})
        return {"id": self.cluster_id}

    def _lead(self, command: Record) -> Record:
        """Note where the member is that leads now."""
        record = {"url": command["url"]}
        if self.tables.get("member", str(command["member"])) != record:
            self.tables.put("member", str(command["member"]), record)
        return {}

    def _window(self, command: Record) -> Record:
        """
        Give a leader timestamps up to a limit, or so many ids.

        A limit below what was given before changes nothing. Ids come from here, so no two windows have one in common.
        """
        limit, first = max(self.timestamp_limit, command.get("timestamps", 0)), self.next_id
        end = first + command.get("ids", 0)
        if limit > PHYSICAL_MAX:
            raise Conflict(f"the clock of the member that leads is at {limit} ms, after the end of all timestamps")
        if end > ID_MAX:
            raise Conflict("all ids have been given")
        self.tables.put("cluster", "windows", {"timestamps": limit, "ids": end})
        return {"timestamps": limit, "first": first, "end": end}

    def _put_store(self, command: Record) -> Record:
        """Register a store, or take over what it says of itself now."""
        given = StoreRecord.from_json(command["store"])
        if given.store not in self.stores and len(self.stores) >= STORES_MAX:
            raise Conflict(f"there are {STORES_MAX} stores already, those among them that were removed")
        record = registered(self.stores, given)
        self._save(record)
        return record.to_json()

    def _change_store(self, command: Record) -> Record:
        """Change labels, weights or limits of a store."""
        record = self._store(command["store"])
        if record.life is Life.TOMBSTONE:
            raise Conflict(f"store {record.store} was removed")
        changed = StoreRecord.from_json({**record.to_json(), **command["changes"]})
        self._save(changed)
        return changed.to_json()

    def _set_life(self, command: Record) -> Record:
        """Note what was decided of a store by who knows its replicas. A tombstone stays one."""
        record = self._store(command["store"])
        life = Life(command["life"])
        if record.life is Life.TOMBSTONE and life is not Life.TOMBSTONE:
            raise Conflict(f"store {record.store} was removed and never returns")
        changed = replace(record, life=life)
        self._save(changed)
        return changed.to_json()

    def _bury_unknown(self, command: Record) -> Record:
        """Make a number a tombstone under which no store has registered, so that none ever does."""
        number = command["store"]
        if number in self.stores:
            raise Conflict(f"store {number} has registered meanwhile")
        if len(self.stores) >= STORES_MAX:
            raise Conflict(f"there are {STORES_MAX} stores already, those among them that were removed")
        record = StoreRecord(number, NOWHERE, folder=NO_FOLDER, life=Life.TOMBSTONE)
        self._save(record)
        return record.to_json()

    def _bootstrap(self, command: Record) -> Record:
        """Begin the cluster: all regions with all their voters, at once."""
        if self.bootstrapped:
            raise Conflict("the cluster has begun already")
        stores = [store.store for store in self.stores.values() if store.life is Life.UP]
        wanted = command["stores"]
        if len(stores) < wanted:
            raise Conflict(f"the cluster begins with {wanted} stores, of which {len(stores)} have come")
        regions = self._first_regions(stores, command["regions"])
        for region in regions:
            self.tables.put("region", str(region.region), region.to_json())
        self.tables.put("cluster", "cluster", {**self._cluster, "bootstrapped": command["now"]})
        return {"regions": [region.to_json() for region in regions]}

    def _adopt(self, command: Record) -> Record:
        """Take over a cluster that began without a scheduler, or whose scheduler was lost; the first that says so."""
        regions = [RegionInfo.from_json(plain) for plain in command["regions"]]
        if self.bootstrapped:
            if self.cluster_id != command["id"]:
                raise Conflict(f"this is the scheduler of cluster {self.cluster_id}, not of {command['id']}")
            return {}
        if any(region.region >= FIRST_ID for region in regions):
            raise Invalid(f"a cluster begins with regions below {FIRST_ID}")
        for region in regions:
            self.tables.put("region", str(region.region), region.to_json())
        self.tables.put("cluster", "cluster", {**self._cluster, "id": command["id"], "bootstrapped": command["now"]})
        # A scheduler that was lost gave ids too, nobody knows which: fewer than one a ms since 1970.
        ids = max(self.next_id, command["now"])
        self.tables.put("cluster", "windows", {"timestamps": self.timestamp_limit, "ids": ids})
        self._keep_replicas(regions)
        return {}

    def _keep_replicas(self, regions: list[RegionInfo]) -> None:
        """
        Choose as many replicas as the regions of a cluster have that was taken over, where nobody has chosen a number.

        Who began with five voters didn't ask for three. One more than an odd number is on its way from store to store.
        """
        said = self.tables.get("choices", "placement") or {}
        voters = min((len(region.voters) for region in regions), default=0)
        replicas = voters - 1 + voters % 2
        if "replicas" not in said and replicas > self.choices.replicas:
            self.tables.put("choices", "placement", {**said, "replicas": replicas})

    def _first_regions(self, stores: list[int], count: int) -> list[RegionInfo]:
        """Cut the space of keys at borders of slots, and give each region its voters; the stores take turns."""
        borders = [b"", *(REDIS_PREFIX + (SLOTS * at // count).to_bytes(2, "big") for at in range(1, count)), b""]
        replicas = min(self.choices.replicas, len(stores))
        regions: list[RegionInfo] = []
        for place in range(count):
            chosen = sorted(stores[(place + turn) % len(stores)] for turn in range(replicas))
            peers = tuple(PeerInfo(peer, store) for peer, store in enumerate(chosen, 1))
            regions.append(RegionInfo(place + 1, borders[place], borders[place + 1], peers, conf_ver=1, version=1))
        return regions

    def _choose(self, command: Record) -> Record:
        """Change choices of the placement."""
        before = self.tables.get("choices", "placement") or {}
        changed = PlacementConfig.from_json({**before, **command["choices"]})
        # What was said, and not the defaults: another version may have others.
        named = {*before, *command["choices"]}
        said = {name: value for name, value in changed.to_json().items() if name in named}
        self.tables.put("choices", "placement", said)
        return changed.to_json()

    def _pause(self, command: Record) -> Record:
        """Pause a scheduler, or have it go on."""
        name, until = command["scheduler"], command["until"]
        if name not in SCHEDULERS:
            raise NotFound(f"there's no scheduler {name}; there are {', '.join(SCHEDULERS)}")
        if until > command["now"]:
            self.tables.put("scheduler", name, {"paused_until": until})
        elif self.tables.get("scheduler", name) is not None:
            self.tables.remove("scheduler", name)
        return {"paused_until": self.paused_until(name)}

    def _advance_safe_point(self, command: Record) -> Record:
        """Raise the safe point, as far as no service holds it back. It never goes back."""
        services = self.services(command["now"])
        at = min([command["at"], *(record["at"] for record in services.values())])
        if at > self.safe_point:
            self.tables.put("cluster", "safe_point", {"at": at})
        return {"safe_point": self.safe_point}

    def _hold_safe_point(self, command: Record) -> Record:
        """Let a service hold the safe point back for a while, or, with no while, not any more."""
        name, at, until, now = command["service"], command["at"], command["until"], command["now"]
        holding = self.services(now)
        if until > now:
            if at < self.safe_point:
                raise Conflict(f"what is older than {self.safe_point} may be gone already")
            if name not in holding and len(holding) >= SERVICES_MAX:
                raise Conflict(f"{SERVICES_MAX} services hold the safe point back already")
            self.tables.put("service", name, {"at": at, "until": until})
        elif self.tables.get("service", name) is not None:
            self.tables.remove("service", name)
        for other in self.tables.all("service").keys() - holding.keys() - {name}:
            self.tables.remove("service", other)
        return {"safe_point": self.safe_point, "services": self.services(now)}

    def _store(self, store: int) -> StoreRecord:
        record = self.stores.get(store)
        if record is None:
            raise NotFound(f"there's no store {store}")
        return record

    def _save(self, record: StoreRecord) -> None:
        plain = record.to_json()
        if self.tables.get("store", str(record.store)) != plain:
            self.tables.put("store", str(record.store), plain)


_COMMANDS: Final[dict[str, Callable[[State, dict[str, Any]], Record]]] = {
    "begin": State._begin,
    "lead": State._lead,
    "window": State._window,
    "put-store": State._put_store,
    "change-store": State._change_store,
    "set-life": State._set_life,
    "bury-unknown": State._bury_unknown,
    "bootstrap": State._bootstrap,
    "adopt": State._adopt,
    "choose": State._choose,
    "pause": State._pause,
    "advance-safe-point": State._advance_safe_point,
    "hold-safe-point": State._hold_safe_point,
}
