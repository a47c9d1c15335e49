"""
Throughput and latency beside C{redis-server --appendonly yes --appendfsync always}: C{make bench}.

Both servers run at the same time on the same disk and are measured in turns, so that both meet the same machine. SET
and GET are measured by redis-benchmark with 50 clients, the mix of nine GETs to a SET by a load generator of our own,
whose ceiling (against a Redis that writes nothing to disk) is shown. Then come all the commands that redis-benchmark
knows, plain and in pipelines of 16. The figures go to docs/evidence/bench.json and into docs/performance.md.
"""

from __future__ import annotations

import argparse
import select
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from statistics import median

from tests.proofs.beside_redis import (
    CLIENTS,
    KEYS,
    REDIS_OPTIONS,
    VALUE_BYTES,
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
from tests.redis_server import RedisServer, encode_command
from tests.sources import ROOT
from tests.system.daemon import Daemon
from tests.system.test_clients import BENCHMARK, measure

GETS_PERCENT = 90

#: What is to be reached: shares of what Redis does, and a time in ms.
SET_SHARE = 0.4
GET_SHARE = 0.6
SET_P99_MS = 25.0

@dataclass
class Mix:
    """What the mixed load found: requests a second, and times in ms."""

    rate: float
    set_p50: float
    set_p99: float
    get_p50: float
    get_p99: float


@dataclass
class Measured:
    """
    All figures of a run; lists have one figure a round, dicts one a server.

    @ivar single: By name of the test and server, requests a second of each round.
    @ivar mix: By server, the mixed load of each round; C{ceiling} is a Redis without a disk.
    @ivar all_plain: By server and row of redis-benchmark, requests a second; C{all_pipelined} with 16 at a time.
    """

    single: Rates = field(default_factory=dict)
    mix: dict[str, list[Mix]] = field(default_factory=dict)
    all_plain: dict[str, dict[str, float]] = field(default_factory=dict)
    all_pipelined: dict[str, dict[str, float]] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)

    def set_p99(self, server: str) -> float:
        """Give the median over the rounds of the time in ms within which 99 of 100 SETs of the mix are answered."""
        return median(mix.set_p99 for mix in self.mix[server])

    @property
    def missed(self) -> list[str]:
        """Name what wasn't reached."""
        sets, gets, slowest = share(self.single, "SET"), share(self.single, "GET"), self.set_p99("ours")
        bounds = [
            (sets >= SET_SHARE, f"SET is {sets:.2f} of Redis, not {SET_SHARE}"),
            (gets >= GET_SHARE, f"GET is {gets:.2f} of Redis, not {GET_SHARE}"),
            (slowest < SET_P99_MS, f"p99 of SET is {slowest:.1f} ms, not below {SET_P99_MS:.0f}"),
        ]
        return [text for kept, text in bounds if not kept]


class _Connection:
    """One client of the mixed load, which has one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.since = 0.0
        self.sets = False
        self.received = b""


def mixed_load(port: int, seconds: float, seed: int = 1) -> Mix:
    """Let 50 clients send nine GETs to a SET, each as soon as it has its last reply."""
    random = Random(seed)
    keys = [b"key:%012d" % random.randrange(KEYS) for _ in range(20_000)]
    value = b"x" * VALUE_BYTES
    # Requests are made beforehand: the less this process does, the higher its ceiling.
    gets = [encode_command((b"GET", key)) for key in keys]
    sets = [encode_command((b"SET", key, value)) for key in keys]
    kinds = [random.random() * 100 >= GETS_PERCENT for _ in range(30_011)]
    connections = {}
    poll = select.epoll()
    for _ in range(CLIENTS):
        connection = _Connection(port)
        connections[connection.socket.fileno()] = connection
        poll.register(connection.socket.fileno(), select.EPOLLIN)
    times: dict[bool, list[float]] = {False: [], True: []}
    now = time.perf_counter
    place = 0

    def send(connection: _Connection) -> None:
        nonlocal place
        place += 1
        connection.sets = kinds[place % len(kinds)]
        requests = sets if connection.sets else gets
        connection.since = now()
        connection.socket.send(requests[place % len(requests)])

    begin = now()
    for connection in connections.values():
        send(connection)
    end = begin + seconds
    # A machine that is busy with other things may not even get to one of each.
    while now() < end or not (times[True] and times[False]):
        for number, _ in poll.poll():
            connection = connections[number]
            data = connection.received + connection.socket.recv(65536)
            if _is_whole(data):
                connection.received = b""
                times[connection.sets].append(now() - connection.since)
                send(connection)
            elif data == connection.received:
                raise ConnectionError("the server closed a connection")
            else:
                connection.received = data
    took = now() - begin
    poll.close()
    for connection in connections.values():
        connection.socket.close()
    set_times, get_times = sorted(times[True]), sorted(times[False])
    return Mix(
        (len(set_times) + len(get_times)) / took,
        _percentile(set_times, 50),
        _percentile(set_times, 99),
        _percentile(get_times, 50),
        _percentile(get_times, 99),
    )


def _is_whole(data: bytes) -> bool:
    """Say if this is a whole reply to GET or SET."""
    if data[:1] == b"-":
        raise RuntimeError(f"the server answered {data!r}")
    if data[:1] != b"$" or data[:3] == b"$-1":
        return data.endswith(b"\r\n")
    head = data.find(b"\r\n")
    return head > 0 and len(data) == head + 4 + int(data[1:head])


def _percentile(ordered: list[float], percent: float) -> float:
    """Give a percentile in ms."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000 if ordered else 0.0


