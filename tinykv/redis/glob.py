"""Redis's glob patterns over bytes: ``*``, ``?``, ``[a-z]``, ``[^...]`` and backslash escapes.

A pattern is cut at its stars into segments of fixed length. A segment may always take the first place where
it fits: if a later segment then fails, no other place helps. So each match costs at most pattern length
times text length, whatever the pattern. Where every segment is plain text the search is ``bytes.find``;
otherwise one regular expression with atomic groups does the same.

Kept from Redis: ranges compare signed bytes and may be given backwards, an unclosed class ends with the
pattern, an escape inside a class ignores ``nocase``, and an empty text is matched by the empty pattern
alone (``KEYS *`` and its like never ask: see `Glob.matches_all`).
"""

from __future__ import annotations

import re

_STAR = 0x2A
_QUESTION = 0x3F
_OPEN = 0x5B
_BACKSLASH = 0x5C
_CLOSE = 0x5D
_CARET = 0x5E
_DASH = 0x2D
_ANY = bytes(range(256))
# For each byte of a pattern the bytes that it stands for: itself; without case both of a letter, upper first.
_SINGLES = [bytes((byte,)) for byte in _ANY]
_EITHER_CASE = [one if one.lower() == one.upper() else one.upper() + one.lower() for one in _SINGLES]

_Segment = list[bytes]
"""One entry a byte of text: the bytes that may stand there."""


class Glob:
    """A compiled pattern.

    ``matches_all`` is true for ``*`` alone, for which Redis's key and scan commands skip matching
    altogether; ``literal`` is the only text that can match, if there is just one (with ``nocase``: none);
    ``prefix`` is what every match starts with.
    """

    __slots__ = (
        "literal", "matches_all", "prefix", "_empty", "_expression", "_first", "_last", "_least", "_middle",
        "_nocase", "_segments", "_stars",
    )  # fmt: skip

    def __init__(self, pattern: bytes, nocase: bool = False) -> None:
        segments = _parse(pattern, nocase)
        self.matches_all = pattern == b"*"
        self._nocase = nocase
        self._empty = pattern == b""
        self._segments = segments
        self._stars = len(segments) > 1
        self._least = sum(map(len, segments))
        self._expression: re.Pattern[bytes] | None = None
        plain = [_plain(segment, nocase) for segment in segments]
        self._first, self._last = plain[0], plain[-1]
        self._middle: list[bytes] | None = None
        if None not in plain:
            self._middle = [part for part in plain[1:-1] if part is not None]
        self.prefix = b"" if nocase else _plain_prefix(segments[0])
        self.literal = None if nocase or self._stars else self._first

    def matches(self, text: bytes) -> bool:
        """Return whether the whole of ``text`` matches."""
        if len(text) < self._least:
            return False
        if not text:
            return self._empty
        if self._middle is None or self._first is None or self._last is None:
            # Compiled late: a pattern longer than every text it meets never needs it.
            if self._expression is None:
                self._expression = _expression(self._segments)
            return self._expression.fullmatch(text) is not None
        if self._nocase:
            text = text.lower()
        if not self._stars:
            return text == self._first
        if not text.startswith(self._first) or not text.endswith(self._last):
            return False
        start, end = len(self._first), len(text) - len(self._last)
        for part in self._middle:
            found = text.find(part, start, end)
            if found < 0:
                return False
            start = found + len(part)
        return True


def match(pattern: bytes, text: bytes, nocase: bool = False) -> bool:
    """Return whether the whole of ``text`` matches ``pattern``; with ``nocase``, ASCII letters match either
    case.
    """
    return Glob(pattern, nocase).matches(text)


