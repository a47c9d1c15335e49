"""
Where each thing lies in the ordered space of row keys.

All rows of a column family are ordered by their key bytes. A region is a range of that space, so what shall move,
split or be deleted together has to be neighbours in it::

    r slot(2) db(1) 0                                   how many keys this (slot, db) holds, and how many can expire
    r slot(2) db(1) 1 crc32(key)(4) key                 the meta row of a Redis key: type, version, expiry, value
    r slot(2) db(1) 2 generation(8) node(4)             a node of the tree that holds a large value
    w key                                               raw keys (families default, lock, write)
    region id(8) name                                   what commands keep of a region beside its data (family region)

Numbers are big-endian, so that byte order is number order. The slot comes first, since Redis regions are cut at
slot borders; C{crc32} before the key gives L{SCAN <https://redis.io/commands/scan/>} an order that spreads the keys
evenly and whose position fits into a number. Nothing follows a raw key in a meta row's key, so it needs no escape.
"""

from __future__ import annotations

from binascii import crc32, crc_hqx
from struct import Struct

SLOTS = 16384
DATABASES = 16
#: All slots, as the first and the one behind the last.
ALL_SLOTS = (0, SLOTS)
#: The region of a cluster that has only one, and the first one of any other.
FIRST_REGION = 1

KIND_COUNTER = 0
KIND_META = 1
KIND_NODE = 2

REDIS_PREFIX = b"r"
RAW_PREFIX = b"w"
REDIS_RANGE = (b"r", b"s")
RAW_RANGE = (b"w", b"x")

#: Length of a meta row's key before the raw key begins.
META_KEY_OFFSET = 9

#: As a number: Python takes four times as long to look for bytes in bytes, since it tries them as a number first.
_BRACE = ord("{")
_META = Struct(">cHBBI")
_COUNTER = Struct(">cHBB")
_NODE = Struct(">cHBBQI")
_PLACE = Struct(">xHBBI")


def slot_of(key: bytes) -> int:
    """
    Say in which of the 16384 slots a key lies.

    @see: U{https://redis.io/docs/reference/cluster-spec/} (hash tags)
    """
    if _BRACE in key:
        start = key.index(b"{")
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) & 16383


def meta_key(db: int, key: bytes) -> bytes:
    """Give the row key of a Redis key's meta row in a (physical) database."""
    if _BRACE in key:
        return _META.pack(b"r", slot_of(key), db, 1, crc32(key)) + key
    return _META.pack(b"r", crc_hqx(key, 0) & 16383, db, 1, crc32(key)) + key


def counter_key(slot: int, db: int) -> bytes:
    """Give the row key of a (slot, db)'s counter row, the first of its range."""
    return _COUNTER.pack(b"r", slot, db, 0)


def node_key(slot: int, db: int, generation: int, node: int) -> bytes:
    """Give the row key of a tree node."""
    return _NODE.pack(b"r", slot, db, 2, generation, node)


def generation_range(slot: int, db: int, generation: int) -> tuple[bytes, bytes]:
    """Give the range [start, end) of all the nodes of one generation of a value."""
    return _NODE.pack(b"r", slot, db, 2, generation, 0), _NODE.pack(b"r", slot, db, 2, generation + 1, 0)


def database_range(slot: int, db: int) -> tuple[bytes, bytes]:
    """Give the range [start, end) of everything that a database has in a slot."""
    start = _COUNTER.pack(b"r", slot, db, 0)
    return start, start[:-2] + bytes((db + 1,))


def meta_range(slot: int, db: int, crc: int = 0) -> tuple[bytes, bytes]:
    """Give the range [start, end) of the meta rows of a slot from a crc32 on."""
    return _META.pack(b"r", slot, db, 1, crc), _COUNTER.pack(b"r", slot, db, 2)


def place_of(row_key: bytes) -> tuple[int, int, int, int]:
    """Read (slot, db, kind, crc32) back from a meta row's key."""
    slot, db, kind, crc = _PLACE.unpack_from(row_key)
    return slot, db, kind, crc


def slots_range(slots: tuple[int, int]) -> tuple[bytes, bytes]:
    """Give the range [start, end) of everything that lies in slots, C{slots} being the first and the one behind."""
    first, end = slots
    return REDIS_PREFIX + first.to_bytes(2, "big"), REDIS_PREFIX + end.to_bytes(2, "big")


def slots_within(start: bytes, end: bytes) -> tuple[int, int]:
    """
    Give the first slot that lies within the borders of a region, and the one behind the last.

    @param end: Of no bytes if there's no end.
    """
    return slot_from(start), slot_from(end) if end else SLOTS


def slot_from(border: bytes) -> int:
    """Give the first slot that lies behind a border of regions, L{SLOTS} if there is none."""
    first, behind = REDIS_RANGE
    if border < first:
        return 0
    return min(int.from_bytes(border[1:3].ljust(2, b"\0"), "big"), SLOTS) if border < behind else SLOTS


def region_row(region: int, name: bytes = b"") -> bytes:
    """Give the row key, in family C{region}, of something that commands keep of a region; they all begin alike."""
    return b"region" + region.to_bytes(8, "big") + name


def raw_key(key: bytes) -> bytes:
    """Give the row key of a raw key."""
    return b"w" + key


def after(key: bytes) -> bytes:
    """Give the least key that is greater than this one."""
    return key + b"\x00"
