"""
Receiving a snapshot: an offer, what there is of it already, pieces with checksums, and a file that is verified whole.

Nothing of it is believed before the SHA-256 of the whole is what the offer said. What has come stays when a connection
breaks; what turns out to be something else is deleted.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Final
from zlib import crc32

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from tinykv.interfaces import ISnapshotFiles, ISnapshotSink
from tinykv.peering.channel import Channel, Common
from tinykv.peering.grammar import GrammarError, line, number
from tinykv.peering.handshake import Hello
from tinykv.peering.hashing import hash_pieces
from tinykv.peering.verbs import SNAPSHOT_TO_ACCEPTOR, read_id

if TYPE_CHECKING:
    from hashlib import _Hash

_DIGEST: Final = re.compile(rb"[0-9a-f]{64}")
_CRC: Final = re.compile(rb"[0-9a-f]{8}")
#: Snapshots that arrived whole and are remembered, for senders that didn't hear of it.
ARRIVED_MAX: Final = 256


class Arrivals:
    """
    The snapshots that arrive, over all connections.

    @ivar files: Where they go.
    """

    def __init__(self, files: ISnapshotFiles) -> None:
        self.files = files
        self._receiving: dict[int, SnapshotReceiver] = {}
        self._arrived: OrderedDict[tuple[int, int], None] = OrderedDict()

    def has_arrived(self, origin: int, count: int) -> bool:
        """Tell whether a sender's snapshot has been handed over."""
        return (origin, count) in self._arrived

    def arrived(self, origin: int, count: int) -> None:
        """Note that one has been handed over."""
        self._arrived[origin, count] = None
        if len(self._arrived) > ARRIVED_MAX:
            self._arrived.popitem(last=False)

    def begin(self, region_id: int, receiver: SnapshotReceiver) -> bool:
        """
        Let a receiver be the one of its region, in place of one whose connection its sender has given up.

        @return: Whether it may be: not while another's file is being finished, or comes from elsewhere.
        """
        older = self._receiving.get(region_id)
        if older is not None and not older.gives_way(receiver.store_id):
            return False
        self._receiving[region_id] = receiver
        return True

    def end(self, region_id: int, receiver: SnapshotReceiver) -> None:
        """Learn that a receiver is through."""
        if self._receiving.get(region_id) is receiver:
            del self._receiving[region_id]


