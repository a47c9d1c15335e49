"""
C{tinykv ctl}: what operators see of a cluster that runs, and change, through any store's HTTP port.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any

import click
from rich.table import Column, Table

from tinykv.cli.ctl_http import Asks, HttpControl, UnknownOutcome
from tinykv.cli.ctl_schedule import Connect, schedule
from tinykv.cli.ctl_schedule_http import HttpScheduler
from tinykv.cli.problems import Problem
from tinykv.cli.screen import print_answer, printer, progress
from tinykv.config_values import STORE_ID_MAX, parse_duration
from tinykv.interfaces import CHECKSUM_SECONDS_MAX, CHECKSUM_SECONDS_USUAL
from tinykv.keys import SLOTS, slot_of
from tinykv.region.splitting import PARTS_MAX

#: How long one answer is awaited, in seconds; the leader itself waits for a majority, or for another to take over.
ANSWER_SECONDS = 30.0

#: How often is looked whether a change is done, in seconds.
LOOK_SECONDS = 0.5

#: What is said of a store that is no member yet, or whose last replica was taken from it.
_NO_REGION = "Store {store} has no region, and knows of none: ask another store."

_STORE = click.IntRange(1, STORE_ID_MAX)


@dataclass(frozen=True)
class Outside:
    """
    What the commands need of the world.

    @ivar connect: Makes a client of (URL, timeout in seconds); ValueError for what is no URL.
    @ivar pause: Waits for so many seconds.
    @ivar now: Tells the seconds since some moment.
    @ivar connect_scheduler: Makes a client of (URLs, what is shown); ValueError for what is no URL.
    """

    connect: Callable[[str, float], Asks] = HttpControl
    pause: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic
    connect_scheduler: Connect = HttpScheduler


@dataclass(frozen=True)
class Asked:
    """
    What all commands were told.

    @ivar as_json: Whether answers are printed as they came.
    """

    store: Asks
    outside: Outside
    as_json: bool

    def tell(self, answer: dict[str, Any], *shown: Table | str) -> None:
        """Print an answer: as JSON, or what is shown of it."""
        print_answer(answer, shown, as_json=self.as_json)


def _duration(ctx: click.Context, param: click.Parameter, text: str) -> float:
    """Read a length of time."""
    try:
        return parse_duration(text)
    except ValueError as problem:
        raise click.BadParameter(str(problem), ctx, param) from problem


_waiting = [
    click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until the change is done."),
    click.option("--timeout", callback=_duration, default="10m", show_default=True,
                 help="How long to wait for that; the change goes on anyway."),
]


def waits(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of those that wait."""
    for option in _waiting:
        command = option(command)
    return command


_in_region = click.option("--region", type=click.IntRange(1), default=None, metavar="ID",
                          help="Only in this region; `status` lists them.")  # fmt: skip


def _about(region: int | None, **fields: Any) -> dict[str, Any]:
    """Give the fields of a question, with the region if one is meant."""
    return fields if region is None else {**fields, "region": region}


@click.group()
@click.option("--url", default="http://127.0.0.1:20180", show_default=True,
              help="HTTP port of any store of the cluster (its options http_bind and http_port).")
@click.option("--json", "as_json", is_flag=True, help="Print the answers as JSON.")
@click.pass_context
def ctl(ctx: click.Context, url: str, as_json: bool) -> None:
    """
    Look at a running cluster, and change it.

    Any store can be asked; what only the leader can do is passed on to it. Ends with status 1 if a thing wasn't done,
    and with 3 if nobody can tell, or it's still under way.
    """
    outside = ctx.obj if isinstance(ctx.obj, Outside) else Outside()
    try:
        store = outside.connect(url, ANSWER_SECONDS)
    except ValueError as problem:
        raise click.BadParameter(f"{url}: {problem}", ctx, param_hint="--url") from problem
    ctx.obj = Asked(store, outside, as_json)


ctl.add_command(schedule)


