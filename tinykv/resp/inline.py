"""Inline commands: a line of words, with quotes and escapes, as telnet users and health checks send them."""

from __future__ import annotations

import re
from typing import Final

_SPACE: Final = b" \t\n\v\f\r"
_SPECIAL: Final = re.compile(rb"[\"'\0\v\f]")
_PLAIN: Final = re.compile(rb"[^ \t\n\r\0\"']+")
_IN_DOUBLE: Final = re.compile(rb"[^\"\\]+")
_IN_SINGLE: Final = re.compile(rb"[^'\\]+")
_HEX: Final = re.compile(rb"\\x([0-9a-fA-F]{2})")
_ESCAPES: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


class UnbalancedQuotes(Exception):
    """A quote that is not closed, or is closed in the middle of a word."""


def split_inline(line: bytes) -> list[bytes]:
    r"""The words of `line`, by the rules of Redis's sdssplitargs.

    "..." knows \xHH, \n, \r, \t, \b, \a and \ before anything else; '...' knows only \'. A quote may open
    inside a word, but a closing one must end it. Raises `UnbalancedQuotes`.
    """
    if not _SPECIAL.search(line):
        return line.split()
    words: list[bytes] = []
    position, size = 0, len(line)
    while True:
        while position < size and line[position] in _SPACE:
            position += 1
        if position >= size or line[position] == 0:
            return words
        word, position = _word(line, position)
        words.append(word)


def _word(line: bytes, position: int) -> tuple[bytes, int]:
    """The word that starts at `position`, and where it ends."""
    pieces = []
    while True:
        plain = _PLAIN.match(line, position)
        if plain:
            pieces.append(plain[0])
            position = plain.end()
        quote = line[position : position + 1]
        if quote == b'"':
            position = _double_quoted(line, position + 1, pieces)
        elif quote == b"'":
            position = _single_quoted(line, position + 1, pieces)
        else:
            return b"".join(pieces), position
        if line[position : position + 1] not in (b"", b"\0") and line[position] not in _SPACE:
            raise UnbalancedQuotes
        return b"".join(pieces), position


def _double_quoted(line: bytes, position: int, pieces: list[bytes]) -> int:
    """Put what "..." stands for into `pieces`; returns where the line goes on."""
    while True:
        run = _IN_DOUBLE.match(line, position)
        if run:
            pieces.append(run[0])
            position = run.end()
        mark = line[position : position + 1]
        if mark == b'"':
            return position + 1
        escape = line[position + 1 : position + 2]
        if not mark or not escape:
            raise UnbalancedQuotes
        code = _HEX.match(line, position)
        if code:
            pieces.append(bytes([int(code[1], 16)]))
            position = code.end()
        else:
            pieces.append(_ESCAPES.get(escape, escape))
            position += 2


def _single_quoted(line: bytes, position: int, pieces: list[bytes]) -> int:
    """Put what '...' stands for into `pieces`; returns where the line goes on."""
    while True:
        run = _IN_SINGLE.match(line, position)
        if run:
            pieces.append(run[0])
            position = run.end()
        mark = line[position : position + 1]
        if mark == b"'":
            return position + 1
        if not mark:
            raise UnbalancedQuotes
        if line[position + 1 : position + 2] == b"'":
            pieces.append(b"'")
            position += 2
        else:
            pieces.append(mark)
            position += 1
