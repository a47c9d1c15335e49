"""
A store that is removed from three real ones.
"""

from __future__ import annotations

import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.system.processes import TINYKV, run, wait_until
from tests.system.stores import Loopback, Stores
from tinykv.storage.removal_mark import NAME


class RemovalTests(SynchronousTestCase):
    """
    It ends when the others know it, and not before.
    """

    if not sys.platform.startswith("linux"):
        skip = "finds the writers' processes in /proc"

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.stores = Stores(self.folder, Loopback(3), request_timeout="1s")
        self.addCleanup(self.stores.close)
        client = self.stores.connect(0)
        self.addCleanup(client.close)
        wait_until(lambda: client.attempt("SET", "first", "0") == b"OK", "a leader")
        self.leader = self.stores.leader
        self.gone, self.other = (place for place in range(3) if place != self.leader)

    def remove(self) -> None:
        """Remove a store by asking the one that leads."""
        url = f"http://127.0.0.1:{self.stores.http_ports[self.leader]}"
        done = run([*TINYKV, "ctl", "--url", url, "remove-store", str(self.gone + 1)])
        self.assertEqual(done.returncode, 0, done.stderr)

    def start_unconfirmed(self) -> None:
        """Remove a store, and start it alone as if nobody had confirmed that yet."""
        self.remove()
        wait_until(lambda: self.gone in self.stores.ended(), "its end")
        for place in range(3):
            self.stores.kill(place)
        (self.folder / f"data-{self.gone}" / NAME).unlink()
        self.stores.start(self.gone)
        # Who answers runs, and takes signals; the port alone is open a moment earlier.
        wait_until(lambda: "removed from the cluster: it stops when" in self.health(), "what it says of itself")

    def health(self) -> str:
        """Ask the one that is removed how it is."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.stores.http_ports[self.gone]}/healthz") as answer:
                return str(answer.read(), "ascii")
        except urllib.error.HTTPError as answer:
            return str(answer.read(), "ascii")
        except OSError as problem:
            return str(problem)

    def test_the_others_know_it(self) -> None:
        client = self.stores.connect(self.gone)
        self.addCleanup(client.close)
        client.send_raw(b"BLPOP nothing 0\r\n")
        self.remove()
        wait_until(lambda: self.gone in self.stores.ended(), "its end")
        self.assertIn("was removed from the cluster, and stops", self.stores.ended()[self.gone])
        self.assertTrue((self.folder / f"data-{self.gone}" / NAME).exists())
        self.stores.kill(self.gone)
        self.stores.start(self.gone)
        wait_until(lambda: self.gone in self.stores.ended(), "its end")
        self.assertIn(f"store {self.gone + 1} was removed from its cluster", self.stores.ended()[self.gone])

    def test_it_starts_without_the_others(self) -> None:
        """It serves no clients, says what it waits for, and ends when they're back."""
        self.start_unconfirmed()
        self.assertRaises(ConnectionRefusedError, self.stores.connect, self.gone)
        url = f"http://127.0.0.1:{self.stores.http_ports[self.gone]}"
        done = run([*TINYKV, "ctl", "--url", url, "transfer-leader"])
        self.assertIn("was removed from the cluster; ask another one", done.stderr)
        self.stores.start(self.leader)
        self.stores.start(self.other)
        wait_until(lambda: self.gone in self.stores.ended(), "its end")
        self.assertIn("was removed from the cluster, and stops", self.stores.ended()[self.gone])

    def test_it_is_stopped(self) -> None:
        """In order, while it waits for the others."""
        self.start_unconfirmed()
        self.stores.signal(self.gone, signal.SIGTERM)
        wait_until(lambda: self.gone in self.stores.ended(), "its end")
        self.assertIn("TinyKV has stopped", self.stores.ended()[self.gone])
        self.assertFalse((self.folder / f"data-{self.gone}" / NAME).exists())
