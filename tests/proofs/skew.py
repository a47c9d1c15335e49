"""
A load that wants little of the data, but that often, is split and spread: C{make proof-skew}.

Three stores and a scheduler on this machine; the keys are cut into three regions, one led by each store. Clients of
the cluster's ports, nine reads to a write, want a thousand keys of one of these regions, as Zipf's law has it. At first
one store does all of that. Then C{split_load_threshold} is set to a sixth of it: the region is cut where parts do about
the same, until none does more than that, and the scheduler hands parts over until that makes no store less busy. When
that rests it's measured again. What counts is that the busiest store has no more than half of the requests then, and
that clients met no error. The figures go to docs/evidence/skew.json and into docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.proofs.behind import Missed
from tests.proofs.beside_redis import Row, show, teller, write
from tests.proofs.report import surroundings
from tests.proofs.zipf import Zipf, keys_within
from tests.redis_server import free_port
from tests.sources import ROOT
from tests.system.processes import wait_until
from tests.system.scheduled import ScheduledStore
from tests.system.schedulers import Daemons
from tinykv.keys import slot_from

STORES = 3
KEYS = 1000
#: Which part of the load at first a region may have, and what a region is never asked for.
SHARE = 1 / 6
NEVER = 10_000_000
#: The part of all requests that the busiest store may have in the end.
BUSIEST = 0.5
#: What clients are told where nobody leads: an error, while the other refusals only say where to ask, or to ask again.
DOWN = "CLUSTERDOWN"
COLUMNS = ("before", "after", "ratio")


@dataclass(frozen=True)
class Times:
    """
    How long things are looked at, in seconds.

    @ivar warm: The load, before it's measured.
    @ivar before: It's measured.
    @ivar rest: Without another split or another leader, before it's measured again.
    @ivar after: It's measured.
    @ivar limit: All of it at most.
    """

    warm: float = 3.0
    before: float = 10.0
    rest: float = 30.0
    after: float = 10.0
    limit: float = 300.0


@dataclass
class Look:
    """
    What was measured in some time.

    @ivar answered: Requests a second that each store has answered.
    @ivar cores: Of how many cores each store's own process has used the time.
    @ivar led: How many of the region's parts each store leads.
    """

    answered: Mapping[int, float]
    cores: Mapping[int, float]
    led: Mapping[int, int]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return sum(self.answered.values())

    @property
    def busiest(self) -> float:
        """The part of the requests that the busiest store has."""
        return max(self.answered.values()) / max(self.rate, 1.0)


@dataclass
class Measured:
    """All figures of a run."""

    before: Look
    after: Look
    seconds: float
    threshold: int
    parts: int
    refused: Mapping[str, int]
    machine: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        """The figures as rows."""
        before, after = self.before, self.after
        return [
            ("requests a second", *_ratio(before.rate, after.rate, ",.0f")),
            ("of these the busiest store has", *_ratio(before.busiest, after.busiest, ".2f")),
            ("cores that its process uses", *_ratio(max(before.cores.values()), max(after.cores.values()), ".2f")),
            ("cores that all three use", *_ratio(sum(before.cores.values()), sum(after.cores.values()), ".2f")),
            ("split_load_threshold", "none", f"{self.threshold:,}", ""),
            ("parts of the region", "1", str(self.parts), ""),
            ("parts that each store leads", _led(before), _led(after), ""),
            ("s from the threshold's change until rest", "", f"{self.seconds:.0f}", ""),
        ]

    @property
    def missed(self) -> list[str]:
        """Name what wasn't reached."""
        found, down = self.after.busiest, self.refused.get(DOWN, 0)
        missed = [f"the busiest store has {found:.2f} of the requests, not {BUSIEST}"] if found > BUSIEST else []
        return missed + [f"{down} requests were answered {DOWN}"] * bool(down)


def _led(look: Look) -> str:
    return " ".join(map(str, sorted(look.led.values(), reverse=True)))


def _ratio(before: float, after: float, form: str) -> tuple[str, str, str]:
    return format(before, form), format(after, form), f"{after / before:.2f}" if before else ""


