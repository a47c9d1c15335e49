"""Who leads which slots, as a store tells clients of a Redis Cluster."""

from __future__ import annotations

from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.server.harness import Store
from tinykv.interfaces import ISlots, SlotRange
from tinykv.keys import slot_of
from tinykv.region.descriptor import Descriptor
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


class SlotsTests(SynchronousTestCase):
    """Three regions on three stores."""

    def setUp(self) -> None:
        descriptors = Descriptor.initial_regions(3, [11, 12, 13])
        self.hosts = [Host(descriptor, leader) for descriptor, leader in zip(descriptors, (1, 2, 0), strict=True)]
        self.addresses = {11: ("a", 1), 12: ("b", 2)}
        self.slots = Slots(
            cast(Any, self.hosts),
            store_id=12,
            cluster_id="c",
            address=self.addresses.get,
            is_up=lambda store: store == 11,
        )

    def test_it_keeps_its_contract(self) -> None:
        verifyObject(ISlots, self.slots)

    def test_ranges(self) -> None:
        stores = (11, 12, 13)
        self.assertEqual(
            self.slots.ranges(),
            [
                SlotRange(0, 5460, 11, 5, stores),
                SlotRange(5461, 10921, 12, 6, stores),
                SlotRange(10922, 16383, None, 7, stores),
            ],
        )

    def test_owners(self) -> None:
        found = [self.slots.owner(slot) for slot in (0, 5460, 5461, 10921, 10922, 16383)]
        self.assertEqual(found, [11, 11, 12, 12, None, None])

    def test_a_leader_that_clients_cannot_find(self) -> None:
        """This store passes on what they want of it."""
        self.hosts[2].group.leader_id = 3
        self.assertEqual(self.slots.owner(16383), 12)
        self.addresses[13] = ("c", 3)
        self.assertEqual(self.slots.owner(16383), 13)

    def test_a_leader_that_is_none_of_the_peers(self) -> None:
        self.hosts[0].group.leader_id = 9
        self.assertIsNone(self.slots.owner(0))

    def test_reach(self) -> None:
        self.assertEqual([self.slots.is_up(store) for store in (11, 12, 13)], [True, True, False])

    def test_data(self) -> None:
        self.assertIs(self.slots.execution(5461), self.hosts[1].execution)

    def test_a_store_on_its_own(self) -> None:
        store = Store(regions=2)
        hosts = list(store.regions.hosts.values())
        slots = Slots(hosts, store_id=1, cluster_id="c", address=lambda store: ("a", 1), is_up=lambda store: False)
        self.assertEqual([slots.owner(slot) for slot in (0, 16383)], [1, 1])
        store.connect().call([b"SET", b"foo", b"x"])
        self.assertIn(slot_of(b"foo"), slots.execution(slot_of(b"foo")).keyspace.databases[0].counters)