@ctl.command()
@click.pass_obj
def members(asked: Asked) -> None:
    """List the stores of the cluster."""
    answer = asked.store.ask("members")
    table = Table("store", Column("address", overflow="fold"), "role", "reachable", "")
    for member in answer["members"]:
        leads = "leads" if member["leads"] else ""
        table.add_row(
            str(member["store"]), member["address"], member["role"], "yes" if member["up"] else "no", leads
        )
    said = f"As store {answer['store']} sees them."
    if answer["leader"] is None:
        said += " There's no leader: nothing can be read or written until a majority is there."
    asked.tell(answer, table, said)


@ctl.command()
@click.pass_obj
def status(asked: Asked) -> None:
    """
    Show how far every store is, region by region.

    An entry is decided when a majority has it (commit); then each store applies it. The lag is by how many entries a
    store's log is behind the leader's.
    """
    answer = asked.store.ask("status")
    shown: list[Table | str] = [] if answer["regions"] else [_NO_REGION.format(store=answer["store"])]
    for region in answer["regions"]:
        leader = "no leader" if region["leader"] is None else f"led by store {region['leader']}"
        shown.append(
            f"Region {region['region']}: slots {region['first']} to {region['last']}, term {region['term']}, {leader},"
            f" commit {region['commit']}, applied {region['applied']} on store {answer['store']}"
        )
        table = Table("store", "role", "has up to", "lag")
        for member in region["members"]:
            table.add_row(str(member["store"]), member["role"], _known(member["match"]), _known(member["lag"]))
        shown.append(table)
    if any(member["lag"] is None for region in answer["regions"] for member in region["members"]):
        shown.append("What isn't known here is '?'; the leader knows, and couldn't be asked.")
    asked.tell(answer, *shown)


def _known(number: int | None) -> str:
    return "?" if number is None else str(number)


@ctl.command("add-store")
@click.argument("store", metavar="ID", type=_STORE)
@click.argument("address")
@_in_region
@waits
@click.pass_obj
def add_store(asked: Asked, store: int, address: str, region: int | None, wait: bool, timeout: float) -> None:
    """
    Add a store to the cluster.

    ADDRESS is the host:port where the other stores reach it (its peer_advertise). It must be running, with join = yes
    and an empty folder. It first gets a copy of the data and gives no vote; when it has caught up it's a voter like
    the others.
    """
    answer = asked.store.ask("add-store", _about(region, store=store, address=address))
    if not wait:
        asked.tell(answer, f"Store {store} is a learner, and will be a voter when it has caught up.")
        return

    _wait(asked, store, f"store {store} catches up", "voter", timeout, region)
    asked.tell(answer, f"Store {store} is a voter.")


@ctl.command("remove-store")
@click.argument("store", metavar="ID", type=_STORE)
@_in_region
@waits
@click.pass_obj
def remove_store(asked: Asked, store: int, region: int | None, wait: bool, timeout: float) -> None:
    """
    Remove a store from the cluster, whether it runs or not.

    It's refused if those that would be left and can be reached are no majority. Its number isn't used again: the same
    host may come back with an empty folder and a new store_id.
    """
    answer = asked.store.ask("remove-store", _about(region, store=store))
    if not wait:
        asked.tell(answer, f"Store {store} is being removed.")
        return
    _wait(asked, store, f"store {store} leaves", None, timeout, region)
    if region is not None:
        asked.tell(answer, f"Store {store} has no replica of region {region} any more.")
        return
    asked.tell(
        answer,
        f"Store {store} is no member any more. If it runs it stops by itself as soon as the others know: let it, and "
        "don't start it with that folder again.",
    )


@ctl.command("transfer-leader")
@click.argument("store", metavar="[ID]", type=_STORE, required=False)
@click.option("--region", type=click.IntRange(1), default=None, metavar="ID",
              help="The region, where there are several; `status` lists them.")
@click.pass_obj
def transfer_leader(asked: Asked, store: int | None, region: int | None) -> None:
    """Hand leadership to a store; without ID, to the one of the others that has most of the log."""
    answer = asked.store.ask("transfer-leader", _about(region, store=store))
    asked.tell(answer, f"Store {answer['leader']} leads.")


