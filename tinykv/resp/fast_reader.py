"""The reader of requests for the hot path: whole chunks in, lists of requests out.

Most chunks are plain: canonical requests (only "*" and "$" headers without needless digits, CRLF everywhere)
whose arguments hold no CRLF. Such a chunk, split at CRLF, is headers and arguments in turn, and each header
can be held against the one that its argument must have. That proves the whole chunk, and a few requests of it sooner
than a parser could be made. Pipelines go to hiredis first, as far as its guard lets them (`read_pipeline`). All other
chunks, long arguments and the unfinished ends of plain chunks go to `RequestReader`, whose word is final.
"""

from __future__ import annotations

import re
from typing import Final

from tinykv.resp.limits import RequestLimits
from tinykv.resp.pipeline import LEAST_BYTES, MOST_BYTES, read_pipeline
from tinykv.resp.reader import NEED_DATA, ProtocolError, RequestReader

_ARRAYS: Final = {b"*%d" % count: count for count in range(1, 1025)}
_BULKS: Final = tuple(b"$%d" % length for length in range(8193))
_PLAIN_BYTES: Final = len(_BULKS)
"""A chunk shorter than this has no argument that is too long for `_BULKS`."""

_ONE_OF_TWO: Final = 6
_ONE_OF_THREE: Final = 8

_WORTH_COLUMNS: Final = 8
"""From this many requests of one shape on, checking them by column is quicker than one after the other."""

_bulk_header = _BULKS.__getitem__
_long_argument = re.compile(rb"\*[1-9][0-9]*\r\n(?:\$[0-9]{1,2}\r\n[^\r]{0,99}\r\n){0,3}\$[0-9]{5,}\r\n").match
"""Whether a long argument follows on a few short ones: a hint that a search for CRLF would be long, and for nothing."""


