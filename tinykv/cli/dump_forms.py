"""
The forms in which `tinykv dump` writes keys, values and raw entries.

Every form writes as it goes: an element of a large value is forgotten once it's written.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from itertools import islice
from math import isfinite
from typing import IO, Any, Protocol

from tinykv.cli.screen import quoted
from tinykv.resp.replies import encode_command, format_double

Element = bytes | tuple[bytes, bytes] | tuple[bytes, float]

#: Elements of one command in the form of commands.
_COMMAND_ELEMENTS = 100

_FILLERS = {"list": b"RPUSH", "set": b"SADD", "hash": b"HSET", "zset": b"ZADD"}


class Form(Protocol):
    """A form of writing."""

    def key(self, db: int, key: bytes, kind: str, expires: int, now_ms: int, elements: Iterator[Element]) -> None:
        """
        Write a key.

        @param kind: string, list, set, zset or hash.
        @param expires: In ms since 1970; 0 for never.
        @param elements: One byte string for a string; byte strings; (field, value)s; or (member, score)s.
        """

    def raw(self, family: str, key: bytes, value: bytes) -> None:
        """Write a raw entry."""


class TextForm:
    """For people: a line a key, and a line an element below it."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out

    def key(self, db: int, key: bytes, kind: str, expires: int, now_ms: int, elements: Iterator[Element]) -> None:
        """Write a key."""
        ttl = f", {(expires - now_ms) / 1000:.3f} s to live" if expires else ""
        self._line(f"[{db}] {quoted(key)} ({kind}{ttl})")
        for element in elements:
            if isinstance(element, bytes):
                self._line(f"  {quoted(element)}")
            else:
                first, second = element
                self._line(f"  {quoted(first)} {quoted(second) if isinstance(second, bytes) else _score(second)}")

    def raw(self, family: str, key: bytes, value: bytes) -> None:
        """Write a raw entry."""
        self._line(f"[raw {family}] {quoted(key)}")
        self._line(f"  {quoted(value)}")

    def _line(self, text: str) -> None:
        self._out.write(text.encode() + b"\n")


class JsonForm:
    """
    One object a line: db, key, type, expires_at_ms (null for never), value.

    Strings that aren't UTF-8 are C{{"base64": ...}}; infinite scores are the strings inf and -inf.
    """

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out

    def key(self, db: int, key: bytes, kind: str, expires: int, now_ms: int, elements: Iterator[Element]) -> None:
        """Write a key."""
        head = {"db": db, "key": _json_text(key), "type": kind, "expires_at_ms": expires or None}
        self._out.write(json.dumps(head, ensure_ascii=False)[:-1].encode() + b', "value": ')
        if kind == "string":
            self._out.write(_json_element(next(elements)))
        else:
            self._out.write(b"[")
            for place, element in enumerate(elements):
                self._out.write((b", " if place else b"") + _json_element(element))
            self._out.write(b"]")
        self._out.write(b"}\n")

    def raw(self, family: str, key: bytes, value: bytes) -> None:
        """Write a raw entry."""
        entry = {"family": family, "key": _json_text(key), "type": "raw", "value": _json_text(value)}
        self._out.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")


class RespForm:
    """Commands that make the same keys again, in any Redis; raw entries are RAW.PUT, which only TinyKV knows."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._db = 0

    def key(self, db: int, key: bytes, kind: str, expires: int, now_ms: int, elements: Iterator[Element]) -> None:
        """Write a key."""
        if db != self._db:
            self._command([b"SELECT", b"%d" % db])
            self._db = db
        if kind == "string":
            (text,) = elements
            assert isinstance(text, bytes)
            self._command([b"SET", key, text, *((b"PXAT", b"%d" % expires) if expires else ())])
            return
        self._command([b"DEL", key])
        while some := list(islice(elements, _COMMAND_ELEMENTS)):
            self._command([_FILLERS[kind], key, *(part for element in some for part in _arguments(element))])
        if expires:
            self._command([b"PEXPIREAT", key, b"%d" % expires])

    def raw(self, family: str, key: bytes, value: bytes) -> None:
        """Write a raw entry."""
        self._command([b"RAW.PUT", family.encode(), key, value])

    def _command(self, arguments: list[bytes]) -> None:
        self._out.write(encode_command(arguments))


FORMS: dict[str, type[TextForm] | type[JsonForm] | type[RespForm]] = {
    "text": TextForm,
    "json": JsonForm,
    "resp": RespForm,
}


def _arguments(element: Element) -> tuple[bytes, ...]:
    if isinstance(element, bytes):
        return (element,)
    first, second = element
    if isinstance(second, bytes):
        return first, second
    return _score(second).encode(), first


def _score(score: float) -> str:
    return format_double(score).decode()


def _json_text(data: bytes) -> str | dict[str, str]:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode()}


def _json_element(element: Element) -> bytes:
    item: Any
    if isinstance(element, bytes):
        item = _json_text(element)
    else:
        first, second = element
        if isinstance(second, bytes):
            item = [_json_text(first), _json_text(second)]
        else:
            item = [_json_text(first), second if isfinite(second) else _score(second)]
    return json.dumps(item, ensure_ascii=False).encode()
