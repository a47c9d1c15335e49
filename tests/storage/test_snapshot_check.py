"""
What `tinykv check` says about folders that a snapshot was installed into.
"""

from __future__ import annotations

import hashlib
import os

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from tests.cli.folders import write_sample
from tests.storage.folders import LocalStore
from tests.storage.snapshots import arrived, make
from tinykv.cli.main import tinykv
from tinykv.storage.snapshot_install import Installation
from tinykv.storage.writers import LogBatch


class CheckTests(SynchronousTestCase):
    """
    A store with values of all types is copied by snapshot.
    """

    def setUp(self) -> None:
        path = self.mktemp()
        write_sample(path)
        source = LocalStore(path)
        self.addCleanup(source.close)
        self.snapshot = make(source)
        self.store = LocalStore(self.mktemp())
        self.file = arrived(self.snapshot, self.store)

    def check(self) -> Result:
        """Check the folder; it mustn't change."""
        before = fingerprint_of(self.store.path)
        result = CliRunner().invoke(tinykv, ["check", self.store.path])
        self.assertEqual(fingerprint_of(self.store.path), before)
        return result

    def test_an_installed_one_is_sound(self) -> None:
        done = self.store.data.install(1, self.file)
        self.store.data_channel.run()
        self.successResultOf(done)
        assert self.snapshot.head is not None
        batch = LogBatch()
        batch.hard_state(1, 2, 1, 1, 0)
        batch.reset(1, self.snapshot.head.index, self.snapshot.head.term)
        self.store.log.write(batch, lambda: None)
        self.store.log_channel.run()
        self.store.close()
        result = self.check()
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertIn("11 keys in databases 0, 3 (3 with an expiry)", result.output)
        self.assertIn("2 raw entries", result.output)
        self.assertIn("holds no entries, applied to 3", result.output)

    def test_a_half_installed_one_is_named(self) -> None:
        installation = Installation(self.store.data_session._store, 1, self.file, delete_rows=5, step_bytes=1)
        steps = installation.steps()
        while not installation.begun:
            next(steps)
        for _ in range(10):
            next(steps)
        self.store.close()
        result = self.check()
        self.assertEqual(result.exit_code, 1)
        self.assertIn("region 1 is half installed: the snapshot of entry 3 in snapshots/1-arrived", result.output)
        self.assertIn("1 findings", result.output)
        result = CliRunner().invoke(tinykv, ["dump", self.store.path])
        self.assertEqual(result.exit_code, 1)
        self.assertIn("half installed", result.output)


def fingerprint_of(path: str) -> dict[str, str]:
    """Give the hashes of a folder's files, and of those of its snapshots."""
    found: dict[str, str] = {}
    for folder, _, names in os.walk(path):
        for name in names:
            if not name.endswith("-shm"):
                with open(os.path.join(folder, name), "rb") as file:
                    found[os.path.join(folder, name)] = hashlib.sha256(file.read()).hexdigest()
    return found
