"""Stores and the gateways that are connected to them: where regions are, and clients of gateways that wait."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.redis.regions import Region, Teller
from tinykv.peering.settings import GATEWAYS
from tinykv.redis.forwarded import decode_woken
from tinykv.redis.operations import INTERNAL, NOBODY, WAITING
from tinykv.region.descriptor import Descriptor
from tinykv.region.routes import Route, decode_routes
from tinykv.store.peers import LOST_SECONDS, Peers
from tinykv.store.runs import gateway_of, new_gateway_run, store_of
from tinykv.store.surroundings import MARK

RUN = (1 << 63) | 9
GATEWAY = GATEWAYS | 9


class Links:
    """Links of gateways."""

    def __init__(self) -> None:
        self.connected: set[int] = set()
        self.pushed: list[tuple[int, bytes]] = []

    def is_connected(self, gateway_id: int) -> bool:
        """Say as the test does."""
        return gateway_id in self.connected

    def push(self, store_id: int, payload: bytes) -> bool:
        """Note it."""
        self.pushed.append((store_id, payload))
        return store_id in self.connected


class Answer:
    """Where the answer to a batch goes."""

    crowded = False

    def __init__(self) -> None:
        self.refused: list[bytes] = []

    def refuse(self, payload: bytes) -> None:
        """Note it."""
        self.refused.append(payload)


class RunTests(SynchronousTestCase):
    """Names of gateways' runs."""

    def test_names(self) -> None:
        runs = {new_gateway_run(Random(seed)) for seed in range(20)}
        self.assertEqual(len(runs), 20)
        for run in runs:
            gateway = gateway_of(run)
            assert gateway is not None
            self.assertTrue(GATEWAYS <= gateway < 2**62)
            self.assertGreaterEqual(store_of(run), 1 << 16)
        self.assertIsNone(gateway_of(65535 << 47 | 5))
        self.assertEqual(gateway_of(RUN), GATEWAY)


class PeersTests(SynchronousTestCase):
    """A store with a region."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.links = Links()
        self.peers = Peers(cast(Any, self.links), self.clock)
        self.region = Region()
        host = SimpleNamespace(
            descriptor=Descriptor.initial(1, [1, 2, 3]),
            group=SimpleNamespace(term=7, leader_id=2),
            execution=self.region.execution,
            departed=False,
            vacant=False,
            clipped=False,
        )
        self.peers.of(1).serve(cast(Any, host), cast(Any, None), cast(Any, None))
        self.peers.addresses = lambda: {1: "a:1", 2: "b:2"}
        self.group = host.group

    def refusal(self, payload: bytes, sender: int = GATEWAY) -> bytes:
        """Send a batch that is refused."""
        answer = Answer()
        self.peers.forwarded(sender, payload, cast(Any, answer))
        (refused,) = answer.refused
        return refused

    def test_where_regions_are(self) -> None:
        expected = ([Route(1, 0, 16384, 1, 7, 2)], {1: "a:1", 2: "b:2"})
        for payload in (b"", (9).to_bytes(8, "big") + bytes(16)):
            self.assertEqual(decode_routes(self.refusal(payload)), expected)
        self.group.leader_id = 0
        self.assertEqual(decode_routes(self.refusal(b""))[0], [Route(1, 0, 16384, 1, 7, 0)])
        # A store isn't told what it knows, and a gateway has no questions of operators.
        self.assertEqual(self.refusal(b"", sender=2), b"")
        self.assertEqual(self.refusal(MARK + b"Q"), b"")

    def wait(self, line: str, client: int, number: int) -> Teller:
        """Let a client of the gateway wait, as on the store that leads."""
        teller = Teller(client)
        operation = list(self.region.make(teller, line))
        operation[6] = (RUN, client, number)
        self.assertEqual(operation[0], WAITING)
        self.region.apply(cast(Any, tuple(operation)))
        return teller

    def test_each_replica_tells_it(self) -> None:
        asked = self.wait("BZPOPMIN z 0", 6, 11)
        self.assertEqual((asked.told, asked.waiting), ([], [(1, 0)]))
        self.wait("BZPOPMIN z 0", 7, 12)
        self.region.do(Teller(1), "ZADD z 1.5 a 2 b")
        found = [(store, *decode_woken(payload)) for store, payload in self.links.pushed]
        self.assertEqual(
            found,
            [
                (GATEWAY, (RUN, 6, 11), b"*3\r\n$1\r\nz\r\n$1\r\na\r\n$3\r\n1.5\r\n"),
                (GATEWAY, (RUN, 7, 12), b"*3\r\n$1\r\nz\r\n$1\r\nb\r\n,2\r\n"),
            ],
        )
        # What is there is given by the store that leads alone.
        self.region.do(Teller(1), "ZADD z 3 c")
        self.links.pushed.clear()
        self.assertEqual(len(self.wait("BZPOPMIN z 0", 6, 13).told), 1)
        self.assertEqual(self.links.pushed, [])

    def test_from_the_log_and_after_a_snapshot(self) -> None:
        """A replica that follows, or has taken rows over, tells the same."""
        self.wait("BLPOP l 0", 7, 12)
        other = Region()
        other.execution.tell_distant(self.peers.waiting_at_gateway)
        other.replay(self.region.log[-1])
        other.execution.load(other.time)
        wake = [b"wake", b"%d" % RUN, b"7", b"12", b"timeout"]
        other.apply((INTERNAL, NOBODY, 0, 0, None, wake, None))
        ((_, payload),) = self.links.pushed
        self.assertEqual(decode_woken(payload), ((RUN, 7, 12), b"_\r\n"))

    def test_who_is_lost(self) -> None:
        runs = {RUN, RUN + 1, 5 << 47 | 3}
        self.links.connected.add(GATEWAY)
        self.assertEqual(self.peers.lost_runs(runs), [])
        self.clock.advance(LOST_SECONDS + 1)
        self.assertEqual(self.peers.lost_runs(runs), [RUN + 1])
        self.links.connected.clear()
        self.assertEqual(self.peers.lost_runs({RUN}), [])
        self.clock.advance(LOST_SECONDS / 2)
        self.links.connected.add(GATEWAY)
        self.assertEqual(self.peers.lost_runs({RUN}), [])
        self.links.connected.clear()
        self.clock.advance(LOST_SECONDS - 1)
        self.assertEqual(self.peers.lost_runs({RUN}), [])
        self.clock.advance(LOST_SECONDS + 1)
        self.assertEqual(self.peers.lost_runs({RUN}), [RUN])
