"""Real stores whose regions are split while clients of all kinds read and write."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

from redis import Redis
from redis.cluster import ClusterNode, RedisCluster
from twisted.trial.unittest import SynchronousTestCase

from tests.redis_server import free_port
from tests.system.gateways import GatewayDaemon
from tests.system.processes import TINYKV, run, wait_until
from tests.system.scheduled import ScheduledStore
from tests.system.schedulers import Daemons
from tests.system.stores import Loopback, Stores

KEYS = [f"key:{number}" for number in range(24)]


class Worker:
    """
    A client that counts keys up, one after another, and compares what it's told with what it knows.

    @ivar counts: Up to where it has counted each.
    """

    def __init__(self, name: str, client: Any) -> None:
        self.name = name
        self.counts = {f"{name}:{key}": 0 for key in KEYS}
        self._client = client
        self._over = Event()
        self._problem: BaseException | None = None
        self._rounds = 0
        self._thread = Thread(target=self._work, name=name)
        self._thread.start()

    def _work(self) -> None:
        try:
            while not self._over.is_set():
                for key in self.counts:
                    self.counts[key] += 1
                    told = (self._client.incr(key), self._client.get(key))
                    wanted = (self.counts[key], b"%d" % self.counts[key])
                    assert told == wanted, f"{key}: {told}, not {wanted}"
                self._rounds += 1
        except BaseException as problem:  # noqa: BLE001  # whatever it is, the test's thread raises it
            self._problem = problem

    def goes_on(self) -> Callable[[], bool]:
        """Give what tells whether it has counted all keys up once more, from now on."""
        wanted = self._rounds + 2

        def gone_on() -> bool:
            if self._problem is not None:
                raise AssertionError(f"{self.name} has failed") from self._problem
            return self._rounds >= wanted

        return gone_on

    def end(self) -> None:
        """End it."""
        self._over.set()
        self._thread.join()
        self._client.close()


class SplitCase(SynchronousTestCase):
    """
    Three stores, and clients at work.

    @ivar ports: Where clients connect, by place; likewise C{cluster_ports}, C{http_ports}.
    """

    if not sys.platform.startswith("linux"):
        skip = "finds the writers' processes in /proc"

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.workers: list[Worker] = []
        self.ports: list[int] = []
        self.cluster_ports: list[int] = []
        self.http_ports: list[int] = []

    def output(self, place: int) -> str:
        """Give what a store has printed."""
        raise NotImplementedError

    def work(self) -> None:
        """Let clients begin to work: of the port for all, and of the cluster's."""
        plain = Redis(port=self.ports[0], socket_timeout=20)
        nodes = [ClusterNode("127.0.0.1", self.cluster_ports[1])]
        wait_until(lambda: self.nodes_known() == 3, "the stores to know of each other's ports")
        self.begin_worker("plain", plain)
        self.begin_worker("cluster", RedisCluster(startup_nodes=nodes, socket_timeout=20))
        self.go_on()

    def begin_worker(self, name: str, client: Any) -> None:
        """Let a client begin to work."""
        worker = Worker(name, client)
        self.workers.append(worker)
        self.addCleanup(worker.end)

    def nodes_known(self) -> int:
        """Say of how many nodes a store tells that slots are at."""
        with Redis(port=self.cluster_ports[1], socket_timeout=20) as client:
            told = client.execute_command("CLUSTER SLOTS")
            return len(told) and min(len(held) - 2 for held in told)

    def go_on(self) -> None:
        """Let them work for a while."""
        for gone_on in [worker.goes_on() for worker in self.workers]:
            wait_until(gone_on, "the clients to go on")

    def ctl(self, *words: str, place: int = 0) -> dict[str, Any]:
        """Have an operator ask something of a store."""
        done = run([*TINYKV, "ctl", "--url", f"http://127.0.0.1:{self.http_ports[place]}", "--json", *words])
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def all_there(self) -> None:
        """End the clients, and see that each store gives what they have written."""
        counts: dict[str, int] = {}
        for worker in self.workers:
            worker.end()
            counts.update(worker.counts)
        for place, port in enumerate(self.ports):
            with Redis(port=port, socket_timeout=20) as client:
                self.assertEqual(client.mget(list(counts)), [b"%d" % count for count in counts.values()])
            self.assertNotIn("Traceback", self.output(place))


