"""
Sending a snapshot: one file, on a connection of its own, as fast as the rate and the receiver's credit allow.

The file is hashed before it's offered: its SHA-256 is how the receiver finds what it has of it already, from an earlier
connection or an earlier run, and how it knows in the end that it has all of it. When the connection breaks, another is
dialled and goes on where the receiver says. Only when nothing gets on any more for a long time is it given up.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import TYPE_CHECKING, Final
from zlib import crc32

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from tinykv.interfaces import ISnapshotFile, ISnapshotFiles
from tinykv.peering.channel import Channel, Common
from tinykv.peering.dialling import Dialling
from tinykv.peering.errors import SnapshotFailed
from tinykv.peering.grammar import GrammarError, number
from tinykv.peering.handshake import SNAPSHOT, Hello
from tinykv.peering.hashing import hash_pieces
from tinykv.peering.rate import Rate
from tinykv.peering.verbs import CHUNK_BYTES, META_BYTES, SNAPSHOT_TO_DIALLER

if TYPE_CHECKING:
    from hashlib import _Hash

#: Snapshots that may wait for others to be sent.
WAITING_MAX: Final = 1024
#: A receiver gives no more credit than this.
CREDIT_MAX: Final = 1024
#: Refusals after which trying again is of no use.
_FINAL: Final = frozenset(("refused", "version", "cluster", "own-id", "other-store", "secret", "folder", "stores"))


class _Stream(Channel):
    """One connection that a snapshot is sent on."""

    def __init__(self, common: Common, sending: Sending) -> None:
        super().__init__(common, purpose=SNAPSHOT, expected=sending.store_id)
        self._sending = sending
        #: Where the receiver began; None until it has said so.
        self.began_at: int | None = None
        self._sent = 0
        self._taken = 0
        self._credit = 0
        #: The pieces under way, by where they end.
        self._ends: deque[int] = deque()
        self._pause: IDelayedCall | None = None
        self._stall: IDelayedCall | None = None

    def came_up(self, hello: Hello) -> None:
        """Offer the snapshot."""
        self.speak(SNAPSHOT_TO_DIALLER, {b"HAVE": self._have, b"TAKEN": self._taken_to, b"DONE": self._done})
        sending = self._sending
        self.lanes.bulk(sending.offer(), sending.meta, None)

    def went_down(self) -> None:
        """Try again."""
        for call in (self._pause, self._stall):
            if call is not None and call.active():
                call.cancel()
        self._sending.broke()

    def was_refused(self, code: str, text: str) -> None:
        """Learn why the receiver closes: there may be no point in trying again."""
        resumed = bool(self.began_at)
        if code in _FINAL or (code == "damaged" and not resumed):
            self._sending.fail(f"store {self._sending.store_id} says ({code}): {text}")

    def _have(self, fields: list[bytes], payload: bytes) -> None:
        offset, credit = number(fields[0]), number(fields[1])
        if self.began_at is not None:
            raise GrammarError("a second HAVE line")
        if offset > self._sending.size or not 0 < credit <= CREDIT_MAX:
            raise GrammarError(f"a HAVE line says {offset} of {self._sending.size} bytes, and credit {credit}")
        self.began_at = self._sent = self._taken = offset
        self._credit = credit
        self._sending.accepted(offset)
        self._watch()
        self._pump()

    def _taken_to(self, fields: list[bytes], payload: bytes) -> None:
        offset = number(fields[0])
        if not self._taken < offset <= self._sent:
            raise GrammarError(f"a TAKEN line says {offset}, where {self._taken} were taken and {self._sent} sent")
        self._taken = offset
        while self._ends and self._ends[0] <= offset:
            self._ends.popleft()
        self._sending.taken_to(offset)
        self._watch()
        self._pump()

    def _done(self, fields: list[bytes], payload: bytes) -> None:
        # Before HAVE it's an answer, too: the last connection broke after all had arrived.
        if self.began_at is not None and self._taken != self._sending.size:
            raise GrammarError("a DONE line before everything was taken")
        self._sending.done()

    def _watch(self) -> None:
        """Expect the receiver to get on within some time, while anything is under way."""
        if self._stall is not None and self._stall.active():
            self._stall.cancel()
        self._stall = None
        if self._taken < self._sending.size:
            self._stall = self.common.clock.callLater(self.common.limits.snapshot_stall, self._stalled)

    def _stalled(self) -> None:
        common = self.common
        common.figures.timeouts += 1
        common.notices.warn(
            self._peer_text,
            "stalled",
            f"it takes nothing of the snapshot of region {self._sending.region_id} for "
            f"{common.limits.snapshot_stall:g} s, closing that connection",
        )
        self.abort()

    def _pump(self) -> None:
        """Send what credit and rate allow."""
        size = self._sending.size
        while self.is_up and self._pause is None and self._sent < size and len(self._ends) < self._credit:
            length = min(self._sending.piece_bytes, size - self._sent)
            pause = self._sending.rate.book(length)
            if pause > 0:
                self._pause = self.common.clock.callLater(pause, self._go_on, length)
                return
            self._piece(length)

    def _go_on(self, length: int) -> None:
        self._pause = None
        if self.is_up:
            self._piece(length)
            self._pump()

    def _piece(self, length: int) -> None:
        start = self._sent
        try:
            data = self._sending.file.read(start, length)
        except OSError as problem:
            self._sending.fail(f"{self._sending.path} can't be read: {problem}")
            return
        self.lanes.bulk(b"CHUNK %d %08x" % (start, crc32(data)), data, None)
        self._sent = start + length
        self._ends.append(self._sent)
        self.flush_later()


class Sending:
    """
    One snapshot on its way, over all connections that it takes.
    """

    def __init__(
        self, common: Common, senders: Senders, store_id: int, region_id: int, path: str, meta: bytes, count: int
    ) -> None:
        limits = common.limits
        self.store_id = store_id
        self.region_id = region_id
        self.path = path
        self.meta = meta
        self.rate = senders.rate
        #: Small enough for a piece a second, so that a slow rate doesn't look like a stall.
        self.piece_bytes = max(1, min(CHUNK_BYTES, limits.snapshot_rate // limits.snapshots_max))
        self.finished: Deferred[None] = Deferred(self._cancelled)
        self._common = common
        self._senders = senders
        self._number = count
        self._dialling = Dialling(common, store_id, senders.random, self._dial)
        self._digest = ""
        self._file: ISnapshotFile | None = None
        self._hashing: Deferred[_Hash] | None = None
        self._stream: _Stream | None = None
        self._patience: IDelayedCall | None = None
        self._furthest = -1
        self._over = False

    @property
    def file(self) -> ISnapshotFile:
        """The file."""
        assert self._file is not None
        return self._file

    @property
    def size(self) -> int:
        """Its length."""
        return self.file.size

    def start(self) -> None:
        """Open and hash the file, then dial."""
        common = self._common
        try:
            self._file = self._senders.files.open(self.path)
        except OSError as problem:
            self.fail(f"{self.path} can't be opened: {problem.strerror or problem}")
            return
        if self.size > common.limits.snapshot_bytes_max:
            self.fail(f"{self.path} has {self.size} bytes, over the limit of {common.limits.snapshot_bytes_max}")
            return
        self._hashing = hash_pieces(common.clock, self._file.read, self.size)
        self._hashing.addCallbacks(self._hashed, self._unreadable)

    def _unreadable(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            failure.trap(OSError)
            self.fail(f"{self.path} can't be read: {failure.getErrorMessage()}")

    def _hashed(self, found: _Hash) -> None:
        self._hashing = None
        self._digest = found.hexdigest()
        self._got_on()
        self._dial()

    def offer(self) -> bytes:
        """Give the verb and fields by which it's offered."""
        origin = self._common.identity.start_id
        return b"SNAPSHOT %d %d %d %d %b" % (
            origin,
            self._number,
            self.region_id,
            self.size,
            self._digest.encode(),
        )

    def _dial(self) -> None:
        endpoint = self._common.addresses.endpoint(self.store_id)
        if endpoint is None:
            self.fail(f"the address of store {self.store_id} isn't known")
            return
        self._stream = _Stream(self._common, self)
        self._dialling.attempt(endpoint, self._stream, lambda text: self.broke())

    def accepted(self, offset: int) -> None:
        """Learn that a receiver has begun, with so much of it already there."""
        if self._furthest >= 0:
            self._common.figures.snapshots_resumed += 1
        self.taken_to(offset)

    def taken_to(self, offset: int) -> None:
        """Learn how far it has arrived."""
        if offset > self._furthest:
            self._furthest = offset
            self._dialling.back_off.reset()
            self._got_on()

    def _got_on(self) -> None:
        """Begin to wait anew."""
        self._stop_patience()
        patience = self._common.limits.snapshot_give_up
        self._patience = self._common.clock.callLater(patience, self._give_up)

    def _stop_patience(self) -> None:
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        self._patience = None

    def _give_up(self) -> None:
        arrived = max(0, self._furthest)
        self.fail(
            f"store {self.store_id} took nothing more for {self._common.limits.snapshot_give_up:g} s; "
            f"{arrived} of {self.size} bytes had arrived"
        )

    def broke(self) -> None:
        """Go on by another connection, later."""
        self._stream = None
        if not self._over:
            self._dialling.again_later()

    def done(self) -> None:
        """Learn that it has arrived."""
        self._common.figures.snapshots_out += 1
        self._end()
        self.finished.callback(None)

    def fail(self, text: str) -> None:
        """Give up."""
        if not self._over:
            self._common.figures.snapshots_failed += 1
            self._end()
            self.finished.errback(
                SnapshotFailed(f"the snapshot of region {self.region_id} for store {self.store_id}: {text}")
            )

    def _cancelled(self, finished: Deferred[None]) -> None:
        self._end()

    def stop(self) -> None:
        """Give up because this store stops."""
        self.fail("this store stops")

    def _end(self) -> None:
        """Let go of everything."""
        self._over = True
        self._stop_patience()
        self._dialling.wait_no_more()
        if self._hashing is not None:
            self._hashing.cancel()
        if not self._dialling.give_up() and self._stream is not None:
            self._stream.abort()
        if self._file is not None:
            self._file.close()
        self._senders.ended(self)


