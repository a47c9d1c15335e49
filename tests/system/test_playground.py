"""
`tinykv playground` with real processes, and the commands for stopped stores on what it leaves.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
from pathlib import Path
from typing import Any
from unittest import SkipTest
from urllib.request import urlopen

import redis
from twisted.trial.unittest import SynchronousTestCase

from tests.real_redis import REDIS_SERVER
from tests.redis_server import RedisServer
from tests.system.processes import TINYKV, Process, run, wait_until
from tinykv.cli.stopped import hold
from tinykv.storage.errors import FolderInUse
from tinykv.storage.folder import open_folder


class PlaygroundTests(SynchronousTestCase):
    """The playground from start to end."""

    def setUp(self) -> None:
        self.base = Path(self.mktemp()).absolute()
        self.base.mkdir()
        self.folder = self.base / "data"
        self.record = self.folder / "playground.json"
        self.runs = 0

    def command(self, *arguments: str) -> list[str]:
        """Give the command line of a playground on free ports."""
        return [*TINYKV, "playground", "--dir", str(self.folder), "--port", "0", "--http-port", "0", *arguments]

    def start(self) -> tuple[Process, dict[str, Any]]:
        """Start a playground of one store and wait until it's ready; give it and its store's record."""
        self.runs += 1
        playground = Process(self.command("--stores", "1"), self.base / f"output {self.runs}")
        self.addCleanup(playground.destroy)
        playground.wait_for(lambda: "Ctrl-C stops it." in playground.output, "the playground to be ready")
        (store,) = json.loads(self.record.read_text())["processes"]
        self.addCleanup(end_group, store["pid"])
        return playground, store

    def client(self, store: dict[str, Any], db: int = 0) -> redis.Redis:
        """Connect to a store."""
        client = redis.Redis(port=store["ports"]["resp"], db=db, socket_timeout=10)
        self.addCleanup(client.close)
        return client

    def offline(self, command: str, *options: str) -> str:
        """Run a command on the stopped store's folder."""
        done = run([*TINYKV, command, str(self.folder / "store-1"), *options])
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_from_the_first_start_to_the_second(self) -> None:
        playground, store = self.start()
        self.assertEqual(store["name"], "store-1")
        self.assertTrue(Path(store["log"]).is_file())
        client = self.client(store)
        client.set("greeting", "hello", ex=3600)
        client.rpush("list", *range(1000))
        client.zadd("zset", {f"member {n}": n for n in range(1000)})
        client.hset("hash", mapping={"field": "value"})
        self.client(store, 3).sadd("set", "member")
        client.execute_command("RAW.PUT", "default", "key", "value")
        with urlopen(f"http://127.0.0.1:{store['ports']['http']}/healthz", timeout=10) as answer:
            self.assertEqual(answer.read(), b"ok\n")
        self.assertIn(f"redis-cli -p {store['ports']['resp']}", playground.output)

        second = run(self.command())
        self.assertEqual(second.returncode, 1)
        self.assertIn("a playground is running here: store-1", second.stderr)
        self.assertEqual(second.stderr.count("\n"), 1)
        refused = run([*TINYKV, "check", str(self.folder / "store-1")])
        self.assertEqual(refused.returncode, 1)
        self.assertIn("a store is running on this folder", refused.stderr)

        self.assertEqual(playground.stop(), 0, playground.output)
        self.assertIn("store-1 has stopped; its data is in ", playground.output)
        self.assertFalse(self.record.exists())

        self.assertIn("no problems found", self.offline("check"))
        entries = [json.loads(line) for line in self.offline("dump", "--format", "json").splitlines()]
        self.assertEqual({entry["key"] for entry in entries}, {"greeting", "list", "zset", "hash", "set", "key"})

        playground, store = self.start()
        client = self.client(store)
        self.assertEqual(client.get("greeting"), b"hello")
        self.assertEqual(client.lrange("list", 0, -1), [b"%d" % n for n in range(1000)])
        self.assertEqual(client.zscore("zset", "member 7"), 7)
        self.assertEqual(self.client(store, 3).smembers("set"), {b"member"})
        playground.signal(signal.SIGINT)
        self.assertEqual(playground.wait(), 0, playground.output)

    def test_a_store_that_is_killed(self) -> None:
        playground, store = self.start()
        self.client(store).set("kept", "yes")
        os.kill(store["pid"], signal.SIGKILL)
        self.assertEqual(playground.wait(), 1)
        self.assertIn("store-1 has ended by itself (killed by SIGKILL)", playground.output)
        self.assertIn("is ready", playground.output)
        self.assertFalse(self.record.exists())

        # Nothing was flushed, so everything comes out of the log.
        wait_until(lambda: not held(self.folder / "store-1"), "the writers to end")
        self.assertIn("the next start applies the other", self.offline("check"))
        self.assertEqual(self.offline("dump"), '[0] "kept" (string)\n  "yes"\n')

    def test_three_stores(self) -> None:
        playground = Process(self.command("--gateway"), self.base / "output")
        self.addCleanup(playground.destroy)
        playground.wait_for(lambda: "Ctrl-C stops them." in playground.output, "the playground to be ready")
        *stores, scheduler, gateway = json.loads(self.record.read_text())["processes"]
        self.assertEqual((scheduler["name"], gateway["name"]), ("scheduler-1", "gateway-1"))
        self.assertTrue(self.client(gateway).set("through", "the gateway"))
        self.assertIn(f"redis-cli -p {gateway['ports']['resp']}     (at the gateway", playground.output)
        for process in (*stores, scheduler, gateway):
            self.addCleanup(end_group, process["pid"])
        for store in stores:
            self.assertIn(f"127.0.0.1:{store['ports']['peer']}", playground.output)
            self.assertTrue(self.client(store).ping())
            self.assertIn(f"redis-cli -p {store['ports']['resp']}", playground.output)
        self.assertEqual([store["name"] for store in stores], ["store-1", "store-2", "store-3"])
        kept = json.loads((self.folder / "cluster.json").read_text())["stores"]
        self.assertEqual([store["peer"] for store in kept], [store["ports"]["peer"] for store in stores])

        os.kill(stores[1]["pid"], signal.SIGKILL)
        playground.wait_for(lambda: "The others carry on (2 of 3)." in playground.output, "the end to be seen")
        self.assertIn("store-2 has ended by itself (killed by SIGKILL)", playground.output)
        left = json.loads(self.record.read_text())["processes"]
        self.assertEqual([process["name"] for process in left], ["store-1", "store-3", "scheduler-1", "gateway-1"])
        url = f"http://127.0.0.1:{scheduler['ports']['http']}"
        self.assertIn(f"ctl schedule --url {url} status", playground.output)
        said = run([*TINYKV, "ctl", "schedule", "--url", url, "status"])
        self.assertIn("member 1 leads, of 1", said.stdout, said.stderr)
        os.kill(scheduler["pid"], signal.SIGKILL)
        playground.wait_for(lambda: "The stores serve on." in playground.output, "its end to be seen")
        os.kill(gateway["pid"], signal.SIGKILL)
        playground.wait_for(lambda: "gateway-1 has ended by itself" in playground.output, "its end to be seen")
        os.kill(stores[0]["pid"], signal.SIGKILL)
        playground.wait_for(lambda: "1 of 3 are no majority" in playground.output, "the second end to be seen")

        # By hand, as it says.
        (words,) = (line for line in playground.output.splitlines() if line.endswith("store-2.ini"))
        wait_until(lambda: not held(self.folder / "store-2"), "the writers to end")
        again = Process(shlex.split(words), self.base / "output of store-2")
        self.addCleanup(again.destroy)
        again.wait_for(lambda: "is ready" in again.output, "it was ready")
        client = self.client(stores[1])
        wait_until(lambda: writes(client), "a majority")
        again.stop()
        self.assertEqual(playground.stop(), 0, playground.output)
        self.assertIn("store-3 has stopped; its data is in ", playground.output)
        self.assertFalse(self.record.exists())

        for option, number, part in (
            ("--stores", "5", "holds 3 stores and stays so"),
            ("--schedulers", "3", "holds a scheduler with 1 members and stays so"),
        ):
            other = run(self.command(option, number))
            self.assertEqual(other.returncode, 1)
            self.assertIn(part, other.stderr)

    def test_a_store_without_its_folder(self) -> None:
        for run_ in ("first", "second"):
            playground = Process(self.command(), self.base / f"output of the {run_}")
            self.addCleanup(playground.destroy)
            playground.wait_for(lambda: "Ctrl-C stops them." in playground.output, "it was ready")  # noqa: B023 - called at once
            for process in json.loads(self.record.read_text())["processes"]:
                self.addCleanup(end_group, process["pid"])
            self.assertEqual(playground.stop(), 0, playground.output)
            if run_ == "first":
                shutil.rmtree(self.folder / "store-2")
        self.assertIn("the scheduler doesn't know all of them. Its log: ", playground.output)
        self.assertIn("store 2 has lost its folder", playground.output)

    def test_a_scheduler_that_ends_at_its_start(self) -> None:
        self.folder.mkdir()
        (self.folder / "scheduler-1").write_text("in the way")
        playground = Process(self.command(), self.base / "output")
        self.addCleanup(playground.destroy)
        playground.wait_for(lambda: "Ctrl-C stops them." in playground.output, "it was ready")
        stores = json.loads(self.record.read_text())["processes"]
        for process in stores:
            self.addCleanup(end_group, process["pid"])
        self.assertEqual([store["name"] for store in stores], ["store-1", "store-2", "store-3"])
        self.assertIn("scheduler-1 has ended by itself", playground.output)
        client = self.client(stores[0])
        wait_until(lambda: writes(client), "a leader")
        self.assertEqual(playground.stop(), 0, playground.output)

    def test_an_import_from_a_live_redis(self) -> None:
        if REDIS_SERVER is None:
            raise SkipTest("redis-server isn't installed")
        playground, store = self.start()
        with RedisServer() as source:
            for n in range(250):
                source.client.call("SET", f"key {n}", n)
            source.client.call("RPUSH", "list", *range(1000))
            source.client.call("HSET", "hash", "field", "value")
            source.client.call("ZADD", "zset", "1.5", "member", "-inf", "low")
            source.client.call("PEXPIRE", "hash", 10_000_000)
            source.client.call("XADD", "stream", "*", "field", "value")
            source.client.call("SELECT", 3)
            source.client.call("SADD", "set", *range(100))
            command = [*TINYKV, "import", f"redis://127.0.0.1:{source.port}"]
            done = run([*command, "--to", f"redis://127.0.0.1:{store['ports']['resp']}"])
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn('[0] "stream": ERR Bad data format', done.stdout)
        self.assertIn("254 keys copied", done.stdout)
        self.assertEqual(done.stderr, "tinykv: 1 keys couldn't be copied\n")
        client = self.client(store)
        self.assertEqual(client.dbsize(), 253)
        self.assertEqual(client.get("key 249"), b"249")
        self.assertEqual(client.llen("list"), 1000)
        self.assertEqual(client.zrange("zset", 0, -1, withscores=True), [(b"low", float("-inf")), (b"member", 1.5)])
        self.assertGreater(client.pttl("hash"), 0)
        self.assertEqual(self.client(store, 3).scard("set"), 100)
        self.assertEqual(playground.stop(), 0, playground.output)

    def test_a_folder_of_another_store(self) -> None:
        self.folder.mkdir()
        open_folder(str(self.folder / "store-1"), 7, ballast_bytes=0).close()
        done = run(self.command())
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn("store-1 didn't start: ", done.stderr)
        self.assertIn("belongs to store 7", done.stderr)
        self.assertFalse(self.record.exists())
        shutil.rmtree(self.folder)


def writes(client: redis.Redis) -> bool:
    """Say if a write is taken."""
    try:
        return bool(client.set("key", "value"))
    except redis.RedisError:
        return False


def held(folder: Path) -> bool:
    """Say if a store, or what is left of one, has a folder open."""
    try:
        hold(folder).close()
    except FolderInUse:
        return True
    return False


def end_group(pid: int) -> None:
    """End what is left of a process group that a test has caused."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
