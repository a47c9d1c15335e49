"""
The members of a scheduler in a simulated world of stores: they answer on a port of theirs, over the same connections
by HTTP, and stores ask them by the real client. They're killed, cut off, and their clocks set.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

from prometheus_client import CollectorRegistry
from twisted.internet.interfaces import IProtocol
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from tests.schedule.cluster import Cluster, Member, Within
from tinykv.client.scheduler import Scheduler
from tinykv.placement.operators import Order
from tinykv.placement.regions import RegionTable
from tinykv.placement.steps import AddLearner
from tinykv.placement.stores import Life
from tinykv.schedule.guard import Guard, RateLimit
from tinykv.schedule.http import Api, ApiSite
from tinykv.schedule.placing import Placing
from tinykv.schedule.routes import Answer, Call
from tinykv.testing.simulation.clock import Process
from tinykv.testing.simulation.endpoints import SimulatedEndpoint
from tinykv.testing.simulation.events import SECOND
from tinykv.testing.simulation.streams import Streams

MEMBERS: Final = 3
#: The service by which members take questions.
SERVICE: Final = "http"
PORT: Final = 2379

#: Faults of the scheduler's members.
KILL_SCHEDULER: Final = "kill-scheduler"
CUT_SCHEDULER: Final = "cut-scheduler"
STRAND_SCHEDULER: Final = "strand-scheduler"
PAUSE_SCHEDULER: Final = "pause-scheduler"
SCHEDULER_CLOCK: Final = "scheduler-clock"
NO_SCHEDULER: Final = "no-scheduler"

KINDS: Final = (KILL_SCHEDULER, CUT_SCHEDULER, STRAND_SCHEDULER, PAUSE_SCHEDULER, SCHEDULER_CLOCK, NO_SCHEDULER)
#: How long they last, in us.
DURATIONS: Final = (SECOND // 5, 4 * SECOND)
#: How far clocks are set off, in us.
CLOCK_ERROR_US: Final = 3_600 * SECOND


class WatchedPlacing(Placing):
    """Tells what it orders that mustn't be."""

    #: Told of what is wrong.
    problem: Callable[[str], None]

    async def region_heartbeats(self, call: Call) -> Answer:
        """Hear of regions, and order."""
        answer = await super().region_heartbeats(call)
        for plain in answer["orders"]:
            order = Order.from_json(plain)
            step = order.step
            if isinstance(step, AddLearner) and self.record(step.store).life is not Life.UP:
                life = self.record(step.store).life.value
                self.problem(f"store {step.store} is {life}, and is given a replica of region {order.region}")
        return answer


class PortedMember(Member):
    """A member with a port."""

    cluster: Schedulers
    placing_type: type[Placing] = WatchedPlacing

    def start(self) -> None:
        """Start it."""
        super().start()
        assert isinstance(self.placing, WatchedPlacing)
        self.placing.problem = self.cluster.problem
        host, leadership, process = self.host, self.leadership, self.process
        api = Api(
            table=self.routes,
            guard=Guard(b"", set(self.cluster.addresses.values())),
            limit=RateLimit(0, process.seconds),
            leads=lambda: leadership.leads,
            leader=lambda: host.leader,
            url_of=host.state.url_of,
            health=lambda: None,
            registry=CollectorRegistry(),
        )
        site = ApiSite(api, process)
        streams = self.cluster.streams

        def accept(address: str) -> IProtocol:
            protocol = site.buildProtocol(streams.numbered(address))
            assert protocol is not None, "it takes all"
            return protocol

        streams.listen(self.name, process, accept, service=SERVICE)

    @property
    def table(self) -> RegionTable:
        """Give the regions that it has heard of in its term."""
        return self.placing.placement.cluster.regions


