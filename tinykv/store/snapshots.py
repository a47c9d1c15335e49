"""
Snapshots that this store sends, when it leads and another's log ends before its own begins.

One is made when the group first asks for it: what is in memory is flushed, then a process of its own copies the region
into a file from one read transaction (R4 of the design), and the file goes over a connection of its own. Meanwhile
nobody waits. The file serves all who need it, until the log has been cut past it; it's as large as the region, so it's
deleted when nobody has asked for it for a while. And the log isn't cut past it while
it's made and sent, nor past what a store still needs that has got it: it would need another one at once, and another
one after that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from tinykv.interfaces import ISnapshotMaker
from tinykv.raft.messages import Message, SnapshotMeta
from tinykv.raft.wire import encode_message
from tinykv.region.descriptor import Descriptor, descriptor_key

#: How long the log is kept for a store that installs a snapshot and catches up, in seconds from when it got it; the log
#: grows meanwhile.
CATCH_UP_SECONDS: Final = 600.0
#: How long a file is kept that isn't being sent, in seconds from when it was last asked for: for a store whose link
#: broke, or another one that comes back.
KEPT_SECONDS: Final = 60.0
#: With so many entries left to get it counts as caught up.
LAG_MAX: Final = 256


class Sends(Protocol):
    """What it needs of L{tinykv.interfaces.IPeering}."""

    def send_snapshot(self, store_id: int, region_id: int, path: str, meta: bytes) -> Deferred[None]:
        """Send a file."""


class Snapshots:
    """
    The snapshots of one region.

    @ivar sent: How many were sent whole.
    """

    log = Logger()

    def __init__(
        self,
        *,
        region: int,
        maker: ISnapshotMaker,
        sends: Sends,
        flush: Callable[[Callable[[], None]], None],
        key_range: Callable[[], tuple[bytes, bytes]],
        version: Callable[[], int],
        log_begins: Callable[[], int],
        sent: Callable[[int, bool], None],
        progress: Callable[[int], tuple[int, int] | None],
        clock: IReactorTime,
    ) -> None:
        """
        @param flush: Writes all that is applied into data.db, and calls back then.
        @param key_range: Gives where the region's range of keys begins, and what is behind its end; C{version} rises
            with each change of that, also where it's what it was before.
        @param log_begins: Gives the index before the first entry of the log.
        @param sent: Told, by the peer that it was for, whether a snapshot has arrived.
        @param progress: Gives up to where a peer is known to have the log, and up to where it's applied here; None if
            this peer doesn't lead, or the other is no member.
        """
        self.sent = 0
        self._region = region
        self._maker = maker
        self._sends = sends
        self._flush = flush
        self._key_range = key_range
        self._version = version
        self._log_begins = log_begins
        self._told = sent
        self._progress = progress
        self._clock = clock
        self._now = clock.seconds
        self._meta: SnapshotMeta | None = None
        self._path = ""
        #: The range of keys of that, and of the one that is being made.
        self._range = self._making_range = (b"", b"")
        self._made_version = 0
        self._making = False
        #: Ends the time for which the file is kept; and whether it's being deleted.
        self._keeping: IDelayedCall | None = None
        self._dropping = False
        self._under_way: set[Deferred[None]] = set()
        #: Who has got one and catches up: by peer, the index that it's as of, and until when the log is kept.
        self._catching_up: dict[int, tuple[int, float]] = {}
        self._closed = False

    @property
    def sending(self) -> int:
        """Count those that are being sent."""
        return len(self._under_way)

    @property
    def needed(self) -> int | None:
        """Say behind which index the log mustn't be cut, since somebody goes on from a snapshot as of it, or will."""
        indexes = [self._meta.index] if self._meta is not None and (self._under_way or self._making) else []
        for peer, (index, until) in list(self._catching_up.items()):
            progress = self._progress(peer)
            if progress is None or progress[1] - progress[0] <= LAG_MAX or self._now() >= until:
                del self._catching_up[peer]
            else:
                indexes.append(max(index, progress[0]))
        return min(indexes, default=None)

    def newest(self) -> SnapshotMeta | None:
        """Give what can be sent; if there's nothing, it's being made from now on."""
        meta = self._meta
        if meta is not None and (self._range, self._made_version) != (self._key_range(), self._version()):
            # Another region has a part of it by now, or had, or was merged into it: who got it would have to do that
            # as well, and may be a member only since then.
            meta = None
        if meta is not None and (self._under_way or meta.index >= self._log_begins()):
            self._keep()
            return meta
        if not (self._making or self._dropping or self._closed):
            self._making = True
            self._flush(self._make)
        return None

    def _make(self) -> None:
        if self._closed:
            return
        key = descriptor_key(self._region)
        start, end = self._making_range = self._key_range()
        making: Deferred[Any] = self._maker.make(self._region, start=start, end=end, labels=[key])
        making.addCallbacks(self._made, self._not_made, callbackArgs=(key,))

    def _made(self, made: Any, key: bytes) -> None:
        self._making = False
        if self._closed:
            return
        row = made.labels[key]
        assert row is not None, "every region has a descriptor"
        descriptor = Descriptor.decode(self._region, row)
        self._range, self._made_version = self._making_range, descriptor.version
        self._meta = SnapshotMeta(made.index, made.term, descriptor.membership)
        self._path = made.path
        self.log.info(
            "made a snapshot of region {region} as of entry {index}: {size} bytes",
            region=self._region,
            index=made.index,
            size=made.size,
        )
        self._keep()

    def _keep(self) -> None:
        """Keep the file for some more time."""
        if self._closed:
            return
        if self._keeping is not None and self._keeping.active():
            self._keeping.reset(KEPT_SECONDS)
        else:
            self._keeping = self._clock.callLater(KEPT_SECONDS, self._drop)

    def _drop(self) -> None:
        """Delete the file, unless it's being sent or another one takes its place."""
        if self._under_way or self._making:
            return
        self._meta = None
        self._dropping = True
        self._maker.drop(self._region).addCallbacks(self._dropped, self._not_dropped)

    def _dropped(self, nothing: None) -> None:
        self._dropping = False

    def _not_dropped(self, failure: Failure) -> None:
        self._dropping = False
        self.log.error(
            "the snapshot of region {region} that was sent can't be deleted: {why}",
            region=self._region,
            why=failure.value,
        )

    def _not_made(self, failure: Failure) -> None:
        self._making = False
        if self._meta is not None:
            self._keep()
        if not failure.check(CancelledError):
            self.log.error("no snapshot of region {region}: {why}", region=self._region, why=failure.value)

    def send(self, store: int, message: Message) -> None:
        """Send the snapshot that a message is about to the store of the peer that it's for."""
        meta = message.snapshot
        if meta is None or self._meta is None or meta.index != self._meta.index:
            self._told(message.to, False)
            return
        index = meta.index
        sending = self._sends.send_snapshot(store, self._region, self._path, encode_message(message))
        self._under_way.add(sending)

        def ended(result: Any) -> None:
            self._under_way.discard(sending)
            self._keep()
            failed = isinstance(result, Failure)
            if failed:
                why = result.value
                self.log.warn("store {store} didn't get the snapshot: {why}", store=store, why=why)
            else:
                self.sent += 1
                self._catching_up[message.to] = (index, self._now() + CATCH_UP_SECONDS)
            if not self._closed:
                self._told(message.to, not failed)

        sending.addBoth(ended)

    def stop(self) -> None:
        """Make and send none any more."""
        self._closed = True
        if self._keeping is not None and self._keeping.active():
            self._keeping.cancel()
        for sending in list(self._under_way):
            sending.cancel()

    def end(self) -> None:
        """Learn that the region has ended here: the file is nobody's."""
        self.stop()
        if self._meta is not None:
            self._drop()

    def close(self) -> Deferred[None]:
        """Give up all that is under way; fires when that is so."""
        self.stop()
        return self._maker.close()
