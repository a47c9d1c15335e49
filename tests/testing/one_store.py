"""
A store in a simulated world: the real front, host, commands and writers; simulated clocks, connections and disk.

It's the smallest scenario of which everything can be asked: what was acknowledged survives every crash, and the
history is linearizable. Broken on purpose (L{Fault} and its kin below) it shows that the checks see what they should.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from zope.interface import implementer

from tinykv.config import StoreConfig
from tinykv.interfaces import ILogWriter
from tinykv.redis.commands import VALUE_TYPES
from tinykv.redis.execution import Execution
from tinykv.redis.keyspace import Keyspace
from tinykv.region.descriptor import Descriptor
from tinykv.server.commands import CONNECTION_MODULES
from tinykv.server.front import Front
from tinykv.server.session import Session
from tinykv.storage.folder import Recovery
from tinykv.storage.log import Entry
from tinykv.storage.rowstore import RowStore
from tinykv.storage.writers import LogBatch, LogWriter
from tinykv.store.host import RegionHost
from tinykv.store.recovery import recover
from tinykv.store.regions import Regions
from tinykv.testing.alone import alone
from tinykv.testing.embedded import TABLE
from tinykv.testing.redis_model import RedisModel
from tinykv.testing.simulation import faults
from tinykv.testing.simulation.clock import NodeClock, Process
from tinykv.testing.simulation.disk import Disk, DiskQuality
from tinykv.testing.simulation.events import MILLISECOND, SECOND, Events
from tinykv.testing.simulation.faults import Limits, Nemesis, draw, schedule_text
from tinykv.testing.simulation.network import Network, Quality
from tinykv.testing.simulation.ports import RespPort
from tinykv.testing.simulation.scenario import Report, Settings, judge
from tinykv.testing.simulation.streams import Streams
from tinykv.testing.simulation.workload import Done, Mix, Port, Request, Silence, Workload

STORE = "store"
LIMITS = Limits(interval_us=8 * SECOND)
#: How far clock readings may be off: the faults of clocks, the lag of region time, and whole milliseconds.
SLACK_US = LIMITS.clock_error_us + int(LIMITS.clock_rate * LIMITS.duration_us[1]) + 15 * MILLISECOND
#: How long a store that has stopped by itself stays down.
DOWN_US = 300 * MILLISECOND


class Variant:
    """The store as it is. What is derived from this breaks it somewhere."""

    def writer(self, writer: LogWriter, process: Process) -> ILogWriter:
        """Give the log writer that the store uses."""
        return writer

    def folder(self, disk: Disk) -> Any:
        """Give what the store recovers from."""
        return disk

    def disk(self, disk: Disk) -> None:
        """Spoil the disk."""

    def port(self, port: RespPort) -> Port:
        """Give the port that a client uses."""
        return port


class Durations:
    """Takes no figures."""

    class _Nothing:
        def observe(self, amount: float) -> None:
            """Forget it."""

    log_commit_seconds = log_commit_bytes = flush_seconds = flush_bytes = turn_seconds = _Nothing()


def end_stacks(hosts: Sequence[RegionHost]) -> None:
    """End the stacks of stores' work: one that rests holds on to all that it knows, which is the whole world."""
    for host in hosts:
        host.pacer._worker.throw()


