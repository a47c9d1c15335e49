"""What is known of how long keys have been idle."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tinykv.redis.idleness import NOTES, SIGNS, SPACING_MS, Idleness


class IdlenessTests(SynchronousTestCase):
    """L{Idleness}."""

    def test_nothing_known(self) -> None:
        self.assertEqual(Idleness().idle_ms(0, b"a", 5, 1000), 0)

    def test_a_version_lies_behind_its_note(self) -> None:
        idleness = Idleness()
        idleness.note(10, 1000)
        idleness.note(20, 5000)
        for version, idle in ((5, 9000), (10, 9000), (11, 9000), (20, 9000), (21, 5000), (99, 5000)):
            self.assertEqual(idleness.idle_ms(0, b"a", version, 10_000), idle, version)

    def test_a_sign_counts_for_its_version_only(self) -> None:
        idleness = Idleness()
        idleness.note(0, 1000)
        idleness.used(0, b"a", 3, 9000)
        self.assertEqual(idleness.idle_ms(0, b"a", 3, 10_000), 1000)
        self.assertEqual(idleness.idle_ms(1, b"a", 3, 10_000), 9000)
        self.assertEqual(idleness.idle_ms(0, b"a", 4, 10_000), 9000)

    def test_memory_is_bounded(self) -> None:
        idleness = Idleness()
        for second in range(3 * NOTES):
            idleness.note(second * 10, second * SPACING_MS)
            self.assertEqual(idleness.due, (second + 1) * SPACING_MS)
        last = 3 * NOTES - 1
        # The newest notes are all there; the oldest lie further apart.
        now = last * SPACING_MS
        for back in (0, 1, 100, NOTES // 4):
            self.assertEqual(idleness.idle_ms(0, b"a", (last - back) * 10 + 1, now), back * SPACING_MS)
        self.assertEqual(idleness.idle_ms(0, b"a", 1, now), now)
        for number in range(3 * SIGNS):
            idleness.used(0, b"%d" % number, 1, now)
        self.assertEqual(idleness.idle_ms(0, b"%d" % (2 * SIGNS), 1, now), 0)
        self.assertEqual(idleness.idle_ms(0, b"0", 1, now), now)