class SnapshotReceiver:
    """
    The receiver's part of an accepted connection.

    @ivar store_id: The store that sends.
    """

    log = Logger()

    def __init__(self, channel: Channel, common: Common, arrivals: Arrivals, hello: Hello) -> None:
        self.store_id = hello.store_id
        self._channel = channel
        self._common = common
        self._arrivals = arrivals
        self._key = (0, 0)
        self._region_id = 0
        self._size = 0
        self._digest = b""
        self._meta = b""
        self._sink: ISnapshotSink | None = None
        self._hashing: Deferred[_Hash] | None = None
        self._hash: _Hash | None = None
        self._finishing = False
        self._stall: IDelayedCall | None = None
        channel.speak(SNAPSHOT_TO_ACCEPTOR, {b"SNAPSHOT": self._offered, b"CHUNK": self._chunk})
        self._watch()

    def _watch(self) -> None:
        """Expect the sender to get on within some time."""
        self._stop_watch()
        self._stall = self._common.clock.callLater(self._common.limits.snapshot_stall, self._stalled)

    def _stop_watch(self) -> None:
        if self._stall is not None and self._stall.active():
            self._stall.cancel()
        self._stall = None

    def _stalled(self) -> None:
        self._common.figures.timeouts += 1
        self._end("timeout", f"nothing of the snapshot came for {self._common.limits.snapshot_stall:g} s")

    def _offered(self, fields: list[bytes], payload: bytes) -> None:
        if self._region_id:
            raise GrammarError("a second SNAPSHOT line")
        origin, count, size = number(fields[0]), number(fields[1]), number(fields[3])
        self._region_id = region_id = read_id(fields[2])
        self._key = (origin, count)
        self._size = size
        self._digest = fields[4]
        self._meta = payload
        if _DIGEST.fullmatch(self._digest) is None:
            raise GrammarError("the digest of a SNAPSHOT line isn't a SHA-256 in hex")
        if self._arrivals.has_arrived(origin, count):
            self._say(b"DONE\r\n")
            return
        limit = self._common.limits.snapshot_bytes_max
        if size > limit:
            self._end("refused", f"it has {size} bytes, over the limit of {limit}")
            return
        refusal = self._common.listener.snapshot_offered(self.store_id, region_id, size, payload)
        if refusal is not None:
            self._end("refused", refusal)
            return
        if not self._arrivals.begin(region_id, self):
            self._end("busy", f"another snapshot of region {region_id} is arriving")
            return
        try:
            self._sink = sink = self._arrivals.files.sink(self.store_id, region_id, self._digest.decode(), size)
        except OSError as problem:
            self._failed(problem.strerror or str(problem))
            return
        if sink.kept > size:
            self._damaged("more of it was there than there should be")
            return
        self._stop_watch()
        self._hashing = hash_pieces(self._common.clock, sink.read, sink.kept)
        self._hashing.addCallbacks(self._begin, self._unreadable)

    def _unreadable(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            failure.trap(OSError)
            self._failed(str(failure.value))

    def _begin(self, found: _Hash) -> None:
        """Say what there is, and take the rest."""
        self._hashing = None
        self._hash = found
        assert self._sink is not None
        self._say(line(b"HAVE", self._sink.kept, self._common.limits.snapshot_credit))
        self._watch()
        if self._sink.kept == self._size:
            self._complete()

    def _chunk(self, fields: list[bytes], payload: bytes) -> None:
        sink, found = self._sink, self._hash
        if sink is None or found is None or self._finishing:
            raise GrammarError("a CHUNK line that nobody asked for")
        offset = number(fields[0])
        if offset != sink.kept or not payload or offset + len(payload) > self._size:
            raise GrammarError(
                f"a CHUNK of {len(payload)} bytes at {offset} where {sink.kept} of {self._size} bytes are there"
            )
        if _CRC.fullmatch(fields[1]) is None or crc32(payload) != int(fields[1], 16):
            raise GrammarError(f"the checksum of the CHUNK at {offset} is wrong")
        try:
            sink.write(payload)
        except OSError as problem:
            self._failed(problem.strerror or str(problem))
            return
        found.update(payload)
        self._say(line(b"TAKEN", sink.kept))
        self._watch()
        if sink.kept == self._size:
            self._complete()

    def _complete(self) -> None:
        """Verify the whole, and make it last."""
        assert self._sink is not None and self._hash is not None
        self._stop_watch()
        if self._hash.hexdigest().encode() != self._digest:
            self._damaged("what arrived isn't what its SHA-256 says")
            return
        self._finishing = True
        finished: Deferred[str] = self._sink.finish()
        finished.addCallbacks(self._finished, self._unfinished)
        finished.addErrback(self._broken)

    def _finished(self, path: str) -> None:
        self._sink = None
        self._arrivals.arrived(*self._key)
        self._arrivals.end(self._region_id, self)
        self._common.figures.snapshots_in += 1
        self._common.listener.snapshot_received(self.store_id, self._region_id, path, self._meta)
        self._say(b"DONE\r\n")

    def _unfinished(self, failure: Failure) -> None:
        failure.trap(OSError)
        self._finishing = False
        self._sink = None
        self._failed(str(failure.value))

    def _broken(self, failure: Failure) -> None:
        """Close after a defect, which is ours."""
        self.log.failure("the snapshot of region {region} failed", failure, region=self._region_id)
        self._channel.abort()

    # The end

    def _say(self, text: bytes) -> None:
        """Send a line."""
        if self._channel.is_up and self._channel.lanes.urgent(text):
            self._channel.flush_later()

    def _failed(self, text: str) -> None:
        """Close because the disk fails."""
        self._common.notices.warn(
            f"store {self.store_id}", "snapshot", f"its snapshot of region {self._region_id} can't be kept: {text}"
        )
        self._end("failed", f"the snapshot can't be kept: {text}")

    def _damaged(self, text: str) -> None:
        """Delete what came, and close."""
        self._common.figures.snapshots_damaged += 1
        self._common.notices.warn(
            f"store {self.store_id}", "damaged", f"its snapshot of region {self._region_id} was deleted: {text}"
        )
        sink, self._sink = self._sink, None
        assert sink is not None
        try:
            sink.discard()
        except OSError as problem:
            self._failed(problem.strerror or str(problem))
        else:
            self._end("damaged", text)

    def _end(self, code: str, text: str) -> None:
        self.went_down()
        self._channel.end(code, text)

    def gives_way(self, store_id: int) -> bool:
        """Close for another connection of the same sender, unless the file is being finished."""
        if self._finishing or store_id != self.store_id:
            return False
        self._end("replaced", "a newer connection came")
        return True

    def went_down(self) -> None:
        """Let go of the file; what there is of it stays."""
        self._stop_watch()
        if self._hashing is not None:
            self._hashing.cancel()
            self._hashing = None
        if not self._finishing:
            if self._sink is not None:
                self._sink.close()
                self._sink = None
            self._arrivals.end(self._region_id, self)
