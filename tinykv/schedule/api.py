"""The table of what the scheduler can be asked, with the schemas of questions and answers."""

from __future__ import annotations

from typing import Final

from tinykv.placement.config import SCHEDULERS, PlacementConfig
from tinykv.placement.operators import Kind, Status
from tinykv.placement.region_info import Role
from tinykv.placement.stores import LABEL_LENGTH_MAX, LABELS_MAX, Life, StoreState
from tinykv.raft.membership import MAX_MEMBERS
from tinykv.schedule.choices import Choices
from tinykv.schedule.placing import REGIONS_MAX, Placing
from tinykv.schedule.routes import Route, RouteTable
from tinykv.schedule.schemas import (
    BOOLEAN,
    KEY,
    NAME,
    SAFE_MAX,
    Schema,
    array,
    integer,
    mapping,
    nullable,
    number,
    one_of,
    record,
    text,
)
from tinykv.schedule.service import Scheduler
from tinykv.schedule.state import INITIAL_REGIONS_MAX, SERVICES_MAX, STORES_MAX
from tinykv.schedule.timestamps import BATCH_MAX, LOGICAL_MAX, PHYSICAL_MAX

#: Ids that are given at once.
IDS_MAX: Final = 10_000
#: Regions of one store's heartbeat.
HEARTBEATS_MAX: Final = 1_000
#: Parts of one split.
PARTS_MAX: Final = 256
#: Stores' numbers as their configuration allows them.
STORE_ID_MAX: Final = (1 << 16) - 1
#: The longest pause, and the longest hold of the safe point, in seconds.
WHILE_MAX: Final = 7 * 86_400

ID: Final = integer(1)
STORE: Final = integer(1, STORE_ID_MAX)
SIZE: Final = integer(0)
#: A timestamp as one number. Not every reader of JSON has those whole.
TIMESTAMP: Final = integer(0, (1 << 63) - 1, format="int64")
EMPTY: Final = record({})
ADDRESS: Final = text(260, 3, r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253}):[1-9][0-9]{0,4}")
FOLDER: Final = text(64, 1, "[A-Za-z0-9._-]{1,64}", description="the id of its data folder")
CLUSTER: Final = text(64, 1, "[0-9a-f]{1,64}", description="the id of a cluster")
LABEL: Final = text(LABEL_LENGTH_MAX, 1)
LABELS: Final = mapping(LABEL, LABELS_MAX, propertyNames=LABEL)
WEIGHT: Final = number(0, 1000)
LIMIT: Final = nullable(number(0.001, 1_000_000))

