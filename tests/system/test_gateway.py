"""
Real gateways before real stores.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from threading import Thread

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import TestCase

from tests.peering.certificates import Authority
from tests.redis_server import BlockingClient, ReplyError
from tests.system.gateways import GatewayDaemon
from tests.system.processes import ask_again, wait_until
from tests.system.scheduled import ScheduledStore
from tests.system.schedulers import Daemons
from tests.system.sessions import redis_py_session, txredisapi_session
from tests.system.stores import Loopback, Stores

WRITERS = 3


class Writer(Thread):
    """
    Writes one key after another.

    @ivar acknowledged: Which were.
    @ivar errors: What it was told otherwise.
    """

    def __init__(self, gateway: GatewayDaemon, name: str) -> None:
        super().__init__()
        self.acknowledged: list[str] = []
        self.errors: list[ReplyError] = []
        self.ends = False
        self._client = gateway.connect(30.0)
        self._name = name

    def run(self) -> None:
        """Write until it's told to end."""
        number = 0
        while not self.ends:
            number += 1
            key = f"{self._name}:{number}"
            reply = self._client.attempt("SET", key, key)
            if isinstance(reply, ReplyError):
                self.errors.append(reply)
            else:
                self.acknowledged.append(key)
        self._client.close()


class GatewayCase(TestCase):
    """Three stores and a gateway."""

    timeout = 180

    if not sys.platform.startswith("linux"):
        skip = "finds the writers' processes in /proc"

    def start(self, *, encrypted: bool = False, **options: str) -> None:
        """Start them."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        tls: dict[str, str] = {}
        if encrypted:
            authority = Authority(folder, "all")
            certificate, key = authority.issue("one")
            tls = {"peer_tls_cert": str(certificate), "peer_tls_key": str(key), "peer_tls_ca": str(authority.path)}
        self.stores = Stores(folder, Loopback(3), **options, **tls)
        self.addCleanup(self.stores.close)
        # One is enough to find the others.
        self.gateway = GatewayDaemon(folder, stores=self.stores.addresses[0], **tls)
        self.addCleanup(self.gateway.kill)
        self.gateway.wait_for()
        wait_until(lambda: self.gateway.page("healthz")[0] == 200, "all regions to have leaders")

    def connect(self) -> BlockingClient:
        """Connect to the gateway."""
        client = self.gateway.connect(30.0)
        self.addCleanup(client.close)
        return client


class StaticTests(GatewayCase):
    """It's told where a store is."""

    def test_the_leader_is_killed(self) -> None:
        self.start()
        client, waiting = self.connect(), self.connect()
        wait_until(lambda: sorted(self.gateway.status()["stores"]) == [1, 2, 3], "all stores to be found by one")
        waiting.send_raw(b"HELLO 3\r\n")
        waiting.read_reply()
        waiting.send_raw(b"BZPOPMIN queue 0\r\n")
        wait_until(lambda: self.gateway.status()["blocked_clients"] == 1, "a waiter")
        writers = [Writer(self.gateway, f"w{number}") for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        wait_until(lambda: all(len(writer.acknowledged) > 20 for writer in writers), "writes")

        leader = self.gateway.status()["regions"]["1"] - 1
        self.stores.kill(leader)
        killed = time.monotonic()
        before = [len(writer.acknowledged) for writer in writers]
        wait_until(
            lambda: all(len(writer.acknowledged) > count + 20 for writer, count in zip(writers, before, strict=True)),
            "writes to go on",
        )
        self.assertLess(time.monotonic() - killed, 15)
        for writer in writers:
            writer.ends = True
            writer.join()
            # What was under way when the link broke may have been done; all else was tried again inside.
            for error in writer.errors:
                self.assertTrue(error.wire.startswith(b"TIMEOUT ") and error.wire.endswith(b"outcome unknown"), error)
            self.assertLessEqual(len(writer.errors), 2)
            for key in writer.acknowledged:
                self.assertEqual(client.call("GET", key), key.encode())

        # Who waits is served by those that are left.
        other = self.stores.connect(next(place for place in range(3) if place != leader))
        self.addCleanup(other.close)
        other.call("ZADD", "queue", "1.5", "x")
        self.assertEqual(waiting.read_reply(), [b"queue", b"x", 1.5])

    def test_planned(self) -> None:
        """A leader that stops in good order hands over: clients notice nothing."""
        self.start()
        writer = Writer(self.gateway, "w")
        writer.start()
        wait_until(lambda: len(writer.acknowledged) > 20, "writes")
        leader = self.gateway.status()["regions"]["1"] - 1
        self.stores.stop(leader)
        count = len(writer.acknowledged)
        wait_until(lambda: len(writer.acknowledged) > count + 20, "writes to go on")
        writer.ends = True
        writer.join()
        self.assertEqual(writer.errors, [])

    def test_clients(self) -> Deferred[None]:
        self.start()
        for protocol in (2, 3):
            redis_py_session(self.gateway.port, protocol)
        return ensureDeferred(txredisapi_session(self.gateway.port))

    def test_waiting_and_watching(self) -> None:
        self.start(initial_regions="3")
        one, two, direct = self.connect(), self.connect(), self.stores.connect(1)
        self.addCleanup(direct.close)
        for number in range(30):
            self.assertEqual(one.call("SET", f"key:{number}", number), b"OK")
        self.assertEqual(one.call("MGET", *(f"key:{number}" for number in range(30))), [b"%d" % n for n in range(30)])
        self.assertEqual(one.call("DBSIZE"), 30)
        setting = "set-max-intset-entries"
        self.assertEqual(direct.call("CONFIG", "SET", setting, "5"), b"OK")
        for client in (one, direct):
            self.assertIn(b"db0:keys=30,expires=0", client.call("INFO"))
            self.assertEqual(client.call("CONFIG", "GET", setting), [setting.encode(), b"5"])
        self.assertIn(one.call("RANDOMKEY"), [b"key:%d" % number for number in range(30)])
        one.call("WATCH", "key:1")
        direct.call("SET", "key:1", "x")
        self.assertIsNone(one.pipeline([["MULTI"], ["INCR", "key:2"], ["EXEC"]])[-1])
        self.assertEqual(one.pipeline([["WATCH", "key:2"], ["MULTI"], ["INCR", "key:2"], ["EXEC"]])[-1], [3])
        self.assertEqual(one.call("BLPOP", "none", "0.2"), None)
        name = two.call("CLIENT", "ID")
        for how, told in (("TIMEOUT", None), ("ERROR", ReplyError)):
            two.send_raw(b"BLPOP none 0\r\n")
            wait_until(lambda: one.call("CLIENT", "UNBLOCK", name, how) == 1, "a waiter")  # noqa: B023 - used at once
            reply = two.read_reply()
            self.assertTrue(reply is None if told is None else isinstance(reply, told), reply)
        two.send_raw(b"BLPOP list 0\r\n")
        wait_until(lambda: b"blocked_clients:1" in one.call("INFO", "clients"), "a waiter")
        one.call("RPUSH", "list", "x")
        self.assertEqual(two.read_reply(), [b"list", b"x"])
        self.assertIn("disabled", str(one.attempt("CLUSTER", "SLOTS")))
        # One that leaves waits no more, so nothing is taken for it; nor does one whose gateway has gone.
        for leave in (two.close, self.gateway.stop):
            if leave != two.close:
                one.send_raw(b"BLPOP list 0\r\n")
            else:
                two.send_raw(b"BLPOP list 0\r\n")
            wait_until(lambda: b"blocked_clients:1" in direct.call("INFO", "clients"), "a waiter")
            leave()
            wait_until(lambda: b"blocked_clients:0" in direct.call("INFO", "clients"), "none")
        self.assertEqual(direct.call("RPUSH", "list", "y"), 1)

    def test_a_majority_is_lost(self) -> None:
        """Where links are encrypted, for a change."""
        self.start(encrypted=True, request_timeout="1s")
        client = self.connect()
        self.assertEqual(ask_again(client, "SET", "a", "1"), b"OK")
        leader = self.gateway.status()["regions"]["1"] - 1
        self.stores.kill(leader)
        wait_until(lambda: not isinstance(client.attempt("SET", "a", "2"), ReplyError), "another leader")
        self.stores.kill(self.gateway.status()["regions"]["1"] - 1)
        wait_until(lambda: self.gateway.page("healthz")[0] == 503, "it to be noticed")
        error = client.attempt("SET", "a", "3")
        self.assertTrue(isinstance(error, ReplyError), error)
        self.assertIn("tinykv_regions_without_leader 1.0", self.gateway.page("metrics")[1])


class ScheduledTests(TestCase):
    """The scheduler says where stores are."""

    timeout = 180

    def test_three_stores(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        daemons = self.enterContext(Daemons(folder, 1, bootstrap_stores="3"))
        schedulers = ", ".join(f"127.0.0.1:{member.port}" for member in daemons.members.values())
        # Before there's anything to be found.
        gateway = GatewayDaemon(folder, schedulers=schedulers)
        self.addCleanup(gateway.kill)
        stores = [ScheduledStore(folder, daemons, number) for number in (1, 2, 3)]
        for store in stores:
            self.addCleanup(store.kill)
            store.start()
        for store in stores:
            store.wait_for()
        gateway.wait_for()
        client = gateway.connect(30.0)
        self.addCleanup(client.close)
        wait_until(lambda: client.attempt("SET", "a", "1") == b"OK", "a leader")
        wait_until(lambda: len(gateway.status()["stores"]) == 3, "all stores to be reached")
        stores[gateway.status()["regions"]["1"] - 1].kill()
        wait_until(lambda: client.attempt("INCR", "a") == 2 or int(client.call("GET", "a")) >= 2, "another leader")
        self.assertEqual(gateway.stop(), -signal.SIGTERM)
        self.assertIn("TinyKV gateway has stopped", gateway.output)
