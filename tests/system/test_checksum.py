"""
C{tinykv ctl checksum} on three real stores.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.system.processes import TINYKV, run, wait_until
from tests.system.stores import Loopback, Stores
from tinykv.keys import meta_key
from tinykv.storage.checksum import row_checksum
from tinykv.storage.sums import forget_sums

ROWS = 20_000


class ComparisonTests(SynchronousTestCase):
    """
    Stores are compared while clients write, and one that differs is found.
    """

    if not sys.platform.startswith("linux"):
        skip = "finds the writers' processes in /proc"

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.stores = Stores(self.folder, Loopback(3))
        self.addCleanup(self.stores.close)
        self.client = self.stores.connect(0)
        self.addCleanup(self.client.close)
        wait_until(lambda: self.client.attempt("SET", "first", "0") == b"OK", "a leader")

    def ask(self, store: int, status: int = 0) -> tuple[dict[str, Any], str]:
        """Have the stores compared by asking one; give the answer, and what was said of it."""
        url = f"http://127.0.0.1:{self.stores.http_ports[store]}"
        done = run([*TINYKV, "ctl", "--url", url, "--json", "checksum", "--timeout", "25s"])
        self.assertEqual(done.returncode, status, done.stderr)
        (region,) = json.loads(done.stdout)["regions"]
        return region, done.stderr

    def change(self, place: int, key: bytes) -> None:
        """End a store, change a row so that nothing but its contents tells, and start it again."""
        self.stores.signal(place, signal.SIGTERM)
        wait_until(lambda: place in self.stores.ended(), "its end")
        path = str(self.folder / f"data-{place}" / "data.db")
        connection = sqlite3.connect(path, isolation_level=None)
        place_of = (meta_key(0, key),)
        (row,) = connection.execute("SELECT value FROM data WHERE key = ?", place_of).fetchone()
        changed = row[:-1] + bytes([row[-1] ^ 1])
        connection.execute(
            "UPDATE data SET value = ?, crc = ? WHERE key = ?", (changed, row_checksum(place_of[0], changed), *place_of)
        )
        connection.close()
        forget_sums(path)
        self.stores.start(place)
        self.stores.wait_for(place)

    def test_a_store_that_differs(self) -> None:
        for start in range(0, ROWS, 2000):
            self.client.pipeline([["SET", f"key:{number}", "x"] for number in range(start, start + 2000)])
        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(self.ask, 1)
            writes = 0
            while not asking.done():
                writes += 1
                self.assertEqual(self.client.call("SET", f"key:{writes % 5}", writes), b"OK")
        region, _ = asking.result()
        self.assertEqual([told["problem"] for told in region["replicas"]], [None] * 3)
        self.assertEqual(len({told["checksum"] for told in region["replicas"]}), 1)
        self.assertGreater(writes, 1)

        wrong = next(place for place in range(3) if place not in (self.stores.leader, 0))
        self.change(wrong, b"key:7")
        wait_until(lambda: self.client.attempt("SET", "first", "1") == b"OK", "a leader")
        told: dict[int, str | None] = {}
        said = ""

        def all_told() -> bool:
            nonlocal said
            region, said = self.ask(0, 1)
            told.update((replica["store"], replica["checksum"]) for replica in region["replicas"])
            return None not in told.values()

        # A store that has just started may not be linked to the others yet, and then can't say its sum.
        wait_until(all_told, "a sum of each store")
        self.assertNotEqual(told.pop(wrong + 1), told[1])
        self.assertEqual(len(set(told.values())), 1)
        self.assertIn("the stores differ in region 1", said)
