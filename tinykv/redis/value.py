"""
What all values have in common: the meta row.

A key is one meta row, C{type(1) version(8) [expiry(8)] body}: the type byte's high bit says that an expiry follows.
The version is the region's sequence when the value last changed; WATCH compares it. A string needs no object: in
memory it B{is} its meta row, and its body is the value. Any other type is a L{Value}, a live object that stands for
its meta row (and, when it is large, for the rows of a tree) and is encoded when a memory table is frozen, not per
command.

A live object is never ahead of what the memory table knows, since the table holds the object itself: it may be
dropped from the cache at any time and is found there again, or built anew from its row.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, ClassVar, Protocol

from tinykv.errors import Damaged

if TYPE_CHECKING:
    from tinykv.redis.keyspace import Database

STRING = 1
LIST = 2
SET = 3
ZSET = 4
HASH = 5

#: Set in the type byte of a meta row that carries an expiry.
EXPIRES = 0x80
STRING_EXPIRES = STRING | EXPIRES

#: Where the body begins in a meta row without and with an expiry.
PLAIN_BODY = 9
EXPIRING_BODY = 17

plain_head = Struct(">BQ").pack
expiring_head = Struct(">BQQ").pack
_read_expiry = Struct(">9xQ").unpack_from
_read_version = Struct(">xQ").unpack_from

#: The longest string: SQLite stores no more than 10**9 bytes in a row, its key included.
STRING_MAX = 10**9 - 65536

#: What a key costs in the cache beside the bytes of its row: dict slot, object headers, the key's own object.
KEY_OVERHEAD = 180


class Encodable(Protocol):
    """A live object that stands for a row until a memory table is sent to disk."""

    row_key: bytes
    table: object | None

    def encode(self) -> bytes:
        """Give the row as it is now."""


def string_row(payload: bytes, version: int, expires: int) -> bytes:
    """Build the meta row of a string; C{expires} is in milliseconds since 1970, 0 for never."""
    if expires:
        return expiring_head(STRING_EXPIRES, version, expires) + payload
    return plain_head(STRING, version) + payload


def string_body(row: bytes) -> bytes:
    """Give the payload of a string's meta row."""
    return row[9:] if row[0] == STRING else row[17:]


def row_expires(row: bytes) -> int:
    """Give a meta row's expiry in milliseconds since 1970, 0 for never."""
    expires: int = _read_expiry(row)[0] if row[0] & EXPIRES else 0
    return expires


def row_version(row: bytes) -> int:
    """Give the version in a meta row."""
    version: int = _read_version(row)[0]
    return version


def row_type(row: bytes) -> int:
    """Give the type code of a meta row."""
    return row[0] & 0x7F


def row_body(row: bytes) -> bytes:
    """Give a meta row's body."""
    return row[17:] if row[0] & EXPIRES else row[9:]


def check_row(row: bytes) -> None:
    """
    Check that a meta row has a known type and a whole head.

    @raise Damaged: It hasn't.
    """
    if not row or not STRING <= row[0] & 0x7F <= HASH:
        raise Damaged("a meta row of an unknown type")
    if len(row) < (EXPIRING_BODY if row[0] & EXPIRES else PLAIN_BODY):
        raise Damaged("a meta row that ends within its head")


class Value:
    """
    A live collection.

    Subclasses keep the elements and have C{__len__}, C{encode_body}, C{decode_body}, C{trees}. Every method of theirs
    that changes something calls L{touch} B{before} it changes, and appends the inverse of each change to
    C{self.db.keyspace.undo} as C{(function, arguments)}.

    @ivar key: The raw key.
    @ivar row_key: The meta row's key.
    @ivar table: The memory table in which this object is registered as changed.
    @ivar version: The region's sequence at the last change.
    @ivar expires: Milliseconds since 1970, 0 for never.
    @ivar charged: What the cache's account holds for this object, in bytes.
    """

    __slots__ = ("charged", "db", "expires", "key", "row_key", "table", "version")

    TYPE: ClassVar[int]
    NAME: ClassVar[bytes]

    def __init__(self, db: Database, key: bytes, row_key: bytes) -> None:
        self.db = db
        self.key = key
        self.row_key = row_key
        self.table: object | None = None
        self.version = 0
        self.expires = 0
        self.charged = 0

    def __len__(self) -> int:
        """Count the elements."""
        raise NotImplementedError

    def encode_body(self) -> bytes:
        """Encode what follows the head of the meta row."""
        raise NotImplementedError

    def decode_body(self, body: bytes) -> None:
        """
        Take over what a meta row's body says.

        @raise Damaged: It's no such body.
        """
        raise NotImplementedError

    def generations(self) -> list[int]:
        """Name the generations under which this value has node rows."""
        raise NotImplementedError

    def size(self) -> int:
        """Estimate the bytes of memory of what hangs on this object itself (tree nodes are counted apart)."""
        raise NotImplementedError

    def encode(self) -> bytes:
        """Give the meta row as it is now."""
        if self.expires:
            return expiring_head(self.TYPE | EXPIRES, self.version, self.expires) + self.encode_body()
        return plain_head(self.TYPE, self.version) + self.encode_body()

    def touch(self) -> None:
        """Tell the keyspace that the running command is about to change this value."""
        keyspace = self.db.keyspace
        if self.table is not keyspace.rows.active:
            keyspace.rows.mark(self)
        if self.version != keyspace.sequence:
            keyspace.undo.append((self._set_version, (self.version,)))
            self.version = keyspace.sequence
            keyspace.touched.append(self)

    def set_expires(self, expires: int) -> None:
        """Change the expiry; 0 for never."""
        self.touch()
        self.db.keyspace.undo.append((self._set_expires, (self.expires,)))
        self._set_expires(expires)

    def _set_expires(self, expires: int) -> None:
        self.db.expiry_changed(self.key, self.expires, expires)
        self.expires = expires

    def _set_version(self, version: int) -> None:
        self.version = version
