"""
Simulated stores whose clients all come through gateways, two of them, which end and begin anew now and then.

The stores, the faults and the checks are those of L{tests.testing.cluster} and L{tests.testing.region_cluster}; clients
know nothing but the gateways.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any, Final

from twisted.internet.interfaces import IProtocol

from tests.testing.cluster import MIX, REQUEST_TIMEOUT, STOP_ALL, Cluster, Variant, World
from tests.testing.everywhere import Everywhere
from tests.testing.region_cluster import REGIONS, MovingCluster, RegionCluster, RegionWorld
from tests.testing.split_cluster import SplitCluster, SplitWorld
from tinykv.config import StoreConfig
from tinykv.gateway.gateway import Gateway, Place
from tinykv.gateway.regions import DistantRegion, Forwards
from tinykv.peering.gateway_links import GatewayLinks
from tinykv.server.commands import CONNECTION_MODULES
from tinykv.server.front import Front
from tinykv.server.router import Router
from tinykv.store.forwarding import Forwarder
from tinykv.store.runs import gateway_of, new_gateway_run
from tinykv.testing.embedded import TABLE
from tinykv.testing.simulation.clock import NodeClock, Process
from tinykv.testing.simulation.endpoints import SECRET, address_of, dialling
from tinykv.testing.simulation.ports import RespPort

GATEWAYS: Final = ("gateway1", "gateway2")
#: How long a gateway lives, in seconds, where they end at all.
LIFE_SECONDS: Final = 2.5


class SimulatedGateway:
    """
    A gateway.

    @ivar starts: How often it was started.
    """

    process: Process
    gateway: Gateway
    front: Front

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.clock = NodeClock(world.events)
        self.starts = 0

    def start(self) -> None:
        """Start it, as another one than before."""
        world = self.world
        process = self.process = Process(world.events, self.clock, self.name)
        self.starts += 1
        random = world.events.random(f"{self.name} {self.starts}")
        start_id = new_gateway_run(random)
        gateway_id = gateway_of(start_id)
        assert gateway_id is not None
        self._router: Router | None = None
        self._random = random
        self.links = links = GatewayLinks(
            clock=process,
            gateway_id=gateway_id,
            start_id=start_id,
            secret=SECRET,
            dial=dialling(world.streams, process),
            limits=world.limits,
            entropy=random.randbytes,
            random=Random(random.getrandbits(64)),
            now_ms=self.clock.calendar_ms,
        )
        self.gateway = gateway = Gateway(
            start_id=start_id,
            links=links,
            clock=process,
            request_timeout=REQUEST_TIMEOUT,
            answered=self._answered,
            forwarder=partial(self._forwarder, process),
        )
        gateway.routed = self._routed
        links.handle(gateway)
        gateway.start({number: address_of(name) for number, name in world.addresses.items()})

    def _answered(self) -> None:
        if self._router is not None:
            self.front.flush()

    def _forwarder(self, process: Process, region: DistantRegion, leader: Callable[[], int | None]) -> Forwards:
        forwarder = Forwarder(
            region=region.region,
            here=region,
            links=self.links,
            leader_store=leader,
            own_store=0,
            clock=process,
            request_timeout=REQUEST_TIMEOUT,
            answered=self._answered,
        )
        forwarder.refused = self.gateway.told
        forwarder.astray = self.gateway.went_astray
        return forwarder

    def _routed(self, places: list[Place]) -> None:
        if self._router is not None:
            self._router.route(places)
            return
        self.gateway.way = self._router = router = Router(places, self._random.randrange)
        self.front = front = Front(
            router,
            TABLE,
            CONNECTION_MODULES,
            config=StoreConfig(),
            clock=self.process,
            now=lambda: self.clock.calendar_ms() / 1000,
            shutdown=lambda: None,
        )
        front.start()

        def accept(address: str) -> IProtocol:
            return front.session(tls=False)

        self.world.streams.listen(self.name, self.process, accept)

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.world.streams.killed(self.process)


class _Gateways:
    """The gateways of a world, and who ends them."""

    def __init__(self, world: World, *, ends: bool) -> None:
        self.all = [SimulatedGateway(world, name) for name in GATEWAYS]
        for gateway in self.all:
            gateway.start()
        self._next = 0
        self._operator = Process(world.events, NodeClock(world.events), "operator")
        self.ends = ends
        self._again()

    def _again(self) -> None:
        self._operator.callLater(LIFE_SECONDS / len(self.all), self._end_one)

    def _end_one(self) -> None:
        if self.ends:
            gateway = self.all[self._next]
            self._next = (self._next + 1) % len(self.all)
            gateway.kill()
            gateway.start()
            self._again()


def _ported(world: Any, name: str, process: Process) -> RespPort:
    return RespPort(world.streams, process, GATEWAYS, world.events.random(f"port {name}"))


class GatewayWorld(World):
    """One region, of which members come and go."""

    def __init__(self, seed: int, variant: Variant, *, size: int | None = None, ends: bool = True) -> None:
        super().__init__(seed, variant, size=size)
        self.gateways = _Gateways(self, ends=ends)

    def _port(self, name: str, process: Process) -> RespPort:
        return _ported(self, name, process)

    def mend(self) -> None:
        """Let nothing be wrong any more."""
        super().mend()
        self.gateways.ends = False


class GatewayRegionWorld(RegionWorld):
    """Several regions."""

    def __init__(
        self,
        seed: int,
        variant: Variant,
        *,
        size: int | None = None,
        regions: int = REGIONS,
        moves: bool = False,
        ends: bool = True,
    ) -> None:
        super().__init__(seed, variant, size=size, regions=regions, moves=moves)
        self.gateways = _Gateways(self, ends=ends)

    def _port(self, name: str, process: Process) -> RespPort:
        return _ported(self, name, process)

    def mend(self) -> None:
        """Let nothing be wrong any more."""
        super().mend()
        self.gateways.ends = False


class GatewayCluster(Cluster):
    """The scenario with one region."""

    name = "gateways"

    def __init__(self, *, size: int | None = None, ends: bool = True) -> None:
        super().__init__(size=size, mix=replace(MIX), pipeliners=0)
        self._ends = ends

    def _world(self, seed: int) -> World:
        return GatewayWorld(seed, self._variant(), size=self._size, ends=self._ends)


class GatewayRegionCluster(RegionCluster):
    """The scenario with several regions."""

    name = "gateway-regions"

    def __init__(self, *, size: int | None = None, regions: int = REGIONS, ends: bool = True) -> None:
        super().__init__(size=size, regions=regions, pipeliners=0)
        self._ends = ends

    def _world(self, seed: int) -> World:
        return GatewayRegionWorld(seed, self._variant(), size=self._size, regions=self._regions, ends=self._ends)


class GatewaySplitWorld(SplitWorld):
    """Regions that are split."""

    def __init__(self, seed: int, variant: Variant, *, size: int | None = None, regions: int = 1) -> None:
        super().__init__(seed, variant, size=size, regions=regions)
        self.gateways = _Gateways(self, ends=True)

    def _port(self, name: str, process: Process) -> RespPort:
        return _ported(self, name, process)

    def mend(self) -> None:
        """Let nothing be wrong any more."""
        super().mend()
        self.gateways.ends = False


class GatewaySplitCluster(Everywhere, SplitCluster):
    """The scenario in which regions are split, and clients ask for what is about all keys."""

    name = "gateway-splits"
    faults: Sequence[str] = (*SplitCluster.faults, STOP_ALL)
    world_type: type[RegionWorld] = GatewaySplitWorld

    def __init__(self, *, size: int | None = None, regions: int = 2) -> None:
        super().__init__(size=size, regions=regions, pipeliners=0)


class GatewayMovingCluster(MovingCluster):
    """The scenario in which replicas move between stores."""

    name = "gateway-moves"

    def __init__(self, *, size: int | None = None, regions: int = REGIONS) -> None:
        super().__init__(size=size, regions=regions, pipeliners=0)

    def _world(self, seed: int) -> RegionWorld:
        return GatewayRegionWorld(seed, self._variant(), size=self._size or 3, regions=self._regions, moves=True)
