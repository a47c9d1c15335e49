"""
C{tinykv ctl schedule}: what the scheduler knows and does, for people; and what they want otherwise.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from tinykv.cli.ctl_schedule_http import AsksScheduler, Proof
from tinykv.cli.problems import Problem
from tinykv.cli.screen import print_answer
from tinykv.config_values import SECRET_BYTES_MOST, STORE_ID_MAX, parse_duration
from tinykv.keys import SLOTS, slot_of, slots_range, slots_within

_STORE: Final = click.IntRange(1, STORE_ID_MAX)
_REGION: Final = click.IntRange(1)
#: Regions that one question lists.
_PAGE: Final = 1000
#: By what regions can be put in order: the field, largest first; keys is the order of keys.
_ORDERS: Final = {
    "keys": None,
    "size": lambda region: region["size"],
    "load": lambda region: region["reads"] + region["writes"] + (region["read_bytes"] + region["write_bytes"]) / 1024,
}


@dataclass(frozen=True)
class Scheduler:
    """
    What all commands were told.

    @ivar as_json: Whether answers are printed as they came.
    """

    asks: AsksScheduler
    as_json: bool

    def get(self, path: str) -> dict[str, Any]:
        """Ask for something."""
        return self.asks.ask("GET", path)

    def tell(self, answer: object, *shown: Table | str) -> None:
        """Print an answer: as JSON, or what is shown of it."""
        print_answer(answer, shown, as_json=self.as_json)

    def regions(self, start: str = "") -> list[dict[str, Any]]:
        """List all regions from a key on, some at a time."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.get(f"/regions?start={start}&limit={_PAGE}")["regions"]
            found += page
            if len(page) < _PAGE or not page[-1]["end"]:
                return found
            start = page[-1]["end"]


Connect = Callable[[Sequence[str], Proof], AsksScheduler]


@click.group()
@click.option(
    "--url",
    "urls",
    multiple=True,
    default=("http://127.0.0.1:2379",),
    show_default=True,
    help="The scheduler's API, of any member; may be given several times.",
)
@click.option("--token-file", type=click.Path(path_type=Path), help="File with the token that it demands.")
@click.option("--ca", type=click.Path(path_type=Path), help="Certificates that vouch for it, PEM, for https.")
@click.option("--cert", type=click.Path(path_type=Path), help="Certificate to be shown to it, PEM.")
@click.option("--key", type=click.Path(path_type=Path), help="Its private key, PEM.")
@click.pass_context
def schedule(
    ctx: click.Context, urls: tuple[str, ...], token_file: Path | None, ca: Path | None, cert: Path | None,
    key: Path | None,
) -> None:  # fmt: skip
    """
    Look at what the scheduler knows and does, and change it.

    Ends with status 1 if a thing wasn't done, and with 3 if nobody can tell.
    """
    if (cert is None) != (key is None):
        raise click.UsageError("--cert and --key go together")
    proof = Proof(_token(token_file), ca, cert, key)
    connect: Connect = ctx.obj.outside.connect_scheduler
    try:
        asks = connect(urls, proof)
    except ValueError as problem:
        raise click.BadParameter(str(problem), ctx, param_hint="--url") from problem
    ctx.obj = Scheduler(asks, ctx.obj.as_json)


