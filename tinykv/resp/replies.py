"""Encoders of replies: each returns the bytes that go to the client.

Aggregates take elements that are encoded already. `proto` is the protocol of the session, 2 or 3; what RESP2
has no type for becomes what Redis makes of it there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

OK: Final = b"+OK\r\n"
PONG: Final = b"+PONG\r\n"
QUEUED: Final = b"+QUEUED\r\n"
ZERO: Final = b":0\r\n"
ONE: Final = b":1\r\n"
EMPTY_ARRAY: Final = b"*0\r\n"
EMPTY_BULK: Final = b"$0\r\n\r\n"

_RESP3: Final = 3
_NIL2: Final = b"$-1\r\n"
_NIL_ARRAY2: Final = b"*-1\r\n"
_NIL3: Final = b"_\r\n"
_NO_NEWLINES: Final = bytes.maketrans(b"\r\n", b"  ")
_FORMAT_BYTES: Final = 3
#: Arguments, the name included, of the commonest commands that are logged.
_OFTEN: Final = 3
#: What stands before an argument of so many bytes, behind another or the head; a lookup takes a third of the time.
_BULK_HEADS: Final = tuple(b"\r\n$%d\r\n" % length for length in range(1025))


def simple(text: bytes) -> bytes:
    """A simple string; `text` must not hold a newline."""
    return b"+%b\r\n" % text


def error(text: bytes) -> bytes:
    """An error; `text` starts with its code. Newlines at its ends go, others become spaces."""
    return b"-%b\r\n" % text.strip(b"\r\n").translate(_NO_NEWLINES)


def integer(number: int) -> bytes:
    """A 64-bit integer."""
    return b":%d\r\n" % number


def bulk(data: bytes) -> bytes:
    """A string of any bytes."""
    return b"$%d\r\n%b\r\n" % (len(data), data)


def nil(proto: int) -> bytes:
    """No value, where a string would stand."""
    return _NIL3 if proto == _RESP3 else _NIL2


def nil_array(proto: int) -> bytes:
    """No value, where an array would stand."""
    return _NIL3 if proto == _RESP3 else _NIL_ARRAY2


def array(items: Sequence[bytes]) -> bytes:
    """An array of encoded elements."""
    return b"*%d\r\n%b" % (len(items), b"".join(items))


def bulks(values: Sequence[bytes]) -> bytes:
    """An array of strings, given raw."""
    encoded = [b"$%d\r\n%b\r\n" % (len(value), value) for value in values]
    return b"*%d\r\n%b" % (len(values), b"".join(encoded))


def map_(items: Sequence[bytes], proto: int) -> bytes:
    """A map of encoded keys and values in turn; a flat array in RESP2."""
    if proto == _RESP3:
        return b"%%%d\r\n%b" % (len(items) // 2, b"".join(items))
    return array(items)


def set_(items: Sequence[bytes], proto: int) -> bytes:
    """A set of encoded elements; an array in RESP2."""
    if proto == _RESP3:
        return b"~%d\r\n%b" % (len(items), b"".join(items))
    return array(items)


def push(items: Sequence[bytes], proto: int = _RESP3) -> bytes:
    """A message outside of the replies' order; an array in RESP2, where only subscribers get any."""
    if proto == _RESP3:
        return b">%d\r\n%b" % (len(items), b"".join(items))
    return array(items)


def format_double(number: float) -> bytes:
    """The text of a score or another double in a reply, with the 17 digits of Redis 7.0's addReplyDouble."""
    return b"nan" if math.isnan(number) else b"%.17g" % number


def double(number: float, proto: int) -> bytes:
    """A double; a string in RESP2."""
    text = format_double(number)
    return b",%b\r\n" % text if proto == _RESP3 else bulk(text)


def boolean(value: bool, proto: int) -> bytes:
    """A truth value; 1 or 0 in RESP2."""
    if proto == _RESP3:
        return b"#t\r\n" if value else b"#f\r\n"
    return ONE if value else ZERO


def verbatim(text: bytes, extension: bytes, proto: int) -> bytes:
    """Text to be shown as it is; `extension` is its format in three bytes (txt, mkd). A string in RESP2."""
    if len(extension) != _FORMAT_BYTES:
        raise ValueError("a verbatim string's format has three bytes")
    if proto == _RESP3:
        return b"=%d\r\n%b:%b\r\n" % (len(text) + _FORMAT_BYTES + 1, extension, text)
    return bulk(text)


def big_number(number: int, proto: int) -> bytes:
    """An integer of any size; a string in RESP2."""
    return b"(%d\r\n" % number if proto == _RESP3 else bulk(b"%d" % number)


def encode_command(arguments: Sequence[bytes]) -> bytes:
    """A request in its canonical form; what a client sends, and what the log holds."""
    heads = _BULK_HEADS
    try:
        if len(arguments) == _OFTEN:
            name, key, value = arguments
            return b"".join(
                (b"*3", heads[len(name)], name, heads[len(key)], key, heads[len(value)], value, b"\r\n")
            )
        return b"*%d%b\r\n" % (len(arguments), b"".join([heads[len(one)] + one for one in arguments]))
    except IndexError:
        return bulks(arguments)
