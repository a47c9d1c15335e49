"""What slots hold is measured, by a real process."""

from __future__ import annotations

import os
import signal
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError
from twisted.trial.unittest import TestCase

from tests.storage.folders import ServingStore, open_small
from tinykv.keys import SLOTS, counter_key, meta_key, node_key, raw_key, slot_of
from tinykv.storage.errors import WriterLost
from tinykv.storage.frames import MEASURED
from tinykv.storage.process import ProcessChannel
from tinykv.storage.reader import Reader
from tinykv.storage.slot_sizes import ROW_BYTES, SizesSession

reactor: Any = global_reactor


class Store(ServingStore):
    """A store that measures."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.helper = self.sizes = self.folder.slot_sizes(reactor)


class SlotSizesTests(TestCase):
    """Measuring goes on beside the store."""

    timeout = 60

    async def test_sizes(self) -> None:
        store = Store(self.mktemp())
        expected: dict[int, int] = {}
        rows = [(meta_key(number % 16, b"key:%d" % number), slot_of(b"key:%d" % number)) for number in range(500)]
        rows += [(counter_key(slot, 0), slot) for slot in (0, 5, SLOTS - 1)]
        rows += [(node_key(5, 0, 1, node), 5) for node in range(50)]
        for place, (key, slot) in enumerate(rows):
            value = bytes(place * 20)
            store.rows.put("data", key, value)
            expected[slot] = expected.get(slot, 0) + len(key) + len(value) + ROW_BYTES
        store.rows.put("default", raw_key(b"not in a slot"), b"value")
        await store.flush(1)
        self.assertEqual(await store.sizes.measure((0, SLOTS)), expected)
        some = await store.sizes.measure((5, 9000))
        self.assertEqual(some, {slot: size for slot, size in expected.items() if 5 <= slot < 9000})
        # In however many steps.
        reader = Reader(store.folder.data_path)
        for rows_at_once in (1, 2, len(rows), len(rows) + 1):
            session = SizesSession(reader, rows_at_once)
            replies = session.take([(0, SLOTS)])
            while session.busy:
                replies = session.take([])
            self.assertEqual(replies, [(MEASURED, sorted(expected.items()))])
        reader.close()
        await store.close()

    async def test_nothing(self) -> None:
        store = Store(self.mktemp())
        self.assertEqual(await store.sizes.measure((0, SLOTS)), {})
        await store.close()

    async def test_giving_up(self) -> None:
        store = Store(self.mktemp())
        given_up = store.sizes.measure((0, SLOTS))
        given_up.cancel()
        await self.assertFailure(given_up, CancelledError)
        last = store.sizes.measure((0, SLOTS))
        await store.close()
        await self.assertFailure(last, CancelledError)
        open_small(store.folder.path).close()

    async def test_the_death_of_its_process(self) -> None:
        store = Store(self.mktemp())
        measuring = store.sizes.measure((0, SLOTS))
        (running,) = store.sizes._running
        channel = running._channel
        assert isinstance(channel, ProcessChannel)
        os.kill(channel.pid, signal.SIGKILL)
        error = await self.assertFailure(measuring, WriterLost)
        self.assertIn("process that measures", str(error))
        await store.close()
