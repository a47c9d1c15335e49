"""
C{make proof-snapshot}: a snapshot of 500 MB is made, sent and installed, and clients hardly notice.

Three stores with default settings; one is killed with kill -9, and 500 MB of values of 2,000 bytes are written to the
two others: more than the log keeps. Then clients send SETs to the store that leads, each when its time has come whether
or not others are answered, so that a store which rests is seen by all requests of that time. Their latencies are told
for some seconds in which nothing else happens, and then from the start of the third store until it has caught up: while
its snapshot is made, sent, and installed. All of that happens on one machine and one disk. In the end all three stores
sum up their rows to the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from tests.proofs.behind import Command, Load, Missed, Return, away_and_back, prove, teller
from tests.proofs.report import Figures

MEGABYTES = 500
VALUE_BYTES = 2_000
#: Of a SET, while the snapshot is made, sent and installed.
P99_MS = 100.0
#: How long the store may take to catch up, in seconds.
CATCH_UP_SECONDS = 150.0
#: Between the writes and the load, in seconds: what was written gets to data.db.
SETTLE_SECONDS = 5.0


def writes(megabytes: int, seed: int = 1) -> Iterator[Command]:
    """Give SETs of different keys, with values that can't be compressed."""
    random = Random(seed)
    pool = random.randbytes(1 << 20)
    for number in range(megabytes * 1_000_000 // VALUE_BYTES):
        place = random.randrange(len(pool) - VALUE_BYTES)
        yield b"SET", b"data:%09d" % number, pool[place : place + VALUE_BYTES]


def measure(folder: Path, megabytes: int, load: Load, **options: str) -> tuple[Figures, Return]:
    """
    Do it once.

    @raise Missed: The stores differ, or one isn't as it should be.
    """

    def written(done: int, took: float) -> Figures:
        return {"MB of values": megabytes, "s to write them": round(took)}

    return away_and_back(
        folder,
        writes(megabytes),
        load,
        CATCH_UP_SECONDS,
        teller("snapshot"),
        written=written,
        settle=SETTLE_SECONDS,
        **options,
    )


def judge(back: Return) -> None:
    """
    Compare with the bound.

    @raise Missed: It isn't kept.
    """
    p99 = back.during.percentile(99)
    if p99 >= P99_MS:
        raise Missed(f"p99 of SET is {p99:.0f} ms, not below {P99_MS:.0f}")


def main(arguments: Sequence[str]) -> int:
    """Run the long form."""
    parser = argparse.ArgumentParser(description="The long form of a proof; see docs/evidence.")
    parser.add_argument("--megabytes", type=int, default=MEGABYTES, help="of values (%(default)s)")
    parser.add_argument("--rate", type=float, default=Load.rate, help="SETs a second (%(default)s)")
    found = parser.parse_args(arguments)
    return prove(
        "snapshot",
        lambda folder: measure(folder, found.megabytes, Load(rate=found.rate)),
        judge,
        "A snapshot under load",
        __doc__,
        f"The p99 of SET has to be below {P99_MS:.0f} ms all the time.",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