def _token(path: Path | None) -> str:
    """Read the token."""
    if path is None:
        return ""
    try:
        with path.open("rb") as file:
            token = file.read(2 * SECRET_BYTES_MOST).strip()
        return token.decode("ascii")
    except OSError as problem:
        raise Problem(f"{path}: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise Problem(f"{path}: a token is ASCII text") from problem


# What is seen


@schedule.command()
@click.pass_obj
def status(scheduler: Scheduler) -> None:
    """Show the cluster at a glance: its scheduler, stores, regions, and what is under way."""
    # The leader is known to all when it has answered something.
    begun, members = scheduler.get("/bootstrap"), scheduler.get("/members")
    stores, operators = scheduler.get("/stores")["stores"], scheduler.get("/operators")["operators"]
    schedulers, choices = scheduler.get("/schedulers")["schedulers"], scheduler.get("/config")
    warnings = scheduler.get("/warnings")["warnings"]
    regions = scheduler.regions()
    ill = [region for region in regions if problems_of(region, choices["replicas"])]
    paused = [each["name"] for each in schedulers if each["paused_for"]]
    states: dict[str, int] = {}
    for store in stores:
        states[store["state"]] = states.get(store["state"], 0) + 1
    answer = {
        "members": members, "bootstrap": begun, "stores": states, "regions": len(regions), "unhealthy": len(ill),
        "operators": len(operators), "paused": paused,
        "warnings": warnings,
    }  # fmt: skip
    lines = [
        f"Cluster {begun['cluster_id']}" + ("" if begun["bootstrapped"] else
        f", which begins when {begun['missing_stores']} more stores have come"),
        f"Scheduler: member {_named(members['leader'])} leads, of {len(members['members'])}",
        "Stores: " + (", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"),
        f"Regions: {len(regions)} heard of, {len(ill)} unhealthy"
        + (" (see `tinykv ctl schedule regions --unhealthy`)" if ill else ""),
        f"Operators: {len(operators)} run" + (f"; paused: {', '.join(paused)}" if paused else ""),
    ]  # fmt: skip
    scheduler.tell(answer, *lines, *(f"Look at this: {warning}." for warning in warnings), store_table(stores))


@schedule.command()
@click.pass_obj
def stores(scheduler: Scheduler) -> None:
    """List the stores: where and how they are, and what they hold."""
    answer = scheduler.get("/stores")
    more = _table("store", "clients connect to", "labels")
    for store in answer["stores"]:
        labels = ", ".join(f"{name}={value}" for name, value in sorted(store["labels"].items()))
        more.add_row(str(store["store"]), store["client_address"], labels)
    scheduler.tell(answer, store_table(answer["stores"]), more)


def store_table(stores: Sequence[dict[str, Any]]) -> Table:
    """Make the table of the stores."""
    table = _table("store", "address", "state", "leads", "regions", "holds", "free", "heard")
    for store in stores:
        stats = store["stats"]
        table.add_row(
            str(store["store"]), store["address"], store["state"], str(store["leaders"]), str(store["regions"]),
            size_of(store["bytes"]), "?" if stats is None else size_of(stats["available"]),
            "not yet" if stats is None else f"{store['silence']:.0f}\N{NO-BREAK SPACE}s ago",
        )  # fmt: skip
    return table


@schedule.command()
@click.option("--key", help="Only the region where this key lies.")
@click.option("--row-key", help="Only the region of this row of the engine, in hexadecimal.")
@click.option(
    "--order",
    type=click.Choice(list(_ORDERS)),
    default="keys",
    show_default=True,
    help="By key, or the largest or the busiest first.",
)
@click.option("--unhealthy", is_flag=True, help="Only those that lack something.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Show so many at most.")
@click.pass_obj
def regions(
    scheduler: Scheduler, key: str | None, row_key: str | None, order: str, unhealthy: bool, limit: int
) -> None:
    """List regions: their slots, replicas, size, load, and what is wrong with them."""
    if key is not None and row_key is not None:
        raise click.UsageError("--key and --row-key name one region each")
    if key is not None:
        slot = slot_of(os.fsencode(key))
        row_key = slots_range((slot, slot))[0].hex()
    elif row_key is not None:
        row_key = _hexadecimal(row_key)
    replicas = scheduler.get("/config")["replicas"]
    found = scheduler.regions() if row_key is None else [scheduler.get(f"/region-at?key={row_key}")]
    if unhealthy:
        found = [region for region in found if problems_of(region, replicas)]
    by = _ORDERS[order]
    if by is not None:
        found.sort(key=by, reverse=True)
    shown = found[:limit]
    # Learners are rare.
    learn = any(_listed(region, "learner") for region in shown)
    table = _table(
        "region", "slots", "leader", "voters", *(["learners"] if learn else []), "size", "keys", "reads/s", "writes/s"
    )
    lacking: list[str] = []
    for region in shown:
        table.add_row(
            str(region["region"]), _slots(region), _named(region["leader"]), _listed(region, "voter", "incoming"),
            *([_listed(region, "learner")] if learn else []), size_of(region["size"]), str(region["keys"]),
            f"{region['reads']:.0f}", f"{region['writes']:.0f}",
        )  # fmt: skip
        if problems := problems_of(region, replicas):
            lacking.append(f"Region {region['region']}: {'; '.join(problems)}")
    more = len(found) - len(shown)
    scheduler.tell({"regions": shown}, table, *lacking, *([f"And {more} more (--limit)."] if more else []))


def _hexadecimal(text: str) -> str:
    try:
        return bytes.fromhex(text).hex()
    except ValueError as problem:
        raise click.BadParameter("expected a key in hexadecimal", param_hint="--row-key") from problem


def _slots(region: dict[str, Any]) -> str:
    """Write the slots of a region as Redis does, the first and the last; it may have none, but raw keys alone."""
    first, end = slots_within(bytes.fromhex(region["start"]), bytes.fromhex(region["end"]))
    return f"{first}-{end - 1}" if first < end else "-"


def problems_of(region: dict[str, Any], replicas: int) -> list[str]:
    """Say what a region lacks, in words."""
    found: list[str] = []
    voters = [peer for peer in region["peers"] if peer["role"] in ("voter", "incoming")]
    if region["leader"] is None:
        found.append("no leader is known")
    if len(voters) != replicas:
        found.append(f"{len(voters)} voters instead of {replicas}")
    if any(peer["role"] not in ("voter", "learner") for peer in region["peers"]):
        found.append("a change of several voters is under way")
    if any(peer["role"] == "learner" for peer in region["peers"]):
        found.append("learners")
    for name, listed in (("down", region["down"]), ("behind", region["pending"])):
        if listed:
            found.append(f"{name}: {', '.join(map(str, sorted(map(int, listed))))}")
    return found


def _listed(region: dict[str, Any], *roles: str) -> str:
    return ", ".join(str(peer["store"]) for peer in region["peers"] if peer["role"] in roles)


def _table(*columns: str) -> Table:
    """Make a table that is narrow, as terminals are, and shows all: what doesn't fit goes on in the next line."""
    return Table(
        *(Column(name, overflow="fold") for name in columns), box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )


def _named(number: int | None) -> str:
    return "?" if number is None else str(number)


def size_of(count: int) -> str:
    """Write a number of bytes for people."""
    for unit, one in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= one:
            return f"{count / one:.1f}\N{NO-BREAK SPACE}{unit}"
    return f"{count}\N{NO-BREAK SPACE}B"


@schedule.command()
@click.pass_obj
def operators(scheduler: Scheduler) -> None:
    """List what is under way: for which region, by whom, and which step is next."""
    answer = scheduler.get("/operators")
    table = _table("region", "operator", "step", "next", "status")
    for operator in answer["operators"]:
        _add_operator(table, operator)
    scheduler.tell(answer, table if answer["operators"] else "Nothing is under way.")


def _add_operator(table: Table, operator: dict[str, Any]) -> None:
    steps, at = operator["steps"], operator["step"]
    table.add_row(
        str(operator["region"]), operator["name"], f"{at} of {len(steps)}",
        _step(steps[at]) if at < len(steps) else "-", operator["status"],
    )  # fmt: skip


def _step(step: dict[str, Any]) -> str:
    more = ", ".join(f"{name} {value}" for name, value in step.items() if name != "kind")
    return f"{step['kind']} {more}".strip()


# What is wanted


def _begin(scheduler: Scheduler, body: dict[str, Any]) -> None:
    """Have an operator run, and tell of it."""
    operator = scheduler.asks.ask("POST", "/operators", body)
    table = _table("region", "operator", "step", "next", "status")
    _add_operator(table, operator)
    scheduler.tell(operator, table)


@schedule.command("transfer-leader")
@click.argument("region", type=_REGION)
@click.argument("store", type=_STORE)
@click.pass_obj
def transfer_leader(scheduler: Scheduler, region: int, store: int) -> None:
    """Have a STORE lead a REGION."""
    _begin(scheduler, {"kind": "transfer-leader", "region": region, "store": store})


@schedule.command("move-peer")
@click.argument("region", type=_REGION)
@click.argument("store", type=_STORE)
@click.argument("target", type=_STORE)
@click.pass_obj
def move_peer(scheduler: Scheduler, region: int, store: int, target: int) -> None:
    """Move a REGION's replica from a STORE to TARGET."""
    _begin(scheduler, {"kind": "move-peer", "region": region, "store": store, "target": target})


@schedule.command()
@click.argument("region", type=_REGION)
@click.option(
    "--slot",
    "slots",
    type=click.IntRange(1, SLOTS - 1),
    multiple=True,
    help="Let a part begin at this slot; may be given again. Without any it's split in the middle.",
)
@click.pass_obj
def split(scheduler: Scheduler, region: int, slots: tuple[int, ...]) -> None:
    """Split a REGION, by the store that leads it. `tinykv ctl split` does it at once, and tells the parts."""
    keys = [slots_range((slot, slot))[0].hex() for slot in sorted(set(slots))]
    _begin(scheduler, {"kind": "split", "region": region, "keys": keys})


@schedule.command()
@click.argument("region", type=_REGION)
@click.option("--into", "target", type=_REGION, required=True, metavar="REGION", help="The neighbour that remains.")
@click.pass_obj
def merge(scheduler: Scheduler, region: int, target: int) -> None:
    """Merge a REGION into its neighbour, whose stores its replicas are brought to first."""
    _begin(scheduler, {"kind": "merge", "region": region, "target_region": target})


@schedule.command()
@click.argument("regions", metavar="REGION...", type=_REGION, nargs=-1, required=True)
@click.option("--group", default="", help="Regions of a group are spread evenly among each other.")
@click.pass_obj
def scatter(scheduler: Scheduler, regions: tuple[int, ...], group: str) -> None:
    """Spread regions, and who leads them, over the stores, such as the parts of one that was split."""
    answer = scheduler.asks.ask("POST", "/scatter", {"regions": sorted(set(regions)), "group": group})
    table = _table("region", "operator", "step", "next", "status")
    for operator in answer["operators"]:
        _add_operator(table, operator)
    scheduler.tell(answer, table if answer["operators"] else "Nothing has to be moved.")
    if answer["refused"]:
        raise Problem("; ".join(each["reason"] for each in answer["refused"]))


@schedule.command()
@click.argument("region", type=_REGION)
@click.pass_obj
def cancel(scheduler: Scheduler, region: int) -> None:
    """Cancel what is under way for a REGION."""
    operator = scheduler.asks.ask("DELETE", f"/operators/{region}")
    scheduler.tell(operator, f"{operator['name']} of region {region} is cancelled.")


@schedule.command()
@click.argument("store", type=_STORE)
@click.option("--stop", is_flag=True, help="Let it lead again.")
@click.pass_obj
def evict(scheduler: Scheduler, store: int, stop: bool) -> None:
    """Take all leadership away from a STORE, and keep it away."""
    evicted = set(scheduler.get("/config")["evict_leader"])
    evicted = evicted - {store} if stop else evicted | {store}
    answer = scheduler.asks.ask("PATCH", "/config", {"evict_leader": sorted(evicted)})
    scheduler.tell(answer, f"Store {store} may lead again." if stop else f"Store {store} gives its leaders to others.")


@schedule.command()
@click.argument("store", type=_STORE)
@click.option("--stop", is_flag=True, help="Let it stay after all.")
@click.pass_obj
def drain(scheduler: Scheduler, store: int, stop: bool) -> None:
    """Empty a STORE, leaders first; when it's empty it's taken out for good."""
    answer = scheduler.asks.ask("POST", f"/stores/{store}/{'cancel-offline' if stop else 'offline'}")
    scheduler.tell(answer, f"Store {store} is {answer['state']}, and holds {answer['regions']} replicas.")


@schedule.command()
@click.argument("store", type=_STORE)
@click.option("--lost", is_flag=True, help="It's gone for good with what it holds: make that anew at once.")
@click.pass_obj
def remove(scheduler: Scheduler, store: int, lost: bool) -> None:
    """
    Take a STORE out for good that is empty, or lost. Its number never comes back.

    With --lost that can be one that has never registered, if no region has a replica there any more.
    """
    answer = scheduler.asks.ask("DELETE", f"/stores/{store}{'?force=true' if lost else ''}")
    scheduler.tell(answer, f"Store {store} is a tombstone.")


@schedule.command()
@click.argument("name", metavar="SCHEDULER")
@click.argument("seconds", metavar="TIME")
@click.pass_obj
def pause(scheduler: Scheduler, name: str, seconds: str) -> None:
    """Let a SCHEDULER, such as balance-leader, do nothing for a while (10m); 0 lets it go on."""
    try:
        body = {"seconds": parse_duration(seconds)}
    except ValueError as problem:
        raise click.BadParameter(str(problem), param_hint="TIME") from problem
    answer = scheduler.asks.ask("POST", f"/schedulers/{name}/pause", body)
    scheduler.tell(answer, f"{name} is paused for {body['seconds']:g} s." if body["seconds"] else f"{name} goes on.")


@schedule.command()
@click.argument("changes", nargs=-1, metavar="[NAME=VALUE]...")
@click.pass_obj
def config(scheduler: Scheduler, changes: tuple[str, ...]) -> None:
    """Show the choices of the placement, or change some; values are as in JSON: max_down=600, labels='["zone"]'."""
    if not changes:
        answer = scheduler.get("/config")
    else:
        body: dict[str, Any] = {}
        for change in changes:
            name, equals, value = change.partition("=")
            if not equals:
                raise click.BadParameter(f"{change}: NAME=VALUE is needed")
            try:
                body[name] = json.loads(value)
            except ValueError as problem:
                raise click.BadParameter(f"{change}: the value isn't JSON ({problem})") from problem
        answer = scheduler.asks.ask("PATCH", "/config", body)
    table = _table("choice", "value")
    for name, value in answer.items():
        if not changes or name in body:
            table.add_row(name, json.dumps(value))
    scheduler.tell(answer, table)
