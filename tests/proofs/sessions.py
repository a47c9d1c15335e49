"""
Sessions of client libraries while regions are split and led elsewhere all the time: C{make proof-sessions}.

Three stores, a scheduler and a gateway are real processes. Each client library goes through its script again and again
(L{tests.system.moving}): strings, counters, hashes, lists, sets, sorted sets, expiry, transactions, WATCH, pipelines,
blocking pops, and commands on many keys and on all; redis-py and ioredis on a store's port and as clients of a cluster,
redis-py at the gateway too, and txredisapi. Meanwhile regions are split by hand at slots chosen by chance, one after
another, and others are led by another store, as fast as the stores do it. Every answer is compared with what the
session knows. No error may reach a session: what a client library doesn't handle by itself is a failure.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.proofs.behind import Missed
from tests.proofs.report import Figures, Run, folder_of, options, prose
from tests.redis_server import free_port
from tests.system.gateways import GatewayDaemon
from tests.system.processes import Process, wait_until
from tests.system.scheduled import ScheduledStore
from tests.system.schedulers import Daemons
from tests.system.sessions import NODE, NODE_MODULES
from tinykv.cli.ctl_http import HttpControl
from tinykv.cli.problems import Problem

UNITS = 10
#: For how long units are begun, in seconds.
SECONDS = 900.0
STORES = 3
#: Regions at the beginning, one, so that stores learn to route; and as many as they're split into at most.
REGIONS = 1
REGIONS_MAX = 100
#: How much longer than asked for sessions may take, in seconds: one more round.
PATIENCE = 60.0
#: How long one change may take, in seconds.
CHANGE_SECONDS = 10.0
#: How many times as often as it's split a region is led elsewhere.
TRANSFERS = 2
#: How long stores and the gateway let clients wait: a busy machine holds all of them up.
REQUEST_TIMEOUT = "30s"


@dataclass(frozen=True)
class Size:
    """
    How much is done.

    @ivar seconds: How long sessions go on.
    @ivar many: How many keys their commands on many have; see L{tests.system.moving}.
    @ivar pause: What is waited between two changes, in seconds.
    @ivar gateway: Whether there's one.
    """

    seconds: float = 60.0
    many: int = 40
    pause: float = 0.05
    gateway: bool = True


_SCRIPT = Path(__file__).parent.parent / "system" / "moving.js"


class Cluster:
    """
    The processes; a context manager that ends them.

    @ivar ports: Where clients connect, by place; likewise C{cluster_ports} and C{http_ports}.
    """

    def __init__(self, folder: Path, *, has_gateway: bool) -> None:
        self._folder = folder
        self._has_gateway = has_gateway
        self.gateway: GatewayDaemon | None = None
        self._stack = ExitStack()
        self.stores: list[ScheduledStore] = []
        self.ports: list[int] = []
        self.cluster_ports = [free_port() for _ in range(STORES)]
        self.http_ports = [free_port() for _ in range(STORES)]

    def __enter__(self) -> Cluster:
        with self._stack as stack:
            self._daemons = stack.enter_context(
                Daemons(self._folder, 1, bootstrap_stores=str(STORES), initial_regions=str(REGIONS))
            )
            (member,) = self._daemons.members.values()
            where = f"127.0.0.1:{member.port}"
            if self._has_gateway:
                self.gateway = GatewayDaemon(self._folder, schedulers=where, request_timeout=REQUEST_TIMEOUT)
                stack.callback(self.gateway.kill)
            for place in range(STORES):
                store = ScheduledStore(
                    self._folder,
                    self._daemons,
                    place + 1,
                    cluster_port=str(self.cluster_ports[place]),
                    http_port=str(self.http_ports[place]),
                    request_timeout=REQUEST_TIMEOUT,
                )
                stack.callback(store.kill)
                store.start()
                self.stores.append(store)
                self.ports.append(store.port)
            for store in self.stores:
                store.wait_for()
            if self.gateway is not None:
                self.gateway.wait_for()
            wait_until(self._is_known, "all to know who leads")
            self._stack = stack.pop_all()
        return self

    def _is_known(self) -> bool:
        """Say whether each knows of all."""
        regions = self._daemons.ask("GET", "/regions")["regions"]
        known = len(regions) >= REGIONS and all(region["leader"] is not None for region in regions)
        if not known or self.gateway is None:
            return known
        return len(self.gateway.status()["stores"]) == STORES and self.gateway.page("healthz")[0] == 200

    def __exit__(self, *problem: object) -> None:
        self._stack.close()

    def look(self) -> None:
        """
        See that nothing has met what it shouldn't have.

        @raise Missed: Something has.
        """
        outputs = {f"store {store.number}": store.output for store in self.stores}
        outputs |= {f"scheduler {member.number}": member.output for member in self._daemons.members.values()}
        if self.gateway is not None:
            outputs["the gateway"] = self.gateway.output
        for name, output in outputs.items():
            if "Traceback" in output:
                raise Missed(f"{name} met what it shouldn't have:\n{output[-5000:]}")


class Changes:
    """
    Splits regions and lets other stores lead them, one after another.

    @ivar figures: What was done, and why some wasn't.
    """

    def __init__(self, cluster: Cluster, random: Random) -> None:
        self.figures: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self._controls = [HttpControl(f"http://127.0.0.1:{port}", CHANGE_SECONDS) for port in cluster.http_ports]
        self._random = random
        self._slots: dict[int, tuple[int, int]] = {}
        self._turn = 0

    def go_on(self) -> None:
        """Make one more."""
        control = self._random.choice(self._controls)
        try:
            if not self._slots:
                self._look(control)
            elif self._turn % (1 + TRANSFERS) == 0 and len(self._slots) < REGIONS_MAX:
                self._split(control)
            else:
                region = self._random.choice(sorted(self._slots))
                control.ask("transfer-leader", {"region": region, "store": self._random.randint(1, STORES)})
                self.figures["transfers"] += 1
        except Problem as problem:
            # There's an election, or another change is under way: that is what it's like.
            self.figures["changes refused"] += 1
            self.refusals["".join(sign for sign in str(problem) if not sign.isdigit())] += 1
        self._turn += 1

    def _look(self, control: HttpControl) -> None:
        for region in control.ask("status")["regions"]:
            self._slots[region["region"]] = (region["first"], region["last"])

    def _split(self, control: HttpControl) -> None:
        """Split the largest region, at a slot chosen by chance."""
        region = max(self._slots, key=lambda region: (self._slots[region][1] - self._slots[region][0], region))
        first, last = self._slots[region]
        slot = self._random.randint(first + 1, last)
        for part in control.ask("split", {"region": region, "slots": [slot]})["regions"]:
            self._slots[part["region"]] = (part["first"], part["last"])
        self.figures["splits"] += 1


class Session:
    """One client library at work, in a process of its own."""

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        self.name = name
        self._process = Process(command, folder / f"session-{name}.txt", extra=_surroundings())

    def is_over(self) -> bool:
        """Say whether it has ended."""
        return self._process.ended

    def figures(self) -> dict[str, int]:
        """
        Give what it has done.

        @raise Missed: An error has reached it.
        """
        if self._process.wait() != 0:
            raise Missed(f"the session of {self.name} failed:\n{self._process.output[-5000:]}")
        found: dict[str, int] = json.loads(self._process.output.splitlines()[-1])
        return found

    def abort(self) -> str:
        """End it, as it was waited for in vain, and give what it did."""
        self._process.signal(signal.SIGABRT)
        self._process.wait()
        return f"the session of {self.name} doesn't come to its end:\n{self._process.output[-5000:]}"

    def end(self) -> None:
        """End it whatever it does."""
        self._process.destroy()


def _surroundings() -> dict[str, str]:
    return {"NODE_PATH": str(NODE_MODULES)} if NODE_MODULES.exists() else {}


def commands(cluster: Cluster, size: Size, *, node: bool) -> dict[str, list[str]]:
    """
    Give the command line of each session, by name.

    @param node: Whether Node has its client.
    """

    def python(kind: str, port: int, number: int) -> list[str]:
        words = [kind, str(port), str(number), str(size.seconds), str(size.many)]
        return [sys.executable, "-m", "tests.system.moving", *words]

    found = {
        "redis-py": python("plain", cluster.ports[0], 1),
        "redis-py of a cluster": python("cluster", cluster.cluster_ports[1], 3),
        "txredisapi": python("twisted", cluster.ports[2], 4),
    }
    if cluster.gateway is not None:
        found["redis-py at the gateway"] = python("plain", cluster.gateway.port, 2)
    if node:
        assert NODE is not None, "it has a client"
        for kind, port, number in (("plain", cluster.ports[1], 5), ("cluster", cluster.cluster_ports[2], 6)):
            words = [NODE, str(_SCRIPT), kind, str(port), str(number), str(size.seconds), str(size.many)]
            found["ioredis" if kind == "plain" else "ioredis of a cluster"] = words
    return found


def unit(folder: Path, seed: int, size: Size, *, node: bool = True) -> Figures:
    """
    Let all sessions go on for so long while regions are split and led elsewhere.

    @raise Missed: Something isn't as it should be.
    """
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(folder, has_gateway=size.gateway))
        sessions: list[Session] = []
        for name, command in commands(cluster, size, node=node).items():
            session = Session(name, command, folder)
            stack.callback(session.end)
            sessions.append(session)
        changes = Changes(cluster, Random(seed))
        deadline = time.monotonic() + size.seconds + PATIENCE
        while not all(session.is_over() for session in sessions):
            if time.monotonic() > deadline:
                raise Missed("\n".join(session.abort() for session in sessions if not session.is_over()))
            changes.go_on()
            time.sleep(size.pause)
        figures: dict[str, int] = dict(changes.figures)
        problems: list[str] = []
        for session in sessions:
            try:
                done = session.figures()
            except Missed as missed:
                problems.append(str(missed))
                continue
            figures |= {f"{name}, {session.name}": figure for name, figure in done.items()}
        cluster.look()
        if problems:
            told = "\n".join(f"{count} x {why}" for why, count in changes.refusals.most_common())
            raise Missed("\n".join(problems) + f"\n{dict(changes.figures)}\n{told}")
    return figures


def main(arguments: list[str]) -> int:
    """Run the long form."""
    units, seconds = options(arguments, units=UNITS, seconds=SECONDS)
    run = Run("sessions", units=units, seconds=seconds)

    def one(number: int) -> Figures:
        with folder_of("sessions") as folder:
            return unit(folder, number, Size())

    try:
        complete = run.work(one)
    except Missed as missed:
        print(f"proof-sessions: {missed}", file=sys.stderr)
        return 1
    print(run.write("Sessions of client libraries while regions move", prose(__doc__)))
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
