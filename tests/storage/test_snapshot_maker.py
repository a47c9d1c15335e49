"""
Snapshots between real processes.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from tests.storage.folders import ServingStore, open_small
from tests.storage.snapshots import files_of, image
from tinykv.interfaces import ISnapshotInstaller, ISnapshotMaker
from tinykv.keys import region_row
from tinykv.region.state import ApplyState, apply_key
from tinykv.storage.errors import BadSnapshot, CorruptFile, FolderInUse, SnapshotAborted, StorageError, WriterLost
from tinykv.storage.process import ProcessChannel
from tinykv.storage.snapshot_format import read_head
from tinykv.storage.snapshot_maker import MAKING_MAX, SnapshotMaker
from tinykv.storage.sums import forget_sums

reactor: Any = global_reactor


class Store(ServingStore):
    """The storage of a running store, of which snapshots can be made."""

    def __init__(self, path: str, **options: Any) -> None:
        super().__init__(path)
        self.maker = self.helper = self.folder.snapshot_maker(reactor, self.run, **options)

    @staticmethod
    def run(function: Callable[[], None]) -> Deferred[None]:
        """Run a deletion at once."""
        return maybeDeferred(function)

    def write(self, index: int, rows: int) -> Deferred[None]:
        """Flush rows of an entry; their values say which it is."""
        for number in range(rows):
            self.rows.put("data", b"r%06d" % number, b"%d " % index + bytes(500))
        self.rows.note_expiry(index, b"r000001")
        return self.flush(index)


class SnapshotMakerTests(TestCase):
    """
    L{SnapshotMaker} with its processes, and the data writer's.
    """

    timeout = 60

    def test_interfaces(self) -> Deferred[None]:
        store = Store(self.mktemp())
        verifyObject(ISnapshotMaker, store.maker)
        verifyObject(ISnapshotInstaller, store.data)
        return Deferred.fromCoroutine(store.close())

    async def test_from_one_store_into_another(self) -> None:
        source, target = Store(self.mktemp()), Store(self.mktemp())
        await source.write(3, 4000)
        await target.write(1, 100)
        made = await source.maker.make(1, labels=[apply_key(1), region_row(1, b"settings")])
        self.assertEqual((made.index, made.term, made.size), (3, 1, os.stat(made.path).st_size))
        self.assertEqual(made.labels, {apply_key(1): made.state, region_row(1, b"settings"): None})
        folder = os.path.join(target.folder.path, "snapshots")
        os.mkdir(folder)
        path = shutil.copy(made.path, os.path.join(folder, "1-arrived"))
        self.assertEqual(read_head(path).index, 3)
        state = await target.data.install(1, path)
        self.assertEqual(ApplyState.decode(state), ApplyState(3, 1, 3, 3))
        target.rows.replaced(1, b"", b"")
        self.assertTrue(image(target.folder.data_path) == image(source.folder.data_path), "the rows differ")
        await target.write(4, 10)
        await source.maker.drop(1)
        self.assertEqual(list(files_of(source.folder.path)), [])
        self.assertEqual(list(files_of(target.folder.path)), [])
        await source.close()
        await target.close()

    async def test_it_is_consistent_while_flushes_go_on(self) -> None:
        store = Store(self.mktemp())
        await store.write(1, 8000)
        making = store.maker.make(1)
        index = 1
        while not making.called:
            index += 1
            await store.write(index, 8000)
        made = await making
        self.assertLessEqual(made.index, index)
        target = Store(self.mktemp())
        os.mkdir(os.path.join(target.folder.path, "snapshots"))
        await target.data.install(1, shutil.copy(made.path, os.path.join(target.folder.path, "snapshots")))
        found = image(target.folder.data_path)
        self.assertEqual({row[2].split()[0] for row in found["data"]}, {b"%d" % made.index})
        self.assertEqual([at for at, _ in found["expiries"]], list(range(1, made.index + 1)))
        await store.close()
        await target.close()

    async def test_a_refusal(self) -> None:
        store = Store(self.mktemp())
        error = await self.assertFailure(store.maker.make(1), SnapshotAborted)
        self.assertIn("no region 1", str(error))
        await store.write(1, 1)
        error = await self.assertFailure(store.data.install(1, os.path.join(store.folder.path, "none")), BadSnapshot)
        self.assertIn("missing", str(error))
        # Neither is the end of anything.
        await store.maker.make(1)
        await store.write(2, 1)
        await store.close()

    async def test_it_can_be_cancelled(self) -> None:
        store = Store(self.mktemp())
        await store.write(1, 4000)
        making = store.maker.make(1)
        making.cancel()
        await self.assertFailure(making, CancelledError)
        # The next one needn't wait for that.
        made = await store.maker.make(1)
        await store.close()
        self.assertEqual(list(files_of(store.folder.path)), [os.path.basename(made.path)])

    async def test_no_more_than_some_at_a_time(self) -> None:
        """The others wait for their turn, and whether they wait or are made they can be given up."""
        store = Store(self.mktemp())
        await store.write(1, 4000)
        makings = [store.maker.make(region) for region in range(1, MAKING_MAX + 6)]
        self.assertEqual(len(store.maker._making), MAKING_MAX)
        makings[-1].cancel()
        await self.assertFailure(makings[-1], CancelledError)
        await makings[0]
        # Of the others there's nothing.
        for making in makings[1 : MAKING_MAX + 2]:
            await self.assertFailure(making, SnapshotAborted)
        begun, waiting = makings[MAKING_MAX + 2 : MAKING_MAX + 4]
        begun.cancel()
        await self.assertFailure(begun, CancelledError)
        last = [store.maker.make(1), store.maker.make(2), store.maker.make(3)]
        await store.close()
        for making in [waiting, *last]:
            await self.assertFailure(making, CancelledError)

    async def test_closing_gives_up(self) -> None:
        store = Store(self.mktemp())
        await store.write(1, 4000)
        making = store.maker.make(1)
        await store.close()
        await self.assertFailure(making, CancelledError)
        self.assertEqual(list(files_of(store.folder.path)), [])
        open_small(store.folder.path).close()

    async def test_a_store_that_ends_installs_no_further(self) -> None:
        source, target = Store(self.mktemp()), Store(self.mktemp())
        await source.write(3, 10_000)
        await target.write(1, 100)
        old, new = image(target.folder.data_path), image(source.folder.data_path)
        made = await source.maker.make(1)
        folder = os.path.join(target.folder.path, "snapshots")
        os.mkdir(folder)
        installing = target.data.install(1, shutil.copy(made.path, os.path.join(folder, "1-arrived")))
        outcome: list[object] = []
        installing.addBoth(outcome.append)
        await target.data.close()
        # How far it came by then is a matter of luck, but somebody is told.
        (result,) = outcome
        if isinstance(result, Failure):
            result.trap(SnapshotAborted)
            self.assertIn("the store ends", result.getErrorMessage())
        await target.close()
        again = open_small(target.folder.path)
        again.close()
        self.assertTrue(image(again.data_path) in (old, new), "neither the old rows nor the new ones")
        self.assertEqual(list(files_of(again.path)), [])
        await source.close()

    async def test_the_death_of_its_process(self) -> None:
        store = Store(self.mktemp())
        await store.write(1, 4000)
        making = store.maker.make(1)
        channel = store.maker._making[1]._channel
        assert isinstance(channel, ProcessChannel)
        os.kill(channel.pid, signal.SIGKILL)
        error = await self.assertFailure(making, WriterLost)
        self.assertIn("snapshot maker of", str(error))
        await store.close()
        self.assertEqual(list(files_of(store.folder.path)), [])

    async def test_a_damaged_store_is_told(self) -> None:
        path = self.mktemp()
        store = Store(path)
        await store.write(1, 10)
        await store.close()
        folder = open_small(path)
        assert folder._data is not None
        folder._data.execute("UPDATE data SET crc = 7")
        folder.close()
        forget_sums(folder.data_path)
        store = Store(path)
        await self.assertFailure(store.maker.make(1), CorruptFile)
        await store.close()

    async def test_the_folder_stays_locked_until_it_has_ended(self) -> None:
        store = Store(self.mktemp())
        await store.write(1, 4000)
        channel = ProcessChannel(reactor, "snapshot", store.folder.data_path, lock=store.folder._lock)
        store.maker = SnapshotMaker(store.folder.path, lambda: channel, store.run)
        making = store.maker.make(1)
        store.reader.close()
        await store.log.close()
        await store.data.close()
        store.folder.close()
        self.assertRaises(FolderInUse, open_small, store.folder.path)
        await store.maker.close()
        await self.assertFailure(making, CancelledError)
        open_small(store.folder.path).close()

    async def test_a_folder_that_cannot_be_made(self) -> None:
        store = Store(self.mktemp())
        with open(os.path.join(store.folder.path, "snapshots"), "w"):
            pass
        self.assertIn("snapshots", str(await self.assertFailure(store.maker.make(1), StorageError)))
        await store.maker.close()
        store.reader.close()
        await store.log.close()
        await store.data.close()
        store.folder.close()
