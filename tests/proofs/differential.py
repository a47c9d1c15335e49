"""
Random sequences of commands of all families for our store and for a real redis-server: C{make proof-differential}.

Hypothesis makes them. Most run in this process, where memory can be taken away between commands; every tenth unit runs
on the daemon as it's started in production, with a budget that holds next to nothing. The first difference ends it,
with a sequence that Hypothesis made as small as it can be; what docs/compatibility.md names is not one.
L{tests.redis.test_differential} is the short form.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.comparison import Comparison, Differs, compare_sequences
from tests.proofs.report import Figures, Run, options
from tests.redis_server import BlockingClient, RedisServer
from tests.sequences import LENGTH
from tests.sides import InstantSide, Side, SocketSide
from tests.system.daemon import Daemon

#: Sequences of a unit.
SEQUENCES = 250
UNITS = 40
SECONDS = 480.0
#: Every so many units are done by the daemon.
DAEMON_EVERY = 10

#: These seeds aren't those of the short form, and each unit has its own.
FIRST_SEED = 1_000_000
SEEDS_OF_A_UNIT = 1000

TEXT = """
Sequences of up to {length} steps that Hypothesis made over all families, in RESP2 and RESP3, from three clients: valid
commands, mistakes, transactions, blocking commands. Each was run on our store and on Debian's redis-server; every
reply, and at the end all that both hold, was the same, what `docs/compatibility.md` names aside. Nine of ten sequences
ran in one process with little or no memory for live values and with flushes and restarts of the cache in between, the
others on the daemon. The few of less than {least} steps, with which Hypothesis begins, aren't counted.
"""


@contextmanager
def daemon_side() -> Iterator[Side]:
    """Start a daemon that hardly caches anything."""
    with tempfile.TemporaryDirectory() as folder, Daemon(
        Path(folder), memory_budget="1mb", memtable_bytes="1mb", durability="os"
    ) as daemon:
        yield SocketSide(lambda: BlockingClient.tcp("127.0.0.1", daemon.port))


def unit(number: int) -> Figures:
    """Run a unit's sequences."""
    by_daemon = number % DAEMON_EVERY == DAEMON_EVERY - 1
    with ExitStack() as stack:
        ours = stack.enter_context(daemon_side()) if by_daemon else InstantSide()
        comparison = Comparison(ours, SocketSide(stack.enter_context(RedisServer()).connect))
        now_s = int(time.time())
        first = FIRST_SEED + number * SEEDS_OF_A_UNIT
        for seed in range(first, first + SEEDS_OF_A_UNIT):
            if comparison.sequences >= SEQUENCES:
                break
            try:
                compare_sequences(comparison, seed, now_s)
            except Differs as difference:
                raise Differs(f"{difference}\nseed {seed}, unit {number}") from difference
    return {
        "sequences": comparison.sequences,
        "commands": comparison.commands,
        "sequences on the daemon": comparison.sequences if by_daemon else 0,
    }


def main() -> int:
    """Run what is left of the proof."""
    units, seconds = options(sys.argv[1:], units=UNITS, seconds=SECONDS)
    run = Run("differential", units=units, seconds=seconds)
    try:
        complete = run.work(unit)
    except Differs as difference:
        print(difference, file=sys.stderr)
        return 1
    path = run.write("The same replies as Redis", TEXT.format(length=LENGTH, least=LENGTH // 2))
    print(path)
    return 0 if complete else 2


if __name__ == "__main__":
    sys.exit(main())