def bench(ports: dict[str, int], ceiling: int, found: argparse.Namespace, tell: Callable[[str], None]) -> Measured:
    """Measure the servers on these ports, in turns."""
    measured = Measured(machine=dict(surroundings(ROOT)))
    for number in range(found.rounds):
        turns = in_turns(ports, number)
        for test in ("SET", "GET"):
            for server, port in turns:
                settle()
                rate = single(port, test, found.requests)
                measured.single.setdefault(test, {}).setdefault(server, []).append(rate)
                tell(f"round {number + 1}: {test} {server}: {rate:,.0f}/s")
        for server, port in [*turns, ("ceiling", ceiling)]:
            settle()
            mix = mixed_load(port, found.seconds)
            measured.mix.setdefault(server, []).append(mix)
            tell(f"round {number + 1}: mix {server}: {mix.rate:,.0f}/s, p99 of SET {mix.set_p99:.1f} ms")
    for options, into in (((), measured.all_plain), (("-P", "16"), measured.all_pipelined)):
        for server, port in ports.items():
            settle()
            into[server] = measure(port, "-r", "100000", "-n", str(found.each), *options)
            tell(f"all of redis-benchmark {' '.join(options)} {server}: {len(into[server])} rows")
    return measured


def rows_of(measured: Measured) -> list[Row]:
    """Give the figures as rows: what, ours, Redis, share."""
    rows: list[Row] = []
    for test in measured.single:
        rows.append(rates_row(measured.single, test, f"{test}, {CLIENTS} clients, a second"))
    mixes = measured.mix
    rates = {server: median(mix.rate for mix in mixes[server]) for server in mixes}
    of_theirs = f"{rates['ours'] / rates['theirs']:.2f}"
    rows.append(("mix, a second", f"{rates['ours']:,.0f}", f"{rates['theirs']:,.0f}", of_theirs))
    for name in ("set_p50", "set_p99", "get_p50", "get_p99"):
        ours, theirs = (median(getattr(mix, name) for mix in mixes[server]) for server in ("ours", "theirs"))
        what = f"mix, {name.replace('_', ' ').upper().replace('P', 'p')}, ms"
        rows.append((what, f"{ours:.2f}", f"{theirs:.2f}", f"{ours / theirs:.2f}" if theirs else ""))
    rows.append(("mix, ceiling of the load generator", "", f"{rates['ceiling']:,.0f}", ""))
    for label, figures in (("", measured.all_plain), (", -P 16", measured.all_pipelined)):
        for test, rate in figures["ours"].items():
            other = figures["theirs"][test]
            name = test.partition(" (")[0] if "needed" not in test else "LPUSH for LRANGE"
            rows.append((name + label, f"{rate:,.0f}", f"{other:,.0f}", f"{rate / other:.2f}"))
    return rows


def main() -> int:
    """Measure, show and write."""
    parser = argparse.ArgumentParser(description="Measure throughput and latency beside Redis.")
    parser.add_argument("--rounds", type=int, default=5, help="of SET, GET and the mix, in turns (%(default)s)")
    parser.add_argument("--requests", type=int, default=200_000, help="of SET and GET in a round (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the mix in a round (%(default)s)")
    parser.add_argument("--each", type=int, default=100_000, help="requests of each of all commands (%(default)s)")
    parser.add_argument("--dry", action="store_true", help="write no files")
    found = parser.parse_args()
    if BENCHMARK is None:
        print("bench: redis-benchmark isn't installed", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder, Daemon(Path(folder)) as ours:
        with RedisServer(*REDIS_OPTIONS) as theirs, RedisServer() as bare:
            measured = bench({"ours": ours.port, "theirs": theirs.port}, bare.port, found, teller())
    rows = rows_of(measured)
    show(rows, f"TinyKV beside redis-server {' '.join(REDIS_OPTIONS)}")
    if not found.dry:
        write(ROOT / "docs", "bench", asdict(measured), rows, measured.machine)
    for text in measured.missed:
        print(f"bench: {text}", file=sys.stderr)
    return 1 if measured.missed else 0


if __name__ == "__main__":
    sys.exit(main())
