"""
Is a data folder sound? For an operator who doubts a disk: reads everything and changes nothing.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator

from tinykv.storage.checksum import entry_checksum, numbers_checksum, row_checksum
from tinykv.storage.errors import StorageError
from tinykv.storage.log import read_base, read_last, read_terms
from tinykv.storage.log_end import verify_end
from tinykv.storage.schema import Kind, connect_to_look, errors_of, inspect
from tinykv.storage.snapshot_install import half_installed
from tinykv.storage.sums import PageSums, frames
from tinykv.storage.tables import FAMILIES

#: (file, thousands of steps of SQLite so far)
Progress = Callable[[str, int], None]

#: Steps of SQLite's machine between two calls of the progress callback.
_STEPS: int = 100_000


def check_folder(path: str, *, quick: bool = False, progress: Progress | None = None) -> list[str]:
    """
    Check both files: SQLite's own check, all checksums, the continuity of every log, that base <= applied <= last, and
    that no region is half installed.

    The folder should be locked or unused meanwhile (L{tinykv.storage.folder.lock_folder}).

    @param quick: leave out the comparison of indexes with tables.
    @return: what is wrong, one sentence each; empty if all is well.
    """
    problems: list[str] = []
    connections: dict[Kind, sqlite3.Connection] = {}
    try:
        for kind in Kind:
            name = os.path.join(path, kind.value)
            try:
                if inspect(name, kind, newest=True) is None:
                    problems.append(f"{name}: missing, or its creation was never finished")
                    continue
                with errors_of(name):
                    verify_end(name)
                    sums = PageSums.load(name)
                    if sums is not None:
                        sums.verify({page for page, _, _ in frames(name)})
                    connections[kind] = connect_to_look(name)
                    problems += check_file(connections[kind], name, quick=quick, progress=progress)
                    if kind is Kind.DATA:
                        problems += half_installed(connections[kind], name).values()
            except StorageError as error:
                problems.append(str(error))
        if len(connections) == len(Kind) and not problems:
            name = os.path.join(path, Kind.RAFT.value)
            try:
                with errors_of(name):
                    problems += check_logs(connections[Kind.RAFT], connections[Kind.DATA], name)
            except StorageError as error:
                problems.append(str(error))
    finally:
        for connection in connections.values():
            connection.close()
    return problems


def check_file(
    connection: sqlite3.Connection, name: str, *, quick: bool = False, progress: Progress | None = None
) -> list[str]:
    """
    Let SQLite check a file; then compare the checksums.

    @raise sqlite3.Error: it is too damaged for that.
    """
    if progress is not None:
        steps = 0
        told = progress

        def step() -> int:
            nonlocal steps
            steps += _STEPS // 1000
            told(name, steps)
            return 0

        connection.set_progress_handler(step, _STEPS)
    found = connection.execute(f"PRAGMA {'quick_check' if quick else 'integrity_check'}").fetchall()
    problems = [f"{name}: {text}" for (text,) in found if text != "ok"]
    if not problems:
        problems += _checksums(connection, name)
    connection.set_progress_handler(None, 0)
    return problems


def _checksums(connection: sqlite3.Connection, name: str) -> Iterator[str]:
    """
    Compare everything that has a checksum with it, whichever of the two files it is.
    """
    tables = {table for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "log" in tables:
        yield from log_checksums(connection, name)
    for family in FAMILIES:
        if family in tables:
            for key, crc, value in connection.execute(f'SELECT key, crc, value FROM "{family}"'):
                if crc != row_checksum(key, value):
                    yield f"{name}: the row {key!r} of {family} isn't what was written there"


def log_checksums(connection: sqlite3.Connection, name: str) -> Iterator[str]:
    """
    Compare what raft.db holds with its checksums, and say where they differ.
    """
    for region, index, term, crc, data in connection.execute("SELECT region, idx, term, crc, data FROM log"):
        if crc != entry_checksum(region, index, term, data):
            yield f"{name}: entry {index} of region {region} isn't what was written there"
    tables = {
        "hard_state": "region, peer, term, vote, commit_hint",
        "log_base": "region, idx, term",
        "log_mark": "region, idx, place",
    }
    if connection.execute("PRAGMA user_version").fetchone()[0] < 2:
        # It's compared before it's raised to the newest format.
        del tables["log_mark"]
    for table, columns in tables.items():
        for row in connection.execute(f"SELECT {columns}, crc FROM {table}"):
            if row[-1] != numbers_checksum(*row[:-1]):
                yield f"{name}: the row of region {row[0]} in {table} isn't what was written there"


def check_logs(raft: sqlite3.Connection, data: sqlite3.Connection, name: str) -> Iterator[str]:
    """
    Yield what is wrong with the logs.

    @param name: of raft.db, for the sentences.
    """
    regions = {
        region
        for table in ("log", "log_base", "hard_state")
        for (region,) in raft.execute(f"SELECT DISTINCT region FROM {table}")
    }
    counts = dict(raft.execute("SELECT region, COUNT(*) FROM log GROUP BY region"))
    for region in sorted(regions):
        base, base_term = read_base(raft, region)
        last, _ = read_last(raft, region)
        expected, term = base + 1, base_term
        found = 0
        for index, entry_term in read_terms(raft, region):
            found += 1
            if index != expected:
                yield f"{name}: region {region}: entry {index} stands where entry {expected} should be"
                break
            if entry_term < term:
                yield f"{name}: region {region}: entry {index} has term {entry_term}, and {term} stood before"
            expected, term = index + 1, entry_term
        else:
            if found != counts.get(region, 0):
                yield f"{name}: region {region}: {counts[region]} entries are there, but marks lead to {found} of them"
        row = data.execute(
            "SELECT value FROM region WHERE key = ?", (b"apply" + region.to_bytes(8, "big"),)
        ).fetchone()
        applied = 0 if row is None else int.from_bytes(row[0][:8], "big")
        if base > applied:
            yield f"{name}: region {region}: the log begins after entry {base}, but only {applied} is applied"
        if applied > last:
            yield (
                f"{name}: region {region}: entry {applied} is applied, but the log ends at {last}. Either the store "
                "ended just when it had installed a snapshot, or this is an older copy of the file"
            )
