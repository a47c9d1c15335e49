"""Who leads which slots, as a store tells clients of a Redis Cluster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.server.harness import Store
from tinykv.interfaces import ISlots, SlotRange
from tinykv.keys import SLOTS, slot_of, slots_range
from tinykv.region.descriptor import Descriptor
from tinykv.server.cluster_nodes import nodes_of
from tinykv.store.gap import Gap
from tinykv.store.slots import Slots


class Group:
    """A group as one of its peers knows it."""

    def __init__(self, peer: int, leader_id: int, term: int) -> None:
        self.peer = peer
        self.leader_id = leader_id
        self.term = term


class Host:
    """A region of this store, which is the second of three."""

    def __init__(self, descriptor: Descriptor, leader_id: int) -> None:
        self.descriptor = descriptor
        self.group = Group(2, leader_id, 4 + descriptor.region)
        self.execution = object()
        self.vacant = False


class Vacant(Host):
    """One of which it has no peer."""

    def __init__(self, descriptor: Descriptor, leader: int) -> None:
        super().__init__(descriptor.vacant(), 0)
        self.vacant = True
        self.leader = leader

    def leader_store(self) -> int:
        """Say who leads, as others say."""
        return self.leader


class SlotsTests(SynchronousTestCase):
    """Three regions on three stores."""

    def setUp(self) -> None:
        descriptors = Descriptor.initial_regions(3, [11, 12, 13])
        self.hosts = [Host(descriptor, leader) for descriptor, leader in zip(descriptors, (1, 2, 0), strict=True)]
        self.addresses = {11: ("a", 1), 12: ("b", 2)}
        self.down: set[int] = set()
        #: The regions, and what takes slots in none, each with its first slot.
        self.routed: list[tuple[int, Any]] = [(host.descriptor.slots[0], host) for host in self.hosts]
        self.slots = Slots(
            self.routes,
            store_id=12,
            cluster_id="c",
            address=self.addresses.get,
            is_up=lambda store: store not in self.down,
        )

    def routes(self) -> Any:
        """Give them as a store's regions do."""
        firsts = [first for first, _ in self.routed]
        ranges = zip(firsts, [*firsts[1:], SLOTS], strict=True)
        return [(slots, host) for slots, (_, host) in zip(ranges, self.routed, strict=True)]

    def gap(self, place: int) -> None:
        """Know nothing of a region any more."""
        first, _ = self.routed[place]
        self.routed[place] = (first, Gap(cast(Any, None), (first, SLOTS), 1))
        self.slots.ranges_changed()

    def split(self, place: int, slot: int, leader: int) -> Host:
        """Split a region; its part has such a leader, 0 for none."""
        first, end = self.hosts[place].descriptor.slots
        start, _ = slots_range((slot, slot))
        part = Host(replace(self.hosts[place].descriptor, region=100 + slot, start=start), leader)
        self.routed.insert(place + 1, (slot, part))
        self.assertTrue(first < slot < end)
        self.slots.ranges_changed()
        return part

    def owned(self) -> list[tuple[int, int, bool]]:
        """Give the first slot of each range, who is told to own it, and whether that's known."""
        return [(one.first, one.owner, one.led) for one in self.slots.ranges()]

    def test_it_keeps_its_contract(self) -> None:
        verifyObject(ISlots, self.slots)

    def test_ranges(self) -> None:
        stores = (11, 12, 13)
        self.assertEqual(
            self.slots.ranges(),
            [
                SlotRange(0, 5460, 11, True, 5, stores),
                SlotRange(5461, 10921, 12, True, 6, stores),
                SlotRange(10922, 16383, 12, False, 7, stores),
            ],
        )

    def test_owners(self) -> None:
        found = [self.slots.owner(slot) for slot in (0, 5460, 5461, 10921, 10922, 16383)]
        self.assertEqual(found, [11, 11, 12, 12, None, None])
        self.assertEqual([self.slots.shows(slot) for slot in (0, 5461, 10922)], [False, True, False])

    def test_a_leader_that_clients_cannot_find(self) -> None:
        """This store passes on what they want of it."""
        self.hosts[2].group.leader_id = 3
        self.assertEqual(self.slots.owner(16383), 12)
        self.addresses[13] = ("c", 3)
        self.assertEqual(self.slots.owner(16383), 13)

    def test_a_leader_that_is_none_of_the_peers(self) -> None:
        self.hosts[0].group.leader_id = 9
        self.assertIsNone(self.slots.owner(0))

    def test_a_leader_of_whom_nothing_else_is_known(self) -> None:
        """A store without a peer hears who leads, not who else belongs to the region; no slot is left out."""
        self.addresses[19] = ("i", 9)
        descriptors = Descriptor.initial_regions(3, [11, 12, 13])
        for place, leader in ((0, 11), (1, 19)):
            self.routed[place] = (self.routed[place][0], Vacant(descriptors[place], leader))
        self.slots.ranges_changed()
        found = {node.store: (node.slots, node.master) for node in nodes_of(self.slots)}
        self.assertEqual(
            found, {11: (((0, 5460),), None), 12: (((10922, 16383),), None), 19: (((5461, 10921),), None)}
        )

    def test_where_it_was_led_last(self) -> None:
        """Unless that store can't be reached."""
        self.slots.ranges()
        self.hosts[0].group.leader_id = self.hosts[1].group.leader_id = 0
        self.assertIsNone(self.slots.owner(0))
        self.assertEqual(self.owned(), [(0, 11, False), (5461, 12, False), (10922, 12, False)])
        self.assertEqual([self.slots.shows(slot) for slot in (0, 5461, 10922)], [False, True, False])
        self.down = {11}
        self.assertEqual(self.owned()[0], (0, 12, False))
        self.assertFalse(self.slots.shows(0))
        self.down = set()
        del self.addresses[11]
        self.assertEqual(self.owned()[0], (0, 12, False))

    def test_a_part_that_has_no_leader_yet(self) -> None:
        """It's taken to be led where its whole is."""
        part = self.split(1, 7000, 0)
        self.assertEqual(self.owned()[1:3], [(5461, 12, True), (7000, 12, False)])
        self.assertTrue(self.slots.shows(7000))
        part.group.leader_id = 1
        self.assertEqual(self.owned()[1:3], [(5461, 12, True), (7000, 11, True)])
        self.assertFalse(self.slots.shows(7000))
        part.group.leader_id = 0
        self.assertEqual(self.owned()[2], (7000, 11, False))

    def test_a_part_of_a_whole_that_has_no_leader(self) -> None:
        self.slots.ranges()
        self.hosts[0].group.leader_id = 0
        self.split(0, 100, 0)
        self.assertEqual(self.owned()[:2], [(0, 11, False), (100, 11, False)])

    def test_slots_in_no_region_that_is_known(self) -> None:
        """They aren't those of the region before them; clients come here with them, and nobody counts them here."""
        self.gap(2)
        self.assertIsNone(self.slots.owner(10922))
        self.assertIsNone(self.slots.execution(10922))
        self.assertFalse(self.slots.shows(10922))
        self.assertEqual(self.slots.ranges()[2], SlotRange(10922, 16383, 12, False, 0, ()))
        self.gap(0)
        self.assertEqual([self.slots.owner(slot) for slot in (0, 5460, 5461)], [None, None, 12])
        self.routed[0] = (0, self.hosts[0])
        self.slots.ranges_changed()
        self.assertEqual(self.slots.owner(0), 11)

    def test_reach(self) -> None:
        self.down = {13}
        self.assertEqual([self.slots.is_up(store) for store in (11, 12, 13)], [True, True, False])
        self.down = {12}
        self.assertTrue(self.slots.is_up(12))

    def test_data(self) -> None:
        self.assertIs(self.slots.execution(5461), self.hosts[1].execution)

    def test_a_store_on_its_own(self) -> None:
        store = Store(regions=2)
        routes = store.regions.routes
        slots = Slots(routes, store_id=1, cluster_id="c", address=lambda store: ("a", 1), is_up=lambda store: False)
        self.assertEqual([slots.owner(slot) for slot in (0, 16383)], [1, 1])
        store.connect().call([b"SET", b"foo", b"x"])
        execution = slots.execution(slot_of(b"foo"))
        assert execution is not None
        self.assertIn(slot_of(b"foo"), execution.keyspace.databases[0].counters)