class Skewed:
    """
    The cluster; a context manager that ends it.

    @ivar ports: Where clients of clusters connect, by place of the store.
    """

    def __init__(self, folder: Path, **options: str) -> None:
        """
        @param options: More of the stores' configuration.
        """
        self.schedulers = Daemons(folder, 1, bootstrap_stores=str(STORES), initial_regions=str(STORES))
        self.ports = [free_port() for _ in range(STORES)]
        self._folder = folder
        # A disk that others use as well may rest for seconds; that's not what this is about.
        self._options = {"schedule_heartbeat": "2s", "request_timeout": "120s", **options}
        self.stores: list[ScheduledStore] = []

    def __enter__(self) -> Skewed:
        with ExitStack() as stack:
            stack.push(self._end)
            self.schedulers.__enter__()
            for number, port in enumerate(self.ports, 1):
                options = {**self._options, "cluster_port": str(port)}
                store = ScheduledStore(self._folder, self.schedulers, number, **options)
                self.stores.append(store)
                store.start()
            for store in self.stores:
                store.wait_for()
            self.split_above(NEVER)
            wait_until(lambda: sorted(self.led().values()) == [1] * STORES, "each store to lead a region")
            stack.pop_all()
        return self

    def __exit__(self, *problem: object) -> None:
        self._end()

    def _end(self, *problem: object) -> None:
        for store in self.stores:
            store.kill()
        self.schedulers.__exit__()

    def split_above(self, threshold: int) -> None:
        """Have regions split that do more; stores learn of it with their next word to the scheduler."""
        self.schedulers.ask("PATCH", "/config", {"split_load_threshold": threshold})

    def regions(self, within: tuple[int, int] = (0, 1 << 14)) -> list[dict[str, Any]]:
        """Give the regions as the scheduler sees them, that begin within some slots."""
        found: list[dict[str, Any]] = self.schedulers.ask("GET", "/regions")["regions"]
        return [region for region in found if within[0] <= slot_from(bytes.fromhex(region["start"])) < within[1]]

    def led(self, within: tuple[int, int] = (0, 1 << 14)) -> dict[int, int]:
        """Give how many regions that begin within some slots each store leads, by its number."""
        leaders = [region["leader"] for region in self.regions(within)]
        return {store.number: leaders.count(store.number) for store in self.stores}

    def busy(self) -> dict[int, float]:
        """Give for how many seconds each store's own process has used a core."""
        ticks = os.sysconf("SC_CLK_TCK")
        used = {}
        for store in self.stores:
            fields = Path(f"/proc/{store.pid}/stat").read_text("ascii").rpartition(")")[2].split()
            used[store.number] = (int(fields[11]) + int(fields[12])) / ticks
        return used


def look(skewed: Skewed, load: Zipf, within: tuple[int, int], seconds: float) -> Look:
    """Measure for a time."""
    before, begin = skewed.busy(), time.monotonic()
    answered = load.during(seconds)
    took, after = time.monotonic() - begin, skewed.busy()
    cores = {number: (after[number] - before[number]) / took for number in after}
    return Look({place + 1: rate for place, rate in answered.items()}, cores, skewed.led(within))


def measure(skewed: Skewed, times: Times, tell: Callable[[str], None], share: float = SHARE, **load: Any) -> Measured:
    """
    Have one store's region wanted, and wait until that's spread.

    @param share: Which part of the load at first a region may have; C{load}: more about the load.
    @raise Missed: It doesn't rest in time, nothing was split, or a client met an error.
    """
    region = skewed.regions()[0]
    first, end = slot_from(bytes.fromhex(region["start"])), slot_from(bytes.fromhex(region["end"]))
    within = (first, end)
    keys = keys_within([(first, end - 1)], KEYS)
    with Zipf(skewed.ports, keys, **load) as zipf:
        zipf.during(times.warm)
        before = look(skewed, zipf, within, times.before)
        tell(f"before: {before.rate:,.0f} requests a second, the busiest store has {before.busiest:.2f} of them")
        if len(skewed.regions(within)) > 1:
            raise Missed("the region was split before it was asked for too much")
        threshold = max(round(share * before.rate), 10)
        skewed.split_above(threshold)
        begin = time.monotonic()
        seconds = _rest(skewed, zipf, within, times, begin, tell)
        after = look(skewed, zipf, within, times.after)
        tell(f"after: {after.rate:,.0f} requests a second, the busiest store has {after.busiest:.2f} of them")
        refused = dict(zipf.refused)
    for store in skewed.stores:
        if "Traceback" in store.output:
            raise Missed(f"store {store.number} met what it shouldn't have:\n{store.output[-3000:]}")
    return Measured(before, after, seconds, threshold, len(skewed.regions(within)), refused, dict(surroundings(ROOT)))


def _rest(
    skewed: Skewed, zipf: Zipf, within: tuple[int, int], times: Times, begin: float, tell: Callable[[str], None]
) -> float:
    """Wait until parts are led by all stores and nothing changes any more; give how long that took."""
    since, known = time.monotonic(), skewed.led(within)
    while sum(known.values()) < 2 or not all(known.values()) or time.monotonic() - since < times.rest:
        zipf.during(0.2)
        found = skewed.led(within)
        if found != known:
            since, known = time.monotonic(), found
            tell(f"{since - begin:.0f} s: parts that each store leads: {list(found.values())}")
        if time.monotonic() - begin > times.limit:
            raise Missed(f"no rest within {times.limit:.0f} s: parts that each store leads: {list(known.values())}")
    return since - begin


def main(arguments: Sequence[str]) -> int:
    """Measure, show and write."""
    parser = argparse.ArgumentParser(description="Measure how a skewed load is split and spread.")
    parser.add_argument("--dry", action="store_true", help="write no files")
    found = parser.parse_args(arguments)
    # What is ended by a signal ends its daemons too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            with Skewed(Path(folder)) as skewed:
                measured = measure(skewed, Times(), teller())
    except Missed as missed:
        print(f"proof-skew: {missed}", file=sys.stderr)
        return 1
    show(measured.rows, "A skewed load on three stores", COLUMNS)
    if not found.dry:
        write(ROOT / "docs", "proof-skew", asdict(measured), measured.rows, measured.machine, COLUMNS)
    for text in measured.missed:
        print(f"proof-skew: {text}", file=sys.stderr)
    return 1 if measured.missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
