"""Descriptors of regions: their rows, and what changes make of them."""

from __future__ import annotations

from struct import pack

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.codec import pack_strings
from tinykv.errors import Damaged
from tinykv.keys import ALL_SLOTS, SLOTS, counter_key, raw_key
from tinykv.raft.membership import ADD_LEARNER, ADD_VOTER, REMOVE, Change, Membership, Step
from tinykv.region.descriptor import REMOVED_MAX, Descriptor

THREE = Descriptor.initial(1, [30, 10, 20])


def after(descriptor: Descriptor, *changes: Change) -> Descriptor:
    """Apply changes, as a host does."""
    for change in changes:
        descriptor = descriptor.after(change)
    return descriptor


def grown() -> Descriptor:
    """Give a descriptor in which there's something of everything."""
    added = after(THREE, THREE.adding(40, "d.example:20160"))
    return after(added, added.promoting(40), added.removing(20))


class RowTests(SynchronousTestCase):
    """What is written is what is read."""

    def test_rows(self) -> None:
        for descriptor in (THREE, grown()):
            self.assertEqual(Descriptor.decode(1, descriptor.encode()), descriptor)

    def test_cut_off(self) -> None:
        """No part of a row is taken for a row."""
        row = grown().encode()
        for end in range(len(row)):
            self.assertRaises(Damaged, Descriptor.decode, 1, row[:end])
        self.assertRaises(Damaged, Descriptor.decode, 1, row + b"\0")

    def test_an_unknown_form(self) -> None:
        problem = self.assertRaises(Damaged, Descriptor.decode, 1, b"\xff" + THREE.encode()[1:])
        self.assertIn("unknown form 255", str(problem))

    @given(st.binary(max_size=120))
    def test_noise(self, noise: bytes) -> None:
        """Whatever is read, it's a descriptor or it's refused."""
        for row in (noise, THREE.encode()[:26] + noise):
            try:
                Descriptor.decode(1, row)
            except Damaged:
                pass

    def test_most_removed_stores(self) -> None:
        """As many as are remembered have room in a row."""
        full = THREE.after(THREE.removing(10))
        for store in range(100, 100 + REMOVED_MAX):
            full = after(full, full.adding(store, "x:1"))
            full = after(full, full.removing(store))
        self.assertEqual(len(full.removed), REMOVED_MAX)
        self.assertEqual((full.removed[0], full.removed[-1]), (100, 99 + REMOVED_MAX))
        self.assertEqual(Descriptor.decode(1, full.encode()), full)


class ChangeTests(SynchronousTestCase):
    """A change of the peers."""

    def test_a_store_is_added(self) -> None:
        """It's a learner under a peer id that was never used; where it is stands in the change."""
        added = after(THREE, THREE.adding(40, "d.example:20160"))
        self.assertEqual(added.stores, {1: 10, 2: 20, 3: 30, 4: 40})
        self.assertEqual(added.membership, Membership((1, 2, 3), (4,)))
        self.assertEqual((added.addresses, added.next_peer), ({40: "d.example:20160"}, 5))
        self.assertEqual((added.conf_ver, added.version), (2, 1))

    def test_it_is_promoted(self) -> None:
        added = after(THREE, THREE.adding(40, "d.example:20160"))
        promoted = after(added, added.promoting(40))
        self.assertEqual(promoted.membership, Membership((1, 2, 3, 4)))
        self.assertEqual((promoted.stores, promoted.addresses), (added.stores, added.addresses))

    def test_a_store_is_removed(self) -> None:
        """It's remembered, its peer id isn't used again, and where it was is forgotten."""
        removed = after(grown(), grown().removing(40))
        self.assertEqual(removed.stores, {1: 10, 3: 30})
        self.assertEqual((removed.removed, removed.addresses, removed.next_peer), ((20, 40), {}, 5))
        self.assertEqual(after(removed, removed.adding(50, "e:1")).stores[5], 50)

    def test_who_votes_until_a_change_is_done_is_still_there(self) -> None:
        """A store of the old voters is removed when the joint configuration is left."""
        swap = Change((*THREE.adding(40, "").steps, Step(3, 1)), context=THREE.adding(40, "d:1").context)
        swap = swap._replace(steps=(Step(ADD_VOTER, 4), swap.steps[1]))
        joint = after(THREE, swap)
        self.assertEqual((joint.stores[1], joint.removed), (10, ()))
        left = after(joint, Change(()))
        self.assertEqual((left.stores, left.removed), ({2: 20, 3: 30, 4: 40}, (10,)))

    def test_a_change_that_says_no_store(self) -> None:
        for context in (b"", pack_strings([b"short"]), pack_strings([b""])):
            change = Change((Step(ADD_LEARNER, 4),), context=context)
            self.assertRaises(Damaged, THREE.after, change)

    def test_more_places_than_steps(self) -> None:
        """What belongs to no step is left out."""
        change = Change((Step(ADD_LEARNER, 4),), context=pack_strings([pack(">Q", 40), pack(">Q", 9)]))
        self.assertEqual(THREE.after(change).stores, {**THREE.stores, 4: 40})

    def test_what_changes_nothing(self) -> None:
        """What isn't possible any more, or is so already, leaves the very same descriptor."""
        for steps in ((), (Step(ADD_VOTER, 1),), (Step(REMOVE, 9),)):
            self.assertIs(THREE.after(Change(steps)), THREE)


class RegionsTests(SynchronousTestCase):
    """A cluster that begins with several regions."""

    @given(st.integers(1, 1024))
    def test_each_slot_lies_in_one(self, count: int) -> None:
        regions = Descriptor.initial_regions(count, [30, 10, 20])
        self.assertEqual([one.region for one in regions], list(range(1, count + 1)))
        self.assertEqual((regions[0].start, regions[-1].end), (b"", b""))
        self.assertEqual([one.end for one in regions[:-1]], [one.start for one in regions[1:]])
        self.assertEqual((regions[0].slots[0], regions[-1].slots[1]), (0, SLOTS))
        self.assertEqual([one.slots[1] for one in regions[:-1]], [one.slots[0] for one in regions[1:]])
        sizes = {end - first for first, end in (one.slots for one in regions)}
        self.assertLessEqual(max(sizes) - min(sizes), 1)
        self.assertEqual({tuple(one.stores.items()) for one in regions}, {((1, 10), (2, 20), (3, 30))})

    def test_borders(self) -> None:
        first, second = Descriptor.initial_regions(2, [1])
        for slot, region in ((0, first), (8191, first), (8192, second), (16383, second)):
            key = counter_key(slot, 15)
            self.assertTrue(region.start <= key and (not region.end or key < region.end), slot)
        self.assertGreater(raw_key(b""), second.start)
        self.assertEqual(Descriptor.decode(2, second.encode()), second)

    def test_one_is_as_ever(self) -> None:
        (only,) = Descriptor.initial_regions(1, [1, 2])
        self.assertEqual(only, Descriptor.initial(1, [1, 2]))
        self.assertEqual(only.slots, ALL_SLOTS)
