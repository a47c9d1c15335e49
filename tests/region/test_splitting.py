"""Tests of L{tinykv.region.splitting}."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.keys import SLOTS, slots_range
from tinykv.raft.membership import ADD_LEARNER, ADD_VOTER, REMOVE, Change, Membership, Step, applied
from tinykv.region.descriptor import Descriptor
from tinykv.region.splitting import PARTS_MAX, Cut, Split, middle_of, own_cuts, parts_of, why_not

WHOLE = Descriptor.initial(1, [1, 2, 3])


def at(*slots: int, descriptor: Descriptor = WHOLE) -> Split:
    """Cut a region at some slots."""
    return Split(descriptor.version, descriptor.conf_ver, own_cuts(descriptor, slots))


class SplitTests(SynchronousTestCase):
    """What becomes of a region."""

    def test_parts(self) -> None:
        now, (middle, last) = parts_of(WHOLE, at(100, 9000))
        self.assertEqual([part.slots for part in (now, middle, last)], [(0, 100), (100, 9000), (9000, SLOTS)])
        self.assertEqual([part.version for part in (now, middle, last)], [2, 2, 2])
        self.assertEqual((now.region, now.stores, now.membership), (1, WHOLE.stores, WHOLE.membership))
        self.assertEqual((now.start, last.end), (b"", b""))
        self.assertEqual(middle.start, slots_range((100, 0))[0])
        for part in (middle, last):
            self.assertEqual((part.stores, part.membership.voters), ({1: 1, 2: 2, 3: 3}, (1, 2, 3)))
            self.assertEqual((part.conf_ver, part.next_peer), (WHOLE.conf_ver, 4))

    def test_peers_vote_as_they_did(self) -> None:
        """Each part's peer has the place of the whole's peer on its store."""
        whole = replace(
            WHOLE, stores={7: 2, 9: 1}, membership=Membership((9,), (7,)), conf_ver=4
        )
        split = Split(1, 4, (Cut(5, 60, (61, 62)),))
        _, (part,) = parts_of(whole, split)
        self.assertEqual(part.stores, {61: 2, 62: 1})
        self.assertEqual((part.membership.voters, part.membership.learners), ((62,), (61,)))
        self.assertEqual((part.conf_ver, part.next_peer), (4, 63))

    def test_what_was_removed_stays_so(self) -> None:
        whole = replace(WHOLE, addresses={3: "c:1"}, removed=(4,))
        _, (part,) = parts_of(whole, at(5, descriptor=whole))
        self.assertEqual((part.addresses, part.removed), ({3: "c:1"}, (4,)))
        self.assertEqual(Descriptor.decode(part.region, part.encode()), part)

    def test_in_the_log(self) -> None:
        split = at(100, 9000)
        self.assertEqual(Split.decode(split.encode()), split)
        one = Split(3, 4, (Cut(5, 60, (61, 62)),))
        self.assertEqual(one.encode(), [b"split", b"3", b"4", b"5", b"60", b"61,62"])

    def test_middle(self) -> None:
        self.assertEqual(middle_of((0, SLOTS)), SLOTS // 2)
        self.assertEqual(middle_of((5, 7)), 6)
        self.assertIsNone(middle_of((5, 6)))


class RefusalTests(SynchronousTestCase):
    """What does nothing."""

    def refused(self, split: Split, why: str, descriptor: Descriptor = WHOLE) -> None:
        """See that it's refused for a reason."""
        self.assertIn(why, why_not(descriptor, split) or "")

    def test_another_epoch(self) -> None:
        """Both halves of it count."""
        split = at(100)
        self.assertIsNone(why_not(WHOLE, split))
        self.refused(split._replace(version=2), "in version 1")
        self.refused(split._replace(version=0), "in version 1")
        self.refused(split._replace(conf_ver=2), "conf_ver 1")
        self.refused(split, "in version 2", parts_of(WHOLE, split)[0])

    def test_borders(self) -> None:
        part = parts_of(WHOLE, at(100, 200))[1][0]
        self.assertIsNone(why_not(part, at(199, descriptor=part)))
        for slots in ((100,), (200,), (99,), (150, 150), (160, 150), (0,), (SLOTS,)):
            self.refused(at(*slots, descriptor=part), "isn't the first of a part", part)
        one = parts_of(WHOLE, at(100, 101))[1][0]
        self.refused(at(100, descriptor=one), "isn't the first", one)

    def test_how_many(self) -> None:
        self.refused(Split(1, 1, ()), "2 to 257 parts")
        self.assertIsNone(why_not(WHOLE, at(*range(1, PARTS_MAX + 1))))
        self.refused(at(*range(1, PARTS_MAX + 2)), "2 to 257 parts")

    def test_peers(self) -> None:
        for peers in ((1, 2), (1, 2, 3, 4), (1, 2, 2), (0, 1, 2)):
            self.refused(Split(1, 1, (Cut(5, 60, peers),)), "as many peers")

    def test_ids(self) -> None:
        self.refused(Split(1, 1, (Cut(5, 1, (1, 2, 3)),)), "an id of its own")
        self.refused(Split(1, 1, (Cut(5, 9, (1, 2, 3)), Cut(6, 9, (1, 2, 3)))), "an id of its own")
        self.refused(Split(1, 1, (Cut(5, 0, (1, 2, 3)),)), "an id of its own")

    def test_while_members_change(self) -> None:
        change = Change((Step(ADD_LEARNER, 3), Step(ADD_VOTER, 4), Step(REMOVE, 2)))
        joint = replace(
            WHOLE, stores={**WHOLE.stores, 4: 4}, membership=applied(WHOLE.membership, change)
        )
        self.assertTrue(joint.membership.outgoing)
        self.refused(at(5, descriptor=joint), "a change of the members", joint)


class IdTests(SynchronousTestCase):
    """Ids that are made without a scheduler."""

    @given(st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(1, SLOTS - 1)), max_size=60))
    def test_none_is_made_twice(self, steps: list[tuple[int, int]]) -> None:
        """Whatever is split, in whatever order."""
        regions = {1: WHOLE}
        for pick, slot in steps:
            whole = regions[sorted(regions)[pick % len(regions)]]
            split = at(slot, descriptor=whole)
            if why_not(whole, split) is None:
                now, (part,) = parts_of(whole, split)
                self.assertNotIn(part.region, regions)
                regions |= {now.region: now, part.region: part}
        held = sorted(part.slots for part in regions.values())
        self.assertEqual([first for first, _ in held] + [SLOTS], [0] + [end for _, end in held])
        # So that a reader of JSON has them whole.
        self.assertLess(max(regions), 1 << 53)

    def test_they_are_no_schedulers(self) -> None:
        self.assertGreater(own_cuts(WHOLE, (1,))[0].region, 1 << 47)
