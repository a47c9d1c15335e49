"""The client's side: replies of RESP2 and RESP3 back to Python values, from bytes in any pieces."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from tinykv.resp.buffer import LineTooLong, ReadBuffer
from tinykv.resp.reader import NEED_DATA, NeedData

_NUMBER: Final = re.compile(rb"[+-]?[0-9]{1,19}")
_BIG_NUMBER: Final = re.compile(rb"[+-]?[0-9]{1,4000}")
_DOUBLE: Final = re.compile(rb"[+-]?(?:inf|nan|[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)", re.IGNORECASE)
_FORMAT_BYTES: Final = 4


class BadReply(Exception):
    """Bytes that are no reply, or one past the limits; the connection is of no more use."""


class Simple(bytes):
    """A simple string; equal to the bytes it has."""


@dataclass(frozen=True)
class ErrorReply:
    """An error, with its code in front."""

    text: bytes


@dataclass(frozen=True)
class NullArray:
    """RESP2's array that is not there; other nulls are None."""


@dataclass(frozen=True)
class Verbatim:
    """Text with its format (txt, mkd)."""

    format: bytes
    text: bytes


@dataclass(frozen=True)
class BigNumber:
    """An integer that need not fit into 64 bits."""

    value: int


@dataclass(frozen=True)
class MapReply:
    """A map, as its pairs in the order sent: keys may be of any type and occur twice."""

    pairs: tuple[tuple[Reply, Reply], ...]


@dataclass(frozen=True)
class SetReply:
    """A set, as its elements in the order sent."""

    items: tuple[Reply, ...]


@dataclass(frozen=True)
class Push:
    """A message outside of the replies' order."""

    items: tuple[Reply, ...]


@dataclass(frozen=True)
class Attributed:
    """A reply with what the server says about it."""

    attributes: tuple[tuple[Reply, Reply], ...]
    reply: Reply


Reply: TypeAlias = (
    "bytes | int | float | bool | None | list[Reply] | Simple | ErrorReply | NullArray | Verbatim | BigNumber"
    " | MapReply | SetReply | Push | Attributed"
)
"""A reply: bulk strings are bytes, arrays lists, doubles floats."""


@dataclass(frozen=True)
class ReplyLimits:
    """What a server may make us hold: nesting, elements of one reply in all, bytes of a line and a string."""

    depth: int = 32
    elements: int = 64 * 1024 * 1024
    line_bytes: int = 64 * 1024
    bulk_bytes: int = 512 * 1024 * 1024


class _Open:
    """An aggregate whose elements are not all there."""

    __slots__ = ("items", "kind", "missing")

    def __init__(self, kind: int, missing: int) -> None:
        self.kind = kind
        self.missing = missing
        self.items: list[Reply] = []


