"""
Random sequences of commands of all families for our store and for a real redis-server: C{make proof-differential}.

Most run in this process, where memory can be taken away between commands; every tenth unit runs on the daemon as it's
started in production, with a budget that holds next to nothing. The first difference ends it, made as short as it can
be; what docs/compatibility.md names is not one. L{tests.redis.test_differential} is the short form.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.comparison import Comparison
from tests.proofs.report import Figures, Run, options
from tests.redis_server import BlockingClient, RedisServer
from tests.sequences import Generator, Step, shrink
from tests.sides import InstantSide, Side, SocketSide
from tests.system.daemon import Daemon

#: Sequences of a unit, and steps of a sequence.
SEQUENCES = 100
LENGTH = 40
UNITS = 100
SECONDS = 480.0
#: Every so many units are done by the daemon.
DAEMON_EVERY = 10
#: Memory for live values: plenty, none, a little.
BUDGETS = (1 << 30, 0, 20_000)

#: These seeds aren't those of the short form.
FIRST_SEED = 1_000_000

TEXT = """
Sequences of {length} steps over all families, in RESP2 and RESP3, from three clients: valid commands, mistakes,
transactions, blocking commands. Each was run on our store and on Debian's redis-server; every reply, and at the end all
that both hold, was the same, what `docs/compatibility.md` names aside. Nine of ten sequences ran in one process with
little or no memory for live values and with flushes and restarts of the cache in between, the others on the daemon.
"""


class Differs(Exception):
    """The two servers differ."""


def check(comparison: Comparison, seed: int) -> int:
    """
    Run the sequence of a seed.

    @return: How many commands it had.
    @raise Differs: With the sequence, made as short as it can be.
    """
    generator = Generator(seed, now_s=int(time.time()))
    steps = generator.steps(LENGTH)
    before = comparison.commands
    found = problem(comparison, steps, generator.proto)
    if found is None:
        return comparison.commands - before
    steps = shrink(steps, lambda tried: problem(comparison, tried, generator.proto) is not None)
    shortest = problem(comparison, steps, generator.proto)
    told = "\n".join(f"    {step}" for step in steps)
    raise Differs(f"seed {seed}, RESP{generator.proto}: {found}\nshortest:\n{told}\n{shortest}")


def problem(comparison: Comparison, steps: list[Step], proto: int) -> str | None:
    """Describe a difference, or a command of ours that failed unexpectedly."""
    found = comparison.difference(steps, proto)
    ours = comparison.ours
    if found is None and isinstance(ours, InstantSide) and ours.defects:
        name, defect = ours.defects[0]
        return f"{name} failed with {defect!r}"
    return found


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
    commands = 0
    with ExitStack() as stack:
        here = InstantSide()
        ours = stack.enter_context(daemon_side()) if by_daemon else here
        comparison = Comparison(ours, SocketSide(stack.enter_context(RedisServer()).connect))
        for place in range(SEQUENCES):
            here.budget = BUDGETS[place % 3]
            commands += check(comparison, FIRST_SEED + number * SEQUENCES + place)
    return {"sequences": SEQUENCES, "commands": commands, "sequences on the daemon": SEQUENCES if by_daemon else 0}


def main() -> int:
    """Run what is left of the proof."""
    units, seconds = options(sys.argv[1:], units=UNITS, seconds=SECONDS)
    run = Run("differential", units=units, seconds=seconds)
    try:
        complete = run.work(unit)
    except Differs as difference:
        print(difference, file=sys.stderr)
        return 1
    path = run.write("The same replies as Redis", TEXT.format(length=LENGTH))
    print(path)
    return 0 if complete else 2


if __name__ == "__main__":
    sys.exit(main())