@ctl.command()
@click.option("--slot", "slots", type=click.IntRange(1, SLOTS - 1), multiple=True,
              help="Let a part begin at this slot; may be given again, for more parts.")
@click.option("--key", "keys", multiple=True, help="Let a part begin at the slot of this key; may be given again.")
@click.option("--parts", type=click.IntRange(2, PARTS_MAX + 1), default=None, show_default="2",
              help="Without slots and keys: make so many parts of about as many keys.")
@click.option("--region", type=click.IntRange(1), default=None, metavar="ID",
              help="The region, where there are several; a slot or a key says it too.")
@click.pass_obj
def split(asked: Asked, slots: tuple[int, ...], keys: tuple[str, ...], parts: int | None, region: int | None) -> None:
    """
    Split a region in two, or in more parts.

    Each part is a region with a leader of its own; it begins on the stores of the whole, without its data being moved.
    Clients wait for a few milliseconds. A slot isn't cut. A command whose keys then lie in several regions is refused
    with CROSSSLOT, other than in one region.
    """
    places = {*slots, *map(_slot_of, keys)}
    if places and parts is not None:
        raise click.UsageError("--parts says how many parts are made where no --slot and no --key does")
    if len(places) > PARTS_MAX:
        raise click.UsageError(f"a region is split at {PARTS_MAX} slots at most at a time")
    fields: dict[str, Any] = {"slots": sorted(places)} if places else {"parts": parts or 2}
    answer = asked.store.ask("split", _about(region, **fields))
    table = Table("region", "first slot", "last slot")
    for part in answer["regions"]:
        table.add_row(str(part["region"]), str(part["first"]), str(part["last"]))
    asked.tell(answer, table, f"Region {answer['regions'][0]['region']} was split.")


@ctl.command()
@click.argument("region", metavar="REGION", type=click.IntRange(1))
@click.option("--into", "target", type=click.IntRange(1), required=True, metavar="ID",
              help="The region that it becomes a part of; they have to be neighbours.")
@click.pass_obj
def merge(asked: Asked, region: int, target: int) -> None:
    """
    Merge a REGION into its neighbour.

    Both have to have their replicas on the same stores, all of which are reached. Nothing is moved; clients of the
    REGION wait for a few milliseconds. It's gone then, and its number isn't used again. Where there's a scheduler,
    `tinykv ctl schedule merge` brings the replicas together first.
    """
    answer = asked.store.ask("merge", {"region": region, "target": target})
    (made,) = answer["regions"]
    slots = f"slots {made['first']} to {made['last']}"
    asked.tell(answer, f"Region {region} was merged into region {target}, which has {slots} now.")


def _slot_of(key: str) -> int:
    """
    Give the slot of a key.

    @raise click.BadParameter: No part can begin there.
    """
    slot = slot_of(os.fsencode(key))
    if not slot:
        raise click.BadParameter(f"{key!r} lies in slot 0, with which a region begins anyway", param_hint="--key")
    return slot


@ctl.command()
@click.option("--timeout", callback=_duration, default=f"{CHECKSUM_SECONDS_USUAL}s", show_default=True,
              help="How long a store may take for it, in each region; at most an hour.")
@_in_region
@click.pass_obj
def checksum(asked: Asked, region: int | None, timeout: float) -> None:
    """
    Compare what the stores hold, row by row, as of the same entry.

    Reads and writes go on meanwhile: each store reads its rows as they were at that entry, in a process of its own.
    Ends with status 1 if they differ, or if a store didn't say.
    """
    if not 1 <= timeout <= CHECKSUM_SECONDS_MAX:
        raise click.BadParameter("it must be from a second to an hour", param_hint="--timeout")
    with progress() as bars:
        bars.add_task("the stores sum up their rows", total=None)
        answer = _checksums(asked, region, timeout)
    table = Table("region", "entry", "store", "checksum")
    problems: list[str] = []
    for told in answer["regions"]:
        for replica in told["replicas"]:
            said = replica["checksum"]
            table.add_row(str(told["region"]), str(told["index"]), str(replica["store"]), said or "?")
            if said is None:
                why = replica.get("problem")
                problems.append(
                    f"store {replica['store']} didn't say what it has of region {told['region']}"
                    + (f": {why}" if why else "")
                )
        if len({replica["checksum"] for replica in told["replicas"]} - {None}) > 1:
            problems.append(f"the stores differ in region {told['region']}")
    asked.tell(answer, table)
    if problems:
        raise Problem("; ".join(problems))
    if not asked.as_json:
        printer().print("All stores hold the same.")


