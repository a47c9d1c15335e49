"""
C{make proof-placement}: schedulers repair, balance and drain real stores, and are killed themselves.

Five stores and three schedulers on this machine; each region has three replicas, and a store that is silent for 60 s is
taken for lost. Each part begins with a cluster of its own and writes data through all stores, 200 MB where nothing else
is asked for.

    - C{kill}: a store that leads is killed with kill -9, for good. All regions have three replicas again, and all data
      is there.
    - C{add}: a store comes that knows the schedulers' addresses and nothing else. The stores' regions differ from their
      mean by 15 % at most, how many they lead by 2; and then no operator runs for 60 s.
    - C{drain}: a store is drained while 20 clients write and read at the others, and SETs come at a quarter of what is
      possible, each when its time has come whether or not others are answered. No client meets an error; the history
      of the 20 is linearizable, so nothing acknowledged is lost; and the 99th percentile of SET stays below three
      times that of the calm before. The clients don't use blocking commands, for which a store needs a replica.
    - C{schedulers}: while a store is drained the scheduler that leads is killed with kill -9, time and again: no id is
      given twice, timestamps rise, the stores' records are as they were, and another one moves replicas within 3 s.
      Then all schedulers are killed: clients go on without an error, at all stores. When the schedulers are there again
      they know what they knew.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.proofs.behind import Missed, teller
from tests.proofs.beside_redis import single
from tests.proofs.open_loop import Answers, OpenLoop
from tests.proofs.placed import Crowd, Placed, Size
from tests.proofs.report import Figures, Run, folder_of, prose
from tests.redis_server import ReplyError
from tests.system.test_clients import BENCHMARK

#: How long things may take, beside the time after which a store is taken for lost, in seconds.
REPAIR_SECONDS = 120.0
BALANCE_SECONDS = 120.0
DRAIN_SECONDS = 120.0
#: By which part the stores' regions may differ from their mean, and by how many their leaders.
REGIONS_APART = 0.15
LEADERS_APART = 2
#: By how much the 99th percentile of SET may rise during a drain.
SLOWER = 3.0
#: How long the placement may stand still after its leader was killed, in seconds, and how often it's killed.
FAILOVER_SECONDS = 3.0
KILLS = 3
#: SETs that show what is possible.
SATURATING = 6_000
#: Of the load that has a share of that.
SHARE = 0.25
CONNECTIONS = 20
LOAD_KEYS = 50_000
LOAD_BYTES = 100
PERCENTILES = (("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9), ("max", 100.0))


@dataclass(frozen=True)
class Times:
    """
    How long things are looked at, in seconds.

    @ivar calm: The load before a drain.
    @ivar rest: Without any operator.
    @ivar alone: Without any scheduler.
    """

    calm: float = 20.0
    rest: float = 60.0
    alone: float = 20.0


def kill(placed: Placed, times: Times) -> Figures:
    """Kill the store that leads most, and wait for the replicas that it had."""
    _, leaders = placed.held()
    lost = max(leaders, key=lambda number: leaders[number])
    had = sum(any(peer["store"] == lost for peer in region["peers"]) for region in placed.regions())
    placed.stores.pop(lost).kill()
    placed.tell(f"store {lost} was killed: it had {had} replicas, and led {leaders[lost]} regions")
    limit = placed.size.max_down + REPAIR_SECONDS
    took = placed.until(lambda: placed.is_whole(placed.stores), limit, "all regions to have three replicas again")
    placed.tell(f"all regions had three replicas again after {took:.1f} s")
    placed.check(next(iter(placed.stores)))
    return {
        "replicas that a killed store had": had,
        "regions that it led": leaders[lost],
        "ms until all regions had three replicas again": round(took * 1000),
        "ms of silence after which a store counts as lost": round(placed.size.max_down * 1000),
    }


def add(placed: Placed, times: Times) -> Figures:
    """Start one more store, and wait until there's nothing more to be done."""
    number = max(placed.stores) + 1
    began = time.monotonic()
    _, before = placed.operators()
    placed.begin(number).wait_for("is registered")
    took = placed.until(lambda: _balanced(placed), BALANCE_SECONDS, "balance")
    placed.tell(f"balance was reached after {took:.1f} s: {placed.held()}")
    rested = _rest(placed, times.rest, began + BALANCE_SECONDS)
    _, after = placed.operators()
    regions, leaders = placed.held()
    placed.check(number)
    return {
        "regions on the new store": regions[number],
        "regions on a store, at least": min(regions.values()),
        "regions on a store, at most": max(regions.values()),
        "regions led by a store, at least": min(leaders.values()),
        "regions led by a store, at most": max(leaders.values()),
        "ms from the new store's start until balance": round(took * 1000),
        "ms from its start until the last operator": round((rested - began) * 1000),
        "operators that ended": after - before,
    }


