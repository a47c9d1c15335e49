"""
The end of a replica that was taken from a store which goes on: nothing is left of it but its number (R5 of the design).

When nobody needs it any more (L{tinykv.store.departure}) its rows go, all of them in the memory table in which a
tombstone says so; when that is in data.db, in one transaction, its log and promises go from raft.db. After a crash in
between the tombstone tells that what raft.db still has is nobody's. Only when nothing is left in either file may the
region get another peer here: a new one, with a number that was never used, which begins as that of a store does which
joins. What is meant for the destroyed one, however late it comes, is for nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from tinykv.region.snapshot import key_range, own_ranges
from tinykv.region.state import apply_key
from tinykv.region.tombstone import decode_tombstone, tombstone_key
from tinykv.storage.tables import FAMILIES
from tinykv.storage.writers import LogBatch

if TYPE_CHECKING:
    from tinykv.region.descriptor import Descriptor
    from tinykv.store.host import RegionHost

#: Entries of the index of expiries that are forgotten between two looks at the time.
EXPIRIES_A_LOOK: Final = 256
_NEVER: Final = 1 << 62


class Burial:
    """
    Destroys a store's replica of a region.

    @ivar begun: Whether that is under way.
    """

    log = Logger()

    def __init__(self, host: RegionHost) -> None:
        self.begun = False
        self._host = host
        self._initial: Descriptor | None = None
        self._tombstone = b""
        self._done: Callable[[], None] = lambda: None
        self._under_way = False

    def bury(self, initial: Descriptor, tombstone: bytes, done: Callable[[], None]) -> bool:
        """
        Destroy the replica, and call back when nothing is left of it.

        @param initial: What the region is to a store that has no peer of it.
        @param tombstone: The row that takes the place of all.
        @return: False if that can't begin now, since a snapshot is being installed.
        """
        host = self._host
        queue = host.queue
        if queue.held or queue.failed or host.closing:
            return False
        self.begun = True
        self._initial, self._tombstone, self._done = initial, tombstone, done
        what = "region {region}: its replica here, peer {peer}, is destroyed"
        self.log.info(what, region=host.descriptor.region, peer=host.group.peer)
        queue.held = True
        # What came now would be promised by nobody.
        host.replica.stop()
        host.replica.entries.clear()
        if not host.pacer.running:
            self.begin()
        return True

    def begin(self) -> None:
        """Begin, now that nothing is being applied."""
        if not self._under_way and not self._host.queue.failed:
            self._under_way = True
            self._host.give_up_all()
            self._host.pacer.run(self._delete, self._deleted)

    def _delete(self) -> None:
        """Let all rows go, between two entries, and say whose they were."""
        host = self._host
        rows, about = host.rows, host.descriptor
        try:
            ranges = self._ranges()
            for start, end in ranges:
                after: tuple[int, bytes] | None = None
                while found := rows.due(_NEVER, EXPIRIES_A_LOOK, after, (start, end)):
                    for entry in found:
                        rows.forget_expiry(*entry)
                    after = found[-1]
                    host.pacer.pause()
            host.execution.forget()
            for family in FAMILIES:
                rows.delete_ranges(family, own_ranges(about.region) if family == "region" else ranges)
            rows.remove("region", apply_key(about.region))
            rows.put("region", tombstone_key(about.region), self._tombstone)
        except Exception as problem:  # noqa: BLE001 - rows that can't be read stop the store, whatever it is
            host.fail(problem)

    def _ranges(self) -> list[tuple[bytes, bytes]]:
        """
        Give the range in which the peer has rows.

        None has one that never got its copy: what is known here of where its region lies may be old, and other regions
        be at work there.
        """
        host = self._host
        if not host.applied:
            return []
        about = host.descriptor
        others = [one for one in host.regions.overlapping(about.start, about.end) if one is not host and one.applied]
        assert not others, "rows are those of one region"
        return [key_range(about.start, about.end)]

    def _deleted(self) -> None:
        host = self._host
        if not host.queue.failed:
            host.flushing.forget()
            host.regions.flushes.flush_all(self._flushed)

    def _flushed(self) -> None:
        """The rows are gone durably, so the log may go (R5 a)."""
        host = self._host
        if host.queue.failed or host.closing:
            return
        batch = LogBatch()
        batch.forget(host.descriptor.region)
        host.regions.log_writer.write(batch, self._forgotten)

    def _forgotten(self) -> None:
        """Nothing is left in either file: the region may come again."""
        host, initial = self._host, self._initial
        if host.queue.failed or host.closing:
            return
        assert initial is not None, "it has begun"
        self.begun = self._under_way = False
        host.begin_anew(initial, decode_tombstone(self._tombstone))
        done, self._done = self._done, lambda: None
        done()
