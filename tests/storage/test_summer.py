"""
Rows are summed up: equal ones to equal sums, as of one entry, between real processes.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from tests.storage.folders import ServingStore, open_small
from tinykv.interfaces import ISum, ISummer
from tinykv.keys import region_row
from tinykv.region.descriptor import descriptor_key
from tinykv.region.snapshot import install_key
from tinykv.region.state import ApplyState, apply_key
from tinykv.storage.data import COMMIT, ROWS
from tinykv.storage.errors import CorruptFile, FolderInUse, SumAborted, WriterLost
from tinykv.storage.frames import AWAKE, OPENED, REFUSED, SUMMED
from tinykv.storage.process import ProcessChannel
from tinykv.storage.row_sum import SumSession
from tinykv.storage.sums import forget_sums
from tinykv.testing.simulation.files import DataRows, RowsReader

reactor: Any = global_reactor

Rows = dict[tuple[str, bytes], bytes]


def nothing() -> None:
    """Do nothing."""


def sum_of(rows: Rows, index: int = 5, *, wanted: int = 5, room: int = 0, free: int = 0) -> tuple[Any, ...]:
    """Sum up some rows; give the last reply."""
    contents = DataRows()
    pieces: list[tuple[Any, ...]] = [(ROWS, family, [key], [value]) for (family, key), value in rows.items()]
    state = ApplyState(index, 1, index, len(rows)).encode()
    contents.apply([*pieces, (ROWS, "region", [apply_key(1)], [state]), (COMMIT,)])
    reader: Any = RowsReader(lambda: contents)
    session = SumSession(lambda: reader, lambda: free)
    assert session.take([()]) == [(AWAKE,)] and not session.busy
    replies = session.take([(1, b"", b"", wanted, room)])
    while session.busy:
        replies = session.take([])
    return replies[0]


class RowSumTests(SynchronousTestCase):
    """
    What belongs to a sum.
    """

    def test_equal_rows(self) -> None:
        rows = {("data", b"r%d" % number): b"%d" % number for number in range(3000)}
        found = sum_of(rows)
        self.assertEqual((found[0], found[2]), (SUMMED, 3000))
        self.assertEqual(sum_of(dict(reversed(rows.items()))), found)
        # Which entry it is, and all else of the apply state, isn't part of it.
        self.assertEqual(sum_of(rows, 6, wanted=6), found)

    def test_any_difference(self) -> None:
        rows: Rows = {("data", b"a"): b"bc", ("write", b"w"): b"", ("region", descriptor_key(1)): b"d"}
        sums = {sum_of(rows)[1]}
        for place in list(rows):
            sums.add(sum_of({**rows, place: rows[place] + b"x"})[1])
            sums.add(sum_of({other: row for other, row in rows.items() if other != place})[1])
        sums.add(sum_of({**rows, ("region", region_row(1, b"settings")): b""})[1])
        sums.add(sum_of({**rows, ("lock", b"w"): b""})[1])
        self.assertEqual(len(sums), 9)

    def test_where_a_row_ends(self) -> None:
        """Bytes of a key aren't mistaken for bytes of a value, nor one family for another."""
        places = [("data", b"ab", b"c"), ("data", b"a", b"bc"), ("default", b"a", b"bc")]
        self.assertEqual(len({sum_of({(family, key): value})[1] for family, key, value in places}), 3)

    def test_what_belongs_to_the_store(self) -> None:
        rows: Rows = {("data", b"a"): b"b"}
        self.assertEqual(sum_of({**rows, ("region", install_key(1)): b"x"}), sum_of(rows))

    @given(st.dictionaries(st.binary(min_size=1, max_size=4), st.integers(0, 300_000), max_size=12))
    def test_large_and_small_rows(self, sizes: dict[bytes, int]) -> None:
        """However many are read at a time, each of them counts once."""
        rows: Rows = {("data", b"r" + key): bytes(size) for key, size in sizes.items()}
        rows |= {("default", b"r%04d" % number): b"" for number in range(300)}
        self.assertEqual(sum_of(rows)[2], len(rows))

    def test_another_entry(self) -> None:
        for index in (4, 6):
            kind, name, text = sum_of({}, index)
            self.assertEqual((kind, name), (REFUSED, "SumAborted"))
            self.assertIn(f"as of entry {index} by now, not 5", text)

    def test_the_room(self) -> None:
        self.assertEqual(sum_of({}, room=100, free=100)[0], SUMMED)
        kind, name, text = sum_of({}, room=100, free=99)
        self.assertEqual((kind, name), (REFUSED, "SumAborted"))
        self.assertIn("Free some space", text)

    def test_the_room_shrinks(self) -> None:
        contents = DataRows()
        state = ApplyState(5, 1, 5, 5).encode()
        keys = [b"r%06d" % number for number in range(70)]
        values = [bytes(200_000)] * len(keys)
        contents.apply([(ROWS, "data", keys, values), (ROWS, "region", [apply_key(1)], [state]), (COMMIT,)])
        reader: Any = RowsReader(lambda: contents)
        free = [100, 99]
        session = SumSession(lambda: reader, lambda: free.pop(0))
        self.assertEqual(session.take([(1, b"", b"", 5, 100)]), [(OPENED,)])
        replies: list[tuple[Any, ...]] = []
        while session.busy:
            replies = session.take([])
        self.assertEqual(replies[0][:2], (REFUSED, "SumAborted"))


