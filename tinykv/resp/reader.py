"""The reference reader of requests: what it accepts and refuses is what the store accepts and refuses."""

from __future__ import annotations

import enum
import re
from typing import Final, Literal

from tinykv.resp.buffer import LineTooLong, ReadBuffer
from tinykv.resp.inline import UnbalancedQuotes, split_inline
from tinykv.resp.limits import RequestLimits

_ARRAY: Final = ord("*")
_BULK: Final = ord("$")
_PLAIN_ARRAY: Final = re.compile(rb"\*([1-9][0-9]{0,6})\r\n")
_PLAIN_BULK: Final = re.compile(rb"\$(0|[1-9][0-9]{0,6})\r\n")
_MOST_DIGITS: Final = 19
_LOWEST: Final = -(2**63)
_HIGHEST: Final = 2**63 - 1


class NeedData(enum.Enum):
    """The type of `NEED_DATA`."""

    NEED_DATA = "need data"


NEED_DATA: Final = NeedData.NEED_DATA
"""What a reader answers when the next value is not all there yet."""


class ProtocolError(Exception):
    """Bytes that are no request; the connection can only be closed, after a last reply.

    `wire` is the text of that reply, between "-" and CRLF, as Redis words it.
    """

    def __init__(self, text: bytes) -> None:
        super().__init__(text.decode("latin-1"))
        self.wire = b"ERR Protocol error: " + text


class RequestReader:
    """Turns the bytes of one connection into requests, with the limits and error texts of Redis.

    Like Redis it takes any byte for the LF of a header and any two bytes behind an argument, and a NUL hides
    the end of the line it is in. Where Redis depends on how the bytes were split by the network (a long line
    whose end came with the same read), the stricter result holds for every split.
    """

    def __init__(self, limits: RequestLimits) -> None:
        self.limits = limits
        """May be replaced at any time; holds from the next header on."""
        self._buffer = ReadBuffer()
        self._arguments: list[bytes] = []
        self._argument_bytes = 0
        self._missing = 0
        self._length = -1
        self._error: ProtocolError | None = None

    @property
    def buffered(self) -> int:
        """How many bytes are held for requests to come, less the headers already read."""
        return self._buffer.held + self._argument_bytes

    @property
    def inside(self) -> bool:
        """Whether the header of a request was read whose arguments are not all there yet."""
        return self._missing > 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the connection."""
        self._buffer.append(data)

    def pop_rest(self) -> bytes:
        """Give back the bytes behind the last request; only between requests."""
        if self._missing:
            raise ValueError("inside a request")
        return self._buffer.take_rest()

    def next_request(self) -> list[bytes] | Literal[NeedData.NEED_DATA]:
        """The next request, never empty, or `NEED_DATA`; raises `ProtocolError`, and then for ever."""
        if self._error is not None:
            raise self._error
        try:
            while True:
                if not self._missing:
                    kind = self._buffer.peek()
                    if kind < 0:
                        return NEED_DATA
                    request = self._read_header() if kind == _ARRAY else self._read_inline()
                    if request is None:
                        return NEED_DATA
                    if request:
                        return request
                if self._missing:
                    if not self._read_arguments():
                        return NEED_DATA
                    request, self._arguments = self._arguments, []
                    self._argument_bytes = 0
                    return request
        except ProtocolError as error:
            self._error = error
            raise

    def _read_inline(self) -> list[bytes] | None:
        """An inline command, [] for a blank line, None when the line is not complete."""
        length = self._find(b"\n", 0, b"too big inline request")
        if length < 0:
            return None
        line = self._buffer.take(length, 1)
        assert line is not None
        try:
            return split_inline(line.removesuffix(b"\r"))
        except UnbalancedQuotes:
            raise ProtocolError(b"unbalanced quotes in request") from None

    def _read_header(self) -> list[bytes] | None:
        """Read "*<count>"; [] when it is complete (the count may be none), None when it is not."""
        # The patterns are a short cut for the headers that everybody sends.
        count: int | None = self._buffer.take_number(_PLAIN_ARRAY)
        if count == -1:
            line = self._take_line(b"too big mbulk count string")
            if line is None:
                return None
            count = _number(line[1:])
        if count is None or count > self.limits.arguments:
            raise ProtocolError(b"invalid multibulk length")
        if count > self.limits.unauthenticated_arguments and not self.limits.authenticated:
            raise ProtocolError(b"unauthenticated multibulk length")
        self._missing = max(count, 0)
        return []

    def _read_arguments(self) -> bool:
        """Read what there is of the request's arguments; whether all are there."""
        while self._missing:
            if self._length < 0:
                length: int | None = self._buffer.take_number(_PLAIN_BULK)
                if length == -1:
                    line = self._take_line(b"too big bulk count string")
                    if line is None:
                        return False
                    length = self._claimed_length(line)
                self._length = self._allowed_length(length)
            argument = self._buffer.take(self._length, 2)
            if argument is None:
                return False
            self._arguments.append(argument)
            self._argument_bytes += len(argument)
            self._length = -1
            self._missing -= 1
        return True

    def _claimed_length(self, line: bytes) -> int | None:
        if not line or line[0] != _BULK:
            # Redis prints the byte that stands there; an empty line has its CR there, which becomes a space.
            got = line[:1].replace(b"\n", b" ") or b" "
            raise ProtocolError(b"expected '$', got '%b'" % got)
        return _number(line[1:])

    def _allowed_length(self, length: int | None) -> int:
        if length is None or length < 0 or length > self.limits.bulk_bytes:
            raise ProtocolError(b"invalid bulk length")
        if length > self.limits.unauthenticated_bulk_bytes and not self.limits.authenticated:
            raise ProtocolError(b"unauthenticated bulk length")
        return length

    def _take_line(self, too_long: bytes) -> bytes | None:
        """The next header line without its CR and the byte behind that, or None when it is not complete."""
        length = self._find(b"\r", 1, too_long)
        return None if length < 0 else self._buffer.take(length, 2)

    def _find(self, ending: bytes, after: int, too_long: bytes) -> int:
        try:
            return self._buffer.find(ending, after, self.limits.inline_bytes, nul_stops=True)
        except LineTooLong:
            raise ProtocolError(too_long) from None


def _number(text: bytes) -> int | None:
    """A 64-bit number in its one canonical form (no zeros in front, no plus, no spaces), or None."""
    digits = text.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > _MOST_DIGITS:
        return None
    if digits[0] == ord("0") and text != b"0":
        return None
    number = int(text)
    return number if _LOWEST <= number <= _HIGHEST else None
