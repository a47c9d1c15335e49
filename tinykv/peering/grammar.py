"""
The form of the peer line protocol: lines of words, some with a payload behind them.

A line is C{VERB field field ... CRLF}: printable ASCII without spaces in each field, one space between them. Where the
verb has a payload, the line's last field is its length in bytes, and exactly that many bytes and a CRLF follow. So it
can be read in a packet dump and typed with nc.

What comes in is another host's: every verb has its limits of line, fields and payload, and which verbs there are
depends on what the peer has proven. What isn't a whole line yet is kept only as far as these limits go. The first
breach ends the reading, since nobody can tell where the next line begins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

#: Numbers have at most this many digits: 64 bits, and more than anything counts to.
NUMBER_DIGITS: Final = 20

_VERB_BYTES: Final = 16
_WORDS: Final = re.compile(rb"[!-~]+(?: [!-~]+)*")
#: A breach shows no more than this of what came.
_SHOWN_BYTES: Final = 40

#: A verb, its fields without the length, and the payload (empty where the verb has none).
Line = tuple[bytes, list[bytes], bytes]


class GrammarError(Exception):
    """
    A peer sent what isn't in the grammar; the link is closed.

    @ivar reason: What was wrong, in words for the log and for the peer: printable ASCII.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Verb(NamedTuple):
    """
    What a line of a verb may be.

    @ivar line_bytes: The most bytes of its line, without the CRLF.
    @ivar fields_least: The fewest fields; the length of the payload isn't counted.
    @ivar fields_most: The most fields.
    @ivar payload_bytes: The most bytes of payload, or None when it has none.
    """

    line_bytes: int
    fields_least: int
    fields_most: int
    payload_bytes: int | None = None


class LineReader:
    """
    Cuts the bytes of a peer into lines.

    @ivar verbs: What may come next; it may be exchanged between two lines.
    """

    __slots__ = ("_chunks", "_data", "_missing", "_offset", "_partial", "_waiting", "error", "verbs")

    def __init__(self, verbs: Mapping[bytes, Verb]) -> None:
        self.verbs = verbs
        self.error: GrammarError | None = None
        #: What was fed and not looked at, from the offset on.
        self._data = b""
        self._offset = 0
        #: The beginning of a line whose end hasn't come.
        self._partial = bytearray()
        #: A line whose payload hasn't come whole, what has come of it, and how much is missing.
        self._waiting: tuple[bytes, list[bytes], int] | None = None
        self._chunks: list[bytes] = []
        self._missing = 0

    @property
    def buffered(self) -> int:
        """Count the bytes that are kept."""
        return len(self._data) - self._offset + len(self._partial) + sum(map(len, self._chunks))

    def feed(self, data: bytes) -> None:
        """Take what came."""
        if self._offset == len(self._data):
            self._data = data
        else:
            self._data = self._data[self._offset :] + data
        self._offset = 0

    def next(self) -> Line | None:
        """
        Give the next whole line.

        @return: None when more bytes are needed.
        @raise GrammarError: The peer broke the grammar, now or before.
        """
        if self.error is not None:
            raise self.error
        try:
            return self._payload() if self._waiting is not None else self._line()
        except GrammarError as error:
            self.error = error
            self._data, self._offset = b"", 0
            self._partial.clear()
            self._chunks.clear()
            raise

    def _line(self) -> Line | None:
        data, start = self._data, self._offset
        if start == len(data):
            return None
        end = data.find(b"\n", start)
        if end < 0:
            self._partial += data[start:]
            self._data, self._offset = b"", 0
            self._check_partial()
            return None
        line = data[start : end + 1]
        self._offset = end = end + 1
        if self._partial:
            line = bytes(self._partial) + line
            self._partial.clear()
        if line[-2:] != b"\r\n":
            raise GrammarError("a line doesn't end with CR LF")
        line = line[:-2]
        verb, *fields = line.split(b" ")
        rule = self.verbs.get(verb) or self._rule(verb)
        if len(line) > rule.line_bytes:
            raise _too_long(verb, rule)
        if _WORDS.fullmatch(line) is None:
            raise GrammarError(f"a {verb.decode()} line isn't words of printable ASCII with one space between them")
        if rule.payload_bytes is None:
            if not rule.fields_least <= len(fields) <= rule.fields_most:
                raise _miscounted(verb, rule, len(fields))
            return verb, fields, b""
        if not rule.fields_least < len(fields) <= rule.fields_most + 1:
            raise _miscounted(verb, rule, len(fields) - 1)
        size = number(fields.pop())
        if size > rule.payload_bytes:
            raise GrammarError(f"a {verb.decode()} payload of {size} bytes is over the limit of {rule.payload_bytes}")
        after = end + size
        if after + 2 <= len(data):
            # Everything is at hand, as it nearly always is.
            if data[after : after + 2] != b"\r\n":
                raise _unended(verb)
            self._offset = after + 2
            return verb, fields, data[end:after]
        self._waiting = verb, fields, size
        self._missing = size + 2
        return self._payload()

    def _payload(self) -> Line | None:
        assert self._waiting is not None
        rest = self._data[self._offset :] if self._offset else self._data
        self._data, self._offset = b"", 0
        if rest:
            self._chunks.append(rest)
            self._missing -= len(rest)
        if self._missing > 0:
            return None
        whole = b"".join(self._chunks)
        self._chunks.clear()
        verb, fields, size = self._waiting
        self._waiting = None
        if whole[size : size + 2] != b"\r\n":
            raise _unended(verb)
        self._data = whole[size + 2 :]
        return verb, fields, whole[:size]

    def _rule(self, verb: bytes) -> Verb:
        rule = self.verbs.get(verb)
        if rule is None:
            raise GrammarError(f"{shown(verb)} is no verb that may come here")
        return rule

    def _check_partial(self) -> None:
        """Refuse the beginning of a line that can't become one."""
        partial = self._partial
        space = partial.find(b" ", 0, _VERB_BYTES + 1)
        if space >= 0:
            verb = bytes(partial[:space])
            rule = self._rule(verb)
            # One more byte may be the CR.
            if len(partial) > rule.line_bytes + partial.endswith(b"\r"):
                raise _too_long(verb, rule)
        elif len(partial) > _VERB_BYTES + partial.endswith(b"\r"):
            raise GrammarError(f"{shown(bytes(partial))} doesn't begin with a verb")


