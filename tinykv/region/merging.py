"""
What entries say that merge a region, the source, into its neighbour, the target, and what becomes of both.

C{prepare-merge} in the source's log ends its service, C{commit-merge} in the target's log takes it in, and
C{rollback-merge} in the source's lets it serve again, where the target is past the epoch at which it could have been
taken in; C{refuse-merge} in the target's log has it go past that. Each does nothing where the region isn't any more
what the entry was meant for. Epochs only rise, so a target that is past an epoch never takes in what was meant for it,
and one entry at most takes effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from struct import Struct
from typing import Final, NamedTuple

from tinykv.errors import Damaged
from tinykv.keys import RAW_PREFIX, region_row
from tinykv.raft.messages import CHANGE, Entry
from tinykv.raft.stored import entry_of, stored_data
from tinykv.region.descriptor import Descriptor

#: Name the requests in the log.
PREPARE: Final = b"prepare-merge"
COMMIT: Final = b"commit-merge"
ROLLBACK: Final = b"rollback-merge"
REFUSE: Final = b"refuse-merge"

#: So many entries of the source, and so many bytes of them, go with the entry that takes it in at most.
ENTRIES_MAX: Final = 256
BYTES_MAX: Final = 1 << 20

_STATE: Final = Struct(">QQQQQ")
_RECORD: Final = Struct(">QQ")
_TERM: Final = Struct(">Q")
_MERGING: Final = b"merging"
_MERGED: Final = b"merged/"


def merging_key(region: int) -> bytes:
    """Give the key of the row, in the family C{region}, that is there while a region is about to be merged."""
    return region_row(region, _MERGING)


def record_key(target: int, source: int) -> bytes:
    """Give the key of the row, in the family C{region}, that says that a region has taken another one in."""
    return region_row(target, _MERGED + source.to_bytes(8, "big"))


def records(target: int) -> tuple[bytes, bytes]:
    """Give the range of all such rows of a region."""
    return region_row(target, _MERGED), region_row(target, _MERGED + b"\xff" * 9)


def recorded(key: bytes) -> int:
    """Read the region that was taken in from the key of such a row."""
    return int.from_bytes(key[-8:], "big")


class Record(NamedTuple):
    """
    That a region was taken in.

    @ivar at: The entry of its log up to which it was.
    @ivar into: The region that took it in; where that was merged itself, the record went on with it.
    @ivar last: What it was then.
    """

    at: int
    into: int
    last: Descriptor

    def encode(self) -> bytes:
        """Give the row: the two numbers, 8 bytes each, and the descriptor."""
        return _RECORD.pack(self.at, self.into) + self.last.encode()

    @classmethod
    def decode(cls, source: int, row: bytes) -> Record:
        """
        Read the row of a source.

        @raise Damaged: It isn't one.
        """
        if len(row) < _RECORD.size:
            raise Damaged(f"the row that says that region {source} was taken in is cut off")
        at, into = _RECORD.unpack_from(row)
        return cls(at, into, Descriptor.decode(source, row[_RECORD.size :]))


class PrepareMerge(NamedTuple):
    """
    The end of a source's service.

    @ivar version: Of the source's epoch that it's meant for, as is C{conf_ver}.
    @ivar target: The region that is to take it in.
    @ivar target_version: Of the target's epoch at which it's to do that, as is C{target_conf_ver}.
    @ivar behind: An entry that all peers of the source are known to have on disk, with all before it.
    """

    version: int
    conf_ver: int
    target: int
    target_version: int
    target_conf_ver: int
    behind: int

    def encode(self) -> list[bytes]:
        """Give the request for the log: the fields in their order."""
        return [PREPARE, *(b"%d" % field for field in self)]

    @classmethod
    def decode(cls, arguments: Sequence[bytes]) -> PrepareMerge:
        """Read such a request; only this program writes them."""
        assert arguments[0] == PREPARE, arguments
        return cls(*map(int, arguments[1:]))


class Merging(NamedTuple):
    """
    What a region is while it's about to be merged.

    @ivar target: The region that is to take it in, in the epoch C{version} and C{conf_ver}.
    @ivar behind: See L{PrepareMerge}.
    @ivar at: The entry that said so; behind it nothing changes but by a rollback.
    """

    target: int
    version: int
    conf_ver: int
    behind: int
    at: int

    def encode(self) -> bytes:
        """Give the row: five numbers of 8 bytes."""
        return _STATE.pack(*self)

    @classmethod
    def decode(cls, row: bytes) -> Merging:
        """
        Read the row.

        @raise Damaged: It isn't one.
        """
        if len(row) != _STATE.size:
            raise Damaged("the row that says that a region is being merged is damaged")
        return cls(*_STATE.unpack(row))

    def is_at(self, target: Descriptor) -> bool:
        """Say whether the target is in the epoch in which it can take the region in."""
        return (self.version, self.conf_ver) == (target.version, target.conf_ver)

    def is_past(self, version: int, conf_ver: int) -> bool:
        """Say whether an epoch of the target is later than the one in which it could take the region in."""
        return version > self.version or conf_ver > self.conf_ver


class CommitMerge(NamedTuple):
    """
    A target takes a source in.

    @ivar version: Of the target's epoch that it's meant for, as is C{conf_ver}.
    @ivar region: The source's id.
    @ivar entries: Of the source's log: the last one is its L{PrepareMerge}, and all its peers have those before the
        first.
    """

    version: int
    conf_ver: int
    region: int
    entries: tuple[Entry, ...]

    @property
    def at(self) -> int:
        """Name the entry of the source up to which it's taken in."""
        return self.entries[-1].index

    def encode(self) -> list[bytes]:
        """Give the request for the log: the fields, the first entry's index, then of each entry its term and data."""
        numbers = (self.version, self.conf_ver, self.region, self.entries[0].index)
        entries = (_TERM.pack(entry.term) + stored_data(entry) for entry in self.entries)
        return [COMMIT, *(b"%d" % number for number in numbers), *entries]

    @classmethod
    def decode(cls, arguments: Sequence[bytes]) -> CommitMerge:
        """Read such a request; only this program writes them."""
        assert arguments[0] == COMMIT and len(arguments) > 5, arguments[:5]
        version, conf_ver, region, first = map(int, arguments[1:5])
        entries = tuple(
            entry_of(index, _TERM.unpack_from(entry)[0], entry[_TERM.size :])
            for index, entry in enumerate(arguments[5:], first)
        )
        return cls(version, conf_ver, region, entries)

    def is_for(self, target: Descriptor) -> bool:
        """Say whether the target is in the epoch that this is meant for."""
        return (self.version, self.conf_ver) == (target.version, target.conf_ver)


