"""The payloads of DUMP and RESTORE: one value as an RDB file holds it, with a footer.

Payload: type byte, body, RDB version (2, little-endian), CRC-64 of all before it (8, little-endian). What
servers from Redis 2.8 to 7.2 write for strings, lists, sets, sorted sets and hashes is read; what is
written loads into a server of the version asked for. Values: ``string`` bytes, ``list`` and ``set`` lists
of bytes, ``zset`` a list of (member, score), ``hash`` a list of (field, value).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from tinykv.redis.crc64 import crc64_paced
from tinykv.redis.lzf import LzfError, compress, decompress
from tinykv.redis.numbers import parse_float, parse_int64
from tinykv.redis.pace import Pause, go_on
from tinykv.redis.packed import (
    BadPayload,
    listpack_item,
    listpack_size,
    read_intset,
    read_listpack,
    read_ziplist,
    read_zipmap,
    write_intset,
    write_listpack,
)
from tinykv.redis.value import STRING_MAX

__all__ = ["NEWEST_VERSION", "BadFooter", "BadPayload", "Kind", "Loaded", "dump", "load"]

Loaded = (
    tuple[Literal["string"], bytes]
    | tuple[Literal["list"], list[bytes]]
    | tuple[Literal["set"], list[bytes]]
    | tuple[Literal["zset"], list[tuple[bytes, float]]]
    | tuple[Literal["hash"], list[tuple[bytes, bytes]]]
)
"""What `load` returns: the kind and, without duplicates and (but for a string) never empty, the value."""

Kind = Literal["string", "list", "set", "zset", "hash"]
"""The families of values."""

NEWEST_VERSION = 11
"""The newest RDB version that is read: that of Redis 7.2."""

_FOOTER = struct.Struct("<HQ")
_DOUBLE = struct.Struct("<d")
# Versions in which a form first appeared.
_BINARY_SCORES = 8
_LISTPACKS = 10

_STRING, _LIST, _SET, _ZSET, _HASH, _ZSET_BINARY, _MODULE, _MODULE_2 = range(8)
_HASH_ZIPMAP, _LIST_ZIPLIST, _SET_INTSET, _ZSET_ZIPLIST, _HASH_ZIPLIST, _LIST_QUICKLIST = range(9, 15)
_STREAMS = (15, 19, 21)
_HASH_LISTPACK, _ZSET_LISTPACK, _LIST_QUICKLIST_2 = 16, 17, 18
_SET_LISTPACK = 20
_PLAIN_NODE, _PACKED_NODE = 1, 2

#: Bytes between two pauses.
_PACE_BYTES = 16384
#: What a string counts for besides its bytes.
_ITEM_BYTES = 32

# Redis's default limits for the compact encodings.
_HASH_ENTRIES, _ZSET_ENTRIES, _LISTPACK_VALUE, _INTSET_ENTRIES, _NODE_BYTES = 512, 128, 64, 512, 8192
_NODE_OVERHEAD = 8
_COMPRESS_OVER = 20
# Packing costs about a third of a second per megabyte here, and the reader takes either form: longer
# strings go plain.
_COMPRESS_UP_TO = 65536


class BadFooter(BadPayload):
    """The payload is cut short, from a newer version, or its checksum is wrong."""


def load(payload: bytes, pause: Pause = go_on) -> Loaded:
    """Return kind and value of a payload of DUMP; raise `BadFooter` or, for anything else wrong,
    `BadPayload`. ``pause`` is called often, so that reading a large one may rest.
    """
    size = len(payload) - _FOOTER.size
    if size < 1:
        raise BadFooter("the payload is cut short")
    version, crc = _FOOTER.unpack_from(payload, size)
    if version > NEWEST_VERSION:
        raise BadFooter(f"RDB version {version} is too new")
    if crc64_paced(payload[:-8], pause) != crc:
        raise BadFooter("the checksum is wrong")
    reader = _Reader(payload[:size], pause)
    try:
        loaded = _load_value(reader)
    except (IndexError, struct.error, LzfError) as error:
        raise BadPayload("the payload ends early") from error
    if reader.at != size:
        raise BadPayload("something follows the value")
    return loaded


def _load_value(reader: _Reader) -> Loaded:
    """Return the value of any supported type."""
    kind = reader.byte()
    if kind == _STRING:
        return "string", reader.string()
    if kind in _LIST_LOADERS:
        return "list", _filled(_LIST_LOADERS[kind](reader))
    if kind in _SET_LOADERS:
        return "set", _distinct(_SET_LOADERS[kind](reader))
    if kind in _HASH_LOADERS:
        items = _HASH_LOADERS[kind](reader)
        return "hash", list(zip(_distinct(_paired(items)), items[1::2], strict=True))
    if kind in _ZSET_LOADERS:
        return "zset", _ZSET_LOADERS[kind](reader)
    if kind in _STREAMS:
        raise BadPayload("streams are not supported")
    if kind in (_MODULE, _MODULE_2):
        raise BadPayload("module types are not supported")
    raise BadPayload(f"unknown type {kind}")


class _Reader:
    """Reads a payload from front to back; ``at`` is the place of the next byte."""

    __slots__ = ("at", "_body", "_pause", "_rested", "_unpacked")

    def __init__(self, body: bytes, pause: Pause) -> None:
        self.at = 0
        self._body = body
        self._pause = pause
        self._rested = 0
        #: The payload's size when all that's compressed in it is unpacked.
        self._unpacked = len(body)

    def byte(self) -> int:
        """Return the next byte."""
        value = self._body[self.at]
        self.at += 1
        return value

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        stop = self.at + count
        if stop > len(self._body):
            raise BadPayload("the payload ends early")
        piece = self._body[self.at : stop]
        self.at = stop
        return piece

    def length(self) -> int:
        """Return a length; the special encodings of strings are refused."""
        first = self.byte()
        if first >= 0xC0:
            raise BadPayload("a length is encoded as a string")
        return self._length_from(first)

    def _length_from(self, first: int) -> int:
        """Return the length that starts with the byte ``first`` (6, 14, 32 or 64 bits, big-endian)."""
        if first < 0x40:
            return first
        if first < 0x80:
            return (first & 0x3F) << 8 | self.byte()
        if first == 0x80:
            return int.from_bytes(self.take(4), "big")
        if first == 0x81:
            return int.from_bytes(self.take(8), "big")
        raise BadPayload("a length has an unknown encoding")

    def string(self) -> bytes:
        """Return a string: plain, an integer of 1, 2 or 4 bytes, or compressed."""
        if self.at - self._rested > _PACE_BYTES:
            self._rested = self.at
            self._pause()
        first = self.byte()
        if first < 0xC0:
            return self.take(self._length_from(first))
        if first <= 0xC2:
            return b"%d" % int.from_bytes(self.take(1 << (first - 0xC0)), "little", signed=True)
        if first == 0xC3:
            packed_length = self.length()
            length = self.length()
            self._unpacked += length - packed_length
            if self._unpacked > STRING_MAX:
                raise BadPayload("the value is too large to be kept")
            return decompress(self.take(packed_length), length)
        raise BadPayload("a string has an unknown encoding")

    def strings(self, count: int) -> list[bytes]:
        """Return ``count`` strings (a count that lies ends at the end of the payload)."""
        return [self.string() for _ in range(count)]

    def binary_double(self) -> float:
        """Return a double of 8 bytes."""
        value: float = _DOUBLE.unpack(self.take(8))[0]
        return value

    def text_double(self) -> float:
        """Return a double written as text behind its length, of which three values stand for what is not
        finite.
        """
        length = self.byte()
        if length >= 253:
            return (math.nan, math.inf, -math.inf)[length - 253]
        return _score(self.take(length))


def _filled(items: list[bytes]) -> list[bytes]:
    """Return ``items``, which must not be empty."""
    if not items:
        raise BadPayload("a collection is empty")
    return items


def _distinct(items: list[bytes]) -> list[bytes]:
    """Return ``items``, which must neither be empty nor repeat."""
    if len(set(_filled(items))) != len(items):
        raise BadPayload("an element appears twice")
    return items


def _paired(items: list[bytes]) -> list[bytes]:
    """Return the first of each pair that ``items`` holds in turn."""
    if len(items) % 2:
        raise BadPayload("an element has no partner")
    return items[::2]


def _score(text: bytes) -> float:
    """Return the score that ``text`` spells."""
    value = parse_float(text)
    if value is None:
        raise BadPayload("a score is not a number")
    return value


def _scored(members: list[bytes], scores: list[float]) -> list[tuple[bytes, float]]:
    """Return members with their scores, checked."""
    if any(map(math.isnan, scores)):
        raise BadPayload("a score is not a number")
    return list(zip(_distinct(members), scores, strict=True))


def _load_scores(reader: _Reader, score: Callable[[], float]) -> list[tuple[bytes, float]]:
    """Return a sorted set stored member by member, each with what ``score`` reads behind it."""
    members: list[bytes] = []
    scores: list[float] = []
    for _ in range(reader.length()):
        members.append(reader.string())
        scores.append(score())
    return _scored(members, scores)


def _packed_scores(items: list[bytes]) -> list[tuple[bytes, float]]:
    """Return the sorted set whose members and scores, in turn, are ``items``."""
    return _scored(_paired(items), [_score(text) for text in items[1::2]])


def _load_quicklist(reader: _Reader) -> list[bytes]:
    """Return a list stored as ziplists."""
    items: list[bytes] = []
    for _ in range(reader.length()):
        items += read_ziplist(reader.string())
    return items


def _load_quicklist_2(reader: _Reader) -> list[bytes]:
    """Return a list stored as nodes, each a listpack or one plain element."""
    items: list[bytes] = []
    for _ in range(reader.length()):
        container = reader.length()
        if container == _PLAIN_NODE:
            item = reader.string()
            if not item:
                # Only large elements stand alone, so the server too takes an empty one for damage.
                raise BadPayload("a list node is empty")
            items.append(item)
        elif container == _PACKED_NODE:
            items += read_listpack(reader.string())
        else:
            raise BadPayload("a list node has an unknown kind")
    return items


_LIST_LOADERS: dict[int, Callable[[_Reader], list[bytes]]] = {
    _LIST: lambda reader: reader.strings(reader.length()),
    _LIST_ZIPLIST: lambda reader: read_ziplist(reader.string()),
    _LIST_QUICKLIST: _load_quicklist,
    _LIST_QUICKLIST_2: _load_quicklist_2,
}
_SET_LOADERS: dict[int, Callable[[_Reader], list[bytes]]] = {
    _SET: lambda reader: reader.strings(reader.length()),
    _SET_INTSET: lambda reader: read_intset(reader.string()),
    _SET_LISTPACK: lambda reader: read_listpack(reader.string()),
}
_HASH_LOADERS: dict[int, Callable[[_Reader], list[bytes]]] = {
    _HASH: lambda reader: reader.strings(2 * reader.length()),
    _HASH_ZIPMAP: lambda reader: read_zipmap(reader.string()),
    _HASH_ZIPLIST: lambda reader: read_ziplist(reader.string()),
    _HASH_LISTPACK: lambda reader: read_listpack(reader.string()),
}
_ZSET_LOADERS: dict[int, Callable[[_Reader], list[tuple[bytes, float]]]] = {
    _ZSET: lambda reader: _load_scores(reader, reader.text_double),
    _ZSET_BINARY: lambda reader: _load_scores(reader, reader.binary_double),
    _ZSET_ZIPLIST: lambda reader: _packed_scores(read_ziplist(reader.string())),
    _ZSET_LISTPACK: lambda reader: _packed_scores(read_listpack(reader.string())),
}


def dump(
    kind: Kind,
    value: bytes | Sequence[bytes] | Sequence[tuple[bytes, float]] | Sequence[tuple[bytes, bytes]],
    *,
    version: int = 10,
    encoding: str | None = None,
    packed: bool = True,
    pause: Pause = go_on,
) -> bytes:
    """Return the payload of DUMP for ``value``, which must be as `load` returns it (a sorted set in its
    order).

    ``encoding`` is the name that OBJECT ENCODING gives: ``intset`` (integers only) or ``hashtable``,
    ``listpack`` or ``hashtable`` or ``skiplist``; without it, what Redis's default limits choose.
    ``version`` 6 to 11: below 10 collections are written element by element, as the oldest servers read
    them. ``packed``: compress what shrinks. ``pause`` is called often, so that writing much may rest.
    """
    writer = _Writer(version, packed, pause)
    if isinstance(value, bytes):
        body = bytes((_STRING,)) + writer.string(value)
    else:
        body = _DUMPERS[kind](writer, value, encoding)
    covered = body + version.to_bytes(2, "little")
    return covered + crc64_paced(covered, pause).to_bytes(8, "little")


class _Writer:
    """How the parts of a payload are written: the version, and whether strings are compressed."""

    __slots__ = ("packed", "version", "_pause", "_written")

    def __init__(self, version: int, packed: bool, pause: Pause) -> None:
        self.version = version
        self.packed = packed
        self._pause = pause
        self._written = 0

    def string(self, text: bytes) -> bytes:
        """Return a string in its shortest form: an integer of up to 4 bytes, compressed, or plain."""
        size = len(text)
        self._written += size + _ITEM_BYTES
        if self._written > _PACE_BYTES:
            self._written = 0
            self._pause()
        if size <= 11:
            value = parse_int64(text)
            if value is not None:
                for code, width in ((0xC0, 1), (0xC1, 2), (0xC2, 4)):
                    if -(1 << (8 * width - 1)) <= value < 1 << (8 * width - 1):
                        return bytes((code,)) + value.to_bytes(width, "little", signed=True)
        if self.packed and _COMPRESS_OVER < size <= _COMPRESS_UP_TO:
            short = compress(text, size - 4)
            if short is not None:
                return b"\xc3" + _length(len(short)) + _length(size) + short
        return _length(size) + text

    def strings(self, items: Iterable[bytes]) -> bytes:
        """Return strings one behind the other."""
        return b"".join(map(self.string, items))


def _length(value: int) -> bytes:
    """Return a length in as few bytes as hold it."""
    if value < 1 << 6:
        return bytes((value,))
    if value < 1 << 14:
        return (value | 0x4000).to_bytes(2, "big")
    if value < 1 << 32:
        return b"\x80" + value.to_bytes(4, "big")
    return b"\x81" + value.to_bytes(8, "big")


def _dump_list(writer: _Writer, items: Sequence[bytes], _encoding: str | None) -> bytes:
    """Return type and body of a list, its nodes filled as RPUSH fills them."""
    if writer.version < _LISTPACKS:
        return bytes((_LIST,)) + _length(len(items)) + writer.strings(items)
    nodes: list[bytes] = []
    node: list[bytes] = []
    encoded = bytearray()
    for item in items:
        if node and listpack_size(encoded) + len(item) + _NODE_OVERHEAD > _NODE_BYTES:
            nodes.append(write_listpack(node))
            node, encoded = [], bytearray()
        node.append(item)
        encoded += listpack_item(item)
    nodes.append(write_listpack(node))
    container = bytes((_PACKED_NODE,))
    body = b"".join(container + writer.string(blob) for blob in nodes)
    return bytes((_LIST_QUICKLIST_2,)) + _length(len(nodes)) + body


def _dump_set(writer: _Writer, items: Sequence[bytes], encoding: str | None) -> bytes:
    """Return type and body of a set."""
    values: list[int] = []
    if encoding == "intset" or (encoding is None and len(items) <= _INTSET_ENTRIES):
        values = [value for value in map(parse_int64, items) if value is not None]
    if len(values) == len(items):
        return bytes((_SET_INTSET,)) + writer.string(write_intset(values))
    return bytes((_SET,)) + _length(len(items)) + writer.strings(items)


def _dump_hash(writer: _Writer, pairs: Sequence[tuple[bytes, bytes]], encoding: str | None) -> bytes:
    """Return type and body of a hash."""
    items = [item for pair in pairs for item in pair]
    if _is_listpack(writer, encoding, _HASH_ENTRIES - len(pairs), items):
        return bytes((_HASH_LISTPACK,)) + writer.string(write_listpack(items))
    return bytes((_HASH,)) + _length(len(pairs)) + writer.strings(items)


def _dump_zset(writer: _Writer, pairs: Sequence[tuple[bytes, float]], encoding: str | None) -> bytes:
    """Return type and body of a sorted set, whose members come in ascending order."""
    members = [member for member, _ in pairs]
    if _is_listpack(writer, encoding, _ZSET_ENTRIES - len(pairs), members):
        items = [item for member, score in pairs for item in (member, _score_text(score))]
        return bytes((_ZSET_LISTPACK,)) + writer.string(write_listpack(items))
    binary = writer.version >= _BINARY_SCORES
    score_bytes = _DOUBLE.pack if binary else _text_double
    # From the last to the first, as Redis does: each is then put before the others when it is read.
    body = b"".join(writer.string(member) + score_bytes(score) for member, score in reversed(pairs))
    return bytes((_ZSET_BINARY if binary else _ZSET,)) + _length(len(pairs)) + body


def _is_listpack(writer: _Writer, encoding: str | None, room: int, items: Sequence[bytes]) -> bool:
    """Return whether a hash or sorted set that may have ``room`` more members is written as a listpack."""
    if writer.version < _LISTPACKS or encoding is not None:
        return writer.version >= _LISTPACKS and encoding == "listpack"
    return room >= 0 and all(len(item) <= _LISTPACK_VALUE for item in items)


def _score_text(score: float) -> bytes:
    """Return a score as a listpack holds it: an integer where it is one, else with 17 digits."""
    if score.is_integer() and abs(score) <= 2.0**62:
        return b"%d" % int(score)
    return b"%.17g" % score


def _text_double(score: float) -> bytes:
    """Return a score as text behind its length."""
    if math.isinf(score):
        return b"\xfe" if score > 0 else b"\xff"
    text = _score_text(score)
    return bytes((len(text),)) + text


_DUMPERS: dict[str, Callable[[_Writer, Any, str | None], bytes]] = {
    "list": _dump_list,
    "set": _dump_set,
    "hash": _dump_hash,
    "zset": _dump_zset,
}
