"""
What entries that are about a merge do to the rows, when they're applied and at a replay (L{tinykv.store.merging}).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tinykv.errors import Damaged
from tinykv.redis.execution import Execution
from tinykv.redis.keyspace import Rows
from tinykv.redis.operations import INTERNAL, decode_records
from tinykv.region.descriptor import Descriptor, descriptor_key
from tinykv.region.entry import HEADER_BYTES
from tinykv.region.merging import (
    COMMIT,
    PREPARE,
    REFUSE,
    ROLLBACK,
    CommitMerge,
    Merging,
    PrepareMerge,
    Record,
    RefuseMerge,
    decode_rollback,
    merged,
    merging_key,
    prepared,
    record_key,
    recorded,
    records,
    refused,
    rolled_back,
)
from tinykv.region.snapshot import own_ranges
from tinykv.region.state import apply_key
from tinykv.region.tombstone import TOMBSTONES, decode_merged, encode_merged, tombstone_key

_INTERNAL: Final = bytes((INTERNAL,))
#: Where the first record's request begins in such an entry, and what stands near its beginning.
_REQUEST_AT: Final = HEADER_BYTES + 6
_REQUESTS: Final = tuple(b"\r\n$%d\r\n%b\r\n" % (len(name), name) for name in (PREPARE, COMMIT, ROLLBACK, REFUSE))
_COMMIT: Final = _REQUESTS[1]


def merges(data: bytes) -> bool:
    """Say at a glance whether an entry is about the merge of two regions: it has nothing else in it."""
    if data[HEADER_BYTES : HEADER_BYTES + 1] != _INTERNAL:
        return False
    head = data[_REQUEST_AT : _REQUEST_AT + 32]
    return any(request in head for request in _REQUESTS)


def takes_in(data: bytes) -> bool:
    """Say at a glance whether an entry takes another region in."""
    return data[HEADER_BYTES : HEADER_BYTES + 1] == _INTERNAL and _COMMIT in data[_REQUEST_AT : _REQUEST_AT + 32]


def commit_of(data: bytes) -> CommitMerge:
    """Read an entry that takes another region in."""
    ((_, _, _, _, _, arguments, _),) = decode_records(data, HEADER_BYTES, {})
    return CommitMerge.decode(arguments)


def state_in(rows: Rows, region: int) -> Merging | None:
    """
    Give what the rows say of a region that is about to be merged; None if it isn't.

    @raise Damaged: The row that says it isn't what it must be.
    """
    row = rows.get("region", merging_key(region))
    assert row is None or isinstance(row, bytes), "only values are live objects"
    return None if row is None else Merging.decode(row)


def prepare(rows: Rows, about: Descriptor, arguments: Sequence[bytes], index: int) -> Descriptor:
    """Apply the entry at an index that ends a source's service; give what the region is then."""
    if state_in(rows, about.region) is not None:
        return about
    found = prepared(about, PrepareMerge.decode(arguments), index)
    if found is None:
        return about
    now, state = found
    rows.put("region", merging_key(about.region), state.encode())
    rows.put("region", descriptor_key(about.region), now.encode())
    return now


def roll_back(rows: Rows, about: Descriptor, arguments: Sequence[bytes]) -> Descriptor:
    """Apply an entry that lets a source serve again; give what the region is then."""
    state = state_in(rows, about.region)
    if state is None or state.at != decode_rollback(arguments):
        return about
    now = rolled_back(about)
    rows.remove("region", merging_key(about.region))
    rows.put("region", descriptor_key(about.region), now.encode())
    return now


def refuse(rows: Rows, about: Descriptor, arguments: Sequence[bytes]) -> Descriptor:
    """Apply an entry that has a target go past an epoch; give what it is then."""
    now = refused(about, RefuseMerge.decode(arguments))
    if now is not about:
        rows.put("region", descriptor_key(about.region), now.encode())
    return now


def taken_in(rows: Rows, target: int) -> dict[int, int]:
    """Name the regions that a region has taken in, itself or with others, and into which each was merged."""
    found: dict[int, int] = {}
    for key, row in rows.scan("region", *records(target)):
        assert isinstance(row, bytes), "only values are live objects"
        source = recorded(key)
        found[source] = Record.decode(source, row).into
    return found


def take_in(
    target: Execution, about: Descriptor, source: Execution, gone: Descriptor, commit: CommitMerge
) -> Descriptor:
    """
    Apply an entry that takes a source in, which is where its service ended; give what the target is then.

    @param about: What the target is; C{gone} is the source.
    @raise Damaged: The source isn't there.
    """
    rows = target.keyspace.rows
    state = state_in(rows, gone.region)
    if state is None or (state.target, state.at) != (about.region, commit.at):
        raise Damaged(
            f"region {about.region} takes in region {gone.region} as of its entry {commit.at}, but here that one is not"
            " about to be merged so"
        )
    now = merged(about, gone)
    target.take_in(source)
    rows.put("region", descriptor_key(about.region), now.encode())
    for key, row in list(rows.scan("region", *records(gone.region))):
        assert isinstance(row, bytes), "only values are live objects"
        rows.put("region", record_key(about.region, recorded(key)), row)
    rows.put("region", record_key(about.region, gone.region), Record(commit.at, about.region, gone).encode())
    for start, end in own_ranges(gone.region):
        for key, _ in list(rows.scan("region", start, end)):
            rows.remove("region", key)
    rows.remove("region", apply_key(gone.region))
    rows.put("region", tombstone_key(gone.region), encode_merged(about.region, gone))
    return now


def merged_regions(rows: Rows) -> Iterator[tuple[int, int]]:
    """
    Yield each region that was merged into another here, with that one's id.

    @raise Damaged: A tombstone is none.
    """
    for key, row in list(rows.scan("region", *TOMBSTONES)):
        assert isinstance(row, bytes), "only values are live objects"
        region = int.from_bytes(key[-8:], "big")
        found = decode_merged(region, row)
        if found is not None:
            yield region, found[0]
