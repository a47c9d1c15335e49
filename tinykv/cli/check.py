"""
C{tinykv check}: is the folder of a stopped store sound? Reads everything and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import click
from rich.progress import Progress

from tinykv.cli.problems import Problem, problems_of
from tinykv.cli.rows_check import RowsCheck, Totals
from tinykv.cli.screen import printer, progress
from tinykv.cli.stopped import StoppedStore, hold, pending
from tinykv.errors import Damaged, Fault
from tinykv.raft.messages import CHANGE
from tinykv.raft.stored import entry_of
from tinykv.raft.wire import Malformed, decode_change
from tinykv.redis.commands import MODULES
from tinykv.redis.operations import decode_records
from tinykv.redis.table import commands_of
from tinykv.region.entry import HEADER_BYTES, decode_header
from tinykv.storage.check import check_folder
from tinykv.storage.errors import StorageError

#: Findings that are listed; of a file that's wholly broken there may be millions.
LISTED = 100


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def check(folder: Path) -> None:
    """
    Verify the files of a stopped store, or of a copy.

    Looks at both databases page by page, at the log, and at every row: encodings, trees, counters, the index of
    expiries. Changes nothing. Ends with status 1 if anything is wrong, and lists it.
    """
    out = printer()
    with problems_of(str(folder)), hold(folder) as held, progress() as bars:
        findings: list[str] = _files(folder, bars)
        untold = 0
        totals: Totals | None = None
        log = ""
        if not findings:
            with StoppedStore(held) as store:
                rows, entries = _sizes(store)
                log = _log_summary(store)
                bar = bars.add_task("rows", total=rows)
                walk = RowsCheck(store.data, store.data_path, lambda count: bars.advance(bar, count))
                totals = walk.totals
                for text in chain(_entries(store, bars, entries), _guarded(walk, store.data_path)):
                    if len(findings) < LISTED:
                        findings.append(text)
                    else:
                        untold += 1
    for text in findings:
        out.print(text)
    if untold:
        out.print(f"... and {untold} more")
    if totals is not None:
        databases = ", ".join(map(str, sorted(totals.databases))) or "none"
        out.print(f"log: {log}")
        out.print(
            f"rows: {totals.keys} keys in databases {databases} ({totals.expiring} with an expiry),"
            f" {totals.nodes} tree nodes, {totals.raw} raw entries"
        )
    if findings:
        raise Problem(f"{folder}: {len(findings) + untold} findings; nothing was changed")
    out.print(f"{folder}: no problems found")


def _files(folder: Path, bars: Progress) -> list[str]:
    """Let the storage look at both files and the logs."""
    bar = bars.add_task("pages", total=None)
    found = check_folder(str(folder), progress=lambda name, steps: bars.update(bar, completed=steps))
    bars.remove_task(bar)
    return found


def _sizes(store: StoppedStore) -> tuple[int, int]:
    """Count the rows and the log entries, for the bars."""
    tables = ("data", "default", "lock", "write", "region")
    rows = sum(store.data.execute(f'SELECT COUNT(*) FROM "{name}"').fetchone()[0] for name in tables)
    return rows, store.raft.execute("SELECT COUNT(*) FROM log").fetchone()[0]


def _regions(store: StoppedStore) -> list[int]:
    """Name the regions that have a log."""
    return [region for (region,) in store.raft.execute("SELECT region FROM hard_state ORDER BY region")]


def _log_summary(store: StoppedStore) -> str:
    """Say how far the logs are contained in the rows."""
    parts: list[str] = []
    for region in _regions(store):
        found = store.recover(region)
        waiting = pending(store.raft, region, found.applied[0])
        first, last = found.base[0] + 1, found.last[0]
        held = f"entries {first} to {last}" if last >= first else "no entries"
        part = f"region {region} holds {held}, applied to {found.applied[0]}"
        parts.append(part + (f"; the next start applies the other {waiting}" if waiting else ""))
    return "; ".join(parts) or "empty"


def _entries(store: StoppedStore, bars: Progress, total: int) -> Iterator[str]:
    """Check that every log entry can be read, and that what is known as committed is there."""
    table = commands_of(MODULES)
    bar = bars.add_task("log entries", total=total)
    for region in _regions(store):
        name = f"{store.raft_path}: region {region}"
        hard_state = store.raft.execute("SELECT commit_hint FROM hard_state WHERE region = ?", (region,)).fetchone()
        found = store.recover(region)
        if hard_state[0] > found.last[0]:
            yield f"{name}: entry {hard_state[0]} is committed, but the log ends at {found.last[0]}"
        last_time = 0
        for entry in store.entries(region, found.base[0]):
            bars.advance(bar)
            if not entry.data:
                continue
            try:
                read = entry_of(entry.index, entry.term, entry.data)
                if read.kind == CHANGE:
                    decode_change(read.data)
                    continue
                time, _ = decode_header(read.data)
                decode_records(read.data, HEADER_BYTES, table)
            except (Damaged, Malformed) as problem:
                yield f"{name}: entry {entry.index}: {problem}"
                continue
            if time < last_time:
                yield f"{name}: entry {entry.index} is of an earlier time than the one before it"
            last_time = time


def _guarded(walk: RowsCheck, path: str) -> Iterator[str]:
    """Walk over the rows; a failure to read on is a finding too."""
    try:
        yield from walk.findings()
    except StorageError as problem:
        yield str(problem)
    except Fault as problem:
        yield f"{path}: {problem}"