class World(faults.Target):
    """
    The store and what it lives in.

    @ivar problems: What should never happen, and did.
    @ivar starts: How often the store was started.
    """

    def __init__(self, seed: int, variant: Variant, *, fsync: bool = True) -> None:
        self.events = Events(seed)
        self.variant = variant
        self.problems: list[str] = []
        self.starts = 0
        #: Of all runs.
        self.hosts: list[RegionHost] = []
        self.random = self.events.random("world")
        choose = self.random.choice
        self.network = Network(self.events, Quality(loss=choose((0.0, 0.02)), jitter_us=choose((50, 2_000))))
        self.streams = Streams(self.events, self.network)
        self.clock = NodeClock(self.events)
        self.disk = Disk(self.events, STORE)
        variant.disk(self.disk)
        self._fsync = fsync
        #: A different shape in every run: much or little in memory, tables flushed often or seldom.
        self._memtable_bytes = choose((1_000, 10_000, 1 << 20))
        self._budget = choose((1 << 12, 1 << 15, 1 << 30))
        self.process = Process(self.events, self.clock, STORE)
        self.process.kill()
        self.restart(STORE)

    def close(self) -> None:
        """Leave nothing."""
        self.kill(STORE)
        end_stacks(self.hosts)

    def client(self, name: str) -> Port:
        """Make a client on a machine of its own."""
        process = Process(self.events, NodeClock(self.events), name)
        return self.variant.port(RespPort(self.streams, process, [STORE], self.events.random(f"port {name}")))

    # The store

    def _start(self) -> None:
        process = self.process = Process(self.events, self.clock, STORE)
        self.starts += 1
        random = self.events.random(f"store {self.starts}")
        rows = RowStore(self.disk.reader(), frozen_tables_max=2)
        keyspace = Keyspace(rows, VALUE_TYPES, budget=self._budget)
        execution = Execution(
            keyspace, TABLE, start_id=self.starts, random=Random(random.getrandbits(64)), defect=self._defect
        )
        folder = self.variant.folder(self.disk)
        applied, hard_state, descriptor, *_ = recover(folder, execution, Descriptor.initial(1, [1]), 1)
        writer, data_writer = self.disk.start_writers(process, fsync=self._fsync)
        durations = Durations()
        log_writer = self.variant.writer(writer, process)
        regions = Regions(
            rows=rows,
            log_writer=log_writer,
            data_writer=data_writer,
            reader=self.disk.start_reader(process, rows),
            clock=process,
            now=Labour(random),
            now_ms=self.clock.calendar_ms,
            flushed=lambda: None,
            answered=lambda: front.flush(),
            stopped=lambda problem: self._stopped(process, problem),
            durations=durations,
            memtable_bytes=self._memtable_bytes,
            durability_os=not self._fsync,
        )
        host = RegionHost(
            regions,
            replica=alone(log_writer, process, durations, applied, hard_state, Random(random.getrandbits(64))),
            descriptor=descriptor,
            execution=execution,
            now_ms=self.clock.calendar_ms,
            uptime=process.seconds,
            random=Random(random.getrandbits(64)),
            applied=applied,
            request_timeout=5.0,
        )
        self.hosts.append(host)
        front = Front(
            host,
            TABLE,
            CONNECTION_MODULES,
            config=StoreConfig(),
            clock=process,
            now=lambda: self.clock.calendar_ms() / 1000,
            shutdown=lambda: None,
        )
        host.start()
        front.start()

        def accept(address: str) -> Session:
            return front.session(tls=False)

        self.streams.listen(STORE, process, accept)

    def _defect(self, name: str, problem: BaseException) -> None:
        self.problems.append(f"The command {name} failed unexpectedly: {problem!r}")

    def _stopped(self, process: Process, problem: BaseException) -> None:
        """The store ends by itself, and is started anew a little later, as by systemd."""
        if not self.disk.failed:
            self.problems.append(f"The store stopped without a reason: {problem!r}")
        # In the next turn: it's in the middle of something.
        process.soon("ends", self._end, process)

    def _end(self, process: Process) -> None:
        if process is self.process and self.kill(STORE):
            self.events.after(DOWN_US, "store is started by its machine", self.restart, STORE)

    # Target

    def crash(self, node: str) -> bool:
        """Take the machine's power away."""
        if self.process.is_dead:
            return False
        self.process.kill()
        self.streams.lost_power(self.process)
        self.disk.lost_power()
        return True

    def kill(self, node: str) -> bool:
        """Kill the store."""
        if self.process.is_dead:
            return False
        self.process.kill()
        self.streams.killed(self.process)
        self.disk.killed()
        return True

    def restart(self, node: str) -> None:
        """Start the store, unless it runs."""
        if self.process.is_dead:
            self._start()

    def pause(self, node: str) -> bool:
        """Let it stand still."""
        self.process.pause()
        return not self.process.is_dead

    def resume(self, node: str) -> None:
        """Let it go on."""
        self.process.resume()

    def cut(self, source: str, target: str) -> None:
        """Cut a link."""
        self.network.cut(source, target)

    def heal(self, source: str, target: str) -> None:
        """Heal it."""
        self.network.heal(source, target)

    def set_disk(self, node: str, *, slowness: float, stuck: bool, full: bool, failing: bool) -> None:
        """Spoil the disk, or mend it."""
        self.disk.slowness = slowness
        self.disk.full = full
        self.disk.failing = failing
        self.disk.stuck = stuck

    def set_clock(self, node: str, *, rate: float | None = None, error_us: int | None = None) -> None:
        """Set the clock."""
        if rate is not None:
            self.clock.set_rate(rate)
        if error_us is not None:
            self.clock.set_error(error_us)