class Schedulers(Cluster):
    """The members, and what befalls them."""

    member_type: type[Member] = PortedMember
    members: dict[int, PortedMember]  # type: ignore[assignment]  # it's what member_type says

    def __init__(self, path: str, within: Within, problem: Callable[[str], None]) -> None:
        """
        @param problem: Told of what is wrong.
        """
        self.problem = problem
        self._random = within.events.random("faults of schedulers")
        super().__init__(path, MEMBERS, within=within)

    @property
    def actions(self) -> dict[str, Callable[[str], bool]]:
        """Give the faults by their names."""
        return {
            KILL_SCHEDULER: self._killed,
            CUT_SCHEDULER: self._cut_off,
            STRAND_SCHEDULER: self._stranded,
            PAUSE_SCHEDULER: self._paused,
            SCHEDULER_CLOCK: self._clock_set,
            NO_SCHEDULER: self._all_killed,
        }

    def leading(self) -> PortedMember | None:
        """Give the member that leads and knows that nobody else does."""
        return next((member for member in self.members.values() if member in self.alive and member.host.lease), None)

    def _some(self) -> PortedMember:
        """Give a member, most often the one that leads."""
        leading = self.leading()
        if leading is not None and self._random.random() < 0.7:
            return leading
        return self._random.choice(list(self.members.values()))

    def _later(self, what: str, then: Callable[..., Any], *arguments: Any) -> None:
        self.events.after(self._random.randint(*DURATIONS), what, then, *arguments)

    def _killed(self, node: str) -> bool:
        member = self._some()
        if member.process.is_dead:
            return False
        (member.kill if self._random.random() < 0.5 else member.crash)()
        self._later(f"{member.name} starts again", self._start, member)
        return True

    def _all_killed(self, node: str) -> bool:
        alive = list(self.members.values())
        for member in alive:
            if not member.process.is_dead:
                member.crash()
                self._later(f"{member.name} starts again", self._start, member)
        return True

    def _start(self, member: PortedMember) -> None:
        if member.process.is_dead:
            member.start()

    def _cut_off(self, node: str) -> bool:
        """Let a member be cut off from all others, while stores reach it still."""
        member = self._some()
        self.cut(member)
        self._later(f"{member.name} is reached again", self._reached, member)
        return True

    def _reached(self, member: PortedMember) -> None:
        for other in self.addresses.values():
            if other != member.name:
                self.network.heal(member.name, other)
                self.network.heal(other, member.name)

    def _stranded(self, node: str) -> bool:
        """Let the member that leads stand still for long enough for another one to lead, or nearly."""
        member = self.leading()
        if member is None:
            return False
        self.cut(member)
        member.process.pause()
        self.events.after(self._random.randint(SECOND, 3 * SECOND), f"{member.name} goes on", member.process.resume)
        self._later(f"{member.name} is reached again", self._reached, member)
        return True

    def _paused(self, node: str) -> bool:
        member = self._some()
        member.process.pause()
        self._later(f"{member.name} goes on", member.process.resume)
        return True

    def _clock_set(self, node: str) -> bool:
        member = self._some()
        member.clock.set_error(self._random.randint(-CLOCK_ERROR_US, CLOCK_ERROR_US))
        return True

    def mend(self) -> None:
        """Let nothing be wrong any more; cuts are healed by the world."""
        for member in self.members.values():
            member.process.resume()
            member.clock.set_error(0)
            self._start(member)

    def close(self) -> None:
        """End them."""
        for member in self.alive:
            member.kill()


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """The ways to the members' ports."""

    def __init__(self, streams: Streams, process: Process) -> None:
        self._streams = streams
        self._process = process

    def endpointForURI(self, uri: URI) -> SimulatedEndpoint:  # noqa: N802 - the interface's name
        """Give one."""
        return SimulatedEndpoint(self._streams, self._process, uri.host.decode(), SERVICE)


def scheduler_client(streams: Streams, process: Process, names: list[str], random: Random) -> Scheduler:
    """Make the client of a process."""
    pool = HTTPConnectionPool(process)
    pool.retryAutomatically = False
    agent = Agent.usingEndpointFactory(process, _Endpoints(streams, process), pool)
    return Scheduler(
        addresses=[f"{name}:{PORT}" for name in names], agent=agent, clock=process, random=random, pool=pool
    )
