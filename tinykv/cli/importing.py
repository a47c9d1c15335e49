"""
C{tinykv import}: copies what a live Redis holds, key by key, by SCAN, DUMP and RESTORE.

It isn't a snapshot: keys that change meanwhile arrive as they were when their turn came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import click

from tinykv.cli.problems import Problem
from tinykv.cli.screen import printer, progress, quoted
from tinykv.cli.wire import Address, Wire, WireError
from tinykv.resp.reply_reader import ErrorReply, Reply

#: Errors that are listed one by one.
LISTED = 20


def _address(ctx: click.Context, param: click.Parameter, url: str) -> Address:
    """Read an argument that says where a server is."""
    try:
        return Address.parse(url)
    except ValueError as problem:
        raise click.BadParameter(f"{url}: {problem}", ctx, param) from problem


@dataclass
class Outcome:
    """
    What became of the keys.

    @ivar gone: Keys that vanished between SCAN and DUMP.
    @ivar present: Keys that the target has already, left as they were.
    @ivar failed: What went wrong, key by key; the first ones.
    """

    copied: int = 0
    gone: int = 0
    present: int = 0
    failures: int = 0
    failed: list[str] = field(default_factory=list)

    def fail(self, db: int, key: bytes, error: bytes) -> None:
        """Note that a key wasn't copied."""
        self.failures += 1
        if len(self.failed) < LISTED:
            self.failed.append(f"[{db}] {quoted(key)}: {error.decode('utf-8', 'backslashreplace')}")


@click.command("import")
@click.argument("source", metavar="redis://[:PASSWORD@]HOST[:PORT][/DB]", callback=_address)
@click.option("--to", "target", metavar="URL", callback=_address, default="redis://127.0.0.1:6379", show_default=True,
              help="The store that takes the keys.")
@click.option("--db", "numbers", type=click.IntRange(0), multiple=True,
              help="Copy only this database; may be given several times. Without it, all that hold keys.")
@click.option("--match", default="*", show_default=True, help="Copy only keys that match this pattern.")
@click.option("--replace", is_flag=True, help="Overwrite keys that the store has already.")
@click.option("--batch", type=click.IntRange(1, 10_000), default=100, show_default=True,
              help="Keys on their way at a time; less where values are large.")
def import_(source: Address, target: Address, numbers: tuple[int, ...], match: str, replace: bool, batch: int) -> None:
    """
    Copy the keys of a live Redis server into a running store.

    Databases keep their numbers, unless both URLs name one. Expiries are kept. The source should be quiet meanwhile:
    a key that changes arrives as it was at some moment. Ends with status 1 if any key wasn't copied, and says why.
    """
    if source.db is not None and numbers:
        raise Problem("--db: the source's URL names a database already")
    outcome = Outcome()
    try:
        with Wire(source) as reading, Wire(target) as writing, progress() as bars:
            chosen = list(numbers) or ([source.db] if source.db is not None else _databases(reading))
            if target.db is not None and len(chosen) > 1:
                raise Problem("--to: it names a database, so the source has to name one too")
            for db in chosen:
                reading.need("SELECT", db)
                writing.need("SELECT", db if target.db is None else target.db)
                size = reading.need("DBSIZE")
                bar = bars.add_task(f"database {db}", total=size if isinstance(size, int) else None)

                def done(count: int) -> None:
                    bars.advance(bar, count)  # noqa: B023 - called before the next database's turn

                copy(reading, writing, db, outcome, match=match, replace=replace, batch=batch, done=done)
    except WireError as problem:
        raise Problem(f"{problem}; {outcome.copied} keys were copied before") from problem
    _report(outcome)


def copy(
    reading: Wire,
    writing: Wire,
    db: int,
    outcome: Outcome,
    *,
    match: str,
    replace: bool,
    batch: int,
    done: Callable[[int], None],
) -> None:
    """
    Copy the selected database.

    @param db: Its number, for the outcome.
    @param done: Told how many keys are done with.
    @raise WireError: A connection broke.
    """
    options = ("REPLACE",) if replace else ()
    for keys in _batches(scan(reading, match, batch), batch):
        replies = reading.batch(command for key in keys for command in (("PTTL", key), ("DUMP", key)))
        wanted: list[tuple[bytes, int, bytes]] = []
        for key, ttl, payload in zip(keys, replies[::2], replies[1::2], strict=True):
            if isinstance(payload, bytes) and isinstance(ttl, int) and ttl != -2:
                # A key without an expiry says -1, which RESTORE writes 0; one in its last millisecond says 0.
                wanted.append((key, 0 if ttl == -1 else max(ttl, 1), payload))
            elif isinstance(payload, ErrorReply):
                outcome.fail(db, key, payload.text)
            else:
                outcome.gone += 1
        answers = writing.batch(("RESTORE", key, ttl, payload, *options) for key, ttl, payload in wanted)
        for (key, _, _), answer in zip(wanted, answers, strict=True):
            if not isinstance(answer, ErrorReply):
                outcome.copied += 1
            elif answer.text.startswith(b"BUSYKEY"):
                outcome.present += 1
            else:
                outcome.fail(db, key, answer.text)
        done(len(keys))


def scan(reading: Wire, match: str, count: int) -> Iterator[bytes]:
    """
    Give the keys of the selected database; one that the server's SCAN names twice comes twice.

    @raise WireError: The server refuses.
    """
    cursor = b"0"
    while True:
        reply = reading.need("SCAN", cursor, "MATCH", match, "COUNT", count)
        cursor, keys = _scanned(reply, reading)
        yield from keys
        if cursor == b"0":
            return


def _scanned(reply: Reply, reading: Wire) -> tuple[bytes, list[bytes]]:
    match reply:
        case [bytes(cursor), list(keys)]:
            return cursor, [key for key in keys if isinstance(key, bytes)]
    raise WireError(f"{reading.address}: SCAN: not the reply of a Redis")


def _batches(keys: Iterator[bytes], size: int) -> Iterator[list[bytes]]:
    while some := list(dict.fromkeys(islice(keys, size))):
        yield some


def _databases(reading: Wire) -> list[int]:
    """Name the databases that hold keys."""
    reply = reading.need("INFO", "keyspace")
    text = reply if isinstance(reply, bytes) else b""
    lines = [line.partition(b":")[0] for line in text.splitlines() if line.startswith(b"db")]
    return [int(name[2:]) for name in lines if name[2:].isdigit()]


def _report(outcome: Outcome) -> None:
    """Say what became of the keys."""
    out = printer()
    for line in outcome.failed:
        out.print(line)
    if outcome.failures > len(outcome.failed):
        out.print(f"... and {outcome.failures - len(outcome.failed)} more")
    gone = f", {outcome.gone} vanished meanwhile" if outcome.gone else ""
    out.print(f"{outcome.copied} keys copied{gone}")
    left: list[str] = []
    if outcome.failures:
        left.append(f"{outcome.failures} keys couldn't be copied")
    if outcome.present:
        left.append(f"{outcome.present} keys were there already and were left as they were (--replace overwrites)")
    if left:
        raise Problem("; ".join(left))