PEER: Final = record(
    {"peer": ID, "store": STORE, "role": one_of(*(role.value for role in Role))},
    optional=("role",),
)
REGION: Final = record(
    {
        "region": ID,
        "start": KEY,
        "end": KEY,
        "peers": array(PEER, MAX_MEMBERS, 1),
        "leader": nullable(STORE),
        "conf_ver": SIZE,
        "version": SIZE,
        "term": SIZE,
        "size": SIZE,
        "keys": SIZE,
        "pending": array(STORE, MAX_MEMBERS),
        "down": mapping(number(0), MAX_MEMBERS, propertyNames=text(5, 1, "[1-9][0-9]{0,4}")),
        "read_bytes": number(0),
        "write_bytes": number(0),
        "reads": number(0),
        "writes": number(0),
        "kind": text(64),
    },
    optional=(
        *"leader conf_ver version term size keys pending down read_bytes write_bytes reads writes kind".split(),
    ),
)
STATS: Final = record(
    {
        "capacity": SIZE,
        "available": SIZE,
        "regions": SIZE,
        "busy": BOOLEAN,
        "snapshots_sending": SIZE,
        "snapshots_receiving": SIZE,
    },
    optional=("capacity", "available", "regions", "busy", "snapshots_sending", "snapshots_receiving"),
)
STORE_VIEW: Final = record(
    {
        "store": STORE,
        "address": ADDRESS,
        "client_address": text(260),
        "folder": FOLDER,
        "labels": LABELS,
        "life": one_of(*(life.value for life in Life)),
        "leader_weight": WEIGHT,
        "region_weight": WEIGHT,
        "add_limit": LIMIT,
        "remove_limit": LIMIT,
        "state": one_of(*(state.value for state in StoreState)),
        "silence": number(0, description="seconds for which it hasn't been heard of by this leader"),
        "stats": nullable(STATS),
        "leaders": SIZE,
        "regions": SIZE,
        "bytes": SIZE,
        "bootstrapped": BOOLEAN,
    },
    optional=("bootstrapped",),
)
BOOTSTRAP: Final = record(
    {
        "cluster_id": text(64),
        "bootstrapped": BOOLEAN,
        "missing_stores": SIZE,
        "regions": array(REGION, INITIAL_REGIONS_MAX),
    }
)
MEMBERS: Final = record(
    {
        "cluster_id": text(64),
        "member": ID,
        "leader": nullable(ID),
        "term": SIZE,
        "applied": SIZE,
        "members": array(
            record({"member": ID, "address": text(260), "url": text(512), "match": nullable(SIZE)}), MAX_MEMBERS
        ),
    }
)
SAFE_POINT: Final = record(
    {
        "safe_point": TIMESTAMP,
        "services": array(record({"service": NAME, "safe_point": TIMESTAMP, "seconds": number(0)}), SERVICES_MAX),
    }
)
SCHEDULERS_VIEW: Final = record(
    {
        "schedulers": array(
            record({"name": NAME, "chosen": BOOLEAN, "paused_for": number(0), "parameters": {"type": "object"}}), 64
        )
    }
)
REFUSED: Final = record({"region": ID, "reason": text(4096)})
#: One of several kinds, each with fields of its own (L{tinykv.placement.steps}).
STEP: Final[Schema] = {"type": "object", "properties": {"kind": NAME}, "required": ["kind"]}
ORDER: Final = record({"region": ID, "leader": STORE, "conf_ver": SIZE, "version": SIZE, "step": STEP})
OPERATOR: Final = record(
    {
        "region": ID,
        "name": NAME,
        "kinds": array(one_of(*(kind.value for kind in Kind)), len(Kind)),
        "priority": integer(0, 9),
        "steps": array(STEP, 1000),
        "conf_ver": SIZE,
        "version": SIZE,
        "created": number(0, description="by a clock of the member that leads"),
        "step": SIZE,
        "status": one_of(*(status.value for status in Status)),
        "reason": text(4096),
        "ended": nullable(number(0)),
    }
)
#: Operators that can be asked for.
OPERATOR_KINDS: Final = ("transfer-leader", "add-peer", "remove-peer", "move-peer", "split", "merge")
#: Operators that one answer lists.
OPERATORS_MAX: Final = 100_000


def choices_schema() -> Schema:
    """Make the schema of the placement's choices; what they must be beyond it they say themselves."""
    fields: dict[str, Schema] = {}
    for name, value in PlacementConfig().to_json().items():
        if isinstance(value, list):
            items = {"schedulers": one_of(*SCHEDULERS), "labels": NAME}.get(name, STORE)
            fields[name] = array(items, STORES_MAX if items is STORE else 64)
        elif isinstance(value, bool):
            fields[name] = {**BOOLEAN, "default": value}
        elif isinstance(value, int):
            fields[name] = integer(0, SAFE_MAX, default=value)
        else:
            fields[name] = number(0, 1e12, default=value)
    return record(fields)