class FastRequestReader:
    """Equal to a `RequestReader` that is asked until it needs data, but quick; a test holds them equal.

    After each call of `requests`:

    - `error` is the protocol error behind the returned requests, or None; once set it stays, and nothing more
      comes;
    - `whole` says that the bytes given were exactly the canonical form of the requests returned, nothing
      carried over before or after, so they can stand for the requests in a log. It may be false for such
      bytes too (pipelines, long arguments, CRLF inside of one);
    - `again` says that more requests may be there already, to be had by `requests(b"")` after the returned
      one is done. Only before AUTH: the limits for the next request depend on the outcome of this one.
    """

    __slots__ = ("_limits", "_plain", "_reader", "again", "error", "whole")

    def __init__(self, limits: RequestLimits) -> None:
        self._reader = RequestReader(limits)
        self.error: ProtocolError | None = None
        self.whole = False
        self.again = False
        self._limits = limits
        self._plain = self._may_be_plain()

    @property
    def limits(self) -> RequestLimits:
        """The limits in force; may be set between two calls of `requests`."""
        return self._limits

    @limits.setter
    def limits(self, limits: RequestLimits) -> None:
        self._limits = self._reader.limits = limits
        self._plain = self._may_be_plain()

    @property
    def buffered(self) -> int:
        """How many bytes are held that no returned request has used up."""
        return self._reader.buffered

    @property
    def inside(self) -> bool:
        """Whether a request has begun that isn't complete."""
        return self._reader.inside

    def requests(self, data: bytes) -> list[list[bytes]]:
        """All requests that `data`, behind what was carried over, completes."""
        if not self._plain:
            self.whole = False
            return self._carry_on(data)
        if len(data) >= LEAST_BYTES:
            if (found := read_pipeline(data)) is not None:
                # hiredis doesn't look at the two bytes behind an argument, so they may be others than CRLF.
                self.whole = False
                requests, end = found
                return requests if end == len(data) else self._read(data[end:], requests)
            if len(data) >= _PLAIN_BYTES and _long_argument(data):
                self.whole = False
                return self._read(data, [])
        parts = data.split(b"\r\n")
        count = len(parts)
        # The commonest chunks, one short GET or SET, are unrolled: half the time of the general way.
        if count == _ONE_OF_THREE and parts[0] == b"*3" and len(data) < _PLAIN_BYTES:
            _, header, name, key_header, key, value_header, value, rest = parts
            if (
                value_header == _BULKS[len(value)]
                and key_header == _BULKS[len(key)]
                and header == _BULKS[len(name)]
                and not rest
            ):
                self.whole = True
                return [[name, key, value]]
        elif count == _ONE_OF_TWO and parts[0] == b"*2" and len(data) < _PLAIN_BYTES:
            _, header, name, key_header, key, rest = parts
            if key_header == _BULKS[len(key)] and header == _BULKS[len(name)] and not rest:
                self.whole = True
                return [[name, key]]
        requests, used = _split(parts)
        if used == count - 1 and not parts[used]:
            self.whole = bool(requests)
            return requests
        self.whole = False
        return self._read(b"\r\n".join(parts[used:]) if used else data, requests)

    def _carry_on(self, data: bytes) -> list[list[bytes]]:
        """`requests` behind an unfinished request, or where the limits forbid the quick way."""
        reader = self._reader
        self.again = False
        if self.error is not None:
            return []
        if not self._limits.authenticated:
            return self._read_one(data)
        if not self._limits_allow() or (not reader.buffered and not reader.inside):
            return self._read(data, [])
        reader.feed(data)
        requests = self._take_one()
        if not requests or reader.inside:
            return requests
        # The unfinished request is done: what follows it is likely plain again.
        rest = reader.pop_rest()
        if len(rest) >= LEAST_BYTES and (found := read_pipeline(rest)) is not None:
            more, end = found
            return self._read(rest[end:], requests + more)
        parts = rest.split(b"\r\n")
        more, used = _split(parts)
        requests += more
        return self._read(b"\r\n".join(parts[used:]) if used else rest, requests)

    def _read_one(self, data: bytes) -> list[list[bytes]]:
        """Before AUTH: one request a call."""
        self._reader.feed(data)
        requests = self._take_one()
        self.again = bool(requests) and self._reader.buffered > 0
        return requests

    def _take_one(self) -> list[list[bytes]]:
        """The reference reader's next request, or none."""
        try:
            request = self._reader.next_request()
        except ProtocolError as error:
            self._fail(error)
            return []
        return [] if request is NEED_DATA else [request]

    def _read(self, data: bytes, requests: list[list[bytes]]) -> list[list[bytes]]:
        """Add to `requests` what the reference reader makes of `data`."""
        reader = self._reader
        reader.feed(data)
        try:
            while (request := reader.next_request()) is not NEED_DATA:
                requests.append(request)
        except ProtocolError as error:
            self._fail(error)
        self._plain = self._may_be_plain()
        return requests

    def _fail(self, error: ProtocolError) -> None:
        self.error = error
        self._plain = False

    def _limits_allow(self) -> bool:
        """Whether all that the tables above cover, or that hiredis may read, is within the limits."""
        limits = self._limits
        return limits.authenticated and limits.arguments >= len(_ARRAYS) and limits.bulk_bytes >= MOST_BYTES

    def _may_be_plain(self) -> bool:
        """Whether the next chunk starts with a request, under limits that need no look."""
        reader = self._reader
        return self.error is None and not reader.inside and not reader.buffered and self._limits_allow()


def _split(parts: list[bytes]) -> tuple[list[list[bytes]], int]:
    """The plain requests that a chunk split at CRLF begins with, and how many of `parts` they are.

    The last part is never used: it is what follows the last CRLF. Nothing is used when any header that the
    shape promises is not the canonical one of its argument.
    """
    count = _ARRAYS.get(parts[0])
    if count is None:
        return [], 0
    width = 2 * count + 1
    size = (len(parts) - 1) // width
    used = size * width
    if size < _WORTH_COLUMNS or parts[0:used:width] != [parts[0]] * size:
        return _split_mixed(parts)
    columns = []
    try:
        for index in range(1, width, 2):
            column = parts[index + 1 : used : width]
            if list(map(_bulk_header, map(len, column))) != parts[index:used:width]:
                return [], 0
            columns.append(column)
    except IndexError:
        return [], 0
    return list(map(list, zip(*columns, strict=True))), used


def _split_mixed(parts: list[bytes]) -> tuple[list[list[bytes]], int]:
    """`_split` for requests of differing lengths."""
    requests: list[list[bytes]] = []
    headers: list[bytes] = []
    arguments: list[bytes] = []
    used, last = 0, len(parts) - 1
    counts = _ARRAYS
    while used < last:
        count = counts.get(parts[used])
        if count is None:
            break
        end = used + 1 + 2 * count
        if end > last:
            break
        request = parts[used + 2 : end : 2]
        headers += parts[used + 1 : end : 2]
        arguments += request
        requests.append(request)
        used = end
    try:
        plain = list(map(_bulk_header, map(len, arguments))) == headers
    except IndexError:
        plain = False
    return (requests, used) if plain else ([], 0)
