"""
What a region is: its range, its epoch, and its peers, each on a store.

A descriptor is a row like any other and changes only by applying entries, so every replica has the same at the same
index (R4 of the design). The epoch has two parts: C{conf_ver} rises with each change of the peers, C{version} with
each change of the range.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from struct import Struct
from struct import error as struct_error
from typing import Final

from tinykv.codec import pack_strings, unpack_strings
from tinykv.errors import Damaged
from tinykv.keys import FIRST_REGION, SLOTS, slots_range, slots_within
from tinykv.raft.membership import ADD_LEARNER, ADD_VOTER, REMOVE, Change, Membership, Step, applied, everyone

FORMAT: Final = 1
#: Stores that were removed and are remembered, so that they don't come back; beyond that the oldest are forgotten. Such
#: a store's own folder still says that it belongs to the cluster no more.
REMOVED_MAX: Final = 4096

#: How many peers may have been added that a survivor of a lost majority doesn't know of.
UNKNOWN_PEERS: Final = 1024

_HEAD = Struct(">BQQQB")
_REMOVED = Struct(">H")
_SETS = Struct(">BBBBB")
_PEER = Struct(">QQ")
_ID = Struct(">Q")


#: The range of all descriptors' row keys, in the family C{region}.
DESCRIPTORS: Final = (b"descriptor", b"descriptos")


def descriptor_key(region: int) -> bytes:
    """Give the row key of a region's descriptor, in the family C{region}."""
    return b"descriptor" + region.to_bytes(8, "big")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """
    A region at an index of its log.

    @ivar region: Its id.
    @ivar start: The first key of its range; C{end} the first behind it, empty for none.
    @ivar stores: The store of each peer that belongs to the group, by peer id.
    @ivar membership: Which of the peers vote.
    @ivar next_peer: A peer id that was never used: a store that comes back is a new peer.
    @ivar addresses: Where others reach the stores that were added, C{host:port}, by store id. Those that the cluster
        began with are where the configuration says.
    @ivar removed: The stores that were members and are no more, in the order in which they left; one that goes on with
        other regions may be a member again, with another peer.
    """

    region: int
    start: bytes
    end: bytes
    conf_ver: int
    version: int
    stores: dict[int, int]
    membership: Membership
    next_peer: int
    addresses: dict[int, str] = field(default_factory=dict)
    removed: tuple[int, ...] = ()

    @classmethod
    def initial(cls, region: int, stores: list[int]) -> Descriptor:
        """Give the descriptor with which a cluster of these stores begins: one region, a voter on each store."""
        peers = {peer: store for peer, store in enumerate(sorted(stores), 1)}
        return cls(region, b"", b"", 1, 1, peers, Membership(tuple(peers)), len(peers) + 1)

    @classmethod
    def initial_regions(cls, count: int, stores: list[int], first: int = FIRST_REGION) -> list[Descriptor]:
        """
        Give the descriptors with which a cluster of these stores begins that cuts its slots into equal ranges.

        @param count: How many regions; C{first} is the id of the first.
        """
        borders = [b"", *(slots_range((SLOTS * place // count, 0))[0] for place in range(1, count)), b""]
        return [
            replace(cls.initial(first + place, stores), start=borders[place], end=borders[place + 1])
            for place in range(count)
        ]

    @property
    def slots(self) -> tuple[int, int]:
        """The first slot that lies in the range, and the one behind the last; regions are cut at slot borders."""
        return slots_within(self.start, self.end)

    def peer_on(self, store: int) -> int | None:
        """Name the peer on a store, if there is one."""
        for peer, held in self.stores.items():
            if held == store:
                return peer
        return None

    def vacant(self) -> Descriptor:
        """
        Give what the region is to a store that has no peer of it, and knows where it lies and nothing of its peers.

        So it takes none for one that was removed.
        """
        return replace(self, stores={}, membership=Membership(()), next_peer=1, addresses={}, removed=())

    def encode(self) -> bytes:
        """Give the row."""
        members = self.membership
        sets = (members.voters, members.learners, members.outgoing, members.learners_next)
        return b"".join(
            (
                _HEAD.pack(FORMAT, self.conf_ver, self.version, self.next_peer, len(self.stores)),
                *(_PEER.pack(peer, store) for peer, store in sorted(self.stores.items())),
                _SETS.pack(*map(len, sets), members.auto_leave),
                *(_ID.pack(peer) for peers in sets for peer in peers),
                _REMOVED.pack(len(self.removed)),
                *map(_ID.pack, self.removed),
                pack_strings(
                    [
                        self.start,
                        self.end,
                        *(self.addresses.get(store, "").encode() for _, store in sorted(self.stores.items())),
                    ]
                ),
            )
        )

    @classmethod
    def decode(cls, region: int, row: bytes) -> Descriptor:
        """
        Read the row.

        @raise Damaged: It isn't one.
        """
        try:
            form, conf_ver, version, next_peer, count = _HEAD.unpack_from(row)
            if form != FORMAT:
                raise Damaged(f"the descriptor of region {region} has the unknown form {form}")
            at = _HEAD.size
            stores: dict[int, int] = {}
            for _ in range(count):
                peer, store = _PEER.unpack_from(row, at)
                stores[peer] = store
                at += _PEER.size
            *lengths, auto_leave = _SETS.unpack_from(row, at)
            at += _SETS.size
            sets: list[tuple[int, ...]] = []
            for length in lengths:
                sets.append(tuple(_ID.unpack_from(row, at + 8 * place)[0] for place in range(length)))
                at += 8 * length
            (length,) = _REMOVED.unpack_from(row, at)
            at += _REMOVED.size
            removed = tuple(_ID.unpack_from(row, at + 8 * place)[0] for place in range(length))
            at += 8 * length
        except struct_error as problem:
            raise Damaged(f"the descriptor of region {region} is cut off") from problem
        strings, end = unpack_strings(row, at)
        if len(strings) != 2 + len(stores) or end != len(row):
            raise Damaged(f"the descriptor of region {region} doesn't end where it should")
        told = zip(sorted(stores.items()), strings[2:], strict=True)
        addresses = {store: address.decode("latin-1") for (_, store), address in told if address}
        voters, learners, outgoing, learners_next = sets
        membership = Membership(voters, learners, outgoing, learners_next, bool(auto_leave))
        if everyone(membership) != set(stores):
            raise Damaged(f"the descriptor of region {region} has peers without a store")
        return cls(region, strings[0], strings[1], conf_ver, version, stores, membership, next_peer, addresses, removed)

    # Changes

    def adding(self, store: int, address: str) -> Change:
        """Give the change that adds a learner on a store, which others reach at an address."""
        return Change((Step(ADD_LEARNER, self.next_peer),), context=pack_strings([_ID.pack(store) + address.encode()]))

    def promoting(self, store: int) -> Change:
        """Give the change that makes the learner on a store, which must be there, a voter."""
        peer = self.peer_on(store)
        assert peer is not None, "there is a peer on that store"
        return Change((Step(ADD_VOTER, peer),))

    def removing(self, store: int) -> Change:
        """Give the change that removes the peer on a store, which must be there."""
        peer = self.peer_on(store)
        assert peer is not None, "there is a peer on that store"
        return Change((Step(REMOVE, peer),))

    def surviving(self, stores: Collection[int]) -> Descriptor:
        """
        Give the descriptor of a region whose majority is lost for good: the members on these stores are all that there
        are, and vote. Made by hand, on each of them alike.

        Peer ids that the lost ones may have given without the others' knowledge aren't given again.
        """
        kept = {peer: store for peer, store in self.stores.items() if store in stores}
        left = tuple(store for peer, store in sorted(self.stores.items()) if peer not in kept)
        return replace(
            self,
            conf_ver=self.conf_ver + 1,
            stores=kept,
            membership=Membership(tuple(sorted(kept))),
            next_peer=self.next_peer + UNKNOWN_PEERS,
            addresses={store: address for store, address in self.addresses.items() if store in kept.values()},
            removed=(*self.removed, *left)[-REMOVED_MAX:],
        )

    def after(self, change: Change) -> Descriptor:
        """
        Give the descriptor after the entry of a change was applied: the same where it changes no membership.

        @raise Damaged: The change doesn't say on which store a new peer is.
        """
        membership = applied(self.membership, change)
        return self if membership == self.membership else self._changed(change, membership)

    def _changed(self, change: Change, membership: Membership) -> Descriptor:
        """
        Give the descriptor after a change has made another membership.

        @raise Damaged: The change doesn't say on which store a new peer is.
        """
        stores, addresses = dict(self.stores), dict(self.addresses)
        next_peer = self.next_peer
        places = unpack_strings(change.context)[0] if change.context else []
        for (_, peer), place in zip_longest(change.steps, places[: len(change.steps)]):
            next_peer = max(next_peer, peer + 1)
            if place and peer not in stores:
                if len(place) < _ID.size:
                    raise Damaged(f"a change of region {self.region} has a store that is cut off")
                (stores[peer],) = _ID.unpack_from(place)
                if len(place) > _ID.size:
                    addresses[stores[peer]] = place[_ID.size :].decode("latin-1")
        members = everyone(membership)
        if not members <= stores.keys():
            raise Damaged(f"a change of region {self.region} adds a peer without a store")
        kept = {peer: store for peer, store in stores.items() if peer in members}
        left = tuple(store for peer, store in sorted(self.stores.items()) if peer not in kept)
        return replace(
            self,
            conf_ver=self.conf_ver + 1,
            stores=kept,
            membership=membership,
            next_peer=next_peer,
            addresses={store: address for store, address in addresses.items() if store in kept.values()},
            removed=(*(store for store in self.removed if store not in kept.values()), *left)[-REMOVED_MAX:],
        )
