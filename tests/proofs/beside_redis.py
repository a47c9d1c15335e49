"""
What the measurements beside C{redis-server --appendonly yes --appendfsync always} have in common.

All servers run at the same time on the same disk and are measured in turns, so that they meet the same machine; before
each turn the last one's work in the background comes to its end. A share is ours of theirs in the same round; what
counts is the median over the rounds.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from tests.system.processes import children_of
from tests.system.test_clients import BENCHMARK

CLIENTS = 50
KEYS = 1_000_000
VALUE_BYTES = 100
#: What Redis is given, to make every write durable before it answers.
REDIS_OPTIONS = ("--appendonly", "yes", "--appendfsync", "always")

#: Servers rest when they have taken less than this share of one core, for this many seconds; patience ends after more.
RESTING_SHARE = 0.2
RESTING_SECONDS = 0.5
SETTLING_SECONDS = 60.0

#: Of a table: what, ours, Redis, share; or what else stands in its columns.
Row = tuple[str, str, str, str]
COLUMNS: Final = ("TinyKV", "Redis", "share")
#: By name of the test and server (C{ours} and C{theirs}), requests a second of each round.
Rates = dict[str, dict[str, list[float]]]


def settle() -> None:
    """
    Wait until the servers rest: what one of them still writes behind its replies would be in another one's figures.

    @raise RuntimeError: They don't.
    """
    deadline = time.monotonic() + SETTLING_SECONDS
    before = _processor_seconds()
    while True:
        # Not to wait for something, but the span in which the processors' time is counted.
        time.sleep(RESTING_SECONDS)
        after = _processor_seconds()
        # Who has ended took what it had with it.
        if abs(after - before) < RESTING_SHARE * RESTING_SECONDS:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"the servers still work {SETTLING_SECONDS:.0f} s after their last request")
        before = after


def _processor_seconds() -> float:
    """Give the time that the processes below this one have had of the processors, in seconds."""
    pids = [os.getpid()]
    ticks = 0
    for pid in pids:
        pids += children_of(pid)
        try:
            fields = Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            # It has ended.
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def single(port: int, test: str, requests: int, pipeline: int = 1) -> float:
    """Let redis-benchmark do one test with 50 clients; give the requests a second."""
    assert BENCHMARK is not None
    options = ["-c", str(CLIENTS), "-n", str(requests), "-r", str(KEYS), "-d", str(VALUE_BYTES), "-P", str(pipeline)]
    command = [BENCHMARK, "-p", str(port), "--csv", *options, "-t", test.lower()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    rows = {row[0]: float(row[1]) for row in csv.reader(done.stdout.splitlines()) if row and row[0] == test}
    return rows[test]


def in_turns(ports: Mapping[str, int], number: int) -> list[tuple[str, int]]:
    """Give the servers in the order of a round: the one that is first in a round isn't the first in the next."""
    return list(ports.items())[:: 1 if number % 2 == 0 else -1]


def share(rates: Rates, test: str) -> float:
    """Give ours as a share of theirs: the median over the rounds."""
    ours, theirs = rates[test]["ours"], rates[test]["theirs"]
    return median(one / other for one, other in zip(ours, theirs, strict=True))


def rates_row(rates: Rates, test: str, what: str) -> Row:
    """Give the row of a test."""
    ours, theirs = median(rates[test]["ours"]), median(rates[test]["theirs"])
    return (what, f"{ours:,.0f}", f"{theirs:,.0f}", f"{share(rates, test):.2f}")


def marks(target: str) -> tuple[str, str]:
    """Give the lines of performance.md between which the table of a target of the Makefile stands."""
    return f"<!-- make {target} writes from here -->", "<!-- to here -->"


def write(
    docs: Path,
    target: str,
    figures: Mapping[str, Any],
    rows: Sequence[Row],
    machine: Mapping[str, str],
    columns: tuple[str, str, str] = COLUMNS,
) -> None:
    """
    Write the figures into evidence, and their table into performance.md; the rest of the page stays as it is.

    @param target: Of the Makefile; it gives the file its name.
    @param columns: What the rows say behind what they are about.
    @raise ValueError: The page lacks the marks.
    """
    evidence = docs / "evidence"
    evidence.mkdir(parents=True, exist_ok=True)
    text = json.dumps(figures, indent=1) + "\n"
    (evidence / f"{target.removeprefix('proof-')}.json").write_text(text, encoding="utf-8")
    lines = ["", f"| what | {' | '.join(columns)} |", "|---|---:|---:|---:|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", *(f"- {key}: {value}" for key, value in machine.items()), ""]
    begin_mark, end_mark = marks(target)
    path = docs / "performance.md"
    page = path.read_text("utf-8") if path.exists() else f"# Performance\n\n{begin_mark}\n{end_mark}\n"
    before, mark, rest = page.partition(begin_mark)
    _, end, after = rest.partition(end_mark)
    if not mark or not end:
        raise ValueError(f"{path} lacks the marks between which the figures go: {begin_mark} and {end_mark}")
    path.write_text(before + mark + "\n" + "\n".join(lines) + "\n" + end + after, encoding="utf-8")


def show(rows: Sequence[Row], title: str, columns: tuple[str, str, str] = COLUMNS) -> None:
    """Print the figures as a table."""
    table = Table("what", title=title)
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def teller() -> Callable[[str], None]:
    """Give what tells of the progress, on standard error."""
    console = Console(stderr=True)
    return lambda line: console.print(line, highlight=False)