class ReplyReader:
    """Turns the bytes of one connection into replies; nothing is allocated on the word of a header.

    Streamed strings and aggregates ("$?", "*?") are refused: no server sends them.
    """

    def __init__(self, limits: ReplyLimits | None = None) -> None:
        self._limits = limits or ReplyLimits()
        self._buffer = ReadBuffer()
        self._open: list[_Open] = []
        self._elements = 0
        self._bulk: tuple[int, int] | None = None
        self._error: BadReply | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the connection."""
        self._buffer.append(data)

    def next_reply(self) -> Reply | Literal[NeedData.NEED_DATA]:
        """The next reply or push, or `NEED_DATA`; raises `BadReply`, and then for ever."""
        if self._error is not None:
            raise self._error
        try:
            while True:
                value = self._next_element()
                if value is NEED_DATA:
                    return NEED_DATA
                if isinstance(value, _Open):
                    self._open.append(value)
                    continue
                done = self._close(value)
                if not self._open:
                    self._elements = 0
                    return done
        except BadReply as error:
            self._error = error
            raise

    def _close(self, value: Reply) -> Reply:
        """Put `value` into the innermost open aggregate, and each that this completes into its own."""
        while self._open:
            inner = self._open[-1]
            inner.items.append(value)
            inner.missing -= 1
            if inner.missing:
                break
            self._open.pop()
            value = _finish(inner)
        return value

    def _next_element(self) -> Reply | _Open | Literal[NeedData.NEED_DATA]:
        """A value without elements, or the start of an aggregate that has some."""
        if self._bulk is None:
            line = self._take_line()
            if line is None:
                return NEED_DATA
            self._count_element()
            kind, text = line[0], line[1:]
            convert = _CONVERTERS.get(kind)
            if convert is not None:
                return convert(text)
            if kind in b"*%~>|":
                return self._aggregate(kind, text)
            if kind not in b"$=!":
                raise BadReply(f"unknown type {chr(kind)!r}")
            if kind == ord("$") and text == b"-1":
                return None
            self._bulk = (kind, self._length(text, self._limits.bulk_bytes))
        kind, length = self._bulk
        block = self._buffer.take(length + 2, 0)
        if block is None:
            return NEED_DATA
        self._bulk = None
        if not block.endswith(b"\r\n"):
            raise BadReply("a string does not end where its header says")
        return _string(kind, block[:-2])

    def _take_line(self) -> bytes | None:
        try:
            length = self._buffer.find(b"\r", 1, self._limits.line_bytes)
        except LineTooLong:
            raise BadReply("a line is too long") from None
        line = None if length < 0 else self._buffer.take(length + 2, 0)
        if line is None:
            return None
        if length == 0 or not line.endswith(b"\r\n") or b"\n" in line[:-2]:
            raise BadReply("not a line of a reply")
        return line[:-2]

    def _count_element(self) -> None:
        self._elements += 1
        if self._elements > self._limits.elements:
            raise BadReply("a reply has too many elements")

    def _aggregate(self, kind: int, text: bytes) -> Reply | _Open:
        if kind == ord("*") and text == b"-1":
            return NullArray()
        length = self._length(text, self._limits.elements)
        missing = {ord("%"): 2 * length, ord("|"): 2 * length + 1}.get(kind, length)
        opened = _Open(kind, missing)
        if not missing:
            return _finish(opened)
        if len(self._open) >= self._limits.depth:
            raise BadReply("a reply is nested too deeply")
        return opened

    def _length(self, text: bytes, limit: int) -> int:
        length = int(text) if text.isdigit() and len(text) < 20 else -1
        if not 0 <= length <= limit:
            raise BadReply(f"bad length {text[:32]!r}")
        return length


def _finish(opened: _Open) -> Reply:
    """The value of an aggregate that has all its elements."""
    items = opened.items
    if opened.kind == ord("*"):
        return items
    if opened.kind == ord("~"):
        return SetReply(tuple(items))
    if opened.kind == ord(">"):
        return Push(tuple(items))
    pairs = tuple(zip(items[0::2], items[1::2], strict=False))
    return MapReply(pairs) if opened.kind == ord("%") else Attributed(pairs, items[-1])


def _string(kind: int, data: bytes) -> Reply:
    if kind == ord("$"):
        return data
    if kind == ord("!"):
        return ErrorReply(data)
    if data[_FORMAT_BYTES - 1 : _FORMAT_BYTES] != b":":
        raise BadReply("a verbatim string without a format")
    return Verbatim(data[: _FORMAT_BYTES - 1], data[_FORMAT_BYTES:])


def _integer(text: bytes) -> Reply:
    if not _NUMBER.fullmatch(text):
        raise BadReply(f"bad integer {text[:32]!r}")
    return int(text)


def _big_number(text: bytes) -> Reply:
    if not _BIG_NUMBER.fullmatch(text):
        raise BadReply(f"bad big number {text[:32]!r}")
    return BigNumber(int(text))


def _double(text: bytes) -> Reply:
    if not _DOUBLE.fullmatch(text):
        raise BadReply(f"bad double {text[:32]!r}")
    return math.nan if b"nan" in text.lower() else float(text)


def _boolean(text: bytes) -> Reply:
    if text not in (b"t", b"f"):
        raise BadReply(f"bad boolean {text[:32]!r}")
    return text == b"t"


def _null(text: bytes) -> Reply:
    if text:
        raise BadReply("a null with text")
    return None


_CONVERTERS: Final[dict[int, Callable[[bytes], Reply]]] = {
    ord("+"): Simple,
    ord("-"): ErrorReply,
    ord(":"): _integer,
    ord("("): _big_number,
    ord(","): _double,
    ord("#"): _boolean,
    ord("_"): _null,
}