class Senders:
    """
    All snapshots that this store sends: some at a time, the others in order behind them.
    """

    def __init__(self, common: Common, files: ISnapshotFiles, random: Random) -> None:
        self.files = files
        self.random = random
        self.rate = Rate(common.clock, common.limits.snapshot_rate)
        self._common = common
        self._running: set[Sending] = set()
        self._waiting: deque[Sending] = deque()
        self._number = 0

    def send(self, store_id: int, region_id: int, path: str, meta: bytes) -> Deferred[None]:
        """Send a file."""
        self._number += 1
        sending = Sending(self._common, self, store_id, region_id, path, meta, self._number)
        if len(meta) > META_BYTES:
            sending.fail(f"what is said about it has {len(meta)} bytes, over the limit of {META_BYTES}")
        elif any((other.store_id, other.region_id) == (store_id, region_id) for other in self._all()):
            # The two would take each other's place at the receiver, again and again.
            sending.fail("another one is on its way there already")
        elif len(self._waiting) >= WAITING_MAX:
            sending.fail(f"{WAITING_MAX} others wait already")
        else:
            self._waiting.append(sending)
            self._start()
        return sending.finished

    def _all(self) -> list[Sending]:
        return [*self._waiting, *self._running]

    def _start(self) -> None:
        while self._waiting and len(self._running) < self._common.limits.snapshots_max:
            sending = self._waiting.popleft()
            self._running.add(sending)
            sending.start()

    def ended(self, sending: Sending) -> None:
        """Let the next one begin."""
        if sending in self._running:
            self._running.discard(sending)
            self._common.turn.call_later(self._start)
        elif sending in self._waiting:
            self._waiting.remove(sending)

    def close(self) -> None:
        """Give all up."""
        for sending in self._all():
            sending.stop()
