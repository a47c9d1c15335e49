"""Three real stores, taken for a Redis Cluster by the clients that know such."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from redis.cluster import ClusterNode, RedisCluster
from twisted.trial.unittest import SynchronousTestCase

from tests.redis_server import BlockingClient
from tests.system.processes import TINYKV, run, wait_until
from tests.system.stores import Loopback, Stores
from tests.system.test_clients import BENCHMARK

CLI = shutil.which("redis-cli")
KEYS = [f"key:{number}" for number in range(60)]


class ClusterPortTests(SynchronousTestCase):
    """Clients go straight to the leaders, and follow them."""

    if not sys.platform.startswith("linux"):
        skip = "finds the writers' processes in /proc"

    def start(self, **options: str) -> None:
        """Start three stores, and wait until each knows all of them as nodes, and who leads."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.stores = Stores(folder, Loopback(3), **options)
        self.addCleanup(self.stores.close)
        self.clients = [BlockingClient.tcp("127.0.0.1", port, 10) for port in self.stores.cluster_ports]
        for client in self.clients:
            self.addCleanup(client.close)
        wait_until(self.agree, "all stores to know the cluster")

    def agree(self) -> bool:
        """Say if all stores tell the same of the cluster, and it's whole."""
        info = [client.call("CLUSTER", "INFO") for client in self.clients]
        told = {str(client.call("CLUSTER", "SLOTS")) for client in self.clients}
        whole = all(b"cluster_state:ok" in one and b"cluster_known_nodes:3" in one for one in info)
        return whole and len(told) == 1

    def owners(self) -> set[int]:
        """Give the ports that slots are at."""
        return {held[2][1] for held in self.clients[0].call("CLUSTER", "SLOTS")}

    def transfer(self, region: int, place: int) -> None:
        """Hand leadership of a region to a store."""
        url = f"http://127.0.0.1:{self.stores.http_ports[0]}"
        done = run([*TINYKV, "ctl", "--url", url, "transfer-leader", "--region", str(region), str(place + 1)])
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def cluster(self) -> RedisCluster:
        """Connect a client that knows one of the nodes."""
        client = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", self.stores.cluster_ports[0])], socket_timeout=10)
        self.addCleanup(client.close)
        return client

    def test_one_region(self) -> None:
        self.start()
        (first,) = self.owners()
        client = self.cluster()
        self.assertEqual(client.get_primaries(), [client.get_node(port=first, host="127.0.0.1")])
        self.assertEqual(len(client.get_replicas()), 2)
        for key in KEYS:
            self.assertTrue(client.set(key, key))
        self.assertEqual(client.dbsize(), len(KEYS))
        self.assertEqual(sorted(key.decode() for key in client.scan_iter()), sorted(KEYS))
        self.assertEqual(client.mget_nonatomic(KEYS), [key.encode() for key in KEYS])

        leader = self.stores.cluster_ports.index(first)
        other = (leader + 1) % 3
        self.transfer(1, other)
        wait_until(lambda: self.owners() == {self.stores.cluster_ports[other]} and self.agree(), "the new leader")
        self.assertIn("MOVED", str(self.clients[leader].attempt("SET", "a", "1")))
        for key in KEYS:
            self.assertTrue(client.set(key, f"{key}!"))
            self.assertEqual(client.get(key), f"{key}!".encode())
        self.assertEqual(client.nodes_manager.get_node_from_slot(0).port, self.stores.cluster_ports[other])
        # A client of the port for all others notices nothing of it.
        plain = self.stores.connect(leader)
        self.addCleanup(plain.close)
        self.assertEqual(plain.call("GET", KEYS[0]), f"{KEYS[0]}!".encode())

        self.assertIsNotNone(CLI, "redis-cli isn't installed")
        said = run([str(CLI), "-c", "-p", str(first), "SET", "by", "cli"])
        self.assertEqual(said.stdout.strip(), "OK", said.stderr)
        names = [client.call("CLUSTER", "MYID") for client in self.clients]
        self.stores.kill(leader)
        self.stores.start(leader)
        self.stores.wait_for(leader)
        back = BlockingClient.tcp("127.0.0.1", first, 10)
        self.addCleanup(back.close)
        self.assertEqual(back.call("CLUSTER", "MYID"), names[leader])

    def test_several_regions(self) -> None:
        self.start(initial_regions="6")
        client = self.cluster()
        for key in KEYS:
            self.assertTrue(client.set(key, key))
            self.assertEqual(client.get(key), key.encode())

        def counted() -> int:
            """Add up what the masters say."""
            masters = [one for one in self.clients if b"myself,master" in one.call("CLUSTER", "NODES")]
            return sum(int(one.call("DBSIZE")) for one in masters)

        wait_until(lambda: counted() == len(KEYS), "each key to be counted once")
        self.assertEqual(client.delete(*KEYS[:10]), 10)
        pipe = client.pipeline()
        for key in KEYS:
            pipe.get(key)
        self.assertEqual(pipe.execute(), [None] * 10 + [key.encode() for key in KEYS[10:]])
        if BENCHMARK is not None:
            # One that leads all, as who is up first may, is no cluster to it.
            if len(self.owners()) == 1:
                self.transfer(1, (self.stores.cluster_ports.index(*self.owners()) + 1) % 3)
                wait_until(lambda: len(self.owners()) == 2 and self.agree(), "the new leader")
            port = str(self.stores.cluster_ports[1])
            load = "-t set,get -n 2000 -c 10 -r 1000 -q".split()
            done = run([BENCHMARK, "--cluster", "-p", port, *load])
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn("GET: ", done.stdout)

    if CLI is None:
        test_one_region.skip = "redis-cli isn't installed"  # type: ignore[attr-defined]  # trial looks there
