"""
A million keys, and more data than memory: C{make proof-scale}.

Loads 1,000,000 keys of 100 bytes with pipelines as redis-benchmark sends them, and looks at the memory of all three
processes of the store, at the time from a start to the first reply, after a clean stop and after kill -9, and at the
keys. Then 400 MB of values under a budget of 32 MB: right, and bounded.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from tests.proofs.report import Figures, Run
from tests.redis_server import BlockingClient
from tests.system.daemon import Daemon

KEYS = 1_000_000
VALUE_BYTES = 100
PIPELINE = 1000
RESTART_SECONDS = 5.0
MEMORY_BYTES = 600 * 1024 * 1024

LARGE_KEYS = 100_000
LARGE_BYTES = 4_000
LARGE_BUDGET = "32mb"
#: What a store may take beside its budget: code, memory tables on their way, SQLite's pages.
LARGE_MEMORY_BYTES = 400 * 1024 * 1024
SAMPLES = 5_000

TEXT = """
Times are in ms, from the start of the process to the first reply; memory is in MB, of the store and its children,
with what they share counted once. Both restarts have to be below {restart:.0f} s, and the memory below {memory} MB.
The second part holds {large} MB of values in a store that may keep {budget} of live ones, and has to stay below
{large_memory} MB.
"""


class Missed(Exception):
    """A bound isn't kept, or data is wrong."""


def key_of(number: int) -> bytes:
    """Name a key as redis-benchmark does."""
    return b"key:%012d" % number


def value_of(number: int, size: int) -> bytes:
    """Give the value that a key must have."""
    return (b"%d/" % number * (size // 2))[:size]


def load(client: BlockingClient, keys: int, size: int) -> float:
    """Write all keys, a pipeline at a time; give the seconds that it took."""
    begin = time.monotonic()
    for start in range(0, keys, PIPELINE):
        numbers = range(start, min(start + PIPELINE, keys))
        replies = client.pipeline([(b"SET", key_of(number), value_of(number, size)) for number in numbers])
        if replies != [b"OK"] * len(replies):
            raise Missed(f"a SET was answered {set(map(repr, replies))}")
    return time.monotonic() - begin


def look(client: BlockingClient, keys: int, size: int) -> None:
    """Compare the count of keys and a sample of values."""
    count = client.call("DBSIZE")
    if count != keys:
        raise Missed(f"{count} keys instead of {keys}")
    random = Random(keys)
    for _ in range(SAMPLES // 100):
        numbers = [random.randrange(keys) for _ in range(100)]
        values = client.call("MGET", *map(key_of, numbers))
        if values != [value_of(number, size) for number in numbers]:
            raise Missed(f"a value among {numbers} is wrong")


def restart(daemon: Daemon) -> int:
    """Start a daemon that has ended; give the ms until it answered."""
    begin = time.monotonic()
    daemon.start()
    seconds = time.monotonic() - begin
    if seconds > RESTART_SECONDS:
        raise Missed(f"the first reply came after {seconds:.1f} s")
    return round(seconds * 1000)


def bounded(daemon: Daemon, limit: int, what: str) -> int:
    """Look at the memory; give it in MB."""
    memory = daemon.memory()
    if memory > limit:
        raise Missed(f"{memory / 2**20:.0f} MB resident {what}")
    return round(memory / 2**20)


def million(folder: Path, keys: int) -> Figures:
    """Load small keys, and restart twice."""
    with Daemon(folder, memory_budget="256mb") as daemon:
        client = daemon.connect()
        seconds = load(client, keys, VALUE_BYTES)
        figures = {
            "keys": keys,
            "SETs a second in pipelines": round(keys / seconds),
            "MB resident after loading": bounded(daemon, MEMORY_BYTES, "after loading"),
        }
        look(client, keys, VALUE_BYTES)
        # The hardest moment to be killed: much in the log, little of it in the rows.
        client.pipeline([(b"SET", key_of(number), value_of(number, VALUE_BYTES)) for number in range(PIPELINE)])
        client.close()
        daemon.kill()
        figures["ms to the first reply after kill -9"] = restart(daemon)
        figures["MB resident after that"] = bounded(daemon, MEMORY_BYTES, "after kill -9")
        client = daemon.connect()
        look(client, keys, VALUE_BYTES)
        client.close()
        daemon.stop()
        figures["ms to the first reply after a clean stop"] = restart(daemon)
        client = daemon.connect()
        look(client, keys, VALUE_BYTES)
        figures["MB resident after reading"] = bounded(daemon, MEMORY_BYTES, "after reading")
        client.close()
        daemon.stop()
    return figures


def larger_than_memory(folder: Path, keys: int) -> Figures:
    """Load more than the budget, and read it back."""
    with Daemon(folder, memory_budget=LARGE_BUDGET) as daemon:
        client = daemon.connect()
        load(client, keys, LARGE_BYTES)
        loaded = bounded(daemon, LARGE_MEMORY_BYTES, "after loading large values")
        for start in range(0, keys, 200):
            numbers = range(start, min(start + 200, keys))
            wanted = [value_of(number, LARGE_BYTES) for number in numbers]
            if client.call("MGET", *map(key_of, numbers)) != wanted:
                raise Missed(f"a value from {start} on is wrong")
        read = bounded(daemon, LARGE_MEMORY_BYTES, "after reading large values")
        look(client, keys, LARGE_BYTES)
        client.close()
        daemon.stop()
    return {
        "MB of large values": round(keys * LARGE_BYTES / 2**20),
        "MB resident after loading them": loaded,
        "MB resident after reading them all": read,
    }


def main() -> int:
    """Run both parts."""
    parser = argparse.ArgumentParser(description="The long form of the proof of scale; see docs/evidence.")
    parser.add_argument("--keys", type=int, default=KEYS, help="small keys (%(default)s)")
    parser.add_argument("--large-keys", type=int, default=LARGE_KEYS, help="large keys (%(default)s)")
    found = parser.parse_args()
    run = Run("scale", units=2, seconds=0)

    def unit(number: int) -> Figures:
        with tempfile.TemporaryDirectory() as folder:
            if number == 0:
                return million(Path(folder), found.keys)
            return larger_than_memory(Path(folder), found.large_keys)

    try:
        run.work(unit)
    except Missed as missed:
        print(f"proof-scale: {missed}", file=sys.stderr)
        return 1
    text = TEXT.format(
        restart=RESTART_SECONDS,
        memory=MEMORY_BYTES >> 20,
        large=found.large_keys * LARGE_BYTES >> 20,
        budget=LARGE_BUDGET,
        large_memory=LARGE_MEMORY_BYTES >> 20,
    )
    print(run.write("A million keys", text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
