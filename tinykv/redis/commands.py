"""
The modules whose functions are commands, and the types of values they work on.

A new family is a new module and a line here.
"""

from __future__ import annotations

from types import ModuleType

from tinykv.redis import (
    counters,
    expiry,
    generic,
    hashes,
    inspection,
    lcs_command,
    lists,
    raw,
    scanning,
    sets,
    settings_command,
    sort_command,
    sorted_set_algebra,
    sorted_set_pops,
    sorted_set_ranges,
    sorted_sets,
    strings,
    transfer,
)
from tinykv.redis.hash_value import Hash
from tinykv.redis.list_value import List
from tinykv.redis.set_value import Set
from tinykv.redis.value import Value
from tinykv.redis.zset_value import SortedSet

MODULES: list[ModuleType] = [
    strings,
    counters,
    lcs_command,
    generic,
    expiry,
    scanning,
    inspection,
    transfer,
    hashes,
    lists,
    sets,
    sorted_sets,
    sorted_set_ranges,
    sorted_set_pops,
    sorted_set_algebra,
    sort_command,
    raw,
    settings_command,
]

VALUE_TYPES: list[type[Value]] = [List, Set, SortedSet, Hash]