class AskedTests(SplitCase):
    """Because somebody asks for it."""

    def begin(self, **options: str) -> None:
        """Start the stores."""
        self.stores = stores = Stores(self.folder, Loopback(3), **options)
        self.addCleanup(stores.close)
        self.ports, self.cluster_ports, self.http_ports = stores.ports, stores.cluster_ports, stores.http_ports
        wait_until(lambda: stores.leader >= 0, "a leader")

    def output(self, place: int) -> str:
        """Give what a store has printed."""
        return self.stores.output(place)

    def test_by_hand(self) -> None:
        self.begin()
        self.work()
        # Whichever store is asked; in the middle, at a slot, and in many parts.
        first, second = self.ctl("split", place=0)["regions"]
        self.assertEqual((first["region"], first["first"], second["last"]), (1, 0, 16383))
        self.assertEqual(second["first"], first["last"] + 1)
        self.go_on()
        half = second["region"]
        told = self.ctl("split", "--slot", "16000", place=1)["regions"]
        self.assertEqual([part["region"] for part in told][0], half)
        parts = self.ctl("split", "--region", "1", "--parts", "4", place=2)["regions"]
        self.assertEqual(len(parts), 4)
        self.go_on()
        self.assertEqual(len(self.ctl("status")["regions"]), 6)
        # A part is a region like any other: it's led elsewhere when that is wanted, and all clients follow.
        leaders = {region["region"]: region["leader"] for region in self.ctl("status")["regions"]}
        other = leaders[half] % 3 + 1
        self.ctl("transfer-leader", "--region", str(half), str(other))
        self.go_on()
        for told_of in self.ctl("checksum")["regions"]:
            self.assertEqual(len({replica["checksum"] for replica in told_of["replicas"]}), 1, told_of)
        refused = run([*TINYKV, "ctl", "--url", f"http://127.0.0.1:{self.http_ports[0]}", "split",
                       "--region", "1", "--slot", "16000"])  # fmt: skip
        self.assertEqual(refused.returncode, 1)
        self.assertIn("region 1 has slots 0 to", refused.stderr)
        self.all_there()

    def test_by_size(self) -> None:
        """It's split again and again while it grows, and only where that is wanted."""
        small = {"region_max_size": "1mb", "region_split_size": "500kb", "split_check_interval": "200ms"}
        self.begin(split_by_size="yes", memtable_bytes="1mb", **small)
        self.work()
        with Redis(port=self.ports[2], socket_timeout=20) as client:
            for number in range(400):
                client.set(f"large:{number}", bytes(10_000))
                if number % 100 == 50:
                    self.go_on()
            wait_until(lambda: len(self.ctl("status")["regions"]) >= 4, "regions to be split")
            self.go_on()
            self.assertEqual({len(client.get(f"large:{number}")) for number in range(400)}, {10_000})
        self.all_there()


class ScheduledTests(SplitCase):
    """Where a scheduler gives ids, and orders."""

    def begin(self, **options: str) -> None:
        """Start the scheduler and the stores."""
        self.daemons = Daemons(self.folder, 1, bootstrap_stores="3")
        self.addCleanup(self.daemons.__exit__)
        self.daemons.__enter__()
        self.stores: list[ScheduledStore] = []
        for number in (1, 2, 3):
            ports = [free_port() for _ in range(3)]
            for known, port in zip((self.ports, self.cluster_ports, self.http_ports), ports, strict=True):
                known.append(port)
            places = dict(zip(("port", "cluster_port", "http_port"), map(str, ports), strict=True))
            store = ScheduledStore(self.folder, self.daemons, number, **{**places, **options})
            self.stores.append(store)
            self.addCleanup(store.kill)
            store.start()
        for store in self.stores:
            store.wait_for()
        wait_until(lambda: self.leaders() != [None], "the scheduler to know who leads")

    def output(self, place: int) -> str:
        """Give what a store has printed."""
        return self.stores[place].output

    def regions(self) -> list[dict[str, Any]]:
        """Ask the scheduler for the regions, in the order of their keys."""
        found: list[dict[str, Any]] = self.daemons.ask("GET", "/regions")["regions"]
        return found

    def leaders(self) -> list[int | None]:
        """Ask it who leads each of them."""
        return [region["leader"] for region in self.regions()] or [None]

    def schedule(self, *words: str) -> dict[str, Any]:
        """Have an operator ask something of the scheduler."""
        (member,) = self.daemons.members.values()
        url = f"http://127.0.0.1:{member.port}"
        done = run([*TINYKV, "ctl", "--json", "schedule", "--url", url, *words])
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def test_by_order_and_by_hand(self) -> None:
        self.begin()
        (member,) = self.daemons.members.values()
        gateway = GatewayDaemon(self.folder, schedulers=f"127.0.0.1:{member.port}")
        self.addCleanup(gateway.kill)
        gateway.wait_for()
        wait_until(lambda: len(gateway.status()["stores"]) == 3, "the gateway to reach all stores")
        self.begin_worker("gateway", Redis(port=gateway.port, socket_timeout=20))
        self.work()
        self.schedule("split", "1", "--slot", "4096")
        wait_until(lambda: len(self.regions()) == 2, "the scheduler to know the parts")
        self.go_on()
        # Ids are the scheduler's, which knows of the parts as soon as the operator does.
        part = self.regions()[1]
        self.assertGreater(part["region"], 1024)
        told = self.ctl("split", "--region", str(part["region"]), "--parts", "3", place=2)["regions"]
        self.assertEqual([each["region"] for each in self.regions()], [1, *(each["region"] for each in told)])
        wait_until(lambda: None not in self.leaders(), "the scheduler to know who leads the parts")
        self.go_on()
        self.schedule("scatter", *(str(each["region"]) for each in self.regions()), "--group", "parts")
        wait_until(lambda: len(set(self.leaders())) == 3, "all stores to lead something")
        self.go_on()
        self.merged_again()
        self.assertNotIn("Traceback", gateway.output)
        self.all_there()

    def merged_again(self) -> None:
        """By hand, whichever store is asked, and whoever leads them; the rest by the scheduler, since they're small."""
        self.schedule("config", "merge_pause=0.5", "hot_least=1000000", "schedulers=[]")
        first, second, *_ = (region["region"] for region in self.regions())
        (whole,) = self.ctl("merge", str(second), "--into", str(first), place=1)["regions"]
        self.assertEqual((whole["region"], whole["first"]), (first, 0))
        wait_until(lambda: len(self.regions()) == 3, "the scheduler to know of it")
        self.go_on()
        self.assertEqual(len(self.regions()), 3, "it isn't to merge them")
        self.schedule("config", "merge_by_size=true")
        wait_until(lambda: len(self.regions()) == 1, "the scheduler to merge what is left")
        self.go_on()
        for told_of in self.ctl("checksum")["regions"]:
            self.assertEqual(len({replica["checksum"] for replica in told_of["replicas"]}), 1, told_of)