def encode_rollback(index: int) -> list[bytes]:
    """Give the request for the log that ends what the entry at an index has begun."""
    return [ROLLBACK, b"%d" % index]


def decode_rollback(arguments: Sequence[bytes]) -> int:
    """Read such a request; only this program writes them."""
    assert arguments[0] == ROLLBACK, arguments
    return int(arguments[1])


class RefuseMerge(NamedTuple):
    """
    A target goes past an epoch, so that what was to be taken in by it then serves again.

    @ivar version: Of the target's epoch that it's meant for, as is C{conf_ver}.
    """

    version: int
    conf_ver: int

    def encode(self) -> list[bytes]:
        """Give the request for the log: the fields in their order."""
        return [REFUSE, *(b"%d" % field for field in self)]

    @classmethod
    def decode(cls, arguments: Sequence[bytes]) -> RefuseMerge:
        """Read such a request; only this program writes them."""
        assert arguments[0] == REFUSE, arguments
        return cls(*map(int, arguments[1:]))


def refused(target: Descriptor, refuse: RefuseMerge) -> Descriptor:
    """Give what a region is that doesn't take another one in: the same if it isn't what that was meant for."""
    if (refuse.version, refuse.conf_ver) != (target.version, target.conf_ver):
        return target
    return replace(target, version=target.version + 1)


def why_not(source: Descriptor, target: Descriptor) -> str | None:
    """Say why a region can't be merged into another; None if it can."""
    if source.region == target.region:
        return f"region {source.region} can't be merged into itself"
    if _is_raw(source) != _is_raw(target):
        return f"regions {source.region} and {target.region} have keys of different kinds"
    if not adjacent(source, target):
        return f"regions {source.region} and {target.region} aren't neighbours"
    for about in (source, target):
        members = about.membership
        if members.outgoing:
            return f"a change of the members of region {about.region} isn't done"
        if members.learners or members.learners_next:
            return f"region {about.region} has a learner: it has to become a voter, or to be removed"
    voters = [sorted(about.stores[voter] for voter in about.membership.voters) for about in (source, target)]
    if voters[0] != voters[1]:
        lists = [", ".join(map(str, stores)) for stores in voters]
        return (
            f"region {source.region} is on stores {lists[0]}, and region {target.region} on stores {lists[1]}: they"
            " have to be on the same ones"
        )
    return None


def _is_raw(about: Descriptor) -> bool:
    """Say whether a region has raw keys alone; they lie behind all slots."""
    return about.start >= RAW_PREFIX


def adjacent(one: Descriptor, other: Descriptor) -> bool:
    """Say whether one region begins where another one ends."""
    return bool(one.end) and one.end == other.start or bool(other.end) and other.end == one.start


def why_not_with(entries: Sequence[Entry], size: int, missing: int) -> str | None:
    """
    Say why a source can't be merged whose peers don't all have these of its entries; None if it can.

    @param entries: As far as they were read.
    @param size: How many bytes of data they have.
    @param missing: How many there are.
    """
    if missing > ENTRIES_MAX or size > BYTES_MAX:
        return f"a replica lags by {missing} entries, at least {size} bytes of them; ask again when it has caught up"
    if any(entry.kind == CHANGE for entry in entries):
        return "not all replicas have the last change of the members yet; ask again"
    return None


def prepared(source: Descriptor, prepare: PrepareMerge, index: int) -> tuple[Descriptor, Merging] | None:
    """Give what a region is when the entry at an index has ended its service; None if that does nothing."""
    if (prepare.version, prepare.conf_ver) != (source.version, source.conf_ver):
        return None
    state = Merging(prepare.target, prepare.target_version, prepare.target_conf_ver, prepare.behind, index)
    return replace(source, version=source.version + 1, conf_ver=source.conf_ver + 1), state


def rolled_back(source: Descriptor) -> Descriptor:
    """Give what a region is that serves again."""
    return replace(source, version=source.version + 1)


def merged(target: Descriptor, source: Descriptor) -> Descriptor:
    """Give what a region is that has taken another one in."""
    assert adjacent(source, target), "it was looked at before"
    version = max(target.version, source.version) + 1
    if source.end == target.start and source.end:
        return replace(target, start=source.start, version=version)
    return replace(target, end=source.end, version=version)
