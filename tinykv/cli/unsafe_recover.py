"""
C{tinykv unsafe-recover}: what is left of a cluster whose majority is lost for good goes on without it.

Nothing can make that safe. What was acknowledged may have been on the lost stores alone, and should they come back,
there are two clusters that contradict each other. So it's done by hand, store by store, while they're stopped, and says
beforehand what it would do.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import click

from tinykv.cli.problems import Problem, problems_of
from tinykv.cli.screen import printer
from tinykv.cli.stopped import StoppedStore, hold
from tinykv.config_values import STORE_ID_MAX
from tinykv.raft.membership import votes_in
from tinykv.raft.messages import CHANGE
from tinykv.raft.stored import entry_of
from tinykv.region.descriptor import Descriptor, descriptor_key
from tinykv.storage.folder import open_folder
from tinykv.storage.schema import Identity

_WARNING = """\
THIS CAN LOSE ACKNOWLEDGED WRITES. It's for the case that a majority of the stores is lost for good: their disks are
gone. If they're only down or cut off, get them back instead; then nothing is lost.

- Writes that were acknowledged are lost if no survivor has them in its log.
- Writes that failed, or whose outcome was unknown, may turn out to have been done.
- The lost stores must never run again: they'd be a second cluster that contradicts this one.

Stop all survivors, and copy their folders first. Do the same with each of them, naming the same survivors; then start
them. At least a majority of the survivors has to run. If you name only one, take the one that has most of the log: the
greatest term of the last entry, and of those the greatest index. The others join again, with empty folders and new
numbers.
"""


class Part(NamedTuple):
    """
    What would be done to a region.

    @ivar last: Index and term of the last entry of its log; C{applied} of the last one that its rows contain.
    """

    last: tuple[int, int]
    applied: tuple[int, int]
    before: Descriptor
    after: Descriptor


class Plan(NamedTuple):
    """
    What would be done to a folder.

    @ivar parts: Its regions; C{untouched} those whose majority is among the survivors, or that this store only knows.
    @ivar empty: Those of which it has promised something and has nothing yet: neither rows nor a log.
    """

    identity: Identity
    parts: tuple[Part, ...]
    untouched: tuple[int, ...]
    empty: tuple[int, ...]


@click.command("unsafe-recover")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--survivor", "survivors", metavar="ID", type=click.IntRange(1, STORE_ID_MAX), multiple=True,
              required=True, help="A store that is left, this one among them; may be given several times.")
@click.option("--i-may-lose-writes", "apply", is_flag=True, help="Do it. Without this, only say what would be done.")
def unsafe_recover(folder: Path, survivors: tuple[int, ...], apply: bool) -> None:
    """
    Let a stopped store go on without a majority that is lost for good.

    Without --i-may-lose-writes nothing is changed.
    """
    out = printer()
    with problems_of(str(folder)):
        plan = look(folder, frozenset(survivors))
        out.print(_WARNING, markup=False, highlight=False)
        for part in plan.parts:
            before, after = part.before, part.after
            several = len(plan.parts) + len(plan.untouched) + len(plan.empty) > 1
            which = f", region {before.region}" if several else ""
            out.print(
                f"Store {plan.identity.store_id} in {folder}{which}: its log ends with entry {part.last[0]} of term"
                f" {part.last[1]}; entries up to {part.applied[0]} are in its rows.\n"
                f"Members now: stores {_listed(before.stores.values())}, of which {_listed(_voters(before))} vote.\n"
                f"Members then: stores {_listed(after.stores.values())}; all of them vote.",
                markup=False,
                highlight=False,
            )
        if plan.untouched:
            out.print(f"Regions that go on by themselves, and stay as they are: {_listed(plan.untouched)}.")
        if plan.empty:
            out.print(
                f"Regions of which nothing is here yet, neither rows nor a log: {_listed(plan.empty)}. They stay as"
                " they are, and come from the survivors that have them, once these have been done. If none has, they're"
                " lost.",
                markup=False,
                highlight=False,
            )
        if not apply:
            out.print("Nothing was changed. Add --i-may-lose-writes to do it.")
            return
        opened = open_folder(str(folder), plan.identity.store_id, plan.identity.cluster_id, ballast_bytes=0)
        try:
            for part in plan.parts:
                region = part.after.region
                opened.rewrite(region, part.applied, descriptor_key(region), part.after.encode())
        finally:
            opened.close()
        out.print(f"Done. Start store {plan.identity.store_id} when all survivors have been done.")


def look(folder: Path, survivors: frozenset[int]) -> Plan:
    """
    See what would be done to a folder.

    @raise Problem: It can't be done.
    @raise tinykv.errors.Fault: The folder can't be read.
    """
    with hold(folder) as held, StoppedStore(held) as store:
        own = store.identity.store_id
        if own not in survivors:
            raise Problem(f"{folder}: this is store {own}, and it's not among the survivors")
        regions, empty = _regions(store, f"{folder}")
        parts = [_part(store, before, f"{folder}") for before in regions]
    several = len(parts) > 1
    members = {member for part in parts for member in part.before.stores.values()}
    if not survivors <= members:
        wrong = _listed(survivors - members)
        raise Problem(f"{folder}: of the survivors, {wrong} isn't a member; members are {_listed(members)}")
    lost: list[Part] = []
    untouched: list[int] = []
    for part in parts:
        before, voters = part.before, _voters(part.before)
        left = survivors & set(before.stores.values())
        if 2 * len(survivors & voters) > len(voters) or own not in left:
            untouched.append(before.region)
        else:
            lost.append(part._replace(after=before.surviving(left)))
    if not lost:
        voters = _voters(parts[0].before)
        which = "everywhere " if several else ""
        raise Problem(
            f"{folder}: of stores {_listed(voters)}, which vote, {_listed(survivors)} are {which}a majority: they go on"
            " by themselves. Start them, and use `tinykv ctl remove-store`"
            + (f". Nothing is known here of regions {_listed(empty)}: look at stores that have them" if empty else "")
        )
    return Plan(store.identity, tuple(lost), tuple(untouched), tuple(empty))


def _regions(store: StoppedStore, folder: str) -> tuple[list[Descriptor], list[int]]:
    """
    Give the regions of which a store has a replica, as of what its rows contain; and those of which it has nothing.

    A replica that begins by another store's word may vote before it gets a copy. Whatever the store does, there are no
    rows of it until the region is led again.

    @raise Problem: What this store has isn't in the rows yet, or it has nothing at all.
    """
    found = store.descriptors()
    known = {descriptor.region for descriptor in found}
    missing = store.promised().keys() - known
    empty = sorted(region for region in missing if not store.last(region)[0])
    if len(empty) < len(missing) or not (found or empty):
        raise Problem(
            f"{folder}: who belongs to the cluster isn't in the rows yet; start this store, stop it in order "
            "(SIGTERM), and try again"
        )
    if not found:
        raise Problem(
            f"{folder}: there's nothing here to go on with: of regions {_listed(empty)}, in which this store votes, it"
            " has neither rows nor a log. Do it on survivors that have them"
        )
    return found, empty


def _part(store: StoppedStore, before: Descriptor, folder: str) -> Part:
    """
    See where a region stands.

    @raise Problem: It has a change of the members that isn't applied.
    """
    found = store.recover(before.region)
    for stored in store.entries(before.region, found.applied[0]):
        if entry_of(stored.index, stored.term, stored.data).kind == CHANGE:
            raise Problem(
                f"{folder}: entry {stored.index} changes the members and isn't applied; start this store, stop it "
                "in order (SIGTERM), and try again. If it isn't decided, take another survivor"
            )
    return Part(found.last, found.applied, before, before)


def _voters(descriptor: Descriptor) -> set[int]:
    """Name the stores that vote."""
    return {store for peer, store in descriptor.stores.items() if votes_in(descriptor.membership, peer)}


def _listed(stores: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(stores)))
