"""Three real stores that have several regions each."""

from __future__ import annotations

import signal
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.redis_server import BlockingClient, ReplyError
from tests.system.processes import wait_until
from tests.system.stores import Loopback, Stores

REGIONS = 6


class RegionsTests(SynchronousTestCase):
    """Any store serves any key, wherever it lies, and nothing is lost with a store."""

    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.stores = Stores(folder, Loopback(3), initial_regions=str(REGIONS))
        self.addCleanup(self.stores.close)

    def connect(self, place: int) -> BlockingClient:
        """Connect to a store."""
        client = self.stores.connect(place)
        self.addCleanup(client.close)
        return client

    def test_a_store_is_killed(self) -> None:
        clients = [self.connect(place) for place in range(3)]
        keys = [f"key:{number}" for number in range(60)]

        def write_all(client: BlockingClient, value: str) -> bool:
            """Write all keys, and say if that could be done."""
            replies = client.pipeline([["SET", key, f"{key}={value}"] for key in keys])
            return all(reply == b"OK" for reply in replies)

        wait_until(lambda: write_all(clients[0], "0"), "leaders of all regions")
        expected = [f"{key}=0".encode() for key in keys]
        for client in clients:
            self.assertEqual(client.call("MGET", *keys), expected)
            self.assertEqual(client.call("DBSIZE"), len(keys))
            self.assertIn(b"db0:keys=%d,expires=0," % len(keys), client.call("INFO", "keyspace"))
        self.assertIn("CROSSSLOT", str(clients[1].attempt("MSET", *[word for key in keys for word in (key, "x")])))

        leader = self.stores.leader
        others = [place for place in range(3) if place != leader]
        self.stores.kill(leader)
        wait_until(lambda: write_all(clients[others[0]], "1"), "leaders of all regions among two stores")
        self.stores.start(leader)
        self.stores.wait_for(leader)
        back = self.connect(leader)
        wait_until(lambda: not isinstance(back.attempt("MGET", *keys), ReplyError), "it to serve again")
        self.assertEqual(back.call("MGET", *keys), [f"{key}=1".encode() for key in keys])
        # All of it is on disk, in one flush for all regions, and comes back from there.
        for place in range(3):
            self.stores.signal(place, signal.SIGTERM)
        wait_until(lambda: set(self.stores.ended()) == {0, 1, 2}, "all of them to end")
        for place in range(3):
            self.stores.start(place)
        for place in range(3):
            self.stores.wait_for(place)
        client = self.connect(others[1])
        wait_until(lambda: not isinstance(client.attempt("MGET", *keys), ReplyError), "leaders")
        self.assertEqual(client.call("MGET", *keys), [f"{key}=1".encode() for key in keys])
        self.assertEqual(client.call("DEL", *keys), len(keys))
        self.assertEqual(client.call("DBSIZE"), 0)