def _parse(pattern: bytes, nocase: bool) -> list[_Segment]:
    """Return the segments between the stars of ``pattern``: one more than there are (runs of) stars."""
    segments: list[_Segment] = [[]]
    singles = _EITHER_CASE if nocase else _SINGLES
    at, end = 0, len(pattern)
    while at < end:
        byte = pattern[at]
        if byte == _STAR:
            if segments[-1] or len(segments) == 1:
                segments.append([])
        elif byte == _QUESTION:
            segments[-1].append(_ANY)
        elif byte == _OPEN:
            allowed, at = _parse_class(pattern, at + 1, nocase)
            segments[-1].append(allowed)
            continue
        else:
            if byte == _BACKSLASH and at + 1 < end:
                at += 1
            segments[-1].append(singles[pattern[at]])
        at += 1
    return segments


def _parse_class(pattern: bytes, at: int, nocase: bool) -> tuple[bytes, int]:
    """Return the bytes that the class whose inside starts at ``at`` allows, and the place behind it."""
    end = len(pattern)
    negated = at < end and pattern[at] == _CARET
    if negated:
        at += 1
    allowed: set[int] = set()
    while at < end and pattern[at] != _CLOSE:
        byte = pattern[at]
        if byte == _BACKSLASH and end - at >= 2:
            allowed.add(pattern[at + 1])
            at += 2
        elif end - at >= 3 and pattern[at + 1] == _DASH:
            allowed.update(_range(byte, pattern[at + 2], nocase))
            at += 3
        else:
            allowed.update(_EITHER_CASE[byte] if nocase else (byte,))
            at += 1
    chosen = bytes(byte for byte in range(256) if (byte in allowed) != negated)
    return chosen, min(at + 1, end)


def _range(start: int, stop: int, nocase: bool) -> list[int]:
    """Return the bytes from ``start`` to ``stop``, both within, compared as signed chars."""
    low, high = sorted((_signed(start), _signed(stop)))
    if nocase:
        # Redis puts the ends in order before it lowers them, after which a range such as Z-a is empty.
        low, high = _lower(low), _lower(high)
        return [byte for byte in range(256) if low <= _lower(_signed(byte)) <= high]
    return [byte for byte in range(256) if low <= _signed(byte) <= high]


def _signed(byte: int) -> int:
    """Return the value of ``byte`` as a signed char."""
    return byte - 256 if byte > 127 else byte


def _lower(char: int) -> int:
    """Return a signed char as glibc's ``tolower`` does: all but -1, its EOF, come out unsigned."""
    if 65 <= char <= 90:
        return char + 32
    return char + 256 if char < -1 else char


def _plain(segment: _Segment, nocase: bool) -> bytes | None:
    """Return the text that is the only one to match ``segment`` (in lower case with ``nocase``), or None."""
    text = bytearray()
    for allowed in segment:
        if len(allowed) == 1 and not (nocase and allowed.lower() != allowed.upper()):
            text += allowed
        elif nocase and len(allowed) == 2 and allowed[:1].lower() == allowed[1:]:
            text += allowed[1:]
        else:
            return None
    return bytes(text)


def _plain_prefix(segment: _Segment) -> bytes:
    """Return the longest text with which every match of ``segment`` starts."""
    text = bytearray()
    for allowed in segment:
        if len(allowed) != 1:
            break
        text += allowed
    return bytes(text)


def _expression(segments: list[_Segment]) -> re.Pattern[bytes]:
    """Return a regular expression for ``segments`` that never tries a second place for a segment in the
    middle.
    """
    parts = [b"".join(map(_expression_of, segment)) for segment in segments]
    if len(parts) == 1:
        return re.compile(parts[0], re.DOTALL)
    middle = b"".join(b"(?>.*?%s)" % part for part in parts[1:-1])
    # The last segment has a fixed length, so its place is known: as far right as it goes.
    last = b".{%d}" % len(segments[-1]) if segments[-1] else b""
    tail = b"(?>.*(?=%s\\Z))%s" % (last, parts[-1]) if last else b".*"
    return re.compile(parts[0] + middle + tail, re.DOTALL)


def _expression_of(allowed: bytes) -> bytes:
    """Return the expression for one byte out of ``allowed``."""
    if len(allowed) == 256:
        return b"."
    if not allowed:
        return b"(?!)"
    return b"[%s]" % b"".join(b"\\x%02x" % byte for byte in allowed)
