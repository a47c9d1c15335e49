"""
Throughput of three stores beside a single Redis: C{make proof-replicated}.

Three stores that replicate each other, each with every write fsynced, all on this machine as `make run STORES=3` starts
them, and one C{redis-server --appendonly yes --appendfsync always}. redis-benchmark loads the port of the store that
leads, and the Redis, in turns: SET and GET with 50 clients, and SET in pipelines of 16. The figures go to
docs/evidence/replicated.json and into docs/performance.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.proofs.behind import leader_of
from tests.proofs.beside_redis import (
    CLIENTS,
    REDIS_OPTIONS,
    Rates,
    Row,
    in_turns,
    rates_row,
    settle,
    share,
    show,
    single,
    teller,
    write,
)
from tests.proofs.report import surroundings
from tests.redis_server import RedisServer
from tests.sources import ROOT
from tests.system.stores import Loopback, Stores
from tests.system.test_clients import BENCHMARK

STORES = 3


@dataclass(frozen=True)
class Test:
    """
    One thing that is measured.

    @ivar name: As redis-benchmark calls it.
    @ivar pipeline: Requests that each client sends at once.
    @ivar weight: How many times the requests of a round: what goes fast is asked more.
    @ivar least: The share of what Redis does that is to be reached.
    """

    name: str
    pipeline: int
    weight: int
    least: float

    @property
    def label(self) -> str:
        """How it's called in tables."""
        return self.name if self.pipeline == 1 else f"{self.name} -P {self.pipeline}"


TESTS = (Test("SET", 1, 1, 0.3), Test("SET", 16, 4, 0.15), Test("GET", 1, 2, 0.6))


@dataclass
class Measured:
    """
    All figures of a run.

    @ivar rates: By label of the test and server, requests a second of each round.
    """

    rates: Rates = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        """The figures as rows."""
        return [rates_row(self.rates, test.label, f"{test.label}, {CLIENTS} clients, a second") for test in TESTS]

    @property
    def missed(self) -> list[str]:
        """Name what wasn't reached."""
        shares = {test: share(self.rates, test.label) for test in TESTS}
        return [
            f"{test.label} is {found:.2f} of Redis, not {test.least}"
            for test, found in shares.items()
            if found < test.least
        ]


def measure(ports: Mapping[str, int], rounds: int, requests: int, tell: Callable[[str], None]) -> Measured:
    """Measure the servers on these ports, in turns."""
    measured = Measured(machine=dict(surroundings(ROOT)))
    for number in range(rounds):
        for test in TESTS:
            for server, port in in_turns(ports, number):
                settle()
                rate = single(port, test.name, test.weight * requests, test.pipeline)
                measured.rates.setdefault(test.label, {}).setdefault(server, []).append(rate)
                tell(f"round {number + 1} of {rounds}: {test.label} {server}: {rate:,.0f}/s")
    return measured


def main(arguments: Sequence[str]) -> int:
    """Measure, show and write."""
    parser = argparse.ArgumentParser(description="Measure the throughput of three stores beside a single Redis.")
    parser.add_argument("--rounds", type=int, default=7, help="in turns (%(default)s)")
    parser.add_argument("--requests", type=int, default=50_000, help="of SET in a round (%(default)s)")
    parser.add_argument("--dry", action="store_true", help="write no files")
    found = parser.parse_args(arguments)
    if BENCHMARK is None:
        print("proof-replicated: redis-benchmark isn't installed", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder, Stores(Path(folder), Loopback(STORES)) as stores:
        with RedisServer(*REDIS_OPTIONS) as theirs:
            ours = stores.ports[leader_of(stores)]
            measured = measure({"ours": ours, "theirs": theirs.port}, found.rounds, found.requests, teller())
    show(measured.rows, f"Three stores of TinyKV beside one redis-server {' '.join(REDIS_OPTIONS)}")
    if not found.dry:
        write(ROOT / "docs", "proof-replicated", asdict(measured), measured.rows, measured.machine)
    for text in measured.missed:
        print(f"proof-replicated: {text}", file=sys.stderr)
    return 1 if measured.missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
