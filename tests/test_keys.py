"""The ordered space of row keys, and the slots in it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tinykv.keys import SLOTS, meta_key, slot_from, slot_of, slots_range, slots_within


class SlotTests(SynchronousTestCase):
    """Which slots row keys mean."""

    def test_each(self) -> None:
        for key, slot in ((b"", 0), (b"q", 0), (b"r", 0), (b"r\1", 256), (b"s", SLOTS), (b"w", SLOTS), (b"x", SLOTS)):
            self.assertEqual(slot_from(key), slot)
        for slot in (0, 1, 255, 256, 8191, SLOTS - 1):
            self.assertEqual(slot_from(slots_range((slot, 0))[0]), slot)
        self.assertEqual(slot_from(meta_key(3, b"key")), slot_of(b"key"))

    def test_borders_of_regions(self) -> None:
        self.assertEqual(slots_within(b"", b""), (0, SLOTS))
        self.assertEqual(slots_within(*slots_range((3, 700))), (3, 700))
        self.assertEqual(slots_within(b"w", b""), (SLOTS, SLOTS))
