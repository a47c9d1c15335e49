"""
How long ago a key was used: what OBJECT IDLETIME answers.

No key has a clock of its own, so that nothing is paid per use. When a key was last B{changed} follows from
its version: about once a second the region's sequence is noted with the time, and a version lies between two
notes. Beside that, explicit signs of use (TOUCH, RESTORE with IDLETIME) are remembered for as many keys as
fit in two generations. Reads leave no trace. All of this is the answering store's memory, never rows (R12 of
the design), so no writing command may look at it.
"""

from __future__ import annotations

from bisect import bisect_left

#: How far apart notes are, in ms.
SPACING_MS = 1000
#: When there are so many notes, every other one of the older half is dropped.
NOTES = 4096
#: How many explicit signs of use one generation remembers.
SIGNS = 10_000


class Idleness:
    """
    Notes of times.

    @ivar due: The time from which on the next note is to be taken, in ms since 1970.
    """

    __slots__ = ("_old", "_sequences", "_times", "_young", "due")

    def __init__(self) -> None:
        self.due = 0
        self._sequences: list[int] = []
        self._times: list[int] = []
        #: (database, key) -> (the key's version then, when it was used in ms since 1970)
        self._young: dict[tuple[int, bytes], tuple[int, int]] = {}
        self._old: dict[tuple[int, bytes], tuple[int, int]] = {}

    def note(self, sequence: int, now: int) -> None:
        """Take a note before the first change at this time: its version will be greater than the sequence."""
        self.due = now + SPACING_MS
        self._sequences.append(sequence)
        self._times.append(now)
        if len(self._times) >= NOTES:
            half = NOTES // 2
            self._sequences[:half] = self._sequences[:half:2]
            self._times[:half] = self._times[:half:2]

    def used(self, db: int, key: bytes, version: int, at: int) -> None:
        """Remember that a key of a (physical) database, in this version, was used at this time."""
        if len(self._young) >= SIGNS:
            self._old, self._young = self._young, {}
        self._young[db, key] = version, at

    def idle_ms(self, db: int, key: bytes, version: int, now: int) -> int:
        """Say for how long a key of this version has been idle; up to a second too long, if all is known."""
        sign = self._young.get((db, key)) or self._old.get((db, key))
        if sign is not None and sign[0] == version:
            used = sign[1]
        elif self._times:
            used = self._times[max(bisect_left(self._sequences, version) - 1, 0)]
        else:
            used = now
        return max(now - used, 0)