def _balanced(placed: Placed) -> bool:
    """Say whether the stores have as much as each other."""
    regions, leaders = placed.held()
    mean = sum(regions.values()) / len(regions)
    return (
        placed.is_whole(placed.stores)
        and max(abs(count - mean) for count in regions.values()) <= REGIONS_APART * mean
        and max(leaders.values()) - min(leaders.values()) <= LEADERS_APART
    )


def _rest(placed: Placed, seconds: float, limit: float) -> float:
    """
    Wait until there was no operator for some seconds; give when that began, of the monotonic clock.

    @raise Missed: It hadn't begun in time, or the stores aren't balanced any more.
    """
    since, ended = time.monotonic(), -1
    while time.monotonic() - since < seconds:
        running, total = placed.operators()
        if running or total != ended:
            since, ended = time.monotonic(), total
            if since > limit:
                found = placed.schedulers.ask("GET", "/operators")["operators"]
                raise Missed(f"balance doesn't rest: {placed.held()}, {total} operators ended, {found} run")
        time.sleep(1)
    if not _balanced(placed):
        raise Missed(f"balance rests where there's none: {placed.held()}")
    return since


def drain(placed: Placed, times: Times) -> Figures:
    """Drain a store that leads, under load."""
    drained = _leading(placed)
    staying = [number for number in placed.stores if number != drained]
    port = placed.stores[staying[0]].port
    possible = single(port, "SET", SATURATING)
    rate = SHARE * possible
    placed.tell(f"{possible:,.0f} SETs a second are possible; the load has {rate:,.0f}")
    loop = OpenLoop(port, rate=rate, connections=CONNECTIONS, keys=LOAD_KEYS, value_bytes=LOAD_BYTES)
    with Crowd(placed, staying) as crowd:
        with loop:
            calm = time.monotonic()
            time.sleep(times.calm)
            began = time.monotonic()
            placed.schedulers.ask("POST", f"/stores/{drained}/offline")
            placed.until(lambda: placed.is_whole(staying), DRAIN_SECONDS, f"store {drained} to be empty")
            ended = time.monotonic()
        placed.tell(f"store {drained} was empty after {ended - began:.1f} s")
    before, during = loop.answers.between(calm, began), loop.answers.between(began, ended)
    figures = {
        "SETs a second that are possible": round(possible),
        "SETs a second of the load": round(rate),
        "ms until a drained store was empty": round((ended - began) * 1000),
        "SETs of the load answered meanwhile": len(during.answered),
        "SETs of the load that failed": loop.answers.failed.total(),
        **_percentiles("before a drain", before),
        **_percentiles("during a drain", during),
        "ms without an acknowledged SET during a drain, the longest time": round(
            loop.answers.longest_gap(began, ended)
        ),
    }
    judged, problems = crowd.judge()
    figures |= {f"{name} of the clients during a drain": figure for name, figure in judged.items()}
    if loop.answers.failed.total():
        problems.append(f"SETs of the load failed: {dict(+loop.answers.failed)}")
    calmly, busily = before.percentile(99), during.percentile(99)
    if busily >= SLOWER * calmly:
        problems.append(f"p99 of SET is {busily:.1f} ms during the drain, and {calmly:.1f} ms before")
    placed.check(staying[-1])
    placed.until(lambda: drained not in placed.views(), DRAIN_SECONDS, f"store {drained} to be a tombstone")
    # By itself, as it isn't needed any more.
    store = placed.stores.pop(drained)
    store.wait_for("TinyKV has stopped")
    if "Traceback" in store.output:
        problems.append(f"store {drained} met what it shouldn't have:\n{store.output[-3000:]}")
    return _unless(problems, figures, placed)


