"""
What simulated stores say to each other on connections: numbered frames, each of a kind, with a payload.

The grammar of the real links is tested where it's written; here it's enough that bytes are cut anywhere and put
together again.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, Final

from twisted.internet.protocol import Protocol

_HEAD: Final = Struct(">BQI")

#: Who calls, with the store as its number; the answer is the same.
HELLO: Final = 1
#: A batch of commands, and what became of it.
FORWARD: Final = 2
ANSWER: Final = 3
REFUSED: Final = 4
UNKNOWN: Final = 5
#: Bytes that nobody asked for.
PUSH: Final = 6


class Frames(Protocol):
    """One end of such a connection."""

    def __init__(self) -> None:
        self._buffer = b""

    def send(self, kind: int, number: int, payload: bytes = b"") -> None:
        """Send a frame."""
        transport: Any = self.transport
        transport.write(_HEAD.pack(kind, number, len(payload)) + payload)

    def dataReceived(self, data: bytes) -> None:
        """Take the frames that are whole."""
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            kind, number, size = _HEAD.unpack_from(self._buffer)
            end = _HEAD.size + size
            if len(self._buffer) < end:
                break
            payload, self._buffer = self._buffer[_HEAD.size : end], self._buffer[end:]
            self.frame(kind, number, payload)

    def frame(self, kind: int, number: int, payload: bytes) -> None:
        """Take a frame."""
        raise NotImplementedError

    def abort(self) -> None:
        """End the connection now."""
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()
