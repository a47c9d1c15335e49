"""
How long the log is kept for the sake of snapshots.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tinykv.interfaces import ISnapshotMaker
from tinykv.keys import slots_range
from tinykv.raft.membership import Membership
from tinykv.raft.messages import SNAPSHOT, Message, SnapshotMeta
from tinykv.region.descriptor import Descriptor, descriptor_key
from tinykv.storage.errors import DiskFull
from tinykv.storage.snapshot_maker import Made
from tinykv.store.snapshots import CATCH_UP_SECONDS, KEPT_SECONDS, LAG_MAX, Snapshots

REGION = 1
OTHER = 12


@implementer(ISnapshotMaker)
class Maker:
    """Makes them, and deletes them, when it's told to."""

    def __init__(self) -> None:
        self.making: list[Deferred[Made]] = []
        self.dropping: list[Deferred[None]] = []

    def make(self, region: int, *, start: bytes = b"", end: bytes = b"", labels: object = ()) -> Deferred[Made]:
        self.making.append(Deferred())
        return self.making[-1]

    def drop(self, region: int) -> Deferred[None]:
        self.dropping.append(Deferred())
        return self.dropping[-1]

    def close(self) -> Deferred[None]:
        return Deferred()


class Sends:
    """Sends them when it's told to."""

    def __init__(self) -> None:
        self.sending: list[Deferred[None]] = []

    def send_snapshot(self, store_id: int, region_id: int, path: str, meta: bytes) -> Deferred[None]:
        self.sending.append(Deferred())
        return self.sending[-1]


