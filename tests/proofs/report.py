"""
What the long forms have in common: they are bounded in time, go on where they were interrupted, and write their
figures, with the state of the sources and the machine they were taken on, into docs/evidence.

A proof is a number of units, each of some seconds. After each its figures are added up in C{.proofs/NAME.json}, so that
a run that was interrupted, or was given too little time, is continued by the next one; with other sources it begins
anew.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.sources import ROOT

#: The sources that a proof is about, and those of the proofs.
SOURCES = ("tinykv", "tests/proofs", "tests/schedule", "tests/system", "tests/testing")

#: What one unit found out: figures that add up over the units.
Figures = dict[str, int]


class Run:
    """
    One run of a proof.

    @ivar name: Of the proof.
    @ivar figures: The sums over all units so far.
    @ivar done: How many units those are.
    """

    def __init__(self, name: str, *, units: int, seconds: float, resume: bool = True, root: Path = ROOT) -> None:
        """
        @param units: How many there are.
        @param seconds: No unit is begun after these; 0 for no bound.
        @param resume: Whether an earlier run that wasn't finished is continued.
        """
        self.name = name
        self.units = units
        self._seconds = seconds
        self._root = root
        self._state = root / ".proofs" / f"{name}.json"
        self._sources = digest_of_sources(root)
        #: As of the beginning: what is running is what was there then.
        self._surroundings = surroundings(root)
        self.done = 0
        self.took = 0.0
        self.figures: Figures = {}
        if resume and self._state.exists():
            state = json.loads(self._state.read_text())
            if state["sources"] == self._sources and state["done"] < units:
                self.done, self.took, self.figures = state["done"], state["took"], state["figures"]

    def work(self, unit: Callable[[int], Figures]) -> bool:
        """
        Do the units that are left, and tell of each on standard error.

        @param unit: Does one, given its number; raises if what is to be proven doesn't hold.
        @return: Whether all are done.
        """
        begin = time.monotonic()
        while self.done < self.units:
            if self._seconds and time.monotonic() - begin > self._seconds:
                return False
            started = time.monotonic()
            for key, figure in unit(self.done).items():
                self.figures[key] = self.figures.get(key, 0) + figure
            self.done += 1
            self.took += time.monotonic() - started
            self._save()
            told = ", ".join(f"{figure} {key}" for key, figure in self.figures.items())
            place = f"{self.done}/{self.units}, {self.took:.0f} s"
            print(f"proof-{self.name}: {place}: {told}", file=sys.stderr, flush=True)
        return True

    def _save(self) -> None:
        self._state.parent.mkdir(exist_ok=True)
        state = {"sources": self._sources, "done": self.done, "took": self.took, "figures": self.figures}
        waiting = self._state.with_suffix(".new")
        waiting.write_text(json.dumps(state))
        waiting.replace(self._state)

    def write(self, title: str, text: str) -> Path:
        """
        Write docs/evidence/NAME.md.

        @param text: What was done and what it shows; the figures follow it.
        """
        lines = [f"# {title}", "", text.strip(), "", "| figure | value |", "|---|---|"]
        lines += [f"| {key} | {figure:,} |" for key, figure in self.figures.items()]
        lines += ["", f"Made by `make proof-{self.name}`, {self.done} of {self.units} units, in {self.took:.0f} s.", ""]
        lines += [f"- {key}: {value}" for key, value in self._surroundings]
        path = self._root / "docs" / "evidence" / f"{self.name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path


@contextmanager
def folder_of(name: str) -> Iterator[Path]:
    """Make a folder for a part of a proof, and delete it in the end; if that fails, say where what is left is."""
    folder = Path(tempfile.mkdtemp(prefix=f"tinykv-{name}-"))
    try:
        yield folder
    except BaseException:
        print(f"what is left is in {folder}", file=sys.stderr)
        raise
    # Stores' helper processes may be about to end: they notice that nobody is there any more.
    shutil.rmtree(folder, ignore_errors=True)


def prose(docstring: str | None) -> str:
    """Turn the docstring of a proof, from behind its first colon, into Markdown."""
    text = (docstring or "").partition("}: ")[2]
    text = re.sub(r"[CLU]\{([^}]*)\}", r"`\1`", text)
    return (text[:1].upper() + text[1:]).replace("\n    - ", "\n- ").replace("\n      ", "\n  ")


def options(arguments: Sequence[str], *, units: int, seconds: float) -> tuple[int, float]:
    """Read (units, seconds) from a proof's command line; what is given here are the defaults."""
    parser = argparse.ArgumentParser(description="The long form of a proof; see docs/evidence.")
    parser.add_argument("--units", type=int, default=units, help="units of work (%(default)s)")
    parser.add_argument("--seconds", type=float, default=seconds, help="begin none after these (%(default)s)")
    found = parser.parse_args(arguments)
    return found.units, found.seconds


def digest_of_sources(root: Path) -> str:
    """Sum up the sources that a proof is about, and those of the proofs."""
    seen = sha256()
    for part in SOURCES:
        for path in sorted((root / part).rglob("*.py")):
            seen.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return seen.hexdigest()


def surroundings(root: Path) -> list[tuple[str, str]]:
    """Describe the sources, the day and the machine."""
    return [
        ("Commit", commit_of(root)),
        ("Date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("Machine", f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"),
        ("Software", f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"),
    ]


def commit_of(root: Path) -> str:
    """Name the commit; and say if the sources differ from it."""
    head = _git(root, "rev-parse", "HEAD")
    if head is None:
        return f"none; the sources' digest is {digest_of_sources(root)[:16]}"
    changed = _git(root, "status", "--porcelain", "--", *SOURCES)
    return head + (f" with changes, the sources' digest is {digest_of_sources(root)[:16]}" if changed else "")


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done: Any = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return str(done.stdout).strip() if done.returncode == 0 else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
