"""
A store of three that has fallen behind, and gets back to the others by a snapshot.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from tests.proofs.open_loop import Answers, OpenLoop
from tests.proofs.report import Figures, Run, prose
from tests.redis_server import BlockingClient, ReplyError, encode_command
from tests.system.processes import wait_until
from tests.system.stores import Loopback, Stores
from tinykv.cli.ctl_http import HttpControl
from tinykv.cli.problems import Problem
from tinykv.interfaces import CHECKSUM_SECONDS_USUAL

STORES = 3
#: Connections over which is written while the store is away, and the bytes that each sends at once, about.
WRITERS = 4
PIPELINE_BYTES = 64 * 1024
#: How long all of it may take, in seconds.
WRITE_SECONDS = 300.0
#: How long one reply, or a page, is awaited, in seconds.
PATIENCE = 60.0
#: Entries that a store may lack and count as caught up: what is on its way.
LAG_MAX = 50
#: How often is looked, and told, in seconds.
LOOK_SECONDS = 0.2
TELL_SECONDS = 10.0

Command = tuple[bytes, ...]


class Missed(Exception):
    """A bound isn't kept, or the stores differ."""


@dataclass(frozen=True)
class Load:
    """
    What clients do while the store comes back.

    @ivar rate: SETs a second.
    @ivar keys: Of so many, at random.
    @ivar seconds: How long it lasts before the store comes back.
    """

    rate: float = 300.0
    connections: int = 8
    keys: int = 50_000
    value_bytes: int = 100
    seconds: float = 10.0