def shown(data: bytes) -> str:
    """Show the beginning of any bytes in printable ASCII without spaces at the ends."""
    return ascii(data[:_SHOWN_BYTES])[1:]


def _too_long(verb: bytes, rule: Verb) -> GrammarError:
    return GrammarError(f"a {verb.decode()} line is over the limit of {rule.line_bytes} bytes")


def _miscounted(verb: bytes, rule: Verb, count: int) -> GrammarError:
    least, most = rule.fields_least, rule.fields_most
    expected = str(least) if least == most else f"{least} to {most}"
    return GrammarError(f"a {verb.decode()} line has {max(count, 0)} fields where {expected} belong")


def _unended(verb: bytes) -> GrammarError:
    return GrammarError(f"a {verb.decode()} payload isn't followed by CR LF")


def number(field: bytes) -> int:
    """
    Read a field that is a number: decimal digits, no sign, no zeros in front.

    @raise GrammarError: It isn't one.
    """
    if not field.isdigit() or len(field) > NUMBER_DIGITS or (field[0] == 48 and len(field) > 1):
        raise GrammarError(f"{shown(field)} is no number")
    return int(field)


def line(verb: bytes, *fields: bytes | int | str) -> bytes:
    """
    Write a line without payload.

    The fields have to be words; text of others, such as what came from a peer, goes through L{words} first.
    """
    parts = [verb]
    parts += [field if isinstance(field, bytes) else str(field).encode("ascii") for field in fields]
    text = b" ".join(parts)
    assert _WORDS.fullmatch(text) is not None, text
    return text + b"\r\n"


def words(text: str) -> list[bytes]:
    """Make any text into fields that a line can carry."""
    return text.encode("ascii", "backslashreplace").translate(_PRINTABLE).split()


#: Control bytes become spaces.
_PRINTABLE: Final = bytes(byte if 33 <= byte <= 126 else 32 for byte in range(256))


def framed(head: bytes, payload: bytes) -> bytes:
    """Write a line with a payload; C{head} is its verb and fields without the length."""
    return b"%b %d\r\n%b\r\n" % (head, len(payload), payload)
