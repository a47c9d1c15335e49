"""
The SHA-256 of a file, a piece a turn, so that everything else goes on meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from tinykv.peering.verbs import CHUNK_BYTES

if TYPE_CHECKING:
    from hashlib import _Hash


def hash_pieces(clock: IReactorTime, read: Callable[[int, int], bytes], size: int) -> Deferred[_Hash]:
    """
    Hash a file from its beginning.

    @param read: Gives a piece by its offset and size.
    @param size: Where to stop.
    @return: fires with the hash so far, which may be taken further; fails with OSError; may be cancelled.
    """
    found = sha256()
    call: IDelayedCall

    def step(offset: int) -> None:
        nonlocal call
        if offset == size:
            done.callback(found)
            return
        length = min(CHUNK_BYTES, size - offset)
        try:
            found.update(read(offset, length))
        except OSError:
            done.errback()
            return
        call = clock.callLater(0, step, offset + length)

    def stop(ignored: Deferred[_Hash]) -> None:
        call.cancel()

    done: Deferred[_Hash] = Deferred(stop)
    call = clock.callLater(0, step, 0)
    return done