class Store(ServingStore):
    """The storage of a running store, whose rows can be summed up."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.summer = self.helper = self.folder.summer(reactor)

    def write(self, index: int, rows: int) -> Deferred[None]:
        """Flush rows of an entry; their values say which it is."""
        for number in range(rows):
            self.rows.put("data", b"r%06d" % number, b"%d " % index + bytes(100))
        return self.flush(index)

    async def sum(self, index: int) -> tuple[str, int]:
        """Sum up."""
        summing = self.summer.start()
        await summing.awake
        summing.begin(1, b"", b"", index, nothing)
        return await summing.answer


class SummerTests(TestCase):
    """
    L{Summer} with its processes, and the data writer's.
    """

    timeout = 60

    async def test_two_stores(self) -> None:
        one, two = Store(self.mktemp()), Store(self.mktemp())
        await one.write(3, 3000)
        for index in (1, 2, 3):
            await two.write(index, 1000 * index)
        self.assertEqual(await one.sum(3), await two.sum(3))
        await two.write(4, 1)
        self.assertNotEqual(await one.sum(3), await two.sum(4))
        await one.close()
        await two.close()

    async def test_flushes_go_on(self) -> None:
        """Once it has begun they change nothing of it."""
        store = Store(self.mktemp())
        await store.write(1, 20_000)
        expected = await store.sum(1)
        summing = store.summer.start()
        verifyObject(ISummer, store.summer)
        verifyObject(ISum, summing)
        opened: Deferred[None] = Deferred()
        summing.begin(1, b"", b"", 1, lambda: opened.callback(None))
        await opened
        index = 1
        while not summing.answer.called:
            index += 1
            await store.write(index, 2000)
        self.assertEqual(await summing.answer, expected)
        self.assertGreater(index, 1)
        await store.close()

    async def test_a_flush_came_before(self) -> None:
        store = Store(self.mktemp())
        await store.write(2, 10)
        error = await self.assertFailure(Deferred.fromCoroutine(store.sum(1)), SumAborted)
        self.assertIn("as of entry 2 by now", str(error))
        await store.close()

    async def test_giving_up(self) -> None:
        store = Store(self.mktemp())
        await store.write(1, 4000)
        for begins in (False, True):
            summing = store.summer.start()
            if begins:
                summing.begin(1, b"", b"", 1, nothing)
            summing.answer.cancel()
            await self.assertFailure(summing.answer, CancelledError)
        last = store.summer.start()
        last.begin(1, b"", b"", 1, nothing)
        await store.close()
        await self.assertFailure(last.answer, CancelledError)
        open_small(store.folder.path).close()

    async def test_the_death_of_its_process(self) -> None:
        store = Store(self.mktemp())
        summing = store.summer.start()
        await summing.awake
        channel = summing._channel
        assert isinstance(channel, ProcessChannel)
        os.kill(channel.pid, signal.SIGKILL)
        error = await self.assertFailure(summing.answer, WriterLost)
        self.assertIn("process that sums up", str(error))
        await store.close()

    async def test_a_damaged_row(self) -> None:
        path = self.mktemp()
        store = Store(path)
        await store.write(1, 10)
        await store.close()
        folder = open_small(path)
        assert folder._data is not None
        folder._data.execute("UPDATE data SET crc = 7 WHERE key = ?", (b"r000005",))
        folder.close()
        forget_sums(folder.data_path)
        store = Store(path)
        error = await self.assertFailure(Deferred.fromCoroutine(store.sum(1)), CorruptFile)
        self.assertIn("r000005", str(error))
        await store.close()

    async def test_the_folder_stays_locked_until_it_has_ended(self) -> None:
        store = Store(self.mktemp())
        await store.write(1, 10)
        summing = store.summer.start()
        await summing.awake
        store.reader.close()
        await store.log.close()
        await store.data.close()
        store.folder.close()
        self.assertRaises(FolderInUse, open_small, store.folder.path)
        await store.summer.close()
        await self.assertFailure(summing.answer, CancelledError)
        open_small(store.folder.path).close()
