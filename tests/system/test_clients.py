"""
Client libraries that know nothing of TinyKV, against a daemon.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
from pathlib import Path

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SkipTest, TestCase

from tests.system.daemon import Daemon
from tests.system.sessions import node_client_found, node_session, redis_py_session, txredisapi_session

BENCHMARK = shutil.which("redis-benchmark")
#: What redis-benchmark measures, as it's asked; LRANGE has four sizes and needs a list first.
MEASURED = "set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,lrange,mset"
ROWS = [
    "SET", "GET", "INCR", "LPUSH", "RPUSH", "LPOP", "RPOP", "SADD", "HSET", "SPOP", "ZADD", "ZPOPMIN",
    "LPUSH (needed to benchmark LRANGE)", "LRANGE_100 (first 100 elements)", "LRANGE_300 (first 300 elements)",
    "LRANGE_500 (first 500 elements)", "LRANGE_600 (first 600 elements)", "MSET (10 keys)",
]  # fmt: skip


def measure(port: int, *options: str) -> dict[str, float]:
    """Run redis-benchmark over everything; give the requests a second by row."""
    assert BENCHMARK is not None
    command = [BENCHMARK, "-p", str(port), "-t", MEASURED, "--csv", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    rows = [row for row in csv.reader(done.stdout.splitlines()) if row]
    return {row[0]: float(row[1]) for row in rows[1:]}


class Clients(TestCase):
    """Each client gets through its session."""

    timeout = 120

    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.daemon = Daemon(folder)
        self.addCleanup(self.daemon.kill)

    def test_redis_py(self) -> None:
        for protocol in (2, 3):
            redis_py_session(self.daemon.port, protocol)

    def test_txredisapi(self) -> Deferred[None]:
        return ensureDeferred(txredisapi_session(self.daemon.port))

    def test_node(self) -> None:
        if not node_client_found():
            raise SkipTest("Node's client ioredis isn't there: install node and npm, and make test installs it")
        node_session(self.daemon.port)

    def test_redis_benchmark_gives_all_its_rows(self) -> None:
        if BENCHMARK is None:
            raise SkipTest("redis-benchmark isn't installed")
        for options in (("-n", "100", "-c", "10"), ("-n", "200", "-c", "4", "-P", "16")):
            found = measure(self.daemon.port, "-r", "1000", *options)
            self.assertEqual(sorted(found), sorted(ROWS))
            self.assertTrue(all(found.values()), found)
