"""Real stores, a real scheduler and several regions: each is looked after by itself, and all of them together."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.redis_server import ReplyError
from tests.system.processes import wait_until
from tests.system.scheduled import ScheduledStore
from tests.system.schedulers import Daemons

REGIONS = 5
#: One of each region at least.
KEYS = [f"key:{number}" for number in range(40)]


class MovingTests(SynchronousTestCase):
    """Four stores, one of which comes later; each region has three replicas."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.daemons = Daemons(self.folder, 1, bootstrap_stores="3", initial_regions=str(REGIONS))
        self.stores: dict[int, ScheduledStore] = {}
        self.addCleanup(self._end)

    def _end(self) -> None:
        for store in self.stores.values():
            store.kill()
        self.daemons.__exit__()

    def begin(self, number: int) -> None:
        """Start a new store."""
        store = self.stores[number] = ScheduledStore(self.folder, self.daemons, number)
        store.start()

    def voters(self) -> dict[int, list[int]]:
        """Give the stores that vote by region, without regions of which some peer doesn't."""
        regions: list[dict[str, Any]] = self.daemons.ask("GET", "/regions")["regions"]
        return {
            region["region"]: sorted(peer["store"] for peer in region["peers"])
            for region in regions
            if all(peer["role"] == "voter" for peer in region["peers"])
        }

    def are_whole(self, *stores: int) -> bool:
        """Say whether all regions have three replicas, on no other stores than these."""
        voters = self.voters()
        return len(voters) == REGIONS and all(len(on) == 3 and set(on) <= set(stores) for on in voters.values())

    def write(self, store: int, value: str) -> None:
        """Have a store write all keys, wherever they lie, and another one read them."""
        with closing(self.stores[store].connect()) as client:

            def written() -> bool:
                return not any(isinstance(client.attempt("SET", key, f"{key}={value}"), ReplyError) for key in KEYS)

            wait_until(written, f"all regions to be written by store {store}")

    def read(self, store: int, value: str) -> None:
        """Have a store read all keys."""
        with closing(self.stores[store].connect()) as client:
            wait_until(lambda: not isinstance(client.attempt("MGET", *KEYS), ReplyError), f"store {store} to read all")
            self.assertEqual(client.call("MGET", *KEYS), [f"{key}={value}".encode() for key in KEYS])

    def test_a_store_comes_one_is_lost_and_one_is_drained(self) -> None:
        self.daemons.__enter__()
        for number in (1, 2, 3):
            self.begin(number)
        for store in self.stores.values():
            store.wait_for()
        wait_until(lambda: self.are_whole(1, 2, 3), "the scheduler to hear of all regions")
        self.daemons.ask("PATCH", "/config", {"disconnected_after": 1.0, "max_down": 2.0})
        self.write(1, "first")

        # A store without any replica serves all that there is, and gets its share.
        self.begin(4)
        self.stores[4].wait_for("is registered")
        self.read(4, "first")
        self.write(4, "second")
        wait_until(lambda: any(4 in on for on in self.voters().values()), "store 4 to get a replica")
        self.read(1, "second")

        # One is lost: all its replicas are made anew on the others.
        self.stores[2].kill()
        self.write(4, "third")
        wait_until(lambda: self.are_whole(1, 3, 4), "all regions to have three replicas again")
        self.read(4, "third")

        # It comes back with what it had, which nobody needs any more; and another one is drained.
        self.stores[2].start()
        self.stores[2].wait_for()
        self.read(2, "third")
        self.daemons.ask("POST", "/stores/3/offline")
        wait_until(lambda: self.are_whole(1, 2, 4), "store 3 to be empty")
        for number in (1, 2, 4):
            self.read(number, "third")
        for store in self.stores.values():
            self.assertNotIn("Traceback", store.output)
        for process in self.daemons.members.values():
            self.assertNotIn("Traceback", process.output)
