"""Bytes that arrive in pieces, taken out as lines and counted blocks in time linear in their number."""

from __future__ import annotations

import re
from typing import Final

SMALL_PIECE: Final = 4096
"""Pieces shorter than this are put together on arrival, so that a trickle does not cost an object a byte."""

BLOCK: Final = 64 * 1024
"""Small pieces are gathered up to this size; blocks from this size on are joined without a second copy."""


class LineTooLong(Exception):
    """No line ending where the limit asks for one."""


class ReadBuffer:
    """A queue of bytes that remembers what it waits for.

    Pieces stay apart until there is enough of them for the block or line that was asked for last, so a block
    that comes in a thousand pieces is joined once and a line is searched once. Whoever got None (or -1) asks
    for the same again after the next piece.
    """

    def __init__(self) -> None:
        self._front = b""
        self._position = 0
        self._pieces: list[bytes | bytearray] = []
        self._wanted = 0
        self._ending: bytes | None = None
        self.held = 0

    def append(self, data: bytes) -> None:
        """Put `data` behind what is held."""
        if not data:
            return
        self.held += len(data)
        if self._ending is not None and self._ending in data:
            self._ending = None
            self._wanted = 0
        pieces = self._pieces
        if len(data) >= SMALL_PIECE:
            pieces.append(data)
            return
        last = pieces[-1] if pieces else b""
        if isinstance(last, bytearray) and len(last) < BLOCK:
            last += data
        else:
            pieces.append(bytearray(data))

    def peek(self) -> int:
        """The next byte, or -1 when nothing is held."""
        if self._position < len(self._front):
            return self._front[self._position]
        return self._pieces[0][0] if self._pieces else -1

    def find(self, ending: bytes, after: int, limit: int, *, nul_stops: bool = False) -> int:
        """How many bytes come before the byte `ending`; -1 while it or `after` bytes behind it are not held.

        With `nul_stops` a NUL hides whatever follows it, as from C's strchr. Raises `LineTooLong` when the
        ending is not among the next `limit` + 1 bytes and more than `limit` are held.
        """
        if self.held < self._wanted:
            return -1
        self._gather()
        front, start = self._front, self._position
        end = front.find(ending, start, start + limit + 1)
        hidden = nul_stops and front.find(b"\0", start, end if end >= 0 else start + limit + 1) >= 0
        if end >= 0 and not hidden:
            length = end - start
            self._wanted = 0
            if self.held > length + after:
                return length
            self._wanted = length + after + 1
            return -1
        if self.held > limit:
            raise LineTooLong
        self._wanted = limit + 1
        self._ending = None if hidden else ending
        return -1

    def take_number(self, pattern: re.Pattern[bytes]) -> int:
        """The number in group 1 of `pattern`, if what is held starts with that: removed. Otherwise -1."""
        if self.held < self._wanted:
            return -1
        self._gather()
        match = pattern.match(self._front, self._position)
        if match is None:
            return -1
        self.held -= match.end() - self._position
        self._position = match.end()
        self._wanted, self._ending = 0, None
        return int(match[1])

    def take(self, length: int, skip: int) -> bytes | None:
        """The next `length` bytes, removed with the `skip` bytes behind them; None while fewer are held."""
        total = length + skip
        if self.held < total:
            self._wanted = total
            self._ending = None
            return None
        self._wanted = 0
        pieces = self._pieces
        if pieces:
            before_last = self.held - len(pieces[-1])
            if length >= BLOCK and before_last <= length:
                return self._take_joined(length, skip, before_last)
            self._gather()
        start = self._position
        self._position = start + total
        self.held -= total
        return self._front[start : start + length]

    def take_rest(self) -> bytes:
        """Everything that is held, removed."""
        self._gather()
        rest = self._front[self._position :]
        self._front, self._position = b"", 0
        self._wanted, self._ending = 0, None
        self.held = 0
        return rest

    def _take_joined(self, length: int, skip: int, before_last: int) -> bytes:
        """A long block that ends in the last piece: one join, without joining the whole buffer first."""
        last = self._pieces.pop()
        cut = length - before_last
        block = b"".join([self._front[self._position :], *self._pieces, last[:cut]])
        self._front, self._position = bytes(last[cut:]), skip
        self._pieces.clear()
        self.held -= length + skip
        return block

    def _gather(self) -> None:
        if self._pieces:
            self._front = b"".join([self._front[self._position :], *self._pieces])
            self._position = 0
            self._pieces.clear()
        elif self._position == len(self._front):
            self._front, self._position = b"", 0