class SnapshotsCase(SynchronousTestCase):
    """
    One region's snapshots.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.maker = Maker()
        self.sends = Sends()
        self.begins = 0
        self.range = (b"", b"")
        self.told: list[tuple[int, bool]] = []
        self.progress: dict[int, tuple[int, int]] = {OTHER: (5, 5000)}
        self.version = 1
        self.snapshots = Snapshots(
            region=REGION,
            maker=self.maker,
            sends=self.sends,
            flush=lambda flushed: flushed(),
            key_range=lambda: self.range,
            version=lambda: self.version,
            log_begins=lambda: self.begins,
            sent=lambda peer, arrived: self.told.append((peer, arrived)),
            progress=self.progress.get,
            clock=self.clock,
        )

    def made(self, index: int, start: bytes, end: bytes, version: int = 1) -> None:
        """Let one have been made as of an index, of a region that had this range then."""
        key = descriptor_key(REGION)
        descriptor = Descriptor(REGION, start, end, 1, version, {11: 1, OTHER: 2}, Membership((11, OTHER)), 13)
        state = index.to_bytes(8, "big") + (3).to_bytes(8, "big") + bytes(16)
        self.maker.making.pop().callback(Made("/path", 100, state, {key: descriptor.encode()}))

    def make(self, index: int) -> SnapshotMeta:
        """Make one as of an index."""
        self.assertIsNone(self.snapshots.newest())
        self.made(index, *self.range)
        meta = self.snapshots.newest()
        assert meta is not None
        return meta

    def send(self, meta: SnapshotMeta) -> Deferred[None]:
        """Begin to send one."""
        self.snapshots.send(2, Message(SNAPSHOT, OTHER, 11, 3, snapshot=meta))
        return self.sends.sending.pop()


class RangeTests(SnapshotsCase):
    """
    A snapshot has all rows of the range that it says the region had.
    """

    def test_narrowed_while_it_was_flushed(self) -> None:
        """The rows were looked for in the new range, and what says where the region lies was still the old one."""
        self.range, self.version = slots_range((0, 100)), 2
        self.assertIsNone(self.snapshots.newest())
        self.made(11, *slots_range((0, 200)), version=1)
        self.assertIsNone(self.snapshots.newest())
        self.made(12, *self.range, version=2)
        meta = self.snapshots.newest()
        self.assertEqual(meta and meta.index, 12)

    def test_narrowed_while_it_was_made(self) -> None:
        self.range = slots_range((0, 200))
        self.assertIsNone(self.snapshots.newest())
        self.range, self.version = slots_range((0, 100)), 2
        self.made(12, *self.range, version=2)
        self.assertIsNone(self.snapshots.newest())


class KeptLogTests(SnapshotsCase):
    """
    Behind a snapshot the log stays until who gets it has what follows.
    """

    def test_the_same_range_in_a_later_version(self) -> None:
        """A part was cut off meanwhile and merged again: who gets it would have to do both, and may not be able to."""
        self.make(1000)
        self.version = 3
        self.assertIsNone(self.snapshots.newest())
        self.assertEqual(len(self.maker.making), 1)

    def test_nobody_needs_one(self) -> None:
        self.assertIsNone(self.snapshots.needed)
        self.make(1000)
        self.assertIsNone(self.snapshots.needed)

    def test_until_it_has_caught_up(self) -> None:
        sending = self.send(self.make(1000))
        self.assertEqual(self.snapshots.needed, 1000)
        sending.callback(None)
        self.assertEqual(self.told, [(OTHER, True)])
        self.assertEqual(self.snapshots.needed, 1000)
        # It's installed, and then there is the log.
        self.progress[OTHER] = (1000, 6000)
        self.assertEqual(self.snapshots.needed, 1000)
        self.progress[OTHER] = (4000, 4000 + LAG_MAX + 1)
        self.assertEqual(self.snapshots.needed, 4000)
        self.progress[OTHER] = (4001, 4001 + LAG_MAX)
        self.assertIsNone(self.snapshots.needed)
        # Once it's there it's like any other.
        self.progress[OTHER] = (4001, 9000)
        self.assertIsNone(self.snapshots.needed)

    def test_it_does_not_arrive(self) -> None:
        self.send(self.make(1000)).errback(OSError("no"))
        self.assertEqual(self.told, [(OTHER, False)])
        self.assertIsNone(self.snapshots.needed)

    def test_not_for_ever(self) -> None:
        self.send(self.make(1000)).callback(None)
        self.clock.advance(CATCH_UP_SECONDS - 1)
        self.assertEqual(self.snapshots.needed, 1000)
        self.clock.advance(1)
        self.assertIsNone(self.snapshots.needed)

    def test_it_is_removed(self) -> None:
        self.send(self.make(1000)).callback(None)
        self.progress.clear()
        self.assertIsNone(self.snapshots.needed)

    def test_several(self) -> None:
        self.progress[13] = (7, 5000)
        meta = self.make(1000)
        first = self.send(meta)
        self.snapshots.send(3, Message(SNAPSHOT, 13, 11, 3, snapshot=meta))
        first.callback(None)
        self.sends.sending.pop().callback(None)
        self.progress[OTHER] = (4999, 5000)
        self.progress[13] = (2000, 5000)
        self.assertEqual(self.snapshots.needed, 2000)


class KeptFileTests(SnapshotsCase):
    """
    A file is as large as the region, so it goes when nobody asks for it.
    """

    def test_a_while_after_it_was_sent(self) -> None:
        sending = self.send(self.make(1000))
        self.clock.advance(10 * KEPT_SECONDS)
        self.assertEqual(self.maker.dropping, [])
        sending.callback(None)
        self.clock.advance(KEPT_SECONDS - 1)
        self.assertEqual(self.maker.dropping, [])
        self.clock.advance(1)
        self.assertEqual(len(self.maker.dropping), 1)

    def test_nobody_was_there_to_take_it(self) -> None:
        self.make(1000)
        self.clock.advance(KEPT_SECONDS)
        self.assertEqual(len(self.maker.dropping), 1)

    def test_it_goes_on_after_a_failure(self) -> None:
        meta = self.make(1000)
        self.send(meta).errback(OSError("no"))
        self.clock.advance(KEPT_SECONDS - 1)
        self.assertIs(self.snapshots.newest(), meta)
        sending = self.send(meta)
        self.clock.advance(KEPT_SECONDS)
        sending.callback(None)
        self.assertEqual(self.maker.dropping, [])

    def test_another_is_made_when_it_is_gone(self) -> None:
        meta = self.make(1000)
        self.clock.advance(KEPT_SECONDS)
        self.assertIsNone(self.snapshots.newest())
        self.assertEqual(self.maker.making, [])
        self.snapshots.send(2, Message(SNAPSHOT, OTHER, 11, 3, snapshot=meta))
        self.assertEqual(self.told, [(OTHER, False)])
        self.maker.dropping.pop().callback(None)
        self.make(2000)

    def test_it_can_not_be_deleted(self) -> None:
        self.make(1000)
        self.clock.advance(KEPT_SECONDS)
        self.maker.dropping.pop().errback(DiskFull("no room to delete"))
        self.make(2000)

    def test_another_takes_its_place(self) -> None:
        self.make(1000)
        self.begins = 2000
        self.assertIsNone(self.snapshots.newest())
        self.clock.advance(10 * KEPT_SECONDS)
        self.assertEqual(self.maker.dropping, [])
        self.maker.making.pop().errback(DiskFull("no room"))
        self.clock.advance(KEPT_SECONDS)
        self.assertEqual(len(self.maker.dropping), 1)

    def test_the_end(self) -> None:
        self.send(self.make(1000))
        self.snapshots.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_end_of_the_region(self) -> None:
        """It was merged into another one, so the file is nobody's."""
        self.send(self.make(1000))
        self.snapshots.end()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.maker.dropping), 1)
        self.assertIsNone(self.snapshots.newest())
        self.assertEqual(self.maker.making, [])
