"""Real stores and a real scheduler, from configuration alone: they find each other, and mend what is lost."""

from __future__ import annotations

import signal
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.peering.certificates import Authority
from tests.system.processes import wait_until
from tests.system.scheduled import ScheduledStore
from tests.system.schedulers import Daemons


class ScheduledStoresTests(SynchronousTestCase):
    """One scheduler and three stores, then a fourth."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.daemons = Daemons(self.folder, 1, bootstrap_stores="3")
        self.stores: dict[int, ScheduledStore] = {}
        self.addCleanup(self._end)

    def _end(self) -> None:
        for store in self.stores.values():
            store.kill()
        self.daemons.__exit__()

    def begin(self, number: int, **options: str) -> ScheduledStore:
        """Start a new store."""
        store = self.stores[number] = ScheduledStore(self.folder, self.daemons, number, **options)
        store.start()
        return store

    def region(self) -> dict[str, Any]:
        """Ask the scheduler for the region."""
        regions = self.daemons.ask("GET", "/regions")["regions"]
        return regions[0] if regions else {"peers": [], "leader": None}

    def voters(self) -> list[int]:
        """Name the stores that vote; none while somebody doesn't."""
        peers = self.region()["peers"]
        return sorted(p["store"] for p in peers) if all(p["role"] == "voter" for p in peers) else []

    def all_heard(self) -> bool:
        """Say whether the scheduler has heard of all stores and of the region since its start."""
        views = self.daemons.ask("GET", "/stores")["stores"]
        return all(view["stats"] is not None for view in views) and self.region()["leader"] is not None

    def write(self, store: int, name: str) -> None:
        """Have a store write, and read what it wrote."""
        with closing(self.stores[store].connect()) as client:
            self.assertEqual(client.call("SET", name, f"of {name}"), b"OK")
            self.assertEqual(client.call("GET", name), f"of {name}".encode())

    def test_a_cluster_of_its_own_accord(self) -> None:
        # Any order will do: two stores before the scheduler, one after it.
        self.begin(3).wait_for("asks the scheduler")
        self.begin(1)
        self.daemons.__enter__()
        self.stores[1].wait_for("more have come")
        self.begin(2)
        for store in self.stores.values():
            store.wait_for()
        for number in (1, 2, 3):
            self.write(number, f"begun-{number}")
        wait_until(lambda: self.voters() == [1, 2, 3], "the scheduler to hear of the region")
        self.daemons.ask("PATCH", "/config", {"disconnected_after": 1.0, "max_down": 2.0})

        # A store that comes later has nothing at first, and is known.
        self.begin(4, read_mode="local").wait_for("is registered")

        # Nobody needs the scheduler for what is already there.
        (scheduler,) = self.daemons.members.values()
        scheduler.kill()
        for number in (1, 2, 3):
            self.write(number, f"alone-{number}")
        self.stores[2].stop()
        self.stores[2].start()
        self.stores[2].wait_for()
        self.write(2, "alone-again")
        scheduler.start()

        # One that is lost for good is replaced.
        wait_until(self.all_heard, "the scheduler to hear of all stores again")
        lost = self.region()["leader"]
        self.stores[lost].kill()
        left = [number for number in (1, 2, 3) if number != lost]
        self.write(left[0], "mourning")
        wait_until(lambda: self.voters() == [*left, 4], "the replica to be made anew")
        names = [
            *(f"{when}-{number}" for when in ("begun", "alone") for number in (1, 2, 3)),
            "alone-again",
            "mourning",
        ]
        with closing(self.stores[4].connect()) as client:

            def all_there() -> bool:
                return all(client.call("GET", name) == f"of {name}".encode() for name in names)

            wait_until(all_there, "the new replica to have all")
        self.write(left[1], "whole again")
        for store in self.stores.values():
            if store.number != lost:
                self.assertNotIn("Traceback", store.output)
        self.assertNotIn("Traceback", scheduler.output)

    def test_a_store_of_its_own_that_grows(self) -> None:
        alone = self.begin(1, schedulers="", schedule_heartbeat="10s")
        alone.wait_for()
        self.write(1, "alone")
        alone.stop()
        with self.daemons:
            self.begin(1).wait_for("is registered")
            for number in (2, 3):
                self.begin(number, read_mode="local")
            wait_until(lambda: self.voters() == [1, 2, 3], "three replicas")
            for number in (2, 3):
                with closing(self.stores[number].connect()) as client:
                    wait_until(lambda client=client: client.call("GET", "alone") == b"of alone", "the data")  # type: ignore[misc]
            self.write(3, "together")
            # What is read is told, wherever it's asked for.
            with closing(self.stores[3].connect()) as client:
                client.call("SET", "large", "x" * 50_000)
                reads = [["GET", "large"]] * 20
                wait_until(lambda: client.pipeline(reads) and self.region()["read_bytes"] > 100_000, "what is read")


class ProofTests(SynchronousTestCase):
    """A scheduler that wants to know who asks, and stores that want to know whom they ask."""

    def test_certificates_and_a_token(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        authority, other = Authority(folder, "authority"), Authority(folder, "other")
        certificate, key = authority.issue("scheduler", "127.0.0.1")
        token = "the token of the test"
        daemons = Daemons(
            folder, 1, tls_cert=str(certificate), tls_key=str(key), tls_ca=str(authority.path),
            tls_auth_clients="yes", token=token,
        )  # fmt: skip
        own_certificate, own_key = authority.issue("store")
        proof = {
            "schedule_tls_ca": str(authority.path), "schedule_tls_cert": str(own_certificate),
            "schedule_tls_key": str(own_key), "schedule_token": token,
        }  # fmt: skip
        stores = [
            ScheduledStore(folder, daemons, 1, **proof),
            ScheduledStore(folder, daemons, 2, **{**proof, "schedule_token": "another token than that"}),
            ScheduledStore(folder, daemons, 3, **{**proof, "schedule_tls_ca": str(other.path)}),
        ]
        (member,) = daemons.members.values()
        for daemon in (member, *stores):
            self.addCleanup(daemon.kill)
            daemon.start()
        stores[0].wait_for("is registered")
        stores[1].wait_for("schedule_token")
        stores[2].wait_for("certificate verify failed")
        for store in stores:
            # Two of them wait for ever, and end in order nevertheless.
            self.assertIn(store.stop(), (0, -signal.SIGTERM))
            self.assertIn("TinyKV has stopped", store.output)
            self.assertNotIn("Traceback", store.output)
