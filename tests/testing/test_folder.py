"""Snapshots on simulated machines: made and installed by the real code, and cut short anywhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tinykv.region.descriptor import Descriptor, descriptor_key
from tinykv.region.state import ApplyState, apply_key
from tinykv.storage.data import COMMIT, EXPIRIES, ROWS
from tinykv.storage.errors import DiskFailure, DiskFull, SnapshotAborted
from tinykv.storage.snapshot_maker import Made, SnapshotMaker
from tinykv.testing.simulation.clock import NodeClock, Process
from tinykv.testing.simulation.disk import Disk
from tinykv.testing.simulation.events import MILLISECOND, SECOND, Events
from tinykv.testing.simulation.files import DataRows, Transaction
from tinykv.testing.simulation.folder import RealFolder


def descriptor(mark: bytes) -> bytes:
    """Give the row that says what the region is, another one for each mark."""
    return replace(Descriptor.initial(1, [1]), version=mark[0]).encode()


def contents(index: int, mark: bytes) -> Transaction:
    """Give a flush with some rows as of an entry."""
    state = ApplyState(index, 1, 5, 6).encode()
    return [
        (ROWS, "data", [b"r%d" % number for number in range(1, 20)], [mark * number for number in range(1, 20)]),
        (ROWS, "region", [apply_key(1), descriptor_key(1)], [state, descriptor(mark)]),
        (EXPIRIES, [(index, b"r1", True), (index + 1, b"r2", True)]),
        (COMMIT,),
    ]


def listed(rows: DataRows) -> list[object]:
    """Give all that there is."""
    return [*(rows.everything(family) for family in ("data", "region")), rows.all_expiries()]


class SnapshotTests(SynchronousTestCase):
    """Two machines: one makes a snapshot, the other installs it."""

    def setUp(self) -> None:
        self.events = Events(1)
        self.path = Path(self.mktemp())
        self.path.mkdir()
        self.disks: list[Disk] = []
        for number, name in enumerate(("source", "target")):
            disk = Disk(self.events, name, folder=RealFolder(self.path / name))
            disk.data.commit(contents(10 - 5 * number, name[:1].encode()), synced=True)
            self.disks.append(disk)
        self.source, self.target = self.disks
        self.process = Process(self.events, NodeClock(self.events), "store")

    def run_for(self, seconds: float) -> None:
        """Let time pass."""
        self.events.run_until(self.events.now + int(seconds * SECOND))

    def maker(self) -> SnapshotMaker:
        """Give what makes snapshots of the source."""
        return self.source.snapshot_maker(self.process, lambda rows: rows)

    def make(self) -> Deferred[Made]:
        """Begin to make one."""
        return self.maker().make(1, labels=[descriptor_key(1)])

    def made(self) -> Made:
        """Make one."""
        making = self.make()
        self.run_for(1)
        found: Made = self.successResultOf(making)
        return found

    def arrive(self, made: Made) -> str:
        """Let it arrive at the target."""
        path = self.target.real.snapshots / "arrived"
        path.write_bytes(Path(made.path).read_bytes())
        return str(path)

    def test_it_is_made_of_what_there_is(self) -> None:
        """And says what it stands for."""
        made = self.made()
        self.assertEqual((made.index, made.term, made.labels), (10, 1, {descriptor_key(1): descriptor(b"s")}))
        self.assertEqual(sorted(path.name for path in self.source.real.path.iterdir()), ["snapshots"])

    def test_one_of_nothing_is_refused(self) -> None:
        """There has to be a region."""
        making = self.maker().make(2)
        self.run_for(1)
        self.failureResultOf(making, SnapshotAborted)

    def test_one_that_finds_a_bad_disk(self) -> None:
        """Nothing of it is left."""
        for fault, error in (("full", DiskFull), ("failing", DiskFailure)):
            setattr(self.source, fault, True)
            making = self.make()
            self.run_for(1)
            self.failureResultOf(making, error)
            setattr(self.source, fault, False)
        self.source.stuck = True
        making = self.make()
        self.run_for(1)
        self.assertNoResult(making)
        self.source.stuck = False
        self.run_for(1)
        self.successResultOf(making)

    def test_one_whose_store_ends(self) -> None:
        """What isn't whole goes with the next start, and what is whole too."""
        self.made()
        self.make()
        self.process.kill()
        self.run_for(1)
        self.source.open(1)
        self.assertEqual(list(self.source.real.snapshots.iterdir()), [])

    def test_it_is_installed(self) -> None:
        """In the place of all that there is."""
        self.target.open(1)
        path = self.arrive(self.made())
        _, writer = self.target.start_writers(self.process)
        installing = writer.install(1, path)
        self.run_for(1)
        self.assertEqual(self.successResultOf(installing), ApplyState(10, 1, 5, 6).encode())
        self.assertEqual(listed(self.target.data.visible), listed(self.source.data.visible))
        self.assertFalse(Path(path).exists())

    def test_it_may_end_anywhere(self) -> None:
        """The next start finds the one or the other, never something of both."""
        before, after = listed(self.target.data.visible), listed(self.source.data.visible)
        made = self.made()
        found = [0, 0]
        finished = 0
        for seed in range(60):
            disk = self.target = Disk(Events(seed), "target", folder=RealFolder(self.path / str(seed)))
            disk.data.commit(contents(5, b"t"), synced=True)
            path = self.arrive(made)
            process = Process(disk.events, NodeClock(disk.events), "store")
            _, writer = disk.start_writers(process)
            writer.install(1, path)
            disk.events.run_until(Random(seed).randint(0, 30) * MILLISECOND)
            process.kill()
            if seed % 2:
                disk.lost_power()
            else:
                disk.killed()
            self.assertIn(disk.open(1).applied, ((5, 1), (10, 1)))
            rows = listed(disk.data.visible)
            self.assertIn(rows, (before, after))
            found[rows == after] += 1
            finished += disk.real.finished
        self.assertGreater(min(*found, finished), 5)