@dataclass
class Return:
    """
    What was seen.

    @ivar began: When the load began, of the monotonic clock in seconds.
    @ivar started: When the store was started.
    @ivar arrived: When it had got the snapshot.
    @ivar caught_up: When it had what the others have.
    @ivar snapshots: How many it got.
    """

    answers: Answers
    began: float
    started: float
    arrived: float
    caught_up: float
    snapshots: int

    @property
    def before(self) -> Answers:
        """What was due before the store was started."""
        return self.answers.between(self.began, self.started)

    @property
    def during(self) -> Answers:
        """What was due until it had caught up."""
        return self.answers.between(self.started, self.caught_up)

    @property
    def longest_gap(self) -> float:
        """The longest time without an acknowledged write while it came back, in ms."""
        return self.answers.longest_gap(self.started, self.caught_up)

    def figures(self) -> Figures:
        """Give what a report tells."""
        figures = {
            "snapshots that it got": self.snapshots,
            "ms from its start until it had got the snapshot": round((self.arrived - self.started) * 1000),
            "ms from its start until it had caught up": round((self.caught_up - self.started) * 1000),
            "SETs answered meanwhile": len(self.during.answered),
            "SETs failed": self.answers.failed.total(),
            "ms without an acknowledged SET meanwhile, the longest time": round(self.longest_gap),
        }
        for name, answers in (("before", self.before), ("meanwhile", self.during)):
            for label, percent in (("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9), ("max", 100.0)):
                figures[f"{label} of SET {name}, in us"] = round(answers.percentile(percent) * 1000)
        return figures


def leader_of(stores: Stores) -> int:
    """Wait until a store leads and takes writes, and name it."""
    client = stores.connect(stores.running[0], PATIENCE)
    wait_until(lambda: not isinstance(client.attempt("SET", "first", "1"), ReplyError), "a leader")
    client.close()
    wait_until(lambda: stores.leader >= 0, "a leader that says so")
    return stores.leader


def metric(stores: Stores, place: int, name: str) -> float:
    """
    Read a figure of a store.

    @raise OSError: It doesn't serve the page.
    """
    address = f"{stores.network.addresses[place]}:{stores.http_ports[place]}"
    with urlopen(f"http://{address}/metrics", timeout=PATIENCE) as page:
        for line in page.read().decode("ascii").splitlines():
            words = line.split()
            if words[0] == f"tinykv_{name}":
                return float(words[1])
    raise Missed(f"store {place + 1} has no figure {name}")


class _Writer:
    """One of the connections over which is written while the store is away."""

    def __init__(self, client: BlockingClient, commands: Iterator[Command], size: int) -> None:
        self.client = client
        self._commands = commands
        self._size = size
        self._waiting: list[Command] = []

    def send(self) -> bool:
        """Send what was refused, or what comes next; say if there was something."""
        size = 0
        while not self._waiting or size < self._size:
            command = next(self._commands, None)
            if command is None:
                break
            self._waiting.append(command)
            size += sum(map(len, command))
        self.client.send_raw(b"".join(map(encode_command, self._waiting)))
        return bool(self._waiting)

    def receive(self) -> int:
        """Take the replies; say how many were acknowledged. Of the others nothing was done, or it's all over."""
        refused = []
        for command in self._waiting:
            reply = self.client.read_reply()
            if isinstance(reply, ReplyError):
                if not reply.wire.startswith(b"TRYAGAIN "):
                    raise Missed(f"a write was answered {reply.wire!r}")
                refused.append(command)
        done = len(self._waiting) - len(refused)
        self._waiting = refused
        return done


def write_all(
    clients: Sequence[BlockingClient],
    commands: Iterator[Command],
    tell: Callable[[str], None],
    size: int = PIPELINE_BYTES,
) -> int:
    """
    Write over several connections, many at once; what is refused because the disk can't keep up is sent again.

    @param clients: The connections, which are closed in the end.
    @param tell: Told every now and then how far it is.
    @param size: How many bytes a connection sends at once, about.
    @return: How many were acknowledged.
    @raise Missed: One was answered with another error, or it takes too long.
    """
    writers = [_Writer(client, commands, size) for client in clients]
    begin = told = time.monotonic()
    done = 0
    while any([writer.send() for writer in writers]):
        done += sum(writer.receive() for writer in writers)
        if time.monotonic() - told > TELL_SECONDS:
            told = time.monotonic()
            tell(f"{done:,} writes in {told - begin:.0f} s")
        if time.monotonic() - begin > WRITE_SECONDS:
            raise Missed(f"only {done:,} writes were acknowledged in {WRITE_SECONDS:.0f} s")
    for writer in writers:
        writer.client.close()
    return done


def away_and_back(
    folder: Path,
    commands: Iterator[Command],
    load: Load,
    seconds: float,
    tell: Callable[[str], None],
    *,
    written: Callable[[int, float], Figures],
    settle: float = 0.0,
    **options: str,
) -> tuple[Figures, Return]:
    """
    Kill one of three stores, write to the others, and let it come back; all of them must be equal then.

    @param seconds: How long it may take until it has caught up.
    @param written: Makes figures of how many writes were acknowledged, and how many seconds they took.
    @param settle: Seconds between the writes and the load, in which what was written gets to data.db.
    @param options: More of the stores' configuration.
    @raise Missed: The stores differ, or one isn't as it should be.
    """
    with Stores(folder, Loopback(STORES), **options) as stores:
        away = (leader_of(stores) + 1) % STORES
        stores.kill(away)
        begin = time.monotonic()
        leader = leader_of(stores)
        done = write_all([stores.connect(leader, PATIENCE) for _ in range(WRITERS)], commands, tell)
        figures = written(done, time.monotonic() - begin)
        # Nothing tells when the disks have come to rest.
        time.sleep(settle)
        back = come_back(stores, away, load, seconds, tell)
        figures |= back.figures()
        compare(stores)
        ended = stores.ended()
    tell(", ".join(f"{figure:,} {name}" for name, figure in figures.items()))
    if ended:
        raise Missed(f"stores have ended by themselves: {ended}")
    return figures, back


def teller(proof: str) -> Callable[[str], None]:
    """Give what tells of a proof's progress, on standard error."""
    return lambda line: print(f"proof-{proof}: {line}", file=sys.stderr, flush=True)


def prove(
    proof: str,
    measure: Callable[[Path], tuple[Figures, Return]],
    judge: Callable[[Return], None],
    title: str,
    text: str | None,
    bounds: str,
) -> int:
    """
    Run the long form, compare with the bounds, and write the report.

    @param text: What the proof does, its module's docstring.
    @return: The exit status.
    """
    run = Run(proof, units=1, seconds=0, resume=False)

    def unit(number: int) -> Figures:
        with tempfile.TemporaryDirectory() as folder:
            figures, back = measure(Path(folder))
        judge(back)
        return figures

    try:
        run.work(unit)
    except Missed as missed:
        teller(proof)(str(missed))
        return 1
    print(run.write(title, f"{prose(text)}\n{bounds}"))
    return 0


def come_back(stores: Stores, place: int, load: Load, seconds: float, tell: Callable[[str], None]) -> Return:
    """
    Start a store that was killed, while clients write to the store that leads.

    @param seconds: How long it may take until it has caught up.
    @raise Missed: It takes longer, or there was no snapshot.
    """
    leader = leader_of(stores)
    loop = OpenLoop(
        stores.ports[leader],
        rate=load.rate,
        connections=load.connections,
        keys=load.keys,
        value_bytes=load.value_bytes,
    )
    with loop:
        began = time.monotonic()
        # The load goes on by itself: this is what it meets while nothing else happens.
        time.sleep(load.seconds)
        started = time.monotonic()
        stores.start(place)
        stores.wait_for(place)
        limit = started + seconds
        _wait(lambda: _has_got_it(stores, leader, place), limit, "the snapshot's arrival")
        arrived = time.monotonic()
        tell(f"the snapshot arrived after {arrived - started:.1f} s")
        _wait(lambda: _lag(stores, leader, place) <= LAG_MAX, limit, "the store to catch up")
        caught_up = time.monotonic()
        tell(f"the store had caught up after {caught_up - started:.1f} s")
    snapshots = int(metric(stores, place, "snapshots_received_total"))
    return Return(loop.answers, began, started, arrived, caught_up, snapshots)


def _has_got_it(stores: Stores, leader: int, place: int) -> bool:
    """Say if a store has got a snapshot."""
    if metric(stores, place, "snapshots_received_total") >= 1:
        return True
    if _lag(stores, leader, place) <= LAG_MAX:
        raise Missed("the store has caught up without a snapshot: the log still had all that it lacked")
    return False


def _lag(stores: Stores, leader: int, place: int) -> float:
    """Say how many entries a store has still to apply; the figures are of two moments, so it may be too many."""
    applied = metric(stores, place, "applied_index")
    return metric(stores, leader, "applied_index") - applied


def _wait(true: Callable[[], bool], limit: float, what: str) -> None:
    while not true():
        if time.monotonic() > limit:
            raise Missed(f"waited in vain for {what}")
        # Looking is work for the stores that are measured.
        time.sleep(LOOK_SECONDS)


def compare(stores: Stores) -> None:
    """
    Have the stores sum up their rows, as C{tinykv ctl checksum} does.

    @raise Missed: They differ, or one doesn't say.
    """
    control = HttpControl(f"http://{stores.network.addresses[0]}:{stores.http_ports[0]}", PATIENCE)
    try:
        answer = control.ask("checksum", {}, longer=CHECKSUM_SECONDS_USUAL)
    except Problem as problem:
        raise Missed(f"no checksums: {problem}") from problem
    for region in answer["regions"]:
        sums = [replica["checksum"] for replica in region["replicas"]]
        if len(sums) != len(stores.ports) or None in sums or len(set(sums)) != 1:
            raise Missed(f"the stores differ, or one says nothing: {sums}")