def _leading(placed: Placed) -> int:
    """Give the store that leads most."""
    _, leaders = placed.held()
    return max(leaders, key=lambda number: leaders[number])


def _percentiles(when: str, answers: Answers) -> Figures:
    return {
        f"{label} of SET {when}, in us": round(answers.percentile(percent) * 1000) for label, percent in PERCENTILES
    }


def _unless(problems: list[str], figures: Figures, placed: Placed) -> Figures:
    """
    Give figures if there are no problems.

    @raise Missed: There are; the figures are told.
    """
    if problems:
        placed.tell(", ".join(f"{figure:,} {name}" for name, figure in figures.items()))
        raise Missed("\n".join(problems))
    return figures


class Given:
    """The ids and timestamps that were given, none of them twice."""

    def __init__(self, placed: Placed) -> None:
        self.count = 0
        self._placed = placed
        self._ids: set[int] = set()
        self._last = -1

    def ask(self) -> None:
        """
        Ask for some more.

        @raise Missed: They were given before, or a timestamp goes back.
        """
        first = self._placed.schedulers.ask("POST", "/ids", {"count": 7})["first"]
        ids = set(range(first, first + 7))
        if self._ids & ids:
            raise Missed(f"ids from {first} on are given twice")
        self._ids |= ids
        given = self._placed.schedulers.ask("POST", "/timestamps", {"count": 7})
        first = given["physical"] << 18 | given["logical"]
        if first <= self._last:
            raise Missed(f"timestamp {first} comes after {self._last}")
        self._last = first + 6
        self.count += 7


def schedulers(placed: Placed, times: Times) -> Figures:
    """Kill schedulers, one that leads and then all."""
    given = Given(placed)
    records = _records(placed)
    answered, placing = [], []
    for _ in range(KILLS if placed.size.schedulers > 1 else 0):
        took, moved = _fail_over(placed, given)
        answered.append(took)
        placing.append(moved)
        if _records(placed) != records:
            raise Missed(f"the stores' records have changed: {records} to {_records(placed)}")
    for member in placed.schedulers.members.values():
        member.kill()
    with Crowd(placed, list(placed.stores)) as crowd:
        time.sleep(times.alone)
    judged, problems = crowd.judge()
    # A store starts without them, too.
    again = _any_but_last(placed)
    placed.stores[again].kill()
    placed.stores[again].start()
    placed.stores[again].wait_for()
    with closing(placed.stores[again].connect()) as client:
        if isinstance(reply := client.attempt("SET", "alone", "1"), ReplyError):
            problems.append(f"store {again}, started without schedulers, answered {reply.wire!r} to a SET")
    for member in placed.schedulers.members.values():
        member.start()
    given.ask()
    if _records(placed) != records:
        problems.append(f"the stores' records have changed: {records} to {_records(placed)}")
    placed.until(lambda: placed.is_whole(placed.stores), DRAIN_SECONDS, "the schedulers to hear of all regions again")
    placed.check(again)
    if placing and max(placing) >= FAILOVER_SECONDS:
        problems.append("the placement stood still for " + ", ".join(f"{gap:.1f} s" for gap in placing))
    figures = {
        "schedulers killed while they led": len(answered),
        "ids and timestamps given, of each": given.count,
        "ms until another one gave ids, the longest time": round(1000 * max(answered, default=0)),
        "ms until another one moved replicas, the longest time": round(1000 * max(placing, default=0)),
        **{f"{name} of the clients without schedulers": figure for name, figure in judged.items()},
    }
    return _unless(problems, figures, placed)


