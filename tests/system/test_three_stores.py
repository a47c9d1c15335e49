"""
Three real stores as one cluster.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.redis_server import BlockingClient, ReplyError
from tests.system.processes import ask_again, wait_until
from tests.system.stores import Loopback, Stores


class ThreeStoresTests(SynchronousTestCase):
    """
    Any store serves any client, and what was acknowledged outlives a store.
    """

    if not sys.platform.startswith("linux"):
        skip = "finds the writers' processes in /proc"

    def start(self, **options: str) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.stores = Stores(folder, Loopback(3), **options)
        self.addCleanup(self.stores.close)

    def connect(self, place: int) -> BlockingClient:
        client = self.stores.connect(place)
        self.addCleanup(client.close)
        return client

    def test_the_leader_is_killed(self) -> None:
        self.start()
        clients = [self.connect(place) for place in range(3)]
        wait_until(lambda: clients[0].attempt("SET", "first", "0") == b"OK", "a leader")
        for number in range(30):
            self.assertEqual(clients[number % 3].call("SET", f"key:{number}", number), b"OK")
            self.assertEqual(clients[(number + 1) % 3].call("GET", f"key:{number}"), b"%d" % number)
        # A pipeline sees its own writes, and a transaction of another client comes between.
        self.assertEqual(clients[1].pipeline([["SET", "a", "1"], ["GET", "a"], ["INCR", "a"]]), [b"OK", b"1", 2])
        clients[2].call("WATCH", "a")
        clients[0].call("INCR", "a")
        self.assertIsNone(clients[2].pipeline([["MULTI"], ["INCR", "a"], ["EXEC"]])[-1])

        leader = self.stores.leader
        others = [place for place in range(3) if place != leader]
        waiting = self.connect(others[0])
        waiting.send_raw(b"BLPOP queue 0\r\n")
        wait_until(lambda: b"blocked_clients:1" in clients[others[0]].call("INFO", "clients"), "a waiter")
        self.stores.kill(leader)
        killed = time.monotonic()
        wait_until(lambda: not isinstance(clients[others[0]].attempt("SET", "on", "1"), ReplyError), "writes to go on")
        # The aim is 3 s; the rest is for a machine that is busy with other tests.
        self.assertLess(time.monotonic() - killed, 15)
        for number in range(30):
            self.assertEqual(clients[others[number % 2]].call("GET", f"key:{number}"), b"%d" % number)
        self.assertEqual(clients[others[1]].call("GET", "a"), b"3")

        # Who waited at a store that lives is still waited for.
        clients[others[1]].call("RPUSH", "queue", "x")
        self.assertEqual(waiting.read_reply(), [b"queue", b"x"])

        self.stores.start(leader)
        self.stores.wait_for(leader)
        back = self.connect(leader)
        self.assertEqual(back.call("GET", "on"), b"1")
        self.assertEqual(back.call("INCR", "a"), 4)
        self.assertEqual(clients[others[0]].call("GET", "a"), b"4")
        # It has caught up: without one of the others it's needed for a majority.
        self.stores.kill(others[0])
        wait_until(lambda: not isinstance(back.attempt("INCR", "a"), ReplyError), "writes to go on")
        self.assertGreaterEqual(int(clients[others[1]].call("GET", "a")), 5)

    def without_others(self, mode: str) -> BlockingClient:
        """Start in a read mode, write, and kill all but one that doesn't lead; give its client."""
        self.start(read_mode=mode, request_timeout="1s")
        client = self.connect(0)
        wait_until(lambda: client.attempt("SET", "a", "0") == b"OK", "a leader")
        leader = self.stores.leader
        place, other = (place for place in range(3) if place != leader)
        client = self.connect(other)
        for number in range(100):
            # It sees what it wrote, wherever that was done.
            self.assertEqual(ask_again(client, "SET", "a", number), b"OK")
            self.assertEqual(ask_again(client, "GET", "a"), b"%d" % number)
        self.assertEqual(ask_again(client, "SET", "b", "1", "PX", "3000"), b"OK")
        client = self.connect(place)
        wait_until(lambda: ask_again(client, "EXISTS", "b") == 1, "the last write to be seen everywhere")
        self.stores.kill(leader)
        self.stores.kill(other)
        return client

    def test_local_reads(self) -> None:
        client = self.without_others("local")
        self.assertEqual(client.call("GET", "a"), b"99")
        wait_until(lambda: client.call("EXISTS", "b") == 0, "the end of its time, which nobody decides")
        self.assertIn("CLUSTERDOWN", str(client.attempt("SET", "a", "x")))
        self.assertEqual(client.call("GET", "a"), b"99")

    def test_reads_that_ask_a_majority(self) -> None:
        client = self.without_others("readindex")
        self.assertIn("CLUSTERDOWN", str(client.attempt("GET", "a")))

    def test_it_ends_without_a_majority(self) -> None:
        self.start(request_timeout="1s")
        client = self.connect(0)
        wait_until(lambda: client.attempt("SET", "a", "0") == b"OK", "a leader")
        leader = self.stores.leader
        client = self.connect(leader)
        self.assertEqual(ask_again(client, "SET", "a", "1"), b"OK")
        for place in range(3):
            if place != leader:
                self.stores.kill(place)
        client.send_raw(b"INCR a\r\n")
        time.sleep(0.1)
        self.stores.signal(leader, signal.SIGTERM)
        wait_until(lambda: leader in self.stores.ended(), "its end")
        # What was acknowledged is there again as soon as a majority is.
        for place in range(3):
            self.stores.start(place)
        for place in range(3):
            self.stores.wait_for(place)
        client = self.connect(leader)
        wait_until(lambda: not isinstance(client.attempt("GET", "a"), ReplyError), "a leader")
        self.assertIn(client.call("GET", "a"), (b"1", b"2"))
