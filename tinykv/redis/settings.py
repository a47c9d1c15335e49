"""
The settings that applying a command reads.

They decide replies (OBJECT ENCODING) and refusals, so they have to be the same on every replica at the same place of
the log: a change of one is itself an entry, and the values are a row of the region (R12 of the design). Everything
that only the answering store reads is an ordinary option of its configuration instead.
"""

from __future__ import annotations

from typing import Protocol

from tinykv.codec import pack_strings, unpack_strings
from tinykv.errors import Damaged
from tinykv.keys import FIRST_REGION, region_row
from tinykv.redis.value import STRING_MAX

SETTINGS_ROW = b"settings"

#: Name and default of each, as Redis 7.0.15 has them.
DEFAULTS: dict[str, int] = {
    "hash-max-listpack-entries": 512,
    "hash-max-listpack-value": 64,
    "list-max-listpack-size": -2,
    "list-compress-depth": 0,
    "set-max-intset-entries": 512,
    "zset-max-listpack-entries": 128,
    "zset-max-listpack-value": 64,
    "proto-max-bulk-len": 512 * 1024 * 1024,
}

#: Older names for the same parameters.
ALIASES = {
    "hash-max-ziplist-entries": "hash-max-listpack-entries",
    "hash-max-ziplist-value": "hash-max-listpack-value",
    "list-max-ziplist-size": "list-max-listpack-size",
    "zset-max-ziplist-entries": "zset-max-listpack-entries",
    "zset-max-ziplist-value": "zset-max-listpack-value",
}


class _SettingsRows(Protocol):
    def get(self, family: str, key: bytes) -> object: ...

    def put(self, family: str, key: bytes, value: bytes) -> None: ...


class Settings:
    """The values in force, as plain attributes for the code that reads them at every command."""

    __slots__ = (
        "_key",
        "hash_entries",
        "hash_value",
        "intset_entries",
        "list_compress_depth",
        "list_size",
        "string_max",
        "values",
        "zset_entries",
        "zset_value",
    )

    def __init__(self, region: int = FIRST_REGION) -> None:
        """
        @param region: Whose they are.
        """
        self._key = region_row(region, SETTINGS_ROW)
        self.values = dict(DEFAULTS)
        self._take_over()

    def _take_over(self) -> None:
        values = self.values
        self.hash_entries = values["hash-max-listpack-entries"]
        self.hash_value = values["hash-max-listpack-value"]
        self.list_size = values["list-max-listpack-size"]
        self.list_compress_depth = values["list-compress-depth"]
        self.intset_entries = values["set-max-intset-entries"]
        self.zset_entries = values["zset-max-listpack-entries"]
        self.zset_value = values["zset-max-listpack-value"]
        self.string_max = min(values["proto-max-bulk-len"], STRING_MAX)

    def change(self, changes: dict[str, int], rows: _SettingsRows) -> None:
        """Set some of them (by their present names), and write the row."""
        assert changes.keys() <= DEFAULTS.keys()
        self.values.update(changes)
        self._take_over()
        fields: list[bytes] = []
        for name in sorted(self.values):
            if self.values[name] != DEFAULTS[name]:
                fields += (name.encode(), b"%d" % self.values[name])
        rows.put("region", self._key, pack_strings(fields))

    def load(self, rows: _SettingsRows) -> None:
        """
        Take over the row, if there is one; without one they have their defaults.

        @raise Damaged: It isn't a settings row.
        """
        self.values = dict(DEFAULTS)
        self._take_over()
        row = rows.get("region", self._key)
        if row is None:
            return
        if not isinstance(row, bytes):
            raise Damaged("the settings row is no row")
        fields, _ = unpack_strings(row)
        for name, value in zip(fields[::2], fields[1::2], strict=True):
            if name.decode() not in DEFAULTS:
                raise Damaged(f"unknown setting {name!r}")
            self.values[name.decode()] = int(value)
        self._take_over()
