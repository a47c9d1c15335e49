"""
How a log keeps what kind an entry is: changes of the membership begin with a mark that no data of a host begins with.
"""

from __future__ import annotations

from typing import Final

from tinykv.raft.messages import CHANGE, NORMAL, Entry

#: The first byte of a stored change. Data of the host is empty or begins with another one.
MARK: Final = b"\x02"


def stored_data(entry: Entry) -> bytes:
    """Give the bytes that a log keeps for an entry."""
    return entry.data if entry.kind == NORMAL else MARK + entry.data


def entry_of(index: int, term: int, stored: bytes) -> Entry:
    """Give the entry for which a log keeps these bytes."""
    if stored[:1] == MARK:
        return Entry(index, term, CHANGE, stored[1:])
    return Entry(index, term, NORMAL, stored)
