"""
What an entry says that splits a region, and what becomes of the region.

The region keeps its beginning, and its id; each part behind it becomes a region with an id of its own, whose peers are
on the same stores and vote alike. All of them have the region's next version, so that in no version a key belongs to
two of them; a part begins with the C{conf_ver} of the whole. An entry that was meant for another epoch does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from tinykv.keys import SLOTS, slots_range
from tinykv.raft.membership import Membership
from tinykv.region.descriptor import Descriptor

#: Names the request in the log.
SPLIT: Final = b"split"
#: Parts that one entry cuts off at most.
PARTS_MAX: Final = 256

#: Where the ids begin that are made without a scheduler, which counts its own up from 1.
_OWN_IDS: Final = 1 << 47
_SLOT_BITS: Final = 14


class Cut(NamedTuple):
    """
    A part that is cut off.

    @ivar slot: The first of its slots.
    @ivar region: Its id, which no region ever had.
    @ivar peers: The ids of its peers, in the order of the region's own peers by id.
    """

    slot: int
    region: int
    peers: tuple[int, ...]


class Split(NamedTuple):
    """
    A split that is to be done.

    @ivar version: Of the epoch that it's meant for, as is C{conf_ver}.
    @ivar cuts: The parts, in the order of their slots.
    """

    version: int
    conf_ver: int
    cuts: tuple[Cut, ...]

    def encode(self) -> list[bytes]:
        """Give the request for the log: C{split version conf_ver}, then C{slot region peer,peer...} for each part."""
        arguments = [SPLIT, b"%d" % self.version, b"%d" % self.conf_ver]
        for slot, region, peers in self.cuts:
            arguments += (b"%d" % slot, b"%d" % region, b",".join(b"%d" % peer for peer in peers))
        return arguments

    @classmethod
    def decode(cls, arguments: Sequence[bytes]) -> Split:
        """Read such a request; only this program writes them."""
        assert arguments[0] == SPLIT and len(arguments) % 3 == 0, arguments
        cuts = [
            Cut(int(arguments[at]), int(arguments[at + 1]), tuple(map(int, arguments[at + 2].split(b","))))
            for at in range(3, len(arguments), 3)
        ]
        return cls(int(arguments[1]), int(arguments[2]), tuple(cuts))


def why_not(descriptor: Descriptor, split: Split) -> str | None:
    """Say why a region can't be split so; None if it can."""
    if (split.version, split.conf_ver) != (descriptor.version, descriptor.conf_ver):
        return (
            f"region {descriptor.region} is in version {descriptor.version} and conf_ver {descriptor.conf_ver}, not in"
            f" {split.version} and {split.conf_ver}"
        )
    if descriptor.membership.outgoing:
        return f"a change of the members of region {descriptor.region} isn't done"
    if not 1 <= len(split.cuts) <= PARTS_MAX:
        return f"a region is split into 2 to {PARTS_MAX + 1} parts at a time"
    first, end = descriptor.slots
    last = first
    for slot, _, peers in split.cuts:
        if not last < slot < end:
            return f"slot {slot} isn't the first of a part: region {descriptor.region} has slots {first} to {end - 1}"
        if len(peers) != len(descriptor.stores) or len(set(peers)) < len(peers) or min(peers) < 1:
            return f"a part needs as many peers as region {descriptor.region} has: {len(descriptor.stores)}"
        last = slot
    ids = {descriptor.region, *(cut.region for cut in split.cuts)}
    if len(ids) <= len(split.cuts) or min(ids) < 1:
        return "each part needs an id of its own"
    return None


def parts_of(descriptor: Descriptor, split: Split) -> tuple[Descriptor, list[Descriptor]]:
    """
    Give what a region becomes, and the parts that are cut off, in their order; it can be split so.

    Raw keys, which lie behind all slots, stay with the last part.
    """
    assert why_not(descriptor, split) is None, "it was looked at before"
    version = descriptor.version + 1
    borders = [slots_range((cut.slot, 0))[0] for cut in split.cuts]
    parts = [
        _part(descriptor, cut, start, end, version)
        for cut, start, end in zip(split.cuts, borders, [*borders[1:], descriptor.end], strict=True)
    ]
    return replace(descriptor, end=borders[0], version=version), parts


def _part(whole: Descriptor, cut: Cut, start: bytes, end: bytes, version: int) -> Descriptor:
    named = dict(zip(sorted(whole.stores), cut.peers, strict=True))
    members = whole.membership
    return Descriptor(
        cut.region,
        start,
        end,
        whole.conf_ver,
        version,
        {named[peer]: store for peer, store in whole.stores.items()},
        Membership(
            tuple(sorted(named[peer] for peer in members.voters)),
            tuple(sorted(named[peer] for peer in members.learners)),
        ),
        max(cut.peers) + 1,
        whole.addresses,
        whole.removed,
    )


def own_cuts(descriptor: Descriptor, slots: Sequence[int]) -> tuple[Cut, ...]:
    """
    Give the cuts at some slots, with ids that are made here: for clusters without a scheduler.

    An id is made of the version that the parts will have and of the part's first slot. No id is made twice: the
    version of the region in which a slot lies only ever grows, by splits and merges, so a part that begins at a slot
    has another version than any that ever began there.
    """
    version = descriptor.version + 1
    peers = tuple(range(1, len(descriptor.stores) + 1))
    return tuple(Cut(slot, _OWN_IDS | version << _SLOT_BITS | slot, peers) for slot in slots)


def middle_of(slots: tuple[int, int]) -> int | None:
    """Give the slot in the middle of some, the first of them and the one behind the last; None if there's but one."""
    first, end = slots
    return (first + end) // 2 if end - first > 1 else None


assert SLOTS == 1 << _SLOT_BITS, "a slot fits"