def _records(placed: Placed) -> dict[int, dict[str, Any]]:
    """Give what is kept of each store."""
    return {
        number: {name: view[name] for name in ("address", "client_address", "folder", "life", "labels")}
        for number, view in placed.views().items()
    }


def _any_but_last(placed: Placed) -> int:
    return sorted(placed.stores)[-2]


def _fail_over(placed: Placed, given: Given) -> tuple[float, float]:
    """
    Drain a store, kill the scheduler that leads meanwhile, and have the store stay after all.

    @return: (seconds until another one gives ids, seconds until another one has made operators).
    """
    given.ask()
    drained = _leading(placed)
    placed.schedulers.settle()
    placed.schedulers.ask("POST", f"/stores/{drained}/offline")
    placed.until(lambda: placed.operators()[0] > 0, DRAIN_SECONDS, "operators")
    leader = placed.leader()
    leader.kill()
    killed = time.monotonic()
    given.ask()
    took = time.monotonic() - killed
    placed.until(lambda: any(placed.operators()), DRAIN_SECONDS, "operators of another scheduler")
    moved = time.monotonic() - killed
    placed.tell(f"scheduler {leader.number} was killed: ids came after {took:.1f} s, operators after {moved:.1f} s")
    placed.schedulers.ask("POST", f"/stores/{drained}/cancel-offline")
    given.ask()
    leader.start()
    placed.schedulers.settle()
    return took, moved


PARTS: dict[str, Callable[[Placed, Times], Figures]] = {
    "kill": kill,
    "add": add,
    "drain": drain,
    "schedulers": schedulers,
}


def part(name: str, folder: Path, size: Size, times: Times, **options: str) -> Figures:
    """
    Do one part, with a cluster of its own.

    @param options: More of the stores' configuration.
    @raise Missed: Something isn't as it should be.
    """
    with Placed(folder, size, teller(f"placement: {name}"), **options) as placed:
        seconds = placed.fill()
        figures = {"MB written": size.megabytes, "s to write them": round(seconds)}
        figures |= PARTS[name](placed, times)
        placed.look()
    return figures


def main(arguments: Sequence[str]) -> int:
    """Run the long form."""
    parser = argparse.ArgumentParser(description="The long form of a proof; see docs/evidence.")
    parser.add_argument("--megabytes", type=int, default=Size.megabytes, help="of data (%(default)s)")
    parser.add_argument("--regions", type=int, default=Size.regions, help="at the beginning (%(default)s)")
    parser.add_argument("--stores", type=int, default=Size.stores, help="(%(default)s)")
    parser.add_argument("--schedulers", type=int, default=Size.schedulers, help="1 or 3 (%(default)s)")
    parser.add_argument("--max-down", type=float, default=Size.max_down, help="in seconds (%(default)s)")
    parser.add_argument("--rest", type=float, default=Times.rest, help="seconds without operators (%(default)s)")
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=list(PARTS), help=f"of {','.join(PARTS)}; no report then"
    )
    parser.add_argument("--seconds", type=float, default=0.0, help="begin no part after these; 0 for any (%(default)s)")
    found = parser.parse_args(arguments)
    if unknown := set(found.only) - set(PARTS):
        parser.error(f"--only: there's no {', '.join(sorted(unknown))}")
    if BENCHMARK is None and "drain" in found.only:
        parser.error("redis-benchmark isn't installed, which drain needs")
    # What is ended by a signal ends its daemons too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    size = Size(found.stores, found.schedulers, found.regions, found.megabytes, found.max_down)
    names = list(found.only)
    complete = names == list(PARTS)
    run = Run("placement" if complete else "placement-part", units=len(names), seconds=found.seconds, resume=complete)

    def unit(number: int) -> Figures:
        with folder_of("placement") as folder:
            figures = part(names[number], folder, size, Times(rest=found.rest))
        return {f"{names[number]}: {name}": figure for name, figure in figures.items()}

    try:
        done = run.work(unit)
    except Missed as missed:
        teller("placement")(str(missed))
        return 1
    if complete and done:
        print(run.write("Placement", prose(__doc__)))
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