def _checksums(asked: Asked, region: int | None, timeout: float) -> dict[str, Any]:
    """
    Have the stores compared, region by region: each has its time.

    @raise Problem: It isn't known which regions there are, so that not all data would be compared.
    """
    fields: dict[str, Any] = {"timeout": ceil(timeout)}
    regions: list[int] = [] if region is None else [region]
    if region is None:
        status = asked.store.ask("status")
        views = status["regions"]
        if not views:
            raise Problem(_NO_REGION.format(store=status["store"]))
        missing = SLOTS - sum(view["last"] - view["first"] + 1 for view in views)
        if missing > 0:
            raise Problem(
                f"store {status['store']} can't tell now where {missing} of the {SLOTS} slots are, so nothing was "
                "compared: ask again, or ask another store; --region compares one that is known"
            )
        regions += [view["region"] for view in views]
    if region is None and len(regions) == 1:
        whole: dict[str, Any] = asked.store.ask("checksum", fields, longer=timeout)
        return whole
    answers = [asked.store.ask("checksum", _about(one, **fields), longer=timeout) for one in regions]
    found = [told for answer in answers for told in answer["regions"]]
    return {"store": answers[0]["store"] if answers else None, "regions": found}


def _roles(asked: Asked, region: int | None) -> tuple[dict[str, Any], dict[int, str]]:
    """Ask who the members are, of a region or of all of them; give the answer, and the role of each store."""
    view = asked.store.ask("members")
    if region is None:
        return view, {member["store"]: member["role"] for member in view["members"]}
    found = [one for one in asked.store.ask("status")["regions"] if one["region"] == region]
    if not found:
        raise Problem(f"there is no region {region}")
    return view, {member["store"]: member["role"] for member in found[0]["members"]}


def _wait(
    asked: Asked, store: int, what: str, wanted: str | None, seconds: float, region: int | None = None
) -> None:
    """
    Look until a store has the role that it's to have.

    A look that fails is tried again: there may be no leader for a moment. That a store is no member is believed to the
    leader, and to itself; others may not have heard of it yet.

    @param wanted: The role; None for no member.
    @raise Problem: It was to be a member, and was removed.
    @raise UnknownOutcome: The time is up.
    """
    deadline = asked.outside.now() + seconds
    with progress() as bars:
        bar = bars.add_task(what, total=None)
        most = 0
        while True:
            try:
                view, roles = _roles(asked, region)
                lag = _lag(asked.store.ask("status"), store)
            except Problem as problem:
                last = str(problem)
            else:
                role = roles.get(store)
                if role is not None or view["store"] in (view["leader"], store):
                    if role == wanted:
                        return
                    if role is None:
                        raise Problem(f"store {store} was removed meanwhile")
                last = f"it's {_article(role)} so far"
                if lag is not None:
                    last += f", {lag} entries behind"
                    most = max(most, lag)
                    bars.update(bar, total=most, completed=most - lag)
            if asked.outside.now() >= deadline:
                raise UnknownOutcome(f"waited in vain until {what}; {last}. It goes on: see `tinykv ctl status`")
            asked.outside.pause(LOOK_SECONDS)


def _article(role: str | None) -> str:
    """Put an article before a role."""
    if role is None:
        return "no member"
    return f"an {role} voter" if role == "outgoing" else f"a {role}"


def _lag(status: dict[str, Any], store: int) -> int | None:
    """Give by how many entries a store is behind, in all regions; None if nobody knows."""
    lags = [
        member["lag"]
        for region in status["regions"]
        for member in region["members"]
        if member["store"] == store and member["lag"] is not None
    ]
    return sum(lags) if lags else None