class Labour:
    """Tells how long work takes: something else at each look, so that it rests in many places."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._seconds = 0.0

    def __call__(self) -> float:
        """Look."""
        self._seconds += self._random.random() * 0.002
        return self._seconds


class OneStore:
    """The scenario."""

    name = "one-store"
    faults = (
        faults.CRASH,
        faults.KILL,
        faults.PAUSE,
        faults.SLOW_DISK,
        faults.STUCK_DISK,
        faults.FULL_DISK,
        faults.FAILING_DISK,
        faults.CLOCK_RATE,
        faults.CLOCK_STEP,
    )

    def __init__(
        self, variant: Callable[[], Variant] = Variant, *, fsync: bool = True, last_crash: bool = True
    ) -> None:
        """
        @param last_crash: Whether power is lost once more before everything is read at the end.
        """
        self._variant = variant
        self._fsync = fsync
        self._last_crash = last_crash

    def run(self, seed: int, settings: Settings) -> Report:
        """Run it once."""
        world = World(seed, self._variant(), fsync=self._fsync)
        events = world.events
        end = settings.seconds * SECOND
        schedule = draw(events, [STORE], settings.faults, begin_us=SECOND // 2, end_us=end, limits=LIMITS)
        nemesis = Nemesis(events, world)
        nemesis.arm(schedule)
        ports = [world.client(f"client{number}") for number in range(settings.clients)]
        # A request for each client every fifth of a second: 300 in ten seconds for six clients.
        workload = Workload(events, ports, Mix(), end_us=end)
        workload.start()
        events.run_until(end)
        events.run_while(lambda: workload.busy, end + 30 * SECOND)
        # What was acknowledged is there after one more crash.
        if self._last_crash:
            world.crash(STORE)
        world.restart(STORE)
        workload.look_at_all(world.client("auditor"))
        quiet = events.run_while(lambda: workload.busy, events.now + 30 * SECOND)
        problems = list(world.problems)
        if not quiet:
            problems.append("The store doesn't answer, although nothing has been wrong for 30 s")
        found, steps = judge(workload.history.operations, RedisModel(slack_us=SLACK_US))
        problems += found
        figures = {
            "runs": 1,
            "requests": len(workload.history),
            "replies": workload.statistics.replies,
            "requests of unknown outcome": workload.statistics.unknown,
            "requests refused": workload.statistics.nothing_done,
            "starts": world.starts,
            "events": events.happened,
            "steps of the checker": steps,
        }
        figures |= {f"faults {kind}": count for kind, count in nemesis.statistics.happened.items()}
        world.close()
        recent = list(events.recent) if problems else []
        return Report(events.digest, schedule_text(schedule), problems, figures, recent)


# Broken on purpose


class AcknowledgesEarly(Variant):
    """Says that a batch is durable in the next turn; the disk is slow, so that it often isn't."""

    def disk(self, disk: Disk) -> None:
        """Let it take its time."""
        disk.quality = DiskQuality(commit_us=30 * MILLISECOND)

    def writer(self, writer: LogWriter, process: Process) -> ILogWriter:
        """Tell the store too early."""
        return _EarlyWriter(writer, process)


@implementer(ILogWriter)
class _EarlyWriter:
    def __init__(self, writer: LogWriter, process: Process) -> None:
        self._process = process
        self._writer = writer
        self.failed = writer.failed
        self.close = writer.close

    def write(self, batch: LogBatch, done: Callable[[], None]) -> None:
        """Write, and say at once that it's done."""
        self._writer.write(batch, lambda: None)
        self._process.callLater(0, done)


class Lies(Variant):
    """The disk reports what isn't on it yet, of the log."""

    def disk(self, disk: Disk) -> None:
        """Let it lie."""
        disk.lies = frozenset({"log"})


class AppliesTwice(Variant):
    """A restart applies each entry twice."""

    def folder(self, disk: Disk) -> Any:
        """Give the entries twice."""
        return Doubled(disk)


class Doubled:
    """A folder that gives each entry twice."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def recover(self, region: int, row: bytes | None = None) -> Recovery:
        """Find where it stands."""
        return self._disk.recover(region, row)

    def entries(self, region: int, after: int) -> Iterator[Entry]:
        """Yield each twice."""
        for entry in self._disk.entries(region, after):
            yield entry
            yield entry


class Retries(Variant):
    """Clients send a request again when the connection breaks, as careless ones do."""

    def port(self, port: RespPort) -> Port:
        """Give a careless one."""
        return _CarelessPort(port)


class _CarelessPort:
    def __init__(self, port: RespPort) -> None:
        self._port = port

    def send(self, request: Request, done: Done) -> None:
        """Send a request until there's a reply."""

        def answered(answer: Any) -> None:
            if answer is Silence.LOST:
                self._port.renew()
                self._port.send(request, done)
            else:
                done(answer)

        self._port.send(request, answered)

    def renew(self) -> None:
        """Connect anew."""
        self._port.renew()