def routes_of(scheduler: Scheduler, placing: Placing, chosen: Choices) -> RouteTable:
    """Make the table of a scheduler's routes."""
    s, p, c = scheduler, placing, chosen
    choices = choices_schema()
    some_choices = {**choices, "minProperties": 1}
    some_choices.pop("required")
    store: dict[str, Schema] = {"store": STORE}
    region: dict[str, Schema] = {"region": ID}
    key: dict[str, Schema] = {"key": KEY}
    routes = [
        Route(method="GET", path="/members", name="members", tag="members", answer=s.members, result=MEMBERS,
              about="Name the members of the scheduler, as this one sees them", anywhere=True),
        Route(method="GET", path="/health", name="health", tag="members", answer=s.health, anywhere=True,
              about="Say whether this member serves, and whether it leads",
              result=record({"healthy": BOOLEAN, "reason": text(4096), "leads": BOOLEAN})),
        Route(method="GET", path="/bootstrap", name="bootstrapView", tag="cluster", answer=s.bootstrap_view,
              about="Say whether the cluster has begun, and with which regions", result=BOOTSTRAP),
        Route(method="POST", path="/bootstrap", name="bootstrap", tag="cluster", answer=s.bootstrap, refusals=(409,),
              about="Begin the cluster with the stores that have come", result=BOOTSTRAP),
        Route(method="PUT", path="/bootstrap", name="adopt", tag="cluster", answer=s.adopt, refusals=(409,),
              about="Tell how the cluster began, which it did without the scheduler", result=BOOTSTRAP,
              body=record({"cluster_id": CLUSTER, "regions": array(REGION, INITIAL_REGIONS_MAX)})),
        Route(method="POST", path="/ids", name="ids", tag="cluster", answer=s.ids,
              about="Give ids that were never given, in a row", body=record({"count": integer(1, IDS_MAX)}),
              result=record({"first": ID, "count": integer(1, IDS_MAX)})),
        Route(method="POST", path="/timestamps", name="timestamps", tag="cluster", answer=s.timestamps,
              about="Give timestamps above all that were ever given: physical << 18 | logical, from the first on",
              body=record({"count": integer(1, BATCH_MAX)}),
              result=record({"physical": integer(0, PHYSICAL_MAX), "logical": integer(0, LOGICAL_MAX),
                             "count": integer(1, BATCH_MAX)})),
        Route(method="GET", path="/stores", name="stores", tag="stores", answer=s.stores, about="List the stores",
              query={"state": one_of(*(state.value for state in StoreState))},
              result=record({"stores": array(STORE_VIEW, STORES_MAX)})),
        Route(method="GET", path="/stores/{store}", name="store", tag="stores", answer=s.store, refusals=(404,),
              about="Tell of a store", path_parameters=store, result=STORE_VIEW),
        Route(method="PUT", path="/stores/{store}", name="putStore", tag="stores", answer=s.put_store, refusals=(409,),
              about="Register a store, or tell where it is now", path_parameters=store, result=STORE_VIEW,
              body=record({"address": ADDRESS, "client_address": text(260), "folder": FOLDER, "labels": LABELS},
                          optional=("client_address", "labels"))),
        Route(method="PATCH", path="/stores/{store}", name="changeStore", tag="stores", answer=s.change_store,
              about="Change labels, weights or limits of a store", path_parameters=store, result=STORE_VIEW,
              refusals=(404, 409),
              body=record({"labels": LABELS, "leader_weight": WEIGHT, "region_weight": WEIGHT, "add_limit": LIMIT,
                           "remove_limit": LIMIT}, minProperties=1,
                          optional=("labels", "leader_weight", "region_weight", "add_limit", "remove_limit"))),
        Route(method="POST", path="/stores/{store}/offline", name="offline", tag="stores", answer=s.offline,
              about="Have a store drained", path_parameters=store, result=STORE_VIEW, refusals=(404, 409)),
        Route(method="POST", path="/stores/{store}/cancel-offline", name="cancelOffline", tag="stores",
              answer=s.cancel_offline, about="Have a store stay after all", path_parameters=store, result=STORE_VIEW,
              refusals=(404, 409)),
        Route(method="DELETE", path="/stores/{store}", name="removeStore", tag="stores", answer=s.remove,
              about="Make a store that was drained, or never heard of, a tombstone, for ever; forced, its replicas are"
                    " taken for lost, and it need not have registered",
              path_parameters=store, query={"force": BOOLEAN}, result=STORE_VIEW, refusals=(404, 409)),
        Route(method="POST", path="/stores/{store}/heartbeat", name="storeHeartbeat", tag="heartbeats",
              answer=p.store_heartbeat, about="Tell how a store is", path_parameters=store, refusals=(404, 409),
              body=record({"folder": FOLDER, "stats": STATS}),
              result=record({"life": one_of(*(life.value for life in Life)), "bootstrapped": BOOLEAN})),
        Route(method="POST", path="/region-heartbeats", name="regionHeartbeats", tag="heartbeats",
              answer=p.region_heartbeats, refusals=(404, 409),
              about="Tell how regions are that a store leads; those that are older than what is known are refused",
              body=record({"store": STORE, "folder": FOLDER, "regions": array(REGION, HEARTBEATS_MAX)}),
              result=record({"orders": array(ORDER, HEARTBEATS_MAX), "refused": array(REFUSED, HEARTBEATS_MAX)})),
        Route(method="GET", path="/regions", name="regions", tag="regions", answer=p.regions,
              about="List regions in the order of their keys",
              query={"start": KEY, "end": KEY, "limit": integer(1, REGIONS_MAX)},
              result=record({"regions": array(REGION, REGIONS_MAX)})),
        Route(method="GET", path="/regions/{region}", name="region", tag="regions", answer=p.region, refusals=(404,),
              about="Tell of a region", path_parameters=region, result=REGION),
        Route(method="GET", path="/region-at", name="regionAt", tag="regions", answer=p.region_at, refusals=(404,),
              about="Tell of the region of a key", query=key, required_query=("key",), result=REGION),
        Route(method="GET", path="/region-before", name="regionBefore", tag="regions", answer=p.region_before,
              about="Tell of the region before that of a key", query=key, required_query=("key",), refusals=(404,),
              result=REGION),
        Route(method="POST", path="/regions/{region}/ask-split", name="askSplit", tag="regions", answer=p.ask_split,
              about="Give the ids that a split into that many more regions needs", path_parameters=region,
              refusals=(404, 409),
              body=record({"version": SIZE, "conf_ver": SIZE, "count": integer(1, PARTS_MAX)}),
              result=record({"regions": array(record({"region": ID, "peers": array(ID, MAX_MEMBERS)}), PARTS_MAX)})),
        Route(method="POST", path="/report-split", name="reportSplit", tag="regions", answer=p.report_split,
              about="Tell how a region was split, its parts in the order of their keys", refusals=(409,),
              body=record({"regions": array(REGION, PARTS_MAX + 1, 2)}), result=EMPTY),
        Route(method="GET", path="/operators", name="operators", tag="operators", answer=p.operators,
              about="List the operators that run", result=record({"operators": array(OPERATOR, OPERATORS_MAX)})),
        Route(method="GET", path="/warnings", name="warnings", tag="operators", answer=p.tell_warnings,
              about="Say what a person should look at, since the placement can't mend it by itself",
              result=record({"warnings": array(text(4096), STORES_MAX)})),
        Route(method="POST", path="/operators", name="addOperator", tag="operators", answer=p.add_operator,
              about="Have an operator run for a region", refusals=(409,), result=OPERATOR,
              body=record({"kind": one_of(*OPERATOR_KINDS), "region": ID, "store": STORE, "target": STORE,
                           "target_region": ID, "keys": array(KEY, PARTS_MAX)},
                          optional=("store", "target", "target_region", "keys"))),
        Route(method="GET", path="/operators/{region}", name="operator", tag="operators", answer=p.operator,
              about="Tell of a region's operator: the one that runs, or a while longer the last that did",
              path_parameters=region, refusals=(404,), result=OPERATOR),
        Route(method="DELETE", path="/operators/{region}", name="cancelOperator", tag="operators",
              answer=p.cancel_operator, about="Cancel a region's operator", path_parameters=region, refusals=(404,),
              result=OPERATOR),
        Route(method="POST", path="/scatter", name="scatter", tag="operators", answer=p.scatter,
              about="Spread regions over the stores, evenly among those of their group",
              body=record({"regions": array(ID, HEARTBEATS_MAX, 1), "group": text(64)}),
              result=record({"operators": array(OPERATOR, HEARTBEATS_MAX),
                             "refused": array(REFUSED, HEARTBEATS_MAX)})),
        Route(method="GET", path="/config", name="config", tag="placement", answer=c.choices, result=choices,
              about="Tell what was chosen for the placement"),
        Route(method="PATCH", path="/config", name="changeConfig", tag="placement", answer=c.choose, result=choices,
              about="Change choices of the placement", body=some_choices),
        Route(method="GET", path="/schedulers", name="schedulers", tag="placement", answer=c.schedulers,
              about="List the schedulers", result=SCHEDULERS_VIEW),
        Route(method="POST", path="/schedulers/{scheduler}/pause", name="pauseScheduler", tag="placement",
              answer=c.pause, about="Pause a scheduler for so many seconds; 0 has it go on",
              path_parameters={"scheduler": NAME}, refusals=(404,),
              body=record({"seconds": number(0, WHILE_MAX)}), result=SCHEDULERS_VIEW),
        Route(method="PATCH", path="/schedulers/{scheduler}", name="setParameters", tag="placement",
              answer=c.set_parameters, about="Change the choices that are a scheduler's own",
              path_parameters={"scheduler": NAME}, refusals=(404,), body=some_choices, result=SCHEDULERS_VIEW),
        Route(method="GET", path="/safe-point", name="safePoint", tag="collection", answer=s.safe_point,
              about="Tell which timestamp is the safe point, and who holds it back", result=SAFE_POINT),
        Route(method="POST", path="/safe-point", name="advanceSafePoint", tag="collection",
              answer=s.advance_safe_point, about="Raise the safe point, as far as no service holds it back",
              body=record({"safe_point": TIMESTAMP}), result=SAFE_POINT),
        Route(method="PUT", path="/safe-point/services/{service}", name="holdSafePoint", tag="collection",
              answer=s.hold_safe_point, about="Let a service hold the safe point back for a while",
              path_parameters={"service": NAME}, refusals=(409,),
              body=record({"safe_point": TIMESTAMP, "seconds": number(0.001, WHILE_MAX)}), result=SAFE_POINT),
        Route(method="DELETE", path="/safe-point/services/{service}", name="releaseSafePoint", tag="collection",
              answer=s.release_safe_point, about="Let a service hold the safe point back no more",
              path_parameters={"service": NAME}, result=SAFE_POINT),
    ]  # fmt: skip
    return RouteTable(routes)
