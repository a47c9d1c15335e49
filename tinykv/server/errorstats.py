"""
What went wrong, counted by the code of the error: what INFO errorstats shows.

It's told of errors where they're made, so that replies which are none cost nothing.
"""

from __future__ import annotations

#: Redis stops counting at so many codes, since clients can make some up (Lua).
_CODES = 128


class ErrorCounts:
    """
    Counts error replies.

    @ivar total: How many there were.
    @ivar by_code: The same by code (ERR, WRONGTYPE), in the order of their first appearance.
    """

    def __init__(self) -> None:
        self.total = 0
        self.by_code: dict[bytes, int] = {}

    def count(self, text: bytes) -> None:
        """Count an error by its text, code first."""
        self.total += 1
        code = text.partition(b" ")[0].rstrip(b"\r\n")
        if code in self.by_code or len(self.by_code) < _CODES:
            self.by_code[code] = self.by_code.get(code, 0) + 1

    def counted(self, reply: bytes) -> bytes:
        """Count an encoded error reply, and give it back."""
        self.count(reply[1:])
        return reply

    def clear(self) -> None:
        """Start again at 0, as CONFIG RESETSTAT asks for."""
        self.total = 0
        self.by_code.clear()
