"""
C{make proof-catchup}: a store that was away for a million writes catches up by a snapshot, while the others serve.

Three stores; one is killed with kill -9. Then 1,000,000 writes are acknowledged by the two others: strings, counters,
lists, sets, sorted sets and hashes, expiries, and raw keys of all column families, in pipelines over four connections.
That is far more than the log keeps here (C{log_bytes_max = 16mb}). Then clients begin to write to the store that leads,
each SET when its time has come whether or not others are answered, and the third store is started again.

    - It gets a snapshot, as its own count of snapshots says, and has soon what the others have;
    - meanwhile writes go on: the longest time in which none is acknowledged is bounded;
    - in the end all three stores sum up their rows to the same, as `tinykv ctl checksum` compares them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from tests.proofs.behind import Command, Load, Missed, Return, away_and_back, prove, teller
from tests.proofs.report import Figures

WRITES = 1_000_000
VALUE_BYTES = 100
#: How long the store may take to catch up, in seconds.
CATCH_UP_SECONDS = 120.0
#: How long there may be no acknowledged write meanwhile, in ms.
GAP_MS = 1000.0
LOG_BYTES_MAX = "16mb"
MEMTABLE_BYTES = "32mb"


def writes(count: int, seed: int = 1) -> Iterator[Command]:
    """Give so many commands that write, of all kinds."""
    random = Random(seed)
    value = random.randbytes(VALUE_BYTES)
    for number in range(count):
        which = random.randrange(20)
        some = random.randrange(5_000)
        name, element = b"%d" % (some % 7), b"element:%d" % some
        if which < 10:
            yield b"SET", b"string:%d" % random.randrange(100_000), b"%d/" % number + value
        elif which < 11:
            yield b"SET", b"due:%d" % some, value, b"PXAT", b"%d" % (4_000_000_000_000 + number)
        elif which < 12:
            yield b"INCR", b"counter:%d" % some
        elif which < 13:
            yield b"HSET", b"hash:" + name, element, b"%d" % number
        elif which < 14:
            yield b"SADD", b"set:" + name, element
        elif which < 15:
            yield b"ZADD", b"sorted:" + name, b"%d" % number, element
        elif which < 16:
            yield (b"RPUSH", b"list:" + name, element) if number % 3 else (b"LPOP", b"list:" + name)
        elif which < 17:
            yield b"DEL", b"string:%d" % random.randrange(100_000)
        else:
            family = (b"default", b"lock", b"write")[which - 17]
            yield b"RAW.PUT", family, b"raw:%d" % random.randrange(10_000), b"%d/" % number + value


def catch_up(folder: Path, count: int, load: Load, **options: str) -> tuple[Figures, Return]:
    """
    Do it once.

    @raise Missed: The stores differ, or one isn't as it should be.
    """

    def written(done: int, took: float) -> Figures:
        return {"acknowledged writes": done, "of these a second": round(done / took)}

    # What isn't in data.db can't be cut off the log, and a larger table would take all that is written to these keys.
    options = {"log_bytes_max": LOG_BYTES_MAX, "memtable_bytes": MEMTABLE_BYTES, **options}
    return away_and_back(folder, writes(count), load, CATCH_UP_SECONDS, teller("catchup"), written=written, **options)


def judge(back: Return) -> None:
    """
    Compare with the bound.

    @raise Missed: It isn't kept.
    """
    if back.longest_gap > GAP_MS:
        raise Missed(f"no write was acknowledged for {back.longest_gap:.0f} ms, more than {GAP_MS:.0f}")


def main(arguments: Sequence[str]) -> int:
    """Run the long form."""
    parser = argparse.ArgumentParser(description="The long form of a proof; see docs/evidence.")
    parser.add_argument("--writes", type=int, default=WRITES, help="while the store is away (%(default)s)")
    parser.add_argument("--rate", type=float, default=Load.rate, help="SETs a second while it's back (%(default)s)")
    found = parser.parse_args(arguments)
    return prove(
        "catchup",
        lambda folder: catch_up(folder, found.writes, Load(rate=found.rate)),
        judge,
        "A store catches up by a snapshot",
        __doc__,
        f"It has {CATCH_UP_SECONDS:.0f} s to catch up, and no time without a write may last {GAP_MS:.0f} ms.",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
